/* The report: one HTML page that stands alone, without scripts or anything to fetch. See analyse.h.
 *
 * It is written from the numbers of analyse_measure.c and the runs' logs only. Tables come from rows and columns,
 * plots from src/run/plot.h: each is a file under plots/, and the same text stands in the page. What the words mean is
 * said in the page, beside the figures. */
#include "analyse.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "analyse_page.h"
#include "routing.h"
#include "../../src/run/runlog.h"
#include "../../src/base/text.h"

/* ---- Names -------------------------------------------------------------------------------------- */

/* The run that a log belongs to: the last part of its directory. malloc'ed. */
static char *run_name(const char *log) {
    const char *end = strrchr(log, '/'), *start = end;
    if (!end) return string_format("run");
    while (start > log && start[-1] != '/') start--;
    return string_format("%.*s", (int)(end - start), start);
}

/* Checkpoints of one run share its log: it is shown once. */
static bool log_is_new(const json_t *models, size_t i) {
    for (size_t j = 0; j < i; j++)
        if (strcmp(text_at(json_array_get(models, j), "log"), text_at(json_array_get(models, i), "log")) == 0)
            return false;
    return true;
}

/* Copies of the models that also say "title", a whole name after its number, "label" and, of their runs, "run". */
static json_t *models_labelled(const json_t *models) {
    const size_t n = json_array_size(models);
    json_t *copies = json_array();
    const char *names[n];
    char *runs[n];
    for (size_t i = 0; i < n; i++) {
        names[i] = text_at(json_array_get(models, i), "name");
        /* no name is empty: that of a log which was there before stands for none */
        runs[i] = log_is_new(models, i) ? run_name(text_at(json_array_get(models, i), "log")) : string_format("%s", "");
    }
    for (size_t i = 0; i < n; i++) {
        json_t *copy = json_copy(json_array_get(models, i));
        char *label = label_make(names, n, i), *run = label_make((const char *const *)runs, n, i);
        char *title = string_format("#%zu %s", i + 1, names[i]);
        json_object_set_new(copy, "title", json_string(title));
        json_object_set_new(copy, "label", json_string(label));
        json_object_set_new(copy, "run", json_string(run));
        json_array_append_new(copies, copy);
        free(title);
        free(label);
        free(run);
    }
    for (size_t i = 0; i < n; i++) free(runs[i]);
    return copies;
}

static unsigned have_of(const json_t *model) {
    const double H = number_at(model, "heads"), K = number_at(model, "topk"), E = number_at(model, "experts");
    return (H > 1 ? HEADS : 0u) | (K > 1 ? PICKS : 0u) | (K < E ? CHOICE : 0u);
}

static unsigned have_any(const json_t *models) {
    unsigned have = 0;
    size_t i;
    const json_t *model;
    json_array_foreach(models, i, model) have |= have_of(model);
    return have;
}

/* Why some of a model's numbers cannot differ, where they cannot. */
static void constants_explain(struct report *r, const json_t *model) {
    const unsigned have = have_of(model);
    const double H = number_at(model, "heads"), K = number_at(model, "topk");
    if (have == (HEADS | PICKS | CHOICE)) return;
    fputs("<p class=\"note\">", r->out);
    if (!(have & CHOICE))
        xml_print(r->out, "K = E = %.0f: every sub-token picks every expert, and each has exactly an even share. ", K);
    if (!(have & HEADS))
        xml_print(r->out, "Whole tokens are routed (H = 1): each reaches exactly K = %.0f expert%s, and counting "
                  "tokens, picks a token or sub-tokens is the same. ", K, K == 1 ? "" : "s");
    else if (!(have & PICKS))
        xml_print(r->out, "Each of the H = %.0f sub-tokens picks one expert (K = 1), the first pick is all picks. ", H);
    if (!(have & (HEADS | PICKS))) xml_print(r->out, "With K = 1, too, 1/E is an even share.");
    fputs("</p>\n", r->out);
}

static void section_model(struct report *r, const json_t *model) {
    section_title(r, model);
    constants_explain(r, model);
}

/* ---- Models and loss ---------------------------------------------------------------------------- */

