/* The mixture: see mixture.h for what it promises.
 *
 * A part's rows served are counted here and told to its loader before each row, so whoever else reads from that loader
 * does no harm. Parallel corpora have the same text at the same place, so each part has a seed of its own, of the seed
 * and its name: else they would be visited in the same order. */
#include "mixture.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include "../src/base/rng.h"
#include "shard.h"
#include "weights.h"

struct part {
    char *name;
    struct loader *loader;
    double share;
    double below; /* the sum of all shares up to this one */
    uint64_t served;
};

struct mixture {
    char *dir;
    struct part *parts;
    size_t n;
    size_t seq;
    uint64_t key; /* of the draws */
    uint64_t position;
};

/* ---- The parts ---- */

static char *part_path(const struct mixture *m, const char *name) {
    return *name ? string_format("%s/%s", m->dir, name) : string_format("%s", m->dir);
}

static bool is_part(const struct mixture *m, const char *name) {
    char *path = part_path(m, name);
    const bool directory = *name != '.' && directory_exists(path);
    free(path);
    return directory;
}

static void part_add(struct mixture *m, const char *name) {
    size_t capacity = m->n;
    m->parts = array_grow(m->parts, &capacity, m->n + 1, sizeof *m->parts);
    m->parts[m->n++] = (struct part){.name = string_format("%s", name)};
}

static bool parts_find(struct mixture *m, struct error *err) {
    struct dirent **entries;
    const int n = names_list(m->dir, &entries);
    if (n < 0) return error_set(err, EXIT_INPUT, "%s: cannot read this directory: %s", m->dir, strerror(errno));
    bool whole = false;
    for (int i = 0; i < n; i++) whole |= fnmatch("*.shard", entries[i]->d_name, 0) == 0;
    for (int i = 0; i < n; i++)
        if (!whole && is_part(m, entries[i]->d_name)) part_add(m, entries[i]->d_name);
    names_free(entries, n);
    if (m->n == 0) part_add(m, "");
    return true;
}

static uint64_t part_seed(const struct mixture *m, const struct part *p, uint64_t seed) {
    if (m->n == 1) return seed;
    return hash_bytes(hash_bytes(HASH_START, &seed, sizeof seed), p->name, strlen(p->name));
}

/* Opens the part, once more where it is open already. */
static bool part_open(const struct mixture *m, struct part *p, const char *split, const struct mixture_options *o,
                      size_t cache_bytes, struct error *err) {
    if (p->loader) loader_close(p->loader);
    char *path = part_path(m, p->name);
    p->loader = loader_open(path, split, o->seq, o->shuffle, part_seed(m, p, o->seed), cache_bytes, err);
    free(path);
    return p->loader != NULL;
}

static bool tokenizers_match(const struct mixture *m, struct error *err) {
    const uint64_t first = loader_tokenizer_hash(m->parts->loader);
    for (const struct part *p = m->parts; p < m->parts + m->n; p++) {
        const uint64_t its = loader_tokenizer_hash(p->loader);
        if (its != first || loader_vocab(p->loader) != loader_vocab(m->parts->loader))
            return error_set(err, EXIT_MISMATCH, "%s/%s: made with another tokenizer than %s (got %016llx, want "
                             "%016llx); prepare the text again", m->dir, p->name, m->parts->name,
                             (unsigned long long)its, (unsigned long long)first);
    }
    return true;
}

/* By the parts' tokens. */
static bool shares_set(struct mixture *m, const struct mixture_options *o, struct error *err) {
    struct part_weight *weights = array_alloc(m->n, sizeof *weights);
    double below = 0;
    for (size_t i = 0; i < m->n; i++)
        weights[i] = (struct part_weight){.name = m->parts[i].name, .size = (double)loader_tokens(m->parts[i].loader)};
    const bool ok = part_shares(weights, m->n, o->alpha, o->weights, err);
    for (size_t i = 0; ok && i < m->n; i++) {
        m->parts[i].share = weights[i].share;
        m->parts[i].below = below += weights[i].share;
    }
    free(weights);
    return ok;
}

/* ---- The cache ---- */

/* What is served has blocks to keep; a loader without any still has room for one. */
static size_t part_blocks(const struct part *p) {
    return p->share > 0 ? loader_tokens(p->loader) / SHARD_BLOCK + 1 : 0;
}

/* Shares it out by the blocks of each part: all of them fit, or each part has the same share of its own in memory. How
 * many a part has is known once it is open, so it is opened again. */
