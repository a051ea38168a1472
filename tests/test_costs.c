/* What a model says that it costs, before there is one: parameters, multiply-adds and memory against numbers worked
 * out by hand, and sizes that no machine could hold. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "small_model.h"

static struct model_cost cost_in(const struct config *config, struct model_setup setup) {
    struct sizes sizes;
    struct error err;
    if (!config_check(config, &sizes, &err)) fail_msg("%s", err.text);
    return model_cost(&sizes, setup);
}

static struct model_cost cost_of(const struct config *config) {
    return cost_in(config, (struct model_setup){MODEL_TRAIN, 1, false, STORAGE_F32});
}

/* GPT-2 small has 124,439,808 parameters. Its matrices multiply 123,532,032 numbers a token (all but the
 * positions, biases and norms), its attention 2 * 12 layers * 768 channels * 512.5 keys on average. */
static void test_cost_of_gpt2(void **state) {
    (void)state;
    const struct config gpt2 = {GPT2_BLOCK, .vocab = 50257, .seq = 1024, .layers = 12, .channels = 768,
                                .attn_heads = 12, .ffn = FFN_DENSE};
    struct model_cost cost = cost_of(&gpt2);
    assert_int_equal(cost.parameters, 124439808);
    assert_true(cost.forward_flops == 2 * (123532032 + 2 * 12 * 768 * 512.5));
    assert_true(cost.training_flops == 3 * cost.forward_flops);
}

/* llama2.c's stories15M has 15,191,712 parameters: no positions, no biases, hidden layers of 768 with three matrices,
 * and 2 * 6 + 1 norms. Its matrices multiply all but the norms' 3744, and attention 6 layers * 288 channels * 257. */
static void test_cost_of_llama(void **state) {
    (void)state;
    struct config llama = {LLAMA_BLOCK, .vocab = 32000, .seq = 256, .layers = 6, .channels = 288, .attn_heads = 6,
                           .ffn = FFN_DENSE, .tie = true};
    struct model_cost cost = cost_of(&llama);
    assert_int_equal(cost.parameters, 15191712);
    assert_int_equal(cost.active_parameters, 15191712);
    assert_true(cost.forward_flops == 2 * (15191712 - 3744 + 6 * 288 * 257));
    llama.tie = false; /* a token reads one row of the embedding, and all of the output head */
    cost = cost_of(&llama);
    assert_int_equal(cost.parameters, 15191712 + 32000 * 288);
    assert_int_equal(cost.active_parameters, 15191712 + 288);
    assert_true(cost.forward_flops == 2 * (15191712 - 3744 + 6 * 288 * 257));
}

/* Parity (docs/MHMOE.md, section 5): C = 8, SMoE with K = 2, F0 = 20, E0 = 2 equals H = 2, F = F0 - C/K = 16,
 * E = H (F0 E0 - C) / F = 4 but for biases (56 numbers and 96) and the router (E0 C and E C products). */
static void test_parity(void **state) {
    (void)state;
    struct config config = small_config;
    config.channels = 8;
    config.layers = 1;
    config.ffn = FFN_SMOE;
    config.experts = 2;
    config.expert_hidden = 20;
    struct model_cost smoe = cost_of(&config);
    config.ffn = FFN_MHMOE;
    config.moe_heads = 2;
    config.experts = 4;
    config.expert_hidden = 16;
    struct model_cost mhmoe = cost_of(&config);
    assert_int_equal(mhmoe.parameters, smoe.parameters + 40);
    assert_true(mhmoe.forward_flops == smoe.forward_flops + 2 * 8 * (4 - 2));
    assert_int_equal(smoe.active_parameters, smoe.parameters - 8 * 8); /* one of nine positions */
    assert_int_equal(mhmoe.active_parameters, mhmoe.parameters - 8 * 8); /* 2 sub-tokens reach all 4 */
}

