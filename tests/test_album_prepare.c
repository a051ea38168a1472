/* From folders to albums: what is in which album, what is held out and not learnt from, how entries are found again,
 * what is refused and how. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <math.h>
#include <omp.h>
#include "../data/album.h"
#include "../data/album_prepare.h"
#include "../data/cache.h"
#include "../data/codebook.h"
#include "../data/folder.h"
#include "../data/pictures.h"
#include "../data/sheet.h"
#include "../src/base/rng.h"
#include "data_files.h"

enum { SIZE = 8, PATCH = 4, CODES = 20, MOST = 400 };

/* ---- Folders ---- */

static void shell(const char *dir, const char *what) {
    char *command = string_format("cd %s && %s", dir, what);
    assert_int_equal(system(command), 0);
    free(command);
}

/* A picture of noise over a colour: no two patches are the same. */
static void picture_make(const char *dir, const char *name, size_t width, size_t height, uint64_t salt) {
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

static void line_add(const char *dir, const char *name, const char *line) {
    char *path = string_format("%s/%s", dir, name);
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    fprintf(file, "%s\n", line);
    assert_int_equal(fclose(file), 0);
    free(path);
}

static void caption_write(const char *dir, const char *name, const char *words, const char *language) {
    char *line = string_format("%s\t%s%s%s", name, words, *language ? "\t" : "", language);
    line_add(dir, "captions.tsv", line);
    free(line);
}

/* n pictures: every fifth has two more of its group; captions in two languages, some without one, some pictures without
 * captions. And `texts` texts. */
static char *folder_make(const char *root, const char *name, size_t n, size_t texts) {
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

static struct setting setting_make(const char *root, size_t pictures, size_t texts) {
    struct setting s = {folder_make(root, "pics", pictures, texts), string_format("%s/cache", root), {0}};
    s.options = (struct album_options){.n_paths = 1, .vocab = 300, .vocab_adapts = true, .patch = PATCH, .codes = CODES,
                                       .cache = s.cache};
    return s;
}

static void setting_free(struct setting *s) {
    free(s->dir);
    free(s->cache);
}

static char *prepared(struct setting *s) {
    struct error err;
    s->options.paths = &s->dir;
    char *entry = album_prepare(&s->options, &err);
    if (!entry) fail_msg("%s", err.text);
    if (!cache_check(entry, &err)) fail_msg("%s", err.text);
    return entry;
}

static void refused(struct setting *s, int code, const char *says) {
    struct error err = {0, ""};
    s->options.paths = &s->dir;
    assert_null(album_prepare(&s->options, &err));
    if (err.code != code || !strstr(err.text, says)) fail_msg("%d: '%s' does not say '%s'", err.code, err.text, says);
    assert_null(strchr(err.text, '\n'));
    assert_int_equal(entries_count(s->cache), 0); /* nothing stays behind */
}

static struct album *opened(const char *entry, const char *split) {
    struct error err;
    struct album *a = album_open(entry, split, 1 << 20, &err);
    if (!a) fail_msg("%s", err.text);
    return a;
}

static tokenizer *tokenizer_in(const char *entry) {
    struct error err;
    char *path = string_format("%s/tokenizer.model", entry);
    tokenizer *t = tokenizer_load(path, &err);
    if (!t) fail_msg("%s", err.text);
    free(path);
    return t;
}

/* ---- What is in an album ---- */

static char *decoded(const tokenizer *t, const int32_t *tokens, size_t n) {
    char *text = string_format("%s", "");
    for (size_t i = 0; i < n; i++) {
        size_t size;
        const char *piece = tokenizer_piece(t, tokens[i], &size);
        string_append(&text, "%.*s", (int)size, piece);
    }
    return text;
}

static void texts_expect(const tokenizer *t, const struct album_record *record, const struct folder_item *item) {
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

static void picture_expect(const struct album *a, const struct codebook *c, const struct album_record *record,
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

static bool record_is(const tokenizer *t, const struct album_record *record, const struct folder_item *item) {
    if (item->path) return record->pixels && strcmp(record->name, strrchr(item->path, '/') + 1) == 0;
    if (record->pixels || record->n_texts != 1) return false;
    char *text = decoded(t, record->texts->tokens, record->texts->n - 1);
    const bool is = strcmp(text, item->captions->text) == 0;
    free(text);
    return is;
}

/* Each item of the folder is a record of one of the two albums, in the folder's order, and there are no others. Says
 * which are held out (f->n, to be freed). */
static bool *albums_expect(const char *entry, const struct folder *f) {
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

static struct folder listed(const struct setting *s) {
    struct folder f;
    struct error err;
    if (!folder_list(&f, (char **)&s->dir, 1, false, &err)) fail_msg("%s", err.text);
    return f;
}

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

static void files_equal(const char *a, const char *b, const char *name, bool equal) {
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

/* ---- Entries ---- */

/* Two threads more, and another order of work: the same bytes, more pictures than are read at a time. */
static void threads_change_nothing(void **state) {
    struct setting s = setting_make(*state, 100, 30);
    static const char *const files[] = {"tokenizer.model", "codebook", "train.album", "val.album"};
    const int threads = omp_get_max_threads();
    char *caches[2], *entries[2];
    for (int i = 0; i < 2; i++) {
        s.options.cache = caches[i] = string_format("%s/cache%d", (char *)*state, i);
        omp_set_num_threads(1 + 2 * i);
        entries[i] = prepared(&s);
    }
    omp_set_num_threads(threads);
    for (int i = 0; i < 4; i++) files_equal(entries[0], entries[1], files[i], true);
    for (int i = 0; i < 2; i++) {
        free(caches[i]);
        free(entries[i]);
    }
    setting_free(&s);
}

static ino_t inode_of(const char *path) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_ino;
}

/* Each change of an input or option is another entry, and nothing else is; what is there is found, not made. */
static void every_input_is_in_the_name(void **state) {
    enum { CASES = 11 };
    struct setting s = setting_make(*state, 30, 30);
    char *names[CASES];
    const struct album_options plain = s.options;
    for (int i = 0; i < CASES; i++) {
        s.options = plain;
        if (i == 1) s.options.vocab++;
        if (i == 2) s.options.size = SIZE; /* the same pictures, by another way */
        if (i == 3) s.options.size = 2 * SIZE;
        if (i == 4) s.options.patch = 2;
        if (i == 5) s.options.codes++;
        if (i == 6) s.options.tokenizer = tokenizer_in(names[0]);
        if (i == 7) s.options.tokenizer = tokenizer_in(names[1]);
        if (i == 8) caption_write(s.dir, "p001.png", "one more", "en");
        if (i == 9) picture_make(s.dir, "p001.png", SIZE, SIZE, 4444);
        if (i == 10) line_add(s.dir, "texts.txt", "one more text");
        names[i] = prepared(&s);
        const ino_t made = inode_of(names[i]);
        s.options.verbose = i == 0; /* and this changes nothing */
        s.options.vocab_adapts = i > 0;
        char *again = prepared(&s);
        assert_string_equal(again, names[i]);
        assert_true(inode_of(again) == made);
        for (int j = 0; j < i; j++) assert_string_not_equal(names[j], names[i]);
        if (s.options.tokenizer) tokenizer_free(s.options.tokenizer);
        free(again);
    }
    assert_int_equal(entries_count(s.cache), CASES);
    for (int i = 0; i < CASES; i++) free(names[i]);
    setting_free(&s);
}

/* Each file missing, cut, changed or longer: made again, the same; but not where somebody else's file would go, too. */
static void damaged_entries_are_made_again(void **state) {
    static const char *const files[] = {"tokenizer.model", "codebook", "train.album", "val.album"};
    struct setting s = setting_make(*state, 30, 30);
    struct error err;
    char *entry = prepared(&s), *copy = string_format("cp -r %s %s/copy", entry, (char *)*state);
    char *kept = string_format("%s/copy", (char *)*state), *foreign[] = {"notes", "codebook.txt", "train.album.bak"};
    assert_int_equal(system(copy), 0);
    for (int file = 0; file < 4; file++)
        for (int how = 0; how < 5; how++) {
            char *path = string_format("%s/%s", entry, files[file]);
            size_t size;
            char *data = file_read(path, &size);
            unlink(path);
            data[size / 2] ^= 4;
            if (how > 0) file_write(path, data, how == 1 ? 0 : how == 2 ? size - 1 : size);
            if (how == 4) { /* nobody's but ours */
                char *more = string_format("%s.tmp", path);
                file_write(more, data, size);
                free(more);
            }
            assert_false(cache_check(entry, &err));
            assert_int_equal(err.code, EXIT_INPUT);
            if (!strstr(err.text, entry)) fail_msg("%s", err.text);
            for (int i = 0; i < 3 && how == 0; i++) {
                char *mine = string_format("%s/%s", entry, foreign[i]);
                file_write(mine, "mine", 4);
                s.options.paths = &s.dir;
                assert_null(album_prepare(&s.options, &err));
                assert_int_equal(err.code, EXIT_INPUT);
                if (!strstr(err.text, "is not of its making")) fail_msg("%s", err.text);
                assert_int_equal(unlink(mine), 0);
                free(mine);
            }
            free(prepared(&s));
            for (int i = 0; i < 4; i++) files_equal(entry, kept, files[i], true);
            assert_int_equal(entries_count(entry), 4);
            free(data);
            free(path);
        }
    assert_int_equal(entries_count(s.cache), 1);
    free(kept);
    free(copy);
    free(entry);
    setting_free(&s);
}

/* Whole, but of another entry: no damage to be mended, and the message says what to delete. */
static void exchanged_files_are_refused(void **state) {
    static const char *const files[] = {"tokenizer.model", "codebook", "train.album", "val.album"};
    struct setting s = setting_make(*state, 30, 30);
    struct error err;
    char *entry = prepared(&s), *others[4];
    for (int i = 0; i < 4; i++) { /* other pieces, patches, sizes, as many other codes */
        s.options = (struct album_options){.n_paths = 1, .vocab = i == 0 ? 301 : 300, .patch = i == 1 ? 2 : PATCH,
                                           .codes = CODES, .size = i == 2 ? 12 : SIZE, .cache = s.cache};
        if (i == 3) picture_make(s.dir, "more.png", SIZE, SIZE, 77);
        others[i] = prepared(&s);
    }
    for (int i = 0; i < 4; i++)
        for (int file = 0; file < 4; file++) {
            char *path = string_format("%s/%s", entry, files[file]);
            char *theirs = string_format("%s/%s", others[i], files[file]);
            size_t size, their_size;
            char *data = file_read(path, &size), *their_data = file_read(theirs, &their_size);
            file_write(path, their_data, their_size);
            const bool same = size == their_size && memcmp(data, their_data, size) == 0;
            const bool whole = cache_check(entry, &err);
            if (whole != same) fail_msg("%s for %s: %d", theirs, path, whole);
            if (!whole) assert_int_equal(err.code, EXIT_MISMATCH);
            if (!whole && (!strstr(err.text, entry) || !strstr(err.text, "; delete "))) fail_msg("%s", err.text);
            file_write(path, data, size);
            free(data);
            free(their_data);
            free(path);
            free(theirs);
        }
    if (!cache_check(entry, &err)) fail_msg("%s", err.text);
    for (int i = 0; i < 4; i++) free(others[i]);
    free(entry);
    setting_free(&s);
}

/* What a process that is gone left goes with the next preparation. */
static void what_is_left_behind_is_removed(void **state) {
    struct setting s = setting_make(*state, 12, 0);
    char *left = string_format("%s/pics-0123456789abcdef.abcdef", s.cache);
    char *file = string_format("%s/train.album.tmp", left);
    struct error err;
    assert_true(directory_make(left, &err));
    file_write(file, "half", 4);
    free(prepared(&s));
    assert_int_equal(entries_count(s.cache), 1);
    free(file);
    free(left);
    setting_free(&s);
}

/* ---- What is told ---- */

static void counts_are_told(void **state) {
    struct setting s = setting_make(*state, 40, 21);
    char *path = string_format("%s/stderr", (char *)*state);
    const int kept = dup(STDERR_FILENO), file = open(path, O_CREAT | O_RDWR | O_TRUNC, 0666);
    s.options.verbose = true;
    fflush(stderr);
    assert_true(dup2(file, STDERR_FILENO) >= 0);
    char *entry = prepared(&s);
    fflush(stderr);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    struct folder f = listed(&s);
    bool *held_out = albums_expect(entry, &f);
    size_t pictures[2] = {0}, captions[2] = {0}, texts[2] = {0}, size;
    for (size_t i = 0; i < f.n; i++) {
        pictures[held_out[i]] += f.items[i].path != NULL;
        texts[held_out[i]] += f.items[i].path == NULL;
        captions[held_out[i]] += f.items[i].path ? f.items[i].n_captions : 0;
    }
    struct codebook_quality q = {.uses = array_alloc(CODES, sizeof *q.uses)};
    struct codebook c;
    struct error err;
    struct album *a = opened(entry, "val");
    assert_true(codebook_load(&c, entry, &err));
    for (size_t i = 0; i < album_records(a); i++) {
        struct album_record record;
        real patches[SIZE * SIZE * 3];
        assert_true(album_read(a, i, &record, &err));
        if (!record.pixels) continue;
        patches_of(patches, record.pixels, SIZE, PATCH);
        codebook_measure(&c, patches, record.codes, 4, &q);
    }
    size_t used = 0;
    for (size_t k = 0; k < CODES; k++) used += q.uses[k] > 0;
    assert_true(used > 1 && used < CODES);
    char *want = string_format("pictures: %zu to train on, %zu held out\ncaptions: %zu to train on, %zu held out\n"
                               "texts alone: %zu to train on, %zu held out\nlanguages: 2: de en\n", pictures[0],
                               pictures[1], captions[0], captions[1], texts[0], texts[1]);
    char *quality = string_format("codebook: held-out pictures are painted with a PSNR of %.2f dB, %zu of %d codes in "
                                  "use\n", quality_psnr(&q), used, CODES);
    char *told = file_read(path, &size);
    if (!memmem(told, size, want, strlen(want))) fail_msg("%.*s does not tell %s", (int)size, told, want);
    if (!memmem(told, size, quality, strlen(quality))) fail_msg("%.*s does not tell %s", (int)size, told, quality);
    codebook_free(&c);
    album_close(a);
    folder_free(&f);
    close(kept);
    close(file);
    free(q.uses);
    free(held_out);
    free(told);
    free(want);
    free(quality);
    free(path);
    free(entry);
    setting_free(&s);
}

/* ---- The sheet ---- */

enum { GAP = 6, NARROW_GAP = 2 };

static void pixels_expect(const struct picture *sheet, size_t x, size_t y, const unsigned char *rgb) {
    for (size_t row = 0; row < SIZE; row++)
        assert_memory_equal(sheet->rgb + 3 * ((y + row) * sheet->width + x), rgb + 3 * row * SIZE, 3 * SIZE);
}

/* Held-out pictures, each over the one that its codes paint, eight in a row; all there are, or some. */
static void a_sheet_shows_originals_over_paintings(void **state) {
    struct setting s = setting_make(*state, 200, 40);
    struct error err;
    char *entry = prepared(&s), *path = string_format("%s/codes.png", (char *)*state);
    struct album *a = opened(entry, "val");
    struct codebook c;
    struct album_record record;
    size_t pictures[MOST], n = 0;
    assert_true(codebook_load(&c, entry, &err));
    for (size_t i = 0; i < album_records(a); i++) {
        assert_true(album_read(a, i, &record, &err));
        if (record.pixels) pictures[n++] = i;
    }
    assert_true(n > 10);
    const size_t most[] = {1, 3, 8, 9, n - 1, n, MOST};
    for (size_t m = 0; m < sizeof most / sizeof *most; m++) {
        struct picture sheet;
        const size_t shown = most[m] < n ? most[m] : n, across = shown < 8 ? shown : 8;
        if (!sheet_write(path, entry, &c, most[m], &err)) fail_msg("%s", err.text);
        assert_true(picture_read(&sheet, path, &err));
        assert_int_equal(sheet.width, GAP + across * (SIZE + GAP));
        assert_int_equal(sheet.height, GAP + (shown + 7) / 8 * (2 * SIZE + NARROW_GAP + GAP));
        for (size_t i = 0; i < shown; i++) {
            unsigned char painted[3 * SIZE * SIZE];
            const size_t x = GAP + i % 8 * (SIZE + GAP), y = GAP + i / 8 * (2 * SIZE + NARROW_GAP + GAP);
            assert_true(album_read(a, pictures[i * n / shown], &record, &err));
            codes_paint(painted, &c, record.codes, SIZE, PATCH);
            pixels_expect(&sheet, x, y, record.pixels);
            pixels_expect(&sheet, x, y + SIZE + NARROW_GAP, painted);
        }
        free(sheet.rgb);
    }
    char *nowhere = string_format("%s/no/codes.png", (char *)*state);
    assert_false(sheet_write(nowhere, entry, &c, 8, &err));
    assert_int_equal(err.code, EXIT_OUTPUT);
    c.entries[5] += 1;
    assert_false(sheet_write(path, entry, &c, 8, &err));
    assert_int_equal(err.code, EXIT_MISMATCH);
    free(nowhere);
    codebook_free(&c);
    album_close(a);
    free(path);
    free(entry);
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
        TEST(threads_change_nothing),
        TEST(every_input_is_in_the_name),
        TEST(damaged_entries_are_made_again),
        TEST(exchanged_files_are_refused),
        TEST(what_is_left_behind_is_removed),
        TEST(counts_are_told),
        TEST(a_sheet_shows_originals_over_paintings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
