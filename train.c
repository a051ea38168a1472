/* ./train: text in, a language model out.
 *
 * main is the table of contents: options, data, model, loop. A step is forward, loss, backward (once for
 * each micro-batch), clip, AdamW. Everything that a later step depends on is in the checkpoint, so that a
 * resumed run equals an uninterrupted one bit for bit. The layer itself is in mhmoe.c; the formats are
 * described in src/checkpoint.h and data/README.md. */
#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "data/loader.h"
#include "data/prepare.h"
#include "mhmoe.h"
#include "src/kernels.h"
#include "src/optimizer.h"
#include "src/parity.h"
#include "src/plot.h"
#include "src/runlog.h"
#include "src/text.h"
#include "src/util.h"

/* ---- Options ------------------------------------------------------------------------------------ */

struct options {
    char *out, *resume, *match, *val, *tokenizer, *cache, *prompt;
    int64_t steps, until, warmup, seed, eval_every, save_every, sample_every;
    int batch, accumulate, threads, eval_windows, sample_tokens;
    double lr, final_lr, weight_decay, beta1, beta2, clip;
    bool dry_run, recompute;
};

#define FIELD(name) offsetof(struct options, name)
static const struct option_spec train_options[] = {
    {"out", 'o', OPTION_STRING, FIELD(out), NULL, 0, 0, NULL, "DIR",
     "directory of the run (default: runs/ and the corpus's name)", "Run"},
    {"resume", 0, OPTION_STRING, FIELD(resume), NULL, 0, 0, NULL, "DIR",
     "go on with the run in DIR from its last checkpoint, with its options", NULL},
    {"dry-run", 0, OPTION_FLAG, FIELD(dry_run), "false", 0, 0, NULL, NULL,
     "print parameters, FLOPs and memory, and stop", NULL},
    {"match", 0, OPTION_STRING, FIELD(match), NULL, 0, 0, NULL, "FILE",
     "set --experts and --expert-hidden so that a layer costs as much as that of the baseline (--ffn smoe or dense) "
     "whose config file or run directory this is", NULL},
    {"threads", 0, OPTION_INT, FIELD(threads), "0", 0, 1024, NULL, "N",
     "threads (0: as many as processors); the result is the same for any number", NULL},
    {"seed", 0, OPTION_LONG, FIELD(seed), "1", 0, 1e15, NULL, "N", "seed of weights, order and samples", NULL},
    {"val", 0, OPTION_STRING, FIELD(val), NULL, 0, 0, NULL, "FILE",
     "held-out text (default: the last 5% of each file)", "Data"},
    {"tokenizer", 0, OPTION_STRING, FIELD(tokenizer), NULL, 0, 0, NULL, "FILE",
     "SentencePiece model to use (default: one trained on the corpus, with --vocab pieces)", NULL},
    {"cache", 0, OPTION_STRING, FIELD(cache), "data/cache", 0, 0, NULL, "DIR",
     "where tokenizers and shards are kept", NULL},
    {"steps", 0, OPTION_LONG, FIELD(steps), "1000", 0, 1e12, NULL, "N", "optimizer steps in all", "Training"},
    {"until", 0, OPTION_LONG, FIELD(until), "0", 0, 1e12, NULL, "N",
     "save and stop after step N, to be resumed (0: do not); the schedule still ends at --steps", NULL},
    {"batch", 0, OPTION_INT, FIELD(batch), "8", 1, 65536, NULL, "N", "sequences in a micro-batch", NULL},
    {"accumulate", 0, OPTION_INT, FIELD(accumulate), "1", 1, 65536, NULL, "N", "micro-batches in a step", NULL},
    {"recompute", 0, OPTION_FLAG, FIELD(recompute), "false", 0, 0, NULL, NULL,
     "less memory: backward computes each block's forward again (a third more time); the same result", NULL},
    {"lr", 0, OPTION_REAL, FIELD(lr), "2e-3", 0, 10, NULL, "X", "peak learning rate", NULL},
    {"final-lr", 0, OPTION_REAL, FIELD(final_lr), "0.1", 0, 1, NULL, "X",
     "last learning rate, as a fraction of the peak (cosine)", NULL},
    {"warmup", 0, OPTION_LONG, FIELD(warmup), "200", 0, 1e12, NULL, "N", "steps of linear warm-up", NULL},
    {"weight-decay", 0, OPTION_REAL, FIELD(weight_decay), "0.1", 0, 10, NULL, "X",
     "AdamW's decay of matrices (never of biases, norms and positions)", NULL},
    {"beta1", 0, OPTION_REAL, FIELD(beta1), "0.9", 0, 0.999999, NULL, "X", "AdamW's decay of the mean", NULL},
    {"beta2", 0, OPTION_REAL, FIELD(beta2), "0.99", 0, 0.999999, NULL, "X", "AdamW's decay of the square", NULL},
    {"clip", 0, OPTION_REAL, FIELD(clip), "1", 0, 1e9, NULL, "X", "highest gradient norm (0: any)", NULL},
    {"eval-every", 0, OPTION_LONG, FIELD(eval_every), "200", 0, 1e12, NULL, "N",
     "steps between validations (0: only at the end)", "Watching"},
    {"eval-windows", 0, OPTION_INT, FIELD(eval_windows), "64", 1, 1 << 30, NULL, "N",
     "held-out sequences in a validation on the way; the last one takes all", NULL},
    {"save-every", 0, OPTION_LONG, FIELD(save_every), "500", 0, 1e12, NULL, "N",
     "steps between checkpoints (0: only at the end)", NULL},
    {"sample-every", 0, OPTION_LONG, FIELD(sample_every), "500", 0, 1e12, NULL, "N",
     "steps between samples of text (0: none)", NULL},
    {"sample-tokens", 0, OPTION_INT, FIELD(sample_tokens), "64", 1, 1 << 20, NULL, "N", "length of a sample", NULL},
    {"prompt", 0, OPTION_STRING, FIELD(prompt), "The", 0, 0, NULL, "TEXT", "what samples begin with", NULL},
    {0},
};

