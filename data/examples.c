/* Examples: see examples.h for what they promise.
 *
 * A batch grows by one example at a time, since an album's record lasts only until the next is read. Everything random
 * about an example is drawn from a generator of its own: of its number, or of its record where all of a record's
 * examples have to be alike. */
#include "examples.h"

#include <stdlib.h>
#include <string.h>
#include "../src/base/rng.h"
#include "codebook.h"
#include "mask.h"

/* ---- Batches ---- */

static size_t patches_count(size_t size, size_t patch) {
    return size == 0 ? 0 : (size / patch) * (size / patch);
}

static void rows_begin(struct example_rows *r) {
    r->offsets = array_grow(r->offsets, &r->offsets_capacity, 1, sizeof *r->offsets);
    r->offsets[0] = 0;
    r->B = r->rows = r->shown = r->longest = 0;
}

static void rows_reserve(struct example_rows *r, size_t need) {
    int32_t **const arrays[] = {&r->tokens, &r->ends, &r->targets, &r->positions};
    size_t capacity = 0;
    for (int i = 0; i < 4; i++) {
        capacity = r->capacity;
        *arrays[i] = array_grow(*arrays[i], &capacity, need, sizeof **arrays[i]);
    }
    r->capacity = capacity;
}

static void row_add(struct example_rows *r, int32_t token, int32_t target, size_t position) {
    r->tokens[r->rows] = token;
    r->targets[r->rows] = target;
    r->positions[r->rows++] = (int32_t)position;
}

/* All patches are written behind those shown so far; then those that are shown move up to them. */
static void picture_add(struct example_rows *r, const struct example *example, size_t P) {
    const size_t Q = r->patch * r->patch * 3, start = r->shown;
    r->patches = array_grow(r->patches, &r->patches_capacity, (start + P) * Q, sizeof *r->patches);
    patches_of(r->patches + start * Q, example->pixels, r->size, r->patch);
    for (size_t p = 0; p < P; p++) {
        const bool hidden = example->hidden && example->hidden[p];
        row_add(r, hidden ? TOKEN_HIDDEN : TOKEN_PATCH,
                hidden && example->codes ? r->vocab + example->codes[p] : TARGET_NONE, p);
        if (!hidden) memmove(r->patches + r->shown++ * Q, r->patches + (start + p) * Q, Q * sizeof *r->patches);
    }
}

static void rows_add(struct example_rows *r, const struct example *example) {
    const size_t start = r->rows, P = patches_count(r->size, r->patch);
    const bool pair = example->pixels && example->n > 0;
    const size_t text = pair && r->room > example->n ? r->room : example->n;
    rows_reserve(r, start + P + text);
    if (example->pixels) picture_add(r, example, P);
    for (size_t t = 0; t < example->n; t++)
        row_add(r, example->tokens[t], example->targets ? example->targets[t] : TARGET_NONE, P + t);
    for (size_t t = example->n; t < text; t++) row_add(r, TOKEN_HIDDEN, TARGET_NONE, P + t);
    const size_t length = r->rows - start;
    for (size_t i = start; i < r->rows; i++) r->ends[i] = (int32_t)length;
    if (length > r->longest) r->longest = length;
    r->offsets = array_grow(r->offsets, &r->offsets_capacity, r->B + 2, sizeof *r->offsets);
    r->offsets[++r->B] = (int32_t)r->rows;
}

static struct batch rows_batch(const struct example_rows *r) {
    return (struct batch){.B = r->B, .T = r->longest, .tokens = r->tokens, .ends = r->ends, .targets = r->targets,
                          .offsets = r->offsets, .positions = r->positions, .patches = r->shown ? r->patches : NULL};
}

void examples_show(struct batch *batch, struct example_rows *rows, const struct example *examples, size_t n) {
    rows_begin(rows);
    for (size_t i = 0; i < n; i++) rows_add(rows, &examples[i]);
    *batch = rows_batch(rows);
}

void example_rows_free(struct example_rows *rows) {
    free(rows->tokens);
    free(rows->ends);
    free(rows->targets);
    free(rows->positions);
    free(rows->offsets);
    free(rows->patches);
}

/* ---- Streams ---- */

/* What is shown of which record. */
struct choice {
    size_t record;
    enum example_kind kind;
    uint64_t group;
};

struct examples {
    char *dir;
    struct album *album;
    struct examples_options options;
    size_t P;             /* patches of a picture */
    uint64_t key;         /* of what is drawn */
    struct choice *order; /* (n_order) an epoch that is not shuffled; or shuffled: all records, group by group */
    size_t n_order;
    size_t *groups, n_groups; /* (n_groups + 1) where in order the records of a group begin */
    uint64_t position, cut;
    struct example_rows rows;
    bool *hidden_patches;      /* (P) */
    bool *hidden_tokens;       /* (room) */
    int32_t *tokens, *targets; /* (room) */
};

