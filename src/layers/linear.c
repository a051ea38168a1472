/* See linear.h. */
#include "linear.h"

struct linear linear_at(struct linear l, size_t i) {
    const char *packed = l.packed, *packed_t = l.packed_t;
    if (l.w) l.w += i * l.OC * l.IC;
    l.packed = packed + i * gemm_packed_bytes(l.storage, l.IC, l.OC);
    if (l.packed_t) l.packed_t = packed_t + i * gemm_packed_bytes(l.storage, l.OC, l.IC);
    if (l.b) l.b += i * l.OC;
    if (l.dw) l.dw += i * l.OC * l.IC;
    if (l.db) l.db += i * l.OC;
    return l;
}

struct gemm linear_product(const struct linear *l, real *out, const real *in, const real *start, size_t rows) {
    return (struct gemm){.M = rows, .N = l->OC, .K = l->IC, .operands = l->operands, .A = {in, l->IC, 1, NULL},
                         .packed = l->packed, .storage = l->storage, .C = out, .ldc = l->OC, .bias = l->b,
                         .start = start};
}

struct gemm linear_din_product(const struct linear *l, real *din, const real *dout, const real *start, size_t rows) {
    return (struct gemm){.M = rows, .N = l->IC, .K = l->OC, .operands = l->operands, .A = {dout, l->OC, 1, NULL},
                         .packed = l->packed_t, .storage = l->storage, .C = din, .ldc = l->IC, .start = start};
}

struct gemm linear_dw_product(const struct linear *l, const real *dout, const real *in, size_t rows) {
    return (struct gemm){.M = l->OC, .N = l->IC, .K = rows, .operands = l->operands, .A = {dout, 1, l->OC, NULL},
                         .B = {in, l->IC, 1, NULL}, .C = l->dw, .ldc = l->IC, .start = l->dw, .sums = l->db};
}

void linear_forward(const struct linear *l, real *out, const real *in, const real *start, size_t rows) {
    const struct gemm product = linear_product(l, out, in, start, rows);
    gemm_run(&product, 1, NULL);
}

void linear_backward(const struct linear *l, real *din, const real *dout, const real *in, const real *start,
                     size_t rows, void *workspace) {
    /* d-weight first: its pieces are the larger ones, and the smaller fill in at the end */
    const struct gemm products[] = {linear_dw_product(l, dout, in, rows),
                                    linear_din_product(l, din, dout, start, rows)};
    gemm_run(products, 2, workspace);
}

size_t linear_workspace_bytes(size_t IC, size_t OC, size_t rows, enum operands operands) {
    const struct linear l = {.IC = IC, .OC = OC, .operands = operands};
    const struct gemm product = linear_dw_product(&l, NULL, NULL, rows); /* alone: cut finest, so it needs the most */
    return gemm_workspace_bytes(&product, 1);
}
