/* What a comparison makes of its results: tables, CSV and plots of made-up runs, worked out by hand. Final losses and
 * validations are unlike everywhere, and so are the seeds', so that one taken for another shows. */
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "command.h"
#include "study/compare_report.h"

enum { MODELS = 4, SEEDS = 3, RATES = 3, POINTS = 3 };

/* A run's final loss, and its validations at 1000, 2000, 3000 tokens and `pace` times 10, 20, 30 seconds. */
struct made {
    double loss, validations[POINTS], pace;
};

/* Differences to SMoE by seed: dense -0.10, -0.05, -0.06, which is -4.58 standard errors; fine 0.0598, 0.1,
 * 0.1402: 4.309 of them; H = 2 0.0596, 0.1, 0.1404: 4.287. Student's t needs 4.303. Paired in any other way, none is
 * told apart. */
static const struct made made[MODELS][SEEDS] = {
    {{4.05, {6, 5, 4.0}, 1}, {4.25, {6, 5, 4.0}, 1}, {4.15, {6, 5, 4.0}, 1.3}},
    {{3.95, {6, 4.5, 3.5}, 2}, {4.20, {6, 4.5, 3.5}, 2}, {4.09, {6, 4.5, 3.5}, 2}},
    {{4.1098, {6, 5, 4.2}, 1}, {4.35, {6, 5, 4.3}, 1}, {4.2902, {6, 5, 4.1}, 1}},
    {{4.1096, {5.8, 5, 4.1}, 4}, {4.35, {5.8, 5, 4.1}, 4}, {4.2904, {5.8, 5, 4.1}, 4}},
};

struct made_up {
    struct request request;
    struct study study;
    double rates[RATES];
    struct model_result models[MODELS];
    struct comparison comparison;
};

static struct result made_result(const struct made *m, size_t model, size_t seed) {
    struct result r = {.loss = m->loss,
                       .bits_per_byte = m->loss / 2,
                       .tokens = 3000,
                       .rate = (double)(100 * (model + 1)) + (double[]){0, 50, 7}[seed],
                       .seconds = 30 * m->pace};
    for (int i = 0; i < POINTS; i++) {
        curve_add(&r.by_tokens, 1000 * (i + 1), m->validations[i]);
        curve_add(&r.by_seconds, 10 * (i + 1) * m->pace, m->validations[i]);
    }
    return r;
}

/* The search of model i: the second of three rates is the best, save for H = 2, whose third is. */
static struct search made_search(const struct made_up *u, size_t i) {
    struct search s = search_begin(u->rates, RATES, 0, SEEDS);
    s.seeds = SEEDS;
    for (size_t k = 0; k < RATES; k++) {
        s.trials[k].seeds = SEEDS;
        for (size_t seed = 0; seed < SEEDS; seed++)
            s.trials[k].results[seed] = (struct result){
                .loss = 5 + (k == (i == 3 ? 2 : 1) ? 0 : 0.25) + 0.125 * (double)seed, .bits_per_byte = 3 + (double)k,
                .tokens = 3000, .rate = 10, .seconds = 20};
    }
    return s;
}

static void made_open(struct made_up *u) {
    *u = (struct made_up){.request = {.out = "made", .seeds = SEEDS, .widen = 1, .jobs = 1, .vocab = 1024, .seq = 64,
                                      .layers = 2, .channels = 96, .moe_every = 2, .batch = 8, .eval_windows = 65,
                                      .search_fraction = 1, .steps = 6},
                          .study = {studies[0].name, studies[0].question, studies[0].models, MODELS},
                          .rates = {1e-3, 2e-3, 4e-3}};
    u->comparison = (struct comparison){&u->request, &u->study, u->rates, RATES, 6, u->models};
    for (size_t i = 0; i < MODELS; i++) {
        struct model_result *m = &u->models[i];
        const double cost = (double)(i + 1);
        *m = (struct model_result){.model = &u->study.models[i],
                                   .sizes = {.C = 96, .H = 1, .E = 8, .K = 1, .F = 384},
                                   .whole = {1000 * cost, 100 * cost},
                                   .layer = {10 * cost, cost},
                                   .search = made_search(u, i),
                                   .finals = array_alloc(SEEDS, sizeof *m->finals)};
        for (size_t seed = 0; seed < SEEDS; seed++) m->finals[seed] = made_result(&made[i][seed], i, seed);
    }
}

