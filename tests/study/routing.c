/* See routing.h. Counts are doubles: exact up to 2^53, and divided in the next breath. */
#include "routing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../../src/base/util.h"

void picks_count(const struct picks *r, double *counts) {
    memset(counts, 0, r->H * r->E * sizeof *counts);
    for (size_t n = 0; n < r->tokens * r->H; n++)
        for (size_t k = 0; k < r->K; k++) counts[n % r->H * r->E + (size_t)r->ids[n * r->K + k]]++;
}

void reach_count(const struct picks *r, size_t k, double *reach, double *reached) {
    size_t *last = array_alloc(r->E, sizeof *last); /* the last token, from 1, that reached each expert */
    memset(reached, 0, r->E * sizeof *reached);
    for (size_t t = 0; t < r->tokens; t++) {
        const int32_t *picks_t = r->ids + t * r->H * r->K;
        reach[t] = 0;
        for (size_t i = 0; i < r->H * k; i++) {
            const size_t e = (size_t)picks_t[i / k * r->K + i % k];
            if (last[e] == t + 1) continue;
            last[e] = t + 1;
            reached[e]++;
            reach[t]++;
        }
    }
    free(last);
}

double reach_expected(size_t H, size_t k, size_t E) {
    const double missed = 1 - (double)k / (double)E;
    double more = (double)k, sum = 0; /* 1 - m^H = (1 - m) (1 + m + ... + m^(H-1)) */
    for (size_t h = 0; h < H; h++, more *= missed) sum += more;
    return sum;
}

/* Rounded once, so that an expert with exactly an even share, or a quarter of one, is not above it. */
void shares_relative(const double *counts, size_t E, double total, double *relative) {
    for (size_t e = 0; e < E; e++) relative[e] = total > 0 ? counts[e] * (double)E / total : 0;
}

double active_ratio(const double *frequency, size_t E, double threshold) {
    size_t active = 0;
    for (size_t e = 0; e < E; e++) active += frequency[e] > threshold;
    return (double)active / (double)E;
}

struct evenness load_evenness(const double *counts, size_t E) {
    struct evenness v = {0};
    double total = 0, squares = 0;
    for (size_t e = 0; e < E; e++) total += counts[e];
    for (size_t e = 0; e < E; e++) {
        const double share = counts[e] / total, off = share * (double)E - 1;
        v.dead += counts[e] == 0;
        if (counts[e] > 0) v.entropy -= share * log(share);
        if (share > v.largest) v.largest = share;
        squares += off * off;
    }
    v.normalised = E > 1 ? v.entropy / log((double)E) : 1;
    v.variation = sqrt(squares / (double)E);
    return v;
}

struct agreement routing_agreement(const struct picks *a, const struct picks *b) {
    const size_t N = a->tokens * a->H, K = a->K;
    struct agreement sum = {0, 0, 0};
    for (size_t n = 0; n < N; n++) {
        const int32_t *p = a->ids + n * K, *q = b->ids + n * K;
        size_t both = 0;
        for (size_t i = 0; i < K; i++)
            for (size_t j = 0; j < K; j++) both += p[i] == q[j];
        sum.same_set += both == K;
        sum.same_first += p[0] == q[0];
        sum.jaccard += (double)both / (double)(2 * K - both);
    }
    return (struct agreement){sum.same_set / (double)N, sum.same_first / (double)N, sum.jaccard / (double)N};
}

/* ---- Ranks ---- */

struct ranked {
    double value;
    size_t at;
};
static int ranked_compare(const void *a, const void *b) {
    const double x = ((const struct ranked *)a)->value, y = ((const struct ranked *)b)->value;
    return (x > y) - (x < y);
}

/* Each value's place in order, from 0, equal values sharing the mean of theirs. malloc'ed. */
static double *ranks_of(const double *x, size_t n) {
    struct ranked *sorted = array_alloc(n, sizeof *sorted);
    double *rank = array_alloc(n, sizeof *rank);
    for (size_t i = 0; i < n; i++) sorted[i] = (struct ranked){x[i], i};
    qsort(sorted, n, sizeof *sorted, ranked_compare);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && sorted[end].value == sorted[i].value;) end++;
        for (size_t j = i; j < end; j++) rank[sorted[j].at] = (double)(i + end - 1) / 2;
    }
    free(sorted);
    return rank;
}

void tenths(const double *x, size_t n, int *tenth) {
    double *rank = ranks_of(x, n);
    for (size_t i = 0; i < n; i++) tenth[i] = (int)((rank[i] + 0.5) / (double)n * TENTHS);
    free(rank);
}

/* Pearson's correlation of the ranks, which is what Spearman's is when values are equal. */
double spearman(const double *x, const double *y, size_t n) {
    double *p = ranks_of(x, n), *q = ranks_of(y, n), pp = 0, qq = 0, pq = 0;
    const double mean = ((double)n - 1) / 2;
    for (size_t i = 0; i < n; i++) {
        pp += (p[i] - mean) * (p[i] - mean);
        qq += (q[i] - mean) * (q[i] - mean);
        pq += (p[i] - mean) * (q[i] - mean);
    }
    free(p);
    free(q);
    return pp > 0 && qq > 0 ? pq / sqrt(pp * qq) : NAN;
}

double spearman_within(const double *x, const double *y, const int *tenth, size_t n) {
    double *some_x = array_alloc(n, sizeof *some_x), *some_y = array_alloc(n, sizeof *some_y), sum = 0, weight = 0;
    for (int t = 0; t < TENTHS; t++) {
        size_t count = 0;
        for (size_t i = 0; i < n; i++) {
            if (tenth[i] != t) continue;
            some_x[count] = x[i];
            some_y[count++] = y[i];
        }
        const double r = spearman(some_x, some_y, count);
        if (isnan(r)) continue;
        sum += (double)count * r;
        weight += (double)count;
    }
    free(some_x);
    free(some_y);
    return weight > 0 ? sum / weight : NAN;
}
