/* The mixture: the parts of a corpus (languages, domains), each behind a loader of its own (loader.h), as one seeded
 * stream of rows.
 *
 * The part of row i is drawn by the seed and i alone; within a part rows come in its loader's order, epoch after epoch.
 * So the number of rows served is all there is to save. A corpus without parts is a mixture of one, whose name is "":
 * its rows and its hash are those of its loader alone, and so are those of a corpus that has a single part. */
#ifndef MIXTURE_H
#define MIXTURE_H

#include "loader.h"

struct mixture;

struct mixture_options {
    int seq;
    bool shuffle;
    uint64_t seed;
    size_t cache_bytes;  /* as in loader_open, for all parts together */
    double alpha;        /* the probability of a part ~ its tokens ^ alpha: 1 as they come, 0 all alike */
    const char *weights; /* "de=1,en=2": the probabilities instead, one for each part; or NULL */
};

/* Opens a prepared corpus (README.md). Its parts are its sub-directories in the order of their names; one that holds
 * shards itself, or has none, is one part. What loader_open refuses is refused here, each with its part's directory;
 * EXIT_MISMATCH if parts differ in tokenizer; EXIT_USAGE for weights that do not fit the parts. */
struct mixture *mixture_open(const char *dir, const char *split, const struct mixture_options *options,
                             struct error *err);
void mixture_close(struct mixture *m);

size_t mixture_parts(const struct mixture *m);
const char *mixture_name(const struct mixture *m, size_t part);
double mixture_share(const struct mixture *m, size_t part);    /* the probability of a row; 0: never served */
uint64_t mixture_served(const struct mixture *m, size_t part); /* rows of this part since the start */

/* One part alone. Reading from it, or moving it, changes nothing of what mixture_next serves. */
struct loader *mixture_loader(const struct mixture *m, size_t part);

/* Of all parts together, those that are never served included. */
size_t mixture_tokens(const struct mixture *m);
size_t mixture_windows(const struct mixture *m); /* an epoch of each */
size_t mixture_bytes(const struct mixture *m);   /* memory, once every block that can be kept has been read */
int mixture_vocab(const struct mixture *m);
uint64_t mixture_tokenizer_hash(const struct mixture *m);
uint64_t mixture_data_hash(const struct mixture *m); /* names and tokens, but not how parts are weighted */

/* The next `rows` windows: inputs (rows, seq), targets (rows, seq). After a failure those before it count as served. */
bool mixture_next(struct mixture *m, int rows, int32_t *inputs, int32_t *targets, struct error *err);

uint64_t mixture_position(const struct mixture *m); /* rows served since the start */

/* Draws anew what lies before the position, to count the rows of each part: some ten nanoseconds a row. */
void mixture_seek(struct mixture *m, uint64_t position);

#endif
