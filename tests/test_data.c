/* The preparation of text: what goes into which shard, and how it is found again. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <omp.h>
#include <zlib.h>
#include "data_files.h"

/* Runs a command in a directory. */
static void shell(const char *dir, const char *what) {
    char *command = string_format("cd %s && %s", dir, what);
    assert_int_equal(system(command), 0);
    free(command);
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
    char *packed = string_format("%s/nothing.gz", (char *)*state), *entry = prepare(*state, &unwritable, 1, NULL, &err);
    char *model = string_format("%s/tokenizer.model", entry), *cache = string_format("%s/cache", (char *)*state);
    shell(*state, "gzip <empty.txt >nothing.gz"); /* some bytes, but no text */
    o = (struct prepare_options){
        .paths = &packed, .n_paths = 1, .tokenizer = tokenizer_load(model, &err), .cache = cache};
    assert_null(data_prepare(&o, &err));
    assert_int_equal(err.code, EXIT_INPUT);
    assert_non_null(strstr(err.text, "nothing.gz: holds no text; "));
    tokenizer_free((tokenizer *)o.tokenizer);
    free(cache);
    free(model);
    free(entry);
    free(packed);
    free(unwritable);
    free(hidden);
    free(dir);
    free(empty);
}

/* A name as long as a file's may be has room for what the cache adds to it. */
static void long_names_are_shortened(void **state) {
    struct error err;
    char name[256] = "";
    memset(name, 'n', sizeof name - 1);
    char *path = prose_file(*state, name, 300, 1), *dir = prepare(*state, &path, 1, NULL, &err);
    assert_non_null(dir);
    assert_int_equal(strspn(strrchr(dir, '/') + 1, "n"), 60);
    free(dir);
    free(path);
}

/* ---- Where text is cut ---- */

/* From README.md: the first line that starts in the last twentieth, an empty one, too. */
static size_t cut_wanted(const char *text, size_t size) {
    size_t at = size - size / 20;
    while (at < size && text[at - 1] != '\n') at++;
    return at;
}

/* Texts whose last twentieth begins at every place around a run of newlines; both parts are the text. */
static void the_cut_is_where_a_line_starts(void **state) {
    struct error err;
    for (int run = 1; run < 5; run++) {
        for (int shift = -3; shift <= run + 3; shift++) {
            char text[2000], *path = string_format("%s/%d-%d.txt", (char *)*state, run, shift);
            for (int i = 0; i < 2000; i++) text[i] = i % 50 == 49 ? '\n' : (char)('a' + i * i % 7);
            memset(text + 1860, 'b', 89); /* one line, in which the twentieth begins, with a run in it */
            memset(text + 1900 - shift, '\n', (size_t)run);
            file_write(path, text, sizeof text);
            char *dir = prepare(*state, &path, 1, NULL, &err);
            assert_non_null(dir);
            char *train = split_text(dir, "train"), *val = split_text(dir, "val");
            const size_t cut = cut_wanted(text, sizeof text);
            assert_int_equal(strlen(train), cut + 1);
            assert_memory_equal(train, text, cut);
            assert_int_equal(strlen(val), sizeof text - cut + 1);
            assert_memory_equal(val, text + cut, sizeof text - cut);
            free(train);
            free(val);
            free(dir);
            free(path);
        }
    }
}

/* Pieces span a run of newlines, so no thread's chunk may end within one: the shard has the tokens of the whole. */
static void chunks_do_not_cut_runs_of_newlines(void **state) {
    enum { SIZE = 300000, PERIOD = 29 };
    struct error err;
    char *path = string_format("%s/a.txt", (char *)*state), *text = array_alloc(SIZE, 1);
    for (int i = 0; i < SIZE; i++) text[i] = i % PERIOD > PERIOD - 12 ? '\n' : "the heron stood"[i * 7 / PERIOD % 15];
    file_write(path, text, SIZE);
    assert_true(text[(128 << 10) - 1] == '\n' && text[128 << 10] == '\n');
    char *held_out = prose_file(*state, "v.txt", 30, 1), *dir = prepare(*state, &path, 1, held_out, &err);
    assert_non_null(dir);
    char *model = string_format("%s/tokenizer.model", dir), *shard = string_format("%s/train-00000.shard", dir);
    tokenizer *t = tokenizer_load(model, &err);
    int32_t *ids = NULL, *block = array_alloc(SHARD_BLOCK, sizeof *block);
    size_t n = 0, capacity = 0, at = 0, got;
    tokenizer_encode(t, text, SIZE, &ids, &n, &capacity);
    struct shard s;
    assert_true(shard_open(&s, shard, &err));
    assert_int_equal(s.count, n + 1);
    for (size_t b = 0; b < s.blocks; b++, at += got) {
        assert_true(shard_read_block(&s, b, block, &got, &err));
        const size_t text_ids = at + got > n ? n - at : got;
        assert_memory_equal(block, ids + at, text_ids * sizeof *ids);
    }
    assert_int_equal(block[got - 1], tokenizer_end_of_text(t));
    shard_close_read(&s);
    tokenizer_free(t);
    free(ids);
    free(block);
    free(model);
    free(shard);
    free(dir);
    free(held_out);
    free(text);
    free(path);
}

