/* Checkpoints are safetensors files: an 8-byte length, a JSON header, then the tensors' bytes.
 *
 * Any safetensors reader opens them. On top of the format, `__metadata__` holds a CRC-32 of each
 * tensor ("crc32.NAME", 8 hex digits) and of the header itself ("crc32.header", taken with its own
 * eight digits as zeros), and readers here verify all of them. Nothing in this file knows what a
 * model is: train.c and mhmoe.c name the tensors. */
#ifndef CHECKPOINT_H
#define CHECKPOINT_H

#include <jansson.h>
#include "../base/util.h"

enum { TENSOR_DIMS = 4 };
enum dtype { DTYPE_F32, DTYPE_F64, DTYPE_I64, DTYPE_U8, DTYPE_F16, DTYPE_BF16, DTYPE_BOOL }; /* the last three: of other
                                                                                              programs */

/* A named, shaped view of somebody's memory. */
struct tensor {
    char name[64];
    enum dtype dtype;
    int dims;
    size_t shape[TENSOR_DIMS];
    void *data;
};

size_t tensor_count(const struct tensor *t); /* number of elements */
size_t tensor_bytes(const struct tensor *t);

/* Writes tensors (no name twice) in the order given, atomically. The data begins at a multiple of 64 bytes
 * and has no holes, so U8 tensors belong at the end or they shift the rest off its alignment. `metadata` is
 * an object of strings or NULL (borrowed, not changed); keys that start with "crc32." are reserved and not
 * taken over. EXIT_OUTPUT on failure, also where a reader would not open the file: a note that is no text, a header
 * that is too large. */
bool checkpoint_write(const char *path, const struct tensor *tensors, size_t n, const json_t *metadata,
                      struct error *err);

/* Sets a string of metadata. One that is not UTF-8, which JSON cannot hold, makes checkpoint_write fail. */
void checkpoint_note(json_t *metadata, const char *key, const char *value);

/* An open checkpoint: header parsed and checked (sizes, shapes, dtypes, no overlap, no hole, no byte
 * left over, header CRC), file mapped read-only. */
struct checkpoint {
    char *path;
    struct tensor *tensors; /* data points into the map; in file order */
    size_t n;
    json_t *metadata;       /* the strings, CRCs included */
    void *map;
    size_t map_bytes;
};

/* EXIT_INPUT with the file, the place and what was expected when anything is wrong. */
bool checkpoint_open(struct checkpoint *c, const char *path, struct error *err);

/* The same of a safetensors file that may be another program's: CRCs are neither wanted nor checked, and where it has
 * no metadata that is empty. Its data may lie at any byte. */
bool safetensors_open(struct checkpoint *c, const char *path, struct error *err);

/* One that is in no file: n tensors with these names, dtypes and shapes, all zeros, for the caller to fill in; then
 * sealed with metadata (stolen; CRCs are added), it is like one that was opened. `path` is for messages.
 * EXIT_MEMORY. */
bool checkpoint_create(struct checkpoint *c, const char *path, const struct tensor *tensors, size_t n,
                       struct error *err);
void checkpoint_seal(struct checkpoint *c, json_t *metadata);
void checkpoint_close(struct checkpoint *c);

/* NULL if there is no such tensor. Does not verify its CRC. */
const struct tensor *checkpoint_find(const struct checkpoint *c, const char *name);

/* Copies the tensor called want->name into want->data after checking that there is one with the dtype and
 * shape of `want` (EXIT_MISMATCH; the message names both shapes) and its CRC (EXIT_INPUT). */
bool checkpoint_read(const struct checkpoint *c, const struct tensor *want, struct error *err);

/* A malloc'ed copy of a whole tensor after checking its CRC, and its bytes; or NULL and an EXIT_INPUT error. */
void *checkpoint_copy(const struct checkpoint *c, const char *name, size_t *size, struct error *err);

/* What the user means by the name of a run: in a directory its best.safetensors, or where there is none its
 * last.safetensors, or without that, beside a config.json or if it is there, model.safetensors, which is another
 * program's; else the file itself. malloc'ed. */
char *checkpoint_path(const char *run);

/* The directory that it is in, which a run that goes on with its data is named after. malloc'ed. */
char *checkpoint_directory(const struct checkpoint *c);

/* Compares the metadata string "format" with the one that the caller reads: EXIT_INPUT if it is another. */
bool checkpoint_format(const struct checkpoint *c, const char *want, struct error *err);

/* A metadata string, or NULL and an EXIT_INPUT error that names the key. */
const char *checkpoint_string(const struct checkpoint *c, const char *key, struct error *err);

/* The same as a whole number >= 0; as a real number >= 0 or infinity; as a JSON object (new reference, or NULL). Text
 * that is anything else is an EXIT_INPUT error that shows it. */
bool checkpoint_whole(const struct checkpoint *c, const char *key, int64_t *value, struct error *err);
bool checkpoint_real(const struct checkpoint *c, const char *key, double *value, struct error *err);
json_t *checkpoint_object(const struct checkpoint *c, const char *key, struct error *err);

#endif
