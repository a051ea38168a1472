/* See trainer.h. How long a run takes. */
#include "trainer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { MEASURED = 8 }; /* steps, before anything is told */

double run_seconds(const struct train *t, int64_t from, int64_t to, double step) {
    const struct training *o = &t->options;
    const double window = step / (3.0 * o->batch * o->accumulate); /* forward is a third of what training computes */
    const int64_t every = o->eval_every > 0 ? o->eval_every : INT64_MAX, validations = to / every - from / every;
    double windows = (double)validations * (double)val_windows(t, o->eval_windows);
    if (to == o->steps) windows += (double)val_windows(t, o->final_windows);
    return (double)(to - from) * step + windows * window;
}

void time_tell(const struct train *t, int64_t end) {
    const double seconds = run_seconds(t, t->run.step, end, t->pace.mean);
    if (t->pace.steps != MEASURED || seconds < 1) return;
    char *duration = duration_format(seconds);
    progress_clear();
    fprintf(stderr, "time: about %s for the %" PRId64 " steps to come\n", duration, end - t->run.step);
    free(duration);
}
