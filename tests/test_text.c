/* Text on its way out (src/text): what is a character is decided here from its number, there byte by byte. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../src/base/text.h"
#include "../src/base/util.h"

/* Bytes of the character at the start of a text that ends with a NUL; 0 if there is none. */
static size_t character_at(const unsigned char *b) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (b[0] < 0x80) return b[0] != 0;
    const size_t n = b[0] >> 5 == 6 ? 2 : b[0] >> 4 == 14 ? 3 : b[0] >> 3 == 30 ? 4 : 0;
    uint32_t number = b[0] & (0x7f >> n);
    for (size_t i = 1; i < n; i++) {
        if (b[i] >> 6 != 2) return 0;
        number = number << 6 | (b[i] & 0x3f);
    }
    if (n == 0 || number < least[n] || number > 0x10ffff || number >> 11 == 0xd800 >> 11) return 0;
    return n;
}

/* Holds a text of four bytes, or of fewer before a NUL, to its characters; behind it stands an A. */
static void utf8_expect(uint32_t bytes) {
    const unsigned char text[] = {bytes >> 24, bytes >> 16, bytes >> 8, bytes, bytes & 0xff ? 'A' : 0, 0};
    size_t at = 0;
    for (size_t n; (n = character_at(text + at)) > 0;) at += n;
    const bool whole = text[at] == 0;
    if (text_is_utf8((const char *)text) != whole) fail_msg("%08x: want %d", bytes, whole);
}

static void test_is_utf8(void **state) {
    (void)state;
    static const uint32_t edges[] = {0x00, 0x01, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xe0, 0xff};
    enum { EDGES = sizeof edges / sizeof *edges };
    for (uint32_t first = 0; first < 256; first++)
        for (uint32_t second = 0; second < 256; second++)
            for (int i = 0; i < EDGES * EDGES; i++)
                utf8_expect(first << 24 | second << 16 | edges[i / EDGES] << 8 | edges[i % EDGES]);
}

/* It is there to say what JSON can hold. */
static void test_is_what_json_holds(void **state) {
    (void)state;
    static const char *const texts[] = {
        "", "a", "caf\xc3\xa9", "caf\xe9", "\xc3", "\xed\x9f\xbf", "\xed\xa0\x80", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xc0\x80", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\x80", "a\xff", "\xf8\x88\x80\x80\x80",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        json_t *text = json_string(texts[i]);
        assert_int_equal(text_is_utf8(texts[i]), text != NULL);
        json_decref(text);
    }
}

