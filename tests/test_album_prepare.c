/* From folders to albums: what is in which album, what is held out and not learnt from, what is refused and how. How
 * entries are found again, and what is told: test_album_entries.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../data/sheet.h"
#include "album_folders.h"

/* ---- Calls that are watched ---- */

/* Linked in the place of those that write, and of those below. */
static struct {
    size_t at, seen;           /* which of the calls that write fails; calls so far */
    void (*hook)(void);        /* what happens once, when a codebook is written */
} fault;

static bool call_fails(struct error *err) {
    return ++fault.seen == fault.at && !error_set(err, EXIT_OUTPUT, "a call that writes fails");
}

bool __real_tokenizer_save(const tokenizer *t, const char *path, struct error *err);
bool __wrap_tokenizer_save(const tokenizer *t, const char *path, struct error *err) {
    return !call_fails(err) && __real_tokenizer_save(t, path, err);
}

bool __real_codebook_save(const struct codebook *c, const char *dir, struct error *err);
bool __wrap_codebook_save(const struct codebook *c, const char *dir, struct error *err) {
    void (*const now)(void) = fault.hook;
    fault.hook = NULL;
    if (now) now();
    return !call_fails(err) && __real_codebook_save(c, dir, err);
}

struct album_writer *__real_album_create(const char *path, const struct album_shape *shape, struct error *err);
struct album_writer *__wrap_album_create(const char *path, const struct album_shape *shape, struct error *err) {
    return call_fails(err) ? NULL : __real_album_create(path, shape, err);
}

bool __real_album_append(struct album_writer *w, const struct album_record *record, struct error *err);
bool __wrap_album_append(struct album_writer *w, const struct album_record *record, struct error *err) {
    return !call_fails(err) && __real_album_append(w, record, err);
}

bool __real_album_finish(struct album_writer *w, bool keep, struct error *err);
bool __wrap_album_finish(struct album_writer *w, bool keep, struct error *err) {
    const bool fails = keep && call_fails(err);
    struct error unused;
    return __real_album_finish(w, keep && !fails, fails ? &unused : err) && !fails;
}

/* The largest array that was asked for. */
static size_t largest;
void *__real_array_alloc(size_t count, size_t size);
void *__wrap_array_alloc(size_t count, size_t size) {
    if (count * size > largest) largest = count * size;
    return __real_array_alloc(count, size);
}

/* What a tokenizer is trained on, where it is only asked for and none is trained. */
static struct {
    bool only_asked;
    size_t texts, bytes;
    char first[80], order[80]; /* the first text; the first letter of each */
} asked;
tokenizer *__real_tokenizer_train(tokenizer_source next, void *context, int vocab, bool progress, int *nearest,
                                  struct error *err);
tokenizer *__wrap_tokenizer_train(tokenizer_source next, void *context, int vocab, bool progress, int *nearest,
                                  struct error *err) {
    size_t size;
    if (!asked.only_asked) return __real_tokenizer_train(next, context, vocab, progress, nearest, err);
    for (const char *text; (text = next(context, &size)); asked.bytes += size) {
        if (asked.texts == 0) snprintf(asked.first, sizeof asked.first, "%.*s", (int)size, text);
        asked.order[asked.texts++] = *text;
    }
    error_set(err, EXIT_INPUT, "nothing is trained");
    return NULL;
}

/* ---- What is in an album ---- */

/* More pictures than are read at a time, several captions each or none, texts beside them. */
static void albums_hold_the_folder(void **state) {
    struct setting s = setting_make(*state, 90, 50);
    line_add(s.dir, "a.txt", "the first item is no picture");
    line_add(s.dir, "p003.txt", "nor is this one");
    struct folder f = listed(&s);
    assert_int_equal(f.n, 90 + 2 * 18 + 50 + 2);
    assert_null(f.items[0].path);
    char *entry = prepared(&s);
    struct album *a = opened(entry, "val");
    assert_int_equal(album_size(a), SIZE);
    assert_int_equal(album_patch(a), PATCH);
    assert_int_equal(album_codes(a), CODES);
    assert_int_equal(album_vocab(a), 300);
    assert_int_equal(entries_count(entry), 4);
    album_close(a);
    free(albums_expect(entry, &f));
    folder_free(&f);
    free(entry);
    setting_free(&s);
}

