/* What enters a model, in double: forward against a plain loop, backward against central differences; of text alone,
 * and of pictures with text in sequences of unequal lengths. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <omp.h>

#include "../src/base/rng.h"
#include "../src/base/util.h"
#include "../src/layers/inputs.h"
#include "differences.h"
#include "guarded.h"

enum { VOCAB = 7, Q = 5, T = 9, ROWS = 40 }; /* so few that tokens repeat */

enum tensor_kind { TOKENS, POSITIONS, KINDS, PLACES, MASK, PATCH, PATCH_BIAS, TENSORS };
static const char *const names[TENSORS] = {"tokens", "positions", "kinds", "places", "mask", "patch", "patch bias"};

/* A call: its tensors, what they are packed into, and its batch. */
struct call {
    struct inputs in;
    struct batch batch;
    size_t count[TENSORS];
    real *w[TENSORS], *dw[TENSORS], *pixels, *packed;
    int32_t tokens[ROWS], positions[ROWS], offsets[8];
    const real *weights;
};

static void call_pack(const struct call *c) {
    if (c->packed) gemm_pack(c->packed, view_of(c->w[PATCH], 1, Q), Q, c->in.C);
}

static double call_value(const void *call) {
    const struct call *c = call;
    const size_t n = batch_rows(&c->batch) * c->in.C;
    real *out = poisoned(n);
    call_pack(c);
    inputs_forward(&c->in, out, &c->batch);
    const double value = dot(out, c->weights, n);
    free(out);
    return value;
}

/* P patches of a picture (0: text alone); `learned`: positions have vectors, else a picture's places have. */
static struct call *call_make(size_t C, size_t P, bool learned, bool bias) {
    struct call *c = array_alloc(1, sizeof *c);
    const size_t counts[TENSORS] = {VOCAB * C, learned ? T * C : 0, P ? 2 * C : 0, P && !learned ? P * C : 0,
                                    P ? C : 0, P ? C * Q : 0, P && bias ? C : 0};
    for (size_t i = 0; i < TENSORS; i++) {
        c->count[i] = counts[i];
        if (counts[i] == 0) continue;
        c->w[i] = array_alloc(counts[i], sizeof(real));
        c->dw[i] = array_alloc(counts[i], sizeof(real));
        random_fill(c->w[i], counts[i], i + 1);
        random_fill(c->dw[i], counts[i], i + 21);
    }
    struct vectors of[TENSORS];
    for (size_t i = 0; i < TENSORS; i++) of[i] = (struct vectors){c->w[i], c->dw[i]};
    c->in = (struct inputs){.C = C, .P = P, .tokens = of[TOKENS], .positions = of[POSITIONS], .kinds = of[KINDS],
                            .places = of[PLACES], .mask = of[MASK]};
    if (P == 0) return c;
    c->packed = poisoned(gemm_packed_count(Q, C));
    c->pixels = guarded_alloc(ROWS * Q * sizeof(real));
    random_fill(c->pixels, ROWS * Q, 11);
    c->in.patch = (struct linear){.IC = Q, .OC = C, .w = c->w[PATCH], .packed = c->packed, .b = c->w[PATCH_BIAS],
                                  .dw = c->dw[PATCH], .db = c->dw[PATCH_BIAS]};
    c->in.patch_of = array_alloc(ROWS, sizeof(int32_t));
    c->in.patches = poisoned(ROWS * C);
    c->in.work = array_alloc(linear_workspace_bytes(Q, C, ROWS, OPERANDS_F32), 1);
    return c;
}

static void call_free(struct call *c) {
    for (size_t i = 0; i < TENSORS; i++) free(c->w[i]), free(c->dw[i]);
    free(c->in.patch_of);
    free(c->in.patches);
    free(c->in.work);
    if (c->pixels) guarded_free(c->pixels, ROWS * Q * sizeof(real));
    free(c->packed);
    free(c);
}

/* A picture with text, text alone, a picture alone, some of each hidden. */
static void batch_of_pictures(struct call *c, uint64_t seed) {
    const size_t P = c->in.P, lengths[] = {P + 3, 3, P, P + 1}, begins[] = {0, P, 0, 0};
    struct rng rng;
    int32_t n = 0;
    size_t shown = 0;
    rng_seed(&rng, seed, 0);
    for (size_t b = 0; b < COUNT(lengths); b++) {
        c->offsets[b] = n;
        for (size_t i = 0; i < lengths[b]; i++, n++) {
            const size_t t = begins[b] + i;
            c->positions[n] = (int32_t)t;
            c->tokens[n] = t < P ? TOKEN_PATCH : (int32_t)(rng_next(&rng) % VOCAB);
            if (rng_uniform(&rng) < 0.4) c->tokens[n] = TOKEN_HIDDEN;
            shown += c->tokens[n] == TOKEN_PATCH;
        }
    }
    c->offsets[COUNT(lengths)] = n;
    c->batch = (struct batch){.B = COUNT(lengths), .T = P + 3, .tokens = c->tokens, .offsets = c->offsets,
                              .positions = c->positions,
                              .patches = c->pixels + (ROWS - shown) * Q}; /* behind the last none may be read */
}

