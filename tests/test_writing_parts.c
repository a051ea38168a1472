/* What ./sample's writing is made of, each against a plain version: stop strings, healing, prompts from a file, and
 * text that a terminal is shown. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../src/base/rng.h"
#include "../src/base/text.h"
#include "../src/run/prompts.h"
#include "../src/run/stop_strings.h"
#include "../tokenizer/healing.h"
#include "pieces.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* ---- Stop strings ---- */

enum { MOST = 12 };
struct heard {
    char text[MOST + 1];
    size_t n;
};
static void hear(void *context, const char *bytes, size_t size) {
    struct heard *h = context;
    assert_true(size > 0 && h->n + size <= MOST);
    memcpy(h->text + h->n, bytes, size);
    h->n += size;
}

/* The longest of the strings that text[0..n) ends with; with `parts` also of their beginnings, but for whole ones. */
static size_t end_longest(const char *text, size_t n, char *const *strings, size_t count, bool parts) {
    size_t longest = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t length = strlen(strings[i]);
        for (size_t k = parts ? 1 : length; k < length + !parts; k++)
            if (k <= n && k > longest && memcmp(text + n - k, strings[i], k) == 0) longest = k;
    }
    return longest;
}

/* A text in pieces that the bits of `cuts` part. */
static void stops_expect(const char *text, size_t n, char *const *strings, size_t count, unsigned cuts) {
    struct heard heard = {.n = 0};
    struct stop_strings s = {.strings = strings, .n = count, .emit = hear, .context = &heard};
    size_t from = 0, end = 0, found = 0;
    while (end < n && !(found = end_longest(text, ++end, strings, count, false))) {}
    for (size_t to = 1; to <= n; to++) {
        if (to < n && !(cuts >> to & 1)) continue;
        const bool over = stop_strings_feed(&s, text + from, to - from);
        if (over != (found > 0 && end <= to)) fail_msg("'%.*s' and '%s': %d", (int)to, text, strings[0], over);
        const size_t want = over ? end - found : to - end_longest(text, to, strings, count, true);
        if (heard.n != want || memcmp(heard.text, text, want) != 0)
            fail_msg("'%.*s' and '%s': heard '%.*s'", (int)to, text, count ? strings[0] : "", (int)heard.n, heard.text);
        from = to;
        if (over) break;
    }
    stop_strings_end(&s);
    assert_int_equal(heard.n, found > 0 ? end - found : n);
    assert_memory_equal(heard.text, text, heard.n);
}

/* Every text of two letters, up to MOST of them, cut in several ways. */
static void stop_strings_end_a_text(void **state) {
    (void)state;
    static char *const sets[][3] = {{"a"}, {"ab"}, {"aab"}, {"abab"}, {"aba", "bb"}, {"bab", "a"}, {"abb", "b"},
                                    {"aabb", "ab", "bbb"}, {"bbbb", "aaaa"}, {"ba", "ba"}, {"aaab", "aa"}};
    struct rng rng;
    rng_seed(&rng, 5, 0);
    for (size_t i = 0; i <= COUNT(sets); i++) {
        size_t count = 0;
        while (i < COUNT(sets) && count < 3 && sets[i][count]) count++;
        for (size_t n = 0; n <= MOST; n++)
            for (unsigned bits = 0; bits < 1u << n; bits++) {
                char text[MOST + 1];
                for (size_t k = 0; k < n; k++) text[k] = bits >> k & 1 ? 'b' : 'a';
                stops_expect(text, n, i < COUNT(sets) ? sets[i] : NULL, count, ~0u);
                stops_expect(text, n, i < COUNT(sets) ? sets[i] : NULL, count, 0);
                stops_expect(text, n, i < COUNT(sets) ? sets[i] : NULL, count, (unsigned)rng_next(&rng));
            }
    }
}

/* ---- Healing ---- */

static bool starts(const char *text, size_t size, const char *start, size_t length) {
    return length <= size && memcmp(text, start, length) == 0;
}

