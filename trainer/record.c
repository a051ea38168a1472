/* See trainer.h. A run's directory beside its checkpoints: its config, its log, its plots. */
#include "trainer.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../data/sheet.h"
#include "../src/base/text.h"
#include "../src/run/runplot.h"

/* What a run keeps: all options but those of this call. */
bool config_write(const struct train *t, struct error *err) {
    struct train kept = {.options = t->options, .config = t->config};
    struct option_group groups[GROUPS];
    struct atomic_file file;
    char path[PATH_SIZE];
    kept.options.resume = kept.options.from = kept.options.out = kept.options.match = NULL;
    kept.options.until = 0;
    kept.options.minutes = 0; /* the steps that it chose are there */
    kept.options.plot = kept.options.keep_moments = false;
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

json_t *entry_new(const struct train *t) {
    return json_pack("{s:I, s:I}", "step", (json_int_t)t->run.step, "tokens", (json_int_t)t->run.tokens);
}

static bool event_is_past(const void *context, int64_t step, const char *tag) {
    const struct train *t = context;
    return step > t->run.step ||
           (step == t->run.step && t->run.watched < t->run.step && strcmp(tag, "loss/train") != 0);
}

/* A new run's directory may hold what one left that never saved. */
bool events_open(struct train *t, struct error *err) {
    char path[PATH_SIZE];
    rundir_path(&t->dir, EVENTS_NAME, path);
    if (!t->options.tensorboard) return t->options.resume || unlink(path) == 0 || errno == ENOENT ||
                                        error_set(err, EXIT_OUTPUT, "%s: cannot remove: %s", path, strerror(errno));
    return t->options.resume ? events_resume(&t->events, path, event_is_past, t, err)
                             : events_create(&t->events, path, err);
}

/* The first entry of a run that began with another model's weights says so. */
bool log_open(struct train *t, struct error *err) {
    char path[PATH_SIZE];
    rundir_path(&t->dir, "log.jsonl", path);
    if (t->options.resume) return runlog_resume(&t->log, path, t->run.step, entry_is_past, t, err);
    if (!runlog_create(&t->log, path, err) || !t->options.from) return t->log.file;
    json_t *entry = entry_new(t);
    json_object_set_new(entry, "from", json_string(t->source.path));
    json_object_update(entry, t->inherited);
    return runlog_write(&t->log, entry, err);
}

json_t *load_json(const struct model *m) {
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

bool step_log(struct train *t, double loss, double norm, double lr, double rate, struct error *err) {
    const struct model *m = &t->model;
    json_t *entry = entry_new(t);
    const struct {
        const char *key, *tag; /* in the log; in TensorBoard, NULL: not there */
        double value;
    } numbers[] = {{"loss", "loss/train", loss},
                   {"balance", m->sizes.LM ? "router/balance" : NULL, router_loss_of(m, m->balance_sum)},
                   {"z_loss", m->sizes.LM ? "router/z_loss" : NULL, router_loss_of(m, m->z_sum)},
                   {"gradient_norm", "grad_norm", norm}, {"lr", "lr", lr},
                   {"tokens_per_second", "tokens_per_second", rate}, {"seconds", NULL, t->run.seconds}};
    struct event event = {0};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        json_object_set_new(entry, numbers[i].key, json_number(numbers[i].value));
        if (numbers[i].tag && t->events.file) event_scalar(&event, numbers[i].tag, numbers[i].value);
    }
    json_object_set_new(entry, "load", load_json(m));
    return runlog_write(&t->log, entry, err) && (!t->events.file || events_write(&t->events, &event, t->run.step, err));
}

static void scalar_of(struct event *event, const char *kind, const char *when, const char *part, double value) {
    char *tag = string_format("%s/%s%s%s", kind, when, *part ? "/" : "", part);
    if (isfinite(value)) event_scalar(event, tag, value); /* there are no bits a byte without bytes */
    free(tag);
}

bool score_event(struct train *t, const struct score *s, const char *when, struct error *err) {
    const struct model *m = &t->model;
    struct event event = {0};
    if (!t->events.file) return true;
    scalar_of(&event, "loss", when, "", s->loss);
    scalar_of(&event, "bits_per_byte", when, "", s->bits_per_byte);
    for (size_t p = 0; has_parts(t) && p < feed_parts(t->val_data); p++) {
        scalar_of(&event, "loss", when, t->parts[p].name, t->parts[p].score.loss);
        scalar_of(&event, "bits_per_byte", when, t->parts[p].name, t->parts[p].score.bits_per_byte);
    }
    for (size_t lm = 0; lm < m->sizes.LM; lm++) {
        char *tag = string_format("experts_load/%s/block_%zu", when, (lm + 1) * (size_t)t->config.moe_every - 1);
        event_counts(&event, tag, m->load + lm * m->sizes.E, m->sizes.E);
        free(tag);
    }
    return events_write(&t->events, &event, t->run.step, err);
}

bool plots_draw(struct train *t, bool last, struct error *err) {
    char path[PATH_SIZE];
    const struct model *m = &t->model;
    return directory_make(rundir_path(&t->dir, "plots", path), err) &&
           runplot_loss(rundir_path(&t->dir, "plots/loss.svg", path), t->log.path, err) &&
           (!has_parts(t) || runplot_parts(rundir_path(&t->dir, "plots/parts.svg", path), t->log.path, t->parts,
                                           feed_parts(t->val_data), is_masked(t), err)) &&
           (t->codebook.codes == 0 || !last ||
            sheet_write(rundir_path(&t->dir, "plots/codes.png", path), t->data_dir, &t->codebook, 32, err)) &&
           (m->sizes.LM == 0 || runplot_load(rundir_path(&t->dir, "plots/load.svg", path), m->load, m->sizes.LM,
                                             m->sizes.E, (size_t)t->config.moe_every, err));
}

void plots_refresh(struct train *t) {
    const double start = time_seconds();
    struct error err;
    if (t->plot_seconds > 5 + 0.02 * t->run.seconds) return;
    if (plots_draw(t, false, &err)) t->plot_seconds += time_seconds() - start;
    else {
        note_print("%s (the run goes on, and draws again at its end)", err.text);
        t->plot_seconds = INFINITY;
    }
}

/* The log of a run that is named by its directory or by a checkpoint in it. malloc'ed. */
static char *log_of(const char *run) {
    const char *slash = strrchr(run, '/');
    if (directory_exists(run) || !text_ends(run, ".safetensors")) return string_format("%s/log.jsonl", run);
    return string_format("%.*slog.jsonl", slash ? (int)(slash + 1 - run) : 0, run);
}

bool runs_draw(const struct training *o, char *const *runs, size_t n, struct error *err) {
    const char *path = o->out ? o->out : "plot.svg";
    if (n == 0) return error_set(err, EXIT_USAGE, "--plot: no run named; give the directories of one or several");
    if (directory_exists(path))
        return error_set(err, EXIT_USAGE, "--out %s: a directory (want the picture's name); give it one, as in %s.svg",
                         path, path);
    char **logs = array_alloc(n, sizeof *logs);
    for (size_t i = 0; i < n; i++) logs[i] = log_of(runs[i]);
    const bool drawn = runplot_runs(path, (const char *const *)runs, (const char *const *)logs, n, err);
    for (size_t i = 0; i < n; i++) free(logs[i]);
    free(logs);
    if (drawn) printf("%s\n", path);
    return drawn && output_check(err);
}
