/* Plots as SVG text. One coordinate unit is one pixel at natural size; y grows downwards.
 *
 * Colours are CSS classes with a second set for dark schemes, and plain enough for every renderer (no
 * variables). Lines take the colour-blind-safe palette of Okabe and Ito, heat maps the viridis ramp of Smith
 * and van der Walt, even to the eye and in grey. Lines are labelled where they end, so that nobody has to
 * match a legend. */
#include "plot.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../base/text.h"

enum { EDGE = 18, PLOT_TOP = 62 };

/* ---- Text ---- */

/* One line of text; `attributes` are raw. */
static void text_draw(FILE *out, double x, double y, const char *attributes, const char *text) {
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, attributes);
    xml_print(out, "%s", text);
    fputs("</text>\n", out);
}

/* The same as text_draw in no more than `room` pixels. */
static void text_fit(FILE *out, double x, double y, const char *attributes, const char *text, double room) {
    char *some = text_shorten(text, room);
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, attributes);
    if (strcmp(some, text) != 0) {
        fputs("<title>", out);
        xml_print(out, "%s", text);
        fputs("</title>", out);
    }
    xml_print(out, "%s", some);
    fputs("</text>\n", out);
    free(some);
}

/* In the middle of a stretch, but not over the edges of the plot. */
static void text_centre(FILE *out, double from, double to, double y, const char *text, double width) {
    const double half = fmin(text_width(text), width - 2 * EDGE) / 2;
    const double x = fmin(fmax((from + to) / 2, EDGE + half), width - EDGE - half);
    text_fit(out, x, y, "class=\"middle\"", text, width - 2 * EDGE);
}

/* ---- Scales and ticks ---- */

/* A stretch of numbers and the pixels it is drawn on. */
struct scale {
    double low, high; /* as logarithms on a logarithmic axis */
    double from, to;
    bool logarithmic;
};

static bool scale_takes(const struct scale *s, double value) {
    return isfinite(value) && (!s->logarithmic || value > 0);
}

static double scale_place(const struct scale *s, double value) {
    double v = s->logarithmic ? log10(value) : value;
    return s->from + (v - s->low) / (s->high - s->low) * (s->to - s->from);
}

static void scale_include(struct scale *s, double value) {
    double v = s->logarithmic ? log10(value) : value;
    s->low = fmin(s->low, v);
    s->high = fmax(s->high, v);
}

/* Makes room for a constant, or for nothing at all (NaN included), and adds a margin. */
static void scale_finish(struct scale *s, double margin) {
    if (!(s->low <= s->high)) *s = (struct scale){0, 1, s->from, s->to, s->logarithmic};
    double least = s->logarithmic ? 0.1 : fmax(fabs(s->low) * 1e-9, 1e-300);
    if (s->high - s->low < least) {
        double room = s->logarithmic || s->low == 0 ? 0.5 : fabs(s->low) / 2;
        s->low -= room;
        s->high += room;
    }
    margin *= s->high - s->low;
    s->low -= margin;
    s->high += margin;
}

enum { TICKS = 24 };

struct ticks {
    double at[TICKS];
    char text[TICKS][16];
    int n;
};

/* 1, 2 or 5 times a power of ten, at least `step`. */
static double step_round(double step) {
    double power = pow(10, floor(log10(step))), lead = step / power;
    return power * (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10);
}

static int step_decimals(double step) {
    return step >= 1 ? 0 : (int)ceil(-log10(step) - 1e-9);
}

/* A multiple of `step`, with as many decimals as that has. Beside numbers of five figures each is in units of its own
 * size, and without zeros at its end: 500k, 1M, 1.5M. */
static void tick_format(char text[16], double value, double step, double most) {
    static const struct {
        double unit;
        const char *suffix;
    } units[] = {{1e9, "G"}, {1e6, "M"}, {1e3, "k"}, {1, ""}};
    size_t u = most < 1e4 ? 3 : 0;
    while (u < 3 && fabs(value) < units[u].unit * (1 - 1e-9)) u++;
    const int decimals = step_decimals(step / units[u].unit);
    if (decimals > 5 || most >= 1e13) {
        snprintf(text, 16, "%.3g", value);
        return;
    }
    int n = snprintf(text, 16, "%.*f", value == 0 ? 0 : decimals, value / units[u].unit);
    if (u < 3 && strchr(text, '.')) {
        while (text[n - 1] == '0') n--;
        n -= text[n - 1] == '.';
    }
    snprintf(text + n, (size_t)(16 - n), "%s", units[u].suffix);
}

