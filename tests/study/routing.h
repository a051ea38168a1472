/* What a routing is like: who is picked how often, how evenly, and by what.
 *
 * Pure functions of arrays that know nothing of a model. A token is cut into H sub-tokens, and each of them picks
 * K different ones of E experts, best first (H = 1: whole tokens are routed). Used by tests/study/analyse.c; P1 is
 * arXiv 2404.15045, whose activation ratio is active_ratio of one of three frequencies: P1 leaves open which, and of
 * what threshold. */
#ifndef ROUTING_H
#define ROUTING_H

#include <stddef.h>
#include <stdint.h>

/* One layer's picks for some text: the routing. */
struct picks {
    const int32_t *ids; /* (tokens, H, K) the experts */
    size_t tokens, H, K, E;
};

/* How often sub-token h (of all tokens) picked e -> counts (H, E). */
void picks_count(const struct picks *r, double *counts);

/* Only the first `k` picks of each sub-token count: how many different experts a token's sub-tokens reach
 * -> reach (tokens), from 1 to the smaller of H*k and E; and how many tokens reach e -> reached (E). */
void reach_count(const struct picks *r, size_t k, double *reach, double *reached);

/* What the mean of `reach` would be if every sub-token drew its k different experts evenly and on its own:
 * an expert is missed by one sub-token with probability 1 - k/E, so E (1 - (1 - k/E)^H). Exactly k for H = 1. */
double reach_expected(size_t H, size_t k, size_t E);

/* Counts in units of an even share, total / E: 1 is what each expert has where all have the same, for any E, K and
 * H. All 0 where the total is. */
void shares_relative(const double *counts, size_t E, double total, double *relative);

/* The share of experts whose frequency is above the threshold. A threshold of 1/E is K times easier to pass for K
 * picks than for one, and up to H times more again where tokens are counted: models of different K or H are to be
 * compared by relative shares. */
double active_ratio(const double *frequency, size_t E, double threshold);

/* How even a load is. */
struct evenness {
    double entropy;    /* -sum f ln f of the shares f, in nats */
    double normalised; /* by ln E: 1 is even; 1 where there is one expert */
    double variation;  /* standard deviation over mean: 0 is even */
    double largest;    /* the largest share */
    size_t dead;       /* experts without a pick */
};
struct evenness load_evenness(const double *counts, size_t E);

/* How far two routings of the same text agree, as means over all sub-tokens. */
struct agreement {
    double same_set;   /* share whose set of K picks is the same */
    double same_first; /* share whose first pick is the same */
    double jaccard;    /* mean of (picks in both) / (picks in either) */
};
struct agreement routing_agreement(const struct picks *a, const struct picks *b);

/* Which tenth (0 to 9) of the n values each one falls into, by the middle of its rank among equals: equal values
 * stay together, so that tenths may be uneven and some empty. */
enum { TENTHS = 10 };
void tenths(const double *x, size_t n, int *tenth);

/* Spearman's rank correlation, equal values sharing their mean rank. NaN if x or y does not vary. */
double spearman(const double *x, const double *y, size_t n);

/* The same within each tenth, averaged with the number of values as weight over the tenths that have one:
 * the correlation of x and y while what the tenths are of is held (nearly) fixed. */
double spearman_within(const double *x, const double *y, const int *tenth, size_t n);

#endif
