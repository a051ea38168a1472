/* See training.h. */
#include "training.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../base/place.h"
#include "optimizer.h"
#include "preset.h"

static const char *const schedule_words[] = {"cosine", "linear", "wsd", "constant", NULL};
static const char *const dtype_words[] = {"f32", "bf16", NULL};

static const char *const optimizer_words[] = {"adamw", "muon", NULL}; /* of enum optimizer_kind */

#define CACHE "data/cache"
#define FIELD(name) offsetof(struct training, name)
const struct option_spec training_options[] = {
    {"out", 'o', OPTION_STRING, FIELD(out), NULL, 0, 0, NULL, "DIR",
     "directory of the run (default: runs/ and the corpus's name)", "Run"},
    {"resume", 0, OPTION_STRING, FIELD(resume), NULL, 0, 0, NULL, "RUN",
     "go on with a run (its directory, or its last.safetensors) from its last checkpoint, with its options", NULL},
    {"from", 0, OPTION_STRING, FIELD(from), NULL, 0, 0, NULL, "MODEL",
     "begin with the weights, tokenizer and model options of another model (a run's directory, a checkpoint, or "
     "GPT-2's from transformers): what has the same name is copied, experts come from its dense layers, the rest is "
     "new, and told", NULL},
    {"plot", 0, OPTION_FLAG, FIELD(plot), "false", 0, 0, NULL, NULL,
     "train nothing: draw the losses of the runs that are named, one over the other, into --out (plot.svg)", NULL},
    {"keep-moments", 0, OPTION_FLAG, FIELD(keep_moments), "false", 0, 0, NULL, NULL,
     "with --from a run: begin with its last weights and the optimizer's moments of them, instead of its best ones and "
     "zeros", NULL},
    {"dry-run", 0, OPTION_FLAG, FIELD(dry_run), "false", 0, 0, NULL, NULL,
     "print parameters, FLOPs and memory, and stop", NULL},
    {"match", 0, OPTION_STRING, FIELD(match), NULL, 0, 0, NULL, "FILE",
     "set --experts and --expert-hidden so that a layer costs as much as that of the baseline (--ffn smoe or dense) "
     "whose config file or run directory this is", NULL},
    {"threads", 0, OPTION_INT, FIELD(threads), "0", 0, 1024, NULL, "N",
     "threads (0: as many as processors); the result is the same for any number", NULL},
    {"dtype", 0, OPTION_CHOICE, FIELD(dtype), "f32", 0, 0, dtype_words, "KIND",
     "what products are computed in: bf16 rounds what is multiplied, routers' aside, and sums in f32; faster where the "
     "processor has matrix tiles (AMX). Weights, moments and all else stay f32", NULL},
    {"seed", 0, OPTION_LONG, FIELD(seed), "1", 0, 1e15, NULL, "N", "seed of weights, order and samples", NULL},
    {"val", 0, OPTION_STRING, FIELD(val), NULL, 0, 0, NULL, "FILE",
     "held-out text (default: a twentieth of the corpus: of a large file its end, of many files whole ones)", "Data"},
    {"parts", 0, OPTION_FLAG, FIELD(parts), "false", 0, 0, NULL, NULL,
     "the sub-directories of the corpus are its parts (languages, domains), as with en=PATH de=PATH: mixed as the next "
     "two options say, and validated each by itself", NULL},
    {"part-alpha", 0, OPTION_REAL, FIELD(part_alpha), "1", 0, 10, NULL, "A",
     "how often a sequence is of a part: in proportion to the part's tokens ^ A (1: as they come, 0: all alike)", NULL},
    {"part-weights", 0, OPTION_STRING, FIELD(part_weights), NULL, 0, 0, NULL, "LIST",
     "the same by a weight for each part, as in en=2,de=1 (0: only validate)", NULL},
    {"languages", 0, OPTION_STRING, FIELD(languages), NULL, 0, 0, NULL, "LIST",
     "captions in these languages alone, as in en,de (--task masked)", NULL},
    {"hide-patches", 0, OPTION_REAL, FIELD(hide_patches), "0.4", 0.001, 1, NULL, "X",
     "share of a picture's patches that are hidden, in blocks (--task masked)", NULL},
    {"hide-text", 0, OPTION_REAL, FIELD(hide_text), "0.15", 0.001, 1, NULL, "X",
     "share of the tokens that are hidden in a text alone (--task masked)", NULL},
    {"hide-caption", 0, OPTION_REAL, FIELD(hide_caption), "0.5", 0.001, 1, NULL, "X",
     "share of the tokens that are hidden in a text beside a picture (--task masked)", NULL},
    {"tokenizer", 0, OPTION_STRING, FIELD(tokenizer), NULL, 0, 0, NULL, "FILE",
     "SentencePiece model to use (default: one trained on the corpus, with --vocab pieces)", NULL},
    {"cache", 0, OPTION_STRING, FIELD(cache), CACHE, 0, 0, NULL, "DIR",
     "where tokenizers and shards are kept (installed, and started where there is no directory data: in the user's "
     "cache directory)", NULL},
    {"steps", 0, OPTION_LONG, FIELD(steps), "3000", 0, 1e12, NULL, "N", "optimizer steps in all", "Training"},
    {"minutes", 0, OPTION_REAL, FIELD(minutes), "0", 0, 1e6, NULL, "M",
     "as many steps as fit into this time on this machine, which is measured first (0: --steps)", NULL},
    {"preset", 0, OPTION_CHOICE, FIELD(preset), "small", 0, 0, preset_words, "SIZE",
     "size of the model: sets --seq, --layers, --channels, --attn-heads, --vocab and --lr, where they are not given "
     "(small: the defaults)", NULL},
    {"until", 0, OPTION_LONG, FIELD(until), "0", 0, 1e12, NULL, "N",
     "save and stop after step N, to be resumed (0: do not); the schedule still ends at --steps", NULL},
    {"batch", 0, OPTION_INT, FIELD(batch), "8", 1, 65536, NULL, "N", "sequences in a micro-batch", NULL},
    {"accumulate", 0, OPTION_INT, FIELD(accumulate), "1", 1, 65536, NULL, "N", "micro-batches in a step", NULL},
    {"recompute", 0, OPTION_FLAG, FIELD(recompute), "false", 0, 0, NULL, NULL,
     "less memory: backward computes each block's forward again (a third more time); the same result", NULL},
    {"lr", 0, OPTION_REAL, FIELD(lr), "2e-3", 0, 10, NULL, "X", "peak learning rate", NULL},
    {"embedding-lr", 0, OPTION_REAL, FIELD(embedding_lr), "8", 0, 1000, NULL, "X",
     "learning rate of the token embedding (and the output head), as a multiple of that of the rest", NULL},
    {"schedule", 0, OPTION_CHOICE, FIELD(schedule), "wsd", 0, 0, schedule_words, "KIND",
     "how the learning rate falls after the warm-up: along a cosine, in a line, in a line over the last --decay-steps "
     "(wsd), or not at all", NULL},
    {"decay-steps", 0, OPTION_PORTION, FIELD(decay_steps), "-1", -1, 1e12, NULL, "N",
     "steps over which wsd falls, or their share, as in 20% (-1: 40% of all)", NULL},
    {"final-lr", 0, OPTION_REAL, FIELD(final_lr), "0", 0, 1, NULL, "X",
     "last learning rate, as a fraction of the peak", NULL},
    {"warmup", 0, OPTION_PORTION, FIELD(warmup), "-1", -1, 1e12, NULL, "N",
     "steps of linear warm-up, or their share, as in 2% (-1: 200, but at most a tenth of all)", NULL},
    {"weight-decay", 0, OPTION_REAL, FIELD(weight_decay), "0.02", 0, 10, NULL, "X",
     "AdamW's decay of matrices (never of biases, norms and positions)", NULL},
    {"beta1", 0, OPTION_REAL, FIELD(beta1), "0.9", 0, 0.999999, NULL, "X", "AdamW's decay of the mean", NULL},
    {"beta2", 0, OPTION_REAL, FIELD(beta2), "0.99", 0, 0.999999, NULL, "X", "AdamW's decay of the square", NULL},
    {"clip", 0, OPTION_REAL, FIELD(clip), "1", 0, 1e9, NULL, "X", "highest gradient norm (0: any)", NULL},
    {"dropout", 0, OPTION_REAL, FIELD(dropout), "0", 0, 0.999999, NULL, "P",
     "share of the numbers that a step leaves out at random, of the embeddings and of what attention and the "
     "feed-forward layer add (not of attention's weights); validations and samples leave out none", NULL},
    {"optimizer", 0, OPTION_CHOICE, FIELD(optimizer), "muon", 0, 0, optimizer_words, "KIND",
     "what updates the matrices within the model: AdamW, as all the rest, or Muon, at the same --lr, which learns more "
     "in the same time", NULL},
    {"ema", 0, OPTION_REAL, FIELD(ema), "0", 0, 0.999999, NULL, "X",
     "decay of an average of the weights over the steps, which validations, samples and best.safetensors take (0: "
     "none)", NULL},
    {"eval-every", 0, OPTION_LONG, FIELD(eval_every), "200", 0, 1e12, NULL, "N",
     "steps between validations (0: only at the end)", "Watching"},
    {"eval-windows", 0, OPTION_INT, FIELD(eval_windows), "64", 1, 1 << 30, NULL, "N",
     "held-out sequences in a validation, the same ones each time", NULL},
    {"final-windows", 0, OPTION_INT, FIELD(final_windows), "0", 0, 1 << 30, NULL, "N",
     "held-out sequences in the figure at the end of the run (0: all of them)", NULL},
    {"save-every", 0, OPTION_LONG, FIELD(save_every), "500", 0, 1e12, NULL, "N",
     "steps between checkpoints (0: only at the end)", NULL},
    {"save-minutes", 0, OPTION_REAL, FIELD(save_minutes), "0", 0, 1e6, NULL, "M",
     "minutes after which there is a checkpoint in between (0: none)", NULL},
    {"keep", 0, OPTION_INT, FIELD(keep), "0", 0, 1000000, NULL, "N",
     "of those checkpoints keep the last N, as step-00000500.safetensors (0: last.safetensors alone)", NULL},
    {"patience", 0, OPTION_INT, FIELD(patience), "0", 0, 1000000, NULL, "N",
     "end the run after N validations in a row that were no better than the best one (0: do not)", NULL},
    {"tensorboard", 0, OPTION_FLAG, FIELD(tensorboard), "false", 0, 0, NULL, NULL,
     "write what the log holds into the run's directory for TensorBoard, too (tensorboard --logdir runs)", NULL},
    {"sample-every", 0, OPTION_LONG, FIELD(sample_every), "500", 0, 1e12, NULL, "N",
     "steps between samples of text (0: none)", NULL},
    {"sample-tokens", 0, OPTION_INT, FIELD(sample_tokens), "64", 1, 1 << 20, NULL, "N", "length of a sample", NULL},
    {"prompt", 0, OPTION_STRING, FIELD(prompt), "The", 0, 0, NULL, "TEXT", "what samples begin with", NULL},
    {0},
};

