/* Pictures with captions, and texts, in; albums out: what `./train --task masked FOLDER...` does before it trains.
 *
 * The result is a directory under a cache: tokenizer.model, codebook (unless there is no picture), train.album and
 * val.album. Its name holds a hash of the inputs and options, so a second run finds it and is instant. */
#ifndef ALBUM_PREPARE_H
#define ALBUM_PREPARE_H

#include "../src/base/util.h"
#include "../tokenizer/tokenizer.h"
#include "codebook.h"

struct album_options {
    char **paths; /* folders, see folder.h */
    size_t n_paths;
    const char *languages; /* captions of these alone, as in "en,de"; NULL: all */
    int vocab;            /* pieces to train; ignored when tokenizer is given, or no caption or text is trained on */
    bool vocab_adapts;    /* to what the text supports and its characters need, with a note; else EXIT_USAGE */
    tokenizer *tokenizer; /* NULL: train one from the captions and texts (or find it in the cache) */
    size_t size;          /* of the pictures, which are fitted into it; 0: as they are, square and all alike */
    size_t patch, codes;
    const struct codebook *codebook; /* whose codes pictures get; NULL: one is learnt from them, or in the cache */
    const char *cache;    /* directory for the results */
    bool verbose;         /* say on standard error what is being done, and notes */
};

/* On success returns the directory (malloc'ed). NULL with EXIT_INPUT (missing, unreadable; nothing that could be held
 * out), EXIT_USAGE (pictures of several sizes, a size that is no multiple of patch, more codes than different patches,
 * a vocabulary that the text cannot have), EXIT_OUTPUT, or EXIT_MISMATCH (somebody changed the cache).
 *
 * Held out are whole groups (folder.h) in the order of a hash, until they are 5% of the pictures, and of the texts that
 * are alone 5%. The tokenizer and the codebook know nothing of them. */
char *album_prepare(const struct album_options *options, struct error *err);

#endif
