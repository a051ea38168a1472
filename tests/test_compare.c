/* The comparison: its statistics and plan on fixed numbers, the command lines of its studies, what it makes of
 * logs, and build/compare itself, interrupted and continued. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "command.h"
#include "compare_report.h"
#include "statistics.h"

/* ---- Statistics ---- */

static bool near(double a, double b) { return fabs(a - b) <= 1e-12 * fabs(b); } /* a few roundings */

static void test_moments(void **state) {
    (void)state;
    double odd[] = {3, 1, 2}, even[] = {4, 1, 3, 2}, one[] = {7};
    assert_true(median(odd, 3) == 2 && median(even, 4) == 2.5 && median(one, 1) == 7);
    assert_true(mean((double[]){2, 4, 4, 4, 5, 5, 7, 9}, 8) == 5);
    assert_true(near(deviation((double[]){2, 4, 4, 4, 5, 5, 7, 9}, 8), sqrt(32.0 / 7)));
    assert_true(isnan(deviation(one, 1)));
}

static void test_paired(void **state) {
    (void)state;
    const double a[] = {1.0, 2.0, 3.0}, b[] = {1.5, 2.7, 3.6};
    const struct paired p = paired_difference(a, b, 3); /* -0.5, -0.7, -0.6 */
    assert_true(near(p.mean, -0.6) && near(p.error, 0.1 / sqrt(3)));
    assert_int_equal(paired_verdict(p), -1); /* 10.4 standard errors, 4.30 needed */
    assert_int_equal(paired_verdict(paired_difference(b, a, 3)), 1);
    /* 2.65 standard errors tell with many seeds, not with three */
    assert_int_equal(paired_verdict((struct paired){-2.65, 1, 3}), 0);
    assert_int_equal(paired_verdict((struct paired){-2.65, 1, 7}), -1);
    assert_int_equal(paired_verdict((struct paired){-2.65, 1, 1000}), -1);
    assert_int_equal(paired_verdict((struct paired){-9, NAN, 1}), 0);
    assert_int_equal(paired_verdict((struct paired){INFINITY, NAN, 3}), 0); /* a seed diverged */
}

static void test_crossing(void **state) {
    (void)state;
    const double x[] = {1, 3, 5, 9}, y[] = {8, 6, 7, 3};
    assert_true(crossing(x, y, 4, 7) == 2); /* the first time, half way down */
    assert_true(crossing(x, y, 4, 4) == 8);
    assert_true(crossing(x, y, 4, 3) == 9);
    assert_true(crossing(x, y, 4, 9) == 1); /* at once: no earlier than it was seen */
    assert_true(isnan(crossing(x, y, 4, 2.9)));
    assert_true(isnan(crossing(x, y, 0, 2.9)));
}

/* ---- The plan ---- */

static void test_plan(void **state) {
    (void)state;
    const struct timing models[] = {{0.1, 2}, {0.3, 3}};
    /* 3 searches and 2 final runs: 0.4 * 5 N + 5 * 5 seconds */
    assert_int_equal(plan_steps(models, 2, 3, 1, 2, 1, 225), 100);
    assert_int_equal(plan_steps(models, 2, 3, 1, 2, 1, 224.9), 99);
    /* searches of a quarter: 0.4 * (0.75 + 3) N + 5 * 6 */
    assert_int_equal(plan_steps(models, 2, 3, 0.25, 3, 1, 180), 100);
    /* two at a time: the search waits for its longest, 0.3 N + 3; the finals take half of 0.4 * 2 N + 5 * 2, and leave
     * a place idle for half of the shortest, 0.1 N + 2 */
    assert_int_equal(plan_steps(models, 2, 1, 1, 2, 2, 33 + 45 + 6.01), 100);
    assert_int_equal(plan_steps(models, 2, 1, 1, 2, 2, 33 + 45 + 5.99), 99);
    /* with a place for each: no sooner than the longest of either stage, 2 * (0.3 N + 3); no search: once */
    assert_int_equal(plan_steps(models, 2, 1, 1, 1, 100, 66.01), 100);
    assert_int_equal(plan_steps(models, 2, 0, 1, 1, 100, 32.99), 99);
    assert_true(plan_steps(models, 2, 3, 1, 2, 1, 20) < 1);
    assert_int_equal(search_steps(100, 1), 100);
    assert_int_equal(search_steps(100, 0.25), 25);
    assert_int_equal(search_steps(20, 0.01), 1);
    assert_int_equal(eval_every(100), 10);
    assert_int_equal(eval_every(101), 11);
    assert_int_equal(eval_every(3), 1);
}

