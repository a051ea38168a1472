/* Plots as plain SVG text: lines and heat maps, readable in any browser, no library.
 *
 * Both follow the reader's light or dark scheme, scale to their container, and carry a <title> for
 * each mark, so that hovering shows the value. Files are written atomically. */
#ifndef PLOT_H
#define PLOT_H

#include "util.h"

struct plot_series {
    const char *name;
    const double *x, *y; /* (n); a NaN in y breaks the line */
    size_t n;
};

struct plot_axis {
    const char *label; /* with its unit */
    bool logarithmic;
};

/* One or several lines with ticks at round numbers, grid, and a legend when there is more than one. */
bool plot_lines(const char *path, const char *title, struct plot_axis x, struct plot_axis y,
                const struct plot_series *series, size_t n, struct error *err);

/* A (rows, cols) heat map of `values` (row-major) with a colour bar from low to high.
 * Row r is labelled row_labels[r]; columns are numbered. */
bool plot_heatmap(const char *path, const char *title, const char *row_title, const char *column_title,
                  const char *const *row_labels, const double *values, size_t rows, size_t cols, double low,
                  double high, struct error *err);

#endif