/* ---- What is held out ---- */

/* The order in which groups are held out. */
static uint64_t order_of_group(uint64_t group) {
    struct rng rng;
    rng_seed(&rng, group, 0);
    return rng_next(&rng);
}

/* Of pictures and of texts each the groups that come first in that order, whole, until they are a twentieth. */
static void groups_are_held_out_whole(void **state) {
    static const size_t sizes[][2] = {{2, 2}, {9, 20}, {23, 21}, {60, 41}, {120, 0}, {0, 45}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *root = string_format("%s/%zu", (char *)*state, i);
        assert_int_equal(mkdir(root, 0777), 0);
        struct setting s = setting_make(root, sizes[i][0], sizes[i][1]);
        if (sizes[i][0] < 10) s.options.codes = 2;
        char *entry = prepared(&s);
        struct folder f = listed(&s);
        bool *held_out = albums_expect(entry, &f);
        for (int texts = 0; texts < 2; texts++) {
            uint64_t last_out = 0, first_in = UINT64_MAX;
            size_t n = 0, out = 0, last = 0;
            for (size_t j = 0; j < f.n; j++) {
                const uint64_t order = order_of_group(f.items[j].group);
                if ((f.items[j].path == NULL) != texts) continue;
                n++;
                out += held_out[j];
                if (held_out[j] && order >= last_out) last_out = order;
                if (!held_out[j] && order < first_in) first_in = order;
            }
            for (size_t j = 0; j < f.n; j++)
                last += (f.items[j].path == NULL) == texts && order_of_group(f.items[j].group) == last_out;
            if (n == 0) continue;
            assert_true(out >= 1 && last_out < first_in);
            assert_true(out * 20 >= n && (out - last) * 20 < n);
        }
        folder_free(&f);
        free(held_out);
        free(entry);
        setting_free(&s);
        free(root);
    }
}

/* Neither tokenizer nor codebook change with what is held out; with what is not, they do. */
static void what_is_held_out_is_not_learnt(void **state) {
    struct setting s = setting_make(*state, 40, 30);
    char *first = prepared(&s), *picture[2] = {NULL, NULL};
    struct folder f = listed(&s);
    bool *held_out = albums_expect(first, &f);
    for (size_t i = 0; i < f.n; i++)
        if (f.items[i].path && !picture[held_out[i]])
            picture[held_out[i]] = string_format("%s", strrchr(f.items[i].path, '/') + 1);
    for (int out = 1; out >= 0; out--) {
        caption_write(s.dir, picture[out], "quizzical quizzical quizzical quizzical", "en");
        char *words = prepared(&s);
        files_equal(first, words, "tokenizer.model", out);
        files_equal(first, words, "codebook", true);
        files_equal(first, words, out ? "train.album" : "val.album", out); /* with another tokenizer all differs */
        picture_make(s.dir, picture[out], SIZE, SIZE, 98765);
        char *pixels = prepared(&s);
        files_equal(words, pixels, "tokenizer.model", true);
        files_equal(words, pixels, "codebook", out);
        files_equal(words, pixels, "val.album", false);
        files_equal(words, pixels, "train.album", out);
        free(words);
        free(pixels);
    }
    free(picture[0]);
    free(picture[1]);
    free(held_out);
    folder_free(&f);
    free(first);
    setting_free(&s);
}

/* ---- Kinds of folders ---- */

