/* Numbers that are kept in bf16 (src/math/bf16.h), in float: what is rounded, where it lies, and what real rows do. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <omp.h>
#include <stdlib.h>

#include "../src/layers/ffn.h"
#include "../src/math/activation.h"
#include "../src/math/bf16.h"
#include "../src/math/kernels.h"
#include "../src/base/util.h"
#include "bf16_plain.h"
#include "guarded.h"
#include "random_numbers.h"

/* Every upper half, with lower halves around those that decide. */
static void test_rounding(void **state) {
    (void)state;
    static const uint32_t lower[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
    for (uint32_t upper = 0; upper < 0x10000; upper++)
        for (size_t i = 0; i < sizeof lower / sizeof *lower; i++) {
            const float x = float_of(upper << 16 | lower[i]), got = bf16_real(bf16_of(x));
            if (isnan(x)) assert_true(isnan(got));
            else assert_true(bits_of(got) == bits_of(bf16_nearest(x)));
        }
}

enum { N = 1000 };

/* Through a row of bf16 whose memory ends where it may not be touched, from any number on. */
static void test_rows_in_bf16(void **state) {
    (void)state;
    float numbers[N], room[N];
    for (size_t i = 0; i < N; i++) numbers[i] = (float)sin((double)i);
    for (size_t from = 0; from < 70; from++) {
        const size_t bytes = N * kept_bytes(true);
        const struct kept all = {guarded_alloc(bytes), true}, some = kept_at(all, from);
        assert_int_equal(bytes, 2 * N);
        assert_ptr_equal(kept_room(some, room), room);
        kept_store(some, numbers + from, N - from);
        const float *back = kept_load(some, room, N - from);
        assert_ptr_equal(back, room);
        for (size_t i = from; i < N; i++) assert_true(bits_of(back[i - from]) == bits_of(bf16_nearest(numbers[i])));
        guarded_free(all.data, bytes);
    }
}

/* Nothing is rounded, and nothing moves that lies where it should. */
static void test_rows_of_reals(void **state) {
    (void)state;
    float numbers[N], room[N], place[N];
    for (size_t i = 0; i < N; i++) numbers[i] = (float)sin((double)i);
    const struct kept all = kept_real(place), some = kept_at(all, 7);
    assert_false(some.bf16);
    assert_ptr_equal(some.data, place + 7);
    assert_ptr_equal(kept_room(some, room), place + 7);
    kept_store(some, numbers, N - 7);
    assert_memory_equal(place + 7, numbers, (N - 7) * sizeof *place);
    assert_ptr_equal(kept_load(some, room, N - 7), place + 7);
    kept_store(some, place + 7, N - 7);
    assert_memory_equal(place + 7, numbers, (N - 7) * sizeof *place);
    assert_null(kept_at(kept_real(NULL), 7).data);
}

static void test_all_rows(void **state) {
    (void)state;
    enum { ROWS = 13, C = N / ROWS };
    float numbers[ROWS * C], reals[ROWS * C] = {0};
    uint16_t stored[ROWS * C];
    for (size_t i = 0; i < ROWS * C; i++) numbers[i] = (float)sin((double)i);
    rows_keep((struct kept){stored, true}, numbers, ROWS, C);
    for (size_t i = 0; i < ROWS * C; i++) assert_int_equal(stored[i], bits_of(bf16_nearest(numbers[i])) >> 16);
    rows_keep(kept_real(reals), numbers, ROWS, C);
    assert_memory_equal(reals, numbers, sizeof reals);
    rows_keep(kept_real(reals), reals, ROWS, C);
    assert_memory_equal(reals, numbers, sizeof reals);
}

/* What is between the matrices of a layer: as of the same numbers in floats, rounded where it is stored. */
static void activation_check(enum activation kind, size_t rows, size_t F) {
    const size_t W = activation_width(kind), width = W * F, n = rows * width, bytes = n * sizeof(uint16_t);
    float *x = array_alloc(n, sizeof *x), *out = array_alloc(n, sizeof *out), *dx = array_alloc(n, sizeof *dx);
    float *dout = array_alloc(n, sizeof *dout), *room = array_alloc(n, sizeof *room);
    const struct kept x_kept = {guarded_alloc(bytes), true}, out_kept = {guarded_alloc(bytes), true};
    const struct kept dx_kept = {guarded_alloc(bytes), true};
    for (size_t i = 0; i < n; i++) x[i] = bf16_nearest((float)(4 * sin((double)i))), dout[i] = (float)cos((double)i);
    kept_store(x_kept, x, n);
    activation_forward(kind, out_kept, x_kept, rows, F);
    activation_forward(kind, kept_real(out), kept_real(x), rows, F);
    const float *got = kept_load(out_kept, room, n);
    for (size_t i = 0; i < n; i++)
        if (i % width < F) assert_true(got[i] == bf16_nearest(out[i]));
    activation_backward(kind, dx_kept, dout, x_kept, rows, F);
    activation_backward(kind, kept_real(dx), dout, kept_real(x), rows, F);
    got = kept_load(x_kept, room, n);
    for (size_t i = 0; i < n; i++) assert_true(got[i] == bf16_nearest(x[i]));
    got = kept_load(dx_kept, room, n);
    for (size_t i = 0; i < n; i++) assert_true(got[i] == bf16_nearest(dx[i]));
    guarded_free(x_kept.data, bytes), guarded_free(out_kept.data, bytes), guarded_free(dx_kept.data, bytes);
    free(x), free(out), free(dx), free(dout), free(room);
}

static void test_activations_in_bf16(void **state) {
    (void)state;
    static const enum activation kinds[] = {ACTIVATION_GELU, ACTIVATION_SWIGLU, ACTIVATION_RELU2};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        activation_check(kinds[k], 1, 1);
        activation_check(kinds[k], 3, 77);
        activation_check(kinds[k], 5, 301);
        activation_check(kinds[k], 2, 512);
    }
}

