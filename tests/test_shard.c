/* Shards and the loader: what is written is read, and damage is refused by name. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <zlib.h>
#include "data_files.h"
#include "../src/base/rng.h"

/* ---- Shards ---- */

static int32_t *random_tokens(size_t n, int vocab, uint64_t seed) {
    struct rng rng;
    rng_seed(&rng, seed, 0);
    int32_t *tokens = array_alloc(n, sizeof *tokens);
    for (size_t i = 0; i < n; i++) tokens[i] = (int32_t)(rng_next(&rng) % (uint64_t)vocab);
    return tokens;
}

static void shard_check(const char *path, int vocab, size_t n) {
    int32_t *tokens = random_tokens(n, vocab, n), *block = array_alloc(SHARD_BLOCK, sizeof *block);
    struct error err;
    shard_make(path, vocab, tokens, n, HASH);
    struct shard s;
    assert_true(shard_open(&s, path, &err));
    assert_int_equal(s.vocab, vocab);
    assert_int_equal(s.width, vocab <= 65536 ? 2 : 4);
    assert_int_equal(s.count, n);
    assert_true(s.tokenizer_hash == HASH);
    size_t at = 0, got;
    for (size_t b = 0; b < s.blocks; b++, at += got) {
        assert_true(shard_read_block(&s, b, block, &got, &err));
        assert_true(at + got <= n);
        assert_memory_equal(block, tokens + at, got * sizeof *block);
    }
    assert_int_equal(at, n);
    shard_close_read(&s);
    free(tokens);
    free(block);
}

static void shards_hold_what_was_written(void **state) {
    char *path = string_format("%s/a.shard", (char *)*state);
    static const size_t sizes[] = {
        0, 1, SHARD_BLOCK - 1, SHARD_BLOCK, SHARD_BLOCK + 1, 2 * SHARD_BLOCK + 777};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        shard_check(path, 65536, sizes[i]);
        shard_check(path, 65537, sizes[i]);
    }
    free(path);
}

static void ids_outside_the_vocabulary_are_refused(void **state) {
    char *path = string_format("%s/a.shard", (char *)*state);
    struct error err;
    struct shard_writer *w = shard_create(path, 10, HASH, &err);
    assert_false(shard_append(w, (int32_t[]){3, 10}, 2, &err));
    assert_false(shard_append(w, (int32_t[]){-1}, 1, &err));
    assert_true(shard_close(w, false, &err));
    assert_int_not_equal(access(path, F_OK), 0);
    free(path);
}

/* Whether the shard opens and all its blocks are read; if not, the message has to name the file and the directory to
 * delete. */
static bool shard_reads(const char *path) {
    struct error err = {0, ""};
    struct shard s;
    int32_t *block = array_alloc(SHARD_BLOCK, sizeof *block);
    size_t n;
    bool ok = shard_open(&s, path, &err);
    if (ok) {
        for (size_t b = 0; ok && b < s.blocks; b++) ok = shard_read_block(&s, b, block, &n, &err);
        shard_close_read(&s);
    }
    if (!ok) {
        assert_int_equal(err.code, EXIT_INPUT);
        assert_ptr_equal(strstr(err.text, path), err.text);
    }
    free(block);
    return ok;
}

/* A bit flipped in any byte, a cut at any byte, a byte more. */
static void damaged_shards_are_refused(void **state) {
    char *path = string_format("%s/a.shard", (char *)*state),
         *bad = string_format("%s/b.shard", (char *)*state);
    int32_t *tokens = random_tokens(301, 300, 5);
    shard_make(path, 300, tokens, 301, HASH);
    size_t size;
    char *data = file_read(path, &size);
    assert_true(shard_reads(path));
    for (size_t i = 0; i < size; i++) {
        data[i] = (char)(data[i] ^ 1 << i % 8);
        file_write(bad, data, size);
        if (shard_reads(bad)) fail_msg("a flipped bit in byte %zu of %zu is not noticed", i, size);
        data[i] = (char)(data[i] ^ 1 << i % 8);
        file_write(bad, data, i);
        if (shard_reads(bad)) fail_msg("a cut at byte %zu of %zu is not noticed", i, size);
    }
    data = realloc(data, size + 1);
    data[size] = 0;
    file_write(bad, data, size + 1);
    assert_false(shard_reads(bad));
    unlink(bad);
    assert_false(shard_reads(bad));
    free(data);
    free(tokens);
    free(path);
    free(bad);
}

