/* Between text and a model that reads and writes tokens: a prompt's ids, and what the model says, as it comes. */
#ifndef WRITER_H
#define WRITER_H

#include "../src/base/text.h"
#include "tokenizer.h"

/* The ids of text[0..size), and their number: at least one, since an empty prompt is what follows an end of text.
 * malloc'ed. */
int32_t *prompt_encode(const tokenizer *t, const char *text, size_t size, size_t *n);

struct writer {
    const tokenizer *tokenizer;
    struct text_stream text;
};

/* Writes a token's bytes; false when it was the end of the text. `context` is the struct writer: see model_generate. */
bool writer_emit(void *context, int32_t token);

#endif
