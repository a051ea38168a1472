/* Products, exp and GELU in float, as the programs run them: accuracy against double, and the bits.
 *
 * What the results should be is in test_kernels.c, in double. Here: gemm.h promises one chain of
 * multiply-adds in the order of k for each element, so every element has the bits of that chain, however many
 * threads, rows, columns and problems there are; training and decoding agree because of it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "../src/math/activation.h"
#include "../src/math/gemm.h"
#include "../src/math/kernels.h"
#include "../src/layers/linear.h"
#include "../src/base/rng.h"
#include "../src/base/util.h"
#include "../src/math/vecmath.h"
#include "bf16_plain.h"
#include "guarded.h"
#include "random_numbers.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void assert_bits_equal(const char *what, const real *got, const real *want, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&got[i], &want[i], sizeof(real)) != 0)
            fail_msg("%s: number %zu of %zu: got %a, want %a", what, i, n, got[i], want[i]);
    }
}

/* C = start + bias + A B, with all of them random. */
struct product {
    struct gemm g;
    real *a, *b, *c, *bias, *start, *workspace;
};

static struct product product_make(size_t M, size_t N, size_t K, bool a_by_columns, bool b_by_columns) {
    struct product p = {.a = random_numbers(M * K, 1), .b = random_numbers(K * N, 2),
                        .c = array_alloc(M * N, sizeof(real)), .bias = random_numbers(N, 3),
                        .start = random_numbers(M * N, 4),
                        .workspace = array_alloc(gemm_packed_count(K, N), sizeof(real))};
    p.g = (struct gemm){.M = M, .N = N, .K = K, .C = p.c, .ldc = N, .bias = p.bias, .start = p.start};
    p.g.A = a_by_columns ? view_of(p.a, 1, M) : view_of(p.a, K, 1);
    p.g.B = b_by_columns ? view_of(p.b, 1, K) : view_of(p.b, N, 1);
    return p;
}

static void product_free(struct product *p) {
    free(p->a);
    free(p->b);
    free(p->c);
    free(p->bias);
    free(p->start);
    free(p->workspace);
}

static real at(struct view v, size_t i, size_t j) { return ((const real *)v.data)[i * v.row + j * v.col]; }
static real a_at(const struct gemm *g, size_t i, size_t k) { return at(g->A, i, k); }
static real b_at(const struct gemm *g, size_t k, size_t j) { return at(g->B, k, j); }

/* Rows of M, columns of N and depths of K around tiles (6 or 12 by 8 to 32) and blocks (96 by 128, 512). */
static const size_t shapes[][3] = {{1, 1, 1},      {1, 33, 513},  {5, 31, 67},    {13, 1, 1100},
                                   {50, 130, 513}, {97, 65, 33}, {211, 257, 129}};

/* ---- Accuracy ---- */

/* Each of K steps rounds a partial sum of size sqrt(k) at half an epsilon; such errors, independent, add up
 * to about 0.2 K epsilon for products of unit normals, and the largest of some hundred thousand elements has
 * 1.4. Half as much again where the target does not fuse. (K epsilon is sqrt(K) epsilon of the element's own
 * size, sqrt(K).) */
static double accuracy_allowed(size_t K) { return 3 * (double)K * (double)FLT_EPSILON; }

static void accuracy_check(size_t M, size_t N, size_t K, bool a_by_columns, bool b_by_columns) {
    struct product p = product_make(M, N, K, a_by_columns, b_by_columns);
    double *row = array_alloc(N, sizeof *row);
    gemm_run(&p.g, 1, p.workspace);
    for (size_t i = 0; i < M; i++) {
        for (size_t j = 0; j < N; j++) row[j] = (double)p.start[i * N + j] + (double)p.bias[j];
        for (size_t k = 0; k < K; k++)
            for (size_t j = 0; j < N; j++) row[j] += (double)a_at(&p.g, i, k) * (double)b_at(&p.g, k, j);
        for (size_t j = 0; j < N; j++) {
            if (!(fabs(p.c[i * N + j] - row[j]) <= accuracy_allowed(K))) {
                fail_msg("M %zu N %zu K %zu: C[%zu, %zu] got %.9g, in double %.9g", M, N, K, i, j,
                         p.c[i * N + j], row[j]);
            }
        }
    }
    free(row);
    product_free(&p);
}