static void test_rates(void **state) {
    (void)state;
    double rates[3];
    assert_int_equal(rates_parse("1e-3,0.002,4e-3", rates, 3), 3);
    assert_true(rates[0] == 1e-3 && rates[1] == 2e-3 && rates[2] == 4e-3);
    static const char *const wrong[] = {"", "x", "1e-3,", "1e-3;2e-3", "-1", "0", "1,2,3,4", "nan"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (rates_parse(wrong[i], rates, 3) != 0) fail_msg("%s", wrong[i]);
}

/* ---- Command lines ---- */

static char *corpora[] = {"a.txt", "b.txt"};
static const struct request request = {.out = "O",
                                       .train = "./train",
                                       .threads = 2,
                                       .vocab = 1024,
                                       .seq = 64,
                                       .layers = 2,
                                       .channels = 96,
                                       .attn_heads = 3,
                                       .moe_every = 2,
                                       .batch = 8,
                                       .eval_windows = 64,
                                       .corpora = corpora,
                                       .n_corpora = 2};

/* The options that set one model of a study apart, joined by blanks; it must end with the corpora. malloc'ed. */
static char *model_options_of(const struct study_model *model) {
    struct words w = {0};
    const struct study_run run = {model, 0.002, 3, 50};
    char *joined = string_format("%s", "");
    command_start(&w, &request, &run, "D");
    size_t i = 0;
    while (strcmp(w.items[i], "--moe-every=2") != 0) i++;
    for (i++; strcmp(w.items[i], "--") != 0; i++) {
        char *longer = string_format("%s%s%s", joined, *joined ? " " : "", w.items[i]);
        free(joined);
        joined = longer;
    }
    assert_string_equal(w.items[i + 1], "a.txt");
    assert_string_equal(w.items[i + 2], "b.txt");
    assert_null(w.items[i + 3]);
    words_free(&w);
    return joined;
}

static void check_models(const char *study, const char *const *want) {
    size_t s = 0;
    while (strcmp(studies[s].name, study) != 0) s++;
    assert_string_equal(study_words[s], study);
    for (size_t i = 0; i < studies[s].n; i++) {
        char *got = model_options_of(&studies[s].models[i]);
        if (strcmp(got, want[i]) != 0) fail_msg("%s: got %s, want %s", studies[s].models[i].name, got, want[i]);
        free(got);
    }
    assert_null(want[studies[s].n]);
}

#define SMOE "--ffn smoe --experts 8 --topk 1 --expert-hidden=384"
#define MATCHED " --match=O/calibration/smoe"
#define H2 "--ffn mhmoe --topk 3 --moe-heads 2"

static void test_studies(void **state) {
    (void)state;
    check_models("main", (const char *const[]){SMOE, "--ffn dense", "--ffn smoe --topk 2" MATCHED, H2 MATCHED,
                                               "--ffn mhmoe --topk 3 --moe-heads 3" MATCHED,
                                               "--ffn mhmoe --moe-heads 4 --experts 8 --topk 1 "
                                               "--expert-hidden=1536",
                                               NULL});
    check_models("heads", (const char *const[]){SMOE, "--ffn mhmoe --topk 3 --moe-heads 1" MATCHED, H2 MATCHED,
                                                "--ffn mhmoe --topk 3 --moe-heads 4" MATCHED,
                                                "--ffn mhmoe --topk 3 --moe-heads 8" MATCHED, NULL});
    check_models("experts", (const char *const[]){SMOE, "--ffn smoe --experts 32 --topk 1 --expert-hidden=384",
                                                  "--ffn smoe --experts 128 --topk 1 --expert-hidden=384",
                                                  H2 MATCHED, H2 MATCHED "-32", H2 MATCHED "-128", NULL});
    check_models("ablation", (const char *const[]){SMOE, H2 " --head-depth 0 --merge-depth 0" MATCHED,
                                                   H2 " --head-depth 1 --merge-depth 0" MATCHED,
                                                   H2 " --head-depth 0 --merge-depth 1" MATCHED,
                                                   H2 " --head-depth 1 --merge-depth 1" MATCHED, NULL});
    check_models("routers", (const char *const[]){SMOE, H2 " --router softmax --balance aux" MATCHED,
                                                  H2 " --router softmax --balance aux --renormalize" MATCHED,
                                                  H2 " --router cosine --balance aux" MATCHED,
                                                  H2 " --router softmax --balance bias" MATCHED,
                                                  H2 " --router softmax --balance none" MATCHED, NULL});
}

/* What a model is compared with stands earlier in the table, so that it is measured before it is matched. */
static void test_baselines(void **state) {
    (void)state;
    for (size_t s = 0; study_words[s]; s++)
        for (size_t i = 0; i < studies[s].n; i++) {
            const struct study_model *m = &studies[s].models[i];
            size_t b = 0;
            while (m->baseline && b < i && strcmp(studies[s].models[b].name, m->baseline) != 0) b++;
            assert_true(!m->baseline || b < i);
            assert_true(!m->match || m->baseline);
        }
}

static void test_runs(void **state) {
    (void)state;
    const struct study_run run = {&studies[0].models[0], 0.002, 3, 50};
    char *directory = run_directory(&request, &run);
    struct words w = {0};
    assert_string_equal(directory, "O/smoe-lr0.002-seed3-steps50");
    command_start(&w, &request, &run, directory);
    static const char *const start[] = {"./train",       "--out=O/smoe-lr0.002-seed3-steps50",
                                        "--threads=2",   "--seed=3",
                                        "--steps=50",    "--warmup=5",
                                        "--lr=0.002",    "--batch=8",
                                        "--eval-every=5"};
    for (size_t i = 0; i < sizeof start / sizeof *start; i++) {
        if (i != 6) assert_string_equal(w.items[i], start[i]);
        else assert_true(strtod(w.items[i] + strlen("--lr="), NULL) == 0.002);
    }
    words_free(&w);
    command_resume(&w, &request, directory);
    assert_string_equal(w.items[1], "--resume=O/smoe-lr0.002-seed3-steps50");
    words_free(&w);
    free(directory);
}

static bool words_have(const struct words *w, const char *word) {
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->items[i], word) == 0) return true;
    return false;
}