/* With several blocks the index could be wrong in places that no block shows before it is read. */
static void a_damaged_index_is_refused_at_once(void **state) {
    enum { N = 2 * SHARD_BLOCK + 3 };
    char *path = string_format("%s/a.shard", (char *)*state);
    int32_t *tokens = array_alloc(N, sizeof *tokens);
    shard_make(path, 300, tokens, N, HASH);
    size_t size;
    char *data = file_read(path, &size);
    for (size_t i = 1; i <= 4 * sizeof(uint64_t); i++) {
        struct error err;
        struct shard s;
        data[size - i] ^= 1;
        file_write(path, data, size);
        if (shard_open(&s, path, &err)) fail_msg("a flipped bit %zu bytes before the end is not noticed", i);
        data[size - i] ^= 1;
    }
    free(data);
    free(tokens);
    free(path);
}

/* A file whose every CRC is right but whose header promises a smaller vocabulary. */
static void ids_beyond_the_header_are_refused(void **state) {
    char *path = string_format("%s/a.shard", (char *)*state);
    int32_t tokens[] = {1, 2, 299};
    shard_make(path, 300, tokens, 3, HASH);
    size_t size;
    char *data = file_read(path, &size);
    uint32_t vocab = 299, crc;
    memcpy(data + 12, &vocab, 4);
    crc = (uint32_t)crc32(0, (Bytef *)data, 60);
    memcpy(data + 60, &crc, 4);
    file_write(path, data, size);
    assert_false(shard_reads(path));
    free(data);
    free(path);
}

/* ---- Damage whose CRCs are right: what another program, or another version of this one, would write ---- */

enum { VERSION_AT = 8, VOCAB_AT = 12, WIDTH_AT = 16, BLOCK_AT = 20, TOKENIZER_AT = 24, DATA_AT = 32, COUNT_AT = 40,
       INDEX_AT = 48, INDEX_CRC_AT = 56, HEADER_CRC_AT = 60, HEADER = 64 };

static uint64_t field_get(const char *data, size_t at, size_t size) {
    uint64_t value = 0;
    memcpy(&value, data + at, size);
    return value;
}

/* A copy of a file with another value in a field, and the CRCs of index and header as they have to be then. */
static void file_change(const char *path, const char *data, size_t size, size_t at, size_t width, uint64_t value) {
    char *changed = array_alloc(size, 1);
    memcpy(changed, data, size);
    memcpy(changed + at, &value, width);
    const size_t index = field_get(data, INDEX_AT, 8);
    if (at >= index) {
        const uint32_t crc = (uint32_t)crc32(0, (Bytef *)changed + index, (uInt)(size - index));
        memcpy(changed + INDEX_CRC_AT, &crc, 4);
    }
    if (at != HEADER_CRC_AT) {
        const uint32_t crc = (uint32_t)crc32(0, (Bytef *)changed, HEADER_CRC_AT);
        memcpy(changed + HEADER_CRC_AT, &crc, 4);
    }
    file_write(path, changed, size);
    free(changed);
}

/* Three blocks, the last one short. */
static char *three_blocks(const char *path, int32_t **tokens, size_t *n, size_t *size) {
    *n = 2 * SHARD_BLOCK + 77;
    *tokens = random_tokens(*n, 300, 3);
    shard_make(path, 300, *tokens, *n, HASH);
    return file_read(path, size);
}

