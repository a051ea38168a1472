/* GPT-2's tokenizer: byte-level BPE. Text is cut into words by a regular expression, each word's bytes are merged pair
 * by pair, in the order in which the pairs were found frequent. Every byte string encodes, and comes back.
 *
 * Its model is JSON text, {"end_of_text": TOKEN, "vocab": {TOKEN: ID, ...}, "merges": ["LEFT RIGHT", ...]}, where each
 * byte of a token stands as a letter (blanks and control characters as letters from U+0100 on): what GPT-2's vocab.json
 * and merges.txt say. tokenizer.h is the interface; spm.cc calls this.
 *
 * What a letter and what a number is in Unicode is PCRE2's to know: small, well kept, and on most machines already. */
#ifndef BYTE_LEVEL_H
#define BYTE_LEVEL_H

#include "../src/base/util.h"

#ifdef __cplusplus
extern "C" {
#endif

struct byte_level;

/* NULL, and what is wrong in *problem (a constant, or part of `room`). */
struct byte_level *byte_level_create(const char *json, size_t size, char room[256], const char **problem);
void byte_level_free(struct byte_level *b);

int byte_level_vocab(const struct byte_level *b);
int32_t byte_level_end_of_text(const struct byte_level *b);
const char *byte_level_text(const struct byte_level *b, int32_t id); /* as the model writes it */
const char *byte_level_piece(const struct byte_level *b, int32_t id, size_t *size); /* its bytes, or none */

/* As tokenizer_encode. */
void byte_level_encode(const struct byte_level *b, const char *text, size_t size, int32_t **ids, size_t *count,
                       size_t *capacity);

#ifdef __cplusplus
}
#endif
#endif
