/* The texts of a corpus: which files there are, of which part (a language, a domain), which of them are held out, and
 * their bytes. See README.md here for what may be given. */
#ifndef INPUTS_H
#define INPUTS_H

#include "../src/base/util.h"
#include "encoding.h"

struct bytes {
    char *data;
    size_t size, capacity;
};

/* What becomes of an input's text where the corpus holds out its own. */
enum input_use { INPUT_CUT, INPUT_TRAIN, INPUT_HELD_OUT }; /* its end is held out; nothing; all of it */

struct input {
    char *path;
    uint64_t order;    /* a hash of its name: the path below the directory that was given, or the last name of a file */
    size_t part;
    size_t size;       /* on disk */
    struct bytes held; /* what came through a pipe and can be read only once; else empty */
    enum input_use use;
};

struct text_part {
    char *name;
    double bytes;   /* on disk, and of packed files what they are likely to hold */
    size_t skipped; /* hidden or binary */
};

struct input_list {
    struct input *inputs;    /* those of a part beside each other */
    size_t n, capacity;
    struct text_part *parts; /* in the order of their names; one without a name where there are none */
    size_t n_parts;
    uint64_t hash;           /* of names, paths, sizes and times */
    struct encoding_notes notes;
};

/* Lists the files of paths, with directories walked in name order. Parts are named by paths NAME=PATH (which are not
 * themselves the path of something), or with `parts` they are the sub-directories of each path; they are listed in the
 * order of their names. `verbose` tells what is skipped. Release with inputs_free, also after a failure. EXIT_INPUT: a
 * path cannot be read, a part or all of it is empty; EXIT_USAGE: two parts of one name, a name that no part can have,
 * some paths with a part's name and some without. */
bool inputs_list(struct input_list *list, char **paths, size_t n, bool parts, bool verbose, struct error *err);
void inputs_free(struct input_list *list);

/* What an argument names: PATH of NAME=PATH, or itself. */
const char *input_path(const char *argument);

/* Chooses what is held out: of an input that is more than a twentieth of its part the last twentieth (INPUT_CUT), and
 * so of what has its name in another part; of the others a twentieth of their bytes, but at least one of each part,
 * whole, in the order of the hashes of their names: so the same name is held out in every part, and a file that is
 * added later changes next to nothing. */
void inputs_hold_out(struct input_list *list);

/* Bytes at the start of an input's text that are trained on; the rest is held out. */
size_t text_kept(const struct input *input, const struct bytes *text);

/* The text of an input, out of its gzip members where it is a .gz. One that is held is lent, not copied; text_release
 * knows. EXIT_INPUT. */
bool text_read(const struct input *input, struct bytes *text, struct error *err);
void text_release(const struct input *input, struct bytes *text);

/* Whether its text is packed: `size` says little of it. */
bool input_packed(const struct input *input);

#endif
