/* Norms of rows of C numbers.
 *
 * LAYER  out = w * (x - mean) / sqrt(var + 1e-5) + b
 * RMS    out = w * x / sqrt(mean of x^2 + 1e-5) + b     (without a mean: Zhang and Sennrich, arXiv 1910.07467) */
#ifndef NORM_H
#define NORM_H

#include <stddef.h>
#include "../base/real.h"
#include "../math/bf16.h"

enum norm_kind { NORM_LAYER, NORM_RMS };

#define NORM_EPSILON ((real)1e-5)

struct norm {
    enum norm_kind kind;
    size_t C;
    const real *w, *b; /* (C) b: NULL if there is none */
    real *dw, *db;     /* added to; NULL without training */
    real *kept;        /* (rows, 2) each row's mean and 1 / deviation: what backward needs of forward */
    real *scratch;     /* work memory of backward: norm_scratch_count numbers */
};

void norm_forward(const struct norm *n, struct kept out, const real *x, size_t rows);

/* dx is added to: a norm hangs on the residual stream, whose gradient it joins. */
void norm_backward(const struct norm *n, real *dx, const real *dout, const real *x, size_t rows);
size_t norm_scratch_count(size_t C);

#endif
