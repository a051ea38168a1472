/* Plots (src/plot): well-formed XML whatever the data, and marks where they belong. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../src/run/plot.h"
#include "../src/base/text.h"

static char directory[] = "/tmp/test-plot-XXXXXX";

static int directory_create(void **state) {
    (void)state;
    return mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

static int directory_remove(void **state) {
    (void)state;
    return chdir("/") == 0 ? rmdir(directory) : -1;
}

/* ---- A small check of well-formedness ---- */

/* The end of the name of a tag. */
static const char *name_end(const char *p) {
    while (isalnum((unsigned char)*p)) p++;
    return p;
}

/* Checks attributes, each name="value" without < or &, up to the > that ends the tag; returns that. */
static const char *attributes_check(const char *p) {
    for (;;) {
        while (*p == ' ' || *p == '\n') p++;
        if (*p == '>' || *p == '/') return *p == '/' ? p + 1 : p;
        const char *name = p;
        p += strcspn(p, "= >");
        assert_true(p > name && p[0] == '=' && p[1] == '"');
        size_t length = strcspn(p + 2, "\"<&");
        assert_int_equal(p[2 + length], '"');
        p += 2 + length + 1;
    }
}

/* Character data: known entities only, no control characters. */
static const char *text_check(const char *p) {
    for (; *p && *p != '<'; p++) {
        assert_true((unsigned char)*p >= ' ' || *p == '\n');
        assert_int_not_equal(*p, '>');
        if (*p == '&')
            assert_true(!strncmp(p, "&amp;", 5) || !strncmp(p, "&lt;", 4) || !strncmp(p, "&gt;", 4));
    }
    return p;
}

static void assert_well_formed(const char *text) {
    char open[20][20];
    int depth = 0, roots = 0;
    for (const char *p = text; *p;) {
        if (*p != '<') {
            p = text_check(p);
            continue;
        }
        bool closing = p[1] == '/';
        const char *name = p + 1 + closing, *end = name_end(name);
        assert_true(end > name && end - name < 20);
        p = closing ? end : attributes_check(end);
        assert_int_equal(*p, '>');
        if (closing) {
            assert_true(depth > 0);
            depth--;
            assert_int_equal(strlen(open[depth]), end - name);
            assert_int_equal(strncmp(open[depth], name, (size_t)(end - name)), 0);
        } else if (p[-1] != '/') {
            roots += depth == 0;
            assert_true(depth < 20);
            snprintf(open[depth++], 20, "%.*s", (int)(end - name), name);
        }
        p++;
    }
    assert_int_equal(depth, 0);
    assert_int_equal(roots, 1);
}

/* Reads the plot, checks it, and removes it. No coordinate may be NaN or infinite. */
static char *plot_read(const char *path) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *text = array_alloc(1 << 20, 1);
    size_t size = fread(text, 1, (1 << 20) - 1, file);
    fclose(file);
    unlink(path);
    assert_int_equal(strlen(text), size);
    assert_well_formed(text);
    assert_null(strstr(text, "\"nan"));
    assert_null(strstr(text, "\"-nan"));
    assert_null(strstr(text, "\"inf"));
    assert_null(strstr(text, "\"-inf"));
    return text;
}

static int occurrences(const char *text, const char *part) {
    int n = 0;
    for (; (text = strstr(text, part)); text += strlen(part)) n++;
    return n;
}

/* ---- Lines ---- */

static char *lines_make(struct plot_axis x, struct plot_axis y, const struct plot_series *series, size_t n) {
    struct error err;
    assert_true(plot_lines("p.svg", "A <b> & \"c\"\n\x01", x, y, series, n, &err));
    return plot_read("p.svg");
}

static const struct plot_axis step = {"step", false}, loss = {"loss (bits)", false};

/* The path of series 0 as numbers: x0 y0 x1 y1 ... */
static int path_points(const char *text, double *xy, int room) {
    const char *p = strstr(text, "class=\"line s0\" d=\"");
    assert_non_null(p);
    p = strstr(p, " d=\"") + 4;
    int n = 0;
    while (*p != '"' && n < room) {
        if (*p == 'h') p += 2;
        if (*p == 'M' || *p == 'L') p++;
        char *end;
        double v = strtod(p, &end);
        if (end != p) xy[n++] = v;
        p = end == p ? p + (*p != '"') : end;
    }
    return n;
}

