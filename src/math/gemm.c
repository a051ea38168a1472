/* How the product is fast, from the inside out:
 *
 * 1. A tile of ROWS x COLS elements of C is held in registers while k runs (tile_multiply). Each step loads
 *    two vectors of B and ROWS scalars of A, and does 2 ROWS fused multiply-adds.
 * 2. B is packed into panels COLS wide, so that a step reads it from one contiguous stream; A is packed a
 *    block at a time, small enough for the L2 cache, by the thread that uses it.
 * 3. Blocks of rows (and of columns, where rows are few) of all problems are dealt out to the threads.
 *
 * Written in GCC vector extensions; the width comes from real.h. Only the packing and panel_step know how
 * the numbers of a packed B are stored. */
#include "gemm.h"

#include <omp.h>
#include <string.h>
#include "../base/tasks.h"
#include "vecmath.h"

enum {
    LANES = VEC_LANES,
    COLS = 2 * LANES,
    ROWS = VEC_BYTES == 64 ? 12 : 6, /* 24 accumulators of 32 registers, or 12 of 16 */
    WIDE = 4,                        /* panels that a single row takes at once: as many chains as hide latency */
    BLOCK_ROWS = 8 * ROWS,
    BLOCK_DEPTH = 512,
    BLOCK_NUMBERS = BLOCK_ROWS * BLOCK_DEPTH, /* of A: a part of the L2 cache */
    TALL_ROWS = 44 * ROWS,  /* of a block that is transposed: A's memory is read along its rows, whole if it can be */
    OWN_NUMBERS = 1 << 15,  /* of B, where a task packs it for itself */
    AHEAD = 8,              /* rows of memory that are fetched before they are packed */
};
_Static_assert(GEMM_TILE_ROWS % ROWS == 0, "who cuts rows by it cuts no tile");

/* A packed block of A is a sequence of row panels; a panel of m rows is a sequence of slabs, each LANES
 * steps of k. A slab is copied the way A lies in memory, so that packing is vector copies either way. */
enum slab_order {
    ROW_MAJOR, /* A's rows are contiguous: slab[row][k], LANES steps of k a row */
    K_MAJOR,   /* A's columns are contiguous: slab[k][row] */
};

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }
static size_t blocks_of(size_t n, size_t block) { return (n + block - 1) / block; }
static size_t round_up(size_t n, size_t step) { return blocks_of(n, step) * step; }
static enum slab_order order_of(const struct gemm *g) { return g->A.row == 1 && g->A.col != 1 ? K_MAJOR : ROW_MAJOR; }

/* ---- Panels of B -------------------------------------------------------------------------------- */

/* A panel is K steps of COLS numbers, zeros past the last column. In F32 a step is two vectors. Otherwise a
 * lane of 32 bits holds the numbers of 2 (bf16) or 4 (int8) successive steps, the first lowest, so that a shift
 * unpacks a whole vector; and in INT8 the columns' scales come first. In double (tests) all is stored as is. */
typedef uint32_t bits_lanes __attribute__((vector_size(VEC_BYTES)));
typedef int32_t int_lanes __attribute__((vector_size(VEC_BYTES)));

#ifdef REAL_DOUBLE
static inline int storage_steps(enum storage storage) { return (void)storage, 1; }
static size_t panel_header(enum storage storage) { return (void)storage, 0; }
static inline vec panel_step(vec word, enum storage storage, int step, vec scale) {
    return (void)storage, (void)step, (void)scale, word;
}
#else
static inline int storage_steps(enum storage storage) {
    return storage == STORAGE_F32 ? 1 : storage == STORAGE_BF16 ? 2 : 4;
}
static size_t panel_header(enum storage storage) { return storage == STORAGE_INT8 ? COLS * sizeof(real) : 0; }
/* The numbers of one step of a word. */
static inline vec panel_step(vec word, enum storage storage, int step, vec scale) {
    if (storage == STORAGE_F32) return word;
    if (storage == STORAGE_BF16) /* the upper half of a float */
        return (vec)(step == 0 ? (bits_lanes)word << 16 : (bits_lanes)word & 0xffff0000);
    return __builtin_convertvector((int_lanes)((bits_lanes)word << (24 - 8 * step)) >> 24, vec) * scale;
}
#endif

