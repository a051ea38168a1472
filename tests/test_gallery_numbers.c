/* The numbers of build/gallery against plain loops and figures by hand, and its page: galleries and models' answers by
 * hand, no model. What a model says: test_gallery.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>

#include "../data/pictures.h"
#include "../src/run/likelihood.h"
#include "../src/run/plot.h"
#include "data_files.h"
#include "study/gallery.h"
#include "study/statistics.h"

/* NaN and infinity are near nothing. */
static void expect_near(double got, double want, double tolerance) {
    if (!(isfinite(got) && fabs(got - want) <= tolerance)) fail_msg("got %.10g, want %.10g", got, want);
}

static double number_of(const json_t *row, const char *key) {
    const json_t *value = json_object_get(row, key);
    if (!json_is_number(value)) fail_msg("no number %s", key);
    return json_number_value(value);
}

/* ---- By hand ---- */

enum { ITEMS = 12 };

/* Items by hand: captions of 3 to 5 tokens, the first of which names the language; 3, 7 and 8 have the same. */
static struct gallery gallery_by_hand(size_t size, size_t patch) {
    struct gallery g = {.name = string_format("by <hand>"), .language = string_format("en"), .size = size,
                        .patch = patch, .P = (size / patch) * (size / patch), .n = ITEMS, .held_out = 2 * ITEMS,
                        .items = array_alloc(ITEMS, sizeof *g.items)};
    for (size_t i = 0; i < ITEMS; i++) {
        const size_t as = i == 7 || i == 8 ? 3 : i, n = 3 + as % 3;
        g.items[i] = (struct item){.name = string_format("%zu.png", i), .caption = string_format("a <%zu> \"&\"", as),
                                   .pixels = array_alloc(size * size, 3), .tokens = array_alloc(n, sizeof(int32_t)),
                                   .n = n, .prefix = 1};
        for (size_t t = 1; t < n; t++) g.items[i].tokens[t] = (int32_t)(10 * as + t);
        for (size_t at = 0; at < size * size * 3; at++) g.items[i].pixels[at] = (unsigned char)(i * 17 + at * at);
    }
    return g;
}

/* Small whole numbers, many of which are equal. */
static struct subject subject_by_hand(const struct gallery *g, uint64_t seed) {
    struct subject s = {.name = string_format("a & b"), .path = string_format("x.safetensors"), .step = 9,
                        .scores = array_alloc(g->n * g->n, sizeof *s.scores), .config = {.moe_every = 2},
                        .alone = array_alloc(g->n, sizeof *s.alone), .sizes = {.H = 3, .K = 2, .E = 5, .P = g->P}};
    struct rng rng;
    rng_seed(&rng, seed, 0);
    for (size_t i = 0; i < g->n * g->n; i++)
        s.scores[i] = -(double)rng_below(&rng, 12) + (i % (g->n + 1) == 0 ? 4 : 0);
    for (size_t i = 0; i < g->n; i++) s.alone[i] = -(double)rng_below(&rng, 9);
    return s;
}

static const json_t *row_at(const json_t *model, const char *key, size_t i) {
    return json_array_get(json_object_get(model, key), i);
}

static const json_t *model_at(const json_t *numbers, size_t i) { return row_at(numbers, "models", i); }

static const char *string_of(const json_t *row, const char *key) {
    return json_string_value(json_object_get(row, key));
}

static void expect_share(const json_t *row, const char *name, const char *suffix, size_t k, size_t n) {
    double low, high;
    char *keys[] = {string_format("%s%s", name, suffix), string_format("low%s", suffix),
                    string_format("high%s", suffix)};
    wilson_interval(k, n, &low, &high);
    expect_near(number_of(row, keys[0]), (double)k / (double)n, 1e-12);
    expect_near(number_of(row, keys[1]), low, 1e-12);
    expect_near(number_of(row, keys[2]), high, 1e-12);
    for (int i = 0; i < 3; i++) free(keys[i]);
}

/* By "sum", "mean" or "gain". */
static double fit_plain(const struct gallery *g, const struct subject *s, const char *by, size_t caption,
                        size_t picture) {
    const double score = s->scores[caption * g->n + picture];
    if (strcmp(by, "mean") == 0) return score / (double)(g->items[caption].n - 1);
    return strcmp(by, "gain") == 0 ? score - s->alone[caption] : score;
}

