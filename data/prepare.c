/* From text to shards, in four steps that data_prepare names: list the inputs, look in the cache, train a
 * tokenizer, encode. See prepare.h for the result.
 *
 * All is written to a directory of its own that gets its name when it is whole (cache.h), so neither an interruption
 * nor a second process at the same time can leave half a result. Threads encode pieces of text that are cut without
 * regard to their number, so the shards do not depend on it. Next: shard.h, ../tokenizer/tokenizer.h. */
#include "prepare.h"

#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include "../src/base/text.h"
#include "cache.h"
#include "shard.h"

enum {
    FORMAT = 2,                /* raise it when the same inputs give other shards */
    VAL_SHARE = 20,            /* one twentieth of each file */
    BINARY_PROBE = 8 << 10,    /* a NUL in so many bytes makes a file in a directory binary */
    TRAINING_BYTES = 20 << 20, /* of text for the tokenizer: more changes little and takes longer */
    STRETCH_BYTES = 64 << 10,  /* a sample of that text is made of such stretches */
    CHUNK_BYTES = 128 << 10,   /* encoded by one thread at a time */
    ROUND_CHUNKS = 128,        /* encoded before the tokens are written: bounds the memory */
    GZIP_RATIO = 4,            /* a guess, only to space the sample */
    SHARD_TOKENS = 64 << 20,
};

struct bytes {
    char *data;
    size_t size, capacity;
};

struct input {
    char *path;
    size_t size;       /* on disk */
    struct bytes held; /* what came through a pipe and can be read only once; else empty */
};

struct input_list {
    struct input *inputs;
    size_t n, capacity;
    uint64_t hash;
    size_t skipped;
};

/* ---- Reading ---- */

