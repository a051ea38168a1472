/* What a comparison runs: the studies (tables of models), the command line of each run, and how many steps fit
 * into the time that there is. Pure: tests/study/compare.c executes it. */
#ifndef COMPARE_STUDY_H
#define COMPARE_STUDY_H

#include "../../src/base/util.h"

/* One model: options of ./train beside those that all models of a study share. */
struct study_model {
    const char *name;     /* of its runs' directories */
    const char *label;    /* in reports */
    const char *baseline; /* what its loss is subtracted from; NULL for a baseline. Stands earlier in the table. */
    bool match;           /* experts and their width by --match BASELINE: the same cost */
    int hidden;           /* else: width of experts, in dense layers' (0: they have none) */
    const char *words;    /* options, separated by blanks */
};

struct study {
    const char *name, *question;
    const struct study_model *models;
    size_t n;
};
bool study_is_masked(const struct study *study); /* its models are of --task masked: they have no bits per byte */
extern const struct study studies[]; /* in the order of study_words */
extern const char *const study_words[];

/* What one call of the program asks for: one field an option, and the corpora. */
struct request {
    char *out, *train, *lrs, *common, *mhmoe, *part;
    char *part_alpha, *part_weights; /* ./train's, as they are; NULL: not given */
    bool parts;
    int study, seeds, widen, jobs, threads, block, vocab, seq, layers, channels, attn_heads, moe_every, batch;
    int eval_windows;
    double minutes, search_fraction;
    int64_t steps, warmup;
    char **corpora;
    size_t n_corpora;
};

/* Whether parity has a whole number and width of experts for each model that is to cost what its baseline does.
 * EXIT_USAGE: the message names a model for which it has none, and the nearest --channels with which all fit. Or else
 * what ./train would refuse in the model's options. */
bool study_check(const struct request *r, const struct study *study, struct error *err);

/* "2/3": the second of three parts, counted from 0 in *part; NULL is the only one of one. False if it is not that. */
bool part_parse(const char *text, size_t *part, size_t *parts);

/* "1e-3,2e-3" as at most `most` positive numbers, no two alike, ascending; 0 if it is not that. */
size_t rates_parse(const char *text, double *rates, size_t most);

struct study_run {
    const struct study_model *model;
    double lr;
    int64_t seed, steps;
};

/* An argument list for exec: NULL after the last. */
struct words {
    char **items;
    size_t n, capacity;
};
void words_add(struct words *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
void words_free(struct words *w);

/* OUT/NAME-lr0.002-seed1-steps100: a run is known by what it computes, so equal ones are done once. malloc'ed. */
char *run_directory(const struct request *r, const struct study_run *run);

/* Where the models are measured before anything else; the baselines' are what --match names. malloc'ed. */
char *calibration_directory(const struct request *r, const struct study_model *model);

/* ./train's arguments for a new run in `directory`, and for one that goes on. */
void command_start(struct words *w, const struct request *r, const struct study_run *run, const char *directory);
void command_resume(struct words *w, const struct request *r, const char *directory);

/* Seconds that a model takes: for a step, and for what each run has besides (start, validations, saving). */
struct timing {
    double step, overhead;
};

/* What a plan has of each model: at most so many runs, of a share of the steps, in rounds one after another. */
struct stage {
    size_t runs;
    double fraction;
    size_t rounds;
};

/* Runs of a search among n rates: with every seed, as if no rate left the race and as many came in as may. */
struct stage search_stage(const struct request *r, size_t n_rates);

/* The number of steps, the same for every run, with which a search and then the final runs of each model, `jobs` at a
 * time, end within `seconds`; less than 1 if they cannot. */
int64_t plan_steps(const struct timing *models, size_t n, struct stage search, struct stage finals, int jobs,
                   double seconds);

/* Steps of a run of the search for the learning rate. */
int64_t search_steps(int64_t steps, double fraction);

/* Steps in which a run's learning rate rises: as --warmup says, or a tenth of them, but at least 250 as far as 7 tenths
 * allow. Risen faster, it holds these models on their plateaus (docs/RESULTS.md). */
int64_t warmup_steps(const struct request *r, int64_t steps);

/* Steps between validations: ten of them in a run. */
int64_t eval_every(int64_t steps);

#endif
