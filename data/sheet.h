/* A contact sheet of what the codebook of a prepared folder makes of pictures it has not seen: held-out pictures, each
 * over the one that its codes paint. */
#ifndef SHEET_H
#define SHEET_H

#include "codebook.h"

/* Writes a PNG of at most `most` held-out pictures of DIR, evenly spaced among them; nothing where there are none.
 * EXIT_MISMATCH: their codes are not of this codebook. */
bool sheet_write(const char *path, const char *dir, const struct codebook *c, size_t most, struct error *err);

#endif
