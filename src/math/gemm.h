/* Matrix multiplication, the one kernel that decides the program's speed.
 *
 *     C (M,N) = start (M,N) + bias (N) + A (M,K) B (K,N)
 *
 * A call takes many independent problems at once, so that a layer's experts, each with its own number of
 * rows, share the threads as one piece of work; a dense layer is a call with one problem. A and B are
 * strided views, so that the three products of training (forward, d-input, d-weight) are one function.
 *
 * Each element of C is one chain of multiply-adds in the order of k, by one thread, whatever the number of
 * threads, of rows, or of problems beside it: results are the same bits in training and in decoding.
 *
 * With OPERANDS_BF16 both operands are rounded to bf16, to the nearest even, on their way into the pack, and the rest
 * is `real`: of each 32 successive steps (from k = 0, the last padded with zeros) the even ones are a chain from zero,
 * and so are the odd ones; their sum is added to the element. That is what AMX tiles do, so a machine without them
 * computes the same bits on vectors, with these exceptions: tiles take numbers below 2^-126, in operands, chains and C,
 * for zero; and where vectors have no fused multiply-add, a product beyond the range of floats is infinite and one
 * below it loses bits (it is all the same otherwise, since products of two bf16 are exact).
 * How it is fast: see gemm.c and gemm_amx.c. */
#ifndef GEMM_H
#define GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "../base/real.h"
#include "bf16.h"

/* Element (i, j) is data[i * row + j * col]; one of the strides is 1 where speed matters. With `pick`, row
 * i (or column j, where those are what lies contiguous) is row pick[i] of data: a gather on the way into the pack.
 * Numbers are real, or bf16 (see bf16.h) whatever the product's operands are, and then one stride is 1. */
struct view {
    const void *data;
    size_t row, col;
    const int32_t *pick;
    bool bf16;
};

/* Of real, nothing picked. */
static inline struct view view_of(const real *data, size_t row, size_t col) {
    return (struct view){.data = data, .row = row, .col = col};
}

/* Rows of `width` kept numbers. */
static inline struct view kept_view(struct kept k, size_t width) {
    return (struct view){k.data, width, 1, NULL, k.bf16};
}
/* The same, transposed. */
static inline struct view kept_view_turned(struct kept k, size_t width) {
    return (struct view){k.data, 1, width, NULL, k.bf16};
}

/* Who cuts rows by these cuts no tile of C: a multiple of their rows in F32, whatever the target, and two in BF16. */
enum { GEMM_TILE_ROWS = 12, GEMM_TILES_ROWS = 32 };

/* How the numbers of a packed B are stored. Products are in `real` all the same: INT8 has a scale for each
 * column (a row of the weight matrix), the largest magnitude over 127. */
enum storage { STORAGE_F32, STORAGE_BF16, STORAGE_INT8, STORAGES };

/* What the operands of a product are. In double (tests) BF16 rounds them all the same, and the rest is double. */
enum operands { OPERANDS_F32, OPERANDS_BF16 };

struct gemm {
    size_t M, N, K;
    enum operands operands;
    struct view A;
    struct view B;
    const void *packed;   /* B as gemm_pack laid it out, or NULL: packed from B by the call */
    enum storage storage; /* of packed; a BF16 product wants STORAGE_BF16 */
    size_t packed_K;      /* the K it was packed with if that is more than K, else 0 */
    real *C;              /* (M, ldc) */
    size_t ldc;
    const real *bias;     /* (N), or NULL for zeros */
    const real *start;    /* (M, ldc), or NULL for zeros; C itself for C += A B */
    real *sums;           /* (M): each row of A, not rounded, is summed and added, on its way into the pack; or NULL */
};

/* Bytes that B (K,N) takes when packed, and packing of panel j of gemm_panels(N) on the calling thread, so that
 * threads can share the work. Weights are packed once a step and used by every product until the next. */
size_t gemm_packed_bytes(enum storage storage, size_t K, size_t N);
void gemm_pack_panel(void *packed, enum storage storage, struct view B, size_t K, size_t N, size_t j);
size_t gemm_panels(size_t N);

/* Packing of the whole on the calling thread. */
void gemm_pack_stored(void *packed, enum storage storage, struct view B, size_t K, size_t N);

/* How a product of these operands wants its B packed. */
enum storage gemm_storage(enum operands operands);

/* The same in F32: numbers (real) that it takes, and packing of the whole. */
size_t gemm_packed_count(size_t K, size_t N);
void gemm_pack(real *packed, struct view B, size_t K, size_t N);

/* Runs n problems on all threads. `workspace` holds those B's that are not packed and that several threads
 * need: gemm_workspace_bytes. Problems must not write the same C. */
void gemm_run(const struct gemm *problems, size_t n, void *workspace);
size_t gemm_workspace_bytes(const struct gemm *problems, size_t n);

/* Runs one problem on the calling thread, for use inside a parallel loop. */
void gemm_serial(const struct gemm *problem);

/* Products in bf16 use tiles if this machine has some. false: vectors, in this process, until the next call of this;
 * true: tiles again. For tests and measurements, while no product runs. Returns whether there are any. */
bool gemm_use_tiles(bool wanted);

#endif
