/* From folders to albums, in the steps that job_run names: read the pictures for their sizes and for patches to learn
 * from, train a tokenizer and a codebook, then read them once more, with their codes and tokens, into albums. See
 * album_prepare.h for the result.
 *
 * Pictures are read some at a time, each by one thread, and go on in the order of the folder, so that memory is bounded
 * and the number of threads changes nothing. Next: folder.h, codebook.h, album.h, cache.h. */
#include "album_prepare.h"

#include <stdlib.h>
#include <string.h>
#include "../src/base/progress.h"
#include "../src/base/rng.h"
#include "album.h"
#include "cache.h"
#include "codebook.h"
#include "folder.h"
#include "pictures.h"
#include "vocabulary.h"

enum {
    FORMAT = 1,       /* raise it when the same inputs give other albums */
    HELD_OUT = 20,    /* one in so many */
    ROUND_MOST = 64,  /* pictures read at a time, */
    ROUND_PIXELS = 4 << 20,
    LEARN_NUMBERS = 200000 * 192, /* of patches to learn from: 200,000 of 8 x 8 pixels */
    SEED = 1,
};
enum { BYTES_VOCAB = 2 + 256 + 1 }; /* unknown, end of text, the bytes, a blank */
enum { TRAIN, VAL, SPLITS };
static const char *const split_names[SPLITS] = {"train", "val"};

struct count {
    size_t pictures, captions, texts;
};

struct job {
    const struct album_options *options;
    struct folder folder;
    bool *held_out; /* (folder.n) */
    struct count counts[SPLITS];
    size_t size, P, Q; /* of the pictures; 0 if there are none */
    tokenizer *tokenizer;
    struct codebook codebook;
};

static bool is_picture(const struct folder_item *item) { return item->path != NULL; }

/* ---- What is held out ---- */

struct place {
    uint64_t order; /* of its group */
    size_t i;
};

static int places_compare(const void *a, const void *b) {
    const struct place *p = a, *q = b;
    return p->order < q->order ? -1 : p->order > q->order;
}

/* Mixed once more: what is held out does not hang on how a group is made. */
static uint64_t group_order(uint64_t group) {
    struct rng rng;
    rng_seed(&rng, group, 0);
    return rng_next(&rng);
}

/* Chooses among the pictures, or among the texts that are alone. */
static bool kind_hold_out(struct job *job, bool pictures, struct error *err) {
    const struct folder *f = &job->folder;
    struct place *places = array_alloc(f->n, sizeof *places);
    size_t n = 0, out = 0;
    for (size_t i = 0; i < f->n; i++)
        if (is_picture(&f->items[i]) == pictures)
            places[n++] = (struct place){group_order(f->items[i].group), i};
    qsort(places, n, sizeof *places, places_compare);
    for (; out < n && (out * HELD_OUT < n || places[out].order == places[out - 1].order); out++)
        job->held_out[places[out].i] = true;
    free(places);
    if (n == 0 || out < n) return true;
    return error_set(err, EXIT_INPUT, "%s: nothing would be left to train on once %s are held out (got %zu, all of one "
                     "group); add %s", job->options->paths[0], pictures ? "pictures" : "texts", n,
                     pictures ? "pictures of other names" : "other texts, or leave them out");
}

static bool job_split(struct job *job, struct error *err) {
    const struct folder *f = &job->folder;
    job->held_out = array_alloc(f->n, sizeof *job->held_out);
    if (!kind_hold_out(job, true, err) || !kind_hold_out(job, false, err)) return false;
    for (size_t i = 0; i < f->n; i++) {
        struct count *count = &job->counts[job->held_out[i] ? VAL : TRAIN];
        count->pictures += is_picture(&f->items[i]);
        count->captions += is_picture(&f->items[i]) ? f->items[i].n_captions : 0;
        count->texts += !is_picture(&f->items[i]);
    }
    return true;
}

