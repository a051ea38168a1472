/* Products in bf16, in float: every bit of every element, on vectors and, where this machine has some or the build
 * emulates them (tiles_emulated.h), on tiles.
 *
 * gemm.h says in which order the products of an element are summed; chains_plain below is that order in plain loops.
 * What is compared with it lies in memory that ends where it may not be touched. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../src/base/real.h"
#include "../src/base/rng.h"
#include "../src/base/util.h"
#include "../src/layers/ffn.h"
#include "../src/math/gemm.h"
#include "bf16_plain.h"
#include "guarded.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { BLOCK = 32, COLS = 2 * VEC_LANES };

/* ---- Engines ---- */

static const char *const engine_names[] = {"vectors", "tiles"};

/* Runs the check on each engine. */
static void on_engines(void (*check)(const char *engine)) {
    for (int tiles = 0; tiles < 2; tiles++)
        if (gemm_use_tiles(tiles) || !tiles) check(engine_names[tiles]);
    gemm_use_tiles(true);
}

/* ---- What is right ---- */

static size_t view_index(struct view v, size_t i, size_t j) {
    if (!v.pick) return i * v.row + j * v.col;
    return v.row == 1 && v.col != 1 ? i + (size_t)v.pick[j] * v.col : (size_t)v.pick[i] * v.row + j * v.col;
}
static float at(struct view v, size_t i, size_t j) { return ((const float *)v.data)[view_index(v, i, j)]; }

/* Row i of A and column j of B, K numbers each, are already rounded. */
static float chains_plain(const struct gemm *g, const float *a_i, const float *b_j, size_t i, size_t j) {
    float c = (g->bias ? g->bias[j] : 0) + (g->start ? g->start[i * g->ldc + j] : 0);
    for (size_t k0 = 0; k0 < g->K; k0 += BLOCK) {
        float sums[2] = {0, 0};
        for (size_t k = k0; k < k0 + BLOCK && k < g->K; k++) sums[k % 2] = fmaf(a_i[k], b_j[k], sums[k % 2]);
        c += sums[0] + sums[1];
    }
    return c;
}

/* C (M,N) as it should be. */
static float *product_plain(const struct gemm *g) {
    const size_t M = g->M, N = g->N, K = g->K;
    float *a = array_alloc(M * K, sizeof *a), *b = array_alloc(N * K, sizeof *b), *c = array_alloc(M * N, sizeof *c);
    for (size_t n = 0; n < M * K; n++) a[n] = bf16_nearest(at(g->A, n / K, n % K));
    for (size_t n = 0; n < N * K; n++) b[n] = bf16_nearest(at(g->B, n % K, n / K));
    for (size_t n = 0; n < M * N; n++) c[n] = chains_plain(g, a + n / N * K, b + n % N * K, n / N, n % N);
    free(a), free(b);
    return c;
}

/* ---- Products ---- */

static float *guarded_numbers(size_t n, uint64_t seed) {
    float *x = guarded_alloc(n * sizeof *x);
    struct rng rng;
    rng_seed(&rng, seed, 0);
    for (size_t i = 0; i < n; i++) x[i] = (float)(4 * rng_uniform(&rng) - 2);
    return x;
}

/* How a matrix of rows x columns lies: by rows, by columns, or with gaps both ways. */
enum layout { BY_ROWS, BY_COLUMNS, BY_NEITHER, LAYOUTS };
static struct view view_make(size_t rows, size_t columns, enum layout layout, size_t *n) {
    const struct view v = layout == BY_ROWS      ? view_of(NULL, columns + 1, 1)
                          : layout == BY_COLUMNS ? view_of(NULL, 1, rows + 2)
                                                 : view_of(NULL, 2 * columns + 1, 2);
    *n = rows && columns ? (rows - 1) * v.row + (columns - 1) * v.col + 1 : 0;
    return v;
}

/* A matrix that lies so, random numbers in memory of n; what is between them is NaN, and nobody's business. */
static float *guarded_matrix(struct view v, size_t rows, size_t columns, size_t n, uint64_t seed) {
    float *const numbers = guarded_numbers(rows * columns, seed), *const x = guarded_alloc(n * sizeof *x);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) x[view_index(v, i, j)] = numbers[i * columns + j];
    guarded_free(numbers, rows * columns * sizeof *numbers);
    return x;
}

enum packing { PACKS_ITSELF, PACKED, PACKED_LONGER, PACKINGS };
enum start { START_NONE, START_OTHER, START_C, STARTS };
struct variant {
    enum layout a, b;
    enum packing packing;
    enum start start;
    bool bias, sums;
};
enum { VARIANTS = LAYOUTS * LAYOUTS * PACKINGS * STARTS * 2 * 2 };
static struct variant variant_of(size_t i) {
    struct variant v = {.a = (enum layout)(i % LAYOUTS), .b = (enum layout)(i / LAYOUTS % LAYOUTS)};
    i /= LAYOUTS * LAYOUTS;
    v.packing = (enum packing)(i % PACKINGS);
    v.start = (enum start)(i / PACKINGS % STARTS);
    v.bias = i / PACKINGS / STARTS % 2;
    v.sums = i / PACKINGS / STARTS / 2 % 2;
    return v;
}

