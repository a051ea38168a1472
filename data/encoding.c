/* See encoding.h. A text is recognised, by what is_... says, or it is taken as it is: any bytes can be trained on. So
 * a refusal needs a sign that no text has, and a note a doubt that is well founded. */
#include "encoding.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include "../src/base/text.h"

enum {
    PROBE = 64 << 10,       /* bytes that are looked at */
    BINARY_PROBE = 8 << 10, /* a NUL in so many bytes makes a file in a directory binary */
    SHOWN_PATH = 150,       /* bytes of it in a command, which may hold it four times and has to fit into a message */
};

enum kind { XZ, ZSTD, BZIP2, GZIP, UTF32, UTF16, UTF16LE, UTF16BE, MARKED, WINDOWS, OTHER, BINARY, PLAIN };

static const struct {
    const char *what;
    const char *filter;          /* from standard input to standard output */
    const char *ending;          /* of the names that these take: the command that keeps the file, and that does not */
    const char *keep, *replace;
} kinds[] = {
    [XZ] = {"compressed by xz", "xz -dc", ".xz", "xz -dk", "xz -d"},
    [ZSTD] = {"compressed by zstd", "zstd -dc", ".zst", "zstd -d", "zstd -d --rm"},
    [BZIP2] = {"compressed by bzip2", "bzip2 -dc", ".bz2", "bzip2 -dk", "bzip2 -d"},
    [GZIP] = {"compressed by gzip under another name than .gz", "gzip -dc", "", NULL, NULL},
    [UTF32] = {"UTF-32", "iconv -f UTF-32 -t UTF-8", "", NULL, NULL},
    [UTF16] = {"UTF-16", "iconv -f UTF-16 -t UTF-8", "", NULL, NULL},
    [UTF16LE] = {"UTF-16 without a mark", "iconv -f UTF-16LE -t UTF-8", "", NULL, NULL},
    [UTF16BE] = {"UTF-16 without a mark", "iconv -f UTF-16BE -t UTF-8", "", NULL, NULL},
    [MARKED] = {"begins with a byte-order mark, which is trained on, too", "tail -c +4", "", NULL, NULL},
    [WINDOWS] = {"looks like Windows-1252 or Latin-1; what is not ASCII in it is trained on byte by byte",
                 "iconv -f WINDOWS-1252 -t UTF-8", "", NULL, NULL},
    [OTHER] = {"is not UTF-8; what is not ASCII in it is trained on byte by byte",
               "iconv -f ENCODING -t UTF-8", "", NULL, NULL},
};

/* ---- What it is ---- */

static bool begins(const char *text, size_t size, const char *with, size_t length) {
    return size >= length && memcmp(text, with, length) == 0;
}

/* BZh, the size of its blocks, and the first six bytes of a block or of the end. */
static bool is_bzip2(const char *text, size_t size) {
    return size >= 10 && begins(text, size, "BZh", 3) && text[3] >= '1' && text[3] <= '9' &&
           (memcmp(text + 4, "1AY&SY", 6) == 0 || memcmp(text + 4, "\x17\x72\x45\x38\x50\x90", 6) == 0);
}

/* What UTF-16 in this order of bytes would be: how many units, how many are ASCII that texts have, how many no text
 * has (other control characters, halves of pairs, what Unicode says is no character), and how many there are of each
 * upper byte. */
struct units {
    size_t all, ascii, wrong;
    size_t upper[256];
};

static struct units units_count(const char *text, size_t size, bool big) {
    const unsigned char *bytes = (const unsigned char *)text;
    struct units count = {0};
    bool pair = false; /* the unit before is the first half of one */
    for (size_t i = 0; i + 1 < size; i += 2) {
        const unsigned unit = big ? bytes[i] << 8 | bytes[i + 1] : bytes[i + 1] << 8 | bytes[i];
        const bool blank = unit == '\t' || unit == '\n' || unit == '\r' || unit == '\f', second = unit >> 10 == 0x37;
        count.all++;
        count.upper[unit >> 8]++;
        count.ascii += blank || (unit >= ' ' && unit < 0x7f);
        count.wrong += (unit < ' ' && !blank) || (unit >= 0x7f && unit < 0xa0) || unit >= 0xfffe || second != pair;
        pair = unit >> 10 == 0x36;
    }
    return count;
}