static void made_close(struct made_up *u) {
    for (size_t i = 0; i < MODELS; i++) {
        search_free(&u->models[i].search);
        for (size_t seed = 0; seed < SEEDS; seed++) result_free(&u->models[i].finals[seed]);
        free(u->models[i].finals);
    }
}

/* Made-up runs of a corpus with parts: a run's figures there, less its mean. They are given in an order that is not
 * that of the columns; H = 2 does not know the last, and its names are in another order. */
static const struct {
    const char *name;
    double loss, bits_per_byte;
} made_parts[] = {{"de", 0.5, -0.25}, {"en.us", -1, 0.125}, {"zh-cn", 0.5, 0.125}};
enum { PARTS = sizeof made_parts / sizeof *made_parts };

static void parts_make(struct result *r, size_t n, bool backwards) {
    r->parts = array_alloc(n, sizeof *r->parts);
    for (size_t p = 0; p < n; p++) {
        const size_t at = backwards ? n - 1 - p : p;
        r->parts[r->n_parts++] = (struct part_result){string_format("%s", made_parts[at].name),
                                                      r->loss + made_parts[at].loss,
                                                      r->bits_per_byte + made_parts[at].bits_per_byte};
    }
}

/* Finals and what was searched for. */
static void made_part(struct made_up *u) {
    for (size_t i = 0; i < MODELS; i++)
        for (size_t seed = 0; seed < SEEDS; seed++) {
            parts_make(&u->models[i].finals[seed], i == 3 ? PARTS - 1 : PARTS, i == 3);
            for (size_t k = 0; k < RATES; k++) parts_make(&u->models[i].search.trials[k].results[seed], PARTS, false);
        }
}

static char text[1 << 16];

static void report_read(struct made_up *u, const char *name) {
    struct error err;
    if (!report_write(&u->comparison, &err)) fail_msg("%s", err.text);
    char *path = string_format("%s/%s", u->request.out, name);
    text_read(path, text, sizeof text);
    free(path);
}

static void expect(const char *line) {
    if (!strstr(text, line)) fail_msg("'%s' is not in\n%s", line, text);
}
static void expect_not(const char *line) {
    if (strstr(text, line)) fail_msg("'%s' is in\n%s", line, text);
}

static void test_results(void **state) {
    (void)state;
    struct made_up u;
    made_open(&u);
    report_read(&u, "report.md");
    /* Validations' mean curves end at 4.0, 3.5, 4.2, 4.1. SMoE is at 4.2 after 28, 28, 36.4 seconds; dense, twice as
     * slow, after 46; fine after 30 and 28.9, once never; H = 2 after 4 times 28.9. */
    expect("| model | best lr | final loss | perplexity | bits per byte | tokens/s | seconds to loss 4.2000 |");
    expect("| SMoE, top-1 of 8 | 0.002 | 4.1500 ± 0.1000 | 63.43 | 2.0750 | 107 | 30.8 |\n");
    expect("| dense | 0.002 | 4.0800 ± 0.1253 | 59.15 | 2.0400 | 207 | 46.0 |\n");
    expect("| fine-grained SMoE, top-2 | 0.002 | 4.2500 ± 0.1250 | 70.11 | 2.1250 | 307 | 29.4 (2 of 3 seeds) |\n");
    expect("| MH-MoE, H = 2 | 0.004 | 4.2500 ± 0.1252 | 70.11 | 2.1250 | 407 | 115.6 |\n");
    made_close(&u);
}

