/* One run of a comparison, as its log.jsonl tells. Two losses, never mixed: a final one over all held-out text, for
 * tables, and those of the validations on the way over the same few sequences each time, for curves. */
#ifndef COMPARE_LOG_H
#define COMPARE_LOG_H

#include <stdint.h>
#include "../../src/run/runlog.h"

/* What a run ends with on one part of its corpus. */
struct part_result {
    char *name;
    double loss, bits_per_byte; /* final */
};

struct result {
    double loss, bits_per_byte; /* final; infinite if it diverged */
    double tokens;              /* trained */
    double rate, seconds;       /* median tokens/s; training in all */
    struct curve by_tokens;     /* validations */
    struct curve by_seconds;    /* the same over seconds of training */
    struct part_result *parts;  /* (n_parts), by name; of these the losses above are plain means */
    size_t n_parts;             /* 0: a corpus without parts */
};

enum log_state {
    LOG_UNFINISHED, /* or there is none */
    LOG_FINISHED,   /* step `steps` has its validation and the final loss */
    LOG_OLD,        /* of an earlier ./train, whose last validation was over another text than those before */
};

/* *result is for result_free if finished, else empty. */
enum log_state result_read(struct result *result, const char *log, int64_t steps);
struct result result_diverged(void);
void result_free(struct result *result);

#endif