static void batch_of_text(struct call *c, size_t B, size_t length, size_t from) {
    struct rng rng;
    rng_seed(&rng, B + length, from);
    for (size_t i = 0; i < B * length; i++) c->tokens[i] = (int32_t)(rng_next(&rng) % VOCAB);
    c->batch = (struct batch){.B = B, .T = from + length, .from = from, .tokens = c->tokens};
}

/* Row r, sequence after sequence, number by number. */
static real plain_number(const struct call *c, size_t r, size_t t, size_t patch, size_t i) {
    const size_t C = c->in.C, P = c->in.P;
    real x = 0;
    if (c->tokens[r] >= 0) x = c->w[TOKENS][(size_t)c->tokens[r] * C + i];
    if (c->tokens[r] == TOKEN_HIDDEN) x = c->w[MASK][i];
    if (c->tokens[r] == TOKEN_PATCH) {
        for (size_t q = 0; q < Q; q++) x += c->batch.patches[patch * Q + q] * c->w[PATCH][i * Q + q];
        if (c->w[PATCH_BIAS]) x += c->w[PATCH_BIAS][i];
    }
    if (c->w[POSITIONS]) x += c->w[POSITIONS][t * C + i];
    if (P > 0) x += c->w[KINDS][(t < P ? 0 : C) + i];
    if (c->w[PLACES] && t < P) x += c->w[PLACES][t * C + i];
    return x;
}

static void call_check(struct call *c) {
    const size_t C = c->in.C, rows = batch_rows(&c->batch), n = rows * C, length = c->batch.T - c->batch.from;
    real *out = poisoned(n), *want = array_alloc(n, sizeof *want), *dout = array_alloc(n, sizeof *dout);
    for (size_t r = 0, patch = 0; r < rows; patch += c->tokens[r++] == TOKEN_PATCH)
        for (size_t i = 0; i < C; i++)
            want[r * C + i] = plain_number(
                c, r, c->batch.positions ? (size_t)c->positions[r] : c->batch.from + r % length, patch, i);
    call_pack(c);
    inputs_forward(&c->in, out, &c->batch);
    assert_all_near("inputs", out, want, n);
    random_fill(dout, n, 31);
    c->weights = dout;
    real *before[TENSORS];
    for (size_t i = 0; i < TENSORS; i++) before[i] = c->count[i] ? copy_of(c->dw[i], c->count[i]) : NULL;
    if (c->batch.from == 0) {
        inputs_backward(&c->in, dout, &c->batch);
        for (size_t i = 0; i < TENSORS; i++)
            if (c->count[i]) gradient_check_added(names[i], call_value, c, c->w[i], c->dw[i], before[i], c->count[i]);
    }
    for (size_t i = 0; i < TENSORS; i++) free(before[i]);
    free(out);
    free(want);
    free(dout);
}

static const size_t widths[] = {1, 3, 31, 33, 48};

static void test_text(void **state) {
    (void)state;
    static const size_t shapes[][3] = {{1, 1, 0}, {3, 7, 0}, {1, 5, 4}};
    for EACH(w, widths)
        for EACH(s, shapes)
            for (int learned = 0; learned < 2; learned++) {
                struct call *c = call_make(widths[w], 0, learned, false);
                batch_of_text(c, shapes[s][0], shapes[s][1], shapes[s][2]);
                call_check(c);
                call_free(c);
            }
}

static void test_pictures(void **state) {
    (void)state;
    static const size_t patches[] = {1, 4, 6};
    for EACH(w, widths)
        for EACH(p, patches)
            for (int kind = 0; kind < 4; kind++) {
                struct call *c = call_make(widths[w], patches[p], kind & 1, kind & 2);
                batch_of_pictures(c, w + 1);
                call_check(c);
                call_free(c);
            }
}

/* The same bits whatever the number of threads. */
static void test_threads(void **state) {
    (void)state;
    struct call *one = call_make(48, 6, true, true), *three = call_make(48, 6, true, true);
    const size_t n = 48 * ROWS;
    real *dout = array_alloc(n, sizeof *dout), *out[] = {poisoned(n), poisoned(n)};
    random_fill(dout, n, 5);
    for (int i = 0; i < 2; i++) {
        struct call *c = i ? three : one;
        omp_set_num_threads(i ? 3 : 1);
        batch_of_pictures(c, 3);
        call_pack(c);
        inputs_forward(&c->in, out[i], &c->batch);
        inputs_backward(&c->in, dout, &c->batch);
    }
    assert_memory_equal(out[0], out[1], batch_rows(&one->batch) * 48 * sizeof(real));
    for (size_t t = 0; t < TENSORS; t++)
        if (one->count[t]) assert_memory_equal(one->dw[t], three->dw[t], one->count[t] * sizeof(real));
    free(dout);
    free(out[0]);
    free(out[1]);
    call_free(one);
    call_free(three);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_pictures),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
