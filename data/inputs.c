/* See inputs.h. */
#include "inputs.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include "../src/base/text.h"
#include "walk.h"

enum {
    GZIP_RATIO = 4,         /* a guess at what is in a packed file */
    PART_NAME = 60,         /* bytes at most */
    HELD_OUT = 20,          /* one of so many */
};

/* ---- Reading ---- */

bool input_packed(const struct input *input) { return text_ends(input->path, ".gz"); }

static bool stream_read(FILE *file, const char *path, struct bytes *text, struct error *err) {
    struct stat info;
    size_t got, expected = fstat(fileno(file), &info) == 0 ? (size_t)info.st_size : 0;
    text->data = array_grow(text->data, &text->capacity, expected + BUFSIZ, 1);
    do {
        text->data = array_grow(text->data, &text->capacity, text->size + BUFSIZ, 1);
        got = fread(text->data + text->size, 1, text->capacity - text->size, file);
        text->size += got;
    } while (got > 0);
    return !ferror(file) || error_set(err, EXIT_INPUT, "%s: cannot read: %s", path, strerror(errno));
}

static bool path_read(const char *path, struct bytes *text, struct error *err) {
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (!file) return error_set(err, EXIT_INPUT, "%s: cannot open: %s", path, strerror(errno));
    bool ok = stream_read(file, path, text, err);
    if (file != stdin) fclose(file);
    return ok;
}

/* Replaces gzip members by what is in them. zlib's gzread would take garbage behind a member for its end. */
static bool text_gunzip(const char *path, struct bytes *text, struct error *err) {
    struct bytes packed = *text;
    *text = (struct bytes){0};
    z_stream z = {.next_in = (Bytef *)packed.data, .avail_in = 0};
    int status = inflateInit2(&z, 16 + MAX_WBITS) == Z_OK ? Z_OK : Z_MEM_ERROR;
    size_t at = 0;
    while (status == Z_OK) {
        text->data = array_grow(text->data, &text->capacity, text->size + BUFSIZ, 1);
        size_t in = packed.size - at < 1 << 30 ? packed.size - at : 1 << 30;
        size_t out = text->capacity - text->size < 1 << 30 ? text->capacity - text->size : 1 << 30;
        z.next_in = (Bytef *)packed.data + at;
        z.avail_in = (uInt)in;
        z.next_out = (Bytef *)text->data + text->size;
        z.avail_out = (uInt)out;
        status = inflate(&z, Z_NO_FLUSH);
        at += in - z.avail_in;
        text->size += out - z.avail_out;
        if (status == Z_STREAM_END && at < packed.size) status = inflateReset(&z);
    }
    inflateEnd(&z);
    free(packed.data);
    if (status == Z_STREAM_END) return true;
    if (status == Z_MEM_ERROR) return error_set(err, EXIT_MEMORY, "%s: out of memory", path);
    return error_set(
        err, EXIT_INPUT, "%s: byte %zu: %s; fetch this file again", path, at,
        status == Z_BUF_ERROR ? "the gzip stream is cut short" : "not a gzip stream, or damaged");
}

void text_release(const struct input *input, struct bytes *text) {
    if (text->data != input->held.data) free(text->data);
    *text = (struct bytes){0};
}

bool text_read(const struct input *input, struct bytes *text, struct error *err) {
    *text = input->held;
    if (text->data) return true;
    if (path_read(input->path, text, err) &&
        (!input_packed(input) || text_gunzip(input->path, text, err)))
        return true;
    text_release(input, text);
    return false;
}

/* ---- Inputs ---- */

static double bytes_likely(const struct input *input) {
    return (double)input->size * (input_packed(input) ? GZIP_RATIO : 1);
}

