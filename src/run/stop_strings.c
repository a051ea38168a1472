/* See stop_strings.h. What is held is the longest end of the text that begins a string. */
#include "stop_strings.h"

#include <stdlib.h>
#include <string.h>
#include "../base/util.h"

static void release(struct stop_strings *s, size_t size) {
    if (size == 0) return;
    s->emit(s->context, s->held, size);
    memmove(s->held, s->held + size, s->n_held - size);
    s->n_held -= size;
}

/* Whether what is held from `at` on is a string, or with `whole` false the beginning of one. */
static bool is_string(const struct stop_strings *s, size_t at, bool whole) {
    const size_t size = s->n_held - at;
    for (size_t i = 0; i < s->n; i++) {
        const size_t length = strlen(s->strings[i]);
        if ((whole ? size == length : size < length) && memcmp(s->held + at, s->strings[i], size) == 0) return true;
    }
    return false;
}

bool stop_strings_feed(struct stop_strings *s, const char *bytes, size_t size) {
    size_t at = 0;
    for (size_t i = 0; i < size; i++) {
        s->held = array_grow(s->held, &s->capacity, s->n_held + 1, 1);
        s->held[s->n_held++] = bytes[i];
        for (at = 0; at < s->n_held && !is_string(s, at, true);) at++;
        if (at == s->n_held) continue;
        release(s, at);
        s->n_held = 0;
        return true;
    }
    for (at = 0; at < s->n_held && !is_string(s, at, false);) at++;
    release(s, at);
    return false;
}

void stop_strings_end(struct stop_strings *s) {
    release(s, s->n_held);
    free(s->held);
    s->held = NULL;
    s->n_held = s->capacity = 0;
}
