/* See compare_report.h. Differences are paired by seed, since the seed sets the weights and the order of the data on
 * both sides; the learning rate is each model's best of the same few. */
#include "compare_report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "../src/plot.h"
#include "statistics.h"

/* ---- Runs ---- */

bool result_read(struct result *r, const char *log, int64_t steps) {
    *r = (struct result){.by_step = runlog_curve(log, "step", "val_loss")};
    struct curve bits = runlog_curve(log, "step", "val_bits_per_byte"), seconds = runlog_curve(log, "step", "seconds");
    struct curve rates = runlog_curve(log, "step", "tokens_per_second");
    const size_t n = r->by_step.n;
    const bool finished = n > 0 && r->by_step.x[n - 1] == (double)steps && bits.n == n;
    if (finished) {
        r->loss = r->by_step.y[n - 1];
        r->bits_per_byte = bits.y[n - 1];
        r->rate = median(rates.y, rates.n);
        r->seconds = seconds.y[seconds.n - 1];
        for (size_t i = 0, s = 0; i < n; i++) {
            while (s + 1 < seconds.n && seconds.x[s] < r->by_step.x[i]) s++;
            curve_add(&r->by_seconds, seconds.y[s], r->by_step.y[i]);
        }
    } else {
        curve_free(&r->by_step);
    }
    curve_free(&seconds);
    curve_free(&rates);
    curve_free(&bits);
    return finished;
}

struct result result_diverged(void) {
    return (struct result){.loss = INFINITY, .bits_per_byte = INFINITY, .rate = NAN, .seconds = NAN};
}

void result_free(struct result *r) {
    curve_free(&r->by_step);
    curve_free(&r->by_seconds);
}

/* ---- Over the seeds of a model ---- */

static size_t seeds_of(const struct comparison *c) { return (size_t)c->request->seeds; }

/* One field of each final run, (seeds). */
static double *finals_field(const struct comparison *c, const struct model_result *m, size_t offset) {
    double *values = array_alloc(seeds_of(c), sizeof *values);
    for (size_t i = 0; i < seeds_of(c); i++) values[i] = *(const double *)((const char *)&m->finals[i] + offset);
    return values;
}

static double finals_statistic(const struct comparison *c, const struct model_result *m, size_t offset,
                               double (*of)(const double *, size_t)) {
    double *values = finals_field(c, m, offset);
    const double result = of(values, seeds_of(c));
    free(values);
    return result;
}

static double median_of(const double *x, size_t n) {
    double *sorted = array_alloc(n, sizeof *sorted);
    memcpy(sorted, x, n * sizeof *x);
    const double result = median(sorted, n);
    free(sorted);
    return result;
}

static double final_mean(const struct comparison *c, const struct model_result *m) {
    return finals_statistic(c, m, offsetof(struct result, loss), mean);
}

/* The loss that every model reaches: the highest of their means. */
static double common_loss(const struct comparison *c) {
    double highest = -INFINITY;
    for (size_t i = 0; i < c->study->n; i++) {
        const double loss = final_mean(c, &c->models[i]);
        if (isfinite(loss)) highest = fmax(highest, loss);
    }
    return highest;
}

/* Mean seconds of training until the validation loss is down to `level`, over the seeds that get there. */
static double seconds_to(const struct comparison *c, const struct model_result *m, double level, size_t *reached) {
    double sum = 0;
    *reached = 0;
    for (size_t i = 0; i < seeds_of(c); i++) {
        const struct curve *curve = &m->finals[i].by_seconds;
        const double at = crossing(curve->x, curve->y, curve->n, level);
        if (isnan(at)) continue;
        sum += at;
        ++*reached;
    }
    return sum / (double)*reached;
}

static struct paired difference(const struct comparison *c, const struct model_result *m) {
    double *a = finals_field(c, m, offsetof(struct result, loss));
    double *b = finals_field(c, model_named(c, m->model->baseline), offsetof(struct result, loss));
    const struct paired p = paired_difference(a, b, seeds_of(c));
    free(a);
    free(b);
    return p;
}

struct model_result *model_named(const struct comparison *c, const char *name) {
    size_t i = 0;
    while (i + 1 < c->study->n && strcmp(c->study->models[i].name, name) != 0) i++;
    return &c->models[i];
}

