/* See text.h. What counts as a character is Unicode's table 3-7: no overlong forms, no surrogates. */
#include "text.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "util.h"

/* Bytes of the character that starts with this byte; 1 for ASCII and for a byte that starts none. */
static size_t character_size(unsigned char first) {
    return first < 0xC2 || first > 0xF4 ? 1 : first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
}

/* Whether `byte` continues the n > 0 pending ones. */
static bool character_goes_on(const char *pending, size_t n, unsigned char byte) {
    const unsigned char first = (unsigned char)pending[0];
    const unsigned char low = n > 1 ? 0x80 : first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const unsigned char high = n > 1 ? 0xBF : first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    return byte >= low && byte <= high;
}

size_t text_character(const char *text, size_t size) {
    const size_t length = character_size((unsigned char)*text);
    if (length > size || (length == 1 && (unsigned char)*text >= 0x80)) return 0;
    for (size_t i = 1; i < length; i++)
        if (!character_goes_on(text, i, (unsigned char)text[i])) return 0;
    return length;
}

bool text_is_utf8(const char *text) {
    for (size_t length; *text; text += length) {
        length = text_character(text, 4); /* the NUL at the end continues nothing */
        if (length == 0) return false;
    }
    return true;
}

/* What is pending as codes that can be read. */
static void codes_write(struct text_stream *t) {
    for (size_t i = 0; i < t->n; i++) fprintf(t->out, "\\x%02x", (unsigned char)t->pending[i]);
}

/* U+FFFD, or codes, in the place of what is pending. */
static void character_replace(struct text_stream *t) {
    if (t->visible) codes_write(t);
    else fputs("\xEF\xBF\xBD", t->out);
    t->n = 0;
}

/* Whether what is pending, a whole character, is for a terminal to act on: all of C0 but tab and newline, DEL, C1. */
static bool is_control(const struct text_stream *t) {
    const unsigned char first = (unsigned char)t->pending[0], second = (unsigned char)t->pending[1];
    if (t->n == 1) return (first < ' ' && first != '\t' && first != '\n') || first == 0x7F;
    return t->n == 2 && first == 0xC2 && second < 0xA0;
}

void text_write(struct text_stream *t, const char *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        const unsigned char byte = (unsigned char)bytes[i];
        if (t->n > 0 && !character_goes_on(t->pending, t->n, byte)) character_replace(t);
        t->pending[t->n++] = bytes[i];
        if (t->n < character_size((unsigned char)t->pending[0])) continue;
        if (t->n == 1 && byte >= 0x80) {
            character_replace(t);
            continue;
        }
        if (t->visible && is_control(t)) codes_write(t);
        else fwrite(t->pending, 1, t->n, t->out);
        t->n = 0;
    }
    fflush(t->out);
}

void text_end(struct text_stream *t) {
    if (t->n > 0) character_replace(t);
    fflush(t->out);
}

/* strtod also takes hexadecimals, blanks, nan and inf, and for a number too small gives 0. */
bool text_to_real(const char *text, double *value) {
    char *end;
    if (text[strspn(text, "0123456789+-.eE")]) return false;
    errno = 0;
    *value = strtod(text, &end);
    return end != text && *end == 0 && isfinite(*value) && !(*value == 0 && errno == ERANGE);
}

char *text_escape(const char *bytes) {
    char *text = array_alloc(3 * strlen(bytes) + 1, 1), *end = text;
    for (; *bytes; bytes++)
        if (*bytes >= ' ' && *bytes <= '~' && *bytes != '%') *end++ = *bytes;
        else end += sprintf(end, "%%%02X", (unsigned char)*bytes);
    return text;
}

char *text_unescape(const char *text) {
    char *bytes = array_alloc(strlen(text) + 1, 1), *end = bytes;
    for (unsigned value; *text; end++) {
        const bool escaped = text[0] == '%' && isxdigit((unsigned char)text[1]) && isxdigit((unsigned char)text[2]);
        if (escaped) sscanf(text + 1, "%2x", &value);
        *end = escaped ? (char)value : *text;
        text += escaped ? 3 : 1;
    }
    return bytes;
}

char *text_as_utf8(const char *name, size_t most) {
    char *text = NULL;
    size_t size;
    struct text_stream stream = {.out = open_memstream(&text, &size)};
    if (!stream.out) return string_format("name");
    text_write(&stream, name, strnlen(name, most));
    text_end(&stream);
    fclose(stream.out);
    return text;
}

void xml_print(FILE *out, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *text;
    const int length = vasprintf(&text, format, args);
    va_end(args);
    for (int i = 0; i < length; i++) {
        switch (text[i]) {
        case '&': fputs("&amp;", out); break;
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        default: fputc((unsigned char)text[i] < ' ' ? ' ' : text[i], out);
        }
    }
    if (length >= 0) free(text);
}

/* How wide a character is at 12 px, at most, in the fonts that readers are likely to have; by its first byte, 0 for
 * those that go on. From U+1000 on characters may be as wide as high. */
static double character_width(unsigned char byte) {
    if ((byte & 0xc0) == 0x80) return 0;
    if (byte >= 0xe1 || (byte && strchr("mwMW%@", byte))) return 12.2;
    return byte >= 'A' && byte <= 'Z' ? 9.5 : byte && strchr("fijlrt|.,:;'! ()[]-/", byte) ? 5.3 : 7.7;
}

double text_width(const char *text) {
    double width = 0;
    for (; *text; text++) width += character_width((unsigned char)*text);
    return width;
}

char *text_shorten(const char *text, double room) {
    size_t head = 0, tail = strlen(text);
    double width = character_width(0xe2);
    if (text_width(text) <= room) return string_format("%s", text);
    for (bool front = true; head < tail; front = !front) { /* one whole character from either end in turn */
        size_t next = front ? head + 1 : tail - 1;
        while (front ? next < tail && (text[next] & 0xc0) == 0x80 : next > head && (text[next] & 0xc0) == 0x80)
            next += front ? 1 : (size_t)-1;
        width += character_width((unsigned char)text[front ? head : next]);
        if (width > room) break;
        *(front ? &head : &tail) = next;
    }
    return string_format("%.*s\xe2\x80\xa6%s", (int)head, text, text + tail);
}

bool text_ends(const char *text, const char *end) {
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}
