/* AdamW over one flat block, the global norm, and the learning-rate schedule.
 *
 * The norm adds fixed blocks in double and then the blocks in order: same bits for any number of threads. */
#ifndef OPTIMIZER_H
#define OPTIMIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "real.h"

struct adamw {
    double beta1, beta2, epsilon, weight_decay;
};

/* sqrt of the sum of squares of grads (n). */
double gradient_norm(const real *grads, size_t n);

/* The factor that brings a norm down to `limit` (1 where it is below, or limit is 0). */
double clip_scale(double norm, double limit);

/* One update of n parameters (Loshchilov and Hutter, 2019; PyTorch's AdamW), step counted from 1:
 *   g = scale * grads;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
 *   params -= lr * (m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + epsilon) + decay * params) */
void adamw_update(const struct adamw *a, real *params, const real *grads, real *m, real *v, size_t n, bool decay,
                  double lr, double scale, int64_t step);

/* Linear warm-up over `warmup` steps to `peak`, then a cosine down to `peak * final` at `steps`; step from 0. */
double learning_rate(int64_t step, int64_t warmup, int64_t steps, double peak, double final);

#endif
