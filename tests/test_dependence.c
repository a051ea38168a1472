/* Which experts serve which part: mutual information and its null against figures that can be done by hand and plain
 * loops, then how often the null is wrong, then what build/analyse makes of it (no model: routings by hand). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <omp.h>
#include "command.h"
#include "../src/base/rng.h"
#include "study/analyse.h"
#include "study/analyse_page.h"
#include "study/dependence.h"

/* Sums of at most a few hundred doubles of order 1. */
static void near(double got, double want) {
    if (!(fabs(got - want) <= 1e-12 * fmax(1, fabs(want)))) fail_msg("got %.17g, want %.17g", got, want);
}

/* ---- Figures by hand ---- */

static void independence_is_nothing(void **state) {
    (void)state;
    static const double even[] = {3, 6, 0, 9, /**/ 5, 10, 0, 15}, alone[] = {7, 2, 5}, one[] = {4, 0, 0, /**/ 9, 0, 0};
    static const double nothing[4] = {0};
    assert_true(mutual_information(even, 2, 4) == 0); /* exactly: equal tables must have equal figures */
    assert_true(mutual_information(alone, 1, 3) == 0);
    assert_true(mutual_information(one, 2, 3) == 0); /* all but one expert are dead */
    assert_true(mutual_information(nothing, 2, 2) == 0);
}

static void a_perfect_assignment_is_the_entropy(void **state) {
    (void)state;
    static const double two[] = {0, 8, 0, /**/ 3, 0, 5};             /* two parts of as many picks: a bit */
    static const double four[] = {2, 0, 0, 0, /**/ 0, 1, 0, 1, /**/ 0, 0, 4, 0}; /* shares 1/4, 1/4, 1/2 */
    near(mutual_information(two, 2, 3), 1), near(rows_entropy(two, 2, 3), 1);
    near(mutual_information(four, 3, 4), 1.5), near(rows_entropy(four, 3, 4), 1.5);
    static const double uneven[] = {1, 1, /**/ 6, 0, /**/ 0, 0}; /* a part without a pick */
    near(rows_entropy(uneven, 3, 2), 2 - 0.75 * log2(3));
}

/* Part 1 picks expert 0 in 1 of 4, part 2 in 3 of 4: 1 - h(1/4), h the entropy of two. An expert without picks, and as
 * many picks times 5, change nothing. */
static void partly_told(void **state) {
    (void)state;
    static const double table[] = {1, 0, 3, /**/ 3, 0, 1}, more[] = {15, 5, /**/ 5, 15}, turned[] = {1, 3, 0, 0, 3, 1};
    const double want = 1 - (0.25 * log2(4) + 0.75 * log2(4 / 3.0));
    near(mutual_information(table, 2, 3), want);
    near(mutual_information(more, 2, 2), want);
    near(mutual_information(turned, 3, 2), want); /* the part about the expert */
    /* parts of 2 and 6 picks: of expert 0 are 2 and 2, of expert 1 none and 4 */
    static const double uneven[] = {2, 0, /**/ 2, 4};
    near(mutual_information(uneven, 2, 2), 0.25 * log2(2) + 0.25 * log2(2 / 3.0) + 0.5 * log2(4 / 3.0));
}

/* 6 tokens of two sub-tokens, two picks each, as three windows of 2 tokens; expert 3 is dead. */
static const int32_t by_hand[] = {0, 1, 1, 0, /**/ 0, 2, 2, 1, /***/ 4, 0, 4, 0, /**/ 4, 2, 0, 4, /***/ 1, 2, 1, 2,
                                  /**/ 1, 2, 2, 1};
