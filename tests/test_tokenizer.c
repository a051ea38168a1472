/* The tokenizer: decode(encode(s)) == s for every byte string, and what it refuses. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../src/base/rng.h"
#include "../tokenizer/tokenizer.h"

enum { VOCAB = 700, TRAINING_BYTES = 150001, VARIED_BYTES = 4 << 20, TEXT_BYTES = 400000 };

static const char *const TRAPS[] = {
    "</s>", "<unk>", "<s>", "<0x41>", "<0x0A>", "\xe2\x96\x81", "\xe2\x96\x81the", "\xe2\x96\x85",
    "\xe2\x81\x87", "\xef\xbf\xbd", "\xef\xbb\xbf", "\t\t", "\r\n", "\n\n\n", "   ", " \n ", "\xff\xfe",
    "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x96", "\xf0\x9f\x98\x80", "\xef\xac\x81",
    "\xef\xbc\xa1", "e\xcc\x81", "\xc2\xa0", "\xe3\x80\x80", "\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d",
    "\xe6\xbc\xa2\xe5\xad\x97", "\x1b[0m", "\x7f", "1234567890",
};
enum { N_TRAPS = sizeof TRAPS / sizeof *TRAPS };

/* Words of a few syllables, frequent ones first, in lines and paragraphs. */
static size_t prose_write(struct rng *rng, char *text, size_t size) {
    static const char *const syllables[] = {"ta",       "ri",  "no", "sel", "um",
                                            "\xc3\xa9", "kor", "ba", "the", "ing"};
    size_t n = 0;
    while (n < size) {
        uint64_t word = (uint64_t)(2000 * rng_uniform(rng) * rng_uniform(rng));
        for (; word && n < size; word /= 10)
            for (const char *c = syllables[word % 10]; *c && n < size; c++) text[n++] = *c;
        const char *end = rng_uniform(rng) < 0.1 ? ".\n\n\"" : rng_uniform(rng) < 0.1 ? ",\n" : " ";
        for (; *end && n < size; end++) text[n++] = *end;
    }
    return n;
}

/* Prose, random bytes and traps, mixed. */
static char *varied_text(size_t size) {
    struct rng rng;
    rng_seed(&rng, 7, 0);
    char *text = array_alloc(size, 1);
    for (size_t n = 0; n < size;) {
        double kind = rng_uniform(&rng);
        size_t left = size - n, part = (size_t)(200 * rng_uniform(&rng)) % left + 1;
        const char *trap = TRAPS[rng_next(&rng) % N_TRAPS];
        if (kind < 0.4) n += prose_write(&rng, text + n, part);
        else if (kind < 0.7) {
            for (size_t i = 0; i < part; i++) text[n++] = (char)rng_next(&rng);
        } else if (strlen(trap) <= left) {
            memcpy(text + n, trap, strlen(trap));
            n += strlen(trap);
        }
    }
    return text;
}

struct source {
    char *text;
    size_t size;
};

static const char *source_next(void *context, size_t *size) {
    struct source *source = context;
    *size = source->size;
    source->size = 0;
    return *size ? source->text : NULL;
}

static tokenizer *prose_train(int vocab, struct error *err) {
    struct rng rng;
    rng_seed(&rng, 3, 0);
    struct source source = {array_alloc(TRAINING_BYTES, 1), TRAINING_BYTES};
    prose_write(&rng, source.text, source.size);
    tokenizer *t = tokenizer_train(source_next, &source, vocab, false, NULL, err);
    free(source.text);
    return t;
}

static int group_setup(void **state) {
    struct error err;
    *state = prose_train(VOCAB, &err);
    return *state ? 0 : -1;
}

static int group_teardown(void **state) {
    tokenizer_free(*state);
    return 0;
}

/* Number of ids; fails unless they decode to the text and hold no control piece. */
static size_t round_trip(const tokenizer *t, const char *text, size_t size) {
    int32_t *ids = NULL;
    size_t count = 0, capacity = 0, at = 0;
    tokenizer_encode(t, text, size, &ids, &count, &capacity);
    for (size_t i = 0; i < count; i++) {
        size_t n;
        const char *piece = tokenizer_piece(t, ids[i], &n);
        assert_true(n > 0 && at + n <= size);
        assert_memory_equal(piece, text + at, n);
        at += n;
    }
    assert_int_equal(at, size);
    free(ids);
    return count;
}

static void varied_text_round_trips(void **state) {
    char *text = varied_text(VARIED_BYTES);
    round_trip(*state, text, VARIED_BYTES);
    free(text);
}

