/* How the product is fast, from the inside out:
 *
 * 1. A tile of ROWS x COLS elements of C is held in registers while k runs (tile_multiply). Each step loads
 *    two vectors of B and ROWS scalars of A, and does 2 ROWS fused multiply-adds.
 * 2. B is packed into panels COLS wide, so that a step reads it from one contiguous stream; A is packed a
 *    block of BLOCK_ROWS x BLOCK_DEPTH at a time, small enough for the L2 cache, by the thread that uses it.
 * 3. Blocks of rows (and of columns, where rows are few) of all problems are dealt out to the threads.
 *
 * Written in GCC vector extensions; the width comes from real.h. */
#include "gemm.h"

#include <omp.h>
#include <string.h>

enum {
    LANES = VEC_LANES,
    COLS = 2 * LANES,
    ROWS = VEC_BYTES == 64 ? 12 : 6, /* 24 accumulators of 32 registers, or 12 of 16 */
    BLOCK_ROWS = 8 * ROWS,
    BLOCK_DEPTH = 512,
    BLOCK_COLS = 4 * COLS, /* columns a task takes where rows alone are too few tasks */
};

/* A packed block of A is a sequence of row panels; a panel of m rows is a sequence of slabs, each LANES
 * steps of k. A slab is copied the way A lies in memory, so that packing is vector copies either way. */
enum slab_order {
    ROW_MAJOR, /* A's rows are contiguous: slab[row][k], LANES steps of k a row */
    K_MAJOR,   /* A's columns are contiguous: slab[k][row] */
};

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }
static size_t blocks_of(size_t n, size_t block) { return (n + block - 1) / block; }

/* What a tile of C is made of: c (m, COLS) = start + bias + a b over `depth` steps of k. */
struct tile {
    size_t depth;
    const real *a, *b, *bias, *start;
    real *c;
    size_t ldc; /* of c and of start */
};

