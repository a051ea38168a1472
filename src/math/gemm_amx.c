/* The tile engine: bf16 products on the matrix tiles of AMX, where gemm_use_tiles finds them.
 *
 * A tile register holds 16 rows of 64 bytes: 16 x 16 numbers of C, or 16 rows of A by 32 steps of k, or 16 pairs of
 * steps by 16 columns of B, which is how a panel lies. One instruction multiplies two of them into a third, 16384
 * operations in 16 cycles. So C is computed in blocks of 2 x 2 tiles: each step loads two tiles of A and two of B for
 * four such instructions. A is packed in tiles, rounded, by the task that uses it. A core does all of that faster than
 * memory brings A and takes C, hence what is fetched ahead. Which blocks, and when, is gemm.c's. */
#include "gemm_parts.h"

#if defined(__x86_64__) && VEC_BYTES >= 32 && !defined(REAL_DOUBLE)

#include <cpuid.h>
#include <immintrin.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TILES __attribute__((target("amx-tile,amx-bf16")))

enum {
    TILE = 16,                  /* rows of a tile, and columns of one of B or C */
    TILE_WORDS = 16 * TILE,     /* pairs of bf16, or numbers of C */
    STEP_WORDS = BF16_DEPTH / 2, /* of a row of A */
    PANEL_TILES = COLS / TILE,   /* 1 or 2 */
    ROW_BYTES = 64,              /* of any tile */
    PANEL_ROW = COLS * sizeof(real), /* bytes from pair to pair of a panel, and from tile to tile */
    STEP_BYTES = TILE * PANEL_ROW,
};

/* ---- Whether there are any ---------------------------------------------------------------------- */

enum { UNKNOWN, ABSENT, PRESENT, REFUSED };

/* The processor has them, and the system lets this process use their registers, which it only saves when asked. */
static bool tiles_ask(void) {
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    const unsigned amx_bf16 = 1u << 22, amx_tile = 1u << 24;
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
    if (!(edx & amx_bf16) || !(edx & amx_tile)) return false;
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

/* What was found out, once, since asking takes microseconds; any thread may be the first. */
static atomic_int found = UNKNOWN;

bool gemm_use_tiles(bool wanted) {
    const bool present = tiles_ask();
    atomic_store(&found, !present ? ABSENT : wanted ? PRESENT : REFUSED);
    return present;
}

bool tiles_wanted(void) {
    if (atomic_load_explicit(&found, memory_order_relaxed) == UNKNOWN) gemm_use_tiles(true);
    return atomic_load_explicit(&found, memory_order_relaxed) == PRESENT;
}

/* ---- Registers ---------------------------------------------------------------------------------- */

/* All eight tiles are whole ones: what is smaller is padded with zeros. */
static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} configuration = {
    1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16},
};

TILES void tiles_begin(void) { _tile_loadconfig(&configuration); }
TILES void tiles_end(void) { _tile_release(); }

/* ---- Packing A ---------------------------------------------------------------------------------- */

/* One row's steps, each 32 to a row of a tile: numbers `stride` apart, rounded; or contiguous ones that are. */
static void row_pack(uint32_t *to, const real *from, size_t stride, size_t depth) {
    for (size_t k = 0; k < depth; k += BF16_DEPTH, to += TILE_WORDS) {
        real copy[BF16_DEPTH] = {0};
        const real *some = from + k;
        if (stride != 1 || depth - k < BF16_DEPTH) {
            for (size_t s = 0; s < min_size(BF16_DEPTH, depth - k); s++) copy[s] = from[(k + s) * stride];
            some = copy;
        }
        for (int w = 0; w < STEP_WORDS; w += LANES)
            words_store(to + w, words_of_row(words_load(some + 2 * w), words_load(some + 2 * w + LANES)));
    }
}

static void row_copy(uint32_t *to, const bf16 *from, size_t depth) {
    for (size_t k = 0; k < depth; k += BF16_DEPTH, to += TILE_WORDS)
        if (depth - k >= BF16_DEPTH) memcpy(to, from + k, ROW_BYTES);
        else {
            memset(to, 0, ROW_BYTES);
            memcpy(to, from + k, (depth - k) * sizeof *from);
        }
}

static void rows_pack(uint32_t *a, real *sums, const struct gemm *g, struct range block, struct range steps) {
    const size_t rows = block.to - block.from, depth = steps.to - steps.from, stride = g->A.col;
    const size_t strip = blocks_of(depth, BF16_DEPTH) * TILE_WORDS; /* of 16 rows */
    for (size_t i = 0; i < round_up(rows, TILE); i++) {
        uint32_t *to = a + i / TILE * strip + i % TILE * STEP_WORDS;
        if (i >= rows) {
            for (size_t k = 0; k < depth; k += BF16_DEPTH, to += TILE_WORDS) memset(to, 0, ROW_BYTES);
            continue;
        }
        const void *from = view_numbers(g->A, view_row(g->A, g->A.row, block.from + i), steps.from * stride);
        if (g->A.bf16) row_copy(to, from, depth);
        else row_pack(to, from, stride, depth);
        for (size_t k = 0; sums && k < depth; k++) {
            real room;
            sums[i] += *view_reals(g->A, view_numbers(g->A, from, k * stride), &room, 1);
        }
    }
}