/* What each choice adds to one MoE layer of C = 8, H = 2 (so S = 4), E = 4. */
static void test_cost_of_choices(void **state) {
    (void)state;
    struct config config = small_config;
    config.channels = 8;
    config.layers = 1;
    config.moe_heads = 2;
    config.experts = 4;
    const struct model_cost plain = cost_of(&config);
    config.head_depth = 3;
    config.merge_depth = 0;
    struct model_cost cost = cost_of(&config); /* two C by C layers more before the split, one less after */
    assert_int_equal(cost.parameters, plain.parameters + 8 * 8 + 8);
    assert_int_equal(cost.active_parameters, plain.active_parameters + 8 * 8 + 8);
    assert_true(cost.forward_flops == plain.forward_flops + 2 * 8 * 8);
    config.head_depth = config.merge_depth = 1;
    config.shared_hidden = 5; /* both of a token's sub-tokens go through 2 * 4 * 5 weights */
    cost = cost_of(&config);
    assert_int_equal(cost.parameters, plain.parameters + 2 * 4 * 5 + 5 + 4);
    assert_int_equal(cost.active_parameters, plain.active_parameters + 2 * 4 * 5 + 5 + 4);
    assert_true(cost.forward_flops == plain.forward_flops + 2 * 2 * (2 * 4 * 5));
    config.shared_hidden = 0;
    config.router = ROUTER_COSINE; /* 3 dimensions: a projection, and experts of 3 numbers instead of 4; tau */
    cost = cost_of(&config);
    assert_int_equal(cost.parameters, plain.parameters + 3 * 4 - 4 * 1 + 1);
    assert_int_equal(cost.active_parameters, plain.active_parameters + 3 * 4 - 4 * 1 + 1);
    assert_true(cost.forward_flops == plain.forward_flops + 2 * 2 * (3 * 4 - 4 * 1));
}

/* ---- What a block is made of ---- */

/* A dense block (Fd = 32) and a mixture: C = 8, S = 4, 6 experts of F = 7, of which a token's two sub-tokens reach 4,
 * and a shared one of 5. */
static struct config two_blocks(void) {
    struct config config = small_config;
    config.channels = 8;
    config.moe_every = 2;
    config.moe_heads = 2;
    config.experts = 6;
    config.shared_hidden = 5;
    return config;
}

/* Numbers that a token uses (or computes with) more than it did. */
struct more {
    int parameters, active, multiply_adds;
};

static void more_check(const struct config *config, struct more more) {
    const struct config two = two_blocks();
    const struct model_cost plain = cost_of(&two), cost = cost_of(config);
    assert_int_equal((int)cost.parameters - (int)plain.parameters, more.parameters);
    assert_int_equal((int)cost.active_parameters - (int)plain.active_parameters, more.active);
    assert_true(cost.forward_flops - plain.forward_flops == 2 * more.multiply_adds);
    assert_true(cost.training_flops == 3 * cost.forward_flops);
}

/* Parameters of two_blocks in the order of PARAMETERS: 296 + 72 of embeddings, 5 norms of 16, 2 (216 + 72) of
 * attention, 288 + 264 of the dense layer, 72 of the head, 24 of the router, 6 (35 + 32) of experts, 25 + 24 of the
 * shared one, 72 of the merge layer. A token reads one of 9 positions and 4 of 6 experts; attention multiplies
 * 2 * 8 * 10. */
static void test_cost_of_blocks(void **state) {
    (void)state;
    const struct config plain = two_blocks();
    const struct model_cost cost = cost_of(&plain);
    assert_int_equal(cost.parameters, 2195);
    assert_int_equal(cost.active_parameters, 2195 - 64 - 2 * 67);
    assert_true(cost.forward_flops == 2 * (296 + 2 * 256 + 512 + 64 + 2 * 24 + 4 * 56 + 2 * 40 + 64 + 160));
    struct config c = plain;
    c.norm = NORM_RMS; /* 5 norms without biases */
    more_check(&c, (struct more){-40, -40, 0});
    c = plain;
    c.position = POSITION_ROTARY;
    more_check(&c, (struct more){-72, -8, 0});
    c = plain;
    c.bias = false; /* 2 (24 + 8) + 32 + 8, 8 + 6 (7 + 4) + 5 + 4 + 8, and the norms' 40; 2 experts are not reached */
    more_check(&c, (struct more){-235, -235 + 22, 0});
    c.norm = NORM_RMS; /* the same */
    more_check(&c, (struct more){-235, -235 + 22, 0});
    c = plain;
    c.tie = false; /* the embedding is no matrix any more that multiplies, and one row of it is read */
    more_check(&c, (struct more){296, 8, 0});
    c = plain;
    c.qk_norm = c.zero_start = true;
    c.activation = ACTIVATION_RELU2;
    more_check(&c, (struct more){0, 0, 0});
    c = plain;
    c.activation = ACTIVATION_SWIGLU; /* Fd = 16: 8 * 16 less on the way back; 35 an expert and 25 on the way in */
    more_check(&c, (struct more){-128 + 6 * 35 + 25, -128 + 4 * 35 + 25, -128 + 4 * 28 + 2 * 20});
    c = config_llama(plain); /* all of these, but for biases of the gates, which are not there either */
    more_check(&c, (struct more){-235 - 72 + 296 - 128 + 6 * 28 + 20, -213 - 8 + 8 - 128 + 4 * 28 + 20,
                                 -128 + 4 * 28 + 2 * 20});
    c = config_modern(plain);
    more_check(&c, (struct more){-235 - 72, -213 - 8, 0});
}

