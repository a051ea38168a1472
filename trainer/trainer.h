/* The parts of ./train around its loop, which is in train.c. All of them work on one struct: the run.
 *
 *   command.c   the command line, and what --resume and --from say before it
 *   corpus.c    from the names of a corpus to sequences: tokenizer, prepared data, codebook
 *   save.c      checkpoints, written and read back
 *   record.c    the run's config, log and plots
 *   validate.c  how good the model is on text that it has not seen
 *   time.c      how long it takes
 *   show.c      what the user sees: the progress line, samples, --dry-run
 *
 * Only train.c includes this. What does without the run as a whole belongs into src/run or data/, where tests reach
 * it. */
#ifndef TRAINER_H
#define TRAINER_H

#include "../data/codebook.h"
#include "../data/feed.h"
#include "../mhmoe.h"
#include "../src/base/progress.h"
#include "../src/run/events.h"
#include "../src/run/muon.h"
#include "../src/run/rundir.h"
#include "../src/run/runlog.h"
#include "../src/run/runstate.h"
#include "../src/run/score.h"
#include "../src/run/training.h"
#include "../tokenizer/tokenizer.h"

struct train {
    struct training options;
    struct config config;
    bool *given;             /* for options_given */
    struct model model;
    tokenizer *tokenizer;
    char *data_dir;
    struct rundir dir;
    struct checkpoint resumed; /* with --resume, open while the rest is being set up */
    struct checkpoint source;  /* with --from, the same */
    json_t *inherited;         /* of it: see src/run/inherit.h */
    struct feed *train_data, *val_data;
    struct codebook codebook;  /* of a masked model with pictures */
    char *language;            /* of most of its texts, for ./sample */
    struct part_score *parts; /* what the last validation found of each part of the data */
    real *moment_memory;      /* (2, n_parameters): Adam's m and v */
    void *muon_memory;        /* work memory of --optimizer muon, or NULL */
    real *average_memory;     /* (n_parameters) of --ema, or NULL */
    struct runstate run;
    struct pace pace;         /* of this session, and its losses */
    struct spark spark;
    double plot_seconds;      /* that drawing took in this session */
    double saved_at;          /* when the last checkpoint was, or the session began: for --save-minutes */
    bool saved;              /* last.safetensors holds it as it is now */
    struct runlog log;
    struct events events;    /* of --tensorboard */
    struct batch *batches;   /* (accumulate) */
};

enum { GROUPS = 2 };
static inline void option_groups(struct train *t, struct option_group groups[GROUPS]) {
    groups[0] = (struct option_group){training_options, &t->options};
    groups[1] = (struct option_group){model_options, &t->config};
}

static inline bool is_masked(const struct train *t) { return t->config.task == TASK_MASKED; }

/* Whether the corpus has parts; once it is open. */
static inline bool has_parts(const struct train *t) { return *feed_part_name(t->train_data, 0); }

static inline struct matrices matrices_of(const struct parameter_info *p) {
    return (struct matrices){p->matrices, p->rows, p->columns};
}

static inline struct model_setup setup_of(const struct training *o) {
    return (struct model_setup){MODEL_TRAIN, (size_t)o->batch, o->recompute, (enum storage)o->dtype};
}

/* ---- command.c ---- */

/* Sets options, config and given, claims the directory of --resume, opens the model of --from. Returns the index of the
 * first corpus in argv, or -1. */
int options_read(struct train *t, int argc, char **argv, struct error *err);

/* No option is ignored in silence. */
void idle_options_tell(struct train *t);

/* A resumed run keeps its model, its order of data and its held-out sequences; what else has changed is told. */
bool resume_check(const struct train *t, const struct checkpoint *resumed, struct error *err);

/* ---- corpus.c: `earlier` is the checkpoint of --resume or --from, or NULL ---- */

/* The default corpus of the task, which is fetched when it is not there yet. malloc'ed. */
char *default_corpus(const struct train *t, struct error *err);

/* What there will be of the model of --from; where pictures are still to be opened, it is told then. */
bool inheritance_find(struct train *t, struct error *err);

