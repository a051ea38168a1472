/* Pictures as PNG files, and of the size that is wanted. Every kind of PNG is read as 8-bit RGB. */
#ifndef PICTURES_H
#define PICTURES_H

#include "../src/base/util.h"

struct picture {
    size_t width, height;
    unsigned char *rgb; /* (height, width, 3); free(rgb) */
};

enum { PICTURE_PIXELS = 64000000, PICTURE_SIDE = 1000000 }; /* at most */

/* Reads a PNG file of any kind: palette, grey, 16 bits, interlaced; what is transparent is seen over white, of an
 * animation its first frame; the numbers as they are stored, whatever profile stands beside them. EXIT_INPUT: missing,
 * no PNG, cut short, damaged (any checksum that is wrong), too large; nothing is allocated for one that is. */
bool picture_read(struct picture *p, const char *path, struct error *err);

/* Writes a picture whole or not at all. EXIT_OUTPUT. */
bool picture_write(const char *path, const struct picture *p, struct error *err);

/* The same file in memory, malloc'ed. EXIT_OUTPUT, EXIT_MEMORY. */
bool picture_to_memory(const struct picture *p, char **bytes, size_t *size, struct error *err);

/* Makes it size x size: scaled to fit whole, in the middle, the rest white (of an odd rest, the smaller part comes
 * first). Smaller by the mean of what a pixel covers, larger linearly. One that has this size stays as it is. */
void picture_fit(struct picture *p, size_t size);

#endif
