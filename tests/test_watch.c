/* What ./train shows of a run, besides losses: the clock, the line on a terminal, costs, plots, the config that it
 * keeps; and that the options which only say when and how it is watched do what --help says. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <omp.h>

#include "../data/loader.h"
#include "../mhmoe.h"
#include "../src/run/runplot.h"
#include "command.h"
#include "picture_files.h"
#include "prose.h"
#include "runs.h"

enum { SEQ = 17, BATCH = 2, ACCUMULATE = 3, LAYERS = 2, EXPERTS = 5, SHOWN = 7 };
#define MODEL                                                                                                 \
    "train corpus.txt --block gpt2 --cache cache --vocab 301 --seq 17 --layers 5 --channels 12 --attn-heads 3 " \
    "--moe-heads 2 --experts 5 --topk 2 --expert-hidden 7 --batch 2 --accumulate 3 --warmup 2 --lr 0.02 "      \
    "--eval-windows 3 --optimizer adamw "

static int corpora_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    omp_set_num_threads(1); /* as in the programs: work memory is counted by threads */
    prose_save("corpus.txt", 500, 1);
    prose_save("long.txt", 3600, 1);
    prose_save("other.txt", 500, 2);
    return system(MODEL "--dry-run >/dev/null 2>&1 && cp cache/*/tokenizer.model model");
}

static int run_remove(void **state) {
    (void)state;
    return system("rm -rf run");
}

/* ---- The clock ---- */

/* A step's tokens in the seconds since the step before are its rate, also where another session goes on. */
static void seconds_add_up(void **state) {
    (void)state;
    run(MODEL "--steps 9 --until 3 --out run && train --resume run --until 6");
    json_t *log = log_of("run");
    double before = 0;
    for (size_t i = 0; i < 6; i++) {
        const json_t *entry = entry_of(log, "loss", i);
        const double seconds = number_of(entry, "seconds"), rate = number_of(entry, "tokens_per_second");
        assert_true(seconds > before && rate > 0);
        expect_near((seconds - before) * rate, BATCH * ACCUMULATE * SEQ, 1e-3); /* nine digits of each are logged */
        before = seconds;
    }
    struct checkpoint last = checkpoint_at("run", "last.safetensors");
    expect_near(strtod(metadata(&last, "seconds"), NULL), before, 1e-7 * before);
    char *line = string_format("run: step 6 of 9, %.0f seconds of training\n", before);
    assert_non_null(strstr(errors, line));
    free(line);
    checkpoint_close(&last);
    json_decref(log);
}

/* ---- A terminal ---- */

/* Runs a command whose standard error is a terminal; `errors` receives what it shows. */
static void terminal_run(const char *command) {
    const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    const int end = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    const pid_t child = fork();
    assert_true(end >= 0 && child >= 0);
    if (child == 0) {
        dup2(end, STDERR_FILENO);
        execl("/bin/sh", "sh", "-c", command, NULL);
        _exit(127);
    }
    close(end);
    size_t n = 0;
    for (ssize_t got; n < sizeof errors - 1 && (got = read(terminal, errors + n, sizeof errors - 1 - n)) > 0;)
        n += (size_t)got;
    errors[n] = 0;
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(terminal);
}

/* Seconds behind "ETA ", which says "45 s", "3 min 05 s" or "2 h 05 min". */
static double left_read(const char *line) {
    const char *at = strstr(line, "ETA ");
    double first, second;
    char unit[4], small[4];
    if (!at) fail_msg("no time in '%.80s'", line);
    const int n = sscanf(at, "ETA %lf %3[a-z] %2lf %3[a-z]", &first, unit, &second, small);
    if (n < 4) {
        assert_true(n == 2 && first < 60);
        assert_string_equal(unit, "s");
        return first;
    }
    const bool hours = strcmp(unit, "h") == 0;
    assert_string_equal(small, hours ? "min" : "s");
    assert_true(second < 60 && (hours || first < 60));
    return hours ? 3600 * first + 60 * second : 60 * first + second;
}

/* What it may be wrong by: it is rounded to a second, and beyond an hour to a minute. */
static double left_precision(double seconds) { return seconds < 3599 ? 0.6 : 30.6; }

