/* The preparation of text: what goes into which shard, and how it is found again. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <omp.h>
#include <zlib.h>
#include "data_files.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
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
