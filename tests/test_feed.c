/* The feed (feed.h) against what it stands on: of text a mixture and its loaders, of pictures and texts a stream of
 * examples, each opened once more beside it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../data/album.h"
#include "../data/codebook.h"
#include "../data/feed.h"
#include "data_files.h"
#include "small_masked.h"

enum { RECORDS = 23, MEMORY = 1 << 20, TEXT_SEQ = 7, TEXT_VOCAB = 500 };

/* ---- Albums ---- */

/* Texts of a record, by its number; pictures are all but every fifth. */
static size_t texts_of(size_t i) { return i % 5 == 4 ? 1 : i % 4; }

/* A split of records whose captions are of the languages given, in turn; "" is none. */
static void album_write(const char *dir, const char *split, const tokenizer *t, bool pictures,
                        const char *const *languages, size_t n_languages) {
    struct error err;
    char *path = string_format("%s/%s.album", dir, split);
    const struct album_shape shape = {.vocab = LETTERS_VOCAB, .size = pictures ? SIDE : 0,
                                      .patch = pictures ? PATCH : 0, .codes = pictures ? CODES : 0,
                                      .tokenizer_hash = tokenizer_hash(t),
                                      .codebook_hash = pictures ? 1 : 0};
    struct album_writer *w = album_create(path, &shape, &err);
    size_t texts = 0;
    if (!w) fail_msg("%s", err.text);
    for (size_t i = 0; i < RECORDS; i++) {
        unsigned char pixels[SIDE * SIDE * 3];
        int32_t codes[P], *ids[4] = {0};
        struct album_text list[4];
        const bool picture = pictures && i % 5 != 4;
        const size_t n = picture ? texts_of(i) : 1;
        for (size_t k = 0; k < sizeof pixels; k++) pixels[k] = (unsigned char)(i * 37 + k * 11 + *split);
        for (size_t p = 0; p < P; p++) codes[p] = (int32_t)((i + p) % CODES);
        for (size_t k = 0; k < n; k++) {
            const char *language = languages[texts++ % n_languages];
            size_t size = 0, capacity = 0, prefix = 0;
            char *text = string_format("%s%c%.*s", *language ? " " : "", (char)('a' + i % 16), (int)(2 + k), "bcdef");
            char *named = string_format("%s:", language);
            if (*language) tokenizer_encode(t, named, strlen(named), &ids[k], &size, &capacity);
            prefix = size;
            tokenizer_encode(t, text, strlen(text), &ids[k], &size, &capacity);
            list[k] = (struct album_text){ids[k], size, prefix};
            free(text);
            free(named);
        }
        const struct album_record record = {.pixels = picture ? pixels : NULL, .codes = picture ? codes : NULL,
                                            .texts = n ? list : NULL, .n_texts = n, .group = i, .name = "a name"};
        if (!album_append(w, &record, &err)) fail_msg("%s", err.text);
        for (size_t k = 0; k < n; k++) free(ids[k]);
    }
    if (!album_finish(w, true, &err)) fail_msg("%s", err.text);
    free(path);
}

static const struct feed_options masked_options = {
    .masked = true,
    .examples = {.seq = 20, .seed = 5, .shuffle = true, .hide_patches = 0.4, .hide_text = 0.3, .hide_caption = 0.6,
                 .cache_bytes = MEMORY},
};

static struct feed *feed_at(const char *dir, const char *split, const struct feed_options *o) {
    struct error err;
    struct feed *f = feed_open(dir, split, o, &err);
    if (!f) fail_msg("%s", err.text);
    return f;
}

static struct examples *examples_at(const char *dir, const char *split, const struct feed_options *o) {
    struct error err;
    struct examples *e = examples_open(dir, split, &o->examples, &err);
    if (!e) fail_msg("%s", err.text);
    return e;
}

/* ---- Batches ---- */

static void rows_equal(const int32_t *a, const int32_t *b, size_t n) { assert_memory_equal(a, b, n * sizeof *a); }

