/* ./train: text in, a language model out.
 *
 * main is the table of contents: options, data, model, loop. A step is forward, loss, backward (once for
 * each micro-batch), clip, AdamW. Everything that a later step depends on is in the checkpoint, so that a
 * resumed run equals an uninterrupted one bit for bit. The layer itself is in mhmoe.c; what is around the loop is in
 * trainer/ (see trainer.h); the formats are described in src/run/checkpoint.h and data/README.md. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include "data/inputs.h"
#include "src/math/kernels.h"
#include "src/run/optimizer.h"
#include "src/run/stop.h"
#include "trainer/trainer.h"

/* ---- A step ---- */

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
    pace_step(&t->pace, seconds);
    spark_add(&t->spark, *loss);
    progress_show(t, *loss, rate);
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

/* ---- The run ---- */

/* Trains until the last step, --until, or a signal. */
static bool train_loop(struct train *t, struct error *err) {
    const struct training *o = &t->options;
    const int64_t end = o->until > 0 && o->until < o->steps ? o->until : o->steps;
    double loss;
    for (;;) {
        const double start = time_seconds();
        if (t->run.watched < t->run.step && !step_watch(t, err)) return false;
        if (t->pace.steps > 0) pace_other(&t->pace, time_seconds() - start);
        if (stop_signal || t->run.step >= end) return true;
        if (!train_step(t, &loss, err)) return false;
        time_tell(t, end);
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
    run_tell(t);
    signals_take();
    return train_finish(t, train_loop(t, err), err);
}

/* All of it, in the order in which it can fail. */
static bool train_all(struct train *t, char **corpora, size_t n, struct error *err) {
    const struct training *o = &t->options;
    struct sizes sizes;
    char *fallback = NULL;
    if (o->plot) return runs_draw(o, corpora, n, err);
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
