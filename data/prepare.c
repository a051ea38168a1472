/* From text to shards, in four steps that data_prepare names: list the inputs, look in the cache, train a
 * tokenizer, encode. See prepare.h for the result.
 *
 * All is written to a directory of its own that gets its name when it is whole (cache.h), so neither an interruption
 * nor a second process at the same time can leave half a result. Threads encode pieces of text that are cut without
 * regard to their number, so the shards do not depend on it. Next: shard.h, ../tokenizer/tokenizer.h. */
#include "prepare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "cache.h"
#include "inputs.h"
#include "shard.h"
#include "vocabulary.h"
#include "weights.h"
#include "../src/base/progress.h"

enum {
    FORMAT = 3,                /* raise it when the same inputs give other shards */
    STRETCH_BYTES = 64 << 10,  /* a sample of the text for the tokenizer is made of such stretches */
    CHUNK_BYTES = 128 << 10,   /* encoded by one thread at a time */
    ROUND_CHUNKS = 128,        /* encoded before the tokens are written: bounds the memory */
    SHARD_TOKENS = 64 << 20,
};

/* ---- Where text is cut ---- */

/* Bytes of the piece at the start of text: at most `limit`, and up to the start of a line if one is there. */
static size_t piece_length(const char *text, size_t size, size_t limit) {
    if (size <= limit) return size;
    for (size_t n = limit; n > 0; n--)
        if (text[n - 1] == '\n' && text[n] != '\n') return n;
    return limit;
}

/* ---- The tokenizer ---- */

/* A stretch's worth of credit, less what rounding may have taken from shares that are 1. */
static const double WHOLE = 1 - 1e-9;

/* Hands out the training text, or where it is long evenly spaced stretches of it. */
struct excerpt {
    const struct input_list *list;
    const double *share;  /* of each part's text, what to use */
    double credit;        /* used up to here, in stretches */
    size_t i;             /* the input being read */
    struct bytes text;
    size_t at, end;
    bool open, failed;
    struct error *err;
};

static bool excerpt_open(struct excerpt *s) {
    const struct input *input = &s->list->inputs[s->i];
    s->failed = !text_read(input, &s->text, s->err);
    s->open = !s->failed;
    s->at = 0;
    s->end = text_kept(input, &s->text);
    return s->open;
}

static const char *excerpt_next(void *context, size_t *size) {
    struct excerpt *s = context;
    while (!s->failed && s->i < s->list->n) {
        if (!s->open && !excerpt_open(s)) break;
        while (s->at < s->end) {
            const char *stretch = s->text.data + s->at;
            *size = piece_length(stretch, s->end - s->at, STRETCH_BYTES);
            s->at += *size;
            s->credit += s->share[s->list->inputs[s->i].part];
            if (s->credit < WHOLE) continue;
            s->credit -= 1;
            return stretch;
        }
        text_release(&s->list->inputs[s->i++], &s->text);
        s->open = false;
    }
    return NULL;
}

/* ---- Encoding ---- */

/* How much of all text is encoded; `shown` as bar_show wants it. */
struct encoded {
    double bytes, of;
    int shown;
};

/* The shards of one split as a single stream of tokens. */
struct token_stream {
    struct encoded *encoded; /* NULL: nobody wants to know */
    const char *dir, *split;
    const tokenizer *tokenizer;
    struct shard_writer *writer;
    size_t shards, tokens;
};

/* Opens the next shard. */
static bool stream_advance(struct token_stream *s, struct error *err) {
    if (s->writer && !shard_close(s->writer, true, err)) {
        s->writer = NULL;
        return false;
    }
    char *path = string_format("%s/%s-%05zu.shard", s->dir, s->split, s->shards++);
    s->writer = shard_create(path, tokenizer_vocab(s->tokenizer), tokenizer_hash(s->tokenizer), err);
    free(path);
    return s->writer != NULL;
}

static bool stream_append(struct token_stream *s, const int32_t *ids, size_t n, struct error *err) {
    while (n > 0) {
        if (s->tokens == s->shards * SHARD_TOKENS && !stream_advance(s, err)) return false;
        size_t room = s->shards * SHARD_TOKENS - s->tokens, part = n < room ? n : room;
        if (!shard_append(s->writer, ids, part, err)) return false;
        s->tokens += part;
        ids += part;
        n -= part;
    }
    return true;
}

/* Closes the last shard; with `keep` false removes it. */
static bool stream_finish(struct token_stream *s, bool keep, struct error *err) {
    return !s->writer || shard_close(s->writer, keep, err);
}

struct chunk {
    const char *text;
    size_t size;
    int32_t *ids;
    size_t n, capacity;
};