static void windows_are_counted(void **state) {
    (void)state;
    static const double want[] = {3, 3, 2, 0, 0, /**/ 3, 0, 1, 0, 4, /**/ 0, 4, 4, 0, 0};
    static const size_t parts[] = {1, 0, 1};
    const struct picks r = {by_hand, 6, 2, 2, 5};
    double counts[15], table[10];
    windows_count(&r, 2, counts);
    for (int i = 0; i < 15; i++) near(counts[i], want[i]);
    const struct windows w = {counts, (const size_t[]){0, 0, 0}, 3, 5, 2};
    parts_count(&w, parts, table);
    static const double summed[] = {3, 0, 1, 0, 4, /**/ 3, 7, 6, 0, 0};
    for (int i = 0; i < 10; i++) near(table[i], summed[i]);
}

static void excess_is_over_the_null(void **state) {
    (void)state;
    double null[999], few[20];
    for (int i = 0; i < 999; i++) null[i] = (double)((i * 7) % 999) / 1000; /* 0 to 0.998, mixed; 950 are up to 0.949 */
    for (int i = 0; i < 20; i++) few[i] = 19 - i;
    const struct excess x = excess_over(0.9491, null, 999), y = excess_over(0.949, null, 999);
    near(x.null_mean, 0.499), near(x.null_95, 0.949), near(x.excess, 0.4501);
    assert_true(x.above && !y.above); /* not where it is equal */
    assert_false(excess_over(0.949 + 1e-12, null, 999).above); /* as rounding may make it */
    near(excess_over(-1, null, 999).excess, -1.499);
    assert_true(null[1] == 0.007); /* left as they were */
    near(excess_over(0, few + 1, 19).null_95, 18); /* with the one observed 20, of which it is to be the highest */
    near(excess_over(0, few, 20).null_95, 19);     /* of 21 the highest is 4.8%, the two highest are too many */
}

/* ---- The null ---- */

enum { W = 30, P = 3, E = 7, DRAWS = 199 };

/* Windows that are unlike each other: tokens of one keep to two experts, whatever its part; with `served`, mostly to
 * the part's own. Expert E - 1 is dead. */
static void counts_make(double *counts, const size_t *part, double served, struct rng *rng) {
    memset(counts, 0, W * E * sizeof *counts);
    for (size_t w = 0; w < W; w++) {
        const size_t a = rng_next(rng) % (E - 1), b = rng_next(rng) % (E - 1);
        for (int t = 0; t < 40; t++)
            counts[w * E + (rng_uniform(rng) < served ? part[w] : rng_next(rng) % 2 ? a : b)]++;
    }
}

static void parts_make(size_t *part) {
    for (size_t w = 0; w < W; w++) part[w] = w / (W / P);
}

static double information_of(const struct windows *w) {
    double table[P * E];
    parts_count(w, w->part, table);
    return mutual_information(table, w->P, w->E);
}

/* Without dependence 5% of data sets are above, and none has an excess on average; dealt out by tokens instead of
 * windows all would be. */
static void independent_data_have_no_excess(void **state) {
    (void)state;
    enum { TIMES = 2000 };
    double counts[W * E], null[DRAWS], sum = 0, squares = 0;
    size_t part[W], above = 0;
    struct rng rng;
    rng_seed(&rng, 5, 0);
    parts_make(part);
    for (uint64_t i = 0; i < TIMES; i++) {
        counts_make(counts, part, 0, &rng);
        const struct windows w = {counts, part, W, E, P};
        information_null(&w, i, null, DRAWS);
        const struct excess x = excess_over(information_of(&w), null, DRAWS);
        above += x.above;
        sum += x.excess, squares += x.excess * x.excess;
        for (int d = 0; d < DRAWS; d++) assert_true(null[d] > 0 && null[d] <= log2(P));
    }
    const double error = sqrt(squares) / TIMES; /* of the mean */
    if (!(above > 61 && above < 139)) fail_msg("%zu above", above); /* 100, 4 standard deviations of 9.7 */
    if (!(fabs(sum / TIMES) < 4 * error)) fail_msg("excess %g, standard error %g", sum / TIMES, error);
}

