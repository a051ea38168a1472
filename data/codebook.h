/* Visual tokens: a codebook of patches learnt by k-means, and patches cut out of pictures.
 *
 * A picture is size x size pixels, cut into P = (size / patch)^2 patches of Q = 3 patch^2 numbers, pixel / 127.5 - 1.
 * The code of a patch is the number of the entry that is nearest to it. */
#ifndef CODEBOOK_H
#define CODEBOOK_H

#include "../src/base/real.h"
#include "../src/base/util.h"

struct codebook {
    size_t codes, Q;
    real *entries; /* (codes, Q) */
};

struct codebook_options {
    size_t codes, Q;
    uint64_t seed;
    bool progress; /* a line on standard error tells how far it is, if that is a terminal */
};

/* Learns a codebook of n patches (n, Q): the same for any number of threads and any order of the patches. EXIT_USAGE if
 * there are fewer different ones than codes. */
bool codebook_train(struct codebook *c, const real *patches, size_t n, const struct codebook_options *o,
                    struct error *err);
/* The same from the entries that are there on. One that no patch is near moves to where patches are far from any. */
void codebook_refine(struct codebook *c, const real *patches, size_t n);
void codebook_free(struct codebook *c);

/* Of each patch the nearest entry; of two as near, one of them. */
void codebook_assign(const struct codebook *c, const real *patches, size_t n, int32_t *out /* (n) */);

/* How well patches (n, Q) with these codes are painted by the entries: sums over several calls, to begin with zeros. */
struct codebook_quality {
    uint64_t errors; /* squared, of pixel values */
    size_t values;   /* pixel values */
    size_t *uses;    /* (codes) of each code, or NULL: not counted */
};
void codebook_measure(const struct codebook *c, const real *patches, const int32_t *codes, size_t n,
                      struct codebook_quality *q);
double quality_mse(const struct codebook_quality *q);  /* of pixel values 0 to 255 */
double quality_psnr(const struct codebook_quality *q); /* in dB, peak 255; infinite without any error */

/* Between a picture (size, size, 3) and its patches (P, Q): rows of patches from the top; in a patch y, then x, then
 * r g b. patches_to rounds and clamps. */
void patches_of(real *patches, const unsigned char *rgb, size_t size, size_t patch);
void patches_to(unsigned char *rgb, const real *patches, size_t size, size_t patch);
/* The picture that codes (P) stand for. */
void codes_paint(unsigned char *rgb, const struct codebook *c, const int32_t *codes, size_t size, size_t patch);

/* The codebook of a prepared folder, DIR/codebook: see README.md here. EXIT_INPUT, EXIT_OUTPUT. */
bool codebook_load(struct codebook *c, const char *dir, struct error *err);
/* The one in a model's checkpoint, its tensor "codebook". EXIT_INPUT: it is missing, or not of this shape. */
struct checkpoint;
bool codebook_from_checkpoint(struct codebook *c, const struct checkpoint *from, size_t codes, size_t Q,
                              struct error *err);
bool codebook_save(const struct codebook *c, const char *dir, struct error *err);
uint64_t codebook_hash(const struct codebook *c); /* of its entries as they are in that file */

#endif
