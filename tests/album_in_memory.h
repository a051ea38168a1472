/* Albums in memory, in the place of those in files: what a record holds follows from its number, and what a batch shows
 * says which record it is. They take the place of album.c's functions (see the Makefile). Reading a record overwrites
 * the one before. To be included after cmocka.h.
 *
 * Token t of text k of record i is ((i * TEXTS + k) * LENGTH + t); the code of patch p of its picture is i * P + p. */
#ifndef ALBUM_IN_MEMORY_H
#define ALBUM_IN_MEMORY_H

#include <stdlib.h>
#include <string.h>
#include "../data/album.h"

enum { RECORDS = 37, TEXTS = 3, LENGTH = 16, VOCAB = 4000, SIZE = 15, PATCH = 3, SIDE = SIZE / PATCH, P = SIDE * SIDE,
       Q = PATCH * PATCH * 3, NOT_READABLE = 17 };

/* Which records an album has, by the name of its directory. */
enum { MIXED, PAIRS, PICTURES, SENTENCES, EMPTY, BROKEN, SINGLE, BREAKING, GROUPED, ALBUMS };
static const char *const albums[] = {"mixed", "pairs", "pictures", "sentences", "empty", "broken", "single",
                                     "breaking", "grouped"};

struct album {
    int kind;
    size_t reads;
    unsigned char *pixels;
    int32_t *codes, *tokens;
    struct album_text *texts;
};

static inline bool is_mixed(int kind) {
    return kind == MIXED || kind == BROKEN || kind == BREAKING || kind == GROUPED;
}

static inline bool record_has_picture(int kind, size_t i) {
    if (is_mixed(kind)) return i % 4 != 3;
    return kind != SENTENCES && kind != SINGLE;
}

static inline size_t record_texts(int kind, size_t i) {
    if (is_mixed(kind)) return i % 5 == 1 && i % 4 != 3 ? 0 : 1 + i % 3;
    return kind == PICTURES ? 0 : TEXTS;
}

/* Groups are spread over the album: hashes of a number, of which three records have the same where they are GROUPED. */
static inline uint64_t record_group(int kind, size_t i) {
    const size_t number = kind == GROUPED ? i % 13 : i;
    return hash_bytes(HASH_START, &number, sizeof number);
}

static inline size_t text_length(size_t i, size_t k) { return 4 + (7 * i + 3 * k) % 12; }
static inline size_t text_prefix(size_t i, size_t k) { return (i + k) % 3; }
static inline int32_t text_token(size_t i, size_t k, size_t t) { return (int32_t)((i * TEXTS + k) * LENGTH + t); }
static inline int32_t patch_code(size_t i, size_t p) { return (int32_t)(i * P + p); }
static inline unsigned char pixel_of(size_t i, size_t at) {
    return (unsigned char)(hash_bytes(i, &at, sizeof at) >> 9);
}

static inline void record_scrap(struct album *a) {
    free(a->pixels);
    free(a->codes);
    free(a->tokens);
    free(a->texts);
}

struct album *__wrap_album_open(const char *dir, const char *split, size_t cache_bytes, struct error *err);
void __wrap_album_close(struct album *a);
size_t __wrap_album_records(const struct album *a);
size_t __wrap_album_size(const struct album *a);
size_t __wrap_album_patch(const struct album *a);
int __wrap_album_vocab(const struct album *a);
bool __wrap_album_read(struct album *a, size_t i, struct album_record *record, struct error *err);

struct album *__wrap_album_open(const char *dir, const char *split, size_t cache_bytes, struct error *err) {
    assert_string_equal(split, "val");
    assert_int_equal(cache_bytes, 12345);
    for (int kind = 0; kind < ALBUMS; kind++) {
        if (strcmp(dir, albums[kind]) != 0) continue;
        struct album *a = calloc(1, sizeof *a);
        a->kind = kind;
        return a;
    }
    error_set(err, EXIT_INPUT, "%s: no such album", dir);
    return NULL;
}

void __wrap_album_close(struct album *a) {
    record_scrap(a);
    free(a);
}

size_t __wrap_album_records(const struct album *a) {
    return a->kind == EMPTY ? 0 : a->kind == SINGLE ? 1 : RECORDS;
}
size_t __wrap_album_size(const struct album *a) { return a->kind == SENTENCES ? 0 : SIZE; }
size_t __wrap_album_patch(const struct album *a) { return a->kind == SENTENCES ? 0 : PATCH; }
int __wrap_album_vocab(const struct album *a) { return a ? VOCAB : 0; }

/* In fresh memory each time, while the last record's is gone: a sanitizer sees who looks there. */
bool __wrap_album_read(struct album *a, size_t i, struct album_record *record, struct error *err) {
    assert_true(i < __wrap_album_records(a));
    const size_t n = record_texts(a->kind, i), pixels = SIZE * SIZE * 3;
    if (a->tokens) memset(a->tokens, 0x55, TEXTS * LENGTH * sizeof *a->tokens);
    if (a->pixels) memset(a->pixels, 0x55, pixels);
    record_scrap(a);
    a->pixels = malloc(pixels);
    a->codes = malloc(P * sizeof *a->codes);
    a->tokens = malloc(TEXTS * LENGTH * sizeof *a->tokens);
    a->texts = malloc(TEXTS * sizeof *a->texts);
    for (size_t at = 0; at < pixels; at++) a->pixels[at] = pixel_of(i, at);
    for (size_t p = 0; p < P; p++) a->codes[p] = patch_code(i, p);
    for (size_t k = 0; k < n; k++) {
        int32_t *tokens = a->tokens + k * LENGTH;
        a->texts[k] = (struct album_text){.tokens = tokens, .n = text_length(i, k), .prefix = text_prefix(i, k)};
        for (size_t t = 0; t < LENGTH; t++) tokens[t] = text_token(i, k, t);
    }
    const bool picture = record_has_picture(a->kind, i);
    *record = (struct album_record){.pixels = picture ? a->pixels : NULL, .codes = picture ? a->codes : NULL,
                                    .texts = n ? a->texts : NULL, .n_texts = n, .name = "a name",
                                    .group = record_group(a->kind, i)};
    if ((a->kind == BROKEN || a->kind == BREAKING) && i == 11 && a->reads++ == (a->kind == BREAKING))
        return error_set(err, NOT_READABLE, "broken: record %zu cannot be read", i);
    return true;
}

#endif