static void ticks_linear(struct ticks *t, double low, double high, int about) {
    const double step = step_round((high - low) / about), most = fmax(fabs(low), fabs(high));
    t->n = 0;
    for (double i = ceil(low / step - 1e-9) + 0.0; i <= high / step + 1e-9 && t->n < TICKS; i++) { /* no -0 */
        tick_format(t->text[t->n], i * step, step, most);
        t->at[t->n++] = i * step;
    }
}

/* Powers of ten, with their doubles and fives if there is room; even steps on less than that. */
static void ticks_logarithmic(struct ticks *t, double low, double high, int about) {
    static const double leads[] = {1, 2, 5};
    const double room = about > 5 ? 3 : 0.375 * about; /* decades; on a small screen six figures fit between 1 and 2 */
    int skip = (int)ceil((high - low) / about), per_decade = high - low < room ? 3 : 1;
    t->n = 0;
    for (int decade = (int)floor(low); decade <= high; decade += skip) {
        for (int i = 0; i < per_decade; i++) {
            double value = leads[i] * pow(10, decade), place = log10(value);
            if (place < low - 1e-9 || place > high + 1e-9 || t->n == TICKS) continue;
            snprintf(t->text[t->n], sizeof t->text[0], "%g", value);
            t->at[t->n++] = value;
        }
    }
    if (t->n < 3 && high - low < 1) ticks_linear(t, pow(10, low), pow(10, high), about);
}

static void ticks_choose(struct ticks *t, const struct scale *s, int about) {
    (s->logarithmic ? ticks_logarithmic : ticks_linear)(t, s->low, s->high, about);
}

static double ticks_width(const struct ticks *t) {
    double widest = 0;
    for (int i = 0; i < t->n; i++) widest = fmax(widest, text_width(t->text[i]));
    return widest;
}

/* ---- The frame ---- */

enum { COLOURS = 7 };
static const char *const light[COLOURS] = {"0072b2", "d55e00", "009e73", "cc79a7",
                                           "56b4e9", "e69f00", "6e7781"};
static const char *const dark[COLOURS] = {"4da3e0", "f0883e", "2bc495", "e09cc4",
                                          "9bd5f7", "f2c14e", "9da5ae"};

static void palette_print(FILE *out, const char *const *colours) {
    for (int i = 0; i < COLOURS; i++) fprintf(out, ".s%d{stroke:#%s}.f%d{fill:#%s}\n", i, colours[i], i, colours[i]);
}

enum { TITLE_LINES = 4, TITLE_HEIGHT = 19 };

/* Breaks a title between words: where each line begins and how many bytes it has. Returns the number of lines; the
 * last one has what is left. */
static int title_break(const char *title, double room, const char *starts[], int sizes[]) {
    int lines = 1;
    double width = 0;
    starts[0] = title, sizes[0] = 0;
    for (const char *word = title; *word;) {
        const char *end = strchrnul(word + 1, ' ');
        char *text = string_format("%.*s", (int)(end - word), word);
        const double more = text_width(text);
        free(text);
        if (sizes[lines - 1] > 0 && width + more > room && lines < TITLE_LINES) {
            word += *word == ' ';
            starts[lines] = word, sizes[lines] = 0, width = 0, lines++;
        }
        sizes[lines - 1] += (int)(end - word);
        width += more;
        word = end;
    }
    return lines;
}