static void headers_of_another_kind_are_refused(void **state) {
    char *path = string_format("%s/a.shard", (char *)*state);
    size_t size, n;
    int32_t *tokens;
    char *data = three_blocks(path, &tokens, &n, &size);
    const uint64_t at = field_get(data, INDEX_AT, 8);
    const struct {
        size_t at, width;
        uint64_t value;
    } changes[] = {
        {0, 8, 0}, {0, 1, 'm'}, {7, 1, 'd'}, {VERSION_AT, 4, 0}, {VERSION_AT, 4, 2}, {VERSION_AT, 4, UINT32_MAX},
        {VERSION_AT, 4, 1 + (1 << 16)}, {VOCAB_AT, 4, 299}, {VOCAB_AT, 4, 0}, {VOCAB_AT, 4, 65537},
        {VOCAB_AT, 4, (uint64_t)1 << 31 | 300}, {WIDTH_AT, 4, 0}, {WIDTH_AT, 4, 1}, {WIDTH_AT, 4, 4}, {BLOCK_AT, 4, 0},
        {BLOCK_AT, 4, SHARD_BLOCK - 1}, {BLOCK_AT, 4, 2 * SHARD_BLOCK}, {COUNT_AT, 8, 0}, {COUNT_AT, 8, n - 1},
        {COUNT_AT, 8, n + 1}, {COUNT_AT, 8, 3 * SHARD_BLOCK}, {COUNT_AT, 8, 3 * SHARD_BLOCK + 1},
        {COUNT_AT, 8, UINT64_MAX}, {COUNT_AT, 8, UINT64_MAX / 8}, {INDEX_AT, 8, 0}, {INDEX_AT, 8, at - 8},
        {INDEX_AT, 8, at + 8}, {INDEX_AT, 8, at + 1}, {INDEX_AT, 8, UINT64_MAX - 7},
        {INDEX_CRC_AT, 4, field_get(data, INDEX_CRC_AT, 4) ^ 1u << 31},
        {HEADER_CRC_AT, 4, field_get(data, HEADER_CRC_AT, 4) ^ 1u << 31},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        file_change(path, data, size, changes[i].at, changes[i].width, changes[i].value);
        if (shard_reads(path))
            fail_msg("%llu at byte %zu is not noticed", (unsigned long long)changes[i].value, changes[i].at);
    }
    file_change(path, data, size, VERSION_AT, 4, 1);
    assert_true(shard_reads(path));
    free(data);
    free(tokens);
    free(path);
}

/* They identify, and are not checked here: by them ./train knows that it has another text. */
static void hashes_are_those_of_the_header(void **state) {
    char *path = string_format("%s/a.shard", (char *)*state);
    size_t size, n;
    int32_t *tokens;
    char *data = three_blocks(path, &tokens, &n, &size);
    uint16_t *stored = array_alloc(n, sizeof *stored);
    for (size_t i = 0; i < n; i++) stored[i] = (uint16_t)tokens[i];
    const uint64_t hash = hash_bytes(HASH_START, stored, n * sizeof *stored);
    for (int i = 0; i < 3; i++) {
        struct error err;
        struct shard s;
        if (i > 0) file_change(path, data, size, i == 1 ? TOKENIZER_AT : DATA_AT, 8, 0x123456789abcdef0);
        assert_true(shard_open(&s, path, &err));
        assert_true(s.tokenizer_hash == (i == 1 ? 0x123456789abcdef0 : HASH));
        assert_true(s.data_hash == (i == 2 ? 0x123456789abcdef0 : hash));
        shard_close_read(&s);
    }
    free(stored);
    free(data);
    free(tokens);
    free(path);
}

static void index_entries_are_checked(void **state) {
    char *path = string_format("%s/a.shard", (char *)*state);
    size_t size, n;
    int32_t *tokens;
    char *data = three_blocks(path, &tokens, &n, &size);
    const size_t index = field_get(data, INDEX_AT, 8);
    assert_int_equal(size - index, 4 * 8); /* three blocks, and where the last one ends */
    for (size_t at = index; at < size; at += 8) {
        const uint64_t is = field_get(data, at, 8);
        const uint64_t values[] = {is - 1, is + 1, is - 8, is + 8, 0, index + 8, UINT64_MAX, is ^ (uint64_t)1 << 63,
                                   at > index ? field_get(data, at - 8, 8) : is + 16};
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            file_change(path, data, size, at, 8, values[i]);
            if (shard_reads(path))
                fail_msg("entry %zu: %llu is not noticed", (at - index) / 8, (unsigned long long)values[i]);
        }
    }
    free(data);
    free(tokens);
    free(path);
}