/* Bytes of `steps` steps, and of a panel. */
static size_t steps_bytes(enum storage storage, size_t steps) {
    return blocks_of(steps, (size_t)storage_steps(storage)) * COLS * sizeof(real);
}
static size_t panel_bytes(enum storage storage, size_t K) { return panel_header(storage) + steps_bytes(storage, K); }

/* To the nearest, ties to even; a NaN stays one. */
static uint32_t bf16_of(real x) {
    const float value = (float)x;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (value != value) return bits >> 16 | 0x40;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

static const real *view_row(struct view v, size_t stride, size_t r) {
    return v.data + (v.pick ? (size_t)v.pick[r] : r) * stride;
}

/* A panel of `real`: columns from..from+cols of K rows of B. */
static void panel_copy(real *panel, struct view B, size_t K, size_t from, size_t cols) {
    if (cols < COLS) memset(panel, 0, K * COLS * sizeof(real));
    if (B.col == 1 && cols == COLS) /* a copy of constant size is two vectors */
        for (size_t k = 0; k < K; k++) memcpy(panel + k * COLS, view_row(B, B.row, k) + from, COLS * sizeof(real));
    else if (B.col == 1)
        for (size_t k = 0; k < K; k++) memcpy(panel + k * COLS, view_row(B, B.row, k) + from, cols * sizeof(real));
    else /* a few k at a time, so that both sides stay in the cache */
        for (size_t k0 = 0; k0 < K; k0 += LANES)
            for (size_t n = 0; n < cols; n++) {
                const real *column = view_row(B, B.col, from + n);
                for (size_t k = k0; k < min_size(k0 + LANES, K); k++) panel[k * COLS + n] = column[k * B.row];
            }
}

static real view_at(struct view v, size_t i, size_t j) { return v.data[i * v.row + j * v.col]; }

/* The same in fewer bits. */
static void panel_quantize(char *panel, enum storage storage, struct view B, size_t K, size_t from, size_t cols) {
    const size_t steps = (size_t)storage_steps(storage), bits = 32 / steps;
    real *scales = (real *)panel;
    uint32_t *words = (uint32_t *)(panel + panel_header(storage));
    memset(panel, 0, panel_bytes(storage, K));
    for (size_t n = 0; n < cols; n++) {
        real high = 0;
        for (size_t k = 0; k < K; k++) high = (real)fmax(high, fabs(view_at(B, k, from + n)));
        const real scale = high > 0 ? high / 127 : 1;
        if (storage == STORAGE_INT8) scales[n] = scale;
        for (size_t k = 0; k < K; k++) {
            const real b = view_at(B, k, from + n);
            const uint32_t number = storage == STORAGE_INT8 ? (uint32_t)lrint((double)(b / scale)) & 0xff : bf16_of(b);
            words[k / steps * COLS + n] |= number << k % steps * bits;
        }
    }
}

size_t gemm_panels(size_t N) { return blocks_of(N, COLS); }

size_t gemm_packed_bytes(enum storage storage, size_t K, size_t N) { return gemm_panels(N) * panel_bytes(storage, K); }

void gemm_pack_panel(void *packed, enum storage storage, struct view B, size_t K, size_t N, size_t j) {
    char *panel = (char *)packed + j * panel_bytes(storage, K);
    const size_t from = j * COLS, cols = min_size(COLS, N - from);
    if (storage_steps(storage) == 1) panel_copy((real *)panel, B, K, from, cols);
    else panel_quantize(panel, storage, B, K, from, cols);
}

size_t gemm_packed_count(size_t K, size_t N) { return gemm_packed_bytes(STORAGE_F32, K, N) / sizeof(real); }

void gemm_pack(real *packed, struct view B, size_t K, size_t N) {
    for (size_t j = 0; j < gemm_panels(N); j++) gemm_pack_panel(packed, STORAGE_F32, B, K, N, j);
}

/* ---- Tiles of C --------------------------------------------------------------------------------- */

/* What a tile of C is made of: c (m, panels * COLS) = start + bias + a b over `depth` steps of k. */
struct tile {
    size_t depth;
    const real *a;
    const char *b;         /* the first panel, at its first step */
    const real *scale;     /* INT8: the first panel's */
    size_t panel;          /* bytes from panel to panel */
    const real *bias, *start;
    real *c;
    size_t ldc;            /* of c and of start */
};

/* Its form: m rows by so many panels. A compile-time constant wherever the next two functions are inlined. */
struct form {
    int m, panels;
    enum slab_order order;
    enum storage storage;
};

/* acc += n steps of a slab times the panels'. n is a compile-time constant, too, but for the last slab's: a loop of
 * constant length, two steps at a time, is up to a tenth faster. */
static inline __attribute__((always_inline)) void slab_multiply(vec acc[ROWS][2 * WIDE], const real *a, const char *b,
                                                                const size_t panel, const vec *scale, const int n,
                                                                const struct form form) {
    const int m = form.m, vectors = 2 * form.panels, steps = storage_steps(form.storage);
    const size_t row_step = form.order == ROW_MAJOR ? LANES : 1, k_step = form.order == ROW_MAJOR ? 1 : m;
#pragma GCC unroll 2
    for (int k = 0; k < n; k += steps, b += COLS * sizeof(real)) {
#pragma GCC unroll 4
        for (int step = 0; step < steps; step++) {
            if (step > 0 && k + step == n) break;
            vec b_k[2 * WIDE];
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++) {
                const vec word = *(const vec *)(b + v / 2 * panel + v % 2 * VEC_BYTES);
                b_k[v] = panel_step(word, form.storage, step, scale[v]);
            }
#pragma GCC unroll 16
            for (int i = 0; i < m; i++) {
                const real a_ik = a[i * row_step + (k + step) * k_step];
#pragma GCC unroll 8
                for (int v = 0; v < vectors; v++) acc[i][v] += a_ik * b_k[v];
            }
        }
    }
}

