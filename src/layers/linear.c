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

struct gemm linear_product(const struct linear *l, real *out, struct kept in, const real *start, size_t rows) {
    return (struct gemm){.M = rows, .N = l->OC, .K = l->IC, .operands = l->operands, .A = kept_view(in, l->IC),
                         .packed = l->packed, .storage = l->storage, .C = out, .ldc = l->OC, .bias = l->b,
                         .start = start};
}

struct gemm linear_din_product(const struct linear *l, real *din, struct kept dout, const real *start, size_t rows) {
    return (struct gemm){.M = rows, .N = l->IC, .K = l->OC, .operands = l->operands, .A = kept_view(dout, l->OC),
                         .packed = l->packed_t, .storage = l->storage, .C = din, .ldc = l->IC, .start = start};
}

struct gemm linear_dw_product(const struct linear *l, struct kept dout, struct kept in, size_t rows) {
    return (struct gemm){.M = l->OC, .N = l->IC, .K = rows, .operands = l->operands, .A = kept_view_turned(dout, l->OC),
                         .B = kept_view(in, l->IC), .C = l->dw, .ldc = l->IC, .start = l->dw, .sums = l->db};
}

void linear_forward(const struct linear *l, real *out, struct kept in, const real *start, size_t rows) {
    const struct gemm product = linear_product(l, out, in, start, rows);
    gemm_run(&product, 1, NULL);
}

void linear_backward(const struct linear *l, real *din, const real *dout, struct kept in, const real *start,
                     size_t rows, void *workspace) {
    /* d-weight first: its pieces are the larger ones, and the smaller fill in at the end */
    const struct gemm products[] = {linear_dw_product(l, kept_real(dout), in, rows),
                                    linear_din_product(l, din, kept_real(dout), start, rows)};
    gemm_run(products, 2, workspace);
}

size_t linear_workspace_bytes(size_t IC, size_t OC, size_t rows, enum operands operands) {
    const struct linear l = {.IC = IC, .OC = OC, .operands = operands};
    const struct kept none = kept_real(NULL);
    const struct gemm product = linear_dw_product(&l, none, none, rows); /* alone: cut finest, so it needs the most */
    return gemm_workspace_bytes(&product, 1);
}