static void pictures_alone_have_a_tokenizer_of_bytes(void **state) {
    struct setting s = setting_make(*state, 12, 0);
    shell(s.dir, "rm captions.tsv");
    s.options.vocab_adapts = false; /* nor is there anything to support so many pieces */
    char *entry = prepared(&s);
    struct folder f = listed(&s);
    tokenizer *t = tokenizer_in(entry);
    struct album *a = opened(entry, "train");
    int32_t *ids = NULL;
    size_t n = 0, capacity = 0;
    assert_int_equal(tokenizer_vocab(t), 259);
    tokenizer_encode(t, "\xc3\xa4 b", 4, &ids, &n, &capacity);
    char *text = decoded(t, ids, n);
    assert_string_equal(text, "\xc3\xa4 b");
    assert_int_equal(album_vocab(a), 259);
    bool *held_out = albums_expect(entry, &f);
    for (size_t i = 0; i < f.n; i++) /* nor is one trained on what is held out */
        if (held_out[i]) caption_write(s.dir, strrchr(f.items[i].path, '/') + 1, "not to be learnt", "en");
    char *captioned = prepared(&s);
    files_equal(entry, captioned, "tokenizer.model", true);
    files_equal(entry, captioned, "val.album", false);
    free(captioned);
    free(held_out);
    album_close(a);
    tokenizer_free(t);
    folder_free(&f);
    free(text);
    free(ids);
    free(entry);
    setting_free(&s);
}

static void texts_alone_have_no_codebook(void **state) {
    struct setting s = setting_make(*state, 0, 60);
    char *entry = prepared(&s), *sheet = string_format("%s/sheet.png", (char *)*state);
    struct folder f = listed(&s);
    struct album *a = opened(entry, "train");
    struct error err;
    assert_int_equal(album_size(a) + album_patch(a) + album_codes(a), 0);
    assert_int_equal(entries_count(entry), 3);
    assert_int_equal(album_vocab(a), 300); /* nor is one of captions missed */
    free(albums_expect(entry, &f));
    assert_true(sheet_write(sheet, entry, &(struct codebook){0}, 32, &err)); /* of nothing there is none */
    assert_int_not_equal(access(sheet, F_OK), 0);
    album_close(a);
    folder_free(&f);
    free(sheet);
    free(entry);
    setting_free(&s);
}

/* Of any size and shape, with a size that is asked for; they are as picture_fit makes them. */
static void pictures_are_fitted(void **state) {
    struct setting s = setting_make(*state, 30, 0);
    picture_make(s.dir, "wide.png", 31, 9, 1);
    picture_make(s.dir, "tall.png", 1, 200, 2);
    picture_make(s.dir, "tiny.png", 1, 1, 3);
    struct folder f = listed(&s);
    static const size_t sizes[][2] = {{8, 4}, {12, 4}, {9, 3}, {7, 7}, {5, 1}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        s.options.size = sizes[i][0];
        s.options.patch = sizes[i][1];
        char *entry = prepared(&s);
        struct album *a = opened(entry, "train");
        assert_int_equal(album_size(a), sizes[i][0]);
        assert_int_equal(album_patch(a), sizes[i][1]);
        assert_true(album_vocab(a) > 259); /* of captions */
        free(albums_expect(entry, &f));
        album_close(a);
        free(entry);
    }
    folder_free(&f);
    setting_free(&s);
}

static void a_given_tokenizer_is_used(void **state) {
    struct setting s = setting_make(*state, 20, 20);
    char *first = prepared(&s);
    struct folder f = listed(&s);
    s.options.tokenizer = tokenizer_in(first);
    s.options.vocab = 1 << 20; /* means nothing then */
    s.options.vocab_adapts = false;
    line_add(s.dir, "texts.txt", "zebra zebra zebra zebra zebra zebra");
    char *entry = prepared(&s);
    assert_string_not_equal(entry, first);
    files_equal(first, entry, "tokenizer.model", true);
    folder_free(&f);
    f = listed(&s);
    free(albums_expect(entry, &f));
    tokenizer_free(s.options.tokenizer);
    folder_free(&f);
    free(first);
    free(entry);
    setting_free(&s);
}

