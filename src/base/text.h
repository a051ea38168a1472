/* Text on its way out: whole UTF-8 characters of bytes that arrive in any pieces, what XML wants escaped, and what
 * fits. */
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Whether all of it is whole characters: what JSON, and so checkpoints, reports and config files can hold. */
bool text_is_utf8(const char *text);

/* Bytes of the character that a text of size > 0 begins with; 0 if it begins with none, or with a part of one. */
size_t text_character(const char *text, size_t size);

/* At most the first `most` bytes of a name, with U+FFFD in the place of what is no character. malloc'ed. */
char *text_as_utf8(const char *name, size_t most);

struct text_stream {
    FILE *out;
    char pending[4]; /* the start of a character that is not complete yet */
    size_t n;
    bool visible; /* for a terminal: what it would act on, and what is no UTF-8, is written as \xNN, byte by byte */
};

void text_write(struct text_stream *t, const char *bytes, size_t size);

/* Writes what is left, U+FFFD for a character cut short (as for all that is no UTF-8), and flushes. */
void text_end(struct text_stream *t);

/* A number in decimal, all of the text and nothing else; false for one that no double can hold. */
bool text_to_real(const char *text, double *value);

/* Bytes of any kind, a file's name say, as printable ASCII: %XX for every other byte, and for % itself; and back.
 * malloc'ed. Text that was never escaped and holds no % comes back as it is. */
char *text_escape(const char *bytes);
char *text_unescape(const char *text);

/* Prints formatted text with what XML and HTML reserve escaped; control characters, forbidden there, as blanks. */
void xml_print(FILE *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Roughly how wide UTF-8 text is in letters of 12 pixels, rather too much than too little. */
double text_width(const char *text);

/* The text, or its two ends around an ellipsis where it is wider than `room`. malloc'ed. */
char *text_shorten(const char *text, double room);

/* Whether a text ends so: a path in ".gz", say. */
bool text_ends(const char *text, const char *end);

#endif