/* ---- A feed-forward layer ---- */

/* W1 (F, S) and W2 (S, F), packed both ways. */
static struct linear matrix_make(size_t IC, size_t OC, uint64_t seed) {
    struct linear l = {.IC = IC, .OC = OC, .w = random_numbers(OC * IC, seed), .storage = STORAGE_BF16,
                       .operands = OPERANDS_BF16, .dw = array_alloc(OC * IC, sizeof(real))};
    void *packed = array_alloc(gemm_packed_bytes(STORAGE_BF16, IC, OC), 1);
    void *packed_t = array_alloc(gemm_packed_bytes(STORAGE_BF16, OC, IC), 1);
    gemm_pack_stored(packed, STORAGE_BF16, view_of(l.w, 1, IC), IC, OC);
    gemm_pack_stored(packed_t, STORAGE_BF16, view_of(l.w, IC, 1), OC, IC);
    l.packed = packed, l.packed_t = packed_t;
    return l;
}
static void matrix_free(struct linear l) {
    free((void *)l.w), free((void *)l.packed), free((void *)l.packed_t), free(l.dw);
}

static void *bf16_rows(size_t n, uint64_t seed) {
    float *numbers = random_numbers(n, seed);
    const struct kept k = {array_alloc(n, kept_bytes(true)), true};
    kept_store(k, numbers, n);
    free(numbers);
    return k.data;
}

/* Chunk by chunk on any number of threads, the same bits as the products and the activation one after the other, of all
 * rows: where the weights fit into a cache, and where all chunks go up before the first goes down. */
static void layer_check(size_t S, size_t F, size_t rows, int threads) {
    const int before = omp_get_max_threads();
    const struct ffn f = {.act = ACTIVATION_GELU, .E = 1, .rows = rows, .up = matrix_make(S, F, 1),
                          .down = matrix_make(F, S, 2)};
    const struct kept in = {bf16_rows(rows * S, 3), true}, out = {bf16_rows(rows * S, 4), true};
    const struct kept h = {bf16_rows(rows * F, 5), true}, dh = {bf16_rows(rows * F, 6), true};
    const struct kept want_h = {bf16_rows(rows * F, 7), true}, act = {bf16_rows(rows * F, 8), true};
    const struct kept want_dh = {bf16_rows(rows * F, 9), true}, want_out = {bf16_rows(rows * S, 10), true};
    float *start = random_numbers(rows * S, 11), *numbers = random_numbers(rows * F, 12);
    float *din = random_numbers(rows * S, 13), *want_din = random_numbers(rows * S, 14);
    omp_set_num_threads(threads);
    void *work = array_alloc(ffn_workspace_bytes(1, S, F, 1, rows, OPERANDS_BF16), 1);
    ffn_forward(&f, out, h, in, start, work);
    linear_forward(&f.up, numbers, in, NULL, rows);
    kept_store(want_h, numbers, rows * F);
    activation_forward(f.act, act, want_h, rows, F);
    linear_forward(&f.down, numbers, act, start, rows);
    kept_store(want_out, numbers, rows * S);
    assert_memory_equal(h.data, want_h.data, rows * F * sizeof(bf16));
    assert_memory_equal(out.data, want_out.data, rows * S * sizeof(bf16));
    ffn_backward(&f, din, dh, start, h, in, work);
    const struct gemm down = linear_din_product(&f.down, numbers, kept_real(start), NULL, rows);
    gemm_serial(&down);
    activation_backward(f.act, want_dh, numbers, want_h, rows, F);
    const struct gemm up = linear_din_product(&f.up, want_din, want_dh, NULL, rows);
    gemm_serial(&up);
    assert_memory_equal(dh.data, want_dh.data, rows * F * sizeof(bf16));
    assert_memory_equal(h.data, act.data, rows * F * sizeof(bf16));
    assert_memory_equal(din, want_din, rows * S * sizeof(float));
    omp_set_num_threads(before);
    void *const all[] = {in.data, out.data, h.data, dh.data, want_h.data, act.data, want_dh.data, want_out.data, start,
                         numbers, din, want_din, work};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    matrix_free(f.up), matrix_free(f.down);
}

static void test_layer(void **state) {
    (void)state;
    for (int threads = 1; threads <= 5; threads += 4) {
        layer_check(70, 130, 300, threads);
        layer_check(330, 930, 300, threads);
    }
}

/* All of them, however many threads share them, and no other. */
static void test_clearing(void **state) {
    (void)state;
    static const size_t counts[] = {0, 1, 1 << 14, (1 << 14) + 1, 100003};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        const size_t n = counts[c];
        float *x = guarded_alloc((n + 1) * sizeof *x);
        for (size_t i = 0; i <= n; i++) x[i] = 3;
        reals_clear(x, n);
        for (size_t i = 0; i < n; i++) assert_true(x[i] == 0);
        assert_true(x[n] == 3);
        guarded_free(x, (n + 1) * sizeof *x);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_rows_in_bf16),
        cmocka_unit_test(test_rows_of_reals),
        cmocka_unit_test(test_all_rows),
        cmocka_unit_test(test_activations_in_bf16),
        cmocka_unit_test(test_layer),
        cmocka_unit_test(test_clearing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