/* By the definition: the first token from which on a longer piece begins with all bytes of the prompt. */
static size_t plain_kept(const tokenizer *t, const int32_t *ids, size_t n) {
    for (size_t k = 0; k < n; k++) {
        char *end = pieces_text(t, ids + k, n - k);
        bool found = false;
        for (int32_t id = 0; id < tokenizer_vocab(t); id++) {
            size_t size;
            const char *piece = tokenizer_piece(t, id, &size);
            found |= size > strlen(end) && starts(piece, size, end, strlen(end));
        }
        free(end);
        if (found) return k;
    }
    return n;
}

/* What cannot come, and what each of the others leaves to be written. */
static size_t bars_check(const tokenizer *t, const struct healing *h) {
    bool barred[PIECES];
    size_t free_ones = 0;
    healing_bar(h, t, barred);
    for (int32_t id = 0; id < PIECES; id++) {
        size_t size;
        const char *piece = tokenizer_piece(t, id, &size);
        const bool longer = starts(piece, size, h->bytes, h->size), part = starts(h->bytes, h->size, piece, size);
        const bool fits = size > 0 && (longer || part);
        assert_int_equal(barred[id], !fits);
        if (!fits) continue;
        free_ones++;
        struct healing copy = healing_copy(h);
        const size_t had = size < h->size ? size : h->size;
        assert_int_equal(healing_take(&copy, size), had);
        assert_int_equal(copy.size, h->size - had);
        assert_memory_equal(copy.bytes, h->bytes + had, copy.size);
        assert_int_equal(h->size, copy.size + had); /* which did not change the first */
        healing_free(&copy);
    }
    return free_ones;
}

static void prompts_are_healed(void **state) {
    (void)state;
    static const char text[] = "The old lady remembered the garden.\nNo poor gent left the caf\xc3\xa9 qui x\xff ";
    tokenizer *t = pieces_tokenizer();
    size_t by_tokens[8] = {0};
    for (size_t size = 0; size < sizeof text; size++) {
        int32_t *ids = NULL;
        size_t n = 0, capacity = 0;
        struct healing h;
        tokenizer_encode(t, text, size, &ids, &n, &capacity);
        const size_t kept = healing_begin(&h, t, ids, n), want = plain_kept(t, ids, n);
        if (kept != want) fail_msg("'%.*s': %zu of %zu tokens, want %zu", (int)size, text, kept, n, want);
        char *end = pieces_text(t, ids + kept, n - kept);
        assert_int_equal(h.size, strlen(end));
        assert_memory_equal(h.bytes, end, h.size);
        if (n - kept < 8) by_tokens[n - kept]++;
        if (h.size > 0) assert_true(bars_check(t, &h) >= 2); /* what was there, and what is longer */
        free(end);
        free(ids);
        healing_free(&h);
    }
    for (size_t i = 0; i < 3; i++)
        if (by_tokens[i] == 0) fail_msg("no prompt of which %zu tokens are taken back", i);
    tokenizer_free(t);
}

/* Any two tokens, also such as no prompt is made of: the last may begin no piece where both together do. */
static void pairs_are_healed(void **state) {
    (void)state;
    tokenizer *t = pieces_tokenizer();
    size_t only_together = 0;
    for (int32_t pair = 0; pair < PIECES * PIECES; pair++) {
        const int32_t ids[] = {pair / PIECES, pair % PIECES};
        size_t lengths[2];
        struct healing h;
        const char *first = tokenizer_piece(t, ids[0], &lengths[0]), *second = tokenizer_piece(t, ids[1], &lengths[1]);
        if (lengths[0] == 0 || lengths[1] == 0 || !*first || !*second) continue; /* the ends of texts, and of strings */
        const size_t kept = healing_begin(&h, t, ids, 2), want = plain_kept(t, ids, 2);
        if (kept != want) fail_msg("tokens %d, %d: %zu stay, want %zu", ids[0], ids[1], kept, want);
        only_together += kept == 0 && plain_kept(t, ids + 1, 1) == 1;
        healing_free(&h);
    }
    assert_true(only_together > 10);
    tokenizer_free(t);
}

