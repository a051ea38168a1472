/* What a model says about text that is there already: which tokens it reads for which others, what is likeliest, and
 * how sure a share of right answers is. Losses are -log p, in nats. */
#ifndef LIKELIHOOD_H
#define LIKELIHOOD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "../base/real.h"

/* A row of tokens that is longer than the T that a model reads at a time is scored in overlapping spans: it reads
 * tokens start..stop-2, at most T, and what it says of tokens from..stop-1 counts. Each token counts once. The first
 * span is as long as can be; those behind it go on by half a window, so that their tokens have more than T/2 before
 * them. */
struct span {
    size_t start, from, stop;
};

/* The next span of n tokens; false if there is none. Begins with {.stop = first token to be scored}, 1 to T. */
bool span_next(struct span *s, size_t T, size_t n);

/* The n likeliest of V tokens (V, if that is less, which is returned), likeliest first; of equals the lower id. */
size_t logits_highest(const real *logits, size_t V, size_t n, int32_t *ids);

/* log(sum(exp(logits))), in double precision: what logits have to be less to be log-probabilities. */
double logits_log_sum(const real *logits, size_t V);

/* Any bytes as a JSON text, with U+FFFD in the place of what is no UTF-8. New reference. */
json_t *json_text(const char *bytes, size_t size);

/* Adds to an object what these bytes are: "token", with U+FFFD in the place of what is no UTF-8; there "bytes", too. */
void token_describe(json_t *object, const char *bytes, size_t size);

/* Wilson's 95% interval for a share of which k of n > 0 are. */
void wilson_interval(size_t k, size_t n, double *low, double *high);

#endif
