/* Shards: see README.md here for the format to the byte, shard.h for what each function promises.
 *
 * The index comes behind the blocks, so that a writer needs no more memory than one block, and the header is
 * written last, with the CRC of the index and of itself. Nothing in the file escapes a check: header and
 * index have CRCs, a block's length must be the one in the index, its CRC covers its data, and padding is
 * zero. The first write that fails is remembered here, since a seek makes stdio forget it. */
#include "shard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "shards are little-endian, written as they lie in memory");

enum { VERSION = 1, WIDE_VOCAB = 1 << 16, INDEX_ALIGNMENT = sizeof(uint64_t) };

static const char MAGIC[8] = "MHMoESHD";

struct header {
    char magic[8];
    uint32_t version, vocab, width, block_tokens;
    uint64_t tokenizer_hash, data_hash, count, index_offset;
    uint32_t index_crc, header_crc; /* the latter of all that stands before it */
};
_Static_assert(sizeof(struct header) == 64, "no padding");

struct block_header {
    uint32_t size, crc; /* of the compressed bytes that follow */
};

static uint32_t crc_of(const void *data, size_t size) {
    return (uint32_t)crc32_z(0, data, size);
}

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
    struct atomic_file file;
    struct header header;
    uint64_t *index, offset;
    size_t blocks, index_capacity;
    int32_t tokens[SHARD_BLOCK];
    char packed[SHARD_BLOCK * 4];
    size_t n;  /* tokens waiting */
    int cause; /* errno of the first failure; 0: none so far */
};

static void bytes_write(struct shard_writer *w, const void *data, size_t size) {
    if (w->cause == 0 && fwrite(data, 1, size, w->file.file) != size) w->cause = errno ? errno : EIO;
}

static bool write_failed(const struct shard_writer *w, struct error *err) {
    if (w->cause == ENOMEM) return error_set(err, EXIT_MEMORY, "%s: out of memory", w->file.path);
    return error_set(err, EXIT_OUTPUT, "%s: cannot write: %s; free some space or choose another place", w->file.path,
                     strerror(w->cause));
}

struct shard_writer *shard_create(const char *path, int vocab, uint64_t tokenizer_hash, struct error *err) {
    struct shard_writer *w = array_alloc(1, sizeof *w);
    if (!atomic_open(&w->file, path, err)) {
        free(w);
        return NULL;
    }
    memcpy(w->header.magic, MAGIC, sizeof MAGIC);
    w->header.version = VERSION;
    w->header.vocab = (uint32_t)vocab;
    w->header.width = (uint32_t)width_of(vocab);
    w->header.block_tokens = SHARD_BLOCK;
    w->header.tokenizer_hash = tokenizer_hash;
    w->header.data_hash = HASH_START;
    w->offset = sizeof w->header;
    bytes_write(w, &w->header, sizeof w->header); /* its place; shard_close writes the final one */
    return w;
}

static void index_push(struct shard_writer *w) {
    w->index = array_grow(w->index, &w->index_capacity, w->blocks + 1, sizeof *w->index);
    w->index[w->blocks] = w->offset;
}

static void block_write(struct shard_writer *w) {
    size_t bytes = w->n * w->header.width;
    tokens_pack(w->tokens, w->n, (int)w->header.width, w->packed);
    uLongf size = compressBound(bytes);
    Bytef *data = array_alloc(size, 1);
    /* The bound is respected, so that only memory can be short. */
    if (compress(data, &size, (const Bytef *)w->packed, bytes) != Z_OK && w->cause == 0) w->cause = ENOMEM;
    struct block_header header = {(uint32_t)size, crc_of(data, size)};
    bytes_write(w, &header, sizeof header);
    bytes_write(w, data, size);
    free(data);
    index_push(w);
    w->blocks++;
    w->offset += sizeof header + size;
    w->header.count += w->n;
    w->header.data_hash = hash_bytes(w->header.data_hash, w->packed, bytes);
    w->n = 0;
}

bool shard_append(struct shard_writer *w, const int32_t *tokens, size_t n, struct error *err) {
    for (size_t i = 0; i < n; i++) {
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= w->header.vocab) {
            return error_set(err, EXIT_MISMATCH,
                             "%s: token %zu is not in the vocabulary (got %d, want 0 to %u)", w->file.path, i,
                             tokens[i], w->header.vocab - 1);
        }
        w->tokens[w->n++] = tokens[i];
        if (w->n == SHARD_BLOCK) block_write(w);
    }
    return w->cause == 0 || write_failed(w, err);
}

