/* A linear layer, out = in W^T + b, as slices of flat blocks of parameters and gradients; or a stack of equal
 * ones (blocks, experts), of which it is the first. W is (OC, IC). */
#ifndef LINEAR_H
#define LINEAR_H

#include "../math/gemm.h"

struct linear {
    size_t IC, OC;
    const real *w;                /* (OC, IC) as it stands */
    enum storage storage;         /* of packed and packed_t */
    enum operands operands;       /* of its products; bf16 wants that storage, too */
    const void *packed, *packed_t; /* W^T (IC, OC), and W (OC, IC) for d-input, as gemm.h packs them */
    const real *b;                /* (OC), or NULL */
    real *dw, *db;                /* gradients, added to; NULL without training */
};

/* Layer i of a stack. */
struct linear linear_at(struct linear stack, size_t i);

/* The products of a layer: out = start + in W^T + b,  din = dout W,  dW += dout^T in
 * (with db += the rows of dout). start may be NULL. */
struct gemm linear_product(const struct linear *l, real *out, struct kept in, const real *start, size_t rows);
struct gemm linear_din_product(const struct linear *l, real *din, struct kept dout, const real *start, size_t rows);
struct gemm linear_dw_product(const struct linear *l, struct kept dout, struct kept in, size_t rows);

void linear_forward(const struct linear *l, real *out, struct kept in, const real *start, size_t rows);

/* din = start + dout W; dW, db are added to. */
void linear_backward(const struct linear *l, real *din, const real *dout, struct kept in, const real *start,
                     size_t rows, void *workspace);
size_t linear_workspace_bytes(size_t IC, size_t OC, size_t rows, enum operands operands); /* of backward, at most */

#endif
