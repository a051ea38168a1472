/* How long a run goes on, and from where: schedules by shares, --minutes, --preset, numbered checkpoints, --patience,
 * and --from with moments. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "../src/run/plan.h"
#include "../src/run/preset.h"
#include "../src/run/training.h"
#include "command.h"
#include "picture_files.h"
#include "prose.h"
#include "runs.h"

#define MODEL                                                                                                  \
    "train corpus.txt --block gpt2 --cache cache --vocab 301 --seq 17 --layers 2 --channels 12 --attn-heads 3 " \
    "--moe-heads 2 --experts 5 --topk 2 --expert-hidden 7 --batch 2 --accumulate 3 --eval-windows 3 --sample-every 0 " \
    "--balance bias "

static int corpora_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    prose_save("corpus.txt", 500, 1);
    prose_save("other.txt", 500, 2);
    return system(MODEL "--dry-run >/dev/null 2>&1");
}

static int runs_remove(void **state) {
    (void)state;
    return system("rm -rf run other whole");
}

/* ---- Schedules ---- */

/* The learning rates of all steps are those of another run, or are not. */
static bool same_rates(const char *run_a, const char *run_b) {
    json_t *a = log_of(run_a), *b = log_of(run_b);
    bool same = entries_of(a, "lr") == entries_of(b, "lr");
    for (size_t i = 0; same && i < entries_of(a, "lr"); i++)
        same = number_of(entry_of(a, "lr", i), "lr") == number_of(entry_of(b, "lr", i), "lr");
    json_decref(a);
    json_decref(b);
    return same;
}

/* A share is of all steps, rounded; kept as it was given, and so of the new number when there are more. */
static void shares_are_of_all_steps(void **state) {
    (void)state;
    run(MODEL "--steps 30 --warmup 11%% --decay-steps 34.9%% --out run && " MODEL
        "--steps 30 --warmup 3 --decay-steps 10 --out other && " MODEL
        "--steps 30 --warmup 4 --decay-steps 11 --out whole");
    assert_true(same_rates("run", "other"));
    assert_false(same_rates("run", "whole"));
    run("grep -qx 'warmup = 11%%' run/config && grep -qx 'decay-steps = 34.9%%' run/config");
    struct checkpoint c = checkpoint_at("run", "last.safetensors");
    assert_non_null(strstr(metadata(&c, "options"), "\"warmup\":\"11%\""));
    checkpoint_close(&c);
    run("rm -r run && " MODEL "--steps 30 --warmup 11%% --decay-steps 34.9%% --until 2 --out run && "
        "train --resume run");
    assert_true(same_rates("run", "other"));
    assert_null(strstr(errors, "note:"));
    struct training o = {.steps = 200, .lr = 1, .schedule = 3, .warmup = {.percent = 5, .is_share = true}};
    assert_true(training_rate(&o, 9) == 1 && training_rate(&o, 8) == 0.9);
    o.steps = 400;
    assert_true(training_rate(&o, 19) == 1 && training_rate(&o, 18) == 0.95);
}

/* By itself a warm-up is never longer than a tenth of a run. */
static void warmup_is_a_tenth_at_most(void **state) {
    (void)state;
    struct training o = {.lr = 1, .schedule = 3, .warmup = {.whole = -1}, .decay_steps = {.whole = -1}};
    static const int64_t cases[][2] = {{5, 0}, {30, 3}, {1999, 199}, {2000, 200}, {90000, 200}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        o.steps = cases[i][0];
        const int64_t warmup = cases[i][1];
        assert_true(training_rate(&o, warmup) == 1);
        assert_true(warmup < 2 || training_rate(&o, warmup - 2) == (double)(warmup - 1) / (double)warmup);
    }
}

/* ---- Checkpoints ---- */

static void files_expect(const char *run_, const char *want) {
    run("cd %s && ls | grep step- | tr '\\n' ' '", run_);
    assert_string_equal(output, want);
}

