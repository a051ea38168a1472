/* See router.h. Each backward stands under its forward and quotes the line it differentiates. */
#include "router.h"

#include <math.h>
#include "../base/tasks.h"
#include "../math/kernels.h"
#include "../math/vecmath.h"

#define NORM_EPSILON 1e-12 /* added to squared norms: a vector of zeros has cosine 0 with everything, not NaN */
#define GATE_EPSILON 1e-20 /* added to the sum of gates: a bias can choose experts whose probabilities are all 0 */

static real inverse_norm(const real *v, size_t n) {
    return 1 / (real)sqrt(row_dot(v, v, n) + (real)NORM_EPSILON);
}

/* 1 / (tau |w_e|), what only depends on the expert. */
static void expert_scales(real *scales, const struct router *r) {
    const size_t D = r->project.OC;
    const real inverse_tau = (real)exp(-*r->log_tau);
    for (size_t e = 0; e < r->E; e++) scales[e] = inverse_tau * inverse_norm(r->scores.w + e * D, D);
}

/* scores (N, E) times 1 / (|z_n| tau |w_e|), z (N, D). */
static void scores_scale(const struct router *r, real *scores, const real *z, size_t N) {
    const size_t E = r->E, D = r->project.OC;
    real scales[E];
    expert_scales(scales, r);
#pragma omp parallel for if (N > FEW_ROWS)
    for (size_t n = 0; n < N; n++) {
        const real scale_n = inverse_norm(z + n * D, D);
        for (size_t e = 0; e < E; e++) scores[n * E + e] *= scale_n * scales[e];
    }
}

/* z = x W_proj^T,  r_ne = cos(z_n, w_e) / tau = z_n . w_e / (|z_n| |w_e| tau) */
static void cosine_forward(const struct router *r, const struct routing *f, real *scores, struct kept x) {
    linear_forward(&r->project, f->projected, x, NULL, f->N);
    linear_forward(&r->scores, scores, kept_real(f->projected), NULL, f->N);
    scores_scale(r, scores, f->projected, f->N);
}

/* With norms and tau held constant, dc_ne = dr_ne / (|z_n| |w_e| tau) gives dz0 = dc W and dw0 = dc^T z. A
 * cosine does not change with length, so the norms take from each gradient its part along its own vector:
 *   dz_n = dz0_n - z_n (z_n . dz0_n) / |z_n|^2,  the same for w_e;
 *   dlog_tau = -sum_ne dr_ne r_ne = -sum_e w_e . dw0_e */
static void cosine_backward(const struct router *r, const struct routing *f, const struct router_gradients *g,
                            struct kept x) {
    const size_t E = r->E, D = r->project.OC, N = f->N;
    struct linear scores = r->scores;
    scores.dw = g->d_embeddings;
    memset(scores.dw, 0, E * D * sizeof(real));
    scores_scale(r, g->d_scores, f->projected, N);
    linear_backward(&scores, g->d_projected, g->d_scores, kept_real(f->projected), NULL, N, g->workspace);
#pragma omp parallel for
    for (size_t n = 0; n < N; n++) {
        const real *z_n = f->projected + n * D, scale_n = inverse_norm(z_n, D);
        real *d_n = g->d_projected + n * D;
        row_add_scaled(d_n, -row_dot(z_n, d_n, D) * scale_n * scale_n, z_n, D);
    }
    double d_log_tau = 0;
    for (size_t e = 0; e < E; e++) {
        const real *w_e = r->scores.w + e * D, scale_e = inverse_norm(w_e, D);
        const real along = row_dot(w_e, scores.dw + e * D, D);
        row_add_scaled(r->scores.dw + e * D, 1, scores.dw + e * D, D);
        row_add_scaled(r->scores.dw + e * D, -along * scale_e * scale_e, w_e, D);
        d_log_tau -= (double)along;
    }
    *r->d_log_tau += (real)d_log_tau;
    linear_backward(&r->project, g->dx, g->d_projected, x, g->dx, N, g->workspace);
}

/* The K largest of probs + bias (E), ties to the lower id. */
static void topk_select(int32_t *picks, const real *probs, const real *bias, size_t E, size_t K) {
    for (size_t k = 0; k < K; k++) {
        int32_t best = -1;
        for (size_t e = 0; e < E; e++) {
            bool taken = false;
            for (size_t j = 0; j < k; j++) taken |= picks[j] == (int32_t)e;
            if (!taken && (best < 0 || probs[e] + bias[e] > probs[best] + bias[best])) best = (int32_t)e;
        }
        picks[k] = best;
    }
}

