/* Dropout (src/layers/dropout.h): how many numbers it leaves out and which, that all that they should depend on changes
 * them and nothing else does, and where in a model it stands. Gradients with it: test_model.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <omp.h>
#include "../src/layers/dropout.h"
#include "small_model.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))

/* What is left of ones. malloc'ed. */
static real *mask_of(const struct dropout *d, size_t rows, size_t C) {
    real *mask = array_alloc(rows * C, sizeof *mask);
    for (size_t i = 0; i < rows * C; i++) mask[i] = 1;
    dropout_forward(d, mask, NULL, rows, C);
    return mask;
}

/* A share of n draws, each of which comes with probability p, is within five standard deviations: a right one is not
 * once in a million. */
static void share_expect(const char *what, double count, double n, double p) {
    if (!(fabs(count - n * p) <= 5 * sqrt(n * p * (1 - p))))
        fail_msg("%s: got %.0f of %.0f, want a share of %.6f", what, count, n, p);
}

/* Sum of the squares of n standard normal numbers: within five standard deviations of its mean (and a little more, as
 * it is skew). */
static void chi_square_expect(const char *what, double sum, double n) {
    if (!(fabs(sum - n) <= 6 * sqrt(2 * n))) fail_msg("%s: chi-square %.1f of %.0f", what, sum, n);
}

/* ---- Masks ---- */

/* How many are 0 in all, in each row and in each channel, and in pairs that are side by side. */
static void shares_check(double P, const real *mask, size_t rows, size_t C) {
    double zeros = 0, row_square = 0, column_square = 0, pairs_across = 0, pairs_down = 0;
    const double R = (double)rows, N = (double)C;
    for (size_t r = 0; r < rows; r++) {
        double n = 0;
        for (size_t c = 0; c < C; c++) n += mask[r * C + c] == 0;
        for (size_t c = 0; c + 1 < C; c++) pairs_across += mask[r * C + c] == 0 && mask[r * C + c + 1] == 0;
        for (size_t c = 0; r > 0 && c < C; c++) pairs_down += mask[r * C + c] == 0 && mask[(r - 1) * C + c] == 0;
        zeros += n;
        row_square += (n - N * P) * (n - N * P) / (N * P * (1 - P));
    }
    for (size_t c = 0; c < C; c++) {
        double n = 0;
        for (size_t r = 0; r < rows; r++) n += mask[r * C + c] == 0;
        column_square += (n - R * P) * (n - R * P) / (R * P * (1 - P));
    }
    share_expect("zeros", zeros, R * N, P);
    chi_square_expect("rows", row_square, R);
    chi_square_expect("channels", column_square, N);
    share_expect("neighbours", pairs_across, R * (N - 1), P * P);
    share_expect("neighbours below", pairs_down, (R - 1) * N, P * P);
}

static void masks_have_their_share(void **state) {
    (void)state;
    enum { ROWS = 601, C = 307 };
    static const double shares[] = {0.02, 0.1, 0.25, 0.5, 0.9};
    for (size_t i = 0; i < COUNT(shares); i++) {
        const double P = shares[i];
        const struct dropout pass = dropout_of(P, 3, 5, 7), d = dropout_at(pass, 2, SITE_FFN);
        real *mask = mask_of(&d, ROWS, C);
        double sum = 0, squares = 0;
        for (size_t k = 0; k < ROWS * C; k++) {
            assert_true(mask[k] == 0 || mask[k] == (real)(1 / (1 - P)));
            sum += mask[k];
            squares += mask[k] * mask[k];
        }
        shares_check(P, mask, ROWS, C);
        const double n = ROWS * C, mean = sum / n, variance = squares / n - mean * mean, want = P / (1 - P);
        assert_true(fabs(mean - 1) <= 5 * sqrt(want / n));
        assert_true(fabs(variance / want - 1) <= 5 * fabs(1 - 2 * P) / sqrt(P * (1 - P) * n) + 1e-3);
        free(mask);
    }
}

