/* What a model is shown at a time, and what it should have said. */
#ifndef BATCH_H
#define BATCH_H

#include <stddef.h>
#include <stdint.h>
#include "real.h"

enum { TARGET_NONE = -1 }; /* a row without a target: no loss */

/* What stands in a row's place of `tokens` where it is no token: the next row of patches, or something that the model
 * is not shown. Only where the model has pictures (see src/layers/inputs.h). */
enum { TOKEN_PATCH = -1, TOKEN_HIDDEN = -2 };

/* What is left out of a pass at random: see src/layers/dropout.h. */
struct dropout {
    double share; /* of the numbers, in [0, 1); 0: nothing */
    uint64_t key; /* which ones */
};

struct batch {
    size_t B, T;            /* sequences, and positions of each; with offsets, of the longest */
    size_t from;            /* positions that are in the KV cache already: only with B = 1, and without offsets */
    const int32_t *tokens;  /* (rows) = (B, T - from), or (offsets[B]) */
    /* (B + 1) where each sequence's rows begin, and how many there are in all: sequences of any length, one behind the
     * other without padding. NULL: all are of T - from. */
    const int32_t *offsets;
    const int32_t *positions; /* (rows) of each row; to be given with offsets. NULL: from, from + 1, ... */
    /* (rows) who attends to whom: a row sees positions 0..ends-1 of its sequence, 1 <= ends <= its length. NULL: itself
     * and what stands before it (causal). All ends the sequence's length: both ways; the length of what is padded: not
     * the padding; the prompt's length within a prompt: a prefix that sees all of itself. */
    const int32_t *ends;
    const int32_t *targets; /* (rows), or NULL where no loss is asked for; from V on: V + visual code */
    const real *patches;    /* (n, Q) those of rows whose token is TOKEN_PATCH, in their order; or NULL */
    struct dropout dropout; /* in training's steps alone */
};

/* Those that are computed. */
static inline size_t batch_rows(const struct batch *b) {
    return b->offsets ? (size_t)b->offsets[b->B] : b->B * (b->T - b->from);
}

/* Where sequence i begins among them, when none is in the cache; and its positions. */
static inline size_t batch_start(const struct batch *b, size_t i) {
    return b->offsets ? (size_t)b->offsets[i] : i * b->T;
}
static inline size_t batch_length(const struct batch *b, size_t i) {
    return b->offsets ? (size_t)(b->offsets[i + 1] - b->offsets[i]) : b->T;
}

/* Rows with a target. */
static inline size_t batch_targets(const struct batch *b) {
    size_t n = 0;
    for (size_t r = 0; r < batch_rows(b); r++) n += b->targets[r] != TARGET_NONE;
    return n;
}

static inline size_t batch_position(const struct batch *b, size_t row) {
    return b->positions ? (size_t)b->positions[row] : b->from + row % (b->T - b->from);
}

#endif