/* What comes behind the blocks, and the header in its place. */
static void ends_write(struct shard_writer *w) {
    static const char zeros[INDEX_ALIGNMENT];
    index_push(w);
    const size_t padding = -w->offset % INDEX_ALIGNMENT, index_bytes = (w->blocks + 1) * sizeof *w->index;
    bytes_write(w, zeros, padding);
    bytes_write(w, w->index, index_bytes);
    w->header.index_offset = w->offset + padding;
    w->header.index_crc = crc_of(w->index, index_bytes);
    w->header.header_crc = crc_of(&w->header, offsetof(struct header, header_crc));
    if (w->cause == 0 && fseek(w->file.file, 0, SEEK_SET) != 0) w->cause = errno;
    bytes_write(w, &w->header, sizeof w->header);
}

bool shard_close(struct shard_writer *w, bool keep, struct error *err) {
    if (keep && w->n > 0) block_write(w);
    if (keep) ends_write(w);
    bool ok = !keep || w->cause == 0 || write_failed(w, err);
    if (keep && ok) ok = atomic_commit(&w->file, err);
    else atomic_abandon(&w->file);
    free(w->index);
    free(w);
    return ok;
}

/* The directory of a shard: what has to be deleted when one in it is damaged. */
static int parent_length(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? (int)(slash - path) : 0;
}

/* Every complaint about a damaged file ends in the same advice. */
static bool damage_report(struct error *err, const struct shard *s, const char *place, size_t offset,
                          const char *what, uint64_t got, uint64_t want) {
    return error_set(err, EXIT_INPUT,
                     "%s: %s, byte %zu: %s (got %llu, want %llu); delete the directory %.*s and name the corpus again",
                     s->path, place, offset, what, (unsigned long long)got, (unsigned long long)want,
                     parent_length(s->path), s->path);
}

static bool header_check(struct shard *s, struct error *err) {
    struct header h;
    if (s->map_bytes < sizeof h)
        return damage_report(err, s, "header", s->map_bytes, "the file is too short", s->map_bytes, sizeof h);
    memcpy(&h, s->map, sizeof h);
    if (memcmp(h.magic, MAGIC, sizeof MAGIC) != 0) {
        return error_set(err, EXIT_INPUT,
                         "%s: byte 0: not a shard (want the magic %.8s); delete the directory %.*s and "
                         "name the corpus again",
                         s->path, MAGIC, parent_length(s->path), s->path);
    }
    uint32_t crc = crc_of(&h, offsetof(struct header, header_crc));
    if (crc != h.header_crc) {
        return damage_report(err, s, "header", offsetof(struct header, header_crc), "wrong CRC-32",
                             h.header_crc, crc);
    }
    if (h.version != VERSION) {
        return damage_report(err, s, "header", offsetof(struct header, version), "another version", h.version,
                             VERSION);
    }
    if (h.vocab > INT32_MAX || h.width != (uint32_t)width_of((int)h.vocab) || h.block_tokens != SHARD_BLOCK) {
        return damage_report(err, s, "header", offsetof(struct header, vocab), "impossible layout", h.width,
                             (uint64_t)width_of((int)h.vocab));
    }
    s->vocab = (int)h.vocab;
    s->width = (int)h.width;
    s->tokenizer_hash = h.tokenizer_hash;
    s->data_hash = h.data_hash;
    s->count = h.count;
    s->blocks = h.count / SHARD_BLOCK + (h.count % SHARD_BLOCK != 0);
    return true;
}

static bool index_check(struct shard *s, struct error *err) {
    const struct header *h = s->map;
    size_t at = h->index_offset, bytes;
    if (__builtin_mul_overflow(s->blocks + 1, sizeof *s->index, &bytes) || at % INDEX_ALIGNMENT != 0 ||
        at > s->map_bytes || bytes != s->map_bytes - at) {
        return damage_report(err, s, "index", at, "the file has another size than the header says",
                             s->map_bytes, at + bytes);
    }
    s->index = (const uint64_t *)((const char *)s->map + at);
    if (crc_of(s->index, bytes) != h->index_crc)
        return damage_report(err, s, "index", at, "wrong CRC-32", crc_of(s->index, bytes), h->index_crc);
    uint64_t least = sizeof *h;
    for (size_t b = 0; b <= s->blocks; b++) {
        if (s->index[b] < least || s->index[b] > at || (b == 0 && s->index[b] != least)) {
            return damage_report(err, s, "index", at + b * sizeof *s->index, "impossible offset", s->index[b],
                                 least);
        }
        least = s->index[b] + sizeof(struct block_header);
    }
    for (size_t i = s->index[s->blocks]; i < at; i++) {
        char byte = ((const char *)s->map)[i];
        if (byte != 0) return damage_report(err, s, "padding", i, "wrong byte", (unsigned char)byte, 0);
    }
    return true;
}

