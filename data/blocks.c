/* Files of compressed blocks: see blocks.h for what each function promises.
 *
 * The index comes behind the blocks, so that a writer needs no more memory than one block, and the header is
 * written last, with the CRC of the index and of itself. Nothing in the file escapes a check: header and
 * index have CRCs, a block's length must be the one in the index, its CRC covers its data, and padding is
 * zero. The first write that fails is remembered here, since a seek makes stdio forget it. */
#include "blocks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "these files are little-endian, written as they lie in memory");

enum { INDEX_ALIGNMENT = sizeof(uint64_t) };

struct header_start {
    char magic[8];
    uint32_t version;
};

struct block_header {
    uint32_t size, crc; /* of the compressed bytes that follow */
};

uint32_t crc_of(const void *data, size_t size) { return (uint32_t)crc32_z(0, data, size); }

/* ---- Writing ---- */

static void bytes_write(struct blocks_writer *w, const void *data, size_t size) {
    if (w->cause == 0 && fwrite(data, 1, size, w->file.file) != size) w->cause = errno ? errno : EIO;
}

bool blocks_ok(const struct blocks_writer *w, struct error *err) {
    if (w->cause == 0) return true;
    if (w->cause == ENOMEM) return error_set(err, EXIT_MEMORY, "%s: out of memory", w->file.path);
    return error_set(err, EXIT_OUTPUT, "%s: cannot write: %s; free some space or choose another place", w->file.path,
                     strerror(w->cause));
}

bool blocks_create(struct blocks_writer *w, const char *path, size_t header_bytes, size_t columns, struct error *err) {
    *w = (struct blocks_writer){.header_bytes = header_bytes, .offset = header_bytes, .columns = columns};
    if (!atomic_open(&w->file, path, err)) return false;
    char *header = array_alloc(header_bytes, 1); /* its place; blocks_finish writes the final one */
    bytes_write(w, header, header_bytes);
    free(header);
    return true;
}

static void index_push(struct blocks_writer *w, const uint64_t *notes) {
    w->index = array_grow(w->index, &w->capacity, (w->blocks + 1) * w->columns, sizeof *w->index);
    w->index[w->blocks * w->columns] = w->offset;
    for (size_t i = 1; i < w->columns; i++) w->index[w->blocks * w->columns + i] = notes[i - 1];
}

void blocks_add(struct blocks_writer *w, const void *data, size_t bytes, const uint64_t *notes) {
    uLongf size = compressBound(bytes);
    Bytef *packed = array_alloc(size, 1);
    /* The bound is respected, so that only memory can be short. */
    if (compress(packed, &size, data, bytes) != Z_OK && w->cause == 0) w->cause = ENOMEM;
    const struct block_header header = {(uint32_t)size, crc_of(packed, size)};
    bytes_write(w, &header, sizeof header);
    bytes_write(w, packed, size);
    free(packed);
    index_push(w, notes);
    w->blocks++;
    w->offset += sizeof header + size;
}

/* What comes behind the blocks, and the header in its place. */
static void ends_write(struct blocks_writer *w, void *header, const uint64_t *notes) {
    static const char zeros[INDEX_ALIGNMENT];
    index_push(w, notes);
    const size_t padding = -w->offset % INDEX_ALIGNMENT, bytes = (w->blocks + 1) * w->columns * sizeof *w->index;
    const size_t ends_at = w->header_bytes - sizeof(struct blocks_ends);
    struct blocks_ends ends = {.index_offset = w->offset + padding, .index_crc = crc_of(w->index, bytes)};
    bytes_write(w, zeros, padding);
    bytes_write(w, w->index, bytes);
    memcpy((char *)header + ends_at, &ends, sizeof ends);
    ends.header_crc = crc_of(header, ends_at + offsetof(struct blocks_ends, header_crc));
    memcpy((char *)header + ends_at, &ends, sizeof ends);
    if (w->cause == 0 && fseek(w->file.file, 0, SEEK_SET) != 0) w->cause = errno;
    bytes_write(w, header, w->header_bytes);
}

bool blocks_finish(struct blocks_writer *w, void *header, const uint64_t *notes, bool keep, struct error *err) {
    if (keep) ends_write(w, header, notes);
    bool ok = !keep || blocks_ok(w, err);
    if (keep && ok) ok = atomic_commit(&w->file, err);
    else atomic_abandon(&w->file);
    free(w->index);
    return ok;
}

/* ---- Damage ---- */

/* The directory of a file: what has to be deleted when one in it is damaged. */
static int parent_length(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? (int)(slash - path) : 0;
}

bool damage_report(struct error *err, const char *path, struct flaw d) {
    return error_set(err, EXIT_INPUT,
                     "%s: %s, byte %zu: %s (got %llu, want %llu); delete the directory %.*s and name the corpus again",
                     path, d.place, d.offset, d.what, (unsigned long long)d.got, (unsigned long long)d.want,
                     parent_length(path), path);
}

bool block_damage(struct error *err, const struct blocks *b, size_t i, const char *what, uint64_t got, uint64_t want) {
    char place[32];
    snprintf(place, sizeof place, "block %zu", i);
    return damage_report(err, b->path, (struct flaw){place, b->index[i * b->columns], what, got, want});
}

/* ---- Opening ---- */