/* It is lent, like the tokenizer, and goes with pictures that it has not seen. */
static void a_given_codebook_is_used(void **state) {
    struct setting s = setting_make(*state, 20, 20);
    struct codebook c;
    struct error err;
    char *first = prepared(&s);
    assert_true(codebook_load(&c, first, &err));
    for (int i = 0; i < 30; i++) {
        char *name = string_format("q%d.png", i);
        picture_make(s.dir, name, SIZE, SIZE, (uint64_t)(1000 + i));
        free(name);
    }
    struct folder f = listed(&s);
    char *own = prepared(&s);
    files_equal(first, own, "codebook", false);
    s.options.codebook = &c;
    char *entry = prepared(&s);
    files_equal(first, entry, "codebook", true);
    files_equal(own, entry, "tokenizer.model", true);
    free(albums_expect(entry, &f));
    for (int i = 0; i < 2; i++) {
        s.options.codes = i ? CODES : CODES + 1;
        s.options.patch = i ? 2 : PATCH;
        assert_null(album_prepare(&s.options, &err));
        assert_int_equal(err.code, EXIT_MISMATCH);
        assert_string_equal(err.text, i ? "--codes 20, --patch 2: not those of the codebook that goes with the model "
                                          "(20 codes of 48 numbers); leave them out"
                                        : "--codes 21, --patch 4: not those of the codebook that goes with the model "
                                          "(20 codes of 48 numbers); leave them out");
    }
    codebook_free(&c);
    folder_free(&f);
    free(own);
    free(first);
    free(entry);
    setting_free(&s);
}

/* The others are left out as if they were not there. */
static void captions_are_of_the_languages_that_are_wanted(void **state) {
    static const char *const lists[] = {"en", "de", "de,en"};
    struct setting s = setting_make(*state, 30, 10);
    struct error err;
    for (int i = 0; i < 3; i++) {
        struct folder f = listed(&s);
        assert_true(folder_choose(&f, s.options.languages = lists[i], &err));
        char *entry = prepared(&s), *command = string_format("rm -r %s", s.cache);
        free(albums_expect(entry, &f));
        shell(*state, command);
        folder_free(&f);
        free(command);
        free(entry);
    }
    s.options.languages = "en,fr";
    refused(&s, EXIT_USAGE, "--languages en,fr: no caption is in 'fr'; see captions.tsv");
    setting_free(&s);
}

/* Several paths, and files by their bare names. */
static void files_may_be_given(void **state) {
    static char *paths[] = {"q.png", "p001.png", "../one", "texts.txt"};
    struct setting s = setting_make(*state, 12, 30);
    struct error err;
    struct album_record record;
    char *one = folder_make(*state, "one", 9, 0), *names = string_format("%s", "");
    size_t n = 0;
    s.options.paths = paths;
    s.options.n_paths = 4;
    s.options.codes = 8;
    picture_make(s.dir, "q.png", SIZE, SIZE, 99);
    assert_int_equal(chdir(s.dir), 0);
    char *entry = album_prepare(&s.options, &err);
    if (!entry) fail_msg("%s", err.text);
    assert_non_null(strstr(entry, "/cache/q.png-"));
    for (int split = 0; split < 2; split++) {
        struct album *a = opened(entry, split ? "val" : "train");
        n += album_records(a);
        for (size_t i = 0; i < album_records(a); i++) {
            assert_true(album_read(a, i, &record, &err));
            if (record.pixels) string_append(&names, " %s", record.name);
        }
        album_close(a);
    }
    assert_int_equal(n, 2 + 9 + 2 * 2 + 30);
    assert_true(strstr(names, " q.png") && strstr(names, " p008.png"));
    assert_null(strchr(names, '/'));
    assert_int_equal(chdir("/"), 0);
    free(names);
    free(entry);
    free(one);
    setting_free(&s);
}

