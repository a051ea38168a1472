/* Text in, shards out: what `./train my.txt` does before it trains.
 *
 * The result is a directory under a cache: tokenizer.model, train-NNNNN.shard, val-NNNNN.shard. Its name
 * holds a hash of the inputs (paths, sizes, times, options), so a second run finds it and is instant. */
#ifndef PREPARE_H
#define PREPARE_H

#include "../src/base/util.h"
#include "../tokenizer/tokenizer.h"

struct prepare_options {
    char **paths; /* files, directories (walked in name order), .gz files, or "-" for standard input */
    size_t n_paths;
    const char *val_path; /* held-out text, same kinds; NULL: the last 5% of each file, cut at a line */
    int vocab;            /* pieces to train; ignored when tokenizer is given */
    bool vocab_at_most;   /* where the text does not support so many: what it can, with a note; else EXIT_USAGE */
    tokenizer *tokenizer; /* NULL: train one from the text (or find it in the cache) */
    const char *cache;    /* directory for the results */
    bool verbose;         /* say on standard error what is being done, and notes */
};

/* On success returns the directory (malloc'ed). NULL with EXIT_INPUT (missing, unreadable, empty: named), EXIT_USAGE
 * (a vocabulary that this text cannot have), EXIT_OUTPUT, or EXIT_MISMATCH (somebody changed the cache). A file ends
 * with the end-of-text token. What is in paths and in val_path, by content, is held out and not trained on. */
char *data_prepare(const struct prepare_options *options, struct error *err);

#endif
