/* The loader: see loader.h for what a window is.
 *
 * A position is a number of windows served; epoch, window, tokens and blocks all follow from it, so there is
 * no state to save but that number. Decompressed blocks stay in slots; the least recently used one goes. */
#include "loader.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include "../src/base/rng.h"
#include "shard.h"

enum { EMPTY = -1 };

struct slot {
    int32_t tokens[SHARD_BLOCK];
    size_t n;
    ptrdiff_t block; /* counted over all shards, or EMPTY */
    uint64_t used;   /* when last: a tick */
};

struct loader {
    struct shard *shards;
    size_t n_shards;
    size_t tokens, blocks; /* over all shards */
    size_t seq;
    bool shuffle;
    uint64_t seed, position, data_hash;
    struct slot *slots;
    size_t n_slots;
    ptrdiff_t *slot_of; /* (blocks) or EMPTY */
    uint64_t tick;
};

static bool shards_match(const struct shard *a, const struct shard *b, struct error *err) {
    if (a->tokenizer_hash == b->tokenizer_hash && a->vocab == b->vocab) return true;
    return error_set(
        err, EXIT_MISMATCH,
        "%s: made with another tokenizer than %s (got %016llx, want %016llx); prepare the text again",
        b->path, a->path, (unsigned long long)b->tokenizer_hash, (unsigned long long)a->tokenizer_hash);
}

static bool shard_add(struct loader *l, const char *path, struct error *err) {
    size_t capacity = l->n_shards;
    l->shards = array_grow(l->shards, &capacity, l->n_shards + 1, sizeof *l->shards);
    struct shard *s = &l->shards[l->n_shards];
    if (!shard_open(s, path, err)) return false;
    l->n_shards++;
    l->tokens += s->count;
    l->blocks += s->blocks;
    l->data_hash = hash_bytes(l->data_hash, &s->data_hash, sizeof s->data_hash);
    return shards_match(l->shards, s, err);
}

/* Opens DIR/SPLIT-*.shard in name order. */
static bool shards_open(struct loader *l, const char *dir, const char *split, struct error *err) {
    struct dirent **entries;
    int n = names_list(dir, &entries);
    if (n < 0) return error_set(err, EXIT_INPUT, "%s: cannot read this directory: %s", dir, strerror(errno));
    char *pattern = string_format("%s-*.shard", split);
    bool ok = true;
    for (int i = 0; i < n; i++) {
        if (!ok || fnmatch(pattern, entries[i]->d_name, 0) != 0) continue;
        char *path = string_format("%s/%s", dir, entries[i]->d_name);
        ok = shard_add(l, path, err);
        free(path);
    }
    if (ok && l->n_shards == 0)
        ok = error_set(err, EXIT_INPUT, "%s: holds no %s; prepare the text again", dir, pattern);
    names_free(entries, n);
    free(pattern);
    return ok;
}

static void slots_make(struct loader *l, size_t cache_bytes) {
    l->n_slots = cache_bytes / sizeof *l->slots;
    if (l->n_slots > l->blocks) l->n_slots = l->blocks;
    if (l->n_slots == 0) l->n_slots = 1;
    l->slots = array_alloc(l->n_slots, sizeof *l->slots);
    l->slot_of = array_alloc(l->blocks, sizeof *l->slot_of);
    for (size_t i = 0; i < l->n_slots; i++) l->slots[i].block = EMPTY;
    for (size_t b = 0; b < l->blocks; b++) l->slot_of[b] = EMPTY;
}

struct loader *loader_open(const char *dir, const char *split, int seq, bool shuffle, uint64_t seed,
                           size_t cache_bytes, struct error *err) {
    struct loader *l = array_alloc(1, sizeof *l);
    *l = (struct loader){.seq = (size_t)seq, .shuffle = shuffle, .seed = seed, .data_hash = HASH_START};
    bool ok = shards_open(l, dir, split, err);
    if (ok && l->tokens < l->seq + 1) {
        ok = error_set(err, EXIT_INPUT,
                       "%s: the %s text is too short for one sequence (got %zu tokens, want at "
                       "least %zu); add text or lower --seq",
                       dir, split, l->tokens, l->seq + 1);
    }
    if (ok) {
        slots_make(l, cache_bytes);
        return l;
    }
    loader_close(l);
    return NULL;
}

