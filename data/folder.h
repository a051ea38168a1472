/* Pictures with captions, and texts without pictures: which there are in what a user gives. README.md here tells how a
 * folder is laid out. */
#ifndef FOLDER_H
#define FOLDER_H

#include "../src/base/util.h"

struct caption {
    char *text, *language; /* language "" where none is said */
};

struct folder_item {
    char *path;               /* of a picture; NULL: a text alone, captions[0] */
    uint64_t group;           /* items of one group are held out together; spread, so that it can choose which */
    struct caption *captions; /* a picture's in the order of their lines; it may have none */
    size_t n_captions;
};

struct folder {
    struct folder_item *items; /* in the order of paths as given, then of names, then of lines */
    size_t n;
    uint64_t hash; /* of paths, groups, sizes, times and all that captions.tsv files hold */
};

/* The group of a picture is a hash of its name below the folder, up to the first '+' or the last '.' of its last part:
 * 1f44b+1f3fb.png goes with 1f44b.png. A text's is a hash of the text. */

/* Lists folders, .png and .txt files. `verbose` tells of what is skipped. Release with folder_free, also after a
 * failure. EXIT_INPUT: a path cannot be read, a line of a captions.tsv or text is wrong, nothing is found; EXIT_USAGE:
 * a picture is found twice. */
bool folder_list(struct folder *f, char **paths, size_t n, bool verbose, struct error *err);
void folder_free(struct folder *f);

/* Leaves out the captions of all other languages than those in a list, as in "en,de"; texts alone stay. EXIT_USAGE: one
 * of them has no caption. */
bool folder_choose(struct folder *f, const char *languages, struct error *err);

#endif
