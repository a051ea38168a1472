/* What a validation finds out, over all of the held-out text or a part of it (a language, a domain). */
#ifndef SCORE_H
#define SCORE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include "../base/real.h"
#include "../base/util.h"

/* The sums that figures are made of. Targets without bytes (ends of text) count for the loss alone: bits per byte do
 * not depend on how text is cut into files. */
struct score_sums {
    double loss;      /* nats, of all targets */
    double text_loss; /* of those that have bytes */
    size_t targets, bytes, windows;
};

struct score {
    double loss;          /* mean, nats a token */
    double bits_per_byte; /* infinite where there are no bytes */
    size_t targets, windows;
};

/* Adds a batch to the sums of each part: parts (n) that the rows are of (NULL: all of the first), losses (n), targets
 * (n), and the bytes of a target's text; TARGET_NONE counts nothing. */
void score_add(struct score_sums *sums, const uint32_t *parts, const real *losses, const int32_t *targets, size_t n,
               size_t (*bytes_of)(const void *context, int32_t token), const void *context);
struct score score_of(const struct score_sums *sums);

/* Loss, perplexity, bits per byte and windows in an entry of the log, under names that begin with `prefix`. */
void score_log(json_t *entry, const char *prefix, const struct score *s);

/* "step 4: WHAT 5.1234, perplexity 167.90, 3.1234 bits per byte" on standard error. */
void score_tell(int64_t step, const char *what, const struct score *s);

#define TOKENS_UNCOUNTED SIZE_MAX

struct part_score {
    const char *name; /* "" where a corpus has no parts */
    bool trained;     /* false: it is only looked at */
    size_t tokens;    /* trained on so far; TOKENS_UNCOUNTED where nobody counts them */
    struct score score;
};

/* The plain mean of loss and bits per byte over the parts that are trained on, and the sums of the rest. Parts without
 * a target are left out, here and below. */
struct score parts_mean(const struct part_score *parts, size_t n);

/* One object a part, with its score and its tokens: those trained on, or with `held_out` looked at. New reference. */
json_t *parts_json(const struct part_score *parts, size_t n, const char *prefix, bool held_out);

/* The same as a table, on standard error. */
void parts_tell(const struct part_score *parts, size_t n);

#endif