/* E3, E4: p_n = softmax(r_n) over all experts, the K best, their gates. */
void router_forward(const struct router *r, const struct routing *f, struct kept x) {
    const size_t E = r->E, K = r->K;
    if (r->kind == ROUTER_COSINE) cosine_forward(r, f, f->probs, x);
    else linear_forward(&r->scores, f->probs, x, NULL, f->N);
#pragma omp parallel for if (f->N > FEW_ROWS)
    for (size_t n = 0; n < f->N; n++) {
        real *probs_n = f->probs + n * E, *gates_n = f->gates + n * K, sum = 0;
        int32_t *picks_n = f->picks + n * K;
        f->log_sums[n] = row_softmax(probs_n, E);
        topk_select(picks_n, probs_n, r->bias, E, K);
        for (size_t k = 0; k < K; k++) sum += gates_n[k] = probs_n[picks_n[k]];
        if (r->renormalize) row_scale(gates_n, 1 / (sum + (real)GATE_EPSILON), K);
    }
}

/* g_k = p_k / psum, psum = sum_j p_j over the picks:  dp_k = (dg_k - sum_j dg_j g_j) / psum, in place */
static void renormalize_backward(real *d_gates, const real *gates, const real *probs, const int32_t *picks,
                                 size_t K) {
    real sum = 0, dot = 0;
    for (size_t k = 0; k < K; k++) sum += probs[picks[k]], dot += d_gates[k] * gates[k];
    for (size_t k = 0; k < K; k++) d_gates[k] = (d_gates[k] - dot) / (sum + (real)GATE_EPSILON);
}

/* From d_gates to d_scores: through the gates and E7 (E sum_e share_e pbar_e, the shares constant) to dp, through
 * p = softmax(r) and the z-loss, beta mean_n l_n^2 with l = log sum exp r and dl = p, to
 * dr = p (dp - sum p dp) + 2 beta l p / N. */
static void scores_backward(const struct router *r, const struct routing *f, const struct router_gradients *g) {
    const size_t E = r->E, K = r->K, N = f->N;
    real d_balance[E]; /* by any p_ne, the same for all n */
    for (size_t e = 0; e < E; e++) {
        const double f_e = (double)(f->offsets[e + 1] - f->offsets[e]) / (double)(N * K);
        d_balance[e] = (real)(g->balance_weight * (double)E / (double)N * f_e);
    }
    const real z_scale = (real)(2 * g->z_weight / (double)N);
#pragma omp parallel for
    for (size_t n = 0; n < N; n++) {
        const real *probs_n = f->probs + n * E;
        const int32_t *picks_n = f->picks + n * K;
        real *d_gates_n = g->d_gates + n * K, *d_n = g->d_scores + n * E;
        if (r->renormalize) renormalize_backward(d_gates_n, f->gates + n * K, probs_n, picks_n, K);
        memcpy(d_n, d_balance, E * sizeof(real));
        for (size_t k = 0; k < K; k++) d_n[picks_n[k]] += d_gates_n[k];
        const real shift = row_dot(probs_n, d_n, E) - z_scale * f->log_sums[n];
        for (size_t e = 0; e < E; e++) d_n[e] = probs_n[e] * (d_n[e] - shift);
    }
}

void router_backward(const struct router *r, const struct routing *f, const struct router_gradients *g,
                     struct kept x) {
    scores_backward(r, f, g);
    if (r->kind == ROUTER_COSINE) cosine_backward(r, f, g, x);
    else linear_backward(&r->scores, g->dx, g->d_scores, x, g->dx, f->N, g->workspace); /* r = x W^T */
}

size_t router_workspace_bytes(enum router_kind kind, size_t E, size_t D, size_t S, size_t rows) {
    const size_t scores = linear_workspace_bytes(D, E, rows, OPERANDS_F32);
    const size_t project = kind == ROUTER_COSINE ? linear_workspace_bytes(S, D, rows, OPERANDS_F32) : 0;
    return scores > project ? scores : project;
}

double router_balance(const struct router *r, const struct routing *f, real *mean) {
    double sum = 0;
    memset(mean, 0, r->E * sizeof *mean);
    column_sums(mean, f->probs, f->N, r->E); /* sum_n p_ne */
    for (size_t e = 0; e < r->E; e++) {
        const double picked = f->offsets[e + 1] - f->offsets[e];
        sum += picked / (double)(f->N * r->K) * (double)mean[e] / (double)f->N;
    }
    return (double)r->E * sum;
}

double router_z_loss(const struct routing *f) {
    double sum = 0;
    for (size_t n = 0; n < f->N; n++) sum += (double)f->log_sums[n] * (double)f->log_sums[n];
    return sum / (double)f->N;
}

void router_bias_update(real *bias, const double *load, size_t E, double step) {
    double total = 0, sum = 0, moved[E]; /* loads are whole numbers, so that comparing E times one with it is exact */
    for (size_t e = 0; e < E; e++) total += load[e];
    for (size_t e = 0; e < E; e++) {
        const double load_e = load[e] * (double)E;
        moved[e] = (double)bias[e] + step * (double)((load_e < total) - (load_e > total));
        sum += moved[e];
    }
    for (size_t e = 0; e < E; e++) bias[e] = (real)(moved[e] - sum / (double)E);
}
