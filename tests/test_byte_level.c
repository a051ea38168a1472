/* GPT-2's tokenizer: where it cuts words, in which order it merges, and which models it refuses. Words are written out
 * here as GPT-2's regular expression makes them; merging is done once more in the plainest way. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../src/base/rng.h"
#include "byte_pieces.h"

/* ---- A plain reference ---- */

/* A word's tokens: the earliest merge that is possible, at its first place, until there is none. Returns how many. */
static size_t word_merge(const struct byte_merge *merges, size_t n_merges, int32_t *ids, size_t n) {
    for (size_t m = 0; m < n_merges;) {
        size_t i = 0;
        while (i + 1 < n && !(ids[i] == merges[m].left && ids[i + 1] == merges[m].right)) i++;
        if (i + 1 >= n) {
            m++;
            continue;
        }
        ids[i] = 256 + (int32_t)m;
        memmove(ids + i + 1, ids + i + 2, (n - i - 2) * sizeof *ids);
        n--;
        m = 0;
    }
    return n;
}

/* Words are pieces between marks, which are no byte of any text here. */
enum { MARK = '|', MOST = 4000 };

static size_t words_merge(const struct byte_merge *merges, size_t n_merges, const char *marked, int32_t *ids) {
    size_t n = 0;
    while (*marked) {
        const size_t length = strcspn(marked, "|");
        for (size_t i = 0; i < length; i++) ids[n + i] = (unsigned char)marked[i];
        n += word_merge(merges, n_merges, ids + n, length);
        marked += length + (marked[length] == MARK);
    }
    return n;
}

static void encodes_to(const tokenizer *t, const char *text, size_t size, const int32_t *want, size_t n) {
    int32_t *ids = NULL;
    size_t count = 0, capacity = 0, at = 0;
    tokenizer_encode(t, text, size, &ids, &count, &capacity);
    for (size_t i = 0; i < count; i++) {
        size_t length;
        const char *piece = tokenizer_piece(t, ids[i], &length);
        if (at + length > size || memcmp(text + at, piece, length) != 0) fail_msg("'%s' does not come back", text);
        at += length;
    }
    assert_int_equal(at, size);
    if (want && (count != n || memcmp(ids, want, n * sizeof *ids) != 0)) fail_msg("'%s': other tokens", text);
    free(ids);
}

/* ---- Words ---- */

/* With one merge alone at a time, of each two bytes that stand side by side, every border shows, and so does every
 * place where there is none. */
static void words_are_those_of_gpt2(void **state) {
    static const char *const texts[] = {
        "Hello| world", "I|'m| you|'re| he|'s| we|'ve| it|'ll| can|'t| she|'d", "I|'|M| IT|'|S| WE|'|RE",
        "don|'t|'s|'re|ally", "'s|o", " '|s", " '|ll", "x| '|d", "rock|'|n|'|roll",
        "abc|123|def", " 12| 345|.|6|,|7", "v|2|.|0|-|rc|1", "a| 1|b", "\xC2\xB2\xC2\xBD| \xD9\xA3|x",
        "a| | b", "a|  | b", "a|   | b|    ", "   ", " | a", "  | a", "\t|a", "a|\t|b", "a| |\t|b", "a|\t| b",
        "a|\t | b",
        "a|\n|b", "a|\n|\n|b", "a|\n\n|\n|b", "a|\r|\n|b", "a| \n", "a|\n| b", "a|\n  | b", "\n\n\n",
        "a|\xC2\xA0|b", "a|\xE3\x80\x80|b", "a|\xE2\x80\x89| b", "a|\xC2\x85|b", "a| |\xE2\x80\xA8|b",
        "a|\xE1\x9A\x80|b", "a|\x0B|b", "a|\x0C|b", "a|\x1C|b", "a|\xE2\x80\x8B|b", "a|\xE2\x80\xAF|b",
        "a|\xE2\x81\x9F|b",
        ("Gr\xC3\xBC\xC3\x9F" "e| \xC3\x84rger|!"), "na\xC3\xAFve|", "e|\xCC\x81|a",
        "\xE4\xBD\xA0\xE5\xA5\xBD|\xE3\x80\x82|\xE4\xB8\x96", "\xE1\xBC\x80\xCE\xB1| \xD0\xB6",
        "\xE0\xA4\x95|\xE0\xA5\x8D|\xE0\xA4\xB7",
        "hi| \xF0\x9F\x98\x80\xF0\x9F\x91\x8D|ok", "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB", "\xF0\x9D\x94\x98x",
        "...|what|?!| --| end|.", "a|_|b", "<|endoftext|>", "$|5|%", "(|a|)| [|b|]|",
        "a|\xFF|b", "a|\xC3|b", " |\xFF|\xFE|", "a|\xE2|\x82| b", "\xC0|\x80", "\xED|\xA0|\x80|x", "\xF5|a",
        "a| |\x80|.",
    };
    (void)state;
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
        char text[200];
        size_t n = 0;
        for (const char *at = texts[k]; *at; at++)
            if (*at != MARK) text[n++] = *at;
        text[n] = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            const struct byte_merge merge = {(unsigned char)text[i], (unsigned char)text[i + 1]};
            int32_t want[200];
            tokenizer *t = byte_tokenizer(&merge, 1);
            encodes_to(t, text, n, want, words_merge(&merge, 1, texts[k], want));
            tokenizer_free(t);
        }
    }
}