/* What is learnt from random bytes and traps carries them as well. */
static void any_bytes_can_be_trained_on(void **state) {
    (void)state;
    struct error err;
    struct source source = {varied_text(TRAINING_BYTES), TRAINING_BYTES};
    tokenizer *t = tokenizer_train(source_next, &source, 3 * VOCAB, false, NULL, &err);
    if (!t) fail_msg("%s", err.text);
    round_trip(t, source.text, TRAINING_BYTES);
    tokenizer_free(t);
    free(source.text);
}

static void each_trap_round_trips(void **state) {
    round_trip(*state, "", 0);
    for (int i = 0; i < N_TRAPS; i++) {
        for (int j = 0; j < N_TRAPS; j++) {
            char *text = string_format("%s%s", TRAPS[i], TRAPS[j]);
            round_trip(*state, text, strlen(text));
            free(text);
        }
    }
}

static void each_byte_pair_round_trips(void **state) {
    for (int a = 0; a < 256; a++)
        for (int b = 0; b < 256; b++) round_trip(*state, (char[]){(char)a, (char)b}, 2);
}

/* All of Unicode, surrogates (invalid in UTF-8) included. */
static void each_code_point_round_trips(void **state) {
    char *text = array_alloc(0x110000, 4);
    size_t n = 0;
    for (uint32_t c = 0; c < 0x110000; c++) {
        int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
        static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
        text[n++] = (char)(lead[more] | c >> (6 * more));
        for (int i = more - 1; i >= 0; i--) text[n++] = (char)(0x80 | (c >> (6 * i) & 0x3f));
    }
    round_trip(*state, text, n);
    free(text);
}

static void prose_is_compressed(void **state) {
    struct rng rng;
    rng_seed(&rng, 11, 0);
    char text[10007];
    size_t n = prose_write(&rng, text, sizeof text);
    assert_true(round_trip(*state, text, n) < n / 2);
}

/* Cutting behind newlines or, in a long line, before spaces must not change the ids. */
static void cuts_change_nothing(void **state) {
    struct rng rng;
    rng_seed(&rng, 12, 0);
    char text[9001];
    size_t n = prose_write(&rng, text, sizeof text);
    for (int line = 0; line < 2; line++) {
        for (size_t i = 0; line && i < n; i++) text[i] = text[i] == '\n' ? '.' : text[i];
        int32_t *whole = NULL, *parts = NULL;
        size_t n_whole = 0, n_parts = 0, whole_capacity = 0, parts_capacity = 0;
        tokenizer_encode(*state, text, n, &whole, &n_whole, &whole_capacity);
        for (size_t at = 0, end; at < n; at = end) {
            for (end = at + 1; end < n; end++) {
                if (line ? text[end - 1] != ' ' && text[end] == ' '
                         : text[end - 1] == '\n' && text[end] != '\n')
                    break;
            }
            tokenizer_encode(*state, text + at, end - at, &parts, &n_parts, &parts_capacity);
        }
        assert_int_equal(n_whole, n_parts);
        assert_memory_equal(whole, parts, n_whole * sizeof *whole);
        free(whole);
        free(parts);
    }
}

/* A megabyte without a newline or a space may cost as much as the same bytes in lines, not its square. */
static void long_lines_are_not_quadratic(void **state) {
    enum { SIZE = 1 << 20 };
    char *text = array_alloc(SIZE, 1);
    for (size_t i = 0; i < SIZE; i++) text[i] = "taribanosel"[i % 11];
    double start = time_seconds();
    round_trip(*state, text, SIZE);
    double one_line = time_seconds() - start;
    for (size_t i = 63; i < SIZE; i += 64) text[i] = '\n';
    start = time_seconds();
    round_trip(*state, text, SIZE);
    double lines = time_seconds() - start;
    assert_true(one_line < 10 * lines); /* 1.5 measured; quadratic would be thousands */
    free(text);
}

static void pieces_cover_the_vocabulary(void **state) {
    size_t n, silent = 0;
    assert_int_equal(tokenizer_vocab(*state), VOCAB);
    for (int32_t id = 0; id < VOCAB; id++) {
        tokenizer_piece(*state, id, &n);
        silent += n == 0;
    }
    assert_int_equal(silent, 2); /* unknown and end of text */
    tokenizer_piece(*state, tokenizer_end_of_text(*state), &n);
    assert_int_equal(n, 0);
    tokenizer_piece(*state, -1, &n);
    assert_int_equal(n, 0);
    tokenizer_piece(*state, VOCAB, &n);
    assert_int_equal(n, 0);
}

