/* Attention that stops at the ends of texts (--documents): which rows are a document, that one gets the same wherever
 * it stands, to the bit, in training and in sampling, and that a model without the option sees all. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../scoring.h"
#include "../src/layers/documents.h"
#include "small_model.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))
enum { SEQ = 41, END = DOCUMENT_TOKEN };

static struct config documents_config(int block) {
    struct config config = config_other(small_config);
    config.seq = SEQ;
    config.moe_every = 2;
    config.balance = BALANCE_AUX;
    if (block == 1) config = config_llama(config);
    if (block == 2) config = config_modern(config);
    config.documents = true;
    return config;
}

static struct model documents_model(const struct config *config, enum model_use use, size_t batch, bool recompute,
                                    enum storage storage) {
    struct model m, like = model_random(config, MODEL_INFER, 1, 51);
    struct error err;
    if (!model_create(&m, config, (struct model_setup){use, batch, recompute, storage}, &err)) fail_msg("%s", err.text);
    memcpy(m.param_memory, like.param_memory, m.n_parameters * sizeof(real));
    model_pack(&m);
    model_destroy(&like);
    return m;
}

/* B windows whose documents begin, beside the windows, at `places` of all rows, and nowhere else. */
static struct example documents_example(size_t B, const size_t *places, size_t n) {
    struct example e = example_random(B, SEQ, small_config.vocab, 52);
    for (size_t i = 0; i < B * SEQ; i++)
        if (e.tokens[i] == END) e.tokens[i] = END + 1;
    for (size_t i = 0; i < n; i++) e.tokens[places[i]] = END;
    return e;
}

/* At a window's first and last rows, side by side, and far from each other; the second window has one document. */
static const size_t places[] = {0, 3, 4, 37, 40, 2 * SEQ + 1, 3 * SEQ - 2};
static const int32_t starts_want[] = {0, 3, 4, 37, 40, SEQ, 2 * SEQ, 2 * SEQ + 1, 3 * SEQ - 2, 3 * SEQ};
enum { DOCUMENTS = COUNT(starts_want) - 1 };

static void test_split(void **state) {
    (void)state;
    struct example e = documents_example(3, places, COUNT(places));
    int32_t starts[3 * SEQ + 1], positions[3 * SEQ];
    struct batch split = e.batch;
    batch_split(&split, END, starts, positions);
    assert_int_equal(split.B, DOCUMENTS);
    assert_int_equal(split.T, SEQ);
    assert_memory_equal(split.offsets, starts_want, sizeof starts_want);
    for (size_t d = 0; d < DOCUMENTS; d++)
        for (int32_t r = starts_want[d]; r < starts_want[d + 1]; r++)
            assert_int_equal(split.positions[r], r - starts_want[d]);
    struct batch own = e.batch;
    own.offsets = starts_want;
    batch_split(&own, END, starts, positions);
    assert_ptr_equal(own.offsets, starts_want);
    assert_null(own.positions);
    sights_random(&e, 1);
    struct batch sighted = e.batch;
    batch_split(&sighted, END, starts, positions);
    assert_null(sighted.offsets);
    example_free(&e);
}

static void test_document_start(void **state) {
    (void)state;
    const int32_t tokens[] = {END, 5, 6, END, 7};
    const size_t want[] = {0, 0, 0, 0, 3, 3};
    for (size_t n = 0; n < COUNT(want); n++) assert_int_equal(document_start(tokens, n, END), want[n]);
    assert_int_equal(document_start(tokens + 1, 2, END), 0);
}

/* Logits and losses of a document that stands by itself are those that it has among others. */
static void alone_check(struct model *m, const struct example *e, const real *logits, const real *losses) {
    const size_t V = m->sizes.V;
    size_t count;
    for (size_t d = 0; d < DOCUMENTS; d++) {
        const size_t at = (size_t)starts_want[d], n = (size_t)starts_want[d + 1] - at;
        model_forward(m, &(struct batch){.B = 1, .T = n, .tokens = e->tokens + at, .targets = e->targets + at});
        model_loss(m, 0, &count);
        assert_memory_equal(model_losses(m), losses + at, n * sizeof(real));
        for (size_t r = 0; r < n; r++)
            assert_memory_equal(model_logits(m, r), logits + (at + r) * V, V * sizeof(real));
    }
}

