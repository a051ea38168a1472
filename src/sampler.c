/* Top-k and top-p both keep the tokens above a threshold. The threshold is found by bisection on the logits'
 * values, which takes a few passes over V numbers and needs neither a sort nor a copy. */
#include "sampler.h"

#include <math.h>

static int32_t highest(const real *logits, size_t V) {
    size_t best = 0;
    for (size_t v = 1; v < V; v++)
        if (logits[v] > logits[best]) best = v;
    return (int32_t)best;
}

struct above {
    size_t count;
    double mass;
};
static struct above count_above(const real *weights, size_t V, real threshold) {
    struct above a = {0, 0};
    for (size_t v = 0; v < V; v++)
        if (weights[v] >= threshold) a.count++, a.mass += weights[v];
    return a;
}

/* The highest threshold that keeps at least `count` tokens and at least `mass` of the weight; weights lie in
 * [0, 1] with a highest of 1. Stops when no number lies between the bounds. */
static real threshold_for(const real *weights, size_t V, size_t count, double mass) {
    real low = 0, high = 1; /* low keeps enough; high may not */
    const struct above top = count_above(weights, V, high);
    if (top.count >= count && top.mass >= mass) return high;
    for (;;) {
        const real middle = low + (high - low) / 2;
        if (middle <= low || middle >= high) return low;
        const struct above a = count_above(weights, V, middle);
        if (a.count >= count && a.mass >= mass) low = middle;
        else high = middle;
    }
}

static void keep_above(real *weights, size_t V, real threshold) {
    for (size_t v = 0; v < V; v++)
        if (weights[v] < threshold) weights[v] = 0;
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
    real *weights = logits; /* exp((logit - high) / temperature), in (0, 1] */
    for (size_t v = 0; v < V; v++) weights[v] = (real)exp((double)(logits[v] - high) / s->temperature);
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