static int names_compare(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The languages of all captions, in the order of their names, each followed by a blank; how many. */
static size_t languages_list(const struct folder *f, char **list) {
    char **names = NULL;
    size_t n = 0, capacity = 0, different = 0;
    for (size_t i = 0; i < f->n; i++)
        for (size_t c = 0; c < f->items[i].n_captions; c++) {
            if (!*f->items[i].captions[c].language) continue;
            names = array_grow(names, &capacity, n + 1, sizeof *names);
            names[n++] = f->items[i].captions[c].language;
        }
    if (n > 0) qsort(names, n, sizeof *names, names_compare);
    *list = string_format("%s", "");
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && strcmp(names[i], names[i - 1]) == 0) continue;
        string_append(list, " %s", names[i]);
        different++;
    }
    free(names);
    return different;
}

static void counts_tell(const struct job *job) {
    const struct count *train = &job->counts[TRAIN], *val = &job->counts[VAL];
    char *list;
    const size_t languages = languages_list(&job->folder, &list);
    fprintf(stderr, "pictures: %zu to train on, %zu held out\n", train->pictures, val->pictures);
    fprintf(stderr, "captions: %zu to train on, %zu held out\n", train->captions, val->captions);
    fprintf(stderr, "texts alone: %zu to train on, %zu held out\n", train->texts, val->texts);
    if (languages > 0) fprintf(stderr, "languages: %zu:%s\n", languages, list);
    free(list);
}

/* ---- Reading ---- */

/* Items that are read at a time, pictures fitted where that is wanted. */
struct slot {
    const struct folder_item *item;
    bool held_out;
    struct picture picture; /* rgb NULL where there is none */
    struct error err;
    bool ok;
    struct album_text *texts; /* (item->n_captions) */
    int32_t *tokens;
};
struct round {
    struct slot slots[ROUND_MOST];
    size_t n, at; /* at: the next item of the folder */
};

static void round_free(struct round *r) {
    for (size_t i = 0; i < r->n; i++) {
        free(r->slots[i].picture.rgb);
        free(r->slots[i].texts);
        free(r->slots[i].tokens);
    }
    r->n = 0;
}

/* Of a picture that has not the size of the others only the size is kept: it may be large. */
static void slot_read(const struct job *job, struct slot *s) {
    s->ok = picture_read(&s->picture, s->item->path, &s->err);
    if (s->ok && job->options->size) picture_fit(&s->picture, job->size);
    if (!s->ok || (s->picture.width == job->size && s->picture.height == job->size)) return;
    free(s->picture.rgb);
    s->picture.rgb = NULL;
}

static const char *first_picture(const struct job *job) {
    size_t i = 0;
    while (i < job->folder.n && !is_picture(&job->folder.items[i])) i++;
    return i < job->folder.n ? job->folder.items[i].path : NULL;
}

static bool slot_check(const struct job *job, const struct slot *s, struct error *err) {
    if (!is_picture(s->item) || s->picture.rgb) return true;
    if (s->ok)
        return error_set(err, EXIT_USAGE, "%s is %zu x %zu, %s %zu x %zu; give --size N", first_picture(job), job->size,
                         job->size, s->item->path, s->picture.width, s->picture.height);
    *err = s->err;
    return false;
}

/* How many items are read at a time. */
static size_t round_most(const struct job *job) {
    const size_t pixels = job->size * job->size, some = pixels ? ROUND_PIXELS / pixels : ROUND_MOST;
    return some > ROUND_MOST ? ROUND_MOST : some > 0 ? some : 1;
}

/* Reads the next items, all or only pictures; r->n is 0 at the end. */
static bool round_read(const struct job *job, struct round *r, bool all, struct error *err) {
    const size_t most = round_most(job);
    bool ok = true;
    round_free(r);
    for (; r->n < most && r->at < job->folder.n; r->at++)
        if (all || is_picture(&job->folder.items[r->at]))
            r->slots[r->n++] = (struct slot){.item = &job->folder.items[r->at], .held_out = job->held_out[r->at]};
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < r->n; i++)
        if (is_picture(r->slots[i].item)) slot_read(job, &r->slots[i]);
    for (size_t i = 0; ok && i < r->n; i++) ok = slot_check(job, &r->slots[i], err);
    if (!ok) round_free(r);
    return ok;
}