/* The mean of the steps' seconds in which each step's share falls by a twentieth with every later one, from the log. */
static double mean_seconds(const json_t *log, size_t steps) {
    double sum = 0, weights = 0, before = 0;
    for (size_t i = 0; i < steps; i++) {
        const double seconds = number_of(entry_of(log, "loss", i), "seconds");
        sum = sum * 0.95 + (seconds - before);
        weights = weights * 0.95 + 1;
        before = seconds;
    }
    return sum / weights;
}

/* What lies between steps is in it, too: of a million steps seconds, or far more where another program came between. */
static void expect_left(double left, double steps) {
    assert_true(left >= steps - left_precision(left));
    assert_true(left <= 1.5 * steps + left_precision(left));
}

/* One line, written over and over, with what the log says, and the time that the rest takes at the pace of the last
 * steps, with what lies between them; it makes way for every other line. */
static void terminal_has_a_line_of_progress(void **state) {
    (void)state;
    enum { STEPS = 1000000, UNTIL = 3 };
    terminal_run(MODEL "--steps 1000000 --until 3 --eval-every 2 --sample-every 0 --out run >out.txt");
    json_t *log = log_of("run");
    const char *at = errors;
    for (int step = 1; step <= UNTIL; step++) {
        const json_t *entry = entry_of(log, "loss", (size_t)step - 1);
        const double rate = number_of(entry, "tokens_per_second");
        char *line = string_format("\r\033[Kstep %d/%d  loss %.3f  %.0f tokens/s  ETA ", step, STEPS,
                                   number_of(entry, "loss"), rate);
        if (!(at = strstr(at, line))) fail_msg("'%s' is missing in\n%s", line + 4, errors);
        const double left = left_read(at), steps = (STEPS - step) * mean_seconds(log, (size_t)step);
        if (step < 3) expect_left(left, steps); /* then there is a validation, too */
        else assert_true(left > steps + 60);
        at += strlen(line);
        free(line);
    }
    assert_non_null(strstr(at, "\r\033[Krun: step 3 of 1000000, "));
    const char *validation = strstr(errors, "\r\033[Kstep 2: validation loss ");
    assert_true(validation && validation < at);
    json_decref(log);
    run("rm -r run");
    terminal_run(MODEL "--steps 3 --until 2 --sample-every 1 --sample-tokens 1 --out run 1>&2");
    assert_non_null(strstr(errors, "\r\033[K--- step 1 ---\r\nThe"));
}

/* Near its end a run takes no more time than its last steps do, however many are behind it. */
static void time_left_is_of_the_steps_left(void **state) {
    (void)state;
    run(MODEL "--steps 9 --until 2 --sample-every 0 --out run");
    last_rewrite("run", "run", "step", "1000000000");
    last_rewrite("run", "run", "watched", "1000000000");
    terminal_run("train --resume run --steps 1000000005 --until 1000000003");
    const char *line = strstr(errors, "step 1000000003/1000000005  loss "), *left = line ? strstr(line, "ETA ") : NULL;
    assert_non_null(left);
    assert_true(left_read(left) < 600); /* for two steps */
}

/* A masked model's sequences are shorter than --seq, and the rate is of the rows that there are. */
static void time_left_is_of_the_rows_there_are(void **state) {
    (void)state;
    mkdir("lines", 0777);
    texts_make("lines/lines.txt", 40);
    terminal_run("rm -rf run && train lines --task masked --cache cache --vocab 290 --seq 500 --layers 1 --channels 8 "
                 "--attn-heads 2 --ffn dense --batch 3 --steps 1000000 --until 3 --out run");
    json_t *log = log_of("run");
    double before = 0, passed = 0;
    for (int step = 1; step <= 3; step++) {
        const json_t *entry = entry_of(log, "loss", (size_t)step - 1);
        const double rows = number_of(entry, "tokens") - before;
        char *start = string_format("step %d/1000000  loss ", step);
        const char *line = strstr(errors, start), *left = line ? strstr(line, "ETA ") : NULL;
        if (!left) fail_msg("no '%s' in\n%s", start, errors);
        const double seconds = left_read(left);
        expect_left(seconds, (1000000 - step) * mean_seconds(log, (size_t)step));
        expect_near(number_of(entry, "seconds") - passed, rows / number_of(entry, "tokens_per_second"), 1e-5);
        passed = number_of(entry, "seconds");
        before += rows;
        free(start);
    }
    json_decref(log);
    run("rm -r run");
}

