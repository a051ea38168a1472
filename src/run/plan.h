/* How many steps fit into the time that there is: of a run (./train --minutes), of all runs of a comparison. */
#ifndef PLAN_H
#define PLAN_H

#include <stdbool.h>
#include <stdint.h>

/* What a run does, in the sequences that it goes through. */
struct run_plan {
    double step, sequences;        /* seconds of a step, and its sequences */
    int64_t eval_every;            /* steps between validations; 0: only at the end */
    double windows, final_windows; /* sequences of a validation, and of the last figure */
};

/* That it takes from one step to another, which may be where it `ends`. A validation of the end is one also where none
 * was due, and is the last figure where that has as many sequences. */
double run_seconds(const struct run_plan *p, int64_t from, int64_t to, bool ends);

/* The greatest number of steps that take no more than `limit` seconds; 0 if not even one fits. `seconds` must not fall
 * where the number rises. */
int64_t steps_within(double limit, double (*seconds)(const void *context, int64_t steps), const void *context);

#endif
