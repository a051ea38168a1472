/* The files of what is given as data: itself, or those of a directory and all below it, in the order of names. */
#ifndef WALK_H
#define WALK_H

#include <sys/stat.h>
#include "../src/base/util.h"

struct walk_file {
    const char *path;
    size_t name; /* where its name begins in the path: behind the directory that was given, or behind the last slash
                  * where a file was */
    const struct stat *info;
    bool given;  /* by its own name, not found in a directory */
    bool hidden; /* found, with a name that begins with a dot */
    bool pipe;   /* or a device */
};

typedef bool walk_visitor(void *context, const struct walk_file *file, struct error *err);

/* Shows each file to the visitor until that fails; hidden directories below `path` are passed, links followed. `want`
 * is what may be given ("a text file", say), for the message. EXIT_INPUT: something cannot be read. */
bool walk(char *path, const char *want, walk_visitor *visit, void *context, struct error *err);

/* Where a name is in the order in which names are held out: a hash that spreads names which differ in a letter. */
uint64_t order_of(const char *name, size_t size);

/* Chains what tells of a file whether it is still the same: its path, size and time of modification. */
uint64_t hash_file(uint64_t hash, const char *path, size_t size, struct timespec modified);

#endif