/* The last N of those that were due, each what last.safetensors was then; the one at the end is due. */
static void checkpoints_are_kept(void **state) {
    (void)state;
    run(MODEL "--steps 11 --save-every 2 --keep 3 --out run && " MODEL "--steps 11 --save-every 2 --out other");
    files_expect("run", "step-00000008.safetensors step-00000010.safetensors step-00000011.safetensors ");
    run("! ls other | grep step-");
    run(MODEL "--steps 11 --save-every 2 --until 8 --out whole");
    struct checkpoint c = checkpoint_at("run", "step-00000008.safetensors");
    struct checkpoint d = checkpoint_at("whole", "last.safetensors");
    assert_string_equal(metadata(&c, "step"), "8");
    assert_int_equal(c.n, d.n);
    for (size_t i = 0; i < c.n; i++)
        assert_memory_equal(c.tensors[i].data, d.tensors[i].data, tensor_bytes(&c.tensors[i]));
    checkpoint_close(&c);
    checkpoint_close(&d);
    run("rm -r run && " MODEL "--steps 11 --save-every 2 --keep 2 --until 7 --out run");
    run("touch run/step-3.safetensors");
    files_expect("run", "step-00000004.safetensors step-00000006.safetensors step-3.safetensors "); /* not ours */
    run("train --resume run --keep 1");
    files_expect("run", "step-00000011.safetensors step-3.safetensors ");
    run("sample --model run/step-00000011.safetensors --tokens 2 --prompt The");
}

/* However long a step takes it is longer than no time; and shorter than a day. */
static void checkpoints_come_with_time(void **state) {
    (void)state;
    run(MODEL "--steps 3 --save-every 0 --save-minutes 1e-9 --keep 9 --out run && " MODEL
        "--steps 3 --save-every 0 --save-minutes 1440 --keep 9 --out other");
    files_expect("run", "step-00000001.safetensors step-00000002.safetensors step-00000003.safetensors ");
    files_expect("other", "step-00000003.safetensors ");
    run("rm -r other && " MODEL /* less than a quarter of a minute, more than of a second */
        "--steps 400 --eval-every 0 --save-every 0 --save-minutes 0.25 --keep 9 --out other");
    files_expect("other", "step-00000400.safetensors ");
    run(MODEL "--steps 3 --save-every 0 --save-minutes 1e-9 --keep 9 --out whole --until 2 && train --resume whole");
    logs_compare("run", "whole");
}

/* It is counted from the last one: a tenth of the time that the steps took is over some ten times, not at each. */
static void checkpoints_have_time_between(void **state) {
    (void)state;
    run(MODEL "--steps 200 --eval-every 0 --save-every 0 --out run");
    json_t *log = log_of("run");
    const double seconds = number_of(entry_of(log, "loss", 199), "seconds");
    json_decref(log);
    run(MODEL "--steps 200 --eval-every 0 --save-every 0 --save-minutes %g --keep 200 --out other", seconds / 10 / 60);
    run("ls other | grep -c step-");
    assert_in_range(atoi(output), 1, 100);
}

/* ---- Patience ---- */

#define STUCK "--steps 40 --eval-every 3 --patience 2 --lr 0 "

/* With a rate of 0 the first validation is the best: two more, and it is over, with the figures of an end. */
static void patience_ends_a_run(void **state) {
    (void)state;
    run(MODEL STUCK "--out run");
    assert_int_equal(step_of("run"), 9);
    assert_non_null(strstr(errors, "run: 2 validations in a row were no better: this is the end\n"
                                   "run: step 9 of 40, "));
    assert_non_null(strstr(errors, "; curves in plots/"));
    json_t *log = log_of("run");
    assert_int_equal(entries_of(log, "final_loss"), 1);
    json_decref(log);
    run("train --resume run");
    assert_non_null(strstr(errors, "run: step 9 was the end: 2 validations in a row were no better; --patience 0 "
                                   "goes on"));
    run("train --resume run --patience 3 && train --resume run");
    assert_int_equal(step_of("run"), 12);
    run("train --resume run --patience 0 --until 20");
    assert_int_equal(step_of("run"), 20);
}

/* Stopped anywhere it ends at the same step with the same bits. */
static void patience_is_resumed(void **state) {
    (void)state;
    run(MODEL STUCK "--out whole");
    for (int until = 2; until < 9; until++) {
        run("rm -rf run && " MODEL STUCK "--until %d --out run && train --resume run", until);
        assert_int_equal(step_of("run"), 9);
        logs_compare("run", "whole");
        checkpoints_compare("run", "whole", "last.safetensors");
        checkpoints_compare("run", "whole", "best.safetensors");
    }
}

