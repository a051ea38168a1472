/* Masks: which parts of an example are hidden, for a model that says what they were.
 *
 * Patches are hidden in blocks, as BEiT does (arXiv 2106.08254, algorithm 1), since what a single patch shows can be
 * told from its neighbours; tokens one by one. The number hidden is exact, and the same generator hides the same. */
#ifndef MASK_H
#define MASK_H

#include "../src/base/rng.h"
#include "../src/base/util.h"

/* How many of n a share in (0, 1] is: round(share * n), and at least 1; of none, 0. */
size_t mask_count(size_t n, double share);

/* Hides mask_count(side * side, share) patches of side x side, and shows the rest: blocks of random area and shape,
 * until there are as many; the last one is cut. */
void mask_blocks(bool *hidden /* (side, side) */, size_t side, double share, struct rng *rng);

/* Hides mask_count(n, share) of n, every choice of so many as probable as any other, and shows the rest. */
void mask_choose(bool *hidden /* (n) */, size_t n, double share, struct rng *rng);

/* A share drawn evenly from those around `share`, (0, 1], as far as they go up to all or down to none: a model that is
 * to write a whole text has to have seen texts of which all is hidden, and of which little is. */
double mask_spread(double share, struct rng *rng);

/* A rectangle of pixels, from the left and from the top. */
struct rectangle {
    size_t x, y, width, height;
};

/* Reads "X,Y,WIDTH,HEIGHT". EXIT_USAGE: it is something else. */
bool rectangle_read(struct rectangle *r, const char *text, struct error *err);

/* Hides every patch that the rectangle touches, and leaves the others as they are, in a picture of size x size pixels
 * and patches of patch x patch. EXIT_USAGE: it is empty, or not within the picture. */
bool mask_rectangle(bool *hidden /* (size / patch, size / patch) */, size_t size, size_t patch,
                    const struct rectangle *r, struct error *err);

#endif
