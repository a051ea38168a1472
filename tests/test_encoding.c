/* Text as people have it: what is recognised, what is let through, and that the command which is given does convert it.
 * Samples are UTF-8 here; iconv(3) makes the other encodings of them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <iconv.h>
#include <math.h>
#include <zlib.h>
#include "../data/encoding.h"
#include "../data/prepare.h"
#include "../src/base/text.h"
#include "command.h"
#include "prose.h"

enum { PROBE = 64 << 10 };

static const char english[] = "It is a truth universally acknowledged, that a single man in possession of a good "
                              "fortune, must be in want of a wife.\n";
static const char quotes[] = "\u201cMy dear Mr. Bennet,\u201d said his lady \u2014 \u201chave you heard\u2026\u201d\n";
static const char french[] = "Longtemps, je me suis couch\u00e9 de bonne heure; \u00e0 peine ma bougie \u00e9teinte, "
                             "mes yeux se fermaient si vite, n\u2019est-ce pas? L\u2019\u0153uvre: 3 \u20ac.\n";
static const char german[] = "Als Gregor Samsa eines Morgens aus unruhigen Tr\u00e4umen erwachte, f\u00fchlte er "
                             "sich au\u00dferordentlich gro\u00df \u00fcber \u00d6sterreich.\n";
static const char russian[] = "\u0412\u0441\u0435 \u0441\u0447\u0430\u0441\u0442\u043b\u0438\u0432\u044b\u0435 "
                              "\u0441\u0435\u043c\u044c\u0438 \u043f\u043e\u0445\u043e\u0436\u0438 \u0434\u0440\u0443"
                              "\u0433 \u043d\u0430 \u0434\u0440\u0443\u0433\u0430.\n";
static const char greek[] = "\u0386\u03bd\u03b4\u03c1\u03b1 \u03bc\u03bf\u03b9 \u03ad\u03bd\u03bd\u03b5\u03c0"
                            "\u03b5, \u03bc\u03bf\u03cd\u03c3\u03b1.\n";
static const char hebrew[] = "\u05d1\u05e8\u05d0\u05e9\u05d9\u05ea \u05d1\u05e8\u05d0 \u05d0\u05dc\u05d4\u05d9\u05dd\n";
static const char thai[] = "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01\n";
static const char japanese[] = "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b\u3002\u540d\u524d\u306f\u307e\u3060\u7121"
                               "\u3044\u3002\n";
static const char chinese[] = "\u4e00\u5929\u65e9\u4e0a\uff0c\u5b54\u4e59\u5df1\u662f\u7ad9\u7740\u559d\u9152\u3002\n";
static const char korean[] = "\ub098 \ubcf4\uae30\uac00 \uc5ed\uaca8\uc6cc \uac00\uc2e4 \ub54c\uc5d0\ub294\n";
static const char emoji[] = "Well \U0001F600 done, \U0001F680 and \U0001D11E music.\n";
static const char *const samples[] = {english, quotes, french, german, russian, greek, hebrew,
                                      thai, japanese, chinese, korean, emoji};
enum { SAMPLES = sizeof samples / sizeof *samples, ALPHABETS = 8 /* the first of them */ };

struct blob {
    char *data;
    size_t size;
};

/* The text `times` times, with the mark before it, in another encoding. */
static struct blob blob_make(const char *mark, size_t mark_size, const char *encoding, const char *text,
                             size_t times) {
    const size_t size = strlen(text);
    struct blob b = {array_alloc(4 * size * times + mark_size + 1, 1), mark_size};
    memcpy(b.data, mark, mark_size);
    iconv_t converter = iconv_open(encoding, "UTF-8");
    assert_true(converter != (iconv_t)-1);
    for (size_t i = 0; i < times; i++) {
        char *in = (char *)text, *out = b.data + b.size;
        size_t left = size, room = 4 * size;
        if (iconv(converter, &in, &left, &out, &room) == (size_t)-1) fail_msg("%s cannot hold %s", encoding, text);
        b.size = (size_t)(out - b.data);
    }
    iconv_close(converter);
    return b;
}

/* ---- What is recognised ---- */

enum verdict { NOTHING, NOTE, REFUSAL };

/* Holds bytes from a pipe to a verdict and, if there is one, to the filter that is named in it. */
static void expect(const char *bytes, size_t size, enum verdict want, const char *filter) {
    struct encoding_notes notes = {0};
    struct error err = {0, ""};
    char *copy = array_alloc(size, 1); /* of this size: the sanitizer sees what is read behind it */
    memcpy(copy, bytes, size);
    const bool ok = encoding_check_piped(&notes, "-", copy, size, &err);
    const char *says = ok ? NULL : err.text;
    int n = 0;
    for (int i = 0; i < ENCODING_NOTES; i++)
        if (notes.of[i].path) says = notes.of[i].remedy, n++;
    const enum verdict got = !ok ? REFUSAL : n > 0 ? NOTE : NOTHING;
    char head[41] = "", *shown;
    memcpy(head, bytes, size < 40 ? size : 40);
    shown = text_escape(head);
    if (got != want || n > 1 || (n == 1 && !ok))
        fail_msg("verdict %d, want %d, of %zu bytes %s", got, want, size, shown);
    if (!ok) assert_int_equal(err.code, EXIT_INPUT);
    if (says) {
        char *end = string_format("send it through: %s", filter);
        if (strlen(says) < strlen(end) || strcmp(says + strlen(says) - strlen(end), end) != 0)
            fail_msg("'%s', want %s, of %zu bytes %s", says, filter, size, shown);
        free(end);
    }
    encoding_tell(&notes, false);
    for (int i = 0; i < ENCODING_NOTES; i++) assert_null(notes.of[i].path);
    free(shown);
    free(copy);
}

