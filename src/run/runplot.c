/* See runplot.h. */
#include "runplot.h"

#include <stdlib.h>
#include <string.h>
#include "plot.h"
#include "runlog.h"

bool runplot_loss(const char *path, const char *log, struct error *err) {
    struct curve train = runlog_curve(log, "tokens", "loss"), val = runlog_curve(log, "tokens", "val_loss");
    const struct plot_series series[] = {{"training", train.x, train.y, train.n},
                                         {"validation", val.x, val.y, val.n}};
    const bool drawn = plot_lines(path, "Loss", (struct plot_axis){"tokens", false},
                                  (struct plot_axis){"loss (nats a token)", false}, series, 2, err);
    curve_free(&train);
    curve_free(&val);
    return drawn;
}

static void entry_pass(void *context, const json_t *entry) {
    (void)context;
    (void)entry;
}

/* The curves of n runs; false if one has fewer than `least` points. */
static bool curves_read(struct curve *curves, const char *const *logs, size_t n, const char *key, size_t least) {
    bool enough = true;
    for (size_t i = 0; i < n; i++) {
        curve_free(&curves[i]);
        curves[i] = runlog_curve(logs[i], "tokens", key);
        enough &= curves[i].n >= least;
    }
    return enough;
}

bool runplot_runs(const char *path, const char *const *names, const char *const *logs, size_t n, struct error *err) {
    for (size_t i = 0; i < n; i++) {
        const int failed = runlog_read(logs[i], entry_pass, NULL).failed;
        if (failed)
            return error_set(err, EXIT_INPUT, "%s: cannot read: %s; name the directory of a run", logs[i],
                             strerror(failed));
    }
    struct curve *curves = array_alloc(n, sizeof *curves);
    struct plot_series *series = array_alloc(n, sizeof *series);
    const bool validated = curves_read(curves, logs, n, "val_loss", 2);
    bool ok = validated || curves_read(curves, logs, n, "loss", 1);
    for (size_t i = 0; i < n; i++) {
        if (curves[i].n == 0)
            error_set(err, EXIT_INPUT, "%s: holds no losses; name a run that has done a step", logs[i]);
        series[i] = (struct plot_series){names[i], curves[i].x, curves[i].y, curves[i].n};
    }
    const struct plot_axis y = {validated ? "validation loss (nats a token)" : "training loss (nats a token)", false};
    ok = ok && plot_lines(path, "Loss of several runs", (struct plot_axis){"tokens", false}, y, series, n, err);
    for (size_t i = 0; i < n; i++) curve_free(&curves[i]);
    free(curves);
    free(series);
    return ok;
}

/* Where the curves of all parts go, one for each. */
struct part_curves {
    const struct part_score *parts;
    struct curve *curves;
    size_t n;
    const char *key; /* of what is drawn */
};

static void parts_collect(void *context, const json_t *entry) {
    const struct part_curves *c = context;
    const json_t *all = json_object_get(entry, "parts"), *tokens = json_object_get(entry, "tokens");
    for (size_t p = 0; p < c->n; p++) {
        const json_t *value = json_object_get(json_object_get(all, c->parts[p].name), c->key);
        if (json_is_number(tokens) && json_is_number(value))
            curve_add(&c->curves[p], json_number_value(tokens), json_number_value(value));
    }
}

bool runplot_parts(const char *path, const char *log, const struct part_score *parts, size_t n, bool masked,
                   struct error *err) {
    struct part_curves all = {parts, array_alloc(n, sizeof *all.curves), n, masked ? "val_loss" : "val_bits_per_byte"};
    struct plot_series *series = array_alloc(n, sizeof *series);
    runlog_read(log, parts_collect, &all);
    for (size_t p = 0; p < n; p++)
        series[p] = (struct plot_series){parts[p].name, all.curves[p].x, all.curves[p].y, all.curves[p].n};
    const char *title = masked ? "What is filled in, held out" : "Held-out text of each part";
    const struct plot_axis y = {masked ? "loss (nats)" : "bits per byte", false};
    const bool drawn = plot_lines(path, title, (struct plot_axis){"tokens", false}, y, series, n, err);
    for (size_t p = 0; p < n; p++) curve_free(&all.curves[p]);
    free(all.curves);
    free(series);
    return drawn;
}

bool runplot_load(const char *path, const double *load, size_t LM, size_t E, size_t every, struct error *err) {
    char *labels[LM];
    double *share = array_alloc(LM * E, sizeof *share), high = 2;
    for (size_t lm = 0; lm < LM; lm++) {
        double total = 0;
        for (size_t e = 0; e < E; e++) total += load[lm * E + e];
        for (size_t e = 0; e < E; e++) {
            share[lm * E + e] = total > 0 ? load[lm * E + e] * (double)E / total : 0;
            if (share[lm * E + e] > high) high = share[lm * E + e];
        }
        labels[lm] = string_format("block %zu", (lm + 1) * every - 1);
    }
    const struct plot_place place = {path, "Expert load (1 = an even share of the sub-tokens)", PLOT_WIDE};
    const struct heatmap map = {"MoE layer", "expert", (const char *const *)labels, share, LM, E, 0, high};
    const bool drawn = plot_heatmap(&place, &map, err);
    for (size_t lm = 0; lm < LM; lm++) free(labels[lm]);
    free(share);
    return drawn;
}