void training_set_earlier(struct training *o) {
    o->embedding_lr = 1;
    o->schedule = SCHEDULE_COSINE;
    o->optimizer = OPTIMIZER_ADAMW;
}

void training_place(struct training *o) {
    if (strcmp(o->cache, CACHE) != 0) return; /* that of a run that goes on */
    char *data = place_data();
    free(o->cache);
    o->cache = string_format("%s/cache", data);
    free(data);
}

double training_rate(const struct training *o, int64_t step) {
    const int64_t tenth = o->steps / 10, warmup = portion_of(&o->warmup, o->steps),
                  decay = portion_of(&o->decay_steps, o->steps);
    const struct schedule s = {.kind = (enum schedule_kind)o->schedule, .steps = o->steps, .peak = o->lr,
                               .warmup = warmup >= 0 ? warmup : tenth < 200 ? tenth : 200,
                               .decay = decay >= 0 ? decay : (int64_t)(0.4 * (double)o->steps),
                               .final = o->final_lr};
    return learning_rate(&s, step);
}

bool training_check(const struct training *o, bool masked, struct error *err) {
    const struct {
        const char *option, *name;
    } all[] = {{"out", o->out}, {"resume", o->resume}, {"from", o->from}, {"match", o->match},
               {"val", o->val}, {"tokenizer", o->tokenizer}, {"cache", o->cache}, {"languages", o->languages}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].name && !*all[i].name)
            return error_set(err, EXIT_USAGE, "--%s: bad value (got '', want a name); give it one, or leave it out",
                             all[i].option);
    if (o->plot && (o->resume || o->from))
        return error_set(err, EXIT_USAGE, "--plot and --%s both given; --plot trains nothing: name the runs alone",
                         o->resume ? "resume" : "from");
    if (o->resume && o->minutes > 0)
        return error_set(err, EXIT_USAGE, "--minutes and --resume both given; a run that goes on has its --steps");
    if (masked && o->val)
        return error_set(err, EXIT_USAGE, "--val %s: a masked model holds out pictures and texts of its own; leave it "
                         "out", o->val);
    return true;
}