/* A model of 384 channels, sub-tokens of 64, experts of 256. */
static void test_accuracy(void **state) {
    (void)state;
    accuracy_check(50, 1152, 384, false, true);  /* qkv */
    accuracy_check(50, 384, 1536, false, true);  /* the second layer of a dense block */
    accuracy_check(50, 384, 1152, false, false); /* d-input of qkv */
    accuracy_check(50, 384, 2048, true, false);  /* d-weight: rows are summed over */
    accuracy_check(37, 256, 64, false, true);    /* an expert */
    accuracy_check(37, 64, 256, false, true);
    accuracy_check(7, 4096, 384, false, true);   /* logits */
}

/* ---- Bits ---- */

/* Whether a multiply-add rounds once, which depends on the target and the optimisation level:
 * (1 + e)^2 - (1 + 2e) is e^2 then, and 0 if the square was rounded before. */
static bool product_is_fused(void) {
    real a = 1 + FLT_EPSILON, b = a, start = -1 - 2 * FLT_EPSILON, c;
    real *workspace = array_alloc(gemm_packed_count(1, 1), sizeof *workspace);
    gemm_run(&(struct gemm){.M = 1, .N = 1, .K = 1, .A = view_of(&a, 1, 1), .B = view_of(&b, 1, 1), .C = &c, .ldc = 1,
                            .start = &start}, 1, workspace);
    free(workspace);
    return c != 0;
}

/* The chains of a product, one after the other. */
static real *chains(const struct gemm *g) {
    real *want = array_alloc(g->M * g->N, sizeof *want);
    const bool fused = product_is_fused();
    for (size_t i = 0; i < g->M; i++)
        for (size_t j = 0; j < g->N; j++) {
            real sum = g->start[i * g->N + j] + g->bias[j];
            for (size_t k = 0; k < g->K; k++) {
                const real a = a_at(g, i, k), b = b_at(g, k, j);
                sum = fused ? fmaf(a, b, sum) : sum + a * b;
            }
            want[i * g->N + j] = sum;
        }
    return want;
}

static void chain_check(size_t M, size_t N, size_t K, bool a_by_columns, bool b_by_columns) {
    struct product p = product_make(M, N, K, a_by_columns, b_by_columns);
    real *want = chains(&p.g);
    gemm_run(&p.g, 1, p.workspace);
    assert_bits_equal("chain", p.c, want, M * N);
    free(want);
    product_free(&p);
}

static void test_chain(void **state) {
    (void)state;
    for (size_t s = 0; s < COUNT(shapes); s++)
        for (int by_columns = 0; by_columns < 4; by_columns++)
            chain_check(shapes[s][0], shapes[s][1], shapes[s][2], by_columns & 1, by_columns & 2);
}

/* Rows that are picked are the bits of rows that were copied. */
static void pick_check(size_t M, size_t N, size_t K, bool a_by_columns) {
    struct product p = product_make(M, N, K, a_by_columns, false);
    const size_t a_rows = a_by_columns ? K : M;
    int32_t pick_a[a_rows], pick_b[K];
    for (size_t r = 0; r < a_rows; r++) pick_a[r] = (int32_t)(r * 31 % a_rows / 2); /* some twice */
    for (size_t k = 0; k < K; k++) pick_b[k] = (int32_t)((K - 1 - k) / 3);
    real *a = array_alloc(M * K, sizeof *a), *b = array_alloc(K * N, sizeof *b);
    const size_t width = a_by_columns ? M : K;
    for (size_t r = 0; r < a_rows; r++) memcpy(a + r * width, p.a + (size_t)pick_a[r] * width, width * sizeof *a);
    for (size_t k = 0; k < K; k++) memcpy(b + k * N, p.b + (size_t)pick_b[k] * N, N * sizeof *b);
    struct gemm copied = p.g;
    copied.A.data = a;
    copied.B.data = b;
    real *want = chains(&copied);
    p.g.A.pick = pick_a;
    p.g.B.pick = pick_b;
    gemm_run(&p.g, 1, p.workspace);
    assert_bits_equal("picked", p.c, want, M * N);
    free(a), free(b), free(want);
    product_free(&p);
}