static void the_vocabulary_is_what_the_text_supports(void **state) {
    struct setting s = setting_make(*state, 20, 20);
    s.options.vocab = 5000;
    s.options.vocab_adapts = false;
    refused(&s, EXIT_USAGE, "tokenizer: this text does not support so large a vocabulary (got 5000, want at most ");
    s.options.vocab_adapts = true;
    char *entry = prepared(&s);
    struct album *a = opened(entry, "train");
    assert_true(album_vocab(a) > 270 && album_vocab(a) < 5000);
    album_close(a);
    struct error err;
    s.options.vocab_adapts = false; /* also of what is in the cache */
    assert_null(album_prepare(&s.options, &err));
    assert_int_equal(err.code, EXIT_USAGE);
    free(entry);
    setting_free(&s);
}

/* Each as the model sees it; of a lot of text some, from all over. */
static void a_tokenizer_is_trained_on_captions(void **state) {
    enum { LINES = 33, LINE = 1000000, MOST_BYTES = 20 << 20 };
    struct setting s = setting_make(*state, 6, 0);
    char *line = array_alloc(LINE + 1, 1), *seven;
    asked.only_asked = true;
    refused(&s, EXIT_INPUT, "nothing is trained");
    assert_true(strncmp(asked.first, "en: a ", 6) == 0 || strncmp(asked.first, "de: a ", 6) == 0);
    asked.texts = asked.bytes = 0;
    shell(s.dir, "rm *");
    for (int i = 0; i < LINES; i++) {
        memset(line, 'A' + i, LINE);
        line_add(s.dir, "texts.txt", line);
    }
    refused(&s, EXIT_INPUT, "nothing is trained");
    assert_in_range(asked.bytes, MOST_BYTES - LINE, MOST_BYTES);
    for (char *at = asked.order; at[1]; at++) assert_in_range(at[1], at[0] + 1, at[0] + 4); /* two are held out */
    seven = string_format("%s/texts.txt", s.dir);
    line[LINE / 2] = 0;
    asked.texts = asked.bytes = 0;
    file_write(seven, "", 0);
    for (int i = 0; i < LINES; i++) {
        line[0] = (char)('A' + i);
        line_add(s.dir, "texts.txt", line);
    }
    refused(&s, EXIT_INPUT, "nothing is trained");
    assert_int_equal(asked.texts, LINES - 2); /* all, where that is not too much */
    asked.only_asked = false;
    free(seven);
    free(line);
    setting_free(&s);
}

/* Plain ones, quickly made and packed. */
static void pixels_make(const char *dir, int n) {
    for (int i = 0; i < n; i++) {
        char *name = string_format("%d.png", i);
        picture_make(dir, name, 1, 1, (uint64_t)i);
        free(name);
    }
}

static void largest_forget(void) { largest = 0; }

/* So many patches that each code has four of them, and else as many as memory has room for; no more is held of all the
 * pictures when they are encoded. */
static void so_many_patches_are_learnt_from(void **state) {
    enum { LARGE = 512 };
    struct setting s = setting_make(*state, 0, 0);
    char *told;
    pixels_make(s.dir, 60);
    s.options.verbose = true;
    s.options.size = s.options.patch = LARGE;
    s.options.codes = 13;
    fault.hook = largest_forget;
    char *entry = prepared_telling(&s, &told);
    if (!strstr(told, "training a codebook of 13 codes on 52 patches\n")) fail_msg("%s", told);
    assert_true(largest <= 32 * 3 * LARGE * LARGE * sizeof(real)); /* what a codebook is asked of at a time */
    free(told);
    free(entry);
    setting_free(&s);
}