static void training_is_deterministic(void **state) {
    struct error err;
    char *shift_the_heap = malloc(12345);
    tokenizer *again = prose_train(VOCAB, &err);
    assert_non_null(again);
    assert_true(tokenizer_hash(again) == tokenizer_hash(*state));
    tokenizer_free(again);
    free(shift_the_heap);
}

static void saved_is_loaded(void **state) {
    char dir[] = "/tmp/test_tokenizer.XXXXXX";
    assert_non_null(mkdtemp(dir));
    char *path = string_format("%s/t.model", dir);
    struct error err;
    assert_true(tokenizer_save(*state, path, &err));
    tokenizer *loaded = tokenizer_load(path, &err);
    assert_non_null(loaded);
    assert_true(tokenizer_hash(loaded) == tokenizer_hash(*state));
    size_t n, m;
    for (int32_t id = 0; id < VOCAB; id++) {
        const char *a = tokenizer_piece(*state, id, &n), *b = tokenizer_piece(loaded, id, &m);
        assert_int_equal(n, m);
        assert_memory_equal(a, b, n);
    }
    tokenizer_free(loaded);
    unlink(path);
    rmdir(dir);
    assert_null(tokenizer_load(path, &err));
    assert_int_equal(err.code, EXIT_INPUT);
    assert_non_null(strstr(err.text, path));
    free(path);
}

static void refuse(const void *model, size_t size, const char *reason) {
    struct error err = {0, ""};
    assert_null(tokenizer_from_memory(model, size, "some.model", &err));
    assert_int_equal(err.code, EXIT_INPUT);
    assert_ptr_equal(strstr(err.text, "some.model: "), err.text);
    if (!strstr(err.text, reason)) fail_msg("'%s' should speak of '%s'", err.text, reason);
}

/* The model with the first occurrence of `from` replaced. */
static char *model_edit(const tokenizer *t, const char *from, const char *to, size_t n, size_t *size) {
    const char *model = tokenizer_model(t, size);
    char *copy = array_alloc(*size, 1);
    memcpy(copy, model, *size);
    char *place = memmem(copy, *size, from, n);
    assert_non_null(place);
    memcpy(place, to, n);
    return copy;
}

static void other_models_are_refused(void **state) {
    size_t size;
    const char *model = tokenizer_model(*state, &size);
    refuse("", 0, "BPE");
    refuse("no model at all", 15, "damaged");
    refuse(model, size - 1, "damaged");
    refuse(model, size / 2, "");
    /* Keys and values as sentencepiece_model.proto numbers them. */
    static const struct {
        const char *from, *to;
        size_t n;
        const char *reason;
    } edits[] = {
        {"\x18\x02\x20", "\x18\x01\x20", 3, "BPE"},                  /* model_type, then vocab_size */
        {"\x98\x02\x01", "\x98\x02\x00", 3, "byte fallback"},        /* byte_fallback (35) */
        {"\x18\x00\x20\x00", "\x18\x01\x20\x00", 4, "dummy prefix"}, /* add_dummy_prefix */
        {"\x18\x00\x20\x00", "\x18\x00\x20\x01", 4, "whitespace"},   /* remove_extra_whitespaces */
        {"\x0a\x08identity\x12\x00", "\x0a\x07identit\x12\x01x", 12, "normalizes"}, /* precompiled_charsmap */
        {"<0x41>", "<0x4g>", 6, ""},                                                /* a byte piece short */
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        char *edited = model_edit(*state, edits[i].from, edits[i].to, edits[i].n, &size);
        refuse(edited, size, edits[i].reason);
        free(edited);
    }
}

/* The number behind `before` in a message. */
static int number_after(const char *text, const char *before) {
    const char *place = strstr(text, before);
    assert_non_null(place);
    return atoi(place + strlen(before));
}

/* Protocol buffers merge a repeated message into the first: rules hidden there would be applied. */
static void hidden_rules_are_refused(void **state) {
    size_t size;
    char *model = model_edit(*state, "\x0a\x08identity\x12\x00", "\x0a\x07identit\x12\x01x", 12, &size);
    static const char second[] = "\x1a\x06\x18\x00\x20\x00\x28\x01"; /* a normalizer_spec without rules */
    model = realloc(model, size + sizeof second - 1);
    memcpy(model + size, second, sizeof second - 1);
    refuse(model, size + sizeof second - 1, "damaged");
    free(model);
}