/* Micro-batches one behind the other are the batch; each has its own offsets, and the patches of its own rows. */
static void batches_equal(const struct batch *parts, size_t batches, size_t n, const struct batch *whole, size_t Qs) {
    size_t row = 0, patch = 0;
    for (size_t i = 0; i < batches; i++) {
        const struct batch *b = &parts[i];
        const size_t rows = batch_rows(b);
        size_t longest = 0;
        assert_int_equal(b->B, n);
        assert_int_equal(b->from, 0);
        assert_int_equal(b->offsets[0], 0);
        for (size_t k = 0; k < n; k++) {
            const size_t length = (size_t)(whole->offsets[i * n + k + 1] - whole->offsets[i * n + k]);
            assert_int_equal(b->offsets[k + 1] - b->offsets[k], length);
            if (length > longest) longest = length;
        }
        assert_true(b->T >= longest && b->T <= whole->T);
        rows_equal(b->tokens, whole->tokens + row, rows);
        rows_equal(b->targets, whole->targets + row, rows);
        rows_equal(b->positions, whole->positions + row, rows);
        rows_equal(b->ends, whole->ends + row, rows);
        size_t shown = 0;
        for (size_t r = 0; r < rows; r++) shown += b->tokens[r] == TOKEN_PATCH;
        if (shown > 0) assert_memory_equal(b->patches, whole->patches + patch * Qs, shown * Qs * sizeof(real));
        row += rows;
        patch += shown;
    }
    assert_int_equal(row, batch_rows(whole));
    assert_int_equal(batches * n, whole->B);
}

static void micro_batches_check(const char *dir, bool pictures) {
    static const size_t shapes[][2] = {{1, 1}, {3, 4}, {1, 13}, {5, 1}, {2, 3}, {7, 5}};
    struct feed *f = feed_at(dir, "train", &masked_options);
    struct examples *e = examples_at(dir, "train", &masked_options);
    struct error err;
    uint64_t served = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const size_t batches = shapes[i][0], n = shapes[i][1];
        struct batch parts[7], whole;
        assert_int_equal(feed_position(f), served);
        assert_true(feed_next(f, batches, n, parts, &err));
        assert_true(examples_next(e, batches * n, &whole, NULL, &err));
        batches_equal(parts, batches, n, &whole, pictures ? Q : 0);
        served += batches * n;
    }
    assert_int_equal(feed_position(f), served);
    feed_seek(f, 4);
    examples_seek(e, 4);
    assert_int_equal(feed_position(f), 4);
    struct batch parts[2], whole;
    assert_true(feed_next(f, 2, 3, parts, &err) && examples_next(e, 6, &whole, NULL, &err));
    batches_equal(parts, 2, 3, &whole, pictures ? Q : 0);
    feed_close(f);
    examples_close(e);
}

static const char *const one_language[] = {"de"};

static void test_micro_batches_are_the_examples(void **state) {
    tokenizer *t = letters_tokenizer();
    album_write(*state, "train", t, true, one_language, 1);
    micro_batches_check(*state, true);
    album_write(*state, "train", t, false, one_language, 1);
    micro_batches_check(*state, false);
    tokenizer_free(t);
}

/* ---- What is looked at ---- */

static const char *const part_names[] = {"patches", "patches_with_text", "words", "words_with_picture"};

static void look_check(const char *dir) {
    struct feed_options o = masked_options;
    o.examples.shuffle = false;
    struct feed *f = feed_at(dir, "val", &o);
    struct examples *e = examples_at(dir, "val", &o);
    const size_t epoch = examples_epoch(e);
    size_t seen[4] = {0};
    assert_int_equal(feed_sections(f), 1);
    assert_int_equal(feed_section_epoch(f, 0), epoch);
    for (size_t k = 0; k < epoch; k++) {
        const size_t first = 13 * k % epoch, n = 1 + k % 5, count = epoch - first < n ? epoch - first : n;
        uint8_t kinds[8];
        const uint32_t *parts;
        struct batch got, want;
        struct error err;
        examples_seek(e, first);
        assert_true(examples_next(e, count, &want, kinds, &err));
        assert_true(feed_look(f, 0, first, count, &got, &parts, &err));
        batches_equal(&got, 1, count, &want, Q);
        for (size_t i = 0; i < count; i++)
            for (int32_t r = got.offsets[i]; r < got.offsets[i + 1]; r++) {
                if (got.targets[r] == TARGET_NONE) continue;
                const bool pair = kinds[i] == EXAMPLE_PAIR, patch = got.positions[r] < P;
                const uint32_t part = patch ? (pair ? 1 : 0) : pair ? 3 : 2;
                assert_int_equal(parts[r], part);
                seen[part]++;
            }
    }
    for (int p = 0; p < 4; p++) assert_true(seen[p] > 5);
    feed_close(f);
    examples_close(e);
}