static bool same_caption(size_t i, size_t j) {
    const bool a = i == 3 || i == 7 || i == 8, b = j == 3 || j == 7 || j == 8;
    return i == j || (a && b);
}

/* Where the right one is in a list that is sorted with it behind its equals. */
static size_t rank_plain(const struct gallery *g, const struct subject *s, const char *by, bool for_picture, size_t q,
                         size_t *candidates) {
    double others[ITEMS];
    size_t n = 0;
    for (size_t i = 0; i < g->n; i++)
        if (!same_caption(i, q)) others[n++] = -fit_plain(g, s, by, for_picture ? q : i, for_picture ? i : q);
    qsort(others, n, sizeof *others, compare_doubles);
    size_t before = 0;
    while (before < n && -others[before] >= fit_plain(g, s, by, q, q)) before++;
    *candidates = n + 1;
    return before + 1;
}

static void search_check(const struct gallery *g, const struct subject *s, const json_t *row, const char *by,
                         bool for_picture) {
    static const size_t depths[] = {1, 5, 10};
    size_t found[3] = {0};
    double chance[3] = {0}, ranks[ITEMS];
    assert_string_equal(string_of(row, "search"), for_picture ? "caption to picture" : "picture to caption");
    assert_string_equal(string_of(row, "score"), by);
    for (size_t i = 0; i < g->n; i++) {
        size_t candidates;
        const size_t rank = rank_plain(g, s, by, for_picture, i, &candidates);
        ranks[i] = (double)rank;
        assert_true(json_number_value(row_at(row, "ranks", i)) == (double)rank);
        for (int d = 0; d < 3; d++) {
            found[d] += rank <= depths[d];
            chance[d] += (candidates < depths[d] ? 1 : (double)depths[d] / (double)candidates) / ITEMS;
        }
    }
    expect_share(row, "recall", "_1", found[0], ITEMS);
    expect_share(row, "recall", "_5", found[1], ITEMS);
    expect_share(row, "recall", "_10", found[2], ITEMS);
    expect_near(number_of(row, "chance_1"), chance[0], 1e-12);
    expect_near(number_of(row, "chance_5"), chance[1], 1e-12);
    expect_near(number_of(row, "chance_10"), chance[2], 1e-12);
    expect_near(number_of(row, "median_rank"), median(ranks, ITEMS), 1e-12);
}

static void test_retrieval(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct gallery g = gallery_by_hand(6, 2);
        struct subject s = subject_by_hand(&g, seed);
        json_t *numbers = gallery_measure(&g, &s, 1);
        search_check(&g, &s, row_at(model_at(numbers, 0), "retrieval", 0), "sum", true);
        search_check(&g, &s, row_at(model_at(numbers, 0), "retrieval", 1), "gain", false);
        search_check(&g, &s, row_at(model_at(numbers, 0), "retrieval", 2), "mean", false);
        json_decref(numbers);
        subject_free(&s, &g);
        gallery_free(&g);
    }
}

/* ---- Which of four ---- */

/* Four different captions, its own first, and a picture of none of them. */
static size_t *question_read(const json_t *numbers, size_t i, size_t *other) {
    const json_t *row = row_at(numbers, "questions", i);
    size_t *captions = array_alloc(5, sizeof *captions);
    for (size_t c = 0; c < 4; c++)
        captions[c] = (size_t)json_integer_value(row_at(row, "captions", c));
    captions[4] = *other = (size_t)json_integer_value(json_object_get(row, "other"));
    assert_int_equal(captions[0], i);
    for (size_t a = 0; a < 5; a++)
        for (size_t b = 0; b < a; b++) assert_false(same_caption(captions[a], captions[b]));
    return captions;
}

