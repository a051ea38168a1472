/* Ends a text at the first of several strings, wherever tokens part it. What may be the beginning of one is held back
 * until it is known; the string itself is not handed on. */
#ifndef STOP_STRINGS_H
#define STOP_STRINGS_H

#include <stdbool.h>
#include <stddef.h>

struct stop_strings {
    char *const *strings; /* (n), none of them empty */
    size_t n;
    void (*emit)(void *context, const char *bytes, size_t size); /* gets what is known to be text */
    void *context;
    char *held; /* (n_held), malloc'ed: the beginning of a string */
    size_t n_held, capacity;
};

/* Takes the next bytes. True once a string is complete, whichever is first; of several that end with the same byte the
 * longest. Nothing may follow then. */
bool stop_strings_feed(struct stop_strings *s, const char *bytes, size_t size);

/* The text has ended otherwise: what was held back is text. Either way this releases what is held. */
void stop_strings_end(struct stop_strings *s);

#endif