static void vocabulary_bounds_are_exact(void **state) {
    (void)state;
    struct error err = {0, ""};
    for (int vocab = 1; vocab < 262; vocab += 130) {
        assert_null(prose_train(vocab, &err));
        assert_int_equal(err.code, EXIT_USAGE);
    }
    int least = number_after(err.text, "at least ");
    assert_null(prose_train(1 << 20, &err));
    assert_int_equal(err.code, EXIT_USAGE);
    int most = number_after(err.text, "at most ");
    assert_null(prose_train(least - 1, &err));
    assert_null(prose_train(most + 1, &err));
    for (int i = 0; i < 2; i++) {
        tokenizer *t = prose_train(i ? most : least, &err);
        assert_non_null(t);
        assert_int_equal(tokenizer_vocab(t), i ? most : least);
        tokenizer_free(t);
    }
    assert_null(tokenizer_train(source_next, &(struct source){NULL, 0}, VOCAB, false, NULL, &err));
    assert_int_equal(err.code, EXIT_INPUT);
}

/* ---- Many scripts, and those without spaces ---- */

static void char_append(char *text, size_t *n, uint32_t c) {
    if (c >= 0x800) text[(*n)++] = (char)(0xe0 | c >> 12);
    text[(*n)++] = (char)(c >= 0x800 ? 0x80 | (c >> 6 & 0x3f) : 0xc0 | c >> 6);
    text[(*n)++] = (char)(0x80 | (c & 0x3f));
}

/* Sentences of words of two or three letters out of `letters` from `first` on, frequent words first. */
static struct source words_write(size_t size, uint32_t first, int letters, const char *space, const char *stop) {
    enum { WORDS = 20000 };
    struct rng rng;
    rng_seed(&rng, 5, 0);
    struct source s = {array_alloc(size + 64, 1), 0};
    while (s.size < size) {
        const double u = rng_uniform(&rng);
        uint64_t word = (uint64_t)(WORDS * u * u * u) * 2654435761u;
        for (int i = word >> 7 & 1; i < 3; i++, word /= 101)
            char_append(s.text, &s.size, first + (uint32_t)(word % 1000003 * word % (uint64_t)letters));
        const bool ends = rng_uniform(&rng) < 0.05;
        s.size += (size_t)sprintf(s.text + s.size, "%s%s", ends ? stop : "", space);
    }
    return s;
}

static struct source han_write(size_t size) {
    return words_write(size, 0x4e00, 1500, "", "\xe3\x80\x82\n");
}

static tokenizer *words_train(struct source s, int vocab, int *nearest, struct error *err) {
    *nearest = 0;
    return tokenizer_train(source_next, &s, vocab, false, nearest, err);
}

static uint64_t pieces_hash(const tokenizer *t) {
    uint64_t hash = HASH_START;
    for (int32_t id = 0; id < tokenizer_vocab(t); id++) {
        size_t n;
        const char *piece = tokenizer_piece(t, id, &n);
        hash = hash_bytes(hash_bytes(hash, piece, n), "", 1);
    }
    return hash;
}

/* Of Chinese, training reads a text that is cut at rare pairs of characters, and of others the text as it is: neither
 * changes a piece. The hashes are those of pieces from text that is not cut. */
static void cuts_for_training_change_no_piece(void **state) {
    (void)state;
    static const struct {
        uint32_t first;
        int letters;
        const char *space, *stop;
        uint64_t hash;
    } cases[] = {
        {0x4e00, 1500, "", "\xe3\x80\x82\n", 0x29c7bc2e112b0b10u}, /* Han */
        {0xac00, 500, " ", ".\n", 0x51d708c9349e5075u},            /* Hangul, with spaces */
        {0x390, 200, " ", ".\n", 0xdbdd1eafd6be2a9bu},             /* Greek, Cyrillic */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct source s = words_write(TEXT_BYTES, cases[i].first, cases[i].letters, cases[i].space, cases[i].stop);
        struct error err;
        int nearest;
        tokenizer *t = words_train(s, 3001, &nearest, &err);
        if (!t) fail_msg("%s", err.text);
        assert_true(pieces_hash(t) == cases[i].hash);
        tokenizer_free(t);
        free(s.text);
    }
}

/* With more pieces than there are frequent pairs a few are other ones: those of text that is cut, which is what keeps
 * training as fast as that of text with spaces (docs/SPEED.md). */