static bool has_kind(const struct album_record *r, enum example_kind kind) {
    return (r->pixels || kind == EXAMPLE_TEXT) && (r->n_texts > 0 || kind == EXAMPLE_PICTURE);
}

static bool room_check(const struct examples *e, struct error *err) {
    if (e->options.seq >= e->P + 2) return true;
    return error_set(err, EXIT_USAGE, "%s: a sequence has no room for a picture of %zu patches and two tokens of its "
                     "caption (got --seq %zu, want at least %zu); raise --seq", e->dir, e->P, e->options.seq, e->P + 2);
}

static int by_group(const void *a, const void *b) {
    const struct choice *x = a, *y = b;
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    return x->record < y->record ? -1 : x->record > y->record;
}

static void groups_make(struct examples *e) {
    if (e->n_order > 0) qsort(e->order, e->n_order, sizeof *e->order, by_group);
    e->groups = array_alloc(e->n_order + 1, sizeof *e->groups);
    for (size_t i = 0; i < e->n_order; i++)
        if (i == 0 || e->order[i].group != e->order[i - 1].group) e->groups[e->n_groups++] = i;
    e->groups[e->n_groups] = e->n_order;
}

/* What the records hold, and of which group they are, is known once they are read. */
static bool order_make(struct examples *e, struct error *err) {
    const size_t records = album_records(e->album), kinds = e->options.shuffle ? 1 : EXAMPLE_KINDS;
    size_t capacity = 0;
    for (size_t i = 0; i < records; i++) {
        struct album_record record;
        if (!album_read(e->album, i, &record, err)) return false;
        for (enum example_kind kind = 0; kind < kinds; kind++) {
            if (!e->options.shuffle && !has_kind(&record, kind)) continue;
            e->order = array_grow(e->order, &capacity, e->n_order + 1, sizeof *e->order);
            e->order[e->n_order++] = (struct choice){i, kind, record.group};
        }
    }
    if (e->options.shuffle) groups_make(e);
    return true;
}

static bool epoch_check(const struct examples *e, const char *split, struct error *err) {
    if (examples_epoch(e) > 0) return true;
    return error_set(err, EXIT_INPUT, "%s: the %s split holds no picture and no text; prepare it again", e->dir, split);
}

struct examples *examples_open(const char *dir, const char *split, const struct examples_options *options,
                               struct error *err) {
    struct album *album = album_open(dir, split, options->cache_bytes, err);
    if (!album) return NULL;
    struct examples *e = array_alloc(1, sizeof *e);
    *e = (struct examples){.dir = string_format("%s", dir), .album = album, .options = *options};
    e->rows = (struct example_rows){.size = album_size(album), .patch = album_patch(album),
                                    .vocab = album_vocab(album)};
    e->P = patches_count(e->rows.size, e->rows.patch);
    e->key = hash_bytes(hash_bytes(HASH_START, "examples", 9), &options->seed, sizeof options->seed);
    if (room_check(e, err) && order_make(e, err) && epoch_check(e, split, err)) {
        const size_t room = e->rows.room = options->seq - e->P;
        e->hidden_patches = array_alloc(e->P, sizeof *e->hidden_patches);
        e->hidden_tokens = array_alloc(room, sizeof *e->hidden_tokens);
        e->tokens = array_alloc(room, sizeof *e->tokens);
        e->targets = array_alloc(room, sizeof *e->targets);
        return e;
    }
    examples_close(e);
    return NULL;
}

void examples_close(struct examples *e) {
    album_close(e->album);
    example_rows_free(&e->rows);
    free(e->order);
    free(e->groups);
    free(e->hidden_patches);
    free(e->hidden_tokens);
    free(e->tokens);
    free(e->targets);
    free(e->dir);
    free(e);
}

/* ---- An example ---- */

/* One of the records of the group whose turn it is. */
static struct choice record_shuffled(const struct examples *e, uint64_t i, struct rng *rng) {
    const uint64_t epoch = i / e->n_groups;
    const size_t g = shuffle_index(i % e->n_groups, e->n_groups, hash_bytes(e->key, &epoch, sizeof epoch));
    return e->order[e->groups[g] + rng_below(rng, e->groups[g + 1] - e->groups[g])];
}