static void test_differences(void **state) {
    (void)state;
    struct made_up u;
    made_open(&u);
    report_read(&u, "report.md");
    expect("more than 4.303 standard errors from 0 (Student's t, 95%, 3 pairs)");
    expect("| dense | SMoE, top-1 of 8 | -0.0700 | 0.0153 | better | 3 rates × 3 seeds, best inside | "
           "3 rates × 3 seeds, best inside |\n");
    expect("| fine-grained SMoE, top-2 | SMoE, top-1 of 8 | +0.1000 | 0.0232 | worse | ");
    expect("| MH-MoE, H = 2 | SMoE, top-1 of 8 | +0.1000 | 0.0233 | not told apart | "
           "3 rates × 3 seeds, best at the edge | 3 rates × 3 seeds, best inside |\n");
    /* on the way: of the validations, none of which is a final loss */
    expect("| million tokens | 0.001 | 0.002 | 0.003 |\n");
    expect("| dense | +0.000 | -0.500 | -0.500 |\n");
    expect("| fine-grained SMoE, top-2 | +0.000 | +0.000 | +0.200 |\n");
    expect("| MH-MoE, H = 2 | -0.200 | +0.000 | +0.100 |\n");
    made_close(&u);
}

static void test_search(void **state) {
    (void)state;
    struct made_up u;
    made_open(&u);
    report_read(&u, "report.md");
    expect("Learning rates tried for each model over 6 steps: 0.001 0.002 0.004, each with the same seeds, 1 to 3 ");
    expect("| SMoE, top-1 of 8 | 0.001: 5.3750 ± 0.1250 (3); 0.002: 5.1250 ± 0.1250 (3); 0.004: 5.3750 ± 0.1250 "
           "(3) | "
           "0.002 | inside |\n");
    expect("| MH-MoE, H = 2 | 0.001: 5.3750 ± 0.1250 (3); 0.002: 5.3750 ± 0.1250 (3); 0.004: 5.1250 ± 0.1250 (3) | "
           "0.004 | the highest tried |\n");
    for (size_t i = 0; i < MODELS; i++) {
        struct trial *trials = u.models[i].search.trials;
        trials[0].seeds = 2;
        trials[0].results[0].loss = trials[0].results[1].loss = 4;
        trials[1].out = true;
    }
    report_read(&u, "report.md");
    expect("| SMoE, top-1 of 8 | 0.001: 4.0000 ± 0.0000 (2); 0.002: ");
    expect(" | 0.001 | the lowest tried |\n");
    expect(" 3 rates × 2 to 3 seeds, best at the edge |");
    u.comparison.n_rates = 1;
    for (size_t i = 0; i < MODELS; i++) {
        search_free(&u.models[i].search);
        u.models[i].search = search_begin(u.rates, 1, 0, SEEDS);
    }
    report_read(&u, "report.md");
    expect("Learning rate 0.001, not searched for, seeds 1 to 3.\n");
    expect("| better | one rate, not searched | one rate, not searched |\n");
    expect_not("## Search");
    made_close(&u);
}

/* The heading says what was compared, and of which block. */
static void test_heading(void **state) {
    (void)state;
    struct made_up u;
    made_open(&u);
    for (int block = 0; block < BLOCKS; block++) {
        u.request.block = block;
        u.request.common = block == BLOCK_LLAMA ? "--embedding-lr 4" : NULL;
        u.request.mhmoe = block == BLOCK_GPT2 ? "--renormalize" : NULL;
        report_read(&u, "report.md");
        assert_true(!!strstr(text, "\nAll models with `--embedding-lr 4`.\n") == (block == BLOCK_LLAMA));
        assert_true(!!strstr(text, "\nMH-MoE with `--renormalize`.\n") == (block == BLOCK_GPT2));
        char *want = string_format("# %s (`--block %s`)\n", studies[0].question, block_words[block]);
        assert_int_equal(strncmp(text, want, strlen(want)), 0);
        free(want);
    }
    made_close(&u);
}