/* Unicode's White_Space, of the first 65536 characters. */
static bool is_space(int c) {
    static const int ranges[][2] = {{0x09, 0x0D}, {0x20, 0x20}, {0x85, 0x85}, {0xA0, 0xA0}, {0x1680, 0x1680},
                                    {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                    {0x3000, 0x3000}};
    bool is = false;
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) is |= c >= ranges[i][0] && c <= ranges[i][1];
    return is;
}

/* A space goes with any character behind it, letter, number or other, but with no other blank. */
static void blanks_are_those_of_unicode(void **state) {
    struct byte_merge merges[256];
    size_t n = 0;
    (void)state;
    for (int byte = 0; byte < 256; byte++)
        if (byte != ' ') merges[n++] = (struct byte_merge){' ', byte};
    tokenizer *t = byte_tokenizer(merges, n);
    for (int c = 1; c < 0x10000; c++) {
        char text[6] = " ", *at = text + 1;
        int32_t *ids = NULL;
        size_t count = 0, capacity = 0;
        if (c >= 0xD800 && c < 0xE000) continue; /* surrogates */
        if (c < 0x80) *at++ = (char)c;
        else if (c < 0x800) *at++ = (char)(0xC0 | c >> 6);
        else {
            *at++ = (char)(0xE0 | c >> 12);
            *at++ = (char)(0x80 | (c >> 6 & 63));
        }
        if (c >= 0x80) *at++ = (char)(0x80 | (c & 63));
        *at = 'b';
        tokenizer_encode(t, text, (size_t)(at + 1 - text), &ids, &count, &capacity);
        if ((ids[0] == ' ') != is_space(c)) fail_msg("U+%04X: %s", c, is_space(c) ? "is no blank" : "is a blank");
        free(ids);
    }
    tokenizer_free(t);
}

/* ---- Merges ---- */

/* Any of the tokens so far, of few letters, so that merges overlap, and some are made of what others would take. */
static void merges_random(struct byte_merge *merges, size_t n, struct rng *rng) {
    for (size_t i = 0; i < n; i++) {
        bool there = true;
        while (there) {
            int32_t *const both[] = {&merges[i].left, &merges[i].right};
            for (int j = 0; j < 2; j++) {
                const uint64_t pick = rng_next(rng) % (3 + i);
                *both[j] = pick < 3 ? 'a' + (int32_t)pick : 256 + (int32_t)pick - 3;
            }
            there = false;
            for (size_t j = 0; j < i; j++) {
                size_t s, t;
                char *mine = byte_token(merges, 256 + (int32_t)i, &s);
                char *other = byte_token(merges, 256 + (int32_t)j, &t);
                there |= s > 12 || (s == t && memcmp(mine, other, s) == 0);
                free(mine);
                free(other);
            }
        }
    }
}

static void merges_come_in_their_order(void **state) {
    enum { MERGES = 25, LETTERS = 90 };
    (void)state;
    struct rng rng;
    rng_seed(&rng, 7, 1);
    for (int round = 0; round < 100; round++) {
        struct byte_merge merges[MERGES];
        char text[LETTERS + 1];
        int32_t want[LETTERS];
        merges_random(merges, MERGES, &rng);
        tokenizer *t = byte_tokenizer(merges, MERGES);
        assert_int_equal(tokenizer_vocab(t), 256 + MERGES + 1);
        for (int line = 0; line < 10; line++) {
            const size_t size = 1 + rng_next(&rng) % LETTERS;
            for (size_t i = 0; i < size; i++) text[i] = (char)('a' + rng_next(&rng) % 3);
            text[size] = 0;
            encodes_to(t, text, size, want, words_merge(merges, MERGES, text, want));
        }
        tokenizer_free(t);
    }
}

/* ---- Bytes ---- */

