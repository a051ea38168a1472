/* Examples: pictures and texts of an album (album.h), some of each hidden, as batches for a masked model.
 *
 * An example is a picture's P patches, then a text's tokens; or only one of both. A text always begins at position P,
 * so that it stands where it does beside a picture. Beside one it has all the rows that are left: behind its end they
 * are hidden, and nobody is asked for them, so that the number of rows does not tell how long a text is, and a model
 * that is to write one knows where it ends. What is hidden has a target, and is always replaced by the mask
 * embedding (BERT's 80/10/10 is left out); what is shown has none. Every row sees its whole sequence, and sequences
 * follow each other without padding.
 *
 * In a stream all about example i (which record, what of it, which parts are hidden) follows from the seed and i: the
 * number of examples served is all there is to save. Next: mask.h. */
#ifndef EXAMPLES_H
#define EXAMPLES_H

#include "../src/base/batch.h"
#include "../src/base/util.h"
#include "album.h"

/* ---- Batches of examples that are given ---- */

struct example {
    const unsigned char *pixels; /* (size, size, 3), or NULL: no picture */
    const bool *hidden;          /* (P) patches that are hidden; NULL: none */
    const int32_t *codes;        /* (P) of patches: the targets of those hidden, as V + code; NULL: they have none */
    const int32_t *tokens;       /* (n) ids, TOKEN_HIDDEN where hidden */
    const int32_t *targets;      /* (n) ids where hidden, TARGET_NONE elsewhere; NULL: no token has one */
    size_t n;                    /* 0: no text */
};

/* What a batch is made of, in memory that grows to the largest. The rest starts as zeros, and belongs to examples.c. */
struct example_rows {
    size_t size, patch; /* pictures of size x size pixels, patches of patch x patch; size 0: no pictures, P = 0 */
    size_t room;        /* rows for a text, beside a picture all of them */
    int vocab;          /* V */

    int32_t *tokens, *ends, *targets, *positions; /* (rows) */
    int32_t *offsets;                             /* (B + 1) */
    real *patches;                                /* (shown, Q) */
    size_t B, rows, shown, longest;
    size_t capacity, offsets_capacity, patches_capacity; /* patches': in numbers */
};

/* n >= 1 examples as one batch, each of one row or more. Its arrays are those of `rows`: they last until the next. */
void examples_show(struct batch *batch, struct example_rows *rows, const struct example *examples, size_t n);
void example_rows_free(struct example_rows *rows);

/* ---- Streams ---- */

enum example_kind { EXAMPLE_PAIR, EXAMPLE_PICTURE, EXAMPLE_TEXT, EXAMPLE_KINDS };

struct examples_options {
    size_t seq;          /* rows of an example at most: what of a text is beyond is cut off */
    uint64_t seed;
    bool shuffle;        /* how records become examples: see examples_open */
    double hide_patches; /* shares, (0, 1]: of patches, always in blocks; BEiT-3 (arXiv 2208.10442) has 0.4 */
    double hide_text;    /* of a text alone: 0.15 */
    double hide_caption; /* of a text beside a picture, in which both are hidden at once: about (mask_spread) 0.5 */
    size_t cache_bytes;  /* as in album_open */
};

struct examples;

/* Opens a split of a prepared album.
 * Shuffled, each group of records (a picture and its variants: folder.h) is one example an epoch, in another order each
 * time: any of its records, all alike; so what comes in many variants does not outweigh the rest. Of a record that has
 * a picture and texts both with probability 1/2, the picture or a text alone with 1/4 each; of several texts any, all
 * alike.
 * Not shuffled, records come in the album's order, and one that has both is three examples: pair, picture, text. They
 * share a text (of records that have as many, each text's turn comes equally often), and the first two have the same
 * patches hidden. Every epoch is the same.
 * EXIT_USAGE, with the least that will do, where seq has no room for a picture and two tokens; EXIT_INPUT where there
 * is nothing to show; and what album_open refuses. */
struct examples *examples_open(const char *dir, const char *split, const struct examples_options *options,
                               struct error *err);
void examples_close(struct examples *e);

/* The next n >= 1 examples as one batch, whose arrays are the examples' and last until the next call; into kinds (n)
 * each one's enum example_kind, unless it is NULL. Crosses epochs without a seam. A text that is cut in the name of its
 * language is refused (EXIT_USAGE). After a failure the position is where it was. */
bool examples_next(struct examples *e, size_t n, struct batch *batch, uint8_t *kinds, struct error *err);

uint64_t examples_position(const struct examples *e); /* examples served since the start */
void examples_seek(struct examples *e, uint64_t position);
size_t examples_epoch(const struct examples *e); /* examples in an epoch */
uint64_t examples_cut(const struct examples *e); /* how many of those served since it was opened had their text cut */

/* What they come from, to ask it for facts. */
struct album *examples_album(const struct examples *e);

#endif
