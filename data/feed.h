/* The feed: what a model is trained on and validated with, batch after batch, whatever the task. Of text: windows of
 * the parts of a corpus (mixture.h). Of a masked model: examples of pictures and texts (examples.h), of which the parts
 * are what is filled in: patches or words, each where that is all there is and beside the other. */
#ifndef FEED_H
#define FEED_H

#include "../src/base/batch.h"
#include "examples.h"
#include "mixture.h"
#include "../tokenizer/tokenizer.h"

struct feed;

struct feed_options {
    bool masked;
    struct mixture_options text;      /* of one task, or */
    struct examples_options examples; /* of the other */
};

/* Opens a split of prepared data. EXIT_MISMATCH: it was prepared for the other task; and what mixture_open or
 * examples_open refuse. */
struct feed *feed_open(const char *dir, const char *split, const struct feed_options *options, struct error *err);
void feed_close(struct feed *f);

uint64_t feed_tokenizer_hash(const struct feed *f);
uint64_t feed_data_hash(const struct feed *f);
size_t feed_bytes(const struct feed *f);  /* memory, once all that can be kept has been read */
size_t feed_tokens(const struct feed *f); /* of text; 0 of a masked model */
size_t feed_epoch(const struct feed *f);  /* sequences, of all parts together */
const struct album *feed_album(const struct feed *f); /* of a masked model; else NULL */

/* The language that most texts of a masked model's are in ("" for none; of several the first by name). malloc'ed; NULL:
 * the texts cannot be read (EXIT_INPUT). Reads all of them. */
char *feed_language(struct feed *f, const tokenizer *t, struct error *err);

/* ---- Training ---- */

/* The next `batches` micro-batches of n sequences each, whose arrays are the feed's and last until its next call. After
 * a failure nothing is to be trained on. */
bool feed_next(struct feed *f, size_t batches, size_t n, struct batch *out, struct error *err);

/* Sequences served since the start: all there is to save. */
uint64_t feed_position(const struct feed *f);
void feed_seek(struct feed *f, uint64_t position);

/* ---- Parts ---- */

size_t feed_parts(const struct feed *f);
const char *feed_part_name(const struct feed *f, size_t part);    /* "" where a corpus of text has no parts */
double feed_part_share(const struct feed *f, size_t part);        /* of the sequences trained on; 0: it is only looked
                                                                     at; of a masked model's parts all are 1 */
uint64_t feed_part_served(const struct feed *f, size_t part);     /* sequences; 0 of a masked model's parts */
size_t feed_part_epoch(const struct feed *f, size_t part);        /* sequences of text; of a masked model feed_epoch */
size_t feed_part_tokens(const struct feed *f, size_t part);       /* of text; 0 of a masked model's parts */

/* ---- Validation ---- */

/* Text is looked at part by part; the examples of a masked model are of several parts at once, and are one section. */
size_t feed_sections(const struct feed *f);
size_t feed_section_epoch(const struct feed *f, size_t section); /* sequences */

/* Sequences first .. first + n - 1 of a section as a batch, and the part of each row; both last until the next call. */
bool feed_look(struct feed *f, size_t section, size_t first, size_t n, struct batch *out, const uint32_t **parts,
               struct error *err);

#endif