/* ---- Sizes ---- */

/* The divisor of size that is nearest to patch. */
static size_t patch_near(size_t size, size_t patch) {
    for (size_t off = 1; off < patch; off++) {
        if (size % (patch - off) == 0) return patch - off;
        if (size % (patch + off) == 0) return patch + off;
    }
    return 1;
}

static bool size_check(const struct job *job, const char *first, struct error *err) {
    const size_t size = job->size, patch = job->options->patch, multiple = size / patch * patch;
    if (size > ALBUM_SIZE_MOST)
        return error_set(err, EXIT_USAGE, "%s: the pictures are too large (got %zu pixels a side, want at most %d); "
                         "give --size N", first, size, ALBUM_SIZE_MOST);
    if (size % patch == 0) return true;
    return error_set(err, EXIT_USAGE, "%s: pictures of %zu x %zu cannot be cut into patches of %zu x %zu; give --patch "
                     "%zu, or --size %zu", first, size, size, patch, patch, patch_near(size, patch),
                     multiple > 0 ? multiple : patch);
}

/* The size of all pictures: what was asked for, or that of the first. */
static bool job_size(struct job *job, struct error *err) {
    const struct album_options *o = job->options;
    const char *first = first_picture(job);
    if (!first) return true;
    struct picture p = {.width = o->size, .height = o->size};
    if (o->size == 0 && !picture_read(&p, first, err)) return false;
    free(p.rgb);
    if (p.width != p.height)
        return error_set(err, EXIT_USAGE, "%s is %zu x %zu and not square; give --size N", first, p.width, p.height);
    job->size = p.width;
    job->P = (job->size / o->patch) * (job->size / o->patch);
    job->Q = 3 * o->patch * o->patch;
    return size_check(job, first, err);
}

/* ---- The codebook ---- */

/* Patches to learn from: of all there are in training pictures some that a seed chooses. */
struct sample {
    real *patches; /* (most, Q) */
    size_t n, most, seen;
};

/* Patch number i goes to a place of its own in a random order, where that is among the first. */
static void sample_add(const struct job *job, struct sample *s, const real *patches) {
    for (size_t p = 0; p < job->P; p++) {
        const size_t place = shuffle_index(s->seen++, job->P * job->counts[TRAIN].pictures, SEED);
        if (place < s->n) memcpy(s->patches + place * job->Q, patches + p * job->Q, job->Q * sizeof *patches);
    }
}

/* Reads all pictures, if only to see that they can be read. */
static bool sample_make(const struct job *job, struct sample *s, struct error *err) {
    const size_t all = job->P * job->counts[TRAIN].pictures, most = LEARN_NUMBERS / job->Q;
    const size_t least = 4 * job->options->codes; /* of large patches there are fewer numbers than that */
    struct round r = {0};
    s->most = most > least ? most : least;
    s->n = all < s->most ? all : s->most;
    s->patches = array_alloc(s->n * job->Q, sizeof *s->patches);
    real *patches = array_alloc(job->P * job->Q, sizeof *patches);
    bool ok = true;
    while ((ok = round_read(job, &r, false, err)) && r.n > 0)
        for (size_t i = 0; i < r.n; i++) {
            if (r.slots[i].held_out) continue;
            patches_of(patches, r.slots[i].picture.rgb, job->size, job->options->patch);
            sample_add(job, s, patches);
        }
    free(patches);
    return ok;
}

