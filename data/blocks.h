/* Files of compressed blocks, each with its CRC: what shards and albums have in common. See README.md here.
 *
 * A header, the blocks, zeros up to a multiple of 8, and an index: for each block, and then for where the last one
 * ends, its offset and what else the format wants to know of it without inflating it. A header begins with a magic of 8
 * bytes and a version, and ends with where the index is, its CRC, and the header's own. */
#ifndef BLOCKS_H
#define BLOCKS_H

#include "../src/base/util.h"

uint32_t crc_of(const void *data, size_t size); /* zlib's CRC-32 */

struct blocks_ends { /* the last 16 bytes of every header */
    uint64_t index_offset;
    uint32_t index_crc, header_crc; /* the latter of all that stands before it */
};

struct blocks_writer {
    struct atomic_file file;
    uint64_t *index; /* (blocks, columns), the offset first */
    uint64_t offset;
    size_t header_bytes, blocks, columns, capacity;
    int cause; /* errno of the first failure; 0: none so far */
};

/* Leaves room for the header. */
bool blocks_create(struct blocks_writer *w, const char *path, size_t header_bytes, size_t columns, struct error *err);
/* Compresses and writes a block; `notes` (columns - 1) are the index's other numbers. A failure is remembered. */
void blocks_add(struct blocks_writer *w, const void *data, size_t bytes, const uint64_t *notes);
/* Whether all could be written so far (EXIT_OUTPUT). */
bool blocks_ok(const struct blocks_writer *w, struct error *err);
/* Writes the index and the header, whose ends it fills in, and gives the file its name; with `keep` false, or when
 * anything could not be written, removes it. */
bool blocks_finish(struct blocks_writer *w, void *header, const uint64_t *notes, bool keep, struct error *err);

struct blocks {
    char *path;
    const char *kind; /* "shard" */
    const char *map;
    size_t map_bytes, n, columns;
    const uint64_t *index; /* (n + 1, columns) */
};

/* Maps a file and copies its header, once that is whole and begins with the magic and the version that stand in
 * `header` before. EXIT_INPUT. */
bool blocks_open(struct blocks *b, const char *path, const char *kind, void *header, size_t header_bytes,
                 struct error *err);

/* The index of n blocks behind that header: its CRC, that offsets rise, and that the file ends with it. */
bool blocks_index(struct blocks *b, const void *header, size_t header_bytes, size_t n, size_t columns,
                  struct error *err);
void blocks_close(struct blocks *b);

/* The lengths and CRCs of all blocks, without inflating them: about as fast as the disk is. */
bool blocks_verify(const struct blocks *b, struct error *err);

/* Inflates block i, which has to hold that many bytes. */
bool blocks_read(const struct blocks *b, size_t i, void *data, size_t bytes, struct error *err);

/* Its compressed size. */
size_t blocks_packed(const struct blocks *b, size_t i);

/* Every complaint about a damaged file ends in the same advice. False. */
struct flaw {
    const char *place;
    size_t offset;
    const char *what;
    uint64_t got, want;
};
bool damage_report(struct error *err, const char *path, struct flaw flaw);
/* The same of block i. */
bool block_damage(struct error *err, const struct blocks *b, size_t i, const char *what, uint64_t got, uint64_t want);

#endif