/* Control characters may be in a text, but hardly any. */
static bool units_are_text(const struct units *count) {
    return count->all > 0 && count->wrong <= count->all / 500;
}

/* An alphabet has one upper byte; blanks, Latin letters and punctuation (0x20) are beside it. */
static bool units_are_letters(const struct units *count) {
    size_t most = 0;
    for (int i = 1; i < 256; i++)
        if (i != 0x20 && count->upper[i] > most) most = count->upper[i];
    return (count->upper[0] + count->upper[0x20] + most) * 20 >= count->all * 19;
}

/* Behind a mark; each number has to be one that Unicode has. */
static bool is_utf32(const char *text, size_t size) {
    const bool big = begins(text, size, "\0\0\xfe\xff", 4);
    if (size < 8 || (!big && !begins(text, size, "\xff\xfe\0\0", 4))) return false;
    for (size_t i = 4; i + 3 < size; i += 4)
        if (text[big ? i : i + 3] != 0 || (unsigned char)text[big ? i + 1 : i + 2] > 0x10) return false;
    return true;
}

/* Without a mark it has to be an alphabet, with as much ASCII (blanks, say) as texts of any language have. */
static enum kind utf16_find(const char *text, size_t size) {
    const struct units little = units_count(text, size, false), big = units_count(text, size, true);
    const struct units *best = little.ascii > big.ascii ? &little : &big;
    if (is_utf32(text, size)) return UTF32;
    if (begins(text, size, "\xff\xfe", 2)) return units_are_text(&little) && size > 3 ? UTF16 : PLAIN;
    if (begins(text, size, "\xfe\xff", 2)) return units_are_text(&big) && size > 3 ? UTF16 : PLAIN;
    if (!units_are_text(best) || !units_are_letters(best) || best->ascii * 200 < best->all) return PLAIN;
    return best == &little ? UTF16LE : UTF16BE;
}

/* Bytes that are not ASCII: those of UTF-8 characters, others, and which of these Windows-1252 texts may well have:
 * letters, and of what is below them the euro sign, dots, quotes, dashes, the trade mark and the French oe. */
struct bytes_beyond {
    size_t utf8, others, windows;
};

static struct bytes_beyond beyond_count(const char *text, size_t size) {
    static const char marks[] = "\x80\x85\x8c\x91\x92\x93\x94\x95\x96\x97\x99\x9c";
    struct bytes_beyond count = {0};
    for (size_t i = 0, length; i < size; i += length) {
        length = text_character(text + i, size - i);
        if (length > 1) count.utf8 += length;
        if (length > 0) continue;
        count.others++;
        count.windows += (unsigned char)text[i] >= 0xa0 || strchr(marks, text[i]);
        length = 1;
    }
    return count;
}

/* Damaged UTF-8, and a stray byte in much ASCII, are not another encoding; of two bytes a character some are UTF-8 by
 * chance, and a character cut where the probe ends is too little to matter. Where letters beyond ASCII are the rule
 * (Cyrillic, Greek) it is not Windows-1252. */
static enum kind letters_find(const char *text, size_t size) {
    const struct bytes_beyond count = beyond_count(text, size);
    if (count.others * 2 <= count.utf8 || count.others * 1000 <= size)
        return begins(text, size, "\xef\xbb\xbf", 3) ? MARKED : PLAIN;
    const bool windows = count.windows * 10 >= count.others * 9 && count.others > count.utf8;
    return windows && count.others * 3 < size ? WINDOWS : OTHER;
}

static enum kind kind_of(const char *text, size_t size) {
    if (size > PROBE) size = PROBE;
    if (begins(text, size, "\xfd" "7zXZ\0", 6)) return XZ;
    if (begins(text, size, "\x28\xb5\x2f\xfd", 4)) return ZSTD;
    if (begins(text, size, "\x1f\x8b\x08", 3)) return GZIP;
    if (is_bzip2(text, size)) return BZIP2;
    const enum kind wide = utf16_find(text, size);
    if (wide != PLAIN) return wide;
    return memchr(text, 0, size < BINARY_PROBE ? size : BINARY_PROBE) ? BINARY : letters_find(text, size);
}

/* ---- What to do about it ---- */