/* The first signal's line does not go on behind the line of progress. */
static void terminal_has_a_line_for_the_signal(void **state) {
    (void)state;
    terminal_run(MODEL "--steps 100000000 --eval-every 0 --sample-every 0 --out run & child=$!; until grep -qs "
                 "'\"step\":3,' run/log.jsonl; do sleep 0.01; done; kill -TERM $child; wait $child; test $? = 143");
    assert_non_null(strstr(errors, "\r\ntrain: stopping after this step; again to stop without saving\r\n"));
}

/* ---- Costs ---- */

static double printed(const char *label) {
    const char *at = strstr(output, label);
    if (!at) fail_msg("'%s' is missing in\n%s", label, output);
    return strtod(at + strlen(label), NULL);
}

/* Figures before or behind their words, as --dry-run prints them for these options. */
static void costs_expect(const char *options, struct model_setup setup, int steps, int sequences) {
    static const struct config config = {
        .bias = true, .tie = true, .vocab = 301, .seq = SEQ, .layers = 5, .channels = 12, .attn_heads = 3,
        .ffn = FFN_MHMOE, .moe_heads = 2,
        .experts = EXPERTS, .topk = 2, .expert_hidden = 7, .moe_every = 2, .head_depth = 1, .merge_depth = 1};
    struct sizes sizes;
    struct error err;
    assert_true(config_check(&config, &sizes, &err));
    const struct model_cost cost = model_cost(&sizes, setup);
    run(MODEL "--dry-run --steps %d %s && ls -d cache/corpus.txt-* >dir", steps, options);
    char *dir = string_format("%s", output), *line = strstr(dir, "\nepochs");
    assert_non_null(line);
    text_read("dir", dir, strlen(dir));
    dir[strcspn(dir, "\n")] = 0;
    struct loader *data = loader_open(dir, "train", SEQ, true, 1, 1 << 20, &err);
    if (!data) fail_msg("%s", err.text);
    const double windows = (double)loader_windows(data);
    assert_true(printed("parameters         ") == (double)cost.parameters);
    assert_true(printed("active parameters  ") == (double)cost.active_parameters);
    expect_near(printed("forward FLOPs      "), cost.forward_flops, 1e-3 * cost.forward_flops); /* four digits */
    expect_near(printed("training FLOPs     "), cost.training_flops, 1e-3 * cost.training_flops);
    expect_near(printed("memory             "), (double)cost.parameter_bytes / 1e6, 0.0501); /* one decimal */
    expect_near(printed("packed weights\n                   "), (double)cost.activation_bytes / 1e6, 0.0501);
    assert_true(printed("training tokens    ") == (double)loader_tokens(data));
    char *tail = string_format(" %zu, %.0f sequences an epoch\n", loader_tokens(data), windows);
    assert_non_null(strstr(output, tail));
    expect_near(printed("epochs             "), (double)steps * sequences / windows, 0.00501); /* two */
    free(tail);
    free(dir);
    loader_close(data);
}

static void costs_are_those_of_the_model(void **state) {
    (void)state;
    costs_expect("", (struct model_setup){MODEL_TRAIN, BATCH, false, STORAGE_F32}, 1000, BATCH * ACCUMULATE);
    costs_expect("--batch 70 --accumulate 5", (struct model_setup){MODEL_TRAIN, 70, false, STORAGE_F32}, 77, 350);
    costs_expect("--batch 70 --recompute", (struct model_setup){MODEL_TRAIN, 70, true, STORAGE_F32}, 77, 210);
}

/* In megabytes, with one decimal. */
static double peak_of(const char *corpus, int accumulate) {
    run("train %s --tokenizer model --cache cache --seq 17 --channels 12 --attn-heads 3 --batch 2 --accumulate "
        "%d --dry-run",
        corpus, accumulate);
    const char *end = strstr(output, " MB in all");
    assert_non_null(end);
    while (end[-1] != ' ') end--;
    return strtod(end, NULL);
}