static bool name_ends(const char *name, const char *end) {
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

static bool stream_read(FILE *file, const char *path, struct bytes *text, struct error *err) {
    struct stat info;
    size_t got, expected = fstat(fileno(file), &info) == 0 ? (size_t)info.st_size : 0;
    text->data = array_grow(text->data, &text->capacity, expected + BUFSIZ, 1);
    do {
        text->data = array_grow(text->data, &text->capacity, text->size + BUFSIZ, 1);
        got = fread(text->data + text->size, 1, text->capacity - text->size, file);
        text->size += got;
    } while (got > 0);
    return !ferror(file) || error_set(err, EXIT_INPUT, "%s: cannot read: %s", path, strerror(errno));
}

static bool path_read(const char *path, struct bytes *text, struct error *err) {
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (!file) return error_set(err, EXIT_INPUT, "%s: cannot open: %s", path, strerror(errno));
    bool ok = stream_read(file, path, text, err);
    if (file != stdin) fclose(file);
    return ok;
}

/* Replaces gzip members by what is in them. zlib's gzread would take garbage behind a member for its end. */
static bool text_gunzip(const char *path, struct bytes *text, struct error *err) {
    struct bytes packed = *text;
    *text = (struct bytes){0};
    z_stream z = {.next_in = (Bytef *)packed.data, .avail_in = 0};
    int status = inflateInit2(&z, 16 + MAX_WBITS) == Z_OK ? Z_OK : Z_MEM_ERROR;
    size_t at = 0;
    while (status == Z_OK) {
        text->data = array_grow(text->data, &text->capacity, text->size + BUFSIZ, 1);
        size_t in = packed.size - at < 1 << 30 ? packed.size - at : 1 << 30;
        size_t out = text->capacity - text->size < 1 << 30 ? text->capacity - text->size : 1 << 30;
        z.next_in = (Bytef *)packed.data + at;
        z.avail_in = (uInt)in;
        z.next_out = (Bytef *)text->data + text->size;
        z.avail_out = (uInt)out;
        status = inflate(&z, Z_NO_FLUSH);
        at += in - z.avail_in;
        text->size += out - z.avail_out;
        if (status == Z_STREAM_END && at < packed.size) status = inflateReset(&z);
    }
    inflateEnd(&z);
    free(packed.data);
    if (status == Z_STREAM_END) return true;
    if (status == Z_MEM_ERROR) return error_set(err, EXIT_MEMORY, "%s: out of memory", path);
    return error_set(
        err, EXIT_INPUT, "%s: byte %zu: %s; fetch this file again", path, at,
        status == Z_BUF_ERROR ? "the gzip stream is cut short" : "not a gzip stream, or damaged");
}

static void text_release(const struct input *input, struct bytes *text) {
    if (text->data != input->held.data) free(text->data);
    *text = (struct bytes){0};
}

/* The text of an input. One that is held is lent, not copied; text_release knows. */
static bool text_read(const struct input *input, struct bytes *text, struct error *err) {
    *text = input->held;
    if (text->data) return true;
    if (path_read(input->path, text, err) &&
        (!name_ends(input->path, ".gz") || text_gunzip(input->path, text, err)))
        return true;
    text_release(input, text);
    return false;
}

/* ---- Inputs ---- */

/* gzread reads plain files too. What cannot be read is not binary: it will be refused by name. */
static bool binary_is(const char *path) {
    char probe[BINARY_PROBE];
    gzFile file = gzopen(path, "rb");
    int n = file ? gzread(file, probe, sizeof probe) : 0;
    if (file) gzclose(file);
    return n > 0 && memchr(probe, 0, (size_t)n);
}

static void input_add(struct input_list *list, const char *path, const struct stat *info, struct bytes held) {
    list->inputs = array_grow(list->inputs, &list->capacity, list->n + 1, sizeof *list->inputs);
    struct input *input = &list->inputs[list->n++];
    *input = (struct input){string_format("%s", path), held.data ? held.size : (size_t)info->st_size, held};
    uint64_t identity[] = {input->size, held.data ? 0 : (uint64_t)info->st_mtim.tv_sec,
                           held.data ? 0 : (uint64_t)info->st_mtim.tv_nsec};
    list->hash = hash_bytes(list->hash, path, strlen(path) + 1);
    list->hash = hash_bytes(list->hash, identity, sizeof identity);
    list->hash = hash_bytes(list->hash, held.data, held.data ? held.size : 0);
}

/* Standard input or another pipe: its content is its identity. */
static bool pipe_add(struct input_list *list, const char *path, struct error *err) {
    struct bytes held = {0};
    bool ok = path_read(path, &held, err);
    if (ok) input_add(list, path, NULL, held);
    else free(held.data);
    return ok;
}

static int entries_compare(const FTSENT **a, const FTSENT **b) {
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* One step of a walk through a directory; below its top, hidden and binary files are skipped. */
static bool entry_visit(struct input_list *list, FTS *walk, FTSENT *entry, bool verbose, struct error *err) {
    bool top = entry->fts_level == FTS_ROOTLEVEL;
    switch (entry->fts_info) {
    case FTS_NS:
    case FTS_DNR:
    case FTS_ERR:
        return error_set(err, EXIT_INPUT, "%s: cannot read: %s; name a text file or a directory of text",
                         entry->fts_path, strerror(entry->fts_errno));
    case FTS_D:
        if (!top && entry->fts_name[0] == '.') fts_set(walk, entry, FTS_SKIP);
        return true;
    case FTS_DEFAULT: /* a pipe or a device */
        return !top || pipe_add(list, entry->fts_path, err);
    case FTS_F:
        break;
    default:
        return true;
    }
    if (!top && (entry->fts_name[0] == '.' || binary_is(entry->fts_path))) {
        if (verbose) fprintf(stderr, "skipped, hidden or binary: %s\n", entry->fts_path);
        list->skipped++;
    } else
        input_add(list, entry->fts_path, entry->fts_statp, (struct bytes){0});
    return true;
}

static bool path_add(struct input_list *list, char *path, bool verbose, struct error *err) {
    if (strcmp(path, "-") == 0) return pipe_add(list, path, err);
    FTS *walk = fts_open((char *[]){path, NULL}, FTS_LOGICAL | FTS_NOCHDIR, entries_compare);
    if (!walk) return error_set(err, EXIT_INPUT, "%s: cannot read: %s", path, strerror(errno));
    bool ok = true;
    for (FTSENT *entry; ok && (entry = fts_read(walk));) ok = entry_visit(list, walk, entry, verbose, err);
    fts_close(walk);
    return ok;
}

static bool inputs_list(struct input_list *list, char **paths, size_t n, bool verbose, struct error *err) {
    *list = (struct input_list){.hash = HASH_START};
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        if (!path_add(list, paths[i], verbose, err)) return false;
    for (size_t i = 0; i < list->n; i++) bytes += list->inputs[i].size;
    if (bytes > 0) return true;
    return error_set(err, EXIT_INPUT,
                     "%s: holds no text (%zu files, all empty; %zu skipped as hidden or binary); "
                     "name a text file or a directory of text",
                     n > 0 ? paths[0] : "no input", list->n, list->skipped);
}

static void inputs_free(struct input_list *list) {
    for (size_t i = 0; i < list->n; i++) {
        free(list->inputs[i].path);
        free(list->inputs[i].held.data);
    }
    free(list->inputs);
}

/* ---- Where text is cut ---- */

/* Where the validation part begins: the first line, or where there is none the first UTF-8 character, that
 * starts in the last twentieth. */
static size_t text_split(const char *text, size_t size) {
    size_t at = size - size / VAL_SHARE;
    if (at == 0 || at == size || text[at - 1] == '\n') return at;
    const char *newline = memchr(text + at, '\n', size - at);
    if (newline && newline + 1 < text + size) return (size_t)(newline + 1 - text);
    while (at < size && (text[at] & 0xc0) == 0x80) at++;
    return at;
}

/* Bytes of the piece at the start of text: at most `limit`, and up to the start of a line if one is there. */
static size_t piece_length(const char *text, size_t size, size_t limit) {
    if (size <= limit) return size;
    for (size_t n = limit; n > 0; n--)
        if (text[n - 1] == '\n' && text[n] != '\n') return n;
    return limit;
}

/* ---- The tokenizer ---- */

/* Hands out the training text, or where it is long evenly spaced stretches of it. */
struct excerpt {
    const struct input_list *list;
    bool split;           /* leave the validation part out */
    double share, credit; /* of the text to use; used up to here, in stretches */
    size_t i;             /* the input being read */
    struct bytes text;
    size_t at, end;
    bool open, failed;
    struct error *err;
};

static bool excerpt_open(struct excerpt *s) {
    s->failed = !text_read(&s->list->inputs[s->i], &s->text, s->err);
    s->open = !s->failed;
    s->at = 0;
    s->end = s->split ? text_split(s->text.data, s->text.size) : s->text.size;
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
            s->credit += s->share;
            if (s->credit < 1) continue;
            s->credit -= 1;
            return stretch;
        }
        text_release(&s->list->inputs[s->i++], &s->text);
        s->open = false;
    }
    return NULL;
}

