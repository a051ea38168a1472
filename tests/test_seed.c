/* What --seed decides in ./train: the weights, the order of the text, and the samples, each by itself. With a learning
 * rate of 0 the weights stay what they were, so losses tell of the order alone, and samples of their generator alone.
 * Each is also computed here from what the headers promise: model_initialize, loader_open and model_generate. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <math.h>
#include <omp.h>

#include "../data/loader.h"
#include "../mhmoe.h"
#include "../src/base/text.h"
#include "../tokenizer/tokenizer.h"
#include "command.h"
#include "prose.h"
#include "runs.h"

enum {
    SEQ = 13,
    BATCH = 2,
    SHOWN = 3 /* steps, each with a sample */,
    SAMPLE = 400 /* more than a window, and enough for an end of text */
};
#define STILL "train corpus.txt --block gpt2 --cache cache --vocab 301 --seq 13 --layers 2 --channels 12 "      \
    "--attn-heads 3 --moe-heads 2 --experts 5 --expert-hidden 7 --router cosine --router-dim 3 --batch 2 "     \
    "--warmup 0 --lr 0 --weight-decay 0 --steps 5 --eval-every 0 --sample-every 1 --sample-tokens 400 "

static int corpus_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    omp_set_num_threads(1); /* of the model here, which is as small */
    prose_save("corpus.txt", 500, 1);
    return 0;
}

/* The first SHOWN steps; samples go to OUT.txt. */
static void still_run(const char *options, const char *out) {
    run("rm -rf %s && " STILL "--until %d %s --out %s >%s.txt", out, SHOWN, options, out, out);
}

static struct model model_of(const char *run) {
    struct checkpoint c = checkpoint_at(run, "last.safetensors");
    struct model m;
    struct error err;
    if (!model_load(&m, &c, (struct model_setup){MODEL_TRAIN, BATCH, false, STORAGE_F32}, &err))
        fail_msg("%s", err.text);
    checkpoint_close(&c);
    return m;
}

/* ---- Weights ---- */

static bool same(const struct model *a, const struct model *b, const struct parameter_info *info) {
    return memcmp(a->param_memory + info->offset, b->param_memory + info->offset, info->count * sizeof(real)) == 0;
}

/* Matrices and positions are drawn, one by one; biases, norms and the temperature start alike. */
static void weights_are_those_of_the_seed(void **state) {
    (void)state;
    still_run("--seed 4", "four");
    still_run("--seed 5", "five");
    struct model four = model_of("four"), five = model_of("five"), plain = model_of("five");
    model_initialize(&plain, 5);
    size_t drawn = 0;
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
        const struct parameter_info *info = &five.info[i];
        if (info->count == 0) continue;
        const bool random = info->decay || strcmp(info->name, "wpe") == 0;
        if (!same(&five, &plain, info)) fail_msg("%s is not that of --seed 5", info->name);
        if (same(&four, &five, info) == random) fail_msg("%s under two seeds", info->name);
        drawn += random;
    }
    assert_int_equal(drawn, 12);
    model_destroy(&four);
    model_destroy(&five);
    model_destroy(&plain);
    run("rm -r four four.txt five five.txt");
}

/* ---- Order ---- */

/* The loss of each step on windows in the order of `seed`. */
static void losses_of(struct model *m, const char *data_dir, uint64_t seed, double loss[SHOWN]) {
    int32_t inputs[BATCH * SEQ], targets[BATCH * SEQ];
    struct error err;
    size_t count;
    struct loader *data = loader_open(data_dir, "train", SEQ, true, seed, 1 << 20, &err);
    if (!data) fail_msg("%s", err.text);
    for (int i = 0; i < SHOWN; i++) {
        if (!loader_next(data, BATCH, inputs, targets, &err)) fail_msg("%s", err.text);
        model_forward(m, &(struct batch){.B = BATCH, .T = SEQ, .tokens = inputs, .targets = targets});
        loss[i] = model_loss(m, 0, &count);
        loss[i] /= (double)count;
    }
    loader_close(data);
}

static void order_is_that_of_the_seed(void **state) {
    (void)state;
    double mine[SHOWN], other[SHOWN];
    still_run("--seed 5", "five");
    struct model m = model_of("five");
    struct checkpoint c = checkpoint_at("five", "last.safetensors");
    losses_of(&m, metadata(&c, "data_dir"), 5, mine);
    losses_of(&m, metadata(&c, "data_dir"), 1, other);
    json_t *log = log_of("five");
    for (size_t i = 0; i < SHOWN; i++) { /* nine digits are logged */
        expect_near(number_of(entry_of(log, "loss", i), "loss"), mine[i], 1e-7);
        assert_true(fabs(mine[i] - other[i]) > 1e-5);
    }
    json_decref(log);
    checkpoint_close(&c);
    model_destroy(&m);
    run("rm -r five five.txt");
}