static void test_pick(void **state) {
    (void)state;
    for (size_t s = 0; s < COUNT(shapes); s++) {
        pick_check(shapes[s][0], shapes[s][1], shapes[s][2], false);
        if (shapes[s][0] > 1) pick_check(shapes[s][0], shapes[s][1], shapes[s][2], true);
    }
    pick_check(600, 65, 130, true); /* more rows than a task takes: B is packed for several */
}

/* The number that is meant by a stored one: the nearest of 8 significant bits, or of 127 steps to either side. */
static real stored(enum storage storage, real x, real high) {
    int exponent;
    if (storage == STORAGE_INT8) return (real)(int)nearbyintf(x / (high / 127)) * (high / 127);
    const double mantissa = frexp(x, &exponent);
    return (real)ldexp(nearbyint(mantissa * 256) / 256, exponent);
}

/* A stored B gives the chains of the numbers that are meant, for one row (decoding) as for many. */
static void storage_check(enum storage storage, size_t M, size_t N, size_t K) {
    struct product p = product_make(M, N, K, false, true);
    void *packed = array_alloc(gemm_packed_bytes(storage, K, N), 1);
    for (size_t j = 0; j < gemm_panels(N); j++) gemm_pack_panel(packed, storage, p.g.B, K, N, j);
    for (size_t j = 0; j < N; j++) {
        real high = 0, *column = p.b + j * K;
        for (size_t k = 0; k < K; k++) high = fmaxf(high, fabsf(column[k]));
        for (size_t k = 0; k < K; k++) {
            const real meant = stored(storage, column[k], high);
            const real step = storage == STORAGE_INT8 ? high / 254 : fabsf(column[k]) / 256;
            if (!(fabsf(meant - column[k]) <= step * 1.0001f)) fail_msg("%g is stored as %g", column[k], meant);
            column[k] = meant;
        }
    }
    real *want = chains(&p.g);
    p.g.packed = packed;
    p.g.storage = storage;
    gemm_run(&p.g, 1, NULL);
    assert_bits_equal(storage == STORAGE_INT8 ? "int8" : "bf16", p.c, want, M * N);
    free(packed);
    free(want);
    product_free(&p);
}

static void test_storage(void **state) {
    (void)state;
    for (size_t s = 0; s < COUNT(shapes); s++)
        for (int storage = STORAGE_BF16; storage < STORAGES; storage++) {
            storage_check((enum storage)storage, shapes[s][0], shapes[s][1], shapes[s][2]);
            storage_check((enum storage)storage, 1, 300,
                          shapes[s][2]); /* several panels at once, and one that is left */
        }
}

/* Few rows are cut by columns and many by rows, depending on the number of threads. */
static void threads_check(size_t M, size_t N, size_t K, bool a_by_columns) {
    struct product p = product_make(M, N, K, a_by_columns, false);
    real *one = array_alloc(M * N, sizeof *one);
    const int before = omp_get_max_threads(), threads[] = {2, 3, 8};
    omp_set_num_threads(1);
    gemm_run(&p.g, 1, p.workspace);
    memcpy(one, p.c, M * N * sizeof *one);
    for (size_t t = 0; t < COUNT(threads); t++) {
        omp_set_num_threads(threads[t]);
        for (size_t i = 0; i < M * N; i++) p.c[i] = NAN;
        for (size_t i = 0; i < gemm_packed_count(K, N); i++) p.workspace[i] = NAN;
        gemm_run(&p.g, 1, p.workspace);
        assert_bits_equal("threads", p.c, one, M * N);
    }
    omp_set_num_threads(before);
    free(one);
    product_free(&p);
}

static void test_threads(void **state) {
    (void)state;
    for (size_t s = 0; s < COUNT(shapes); s++) {
        threads_check(shapes[s][0], shapes[s][1], shapes[s][2], false);
        threads_check(shapes[s][0], shapes[s][1], shapes[s][2], true);
    }
    threads_check(1000, 33, 17, false); /* many blocks of rows */
}

/* Rows and columns first.. of a product, on their own. */
static void part_check(const struct product *p, size_t row, size_t rows, size_t col, size_t cols) {
    struct gemm g = p->g;
    real *c = array_alloc(g.M * g.N, sizeof *c);
    real *workspace = array_alloc(gemm_packed_count(g.K, cols), sizeof *workspace);
    g.A.data = (const real *)g.A.data + row * g.A.row;
    g.B.data = (const real *)g.B.data + col * g.B.col;
    g.bias += col;
    g.start += row * g.ldc + col;
    g.C = c;
    g.M = rows;
    g.N = cols;
    gemm_run(&g, 1, workspace);
    for (size_t i = 0; i < rows; i++) assert_bits_equal("part", c + i * g.ldc, p->c + (row + i) * g.ldc + col, cols);
    free(c);
    free(workspace);
}

