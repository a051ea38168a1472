/* What a comparison runs: how many steps fit, the command lines of its studies, and whether parity has whole numbers
 * for them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>
#include "../src/run/config.h"
#include "study/compare_study.h"

/* ---- The plan ---- */

static void test_plan(void **state) {
    (void)state;
    const struct timing models[] = {{0.1, 2}, {0.3, 3}};
    const struct stage none = {0}, once = {1, 1, 1}, twice = {2, 1, 1};
    /* 3 searches and 2 final runs: 0.4 * 5 N + 5 * 5 seconds; rounds cost nothing where runs are in turn */
    assert_int_equal(plan_steps(models, 2, (struct stage){3, 1, 1}, twice, 1, 225), 100);
    assert_int_equal(plan_steps(models, 2, (struct stage){3, 1, 2}, twice, 1, 224.9), 99);
    /* searches of a quarter: 0.4 * (0.75 + 3) N + 5 * 6 */
    assert_int_equal(plan_steps(models, 2, (struct stage){3, 0.25, 1}, (struct stage){3, 1, 1}, 1, 180), 100);
    /* two at a time: the search waits for its longest, 0.3 N + 3; the finals take half of 0.4 * 2 N + 5 * 2, and leave
     * a place idle for half of the shortest, 0.1 N + 2 */
    assert_int_equal(plan_steps(models, 2, once, twice, 2, 33 + 45 + 6.01), 100);
    assert_int_equal(plan_steps(models, 2, once, twice, 2, 33 + 45 + 5.99), 99);
    /* in three rounds of 8 runs in all: half of 0.4 * 8 N + 5 * 8, and three times half of 0.1 N + 2 */
    assert_int_equal(plan_steps(models, 2, (struct stage){8, 1, 3}, none, 2, 160 + 20 + 18.01), 100);
    assert_int_equal(plan_steps(models, 2, (struct stage){8, 1, 3}, none, 2, 160 + 20 + 17.99), 99);
    /* with a place for each: no sooner than the longest of each round, 0.3 N + 3; no search: once */
    assert_int_equal(plan_steps(models, 2, once, once, 100, 66.01), 100);
    assert_int_equal(plan_steps(models, 2, none, once, 100, 32.99), 99);
    assert_int_equal(plan_steps(models, 2, (struct stage){8, 1, 3}, once, 100, 4 * 33 + 0.01), 100);
    assert_true(plan_steps(models, 2, (struct stage){3, 1, 1}, twice, 1, 20) < 1);
    assert_int_equal(search_steps(100, 1), 100);
    assert_int_equal(search_steps(100, 0.25), 25);
    assert_int_equal(search_steps(20, 0.01), 1);
    assert_int_equal(eval_every(100), 10);
    assert_int_equal(eval_every(101), 11);
    assert_int_equal(eval_every(3), 1);
}

/* A plan allows for every rate with every seed, those that may come in, and a round for each thing that may happen. */
static void test_search_stage(void **state) {
    (void)state;
    struct request r = {.seeds = 3, .widen = 1, .search_fraction = 0.5};
    struct stage s = search_stage(&r, 2);
    assert_true(s.runs == 9 && s.fraction == 0.5 && s.rounds == 2);
    r.seeds = 7;
    r.widen = 2;
    s = search_stage(&r, 3);
    assert_true(s.runs == 35 && s.rounds == 5); /* 3, 6, 7 seeds, and two rates more */
    assert_int_equal(search_stage(&r, 1).runs, 0);
}