static void every_byte_comes_back(void **state) {
    static const struct byte_merge merges[] = {{'t', 'h'}, {256, 'e'}, {' ', 257}, {0xC3, 0xBC}, {0, 0}, {'\n', '\n'}};
    enum { MERGES = sizeof merges / sizeof *merges };
    (void)state;
    tokenizer *t = byte_tokenizer(merges, MERGES);
    struct rng rng;
    rng_seed(&rng, 3, 1);
    for (int byte = 0; byte < 256; byte++) {
        const char text[] = {(char)byte, 0};
        encodes_to(t, text, 1, &(int32_t){byte}, 1);
    }
    for (int round = 0; round < 2000; round++) {
        char text[61];
        const size_t size = rng_next(&rng) % 60;
        for (size_t i = 0; i < size; i++)
            text[i] = rng_next(&rng) % 2 ? (char)rng_next(&rng) : "the \xC3\xBC\n\0"[rng_next(&rng) % 8];
        text[size] = 0;
        encodes_to(t, text, size, NULL, 0);
    }
    tokenizer_free(t);
}

/* Ids go behind those that there are; the end of text is no piece of a text, and is told from other tokens. */
static void what_the_interface_says(void **state) {
    static const struct byte_merge merges[] = {{'a', 'b'}};
    (void)state;
    tokenizer *t = byte_tokenizer(merges, 1);
    int32_t *ids = NULL;
    size_t count = 0, capacity = 0, size;
    tokenizer_encode(t, "ab", 2, &ids, &count, &capacity);
    tokenizer_encode(t, "", 0, &ids, &count, &capacity);
    tokenizer_encode(t, "b", 1, &ids, &count, &capacity);
    assert_int_equal(count, 2);
    assert_int_equal(ids[0], 256);
    assert_int_equal(ids[1], 'b');
    free(ids);
    assert_int_equal(tokenizer_kind(t), TOKENIZER_BYTE_LEVEL);
    assert_int_equal(tokenizer_end_of_text(t), 257);
    assert_int_equal(tokenizer_least(t), 257);
    assert_string_equal(tokenizer_piece(t, 257, &size), "");
    assert_int_equal(size, 0);
    assert_int_equal(tokenizer_entry(t, 257).kind, PIECE_CONTROL);
    assert_int_equal(tokenizer_entry(t, 256).kind, PIECE_NORMAL);
    assert_string_equal(tokenizer_entry(t, ' ').text, "\xC4\xA0");
    assert_string_equal(tokenizer_entry(t, 173).text, "\xC5\x83");
    tokenizer_piece(t, 258, &size);
    assert_int_equal(size, 0);
    tokenizer_free(t);
}

/* Tokens that somebody added may hold letters that stand for no byte: they are no pieces of a text. */
static void letters_that_are_no_bytes(void **state) {
    static const char *const tokens[] = {" ", "a b", "\x7f", "\xc2\xa0", "\xc2\xad", "\xc5\x84", "a\xc7\xbf",
                                         "\xc8\x80", "\xdf\xbf", "\xe6\xbc\xa2", "a\xef\xbf\xbd",
                                         "\xf0\x9f\x98\x80"};
    enum { TOKENS = sizeof tokens / sizeof *tokens };
    (void)state;
    char *plain = byte_model(NULL, 0);
    json_t *model = json_loads(plain, 0, NULL);
    struct error err;
    for (int i = 0; i < TOKENS; i++)
        json_object_set_new(json_object_get(model, "vocab"), tokens[i], json_integer(257 + i));
    char *text = json_dumps(model, JSON_COMPACT);
    tokenizer *t = tokenizer_from_memory(text, strlen(text), "added", &err);
    if (!t) fail_msg("%s", err.text);
    for (int i = 0; i < TOKENS; i++) {
        size_t size;
        assert_string_equal(tokenizer_piece(t, 257 + i, &size), "");
        assert_int_equal(size, 0);
        assert_string_equal(tokenizer_entry(t, 257 + i).text, tokens[i]);
    }
    json_decref(model);
    tokenizer_free(t);
    free(plain);
    free(text);
}

/* A word as long as a text: each merge is found without looking through all of it. */
static void long_words(void **state) {
    enum { SIZE = 1 << 20 };
    static const struct byte_merge merges[] = {{'a', 'a'}, {256, 256}, {257, 257}};
    (void)state;
    tokenizer *t = byte_tokenizer(merges, 3);
    char *text = array_alloc(SIZE, 1);
    int32_t *ids = NULL;
    size_t count = 0, capacity = 0;
    memset(text, 'a', SIZE);
    tokenizer_encode(t, text, SIZE - 1, &ids, &count, &capacity);
    assert_int_equal(count, SIZE / 8 + 2);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(ids[i], i < SIZE / 8 - 1 ? 258 : i == SIZE / 8 - 1 ? 257 : i == SIZE / 8 ? 256 : 'a');
    free(ids);
    free(text);
    tokenizer_free(t);
}