static void dependent_data_have_excess(void **state) {
    (void)state;
    double counts[W * E], null[DRAWS];
    size_t part[W];
    struct rng rng;
    rng_seed(&rng, 6, 0);
    parts_make(part);
    double last = 0;
    for (double served = 0.25; served <= 1; served += 0.25) {
        counts_make(counts, part, served, &rng);
        const struct windows w = {counts, part, W, E, P};
        information_null(&w, 1, null, DRAWS);
        const struct excess x = excess_over(information_of(&w), null, DRAWS);
        assert_true(x.above && x.excess > last);
        last = x.excess;
    }
    near(information_of(&(struct windows){counts, part, W, E, P}), log2(P)); /* all served by their own */
}

/* A draw is the parts in another order: as many windows of each, every order as often. */
static void draws_are_orders(void **state) {
    (void)state;
    enum { TIMES = 8000 };
    static const double counts[] = {8, 0, 0, /**/ 2, 4, 0, /**/ 0, 1, 3, /**/ 5, 5, 1};
    static const size_t part[] = {1, 1, 0, 1};
    const struct windows w = {counts, part, 4, 3, 2};
    static double null[TIMES];
    information_null(&w, 3, null, TIMES);
    size_t found[4] = {0};
    for (size_t i = 0; i < TIMES; i++)
        for (size_t alone = 0; alone < 4; alone++) {
            double table[6];
            const size_t dealt[] = {alone != 0, alone != 1, alone != 2, alone != 3};
            parts_count(&w, dealt, table);
            found[alone] += fabs(null[i] - mutual_information(table, 2, 3)) < 1e-12;
        }
    for (size_t alone = 0; alone < 4; alone++) /* 2000, 5 standard deviations of 38.7 */
        if (!(found[alone] > 1806 && found[alone] < 2194)) fail_msg("%zu: %zu", alone, found[alone]);
}

/* Which part is called the first, and which expert, does not matter; nor do threads. Seeds, and draws, do. */
static void order_does_not_matter(void **state) {
    (void)state;
    double counts[W * E], other[W * E], null[DRAWS], again[DRAWS];
    size_t part[W], turned[W];
    struct rng rng;
    rng_seed(&rng, 7, 0);
    parts_make(part);
    counts_make(counts, part, 0.5, &rng);
    for (size_t w = 0; w < W; w++) {
        turned[w] = (part[w] + 1) % P;
        for (size_t e = 0; e < E; e++) other[w * E + (e + 3) % E] = counts[w * E + e];
    }
    const struct windows a = {counts, part, W, E, P}, b = {other, turned, W, E, P};
    near(information_of(&a), information_of(&b));
    omp_set_num_threads(1);
    information_null(&a, 11, null, DRAWS);
    omp_set_num_threads(3);
    information_null(&b, 11, again, DRAWS);
    for (int i = 0; i < DRAWS; i++) near(null[i], again[i]);
    information_null(&a, 11, again, DRAWS);
    assert_memory_equal(null, again, sizeof null);
    information_null(&a, 11, again, 5); /* fewer are the first of more */
    assert_memory_equal(null, again, 5 * sizeof *null);
    information_null(&a, 12, again, DRAWS);
    size_t same = 0;
    for (int i = 0; i < DRAWS; i++) same += null[i] == again[i] || null[i] == null[(i + 1) % DRAWS];
    assert_true(same < 5);
    for (size_t w = 0; w < W; w++) assert_true(part[w] == w / (W / P)); /* the labels are left as they were */
}

/* ---- What build/analyse makes of it ---- */

enum { LM = 2, MODELS = 2, WINDOWS = 4, LENGTH = 5, N = P * WINDOWS * LENGTH, NULL_DRAWS = 999 };