/* Of the training text. `most` is as in tokenizer_train. */
static tokenizer *tokenizer_make(const struct input_list *list, bool split, int vocab, int *most, struct error *err) {
    double bytes = 0;
    for (size_t i = 0; i < list->n; i++)
        bytes += (double)list->inputs[i].size * (name_ends(list->inputs[i].path, ".gz") ? GZIP_RATIO : 1);
    const double share = bytes > TRAINING_BYTES ? TRAINING_BYTES / bytes : 1;
    struct error reading;
    struct excerpt s = {.list = list, .split = split, .share = share, .err = &reading};
    tokenizer *t = tokenizer_train(excerpt_next, &s, vocab, most, err);
    if (s.open) text_release(&list->inputs[s.i], &s.text);
    if (!s.failed) return t;
    *err = reading;
    *most = 0;
    if (t) tokenizer_free(t);
    return NULL;
}

/* ---- Encoding ---- */

/* The shards of one split as a single stream of tokens. */
struct token_stream {
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
    }
    for (int i = 0; i < ROUND_CHUNKS; i++) free(chunks[i].ids);
    return ok && (size == 0 || stream_append(s, &end_of_text, 1, err));
}

/* Encodes the inputs into `train`; with `val` the last part of each goes there. */
static bool inputs_encode(const struct input_list *list, struct token_stream *train, struct token_stream *val,
                          struct error *err) {
    bool ok = true;
    for (size_t i = 0; ok && i < list->n; i++) {
        struct bytes text;
        if (!text_read(&list->inputs[i], &text, err)) return false;
        size_t cut = val ? text_split(text.data, text.size) : text.size;
        ok = text_encode(train, text.data, cut, err) &&
             (!val || text_encode(val, text.data + cut, text.size - cut, err));
        text_release(&list->inputs[i], &text);
    }
    return ok;
}

