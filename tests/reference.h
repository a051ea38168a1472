/* The MH-MoE layer once more, as plain loops over sub-tokens: E1-E7 of docs/MHMOE.md line by line, with
 * nothing sorted, packed, or shared between threads. test_layer.c holds the model's layer to it; sums are
 * in another order there, so results agree up to rounding. */
#ifndef REFERENCE_H
#define REFERENCE_H

#include <math.h>
#include <string.h>

#include "../mhmoe.h"

/* y (out) = W (out,in) x (in) + b (out); b may be NULL. */
static inline void reference_linear(real *y, const real *W, const real *b, const real *x, size_t out, size_t in) {
    for (size_t o = 0; o < out; o++) {
        y[o] = b ? b[o] : 0;
        for (size_t i = 0; i < in; i++) y[o] += W[o * in + i] * x[i];
    }
}

static inline real reference_gelu(real u) {
    return u / 2 * (1 + tanh(sqrt(2 / M_PI) * (u + 0.044715 * u * u * u)));
}

/* y (C) = a stack of layers of x (C): a layer's W is (C,C), GELU between them; without layers, x itself. */
static inline void reference_stack(real *y, const real *W, const real *b, const real *x, size_t depth, size_t C) {
    memmove(y, x, C * sizeof *y);
    for (size_t i = 0; i < depth; i++) {
        real in[C];
        for (size_t c = 0; c < C; c++) in[c] = i ? reference_gelu(y[c]) : y[c];
        reference_linear(y, W + i * C * C, b + i * C, in, C, C);
    }
}

/* out (S) = W2 gelu(W1 x + b1) + b2 */
static inline void reference_ffn(real *out, const real *W1, const real *b1, const real *W2, const real *b2,
                                 const real *x, size_t F, size_t S) {
    real hidden[F];
    reference_linear(hidden, W1, b1, x, F, S);
    for (size_t f = 0; f < F; f++) hidden[f] = reference_gelu(hidden[f]);
    reference_linear(out, W2, b2, hidden, S, F);
}

/* Of two vectors; 1e-12 is added to squared lengths, so that a vector of zeros has cosine 0 with anything. */
static inline real reference_cosine(const real *a, const real *b, size_t n) {
    real ab = 0, aa = 1e-12, bb = 1e-12;
    for (size_t i = 0; i < n; i++) ab += a[i] * b[i], aa += a[i] * a[i], bb += b[i] * b[i];
    return ab / sqrt(aa * bb);
}

/* p (E) = softmax(r); returns log sum exp r. */
static inline real reference_softmax(real *p, const real *r, size_t E) {
    real sum = 0;
    for (size_t e = 0; e < E; e++) sum += p[e] = exp(r[e]);
    for (size_t e = 0; e < E; e++) p[e] /= sum;
    return log(sum);
}

/* E4: the K largest of p + bias, of equals the lower id, and their gates. */
static inline void reference_choose(int32_t *picks, real *gates, const real *p, const real *bias, size_t E,
                                    size_t K, bool renormalize) {
    bool taken[E];
    real sum = 0;
    memset(taken, 0, sizeof taken);
    for (size_t k = 0; k < K; k++) {
        size_t best = E;
        for (size_t e = 0; e < E; e++)
            if (!taken[e] && (best == E || p[e] + bias[e] > p[best] + bias[best])) best = e;
        taken[best] = true;
        picks[k] = (int32_t)best;
        sum += gates[k] = p[best];
    }
    for (size_t k = 0; k < K && renormalize; k++) gates[k] /= sum;
}

/* Of one MoE layer: the terms of E7 and the z-loss, gathered over sub-tokens. */
struct reference_sums {
    double *load, *p; /* (E) */
    double z;
};

/* r (E) = router scores of one sub-token x (S). */
static inline void reference_scores(real *r, const real *x, const struct config *config, const struct sizes *z,
                                    const struct parameters *w, size_t lm) {
    const size_t E = z->E, S = z->S, D = z->D;
    const real *W = w->routerw + lm * E * D;
    if (config->router == ROUTER_SOFTMAX) {
        reference_linear(r, W, NULL, x, E, S);
        return;
    }
    real projected[D];
    reference_linear(projected, w->routerp + lm * D * S, NULL, x, D, S);
    for (size_t e = 0; e < E; e++) r[e] = reference_cosine(projected, W + e * D, D) / exp(w->routert[lm]);
}

/* o (S) = E3-E5 for one sub-token x (S). */
static inline void reference_subtoken(real *o, struct reference_sums *sums, const real *x, const real *bias,
                                      const struct config *config, const struct sizes *z,
                                      const struct parameters *w, size_t lm) {
    const size_t E = z->E, S = z->S, K = z->K, F = z->F, Fs = z->Fs;
    int32_t chosen[K];
    real r[E], p[E], gates[K], out[S];
    reference_scores(r, x, config, z, w, lm); /* E3 */
    const double log_sum = reference_softmax(p, r, E);
    reference_choose(chosen, gates, p, bias, E, K, config->renormalize); /* E4 */
    for (size_t s = 0; s < S; s++) o[s] = config->moe_residual ? x[s] : 0;
    for (size_t k = 0; k < K; k++) { /* E5 */
        const size_t e = (size_t)chosen[k], i = lm * E + e;
        reference_ffn(out, w->expw1 + i * F * S, w->expb1 + i * F, w->expw2 + i * S * F, w->expb2 + i * S, x, F,
                      S);
        for (size_t s = 0; s < S; s++) o[s] += gates[k] * out[s];
        sums->load[e]++;
    }
    if (Fs) {
        reference_ffn(out, w->sharedw1 + lm * Fs * S, w->sharedb1 + lm * Fs, w->sharedw2 + lm * S * Fs,
                      w->sharedb2 + lm * S, x, Fs, S);
        for (size_t s = 0; s < S; s++) o[s] += out[s];
    }
    for (size_t e = 0; e < E; e++) sums->p[e] += p[e];
    sums->z += log_sum * log_sum;
}

/* y (R,C) = MoE layer lm on x (R,C); load (E) receives the picks of each expert, *z the z-loss. Returns E7. */
static inline double reference_moe(real *y, double *load, double *z_loss, const real *x, size_t R,
                                   const real *bias, const struct config *config, const struct sizes *z,
                                   const struct parameters *w, size_t lm) {
    const size_t C = z->C, E = z->E, N = R * z->H, head = lm * z->head, merge = lm * z->merge;
    double p_sum[E], balance = 0;
    struct reference_sums sums = {load, p_sum, 0};
    memset(p_sum, 0, sizeof p_sum);
    memset(load, 0, E * sizeof *load);
    for (size_t r = 0; r < R; r++) {
        real xh[C], o[C];
        reference_stack(xh, w->headw + head * C * C, w->headb + head * C, x + r * C, z->head, C); /* E1 */
        for (size_t c = 0; c < C; c += z->S) /* E2 */
            reference_subtoken(o + c, &sums, xh + c, bias, config, z, w, lm);
        reference_stack(y + r * C, w->mergew + merge * C * C, w->mergeb + merge * C, o, z->merge, C); /* E6 */
    }
    for (size_t e = 0; e < E; e++) balance += E * (load[e] / (N * z->K)) * (p_sum[e] / N); /* E7 */
    *z_loss = sums.z / N;
    return balance;
}

#endif
