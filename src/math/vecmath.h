/* Vector arithmetic that the kernels share: loads of any length, sums in a fixed order, exp.
 *
 * A row is walked in whole vectors; its tail goes through vec_load_some, which fills the lanes past the
 * end. Sums add lane to lane and then the lanes from first to last, so that a row's sum does not depend on
 * zeros behind it. exp is exact to about 1 ulp of float; in the double build it is libm's. */
#ifndef VECMATH_H
#define VECMATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#include "../base/real.h"

static inline vec vec_load(const real *p) { return *(const vec_unaligned *)p; }
static inline void vec_store(real *p, vec x) { *(vec_unaligned *)p = x; }
static inline vec vec_splat(real x) { return (vec){0} + x; }

/* The first n < VEC_LANES numbers at p, and `fill` in the other lanes. */
static inline vec vec_load_some(const real *p, size_t n, real fill) {
    vec x = vec_splat(fill);
    memcpy(&x, p, n * sizeof(real));
    return x;
}
static inline void vec_store_some(real *p, size_t n, vec x) { memcpy(p, &x, n * sizeof(real)); }

static inline real vec_sum(vec x) {
    real sum = x[0];
    for (int i = 1; i < VEC_LANES; i++) sum += x[i];
    return sum;
}
static inline real vec_highest(vec x) {
    real high = x[0];
    for (int i = 1; i < VEC_LANES; i++) high = x[i] > high ? x[i] : high;
    return high;
}

/* Integers as wide as real; a comparison gives all ones where it holds. */
#ifdef REAL_DOUBLE
typedef int64_t vec_mask __attribute__((vector_size(VEC_BYTES)));
#else
typedef int32_t vec_mask __attribute__((vector_size(VEC_BYTES)));
#endif
static inline vec vec_select(vec_mask mask, vec yes, vec no) {
    return (vec)((mask & (vec_mask)yes) | (~mask & (vec_mask)no));
}
static inline vec vec_max(vec a, vec b) { return vec_select(a > b, a, b); }

#ifdef REAL_DOUBLE
static inline vec vec_exp(vec x) {
    for (int i = 0; i < VEC_LANES; i++) x[i] = exp(x[i]);
    return x;
}
#else
/* exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2. ln 2 is split in two so that r is exact
 * (Cody and Waite), exp(r) is its Taylor polynomial of degree 7 (remainder below 6e-9 relative).
 * Below -87 the result is 0, above 88 it is held at exp(88). */
static inline vec vec_exp(vec x) {
    const vec round = vec_splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    const vec_mask tiny = x < vec_splat(-87.0f);
    x = vec_select(x > vec_splat(88.0f), vec_splat(88.0f), x);
    x = vec_select(tiny, vec_splat(-87.0f), x);
    const vec shifted = x * 1.44269504f + round, n = shifted - round;
    const vec r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    vec p = vec_splat(1.0f / 5040);
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const vec_mask power = ((vec_mask)shifted - (vec_mask)round + 127) << 23;
    return vec_select(tiny, (vec){0}, p * (vec)power);
}
#endif

/* Sum of a[i] * b[i]. */
static inline real row_dot(const real *a, const real *b, size_t n) {
    vec sum = {0};
    size_t i = 0;
    for (; i + VEC_LANES <= n; i += VEC_LANES) sum += vec_load(a + i) * vec_load(b + i);
    if (i < n) sum += vec_load_some(a + i, n - i, 0) * vec_load_some(b + i, n - i, 0);
    return vec_sum(sum);
}

static inline real row_sum(const real *a, size_t n) {
    vec sum = {0};
    size_t i = 0;
    for (; i + VEC_LANES <= n; i += VEC_LANES) sum += vec_load(a + i);
    if (i < n) sum += vec_load_some(a + i, n - i, 0);
    return vec_sum(sum);
}

static inline real row_max(const real *a, size_t n) {
    vec high = vec_splat(-INFINITY);
    size_t i = 0;
    for (; i + VEC_LANES <= n; i += VEC_LANES) high = vec_max(high, vec_load(a + i));
    if (i < n) high = vec_max(high, vec_load_some(a + i, n - i, -INFINITY));
    return vec_highest(high);
}

/* out[i] = exp(a[i] * scale - shift); returns the sum. out may be a. */
static inline real row_exp(real *out, const real *a, size_t n, real scale, real shift) {
    vec sum = {0};
    size_t i = 0;
    for (; i + VEC_LANES <= n; i += VEC_LANES) {
        const vec e = vec_exp(vec_load(a + i) * scale - shift);
        vec_store(out + i, e);
        sum += e;
    }
    if (i < n) {
        const vec e = vec_exp(vec_load_some(a + i, n - i, -INFINITY) * scale - shift);
        vec_store_some(out + i, n - i, e);
        sum += e;
    }
    return vec_sum(sum);
}

/* out += a x */
static inline void row_add_scaled(real *restrict out, real a, const real *restrict x, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] += a * x[i];
}

static inline void row_scale(real *x, real a, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] *= a;
}

/* x = softmax(x); returns log(sum exp(x)). */
static inline real row_softmax(real *x, size_t n) {
    const real high = row_max(x, n), sum = row_exp(x, x, n, 1, high);
    row_scale(x, 1 / sum, n);
    return high + (real)log(sum);
}

#endif
