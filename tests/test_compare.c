/* The comparison: its statistics and its search on fixed numbers, what it makes of logs, and build/compare itself,
 * interrupted and continued, beside each other and in parts. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "command.h"
#include "study/compare_report.h"
#include "study/statistics.h"

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

/* Of 1 to 100 degrees of freedom, by Simpson's rule over the density. */
static const double student_table[] = {
    12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139,
    2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963,
    2.079614, 2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831, 2.048407, 2.045230, 2.042272,
    2.039513, 2.036933, 2.034515, 2.032245, 2.030108, 2.028094, 2.026192, 2.024394, 2.022691, 2.021075,
    2.019541, 2.018082, 2.016692, 2.015368, 2.014103, 2.012896, 2.011741, 2.010635, 2.009575, 2.008559,
    2.007584, 2.006647, 2.005746, 2.004879, 2.004045, 2.003241, 2.002465, 2.001717, 2.000995, 2.000298,
    1.999624, 1.998972, 1.998341, 1.997730, 1.997138, 1.996564, 1.996008, 1.995469, 1.994945, 1.994437,
    1.993943, 1.993464, 1.992997, 1.992543, 1.992102, 1.991673, 1.991254, 1.990847, 1.990450, 1.990063,
    1.989686, 1.989319, 1.988960, 1.988610, 1.988268, 1.987934, 1.987608, 1.987290, 1.986979, 1.986675,
    1.986377, 1.986086, 1.985802, 1.985523, 1.985251, 1.984984, 1.984723, 1.984467, 1.984217, 1.983972};

static void test_student(void **state) {
    (void)state;
    for (size_t df = 1; df <= sizeof student_table / sizeof *student_table; df++) {
        const double got = student_95(df + 1), want = student_table[df - 1];
        if (!(fabs(got - want) <= 6e-7)) fail_msg("%zu: got %.7f, want %.6f", df, got, want); /* as it is rounded */
    }
    assert_true(fabs(student_95(1001) - 1.962339) <= 6e-7 && fabs(student_95(1000001) - 1.959966) <= 6e-7);
    assert_true(isinf(student_95(1)) && isinf(student_95(0)));
}

