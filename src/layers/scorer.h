/* What says how likely each of a range of targets is: the pieces of text, or the visual codes of patches. A linear
 * layer without bias makes a logit for each; the loss of a row is -log softmax(logits)[target]. Logits exist only a
 * few rows at a time. */
#ifndef SCORER_H
#define SCORER_H

#include "linear.h"

struct scorer {
    struct linear head;  /* (C) to as many logits as there are targets */
    int32_t first;       /* its targets are first, first + 1, ... */
    size_t most;         /* rows at a time */
    real *logits;        /* (most, head.OC) */
    void *work;          /* linear_workspace_bytes of head for so many rows: for gradients */
    /* Where it is not the only scorer: the rows whose target is one of its own, those targets, their losses, (rows)
     * each, and (most, C) for gradients. Else NULL: all rows are its own, and first is 0. */
    int32_t *own, *own_targets;
    real *own_losses, *d_own;
};

/* x (rows, C). Of its own rows: losses[r], 0 without a target, and with scale > 0 d_x[r], the gradient of
 * scale * (sum of losses); head.dw is added to. Other rows' losses and d_x stay as they are. */
void scorer_run(const struct scorer *s, real *losses, real *d_x, const real *x, const int32_t *targets, size_t rows,
                double scale);

#endif