static const struct program_info program = {
    "train", "train [OPTION]... [CORPUS]...",
    "Trains a language model on text: files, directories, .gz files, or - for standard input. Without a corpus "
    "it fetches the default one (Jane Austen's novels).",
    "Examples:\n"
    "  ./train my.txt --steps 2000\n"
    "  ./train my.txt --ffn smoe --experts 16 --dry-run\n"
    "  ./train --resume runs/my\n"
    "\n"
    "Exit codes: 0 done, 2 usage, 3 bad input, 4 output failed, 5 inputs do not match each other, 6 memory,\n"
    "7 run directory in use, 8 diverged, 128+n stopped by signal n (a checkpoint is written first).\n",
};

/* ---- The run ------------------------------------------------------------------------------------ */

struct train {
    struct options options;
    struct config config;
    bool *given;             /* for options_given */
    struct model model;
    tokenizer *tokenizer;
    char *data_dir, *out;
    struct loader *train_data, *val_data;
    real *moment_block;      /* (2, n_parameters): Adam's m and v */
    struct rng sample_rng;
    int64_t step;            /* steps done */
    double seconds;          /* of training, over all sessions */
    double best_loss, val_loss;
    FILE *log;
    int lock;
    int32_t *inputs, *targets; /* (accumulate, batch, seq) */
};

enum { GROUPS = 2 };
static void option_groups(struct train *t, struct option_group groups[GROUPS]) {
    groups[0] = (struct option_group){train_options, &t->options};
    groups[1] = (struct option_group){model_options, &t->config};
}

/* A signal asks for a stop after the step; the second of its kind ends the program at once. */
static volatile sig_atomic_t stop_signal;
static void note_signal(int number) {
    stop_signal = number;
    signal(number, SIG_DFL);
}

static const char *run_path(char *path, size_t size, const struct train *t, const char *name) {
    snprintf(path, size, "%s/%s", t->out, name);
    return path;
}

/* ---- Checkpoints -------------------------------------------------------------------------------- */

/* The tensors of a checkpoint: the model, the tokenizer, and with `all` Adam's moments. */
static size_t checkpoint_tensors(struct train *t, bool all, struct tensor *out) {
    struct model *m = &t->model;
    size_t n = model_state(m, out), size;
    if (all) {
        n += model_tensors(m, t->moment_block, "adam_m.", out + n);
        n += model_tensors(m, t->moment_block + m->n_parameters, "adam_v.", out + n);
    }
    const void *model = tokenizer_model(t->tokenizer, &size);
    out[n] = (struct tensor){.name = "tokenizer.model", .dtype = DTYPE_U8, .dims = 1, .shape = {size},
                             .data = (void *)model};
    return n + 1;
}
enum { CHECKPOINT_TENSORS = MODEL_TENSORS + 2 * PARAMETER_TENSORS + 1 };

static void metadata_set(json_t *metadata, const char *key, char *value) {
    json_object_set_new(metadata, key, json_string(value));
    free(value);
}

/* Of the tokens to train on and of those held out. */
static uint64_t data_hash(const struct train *t) {
    const uint64_t both[] = {loader_data_hash(t->train_data), loader_data_hash(t->val_data)};
    return hash_bytes(HASH_START, both, sizeof both);
}

/* Numbers go as C99 hexadecimal floats where their bits matter. */
static json_t *checkpoint_metadata(const struct train *t) {
    const uint64_t *r = t->sample_rng.s;
    json_t *m = json_object();
    metadata_set(m, "format", string_format("mhmoe 1"));
    metadata_set(m, "config", config_to_string(&t->config));
    metadata_set(m, "step", string_format("%" PRId64, t->step));
    metadata_set(m, "data_position", string_format("%" PRIu64, loader_position(t->train_data)));
    metadata_set(m, "sample_rng", string_format("%016" PRIx64 " %016" PRIx64 " %016" PRIx64 " %016" PRIx64, r[0],
                                                r[1], r[2], r[3]));
    metadata_set(m, "best_loss", string_format("%a", t->best_loss));
    metadata_set(m, "val_loss", string_format("%.9g", t->val_loss));
    metadata_set(m, "seconds", string_format("%a", t->seconds));
    metadata_set(m, "data_dir", string_format("%s", t->data_dir));
    metadata_set(m, "data_hash", string_format("%016" PRIx64, data_hash(t)));
    metadata_set(m, "tokenizer_hash", string_format("%016" PRIx64, tokenizer_hash(t->tokenizer)));
    return m;
}

/* last.safetensors holds everything; best.safetensors, for ./sample, goes without the moments. */
static bool run_save(struct train *t, const char *name, bool all, struct error *err) {
    struct tensor tensors[CHECKPOINT_TENSORS];
    char path[4096];
    const size_t n = checkpoint_tensors(t, all, tensors);
    json_t *metadata = checkpoint_metadata(t);
    const bool written = checkpoint_write(run_path(path, sizeof path, t, name), tensors, n, metadata, err);
    json_decref(metadata);
    return written;
}

static const char *text_option(const struct checkpoint *c, const char *key, struct error *err) {
    const char *text = checkpoint_string(c, key, err);
    if (!text) error_exit(err);
    return text;
}

