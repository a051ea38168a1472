/* Albums: what is written is read, whatever the order and however little is kept in memory, and damage is refused by
 * name. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <malloc.h>
#include <zlib.h>
#include "../data/album.h"
#include "../data/blocks.h"
#include "../src/base/rng.h"
#include "data_files.h"

/* ---- Records ---- */

enum { VOCAB = 300, SIZE = 6, PATCH = 3, CODES = 70, P = (SIZE / PATCH) * (SIZE / PATCH), ANYWHERE = 1 << 20 };
static const struct album_shape shape = {VOCAB, SIZE, PATCH, CODES, 1234, 5678};

/* Record i of a kind of its own: by i some are pictures, some texts, of many texts and none, long names and none. */
struct made {
    unsigned char pixels[3 * SIZE * SIZE];
    int32_t codes[P], tokens[12 * 40];
    struct album_text texts[12];
    char name[200];
    struct album_record record;
};

static struct album_record *record_make(struct made *m, size_t i) {
    struct rng rng;
    rng_seed(&rng, i, 7);
    const bool picture = i % 4 != 2;
    const size_t n = picture ? i % 5 * (i % 3) : 1 + i % 7 / 6;
    int32_t *tokens = m->tokens;
    for (size_t j = 0; j < sizeof m->pixels; j++) m->pixels[j] = (unsigned char)(rng_next(&rng) & (i % 2 ? 255 : 3));
    for (size_t j = 0; j < P; j++) m->codes[j] = (int32_t)(rng_next(&rng) % CODES);
    for (size_t t = 0; t < n; t++) {
        const size_t length = 1 + rng_next(&rng) % 40;
        m->texts[t] = (struct album_text){tokens, length, rng_next(&rng) % length};
        for (size_t j = 0; j < length; j++) *tokens++ = (int32_t)(rng_next(&rng) % VOCAB);
    }
    memset(m->name, 0, sizeof m->name);
    if (picture) memset(m->name, 'a' + (int)(i % 26), i % 150);
    m->record = (struct album_record){.texts = m->texts, .n_texts = n, .group = i * 977, .name = m->name};
    if (picture) m->record.pixels = m->pixels, m->record.codes = m->codes;
    return &m->record;
}

static void record_expect(const struct album_record *got, size_t i) {
    struct made m;
    const struct album_record *want = record_make(&m, i);
    assert_int_equal(!got->pixels, !want->pixels);
    assert_int_equal(!got->codes, !want->codes);
    if (want->pixels) assert_memory_equal(got->pixels, want->pixels, sizeof m.pixels);
    if (want->codes) assert_memory_equal(got->codes, want->codes, sizeof m.codes);
    assert_int_equal(got->n_texts, want->n_texts);
    for (size_t t = 0; t < want->n_texts; t++) {
        assert_int_equal(got->texts[t].n, want->texts[t].n);
        assert_int_equal(got->texts[t].prefix, want->texts[t].prefix);
        assert_memory_equal(got->texts[t].tokens, want->texts[t].tokens, want->texts[t].n * sizeof(int32_t));
    }
    assert_true(got->group == want->group);
    assert_string_equal(got->name, want->name);
}

/* Records 0 to n - 1, in DIR/val.album. */
static char *album_make(const char *dir, size_t n) {
    struct error err;
    struct made m;
    char *path = string_format("%s/val.album", dir);
    struct album_writer *w = album_create(path, &shape, &err);
    assert_non_null(w);
    for (size_t i = 0; i < n; i++)
        if (!album_append(w, record_make(&m, i), &err)) fail_msg("%s", err.text);
    assert_true(album_finish(w, true, &err));
    return path;
}

static struct album *opened(const char *dir, size_t cache_bytes) {
    struct error err;
    struct album *a = album_open(dir, "val", cache_bytes, &err);
    if (!a) fail_msg("%s", err.text);
    return a;
}

