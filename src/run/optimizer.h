/* AdamW over one flat block, the global norm, and the learning-rate schedule.
 *
 * The norm adds fixed blocks in double and then the blocks in order: same bits for any number of threads. */
#ifndef OPTIMIZER_H
#define OPTIMIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "../base/real.h"

/* What updates the matrices within a model; all else is always AdamW's. */
enum optimizer_kind { OPTIMIZER_ADAMW, OPTIMIZER_MUON };

struct adamw {
    double beta1, beta2, epsilon, weight_decay;
};

/* sqrt of the sum of squares of grads (n). */
double gradient_norm(const real *grads, size_t n);

/* The factor that brings a norm down to `limit` (1 where it is below, or limit is 0). */
double clip_scale(double norm, double limit);

/* n parameters that are updated by the same rule, with their gradients and moments, (n) each. */
struct slab {
    real *w;
    const real *g;
    real *m, *v;
    size_t n;
    bool decay;
};

/* One update of a slab (Loshchilov and Hutter, 2019; PyTorch's AdamW), step counted from 1:
 *   g = scale * g;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
 *   w -= lr * (m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + epsilon) + decay * w) */
void adamw_update(const struct adamw *a, const struct slab *slab, double lr, double scale, int64_t step);

/* An average of parameters over the steps (n): average += (1 - decay) (w - average). The decay of a step, counted from
 * 1, is (1 + step) / (10 + step) until that is more than what is asked for, so that the beginning is soon forgotten. */
double average_decay(double decay, int64_t step);
void average_update(real *average, const real *w, size_t n, double decay);

/* A learning rate that rises to `peak` in `warmup` steps, and falls to `peak * final` at step `steps`: from there on by
 * a cosine or in a line, or (WSD: warm-up, stable, decay; Hu et al., arXiv 2404.06395) in a line over the last `decay`
 * steps; or not at all. */
enum schedule_kind { SCHEDULE_COSINE, SCHEDULE_LINEAR, SCHEDULE_WSD, SCHEDULE_CONSTANT };
struct schedule {
    enum schedule_kind kind;
    int64_t warmup, decay, steps;
    double peak, final;
};

/* Of the step that follows `step` others. */
double learning_rate(const struct schedule *s, int64_t step);

#endif
