/* See optimizer.h. */
#include "optimizer.h"

#include <math.h>
#include <stdlib.h>
#include "util.h"

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

void adamw_update(const struct adamw *a, real *params, const real *grads, real *m, real *v, size_t n, bool decay,
                  double lr, double scale, int64_t step) {
    const real beta1 = (real)a->beta1, beta2 = (real)a->beta2, epsilon = (real)a->epsilon, g_scale = (real)scale;
    const real rate = (real)(lr / (1 - pow(a->beta1, (double)step)));
    const real v_scale = (real)(1 / (1 - pow(a->beta2, (double)step)));
    const real keep = (real)(decay ? 1 - lr * a->weight_decay : 1);
#pragma omp parallel for
    for (size_t start = 0; start < n; start += BLOCK) {
        const size_t end = block_end(start, n);
#pragma omp simd
        for (size_t i = start; i < end; i++) {
            const real g = g_scale * grads[i], m_i = beta1 * m[i] + (1 - beta1) * g;
            const real v_i = beta2 * v[i] + (1 - beta2) * g * g;
            m[i] = m_i;
            v[i] = v_i;
            params[i] = keep * params[i] - rate * m_i / (SQRT(v_i * v_scale) + epsilon);
        }
    }
}

double learning_rate(int64_t step, int64_t warmup, int64_t steps, double peak, double final) {
    if (step < warmup) return peak * (double)(step + 1) / (double)warmup;
    if (step >= steps) return peak * final;
    const double progress = (double)(step - warmup) / (double)(steps - warmup);
    return peak * (final + (1 - final) * 0.5 * (1 + cos(M_PI * progress)));
}