/* Lines of a title that is too long for one stand above the rest, whose place stays. */
static void svg_open(FILE *out, double width, double height, const char *title) {
    const double room = (width - 2 * EDGE) / 1.42; /* in widths at 12 px: letters are larger, and bold */
    const char *starts[TITLE_LINES];
    int sizes[TITLE_LINES];
    const int lines = title_break(title, room, starts, sizes), above = (lines - 1) * TITLE_HEIGHT;
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 %d %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
            "style=\"max-width:100%%;height:auto\" role=\"img\">\n<style>\n"
            "text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;"
            "font-variant-numeric:tabular-nums;fill:#59636e}\n"
            ".title{font-size:15px;font-weight:600;fill:#1f2328}.ground{fill:#fff}.missing{fill:#d1d9e0}\n"
            ".grid{stroke:#e4e8ec}.axis{stroke:#818b98}.end{text-anchor:end}.middle{text-anchor:middle}\n"
            ".line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}\n"
            ".many{stroke-width:1;opacity:.6}.hit{opacity:0}.hit:hover{opacity:1}.cell{font-size:10.5px}\n",
            -above, width, height + above, width, height + above);
    palette_print(out, light);
    fputs("@media (prefers-color-scheme:dark){\ntext{fill:#9198a1}.title{fill:#f0f6fc}.ground{fill:#0d1117}\n"
          ".missing{fill:#3d444d}.grid{stroke:#262c36}.axis{stroke:#656c76}\n",
          out);
    palette_print(out, dark);
    fputs("}\n</style>\n<title>", out);
    xml_print(out, "%s", title);
    fprintf(out, "</title>\n<rect class=\"ground\" y=\"%d\" width=\"%.0f\" height=\"%.0f\"/>\n", -above, width,
            height + above);
    for (int i = 0; i < lines; i++) {
        char *line = string_format("%.*s", sizes[i], starts[i]);
        text_fit(out, EDGE, 27 - above + i * TITLE_HEIGHT, "class=\"title\"", line, room);
        free(line);
    }
}

/* ---- Lines ---- */

enum { LINES_HEIGHT = 420, LINES_BOTTOM = LINES_HEIGHT - 54, LABEL_HEIGHT = 15, HITS = 200 };

/* A plot without names beside it is at least this share of its width. */
static const double least_plot = 0.6;

/* Where a series ends, and what is written there. */
struct label {
    double place, at; /* the end of the line; the text, moved away from others */
    char *text;       /* NULL: nothing to draw */
    int colour;
};

