/* Shards, the loader and the preparation of text: what is written is read, and damage is refused by name. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fts.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include "../data/loader.h"
#include "../data/prepare.h"
#include "../data/shard.h"
#include "../src/rng.h"

enum { HASH = 1234, CACHE = 3 << 20, PREPARE_VOCAB = 300 };

static int directory_create(void **state) {
    static const char template[] = "/tmp/test_data.XXXXXX";
    char *dir = string_format("%s", template);
    *state = mkdtemp(dir);
    return *state ? 0 : -1;
}

static int directory_delete(void **state) {
    char *dir = *state;
    FTS *walk = fts_open((char *[]){dir, NULL}, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    for (FTSENT *entry; (entry = fts_read(walk));) {
        if (entry->fts_info != FTS_D) remove(entry->fts_path);
    }
    fts_close(walk);
    free(dir);
    return 0;
}

static void file_write(const char *path, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static char *file_read(const char *path, size_t *size) {
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

/* ---- Shards ---- */

static void shard_make(const char *path, int vocab, const int32_t *tokens, size_t n, uint64_t hash) {
    struct error err;
    struct shard_writer *w = shard_create(path, vocab, hash, &err);
    assert_non_null(w);
    for (size_t at = 0, part = 1; at < n; at += part, part = part * 3 + 1) { /* appended in odd portions */
        if (part > n - at) part = n - at;
        assert_true(shard_append(w, tokens + at, part, &err));
    }
    assert_true(shard_close(w, true, &err));
}

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

/* Whether the shard opens and all its blocks are read; if not, the message has to name the file. */
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
    free(path);
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

/* ---- Prepare ---- */

/* `lines` different lines of prose. */
static char *prose(int lines, int salt) {
    static const char *const words[] = {"the",   "heron", "stood",  "in",  "cold",
                                        "water", "and",   "waited", "for", "fish"};
    char *text = array_alloc((size_t)lines + 1, 80), *at = text;
    for (int i = 0; i < lines; i++) {
        for (unsigned w = 0, n = (unsigned)(i * 7 + salt); w < 8; w++, n = n * 5 + 3) {
            at += sprintf(at, "%s ", words[n / 2 % 10]);
        }
        at += sprintf(at, "%d\n", i * 31 + salt);
    }
    return text;
}

static char *prose_file(const char *dir, const char *name, int lines, int salt) {
    char *path = string_format("%s/%s", dir, name), *text = prose(lines, salt);
    file_write(path, text, strlen(text));
    free(text);
    return path;
}