static void choices_check(const struct gallery *g, const struct subject *s, const json_t *numbers) {
    static const char *const ways[][2] = {{"its picture", "gain"}, {"another picture", "gain"}, {"its picture", "mean"},
                                          {"another picture", "mean"}, {"no picture", "mean"}};
    for (size_t w = 0; w < 5; w++) {
        const json_t *row = row_at(model_at(numbers, 0), "choices", w);
        const char *by = ways[w][1];
        size_t right = 0, other;
        assert_string_equal(string_of(row, "shown"), ways[w][0]);
        assert_string_equal(string_of(row, "score"), by);
        for (size_t i = 0; i < g->n; i++) {
            size_t *captions = question_read(numbers, i, &other), better = 0;
            double fits[4];
            for (size_t c = 0; c < 4; c++)
                fits[c] = w == 4 ? s->alone[captions[c]] / (double)(g->items[captions[c]].n - 1)
                                 : fit_plain(g, s, by, captions[c], w % 2 ? other : i);
            for (size_t c = 1; c < 4; c++) better += fits[0] > fits[c];
            right += better == 3;
            free(captions);
        }
        assert_int_equal(number_of(row, "right"), right);
        expect_share(row, "accuracy", "", right, ITEMS);
        expect_near(number_of(row, "chance"), 0.25, 0);
    }
}

/* What a token costs beside each. */
static void caption_loss_check(const struct gallery *g, const struct subject *s, const json_t *numbers) {
    const json_t *loss = json_object_get(model_at(numbers, 0), "caption_loss");
    double own = 0, wrong = 0, alone = 0, tokens = 0;
    for (size_t i = 0; i < g->n; i++) {
        size_t other;
        free(question_read(numbers, i, &other));
        own -= s->scores[i * g->n + i];
        wrong -= s->scores[i * g->n + other];
        alone -= s->alone[i];
        tokens += (double)g->items[i].n - 1;
    }
    expect_near(number_of(loss, "its_picture"), own / tokens, 1e-12);
    expect_near(number_of(loss, "another_picture"), wrong / tokens, 1e-12);
    expect_near(number_of(loss, "no_picture"), alone / tokens, 1e-12);
}

static void test_choices(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct gallery g = gallery_by_hand(6, 2);
        struct subject s = subject_by_hand(&g, seed);
        json_t *numbers = gallery_measure(&g, &s, 1);
        choices_check(&g, &s, numbers);
        caption_loss_check(&g, &s, numbers);
        json_decref(numbers);
        subject_free(&s, &g);
        gallery_free(&g);
    }
}

/* Whoever is asked of, each of the others comes up about as often. */
static void test_choices_are_even(void **state) {
    (void)state;
    struct gallery g = gallery_by_hand(6, 2);
    size_t total = 0, seen[ITEMS] = {0}, others[ITEMS] = {0}, other;
    json_t *numbers = gallery_measure(&g, NULL, 0);
    for (size_t i = 0; i < ITEMS; i++) {
        size_t *captions = question_read(numbers, i, &other);
        for (size_t c = 1; c < 4; c++) seen[captions[c]]++;
        others[other]++;
        total += 3;
        free(captions);
    }
    size_t never = 0, often = 0;
    for (size_t i = 0; i < ITEMS; i++) {
        never += seen[i] == 0;
        often += seen[i] > 8 || others[i] > 6;
    }
    assert_int_equal(total, 3 * ITEMS);
    assert_true(never <= 2 && often == 0);
    json_decref(numbers);
    gallery_free(&g);
}

static void test_kinds(void **state) {
    (void)state;
    struct gallery g = gallery_by_hand(6, 2);
    struct subject s = subject_by_hand(&g, 1);
    s.kinds = 2;
    s.filled = array_alloc(2, sizeof *s.filled);
    s.filled[0] = (struct filled){"words", 10, 4, 10 * log(7)};
    s.filled[1] = (struct filled){"patches", 0, 0, 0};
    json_t *numbers = gallery_measure(&g, &s, 1);
    const json_t *row = row_at(model_at(numbers, 0), "kinds", 0);
    assert_string_equal(string_of(row, "kind"), "words");
    expect_near(number_of(row, "hidden"), 10, 0);
    expect_near(number_of(row, "right"), 4, 0);
    expect_near(number_of(row, "perplexity"), 7, 1e-12);
    expect_share(row, "accuracy", "", 4, 10);
    row = row_at(model_at(numbers, 0), "kinds", 1);
    static const char *const nothing[] = {"perplexity", "accuracy", "low", "high"};
    for (int i = 0; i < 4; i++) assert_true(json_is_null(json_object_get(row, nothing[i])));
    assert_null(json_object_get(model_at(numbers, 0), "spread")); /* a dense model */
    json_decref(numbers);
    subject_free(&s, &g);
    gallery_free(&g);
}