static void test_lines(void **state) {
    (void)state;
    static const double x[] = {0, 10, 20, 40}, y[] = {5, 3, 2, 1};
    struct plot_series series[] = {{"train", x, y, 4}};
    char *text = lines_make(step, loss, series, 1);
    assert_non_null(strstr(text, ">A &lt;b&gt; &amp; \"c\"  </text>"));
    assert_non_null(strstr(text, ">step</text>"));
    assert_non_null(strstr(text, ">loss (bits)</text>"));
    assert_non_null(strstr(text, "<title>train: 3 at 10</title>"));
    assert_non_null(strstr(text, ">40</text>")); /* a tick of x; round numbers */
    assert_non_null(strstr(text, ">5</text>"));
    double xy[20];
    assert_int_equal(path_points(text, xy, 20), 8);
    for (int i = 0; i < 4; i++) { /* affine, y upwards; printed to 0.1 */
        assert_true(fabs(xy[2 * i] - (xy[0] + (xy[6] - xy[0]) * x[i] / 40)) < 0.11);
        assert_true(fabs(xy[2 * i + 1] - (xy[1] + (xy[7] - xy[1]) * (5 - y[i]) / 4)) < 0.11);
    }
    assert_true(xy[6] - xy[0] > 400 && xy[7] - xy[1] > 200);
    assert_null(strstr(text, ">train 1</text>")); /* a single line needs no name */
    free(text);
}

static void test_lines_several(void **state) {
    (void)state;
    static const double x[] = {1, 2, 3}, a[] = {3, 2, 1}, b[] = {3, 2, 1.01}, c[] = {NAN, NAN, NAN};
    struct plot_series series[] = {{"one", x, a, 3}, {"t<o", x, b, 3}, {"none", x, c, 3}, {"empty", x, a, 0}};
    char *text = lines_make(step, loss, series, 4);
    const char *one = strstr(text, ">one 1</text>"), *two = strstr(text, ">t&lt;o 1.01</text>");
    assert_true(one && two);
    assert_null(strstr(text, ">none "));
    double y[2];
    const char *labels[] = {one, two};
    for (int i = 0; i < 2; i++) {
        const char *at = labels[i];
        while (strncmp(at, "y=\"", 3) != 0) at--;
        y[i] = strtod(at + 3, NULL);
    }
    assert_true(y[0] - y[1] > 12); /* nearly the same value, yet apart: below it, the lower one */
    free(text);
}

/* The y of the text element that holds `part`. */
static double text_y(const char *text, const char *part) {
    const char *at = strstr(text, part);
    if (!at) fail_msg("no text %s", part);
    while (strncmp(at, " y=\"", 4) != 0) at--;
    return strtod(at + 4, NULL);
}

/* Labels of lines that end together at the bottom, or at the top, lie inside the plot, in the order of the lines, none
 * over another. */
static void labels_check(size_t n, double last, double spread) {
    static const double x[] = {1, 2};
    double y[40][2], before = 0;
    char names[40][32], label[80];
    struct plot_series series[40] = {0};
    for (size_t s = 0; s < n; s++) {
        snprintf(names[s], sizeof names[s], "n%zu", s);
        y[s][0] = s % 2 ? 0 : 10;
        y[s][1] = last - spread * (double)s;
        series[s] = (struct plot_series){names[s], x, y[s], 2};
    }
    char *text = lines_make(step, loss, series, n);
    for (size_t s = 0; s < n; s++) {
        snprintf(label, sizeof label, ">n%zu %.4g</text>", s, y[s][1]);
        const double at = text_y(text, label) - 4; /* baseline to middle */
        assert_true(at >= 62 - 0.1 && at <= 366 + 0.1); /* the plot's top and bottom */
        if (s > 0) assert_true(at - before >= fmin(15, 304. / (double)n) - 0.2);
        before = at;
    }
    free(text);
}

