/* Training with products in bf16 (--dtype bf16): with matrix tiles and on vectors, how far from f32, in what memory;
 * and as a program: what a run keeps, and what it tells. That operands are rounded where they should be and nowhere
 * else is test_model's to show, any number of threads test_bits'. In float, as the programs run. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../src/math/attention.h"
#include "bf16_plain.h"
#include "command.h"
#include "guarded.h"
#include "prose.h"
#include "small_model.h"
#include "runs.h"

static struct config wide_config(int kind) {
    struct config config = kind % 2 ? config_modern(config_other(small_config)) : small_config;
    config.zero_start = false;
    config.ffn = kind < 2 ? FFN_MHMOE : FFN_DENSE;
    config.shared_hidden = kind == 1 ? 5 : 0;
    config.seq = 70;
    config.channels = 48;
    config.attn_heads = 3;
    config.moe_heads = 4;
    config.experts = 6;
    config.expert_hidden = 40;
    config.vocab = 131;
    return config;
}
enum { KINDS = 4, B = 3 };

/* Loss, gradients and loads of a step. */
struct step {
    struct model m;
    double loss;
};

static struct step step_of_model(int kind, enum storage storage, const struct example *b) {
    const struct config config = wide_config(kind);
    struct step s = {.m = model_random_stored(&config, MODEL_TRAIN, B, 7, storage)};
    for (size_t i = 0; i < s.m.n_parameters; i++) s.m.param_memory[i] /= 2; /* so large that rounding would swamp it */
    model_pack(&s.m);
    s.loss = model_gradients(&s.m, b);
    return s;
}

/* ---- Tiles ---- */

/* A machine without them trains to the same bits. */
static void tiles_and_vectors_agree(void **state) {
    (void)state;
    if (!gemm_use_tiles(true)) skip();
    for (int kind = 0; kind < KINDS; kind++) {
        const struct config config = wide_config(kind);
        struct example b = example_random(B, (size_t)config.seq, config.vocab, 5);
        struct step tiles = step_of_model(kind, STORAGE_BF16, &b);
        gemm_use_tiles(false);
        struct step vectors = step_of_model(kind, STORAGE_BF16, &b);
        gemm_use_tiles(true);
        assert_true(tiles.loss == vectors.loss);
        assert_memory_equal(tiles.m.grad_memory, vectors.m.grad_memory, tiles.m.n_parameters * sizeof(real));
        model_destroy(&tiles.m);
        model_destroy(&vectors.m);
        example_free(&b);
    }
}

/* ---- Attention ---- */

/* What is kept of a head of any width is what comes out of the same numbers in floats, rounded; in scratch memory of
 * the size that is said to be enough. */
static void attention_is_kept_as_it_comes_out(void **state) {
    (void)state;
    enum { T = 600, NH = 2, MOST = 2 * 80 }; /* more keys than a product takes at once */
    static const size_t widths[] = {1, 4, 17, 32, 48, 80};
    static real reals[T * 3 * MOST], out[T * MOST];
    static uint16_t stored[T * 3 * MOST], out_stored[T * MOST];
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        const size_t C = NH * widths[w], bytes = attention_scratch_count(T, C, NH, OPERANDS_BF16) * sizeof(real);
        void *scratch = guarded_alloc(bytes);
        const struct attention attention = {C, NH, OPERANDS_BF16, NULL, scratch};
        const struct batch batch = {.B = 1, .T = T};
        for (size_t i = 0; i < T * 3 * C; i++) {
            reals[i] = bf16_nearest((float)sin((double)(i + 1)));
            stored[i] = (uint16_t)(bits_of(reals[i]) >> 16);
        }
        attention_forward(&attention, kept_real(out), kept_real(reals), &batch);
        attention_forward(&attention, (struct kept){out_stored, true}, (struct kept){stored, true}, &batch);
        for (size_t i = 0; i < T * C; i++) assert_int_equal(out_stored[i], bits_of(bf16_nearest(out[i])) >> 16);
        guarded_free(scratch, bytes);
    }
}

/* ---- Beside f32 ---- */

static double norm_of(const real *a, const real *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += pow((double)a[i] - (b ? (double)b[i] : 0), 2);
    return sqrt(sum);
}

/* Rounding moves an operand by up to 2^-9 of it, 2^-10.3 on the mean square, and a product of many by 2^-9.8 of its
 * size, since errors are as often up as down. A gradient has seen some ten such products in a row on its way, forward
 * and back: 2^-9.8 sqrt(10) is 0.4%, of which each tensor may have ten times as much, where what is left is a small
 * difference of large numbers. Only vectors that no product has touched on the way back move less than 1e-6. */
