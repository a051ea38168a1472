/* How the product is fast, from the inside out:
 *
 * 1. A tile of ROWS x COLS elements of C is held in registers while k runs (tile_multiply). Each step loads
 *    two vectors of B and ROWS scalars of A, and does 2 ROWS fused multiply-adds.
 * 2. B is packed into panels COLS wide, so that a step reads it from one contiguous stream; A is packed a
 *    block at a time, small enough for the L2 cache, by the thread that uses it.
 * 3. Blocks of rows (and of columns, where rows are few) of all problems are dealt out to the threads.
 *
 * Products in bf16 go the same way: on the matrix tiles of gemm_amx.c where there are some, else on vectors
 * (chains_multiply). Written in GCC vector extensions; the width comes from real.h. Only the packing (gemm_panels.c)
 * and panel_step know how the numbers of a packed B are stored. */
#include "gemm_parts.h"

#include <omp.h>
#include "../base/tasks.h"

enum {
    ROWS = VEC_BYTES == 64 ? 12 : 6, /* 24 accumulators of 32 registers, or 12 of 16 */
    WIDE = 4,                        /* panels that a single row takes at once: as many chains as hide latency */
    CHAINED_ROWS = ROWS / 2,         /* in bf16, which takes two accumulators for each number */
    BLOCK_ROWS = 8 * ROWS,
    BLOCK_DEPTH = 512,
    BLOCK_NUMBERS = BLOCK_ROWS * BLOCK_DEPTH, /* of A: a part of the L2 cache */
    TALL_ROWS = 44 * ROWS,  /* of a block that is transposed: A's memory is read along its rows, whole if it can be */
    OWN_NUMBERS = 1 << 15,  /* of B, where a task packs it for itself */
    BF16_ROWS = GEMM_TILES_ROWS, /* in bf16: two tiles, */
    BF16_BLOCK_ROWS = 8 * BF16_ROWS,
    BF16_WIDE_ROWS = 3 * BF16_ROWS, /* of a block where it is B's numbers that are many (is_wide) */
    BF16_PART_BYTES = 5 << 17, /* of B: a part of the L2 cache of a machine with tiles */
    TILES_NUMBERS = BF16_BLOCK_ROWS * BLOCK_DEPTH, /* and what a block of A has of them */
};
_Static_assert(GEMM_TILE_ROWS % ROWS == 0, "who cuts rows by it cuts no tile");

/* A packed block of A is a sequence of row panels; a panel of m rows is a sequence of slabs, each LANES
 * steps of k. A slab is copied the way A lies in memory, so that packing is vector copies either way. */
enum slab_order {
    ROW_MAJOR, /* A's rows are contiguous: slab[row][k], LANES steps of k a row */
    K_MAJOR,   /* A's columns are contiguous: slab[k][row] */
};

static enum slab_order order_of(const struct gemm *g) { return by_columns(g) ? K_MAJOR : ROW_MAJOR; }

static bool is_rounded(const struct gemm *g) { return g->operands == OPERANDS_BF16; }
/* And summed as tiles do. In double (tests) the order is that of all. */
#ifdef REAL_DOUBLE
static bool in_bf16(const struct gemm *g) { return (void)g, false; }
#else
static bool in_bf16(const struct gemm *g) { return is_rounded(g); }
#endif
enum storage gemm_storage(enum operands operands) { return operands == OPERANDS_BF16 ? STORAGE_BF16 : STORAGE_F32; }

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
    bool chains;           /* in the order of a bf16 product */
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

/* The same in bf16, in the order that gemm.h describes: even and odd steps have an accumulator each, and c goes through
 * memory. Of the tile's `all` rows, form.m from `from` on. */
