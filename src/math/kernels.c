/* See kernels.h. Each backward stands under its forward and quotes the line it differentiates. */
#include "kernels.h"

#include "../base/tasks.h"
#include "vecmath.h"

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

void embedding_forward(real *out, const real *wte, const real *wpe, const struct batch *batch, size_t C) {
    const size_t from = batch->from, length = batch->T - from;
#pragma omp parallel for
    for (size_t bt = 0; bt < batch->B * length; bt++) {
        real *out_bt = out + bt * C;
        memcpy(out_bt, wte + (size_t)batch->tokens[bt] * C, C * sizeof(real));
        if (wpe) row_add_scaled(out_bt, 1, wpe + (from + bt % length) * C, C);
    }
}

/* out_bt[c] = wte_v[c] + wpe_t[c]. A thread owns a strip of columns and walks all rows in order, since two
 * rows may hold the same token. */
void embedding_backward(real *dwte, real *dwpe, const real *dout, const struct batch *batch, size_t C) {
    const size_t B = batch->B, T = batch->T;
#pragma omp parallel for
    for (size_t c0 = 0; c0 < C; c0 += STRIP) {
        const size_t n = min_size(STRIP, C - c0);
        for (size_t bt = 0; bt < B * T; bt++) {
            row_add_scaled(dwte + (size_t)batch->tokens[bt] * C + c0, 1, dout + bt * C + c0, n);
            if (dwpe) row_add_scaled(dwpe + bt % T * C + c0, 1, dout + bt * C + c0, n);
        }
    }
}

void residual_forward(real *out, const real *a, const real *b, size_t n) {
#pragma omp parallel for
    for (size_t i = 0; i < n; i++) out[i] = a[i] + b[i];
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
