/* See feed.h. */
#include "feed.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "album.h"

/* What a masked model fills in: of pictures alone and beside a text, of texts alone and beside a picture. */
enum masked_part { PATCHES, PATCHES_WITH_TEXT, WORDS, WORDS_WITH_PICTURE, MASKED_PARTS };
static const char *const masked_names[MASKED_PARTS] = {"patches", "patches_with_text", "words", "words_with_picture"};

struct feed {
    struct mixture *text;      /* one of these two */
    struct examples *examples;
    size_t seq;
    int32_t *inputs, *targets; /* of text: (rows) */
    int32_t *offsets;          /* of micro-batches of examples: (batches, n + 1) */
    uint8_t *kinds;            /* of examples looked at */
    uint32_t *parts;           /* of rows looked at */
    size_t rows, offsets_capacity, kinds_capacity, parts_capacity;
};

/* What was prepared for one task is not for the other. */
static bool task_check(const char *dir, const char *split, bool masked, struct error *err) {
    char *album = string_format("%s/%s.album", dir, split);
    const bool same = (access(album, F_OK) == 0) == masked;
    free(album);
    return same || error_set(err, EXIT_MISMATCH, "%s: prepared for %s; name a corpus for --task %s", dir,
                             masked ? "a model of text" : "a masked model", masked ? "masked" : "text");
}

struct feed *feed_open(const char *dir, const char *split, const struct feed_options *o, struct error *err) {
    if (!task_check(dir, split, o->masked, err)) return NULL;
    struct feed *f = array_alloc(1, sizeof *f);
    f->seq = (size_t)o->text.seq;
    if (o->masked) f->examples = examples_open(dir, split, &o->examples, err);
    else f->text = mixture_open(dir, split, &o->text, err);
    if (f->text || f->examples) return f;
    feed_close(f);
    return NULL;
}

void feed_close(struct feed *f) {
    if (f->text) mixture_close(f->text);
    if (f->examples) examples_close(f->examples);
    free(f->inputs);
    free(f->targets);
    free(f->offsets);
    free(f->kinds);
    free(f->parts);
    free(f);
}

const struct album *feed_album(const struct feed *f) {
    return f->examples ? examples_album(f->examples) : NULL;
}

uint64_t feed_tokenizer_hash(const struct feed *f) {
    return f->text ? mixture_tokenizer_hash(f->text) : album_tokenizer_hash(feed_album(f));
}

uint64_t feed_data_hash(const struct feed *f) {
    return f->text ? mixture_data_hash(f->text) : album_data_hash(feed_album(f));
}

size_t feed_bytes(const struct feed *f) {
    return f->text ? mixture_bytes(f->text) : album_bytes(feed_album(f));
}

size_t feed_tokens(const struct feed *f) {
    return f->text ? mixture_tokens(f->text) : 0;
}

size_t feed_epoch(const struct feed *f) {
    return f->text ? mixture_windows(f->text) : examples_epoch(f->examples);
}

/* Languages, and how many texts are in each. */
struct languages {
    char **names;
    size_t *counts, n;
};

static void language_count(struct languages *l, char *name) {
    size_t i = 0;
    while (i < l->n && strcmp(l->names[i], name) != 0) i++;
    if (i == l->n) {
        size_t names = l->n, counts = l->n;
        l->names = array_grow(l->names, &names, l->n + 1, sizeof *l->names);
        l->counts = array_grow(l->counts, &counts, l->n + 1, sizeof *l->counts);
        l->names[l->n] = string_format("%s", name);
        l->counts[l->n++] = 0;
    }
    l->counts[i]++;
    free(name);
}

/* What a text's first tokens name, without the colon. */
static char *text_language(const struct album_text *text, const tokenizer *t) {
    char *name = string_format("%s", "");
    for (size_t i = 0; i < text->prefix; i++) {
        size_t size;
        const char *bytes = tokenizer_piece(t, text->tokens[i], &size);
        string_append(&name, "%.*s", (int)size, bytes);
    }
    if (*name) name[strlen(name) - 1] = 0;
    return name;
}

static char *languages_best(struct languages *l) {
    size_t best = 0;
    for (size_t i = 1; i < l->n; i++)
        if (l->counts[i] > l->counts[best] ||
            (l->counts[i] == l->counts[best] && strcmp(l->names[i], l->names[best]) < 0))
            best = i;
    char *name = string_format("%s", l->n ? l->names[best] : "");
    for (size_t i = 0; i < l->n; i++) free(l->names[i]);
    free(l->names);
    free(l->counts);
    return name;
}

char *feed_language(struct feed *f, const tokenizer *t, struct error *err) {
    struct album *album = examples_album(f->examples);
    struct languages all = {0};
    struct album_record record;
    bool ok = true;
    for (size_t i = 0; ok && i < album_records(album); i++) {
        ok = album_read(album, i, &record, err);
        for (size_t k = 0; ok && k < record.n_texts; k++) language_count(&all, text_language(&record.texts[k], t));
    }
    char *best = languages_best(&all);
    if (ok) return best;
    free(best);
    return NULL;
}

/* ---- Training ---- */