static void test_alone(void **state) {
    (void)state;
    for (int kind = 0; kind < 3 * 2 * 2; kind++) {
        const struct config config = documents_config(kind % 3);
        const enum storage storage = kind / 3 % 2 ? STORAGE_BF16 : STORAGE_F32;
        struct model m = documents_model(&config, kind / 6 ? MODEL_INFER : MODEL_TRAIN, 3, false, storage);
        struct example e = documents_example(3, places, COUNT(places));
        const size_t V = m.sizes.V;
        real logits[3 * SEQ * V], losses[3 * SEQ];
        size_t count;
        model_forward(&m, &e.batch);
        model_loss(&m, 0, &count);
        assert_int_equal(count, e.count);
        memcpy(losses, model_losses(&m), sizeof losses);
        for (size_t r = 0; r < 3 * SEQ; r++) memcpy(logits + r * V, model_logits(&m, r), V * sizeof(real));
        alone_check(&m, &e, logits, losses);
        model_overrun_check(&m);
        example_free(&e);
        model_destroy(&m);
    }
}

/* Gradients are those of sequences of their own lengths, as a model without the option is told of them; --recompute
 * has the same. */
static void test_gradients(void **state) {
    (void)state;
    for (int kind = 0; kind < 3 * 2 * 2; kind++) {
        struct config config = documents_config(kind % 3);
        const enum storage storage = kind / 3 % 2 ? STORAGE_BF16 : STORAGE_F32;
        struct model m = documents_model(&config, MODEL_TRAIN, 3, kind / 6, storage);
        config.documents = false;
        struct model plain = documents_model(&config, MODEL_TRAIN, 3, false, storage);
        struct example e = documents_example(3, places, COUNT(places)), told = e;
        int32_t positions[3 * SEQ];
        for (size_t d = 0; d < DOCUMENTS; d++)
            for (int32_t r = starts_want[d]; r < starts_want[d + 1]; r++) positions[r] = r - starts_want[d];
        told.batch.B = DOCUMENTS;
        told.batch.offsets = starts_want;
        told.batch.positions = positions;
        const double loss = model_gradients(&m, &e), want = model_gradients(&plain, &told);
        assert_true(loss == want);
        assert_memory_equal(m.grad_memory, plain.grad_memory, m.n_parameters * sizeof(real));
        assert_true(model_gradients(&plain, &e) != want); /* without either it sees across */
        example_free(&e);
        model_destroy(&m);
        model_destroy(&plain);
    }
}

/* ---- Sampling ---- */

struct text {
    int32_t ids[4 * SEQ];
    size_t n;
};

static bool text_add(void *context, int32_t token) {
    struct text *text = context;
    text->ids[text->n++] = token;
    return text->n < COUNT(text->ids);
}

/* Each token is drawn from what one training window says that ends before it: documents that went before are there. */
static size_t generated_check(struct model *m, struct model *whole, const int32_t *prompt, size_t n, size_t count) {
    struct text text = {.n = n};
    struct sampler sampler = {.temperature = 4, .top_p = 1}, again;
    rng_seed(&sampler.rng, 53, n);
    again = sampler;
    size_t ends = 0;
    memcpy(text.ids, prompt, n * sizeof *prompt);
    model_generate(m, prompt, n, count, &sampler, text_add, &text);
    assert_int_equal(text.n, n + count);
    for (size_t i = n; i < text.n; i++) {
        model_forward(whole, &(struct batch){.B = 1, .T = i, .tokens = text.ids});
        assert_int_equal(text.ids[i], sampler_pick(&again, model_logits(whole, i - 1), whole->sizes.V));
        ends += text.ids[i] == END;
    }
    return ends;
}

/* Prompts that have no end of a text, begin with one, and have some within; some of what is sampled ends a text. */
static void test_generate(void **state) {
    (void)state;
    const int32_t prompts[][6] = {{5, 6, 7, 8, 9, 10}, {END, 6, 7, 8, 9, 10}, {5, 6, END, 8, 9, 10},
                                  {END, 6, END, END, 9, 10}, {5, 6, 7, 8, 9, END}};
    size_t ends = 0;
    for (int kind = 0; kind < 3 * 2; kind++) {
        const struct config config = documents_config(kind % 3);
        struct model whole = documents_model(&config, MODEL_TRAIN, 1, false, STORAGE_F32);
        const bool infer = kind / 3;
        struct model m = documents_model(&config, infer ? MODEL_INFER : MODEL_TRAIN, 1, !infer, STORAGE_F32);
        for (size_t p = 0; p < COUNT(prompts); p++)
            for (size_t skip = 0; skip < 5; skip += 2)
                ends += generated_check(&m, &whole, prompts[p] + skip, 6 - skip, SEQ - 6);
        model_destroy(&m);
        model_destroy(&whole);
    }
    assert_true(ends > 5);
}