static void axes_draw(FILE *out, const struct scale *x, const struct scale *y, const char *x_label,
                      const char *y_label, double width) {
    struct ticks t;
    ticks_choose(&t, y, 6);
    for (int i = 0; i < t.n; i++) {
        double place = scale_place(y, t.at[i]);
        fprintf(out, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>\n", x->from, place, x->to);
        text_draw(out, x->from - 8, place + 4, "class=\"end\"", t.text[i]);
    }
    ticks_choose(&t, x, (int)fmin(7, fmax(2, (x->to - x->from) / 60)));
    for (int i = 0; i < t.n; i++) {
        double place = scale_place(x, t.at[i]);
        fprintf(out, "<path class=\"axis\" d=\"M%.1f %.1fv5\"/>\n", place, y->from);
        text_draw(out, place, y->from + 19, "class=\"middle\"", t.text[i]);
    }
    fprintf(out, "<path class=\"axis\" d=\"M%.1f %.1fH%.1f\"/>\n", x->from, y->from, x->to);
    text_fit(out, EDGE, 48, "", y_label, width - 2 * EDGE);
    text_centre(out, x->from, x->to, LINES_HEIGHT - 14, x_label, width);
}

static bool point_shows(const struct plot_series *s, size_t i, const struct scale *x, const struct scale *y) {
    return scale_takes(x, s->x[i]) && scale_takes(y, s->y[i]);
}

/* The line, broken where a value is missing, then what appears under the pointer: at most `hits` points. */
static void series_draw(FILE *out, const struct plot_series *s, int colour, const struct scale *x,
                        const struct scale *y, size_t hits) {
    fprintf(out, "<path class=\"line%s s%d\" d=\"", s->n > 2 * HITS ? " many" : "", colour);
    bool inside = false;
    for (size_t i = 0; i < s->n; i++) {
        bool shows = point_shows(s, i, x, y);
        if (shows) {
            const char *form = inside ? "L%.1f %.1f" : "M%.1f %.1fh0"; /* h0: a lone point becomes a dot */
            fprintf(out, form, scale_place(x, s->x[i]), scale_place(y, s->y[i]));
        }
        inside = shows;
    }
    fputs("\"><title>", out);
    xml_print(out, "%s", s->name);
    fputs("</title></path>\n", out);
    for (size_t i = 0; hits > 0 && i < s->n; i += s->n / hits + 1) {
        if (!point_shows(s, i, x, y)) continue;
        fprintf(out, "<circle class=\"hit f%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"><title>", colour,
                scale_place(x, s->x[i]), scale_place(y, s->y[i]));
        xml_print(out, "%s: %.6g at %.6g", s->name, s->y[i], s->x[i]);
        fputs("</title></circle>\n", out);
    }
}

/* The last value of a series, after its name if there are others. */
static struct label label_make(const struct plot_series *s, int colour, bool named, const struct scale *x,
                               const struct scale *y) {
    size_t i = s->n;
    while (i > 0 && !point_shows(s, i - 1, x, y)) i--;
    if (i == 0) return (struct label){.colour = colour};
    char *text = named ? string_format("%s %.4g", s->name, s->y[i - 1]) : string_format("%.4g", s->y[i - 1]);
    double place = scale_place(y, s->y[i - 1]);
    return (struct label){.place = place, .at = place, .text = text, .colour = colour};
}

static int label_compare(const void *a, const void *b) {
    double s = ((const struct label *)a)->place, t = ((const struct label *)b)->place;
    return (s > t) - (s < t);
}

/* Pushes overlapping labels down from the top, then what fell out at the bottom up again. */
static void labels_spread(struct label *labels, size_t n) {
    double gap = fmin(LABEL_HEIGHT, (double)(LINES_BOTTOM - PLOT_TOP) / (double)n), limit = LINES_BOTTOM;
    qsort(labels, n, sizeof *labels, label_compare);
    for (size_t i = 1; i < n; i++) labels[i].at = fmax(labels[i].at, labels[i - 1].at + gap);
    for (size_t i = n; i-- > 0; limit -= gap) labels[i].at = fmin(labels[i].at, limit);
}

/* The extent of the data; the pixels follow once the labels are known. */
static void series_measure(const struct plot_series *series, size_t n, struct scale *x, struct scale *y) {
    for (size_t s = 0; s < n; s++) {
        for (size_t i = 0; i < series[s].n; i++) {
            if (!point_shows(&series[s], i, x, y)) continue;
            scale_include(x, series[s].x[i]);
            scale_include(y, series[s].y[i]);
        }
    }
    scale_finish(x, 0);
    scale_finish(y, 0.05);
}

/* Each label where its line ends, moved away from others. */
static void labels_draw(FILE *out, struct label *labels, size_t n, double x) {
    labels_spread(labels, n);
    for (size_t s = 0; s < n; s++) {
        if (!labels[s].text) continue;
        char *class = string_format("class=\"f%d\"", labels[s].colour);
        text_draw(out, x, labels[s].at + 4, class, labels[s].text);
        free(class);
    }
}

/* The labels under the plot, each after a stroke of its line. */
static void legend_draw(FILE *out, const struct label *labels, size_t n, double width) {
    double y = LINES_HEIGHT;
    for (size_t s = 0; s < n; s++) {
        if (!labels[s].text) continue;
        char *class = string_format("class=\"f%d\"", labels[s].colour);
        fprintf(out, "<path class=\"line s%d\" d=\"M%d %.1fh14\"/>\n", labels[s].colour, EDGE, y);
        text_fit(out, EDGE + 20, y + 4, class, labels[s].text, width - 2 * EDGE - 20);
        free(class);
        y += LABEL_HEIGHT;
    }
}

bool plot_lines_at(const struct plot_place *place, struct plot_axis x_axis, struct plot_axis y_axis,
                   const struct plot_series *series, size_t n, struct error *err) {
    struct atomic_file file;
    if (!atomic_open(&file, place->path, err)) return false;
    FILE *out = file.file;
    struct scale x = {INFINITY, -INFINITY, 0, 0, x_axis.logarithmic};
    struct scale y = {INFINITY, -INFINITY, LINES_BOTTOM, PLOT_TOP, y_axis.logarithmic};
    series_measure(series, n, &x, &y);
    struct ticks ticks;
    ticks_choose(&ticks, &y, 6);
    struct label *labels = array_alloc(n, sizeof *labels);
    double widest = 0;
    for (size_t s = 0; s < n; s++) {
        labels[s] = label_make(&series[s], (int)(s % COLOURS), n > 1, &x, &y);
        if (labels[s].text) widest = fmax(widest, text_width(labels[s].text));
    }
    x.from = EDGE + ticks_width(&ticks) + 8;
    x.to = place->width - EDGE - widest - 8;
    const bool below = n > 1 && (x.to - x.from < least_plot * place->width ||
                                 n * LABEL_HEIGHT > (size_t)(LINES_BOTTOM - PLOT_TOP));
    if (below) x.to = place->width - EDGE - 8;
    svg_open(out, place->width, LINES_HEIGHT + (below ? LABEL_HEIGHT * (double)n : 0), place->title);
    axes_draw(out, &x, &y, x_axis.label, y_axis.label, place->width);
    const size_t hits = place->width < PLOT_WIDE ? 0 : HITS; /* nothing hovers over a small screen */
    for (size_t s = 0; s < n; s++) series_draw(out, &series[s], (int)(s % COLOURS), &x, &y, hits);
    if (below) legend_draw(out, labels, n, place->width);
    else labels_draw(out, labels, n, x.to + 8);
    if (widest == 0)
        text_draw(out, place->width / 2, (PLOT_TOP + LINES_BOTTOM) / 2, "class=\"middle\"", "no data");
    for (size_t s = 0; s < n; s++) free(labels[s].text);
    free(labels);
    fputs("</svg>\n", out);
    return atomic_commit(&file, err);
}

bool plot_lines(const char *path, const char *title, struct plot_axis x, struct plot_axis y,
                const struct plot_series *series, size_t n, struct error *err) {
    return plot_lines_at(&(struct plot_place){path, title, PLOT_WIDE}, x, y, series, n, err);
}

/* ---- Heat maps ---- */

enum { BAR_WIDTH = 12, RAMP = 10 };

/* viridis at ten even places */
static const unsigned char ramp[RAMP][3] = {
    {0x44, 0x01, 0x54}, {0x48, 0x28, 0x78}, {0x3e, 0x4a, 0x89}, {0x31, 0x68, 0x8e}, {0x26, 0x82, 0x8e},
    {0x1f, 0x9e, 0x89}, {0x35, 0xb7, 0x79}, {0x6d, 0xcd, 0x59}, {0xb4, 0xde, 0x2c}, {0xfd, 0xe7, 0x25},
};

unsigned plot_colour(double share, bool *bright) {
    double place = fmin(fmax(share, 0), 1) * (RAMP - 1);
    int below = place >= RAMP - 1 ? RAMP - 2 : (int)place;
    double rgb[3];
    for (int i = 0; i < 3; i++)
        rgb[i] = ramp[below][i] + (place - below) * (ramp[below + 1][i] - ramp[below][i]);
    *bright = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] > 125;
    return (unsigned)lround(rgb[0]) << 16 | (unsigned)lround(rgb[1]) << 8 | (unsigned)lround(rgb[2]);
}

