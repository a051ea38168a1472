/* Models of GPT-2's tokenizer, written out in the plainest way: each byte is a token of its number, each merge one
 * more, and the end of text the last. To be included after cmocka.h. */
#ifndef BYTE_PIECES_H
#define BYTE_PIECES_H

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "../tokenizer/tokenizer.h"

/* A byte as the letter that stands for it, in UTF-8. */
static inline void byte_letter(char **text, int byte) {
    const int letter = byte <= 32 ? 256 + byte : byte >= 127 && byte <= 160 ? 162 + byte : byte == 173 ? 323 : byte;
    if (letter < 128) string_append(text, "%c", letter);
    else string_append(text, "%c%c", 0xC0 | letter >> 6, 0x80 | (letter & 63));
}

static inline char *byte_letters(const char *bytes, size_t n) {
    char *text = string_format("%s", "");
    for (size_t i = 0; i < n; i++) byte_letter(&text, (unsigned char)bytes[i]);
    return text;
}

/* Merge i makes token 256 + i of two earlier ones. */
struct byte_merge {
    int32_t left, right;
};

/* The bytes of a token. malloc'ed. */
static inline char *byte_token(const struct byte_merge *merges, int32_t id, size_t *size) {
    if (id < 256) {
        *size = 1;
        return string_format("%c", (char)id); /* of NUL, too: behind it is another */
    }
    size_t n, more;
    char *left = byte_token(merges, merges[id - 256].left, &n);
    char *right = byte_token(merges, merges[id - 256].right, &more);
    char *both = array_alloc(n + more + 1, 1);
    memcpy(both, left, n);
    memcpy(both + n, right, more);
    free(left);
    free(right);
    *size = n + more;
    return both;
}

/* The vocabulary, and the merges as GPT-2's files have them: lines. */
static inline json_t *byte_vocabulary(const struct byte_merge *merges, size_t n, json_t **lines) {
    json_t *vocab = json_object();
    *lines = json_array();
    char **texts = array_alloc(256 + n, sizeof *texts);
    for (size_t i = 0; i < 256 + n; i++) {
        size_t size;
        char *bytes = byte_token(merges, (int32_t)i, &size);
        texts[i] = byte_letters(bytes, size);
        json_object_set_new(vocab, texts[i], json_integer((json_int_t)i));
        if (i >= 256)
            json_array_append_new(*lines, json_sprintf("%s %s", texts[merges[i - 256].left],
                                                       texts[merges[i - 256].right]));
        free(bytes);
    }
    json_object_set_new(vocab, "<|endoftext|>", json_integer((json_int_t)(256 + n)));
    for (size_t i = 0; i < 256 + n; i++) free(texts[i]);
    free(texts);
    return vocab;
}

static inline char *byte_model(const struct byte_merge *merges, size_t n) {
    json_t *lines, *vocab = byte_vocabulary(merges, n, &lines);
    json_t *model = json_pack("{s:s, s:o, s:o}", "end_of_text", "<|endoftext|>", "vocab", vocab, "merges", lines);
    char *text = json_dumps(model, JSON_COMPACT);
    json_decref(model);
    return text;
}

static inline tokenizer *byte_tokenizer(const struct byte_merge *merges, size_t n) {
    struct error err;
    char *model = byte_model(merges, n);
    tokenizer *t = tokenizer_from_memory(model, strlen(model), "made", &err);
    if (!t) fail_msg("%s", err.text);
    free(model);
    return t;
}

#endif
