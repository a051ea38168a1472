/* Text in, shards out: what `./train my.txt` does before it trains.
 *
 * The result is a directory under a cache: tokenizer.model, train-NNNNN.shard, val-NNNNN.shard. Its name
 * holds a hash of the inputs (paths, sizes, times, options), so a second run finds it and is instant. */
#ifndef PREPARE_H
#define PREPARE_H

#include "../src/util.h"
#include "../tokenizer/tokenizer.h"

struct prepare_options {
    char **paths; /* files, directories (walked in name order), .gz files, or "-" for standard input */
    size_t n_paths;
    const char *val_path; /* held-out text, same kinds; NULL: the last 5% of each file, cut at a line */
    int vocab;            /* pieces to train; ignored when tokenizer is given */
    tokenizer *tokenizer; /* NULL: train one from the text (or find it in the cache) */
    const char *cache;    /* directory for the results */
    bool verbose;         /* say on standard error what is being done */
};

/* On success returns the directory (malloc'ed). NULL with EXIT_INPUT (missing, unreadable, empty: named)
 * or EXIT_OUTPUT. A file ends with the end-of-text token. */
char *data_prepare(const struct prepare_options *options, struct error *err);

#endif