static void section_models(struct report *r, const json_t *analysis, const json_t *models) {
    static const struct column columns[] = {
        {"title", "model", NULL, 0}, {"ffn", "kind", NULL, 0}, {"step", "step", "%.0f", 0},
        {"loss", "loss, nats a token", "%.4f", 0}, {"bits_per_byte", "bits per byte", "%.4f", 0},
        {"moe_layers", "MoE layers", "%.0f", 0}, {"experts", "experts E", "%.0f", 0},
        {"heads", "sub-tokens H", "%.0f", 0}, {"topk", "top-K", "%.0f", 0}, {"hidden", "expert width F", "%.0f", 0},
        {"parameters", "parameters", "%.0f", 0}, {"active_parameters", "of them active, at most", "%.0f", 0},
    };
    const json_t *text = json_object_get(analysis, "text");
    heading(r, "models", "Models");
    fputs("<p>All were run over the same text: ", r->out);
    xml_print(r->out, "%s, %.0f tokens, %.0f different words.", text_at(text, "name"), number_at(text, "tokens"),
              number_at(text, "words"));
    fputs("</p>\n", r->out);
    table(r, "The models. Loss is that on this text.", models, COLUMNS(columns), 0);
    checkpoints_list(r, models);
}

/* What was wrong with the logs. */
static void logs_explain(struct report *r, const json_t *models) {
    size_t i;
    const json_t *model;
    json_array_foreach(models, i, model) {
        if (!log_is_new(models, i) || !text_at(model, "log_note")) continue;
        fputs("<p class=\"note\">", r->out);
        xml_print(r->out, "%s", text_at(model, "log_note"));
        fputs("</p>\n", r->out);
    }
}

/* Tokens, where every entry counts them: steps of models with different batches are unlike. */
static const char *loss_axis(const json_t *models) {
    bool counted = true;
    size_t i;
    const json_t *model;
    json_array_foreach(models, i, model) {
        for (int val = 0; val < 2; val++) {
            const char *log = text_at(model, "log"), *key = val ? "val_loss" : "loss";
            struct curve tokens = runlog_curve(log, "tokens", key), steps = runlog_curve(log, "step", key);
            counted = counted && tokens.n == steps.n;
            curve_free(&tokens);
            curve_free(&steps);
        }
    }
    return counted ? "tokens" : "step";
}

static void section_loss(struct report *r, const json_t *models) {
    const size_t n = json_array_size(models);
    const char *axis = loss_axis(models);
    struct plot_series *series = array_alloc(2 * n, sizeof *series);
    struct curve *curves = array_alloc(2 * n, sizeof *curves);
    size_t used = 0;
    heading(r, "loss", "Loss");
    for (size_t i = 0; i < n; i++) {
        const json_t *model = json_array_get(models, i);
        for (int val = 0; val < 2 && log_is_new(models, i); val++) {
            struct curve c = runlog_curve(text_at(model, "log"), axis, val ? "val_loss" : "loss");
            if (c.n == 0) continue;
            curves[used] = c;
            series[used++] = (struct plot_series){
                string_format("%s, %s", text_at(model, "run"), val ? "validation" : "training"), c.x, c.y, c.n};
        }
    }
    if (used > 0)
        figure_lines(r, "loss", "Loss", (const char *const[]){axis, "loss (nats a token)"}, series, used,
                     "From the log of each run: the loss of every training step, and validations.");
    logs_explain(r, models);
    for (size_t i = 0; i < used; i++) {
        free((char *)series[i].name);
        curve_free(&curves[i]);
    }
    free(series);
    free(curves);
}

/* ---- Activation --------------------------------------------------------------------------------- */

/* A way to count, and to compare: the key of a row, what it is called, and what a model needs for it to differ. */
struct way {
    const char *key, *name;
    unsigned needs;
};
static const struct way even_ways[] = {{"active_even", "picks", 0}, {"active_even_tokens", "tokens", HEADS}};
static const struct way plain_ways[] = {{"active_tokens", "share of tokens", HEADS | PICKS},
                                        {"active_picks", "picks a token", HEADS},
                                        {"active_subtokens", "share of sub-tokens", HEADS}};

/* One series for the column `key` of a sweep. */
static struct plot_series sweep_series(const json_t *sweep, const char *key, const char *name) {
    const size_t n = json_array_size(sweep);
    double *x = array_alloc(n, sizeof *x), *y = array_alloc(n, sizeof *y);
    for (size_t i = 0; i < n; i++) {
        x[i] = number_at(json_array_get(sweep, i), "multiple");
        y[i] = number_at(json_array_get(sweep, i), key);
    }
    return (struct plot_series){name, x, y, n};
}