void training_tell(const struct training *o, bool masked, const struct option_group *groups, size_t n,
                   const bool *given) {
    static const char *const of_text[] = {"parts", "part-alpha", "part-weights", "prompt", "sample-every",
                                          "sample-tokens", NULL},
                      *const of_pictures[] = {"languages", "hide-patches", "hide-text", "hide-caption", NULL};
    for (const char *const *name = masked ? of_text : of_pictures; *name; name++)
        if (options_given(groups, n, given, *name))
            note_print("--%s has no effect with%s --task masked", *name, masked ? "" : "out");
    if (o->keep_moments && !o->from) note_print("--keep-moments has no effect without --from");
    if (o->from && options_given(groups, n, given, "preset"))
        note_print("--preset has no effect with --from: the sizes are its model's");
    if (o->dry_run && o->minutes > 0) note_print("--minutes has no effect with --dry-run: nothing is measured");
    if (o->part_weights && options_given(groups, n, given, "part-alpha"))
        note_print("--part-alpha has no effect with --part-weights");
    if (o->schedule != SCHEDULE_WSD && options_given(groups, n, given, "decay-steps"))
        note_print("--decay-steps has no effect without --schedule wsd");
    if (o->schedule == SCHEDULE_CONSTANT && options_given(groups, n, given, "final-lr"))
        note_print("--final-lr has no effect with --schedule constant");
    if (o->steps > 0 && portion_of(&o->warmup, o->steps) >= o->steps)
        note_print("--warmup is as long as the run: it ends before the learning rate's peak");
}