/* ---- What is refused ---- */

static void refused(const char *model, size_t size, const char *says) {
    struct error err = {0};
    tokenizer *t = tokenizer_from_memory(model, size, "the file", &err);
    if (t) fail_msg("accepted, want '%s'", says);
    assert_int_equal(err.code, EXIT_INPUT);
    if (!strstr(err.text, says) || strncmp(err.text, "the file", 8) != 0)
        fail_msg("'%s' is missing in %s", says, err.text);
}

/* A good model, in which `what` is replaced, or where that is NULL, taken from its place. */
static void refused_with(const char *path, const char *key, json_t *value, const char *says) {
    static const struct byte_merge merges[] = {{'a', 'b'}, {256, 'c'}};
    char *good = byte_model(merges, 2);
    json_t *model = json_loads(good, 0, NULL), *object = *path ? json_object_get(model, path) : model;
    if (json_is_array(object)) json_array_append_new(object, value);
    else if (value) json_object_set_new(object, key, value);
    else json_object_del(object, key);
    char *text = json_dumps(model, JSON_COMPACT);
    refused(text, strlen(text), says);
    free(text);
    free(good);
    json_decref(model);
}

static void models_that_are_none(void **state) {
    (void)state;
    refused("{", 1, "not JSON with a vocab");
    refused("{}", 2, "not JSON with a vocab");
    refused("{\"vocab\":[]}", 12, "not JSON with a vocab");
    refused("{\"vocab\":{}}", 12, "no end-of-text token");
    refused("{\"vocab\":{\"a\":0,\"a\":1}}", 24, "not JSON with a vocab");
    refused_with("", "end_of_text", NULL, "no end-of-text token");
    refused_with("", "end_of_text", json_string("<end>"), "no end-of-text token <end>");
    refused_with("vocab", "a", NULL, "has no id of its own");
    refused_with("vocab", "a", json_integer(98), "has no id of its own from 0 to 258");
    refused_with("vocab", "a", json_integer(-1), "token 'a' has no id of its own");
    refused_with("vocab", "a", json_integer(259), "token 'a' has no id of its own");
    refused_with("vocab", "a", json_integer(4294967296 + 97), "token 'a' has no id of its own");
    refused_with("vocab", "a", json_real(97), "token 'a' has no id of its own");
    refused_with("vocab", "a", json_string("97"), "token 'a' has no id of its own");
    refused_with("vocab", "more", json_integer(300), "token 'more' has no id of its own");
    refused_with("merges", "", json_string("a x"), "number 3, 'a x', is not two tokens that are a third");
    refused_with("merges", "", json_string("ab"), "number 3, 'ab'");
    refused_with("merges", "", json_string("a b c"), "number 3, 'a b c'");
    refused_with("merges", "", json_string(" ab"), "number 3");
    refused_with("merges", "", json_string("ab "), "number 3");
    refused_with("merges", "", json_string("zz b"), "number 3");
    refused_with("merges", "", json_integer(1), "number 3");
    refused_with("merges", "", json_string("a b"), "merges: 'a b' is there twice");
    refused_with("merges", "", json_string("ab c"), "merges: 'ab c' is there twice");
    refused_with("", "end_of_text", json_string("abc"), "number 2, 'ab c', is not two tokens that are a third");
}

/* A byte without a token: renamed to two letters, which no merge makes. */
static void bytes_without_a_token(void **state) {
    (void)state;
    for (int byte = 0; byte < 256; byte += 15) {
        char *good = byte_model(NULL, 0), letter[] = {(char)byte, 0}, says[60];
        json_t *model = json_loads(good, 0, NULL), *vocab = json_object_get(model, "vocab");
        char *text = byte_letters(letter, 1);
        json_object_del(vocab, text);
        json_object_set_new(vocab, "xyz", json_integer(byte));
        char *bad = json_dumps(model, JSON_COMPACT);
        snprintf(says, sizeof says, "no token for the byte 0x%02X", byte);
        refused(bad, strlen(bad), says);
        free(bad);
        free(text);
        free(good);
        json_decref(model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_those_of_gpt2),   cmocka_unit_test(blanks_are_those_of_unicode),
        cmocka_unit_test(merges_come_in_their_order),
        cmocka_unit_test(every_byte_comes_back),     cmocka_unit_test(what_the_interface_says),
        cmocka_unit_test(letters_that_are_no_bytes), cmocka_unit_test(long_words),
        cmocka_unit_test(models_that_are_none),
        cmocka_unit_test(bytes_without_a_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
