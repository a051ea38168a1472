/* What enters a model: a row of the stream for each row of a batch (batch.h).
 *
 *     row = what it shows + wpe_t + kind + place
 *
 * It shows a token: wte_v; a patch of a picture: its pixels through a linear layer (arXiv 2010.11929); or nothing,
 * where the model has to fill in: the mask embedding (arXiv 2208.10442). Of a model with pictures the first P
 * positions t are the patches of a picture, each a place with a vector of its own, and those behind them text; a kind
 * is a picture or a text. A model of text alone has none of these, and P = 0. */
#ifndef INPUTS_H
#define INPUTS_H

#include "linear.h"
#include "../base/batch.h"

/* A tensor of vectors of C numbers, and its gradient, which is added to; `w` NULL: there is none, nothing is added. */
struct vectors {
    const real *w;
    real *dw;
};

struct inputs {
    size_t C, P;
    struct vectors tokens, positions; /* (V, C), (T, C) */
    struct vectors kinds, places;     /* (2, C) of pictures and of texts, (P, C) */
    struct vectors mask;              /* (C) */
    struct linear patch;              /* (Q) to (C) */
    int32_t *patch_of;                /* (R) of rows that show a patch, which one; work memory; NULL without pictures */
    real *patches;                    /* (R, C) those shown, as the stream has them; in backward their gradients */
    void *work;                       /* linear_workspace_bytes of patch, for backward */
};

/* out (rows, C). */
void inputs_forward(const struct inputs *in, real *out, const struct batch *batch);

/* From the gradient of out: adds to the gradients of all that went into it. */
void inputs_backward(const struct inputs *in, const real *dout, const struct batch *batch);

#endif