struct product {
    struct gemm g;
    float *a, *b, *c, *bias, *start, *sums, *first; /* first: C before the run */
    char *packed;
    size_t a_n, b_n, c_n, packed_bytes;
    float *want;
};

static void product_pack(struct product *p, size_t packed_K) {
    struct gemm *g = &p->g;
    p->packed_bytes = gemm_packed_bytes(STORAGE_BF16, packed_K, g->N);
    p->packed = guarded_alloc(p->packed_bytes);
    gemm_pack_stored(p->packed, STORAGE_BF16, g->B, packed_K, g->N);
    g->packed = p->packed;
    g->storage = STORAGE_BF16;
    g->packed_K = packed_K > g->K ? packed_K : 0;
    g->B = view_of(NULL, 0, 0);
}

/* What a longer B holds past K is NaN: nobody may look at it. */
static struct product product_make(size_t M, size_t N, size_t K, struct variant v) {
    const size_t packed_K = v.packing == PACKED_LONGER ? K + 37 : K, seed = M + 100 * N + 10000 * K;
    struct product p = {.g = {.M = M, .N = N, .K = K, .operands = OPERANDS_BF16, .ldc = N + 3}};
    struct gemm *g = &p.g;
    g->A = view_make(M, K, v.a, &p.a_n);
    g->B = view_make(packed_K, N, v.b, &p.b_n);
    g->A.data = p.a = guarded_matrix(g->A, M, K, p.a_n, seed + 1);
    g->B.data = p.b = guarded_matrix(g->B, packed_K, N, p.b_n, seed + 2);
    for (size_t k = K; k < packed_K; k++)
        for (size_t j = 0; j < N; j++) p.b[view_index(g->B, k, j)] = k % 3 ? NAN : INFINITY;
    p.c_n = M && N ? (M - 1) * g->ldc + N : 0;
    g->C = p.c = guarded_numbers(p.c_n, seed + 3);
    p.first = array_alloc(p.c_n, sizeof(float));
    memcpy(p.first, p.c, p.c_n * sizeof(float));
    if (v.bias) g->bias = p.bias = guarded_numbers(N, seed + 4);
    if (v.start == START_OTHER) g->start = p.start = guarded_numbers(p.c_n, seed + 5);
    if (v.start == START_C) g->start = p.c;
    if (v.sums) g->sums = p.sums = guarded_numbers(M, seed + 6);
    p.want = product_plain(g);
    if (v.packing != PACKS_ITSELF) product_pack(&p, packed_K);
    return p;
}

static void product_free(struct product *p) {
    guarded_free(p->a, p->a_n * sizeof(float));
    guarded_free(p->b, p->b_n * sizeof(float));
    guarded_free(p->c, p->c_n * sizeof(float));
    if (p->bias) guarded_free(p->bias, p->g.N * sizeof(float));
    if (p->start) guarded_free(p->start, p->c_n * sizeof(float));
    if (p->sums) guarded_free(p->sums, p->g.M * sizeof(float));
    if (p->packed) guarded_free(p->packed, p->packed_bytes);
    free(p->first);
    free(p->want);
}

/* What number n of C should be: between its rows nothing is touched. */
static float wanted(const struct product *p, size_t n) {
    const size_t i = n / p->g.ldc, j = n % p->g.ldc;
    return j < p->g.N ? p->want[i * p->g.N + j] : p->first[n];
}

/* The first number of C that is another than it should be; c_n if none is. */
static size_t product_differs(const struct product *p) {
    size_t n = 0;
    while (n < p->c_n && bits_of(p->c[n]) == bits_of(wanted(p, n))) n++;
    return n;
}

static void product_check(const struct product *p, const char *what) {
    const struct gemm *g = &p->g;
    const size_t n = product_differs(p);
    if (n < p->c_n)
        fail_msg("%s, M %zu N %zu K %zu: C[%zu, %zu] got %a, want %a", what, g->M, g->N, g->K, n / g->ldc, n % g->ldc,
                 (double)p->c[n], (double)wanted(p, n));
}

/* Sums of A as it is, in the order of k. */
static void sums_check(const struct product *p, const float *before, const char *what) {
    for (size_t i = 0; p->sums && i < p->g.M; i++) {
        float sum = 0;
        for (size_t k = 0; k < p->g.K; k++) sum += at(p->g.A, i, k);
        if (bits_of(p->sums[i]) != bits_of(before[i] + sum))
            fail_msg("%s: sum %zu got %a, want %a", what, i, (double)p->sums[i], (double)(before[i] + sum));
    }
}

