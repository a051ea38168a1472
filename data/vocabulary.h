/* How many pieces a tokenizer has: as many as are wanted, or what its text supports and needs. */
#ifndef VOCABULARY_H
#define VOCABULARY_H

#include "../tokenizer/tokenizer.h"

enum { VOCABULARY_BYTES = 20 << 20 }; /* of text to train a tokenizer on: more changes little and takes longer */

struct vocabulary {
    int pieces;
    bool adapts, verbose; /* to the text, with a note; else EXIT_USAGE */
};

/* Trains a tokenizer of so many pieces; `nearest` is as in tokenizer_train. */
typedef tokenizer *(*tokenizer_maker)(void *context, int pieces, int *nearest, struct error *err);

/* If the number of pieces may change: where the text does not support so many, of as many as it does; where they do not
 * even suffice for its characters, of so many beside these. NULL on failure. */
tokenizer *vocabulary_train(const struct vocabulary *v, tokenizer_maker make, void *context, struct error *err);

/* DIR/tokenizer.model may be that of a run which took what the text supports or needs: does it suit this one? */
bool vocabulary_check(const struct vocabulary *v, const char *dir, struct error *err);

#endif
