/* What is shown of work that takes a while (src/base/progress), and what ./train says at its start. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <pty.h>

#include "../src/base/progress.h"
#include "../src/run/plan.h"
#include "command.h"
#include "picture_files.h"
#include "prose.h"
#include "runs.h"

#define MODEL                                                                                                 \
    "train corpus.txt --block gpt2 --cache cache --vocab 301 --seq 17 --layers 2 --channels 12 --attn-heads 3 " \
    "--moe-heads 2 --experts 5 --topk 2 --expert-hidden 7 --batch 2 --accumulate 3 --eval-windows 3 --sample-every 0 "

static int corpora_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    prose_save("corpus.txt", 500, 1);
    return system(MODEL "--dry-run >/dev/null 2>&1");
}

static int run_remove(void **state) {
    (void)state;
    return system("rm -rf run");
}

/* ---- Numbers for people ---- */

static void durations_have_two_units(void **state) {
    (void)state;
    static const struct {
        double seconds;
        const char *text;
    } cases[] = {{0, "0 s"}, {0.4, "0 s"}, {0.6, "1 s"}, {59.4, "59 s"}, {59.6, "1 min 00 s"}, {185, "3 min 05 s"},
                 {3599.4, "59 min 59 s"}, {3599.6, "1 h 00 min"}, {7500, "2 h 05 min"}, {7529, "2 h 05 min"},
                 {7531, "2 h 06 min"}, {86400.0 * 4 + 60, "96 h 01 min"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = duration_format(cases[i].seconds);
        assert_string_equal(text, cases[i].text);
        free(text);
    }
}

static void counts_have_three_figures(void **state) {
    (void)state;
    static const struct {
        double n;
        const char *text;
    } cases[] = {{0, "0"}, {9999, "9999"}, {10000, "10.0k"}, {12345, "12.3k"}, {123456, "123k"}, {999499, "999k"},
                 {999501, "1.00M"}, {1203456, "1.20M"}, {7.25e9, "7.25G"}, {3e12, "3.00T"}, {2e18, "2000P"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = count_format(cases[i].n);
        assert_string_equal(text, cases[i].text);
        free(text);
    }
}

/* ---- Pace ---- */

/* A single slow step moves it by a twentieth; a lasting change it has followed after some sixty. */
static void pace_follows_the_last_steps(void **state) {
    (void)state;
    struct pace p = {0};
    assert_true(pace_seconds(&p, 100) == 0);
    pace_step(&p, 2);
    expect_near(pace_seconds(&p, 100), 200, 1e-9); /* from the first one on */
    for (int i = 0; i < 300; i++) pace_step(&p, 2);
    pace_step(&p, 12);
    expect_near(pace_seconds(&p, 1), 2.5, 1e-5);
    for (int i = 0; i < 60; i++) pace_step(&p, 4);
    expect_near(pace_seconds(&p, 1), 4, 0.1);
}

/* What is beside the steps belongs to all of them, and not to the next alone. */
static void pace_has_what_lies_between(void **state) {
    (void)state;
    struct pace p = {0};
    for (int i = 0; i < 10; i++) pace_step(&p, 1);
    pace_other(&p, 4);
    pace_other(&p, 1);
    expect_near(pace_seconds(&p, 20), 20 * 1.5, 1e-9);
}

/* ---- The curve ---- */

static void spark_expect(const struct spark *s, size_t most, const char *want) {
    char *text = spark_format(s, most);
    assert_string_equal(text, want);
    free(text);
}

static void spark_is_low_where_values_are(void **state) {
    (void)state;
    struct spark s = {0};
    spark_expect(&s, SPARK_CELLS, "");
    spark_add(&s, 7);
    spark_expect(&s, SPARK_CELLS, "");
    for (int i = 6; i >= 0; i--) spark_add(&s, i);
    spark_expect(&s, SPARK_CELLS, "█▇▆▅▄▃▂▁");
    spark_expect(&s, 3, "█▄▁"); /* the last ones, with a scale of their own */
    spark_expect(&s, 1, "");
    spark_expect(&s, 0, "");
    struct spark even = {0};
    for (int i = 0; i < 3; i++) spark_add(&even, 5);
    spark_expect(&even, SPARK_CELLS, "▁▁▁");
}

/* However many values there are, each cell is the mean of equally many, in order, and none is lost. */
static void spark_has_all_values(void **state) {
    (void)state;
    struct spark s = {0};
    for (size_t n = 1; n <= 5000; n++) {
        spark_add(&s, (double)n);
        assert_true(s.n <= SPARK_CELLS && s.n * s.per + s.in == n);
        assert_true(n < SPARK_CELLS || s.n + (s.in > 0) > SPARK_CELLS / 2);
        for (size_t i = 0; i < s.n; i++) expect_near(s.cells[i], (double)(i * s.per) + (double)(s.per + 1) / 2, 1e-6);
        if (s.in) expect_near(s.cells[s.n], (double)(s.n * s.per) + (double)(s.in + 1) / 2, 1e-6);
    }
}

/* ---- The terminal ---- */

/* Standard error is a terminal of `columns`; what is shown there, once that is over. */
static int terminal, console;
static void terminal_begin(int columns) {
    int end;
    struct winsize size = {.ws_row = 25, .ws_col = (unsigned short)columns};
    fflush(stderr);
    console = dup(STDERR_FILENO);
    assert_int_equal(openpty(&terminal, &end, NULL, NULL, &size), 0);
    dup2(end, STDERR_FILENO);
    close(end);
}
static const char *terminal_end(void) {
    size_t n = 0;
    fflush(stderr);
    dup2(console, STDERR_FILENO);
    close(console);
    for (ssize_t got; n < sizeof errors - 1 && (got = read(terminal, errors + n, sizeof errors - 1 - n)) > 0;)
        n += (size_t)got;
    errors[n] = 0;
    close(terminal);
    return errors;
}

static void bar_grows_with_its_share(void **state) {
    (void)state;
    int shown = -1;
    terminal_begin(0);
    bar_show("work", 0, 400, &shown);
    bar_show("work", 3, 400, &shown); /* the same percentage */
    bar_show("work", 200, 400, &shown);
    bar_show("work", 900, 400, &shown);
    bar_clear();
    assert_string_equal(terminal_end(), "\r\033[Kwork [                              ] 0%"
                                        "\r\033[Kwork [===============               ] 50%"
                                        "\r\033[Kwork [==============================] 100%\r\033[K");
}

static void nothing_is_shown_elsewhere(void **state) {
    (void)state;
    int shown = -1, ends[2];
    fflush(stderr);
    console = dup(STDERR_FILENO);
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    bar_show("work", 1, 2, &shown);
    bar_clear();
    fflush(stderr);
    dup2(console, STDERR_FILENO);
    close(console);
    assert_int_equal(read(ends[0], errors, sizeof errors), 0);
    close(ends[0]);
}

/* What a command shows on a terminal of so many columns. */
static void terminal_run(int columns, const char *command) {
    terminal_begin(columns);
    const int status = system(command);
    terminal_end();
    if (status != 0) fail_msg("%s\n%s", command, errors);
}

/* Behind the other figures, as far as the line goes; in colour unless the user wants none. */
static void losses_have_a_curve(void **state) {
    (void)state;
    terminal_run(0, "env -u NO_COLOR TERM=xterm " MODEL "--steps 4 --until 2 --lr 0.02 --out run");
    const char *line = strstr(errors, "step 2/4  loss ");
    assert_non_null(line);
    assert_non_null(strstr(line, " s  \033[36m█▁\033[0m\r\033[K"));
    terminal_run(0, "NO_COLOR=1 TERM=xterm train --resume run --until 3");
    assert_null(strstr(errors, "\033[36m"));
    terminal_run(0, "rm -r run && NO_COLOR=1 " MODEL "--steps 4 --until 2 --lr 0.02 --out run");
    assert_non_null(strstr(errors, " s  █▁\r\033[K"));
    terminal_run(0, "rm -r run && env -u NO_COLOR TERM=dumb " MODEL "--steps 4 --until 2 --lr 0.02 --out run");
    assert_non_null(strstr(errors, " s  █▁\r\033[K"));
    terminal_run(40, "rm -r run && NO_COLOR= " MODEL "--steps 4 --until 2 --lr 0.02 --out run");
    assert_null(strstr(errors, "█"));
    run("rm -r run && " MODEL "--steps 4 --lr 0.02 --out run");
    assert_null(strstr(errors, "█"));
}

/* Of the steps that are left, at the last one none. */
static void steps_left_have_a_time(void **state) {
    (void)state;
    run(MODEL "--steps 1000000 --until 1 --eval-every 0 --out run");
    last_rewrite("run", "run", "step", "999998");
    last_rewrite("run", "run", "watched", "999998");
    terminal_run(0, "TERM=dumb train --resume run");
    const char *line = strstr(errors, "step 1000000/1000000  loss ");
    assert_non_null(line);
    assert_non_null(strstr(line, "ETA 0 s"));
    run("rm -r run && " MODEL "--steps 1000000 --until 1 --eval-every 0 --out run");
    terminal_run(0, "TERM=dumb train --resume run --until 2");
    assert_null(strstr(errors, "ETA 0 s"));
}

/* Both take their place on one line, which is empty again when they are done. */
static void preparation_has_bars(void **state) {
    (void)state;
    terminal_run(0, MODEL "--vocab 400 --cache another --dry-run >/dev/null");
    const char *tokenizer = strstr(errors, "\r\033[Ktokenizer ["), *encoding = strstr(errors, "\r\033[Kencoding [");
    if (!tokenizer || !encoding || encoding < tokenizer) fail_msg("%s", errors);
    assert_non_null(strstr(encoding, "] 100%\r\033[K"));
    mkdir("lines", 0777);
    texts_make("lines/lines.txt", 60);
    terminal_run(0, "train lines --task masked --vocab 290 --cache others --dry-run >/dev/null && rm -r others");
    assert_non_null(strstr(errors, "\r\033[Kencoding [==============================] 100%\r\033[K"));
    run("rm -r another && " MODEL "--cache another --dry-run >/dev/null && rm -r another");
    assert_null(strstr(errors, "["));
}

/* ---- The start ---- */

static void start_tells_model_data_and_place(void **state) {
    (void)state;
    run(MODEL "--dry-run --steps 1000");
    const char *at = strstr(output, "parameters         ");
    double parameters = 0, active = 0, epochs = 0, tokens = 0;
    assert_int_equal(sscanf(at, "parameters %lf active parameters %lf", &parameters, &active), 2);
    assert_int_equal(sscanf(strstr(output, "training tokens "), "training tokens %lf", &tokens), 1);
    assert_int_equal(sscanf(strstr(output, "epochs "), "epochs %lf", &epochs), 1);
    char *all = count_format(parameters), *some = count_format(active), *amount = count_format(tokens);
    run(MODEL "--steps 1000 --until 2 --out run");
    char *model = string_format("model: MH-MoE, 2 blocks of 12 channels: %s parameters, %s of them active for a token\n"
                                "data: %s tokens to train on, ", all, some, amount);
    char *rest = string_format(" held out; %.2f epochs in 1000 steps\nrun: run\n", epochs);
    if (!strstr(errors, model) || !strstr(errors, rest)) fail_msg("no '%s...%s' in %s", model, rest, errors);
    assert_null(strstr(errors, "time: ")); /* nothing is measured yet */
    run("train --resume run --until 3");
    assert_non_null(strstr(errors, "\nrun: run, from step 2 on\n"));
    free(all);
    free(some);
    free(amount);
    free(model);
    free(rest);
}

/* A masked model has examples; a dense one has its name. */
static void start_tells_of_examples(void **state) {
    (void)state;
    mkdir("lines", 0777);
    texts_make("lines/lines.txt", 60);
    run("train lines --task masked --cache cache --vocab 290 --seq 50 --layers 1 --channels 8 --attn-heads 2 "
        "--ffn dense --batch 3 --accumulate 2 --steps 38 --until 1 --out run");
    assert_non_null(strstr(errors, "model: dense, 1 block of 8 channels: "));
    assert_non_null(strstr(errors, "data: 57 examples to train on, 3 held out; 4.00 epochs in 38 steps\n"));
}

#define STILL MODEL "--steps 1000000 --lr 0 --save-every 0 --eval-every 9 --eval-windows 36 "
static const struct run_plan still = {.sequences = 6, .eval_every = 9, .windows = 36, .final_windows = 37};

/* What the eight steps after `first` were, in the run's own log, makes what is told of those that follow. */
static void time_expect(size_t first, int64_t steps) {
    json_t *log = log_of("run");
    struct pace pace = {0};
    for (size_t i = first; i < first + 8; i++)
        pace_step(&pace, 6 * 17 / number_of(entry_of(log, "loss", i), "tokens_per_second"));
    struct run_plan plan = still;
    plan.step = pace.mean;
    const double seconds = run_seconds(&plan, (int64_t)first + 8, steps, true);
    char *least = duration_format(seconds * (1 - 1e-6)), *most = duration_format(seconds * (1 + 1e-6));
    char *line = string_format("time: about %s for the %" PRId64 " steps to come\n", least, steps - (int64_t)first - 8);
    char *other = string_format("time: about %s for the %" PRId64 " steps to come\n", most, steps - (int64_t)first - 8);
    const char *at = strstr(errors, "time: about ");
    if (!strstr(errors, line) && !strstr(errors, other)) fail_msg("no %sin %s", line, errors);
    assert_null(strstr(at + 1, "time: about "));
    json_decref(log);
    free(least);
    free(most);
    free(line);
    free(other);
}

/* After eight steps of a session, once: what those to come will take, validations among them. With a rate of 0 nothing
 * gets better, and --patience ends the run. */
static void start_tells_the_time(void **state) {
    (void)state;
    run(STILL "--patience 1 --out run");
    assert_int_equal(step_of("run"), 18);
    time_expect(0, 1000000);
    run("train --resume run --patience 2");
    time_expect(18, 1000000);
    assert_null(strstr(errors, "size: "));
}

static double number_told(const char *name) {
    return strtod(strstr(output, name) + strlen(name), NULL);
}

/* The tokens are those of a model with the preset's sizes in the time of the whole run, at this one's speed. */
static void start_tells_the_size(void **state) {
    (void)state;
    const double tokens = 6 * 17 * run_seconds(&(struct run_plan){1, 6, 9, 36, 37}, 0, 1000000, true);
    run(STILL "--dry-run");
    const double flops = number_told("training FLOPs");
    run(STILL "--dry-run --seq 128 --layers 4 --channels 128 --attn-heads 2");
    char *has = count_format(number_told("active parameters"));
    char *sees = count_format(tokens * flops / number_told("training FLOPs"));
    char *line = string_format("\nsize: of the presets small suits this text and time best (%s active parameters, time "
                               "for %s tokens)\n", has, sees);
    run(STILL "--patience 1 --out run");
    if (!strstr(errors, line)) fail_msg("no %sin %s", line, errors);
    run("train --from run --cache cache --steps 1000000 --lr 0 --eval-every 9 --patience 1 --out other && rm -r other");
    assert_non_null(strstr(errors, "time: about "));
    assert_null(strstr(errors, "size: ")); /* it has its size */
    free(has);
    free(sees);
    free(line);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_have_two_units),
        cmocka_unit_test(counts_have_three_figures),
        cmocka_unit_test(pace_follows_the_last_steps),
        cmocka_unit_test(pace_has_what_lies_between),
        cmocka_unit_test(spark_is_low_where_values_are),
        cmocka_unit_test(spark_has_all_values),
        cmocka_unit_test(bar_grows_with_its_share),
        cmocka_unit_test(nothing_is_shown_elsewhere),
        cmocka_unit_test_setup(losses_have_a_curve, run_remove),
        cmocka_unit_test_setup(steps_left_have_a_time, run_remove),
        cmocka_unit_test(preparation_has_bars),
        cmocka_unit_test_setup(start_tells_model_data_and_place, run_remove),
        cmocka_unit_test_setup(start_tells_of_examples, run_remove),
        cmocka_unit_test_setup(start_tells_the_time, run_remove),
        cmocka_unit_test_setup(start_tells_the_size, run_remove),
    };
    return cmocka_run_group_tests(tests, corpora_make, workplace_remove);
}