/* Pictures of 4 patches of 12 numbers: 96 + 8 of the patch embedding, 2 kinds of row, a mask embedding, and 11 codes of
 * 8; a row is of one kind. All 9 rows of a sequence are seen: attention multiplies 2 * 8 * 18. */
static void test_cost_of_pictures(void **state) {
    (void)state;
    struct config c = config_masked(two_blocks(), 4);
    more_check(&c, (struct more){104 + 16 + 8 + 88, 104 + 8 + 8 + 88, 96 + 88 + 2 * 8 * 8});
    c.codes = 500;
    more_check(&c, (struct more){104 + 16 + 8 + 4000, 104 + 8 + 8 + 4000, 96 + 4000 + 2 * 8 * 8});
    c = config_masked(two_blocks(), 4);
    c.position = POSITION_ROTARY; /* each of the 4 places has a vector, of which a row has one */
    more_check(&c, (struct more){-72 + 32 + 216, -8 + 8 + 208, 96 + 88 + 2 * 8 * 8});
    c = config_masked(two_blocks(), 4);
    c.bias = false; /* nor has the patch embedding biases */
    more_check(&c, (struct more){-235 + 216 - 8, -235 + 22 + 208 - 8, 96 + 88 + 2 * 8 * 8});
    c = config_masked(two_blocks(), 0);
    c.seq = 9;
    more_check(&c, (struct more){16 + 8, 8 + 8, 2 * 8 * 8});
    c.task = TASK_TEXT;
    more_check(&c, (struct more){0, 0, 0});
}

/* Bytes that a change adds to a model: to its activations, but for guards and for what rounding up to cache lines makes
 * of so many arrays; and to its parameters with all that goes with them. */
struct more_bytes {
    size_t activations, arrays;
    ptrdiff_t parameters;
};

static void memory_check(const struct config *a, const struct config *b, struct model_setup setup,
                         struct more_bytes more) {
    const struct model_cost plain = cost_in(a, setup), cost = cost_in(b, setup);
    const size_t added = cost.activation_bytes - plain.activation_bytes;
    assert_in_range(added, more.activations, more.activations + 128 * more.arrays);
    assert_int_equal((ptrdiff_t)(cost.parameter_bytes - plain.parameter_bytes), more.parameters);
}

/* R = 4 * 9 rows, two blocks, 2 attention heads of 4 numbers. */
static void test_memory_of_blocks(void **state) {
    (void)state;
    enum { R = 4 * 9, BYTES = sizeof(real) };
    const struct model_setup train = {MODEL_TRAIN, 4, false, STORAGE_F32}, again = {MODEL_TRAIN, 4, true, STORAGE_F32},
                             infer = {MODEL_INFER, 4, false, STORAGE_F32};
    const struct config plain = two_blocks();
    struct config c = plain;
    c.qk_norm = true; /* a number for each query and each key, of every block that is kept */
    memory_check(&plain, &c, train, (struct more_bytes){2 * R * 4 * BYTES, 2, 0});
    memory_check(&plain, &c, again, (struct more_bytes){R * 4 * BYTES, 1, 0});
    memory_check(&plain, &c, infer, (struct more_bytes){R * 4 * BYTES, 1, 0});
    c = plain;
    c.tie = false; /* the head is packed where the embedding was; gradients and moments are of both */
    memory_check(&plain, &c, train, (struct more_bytes){0, 0, 4 * 296 * BYTES});
    for (int storage = 0; storage < STORAGES; storage++) {
        const struct model_setup stored = {MODEL_INFER, 4, false, (enum storage)storage};
        memory_check(&plain, &c, stored, (struct more_bytes){0, 0, 296 * BYTES});
    }
    c = plain;
    c.position = POSITION_ROTARY; /* 4 numbers a position, once; 8 of learned ones are parameters */
    memory_check(&plain, &c, train, (struct more_bytes){9 * 4 * BYTES, 1, -4 * 72 * BYTES});
    memory_check(&plain, &c, infer, (struct more_bytes){9 * 4 * BYTES, 1, -72 * BYTES});
    c = plain;
    c.activation = ACTIVATION_SWIGLU; /* experts become twice as wide on the way in; the dense layer stays 32 wide */
    struct config wide = plain;
    wide.expert_hidden *= 2;
    wide.shared_hidden *= 2;
    assert_int_equal(cost_in(&c, infer).activation_bytes, cost_in(&wide, infer).activation_bytes);
    assert_true(cost_in(&c, infer).activation_bytes > cost_in(&plain, infer).activation_bytes);
}

