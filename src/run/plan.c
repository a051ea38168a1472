/* See plan.h. */
#include "plan.h"

double run_seconds(const struct run_plan *p, int64_t from, int64_t to, bool ends) {
    const double window = p->step / (3 * p->sequences); /* forward is a third of what training computes */
    const int64_t every = p->eval_every > 0 ? p->eval_every : INT64_MAX;
    const int64_t validations = to / every - from / every + (ends && to % every > 0);
    const double last = ends && p->final_windows != p->windows ? p->final_windows : 0;
    return (double)(to - from) * p->step + ((double)validations * p->windows + last) * window;
}

int64_t steps_within(double limit, double (*seconds)(const void *context, int64_t steps), const void *context) {
    int64_t fits = 0, beyond = INT64_C(1) << 40;
    while (beyond - fits > 1) {
        const int64_t steps = fits + (beyond - fits) / 2;
        if (seconds(context, steps) <= limit) fits = steps;
        else beyond = steps;
    }
    return fits;
}
