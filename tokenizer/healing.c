/* See healing.h. */
#include "healing.h"

#include <stdlib.h>
#include <string.h>

static bool begins_with(const char *text, size_t size, const char *start, size_t length) {
    return size >= length && memcmp(text, start, length) == 0;
}

/* Whether a piece begins with these bytes and goes on. */
static bool piece_goes_on(const tokenizer *t, const char *bytes, size_t size) {
    for (int32_t id = 0; id < tokenizer_vocab(t); id++) {
        size_t length;
        const char *piece = tokenizer_piece(t, id, &length);
        if (length > size && begins_with(piece, length, bytes, size)) return true;
    }
    return false;
}

static size_t piece_longest(const tokenizer *t) {
    size_t longest = 0, length;
    for (int32_t id = 0; id < tokenizer_vocab(t); id++) {
        tokenizer_piece(t, id, &length);
        if (length > longest) longest = length;
    }
    return longest;
}

size_t healing_begin(struct healing *h, const tokenizer *t, const int32_t *ids, size_t n) {
    const size_t most = piece_longest(t);
    char *bytes = array_alloc(most + 1, 1), *start = bytes + most; /* filled from its end */
    size_t kept = n, length;
    *h = (struct healing){0};
    for (size_t i = n; i-- > 0;) {
        const char *piece = tokenizer_piece(t, ids[i], &length);
        if (length == 0 || length > (size_t)(start - bytes)) break;
        memcpy(start -= length, piece, length);
        if (!piece_goes_on(t, start, (size_t)(bytes + most - start))) continue;
        kept = i;
        h->size = (size_t)(bytes + most - start);
    }
    *h = healing_copy(&(struct healing){bytes + most - h->size, h->size});
    free(bytes);
    return kept;
}

struct healing healing_copy(const struct healing *h) {
    struct healing copy = {array_alloc(h->size + 1, 1), h->size};
    if (h->size > 0) memcpy(copy.bytes, h->bytes, h->size);
    return copy;
}

void healing_bar(const struct healing *h, const tokenizer *t, bool *barred) {
    for (int32_t id = 0; id < tokenizer_vocab(t); id++) {
        size_t length;
        const char *piece = tokenizer_piece(t, id, &length);
        barred[id] = length == 0 || !(begins_with(piece, length, h->bytes, h->size) ||
                                      begins_with(h->bytes, h->size, piece, length));
    }
}

size_t healing_take(struct healing *h, size_t size) {
    const size_t taken = size < h->size ? size : h->size;
    if (taken > 0) memmove(h->bytes, h->bytes + taken, h->size - taken);
    h->size -= taken;
    return taken;
}

void healing_free(struct healing *h) {
    free(h->bytes);
    *h = (struct healing){0};
}