static void test_parts(void **state) {
    (void)state;
    for (int by_columns = 0; by_columns < 4; by_columns++) {
        struct product p = product_make(50, 131, 401, by_columns & 1, by_columns & 2);
        gemm_run(&p.g, 1, p.workspace);
        for (size_t i = 0; i < 50; i++) part_check(&p, i, 1, 0, 131);
        for (size_t m = 2; m < 50; m++) part_check(&p, 50 - m, m, 0, 131);
        for (size_t j = 0; j < 131; j++) part_check(&p, 0, 50, j, 1);
        for (size_t n = 2; n < 131; n++) part_check(&p, 3, 17, 131 - n, n);
        product_free(&p);
    }
}

/* A NaN stays in its row: nothing of it leaks into a neighbour's tile. */
static void test_nan_stays_in_its_row(void **state) {
    (void)state;
    for (int a_by_columns = 0; a_by_columns < 2; a_by_columns++) {
        struct product p = product_make(50, 37, 67, a_by_columns, false);
        real want[50 * 37];
        gemm_run(&p.g, 1, p.workspace);
        memcpy(want, p.c, sizeof want);
        p.a[19 * p.g.A.row + 60 * p.g.A.col] = NAN;
        gemm_run(&p.g, 1, p.workspace);
        assert_bits_equal("before", p.c, want, 19 * 37);
        for (int j = 0; j < 37; j++) assert_true(isnan(p.c[19 * 37 + j]));
        assert_bits_equal("behind", p.c + 20 * 37, want + 20 * 37, 30 * 37);
        product_free(&p);
    }
}

/* Rows of A are summed in the order of k, once, however the product is cut. */
static void test_sums(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(shapes); i++)
        for (int a_by_columns = 0; a_by_columns < 2; a_by_columns++) {
            const size_t M = shapes[i][0], K = shapes[i][2];
            struct product p = product_make(M, shapes[i][1], K, a_by_columns, false);
            real *want = random_numbers(M, 5);
            p.g.sums = random_numbers(M, 5);
            for (size_t m = 0; m < M; m++) {
                real sum = 0;
                for (size_t k = 0; k < K; k++) sum += a_at(&p.g, m, k);
                want[m] += sum;
            }
            gemm_run(&p.g, 1, p.workspace);
            assert_bits_equal("sums", p.g.sums, want, M);
            free(want);
            free(p.g.sums);
            product_free(&p);
        }
}

/* Experts of one call have the bits of calls of their own. */
static void test_problems(void **state) {
    (void)state;
    enum { PROBLEMS = 9 };
    struct product together[PROBLEMS];
    struct gemm problems[PROBLEMS];
    size_t count = 0;
    for (size_t i = 0; i < PROBLEMS; i++) {
        together[i] = product_make(i % 4 * 31, 20 * i + 1, 50 * i, i & 1, i & 2);
        problems[i] = together[i].g;
        count += gemm_packed_count(problems[i].K, problems[i].N);
    }
    real *workspace = array_alloc(count, sizeof *workspace);
    gemm_run(problems, PROBLEMS, workspace);
    for (size_t i = 0; i < PROBLEMS; i++) {
        struct product alone = product_make(i % 4 * 31, 20 * i + 1, 50 * i, i & 1, i & 2);
        gemm_run(&alone.g, 1, alone.workspace);
        assert_bits_equal("problem", together[i].c, alone.c, alone.g.M * alone.g.N);
        product_free(&alone);
        product_free(&together[i]);
    }
    free(workspace);
}

/* Several problems of a call that pack their B, beside some that do not: each has the bits of its chains, in a
 * workspace of the size that gemm_workspace_bytes says and not a byte more. */