static const struct {
    const char *name;
    size_t H, K, E;
} shapes[MODELS] = {{"smoe<1>", 1, 2, 6}, {"mhmoe", 3, 1, 4}};
static int32_t tokens[N], targets[N];
static char *names[P] = {"de", "en-us", "zh&"};
static const struct text text = {"a text", tokens, targets, N, names, P, WINDOWS, LENGTH};
static struct subject subjects[MODELS];
static json_t *analysis;

/* In the first layer parts have their experts, in the second windows do: whose parts are all alike. The last expert of
 * the first model is dead. */
static void picks_make(int32_t *picks, size_t i, struct rng *rng) {
    const size_t H = shapes[i].H, K = shapes[i].K, E = shapes[i].E - (i == 0), each = H * K;
    for (size_t lm = 0; lm < LM; lm++)
        for (size_t t = 0; t < N; t++)
            for (size_t h = 0; h < each; h++) {
                const size_t w = t / LENGTH, own = lm == 0 ? w / WINDOWS : w % WINDOWS;
                int32_t *pick = picks + (lm * N + t) * each + h;
                *pick = (int32_t)((rng_next(rng) % 3 ? own : rng_next(rng)) % E);
                if (h % K && *pick == pick[-1]) *pick = (int32_t)(((size_t)*pick + 1) % E);
            }
}

static int analysis_make(void **state) {
    (void)state;
    struct rng rng;
    const struct words none = {0};
    rng_seed(&rng, 8, 0);
    for (size_t i = 0; i < MODELS; i++) {
        subjects[i] = (struct subject){.name = (char *)shapes[i].name, .path = "p", .log = "none/log.jsonl",
                                       .config_text = i ? "{\"ffn\":\"mhmoe\"}" : "{\"ffn\":\"smoe\"}",
                                       .config = {.moe_every = 2},
                                       .sizes = {.V = 1, .H = shapes[i].H, .K = shapes[i].K, .E = shapes[i].E,
                                                 .LM = LM, .F = 1}};
        subjects[i].picks = array_alloc(LM * N * shapes[i].H * shapes[i].K, sizeof(int32_t));
        picks_make(subjects[i].picks, i, &rng);
    }
    analysis = analysis_measure(subjects, MODELS, &text, &none, NULL);
    return analysis && workplace_enter() ? 0 : -1;
}

static int analysis_free(void **state) {
    for (size_t i = 0; i < MODELS; i++) free(subjects[i].picks);
    json_decref(analysis);
    return workplace_remove(state);
}

static const json_t *parts_at(size_t i) {
    return json_object_get(json_array_get(json_object_get(analysis, "models"), i), "parts");
}
static const json_t *row_at(size_t i, size_t lm) {
    return lm < LM ? json_array_get(json_object_get(parts_at(i), "layers"), lm) : json_object_get(parts_at(i), "all");
}
static double at(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value)) fail_msg("%s: no number", key);
    return json_number_value(value);
}

/* Picks of expert e in window w of W, or of all of a part's windows. */
static double picks_of(size_t i, size_t lm, size_t w, size_t windows, size_t e) {
    const size_t each = shapes[i].H * shapes[i].K;
    double count = 0;
    for (size_t t = w * LENGTH; t < (w + windows) * LENGTH; t++)
        for (size_t h = 0; h < each; h++) count += subjects[i].picks[(lm * N + t) * each + h] == (int32_t)e;
    return count;
}

/* By entropies: of experts, less the mean of those within each part (which are of equal size). */
static double information_by_entropies(size_t i, size_t lm) {
    const double picks = (double)(N * shapes[i].H * shapes[i].K);
    double sum = 0;
    for (size_t e = 0; e < shapes[i].E; e++) {
        const double share = picks_of(i, lm, 0, P * WINDOWS, e) / picks;
        sum -= share > 0 ? share * log2(share) : 0;
        for (size_t p = 0; p < P; p++) {
            const double own = picks_of(i, lm, p * WINDOWS, WINDOWS, e) / picks * P;
            sum += own > 0 ? own * log2(own) / P : 0;
        }
    }
    return sum;
}