static void gradients_are_near_those_of_f32(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        const struct config config = wide_config(kind);
        struct example b = example_random(B, (size_t)config.seq, config.vocab, 5);
        struct step exact = step_of_model(kind, STORAGE_F32, &b), rounded = step_of_model(kind, STORAGE_BF16, &b);
        const double far = norm_of(exact.m.grad_memory, rounded.m.grad_memory, exact.m.n_parameters) /
                           norm_of(exact.m.grad_memory, NULL, exact.m.n_parameters);
        double worst = 0;
        for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
            const struct parameter_info *p = &exact.m.info[i];
            if (p->count == 0) continue;
            const double size = norm_of(exact.m.grad_memory + p->offset, NULL, p->count);
            const double off = norm_of(exact.m.grad_memory + p->offset, rounded.m.grad_memory + p->offset, p->count);
            if (config.ffn == FFN_DENSE && !(off < 0.04 * size + 1e-7))
                fail_msg("%s: %.2g of %.2g", p->name, off, size);
            if (!(off > 1e-6 * size)) fail_msg("%s is not touched", p->name);
            worst = fmax(worst, off / size);
        }
        print_message("kind %d: loss %.6f, in bf16 %.6f; gradients off by %.2g, a tensor's by up to %.2g\n", kind,
                      exact.loss, rounded.loss, far, worst);
        assert_true(fabs(exact.loss - rounded.loss) < 0.004 * exact.loss && exact.loss != rounded.loss);
        if (config.ffn == FFN_DENSE) assert_true(far < 0.02); /* where a choice of experts turns, a row changes */
        model_destroy(&exact.m);
        model_destroy(&rounded.m);
        example_free(&b);
    }
}

/* What is packed has whole tiles' steps, which for the shortest sequences and narrowest layers is more than in f32. Who
 * writes past the end of an array is seen by model_gradients. */
static void small_models_keep_to_their_memory(void **state) {
    (void)state;
    const struct config configs[] = {small_config, config_other(small_config), config_llama(small_config),
                                     config_modern(small_config)};
    for (int i = 0; i < 4; i++)
        for (int seq = 1; seq < 40; seq += 4)
            for (int ffn = 0; ffn < 2; ffn++) {
                struct config config = configs[i];
                config.seq = seq;
                config.ffn = ffn ? FFN_MHMOE : FFN_DENSE;
                if (!ffn) config.shared_hidden = 0;
                config.attn_heads = i % 2 ? 6 : 3;
                struct model m = model_random_stored(&config, MODEL_TRAIN, 1, 3, STORAGE_BF16);
                struct example b = example_random(1, (size_t)seq, config.vocab, 4);
                if (b.count > 0) assert_true(isfinite(model_gradients(&m, &b)));
                example_free(&b);
                model_destroy(&m);
            }
}

/* Choices of experts, one behind the other. */
struct choices {
    int32_t picks[1 << 15];
    size_t n;
};

static void choices_hear(void *context, size_t lm, const int32_t *picks, size_t N) {
    struct choices *c = context;
    (void)lm;
    memcpy(c->picks + c->n, picks, N * 2 * sizeof *picks);
    c->n += N * 2;
}

static void choices_make(struct choices *c, enum storage storage, const struct example *b) {
    struct config config = wide_config(0);
    struct model m = model_random_stored(&config, MODEL_TRAIN, 20, 11, storage);
    for (size_t i = 0; i < m.n_parameters; i++) m.param_memory[i] /= 4;
    model_pack(&m);
    c->n = 0;
    m.on_picks = choices_hear;
    m.on_picks_context = c;
    model_forward(&m, &b->batch);
    model_destroy(&m);
}

/* A choice turns where two experts are as near as the rounding of what a router reads: few of 2 among 6. */
static void choices_turn_seldom(void **state) {
    (void)state;
    static struct choices exact, rounded;
    const struct config config = wide_config(0);
    struct example b = example_random(20, (size_t)config.seq, config.vocab, 12);
    size_t turned = 0;
    choices_make(&exact, STORAGE_F32, &b);
    choices_make(&rounded, STORAGE_BF16, &b);
    assert_int_equal(exact.n, rounded.n);
    assert_true(exact.n == 2 * 20 * 70 * 4 * 2);
    for (size_t i = 0; i < exact.n; i += 2) {
        const int32_t *e = exact.picks + i, *r = rounded.picks + i;
        turned += !((e[0] == r[0] && e[1] == r[1]) || (e[0] == r[1] && e[1] == r[0]));
    }
    const double share = (double)turned / ((double)exact.n / 2);
    print_message("choices that turn: %.2f%%\n", 100 * share);
    assert_true(share > 0.0005 && share < 0.03);
    example_free(&b);
}

/* Weights are packed twice, and take half as much each time. */
static void packed_weights_take_half(void **state) {
    (void)state;
    struct config config = wide_config(0);
    struct sizes s;
    struct error err;
    config.channels = 480; /* whole panels */
    config.expert_hidden = 480;
    config.ffn = FFN_DENSE;
    if (!config_check(&config, &s, &err)) fail_msg("%s", err.text);
    const struct model_setup f32 = {MODEL_TRAIN, 1, false, STORAGE_F32}, bf16 = {MODEL_TRAIN, 1, false, STORAGE_BF16};
    const struct model_cost exact = model_cost(&s, f32), rounded = model_cost(&s, bf16);
    const double packed = (double)exact.parameter_bytes - 16.0 * (double)exact.parameters;
    const double half = (double)rounded.parameter_bytes - 16.0 * (double)rounded.parameters;
    if (!(half > 0.48 * packed && half < 0.53 * packed)) fail_msg("%.0f bytes, of %.0f", half, packed);
}