/* A block that is damaged is named, by whoever reads it and by shard_verify; the others are as they were. */
static void each_block_has_its_crc(void **state) {
    char *path = string_format("%s/a.shard", (char *)*state);
    size_t size, n, got;
    int32_t *tokens, *block = array_alloc(SHARD_BLOCK, sizeof *block);
    char *data = three_blocks(path, &tokens, &n, &size);
    const size_t index = field_get(data, INDEX_AT, 8);
    for (size_t bad = 0; bad < 3; bad++) {
        const size_t start = field_get(data, index + 8 * bad, 8), end = field_get(data, index + 8 * bad + 8, 8);
        const size_t places[] = {start, start + 3, start + 4, start + 7, start + 8, (start + end) / 2, end - 1};
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            struct error err;
            struct shard s;
            char *place = string_format("block %zu, byte %zu", bad, start);
            data[places[i]] ^= 16;
            file_write(path, data, size);
            data[places[i]] ^= 16;
            assert_true(shard_open(&s, path, &err));
            assert_false(shard_verify(&s, &err));
            assert_int_equal(err.code, EXIT_INPUT);
            if (!strstr(err.text, place)) fail_msg("'%s' does not name %s", err.text, place);
            for (size_t b = 0; b < 3; b++) {
                assert_int_equal(shard_read_block(&s, b, block, &got, &err), b != bad);
                if (b == bad) assert_non_null(strstr(err.text, place));
                else assert_memory_equal(block, tokens + b * SHARD_BLOCK, got * sizeof *block);
            }
            shard_close_read(&s);
            free(place);
        }
    }
    file_write(path, data, size);
    assert_true(shard_reads(path));
    free(block);
    free(data);
    free(tokens);
    free(path);
}

/* ---- Loader ---- */

/* Shards in which token i is i, so that a target says where it stands. */
static size_t counting_shards(const char *dir, const size_t *sizes, size_t n) {
    size_t start = 0;
    for (size_t i = 0; i < n; start += sizes[i++]) {
        int32_t *tokens = array_alloc(sizes[i], sizeof *tokens);
        for (size_t j = 0; j < sizes[i]; j++) tokens[j] = (int32_t)(start + j);
        char *path = string_format("%s/train-%05zu.shard", dir, i);
        shard_make(path, 1 << 20, tokens, sizes[i], HASH);
        free(tokens);
        free(path);
    }
    return start;
}

/* One epoch from where the loader stands: each token but the first is a target exactly once. */
static void epoch_check(struct loader *l, int seq) {
    size_t n = loader_tokens(l);
    char *seen = array_alloc(n, 1);
    int32_t *inputs = array_alloc((size_t)seq, sizeof *inputs),
            *targets = array_alloc((size_t)seq, sizeof *targets);
    struct error err;
    for (size_t w = 0; w < loader_windows(l); w++) {
        assert_true(loader_next(l, 1, inputs, targets, &err));
        for (int t = 0; t < seq; t++) {
            assert_true(t == 0 || inputs[t] == inputs[t - 1] + 1);
            if (targets[t] == TARGET_NONE) continue;
            assert_int_equal(targets[t], inputs[t] + 1);
            assert_int_equal(seen[targets[t]]++, 0);
        }
    }
    assert_int_equal(seen[0], 0);
    for (size_t i = 1; i < n; i++) assert_int_equal(seen[i], 1);
    free(seen);
    free(inputs);
    free(targets);
}