/* The text of a split as it decodes, end-of-text tokens shown as a NUL. */
static char *split_text(const char *dir, const char *split) {
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

static char *prepare(const char *root, char **paths, size_t n, const char *val, struct error *err) {
    char *cache = string_format("%s/cache", root);
    struct prepare_options o = {
        .paths = paths, .n_paths = n, .val_path = val, .vocab = PREPARE_VOCAB, .cache = cache};
    char *dir = data_prepare(&o, err);
    if (!dir) print_message("%s\n", err->text);
    free(cache);
    return dir;
}

static void refuse(const char *root, char *path, const char *val, const char *named) {
    struct error err = {0, ""};
    assert_null(prepare(root, &path, 1, val, &err));
    assert_int_equal(err.code, EXIT_INPUT);
    if (!strstr(err.text, named)) fail_msg("'%s' does not name %s", err.text, named);
}

/* Both parts, joined, are the text; the cut is at a line start in the last twentieth. */
static void a_file_is_split_at_a_line(void **state) {
    struct error err;
    char *path = prose_file(*state, "a.txt", 500, 1), *text = prose(500, 1);
    char *dir = prepare(*state, &path, 1, NULL, &err);
    assert_non_null(dir);
    char *train = split_text(dir, "train"), *val = split_text(dir, "val");
    size_t cut = strlen(train) - 1, size = strlen(text);
    assert_int_equal(train[cut], '|');
    assert_memory_equal(train, text, cut);
    assert_int_equal(text[cut - 1], '\n');
    assert_true(cut >= size - size / 20 && cut < size - size / 20 + 80);
    assert_int_equal(strlen(val) - 1, size - cut);
    assert_memory_equal(val, text + cut, size - cut);
    free(train);
    free(val);
    free(text);
    free(dir);
    free(path);
}

static void a_text_without_lines_is_split_at_a_character(void **state) {
    struct error err;
    enum { N = 1001 };
    char *path = string_format("%s/a.txt", (char *)*state), text[2 * N];
    for (int i = 0; i < N; i++) memcpy(text + 2 * i, i % 2 ? "\xc3\xa9" : "\xc3\xa0", 2);
    file_write(path, text, sizeof text);
    char *cache = string_format("%s/cache", (char *)*state);
    struct prepare_options o = {.paths = &path, .n_paths = 1, .vocab = 263, .cache = cache};
    char *dir = data_prepare(&o, &err);
    assert_non_null(dir);
    char *val = split_text(dir, "val");
    assert_int_equal(strlen(val) - 1, 100); /* a twentieth of 2002, rounded down to whole characters */
    assert_int_equal((unsigned char)val[0], 0xc3);
    free(val);
    free(dir);
    free(cache);
    free(path);
}

/* More than threads encode at a time, so that it is cut into chunks. */
static void threads_change_nothing(void **state) {
    struct error err;
    char *path = prose_file(*state, "a.txt", 9001, 1), *text = prose(9001, 1);
    uint64_t hashes[2];
    for (int i = 0; i < 2; i++) {
        char *root = string_format("%s/%d", (char *)*state, i);
        omp_set_num_threads(1 + 2 * i);
        char *dir = prepare(root, &path, 1, NULL, &err);
        assert_non_null(dir);
        char *train = split_text(dir, "train");
        assert_memory_equal(train, text, strlen(train) - 1);
        assert_true(strlen(train) > strlen(text) * 9 / 10);
        struct loader *l = loader_open(dir, "train", 8, false, 0, CACHE, &err);
        hashes[i] = loader_data_hash(l);
        loader_close(l);
        free(train);
        free(dir);
        free(root);
    }
    assert_true(hashes[0] == hashes[1]);
    free(text);
    free(path);
}

static void a_directory_is_walked_in_order(void **state) {
    struct error err;
    char *root = *state, *texts[3], *dir = string_format("%s/corpus", root),
         *sub = string_format("%s/b", dir);
    mkdir(dir, 0777);
    mkdir(sub, 0777);
    free(prose_file(dir, "c.txt", 30, 3));
    free(prose_file(dir, "a.txt", 30, 1));
    free(prose_file(sub, "z.txt", 30, 2));
    free(prose_file(sub, ".hidden", 30, 4));
    char *binary = string_format("%s/binary", sub);
    file_write(binary, "some\0thing", 10);
    char *out = prepare(root, &dir, 1, NULL, &err);
    assert_non_null(out);
    char *train = split_text(out, "train"), *at = train;
    for (int i = 0; i < 3; i++) { /* a.txt, b/z.txt, c.txt: salts 1, 2, 3 */
        texts[i] = prose(30, i + 1);
        size_t n = (size_t)(strchr(at, '|') - at);
        assert_true(n > 0);
        assert_memory_equal(at, texts[i], n);
        at += n + 1;
        free(texts[i]);
    }
    assert_int_equal(*at, 0);
    free(train);
    free(out);
    free(binary);
    free(sub);
    free(dir);
}

/* Two members, one after the other, as `cat a.gz b.gz` makes them. */
static void gzip_is_unpacked_and_checked(void **state) {
    struct error err;
    char *path = string_format("%s/a.txt.gz", (char *)*state), *text = prose(400, 5);
    size_t half = strlen(text) / 2, size;
    for (int i = 0; i < 2; i++) {
        gzFile file = gzopen(path, i ? "ab" : "wb");
        gzwrite(file, text + i * half, (unsigned)(i ? strlen(text) - half : half));
        gzclose(file);
    }
    char *dir = prepare(*state, &path, 1, NULL, &err);
    assert_non_null(dir);
    char *train = split_text(dir, "train");
    assert_memory_equal(train, text, strlen(train) - 1);
    char *data = file_read(path, &size);
    for (int i = 0; i < 4; i++) {
        size_t at = (size_t[]){size / 4, size / 2 + 10, size - 3, size - 12}[i];
        data[at] ^= 4;
        file_write(path, data, size);
        refuse(*state, path, NULL, path);
        data[at] ^= 4;
        file_write(path, data, at);
        refuse(*state, path, NULL, path);
    }
    file_write(path, text, strlen(text)); /* not gzip at all */
    refuse(*state, path, NULL, path);
    free(data);
    free(train);
    free(dir);
    free(text);
    free(path);
}

static void standard_input_is_read(void **state) {
    struct error err;
    char *dirs[3], *text = prose(300, 6);
    for (int i = 0; i < 3; i++) {
        char *path = string_format("%s/in.txt", (char *)*state);
        if (i == 2) text[5] ^= 1; /* another text of the same size */
        file_write(path, text, strlen(text));
        assert_non_null(freopen(path, "rb", stdin));
        dirs[i] = prepare(*state, (char *[]){"-"}, 1, NULL, &err);
        assert_non_null(dirs[i]);
        free(path);
    }
    assert_string_equal(dirs[0], dirs[1]); /* known by its content */
    assert_string_not_equal(dirs[0], dirs[2]);
    char *train = split_text(dirs[2], "train");
    assert_memory_equal(train, text, strlen(train) - 1);
    for (int i = 0; i < 3; i++) free(dirs[i]);
    free(train);
    free(text);
}

static void a_validation_file_replaces_the_split(void **state) {
    struct error err;
    char *path = prose_file(*state, "a.txt", 200, 1), *held_out = prose_file(*state, "v.txt", 20, 8);
    char *dir = prepare(*state, &path, 1, held_out, &err);
    assert_non_null(dir);
    char *train = split_text(dir, "train"), *val = split_text(dir, "val");
    char *text = prose(200, 1), *val_text = prose(20, 8);
    assert_int_equal(strlen(train), strlen(text) + 1);
    assert_memory_equal(train, text, strlen(text));
    assert_int_equal(strlen(val), strlen(val_text) + 1);
    assert_memory_equal(val, val_text, strlen(val_text));
    refuse(*state, path, "/nonexistent/val.txt", "/nonexistent/val.txt");
    free(train);
    free(val);
    free(text);
    free(val_text);
    free(dir);
    free(path);
    free(held_out);
}

/* The cache: found again, missed when the text or an option changed, never left half full. */
static void the_cache_is_keyed_and_whole(void **state) {
    struct error err;
    char *path = prose_file(*state, "a.txt", 400, 1), *cache = string_format("%s/cache", (char *)*state);
    char *first = prepare(*state, &path, 1, NULL, &err), *again = prepare(*state, &path, 1, NULL, &err);
    assert_non_null(first);
    assert_string_equal(first, again);
    char *model = string_format("%s/tokenizer.model", first);
    tokenizer *t = tokenizer_load(model, &err);
    struct prepare_options o = {.paths = &path, .n_paths = 1, .tokenizer = t, .cache = cache};
    char *given = data_prepare(&o, &err);
    assert_non_null(given);
    assert_string_not_equal(first, given);
    struct loader *a = loader_open(first, "train", 8, false, 0, CACHE, &err);
    struct loader *b = loader_open(given, "train", 8, false, 0, CACHE, &err);
    assert_true(loader_data_hash(a) == loader_data_hash(b));
    loader_close(a);
    loader_close(b);
    o = (struct prepare_options){.paths = &path, .n_paths = 1, .vocab = 1 << 20, .cache = cache};
    assert_null(data_prepare(&o, &err)); /* too large a vocabulary: nothing may stay behind */
    assert_int_equal(err.code, EXIT_USAGE);
    free(prose_file(*state, "a.txt", 401, 1));
    char *changed = prepare(*state, &path, 1, NULL, &err);
    assert_string_not_equal(first, changed);
    int entries = 0;
    FTS *walk = fts_open((char *[]){cache, NULL}, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    for (FTSENT *entry; (entry = fts_read(walk));)
        entries += entry->fts_info == FTS_D && entry->fts_level == 1;
    fts_close(walk);
    assert_int_equal(entries, 3);
    tokenizer_free(t);
    free(first);
    free(again);
    free(given);
    free(changed);
    free(model);
    free(path);
    free(cache);
}

static void missing_and_empty_inputs_are_named(void **state) {
    char *empty = string_format("%s/empty.txt", (char *)*state), *dir = string_format("%s/d", (char *)*state);
    file_write(empty, "", 0);
    mkdir(dir, 0777);
    refuse(*state, "/nonexistent/text", NULL, "/nonexistent/text");
    refuse(*state, empty, NULL, empty);
    refuse(*state, dir, NULL, dir);
    char *hidden = string_format("%s/.only", dir);
    file_write(hidden, "text", 4);
    refuse(*state, dir, NULL, dir);
    struct error err;
    char *unwritable = prose_file(*state, "a.txt", 300, 1);
    struct prepare_options o = {.paths = &unwritable, .n_paths = 1, .vocab = 400, .cache = "/proc/nothing"};
    assert_null(data_prepare(&o, &err));
    assert_int_equal(err.code, EXIT_OUTPUT);
    free(unwritable);
    free(hidden);
    free(dir);
    free(empty);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, directory_create, directory_delete)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(shards_hold_what_was_written),
        TEST(ids_outside_the_vocabulary_are_refused),
        TEST(damaged_shards_are_refused),
        TEST(a_damaged_index_is_refused_at_once),
        TEST(ids_beyond_the_header_are_refused),
        TEST(every_token_is_a_target_once),
        TEST(seek_resumes_exactly),
        TEST(order_depends_on_seed_and_epoch),
        TEST(loader_refuses),
        TEST(data_hash_sees_every_token),
        TEST(a_file_is_split_at_a_line),
        TEST(a_text_without_lines_is_split_at_a_character),
        TEST(threads_change_nothing),
        TEST(a_directory_is_walked_in_order),
        TEST(gzip_is_unpacked_and_checked),
        TEST(standard_input_is_read),
        TEST(a_validation_file_replaces_the_split),
        TEST(the_cache_is_keyed_and_whole),
        TEST(missing_and_empty_inputs_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