static bool job_codebook(struct job *job, const struct sample *s, const char *dir, struct error *err) {
    const struct album_options *o = job->options;
    const struct codebook_options wanted = {o->codes, job->Q, SEED, o->verbose};
    if (o->codebook) {
        job->codebook = *o->codebook; /* lent, like the tokenizer */
        return codebook_save(&job->codebook, dir, err);
    }
    if (o->verbose) fprintf(stderr, "training a codebook of %zu codes on %zu patches\n", o->codes, s->n);
    return codebook_train(&job->codebook, s->patches, s->n, &wanted, err) && codebook_save(&job->codebook, dir, err);
}

/* ---- The tokenizer ---- */

/* A caption as the model sees it: the name of its language, which is never hidden, then its words. */
static char *caption_prefix(const struct caption *c) {
    return *c->language ? string_format("%s:", c->language) : string_format("%s", "");
}
static char *caption_words(const struct caption *c) {
    return string_format("%s%s", *c->language ? " " : "", c->text);
}

/* Hands out captions and texts to train on, or where they are long evenly spaced ones. */
struct captions {
    const struct job *job;
    double share, credit;
    size_t item, caption;
    char *text;
};

static const struct caption *caption_next(struct captions *s) {
    const struct folder *f = &s->job->folder;
    for (; s->item < f->n; s->item++, s->caption = 0)
        if (!s->job->held_out[s->item] && s->caption < f->items[s->item].n_captions)
            return &f->items[s->item].captions[s->caption++];
    return NULL;
}

static const char *captions_next(void *context, size_t *size) {
    struct captions *s = context;
    const struct caption *c;
    while ((c = caption_next(s))) {
        s->credit += s->share;
        if (s->credit < 1) continue;
        s->credit -= 1;
        char *prefix = caption_prefix(c), *words = caption_words(c);
        free(s->text);
        s->text = string_format("%s%s", prefix, words);
        free(prefix);
        free(words);
        *size = strlen(s->text);
        return s->text;
    }
    return NULL;
}

static bool has_text(const struct job *job) { return job->counts[TRAIN].captions + job->counts[TRAIN].texts > 0; }

static tokenizer *tokenizer_make(void *context, int pieces, int *nearest, struct error *err) {
    const struct job *job = context;
    struct captions s = {.job = job};
    const struct caption *c;
    size_t bytes = 0;
    while ((c = caption_next(&s))) bytes += strlen(c->text);
    s = (struct captions){.job = job, .share = VOCABULARY_BYTES / (double)bytes}; /* 1 or more: all of it */
    tokenizer *t = tokenizer_train(captions_next, &s, pieces, job->options->verbose, nearest, err);
    free(s.text);
    return t;
}

/* Where no text is to be trained on, a tokenizer of nothing but bytes, so that all that reads an album finds one. */
static const char *blank_next(void *context, size_t *size) {
    const char **text = context, *blank = *text;
    *text = NULL;
    *size = 1;
    return blank;
}

static tokenizer *bytes_tokenizer(struct error *err) {
    const char *blank = " ";
    return tokenizer_train(blank_next, &blank, BYTES_VOCAB, false, NULL, err);
}

static struct vocabulary job_vocabulary(const struct job *job) {
    const struct album_options *o = job->options;
    return (struct vocabulary){o->vocab, o->vocab_adapts, o->verbose};
}

static bool job_tokenizer(struct job *job, const char *dir, struct error *err) {
    const struct vocabulary wanted = job_vocabulary(job);
    job->tokenizer = job->options->tokenizer;
    if (!job->tokenizer && has_text(job)) job->tokenizer = vocabulary_train(&wanted, tokenizer_make, job, err);
    else if (!job->tokenizer) job->tokenizer = bytes_tokenizer(err);
    char *path = string_format("%s/tokenizer.model", dir);
    const bool ok = job->tokenizer && tokenizer_save(job->tokenizer, path, err);
    free(path);
    return ok;
}

/* ---- Albums ---- */