/* ---- Detail ---- */

static void test_detail(void **state) {
    (void)state;
    /* 2 x 2 patches of 2 x 2; the first blank, in the second one step to the right, in the third one down, of one
     * colour; in the last all four pixels differ. Steps from patch to patch do not count. */
    static const unsigned char red[16] = {9, 9, 0, 4,    9, 9, 0, 4,    5, 5, 0, 1,    8, 8, 3, 7};
    unsigned char pixels[48] = {0};
    double detail[16];
    for (size_t i = 0; i < 16; i++) pixels[3 * i] = red[i];
    patches_detail(pixels, 4, 2, detail);
    const double want[] = {0, 2 * 16, 2 * 9, 1 + 16 + 9 + 36};
    for (size_t p = 0; p < 4; p++) expect_near(detail[p], want[p] / 12, 1e-12); /* 4 steps, 3 colours */
    for (size_t i = 0; i < 16; i++) pixels[3 * i + 2] = red[i];
    patches_detail(pixels, 4, 2, detail);
    for (size_t p = 0; p < 4; p++) expect_near(detail[p], want[p] / 6, 1e-12);
    patches_detail(pixels, 4, 1, detail); /* of single pixels there is nothing to see */
    expect_near(detail[15], 0, 0);
    memset(pixels, 0, sizeof pixels);
    pixels[0] = 255;
    patches_detail(pixels, 4, 4, detail);
    expect_near(detail[0], 2 * 255.0 * 255 / (3 * 24), 1e-9);
}

/* Patch p of a 6 x 6 picture has detail 2 v^2 / 4: one corner of it is brighter by v = 10 p; patch 0 is blank. */
static void pixels_graded(unsigned char *pixels) {
    memset(pixels, 7, 6 * 6 * 3);
    for (size_t p = 0; p < 9; p++)
        for (size_t c = 0; c < 3; c++) pixels[((p / 3 * 2) * 6 + p % 3 * 2) * 3 + c] = (unsigned char)(7 + 10 * p);
}

/* In layer 0: items 0 to 8 reach the more the more there is to see, but 3 of them the less; the rest all as many. In
 * layer 1 all the more. */
static void reach_graded(struct subject *s, const struct gallery *g) {
    s->sizes.LM = 2;
    s->reach = array_alloc(2 * g->n * 9, sizeof *s->reach);
    s->counts = array_alloc(2 * 2 * g->n * 5, sizeof *s->counts);
    for (size_t i = 0; i < 2 * 2 * g->n * 5; i++) s->counts[i] = 1;
    for (size_t i = 0; i < g->n; i++)
        for (size_t p = 0; p < 9; p++) {
            s->reach[i * 9 + p] = i < 6 ? (double)p : i < 9 ? 9.0 - (double)p : 2;
            s->reach[(g->n + i) * 9 + p] = 2.0 * (double)p;
        }
}

static const json_t *spread_row(const json_t *numbers, size_t i) {
    return row_at(json_object_get(model_at(numbers, 0), "spread"), "rows", i);
}

