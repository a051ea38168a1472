/* From folders to albums: what is in which album, what is held out and not learnt from, what is refused and how. How
 * entries are found again, and what is told: test_album_entries.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../data/sheet.h"
#include "album_folders.h"

/* More pictures than are read at a time, several captions each or none, texts beside them. */
static void albums_hold_the_folder(void **state) {
    struct setting s = setting_make(*state, 90, 50);
    struct folder f = listed(&s);
    assert_int_equal(f.n, 90 + 2 * 18 + 50);
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
    free(albums_expect(entry, &f));
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
    char *entry = prepared(&s);
    struct album *a = opened(entry, "train");
    struct album_record record;
    struct codebook c;
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
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        s.options.size = sizes[i].size;
        s.options.patch = sizes[i].patch;
        refused(&s, EXIT_USAGE, sizes[i].says);
    }
    s.options.size = 0;
    s.options.patch = PATCH;
    static const size_t codes[] = {0, (1 << 20) + 1};
    for (size_t i = 0; i < 2; i++) {
        s.options.codes = codes[i];
        refused(&s, EXIT_USAGE, "not possible (want 1 to 1048576)");
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
    refused(&s, EXIT_INPUT, "once pictures are held out (got 3, all of one group); add pictures of other names");
    shell(s.dir, "rm *+* && grep -v + captions.tsv >c && mv c captions.tsv && cp p000.png p000+3.png && rm p000.png "
                 "captions.tsv");
    refused(&s, EXIT_INPUT, "(got 1, all of one group)");
    shell(s.dir, "cp p000+3.png q.png && echo one text >t.txt && echo one text >>t.txt");
    refused(&s, EXIT_INPUT, "once texts are held out (got 2, all of one group); add other texts");
    shell(s.dir, "echo another >>t.txt");
    free(prepared(&s));
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
        TEST(the_vocabulary_is_what_the_text_supports),
        TEST(a_sample_is_from_all_over),
        TEST(pictures_that_do_not_fit_are_refused),
        TEST(too_many_codes_are_refused),
        TEST(files_that_cannot_be_read_are_named),
        TEST(what_cannot_be_held_out_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
