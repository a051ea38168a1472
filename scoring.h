/* What a model says of tokens that are there already; which of them it reads at a time is src/run/likelihood.h's. */
#ifndef SCORING_H
#define SCORING_H

#include "mhmoe.h"
#include "src/run/likelihood.h"

/* Of the tokens of a span, of which the model has read the first `cached` already, what they cost: -log p, in nats,
 * into losses (at most T). Where --documents has texts begin within the span, the cache is not asked. */
void span_score(struct model *m, const int32_t *tokens, const struct span *s, size_t cached, real *losses);

#endif
