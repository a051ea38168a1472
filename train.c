/* ./train: text in, a language model out.
 *
 * main is the table of contents: options, data, model, loop. A step is forward, loss, backward (once for
 * each micro-batch), clip, AdamW. Everything that a later step depends on is in the checkpoint, so that a
 * resumed run equals an uninterrupted one bit for bit. The layer itself is in mhmoe.c; the formats are
 * described in src/run/checkpoint.h and data/README.md. */
#include <float.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "data/album.h"
#include "data/album_prepare.h"
#include "data/codebook.h"
#include "data/feed.h"
#include "data/inputs.h"
#include "data/prepare.h"
#include "data/sheet.h"
#include "mhmoe.h"
#include "src/math/kernels.h"
#include "src/run/optimizer.h"
#include "src/run/match.h"
#include "src/run/rundir.h"
#include "src/run/runlog.h"
#include "src/run/runplot.h"
#include "src/run/runstate.h"
#include "src/run/score.h"
#include "src/run/stop.h"
#include "src/base/text.h"
#include "src/run/training.h"
#include "src/base/util.h"
#include "tokenizer/writer.h"

/* ---- Options ------------------------------------------------------------------------------------ */

/* The options that a block stands for; a run that goes on has them already, and so has one that begins with another's
 * weights, if it does not choose a block itself. */
static void options_complete(const struct option_group *groups, size_t n, const bool *given) {
    const struct training *o = groups[0].target;
    if (!o->resume && (!o->from || options_given(groups, n, given, "block")))
        config_preset(groups[1].target, groups, n, given);
}

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
    options_complete,
};

/* ---- The run ------------------------------------------------------------------------------------ */

struct train {
    struct training options;
    struct config config;
    bool *given;             /* for options_given */
    struct model model;
    tokenizer *tokenizer;
    char *data_dir;
    struct rundir dir;
    struct checkpoint resumed; /* with --resume, open while the rest is being set up */
    struct checkpoint source;  /* with --from, the same */
    json_t *inherited;         /* of it: see src/run/inherit.h */
    struct feed *train_data, *val_data;
    struct codebook codebook;  /* of a masked model with pictures */
    char *language;            /* of most of its texts, for ./sample */
    struct part_score *parts; /* what the last validation found of each part of the data */
    real *moment_memory;      /* (2, n_parameters): Adam's m and v */
    struct runstate run;
    bool saved;              /* last.safetensors holds it as it is now */
    struct runlog log;
    struct batch *batches;   /* (accumulate) */
};

enum { GROUPS = 2 };
static void option_groups(struct train *t, struct option_group groups[GROUPS]) {
    groups[0] = (struct option_group){training_options, &t->options};
    groups[1] = (struct option_group){model_options, &t->config};
}

/* ---- Checkpoints -------------------------------------------------------------------------------- */

static bool is_masked(const struct train *t) { return t->config.task == TASK_MASKED; }

/* The tensors of a checkpoint: the model, with `all` Adam's moments, and last the codebook and the tokenizer. */
static size_t checkpoint_tensors(struct train *t, bool all, struct tensor *out) {
    struct model *m = &t->model;
    size_t n = model_state(m, out), size;
    if (all) {
        n += model_tensors(m, t->moment_memory, "adam_m.", out + n);
        n += model_tensors(m, t->moment_memory + m->n_parameters, "adam_v.", out + n);
    }
    if (t->codebook.codes > 0)
        out[n++] = (struct tensor){.name = "codebook", .dtype = out[0].dtype, .dims = 2,
                                   .shape = {t->codebook.codes, t->codebook.Q}, .data = t->codebook.entries};
    const void *model = tokenizer_model(t->tokenizer, &size);
    out[n] = (struct tensor){.name = "tokenizer.model", .dtype = DTYPE_U8, .dims = 1, .shape = {size},
                             .data = (void *)model};
    return n + 1;
}
enum { CHECKPOINT_TENSORS = MODEL_TENSORS + 2 * PARAMETER_TENSORS + 2 };

/* Of what is trained on and of what is held out. */
static char *data_hash_format(const struct train *t) {
    const uint64_t both[] = {feed_data_hash(t->train_data), feed_data_hash(t->val_data)};
    return string_format("%016" PRIx64, hash_bytes(HASH_START, both, sizeof both));
}

static json_t *checkpoint_metadata(const struct train *t) {
    json_t *m = json_object(), *kept = training_kept(&t->options);
    metadata_set(m, "format", string_format(MODEL_FORMAT));
    metadata_set(m, "config", config_to_string(&t->config));
    metadata_set(m, "options", json_dumps(kept, JSON_COMPACT));
    metadata_set(m, "data_dir", text_escape(t->data_dir));
    metadata_set(m, "data_hash", data_hash_format(t));
    metadata_set(m, "tokenizer_hash", string_format("%016" PRIx64, tokenizer_hash(t->tokenizer)));
    if (t->language) metadata_set(m, "language", string_format("%s", t->language));
    runstate_write(&t->run, m);
    json_decref(kept);
    return m;
}

static bool file_save(struct train *t, const char *name, bool all, struct error *err) {
    struct tensor tensors[CHECKPOINT_TENSORS];
    char path[PATH_SIZE];
    const size_t n = checkpoint_tensors(t, all, tensors);
    json_t *metadata = checkpoint_metadata(t);
    const bool written = checkpoint_write(rundir_path(&t->dir, name, path), tensors, n, metadata, err);
    json_decref(metadata);
    return written;
}

