/* Random numbers: xoshiro256++ (Blackman and Vigna), seeded through SplitMix64.
 *
 * Every use draws from its own sequence (a seed and a number), so that adding
 * a tensor or a sample never shifts what another one draws. The state is four words
 * that go into a checkpoint. */
#ifndef RNG_H
#define RNG_H

#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *rng, uint64_t seed, uint64_t sequence);
uint64_t rng_next(struct rng *rng);
double rng_uniform(struct rng *rng); /* [0, 1), 53 bits */
uint64_t rng_below(struct rng *rng, uint64_t n); /* [0, n), n < 2^53 */
double rng_normal(struct rng *rng);  /* mean 0, variance 1; two uniforms a call (Box-Muller) */

/* A bijection of [0, n) chosen by `key`, evaluated at i in constant time and memory
 * (an eight-round Feistel network, cycle-walked into range): the shuffle of an epoch. */
uint64_t shuffle_index(uint64_t i, uint64_t n, uint64_t key);

#endif