/* --mhmoe reaches these models alone; runs beside each other share the processors. */
static void test_shares(void **state) {
    (void)state;
    struct request r = request;
    r.mhmoe = "--renormalize --z-weight=1e-3";
    for (size_t i = 0; i < studies[0].n; i++) {
        const struct study_run run = {&studies[0].models[i], 0.002, 3, 50};
        const bool mhmoe = strncmp(run.model->name, "mhmoe", 5) == 0;
        struct words w = {0};
        command_start(&w, &r, &run, "D");
        assert_true(words_have(&w, "--renormalize") == mhmoe && words_have(&w, "--z-weight=1e-3") == mhmoe);
        words_free(&w);
    }
    const int jobs[] = {1, 1000}, threads[] = {0, 1}; /* 0: ./train takes all */
    r.threads = 0;
    for (int i = 0; i < 2; i++) {
        struct words w = {0};
        char *want = string_format("--threads=%d", threads[i]);
        r.jobs = jobs[i];
        command_resume(&w, &r, "D");
        assert_true(words_have(&w, want));
        words_free(&w);
        free(want);
    }
}

/* ---- Logs ---- */

static const char log_text[] = "{\"step\":1,\"loss\":6,\"tokens_per_second\":100,\"seconds\":1.5}\n"
                               "{\"step\":2,\"loss\":5,\"tokens_per_second\":300,\"seconds\":2.0}\n"
                               "{\"step\":2,\"val_loss\":5.5,\"val_bits_per_byte\":3.5,\"val_all\":false}\n"
                               "{\"step\":3,\"loss\":4,\"tokens_per_second\":200,\"seconds\":3.25}\n"
                               "{\"step\":3,\"val_loss\":4.5,\"val_bits_per_byte\":2.5,\"val_all\":true}\n";

