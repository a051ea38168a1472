/* The report: one HTML page that stands alone, without scripts or anything to fetch. See analyse.h.
 *
 * It is written from the numbers of analyse_measure.c and the runs' logs only. Tables come from rows and columns,
 * plots from src/plot.h: each is a file under plots/, and the same text stands in the page. What the words mean is
 * said in the page, beside the figures. */
#include "analyse.h"

#include <dirent.h>
#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../src/plot.h"
#include "../src/runlog.h"
#include "../src/text.h"

struct report {
    FILE *out;
    const char *dir;
    struct error *err;
    bool ok;       /* false once a plot could not be written or read back */
    int figures;
};

/* ---- Parts of a page ---------------------------------------------------------------------------- */

static const char page_start[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
    "img-src data:\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n"
    "<title>How experts are used</title>\n<style>\n"
    ":root{color-scheme:light dark}\n"
    "body{margin:0 auto;padding:1rem 1.25rem 4rem;max-width:58rem;color:#1f2328;background:#fff;"
    "font:16px/1.55 system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;overflow-wrap:anywhere}\n"
    "h1{font-size:1.7rem;line-height:1.2;margin:1.5rem 0 .5rem}\n"
    "h2{font-size:1.3rem;margin:3rem 0 .5rem;padding-top:.75rem;border-top:1px solid #d1d9e0}\n"
    "h3{font-size:1.05rem;margin:2rem 0 .25rem}\np,dl,nav,caption,figcaption{max-width:44rem}\n"
    "p{margin:.5rem 0}a{color:#0969da}\n"
    "nav a{display:inline-block;margin-right:1rem}\n"
    ".note,figcaption,caption{color:#59636e;font-size:.875rem}\n"
    ".wide{overflow-x:auto;margin:.75rem 0}\n"
    ".wide svg{display:block;min-width:560px}\n"
    "figure{margin:1rem 0}\n"
    "table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}\n"
    "caption{text-align:left;padding-bottom:.25rem}\n"
    "th,td{padding:.3rem .75rem .3rem 0;text-align:right;border-bottom:1px solid #d1d9e0;overflow-wrap:normal;"
    "vertical-align:bottom}\n"
    "th{font-weight:600;min-width:3.5rem}td.word,th.word{text-align:left}\n"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;padding:.75rem 1rem;margin:.75rem 0;background:#f6f8fa;"
    "border-radius:6px;font:.875rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}\n"
    "summary{cursor:pointer;margin:.75rem 0}\ndt{font-weight:600;margin-top:.75rem}dd{margin:0}\n"
    "@media (prefers-color-scheme:dark){body{color:#f0f6fc;background:#0d1117}a{color:#4493f8}\n"
    ".note,figcaption,caption{color:#9198a1}h2,th,td{border-color:#3d444d}pre{background:#151b23}}\n"
    "</style>\n</head>\n<body>\n";

static void heading(struct report *r, const char *id, const char *text) {
    fprintf(r->out, "<h2 id=\"%s\">", id);
    xml_print(r->out, "%s", text);
    fputs("</h2>\n", r->out);
}

static void subheading(struct report *r, const char *text) {
    fputs("<h3>", r->out);
    xml_print(r->out, "%s", text);
    fputs("</h3>\n", r->out);
}

/* One column of a table: which key of a row, and how: a format for a double, or NULL for text. */
struct column {
    const char *key, *heading, *format;
};
#define COLUMNS(list) list, sizeof(list) / sizeof *(list)

static void cell_print(FILE *out, const struct column *c, const json_t *value) {
    fputs(c->format ? "<td>" : "<td class=\"word\">", out);
    if (json_is_number(value)) xml_print(out, c->format ? c->format : "%g", json_number_value(value));
    else xml_print(out, "%s", json_is_string(value) ? json_string_value(value) : "\xe2\x80\x93");
    fputs("</td>", out);
}

static void table(struct report *r, const char *caption, const json_t *rows, const struct column *columns,
                  size_t n) {
    size_t i;
    const json_t *row;
    fputs("<div class=\"wide\" tabindex=\"0\"><table><caption>", r->out);
    xml_print(r->out, "%s", caption);
    fputs("</caption>\n<thead><tr>", r->out);
    for (size_t c = 0; c < n; c++) {
        fputs(columns[c].format ? "<th scope=\"col\">" : "<th scope=\"col\" class=\"word\">", r->out);
        xml_print(r->out, "%s", columns[c].heading);
        fputs("</th>", r->out);
    }
    fputs("</tr></thead>\n<tbody>\n", r->out);
    json_array_foreach(rows, i, row) {
        fputs("<tr>", r->out);
        for (size_t c = 0; c < n; c++) cell_print(r->out, &columns[c], json_object_get(row, columns[c].key));
        fputs("</tr>\n", r->out);
    }
    fputs("</tbody></table></div>\n", r->out);
}

/* An earlier report may have had more plots: none of them shall pass for one of this report. */
static void figures_remove(const char *dir) {
    char *plots = string_format("%s/plots", dir);
    DIR *stream = opendir(plots);
    for (struct dirent *entry; stream && (entry = readdir(stream));)
        if (fnmatch("[0-9][0-9]-*.svg", entry->d_name, 0) == 0) unlinkat(dirfd(stream), entry->d_name, 0);
    if (stream) closedir(stream);
    free(plots);
}

/* The path of the next plot, malloc'ed. */
static char *figure_path(struct report *r, const char *kind) {
    return string_format("%s/plots/%02d-%s.svg", r->dir, ++r->figures, kind);
}

/* Puts a plot that was just written into the page, and frees its path. */
static void figure(struct report *r, char *path, bool drawn, const char *caption) {
    size_t size;
    char *svg = drawn ? file_contents(fopen(path, "rb"), path, &size, r->err) : NULL;
    if (svg) {
        fputs("<figure><div class=\"wide\" tabindex=\"0\">\n", r->out);
        fwrite(svg, 1, size, r->out);
        fputs("</div><figcaption>", r->out);
        xml_print(r->out, "%s", caption);
        fputs("</figcaption></figure>\n", r->out);
    }
    r->ok = r->ok && svg;
    free(svg);
    free(path);
}

static const char *text_at(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}
static double number_at(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

/* ---- Models and loss ---------------------------------------------------------------------------- */

static void section_models(struct report *r, const json_t *analysis) {
    static const struct column columns[] = {
        {"name", "model", NULL}, {"ffn", "kind", NULL}, {"step", "step", "%.0f"},
        {"loss", "loss, nats a token", "%.4f"}, {"bits_per_byte", "bits per byte", "%.4f"},
        {"moe_layers", "MoE layers", "%.0f"}, {"experts", "experts E", "%.0f"}, {"heads", "sub-tokens H", "%.0f"},
        {"topk", "top-K", "%.0f"}, {"hidden", "expert width F", "%.0f"}, {"parameters", "parameters", "%.0f"},
        {"active_parameters", "of them active, at most", "%.0f"}, {"checkpoint", "checkpoint", NULL},
    };
    const json_t *text = json_object_get(analysis, "text");
    heading(r, "models", "Models");
    fputs("<p>All were run over the same text: ", r->out);
    xml_print(r->out, "%s, %.0f tokens, %.0f different words.", text_at(text, "name"), number_at(text, "tokens"),
              number_at(text, "words"));
    fputs("</p>\n", r->out);
    table(r, "The models. Loss is that on this text.", json_object_get(analysis, "models"), COLUMNS(columns));
}

/* Checkpoints of one run share its log: it is shown once. */
static bool log_is_new(const json_t *models, size_t i) {
    for (size_t j = 0; j < i; j++)
        if (strcmp(text_at(json_array_get(models, j), "log"), text_at(json_array_get(models, i), "log")) == 0)
            return false;
    return true;
}

/* The run that a log belongs to: the last part of its directory. malloc'ed. */
static char *run_name(const char *log) {
    const char *end = strrchr(log, '/'), *start = end;
    if (!end) return string_format("run");
    while (start > log && start[-1] != '/') start--;
    return string_format("%.*s", (int)(end - start), start);
}

static void section_loss(struct report *r, const json_t *models) {
    const size_t n = json_array_size(models);
    struct plot_series *series = array_alloc(2 * n, sizeof *series);
    struct curve *curves = array_alloc(2 * n, sizeof *curves);
    size_t used = 0;
    heading(r, "loss", "Loss");
    for (size_t i = 0; i < n; i++) {
        const json_t *model = json_array_get(models, i);
        for (int val = 0; val < 2 && log_is_new(models, i); val++) {
            struct curve c = runlog_curve(text_at(model, "log"), "step", val ? "val_loss" : "loss");
            if (c.n == 0) continue;
            char *run = run_name(text_at(model, "log"));
            curves[used] = c;
            series[used++] = (struct plot_series){
                string_format("%s, %s", run, val ? "validation" : "training"), c.x, c.y, c.n};
            free(run);
        }
    }
    if (used > 0) {
        char *path = figure_path(r, "loss");
        const bool drawn = plot_lines(path, "Loss", (struct plot_axis){"step", false},
                                      (struct plot_axis){"loss (nats a token)", false}, series, used, r->err);
        figure(r, path, drawn, "From the log of each run: the loss of every training step, and validations.");
    } else
        fputs("<p>There is no log.jsonl beside these checkpoints.</p>\n", r->out);
    for (size_t i = 0; i < used; i++) {
        free((char *)series[i].name);
        curve_free(&curves[i]);
    }
    free(series);
    free(curves);
}

/* ---- Activation --------------------------------------------------------------------------------- */

static const char *const ratio_keys[] = {"active_tokens", "active_picks", "active_subtokens"};
static const char *const ratio_names[] = {"share of tokens", "picks a token", "share of sub-tokens"};

/* One series for the column `key` of a sweep. */
static struct plot_series sweep_series(const json_t *sweep, const char *key, char *name) {
    const size_t n = json_array_size(sweep);
    double *x = array_alloc(n, sizeof *x), *y = array_alloc(n, sizeof *y);
    for (size_t i = 0; i < n; i++) {
        x[i] = number_at(json_array_get(sweep, i), "multiple");
        y[i] = number_at(json_array_get(sweep, i), key);
    }
    return (struct plot_series){name, x, y, n};
}

static void sweep_draw(struct report *r, const char *title, struct plot_series *series, size_t n,
                       const char *caption) {
    char *path = figure_path(r, "sweep");
    const bool drawn = plot_lines(path, title, (struct plot_axis){"threshold, in units of 1/E", false},
                                  (struct plot_axis){"share of experts above it", false}, series, n, r->err);
    for (size_t i = 0; i < n; i++)
        free((char *)series[i].name), free((void *)series[i].x), free((void *)series[i].y);
    figure(r, path, drawn, caption);
}

static void sweep_of_model(struct report *r, const json_t *model) {
    struct plot_series series[3];
    const json_t *sweep = json_object_get(json_object_get(model, "all"), "sweep");
    for (int i = 0; i < 3; i++)
        series[i] = sweep_series(sweep, ratio_keys[i], string_format("%s", ratio_names[i]));
    char *title = string_format("Activation ratio of %s, all layers", text_at(model, "name"));
    sweep_draw(r, title, series, 3,
               "The three ways to count an expert's frequency, over the experts of all layers.");
    free(title);
}

/* The thresholds 0, 1/4, 1/2, 1, 2, 4, ... of every layer and of all. */
static void sweep_table(struct report *r, const json_t *model) {
    static const struct column columns[] = {
        {"layer", "layer", NULL}, {"multiple", "threshold, in 1/E", "%g"}, {"threshold", "threshold", "%.4f"},
        {"active_tokens", "above it, by share of tokens", "%.3f"},
        {"active_picks", "by picks a token", "%.3f"}, {"active_subtokens", "by share of sub-tokens", "%.3f"},
    };
    json_t *rows = json_array(), *layers = json_copy(json_object_get(model, "layers"));
    size_t i, j;
    json_t *layer, *row;
    json_array_append(layers, json_object_get(model, "all"));
    json_array_foreach(layers, i, layer) {
        json_array_foreach(json_object_get(layer, "sweep"), j, row) {
            int exponent;
            const double mantissa = frexp(number_at(row, "multiple"), &exponent);
            if (mantissa == 0 || mantissa == 0.5) json_array_append(rows, row);
        }
    }
    fputs("<details><summary>Thresholds, layer by layer</summary>\n", r->out);
    table(r, "Share of experts whose frequency is above the threshold.", rows, COLUMNS(columns));
    fputs("</details>\n", r->out);
    json_decref(rows);
    json_decref(layers);
}

static void layers_table(struct report *r, const json_t *model) {
    static const struct column columns[] = {
        {"layer", "layer", NULL}, {"active_tokens", "active, by share of tokens", "%.3f"},
        {"active_picks", "active, by picks a token", "%.3f"},
        {"active_subtokens", "active, by share of sub-tokens", "%.3f"}, {"entropy", "entropy, nats", "%.3f"},
        {"entropy_normalised", "entropy / ln E", "%.4f"}, {"variation", "coefficient of variation", "%.3f"},
        {"largest", "largest share", "%.4f"}, {"dead", "dead experts", "%.0f"},
    };
    json_t *rows = json_copy(json_object_get(model, "layers"));
    json_array_append(rows, json_object_get(model, "all"));
    table(r,
          "An expert is active here if its frequency is above 1/E. \"all\": ratios over the experts of every "
          "layer, means of entropy and variation, the largest share anywhere, the sum of dead experts.",
          rows, COLUMNS(columns));
    json_decref(rows);
}

/* Every model, its "all" row. */
static void comparison(struct report *r, const json_t *models) {
    static const struct column columns[] = {
        {"name", "model", NULL}, {"active_tokens", "active, by share of tokens", "%.3f"},
        {"active_picks", "active, by picks a token", "%.3f"},
        {"active_subtokens", "active, by share of sub-tokens", "%.3f"},
        {"entropy_normalised", "entropy / ln E", "%.4f"}, {"variation", "coefficient of variation", "%.3f"},
        {"dead", "dead experts", "%.0f"}, {"reach", "experts a token reaches", "%.3f"},
        {"reach_even", "if drawn evenly", "%.3f"},
    };
    json_t *rows = json_array();
    size_t i;
    const json_t *model;
    json_array_foreach(models, i, model) {
        json_t *row = json_copy(json_object_get(model, "all"));
        json_object_set(row, "name", json_object_get(model, "name"));
        json_array_append_new(rows, row);
    }
    subheading(r, "Side by side");
    table(r, "All MoE layers of each model together; active: above 1/E of its own E.", rows, COLUMNS(columns));
    json_decref(rows);
}

/* The sweeps of all models, by share of tokens, then by share of sub-tokens. */
static void comparison_sweeps(struct report *r, const json_t *models) {
    const size_t n = json_array_size(models);
    struct plot_series *series = array_alloc(n, sizeof *series);
    for (int way = 0; way < 3; way += 2) {
        for (size_t i = 0; i < n; i++) {
            const json_t *model = json_array_get(models, i), *all = json_object_get(model, "all");
            series[i] = sweep_series(json_object_get(all, "sweep"), ratio_keys[way],
                                     string_format("%s", text_at(model, "name")));
        }
        char *title = string_format("Activation ratio of each model, by %s", ratio_names[way]);
        sweep_draw(r, title, series, n, "Each model's threshold is in units of its own 1/E.");
        free(title);
    }
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
        labels[i] = text_at(model, "name");
        for (size_t c = 0; c < columns; c++)
            values[i * columns + c] =
                c < json_array_size(layers) ? number_at(json_array_get(layers, c), ratio_keys[0]) : NAN;
    }
    char *path = figure_path(r, "activation");
    const bool drawn = plot_heatmap(path, "Activation ratio, by share of tokens, threshold 1/E", "model",
                                    "MoE layer, from the first", labels, values, n, columns, 0, 1, r->err);
    figure(r, path, drawn, "The share of a layer's experts that more than 1/E of all tokens reach.");
    free(labels);
    free(values);
}

static void section_activation(struct report *r, const json_t *models) {
    size_t i;
    const json_t *model;
    heading(r, "activation", "Which experts are used");
    fputs("<p>An expert counts as active if its frequency exceeds a threshold. The paper that introduced the "
          "ratio (arXiv 2404.15045) leaves open whether it is counted in tokens or in sub-tokens, and the ratio "
          "depends on the threshold, so here are the three ways to read it, for a layer of E experts where each "
          "of a token's H sub-tokens picks K:</p>\n<dl>\n<dt>By share of tokens</dt><dd>Tokens any of whose "
          "sub-tokens picked the expert, over all tokens. If every pick were drawn evenly it would be 1 "
          "\xe2\x88\x92 (1 \xe2\x88\x92 K/E)<sup>H</sup>.</dd>\n<dt>By picks a token</dt><dd>Picks of the expert "
          "over all tokens: between 0 and H, HK/E if drawn evenly.</dd>\n<dt>By share of sub-tokens</dt><dd>Picks "
          "of the expert over all sub-tokens: K/E if drawn evenly. This one does not grow with "
          "H.</dd>\n</dl>\n<p>With whole tokens (H = 1) the three are the same.</p>\n",
          r->out);
    if (json_array_size(models) > 1) {
        comparison(r, models);
        comparison_sweeps(r, models);
        comparison_map(r, models);
    }
    json_array_foreach(models, i, model) {
        subheading(r, text_at(model, "name"));
        layers_table(r, model);
        sweep_of_model(r, model);
        sweep_table(r, model);
    }
}

/* ---- Load --------------------------------------------------------------------------------------- */

/* A heat map under construction: rows of picks, each scaled to multiples of an even share. */
struct load_map {
    double *values, high;
    char **labels;
    size_t rows, cols;
};

static struct load_map load_map_make(size_t rows, size_t cols) {
    return (struct load_map){array_alloc(rows * cols, sizeof(double)), 2, array_alloc(rows, sizeof(char *)), 0,
                             cols};
}

/* counts (cols); the label is taken over. */
static void load_map_add(struct load_map *m, char *label, const double *counts) {
    double total = 0, *row = m->values + m->rows * m->cols;
    for (size_t e = 0; e < m->cols; e++) total += counts[e];
    for (size_t e = 0; e < m->cols; e++) {
        row[e] = total > 0 ? counts[e] * (double)m->cols / total : NAN;
        if (row[e] > m->high) m->high = row[e];
    }
    m->labels[m->rows++] = label;
}

/* Draws the map and frees it. */
static void load_map_draw(struct report *r, struct load_map *m, const char *kind, const char *title,
                          const char *row_title, const char *caption) {
    char *path = figure_path(r, kind);
    const bool drawn = plot_heatmap(path, title, row_title, "expert", (const char *const *)m->labels, m->values,
                                    m->rows, m->cols, 0, m->high, r->err);
    figure(r, path, drawn, caption);
    for (size_t i = 0; i < m->rows; i++) free(m->labels[i]);
    free(m->labels);
    free(m->values);
}

static double *numbers_of(const json_t *array) {
    const size_t n = json_array_size(array);
    double *x = array_alloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = json_number_value(json_array_get(array, i));
    return x;
}

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
            if (heads) load_map_add(&map, string_format("%s, sub-token %zu", text_at(layer, "layer"), h), counts);
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
        const char *name = text_at(model, "name");
        struct load_map map = load_map_of(model, false);
        char *title = string_format("Load of each expert in %s", name);
        subheading(r, name);
        load_map_draw(r, &map, "load", title, "MoE layer", "All sub-tokens of the text.");
        free(title);
        if (number_at(model, "heads") < 2) continue;
        map = load_map_of(model, true);
        title = string_format("Load by place in the token, in %s", name);
        load_map_draw(r, &map, "heads", title, "MoE layer, sub-token",
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
        for (size_t e = 0; e < p->experts; e++)
            p->counts[(period * p->layers + lm) * p->experts + e] +=
                json_number_value(json_array_get(json_array_get(load, lm), e));
}

static void periods_draw(struct report *r, const json_t *model, const struct periods *p) {
    char *run = run_name(text_at(model, "log"));
    for (size_t lm = 0; lm < p->layers; lm++) {
        struct load_map map = load_map_make(PERIODS, p->experts);
        for (size_t i = 0; i < PERIODS; i++) {
            const double *counts = p->counts + (i * p->layers + lm) * p->experts;
            load_map_add(&map, string_format("step %.0f", p->last * (double)(i + 1) / PERIODS), counts);
        }
        char *title = string_format("Load during training, %s, %s", run,
                                    text_at(json_array_get(json_object_get(model, "layers"), lm), "layer"));
        load_map_draw(r, &map, "training-load", title, "up to",
                      "From the log: each row is one twentieth of the run.");
        free(title);
    }
    free(run);
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
        {"layer", "layer", NULL}, {"reach", "experts reached, all picks", "%.3f"},
        {"reach_even", "if drawn evenly", "%.3f"}, {"reach_top", "experts reached, first picks", "%.3f"},
        {"reach_top_even", "if drawn evenly", "%.3f"},
    };
    static const struct column deciles[] = {
        {"decile", "tenth", "%.0f"}, {"tokens", "tokens", "%.0f"}, {"occurrences", "mean occurrences", "%.1f"},
        {"reach", "experts reached, all picks", "%.3f"}, {"reach_top", "first picks", "%.3f"},
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
        json_t *rows = json_copy(json_object_get(model, "layers"));
        json_array_append(rows, json_object_get(model, "all"));
        subheading(r, text_at(model, "name"));
        table(r, "Different experts that a token reaches.", rows, COLUMNS(layers));
        table(r, "By frequency of the token's piece, from the rarest tenth to the commonest.",
              json_object_get(model, "deciles"), COLUMNS(deciles));
        correlation_print(r, json_object_get(model, "reach_frequency_correlation"));
        json_decref(rows);
    }
}