/* Shares that are at the ends: a millionth leaves nearly all, and the most that an option takes nearly none. */
static void extreme_shares_are_kept(void **state) {
    (void)state;
    enum { ROWS = 200, C = 501 };
    const struct dropout least = dropout_of(1e-9, 3, 5, 7), most = dropout_of(0.999999, 3, 5, 7);
    real *a = mask_of(&least, ROWS, C), *b = mask_of(&most, ROWS, C);
    double kept = 0;
    for (size_t i = 0; i < ROWS * C; i++) {
        assert_true(a[i] == 1);
        kept += b[i] != 0;
    }
    assert_true(kept <= 3); /* of 0.1 expected */
    free(a);
    free(b);
}

/* What a mask is made for. */
struct place {
    uint64_t seed, step, pass;
    size_t block;
    enum site site;
};
enum { PLACES = 2 * 3 * 3 * 3 * SITES };

static struct place place_number(size_t i) {
    return (struct place){i / (27 * SITES), i / (9 * SITES) % 3, i / (3 * SITES) % 3, i / SITES % 3,
                          (enum site)(i % SITES)};
}

/* Any two, and also row r of one with a later row of the other, agree as often as masks do that know nothing of each
 * other: a place that left out one of its numbers, or summed two of them up, would have another's mask. */
static void masks_are_independent(void **state) {
    (void)state;
    enum { ROWS = 5, C = 401, SHIFTS = 3 };
    const double P = 0.3;
    static real *masks[PLACES];
    for (size_t i = 0; i < PLACES; i++) {
        const struct place p = place_number(i);
        const struct dropout d = dropout_at(dropout_of(P, p.seed, p.step, p.pass), p.block, p.site);
        masks[i] = mask_of(&d, ROWS, C);
    }
    for (size_t i = 0; i < PLACES; i++)
        for (size_t k = 0; k < PLACES; k++)
            for (size_t shift = k <= i; shift < SHIFTS; shift++) {
                const size_t n = (ROWS - shift) * C;
                double same = 0;
                for (size_t x = 0; x < n; x++) same += (masks[i][x] == 0) == (masks[k][x + shift * C] == 0);
                const double agree = P * P + (1 - P) * (1 - P);
                if (!(fabs(same - (double)n * agree) <= 6.5 * sqrt((double)n * agree * (1 - agree))))
                    fail_msg("masks %zu and %zu, %zu rows on, agree in %.0f of %zu", i, k, shift, same, n);
            }
    for (size_t i = 0; i < PLACES; i++) free(masks[i]);
}

/* ---- Forward and backward ---- */

/* As many rows as one thread does alone, and more. */
static void what_is_left_is_added(void **state) {
    (void)state;
    enum { MOST = 67, C = 13 };
    static const size_t rows_of[] = {1, 16, 17, MOST};
    const struct dropout pass = dropout_of(0.4, 1, 2, 3), d = dropout_at(pass, 1, SITE_ATTENTION);
    for (size_t i = 0; i < COUNT(rows_of); i++) {
        const size_t n = rows_of[i] * C;
        real start[MOST * C], x[MOST * C], out[MOST * C], room[MOST * C];
        for (size_t k = 0; k < n; k++) start[k] = (real)k - 40, x[k] = (real)(n - k) / 8;
        real *mask = mask_of(&d, rows_of[i], C);
        for (int threads = 1; threads <= 3; threads++) {
            omp_set_num_threads(threads);
            memcpy(out, x, n * sizeof *x);
            dropout_forward(&d, out, start, rows_of[i], C);
            for (size_t k = 0; k < n; k++) assert_true(fabs(out[k] - (start[k] + x[k] * mask[k])) < 1e-4);
            assert_ptr_equal(dropout_backward(&d, room, x, rows_of[i], C), room);
            for (size_t k = 0; k < n; k++) assert_true(room[k] == x[k] * mask[k]);
            memcpy(out, x, n * sizeof *x);
            assert_ptr_equal(dropout_backward(&d, out, out, rows_of[i], C), out); /* in place */
            assert_memory_equal(out, room, n * sizeof *x);
        }
        free(mask);
    }
    omp_set_num_threads(2);
    real start;
    assert_null(dropout_start(&d, &start));
}