/* What a model is compared with; a baseline with itself. */
static const struct model_result *baseline_of(const struct comparison *c, const struct model_result *m) {
    return m->model->baseline ? model_named(c, m->model->baseline) : m;
}

/* The mean over the seeds at each validation; a model that diverged has no line. */
static struct curve mean_curve(const struct comparison *c, const struct model_result *m, bool seconds) {
    struct curve sum = {0};
    size_t n = SIZE_MAX;
    for (size_t s = 0; s < seeds_of(c); s++)
        if (m->finals[s].by_step.n < n) n = m->finals[s].by_step.n;
    for (size_t i = 0; i < n; i++) {
        double x = 0, y = 0;
        for (size_t s = 0; s < seeds_of(c); s++) {
            x += seconds ? m->finals[s].by_seconds.x[i] : m->finals[s].by_step.x[i];
            y += m->finals[s].by_step.y[i];
        }
        const double seeds = (double)seeds_of(c), tokens = (double)c->request->batch * c->request->seq;
        curve_add(&sum, x / seeds * (seconds ? 1 : tokens), y / seeds);
    }
    return sum;
}

/* Those of all models. free with curves_free. */
static struct curve *mean_curves(const struct comparison *c, bool seconds) {
    struct curve *curves = array_alloc(c->study->n, sizeof *curves);
    for (size_t i = 0; i < c->study->n; i++) curves[i] = mean_curve(c, &c->models[i], seconds);
    return curves;
}

static void curves_free(struct curve *curves, size_t n) {
    for (size_t i = 0; i < n; i++) curve_free(&curves[i]);
    free(curves);
}

/* ---- report.md ---- */

static void method_print(FILE *out, const struct comparison *c) {
    const struct request *r = c->request;
    const double tokens = (double)c->steps * r->batch * r->seq;
    fprintf(out, "# %s\n\nCorpus:", c->study->question);
    for (size_t i = 0; i < r->n_corpora; i++) fprintf(out, " `%s`", r->corpora[i]);
    if (r->n_corpora == 0) fprintf(out, " Jane Austen's novels (the default)");
    fprintf(out, ". %d blocks of %d channels, 1 in %d with experts; vocabulary %d, sequences of %d.\n",
            r->layers, r->channels, r->moe_every, r->vocab, r->seq);
    fprintf(out,
            "Every run: %" PRId64 " steps of %d tokens, %.4g tokens in all, the same data in the same order for "
            "the same seed.\n",
            c->steps, r->batch * r->seq, tokens);
    if (!searches(c)) fprintf(out, "Learning rate %g, not searched for", c->rates[0]);
    else {
        fprintf(out, "Learning rates tried for each model with seed 1 over %" PRId64 " steps:",
                search_steps(c->steps, r->search_fraction));
        for (size_t i = 0; i < c->n_rates; i++) fprintf(out, " %g", c->rates[i]);
        fprintf(out, "; with the best of them");
    }
    fprintf(out,
            ", seeds 1 to %d.\nThe last validation is on all held-out text; those on the way on %d sequences of "
            "it.\n",
            r->seeds, r->eval_windows);
    if (r->jobs > 1)
        fprintf(out, "%d runs beside each other, so that each had only its share of the machine.\n", r->jobs);
    if (r->mhmoe) fprintf(out, "MH-MoE with `%s`.\n", r->mhmoe);
}

static void excess_print(FILE *out, double cost, double baseline) {
    fprintf(out, " %.0f (%+.2f%%) |", cost, cost_excess(cost, baseline));
}

static void costs_print(FILE *out, const struct comparison *c) {
    fprintf(out, "\n## Cost\n\nDifferences are to the model's baseline. `Matrices` is what parity makes equal: a "
                 "layer without its router and biases.\n\n"
                 "| model | H | E | K | F | parameters | multiply-adds a token | layer: parameters, matrices "
                 "| layer: multiply-adds, matrices | layer: multiply-adds with the router |\n"
                 "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n");
    for (size_t i = 0; i < c->study->n; i++) {
        const struct model_result *m = &c->models[i], *b = baseline_of(c, m);
        const struct layer_cost matrices = layer_matrices(&m->sizes), theirs = layer_matrices(&b->sizes);
        fprintf(out, "| %s | %zu | %zu | %zu | %zu |", m->model->label, m->sizes.H, m->sizes.E, m->sizes.K,
                m->sizes.F);
        excess_print(out, m->whole.parameters, b->whole.parameters);
        excess_print(out, m->whole.multiply_adds, b->whole.multiply_adds);
        excess_print(out, matrices.parameters, theirs.parameters);
        excess_print(out, matrices.multiply_adds, theirs.multiply_adds);
        excess_print(out, m->layer.multiply_adds, b->layer.multiply_adds);
        fputc('\n', out);
    }
}