/* What the data of a resumed run must be: the same tokens, by the same tokenizer. */
static bool data_check(const struct train *t, const struct checkpoint *c, struct error *err) {
    const uint64_t want = strtoull(text_option(c, "data_hash", err), NULL, 16);
    const uint64_t got = data_hash(t);
    if (want == got) return true;
    return error_set(err, EXIT_MISMATCH, "%s: not the data that %s was trained on (hash %016" PRIx64
                     ", want %016" PRIx64 "); name the same corpus, or start a new run", t->data_dir, c->path, got,
                     want);
}

static bool run_restore(struct train *t, const struct checkpoint *c, struct error *err) {
    struct tensor tensors[CHECKPOINT_TENSORS];
    if (!data_check(t, c, err)) return false;
    const size_t n = checkpoint_tensors(t, true, tensors) - 1; /* the tokenizer is loaded already */
    for (size_t i = 0; i < n; i++)
        if (!checkpoint_read(c, &tensors[i], err)) return false;
    t->step = strtoll(text_option(c, "step", err), NULL, 10);
    t->best_loss = strtod(text_option(c, "best_loss", err), NULL);
    t->val_loss = strtod(text_option(c, "val_loss", err), NULL);
    t->seconds = strtod(text_option(c, "seconds", err), NULL);
    uint64_t *r = t->sample_rng.s;
    if (sscanf(text_option(c, "sample_rng", err), "%" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64, &r[0], &r[1],
               &r[2], &r[3]) != 4)
        return error_set(err, EXIT_INPUT, "%s: sample_rng: not four hexadecimal words", c->path);
    loader_seek(t->train_data, strtoull(text_option(c, "data_position", err), NULL, 10));
    model_pack(&t->model);
    return true;
}

/* ---- The run's directory ------------------------------------------------------------------------ */

static bool file_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

/* runs/NAME, or runs/NAME-2, ... : the first that holds no run yet. */
static char *run_default(const char *corpus) {
    char *full = strcmp(corpus, "-") == 0 ? NULL : realpath(corpus, NULL); /* so that "." and "dir/" have names */
    const char *base = full && full[1] ? strrchr(full, '/') + 1 : "stdin", *dot = strchr(base + 1, '.');
    const int length = dot ? (int)(dot - base) : (int)strlen(base);
    char *name = string_format("runs/%.*s", length, base);
    for (int i = 2; file_exists(name); i++) {
        free(name);
        name = string_format("runs/%.*s-%d", length, base, i);
    }
    free(full);
    return name;
}