/* best.safetensors, for ./sample, goes without the moments. */
static bool best_save(struct train *t, struct error *err) { return file_save(t, "best.safetensors", false, err); }

/* last.safetensors holds everything. The log up to it is made permanent first. */
static bool run_save(struct train *t, struct error *err) {
    if (!isfinite(gradient_norm(t->model.param_memory, t->model.n_parameters)))
        return error_set(err, EXIT_DIVERGED, "%s: step %" PRId64 ": a weight is not finite; earlier checkpoints stand; "
                         "try a lower --lr", t->dir.path, t->run.step);
    if (!runlog_sync(&t->log, err) || !file_save(t, "last.safetensors", true, err)) return false;
    t->saved = true;
    return true;
}

/* What the data of a resumed run must be: the same tokens, by the same tokenizer. */
static bool data_check(const struct train *t, const struct checkpoint *c, struct error *err) {
    const char *want = checkpoint_string(c, "data_hash", err);
    if (!want) return false;
    char *got = data_hash_format(t);
    const bool same = strcmp(got, want) == 0;
    if (!same)
        error_set(err, EXIT_MISMATCH,
                  "%s: not the data that %s was trained on (hash %s, want %s); name the same corpus, "
                  "or start a new run",
                  t->data_dir, c->path, got, want);
    free(got);
    return same;
}

static bool run_restore(struct train *t, const struct checkpoint *c, struct error *err) {
    struct tensor tensors[CHECKPOINT_TENSORS];
    if (!data_check(t, c, err) || !runstate_read(&t->run, c, err)) return false;
    const size_t n = checkpoint_tensors(t, true, tensors) - 1 - (t->codebook.codes > 0); /* those are there already */
    for (size_t i = 0; i < n; i++)
        if (!checkpoint_read(c, &tensors[i], err)) return false;
    if (t->run.tokens < 0) t->run.tokens = t->run.position * t->config.seq; /* an earlier version had only text */
    feed_seek(t->train_data, (uint64_t)t->run.position);
    model_pack(&t->model);
    t->saved = true;
    return true;
}

/* ---- The run's config and log ------------------------------------------------------------------- */

/* What a run keeps: all options but those of this call. */
static bool config_write(const struct train *t, struct error *err) {
    struct train kept = {.options = t->options, .config = t->config};
    struct option_group groups[GROUPS];
    struct atomic_file file;
    char path[PATH_SIZE];
    kept.options.resume = kept.options.from = kept.options.out = kept.options.match = NULL;
    kept.options.until = 0;
    option_groups(&kept, groups);
    if (!atomic_open(&file, rundir_path(&t->dir, "config", path), err)) return false;
    options_print(groups, GROUPS, file.file);
    return atomic_commit(&file, err);
}

/* Whether an entry of the log is of what a resumed run will do again. */
static bool entry_is_past(const void *context, const json_t *entry) {
    const struct train *t = context;
    const int64_t step = json_integer_value(json_object_get(entry, "step"));
    return step > t->run.step ||
           (step == t->run.step && t->run.watched < t->run.step && !json_object_get(entry, "loss"));
}

/* What every entry begins with: the steps that are done, and the tokens of theirs. */
static json_t *entry_new(const struct train *t) {
    return json_pack("{s:I, s:I}", "step", (json_int_t)t->run.step, "tokens", (json_int_t)t->run.tokens);
}

