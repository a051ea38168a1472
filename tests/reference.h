/* The MH-MoE layer once more, as plain loops over sub-tokens: E1-E7 of docs/MHMOE.md line by line, with
 * nothing sorted, packed, or shared between threads. test_layer.c holds the model's layer to it; sums are
 * in another order there, so results agree up to rounding. */
#ifndef REFERENCE_H
#define REFERENCE_H

#include <math.h>
#include <string.h>

#include "../mhmoe.h"

/* y (out) = W (out,in) x (in) + b (out); b may be NULL. */
static void reference_linear(real *y, const real *W, const real *b, const real *x, size_t out, size_t in) {
    for (size_t o = 0; o < out; o++) {
        y[o] = b ? b[o] : 0;
        for (size_t i = 0; i < in; i++) y[o] += W[o * in + i] * x[i];
    }
}

static void reference_softmax(real *p, size_t n) {
    real sum = 0;
    for (size_t i = 0; i < n; i++) sum += p[i] = exp(p[i]);
    for (size_t i = 0; i < n; i++) p[i] /= sum;
}

/* out (S) = W2 gelu(W1 x + b1) + b2 of one expert, counted over all layers. */
static void reference_expert(real *out, const real *x, const struct sizes *z, const struct parameters *w,
                             size_t e) {
    size_t S = z->S, F = z->F;
    real hidden[F];
    reference_linear(hidden, w->expw1 + e * F * S, w->expb1 + e * F, x, F, S);
    for (size_t f = 0; f < F; f++) {
        real u = hidden[f];
        hidden[f] = u / 2 * (1 + tanh(sqrt(2 / M_PI) * (u + 0.044715 * u * u * u)));
    }
    reference_linear(out, w->expw2 + e * S * F, w->expb2 + e * S, hidden, S, F);
}

/* o (S) = E3-E5 for one sub-token x (S); counts its picks in load (E) and adds p to p_sum (E). */
static void reference_subtoken(real *o, double *load, double *p_sum, const real *x,
                               const struct config *config, const struct sizes *z,
                               const struct parameters *w, size_t lm) {
    size_t E = z->E, S = z->S, chosen[z->K];
    real p[E], out[S], left[E], gates = 0;
    reference_linear(p, w->routerw + lm * E * S, NULL, x, E, S); /* E3 */
    reference_softmax(p, E);
    memcpy(left, p, sizeof p);
    for (size_t k = 0; k < z->K; k++) { /* E4 */
        size_t best = 0;
        for (size_t e = 1; e < E; e++) best = left[e] > left[best] ? e : best;
        left[best] = -1;
        gates += p[best];
        chosen[k] = best;
    }
    for (size_t s = 0; s < S; s++) o[s] = config->moe_residual ? x[s] : 0;
    for (size_t k = 0; k < z->K; k++) { /* E5 */
        size_t e = chosen[k];
        real gate = config->renormalize ? p[e] / gates : p[e];
        reference_expert(out, x, z, w, lm * E + e);
        for (size_t s = 0; s < S; s++) o[s] += gate * out[s];
        load[e]++;
    }
    for (size_t e = 0; e < E; e++) p_sum[e] += p[e];
}

/* y (R,C) = MoE layer lm on x (R,C); load (E) receives the picks of each expert. Returns E7. */
static double reference_moe(real *y, double *load, const real *x, size_t R, const struct config *config,
                            const struct sizes *z, const struct parameters *w, size_t lm) {
    size_t C = z->C, E = z->E, N = R * z->H;
    double p_sum[E], balance = 0;
    memset(p_sum, 0, sizeof p_sum);
    memset(load, 0, E * sizeof *load);
    for (size_t r = 0; r < R; r++) {
        real xh[C], o[C];
        memcpy(xh, x + r * C, sizeof xh);
        if (z->head) { /* E1 */
            reference_linear(xh, w->headw + lm * C * C, w->headb + lm * C, x + r * C, C, C);
        }
        for (size_t c = 0; c < C; c += z->S) { /* E2 */
            reference_subtoken(o + c, load, p_sum, xh + c, config, z, w, lm);
        }
        memcpy(y + r * C, o, sizeof o);
        if (z->merge) { /* E6 */
            reference_linear(y + r * C, w->mergew + lm * C * C, w->mergeb + lm * C, o, C, C);
        }
    }
    for (size_t e = 0; e < E; e++) balance += E * (load[e] / (N * z->K)) * (p_sum[e] / N); /* E7 */
    return balance;
}

#endif
