/* See analyse_page.h. The page scrolls sideways on no screen: where a table is wider than it, each row becomes a block
 * of cells with their headings. */
#include "analyse_page.h"

#include <dirent.h>
#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../src/base/text.h"
#include "routing.h"

/* A table as blocks, for screens that are too narrow for it as `which`. */
#define BLOCKS(which) \
    which "," which " tbody," which " caption," which " td{display:block}" which " thead{display:none}\n" \
    which " tr{display:grid;grid-template-columns:repeat(auto-fill,minmax(6.5rem,1fr));gap:.375rem 1rem;" \
    "padding:.625rem 0;border-bottom:1px solid #8883}\n" \
    which " td{padding:0;border:0;text-align:left;min-width:0;overflow-wrap:anywhere}\n" \
    which " td.word{white-space:normal}\n" \
    which " td:first-child," which " td.name{grid-column:1/-1;font-weight:600}\n" \
    which " td::before{content:attr(data-label);display:block;opacity:.75;font-weight:400;font-size:.75rem;" \
    "line-height:1.3}\n"

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
    "img-src data:\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n"
    "<title>";
static const char style[] =
    "</title>\n<style>\n"
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
    "figure{margin:1rem 0}figure svg{display:block}\n"
    ".phone{display:none}.phone svg{width:100%;max-width:26rem}\n"
    "table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}\n"
    "caption{text-align:left;padding-bottom:.25rem}\n"
    "th,td{padding:.3rem .75rem .3rem 0;text-align:right;border-bottom:1px solid #d1d9e0;overflow-wrap:normal;"
    "vertical-align:bottom}\n"
    "th{font-weight:600}td.word,th.word{text-align:left}td.word{white-space:nowrap}\n"
    "td.name,th.name{min-width:8rem;white-space:normal;overflow-wrap:anywhere}\n"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;padding:.75rem 1rem;margin:.75rem 0;background:#f6f8fa;"
    "border-radius:6px;font:.875rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}\n"
    ".items{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,19rem),1fr));gap:1.5rem 1.25rem}\n"
    ".items h3{margin:0 0 .375rem}.items p{margin:.375rem 0 .125rem;font-size:.875rem}\n"
    ".shots{display:grid;grid-template-columns:repeat(4,1fr);gap:.5rem;max-width:22rem}\n"
    ".shots span{font-size:.75rem;line-height:1.3;color:#59636e}\n"
    ".shots img{display:block;width:100%;height:auto;image-rendering:pixelated;border:1px solid #8884;"
    "box-sizing:border-box}\n"
    ".key{max-width:none;margin-bottom:1.25rem}.key span{white-space:nowrap}\n"
    ".key i{display:inline-block;width:1.5em;height:.9em;margin:0 .25em 0 .75em;"
    "vertical-align:-.1em}\n"
    "summary{cursor:pointer;margin:.75rem 0}\ndt{font-weight:600;margin-top:.75rem}dd{margin:0}\n"
    "@media (max-width:36rem){.desk{display:none}.phone{display:block}\n" BLOCKS("table") "}\n"
    "@media (max-width:58rem){" BLOCKS("table.broad") "}\n"
    "@media (prefers-color-scheme:dark){body{color:#f0f6fc;background:#0d1117}a{color:#4493f8}\n"
    ".note,figcaption,caption,.shots span{color:#9198a1}h2,th,td{border-color:#3d444d}pre{background:#151b23}}\n"
    "</style>\n</head>\n<body>\n";

/* Titles are ours, and have nothing to escape. */
void page_start(struct report *r, const char *title) { fprintf(r->out, "%s%s%s", head, title, style); }
void page_end(struct report *r) { fputs("</body>\n</html>\n", r->out); }

void heading(struct report *r, const char *id, const char *text) {
    fprintf(r->out, "<h2 id=\"%s\">", id);
    xml_print(r->out, "%s", text);
    fputs("</h2>\n", r->out);
}

void subheading(struct report *r, const char *text) {
    fputs("<h3>", r->out);
    xml_print(r->out, "%s", text);
    fputs("</h3>\n", r->out);
}