static inline __attribute__((always_inline)) void chains_multiply(const struct tile *t, size_t from, size_t all,
                                                                  const struct form form) {
    const int m = form.m;
    const size_t row_step = form.order == ROW_MAJOR ? LANES : 1, k_step = form.order == ROW_MAJOR ? 1 : all;
    const char *b = t->b;
    for (int i = 0; i < m; i++)
        for (int v = 0; v < 2; v++) {
            const size_t at = (from + i) * t->ldc + v * LANES;
            vec c = t->bias ? vec_load(t->bias + v * LANES) : (vec){0};
            if (t->start) c += vec_load(t->start + at);
            vec_store(t->c + at, c);
        }
    for (size_t k0 = 0; k0 < t->depth; k0 += BF16_DEPTH) {
        vec sums[2][CHAINED_ROWS][2] = {{{{0}}}};
        for (size_t k = k0; k < k0 + BF16_DEPTH && k < t->depth; k += 2, b += COLS * sizeof(real)) {
            const real *a = t->a + k / LANES * LANES * all + from * row_step + k % LANES * k_step;
#pragma GCC unroll 2
            for (int step = 0; step < 2; step++) {
                if (k + step == t->depth) break;
                vec b_k[2];
                for (int v = 0; v < 2; v++) b_k[v] = panel_step(((const vec *)b)[v], STORAGE_BF16, step, (vec){0});
#pragma GCC unroll 16
                for (int i = 0; i < m; i++)
                    for (int v = 0; v < 2; v++) sums[step][i][v] += a[i * row_step + step * k_step] * b_k[v];
            }
        }
        for (int i = 0; i < m; i++)
            for (int v = 0; v < 2; v++) {
                real *c = t->c + (from + i) * t->ldc + v * LANES;
                vec_store(c, vec_load(c) + (sums[0][i][v] + sums[1][i][v]));
            }
    }
}

static void chains_run(const struct tile *t, size_t all, enum slab_order order) {
    for (size_t from = 0, m; from < all; from += m) {
        m = min_size(CHAINED_ROWS, all - from);
#define CASE(rows)                                                                                       \
    case rows:                                                                                           \
        if (rows > CHAINED_ROWS) break;                                                                  \
        if (order == K_MAJOR) chains_multiply(t, from, all, (struct form){rows, 1, K_MAJOR, STORAGE_BF16}); \
        else chains_multiply(t, from, all, (struct form){rows, 1, ROW_MAJOR, STORAGE_BF16});             \
        break;
        switch (m) {
            CASE(6) CASE(5) CASE(4) CASE(3) CASE(2) CASE(1)
        }
#undef CASE
    }
}

