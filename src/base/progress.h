/* What is shown of work that takes a while: a bar, how long it will take, a curve of a few characters. Bars and lines
 * that are written over are for a terminal on standard error, and nothing elsewhere. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "45 s", "3 min 05 s", "2 h 05 min". malloc'ed. */
char *duration_format(double seconds);

/* "950", "12.3k", "1.20M": a number of three figures, or whole below ten thousand. malloc'ed. */
char *count_format(double n);

/* How fast steps are: a mean in which the last twenty or so count most, and what there is beside them (validations,
 * checkpoints) spread over all. */
struct pace {
    double mean, weight; /* of the steps' seconds, each step's share falling by a twentieth with every later one */
    double other;        /* seconds beside them */
    int64_t steps;
};
void pace_step(struct pace *p, double seconds);
void pace_other(struct pace *p, double seconds);
double pace_seconds(const struct pace *p, int64_t steps); /* that so many more will take; 0 before the first one */

/* A sparkline of all values so far, each character the mean of equally many. */
enum { SPARK_CELLS = 24 };
struct spark {
    double cells[SPARK_CELLS]; /* whole ones, then the one that is being filled */
    size_t n, per, in;         /* whole cells; values in one; in the last */
};
void spark_add(struct spark *s, double value);

/* Its last cells, at most so many, the least of them low and the greatest high; "" of fewer than two. malloc'ed. */
char *spark_format(const struct spark *s, size_t most);

/* Whether standard error is a terminal; how many columns it has (0: unknown); and whether it wants colours (NO_COLOR,
 * and TERM=dumb, say no). */
bool terminal_there(void);
size_t terminal_columns(void);
bool terminal_colours(void);

/* "WHAT [=====>     ] 45%" over the line that is there, where its percentage has changed; *last remembers it and begins
 * at -1. bar_clear removes it. */
void bar_show(const char *what, double done, double total, int *last);
void bar_clear(void);

#endif