/* The tokenizer and the codebook that there are already; then the data, with those that are made of it, and the sizes
 * that the model has from them. */
bool tokenizer_open(struct train *t, const struct checkpoint *earlier, struct error *err);
bool codebook_open(struct train *t, const struct checkpoint *earlier, struct error *err);
bool data_open(struct train *t, char **corpora, size_t n, const struct checkpoint *earlier, struct error *err);

/* ---- save.c ---- */

/* best.safetensors, for ./sample, goes without the moments and, within a validation, has the average of --ema for its
 * weights; last.safetensors holds the weights and, as ema.NAME, their average, and the log up to it is
 * made permanent first. */
bool best_save(struct train *t, struct error *err);
bool run_save(struct train *t, struct error *err);

/* The same as run_save, and under --keep the file gets a name of its own, while earlier ones of such names go. */
bool numbered_save(struct train *t, struct error *err);

/* --keep-moments, of a run whose weights are there. EXIT_MISMATCH. */
bool moments_inherit(struct train *t, struct error *err);

/* Goes on from a checkpoint, in a model that has been created. */
bool run_restore(struct train *t, const struct checkpoint *c, struct error *err);

/* ---- record.c ---- */

bool config_write(const struct train *t, struct error *err);
bool log_open(struct train *t, struct error *err);
bool events_open(struct train *t, struct error *err); /* --tensorboard */

/* The pictures of the run; that of the codebook, which does not change, only with `last`. */
bool plots_draw(struct train *t, bool last, struct error *err);

/* The same on the way: unless drawing, from a log that grows, has come to take more than a fiftieth of the time. A
 * failure is told, once, and ends nothing. */
void plots_refresh(struct train *t);

/* --plot: the losses of other runs in one picture, whose name it prints. */
bool runs_draw(const struct training *o, char *const *runs, size_t n, struct error *err);

/* What every entry of the log begins with: the steps that are done, and the tokens of theirs. */
json_t *entry_new(const struct train *t);

/* Picks of each expert since the statistics were cleared, one array a MoE layer. */
json_t *load_json(const struct model *m);

/* The same numbers of a step, and of a validation (`when`: "validation", "final"), go to TensorBoard. */
bool score_event(struct train *t, const struct score *s, const char *when, struct error *err);
bool step_log(struct train *t, double loss, double norm, double lr, double rate, struct error *err);

/* ---- validate.c ---- */

/* With --ema exchanges the weights and their average; to be called in pairs, round what is done with the average. */
void weights_exchange(struct train *t);

/* Validates, logs, keeps the best model so far: all over the same sequences, so that figures can be compared. Cut short
 * by a signal it says nothing, and so does the next. */
bool validate(struct train *t, struct score *score, struct error *err);

/* The end of the run: the figure over all the held-out text (or --final-windows), and the plots. */
bool run_conclude(struct train *t, const struct score *validation, struct error *err);

/* Sequences that such a validation takes; see section_windows. */
size_t val_windows(const struct train *t, int limit);

/* ---- time.c ---- */

/* --minutes: sets --steps to as many, of `step` seconds, as fit into `seconds` with the validations. EXIT_USAGE if that
 * are too few. */
bool steps_choose(struct train *t, double step, double seconds, struct error *err);

/* Once some steps are measured: a line that says how long those until `end` will take. To be called after each. */
void time_tell(const struct train *t, int64_t end);

/* ---- show.c ---- */

/* What a run begins with: a line each for its model, its data and its directory. */
void run_tell(const struct train *t);

/* A progress line on a terminal; nothing elsewhere. */
void progress_show(const struct train *t, double loss, double rate);

/* Work memory of --optimizer muon for tensors like these; 0 without it. */
size_t muon_bytes(const struct training *o, const struct parameter_info *info);

/* A sample of what the model writes, on standard output. */
void sample_show(struct train *t);

/* --dry-run: from the shapes alone, so that a model that does not fit in memory can be looked at. */
bool cost_show(const struct train *t, struct error *err);

#endif