/* What is better begins the count anew; and nobody waits who was not asked to. */
static void patience_is_of_validations_in_a_row(void **state) {
    (void)state;
    run(MODEL "--steps 24 --eval-every 3 --patience 1 --lr 0.01 --optimizer adamw --out run && " MODEL
              "--steps 24 --eval-every 3 --lr 0 --out other");
    assert_int_equal(step_of("run"), 24);
    assert_int_equal(step_of("other"), 24);
    json_t *log = log_of("run");
    for (size_t i = 1; i < 8; i++)
        assert_true(number_of(entry_of(log, "val_loss", i), "val_loss") <
                    number_of(entry_of(log, "val_loss", i - 1), "val_loss"));
    json_decref(log);
    struct checkpoint c = checkpoint_at("other", "last.safetensors");
    assert_null(json_object_get(c.metadata, "waited"));
    checkpoint_close(&c);
}

/* ---- Minutes ---- */

static long steps_kept(const char *run_) {
    run("sed -n 's/^steps = //p' %s/config", run_);
    return strtol(output, NULL, 10);
}

/* What was measured leaves no trace: a run of so many minutes is, bit for bit, one of so many steps; also when it is
 * interrupted, with another order of experts, and from another model. */
static void minutes_are_steps(void **state) {
    (void)state;
    static const char *const cases[] = {"--ema 0.9", "--router cosine --balance aux", "--from base",
                                        "--from base --keep-moments"};
    run(MODEL "--steps 5 --out base");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run("rm -rf run whole && " MODEL "%s --minutes 0.02 --until 7 --out run", cases[i]);
        assert_non_null(strstr(errors, " s fit into 0.02 minutes\n"));
        const long steps = steps_kept("run");
        assert_true(steps >= 10);
        run("grep -qx 'minutes = 0' run/config && train --resume run && " MODEL "%s --steps %ld --out whole", cases[i],
            steps);
        logs_compare("run", "whole");
        checkpoints_compare("run", "whole", "last.safetensors");
        checkpoints_compare("run", "whole", "best.safetensors");
    }
    run("rm -r base");
}

/* The same where sequences are drawn from several parts, or are of a masked model. */
static void minutes_are_steps_of_any_data(void **state) {
    (void)state;
    mkdir("lines", 0777);
    texts_make("lines/lines.txt", 60);
    static const char *const cases[] = {
        "train en=corpus.txt de=other.txt --part-alpha 0.3 --cache cache --vocab 301 --seq 17",
        "train lines --task masked --cache cache --vocab 290 --seq 50"};
    for (size_t i = 0; i < 2; i++) {
        char *command = string_format("%s --layers 2 --channels 8 --attn-heads 2 --experts 3 --topk 2 --batch 3 "
                                      "--sample-every 0 --eval-every 30", cases[i]);
        run("rm -rf run whole && %s --minutes 0.01 --until 9 --out run", command);
        const long steps = steps_kept("run");
        run("train --resume run && %s --steps %ld --out whole", command, steps);
        logs_compare("run", "whole");
        checkpoints_compare("run", "whole", "last.safetensors");
        free(command);
    }
}

/* The steps that --minutes chose, and how long each is. */
static long steps_told(double *step) {
    long steps = 0;
    const char *at = strstr(errors, "time: "), *refused = strstr(errors, ": time for ");
    assert_non_null(at ? at : refused);
    if (at) assert_int_equal(sscanf(at, "time: %ld steps of %lf s fit into", &steps, step), 2);
    else assert_int_equal(sscanf(refused, ": time for %ld steps of %lf s (want", &steps, step), 2);
    return steps;
}

/* They and the validations take no more than the time, whatever else this machine does, and at least half of it, since
 * a twentieth is what measuring takes. (A step is told in three figures.) */