static ptrdiff_t packed_bytes(size_t K, size_t N) { return (ptrdiff_t)gemm_packed_bytes(STORAGE_F32, K, N); }

/* Which rows show a patch, and those patches; whose target is of a scorer, that target and its loss, and its gradient.
 * (Names of arrays: see mhmoe.c.) */
static void test_memory_of_pictures(void **state) {
    (void)state;
    enum { R = 4 * 9, BYTES = sizeof(real), PATCHES = R * 4 + R * 8 * BYTES, SCORED = R * (4 + 4 + BYTES) };
    const struct model_setup train = {MODEL_TRAIN, 4, false, STORAGE_F32}, again = {MODEL_TRAIN, 4, true, STORAGE_F32},
                             infer = {MODEL_INFER, 4, false, STORAGE_F32};
    const struct config plain = two_blocks();
    const ptrdiff_t packed = packed_bytes(12, 8) + packed_bytes(8, 11),
                    packed_t = packed_bytes(8, 12) + packed_bytes(11, 8);
    struct config c = config_masked(plain, 4);
    const ptrdiff_t trained = 4 * 216 * BYTES + packed + packed_t;
    memory_check(&plain, &c, train, (struct more_bytes){PATCHES + SCORED + R * 8 * BYTES, 6, trained});
    memory_check(&plain, &c, again, (struct more_bytes){PATCHES + SCORED + R * 8 * BYTES, 6, trained});
    memory_check(&plain, &c, infer, (struct more_bytes){PATCHES + SCORED, 5, 216 * BYTES + packed});
    struct config more = c;
    more.codes = 50; /* more than there are tokens: rows of logits become longer */
    const ptrdiff_t larger = 39 * 8 * BYTES + packed_bytes(8, 50) - packed_bytes(8, 11);
    memory_check(&c, &more, infer, (struct more_bytes){R * 13 * BYTES - 64, 1, larger}); /* rounded where it was */
    c = config_masked(plain, 0);
    c.seq = 9;
    memory_check(&plain, &c, infer, (struct more_bytes){SCORED, 3, 24 * BYTES});
}

/* Four equal blocks, of which three are computed twice. */
static void test_cost_of_recomputing(void **state) {
    (void)state;
    const struct config configs[] = {small_config, config_llama(small_config), config_modern(small_config),
                                     config_masked(small_config, 4), config_masked(small_config, 0)};
    for (int i = 0; i < 5; i++) {
        struct config config = configs[i];
        config.layers = 4;
        config.moe_every = 1;
        const struct model_cost plain = cost_in(&config, (struct model_setup){MODEL_TRAIN, 3, false, STORAGE_F32});
        const struct model_cost again = cost_in(&config, (struct model_setup){MODEL_TRAIN, 3, true, STORAGE_F32});
        const double pictures = i == 3 ? 11 + 12 : 0; /* codes, and what a patch is made from */
        const double ends = 2 * (37 + pictures) * 12, blocks = plain.forward_flops - ends;
        assert_true(again.forward_flops == plain.forward_flops);
        assert_true(again.training_flops == plain.training_flops + blocks / 4 * 3);
        assert_true(again.activation_bytes < plain.activation_bytes);
    }
}

/* ---- One layer of a model ---- */

/* What --match shows of a layer: g = 2 or 3 matrices an expert, and beside them the router and biases, of head and
 * merge layers, experts and the shared one; of a dense layer, biases alone. */