/* In an encoding, of lengths from one line to more than is looked at. */
static void expect_of(const char *mark, size_t mark_size, const char *encoding, const char *text, enum verdict want,
                      const char *filter) {
    for (size_t times = 1; times < 3000; times = times * 3 + 1) {
        const struct blob b = blob_make(mark, mark_size, encoding, text, times);
        expect(b.data, b.size, want, filter);
        free(b.data);
    }
}

static void utf8_is_let_through(void **state) {
    (void)state;
    for (int i = 0; i < SAMPLES; i++) expect_of("", 0, "UTF-8", samples[i], NOTHING, "");
    for (int i = 0; i < SAMPLES; i++) expect_of("\xef\xbb\xbf", 3, "UTF-8", samples[i], NOTE, "tail -c +4");
    expect("", 0, NOTHING, "");
    for (int byte = 0; byte < 0x80; byte++) expect((char[]){(char)byte}, 1, NOTHING, "");
    expect("\xef\xbb\xbf", 3, NOTE, "tail -c +4");
    expect("a\xef\xbb\xbf", 4, NOTHING, "");
}

/* Where the part that is looked at ends within a character, that one is not held against the text. */
static void a_character_may_be_cut(void **state) {
    (void)state;
    static const char *const characters[] = {"\u00e9", "\u20ac", "\U0001F600"};
    char *text = array_alloc(PROBE + 8, 1);
    for (int i = 0; i < 3; i++) {
        const size_t length = strlen(characters[i]);
        for (size_t inside = 0; inside <= length; inside++) {
            memset(text, 'a', PROBE + 8);
            memcpy(text + PROBE - inside, characters[i], length);
            expect(text, PROBE + 8, NOTHING, "");
            for (size_t at = 0; at + 100 < PROBE; at += 100) text[at] = '\xe9';
            expect(text, PROBE + 8, NOTE, "iconv -f WINDOWS-1252 -t UTF-8");
        }
    }
    free(text);
    expect("caf\xe9", 4, NOTE, "iconv -f WINDOWS-1252 -t UTF-8"); /* not cut: all there is */
    expect("\xe9t", 2, NOTE, "iconv -f ENCODING -t UTF-8");
}

static void utf16_and_utf32_are_refused(void **state) {
    (void)state;
    for (int i = 0; i < SAMPLES; i++) {
        expect_of("\xff\xfe", 2, "UTF-16LE", samples[i], REFUSAL, "iconv -f UTF-16 -t UTF-8");
        expect_of("\xfe\xff", 2, "UTF-16BE", samples[i], REFUSAL, "iconv -f UTF-16 -t UTF-8");
        expect_of("\xff\xfe\0\0", 4, "UTF-32LE", samples[i], REFUSAL, "iconv -f UTF-32 -t UTF-8");
        expect_of("\0\0\xfe\xff", 4, "UTF-32BE", samples[i], REFUSAL, "iconv -f UTF-32 -t UTF-8");
    }
    for (int i = 0; i < ALPHABETS; i++) {
        expect_of("", 0, "UTF-16LE", samples[i], REFUSAL, "iconv -f UTF-16LE -t UTF-8");
        expect_of("", 0, "UTF-16BE", samples[i], REFUSAL, "iconv -f UTF-16BE -t UTF-8");
    }
    expect("\xff\xfe" "a\0", 4, REFUSAL, "iconv -f UTF-16 -t UTF-8");
    expect("\xfe\xff\0a", 4, REFUSAL, "iconv -f UTF-16 -t UTF-8");
    expect("h\0i\0", 4, REFUSAL, "iconv -f UTF-16LE -t UTF-8");
    expect("\0h\0i", 4, REFUSAL, "iconv -f UTF-16BE -t UTF-8");
    expect("h\0i\0!", 5, REFUSAL, "iconv -f UTF-16LE -t UTF-8"); /* cut within a unit */
    expect("h\0\t\0\n\0\r\0\f\0", 10, REFUSAL, "iconv -f UTF-16LE -t UTF-8");
}

