/* Feed-forward layers, out = act(in W1^T + b1) W2^T + b2: E of them (experts), each on its own contiguous
 * rows. A dense block is E = 1. See ../math/activation.h for act and W, ffn.c for how the hidden layer stays in the
 * cache. */
#ifndef FFN_H
#define FFN_H

#include "../math/activation.h"
#include "linear.h"

struct ffn {
    enum activation act;
    size_t E;
    struct linear up, down; /* W1, b1 (W F, S) and W2, b2 (S, F) of expert 0; the others follow */
    const int32_t *offsets; /* (E + 1) expert e has rows offsets[e]..offsets[e + 1]; NULL: expert 0 has all `rows` */
    size_t rows;            /* without `offsets` */
    const int32_t *source;  /* row r reads row source[r] of the input; NULL: row r */
};

/* out (rows, S) = start (rows, S, or NULL for zeros) + the layers of in. hidden (rows, W F) is kept for backward,
 * before its activation, if there is scratch (ffn_scratch_count numbers); without, it is only work memory. Where it is
 * kept in bf16, its activation is that of the rounded numbers. */
void ffn_forward(const struct ffn *f, struct kept out, struct kept hidden, struct kept in, const real *start,
                 real *scratch);
size_t ffn_scratch_count(size_t hidden, size_t S, enum operands operands); /* hidden: W F */

/* din (rows, S), row by row of out: a row of `in` that several rows read is the caller's to sum. hidden becomes
 * its activation, d_hidden (rows, W F) its gradient. Gradients of weights and biases are added to. */
void ffn_backward(const struct ffn *f, real *din, struct kept d_hidden, const real *dout, struct kept hidden,
                  struct kept in, void *workspace);
size_t ffn_workspace_bytes(size_t E, size_t S, size_t F, size_t W, size_t rows, enum operands operands);

#endif
