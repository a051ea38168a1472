/* The few statistics that a comparison of runs needs: medians, means over seeds, paired differences and whether
 * their spread supports an ordering, and where a curve falls to a level. */
#ifndef STATISTICS_H
#define STATISTICS_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

static inline int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts x (n > 0). */
static inline double median(double *x, size_t n) {
    qsort(x, n, sizeof *x, compare_doubles);
    return (x[(n - 1) / 2] + x[n / 2]) / 2;
}

static inline double mean(const double *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    return sum / (double)n;
}

/* The sample standard deviation, with n - 1; NaN below two. */
static inline double deviation(const double *x, size_t n) {
    const double m = mean(x, n);
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (x[i] - m) * (x[i] - m);
    return n > 1 ? sqrt(sum / (double)(n - 1)) : NAN;
}

/* a - b over pairs (the same seed on both sides), and the standard error of that mean. */
struct paired {
    double mean, error;
    size_t n;
};
static inline struct paired paired_difference(const double *a, const double *b, size_t n) {
    double *d = malloc((n + 1) * sizeof *d);
    for (size_t i = 0; i < n; i++) d[i] = a[i] - b[i];
    const struct paired p = {mean(d, n), deviation(d, n) / sqrt((double)n), n};
    free(d);
    return p;
}

/* The chance that |Student's t| with `df` degrees of freedom stays below tan(angle) sqrt(df). Whole numbers of them
 * have a finite sum (Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4). */
static inline double student_within(double angle, size_t df) {
    const double c = cos(angle);
    const size_t odd = df % 2;
    double term = odd ? c : 1, sum = 0;
    for (size_t k = 2 + odd; k <= df; k += 2) {
        sum += term;
        term *= c * c * (double)(k - 1) / (double)k;
    }
    return odd ? (angle + sin(angle) * sum) / M_PI_2 : sin(angle) * sum;
}

/* Student's t: of n such differences without a true one, 5% have a mean beyond this many standard errors. */
static inline double student_95(size_t n) {
    if (n < 2) return INFINITY;
    double low = 0, high = M_PI_2;
    for (int i = 0; i < 60; i++) {
        const double middle = (low + high) / 2;
        if (student_within(middle, n - 1) < 0.95) low = middle;
        else high = middle;
    }
    return tan(low) * sqrt((double)(n - 1));
}

/* -1: below zero, 1: above, 0: the spread does not tell. */
static inline int paired_verdict(struct paired p) {
    if (!(fabs(p.mean) > student_95(p.n) * p.error)) return 0;
    return p.mean < 0 ? -1 : 1;
}

/* The first x at which y, joined by straight lines, is down to `level`; NaN if it never is. */
static inline double crossing(const double *x, const double *y, size_t n, double level) {
    for (size_t i = 0; i < n; i++) {
        if (!(y[i] <= level)) continue;
        return i == 0 ? x[0] : x[i - 1] + (x[i] - x[i - 1]) * (y[i - 1] - level) / (y[i - 1] - y[i]);
    }
    return NAN;
}

#endif