static void sweep_draw(struct report *r, bool even, const char *title, struct plot_series *series, size_t n,
                       const char *caption) {
    const char *const axes[] = {even ? "threshold, in even shares" : "threshold, in units of 1/E",
                                "share of experts above it"};
    figure_lines(r, even ? "sweep-even" : "sweep", title, axes, series, n, caption);
    for (size_t i = 0; i < n; i++) free((void *)series[i].x), free((void *)series[i].y);
}

/* The ways in which one model's experts can be counted. */
static void sweep_of_model(struct report *r, const json_t *model, bool even) {
    struct plot_series series[3];
    const struct way *ways = even ? even_ways : plain_ways;
    const json_t *sweep = json_object_get(json_object_get(model, "all"), even ? "sweep_even" : "sweep");
    size_t n = 0;
    for (size_t i = 0; i < (even ? 2 : 3); i++)
        if (!ways[i].needs || (ways[i].needs & have_of(model)))
            series[n++] = sweep_series(sweep, ways[i].key, ways[i].name);
    if (n == 0) return;
    char *title = string_format("Active experts of %s, all layers, thresholds in %s", text_at(model, "label"),
                                even ? "even shares" : "1/E");
    sweep_draw(r, even, title, series, n,
               even ? "Experts with more than so many even shares, of picks and of tokens."
                    : "The three ways to count, over thresholds that do not know K and H.");
    free(title);
}

/* The thresholds 0, 1/8, 1/4, 1/2, 1, 2, 4, ... of every layer and of all. */
static void sweep_table(struct report *r, const json_t *model, bool even) {
    static const struct column even_columns[] = {
        {"layer", "layer", NULL, 0}, {"multiple", "threshold, in even shares", "%g", 0},
        {"active_even", "above it, by picks", "%.3f", 0}, {"active_even_tokens", "by tokens", "%.3f", HEADS},
    };
    static const struct column columns[] = {
        {"layer", "layer", NULL, 0}, {"multiple", "threshold, in 1/E", "%g", 0},
        {"threshold", "threshold", "%.4f", 0}, {"active_tokens", "above it, by share of tokens", "%.3f", 0},
        {"active_picks", "by picks a token", "%.3f", HEADS},
        {"active_subtokens", "by share of sub-tokens", "%.3f", HEADS},
    };
    json_t *rows = json_array(), *layers = json_copy(json_object_get(model, "layers"));
    size_t i, j;
    json_t *layer, *row;
    json_array_append(layers, json_object_get(model, "all"));
    json_array_foreach(layers, i, layer) {
        json_array_foreach(json_object_get(layer, even ? "sweep_even" : "sweep"), j, row) {
            int exponent;
            const double mantissa = frexp(number_at(row, "multiple"), &exponent);
            if (mantissa == 0 || mantissa == 0.5) json_array_append(rows, row);
        }
    }
    if (even) table(r, "Experts above a threshold in even shares.", rows, COLUMNS(even_columns), have_of(model));
    else table(r, "Experts whose frequency is above a multiple of 1/E.", rows, COLUMNS(columns), have_of(model));
    json_decref(rows);
    json_decref(layers);
}

static void layers_table(struct report *r, const json_t *model) {
    static const struct column columns[] = {
        {"layer", "layer", NULL, 0}, {"active_even", "active, above an even share of picks", "%.3f", 0},
        {"active_even_tokens", "above an even share of tokens", "%.3f", HEADS},
        {"active_tokens", "above 1/E, by share of tokens", "%.3f", HEADS | PICKS},
        {"active_picks", "above 1/E, by picks a token", "%.3f", HEADS},
        {"active_subtokens", "above 1/E, by share of sub-tokens", "%.3f", HEADS},
        {"entropy", "entropy, nats", "%.3f", 0}, {"entropy_normalised", "entropy / ln E", "%.4f", 0},
        {"variation", "coefficient of variation", "%.3f", 0}, {"largest", "largest share", "%.4f", 0},
        {"dead", "dead experts", "%.0f", 0},
    };
    json_t *rows = json_copy(json_object_get(model, "layers"));
    json_array_append(rows, json_object_get(model, "all"));
    table(r,
          "An expert is active here if it has more than an even share; beside it, if its frequency is above 1/E. "
          "\"all\": ratios over the experts of every layer, means of entropy and variation, the largest share "
          "anywhere, the sum of dead experts.",
          rows, COLUMNS(columns), have_of(model));
    json_decref(rows);
}

