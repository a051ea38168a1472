/* Text in, shards out: what `./train my.txt` does before it trains.
 *
 * The result is a directory under a cache: tokenizer.model, train-NNNNN.shard, val-NNNNN.shard; the shards of a corpus
 * with parts in a directory for each part. Its name holds a hash of the inputs (paths, sizes, times, options), so a
 * second run finds it and is instant. */
#ifndef PREPARE_H
#define PREPARE_H

#include "../src/base/util.h"
#include "../tokenizer/tokenizer.h"

struct prepare_options {
    char **paths;             /* files, directories (walked in name order), .gz files, or "-" for standard input; each
                                 of them a part of the corpus where it is NAME=PATH */
    size_t n_paths;
    bool parts;               /* the sub-directories of the paths are the parts of the corpus */
    double part_alpha;        /* how much each part counts, see weights.h */
    const char *part_weights; /* the same */
    const char *val_path;     /* held-out text, same kinds; NULL: a twentieth of the corpus, see inputs.h */
    int vocab;                /* pieces to train; ignored when tokenizer is given */
    bool vocab_adapts;        /* to what the text supports and its characters need, with a note; else EXIT_USAGE */
    tokenizer *tokenizer;     /* NULL: train one from the text (or find it in the cache) */
    const char *cache;        /* directory for the results */
    bool verbose;             /* say on standard error what is being done, and notes */
};

/* On success returns the directory (malloc'ed). NULL with EXIT_INPUT (missing, unreadable, empty: named), EXIT_USAGE
 * (a vocabulary that this text cannot have, parts or weights that do not fit), EXIT_OUTPUT, or EXIT_MISMATCH
 * (somebody changed the cache). A file ends with the end-of-text token. What is in paths and in val_path, by content,
 * is held out and not trained on. */
char *data_prepare(const struct prepare_options *options, struct error *err);

#endif
