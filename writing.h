/* How ./sample writes: from a prompt to a text, or to a JSON line that tells of it.
 *
 * A prompt's last tokens may be taken back (tokenizer/healing.h), the model goes on token by token (model_generate),
 * each chosen as src/run/sampler.h says, and the text ends with the model's end of text, a stop string
 * (src/run/stop_strings.h), so many tokens, or Ctrl-C. Every text of every prompt has random numbers of its own, which
 * depend on the seed and on the two numbers alone. */
#ifndef WRITING_H
#define WRITING_H

#include "mhmoe.h"
#include "src/run/prompts.h"
#include "tokenizer/tokenizer.h"

struct writing {
    struct model *model;
    const tokenizer *tokenizer;
    struct sampler sampler; /* how tokens are chosen */
    uint64_t seed;
    size_t tokens;  /* at most, in a text */
    int samples;    /* texts of a prompt */
    bool several;   /* prompts: each is announced */
    bool echo;      /* the prompt is written before its text */
    bool heal;
    bool visible;   /* for a terminal: see text.h */
    bool json;
    int logprobs;   /* so many of the likeliest, with json */
    char *const *stops;
    size_t n_stops;
    bool (*interrupted)(void); /* NULL: nothing ends a text before its time */
    size_t written; /* tokens so far, of all texts */
};

/* Writes the texts of one prompt, the number-th, on standard output. */
void writing_answer(struct writing *w, const struct prompt *prompt, size_t number);

#endif