/* Every model, its "all" row and its sizes. */
static void comparison(struct report *r, const json_t *models) {
    static const struct column active[] = {
        {"label", "model", NULL, 0}, {"experts", "E", "%.0f", 0}, {"heads", "H", "%.0f", 0}, {"topk", "K", "%.0f", 0},
        {"active_even", "active, above an even share of picks", "%.3f", 0},
        {"active_even_tokens", "above an even share of tokens", "%.3f", HEADS},
        {"active_tokens", "above 1/E, by share of tokens", "%.3f", HEADS | PICKS},
        {"active_picks", "above 1/E, by picks a token", "%.3f", HEADS},
        {"active_subtokens", "above 1/E, by share of sub-tokens", "%.3f", HEADS},
    };
    static const struct column even[] = {
        {"label", "model", NULL, 0}, {"entropy_normalised", "entropy / ln E", "%.4f", 0},
        {"variation", "coefficient of variation", "%.3f", 0}, {"largest", "largest share", "%.4f", 0},
        {"dead", "dead experts", "%.0f", 0}, {"reach", "experts a token reaches", "%.3f", HEADS},
        {"reach_even", "if drawn evenly", "%.3f", HEADS},
    };
    static const char *const sizes[] = {"label", "experts", "heads", "topk"};
    json_t *rows = json_array();
    size_t i;
    const json_t *model;
    json_array_foreach(models, i, model) {
        json_t *row = json_copy(json_object_get(model, "all"));
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            json_object_set(row, sizes[s], json_object_get(model, sizes[s]));
        json_array_append_new(rows, row);
    }
    subheading(r, "Side by side");
    table(r,
          "All MoE layers of each model together. Compare models by even shares: 1/E is K times easier to pass for K "
          "picks than for one, and where tokens or picks a token are counted H times more again.",
          rows, COLUMNS(active), have_any(models));
    table(r,
          have_any(models) & HEADS ? "Evenness of the load, and how many experts a token reaches (with H = 1 always K)."
                                   : "Evenness of the load.",
          rows, COLUMNS(even), have_any(models));
    json_decref(rows);
}

/* The sweeps of all models, by one way to count. */
static void comparison_sweep(struct report *r, const json_t *models, bool even, const struct way *way) {
    const size_t n = json_array_size(models);
    struct plot_series *series = array_alloc(n, sizeof *series);
    for (size_t i = 0; i < n; i++) {
        const json_t *model = json_array_get(models, i), *all = json_object_get(model, "all");
        const json_t *sweep = json_object_get(all, even ? "sweep_even" : "sweep");
        series[i] = sweep_series(sweep, way->key, text_at(model, "label"));
    }
    char *title = string_format("Active experts of each model, by %s", way->name);
    sweep_draw(r, even, title, series, n,
               even ? "Thresholds in units of what each expert of the model would have if all were used evenly."
                    : "Each model's threshold is in units of its own 1/E, which more K and H make easier to pass.");
    free(title);
    free(series);
}

/* Activation ratio as a map of models and layers; a model with fewer layers has gaps. */
static void comparison_map(struct report *r, const json_t *models) {
    const size_t n = json_array_size(models);
    size_t columns = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t layers = json_array_size(json_object_get(json_array_get(models, i), "layers"));
        if (layers > columns) columns = layers;
    }
    double *values = array_alloc(n * columns, sizeof *values);
    const char **labels = array_alloc(n, sizeof *labels);
    for (size_t i = 0; i < n; i++) {
        const json_t *model = json_array_get(models, i), *layers = json_object_get(model, "layers");
        labels[i] = text_at(model, "label");
        for (size_t c = 0; c < columns; c++)
            values[i * columns + c] =
                c < json_array_size(layers) ? number_at(json_array_get(layers, c), even_ways[0].key) : NAN;
    }
    const struct heatmap map = {"model", "MoE layer, from the first", labels, values, n, columns, 0, 1};
    figure_heatmap(r, "activation", "Active experts: above an even share of picks", &map,
                   "The share of a layer's experts with more than an even share of its picks.");
    free(labels);
    free(values);
}