static bool run_lock(struct train *t, struct error *err) {
    char path[4096];
    t->lock = open(run_path(path, sizeof path, t, "lock"), O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    if (t->lock < 0) return error_set(err, EXIT_OUTPUT, "%s: cannot create: %s", path, strerror(errno));
    if (flock(t->lock, LOCK_EX | LOCK_NB) == 0) return true;
    return error_set(err, EXIT_BUSY, "%s: another process trains in this run; wait for it or choose another --out",
                     t->out);
}

/* A new run's directory, its config file, and an empty log; or a resumed run's. */
static bool run_open(struct train *t, struct error *err) {
    struct option_group groups[GROUPS];
    char path[4096];
    if (!directory_make(t->out, err) || !run_lock(t, err)) return false;
    run_path(path, sizeof path, t, "last.safetensors");
    if (!t->options.resume && file_exists(path))
        return error_set(err, EXIT_USAGE, "%s: there is a run already; --resume %s goes on with it, another --out "
                         "starts anew", t->out, t->out);
    struct atomic_file config;
    if (!atomic_open(&config, run_path(path, sizeof path, t, "config"), err)) return false;
    option_groups(t, groups);
    char *resume = t->options.resume, *out = t->options.out; /* of this call, not of the run */
    char *match = t->options.match;
    const int64_t until = t->options.until;
    t->options.resume = t->options.out = t->options.match = NULL;
    t->options.until = 0;
    options_print(groups, GROUPS, config.file);
    t->options.resume = resume;
    t->options.out = out;
    t->options.match = match;
    t->options.until = until;
    return atomic_commit(&config, err);
}

/* ---- The log ------------------------------------------------------------------------------------ */

/* Opens log.jsonl and drops what lies past the step we resume from: those steps will be done again. */
static bool log_open(struct train *t, struct error *err) {
    char path[4096], *line = NULL;
    size_t capacity = 0;
    long end = 0;
    t->log = fopen(run_path(path, sizeof path, t, "log.jsonl"), t->step > 0 ? "a+" : "w");
    if (!t->log) return error_set(err, EXIT_OUTPUT, "%s: cannot open: %s", path, strerror(errno));
    while (getline(&line, &capacity, t->log) > 0) {
        json_t *entry = json_loads(line, 0, NULL);
        const bool keep = entry && json_integer_value(json_object_get(entry, "step")) <= t->step;
        json_decref(entry);
        if (!keep) break;
        end = ftell(t->log);
    }
    free(line);
    if (fflush(t->log) != 0 || ftruncate(fileno(t->log), end) != 0)
        return error_set(err, EXIT_OUTPUT, "%s: cannot truncate: %s", path, strerror(errno));
    return true;
}

static bool log_write(struct train *t, json_t *entry, struct error *err) {
    const bool written = json_dumpf(entry, t->log, JSON_COMPACT | JSON_REAL_PRECISION(9)) == 0 &&
                         fputc('\n', t->log) != EOF && fflush(t->log) == 0;
    json_decref(entry);
    if (written) return true;
    return error_set(err, EXIT_OUTPUT, "%s/log.jsonl: cannot write: %s; free some space and --resume", t->out,
                     strerror(errno));
}

/* Picks of each expert since the statistics were cleared, one array a MoE layer. */
static json_t *load_json(const struct model *m) {
    json_t *layers = json_array();
    for (size_t lm = 0; lm < m->sizes.LM; lm++) {
        json_t *layer = json_array();
        for (size_t e = 0; e < m->sizes.E; e++)
            json_array_append_new(layer, json_integer((json_int_t)m->load[lm * m->sizes.E + e]));
        json_array_append_new(layers, layer);
    }
    return layers;
}

/* E7 or the z-loss of each MoE layer, its mean over micro-batches since the statistics were cleared, summed. */
static double router_loss_of(const struct model *m, const double *sums) {
    double sum = 0;
    for (size_t lm = 0; lm < m->sizes.LM; lm++) sum += sums[lm] / (double)m->forwards;
    return sum;
}

/* ---- What the user sees ------------------------------------------------------------------------- */

static void progress_clear(void) {
    if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
}

/* A progress line on a terminal; nothing elsewhere. */
static void progress_show(const struct train *t, double loss, double rate) {
    if (!isatty(STDERR_FILENO)) return;
    const double tokens = (double)t->options.batch * t->options.accumulate * t->config.seq;
    const long left = (long)((double)(t->options.steps - t->step) * tokens / rate);
    fprintf(stderr, "\r\033[Kstep %" PRId64 "/%" PRId64 "  loss %.3f  %.0f tokens/s  ETA %ld:%02ld", t->step,
            t->options.steps, loss, rate, left / 60, left % 60);
}

struct stream {
    const struct train *t;
    struct text_stream text;
};
static bool emit_token(void *context, int32_t token) {
    struct stream *s = context;
    size_t size;
    const char *piece = tokenizer_piece(s->t->tokenizer, token, &size);
    text_write(&s->text, piece, size);
    return token != tokenizer_end_of_text(s->t->tokenizer);
}

/* A sample of what the model writes, on standard output. */
static void sample_show(struct train *t) {
    struct sampler sampler = {.temperature = 0.8, .top_k = 0, .top_p = 0.95, .rng = t->sample_rng};
    struct stream stream = {.t = t, .text = {.out = stdout}};
    int32_t *ids = NULL;
    size_t n = 0, capacity = 0;
    tokenizer_encode(t->tokenizer, t->options.prompt, strlen(t->options.prompt), &ids, &n, &capacity);
    if (n == 0) {
        ids = array_grow(ids, &capacity, 1, sizeof *ids);
        ids[n++] = tokenizer_end_of_text(t->tokenizer);
    }
    progress_clear();
    printf("--- step %" PRId64 " ---\n%s", t->step, t->options.prompt);
    model_generate(&t->model, ids, n, (size_t)t->options.sample_tokens, &sampler, emit_token, &stream);
    text_end(&stream.text);
    printf("\n");
    fflush(stdout);
    free(ids);
    t->sample_rng = sampler.rng;
}

static struct model_setup setup_of(const struct options *o) {
    return (struct model_setup){MODEL_TRAIN, (size_t)o->batch, o->recompute, STORAGE_F32};
}

/* Bytes resident when training; not those of a tokenizer's training, which comes before. */
static size_t memory_peak(const struct train *t, const struct model_cost *cost) {
    const size_t program = 13 << 20; /* code, libraries, a tokenizer of some thousand pieces: measured */
    const size_t tokens = (size_t)t->options.batch * (size_t)t->options.accumulate * (size_t)t->config.seq;
    return cost->parameter_bytes + cost->activation_bytes + 2 * tokens * sizeof *t->inputs +
           loader_bytes(t->train_data) + loader_bytes(t->val_data) + program;
}

/* From the shapes alone: a model that does not fit in memory can be looked at. */
static bool cost_show(const struct train *t, struct error *err) {
    struct sizes sizes;
    if (!config_check(&t->config, &sizes, err)) return false;
    const struct model_cost c = model_cost(&sizes, setup_of(&t->options));
    printf("parameters         %zu\n", c.parameters);
    printf("active parameters  %zu (touched by one token, at most)\n", c.active_parameters);
    printf("forward FLOPs      %.4g a token\n", c.forward_flops);
    printf("training FLOPs     %.4g a token\n", c.training_flops);
    printf("memory             %.1f MB parameters, gradients, moments and packed weights\n",
           (double)c.parameter_bytes / 1e6);
    printf("                   %.1f MB activations\n", (double)c.activation_bytes / 1e6);
    printf("                   %.1f MB in all, at its peak\n", (double)memory_peak(t, &c) / 1e6);
    printf("training tokens    %zu, %zu sequences an epoch\n", loader_tokens(t->train_data),
           loader_windows(t->train_data));
    printf("epochs             %.2f in %" PRId64 " steps\n",
           (double)t->options.steps * t->options.batch * t->options.accumulate / (double)loader_windows(t->train_data),
           t->options.steps);
    return fflush(stdout) == 0 ||
           error_set(err, EXIT_OUTPUT, "standard output: cannot write: %s", strerror(errno));
}

/* ---- Plots -------------------------------------------------------------------------------------- */

/* The loss curve, from the log, so that it covers every session of the run. */
static bool plot_loss(const struct train *t, struct error *err) {
    char path[4096];
    const double tokens = (double)t->options.batch * t->options.accumulate * t->config.seq;
    run_path(path, sizeof path, t, "log.jsonl");
    struct curve train = runlog_curve(path, "loss", tokens), val = runlog_curve(path, "val_loss", tokens);
    const struct plot_series series[] = {{"training", train.x, train.y, train.n},
                                         {"validation", val.x, val.y, val.n}};
    const bool drawn = plot_lines(run_path(path, sizeof path, t, "plots/loss.svg"), "Loss",
                                  (struct plot_axis){"tokens", false}, (struct plot_axis){"loss (nats a token)", false},
                                  series, 2, err);
    curve_free(&train);
    curve_free(&val);
    return drawn;
}

/* Each expert's share of its layer's picks on the validation text, as a multiple of an even share. */
static bool plot_load(const struct train *t, struct error *err) {
    const struct model *m = &t->model;
    const size_t LM = m->sizes.LM, E = m->sizes.E;
    if (LM == 0) return true;
    char path[4096], *labels[LM];
    double *share = array_alloc(LM * E, sizeof *share), high = 2;
    for (size_t lm = 0; lm < LM; lm++) {
        double total = 0;
        for (size_t e = 0; e < E; e++) total += m->load[lm * E + e];
        for (size_t e = 0; e < E; e++) {
            share[lm * E + e] = total > 0 ? m->load[lm * E + e] * (double)E / total : 0;
            if (share[lm * E + e] > high) high = share[lm * E + e];
        }
        labels[lm] = string_format("block %zu", (lm + 1) * (size_t)t->config.moe_every - 1);
    }
    const bool drawn = plot_heatmap(run_path(path, sizeof path, t, "plots/load.svg"),
                                    "Expert load (1 = an even share of the sub-tokens)", "MoE layer", "expert",
                                    (const char *const *)labels, share, LM, E, 0, high, err);
    for (size_t lm = 0; lm < LM; lm++) free(labels[lm]);
    free(share);
    return drawn;
}

/* ---- The loop ----------------------------------------------------------------------------------- */

/* Mean loss over `windows` held-out sequences, the same ones each time, and bits per byte of their text. */
static bool evaluate(struct train *t, size_t windows, double *loss, double *bits_per_byte, struct error *err) {
    const int T = t->config.seq;
    double sum = 0, bytes = 0;
    size_t total = 0;
    model_clear_statistics(&t->model);
    loader_seek(t->val_data, 0);
    for (size_t w = 0; w < windows;) {
        const size_t left = windows - w, rows = left < (size_t)t->options.batch ? left : (size_t)t->options.batch;
        size_t count;
        if (!loader_next(t->val_data, (int)rows, t->inputs, t->targets, err)) return false;
        model_forward(&t->model, t->inputs, rows, (size_t)T, 0);
        sum += model_loss(&t->model, t->targets, 0, &count);
        total += count;
        for (size_t i = 0; i < rows * (size_t)T; i++) {
            size_t size = 0;
            if (t->targets[i] != TARGET_NONE) tokenizer_piece(t->tokenizer, t->targets[i], &size);
            bytes += (double)size;
        }
        w += rows;
    }
    *loss = sum / (double)total;
    *bits_per_byte = sum / M_LN2 / bytes;
    return true;
}

/* Validates, logs, keeps the best model so far. `all`: on the whole held-out text. */
static bool evaluate_and_keep(struct train *t, bool all, struct error *err) {
    const size_t windows = loader_windows(t->val_data);
    const size_t some = (size_t)t->options.eval_windows < windows ? (size_t)t->options.eval_windows : windows;
    double loss, bits;
    if (!evaluate(t, all ? windows : some, &loss, &bits, err)) return false;
    t->val_loss = loss;
    if (!isfinite(loss))
        return error_set(err, EXIT_DIVERGED, "%s: step %" PRId64 ": the validation loss is not finite; earlier "
                         "checkpoints stand; try a lower --lr", t->out, t->step);
    progress_clear();
    fprintf(stderr, "step %" PRId64 ": validation loss %.4f, perplexity %.2f, %.4f bits per byte%s\n", t->step, loss,
            exp(loss), bits, all ? " (all of the held-out text)" : "");
    json_t *entry = json_pack("{s:I, s:f, s:f, s:f, s:b, s:o}", "step", (json_int_t)t->step, "val_loss", loss,
                              "val_perplexity", fmin(exp(loss), DBL_MAX) /* JSON has no infinity */,
                              "val_bits_per_byte", bits, "val_all", all, "val_load", load_json(&t->model));
    if (!log_write(t, entry, err)) return false;
    if (loss >= t->best_loss) return true;
    t->best_loss = loss;
    return run_save(t, "best.safetensors", false, err);
}

/* One optimizer step. */
static bool train_step(struct train *t, double *loss, struct error *err) {
    struct model *m = &t->model;
    const struct options *o = &t->options;
    const size_t T = (size_t)t->config.seq, rows = (size_t)o->batch * T, all_rows = rows * (size_t)o->accumulate;
    const double start = time_seconds();
    size_t targets = 0, count;
    double sum = 0;
    if (!loader_next(t->train_data, o->batch * o->accumulate, t->inputs, t->targets, err)) return false;
    for (size_t i = 0; i < all_rows; i++) targets += t->targets[i] != TARGET_NONE;
    memset(m->grad_block, 0, m->n_parameters * sizeof(real));
    model_clear_statistics(m);
    for (int a = 0; a < o->accumulate; a++) {
        model_forward(m, t->inputs + (size_t)a * rows, (size_t)o->batch, T, 0);
        sum += model_loss(m, t->targets + (size_t)a * rows, 1 / (double)targets, &count);
        model_backward(m, t->inputs + (size_t)a * rows, 1 / (double)o->accumulate);
    }
    *loss = sum / (double)targets;
    const double norm = gradient_norm(m->grad_block, m->n_parameters);
    if (!isfinite(*loss) || !isfinite(norm))
        return error_set(err, EXIT_DIVERGED, "%s: step %" PRId64 ": the loss or its gradient is not finite (loss %g, "
                         "norm %g); earlier checkpoints stand; try a lower --lr", t->out, t->step + 1, *loss, norm);
    const struct adamw adamw = {o->beta1, o->beta2, 1e-8, o->weight_decay};
    const double lr = learning_rate(t->step, o->warmup, o->steps, o->lr, o->final_lr);
    t->step++;
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
        const struct parameter_info *p = &m->info[i];
        adamw_update(&adamw, m->param_block + p->offset, m->grad_block + p->offset, t->moment_block + p->offset,
                     t->moment_block + m->n_parameters + p->offset, p->count, p->decay, lr,
                     clip_scale(norm, o->clip), t->step);
    }
    model_balance(m);
    model_pack(m);
    const double seconds = time_seconds() - start, rate = (double)all_rows / seconds;
    t->seconds += seconds;
    progress_show(t, *loss, rate);
    json_t *entry = json_pack("{s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "step", (json_int_t)t->step,
                              "tokens", (json_int_t)((size_t)t->step * all_rows), "loss", *loss, "balance",
                              router_loss_of(m, m->balance_sum), "z_loss", router_loss_of(m, m->z_sum),
                              "gradient_norm", norm, "lr", lr, "tokens_per_second", rate, "seconds", t->seconds,
                              "load", load_json(m));
    return log_write(t, entry, err);
}