#define X "\xef\xbf\xbd" /* U+FFFD */
static const struct {
    const char *bytes, *text;
} pairs[] = {
    {"", ""},
    {"plain", "plain"},
    {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80.", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80."},
    {"caf\xe9", "caf" X},                      /* a character that is not complete is one */
    {"caf\xe9 a", "caf" X " a"},
    {"\xe2\x82", X},
    {"\xe2\x82\xe2\x82\xac", X "\xe2\x82\xac"},
    {"\xf0\x9f\x98", X},
    {"\xf0\x9f\x98z", X "z"},
    {"\xc3\xc3\xa9", X "\xc3\xa9"},
    {"\x80\xbf", X X},                         /* bytes that start none are each one */
    {"\xc0\xaf\xc1", X X X},
    {"\xe0\x80\xaf", X X X},
    {"\xe0\xa0", X},
    {"\xed\xa0\x80", X X X},
    {"\xed\x9f\xbf", "\xed\x9f\xbf"},
    {"\xf4\x90\x80\x80", X X X X},
    {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
    {"\xf5\xff\xfe", X X X},
};
enum { PAIRS = sizeof pairs / sizeof *pairs };

/* Bytes that come in any two pieces: what has been written is characters at any time, and the same in the end. */
static void test_write(void **state) {
    (void)state;
    for (int i = 0; i < PAIRS; i++)
        for (size_t cut = 0, size = strlen(pairs[i].bytes); cut <= size; cut++) {
            char *text;
            size_t written;
            struct text_stream stream = {.out = open_memstream(&text, &written)};
            text_write(&stream, pairs[i].bytes, cut);
            assert_true(text_is_utf8(text));
            text_write(&stream, pairs[i].bytes + cut, size - cut);
            assert_true(text_is_utf8(text));
            text_end(&stream);
            assert_string_equal(text, pairs[i].text); /* without closing it: text_end flushes */
            text_end(&stream);
            assert_string_equal(text, pairs[i].text);
            fclose(stream.out);
            free(text);
        }
}

static void test_as_utf8(void **state) {
    (void)state;
    for (int i = 0; i < PAIRS; i++) {
        const size_t size = strlen(pairs[i].bytes);
        char *all = text_as_utf8(pairs[i].bytes, size + 9), *exactly = text_as_utf8(pairs[i].bytes, size);
        assert_string_equal(all, pairs[i].text);
        assert_string_equal(exactly, pairs[i].text);
        free(all);
        free(exactly);
    }
    char *cut = text_as_utf8("ab\xc3\xa9" "cd", 3);
    assert_string_equal(cut, "ab" X);
    free(cut);
    cut = text_as_utf8("ab\xc3\xa9" "cd", 4);
    assert_string_equal(cut, "ab\xc3\xa9");
    free(cut);
}

static void test_xml(void **state) {
    (void)state;
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    xml_print(out, "%s&<%d>\n\x01\x1f", "a&b<c>\td \x7f\xc3\xa9\"'", 7);
    fclose(out);
    assert_string_equal(text, "a&amp;b&lt;c&gt; d \x7f\xc3\xa9\"'&amp;&lt;7&gt;   ");
    free(text);
}

static void test_to_real(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double value;
    } numbers[] = {{"0", 0}, {"2", 2}, {"+2.5", 2.5}, {"-.5", -.5}, {"1e3", 1000}, {"1E-3", .001}, {"7.", 7},
                   {"1e308", 1e308}, {"0e999", 0}, {"4.9e-324", 4.9e-324}};
    static const char *const others[] = {"", "x", "1x", "x1", "1 ", " 1", "1,5", "0x1p3", "inf", "nan", "-inf", "1e999",
                                         "-1e999", "1e-999", "-", "e", ".", "1e", "1-1", "1.2.3", "--1", "\n1", "1\n"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        double value = -1;
        if (!text_to_real(numbers[i].text, &value) || value != numbers[i].value)
            fail_msg("'%s' is %g, want %g", numbers[i].text, value, numbers[i].value);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        double value;
        if (text_to_real(others[i], &value)) fail_msg("'%s' is %g, want no number", others[i], value);
    }
}

/* Widths are the highest of any font: characters as wide as high, capitals, letters, thin ones; each counts once. */
static void test_width(void **state) {
    (void)state;
    static const char *const kinds[] = {"fijlrt|.,:;'! ()[]-/",
                                        "abcdeghknopqsuvxyz0123456789_=+\xc3\xa9\xd0\x96\xe0\xa4\x95",
                                        "ABCDEFGHIJKLNOPQRSTUVXYZ", "mwMW%@\xe1\x80\x80\xe4\xb8\xad\xf0\x9f\x98\x80"};
    double before = 0, all = 0;
    for (int kind = 0; kind < 4; kind++, before = all) {
        size_t n = 0;
        for (const char *c = kinds[kind]; *c; n++) {
            const size_t size = character_at((const unsigned char *)c);
            char *one = string_format("%.*s", (int)size, c);
            if (n == 0) all = text_width(one);
            if (text_width(one) != all) fail_msg("'%s' is %g wide, want %g", one, text_width(one), all);
            free(one);
            c += size;
        }
        assert_true(all > before && all <= 12.5);
        assert_true(fabs(text_width(kinds[kind]) - (double)n * all) < 1e-9 * (double)n);
    }
    assert_true(text_width("") == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_is_utf8), cmocka_unit_test(test_is_what_json_holds), cmocka_unit_test(test_write),
        cmocka_unit_test(test_as_utf8), cmocka_unit_test(test_xml), cmocka_unit_test(test_width),
        cmocka_unit_test(test_to_real),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
