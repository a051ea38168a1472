/* What a model is shown at a time, and what it should have said. */
#ifndef BATCH_H
#define BATCH_H

#include <stddef.h>
#include <stdint.h>

enum { TARGET_NONE = -1 }; /* a row without a target: no loss */

struct batch {
    size_t B, T;            /* sequences, and positions of each */
    size_t from;            /* positions that are in the KV cache already: only with B = 1 */
    const int32_t *tokens;  /* (B, T - from) */
    /* (B, T - from) who attends to whom: a row sees positions 0..ends-1 of its sequence, 1 <= ends <= T. NULL: itself
     * and what stands before it (causal). All ends T: both ways; the length of what T is padded from: not the padding;
     * the prompt's length within a prompt: a prefix that sees all of itself. */
    const int32_t *ends;
    const int32_t *targets; /* (B, T - from), or NULL where no loss is asked for */
};

/* Those that are computed. */
static inline size_t batch_rows(const struct batch *b) { return b->B * (b->T - b->from); }

#endif