/* Each by itself is more than what is read at a time. */
static void pictures_may_be_large(void **state) {
    struct setting s = setting_make(*state, 0, 0);
    pixels_make(s.dir, 4);
    s.options.size = 2052;
    s.options.patch = 12;
    s.options.codes = 1;
    char *entry = prepared(&s);
    struct album *a = opened(entry, "train"), *b = opened(entry, "val");
    assert_int_equal(album_records(a) + album_records(b), 4);
    album_close(a);
    album_close(b);
    free(entry);
    setting_free(&s);
}

/* Plain pictures of 59 colours, more patches than are learnt from: those are from all over, or colours would be
 * missing. */
static void a_sample_is_from_all_over(void **state) {
    enum { PICTURES = 59, LARGE = 512, CELL = 64 };
    struct setting s = setting_make(*state, 0, 0);
    struct error err;
    struct picture p = {LARGE, LARGE, array_alloc(LARGE * LARGE, 3)};
    for (int i = 0; i < PICTURES; i++) {
        char *path = string_format("%s/%02d.png", s.dir, i);
        memset(p.rgb, 4 * i, LARGE * LARGE * 3);
        assert_true(picture_write(path, &p, &err));
        free(path);
    }
    s.options.patch = CELL;
    s.options.codes = PICTURES - 3; /* three are held out */
    s.options.verbose = true;
    char *told, *entry = prepared_telling(&s, &told);
    struct album *a = opened(entry, "train");
    struct album_record record;
    struct codebook c;
    if (!strstr(told, "codes on 3125 patches\n")) fail_msg("%s", told); /* 200,000 of 8 x 8 have as many numbers */
    assert_true(codebook_load(&c, entry, &err));
    assert_int_equal(album_records(a), PICTURES - 3);
    for (size_t i = 0; i < album_records(a); i++) {
        assert_true(album_read(a, i, &record, &err));
        codes_paint(p.rgb, &c, record.codes, LARGE, CELL);
        assert_memory_equal(p.rgb, record.pixels, LARGE * LARGE * 3);
    }
    codebook_free(&c);
    album_close(a);
    free(p.rgb);
    free(told);
    free(entry);
    setting_free(&s);
}

/* ---- What is refused ---- */

static void pictures_that_do_not_fit_are_refused(void **state) {
    struct setting s = setting_make(*state, 70, 0);
    shell(s.dir, "rm *+*.png captions.tsv");
    picture_make(s.dir, "p069.png", 8, 6, 5); /* the last, in the second lot that is read */
    char *says = string_format("%s/p000.png is 8 x 8, %s/p069.png 8 x 6; give --size N", s.dir, s.dir);
    refused(&s, EXIT_USAGE, says);
    free(says);
    picture_make(s.dir, "p069.png", 6, 8, 5);
    refused(&s, EXIT_USAGE, "p069.png 6 x 8; give --size N");
    picture_make(s.dir, "p069.png", SIZE, SIZE, 5);
    picture_make(s.dir, "p000.png", 8, 6, 5);
    says = string_format("%s/p000.png is 8 x 6 and not square; give --size N", s.dir);
    refused(&s, EXIT_USAGE, says);
    free(says);
    picture_make(s.dir, "p000.png", SIZE, SIZE, 5);
    static const struct {
        size_t size, patch;
        const char *says;
    } sizes[] = {
        {0, 3, "pictures of 8 x 8 cannot be cut into patches of 3 x 3; give --patch 2, or --size 6"},
        {0, 7, "give --patch 8, or --size 7"}, {0, 5, "give --patch 4, or --size 5"},
        {0, 16, "give --patch 8, or --size 16"}, {15, 4, "give --patch 3, or --size 12"},
        {7, 4, "give --patch 1, or --size 4"}, {64, 0, "--patch 0: not possible (want 1 to 16384)"},
        {64, 16385, "--patch 16385: not possible"}, {16388, 4, "got 16388 pixels a side, want at most 16384"},
        {64, 16384, "patches of 16384 x 16384; give --patch 64, or --size 16384"},
        {16384, 5, "pictures of 16384 x 16384 cannot be cut into patches of 5 x 5; give --patch 4, or --size 16380"},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        s.options.size = sizes[i].size;
        s.options.patch = sizes[i].patch;
        refused(&s, EXIT_USAGE, sizes[i].says);
    }
    s.options.size = 0;
    s.options.patch = PATCH;
    static const size_t codes[] = {0, (1 << 20) + 1, 1 << 20};
    for (size_t i = 0; i < 3; i++) {
        s.options.codes = codes[i];
        refused(&s, EXIT_USAGE, i < 2 ? "not possible (want 1 to 1048576)" : "want at least 1048576); lower --codes");
    }
    setting_free(&s);
}

