/* What a masked model makes of pictures and texts (masked.h): gaps filled, captions, patches painted and scores, each
 * once more by single forwards of examples that are put together by hand; and the checkpoints it is made of. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <omp.h>

#include "data_files.h"
#include "small_masked.h"

enum { SEEDS = 8, END = 1, LETTER = 258 }; /* the end of text, and the first letter, among the pieces */

/* A model ready to be asked, without a file. */
static struct masked masked_make(bool pictures, size_t batch, uint64_t seed) {
    struct model *m = array_alloc(1, sizeof *m);
    *m = masked_model(pictures, batch, seed);
    struct masked k = {.model = m, .tokenizer = letters_tokenizer(),
                       .rows = {.size = pictures ? SIDE : 0, .patch = PATCH, .room = ROOM, .vocab = LETTERS_VOCAB}};
    if (pictures) k.codebook = (struct codebook){CODES, Q, codebook_random(seed)};
    return k;
}

static void masked_drop(struct masked *k) {
    struct model *m = k->model;
    tokenizer_free((tokenizer *)k->tokenizer);
    masked_close(k);
    model_destroy(m);
    free(m);
}

/* ---- Filling ---- */

/* The likeliest piece of a row that has bytes. */
static double piece_best(struct model *m, size_t row, int32_t *id) {
    const real *logits = model_logits(m, row);
    *id = 2; /* behind what is unknown, and the end of text */
    for (int32_t v = 3; v < LETTERS_VOCAB; v++)
        if (logits[v] > logits[*id]) *id = v;
    return log_p(logits, LETTERS_VOCAB, (size_t)*id);
}

/* How often the end of text would have been the likeliest, and gaps were not filled from the left. */
static int ends_likely, out_of_order;

static double fill_plain(struct model *m, const unsigned char *pixels, int32_t *tokens, size_t n) {
    double sum = 0;
    for (size_t last = 0;;) {
        struct sight s;
        double best = -INFINITY;
        size_t at = n;
        int32_t id, best_id = 0;
        masked_show(m, &s, pixels, NULL, tokens, n);
        for (size_t i = 0; i < n; i++) {
            if (tokens[i] != TOKEN_HIDDEN) continue;
            const double p = piece_best(m, s.first + i, &id);
            ends_likely += model_logits(m, s.first + i)[END] > model_logits(m, s.first + i)[id];
            if (p > best) best = p, at = i, best_id = id;
        }
        if (at == n) return sum;
        out_of_order += at < last;
        last = at;
        tokens[at] = best_id;
        sum += best;
    }
}

static void text_random(int32_t *tokens, size_t n, double hidden, struct rng *rng) {
    for (size_t i = 0; i < n; i++)
        tokens[i] = rng_uniform(rng) < hidden ? TOKEN_HIDDEN : LETTER + (int32_t)rng_below(rng, 16);
}

/* The same logits in another order of summing: some 1e-6. Guesses lie further apart in all that these seeds draw. */
#define NEAR 1e-4

static void expect_near(double got, double want) {
    if (!(fabs(got - want) <= NEAR)) fail_msg("got %.9g, want %.9g", got, want);
}

static void fill_check(bool pictures, bool with_picture, uint64_t seed) {
    struct masked k = masked_make(pictures, 1 + seed % 3, seed);
    unsigned char pixels[PIXELS], before[PIXELS];
    int32_t tokens[ROOM], given[ROOM], want[ROOM];
    struct rng rng;
    const size_t n = 5 + seed;
    rng_seed(&rng, seed, 99);
    pixels_random(pixels, seed);
    memcpy(before, pixels, PIXELS);
    text_random(tokens, n, 0.6, &rng);
    tokens[1] = END; /* shown, it may stay */
    memcpy(given, tokens, sizeof given);
    memcpy(want, tokens, sizeof want);
    const unsigned char *picture = with_picture ? pixels : NULL;
    const double sum = fill_plain(k.model, picture, want, n), got = masked_fill(&k, picture, tokens, n);
    assert_memory_equal(tokens, want, n * sizeof *tokens);
    assert_memory_equal(pixels, before, PIXELS);
    expect_near(got, sum);
    for (size_t i = 0; i < n; i++) {
        if (given[i] != TOKEN_HIDDEN) assert_int_equal(tokens[i], given[i]);
        else assert_true(tokens[i] >= 2 && tokens[i] < LETTERS_VOCAB);
    }
    assert_true(got < 0);
    assert_true(masked_fill(&k, picture, tokens, n) == 0); /* nothing is left to do */
    assert_memory_equal(tokens, want, n * sizeof *tokens);
    masked_drop(&k);
}

