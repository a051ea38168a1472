/* Shards: see README.md here for the format to the byte, shard.h for what each function promises, blocks.h for what
 * stands around the tokens. */
#include "shard.h"

#include <stdlib.h>
#include <string.h>

enum { VERSION = 1, WIDE_VOCAB = 1 << 16 };

#define MAGIC "MHMoESHD"

struct header {
    char magic[8];
    uint32_t version, vocab, width, block_tokens;
    uint64_t tokenizer_hash, data_hash, count;
    struct blocks_ends ends;
};
_Static_assert(sizeof(struct header) == 64, "no padding");

static int width_of(int vocab) {
    return vocab <= WIDE_VOCAB ? 2 : 4;
}

static void tokens_pack(const int32_t *tokens, size_t n, int width, void *packed) {
    if (width == 4) {
        memcpy(packed, tokens, n * sizeof *tokens);
        return;
    }
    uint16_t *narrow = packed;
    for (size_t i = 0; i < n; i++) narrow[i] = (uint16_t)tokens[i];
}

struct shard_writer {
    struct blocks_writer file;
    struct header header;
    int32_t tokens[SHARD_BLOCK];
    char packed[SHARD_BLOCK * 4];
    size_t n; /* tokens waiting */
};

struct shard_writer *shard_create(const char *path, int vocab, uint64_t tokenizer_hash, struct error *err) {
    struct shard_writer *w = array_alloc(1, sizeof *w);
    if (!blocks_create(&w->file, path, sizeof w->header, 1, err)) {
        free(w);
        return NULL;
    }
    memcpy(w->header.magic, MAGIC, sizeof w->header.magic);
    w->header.version = VERSION;
    w->header.vocab = (uint32_t)vocab;
    w->header.width = (uint32_t)width_of(vocab);
    w->header.block_tokens = SHARD_BLOCK;
    w->header.tokenizer_hash = tokenizer_hash;
    w->header.data_hash = HASH_START;
    return w;
}

static void block_write(struct shard_writer *w) {
    const size_t bytes = w->n * w->header.width;
    tokens_pack(w->tokens, w->n, (int)w->header.width, w->packed);
    blocks_add(&w->file, w->packed, bytes, NULL);
    w->header.count += w->n;
    w->header.data_hash = hash_bytes(w->header.data_hash, w->packed, bytes);
    w->n = 0;
}

bool shard_append(struct shard_writer *w, const int32_t *tokens, size_t n, struct error *err) {
    for (size_t i = 0; i < n; i++) {
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= w->header.vocab) {
            return error_set(err, EXIT_MISMATCH,
                             "%s: token %zu is not in the vocabulary (got %d, want 0 to %u)", w->file.file.path, i,
                             tokens[i], w->header.vocab - 1);
        }
        w->tokens[w->n++] = tokens[i];
        if (w->n == SHARD_BLOCK) block_write(w);
    }
    return blocks_ok(&w->file, err);
}

bool shard_close(struct shard_writer *w, bool keep, struct error *err) {
    if (keep && w->n > 0) block_write(w);
    const bool ok = blocks_finish(&w->file, &w->header, NULL, keep, err);
    free(w);
    return ok;
}

bool shard_open(struct shard *s, const char *path, struct error *err) {
    struct header h = {MAGIC, .version = VERSION};
    *s = (struct shard){0};
    if (!blocks_open(&s->file, path, "shard", &h, sizeof h, err)) return false;
    s->path = s->file.path;
    s->vocab = (int)h.vocab;
    s->width = (int)h.width;
    s->tokenizer_hash = h.tokenizer_hash;
    s->data_hash = h.data_hash;
    s->count = h.count;
    s->blocks = h.count / SHARD_BLOCK + (h.count % SHARD_BLOCK != 0);
    const bool possible = h.vocab <= INT32_MAX && s->width == width_of(s->vocab) && h.block_tokens == SHARD_BLOCK;
    if (!possible)
        damage_report(err, path, (struct flaw){"header", offsetof(struct header, vocab), "impossible layout", h.width,
                                                 (uint64_t)width_of(s->vocab)});
    if (possible && blocks_index(&s->file, &h, sizeof h, s->blocks, 1, err)) return true;
    shard_close_read(s);
    return false;
}

void shard_close_read(struct shard *s) {
    blocks_close(&s->file);
    *s = (struct shard){0};
}

bool shard_verify(const struct shard *s, struct error *err) { return blocks_verify(&s->file, err); }

/* Widens the n stored tokens of block b and checks their range. */
static bool tokens_unpack(const struct shard *s, size_t b, const void *packed, size_t n, int32_t *tokens,
                          struct error *err) {
    const uint16_t *narrow = packed;
    const uint32_t *wide = packed;
    for (size_t i = 0; i < n; i++) {
        uint32_t token = s->width == 2 ? narrow[i] : wide[i];
        if (token >= (uint32_t)s->vocab)
            return block_damage(err, &s->file, b, "a token is not in the vocabulary", token, (uint64_t)s->vocab - 1);
        tokens[i] = (int32_t)token;
    }
    return true;
}

bool shard_read_block(const struct shard *s, size_t b, int32_t *tokens, size_t *n, struct error *err) {
    *n = b + 1 < s->blocks ? SHARD_BLOCK : s->count - b * SHARD_BLOCK;
    const size_t bytes = *n * (size_t)s->width;
    char *packed = array_alloc(bytes, 1);
    const bool ok = blocks_read(&s->file, b, packed, bytes, err) && tokens_unpack(s, b, packed, *n, tokens, err);
    free(packed);
    return ok;
}
