/* What a masked model (./train --task masked) makes of pictures and texts: it fills in what is hidden, writes captions,
 * paints patches, and says how well a text and a picture go together. Pictures are (size, size, 3) pixels of the size
 * that the model was trained on; `pixels` NULL: a text alone. A text is the language's prefix (language_prefix), its
 * tokens, and the end-of-text token, which tells the model where it ends. */
#ifndef MASKED_H
#define MASKED_H

#include "data/codebook.h"
#include "data/examples.h"
#include "mhmoe.h"
#include "tokenizer/tokenizer.h"

struct masked {
    struct model *model;
    const tokenizer *tokenizer;
    struct codebook codebook; /* what patches are painted from; none without pictures */
    struct example_rows rows;
};

/* Takes the codebook out of the model's checkpoint. EXIT_MISMATCH: it is a model of text; EXIT_INPUT. */
bool masked_open(struct masked *k, struct model *m, const tokenizer *t, const struct checkpoint *c, struct error *err);
void masked_close(struct masked *k);

/* Appends the tokens that say of which language a text is ("" : none) to *ids, as tokenizer_encode does. */
void language_prefix(const tokenizer *t, const char *language, int32_t **ids, size_t *n, size_t *capacity);

/* Fills in the tokens (n) that are TOKEN_HIDDEN, the surest first, each in sight of those before. Returns the sum of
 * their log p, in nats, 0 at most. */
double masked_fill(struct masked *k, const unsigned char *pixels, int32_t *tokens, size_t n);

/* Writes a caption of `length` tokens behind the prefix (n tokens), or with length 0 of the median of lengths, as the
 * model sees them before anything is written. tokens has room for k->rows.room, and n + 1 + length (n + 2 with length
 * 0) are no more. Returns how many there are in all, the end of text too. */
size_t masked_caption(struct masked *k, const unsigned char *pixels, int32_t *tokens, size_t n, size_t length);

/* Paints the hidden patches (P) of a picture out of the codebook, the surest first, in sight of the tokens (n, may be
 * 0). */
void masked_paint(struct masked *k, unsigned char *pixels, const bool *hidden, const int32_t *tokens, size_t n);

/* A text beside a picture, or alone. */
struct masked_pair {
    const unsigned char *pixels; /* or NULL */
    const int32_t *tokens;
    size_t n, prefix;
};

/* The pseudo-log-likelihood of a text: of each token behind the first `prefix` the log p where it alone is hidden,
 * summed (arXiv 1910.14659). Nats. */
double masked_score(struct masked *k, const unsigned char *pixels, const int32_t *tokens, size_t n, size_t prefix);

/* The same of each of n pairs -> scores (n), in batches of as many sequences as the model takes. */
void masked_scores(struct masked *k, const struct masked_pair *pairs, size_t n, double *scores);

#endif