/* Encodes a text and ends it with the end-of-text token; an empty text leaves nothing. */
static bool text_encode(struct token_stream *s, const char *text, size_t size, struct error *err) {
    struct chunk chunks[ROUND_CHUNKS] = {0};
    int32_t end_of_text = tokenizer_end_of_text(s->tokenizer);
    bool ok = true;
    for (size_t at = 0; ok && at < size;) {
        int n = 0;
        for (; n < ROUND_CHUNKS && at < size; n++) {
            chunks[n].text = text + at;
            chunks[n].size = piece_length(text + at, size - at, CHUNK_BYTES);
            chunks[n].n = 0;
            at += chunks[n].size;
        }
#pragma omp parallel for schedule(dynamic)
        for (int i = 0; i < n; i++) {
            struct chunk *c = &chunks[i];
            tokenizer_encode(s->tokenizer, c->text, c->size, &c->ids, &c->n, &c->capacity);
        }
        for (int i = 0; ok && i < n; i++) ok = stream_append(s, chunks[i].ids, chunks[i].n, err);
        for (int i = 0; s->encoded && i < n; i++) s->encoded->bytes += (double)chunks[i].size;
        if (s->encoded) bar_show("encoding", s->encoded->bytes, s->encoded->of, &s->encoded->shown);
    }
    for (int i = 0; i < ROUND_CHUNKS; i++) free(chunks[i].ids);
    return ok && (size == 0 || stream_append(s, &end_of_text, 1, err));
}

/* Encodes the inputs of a part into `train`; what is held out of them goes into `val`. */
static bool inputs_encode(const struct input_list *list, size_t part, struct token_stream *train,
                          struct token_stream *val, struct error *err) {
    bool ok = true;
    for (size_t i = 0; ok && i < list->n; i++) {
        const struct input *input = &list->inputs[i];
        struct bytes text;
        if (input->part != part) continue;
        if (!text_read(input, &text, err)) return false;
        const size_t kept = text_kept(input, &text);
        ok = text_encode(train, text.data, kept, err) &&
             (kept == text.size || text_encode(val, text.data + kept, text.size - kept, err));
        text_release(input, &text);
    }
    return ok;
}

/* ---- Held-out text that is in the corpus, too ---- */

struct job {
    const struct prepare_options *options;
    struct input_list train, val; /* val is empty unless there is a val_path */
    struct input_list left_out;   /* inputs to train on that are held out, too */
    double *share;                /* of the text of each part, what the tokenizer is trained on */
    tokenizer *tokenizer;
};

/* What makes texts the same: neither the name, nor a link, nor compression. */
struct content {
    size_t size;
    uint64_t hash;
};

static bool content_of(const struct input *input, struct content *content, struct error *err) {
    struct bytes text;
    if (!text_read(input, &text, err)) return false;
    *content = (struct content){text.size, hash_bytes(HASH_START, text.data, text.size)};
    text_release(input, &text);
    return true;
}

/* Whether an input is one of n held-out texts. Only what may be one is read. */
static bool input_held_out(const struct input *input, const struct content *held_out, size_t n, bool *is,
                           struct error *err) {
    struct content content;
    const bool packed = input_packed(input);
    bool candidate = false;
    *is = false;
    for (size_t i = 0; i < n; i++) candidate |= packed || held_out[i].size == input->size;
    if (!candidate) return true;
    if (!content_of(input, &content, err)) return false;
    for (size_t i = 0; i < n; i++)
        *is |= content.size > 0 && content.size == held_out[i].size && content.hash == held_out[i].hash;
    return true;
}

/* Moves what is held out from the inputs to train on to left_out. */
static bool held_out_leave(struct job *job, struct error *err) {
    struct input_list *train = &job->train, *out = &job->left_out;
    struct content *held_out = array_alloc(job->val.n, sizeof *held_out);
    bool ok = true, is;
    for (size_t i = 0; ok && i < job->val.n; i++) ok = content_of(&job->val.inputs[i], &held_out[i], err);
    for (size_t i = 0; ok && i < train->n;) {
        ok = input_held_out(&train->inputs[i], held_out, job->val.n, &is, err);
        if (!ok || !is) {
            i++;
            continue;
        }
        out->inputs = array_grow(out->inputs, &out->capacity, out->n + 1, sizeof *out->inputs);
        out->inputs[out->n++] = train->inputs[i];
        memmove(&train->inputs[i], &train->inputs[i + 1], (--train->n - i) * sizeof *train->inputs);
    }
    free(held_out);
    if (!ok || train->n > 0) return ok;
    return error_set(err, EXIT_INPUT, "%s: all of it is held out by --val %s; leave out --val, or name other text, too",
                     job->options->paths[0], job->options->val_path);
}

/* ---- Into the cache ---- */

