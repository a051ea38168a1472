/* Files for the tests of shards, loader, preparation and cache: a directory for each test, prose in it, shards, and
 * what a preparation made of it. To be included after cmocka.h. */
#ifndef DATA_FILES_H
#define DATA_FILES_H

#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "../data/loader.h"
#include "../data/prepare.h"
#include "../data/shard.h"
#include "../tokenizer/tokenizer.h"

enum { HASH = 1234, CACHE = 3 << 20, PREPARE_VOCAB = 300 };

static inline int directory_create(void **state) {
    static const char template[] = "/tmp/test_data.XXXXXX";
    char *dir = string_format("%s", template);
    *state = mkdtemp(dir);
    return *state ? 0 : -1;
}

static inline int directory_delete(void **state) {
    char *dir = *state;
    FTS *walk = fts_open((char *[]){dir, NULL}, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    for (FTSENT *entry; (entry = fts_read(walk));)
        if (entry->fts_info != FTS_D) remove(entry->fts_path);
    fts_close(walk);
    free(dir);
    return 0;
}

static inline void file_write(const char *path, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static inline char *file_read(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    struct stat info;
    assert_int_equal(fstat(fileno(file), &info), 0);
    *size = (size_t)info.st_size;
    char *data = array_alloc(*size, 1);
    assert_int_equal(fread(data, 1, *size, file), *size);
    fclose(file);
    return data;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, directory_create, directory_delete)

static inline void shard_make(const char *path, int vocab, const int32_t *tokens, size_t n, uint64_t hash) {
    struct error err;
    struct shard_writer *w = shard_create(path, vocab, hash, &err);
    assert_non_null(w);
    for (size_t at = 0, part = 1; at < n; at += part, part = part * 3 + 1) { /* appended in odd portions */
        if (part > n - at) part = n - at;
        assert_true(shard_append(w, tokens + at, part, &err));
    }
    assert_true(shard_close(w, true, &err));
}

/* Names in a directory; a missing one has none. */
static inline int entries_count(const char *dir) {
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *entry; d && (entry = readdir(d));)
        n += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
    if (d) closedir(d);
    return n;
}

/* `lines` different lines of prose. */
static inline char *prose(int lines, int salt) {
    static const char *const words[] = {"the",   "heron", "stood",  "in",  "cold",
                                        "water", "and",   "waited", "for", "fish"};
    char *text = array_alloc((size_t)lines + 1, 80), *at = text;
    for (int i = 0; i < lines; i++) {
        for (unsigned w = 0, n = (unsigned)(i * 7 + salt); w < 8; w++, n = n * 5 + 3)
            at += sprintf(at, "%s ", words[n / 2 % 10]);
        at += sprintf(at, "%d\n", i * 31 + salt);
    }
    return text;
}

static inline char *prose_file(const char *dir, const char *name, int lines, int salt) {
    char *path = string_format("%s/%s", dir, name), *text = prose(lines, salt);
    file_write(path, text, strlen(text));
    free(text);
    return path;
}

/* The text of a split as it decodes, end-of-text tokens shown as a NUL. */
static inline char *split_text(const char *dir, const char *split) {
    struct error err;
    char *path = string_format("%s/tokenizer.model", dir), *text = NULL;
    tokenizer *t = tokenizer_load(path, &err);
    assert_non_null(t);
    free(path);
    path = string_format("%s/%s-00000.shard", dir, split);
    struct shard s;
    assert_true(shard_open(&s, path, &err));
    assert_true(s.tokenizer_hash == tokenizer_hash(t));
    int32_t *tokens = array_alloc(SHARD_BLOCK, sizeof *tokens);
    size_t size = 0, capacity = 0, n, piece_size;
    for (size_t b = 0; b < s.blocks; b++) {
        assert_true(shard_read_block(&s, b, tokens, &n, &err));
        for (size_t i = 0; i < n; i++) {
            const char *piece = tokenizer_piece(t, tokens[i], &piece_size);
            if (tokens[i] == tokenizer_end_of_text(t)) piece = "|", piece_size = 1;
            text = array_grow(text, &capacity, size + piece_size + 1, 1);
            memcpy(text + size, piece, piece_size);
            size += piece_size;
        }
    }
    text = array_grow(text, &capacity, size + 1, 1);
    text[size] = 0;
    shard_close_read(&s);
    tokenizer_free(t);
    free(tokens);
    free(path);
    return text;
}

static inline char *prepare(const char *root, char **paths, size_t n, const char *val, struct error *err) {
    char *cache = string_format("%s/cache", root);
    struct prepare_options o = {
        .paths = paths, .n_paths = n, .val_path = val, .vocab = PREPARE_VOCAB, .cache = cache};
    char *dir = data_prepare(&o, err);
    if (!dir) print_message("%s\n", err->text);
    free(cache);
    return dir;
}

#endif