static void activation_explain(struct report *r) {
    fputs("<p>An expert counts as active if it is used more than some threshold. Here the threshold is in <em>even "
          "shares</em>: 1 is what each expert has if all E are used evenly, whatever E, how many K each of a token's H "
          "sub-tokens picks, and H.</p>\n<dl>\n<dt>By picks</dt><dd>The expert's picks, in units of K/E of all "
          "sub-tokens (or of HK/E a token, which is the same).</dd>\n<dt>By tokens</dt><dd>Tokens any of whose "
          "sub-tokens picked it, in units of 1 \xe2\x88\x92 (1 \xe2\x88\x92 K/E)<sup>H</sup> of all tokens, what "
          "even draws would give.</dd>\n</dl>\n<p>The paper that introduced the ratio (arXiv 2404.15045) leaves the "
          "threshold open, and whether tokens or sub-tokens are counted. So beside it stand the three readings "
          "against <em>1/E</em>. That threshold is K times easier to pass with K picks than with one, and cannot "
          "compare models of different K or H.</p>\n<dl>\n<dt>Above 1/E, by share of "
          "tokens</dt><dd>Tokens any of whose sub-tokens picked the expert, over all tokens.</dd>\n<dt>Above 1/E, by "
          "picks a token</dt><dd>Picks of the expert over all tokens: between 0 and H, HK/E if drawn "
          "evenly.</dd>\n<dt>Above 1/E, by share of sub-tokens</dt><dd>Picks of the expert over all sub-tokens: K/E if "
          "drawn evenly.</dd>\n</dl>\n",
          r->out);
}

static void section_activation(struct report *r, const json_t *models) {
    size_t i;
    const json_t *model;
    heading(r, "activation", "Which experts are used");
    activation_explain(r);
    if (json_array_size(models) > 1) {
        comparison(r, models);
        for (size_t w = 0; w < 2; w++)
            if (!even_ways[w].needs || (have_any(models) & even_ways[w].needs))
                comparison_sweep(r, models, true, &even_ways[w]);
        comparison_map(r, models);
        fputs("<details><summary>Thresholds in units of 1/E</summary>\n", r->out);
        comparison_sweep(r, models, false, &plain_ways[0]);
        if (have_any(models) & HEADS) comparison_sweep(r, models, false, &plain_ways[2]);
        fputs("</details>\n", r->out);
    }
    json_array_foreach(models, i, model) {
        section_model(r, model);
        layers_table(r, model);
        sweep_of_model(r, model, true);
        fputs("<details><summary>Thresholds, layer by layer, and in units of 1/E</summary>\n", r->out);
        sweep_table(r, model, true);
        sweep_of_model(r, model, false);
        sweep_table(r, model, false);
        fputs("</details>\n", r->out);
    }
}

/* ---- Load --------------------------------------------------------------------------------------- */

/* The load of each layer, or with `heads` of each place in a token by itself. */
static struct load_map load_map_of(const json_t *model, bool heads) {
    const json_t *layers = json_object_get(model, "layers"), *layer;
    const size_t H = (size_t)number_at(model, "heads"), E = (size_t)number_at(model, "experts");
    struct load_map map = load_map_make(json_array_size(layers) * H, E);
    size_t i;
    json_array_foreach(layers, i, layer) {
        double *sum = array_alloc(E, sizeof *sum);
        for (size_t h = 0; h < H; h++) {
            double *counts = numbers_of(json_array_get(json_object_get(layer, "picks"), h));
            if (heads) load_map_add(&map, string_format("%s / %zu", text_at(layer, "layer"), h), counts);
            for (size_t e = 0; e < E; e++) sum[e] += counts[e];
            free(counts);
        }
        if (!heads) load_map_add(&map, string_format("%s", text_at(layer, "layer")), sum);
        free(sum);
    }
    return map;
}