static bool cache_share(struct mixture *m, const char *split, const struct mixture_options *o, struct error *err) {
    size_t all = 0;
    for (const struct part *p = m->parts; p < m->parts + m->n; p++) all += part_blocks(p);
    for (struct part *p = m->parts; p < m->parts + m->n; p++) {
        const size_t blocks = part_blocks(p);
        const size_t bytes = o->cache_bytes / all * blocks + o->cache_bytes % all * blocks / all;
        if (!part_open(m, p, split, o, bytes, err)) return false;
    }
    return true;
}

struct mixture *mixture_open(const char *dir, const char *split, const struct mixture_options *options,
                             struct error *err) {
    struct mixture *m = array_alloc(1, sizeof *m);
    *m = (struct mixture){.dir = string_format("%s", dir), .seq = (size_t)options->seq};
    m->key = hash_bytes(hash_bytes(HASH_START, "mixture", 8), &options->seed, sizeof options->seed);
    bool ok = parts_find(m, err);
    for (size_t i = 0; ok && i < m->n; i++) ok = part_open(m, &m->parts[i], split, options, 0, err);
    if (ok && tokenizers_match(m, err) && shares_set(m, options, err) && cache_share(m, split, options, err)) return m;
    mixture_close(m);
    return NULL;
}

void mixture_close(struct mixture *m) {
    for (struct part *p = m->parts; p < m->parts + m->n; p++) {
        if (p->loader) loader_close(p->loader);
        free(p->name);
    }
    free(m->parts);
    free(m->dir);
    free(m);
}

/* ---- What it holds ---- */

size_t mixture_parts(const struct mixture *m) {
    return m->n;
}

const char *mixture_name(const struct mixture *m, size_t part) {
    return m->parts[part].name;
}

double mixture_share(const struct mixture *m, size_t part) {
    return m->parts[part].share;
}

uint64_t mixture_served(const struct mixture *m, size_t part) {
    return m->parts[part].served;
}

struct loader *mixture_loader(const struct mixture *m, size_t part) {
    return m->parts[part].loader;
}

static size_t parts_sum(const struct mixture *m, size_t (*of)(const struct loader *)) {
    size_t sum = 0;
    for (size_t i = 0; i < m->n; i++) sum += of(m->parts[i].loader);
    return sum;
}

size_t mixture_tokens(const struct mixture *m) {
    return parts_sum(m, loader_tokens);
}

size_t mixture_windows(const struct mixture *m) {
    return parts_sum(m, loader_windows);
}

size_t mixture_bytes(const struct mixture *m) {
    return parts_sum(m, loader_bytes);
}

int mixture_vocab(const struct mixture *m) {
    return loader_vocab(m->parts->loader);
}

uint64_t mixture_tokenizer_hash(const struct mixture *m) {
    return loader_tokenizer_hash(m->parts->loader);
}

uint64_t mixture_data_hash(const struct mixture *m) {
    if (m->n == 1) return loader_data_hash(m->parts->loader);
    uint64_t hash = HASH_START;
    for (const struct part *p = m->parts; p < m->parts + m->n; p++) {
        const uint64_t tokens = loader_data_hash(p->loader);
        hash = hash_bytes(hash_bytes(hash, p->name, strlen(p->name) + 1), &tokens, sizeof tokens);
    }
    return hash;
}

/* ---- Rows ---- */

/* A uniform number is below 1, so the draw is below the sum of all shares; no part without a share can be met. */
static struct part *part_draw(const struct mixture *m, uint64_t row) {
    struct rng rng;
    rng_seed(&rng, m->key, row);
    const double draw = rng_uniform(&rng) * m->parts[m->n - 1].below;
    struct part *p = m->parts;
    while (draw >= p->below) p++;
    return p;
}

bool mixture_next(struct mixture *m, int rows, int32_t *inputs, int32_t *targets, struct error *err) {
    for (int row = 0; row < rows; row++, inputs += m->seq, targets += m->seq) {
        struct part *p = part_draw(m, m->position);
        loader_seek(p->loader, p->served);
        if (!loader_next(p->loader, 1, inputs, targets, err)) return false;
        p->served++;
        m->position++;
    }
    return true;
}

uint64_t mixture_position(const struct mixture *m) {
    return m->position;
}

void mixture_seek(struct mixture *m, uint64_t position) {
    for (size_t i = 0; i < m->n; i++) m->parts[i].served = 0;
    if (m->n == 1) m->parts->served = position; /* there is nothing to count */
    else
        for (uint64_t row = 0; row < position; row++) part_draw(m, row)->served++;
    m->position = position;
}