static void test_warmup(void **state) {
    (void)state;
    struct request r = {.warmup = 0};
    static const int64_t want[][2] = {{1, 0}, {10, 7}, {100, 70}, {357, 249}, {360, 250}, {2500, 250}, {6500, 650}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        assert_int_equal(warmup_steps(&r, want[i][0]), want[i][1]);
    r.warmup = 30;
    assert_int_equal(warmup_steps(&r, 1000), 30);
    assert_int_equal(warmup_steps(&r, 20), 20); /* a short search */
}

static void test_rates(void **state) {
    (void)state;
    double rates[3];
    assert_int_equal(rates_parse("1e-3,4e-3,0.002", rates, 3), 3);
    assert_true(rates[0] == 1e-3 && rates[1] == 2e-3 && rates[2] == 4e-3);
    static const char *const wrong[] = {"",        "x",   "1e-3,", "1e-3;2e-3", "-1",           "0",
                                        "1,2,3,4", "nan", "inf,1", "2,1,2e0",   "1,2,1.0000001"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (rates_parse(wrong[i], rates, 3) != 0) fail_msg("%s", wrong[i]);
}

static void test_part(void **state) {
    (void)state;
    size_t part, parts;
    assert_true(part_parse("2/3", &part, &parts) && part == 1 && parts == 3);
    assert_true(part_parse("1/1", &part, &parts) && part == 0 && parts == 1);
    assert_true(part_parse("12/12", &part, &parts) && part == 11 && parts == 12);
    assert_true(part_parse(NULL, &part, &parts) && part == 0 && parts == 1);
    static const char *const wrong[] = {"",     "2",     "2/",   "/2",   "0/2",  "3/2",  "1/0",
                                        "-1/2", "1/2/3", "1/2x", "1 /2", " 1/2", "+1/2", "1.5/2"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (part_parse(wrong[i], &part, &parts)) fail_msg("%s", wrong[i]);
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
    for (i++; strcmp(w.items[i], "--") != 0; i++) string_append(&joined, "%s%s", *joined ? " " : "", w.items[i]);
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
    check_models("languages", (const char *const[]){SMOE, "--ffn dense", "--ffn smoe --topk 1 --router cosine" MATCHED,
                                                    "--ffn smoe --topk 2" MATCHED, H2 MATCHED,
                                                    "--ffn mhmoe --topk 3 --moe-heads 3" MATCHED,
                                                    "--ffn mhmoe --topk 3 --moe-heads 4" MATCHED, NULL});
    check_models("pictures", (const char *const[]){
                                 "--task masked " SMOE, "--task masked --ffn dense",
                                 "--task masked --ffn smoe --topk 1 --router cosine" MATCHED,
                                 "--task masked " H2 MATCHED,
                                 "--task masked --ffn mhmoe --topk 3 --moe-heads 4" MATCHED,
                                 "--task masked --ffn mhmoe --topk 3 --moe-heads 8" MATCHED, NULL});
    for (size_t s = 0; study_words[s]; s++)
        assert_int_equal(study_is_masked(&studies[s]), strcmp(study_words[s], "pictures") == 0);
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
                                        "--steps=50",    "--warmup=35",
                                        "--lr=0.002",    "--batch=8",
                                        "--eval-every=5", "--eval-windows=64",
                                        "--sample-every=0", "--optimizer=adamw"};
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

/* --mhmoe reaches these models alone, --common all of them, before what is their own. Runs beside each other share the
 * processors. */
static void test_shares(void **state) {
    (void)state;
    struct request r = request;
    r.mhmoe = "--renormalize --z-weight=1e-3";
    r.common = "--embedding-lr 4";
    for (size_t i = 0; i < studies[0].n; i++) {
        const struct study_run run = {&studies[0].models[i], 0.002, 3, 50};
        const bool mhmoe = strncmp(run.model->name, "mhmoe", 5) == 0;
        struct words w = {0};
        command_start(&w, &r, &run, "D");
        assert_true(words_have(&w, "--renormalize") == mhmoe && words_have(&w, "--z-weight=1e-3") == mhmoe);
        size_t common = 0, own = 0;
        while (strcmp(w.items[common], "--embedding-lr") != 0) common++;
        while (strcmp(w.items[own], "--ffn") != 0) own++;
        assert_true(common < own);
        assert_string_equal(w.items[common + 1], "4");
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

/* How many words begin so. */
static size_t words_begin(const struct words *w, const char *start) {
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++) n += strncmp(w->items[i], start, strlen(start)) == 0;
    return n;
}

/* What is said of a corpus's parts reaches every model of every study as it is, and nothing does that was not said. */
static void test_corpus_parts(void **state) {
    (void)state;
    static char *said[] = {"en=a b.txt", "de=x=y"};
    struct request r = request;
    for (int given = 0; given < 16; given++) {
        r.parts = given & 1;
        r.part_alpha = given & 2 ? "0.50" : NULL;
        r.part_weights = given & 4 ? "en=2,de=1" : NULL;
        r.corpora = said;
        r.n_corpora = given & 8 ? 2 : 0;
        for (size_t s = 0; study_words[s]; s++)
            for (size_t i = 0; i < studies[s].n; i++) {
                struct words w = {0};
                command_start(&w, &r, &(struct study_run){&studies[s].models[i], 0.002, 3, 50}, "D");
                const size_t end = w.n - r.n_corpora;
                assert_true(words_have(&w, "--parts") == r.parts);
                assert_true(words_have(&w, "--part-alpha=0.50") == !!r.part_alpha);
                assert_true(words_have(&w, "--part-weights=en=2,de=1") == !!r.part_weights);
                assert_int_equal(words_begin(&w, "--part"), r.parts + !!r.part_alpha + !!r.part_weights);
                assert_string_equal(w.items[end - 1], "--");
                for (size_t c = 0; c < r.n_corpora; c++) assert_string_equal(w.items[end + c], said[c]);
                words_free(&w);
            }
    }
}

/* --block reaches every model, and sets how wide experts are: as a dense layer, whatever the block makes of that. */
static void test_block(void **state) {
    (void)state;
    static const struct {
        int block, channels;
        size_t hidden;
        char *common;
    } cases[] = {
        {BLOCK_GPT2, 96, 384, NULL},   {BLOCK_GPT2, 102, 408, NULL},  {BLOCK_GPT2, 96, 256, "--activation swiglu"},
        {BLOCK_LLAMA, 96, 256, NULL},  {BLOCK_LLAMA, 192, 512, NULL}, {BLOCK_LLAMA, 96, 384, "--activation gelu"},
        {BLOCK_LLAMA, 100, 264, NULL}, {BLOCK_MODERN, 96, 384, "--clip 2"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        for (size_t i = 0; i < studies[0].n; i++) {
            struct request r = request;
            struct words w = {0};
            const struct study_run run = {&studies[0].models[i], 0.002, 3, 50};
            r.block = cases[k].block;
            r.channels = cases[k].channels;
            r.common = cases[k].common;
            r.attn_heads = 2;
            char *block = string_format("--block=%s", block_words[r.block]);
            char *smoe = string_format("--expert-hidden=%zu", cases[k].hidden);
            char *p1 = string_format("--expert-hidden=%zu", 4 * cases[k].hidden);
            command_start(&w, &r, &run, "D");
            assert_true(words_have(&w, block));
            assert_true(words_have(&w, smoe) == (strcmp(run.model->name, "smoe") == 0));
            assert_true(words_have(&w, p1) == (strcmp(run.model->name, "mhmoe-p1") == 0));
            words_free(&w);
            free(block);
            free(smoe);
            free(p1);
        }
}

/* Each study fits at the widths that its page names, whatever the block; --mhmoe's options count. */
static void test_study_fits(void **state) {
    (void)state;
    struct error err;
    for (int block = 0; block < BLOCKS; block++)
        for (size_t s = 0; study_words[s]; s++)
            for (int channels = 96; channels <= 192; channels += 48) {
                struct request r = request;
                r.block = block;
                r.channels = channels;
                const bool ablates = strcmp(study_words[s], "ablation") == 0; /* one matrix less: thirds of C/3 */
                const bool fits = study_check(&r, &studies[s], &err);
                if (fits != (block != BLOCK_LLAMA || !ablates || channels == 144))
                    fail_msg("%s, %s, %d: %s", block_words[block], study_words[s], channels, fits ? "" : err.text);
            }
}

static void refuse_study(const char *study, const struct request *r, const char *want) {
    struct error err;
    size_t s = 0;
    while (strcmp(studies[s].name, study) != 0) s++;
    assert_false(study_check(r, &studies[s], &err));
    assert_int_equal(err.code, EXIT_USAGE);
    assert_string_equal(err.text, want);
}

#define NO_FIT " has no whole width and number of experts at the cost of smoe; use --channels "

static void test_study_does_not_fit(void **state) {
    (void)state;
    struct request r = request;
    struct error err;
    r.block = BLOCK_LLAMA;
    refuse_study("ablation", &r, "--channels 96: neither" NO_FIT "90"); /* F0 = 256 = 3 F; at 93 F0 = 248 */
    r.mhmoe = "--activation gelu"; /* 2/3 of the matrices: 3 F = 384 */
    assert_true(study_check(&r, &studies[3], &err));
    r.mhmoe = "--block gpt2";
    assert_true(study_check(&r, &studies[3], &err));
    r.mhmoe = NULL;
    r.channels = 100; /* F0 = 264, 3 F = 197.3; at 102 H = 4 does not divide it */
    r.attn_heads = 2;
    refuse_study("heads", &r, "--channels 100: mhmoe-h1" NO_FIT "96");
    r.channels = 103; /* attention comes first, and is told as ./train tells it */
    refuse_study("heads", &r, "--channels 103 is not divisible by --attn-heads 2; use --channels 104");
    r.channels = 100;
    r.block = BLOCK_GPT2;
    refuse_study("heads", &r, "--channels 100: mhmoe-h8" NO_FIT "96");
    r = request;
    r.moe_every = 5;
    r.layers = 4;
    refuse_study("main", &r, "--moe-every 5 leaves none of the 4 layers with experts; use --moe-every 4 or --ffn "
                             "dense");
    r.layers = 5;
    assert_true(study_check(&r, &studies[0], &err));
    r.mhmoe = "--topk 7"; /* 7 F = 3 C */
    refuse_study("routers", &r, "--channels 96: softmax" NO_FIT "84");
    r.mhmoe = "--topk=x";
    refuse_study("main", &r, "--topk: bad value (got 'x', want a whole number from 1 to 64)");
    r.mhmoe = "--topk 7 --moe-heads 64 --norm layernorm"; /* nothing near */
    refuse_study("routers", &r, "--match: 96 channels cannot be cut into 64 heads; use another baseline");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan), cmocka_unit_test(test_search_stage), cmocka_unit_test(test_warmup),
        cmocka_unit_test(test_rates), cmocka_unit_test(test_part), cmocka_unit_test(test_studies),
        cmocka_unit_test(test_baselines), cmocka_unit_test(test_runs), cmocka_unit_test(test_shares),
        cmocka_unit_test(test_corpus_parts),
        cmocka_unit_test(test_block), cmocka_unit_test(test_study_fits), cmocka_unit_test(test_study_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
