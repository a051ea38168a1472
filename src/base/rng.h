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

/* The output function of SplitMix64: a bijection of 64 bits that looks random; 0 maps to 0. */
static inline uint64_t bits_mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
#define RNG_INCREMENT 0x9e3779b97f4a7c15u /* 2^64 / golden ratio: the increment of SplitMix64 */

/* Number i of the sequence that SplitMix64 draws from the seed `key`, without those before it: for what is drawn in any
 * order, by any thread, or again. A result is a key in turn. */
static inline uint64_t rng_at(uint64_t key, uint64_t i) { return bits_mix(key + (i + 1) * RNG_INCREMENT); }

/* A bijection of [0, n) chosen by `key`, evaluated at i in constant time and memory
 * (an eight-round Feistel network, cycle-walked into range): the shuffle of an epoch. */
uint64_t shuffle_index(uint64_t i, uint64_t n, uint64_t key);

#endif
