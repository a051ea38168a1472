/* Dropout (Srivastava et al., 2014), where GPT-2 has it: of what the embeddings give to the stream, and of what each
 * half of a block adds to it, a number is 0 with probability P and else divided by 1 - P, so that its mean is what it
 * is where nothing is dropped. Attention's weights are not dropped.
 *
 * Which numbers follows from the run's seed, the step, the pass within it, the block, the place in it, the row and the
 * channel, and from nothing else. So any number of threads drops the same ones, and so does a run that goes on;
 * backward, and a forward that is computed again, ask once more instead of keeping a mask. */
#ifndef DROPOUT_H
#define DROPOUT_H

#include "../base/batch.h"

/* Where something is dropped; that of the inputs is in front of block 0. */
enum site { SITE_INPUTS, SITE_ATTENTION, SITE_FFN, SITES };

/* Of a forward pass and its backward, number `pass` of step `step`. */
struct dropout dropout_of(double share, uint64_t seed, uint64_t step, uint64_t pass);

/* Of one place in it. */
struct dropout dropout_at(struct dropout of_pass, size_t block, enum site site);

/* What the product that makes `out` may begin with: `start`, or, where dropout_forward has to add it, NULL. */
const real *dropout_start(const struct dropout *d, const real *start);

/* out (rows, C) = start (NULL: zeros) + what is left of out. Without dropout nothing is done: out has its start. */
void dropout_forward(const struct dropout *d, real *out, const real *start, size_t rows, size_t C);

/* The gradient of what was dropped from, in room (rows, C), which may be dout; without dropout it is dout. */
const real *dropout_backward(const struct dropout *d, real *room, const real *dout, size_t rows, size_t C);

#endif