static void layer_check(const struct config *config) {
    struct sizes s;
    struct error err;
    struct layer_cost cost;
    if (!config_check(config, &s, &err)) fail_msg("%s", err.text);
    const struct moe_layer l = model_moe_layer(config, &s, &cost);
    const size_t gates = config->activation == ACTIVATION_SWIGLU, moe = config->ffn != FFN_DENSE;
    const struct moe_layer dense = {.C = 12, .H = 1, .E = 1, .K = 1, .F = gates ? 32 : 48, .g = 2 + gates};
    const struct moe_layer smoe = {.C = 12, .H = 1, .E = 5, .K = 2, .F = 7, .Fs = s.Fs, .g = 2 + gates};
    const struct moe_layer mhmoe = {12, 3, 5, 2, 7, s.Fs, 2 + gates, 1 + 2};
    const struct moe_layer want = !moe ? dense : config->ffn == FFN_SMOE ? smoe : mhmoe;
    assert_memory_equal(&l, &want, sizeof l);
    const size_t S = 12 / l.H, up = 1 + gates;
    const size_t biases = 12 * l.d + l.E * (up * l.F + S) + (l.Fs ? up * l.Fs + S : 0);
    const struct layer_cost matrices = layer_matrices(&l);
    assert_true(cost.parameters == matrices.parameters + (double)(moe * 5 * S + config->bias * biases));
    assert_true(cost.multiply_adds == matrices.multiply_adds + (double)(moe * 5 * 12));
}

static void test_layer_of_model(void **state) {
    (void)state;
    for (int setting = 0; setting < 3 * 3 * 32; setting++) {
        struct config config = small_config;
        const int switches = setting / 9;
        config.layers = 4;
        config.moe_every = 2;
        config.merge_depth = 2;
        config.activation = setting % 3;
        config.ffn = setting / 3 % 3;
        config.bias = switches & 1;
        config.norm = switches & 2 ? NORM_RMS : NORM_LAYER;
        config.position = switches & 4 ? POSITION_ROTARY : POSITION_LEARNED;
        config.tie = switches & 8;
        config.shared_hidden = switches & 16 && config.ffn != FFN_DENSE ? 5 : 0;
        layer_check(&config);
    }
}

/* ---- Absurd sizes ---- */

/* A size between 1 and `most`, each power of two as likely as another. */
static int size_random(struct rng *rng, int most) {
    return (int)fmin(most, floor(exp2(rng_uniform(rng) * (log2(most) + 1))));
}

/* At the ends of what options allow, and anywhere between. */
static struct config config_absurd(struct rng *rng) {
    struct config c = small_config;
    c.vocab = size_random(rng, 1 << 24);
    c.seq = size_random(rng, 1 << 20);
    c.layers = size_random(rng, 1000);
    c.channels = 1 << rng_next(rng) % 17;
    c.attn_heads = c.moe_heads = 1 << rng_next(rng) % 11;
    if (c.channels < c.moe_heads) c.attn_heads = c.moe_heads = c.channels;
    c.ffn = (int)(rng_next(rng) % 3);
    c.experts = size_random(rng, 4096);
    c.topk = (int)fmin(c.experts, size_random(rng, 64));
    c.expert_hidden = size_random(rng, 1 << 20);
    c.shared_hidden = c.ffn != FFN_DENSE && rng_next(rng) % 2 ? size_random(rng, 1 << 20) : 0;
    c.router = rng_next(rng) % 2 ? ROUTER_COSINE : ROUTER_SOFTMAX;
    c.router_dim = size_random(rng, 1 << 16);
    c.norm = (int)(rng_next(rng) % 2);
    c.position = (int)(rng_next(rng) % 2);
    c.activation = (int)(rng_next(rng) % 3);
    c.bias = rng_next(rng) % 2;
    c.tie = rng_next(rng) % 2;
    c.qk_norm = rng_next(rng) % 2;
    return c;
}