static void minutes_are_filled(void **state) {
    (void)state;
    static const struct {
        const char *options;
        struct run_plan plan;
    } cases[] = {{"--eval-every 0 --final-windows 3", {.sequences = 6, .windows = 3, .final_windows = 3}},
                 {"--eval-every 1 --eval-windows 36 --final-windows 3",
                  {.sequences = 6, .eval_every = 1, .windows = 36, .final_windows = 3}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct run_plan plan = cases[i].plan;
        run("rm -rf run && " MODEL "--minutes 0.05 --until 1 %s --out run", cases[i].options);
        const long steps = steps_told(&plan.step);
        assert_non_null(strstr(errors, "size: of the presets small suits this text and time best ("));
        assert_null(strstr(errors, "note:"));
        assert_int_equal(steps_kept("run"), steps);
        const double seconds = run_seconds(&plan, 0, steps, true);
        if (!(seconds > 1.5 && seconds < 3 * 1.005)) fail_msg("%s: %g seconds of 3", cases[i].options, seconds);
    }
}

/* Fewer than ten steps are refused; and what is measured, three steps at least, is part of the time. (Weights in their
 * mean are not quite alike.) */
static void minutes_begin_with_measuring(void **state) {
    (void)state;
    static const char model[] = MODEL "--eval-every 0 --eval-windows 1 --final-windows 1 --until 1 ";
    struct run_plan plan = {.sequences = 6, .windows = 1, .final_windows = 1};
    run("%s --minutes 0.02 --out run", model);
    steps_told(&plan.step);
    double minutes = 12 * plan.step / 60;
    for (int code = EXIT_USAGE; code != 0; minutes *= code ? 2 : 1) {
        char *command = string_format("%s --minutes %g --out other", model, minutes);
        code = command_run(command);
        const long steps = steps_told(&plan.step);
        assert_int_equal(code, steps < 10 ? EXIT_USAGE : 0);
        if (code == 0) assert_true(run_seconds(&plan, 0, steps, true) + 1.9 * plan.step < 60 * minutes * 1.005);
        free(command);
    }
}

/* The last figure, too, where it is over so much text that it shows: a fifth of the time here. */
static void minutes_have_a_last_figure(void **state) {
    (void)state;
    static const char model[] = MODEL "--val other.txt --batch 1 --accumulate 1 --eval-every 0 --eval-windows 1 ";
    struct run_plan plan = {.sequences = 1, .windows = 1, .final_windows = 600};
    run("%s --minutes 0.02 --until 1 --out run", model);
    steps_told(&plan.step);
    double minutes = 500 * plan.step / 60;
    char *command = NULL;
    do { /* again where the machine has become much slower */
        free(command);
        command = string_format("%s --minutes %g --final-windows 600 --until 1 --out other", model, minutes *= 2);
    } while (command_run(command) == EXIT_USAGE);
    const long steps = steps_told(&plan.step);
    assert_true(steps >= 10 && run_seconds(&plan, 0, steps, true) < 60 * minutes * 1.005);
    free(command);
}

static void minutes_that_cannot_be_are_refused(void **state) {
    (void)state;
    refuse(2, "--minutes 1e-05: time for 0 steps", "make the model smaller", MODEL "--minutes 1e-5 --out run");
    run("! test -e run");
    refuse(2, "--minutes and --steps both given", "leave out one", MODEL "--minutes 1 --steps 20 --out run");
    run(MODEL "--steps 2 --out run");
    refuse(2, "--minutes and --resume both given", "--steps", "train --resume run --minutes 1");
    run(MODEL "--minutes 1 --dry-run");
    assert_non_null(strstr(errors, "--minutes has no effect with --dry-run"));
}

/* A step, and what is validated: a third of a step for as many sequences as a step has. */
static void runs_take_steps_and_validations(void **state) {
    (void)state;
    static const struct {
        int64_t every, from, to;
        bool ends;
        double steps, windows; /* that it takes */
    } cases[] = {{0, 0, 10, false, 10, 0},  {0, 0, 10, true, 10, 5 + 7}, {4, 0, 12, false, 12, 15},
                 {4, 0, 12, true, 12, 15 + 7}, {4, 0, 11, false, 11, 10}, {4, 0, 11, true, 11, 15 + 7},
                 {4, 3, 8, false, 5, 10},   {4, 4, 7, false, 3, 0},      {4, 7, 9, true, 2, 10 + 7}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct run_plan plan = {2, 6, cases[i].every, 5, 7};
        const double want = 2 * cases[i].steps + cases[i].windows * 2 / 18;
        expect_near(run_seconds(&plan, cases[i].from, cases[i].to, cases[i].ends), want, 1e-9);
        plan.final_windows = 5; /* a validation's figure is the last one, too */
        const double once = want - (cases[i].ends ? 7.0 * 2 / 18 : 0);
        expect_near(run_seconds(&plan, cases[i].from, cases[i].to, cases[i].ends), once, 1e-9);
    }
}

static double cost_of(const void *context, int64_t steps) {
    return *(const double *)context * (double)steps + 5;
}

static void steps_fill_the_time(void **state) {
    (void)state;
    double each = 2;
    assert_int_equal(steps_within(4.9, cost_of, &each), 0);
    assert_int_equal(steps_within(6.9, cost_of, &each), 0);
    assert_int_equal(steps_within(7, cost_of, &each), 1);
    assert_int_equal(steps_within(104.9, cost_of, &each), 49);
    assert_int_equal(steps_within(105, cost_of, &each), 50);
}

/* ---- Presets ---- */

static void config_expect(const char *options, const char *const *lines) {
    run("train --print-config %s", options);
    for (; *lines; lines++) {
        char *line = string_format("\n%s\n", *lines);
        if (!strstr(output, line)) fail_msg("%s: no '%s'", options, *lines);
        free(line);
    }
}

/* A preset sets what is not given, wherever that stands; the smallest is what there is without one. */
static void presets_set_what_is_not_given(void **state) {
    (void)state;
    config_expect("--preset base",
                  (const char *const[]){"seq = 256", "layers = 6", "channels = 384", "attn-heads = 6", "vocab = 8192",
                                        "lr = 0.001", "batch = 8", "preset = base", NULL});
    config_expect("--preset large", (const char *const[]){"seq = 512", "layers = 12", "channels = 768",
                                                          "attn-heads = 12", "vocab = 16384", "lr = 0.0006", NULL});
    config_expect("--layers 5 --preset base --lr 0.01",
                  (const char *const[]){"layers = 5", "lr = 0.01", "channels = 384", NULL});
    run("train --print-config >plain && train --print-config --preset small | cmp - plain && rm plain");
}

/* What a command means that does not say more: a change here is one of every run that is not written out. */
static void defaults_stay(void **state) {
    (void)state;
    config_expect("", (const char *const[]){
        "keep-moments = false", "threads = 0", "dtype = f32", "seed = 1", "parts = false", "part-alpha = 1",
        "hide-patches = 0.4", "hide-text = 0.15", "hide-caption = 0.5", "cache = \"data/cache\"", "steps = 3000",
        "minutes = 0", "until = 0", "batch = 8", "accumulate = 1", "recompute = false", "lr = 0.002",
        "embedding-lr = 8", "schedule = wsd", "decay-steps = -1", "final-lr = 0", "warmup = -1",
        "weight-decay = 0.02", "beta1 = 0.9", "beta2 = 0.99", "clip = 1", "dropout = 0", "optimizer = muon", "ema = 0",
        "eval-every = 200", "eval-windows = 64", "final-windows = 0", "save-every = 500", "save-minutes = 0",
        "keep = 0", "patience = 0", "tensorboard = false", "sample-every = 500", "sample-tokens = 64",
        "prompt = \"The\"", "task = text", "size = 0", "patch = 8", "codes = 512", "documents = false",
        "block = modern", "ffn = mhmoe", "moe-heads = 4", "experts = 8", "topk = 2", "expert-hidden = 0",
        "moe-every = 2", "shared-hidden = 0", "head-depth = 1", "merge-depth = 1", "moe-residual = false",
        "router = softmax", "router-dim = 16", "renormalize = false", "balance = aux", "balance-weight = 0.01",
        "bias-step = 0.001", "z-weight = 0", NULL});
}

/* What a preset chose stays: in a run that goes on, and beside the sizes that --from brings. */
static void presets_are_of_new_models(void **state) {
    (void)state;
    run(MODEL "--preset base --steps 2 --until 1 --out run && grep -qx 'lr = 0.001' run/config && "
              "grep -qx 'channels = 12' run/config");
    assert_null(strstr(errors, "note:"));
    refuse(2, "--preset and --resume both given", "keeps its sizes", "train --resume run --preset large");
    run("train --from run --cache cache --dry-run >plain && train --from run --cache cache --preset large --dry-run | "
        "cmp - plain && rm plain");
    assert_non_null(strstr(errors, "--preset has no effect with --from"));
}

static void outlook_chooses_by_text_and_time(void **state) {
    (void)state;
    static const struct outlook sizes[] = {{1e6, 9e9}, {10e6, 1e9}, {100e6, 2e9}};
    assert_int_equal(outlook_best(sizes, 3, 1e12), 2);
    assert_int_equal(outlook_best(sizes, 2, 1e12), 1);
    assert_int_equal(outlook_best(sizes, 3, 499e6), 1); /* 4 epochs of it are less than 20 tokens a parameter */
    assert_int_equal(outlook_best(sizes, 3, 501e6), 2);
    assert_int_equal(outlook_best(sizes, 3, 49e6), 0);
    assert_int_equal(outlook_best(sizes, 3, 1), 0);
    static const struct outlook slow[] = {{1e6, 9e6}, {10e6, 199e6}, {100e6, 1999e6}};
    assert_int_equal(outlook_best(slow, 3, 1e12), 0);
}

/* ---- Moments ---- */

static void tensors_equal(const struct checkpoint *a, const struct checkpoint *b, const char *prefix) {
    size_t n = 0;
    for (size_t i = 0; i < a->n; i++) {
        const struct tensor *s = &a->tensors[i], *t = tensor_named(b, s->name);
        if (strncmp(s->name, prefix, strlen(prefix)) != 0) continue;
        assert_memory_equal(s->data, t->data, tensor_bytes(s));
        n++;
    }
    assert_true(n > 3);
}

/* Weights and moments are those of the last step, not of the best one; AdamW's correction counts the steps of both. */
static void moments_are_kept(void **state) {
    (void)state;
    run(MODEL "--steps 9 --until 6 --eval-every 4 --optimizer adamw --out run && train other.txt --cache cache "
              "--from run --keep-moments --optimizer adamw --steps 0 --out other");
    struct checkpoint a = checkpoint_at("run", "last.safetensors"), b = checkpoint_at("other", "last.safetensors");
    tensors_equal(&a, &b, "");
    assert_string_equal(metadata(&b, "moment_steps"), "6");
    assert_string_equal(metadata(&b, "step"), "0");
    run("train other.txt --cache cache --from run --keep-moments --optimizer adamw --steps 1 --warmup 0 --lr 0.01 "
        "--embedding-lr 1 --weight-decay 0 --schedule constant --beta1 0.9 --beta2 0.99 --out whole");
    struct checkpoint c = checkpoint_at("whole", "last.safetensors");
    const float *w0 = tensor_named(&b, "qkvw")->data, *w1 = tensor_named(&c, "qkvw")->data;
    const float *m = tensor_named(&c, "adam_m.qkvw")->data, *v = tensor_named(&c, "adam_v.qkvw")->data;
    for (size_t i = 0; i < tensor_count(tensor_named(&c, "qkvw")); i++) {
        const double move = 0.01 * (m[i] / (1 - pow(0.9, 7))) / (sqrt(v[i] / (1 - pow(0.99, 7))) + 1e-8);
        expect_near(w1[i], w0[i] - move, 1e-6);
    }
    checkpoint_close(&c);
    run("rm -r whole && train other.txt --cache cache --from other --keep-moments --optimizer adamw --steps 3 "
        "--out whole && train --resume whole --steps 4");
    c = checkpoint_at("whole", "last.safetensors");
    assert_string_equal(metadata(&c, "moment_steps"), "6");
    checkpoint_close(&b);
    run("rm -r other && train --cache cache --from whole --keep-moments --optimizer adamw --steps 0 --out other");
    b = checkpoint_at("other", "last.safetensors");
    assert_string_equal(metadata(&b, "moment_steps"), "10"); /* 6 of theirs, and 4 of their own */
    checkpoint_close(&a);
    checkpoint_close(&b);
    checkpoint_close(&c);
}

/* However it is said; and not where it is taken back. */
static void moments_are_kept_in_any_words(void **state) {
    (void)state;
    static const struct {
        const char *words, *name;
    } cases[] = {{"--keep-mom", "last.safetensors"}, {"--config moments", "last.safetensors"},
                 {"--config moments --no-keep-moments", "best.safetensors"}};
    run(MODEL "--steps 9 --until 6 --eval-every 4 --optimizer adamw --out run && echo keep-moments = true >moments");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run("rm -rf other && train --cache cache --from run --optimizer adamw --steps 0 %s --out other",
            cases[i].words);
        assert_null(strstr(errors, "no effect"));
        struct checkpoint a = checkpoint_at("run", cases[i].name), b = checkpoint_at("other", "last.safetensors");
        tensors_equal(&a, &b, "");
        assert_int_equal(strcmp(metadata(&a, "step"), "6") == 0, *cases[i].name == 'l');
        checkpoint_close(&a);
        checkpoint_close(&b);
    }
    run("rm run/last.safetensors");
    refuse(3, "run/last.safetensors", "", "train --cache cache --from run --keep-moments --out other");
}

