/* See kernels.h. Each backward stands under its forward and quotes the line it differentiates. */
#include "kernels.h"

#include "../base/tasks.h"
#include "vecmath.h"

enum { FEW_NUMBERS = 1 << 14 }; /* not worth the wait for other threads */

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

void residual_forward(real *out, const real *a, const real *b, size_t n) {
#pragma omp parallel for if (n > FEW_NUMBERS)
    for (size_t i = 0; i < n; i++) out[i] = (a ? a[i] : 0) + b[i];
}

void reals_clear(real *x, size_t n) {
#pragma omp parallel for if (n > FEW_NUMBERS)
    for (size_t start = 0; start < n; start += FEW_NUMBERS)
        memset(x + start, 0, min_size(FEW_NUMBERS, n - start) * sizeof *x);
}

void rows_keep(struct kept to, const real *from, size_t rows, size_t C) {
    if (to.data == from) return;
#pragma omp parallel for
    for (size_t r = 0; r < rows; r++) kept_store(kept_at(to, r * C), from + r * C, C);
}

void column_sums(real *out, const real *x, size_t rows, size_t C) {
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t c0 = 0; c0 < C; c0 += STRIP) {
        const size_t n = min_size(STRIP, C - c0);
        real sum[STRIP] = {0};
        for (size_t r = 0; r < rows; r++) row_add_scaled(sum, 1, x + r * C + c0, n);
        row_add_scaled(out + c0, 1, sum, n);
    }
}

void crossentropy(real *loss, real *logits, const int32_t *targets, size_t rows, size_t V, real scale) {
#pragma omp parallel for
    for (size_t r = 0; r < rows; r++) {
        real *logits_r = logits + r * V;
        if (targets[r] == TARGET_NONE) {
            loss[r] = 0;
            if (scale > 0) memset(logits_r, 0, V * sizeof(real));
            continue;
        }
        const real target_logit = logits_r[targets[r]], high = row_max(logits_r, V);
        const real sum = row_exp(logits_r, logits_r, V, 1, high);
        loss[r] = high + (real)log(sum) - target_logit;
        /* loss_r = log sum exp(logits_r) - logits_r[target] */
        if (scale > 0) {
            row_scale(logits_r, scale / sum, V);
            logits_r[targets[r]] -= scale;
        }
    }
}
