/* See sampler.h. Top-k, typical and top-p all keep the tokens above a threshold: of the logits, or of how typical they
 * are. It is found digit by digit, as a radix sort would, from histograms of the numbers' bits: three passes over V
 * numbers and no sort. */
#include "sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../base/util.h"
#include "../math/vecmath.h"

static size_t highest(const real *logits, size_t V) {
    size_t best = 0;
    for (size_t v = 1; v < V; v++)
        if (logits[v] > logits[best]) best = v;
    return best;
}

/* ---- What comes before the choice ---- */

static bool has_penalties(const struct sampler *s) {
    return s->penalty_last != 0 && (s->repetition != 1 || s->frequency != 0 || s->presence != 0);
}

void sampler_read(struct sampler *s, const int32_t *tokens, size_t n) {
    if (!has_penalties(s) || n == 0) return;
    s->past = array_grow(s->past, &s->past_capacity, s->n_past + n, sizeof *s->past);
    memcpy(s->past + s->n_past, tokens, n * sizeof *tokens);
    s->n_past += n;
}

void sampler_free(struct sampler *s) {
    free(s->past);
    s->past = NULL;
    s->n_past = s->past_capacity = 0;
}

static void biases_add(const struct sampler *s, real *logits, size_t V) {
    for (size_t i = 0; i < s->n_biases; i++) logits[s->biases[i].token] += (real)s->biases[i].amount;
    for (size_t v = 0; s->barred && v < V; v++)
        if (s->barred[v]) logits[v] = -INFINITY;
}

static void penalties_take(const struct sampler *s, real *logits, size_t V) {
    const size_t all = s->n_past, last = (size_t)s->penalty_last, n = s->penalty_last < 0 || last > all ? all : last;
    size_t *counts = array_alloc(V, sizeof *counts);
    for (size_t i = all - n; i < all; i++) counts[s->past[i]]++;
    for (size_t v = 0; v < V; v++) {
        if (counts[v] == 0) continue;
        const double logit = (double)logits[v], less = logit > 0 ? logit / s->repetition : logit * s->repetition;
        logits[v] = (real)(less - (double)counts[v] * s->frequency - s->presence);
    }
    free(counts);
}

/* ---- The filters ---- */

/* What is left to choose from: the others' logits are -INFINITY, their weights 0. */
struct candidates {
    real *logits, *weights; /* (V); weights: exp(logit - shift), in [0, 1] */
    real *order;            /* (V) room for another order than that of the logits */
    size_t V;
    real shift;
};

static double total(const struct candidates *c) {
    double sum = 0;
    for (size_t v = 0; v < c->V; v++) sum += (double)c->weights[v];
    return sum;
}

/* exp((logit - highest) * scale): 1 for the highest. */
static void weigh(struct candidates *c, real scale) {
    c->shift = c->logits[highest(c->logits, c->V)];
    for (size_t v = 0; v < c->V; v++) c->weights[v] = c->logits[v] - c->shift;
    row_exp(c->weights, c->weights, c->V, scale, 0);
}

/* Bits that are in the order of the numbers. */
static uint32_t key_of(real number) {
    const float x = (float)number + 0.0f; /* -0 is 0 */
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits >> 31 ? ~bits : bits | 1u << 31;
}

enum { DIGIT = 11, DIGITS = 1 << DIGIT }; /* 33 bits in three passes */

/* The highest threshold, as a key of `order`, that keeps at least `count` tokens and at least `mass` of the weights. */
static uint32_t threshold_for(const struct candidates *c, const real *order, size_t count, double mass) {
    uint32_t threshold = 0; /* its digits so far */
    size_t above_count = 0; /* of tokens whose digits so far are higher */
    double above_mass = 0;
    for (int shift = 2 * DIGIT; shift >= 0; shift -= DIGIT) {
        size_t counts[DIGITS] = {0};
        double masses[DIGITS] = {0};
        for (size_t v = 0; v < c->V; v++) {
            const uint32_t key = key_of(order[v]);
            if ((uint64_t)key >> (shift + DIGIT) != (uint64_t)threshold >> (shift + DIGIT)) continue;
            counts[key >> shift & (DIGITS - 1)]++;
            masses[key >> shift & (DIGITS - 1)] += (double)c->weights[v];
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

/* Keeps what comes first in `order`: at least `count` tokens that have at least this share of the weights. */
static void keep_first(struct candidates *c, const real *order, size_t count, double share) {
    const uint32_t threshold = threshold_for(c, order, count, share > 0 ? share * total(c) : 0);
    for (size_t v = 0; v < c->V; v++) {
        if (key_of(order[v]) >= threshold) continue;
        c->logits[v] = -INFINITY;
        c->weights[v] = 0;
    }
}

/* Locally typical sampling (Meister et al., 2023): first comes what is nearest to the entropy. */
static void keep_typical(struct candidates *c, double share) {
    const double sum = total(c), log_sum = log(sum);
    double entropy = 0;
    for (size_t v = 0; v < c->V; v++) {
        const double surprise = log_sum - (double)(c->logits[v] - c->shift);
        if (c->weights[v] > 0) entropy += (double)c->weights[v] / sum * surprise;
    }
    for (size_t v = 0; v < c->V; v++)
        c->order[v] = -(real)fabs(log_sum - (double)(c->logits[v] - c->shift) - entropy);
    keep_first(c, c->order, 1, share);
}

static void keep_from(struct candidates *c, real least) {
    for (size_t v = 0; v < c->V; v++)
        if (c->logits[v] < least) c->logits[v] = -INFINITY;
}

static void filters_apply(const struct sampler *s, struct candidates *c) {
    const bool by_count = s->top_k > 0 && (size_t)s->top_k < c->V;
    if (by_count || s->typical < 1 || s->top_p < 1) weigh(c, 1);
    if (by_count) keep_first(c, c->logits, (size_t)s->top_k, 0);
    if (s->typical < 1) keep_typical(c, s->typical);
    if (s->top_p < 1) keep_first(c, c->logits, 1, s->top_p);
    if (s->min_p > 0) keep_from(c, c->logits[highest(c->logits, c->V)] + (real)log(s->min_p));
}

/* ---- The choice ---- */

static size_t draw(const struct candidates *c, struct rng *rng) {
    double left = rng_uniform(rng) * total(c);
    for (size_t v = 0; v < c->V; v++) {
        left -= (double)c->weights[v];
        if (left < 0 && c->weights[v] > 0) return v;
    }
    return highest(c->logits, c->V); /* only rounding gets here */
}

static size_t choose(struct sampler *s, real *logits, size_t V) {
    struct candidates c = {.logits = logits, .V = V};
    if (s->temperature == 0 || !(logits[highest(logits, V)] > -INFINITY)) return highest(logits, V);
    c.weights = array_alloc(V, 2 * sizeof *c.weights);
    c.order = c.weights + V;
    filters_apply(s, &c);
    weigh(&c, (real)fmin(1 / s->temperature, 1e30));
    const size_t chosen = draw(&c, &s->rng);
    free(c.weights);
    return chosen;
}

int32_t sampler_pick(struct sampler *s, real *logits, size_t V) {
    if (s->on_logits) s->on_logits(s->on_logits_context, logits, V);
    biases_add(s, logits, V);
    if (has_penalties(s)) penalties_take(s, logits, V);
    const int32_t token = (int32_t)choose(s, logits, V);
    sampler_read(s, &token, 1);
    return token;
}
