/* ./train: text in, a language model out.
 *
 * main is the table of contents: options, data, model, loop. A step is forward, loss, backward (once for
 * each micro-batch), clip, AdamW. Everything that a later step depends on is in the checkpoint, so that a
 * resumed run equals an uninterrupted one bit for bit. The layer itself is in mhmoe.c; what is around the loop is in
 * trainer/ (see trainer.h); the formats are described in src/run/checkpoint.h and data/README.md. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "data/inputs.h"
#include "src/layers/dropout.h"
#include "src/math/kernels.h"
#include "src/run/optimizer.h"
#include "src/run/stop.h"
#include "trainer/trainer.h"

/* ---- A step ---- */

/* The learning rate of a part of the model, as a multiple of the rest's. */
static double rate_of(const struct training *o, enum part part) {
    return part == PART_EMBEDDING || part == PART_OUTPUT ? o->embedding_lr : 1;
}

/* What a step was. */
struct step {
    double loss, norm, lr, seconds;
    size_t rows;
};

/* The parameters after the step that t->run.step counts already. */
static void parameters_update(struct train *t, const struct step *s) {
    struct model *m = &t->model;
    const struct training *o = &t->options;
    const struct adamw adamw = {o->beta1, o->beta2, 1e-8, o->weight_decay};
    const struct muon muon = {0.95, o->weight_decay};
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
        const struct parameter_info *p = &m->info[i];
        const struct slab slab = {m->param_memory + p->offset, m->grad_memory + p->offset, t->moment_memory + p->offset,
                                  t->moment_memory + m->n_parameters + p->offset, p->count, p->decay};
        const struct matrices of = matrices_of(p);
        const double scale = clip_scale(s->norm, o->clip);
        if (t->muon_memory && parameter_by_muon(p)) muon_update(&muon, &slab, &of, s->lr, scale, t->muon_memory);
        else adamw_update(&adamw, &slab, s->lr * rate_of(o, p->part), scale, t->run.step + t->run.moment_steps);
    }
    if (t->average_memory)
        average_update(t->average_memory, m->param_memory, m->n_parameters, average_decay(o->ema, t->run.step));
}

/* One optimizer step: the model, the moments and t->run are one further. */
static bool step_do(struct train *t, struct step *s, struct error *err) {
    struct model *m = &t->model;
    const struct training *o = &t->options;
    const size_t batches = (size_t)o->accumulate;
    const double start = time_seconds();
    size_t targets = 0, count;
    double sum = 0;
    *s = (struct step){0};
    if (!feed_next(t->train_data, batches, (size_t)o->batch, t->batches, err)) return false;
    for (size_t a = 0; a < batches; a++)
        targets += batch_targets(&t->batches[a]), s->rows += batch_rows(&t->batches[a]);
    reals_clear(m->grad_memory, m->n_parameters);
    model_clear_statistics(m);
    for (size_t a = 0; a < batches; a++) {
        t->batches[a].dropout = dropout_of(o->dropout, (uint64_t)o->seed, (uint64_t)t->run.step, a);
        model_forward(m, &t->batches[a]);
        sum += model_loss(m, 1 / (double)targets, &count);
        model_backward(m, 1 / (double)o->accumulate);
    }
    s->loss = sum / (double)targets;
    s->norm = gradient_norm(m->grad_memory, m->n_parameters);
    if (!isfinite(s->loss) || !isfinite(s->norm))
        return error_set(err, EXIT_DIVERGED,
                         "%s: step %" PRId64 ": the loss or its gradient is not finite (loss %g, "
                         "norm %g); earlier checkpoints stand; try a lower --lr",
                         t->dir.path, t->run.step + 1, s->loss, s->norm);
    s->lr = training_rate(o, t->run.step);
    t->run.step++;
    t->run.position = (int64_t)feed_position(t->train_data);
    t->run.tokens += (int64_t)s->rows;
    parameters_update(t, s);
    model_balance(m);
    model_pack(m);
    s->seconds = time_seconds() - start;
    return true;
}

/* The next step of the run, in its log and on the terminal. */
static bool train_step(struct train *t, struct error *err) {
    struct step s;
    if (!step_do(t, &s, err)) return false;
    const double rate = (double)s.rows / s.seconds;
    t->saved = false;
    t->run.seconds += s.seconds;
    pace_step(&t->pace, s.seconds);
    spark_add(&t->spark, s.loss);
    progress_show(t, s.loss, rate);
    return step_log(t, s.loss, s.norm, s.lr, rate, err);
}

static bool due(int64_t step, int64_t every) { return every > 0 && step > 0 && step % every == 0; }

static bool save_is_due(const struct train *t) {
    const struct training *o = &t->options;
    return due(t->run.step, o->save_every) ||
           (o->save_minutes > 0 && t->run.step > 0 && time_seconds() - t->saved_at >= 60 * o->save_minutes);
}

/* Whether there has been nothing better for --patience validations; `more` are not counted yet. */
static bool patience_is_over(const struct train *t, int64_t more) {
    return t->options.patience > 0 && t->run.waited + more > t->options.patience;
}

/* What is due after a step: first the checkpoint, so that nothing that follows can cost it; then validation, samples,
 * and at the end of the run its last figures. What a signal cuts short the resumed run does: nothing that it goes by
 * (t->run.waited, t->run.watched) changes before all is done. */