/* The first entry of a run that began with another model's weights says so. */
static bool log_open(struct train *t, struct error *err) {
    char path[PATH_SIZE];
    rundir_path(&t->dir, "log.jsonl", path);
    if (t->options.resume) return runlog_resume(&t->log, path, t->run.step, entry_is_past, t, err);
    if (!runlog_create(&t->log, path, err) || !t->options.from) return t->log.file;
    json_t *entry = entry_new(t);
    json_object_set_new(entry, "from", json_string(t->source.path));
    json_object_update(entry, t->inherited);
    return runlog_write(&t->log, entry, err);
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

/* A progress line on a terminal; nothing elsewhere. `seconds` are those of the last step. */
static void progress_show(const struct train *t, double loss, double rate, double seconds) {
    if (!isatty(STDERR_FILENO)) return;
    const long left = (long)((double)(t->options.steps - t->run.step) * seconds);
    fprintf(stderr, "\r\033[Kstep %" PRId64 "/%" PRId64 "  loss %.3f  %.0f tokens/s  ETA %ld:%02ld", t->run.step,
            t->options.steps, loss, rate, left / 60, left % 60);
}

/* A sample of what the model writes, on standard output. */
static void sample_show(struct train *t) {
    struct sampler sampler = {.temperature = 0.8, .top_k = 0, .top_p = 0.95, .rng = t->run.sample_rng};
    struct writer writer = {.tokenizer = t->tokenizer, .text = {.out = stdout}};
    size_t n;
    int32_t *ids = prompt_encode(t->tokenizer, t->options.prompt, strlen(t->options.prompt), &n);
    progress_clear();
    printf("--- step %" PRId64 " ---\n%s", t->run.step, t->options.prompt);
    model_generate(&t->model, ids, n, (size_t)t->options.sample_tokens, &sampler, writer_emit, &writer);
    text_end(&writer.text);
    printf("\n");
    fflush(stdout);
    free(ids);
    t->run.sample_rng = sampler.rng;
}

static struct model_setup setup_of(const struct training *o) {
    return (struct model_setup){MODEL_TRAIN, (size_t)o->batch, o->recompute, (enum storage)o->dtype};
}

/* Bytes resident when training; not those of a tokenizer's training, which comes before. */
static size_t memory_peak(const struct train *t, const struct model_cost *cost) {
    /* code, libraries, a tokenizer of some thousand pieces; what products keep on a thread's stack: measured */
    const size_t program = ((size_t)27 << 18) + ((size_t)3 << 16) * (size_t)omp_get_max_threads();
    const size_t tokens = (size_t)t->options.batch * (size_t)t->options.accumulate * (size_t)t->config.seq;
    return cost->parameter_bytes + cost->activation_bytes + 2 * tokens * sizeof(int32_t) +
           feed_bytes(t->train_data) + feed_bytes(t->val_data) + program;
}

static bool has_parts(const struct train *t) { return *feed_part_name(t->train_data, 0); }

/* How often a run sees its text; that of each part by how often it is drawn. */
static void epochs_show(const struct train *t) {
    const double sequences = (double)t->options.steps * t->options.batch * t->options.accumulate;
    const bool of_parts = has_parts(t) && !is_masked(t);
    for (size_t p = 0; p < (of_parts ? feed_parts(t->train_data) : 1); p++) {
        const double share = feed_part_share(t->train_data, p);
        if (of_parts)
            printf("%-18s %zu tokens, %.2f%% of what is trained on: ", feed_part_name(t->train_data, p),
                   feed_part_tokens(t->train_data, p), 100 * share);
        else printf("%-19s", "epochs");
        printf("%.2f%s in %" PRId64 " steps\n", sequences * share / (double)feed_part_epoch(t->train_data, p),
               of_parts ? " epochs" : "", t->options.steps);
    }
}

/* From the shapes alone: a model that does not fit in memory can be looked at. */
static bool cost_show(const struct train *t, struct error *err) {
    struct sizes sizes;
    struct model_setup setup = setup_of(&t->options), other = setup;
    if (!config_check(&t->config, &sizes, err) || !model_fits(&sizes, setup, err)) return false;
    other.storage = setup.storage == STORAGE_F32 ? STORAGE_BF16 : STORAGE_F32;
    const struct model_cost c = model_cost(&sizes, setup), other_c = model_cost(&sizes, other);
    printf("parameters         %zu\n", c.parameters);
    printf("active parameters  %zu (touched by one token, at most)\n", c.active_parameters);
    printf("forward FLOPs      %.4g a token\ntraining FLOPs     %.4g a token\n", c.forward_flops, c.training_flops);
    printf("memory             %.1f MB parameters, gradients, moments and packed weights\n",
           (double)c.parameter_bytes / 1e6);
    printf("                   %.1f MB activations\n", (double)c.activation_bytes / 1e6);
    printf("                   %.1f MB in all, at its peak; with --dtype %s %.1f MB\n",
           (double)memory_peak(t, &c) / 1e6, setup.storage ? "f32" : "bf16", (double)memory_peak(t, &other_c) / 1e6);
    if (is_masked(t)) printf("training examples  %zu an epoch\n", feed_epoch(t->train_data));
    else printf("training tokens    %zu, %zu sequences an epoch\n",
                feed_tokens(t->train_data), feed_epoch(t->train_data));
    epochs_show(t);
    return output_check(err);
}

/* ---- The loop ----------------------------------------------------------------------------------- */

static size_t piece_bytes(const void *tokenizer, int32_t token) {
    size_t size;
    tokenizer_piece(tokenizer, token, &size);
    return size;
}

/* Over the first `windows` held-out sequences of a section, the same ones each time. */
static bool section_evaluate(struct train *t, size_t section, size_t windows, struct score_sums *sums,
                             struct error *err) {
    const size_t most = (size_t)t->options.batch;
    struct batch batch;
    const uint32_t *parts;
    size_t count;
    for (size_t w = 0, n; w < windows && !stop_signal; w += n) {
        n = windows - w < most ? windows - w : most;
        if (!feed_look(t->val_data, section, w, n, &batch, &parts, err)) return false;
        model_forward(&t->model, &batch);
        model_loss(&t->model, 0, &count);
        score_add(sums, parts, model_losses(&t->model), batch.targets, batch_rows(&batch), piece_bytes, t->tokenizer);
    }
    return true;
}

/* At most `limit` held-out sequences of a section; all of them with 0. */
static size_t section_windows(const struct train *t, size_t section, int limit) {
    const size_t all = feed_section_epoch(t->val_data, section);
    return limit > 0 && (size_t)limit < all ? (size_t)limit : all;
}

static size_t val_windows(const struct train *t, int limit) {
    size_t windows = 0;
    for (size_t s = 0; s < feed_sections(t->val_data); s++) windows += section_windows(t, s, limit);
    return windows;
}

/* Over at most `limit` held-out sequences of each section. Cut short by a signal it says nothing. */
static bool evaluate(struct train *t, int limit, struct score *score, struct error *err) {
    const size_t n = feed_parts(t->val_data), sections = feed_sections(t->val_data);
    struct score_sums *sums = array_alloc(n, sizeof *sums);
    bool ok = true;
    model_clear_statistics(&t->model);
    for (size_t s = 0; ok && s < sections && !stop_signal; s++)
        ok = section_evaluate(t, s, section_windows(t, s, limit), sums, err);
    for (size_t p = 0; p < n; p++) {
        sums[p].windows = section_windows(t, p < sections ? p : 0, limit);
        t->parts[p].tokens = is_masked(t) ? TOKENS_UNCOUNTED
                                          : feed_part_served(t->train_data, p) * (size_t)t->config.seq;
        t->parts[p].score = score_of(&sums[p]);
    }
    free(sums);
    if (!ok || stop_signal) return ok;
    *score = parts_mean(t->parts, n);
    score->windows = val_windows(t, limit);
    return isfinite(score->loss) ||
           error_set(err, EXIT_DIVERGED,
                     "%s: step %" PRId64 ": the validation loss is not finite; best.safetensors is as it "
                     "was; try a lower --lr",
                     t->dir.path, t->run.step);
}

/* Tells a score and logs it, under names that begin with `prefix`. */
static bool score_report(struct train *t, const struct score *s, const char *prefix, const char *what,
                         struct error *err) {
    const bool final = strcmp(prefix, "final_") == 0;
    const size_t n = feed_parts(t->val_data);
    json_t *entry = entry_new(t);
    progress_clear();
    if (final && has_parts(t)) parts_tell(t->parts, n);
    score_tell(t->run.step, has_parts(t) ? "mean of the parts" : what, s);
    score_log(entry, prefix, s);
    if (has_parts(t)) json_object_set_new(entry, "parts", parts_json(t->parts, n, prefix, final));
    entry_set(entry, prefix, "load", load_json(&t->model));
    return runlog_write(&t->log, entry, err);
}

/* Validates, logs, keeps the best model so far: all over the same sequences, so that figures can be compared. */
static bool validate(struct train *t, struct score *score, struct error *err) {
    if (!evaluate(t, t->options.eval_windows, score, err)) return false;
    if (stop_signal) return true;
    t->run.val_loss = score->loss;
    if (!score_report(t, score, "val_", "validation loss", err)) return false;
    if (score->loss >= t->run.best_loss) return true;
    t->run.best_loss = score->loss;
    return best_save(t, err);
}

static bool plots_draw(struct train *t, struct error *err) {
    char path[PATH_SIZE];
    const struct model *m = &t->model;
    return directory_make(rundir_path(&t->dir, "plots", path), err) &&
           runplot_loss(rundir_path(&t->dir, "plots/loss.svg", path), t->log.path, err) &&
           (!has_parts(t) || runplot_parts(rundir_path(&t->dir, "plots/parts.svg", path), t->log.path, t->parts,
                                           feed_parts(t->val_data), is_masked(t), err)) &&
           (t->codebook.codes == 0 ||
            sheet_write(rundir_path(&t->dir, "plots/codes.png", path), t->data_dir, &t->codebook, 32, err)) &&
           (m->sizes.LM == 0 || runplot_load(rundir_path(&t->dir, "plots/load.svg", path), m->load, m->sizes.LM,
                                             m->sizes.E, (size_t)t->config.moe_every, err));
}

/* The end of the run: the figure over all the held-out text (or --final-windows), and the plots. */
static bool run_conclude(struct train *t, const struct score *validation, struct error *err) {
    struct score score = *validation;
    const int limit = t->options.final_windows;
    const size_t windows = val_windows(t, limit);
    if (windows != score.windows && !evaluate(t, limit, &score, err)) return false;
    if (stop_signal) return true;
    const bool all = windows == val_windows(t, 0);
    return score_report(t, &score, "final_", all ? "loss on all held-out text" : "loss on held-out text", err) &&
           plots_draw(t, err);
}

static bool step_log(struct train *t, double loss, double norm, double lr, double rate, struct error *err) {
    const struct model *m = &t->model;
    json_t *entry = entry_new(t);
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"loss", loss}, {"balance", router_loss_of(m, m->balance_sum)},
                   {"z_loss", router_loss_of(m, m->z_sum)}, {"gradient_norm", norm}, {"lr", lr},
                   {"tokens_per_second", rate}, {"seconds", t->run.seconds}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        json_object_set_new(entry, numbers[i].key, json_number(numbers[i].value));
    json_object_set_new(entry, "load", load_json(m));
    return runlog_write(&t->log, entry, err);
}

