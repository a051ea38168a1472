/* The loader: shards in, batches of token windows out, in a seeded order that can be resumed anywhere.
 *
 * The tokens of all shards of a split form one sequence; window w predicts tokens w*T+1 .. w*T+T from the
 * T before each. The last window is moved back to be full, and what it would predict a second time is
 * masked, so every token but the first is a target exactly once an epoch. Each epoch visits the windows in
 * its own order (rng.h shuffle_index): the position is just the number of windows served so far. */
#ifndef LOADER_H
#define LOADER_H

#include "../src/math/kernels.h" /* TARGET_NONE */
#include "../src/base/util.h"

struct loader;

/* Opens DIR/SPLIT-*.shard ("train" or "val"). `shuffle` false serves windows in text order. `cache_bytes`
 * bounds the decompressed blocks kept in memory. EXIT_INPUT if there is no shard, or if there are fewer
 * than seq + 1 tokens (it says how many there are); EXIT_MISMATCH if shards differ in tokenizer. */
struct loader *loader_open(const char *dir, const char *split, int seq, bool shuffle, uint64_t seed,
                           size_t cache_bytes, struct error *err);
void loader_close(struct loader *l);

size_t loader_tokens(const struct loader *l);
size_t loader_windows(const struct loader *l); /* an epoch */
size_t loader_bytes(const struct loader *l);   /* memory, once every block it can keep has been read */
int loader_vocab(const struct loader *l);
uint64_t loader_tokenizer_hash(const struct loader *l);
uint64_t loader_data_hash(const struct loader *l);

/* The next `rows` windows: inputs (rows, seq), targets (rows, seq). Crosses epochs without a seam. */
bool loader_next(struct loader *l, int rows, int32_t *inputs, int32_t *targets, struct error *err);

uint64_t loader_position(const struct loader *l); /* windows served since the start */
void loader_seek(struct loader *l, uint64_t position);

#endif