/* gemm_serial, or gemm_run in a workspace of the size it asks for. */
static void product_run(struct product *p, bool serial) {
    if (serial) {
        gemm_serial(&p->g);
        return;
    }
    const size_t bytes = gemm_workspace_bytes(&p->g, 1);
    void *workspace = guarded_alloc(bytes);
    gemm_run(&p->g, 1, workspace);
    guarded_free(workspace, bytes);
}

static void check_on(int some, size_t M, size_t N, size_t K, size_t variant, const char *engine) {
    struct product p = product_make(M, N, K, variant_of(variant));
    const int threads = omp_get_max_threads();
    float before[M];
    char what[80];
    snprintf(what, sizeof what, "%s, variant %zu", engine, variant);
    if (p.sums) memcpy(before, p.sums, sizeof before);
    omp_set_num_threads(some);
    product_run(&p, variant / 2 % 2);
    omp_set_num_threads(threads);
    product_check(&p, what);
    sums_check(&p, before, what);
    product_free(&p);
}

static void check(size_t M, size_t N, size_t K, size_t variant, const char *engine) {
    check_on(variant % 16 ? 1 : 2, M, N, K, variant, engine); /* starting two takes longer than the product */
}

/* Around the rows and columns of one tile and of two, around steps of 32; every layout, packing, start, with and
 * without bias and sums in turn: 5 is prime to their number. */
static void small_shapes(const char *engine) {
    const size_t Ms[] = {1, 2, 3, 7, 12, 15, 16, 17, 31, 32, 33, 49, 65};
    const size_t Ns[] = {1, 7, 8, 15, 16, 17, 31, 32, 33, 48, 65};
    const size_t Ks[] = {0, 1, 2, 15, 16, 31, 32, 33, 47, 64, 65};
    size_t variant = 0;
    for (size_t m = 0; m < COUNT(Ms); m++)
        for (size_t n = 0; n < COUNT(Ns); n++)
            for (size_t k = 0; k < COUNT(Ks); k++, variant = (variant + 5) % VARIANTS)
                check(Ms[m], Ns[n], Ks[k], variant, engine);
}
static void test_small_shapes(void **state) {
    (void)state;
    on_engines(small_shapes);
}

/* Every variant of a shape with a last row, column and step of its own. */
static void all_variants(const char *engine) {
    for (size_t variant = 0; variant < VARIANTS; variant++) {
        check(37, 41, 71, variant, engine);
        check(35, 70, 96, variant, engine);
    }
}
static void test_variants(void **state) {
    (void)state;
    on_engines(all_variants);
}

/* Beyond a block of rows (256, and 512 of transposed ones), a depth of 512, and the columns a task packs itself. */
static void large_shapes(const char *engine) {
    const size_t shapes[][3] = {{289, 37, 33}, {5, 300, 1031}, {70, 290, 545}, {530, 66, 70}, {1, 133, 1100},
                                {33, 1500, 513}};
    for (size_t s = 0; s < COUNT(shapes); s++)
        for (size_t variant = s; variant < VARIANTS; variant += 53)
            check(shapes[s][0], shapes[s][1], shapes[s][2], variant, engine);
    check_on(1, 1272, 20, 600, 1, engine); /* its last block has 312 rows: as many steps as there is room for 320 */
}
static void test_large_shapes(void **state) {
    (void)state;
    on_engines(large_shapes);
}

/* Cut both down and across, where tasks pack the part of B that they need, and where they do not. */
static void wide_shapes(const char *engine) {
    for (size_t variant = 0; variant < VARIANTS; variant += 7) {
        check_on(16, 130, 300, 70, variant, engine);
        check_on(7, 97, 131, 530, variant, engine);
    }
}
static void test_wide_shapes(void **state) {
    (void)state;
    on_engines(wide_shapes);
}

/* ---- Operands that are stored in bf16 ---- */

/* n numbers of bf16, as they are stored and as floats. */
struct halves {
    size_t n;
    uint16_t *stored;
    float *numbers;
};
static struct halves halves_make(struct view v, size_t rows, size_t columns, size_t n, uint64_t seed) {
    struct halves h = {n, guarded_alloc(n * sizeof *h.stored), guarded_matrix(v, rows, columns, n, seed)};
    for (size_t i = 0; i < n; i++) {
        h.numbers[i] = bf16_nearest(h.numbers[i]);
        h.stored[i] = (uint16_t)(bits_of(h.numbers[i]) >> 16);
    }
    return h;
}
static void halves_free(struct halves h) {
    guarded_free(h.stored, h.n * sizeof *h.stored);
    guarded_free(h.numbers, h.n * sizeof *h.numbers);
}

