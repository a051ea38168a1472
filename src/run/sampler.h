/* From logits to the next token. The steps, in this order, which is that of llama.cpp's default chain:
 *
 *   biases      are added; then what is barred cannot come
 *   penalties   of what was there before: repetition, frequency, presence
 *   top-k       the k likeliest stay
 *   typical     those stay whose surprise, -log p, is nearest to the mean one, as many as reach a probability
 *   top-p       the likeliest stay, as many as reach a probability (nucleus; Holtzman et al., 2020)
 *   min-p       those stay that are at least so likely, relative to the likeliest
 *   temperature divides the logits, and one of what is left is drawn
 *
 * Each works on what the ones before it left, as if that were all; each leaves at least one. Equals stay or go
 * together. At temperature 0 the likeliest comes after the penalties. Read next: sampler.c. */
#ifndef SAMPLER_H
#define SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "../base/real.h"
#include "../base/rng.h"

struct token_bias {
    int32_t token;
    double amount; /* -INFINITY: never comes */
};

/* Beside temperature and top_p: what changes nothing. */
#define SAMPLER_PLAIN .typical = 1, .repetition = 1

struct sampler {
    double temperature; /* 0: the likeliest token always; ties to the lower id */
    int top_k;          /* 0: all */
    double typical, top_p; /* probabilities to be reached, in [0, 1]; 1: all */
    double min_p;       /* in [0, 1]; 0: all */
    double repetition;  /* CTRL's (Keskar et al., 2019): logits > 0 are divided by it, others multiplied; 1: off */
    double frequency, presence; /* OpenAI's: taken from the logit, for each time before, and once; 0: off */
    int penalty_last;   /* so many of the last tokens count for the three penalties; 0: none, below 0: all */
    const struct token_bias *biases; /* (n_biases) */
    size_t n_biases;
    const bool *barred; /* (V), or NULL */
    struct rng rng;
    /* NULL, or whom to show the logits (V) first, as the model gave them. */
    void (*on_logits)(void *context, const real *logits, size_t V);
    void *on_logits_context;
    int32_t *past; /* what was read and picked, where penalties need it; (n_past), malloc'ed: see sampler_free */
    size_t n_past, past_capacity;
};

/* Takes tokens for what stands before the next pick: they count for the penalties as if they had been picked. */
void sampler_read(struct sampler *s, const int32_t *tokens, size_t n);

/* Picks from logits (V), which are overwritten. */
int32_t sampler_pick(struct sampler *s, real *logits, size_t V);

void sampler_free(struct sampler *s);

#endif