static inline __attribute__((always_inline)) void tile_multiply(const struct tile *t, const struct form form) {
    const int m = form.m, vectors = 2 * form.panels;
    const real *a = t->a;
    const char *b = t->b;
    const size_t ldc = t->ldc, panel = t->panel;
    size_t depth = t->depth;
    vec acc[ROWS][2 * WIDE], scale[2 * WIDE] = {{0}};
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) {
        const vec bias = t->bias ? vec_load(t->bias + v * LANES) : (vec){0};
        if (form.storage == STORAGE_INT8)
            scale[v] = vec_load((const real *)((const char *)t->scale + v / 2 * panel) + v % 2 * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < m; i++) acc[i][v] = bias;
        if (t->start)
#pragma GCC unroll 16
            for (int i = 0; i < m; i++) acc[i][v] += vec_load(t->start + i * ldc + v * LANES);
    }
    for (; depth >= LANES; depth -= LANES, a += (size_t)m * LANES, b += steps_bytes(form.storage, LANES))
        slab_multiply(acc, a, b, panel, scale, LANES, form);
    if (depth) slab_multiply(acc, a, b, panel, scale, (int)depth, form);
#pragma GCC unroll 16
    for (int i = 0; i < m; i++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) vec_store(t->c + i * ldc + v * LANES, acc[i][v]);
}

/* Instantiates tile_multiply for what is only known at run time. */
static void tile_run(const struct tile *t, int m, enum slab_order order, enum storage storage) {
#define FORM(...) tile_multiply(t, (struct form){__VA_ARGS__})
#define CASE(rows)                                                              \
    case rows:                                                                  \
        if (rows > ROWS) return;                                                \
        if (order == K_MAJOR) FORM(rows, 1, K_MAJOR, STORAGE_F32);              \
        else if (storage == STORAGE_F32) FORM(rows, 1, ROW_MAJOR, STORAGE_F32); \
        else if (storage == STORAGE_BF16) FORM(rows, 1, ROW_MAJOR, STORAGE_BF16); \
        else FORM(rows, 1, ROW_MAJOR, STORAGE_INT8);                            \
        return;
    switch (m) {
        CASE(12) CASE(11) CASE(10) CASE(9) CASE(8) CASE(7) CASE(6) CASE(5) CASE(4) CASE(3) CASE(2) CASE(1)
    }
#undef CASE
}