static void test_labels(void **state) {
    (void)state;
    labels_check(2, 0.02, 0.01);
    labels_check(7, 0.07, 0.01);
    labels_check(7, 10, 0.01);
    labels_check(7, 5, 0.01);
    labels_check(20, 0.2, 0.01);
    labels_check(20, 5, 0.1); /* as many as there is room for */
}

/* Several lines: each has the colour of its place in the order, and its label, and what appears under the pointer. */
static void test_series_in_order(void **state) {
    (void)state;
    static const double x[] = {1, 2}, y[3][2] = {{1, 2}, {5, 6}, {9, 10}};
    const struct plot_series series[] = {{"a", x, y[0], 2}, {"b", x, y[1], 2}, {"c", x, y[2], 2}};
    char *text = lines_make(step, loss, series, 3);
    assert_non_null(strstr(text, "class=\"f0\">a 2</text>"));
    assert_non_null(strstr(text, "class=\"f1\">b 6</text>"));
    assert_non_null(strstr(text, "class=\"f2\">c 10</text>"));
    assert_non_null(strstr(text, "<title>b: 6 at 2</title>"));
    assert_true(text_y(text, ">c 10<") < text_y(text, ">b 6<") && text_y(text, ">b 6<") < text_y(text, ">a 2<"));
    assert_true(strstr(text, "line s0\"") < strstr(text, "line s1\""));
    assert_true(strstr(text, "line s1\"") < strstr(text, "line s2\""));
    free(text);
}

static void test_lines_gaps(void **state) {
    (void)state;
    static const double x[] = {1, 2, 3, 4, 5, 6, 7}, y[] = {1, NAN, 2, 3, INFINITY, -INFINITY, 5};
    struct plot_series series[] = {{"s", x, y, 7}};
    char *text = lines_make(step, loss, series, 1);
    const char *path = strstr(text, "class=\"line s0\"");
    char line[300];
    snprintf(line, sizeof line, "%.*s", (int)strcspn(path, ">"), path);
    assert_int_equal(occurrences(line, "M"), 3); /* 1 | 2 3 | 5 */
    assert_int_equal(occurrences(line, "L"), 1);
    assert_int_equal(occurrences(text, "class=\"hit"), 4);
    free(text);
}

static void test_lines_degenerate(void **state) {
    (void)state;
    static const double zero[] = {0, 0, 0}, same[] = {7, 7, 7}, huge[] = {1e300, -1e300, 0},
                        tiny[] = {0, 1e-12, 3e-12};
    static const double nothing[] = {NAN, NAN, NAN};
    static const double *const values[] = {zero, same, huge, tiny, nothing};
    for (int i = 0; i < 25; i++) {
        for (int log = 0; log < 4; log++) {
            struct plot_series s = {"s", values[i / 5], values[i % 5], 3};
            free(lines_make((struct plot_axis){"x", log & 1}, (struct plot_axis){"y", log & 2}, &s, 1));
        }
    }
    struct plot_series one = {"s", same, same, 1};
    char *text = lines_make(step, loss, &one, 1);
    assert_non_null(strstr(text, "h0")); /* a dot */
    free(text);
    text = lines_make(step, loss, NULL, 0);
    assert_non_null(strstr(text, ">no data</text>"));
    assert_null(strstr(text, ">-0<"));
    free(text);
}

static void test_lines_logarithmic(void **state) {
    (void)state;
    static const double x[] = {1, 10, 1000, 10000}, y[] = {1, 10, 100, -1};
    struct plot_series series[] = {{"s", x, y, 4}};
    struct plot_axis logarithmic = {"n", true};
    char *text = lines_make(logarithmic, logarithmic, series, 1);
    double xy[20];
    assert_int_equal(path_points(text, xy, 20), 6); /* what is not positive has no place */
    assert_true(fabs((xy[4] - xy[0]) - 3 * (xy[2] - xy[0])) < 0.5);
    assert_true(fabs((xy[5] - xy[1]) - 2 * (xy[3] - xy[1])) < 0.5);
    free(text);
}