/* What of UTF-16 is missing makes it bytes of some other kind. */
static void what_is_nearly_utf16_is_let_through(void **state) {
    (void)state;
    static const struct blob bytes[] = {
        {"\xff\xfe", 2}, {"\xfe\xff", 2}, {"\xff\xfe\0", 3}, {"\xff\xfe\x01\0", 4}, {"\xff\xfe\0\xd8" "a\0", 6},
        {"\xff\xfe\0\xdc", 4}, {"\xfe\xff\xff\xff", 4}, {"\xfe\xff\xff\xfe", 4},
        {"\xfe\xff\0\x85", 4}, {"\xff\xfe\0\0\0\0\x11\0", 8},
        {"\xff\xfe\0\0\0\0\0\x01", 8}, {"\0\0\xfe\xff\0\x11\0\0", 8}, {"\0\0\xfe\xff\x01\0\0\0", 8}, {"a\0\x1f\0", 4},
        {"a\0\0\0", 4}, {"\0\0\0\0", 4}, {"a\0\x7f\0", 4}, {"a\0\x80\0", 4}, {"a\0\x9f\0", 4}, {"a\0\0\xd8" "a\0", 6},
        {"a\0\0\xdc", 4}, {"a\0\xff\xff", 4}, {"\0", 1}, {"a\0", 1}, {"\xff\xfe\0\0", 4}, {"\0\0\xfe\xff", 4},
    };
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        const bool other = memchr(bytes[i].data, 0, bytes[i].size) == NULL && (unsigned char)*bytes[i].data >= 0x80;
        expect(bytes[i].data, bytes[i].size, other ? NOTE : NOTHING, "iconv -f ENCODING -t UTF-8");
    }
    expect("\xff\xfe\0\0\xfd\xff\x10\0", 8, REFUSAL, "iconv -f UTF-32 -t UTF-8");
    expect("\0\0\xfe\xff\0\x10\xff\xfd", 8, REFUSAL, "iconv -f UTF-32 -t UTF-8");
    expect("\xff\xfe\0\0a\0\0\0b\0\x11", 11, REFUSAL, "iconv -f UTF-32 -t UTF-8"); /* cut within a number */
    expect("a\0\xa0\0", 4, REFUSAL, "iconv -f UTF-16LE -t UTF-8");
    expect("a\0~\0", 4, REFUSAL, "iconv -f UTF-16LE -t UTF-8");
}

/* One unit of five hundred may be wrong, one of two hundred has to be ASCII, one of twenty may be of others. */
static void utf16_has_its_limits(void **state) {
    (void)state;
    enum { UNITS = 2000 };
    for (int more = 0; more < 2; more++) {
        char text[2 * UNITS];
        for (int i = 0; i < UNITS; i++) text[2 * i] = 'a', text[2 * i + 1] = 0;
        for (int i = 0; i < 4 + more; i++) text[200 * i] = 1;
        expect(text, sizeof text, more ? NOTHING : REFUSAL, "iconv -f UTF-16LE -t UTF-8");
        for (int i = 0; i < UNITS; i++) text[2 * i] = i % 2 ? '\n' : '0', text[2 * i + 1] = i < 10 - more ? 0 : 4;
        expect(text, sizeof text, more ? NOTHING : REFUSAL, "iconv -f UTF-16LE -t UTF-8");
        for (int i = 0; i < UNITS; i++) text[2 * i] = 'a', text[2 * i + 1] = i % 2 ? 4 : i % 4 ? 0x20 : 0;
        for (int i = 0; i < 100 + more; i++) text[20 * i + 1] = i % 2 ? 5 : 6;
        expect(text, sizeof text, more ? NOTHING : REFUSAL, "iconv -f UTF-16LE -t UTF-8");
        for (int i = 0; i < UNITS; i++) {
            static const char upper[] = "\x20\x20\x20\x20\x20\x20\0\0\4\4";
            text[2 * i + 1] = (char)(upper[i % 10] + (more && i % 10 == 9));
        }
        expect(text, sizeof text, more ? NOTHING : REFUSAL, "iconv -f UTF-16LE -t UTF-8");
    }
}

