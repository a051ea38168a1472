/* Reads log.jsonl, the log of a run: one JSON object a line.
 *
 * A line that is damaged or unfinished (the run may be going on) is passed over. */
#ifndef RUNLOG_H
#define RUNLOG_H

#include <jansson.h>
#include <stddef.h>

/* Hands each entry to `visit`, in order. Nothing if there is no such file. */
void runlog_read(const char *path, void (*visit)(void *context, const json_t *entry), void *context);

/* Points of a plot. */
struct curve {
    double *x, *y;
    size_t n, x_capacity, y_capacity;
};
void curve_add(struct curve *c, double x, double y);
void curve_free(struct curve *c);

/* (x_scale * step, the value of `key`) of every entry that has the key. */
struct curve runlog_curve(const char *path, const char *key, double x_scale);

#endif