/* LANES rows, contiguous at each of 32 steps, into as many rows of a tile. */
static void square_pack(uint32_t *tile, const real *const from[BF16_DEPTH]) {
    for (int p = 0; p < STEP_WORDS; p += LANES) {
        words w[LANES];
        for (int q = 0; q < LANES; q++)
            w[q] = words_pair(words_load(from[2 * (p + q)]), words_load(from[2 * (p + q) + 1]));
        words_transpose(w);
        for (int r = 0; r < LANES; r++) words_store(tile + r * STEP_WORDS + p, w[r]);
    }
}

/* Where the rows of memory of 32 steps from k0 on begin, as far as there are some. */
static void step_rows(const void *from[BF16_DEPTH], const struct gemm *g, size_t k0, size_t row) {
    for (size_t k = 0; k < BF16_DEPTH; k++)
        from[k] = k0 + k < g->K ? view_numbers(g->A, view_row(g->A, g->A.col, k0 + k), row) : NULL;
}

/* 32 steps of all rows of the block, where A's columns are contiguous. The rows of memory that come `next` are fetched:
 * the hardware does not see their steps. */
static void columns_pack_steps(uint32_t *a, size_t strip, const struct gemm *g, const void *const from[BF16_DEPTH],
                               const void *const next[BF16_DEPTH], size_t rows) {
    for (size_t i = 0; i < round_up(rows, TILE); i += LANES) {
        const size_t some = i < rows ? min_size(LANES, rows - i) : 0;
        const bool whole = some == LANES && from[BF16_DEPTH - 1];
        const real *at[BF16_DEPTH];
        real copy[BF16_DEPTH][LANES];
        if (!whole) memset(copy, 0, sizeof copy);
        for (size_t k = 0; k < BF16_DEPTH; k++) {
            at[k] = from[k] ? view_reals(g->A, view_numbers(g->A, from[k], i), copy[k], some) : copy[k];
            if (!whole && at[k] != copy[k]) at[k] = memcpy(copy[k], at[k], some * sizeof(real));
            if (next[k]) __builtin_prefetch(view_numbers(g->A, next[k], i));
        }
        square_pack(a + i / TILE * strip + i % TILE * STEP_WORDS, at);
    }
}

static void columns_pack(uint32_t *a, real *sums, const struct gemm *g, struct range block, struct range steps) {
    const size_t rows = block.to - block.from, strip = blocks_of(steps.to - steps.from, BF16_DEPTH) * TILE_WORDS;
    const void *from[BF16_DEPTH], *next[BF16_DEPTH];
    real room[rows];
    step_rows(next, g, steps.from, block.from);
    for (size_t k0 = steps.from; k0 < steps.to; k0 += BF16_DEPTH, a += TILE_WORDS) {
        memcpy(from, next, sizeof from);
        step_rows(next, g, k0 + BF16_DEPTH, block.from);
        columns_pack_steps(a, strip, g, from, next, rows);
        for (size_t k = 0; sums && k < BF16_DEPTH && from[k]; k++)
            row_add_scaled(sums, 1, view_reals(g->A, from[k], room, rows), rows);
    }
}

/* Whether tiles can be read where the rows are: bf16, whole, and not all in the same few places of the first cache. */
static bool rows_are_tiles(const struct gemm *g, size_t rows, size_t depth) {
    enum { CACHE_PERIOD = 2048 };
    return g->A.bf16 && g->A.col == 1 && !g->A.pick && rows % TILE == 0 && depth % BF16_DEPTH == 0 &&
           g->A.row * sizeof(bf16) % CACHE_PERIOD != 0;
}

struct rows_lie tiles_pack_rows(uint32_t *a, real *sums, const struct gemm *g, struct range block, struct range steps) {
    const size_t depth = steps.to - steps.from, row = g->A.row * sizeof(bf16);
    if (!sums && rows_are_tiles(g, block.to - block.from, depth))
        return (struct rows_lie){view_numbers(g->A, view_row(g->A, g->A.row, block.from), steps.from), row, ROW_BYTES,
                                 TILE * row};
    if (by_columns(g)) columns_pack(a, sums, g, block, steps);
    else rows_pack(a, sums, g, block, steps);
    const size_t tile = TILE_WORDS * sizeof *a;
    return (struct rows_lie){(const char *)a, ROW_BYTES, tile, blocks_of(depth, BF16_DEPTH) * tile};
}

