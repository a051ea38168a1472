/* Top-k and top-p both keep the tokens above a threshold. It is found digit by digit, as a radix sort would, from
 * histograms of the weights' bits: three passes over V numbers, no sort and no copy. */
#include "sampler.h"

#include <math.h>
#include <string.h>
#include "../math/vecmath.h"

static int32_t highest(const real *logits, size_t V) {
    size_t best = 0;
    for (size_t v = 1; v < V; v++)
        if (logits[v] > logits[best]) best = v;
    return (int32_t)best;
}

/* A weight's bits as a float, which for numbers >= 0 are in the numbers' order. */
static uint32_t bits_of(real weight) {
    const float x = (float)weight;
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

enum { DIGIT = 11, DIGITS = 1 << DIGIT }; /* 33 bits in three passes */

/* The highest threshold, as bits, that keeps at least `count` tokens and at least `mass` of the weight. */
static uint32_t threshold_for(const real *weights, size_t V, size_t count, double mass) {
    uint32_t threshold = 0; /* its digits so far */
    size_t above_count = 0; /* of weights whose digits so far are higher */
    double above_mass = 0;
    for (int shift = 2 * DIGIT; shift >= 0; shift -= DIGIT) {
        size_t counts[DIGITS] = {0};
        double masses[DIGITS] = {0};
        for (size_t v = 0; v < V; v++) {
            const uint32_t bits = bits_of(weights[v]);
            if ((uint64_t)bits >> (shift + DIGIT) != (uint64_t)threshold >> (shift + DIGIT)) continue;
            counts[bits >> shift & (DIGITS - 1)]++;
            masses[bits >> shift & (DIGITS - 1)] += weights[v];
        }
        uint32_t digit = DIGITS - 1;
        while (digit > 0 && (above_count + counts[digit] < count || above_mass + masses[digit] < mass)) {
            above_count += counts[digit];
            above_mass += masses[digit--];
        }
        threshold |= digit << shift;
    }
    return threshold;
}

static void keep_above(real *weights, size_t V, uint32_t threshold) {
    for (size_t v = 0; v < V; v++)
        if (bits_of(weights[v]) < threshold) weights[v] = 0;
}

static double total(const real *weights, size_t V) {
    double sum = 0;
    for (size_t v = 0; v < V; v++) sum += weights[v];
    return sum;
}

int32_t sampler_pick(struct sampler *s, real *logits, size_t V) {
    const int32_t best = highest(logits, V);
    if (s->temperature == 0) return best;
    const real high = logits[best];
    real *weights = logits; /* exp((logit - high) / temperature), in [0, 1] and 1 for the best */
    for (size_t v = 0; v < V; v++) weights[v] -= high;
    row_exp(weights, weights, V, (real)fmin(1 / s->temperature, 1e30), 0);
    if (s->top_k > 0 && (size_t)s->top_k < V)
        keep_above(weights, V, threshold_for(weights, V, (size_t)s->top_k, 0));
    if (s->top_p < 1) keep_above(weights, V, threshold_for(weights, V, 1, s->top_p * total(weights, V)));
    double left = rng_uniform(&s->rng) * total(weights, V);
    for (size_t v = 0; v < V; v++) {
        left -= weights[v];
        if (left < 0 && weights[v] > 0) return (int32_t)v;
    }
    return best; /* only rounding gets here */
}