/* ---- Scoring ---- */

/* Losses (n + 1) of tokens 1..n-1, span by span, each of which goes on from a cache that has `share` quarters of what
 * it only reads. */
static void spans_score(struct model *m, const int32_t *tokens, size_t n, size_t share, real *losses) {
    for (struct span s = {.stop = 1}; span_next(&s, SEQ, n);) {
        const size_t cached = (s.from - 1 - s.start) * share / 4;
        if (cached > 0) model_forward(m, &(struct batch){.B = 1, .T = cached, .tokens = tokens + s.start});
        losses[s.stop] = -1;
        span_score(m, tokens, &s, cached, losses + s.from);
        assert_true(losses[s.stop] == -1); /* which is not of the span */
    }
}

/* The same, where every token is what one training window says last that ends before it. */
static void windows_score(struct model *whole, const int32_t *tokens, size_t n, real *losses) {
    size_t count;
    for (struct span s = {.stop = 1}; span_next(&s, SEQ, n);)
        for (size_t i = s.from; i < s.stop; i++) {
            const size_t T = i - s.start;
            int32_t targets[SEQ];
            for (size_t t = 0; t < T; t++) targets[t] = t < T - 1 ? TARGET_NONE : tokens[i];
            model_forward(whole, &(struct batch){.B = 1, .T = T, .tokens = tokens + s.start, .targets = targets});
            losses[i] = (real)model_loss(whole, 0, &count);
        }
}

/* Whether a text begins in what is only read, in what is scored, in neither, or where one meets the other: through the
 * cache a token gets what it gets in a whole window, to the bit. A model without the option sees across. */
static void test_score(void **state) {
    (void)state;
    static const size_t begins[][4] = {{0, 0, 0, 0}, {0, 3, 44, 101}, {20, 21, 41, 42}, {40, 60, 61, 62},
                                       {1, 59, 80, 81}};
    for (size_t kind = 0; kind < 3 * COUNT(begins); kind++) {
        struct config config = documents_config(kind % 3);
        struct example e = documents_example(3, begins[kind / 3], 4);
        struct model m = documents_model(&config, MODEL_INFER, 1, false, STORAGE_F32),
                     whole = documents_model(&config, MODEL_TRAIN, 1, false, STORAGE_F32);
        config.documents = false;
        struct model plain = documents_model(&config, MODEL_INFER, 1, false, STORAGE_F32);
        real want[3 * SEQ + 1] = {[3 * SEQ] = -1}, got[3 * SEQ + 1] = {0};
        windows_score(&whole, e.tokens, 3 * SEQ, want);
        for (size_t share = 0; share <= 4; share++) {
            spans_score(&m, e.tokens, 3 * SEQ, share, got);
            assert_memory_equal(got, want, sizeof got);
        }
        spans_score(&plain, e.tokens, 3 * SEQ, 0, got);
        assert_int_equal(memcmp(got, want, sizeof got) == 0, kind / 3 == 0); /* the first has one text */
        model_overrun_check(&m);
        example_free(&e);
        model_destroy(&m);
        model_destroy(&whole);
        model_destroy(&plain);
    }
}

/* A masked model's texts are by themselves already. */
static void test_masked_refusal(void **state) {
    (void)state;
    struct config config = config_masked(documents_config(0), 4);
    struct sizes sizes;
    struct error err;
    assert_false(config_check(&config, &sizes, &err));
    assert_int_equal(err.code, EXIT_USAGE);
    assert_non_null(strstr(err.text, "--documents"));
    config.documents = false;
    assert_true(config_check(&config, &sizes, &err));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),     cmocka_unit_test(test_document_start), cmocka_unit_test(test_alone),
        cmocka_unit_test(test_gradients), cmocka_unit_test(test_generate),       cmocka_unit_test(test_score),
        cmocka_unit_test(test_masked_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