/* The colour bar, drawn from bottom to top along `s`. Several plots may come to stand in one page, where no id may
 * occur twice: `id` tells them apart. */
static void bar_draw(FILE *out, double x, const struct scale *s, const struct ticks *ticks, uint64_t id) {
    fprintf(out, "<linearGradient id=\"ramp-%016" PRIx64 "\" x1=\"0\" y1=\"1\" x2=\"0\" y2=\"0\">", id);
    for (int i = 0; i < RAMP; i++) {
        fprintf(out, "<stop offset=\"%.4f\" stop-color=\"#%02x%02x%02x\"/>", i / (RAMP - 1.0), ramp[i][0],
                ramp[i][1], ramp[i][2]);
    }
    fprintf(out, "</linearGradient>\n<rect x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"%.1f\" "
            "fill=\"url(#ramp-%016" PRIx64 ")\"/>\n", x, s->to, BAR_WIDTH, s->from - s->to, id);
    for (int i = 0; i < ticks->n; i++) {
        double place = scale_place(s, ticks->at[i]);
        fprintf(out, "<path class=\"axis\" d=\"M%.1f %.1fh4\"/>\n", x + BAR_WIDTH, place);
        text_draw(out, x + BAR_WIDTH + 8, place + 4, "", ticks->text[i]);
    }
}

