/* Multi-head attention, forward and backward, as blocked matrix products (attention.c).
 *
 * qkv (B, T, 3C) holds the query, key and value of each position, NH heads of C/NH numbers each.
 * out (B, T, C): out_t = sum over t2 < end_t of softmax(q_t . k_t2 / sqrt(C/NH)) v_t2, head by head; end_t is
 * batch->ends', or t + 1 (causal).
 * T = batch->T positions; queries are those from batch->from on, and only they have a row in out, (T - from, C).
 * With batch->offsets sequences are of their own lengths, and rows follow each other without gaps. */
#ifndef ATTENTION_H
#define ATTENTION_H

#include "../base/batch.h"
#include "../base/real.h"
#include "gemm.h"

struct attention {
    size_t C, NH;
    enum operands operands; /* of its products: queries and keys, probabilities and values, and their gradients */
    real *lse;     /* (B, NH, T; with offsets, each sequence's length) log-sum-exp of each softmax row, all that
                      backward needs; NULL: not kept */
    real *scratch; /* work memory: attention_scratch_count numbers, for all threads together */
};

size_t attention_scratch_count(size_t T, size_t C, size_t NH, enum operands operands);

void attention_forward(const struct attention *a, struct kept out, struct kept qkv, const struct batch *batch);

/* dqkv (B, T, 3C) is overwritten. */
void attention_backward(const struct attention *a, real *dqkv, const real *dout, struct kept qkv, struct kept out,
                        const struct batch *batch);

#endif
