/* What the parts of the product share: how a packed B is laid out, and how numbers become bf16.
 *
 * gemm.c cuts the work and holds the vector engine, gemm_panels.c packs B, gemm_amx.c is the tile engine. */
#ifndef GEMM_PARTS_H
#define GEMM_PARTS_H

#include <string.h>
#include "gemm.h"
#include "vecmath.h"

enum {
    LANES = VEC_LANES,
    COLS = 2 * LANES,     /* of a panel of B */
    AHEAD = 8,            /* rows of memory that are fetched before they are packed */
    BF16_DEPTH = 32,      /* steps whose products are summed before C sees them, in bf16: a tile's (gemm.h) */
};

struct range {
    size_t from, to;
};

static inline size_t min_size(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t blocks_of(size_t n, size_t block) { return (n + block - 1) / block; }
static inline size_t round_up(size_t n, size_t step) { return blocks_of(n, step) * step; }

/* Where row r of memory begins (a row of the matrix, or a column), and its numbers from i on. */
static inline const void *view_row(struct view v, size_t stride, size_t r) {
    return (const char *)v.data + (v.pick ? (size_t)v.pick[r] : r) * stride * kept_bytes(v.bf16);
}
static inline const void *view_numbers(struct view v, const void *row, size_t i) {
    return (const char *)row + i * kept_bytes(v.bf16);
}

/* n numbers in a row of memory, as real: where they lie, or in `room`. */
static inline const real *view_reals(struct view v, const void *numbers, real *room, size_t n) {
    return kept_load((struct kept){(void *)numbers, v.bf16}, room, n);
}

/* Of B: its rows from k0 on. */
static inline struct view view_from(struct view v, size_t k0) {
    return (struct view){view_numbers(v, v.data, v.pick ? 0 : k0 * v.row), v.row, v.col, v.pick ? v.pick + k0 : NULL,
                         v.bf16};
}

/* Whether A's columns are what is contiguous. */
static inline bool by_columns(const struct gemm *g) { return g->A.row == 1 && g->A.col != 1; }

/* ---- Panels of B -------------------------------------------------------------------------------- */

/* A panel is K steps of COLS numbers, zeros past the last column. In F32 a step is two vectors. Otherwise a
 * lane of 32 bits holds the numbers of 2 (bf16) or 4 (int8) successive steps, the first lowest, so that a shift
 * unpacks a whole vector; BF16 has zeros up to a whole tile's steps; and in INT8 the columns' scales come first. In
 * double (tests) all is stored as doubles, but for BF16 rounded. */
typedef uint32_t words __attribute__((vector_size(VEC_BYTES)));
typedef uint32_t words_unaligned __attribute__((vector_size(VEC_BYTES), may_alias, aligned(2))); /* as bf16 is */
typedef int32_t int_lanes __attribute__((vector_size(VEC_BYTES)));

#ifdef REAL_DOUBLE
static inline int storage_steps(enum storage storage) { return (void)storage, 1; }
static inline size_t panel_header(enum storage storage) { return (void)storage, 0; }
static inline size_t panel_steps(enum storage storage, size_t K) { return (void)storage, K; }
static inline vec panel_step(vec word, enum storage storage, int step, vec scale) {
    return (void)storage, (void)step, (void)scale, word;
}
#else
static inline int storage_steps(enum storage storage) {
    return storage == STORAGE_F32 ? 1 : storage == STORAGE_BF16 ? 2 : 4;
}
static inline size_t panel_header(enum storage storage) {
    return storage == STORAGE_INT8 ? COLS * sizeof(real) : 0;
}
static inline size_t panel_steps(enum storage storage, size_t K) {
    return storage == STORAGE_BF16 ? round_up(K, BF16_DEPTH) : K;
}
/* The numbers of one step of a word. */
static inline vec panel_step(vec word, enum storage storage, int step, vec scale) {
    if (storage == STORAGE_F32) return word;
    if (storage == STORAGE_BF16) /* the upper half of a float */
        return (vec)(step == 0 ? (words)word << 16 : (words)word & 0xffff0000);
    return __builtin_convertvector((int_lanes)((words)word << (24 - 8 * step)) >> 24, vec) * scale;
}
#endif

/* Bytes of `steps` steps, and of a panel. */
static inline size_t steps_bytes(enum storage storage, size_t steps) {
    return blocks_of(steps, (size_t)storage_steps(storage)) * COLS * sizeof(real);
}
static inline size_t panel_bytes(enum storage storage, size_t K) {
    return panel_header(storage) + steps_bytes(storage, panel_steps(storage, K));
}

/* Packs columns from..from+cols of B's K rows as one panel. */
void panel_pack(void *panel, enum storage storage, struct view B, size_t K, size_t from, size_t cols);

/* B's packed panels, from the first that is wanted, at the first step that is. */
struct panels {
    const char *data, *scales; /* INT8's scales: in front of each panel's first step */
    size_t bytes;              /* from panel to panel */
};

#ifndef REAL_DOUBLE
/* ---- bf16 --------------------------------------------------------------------------------------- */

static inline words words_load(const void *p) { return (words) * (const words_unaligned *)p; }
static inline void words_store(uint32_t *p, words x) { *(words_unaligned *)p = x; }

/* The upper halves become bf16, to the nearest, ties to even; a NaN stays one. The lower halves are of no meaning. */
static inline words words_round(words x) {
    const words rounded = x + 0x7fff + (x >> 16 & 1), is_nan = (words)((x & 0x7fffffff) > 0x7f800000);
    return (is_nan & (x | 0x400000)) | (~is_nan & rounded);
}

/* Two successive steps of each lane in a word, the first lowest. */
static inline words words_pair(words first, words second) {
    return words_round(first) >> 16 | (words_round(second) & 0xffff0000);
}

/* The same of numbers that are bf16, of LANES rows of memory each. */
typedef uint16_t halves __attribute__((vector_size(VEC_BYTES / 2), may_alias, aligned(2)));
static inline words words_pair_halves(const void *first, const void *second) {
    return __builtin_convertvector(*(const halves *)first, words) |
           __builtin_convertvector(*(const halves *)second, words) << 16;
}

/* Lists of lanes, for shuffles: the even and the odd ones of two vectors; and a's lanes whose bit d is clear, each
 * followed d lanes behind by the same one of b; then those whose bit is set. */
#if VEC_BYTES == 64
#define LIST_OF_LANES(F, d) F(0, d), F(1, d), F(2, d), F(3, d), F(4, d), F(5, d), F(6, d), F(7, d), F(8, d), \
                            F(9, d), F(10, d), F(11, d), F(12, d), F(13, d), F(14, d), F(15, d)
#elif VEC_BYTES == 32
#define LIST_OF_LANES(F, d) F(0, d), F(1, d), F(2, d), F(3, d), F(4, d), F(5, d), F(6, d), F(7, d)
#else
#define LIST_OF_LANES(F, d) F(0, d), F(1, d), F(2, d), F(3, d)
#endif
#define LANE_STRIDED(l, first) (2 * (l) + (first))
#define LANE_CLEAR(l, d) ((l) & (d) ? VEC_BYTES / 4 + (l) - (d) : (l))
#define LANE_SET(l, d) ((l) & (d) ? VEC_BYTES / 4 + (l) : (l) + (d))

/* The words of 2 LANES numbers in a row. */
static inline words words_of_row(words a, words b) {
    return words_pair(__builtin_shufflevector(a, b, LIST_OF_LANES(LANE_STRIDED, 0)),
                      __builtin_shufflevector(a, b, LIST_OF_LANES(LANE_STRIDED, 1)));
}

/* LANES vectors as a matrix of words, transposed: blocks of 1, 2, 4 and 8 lanes change places. */
static inline __attribute__((always_inline)) void words_transpose(words w[LANES]) {
#define STAGE(d)                                                                                   \
    if (d < LANES)                                                                                 \
        for (int i = 0; i < LANES; i++) {                                                          \
            if (i & d) continue;                                                                   \
            const words a = w[i], b = w[(i + d) % LANES];                                          \
            w[i] = __builtin_shufflevector(a, b, LIST_OF_LANES(LANE_CLEAR, (d) % (VEC_BYTES / 4))); \
            w[(i + d) % LANES] = __builtin_shufflevector(a, b, LIST_OF_LANES(LANE_SET, (d) % (VEC_BYTES / 4))); \
        }
    STAGE(1)
    STAGE(2)
    STAGE(4)
    STAGE(8)
#undef STAGE
}
#endif

/* ---- The tile engine, gemm_amx.c ---------------------------------------------------------------- */

/* Whether this process may use tiles, and whether gemm_use_tiles left them on. */
bool tiles_wanted(void);

/* A block's tile registers, set up and given back: 90 ns; and the system has to save them only while in use. */
void tiles_begin(void);
void tiles_end(void);

/* Where A's tiles are: bytes from row to row of a tile, from tile to tile along k, and from 16 rows to the next 16. */
struct rows_lie {
    const char *data;
    size_t row, step, strip;
};

/* gemm.c's pack_rows and panels_multiply. A packed block is strips of 16 rows; a strip is tiles, 32 steps each, as many
 * as there are and zeros behind them; a tile is 16 rows of 16 words. Rows of bf16 that can be read where they are
 * are not packed. */
struct rows_lie tiles_pack_rows(uint32_t *a, real *sums, const struct gemm *g, struct range block, struct range steps);
void tiles_multiply(const struct gemm *g, struct rows_lie a, const struct panels *B, struct range rows,
                    struct range cols, struct range steps);

#endif
