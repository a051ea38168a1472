/* Folders of small pictures with captions, and texts; what album_prepare makes of them, and whether its albums hold all
 * that a folder does. To be included after cmocka.h. */
#ifndef ALBUM_FOLDERS_H
#define ALBUM_FOLDERS_H

#include <fcntl.h>
#include "../data/album.h"
#include "../data/album_prepare.h"
#include "../data/cache.h"
#include "../data/codebook.h"
#include "../data/folder.h"
#include "../data/pictures.h"
#include "../src/base/rng.h"
#include "data_files.h"

enum { SIZE = 8, PATCH = 4, CODES = 20, MOST = 400 };

/* ---- Folders ---- */

static inline void shell(const char *dir, const char *what) {
    char *command = string_format("cd %s && %s", dir, what);
    assert_int_equal(system(command), 0);
    free(command);
}

/* A picture of noise over a colour: no two patches are the same. */
static inline void picture_make(const char *dir, const char *name, size_t width, size_t height, uint64_t salt) {
    struct rng rng;
    struct error err;
    struct picture p = {width, height, array_alloc(width * height, 3)};
    char *path = string_format("%s/%s", dir, name);
    rng_seed(&rng, salt, 3);
    for (size_t i = 0; i < width * height * 3; i++)
        p.rgb[i] = (unsigned char)(salt * (40 + i % 3 * 30) % 200 + rng_next(&rng) % 50);
    if (!picture_write(path, &p, &err)) fail_msg("%s", err.text);
    free(p.rgb);
    free(path);
}

static inline void line_add(const char *dir, const char *name, const char *line) {
    char *path = string_format("%s/%s", dir, name);
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    fprintf(file, "%s\n", line);
    assert_int_equal(fclose(file), 0);
    free(path);
}

static inline void caption_write(const char *dir, const char *name, const char *words, const char *language) {
    char *line = string_format("%s\t%s%s%s", name, words, *language ? "\t" : "", language);
    line_add(dir, "captions.tsv", line);
    free(line);
}

/* n pictures: every fifth has two more of its group; captions in two languages, some without one, some pictures without
 * captions. And `texts` texts. */
static inline char *folder_make(const char *root, const char *name, size_t n, size_t texts) {
    static const char *const words[] = {"cat", "dog", "red house", "grinning face", "small tree"};
    char *dir = string_format("%s/%s", root, name);
    assert_int_equal(mkdir(dir, 0777), 0);
    for (size_t i = 0; i < n; i++)
        for (size_t tone = 0; tone < (i % 5 == 0 ? 3 : 1); tone++) {
            char *file = tone ? string_format("p%03zu+%zu.png", i, tone) : string_format("p%03zu.png", i);
            char *said = string_format("a %s and a %s", words[i % 5], words[i / 5 % 5]);
            picture_make(dir, file, SIZE, SIZE, 1 + i * 3 + tone);
            if (i % 7 != 6) caption_write(dir, file, said, i % 7 == 5 ? "" : "en");
            if (i % 3 == 0) caption_write(dir, file, said, "de");
            free(file);
            free(said);
        }
    for (size_t i = 0; i < texts; i++) {
        char *line = string_format("the %s number %zu is not a %s", words[i % 5], i, words[i / 5 % 5]);
        line_add(dir, "texts.txt", line);
        free(line);
    }
    return dir;
}

/* What a preparation needs, with its results in ROOT/cache. */
struct setting {
    char *dir, *cache;
    struct album_options options;
};

static inline struct setting setting_make(const char *root, size_t pictures, size_t texts) {
    struct setting s = {folder_make(root, "pics", pictures, texts), string_format("%s/cache", root), {0}};
    s.options = (struct album_options){.n_paths = 1, .vocab = 300, .vocab_adapts = true, .patch = PATCH, .codes = CODES,
                                       .cache = s.cache};
    return s;
}

static inline void setting_free(struct setting *s) {
    free(s->dir);
    free(s->cache);
}

static inline char *prepared(struct setting *s) {
    struct error err;
    s->options.paths = &s->dir;
    char *entry = album_prepare(&s->options, &err);
    if (!entry) fail_msg("%s", err.text);
    if (!cache_check(entry, &err)) fail_msg("%s", err.text);
    return entry;
}

/* Also what it tells meanwhile on standard error. malloc'ed. */
static inline char *prepared_telling(struct setting *s, char **told) {
    char *path = string_format("%s.told", s->dir);
    const int kept = dup(STDERR_FILENO), file = open(path, O_CREAT | O_RDWR | O_TRUNC, 0666);
    size_t size;
    fflush(stderr);
    assert_true(dup2(file, STDERR_FILENO) >= 0);
    char *entry = prepared(s);
    fflush(stderr);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    char *bytes = file_read(path, &size);
    *told = string_format("%.*s", (int)size, bytes);
    close(kept);
    close(file);
    free(bytes);
    free(path);
    return entry;
}

static inline void refused(struct setting *s, int code, const char *says) {
    struct error err = {0, ""};
    s->options.paths = &s->dir;
    assert_null(album_prepare(&s->options, &err));
    if (err.code != code || !strstr(err.text, says)) fail_msg("%d: '%s' does not say '%s'", err.code, err.text, says);
    assert_null(strchr(err.text, '\n'));
    assert_int_equal(entries_count(s->cache), 0); /* nothing stays behind */
}