static void latin_is_noted(void **state) {
    (void)state;
    static const char *const one_byte[] = {quotes, french, german};
    for (int i = 0; i < 3; i++)
        expect_of("", 0, "WINDOWS-1252", one_byte[i], NOTE, "iconv -f WINDOWS-1252 -t UTF-8");
    expect_of("", 0, "ISO-8859-1", german, NOTE, "iconv -f WINDOWS-1252 -t UTF-8");
    static const struct {
        const char *encoding, *text;
    } others[] = {{"WINDOWS-1251", russian}, {"KOI8-R", russian}, {"CP866", russian}, {"ISO-8859-7", greek},
                  {"ISO-8859-8", hebrew}, {"TIS-620", thai}, {"SHIFT_JIS", japanese}, {"EUC-JP", japanese},
                  {"GB18030", chinese}, {"BIG5", "\u4eca\u5929\u7684\u5929\u6c23\u5f88\u597d\n"}, {"EUC-KR", korean},
                  {"CP850", german}, {"MACINTOSH", german},
                  {"CP437", "caf\u00e9 \u00e0 la cr\u00e8me, gar\u00e7on\n"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        expect_of("", 0, others[i].encoding, others[i].text, NOTE, "iconv -f ENCODING -t UTF-8");
}

/* A thousandth of all bytes, a third of them, nine tenths of those beyond ASCII, as many as of UTF-8. */
static void latin_has_its_limits(void **state) {
    (void)state;
    enum { SIZE = 9000 };
    char text[SIZE];
    for (int more = 0; more < 2; more++) {
        memset(text, 'a', SIZE);
        for (int i = 0; i < 9 + more; i++) text[2 * i] = '\xe9';
        expect(text, SIZE, more ? NOTE : NOTHING, "iconv -f WINDOWS-1252 -t UTF-8");
        memset(text, 'a', SIZE);
        memset(text, '\xa0', (size_t)(2999 + more));
        expect(text, SIZE, NOTE, more ? "iconv -f ENCODING -t UTF-8" : "iconv -f WINDOWS-1252 -t UTF-8");
        memset(text, 'a', SIZE);
        memset(text, '\xff', 900);
        memset(text, '\x82', (size_t)(90 + more));
        expect(text, SIZE, NOTE, more ? "iconv -f ENCODING -t UTF-8" : "iconv -f WINDOWS-1252 -t UTF-8");
        memset(text, 'a', SIZE);
        for (int i = 0; i < 50; i++) memcpy(text + 10 * i, "\u00e9", 2);
        for (int i = 0; i < 50 + more; i++) text[4000 + 2 * i] = '\xe9';
        expect(text, SIZE, more ? NOTE : NOTHING, "iconv -f ENCODING -t UTF-8");
        for (int i = 0; i < 100 + more; i++) text[4000 + 2 * i] = '\xe9';
        expect(text, SIZE, NOTE, more ? "iconv -f WINDOWS-1252 -t UTF-8" : "iconv -f ENCODING -t UTF-8");
        memset(text, 'a', SIZE); /* binary, if there is a NUL in the first eighth kilobyte */
        memset(text, '\xe9', 100);
        text[8191 + more] = 0;
        expect(text, SIZE, more ? NOTE : NOTHING, "iconv -f WINDOWS-1252 -t UTF-8");
    }
    char *long_text = array_alloc(2 * PROBE, 1);
    memset(long_text, 'a', 2 * PROBE);
    memset(long_text + PROBE, '\xe9', 1000);
    expect(long_text, 2 * PROBE, NOTHING, ""); /* not looked at */
    memset(long_text + PROBE - 66, '\xe9', 66);
    expect(long_text, 2 * PROBE, NOTE, "iconv -f WINDOWS-1252 -t UTF-8");
    free(long_text);
    for (int byte = 0x80; byte < 0x100; byte++) {
        const bool windows = byte >= 0xa0 || strchr("\x80\x85\x8c\x91\x92\x93\x94\x95\x96\x97\x99\x9c", byte);
        char word[] = {'a', 'b', 'c', (char)byte, 'd', 'e'};
        expect(word, sizeof word, NOTE, windows ? "iconv -f WINDOWS-1252 -t UTF-8" : "iconv -f ENCODING -t UTF-8");
    }
}

/* "hello world hello\n" and nothing, as each of them packs it. */
static const struct {
    const char *program, *ending, *data;
    size_t size;
    const char *empty;
    size_t empty_size;
} packers[] = {
    {"xz", ".xz", "\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\x01"
     "\x00\x11\x68\x65\x6c\x6c\x6f\x20\x77\x6f\x72\x6c\x64\x20\x68\x65\x6c\x6c\x6f\x0a\x00\x00\x00\xda\xb7\x87\x71\x00"
     "\x8a\xe8\x9e\x00\x01\x2a\x12\x4b\x08\x54\xbc\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04\x59\x5a", 76,
     "\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x00\x00\x00\x00\x1c\xdf\x44\x21\x1f\xb6\xf3\x7d\x01\x00\x00\x00"
     "\x00\x04\x59\x5a", 32},
    {"zstd", ".zst", "\x28\xb5\x2f\xfd\x24\x12\x91\x00\x00\x68\x65\x6c\x6c\x6f\x20\x77\x6f\x72\x6c\x64\x20\x68\x65\x6c"
     "\x6c\x6f\x0a\x0f\x82\x8c\x21", 31, "\x28\xb5\x2f\xfd\x24\x00\x01\x00\x00\x99\xe9\xd8\x51", 13},
    {"bzip2", ".bz2", "\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\x98\xda\xce\x92\x00\x00\x03\xd1\x80\x00\x10\x40\x00\x06"
     "\x44\x90\x80\x20\x00\x21\x2a\x69\x98\x82\x0c\x98\x87\x74\xd8\x94\x82\x0d\x8f\x85\xdc\x91\x4e\x14\x24\x26\x36\xb3"
     "\xa4\x80", 54, "\x42\x5a\x68\x39\x17\x72\x45\x38\x50\x90\x00\x00\x00\x00", 14},
    {"gzip", "", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x48\xcd\xc9\xc9\x57\x28\xcf\x2f\xca\x49\x51\xc8\x00\xb1"
     "\xb9\x00\x3f\xfb\xa4\x27\x12\x00\x00\x00", 35,
     "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00", 20},
};
enum { PACKERS = sizeof packers / sizeof *packers };

static void compressed_bytes_are_refused(void **state) {
    (void)state;
    for (int i = 0; i < PACKERS; i++) {
        char *filter = string_format("%s -dc", packers[i].program), says[40];
        expect(packers[i].data, packers[i].size, REFUSAL, filter);
        expect(packers[i].empty, packers[i].empty_size, REFUSAL, filter);
        struct encoding_notes notes = {0};
        struct error err;
        assert_false(encoding_check_piped(&notes, "fifo", packers[i].data, packers[i].size, &err));
        snprintf(says, sizeof says, "fifo: compressed by %s ", packers[i].program);
        assert_ptr_equal(strstr(err.text, says), err.text);
        const size_t magic = i == 2 ? 10 : i == 3 ? 3 : i == 0 ? 6 : 4;
        for (size_t byte = 0; byte < magic; byte++) { /* what has another byte there is something else */
            char other[100];
            memcpy(other, packers[i].data, packers[i].size);
            if (i == 2 && byte == 3) continue; /* a size from 1 to 9 */
            other[byte] ^= 1;
            assert_true(encoding_check_piped(&notes, "-", other, packers[i].size, &err));
            assert_true(encoding_check_piped(&notes, "-", packers[i].data, byte, &err));
        }
        encoding_tell(&notes, false);
        free(filter);
    }
    for (char size = '0' - 1; size <= '9' + 1; size++) {
        char head[] = "BZhx1AY&SY and more";
        head[3] = size;
        expect(head, sizeof head - 1, size >= '1' && size <= '9' ? REFUSAL : NOTHING, "bzip2 -dc");
    }
    expect("BZh9 is how bzip2 begins", 24, NOTHING, "");
}

/* Any bytes can be trained on: those of programs, numbers, sound, lists that have NULs between their words. */
static void other_bytes_are_never_refused(void **state) {
    (void)state;
    enum { SIZE = 40000 };
    struct rng rng;
    struct error err;
    struct encoding_notes notes = {0};
    int16_t sound[SIZE / 2];
    char *text = array_alloc(SIZE, 1);
    for (int i = 0; i < SIZE / 2; i++) sound[i] = (int16_t)(9000 * sin(i / 17.) + 3000 * sin(i / 5.));
    for (int i = 0; i < SIZE; i++) text[i] = i % 4 == 3 ? 0 : (char)('a' + i / 4 * 7 % 26 * (i % 4 + 1) % 26);
    assert_true(encoding_check_piped(&notes, "-", text, SIZE, &err)); /* records of three letters and a NUL */
    assert_true(encoding_check_piped(&notes, "-", (char *)sound, SIZE, &err));
    for (uint64_t seed = 0; seed < 300; seed++) {
        rng_seed(&rng, seed, 0);
        const size_t size = rng_next(&rng) % SIZE;
        for (size_t i = 0; i < size; i++) text[i] = (char)rng_next(&rng);
        assert_true(encoding_check_piped(&notes, "-", text, size, &err));
        for (size_t i = 0; i < size; i++) /* words, with NULs between them */
            text[i] = rng_next(&rng) % 8 == 0 ? 0 : (char)('a' + rng_next(&rng) % 26);
        if (size > 100) assert_true(encoding_check_piped(&notes, "-", text, size, &err));
        for (size_t i = 0; i + 1 < size; i += 2) { /* token ids of two bytes, low ones more often */
            const double u = rng_uniform(&rng);
            const unsigned id = (unsigned)(u * u * u * 50257);
            text[i] = (char)id, text[i + 1] = (char)(id >> 8);
        }
        if (size > 1000) assert_true(encoding_check_piped(&notes, "-", text, size, &err));
    }
    encoding_tell(&notes, false);
    free(text);
    bool binary;
    assert_true(encoding_check(&notes, "/proc/self/exe", true, &binary, &err));
    assert_true(binary);
    assert_true(encoding_check(&notes, "/proc/self/exe", false, &binary, &err));
    assert_false(binary);
    for (int i = 0; i < ENCODING_NOTES; i++) assert_null(notes.of[i].path);
}

/* ---- Files ---- */

static void gzip_save(const char *path, const char *data, size_t size) {
    gzFile file = gzopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, data, (unsigned)size), size);
    assert_int_equal(gzclose(file), Z_OK);
}

