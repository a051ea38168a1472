/* See folder.h. A walk finds the pictures and reads the texts; captions come afterwards, since a captions.tsv may stand
 * before the folders of its pictures. */
#include "folder.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../src/base/text.h"
#include "walk.h"

#define CAPTIONS "captions.tsv"
#define BLANKS " \t\r\v\f"
enum { LANGUAGE = 20, SHOWN = 120 }; /* bytes of a language at most; of what a message cites */

/* What a walk adds to. */
struct listing {
    struct folder *folder;
    size_t capacity;
    char **captions; /* paths of captions.tsv files */
    size_t n_captions, captions_capacity;
    size_t skipped, beside;  /* beside: texts with the name of a picture */
    char *skip, *text;       /* the first of each */
    struct folder_item **by_path; /* the pictures, sorted */
    size_t n_pictures;
};

/* ---- Lines ---- */

struct lines {
    const char *path;
    char *bytes, *at, *end;
    size_t number; /* of the line last read, from 1 */
};

static bool lines_open(struct lines *l, const char *path, size_t *size, struct error *err) {
    *l = (struct lines){.path = path, .bytes = file_contents(fopen(path, "rb"), path, size, err)};
    if (!l->bytes) return false;
    l->end = l->bytes + *size;
    l->at = l->bytes + (strncmp(l->bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0); /* a byte-order mark */
    return true;
}

/* The next line that is not blank, NULL at the end. */
static bool line_next(struct lines *l, char **line, struct error *err) {
    for (*line = NULL; !*line && l->at < l->end;) {
        char *start = l->at, *stop = memchr(start, '\n', (size_t)(l->end - start));
        if (!stop) stop = l->end;
        l->at = stop < l->end ? stop + 1 : stop;
        l->number++;
        *stop = 0;
        if (start + strlen(start) < stop || !text_is_utf8(start))
            return error_set(err, EXIT_INPUT, "%s: line %zu: not UTF-8 text; convert this file to UTF-8", l->path,
                             l->number);
        if (start[strspn(start, BLANKS)]) *line = start;
    }
    return true;
}

/* Without the blanks around it. */
static char *trim(char *text) {
    text += strspn(text, BLANKS);
    size_t n = strlen(text);
    while (n > 0 && strchr(BLANKS, text[n - 1])) n--;
    text[n] = 0;
    return text;
}

/* ---- Pictures and texts ---- */

static struct folder_item *item_add(struct listing *l, const char *path, uint64_t group) {
    struct folder *f = l->folder;
    f->items = array_grow(f->items, &l->capacity, f->n + 1, sizeof *f->items);
    f->items[f->n] = (struct folder_item){.path = path ? string_format("%s", path) : NULL, .group = group};
    return &f->items[f->n++];
}

static void caption_add(struct folder_item *item, const char *text, const char *language) {
    size_t capacity = item->n_captions;
    item->captions = array_grow(item->captions, &capacity, item->n_captions + 1, sizeof *item->captions);
    item->captions[item->n_captions++] =
        (struct caption){string_format("%s", text), string_format("%s", language)};
}

/* `name` is that below the folder. */
static uint64_t picture_group(const char *name) {
    const char *slash = strrchr(name, '/'), *last = slash ? slash + 1 : name, *plus = strchr(last + 1, '+');
    return order_of(name, (size_t)((plus ? plus : strrchr(last, '.')) - name));
}

static bool texts_add(struct listing *l, const char *path, struct error *err) {
    struct lines lines;
    size_t size;
    char *line = NULL;
    bool ok = lines_open(&lines, path, &size, err);
    while (ok && (ok = line_next(&lines, &line, err)) && line) {
        line = trim(line);
        caption_add(item_add(l, NULL, order_of(line, strlen(line))), line, "");
    }
    free(lines.bytes);
    return ok;
}

/* Whether a name ends so, in small letters or capitals. */
static bool name_ends(const char *path, const char *end) {
    const size_t n = strlen(path), m = strlen(end);
    return n >= m && strcasecmp(path + n - m, end) == 0;
}

/* a.txt beside a.png: elsewhere that is its caption. */
static void beside_count(struct listing *l, const char *path) {
    char *picture = string_format("%.*s.png", (int)strlen(path) - 4, path);
    if (access(picture, F_OK) == 0 && l->beside++ == 0) l->text = string_format("%s", path);
    free(picture);
}

static bool other_pass(struct listing *l, const struct walk_file *file, struct error *err) {
    if (file->given)
        return error_set(err, EXIT_INPUT, "%s: neither a .png picture nor a .txt text; name one, or a folder of them",
                         file->path);
    if (l->skipped++ == 0) l->skip = string_format("%s", file->path);
    return true;
}

static bool file_add(void *context, const struct walk_file *file, struct error *err) {
    struct listing *l = context;
    struct folder *f = l->folder;
    const char *path = file->path, *slash = strrchr(path, '/');
    const bool captions = !file->given && strcmp(slash + 1, CAPTIONS) == 0;
    const bool picture = name_ends(path, ".png"), text = name_ends(path, ".txt");
    if (file->pipe || file->hidden || !(captions || picture || text)) return other_pass(l, file, err);
    if (captions) {
        l->captions = array_grow(l->captions, &l->captions_capacity, l->n_captions + 1, sizeof *l->captions);
        l->captions[l->n_captions++] = string_format("%s", path);
        return true;
    }
    f->hash = hash_file(f->hash, path, (size_t)file->info->st_size, file->info->st_mtim);
    if (text) {
        beside_count(l, path);
        return texts_add(l, path, err);
    }
    const uint64_t group = picture_group(path + file->name);
    f->hash = hash_bytes(f->hash, &group, sizeof group); /* it depends on which folder was given */
    item_add(l, path, group);
    l->n_pictures++;
    return true;
}

/* ---- Captions ---- */

static int items_compare(const void *a, const void *b) {
    const struct folder_item *const *x = a, *const *y = b;
    return strcmp((*x)->path, (*y)->path);
}

static bool pictures_sort(struct listing *l, struct error *err) {
    size_t n = 0;
    l->by_path = array_alloc(l->n_pictures, sizeof *l->by_path);
    for (size_t i = 0; i < l->folder->n; i++)
        if (l->folder->items[i].path) l->by_path[n++] = &l->folder->items[i];
    if (n > 1) qsort(l->by_path, n, sizeof *l->by_path, items_compare);
    for (size_t i = 1; i < n; i++)
        if (items_compare(&l->by_path[i - 1], &l->by_path[i]) == 0)
            return error_set(err, EXIT_USAGE, "%s: found twice; name no folder twice, and none inside of another",
                             l->by_path[i]->path);
    return true;
}

/* FILE as it stands in DIR/captions.tsv. */
static struct folder_item *picture_find(const struct listing *l, const char *captions, const char *file) {
    while (strncmp(file, "./", 2) == 0) file += 2;
    char *path = string_format("%.*s%s", (int)(strlen(captions) - strlen(CAPTIONS)), captions, file);
    const struct folder_item key = {.path = path}, *wanted = &key;
    struct folder_item **found = NULL;
    if (l->n_pictures > 0)
        found = bsearch(&wanted, l->by_path, l->n_pictures, sizeof *l->by_path, items_compare);
    free(path);
    return found ? *found : NULL;
}

static bool language_fits(const char *language) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    return strlen(language) <= LANGUAGE && !language[strspn(language, letters)];
}