static void experts_serve_parts(void **state) {
    (void)state;
    const json_t *described = json_object_get(analysis, "text"), *listed = json_object_get(described, "parts");
    assert_int_equal(json_array_size(listed), P);
    for (size_t p = 0; p < P; p++) assert_string_equal(json_string_value(json_array_get(listed, p)), names[p]);
    near(at(described, "windows_of_each"), WINDOWS), near(at(described, "tokens_of_a_window"), LENGTH);
    near(at(described, "null_draws"), NULL_DRAWS);
    for (size_t i = 0; i < MODELS; i++) {
        near(at(parts_at(i), "entropy"), log2(P));
        assert_int_equal(json_array_size(json_object_get(parts_at(i), "layers")), LM);
        for (size_t lm = 0; lm < LM; lm++) {
            const json_t *shares = json_object_get(row_at(i, lm), "shares");
            assert_int_equal(json_array_size(shares), P);
            for (size_t p = 0; p < P; p++) {
                const json_t *row = json_array_get(shares, p);
                assert_int_equal(json_array_size(row), shapes[i].E);
                for (size_t e = 0; e < shapes[i].E; e++)
                    near(json_number_value(json_array_get(row, e)),
                         picks_of(i, lm, p * WINDOWS, WINDOWS, e) * P / (double)(N * shapes[i].H * shapes[i].K));
            }
            near(at(row_at(i, lm), "information"), information_by_entropies(i, lm));
            assert_string_equal(json_string_value(json_object_get(row_at(i, lm), "layer")), lm ? "block 3" : "block 1");
        }
    }
}

/* Each layer against its own null; all of them against the mean of the draws. */
static void nulls_are_each_layers(void **state) {
    (void)state;
    for (size_t i = 0; i < MODELS; i++) {
        static double nulls[LM + 1][NULL_DRAWS];
        double information[LM + 1] = {0};
        memset(nulls[LM], 0, sizeof nulls[LM]);
        for (size_t lm = 0; lm < LM; lm++) {
            double counts[P * WINDOWS * 8];
            size_t part[P * WINDOWS];
            for (size_t w = 0; w < P * WINDOWS; w++)
                for (size_t e = 0; e < shapes[i].E; e++)
                    part[w] = w / WINDOWS, counts[w * shapes[i].E + e] = picks_of(i, lm, w, 1, e);
            information_null(&(struct windows){counts, part, P * WINDOWS, shapes[i].E, P}, 1, nulls[lm], NULL_DRAWS);
            information[lm] = information_by_entropies(i, lm);
            information[LM] += information[lm] / LM;
            for (size_t d = 0; d < NULL_DRAWS; d++) nulls[LM][d] += nulls[lm][d] / LM;
        }
        for (size_t lm = 0; lm <= LM; lm++) {
            const json_t *row = row_at(i, lm);
            const struct excess x = excess_over(information[lm], nulls[lm], NULL_DRAWS);
            near(at(row, "information"), information[lm]);
            near(at(row, "information_share"), information[lm] / log2(P));
            near(at(row, "null_mean"), x.null_mean), near(at(row, "null_95"), x.null_95);
            near(at(row, "excess"), x.excess), near(at(row, "excess_share"), x.excess / log2(P));
            assert_true(json_is_true(json_object_get(row, "above_null")) == x.above);
            assert_true(x.above == (lm != 1)); /* as the picks were made */
        }
        assert_string_equal(json_string_value(json_object_get(row_at(i, LM), "layer")), "all");
    }
}