static void every_token_is_a_target_once(void **state) {
    static const size_t shards[][3] = {
        {1001, 0, 0}, {17, 1, 40}, {64, 0, 1}, {SHARD_BLOCK + 5, 0, 2 * SHARD_BLOCK}};
    static const int seqs[] = {1, 7, 16, 57};
    struct error err;
    for (int i = 0; i < 4; i++) {
        size_t n = counting_shards(*state, shards[i], 3);
        for (int j = 0; j < 8; j++) {
            /* A cache of nothing still holds one block: blocks come and go. */
            struct loader *l =
                loader_open(*state, "train", seqs[j / 2], j % 2, 9, i == 3 && j < 4 ? CACHE : 0, &err);
            assert_non_null(l);
            assert_int_equal(loader_tokens(l), n);
            assert_int_equal(loader_vocab(l), 1 << 20);
            assert_true(loader_tokenizer_hash(l) == HASH);
            /* With one slot each window of a shuffled epoch inflates its block: too slow for the largest. */
            for (int epoch = 0; epoch < 2 && (i < 3 || j < 4); epoch++) epoch_check(l, seqs[j / 2]);
            loader_close(l);
        }
    }
}

static void seek_resumes_exactly(void **state) {
    enum { SEQ = 13, ROWS = 5, STEPS = 40 };
    counting_shards(*state, (size_t[]){500, 333}, 2);
    struct error err;
    int32_t whole[2][STEPS][ROWS * SEQ], inputs[ROWS * SEQ], targets[ROWS * SEQ];
    struct loader *l = loader_open(*state, "train", SEQ, true, 77, CACHE, &err);
    for (int i = 0; i < STEPS; i++) assert_true(loader_next(l, ROWS, whole[0][i], whole[1][i], &err));
    assert_int_equal(loader_position(l), ROWS * STEPS); /* crosses epochs of 64 windows */
    loader_close(l);
    for (int from = 0; from < STEPS; from += 11) {
        l = loader_open(*state, "train", SEQ, true, 77, 0, &err);
        loader_seek(l, (uint64_t)from * ROWS);
        for (int i = from; i < STEPS; i++) {
            assert_true(loader_next(l, ROWS, inputs, targets, &err));
            assert_memory_equal(inputs, whole[0][i], sizeof inputs);
            assert_memory_equal(targets, whole[1][i], sizeof targets);
        }
        loader_close(l);
    }
}

static void order_depends_on_seed_and_epoch(void **state) {
    enum { WINDOWS = 60, SEQ = 10 };
    counting_shards(*state, (size_t[]){WINDOWS * SEQ + 1}, 1);
    struct error err;
    int32_t runs[3][2 * WINDOWS * SEQ], targets[2 * WINDOWS * SEQ];
    for (int run = 0; run < 3; run++) {
        struct loader *l = loader_open(*state, "train", SEQ, run < 2, (uint64_t)run, CACHE, &err);
        assert_true(loader_next(l, 2 * WINDOWS, runs[run], targets, &err));
        loader_close(l);
    }
    size_t epoch = sizeof *runs / 2;
    assert_memory_not_equal(runs[0], runs[1], epoch);
    assert_memory_not_equal(runs[0], runs[2], epoch);
    assert_memory_not_equal(runs[0], runs[0] + WINDOWS * SEQ, epoch);
    assert_memory_equal(runs[2], runs[2] + WINDOWS * SEQ, epoch); /* text order */
    assert_int_equal(runs[2][1], 1);
}

static void loader_refuses(void **state) {
    struct error err;
    assert_null(loader_open("/nonexistent", "train", 8, true, 1, CACHE, &err));
    assert_int_equal(err.code, EXIT_INPUT);
    assert_null(loader_open(*state, "train", 8, true, 1, CACHE, &err));
    assert_int_equal(err.code, EXIT_INPUT);
    counting_shards(*state, (size_t[]){5, 3}, 2);
    struct loader *l = loader_open(*state, "train", 7, true, 1, CACHE, &err);
    assert_non_null(l);
    loader_close(l);
    assert_null(loader_open(*state, "train", 8, true, 1, CACHE, &err));
    assert_int_equal(err.code, EXIT_INPUT);
    assert_non_null(strstr(err.text, "got 8 tokens, want at least 9"));
    char *path = string_format("%s/train-00002.shard", (char *)*state);
    shard_make(path, 1 << 20, (int32_t[]){1, 2}, 2, HASH + 1);
    assert_null(loader_open(*state, "train", 7, true, 1, CACHE, &err));
    assert_int_equal(err.code, EXIT_MISMATCH);
    assert_non_null(strstr(err.text, path));
    shard_make(path, 1 << 19, (int32_t[]){1, 2}, 2, HASH);
    assert_null(loader_open(*state, "train", 7, true, 1, CACHE, &err));
    assert_int_equal(err.code, EXIT_MISMATCH);
    assert_non_null(strstr(err.text, path));
    free(path);
}