static void test_result(void **state) {
    (void)state;
    struct result r;
    text_save("log.jsonl", log_text, strlen(log_text));
    assert_true(result_read(&r, "log.jsonl", 3));
    assert_true(r.loss == 4.5 && r.bits_per_byte == 2.5 && r.rate == 200 && r.seconds == 3.25);
    assert_int_equal(r.by_seconds.n, 2);
    assert_true(r.by_seconds.x[0] == 2.0 && r.by_seconds.x[1] == 3.25 && r.by_seconds.y[0] == 5.5);
    result_free(&r);
    assert_false(result_read(&r, "log.jsonl", 4));          /* not the last step */
    text_save("log.jsonl", log_text, strlen(log_text) - 3); /* cut off */
    assert_false(result_read(&r, "log.jsonl", 3));
    assert_false(result_read(&r, "none.jsonl", 3));
}

/* ---- The program ---- */

#define TINY                                                                                                      \
    "--models smoe,mhmoe-h2 --seeds 2 --lrs 2e-3 --channels 24 --attn-heads 2 --seq 16 --vocab 300 --batch 2 "    \
    "--threads 1 text "

/* report.csv without what depends on the clock. */
#define COMPUTED "cut -d, -f1-14 "

static void test_program(void **state) {
    (void)state;
    run("for i in $(seq 400); do echo \"line $i of a text to train on, $((i * i)) times.\"; done > text");
    run("compare --train train --steps 20 --out whole " TINY);
    assert_non_null(strstr(errors, "[4/4] mhmoe-h2, lr 0.002, seed 2"));
    run("ls whole/report.md whole/loss-tokens.svg whole/loss-seconds.svg whole/plan.json && "
        "test $(wc -l < whole/report.csv) = 5 && ! ls whole/*/last.safetensors");
    /* K F and parity: F = C, E = 62, exact but for router and biases */
    run("grep -q '| MH-MoE, H = 2 | 2 | 62 | 3 | 24 |.*36864 (+0.00%%) | 4608 (+0.00%%)' whole/report.md");
    run("grep -Eq '^\\| MH-MoE, H = 2 \\| SMoE, top-1 of 8 \\| [-+]0\\.[0-9]{4} ' whole/report.md");

    run("grep -Eq '^\\| MH-MoE, H = 2 \\|( [-+]0\\.[0-9]{3} \\|){10}$' whole/report.md"); /* on the way */
    run("end=$(sed -n 's/^| MH-MoE, H = 2 | SMoE, top-1 of 8 | \\([-+0-9.]*\\).*/\\1/p' whole/report.md)\n"
        "way=$(sed -n 's/^| MH-MoE, H = 2 | [-+].* \\([-+0-9.]*\\) |$/\\1/p' whole/report.md)\n"
        "test $(printf %%+.3f $end) = $way");

    /* Its second run stops at step 7 with a checkpoint, as if by Ctrl-C; the same command goes on to the same
     * bits. */
    run("printf '%%s\\n' '#!/bin/sh' 'case \"$*\" in *out=cut/mhmoe*) train --until 7 \"$@\"; kill -TERM $PPID; "
        "sleep 9;; "
        "*) exec train \"$@\";; esac' > stopping && chmod +x stopping");
    assert_int_equal(command_run("compare --train ./stopping --steps 20 --out cut " TINY), 128 + 15);
    assert_non_null(strstr(errors, "compare: cut: stopped by signal 15; the same command goes on from here\n"));
    run("ls cut/mhmoe-h2-lr0.002-seed1-steps20/last.safetensors && ! ls cut/report.md");
    run("compare --train train --steps 20 --out cut " TINY);
    assert_null(strstr(errors, "smoe, lr 0.002, seed 1:")); /* done before */
    run("grep -q 'mhmoe-h2-lr0.002-seed1-steps20: step 7 of 20' cut/mhmoe-h2-lr0.002-seed1-steps20/train.log");
    run(COMPUTED "whole/report.csv > a; " COMPUTED "cut/report.csv | cmp - a");
    run("compare --train train --steps 20 --out cut " TINY); /* nothing left to do but the report */
    assert_null(strstr(errors, "seed"));
}

