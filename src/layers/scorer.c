/* See scorer.h. */
#include "scorer.h"

#include <string.h>
#include "../math/kernels.h"

/* Finds the rows whose target it scores; returns how many. */
static size_t own_rows(const struct scorer *s, const int32_t *targets, size_t rows) {
    size_t n = 0;
    for (size_t r = 0; r < rows; r++) {
        if (targets[r] < s->first || (size_t)(targets[r] - s->first) >= s->head.OC) continue;
        s->own[n] = (int32_t)r;
        s->own_targets[n++] = targets[r] - s->first;
    }
    return n;
}

/* d_x of n rows from their logits' gradients: those of x from its first on, or with `pick` these rows of it. */
static void logits_backward(const struct scorer *s, real *d_x, const real *x, const int32_t *pick, size_t n) {
    const size_t C = s->head.IC;
    real *d_rows = pick ? s->d_own : d_x;
    struct gemm products[] = {linear_dw_product(&s->head, kept_real(s->logits), kept_real(x), n),
                              linear_din_product(&s->head, d_rows, kept_real(s->logits), NULL, n)};
    products[0].B.pick = pick;
    gemm_run(products, 2, s->work);
    for (size_t i = 0; pick && i < n; i++) memcpy(d_x + (size_t)pick[i] * C, d_rows + i * C, C * sizeof(real));
}

void scorer_run(const struct scorer *s, real *losses, real *d_x, const real *x, const int32_t *targets, size_t rows,
                double scale) {
    const size_t n = s->own ? own_rows(s, targets, rows) : rows, C = s->head.IC;
    const int32_t *all_targets = s->own ? s->own_targets : targets;
    real *all_losses = s->own ? s->own_losses : losses;
    for (size_t i = 0; i < n; i += s->most) {
        const size_t some = n - i < s->most ? n - i : s->most, at = s->own ? 0 : i * C;
        const int32_t *pick = s->own ? s->own + i : NULL;
        struct gemm product = linear_product(&s->head, s->logits, kept_real(x + at), NULL, some);
        product.A.pick = pick;
        gemm_run(&product, 1, NULL);
        crossentropy(all_losses + i, s->logits, all_targets + i, some, s->head.OC, (real)scale);
        if (scale > 0) logits_backward(s, d_x + at, x + at, pick, some);
    }
    for (size_t i = 0; s->own && i < n; i++) losses[s->own[i]] = s->own_losses[i];
}