/* A vocabulary that the text turns out not to support has the name of the one that was asked for. */
static uint64_t job_hash(const struct job *job) {
    const struct prepare_options *o = job->options;
    uint64_t pieces = o->tokenizer ? tokenizer_hash(o->tokenizer) : (uint64_t)o->vocab;
    uint64_t key[] = {FORMAT, job->train.hash, job->val.hash,
                      o->val_path != NULL, o->tokenizer != NULL, pieces};
    const uint64_t hash = hash_bytes(HASH_START, key, sizeof key);
    return o->tokenizer ? hash : hash_bytes(hash, job->share, job->train.n_parts * sizeof *job->share);
}

/* The shards of one part, in a directory of its name in `dir`; in `dir` itself where there are no parts. */
static bool part_write(const struct job *job, const char *dir, size_t p, struct encoded *encoded, struct error *err) {
    const char *name = job->train.parts[p].name;
    char *place = string_format("%s%s%s", dir, *name ? "/" : "", name);
    if (!job->options->verbose) encoded = NULL;
    struct token_stream train = {.dir = place, .split = "train", .tokenizer = job->tokenizer, .encoded = encoded};
    struct token_stream val = {.dir = place, .split = "val", .tokenizer = job->tokenizer, .encoded = encoded};
    bool ok = directory_make(place, err) &&
              stream_advance(&train, err) && stream_advance(&val, err) && /* there are both, if only empty */
              inputs_encode(&job->train, p, &train, &val, err) && inputs_encode(&job->val, p, &val, NULL, err);
    struct error closing;
    if (encoded) bar_clear();
    if (!stream_finish(&train, ok, ok ? err : &closing)) ok = false;
    if (!stream_finish(&val, ok, ok ? err : &closing)) ok = false;
    if (ok && train.tokens == 0)
        ok = error_set(err, EXIT_INPUT, "%s: holds no text; name a file with text",
                       *name ? name : job->options->paths[0]);
    if (ok && *name && val.tokens == 0)
        ok = error_set(err, EXIT_INPUT, "%s: too little text to hold out a twentieth of it (%zu tokens in all); add "
                       "text to this part, or leave it out", name, train.tokens);
    if (ok && job->options->verbose)
        fprintf(stderr, "%s%s%zu tokens to train on, %zu to validate\n", name, *name ? ": " : "", train.tokens,
                val.tokens);
    free(place);
    return ok;
}

static bool parts_write(const struct job *job, const char *dir, struct error *err) {
    struct encoded encoded = {.shown = -1};
    bool ok = true;
    for (size_t p = 0; p < job->train.n_parts; p++) encoded.of += job->train.parts[p].bytes;
    for (size_t p = 0; p < job->val.n_parts; p++) encoded.of += job->val.parts[p].bytes;
    for (size_t p = 0; ok && p < job->train.n_parts; p++) ok = part_write(job, dir, p, &encoded, err);
    return ok;
}

/* DIR/NAME, a text of one line each. */
static bool lines_write(const char *dir, const char *name, char *const *lines, size_t n, struct error *err) {
    struct atomic_file file;
    char *path = string_format("%s/%s", dir, name);
    const bool opened = atomic_open(&file, path, err);
    for (size_t i = 0; opened && i < n; i++) fprintf(file.file, "%s\n", lines[i]);
    free(path);
    return opened && atomic_commit(&file, err);
}

/* What was left out, so that a later run can say so, too; and what parts there are, so that a lost one is missed. */
static bool lists_write(const struct job *job, const char *dir, struct error *err) {
    const struct input_list *list = &job->train, *out = &job->left_out;
    const size_t n = out->n > list->n_parts ? out->n : list->n_parts;
    char **lines = array_alloc(n, sizeof *lines);
    for (size_t i = 0; i < out->n; i++) lines[i] = out->inputs[i].path;
    bool ok = out->n == 0 || lines_write(dir, "left-out.txt", lines, out->n, err);
    for (size_t p = 0; p < list->n_parts; p++) lines[p] = list->parts[p].name;
    ok = ok && (!*lines[0] || lines_write(dir, "parts.txt", lines, list->n_parts, err));
    free(lines);
    return ok;
}

static void left_out_tell(const struct prepare_options *o, const char *dir) {
    char *path = string_format("%s/left-out.txt", dir), *line = NULL, *first = NULL;
    size_t capacity = 0, n = 0;
    FILE *file = fopen(path, "r");
    for (; file && getline(&line, &capacity, file) > 0; n++)
        if (n == 0) first = string_format("%.*s", (int)strcspn(line, "\n"), line);
    if (n == 1) note_print("%s is held out by --val %s: left out of training", first, o->val_path);
    if (n > 1) note_print("%s and %zu more are held out by --val %s: left out of training", first, n - 1, o->val_path);
    if (file) fclose(file);
    free(first);
    free(line);
    free(path);
}