static void moments_are_fresh_otherwise(void **state) {
    (void)state;
    run(MODEL "--steps 6 --out run && train --cache cache --from run --steps 0 --out other");
    struct checkpoint c = checkpoint_at("other", "last.safetensors");
    const struct tensor *m = tensor_named(&c, "adam_m.qkvw");
    for (size_t i = 0; i < tensor_count(m); i++) assert_true(((const float *)m->data)[i] == 0);
    assert_null(json_object_get(c.metadata, "moment_steps"));
    checkpoint_close(&c);
}

static void moments_that_cannot_be_are_refused(void **state) {
    (void)state;
    run(MODEL "--steps 2 --ffn dense --out run");
    refuse(5, "--keep-moments: not all weights are those of run/last.safetensors", "leave it out",
           "train --cache cache --from run --keep-moments --ffn smoe --moe-every 1 --expert-hidden 0 --out other");
    refuse(5, "--keep-moments: not all weights are those of run/last.safetensors", "leave it out", /* some are unused */
           "train --cache cache --from run --keep-moments --no-bias --out other");
    refuse(5, "--keep-moments: not all weights are those of run/last.safetensors", "leave it out", /* one is two */
           "train --cache cache --from run --keep-moments --no-tie --out other");
    refuse(5, "run/best.safetensors: holds no moments", "its last.safetensors",
           "train --cache cache --from run/best.safetensors --keep-moments --out other");
    refuse(2, "--keep-moments and --resume both given", "has its moments", "train --resume run --keep-moments");
    run(MODEL "--keep-moments --steps 1 --out other");
    assert_non_null(strstr(errors, "--keep-moments has no effect without --from"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(shares_are_of_all_steps, runs_remove),
        cmocka_unit_test(warmup_is_a_tenth_at_most),
        cmocka_unit_test_setup(checkpoints_are_kept, runs_remove),
        cmocka_unit_test_setup(checkpoints_come_with_time, runs_remove),
        cmocka_unit_test_setup(checkpoints_have_time_between, runs_remove),
        cmocka_unit_test_setup(patience_ends_a_run, runs_remove),
        cmocka_unit_test_setup(patience_is_resumed, runs_remove),
        cmocka_unit_test_setup(patience_is_of_validations_in_a_row, runs_remove),
        cmocka_unit_test_setup(minutes_are_steps, runs_remove),
        cmocka_unit_test_setup(minutes_are_steps_of_any_data, runs_remove),
        cmocka_unit_test_setup(minutes_are_filled, runs_remove),
        cmocka_unit_test_setup(minutes_begin_with_measuring, runs_remove),
        cmocka_unit_test_setup(minutes_have_a_last_figure, runs_remove),
        cmocka_unit_test_setup(minutes_that_cannot_be_are_refused, runs_remove),
        cmocka_unit_test(runs_take_steps_and_validations),
        cmocka_unit_test(steps_fill_the_time),
        cmocka_unit_test(presets_set_what_is_not_given),
        cmocka_unit_test(defaults_stay),
        cmocka_unit_test_setup(presets_are_of_new_models, runs_remove),
        cmocka_unit_test(outlook_chooses_by_text_and_time),
        cmocka_unit_test_setup(moments_are_kept, runs_remove),
        cmocka_unit_test_setup(moments_are_kept_in_any_words, runs_remove),
        cmocka_unit_test_setup(moments_are_fresh_otherwise, runs_remove),
        cmocka_unit_test_setup(moments_that_cannot_be_are_refused, runs_remove),
    };
    return cmocka_run_group_tests(tests, corpora_make, workplace_remove);
}
