/* Muon (Jordan et al., 2024): momentum whose singular values are all brought to about 1, for matrices within the model.
 *
 * A matrix' move is that of the same learning rate under AdamW in its root mean square, about 0.2 (Liu et al.,
 * arXiv 2502.16982), so that --lr and --weight-decay mean what they do there. Each matrix is one by itself: an
 * expert's, a block's. Products are gemm.h's, sums are in the order of gradient_norm's: same bits for any number of
 * threads. */
#ifndef MUON_H
#define MUON_H

#include "optimizer.h"

struct muon {
    double momentum, weight_decay;
};

/* n matrices (rows, columns), one after the other. */
struct matrices {
    size_t n, rows, columns;
};

/* Work memory that they take (64-aligned). */
size_t muon_work_bytes(const struct matrices *of);

/* One update of a slab that is these matrices; slab->v is not used:
 *   g = scale * g;  m = momentum m + (1 - momentum) g;  X = momentum m + (1 - momentum) g (Nesterov);  X /= |X| + 1e-7
 *   five times: A = X X^T;  X = (3.4445 I - 4.7750 A + 2.0315 A A) X
 *   w -= lr * (0.2 sqrt(max(rows, columns)) X + decay * w) */
void muon_update(const struct muon *muon, const struct slab *slab, const struct matrices *of, double lr, double scale,
                 void *work);

#endif