static void test_ticks_units(void **state) {
    (void)state;
    static const double x[] = {0, 50000}, y[] = {-5e6, 12e6}, small[] = {0.0001, 0.0003};
    char *text = lines_make(step, loss, &(struct plot_series){"s", x, y, 2}, 1);
    assert_non_null(strstr(text, ">50k</text>"));
    assert_non_null(strstr(text, ">10M</text>"));
    assert_non_null(strstr(text, ">-5M</text>"));
    assert_non_null(strstr(text, ">0</text>"));
    free(text);
    text = lines_make(step, loss, &(struct plot_series){"s", x, small, 2}, 1);
    assert_non_null(strstr(text, ">0.00020</text>"));
    free(text);
}

/* The labels of an x axis from `low` to `high`, in order, a blank after each. */
static char *labels_of(double low, double high) {
    const double x[] = {low, high}, y[] = {1, 2};
    char *text = lines_make(step, loss, &(struct plot_series){"s", x, y, 2}, 1), *labels = string_format("%s", "");
    for (const char *at = text; (at = strstr(at, "v5\"/>\n<text "));) {
        at = strchr(strstr(at, "<text "), '>') + 1;
        string_append(&labels, "%.*s ", (int)strcspn(at, "<"), at);
    }
    free(text);
    return labels;
}

