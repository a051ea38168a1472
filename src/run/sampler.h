/* From logits to the next token: greedy, temperature, top-k, top-p (nucleus; Holtzman et al., 2020). */
#ifndef SAMPLER_H
#define SAMPLER_H

#include <stddef.h>
#include <stdint.h>
#include "../base/real.h"
#include "../base/rng.h"

struct sampler {
    double temperature; /* 0: the likeliest token always; ties to the lower id */
    int top_k;          /* only the k likeliest; 0: all */
    double top_p;       /* only the likeliest that together reach this probability; 1: all */
    struct rng rng;
};

/* Picks from logits (V), which are overwritten. */
int32_t sampler_pick(struct sampler *s, real *logits, size_t V);

#endif