/* An input of the last part that the list has; its name begins at `name` of its path. */
static void input_add(struct input_list *list, const char *path, size_t name, const struct stat *info,
                      struct bytes held) {
    list->inputs = array_grow(list->inputs, &list->capacity, list->n + 1, sizeof *list->inputs);
    struct input *input = &list->inputs[list->n++];
    *input = (struct input){.path = string_format("%s", path), .part = list->n_parts - 1,
                            .size = held.data ? held.size : (size_t)info->st_size, .held = held};
    input->order = order_of(path + name, strlen(path + name));
    list->parts[input->part].bytes += bytes_likely(input);
    list->hash = hash_file(list->hash, path, input->size, held.data ? (struct timespec){0} : info->st_mtim);
    list->hash = hash_bytes(list->hash, held.data, held.data ? held.size : 0);
}

/* Standard input or another pipe: its content is its identity. */
static bool pipe_add(struct input_list *list, const char *path, struct error *err) {
    struct bytes held = {0};
    bool ok = path_read(path, &held, err) &&
              encoding_check_piped(&list->notes, path, held.data, held.size, err);
    if (ok) input_add(list, path, 0, NULL, held);
    else free(held.data);
    return ok;
}

/* What a walk adds to. */
struct adding {
    struct input_list *list;
    bool verbose;
};

/* Found files that are hidden or binary are skipped; of pipes and devices only those that were given count. */
static bool file_add(void *context, const struct walk_file *file, struct error *err) {
    const struct adding *to = context;
    if (file->pipe) return !file->given || pipe_add(to->list, file->path, err);
    bool skip = file->hidden;
    if (!skip && !encoding_check(&to->list->notes, file->path, !file->given, &skip, err)) return false;
    if (skip) {
        if (to->verbose) fprintf(stderr, "skipped, hidden or binary: %s\n", file->path);
        to->list->parts[to->list->n_parts - 1].skipped++;
    } else
        input_add(to->list, file->path, file->name, file->info, (struct bytes){0});
    return true;
}

static bool path_add(struct input_list *list, char *path, bool verbose, struct error *err) {
    struct adding to = {list, verbose};
    if (strcmp(path, "-") == 0) return pipe_add(list, path, err);
    return walk(path, "a text file or a directory of text", file_add, &to, err);
}

/* ---- Parts ---- */

/* A path, and the name of the part that it is; "" where there are no parts. */
struct source {
    char *name, *path;
};

struct sources {
    struct source *all;
    size_t n, capacity;
};

static void source_add(struct sources *s, char *name, char *path) {
    s->all = array_grow(s->all, &s->capacity, s->n + 1, sizeof *s->all);
    s->all[s->n++] = (struct source){name, path};
}

static void sources_free(struct sources *s) {
    for (size_t i = 0; i < s->n; i++) {
        free(s->all[i].name);
        free(s->all[i].path);
    }
    free(s->all);
}

/* Whether a part can have this name: that of a directory in the cache, and of one in --part-weights. */
static bool part_name_fits(const char *name, size_t length) {
    bool fits = length > 0 && length <= PART_NAME && name[0] != '.' && name[0] != '-';
    for (size_t i = 0; i < length; i++) fits &= isascii(name[i]) && (isalnum(name[i]) || strchr("._-", name[i]));
    return fits;
}

/* The length of NAME in NAME=PATH; 0: it is a path. */
static size_t part_prefix(const char *path) {
    const size_t length = strcspn(path, "=");
    return path[length] && part_name_fits(path, length) && access(path, F_OK) != 0 ? length : 0;
}

const char *input_path(const char *argument) {
    const size_t length = part_prefix(argument);
    return length > 0 ? argument + length + 1 : argument;
}

static bool named_add(struct sources *s, const char *path, struct error *err) {
    const size_t length = part_prefix(path);
    if (!path[length + 1])
        return error_set(err, EXIT_USAGE, "%s: names no path; write it as in en=FILE, or en=DIRECTORY", path);
    source_add(s, string_format("%.*s", (int)length, path), string_format("%s", path + length + 1));
    return true;
}

