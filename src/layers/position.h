/* What a row's position does to its queries and keys, before attention compares them.
 *
 * Rotary (Su et al., arXiv 2104.09864): numbers i and i + hs/2 of a head of hs = C/NH turn together by the angle
 * t / 10000^(2i/hs), t the position, so that q_t . k_u depends on t - u. (Learned positions are added to the embedding
 * instead.) With `scales`, each query and key is first brought to mean square 1 (an RMS norm without weights; Henry et
 * al., arXiv 2010.04245): turning changes no length, so that the order does not matter. */
#ifndef POSITION_H
#define POSITION_H

#include "../base/batch.h"
#include "../base/real.h"
#include "../math/bf16.h"

enum position_kind { POSITION_LEARNED, POSITION_ROTARY };

struct position {
    size_t C, NH;
    const real *turns; /* (T, hs) position_turns, or NULL: nothing turns */
    real *scales;      /* (rows, 2 NH) 1 / length of each query and key, kept for backward; NULL: they stay as long */
};

/* cos and sin of each angle of each position: turns (T, hs), hs / 2 of each. */
void position_turns(real *turns, size_t T, size_t hs);

/* qkv (rows, 3 C), of the rows that the batch computes: `raw` with queries and keys as their position makes them,
 * values as they are. raw is work memory, or what qkv consists of. */
void position_forward(const struct position *p, struct kept qkv, real *raw, const struct batch *batch);

/* dqkv (rows, 3 C), from the gradient of what forward left in qkv to that of what it found. */
void position_backward(const struct position *p, real *dqkv, struct kept qkv, const struct batch *batch);

#endif