static void albums_hold_what_was_written(void **state) {
    static const size_t sizes[] = {0, 1, 2, 3, 700, 2111};
    struct error err;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        free(album_make(*state, sizes[s]));
        struct album *a = opened(*state, ANYWHERE);
        struct album_record record;
        assert_int_equal(album_records(a), sizes[s]);
        assert_int_equal(album_vocab(a), VOCAB);
        assert_int_equal(album_size(a), SIZE);
        assert_int_equal(album_patch(a), PATCH);
        assert_int_equal(album_codes(a), CODES);
        assert_true(album_tokenizer_hash(a) == 1234 && album_codebook_hash(a) == 5678);
        assert_true(album_verify(a, &err));
        for (size_t i = 0; i < sizes[s]; i++) {
            assert_true(album_read(a, i, &record, &err));
            record_expect(&record, i);
        }
        album_close(a);
    }
}

/* All that was allocated and not freed; 0 where an allocator of another kind (a sanitizer's) stands in for libc's. */
static size_t memory_used(void) {
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* As random reads of a shuffled epoch are, with all memory, some, and none but for the block that is read. */
static void records_are_read_in_any_order(void **state) {
    enum { N = 2503 };
    struct error err;
    struct album_record record;
    free(album_make(*state, N));
    struct album *all = opened(*state, SIZE_MAX);
    const size_t bytes = album_bytes(all);
    assert_true(bytes > 5 << 17); /* more than five blocks */
    const size_t caches[] = {SIZE_MAX, bytes, bytes - 1, bytes / 2, 1 << 18, 1 << 17, 1, 0};
    for (size_t c = 0; c < sizeof caches / sizeof *caches; c++) {
        struct album *a = opened(*state, caches[c]);
        const size_t before = memory_used();
        for (size_t i = 0; i < (c < 4 ? N : N / 5); i++) {
            const size_t at = shuffle_index(i, N, 3);
            assert_true(album_read(a, at, &record, &err));
            record_expect(&record, at);
        }
        const size_t grown = memory_used() - before;
        assert_true(grown < album_bytes(a) + album_bytes(a) / 16 + 32768); /* where records start, and what is odd */
        assert_true(before == 0 || c > 2 || grown > bytes / 2);
        assert_true(album_bytes(a) <= bytes);
        assert_true(album_bytes(a) <= caches[c] || album_bytes(a) < (1 << 17) + 5000); /* one block */
        album_close(a);
    }
    album_close(all);
}

/* Of two albums of the same records the hashes are equal; of others they differ, were it in one bit. */
static void the_hash_is_of_the_records(void **state) {
    struct error err;
    struct made m;
    uint64_t hashes[4];
    char *path = string_format("%s/val.album", (char *)*state);
    for (int i = 0; i < 4; i++) {
        struct album_writer *w = album_create(path, &shape, &err);
        for (size_t r = 0; r < 1999; r++) {
            record_make(&m, r);
            if (i == 2 && r == 1998) m.record.group ^= 1;
            if (i == 3 && r == 1001) m.codes[3] = (m.codes[3] + 1) % CODES; /* in a block before the last */
            assert_true(album_append(w, &m.record, &err));
        }
        assert_true(album_finish(w, true, &err));
        struct album *a = opened(*state, ANYWHERE);
        hashes[i] = album_data_hash(a);
        album_close(a);
    }
    assert_true(hashes[0] == hashes[1]);
    assert_true(hashes[0] != hashes[2] && hashes[0] != hashes[3] && hashes[2] != hashes[3]);
    free(path);
}

/* An album without pictures, and one record that is larger than a block. */
static void texts_alone_and_large_records(void **state) {
    enum { LONG = 100001 };
    const struct album_shape texts = {.vocab = 70000, .tokenizer_hash = 3};
    struct error err;
    struct album_record record;
    int32_t *tokens = array_alloc(LONG, sizeof *tokens);
    for (int i = 0; i < LONG; i++) tokens[i] = i % 70000;
    const struct album_text text[] = {{tokens, LONG, 0}, {tokens + 5, 1, 0}, {tokens + 70, 3, 2}};
    char *path = string_format("%s/val.album", (char *)*state);
    struct album_writer *w = album_create(path, &texts, &err);
    for (size_t i = 0; i < 3; i++)
        assert_true(album_append(w, &(struct album_record){.texts = text + i, .n_texts = 1 + i % 2, .name = ""}, &err));
    struct made m; /* a picture is none of its records */
    assert_false(album_append(w, record_make(&m, 0), &err));
    assert_int_equal(err.code, EXIT_MISMATCH);
    assert_true(album_finish(w, true, &err));
    struct album *a = opened(*state, 0);
    assert_int_equal(album_size(a) + album_patch(a) + album_codes(a), 0);
    for (size_t i = 3; i-- > 0;) {
        assert_true(album_read(a, i, &record, &err));
        assert_null(record.pixels);
        assert_null(record.codes);
        assert_int_equal(record.n_texts, 1 + i % 2);
        assert_int_equal(record.texts[i % 2].n, i == 0 ? LONG : 3);
        assert_memory_equal(record.texts->tokens, text[i].tokens, text[i].n * sizeof *tokens);
        assert_string_equal(record.name, "");
    }
    album_close(a);
    free(tokens);
    free(path);
}

/* ---- What may not be written ---- */

static void records_that_cannot_be_are_refused(void **state) {
    struct error err;
    struct made m;
    char *path = string_format("%s/val.album", (char *)*state);
    struct album_writer *w = album_create(path, &shape, &err);
    for (int i = 0; i < 13; i++) {
        struct album_record *r = record_make(&m, 13); /* a picture with texts */
        assert_true(r->n_texts > 2);
        m.texts[2] = (struct album_text){m.texts[2].tokens, 3, 1};
        if (i == 0) m.codes[P - 1] = CODES;
        if (i == 1) m.codes[0] = -1;
        if (i == 2) m.tokens[0] = VOCAB;
        if (i == 3) ((int32_t *)m.texts[2].tokens)[2] = -1;
        if (i == 4) m.texts[2].prefix = 3;
        if (i == 5) m.texts[2].prefix = 4;
        if (i == 6) m.texts[2].n = 0;
        if (i == 7) r->codes = NULL;
        if (i == 8) r->pixels = NULL;
        if (i == 9) r->codes = NULL, r->pixels = NULL, r->n_texts = 0;
        if (i < 10) {
            err.code = 0;
            assert_false(album_append(w, r, &err));
            assert_int_equal(err.code, EXIT_MISMATCH);
            assert_ptr_equal(strstr(err.text, path), err.text);
        } else { /* these are the last that can */
            if (i == 10) m.codes[P - 1] = CODES - 1, m.codes[0] = 0;
            if (i == 11) m.tokens[0] = VOCAB - 1, m.tokens[1] = 0;
            if (i == 12) m.texts[2].prefix = 2;
            assert_true(album_append(w, r, &err));
        }
    }
    assert_true(album_finish(w, true, &err));
    struct album *a = opened(*state, 0);
    assert_int_equal(album_records(a), 3); /* what was refused left nothing */
    album_close(a);
    w = album_create(path, &shape, &err);
    assert_true(album_append(w, record_make(&m, 3), &err));
    assert_true(album_finish(w, false, &err));
    assert_int_equal(entries_count(*state), 1); /* the one before */
    unlink(path);
    char *nowhere = string_format("%s/no/val.album", (char *)*state);
    assert_null(album_create(nowhere, &shape, &err));
    assert_int_equal(err.code, EXIT_OUTPUT);
    free(nowhere);
    free(path);
}

/* ---- Damage ---- */

/* Whether the album opens and all its records are read; if not, the message has to name file, place and directory. */
static bool album_reads(const char *dir) {
    struct error err = {0, ""};
    struct album_record record;
    struct album *a = album_open(dir, "val", 0, &err);
    bool ok = a != NULL;
    uint64_t sum = 0;
    for (size_t i = 0; ok && i < album_records(a); i++) {
        ok = album_read(a, i, &record, &err);
        for (size_t t = 0; ok && t < record.n_texts; t++) /* all of it is there */
            for (size_t j = 0; j < record.texts[t].n; j++) sum += (uint64_t)record.texts[t].tokens[j] < VOCAB ? 0 : 1;
        for (size_t p = 0; ok && record.codes && p < P; p++) sum += (uint64_t)record.codes[p] < CODES ? 0 : 1;
        if (ok) sum += strlen(record.name) > 150;
    }
    assert_int_equal(sum, 0);
    if (!ok) {
        char *path = string_format("%s/val.album: ", dir);
        char *remedy = string_format("; delete the directory %s and", dir);
        assert_int_equal(err.code, EXIT_INPUT);
        assert_ptr_equal(strstr(err.text, path), err.text);
        if (!strstr(err.text, "byte ") || !strstr(err.text, remedy)) fail_msg("%s", err.text);
        free(path);
        free(remedy);
    }
    if (a) album_close(a);
    return ok;
}

/* Any byte changed, a cut anywhere, a byte more. */
static void damaged_albums_are_refused(void **state) {
    char *path = album_make(*state, 9);
    size_t size;
    char *data = file_read(path, &size);
    assert_true(album_reads(*state));
    for (size_t i = 0; i < size; i++) {
        static const unsigned char masks[] = {255, 1, 128};
        const char mask = (char)(i % 4 == 3 ? 1 << i / 4 % 8 : masks[i % 4]);
        data[i] ^= mask;
        file_write(path, data, size);
        if (album_reads(*state)) fail_msg("byte %zu of %zu: change %d is not noticed", i, size, mask);
        data[i] ^= mask;
        if (i % 5 != 1) continue;
        file_write(path, data, i);
        if (album_reads(*state)) fail_msg("a cut at byte %zu of %zu is not noticed", i, size);
    }
    data = realloc(data, size + 1);
    data[size] = 0;
    file_write(path, data, size + 1);
    assert_false(album_reads(*state));
    struct error err;
    unlink(path);
    assert_null(album_open(*state, "val", 0, &err));
    assert_int_equal(err.code, EXIT_INPUT);
    assert_ptr_equal(strstr(err.text, path), err.text);
    free(data);
    free(path);
}

enum { SIZE_AT = 16, RECORDS_AT = 56, BLOCKS_AT = 64, INDEX_AT = 72, INDEX_CRC_AT = 80, HEADER = 88, COLUMNS = 3 };

static uint64_t field_get(const char *data, size_t at, size_t size) {
    uint64_t value = 0;
    memcpy(&value, data + at, size);
    return value;
}

/* Writes an album with the CRCs of index and header as they have to be. */
static void sealed_write(const char *path, char *data, size_t size) {
    const size_t index = field_get(data, INDEX_AT, 8);
    if (index < size) {
        const uint32_t crc = crc_of(data + index, size - index);
        memcpy(data + INDEX_CRC_AT, &crc, 4);
    }
    const uint32_t crc = crc_of(data, HEADER - 4);
    memcpy(data + HEADER - 4, &crc, 4);
    file_write(path, data, size);
}

/* As another program would write it: any 4 bytes of header and index with another value, all CRCs right. What is not
 * refused has to be harmless: what it says of tokenizer, codebook and data is for others to check. */
static void sealed_headers_and_indexes_are_checked(void **state) {
    char *path = album_make(*state, 1100); /* three blocks */
    size_t size;
    char *data = file_read(path, &size), *changed = array_alloc(size, 1);
    const size_t index = field_get(data, INDEX_AT, 8), blocks = field_get(data, BLOCKS_AT, 8);
    assert_true(blocks >= 3);
    assert_int_equal(size - index, 8 * COLUMNS * (blocks + 1));
    for (size_t at = 0; at < size; at += at == HEADER - 4 ? index - at : 4) {
        const uint32_t is = (uint32_t)field_get(data, at, 4);
        const uint32_t values[] = {0, is + 1, is - 1, is ^ 1u << 31, is * 2, is + 8, is - 8, UINT32_MAX, INT32_MAX, 5};
        const bool free_to_say = (at >= 28 && at < RECORDS_AT) || (at >= 12 && at < SIZE_AT) || at >= INDEX_CRC_AT;
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            if (values[v] == is) continue;
            memcpy(changed, data, size);
            memcpy(changed + at, &values[v], 4);
            sealed_write(path, changed, size);
            const bool reads = album_reads(*state);
            /* a multiple of the patch, or as many codes and more, is no contradiction before pixels are counted */
            if (reads && !(free_to_say && at < index) && at != 24)
                fail_msg("%u at byte %zu is not noticed", values[v], at);
        }
    }
    free(changed);
    free(data);
    free(path);
}