/* ---- The program ---- */

#define TRAIN                                                                                                     \
    "train corpus.txt --cache cache --vocab 301 --seq 17 --layers 2 --channels 24 --attn-heads 3 --moe-heads 2 "  \
    "--experts 5 --expert-hidden 20 --batch 3 --steps 12 --warmup 3 --lr 0.01 --eval-windows 5 --eval-every 4 "   \
    "--save-every 4 --sample-every 0 "

static int whole_run(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    prose_save("corpus.txt", 300, 1);
    return system(TRAIN "--out f32 >f32.txt 2>&1 && " TRAIN "--dtype bf16 --out whole >whole.txt 2>&1");
}

/* Of the last validation. */
static double last_loss(const char *run) {
    json_t *log = log_of(run);
    const double loss = number_of(entry_of(log, "val_loss", 2), "val_loss");
    json_decref(log);
    return loss;
}

/* It is another run than in f32, and not far from it; what it saves is f32. */
static void a_run_in_bf16(void **state) {
    (void)state;
    const double exact = last_loss("f32"), rounded = last_loss("whole");
    if (!(exact != rounded && fabs(exact - rounded) < 0.1)) fail_msg("loss %.9g, in bf16 %.9g", exact, rounded);
    struct checkpoint c = checkpoint_at("whole", "last.safetensors");
    for (size_t i = 0; i < c.n; i++)
        if (strncmp(c.tensors[i].name, "optimizer", 9) == 0 || strcmp(c.tensors[i].name, "wte") == 0)
            assert_int_equal(c.tensors[i].dtype, DTYPE_F32);
    checkpoint_close(&c);
    run("sample --model whole --tokens 5 --greedy");
}

static void any_number_of_threads(void **state) {
    (void)state;
    run(TRAIN "--dtype bf16 --threads 3 --out three");
    checkpoints_compare("whole", "three", "last.safetensors");
    logs_compare("whole", "three");
}

/* A resumed run equals one that was never stopped; with another dtype it goes on, and says so. */
static void runs_are_resumed(void **state) {
    (void)state;
    run(TRAIN "--dtype bf16 --until 5 --out half && cp -r half other && cp -r half same");
    run("train --resume half");
    assert_null(strstr(errors, "--dtype"));
    checkpoints_compare("whole", "half", "last.safetensors");
    run("train --resume other --dtype f32");
    assert_non_null(strstr(errors, "--dtype is f32 now; it was bf16"));
    assert_true(last_loss("other") != last_loss("whole"));
    run(TRAIN "--until 5 --out plain && train --resume plain --dtype bf16");
    assert_non_null(strstr(errors, "--dtype is bf16 now; it was f32"));
    assert_true(last_loss("plain") != last_loss("f32"));
    run("grep -q 'dtype = bf16' plain/config");
}

static double memory_told(const char *options) {
    run(TRAIN "--channels 240 --dry-run %s", options);
    const char *line = strstr(output, "MB parameters");
    assert_non_null(line);
    while (line > output && line[-1] != 'y') line--; /* memory */
    return atof(line);
}

static void memory_is_told(void **state) {
    (void)state;
    const double exact = memory_told("--dtype f32"), plain = memory_told(""), rounded = memory_told("--dtype bf16");
    assert_true(exact == plain && rounded < 0.9 * exact && rounded > 0.6 * exact);
}

static void other_words_are_refused(void **state) {
    (void)state;
    refuse(2, "--dtype", "f32", TRAIN "--dtype fp16 --out new");
    refuse(2, "--dtype", "bf16", TRAIN "--dtype '' --out new");
    run("! test -e new");
}

/* A loss that is no number ends a run as in f32: a decay of lr times 10 a step turns each weight into -99 times itself.
 */
static void divergence_is_seen(void **state) {
    (void)state;
    refuse(8, "far: step ", "try a lower --lr", TRAIN "--dtype bf16 --steps 60 --lr 10 --final-lr 1 --clip 0 "
           "--weight-decay 10 --eval-every 0 --save-every 0 --out far");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_is_kept_as_it_comes_out),
        cmocka_unit_test(tiles_and_vectors_agree),
        cmocka_unit_test(gradients_are_near_those_of_f32),
        cmocka_unit_test(small_models_keep_to_their_memory),
        cmocka_unit_test(choices_turn_seldom),
        cmocka_unit_test(packed_weights_take_half),
        cmocka_unit_test(a_run_in_bf16),
        cmocka_unit_test(any_number_of_threads),
        cmocka_unit_test(runs_are_resumed),
        cmocka_unit_test(memory_is_told),
        cmocka_unit_test(other_words_are_refused),
        cmocka_unit_test(divergence_is_seen),
    };
    return cmocka_run_group_tests(tests, whole_run, workplace_remove);
}
