/* The MH-MoE layer once more, as plain loops over sub-tokens: E1-E7 of docs/MHMOE.md line by line, with
 * nothing sorted, packed, or shared between threads; and the norms around it. test_layer.c holds the model's layer to
 * it; sums are in another order there, so results agree up to rounding. */
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

/* Matrix (or vector) i of those that p points at, each of n numbers; NULL if there are none. */
static inline const real *reference_slice(const real *p, size_t i, size_t n) { return p ? p + i * n : NULL; }

/* out (C) = x (C), less its mean if it is a layer norm, over its root mean square, times w, plus b if there is one. */
static inline void reference_norm(real *out, enum norm_kind kind, const real *w, const real *b, const real *x,
                                  size_t C) {
    real mean = 0, square = 0;
    for (size_t c = 0; c < C && kind == NORM_LAYER; c++) mean += x[c] / C;
    for (size_t c = 0; c < C; c++) square += (x[c] - mean) * (x[c] - mean) / C;
    for (size_t c = 0; c < C; c++) out[c] = (x[c] - mean) / sqrt(square + 1e-5) * w[c] + (b ? b[c] : 0);
}

/* y (C) = a stack of layers of x (C): a layer's W is (C,C), GELU between them; without layers, x itself. */
static inline void reference_stack(real *y, const real *W, const real *b, const real *x, size_t depth, size_t C) {
    memmove(y, x, C * sizeof *y);
    for (size_t i = 0; i < depth; i++) {
        real in[C];
        for (size_t c = 0; c < C; c++) in[c] = i ? reference_gelu(y[c]) : y[c];
        reference_linear(y, W + i * C * C, reference_slice(b, i, C), in, C, C);
    }
}

/* act(h) of hidden unit f; swiglu lets through, of the units behind the first F, what its gate of the first F says. */
static inline real reference_act(enum activation act, const real *h, size_t f, size_t F) {
    switch (act) {
        case ACTIVATION_SWIGLU: return h[f] / (1 + exp(-h[f])) * h[F + f];
        case ACTIVATION_RELU2: return h[f] > 0 ? h[f] * h[f] : 0;
        default: return reference_gelu(h[f]);
    }
}

/* One feed-forward layer: W1 (F,S), or (2 F,S) of swiglu; W2 (S,F); without biases b1 and b2 are NULL. */
struct reference_ffn {
    enum activation act;
    size_t S, F;
    const real *W1, *b1, *W2, *b2;
};

