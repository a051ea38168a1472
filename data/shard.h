/* A shard: a sequence of token ids on disk, compressed in blocks, each with its CRC. See README.md here.
 *
 * Written once by prepare.c, read at random by loader.c. Damage is reported by file, block and byte. */
#ifndef SHARD_H
#define SHARD_H

#include "blocks.h"

enum { SHARD_BLOCK = 1 << 16 }; /* tokens in every block but the last */

struct shard_writer;

/* Tokens are u16 for a vocabulary of up to 65,536, u32 above. */
struct shard_writer *shard_create(const char *path, int vocab, uint64_t tokenizer_hash, struct error *err);
/* EXIT_MISMATCH for a token outside of the vocabulary; a write that failed, now or before, is EXIT_OUTPUT. */
bool shard_append(struct shard_writer *w, const int32_t *tokens, size_t n, struct error *err);
/* Finishes the file and frees w; with `keep` false, or when anything could not be written, removes it. */
bool shard_close(struct shard_writer *w, bool keep, struct error *err);

struct shard {
    struct blocks file;
    const char *path; /* the file's */
    int vocab;
    uint64_t tokenizer_hash;
    uint64_t data_hash; /* of the tokens, as stored in the header */
    size_t count;       /* tokens */
    size_t blocks;
    int width;          /* bytes a token: 2 or 4 */
};

bool shard_open(struct shard *s, const char *path, struct error *err);
void shard_close_read(struct shard *s);

/* The lengths and CRCs of all blocks, without inflating them: about as fast as the disk is. */
bool shard_verify(const struct shard *s, struct error *err);

/* Decompresses block b into tokens (room for SHARD_BLOCK) and verifies its CRC and that every id is below
 * vocab; *n receives the number of tokens. */
bool shard_read_block(const struct shard *s, size_t b, int32_t *tokens, size_t *n, struct error *err);

#endif