static bool due(int64_t step, int64_t every) { return every > 0 && step % every == 0; }

/* Trains until the last step, --until, or a signal. */
static bool train_loop(struct train *t, struct error *err) {
    const struct options *o = &t->options;
    const int64_t end = o->until > 0 && o->until < o->steps ? o->until : o->steps;
    while (t->step < end && !stop_signal) {
        double loss;
        if (!train_step(t, &loss, err)) return false;
        if (t->step == o->steps) break;
        if (due(t->step, o->eval_every) && !evaluate_and_keep(t, false, err)) return false;
        if (due(t->step, o->sample_every)) sample_show(t);
        if (due(t->step, o->save_every) && !run_save(t, "last.safetensors", true, err)) return false;
    }
    progress_clear();
    return true;
}

/* The last validation, on everything, the plots, and the last checkpoint. */
static bool train_finish(struct train *t, struct error *err) {
    if (t->step == t->options.steps) {
        if (!evaluate_and_keep(t, true, err)) return false;
        char path[4096];
        if (!directory_make(run_path(path, sizeof path, t, "plots"), err)) return false;
        if (!plot_loss(t, err) || !plot_load(t, err)) return false;
    }
    if (!run_save(t, "last.safetensors", true, err)) return false;
    fprintf(stderr, "%s: step %" PRId64 " of %" PRId64 ", %.0f seconds of training%s\n", t->out, t->step,
            t->options.steps, t->seconds, t->step == t->options.steps ? "; curves in plots/" : "");
    return true;
}