/* The learning rate of a part of the model, as a multiple of the rest's. */
static double rate_of(const struct training *o, enum part part) {
    return part == PART_EMBEDDING || part == PART_OUTPUT ? o->embedding_lr : 1;
}

/* One optimizer step. */
static bool train_step(struct train *t, double *loss, struct error *err) {
    struct model *m = &t->model;
    const struct training *o = &t->options;
    const size_t batches = (size_t)o->accumulate;
    const double start = time_seconds();
    size_t targets = 0, rows = 0, count;
    double sum = 0;
    if (!feed_next(t->train_data, batches, (size_t)o->batch, t->batches, err)) return false;
    for (size_t a = 0; a < batches; a++) targets += batch_targets(&t->batches[a]), rows += batch_rows(&t->batches[a]);
    reals_clear(m->grad_memory, m->n_parameters);
    model_clear_statistics(m);
    for (size_t a = 0; a < batches; a++) {
        model_forward(m, &t->batches[a]);
        sum += model_loss(m, 1 / (double)targets, &count);
        model_backward(m, 1 / (double)o->accumulate);
    }
    *loss = sum / (double)targets;
    const double norm = gradient_norm(m->grad_memory, m->n_parameters);
    if (!isfinite(*loss) || !isfinite(norm))
        return error_set(err, EXIT_DIVERGED,
                         "%s: step %" PRId64 ": the loss or its gradient is not finite (loss %g, "
                         "norm %g); earlier checkpoints stand; try a lower --lr",
                         t->dir.path, t->run.step + 1, *loss, norm);
    const struct adamw adamw = {o->beta1, o->beta2, 1e-8, o->weight_decay};
    const double lr = training_rate(o, t->run.step);
    t->run.step++;
    t->run.position = (int64_t)feed_position(t->train_data);
    t->run.tokens += (int64_t)rows;
    t->saved = false;
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
        const struct parameter_info *p = &m->info[i];
        const struct slab slab = {m->param_memory + p->offset, m->grad_memory + p->offset, t->moment_memory + p->offset,
                                  t->moment_memory + m->n_parameters + p->offset, p->count, p->decay};
        adamw_update(&adamw, &slab, lr * rate_of(o, p->part), clip_scale(norm, o->clip), t->run.step);
    }
    model_balance(m);
    model_pack(m);
    const double seconds = time_seconds() - start, rate = (double)rows / seconds;
    t->run.seconds += seconds;
    progress_show(t, *loss, rate, seconds);
    return step_log(t, *loss, norm, lr, rate, err);
}

