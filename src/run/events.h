/* Event files, as TensorBoard reads them: records (TFRecord: length, data, a masked CRC-32C of each) that hold protocol
 * buffers (tensorflow.Event), written by hand: of those only steps, scalars and histograms are needed.
 *
 * A run has one such file. Who resumes it keeps every byte of what belongs to its checkpoint, as with the log. */
#ifndef EVENTS_H
#define EVENTS_H

#include "../base/util.h"

#define EVENTS_NAME "events.out.tfevents.run" /* TensorBoard finds files by the .tfevents. in their names */

struct events {
    FILE *file; /* NULL: closed */
    char *path;
};

/* The file of a new run, with what every such file begins with. EXIT_OUTPUT. */
bool events_create(struct events *e, const char *path, struct error *err);

/* The file of a run that goes on: the first event for which `past` is true (by its step and its first tag, "" if it has
 * none) and all behind it are cut off, and so is what is damaged. Without a file, or one that begins as none does, a
 * new one is made. EXIT_OUTPUT. */
bool events_resume(struct events *e, const char *path, bool (*past)(const void *context, int64_t step, const char *tag),
                   const void *context, struct error *err);

/* Makes what was written permanent. EXIT_OUTPUT. */
bool events_sync(struct events *e, struct error *err);
void events_close(struct events *e);

/* What is to be said of a step. To be zeroed before its first use; events_write empties it. */
struct event {
    unsigned char *bytes; /* a tensorflow.Summary */
    size_t n, capacity;
};
void event_scalar(struct event *event, const char *tag, double value);

/* Of n kinds (experts), how often each was there: bucket i is of kind i, between i - 1/2 and i + 1/2. */
void event_counts(struct event *event, const char *tag, const double *counts, size_t n);

/* Writes it, unless it is empty, as of `step` and now. EXIT_OUTPUT. */
bool events_write(struct events *e, struct event *event, int64_t step, struct error *err);

#endif