/* ---- Setting up --------------------------------------------------------------------------------- */

/* With --resume DIR, DIR/config is read first, so that the command line only says what changes. */
static bool config_resume(struct train *t, const char *dir, struct error *err) {
    struct option_group groups[GROUPS];
    char *checkpoint = string_format("%s/last.safetensors", dir), *config = string_format("--config=%s/config", dir);
    option_groups(t, groups);
    const bool ok = file_exists(checkpoint)
                        ? options_parse(groups, GROUPS, &program, 2, (char *[]){"train", config, NULL}, NULL, err) > 0
                        : error_set(err, EXIT_INPUT, "%s: no checkpoint; name the directory of a run with --resume, "
                                    "or start one with --out", checkpoint);
    free(t->options.tokenizer); /* it is in the checkpoint */
    t->options.tokenizer = NULL;
    free(checkpoint);
    free(config);
    return ok;
}

/* The baseline of --match: from a config file, or the one in a run's directory. */
static bool baseline_read(struct config *baseline, const char *match, struct error *err) {
    struct train other = {0};
    struct option_group groups[GROUPS];
    struct stat st;
    const bool directory = stat(match, &st) == 0 && S_ISDIR(st.st_mode);
    char *config = string_format("--config=%s%s", match, directory ? "/config" : "");
    option_groups(&other, groups);
    options_set_defaults(groups, GROUPS);
    const bool read = options_parse(groups, GROUPS, &program, 2, (char *[]){"train", config, NULL}, NULL, err) > 0;
    const char *wrong = other.options.match ? "one with --match" : other.config.ffn == FFN_MHMOE ? "--ffn mhmoe" : NULL;
    *baseline = other.config;
    options_free(groups, GROUPS);
    free(config);
    if (!read || !wrong) return read;
    return error_set(err, EXIT_USAGE, "--match %s: not a baseline (got %s, want --ffn smoe or dense); name the run or "
                     "config file of one", match, wrong);
}

/* Sets an option to what parity gives, unless the user gave it another value. */
static bool matched_set(struct train *t, const char *name, int *field, size_t value, struct error *err) {
    struct option_group groups[GROUPS];
    option_groups(t, groups);
    if (options_given(groups, GROUPS, t->given, name) && *field != (int)value)
        return error_set(err, EXIT_USAGE, "--%s: --match sets it (got %d, parity takes %zu); leave it out", name, *field,
                         value);
    *field = (int)value;
    return true;
}

