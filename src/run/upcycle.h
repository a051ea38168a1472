/* Experts from a dense layer: sparse upcycling (Komatsuzaki and others, arXiv 2212.05055), and what comes nearest to it
 * where experts see parts of a token. Section 8 of docs/MHMOE.md derives both, and docs/RESULTS.md says what they
 * gained. */
#ifndef UPCYCLE_H
#define UPCYCLE_H

#include "parameters.h"

/* out = act(in W1^T + b1) W2^T + b2. Biases may be NULL. */
struct dense_weights {
    size_t F;
    const real *w1, *b1, *w2, *b2; /* (W F, C), (W F), (C, F), (C) */
};

/* Those of a MoE layer; what it does not have is NULL. */
struct moe_weights {
    const struct sizes *sizes;
    bool renormalize;
    real *router;            /* (E, D) */
    real *w1, *b1, *w2, *b2; /* (E, W F, S), (E, W F), (E, S, F), (E, S) */
    real *head, *head_b, *merge, *merge_b; /* (C, C), (C) */
};

enum upcycling {
    UPCYCLE_NOT,    /* the layers do not fit */
    UPCYCLE_TOKENS, /* experts see what the dense layer saw */
    UPCYCLE_PARTS   /* experts see sub-tokens, made by one layer before them and put together by one behind */
};
enum upcycling upcycle_kind(const struct config *config, const struct sizes *sizes, const struct sizes *dense);

/* Whether tensors of a part of the model are made so; others stay as a new model has them. */
bool upcycle_makes(enum upcycling kind, enum part part);

/* Makes them, on top of a new model's initialisation. */
void upcycle(enum upcycling kind, const struct moe_weights *moe, const struct dense_weights *dense);

#endif
