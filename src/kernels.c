/* See kernels.h. Each backward stands under its forward and quotes the line it differentiates. */
#include "kernels.h"

#include <stdbool.h>
#include "vecmath.h"

/* Columns a task of a column-wise sum owns: whole cache lines, so that no two threads write to one. */
enum { STRIP = 32 };

/* Parts of the rows that are summed each by itself: as many whatever the number of threads, or bits would change. */
enum { PARTS = 64 };

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

void embedding_forward(real *out, const int32_t *tokens, const real *wte, const real *wpe, size_t B, size_t T,
                       size_t from, size_t C) {
#pragma omp parallel for
    for (size_t bt = 0; bt < B * T; bt++) {
        const real *wte_v = wte + (size_t)tokens[bt] * C, *wpe_t = wpe + (from + bt % T) * C;
        real *out_bt = out + bt * C;
        for (size_t c = 0; c < C; c++) out_bt[c] = wte_v[c] + wpe_t[c];
    }
}

/* out_bt[c] = wte_v[c] + wpe_t[c]. A thread owns a strip of columns and walks all rows in order, since two
 * rows may hold the same token. */
void embedding_backward(real *dwte, real *dwpe, const real *dout, const int32_t *tokens, size_t B, size_t T,
                        size_t C) {
#pragma omp parallel for
    for (size_t c0 = 0; c0 < C; c0 += STRIP) {
        const size_t n = min_size(STRIP, C - c0);
        for (size_t bt = 0; bt < B * T; bt++) {
            row_add_scaled(dwte + (size_t)tokens[bt] * C + c0, 1, dout + bt * C + c0, n);
            row_add_scaled(dwpe + bt % T * C + c0, 1, dout + bt * C + c0, n);
        }
    }
}

void layernorm_forward(real *out, real *mean, real *rstd, const real *x, const real *w, const real *b,
                       size_t rows, size_t C) {
#pragma omp parallel for
    for (size_t r = 0; r < rows; r++) {
        const real *x_r = x + r * C;
        real *out_r = out + r * C;
        const real m = row_sum(x_r, C) / C;
        for (size_t c = 0; c < C; c++) out_r[c] = x_r[c] - m;
        const real s = 1 / (real)sqrt(row_dot(out_r, out_r, C) / C + (real)1e-5);
        for (size_t c = 0; c < C; c++) out_r[c] = out_r[c] * s * w[c] + b[c];
        mean[r] = m;
        rstd[r] = s;
    }
}

/* out = xhat * w + b, xhat = (x - m) * s: with g = dout * w,
 * dx = s * (g - mean(g) - xhat * mean(g * xhat)), the two means being the paths through m and s. */
static void row_layernorm_backward(real *restrict dx, real *restrict dw, real *restrict db, const real *restrict dout,
                                   const real *restrict x, const real *restrict w, real m, real s, size_t C) {
    const real g_mean = row_dot(dout, w, C) / C;
    vec sum = {0};
    size_t c = 0;
    for (; c + VEC_LANES <= C; c += VEC_LANES) sum += vec_load(dout + c) * vec_load(w + c) * (vec_load(x + c) - m);
    real g_xhat = vec_sum(sum);
    for (; c < C; c++) g_xhat += dout[c] * w[c] * (x[c] - m);
    g_xhat *= s / C;
    for (c = 0; c < C; c++) {
        const real xhat = (x[c] - m) * s;
        dx[c] += s * (dout[c] * w[c] - g_mean - xhat * g_xhat);
        dw[c] += dout[c] * xhat;
        db[c] += dout[c];
    }
}

size_t layernorm_scratch_count(size_t C) { return PARTS * 2 * C; }

void layernorm_backward(real *dx, real *dw, real *db, const real *dout, const real *x, const real *w,
                        const real *mean, const real *rstd, size_t rows, size_t C, real *scratch) {
#pragma omp parallel for
    for (size_t part = 0; part < PARTS; part++) {
        real *dw_part = scratch + part * 2 * C, *db_part = dw_part + C;
        memset(dw_part, 0, 2 * C * sizeof(real));
        for (size_t r = part * rows / PARTS; r < (part + 1) * rows / PARTS; r++)
            row_layernorm_backward(dx + r * C, dw_part, db_part, dout + r * C, x + r * C, w, mean[r], rstd[r], C);
    }
#pragma omp parallel for
    for (size_t c0 = 0; c0 < C; c0 += STRIP)
        for (size_t part = 0; part < PARTS; part++) {
            const real *dw_part = scratch + part * 2 * C + c0;
            row_add_scaled(dw + c0, 1, dw_part, min_size(STRIP, C - c0));
            row_add_scaled(db + c0, 1, dw_part + C, min_size(STRIP, C - c0));
        }
}

void residual_forward(real *out, const real *a, const real *b, size_t n) {
#pragma omp parallel for
    for (size_t i = 0; i < n; i++) out[i] = a[i] + b[i];
}

/* gelu(x) = x/2 (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3). The sigmoid form does not
 * cancel for negative x. */
static inline vec gelu_sigmoid(vec x) {
    const vec two_u = (real)1.5957691216057308 * (x + (real)0.044715 * x * x * x);
    return 1 / (1 + vec_exp(-two_u));
}

static inline vec gelu_value(vec x) { return x * gelu_sigmoid(x); }

/* gelu' = s + x s (1 - s) 2u', 2u' = 2 sqrt(2/pi) (1 + 3 * 0.044715 x^2); returns gelu. */
static inline vec gelu_both(vec x, vec *slope) {
    const vec s = gelu_sigmoid(x), value = x * s;
    *slope = s + value * (1 - s) * ((real)1.5957691216057308 * (1 + (real)0.134145 * x * x));
    return value;
}

void gelu_forward(real *out, const real *x, size_t n) {
    size_t i = 0;
    for (; i + VEC_LANES <= n; i += VEC_LANES) vec_store(out + i, gelu_value(vec_load(x + i)));
    if (i < n) vec_store_some(out + i, n - i, gelu_value(vec_load_some(x + i, n - i, 0)));
}

/* out = gelu(x) */
void gelu_backward(real *dx, real *out, const real *dout, const real *x, size_t n) {
    for (size_t i = 0; i < n; i += VEC_LANES) {
        const bool whole = i + VEC_LANES <= n;
        const vec x_i = whole ? vec_load(x + i) : vec_load_some(x + i, n - i, 0);
        const vec dout_i = whole ? vec_load(dout + i) : vec_load_some(dout + i, n - i, 0);
        vec slope;
        const vec value = gelu_both(x_i, &slope);
        if (whole) vec_store(out + i, value), vec_store(dx + i, dout_i * slope);
        else vec_store_some(out + i, n - i, value), vec_store_some(dx + i, n - i, dout_i * slope);
    }
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