/* The message cites what there is. */
static bool line_refuse(const struct lines *l, const char *what, const char *got, const char *remedy,
                        struct error *err) {
    char *cited = text_as_utf8(got, SHOWN);
    error_set(err, EXIT_INPUT, "%s: line %zu: %s (got '%s'); %s", l->path, l->number, what, cited, remedy);
    free(cited);
    return false;
}

static bool caption_read(const struct listing *l, const struct lines *lines, char *line, struct error *err) {
    char *file = strsep(&line, "\t"), *text = strsep(&line, "\t"), *language = strsep(&line, "\t");
    if (!text)
        return line_refuse(lines, "no TAB", file, "write FILE, TAB, caption, and where it has one TAB, language", err);
    text = trim(text);
    language = language ? trim(language) : "";
    if (line) return line_refuse(lines, "more than three fields", line, "write no TAB in a caption", err);
    if (!*text) return line_refuse(lines, "a caption without text", file, "write one, or drop the line", err);
    if (!language_fits(language))
        return line_refuse(lines, "not a language (want at most 20 letters, digits, - and _)", language,
                           "write it as in en or zh-Hant", err);
    struct folder_item *picture = picture_find(l, lines->path, file);
    if (!picture)
        return line_refuse(lines, "no such picture in this folder", file, "correct its name, or drop the line", err);
    caption_add(picture, text, language);
    return true;
}

