/* A tokenizer with pieces of several letters, one of which begins another. To be included after cmocka.h. */
#ifndef PIECES_H
#define PIECES_H

#include "../tokenizer/tokenizer.h"
#include "prose.h"

enum { PIECES = 360 };

static inline const char *pieces_next(void *context, size_t *size) {
    char **text = context, *given = *text;
    *text = NULL;
    *size = given ? strlen(given) : 0;
    return given;
}

static inline tokenizer *pieces_tokenizer(void) {
    struct error err;
    char *text = prose(400, 3), *rest = text;
    tokenizer *t = tokenizer_train(pieces_next, &rest, PIECES, false, NULL, &err);
    if (!t) fail_msg("%s", err.text);
    free(text);
    return t;
}

/* The text of tokens, which holds no NUL. malloc'ed. */
static inline char *pieces_text(const tokenizer *t, const int32_t *ids, size_t n) {
    char *text = string_format("%s", "");
    for (size_t i = 0; i < n; i++) {
        size_t size;
        const char *piece = tokenizer_piece(t, ids[i], &size);
        string_append(&text, "%.*s", (int)size, piece);
    }
    return text;
}

#endif