/* ---- What is held out ---- */

static uint64_t tokenizer_of(const char *dir) {
    struct error err;
    char *model = string_format("%s/tokenizer.model", dir);
    tokenizer *t = tokenizer_load(model, &err);
    assert_non_null(t);
    const uint64_t hash = tokenizer_hash(t);
    tokenizer_free(t);
    free(model);
    return hash;
}

/* Whatever is held out, by share or by name, the tokenizer is that of the text to train on alone. */
static void the_tokenizer_sees_no_held_out_text(void **state) {
    struct error err;
    uint64_t hashes[4];
    char *text = prose(600, 1);
    const size_t size = strlen(text), cut = cut_wanted(text, size);
    char *train = string_format("%s/train.txt", (char *)*state), *val = string_format("%s/val.txt", (char *)*state);
    file_write(train, text, cut);
    for (int i = 0; i < 4; i++) {
        char *path = string_format("%s/%d.txt", (char *)*state, i);
        for (size_t at = cut; i % 2 && at < size; at++) text[at] = at % 9 ? (char)('A' + at % 5) : '\n';
        file_write(path, text, size);
        file_write(val, text + cut, size - cut);
        char *dir = i < 2 ? prepare(*state, &path, 1, NULL, &err) : prepare(*state, &train, 1, val, &err);
        assert_non_null(dir);
        hashes[i] = tokenizer_of(dir);
        free(dir);
        free(path);
    }
    for (int i = 1; i < 4; i++) assert_true(hashes[i] == hashes[0]);
    free(train);
    free(val);
    free(text);
}

/* The corpus has the held-out text, too: by the same name, another, a link, compressed, in a directory. */
static void held_out_text_is_not_trained_on(void **state) {
    static const struct {
        const char *make, *val;
        size_t left_out;
    } cases[] = {
        {"mv v.txt c", "c/v.txt", 1}, {"cp v.txt c/b.txt", "v.txt", 1}, {"ln v.txt c/b.txt", "v.txt", 1},
        {"ln -s ../v.txt c/z.txt", "v.txt", 1}, {"gzip -c v.txt >c/b.gz", "v.txt", 1},
        {"gzip v.txt && cp v.txt.gz c && gzip -dk c/v.txt.gz", "v.txt.gz", 2},
        {"mkdir c/v && mv v.txt c/v && gzip -c c/v/v.txt >c/w.gz", "c/v", 2},
        {"cp v.txt c/b.txt && cp v.txt c/0.txt && mkdir d && mv v.txt d", "d", 2},
        {"cp v.txt c/b.txt && mkdir d && mv v.txt d && >d/empty && gzip -c d/empty >c/none.gz", "d", 1},
    };
    struct error err;
    char *corpus = string_format("%s/c", (char *)*state), *text = prose(300, 1), *val_text = prose(40, 8);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        shell(*state, "rm -rf c d v.txt* && mkdir c");
        free(prose_file(corpus, "a.txt", 300, 1));
        free(prose_file(*state, "v.txt", 40, 8));
        char *empty = string_format("%s/c/empty", (char *)*state);
        file_write(empty, "", 0);
        shell(*state, cases[i].make);
        char *held_out = string_format("%s/%s", (char *)*state, cases[i].val);
        char *dir = prepare(*state, &corpus, 1, held_out, &err);
        assert_non_null(dir);
        char *train = split_text(dir, "train"), *val = split_text(dir, "val");
        assert_int_equal(strlen(train), strlen(text) + 1);
        assert_memory_equal(train, text, strlen(text));
        assert_int_equal(strlen(val), strlen(val_text) + 1);
        assert_memory_equal(val, val_text, strlen(val_text));
        char *list = string_format("%s/left-out.txt", dir);
        size_t size, lines = 0;
        char *paths = file_read(list, &size);
        for (size_t at = 0; at < size; at++) lines += paths[at] == '\n';
        assert_int_equal(lines, cases[i].left_out);
        free(paths);
        free(list);
        free(train);
        free(val);
        free(dir);
        free(held_out);
        free(empty);
    }
    free(corpus);
    free(text);
    free(val_text);
}

