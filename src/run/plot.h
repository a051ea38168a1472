/* Plots as plain SVG text: lines and heat maps, readable in any browser, no library.
 *
 * Both follow the reader's light or dark scheme, scale to their container, and carry a <title> for
 * each mark, so that hovering shows the value. Files are written atomically. */
#ifndef PLOT_H
#define PLOT_H

#include "../base/util.h"

struct plot_series {
    const char *name;
    const double *x, *y; /* (n); a NaN in y breaks the line */
    size_t n;
};

struct plot_axis {
    const char *label; /* with its unit */
    bool logarithmic;
};

/* Where a plot goes, what it is called, and how many pixels wide it is by itself. It scales to its container, letters
 * and all, so that a phone wants one that is narrow by itself. Names that leave no room for the plot stand under it;
 * what is still too long is shortened in the middle, and whole in a <title>. */
enum { PLOT_WIDE = 720, PLOT_NARROW = 340 };
struct plot_place {
    const char *path, *title;
    int width;
};

/* One or several lines with ticks at round numbers, grid, and a legend when there is more than one. */
bool plot_lines_at(const struct plot_place *place, struct plot_axis x, struct plot_axis y,
                   const struct plot_series *series, size_t n, struct error *err);

/* A (rows, cols) heat map of `values` (row-major) with a colour bar from low to high.
 * Row r is labelled row_labels[r]; columns are numbered. */
struct heatmap {
    const char *row_title, *column_title, *const *row_labels;
    const double *values;
    size_t rows, cols;
    double low, high;
};
bool plot_heatmap(const struct plot_place *place, const struct heatmap *map, struct error *err);

/* Its colour (0xRRGGBB) of a share of the range in [0, 1], and whether dark text reads better on it. */
unsigned plot_colour(double share, bool *bright);

/* Lines, PLOT_WIDE. */
bool plot_lines(const char *path, const char *title, struct plot_axis x, struct plot_axis y,
                const struct plot_series *series, size_t n, struct error *err);

#endif