/* Instantiates tile_multiply for what is only known at run time. */
static void tile_run(const struct tile *t, int m, enum slab_order order, enum storage storage) {
    if (t->chains) {
        chains_run(t, (size_t)m, order);
        return;
    }
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

/* How a block's rows are chosen: whole tiles, so many at most, and so many where A's columns are contiguous. The
 * two engines of bf16 cut alike. */
static size_t rows_step(const struct gemm *g) { return in_bf16(g) ? BF16_ROWS : ROWS; }
static size_t rows_most(const struct gemm *g) { return in_bf16(g) ? BF16_BLOCK_ROWS : BLOCK_ROWS; }
static size_t rows_tall(const struct gemm *g) { return in_bf16(g) ? TALL_ROWS / BF16_ROWS * BF16_ROWS : TALL_ROWS; }

#ifdef REAL_DOUBLE
static void round_rows(real *a, size_t n) {
    for (size_t i = 0; i < n; i++) a[i] = bf16_of(a[i]);
}
#else
/* To bf16, as it is in the vector engine: floats whose lower halves are zero. */
static void round_rows(real *a, size_t n) {
    for (size_t i = 0; i < n; i += LANES) words_store((uint32_t *)a + i, words_round(words_load(a + i)) & 0xffff0000);
}
#endif

/* Packs these rows of A at these steps, rounded if it is in bf16; the panel that begins at row i of the block is at
 * a + i * slabs. sums[i], unless NULL, goes on with row i's sum. */
static void pack_rows(real *a, real *sums, const struct gemm *g, struct range block, struct range steps, size_t slabs) {
    const size_t row0 = block.from, rows = block.to - block.from, k0 = steps.from, depth = steps.to - steps.from;
    real room[TALL_ROWS > BLOCK_DEPTH ? TALL_ROWS : BLOCK_DEPTH];
    if (order_of(g) == K_MAJOR) { /* k outside: A is read along its rows of memory, and only once */
        for (size_t k = 0; k < depth; k++) {
            const void *numbers = view_numbers(g->A, view_row(g->A, g->A.col, k0 + k), row0);
            if (k0 + k + AHEAD < g->K) { /* the hardware does not see steps of a row of memory coming */
                const void *soon = view_row(g->A, g->A.col, k0 + k + AHEAD);
                for (size_t i = 0; i < rows; i += 64 / kept_bytes(g->A.bf16))
                    __builtin_prefetch(view_numbers(g->A, soon, row0 + i));
            }
            const real *from = view_reals(g->A, numbers, room, rows);
            size_t i = 0;
            for (; rows - i >= 2 * ROWS; i += ROWS) memcpy(a + i * slabs + k * ROWS, from + i, ROWS * sizeof(real));
            for (size_t m; i < rows; i += m) {
                m = tile_rows(rows - i);
                for (size_t r = 0; r < m; r++) a[i * slabs + k * m + r] = from[i + r];
            }
            if (sums) row_add_scaled(sums, 1, from, rows);
        }
        if (is_rounded(g)) round_rows(a, rows * slabs);
        return;
    }
    for (size_t top = 0, m; top < rows; top += m) {
        m = tile_rows(rows - top);
        for (size_t r = 0; r < m; r++) {
            real *to = a + top * slabs + r * LANES; /* slab q at to + q * m * LANES */
            const void *numbers = view_numbers(g->A, view_row(g->A, g->A.row, row0 + top + r), k0 * g->A.col);
            const real *from = view_reals(g->A, numbers, room, depth);
            size_t k = 0;
            if (g->A.col == 1)
                for (; k + LANES <= depth; k += LANES) vec_store(to + k * m, vec_load(from + k));
            for (; k < depth; k++) to[k / LANES * LANES * m + k % LANES] = from[k * g->A.col];
            for (k = 0; sums && k < depth; k++) sums[top + r] += from[k * g->A.col];
        }
    }
    if (is_rounded(g)) round_rows(a, rows * slabs);
}

/* These steps of C's rows by cols, A packed as pack_rows does. */
static void panels_multiply(const struct gemm *g, const real *a, size_t slabs, const struct panels *B,
                            struct range rows, struct range cols, struct range steps) {
    const enum slab_order order = order_of(g);
    const real *start = steps.from > 0 ? g->C : g->start, *bias = steps.from > 0 ? NULL : g->bias;
    const bool single = rows.to - rows.from == 1 && !in_bf16(g);
    for (size_t j = cols.from, step; j < cols.to; j += step) {
        const size_t p = (j - cols.from) / COLS * B->bytes;
        step = single && cols.to - j >= WIDE * COLS ? WIDE * COLS : COLS;
        for (size_t i = 0, m; i < rows.to - rows.from; i += m) {
            m = tile_rows(rows.to - rows.from - i);
            const size_t ij = (rows.from + i) * g->ldc + j;
            const struct tile t = {
                steps.to - steps.from, a + i * slabs, B->data + p, (const real *)(B->scales + p), B->bytes,
                bias ? bias + j : NULL, start ? start + ij : NULL, g->C + ij, g->ldc, in_bf16(g),
            };
            if (step > COLS) tile_run_wide(&t, g->storage);
            else if (cols.to - j >= COLS) tile_run(&t, (int)m, order, g->storage);
            else tile_run_narrow(&t, (int)m, order, g->storage, cols.to - j);
        }
    }
}

/* A packed block of A: of the vector engine, or of tiles. */
union packed_rows {
    real numbers[BLOCK_NUMBERS];
    uint32_t words[TILES_NUMBERS / 2];
};

/* How many steps of so many rows fit. */
static size_t depth_fitting(const struct gemm *g, size_t rows, bool tiles) {
    const size_t step = in_bf16(g) ? BF16_DEPTH : LANES, most = tiles ? TILES_NUMBERS : BLOCK_NUMBERS;
    return min_size(BLOCK_DEPTH, most / round_up(rows, rows_step(g)) / step * step);
}

/* B as it is stored where the caller did not pack it. */
static enum storage storage_of(const struct gemm *g) { return is_rounded(g) ? STORAGE_BF16 : g->storage; }

/* Packs columns `cols` of B at these steps. */
static struct panels pack_own(real *to, const struct gemm *g, struct range cols, struct range steps) {
    const struct view B = view_from(g->B, steps.from);
    const size_t depth = steps.to - steps.from, bytes = panel_bytes(storage_of(g), depth);
    for (size_t j = cols.from; j < cols.to; j += COLS) {
        char *const panel = (char *)to + (j - cols.from) / COLS * bytes;
        panel_pack(panel, storage_of(g), B, depth, j, min_size(COLS, cols.to - j));
    }
    return (struct panels){(const char *)to, NULL, bytes};
}

/* Of a B that is packed as a whole, the panels from these columns on, at these steps. */
static struct panels panels_at(const struct gemm *g, const void *packed, size_t col, size_t k0) {
    const enum storage storage = storage_of(g);
    const size_t bytes = panel_bytes(storage, g->packed_K ? g->packed_K : g->K);
    const char *first = (const char *)packed + col / COLS * bytes;
    return (struct panels){first + panel_header(storage) + steps_bytes(storage, k0), first, bytes};
}

/* Columns of B that are multiplied before the next are touched: all that is packed, in bf16 no more than the L2 cache
 * holds; or as many as a task packs itself at a time. */
static size_t columns_at_once(const struct gemm *g, const void *packed, size_t depth) {
    const size_t panel = panel_bytes(storage_of(g), depth);
    const size_t most = packed ? BF16_PART_BYTES : OWN_NUMBERS * sizeof(real);
    return (packed && !in_bf16(g)) || panel == 0 ? g->N : most / panel * COLS;
}

/* A block of C, all of K. `packed` is the whole B, or NULL: this task packs what it needs itself. A is packed once; for
 * tiles, which are done with a row before the next can be read, a few rows at a time, the next being on their way. */
static void block_multiply(const struct gemm *g, const void *packed, struct range rows, struct range cols) {
    union packed_rows a __attribute__((aligned(64)));
    real b[OWN_NUMBERS] __attribute__((aligned(64))), row_sums[TALL_ROWS] = {0};
    const bool tiles = in_bf16(g) && tiles_wanted(), strips = tiles && packed && order_of(g) == ROW_MAJOR;
    const size_t all = rows.to - rows.from, strip = strips ? BF16_ROWS : all;
    const size_t block_depth = depth_fitting(g, strip, tiles);
    struct rows_lie lie = {0};
    if (tiles) tiles_begin();
    for (size_t k0 = 0; k0 == 0 || k0 < g->K; k0 += block_depth) {
        const struct range steps = {k0, k0 + min_size(block_depth, g->K - k0)};
        const size_t slabs = round_up(steps.to - k0, LANES), some = columns_at_once(g, packed, steps.to - k0);
        for (size_t j = cols.from; j < cols.to; j += some) {
            const struct range part = {j, min_size(j + some, cols.to)};
            const struct panels B = packed ? panels_at(g, packed, j, k0) : pack_own(b, g, part, steps);
            for (size_t i = 0; i < all; i += strip) {
                const struct range some_rows = {rows.from + i, rows.from + min_size(i + strip, all)};
                real *const sums = g->sums && j == 0 ? row_sums + i : NULL; /* blocks side by side share their rows */
                if (tiles && (strips || j == cols.from)) lie = tiles_pack_rows(a.words, sums, g, some_rows, steps);
                if (!tiles && j == cols.from) pack_rows(a.numbers, sums, g, some_rows, steps, slabs);
                if (tiles) tiles_multiply(g, lie, &B, some_rows, part, steps);
                else panels_multiply(g, a.numbers, slabs, &B, some_rows, part, steps);
            }
        }
    }
    if (tiles) tiles_end();
    if (g->sums && cols.from == 0) row_add_scaled(g->sums + rows.from, 1, row_sums, all);
}

void gemm_serial(const struct gemm *g) {
    const size_t tall = rows_tall(g);
    const size_t block = order_of(g) == K_MAJOR && g->K * tall <= BLOCK_NUMBERS ? tall : rows_most(g);
    for (size_t i = 0; i < g->M; i += block)
        block_multiply(g, g->packed, (struct range){i, min_size(i + block, g->M)}, (struct range){0, g->N});
}

/* ---- Tasks -------------------------------------------------------------------------------------- */

/* How a problem is cut: blocks of rows x cols, the fewest that leave every thread its share of the call's work. */
struct cut {
    size_t rows, cols;   /* of a block */
    size_t across, tasks; /* blocks side by side, and in all */
};

/* The weights' gradient of a large layer whose inputs are more than its outputs, in bf16: what moves most is then B, if
 * every block of few rows reads it again. */
static bool is_wide(const struct gemm *g) {
    return in_bf16(g) && order_of(g) == K_MAJOR && g->M > BF16_WIDE_ROWS && g->N > g->M;
}

static struct cut cut_of(const struct gemm *g, double work) {
    const double share = work / (TASKS_A_THREAD * (double)omp_get_max_threads());
    const double own = (double)g->M * (double)g->N * (double)(g->K + 1);
    const size_t pieces = own > share ? (size_t)(own / share) : 1;
    const size_t wanted = is_wide(g) ? blocks_of(pieces, TASKS_A_THREAD) : pieces; /* each of those packs A again */
    const size_t most = rows_most(g), tall = rows_tall(g);
    struct cut cut = {.rows = most, .across = 1};
    if (g->M == 0 || g->N == 0) return cut;
    const size_t rows = g->M / wanted, limit = order_of(g) == K_MAJOR ? tall : most;
    if (is_wide(g)) cut.rows = BF16_WIDE_ROWS;
    else if (in_bf16(g)) /* few rows cost nothing, and rows that are packed by several do */
        cut.rows = rows < BF16_ROWS ? BF16_ROWS : rows < limit ? rows : limit;
    else if (order_of(g) == K_MAJOR) /* A is read along its memory's rows: as tall as can be */
        cut.rows = rows < most ? most : rows < tall ? rows : tall;
    const size_t down = blocks_of(g->M, cut.rows);
    cut.rows = round_up(blocks_of(g->M, down), rows_step(g)); /* equal ones */
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

/* B is packed for everybody if several tasks need it; */
static bool packs_shared(const struct gemm *g, struct cut cut) { return !g->packed && g->M > cut.rows; }
/* but where a few need a part each, they do so themselves, into their caches. (There is room for it in work memory all
 * the same: with fewer rows, as when experts share them, it may be for everybody.) */
static bool packs_apart(const struct gemm *g, struct cut cut) { return is_wide(g) && cut.across > 1; }

size_t gemm_workspace_bytes(const struct gemm *problems, size_t n) {
    const double work = work_of(problems, n);
    size_t bytes = 0;
    for (size_t p = 0; p < n; p++)
        if (packs_shared(&problems[p], cut_of(&problems[p], work)))
            bytes += gemm_packed_bytes(gemm_storage(problems[p].operands), problems[p].K, problems[p].N);
    return bytes;
}

/* A call as it is dealt out: pieces of packing, then of multiplying, numbered through all its problems. */
struct call {
    const struct gemm *problems;
    size_t n;
    struct cut *cuts;
    const void **packed;
    size_t *panel_first, *task_first; /* (n + 1) */
};

static void piece_pack(const struct call *c, size_t piece) {
    const size_t p = tasks_find(c->panel_first, c->n, piece);
    const struct gemm *g = &c->problems[p];
    gemm_pack_panel((void *)c->packed[p], gemm_storage(g->operands), g->B, g->K, g->N, piece - c->panel_first[p]);
}

static void piece_multiply(const struct call *c, size_t piece) {
    const size_t p = tasks_find(c->task_first, c->n, piece), task = piece - c->task_first[p];
    const struct gemm *g = &c->problems[p];
    const struct cut cut = c->cuts[p];
    const size_t i = task / cut.across * cut.rows, j = task % cut.across * cut.cols;
    block_multiply(g, c->packed[p], (struct range){i, min_size(i + cut.rows, g->M)},
                   (struct range){j, min_size(j + cut.cols, g->N)});
}

void gemm_run(const struct gemm *problems, size_t n, void *workspace) {
    size_t panel_first[n + 1], task_first[n + 1], rows = 0;
    struct cut cuts[n];
    const void *packed[n];
    const struct call call = {problems, n, cuts, packed, panel_first, task_first};
    const double work = work_of(problems, n);
    panel_first[0] = task_first[0] = 0;
    for (size_t p = 0; p < n; p++) {
        const struct gemm *g = &problems[p];
        cuts[p] = cut_of(g, work);
        const bool pack = packs_shared(g, cuts[p]) && !packs_apart(g, cuts[p]);
        packed[p] = pack ? workspace : g->packed;
        if (pack) workspace = (char *)workspace + gemm_packed_bytes(gemm_storage(g->operands), g->K, g->N);
        panel_first[p + 1] = panel_first[p] + (pack ? gemm_panels(g->N) : 0);
        task_first[p + 1] = task_first[p] + cuts[p].tasks;
        rows += g->M;
    }
    if (panel_first[n] > 0)
#pragma omp parallel for schedule(static)
        for (size_t piece = 0; piece < panel_first[n]; piece++) piece_pack(&call, piece);
    if (rows <= FEW_ROWS) /* decoding: token after token a thread reads the same weights, out of its own cache */
#pragma omp parallel for schedule(static)
        for (size_t piece = 0; piece < task_first[n]; piece++) piece_multiply(&call, piece);
    else
#pragma omp parallel for schedule(dynamic, 1)
        for (size_t piece = 0; piece < task_first[n]; piece++) piece_multiply(&call, piece);
}