/* A masked model has no bits per byte, and its steps are of examples. */
static void test_masked(void **state) {
    (void)state;
    struct made_up u;
    made_open(&u);
    struct study_model models[MODELS];
    memcpy(models, u.study.models, sizeof models);
    models[0].words = "--task masked --ffn smoe";
    u.study.models = models;
    for (size_t i = 0; i < MODELS; i++) u.models[i].model = &models[i];
    for (size_t i = 0; i < MODELS; i++)
        for (size_t s = 0; s < SEEDS; s++) {
            struct result *r = &u.models[i].finals[s];
            r->bits_per_byte = NAN;
            parts_make(r, PARTS, false);
        }
    report_read(&u, "report.md");
    expect("Corpus: emoji (the default).");
    expect("Every run: 6 steps of 8 examples, 48 examples in all, the same data");
    expect("What is filled in is of 3 kinds, each validated by itself; every loss is their plain mean.\n");
    expect("| Final loss | de | en.us | zh-cn | mean |");
    expect_not("| Bits per byte |");
    expect(" | - | 107 | ");
    expect_not(" nan |");
    expect_not("inf");
    expect_not("The corpus has");
    made_close(&u);
}

static void test_csv(void **state) {
    (void)state;
    struct made_up u;
    made_open(&u);
    report_read(&u, "report.csv");
    static const char start[] =
        "study,model,stage,lr,seed,steps,tokens,parameters,multiply_adds,layer_parameters,layer_multiply_adds,"
        "final_loss,"
        "perplexity,bits_per_byte,tokens_per_second,seconds\n"
        "main,smoe,search,0.001,1,6,3000,1000,100,10,1,5.25,190.566268,3,10,20\n"
        "main,smoe,search,0.001,2,6,3000,1000,100,10,1,5.375,215.939872,3,10,20\n";
    assert_int_equal(strncmp(text, start, strlen(start)), 0);
    expect("\nmain,smoe,search,0.004,3,6,3000,1000,100,10,1,5.5,244.691932,5,10,20\nmain,smoe,final,0.002,1,6,3000,");
    expect("\nmain,smoe,final,0.002,3,6,3000,1000,100,10,1,4.15,63.4340003,2.075,107,39\n");
    expect("\nmain,dense,final,0.002,2,6,3000,2000,200,20,2,4.2,66.686331,2.1,250,60\n");
    expect("\nmain,mhmoe-h2,final,0.004,1,6,3000,4000,400,40,4,4.1096,");
    expect("\nmain,mhmoe-h2,search,0.002,1,6,3000,");
    expect_not("main,smoe,search,0.002,"); /* those are the final runs */
    expect_not("main,mhmoe-h2,search,0.004,");
    u.request.search_fraction = 0.5; /* now they are others, of 3 steps */
    report_read(&u, "report.csv");
    expect("\nmain,smoe,search,0.002,2,3,3000,1000,100,10,1,5.125,");
    expect("\nmain,smoe,final,0.002,2,6,3000,");
    made_close(&u);
}

