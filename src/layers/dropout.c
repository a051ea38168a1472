/* See dropout.h. */
#include "dropout.h"

#include "../base/rng.h"
#include "../base/tasks.h"
#include "../base/util.h"

struct dropout dropout_of(double share, uint64_t seed, uint64_t step, uint64_t pass) {
    struct rng rng;
    rng_seed(&rng, seed, hash_bytes(HASH_START, "dropout", 7));
    return (struct dropout){share, rng_at(rng_at(rng_next(&rng), step), pass)};
}

struct dropout dropout_at(struct dropout of_pass, size_t block, enum site site) {
    return (struct dropout){of_pass.share, rng_at(of_pass.key, block * SITES + site)};
}

/* out = start + x * mask: of 2^64 numbers that a channel may draw, the lowest P are a 0 in the mask. */
static void rows_drop(const struct dropout *d, real *out, const real *start, const real *x, size_t rows, size_t C) {
    const uint64_t dropped = (uint64_t)(d->share * 0x1p64);
    const real scale = (real)(1 / (1 - d->share));
#pragma omp parallel for if (rows > FEW_ROWS)
    for (size_t r = 0; r < rows; r++) {
        const uint64_t key = rng_at(d->key, r);
        for (size_t c = 0; c < C; c++) {
            const real left = rng_at(key, c) < dropped ? 0 : scale * x[r * C + c];
            out[r * C + c] = start ? start[r * C + c] + left : left;
        }
    }
}

const real *dropout_start(const struct dropout *d, const real *start) { return d->share > 0 ? NULL : start; }

void dropout_forward(const struct dropout *d, real *out, const real *start, size_t rows, size_t C) {
    if (d->share > 0) rows_drop(d, out, start, out, rows, C);
}

/* dx = dout * mask */
const real *dropout_backward(const struct dropout *d, real *room, const real *dout, size_t rows, size_t C) {
    if (!(d->share > 0)) return dout;
    rows_drop(d, room, NULL, dout, rows, C);
    return room;
}
