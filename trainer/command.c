/* See trainer.h. What the command line says, and what the run or model that it goes on from has said already. */
#include "trainer.h"

#include <limits.h>
#include <string.h>
#include "../foreign/import.h"
#include "../src/run/match.h"
#include "../src/run/preset.h"

/* The options that a block or a preset stands for; a run that goes on has them already, and so has one that begins with
 * another's weights, if it does not choose a block itself. */
static void options_complete(const struct option_group *groups, size_t n, const bool *given) {
    struct training *o = groups[0].target;
    if (!options_given(groups, n, given, "cache")) training_place(o);
    if (!o->resume && (!o->from || options_given(groups, n, given, "block")))
        config_preset(groups[1].target, groups, n, given);
    if (!o->resume && !o->from) preset_set((enum preset)o->preset, groups, n, given);
}

static const struct program_info program = {
    "train", "train [OPTION]... [CORPUS]...",
    "Trains a language model on text: files, directories, .gz files, or - for standard input. Without a corpus "
    "it fetches the default one (Jane Austen's novels).",
    "Examples:\n"
    "  ./train my.txt --steps 2000\n"
    "  ./train my.txt --ffn smoe --experts 16 --dry-run\n"
    "  ./train --resume runs/my\n"
    "  ./train --plot runs/my runs/other --out both.svg\n"
    "\n"
    "Exit codes: 0 done, 2 usage, 3 bad input, 4 output failed, 5 inputs do not match each other, 6 memory,\n"
    "7 run directory in use, 8 diverged, 128+n stopped by signal n (a checkpoint is written first).\n",
    options_complete,
};

/* With --resume the run's config is read first, so that the command line only says what changes. */
static bool config_resume(struct train *t, const char *run, struct error *err) {
    struct option_group groups[GROUPS];
    if (!rundir_reclaim(&t->dir, run, err)) return false;
    char *config = string_format("--config=%s/config", t->dir.path);
    option_groups(t, groups);
    t->config.block = BLOCK_GPT2; /* what a run of an earlier version was, which does not say so */
    training_set_earlier(&t->options);
    const bool ok = options_parse(groups, GROUPS, &program, 2, (char *[]){"train", config, NULL}, NULL, err) > 0;
    free(t->options.tokenizer); /* it is in the checkpoint */
    t->options.tokenizer = NULL;
    free(config);
    return ok;
}

/* With --from the other model's options are what the command line does not say. */
static bool config_from(struct train *t, const char *from, struct error *err) {
    char *path = checkpoint_path(from);
    const bool ok = source_open(&t->source, path, err) && config_from_checkpoint(&t->config, &t->source, err);
    free(path);
    return ok;
}

/* With --keep-moments a run's model is not the best one, but the last, which has them. */
static bool last_open(struct train *t, struct error *err) {
    const struct training *o = &t->options;
    if (!o->from || !o->keep_moments || !directory_exists(o->from)) return true;
    char *path = string_format("%s/last.safetensors", o->from);
    checkpoint_close(&t->source);
    const bool ok = source_open(&t->source, path, err);
    free(path);
    return ok;
}

void idle_options_tell(struct train *t) {
    struct config *config = &t->config;
    struct config initial = {0};
    const struct option_group mine = {model_options, config}, defaults = {model_options, &initial};
    options_set_defaults(&defaults, 1);
    struct error unused;
    if (t->options.from) config_from_checkpoint(&initial, &t->source, &unused); /* as in options_read */
    json_t *values = options_to_json(&mine), *unset = options_to_json(&defaults), *value;
    const char *name;
    json_object_foreach(values, name, value) {
        const char *need = option_missing(config, name);
        if (need && !json_equal(value, json_object_get(unset, name)))
            note_print("--%s has no effect without %s", name, need);
    }
    json_decref(values);
    json_decref(unset);
    struct option_group groups[GROUPS];
    option_groups(t, groups);
    config_preset_tell(config, groups, GROUPS, t->given);
    if (t->options.tokenizer && options_given(groups, GROUPS, t->given, "vocab"))
        note_print("--vocab has no effect with --tokenizer");
    else if (t->options.from && config->vocab != initial.vocab)
        note_print("--vocab has no effect with --from: the weights are for its %d tokens", initial.vocab);
    if (config->ffn != FFN_DENSE && config->topk == 1 && config->renormalize)
        note_print("--renormalize with --topk 1 makes every gate 1: the loss teaches the router nothing");
    training_tell(&t->options, is_masked(t), groups, GROUPS, t->given);
}