const char *text_at(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

double number_at(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

double *numbers_of(const json_t *array) {
    const size_t n = json_array_size(array);
    double *x = array_alloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = json_number_value(json_array_get(array, i));
    return x;
}

enum { NAME_ROOM = 160 }; /* pixels of a name that is repeated */

char *label_make(const char *const *names, size_t n, size_t i) {
    bool alone = text_width(names[i]) <= NAME_ROOM;
    for (size_t j = 0; j < n && alone; j++) alone = j == i || strcmp(names[i], names[j]) != 0;
    if (alone) return string_format("%s", names[i]);
    char *some = text_shorten(names[i], NAME_ROOM), *label = string_format("#%zu %s", i + 1, some);
    free(some);
    return label;
}

void section_title(struct report *r, const json_t *model) {
    const bool plain = strcmp(text_at(model, "name"), text_at(model, "label")) == 0;
    subheading(r, text_at(model, plain ? "name" : "title"));
}

/* ---- Tables ------------------------------------------------------------------------------------- */

static const char *column_class(const struct column *c) {
    static const char *const names[] = {"title", "label", "from", "to"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(c->key, names[i]) == 0) return " class=\"word name\"";
    return c->format ? "" : " class=\"word\"";
}

/* Headings are ours, and have nothing to escape. */
static void cell_print(FILE *out, const struct column *c, const json_t *value) {
    fprintf(out, "<td%s data-label=\"%s\">", column_class(c), c->heading);
    if (json_is_number(value)) xml_print(out, c->format ? c->format : "%g", json_number_value(value));
    else xml_print(out, "%s", json_is_string(value) ? json_string_value(value) : "\xe2\x80\x93");
    fputs("</td>", out);
}

void table(struct report *r, const char *caption, const json_t *rows, const struct column *columns, size_t n,
           unsigned have) {
    const struct column *shown[n];
    size_t count = 0, i;
    const json_t *row;
    for (size_t c = 0; c < n; c++)
        if (!columns[c].needs || (columns[c].needs & have)) shown[count++] = &columns[c];
    fprintf(r->out, "<div class=\"wide\" tabindex=\"0\"><table%s><caption>", count > 7 ? " class=\"broad\"" : "");
    xml_print(r->out, "%s", caption);
    fputs("</caption>\n<thead><tr>", r->out);
    for (size_t c = 0; c < count; c++)
        fprintf(r->out, "<th scope=\"col\"%s>%s</th>", column_class(shown[c]), shown[c]->heading);
    fputs("</tr></thead>\n<tbody>\n", r->out);
    json_array_foreach(rows, i, row) {
        fputs("<tr>", r->out);
        for (size_t c = 0; c < count; c++) cell_print(r->out, shown[c], json_object_get(row, shown[c]->key));
        fputs("</tr>\n", r->out);
    }
    fputs("</tbody></table></div>\n", r->out);
}

/* ---- Plots -------------------------------------------------------------------------------------- */

void figures_remove(const char *dir) {
    char *plots = string_format("%s/plots", dir);
    DIR *stream = opendir(plots);
    for (struct dirent *entry; stream && (entry = readdir(stream));)
        if (fnmatch("[0-9][0-9]-*.svg", entry->d_name, 0) == 0 ||
            fnmatch("[0-9][0-9][0-9]-*.svg", entry->d_name, 0) == 0)
            unlinkat(dirfd(stream), entry->d_name, 0);
    if (stream) closedir(stream);
    free(plots);
}

/* What a figure shows: lines or a map. */
struct drawing {
    const char *const *axes;
    const struct plot_series *series;
    size_t n;
    const struct heatmap *map; /* NULL: lines */
};

static bool drawing_draw(const struct drawing *d, const struct plot_place *place, struct error *err) {
    if (d->map) return plot_heatmap(place, d->map, err);
    return plot_lines_at(place, (struct plot_axis){d->axes[0], false}, (struct plot_axis){d->axes[1], false},
                         d->series, d->n, err);
}

/* Draws, and puts the plot into the page. */
static bool figure_put(struct report *r, const struct drawing *d, const struct plot_place *place) {
    size_t size;
    if (!drawing_draw(d, place, r->err)) return false;
    char *svg = file_contents(fopen(place->path, "rb"), place->path, &size, r->err);
    if (!svg) return false;
    fprintf(r->out, "<div class=\"%s\">\n", place->width == PLOT_NARROW ? "phone" : "desk");
    fwrite(svg, 1, size, r->out);
    fputs("</div>", r->out);
    free(svg);
    return true;
}

static void figure(struct report *r, const char *kind, const char *title, const struct drawing *d,
                   const char *caption) {
    char *path = string_format("%s/plots/%02d-%s.svg", r->dir, ++r->figures, kind);
    char *narrow = string_format("%s.narrow", path);
    fputs("<figure>", r->out);
    r->ok = r->ok && figure_put(r, d, &(struct plot_place){path, title, PLOT_WIDE}) &&
            figure_put(r, d, &(struct plot_place){narrow, title, PLOT_NARROW});
    unlink(narrow);
    fputs("<figcaption>", r->out);
    xml_print(r->out, "%s", caption);
    fputs("</figcaption></figure>\n", r->out);
    free(narrow);
    free(path);
}

void figure_lines(struct report *r, const char *kind, const char *title, const char *const axes[2],
                  const struct plot_series *series, size_t n, const char *caption) {
    figure(r, kind, title, &(struct drawing){axes, series, n, NULL}, caption);
}

void figure_heatmap(struct report *r, const char *kind, const char *title, const struct heatmap *map,
                    const char *caption) {
    figure(r, kind, title, &(struct drawing){NULL, NULL, 0, map}, caption);
}

/* ---- Load ---------------------------------------------------------------------------------------- */

struct load_map load_map_make(size_t rows, size_t cols) {
    return (struct load_map){array_alloc(rows * cols, sizeof(double)), 2, array_alloc(rows, sizeof(char *)), 0,
                             cols};
}

void load_map_add(struct load_map *m, char *label, const double *counts) {
    double total = 0, *row = m->values + m->rows * m->cols;
    for (size_t e = 0; e < m->cols; e++) total += counts[e];
    shares_relative(counts, m->cols, total, row);
    for (size_t e = 0; e < m->cols; e++) {
        if (total == 0) row[e] = NAN;
        else if (row[e] > m->high) m->high = row[e];
    }
    m->labels[m->rows++] = label;
}

void load_map_draw(struct report *r, struct load_map *m, const char *kind, const char *title, const char *row_title,
                   const char *caption) {
    const struct heatmap map = {row_title, "expert", (const char *const *)m->labels, m->values, m->rows, m->cols, 0,
                                m->high};
    figure_heatmap(r, kind, title, &map, caption);
    for (size_t i = 0; i < m->rows; i++) free(m->labels[i]);
    free(m->labels);
    free(m->values);
}

void checkpoints_list(struct report *r, const json_t *models) {
    const json_t *model;
    size_t i;
    fputs("<p class=\"note\">Checkpoints: ", r->out);
    json_array_foreach(models, i, model)
        xml_print(r->out, "%s#%.0f %s", i ? ", " : "", number_at(model, "number"), text_at(model, "checkpoint"));
    fputs("</p>\n", r->out);
}