/* Models and parts: each figure where it belongs, the mean with its difference to the baseline. */
static void test_parts(void **state) {
    (void)state;
    struct made_up u;
    made_open(&u);
    made_part(&u);
    report_read(&u, "report.md");
    expect("\n## Parts\n");
    expect("\n| Final loss | de | en.us | zh-cn | mean | difference of the mean | standard error | verdict |\n"
           "| --- | --: | --: | --: | --: | --: | --: | --- |\n"
           "| SMoE, top-1 of 8 | 4.6500 ± 0.1000 | 3.1500 ± 0.1000 | 4.6500 ± 0.1000 | 4.1500 ± 0.1000 | "
           "baseline | | |\n"
           "| dense | 4.5800 ± 0.1253 | 3.0800 ± 0.1253 | 4.5800 ± 0.1253 | 4.0800 ± 0.1253 | -0.0700 | 0.0153 | "
           "better |\n"
           "| fine-grained SMoE, top-2 | 4.7500 ± 0.1250 | 3.2500 ± 0.1250 | 4.7500 ± 0.1250 | 4.2500 ± 0.1250 | "
           "+0.1000 | 0.0232 | worse |\n"
           "| MH-MoE, H = 2 | 4.7500 ± 0.1252 | 3.2500 ± 0.1252 | nan ± nan | 4.2500 ± 0.1252 | +0.1000 | 0.0233 | "
           "not told apart |\n");
    /* half of the losses, and so of their spread and differences */
    expect("\n| Bits per byte | de | en.us | zh-cn | mean | ");
    expect("| SMoE, top-1 of 8 | 1.8250 ± 0.0500 | 2.2000 ± 0.0500 | 2.2000 ± 0.0500 | 2.0750 ± 0.0500 | "
           "baseline |");
    expect("| dense | 1.7900 ± 0.0626 | 2.1650 ± 0.0626 | 2.1650 ± 0.0626 | 2.0400 ± 0.0626 | -0.0350 | 0.0076 | "
           "better |\n");
    expect("over the same 65 sequences of each part each time.\nThe corpus has 3 parts. Each is held out and validated "
           "by itself; every loss is the plain mean over the parts that are trained on, ");
    report_read(&u, "loss-tokens.svg");
    expect("Validation loss, mean over parts and seeds");
    expect("dense: 3.5 at 3000");
    made_close(&u);
}

/* Verdicts of the two figures are each its own: bits per byte of the dense model are made to vary. */
static void test_parts_verdicts(void **state) {
    (void)state;
    struct made_up u;
    made_open(&u);
    made_part(&u);
    u.models[1].finals[0].bits_per_byte += 0.25;
    report_read(&u, "report.md");
    expect(" | 4.0800 ± 0.1253 | -0.0700 | 0.0153 | better |\n");
    expect(" | 2.1233 ± 0.0922 | +0.0483 | 0.0758 | not told apart |\n"); /* 0.2, -0.025, -0.03 */
    made_close(&u);
}

static void test_parts_csv(void **state) {
    (void)state;
    struct made_up u;
    made_open(&u);
    made_part(&u);
    result_free(&u.models[2].finals[1]);
    u.models[2].finals[1] = result_diverged();
    report_read(&u, "report.csv");
    expect("tokens_per_second,seconds,final_loss_de,bits_per_byte_de,final_loss_en.us,bits_per_byte_en.us,"
           "final_loss_zh-cn,bits_per_byte_zh-cn\nmain,");
    expect("\nmain,smoe,search,0.004,3,6,3000,1000,100,10,1,5.5,244.691932,5,10,20,6,4.75,4.5,5.125,6,5.125\n");
    expect("\nmain,smoe,final,0.002,3,6,3000,1000,100,10,1,4.15,63.4340003,2.075,107,39,4.65,1.825,3.15,2.2,"
           "4.65,2.2\n");
    expect(",inf,inf,inf,nan,nan,inf,inf,inf,inf,inf,inf\nmain,fine,final,0.002,3,"); /* diverged, and so all of it */
    expect("2.0548,400,120,4.6096,1.8048,3.1096,2.1798,nan,nan\n");
    report_read(&u, "report.md");
    expect("| fine-grained SMoE, top-2 | inf ± "); /* of the first part */
    made_close(&u);
}

/* Where the corpus has none the report has nothing of them, and where its first runs diverged they are known from the
 * others. */
static void test_parts_known(void **state) {
    (void)state;
    struct made_up u;
    made_open(&u);
    report_read(&u, "report.md");
    expect("over the same 65 sequences of it each time.\n");
    expect_not("parts");
    expect_not("Parts");
    report_read(&u, "loss-seconds.svg");
    expect("Validation loss, mean over seeds");
    made_part(&u);
    for (size_t seed = 0; seed < SEEDS; seed++) {
        result_free(&u.models[0].finals[seed]);
        u.models[0].finals[seed] = result_diverged();
    }
    report_read(&u, "report.md");
    expect("| Final loss | de | en.us | zh-cn | mean |");
    expect("| dense | 4.5800 ± 0.1253 | ");
    made_close(&u);
}