static void too_many_codes_are_refused(void **state) {
    struct setting s = setting_make(*state, 21, 0);
    struct folder f = listed(&s);
    char *entry = prepared(&s);
    struct album *a = opened(entry, "train");
    const size_t patches = 4 * album_records(a); /* all of them different */
    album_close(a);
    char *says = string_format("(got %zu, want at least %zu); lower --codes", patches, patches + 1);
    char *command = string_format("rm -r %s", s.cache);
    shell(*state, command);
    s.options.codes = patches + 1;
    refused(&s, EXIT_USAGE, says);
    s.options.codes = patches;
    char *exact = prepared(&s);
    free(albums_expect(exact, &f));
    struct codebook c; /* with a code for each patch nothing is lost, and so none of them was left out */
    struct error err;
    assert_true(codebook_load(&c, exact, &err));
    a = opened(exact, "train");
    for (size_t i = 0; i < album_records(a); i++) {
        struct album_record record;
        unsigned char painted[3 * SIZE * SIZE];
        assert_true(album_read(a, i, &record, &err));
        codes_paint(painted, &c, record.codes, SIZE, PATCH);
        assert_memory_equal(painted, record.pixels, sizeof painted);
    }
    album_close(a);
    codebook_free(&c);
    folder_free(&f);
    free(exact);
    free(entry);
    free(says);
    free(command);
    setting_free(&s);
}

static void files_that_cannot_be_read_are_named(void **state) {
    struct setting s = setting_make(*state, 70, 0);
    shell(s.dir, "rm *+*.png captions.tsv");
    char *bad = string_format("%s/p066.png", s.dir), *worse = string_format("%s/p067.png", s.dir);
    file_write(bad, "no png", 6);
    file_write(worse, "neither", 7);
    refused(&s, EXIT_INPUT, bad); /* the first of them */
    line_add(s.dir, "texts.txt", "too little for so many pieces");
    line_add(s.dir, "texts.txt", "and something that is held out");
    s.options.vocab_adapts = false;
    s.options.vocab = 5000;
    refused(&s, EXIT_INPUT, bad); /* before anything that takes time */
    s.options.vocab_adapts = true;
    s.options.vocab = 300;
    s.options.size = 16;
    refused(&s, EXIT_INPUT, bad);
    char *first = string_format("%s/p000.png", s.dir);
    file_write(first, "", 0);
    refused(&s, EXIT_INPUT, first);
    s.options.size = 0;
    refused(&s, EXIT_INPUT, first);
    char *other = string_format("%s/none", (char *)*state), *was = s.dir;
    s.dir = other;
    refused(&s, EXIT_INPUT, other);
    s.dir = was;
    free(first);
    free(other);
    free(bad);
    free(worse);
    setting_free(&s);
}

