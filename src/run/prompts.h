/* Prompts from a file: one a line, or JSON lines with {"prompt": TEXT}, where a prompt may hold line ends, too. */
#ifndef PROMPTS_H
#define PROMPTS_H

#include "../base/util.h"

struct prompt {
    char *text; /* (size), malloc'ed; any bytes */
    size_t size;
};

struct prompts {
    struct prompt *list;
    size_t n, capacity;
};

void prompts_add(struct prompts *p, const char *text, size_t size);

/* Reads and closes `file`; a `file` of NULL is an fopen that failed. `name` is for messages; a name that ends in .jsonl
 * is of JSON lines. EXIT_INPUT with file and line: no JSON, no "prompt"; or no prompt at all. Blank lines are passed
 * over. Release with prompts_free in either case. */
bool prompts_read(struct prompts *p, FILE *file, const char *name, struct error *err);
void prompts_free(struct prompts *p);

#endif