struct outcome {
    float *c, *sums;
};
static struct outcome outcome_of(struct gemm g, bool sums) {
    struct outcome o = {array_alloc(g.M * g.N, sizeof(float)), array_alloc(g.M, sizeof(float))};
    g.C = o.c;
    g.ldc = g.N;
    if (sums) g.sums = o.sums;
    void *workspace = array_alloc(gemm_workspace_bytes(&g, 1), 1);
    gemm_run(&g, 1, workspace);
    free(workspace);
    return o;
}

/* Leaves NaN where the next product of this shape packs its operands: what it does not write it must not read. */
static void leave_nan(struct gemm g) {
    static uint16_t nans[1024];
    memset(nans, 0xff, sizeof nans);
    g.K = (g.K + BLOCK - 1) / BLOCK * BLOCK;
    assert_true(g.K <= COUNT(nans));
    g.A = g.B = (struct view){.data = nans, .row = 0, .col = 1, .bf16 = true};
    const struct outcome o = outcome_of(g, false);
    assert_true(isnan(o.c[0]));
    free(o.c), free(o.sums);
}

/* The same bits as of the same numbers in floats: `sides` of the operands (1: A, 2: B) are stored in bf16. */
static void stored_check(struct gemm g, enum layout a_layout, enum layout b_layout, int sides, const int32_t *pick) {
    size_t a_n, b_n;
    const bool sums = g.N % 2; /* without them, whole tiles of A are read where they are */
    g.A = view_make(g.M, g.K, a_layout, &a_n);
    g.B = view_make(g.K, g.N, b_layout, &b_n);
    const struct halves a = halves_make(g.A, g.M, g.K, a_n, 1), b = halves_make(g.B, g.K, g.N, b_n, 2);
    g.A.data = a.numbers;
    g.B.data = b.numbers;
    g.A.pick = pick;
    if (b_layout == BY_ROWS) g.B.pick = pick;
    const struct outcome want = outcome_of(g, sums);
    if (sides & 1) g.A.data = a.stored, g.A.bf16 = true;
    if (sides & 2) g.B.data = b.stored, g.B.bf16 = true;
    leave_nan(g);
    const struct outcome got = outcome_of(g, sums);
    assert_memory_equal(got.c, want.c, g.M * g.N * sizeof(float));
    assert_memory_equal(got.sums, want.sums, g.M * sizeof(float));
    free(want.c), free(want.sums), free(got.c), free(got.sums);
    halves_free(a);
    halves_free(b);
}

static void stored_shapes(const char *engine) {
    static const size_t sizes[][3] = {{1, 1, 1},    {5, 31, 67},    {37, 41, 71},
                                      {64, 64, 64}, {600, 35, 100}, {40, 290, 600},
                                      {48, 40, 96}, {70, 34, 160},  {64, 36, 1023},
                                      {48, 40, 90}, {48, 41, 96}};
    (void)engine;
    int32_t pick[1023];
    for (size_t i = 0; i < COUNT(sizes); i++)
        for (int v = 0; v < 2 * 2 * 3 * 2 * 2; v++) {
            const size_t M = sizes[i][0], N = sizes[i][1], K = sizes[i][2], least = M < N ? M : N;
            for (size_t r = 0; r < COUNT(pick); r++) pick[r] = (int32_t)(r * 31 % (least < K ? least : K));
            const struct gemm g = {.M = M, .N = N, .K = K, .operands = v / 24 ? OPERANDS_BF16 : OPERANDS_F32};
            stored_check(g, v % 2 ? BY_ROWS : BY_COLUMNS, v / 2 % 2 ? BY_ROWS : BY_COLUMNS, 1 + v / 4 % 3,
                         v / 12 % 2 ? pick : NULL);
        }
}

static void test_stored_in_bf16(void **state) {
    (void)state;
    on_engines(stored_shapes);
}

/* ---- Rows that are picked ---- */

static void pick_check(size_t M, size_t N, size_t K, bool a_by_columns, const char *engine) {
    struct product p = product_make(M, N, K, (struct variant){.a = a_by_columns ? BY_COLUMNS : BY_ROWS});
    const size_t a_rows = a_by_columns ? K : M;
    int32_t *pick_a = guarded_alloc(a_rows * sizeof *pick_a), *pick_b = guarded_alloc(K * sizeof *pick_b);
    for (size_t r = 0; r < a_rows; r++) pick_a[r] = (int32_t)(r * 31 % a_rows / 2); /* some twice */
    for (size_t k = 0; k < K; k++) pick_b[k] = (int32_t)((K - 1 - k) / 3);
    p.g.A.pick = pick_a;
    p.g.B.pick = pick_b;
    free(p.want);
    p.want = product_plain(&p.g);
    product_run(&p, false);
    product_check(&p, engine);
    guarded_free(pick_a, a_rows * sizeof *pick_a);
    guarded_free(pick_b, K * sizeof *pick_b);
    product_free(&p);
}
static void picks(const char *engine) {
    for (int by_columns = 0; by_columns < 2; by_columns++) {
        pick_check(37, 41, 71, by_columns, engine);
        pick_check(50, 33, 64, by_columns, engine);
        pick_check(600, 35, 100, by_columns, engine); /* B is packed for several tasks */
        pick_check(40, 290, 600, by_columns, engine); /* B is packed in parts */
    }
}
static void test_picks(void **state) {
    (void)state;
    on_engines(picks);
}

