/* See writer.h. */
#include "writer.h"

int32_t *prompt_encode(const tokenizer *t, const char *text, size_t size, size_t *n) {
    int32_t *ids = NULL;
    size_t capacity = 0;
    *n = 0;
    tokenizer_encode(t, text, size, &ids, n, &capacity);
    if (*n > 0) return ids;
    ids = array_grow(ids, &capacity, 1, sizeof *ids);
    ids[(*n)++] = tokenizer_end_of_text(t);
    return ids;
}

bool writer_emit(void *context, int32_t token) {
    struct writer *w = context;
    size_t size;
    const char *piece = tokenizer_piece(w->tokenizer, token, &size);
    text_write(&w->text, piece, size);
    return token != tokenizer_end_of_text(w->tokenizer);
}