/* What follows "convert it: " for a file with these bytes; malloc'ed. */
static char *command_for(const char *path, bool walked, const char *data, size_t size) {
    struct encoding_notes notes = {0};
    struct error err = {0, ""};
    bool binary;
    const size_t n = strlen(path);
    if (n > 3 && strcmp(path + n - 3, ".gz") == 0) gzip_save(path, data, size);
    else text_save(path, data, size);
    const bool ok = encoding_check(&notes, path, walked, &binary, &err);
    assert_false(binary);
    const char *says = err.text;
    for (int i = 0; ok && i < ENCODING_NOTES; i++)
        if (notes.of[i].path) says = notes.of[i].remedy;
    const char *command = strstr(says, "convert it: ");
    if (!command) fail_msg("%s: '%s'", path, says);
    char *copy = string_format("%s", command + strlen("convert it: "));
    encoding_tell(&notes, false);
    unlink(path);
    return copy;
}

/* By the name it has, named or found in a directory, alone or within a .gz. */
static void the_command_fits_the_file(void **state) {
    (void)state;
    static const char latin[] = "caf\xe9";
    static const struct {
        const char *path;
        int packer; /* or -1: Latin-1 */
        const char *named, *walked;
    } cases[] = {
        {"a.txt.xz", 0, "xz -dk a.txt.xz", "xz -d a.txt.xz"},
        {"a.txt.zst", 1, "zstd -d a.txt.zst", "zstd -d --rm a.txt.zst"},
        {"a.txt.bz2", 2, "bzip2 -dk a.txt.bz2", "bzip2 -d a.txt.bz2"},
        {"a.txt", 0, "xz -dc <a.txt >a.txt.utf8", "xz -dc <a.txt >a.txt.utf8 && mv a.txt.utf8 a.txt"},
        {"a.xz", 1, "zstd -dc <a.xz >a.xz.utf8", "zstd -dc <a.xz >a.xz.utf8 && mv a.xz.utf8 a.xz"},
        {"xz", 2, "bzip2 -dc <xz >xz.utf8", "bzip2 -dc <xz >xz.utf8 && mv xz.utf8 xz"},
        {"a", 3, "gzip -dc <a >a.utf8", "gzip -dc <a >a.utf8 && mv a.utf8 a"},
        {"a.gz", 3, "gzip -dc <a.gz | gzip -dc >a.gz.utf8",
         "gzip -dc <a.gz | gzip -dc | gzip >a.gz.utf8 && mv a.gz.utf8 a.gz"},
        {"a.xz.gz", 0, "gzip -dc <a.xz.gz | xz -dc >a.xz.gz.utf8",
         "gzip -dc <a.xz.gz | xz -dc | gzip >a.xz.gz.utf8 && mv a.xz.gz.utf8 a.xz.gz"},
        {"a.gz", -1, "gzip -dc <a.gz | iconv -f WINDOWS-1252 -t UTF-8 >a.gz.utf8",
         "gzip -dc <a.gz | iconv -f WINDOWS-1252 -t UTF-8 | gzip >a.gz.utf8 && mv a.gz.utf8 a.gz"},
        {"my file.xz", 0, "xz -dk 'my file.xz'", "xz -d 'my file.xz'"},
        {"it's.xz", 0, "xz -dk 'it'\\''s.xz'", "xz -d 'it'\\''s.xz'"},
        {"$HOME", -1, "iconv -f WINDOWS-1252 -t UTF-8 <'$HOME' >'$HOME'.utf8",
         "iconv -f WINDOWS-1252 -t UTF-8 <'$HOME' >'$HOME'.utf8 && mv '$HOME'.utf8 '$HOME'"},
        {"-x.xz", 0, "xz -dk ./-x.xz", "xz -d ./-x.xz"},
        {"Az09_./,:@%+-.xz", 0, "xz -dk Az09_./,:@%+-.xz", "xz -d Az09_./,:@%+-.xz"},
        {"\u00e9.xz", 0, "xz -dk '\u00e9.xz'", "xz -d '\u00e9.xz'"},
    };
    mkdir("Az09_.", 0777);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int packer = cases[i].packer;
        const char *data = packer < 0 ? latin : packers[packer].data;
        const size_t size = packer < 0 ? strlen(latin) : packers[packer].size;
        char *named = command_for(cases[i].path, false, data, size);
        char *walked = command_for(cases[i].path, true, data, size);
        assert_string_equal(named, cases[i].named);
        assert_string_equal(walked, cases[i].walked);
        free(named);
        free(walked);
    }
    char path[152] = "", *command;
    memset(path, 'x', 150);
    command = command_for(path, true, latin, strlen(latin));
    assert_int_equal(strlen(strstr(command, " && mv ")), 7 + 150 + 5 + 1 + 150);
    free(command);
    path[150] = 'x'; /* there would soon be no room for the rest */
    command = command_for(path, false, latin, strlen(latin));
    assert_string_equal(command, "iconv -f WINDOWS-1252 -t UTF-8 <FILE >FILE.utf8");
    free(command);
}

