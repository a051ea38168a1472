/* log.jsonl, the log of a run: one JSON object a line, in the order of its "step".
 *
 * Readers pass over a line that is damaged or unfinished (the run may be going on). Who resumes a run keeps every
 * byte of what belongs to its checkpoint: only what lies past it is cut off. */
#ifndef RUNLOG_H
#define RUNLOG_H

#include <jansson.h>
#include <stddef.h>
#include "../base/util.h"

struct runlog {
    FILE *file; /* NULL: closed */
    char *path;
};

/* The log of a new run, empty. EXIT_OUTPUT. */
bool runlog_create(struct runlog *log, const char *path, struct error *err);

/* The log of a run that goes on from a checkpoint, open for more. Cut off are: the first entry for which `past` is
 * true and all behind it; and a last line without an end that is no entry (a write that did not finish). Damaged or
 * blank lines before that stay, and a note on standard error names the first; so does one if no entry reaches `step`.
 * EXIT_INPUT if it cannot be read to its end, with nothing cut; EXIT_OUTPUT. */
bool runlog_resume(struct runlog *log, const char *path, int64_t step,
                   bool (*past)(const void *context, const json_t *entry), const void *context, struct error *err);

/* Sets PREFIXNAME in an entry; takes the reference. */
void entry_set(json_t *entry, const char *prefix, const char *name, json_t *value);

/* Writes an entry, a whole line, and drops the reference. EXIT_OUTPUT. */
bool runlog_write(struct runlog *log, json_t *entry, struct error *err);

/* Makes what was written permanent: to be called before the checkpoint that it belongs to. EXIT_OUTPUT. */
bool runlog_sync(struct runlog *log, struct error *err);
void runlog_close(struct runlog *log);

/* What a reader found, and passed over. */
struct runlog_survey {
    size_t entries, damaged, first; /* damaged lines, blank ones too; the first of them, counted from 1 */
    bool unfinished;                /* the last line has no end and is no entry; not counted as damaged */
    int failed;                     /* errno where it could not be opened or read; else 0 */
};

/* Hands each entry to `visit`, in order. Nothing if there is no such file. */
struct runlog_survey runlog_read(const char *path, void (*visit)(void *context, const json_t *entry), void *context);

/* Points of a plot. */
struct curve {
    double *x, *y;
    size_t n, x_capacity, y_capacity;
};
void curve_add(struct curve *c, double x, double y);
void curve_free(struct curve *c);

/* The values of `x_key` and `y_key` of every entry that has both. */
struct curve runlog_curve(const char *path, const char *x_key, const char *y_key);

/* A number as JSON can hold it: an infinity as the largest double of its sign, NaN as null. */
json_t *json_number(double value);

#endif