/* Six correlations of 1 and three of -1: their mean 1/3, their deviation 1; t of 8 degrees of freedom 2.306. */
static void test_spread(void **state) {
    (void)state;
    struct gallery g = gallery_by_hand(6, 2);
    struct subject s = subject_by_hand(&g, 1);
    for (size_t i = 0; i < g.n; i++) pixels_graded(g.items[i].pixels);
    reach_graded(&s, &g);
    json_t *numbers = gallery_measure(&g, &s, 1);
    const char *const layers[] = {"block 1", "block 1", "block 3", "block 3", "all", "all"};
    for (size_t i = 0; i < 6; i++) {
        assert_string_equal(string_of(spread_row(numbers, i), "layer"), layers[i]);
        assert_string_equal(string_of(spread_row(numbers, i), "patches"), i % 2 ? "but blank ones" : "all");
    }
    for (size_t i = 0; i < 2; i++) {
        const json_t *row = spread_row(numbers, i);
        expect_near(number_of(row, "pictures"), 9, 0);
        expect_near(number_of(row, "correlation"), 1.0 / 3, 1e-12);
        expect_near(number_of(row, "low"), 1.0 / 3 - 2.306004 / 3, 1e-6);
        expect_near(number_of(row, "high"), 1.0 / 3 + 2.306004 / 3, 1e-6);
        /* of n patches in any order the deviation is 1 / sqrt(n - 1), of the mean of nine a third of that */
        const double reach = 1.96 / 3 / sqrt(i ? 7 : 8);
        expect_near(number_of(row, "null_low"), -reach, 0.12 * reach);
        expect_near(number_of(row, "null_high"), reach, 0.12 * reach);
        assert_string_equal(string_of(row, "verdict"), "above chance");
    }
    for (size_t i = 2; i < 4; i++) {
        const json_t *row = spread_row(numbers, i);
        expect_near(number_of(row, "pictures"), ITEMS, 0);
        expect_near(number_of(row, "correlation"), 1, 1e-12);
        expect_near(number_of(row, "high"), 1, 1e-12);
    }
    /* p + 2p and 9 - p + 2p and 2 + 2p: all the more */
    expect_near(number_of(spread_row(numbers, 4), "correlation"), 1, 1e-12);
    expect_near(number_of(json_object_get(model_at(numbers, 0), "spread"), "reach"),
                ((6 * 4.0 + 3 * 5.0 + 3 * 2.0) / 12 + 8) / 2, 1e-12);
    json_decref(numbers);
    subject_free(&s, &g);
    gallery_free(&g);
}

/* The other way round, but for blank patches, which reach the least; and where one of the two does not vary. */
static void test_spread_verdicts(void **state) {
    (void)state;
    struct gallery g = gallery_by_hand(6, 2);
    struct subject s = subject_by_hand(&g, 1);
    for (size_t i = 0; i < g.n; i++) pixels_graded(g.items[i].pixels);
    reach_graded(&s, &g);
    for (size_t i = 0; i < g.n * 9; i++) {
        s.reach[i] = i % 9 ? -s.reach[g.n * 9 + i] : -100;
        s.reach[g.n * 9 + i] = 4;
    }
    json_t *numbers = gallery_measure(&g, &s, 1);
    expect_near(number_of(spread_row(numbers, 0), "correlation"), 1 - 6 * 168.0 / (9 * 80), 1e-12);
    expect_near(number_of(spread_row(numbers, 1), "correlation"), -1, 1e-12);
    for (size_t i = 0; i < 2; i++)
        assert_string_equal(string_of(spread_row(numbers, i), "verdict"), "below chance");
    const json_t *row = spread_row(numbers, 2);
    static const char *const nothing[] = {"correlation", "low", "high", "null_low", "null_high"};
    expect_near(number_of(row, "pictures"), 0, 0);
    for (int i = 0; i < 5; i++) assert_true(json_is_null(json_object_get(row, nothing[i])));
    assert_string_equal(string_of(row, "verdict"), "not told from chance");
    json_decref(numbers);
    subject_free(&s, &g);
    gallery_free(&g);
}

/* Patches of equal detail share a tenth: of nine kinds of patches, each a ninth. */
static void test_tenths(void **state) {
    (void)state;
    struct gallery g = gallery_by_hand(6, 2);
    struct subject s = subject_by_hand(&g, 1);
    for (size_t i = 0; i < g.n; i++) pixels_graded(g.items[i].pixels);
    reach_graded(&s, &g);
    json_t *numbers = gallery_measure(&g, &s, 1);
    size_t kind = 0;
    for (size_t t = 0; t < 10; t++) {
        const json_t *row = row_at(json_object_get(model_at(numbers, 0), "spread"), "tenths", t);
        expect_near(number_of(row, "tenth"), (double)t + 1, 0);
        if (number_of(row, "patches") == 0) {
            assert_true(json_is_null(json_object_get(row, "detail")));
            continue;
        }
        const double p = (double)kind++;
        expect_near(number_of(row, "patches"), ITEMS, 0);
        expect_near(number_of(row, "detail"), 50 * p * p, 1e-9);
        expect_near(number_of(row, "reach"), ((6 * p + 3 * (9 - p) + 3 * 2) / 12 + 2 * p) / 2, 1e-12);
    }
    assert_int_equal(kind, 9);
    json_decref(numbers);
    subject_free(&s, &g);
    gallery_free(&g);
}

