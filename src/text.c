/* See text.h. */
#include "text.h"

#include <string.h>

/* Bytes of the character that starts with this byte; 1 for a byte that starts none. */
static size_t character_size(unsigned char first) {
    return first >= 0xF0 && first < 0xF8 ? 4 : first >= 0xE0 && first < 0xF0 ? 3 : first >= 0xC2 && first < 0xE0 ? 2 : 1;
}

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

void text_write(struct text_stream *t, const char *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        const unsigned char byte = (unsigned char)bytes[i];
        if (t->n > 0 && (byte & 0xC0) != 0x80) { /* the pending character was cut short */
            fputs(replacement, t->out);
            t->n = 0;
        }
        if (t->n == 0 && byte >= 0x80 && character_size(byte) == 1) {
            fputs(replacement, t->out);
            continue;
        }
        t->pending[t->n++] = bytes[i];
        if (t->n < character_size((unsigned char)t->pending[0])) continue;
        fwrite(t->pending, 1, t->n, t->out);
        t->n = 0;
    }
    fflush(t->out);
}

void text_end(struct text_stream *t) {
    if (t->n > 0) fputs(replacement, t->out);
    t->n = 0;
    fflush(t->out);
}