/* As many bytes, others; and where nothing else is there, a message. */
static void only_held_out_text_is_left_out(void **state) {
    struct error err = {0, ""};
    char *path = prose_file(*state, "a.txt", 300, 1), *other = string_format("%s/b.txt", (char *)*state);
    char *text = prose(300, 1);
    text[strlen(text) - 2] ^= 1;
    file_write(other, text, strlen(text));
    char *dir = prepare(*state, &path, 1, other, &err), *train = split_text(dir, "train");
    assert_int_equal(strlen(train), strlen(text) + 1);
    assert_null(prepare(*state, &path, 1, path, &err));
    assert_int_equal(err.code, EXIT_INPUT);
    assert_non_null(strstr(err.text, "all of it is held out by --val"));
    free(train);
    free(dir);
    free(text);
    free(other);
    free(path);
}

/* ---- The vocabulary and the cache's names ---- */

/* What a text supports will do unless the user wants more; then it is refused, whether it is in the cache or not. */
static void the_vocabulary_is_what_the_text_supports(void **state) {
    struct error err = {0, ""};
    char *path = prose_file(*state, "a.txt", 40, 1), *cache = string_format("%s/cache", (char *)*state), says[40];
    struct prepare_options o = {.paths = &path, .n_paths = 1, .vocab = 4096, .cache = cache};
    assert_null(data_prepare(&o, &err));
    assert_int_equal(err.code, EXIT_USAGE);
    o.vocab_adapts = true;
    char *dir = data_prepare(&o, &err), *again = data_prepare(&o, &err);
    assert_non_null(dir);
    assert_string_equal(dir, again);
    struct loader *l = loader_open(dir, "train", 8, false, 0, CACHE, &err);
    const int most = loader_vocab(l);
    loader_close(l);
    assert_true(most > 300 && most < 4096);
    snprintf(says, sizeof says, "got 4096, want at most %d", most);
    o.vocab_adapts = false;
    assert_null(data_prepare(&o, &err));
    assert_int_equal(err.code, EXIT_USAGE);
    assert_non_null(strstr(err.text, says));
    o.vocab = most;
    char *exact = data_prepare(&o, &err);
    assert_non_null(exact);
    assert_true(tokenizer_of(exact) == tokenizer_of(dir));
    o.vocab_adapts = true;
    o.vocab = 300; /* enough text: exactly that */
    char *less = data_prepare(&o, &err);
    l = loader_open(less, "train", 8, false, 0, CACHE, &err);
    assert_int_equal(loader_vocab(l), 300);
    loader_close(l);
    free(less);
    free(exact);
    free(again);
    free(dir);
    free(cache);
    free(path);
}

/* 600 letters: more than the vocabulary has pieces. It becomes as many beside them, unless the user wants that many. */
static void the_vocabulary_holds_the_characters(void **state) {
    struct error err = {0, ""};
    char *path = string_format("%s/hangul.txt", (char *)*state), *cache = string_format("%s/cache", (char *)*state);
    FILE *file = fopen(path, "w");
    for (int i = 0; i < 20000; i++) {
        const int c = 0xac00 + i * 7 % 600;
        fprintf(file, "%c%c%c%s", 0xe0 | c >> 12, 0x80 | (c >> 6 & 0x3f), 0x80 | (c & 0x3f),
                i % 3 ? "" : i % 12 ? " " : "\n");
    }
    fclose(file);
    struct prepare_options o = {.paths = &path, .n_paths = 1, .vocab = 400, .cache = cache};
    assert_null(data_prepare(&o, &err));
    assert_int_equal(err.code, EXIT_USAGE);
    const char *least = strstr(err.text, "at least ");
    assert_non_null(least);
    o.vocab_adapts = true;
    char *dir = data_prepare(&o, &err), *again = data_prepare(&o, &err);
    if (!dir) fail_msg("%s", err.text);
    assert_string_equal(dir, again);
    struct loader *l = loader_open(dir, "train", 8, false, 0, CACHE, &err);
    assert_int_equal(loader_vocab(l), atoi(least + 9) + 400);
    loader_close(l);
    o.vocab_adapts = false; /* also of what is in the cache */
    assert_null(data_prepare(&o, &err));
    assert_int_equal(err.code, EXIT_USAGE);
    assert_non_null(strstr(err.text, "at least "));
    free(again);
    free(dir);
    free(cache);
    unlink(path);
    free(path);
}

