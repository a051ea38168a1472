/* Where a prompt ends inside a piece ("The cat " before " sat"; "univ" before "universe"), the model has never seen its
 * last tokens followed by what a reader would go on with. So those tokens are taken back, and what is written must
 * begin with their bytes.
 *
 * Taken back are as many last tokens as can be, such that a longer piece begins with their bytes; none where there is
 * no such piece: such a prompt ends where a piece ends. */
#ifndef HEALING_H
#define HEALING_H

#include <stdbool.h>
#include "tokenizer.h"

struct healing {
    char *bytes; /* (size), malloc'ed: what has still to be written of the tokens taken back; size 0: nothing */
    size_t size;
};

/* Returns how many of the n tokens remain: none, if all are taken back. */
size_t healing_begin(struct healing *h, const tokenizer *t, const int32_t *ids, size_t n);

/* Which tokens cannot come now: all but those that begin with what has to be written, or that it begins with. */
void healing_bar(const struct healing *h, const tokenizer *t, bool *barred);

/* One of the others has come, of these bytes: returns how many of them the prompt had already. */
size_t healing_take(struct healing *h, size_t size);
struct healing healing_copy(const struct healing *h);
void healing_free(struct healing *h);

#endif