static void results_print(FILE *out, const struct comparison *c) {
    const double level = common_loss(c);
    fprintf(out,
            "\n## Result\n\nMean and sample standard deviation over the seeds; tokens/s and seconds are of "
            "training alone.\n\n"
            "| model | best lr | validation loss | perplexity | bits per byte | tokens/s | seconds to loss %.4f |\n"
            "| --- | --: | --: | --: | --: | --: | --: |\n",
            level);
    for (size_t i = 0; i < c->study->n; i++) {
        const struct model_result *m = &c->models[i];
        const double loss = final_mean(c, m);
        size_t reached;
        const double seconds = seconds_to(c, m, level, &reached);
        fprintf(out, "| %s | %g | %.4f ± %.4f | %.2f | %.4f | %.0f | ", m->model->label, c->rates[m->best], loss,
                finals_statistic(c, m, offsetof(struct result, loss), deviation), exp(loss),
                finals_statistic(c, m, offsetof(struct result, bits_per_byte), mean),
                finals_statistic(c, m, offsetof(struct result, rate), median_of));
        if (reached == 0) fprintf(out, "not reached |\n");
        else if (reached < seeds_of(c))
            fprintf(out, "%.1f (%zu of %d seeds) |\n", seconds, reached, c->request->seeds);
        else fprintf(out, "%.1f |\n", seconds);
    }
}

/* A best learning rate at the edge of those tried may not be the best there is. */
static void edges_print(FILE *out, const struct comparison *c) {
    const char *separator = "\nBest at the edge of the learning rates tried, so perhaps not at its best: ";
    for (size_t i = 0; i < c->study->n && searches(c); i++) {
        const double rate = c->rates[c->models[i].best];
        bool above = false, below = false;
        for (size_t l = 0; l < c->n_rates; l++) {
            above |= c->rates[l] > rate;
            below |= c->rates[l] < rate;
        }
        if (above && below) continue;
        fprintf(out, "%s%s", separator, c->models[i].model->label);
        separator = "; ";
    }
    if (*separator == ';') fprintf(out, ".\n");
}

static void differences_print(FILE *out, const struct comparison *c) {
    static const char *const verdicts[] = {"better", "not told apart", "worse"};
    const double t = student_95(seeds_of(c));
    fprintf(out,
            "\n## Differences\n\nValidation loss minus that of the baseline with the same seed. The spread "
            "supports an order if the mean is more than %.2f standard errors from 0 (Student's t, 95%%, %d pairs).\n\n"
            "| model | baseline | difference | standard error | verdict |\n| --- | --- | --: | --: | --- |\n",
            t, c->request->seeds);
    for (size_t i = 0; i < c->study->n; i++) {
        const struct model_result *m = &c->models[i], *b = baseline_of(c, m);
        if (m == b) continue;
        const struct paired p = difference(c, m);
        fprintf(out, "| %s | %s | %+.4f | %.4f | %s |\n", m->model->label, b->model->label, p.mean, p.error,
                verdicts[1 + paired_verdict(p)]);
    }
}

/* Whether an order is old or new at the end. The learning rate falls towards the end of these runs, so a column is
 * not what shorter ones would find. Not if a model diverged. */