/* Never with an end of text, however likely it is. */
static void test_gaps_are_filled_the_surest_first(void **state) {
    (void)state;
    ends_likely = out_of_order = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        fill_check(true, true, seed);
        fill_check(true, false, seed);
        fill_check(false, false, seed);
    }
    assert_true(ends_likely > 10);
    assert_true(out_of_order > 10);
}

/* ---- Scores ---- */

static double score_plain(struct model *m, const unsigned char *pixels, const int32_t *tokens, size_t n,
                          size_t prefix) {
    double sum = 0;
    for (size_t i = prefix; i < n; i++) {
        int32_t shown[ROOM];
        struct sight s;
        memcpy(shown, tokens, n * sizeof *tokens);
        shown[i] = TOKEN_HIDDEN;
        masked_show(m, &s, pixels, NULL, shown, n);
        sum += log_p(model_logits(m, s.first + i), LETTERS_VOCAB, (size_t)tokens[i]);
    }
    return sum;
}

/* Whatever the model takes at once: 1, fewer than there are tokens, as many, more. */
static void test_scores_hide_each_token_once(void **state) {
    (void)state;
    for (size_t batch = 1; batch < 12; batch++) {
        const bool pictures = batch % 4 != 3;
        struct masked k = masked_make(pictures, batch, batch);
        unsigned char pixels[PIXELS];
        int32_t tokens[ROOM], given[ROOM];
        struct rng rng;
        rng_seed(&rng, batch, 7);
        pixels_random(pixels, batch);
        text_random(tokens, 9, 0, &rng);
        tokens[8] = END;
        memcpy(given, tokens, sizeof given);
        for (size_t prefix = 0; prefix < 9; prefix += 4) {
            const double alone = score_plain(k.model, NULL, tokens, 9, prefix);
            expect_near(masked_score(&k, NULL, tokens, 9, prefix), alone);
            if (!pictures) continue;
            const double beside = score_plain(k.model, pixels, tokens, 9, prefix);
            expect_near(masked_score(&k, pixels, tokens, 9, prefix), beside);
            assert_true(fabs(alone - beside) > 10 * NEAR);
        }
        assert_memory_equal(tokens, given, 9 * sizeof *tokens);
        masked_drop(&k);
    }
}

/* ---- Captions ---- */

/* How many tokens there are in front of the first end, where all behind n tokens is hidden: the least number that is
 * exceeded no more often than not. */
static size_t length_plain(struct model *m, const unsigned char *pixels, const int32_t *tokens, size_t n) {
    int32_t shown[ROOM];
    struct sight s;
    double shorter = 0, none_before = 1;
    for (size_t i = 0; i < ROOM; i++) shown[i] = i < n ? tokens[i] : TOKEN_HIDDEN;
    masked_show(m, &s, pixels, NULL, shown, ROOM);
    for (size_t l = 1; n + l + 1 < ROOM; l++) {
        const double p = exp(log_p(model_logits(m, s.first + n + l), LETTERS_VOCAB, END));
        shorter += none_before * p;
        none_before *= 1 - p;
        if (shorter > 0.5) return l;
    }
    return ROOM - n - 1;
}

/* Of `length` tokens, or the median. */
static size_t caption_plain(struct masked *k, const unsigned char *pixels, int32_t *tokens, size_t n, size_t length) {
    const size_t l = length ? length : length_plain(k->model, pixels, tokens, n);
    for (size_t i = 0; i < l; i++) tokens[n + i] = TOKEN_HIDDEN;
    tokens[n + l] = END;
    fill_plain(k->model, pixels, tokens, n + l + 1);
    return n + l + 1;
}

static void caption_check(struct masked *k, const unsigned char *pixels, size_t n, size_t length, size_t *lengths) {
    int32_t *tokens = array_alloc(ROOM, sizeof *tokens), want[ROOM];
    for (size_t i = 0; i < n; i++) want[i] = tokens[i] = LETTER + (int32_t)(3 * i % 16);
    const size_t got = masked_caption(k, pixels, tokens, n, length);
    assert_int_equal(got, caption_plain(k, pixels, want, n, length));
    assert_memory_equal(tokens, want, got * sizeof *want);
    assert_int_equal(tokens[got - 1], END);
    if (length) assert_int_equal(got, n + length + 1);
    lengths[got - n - 1]++;
    free(tokens);
}