/* Of the training text, with of each part its share. */
static tokenizer *tokenizer_make(void *context, int pieces, int *nearest, struct error *err) {
    const struct job *job = context;
    struct error reading;
    struct excerpt s = {.list = &job->train, .share = job->share, .err = &reading};
    tokenizer *t = tokenizer_train(excerpt_next, &s, pieces, job->options->verbose, nearest, err);
    if (s.open) text_release(&s.list->inputs[s.i], &s.text);
    if (!s.failed) return t;
    *err = reading;
    *nearest = 0;
    if (t) tokenizer_free(t);
    return NULL;
}

static struct vocabulary job_vocabulary(const struct job *job) {
    const struct prepare_options *o = job->options;
    return (struct vocabulary){o->vocab, o->vocab_adapts, o->verbose};
}

static bool job_tokenizer(struct job *job, struct error *err) {
    const struct vocabulary wanted = job_vocabulary(job);
    job->tokenizer = job->options->tokenizer;
    if (!job->tokenizer) job->tokenizer = vocabulary_train(&wanted, tokenizer_make, job, err);
    return job->tokenizer != NULL;
}

/* Trains the tokenizer if there is none, encodes, and leaves everything in dir. */
static bool job_run(void *context, const char *dir, struct error *err) {
    struct job *job = context;
    const struct prepare_options *o = job->options;
    if ((o->val_path && !held_out_leave(job, err)) || !job_tokenizer(job, err)) return false;
    if (o->verbose) fprintf(stderr, "encoding %zu files\n", job->train.n + job->val.n);
    char *model = string_format("%s/tokenizer.model", dir);
    const bool ok = tokenizer_save(job->tokenizer, model, err) && parts_write(job, dir, err) &&
                    lists_write(job, dir, err); /* which makes the directories of parts permanent, too */
    free(model);
    if (!o->tokenizer) tokenizer_free(job->tokenizer);
    return ok;
}

/* Lists the inputs, and says of each what becomes of its text. */
static bool job_list(struct job *job, struct error *err) {
    const struct prepare_options *o = job->options;
    char *val_paths[] = {(char *)o->val_path};
    if (!inputs_list(&job->train, o->paths, o->n_paths, o->parts, o->verbose, err)) return false;
    if (!o->val_path) {
        inputs_hold_out(&job->train);
        return true;
    }
    if (*job->train.parts->name)
        return error_set(err, EXIT_USAGE, "--val %s: each part of this corpus holds out text of its own; leave out "
                         "--val", o->val_path);
    if (!inputs_list(&job->val, val_paths, 1, false, o->verbose, err)) return false;
    if (*job->val.parts->name)
        return error_set(err, EXIT_USAGE, "--val %s: held-out text has no part's name; leave out %s=", o->val_path,
                         job->val.parts->name);
    for (size_t i = 0; i < job->train.n; i++) job->train.inputs[i].use = INPUT_TRAIN;
    for (size_t i = 0; i < job->val.n; i++) job->val.inputs[i].use = INPUT_TRAIN;
    return true;
}

/* A tokenizer's text is the mixture that is trained on, as far as a part has so much. */
static bool job_shares(struct job *job, struct error *err) {
    const size_t n = job->train.n_parts;
    struct part_weight *weights = array_alloc(n, sizeof *weights);
    double bytes = 0;
    job->share = array_alloc(n, sizeof *job->share);
    for (size_t p = 0; p < n; p++) {
        weights[p] = (struct part_weight){.name = job->train.parts[p].name, .size = job->train.parts[p].bytes};
        bytes += weights[p].size;
    }
    const bool ok = part_shares(weights, n, job->options->part_alpha, job->options->part_weights, err);
    for (size_t p = 0; ok && p < n; p++)
        job->share[p] = fmin(1, fmin(bytes, VOCABULARY_BYTES) * weights[p].share / weights[p].size);
    free(weights);
    return ok;
}

char *data_prepare(const struct prepare_options *options, struct error *err) {
    struct job job = {.options = options};
    char *dir = NULL;
    bool found, ok = job_list(&job, err) && job_shares(&job, err);
    if (ok) {
        const struct vocabulary wanted = job_vocabulary(&job);
        dir = cache_entry(options->cache, input_path(options->paths[0]), job_hash(&job));
        cache_sweep(options->cache);
        ok = cache_find(dir, options->verbose, &found, err) &&
             (found || cache_fill(options->cache, dir, job_run, &job, err)) &&
             (options->tokenizer || vocabulary_check(&wanted, dir, err));
    }
    if (ok && options->verbose) left_out_tell(options, dir);
    inputs_free(&job.train);
    inputs_free(&job.val);
    inputs_free(&job.left_out);
    free(job.share);
    if (ok) return dir;
    free(dir);
    return NULL;
}