/* ---- Which experts ---- */

/* In layer 0 patches and words have experts of their own, twice as many picks being of patches; in layer 1 all experts
 * serve both alike. */
static void test_experts(void **state) {
    (void)state;
    struct gallery g = gallery_by_hand(6, 2);
    struct subject s = subject_by_hand(&g, 1);
    reach_graded(&s, &g);
    double *counts = s.counts;
    memset(counts, 0, 2 * 2 * g.n * 5 * sizeof *counts);
    for (size_t i = 0; i < g.n; i++) {
        counts[2 * i * 5 + 0] = 15, counts[2 * i * 5 + 3] = 5;
        counts[(2 * i + 1) * 5 + 1] = 10;
        for (size_t e = 0; e < 5; e++) {
            counts[(2 * g.n + 2 * i) * 5 + e] = 4;
            counts[(2 * g.n + 2 * i + 1) * 5 + e] = 2;
        }
    }
    json_t *numbers = gallery_measure(&g, &s, 1);
    const json_t *kinds = json_object_get(model_at(numbers, 0), "kinds_of_rows");
    const double bits = log2(3) - 2.0 / 3; /* of 2/3 and 1/3 */
    const json_t *own = row_at(kinds, "layers", 0), *alike = row_at(kinds, "layers", 1);
    expect_near(number_of(kinds, "entropy"), bits, 1e-12);
    assert_string_equal(string_of(own, "layer"), "block 1");
    expect_near(number_of(own, "information"), bits, 1e-12);
    expect_near(number_of(own, "information_share"), 1, 1e-12);
    assert_true(json_is_true(json_object_get(own, "above_null")));
    expect_near(number_of(alike, "information"), 0, 1e-12);
    assert_false(json_is_true(json_object_get(alike, "above_null")));
    expect_near(number_of(json_object_get(kinds, "all"), "information"), bits / 2, 1e-12);
    expect_near(number_of(json_object_get(kinds, "all"), "null_mean"), number_of(own, "null_mean") / 2, 1e-12);
    assert_true(number_of(own, "null_mean") > 0 && number_of(own, "null_95") < bits / 2);
    const double want[2][5] = {{0.75, 0, 0, 0.25, 0}, {0, 1, 0, 0, 0}};
    for (size_t k = 0; k < 2; k++)
        for (size_t e = 0; e < 5; e++)
            expect_near(json_number_value(json_array_get(row_at(own, "shares", k), e)), want[k][e], 1e-12);
    json_decref(numbers);
    subject_free(&s, &g);
    gallery_free(&g);
}

/* ---- The page ---- */

/* What a model would have made of the pictures that are shown: noise, and what reaches 2 and 5. */
static void showings_by_hand(struct subject *s, struct gallery *g) {
    g->shown = 2;
    s->showings = array_alloc(2, sizeof *s->showings);
    for (size_t v = 0; v < 2; v++) {
        struct showing *shown = &s->showings[v];
        *shown = (struct showing){string_format("</p><script>%zu", v), array_alloc(g->size * g->size, 3),
                                  array_alloc(g->P, sizeof(double))};
        for (size_t i = 0; i < g->size * g->size * 3; i++) shown->painted[i] = (unsigned char)(i * 7 + v);
        for (size_t p = 0; p < g->P; p++) shown->reach[p] = p % 2 ? 5 : 2;
    }
}

static char *page_make(const char *dir, const struct gallery *g, const struct subject *subjects, size_t n) {
    struct error err;
    size_t size;
    char *plots = string_format("%s/plots", dir), *path = string_format("%s/report.html", dir);
    json_t *numbers = gallery_measure(g, subjects, n);
    if (!directory_make(plots, &err) || !gallery_report(dir, g, subjects, numbers, &err)) fail_msg("%s", err.text);
    char *page = file_read(path, &size);
    page = realloc(page, size + 1);
    page[size] = 0;
    json_decref(numbers);
    free(plots);
    free(path);
    return page;
}

static size_t count_of(const char *page, const char *what) {
    size_t n = 0;
    for (const char *at = page; (at = strstr(at, what)); at++) n++;
    return n;
}

static unsigned digit_of(char c) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = strchr(digits, c);
    assert_true(found && *found);
    return (unsigned)(found - digits);
}

