/* The cache: a directory of prepared texts and pictures, each an entry that is there whole or not at all.
 *
 * An entry is filled in a directory of its own, ENTRY.XXXXXX, which its process keeps locked, and gets its name when
 * it is whole. A directory of that kind which nobody holds was left by a process that is gone: the next one removes
 * it. See README.md here for what an entry holds, prepare.c for how its name is made. */
#ifndef CACHE_H
#define CACHE_H

#include "../src/base/util.h"

/* CACHE/NAME-HASH, where NAME is the last of a path ("-": standard input's). malloc'ed. */
char *cache_entry(const char *cache, const char *path, uint64_t hash);

/* Whether an entry is there and whole. A damaged one that may be replaced is not found, as its inputs are at hand; one
 * that may not fails. `verbose` notes the damage. */
bool cache_find(const char *entry, bool verbose, bool *found, struct error *err);

/* Removes what processes that are gone have left in a cache. */
void cache_sweep(const char *cache);

/* Makes an entry: `fill` leaves everything in `dir`, an empty directory in the cache, which then gets the entry's name.
 * Another process may have been quicker: then its entry stays, and this one goes. A damaged entry is replaced if it may
 * be. Nothing is left of a failure. The directory is locked by flock, which the system drops when the process ends,
 * however it does; where a file system has no locks, nothing is taken for left behind. */
bool cache_fill(const char *cache, const char *entry, bool (*fill)(void *job, const char *dir, struct error *err),
                void *job, struct error *err);

/* Whether an entry is whole: the tokenizer, the shards or the albums of both splits with their codebook, the CRC of
 * each block. EXIT_INPUT: it is damaged; EXIT_MISMATCH: it is whole, but of things that do not belong together. */
bool cache_check(const char *entry, struct error *err);

/* Whether a damaged entry may be replaced: it holds nothing but what prepare.c or album_prepare.c writes. If not,
 * `err`, which says what is damaged, becomes the message that says what to delete. */
bool cache_replaceable(const char *entry, struct error *err);

#endif