static void text_without_spaces_is_cut(void **state) {
    (void)state;
    struct source s = han_write(TEXT_BYTES);
    struct error err;
    int nearest;
    tokenizer *t = words_train(s, 8192, &nearest, &err);
    if (!t) fail_msg("%s", err.text);
    assert_true(pieces_hash(t) == 0x3e2faedb0bde2b13u); /* of text that is not cut: 123cb5eaa74ab9fd */
    tokenizer_free(t);
    free(s.text);
}

/* The bounds are those of the whole text, as exact as for text that is not cut. */
static void bounds_of_text_without_spaces_are_exact(void **state) {
    (void)state;
    struct source s = han_write(12000);
    struct error err;
    int most, nearest;
    assert_null(words_train(s, 1 << 20, &most, &err));
    assert_null(words_train(s, most + 1, &nearest, &err));
    assert_int_equal(nearest, most);
    tokenizer *t = words_train(s, most, &nearest, &err);
    assert_non_null(t);
    assert_int_equal(nearest, 0);
    assert_null(words_train(s, 1000, &nearest, &err));
    assert_int_equal(err.code, EXIT_USAGE);
    assert_int_equal(number_after(err.text, "got "), 1000);
    assert_int_equal(number_after(err.text, "at least "), nearest);
    assert_int_equal(tokenizer_least(t), nearest);
    assert_null(words_train(s, nearest - 1, &most, &err));
    assert_int_equal(most, nearest);
    tokenizer_free(t);
    t = words_train(s, nearest, &most, &err);
    assert_int_equal(tokenizer_least(t), nearest);
    tokenizer_free(t);
    free(s.text);
}

/* ---- Progress ---- */

/* What training prints on a standard error that is a terminal, or else a pipe. */
static char *training_shows(bool terminal, bool progress) {
    static char text[1 << 12];
    int ends[2], saved = dup(STDERR_FILENO);
    assert_int_equal(terminal ? openpty(&ends[0], &ends[1], NULL, NULL, NULL) : pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    struct error err;
    struct source s = {array_alloc(TRAINING_BYTES, 1), TRAINING_BYTES};
    struct rng rng;
    rng_seed(&rng, 3, 0);
    prose_write(&rng, s.text, s.size);
    tokenizer *t = tokenizer_train(source_next, &s, VOCAB, progress, NULL, &err);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    size_t size = 0;
    for (ssize_t n; (n = read(ends[0], text + size, sizeof text - 1 - size)) > 0;) size += (size_t)n;
    text[size] = 0;
    close(ends[0]);
    assert_non_null(t);
    tokenizer_free(t);
    free(s.text);
    return text;
}

static void progress_is_shown_on_a_terminal(void **state) {
    assert_string_equal(training_shows(true, false), "");
    assert_string_equal(training_shows(false, true), "");
    const char *text = training_shows(true, true), *clear = "\r\033[K";
    const int merges = VOCAB - tokenizer_least(*state);
    for (int n = 20; n <= merges; n += 20) {
        const int filled = 30 * n / merges;
        char *line = string_format("%stokenizer [%.*s%*s] %d%%\r", clear, filled, "==============================",
                                   30 - filled, "", 100 * n / merges);
        if (!strstr(text, line)) fail_msg("no '%s' in %s", line, text);
        free(line);
    }
    assert_null(strstr(text, "LOG"));
    assert_string_equal(text + strlen(text) - strlen(clear), clear);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(varied_text_round_trips),      cmocka_unit_test(each_trap_round_trips),
        cmocka_unit_test(each_byte_pair_round_trips),   cmocka_unit_test(each_code_point_round_trips),
        cmocka_unit_test(prose_is_compressed),          cmocka_unit_test(cuts_change_nothing),
        cmocka_unit_test(long_lines_are_not_quadratic), cmocka_unit_test(pieces_cover_the_vocabulary),
        cmocka_unit_test(training_is_deterministic),    cmocka_unit_test(saved_is_loaded),
        cmocka_unit_test(other_models_are_refused),     cmocka_unit_test(hidden_rules_are_refused),
        cmocka_unit_test(any_bytes_can_be_trained_on),  cmocka_unit_test(vocabulary_bounds_are_exact),
        cmocka_unit_test(cuts_for_training_change_no_piece),
        cmocka_unit_test(text_without_spaces_is_cut),
        cmocka_unit_test(bounds_of_text_without_spaces_are_exact),
        cmocka_unit_test(progress_is_shown_on_a_terminal),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