/* ---- Samples ---- */

struct shown {
    tokenizer *pieces;
    struct text_stream text;
    int ends; /* of text: a sample stops there */
};
static bool piece_show(void *context, int32_t token) {
    struct shown *shown = context;
    const bool end = token == tokenizer_end_of_text(shown->pieces);
    size_t size;
    const char *piece = tokenizer_piece(shown->pieces, token, &size);
    text_write(&shown->text, piece, size);
    shown->ends += end;
    return !end;
}

/* Writes to a file all that a run of SHOWN steps prints with a generator of this seed; *rng is left as after it. */
static void samples_write(const char *path, const char *run, const char *prompt, uint64_t seed, struct rng *rng) {
    struct sampler sampler = {SAMPLER_PLAIN, .temperature = 0.8, .top_p = 0.95};
    struct checkpoint c = checkpoint_at(run, "last.safetensors");
    struct error err;
    struct model m = model_of(run);
    struct shown shown = {.pieces = tokenizer_from_checkpoint(&c, &err), .text = {.out = fopen(path, "w")}};
    int32_t *ids = NULL;
    size_t n = 0, capacity = 0;
    checkpoint_close(&c);
    assert_true(shown.pieces && shown.text.out);
    tokenizer_encode(shown.pieces, prompt, strlen(prompt), &ids, &n, &capacity);
    const int32_t end = tokenizer_end_of_text(shown.pieces); /* what an empty prompt goes on from */
    rng_seed(&sampler.rng, seed, hash_bytes(HASH_START, "samples", 7));
    for (int step = 1; step <= SHOWN; step++) {
        fprintf(shown.text.out, "--- step %d ---\n%s", step, prompt);
        model_generate(&m, n ? ids : &end, n ? n : 1, SAMPLE, &sampler, piece_show, &shown);
        text_end(&shown.text);
        fputc('\n', shown.text.out);
    }
    fclose(shown.text.out);
    assert_in_range(shown.ends, 1, SHOWN); /* some samples stop early */
    *rng = sampler.rng;
    free(ids);
    tokenizer_free(shown.pieces);
    model_destroy(&m);
}

/* What a run's checkpoint says of its generator. */
static void generator_expect(const char *run, const struct rng *rng) {
    struct checkpoint c = checkpoint_at(run, "last.safetensors");
    const uint64_t *s = rng->s;
    char *words = string_format("%016" PRIx64 " %016" PRIx64 " %016" PRIx64 " %016" PRIx64, s[0], s[1], s[2], s[3]);
    assert_string_equal(metadata(&c, "sample_rng"), words);
    free(words);
    checkpoint_close(&c);
}

/* The same weights throughout, so samples of a run differ only because the generator goes on between them. */
static void samples_differ(const char *path) {
    char *pattern =
        string_format("for i in 1 2 3; do sed -n \"/^--- step $i ---/,/^--- step $((i + 1)) ---/p\" %s | grep -av "
                      "'^--- step' >sample$i; done; ! cmp -s sample1 sample2 && ! cmp -s sample2 sample3 && "
                      "! cmp -s sample1 sample3 && test -s sample3",
                      path);
    run("%s", pattern);
    free(pattern);
}

static void samples_are_those_of_the_seed(void **state) {
    (void)state;
    static const struct {
        const char *options, *prompt;
        uint64_t seed;
    } cases[] = {{"", "The", 1}, {"--seed 6 --prompt 'Her caf\xc3\xa9'", "Her caf\xc3\xa9", 6},
                 {"--seed 7 --prompt ''", "", 7}};
    for (int i = 0; i < 3; i++) {
        struct rng rng, unused;
        still_run(cases[i].options, "run");
        samples_write("mine", "run", cases[i].prompt, cases[i].seed, &rng);
        samples_write("others", "run", cases[i].prompt, cases[i].seed + 1, &unused);
        run("cmp mine run.txt && ! cmp -s mine others");
        samples_differ("mine");
        generator_expect("run", &rng);
        run("rm -r run run.txt mine others sample?");
    }
}

/* A run in two parts shows what a run in one does, and equal seeds show the same. */
static void samples_go_on_after_a_resume(void **state) {
    (void)state;
    still_run("--seed 3", "whole");
    still_run("--seed 3", "twin");
    run("rm -rf parts && " STILL
        "--seed 3 --until 1 --out parts >parts.txt && train --resume parts --until %d >>parts.txt",
        SHOWN);
    run("cmp whole.txt parts.txt && cmp whole.txt twin.txt && rm -r whole* twin* parts*");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_those_of_the_seed),
        cmocka_unit_test(order_is_that_of_the_seed),
        cmocka_unit_test(samples_are_those_of_the_seed),
        cmocka_unit_test(samples_go_on_after_a_resume),
    };
    return cmocka_run_group_tests(tests, corpus_make, workplace_remove);
}
