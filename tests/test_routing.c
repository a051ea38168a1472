/* The statistics of a routing (src/activation): figures that can be done by hand, then a simulation. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "study/routing.h"
#include "../src/base/rng.h"
#include "../src/base/util.h"

/* Sums of at most a few thousand doubles of order 1. */
static void near(double got, double want) {
    if (!(fabs(got - want) <= 1e-12 * fmax(1, fabs(want)))) fail_msg("got %.17g, want %.17g", got, want);
}

/* Two tokens of three sub-tokens, two picks each, of five experts; expert 4 is dead. */
static const int32_t by_hand[] = {0, 1, 1, 0, 0, 2, /**/ 3, 0, 3, 0, 3, 0};
static const struct picks small = {by_hand, 2, 3, 2, 5};

static void test_counts(void **state) {
    (void)state;
    static const double want[] = {2, 1, 0, 1, 0, /**/ 2, 1, 0, 1, 0, /**/ 2, 0, 1, 1, 0};
    double counts[3 * 5];
    picks_count(&small, counts);
    for (int i = 0; i < 15; i++) near(counts[i], want[i]);
}

static void test_reach(void **state) {
    (void)state;
    double reach[2], reached[5];
    reach_count(&small, 2, reach, reached);
    near(reach[0], 3), near(reach[1], 2);
    static const double all[] = {2, 1, 1, 1, 0};
    for (int e = 0; e < 5; e++) near(reached[e], all[e]);
    reach_count(&small, 1, reach, reached); /* 0 1 0, 3 3 3 */
    near(reach[0], 2), near(reach[1], 1);
    static const double top[] = {1, 1, 0, 1, 0};
    for (int e = 0; e < 5; e++) near(reached[e], top[e]);
}

static void test_active_ratio(void **state) {
    (void)state;
    static const double f[] = {0, 0.25, 0.5, 0.25, 1};
    near(active_ratio(f, 5, 0), 0.8);
    near(active_ratio(f, 5, 0.25), 0.4); /* above, not at, the threshold */
    near(active_ratio(f, 5, 0.2499), 0.8);
    near(active_ratio(f, 5, 1), 0);
}

/* Exact where an expert has a whole number of eighths of an even share, so that it is not above that threshold. */
static void test_shares(void **state) {
    (void)state;
    static const double counts[] = {0, 1, 6, 1}, one[] = {0, 1}, none[] = {0, 0};
    double share[4];
    shares_relative(counts, 4, 8, share);
    near(share[0], 0), near(share[1], 0.5), near(share[2], 3), near(share[3], 0.5);
    shares_relative(one, 2, 1, share);
    near(share[0], 0), near(share[1], 2);
    shares_relative(none, 2, 0, share);
    near(share[0], 0), near(share[1], 0);
    for (size_t E = 1; E < 40; E++) {
        for (size_t total = 1; total < 400; total++) {
            for (size_t eighths = 1; eighths <= 32; eighths++) {
                if (eighths * total % (8 * E) != 0) continue;
                double relative[40], all[40] = {(double)(eighths * total / (8 * E))};
                shares_relative(all, E, (double)total, relative);
                assert_true(relative[0] == (double)eighths / 8);
            }
        }
    }
    for (size_t E = 1; E < 60; E++) /* and for whole tokens as many by tokens as by picks */
        for (size_t k = 1; k <= E; k++) assert_true(reach_expected(1, k, E) == (double)k);
}

static void test_evenness(void **state) {
    (void)state;
    static const double even[] = {7, 7, 7}, one[] = {0, 9, 0, 0}, some[] = {1, 0, 3, 4};
    struct evenness v = load_evenness(even, 3);
    near(v.entropy, log(3)), near(v.normalised, 1), near(v.variation, 0), near(v.largest, 1.0 / 3);
    assert_int_equal(v.dead, 0);
    v = load_evenness(one, 4); /* mean 1/4, deviations -1/4 three times and 3/4: variance 3/16 */
    near(v.entropy, 0), near(v.normalised, 0), near(v.variation, sqrt(3)), near(v.largest, 1);
    assert_int_equal(v.dead, 3);
    v = load_evenness(some, 4);
    near(v.entropy, log(8) / 8 + 3 * log(8.0 / 3) / 8 + log(2) / 2);
    near(v.normalised, v.entropy / log(4));
    near(v.variation, sqrt(10) / 4); /* mean 2, deviations -1 -2 1 2 */
    assert_int_equal(v.dead, 1);
    near(load_evenness(even, 1).normalised, 1);
}

static void test_agreement(void **state) {
    (void)state;
    static const int32_t other[] = {1, 0, 1, 0, 3, 4, /**/ 3, 1, 3, 0, 2, 1};
    const struct picks b = {other, 2, 3, 2, 5};
    const struct agreement same = routing_agreement(&small, &small), a = routing_agreement(&small, &b);
    near(same.same_set, 1), near(same.same_first, 1), near(same.jaccard, 1);
    /* sets: same, same, nothing; one of three, same, nothing. firsts: no, yes, no; yes, yes, no */
    near(a.same_set, 3.0 / 6), near(a.same_first, 3.0 / 6), near(a.jaccard, (3 + 1.0 / 3) / 6);
}

