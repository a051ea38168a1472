/* See position.h. Backward stands under its forward and quotes the line it differentiates. */
#include "position.h"

#include "norm.h"
#include "../base/tasks.h"
#include "../math/vecmath.h"

void position_turns(real *turns, size_t T, size_t hs) {
    for (size_t t = 0; t < T; t++)
        for (size_t i = 0; i < hs / 2; i++) {
            const double angle = (double)t * pow(10000, -2.0 * (double)i / (double)hs);
            turns[t * hs + i] = (real)cos(angle);
            turns[t * hs + hs / 2 + i] = (real)sin(angle);
        }
}

/* x (hs) = scale * x, turned forwards (side 1) or back (-1). */
static void head_turn(real *restrict x, const real *restrict turn, size_t hs, real scale, real side) {
    const real *restrict cosine = turn, *restrict sine = turn + hs / 2;
    real *restrict y = x + hs / 2;
    for (size_t i = 0; i < hs / 2; i++) {
        const real a = x[i], b = y[i];
        x[i] = scale * (a * cosine[i] - side * b * sine[i]);
        y[i] = scale * (a * side * sine[i] + b * cosine[i]);
    }
}

/* The place of the batch's row r among the positions' turns, or NULL. */
static const real *turn_of(const struct position *p, const struct batch *batch, size_t r) {
    return p->turns ? p->turns + batch_position(batch, r) * (p->C / p->NH) : NULL;
}

/* turned = s x, turned by its position; s = 1 / sqrt(mean of x^2 + epsilon) */
void position_forward(const struct position *p, struct kept qkv, real *raw, const struct batch *batch) {
    const size_t C = p->C, hs = C / p->NH, heads = p->turns || p->scales ? 2 * p->NH : 0;
    if (heads == 0 && qkv.data == raw) return;
#pragma omp parallel for if (batch_rows(batch) > FEW_ROWS)
    for (size_t r = 0; r < batch_rows(batch); r++) {
        const real *turn = turn_of(p, batch, r);
        for (size_t h = 0; h < heads; h++) {
            real *x = raw + r * 3 * C + h * hs, s = 1;
            if (p->scales) p->scales[r * heads + h] = s = 1 / (real)sqrt(row_dot(x, x, hs) / hs + NORM_EPSILON);
            if (turn) head_turn(x, turn, hs, s, 1);
            else row_scale(x, s, hs);
        }
        kept_store(kept_at(qkv, r * 3 * C), raw + r * 3 * C, 3 * C);
    }
}

/* dx = s (dy - y mean(y * dy)), turned back; y is `turned`, as dy is, which leaves their product as it is. */
void position_backward(const struct position *p, real *dqkv, struct kept qkv, const struct batch *batch) {
    const size_t C = p->C, heads = 2 * p->NH, hs = C / p->NH;
    if (!p->turns && !p->scales) return;
#pragma omp parallel for
    for (size_t r = 0; r < batch_rows(batch); r++) {
        const real *turn = turn_of(p, batch, r);
        for (size_t h = 0; h < heads; h++) {
            real room[hs];
            const real *y = kept_load(kept_at(qkv, r * 3 * C + h * hs), room, hs);
            const real s = p->scales ? p->scales[r * heads + h] : 1;
            real *dy = dqkv + r * 3 * C + h * hs;
            if (p->scales) row_add_scaled(dy, -row_dot(y, dy, hs) / hs, y, hs);
            if (turn) head_turn(dy, turn, hs, s, -1);
            else row_scale(dy, s, hs);
        }
    }
}
