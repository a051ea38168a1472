/* See trainer.h. How long a run takes, how many steps fit into the time that there is, and what size of a model suits
 * that and the text. */
#include "trainer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "../src/run/plan.h"
#include "../src/run/preset.h"

enum { MEASURED = 8, FEWEST_STEPS = 10 }; /* steps, before anything is told; with which --minutes is content */

/* What is to be done, with a step of so many seconds. */
static struct run_plan plan_of(const struct train *t, double step) {
    const struct training *o = &t->options;
    return (struct run_plan){step, (double)o->batch * o->accumulate, o->eval_every,
                             (double)val_windows(t, o->eval_windows), (double)val_windows(t, o->final_windows)};
}

/* ---- The size that suits ---- */

/* This model with a preset's sizes; false if they do not fit its other options. */
static bool preset_outlook(const struct train *t, enum preset p, double flops, struct outlook *out) {
    static const char *const names[] = {"seq", "layers", "channels", "attn-heads"};
    struct config config = t->config;
    const struct option_group group = {model_options, &config};
    struct sizes sizes;
    struct error unused;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) option_set(&group, names[i], preset_value(p, names[i]));
    if (!config_check(&config, &sizes, &unused) || !model_fits(&sizes, setup_of(&t->options), &unused)) return false;
    const struct model_cost cost = model_cost(&sizes, setup_of(&t->options));
    *out = (struct outlook){(double)cost.active_parameters, flops / cost.training_flops};
    return true;
}

/* A line that says which preset suits the text and so many seconds, at the speed that is measured. */
static void size_tell(const struct train *t, double step, double seconds) {
    const struct training *o = &t->options;
    const double tokens = (double)o->batch * o->accumulate * t->config.seq;
    const double flops = model_cost(&t->model.sizes, setup_of(o)).training_flops * tokens / step * seconds;
    struct outlook sizes[PRESETS];
    size_t n = 0;
    if (is_masked(t) || o->from) return;
    while (n < PRESETS && preset_outlook(t, (enum preset)n, flops, &sizes[n])) n++;
    if (n == 0) return;
    const size_t best = outlook_best(sizes, n, (double)feed_tokens(t->train_data));
    char *has = count_format(sizes[best].parameters), *sees = count_format(sizes[best].tokens);
    fprintf(stderr, "size: of the presets %s suits this text and time best (%s active parameters, time for %s "
            "tokens)\n", preset_words[best], has, sees);
    free(has);
    free(sees);
}

/* ---- What is told and chosen ---- */

void time_tell(const struct train *t, int64_t end) {
    const int64_t steps = t->options.steps;
    const struct run_plan plan = plan_of(t, t->pace.mean);
    const double seconds = run_seconds(&plan, t->run.step, end, end == steps);
    if (t->pace.steps != MEASURED || seconds < 1) return;
    char *duration = duration_format(seconds);
    bar_clear();
    fprintf(stderr, "time: about %s for the %" PRId64 " steps to come\n", duration, end - t->run.step);
    if (!t->options.resume && t->options.minutes == 0)
        size_tell(t, plan.step, run_seconds(&plan, 0, steps, true));
    free(duration);
}

static double steps_seconds(const void *plan, int64_t steps) { return run_seconds(plan, 0, steps, true); }

bool steps_choose(struct train *t, double step, double seconds, struct error *err) {
    const struct run_plan plan = plan_of(t, step);
    const int64_t steps = steps_within(seconds, steps_seconds, &plan);
    if (steps < FEWEST_STEPS)
        return error_set(err, EXIT_USAGE, "--minutes %g: time for %" PRId64 " steps of %.3g s (want at least %d); "
                         "raise it, or make the model smaller", t->options.minutes, steps, step, FEWEST_STEPS);
    t->options.steps = steps;
    fprintf(stderr, "time: %" PRId64 " steps of %.3g s fit into %g minutes\n", steps, step, t->options.minutes);
    size_tell(t, step, seconds);
    return true;
}