static bool due(int64_t step, int64_t every) { return every > 0 && step > 0 && step % every == 0; }

/* What is due after a step: first the checkpoint, so that nothing that follows can cost it; then validation, samples,
 * and at the end of the run its last figures. What a signal cuts short the resumed run does. */
static bool step_watch(struct train *t, struct error *err) {
    const struct training *o = &t->options;
    const bool last = t->run.step == o->steps;
    struct score score;
    if ((last || due(t->run.step, o->save_every)) && !t->saved && !run_save(t, err)) return false;
    if ((last || due(t->run.step, o->eval_every)) && !validate(t, &score, err)) return false;
    if (last && !stop_signal && !run_conclude(t, &score, err)) return false;
    if (stop_signal) return true;
    if (!last && !is_masked(t) && due(t->run.step, o->sample_every)) sample_show(t);
    t->run.watched = t->run.step;
    t->saved = false;
    return true;
}

/* Trains until the last step, --until, or a signal. */
static bool train_loop(struct train *t, struct error *err) {
    const struct training *o = &t->options;
    const int64_t end = o->until > 0 && o->until < o->steps ? o->until : o->steps;
    double loss;
    for (;;) {
        if (t->run.watched < t->run.step && !step_watch(t, err)) return false;
        if (stop_signal || t->run.step >= end) return true;
        if (!train_step(t, &loss, err)) return false;
    }
}

/* Steps that are done are saved, also when something else has failed; but not over a good checkpoint when the loss
 * diverged. */
static bool train_finish(struct train *t, bool done, struct error *err) {
    struct error another;
    progress_clear();
    if (!t->saved && (done || err->code != EXIT_DIVERGED) && !run_save(t, done ? err : &another)) return false;
    if (!done) return false;
    const bool whole = t->run.step == t->options.steps && t->run.watched == t->run.step;
    fprintf(stderr, "%s: step %" PRId64 " of %" PRId64 ", %.0f seconds of training%s\n", t->dir.path, t->run.step,
            t->options.steps, t->run.seconds, whole ? "; curves in plots/" : "");
    return true;
}

/* ---- Setting up --------------------------------------------------------------------------------- */

/* With --resume the run's config is read first, so that the command line only says what changes. */
static bool config_resume(struct train *t, const char *run, struct error *err) {
    struct option_group groups[GROUPS];
    if (!rundir_reclaim(&t->dir, run, err)) return false;
    char *config = string_format("--config=%s/config", t->dir.path);
    option_groups(t, groups);
    t->config.block = BLOCK_GPT2; /* what a run of an earlier version was, which does not say so */
    training_set_earlier(&t->options);
    const bool ok = options_parse(groups, GROUPS, &program, 2, (char *[]){"train", config, NULL}, NULL, err) > 0;
    free(t->options.tokenizer); /* it is in the checkpoint */
    t->options.tokenizer = NULL;
    free(config);
    return ok;
}

/* With --from the other model's options are what the command line does not say. */
static bool config_from(struct train *t, const char *from, struct error *err) {
    char *path = checkpoint_path(from);
    const bool ok = checkpoint_open(&t->source, path, err) && config_from_checkpoint(&t->config, &t->source, err);
    free(path);
    return ok;
}

/* No option is ignored in silence. */
static void idle_options_tell(struct train *t) {
    struct config *config = &t->config;
    struct config initial = {0};
    const struct option_group mine = {model_options, config}, defaults = {model_options, &initial};
    options_set_defaults(&defaults, 1);
    struct error unused;
    if (t->options.from) config_from_checkpoint(&initial, &t->source, &unused); /* as in options_read */
    json_t *values = options_to_json(&mine), *unset = options_to_json(&defaults), *value;
    const char *name;
    json_object_foreach(values, name, value) {
        const char *need = option_missing(config, name);
        if (need && !json_equal(value, json_object_get(unset, name)))
            note_print("--%s has no effect without %s", name, need);
    }
    json_decref(values);
    json_decref(unset);
    struct option_group groups[GROUPS];
    option_groups(t, groups);
    config_preset_tell(config, groups, GROUPS, t->given);
    if (t->options.tokenizer && options_given(groups, GROUPS, t->given, "vocab"))
        note_print("--vocab has no effect with --tokenizer");
    else if (t->options.from && config->vocab != initial.vocab)
        note_print("--vocab has no effect with --from: the weights are for its %d tokens", initial.vocab);
    if (config->ffn != FFN_DENSE && config->topk == 1 && config->renormalize)
        note_print("--renormalize with --topk 1 makes every gate 1: the loss teaches the router nothing");
    training_tell(&t->options, is_masked(t), groups, GROUPS, t->given);
}