/* Either side of the threshold, for any number of seeds. */
static void test_verdict(void **state) {
    (void)state;
    for (size_t n = 2; n <= 101; n++) {
        const double t = student_table[n - 2], within = 0.3 * t * (1 - 1e-6), beyond = 0.3 * t * (1 + 1e-6);
        assert_int_equal(paired_verdict((struct paired){within, 0.3, n}), 0);
        assert_int_equal(paired_verdict((struct paired){-within, 0.3, n}), 0);
        assert_int_equal(paired_verdict((struct paired){beyond, 0.3, n}), 1);
        assert_int_equal(paired_verdict((struct paired){-beyond, 0.3, n}), -1);
    }
    assert_int_equal(paired_verdict((struct paired){0, 0, 3}), 0);
    assert_int_equal(paired_verdict((struct paired){1e-9, 0, 3}), 1); /* the same for each seed */
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

/* ---- The search ---- */

/* What a run with a rate ends with; seeds count from 0. */
struct outcome {
    double rate, losses[7];
};

/* Runs a search, with rates that end with 0, over what is known. `ran` lists the runs in their order: rate:seeds each
 * time some were added. */
static struct search search_over(const struct outcome *known, const double *rates, size_t widen, size_t seeds,
                                 char ran[256]) {
    size_t n = 0;
    while (rates[n]) n++;
    struct search s = search_begin(rates, n, widen, seeds);
    *ran = 0;
    while (search_next(&s)) {
        size_t lacked = 0;
        for (size_t i = 0; i < s.n; i++) {
            struct trial *t = &s.trials[i];
            const struct outcome *o = known;
            lacked += trial_lacks(&s, t);
            if (trial_lacks(&s, t) == 0) continue;
            while (o->rate != t->rate)
                if (o++->rate == 0) fail_msg("%g is tried", t->rate);
            while (trial_lacks(&s, t)) t->results[t->seeds].loss = o->losses[t->seeds], t->seeds++;
            snprintf(ran + strlen(ran), 256 - strlen(ran), "%g:%zu ", t->rate, t->seeds);
        }
        assert_true(lacked > 0);
    }
    assert_false(search_next(&s)); /* asked again while others go on */
    return s;
}

static void check_search(const struct outcome *known, const double *rates, size_t widen, size_t seeds, const char *want,
                         double best, int edge) {
    char ran[256];
    struct search s = search_over(known, rates, widen, seeds, ran);
    assert_string_equal(ran, want);
    if (s.trials[search_best(&s)].rate != best) fail_msg("%s: %g", want, s.trials[search_best(&s)].rate);
    assert_int_equal(search_edge(&s), edge);
    for (size_t i = 0; i < s.n; i++)
        for (const struct outcome *o = known; o->rate; o++) /* each trial has its own */
            if (o->rate == s.trials[i].rate) assert_true(s.trials[i].results[0].loss == o->losses[0]);
    search_free(&s);
}

static const double two[] = {2e-3, 4e-3, 0}, three[] = {1e-3, 2e-3, 4e-3, 0};

/* The best rate sits on a plateau with its first seed. It was lost when one seed chose; by three it still looks worse,
 * but they do not agree on that. */
static void test_search_plateau(void **state) {
    (void)state;
    static const struct outcome known[] = {{1e-3, {4.30, 4.31, 4.29, 4.30, 4.30, 4.30}},
                                           {2e-3, {4.60, 4.20, 4.21, 4.20, 4.19, 4.20}},
                                           {4e-3, {5.00, 5.01, 5.03, 5, 5, 5}},
                                           {.rate = 0}};
    check_search(known, three, 0, 6, "0.001:3 0.002:3 0.004:3 0.001:6 0.002:6 ", 2e-3, 0);
    check_search(known, three, 0, 3, "0.001:3 0.002:3 0.004:3 ", 1e-3, -1);
    check_search(known, three, 0, 5, "0.001:3 0.002:3 0.004:3 0.001:5 0.002:5 ", 2e-3, 0);
    check_search(known, three, 0, 2, "0.001:2 0.002:2 0.004:2 ", 1e-3, -1);
}

/* A rate leaves if its differences to the best are beyond the report's threshold, here 4.30265 standard errors, however
 * far apart seeds are; one that remains alone needs no more of them. */
static void test_search_threshold(void **state) {
    (void)state;
    struct outcome known[] = {{1e-3, {6, 6.4, 5.9, 6, 6, 6}},
                              {2e-3, {4.0, 4.5, 3.7, 4, 4, 4}},
                              {4e-3, {4.1 - 0.0402, 4.6, 3.8 + 0.0402, 4.2, 4.2, 4.2}}, /* 4.309 */
                              {.rate = 0}};
    check_search(known, three, 0, 6, "0.001:3 0.002:3 0.004:3 ", 2e-3, 0);
    known[2].losses[0] = 4.1 - 0.0404; /* 4.287 */
    known[2].losses[2] = 3.8 + 0.0404;
    check_search(known, three, 0, 6, "0.001:3 0.002:3 0.004:3 0.002:6 0.004:6 ", 2e-3, 0);
}

/* Twice as many seeds each time; a rate that has left is no longer the best, whatever the others find later. */
static void test_search_rounds(void **state) {
    (void)state;
    static const struct outcome known[] = {{1e-3, {4.1, 4.2001, 4.0}},
                                           {2e-3, {4.0, 4.1, 3.9, 4.8, 4.8, 4.8, 4.8}},
                                           {4e-3, {4.02, 4.05, 3.93, 4.7, 4.7, 4.7, 4.7}},
                                           {.rate = 0}};
    check_search(known, three, 0, 7, "0.001:3 0.002:3 0.004:3 0.002:6 0.004:6 0.002:7 0.004:7 ", 4e-3, 1);
}

static void test_search_widens(void **state) {
    (void)state;
    static const struct outcome rising[] = {{2.5e-4, {3.9, 4}}, {5e-4, {3.8, 3.9}}, {1e-3, {4.0, 4.1}},
                                            {2e-3, {4.2, 4.2}}, {4e-3, {4.4, 4.5}}, {.rate = 0}};
    static const struct outcome falling[] = {{2e-3, {4.2, 4.2}}, {4e-3, {4.0, 4.1}},   {8e-3, {3.8, 3.8}},
                                             {1.6e-2, {4, 3.9}}, {3.2e-2, {4.6, 4.7}}, {.rate = 0}};
    static const struct outcome thirds[] = {{1e-3, {4.4, 4.4}}, {3e-3, {4.2, 4.2}}, {9e-3, {4.3, 4.3}}, {.rate = 0}};
    check_search(rising, two, 1, 2, "0.002:2 0.004:2 0.001:2 ", 1e-3, -1); /* no farther: still at the edge */
    check_search(rising, two, 0, 2, "0.002:2 0.004:2 ", 2e-3, -1);
    check_search(falling, two, 5, 2, "0.002:2 0.004:2 0.008:2 0.016:2 ", 8e-3, 0);
    check_search(falling, two, 1, 1, "0.002:1 0.004:1 0.008:1 ", 8e-3, 1);
    check_search(thirds, (const double[]){1e-3, 3e-3, 0}, 1, 2, "0.001:2 0.003:2 0.009:2 ", 3e-3, 0);
    check_search(rising, three, 2, 1, "0.001:1 0.002:1 0.004:1 0.0005:1 0.00025:1 ", 5e-4, 0);
}

/* With more seeds another rate may become the best: the edge is looked at each time. */
static void test_search_widens_late(void **state) {
    (void)state;
    static const struct outcome known[] = {{1e-3, {4.2, 4.3, 4.1, 4.2}},
                                           {2e-3, {4.0, 4.3, 4.0, 4.5}},
                                           {4e-3, {4.1, 4.2, 4.1, 3.9}},
                                           {8e-3, {4.3, 4.4, 4.2, 4.3}},
                                           {.rate = 0}};
    check_search(known, three, 1, 4, "0.001:3 0.002:3 0.004:3 0.001:4 0.002:4 0.004:4 0.008:4 ", 4e-3, 0);
}

static void test_search_diverges(void **state) {
    (void)state;
    const double inf = INFINITY;
    const struct outcome known[] = {{5e-4, {4.0, 4.1, 4.0, 4.0}},
                                    {1e-3, {inf, inf, inf, inf}},
                                    {2e-3, {4.0, 4.1, 4.3, 4.0}},
                                    {4e-3, {inf, 3.9, 3.8, 3.7}}, /* with one seed of three */
                                    {8e-3, {inf, inf, inf, inf}},
                                    {.rate = 0}};
    check_search(known, three, 0, 4, "0.001:3 0.002:3 0.004:3 ", 2e-3, 0);
    check_search(known, (const double[]){4e-3, 8e-3, 0}, 1, 2, "0.004:2 0.008:2 0.002:2 ", 2e-3, -1);
}

/* ---- Logs ---- */

#define TRAINED                                                                                                        \
    "{\"step\":1,\"tokens\":7,\"loss\":6,\"tokens_per_second\":100,\"seconds\":1.5}\n"                                 \
    "{\"step\":2,\"tokens\":14,\"loss\":5,\"tokens_per_second\":300,\"seconds\":2.0}\n"                                \
    "{\"step\":2,\"tokens\":14,\"val_loss\":5.5,\"val_bits_per_byte\":3.5}\n"                                          \
    "{\"step\":3,\"tokens\":22,\"loss\":4,\"tokens_per_second\":200,\"seconds\":3.25}\n"
#define VALIDATED "{\"step\":3,\"tokens\":22,\"val_loss\":4.5,\"val_bits_per_byte\":2.5}\n"
#define ENDED "{\"step\":3,\"tokens\":22,\"final_loss\":4.25,\"final_bits_per_byte\":2.75,\"final_windows\":9}\n"

static enum log_state read_text(const char *text, struct result *r, int64_t steps) {
    text_save("log.jsonl", text, strlen(text));
    return result_read(r, "log.jsonl", steps);
}

/* The table's loss is the final one; a curve holds validations alone. */
static void test_result(void **state) {
    (void)state;
    struct result r;
    assert_int_equal(read_text(TRAINED VALIDATED ENDED, &r, 3), LOG_FINISHED);
    assert_true(r.loss == 4.25 && r.bits_per_byte == 2.75 && r.tokens == 22 && r.rate == 200 && r.seconds == 3.25);
    assert_true(r.by_tokens.n == 2 && r.by_tokens.x[0] == 14 && r.by_tokens.x[1] == 22);
    assert_true(r.by_tokens.y[0] == 5.5 && r.by_tokens.y[1] == 4.5);
    assert_true(r.by_seconds.n == 2 && r.by_seconds.x[0] == 2.0 && r.by_seconds.x[1] == 3.25);
    assert_true(r.by_seconds.y[0] == 5.5 && r.by_seconds.y[1] == 4.5);
    result_free(&r);
}

static void test_result_unfinished(void **state) {
    (void)state;
    static const char whole[] = TRAINED VALIDATED ENDED;
    char cut[sizeof whole];
    struct result r;
    assert_int_equal(read_text(whole, &r, 4), LOG_UNFINISHED); /* not the last step */
    assert_int_equal(read_text(whole, &r, 2), LOG_UNFINISHED);
    assert_int_equal(read_text(TRAINED VALIDATED, &r, 3), LOG_UNFINISHED);
    assert_int_equal(read_text(TRAINED ENDED, &r, 3), LOG_UNFINISHED);
    memcpy(cut, whole, sizeof whole - 4);
    cut[sizeof whole - 4] = 0;
    assert_int_equal(read_text(cut, &r, 3), LOG_UNFINISHED);
    assert_true(r.by_tokens.n == 0 && r.by_tokens.x == NULL);
    assert_int_equal(result_read(&r, "none.jsonl", 3), LOG_UNFINISHED);
    /* earlier versions gave validations no tokens, and the last was over another text */
    assert_int_equal(read_text("{\"step\":3,\"tokens\":22,\"loss\":4,\"tokens_per_second\":2,\"seconds\":3}\n"
                               "{\"step\":3,\"val_loss\":4.5,\"val_bits_per_byte\":2.5,\"val_all\":true}\n", &r, 3),
                     LOG_OLD);
}

#define FIGURES_DE "{\"final_loss\":3.5,\"final_bits_per_byte\":2.5,\"tokens\":70}"
#define FIGURES_EN "{\"tokens\":80,\"final_bits_per_byte\":3,\"final_loss\":5}"

static void expect_part(const struct result *r, size_t i, const char *name, double loss, double bits_per_byte) {
    assert_true(i < r->n_parts);
    assert_string_equal(r->parts[i].name, name);
    assert_true(r->parts[i].loss == loss && r->parts[i].bits_per_byte == bits_per_byte);
}

/* The final figures of parts, by name whatever their order; not those of validations, and not an earlier end's. */
static void test_result_parts(void **state) {
    (void)state;
    struct result r;
    assert_int_equal(read_text(TRAINED "{\"step\":2,\"tokens\":14,\"final_loss\":1,\"parts\":{\"a\":" FIGURES_EN
                               ",\"en\":" FIGURES_EN ",\"de\":" FIGURES_EN "}}\n"
                               "{\"step\":3,\"tokens\":22,\"val_loss\":4.5,\"parts\":{\"no\":{\"val_loss\":9}}}\n"
                               "{\"step\":3,\"tokens\":22,\"final_loss\":4.25,\"final_bits_per_byte\":2.75,"
                               "\"parts\":{\"en\":" FIGURES_EN ",\"de\":" FIGURES_DE "}}\n", &r, 3), LOG_FINISHED);
    assert_int_equal(r.n_parts, 2);
    expect_part(&r, 0, "de", 3.5, 2.5);
    expect_part(&r, 1, "en", 5, 3);
    assert_true(r.loss == 4.25 && r.bits_per_byte == 2.75);
    result_free(&r);
    assert_true(r.n_parts == 0 && !r.parts);
    /* a figure that is null (not a number) or missing is none, not 0 */
    assert_int_equal(read_text(TRAINED VALIDATED "{\"step\":3,\"tokens\":22,\"final_loss\":4.25,\"parts\":"
                               "{\"x\":{\"final_loss\":null}}}\n", &r, 3), LOG_FINISHED);
    assert_true(r.n_parts == 1 && isnan(r.parts[0].loss) && isnan(r.parts[0].bits_per_byte));
    result_free(&r);
    assert_int_equal(read_text(TRAINED VALIDATED ENDED, &r, 3), LOG_FINISHED);
    assert_true(r.n_parts == 0 && !r.parts);
    result_free(&r);
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

/* P2's sides: experts of three matrices, in whole numbers at the same cost; every run is of that block. */
static void test_block_program(void **state) {
    (void)state;
    run("compare --train train --steps 10 --out llama --block llama --seeds 2 --lrs 2e-3 --channels 24 --attn-heads 2 "
        "--seq 16 --vocab 300 --batch 2 --threads 1 text");
    run("head -1 llama/report.md | grep -q '(`--block llama`)$' && "
        "grep -q '^| SMoE, top-1 of 8 | 1 | 8 | 1 | 64 | .* | 36864 (+0.00%%) | 4608 (+0.00%%) |' llama/report.md && "
        "grep -q '^| dense | 1 | 1 | 1 | 64 | .* | 4608 (-87.50%%) | 4608 (+0.00%%) |' llama/report.md && "
        "grep -q '^| fine-.* | 1 | 16 | 2 | 32 | .* | 36864 (+0.00%%) | 4608 (+0.00%%) |' llama/report.md && "
        "grep -q '^| MH-MoE, H = 2 | 2 | 62 | 3 | 16 | .* | 36864 (+0.00%%) | 4608 (+0.00%%) |' llama/report.md && "
        "grep -q '^| MH-MoE, H = 3 | 3 | 93 | 3 | 16 | .* | 36864 (+0.00%%) | 4608 (+0.00%%) |' llama/report.md && "
        "grep -q '^| MH-MoE as in P1.* | 4 | 8 | 1 | 256 | ' llama/report.md");
    run("cat llama/*-lr*/config > configs && test $(grep -c '^block *= *llama$' configs) = 12 && "
        "test $(grep -c '^activation *= *swiglu$' configs) = 12 && test $(grep -c '^norm *= *rmsnorm$' configs) = 12");
}

static void refuse_compare(int code, const char *says, const char *command) {
    const int got = command_run(command);
    if (got != code || !strstr(errors, says) || strncmp(errors, "compare: ", 9) != 0)
        fail_msg("exit code %d: %s\n%s", got, command, errors);
}

#define SEARCHED                                                                                                  \
    "--models smoe --seeds 2 --lrs 2e-3,4e-3 --channels 24 --attn-heads 2 --seq 16 --vocab 300 --batch 2 "        \
    "--threads 1 --steps 20 text "

/* In 20 steps a higher rate is better, so that the search goes on upwards; interrupted in that, it goes the same
 * way. */
static void test_search_program(void **state) {
    (void)state;
    run("compare --train train --out searched --widen 2 " SEARCHED);
    assert_non_null(strstr(errors, "at most 8 runs of 20 steps\n"));
    assert_non_null(strstr(errors, "[8/8] smoe, lr 0.016, seed 2"));
    run("grep -q '^| SMoE, top-1 of 8 | 0.002: .* (2); 0.004: .* (2); 0.008: .* (2); 0.016: .* (2) | ' "
        "searched/report.md && test $(grep -c ,search, searched/report.csv) = 6 && "
        "test $(grep -c ,final, searched/report.csv) = 2 && "
        "! ls searched/*lr0.032* 2> /dev/null && ! grep -q ',search,0.016,' searched/report.csv");
    run("printf '%%s\\n' '#!/bin/sh' 'case \"$*\" in *lr0.008-seed2*) kill -TERM $PPID; sleep 9;; "
        "*) exec train \"$@\";; esac' > searching && chmod +x searching");
    assert_int_equal(command_run("compare --train ./searching --out half --widen 2 " SEARCHED), 128 + 15);
    run("compare --train train --out half --widen 2 " SEARCHED);
    assert_null(strstr(errors, "lr 0.004"));
    assert_non_null(strstr(errors, "[6/8] smoe, lr 0.008, seed 2"));
    run(COMPUTED "searched/report.csv > s; " COMPUTED "half/report.csv | cmp - s");
    /* shorter searches: then both seeds of the whole length */
    run("compare --train train --out shorter --widen 0 --search-fraction 0.5 " SEARCHED);
    assert_non_null(strstr(errors, "at most 6 runs of 20 steps\n"));
    assert_non_null(strstr(errors, "[6/6] smoe, lr 0.004, seed 2"));
    run("test $(grep -c ',search,.*,10,' shorter/report.csv) = 4 && test $(grep -c ',final,0.004,.*,20,' "
        "shorter/report.csv) = 2");
}

/* More seeds go on from what is done, and find what they would have found at once. */
static void test_seeds_raised(void **state) {
    (void)state;
    run("compare --train train --out searched --widen 2 " SEARCHED "--seeds 4");
    assert_non_null(strstr(errors, "compare: searched/plan.json: made for 2 seeds; goes on with 4\n"));
    assert_null(strstr(errors, "seed 1:"));
    assert_null(strstr(errors, "seed 2:"));
    assert_non_null(strstr(errors, "smoe, lr 0.002, seed 3:"));
    assert_non_null(strstr(errors, ", seed 4:"));
    run("compare --train train --out four --widen 2 " SEARCHED "--seeds 4");
    run(COMPUTED "searched/report.csv > s; " COMPUTED "four/report.csv | cmp - s && "
        "grep -q '4 pairs' searched/report.md");
    refuse_compare(EXIT_MISMATCH, "searched/plan.json: a plan for something else (seeds: got 3, it has 4); give the ",
                   "compare --train train --out searched --widen 2 " SEARCHED "--seeds 3");
}

/* A script in the place of ./train, for the runs in `out`; what is before them is ./train's. */
static void script_write(const char *name, const char *out, const char *lines) {
    run("cat > %s << 'END' && chmod +x %s\n#!/bin/sh\n"
        "case \"$*\" in *out=%s/*-seed[0-9]*) ;; *) exec train \"$@\" ;; esac\n%s\nEND",
        name, name, out, lines);
}

/* Runs beside each other find what they find in turn, and the report says so. */
static void test_jobs(void **state) {
    (void)state;
    run("compare --train train --steps 20 --out beside --jobs 3 " TINY);
    assert_non_null(strstr(errors, "[4/4] "));
    run(COMPUTED "beside/report.csv | cmp - a && "
        "grep -q '^3 runs beside each other.* under that load' beside/report.md");
}

/* As many at a time as were asked for, and not more: each waits for two others, and notes if it is a fourth. */
static void test_overlap(void **state) {
    (void)state;
    script_write("crowded", "crowd", "echo > here.$$; i=0\n"
                 "until test -e full || test $(ls here.* | wc -l) = 3; do i=$((i + 1)); test $i -lt 500 || exit 3\n"
                 "sleep 0.02; done\n"
                 "echo > full; sleep 0.3; test $(ls here.* | wc -l) -le 3 || echo > toomany\n"
                 "train \"$@\"; code=$?; rm here.$$; exit $code");
    run("compare --train ./crowded --steps 20 --out crowd --jobs 3 " TINY);
    run("test -e full && ! test -e toomany && " COMPUTED "crowd/report.csv | cmp - a");
}

/* The first run fails. One reads of it at once, the others are done, and the same command does what is missing. */
static void test_failing(void **state) {
    (void)state;
    script_write("failing", "fails", "if mkdir first 2> /dev/null; then echo no luck; exit 3; fi\n"
                 "trap 'echo > told' TERM; sleep 0.3\nexec train \"$@\"");
    assert_int_equal(command_run("compare --train ./failing --steps 20 --out fails --jobs 2 " TINY), EXIT_INPUT);
    const char *note = strstr(errors, "compare: note: fails/"), *done = strstr(errors, "[1/4] ");
    assert_true(note && done && note < done);
    assert_non_null(strstr(note, "-steps20: exit code 3: no luck (all of it in fails/"));
    assert_true(strstr(note, "/train.log); the others go on\n") < done);
    assert_non_null(strstr(errors, "[3/4] "));
    const char *last = strrchr(errors, '[');
    assert_non_null(strstr(last, "\ncompare: fails/"));
    run("! test -e told && ! test -e fails/report.md && test $(grep -l final_loss fails/*/log.jsonl | wc -l) = 3");
    run("compare --train train --steps 20 --out fails --jobs 2 " TINY);
    assert_non_null(strstr(errors, "[4/4] "));
    assert_null(strstr(errors, "[3/4] "));
    run(COMPUTED "fails/report.csv | cmp - a");
}

/* Two fail, in turn: the first is the call's. */
static void test_failing_twice(void **state) {
    (void)state;
    script_write("twice", "twofail", "case \"$*\" in *out=twofail/smoe*seed1-*) echo no luck; exit 3 ;;\n"
                 "*out=twofail/smoe*seed2-*) echo no disk; exit 4 ;; esac\nexec train \"$@\"");
    assert_int_equal(command_run("compare --train ./twice --steps 20 --out twofail " TINY), EXIT_INPUT);
    assert_non_null(strstr(errors, "seed2-steps20: exit code 4: no disk (all of it in "));
    assert_non_null(strstr(errors, "[2/4] mhmoe-h2, lr 0.002, seed 2"));
    const char *last = strrchr(errors, '[');
    assert_non_null(strstr(last, "seed1-steps20: exit code 3: no luck"));
    assert_null(strstr(last, "no disk"));
}

/* Two at step 7 of 20 when the call is told to stop; the next goes on with both, to the same bits. */
static void test_jobs_stopped(void **state) {
    (void)state;
    script_write("halfway", "both", "train --until 7 \"$@\"; echo > half.$$; i=0\n"
                 "until test $(ls half.* | wc -l) = 2; do i=$((i + 1)); test $i -lt 500 || exit 3; sleep 0.02; done\n"
                 "if mkdir told 2> /dev/null; then kill -TERM $PPID; fi; sleep 9");
    assert_int_equal(command_run("compare --train ./halfway --steps 20 --out both --jobs 2 " TINY), 128 + 15);
    assert_non_null(strstr(errors, "compare: both: stopped by signal 15; the same command goes on from here\n"));
    assert_null(strstr(errors, "go on\n")); /* being stopped is no failure */
    run("test $(ls both/*-seed*/last.safetensors | wc -l) = 2");
    run("compare --train train --steps 20 --out both --jobs 2 " TINY);
    run("test $(grep -l 'step 7 of 20' both/*-seed*/train.log | wc -l) = 2 && " COMPUTED "both/report.csv | cmp - a");
}

/* Parts on several machines do every run once; put together they are what one machine finds. */
static void test_parts(void **state) {
    (void)state;
    run("compare --train train --steps 20 --out first3 --part 1/3 " TINY);
    assert_non_null(strstr(errors, "compare: first3: part 1/3 is done, and 2 runs of other parts are not here; with "));
    run("compare --train train --steps 20 --out second3 --jobs 2 --part 2/3 " TINY);
    run("compare --train train --steps 20 --out third3 --part 3/3 " TINY);
    run("! ls first3/report.md second3/report.md third3/report.md 2> /dev/null && "
        "test $(ls first3 | grep -c seed) = 2 && test $(ls first3 second3 third3 | grep seed | sort -u | wc -l) = 4");
    run("cp -r second3/*-seed* third3/*-seed* first3 && "
        "compare --train train --steps 20 --out first3 --part 1/3 " TINY);
    assert_null(strstr(errors, "/4] "));
    run(COMPUTED "first3/report.csv | cmp - a");
    run("rm first3/report.* && compare --train train --steps 20 --out first3 " TINY "&& " COMPUTED
        "first3/report.csv | cmp - a");
}

/* A trainer that knows parts, made of one that does not: it notes what it is asked for, trains on `text`, and ends
 * with figures of two parts, larger for larger seeds. */
static void parted_write(void) {
    run("cat > parted << 'END' && chmod +x parted\n"
        "#!/bin/sh\necho \"$*\" >> asked; out= seed=\n"
        "for a; do shift; case $a in --part*|*=text) ;; *) set -- \"$@\" \"$a\";; esac\n"
        "case $a in --out=*) out=${a#*=};; --seed=*) seed=${a#*=};; esac; done\n"
        "train \"$@\" text || exit; test -n \"$out\" || exit 0\n"
        "figures() { echo '\"final_loss\":'$1',\"final_bits_per_byte\":'$1; }\n"
        "all=$(figures $((seed + 1)).5) en=$(figures $seed.25) de=$(figures $((seed + 2)).75)\n"
        "sed -i 's/\"final_loss.*/'$all',\"parts\":{\"en\":{'$en'},\"de\":{'$de'}}}/' $out/log.jsonl\nEND");
}

#define PARTED                                                                                                      \
    "compare --train ./parted --study languages --models smoe,xmoe --seeds 2 --lrs 2e-3 --channels 24 "             \
    "--attn-heads 2 --seq 16 --vocab 300 --batch 2 --threads 1 --steps 20 --out "

/* What is said of parts reaches every ./train; what they end with, the report. All of it belongs to the plan. */
static void test_corpus_parts(void **state) {
    (void)state;
    static const char *const others[][2] = {
        {"--part-alpha 0.5 en=text de=text", "parts: got false, it has true"},
        {"--parts --part-alpha 0.75 en=text de=text", "part-alpha: got \"0.75\", it has \"0.5\""},
        {"--parts en=text de=text", "part-alpha: got null, it has \"0.5\""},
        {"--parts --part-alpha 0.5 --part-weights en=1,de=2 en=text de=text",
         "part-weights: got \"en=1,de=2\", it has null"},
        {"--parts --part-alpha 0.5 en=text fr=text",
         "corpora: got [\"en=text\", \"fr=text\"], it has [\"en=text\", \"de=text\"]"},
    };
    parted_write();
    run(PARTED "parted.d --parts --part-alpha 0.5 en=text de=text");
    /* a look at the corpus, two models measured, four runs */
    run("test $(wc -l < asked) = 7 && "
        "test $(grep -c -- ' --parts --part-alpha=0.5 .* -- en=text de=text$' asked) = 7");
    run("grep -Fq '| SMoE, top-1 of 8 | 4.2500 ± 0.7071 | 1.7500 ± 0.7071 | 3.0000 ± 0.7071 | baseline |' "
        "parted.d/report.md && grep -q '^| X-MoE.* | +0.0000 | 0.0000 | not told apart |$' parted.d/report.md");
    run("head -1 parted.d/report.csv | grep -q ',final_loss_de,bits_per_byte_de,final_loss_en,bits_per_byte_en$' && "
        "test $(grep -c ',3.75,3.75,1.25,1.25$' parted.d/report.csv) = 2");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char *command = string_format(PARTED "parted.d %s", others[i][0]);
        char *says = string_format("parted.d/plan.json: a plan for something else (%s); give ", others[i][1]);
        refuse_compare(EXIT_MISMATCH, says, command);
        free(command);
        free(says);
    }
    run(PARTED "parted.d --parts --part-alpha 0.5 en=text de=text && test $(wc -l < asked) = 7");
    run(PARTED "weighted.d --part-weights en=1,de=2 en=text de=text");
    run("test $(grep -c -- ' --part-weights=en=1,de=2 .* -- en=text de=text$' asked) = 7");
}

/* With ./train itself: report.csv has what the run's log ends with, and the loss is the mean of the parts'. */
static void test_corpus_parts_trained(void **state) {
    (void)state;
    run("mkdir -p langs/de langs/en; head -200 text > langs/en/a.txt; tail -150 text | tr a-m A-M > langs/de/b.txt");
    run("compare --train train --study languages --models smoe,mhmoe-h4 --seeds 2 --lrs 2e-3 --channels 24 "
        "--attn-heads 2 --seq 16 --vocab 300 --batch 2 --threads 1 --steps 20 --out trained --parts --part-alpha 0.5 "
        "langs");
    run("grep -q '^Corpus: the parts in `langs`\\. ' trained/report.md && grep -q 'has 2 parts, .*--part-alpha 0.5`' "
        "trained/report.md && grep -q '^| Bits per byte | de | en | mean |' trained/report.md");
    run("tail -n +2 trained/report.csv | awk -F, '{ m = ($17 + $19) / 2 - $12; b = ($18 + $20) / 2 - $14\n"
        "if (m < -1e-6 || m > 1e-6 || b < -1e-6 || b > 1e-6 || $17 == $19) exit 1; n++ } END { exit n != 4 }'");
    run("log=trained/smoe-lr0.002-seed1-steps20/log.jsonl line=$(grep ',final,0.002,1,' trained/report.csv | head -1)\n"
        "for i in 1 2; do own=$(tail -1 $log | grep -o '\"final_loss\":[0-9.]*' | sed -n $((i + 1))p | cut -d: -f2)\n"
        "awk \"BEGIN { d = $own - $(echo $line | cut -d, -f$((15 + 2 * i))); exit d < -1e-6 || d > 1e-6 }\" || exit; "
        "done");
}

/* A race goes on only when all parts of its round are there; of a finished run its log is enough. */
static void test_parts_search(void **state) {
    (void)state;
    const char *left = "compare --train train --out left --widen 2 --part 1/2 " SEARCHED;
    const char *right = "compare --train train --out right --widen 2 --part 2/2 " SEARCHED;
    const char *exchange = "for f in left/*-seed*/log.jsonl right/*-seed*/log.jsonl; do for to in left right; do\n"
                           "name=$(basename $(dirname $f)); mkdir -p $to/$name\n"
                           "test -e $to/$name/log.jsonl || cp $f $to/$name; done; done";
    const int dirs[] = {2, 5, 7}; /* in the first, of 4, 6 and 8 */
    for (int round = 0; round < 3; round++) { /* 2 rates, then one beyond, then another */
        run("%s", left);
        assert_non_null(strstr(errors, "compare: left: part 1/2 is done, and "));
        run("%s", right);
        assert_non_null(strstr(errors, "compare: right: part 2/2 is done, and "));
        run("test $(ls left | grep -c seed) = %d", dirs[round]);
        run("%s", exchange);
    }
    run("%s && %s && " COMPUTED "left/report.csv > s; " COMPUTED "right/report.csv | cmp - s && " COMPUTED
        "half/report.csv | cmp - s", left, right);
}

/* A run without its end is done again; one of an earlier version, whose loss means something else, is not taken in. */
static void test_left_half_way(void **state) {
    (void)state;
    run("sed -i '/final_loss/d' cut/smoe-lr0.002-seed2-steps20/log.jsonl");
    run("compare --train train --steps 20 --out cut " TINY);
    assert_non_null(strstr(errors, "smoe, lr 0.002, seed 2:"));
    assert_null(strstr(errors, "seed 1:"));
    run(COMPUTED "cut/report.csv | cmp - a");
    run("sed -i '/final_loss/d; /val_loss/s/\"tokens\":[0-9]*,//' cut/smoe-lr0.002-seed2-steps20/log.jsonl && "
        "cp cut/smoe-lr0.002-seed2-steps20/log.jsonl before && "
        "sed -i '/final_loss/d' cut/mhmoe-h2-lr0.002-seed2-steps20/log.jsonl");
    assert_int_equal(command_run("compare --train train --steps 20 --out cut " TINY), EXIT_INPUT);
    assert_non_null(strstr(errors, "\ncompare: cut/smoe-lr0.002-seed2-steps20/log.jsonl: from an earlier version (got "
                                   "val_loss without tokens, want both, and final_loss); remove "
                                   "cut/smoe-lr0.002-seed2-steps20\n"));
    assert_null(strstr(errors, "seed 2")); /* after it nothing is begun */
    run("cmp before cut/smoe-lr0.002-seed2-steps20/log.jsonl && rm -r cut/smoe-lr0.002-seed2-steps20");
    run("compare --train train --steps 20 --out cut " TINY);
    run(COMPUTED "cut/report.csv | cmp - a");
}

/* A real signal reaches real children, which save, and each of them once: a second would end it unsaved. Those with
 * seed 2 are slow to save, and count. */
static void test_signal(void **state) {
    (void)state;
    run("printf '%%s\\n' '#!/bin/sh' 'case \"$*\" in *out=long/*-seed2-*) n=0; trap \"n=\\$((n + 1))\" TERM; "
        "sleep 99 & echo > slow$$; wait; kill $!; sleep 1 & wait $!; echo $n > slow$$; exit 143;; "
        "*) exec train \"$@\";; esac' > slowly && chmod +x slowly");
    run("compare --train ./slowly --steps 1000000 --out long --jobs 4 " TINY "& pid=$! i=0\n"
        "until test $(grep -ls '\"step\":5,' long/*-seed1-*/log.jsonl | wc -l) = 2 && test $(ls slow?* | wc -l) = 3\n"
        "do kill -0 $pid && test $((i += 1)) -lt 1000 || { kill $pid; exit 1; }; sleep 0.02; done\n"
        "kill -TERM $pid; wait $pid; test $? = 143 && test $(ls long/*-seed1-*/last.safetensors | wc -l) = 2 && "
        "test $(cat slow[0-9]* | tr -d '\\n') = 11");
}

/* All that a plan fixes is refused by name, with both values. */
static void test_plan_fixes(void **state) {
    (void)state;
    static const char *const options[][3] = {
        {"minutes", "6.0", "5.0"},    {"steps", "21", "20"},       {"lrs", "\"1e-3\"", "\"2e-3\""},
        {"widen", "0", "1"},          {"warmup", "3", "0"},        {"search-fraction", "0.5", "1.0"},
        {"channels", "48", "24"},     {"batch", "3", "2"},         {"eval-windows", "63", "64"},
        {"jobs", "2", "1"},           {"threads", "2", "1"},       {"mhmoe", "\"--z-weight=1\"", "null"},
        {"common", "\"--clip=1\"", "null"},
        {"models", "\"smoe\"", "\"smoe,mhmoe-h2\""},
        {"block", "\"llama\"", "\"" BLOCK_DEFAULT "\""},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        char *says = string_format("compare: whole/plan.json: a plan for something else (%s: got %s, it has %s); give "
                                   "the same options, or another --out\n",
                                   options[i][0], options[i][1], options[i][2]);
        char *command = string_format("compare --train train --steps 20 --out whole " TINY "--%s=%s", options[i][0],
                                      options[i][1]);
        refuse_compare(EXIT_MISMATCH, says, command);
        free(command);
        free(says);
    }
    refuse_compare(EXIT_MISMATCH, "(vocab: got 400, it has 300; batch: got 4, it has 2);",
                   "compare --train train --steps 20 --out whole " TINY "--batch 4 --vocab 400");
    run("cp -r whole older && sed -i '/\"widen\"/d' older/plan.json");
    refuse_compare(EXIT_MISMATCH,
                   "older/plan.json: from an earlier version (widen: got 1, it has none); remove older, or give ",
                   "compare --train train --steps 20 --out older " TINY);
}

static void test_refusals(void **state) {
    (void)state;
    refuse_compare(EXIT_MISMATCH, "(steps: got 30, it has 20); give the same options, or another --out",
                   "compare --train train --steps 30 --out whole " TINY);
    refuse_compare(EXIT_MISMATCH, "corpora: got [\"text\", \"text\"]",
                   "compare --train train --steps 20 --out whole " TINY "text");
    refuse_compare(EXIT_USAGE, "--lrs: bad value (got '1,x'", "compare --lrs 1,x");
    refuse_compare(EXIT_USAGE, "--part: bad value (got '3/2', want I/N with I from 1 to N", "compare --part 3/2");
    refuse_compare(EXIT_USAGE, "--part 1/2: machines would plan different numbers of steps; give --steps\n",
                   "compare --train train --out new --part 1/2 " TINY);
    refuse_compare(EXIT_USAGE, "mhmoe-h2 is compared with smoe; add it", "compare --models mhmoe-h2");
    refuse_compare(EXIT_USAGE, "--channels 20: mhmoe-h2 has no whole width and number of experts at the cost of smoe; "
                   "use --channels 24\n", "compare --train train --out new " TINY "--channels 20 --block llama");
    refuse_compare(EXIT_USAGE, "not all of them are in --study main", "compare --models smoe,mhmoe");
    refuse_compare(EXIT_USAGE, "cannot start none", "compare --train none --out new " TINY);
    refuse_compare(EXIT_INPUT, "out of nothing", "compare --train train --out new " TINY "'out of nothing'");
    assert_int_equal(command_run("compare --train train --minutes 0.01 --out new " TINY "--seeds 1000"), EXIT_USAGE);
    assert_non_null(strstr(errors, "compare: --minutes 0.01: not enough for 2000 runs of 10 steps"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moments), cmocka_unit_test(test_paired), cmocka_unit_test(test_student),
        cmocka_unit_test(test_verdict), cmocka_unit_test(test_crossing), cmocka_unit_test(test_search_plateau),
        cmocka_unit_test(test_search_threshold), cmocka_unit_test(test_search_rounds),
        cmocka_unit_test(test_search_widens), cmocka_unit_test(test_search_widens_late),
        cmocka_unit_test(test_search_diverges), cmocka_unit_test(test_result),
        cmocka_unit_test(test_result_unfinished), cmocka_unit_test(test_result_parts), cmocka_unit_test(test_program),
        cmocka_unit_test(test_block_program), cmocka_unit_test(test_search_program),
        cmocka_unit_test(test_seeds_raised), cmocka_unit_test(test_jobs), cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_failing), cmocka_unit_test(test_failing_twice), cmocka_unit_test(test_jobs_stopped),
        cmocka_unit_test(test_parts), cmocka_unit_test(test_parts_search), cmocka_unit_test(test_corpus_parts),
        cmocka_unit_test(test_corpus_parts_trained),
        cmocka_unit_test(test_left_half_way),
        cmocka_unit_test(test_signal), cmocka_unit_test(test_plan_fixes), cmocka_unit_test(test_refusals),
    };
    if (!workplace_enter()) return EXIT_OUTPUT;
    return cmocka_run_group_tests(tests, NULL, workplace_remove);
}