/* ---- Work memory of experts ---- */

/* The products of both weights' gradients (W1: (F, S), W2: (S, F)) of experts with these numbers of rows. */
static size_t workspace_of(size_t S, size_t F, size_t experts, const size_t *rows, enum operands operands) {
    struct gemm products[2 * experts];
    for (size_t e = 0; e < experts; e++) {
        products[e] = (struct gemm){.M = S, .N = F, .K = rows[e], .operands = operands,
                                    .A = view_of(NULL, 1, S), .B = view_of(NULL, F, 1)};
        products[experts + e] = (struct gemm){.M = F, .N = S, .K = rows[e], .operands = operands,
                                              .A = view_of(NULL, 1, F), .B = view_of(NULL, S, 1)};
    }
    return gemm_workspace_bytes(products, 2 * experts);
}

/* What a feed-forward layer asks for is enough however its rows are spread, on any number of threads. */
static void test_workspace_of_experts(void **state) {
    (void)state;
    enum { EXPERTS = 9, ROWS = 16384 };
    static const size_t sizes[][2] = {{64, 256}, {256, 1024}, {384, 96}, {33, 700}, {1000, 31}};
    const int before = omp_get_max_threads();
    struct rng rng;
    rng_seed(&rng, 1, 0);
    for (int run = 0; run < 2000; run++) {
        const size_t S = sizes[run % 5][0], F = sizes[run % 5][1], all = run % 3 ? ROWS : 100 + run;
        const enum operands operands = run % 2 ? OPERANDS_BF16 : OPERANDS_F32;
        const double skew = 4 * rng_uniform(&rng);
        size_t rows[EXPERTS], left = all;
        for (size_t e = 0; e < EXPERTS; e++) {
            rows[e] = e == EXPERTS - 1 ? left : (size_t)((double)left * pow(rng_uniform(&rng), skew));
            left -= rows[e];
        }
        omp_set_num_threads(1 + run % 17);
        const size_t got = ffn_workspace_bytes(EXPERTS, S, F, 1, all, operands);
        const size_t need = workspace_of(S, F, EXPERTS, rows, operands);
        if (need > got) fail_msg("S %zu, F %zu, %zu rows: %zu bytes asked for, %zu needed", S, F, all, got, need);
    }
    omp_set_num_threads(before);
}

/* ---- Whatever stands beside it ---- */

/* A row or a column on its own, and any number of threads. */
static void parts(const char *engine) {
    const int before = omp_get_max_threads();
    for (int by = 0; by < 4; by++) {
        const struct variant v = {.a = by % 2 ? BY_COLUMNS : BY_ROWS, .b = by / 2 ? BY_COLUMNS : BY_ROWS};
        struct product p = product_make(70, 83, 130, v);
        struct gemm all = p.g;
        for (size_t i = 0; i < 70; i++) {
            p.g = all;
            p.g.M = 1;
            p.g.A.data = p.a + i * p.g.A.row;
            p.g.C += i * p.g.ldc;
            product_run(&p, i % 2);
        }
        p.g = all;
        product_check(&p, engine);
        memcpy(p.c, p.first, p.c_n * sizeof(float));
        for (size_t j = 0; j < 83; j++) {
            p.g = all;
            p.g.N = 1;
            p.g.B.data = p.b + j * p.g.B.col;
            p.g.C += j;
            product_run(&p, j % 2);
        }
        p.g = all;
        product_check(&p, engine);
        for (int threads = 1; threads <= 9; threads += 2) {
            memcpy(p.c, p.first, p.c_n * sizeof(float));
            omp_set_num_threads(threads);
            product_run(&p, false);
            product_check(&p, engine);
        }
        omp_set_num_threads(before);
        product_free(&p);
    }
}
static void test_parts_and_threads(void **state) {
    (void)state;
    on_engines(parts);
}