static void section_load(struct report *r, const json_t *models) {
    size_t i;
    const json_t *model;
    heading(r, "load", "Load of the experts");
    fputs("<p>In the maps 1 is an even share of the row's picks; 0 is an expert that nothing was sent to.</p>\n",
          r->out);
    json_array_foreach(models, i, model) {
        const char *name = text_at(model, "label");
        struct load_map map = load_map_of(model, false);
        char *title = string_format("Load of each expert in %s", name);
        section_title(r, model);
        load_map_draw(r, &map, "load", title, "MoE layer", "All sub-tokens of the text.");
        free(title);
        if (number_at(model, "heads") < 2) continue;
        map = load_map_of(model, true);
        title = string_format("Load by place in the token, in %s", name);
        load_map_draw(r, &map, "heads", title, "MoE layer / sub-token",
                      "Each row is one of the H slices that tokens are cut into: where rows of a layer differ, "
                      "the places in a token have specialised.");
        free(title);
    }
}

enum { PERIODS = 20 };

/* Picks of each expert in each of PERIODS equal parts of a run: two passes over its log. */
struct periods {
    double last;    /* step */
    double *counts; /* (PERIODS, layers, experts) */
    size_t layers, experts;
};

static void periods_end(void *context, const json_t *entry) {
    struct periods *p = context;
    p->last = fmax(p->last, number_at(entry, "step"));
}

static void periods_add(void *context, const json_t *entry) {
    struct periods *p = context;
    const json_t *load = json_object_get(entry, "load");
    const double place = (number_at(entry, "step") - 1) / p->last * PERIODS;
    const size_t period = place > 0 ? (size_t)place : 0;
    if (json_array_size(load) != p->layers || period >= PERIODS) return; /* the run may have gone on meanwhile */
    for (size_t lm = 0; lm < p->layers; lm++)
        if (json_array_size(json_array_get(load, lm)) != p->experts) return; /* of another model */
    for (size_t lm = 0; lm < p->layers; lm++)
        for (size_t e = 0; e < p->experts; e++)
            p->counts[(period * p->layers + lm) * p->experts + e] +=
                json_number_value(json_array_get(json_array_get(load, lm), e));
}

static void periods_draw(struct report *r, const json_t *model, const struct periods *p) {
    for (size_t lm = 0; lm < p->layers; lm++) {
        struct load_map map = load_map_make(PERIODS, p->experts);
        for (size_t i = 0; i < PERIODS; i++) {
            const double *counts = p->counts + (i * p->layers + lm) * p->experts;
            load_map_add(&map, string_format("step %.0f", p->last * (double)(i + 1) / PERIODS), counts);
        }
        char *title = string_format("Load during training, %s, %s", text_at(model, "run"),
                                    text_at(json_array_get(json_object_get(model, "layers"), lm), "layer"));
        load_map_draw(r, &map, "training-load", title, "up to",
                      "From the log: each row is one twentieth of the run.");
        free(title);
    }
}

static void section_training_load(struct report *r, const json_t *models) {
    size_t i, drawn = 0;
    const json_t *model;
    heading(r, "training", "Load during training");
    json_array_foreach(models, i, model) {
        struct periods p = {.layers = json_array_size(json_object_get(model, "layers")),
                            .experts = (size_t)number_at(model, "experts")};
        if (!log_is_new(models, i)) continue;
        runlog_read(text_at(model, "log"), periods_end, &p);
        if (p.last < 1) continue;
        p.counts = array_alloc(PERIODS * p.layers * p.experts, sizeof *p.counts);
        runlog_read(text_at(model, "log"), periods_add, &p);
        periods_draw(r, model, &p);
        drawn++;
        free(p.counts);
    }
    if (drawn == 0) fputs("<p>There is no log.jsonl beside these checkpoints.</p>\n", r->out);
}

/* ---- Divergence --------------------------------------------------------------------------------- */

static void correlation_print(struct report *r, const json_t *correlation) {
    if (!json_is_number(correlation)) return; /* every token reaches as many */
    fprintf(r->out, "<p class=\"note\">Rank correlation (Spearman) of occurrences and experts reached, over all "
            "tokens: %+.3f.</p>\n", json_number_value(correlation));
}