/* ---- Blocks of C -------------------------------------------------------------------------------- */

/* The tiles of B for one step: where the left one begins, and how many bytes behind it the right one. */
struct step {
    const char *left;
    size_t right;
};

/* What memory is fetched while a block is computed, some at each step, so that it is near when it is wanted: the lines
 * of C, and these rows of A, which are packed next, at the same steps. */
struct ahead {
    const real *c;
    const char *const *rows;
    size_t n, step; /* bytes of a step of a row */
};

/* What a block of up to 2 x 2 tiles is made of. Rows lie so many bytes apart. */
struct block {
    size_t steps;        /* tiles along k */
    struct rows_lie a;
    struct step b, last; /* the first, and the last, which may be a copy */
    const real *start;   /* or NULL for zeros */
    size_t start_row;
    real *c;
    size_t c_row;
    struct ahead ahead;
    size_t ldc;
};

static inline const real *rows_below(const real *p, size_t row) { return p + TILE * (row / sizeof(real)); }

/* Step s of the fetching. */
static inline __attribute__((always_inline)) void fetch(const struct block *t, size_t s, size_t c_rows) {
    const struct ahead *f = &t->ahead;
    for (size_t r = s * c_rows; r < min_size((s + 1) * c_rows, 2 * TILE); r++) {
        __builtin_prefetch(f->c + r * t->ldc, 1);
        __builtin_prefetch(f->c + r * t->ldc + TILE, 1);
    }
    for (size_t r = 0; r < f->n; r++) {
        __builtin_prefetch(f->rows[r] + s * f->step, 0, 2);
        if (f->step > ROW_BYTES) __builtin_prefetch(f->rows[r] + s * f->step + ROW_BYTES, 0, 2);
    }
}

/* down and across, tiles of the block, are compile-time constants. */
static inline __attribute__((always_inline)) TILES void block_run(const struct block *t, const int down,
                                                                  const int across) {
    const real *start = t->start, *start_below = start ? rows_below(start, t->start_row) : NULL;
    real *c = t->c, *c_below = t->c + TILE * (t->c_row / sizeof(real));
    const char *a = t->a.data;
    const size_t c_rows = blocks_of(2 * TILE, t->steps ? t->steps : 1);
    if (!start) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    if (start) _tile_loadd(0, start, t->start_row);
    if (start && across > 1) _tile_loadd(1, start + TILE, t->start_row);
    if (start && down > 1) _tile_loadd(2, start_below, t->start_row);
    if (start && down > 1 && across > 1) _tile_loadd(3, start_below + TILE, t->start_row);
    for (size_t s = 0; s < t->steps; s++, a += t->a.step) {
        const struct step b = s + 1 < t->steps ? (struct step){t->b.left + s * STEP_BYTES, t->b.right} : t->last;
        fetch(t, s, c_rows);
        _tile_stream_loadd(6, b.left, PANEL_ROW); /* B passes by; A's strip is to stay in the first cache */
        _tile_loadd(4, a, t->a.row);
        _tile_dpbf16ps(0, 4, 6);
        if (across > 1) _tile_stream_loadd(7, b.left + b.right, PANEL_ROW);
        if (across > 1) _tile_dpbf16ps(1, 4, 7);
        if (down > 1) _tile_loadd(5, a + t->a.strip, t->a.row);
        if (down > 1) _tile_dpbf16ps(2, 5, 6);
        if (down > 1 && across > 1) _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, t->c_row);
    if (across > 1) _tile_stored(1, c + TILE, t->c_row);
    if (down > 1) _tile_stored(2, c_below, t->c_row);
    if (down > 1 && across > 1) _tile_stored(3, c_below + TILE, t->c_row);
}

/* What was written before must be in memory, and what is read after comes from there: the compiler does not see what
 * tiles read. */
static TILES void block_dispatch(const struct block *t, bool down, bool across) {
    __asm__ volatile("" ::: "memory");
    if (down && across) block_run(t, 2, 2);
    else if (down) block_run(t, 2, 1);
    else if (across) block_run(t, 1, 2);
    else block_run(t, 1, 1);
    __asm__ volatile("" ::: "memory");
}