/* From 1 to what there is room for. */
static void test_captions_have_the_median_length(void **state) {
    (void)state;
    size_t lengths[ROOM] = {0}, told[ROOM] = {0}, all[ROOM] = {0};
    for (uint64_t seed = 0; seed < 3 * SEEDS; seed++) {
        struct masked k = masked_make(true, 2, seed);
        const real sure[] = {3, 5, 20}; /* of little, or of much */
        for (size_t c = 0; c < k.model->sizes.C; c++) k.model->params.lnfw[c] *= sure[seed % 3];
        unsigned char pixels[PIXELS];
        pixels_random(pixels, seed);
        caption_check(&k, pixels, seed % 4, 0, lengths);
        caption_check(&k, NULL, 3, 0, lengths);
        caption_check(&k, pixels, ROOM - 2, 0, all);
        if (seed < SEEDS) caption_check(&k, pixels, 3, 1 + seed, told); /* both below and above what it would be */
        masked_drop(&k);
    }
    for (size_t l = 1; l <= SEEDS; l++) assert_int_equal(told[l], 1);
    assert_int_equal(all[1], 3 * SEEDS);
    assert_int_equal(lengths[0], 0);
    size_t different = 0;
    for (size_t l = 1; l < ROOM; l++) different += lengths[l] > 0;
    assert_true(different >= 4);
}

/* ---- Painting ---- */

static void patch_paint(unsigned char *pixels, size_t p, const real *entry) {
    for (size_t q = 0; q < Q; q++) {
        const size_t y = p / ACROSS * PATCH + q / 3 / PATCH, x = p % ACROSS * PATCH + q / 3 % PATCH;
        const double value = round(((double)entry[q] + 1) * 127.5);
        pixels[(y * SIDE + x) * 3 + q % 3] = (unsigned char)(value < 0 ? 0 : value > 255 ? 255 : value);
    }
}

static void paint_plain(struct masked *k, unsigned char *pixels, const bool *hidden, const int32_t *tokens, size_t n) {
    bool left[P];
    memcpy(left, hidden, sizeof left);
    for (size_t last = 0;;) {
        struct sight s;
        double best = -INFINITY;
        size_t at = P, code = 0;
        masked_show(k->model, &s, pixels, left, tokens, n);
        for (size_t p = 0; p < P; p++) {
            if (!left[p]) continue;
            const real *logits = model_logits(k->model, p);
            size_t likeliest = 0;
            for (size_t c = 1; c < CODES; c++)
                if (logits[c] > logits[likeliest]) likeliest = c;
            const double its = log_p(logits, CODES, likeliest);
            if (its > best) best = its, at = p, code = likeliest;
        }
        if (at == P) return;
        out_of_order += at < last;
        last = at;
        left[at] = false;
        patch_paint(pixels, at, k->codebook.entries + code * Q);
    }
}

/* A patch that is shown stays as it is to the last bit of a pixel. */
static void test_hidden_patches_are_painted_the_surest_first(void **state) {
    (void)state;
    out_of_order = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct masked k = masked_make(true, 1, seed);
        unsigned char pixels[PIXELS], given[PIXELS], want[PIXELS];
        int32_t tokens[4];
        bool hidden[P], asked[P];
        struct rng rng;
        rng_seed(&rng, seed, 3);
        pixels_random(given, seed);
        text_random(tokens, 4, 0.3, &rng);
        for (size_t p = 0; p < P; p++) asked[p] = hidden[p] = seed == 0 || rng_below(&rng, 2);
        const size_t n = seed % 2 ? 4 : 0;
        memcpy(pixels, given, PIXELS);
        memcpy(want, given, PIXELS);
        paint_plain(&k, want, hidden, n ? tokens : NULL, n);
        masked_paint(&k, pixels, hidden, n ? tokens : NULL, n);
        assert_memory_equal(pixels, want, PIXELS);
        assert_memory_equal(hidden, asked, sizeof hidden);
        for (size_t i = 0; i < PIXELS; i++) {
            const size_t y = i / 3 / SIDE, x = i / 3 % SIDE;
            if (!hidden[y / PATCH * ACROSS + x / PATCH]) assert_int_equal(pixels[i], given[i]);
        }
        masked_drop(&k);
    }
    assert_true(out_of_order > 5);
}

/* ---- Languages ---- */