/* The rectangle of one cell in pixels. */
struct cell {
    double x, y, width, height;
};

static void cell_draw(FILE *out, struct cell c, double value, const struct scale *s, const char *row,
                      size_t column) {
    double gap = fmin(c.width, c.height) >= 8 ? 1 : 0;
    bool bright = false;
    unsigned colour = plot_colour((value - s->low) / (s->high - s->low), &bright);
    fprintf(out, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" ", c.x, c.y, c.width - gap,
            c.height - gap);
    if (isfinite(value)) {
        fprintf(out, "fill=\"#%06x\"><title>", colour);
        xml_print(out, "%s, %zu: %.4g", row, column, value);
    } else {
        fputs("class=\"missing\"><title>", out);
        xml_print(out, "%s, %zu: no value", row, column);
    }
    fputs("</title></rect>\n", out);
    char text[32];
    snprintf(text, sizeof text, "%.*f", step_decimals((s->high - s->low) / 50), value);
    const double room = fmax(34, text_width(text) * 10.5 / 12 + 4);
    if (!isfinite(value) || c.width < room || c.height < 18) return;
    text_draw(out, c.x + c.width / 2, c.y + c.height / 2 + 3.5,
              bright ? "class=\"cell middle\" style=\"fill:#000\""
                     : "class=\"cell middle\" style=\"fill:#fff\"",
              text);
}

/* Row by row: label and cells between `left` and `right`; then the columns' numbers. */
static void cells_draw(FILE *out, const struct heatmap *m, const struct scale *s, double left, double right) {
    const double height = (s->from - PLOT_TOP) / (double)m->rows, width = (right - left) / (double)m->cols;
    for (size_t r = 0; r < m->rows; r++) {
        const double y = PLOT_TOP + height * (double)r;
        text_fit(out, left - 8, y + height / 2 + 4, "class=\"end\"", m->row_labels[r], left - 8 - EDGE + 0.5);
        for (size_t c = 0; c < m->cols; c++) {
            const struct cell cell = {left + width * (double)c, y, width, height};
            cell_draw(out, cell, m->values[r * m->cols + c], s, m->row_labels[r], c);
        }
    }
    const size_t stride = (size_t)fmax(step_round(30 / width), 1); /* 30 px: room for three figures */
    for (size_t c = 0; c < m->cols; c += stride) {
        char text[24];
        snprintf(text, sizeof text, "%zu", c);
        text_draw(out, left + width * ((double)c + 0.5), s->from + 17, "class=\"middle\"", text);
    }
}

bool plot_heatmap(const struct plot_place *place, const struct heatmap *m, struct error *err) {
    struct atomic_file file;
    if (!atomic_open(&file, place->path, err)) return false;
    FILE *out = file.file;
    const double row_height = fmin(fmax(240.0 / (double)m->rows, 13), 40);
    const double bottom = PLOT_TOP + row_height * (double)m->rows;
    struct scale s = {m->low, m->high, bottom, PLOT_TOP, false};
    scale_finish(&s, 0);
    struct ticks ticks;
    ticks_linear(&ticks, s.low, s.high, bottom - PLOT_TOP > 150 ? 6 : 3);
    double label_width = 0;
    for (size_t r = 0; r < m->rows; r++) label_width = fmax(label_width, text_width(m->row_labels[r]));
    const double left = EDGE + fmin(label_width, (1 - least_plot) * place->width) + 8;
    const double right = place->width - EDGE - ticks_width(&ticks) - 8 - BAR_WIDTH - 14;
    svg_open(out, place->width, bottom + 54, place->title);
    text_fit(out, EDGE, 48, "", m->row_title, place->width - 2 * EDGE);
    cells_draw(out, m, &s, left, right);
    text_centre(out, left, right, bottom + 40, m->column_title, place->width);
    bar_draw(out, right + 14, &s, &ticks, hash_bytes(HASH_START, place->path, strlen(place->path)));
    fputs("</svg>\n", out);
    return atomic_commit(&file, err);
}