/* Problems of both kinds in one call, of any number of rows: in a workspace of the size that it says. */
static void problems_check(int threads, const char *engine) {
    enum { PROBLEMS = 12 };
    const size_t sizes[][3] = {{0, 20, 64}, {611, 64, 40}, {3, 256, 64}, {130, 33, 31}, {40, 256, 200}, {700, 70, 65}};
    struct product products[PROBLEMS];
    struct gemm problems[PROBLEMS];
    omp_set_num_threads(threads);
    for (size_t i = 0; i < PROBLEMS; i++) {
        const struct variant v = {.a = i % 2 ? BY_COLUMNS : BY_ROWS, .b = i % 3 ? BY_ROWS : BY_COLUMNS,
                                  .start = i % 4 ? START_C : START_NONE};
        products[i] = product_make(sizes[i % 6][0], sizes[i % 6][1], sizes[i % 6][2], v);
        problems[i] = products[i].g;
    }
    problems[7].operands = OPERANDS_F32; /* of the second 611 rows */
    problems[8].operands = OPERANDS_F32;
    const size_t bytes = gemm_workspace_bytes(problems, PROBLEMS);
    void *workspace = guarded_alloc(bytes);
    gemm_run(problems, PROBLEMS, workspace);
    guarded_free(workspace, bytes);
    for (size_t i = 0; i < PROBLEMS; i++) {
        if (problems[i].operands == OPERANDS_BF16) product_check(&products[i], engine);
        else assert_true(product_differs(&products[i]) < products[i].c_n);
        product_free(&products[i]);
    }
}
static void problems(const char *engine) {
    const int before = omp_get_max_threads();
    for (int threads = 1; threads <= 9; threads += 4) problems_check(threads, engine);
    omp_set_num_threads(before);
}
static void test_problems(void **state) {
    (void)state;
    on_engines(problems);
}

/* ---- Special numbers ---- */

/* One product (1 x K) (K x 1): x at step `where` times 1, zeros elsewhere. */
static float one_product(float x, bool in_b, size_t K, size_t where, bool by_columns) {
    float a[80] = {0}, b[40] = {0}, c = NAN;
    const size_t step = by_columns ? 2 : 1;
    assert_true(K <= COUNT(b));
    a[where * step] = in_b ? 1 : x;
    b[where] = in_b ? x : 1;
    gemm_serial(&(struct gemm){.M = 1, .N = 1, .K = K, .operands = OPERANDS_BF16,
                               .A = view_of(a, by_columns ? 1 : K, step), .B = view_of(b, 1, 1), .C = &c, .ldc = 1});
    return c;
}

/* Operands of either side are rounded to the nearest, of two as near to the even one; infinities and NaN stay. */
static void rounding(const char *engine) {
    static const uint32_t cases[][2] = {
        {0x3f800000, 0x3f80}, {0xbf800000, 0xbf80}, {0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0xbf808000, 0xbf80},
        {0xbf818000, 0xbf82}, {0x3f807fff, 0x3f80}, {0x3f808001, 0x3f81}, {0x3f817fff, 0x3f81}, {0x3f818001, 0x3f82},
        {0x3fff8000, 0x4000}, {0x3fff7fff, 0x3fff}, {0x3ffe8000, 0x3ffe}, {0x00800000, 0x0080}, {0x00808000, 0x0080},
        {0x00818000, 0x0082}, {0x80ffffff, 0x8100}, {0x7f7f7fff, 0x7f7f}, {0x7f7f8000, 0x7f80}, {0xff7f8000, 0xff80},
        {0x7f800000, 0x7f80}, {0xff800000, 0xff80},
    };
    static const uint32_t nans[] = {0x7fc00000, 0xffc00000, 0x7f800001, 0xff800001, 0x7f808000, 0x7fffffff,
                                    0xffffffff};
    for (int in_b = 0; in_b < 2; in_b++)
        for (size_t where = 0; where < 40; where += 3) {
            for (size_t i = 0; i < COUNT(cases); i++) {
                const float x = float_of(cases[i][0]);
                const uint32_t want = cases[i][1] << 16;
                const bool alone = isinf(float_of(want)); /* zeros beside an infinity make it NaN */
                const float got = one_product(x, in_b, alone ? 1 : 40, alone ? 0 : where, where % 2);
                if (bits_of(got) != want)
                    fail_msg("%s: %08x at step %zu counts as %08x, want %08x", engine, cases[i][0], where,
                             bits_of(got), want);
            }
            for (size_t i = 0; i < COUNT(nans); i++)
                assert_true(isnan(one_product(float_of(nans[i]), in_b, 40, where, where % 2)));
        }
}
static void test_rounding(void **state) {
    (void)state;
    on_engines(rounding);
}

/* A NaN or an infinity of A is in all of its row and nowhere else, one of B in all of its column. */
static void special_check(float special, bool in_b, enum layout layout, const char *engine) {
    enum { M = 50, N = 53, K = 67, AT = 20 };
    struct product p = product_make(M, N, K, (struct variant){.a = layout, .b = layout});
    (in_b ? p.b : p.a)[view_index(in_b ? p.g.B : p.g.A, in_b ? 60 : AT, in_b ? AT : 60)] = special;
    product_run(&p, false);
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < N; j++) {
            const float got = p.c[i * p.g.ldc + j];
            if ((in_b ? j : i) == AT) assert_false(isfinite(got));
            else if (bits_of(got) != bits_of(p.want[i * N + j]))
                fail_msg("%s: C[%zu, %zu] got %a", engine, i, j, (double)got);
        }
    product_free(&p);
}
static void special(const char *engine) {
    for (int in_b = 0; in_b < 2; in_b++)
        for (int layout = 0; layout < LAYOUTS; layout++) {
            special_check(NAN, in_b, (enum layout)layout, engine);
            special_check(-INFINITY, in_b, (enum layout)layout, engine);
        }
    assert_true(isinf(one_product(FLT_MAX, false, 3, 1, 0))); /* rounded up */
}
static void test_nan_and_infinity(void **state) {
    (void)state;
    on_engines(special);
}

