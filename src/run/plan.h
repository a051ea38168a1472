/* How many steps fit into the time that there is: of a run (./train --minutes), of all runs of a comparison. */
#ifndef PLAN_H
#define PLAN_H

#include <stdint.h>

/* The greatest number of steps that take no more than `limit` seconds; 0 if not even one fits. `seconds` must not fall
 * where the number rises. */
int64_t steps_within(double limit, double (*seconds)(const void *context, int64_t steps), const void *context);

#endif