static void section_words(struct report *r, const json_t *analysis) {
    static const struct column senses[] = {
        {"senses", "senses", NULL}, {"words", "words", "%.0f"}, {"occurrences", "mean occurrences", "%.1f"},
        {"reach", "experts reached, all picks", "%.3f"}, {"reach_top", "first picks", "%.3f"},
    };
    static const struct column correlations[] = {
        {"divergence", "senses and experts reached by", NULL}, {"spearman", "Spearman", "%+.3f"},
        {"spearman_within", "within tenths of frequency", "%+.3f"},
        {"standard_error", "standard error if unrelated", "%.3f"},
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
    json_array_foreach(json_object_get(analysis, "models"), i, model) {
        subheading(r, text_at(model, "name"));
        table(r, "Different experts that a word's first token reaches, mean over MoE layers.",
              json_object_get(model, "senses"), COLUMNS(senses));
        table(r, "Rank correlation. A dash: one of the two does not vary.",
              json_object_get(model, "senses_correlation"), COLUMNS(correlations));
    }
}

/* ---- Stability, samples ------------------------------------------------------------------------- */

static void section_stability(struct report *r, const json_t *analysis) {
    static const struct column columns[] = {
        {"from", "from", NULL}, {"to", "to", NULL}, {"layer", "layer", NULL},
        {"same_set", "same set of picks", "%.3f"}, {"jaccard", "overlap (Jaccard)", "%.3f"},
        {"same_first", "same first pick", "%.3f"},
    };
    const json_t *rows = json_object_get(analysis, "stability");
    heading(r, "stability", "Stability of the routing");
    if (json_array_size(rows) == 0) {
        fputs("<p>To be seen where two checkpoints of the same configuration are named one after the other.</p>\n",
              r->out);
        return;
    }
    fputs("<p>From each checkpoint to the next one named, on the same text: the share of sub-tokens that pick the "
          "same K experts, in any order; the mean over sub-tokens of experts picked by both over experts picked "
          "by either; and the share whose first pick is the same.</p>\n",
          r->out);
    table(r, "1 is no change.", rows, COLUMNS(columns));
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
        subheading(r, text_at(model, "name"));
        json_array_foreach(json_object_get(model, "samples"), j, sample)
            sample_print(r->out, json_string_value(sample));
    }
}

