/* See optimizer.h. */
#include "optimizer.h"

#include <math.h>
#include <stdlib.h>
#include "../base/util.h"

enum { BLOCK = 1 << 14 }; /* elements a task takes, and a partial sum of the norm */

static size_t block_end(size_t start, size_t n) { return start + BLOCK < n ? start + BLOCK : n; }

double gradient_norm(const real *grads, size_t n) {
    const size_t blocks = (n + BLOCK - 1) / BLOCK;
    double *partial = array_alloc(blocks, sizeof *partial), sum = 0;
#pragma omp parallel for
    for (size_t b = 0; b < blocks; b++) {
        double lanes[8] = {0}; /* eight chains, so that the sum vectorises without being reordered */
        size_t i = b * BLOCK;
        const size_t end = block_end(i, n);
        for (; i + 8 <= end; i += 8)
            for (int l = 0; l < 8; l++) lanes[l] += (double)grads[i + l] * (double)grads[i + l];
        for (; i < end; i++) lanes[0] += (double)grads[i] * (double)grads[i];
        for (int l = 0; l < 8; l++) partial[b] += lanes[l];
    }
    for (size_t b = 0; b < blocks; b++) sum += partial[b];
    free(partial);
    return sqrt(sum);
}

double clip_scale(double norm, double limit) { return limit > 0 && norm > limit ? limit / norm : 1; }

#ifdef REAL_DOUBLE
#define SQRT sqrt
#else
#define SQRT sqrtf
#endif

/* One step of a running mean, old += (1 - beta) (x - old). 1 - beta is rounded once, and beta is two numbers: what
 * float cuts off one is up to 3e-8, which is 3% of 1 - beta at 0.999999. (The difference x - old itself would lose a
 * small x beside a large old where beta is 0.) */
struct mean {
    real beta, rest, take;
};
static struct mean mean_of(double beta) {
    const real rounded = (real)beta;
    return (struct mean){rounded, (real)(beta - (double)rounded), (real)(1 - beta)};
}
static inline real mean_next(const struct mean *a, real old, real x) {
    return a->beta * old + (a->rest * old + a->take * x);
}

/* The decay is subtracted as it is: 1 - lr * decay would be rounded at 6e-8, which may be most of it. */
void adamw_update(const struct adamw *a, const struct slab *slab, double lr, double scale, int64_t step) {
    real *const w = slab->w, *const m = slab->m, *const v = slab->v;
    const real *const grads = slab->g;
    const size_t n = slab->n;
    const real epsilon = (real)a->epsilon, g_scale = (real)scale;
    const real rate = (real)(lr / (1 - pow(a->beta1, (double)step)));
    const real v_scale = (real)(1 / (1 - pow(a->beta2, (double)step)));
    const real shrink = (real)(slab->decay ? lr * a->weight_decay : 0);
#pragma omp parallel for
    for (size_t start = 0; start < n; start += BLOCK) {
        const size_t end = block_end(start, n);
        const struct mean mean = mean_of(a->beta1),
                          square = mean_of(a->beta2); /* here, clang sees that nothing writes them */
#pragma omp simd
        for (size_t i = start; i < end; i++) {
            const real g = g_scale * grads[i];
            const real m_i = mean_next(&mean, m[i], g), v_i = mean_next(&square, v[i], g * g);
            m[i] = m_i;
            v[i] = v_i;
            w[i] -= rate * m_i / (SQRT(v_i * v_scale) + epsilon) + shrink * w[i];
        }
    }
}

double average_decay(double decay, int64_t step) { return fmin(decay, (1 + (double)step) / (10 + (double)step)); }

void average_update(real *average, const real *w, size_t n, double decay) {
#pragma omp parallel for
    for (size_t start = 0; start < n; start += BLOCK) {
        const size_t end = block_end(start, n);
        const struct mean mean = mean_of(decay);
        for (size_t i = start; i < end; i++) average[i] = mean_next(&mean, average[i], w[i]);
    }
}

/* Where the fall begins. */
static int64_t fall_start(const struct schedule *s) {
    const int64_t start = s->kind == SCHEDULE_WSD ? s->steps - s->decay : s->warmup;
    return start > s->warmup ? start : s->warmup;
}

double learning_rate(const struct schedule *s, int64_t step) {
    const int64_t start = fall_start(s);
    if (step < s->warmup) return s->peak * (double)(step + 1) / (double)s->warmup;
    if (s->kind == SCHEDULE_CONSTANT || (step <= start && step < s->steps)) return s->peak;
    if (step >= s->steps) return s->peak * s->final;
    const double progress = (double)(step - start) / (double)(s->steps - start);
    const double left = s->kind == SCHEDULE_COSINE ? 0.5 * (1 + cos(M_PI * progress)) : 1 - progress;
    return s->peak * (s->final + (1 - s->final) * left);
}
