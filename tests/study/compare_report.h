/* What a comparison found, from its runs' results, as report.md, report.csv and two plots. */
#ifndef COMPARE_REPORT_H
#define COMPARE_REPORT_H

#include "../../src/run/parity.h"
#include "compare_search.h"
#include "compare_study.h"

struct model_result {
    const struct study_model *model;
    struct moe_layer sizes;
    struct layer_cost whole, layer; /* the model, and one of its layers with experts: router and biases included */
    struct timing timing;
    struct search search;           /* for its learning rate; a single rate needs none, and is its only trial */
    struct result *finals;          /* (seeds) with the best of them */
};

struct comparison {
    const struct request *request;
    const struct study *study;
    double *rates; /* (n_rates) of --lrs, ascending */
    size_t n_rates;
    int64_t steps;
    struct model_result *models; /* (study->n) */
};

static inline bool searches(const struct comparison *c) { return c->n_rates > 1; }

static inline double best_rate(const struct model_result *m) {
    return m->search.trials[search_best(&m->search)].rate;
}

/* The model whose name this is, among those of the study. */
struct model_result *model_named(const struct comparison *c, const char *name);

bool report_write(const struct comparison *c, struct error *err);

#endif