/* What the parts of the command line say of each other. */
static bool options_agree(const struct train *t, struct error *err) {
    struct option_group groups[GROUPS];
    const struct training *o = &t->options;
    option_groups((struct train *)t, groups);
    if (o->minutes > 0 && options_given(groups, GROUPS, t->given, "steps"))
        return error_set(err, EXIT_USAGE, "--minutes and --steps both given; leave out one");
    if (o->resume && o->keep_moments)
        return error_set(err, EXIT_USAGE, "--keep-moments and --resume both given; a resumed run has its moments");
    if (o->resume && options_given(groups, GROUPS, t->given, "preset"))
        return error_set(err, EXIT_USAGE, "--preset and --resume both given; a resumed run keeps its sizes");
    if ((int64_t)o->batch * o->accumulate > INT_MAX)
        return error_set(err, EXIT_USAGE,
                         "--batch %d times --accumulate %d are more sequences than a step can have (at "
                         "most %d); lower one",
                         o->batch, o->accumulate, INT_MAX);
    return true;
}

/* Without a corpus a model of --from goes on with the data that it was trained on, which one of another program has not
 * brought along. */
static bool data_named(const struct train *t, int corpora, struct error *err) {
    if (!t->options.from || corpora > 0) return true;
    return json_object_get(t->source.metadata, "data_dir") ||
           error_set(err, EXIT_USAGE, "--from %s: weights without the data that they were trained on; name a text",
                     t->options.from);
}

int options_read(struct train *t, int argc, char **argv, struct error *err) {
    struct option_group groups[GROUPS];
    option_groups(t, groups);
    options_set_defaults(groups, GROUPS);
    const char *resume = option_early(argc, argv, "--resume"), *from = option_early(argc, argv, "--from");
    if (resume && from)
        return error_set(err, EXIT_USAGE, "--from and --resume both given; a resumed run has its weights"), -1;
    if (resume && *resume && !config_resume(t, resume, err)) return -1;
    if (from && *from && !config_from(t, from, err)) return -1;
    char *val = string_format("%s", t->options.val ? t->options.val : "");
    const int first = options_parse(groups, GROUPS, &program, argc, argv, &t->given, err);
    const bool same_val = strcmp(val, t->options.val ? t->options.val : "") == 0;
    free(val);
    if (first >= 0 && !training_check(&t->options, is_masked(t), err)) return -1;
    if (first >= 0 && t->options.resume && !resume)
        return error_set(err, EXIT_USAGE, "--resume: shortened, or in a config file; write it out"), -1;
    if (first >= 0 && strcmp(from ? from : "", t->options.from ? t->options.from : "") != 0)
        return error_set(err, EXIT_USAGE, "--from: shortened, or in a config file; write it out"), -1;
    if (first >= 0 && !last_open(t, err)) return -1;
    if (first >= 0 && t->options.resume && !same_val)
        return error_set(err, EXIT_MISMATCH, "--val %s: not the held-out text of %s; leave it out, or start a new run",
                         t->options.val, t->options.resume), -1;
    if (first >= 0 && t->options.resume && t->options.out)
        return error_set(err, EXIT_USAGE, "--out and --resume both given; a resumed run stays in its directory"), -1;
    if (first >= 0 && t->options.match && !match_baseline(groups, t->given, &program, model_moe_layer, err)) return -1;
    if (first >= 0 && !data_named(t, argc - first, err)) return -1;
    return first >= 0 && !options_agree(t, err) ? -1 : first;
}

bool resume_check(const struct train *t, const struct checkpoint *resumed, struct error *err) {
    struct config begun; /* complete, also where an earlier version wrote the checkpoint */
    const struct option_group model = {model_options, (void *)&t->config}, its = {model_options, &begun};
    json_t *mine = options_to_json(&model), *config = checkpoint_object(resumed, "config", err), *theirs = NULL,
           *options = NULL;
    int64_t step;
    bool ok = config && config_from_checkpoint(&begun, resumed, err) && (theirs = options_to_json(&its)) &&
              options_fixed(mine, theirs, t->dir.path, err);
    if (ok && json_object_get(resumed->metadata, "options")) { /* not so in a checkpoint of an earlier version */
        options = checkpoint_object(resumed, "options", err);
        ok = options && checkpoint_whole(resumed, "step", &step, err) &&
             training_resume(&t->options, options, step, t->dir.path, err);
    }
    json_decref(mine);
    json_decref(config);
    json_decref(theirs);
    json_decref(options);
    return ok;
}