static void section_divergence(struct report *r, const json_t *models) {
    static const struct column layers[] = {
        {"layer", "layer", NULL, 0}, {"reach", "experts reached, all picks", "%.3f", CHOICE},
        {"reach_even", "if drawn evenly", "%.3f", CHOICE},
        {"reach_top", "experts reached, first picks", "%.3f", PICKS},
        {"reach_top_even", "if drawn evenly", "%.3f", PICKS},
    };
    static const struct column deciles[] = {
        {"decile", "tenth", "%.0f", 0}, {"tokens", "tokens", "%.0f", 0},
        {"occurrences", "mean occurrences", "%.1f", 0}, {"reach", "experts reached, all picks", "%.3f", CHOICE},
        {"reach_top", "experts reached, first picks", "%.3f", PICKS},
    };
    size_t i;
    const json_t *model;
    heading(r, "divergence", "How far a token's parts diverge");
    fputs("<p>The number of different experts that the sub-tokens of one token reach, with all K picks of each "
          "and with the first pick only; its mean over tokens. Even draws of K different experts for each "
          "sub-token, independent of the others, would reach E(1 \xe2\x88\x92 (1 \xe2\x88\x92 K/E)<sup>H</sup>). "
          "The tenths order all tokens of the text by how often their vocabulary piece occurs in it, rarest "
          "first; tokens of one piece stay together, so a tenth may be larger than another, or empty. In the "
          "tenths it is the mean over MoE layers.</p>\n",
          r->out);
    json_array_foreach(models, i, model) {
        const unsigned have = have_of(model);
        section_model(r, model);
        if (!(have & HEADS)) continue; /* every number would be K */
        json_t *rows = json_copy(json_object_get(model, "layers"));
        json_array_append(rows, json_object_get(model, "all"));
        table(r, "Different experts that a token reaches.", rows, COLUMNS(layers), have);
        table(r, "By frequency of the token's piece, from the rarest tenth to the commonest.",
              json_object_get(model, "deciles"), COLUMNS(deciles), have);
        correlation_print(r, json_object_get(model, "reach_frequency_correlation"));
        json_decref(rows);
    }
}

static void section_words(struct report *r, const json_t *analysis, const json_t *models) {
    static const struct column senses[] = {
        {"senses", "senses", NULL, 0}, {"words", "words", "%.0f", 0},
        {"occurrences", "mean occurrences", "%.1f", 0}, {"reach", "experts reached, all picks", "%.3f", CHOICE},
        {"reach_top", "experts reached, first picks", "%.3f", PICKS},
    };
    static const struct column correlations[] = {
        {"divergence", "senses and experts reached by", NULL, 0}, {"spearman", "Spearman", "%+.3f", 0},
        {"spearman_within", "within tenths of frequency", "%+.3f", 0},
        {"standard_error", "standard error if unrelated", "%.3f", 0},
    };
    size_t i;
    const json_t *model;
    heading(r, "words", "Words of many senses");
    if (!json_is_string(json_object_get(analysis, "wordnet"))) {
        fputs("<p>WordNet is not here, so senses were not counted. <code>sh data/corpus.sh wordnet</code> fetches "
              "it.</p>\n",
              r->out);
        return;
    }
    fputs("<p>A word is a run of letters, in small letters; its first token stands for it, and where it occurs "
          "more than once the mean of its tokens. Its senses are the synsets that WordNet lists for it as a noun, "
          "verb, adjective and adverb; words that are no lemma there (inflected forms, names) are left out. Every "
          "word counts once. Frequent words have more senses, so the correlation is also taken within tenths of "
          "the words by their frequency in this text, and averaged.</p>\n",
          r->out);
    json_array_foreach(models, i, model) {
        section_model(r, model);
        if (!(have_of(model) & HEADS)) continue;
        table(r, "Different experts that a word's first token reaches, mean over MoE layers.",
              json_object_get(model, "senses"), COLUMNS(senses), have_of(model));
        table(r, "Rank correlation. A dash: one of the two does not vary.",
              json_object_get(model, "senses_correlation"), COLUMNS(correlations), 0);
    }
}

/* ---- Stability, samples ------------------------------------------------------------------------- */

/* The rows with labels instead of names; *have: PICKS if one of them is of a model that needs to be told so much. */
static json_t *stability_labelled(const json_t *rows, const json_t *models, unsigned *have) {
    json_t *copies = json_array();
    size_t i;
    const json_t *row;
    *have = 0;
    json_array_foreach(rows, i, row) {
        json_t *copy = json_copy((json_t *)row);
        const json_t *from = json_array_get(models, (size_t)number_at(row, "from_number") - 1);
        const json_t *to = json_array_get(models, (size_t)number_at(row, "to_number") - 1);
        json_object_set(copy, "from", json_object_get(from, "label"));
        json_object_set(copy, "to", json_object_get(to, "label"));
        json_array_append_new(copies, copy);
        *have |= have_of(from);
    }
    return copies;
}