/* An album of one block with these raw bytes, which claims to have n records. */
static void block_write(const char *path, const void *raw, size_t bytes, uint64_t n) {
    const struct {
        char magic[8];
        uint32_t version, vocab, size, patch, codes, reserved;
        uint64_t tokenizer_hash, codebook_hash, data_hash, records, blocks;
        struct blocks_ends ends;
    } start = {"MHMoEALB", 1, VOCAB, SIZE, PATCH, CODES, 0, 0, 0, 0, n, 1, {0}};
    struct blocks_writer w;
    struct error err;
    char header[sizeof start];
    memcpy(header, &start, sizeof start);
    assert_true(blocks_create(&w, path, sizeof header, COLUMNS, &err));
    blocks_add(&w, raw, bytes, (uint64_t[]){0, 0});
    assert_true(blocks_finish(&w, header, (uint64_t[]){n, bytes}, true, &err));
}

/* The raw bytes of the only block of an album. */
static char *block_raw(const char *path, size_t *bytes) {
    size_t size;
    char *data = file_read(path, &size);
    assert_int_equal(field_get(data, BLOCKS_AT, 8), 1);
    const size_t index = field_get(data, INDEX_AT, 8);
    *bytes = field_get(data, index + 8 * (COLUMNS + 2), 8);
    uLongf got = *bytes;
    char *raw = array_alloc(*bytes, 1);
    assert_int_equal(uncompress((Bytef *)raw, &got, (Bytef *)data + HEADER + 8, field_get(data, HEADER, 4)), Z_OK);
    free(data);
    return raw;
}

