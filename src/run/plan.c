/* See plan.h. */
#include "plan.h"

int64_t steps_within(double limit, double (*seconds)(const void *context, int64_t steps), const void *context) {
    int64_t fits = 0, beyond = INT64_C(1) << 40;
    while (beyond - fits > 1) {
        const int64_t steps = fits + (beyond - fits) / 2;
        if (seconds(context, steps) <= limit) fits = steps;
        else beyond = steps;
    }
    return fits;
}