/* --match: sets experts and their width, and prints both sides. */
static bool baseline_match(struct train *t, struct error *err) {
    struct config *mine = &t->config, baseline, *theirs = &baseline;
    struct moe_layer a, b;
    struct layer_cost cost_a, cost_b;
    struct sizes sizes;
    const bool multi_head = mine->ffn == FFN_MHMOE;
    if (t->options.resume)
        return error_set(err, EXIT_USAGE, "--match and --resume both given; a resumed run keeps its experts");
    if (mine->ffn == FFN_DENSE)
        return error_set(err, EXIT_USAGE, "--match: --ffn dense has no experts to set; use --ffn mhmoe or smoe");
    if (!baseline_read(&baseline, t->options.match, err)) return false;
    if (theirs->channels != mine->channels || theirs->layers != mine->layers ||
        (theirs->ffn == FFN_SMOE && theirs->moe_every != mine->moe_every))
        return error_set(err, EXIT_MISMATCH, "--match %s: another shape (got --layers %d --channels %d --moe-every %d, "
                         "want %d, %d, %d); give both the same", t->options.match, theirs->layers, theirs->channels,
                         theirs->moe_every, mine->layers, mine->channels, mine->moe_every);
    if (!config_check(theirs, &sizes, err)) return false;
    a = model_layer(theirs, &sizes, &cost_a);
    b = (struct moe_layer){.C = a.C, .H = multi_head ? (size_t)mine->moe_heads : 1, .K = (size_t)mine->topk,
                           .D = multi_head ? (size_t)(mine->head_depth + mine->merge_depth) : 0,
                           .Fs = (size_t)mine->shared_hidden};
    if (!parity_solve(&a, &b, err) || !matched_set(t, "experts", &mine->experts, b.E, err) ||
        !matched_set(t, "expert-hidden", &mine->expert_hidden, b.F, err) || !config_check(mine, &sizes, err))
        return false;
    b = model_layer(mine, &sizes, &cost_b);
    parity_print(stderr, &a, &b, cost_a, cost_b);
    return true;
}

/* No option is ignored in silence. */
static void idle_options_tell(struct config *config) {
    struct config initial = {0};
    const struct option_group mine = {model_options, config}, defaults = {model_options, &initial};
    options_set_defaults(&defaults, 1);
    json_t *values = options_to_json(&mine), *unset = options_to_json(&defaults), *value;
    const char *name;
    json_object_foreach(values, name, value) {
        const char *need = config_lacks(config, name);
        if (need && !json_equal(value, json_object_get(unset, name)))
            fprintf(stderr, "train: note: --%s has no effect without %s\n", name, need);
    }
    json_decref(values);
    json_decref(unset);
}

static int options_read(struct train *t, int argc, char **argv, struct error *err) {
    struct option_group groups[GROUPS];
    option_groups(t, groups);
    options_set_defaults(groups, GROUPS);
    const char *resume = NULL;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strncmp(argv[i], "--resume=", 9) == 0) resume = argv[i] + 9;
        if (strcmp(argv[i], "--resume") == 0 && i + 1 < argc) resume = argv[i + 1];
    }
    if (resume && !config_resume(t, resume, err)) return -1;
    char *val = string_format("%s", t->options.val ? t->options.val : "");
    const int first = options_parse(groups, GROUPS, &program, argc, argv, &t->given, err);
    const bool same_val = strcmp(val, t->options.val ? t->options.val : "") == 0;
    free(val);
    if (first >= 0 && t->options.resume && !resume)
        return error_set(err, EXIT_USAGE, "--resume: shortened, or in a config file; write it out"), -1;
    if (first >= 0 && t->options.resume && !same_val)
        return error_set(err, EXIT_MISMATCH, "--val %s: not the held-out text of %s; leave it out, or start a new run",
                         t->options.val, t->options.resume), -1;
    if (first >= 0 && t->options.resume && t->options.out)
        return error_set(err, EXIT_USAGE, "--out and --resume both given; a resumed run stays in its directory"), -1;
    if (first >= 0 && t->options.match && !baseline_match(t, err)) return -1;
    return first;
}

/* The default corpus is fetched when it is not there yet. */
static char *default_corpus(struct error *err) {
    static const char dir[] = "data/corpora/austen";
    if (!file_exists(dir) && system("sh data/corpus.sh austen >&2") != 0) {
        error_set(err, EXIT_INPUT, "%s: the default corpus could not be fetched; name a text file instead", dir);
        return NULL;
    }
    return string_format("%s", dir);
}

/* Finds or makes tokenizer and shards, opens them, and sets the model's vocabulary. */
static bool data_open(struct train *t, char **corpora, size_t n, const struct checkpoint *resumed, struct error *err) {
    const struct options *o = &t->options;
    if (resumed && n == 0) {
        t->data_dir = string_format("%s", text_option(resumed, "data_dir", err));
        if (!file_exists(t->data_dir))
            return error_set(err, EXIT_INPUT, "%s: the prepared data of %s is gone; name its corpus again", t->data_dir,
                             resumed->path);
    } else {
        const struct prepare_options prepare = {.paths = corpora, .n_paths = n, .val_path = o->val,
                                                .vocab = t->config.vocab, .tokenizer = t->tokenizer,
                                                .cache = o->cache, .verbose = true};
        if (!(t->data_dir = data_prepare(&prepare, err))) return false;
    }
    if (!t->tokenizer) {
        char *path = string_format("%s/tokenizer.model", t->data_dir);
        t->tokenizer = tokenizer_load(path, err);
        free(path);
        if (!t->tokenizer) return false;
    }
    const size_t cache_bytes = (size_t)1 << 30;
    const uint64_t seed = (uint64_t)o->seed;
    t->train_data = loader_open(t->data_dir, "train", t->config.seq, true, seed, cache_bytes, err);
    if (t->train_data) t->val_data = loader_open(t->data_dir, "val", t->config.seq, true, 0, cache_bytes, err);
    if (!t->val_data) return false;
    if (loader_tokenizer_hash(t->train_data) != tokenizer_hash(t->tokenizer))
        return error_set(err, EXIT_MISMATCH, "%s: made with another tokenizer than %s; name the corpus again",
                         t->data_dir, resumed ? resumed->path : o->tokenizer ? o->tokenizer : "its own");
    t->config.vocab = tokenizer_vocab(t->tokenizer);
    return true;
}

