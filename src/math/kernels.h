/* The elementwise and row-wise kernels of a GPT; products are in gemm.h, attention in attention.h,
 * activations in activation.h, norms in ../layers/norm.h.
 *
 * Shapes: rows of C numbers, contiguous. Forward overwrites its output. Backward adds to parameter
 * gradients (which gather over a step's micro-batches) and overwrites activation gradients (which have one
 * reader), except where a comment says that it adds. Every function spreads its work over all threads with
 * one writer an output and sums in a fixed order: same bits for any number of threads. */
#ifndef KERNELS_H
#define KERNELS_H

#include <stddef.h>
#include <stdint.h>
#include "../base/batch.h"
#include "../base/real.h"
#include "bf16.h"

/* out = a (NULL: zeros) + b; out may be either. */
void residual_forward(real *out, const real *a, const real *b, size_t n);

/* x (n) = 0. */
void reals_clear(real *x, size_t n);

/* rows x C numbers into `to`, rounded if it is bf16. */
void rows_keep(struct kept to, const real *from, size_t rows, size_t C);

/* out (C) += sum over rows of x (rows, C). */
void column_sums(real *out, const real *x, size_t rows, size_t C);

/* loss[r] = -log softmax(logits[r])[targets[r]], 0 where the target is TARGET_NONE. With scale > 0,
 * logits (rows, V) become their own gradient, scale * (softmax - onehot), in place. */
void crossentropy(real *loss, real *logits, const int32_t *targets, size_t rows, size_t V, real scale);

#endif