/* ---- The page ----------------------------------------------------------------------------------- */

static void title_print(struct report *r, const json_t *models) {
    size_t i;
    const json_t *model;
    fputs("<h1>How experts are used</h1>\n<p>", r->out);
    json_array_foreach(models, i, model)
        xml_print(r->out, "%s%s (%s, step %.0f)", i ? ", " : "", text_at(model, "name"), text_at(model, "ffn"),
                  number_at(model, "step"));
    fputs("</p>\n<nav><a href=\"#models\">Models</a><a href=\"#loss\">Loss</a><a "
          "href=\"#activation\">Activation</a><a href=\"#load\">Load</a><a href=\"#training\">Training</a><a "
          "href=\"#divergence\">Divergence</a><a href=\"#words\">Words</a><a href=\"#stability\">Stability</a><a "
          "href=\"#samples\">Samples</a></nav>\n",
          r->out);
}

bool report_write(const char *dir, const json_t *analysis, struct error *err) {
    struct atomic_file file;
    char *path = string_format("%s/report.html", dir);
    const bool opened = atomic_open(&file, path, err);
    const json_t *models = json_object_get(analysis, "models");
    free(path);
    if (!opened) return false;
    figures_remove(dir);
    struct report report = {.out = file.file, .dir = dir, .err = err, .ok = true}, *r = &report;
    fputs(page_start, r->out);
    title_print(r, models);
    section_models(r, analysis);
    section_loss(r, models);
    section_activation(r, models);
    section_load(r, models);
    section_training_load(r, models);
    section_divergence(r, models);
    section_words(r, analysis);
    section_stability(r, analysis);
    section_samples(r, models);
    fputs("</body>\n</html>\n", r->out);
    if (r->ok) return atomic_commit(&file, err);
    atomic_abandon(&file);
    return false;
}