static bool captions_read(const struct listing *l, const char *path, struct error *err) {
    struct lines lines;
    size_t size;
    char *line = NULL;
    bool ok = lines_open(&lines, path, &size, err);
    if (ok) {
        l->folder->hash = hash_bytes(l->folder->hash, path, strlen(path) + 1);
        l->folder->hash = hash_bytes(l->folder->hash, lines.bytes, size + 1); /* and its NUL */
    }
    while (ok && (ok = line_next(&lines, &line, err)) && line)
        ok = *line == '#' || caption_read(l, &lines, line, err);
    free(lines.bytes);
    return ok;
}

/* ---- Folders ---- */

static void listing_tell(const struct listing *l) {
    if (l->skipped > 0)
        fprintf(stderr, "skipped, hidden or neither .png, .txt nor " CAPTIONS ": %zu files, %s first\n", l->skipped,
                l->skip);
    if (l->beside > 0)
        note_print("%s: has the name of a picture (%zu such files), and is text without one; captions belong into "
                   CAPTIONS, l->text, l->beside);
}

static void listing_free(struct listing *l) {
    for (size_t i = 0; i < l->n_captions; i++) free(l->captions[i]);
    free(l->captions);
    free(l->by_path);
    free(l->skip);
    free(l->text);
}

bool folder_list(struct folder *f, char **paths, size_t n, bool verbose, struct error *err) {
    struct listing l = {.folder = f};
    bool ok = true;
    *f = (struct folder){.hash = HASH_START};
    for (size_t i = 0; ok && i < n; i++)
        ok = walk(paths[i], "a folder of .png or .txt files", file_add, &l, err);
    ok = ok && pictures_sort(&l, err);
    for (size_t i = 0; ok && i < l.n_captions; i++) ok = captions_read(&l, l.captions[i], err);
    if (ok && f->n == 0)
        ok = error_set(err, EXIT_INPUT, "%s: no pictures and no text (%zu other files); name a folder of .png or .txt "
                       "files", n > 0 ? paths[0] : "no input", l.skipped);
    if (ok && verbose) listing_tell(&l);
    listing_free(&l);
    return ok;
}

static void caption_free(struct caption *c) {
    free(c->text);
    free(c->language);
}

void folder_free(struct folder *f) {
    for (size_t i = 0; i < f->n; i++) {
        for (size_t c = 0; c < f->items[i].n_captions; c++) caption_free(&f->items[i].captions[c]);
        free(f->items[i].captions);
        free(f->items[i].path);
    }
    free(f->items);
    *f = (struct folder){0};
}

/* ---- Languages ---- */

/* Whether `name` is in a list whose members commas part. */
static bool list_has(const char *list, const char *name) {
    const size_t length = strlen(name);
    for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == 0)) return true;
    return false;
}

static bool folder_has(const struct folder *f, const char *language) {
    for (size_t i = 0; i < f->n; i++)
        for (size_t c = 0; f->items[i].path && c < f->items[i].n_captions; c++)
            if (strcmp(f->items[i].captions[c].language, language) == 0) return true;
    return false;
}

bool folder_choose(struct folder *f, const char *languages, struct error *err) {
    for (const char *at = languages, *end; at; at = *end ? end + 1 : NULL) {
        end = strchrnul(at, ',');
        char *name = string_format("%.*s", (int)(end - at), at);
        const bool there = folder_has(f, name);
        if (!there)
            error_set(err, EXIT_USAGE, "--languages %s: no caption is in '%s'; see captions.tsv", languages, name);
        free(name);
        if (!there) return false;
    }
    for (struct folder_item *item = f->items; item < f->items + f->n; item++) {
        size_t kept = 0;
        for (size_t c = 0; c < item->n_captions; c++) {
            if (!item->path || list_has(languages, item->captions[c].language))
                item->captions[kept++] = item->captions[c];
            else caption_free(&item->captions[c]);
        }
        item->n_captions = kept;
    }
    f->hash = hash_bytes(f->hash, languages, strlen(languages));
    return true;
}