/* Reads the record of example i, and draws what of it is shown; the generator is then ready for the rest. */
static bool record_read(struct examples *e, uint64_t i, struct choice *choice, struct album_record *record,
                        struct rng *rng, struct error *err) {
    const bool shuffle = e->options.shuffle;
    if (!shuffle) *choice = e->order[i % e->n_order];
    rng_seed(rng, e->key, shuffle ? i : choice->record);
    if (shuffle) *choice = record_shuffled(e, i, rng);
    if (!album_read(e->album, choice->record, record, err)) return false;
    if (!shuffle) return true;
    static const enum example_kind quarters[] = {EXAMPLE_PAIR, EXAMPLE_PAIR, EXAMPLE_PICTURE, EXAMPLE_TEXT};
    choice->kind = quarters[rng_below(rng, 4)];
    if (!has_kind(record, choice->kind)) choice->kind = record->pixels ? EXAMPLE_PICTURE : EXAMPLE_TEXT;
    return true;
}

/* Not shuffled: any order of the records, dealt to the texts in turn, so that neighbours that belong together are not
 * always shown in the same few languages. */
static size_t text_draw(const struct examples *e, const struct choice *choice, size_t n_texts, struct rng *rng) {
    if (e->options.shuffle) return rng_below(rng, n_texts);
    return shuffle_index(choice->record, album_records(e->album), e->key) % n_texts;
}

/* A text of the record, cut to the room there is, and a share of what is behind its prefix hidden. */
static bool text_fill(struct examples *e, const struct album_record *record, const struct choice *choice,
                      struct rng *rng, struct example *example, struct error *err) {
    const struct album_text *text = &record->texts[text_draw(e, choice, record->n_texts, rng)];
    const size_t room = e->rows.room, n = text->n < room ? text->n : room, prefix = text->prefix;
    if (n <= prefix)
        return error_set(err, EXIT_USAGE, "%s: record %zu: a sequence has no room for a caption behind its language "
                         "(got --seq %zu, want at least %zu); raise --seq", e->dir, choice->record, e->options.seq,
                         e->P + prefix + 1);
    e->cut += n < text->n;
    memset(e->hidden_tokens, 0, prefix * sizeof *e->hidden_tokens);
    mask_choose(e->hidden_tokens + prefix, n - prefix,
                choice->kind == EXAMPLE_PAIR ? mask_spread(e->options.hide_caption, rng) : e->options.hide_text, rng);
    for (size_t t = 0; t < n; t++) {
        e->tokens[t] = e->hidden_tokens[t] ? TOKEN_HIDDEN : text->tokens[t];
        e->targets[t] = e->hidden_tokens[t] ? text->tokens[t] : TARGET_NONE;
    }
    example->tokens = e->tokens;
    example->targets = e->targets;
    example->n = n;
    return true;
}

static void picture_fill(struct examples *e, const struct album_record *record, struct rng *rng,
                         struct example *example) {
    mask_blocks(e->hidden_patches, e->rows.size / e->rows.patch, e->options.hide_patches, rng);
    example->pixels = record->pixels;
    example->codes = record->codes;
    example->hidden = e->hidden_patches;
}

/* Adds example i to the batch. */
static bool example_add(struct examples *e, uint64_t i, enum example_kind *kind, struct error *err) {
    struct choice choice;
    struct album_record record;
    struct rng rng;
    struct example example = {0};
    if (!record_read(e, i, &choice, &record, &rng, err)) return false;
    if (choice.kind != EXAMPLE_TEXT) picture_fill(e, &record, &rng, &example);
    if (choice.kind != EXAMPLE_PICTURE && !text_fill(e, &record, &choice, &rng, &example, err)) return false;
    rows_add(&e->rows, &example);
    *kind = choice.kind;
    return true;
}

bool examples_next(struct examples *e, size_t n, struct batch *batch, uint8_t *kinds, struct error *err) {
    const uint64_t cut = e->cut;
    rows_begin(&e->rows);
    for (size_t i = 0; i < n; i++) {
        enum example_kind kind;
        if (!example_add(e, e->position + i, &kind, err)) {
            e->cut = cut;
            return false;
        }
        if (kinds) kinds[i] = (uint8_t)kind;
    }
    e->position += n;
    *batch = rows_batch(&e->rows);
    return true;
}

/* ---- The stream ---- */

uint64_t examples_position(const struct examples *e) {
    return e->position;
}

void examples_seek(struct examples *e, uint64_t position) {
    e->position = position;
}

size_t examples_epoch(const struct examples *e) {
    return e->options.shuffle ? e->n_groups : e->n_order;
}

uint64_t examples_cut(const struct examples *e) {
    return e->cut;
}

struct album *examples_album(const struct examples *e) {
    return e->album;
}