/* As the shell takes it. malloc'ed. */
static char *path_quote(const char *path) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./,:@%+-";
    char *quoted = string_format("%s", *path == '-' ? "./" : "");
    if (!path[strspn(path, plain)]) string_append(&quoted, "%s", path);
    else {
        string_append(&quoted, "'");
        for (; *path; path++)
            if (*path == '\'') string_append(&quoted, "'\\''");
            else string_append(&quoted, "%c", *path);
        string_append(&quoted, "'");
    }
    if (strlen(quoted) <= SHOWN_PATH) return quoted;
    free(quoted);
    return string_format("FILE");
}

/* A text that is looked at. */
struct source {
    const char *path;
    bool walked, piped;
    bool packed; /* it is in a .gz */
};

/* The command to give, as a phrase; malloc'ed. What was found in a directory, and would be again, it replaces. */
static char *remedy_make(enum kind kind, const struct source *s) {
    const char *filter = kinds[kind].filter;
    if (s->piped) return string_format("send it through: %s", filter);
    char *path = path_quote(s->path), *remedy = string_format("convert it: ");
    if (*kinds[kind].ending && text_ends(s->path, kinds[kind].ending))
        string_append(&remedy, "%s %s", s->walked ? kinds[kind].replace : kinds[kind].keep, path);
    else {
        if (s->packed) string_append(&remedy, "gzip -dc <%s | %s%s", path, filter, s->walked ? " | gzip" : "");
        else string_append(&remedy, "%s <%s", filter, path);
        string_append(&remedy, " >%s.utf8", path);
        if (s->walked) string_append(&remedy, " && mv %s.utf8 %s", path, path);
    }
    free(path);
    return remedy;
}

static bool kind_refuse(enum kind kind, const struct source *s, struct error *err) {
    char *remedy = remedy_make(kind, s);
    error_set(err, EXIT_INPUT, "%s: %s (want UTF-8 text); %s", s->path, kinds[kind].what, remedy);
    free(remedy);
    return false;
}

static void kind_note(enum kind kind, const struct source *s, struct encoding_notes *notes) {
    struct encoding_note *note = &notes->of[kind - MARKED];
    if (note->path) note->more++;
    else *note = (struct encoding_note){string_format("%s", s->path), remedy_make(kind, s), 0};
}

static bool source_check(struct encoding_notes *notes, const struct source *s, enum kind kind, struct error *err) {
    if (kind < MARKED) return kind_refuse(kind, s, err);
    if (kind < BINARY) kind_note(kind, s, notes);
    return true;
}

/* The first bytes; for a name that ends in .gz of what is in it, if it is what it says: else text_read tells. */
static size_t probe_read(const char *path, char *probe, bool *packed) {
    int n = 0;
    if (text_ends(path, ".gz")) {
        gzFile file = gzopen(path, "rb");
        *packed = file && !gzdirect(file);
        if (*packed) n = gzread(file, probe, PROBE);
        if (file) gzclose(file);
    } else {
        FILE *file = fopen(path, "rb");
        if (file) n = (int)fread(probe, 1, PROBE, file);
        if (file) fclose(file);
    }
    return n > 0 ? (size_t)n : 0;
}

bool encoding_check(struct encoding_notes *notes, const char *path, bool walked, bool *binary, struct error *err) {
    char probe[PROBE];
    struct source s = {.path = path, .walked = walked};
    const size_t size = probe_read(path, probe, &s.packed);
    const enum kind kind = kind_of(probe, size);
    *binary = walked && kind == BINARY;
    return source_check(notes, &s, kind, err);
}

bool encoding_check_piped(struct encoding_notes *notes, const char *path, const char *text, size_t size,
                          struct error *err) {
    const struct source s = {.path = path, .piped = true};
    return source_check(notes, &s, kind_of(text, size), err);
}

void encoding_tell(struct encoding_notes *notes, bool wanted) {
    for (int i = 0; i < ENCODING_NOTES; i++) {
        struct encoding_note *note = &notes->of[i];
        const char *what = kinds[MARKED + i].what;
        if (wanted && note->path && note->more == 0) note_print("%s: %s; %s", note->path, what, note->remedy);
        if (wanted && note->more > 0)
            note_print("%s (and %zu more): %s; %s", note->path, note->more, what, note->remedy);
        free(note->path);
        free(note->remedy);
        *note = (struct encoding_note){0};
    }
}