/* Bytes of the large activations and matrices, in double, where nothing wraps: at least a quarter of all. */
static double bytes_at_least(const struct sizes *s, struct model_setup setup) {
    const double R = (double)setup.batch * (double)s->T, C = (double)s->C, L = (double)s->L, S = (double)s->S,
                 LM = (double)s->LM, LD = (double)s->LD, N = R * (double)s->H, E = (double)s->E, K = (double)s->K,
                 F = (double)s->F, Fs = (double)s->Fs, T = (double)s->T, V = (double)s->V, W = (double)s->W;
    const double D = (double)s->D, moe = N * K * (W * F + S) + N * E + N * W * Fs + (s->cosine ? N * D : 0);
    const double weights = (W + 1) * S * (E * F + Fs) + E * D, dense = (double)s->Fd;
    const double activations =
        setup.recompute ? (L + 1) * R * C + 3 * R * C + (LM > 0) * moe + (LD > 0) * W * dense * R
                        : (8 * L + 1) * R * C + LM * moe + LD * W * dense * R + (s->qk_norm ? 2 * L * R : 0);
    const double rest = 4 * L * C * C + LD * (W + 1) * dense * C + LM * weights;
    return sizeof(real) * (activations + 4 * (V * C * (s->untied ? 2 : 1) + (s->learned ? T * C : 0) + rest));
}

/* What passes is counted right, and only what is absurd is refused. */
static void test_sizes_do_not_wrap(void **state) {
    (void)state;
    size_t passed = 0, refused = 0;
    struct rng rng;
    rng_seed(&rng, 25, 0);
    for (int i = 0; i < 6000; i++) {
        const struct config config = config_absurd(&rng);
        struct model_setup setup = {MODEL_TRAIN, (size_t)size_random(&rng, 65536), rng_next(&rng) % 2, STORAGE_F32};
        struct sizes s;
        struct error err;
        if (!config_check(&config, &s, &err)) continue;
        const double least = bytes_at_least(&s, setup);
        const double choices = (double)setup.batch * (double)s.T * (double)(s.H * s.K);
        if (!model_fits(&s, setup, &err)) {
            refused++;
            assert_int_equal(err.code, EXIT_USAGE);
            if (!(least > 0x1p46 || choices > INT32_MAX))
                fail_msg("%s, batch %zu: %s; at least %.4g", config_to_string(&config), setup.batch, err.text, least);
            continue;
        }
        passed++;
        const struct model_cost cost = model_cost(&s, setup);
        const double got = (double)cost.parameter_bytes + (double)cost.activation_bytes;
        assert_true(choices <= INT32_MAX);
        if (!(got >= least && got <= 64 * least + 0x1p40))
            fail_msg("%s, batch %zu: %.4g bytes, want from %.4g", config_to_string(&config), setup.batch, got, least);
    }
    print_message("%zu passed, %zu refused\n", passed, refused);
    assert_true(passed > 500 && refused > 500);
}

/* A model that cannot be is refused before anything is allocated. */
static void test_absurd_model_is_refused(void **state) {
    (void)state;
    struct config config = small_config;
    struct model m;
    struct error err;
    config.seq = 1 << 20;
    config.expert_hidden = 1 << 20;
    const struct model_setup setup = {MODEL_TRAIN, 65536, false, STORAGE_F32};
    assert_false(model_create(&m, &config, setup, &err));
    assert_int_equal(err.code, EXIT_USAGE);
    assert_non_null(strstr(err.text, "more memory than any machine has"));
    assert_non_null(strstr(err.text, "lower --batch"));
    config.expert_hidden = 1;
    config.channels = 12;
    config.layers = 1;
    config.seq = 10923; /* times 65536, 3 heads and one choice is just above 2^31 */
    config.topk = 1;
    assert_false(model_create(&m, &config, setup, &err));
    assert_int_equal(err.code, EXIT_USAGE);
    assert_non_null(strstr(err.text, "got 2147549184 choices"));
    struct sizes s;
    config.seq = 10922;
    assert_true(config_check(&config, &s, &err) && model_fits(&s, setup, &err));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cost_of_gpt2),
        cmocka_unit_test(test_cost_of_llama),
        cmocka_unit_test(test_cost_of_blocks),
        cmocka_unit_test(test_memory_of_blocks),
        cmocka_unit_test(test_cost_of_pictures),
        cmocka_unit_test(test_memory_of_pictures),
        cmocka_unit_test(test_parity),
        cmocka_unit_test(test_cost_of_choices),
        cmocka_unit_test(test_cost_of_recomputing),
        cmocka_unit_test(test_layer_of_model),
        cmocka_unit_test(test_sizes_do_not_wrap),
        cmocka_unit_test(test_absurd_model_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