/* Each row by itself in even shares; colours reach to two of them at least, and as far as any cell does. */
static void maps_are_in_even_shares(void **state) {
    (void)state;
    struct load_map map = load_map_make(4, 5);
    static const double rows[][5] = {{3, 3, 3, 3, 3}, {0, 0, 0, 0, 0}, {1, 3, 2, 2, 2}, {0, 6, 0, 0, 2}};
    static const double want[][5] = {{1, 1, 1, 1, 1}, {NAN, NAN, NAN, NAN, NAN}, {0.5, 1.5, 1, 1, 1},
                                     {0, 3.75, 0, 0, 1.25}};
    for (size_t r = 0; r < 4; r++) {
        load_map_add(&map, NULL, rows[r]);
        for (size_t e = 0; e < 5; e++) {
            const double got = map.values[r * 5 + e];
            if (isnan(want[r][e])) assert_true(isnan(got));
            else near(got, want[r][e]);
        }
        near(map.high, r < 3 ? 2 : 3.75);
    }
    free(map.labels);
    free(map.values);
}

static char *page_make(const json_t *numbers) {
    struct error err;
    size_t size;
    if (!directory_make("page/plots", &err) || !report_write("page", numbers, &err)) fail_msg("%s", err.text);
    char *page = file_contents(fopen("page/report.html", "rb"), "page", &size, &err);
    assert_non_null(page);
    return page;
}

static void expect(const char *page, const char *wanted) {
    if (!strstr(page, wanted)) fail_msg("no '%s'", wanted);
}

static void expect_cell(const char *row, const char *heading, const char *format, double value) {
    char *number = string_format(format, value);
    char *cell = string_format("data-label=\"%s\">%s</td>", heading, number);
    const char *end = strstr(row, "</tr>");
    if (!memmem(row, (size_t)(end - row), cell, strlen(cell))) fail_msg("no %s in %.500s", cell, row);
    free(number);
    free(cell);
}

/* Every figure of a row under its heading. */
static void expect_row(const char *row, const json_t *figures) {
    expect_cell(row, "mutual information, bits", "%.4f", at(figures, "information"));
    expect_cell(row, "of the parts' entropy", "%.4f", at(figures, "information_share"));
    expect_cell(row, "by chance: mean", "%.4f", at(figures, "null_mean"));
    expect_cell(row, "95% of draws", "%.4f", at(figures, "null_95"));
    expect_cell(row, "excess, bits", "%+.4f", at(figures, "excess"));
    expect_cell(row, "of the parts' entropy", "%+.4f", at(figures, "excess_share"));
    expect_cell(row, "verdict", json_is_true(json_object_get(figures, "above_null")) ? "above chance"
                                                                                      : "not told from chance", 0);
}

static void the_page_shows_it(void **state) {
    (void)state;
    char *page = page_make(analysis), *section = strstr(page, "<h2 id=\"parts\">"), title[200];
    assert_non_null(section);
    expect(page, "<a href=\"#parts\">Parts</a>");
    expect(section, "has 3 parts, and 4 windows of 5 tokens of each");
    expect(section, "out of the 1.585 that");
    expect(section, "anew, 999 times");
    const char *row = strstr(section, "Parts: side by side");
    for (size_t i = 0; i < MODELS; i++) {
        row = strstr(row, "<tr><td");
        expect_row(row, row_at(i, LM));
        expect_cell(row, "E", "%.0f", (double)shapes[i].E), expect_cell(row, "H", "%.0f", (double)shapes[i].H);
        expect_cell(row, "model", i ? "mhmoe" : "smoe&lt;1&gt;", 0);
        row++;
    }
    for (size_t i = 0; i < MODELS; i++) {
        row = strstr(row, i ? "<h3>mhmoe" : "<h3>smoe&lt;1");
        char *words = string_format("depends on the part in block 1; in block 3 it does not show beyond chance. On "
                                    "average over all layers a pick tells %.3f bits more than chance does of the 1.585 "
                                    "that it takes to know the part, %.1f%%",
                                    at(row_at(i, LM), "excess"), 100 * at(row_at(i, LM), "excess_share"));
        assert_ptr_equal(strstr(row, words), strstr(row, "depends on the part"));
        free(words);
        expect(row, i ? "the expert of a sub-token" : "the expert of a token");
        for (size_t lm = 0; lm <= LM; lm++, row++) expect_row(row = strstr(row, "<tr><td"), row_at(i, lm));
        for (size_t lm = 0; lm < LM; lm++) { /* in even shares */
            snprintf(title, sizeof title, "<title>Experts of each part in %s, block %d</title>",
                     i ? "mhmoe" : "smoe&lt;1&gt;", lm ? 3 : 1);
            row = strstr(row, title);
            if (!row) fail_msg("no %s", title);
            const double share = picks_of(i, lm, 2 * WINDOWS, WINDOWS, 1) / (double)(N * shapes[i].H * shapes[i].K) * P;
            snprintf(title, sizeof title, "zh&amp;, 1: %.4g<", share * (double)shapes[i].E);
            expect(row, title);
        }
    }
    run("ls page/plots/*-parts.svg | wc -l");
    assert_int_equal(atoi(output), MODELS * LM);
    free(page);
}