/* Any byte inside of the records changed, all CRCs right: what another program might write. Nothing is read beyond its
 * end (the sanitizers look), and no id is out of range. */
static void sealed_records_are_checked(void **state) {
    char *path = album_make(*state, 7);
    size_t bytes, refused = 0;
    char *raw = block_raw(path, &bytes);
    block_write(path, raw, bytes, 7);
    assert_true(album_reads(*state));
    for (size_t i = 0; i < bytes; i++) {
        const char mask = (char[]){(char)255, 1, (char)128, 64, 8}[i % 5];
        raw[i] ^= mask;
        block_write(path, raw, bytes, 7);
        refused += !album_reads(*state);
        raw[i] ^= mask;
    }
    assert_true(refused > bytes / 5); /* pixels may be anything */
    static const uint64_t counts[] = {0, 6, 8, 100, 1 << 20, UINT64_MAX, (uint64_t)1 << 61};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        block_write(path, raw, bytes, counts[i]);
        assert_false(album_reads(*state));
    }
    block_write(path, raw, bytes - 8, 7);
    assert_false(album_reads(*state));
    free(raw);
    free(path);
}

/* Each field of a record's header, and of its texts', at its limits. */
static void fields_of_records_are_checked(void **state) {
    struct error err;
    struct made m;
    char *path = string_format("%s/val.album", (char *)*state);
    struct album_writer *w = album_create(path, &shape, &err);
    assert_true(album_append(w, record_make(&m, 13), &err));
    assert_true(album_finish(w, true, &err));
    size_t bytes;
    char *raw = block_raw(path, &bytes);
    enum { BYTES_AT = 8, NAME_AT = 12, TEXTS_AT = 16, PICTURE_AT = 20, LENGTHS_AT = 24 };
    const uint32_t texts = (uint32_t)m.record.n_texts, name = (uint32_t)strlen(m.name) + 1;
    const size_t tokens = LENGTHS_AT + 8 * texts;
    size_t n = 0;
    for (size_t t = 0; t < texts; t++) n += m.texts[t].n;
    const size_t codes = tokens + 4 * n, name_at = codes + 4 * P + 3 * SIZE * SIZE;
    const struct {
        size_t at;
        uint32_t value;
        const char *says;
    } changes[] = {
        {BYTES_AT, (uint32_t)bytes + 8, "impossible size"}, {BYTES_AT, (uint32_t)bytes - 8, "impossible size"},
        {BYTES_AT, 0, "impossible size"}, {BYTES_AT, 16, "impossible size"},
        {BYTES_AT, UINT32_MAX - 7, "impossible size"}, {NAME_AT, 0, "impossible size"},
        {NAME_AT, name - 1, "a name has no end"}, {NAME_AT, name + 1, "a name has no end"},
        {NAME_AT, UINT32_MAX, "impossible size"}, {TEXTS_AT, texts - 1, "impossible size"},
        {TEXTS_AT, UINT32_MAX, "impossible size"}, {TEXTS_AT, (uint32_t)bytes / 8, "impossible size"},
        {PICTURE_AT, 0, "impossible size"}, {PICTURE_AT, 2, "impossible size"},
        {LENGTHS_AT, 0, "impossible size"}, {LENGTHS_AT, UINT32_MAX, "impossible size"},
        {LENGTHS_AT + 4, (uint32_t)m.texts[0].n, "an empty text"}, {LENGTHS_AT + 4, UINT32_MAX, "an empty text"},
        {tokens, VOCAB, "not in the vocabulary"}, {tokens, UINT32_MAX, "not in the vocabulary"},
        {codes - 4, VOCAB, "not in the vocabulary"}, {codes, CODES, "not in the codebook"},
        {codes + 4 * P - 4, UINT32_MAX, "not in the codebook"}, {name_at, 0, "a name has no end"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct album_record record;
        const uint32_t was = (uint32_t)field_get(raw, changes[i].at, 4);
        memcpy(raw + changes[i].at, &changes[i].value, 4);
        block_write(path, raw, bytes, 1);
        memcpy(raw + changes[i].at, &was, 4);
        assert_false(album_reads(*state));
        struct album *a = opened(*state, 0);
        assert_false(album_read(a, 0, &record, &err));
        if (!strstr(err.text, changes[i].says)) fail_msg("%zu: %s", i, err.text);
        assert_non_null(strstr(err.text, "block 0, byte 88: "));
        album_close(a);
    }
    free(raw);
    free(path);
}

/* A few bytes that inflate to more than memory has are not asked for. */
static void sizes_that_cannot_be_are_not_allocated(void **state) {
    char *path = album_make(*state, 2);
    size_t size;
    char *data = file_read(path, &size);
    const size_t index = field_get(data, INDEX_AT, 8);
    for (int shift = 20; shift < 64; shift++) {
        const uint64_t bytes = (uint64_t)1 << shift;
        memcpy(data + index + 8 * (COLUMNS + 2), &bytes, 8);
        sealed_write(path, data, size);
        assert_false(album_reads(*state));
        struct error err;
        struct album *a = album_open(*state, "val", 0, &err);
        if (size < bytes / 1040) assert_null(a);
        if (a) album_close(a);
    }
    free(data);
    free(path);
}

/* A block that is damaged is named, by whoever reads it and by album_verify; the others are as they were. */
static void each_block_has_its_crc(void **state) {
    enum { N = 1100 };
    char *path = album_make(*state, N);
    size_t size;
    char *data = file_read(path, &size);
    const size_t index = field_get(data, INDEX_AT, 8), blocks = field_get(data, BLOCKS_AT, 8);
    for (size_t bad = 0; bad < blocks; bad++) {
        struct error err;
        struct album_record record;
        const size_t start = field_get(data, index + 8 * COLUMNS * bad, 8);
        const size_t first = field_get(data, index + 8 * (COLUMNS * bad + 1), 8);
        const size_t behind = field_get(data, index + 8 * (COLUMNS * (bad + 1) + 1), 8);
        char *place = string_format("block %zu, byte %zu: wrong CRC-32", bad, start);
        data[start + 100] ^= 16;
        file_write(path, data, size);
        data[start + 100] ^= 16;
        struct album *a = opened(*state, ANYWHERE);
        assert_false(album_verify(a, &err));
        assert_non_null(strstr(err.text, place));
        for (size_t i = 0; i < N; i++) {
            assert_int_equal(album_read(a, i, &record, &err), i < first || i >= behind);
            if (i < first || i >= behind) record_expect(&record, i);
            else if (!strstr(err.text, place)) fail_msg("%s", err.text);
        }
        album_close(a);
        free(place);
    }
    free(data);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(albums_hold_what_was_written),
        TEST(records_are_read_in_any_order),
        TEST(the_hash_is_of_the_records),
        TEST(texts_alone_and_large_records),
        TEST(records_that_cannot_be_are_refused),
        TEST(damaged_albums_are_refused),
        TEST(sealed_headers_and_indexes_are_checked),
        TEST(sealed_records_are_checked),
        TEST(fields_of_records_are_checked),
        TEST(sizes_that_cannot_be_are_not_allocated),
        TEST(each_block_has_its_crc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