static void slot_encode(const struct job *job, struct slot *s) {
    size_t n = 0, capacity = 0;
    s->texts = array_alloc(s->item->n_captions, sizeof *s->texts);
    for (size_t i = 0; i < s->item->n_captions; i++) {
        char *prefix = caption_prefix(&s->item->captions[i]), *words = caption_words(&s->item->captions[i]);
        const size_t before = n;
        tokenizer_encode(job->tokenizer, prefix, strlen(prefix), &s->tokens, &n, &capacity);
        s->texts[i].prefix = n - before;
        tokenizer_encode(job->tokenizer, words, strlen(words), &s->tokens, &n, &capacity);
        s->tokens = array_grow(s->tokens, &capacity, n + 1, sizeof *s->tokens);
        s->tokens[n++] = tokenizer_end_of_text(job->tokenizer);
        s->texts[i].n = n - before;
        free(prefix);
        free(words);
    }
    for (size_t i = 0, at = 0; i < s->item->n_captions; at += s->texts[i++].n) s->texts[i].tokens = s->tokens + at;
}

/* The patches and codes of a round's pictures. */
struct cut {
    real *patches;  /* (items of the round, P, Q) */
    int32_t *codes; /* (items of the round, P) */
};

static void round_encode(const struct job *job, struct round *r, const struct cut *cut) {
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < r->n; i++) {
        const struct slot *s = &r->slots[i];
        slot_encode(job, &r->slots[i]);
        if (s->picture.rgb)
            patches_of(cut->patches + i * job->P * job->Q, s->picture.rgb, job->size, job->options->patch);
    }
    codebook_assign(&job->codebook, cut->patches, r->n * job->P, cut->codes);
}

/* What follows the last slash. */
static const char *file_name(const char *path) {
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path ? path : "";
}

static bool round_write(const struct job *job, const struct round *r, const struct cut *cut,
                        struct album_writer *const *albums, struct codebook_quality *q, struct error *err) {
    bool ok = true;
    for (size_t i = 0; ok && i < r->n; i++) {
        const struct slot *s = &r->slots[i];
        const int32_t *codes = s->picture.rgb ? cut->codes + i * job->P : NULL;
        const struct album_record record = {s->picture.rgb, codes, s->texts, s->item->n_captions, s->item->group,
                                            file_name(s->item->path)};
        ok = album_append(albums[s->held_out ? VAL : TRAIN], &record, err);
        if (codes && s->held_out)
            codebook_measure(&job->codebook, cut->patches + i * job->P * job->Q, codes, job->P, q);
    }
    return ok;
}

static void quality_tell(const struct job *job, const struct codebook_quality *q) {
    size_t used = 0;
    for (size_t k = 0; k < job->codebook.codes; k++) used += q->uses[k] > 0;
    if (job->P > 0 && job->options->verbose)
        fprintf(stderr, "codebook: held-out pictures are painted with a PSNR of %.2f dB, %zu of %zu codes in use\n",
                quality_psnr(q), used, job->codebook.codes);
}

static bool rounds_write(const struct job *job, struct album_writer *const *albums, struct error *err) {
    struct round r = {0};
    struct cut cut = {array_alloc(round_most(job) * job->P * job->Q, sizeof *cut.patches),
                      array_alloc(round_most(job) * job->P, sizeof *cut.codes)};
    struct codebook_quality q = {.uses = array_alloc(job->codebook.codes, sizeof *q.uses)};
    int shown = -1;
    bool ok;
    while ((ok = round_read(job, &r, true, err)) && r.n > 0) {
        round_encode(job, &r, &cut);
        if (!(ok = round_write(job, &r, &cut, albums, &q, err))) break;
        if (job->options->verbose) bar_show("encoding", (double)r.at, (double)job->folder.n, &shown);
    }
    if (job->options->verbose) bar_clear();
    if (ok) quality_tell(job, &q);
    round_free(&r);
    free(cut.patches);
    free(cut.codes);
    free(q.uses);
    return ok;
}