/* The names say the order, whichever order the directory has them in. */
static void shards_are_read_by_name(void **state) {
    enum { SHARDS = 12, N = 7 };
    for (int i = 0; i < SHARDS; i++) {
        const int k = i * 5 % SHARDS;
        int32_t tokens[N];
        for (int j = 0; j < N; j++) tokens[j] = k * N + j;
        for (int val = 0; val < 2; val++) { /* a split is a split */
            char *path = string_format("%s/%s-%05d.shard", (char *)*state, val ? "val" : "train", k);
            shard_make(path, 1 << 20, tokens, N, HASH);
            free(path);
        }
    }
    struct error err;
    struct loader *l = loader_open(*state, "train", SHARDS * N - 1, false, 0, CACHE, &err);
    int32_t inputs[SHARDS * N], targets[SHARDS * N];
    assert_non_null(l);
    assert_int_equal(loader_tokens(l), SHARDS * N);
    assert_true(loader_next(l, 1, inputs, targets, &err));
    for (int i = 0; i < SHARDS * N - 1; i++) {
        assert_int_equal(inputs[i], i);
        assert_int_equal(targets[i], i + 1);
    }
    loader_close(l);
}

/* Of any shard, and of their order. */
static void data_hash_sees_every_shard(void **state) {
    struct error err;
    uint64_t hashes[4];
    static const int32_t tokens[4][2][3] = {
        {{1, 2, 3}, {4, 5, 6}}, {{4, 5, 6}, {1, 2, 3}}, {{1, 2, 3}, {4, 5, 7}}, {{0, 2, 3}, {4, 5, 6}}};
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 2; j++) {
            char *path = string_format("%s/train-%05d.shard", (char *)*state, j);
            shard_make(path, 10, tokens[i][j], 3, HASH);
            free(path);
        }
        struct loader *l = loader_open(*state, "train", 2, true, 1, CACHE, &err);
        hashes[i] = loader_data_hash(l);
        loader_close(l);
        for (int j = 0; j < i; j++) assert_true(hashes[i] != hashes[j]);
    }
}

static void data_hash_sees_every_token(void **state) {
    struct error err;
    uint64_t hashes[3];
    int32_t tokens[] = {1, 2, 3, 4};
    for (int i = 0; i < 3; i++) {
        tokens[2] = i == 1 ? 9 : 3;
        char *path = string_format("%s/train-0.shard", (char *)*state);
        shard_make(path, 10, tokens, 4, HASH);
        free(path);
        struct loader *l = loader_open(*state, "train", 2, true, 1, CACHE, &err);
        hashes[i] = loader_data_hash(l);
        loader_close(l);
    }
    assert_true(hashes[0] != hashes[1] && hashes[0] == hashes[2]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(shards_hold_what_was_written),
        TEST(ids_outside_the_vocabulary_are_refused),
        TEST(damaged_shards_are_refused),
        TEST(a_damaged_index_is_refused_at_once),
        TEST(ids_beyond_the_header_are_refused),
        TEST(headers_of_another_kind_are_refused),
        TEST(hashes_are_those_of_the_header),
        TEST(index_entries_are_checked),
        TEST(each_block_has_its_crc),
        TEST(every_token_is_a_target_once),
        TEST(seek_resumes_exactly),
        TEST(order_depends_on_seed_and_epoch),
        TEST(loader_refuses),
        TEST(shards_are_read_by_name),
        TEST(data_hash_sees_every_shard),
        TEST(data_hash_sees_every_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