/* A file that is not what its name says, or cannot be read, is left to who reads it. */
static void other_files_are_passed(void **state) {
    (void)state;
    struct encoding_notes notes = {0};
    struct error err;
    bool binary = true;
    text_save("latin.gz", "caf\xe9", 4);
    text_save("packed.gz", packers[0].data, packers[0].size);
    text_save("empty", "", 0);
    text_save("empty.gz", "", 0);
    gzip_save("cut.gz", english, strlen(english));
    assert_int_equal(truncate("cut.gz", 30), 0);
    text_save("wide", "\xff\xfeh\0i\0", 6);
    text_save("bad.gz", "\x1f\x8b\x08\0\0\0\0\0\0\x03\xff\xff\xff\xff", 14);
    assert_false(encoding_check(&notes, "wide", true, &binary, &err)); /* of this nothing may be left behind */
    static const char *const paths[] = {"bad.gz", "latin.gz", "packed.gz", "empty", "empty.gz", "cut.gz", "missing",
                                        "missing.gz", ".", "/proc/self/mem"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++, binary = true) {
        if (!encoding_check(&notes, paths[i], true, &binary, &err)) fail_msg("%s: %s", paths[i], err.text);
        assert_false(binary);
    }
    for (int i = 0; i < ENCODING_NOTES; i++) assert_null(notes.of[i].path);
    gzip_save("binary.gz", "\0\1\2", 3);
    text_save("binary", "\0\1\2", 3);
    for (int i = 0; i < 4; i++) {
        assert_true(encoding_check(&notes, i < 2 ? "binary.gz" : "binary", i % 2, &binary, &err));
        assert_int_equal(binary, i % 2);
    }
}

/* ---- Through ./train ---- */

#define TRAIN "train --cache cache --vocab 300 --seq 16 --dry-run "

/* Runs what follows "convert it: " on the last line of standard error. */
static void command_run_given(void) {
    char *command = strstr(errors, "convert it: ");
    if (!command) fail_msg("no command: %s", errors);
    command += strlen("convert it: ");
    command[strcspn(command, "\n")] = 0;
    char *copy = string_format("%s", command);
    run("%s", copy);
    free(copy);
}