static void test_languages_are_what_captions_begin_with(void **state) {
    (void)state;
    tokenizer *t = letters_tokenizer();
    int32_t *ids = NULL, *want = NULL;
    size_t n = 0, capacity = 0, n_want = 0, more = 0;
    language_prefix(t, "", &ids, &n, &capacity);
    assert_int_equal(n, 0);
    language_prefix(t, "de", &ids, &n, &capacity);
    language_prefix(t, "en", &ids, &n, &capacity);
    tokenizer_encode(t, "de:", 3, &want, &n_want, &more);
    tokenizer_encode(t, "en:", 3, &want, &n_want, &more);
    assert_int_equal(n, n_want);
    assert_int_equal(n, 6);
    assert_memory_equal(ids, want, n * sizeof *ids);
    free(ids);
    free(want);
    tokenizer_free(t);
}

/* ---- Checkpoints ---- */

static bool open_at(const char *path, struct masked *k, struct model *m, struct error *err) {
    struct checkpoint c;
    static const struct model_setup setup = {MODEL_INFER, 1, false, STORAGE_F32};
    if (!checkpoint_open(&c, path, err) || !model_load(m, &c, setup, err)) fail_msg("%s", err->text);
    const bool ok = masked_open(k, m, NULL, &c, err);
    checkpoint_close(&c);
    return ok;
}

static void open_refused(const char *path, int code, const char *says) {
    struct masked k;
    struct model m;
    struct error err;
    assert_false(open_at(path, &k, &m, &err));
    assert_int_equal(err.code, code);
    if (!strstr(err.text, says) || !strstr(err.text, path)) fail_msg("'%s' is missing: %s", says, err.text);
    assert_null(k.codebook.entries);
    model_destroy(&m);
}

static void test_codebooks_are_the_checkpoints(void **state) {
    char *path = string_format("%s/model", (char *)*state);
    struct model saved = masked_model(true, 1, 3), m;
    struct masked k;
    struct error err;
    real *entries = codebook_random(5);
    masked_save(&saved, entries, NULL, path);
    if (!open_at(path, &k, &m, &err)) fail_msg("%s", err.text);
    assert_ptr_equal(k.model, &m);
    assert_int_equal(k.rows.size, SIDE);
    assert_int_equal(k.rows.patch, PATCH);
    assert_int_equal(k.rows.vocab, LETTERS_VOCAB);
    assert_int_equal(k.codebook.codes, CODES);
    assert_int_equal(k.codebook.Q, Q);
    assert_memory_equal(k.codebook.entries, entries, CODES * Q * sizeof *entries);
    masked_close(&k);
    assert_null(k.codebook.entries);
    model_destroy(&m);
    model_destroy(&saved);
    free(entries);
    free(path);
}

/* It has no codebook, and needs none. */
static void test_models_without_pictures_have_none(void **state) {
    char *path = string_format("%s/model", (char *)*state);
    struct model saved = masked_model(false, 1, 3), m;
    struct masked k;
    struct error err;
    masked_save(&saved, NULL, NULL, path);
    if (!open_at(path, &k, &m, &err)) fail_msg("%s", err.text);
    assert_int_equal(k.rows.size, 0);
    assert_int_equal(k.codebook.codes, 0);
    assert_null(k.codebook.entries);
    masked_close(&k);
    model_destroy(&m);
    model_destroy(&saved);
    free(path);
}

static void test_other_checkpoints_are_refused(void **state) {
    char *path = string_format("%s/model", (char *)*state);
    struct model text = letters_model(), masked = masked_model(true, 1, 3), larger;
    struct config config = masked_config(true);
    real *entries = codebook_random(5);
    model_save(&text, path);
    open_refused(path, EXIT_MISMATCH, "a model of text");
    masked_save(&masked, NULL, NULL, path);
    open_refused(path, EXIT_INPUT, "codebook: missing");
    config.codes = CODES + 2;
    larger = model_random(&config, MODEL_INFER, 1, 3);
    masked_save(&larger, entries, NULL, path);
    open_refused(path, EXIT_INPUT, "(got F32 (11, 12), want F32 (13, 12))");
    free(entries);
    model_destroy(&text);
    model_destroy(&masked);
    model_destroy(&larger);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gaps_are_filled_the_surest_first),
        cmocka_unit_test(test_scores_hide_each_token_once),
        cmocka_unit_test(test_captions_have_the_median_length),
        cmocka_unit_test(test_hidden_patches_are_painted_the_surest_first),
        cmocka_unit_test(test_languages_are_what_captions_begin_with),
        TEST(test_codebooks_are_the_checkpoints),
        TEST(test_models_without_pictures_have_none),
        TEST(test_other_checkpoints_are_refused),
    };
    omp_set_num_threads(1); /* so small a model is fastest so */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
