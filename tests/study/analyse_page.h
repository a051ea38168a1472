/* The parts that the studies' pages are made of: headings, tables from rows and columns, plots. */
#ifndef ANALYSE_PAGE_H
#define ANALYSE_PAGE_H

#include <jansson.h>
#include "../../src/run/plot.h"

struct report {
    FILE *out;
    const char *dir;
    struct error *err;
    bool ok;       /* false once a plot could not be written or read back */
    int figures;
};

void page_start(struct report *r, const char *title);
void page_end(struct report *r);
void heading(struct report *r, const char *id, const char *text);
void subheading(struct report *r, const char *text);

/* What a model has that makes a column worth showing. */
enum { HEADS = 1, PICKS = 2, CHOICE = 4 }; /* H > 1; K > 1; K < E */

/* One column of a table: which key of a row, and how: a format for a double, or NULL for text. It is left out where
 * the models have none of what it needs: it could only repeat a constant or another column. */
struct column {
    const char *key, *heading, *format;
    unsigned needs; /* 0: nothing */
};
#define COLUMNS(list) list, sizeof(list) / sizeof *(list)
void table(struct report *r, const char *caption, const json_t *rows, const struct column *columns, size_t n,
           unsigned have);

/* A plot in the page, drawn for a desk and once more for a phone, and as a file DIR/plots/NN-KIND.svg. */
void figure_lines(struct report *r, const char *kind, const char *title, const char *const axes[2],
                  const struct plot_series *series, size_t n, const char *caption);
void figure_heatmap(struct report *r, const char *kind, const char *title, const struct heatmap *map,
                    const char *caption);

/* A heat map under construction: rows of picks, each scaled to multiples of an even share. */
struct load_map {
    double *values, high;
    char **labels;
    size_t rows, cols;
};
struct load_map load_map_make(size_t rows, size_t cols);
/* counts (cols); the label is taken over. A row of nothing is a gap. */
void load_map_add(struct load_map *m, char *label, const double *counts);
/* Draws the map and frees it. */
void load_map_draw(struct report *r, struct load_map *m, const char *kind, const char *title, const char *row_title,
                   const char *caption);

/* An earlier report may have had more plots: none of them shall pass for one of this report. */
void figures_remove(const char *dir);

/* A line that says which checkpoint each model is of. */
void checkpoints_list(struct report *r, const json_t *models);

const char *text_at(const json_t *object, const char *key);
double number_at(const json_t *object, const char *key);
double *numbers_of(const json_t *array); /* malloc'ed */

/* Number i's name where it stands in tables and plots again: short, and unlike the others, or after its number.
 * malloc'ed. */
char *label_make(const char *const *names, size_t n, size_t i);

/* The heading of what is said of one model: its whole name. */
void section_title(struct report *r, const json_t *model);

/* Which experts serve which part of the corpus (analyse_parts.c): nothing where there are no two. */
bool has_parts(const json_t *analysis);
void section_parts(struct report *r, const json_t *analysis, const json_t *models);

/* Rows of dependence_row: those of a model's layers, and that of all. */
void dependence_table(struct report *r, const char *caption, const json_t *layers, const json_t *all);

#endif