/* m and order are compile-time constants wherever this is inlined. */
static inline __attribute__((always_inline)) void tile_multiply(const struct tile *t, const int m,
                                                                const enum slab_order order) {
    const real *a = t->a, *b = t->b;
    const size_t depth = t->depth, ldc = t->ldc;
    vec acc[ROWS][2], bias[2] = {{0}, {0}};
    if (t->bias) bias[0] = *(vec_unaligned *)t->bias, bias[1] = *(vec_unaligned *)(t->bias + LANES);
#pragma GCC unroll 16
    for (int i = 0; i < m; i++) acc[i][0] = bias[0], acc[i][1] = bias[1];
    if (t->start)
#pragma GCC unroll 16
        for (int i = 0; i < m; i++) {
            acc[i][0] += *(vec_unaligned *)(t->start + i * ldc);
            acc[i][1] += *(vec_unaligned *)(t->start + i * ldc + LANES);
        }
    const size_t row_step = order == ROW_MAJOR ? LANES : 1, k_step = order == ROW_MAJOR ? 1 : m;
    for (size_t k0 = 0; k0 < depth; k0 += LANES, a += (size_t)m * LANES) {
        const size_t steps = min_size(LANES, depth - k0);
        for (size_t k = 0; k < steps; k++, b += COLS) {
            const vec b0 = *(const vec *)b, b1 = *(const vec *)(b + LANES);
#pragma GCC unroll 16
            for (int i = 0; i < m; i++) {
                const real a_ik = a[i * row_step + k * k_step];
                acc[i][0] += a_ik * b0;
                acc[i][1] += a_ik * b1;
            }
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < m; i++) {
        *(vec_unaligned *)(t->c + i * ldc) = acc[i][0];
        *(vec_unaligned *)(t->c + i * ldc + LANES) = acc[i][1];
    }
}

/* Instantiates tile_multiply for a number of rows only known at run time. */
static void tile_run(const struct tile *t, int m, enum slab_order order) {
#define CASE(rows)                                                      \
    case rows:                                                          \
        if (rows > ROWS) return;                                        \
        if (order == ROW_MAJOR) tile_multiply(t, rows, ROW_MAJOR);      \
        else tile_multiply(t, rows, K_MAJOR);                           \
        return;
    switch (m) {
        CASE(12) CASE(11) CASE(10) CASE(9) CASE(8) CASE(7) CASE(6) CASE(5) CASE(4) CASE(3) CASE(2) CASE(1)
    }
#undef CASE
}

/* The last columns of C, where a full tile would reach past the row: through a copy. */
static void tile_run_narrow(const struct tile *t, int m, enum slab_order order, size_t cols) {
    real copy[ROWS * COLS] __attribute__((aligned(VEC_BYTES))) = {0};
    for (int i = 0; i < m; i++)
        for (size_t j = 0; j < cols; j++)
            copy[i * COLS + j] = (t->bias ? t->bias[j] : 0) + (t->start ? t->start[i * t->ldc + j] : 0);
    tile_run(&(struct tile){t->depth, t->a, t->b, NULL, copy, copy, COLS}, m, order);
    for (int i = 0; i < m; i++) memcpy(t->c + i * t->ldc, copy + i * COLS, cols * sizeof(real));
}

/* Packs A (rows, depth): panel i / ROWS starts at a + i * slabs. */
static void pack_rows(real *a, struct view A, size_t rows, size_t depth, size_t slabs, enum slab_order order) {
    if (order == K_MAJOR) { /* k outside: A is read along its rows of memory, and only once */
        for (size_t k = 0; k < depth; k++) {
            const real *from = A.data + k * A.col;
            size_t i = 0;
            for (; i + ROWS <= rows; i += ROWS) memcpy(a + i * slabs + k * ROWS, from + i, ROWS * sizeof(real));
            for (size_t m = rows - i, left = i; i < rows; i++) a[left * slabs + k * m + i - left] = from[i];
        }
        return;
    }
    for (size_t i = 0; i < rows; i++) {
        const size_t top = i / ROWS * ROWS, m = min_size(ROWS, rows - top);
        real *to = a + top * slabs + (i - top) * LANES; /* slab q at to + q * m * LANES */
        const real *from = A.data + i * A.row;
        size_t k = 0;
        if (A.col == 1)
            for (; k + LANES <= depth; k += LANES) *(vec_unaligned *)(to + k * m) = *(const vec_unaligned *)(from + k);
        for (; k < depth; k++) to[k / LANES * LANES * m + k % LANES] = from[k * A.col];
    }
}

/* Rows row0.. of C (at most BLOCK_ROWS) by columns col0..col1, all of K. */
static void block_multiply(const struct gemm *g, const real *packed, size_t row0, size_t col0, size_t col1) {
    real a[BLOCK_ROWS * BLOCK_DEPTH] __attribute__((aligned(VEC_BYTES)));
    const size_t rows = min_size(BLOCK_ROWS, g->M - row0), packed_K = g->packed_K ? g->packed_K : g->K;
    const enum slab_order order = g->A.row == 1 && g->A.col != 1 ? K_MAJOR : ROW_MAJOR;
    for (size_t k0 = 0; k0 == 0 || k0 < g->K; k0 += BLOCK_DEPTH) {
        const size_t depth = min_size(BLOCK_DEPTH, g->K - k0), slabs = blocks_of(depth, LANES) * LANES;
        const struct view A = {g->A.data + row0 * g->A.row + k0 * g->A.col, g->A.row, g->A.col};
        pack_rows(a, A, rows, depth, slabs, order);
        const real *start = k0 > 0 ? g->C : g->start, *bias = k0 > 0 ? NULL : g->bias;
        for (size_t j = col0; j < col1; j += COLS)
            for (size_t i = 0; i < rows; i += ROWS) {
                const size_t ij = (row0 + i) * g->ldc + j;
                const struct tile t = {
                    depth, a + i * slabs, packed + j * packed_K + k0 * COLS, bias ? bias + j : NULL,
                    start ? start + ij : NULL, g->C + ij, g->ldc,
                };
                const int m = (int)min_size(ROWS, rows - i);
                if (col1 - j >= COLS) tile_run(&t, m, order);
                else tile_run_narrow(&t, m, order, col1 - j);
            }
    }
}

size_t gemm_panels(size_t N) { return blocks_of(N, COLS); }

size_t gemm_packed_count(size_t K, size_t N) { return gemm_panels(N) * COLS * K; }

/* Panel j of B: columns j*COLS.., K steps of COLS numbers, zeros past the last column. */
void gemm_pack_panel(real *packed, struct view B, size_t K, size_t N, size_t j) {
    const size_t cols = min_size(COLS, N - j * COLS);
    const real *from = B.data + j * COLS * B.col;
    real *panel = packed + j * COLS * K;
    if (cols < COLS) memset(panel, 0, K * COLS * sizeof(real));
    if (B.col == 1 && cols == COLS) /* a copy of constant size is two vectors */
        for (size_t k = 0; k < K; k++) memcpy(panel + k * COLS, from + k * B.row, COLS * sizeof(real));
    else if (B.col == 1)
        for (size_t k = 0; k < K; k++) memcpy(panel + k * COLS, from + k * B.row, cols * sizeof(real));
    else /* a few k at a time, so that both sides stay in the cache */
        for (size_t k0 = 0; k0 < K; k0 += LANES)
            for (size_t n = 0; n < cols; n++)
                for (size_t k = k0; k < min_size(k0 + LANES, K); k++)
                    panel[k * COLS + n] = from[k * B.row + n * B.col];
}

void gemm_pack(real *packed, struct view B, size_t K, size_t N) {
    for (size_t j = 0; j < gemm_panels(N); j++) gemm_pack_panel(packed, B, K, N, j);
}

void gemm_serial(const struct gemm *g) {
    for (size_t i = 0; i < g->M; i += BLOCK_ROWS) block_multiply(g, g->packed, i, 0, g->N);
}

/* A list of problems cut into numbered pieces: piece p of the call belongs to the problem whose range holds p. */
static size_t problem_of(const size_t *first, size_t n, size_t piece) {
    size_t low = 0, high = n;
    while (high - low > 1) {
        const size_t middle = (low + high) / 2;
        if (first[middle] <= piece) low = middle;
        else high = middle;
    }
    return low;
}

void gemm_run(const struct gemm *problems, size_t n, real *workspace) {
    size_t panel_first[n + 1], task_first[n + 1]; /* pieces of packing, and of multiplying */
    const real *packed[n];
    size_t row_blocks = 0;
    for (size_t p = 0; p < n; p++) row_blocks += blocks_of(problems[p].M, BLOCK_ROWS);
    const size_t block_cols = row_blocks < 4 * (size_t)omp_get_max_threads() ? BLOCK_COLS : SIZE_MAX / 2;

    panel_first[0] = task_first[0] = 0;
    for (size_t p = 0; p < n; p++) {
        const struct gemm *g = &problems[p];
        const bool pack = !g->packed && g->M > 0;
        packed[p] = g->packed ? g->packed : workspace;
        if (pack) workspace += gemm_packed_count(g->K, g->N);
        panel_first[p + 1] = panel_first[p] + (pack ? gemm_panels(g->N) : 0);
        task_first[p + 1] = task_first[p] + blocks_of(g->M, BLOCK_ROWS) * blocks_of(g->N, block_cols);
    }
#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (size_t piece = 0; piece < panel_first[n]; piece++) {
            const size_t p = problem_of(panel_first, n, piece), j = piece - panel_first[p];
            const struct gemm *g = &problems[p];
            gemm_pack_panel((real *)packed[p], g->B, g->K, g->N, j);
        }
#pragma omp for schedule(dynamic, 1)
        for (size_t piece = 0; piece < task_first[n]; piece++) {
            const size_t p = problem_of(task_first, n, piece), task = piece - task_first[p];
            const struct gemm *g = &problems[p];
            const size_t column_blocks = blocks_of(g->N, block_cols), j = task % column_blocks;
            const size_t col0 = column_blocks == 1 ? 0 : j * block_cols;
            const size_t col1 = column_blocks == 1 ? g->N : min_size(g->N, col0 + block_cols);
            block_multiply(g, packed[p], task / column_blocks * BLOCK_ROWS, col0, col1);
        }
    }
}
