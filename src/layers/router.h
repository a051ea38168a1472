/* Routers: which K of E experts each row of x (N, S) goes to, and with what weight (its gates). Two kinds of
 * scores, one way from scores to gates, and what keeps experts in use. E3, E4 and E7 of docs/MHMOE.md; its
 * section 4 derives every backward. */
#ifndef ROUTER_H
#define ROUTER_H

#include "linear.h"

enum router_kind { ROUTER_SOFTMAX, ROUTER_COSINE };

struct router {
    enum router_kind kind;
    size_t E, K;
    bool renormalize;       /* the gates of a row sum to 1 */
    struct linear scores;   /* W (E, D): softmax: r = x W^T, D = S; cosine: a row is an expert's embedding */
    const real *bias;       /* (E) added to the probabilities for the choice, not in the gates */
    struct linear project;  /* cosine: W_proj (D, S) */
    const real *log_tau;    /* cosine: log of the temperature, one number */
    real *d_log_tau;        /* added to */
};

/* What forward computes, and backward needs. */
struct routing {
    size_t N;
    real *projected;      /* (N, D) cosine: x P^T */
    real *probs;          /* (N, E) softmax of the scores */
    real *log_sums;       /* (N) log sum exp of the scores */
    real *gates;          /* (N, K) */
    int32_t *picks;       /* (N, K) the experts chosen */
    const int32_t *offsets; /* (E + 1) the caller's count of the picks: expert e has offsets[e + 1] - offsets[e] */
};

void router_forward(const struct router *r, const struct routing *f, struct kept x);

/* What backward is given, and its work memory. */
struct router_gradients {
    real *d_gates;                   /* (N, K); overwritten */
    double balance_weight, z_weight; /* of router_balance and router_z_loss in the loss */
    real *dx;                        /* (N, S) added to */
    real *d_scores;                  /* (N, E) */
    real *d_projected;               /* (N, D) cosine */
    real *d_embeddings;              /* (E, D) cosine */
    void *workspace;                 /* router_workspace_bytes */
};
void router_backward(const struct router *r, const struct routing *f, const struct router_gradients *g,
                     struct kept x);
size_t router_workspace_bytes(enum router_kind kind, size_t E, size_t D, size_t S, size_t rows);

/* E7: E sum_e share_e pbar_e; 1 at perfect balance. `mean` (E) is work memory. */
double router_balance(const struct router *r, const struct routing *f, real *mean);
/* mean_n (log sum exp r_n)^2 (ST-MoE): keeps scores small, which softmax alone does not see. */
double router_z_loss(const struct routing *f);

/* Balance without a loss (DeepSeek): bias (E) moves by `step` towards the experts with less than the mean load. Its
 * mean, on which no choice depends, is subtracted: seldom are as many experts above the mean load as below. */
void router_bias_update(real *bias, const double *load, size_t E, double step);

#endif