/* The peak grows with what is read for a step, and with the text that is kept in memory: a block of it holds 65536
 * tokens, and the longer text has one block more to train on. */
static void peak_has_the_data(void **state) {
    (void)state;
    const double peak = peak_of("corpus.txt", 3);
    expect_near(peak_of("corpus.txt", 20000) - peak, 19997.0 * BATCH * SEQ * 2 * 4 / 1e6, 0.11);
    expect_near(peak_of("long.txt", 3) - peak, 65536 * 4 / 1e6, 0.11);
    const double held_out = peak_of("corpus.txt --val long.txt", 3) - peak_of("corpus.txt --val other.txt", 3);
    expect_near(held_out, 65536 * 4 / 1e6, 0.11);
}

/* ---- Plots ---- */

static void title_expect(const char *svg, const char *title) {
    text_read(svg, output, sizeof output);
    char *element = string_format("<title>%s</title>", title);
    if (!strstr(output, element)) fail_msg("%s: '%s' is missing", svg, title);
    free(element);
}

/* Each mark's title is its value: losses over tokens, and each expert's share of the held-out text's picks. */
static void plots_show_the_log(void **state) {
    (void)state;
    run(MODEL "--steps 6 --eval-every 2 --balance none --lr 0.5 --out run");
    json_t *log = log_of("run");
    const json_t *entry, *layers = json_object_get(entry_of(log, "final_loss", 0), "final_load");
    size_t at, points = 0;
    double high = 2;
    json_array_foreach(log, at, entry) {
        const bool step = json_object_get(entry, "loss");
        if (!step && !json_object_get(entry, "val_loss")) continue;
        char *title = string_format("%s: %.6g at %.6g", step ? "training" : "validation",
                                    number_of(entry, step ? "loss" : "val_loss"), number_of(entry, "tokens"));
        title_expect("run/plots/loss.svg", title);
        points++;
        free(title);
    }
    assert_int_equal(points, 6 + 3);
    for (size_t i = 0; i < LAYERS * EXPERTS; i++) {
        const json_t *layer = json_array_get(layers, i / EXPERTS);
        double sum = 0;
        for (size_t e = 0; e < EXPERTS; e++) sum += json_number_value(json_array_get(layer, e));
        const double share = json_number_value(json_array_get(layer, i % EXPERTS)) * EXPERTS / sum;
        char *title = string_format("block %zu, %zu: %.4g", 2 * (i / EXPERTS) + 1, i % EXPERTS, share);
        title_expect("run/plots/load.svg", title);
        high = fmax(high, share);
        free(title);
    }
    assert_true(high > 2.2); /* then the colours reach as far */
    json_decref(log);
    run("rm -r run");
    run(MODEL "--steps 1 --ffn dense --out run && ls run/plots");
    assert_string_equal(output, "loss.svg\n");
}

/* An even share has the colour in the middle, as far as twice that comes by itself; an axis has zeros. */
static void plots_have_their_scales(void **state) {
    (void)state;
    static const double picks[] = {3, 3, 3, 0, 0, 0};
    static const char log[] = "{\"tokens\":0,\"loss\":0}\n{\"tokens\":9,\"loss\":2}\n{\"tokens\":9,\"val_loss\":0}\n";
    struct error err;
    assert_true(runplot_load("load.svg", picks, 2, 3, 2, &err));
    title_expect("load.svg", "block 3, 2: 0"); /* of nothing */
    title_expect("load.svg", "block 1, 2: 1");
    assert_non_null(strstr(output, "\"#23908c\"><title>block 1, 2: 1<")); /* viridis at 1/2 */
    text_save("log.jsonl", log, sizeof log - 1);
    assert_true(runplot_loss("loss.svg", "log.jsonl", &err));
    title_expect("loss.svg", "training: 0 at 0");
    title_expect("loss.svg", "validation: 0 at 9");
    run("rm load.svg loss.svg log.jsonl");
}

/* ---- What a run keeps of its options ---- */