/* out (S) = W2 act(W1 x + b1) + b2 */
static inline void reference_ffn(real *out, const struct reference_ffn *f, const real *x) {
    real hidden[2 * f->F], activated[f->F];
    reference_linear(hidden, f->W1, f->b1, x, f->act == ACTIVATION_SWIGLU ? 2 * f->F : f->F, f->S);
    for (size_t i = 0; i < f->F; i++) activated[i] = reference_act(f->act, hidden, i, f->F);
    reference_linear(out, f->W2, f->b2, activated, f->S, f->F);
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

/* Which MoE layer: the lm-th of a model. */
struct reference_layer {
    const struct config *config;
    const struct sizes *sizes;
    const struct parameters *w;
    const real *router_bias; /* (LM,E) */
    size_t lm;
};

/* r (E) = router scores of one sub-token x (S). */
static inline void reference_scores(real *r, const struct reference_layer *l, const real *x) {
    const size_t E = l->sizes->E, S = l->sizes->S, D = l->sizes->D, lm = l->lm;
    const real *W = l->w->routerw + lm * E * D;
    if (l->config->router == ROUTER_SOFTMAX) {
        reference_linear(r, W, NULL, x, E, S);
        return;
    }
    real projected[D];
    reference_linear(projected, l->w->routerp + lm * D * S, NULL, x, D, S);
    for (size_t e = 0; e < E; e++) r[e] = reference_cosine(projected, W + e * D, D) / exp(l->w->routert[lm]);
}

/* Feed-forward layer i of those of hidden width F whose tensors are `of`. */
static inline struct reference_ffn reference_ffn_at(const struct reference_layer *l, size_t i, size_t F,
                                                    struct reference_ffn of) {
    const enum activation act = (enum activation)l->config->activation;
    const size_t S = l->sizes->S, up = act == ACTIVATION_SWIGLU ? 2 * F : F;
    return (struct reference_ffn){act, S, F, reference_slice(of.W1, i, up * S), reference_slice(of.b1, i, up),
                                  reference_slice(of.W2, i, S * F), reference_slice(of.b2, i, S)};
}

static inline struct reference_ffn reference_expert(const struct reference_layer *l, size_t e) {
    const struct parameters *w = l->w;
    const struct reference_ffn all = {.W1 = w->expw1, .b1 = w->expb1, .W2 = w->expw2, .b2 = w->expb2};
    return reference_ffn_at(l, l->lm * l->sizes->E + e, l->sizes->F, all);
}

static inline struct reference_ffn reference_shared(const struct reference_layer *l) {
    const struct parameters *w = l->w;
    const struct reference_ffn all = {.W1 = w->sharedw1, .b1 = w->sharedb1, .W2 = w->sharedw2, .b2 = w->sharedb2};
    return reference_ffn_at(l, l->lm, l->sizes->Fs, all);
}

/* o (S) = E3-E5 for one sub-token x (S). */
static inline void reference_subtoken(real *o, struct reference_sums *sums, const struct reference_layer *l,
                                      const real *x) {
    const size_t E = l->sizes->E, S = l->sizes->S, K = l->sizes->K;
    int32_t chosen[K];
    real r[E], p[E], gates[K], out[S];
    reference_scores(r, l, x); /* E3 */
    const double log_sum = reference_softmax(p, r, E);
    reference_choose(chosen, gates, p, l->router_bias + l->lm * E, E, K, l->config->renormalize); /* E4 */
    for (size_t s = 0; s < S; s++) o[s] = l->config->moe_residual ? x[s] : 0;
    for (size_t k = 0; k < K; k++) { /* E5 */
        const struct reference_ffn expert = reference_expert(l, (size_t)chosen[k]);
        reference_ffn(out, &expert, x);
        for (size_t s = 0; s < S; s++) o[s] += gates[k] * out[s];
        sums->load[chosen[k]]++;
    }
    if (l->sizes->Fs) {
        const struct reference_ffn shared = reference_shared(l);
        reference_ffn(out, &shared, x);
        for (size_t s = 0; s < S; s++) o[s] += out[s];
    }
    for (size_t e = 0; e < E; e++) sums->p[e] += p[e];
    sums->z += log_sum * log_sum;
}

/* y (R,C) = MoE layer l on x (R,C); load (E) receives the picks of each expert, *z_loss the z-loss. Returns E7. */
static inline double reference_moe(real *y, double *load, double *z_loss, const struct reference_layer *l,
                                   const real *x, size_t R) {
    const struct sizes *z = l->sizes;
    const size_t C = z->C, E = z->E, N = R * z->H, head = l->lm * z->head, merge = l->lm * z->merge;
    double p_sum[E], balance = 0;
    struct reference_sums sums = {load, p_sum, 0};
    memset(p_sum, 0, sizeof p_sum);
    memset(load, 0, E * sizeof *load);
    for (size_t r = 0; r < R; r++) {
        real xh[C], o[C];
        reference_stack(xh, reference_slice(l->w->headw, head, C * C), reference_slice(l->w->headb, head, C), x + r * C,
                        z->head, C); /* E1 */
        for (size_t c = 0; c < C; c += z->S) reference_subtoken(o + c, &sums, l, xh + c); /* E2 */
        reference_stack(y + r * C, reference_slice(l->w->mergew, merge, C * C),
                        reference_slice(l->w->mergeb, merge, C), o, z->merge, C); /* E6 */
    }
    for (size_t e = 0; e < E; e++) balance += E * (load[e] / (N * z->K)) * (p_sum[e] / N); /* E7 */
    *z_loss = sums.z / N;
    return balance;
}

#endif
