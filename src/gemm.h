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
 * How it is fast: see gemm.c. */
#ifndef GEMM_H
#define GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "real.h"

/* Element (i, j) is data[i * row + j * col]. */
struct view {
    const real *data;
    size_t row, col;
};

struct gemm {
    size_t M, N, K;
    struct view A;
    struct view B;
    const real *packed; /* B as gemm_pack laid it out, or NULL: packed from B by the call */
    size_t packed_K;    /* the K it was packed with if that is more than K, else 0 */
    real *C;            /* (M, ldc) */
    size_t ldc;
    const real *bias;   /* (N), or NULL for zeros */
    const real *start;  /* (M, ldc), or NULL for zeros; C itself for C += A B */
};

/* Numbers (real) that B (K,N) takes when packed. */
size_t gemm_packed_count(size_t K, size_t N);

/* Packs B (K,N) on the calling thread: all of it, or panel j of gemm_panels(N), so that threads can share
 * the work. Weights are packed once a step and used by every product until the next. */
void gemm_pack(real *packed, struct view B, size_t K, size_t N);
void gemm_pack_panel(real *packed, struct view B, size_t K, size_t N, size_t j);
size_t gemm_panels(size_t N);

/* Runs n problems on all threads. `workspace` holds the B's that are not packed yet, one after another:
 * the sum of gemm_packed_count over them. Problems must not write the same C. */
void gemm_run(const struct gemm *problems, size_t n, real *workspace);

/* Runs one problem on the calling thread; B must be packed. For use inside a parallel loop. */
void gemm_serial(const struct gemm *problem);

#endif