static void workspace_check(int threads) {
    enum { PROBLEMS = 5 };
    const size_t sizes[PROBLEMS][3] = {{611, 131, 40}, {3, 20, 30}, {1100, 70, 33}, {0, 9, 9}, {700, 257, 65}};
    struct product together[PROBLEMS];
    struct gemm problems[PROBLEMS];
    size_t packed = 0;
    omp_set_num_threads(threads);
    for (size_t i = 0; i < PROBLEMS; i++) {
        together[i] = product_make(sizes[i][0], sizes[i][1], sizes[i][2], i & 1, i & 2);
        problems[i] = together[i].g;
        packed += sizes[i][0] > 600 ? gemm_packed_bytes(STORAGE_F32, sizes[i][2], sizes[i][1]) : 0;
    }
    const size_t bytes = gemm_workspace_bytes(problems, PROBLEMS);
    assert_int_equal(bytes, packed); /* those that are taller than any block */
    void *workspace = guarded_alloc(bytes);
    gemm_run(problems, PROBLEMS, workspace);
    guarded_free(workspace, bytes);
    for (size_t i = 0; i < PROBLEMS; i++) {
        real *want = chains(&together[i].g);
        assert_bits_equal("problem", together[i].c, want, together[i].g.M * together[i].g.N);
        free(want);
        product_free(&together[i]);
    }
}

static void test_workspace(void **state) {
    (void)state;
    const int before = omp_get_max_threads();
    for (int threads = 1; threads <= 9; threads += 4) workspace_check(threads);
    omp_set_num_threads(before);
}

/* The same for the backward of a linear layer, whose weight's gradient is the product that packs. */
static void linear_check(size_t IC, size_t OC, size_t rows) {
    real *W = random_numbers(OC * IC, 1), *in = random_numbers(rows * IC, 2), *dout = random_numbers(rows * OC, 3);
    real *dw = array_alloc(OC * IC, sizeof *dw), *db = array_alloc(OC, sizeof *db);
    real *din = array_alloc(rows * IC, sizeof *din), *packed_t = array_alloc(gemm_packed_count(OC, IC), sizeof *dw);
    const size_t bytes = linear_workspace_bytes(IC, OC, rows, OPERANDS_F32);
    void *workspace = guarded_alloc(bytes);
    gemm_pack(packed_t, view_of(W, IC, 1), OC, IC);
    const struct linear l = {.IC = IC, .OC = OC, .packed_t = packed_t, .dw = dw, .db = db};
    linear_backward(&l, din, dout, kept_real(in), NULL, rows, workspace);
    guarded_free(workspace, bytes);
    const size_t some[][2] = {{0, 0}, {OC - 1, IC - 1}, {OC / 2, IC / 3}};
    for (size_t k = 0; k < COUNT(some); k++) {
        double sum = 0;
        for (size_t r = 0; r < rows; r++) sum += (double)dout[r * OC + some[k][0]] * (double)in[r * IC + some[k][1]];
        assert_true(fabs((double)dw[some[k][0] * IC + some[k][1]] - sum) <= accuracy_allowed(rows));
    }
    free(W), free(in), free(dout), free(dw), free(db), free(din), free(packed_t);
}

static void test_linear_workspace(void **state) {
    (void)state;
    const size_t outputs[] = {1, 95, 97, 200, 529, 1100}, inputs[] = {1, 33, 130}, rows[] = {1, 40, 500};
    const int before = omp_get_max_threads();
    for (int threads = 1; threads <= 9; threads += 4)
        for (size_t i = 0; i < COUNT(outputs) * COUNT(inputs) * COUNT(rows); i++) {
            omp_set_num_threads(threads);
            linear_check(inputs[i % 3], outputs[i / 9], rows[i / 3 % 3]);
        }
    omp_set_num_threads(before);
}

/* ---- bf16 ---- */

/* The 16 bits that a panel keeps of the number of these bits, first of two steps and second. */
static uint32_t bf16_stored(uint32_t bits) {
    const real column[] = {float_of(bits), float_of(bits)};
    uint32_t *packed = array_alloc(gemm_packed_bytes(STORAGE_BF16, 2, 1), 1);
    gemm_pack_panel(packed, STORAGE_BF16, view_of(column, 1, 1), 2, 1, 0);
    const uint32_t word = packed[0];
    free(packed);
    assert_int_equal(word >> 16, word & 0xffff);
    return word & 0xffff;
}