/* The rows x cols numbers of C at c, from bias + start: through a copy where they are not whole tiles. */
static void block_place(struct block *t, const real *bias, real *c, size_t ldc, size_t rows, size_t cols) {
    enum { WIDTH = 2 * TILE };
    const real *start = t->start;
    const bool whole = rows % TILE == 0 && cols % TILE == 0;
    real copy[WIDTH * WIDTH] __attribute__((aligned(64))), bias_copy[WIDTH] = {0};
    t->start_row = ldc * sizeof(real);
    if (bias && !start) { /* one row for all */
        memcpy(bias_copy, bias, cols * sizeof(real));
        t->start = bias_copy;
        t->start_row = 0;
    } else if (start && (bias || !whole || t->steps == 0)) {
        memset(copy, 0, sizeof copy);
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < cols; j++) copy[i * WIDTH + j] = (bias ? bias[j] : 0) + start[i * ldc + j];
        t->start = copy;
        t->start_row = WIDTH * sizeof(real);
    }
    t->c = whole ? c : copy;
    t->c_row = whole ? ldc * sizeof(real) : WIDTH * sizeof(real);
    block_dispatch(t, rows > TILE, cols > TILE);
    for (size_t i = 0; !whole && i < rows; i++) memcpy(c + i * ldc, copy + i * WIDTH, cols * sizeof(real));
}

/* A step of which only the first `depth` count, with zeros in place of the others, which may hold anything. */
static struct step step_copy(uint32_t copy[2 * TILE_WORDS], struct step b, size_t depth, size_t tiles) {
    for (size_t t = 0; t < tiles; t++)
        for (size_t p = 0; p < TILE; p++) {
            uint32_t *to = copy + p * COLS + t * (PANEL_TILES == 1 ? TILE_WORDS : TILE);
            if (2 * p < depth) memcpy(to, b.left + t * b.right + p * PANEL_ROW, ROW_BYTES);
            else memset(to, 0, ROW_BYTES);
            for (size_t j = 0; 2 * p + 1 == depth && j < TILE; j++) to[j] &= 0xffff;
        }
    return (struct step){(const char *)copy, PANEL_TILES == 1 ? TILE_WORDS * sizeof *copy : ROW_BYTES};
}

/* The rows of A that are packed after these, where they are contiguous; returns how many. */
static size_t rows_next(const char *next[2 * TILE], const struct gemm *g, struct range rows, size_t k0) {
    const size_t n = by_columns(g) || g->A.col != 1 ? 0 : min_size(2 * TILE, g->M - rows.to);
    for (size_t r = 0; r < n; r++) next[r] = view_numbers(g->A, view_row(g->A, g->A.row, rows.to + r), k0);
    return n;
}

void tiles_multiply(const struct gemm *g, struct rows_lie a, const struct panels *B, struct range rows,
                    struct range cols, struct range steps) {
    const size_t depth = steps.to - steps.from, tiles = blocks_of(depth, BF16_DEPTH);
    const real *start = steps.from > 0 ? g->C : g->start, *bias = steps.from > 0 ? NULL : g->bias;
    const char *next[2 * TILE];
    const bool cut = depth % BF16_DEPTH != 0 && g->packed && g->packed_K > g->K;
    const size_t n = rows_next(next, g, rows, steps.from);
    const size_t share = blocks_of(n, blocks_of(cols.to - cols.from, 2 * TILE)); /* of them, a block's */
    uint32_t copy[2 * TILE_WORDS] __attribute__((aligned(64)));
    for (size_t i = rows.from; i < rows.to; i += 2 * TILE, a.data += 2 * a.strip)
        for (size_t j = cols.from, fetched = 0; j < cols.to; j += 2 * TILE, fetched += share) {
            const size_t ij = i * g->ldc + j, width = min_size(2 * TILE, cols.to - j);
            struct block t = {.steps = tiles, .a = a, .ldc = g->ldc, .start = start ? start + ij : NULL};
            t.b = (struct step){B->data + (j - cols.from) / COLS * B->bytes, PANEL_TILES == 1 ? B->bytes : ROW_BYTES};
            t.last = (struct step){t.b.left + (tiles ? tiles - 1 : 0) * STEP_BYTES, t.b.right};
            if (cut) t.last = step_copy(copy, t.last, depth % BF16_DEPTH, blocks_of(width, TILE));
            t.ahead = (struct ahead){g->C + ij + (start ? 2 * TILE : 0), next + min_size(fetched, n),
                                     min_size(share, n - min_size(fetched, n)), BF16_DEPTH * kept_bytes(g->A.bf16)};
            block_place(&t, bias ? bias + j : NULL, g->C + ij, g->ldc, min_size(2 * TILE, rows.to - i), width);
        }
}

#else

bool gemm_use_tiles(bool wanted) { return (void)wanted, false; }
bool tiles_wanted(void) { return false; }
void tiles_begin(void) {}
void tiles_end(void) {}
struct rows_lie tiles_pack_rows(uint32_t *a, real *sums, const struct gemm *g, struct range block, struct range steps) {
    return (void)a, (void)sums, (void)g, (void)block, (void)steps, (struct rows_lie){0};
}
void tiles_multiply(const struct gemm *g, struct rows_lie a, const struct panels *B, struct range rows,
                    struct range cols, struct range steps) {
    (void)g, (void)a, (void)B, (void)rows, (void)cols, (void)steps;
}

#endif
