/* How a model is trained: the options that say so, the learning rate they make, and which of them a resumed run may
 * change. */
#ifndef TRAINING_H
#define TRAINING_H

#include "options.h"

/* One field an option, see training_options. */
struct training {
    char *out, *resume, *from, *match, *val, *part_weights, *languages, *tokenizer, *cache, *prompt;
    struct portion warmup, decay_steps; /* of the steps */
    int64_t steps, until, seed, eval_every, save_every, sample_every;
    int batch, accumulate, threads, eval_windows, final_windows, sample_tokens, keep, patience;
    int schedule, dtype, preset; /* enum schedule_kind; enum storage, f32 or bf16; see preset.h */
    int optimizer;               /* enum optimizer_kind */
    double lr, embedding_lr, final_lr, weight_decay, beta1, beta2, clip, dropout, ema, part_alpha;
    double hide_patches, hide_text, hide_caption, minutes, save_minutes;
    bool dry_run, plot, tensorboard, keep_moments, recompute, parts;
};
extern const struct option_spec training_options[];

/* Sets what runs of earlier versions were trained with, whose config and checkpoint do not say so. */
void training_set_earlier(struct training *o);

/* Of an installed program that is started where there are no data, puts --cache where it keeps its own (place.h). */
void training_place(struct training *o);

/* The learning rate of the step that follows `step` others. */
double training_rate(const struct training *o, int64_t step);

/* EXIT_USAGE: an empty name, as of a shell's variable that is not set, which would mean the root of the disk; or
 * held-out text for a masked model. */
bool training_check(const struct training *o, bool masked, struct error *err);

/* Notes on standard error on those that have no effect beside the others; `given` as of options_parse. */
void training_tell(const struct training *o, bool masked, const struct option_group *groups, size_t n,
                   const bool *given);

/* What of it a checkpoint keeps: the values on which the run depends. New reference. */
json_t *training_kept(const struct training *o);

/* Compares with what the checkpoint of the run in `dir`, at `step`, has kept. What fixes the order of the data and the
 * validations' sequences is refused by name (EXIT_MISMATCH); what else has changed, and a learning rate that jumps, is
 * told on standard error. */
bool training_resume(const struct training *o, const json_t *kept, int64_t step, const char *dir, struct error *err);

/* Refuses the first option that both objects hold with different values (EXIT_MISMATCH). */
bool options_fixed(const json_t *mine, const json_t *theirs, const char *dir, struct error *err);

#endif