static void file_is(const char *path, const struct blob *want) {
    char *text = array_alloc(want->size + 2, 1);
    text_read(path, text, want->size + 2);
    assert_int_equal(file_size(path), want->size);
    assert_memory_equal(text, want->data, want->size);
    free(text);
}

/* Each is refused with exit code 3 and one line; its command makes the text, which is then taken without a word. */
static void what_train_refuses_can_be_converted(void **state) {
    (void)state;
    static const struct {
        const char *make, *name, *made; /* from text.txt: the file to give; what its command makes of it */
        const char *says;
    } cases[] = {
        {"iconv -f UTF-8 -t UTF-16 text.txt >w.txt", "w.txt", "w.txt.utf8", "w.txt: UTF-16 (want UTF-8 text)"},
        {"iconv -f UTF-8 -t UTF-32 text.txt >w.txt", "w.txt", "w.txt.utf8", "w.txt: UTF-32 (want UTF-8 text)"},
        {"iconv -f UTF-8 -t UTF-16LE text.txt >w.txt", "w.txt", "w.txt.utf8", "w.txt: UTF-16 without a mark"},
        {"iconv -f UTF-8 -t UTF-16BE text.txt >'w w.txt'", "'w w.txt'", "w w.txt.utf8", "w w.txt: UTF-16 without a"},
        {"gzip -c text.txt >w", "w", "w.utf8", "w: compressed by gzip under another name"},
        {"iconv -f UTF-8 -t UTF-16 text.txt | gzip >w.gz", "w.gz", "w.gz.utf8", "w.gz: UTF-16 (want UTF-8 text)"},
        {"xz -c text.txt >w.xz", "w.xz", "w", "w.xz: compressed by xz (want UTF-8 text)"},
        {"zstd -qc text.txt >w.zst", "w.zst", "w", "w.zst: compressed by zstd (want UTF-8 text)"},
        {"bzip2 -c text.txt >w.bz2", "w.bz2", "w", "w.bz2: compressed by bzip2 (want UTF-8 text)"},
        {"xz -c text.txt >w", "w", "w.utf8", "w: compressed by xz (want UTF-8 text)"},
    };
    struct blob text = blob_make("", 0, "UTF-8", french, 150);
    text_save("text.txt", text.data, text.size);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *program = string_format("command -v %.*s", (int)strcspn(cases[i].make, " "), cases[i].make);
        const bool have = command_run(program) == 0;
        free(program);
        if (!have) continue; /* what it packs is recognised in any case: see above */
        run("rm -rf w* d && mkdir d && %s", cases[i].make);
        char *command = string_format(TRAIN "%s", cases[i].name);
        refuse(EXIT_INPUT, cases[i].says, "; convert it: ", command);
        command_run_given();
        file_is(cases[i].made, &text);
        run(TRAIN "'%s'", cases[i].made);
        assert_null(strstr(errors, "note:"));
        /* as held-out text, and in a directory, where it is replaced */
        run("cp text.txt d/text.txt && mv %s d", cases[i].name);
        char *val = string_format(TRAIN "text.txt --val d/%s", cases[i].name);
        refuse(EXIT_INPUT, cases[i].says, "; convert it: ", val);
        refuse(EXIT_INPUT, cases[i].says, "; convert it: ", TRAIN "d");
        command_run_given();
        run(TRAIN "d");
        assert_null(strstr(errors, "note:"));
        assert_null(strstr(errors, "skipped"));
        run("ls d | wc -l");
        assert_string_equal(output, "2\n");
        free(val);
        free(command);
    }
    free(text.data);
}

/* Nothing else of a walk changes: binary and hidden files, also compressed ones, are skipped. */
static void walks_skip_what_they_skipped(void **state) {
    (void)state;
    struct blob text = blob_make("", 0, "UTF-8", english, 150);
    run("rm -rf d && mkdir -p d/.h");
    text_save("d/text.txt", text.data, text.size);
    text_save("d/.hidden.xz", packers[0].data, packers[0].size);
    text_save("d/.h/hidden.xz", packers[0].data, packers[0].size);
    text_save("d/numbers", "\0\1\2\3", 4);
    gzip_save("d/numbers.gz", "\0\1\2\3", 4);
    run(TRAIN "d");
    assert_non_null(strstr(errors, "skipped, hidden or binary: d/.hidden.xz\n"));
    assert_non_null(strstr(errors, "skipped, hidden or binary: d/numbers\n"));
    assert_non_null(strstr(errors, "skipped, hidden or binary: d/numbers.gz\n"));
    assert_non_null(strstr(errors, "encoding 1 files"));
    assert_null(strstr(errors, "note:"));
    free(text.data);
}

/* Who is refused has enough to read. */
static void a_refusal_stands_alone(void **state) {
    (void)state;
    run("rm -rf d && mkdir d");
    text_save("d/a", "caf\xe9", 4);
    text_save("d/b", "\xef\xbb\xbf", 3);
    text_save("d/c", packers[0].data, packers[0].size);
    refuse(EXIT_INPUT, "d/c: compressed by xz", "convert it: xz -dc <d/c >d/c.utf8 && mv d/c.utf8 d/c", TRAIN "d");
    assert_null(strstr(errors, "note:"));
}