static bool step_watch(struct train *t, struct error *err) {
    const struct training *o = &t->options;
    bool last = t->run.step == o->steps;
    const bool validates = last || due(t->run.step, o->eval_every);
    struct score score;
    if ((last || save_is_due(t)) && !t->saved && !numbered_save(t, err)) return false;
    if (validates && !validate(t, &score, err)) return false;
    last |= validates && patience_is_over(t, 1);
    if (last && !stop_signal && !run_conclude(t, &score, err)) return false;
    if (stop_signal) return true;
    if (!last && !is_masked(t) && due(t->run.step, o->sample_every)) sample_show(t);
    if (validates && o->patience > 0) t->run.waited++;
    t->run.watched = t->run.step;
    t->saved = false;
    return true;
}

/* Whether a run has come to its end: no step is left, or no patience. */
static bool run_is_done(const struct train *t) {
    return t->run.watched == t->run.step && (t->run.step >= t->options.steps || patience_is_over(t, 0));
}

/* ---- The run ---- */

/* Trains until the last step, --until, or a signal. */
static bool train_loop(struct train *t, struct error *err) {
    const struct training *o = &t->options;
    const int64_t end = o->until > 0 && o->until < o->steps ? o->until : o->steps;
    for (;;) {
        const double start = time_seconds();
        if (t->run.watched < t->run.step && !step_watch(t, err)) return false;
        if (t->pace.steps > 0) pace_other(&t->pace, time_seconds() - start);
        if (stop_signal || t->run.step >= end || run_is_done(t)) return true;
        if (!train_step(t, err)) return false;
        time_tell(t, end);
    }
}

/* Steps that are done are saved, also when something else has failed; but not over a good checkpoint when the loss
 * diverged. */
static bool train_finish(struct train *t, bool done, struct error *err) {
    struct error another;
    bar_clear();
    if (!t->saved && (done || err->code != EXIT_DIVERGED) && !run_save(t, done ? err : &another)) return false;
    if (!done) return false;
    if (patience_is_over(t, 0))
        fprintf(stderr, "%s: %d validations in a row were no better: this is the end\n", t->dir.path,
                t->options.patience);
    fprintf(stderr, "%s: step %" PRId64 " of %" PRId64 ", %.0f seconds of training%s\n", t->dir.path, t->run.step,
            t->options.steps, t->run.seconds, run_is_done(t) ? "; curves in plots/" : "");
    return true;
}

/* A new run before its first step. */
static bool run_begin(struct train *t, struct error *err) {
    struct model *m = &t->model;
    const struct training *o = &t->options;
    t->run = runstate_new((uint64_t)o->seed);
    feed_seek(t->train_data, 0);
    reals_clear(t->moment_memory, 2 * m->n_parameters);
    reals_clear(m->router_bias, m->sizes.LM * m->sizes.E);
    model_initialize(m, (uint64_t)o->seed);
    if (o->from && (!model_inherit(m, &t->source, err) || (o->keep_moments && !moments_inherit(t, err)))) return false;
    if (t->average_memory) memcpy(t->average_memory, m->param_memory, m->n_parameters * sizeof(real));
    return true;
}

static bool model_open(struct train *t, const struct checkpoint *resumed, struct error *err) {
    struct model *m = &t->model;
    const struct training *o = &t->options;
    if (!model_create(m, &t->config, setup_of(o), err)) return false;
    t->moment_memory = array_alloc(2 * m->n_parameters, sizeof(real));
    if (o->optimizer == OPTIMIZER_MUON) t->muon_memory = array_alloc(muon_bytes(o, m->info), 1);
    if (o->ema > 0) t->average_memory = array_alloc(m->n_parameters, sizeof(real));
    t->batches = array_alloc((size_t)o->accumulate, sizeof *t->batches);
    return resumed ? run_restore(t, resumed, err) : run_begin(t, err);
}

/* --minutes: some steps are done and timed, and undone; from then on the run is one of --steps. The first is left out:
 * it touches its memory for the first time. */
static bool steps_measure(struct train *t, struct error *err) {
    const double start = time_seconds(), limit = fmin(10, 60 * t->options.minutes / 20);
    struct step s;
    struct pace pace = {0};
    if (!step_do(t, &s, err)) return false;
    for (int n = 0; n < 2 || (n < 50 && time_seconds() - start < limit); n++) {
        if (!step_do(t, &s, err)) return false;
        pace_step(&pace, s.seconds);
    }
    return run_begin(t, err) &&
           steps_choose(t, pace.mean, 60 * t->options.minutes - (time_seconds() - start), err);
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
    if (o->resume && t->run.step < o->steps && run_is_done(t)) {
        fprintf(stderr, "%s: step %" PRId64 " was the end: %d validations in a row were no better; --patience 0 goes "
                "on\n", t->dir.path, t->run.step, o->patience);
        return true;
    }
    if (o->resume && (t->run.step > o->steps || run_is_done(t))) {
        fprintf(stderr, "%s: all %" PRId64 " steps are done; --steps N goes on to step N\n", t->dir.path, t->run.step);
        return true;
    }
    if (o->resume && o->until > 0 && o->until <= t->run.step)
        note_print("--until %" PRId64 ": the run in %s is at step %" PRId64 " already", o->until, t->dir.path,
                   t->run.step);
    if (o->minutes > 0 && !steps_measure(t, err)) return false;
    t->saved_at = time_seconds();
    if (!config_write(t, err) || !log_open(t, err) || !events_open(t, err)) return false;
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
    free(t->average_memory);
    free(t->muon_memory);
    free(t->batches);
    codebook_free(&t->codebook);
    free(t->language);
    tokenizer_free(t->tokenizer);
    if (t->train_data) feed_close(t->train_data);
    if (t->val_data) feed_close(t->val_data);
    free(t->parts);
    runlog_close(&t->log);
    events_close(&t->events);
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