/* Those that a run keeps for ever, and those of which it says when they have changed. */
static const char *const fixed_options[] = {"seed", "eval-windows", "part-alpha", "part-weights", "languages",
                                            "hide-patches", "hide-text", "hide-caption", "ema", "optimizer",
                                            NULL};
static const char *const told_options[] = {"steps", "batch", "accumulate", "lr", "embedding-lr", "schedule",
                                           "decay-steps", "final-lr", "warmup", "weight-decay", "beta1", "beta2",
                                           "clip", "dropout", "dtype", NULL};

/* The values of these options. New reference. */
static json_t *options_some(const struct training *o, const char *const *names) {
    const struct option_group group = {training_options, (void *)o};
    json_t *all = options_to_json(&group), *some = json_object();
    for (; *names; names++) json_object_set(some, *names, json_object_get(all, *names));
    json_decref(all);
    return some;
}

json_t *training_kept(const struct training *o) {
    json_t *kept = options_some(o, fixed_options), *told = options_some(o, told_options);
    json_object_update(kept, told);
    json_decref(told);
    return kept;
}

bool options_fixed(const json_t *mine, const json_t *theirs, const char *dir, struct error *err) {
    struct option_difference d;
    if (!options_differ(mine, theirs, &d)) return true;
    error_set(err, EXIT_MISMATCH,
              "--%s %s: the run in %s was begun with %s and keeps it; leave it out, or start a new run", d.name, d.mine,
              dir, d.theirs);
    option_difference_free(&d);
    return false;
}

/* What an earlier version had. Release with options_free. */
static void earlier_options(struct training *o) {
    const struct option_group group = {training_options, o};
    *o = (struct training){0};
    options_set_defaults(&group, 1);
    training_set_earlier(o);
}

/* The learning rate by the schedule that a checkpoint kept; what it did not keep is what it was then. */
static double rate_kept(const json_t *kept, int64_t step) {
    struct training o;
    struct error unused; /* it is none: they have been compared with options */
    const struct option_group group = {training_options, &o};
    earlier_options(&o);
    json_t *all = options_to_json(&group);
    json_object_update_existing(all, (json_t *)kept);
    const double rate = options_from_json(&group, all, &unused) ? training_rate(&o, step) : 0;
    options_free(&group, 1);
    json_decref(all);
    return rate;
}

/* What an earlier version did not have to keep, since there was no other way. */
static json_t *kept_complete(const json_t *kept) {
    static const char *const newer[] = {"ema", "dropout", "optimizer", NULL};
    struct training o;
    const struct option_group group = {training_options, &o};
    earlier_options(&o);
    json_t *all = json_copy((json_t *)kept), *was = options_some(&o, newer);
    json_object_update_missing(all, was);
    json_decref(was);
    options_free(&group, 1);
    return all;
}

bool training_resume(const struct training *o, const json_t *kept, int64_t step, const char *dir, struct error *err) {
    json_t *fixed = options_some(o, fixed_options), *told = options_some(o, told_options),
           *begun = kept_complete(kept);
    const bool ok = options_fixed(fixed, begun, dir, err);
    size_t changes = 0;
    for (struct option_difference d; ok && options_differ(told, begun, &d); changes++) {
        note_print("--%s is %s now; it was %s", d.name, d.mine, d.theirs);
        json_object_del(told, d.name);
        option_difference_free(&d);
    }
    const double now = training_rate(o, step), expected = rate_kept(kept, step);
    if (changes > 0 && step > 0 && fabs(now - expected) > 1e-3 * expected)
        note_print("the learning rate goes on at %.3g; the last step had %.3g", now, rate_kept(kept, step - 1));
    json_decref(fixed);
    json_decref(told);
    json_decref(begun);
    return ok;
}
