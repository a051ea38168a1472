/* The sampler's filters against a plain version of each, which sorts: alone, all together, at their edges, and in their
 * order. What the sampler does with temperature alone, top-k and top-p is in test_sampler.c, too. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../src/base/util.h"
#include "../src/run/sampler.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
enum { V = 31, PAST = 40 };

/* ---- The plain version ---- */

enum step { BIASES, PENALTIES, TOP_K, TYPICAL, TOP_P, MIN_P, TEMPERATURE, STEPS };
static const enum step in_order[STEPS] = {BIASES, PENALTIES, TOP_K, TYPICAL, TOP_P, MIN_P, TEMPERATURE};

static void probabilities(double *p, const double *logits, size_t n) {
    double high = -INFINITY, sum = 0;
    for (size_t v = 0; v < n; v++) high = fmax(high, logits[v]);
    for (size_t v = 0; v < n; v++) sum += p[v] = exp(logits[v] - high);
    for (size_t v = 0; v < n; v++) p[v] /= sum;
}

struct ranked {
    double rank, p;
    size_t v;
};
static int ranked_compare(const void *a, const void *b) {
    const double x = ((const struct ranked *)a)->rank, y = ((const struct ranked *)b)->rank;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Keeps those of the highest ranks: at least `count`, and as many as reach the share; and their equals. */
static void plain_keep(double *logits, size_t n, const double *ranks, size_t count, double share) {
    double p[V], reached = 0;
    struct ranked all[V];
    size_t kept = 0;
    probabilities(p, logits, n);
    for (size_t v = 0; v < n; v++) all[v] = (struct ranked){ranks[v], p[v], v};
    qsort(all, n, sizeof *all, ranked_compare);
    while (kept < n && (kept < count || reached < share)) reached += all[kept++].p;
    while (kept < n && all[kept].rank == all[kept - 1].rank) kept++;
    for (; kept < n; kept++) logits[all[kept].v] = -INFINITY;
}

static void plain_penalties(const struct sampler *s, double *logits, size_t n) {
    const size_t last = s->penalty_last < 0 ? s->n_past : (size_t)s->penalty_last;
    for (size_t v = 0; v < n; v++) {
        int times = 0;
        for (size_t i = 0; i < s->n_past; i++) times += i + last >= s->n_past && s->past[i] == (int32_t)v;
        if (times == 0) continue;
        if (logits[v] > 0) logits[v] /= s->repetition;
        else logits[v] *= s->repetition;
        logits[v] -= times * s->frequency + s->presence;
    }
}

static void plain_typical(double *logits, size_t n, double share) {
    double p[V], ranks[V], entropy = 0;
    probabilities(p, logits, n);
    for (size_t v = 0; v < n; v++) entropy -= p[v] > 0 ? p[v] * log(p[v]) : 0;
    for (size_t v = 0; v < n; v++) ranks[v] = -fabs(-log(p[v]) - entropy);
    plain_keep(logits, n, ranks, 1, share);
}

static void plain_step(enum step step, const struct sampler *s, double *logits, size_t n) {
    double high = -INFINITY, ranks[V];
    memcpy(ranks, logits, n * sizeof *ranks);
    for (size_t v = 0; v < n; v++) high = fmax(high, logits[v]);
    switch (step) {
    case BIASES:
        for (size_t i = 0; i < s->n_biases; i++) logits[s->biases[i].token] += s->biases[i].amount;
        for (size_t v = 0; s->barred && v < n; v++) logits[v] = s->barred[v] ? -INFINITY : logits[v];
        break;
    case PENALTIES: plain_penalties(s, logits, n); break;
    case TOP_K:
        if (s->top_k > 0) plain_keep(logits, n, ranks, (size_t)s->top_k, 0);
        break;
    case TYPICAL:
        if (s->typical < 1) plain_typical(logits, n, s->typical);
        break;
    case TOP_P:
        if (s->top_p < 1) plain_keep(logits, n, ranks, 1, s->top_p);
        break;
    case MIN_P:
        for (size_t v = 0; v < n; v++) logits[v] = logits[v] < high + log(s->min_p) ? -INFINITY : logits[v];
        break;
    case TEMPERATURE:
        for (size_t v = 0; v < n; v++) logits[v] /= s->temperature;
        break;
    case STEPS: break;
    }
}

/* The probability of each token. */
static void plain_chain(double *p, const enum step *order, const struct sampler *s, const real *logits, size_t n) {
    double changed[V];
    for (size_t v = 0; v < n; v++) changed[v] = (double)logits[v];
    for (size_t i = 0; i < STEPS; i++) plain_step(order[i], s, changed, n);
    probabilities(p, changed, n);
}

/* ---- How the sampler is asked ---- */

/* A generator whose next uniform number is u: xoshiro256++ gives rotl(s0 + s3, 23) + s0. */
static struct rng rng_giving(double u) {
    const uint64_t bits = (uint64_t)(u * 0x1p53) << 11;
    return (struct rng){{0, 1, 2, bits >> 23 | bits << 41}};
}

/* One pick that leaves s as it was, but for its generator. */
static int32_t pick(struct sampler *s, const real *logits, size_t n) {
    real copy[V];
    struct sampler once = *s;
    memcpy(copy, logits, n * sizeof *copy);
    once.past = NULL;
    once.n_past = once.past_capacity = 0;
    if (s->n_past > 0) sampler_read(&once, s->past, s->n_past);
    const int32_t token = sampler_pick(&once, copy, n);
    s->rng = once.rng;
    sampler_free(&once);
    assert_in_range(token, 0, n - 1);
    return token;
}

/* Evenly spread numbers hit an interval of probability p draws * p times, give or take one; the second is for the
 * rounding of float weights at the interval's ends. */
static void spread_check(const struct sampler *s, const real *logits, size_t n, const double *p) {
    enum { DRAWS = 3000 };
    double counts[V] = {0};
    struct sampler asked = *s;
    for (int i = 0; i < DRAWS; i++) {
        asked.rng = rng_giving((i + 0.5) / DRAWS);
        counts[pick(&asked, logits, n)]++;
    }
    for (size_t v = 0; v < n; v++)
        if (p[v] == 0 ? counts[v] > 0 : !(fabs(counts[v] - DRAWS * p[v]) <= 2))
            fail_msg("token %zu came %g times, want %g (k %d, typical %g, p %g, min-p %g, temperature %g)", v,
                     counts[v], DRAWS * p[v], s->top_k, s->typical, s->top_p, s->min_p, s->temperature);
}

/* With the program's own random numbers. A chi-square of d degrees of freedom has mean d and variance 2d, and exceeds
 * d + 6 sqrt(2d) + 12 once in a hundred million seeds (the sum is Wilson and Hilferty's bound, rounded up). */
static void chi_square_check(const struct sampler *s, const real *logits, size_t n, const double *p) {
    enum { DRAWS = 5000 };
    double counts[V] = {0}, sum = 0, freedom = -1;
    struct sampler asked = *s;
    rng_seed(&asked.rng, 17, 1);
    for (int i = 0; i < DRAWS; i++) counts[pick(&asked, logits, n)]++;
    for (size_t v = 0; v < n; v++) {
        if (p[v] == 0) assert_true(counts[v] == 0);
        else sum += pow(counts[v] - DRAWS * p[v], 2) / (DRAWS * p[v]);
        freedom += p[v] > 1e-4;
    }
    if (!(sum < freedom + 6 * sqrt(2 * freedom) + 12)) fail_msg("chi-square is %g of %g", sum, freedom);
}

static void chain_check(const struct sampler *s, const real *logits, size_t n) {
    double p[V];
    plain_chain(p, in_order, s, logits, n);
    spread_check(s, logits, n, p);
    chi_square_check(s, logits, n, p);
}

static void random_logits(real *logits, size_t n, double deviation, uint64_t seed) {
    struct rng rng;
    rng_seed(&rng, seed, 0);
    for (size_t v = 0; v < n; v++) logits[v] = (real)(deviation * rng_normal(&rng));
}

/* Tokens 0 to 12, the first ones more often. */
static void random_past(int32_t *past, uint64_t seed) {
    struct rng rng;
    rng_seed(&rng, seed, 1);
    for (size_t i = 0; i < PAST; i++) past[i] = (int32_t)(rng_below(&rng, 13) * rng_below(&rng, 13) / 12);
}

/* ---- Each alone ---- */

static void each_filter_alone(void **state) {
    (void)state;
    int32_t past[PAST];
    bool barred[V];
    const struct token_bias biases[] = {{3, 2}, {30, -1.5}, {0, -INFINITY}, {3, 0.5}};
    for (size_t v = 0; v < V; v++) barred[v] = v % 3 == 1;
#define PAST_OF .past = past, .n_past = PAST, .top_p = 1, .temperature = 1, .typical = 1
    const struct sampler all[] = {
        {SAMPLER_PLAIN, .temperature = 1, .top_p = 1},
        {SAMPLER_PLAIN, .temperature = 0.6, .top_p = 1},
        {SAMPLER_PLAIN, .temperature = 1, .top_p = 1, .biases = biases, .n_biases = 4},
        {SAMPLER_PLAIN, .temperature = 1, .top_p = 1, .barred = barred},
        {PAST_OF, .repetition = 1.7, .penalty_last = -1},
        {PAST_OF, .repetition = 0.6, .penalty_last = 5},
        {PAST_OF, .repetition = 1, .frequency = 0.3, .penalty_last = -1},
        {PAST_OF, .repetition = 1, .frequency = -0.4, .penalty_last = 9},
        {PAST_OF, .repetition = 1, .presence = 1.2, .penalty_last = -1},
        {PAST_OF, .repetition = 1, .presence = -0.7, .penalty_last = 1},
        {PAST_OF, .repetition = 1.3, .frequency = 0.2, .presence = 0.4, .penalty_last = 1000},
        {PAST_OF, .repetition = 1.3, .frequency = 0.2, .presence = 0.4, .penalty_last = 0},
        {SAMPLER_PLAIN, .temperature = 1, .top_p = 1, .top_k = 7},
        {.repetition = 1, .temperature = 1, .top_p = 1, .typical = 0.3},
        {.repetition = 1, .temperature = 1, .top_p = 1, .typical = 0.8},
        {SAMPLER_PLAIN, .temperature = 1, .top_p = 0.7},
        {SAMPLER_PLAIN, .temperature = 1, .top_p = 1, .min_p = 0.1},
        {SAMPLER_PLAIN, .temperature = 1, .top_p = 1, .min_p = 0.6},
    };
    for (size_t i = 0; i < COUNT(all); i++)
        for (uint64_t seed = 1; seed < 4; seed++) {
            real logits[V];
            random_logits(logits, V, 1.3, seed);
            random_past(past, seed);
            chain_check(&all[i], logits, V);
        }
}

/* ---- Together, in their order ---- */

/* A sampler with everything on, differently for each seed. */
static struct sampler sampler_random(uint64_t seed, int32_t *past, struct token_bias *biases) {
    struct rng rng;
    rng_seed(&rng, seed, 2);
    random_past(past, seed);
    for (int i = 0; i < 3; i++)
        biases[i] = (struct token_bias){(int32_t)rng_below(&rng, 13), 3 * rng_normal(&rng)};
    return (struct sampler){
        .temperature = 0.5 + 2 * rng_uniform(&rng), .top_k = 8 + (int)rng_below(&rng, 16),
        .typical = 0.7 + 0.3 * rng_uniform(&rng), .top_p = 0.6 + 0.4 * rng_uniform(&rng),
        .min_p = 0.2 * rng_uniform(&rng), .repetition = 1 + rng_uniform(&rng), .frequency = 0.2 * rng_uniform(&rng),
        .presence = rng_uniform(&rng), .penalty_last = (int)rng_below(&rng, PAST), .biases = biases, .n_biases = 3,
        .past = past, .n_past = PAST};
}

/* For each two neighbours there are seeds whose distribution would be another one, were they exchanged. */
static void filters_work_in_their_order(void **state) {
    (void)state;
    int32_t past[PAST];
    struct token_bias biases[3];
    int told[STEPS] = {0};
    for (uint64_t seed = 1; seed <= 30; seed++) {
        const struct sampler s = sampler_random(seed, past, biases);
        real logits[V];
        double p[V], other[V];
        random_logits(logits, V, 1.3, seed);
        chain_check(&s, logits, V);
        plain_chain(p, in_order, &s, logits, V);
        for (size_t i = 0; i + 1 < STEPS; i++) {
            enum step order[STEPS];
            double apart = 0;
            memcpy(order, in_order, sizeof order);
            order[i] = in_order[i + 1];
            order[i + 1] = in_order[i];
            plain_chain(other, order, &s, logits, V);
            for (size_t v = 0; v < V; v++) apart = fmax(apart, fabs(p[v] - other[v]));
            told[i] += apart > 0.01;
        }
    }
    for (size_t i = 0; i + 1 < STEPS; i++)
        if (told[i] < 3) fail_msg("steps %zu and %zu are told apart %d times", i, i + 1, told[i]);
}

/* ---- Edges ---- */

/* The tokens that can come, as bits. */
static uint32_t kept_by(const struct sampler *s, const real *logits, size_t n) {
    enum { DRAWS = 2000 };
    uint32_t kept = 0;
    struct sampler asked = *s;
    for (int i = 0; i < DRAWS; i++) {
        asked.rng = rng_giving((i + 0.5) / DRAWS);
        kept |= 1u << pick(&asked, logits, n);
    }
    return kept;
}

static void kept_expect(const struct sampler *s, const real *logits, size_t n, uint32_t want) {
    const uint32_t kept = kept_by(s, logits, n);
    if (kept != want)
        fail_msg("k %d, typical %.9g, p %.9g, min-p %.9g keep %x, want %x", s->top_k, s->typical, s->top_p, s->min_p,
                 kept, want);
}

/* Of 1/2, 1/4, 1/8 and 1/8 the entropy is 7/4 bits: 1/4 is nearest to it (2 bits), then 1/2 (1), then the others. */
static void typical_starts_at_the_entropy(void **state) {
    (void)state;
    const real logits[] = {(real)log(0.5), (real)log(0.125), (real)log(0.25), (real)log(0.125)};
    const struct {
        double share;
        uint32_t kept;
    } cases[] = {{0, 4}, {0.2, 4}, {0.249, 4}, {0.251, 5}, {0.7, 5}, {0.749, 5}, {0.751, 15}, {0.99, 15}, {1, 15}};
    for (size_t i = 0; i < COUNT(cases); i++)
        kept_expect(&(struct sampler){.repetition = 1, .temperature = 1, .top_p = 1, .typical = cases[i].share}, logits,
                    4, cases[i].kept);
}

/* The likeliest may be gone by then: what min-p compares with is the likeliest that is left, and so is what top-p's
 * share is a share of. */
static void later_filters_see_what_is_left(void **state) {
    (void)state;
    const real logits[] = {(real)log(0.5), (real)log(0.1), (real)log(0.25), (real)log(0.15)};
    struct sampler s = {.repetition = 1, .temperature = 1, .top_p = 1, .typical = 0.2};
    kept_expect(&s, logits, 4, 4);
    s.typical = 0.3; /* 1/4, and of the others 1/2: their surprises are 0.18 and 0.51 from the entropy */
    kept_expect(&s, logits, 4, 5);
    const real flat[] = {(real)log(0.3), (real)log(0.02), (real)log(0.09), (real)log(0.11), (real)log(0.48)};
    s = (struct sampler){.repetition = 1, .temperature = 1, .top_p = 1, .typical = 0.05};
    kept_expect(&s, flat, 5, 1); /* 0.48 is gone */
    s.min_p = 0.9;
    kept_expect(&s, flat, 5, 1);
    s.min_p = 0;
    s.top_p = 0.9;
    kept_expect(&s, flat, 5, 1);
    s = (struct sampler){SAMPLER_PLAIN, .temperature = 1, .top_k = 2, .top_p = 0.61};
    kept_expect(&s, flat, 5, 16); /* 0.48 of 0.78 */
    s.top_p = 0.62;
    kept_expect(&s, flat, 5, 17);
}

static void min_p_is_reached(void **state) {
    (void)state;
    const real quarter = (real)log(0.25), half = (real)log(0.5);
    const real logits[] = {quarter, 0, half, nextafterf(half, -1), nextafterf(quarter, -2)};
    const struct {
        double min_p;
        uint32_t kept;
    } cases[] = {{0, 31}, {0.25, 15}, {0.26, 14}, {0.5, 6}, {0.51, 2}, {1, 2}, {1e-9, 31}};
    for (size_t i = 0; i < COUNT(cases); i++)
        kept_expect(&(struct sampler){SAMPLER_PLAIN, .temperature = 1, .top_p = 1, .min_p = cases[i].min_p}, logits, 5,
                    cases[i].kept);
}

/* Equals stay or go together, 0 and -0 among them; as many as there are is all. */
static void equals_stay_together(void **state) {
    (void)state;
    const real logits[] = {-0.0f, -3, 0, -3, -0.0f, -1}, same[] = {2, 2, 2, 2, 2};
    const struct {
        int k;
        double typical, p, min_p;
        uint32_t kept, kept_same;
    } cases[] = {
        {1, 1, 1, 0, 0x15, 31}, {2, 1, 1, 0, 0x15, 31}, {3, 1, 1, 0, 0x15, 31}, {4, 1, 1, 0, 0x35, 31},
        {5, 1, 1, 0, 0x3f, 31}, {6, 1, 1, 0, 0x3f, 31}, {7, 1, 1, 0, 0x3f, 31}, {1 << 30, 1, 1, 0, 0x3f, 31},
        {0, 1, 0, 0, 0x15, 31}, {0, 0, 1, 0, 0x15, 31}, {0, 1, 1, 1, 0x15, 31}, {1, 0, 0, 1, 0x15, 31},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct sampler s = {.repetition = 1, .temperature = 1, .top_k = cases[i].k, .typical = cases[i].typical,
                                  .top_p = cases[i].p, .min_p = cases[i].min_p};
        kept_expect(&s, logits, 6, cases[i].kept);
        kept_expect(&s, same, 5, cases[i].kept_same);
    }
}

/* What is forbidden stays so, and does not count for any share; where one is left it comes; where none is, none of
 * this crashes. */
static void forbidden_tokens_stay_away(void **state) {
    (void)state;
    const real logits[] = {1, -INFINITY, 0.5f, -INFINITY, 0, -1};
    const bool one[] = {true, true, true, true, false, true}, none[] = {true, true, true, true, true, true};
    const struct token_bias ban[] = {{0, -INFINITY}, {2, -INFINITY}};
    const struct {
        int k;
        double typical, p, min_p, temperature;
    } cases[] = {{0, 1, 1, 0, 1}, {5, 1, 1, 0, 1}, {0, 0.999, 1, 0, 1}, {0, 1, 0.999, 0, 1}, {0, 1, 1, 0.01, 1},
                 {0, 1, 1, 0, 100}, {5, 0.999, 0.999, 0.01, 100}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct sampler s = {.repetition = 1, .temperature = cases[i].temperature, .top_k = cases[i].k,
                            .typical = cases[i].typical, .top_p = cases[i].p, .min_p = cases[i].min_p};
        kept_expect(&s, logits, 6, 0x35);
        s.biases = ban;
        s.n_biases = 2;
        kept_expect(&s, logits, 6, 0x30);
        s.barred = one;
        kept_expect(&s, logits, 6, 0x10);
        s.temperature = 0;
        kept_expect(&s, logits, 6, 0x10);
        s.barred = none;
        kept_by(&s, logits, 6);
        s.temperature = 1;
        kept_by(&s, logits, 6);
    }
}

/* A token too rare for its probability to be a float's comes again at a high temperature, if the filters left it; and
 * they choose among such tokens by their logits. */
static void rare_tokens_keep_their_order(void **state) {
    (void)state;
    const real logits[] = {0, -150, -200, -250};
    struct sampler s = {SAMPLER_PLAIN, .temperature = 100, .top_p = 1};
    kept_expect(&s, logits, 4, 15);
    s.top_k = 2;
    kept_expect(&s, logits, 4, 3);
    s.top_k = 3;
    kept_expect(&s, logits, 4, 7);
    s.top_k = 0;
    s.min_p = exp(-160);
    kept_expect(&s, logits, 4, 3);
}

/* ---- What comes before the choice ---- */

/* At temperature 0 the logits are left as the penalties have made them. */
static void penalties_are_what_they_say(void **state) {
    (void)state;
    const real logits[] = {2, -2, 0, 3, -1};
    const int32_t past[] = {4, 0, 1, 0, 2, 0};
    const struct {
        int last;
        double repetition, frequency, presence;
        real want[5];
    } cases[] = {
        {-1, 2, 0, 0, {1, -4, 0, 3, -2}},          {-1, 1, 0.25, 0, {1.25f, -2.25f, -0.25f, 3, -1.25f}},
        {-1, 1, 0, 0.5, {1.5f, -2.5f, -0.5f, 3, -1.5f}}, {-1, 2, 0.25, 0.5, {-0.25f, -4.75f, -0.75f, 3, -2.75f}},
        {0, 2, 0.25, 0.5, {2, -2, 0, 3, -1}},      {1, 2, 0.25, 0.5, {0.25f, -2, 0, 3, -1}},
        {2, 1, 0.25, 0, {1.75f, -2, -0.25f, 3, -1}}, {5, 1, 0.25, 0, {1.25f, -2.25f, -0.25f, 3, -1}},
        {6, 1, 0.25, 0, {1.25f, -2.25f, -0.25f, 3, -1.25f}}, {7, 1, 0.25, 0, {1.25f, -2.25f, -0.25f, 3, -1.25f}},
        {-1, 0.5, 0, -1, {5, 0, 1, 3, 0.5f}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct sampler s = {.typical = 1, .top_p = 1, .repetition = cases[i].repetition,
                            .frequency = cases[i].frequency, .presence = cases[i].presence,
                            .penalty_last = cases[i].last};
        real changed[5];
        memcpy(changed, logits, sizeof changed);
        sampler_read(&s, past, 4);
        sampler_read(&s, past + 4, 2);
        sampler_pick(&s, changed, 5);
        for (int v = 0; v < 5; v++)
            if (changed[v] != cases[i].want[v])
                fail_msg("case %zu: token %d: %g, want %g", i, v, (double)changed[v], (double)cases[i].want[v]);
        sampler_free(&s);
    }
}

/* What is picked counts from the next pick on, and what falls out of the window no more. */
static void picks_are_penalised(void **state) {
    (void)state;
    static const int32_t wants[][8] = {{0, 1, 2, 0, 1, 2, 0, 1}, {0, 1, 0, 1, 0, 1, 0, 1}, {0, 0, 0, 0, 0, 0, 0, 0},
                                       {0, 1, 2, 0, 1, 2, 0, 1}};
    static const int windows[] = {2, 1, 0, -1};
    for (size_t i = 0; i < COUNT(windows); i++) {
        struct sampler s = {.typical = 1, .top_p = 1, .repetition = 1, .frequency = 5, .penalty_last = windows[i]};
        for (int k = 0; k < 8; k++) {
            real logits[] = {3, 2, 1};
            assert_int_equal(sampler_pick(&s, logits, 3), wants[i][k]);
        }
        sampler_free(&s);
    }
}

static void the_likeliest_is_the_likeliest_of_what_can_come(void **state) {
    (void)state;
    const real logits[] = {5, 4, 3, 2};
    const struct token_bias biases[] = {{0, -INFINITY}, {3, 1.5}};
    const bool barred[] = {false, true, false, false};
    const int32_t past[] = {3};
    struct sampler s = {SAMPLER_PLAIN, .top_p = 1, .biases = biases, .n_biases = 2};
    assert_int_equal(pick(&s, logits, 4), 1);
    s.barred = barred;
    assert_int_equal(pick(&s, logits, 4), 3);
    s.presence = 1;
    s.penalty_last = -1;
    sampler_read(&s, past, 1);
    assert_int_equal(pick(&s, logits, 4), 2);
    sampler_free(&s);
}

struct watcher {
    real seen[4];
    int times;
};
static void logits_watch(void *context, const real *logits, size_t n) {
    struct watcher *w = context;
    memcpy(w->seen, logits, n * sizeof *logits);
    w->times++;
}

/* Whoever watches sees what the model gave, whatever is done with it then. */
static void logits_are_shown_as_they_came(void **state) {
    (void)state;
    const struct token_bias biases[] = {{0, -INFINITY}, {3, 1.5}};
    const real logits[] = {5, 4, 3, 2};
    for (int hot = 0; hot < 2; hot++) {
        struct watcher w = {.times = 0};
        struct sampler s = {.typical = 0.5, .repetition = 2, .penalty_last = -1, .temperature = hot, .top_k = 2,
                            .top_p = 0.5, .min_p = 0.5, .biases = biases, .n_biases = 2, .on_logits = logits_watch,
                            .on_logits_context = &w, .rng = rng_giving(0.5)};
        for (int i = 1; i < 4; i++) {
            real copy[4];
            memcpy(copy, logits, sizeof copy);
            sampler_pick(&s, copy, 4);
            assert_int_equal(w.times, i);
            assert_memory_equal(w.seen, logits, sizeof logits);
        }
        sampler_free(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_filter_alone),
        cmocka_unit_test(filters_work_in_their_order),
        cmocka_unit_test(typical_starts_at_the_entropy),
        cmocka_unit_test(later_filters_see_what_is_left),
        cmocka_unit_test(min_p_is_reached),
        cmocka_unit_test(equals_stay_together),
        cmocka_unit_test(forbidden_tokens_stay_away),
        cmocka_unit_test(rare_tokens_keep_their_order),
        cmocka_unit_test(penalties_are_what_they_say),
        cmocka_unit_test(picks_are_penalised),
        cmocka_unit_test(the_likeliest_is_the_likeliest_of_what_can_come),
        cmocka_unit_test(logits_are_shown_as_they_came),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