void loader_close(struct loader *l) {
    for (size_t i = 0; i < l->n_shards; i++) shard_close_read(&l->shards[i]);
    free(l->shards);
    free(l->slots);
    free(l->slot_of);
    free(l);
}

size_t loader_tokens(const struct loader *l) {
    return l->tokens;
}

size_t loader_windows(const struct loader *l) {
    return (l->tokens - 1 + l->seq - 1) / l->seq;
}

size_t loader_bytes(const struct loader *l) { return l->n_slots * sizeof *l->slots; }

int loader_vocab(const struct loader *l) {
    return l->shards[0].vocab;
}

uint64_t loader_tokenizer_hash(const struct loader *l) {
    return l->shards[0].tokenizer_hash;
}

uint64_t loader_data_hash(const struct loader *l) {
    return l->data_hash;
}

uint64_t loader_position(const struct loader *l) {
    return l->position;
}

void loader_seek(struct loader *l, uint64_t position) {
    l->position = position;
}

/* The slot that holds block b of shard s, which is block number `block` of all. */
static const struct slot *block_fetch(struct loader *l, const struct shard *s, size_t b, size_t block,
                                      struct error *err) {
    struct slot *slot = l->slots;
    if (l->slot_of[block] != EMPTY) slot = &l->slots[l->slot_of[block]];
    else {
        for (size_t i = 1; i < l->n_slots; i++)
            if (l->slots[i].used < slot->used) slot = &l->slots[i];
        if (slot->block != EMPTY) l->slot_of[slot->block] = EMPTY;
        slot->block = EMPTY;
        if (!shard_read_block(s, b, slot->tokens, &slot->n, err)) return NULL;
        slot->block = (ptrdiff_t)block;
        l->slot_of[block] = slot - l->slots;
    }
    slot->used = ++l->tick;
    return slot;
}

/* Copies tokens [start, start + n) of the whole sequence. */
static bool tokens_copy(struct loader *l, size_t start, size_t n, int32_t *out, struct error *err) {
    size_t block = 0;
    for (const struct shard *s = l->shards; n > 0; block += s->blocks, start -= s->count, s++) {
        while (n > 0 && start < s->count) {
            size_t b = start / SHARD_BLOCK, from = start % SHARD_BLOCK;
            const struct slot *slot = block_fetch(l, s, b, block + b, err);
            if (!slot) return false;
            size_t part = slot->n - from < n ? slot->n - from : n;
            memcpy(out, slot->tokens + from, part * sizeof *out);
            out += part;
            start += part;
            n -= part;
        }
    }
    return true;
}

/* Which window stands at a position. */
static size_t window_at(const struct loader *l, uint64_t position) {
    size_t windows = loader_windows(l);
    uint64_t epoch = position / windows, i = position % windows;
    if (!l->shuffle) return i;
    uint64_t key = hash_bytes(hash_bytes(HASH_START, &l->seed, sizeof l->seed), &epoch, sizeof epoch);
    return shuffle_index(i, windows, key);
}

bool loader_next(struct loader *l, int rows, int32_t *inputs, int32_t *targets, struct error *err) {
    size_t seq = l->seq, last = l->tokens - 1 - seq; /* where the last window that is full starts */
    for (int row = 0; row < rows; row++, inputs += seq, targets += seq) {
        size_t start = window_at(l, l->position) * seq;
        size_t back = start > last ? start - last : 0;
        if (!tokens_copy(l, start - back, seq, inputs, err)) return false;
        memcpy(targets, inputs + 1, (seq - 1) * sizeof *targets);
        if (!tokens_copy(l, start - back + seq, 1, targets + seq - 1, err)) return false;
        for (size_t i = 0; i < back; i++) targets[i] = TARGET_NONE;
        l->position++;
    }
    return true;
}