static void test_tenths(void **state) {
    (void)state;
    enum { N = 40 };
    double x[N];
    int t[N];
    for (int i = 0; i < N; i++) x[i] = (i * 7) % N; /* a permutation */
    tenths(x, N, t);
    for (int i = 0; i < N; i++) assert_int_equal(t[i], (int)x[i] / 4);
    static const double ties[] = {5, 5, 5, 5, 5, 5, 9, 1, 5, 5}; /* eight in the middle, ranks 1 to 8 */
    tenths(ties, 10, t);
    for (int i = 0; i < 10; i++) assert_int_equal(t[i], ties[i] == 1 ? 0 : ties[i] == 9 ? 9 : 5);
}

static void test_spearman(void **state) {
    (void)state;
    static const double x[] = {1, 2, 3, 4, 5}, grows[] = {0, 1, 10, 11, 1e9}, falls[] = {5, 4, 3, -2, -9};
    static const double mixed[] = {2, 1, 4, 3, 5}, tied[] = {1, 1, 2, 2, 2}, same[] = {4, 4, 4, 4, 4};
    near(spearman(x, grows, 5), 1);
    near(spearman(x, falls, 5), -1);
    near(spearman(x, mixed, 5), 1 - 6.0 * 4 / (5 * 24)); /* 1 - 6 sum d^2 / (n (n^2 - 1)) */
    /* ranks of tied: .5 .5 3 3 3; covariance 7.5 of 10 and 7.5 */
    near(spearman(x, tied, 5), 7.5 / sqrt(10 * 7.5));
    assert_true(isnan(spearman(x, same, 5)));
    assert_true(isnan(spearman(x, x, 1)));
    assert_true(isnan(spearman(x, x, 0)));
}

/* Two groups in which y falls with x, apart so far that over all it grows. */
static void test_spearman_within(void **state) {
    (void)state;
    static const double x[] = {1, 2, 3, 11, 12, 13, 14, 7}, y[] = {3, 2, 1, 14, 13, 12, 11, 0};
    static const int group[] = {0, 0, 0, 9, 9, 9, 9, 4}; /* the last is alone, and does not count */
    assert_true(spearman(x, y, 7) > 0);
    near(spearman_within(x, y, group, 8), -1);
    static const double z[] = {1, 2, 3, 14, 13, 12, 11, 0};
    near(spearman_within(x, z, group, 8), (3 * 1.0 + 4 * -1.0) / 7);
    assert_true(isnan(spearman_within(x, y, group, 0)));
}

static int double_compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* K different experts drawn evenly for each sub-token reach as many as foretold, and not only in the mean of all
 * experts: each has the same share. */
static void test_expectation(void **state) {
    (void)state;
    enum { TOKENS = 20000, H = 3, K = 2, E = 7 };
    int32_t *picks = array_alloc(TOKENS * H * K, sizeof *picks);
    double *reach = array_alloc(TOKENS, sizeof *reach), reached[E], sum = 0;
    struct rng rng;
    rng_seed(&rng, 3, 0);
    for (size_t n = 0; n < TOKENS * H; n++) {
        const int32_t first = (int32_t)(rng_next(&rng) % E), step = (int32_t)(1 + rng_next(&rng) % (E - 1));
        picks[2 * n] = first;
        picks[2 * n + 1] = (first + step) % E;
    }
    const struct picks r = {picks, TOKENS, H, K, E};
    for (size_t k = 1; k <= K; k++) {
        reach_count(&r, k, reach, reached);
        sum = 0;
        for (size_t t = 0; t < TOKENS; t++) sum += reach[t];
        /* reach varies by less than 1 about its mean: 5 standard errors of 20000 */
        assert_true(fabs(sum / TOKENS - reach_expected(H, k, E)) < 5 / sqrt(TOKENS));
        qsort(reached, E, sizeof *reached, double_compare);
        assert_true(reached[E - 1] - reached[0] < 10 * sqrt(TOKENS * 0.25));
    }
    near(reach_expected(1, 2, 7), 2);
    near(reach_expected(2, 1, 4), 1.75); /* 1 + 3/4 */
    near(reach_expected(5, 4, 4), 4);
    free(picks);
    free(reach);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),       cmocka_unit_test(test_reach),
        cmocka_unit_test(test_active_ratio), cmocka_unit_test(test_shares),
        cmocka_unit_test(test_evenness),
        cmocka_unit_test(test_agreement),    cmocka_unit_test(test_tenths),
        cmocka_unit_test(test_spearman),     cmocka_unit_test(test_spearman_within),
        cmocka_unit_test(test_expectation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