static void section_stability(struct report *r, const json_t *analysis, const json_t *models) {
    static const struct column columns[] = {
        {"from", "from", NULL, 0}, {"to", "to", NULL, 0}, {"layer", "layer", NULL, 0},
        {"same_set", "same set of picks", "%.3f", 0}, {"jaccard", "overlap (Jaccard)", "%.3f", PICKS},
        {"same_first", "same first pick", "%.3f", PICKS},
    };
    unsigned have;
    json_t *rows = stability_labelled(json_object_get(analysis, "stability"), models, &have);
    heading(r, "stability", "Stability of the routing");
    if (json_array_size(rows) == 0) {
        json_decref(rows);
        fputs("<p>To be seen where two checkpoints of the same configuration are named one after the other.</p>\n",
              r->out);
        return;
    }
    fputs("<p>From each checkpoint to the next one named, on the same text: the share of sub-tokens that pick the "
          "same K experts, in any order; the mean over sub-tokens of experts picked by both over experts picked "
          "by either; and the share whose first pick is the same.</p>\n",
          r->out);
    table(r,
          have & PICKS ? "1 is no change. Where K = 1 the three are the same."
                       : "1 is no change. With K = 1 a set is one pick.",
          rows, COLUMNS(columns), have);
    json_decref(rows);
}

/* Text keeps its lines; xml_print would blank them. */
static void sample_print(FILE *out, const char *text) {
    fputs("<pre>\n", out);
    for (const char *end; *text; text = *end ? end + 1 : end) {
        end = strchrnul(text, '\n');
        xml_print(out, "%.*s", (int)(end - text), text);
        if (*end) fputc('\n', out);
    }
    fputs("</pre>\n", out);
}

static void section_samples(struct report *r, const json_t *models) {
    size_t i, j;
    const json_t *model, *sample;
    heading(r, "samples", "Samples");
    fputs("<p class=\"note\">Temperature 0.8, top-p 0.95, fixed seeds.</p>\n", r->out);
    json_array_foreach(models, i, model) {
        section_title(r, model);
        json_array_foreach(json_object_get(model, "samples"), j, sample)
            sample_print(r->out, json_string_value(sample));
    }
}

/* ---- The page ----------------------------------------------------------------------------------- */

static void title_print(struct report *r, const json_t *analysis, const json_t *models) {
    size_t i;
    const json_t *model;
    fputs("<h1>How experts are used</h1>\n<p>", r->out);
    json_array_foreach(models, i, model)
        xml_print(r->out, "%s%s (%s, step %.0f)", i ? ", " : "", text_at(model, "name"), text_at(model, "ffn"),
                  number_at(model, "step"));
    fputs("</p>\n<nav><a href=\"#models\">Models</a><a href=\"#loss\">Loss</a><a "
          "href=\"#activation\">Activation</a><a href=\"#load\">Load</a><a href=\"#training\">Training</a><a "
          "href=\"#divergence\">Divergence</a>",
          r->out);
    if (has_parts(analysis)) fputs("<a href=\"#parts\">Parts</a>", r->out);
    fputs("<a href=\"#words\">Words</a><a href=\"#stability\">Stability</a><a href=\"#samples\">Samples</a></nav>\n",
          r->out);
}

bool report_write(const char *dir, const json_t *analysis, struct error *err) {
    struct atomic_file file;
    char *path = string_format("%s/report.html", dir);
    const bool opened = atomic_open(&file, path, err);
    free(path);
    if (!opened) return false;
    figures_remove(dir);
    json_t *models = models_labelled(json_object_get(analysis, "models"));
    struct report report = {.out = file.file, .dir = dir, .err = err, .ok = true}, *r = &report;
    page_start(r, "How experts are used");
    title_print(r, analysis, models);
    section_models(r, analysis, models);
    section_loss(r, models);
    section_activation(r, models);
    section_load(r, models);
    section_training_load(r, models);
    section_divergence(r, models);
    section_parts(r, analysis, models);
    section_words(r, analysis, models);
    section_stability(r, analysis, models);
    section_samples(r, models);
    page_end(r);
    json_decref(models);
    if (r->ok) return atomic_commit(&file, err);
    atomic_abandon(&file);
    return false;
}