/* ---- Below 2^-126 ---- */

/* Both engines on the same numbers: a (M,K), b (K,N), start (M,N). */
static void on_both(float *vectors, float *tiles, const struct gemm *g) {
    struct gemm h = *g;
    gemm_use_tiles(false);
    h.C = vectors;
    gemm_serial(&h);
    if (!gemm_use_tiles(true)) skip();
    h.C = tiles;
    gemm_serial(&h);
}

/* Tiles take a number below 2^-126 for zero, so this also tells that the engine is the one that was chosen. */
static void test_denormal_is_zero_on_tiles(void **state) {
    (void)state;
    const float tiny = 0x1p-130f, big = 0x1p100f;
    float vectors, tiles;
    on_both(&vectors, &tiles, &(struct gemm){.M = 1, .N = 1, .K = 1, .operands = OPERANDS_BF16,
                                             .A = view_of(&tiny, 1, 1), .B = view_of(&big, 1, 1), .ldc = 1});
    assert_true(vectors == 0x1p-30f);
    assert_true(tiles == 0);
}

/* The engines may differ by what is flushed, and only by that: of each product an operand (2^-126 times the other one,
 * here below 2^1) and a sum, of each 32 steps three sums, and C at its start. Sizes around 2^-63 give products on both
 * sides of 2^-126; the sums are small enough to be exact to less than that. */
static void test_denormals(void **state) {
    (void)state;
    enum { M = 20, N = 40, K = 100 };
    struct rng rng;
    float a[M * K], b[K * N], start[M * N], vectors[M * N], tiles[M * N];
    rng_seed(&rng, 7, 0);
    for (size_t i = 0; i < COUNT(a); i++)
        a[i] = ldexpf((float)rng_normal(&rng), (int)(rng_next(&rng) % 10) - (i % 7 ? 68 : 130));
    for (size_t i = 0; i < COUNT(b); i++)
        b[i] = ldexpf((float)rng_normal(&rng), (int)(rng_next(&rng) % 10) - (i % 5 ? 68 : 12));
    for (size_t i = 0; i < COUNT(start); i++) start[i] = ldexpf((float)rng_normal(&rng), -127);
    on_both(vectors, tiles, &(struct gemm){.M = M, .N = N, .K = K, .operands = OPERANDS_BF16, .A = view_of(a, K, 1),
                                           .B = view_of(b, N, 1), .ldc = N, .start = start});
    const double flushed = (K * (2 + 1) + 3 * (K / BLOCK + 1) + 1) * 0x1p-126;
    size_t differ = 0;
    for (size_t i = 0; i < COUNT(vectors); i++) {
        differ += vectors[i] != tiles[i];
        if (!(fabs((double)vectors[i] - (double)tiles[i]) <= flushed + fabs((double)vectors[i]) * FLT_EPSILON * 2 * K))
            fail_msg("number %zu: on vectors %a, on tiles %a", i, (double)vectors[i], (double)tiles[i]);
    }
    assert_true(differ > 0);
}

/* Without steps C is bias + start, whole, of numbers that tiles would flush, too. */
static void no_steps(const char *engine) {
    enum { N = 32 };
    float start[N * N], bias[N] = {0}, c[N * N];
    for (int i = 0; i < N * N; i++) start[i] = i % 2 ? -0.0f : 0x1p-130f;
    struct gemm g = {.M = N, .N = N, .operands = OPERANDS_BF16, .A = view_of(start, N, 1), .B = view_of(start, N, 1),
                     .C = c, .ldc = N, .start = start};
    for (int with_bias = 0; with_bias < 2; with_bias++) {
        g.bias = with_bias ? bias : NULL;
        gemm_serial(&g);
        for (int i = 0; i < N * N; i++)
            if (bits_of(c[i]) != bits_of(0 + start[i])) fail_msg("%s: number %d is %a", engine, i, (double)c[i]);
    }
}
static void test_no_steps(void **state) {
    (void)state;
    on_engines(no_steps);
}

/* ---- Packing ---- */

/* The word of steps k and k + 1 in column j: bf16 by its definition, zeros past the last step and column. */
static uint32_t word_plain(struct view B, size_t K, size_t N, size_t k, size_t j) {
    uint32_t word = 0;
    for (size_t s = 0; s < 2; s++)
        if (k + s < K && j < N) word |= bits_of(bf16_nearest(at(B, k + s, j))) >> 16 << 16 * s;
    return word;
}