/* Nothing is looked at, and nothing touched. */
static void without_dropout_nothing_is_done(void **state) {
    (void)state;
    const struct dropout pass = dropout_of(0, 1, 2, 3), d = dropout_at(pass, 1, SITE_ATTENTION);
    real start = 0;
    assert_ptr_equal(dropout_start(&d, &start), &start);
    dropout_forward(&d, NULL, NULL, 5, 7);
    assert_ptr_equal(dropout_backward(&d, NULL, &start, 5, 7), &start);
}

/* ---- In a model ---- */

enum { SEQ = 9, B = 3, ROWS = B * SEQ };

static struct config model_config(int i) {
    static const enum ffn_kind kinds[] = {FFN_DENSE, FFN_SMOE, FFN_MHMOE};
    struct config config = small_config;
    config.layers = 3;
    config.moe_every = 2;
    config.ffn = kinds[i % 3];
    config.shared_hidden = i % 3 == 1 ? 5 : 0;
    return config;
}

/* A model whose layers say the same to every row, what biases are: attention's, and those of dense layers and of the
 * merge; of an SMoE each expert's K of E equal shares, and the shared one's. */
static void biases_alone(struct model *m) {
    struct rng rng;
    rng_seed(&rng, 61, 0);
    memset(m->param_memory, 0, m->n_parameters * sizeof(real));
    const struct sizes *s = &m->sizes;
    for (size_t i = 0; i < s->V * s->C; i++) m->params.wte[i] = (real)rng_normal(&rng);
    for (size_t i = 0; i < s->T * s->C; i++) m->params.wpe[i] = (real)rng_normal(&rng);
    for (size_t i = 0; i < s->L * s->C; i++) m->params.attprojb[i] = (real)rng_normal(&rng);
    for (size_t i = 0; i < s->LD * s->C; i++) m->params.fcprojb[i] = (real)rng_normal(&rng);
    for (size_t i = 0; i < s->LM * s->C && s->merge; i++) m->params.mergeb[i] = (real)rng_normal(&rng);
    for (size_t i = 0; i < s->LM * s->C && !s->merge; i++) {
        m->params.sharedb2[i] = (real)rng_normal(&rng);
        for (size_t e = 0; e < s->E; e++)
            m->params.expb2[(i / s->C * s->E + e) * s->C + i % s->C] = m->params.sharedb2[i];
    }
    for (size_t c = 0; c < s->C; c++) m->params.lnfw[c] = 1;
    model_pack(m);
}

/* What the feed-forward layer of block l gives to channel c of every row. */
static double given(const struct model *m, size_t l, size_t c) {
    const struct sizes *s = &m->sizes;
    const bool is_moe = block_is_moe(&m->config, s, l);
    const size_t before = moe_blocks_before(&m->config, s, l), i = (is_moe ? before : l - before) * s->C + c;
    if (!is_moe) return m->params.fcprojb[i];
    return s->merge ? m->params.mergeb[i] : m->params.sharedb2[i] * (1 + (double)s->K / (double)s->E);
}

/* The stream behind the last block, by hand. */
static void stream_expect(double *stream, const struct model *m, const struct batch *b) {
    const size_t C = m->sizes.C;
    const struct dropout inputs = dropout_at(b->dropout, 0, SITE_INPUTS);
    real *mask = mask_of(&inputs, ROWS, C);
    for (size_t r = 0, t = 0; r < ROWS; r++, t++) {
        if (r % SEQ == 0 || (m->config.documents && b->tokens[r] == DOCUMENT_TOKEN)) t = 0;
        for (size_t c = 0; c < C; c++)
            stream[r * C + c] = mask[r * C + c] * (m->params.wte[(size_t)b->tokens[r] * C + c] +
                                                   m->params.wpe[t * C + c]);
    }
    free(mask);
    for (size_t l = 0; l < m->sizes.L; l++) {
        const struct dropout attention = dropout_at(b->dropout, l, SITE_ATTENTION),
                             ffn = dropout_at(b->dropout, l, SITE_FFN);
        real *mask1 = mask_of(&attention, ROWS, C), *mask2 = mask_of(&ffn, ROWS, C);
        for (size_t i = 0; i < ROWS * C; i++)
            stream[i] += mask1[i] * m->params.attprojb[l * C + i % C] + mask2[i] * given(m, l, i % C);
        free(mask1);
        free(mask2);
    }
}

/* In front of the first block, and of what each half of each adds: there, each by a mask of its own, and nowhere
 * else. */
