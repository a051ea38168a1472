/* See compare_report.h. Differences are paired by seed, since the seed sets the weights and the order of the data on
 * both sides; the learning rate is each model's best (compare_search.h). Tables are of the final loss, over all
 * held-out text; curves, what is read off them, and the differences on the way are of validations, over the same few
 * sequences of it each time. */
#include "compare_report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "../../src/run/plot.h"
#include "statistics.h"

/* ---- Over the seeds of a model ---- */

static size_t seeds_of(const struct comparison *c) { return (size_t)c->request->seeds; }

/* The first run that tells what the corpus's parts are; NULL if it has none. */
static const struct result *parts_of(const struct comparison *c) {
    for (size_t i = 0; i < c->study->n; i++)
        for (size_t s = 0; s < seeds_of(c); s++)
            if (c->models[i].finals[s].n_parts > 0) return &c->models[i].finals[s];
    return NULL;
}

/* A figure that a run has as a whole and for each part: where in the one, and where in the other. */
struct figure {
    const char *key, *name;
    size_t whole, part;
};
static const struct figure figures[] = {
    {"final_loss", "Final loss", offsetof(struct result, loss), offsetof(struct part_result, loss)},
    {"bits_per_byte", "Bits per byte", offsetof(struct result, bits_per_byte),
     offsetof(struct part_result, bits_per_byte)},
};
enum { FIGURES = sizeof figures / sizeof *figures };

/* Infinite if the run diverged, as all of it then is; NaN if the run does not know the part. */
static double part_figure(const struct result *r, const char *part, const struct figure *f) {
    for (size_t i = 0; i < r->n_parts; i++)
        if (strcmp(r->parts[i].name, part) == 0) return *(const double *)((const char *)&r->parts[i] + f->part);
    return isinf(r->loss) ? INFINITY : NAN;
}

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

