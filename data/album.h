/* An album: pictures and texts, prepared. A record is a picture with all its captions, or a text alone; records lie in
 * compressed blocks, each with its CRC. See README.md here.
 *
 * Written once by album_prepare.c, read at random by who makes examples of it. Damage is reported by file, block and
 * byte. */
#ifndef ALBUM_H
#define ALBUM_H

#include "../src/base/util.h"

enum { ALBUM_SIZE_MOST = 1 << 14, ALBUM_CODES_MOST = 1 << 20 }; /* pixels a side; codes */

struct album_text {
    const int32_t *tokens;
    size_t n, prefix; /* the first `prefix` tokens name the language and are never hidden; there are more */
};

struct album_record {
    const unsigned char *pixels; /* (size, size, 3), or NULL: a text alone */
    const int32_t *codes;        /* (P), or NULL */
    const struct album_text *texts;
    size_t n_texts;
    uint64_t group;
    const char *name; /* of the picture's file; "" for a text */
};

/* What all records of an album have in common. Without pictures size, patch, codes and codebook_hash are 0. */
struct album_shape {
    int vocab;
    size_t size, patch, codes;
    uint64_t tokenizer_hash, codebook_hash;
};

struct album_writer;
struct album_writer *album_create(const char *path, const struct album_shape *shape, struct error *err);
/* EXIT_MISMATCH for what is in neither vocabulary nor codebook, or empty; a write that failed, now or before, is
 * EXIT_OUTPUT. */
bool album_append(struct album_writer *w, const struct album_record *record, struct error *err);
/* Finishes the file and frees w; with `keep` false, or when anything could not be written, removes it. */
bool album_finish(struct album_writer *w, bool keep, struct error *err);

/* Opens DIR/SPLIT.album, `split` being "train" or "val". `cache_bytes` bounds the inflated blocks kept in memory, but
 * for the one that is read. EXIT_INPUT. */
struct album;
struct album *album_open(const char *dir, const char *split, size_t cache_bytes, struct error *err);
void album_close(struct album *a);

size_t album_records(const struct album *a);
size_t album_size(const struct album *a), album_patch(const struct album *a), album_codes(const struct album *a);
int album_vocab(const struct album *a);
uint64_t album_tokenizer_hash(const struct album *a), album_codebook_hash(const struct album *a);
uint64_t album_data_hash(const struct album *a); /* of all records */
size_t album_bytes(const struct album *a);       /* memory, once every block it can keep has been read */

/* Record i, valid until the next call. EXIT_INPUT: its block is damaged. */
bool album_read(struct album *a, size_t i, struct album_record *record, struct error *err);

/* The lengths and CRCs of all blocks, without inflating them. */
bool album_verify(const struct album *a, struct error *err);

#endif