/* ---- Held-out text that is in the corpus, too ---- */

struct job {
    const struct prepare_options *options;
    struct input_list train, val; /* val is empty unless there is a val_path */
    struct input_list left_out;   /* inputs to train on that are held out, too */
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
    const bool packed = name_ends(input->path, ".gz");
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

/* CACHE/NAME-HASH, where NAME is that of the first input. */
static char *cache_path(const struct prepare_options *o, uint64_t hash) {
    char *full = strcmp(o->paths[0], "-") == 0 ? string_format("stdin") : realpath(o->paths[0], NULL);
    const char *slash = full ? strrchr(full, '/') : NULL;
    const char *name = slash ? slash + 1 : full ? full : "text";
    char *shown = text_as_utf8(name, 60); /* checkpoints keep the path */
    char *path = string_format("%s/%s-%016llx", o->cache, shown, (unsigned long long)hash);
    free(shown);
    free(full);
    return path;
}

/* A vocabulary that the text turns out not to support has the name of the one that was asked for. */
static uint64_t job_hash(const struct job *job) {
    const struct prepare_options *o = job->options;
    uint64_t pieces = o->tokenizer ? tokenizer_hash(o->tokenizer) : (uint64_t)o->vocab;
    uint64_t key[] = {FORMAT, job->train.hash, job->val.hash,
                      o->val_path != NULL, o->tokenizer != NULL, pieces};
    return hash_bytes(HASH_START, key, sizeof key);
}

static bool streams_write(struct job *job, const char *dir, struct error *err) {
    struct token_stream train = {.dir = dir, .split = "train", .tokenizer = job->tokenizer};
    struct token_stream val = {.dir = dir, .split = "val", .tokenizer = job->tokenizer};
    bool own_val = job->options->val_path != NULL;
    bool ok = stream_advance(&train, err) && stream_advance(&val, err) && /* there are both, if only empty */
              inputs_encode(&job->train, &train, own_val ? NULL : &val, err) &&
              (!own_val || inputs_encode(&job->val, &val, NULL, err));
    struct error closing;
    if (!stream_finish(&train, ok, ok ? err : &closing)) ok = false;
    if (!stream_finish(&val, ok, ok ? err : &closing)) ok = false;
    if (ok && train.tokens == 0)
        ok = error_set(err, EXIT_INPUT, "%s: holds no text; name a file with text", job->options->paths[0]);
    if (ok && job->options->verbose)
        fprintf(stderr, "%zu tokens to train on, %zu to validate\n", train.tokens, val.tokens);
    return ok;
}

/* What was left out, one path a line, so that a later run can say so, too. */
static bool left_out_write(const struct job *job, const char *dir, struct error *err) {
    struct atomic_file file;
    if (job->left_out.n == 0) return true;
    char *path = string_format("%s/left-out.txt", dir);
    const bool opened = atomic_open(&file, path, err);
    for (size_t i = 0; opened && i < job->left_out.n; i++) fprintf(file.file, "%s\n", job->left_out.inputs[i].path);
    free(path);
    return opened && atomic_commit(&file, err);
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

/* Trains the tokenizer; where the text does not support so many pieces, one of as many as it does, if that will do. */
static bool job_tokenizer(struct job *job, struct error *err) {
    const struct prepare_options *o = job->options;
    int vocab = o->vocab, most = 0;
    job->tokenizer = o->tokenizer;
    while (!job->tokenizer) {
        if (o->verbose) fprintf(stderr, "training a tokenizer of %d pieces\n", vocab);
        job->tokenizer = tokenizer_make(&job->train, o->val_path == NULL, vocab, &most, err);
        if (!job->tokenizer && (!o->vocab_at_most || most <= 0 || most >= vocab)) return false;
        vocab = most;
    }
    return true;
}

/* Trains the tokenizer if there is none, encodes, and leaves everything in dir. */
static bool job_run(struct job *job, const char *dir, struct error *err) {
    const struct prepare_options *o = job->options;
    if ((o->val_path && !held_out_leave(job, err)) || !job_tokenizer(job, err)) return false;
    if (o->verbose) fprintf(stderr, "encoding %zu files\n", job->train.n + job->val.n);
    char *model = string_format("%s/tokenizer.model", dir);
    const bool ok = tokenizer_save(job->tokenizer, model, err) && left_out_write(job, dir, err) &&
                    streams_write(job, dir, err);
    free(model);
    if (!o->tokenizer) tokenizer_free(job->tokenizer);
    return ok;
}

static bool cache_fill(struct job *job, const char *dir, struct error *err) {
    struct cache_work work;
    if (!cache_begin(&work, job->options->cache, dir, err)) return false;
    if (job_run(job, work.path, err)) return cache_commit(&work, err);
    cache_abandon(&work);
    return false;
}

/* Whether the entry is there and whole. A damaged one is made again, as the inputs are at hand. */
static bool cache_find(const struct job *job, const char *dir, bool *found, struct error *err) {
    *found = access(dir, F_OK) == 0 && cache_check(dir, err);
    if (*found || access(dir, F_OK) != 0) return true;
    if (err->code != EXIT_INPUT || !cache_replaceable(dir, err)) return false;
    if (job->options->verbose) note_print("%.*s: preparing this text again", (int)strcspn(err->text, ";"), err->text);
    return true;
}

/* The entry may be that of a run which took what the text supports: enough for this one? */
static bool vocab_check(const struct prepare_options *o, const char *dir, struct error *err) {
    if (o->tokenizer) return true;
    char *model = string_format("%s/tokenizer.model", dir);
    tokenizer *t = tokenizer_load(model, err);
    const int pieces = t ? tokenizer_vocab(t) : 0;
    if (t) tokenizer_free(t);
    free(model);
    if (!t || pieces >= o->vocab) return t != NULL;
    if (!o->vocab_at_most) return tokenizer_too_large(o->vocab, pieces, err);
    if (o->verbose) note_print("this text supports a vocabulary of %d pieces, not of %d", pieces, o->vocab);
    return true;
}

char *data_prepare(const struct prepare_options *options, struct error *err) {
    struct job job = {.options = options};
    char *val_paths[] = {(char *)options->val_path};
    char *dir = NULL;
    bool found;
    bool ok = inputs_list(&job.train, options->paths, options->n_paths, options->verbose, err) &&
              (!options->val_path || inputs_list(&job.val, val_paths, 1, options->verbose, err));
    if (ok) {
        dir = cache_path(options, job_hash(&job));
        cache_sweep(options->cache);
        ok = cache_find(&job, dir, &found, err) && (found || cache_fill(&job, dir, err)) &&
             vocab_check(options, dir, err);
    }
    if (ok && options->verbose) left_out_tell(options, dir);
    inputs_free(&job.train);
    inputs_free(&job.val);
    inputs_free(&job.left_out);
    if (ok) return dir;
    free(dir);
    return NULL;
}