/* One row by WIDE panels: decoding. */
static void tile_run_wide(const struct tile *t, enum storage storage) {
    if (storage == STORAGE_F32) FORM(1, WIDE, ROW_MAJOR, STORAGE_F32);
    else if (storage == STORAGE_BF16) FORM(1, WIDE, ROW_MAJOR, STORAGE_BF16);
    else FORM(1, WIDE, ROW_MAJOR, STORAGE_INT8);
}
#undef FORM

/* The last columns of C, where a full tile would reach past the row: through a copy. */
static void tile_run_narrow(const struct tile *t, int m, enum slab_order order, enum storage storage, size_t cols) {
    real copy[ROWS * COLS] __attribute__((aligned(VEC_BYTES))) = {0};
    struct tile narrow = *t;
    for (int i = 0; i < m; i++)
        for (size_t j = 0; j < cols; j++)
            copy[i * COLS + j] = (t->bias ? t->bias[j] : 0) + (t->start ? t->start[i * t->ldc + j] : 0);
    narrow.bias = NULL;
    narrow.start = narrow.c = copy;
    narrow.ldc = COLS;
    tile_run(&narrow, m, order, storage);
    for (int i = 0; i < m; i++) memcpy(t->c + i * t->ldc, copy + i * COLS, cols * sizeof(real));
}

/* ---- Blocks ------------------------------------------------------------------------------------- */

/* Rows of the next tile of a block with `left` rows to go: the last two share theirs, since a tile of one or
 * two rows takes as long as a full one. */
static size_t tile_rows(size_t left) {
    return left >= 2 * ROWS || left == ROWS ? ROWS : left > ROWS ? (left + 1) / 2 : left;
}

struct range {
    size_t from, to;
};

/* Packs these rows of A at these steps; the panel that begins at row i of the block is at a + i * slabs. sums[i],
 * unless NULL, goes on with row i's sum. */
static void pack_rows(real *a, real *sums, const struct gemm *g, struct range block, struct range steps, size_t slabs) {
    const size_t row0 = block.from, rows = block.to - block.from, k0 = steps.from, depth = steps.to - steps.from;
    if (order_of(g) == K_MAJOR) { /* k outside: A is read along its rows of memory, and only once */
        for (size_t k = 0; k < depth; k++) {
            const real *from = view_row(g->A, g->A.col, k0 + k) + row0;
            if (k0 + k + AHEAD < g->K) { /* the hardware does not see steps of a row of memory coming */
                const real *soon = view_row(g->A, g->A.col, k0 + k + AHEAD) + row0;
                for (size_t i = 0; i < rows; i += 64 / sizeof(real)) __builtin_prefetch(soon + i);
            }
            size_t i = 0;
            for (; rows - i >= 2 * ROWS; i += ROWS) memcpy(a + i * slabs + k * ROWS, from + i, ROWS * sizeof(real));
            for (size_t m; i < rows; i += m) {
                m = tile_rows(rows - i);
                for (size_t r = 0; r < m; r++) a[i * slabs + k * m + r] = from[i + r];
            }
            if (sums) row_add_scaled(sums, 1, from, rows);
        }
        return;
    }
    for (size_t top = 0, m; top < rows; top += m) {
        m = tile_rows(rows - top);
        for (size_t r = 0; r < m; r++) {
            real *to = a + top * slabs + r * LANES; /* slab q at to + q * m * LANES */
            const real *from = view_row(g->A, g->A.row, row0 + top + r) + k0 * g->A.col;
            size_t k = 0;
            if (g->A.col == 1)
                for (; k + LANES <= depth; k += LANES) vec_store(to + k * m, vec_load(from + k));
            for (; k < depth; k++) to[k / LANES * LANES * m + k % LANES] = from[k * g->A.col];
            for (k = 0; sums && k < depth; k++) sums[top + r] += from[k * g->A.col];
        }
    }
}

/* B's packed panels, from the first that is wanted, at the first step that is. */
struct panels {
    const char *data, *scales; /* INT8's scales: in front of each panel's first step */
    size_t bytes;              /* from panel to panel */
};

