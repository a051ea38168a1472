/* A stack of linear layers, each C wide on both sides, with GELU between them and none after the last. */
#ifndef STACK_H
#define STACK_H

#include "linear.h"

struct stack {
    size_t depth;         /* at least 1 */
    struct linear layers; /* layer 0; the others follow */
    real *hidden;         /* (depth - 1, rows, C) what goes into each GELU, kept for backward, which overwrites it */
    real *activated;      /* (rows, C) work memory of both */
    real *d_hidden;       /* (rows, C) work memory of backward */
    void *workspace;      /* the same: linear_workspace_bytes(C, C, rows) */
};

/* out (rows, C) = start (or NULL for zeros) + the layers of in. */
void stack_forward(const struct stack *s, real *out, struct kept in, const real *start, size_t rows);

/* din (rows, C), not dout itself. As any linear layer's backward: gradients of weights are added to. */
void stack_backward(const struct stack *s, real *din, const real *dout, struct kept in, size_t rows);

#endif