/* Where no layer depends on the part, where all do, and where there are no parts. */
static void the_page_says_what_holds(void **state) {
    (void)state;
    struct subject alike = subjects[0], apart = subjects[1];
    const struct words none = {0};
    const size_t each = N * 2;
    alike.picks = array_alloc(LM * each, sizeof *alike.picks);
    apart.picks = array_alloc(LM * N * 3, sizeof *apart.picks);
    for (size_t t = 0; t < LM * each; t++) alike.picks[t] = (int32_t)(t % 2);
    for (size_t t = 0; t < LM * N * 3; t++) apart.picks[t] = (int32_t)(t / 3 % N / LENGTH / WINDOWS);
    json_t *numbers = analysis_measure(&alike, 1, &text, &none, NULL);
    char *page = page_make(numbers);
    expect(page, "This does not support that experts serve some parts more than others");
    assert_null(strstr(page, "side by side"));
    assert_null(strstr(page, "depends on the part"));
    free(page);
    json_decref(numbers);
    numbers = analysis_measure(&apart, 1, &text, &none, NULL);
    page = page_make(numbers);
    expect(page, "depends on the part in block 1, block 3. On average");
    assert_null(strstr(page, "does not show beyond chance"));
    free(page);
    json_decref(numbers);
    for (size_t parts = 0; parts < 2; parts++) { /* one has nothing to be told from */
        struct text plain = text;
        plain.P = parts;
        numbers = analysis_measure(&apart, 1, &plain, &none, NULL);
        assert_null(json_object_get(json_array_get(json_object_get(numbers, "models"), 0), "parts"));
        assert_null(json_object_get(json_object_get(numbers, "meaning"), "parts"));
        assert_int_equal(json_object_size(json_object_get(numbers, "text")), 3);
        page = page_make(numbers);
        assert_null(strstr(page, "#parts"));
        assert_null(strstr(page, "id=\"parts\""));
        free(page);
        json_decref(numbers);
    }
    free(alike.picks);
    free(apart.picks);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(independence_is_nothing),        cmocka_unit_test(a_perfect_assignment_is_the_entropy),
        cmocka_unit_test(partly_told),                    cmocka_unit_test(windows_are_counted),
        cmocka_unit_test(excess_is_over_the_null),        cmocka_unit_test(independent_data_have_no_excess),
        cmocka_unit_test(dependent_data_have_excess),     cmocka_unit_test(draws_are_orders),
        cmocka_unit_test(order_does_not_matter),          cmocka_unit_test(experts_serve_parts),
        cmocka_unit_test(nulls_are_each_layers),          cmocka_unit_test(maps_are_in_even_shares),
        cmocka_unit_test(the_page_shows_it),
        cmocka_unit_test(the_page_says_what_holds),
    };
    return cmocka_run_group_tests(tests, analysis_make, analysis_free);
}