/* Nothing stands behind the end of the picture. */
static void expect_end(const char *path) {
    size_t size;
    char *bytes = file_read(path, &size);
    assert_true(size > 8);
    assert_memory_equal(bytes + size - 8, "IEND\xae\x42\x60\x82", 8);
    free(bytes);
}

/* The i-th picture of the page, read back. */
static struct picture picture_at(const char *dir, const char *page, size_t i) {
    static const char start[] = "<img src=\"data:image/png;base64,";
    struct picture p;
    struct error err;
    char *path = string_format("%s/back.png", dir);
    const char *at = page;
    for (size_t n = 0; n <= i; n++) {
        at = strstr(at, start);
        assert_non_null(at);
        at += sizeof start - 1;
    }
    FILE *file = fopen(path, "wb");
    for (; *at != '"'; at += 4) {
        const unsigned third = at[2] == '=' ? 0 : digit_of(at[2]), fourth = at[3] == '=' ? 0 : digit_of(at[3]);
        const unsigned group = digit_of(at[0]) << 18 | digit_of(at[1]) << 12 | third << 6 | fourth;
        fputc((int)(group >> 16), file);
        if (at[2] != '=') fputc((int)(group >> 8 & 255), file);
        if (at[3] != '=') fputc((int)(group & 255), file);
    }
    fclose(file);
    expect_end(path);
    if (!picture_read(&p, path, &err)) fail_msg("%s", err.text);
    free(path);
    return p;
}

static void expect_picture(const char *dir, const char *page, size_t i, size_t size, const unsigned char *want) {
    const struct picture p = picture_at(dir, page, i);
    assert_int_equal(p.width, size);
    assert_int_equal(p.height, size);
    assert_memory_equal(p.rgb, want, size * size * 3);
    free(p.rgb);
}

/* Grey where it is hidden, of the picture elsewhere. Patches of 2 x 2: the fifth of nine is hidden. */
static void expect_hole(const char *dir, const char *page, size_t i, const unsigned char *pixels) {
    const struct picture p = picture_at(dir, page, i);
    for (size_t at = 0; at < 36; at++) {
        const bool hidden = at / 6 / 2 == 1 && at % 6 / 2 == 1;
        const unsigned char *rgb = p.rgb + 3 * at;
        if (hidden) assert_true(rgb[0] == rgb[1] && rgb[1] == rgb[2]);
        else assert_memory_equal(rgb, pixels + 3 * at, 3);
    }
    free(p.rgb);
}

/* The ends of the colour ramp over the picture in grey: patches in turn reach the least, 2, and the most, 5. */
static void expect_map(const char *dir, const char *page, size_t i, const unsigned char *pixels) {
    const struct picture p = picture_at(dir, page, i);
    bool bright;
    for (size_t at = 0; at < 36; at++) {
        const unsigned colour = plot_colour((at / 12 * 3 + at % 6 / 2) % 2, &bright);
        const unsigned char *rgb = pixels + 3 * at;
        const double grey = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
        for (size_t c = 0; c < 3; c++)
            expect_near(p.rgb[3 * at + c], 0.3 * grey + 0.7 * (double)(colour >> (16 - 8 * c) & 255), 0.501);
    }
    free(p.rgb);
}

static void test_page(void **state) {
    struct gallery g = gallery_by_hand(6, 2);
    struct subject s = subject_by_hand(&g, 1);
    reach_graded(&s, &g);
    showings_by_hand(&s, &g);
    char *page = page_make(*state, &g, &s, 1);
    assert_int_equal(count_of(page, "<img "), 8); /* two times picture, hole, painting, map */
    for (size_t v = 0; v < 2; v++) {
        const unsigned char *pixels = g.items[6 * v].pixels;
        expect_picture(*state, page, 4 * v, 6, pixels);
        expect_hole(*state, page, 4 * v + 1, pixels);
        expect_picture(*state, page, 4 * v + 2, 6, s.showings[v].painted);
        expect_map(*state, page, 4 * v + 3, pixels);
    }
    assert_non_null(strstr(page, "<h3>a &lt;0&gt; \"&amp;\"</h3>"));
    assert_non_null(strstr(page, "alt=\"picture: a &lt;6&gt; &quot;&amp;&quot;\""));
    assert_non_null(strstr(page, "&lt;/p&gt;&lt;script&gt;1"));
    assert_non_null(strstr(page, "by &lt;hand&gt;"));
    assert_null(strstr(page, "<script"));
    assert_null(strstr(page, "a <0>"));
    assert_non_null(strstr(page, "a &amp; b"));
    free(page);
    subject_free(&s, &g);
    gallery_free(&g);
}

