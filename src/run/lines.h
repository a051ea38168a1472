/* Lines that a person types: with editing and the history of the session (libedit) on a terminal; read as they are
 * where there is none. On a terminal Ctrl-C drops the line that is being typed, and Ctrl-D ends.
 *
 * While there is something to read from, Ctrl-C does not end the program, but is noted: whoever answers a line looks at
 * lines_interrupted, and stops. */
#ifndef LINES_H
#define LINES_H

#include <stdbool.h>
#include <stddef.h>

struct lines;

/* Reads standard input; the prompt appears on standard error. */
struct lines *lines_open(const char *prompt);

/* The next line without its end, and its size; NULL where there is none. Valid until the next call. Clears what was
 * noted. */
const char *lines_next(struct lines *l, size_t *size);

/* Whether Ctrl-C was pressed since lines_next. */
bool lines_interrupted(void);
void lines_close(struct lines *l);

#endif