/* These steps of C's rows by cols, A packed as pack_rows does. */
static void panels_multiply(const struct gemm *g, const real *a, size_t slabs, const struct panels *B,
                            struct range rows, struct range cols, struct range steps) {
    const enum slab_order order = order_of(g);
    const real *start = steps.from > 0 ? g->C : g->start, *bias = steps.from > 0 ? NULL : g->bias;
    const bool single = rows.to - rows.from == 1;
    for (size_t j = cols.from, step; j < cols.to; j += step) {
        const size_t p = (j - cols.from) / COLS * B->bytes;
        step = single && cols.to - j >= WIDE * COLS ? WIDE * COLS : COLS;
        for (size_t i = 0, m; i < rows.to - rows.from; i += m) {
            m = tile_rows(rows.to - rows.from - i);
            const size_t ij = (rows.from + i) * g->ldc + j;
            const struct tile t = {
                steps.to - steps.from, a + i * slabs, B->data + p, (const real *)(B->scales + p), B->bytes,
                bias ? bias + j : NULL, start ? start + ij : NULL, g->C + ij, g->ldc,
            };
            if (step > COLS) tile_run_wide(&t, g->storage);
            else if (cols.to - j >= COLS) tile_run(&t, (int)m, order, g->storage);
            else tile_run_narrow(&t, (int)m, order, g->storage, cols.to - j);
        }
    }
}

/* A block of C, all of K. `packed` is the whole B, or NULL: this task packs what it needs itself. */
static void block_multiply(const struct gemm *g, const void *packed, struct range rows, struct range cols) {
    real a[BLOCK_NUMBERS] __attribute__((aligned(VEC_BYTES))), row_sums[TALL_ROWS] = {0};
    real *const sums = g->sums && cols.from == 0 ? row_sums : NULL; /* blocks side by side share their rows */
    const size_t tall = round_up(rows.to - rows.from, ROWS), packed_K = g->packed_K ? g->packed_K : g->K;
    const size_t block_depth = min_size(BLOCK_DEPTH, BLOCK_NUMBERS / tall / LANES * LANES);
    for (size_t k0 = 0; k0 == 0 || k0 < g->K; k0 += block_depth) {
        const size_t depth = min_size(block_depth, g->K - k0), slabs = round_up(depth, LANES);
        const struct range steps = {k0, k0 + depth};
        pack_rows(a, sums, g, rows, steps, slabs);
        if (packed) {
            const size_t panel = panel_bytes(g->storage, packed_K);
            const char *first = (const char *)packed + cols.from / COLS * panel;
            const char *at_k0 = first + panel_header(g->storage) + steps_bytes(g->storage, k0);
            panels_multiply(g, a, slabs, &(struct panels){at_k0, first, panel}, rows, cols, steps);
            continue;
        }
        real b[OWN_NUMBERS] __attribute__((aligned(VEC_BYTES)));
        const struct view B = {g->B.data + (g->B.pick ? 0 : k0 * g->B.row), g->B.row, g->B.col,
                               g->B.pick ? g->B.pick + k0 : NULL};
        const size_t panel = panel_bytes(STORAGE_F32, depth), some = OWN_NUMBERS / COLS / (depth ? depth : 1) * COLS;
        for (size_t j = cols.from; j < cols.to; j += some) {
            const struct range part = {j, min_size(j + some, cols.to)};
            for (size_t p = j; p < part.to; p += COLS)
                panel_copy(b + (p - j) * depth, B, depth, p, min_size(COLS, part.to - p));
            panels_multiply(g, a, slabs, &(struct panels){(const char *)b, NULL, panel}, rows, part, steps);
        }
    }
    if (sums) row_add_scaled(g->sums + rows.from, 1, sums, rows.to - rows.from);
}

void gemm_serial(const struct gemm *g) {
    const size_t block = order_of(g) == K_MAJOR && g->K * TALL_ROWS <= BLOCK_NUMBERS ? TALL_ROWS : BLOCK_ROWS;
    for (size_t i = 0; i < g->M; i += block)
        block_multiply(g, g->packed, (struct range){i, min_size(i + block, g->M)}, (struct range){0, g->N});
}