/* What a number becomes as bf16, bit by bit: the nearest, of two as near the even one. */
static void test_bf16_rounding(void **state) {
    (void)state;
    static const uint32_t cases[][2] = {
        {0x00000000, 0x0000}, {0x80000000, 0x8000}, {0x3f800000, 0x3f80}, {0xbf800000, 0xbf80},
        {0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0xbf808000, 0xbf80}, {0xbf818000, 0xbf82}, /* ties */
        {0x3f807fff, 0x3f80}, {0x3f808001, 0x3f81}, {0x3f817fff, 0x3f81}, {0x3f818001, 0x3f82},
        {0x3fff8000, 0x4000}, {0x3fff7fff, 0x3fff}, {0x3ffe8000, 0x3ffe}, /* into the next power of two */
        {0x00000001, 0x0000}, {0x00008000, 0x0000}, {0x00008001, 0x0001}, {0x00018000, 0x0002}, /* denormal */
        {0x007fffff, 0x0080}, {0x80017fff, 0x8001}, {0x007f7fff, 0x007f},
        {0x7f7f0000, 0x7f7f}, {0x7f7f7fff, 0x7f7f}, {0x7f7f8000, 0x7f80}, {0x7f7fffff, 0x7f80}, /* to infinity */
        {0xff7f7fff, 0xff7f}, {0xff7f8000, 0xff80}, {0x7f800000, 0x7f80}, {0xff800000, 0xff80},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const uint32_t got = bf16_stored(cases[i][0]);
        if (got != cases[i][1]) fail_msg("%08x is stored as %04x, want %04x", cases[i][0], got, cases[i][1]);
    }
    /* NaN, of either sign: whose few bits are cut off, or that rounding would carry into infinity or zero */
    static const uint32_t nans[] = {0x7fc00000, 0xffc00000, 0x7f800001, 0xff800001, 0x7f808000, 0x7fffffff, 0xffffffff,
                                    0x7fff8000, 0xffff8000, 0x7f80ffff};
    for (size_t i = 0; i < COUNT(nans); i++) {
        const uint32_t got = bf16_stored(nans[i]);
        if ((got & 0x7f80) != 0x7f80 || !(got & 0x7f) || got >> 15 != nans[i] >> 31)
            fail_msg("NaN %08x is stored as %04x", nans[i], got);
    }
}

/* ---- exp ---- */

static void exp_check(float x) {
    const double want = exp((double)x), got = (double)vec_exp(vec_splat(x))[VEC_LANES - 1];
    const double ulp = ldexp(1, ilogb(want) - 23);
    if (!(fabs(got - want) <= 2 * ulp)) fail_msg("exp(%a) is %g ulp off", x, fabs(got - want) / ulp);
}

/* Both signs of every 251st float up to the end of the range. */
static void test_exp(void **state) {
    (void)state;
    uint32_t end;
    memcpy(&end, &(float){88}, sizeof end);
    for (uint32_t bits = 0; bits <= end; bits += 251) {
        const float x = float_of(bits);
        exp_check(x);
        if (x <= 87) exp_check(-x);
    }
    exp_check(-87);
    exp_check(88);
    assert_true(vec_exp((vec){0})[0] == 1);
}

static void test_exp_beyond_its_range(void **state) {
    (void)state;
    const float below[] = {nextafterf(-87, -INFINITY), -88, -104, -1e30f, -FLT_MAX, -INFINITY};
    const float above[] = {nextafterf(88, INFINITY), 89, 1e30f, FLT_MAX, INFINITY};
    for (size_t i = 0; i < COUNT(below); i++) assert_true(vec_exp(vec_splat(below[i]))[0] == 0);
    for (size_t i = 0; i < COUNT(above); i++) assert_true(vec_exp(vec_splat(above[i]))[0] == vec_exp(vec_splat(88))[0]);
    for (int lane = 0; lane < VEC_LANES; lane++) { /* and the other lanes are none the worse */
        vec x = {0};
        x[lane] = NAN;
        x = vec_exp(x);
        for (int l = 0; l < VEC_LANES; l++) assert_true(l == lane ? isnan(x[l]) : x[l] == 1);
    }
}

/* ---- Activations ---- */

