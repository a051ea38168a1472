/* What stands between the two matrices of a feed-forward layer, on the calling thread.
 *
 * GELU     0.5 h (1 + tanh(sqrt(2/pi) (h + 0.044715 h^3)))      (GPT-2)
 * SWIGLU   silu(g) v, silu(g) = g / (1 + exp(-g))               (Shazeer, arXiv 2002.05202; Llama)
 * RELU2    max(h, 0)^2                                          (So et al., arXiv 2109.08668)
 *
 * x (rows, W F): of each row its F numbers h; or of SWIGLU, for which W = 2, F gates g and then F values v. What
 * comes out takes the first F places of each row, which are W F apart here too: it may stand where x stood. */
#ifndef ACTIVATION_H
#define ACTIVATION_H

#include <stddef.h>
#include "bf16.h"

enum activation { ACTIVATION_GELU, ACTIVATION_SWIGLU, ACTIVATION_RELU2 };

/* W: how many numbers the first matrix makes for each that goes into the second. */
static inline size_t activation_width(enum activation kind) { return kind == ACTIVATION_SWIGLU ? 2 : 1; }

/* out, which may be x, is real or bf16 as x is. */
void activation_forward(enum activation kind, struct kept out, struct kept x, size_t rows, size_t F);

/* dout, in the first F places of each of `rows` rows (W F), to dx (rows, W F), the gradient of x; x becomes the output
 * in the first F places of each of its rows, from the same exponential. dx and x are real, and then dout may be dx; or
 * both are bf16. */
void activation_backward(enum activation kind, struct kept dx, const real *dout, struct kept x, size_t rows,
                         size_t F);

#endif