static bool header_check(const struct blocks *b, void *header, size_t header_bytes, struct error *err) {
    struct header_start want, got;
    struct blocks_ends ends;
    const size_t crc_at = header_bytes - sizeof ends.header_crc;
    if (b->map_bytes < header_bytes)
        return damage_report(err, b->path, (struct flaw){"header", b->map_bytes, "the file is too short",
                                                         b->map_bytes, header_bytes});
    memcpy(&want, header, sizeof want);
    memcpy(&got, b->map, sizeof got);
    if (memcmp(got.magic, want.magic, sizeof want.magic) != 0)
        return error_set(err, EXIT_INPUT,
                         "%s: byte 0: not %s %s (want the magic %.8s); delete the directory %.*s and "
                         "name the corpus again", b->path, strchr("aeiou", *b->kind) ? "an" : "a", b->kind, want.magic,
                         parent_length(b->path), b->path);
    memcpy(&ends, b->map + header_bytes - sizeof ends, sizeof ends);
    const uint32_t crc = crc_of(b->map, crc_at);
    if (crc != ends.header_crc)
        return damage_report(err, b->path, (struct flaw){"header", crc_at, "wrong CRC-32", ends.header_crc, crc});
    if (got.version != want.version)
        return damage_report(err, b->path, (struct flaw){"header", offsetof(struct header_start, version),
                                                         "another version", got.version, want.version});
    memcpy(header, b->map, header_bytes);
    return true;
}

bool blocks_open(struct blocks *b, const char *path, const char *kind, void *header, size_t header_bytes,
                 struct error *err) {
    *b = (struct blocks){.path = string_format("%s", path), .kind = kind};
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    bool ok = fd >= 0 && fstat(fd, &info) == 0;
    if (ok && info.st_size > 0) {
        void *map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
        ok = map != MAP_FAILED;
        if (ok) b->map = map, b->map_bytes = (size_t)info.st_size;
    }
    if (!ok) error_set(err, EXIT_INPUT, "%s: cannot read this %s: %s", path, kind, strerror(errno));
    if (fd >= 0) close(fd);
    if (ok && header_check(b, header, header_bytes, err)) return true;
    blocks_close(b);
    return false;
}

bool blocks_index(struct blocks *b, const void *header, size_t header_bytes, size_t n, size_t columns,
                  struct error *err) {
    struct blocks_ends ends;
    memcpy(&ends, (const char *)header + header_bytes - sizeof ends, sizeof ends);
    size_t at = ends.index_offset, bytes;
    if (n == SIZE_MAX || __builtin_mul_overflow(n + 1, columns * sizeof *b->index, &bytes) ||
        at % INDEX_ALIGNMENT != 0 || at > b->map_bytes || bytes != b->map_bytes - at)
        return damage_report(err, b->path, (struct flaw){"index", at, "the file has another size than the header says",
                                                         b->map_bytes, at + (n + 1) * columns * sizeof *b->index});
    b->index = (const uint64_t *)(b->map + at);
    b->n = n;
    b->columns = columns;
    const uint32_t crc = crc_of(b->index, bytes);
    if (crc != ends.index_crc)
        return damage_report(err, b->path, (struct flaw){"index", at, "wrong CRC-32", crc, ends.index_crc});
    uint64_t least = header_bytes, offset = 0;
    for (size_t i = 0; i <= n; i++) {
        offset = b->index[i * columns];
        if (offset < least || offset > at || (i == 0 && offset != least))
            return damage_report(err, b->path, (struct flaw){"index", at + i * columns * sizeof *b->index,
                                                             "impossible offset", offset, least});
        least = offset + sizeof(struct block_header);
    }
    for (size_t i = offset; i < at; i++)
        if (b->map[i] != 0)
            return damage_report(err, b->path, (struct flaw){"padding", i, "wrong byte", (unsigned char)b->map[i], 0});
    return true;
}

void blocks_close(struct blocks *b) {
    if (b->map) munmap((void *)b->map, b->map_bytes);
    free(b->path);
    *b = (struct blocks){0};
}

/* ---- Reading ---- */

size_t blocks_packed(const struct blocks *b, size_t i) {
    return b->index[(i + 1) * b->columns] - b->index[i * b->columns] - sizeof(struct block_header);
}

/* The compressed data of block i: its length is the one in the index, its CRC right. */
static const Bytef *block_find(const struct blocks *b, size_t i, struct error *err) {
    const char *block = b->map + b->index[i * b->columns];
    const size_t size = blocks_packed(b, i);
    struct block_header header;
    memcpy(&header, block, sizeof header);
    if (header.size != size) {
        block_damage(err, b, i, "wrong length", header.size, size);
        return NULL;
    }
    const uint32_t crc = crc_of(block + sizeof header, size);
    if (crc == header.crc) return (const Bytef *)block + sizeof header;
    block_damage(err, b, i, "wrong CRC-32", crc, header.crc);
    return NULL;
}

bool blocks_verify(const struct blocks *b, struct error *err) {
    for (size_t i = 0; i < b->n; i++)
        if (!block_find(b, i, err)) return false;
    return true;
}

bool blocks_read(const struct blocks *b, size_t i, void *data, size_t bytes, struct error *err) {
    const Bytef *packed = block_find(b, i, err);
    if (!packed) return false;
    uLongf got = bytes;
    const int status = uncompress(data, &got, packed, blocks_packed(b, i));
    if (status == Z_OK && got == bytes) return true;
    if (status == Z_MEM_ERROR) return error_set(err, EXIT_MEMORY, "%s: out of memory", b->path);
    return block_damage(err, b, i, "wrong number of bytes", got, bytes);
}
