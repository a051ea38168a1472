/* See vocabulary.h. */
#include "vocabulary.h"

#include <stdlib.h>

tokenizer *vocabulary_train(const struct vocabulary *v, tokenizer_maker make, void *context, struct error *err) {
    tokenizer *t = NULL;
    int pieces = v->pieces, nearest = 0;
    for (int tries = 0; !t; tries++) {
        if (v->verbose) fprintf(stderr, "training a tokenizer of %d pieces\n", pieces);
        t = make(context, pieces, &nearest, err);
        if (!t && (!v->adapts || nearest <= 0 || tries == 2)) return NULL;
        pieces = nearest > pieces ? nearest + v->pieces : nearest;
    }
    return t;
}

bool vocabulary_check(const struct vocabulary *v, const char *dir, struct error *err) {
    char *model = string_format("%s/tokenizer.model", dir);
    tokenizer *t = tokenizer_load(model, err);
    const int pieces = t ? tokenizer_vocab(t) : 0, least = t ? tokenizer_least(t) : 0;
    if (t) tokenizer_free(t);
    free(model);
    if (!t || pieces == v->pieces) return t != NULL;
    if (!v->adapts)
        return pieces < v->pieces ? tokenizer_too_large(v->pieces, pieces, err)
                                  : tokenizer_too_small(v->pieces, least, err);
    if (v->verbose && pieces < v->pieces)
        note_print("this text supports a vocabulary of %d pieces, not of %d", pieces, v->pieces);
    if (v->verbose && pieces > v->pieces)
        note_print("this text has a vocabulary of %d pieces, not of %d: its characters alone take %d", pieces,
                   v->pieces, least);
    return true;
}
