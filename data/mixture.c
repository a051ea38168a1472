/* The mixture: see mixture.h for what it promises.
 *
 * A part's rows served are counted here and told to its loader before each row, so whoever else reads from that loader
 * does no harm. Parallel corpora have the same text at the same place, so each part has a seed of its own, of the seed
 * and its name: else they would be visited in the same order. */
#include "mixture.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "../src/base/rng.h"
#include "../src/base/text.h"
#include "shard.h"

enum { NAMES_SHOWN = 500 }; /* bytes of them in a message */

struct part {
    char *name;
    struct loader *loader;
    double weight; /* NAN: not known yet */
    double below;  /* the sum of all weights up to this one */
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

static int names_compare(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name); /* alphasort would follow the locale */
}

static char *part_path(const struct mixture *m, const char *name) {
    return *name ? string_format("%s/%s", m->dir, name) : string_format("%s", m->dir);
}

static bool is_part(const struct mixture *m, const char *name) {
    char *path = part_path(m, name);
    struct stat info;
    const bool directory = *name != '.' && stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    free(path);
    return directory;
}

static void part_add(struct mixture *m, const char *name) {
    size_t capacity = m->n;
    m->parts = array_grow(m->parts, &capacity, m->n + 1, sizeof *m->parts);
    m->parts[m->n++] = (struct part){.name = string_format("%s", name), .weight = NAN};
}

static bool parts_find(struct mixture *m, struct error *err) {
    struct dirent **entries;
    const int n = scandir(m->dir, &entries, NULL, names_compare);
    if (n < 0) return error_set(err, EXIT_INPUT, "%s: cannot read this directory: %s", m->dir, strerror(errno));
    bool whole = false;
    for (int i = 0; i < n; i++) whole |= fnmatch("*.shard", entries[i]->d_name, 0) == 0;
    for (int i = 0; i < n; i++) {
        if (!whole && is_part(m, entries[i]->d_name)) part_add(m, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
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

/* ---- Weights ---- */

/* For messages: "de, en", no more of them than fit. malloc'ed. */
static char *parts_list(const struct mixture *m) {
    char *list = string_format("%s", m->parts->name);
    size_t i = 1;
    for (; i < m->n && strlen(list) < NAMES_SHOWN; i++) string_append(&list, ", %s", m->parts[i].name);
    if (i < m->n) string_append(&list, " and %zu more", m->n - i);
    return list;
}

static bool part_unknown(const struct mixture *m, const char *name, struct error *err) {
    char *list = parts_list(m);
    error_set(err, EXIT_USAGE, "--part-weights: no part has this name (got '%.99s', want one of: %s); correct it", name,
              list);
    free(list);
    return false;
}

/* `pair` is NAME=NUMBER, and is cut at its sign. */
static bool weight_set(struct mixture *m, char *pair, struct error *err) {
    char *sign = strchr(pair, '=');
    if (!sign)
        return error_set(err, EXIT_USAGE, "--part-weights: not a pair (got '%.99s', want NAME=NUMBER); write it as in "
                         "en=2,de=1", pair);
    *sign = 0;
    struct part *p = m->parts;
    while (p < m->parts + m->n && strcmp(p->name, pair) != 0) p++;
    if (p == m->parts + m->n) return part_unknown(m, pair, err);
    if (!isnan(p->weight))
        return error_set(err, EXIT_USAGE, "--part-weights: %s is named twice; leave one weight for it", p->name);
    if (text_to_real(sign + 1, &p->weight) && p->weight >= 0) return true;
    return error_set(err, EXIT_USAGE, "--part-weights: not a weight of %s (got '%.99s', want a number of at least 0); "
                     "write it as in %s=1", p->name, sign + 1, p->name);
}

static bool weights_parse(struct mixture *m, const char *text, struct error *err) {
    if (!*m->parts->name)
        return error_set(err, EXIT_USAGE, "--part-weights: this corpus has no parts (got '%.99s', want nothing); name "
                         "its parts, as in en=FILES de=FILES, or leave the weights out", text);
    char *copy = string_format("%s", text), *rest = copy;
    bool ok = true;
    while (ok && rest) ok = weight_set(m, strsep(&rest, ","), err);
    free(copy);
    for (const struct part *p = m->parts; ok && p < m->parts + m->n; p++)
        if (isnan(p->weight))
            ok = error_set(err, EXIT_USAGE, "--part-weights: %s is left out (got '%.99s', want all %zu parts); add "
                           "%s=1, or %s=0 not to train on it", p->name, text, m->n, p->name, p->name);
    return ok;
}

static double weight_most(const struct mixture *m) {
    double most = 0;
    for (const struct part *p = m->parts; p < m->parts + m->n; p++) most = fmax(most, p->weight);
    return most;
}

/* Relative to the greatest, so that neither a power nor a sum overflows. */
static bool weights_set(struct mixture *m, const struct mixture_options *o, struct error *err) {
    if (o->weights && !weights_parse(m, o->weights, err)) return false;
    if (!o->weights)
        for (struct part *p = m->parts; p < m->parts + m->n; p++) p->weight = (double)loader_tokens(p->loader);
    const double most = weight_most(m);
    if (most == 0)
        return error_set(err, EXIT_USAGE, "--part-weights: all are zero (got '%.99s'); give one part at least a weight "
                         "above 0", o->weights);
    double below = 0;
    for (struct part *p = m->parts; p < m->parts + m->n; p++) {
        p->weight = pow(p->weight / most, o->weights ? 1 : o->alpha);
        p->below = below += p->weight;
    }
    return true;
}

/* ---- The cache ---- */

/* What is served has blocks to keep; a loader without any still has room for one. */
static size_t part_blocks(const struct part *p) {
    return p->weight > 0 ? loader_tokens(p->loader) / SHARD_BLOCK + 1 : 0;
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
    if (ok && tokenizers_match(m, err) && weights_set(m, options, err) && cache_share(m, split, options, err)) return m;
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
    return m->parts[part].weight / m->parts[m->n - 1].below;
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

/* A uniform number is below 1, so the draw is below the sum of all weights; no part without a weight can be met. */
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
