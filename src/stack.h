/* A stack of linear layers, each C wide on both sides, with GELU between them and none after the last. */
#ifndef STACK_H
#define STACK_H

#include "linear.h"

struct stack {
    size_t depth;        /* at least 1 */
    struct linear first; /* the others follow */
};

/* How many numbers of a row are kept for backward: what goes into each GELU. */
size_t stack_hidden_count(size_t depth, size_t C);

/* out (rows, C) = start (or NULL for zeros) + the layers of in. hidden: stack_hidden_count * rows numbers.
 * activated (rows, C): work memory, of both. */
void stack_forward(const struct stack *s, real *out, real *hidden, real *activated, const real *in,
                   const real *start, size_t rows);

/* din (rows, C), not dout itself; d_hidden (rows, C): work memory. hidden is overwritten. Both as any linear
 * layer's backward: gradients of weights are added to, workspace is linear_workspace_bytes(C, C, rows). */
void stack_backward(const struct stack *s, real *din, real *d_hidden, const real *dout, real *hidden,
                    real *activated, const real *in, size_t rows, void *workspace);

#endif
