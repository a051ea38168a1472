/* Seeded normal numbers, for tests of kernels. */
#ifndef RANDOM_NUMBERS_H
#define RANDOM_NUMBERS_H

#include "../src/base/real.h"
#include "../src/base/rng.h"
#include "../src/base/util.h"

static inline void random_fill(real *x, size_t n, uint64_t seed) {
    struct rng rng;
    rng_seed(&rng, seed, 0);
    for (size_t i = 0; i < n; i++) x[i] = (real)rng_normal(&rng);
}

static inline real *random_numbers(size_t n, uint64_t seed) {
    real *x = array_alloc(n, sizeof *x);
    random_fill(x, n, seed);
    return x;
}

#endif
