/* What a comparison found, from the runs' logs, as report.md, report.csv and two plots. */
#ifndef COMPARE_REPORT_H
#define COMPARE_REPORT_H

#include "../src/runlog.h"
#include "../src/parity.h"
#include "compare_study.h"

/* One run, as its log tells. */
struct result {
    double loss, bits_per_byte; /* of the last validation, on all held-out text; infinite if it diverged */
    double rate, seconds;       /* median tokens/s; training in all */
    struct curve by_step;       /* validation losses */
    struct curve by_seconds;    /* the same over seconds of training */
};

/* False if the log does not end with the validation of step `steps`. */
bool result_read(struct result *result, const char *log, int64_t steps);
struct result result_diverged(void);
void result_free(struct result *result);

struct model_result {
    const struct study_model *model;
    struct moe_layer sizes;
    struct layer_cost whole, layer; /* the model, and one of its layers with experts: router and biases included */
    struct timing timing;
    size_t best;                    /* of the search */
    struct result *searches;        /* (learning rates) */
    struct result *finals;          /* (seeds) with the best of them */
};

struct comparison {
    const struct request *request;
    const struct study *study;
    double *rates; /* (n_rates) learning rates */
    size_t n_rates;
    int64_t steps;
    struct model_result *models; /* (study->n) */
};

/* Learning rates to choose among: a single one needs no search. */
static inline size_t searches(const struct comparison *c) { return c->n_rates > 1 ? c->n_rates : 0; }

/* The model whose name this is, among those of the study. */
struct model_result *model_named(const struct comparison *c, const char *name);

bool report_write(const struct comparison *c, struct error *err);

#endif