/* The mean over the seeds at each validation; a model that diverged has no line. */
static struct curve mean_curve(const struct comparison *c, const struct model_result *m, bool seconds) {
    struct curve sum = {0};
    size_t n = SIZE_MAX;
    for (size_t s = 0; s < seeds_of(c); s++)
        if (m->finals[s].by_tokens.n < n) n = m->finals[s].by_tokens.n;
    for (size_t i = 0; i < n; i++) {
        double x = 0, y = 0;
        for (size_t s = 0; s < seeds_of(c); s++) {
            const struct curve *curve = seconds ? &m->finals[s].by_seconds : &m->finals[s].by_tokens;
            x += curve->x[i];
            y += curve->y[i];
        }
        curve_add(&sum, x / (double)seeds_of(c), y / (double)seeds_of(c));
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

/* The validation loss that every model reaches: the highest at the end of their mean curves. */
static double common_loss(const struct comparison *c) {
    struct curve *curves = mean_curves(c, false);
    double highest = -INFINITY;
    for (size_t i = 0; i < c->study->n; i++)
        if (curves[i].n > 0) highest = fmax(highest, curves[i].y[curves[i].n - 1]);
    curves_free(curves, c->study->n);
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

static struct paired difference(const struct comparison *c, const struct model_result *m, size_t offset) {
    double *a = finals_field(c, m, offset);
    double *b = finals_field(c, model_named(c, m->model->baseline), offset);
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

/* ---- report.md ---- */

/* A cell of a table: a number, or a dash where there is none. */
static void cell_print(FILE *out, const char *format, double value) {
    if (isnan(value)) fprintf(out, " - |");
    else fprintf(out, format, value);
}

static const char *const verdicts[] = {"better", "not told apart", "worse"};

/* The rates that the search began with, and what it does with them. */
static void search_method_print(FILE *out, const struct comparison *c) {
    const struct request *r = c->request;
    if (!searches(c)) {
        fprintf(out, "Learning rate %g, not searched for, seeds 1 to %d.\n", c->rates[0], r->seeds);
        return;
    }
    fprintf(out, "Learning rates tried for each model over %" PRId64 " steps:",
            search_steps(c->steps, r->search_fraction));
    for (size_t i = 0; i < c->n_rates; i++) fprintf(out, " %g", c->rates[i]);
    fprintf(out,
            ", each with the same seeds, 1 to %d unless it left the race, being worse than the best by the test below "
            "(first looked at with %d seeds). Where the best was at the edge, the next one beyond was tried, at most "
            "%d more a model. The best is the one with the lowest mean.\nThen seeds 1 to %d with the best.\n",
            r->seeds, SEARCH_SEEDS < r->seeds ? SEARCH_SEEDS : r->seeds, r->widen, r->seeds);
}

/* What the losses of a run are where its corpus has parts. */
static void parts_method_print(FILE *out, const struct comparison *c) {
    const struct request *r = c->request;
    const struct result *parts = parts_of(c);
    if (!parts) return;
    if (study_is_masked(c->study)) {
        fprintf(out, "What is filled in is of %zu kinds, each validated by itself; every loss is their plain mean.\n",
                parts->n_parts);
        return;
    }
    fprintf(out, "The corpus has %zu parts", parts->n_parts);
    if (r->part_alpha) fprintf(out, ", trained on with `--part-alpha %s`", r->part_alpha);
    if (r->part_weights) fprintf(out, ", trained on with `--part-weights %s`", r->part_weights);
    fprintf(out, ". Each is held out and validated by itself; every loss is the plain mean over the parts that are "
                 "trained on, each with the same weight, whatever its size.\n");
}

static void method_print(FILE *out, const struct comparison *c) {
    const struct request *r = c->request;
    fprintf(out, "# %s (`--block %s`)\n\nCorpus:", c->study->question, block_words[r->block]);
    if (r->parts) fprintf(out, " the parts in");
    for (size_t i = 0; i < r->n_corpora; i++) fprintf(out, " `%s`", r->corpora[i]);
    const bool masked = study_is_masked(c->study);
    if (r->n_corpora == 0) fprintf(out, " %s (the default)", masked ? "emoji" : "Jane Austen's novels");
    fprintf(out, ". %d blocks of %d channels, 1 in %d with experts; vocabulary %d, sequences of %d.\n",
            r->layers, r->channels, r->moe_every, r->vocab, r->seq);
    const int each = masked ? r->batch : r->batch * r->seq;
    const char *what = masked ? "examples" : "tokens";
    fprintf(out,
            "Every run: %" PRId64 " steps of %d %s, %.4g %s in all, the same data in the same order for "
            "the same seed; the learning rate rises for %" PRId64 " steps.\n",
            c->steps, each, what, (double)c->steps * each, what, warmup_steps(r, c->steps));
    search_method_print(out, c);
    const bool limited = r->common && strstr(r->common, "final-windows"); /* which says over how many */
    fprintf(out, "The final loss is over %s held-out text; validations on the way, and curves, are over the same %d "
                 "sequences of %s each time.\n",
            limited ? "a part of the" : "all", r->eval_windows, parts_of(c) ? "each part" : "it");
    parts_method_print(out, c);
    if (r->jobs > 1)
        fprintf(out, "%d runs beside each other, so that each had only its share of the machine: tokens/s and seconds "
                     "are under that load.\n", r->jobs);
    if (r->common) fprintf(out, "All models with `%s`.\n", r->common);
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

/* What each model's search found. */
static void search_print(FILE *out, const struct comparison *c) {
    static const char *const places[] = {"the lowest tried", "inside", "the highest tried"};
    if (!searches(c)) return;
    fprintf(out, "\n## Search\n\nMean final loss and sample standard deviation of each learning rate (over so many "
                 "seeds).\n\n| model | learning rates | best | which is |\n| --- | --- | --: | --- |\n");
    for (size_t i = 0; i < c->study->n; i++) {
        const struct search *s = &c->models[i].search;
        fprintf(out, "| %s |", c->models[i].model->label);
        for (size_t k = 0; k < s->n; k++)
            fprintf(out, "%s %g: %.4f ± %.4f (%zu)", k ? ";" : "", s->trials[k].rate, trial_mean(&s->trials[k]),
                    trial_deviation(&s->trials[k]), s->trials[k].seeds);
        fprintf(out, " | %g | %s |\n", best_rate(&c->models[i]), places[1 + search_edge(s)]);
    }
}

static void results_print(FILE *out, const struct comparison *c) {
    const double level = common_loss(c);
    fprintf(out,
            "\n## Result\n\nMean and sample standard deviation over the seeds; tokens/s and seconds are of training "
            "alone. The last column is when validation on the way was down to %.4f, where the model with the highest "
            "ended.\n\n"
            "| model | best lr | final loss | perplexity | bits per byte | tokens/s | seconds to loss %.4f |\n"
            "| --- | --: | --: | --: | --: | --: | --: |\n",
            level, level);
    for (size_t i = 0; i < c->study->n; i++) {
        const struct model_result *m = &c->models[i];
        const double loss = final_mean(c, m);
        size_t reached;
        const double seconds = seconds_to(c, m, level, &reached);
        fprintf(out, "| %s | %g | %.4f ± %.4f | %.2f |", m->model->label, best_rate(m), loss,
                finals_statistic(c, m, offsetof(struct result, loss), deviation), exp(loss));
        cell_print(out, " %.4f |", finals_statistic(c, m, offsetof(struct result, bits_per_byte), mean));
        fprintf(out, " %.0f | ", finals_statistic(c, m, offsetof(struct result, rate), median_of));
        if (reached == 0) fprintf(out, "not reached |\n");
        else if (reached < seeds_of(c))
            fprintf(out, "%.1f (%zu of %d seeds) |\n", seconds, reached, c->request->seeds);
        else fprintf(out, "%.1f |\n", seconds);
    }
}

/* How the learning rate behind a verdict was found: "4 rates × 3 to 6 seeds, best at the edge". */
static void searched_print(FILE *out, const struct search *s) {
    size_t fewest = SIZE_MAX, most = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->trials[i].seeds < fewest) fewest = s->trials[i].seeds;
        if (s->trials[i].seeds > most) most = s->trials[i].seeds;
    }
    if (s->n == 1) {
        fprintf(out, " one rate, not searched |");
        return;
    }
    fprintf(out, " %zu rates × %zu", s->n, fewest);
    if (fewest < most) fprintf(out, " to %zu", most);
    fprintf(out, " seeds, best %s |", search_edge(s) ? "at the edge" : "inside");
}

static void differences_print(FILE *out, const struct comparison *c) {
    const double t = student_95(seeds_of(c));
    fprintf(out,
            "\n## Differences\n\nFinal loss minus that of the baseline with the same seed. The spread supports an "
            "order if the mean is more than %.3f standard errors from 0 (Student's t, 95%%, %d pairs). A rate that is "
            "best at the edge of those tried may not be the best there is, and the verdict be about the rates.\n\n"
            "| model | baseline | difference | standard error | verdict | its search | the baseline's |\n"
            "| --- | --- | --: | --: | --- | --- | --- |\n",
            t, c->request->seeds);
    for (size_t i = 0; i < c->study->n; i++) {
        const struct model_result *m = &c->models[i], *b = baseline_of(c, m);
        if (m == b) continue;
        const struct paired p = difference(c, m, offsetof(struct result, loss));
        fprintf(out, "| %s | %s | %+.4f | %.4f | %s |", m->model->label, b->model->label, p.mean, p.error,
                verdicts[1 + paired_verdict(p)]);
        searched_print(out, &m->search);
        searched_print(out, &b->search);
        fputc('\n', out);
    }
}

/* A table of models and parts. */
static void parts_table(FILE *out, const struct comparison *c, const struct figure *f) {
    const struct result *parts = parts_of(c);
    double *values = array_alloc(seeds_of(c), sizeof *values);
    fprintf(out, "\n| %s |", f->name);
    for (size_t p = 0; p < parts->n_parts; p++) fprintf(out, " %s |", parts->parts[p].name);
    fprintf(out, " mean | difference of the mean | standard error | verdict |\n| --- |");
    for (size_t p = 0; p < parts->n_parts; p++) fprintf(out, " --: |");
    fprintf(out, " --: | --: | --: | --- |\n");
    for (size_t i = 0; i < c->study->n; i++) {
        const struct model_result *m = &c->models[i];
        fprintf(out, "| %s |", m->model->label);
        for (size_t p = 0; p < parts->n_parts; p++) {
            for (size_t s = 0; s < seeds_of(c); s++)
                values[s] = part_figure(&m->finals[s], parts->parts[p].name, f);
            fprintf(out, " %.4f ± %.4f |", mean(values, seeds_of(c)), deviation(values, seeds_of(c)));
        }
        fprintf(out, " %.4f ± %.4f |", finals_statistic(c, m, f->whole, mean),
                finals_statistic(c, m, f->whole, deviation));
        if (baseline_of(c, m) == m) {
            fprintf(out, " baseline | | |\n");
            continue;
        }
        const struct paired d = difference(c, m, f->whole);
        fprintf(out, " %+.4f | %.4f | %s |\n", d.mean, d.error, verdicts[1 + paired_verdict(d)]);
    }
    free(values);
}

static void parts_print(FILE *out, const struct comparison *c) {
    if (!parts_of(c)) return;
    fprintf(out, "\n## Parts\n\nOver held-out text of each part, as above, and the mean over the parts that are "
                 "trained on: mean and sample standard deviation over the seeds. The difference of the mean is to that "
                 "of the baseline with the same seed, and its verdict as above; a single part's order was not "
                 "tested.\n");
    for (size_t i = 0; i < (study_is_masked(c->study) ? 1 : FIGURES); i++) parts_table(out, c, &figures[i]);
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
        fprintf(out, "\nOn the way, by the validations there, mean over the seeds:\n\n| million tokens |");
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

/* What a run was for. */
struct purpose {
    const char *stage;
    double lr;
    int64_t steps;
};

static void run_print(FILE *out, const struct comparison *c, const struct model_result *m, struct purpose p,
                      size_t seed, const struct result *r) {
    const struct result *parts = parts_of(c);
    fprintf(out, "%s,%s,%s,%g,%zu,%" PRId64 ",%.0f,%.0f,%.0f,%.0f,%.0f,%.9g,%.9g,%.9g,%.9g,%.9g", c->study->name,
            m->model->name, p.stage, p.lr, seed, p.steps, r->tokens, m->whole.parameters, m->whole.multiply_adds,
            m->layer.parameters, m->layer.multiply_adds, r->loss, exp(r->loss), r->bits_per_byte, r->rate, r->seconds);
    for (size_t i = 0; parts && i < parts->n_parts; i++)
        for (size_t f = 0; f < FIGURES; f++)
            fprintf(out, ",%.9g", part_figure(r, parts->parts[i].name, &figures[f]));
    fputc('\n', out);
}

static void csv_print(FILE *out, const struct comparison *c) {
    const int64_t searched = search_steps(c->steps, c->request->search_fraction);
    const struct result *parts = parts_of(c);
    fprintf(out, "study,model,stage,lr,seed,steps,tokens,parameters,multiply_adds,layer_parameters,"
                 "layer_multiply_adds,final_loss,perplexity,bits_per_byte,tokens_per_second,seconds");
    for (size_t i = 0; parts && i < parts->n_parts; i++)
        for (size_t f = 0; f < FIGURES; f++) fprintf(out, ",%s_%s", figures[f].key, parts->parts[i].name);
    fputc('\n', out);
    for (size_t i = 0; i < c->study->n; i++) {
        const struct model_result *m = &c->models[i];
        const struct search *s = &m->search;
        for (const struct trial *t = s->trials; t < s->trials + s->n; t++) {
            if (searched == c->steps && t == &s->trials[search_best(s)]) continue; /* they are the final ones */
            for (size_t k = 0; k < t->seeds; k++)
                run_print(out, c, m, (struct purpose){"search", t->rate, searched}, k + 1, &t->results[k]);
        }
        for (size_t k = 0; k < seeds_of(c); k++)
            run_print(out, c, m, (struct purpose){"final", best_rate(m), c->steps}, k + 1, &m->finals[k]);
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
    const bool drawn = plot_lines(path, parts_of(c) ? "Validation loss, mean over parts and seeds"
                                                    : "Validation loss, mean over seeds",
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
    search_print(out, c);
    results_print(out, c);
    differences_print(out, c);
    way_print(out, c);
    parts_print(out, c);
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