static inline struct album *opened(const char *entry, const char *split) {
    struct error err;
    struct album *a = album_open(entry, split, 1 << 20, &err);
    if (!a) fail_msg("%s", err.text);
    return a;
}

static inline tokenizer *tokenizer_in(const char *entry) {
    struct error err;
    char *path = string_format("%s/tokenizer.model", entry);
    tokenizer *t = tokenizer_load(path, &err);
    if (!t) fail_msg("%s", err.text);
    free(path);
    return t;
}

/* ---- What is in an album ---- */

static inline char *decoded(const tokenizer *t, const int32_t *tokens, size_t n) {
    char *text = string_format("%s", "");
    for (size_t i = 0; i < n; i++) {
        size_t size;
        const char *piece = tokenizer_piece(t, tokens[i], &size);
        string_append(&text, "%.*s", (int)size, piece);
    }
    return text;
}

static inline void texts_expect(const tokenizer *t, const struct album_record *record, const struct folder_item *item) {
    assert_int_equal(record->n_texts, item->n_captions);
    for (size_t c = 0; c < record->n_texts; c++) {
        const struct album_text *got = &record->texts[c];
        const char *language = item->captions[c].language;
        assert_int_equal(got->tokens[got->n - 1], tokenizer_end_of_text(t));
        char *prefix = decoded(t, got->tokens, got->prefix);
        char *words = decoded(t, got->tokens + got->prefix, got->n - got->prefix - 1);
        char *name = string_format("%s%s", language, *language ? ":" : "");
        char *said = string_format("%s%s", *language ? " " : "", item->captions[c].text);
        assert_string_equal(prefix, name);
        assert_string_equal(words, said);
        free(prefix);
        free(words);
        free(name);
        free(said);
    }
}

static inline void picture_expect(const struct album *a, const struct codebook *c, const struct album_record *record,
                                  const struct folder_item *item) {
    struct picture p;
    struct error err;
    const size_t size = album_size(a), patch = album_patch(a), n = size / patch * (size / patch);
    real *patches = array_alloc(size * size * 3, sizeof *patches);
    int32_t *codes = array_alloc(n, sizeof *codes);
    assert_true(picture_read(&p, item->path, &err));
    picture_fit(&p, size);
    assert_memory_equal(record->pixels, p.rgb, size * size * 3);
    patches_of(patches, p.rgb, size, patch);
    codebook_assign(c, patches, n, codes);
    assert_memory_equal(record->codes, codes, n * sizeof *codes);
    assert_string_equal(record->name, strrchr(item->path, '/') + 1);
    free(p.rgb);
    free(patches);
    free(codes);
}

static inline bool record_is(const tokenizer *t, const struct album_record *record, const struct folder_item *item) {
    if (item->path) return record->pixels && strcmp(record->name, strrchr(item->path, '/') + 1) == 0;
    if (record->pixels || record->n_texts != 1) return false;
    char *text = decoded(t, record->texts->tokens, record->texts->n - 1);
    const bool is = strcmp(text, item->captions->text) == 0;
    free(text);
    return is;
}

/* Each item of the folder is a record of one of the two albums, in the folder's order, and there are no others. Says
 * which are held out (f->n, to be freed). */
static inline bool *albums_expect(const char *entry, const struct folder *f) {
    struct album *albums[] = {opened(entry, "train"), opened(entry, "val")};
    bool *held_out = array_alloc(f->n, sizeof *held_out);
    size_t at[2] = {0, 0};
    tokenizer *t = tokenizer_in(entry);
    struct codebook c = {0};
    struct error err;
    if (album_size(albums[0]) > 0) assert_true(codebook_load(&c, entry, &err));
    for (size_t i = 0; i < f->n; i++) {
        struct album_record record;
        bool found = false;
        for (int s = 0; s < 2 && !found; s++) {
            if (at[s] == album_records(albums[s])) continue;
            assert_true(album_read(albums[s], at[s], &record, &err));
            if (!record_is(t, &record, &f->items[i])) continue;
            found = true;
            held_out[i] = s == 1;
            at[s]++;
            assert_true(record.group == f->items[i].group);
            texts_expect(t, &record, &f->items[i]);
            if (f->items[i].path) picture_expect(albums[s], &c, &record, &f->items[i]);
            else assert_string_equal(record.name, "");
        }
        if (!found) fail_msg("item %zu is in neither album", i);
    }
    for (int s = 0; s < 2; s++) {
        assert_int_equal(at[s], album_records(albums[s]));
        album_close(albums[s]);
    }
    codebook_free(&c);
    tokenizer_free(t);
    return held_out;
}

static inline struct folder listed(const struct setting *s) {
    struct folder f;
    struct error err;
    if (!folder_list(&f, (char **)&s->dir, 1, false, &err)) fail_msg("%s", err.text);
    return f;
}

static inline void files_equal(const char *a, const char *b, const char *name, bool equal) {
    char *paths[] = {string_format("%s/%s", a, name), string_format("%s/%s", b, name)};
    size_t sizes[2];
    char *data[] = {file_read(paths[0], &sizes[0]), file_read(paths[1], &sizes[1])};
    const bool is = sizes[0] == sizes[1] && memcmp(data[0], data[1], sizes[0]) == 0;
    if (is != equal) fail_msg("%s and %s are %s", paths[0], paths[1], is ? "equal" : "different");
    for (int i = 0; i < 2; i++) {
        free(paths[i]);
        free(data[i]);
    }
}

#endif
