/* Numbers for tests of kernels in double, and central differences: what a backward is held against. To be included
 * after cmocka.h. */
#ifndef DIFFERENCES_H
#define DIFFERENCES_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "random_numbers.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define EACH(i, array) (size_t i = 0; i < COUNT(array); i++)

/* Forward: both sides add up to a thousand terms near 1, each rounded at 1e-16. A wrong term is over 1e-6. */
#define ROUNDING 1e-12

static inline void poison(real *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = NAN;
}

static inline real *poisoned(size_t n) {
    real *x = array_alloc(n, sizeof *x);
    poison(x, n);
    return x;
}

static inline real *copy_of(const real *x, size_t n) {
    real *copy = array_alloc(n, sizeof *copy);
    memcpy(copy, x, n * sizeof *x);
    return copy;
}

static inline void assert_near(double got, double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance * fmax(1, fabs(want)))) fail_msg("got %.17g, want %.17g", got, want);
}

static inline void assert_all_near(const char *name, const real *got, const real *want, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!(fabs(got[i] - want[i]) <= ROUNDING * fmax(1, fabs(want[i]))))
            fail_msg("%s[%zu] of %zu: got %.17g, want %.17g", name, i, n, got[i], want[i]);
    }
}

static inline double dot(const real *a, const real *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* ---- Central differences ---- */

/* A kernel as a function of any of its inputs: runs forward and returns out . weights, so that `weights` is
 * what backward gets as dout. */
typedef double (*scalar_function)(const void *call);

static inline double value_at(scalar_function f, const void *call, real *x, const real *along, size_t n,
                       double step) {
    real *kept = copy_of(x, n);
    for (size_t i = 0; i < n; i++) x[i] += step * along[i];
    const double value = f(call);
    memcpy(x, kept, n * sizeof *x);
    free(kept);
    return value;
}

/* The formula of fourth order: at this step its own error (step^4) and that of rounding (1e-16 |f| / step)
 * are both about 1e-11 for |f| near 30. */
static inline double slope_along(scalar_function f, const void *call, real *x, const real *along, size_t n) {
    const double h = 5e-4;
    const double near = value_at(f, call, x, along, n, h) - value_at(f, call, x, along, n, -h);
    const double far = value_at(f, call, x, along, n, 2 * h) - value_at(f, call, x, along, n, -2 * h);
    return (8 * near - far) / (12 * h);
}

/* Relative to the tensor's largest gradient. The difference's own error reaches 1.4e-10 (layer norm of rows
 * of three numbers that lie close together); a wrong term is over 1e-4. */
#define DIFFERENCE_TOLERANCE 1e-9

/* dx (n) is the gradient of f by x: along each axis (or 40 of many) and along one direction through all. */
static inline void gradient_check(const char *name, scalar_function f, const void *call, real *x, const real *dx,
                           size_t n) {
    enum { FEW = 200, SOME = 40 };
    real *along = array_alloc(n, sizeof *along), largest = 1e-3;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs(dx[i]));
    for (size_t k = 0; k < (n <= FEW ? n : SOME); k++) {
        const size_t i = n <= FEW ? k : shuffle_index(k, n, n);
        along[i] = 1;
        const double want = slope_along(f, call, x, along, n);
        along[i] = 0;
        if (!(fabs(dx[i] - want) <= DIFFERENCE_TOLERANCE * largest))
            fail_msg("%s[%zu] of %zu: got %.12g, differences %.12g", name, i, n, dx[i], want);
    }
    random_fill(along, n, n);
    const double got = dot(dx, along, n), want = slope_along(f, call, x, along, n);
    if (!(fabs(got - want) <= DIFFERENCE_TOLERANCE * largest * sqrt((double)n)))
        fail_msg("%s along all %zu axes: got %.12g, differences %.12g", name, n, got, want);
    free(along);
}

/* The same for a gradient that was added to what stood there before. */
static inline void gradient_check_added(const char *name, scalar_function f, const void *call, real *x,
                                 const real *dx, const real *before, size_t n) {
    real *added = copy_of(dx, n);
    for (size_t i = 0; i < n; i++) added[i] -= before[i];
    gradient_check(name, f, call, x, added, n);
    free(added);
}

#endif
