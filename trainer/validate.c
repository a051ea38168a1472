/* See trainer.h. How good the model is on text that it has not seen. */
#include "trainer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include "../src/run/stop.h"

void weights_exchange(struct train *t) {
    real *const w = t->model.param_memory, *const average = t->average_memory;
    if (!average) return;
#pragma omp parallel for
    for (size_t i = 0; i < t->model.n_parameters; i++) {
        const real w_i = w[i];
        w[i] = average[i];
        average[i] = w_i;
    }
    model_pack(&t->model);
}

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

size_t val_windows(const struct train *t, int limit) {
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
    bar_clear();
    if (final && has_parts(t)) parts_tell(t->parts, n);
    score_tell(t->run.step, has_parts(t) ? "mean of the parts" : what, s);
    score_log(entry, prefix, s);
    if (has_parts(t)) json_object_set_new(entry, "parts", parts_json(t->parts, n, prefix, final));
    entry_set(entry, prefix, "load", load_json(&t->model));
    return runlog_write(&t->log, entry, err) && score_event(t, s, final ? "final" : "validation", err);
}

static bool weights_validate(struct train *t, struct score *score, struct error *err) {
    if (!evaluate(t, t->options.eval_windows, score, err)) return false;
    if (stop_signal) return true;
    t->run.val_loss = score->loss;
    if (!score_report(t, score, "val_", "validation loss", err)) return false;
    if (score->loss < t->run.best_loss) {
        t->run.best_loss = score->loss;
        t->run.waited = 0;
        if (!best_save(t, err)) return false;
    }
    plots_refresh(t);
    return true;
}

bool validate(struct train *t, struct score *score, struct error *err) {
    weights_exchange(t);
    const bool ok = weights_validate(t, score, err);
    weights_exchange(t);
    return ok;
}

static bool weights_conclude(struct train *t, const struct score *validation, struct error *err) {
    struct score score = *validation;
    const int limit = t->options.final_windows;
    const size_t windows = val_windows(t, limit);
    if (windows != score.windows && !evaluate(t, limit, &score, err)) return false;
    if (stop_signal) return true;
    const bool all = windows == val_windows(t, 0);
    return score_report(t, &score, "final_", all ? "loss on all held-out text" : "loss on held-out text", err) &&
           plots_draw(t, true, err);
}

bool run_conclude(struct train *t, const struct score *validation, struct error *err) {
    weights_exchange(t);
    const bool ok = weights_conclude(t, validation, err);
    weights_exchange(t);
    return ok;
}