/* Room for n windows of text. */
static void windows_ensure(struct feed *f, size_t n) {
    size_t capacity = f->rows;
    f->inputs = array_grow(f->inputs, &capacity, n * f->seq, sizeof *f->inputs);
    f->targets = array_grow(f->targets, &f->rows, n * f->seq, sizeof *f->targets);
}

static struct batch windows_batch(const struct feed *f, size_t first, size_t n) {
    return (struct batch){.B = n, .T = f->seq, .tokens = f->inputs + first * f->seq,
                          .targets = f->targets + first * f->seq};
}

/* Sequences first .. first + n - 1 of a batch of examples as one of their own: its offsets, from 0 on, go to `offsets`;
 * `shown` counts the patches of those before, and then these too. */
static struct batch examples_cut_out(const struct batch *all, size_t first, size_t n, int32_t *offsets, size_t Q,
                                     size_t *shown) {
    const int32_t start = all->offsets[first];
    struct batch b = *all;
    b.B = n;
    for (size_t i = 0; i <= n; i++) offsets[i] = all->offsets[first + i] - start;
    b.offsets = offsets;
    b.tokens += start;
    b.targets += start;
    b.positions += start;
    b.ends += start;
    if (Q > 0) b.patches += *shown * Q;
    for (int32_t r = 0; r < offsets[n]; r++) *shown += b.tokens[r] == TOKEN_PATCH;
    return b;
}

bool feed_next(struct feed *f, size_t batches, size_t n, struct batch *out, struct error *err) {
    if (f->text) {
        windows_ensure(f, batches * n);
        for (size_t i = 0; i < batches; i++) out[i] = windows_batch(f, i * n, n);
        return mixture_next(f->text, (int)(batches * n), f->inputs, f->targets, err);
    }
    const size_t patch = album_patch(feed_album(f)), Q = album_size(feed_album(f)) ? patch * patch * 3 : 0;
    struct batch all;
    size_t shown = 0;
    if (!examples_next(f->examples, batches * n, &all, NULL, err)) return false;
    f->offsets = array_grow(f->offsets, &f->offsets_capacity, batches * (n + 1), sizeof *f->offsets);
    for (size_t i = 0; i < batches; i++)
        out[i] = examples_cut_out(&all, i * n, n, f->offsets + i * (n + 1), Q, &shown);
    return true;
}

uint64_t feed_position(const struct feed *f) {
    return f->text ? mixture_position(f->text) : examples_position(f->examples);
}

void feed_seek(struct feed *f, uint64_t position) {
    if (f->text) mixture_seek(f->text, position);
    else examples_seek(f->examples, position);
}

/* ---- Parts ---- */

size_t feed_parts(const struct feed *f) {
    return f->text ? mixture_parts(f->text) : MASKED_PARTS;
}

const char *feed_part_name(const struct feed *f, size_t part) {
    return f->text ? mixture_name(f->text, part) : masked_names[part];
}

double feed_part_share(const struct feed *f, size_t part) {
    return f->text ? mixture_share(f->text, part) : 1;
}

uint64_t feed_part_served(const struct feed *f, size_t part) {
    return f->text ? mixture_served(f->text, part) : 0;
}

size_t feed_part_epoch(const struct feed *f, size_t part) {
    return f->text ? loader_windows(mixture_loader(f->text, part)) : feed_epoch(f);
}

size_t feed_part_tokens(const struct feed *f, size_t part) {
    return f->text ? loader_tokens(mixture_loader(f->text, part)) : 0;
}

/* ---- Validation ---- */

size_t feed_sections(const struct feed *f) {
    return f->text ? mixture_parts(f->text) : 1;
}

size_t feed_section_epoch(const struct feed *f, size_t section) {
    return feed_part_epoch(f, section);
}

/* What each row with a target fills in. */
static void rows_part(struct feed *f, const struct batch *b) {
    for (size_t i = 0; i < b->B; i++)
        for (int32_t r = b->offsets[i]; r < b->offsets[i + 1]; r++) {
            const bool patch = b->targets[r] >= album_vocab(feed_album(f)), pair = f->kinds[i] == EXAMPLE_PAIR;
            f->parts[r] = patch ? (pair ? PATCHES_WITH_TEXT : PATCHES) : pair ? WORDS_WITH_PICTURE : WORDS;
        }
}

bool feed_look(struct feed *f, size_t section, size_t first, size_t n, struct batch *out, const uint32_t **parts,
               struct error *err) {
    if (f->text) {
        struct loader *data = mixture_loader(f->text, section);
        windows_ensure(f, n);
        *out = windows_batch(f, 0, n);
        loader_seek(data, first);
        if (!loader_next(data, (int)n, f->inputs, f->targets, err)) return false;
    } else {
        f->kinds = array_grow(f->kinds, &f->kinds_capacity, n, sizeof *f->kinds);
        examples_seek(f->examples, first);
        if (!examples_next(f->examples, n, out, f->kinds, err)) return false;
    }
    f->parts = array_grow(f->parts, &f->parts_capacity, batch_rows(out), sizeof *f->parts);
    if (!f->text) rows_part(f, out);
    for (size_t r = 0; f->text && r < batch_rows(out); r++) f->parts[r] = (uint32_t)section;
    *parts = f->parts;
    return true;
}