static bool job_albums(const struct job *job, const char *dir, struct error *err) {
    const bool pictures = job->size > 0;
    const struct album_shape shape = {tokenizer_vocab(job->tokenizer), job->size, pictures ? job->options->patch : 0,
                                      job->codebook.codes, tokenizer_hash(job->tokenizer),
                                      pictures ? codebook_hash(&job->codebook) : 0};
    struct album_writer *albums[SPLITS] = {NULL};
    bool ok = true;
    for (int s = 0; ok && s < SPLITS; s++) {
        char *path = string_format("%s/%s.album", dir, split_names[s]);
        albums[s] = album_create(path, &shape, err);
        ok = albums[s] != NULL;
        free(path);
    }
    ok = ok && rounds_write(job, albums, err);
    struct error closing;
    for (int s = 0; s < SPLITS; s++)
        if (albums[s] && !album_finish(albums[s], ok, ok ? err : &closing)) ok = false;
    return ok;
}

/* ---- Into the cache ---- */

static uint64_t job_hash(const struct job *job) {
    const struct album_options *o = job->options;
    const uint64_t pieces = o->tokenizer ? tokenizer_hash(o->tokenizer) : (uint64_t)o->vocab;
    const uint64_t codes = o->codebook ? codebook_hash(o->codebook) : o->codes;
    const uint64_t key[] = {FORMAT, job->folder.hash, o->tokenizer != NULL, pieces, o->size, o->patch, codes,
                            o->codebook != NULL};
    return hash_bytes(HASH_START, key, sizeof key);
}

/* Leaves everything in dir. Pictures come first: what is wrong with them is known soonest. */
static bool job_run(void *context, const char *dir, struct error *err) {
    struct job *job = context;
    struct sample s = {0};
    bool ok = job_size(job, err) && (job->size == 0 || sample_make(job, &s, err)) && job_tokenizer(job, dir, err) &&
              (job->size == 0 || job_codebook(job, &s, dir, err));
    free(s.patches);
    ok = ok && job_albums(job, dir, err);
    if (job->tokenizer && !job->options->tokenizer) tokenizer_free(job->tokenizer);
    if (!job->options->codebook) codebook_free(&job->codebook);
    return ok;
}

static bool options_check(const struct album_options *o, struct error *err) {
    if (o->patch < 1 || o->patch > ALBUM_SIZE_MOST)
        return error_set(err, EXIT_USAGE, "--patch %zu: not possible (want 1 to %d)", o->patch, ALBUM_SIZE_MOST);
    if (o->codes < 1 || o->codes > ALBUM_CODES_MOST)
        return error_set(err, EXIT_USAGE, "--codes %zu: not possible (want 1 to %d)", o->codes, ALBUM_CODES_MOST);
    if (o->codebook && (o->codebook->codes != o->codes || o->codebook->Q != 3 * o->patch * o->patch))
        return error_set(err, EXIT_MISMATCH, "--codes %zu, --patch %zu: not those of the codebook that goes with the "
                         "model (%zu codes of %zu numbers); leave them out", o->codes, o->patch, o->codebook->codes,
                         o->codebook->Q);
    return true;
}

char *album_prepare(const struct album_options *options, struct error *err) {
    struct job job = {.options = options};
    char *dir = NULL;
    bool found, ok = options_check(options, err) &&
                     folder_list(&job.folder, options->paths, options->n_paths, options->verbose, err) &&
                     (!options->languages || folder_choose(&job.folder, options->languages, err)) &&
                     job_split(&job, err);
    if (ok) {
        const struct vocabulary wanted = job_vocabulary(&job);
        if (options->verbose) counts_tell(&job);
        dir = cache_entry(options->cache, options->paths[0], job_hash(&job));
        cache_sweep(options->cache);
        ok = cache_find(dir, options->verbose, &found, err) &&
             (found || cache_fill(options->cache, dir, job_run, &job, err)) &&
             (options->tokenizer || !has_text(&job) || vocabulary_check(&wanted, dir, err));
    }
    folder_free(&job.folder);
    free(job.held_out);
    if (ok) return dir;
    free(dir);
    return NULL;
}