/* Runs beside each other find what they find in turn. If one fails, the others save and stop, and one reads of it. */
static void test_jobs(void **state) {
    (void)state;
    run("compare --train train --steps 20 --out beside --jobs 3 " TINY);
    assert_non_null(strstr(errors, "[4/4] "));
    run(COMPUTED "beside/report.csv | cmp - a && grep -q '^3 runs beside each other' beside/report.md");
    run("printf '%%s\n' '#!/bin/sh' 'case \"$*\" in *out=fails/smoe*seed=2*) "
        "until grep -qs .step.:5, fails/smoe*seed1*/log.jsonl; do sleep 0.02; done; echo no luck; exit 3;; "
        "*) exec train \"$@\";; esac' > failing && chmod +x failing");
    const char *command = "compare --train ./failing --steps 1000000 --out fails --jobs 2 " TINY "--models smoe";
    assert_int_equal(command_run(command), EXIT_INPUT);
    assert_non_null(strstr(errors, "seed2-steps1000000: exit code 3: no luck (all of it in "));
    run("ls fails/smoe*seed1*/last.safetensors");
}

/* A real signal reaches real children, which save, and each of them once: a second would end it unsaved. Those with
 * seed 2 are slow to save, and count. */
static void test_signal(void **state) {
    (void)state;
    run("printf '%%s\\n' '#!/bin/sh' 'case \"$*\" in *out=long/*-seed2-*) n=0; trap \"n=\\$((n + 1))\" TERM; "
        "sleep 99 & echo > slow$$; wait; kill $!; sleep 1 & wait $!; echo $n > slow$$; exit 143;; "
        "*) exec train \"$@\";; esac' > slowly && chmod +x slowly");
    run("compare --train ./slowly --steps 1000000 --out long --jobs 4 " TINY "& pid=$!\n"
        "until test $(grep -ls '\"step\":5,' long/*-seed1-*/log.jsonl | wc -l) = 2 && test $(ls slow?* | wc -l) = 3\n"
        "do sleep 0.02; done\n"
        "kill -TERM $pid; wait $pid; test $? = 143 && test $(ls long/*-seed1-*/last.safetensors | wc -l) = 2 && "
        "test $(cat slow[0-9]* | tr -d '\\n') = 11");
}

static void refuse_compare(int code, const char *says, const char *command) {
    const int got = command_run(command);
    if (got != code || !strstr(errors, says) || strncmp(errors, "compare: ", 9) != 0)
        fail_msg("exit code %d: %s\n%s", got, command, errors);
}

static void test_refusals(void **state) {
    (void)state;
    refuse_compare(EXIT_MISMATCH, "(steps: got 30, it has 20); give the same options, or another --out",
                   "compare --train train --steps 30 --out whole " TINY);
    refuse_compare(EXIT_MISMATCH, "corpora: got [\"text\", \"text\"]",
                   "compare --train train --steps 20 --out whole " TINY "text");
    refuse_compare(EXIT_USAGE, "--lrs: bad value (got '1,x'", "compare --lrs 1,x");
    refuse_compare(EXIT_USAGE, "mhmoe-h2 is compared with smoe; add it", "compare --models mhmoe-h2");
    refuse_compare(EXIT_USAGE, "not all of them are in --study main", "compare --models smoe,mhmoe");
    refuse_compare(EXIT_USAGE, "cannot start none", "compare --train none --out new " TINY);
    refuse_compare(EXIT_INPUT, "out of nothing", "compare --train train --out new " TINY "'out of nothing'");
    assert_int_equal(command_run("compare --train train --minutes 0.01 --out new " TINY "--seeds 1000"), EXIT_USAGE);
    assert_non_null(strstr(errors, "compare: --minutes 0.01: not enough for 2000 runs of 10 steps"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moments), cmocka_unit_test(test_paired), cmocka_unit_test(test_crossing),
        cmocka_unit_test(test_plan), cmocka_unit_test(test_rates), cmocka_unit_test(test_studies),
        cmocka_unit_test(test_runs), cmocka_unit_test(test_shares), cmocka_unit_test(test_baselines),
        cmocka_unit_test(test_result), cmocka_unit_test(test_program), cmocka_unit_test(test_jobs),
        cmocka_unit_test(test_signal), cmocka_unit_test(test_refusals),
    };
    if (!workplace_enter()) return EXIT_OUTPUT;
    return cmocka_run_group_tests(tests, NULL, workplace_remove);
}