static int options_read(struct train *t, int argc, char **argv, struct error *err) {
    struct option_group groups[GROUPS];
    option_groups(t, groups);
    options_set_defaults(groups, GROUPS);
    const char *resume = option_early(argc, argv, "--resume"), *from = option_early(argc, argv, "--from");
    if (resume && from)
        return error_set(err, EXIT_USAGE, "--from and --resume both given; a resumed run has its weights"), -1;
    if (resume && *resume && !config_resume(t, resume, err)) return -1;
    if (from && *from && !config_from(t, from, err)) return -1;
    char *val = string_format("%s", t->options.val ? t->options.val : "");
    const int first = options_parse(groups, GROUPS, &program, argc, argv, &t->given, err);
    const bool same_val = strcmp(val, t->options.val ? t->options.val : "") == 0;
    free(val);
    if (first >= 0 && !training_check(&t->options, is_masked(t), err)) return -1;
    if (first >= 0 && t->options.resume && !resume)
        return error_set(err, EXIT_USAGE, "--resume: shortened, or in a config file; write it out"), -1;
    if (first >= 0 && strcmp(from ? from : "", t->options.from ? t->options.from : "") != 0)
        return error_set(err, EXIT_USAGE, "--from: shortened, or in a config file; write it out"), -1;
    if (first >= 0 && t->options.resume && !same_val)
        return error_set(err, EXIT_MISMATCH, "--val %s: not the held-out text of %s; leave it out, or start a new run",
                         t->options.val, t->options.resume), -1;
    if (first >= 0 && t->options.resume && t->options.out)
        return error_set(err, EXIT_USAGE, "--out and --resume both given; a resumed run stays in its directory"), -1;
    if (first >= 0 && t->options.match && !match_baseline(groups, t->given, &program, model_moe_layer, err)) return -1;
    if (first >= 0 && (int64_t)t->options.batch * t->options.accumulate > INT_MAX)
        return error_set(err, EXIT_USAGE,
                         "--batch %d times --accumulate %d are more sequences than a step can have (at "
                         "most %d); lower one",
                         t->options.batch, t->options.accumulate, INT_MAX),
               -1;
    return first;
}

/* The default corpus of the task is fetched when it is not there yet. */
static char *default_corpus(const struct train *t, struct error *err) {
    const char *name = is_masked(t) ? "emoji" : "austen";
    char *dir = string_format("data/corpora/%s", name), *command = string_format("sh data/corpus.sh %s >&2", name);
    const bool there = file_exists(dir) || system(command) == 0;
    free(command);
    if (there) return dir;
    error_set(err, EXIT_INPUT, "%s: the default corpus could not be fetched; name a %s instead", dir,
              is_masked(t) ? "folder of pictures" : "text file");
    free(dir);
    return NULL;
}

/* What is trained on, mixed as the options ask for; and what is held out, part by part. */
static bool feeds_open(struct train *t, struct error *err) {
    const struct training *o = &t->options;
    const size_t memory = (size_t)1 << 30;
    struct feed_options train = {
        .masked = is_masked(t),
        .text = {.seq = t->config.seq, .shuffle = true, .seed = (uint64_t)o->seed, .cache_bytes = memory,
                 .alpha = o->part_alpha, .weights = o->part_weights},
        .examples = {.seq = (size_t)t->config.seq, .seed = (uint64_t)o->seed, .shuffle = true,
                     .hide_patches = o->hide_patches, .hide_text = o->hide_text, .hide_caption = o->hide_caption,
                     .cache_bytes = memory},
    };
    struct feed_options val = train;
    val.text.seed = val.examples.seed = 0;
    val.text.alpha = 1;
    val.text.weights = NULL;
    val.examples.shuffle = false;
    if (!(t->train_data = feed_open(t->data_dir, "train", &train, err)) ||
        !(t->val_data = feed_open(t->data_dir, "val", &val, err)))
        return false;
    const size_t n = feed_parts(t->train_data);
    t->parts = array_alloc(n, sizeof *t->parts);
    for (size_t p = 0; p < n; p++)
        t->parts[p] = (struct part_score){.name = feed_part_name(t->train_data, p),
                                          .trained = feed_part_share(t->train_data, p) > 0};
    if (!has_parts(t) && (o->parts || o->part_alpha != 1))
        note_print("--%s has no effect: this corpus has no parts", o->parts ? "parts" : "part-alpha");
    return true;
}

/* What there will be of the model of --from; where pictures are still to be opened, it is told then. */
static bool inheritance_find(struct train *t, struct error *err) {
    json_decref(t->inherited);
    t->inherited = model_inherits(&t->config, &t->source, err);
    if (t->inherited && (!is_masked(t) || t->train_data)) inheritance_tell(t->inherited, t->source.path);
    return t->inherited;
}

/* The pictures' sizes become the model's; those that a run or a model was made for (`earlier`, or NULL) stay. What of
 * the latter there will be is known once they are. */