/* Its facts are the album's and the examples'. */
static void test_rows_are_of_what_they_fill_in(void **state) {
    struct error err;
    tokenizer *t = letters_tokenizer();
    album_write(*state, "train", t, true, one_language, 1);
    album_write(*state, "val", t, true, one_language, 1);
    look_check(*state);
    struct feed *f = feed_at(*state, "train", &masked_options);
    struct album *a = album_open(*state, "train", MEMORY, &err);
    assert_non_null(a);
    assert_int_equal(feed_parts(f), 4);
    for (size_t p = 0; p < 4; p++) {
        assert_string_equal(feed_part_name(f, p), part_names[p]);
        assert_true(feed_part_share(f, p) == 1);
        assert_int_equal(feed_part_served(f, p), 0);
        assert_int_equal(feed_part_tokens(f, p), 0);
        assert_int_equal(feed_part_epoch(f, p), RECORDS);
    }
    assert_int_equal(feed_epoch(f), RECORDS);
    assert_int_equal(feed_tokens(f), 0);
    assert_true(feed_tokenizer_hash(f) == tokenizer_hash(t));
    assert_true(feed_data_hash(f) == album_data_hash(a));
    assert_int_equal(feed_bytes(f), album_bytes(a));
    assert_int_equal(album_records(feed_album(f)), RECORDS);
    album_close(a);
    feed_close(f);
    tokenizer_free(t);
}

/* ---- Languages ---- */

static void language_expect(const char *dir, const tokenizer *t, bool pictures, const char *const *languages, size_t n,
                            const char *want) {
    struct error err;
    album_write(dir, "train", t, pictures, languages, n);
    struct feed *f = feed_at(dir, "train", &masked_options);
    char *got = feed_language(f, t, &err);
    if (!got) fail_msg("%s", err.text);
    assert_string_equal(got, want);
    free(got);
    feed_close(f);
}

/* Texts are not as many as records: all of a picture's are counted. Without pictures there is one a record. */
static void test_languages_are_those_of_most_texts(void **state) {
    tokenizer *t = letters_tokenizer();
    static const char *const mostly[] = {"fr", "de", "de", "en"}, *const rarely[] = {"", "", "de"};
    static const char *const none[] = {""};
    static const char *const two[] = {"nl", "de"}, *const last[] = {"de", "fr", "fr", "fr"};
    static const char *const behind[] = {"en", "de", "de", "en"}; /* 16 of 31 in "de"; 8 of 18 that come first */
    language_expect(*state, t, true, mostly, 4, "de");
    language_expect(*state, t, false, mostly, 4, "de");
    language_expect(*state, t, true, last, 4, "fr");
    language_expect(*state, t, true, behind, 4, "de");
    language_expect(*state, t, true, none, 1, "");
    language_expect(*state, t, true, rarely, 3, "");
    language_expect(*state, t, false, two, 2, "nl"); /* 12 of 23 */
    /* 6 of each three and 5 of "po": the first of the three by name, which is neither first nor last of the list */
    static const char *const tie[] = {"nl", "de", "en", "po"};
    language_expect(*state, t, false, tie, 4, "de");
    static const char *const long_name[] = {"a language of many words"};
    language_expect(*state, t, false, long_name, 1, "a language of many words");
    tokenizer_free(t);
}

/* Six texts, each a block of its own. */
static void long_texts_write(const char *path, const tokenizer *t) {
    enum { TEXTS = 6, TOKENS = 40000 };
    struct error err;
    const struct album_shape shape = {.vocab = LETTERS_VOCAB, .tokenizer_hash = tokenizer_hash(t)};
    struct album_writer *w = album_create(path, &shape, &err);
    int32_t *tokens = array_alloc(TOKENS, sizeof *tokens);
    struct rng rng;
    rng_seed(&rng, 1, 2);
    if (!w) fail_msg("%s", err.text);
    for (uint64_t i = 0; i < TEXTS; i++) {
        for (size_t k = 0; k < TOKENS; k++) tokens[k] = (int32_t)rng_below(&rng, LETTERS_VOCAB);
        const struct album_text text = {.tokens = tokens, .n = TOKENS};
        const struct album_record record = {.texts = &text, .n_texts = 1, .group = i, .name = ""};
        if (!album_append(w, &record, &err)) fail_msg("%s", err.text);
    }
    if (!album_finish(w, true, &err)) fail_msg("%s", err.text);
    free(tokens);
}