/* The config is what --print-config says, but for what is of this call alone. */
static void config_keeps_the_options(void **state) {
    (void)state;
    static const char options[] =
        "--steps 9 --seed 3 --recompute --prompt 'a # b' --ffn smoe --clip 0.5 --eval-every 7 "
        "--save-every 5 --sample-every 4 --sample-tokens 3 --beta2 0.5 --final-windows 2";
    run(MODEL "%s --print-config >want", options);
    run(MODEL "%s -o run --until 1 && cmp want run/config", options);
    run("train --resume run --until 2 && cmp want run/config");
    run("train --resume run --until 3 --sample-every 2 && sed 's/^sample-every = 4/sample-every = 2/' want | "
        "cmp - run/config");
}

/* As --help says. */
static void defaults_of_watching_are_as_documented(void **state) {
    (void)state;
    static const char *const lines[] = {
        "threads = 0", "seed = 1", "cache = data/cache", "steps = 3000", "until = 0", "eval-every = 200",
        "eval-windows = 64", "final-windows = 0", "save-every = 500", "sample-every = 500", "sample-tokens = 64",
        "prompt = The", "recompute = false", "warmup = -1"};
    run("train --print-config | sed 's/\"//g'");
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char *line = string_format("\n%s\n", lines[i]);
        if (!strstr(output, line)) fail_msg("'%s' is missing in\n%s", lines[i], output);
        free(line);
    }
}

/* ---- --match ---- */

#define SHAPE \
    "train corpus.txt --tokenizer model --cache cache --seq 17 --layers 4 --channels 24 --attn-heads 2 --steps 0 "

/* Experts and their width are those that parity_solve finds for all that costs in this model: its heads, its stacks
 * of unlike depth, its shared expert. */
