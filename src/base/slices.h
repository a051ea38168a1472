/* Arrays in one flat block of memory, laid out by a list that says what each one is called and what it holds.
 *
 * An array is kept as one slice or as several that follow each other (one for each block of a model, say). Behind
 * each slice, exactly where it ends, lies a guard of NaNs: who writes past the end is found by guards_broken, who
 * reads there computes NaN, and the address sanitizer, to which guards are out of bounds, reports either at once. */
#ifndef SLICES_H
#define SLICES_H

#include <stddef.h>

struct slices {
    const char *name;
    size_t size;           /* of an element, in bytes */
    size_t kept;           /* slices; 0: there is no such array, and neither is one whose shape holds a 0 */
    size_t dims, shape[4]; /* of a slice */
    size_t offset, step;   /* of the first one within the block, and from one to the next; 0: there is only one */
    size_t bytes;          /* of a slice, without its guard */
};

/* Fills in what follows from names and shapes; returns the bytes of the block. */
size_t slices_layout(struct slices *list, size_t n);

/* About the same in double, which does not wrap where sizes are absurd. */
double slices_total(const struct slices *list, size_t n);

/* Where the first slice begins; NULL if there is none. */
void *slices_data(const struct slices *row, void *block);

void guards_set(const struct slices *list, size_t n, void *block);

/* The name of an array one of whose guards was overwritten, or NULL. */
const char *guards_broken(const struct slices *list, size_t n, const void *block);

#endif