/* A record that cannot be read, while the feed is open: nothing is guessed, nothing is served. */
static void test_albums_that_break_are_told(void **state) {
    struct error err;
    tokenizer *t = letters_tokenizer();
    char *path = string_format("%s/train.album", (char *)*state);
    long_texts_write(path, t);
    struct feed_options o = masked_options;
    o.examples.cache_bytes = 0;
    struct feed *f = feed_at(*state, "train", &o);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    assert_int_equal(fseek(file, ftell(file) / 2, SEEK_SET), 0);
    for (int i = 0; i < 40; i++) fputc(0x55, file);
    fclose(file);
    struct batch b;
    const uint32_t *parts;
    assert_null(feed_language(f, t, &err));
    assert_int_equal(err.code, EXIT_INPUT);
    assert_false(feed_next(f, 2, 3, &b, &err)); /* of all six */
    assert_int_equal(err.code, EXIT_INPUT);
    assert_int_equal(feed_position(f), 0);
    assert_false(feed_look(f, 0, 0, 6, &b, &parts, &err));
    assert_int_equal(err.code, EXIT_INPUT);
    free(path);
    feed_close(f);
    tokenizer_free(t);
}

/* ---- Text ---- */

static void shards_write(const char *dir, const char *part, size_t n, int salt) {
    struct error err;
    char *folder = string_format("%s/%s", dir, part);
    int32_t *tokens = array_alloc(n, sizeof *tokens);
    assert_true(directory_make(folder, &err));
    for (int val = 0; val < 2; val++) {
        char *path = string_format("%s/%s-00000.shard", folder, val ? "val" : "train");
        for (size_t i = 0; i < n; i++) tokens[i] = (int32_t)((i * 7 + (size_t)(salt * 31 + val * 5)) % TEXT_VOCAB);
        shard_make(path, TEXT_VOCAB, tokens, val ? n / 2 : n, HASH);
        free(path);
    }
    free(tokens);
    free(folder);
}

static const struct feed_options text_options = {
    .text = {.seq = TEXT_SEQ, .shuffle = true, .seed = 9, .cache_bytes = MEMORY, .alpha = 0.5},
};

static struct mixture *mixture_at(const char *dir, const char *split) {
    struct error err;
    struct mixture *m = mixture_open(dir, split, &text_options.text, &err);
    if (!m) fail_msg("%s", err.text);
    return m;
}

static void test_text_is_the_mixtures(void **state) {
    struct error err;
    shards_write(*state, "de", 400, 1);
    shards_write(*state, "en", 900, 2);
    shards_write(*state, "fr", 300, 3);
    struct feed *f = feed_at(*state, "train", &text_options);
    struct mixture *m = mixture_at(*state, "train");
    struct batch parts[4];
    for (size_t batches = 1, n = 3; batches <= 4; batches++, n = n * 2 % 7) {
        int32_t inputs[28 * TEXT_SEQ], targets[28 * TEXT_SEQ];
        assert_true(feed_next(f, batches, n, parts, &err));
        assert_true(mixture_next(m, (int)(batches * n), inputs, targets, &err));
        for (size_t i = 0; i < batches; i++) {
            assert_int_equal(parts[i].B, n);
            assert_int_equal(parts[i].T, TEXT_SEQ);
            assert_null(parts[i].offsets);
            assert_null(parts[i].patches);
            assert_null(parts[i].ends);
            assert_null(parts[i].positions);
            assert_int_equal(parts[i].from, 0);
            rows_equal(parts[i].tokens, inputs + i * n * TEXT_SEQ, n * TEXT_SEQ);
            rows_equal(parts[i].targets, targets + i * n * TEXT_SEQ, n * TEXT_SEQ);
        }
        assert_int_equal(feed_position(f), mixture_position(m));
    }
    feed_seek(f, 6);
    mixture_seek(m, 6);
    assert_int_equal(feed_position(f), 6);
    int32_t inputs[2 * TEXT_SEQ], targets[2 * TEXT_SEQ];
    assert_true(feed_next(f, 1, 2, parts, &err) && mixture_next(m, 2, inputs, targets, &err));
    rows_equal(parts[0].tokens, inputs, 2 * TEXT_SEQ);
    feed_close(f);
    mixture_close(m);
}