/* A resumed run keeps its tokenizer: --tokenizer may only name the same one. */
static bool tokenizer_check(const struct train *t, const struct checkpoint *resumed, struct error *err) {
    if (!t->options.tokenizer) return true;
    tokenizer *named = tokenizer_load(t->options.tokenizer, err);
    if (!named) return false;
    const bool same = tokenizer_hash(named) == tokenizer_hash(t->tokenizer);
    tokenizer_free(named);
    return same || error_set(err, EXIT_MISMATCH, "%s: not the tokenizer that %s was trained with; leave out "
                             "--tokenizer, or start a new run", t->options.tokenizer, resumed->path);
}

static bool tokenizer_open(struct train *t, const struct checkpoint *resumed, struct error *err) {
    if (resumed) {
        t->tokenizer = tokenizer_from_checkpoint(resumed, err);
        return t->tokenizer && tokenizer_check(t, resumed, err);
    }
    if (t->options.tokenizer) t->tokenizer = tokenizer_load(t->options.tokenizer, err);
    return t->tokenizer || !t->options.tokenizer;
}

static bool model_open(struct train *t, const struct checkpoint *resumed, struct error *err) {
    struct model *m = &t->model;
    const struct options *o = &t->options;
    if (!model_create(m, &t->config, setup_of(o), err)) return false;
    const size_t tokens = (size_t)o->batch * (size_t)o->accumulate * (size_t)t->config.seq;
    t->moment_block = array_alloc(2 * m->n_parameters, sizeof(real));
    t->inputs = array_alloc(tokens, sizeof *t->inputs);
    t->targets = array_alloc(tokens, sizeof *t->targets);
    t->best_loss = t->val_loss = INFINITY;
    rng_seed(&t->sample_rng, (uint64_t)o->seed, hash_bytes(HASH_START, "samples", 7));
    if (resumed) return run_restore(t, resumed, err);
    model_initialize(m, (uint64_t)o->seed);
    return true;
}

/* A resumed run keeps its model: an option that would make another one is refused. */
static bool config_same(const struct train *t, const struct checkpoint *resumed, struct error *err) {
    char *mine = config_to_string(&t->config);
    const char *theirs = text_option(resumed, "config", err);
    const bool same = strcmp(mine, theirs) == 0;
    free(mine);
    if (same) return true;
    return error_set(err, EXIT_MISMATCH, "%s: a checkpoint of another model (it says %s); leave out the model's "
                     "options, or start a new run", resumed->path, theirs);
}

static void train_close(struct train *t) {
    struct option_group groups[GROUPS];
    option_groups(t, groups);
    options_free(groups, GROUPS);
    free(t->given);
    free(t->data_dir);
    free(t->out);
    model_destroy(&t->model);
    free(t->moment_block);
    free(t->inputs);
    free(t->targets);
    tokenizer_free(t->tokenizer);
    if (t->train_data) loader_close(t->train_data);
    if (t->val_data) loader_close(t->val_data);
    if (t->log) fclose(t->log);
    if (t->lock > 0) close(t->lock);
}

/* Ctrl-C, a service's stop, or a closed terminal (unless nohup is there): save, then stop. A reader of the
 * samples that went away (./train | head) stops nothing. */
static void signals_take(void) {
    signal(SIGINT, note_signal);
    signal(SIGTERM, note_signal);
    if (signal(SIGHUP, note_signal) == SIG_IGN) signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
}

/* The run proper. */
static bool train_run(struct train *t, const char *corpus, struct error *err) {
    const struct options *o = &t->options;
    if (o->resume && t->step >= o->steps) {
        fprintf(stderr, "%s: all %" PRId64 " steps are done; --steps N goes on to step N\n", o->resume, t->step);
        return true;
    }
    t->out = o->resume ? string_format("%s", o->resume) : o->out ? string_format("%s", o->out) : run_default(corpus);
    if (!run_open(t, err) || !log_open(t, err)) return false;
    signals_take();
    const bool done = train_loop(t, err) && train_finish(t, err);
    if (!done) progress_clear();
    return done;
}

int main(int argc, char **argv) {
    struct train train = {0}, *t = &train;
    struct checkpoint checkpoint, *resumed = NULL;
    struct sizes sizes;
    struct error err;
    threads_wait_briefly(argv);
    const int first = options_read(t, argc, argv, &err);
    if (first < 0 || !config_check(&t->config, &sizes, &err)) error_exit(&err);
    char **corpora = argv + first, *fallback = NULL;
    size_t n_corpora = (size_t)(argc - first);
    if (t->options.threads > 0) omp_set_num_threads(t->options.threads);
    if (t->options.resume) {
        char *path = string_format("%s/last.safetensors", t->options.resume);
        if (!checkpoint_open(&checkpoint, path, &err)) error_exit(&err);
        free(path);
        resumed = &checkpoint;
        if (!config_same(t, resumed, &err)) error_exit(&err);
    } else if (n_corpora == 0) {
        if (!(fallback = default_corpus(&err))) error_exit(&err);
        corpora = &fallback;
        n_corpora = 1;
    }
    if (!tokenizer_open(t, resumed, &err) || !data_open(t, corpora, n_corpora, resumed, &err)) error_exit(&err);
    if (!resumed) idle_options_tell(&t->config);
    const bool dry = t->options.dry_run;
    if (!(dry ? cost_show(t, &err) : model_open(t, resumed, &err))) error_exit(&err);
    if (resumed) checkpoint_close(resumed);
    if (!dry && !train_run(t, corpora[0], &err)) error_exit(&err);
    train_close(t);
    free(fallback);
    return stop_signal ? 128 + stop_signal : EXIT_DONE;
}