/* A million is 1M, on an axis of less and of more, never 1000k; nor is a thousand millions 1000M. */
static void test_ticks_are_short(void **state) {
    (void)state;
    static const struct {
        double low, high;
        const char *labels;
    } cases[] = {
        {0, 3072000, "0 500k 1M 1.5M 2M 2.5M 3M "},
        {0, 1e6, "0 200k 400k 600k 800k 1M "},
        {0, 7e5, "0 100k 200k 300k 400k 500k 600k 700k "},
        {0, 9000, "0 2000 4000 6000 8000 "},
        {0, 12000, "0 2k 4k 6k 8k 10k 12k "},
        {995e6, 1005e6, "996M 998M 1G 1.002G 1.004G "},
        {0, 2.5e9, "0 500M 1G 1.5G 2G 2.5G "},
        {-1.5e6, 1.5e6, "-1.5M -1M -500k 0 500k 1M 1.5M "},
        {1e13, 5e13, "1e+13 2e+13 3e+13 4e+13 5e+13 "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *labels = labels_of(cases[i].low, cases[i].high);
        assert_string_equal(labels, cases[i].labels);
        free(labels);
    }
}

static void test_lines_many(void **state) {
    (void)state;
    enum { N = 20011 };
    double *x = array_alloc(N, sizeof *x);
    for (int i = 0; i < N; i++) x[i] = i;
    char *text = lines_make(step, loss, &(struct plot_series){"s", x, x, N}, 1);
    assert_in_range(occurrences(text, "class=\"hit"), 100, 201);
    free(text);
    free(x);
}

/* ---- Names ---- */

static void shortened_expect(const char *text, double room, const char *want) {
    char *got = text_shorten(text, room);
    assert_string_equal(got, want);
    assert_true(text_width(got) <= room + 1e-9);
    free(got);
}

/* Whole characters from both ends, as many as fit. */
static void test_text_shorten(void **state) {
    (void)state;
    const double letter = text_width("a"), dots = text_width("\xe2\x80\xa6");
    assert_true(text_width("\xc3\xa9") == letter);                  /* two bytes, one letter */
    assert_true(text_width("\xe6\x97\xa5") > 1.5 * letter);         /* as wide as high */
    assert_true(text_width("MW") > 2 * letter && text_width("il") < 2 * letter);
    shortened_expect("abcdefgh", 8 * letter, "abcdefgh");
    shortened_expect("abcdefgh", 3 * letter + dots, "ab\xe2\x80\xa6h");
    shortened_expect("abcdefgh", 2 * letter + dots, "a\xe2\x80\xa6h");
    shortened_expect("\xc3\xa9\xc3\xa8xxxxxx\xc3\xa0\xc3\xa1", 4 * letter + dots,
                     "\xc3\xa9\xc3\xa8\xe2\x80\xa6\xc3\xa0\xc3\xa1");
    shortened_expect("", 0, "");
}

/* The number behind an attribute of the tag that ends in `text`. */
static double attribute_before(const char *svg, const char *text, const char *attribute) {
    const char *at = strstr(svg, text);
    if (!at) fail_msg("no %s", text);
    while (*at != '<' || strncmp(at, "<text", 5) != 0) at--;
    return strtod(strstr(at, attribute) + strlen(attribute), NULL);
}

static char *wide_make(int width, const char *const names[2], const char *title) {
    static const double x[] = {0, 1, 2}, a[] = {3, 2, 1}, b[] = {3, 2, 2};
    const struct plot_series series[] = {{names[0], x, a, 3}, {names[1], x, b, 3}};
    struct error err;
    assert_true(plot_lines_at(&(struct plot_place){"p.svg", title, width}, step, loss, series, 2, &err));
    return plot_read("p.svg");
}

/* Names that would take more than their part of the plot stand under it, and the plot keeps its width. */
static void test_lines_long_names(void **state) {
    (void)state;
    static const char *const brief[] = {"one", "two"};
    static const char *const lengthy[] = {"a-name-that-is-longer-than-a-third-of-the-plot", "two"};
    char *text = wide_make(PLOT_WIDE, brief, "t");
    assert_true(attribute_before(text, ">one 1<", "x=\"") > 500);
    assert_true(attribute_before(text, ">one 1<", "y=\"") < 370);
    assert_int_equal(occurrences(text, "class=\"hit"), 6);
    assert_non_null(strstr(text, "viewBox=\"0 0 720 420\""));
    free(text);
    text = wide_make(PLOT_WIDE, lengthy, "t");
    assert_non_null(strstr(text, "viewBox=\"0 0 720 450\"")); /* two lines more */
    assert_true(attribute_before(text, ">a-name-that-is-longer-than-a-third-of-the-plot 1<", "x=\"") < 60);
    assert_true(attribute_before(text, ">a-name-that-is-longer-than-a-third-of-the-plot 1<", "y=\"") > 410);
    assert_true(attribute_before(text, ">two 2<", "y=\"") <= 450);
    double xy[20];
    assert_int_equal(path_points(text, xy, 20), 6);
    assert_true(xy[4] > 650); /* to the edge */
    free(text);
}

/* On a phone's width what does not fit is shortened, and whole in a title; the plot's title has more lines. */
static void test_lines_narrow(void **state) {
    (void)state;
    static const char *const names[] = {"a-name-of-a-run-that-no-phone-is-wide-enough-for-in-one-line-seed-1", "two"};
    char *text = wide_make(PLOT_NARROW, names, "Load of each expert in the second of these models, all layers");
    assert_non_null(strstr(text, "viewBox=\"0 -38 340 488\""));
    assert_non_null(strstr(text, "<rect class=\"ground\" y=\"-38\" width=\"340\" height=\"488\"/>"));
    assert_non_null(strstr(text, ">Load of each expert in the<"));
    assert_true(attribute_before(text, ">Load of each expert in the<", "y=\"") == 27 - 38);
    assert_non_null(strstr(text, "<title>Load of each expert in the second of these models, all layers</title>"));
    assert_non_null(
        strstr(text, "<title>a-name-of-a-run-that-no-phone-is-wide-enough-for-in-one-line-seed-1 1</title>a-n"));
    assert_non_null(strstr(text, "\xe2\x80\xa6"));
    assert_int_equal(occurrences(text, "class=\"hit"), 0);
    double xy[20];
    assert_int_equal(path_points(text, xy, 20), 6);
    for (int i = 0; i < 3; i++) assert_true(xy[2 * i] > 18 && xy[2 * i] < 340 - 18);
    free(text);
}

/* More names than there is room for beside the lines. */
static void test_lines_many_names(void **state) {
    (void)state;
    enum { N = 23 };
    static const double x[] = {1, 2}, y[] = {1, 1};
    struct plot_series series[N];
    for (int i = 0; i < N; i++) series[i] = (struct plot_series){"s", x, y, 2};
    char *text = lines_make(step, loss, series, N);
    const char *at = text;
    double last = 0;
    for (int i = 0; i < N; i++, at++) {
        at = strstr(at, ">s 1</text>");
        assert_non_null(at);
        const double place = attribute_before(at - 40, ">s 1</text>", "y=\"");
        assert_true(i == 0 || place - last >= 14); /* letters of 12 px */
        last = place;
    }
    free(text);
}

/* ---- Heat maps ---- */

static char *heatmap_make(const double *values, size_t rows, size_t cols, double low, double high) {
    static const char *const labels[] = {"block 1", "b&3", "block 5"};
    struct error err;
    const struct heatmap map = {"layer", "expert", labels, values, rows, cols, low, high};
    assert_true(plot_heatmap(&(struct plot_place){"h.svg", "Load", PLOT_WIDE}, &map, &err));
    return plot_read("h.svg");
}

static void test_heatmap(void **state) {
    (void)state;
    static const double values[] = {0, 0.5, 1, -3, 9, NAN};
    char *text = heatmap_make(values, 2, 3, 0, 1);
    assert_int_equal(occurrences(text, "fill=\"#440154\""), 2); /* the low end, also for what is below it */
    assert_int_equal(occurrences(text, "fill=\"#fde725\""), 2); /* the high end */
    assert_int_equal(occurrences(text, "class=\"missing\""), 1);
    assert_non_null(strstr(text, "<title>b&amp;3, 1: 9</title>"));
    assert_non_null(strstr(text, "<title>b&amp;3, 2: no value</title>"));
    assert_non_null(strstr(text, ">block 1</text>"));
    assert_non_null(strstr(text, ">expert</text>"));
    assert_non_null(strstr(text, ">layer</text>"));
    assert_non_null(strstr(text, ">0.50</text>")); /* the value in the cell */
    assert_int_equal(occurrences(text, "ramp-"), 2); /* the gradient, and its use */
    assert_non_null(strstr(text, ">1.0</text>")); /* a tick of the bar */
    free(text);
}

static void test_heatmap_degenerate(void **state) {
    (void)state;
    double *values = array_alloc(3 * 257, sizeof *values);
    char *text = heatmap_make(values, 3, 257, 0, 0);
    assert_non_null(strstr(text, ">240</text>")); /* columns are numbered now and then */
    assert_null(strstr(text, ">241</text>"));
    free(text);
    free(heatmap_make(values, 0, 0, 0, 1));
    free(heatmap_make(values, 1, 1, NAN, NAN));
    free(heatmap_make(values, 1, 1, 1, 0));
    free(values);
}

static void test_heatmap_narrow(void **state) {
    (void)state;
    static const double values[] = {0, 0.5, 1};
    static const char *const labels[] = {"a-name-of-a-run-that-no-phone-is-wide-enough-for-in-one-line"};
    struct error err;
    const struct heatmap map = {"model", "MoE layer, from the first", labels, values, 1, 3, 0, 1};
    assert_true(plot_heatmap(&(struct plot_place){"h.svg", "Load", PLOT_NARROW}, &map, &err));
    char *text = plot_read("h.svg");
    assert_non_null(strstr(text, "viewBox=\"0 0 340 "));
    assert_non_null(strstr(text, "<title>a-name-of-a-run-that-no-phone-is-wide-enough-for-in-one-line</title>a-name"));
    for (const char *at = text; (at = strstr(at, "<rect x=\"")); at++) { /* cells and bar: on the plot, of some width */
        const double x = strtod(at + 9, NULL), width = strtod(strstr(at, "width=\"") + 7, NULL);
        assert_true(x >= 18 && width >= 10 && x + width <= 340 - 18);
    }
    free(text);
}

/* ---- Where text stands ---- */

enum { EDGE = 17 };

/* Every text is on the plot, and texts beside each other leave a space; titles are in letters of their own. */
static void texts_check(const char *text, double width, const char *what) {
    double y_before = -1, end_before = 0;
    for (const char *at = text; (at = strstr(at, "<text ")); at++) {
        const double x = strtod(strstr(at, "x=\"") + 3, NULL), y = strtod(strstr(at, "y=\"") + 3, NULL);
        const char *tag = strchr(at, '>'), *words = tag + 1, *end = strstr(at, "</text>");
        if (strncmp(words, "<title>", 7) == 0) words = strstr(words, "</title>") + 8;
        assert_true(*words != ' ');
        if (memmem(at, (size_t)(tag - at), "class=\"title\"", 13)) continue;
        char *shown = string_format("%.*s", (int)(end - words), words);
        const double wide = text_width(shown) * (memmem(at, (size_t)(tag - at), "cell", 4) ? 10.5 / 12 : 1);
        const bool middle = memmem(at, (size_t)(tag - at), "middle", 6),
                   right = memmem(at, (size_t)(tag - at), "\"end\"", 5);
        const double from = x - (middle ? wide / 2 : right ? wide : 0);
        if (from < EDGE || from + wide > width - EDGE)
            fail_msg("%s: '%s' from %g to %g of %g", what, shown, from, from + wide, width);
        if (middle && y == y_before && from < end_before + 2)
            fail_msg("%s: '%s' at %g, where another ends at %g", what, shown, from, end_before);
        y_before = middle ? y : -1;
        end_before = from + wide;
        free(shown);
    }
}

static void test_texts_of_heatmaps(void **state) {
    (void)state;
    static const size_t columns[] = {1, 2, 8, 20, 33, 47, 64, 100, 150, 250, 330, 512, 700, 1000};
    static const double highs[] = {1, 1e-7, 0.00025, 123456, 2e9};
    static const char *const labels[] = {"block 1", "block 3"};
    double *values = array_alloc(2 * 1000, sizeof *values);
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        for (size_t k = 0; k < sizeof highs / sizeof *highs; k++)
            for (int narrow = 0; narrow < 2; narrow++) {
                struct error err;
                const double width = narrow ? PLOT_NARROW : PLOT_WIDE;
                const struct heatmap map = {"layer", "expert", labels, values, 2, columns[i], 0, highs[k]};
                assert_true(plot_heatmap(&(struct plot_place){"h.svg",
                                                              "One two three four five six seven eight nine ten "
                                                              "eleven twelve thirteen fourteen fifteen",
                                                              width},
                                         &map, &err));
                char *text = plot_read("h.svg"), *what = string_format("%zu columns, %g", columns[i], highs[k]);
                texts_check(text, width, what);
                free(what);
                free(text);
            }
    free(values);
}

static void test_texts_of_lines(void **state) {
    (void)state;
    for (int i = 1; i <= 40; i++)
        for (int kind = 0; kind < 4; kind++) {
            struct error err;
            double x[] = {kind > 1 ? pow(10, i % 5) : kind, i * pow(10, i % 9)}, y[] = {3.2, 3.2 + i / 20.0};
            const struct plot_series series = {"one", x, y, 2};
            if (kind > 1) x[1] = x[0] * pow(10, i / 8.0); /* up to five decades, from anywhere */
            const double width = kind & 1 ? PLOT_NARROW : PLOT_WIDE;
            assert_true(plot_lines_at(&(struct plot_place){"p.svg", "t", width}, (struct plot_axis){"x", kind > 1},
                                      (struct plot_axis){"y", kind > 1}, &series, 1, &err));
            char *text = plot_read("p.svg"), *what = string_format("%d, kind %d", i, kind);
            texts_check(text, width, what);
            const int numbers = occurrences(text, "v5\"/>"), lines = occurrences(text, "class=\"grid\"");
            if (numbers < 1 || numbers > 9 || lines < 2 || lines > 9)
                fail_msg("%s: %d and %d numbers", what, numbers, lines);
            free(what);
            free(text);
        }
}

/* Names and titles of any length: they are cut, and a title has four lines at most. */
static void test_texts_that_are_too_long(void **state) {
    (void)state;
    for (int words = 1; words < 100; words += 7) {
        char name[600] = "";
        for (int i = 0; i < words; i++) strcat(name, "word ");
        name[strlen(name) - 1] = 0;
        const char *const labels[] = {name, "b"};
        const double values[] = {0, 1, 2, 3, 4, 5};
        const struct plot_series series[] = {{name, values, values, 6}, {"b", values, values, 4}};
        const struct heatmap map = {name, name, labels, values, 2, 3, 0, 5};
        for (int kind = 0; kind < 4; kind++) {
            struct error err;
            const double width = kind & 1 ? PLOT_NARROW : PLOT_WIDE;
            const struct plot_place place = {"p.svg", name, width};
            if (kind < 2) assert_true(plot_heatmap(&place, &map, &err));
            else
                assert_true(plot_lines_at(&place, (struct plot_axis){name, false}, (struct plot_axis){name, false},
                                          series, 2, &err));
            char *text = plot_read("p.svg"), *what = string_format("%d words, kind %d", words, kind);
            texts_check(text, width, what);
            const int lines = occurrences(text, "class=\"title\"");
            if (words == 1 ? lines != 1 : words > 90 && kind & 1 ? lines != 4 : lines > 4)
                fail_msg("%s: %d lines", what, lines);
            free(what);
            free(text);
        }
    }
}

/* Two plots in a page, each with its own colours; lines of many points are thin. */
static void test_pages_and_crowds(void **state) {
    (void)state;
    static const char *const labels[] = {"block 1"};
    struct error err;
    double values[401] = {0};
    char ids[2][40];
    for (int i = 0; i < 2; i++) {
        const char *path = i ? "b.svg" : "a.svg";
        const struct heatmap map = {"layer", "expert", labels, values, 1, 3, 0, 1};
        assert_true(plot_heatmap(&(struct plot_place){path, "t", PLOT_WIDE}, &map, &err));
        char *text = plot_read(path), *id = strstr(text, "id=\"");
        assert_non_null(id);
        snprintf(ids[i], sizeof ids[i], "%.*s", (int)strcspn(id + 4, "\""), id + 4);
        assert_non_null(strstr(strstr(text, "fill=\"url(#"), ids[i]));
        free(text);
    }
    assert_string_not_equal(ids[0], ids[1]);
    for (size_t n = 400; n <= 401; n++) {
        char *text = lines_make(step, loss, &(struct plot_series){"one", values, values, n}, 1);
        assert_int_equal(occurrences(text, "class=\"line many s0\""), n > 400);
        free(text);
    }
}

static void test_failure(void **state) {
    (void)state;
    struct error err;
    assert_false(plot_lines("none/p.svg", "t", step, loss, NULL, 0, &err));
    assert_int_equal(err.code, EXIT_OUTPUT);
    const struct heatmap map = {.row_title = "r", .column_title = "c", .high = 1};
    assert_false(plot_heatmap(&(struct plot_place){"none/h.svg", "t", PLOT_WIDE}, &map, &err));
    assert_int_equal(err.code, EXIT_OUTPUT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_lines_several),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_series_in_order),
        cmocka_unit_test(test_lines_gaps),
        cmocka_unit_test(test_lines_degenerate),
        cmocka_unit_test(test_lines_logarithmic),
        cmocka_unit_test(test_ticks_units),
        cmocka_unit_test(test_ticks_are_short),
        cmocka_unit_test(test_lines_many),
        cmocka_unit_test(test_text_shorten),
        cmocka_unit_test(test_lines_long_names),
        cmocka_unit_test(test_lines_narrow),
        cmocka_unit_test(test_lines_many_names),
        cmocka_unit_test(test_heatmap),
        cmocka_unit_test(test_heatmap_degenerate),
        cmocka_unit_test(test_heatmap_narrow),
        cmocka_unit_test(test_texts_of_heatmaps),
        cmocka_unit_test(test_texts_of_lines),
        cmocka_unit_test(test_texts_that_are_too_long),
        cmocka_unit_test(test_pages_and_crowds),
        cmocka_unit_test(test_failure),
    };
    return cmocka_run_group_tests(tests, directory_create, directory_remove);
}