static void packing_check(size_t K, size_t N, enum layout layout, bool picked) {
    size_t n;
    struct view B = view_make(K, N, layout, &n);
    float *b = guarded_numbers(n, K + 1000 * N);
    int32_t pick[K + 1];
    for (size_t i = 0; i < n; i += 3) b[i] = ldexpf(b[i], (int)(i % 290) - 150); /* denormal and large, too */
    for (size_t i = 0; i < n; i += 11) b[i] = i % 2 ? INFINITY : -0.0f;
    for (size_t k = 0; k < K; k++) pick[k] = (int32_t)(k * 7 % K);
    B.data = b;
    B.pick = picked ? pick : NULL;
    const size_t steps = (K + BLOCK - 1) / BLOCK * BLOCK, panels = gemm_panels(N), bytes = steps * panels * COLS * 2;
    assert_int_equal(gemm_packed_bytes(STORAGE_BF16, K, N), bytes);
    uint32_t *packed = guarded_alloc(bytes);
    gemm_pack_stored(packed, STORAGE_BF16, B, K, N);
    for (size_t i = 0; i < bytes / sizeof *packed; i++) {
        const size_t panel = i / (steps / 2 * COLS), k = i / COLS % (steps / 2) * 2, j = panel * COLS + i % COLS;
        const uint32_t want = word_plain(B, K, N, k, j);
        if (packed[i] != want)
            fail_msg("K %zu N %zu layout %d: step %zu, column %zu: %08x, want %08x", K, N, layout, k, j, packed[i],
                     want);
    }
    guarded_free(packed, bytes);
    guarded_free(b, n * sizeof *b);
}

static void test_packing(void **state) {
    (void)state;
    const size_t Ks[] = {1, 2, 15, 31, 32, 33, 63, 64, 70, 101}, Ns[] = {1, 7, 15, 16, 17, 31, 32, 33, 64, 70};
    for (size_t k = 0; k < COUNT(Ks); k++)
        for (size_t n = 0; n < COUNT(Ns); n++) {
            for (int layout = 0; layout < LAYOUTS; layout++) packing_check(Ks[k], Ns[n], (enum layout)layout, false);
            packing_check(Ks[k], Ns[n], BY_ROWS, true);
        }
}

/* NaN of any bits stay NaN of their sign in every lane, either step. */
static void test_packing_of_nan(void **state) {
    (void)state;
    static const uint32_t nans[] = {0x7fc00000, 0xffc00000, 0x7f800001, 0xff800001, 0x7f808000, 0x7fffffff,
                                    0xffffffff, 0xff80ffff};
    enum { K = 40, N = 40 };
    float b[K * N];
    for (int columns = 0; columns < 2; columns++) {
        for (size_t i = 0; i < COUNT(b); i++) b[i] = float_of(nans[i * 5 % COUNT(nans)]);
        const struct view B = columns ? view_of(b, 1, K) : view_of(b, N, 1);
        const size_t bytes = gemm_packed_bytes(STORAGE_BF16, K, N), panel = 64 / 2 * COLS;
        uint32_t *packed = guarded_alloc(bytes);
        gemm_pack_stored(packed, STORAGE_BF16, B, K, N);
        for (size_t k = 0; k < K; k++)
            for (size_t j = 0; j < N; j++) {
                const uint32_t word = packed[j / COLS * panel + k / 2 * COLS + j % COLS], of = bits_of(at(B, k, j));
                const uint32_t got = word >> k % 2 * 16 & 0xffff;
                if ((got & 0x7f80) != 0x7f80 || !(got & 0x7f) || got >> 15 != of >> 31)
                    fail_msg("NaN %08x is stored as %04x", of, got);
            }
        guarded_free(packed, bytes);
    }
}

/* ---- Whether there are tiles ---- */

/* Where Linux says that the processor has them, and the build's panels are as wide, they are found. */
static void test_tiles_are_found(void **state) {
    (void)state;
    char line[8192];
    bool listed = false;
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "flags", 5) == 0) listed = strstr(line, " amx_bf16") && strstr(line, " amx_tile");
    if (f) fclose(f);
#ifdef TILES_EMULATED
    listed = true;
#endif
    assert_int_equal(gemm_use_tiles(true), listed && COLS >= 16);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiles_are_found),
        cmocka_unit_test(test_packing),
        cmocka_unit_test(test_packing_of_nan),
        cmocka_unit_test(test_small_shapes),
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_large_shapes),
        cmocka_unit_test(test_wide_shapes),
        cmocka_unit_test(test_stored_in_bf16),
        cmocka_unit_test(test_picks),
        cmocka_unit_test(test_workspace_of_experts),
        cmocka_unit_test(test_parts_and_threads),
        cmocka_unit_test(test_problems),
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_nan_and_infinity),
        cmocka_unit_test(test_denormal_is_zero_on_tiles),
        cmocka_unit_test(test_denormals),
        cmocka_unit_test(test_no_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