static void way_print(FILE *out, const struct comparison *c) {
    const size_t models = c->study->n;
    struct curve *curves = mean_curves(c, false);
    size_t n = SIZE_MAX;
    for (size_t i = 0; i < models; i++)
        if (curves[i].n < n) n = curves[i].n;
    if (n > 0) {
        fprintf(out, "\nThe same on the way, mean over the seeds:\n\n| million tokens |");
        for (size_t v = 0; v < n; v++) fprintf(out, " %.3g |", curves[0].x[v] * 1e-6);
        fprintf(out, "\n| --- |");
        for (size_t v = 0; v < n; v++) fprintf(out, " --: |");
        for (size_t i = 0; i < models; i++) {
            const struct curve *baseline = &curves[baseline_of(c, &c->models[i]) - c->models];
            if (baseline == &curves[i]) continue;
            fprintf(out, "\n| %s |", c->models[i].model->label);
            for (size_t v = 0; v < n; v++) fprintf(out, " %+.3f |", curves[i].y[v] - baseline->y[v]);
        }
        fputc('\n', out);
    }
    curves_free(curves, models);
}

/* ---- report.csv: a line a run ---- */

static void run_print(FILE *out, const struct comparison *c, const struct model_result *m, const char *stage,
                      double lr, int seed, int64_t steps, const struct result *r) {
    fprintf(out, "%s,%s,%s,%g,%d,%" PRId64 ",%.0f,%.0f,%.0f,%.0f,%.0f,%.9g,%.9g,%.9g,%.9g,%.9g\n", c->study->name,
            m->model->name, stage, lr, seed, steps, (double)steps * c->request->batch * c->request->seq,
            m->whole.parameters, m->whole.multiply_adds, m->layer.parameters, m->layer.multiply_adds, r->loss,
            exp(r->loss), r->bits_per_byte, r->rate, r->seconds);
}

static void csv_print(FILE *out, const struct comparison *c) {
    const int64_t searched = search_steps(c->steps, c->request->search_fraction);
    fprintf(out, "study,model,stage,lr,seed,steps,tokens,parameters,multiply_adds,layer_parameters,"
                 "layer_multiply_adds,validation_loss,perplexity,bits_per_byte,tokens_per_second,seconds\n");
    for (size_t i = 0; i < c->study->n; i++) {
        const struct model_result *m = &c->models[i];
        for (size_t l = 0; l < searches(c); l++) {
            if (searched == c->steps && l == m->best) continue; /* it is the first of the final ones */
            run_print(out, c, m, "search", c->rates[l], 1, searched, &m->searches[l]);
        }
        for (size_t s = 0; s < seeds_of(c); s++)
            run_print(out, c, m, "final", c->rates[m->best], (int)s + 1, c->steps, &m->finals[s]);
    }
}

/* ---- Plots ---- */

static bool plot_write(const struct comparison *c, const char *name, bool seconds, struct error *err) {
    const size_t n = c->study->n;
    struct plot_series *series = array_alloc(n, sizeof *series);
    struct curve *curves = mean_curves(c, seconds);
    for (size_t i = 0; i < n; i++)
        series[i] = (struct plot_series){c->study->models[i].name, curves[i].x, curves[i].y, curves[i].n};
    char *path = string_format("%s/%s", c->request->out, name);
    const bool drawn = plot_lines(path, "Validation loss, mean over seeds",
                                  (struct plot_axis){seconds ? "seconds of training" : "tokens", false},
                                  (struct plot_axis){"loss (nats a token)", false}, series, n, err);
    free(path);
    free(series);
    curves_free(curves, n);
    return drawn;
}

static void markdown_print(FILE *out, const struct comparison *c) {
    method_print(out, c);
    costs_print(out, c);
    results_print(out, c);
    edges_print(out, c);
    differences_print(out, c);
    way_print(out, c);
    fprintf(out, "\nEach run: `report.csv`. Curves: `loss-tokens.svg`, `loss-seconds.svg`.\n");
}

static bool file_write(const struct comparison *c, const char *name,
                       void (*print)(FILE *, const struct comparison *), struct error *err) {
    struct atomic_file file;
    char *path = string_format("%s/%s", c->request->out, name);
    const bool opened = atomic_open(&file, path, err);
    free(path);
    if (!opened) return false;
    print(file.file, c);
    return atomic_commit(&file, err);
}

bool report_write(const struct comparison *c, struct error *err) {
    return file_write(c, "report.md", markdown_print, err) && file_write(c, "report.csv", csv_print, err) &&
           plot_write(c, "loss-tokens.svg", false, err) && plot_write(c, "loss-seconds.svg", true, err);
}
