/* Causal multi-head attention, forward and backward, as blocked matrix products (attention.c).
 *
 * qkv (B, T, 3C) holds the query, key and value of each position, NH heads of C/NH numbers each.
 * out (B, T, C): out_t = sum over t2 <= t of softmax(q_t . k_t2 / sqrt(C/NH)) v_t2, head by head.
 * Only the log-sum-exp of each softmax row is kept for backward, lse (B, NH, T). */
#ifndef ATTENTION_H
#define ATTENTION_H

#include <stddef.h>
#include "real.h"

/* Numbers of scratch memory, for all threads together. */
size_t attention_scratch_count(size_t T, size_t C, size_t NH);

/* Queries from..T-1 against keys 0..t. out and lse are indexed by query - from when B is 1 and from > 0:
 * out (T - from, C). lse may be NULL. */
void attention_forward(real *out, real *lse, const real *qkv, size_t B, size_t T, size_t from, size_t C,
                       size_t NH, real *scratch);

/* dqkv (B, T, 3C) is overwritten. */
void attention_backward(real *dqkv, const real *dout, const real *qkv, const real *out, const real *lse,
                        size_t B, size_t T, size_t C, size_t NH, real *scratch);

#endif