static void time_set(const char *path, time_t seconds, long nanoseconds) {
    const struct timespec times[2] = {{seconds, nanoseconds}, {seconds, nanoseconds}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* Each change of an input or option is another entry; nothing else is. */
static void every_input_is_in_the_name(void **state) {
    enum { CASES = 13 };
    struct error err;
    char *a = prose_file(*state, "a.txt", 200, 1), *b = prose_file(*state, "b.txt", 200, 2);
    char *v = prose_file(*state, "v.txt", 40, 3), *w = prose_file(*state, "w.txt", 40, 3);
    char *cache = string_format("%s/cache", (char *)*state), *names[CASES];
    tokenizer *tokenizers[2] = {NULL, NULL};
    for (int i = 0; i < CASES; i++) {
        char *paths[2] = {a, b};
        struct prepare_options o = {.paths = paths, .n_paths = 2, .vocab = PREPARE_VOCAB, .cache = cache};
        char *const files[] = {a, b, v, w};
        for (int f = 0; f < 4; f++) time_set(files[f], 1000, 5000);
        if (i == 1) time_set(b, 1001, 5000);
        if (i == 2) time_set(a, 1000, 6000);
        if (i == 3) paths[0] = b, paths[1] = a;
        if (i == 4) o.n_paths = 1;
        if (i == 5) o.vocab++;
        if (i == 6) o.val_path = v;
        if (i == 7) o.val_path = w;
        if (i == 8) o.val_path = v, time_set(v, 1000, 7000);
        if (i == 9) o.tokenizer = tokenizers[0];
        if (i == 10) o.tokenizer = tokenizers[1];
        if (i == 11) o.val_path = b;
        if (i == 12) {
            free(prose_file(*state, "b.txt", 201, 2));
            time_set(b, 1000, 5000);
        }
        names[i] = data_prepare(&o, &err);
        if (!names[i]) fail_msg("%d: %s", i, err.text);
        char *again = data_prepare(&o, &err), *model = string_format("%s/tokenizer.model", names[i]);
        assert_string_equal(names[i], again);
        for (int j = 0; j < i; j++)
            if (strcmp(strrchr(names[i], '-'), strrchr(names[j], '-')) == 0) fail_msg("%d and %d are the same", i, j);
        if (i == 0 || i == 5) tokenizers[i == 5] = tokenizer_load(model, &err);
        free(model);
        free(again);
    }
    for (int i = 0; i < CASES; i++) free(names[i]);
    for (int i = 0; i < 2; i++) tokenizer_free(tokenizers[i]);
    free(a);
    free(b);
    free(v);
    free(w);
    free(cache);
}

/* As they are given, each with its end, in both parts. */
static void files_keep_their_order_and_ends(void **state) {
    struct error err;
    char *paths[] = {prose_file(*state, "c.txt", 60, 3), prose_file(*state, "a.txt", 60, 1),
                     prose_file(*state, "b.txt", 60, 2)};
    static const int salts[] = {3, 1, 2};
    char *dir = prepare(*state, paths, 3, NULL, &err), *train = split_text(dir, "train"), *val = split_text(dir, "val");
    char *train_at = train, *val_at = val;
    for (int i = 0; i < 3; i++) {
        char *text = prose(60, salts[i]);
        const size_t size = strlen(text), cut = cut_wanted(text, size);
        assert_memory_equal(train_at, text, cut);
        assert_int_equal(train_at[cut], '|');
        assert_memory_equal(val_at, text + cut, size - cut);
        assert_int_equal(val_at[size - cut], '|');
        train_at += cut + 1;
        val_at += size - cut + 1;
        free(text);
        free(paths[i]);
    }
    assert_true(*train_at == 0 && *val_at == 0);
    free(train);
    free(val);
    free(dir);
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
        TEST(long_names_are_shortened),
        TEST(the_cut_is_where_a_line_starts),
        TEST(chunks_do_not_cut_runs_of_newlines),
        TEST(the_tokenizer_sees_no_held_out_text),
        TEST(held_out_text_is_not_trained_on),
        TEST(only_held_out_text_is_left_out),
        TEST(the_vocabulary_holds_the_characters),
        TEST(the_vocabulary_is_what_the_text_supports),
        TEST(every_input_is_in_the_name),
        TEST(files_keep_their_order_and_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
