/* The tokenizer: byte-exact SentencePiece BPE behind a C interface; and GPT-2's (byte_level.h), which comes with its
 * weights and is not trained here.
 *
 * spm.cc is the only C++ in the program. Any byte string encodes, and decode(encode(s)) == s for every
 * one of them, invalid UTF-8, NUL and U+2581 included: what the BPE model cannot carry goes through its
 * 256 byte pieces. A tokenizer travels as one block of memory (the serialized SentencePiece model, or JSON), which
 * is what a checkpoint stores. */
#ifndef TOKENIZER_H
#define TOKENIZER_H

#include <stddef.h>
#include <stdint.h>
#include "../src/base/util.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tokenizer tokenizer;

/* Gives the next stretch of training text (whole lines, newlines included) and its size; NULL at the end. */
typedef const char *(*tokenizer_source)(void *context, size_t *size);

/* Trains a BPE model of exactly `vocab` pieces: identity normalisation, no dummy prefix, whitespace kept,
 * byte fallback, an end-of-text piece. Deterministic. EXIT_USAGE if vocab is too small for the characters of the text
 * (it says the least possible) or more than the text supports (it says the most); *nearest is that bound, else 0,
 * unless it is NULL. EXIT_INPUT if there is no text. NULL on failure. With `progress` a line on standard error tells
 * how far it is, if that is a terminal. */
tokenizer *tokenizer_train(tokenizer_source next_text, void *context, int vocab, bool progress, int *nearest,
                           struct error *err);

/* The errors of a vocabulary that is larger than the text supports, or smaller than its characters need; false. */
bool tokenizer_too_large(int vocab, int most, struct error *err);
bool tokenizer_too_small(int vocab, int least, struct error *err);

/* `name` is used in messages only. NULL (EXIT_INPUT) if the block is not a model this program can use
 * exactly (BPE, identity normalisation, byte fallback, no dummy prefix). */
tokenizer *tokenizer_from_memory(const void *model, size_t size, const char *name, struct error *err);

/* The one in a checkpoint, as its tensor "tokenizer.model"; EXIT_INPUT if that is missing, damaged or none. */
struct checkpoint;
tokenizer *tokenizer_from_checkpoint(const struct checkpoint *c, struct error *err);
tokenizer *tokenizer_load(const char *path, struct error *err);
bool tokenizer_save(const tokenizer *t, const char *path, struct error *err);
void tokenizer_free(tokenizer *t);

/* The serialized model; valid while t lives. */
const void *tokenizer_model(const tokenizer *t, size_t *size);
uint64_t tokenizer_hash(const tokenizer *t); /* of those bytes */
int tokenizer_vocab(const tokenizer *t);

/* Whether it has the `vocab` pieces of the model that the file at `path` holds, too; EXIT_MISMATCH. */
bool tokenizer_fits(const tokenizer *t, int vocab, const char *path, struct error *err);

int tokenizer_least(const tokenizer *t); /* so many pieces it needs for the characters of its text alone */
int32_t tokenizer_end_of_text(const tokenizer *t);

/* Appends the ids of text[0..size) to *ids (malloc'ed, grown as needed; *count in use, *capacity allocated).
 * Pieces never reach from one line into the next, so text cut behind newlines (\n+) encodes the same; of a byte-level
 * one but for the blanks around the cut.
 * Thread-safe on one tokenizer. */
void tokenizer_encode(const tokenizer *t, const char *text, size_t size, int32_t **ids, size_t *count,
                      size_t *capacity);

/* The bytes id stands for (0 for end-of-text and other control pieces): decoding is the concatenation of
 * pieces. Valid while t lives; ids outside the vocabulary give size 0. */
const char *tokenizer_piece(const tokenizer *t, int32_t id, size_t *size);

/* The two kinds there are. */
enum tokenizer_kind { TOKENIZER_SENTENCEPIECE, TOKENIZER_BYTE_LEVEL };
enum tokenizer_kind tokenizer_kind(const tokenizer *t);

/* What a file for another program says of a token: its text as SentencePiece writes it (spaces as U+2581, bytes as
 * "<0x0A>") or GPT-2 (each byte as a letter), and of SentencePiece's how early it is merged, more for earlier ones.
 * Valid while t lives. */
enum piece_kind { PIECE_NORMAL = 1, PIECE_UNKNOWN = 2, PIECE_CONTROL = 3, PIECE_BYTE = 6 }; /* SentencePiece's */
struct piece {
    const char *text;
    float score;
    enum piece_kind kind;
};
struct piece tokenizer_entry(const tokenizer *t, int32_t id);

#ifdef __cplusplus
}
#endif
#endif
