/* See trainer.h. What a checkpoint holds, written and read back. */
#include "trainer.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../src/base/text.h"
#include "../src/run/optimizer.h"

/* The tensors of a checkpoint: the model, with `all` Adam's moments and the average of --ema, and last the codebook and
 * the tokenizer. */
static size_t checkpoint_tensors(struct train *t, bool all, struct tensor *out) {
    struct model *m = &t->model;
    size_t n = model_state(m, out), size;
    if (all) {
        n += model_tensors(m, t->moment_memory, "adam_m.", out + n);
        n += model_tensors(m, t->moment_memory + m->n_parameters, "adam_v.", out + n);
    }
    if (all && t->average_memory) n += model_tensors(m, t->average_memory, "ema.", out + n);
    if (t->codebook.codes > 0)
        out[n++] = (struct tensor){.name = "codebook", .dtype = out[0].dtype, .dims = 2,
                                   .shape = {t->codebook.codes, t->codebook.Q}, .data = t->codebook.entries};
    const void *model = tokenizer_model(t->tokenizer, &size);
    out[n] = (struct tensor){.name = "tokenizer.model", .dtype = DTYPE_U8, .dims = 1, .shape = {size},
                             .data = (void *)model};
    return n + 1;
}
enum { CHECKPOINT_TENSORS = MODEL_TENSORS + 3 * PARAMETER_TENSORS + 2 };

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

bool best_save(struct train *t, struct error *err) { return file_save(t, "best.safetensors", false, err); }

bool run_save(struct train *t, struct error *err) {
    if (!isfinite(gradient_norm(t->model.param_memory, t->model.n_parameters)))
        return error_set(err, EXIT_DIVERGED, "%s: step %" PRId64 ": a weight is not finite; earlier checkpoints stand; "
                         "try a lower --lr", t->dir.path, t->run.step);
    if (!runlog_sync(&t->log, err) || (t->events.file && !events_sync(&t->events, err)) ||
        !file_save(t, "last.safetensors", true, err))
        return false;
    t->saved = true;
    t->saved_at = time_seconds();
    return true;
}

/* ---- Numbered checkpoints ---- */

static char *numbered_name(int64_t step) { return string_format("step-%08" PRId64 ".safetensors", step); }

/* The step in such a name; -1 if it is another. */
static int64_t numbered_step(const char *name) {
    int64_t step;
    if (sscanf(name, "step-%" SCNd64, &step) != 1) return -1;
    char *again = numbered_name(step);
    const bool same = strcmp(name, again) == 0;
    free(again);
    return same ? step : -1;
}

static int steps_descend(const void *a, const void *b) {
    const int64_t s = *(const int64_t *)a, t = *(const int64_t *)b;
    return (s < t) - (s > t);
}

/* Removes all but the last o->keep. */
static void numbered_prune(const struct train *t) {
    struct dirent **names;
    const int n = names_list(t->dir.path, &names);
    int64_t *steps = array_alloc(n > 0 ? (size_t)n : 0, sizeof *steps);
    size_t count = 0;
    for (int i = 0; i < n; i++) {
        const int64_t step = numbered_step(names[i]->d_name);
        if (step >= 0) steps[count++] = step;
    }
    qsort(steps, count, sizeof *steps, steps_descend);
    for (size_t i = (size_t)t->options.keep; i < count; i++) {
        char path[PATH_SIZE], *name = numbered_name(steps[i]);
        unlink(rundir_path(&t->dir, name, path));
        free(name);
    }
    names_free(names, n);
    free(steps);
}

/* The file is there already: a second name for it is enough, where the file system has such. */
bool numbered_save(struct train *t, struct error *err) {
    if (!run_save(t, err) || t->options.keep == 0) return t->saved;
    char last[PATH_SIZE], path[PATH_SIZE], *name = numbered_name(t->run.step);
    rundir_path(&t->dir, "last.safetensors", last);
    unlink(rundir_path(&t->dir, name, path));
    const bool kept = link(last, path) == 0 || file_save(t, name, true, err);
    free(name);
    if (kept) numbered_prune(t);
    return kept;
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

bool run_restore(struct train *t, const struct checkpoint *c, struct error *err) {
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

/* Moments of one optimizer are none of another's: Muon has no squares. An earlier version, which does not say so, had
 * AdamW. */
static bool optimizer_check(const struct train *t, struct error *err) {
    const bool told = json_object_get(t->source.metadata, "options");
    json_t *theirs = told ? checkpoint_object(&t->source, "options", err) : NULL;
    if (told && !theirs) return false;
    const char *name = json_string_value(json_object_get(theirs, "optimizer"));
    const bool muon = name && strcmp(name, "muon") == 0, same = muon == (t->options.optimizer == OPTIMIZER_MUON);
    json_decref(theirs);
    return same || error_set(err, EXIT_MISMATCH, "--keep-moments: those in %s are of --optimizer %s; take that, or "
                             "leave out --keep-moments", t->source.path, muon ? "muon" : "adamw");
}

/* Steps of a run that a moment of AdamW has seen are what its bias is corrected by. */
bool moments_inherit(struct train *t, struct error *err) {
    struct tensor tensors[2 * PARAMETER_TENSORS];
    struct model *m = &t->model;
    const struct checkpoint *c = &t->source;
    struct runstate theirs;
    size_t n = model_tensors(m, t->moment_memory, "adam_m.", tensors), found = 0;
    n += model_tensors(m, t->moment_memory + m->n_parameters, "adam_v.", tensors + n);
    for (size_t i = 0; i < n; i++) found += checkpoint_find(c, tensors[i].name) != NULL;
    if (json_object_size(t->inherited) > 0 || (found > 0 && found < n)) /* an output head may be another's twin */
        return error_set(err, EXIT_MISMATCH, "--keep-moments: not all weights are those of %s; leave it out, or leave "
                         "out the options that make another model", c->path);
    if (found == 0)
        return error_set(err, EXIT_MISMATCH, "%s: holds no moments; name the run, or its last.safetensors, or leave "
                         "out --keep-moments", c->path);
    for (size_t i = 0; i < n; i++)
        if (!checkpoint_read(c, &tensors[i], err)) return false;
    if (!optimizer_check(t, err) || !runstate_read(&theirs, c, err)) return false;
    t->run.moment_steps = theirs.step + theirs.moment_steps;
    return true;
}