static void it_stands_where_gpt2_has_it(void **state) {
    (void)state;
    for (int kind = 0; kind < 3 * 2; kind++) {
        struct config config = model_config(kind);
        config.documents = kind / 3;
        struct model m = model_make(&config, MODEL_TRAIN, B);
        struct example e = example_random(B, SEQ, config.vocab, 62);
        e.tokens[4] = e.tokens[SEQ + 3] = DOCUMENT_TOKEN;
        const size_t C = m.sizes.C, V = m.sizes.V;
        double stream[ROWS * C];
        biases_alone(&m);
        e.batch.dropout = dropout_of(0.4, 63, 64, 65);
        model_forward(&m, &e.batch);
        stream_expect(stream, &m, &e.batch);
        for (size_t r = 0; r < ROWS; r++) {
            const real *logits = model_logits(&m, r);
            double *x = stream + r * C, mean = 0, square = 0;
            for (size_t c = 0; c < C; c++) mean += x[c] / (double)C;
            for (size_t c = 0; c < C; c++) square += (x[c] - mean) * (x[c] - mean) / (double)C;
            for (size_t v = 0; v < V; v++) {
                double want = 0;
                for (size_t c = 0; c < C; c++)
                    want += m.params.wte[v * C + c] * (x[c] - mean) / sqrt(square + 1e-5);
                if (!(fabs(logits[v] - want) < 1e-4 * fmax(1, fabs(want))))
                    fail_msg("kind %d, row %zu: logit %zu is %g, want %g", kind, r, v, logits[v], want);
            }
        }
        example_free(&e);
        model_destroy(&m);
    }
}

static struct model model_as(const struct config *config, bool recompute, enum storage storage) {
    struct model m, like = model_random(config, MODEL_INFER, 1, 66);
    struct error err;
    if (!model_create(&m, config, (struct model_setup){MODEL_TRAIN, B, recompute, storage}, &err))
        fail_msg("%s", err.text);
    memcpy(m.param_memory, like.param_memory, m.n_parameters * sizeof(real));
    model_pack(&m);
    model_destroy(&like);
    return m;
}

/* The loss and all gradients, with any number of threads and whether or not they are computed again. */
static void bits_check(const struct config *config, const struct example *e, enum storage storage) {
    struct model m = model_as(config, false, storage);
    omp_set_num_threads(1);
    const double loss = model_gradients(&m, e);
    for (int way = 0; way < 4; way++) {
        struct model other = model_as(config, way % 2, storage);
        omp_set_num_threads(2 + way / 2);
        assert_true(model_gradients(&other, e) == loss);
        assert_memory_equal(other.grad_memory, m.grad_memory, m.n_parameters * sizeof(real));
        struct example plain = *e;
        plain.batch.dropout.share = 0; /* the one before has left nothing behind */
        const double plain_loss = model_gradients(&other, &plain);
        assert_true(plain_loss != loss);
        assert_true(model_gradients(&other, e) == loss);
        model_destroy(&other);
    }
    omp_set_num_threads(2);
    model_destroy(&m);
}

static void threads_and_recomputing_change_nothing(void **state) {
    (void)state;
    for (int kind = 0; kind < 3 * 2 * 2; kind++) {
        struct config config = model_config(kind % 3);
        struct sizes s;
        struct error err;
        const enum storage storage = kind / 3 % 2 ? STORAGE_BF16 : STORAGE_F32;
        const bool masked = kind / 6;
        if (masked) config = config_masked(config, 4);
        if (!config_check(&config, &s, &err)) fail_msg("%s", err.text);
        struct example e = masked ? masked_random(&s, B, 67) : example_random(B, SEQ, config.vocab, 67);
        e.batch.dropout = dropout_of(0.3, 68, 69, 70);
        bits_check(&config, &e, storage);
        example_free(&e);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_have_their_share),
        cmocka_unit_test(extreme_shares_are_kept),
        cmocka_unit_test(masks_are_independent),
        cmocka_unit_test(what_is_left_is_added),
        cmocka_unit_test(without_dropout_nothing_is_done),
        cmocka_unit_test(it_stands_where_gpt2_has_it),
        cmocka_unit_test(threads_and_recomputing_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
