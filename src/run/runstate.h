/* Where a run stands: what a checkpoint's metadata says beside the tensors, so that a resumed run goes on as if it had
 * never stopped. */
#ifndef RUNSTATE_H
#define RUNSTATE_H

#include "checkpoint.h"
#include "../base/rng.h"

struct runstate {
    int64_t step;        /* optimizer steps done */
    int64_t watched;     /* the step after which all was done that is due then: validation, sample, plots */
    int64_t position;    /* sequences read since the start: see data/feed.h */
    int64_t tokens;      /* rows trained on; -1 after reading what an earlier version wrote */
    int64_t waited;      /* validations from the best one on, it included; counted where --patience is */
    int64_t moment_steps; /* steps of another run that AdamW's moments have seen, too */
    double seconds;      /* of training, over all sessions */
    double best_loss, val_loss; /* lowest and last validation; infinite before the first one */
    struct rng sample_rng;
};

/* A run that has done nothing yet. */
struct runstate runstate_new(uint64_t seed);

/* Adds it to the metadata, as text. Numbers whose bits matter go as C99 hexadecimal floats. */
void runstate_write(const struct runstate *s, json_t *metadata);

/* Reads it back; EXIT_INPUT, naming the key and what it holds, where that cannot be a run's. */
bool runstate_read(struct runstate *s, const struct checkpoint *c, struct error *err);

/* Adds a string to metadata and frees it. */
void metadata_set(json_t *metadata, const char *key, char *value);

#endif