/* Every beginning of every piece, written byte by byte: all of it is taken back. */
static void beginnings_are_healed(void **state) {
    (void)state;
    tokenizer *t = pieces_tokenizer();
    for (int32_t id = 0; id < PIECES; id++) {
        size_t size;
        const char *piece = tokenizer_piece(t, id, &size);
        int32_t ids[100];
        assert_true(size <= COUNT(ids));
        for (size_t i = 0; i < size; i++) ids[i] = 2 + (unsigned char)piece[i]; /* what bytes are called: 2 to 257 */
        for (size_t n = 1; n < size; n++) {
            struct healing h;
            assert_int_equal(healing_begin(&h, t, ids, n), 0);
            assert_int_equal(h.size, n);
            assert_memory_equal(h.bytes, piece, n);
            healing_free(&h);
        }
    }
    tokenizer_free(t);
}

/* The end of a text is no piece: nothing is taken back there, nor beyond it. */
static void an_end_of_text_stays(void **state) {
    (void)state;
    tokenizer *t = pieces_tokenizer();
    const int32_t end = tokenizer_end_of_text(t);
    int32_t *ids = NULL;
    size_t n = 0, capacity = 0;
    struct healing h;
    assert_int_equal(healing_begin(&h, t, &end, 1), 1);
    assert_int_equal(h.size, 0);
    healing_free(&h);
    assert_int_equal(healing_begin(&h, t, &end, 0), 0);
    healing_free(&h);
    tokenizer_encode(t, "The", 3, &ids, &n, &capacity);
    ids = array_grow(ids, &capacity, n + 2, sizeof *ids);
    ids[n] = end;
    tokenizer_encode(t, " ", 1, &ids, &(size_t){n + 1}, &capacity);
    assert_int_equal(healing_begin(&h, t, ids, n + 2), n + 1);
    assert_int_equal(h.size, 1);
    healing_free(&h);
    free(ids);
    tokenizer_free(t);
}

/* ---- Prompts ---- */

static FILE *file_of(const char *text, size_t size) {
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    rewind(file);
    return file;
}

static void prompts_expect(const char *name, const char *text, size_t size, size_t n, const struct prompt *want) {
    struct prompts p;
    struct error err;
    if (!prompts_read(&p, file_of(text, size), name, &err)) fail_msg("%s", err.text);
    assert_int_equal(p.n, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(p.list[i].size, want[i].size);
        assert_memory_equal(p.list[i].text, want[i].text, want[i].size);
    }
    prompts_free(&p);
}

static void prompts_come_from_lines(void **state) {
    (void)state;
    static const char lines[] = "one\r\n\n \t \n two \n\x80\0x\r\r\n{\"prompt\": 3}";
    prompts_expect("p.txt", lines, sizeof lines - 1, 4,
                   (struct prompt[]){{"one", 3}, {" two ", 5}, {"\x80\0x\r", 4}, {"{\"prompt\": 3}", 13}});
    static const char objects[] = "{\"prompt\": \"one\\n\"}\n\n"
                                  "{\"id\": 7, \"prompt\": \"a\\u0000\\u00e9\"}\r\n{\"prompt\":\"\"}";
    prompts_expect("p.jsonl", objects, sizeof objects - 1, 3,
                   (struct prompt[]){{"one\n", 4}, {"a\0\xc3\xa9", 4}, {"", 0}});
}