/* The report says which corpus, and how often its parts were trained on. */
static void test_parts_heading(void **state) {
    (void)state;
    struct made_up u;
    char *named[] = {"en=x.txt", "de=y"};
    made_open(&u);
    made_part(&u);
    char *many[] = {"many/languages"};
    u.request.parts = true;
    u.request.corpora = many;
    u.request.n_corpora = 1;
    u.request.part_alpha = "0.5";
    report_read(&u, "report.md");
    expect("\nCorpus: the parts in `many/languages`. 2 blocks");
    expect("The corpus has 3 parts, trained on with `--part-alpha 0.5`. Each");
    u.request.parts = false;
    u.request.part_alpha = NULL;
    u.request.part_weights = "de=2,en=1";
    u.request.corpora = named;
    u.request.n_corpora = 2;
    report_read(&u, "report.md");
    expect("\nCorpus: `en=x.txt` `de=y`. 2 blocks");
    expect("\nThe final loss is over all held-out text; ");
    expect("The corpus has 3 parts, trained on with `--part-weights de=2,en=1`. Each");
    u.request.common = "--final-windows 60";
    report_read(&u, "report.md");
    expect("\nThe final loss is over a part of the held-out text; ");
    u.request.common = NULL;
    made_close(&u);
}

/* Each point of the plots says its value: the mean over the seeds. */
static void test_plots(void **state) {
    (void)state;
    struct made_up u;
    made_open(&u);
    report_read(&u, "loss-tokens.svg");
    static const char *const tokens[] = {"smoe: 6 at 1000", "smoe: 5 at 2000", "smoe: 4 at 3000",
                                         "dense: 4.5 at 2000", "dense: 3.5 at 3000", "fine: 4.2 at 3000",
                                         "mhmoe-h2: 5.8 at 1000", "mhmoe-h2: 4.1 at 3000", ">tokens<"};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) expect(tokens[i]);
    report_read(&u, "loss-seconds.svg");
    static const char *const seconds[] = {"smoe: 6 at 11<", "smoe: 5 at 22<", "smoe: 4 at 33<", "dense: 3.5 at 60<",
                                          "fine: 4.2 at 30<", "mhmoe-h2: 5 at 80<", ">seconds of training<"};
    for (size_t i = 0; i < sizeof seconds / sizeof *seconds; i++) expect(seconds[i]);
    made_close(&u);
}

/* A model of which a run diverged has no curve, no verdict and no part in the loss that all reach. */
static void test_diverged(void **state) {
    (void)state;
    struct made_up u;
    made_open(&u);
    result_free(&u.models[2].finals[1]);
    u.models[2].finals[1] = result_diverged();
    report_read(&u, "report.md");
    expect("seconds to loss 4.1000 |");
    expect("| fine-grained SMoE, top-2 | 0.002 | inf ");
    expect("| fine-grained SMoE, top-2 | SMoE, top-1 of 8 | +inf | ");
    expect(" | not told apart | 3 rates");
    expect_not("million tokens");
    report_read(&u, "loss-tokens.svg");
    expect("smoe: 4 at 3000");
    expect_not("fine: ");
    made_close(&u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_results), cmocka_unit_test(test_differences), cmocka_unit_test(test_search),
        cmocka_unit_test(test_heading), cmocka_unit_test(test_masked),
        cmocka_unit_test(test_csv),         cmocka_unit_test(test_plots),
        cmocka_unit_test(test_diverged),    cmocka_unit_test(test_parts),   cmocka_unit_test(test_parts_verdicts),
        cmocka_unit_test(test_parts_csv),   cmocka_unit_test(test_parts_known), cmocka_unit_test(test_parts_heading),
    };
    if (!workplace_enter() || mkdir("made", 0777) != 0) return EXIT_OUTPUT;
    return cmocka_run_group_tests(tests, NULL, workplace_remove);
}