/* ---- Tasks -------------------------------------------------------------------------------------- */

/* How a problem is cut: blocks of rows x cols, the fewest that leave every thread its share of the call's work. */
struct cut {
    size_t rows, cols;   /* of a block */
    size_t across, tasks; /* blocks side by side, and in all */
};

static struct cut cut_of(const struct gemm *g, double work) {
    const double share = work / (TASKS_A_THREAD * (double)omp_get_max_threads());
    const double own = (double)g->M * (double)g->N * (double)(g->K + 1);
    const size_t wanted = own > share ? (size_t)(own / share) : 1;
    struct cut cut = {.rows = BLOCK_ROWS, .across = 1};
    if (g->M == 0 || g->N == 0) return cut;
    if (order_of(g) == K_MAJOR) { /* A is read along its memory's rows: as tall as can be */
        const size_t rows = g->M / wanted;
        cut.rows = rows < BLOCK_ROWS ? BLOCK_ROWS : rows < TALL_ROWS ? rows : TALL_ROWS;
    }
    const size_t down = blocks_of(g->M, cut.rows);
    cut.rows = round_up(blocks_of(g->M, down), ROWS); /* equal ones */
    if (down < wanted) cut.across = min_size(wanted / down, blocks_of(g->N, COLS));
    cut.cols = round_up(blocks_of(g->N, cut.across), COLS);
    cut.across = blocks_of(g->N, cut.cols);
    cut.tasks = blocks_of(g->M, cut.rows) * cut.across;
    return cut;
}

static double work_of(const struct gemm *problems, size_t n) {
    double work = 0;
    for (size_t p = 0; p < n; p++) work += (double)problems[p].M * (double)problems[p].N * (double)(problems[p].K + 1);
    return work;
}

/* B is packed for everybody if several tasks need it. */
static bool packs_shared(const struct gemm *g, struct cut cut) { return !g->packed && g->M > cut.rows; }

size_t gemm_workspace_bytes(const struct gemm *problems, size_t n) {
    const double work = work_of(problems, n);
    size_t bytes = 0;
    for (size_t p = 0; p < n; p++)
        if (packs_shared(&problems[p], cut_of(&problems[p], work)))
            bytes += gemm_packed_bytes(STORAGE_F32, problems[p].K, problems[p].N);
    return bytes;
}

void gemm_run(const struct gemm *problems, size_t n, void *workspace) {
    size_t panel_first[n + 1], task_first[n + 1]; /* pieces of packing, and of multiplying */
    struct cut cuts[n];
    const void *packed[n];
    const double work = work_of(problems, n);
    panel_first[0] = task_first[0] = 0;
    for (size_t p = 0; p < n; p++) {
        const struct gemm *g = &problems[p];
        cuts[p] = cut_of(g, work);
        const bool pack = packs_shared(g, cuts[p]);
        packed[p] = pack ? workspace : g->packed;
        if (pack) workspace = (char *)workspace + gemm_packed_bytes(STORAGE_F32, g->K, g->N);
        panel_first[p + 1] = panel_first[p] + (pack ? gemm_panels(g->N) : 0);
        task_first[p + 1] = task_first[p] + cuts[p].tasks;
    }
    if (panel_first[n] > 0)
#pragma omp parallel for schedule(static)
        for (size_t piece = 0; piece < panel_first[n]; piece++) {
            const size_t p = tasks_find(panel_first, n, piece), j = piece - panel_first[p];
            const struct gemm *g = &problems[p];
            gemm_pack_panel((void *)packed[p], STORAGE_F32, g->B, g->K, g->N, j);
        }
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t piece = 0; piece < task_first[n]; piece++) {
        const size_t p = tasks_find(task_first, n, piece), task = piece - task_first[p];
        const struct gemm *g = &problems[p];
        const size_t i = task / cuts[p].across * cuts[p].rows, j = task % cuts[p].across * cuts[p].cols;
        block_multiply(g, packed[p], (struct range){i, min_size(i + cuts[p].rows, g->M)},
                       (struct range){j, min_size(j + cuts[p].cols, g->N)});
    }
}