static void test_text_is_looked_at_part_by_part(void **state) {
    struct error err;
    shards_write(*state, "de", 400, 1);
    shards_write(*state, "en", 900, 2);
    struct feed *f = feed_at(*state, "val", &text_options);
    struct mixture *m = mixture_at(*state, "val");
    assert_null(feed_album(f));
    assert_int_equal(feed_sections(f), 2);
    assert_int_equal(feed_parts(f), 2);
    for (size_t p = 0; p < 2; p++) {
        struct loader *l = mixture_loader(m, p);
        struct batch b;
        const uint32_t *parts;
        int32_t inputs[3 * TEXT_SEQ], targets[3 * TEXT_SEQ];
        assert_int_equal(feed_section_epoch(f, p), loader_windows(l));
        assert_int_equal(feed_part_epoch(f, p), loader_windows(l));
        assert_int_equal(feed_part_tokens(f, p), loader_tokens(l));
        assert_string_equal(feed_part_name(f, p), mixture_name(m, p));
        assert_true(feed_part_share(f, p) == mixture_share(m, p));
        for (size_t first = 0; first < 9; first += 4) {
            loader_seek(l, first);
            assert_true(loader_next(l, 3, inputs, targets, &err));
            assert_true(feed_look(f, p, first, 3, &b, &parts, &err));
            assert_int_equal(b.B, 3);
            assert_int_equal(batch_rows(&b), 3 * TEXT_SEQ);
            rows_equal(b.tokens, inputs, 3 * TEXT_SEQ);
            rows_equal(b.targets, targets, 3 * TEXT_SEQ);
            for (size_t r = 0; r < 3 * TEXT_SEQ; r++) assert_int_equal(parts[r], p);
        }
    }
    assert_int_equal(feed_tokens(f), mixture_tokens(m));
    assert_int_equal(feed_epoch(f), mixture_windows(m));
    assert_int_equal(feed_bytes(f), mixture_bytes(m));
    assert_true(feed_data_hash(f) == mixture_data_hash(m));
    assert_true(feed_tokenizer_hash(f) == HASH);
    mixture_close(m);
    feed_close(f);
    f = feed_at(*state, "train", &text_options);
    m = mixture_at(*state, "train");
    struct batch b;
    int32_t inputs[11 * TEXT_SEQ], targets[11 * TEXT_SEQ];
    assert_true(feed_next(f, 1, 11, &b, &err) && mixture_next(m, 11, inputs, targets, &err));
    for (size_t p = 0; p < 2; p++) assert_int_equal(feed_part_served(f, p), mixture_served(m, p));
    assert_true(feed_part_served(f, 0) > 0);
    mixture_close(m);
    feed_close(f);
}

/* ---- Refusals ---- */

static void open_refused(const char *dir, const struct feed_options *o, int code, const char *says) {
    struct error err;
    assert_null(feed_open(dir, "train", o, &err));
    assert_int_equal(err.code, code);
    if (!strstr(err.text, says)) fail_msg("'%s' is missing: %s", says, err.text);
}

static void test_data_of_the_other_task_are_refused(void **state) {
    tokenizer *t = letters_tokenizer();
    char *text = string_format("%s/text", (char *)*state);
    shards_write(*state, "text", 400, 1);
    album_write(*state, "train", t, true, one_language, 1);
    open_refused(text, &masked_options, EXIT_MISMATCH, "text: prepared for a model of text; name a corpus for --task "
                 "masked");
    open_refused(*state, &text_options, EXIT_MISMATCH, "prepared for a masked model; name a corpus for --task text");
    struct feed_options o = masked_options;
    o.examples.seq = P + 1;
    open_refused(*state, &o, EXIT_USAGE, "--seq");
    o = text_options;
    o.text.weights = "de=1";
    open_refused(text, &o, EXIT_USAGE, "part");
    free(text);
    tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_micro_batches_are_the_examples),  TEST(test_rows_are_of_what_they_fill_in),
        TEST(test_languages_are_those_of_most_texts), TEST(test_albums_that_break_are_told),
        TEST(test_text_is_the_mixtures),            TEST(test_text_is_looked_at_part_by_part),
        TEST(test_data_of_the_other_task_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