static void bad_prompts_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *name, *text, *want;
    } cases[] = {
        {"p.txt", "", "p.txt: no prompt in it; want one a line"},
        {"p.txt", "\n \r\n", "p.txt: no prompt in it; want one a line"},
        {"p.jsonl", "\n", "p.jsonl: no prompt in it; want {\"prompt\": TEXT} a line"},
        {"p.jsonl", "{\"prompt\": \"a\"}\n\nword\n", "p.jsonl:3: not JSON ("},
        {"p.jsonl", "{\"prompt\": \"a\"\n", "p.jsonl:1: not JSON ("},
        {"p.jsonl", "{\"prompt\": \"a\", \"prompt\": \"b\"}\n", "p.jsonl:1: not JSON ("},
        {"p.jsonl", "{\"text\": \"a\"}\n", "p.jsonl:1: prompt: missing; want {\"prompt\": TEXT}"},
        {"p.jsonl", "[\"a\"]\n", "p.jsonl:1: prompt: missing; want {\"prompt\": TEXT}"},
        {"p.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": 1}\n", "p.jsonl:2: prompt: not a text; want {\"prompt\": TEXT}"},
    };
    struct prompts p;
    struct error err;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_false(prompts_read(&p, file_of(cases[i].text, strlen(cases[i].text)), cases[i].name, &err));
        assert_int_equal(err.code, EXIT_INPUT);
        if (strncmp(err.text, cases[i].want, strlen(cases[i].want)) != 0) fail_msg("%s", err.text);
        prompts_free(&p);
    }
    assert_false(prompts_read(&p, fopen("/nowhere/p.txt", "r"), "/nowhere/p.txt", &err));
    assert_int_equal(err.code, EXIT_INPUT);
    assert_string_equal(err.text, "/nowhere/p.txt: cannot read: No such file or directory");
    prompts_free(&p);
    assert_false(prompts_read(&p, fopen("/", "r"), "/", &err));
    assert_string_equal(err.text, "/: cannot read: Is a directory");
    prompts_free(&p);
}

/* ---- Text that a terminal is shown ---- */

/* Each byte and each pair of bytes: what is a character and controls nothing passes, all else is a code a byte. */
static void terminals_are_shown_what_would_control_them(void **state) {
    (void)state;
    for (unsigned bytes = 0; bytes < 1u << 16; bytes++) {
        const unsigned char pair[2] = {(unsigned char)(bytes >> 8), (unsigned char)bytes};
        char want[9] = "", *end = want, *text;
        size_t size;
        for (size_t i = 0, step; i < 2; i += step) {
            const size_t length = text_character((const char *)pair + i, 2 - i);
            const bool c1 = length == 2 && pair[0] == 0xC2 && pair[1] <= 0x9F;
            const bool c0 = length == 1 && (pair[i] == 0x7F || (pair[i] < 32 && pair[i] != 9 && pair[i] != 10));
            step = length ? length : 1;
            if (length == 0 || c0 || c1)
                for (size_t k = 0; k < step; k++) end += sprintf(end, "\\x%02x", pair[i + k]);
            else end = mempcpy(end, pair + i, length);
        }
        struct text_stream stream = {.out = open_memstream(&text, &size), .visible = true};
        text_write(&stream, (const char *)pair, 1);
        text_write(&stream, (const char *)pair + 1, 1);
        text_end(&stream);
        fclose(stream.out);
        if (size != (size_t)(end - want) || memcmp(text, want, size) != 0)
            fail_msg("%02x %02x: '%s', want '%s'", pair[0], pair[1], text, want);
        free(text);
    }
}

/* Of a longer character that breaks off no byte is lost. */
static void broken_characters_are_shown(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"\xE2\x82" "A", "\\xe2\\x82A"}, {"\xF0\x9F\x98", "\\xf0\\x9f\\x98"}, {"\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80"},
        {"\xE2\x80\xA8", "\xE2\x80\xA8"}, {"\xE2\xE2\x82\xAC", "\\xe2\xE2\x82\xAC"},
        {"\xED\xA0\x80", "\\xed\\xa0\\x80"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *text;
        size_t size;
        struct text_stream stream = {.out = open_memstream(&text, &size), .visible = true};
        text_write(&stream, cases[i][0], strlen(cases[i][0]));
        text_end(&stream);
        fclose(stream.out);
        assert_string_equal(text, cases[i][1]);
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stop_strings_end_a_text),
        cmocka_unit_test(prompts_are_healed),
        cmocka_unit_test(pairs_are_healed),
        cmocka_unit_test(beginnings_are_healed),
        cmocka_unit_test(an_end_of_text_stays),
        cmocka_unit_test(prompts_come_from_lines),
        cmocka_unit_test(bad_prompts_are_refused),
        cmocka_unit_test(terminals_are_shown_what_would_control_them),
        cmocka_unit_test(broken_characters_are_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