static double gelu(double x) { return x / (1 + exp(-2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }
static double gelu_slope(double x) {
    const double s = 1 / (1 + exp(-2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    return s + x * s * (1 - s) * 2 * sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
}

/* gelu = x sigmoid(2u): 2u carries some 3 roundings, which exp magnifies by |2u| for negative x, and the rest
 * of the formula 5. The slope multiplies 1 - s, right to half an epsilon, by at most about 30 before it
 * vanishes. Where exp is held at exp(88), only what is below 1e-36 is wrong. */
static void test_gelu(void **state) {
    (void)state;
    enum { POINTS = 40001 };
    const double eps = (double)FLT_EPSILON;
    real *x = array_alloc(POINTS, sizeof *x), *out = array_alloc(POINTS, sizeof *out);
    real *value = array_alloc(POINTS, sizeof *value), *dx = array_alloc(POINTS, sizeof *dx);
    for (int i = 0; i < POINTS; i++) {
        x[i] = value[i] = (real)(i - 20000) / 1000;
        dx[i] = 1;
    }
    activation_forward(ACTIVATION_GELU, kept_real(out), kept_real(x), 1, POINTS);
    activation_backward(ACTIVATION_GELU, kept_real(dx), dx, kept_real(value), 1, POINTS);
    assert_bits_equal("gelu of both", value, out, POINTS);
    for (int i = 0; i < POINTS; i++) {
        const double x_i = x[i], want = gelu(x_i), slope = gelu_slope(x_i);
        const double two_u = 1.6 * fabs(x_i) * (1 + 0.045 * x_i * x_i);
        const double allowed = eps * (5 + (x_i < 0 ? 3 * two_u : 0)) * fabs(want) + 1e-36;
        if (!(fabs(out[i] - want) <= allowed)) fail_msg("gelu(%g) is %.9g, want %.9g", x_i, out[i], want);
        if (!(fabs(dx[i] - slope) <= 20 * eps)) fail_msg("gelu'(%g) is %.9g, want %.9g", x_i, dx[i], slope);
    }
    free(x);
    free(out);
    free(value);
    free(dx);
}

/* silu = g sigmoid(g): g is exact, exp magnifies nothing, and the rest is some 4 roundings; its slope and the product
 * with the value, a few more. relu^2 is one rounding. */
static void test_silu_and_relu2(void **state) {
    (void)state;
    enum { POINTS = 40001 };
    const double eps = (double)FLT_EPSILON;
    for (int i = 0; i < POINTS; i++) {
        const real g = (real)(i - 20000) / 1000, v = 3, r = g > 0 ? g : 0;
        real x[] = {g, v}, dx[] = {1, 0}, square[] = {g}, d_square[] = {1};
        activation_backward(ACTIVATION_SWIGLU, kept_real(dx), dx, kept_real(x), 1, 1);
        activation_backward(ACTIVATION_RELU2, kept_real(d_square), d_square, kept_real(square), 1, 1);
        const double s = 1 / (1 + exp(-(double)g)), silu = g * s, slope = s + silu * (1 - s);
        assert_true(fabs(x[0] - silu * v) <= 6 * eps * fabs(silu * v));
        assert_true(fabs(dx[1] - silu) <= 5 * eps * fabs(silu));
        assert_true(fabs(dx[0] - slope * v) <= 20 * eps * v);
        assert_true(square[0] == r * r && d_square[0] == 2 * r);
    }
}

static void test_gelu_far_out(void **state) {
    (void)state;
    real x[] = {-1e6f, -1e4f, -300, 300, 1e4f, 1e6f}, out[COUNT(x)], dx[COUNT(x)];
    for (size_t i = 0; i < COUNT(x); i++) out[i] = x[i], dx[i] = 1;
    activation_backward(ACTIVATION_GELU, kept_real(dx), dx, kept_real(out), 1, COUNT(x));
    for (size_t i = 0; i < COUNT(x); i++) {
        assert_true(fabsf(out[i] - fmaxf(x[i], 0)) <= 1e-20f);
        assert_true(fabsf(dx[i] - (x[i] > 0)) <= 1e-20f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accuracy),
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_pick),
        cmocka_unit_test(test_storage),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_nan_stays_in_its_row),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_problems),
        cmocka_unit_test(test_workspace),
        cmocka_unit_test(test_linear_workspace),
        cmocka_unit_test(test_bf16_rounding),
        cmocka_unit_test(test_exp),
        cmocka_unit_test(test_exp_beyond_its_range),
        cmocka_unit_test(test_gelu),
        cmocka_unit_test(test_silu_and_relu2),
        cmocka_unit_test(test_gelu_far_out),
    };
    return cmocka_run_group_tests_name("gemm", tests, NULL, NULL);
}
