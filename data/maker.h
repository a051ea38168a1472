/* What every set of questions has in common: how many, with how many choices, and where the right one stands. See
 * questions.c. */
#ifndef MAKER_H
#define MAKER_H

#include "../src/base/rng.h"
#include "../src/base/util.h"

struct maker {
    uint64_t seed;
    size_t most, choices; /* questions to write, at most; choices of each, 2 or more */
    size_t written;
    int words, shots;     /* see questions.c: of last-word and of language */
};

/* Whether as many as were asked for are written. */
bool maker_is_done(const struct maker *m);

/* The numbers of question i: the same for every set of questions before and behind it. */
struct rng maker_rng(const struct maker *m, uint64_t i);

/* Draws n things out of n in a random order that `key` chooses, without an array: thing number k of the order. */
size_t draw(size_t k, size_t n, uint64_t key);

/* Writes a question as a line on standard output. choices[0] is the right one; it comes to stand at each place equally
 * often, one question in m->choices, in an order that the seed chooses; the others keep theirs. UTF-8. */
void question_write(struct maker *m, const char *context, char **choices);

/* The two sets that are made from text: see passages.c. EXIT_INPUT where the text yields no question. */
bool last_word_make(struct maker *m, const char *file, struct error *err);
bool language_make(struct maker *m, const char *dir, struct error *err);

#endif
