/* Attention in double: forward against a plain loop, backward against central differences, whoever attends to whom, in
 * sequences of one length and of many. Sizes lie around the tiles inside; what nobody should read holds NaN, and memory
 * ends where it may not be touched. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <omp.h>
#include "../src/math/attention.h"
#include "differences.h"
#include "guarded.h"

struct attending {
    struct attention layer;
    struct batch batch;
    real *qkv;
    const real *weights;
    size_t rows, scratch_bytes;
};

static double attention_value(const void *call) {
    const struct attending *a = call;
    const size_t n = a->rows * a->layer.C;
    struct attention layer = a->layer;
    real out[n];
    layer.lse = NULL;
    attention_forward(&layer, kept_real(out), kept_real(a->qkv), &a->batch);
    return dot(out, a->weights, n);
}

/* Who attends to whom: the kinds that have a name, and any. */
enum sight { CAUSAL, CAUSAL_BY_ENDS, BOTH_WAYS, PADDED, PREFIX, ANY, SIGHTS };

/* The keys that row t of sequence b sees. */
static size_t sight_end(enum sight sight, size_t b, size_t t, size_t T) {
    const size_t length = T - (T - 1) * (b + 1) / 5, prefix = 1 + T / (b + 2);
    switch (sight) {
        case BOTH_WAYS: return T;
        case PADDED: return length;
        case PREFIX: return t < prefix ? prefix : t + 1;
        case ANY: return 1 + (7 * t * t + 5 * t + 3 * b) % T;
        default: return t + 1;
    }
}

static const int32_t *sight_ends(enum sight sight, size_t B, size_t T) {
    if (sight == CAUSAL) return NULL;
    int32_t *ends = array_alloc(B * T, sizeof *ends);
    for (size_t i = 0; i < B * T; i++) ends[i] = (int32_t)sight_end(sight, i / T, i % T, T);
    return ends;
}

static struct attending attending_of(struct batch batch, size_t rows, size_t C, size_t NH) {
    const size_t scratch_bytes = attention_scratch_count(batch.T, C, NH, OPERANDS_F32) * sizeof(real);
    const struct attention layer = {C, NH, OPERANDS_F32, poisoned(rows * NH), guarded_alloc(scratch_bytes)};
    real *qkv = random_numbers(rows * 3 * C, batch.T + C);
    return (struct attending){layer, batch, qkv, random_numbers(rows * C, 3), rows, scratch_bytes};
}

static struct attending attention_make(size_t B, size_t T, size_t C, size_t NH, enum sight sight) {
    return attending_of((struct batch){.B = B, .T = T, .ends = sight_ends(sight, B, T)}, B * T, C, NH);
}

/* Sequences one behind the other, `offsets` (B + 1) their places; or of one length. */
static size_t sequence_start(const struct batch *batch, size_t b) {
    return batch->offsets ? (size_t)batch->offsets[b] : b * batch->T;
}
static size_t sequence_length(const struct batch *batch, size_t b) {
    return sequence_start(batch, b + 1) - sequence_start(batch, b);
}

/* Of these lengths, 0 behind the last; the first sees as `sight`, the next as the kind after it, unless all are
 * causal. */
static struct attending packed_make(const size_t *lengths, size_t C, size_t NH, enum sight sight) {
    size_t B = 0, rows = 0, longest = 0;
    for (; lengths[B]; rows += lengths[B++]) longest = lengths[B] > longest ? lengths[B] : longest;
    int32_t *offsets = array_alloc(B + 1, sizeof *offsets), *ends = array_alloc(rows, sizeof *ends);
    for (size_t b = 0, at = 0; b < B; at += lengths[b++])
        for (size_t t = 0; t < lengths[b]; t++) {
            const enum sight mine = (sight + b) % SIGHTS;
            ends[at + t] = (int32_t)sight_end(mine, mine == ANY ? b : 0, t, lengths[b]);
            offsets[b + 1] = (int32_t)(at + lengths[b]);
        }
    if (sight == CAUSAL) free(ends), ends = NULL;
    return attending_of((struct batch){.B = B, .T = longest, .offsets = offsets, .ends = ends}, rows, C, NH);
}

static void attention_free(struct attending *a) {
    free((int32_t *)a->batch.ends);
    free((int32_t *)a->batch.offsets);
    free(a->qkv);
    free(a->layer.lse);
    guarded_free(a->layer.scratch, a->scratch_bytes);
    free((real *)a->weights);
}

/* One query of one head, and the keys that it sees; q is its own numbers, k those of the head's position 0, whose
 * values lie C further. Returns the log-sum-exp. */