bool shard_open(struct shard *s, const char *path, struct error *err) {
    *s = (struct shard){.path = string_format("%s", path)};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    bool ok = fd >= 0 && fstat(fd, &info) == 0;
    if (ok && info.st_size > 0) {
        s->map_bytes = (size_t)info.st_size;
        s->map = mmap(NULL, s->map_bytes, PROT_READ, MAP_SHARED, fd, 0);
        ok = s->map != MAP_FAILED;
        if (!ok) s->map = NULL;
    }
    if (!ok) error_set(err, EXIT_INPUT, "%s: cannot read this shard: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    if (ok && header_check(s, err) && index_check(s, err)) return true;
    shard_close_read(s);
    return false;
}

void shard_close_read(struct shard *s) {
    if (s->map) munmap(s->map, s->map_bytes);
    free(s->path);
    *s = (struct shard){0};
}

/* Widens n stored tokens and checks their range. */
static bool tokens_unpack(const struct shard *s, const void *packed, size_t n, int32_t *tokens,
                          const char *place, size_t offset, struct error *err) {
    const uint16_t *narrow = packed;
    const uint32_t *wide = packed;
    for (size_t i = 0; i < n; i++) {
        uint32_t token = s->width == 2 ? narrow[i] : wide[i];
        if (token >= (uint32_t)s->vocab) {
            return damage_report(err, s, place, offset, "a token is not in the vocabulary", token,
                                 (uint64_t)s->vocab - 1);
        }
        tokens[i] = (int32_t)token;
    }
    return true;
}

enum { PLACE_BYTES = 32 };
static const char *block_name(char place[PLACE_BYTES], size_t b) {
    snprintf(place, PLACE_BYTES, "block %zu", b);
    return place;
}

/* The compressed data of block b: its length is the one in the index, its CRC right. */
static bool block_find(const struct shard *s, size_t b, const Bytef **data, size_t *size, struct error *err) {
    char place[PLACE_BYTES];
    const size_t offset = s->index[b];
    struct block_header header;
    memcpy(&header, (const char *)s->map + offset, sizeof header);
    *data = (const Bytef *)s->map + offset + sizeof header;
    *size = s->index[b + 1] - offset - sizeof header;
    if (header.size != *size)
        return damage_report(err, s, block_name(place, b), offset, "wrong length", header.size, *size);
    const uint32_t crc = crc_of(*data, *size);
    return crc == header.crc ||
           damage_report(err, s, block_name(place, b), offset, "wrong CRC-32", crc, header.crc);
}

bool shard_verify(const struct shard *s, struct error *err) {
    const Bytef *data;
    size_t size;
    for (size_t b = 0; b < s->blocks; b++)
        if (!block_find(s, b, &data, &size, err)) return false;
    return true;
}

bool shard_read_block(const struct shard *s, size_t b, int32_t *tokens, size_t *n, struct error *err) {
    char place[PLACE_BYTES];
    const Bytef *data;
    size_t size, offset = s->index[b];
    if (!block_find(s, b, &data, &size, err)) return false;
    block_name(place, b);
    *n = b + 1 < s->blocks ? SHARD_BLOCK : s->count - b * SHARD_BLOCK;
    uLongf bytes = *n * (size_t)s->width;
    char *packed = array_alloc(bytes, 1);
    const int status = uncompress((Bytef *)packed, &bytes, data, size);
    bool ok = status == Z_OK && bytes == *n * (size_t)s->width;
    if (status == Z_MEM_ERROR) error_set(err, EXIT_MEMORY, "%s: out of memory", s->path);
    else if (!ok) damage_report(err, s, place, offset, "wrong number of bytes", bytes, *n * (size_t)s->width);
    ok = ok && tokens_unpack(s, packed, *n, tokens, place, offset, err);
    free(packed);
    return ok;
}