static bool pictures_open(struct train *t, const struct checkpoint *earlier, struct error *err) {
    const struct album *album = feed_album(t->train_data);
    struct config *c = &t->config;
    if (!album) return true;
    const int size = (int)album_size(album), patch = (int)album_patch(album), codes = (int)album_codes(album);
    if (size > 0 && c->size > 0 && earlier && (size != c->size || patch != c->patch || codes != c->codes))
        return error_set(err, EXIT_MISMATCH, "%s: pictures of %d pixels in patches of %d with %d visual codes, but the "
                         "model is for %d, %d and %d; name the pictures it was trained on, or leave out --size, "
                         "--patch and --codes", t->data_dir, size, patch, codes, c->size, c->patch, c->codes);
    c->size = size;
    if (t->options.from && !inheritance_find(t, err)) return false;
    if (!(t->language = feed_language(t->train_data, t->tokenizer, err))) return false;
    if (size == 0) codebook_free(&t->codebook); /* of the model that this one began with */
    if (t->codebook.codes == 0) return size == 0 || codebook_load(&t->codebook, t->data_dir, err);
    return album_codebook_hash(album) == codebook_hash(&t->codebook) ||
           error_set(err, EXIT_MISMATCH, "%s: made with another codebook than %s; name the corpus again", t->data_dir,
                     earlier->path);
}

/* Visual codes go with the weights that tell them apart, like the tokenizer. */
static bool codebook_open(struct train *t, const struct checkpoint *earlier, struct error *err) {
    struct config config;
    struct sizes sizes;
    if (!is_masked(t) || !earlier || !checkpoint_find(earlier, "codebook")) return true;
    return config_from_checkpoint(&config, earlier, err) && config_check(&config, &sizes, err) &&
           codebook_from_checkpoint(&t->codebook, earlier, sizes.codes, sizes.Q, err);
}

/* The prepared data of a corpus; it is made where it is not there yet. */
static char *data_find(struct train *t, char **corpora, size_t n, struct error *err) {
    const struct training *o = &t->options;
    const struct config *c = &t->config;
    struct option_group groups[GROUPS];
    option_groups(t, groups);
    const bool adapts = !options_given(groups, GROUPS, t->given, "vocab");
    const struct prepare_options text = {.paths = corpora, .n_paths = n, .parts = o->parts, .part_alpha = o->part_alpha,
                                         .part_weights = o->part_weights, .val_path = o->val, .vocab = c->vocab,
                                         .vocab_adapts = adapts, .tokenizer = t->tokenizer, .cache = o->cache,
                                         .verbose = true};
    const struct album_options album = {.paths = corpora, .n_paths = n, .languages = o->languages, .vocab = c->vocab,
                                        .vocab_adapts = adapts, .tokenizer = t->tokenizer, .size = (size_t)c->size,
                                        .patch = (size_t)c->patch, .codes = (size_t)c->codes,
                                        .codebook = t->codebook.codes > 0 ? &t->codebook : NULL, .cache = o->cache,
                                        .verbose = true};
    return is_masked(t) ? album_prepare(&album, err) : data_prepare(&text, err);
}

/* Finds or makes tokenizer and data, opens them, and sets the model's vocabulary. */
static bool data_open(struct train *t, char **corpora, size_t n, const struct checkpoint *earlier, struct error *err) {
    const struct training *o = &t->options;
    if (earlier && n == 0) {
        const char *dir = checkpoint_string(earlier, "data_dir", err);
        if (!dir) return false;
        t->data_dir = text_unescape(dir);
        if (!file_exists(t->data_dir))
            return error_set(err, EXIT_INPUT, "%s: the prepared data of %s is gone; name its corpus again", t->data_dir,
                             earlier->path);
    } else {
        t->data_dir = data_find(t, corpora, n, err);
        if (!t->data_dir) return false;
    }
    if (!t->tokenizer) {
        char *path = string_format("%s/tokenizer.model", t->data_dir);
        t->tokenizer = tokenizer_load(path, err);
        free(path);
        if (!t->tokenizer) return false;
    }
    if (!feeds_open(t, err) || !pictures_open(t, earlier, err)) return false;
    if (feed_tokenizer_hash(t->train_data) != tokenizer_hash(t->tokenizer))
        return error_set(err, EXIT_MISMATCH, "%s: made with another tokenizer than %s; name the corpus again",
                         t->data_dir, earlier ? earlier->path : o->tokenizer ? o->tokenizer : "its own");
    t->config.vocab = tokenizer_vocab(t->tokenizer);
    return true;
}

/* Weights go with their tokenizer: --tokenizer may only name the same one. */
static bool tokenizer_check(const struct train *t, const struct checkpoint *earlier, struct error *err) {
    if (!t->options.tokenizer) return true;
    tokenizer *named = tokenizer_load(t->options.tokenizer, err);
    if (!named) return false;
    const bool same = tokenizer_hash(named) == tokenizer_hash(t->tokenizer);
    tokenizer_free(named);
    return same || error_set(err, EXIT_MISMATCH, "%s: not the tokenizer that %s was trained with; leave out "
                             "--tokenizer, or %s", t->options.tokenizer, earlier->path,
                             t->options.from ? "--from" : "start a new run");
}

static bool tokenizer_open(struct train *t, const struct checkpoint *earlier, struct error *err) {
    if (earlier) {
        t->tokenizer = tokenizer_from_checkpoint(earlier, err);
        return t->tokenizer && tokenizer_check(t, earlier, err);
    }
    if (t->options.tokenizer) t->tokenizer = tokenizer_load(t->options.tokenizer, err);
    return t->tokenizer || !t->options.tokenizer;
}