static double attention_plain(real *out_t, const real *q, const real *k, size_t end, size_t C, size_t hs) {
    double p[end], high = -INFINITY, sum = 0;
    for (size_t t2 = 0; t2 < end; t2++) {
        p[t2] = dot(q, k + t2 * 3 * C, hs) / sqrt((double)hs);
        high = fmax(high, p[t2]);
    }
    for (size_t t2 = 0; t2 < end; t2++) sum += p[t2] = exp(p[t2] - high);
    for (size_t i = 0; i < hs; i++) {
        out_t[i] = 0;
        for (size_t t2 = 0; t2 < end; t2++) out_t[i] += p[t2] / sum * k[t2 * 3 * C + C + i];
    }
    return high + log(sum);
}

static void attention_forward_check(const struct attending *a, real *out) {
    const size_t rows = a->rows, C = a->layer.C, NH = a->layer.NH, hs = C / NH;
    real want[rows * C], lse_want[rows * NH];
    attention_forward(&a->layer, kept_real(out), kept_real(a->qkv), &a->batch);
    for (size_t b = 0; b < a->batch.B; b++) {
        const size_t start = sequence_start(&a->batch, b), T = sequence_length(&a->batch, b);
        for (size_t h = 0; h < NH; h++)
            for (size_t t = 0; t < T; t++) {
                const real *q = a->qkv + start * 3 * C + h * hs;
                const size_t end = a->batch.ends ? (size_t)a->batch.ends[start + t] : t + 1;
                real *want_t = want + (start + t) * C + h * hs;
                lse_want[start * NH + h * T + t] = attention_plain(want_t, q + t * 3 * C, q + C, end, C, hs);
            }
    }
    assert_all_near("out", out, want, rows * C);
    assert_all_near("lse", a->layer.lse, lse_want, rows * NH);
}

static void attending_check(struct attending a) {
    const size_t n = a.rows * a.layer.C;
    real out[n], dqkv[3 * n];
    poison(out, n);
    poison(dqkv, 3 * n);
    attention_forward_check(&a, out);
    attention_backward(&a.layer, dqkv, a.weights, kept_real(a.qkv), kept_real(out), &a.batch);
    gradient_check("dqkv", attention_value, &a, a.qkv, dqkv, 3 * n);
    attention_free(&a);
}

static void attention_check(size_t B, size_t T, size_t C, size_t NH, enum sight sight) {
    attending_check(attention_make(B, T, C, NH, sight));
}

/* A tile has 32 queries: within one, exactly one, one and a bit, two, two and a bit, and a rest. */
static const size_t lengths[] = {1, 7, 32, 33, 64, 65, 130};

static void test_attention(void **state) {
    (void)state;
    const struct {
        size_t B, C, NH;
    } shapes[] = {{1, 3, 3}, {1, 31, 1}, {3, 33, 3}, {1, 48, 2}, {3, 48, 4}};
    for EACH(t, lengths)
        for EACH(s, shapes) attention_check(shapes[s].B, lengths[t], shapes[s].C, shapes[s].NH, CAUSAL);
}

/* Every kind of sight, in each sequence another one. */
static void test_attention_of_every_sight(void **state) {
    (void)state;
    for (enum sight sight = CAUSAL_BY_ENDS; sight < SIGHTS; sight++)
        for EACH(t, lengths) attention_check(3, lengths[t], 20, 2, sight);
}

/* ---- Sequences of unequal lengths ---- */

/* 0 behind the last of each: longer ones before, between and behind shorter ones, some of one row. */
static const size_t packs[][8] = {{1}, {7, 33, 1, 64}, {65, 2, 31, 1}, {1, 1, 3, 1}, {32, 5, 130, 32, 1, 9}};

static void test_attention_of_unequal_lengths(void **state) {
    (void)state;
    const size_t shapes[][2] = {{3, 3}, {20, 2}, {33, 1}};
    for EACH(p, packs)
        for (enum sight sight = CAUSAL; sight < SIGHTS; sight++) {
            const size_t *shape = shapes[(p + sight) % COUNT(shapes)];
            attending_check(packed_make(packs[p], shape[0], shape[1], sight));
        }
}

/* What a sequence gets does not depend on what else the batch has, to the bit. */
static void sequences_check(const struct attending *a, const real *out, const real *dqkv) {
    const size_t C = a->layer.C, NH = a->layer.NH;
    for (size_t b = 0; b < a->batch.B; b++) {
        const size_t start = sequence_start(&a->batch, b), T = sequence_length(&a->batch, b);
        const struct batch alone = {.B = 1, .T = T, .ends = a->batch.ends ? a->batch.ends + start : NULL};
        real lse[NH * T], out_b[T * C], dqkv_b[T * 3 * C];
        const struct attention layer = {C, NH, OPERANDS_F32, lse, a->layer.scratch};
        attention_forward(&layer, kept_real(out_b), kept_real(a->qkv + start * 3 * C), &alone);
        attention_backward(&layer, dqkv_b, a->weights + start * C, kept_real(a->qkv + start * 3 * C), kept_real(out_b),
                           &alone);
        assert_memory_equal(out_b, out + start * C, sizeof out_b);
        assert_memory_equal(lse, a->layer.lse + start * NH, sizeof lse);
        assert_memory_equal(dqkv_b, dqkv + start * 3 * C, sizeof dqkv_b);
    }
}