/* Prepares directory d; `errors` receives what standard error is told. */
static void prepare_d(bool verbose) {
    struct error err = {0, ""};
    const struct prepare_options o = {.paths = (char *[]){"d"}, .n_paths = 1, .vocab = 300, .cache = "cache",
                                      .verbose = verbose};
    const int keep = dup(2), file = open("told.txt", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    assert_true(keep >= 0 && file >= 0 && dup2(file, 2) == 2);
    char *dir = data_prepare(&o, &err);
    assert_int_equal(dup2(keep, 2), 2);
    close(keep);
    close(file);
    if (!dir) fail_msg("%s", err.text);
    free(dir);
    text_read("told.txt", errors, sizeof errors);
}

static void notes_are_for_those_who_want_them(void **state) {
    (void)state;
    const struct blob text = blob_make("", 0, "WINDOWS-1252", french, 150);
    run("rm -rf d && mkdir d");
    text_save("d/a", text.data, text.size);
    text_save("d/b", "\xef\xbb\xbf", 3);
    text_save("d/c", "caf\xe9", 4);
    prepare_d(true);
    assert_non_null(strstr(errors, "note: d/a (and 1 more): looks like Windows-1252"));
    assert_non_null(strstr(errors, "note: d/b: begins with"));
    prepare_d(false);
    assert_string_equal(errors, "");
    free(text.data);
}

/* Through a pipe there is no file to convert. */
static void pipes_are_looked_at(void **state) {
    (void)state;
    struct blob text = blob_make("", 0, "UTF-8", german, 150);
    text_save("text.txt", text.data, text.size);
    refuse(EXIT_INPUT, "-: UTF-16 (want UTF-8 text)", "; send it through: iconv -f UTF-16 -t UTF-8",
           "iconv -f UTF-8 -t UTF-16 text.txt | " TRAIN "-");
    refuse(EXIT_INPUT, "-: compressed by gzip", "; send it through: gzip -dc", "gzip -c text.txt | " TRAIN "-");
    run("iconv -f UTF-8 -t ISO-8859-1 text.txt | " TRAIN "-");
    assert_non_null(strstr(errors, "train: note: -: looks like Windows-1252 or Latin-1; what is not ASCII in it is "
                                   "trained on byte by byte; send it through: iconv -f WINDOWS-1252 -t UTF-8\n"));
    free(text.data);
}

/* Latin-1 is trained on, as any bytes are, and noted, once however many files there are; so are marks. */
static void what_train_notes_can_be_converted(void **state) {
    (void)state;
    struct blob text = blob_make("", 0, "UTF-8", german, 150);
    run("rm -rf d && mkdir d");
    text_save("text.txt", text.data, text.size);
    run("iconv -f UTF-8 -t ISO-8859-1 text.txt >latin.txt && { printf '\\357\\273\\277'; cat text.txt; } >marked.txt");
    run(TRAIN "latin.txt");
    assert_non_null(strstr(errors, "train: note: latin.txt: looks like Windows-1252 or Latin-1; "));
    command_run_given();
    file_is("latin.txt.utf8", &text);
    run(TRAIN "marked.txt");
    assert_non_null(strstr(errors, "train: note: marked.txt: begins with a byte-order mark, which is trained on, "));
    command_run_given();
    file_is("marked.txt.utf8", &text);
    run("iconv -f UTF-8 -t KOI8-R >cyrillic.txt <<'END'\n%sEND\n", russian);
    run("cp latin.txt d/a && cp latin.txt d/c && cp cyrillic.txt d/b && cp latin.txt d/d && cp marked.txt d/m");
    for (int again = 0; again < 2; again++) { /* from the cache, too */
        run(TRAIN "d text.txt");
        assert_non_null(strstr(errors, "train: note: d/a (and 2 more): looks like Windows-1252"));
        assert_non_null(strstr(errors, "train: note: d/b: is not UTF-8; what is not ASCII in it is trained on byte by "
                                       "byte; convert it: iconv -f ENCODING -t UTF-8 <d/b >d/b.utf8 && mv "));
        assert_non_null(strstr(errors, "train: note: d/m: begins with a byte-order mark"));
        int notes = 0;
        for (char *at = errors; (at = strstr(at, "note:")); at++) notes++;
        assert_int_equal(notes, 3);
    }
    free(text.data);
}

static int workplace_make(void **state) {
    (void)state;
    return workplace_enter() ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_is_let_through),
        cmocka_unit_test(a_character_may_be_cut),
        cmocka_unit_test(utf16_and_utf32_are_refused),
        cmocka_unit_test(what_is_nearly_utf16_is_let_through),
        cmocka_unit_test(utf16_has_its_limits),
        cmocka_unit_test(latin_is_noted),
        cmocka_unit_test(latin_has_its_limits),
        cmocka_unit_test(compressed_bytes_are_refused),
        cmocka_unit_test(other_bytes_are_never_refused),
        cmocka_unit_test(the_command_fits_the_file),
        cmocka_unit_test(other_files_are_passed),
        cmocka_unit_test(what_train_refuses_can_be_converted),
        cmocka_unit_test(walks_skip_what_they_skipped),
        cmocka_unit_test(a_refusal_stands_alone),
        cmocka_unit_test(notes_are_for_those_who_want_them),
        cmocka_unit_test(pipes_are_looked_at),
        cmocka_unit_test(what_train_notes_can_be_converted),
    };
    return cmocka_run_group_tests(tests, workplace_make, workplace_remove);
}