/* The sub-directories of a path. */
static bool directories_add(struct sources *s, const char *path, bool verbose, struct error *err) {
    struct dirent **names;
    const int n = names_list(path, &names);
    const size_t before = s->n;
    size_t beside = 0;
    bool ok = n >= 0 || error_set(err, EXIT_INPUT, "%s: cannot read this directory: %s; --parts takes one whose "
                                  "sub-directories are the parts", path, strerror(errno));
    for (int i = 0; i < n; i++) {
        const char *name = names[i]->d_name;
        char *full = string_format("%s/%s", path, name);
        const bool directory = directory_exists(full);
        if (ok && *name != '.' && directory && !part_name_fits(name, strlen(name)))
            ok = error_set(err, EXIT_USAGE, "%s: a part cannot have this name (want at most %d letters, digits and "
                           "._-, not beginning with . or -); rename it, or write NAME=%s", full, PART_NAME, full);
        beside += *name != '.' && !directory;
        if (ok && *name != '.' && directory) source_add(s, string_format("%s", name), full);
        else free(full);
    }
    names_free(names, n);
    if (ok && verbose && beside > 0) note_print("%s: %zu files beside the parts are left out", path, beside);
    return !ok || s->n > before ? ok : error_set(err, EXIT_INPUT, "%s: has no sub-directories; leave out --parts, or "
                                                 "name a directory that has", path);
}

static int sources_compare(const void *a, const void *b) {
    return strcmp(((const struct source *)a)->name, ((const struct source *)b)->name);
}

/* In the order of their names. */
static bool sources_sort(struct sources *s, struct error *err) {
    if (s->n > 1) qsort(s->all, s->n, sizeof *s->all, sources_compare);
    for (size_t i = 1; i < s->n; i++)
        if (strcmp(s->all[i - 1].name, s->all[i].name) == 0)
            return error_set(err, EXIT_USAGE, "%s: two parts have this name (%s and %s); put both into one directory, "
                             "or give one another name", s->all[i].name, s->all[i - 1].path, s->all[i].path);
    return true;
}

static bool sources_find(struct sources *s, char **paths, size_t n, bool parts, bool verbose, struct error *err) {
    size_t named = 0;
    for (size_t i = 0; i < n; i++) named += part_prefix(paths[i]) > 0;
    for (size_t i = 0; i < n; i++) {
        if (parts && named > 0)
            return error_set(err, EXIT_USAGE, "--parts and NAME=PATH (%s): both say what the parts are; leave out one",
                             paths[i]);
        if (named > 0 && part_prefix(paths[i]) == 0)
            return error_set(err, EXIT_USAGE, "%s: of no part, while others are; write NAME=%s, or no names at all",
                             paths[i], paths[i]);
        if (parts && !directories_add(s, paths[i], verbose, err)) return false;
        if (named > 0 && !named_add(s, paths[i], err)) return false;
        if (!parts && named == 0) source_add(s, string_format("%s", ""), string_format("%s", paths[i]));
    }
    return (!parts && named == 0) || sources_sort(s, err);
}

static bool list_part_begins(const struct input_list *list, const struct source *source) {
    return list->n_parts == 0 || strcmp(list->parts[list->n_parts - 1].name, source->name) != 0;
}

/* Each part holds text, and there is one at least. */
static bool parts_check(const struct input_list *list, const struct sources *s, struct error *err) {
    for (size_t p = 0; p < list->n_parts; p++) {
        size_t files = 0;
        if (list->parts[p].bytes > 0) continue;
        for (size_t i = 0; i < list->n; i++) files += list->inputs[i].part == p;
        return error_set(err, EXIT_INPUT,
                         "%s: holds no text (%zu files, all empty; %zu skipped as hidden or binary); "
                         "name a text file or a directory of text", s->all[p].path, files, list->parts[p].skipped);
    }
    return list->n_parts > 0 || error_set(err, EXIT_INPUT, "no input: name a text file or a directory of text");
}