/* Nor on how many threads share the work memory: as many sequences as it takes for each to meet a long one beside short
 * ones. */
static void test_sequences_alone(void **state) {
    (void)state;
    enum { C = 20, NH = 2, MANY = 60 };
    const int before = omp_get_max_threads();
    size_t many[MANY + 1] = {0};
    for (size_t i = 0; i < MANY; i++) many[i] = i % 3 ? 1 + i * i % 17 : 97 + i;
    for (int threads = 1; threads <= 8; threads += 7)
        for EACH(p, packs)
            for (enum sight sight = CAUSAL; sight < SIGHTS; sight++) {
                omp_set_num_threads(threads);
                struct attending a = packed_make(p ? packs[p] : many, C, NH, sight);
                real *out = poisoned(a.rows * C), *dqkv = poisoned(a.rows * 3 * C);
                attention_forward(&a.layer, kept_real(out), kept_real(a.qkv), &a.batch);
                attention_backward(&a.layer, dqkv, a.weights, kept_real(a.qkv), kept_real(out), &a.batch);
                sequences_check(&a, out, dqkv);
                free(out);
                free(dqkv);
                attention_free(&a);
            }
    omp_set_num_threads(before);
}

/* ---- Said another way, or in pieces ---- */

/* What it is told, not how: causal as `ends` says it is the same numbers. */
static void test_causal_by_ends(void **state) {
    (void)state;
    enum { T = 97, C = 20, n = 3 * T * C };
    real out[2][n], dqkv[2][3 * n];
    for (enum sight sight = CAUSAL; sight <= CAUSAL_BY_ENDS; sight++) {
        struct attending a = attention_make(3, T, C, 2, sight);
        attention_forward(&a.layer, kept_real(out[sight]), kept_real(a.qkv), &a.batch);
        attention_backward(&a.layer, dqkv[sight], a.weights, kept_real(a.qkv), kept_real(out[sight]), &a.batch);
        attention_free(&a);
    }
    assert_memory_equal(out[0], out[1], sizeof out[0]);
    assert_memory_equal(dqkv[0], dqkv[1], sizeof dqkv[0]);
}

/* Scores up to some 10,000: the softmax is one-hot for most queries. */
static void test_attention_of_huge_scores(void **state) {
    (void)state;
    struct attending a = attention_make(1, 49, 33, 3, CAUSAL);
    enum { n = 49 * 33 };
    real out[n], dqkv[3 * n];
    poison(dqkv, 3 * n);
    for (size_t i = 0; i < 3 * n; i++)
        if (i % 99 < 66) a.qkv[i] *= 50; /* queries and keys */
    attention_forward_check(&a, out);
    attention_backward(&a.layer, dqkv, a.weights, kept_real(a.qkv), kept_real(out), &a.batch);
    for (size_t i = 0; i < 3 * n; i++) assert_true(isfinite(dqkv[i]));
    attention_free(&a);
}

static void attention_from_check(enum sight sight) {
    const size_t C = 33, NH = 3;
    for EACH(k, lengths) {
        const size_t T = lengths[k];
        struct attending a = attention_make(1, T, C, NH, sight);
        real at_once[T * C], out[T * C], out_lse[NH * T], *lse = a.layer.lse;
        attention_forward(&a.layer, kept_real(at_once), kept_real(a.qkv), &a.batch);
        const struct attention again = {C, NH, OPERANDS_F32, out_lse, a.layer.scratch};
        for (size_t from = 1; from < T; from += from < 50 ? 1 : 13) {
            poison(out, T * C);
            poison(out_lse, NH * T);
            const int32_t *ends = a.batch.ends ? a.batch.ends + from : NULL;
            const struct batch rest = {.B = 1, .T = T, .from = from, .ends = ends};
            attention_forward(&again, kept_real(out), kept_real(a.qkv), &rest);
            assert_memory_equal(out, at_once + from * C, (T - from) * C * sizeof *out);
            for (size_t i = (T - from) * C; i < T * C; i++) assert_true(isnan(out[i]));
            for (size_t h = 0; h < NH; h++)
                assert_memory_equal(out_lse + h * T, lse + h * T + from, (T - from) * sizeof *lse);
        }
        attention_free(&a);
    }
}

static void test_attention_from(void **state) {
    (void)state;
    attention_from_check(CAUSAL);
    attention_from_check(ANY);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_attention_of_every_sight),
        cmocka_unit_test(test_attention_of_unequal_lengths),
        cmocka_unit_test(test_sequences_alone),
        cmocka_unit_test(test_causal_by_ends),
        cmocka_unit_test(test_attention_of_huge_scores),
        cmocka_unit_test(test_attention_from),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
