/* xoshiro256++ and SplitMix64 after Blackman and Vigna (prng.di.unimi.it, "Scrambled Linear Pseudorandom
 * Number Generators", arXiv 1805.01407), and a shuffle that needs no array. */
#include "rng.h"

#include <math.h>

/* Stream 0 of a seed is the standard seeding; other streams start SplitMix64 far from it. */
void rng_seed(struct rng *rng, uint64_t seed, uint64_t sequence) {
    uint64_t state = seed ^ bits_mix(sequence);
    for (int i = 0; i < 4; i++) rng->s[i] = bits_mix(state += RNG_INCREMENT);
}

static uint64_t bits_rotate(uint64_t x, int k) {
    return (x << k) | (x >> (64 - k));
}

uint64_t rng_next(struct rng *rng) {
    uint64_t *s = rng->s;
    uint64_t result = bits_rotate(s[0] + s[3], 23) + s[0];
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = bits_rotate(s[3], 45);
    return result;
}

double rng_uniform(struct rng *rng) {
    return (double)(rng_next(rng) >> 11) * 0x1p-53;
}

/* A uniform number is at most 1 - 2^-53, and the product with that is rounded down. */
uint64_t rng_below(struct rng *rng, uint64_t n) {
    return (uint64_t)(rng_uniform(rng) * (double)n);
}

double rng_normal(struct rng *rng) {
    double radius = sqrt(-2 * log(1 - rng_uniform(rng))); /* 1 - u is never 0 */
    return radius * cos(2 * M_PI * rng_uniform(rng));
}

/* Each round changes one half by a function of the other, so it can be undone whatever the function is:
 * the whole is a bijection of [0, 2^bits). Four rounds are visibly uneven when n is small; eight are not
 * (tests/test_util.c measures it). */
static uint64_t bits_permute(uint64_t x, int bits, uint64_t key) {
    int low = bits / 2;
    uint64_t low_mask = ((uint64_t)1 << low) - 1, high_mask = ((uint64_t)1 << (bits - low)) - 1;
    uint64_t left = x >> low, right = x & low_mask;
    for (int round = 0; round < 8; round += 2) {
        left ^= bits_mix(right + bits_mix(key += RNG_INCREMENT)) & high_mask;
        right ^= bits_mix(left + bits_mix(key += RNG_INCREMENT)) & low_mask;
    }
    return left << low | right;
}

/* Walks the cycle of i until it is back inside [0, n): since 2^bits < 2n, fewer than two steps on average
 * (up to 64 for a handful of elements, where halves of less than three bits would mix badly). */
uint64_t shuffle_index(uint64_t i, uint64_t n, uint64_t key) {
    int bits = n > 64 ? 64 - __builtin_clzll(n - 1) : 6;
    do {
        i = bits_permute(i, bits, key);
    } while (i >= n);
    return i;
}