static void match_is_of_all_that_costs(void **state) {
    (void)state;
    const struct moe_layer baseline = {24, 1, 8, 1, 96, 0, 2, 0};
    struct moe_layer mine = {.C = 24, .H = 2, .K = 3, .g = 2, .d = 3, .Fs = 12};
    struct error err;
    if (!parity_solve(&baseline, &mine, &err)) fail_msg("%s", err.text);
    run("rm -rf base other && " SHAPE "--ffn smoe --topk 1 --out base");
    run(SHAPE "--match base --moe-heads 2 --topk 3 --head-depth 1 --merge-depth 2 --shared-hidden 12 --out run");
    run("grep -qx 'experts = %zu' run/config && grep -qx 'expert-hidden = %zu' run/config", mine.E, mine.F);
    run("cp base/config again && echo 'match = \"base\"' >>again && " SHAPE
        "--ffn dense --moe-every 4 --print-config >dense");
    const struct {
        int code;
        const char *says, *options;
    } wrong[] = {
        {5, "got --layers 4 --channels 24 --moe-every 2, want 4, 24, 4", "--match base --moe-every 4"},
        {5, "got --layers 4 --channels 24 --moe-every 2, want 4, 48, 2", "--match base --channels 48"},
        {5, "got --layers 4 --channels 24 --moe-every 2, want 2, 24, 2", "--match base --layers 2"},
        {2, "--expert-hidden: --match sets it (got 5, parity takes",
         "--match base --moe-heads 2 --topk 3 --expert-hidden 5"},
        {2, "--match again: not a baseline (got one with --match", "--match again"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *command = string_format(SHAPE "--out other %s", wrong[i].options);
        refuse(wrong[i].code, wrong[i].says, "", command);
        free(command);
    }
    run("! test -e other && " SHAPE
        "--match dense --moe-heads 2 --topk 2 --dry-run"); /* it has no experts every so often */
    run("rm -r base again dense");
}

/* ---- When and how ---- */

/* Behind -- there are names only. */
static void names_may_look_like_options(void **state) {
    (void)state;
    run("cp corpus.txt ./--resume=none && train --cache cache --tokenizer model --dry-run -- --resume=none");
}


static void threads_are_as_many_as_told(void **state) {
    (void)state;
    static const char *const cases[][2] = {{"--threads 3", "3"}, {"--threads 1", "1"}, {"", "2"}, {"--threads 0", "2"}};
    for (int i = 0; i < 4; i++) {
        char *command =
            string_format("env OMP_NUM_THREADS=2 " MODEL "--steps 9 --sample-every 7 --out run %s", cases[i][0]);
        struct held held = run_hold(command, "run", SHOWN, "held.txt");
        run("sed -n 's/^Threads:[[:blank:]]*//p' /proc/%d/status", (int)held.child);
        char *count = string_format("%s\n", cases[i][1]);
        assert_string_equal(output, count);
        assert_int_equal(run_release(&held), 0);
        free(count);
        free(command);
        run("rm -r run");
    }
}

/* Steps with a validation, a sample; none of step 0, and no sample at the end. Every number divides the last step. */
static void things_happen_when_due(void **state) {
    (void)state;
    run(MODEL "--steps 6 --eval-every 3 --sample-every 2 --sample-tokens 1 --out run >shown && grep '^---' shown");
    assert_string_equal(output, "--- step 2 ---\n--- step 4 ---\n");
    json_t *log = log_of("run");
    assert_int_equal(entries_of(log, "val_loss"), 2);
    assert_true(number_of(entry_of(log, "val_loss", 0), "step") == 3);
    assert_true(number_of(entry_of(log, "val_loss", 1), "step") == 6);
    json_decref(log);
    run("rm -r run && " MODEL "--steps 4 --sample-every 0 --out run");
    assert_string_equal(output, "");
}

/* What was done after the step of a checkpoint is not done again, though a save came before it. */
static void resumed_run_shows_nothing_twice(void **state) {
    (void)state;
    run(MODEL "--steps 9 --save-every 3 --eval-every 3 --sample-every 3 --until 6 --sample-tokens 1 --out run && "
        "train --resume run --until 7 >again");
    text_read("again", output, sizeof output);
    assert_string_equal(output, "");
    json_t *log = log_of("run");
    assert_int_equal(entries_of(log, "val_loss"), 2);
    json_decref(log);
}

/* --until stops early, never late. */
static void until_never_goes_beyond_the_steps(void **state) {
    (void)state;
    run(MODEL "--steps 0 --until 3 --sample-every 0 --out run");
    assert_int_equal(step_of("run"), 0);
    json_t *log = log_of("run");
    assert_int_equal(entries_of(log, "loss"), 0);
    assert_int_equal(entries_of(log, "val_loss"), 1); /* the figures are there all the same */
    assert_int_equal(entries_of(log, "final_loss"), 1);
    json_decref(log);
    run("rm -r run && " MODEL "--steps 2 --until 3 --out run");
    assert_int_equal(step_of("run"), 2);
    assert_non_null(strstr(errors, "; curves in plots/\n"));
    run("train --resume run --until 5"); /* all are done */
    assert_int_equal(step_of("run"), 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(seconds_add_up, run_remove),
        cmocka_unit_test_setup(terminal_has_a_line_of_progress, run_remove),
        cmocka_unit_test_setup(time_left_is_of_the_steps_left, run_remove),
        cmocka_unit_test_setup(time_left_is_of_the_rows_there_are, run_remove),
        cmocka_unit_test_setup(terminal_has_a_line_for_the_signal, run_remove),
        cmocka_unit_test_setup(costs_are_those_of_the_model, run_remove),
        cmocka_unit_test_setup(peak_has_the_data, run_remove),
        cmocka_unit_test_setup(plots_show_the_log, run_remove),
        cmocka_unit_test(plots_have_their_scales),
        cmocka_unit_test_setup(config_keeps_the_options, run_remove),
        cmocka_unit_test_setup(defaults_of_watching_are_as_documented, run_remove),
        cmocka_unit_test_setup(match_is_of_all_that_costs, run_remove),
        cmocka_unit_test_setup(names_may_look_like_options, run_remove),
        cmocka_unit_test_setup(threads_are_as_many_as_told, run_remove),
        cmocka_unit_test_setup(things_happen_when_due, run_remove),
        cmocka_unit_test_setup(resumed_run_shows_nothing_twice, run_remove),
        cmocka_unit_test_setup(until_never_goes_beyond_the_steps, run_remove),
    };
    return cmocka_run_group_tests(tests, corpora_make, workplace_remove);
}