/* The picture and the hole once, then of each of the first three models a painting, and a map where it has one. */
static void test_page_of_several(void **state) {
    struct gallery g = gallery_by_hand(6, 2);
    struct subject subjects[4];
    for (size_t i = 0; i < 4; i++) {
        subjects[i] = subject_by_hand(&g, i);
        showings_by_hand(&subjects[i], &g);
        subjects[i].showings[1].painted[5] = (unsigned char)(100 + i);
        if (i != 1) reach_graded(&subjects[i], &g);
        if (i == 1) {
            free(subjects[i].showings[0].reach), free(subjects[i].showings[1].reach);
            subjects[i].showings[0].reach = subjects[i].showings[1].reach = NULL;
        }
        if (i == 2) subjects[i].sizes.H = 1;
    }
    char *page = page_make(*state, &g, subjects, 4);
    assert_int_equal(count_of(page, "<img "), 2 * (2 + 2 + 1 + 1));
    expect_picture(*state, page, 6, 6, g.items[6].pixels);
    expect_picture(*state, page, 8, 6, subjects[0].showings[1].painted);
    expect_picture(*state, page, 10, 6, subjects[1].showings[1].painted);
    expect_picture(*state, page, 11, 6, subjects[2].showings[1].painted);
    assert_non_null(strstr(page, "#1 a &amp; b: \xe2\x80\x9c&lt;/p&gt;"));
    free(page);
    for (size_t i = 0; i < 4; i++) subject_free(&subjects[i], &g);
    gallery_free(&g);
}

/* A table of one model: its cells behind the label, without their markup. */
static void expect_cells(const char *page, const char *first, const char *const *cells, size_t n) {
    const char *row = strstr(page, first);
    assert_non_null(row);
    for (size_t i = 0; i < n; i++) {
        const char *at = strstr(row, cells[i]), *end = strstr(row, "</tr>");
        if (!at || at > end) fail_msg("no %s behind %s", cells[i], first);
    }
}

/* What the tables say, in percent. */
static void test_page_tables(void **state) {
    struct gallery g = gallery_by_hand(6, 2);
    struct subject s = subject_by_hand(&g, 1);
    for (size_t i = 0; i < g.n * g.n; i++) s.scores[i] = i % (g.n + 1) == 0 ? 0 : -9;
    memset(s.alone, 0, g.n * sizeof *s.alone);
    s.kinds = 1;
    s.filled = array_alloc(1, sizeof *s.filled);
    s.filled[0] = (struct filled){"words_with_picture", 10, 4, 10 * log(7)};
    showings_by_hand(&s, &g);
    char *page = page_make(*state, &g, &s, 1);
    expect_cells(page, ">words_with_picture<",
                 (const char *const[]){">10<", ">40.0% (16.8\xe2\x80\x93" "68.7)<", ">7.00<"}, 3);
    expect_cells(page, ">caption to picture<",
                 (const char *const[]){">sum<", ">100% (76\xe2\x80\x93" "100)<", ">1.0<"}, 3);
    expect_cells(page, ">a random order<", (const char *const[]){">9%<", ">44%<"}, 2);
    expect_cells(page, ">its picture<",
                 (const char *const[]){">gain<", ">12<", ">100.0% (75.8\xe2\x80\x93" "100.0)<", ">0.25<"}, 4);
    free(page);
    subject_free(&s, &g);
    gallery_free(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retrieval),       cmocka_unit_test(test_choices), cmocka_unit_test(test_choices_are_even),
        cmocka_unit_test(test_kinds),           cmocka_unit_test(test_detail),  cmocka_unit_test(test_spread),
        cmocka_unit_test(test_spread_verdicts), cmocka_unit_test(test_tenths),  cmocka_unit_test(test_experts),
        TEST(test_page),                        TEST(test_page_of_several),     TEST(test_page_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
