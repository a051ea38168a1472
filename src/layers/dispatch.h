/* Rows to the experts that they picked, and back (E5 of docs/MHMOE.md). A pick is one (row, expert) pair; the
 * picks are sorted by expert, so that each expert has contiguous rows to multiply, however many. */
#ifndef DISPATCH_H
#define DISPATCH_H

#include <stddef.h>
#include <stdint.h>
#include "../base/real.h"
#include "../math/bf16.h"

struct dispatch {
    size_t N, K, E, S; /* rows, picks of each, experts, width */
    int32_t *slots;    /* (N, K) where each pick lies in the experts' order */
    int32_t *sources;  /* (N*K) whose row lies there */
    int32_t *offsets;  /* (E + 1) expert e's are offsets[e]..offsets[e + 1] */
};

/* Fills it from picks (N, K). */
void dispatch_sort(const struct dispatch *d, const int32_t *picks);

/* dx (N, S) = start (NULL: zeros; may be dx) + what a row's picks send back; d_rows (N*K, S) is in their order. */
void dispatch_backward(const struct dispatch *d, real *dx, const real *start, const real *d_rows);

/* out (N, S) = start (NULL: zeros) + the experts' outputs (N*K, S) of a row's picks, weighed by gates (N, K). */
void combine_forward(const struct dispatch *d, real *out, struct kept start, const real *gates,
                     struct kept expert_out);
void combine_backward(const struct dispatch *d, real *d_expert_out, real *d_gates, const real *dout,
                      const real *gates, struct kept expert_out);

#endif