bool inputs_list(struct input_list *list, char **paths, size_t n, bool parts, bool verbose, struct error *err) {
    struct sources s = {0};
    size_t capacity = 0;
    *list = (struct input_list){.hash = HASH_START};
    bool ok = sources_find(&s, paths, n, parts, verbose, err);
    for (size_t i = 0; ok && i < s.n; i++) {
        const char *name = s.all[i].name;
        if (list_part_begins(list, &s.all[i])) {
            list->parts = array_grow(list->parts, &capacity, list->n_parts + 1, sizeof *list->parts);
            list->parts[list->n_parts++] = (struct text_part){.name = string_format("%s", name)};
            list->hash = hash_bytes(list->hash, name, strlen(name) + 1); /* or its end could be the path's start */
        }
        ok = path_add(list, s.all[i].path, verbose, err);
    }
    encoding_tell(&list->notes, ok && verbose);
    ok = ok && parts_check(list, &s, err);
    sources_free(&s);
    return ok;
}

void inputs_free(struct input_list *list) {
    for (size_t i = 0; i < list->n; i++) {
        free(list->inputs[i].path);
        free(list->inputs[i].held.data);
    }
    for (size_t p = 0; p < list->n_parts; p++) free(list->parts[p].name);
    free(list->parts);
    free(list->inputs);
}

/* ---- What is held out ---- */

static int order_compare(const void *a, const void *b) {
    const struct input *const *x = a, *const *y = b;
    return (*x)->order < (*y)->order ? -1 : (*x)->order > (*y)->order;
}

/* A part of which nothing is held out yet holds out the first of its inputs, and so do the others what has its name. */
static void part_hold_out(const struct input_list *list, size_t part) {
    struct input *first = NULL;
    for (struct input *input = list->inputs; input < list->inputs + list->n; input++) {
        if (input->part != part || input->size == 0) continue;
        if (input->use != INPUT_TRAIN) return;
        if (!first || input->order < first->order) first = input;
    }
    for (struct input *input = list->inputs; first && input < list->inputs + list->n; input++)
        if (input->order == first->order && input->use == INPUT_TRAIN) input->use = INPUT_HELD_OUT;
}

/* Of inputs in the order of their names cuts those that are large in their part, and what has the name of one: a name
 * has one use in every part. Leaves the others in front and returns how many there are. */
static size_t large_cut(const struct input_list *list, struct input **sorted) {
    size_t n = 0;
    for (size_t i = 0, end; i < list->n; i = end) {
        bool large = false;
        for (end = i; end < list->n && sorted[end]->order == sorted[i]->order; end++)
            large |= bytes_likely(sorted[end]) * HELD_OUT > list->parts[sorted[end]->part].bytes;
        for (size_t k = i; k < end; k++) {
            sorted[k]->use = large ? INPUT_CUT : INPUT_TRAIN;
            if (!large && sorted[k]->size > 0) sorted[n++] = sorted[k];
        }
    }
    return n;
}

void inputs_hold_out(struct input_list *list) {
    struct input **small = array_alloc(list->n, sizeof *small);
    double bytes = 0, out = 0;
    for (size_t i = 0; i < list->n; i++) small[i] = &list->inputs[i];
    qsort(small, list->n, sizeof *small, order_compare);
    const size_t n = large_cut(list, small);
    for (size_t i = 0; i < n; i++) bytes += bytes_likely(small[i]);
    for (size_t i = 0; i < n && (out * HELD_OUT < bytes || small[i]->order == small[i - 1]->order); i++) {
        small[i]->use = INPUT_HELD_OUT;
        out += bytes_likely(small[i]);
    }
    free(small);
    for (size_t p = 0; p < list->n_parts; p++) part_hold_out(list, p);
}

/* Where the validation part begins: the first line, or where there is none the first UTF-8 character, that
 * starts in the last twentieth. */
static size_t text_split(const char *text, size_t size) {
    size_t at = size - size / HELD_OUT;
    if (at == 0 || at == size || text[at - 1] == '\n') return at;
    const char *newline = memchr(text + at, '\n', size - at);
    if (newline && newline + 1 < text + size) return (size_t)(newline + 1 - text);
    while (at < size && (text[at] & 0xc0) == 0x80) at++;
    return at;
}

size_t text_kept(const struct input *input, const struct bytes *text) {
    switch (input->use) {
    case INPUT_TRAIN: return text->size;
    case INPUT_HELD_OUT: return 0;
    default: return text_split(text->data, text->size);
    }
}