static bool model_open(struct train *t, const struct checkpoint *resumed, struct error *err) {
    struct model *m = &t->model;
    const struct training *o = &t->options;
    if (!model_create(m, &t->config, setup_of(o), err)) return false;
    t->moment_memory = array_alloc(2 * m->n_parameters, sizeof(real));
    t->batches = array_alloc((size_t)o->accumulate, sizeof *t->batches);
    if (resumed) return run_restore(t, resumed, err);
    t->run = runstate_new((uint64_t)o->seed);
    model_initialize(m, (uint64_t)o->seed);
    return !o->from || model_inherit(m, &t->source, err);
}

/* A resumed run keeps its model, its order of data and its held-out sequences; what else has changed is told. */
static bool resume_check(const struct train *t, const struct checkpoint *resumed, struct error *err) {
    struct config begun; /* complete, also where an earlier version wrote the checkpoint */
    const struct option_group model = {model_options, (void *)&t->config}, its = {model_options, &begun};
    json_t *mine = options_to_json(&model), *config = checkpoint_object(resumed, "config", err), *theirs = NULL,
           *options = NULL;
    int64_t step;
    bool ok = config && config_from_checkpoint(&begun, resumed, err) && (theirs = options_to_json(&its)) &&
              options_fixed(mine, theirs, t->dir.path, err);
    if (ok && json_object_get(resumed->metadata, "options")) { /* not so in a checkpoint of an earlier version */
        options = checkpoint_object(resumed, "options", err);
        ok = options && checkpoint_whole(resumed, "step", &step, err) &&
             training_resume(&t->options, options, step, t->dir.path, err);
    }
    json_decref(mine);
    json_decref(config);
    json_decref(theirs);
    json_decref(options);
    return ok;
}

static void train_close(struct train *t) {
    struct option_group groups[GROUPS];
    option_groups(t, groups);
    options_free(groups, GROUPS);
    free(t->given);
    free(t->data_dir);
    model_destroy(&t->model);
    free(t->moment_memory);
    free(t->batches);
    codebook_free(&t->codebook);
    free(t->language);
    tokenizer_free(t->tokenizer);
    if (t->train_data) feed_close(t->train_data);
    if (t->val_data) feed_close(t->val_data);
    free(t->parts);
    runlog_close(&t->log);
    if (t->resumed.path) checkpoint_close(&t->resumed);
    if (t->source.path) checkpoint_close(&t->source);
    json_decref(t->inherited);
    rundir_release(&t->dir);
}

/* Claims the run's directory, before anything that takes time, and of a run that goes on opens the checkpoint. */
static bool run_open(struct train *t, const char *corpus, struct error *err) {
    const struct training *o = &t->options;
    char path[PATH_SIZE];
    if (o->resume)
        return checkpoint_open(&t->resumed, rundir_path(&t->dir, "last.safetensors", path), err) &&
               checkpoint_format(&t->resumed, MODEL_FORMAT, err) && resume_check(t, &t->resumed, err);
    idle_options_tell(t);
    if (o->from && !inheritance_find(t, err)) return false;
    if (o->dry_run) return true;
    return o->out ? rundir_claim(&t->dir, o->out, err) : rundir_claim_default(&t->dir, input_path(corpus), err);
}

/* The run proper. */
static bool run_train(struct train *t, struct error *err) {
    const struct training *o = &t->options;
    if (o->resume && (t->run.step > o->steps || (t->run.step == o->steps && t->run.watched == t->run.step))) {
        fprintf(stderr, "%s: all %" PRId64 " steps are done; --steps N goes on to step N\n", t->dir.path, t->run.step);
        return true;
    }
    if (o->resume && o->until > 0 && o->until <= t->run.step)
        note_print("--until %" PRId64 ": the run in %s is at step %" PRId64 " already", o->until, t->dir.path,
                   t->run.step);
    if (!config_write(t, err) || !log_open(t, err)) return false;
    signals_take();
    return train_finish(t, train_loop(t, err), err);
}

/* All of it, in the order in which it can fail. */
static bool train_all(struct train *t, char **corpora, size_t n, struct error *err) {
    const struct training *o = &t->options;
    struct sizes sizes;
    char *fallback = NULL;
    if (!config_check(&t->config, &sizes, err) || !threads_start(o->threads, err)) return false;
    if (n == 0 && o->from && o->val)
        return error_set(err, EXIT_USAGE, "--val %s: the data of %s has its own held-out text; name a corpus, too",
                         o->val, t->source.path);
    if (n == 0 && o->from && o->languages && is_masked(t))
        return error_set(err, EXIT_USAGE, "--languages %s: the data of %s are there already, with their captions; name "
                         "a corpus, too", o->languages, t->source.path);
    if (n == 0 && !o->resume) {
        if (!(fallback = o->from ? checkpoint_directory(&t->source) : default_corpus(t, err))) return false;
        corpora = &fallback;
        n = !o->from;
    }
    const struct checkpoint *resumed = o->resume ? &t->resumed : NULL, *earlier = o->from ? &t->source : resumed;
    bool ok = run_open(t, corpora[0], err) && tokenizer_open(t, earlier, err) && codebook_open(t, earlier, err) &&
              data_open(t, corpora, n, earlier, err);
    free(fallback);
    if (!ok || o->dry_run) return ok && cost_show(t, err);
    return model_open(t, resumed, err) && run_train(t, err);
}

int main(int argc, char **argv) {
    struct train train = {0}, *t = &train;
    struct error err;
    program_start(argv);
    const int first = options_read(t, argc, argv, &err);
    const bool done = first >= 0 && train_all(t, argv + first, (size_t)(argc - first), &err);
    train_close(t);
    if (!done) error_exit(&err);
    return stop_signal ? 128 + stop_signal : EXIT_DONE;
}