/* One picture, or several of one group; one text, or the same one several times. */
static void what_cannot_be_held_out_is_refused(void **state) {
    struct setting s = setting_make(*state, 1, 0); /* of three tones */
    s.options.codes = 2;
    char *says = string_format("%s: nothing would be left to train on once pictures are held out (got 3, all of one "
                               "group); add pictures of other names", s.dir);
    refused(&s, EXIT_INPUT, says);
    free(says);
    shell(s.dir, "rm *+* && grep -v + captions.tsv >c && mv c captions.tsv && cp p000.png p000+3.png && rm p000.png "
                 "captions.tsv");
    refused(&s, EXIT_INPUT, "(got 1, all of one group)");
    shell(s.dir, "cp p000+3.png q.png && echo one text >t.txt && echo one text >>t.txt");
    refused(&s, EXIT_INPUT, "once texts are held out (got 2, all of one group); add other texts");
    shell(s.dir, "echo another >>t.txt");
    free(prepared(&s));
    setting_free(&s);
}

/* Whichever call fails that writes: its error, and nothing is left in the cache. */
static void writes_that_fail_are_told(void **state) {
    struct setting s = setting_make(*state, 12, 5);
    struct error err;
    char *entry = NULL;
    s.options.paths = &s.dir;
    for (size_t at = 1; !entry; at++) {
        fault.at = at;
        fault.seen = 0;
        err = (struct error){0, ""};
        entry = album_prepare(&s.options, &err);
        if ((fault.seen >= at) == (entry != NULL)) fail_msg("call %zu of %zu fails unheard", at, fault.seen);
        if (entry) break;
        assert_int_equal(err.code, EXIT_OUTPUT);
        assert_string_equal(err.text, "a call that writes fails");
        assert_int_equal(entries_count(s.cache), 0);
    }
    assert_int_equal(fault.seen, 1 + 1 + 2 + 12 + 2 * 3 + 5 + 2); /* tokenizer, codebook, albums, records, albums */
    fault.at = fault.seen = 0;
    free(entry);
    free(prepared(&s)); /* it is found, and nothing is written */
    assert_int_equal(fault.seen, 0);
    setting_free(&s);
}

/* Between the times when they are read. */
static char *changing;
static void picture_goes(void) { assert_int_equal(unlink(changing), 0); }
static void picture_shrinks(void) {
    char *name = strrchr(changing, '/');
    *name = 0;
    picture_make(changing, name + 1, SIZE, SIZE - 2, 7);
    *name = '/';
}

static void pictures_that_change_are_refused(void **state) {
    struct setting s = setting_make(*state, 70, 0);
    char *told[] = {string_format("%s/p069.png: ", s.dir), string_format("%s/p069.png 8 x 6; give --size N", s.dir)};
    changing = string_format("%s/p069.png", s.dir);
    fault.hook = picture_goes;
    refused(&s, EXIT_INPUT, told[0]);
    picture_make(s.dir, "p069.png", SIZE, SIZE, 7);
    fault.hook = picture_shrinks;
    refused(&s, EXIT_USAGE, told[1]);
    free(told[0]);
    free(told[1]);
    free(changing);
    setting_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(albums_hold_the_folder),
        TEST(groups_are_held_out_whole),
        TEST(what_is_held_out_is_not_learnt),
        TEST(pictures_alone_have_a_tokenizer_of_bytes),
        TEST(texts_alone_have_no_codebook),
        TEST(pictures_are_fitted),
        TEST(a_given_tokenizer_is_used),
        TEST(a_given_codebook_is_used),
        TEST(captions_are_of_the_languages_that_are_wanted),
        TEST(files_may_be_given),
        TEST(the_vocabulary_is_what_the_text_supports),
        TEST(a_tokenizer_is_trained_on_captions),
        TEST(so_many_patches_are_learnt_from),
        TEST(pictures_may_be_large),
        TEST(a_sample_is_from_all_over),
        TEST(pictures_that_do_not_fit_are_refused),
        TEST(too_many_codes_are_refused),
        TEST(files_that_cannot_be_read_are_named),
        TEST(what_cannot_be_held_out_is_refused),
        TEST(writes_that_fail_are_told),
        TEST(pictures_that_change_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
