/* The model's options: what option_missing says of each is held against what a model does. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "small_model.h"

/* All that a step of a model leaves. */
static uint64_t step_hash(const struct config *config) {
    struct example b = example_random(2, 5, 37, 3);
    struct model m = model_make(config, MODEL_TRAIN, 2);
    model_initialize(&m, 4);
    const double loss = model_gradients(&m, &b);
    model_balance(&m);
    uint64_t hash = hash_bytes(HASH_START, &loss, sizeof loss);
    hash = hash_bytes(hash, &m.n_parameters, sizeof m.n_parameters);
    hash = hash_bytes(hash, &m.sizes.T, sizeof m.sizes.T);
    hash = hash_bytes(hash, m.grad_memory, m.n_parameters * sizeof(real));
    hash = hash_bytes(hash, m.router_bias, m.sizes.LM * m.sizes.E * sizeof(real));
    model_destroy(&m);
    example_free(&b);
    return hash;
}

/* The next setting of an option that makes a model, `tries` steps away; false if that is out of its range. */
static bool setting_next(const struct option_spec *spec, struct config *config, int tries) {
    char *field = (char *)config + spec->offset;
    int words = 0;
    switch (spec->type) {
        case OPTION_FLAG: *(bool *)field = !*(bool *)field; return tries == 1;
        case OPTION_REAL: *(double *)field += 0.25 * tries; return tries == 1;
        case OPTION_CHOICE:
            while (spec->choices[words]) words++;
            *(int *)field = (*(int *)field + tries) % words;
            if (strcmp(spec->name, "block") == 0) config_preset(config, NULL, 0, NULL);
            return tries < words;
        case OPTION_INT: *(int *)field += tries; return *(int *)field <= spec->high && tries < 30;
        default: return false;
    }
}

/* Whether another setting of it, alone, changes anything: what is refused would. */
static bool has_effect(const struct option_spec *spec, const struct config *config, uint64_t hash) {
    struct sizes sizes;
    struct error err;
    for (int tries = 1;; tries++) {
        struct config other = *config;
        if (!setting_next(spec, &other, tries)) return true;
        if (!config_check(&other, &sizes, &err)) continue;
        if (step_hash(&other) != hash) return true;
        if (spec->type != OPTION_CHOICE) return false; /* of several words one may do what another does */
    }
}

/* A choice without effect has none whichever word it is. */
static bool is_idle(const struct option_spec *spec, const struct config *config, uint64_t hash) {
    if (spec->type != OPTION_CHOICE) return !has_effect(spec, config, hash);
    struct config other = *config;
    for (int tries = 1; setting_next(spec, &other, tries); tries++, other = *config)
        if (step_hash(&other) != hash) return false;
    return true;
}

/* For every option, whatever the others are. */
static void test_idle_options(void **state) {
    (void)state;
    size_t idle = 0;
    for (int setting = 0; setting < 3 * 2 * 3; setting++) {
        struct config config = small_config;
        config.layers = 4;
        config.moe_every = 2;
        config.head_depth = config.merge_depth = 2;
        config.ffn = setting % 3;
        config.router = setting / 3 % 2;
        config.balance = setting / 6;
        const uint64_t hash = step_hash(&config);
        for (const struct option_spec *spec = model_options; spec->name; spec++) {
            const bool lacks = option_missing(&config, spec->name) != NULL;
            if (lacks != is_idle(spec, &config, hash))
                fail_msg("--%s: setting %d: %s", spec->name, setting, lacks ? "has an effect" : "has none");
            idle += lacks;
        }
    }
    assert_true(idle > 3 * 2 * 15);
}

static void test_what_is_lacking(void **state) {
    (void)state;
    struct config config = small_config;
    assert_string_equal(option_missing(&config, "router-dim"), "--router cosine");
    assert_string_equal(option_missing(&config, "bias-step"), "--balance bias");
    assert_null(option_missing(&config, "balance-weight"));
    assert_null(option_missing(&config, "no-such-option"));
    config.balance = BALANCE_NONE;
    assert_string_equal(option_missing(&config, "balance-weight"), "--balance aux");
    config.ffn = FFN_SMOE;
    assert_string_equal(option_missing(&config, "moe-heads"), "--ffn mhmoe");
    config.ffn = FFN_DENSE;
    assert_string_equal(option_missing(&config, "experts"), "--ffn smoe or mhmoe");
    assert_string_equal(option_missing(&config, "router-dim"), "--router cosine");
}

/* ---- Blocks ---- */

/* What each stands for, written out; the rest of a configuration is its own business. */
static void test_blocks(void **state) {
    (void)state;
    static const struct config want[BLOCKS] = {
        {.block = BLOCK_GPT2, .bias = true, .tie = true},
        {.block = BLOCK_LLAMA, .norm = NORM_RMS, .position = POSITION_ROTARY, .activation = ACTIVATION_SWIGLU},
        {.block = BLOCK_MODERN, .norm = NORM_RMS, .position = POSITION_ROTARY, .activation = ACTIVATION_RELU2,
         .tie = true, .qk_norm = true, .zero_start = true},
    };
    for (int was = 0; was < BLOCKS; was++)
        for (int block = 0; block < BLOCKS; block++) {
            struct config config = want[was];
            config.layers = 7;
            config.z_weight = 0.5;
            config.block = block;
            config_preset(&config, NULL, 0, NULL);
            assert_true(config.layers == 7 && config.z_weight == 0.5);
            config.layers = 0;
            config.z_weight = 0;
            char *got = config_to_string(&config), *expected = config_to_string(&want[block]);
            assert_string_equal(got, expected);
            free(got);
            free(expected);
        }
}

/* The table's defaults are those of the block that is the default. */
static void test_defaults_are_a_block(void **state) {
    (void)state;
    struct config config = {0};
    const struct option_group group = {model_options, &config};
    options_set_defaults(&group, 1);
    char *defaults = config_to_string(&config);
    config_preset(&config, NULL, 0, NULL);
    char *block = config_to_string(&config);
    assert_string_equal(block, defaults);
    free(defaults);
    free(block);
}

/* What there is of a block's tensors, for each setting of the seven. */
static void test_sizes_of_blocks(void **state) {
    (void)state;
    for (int i = 0; i < 64; i++) {
        struct config config = small_config;
        struct sizes s;
        struct error err;
        config.norm = i & 1 ? NORM_RMS : NORM_LAYER;
        config.position = i & 2 ? POSITION_ROTARY : POSITION_LEARNED;
        config.bias = i & 4;
        config.tie = i & 8;
        config.qk_norm = i & 16;
        config.zero_start = i & 32;
        assert_true(config_check(&config, &s, &err));
        assert_int_equal(s.learned, i & 2 ? 0 : 1);
        assert_int_equal(s.bias, i & 4 ? 1 : 0);
        assert_int_equal(s.shift, i & 4 && !(i & 1) ? 1 : 0); /* RMS norms have none */
        assert_int_equal(s.untied, i & 8 ? 0 : 1);
        assert_int_equal(s.qk_norm, i & 16 ? 1 : 0);
        assert_int_equal(s.zero_start, i & 32 ? 1 : 0);
    }
}

/* Hidden layers that are not told how wide to be: 4 times their input, or of three matrices as many parameters, to a
 * multiple of 8 where there is one. */
static void test_hidden_widths(void **state) {
    (void)state;
    static const size_t cases[][3] = { /* channels, two matrices, three */
        {768, 3072, 2048}, {256, 1024, 680}, {12, 48, 32}, {100, 400, 264}, {6, 24, 16}, {4, 16, 8}, {3, 12, 8},
        {2, 8, 5}, {1, 4, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int kind = ACTIVATION_GELU; kind <= ACTIVATION_RELU2; kind++)
            for (int told = 0; told < 2; told++) {
                struct config config = small_config;
                struct sizes s;
                struct error err;
                config.channels = (int)cases[i][0] * 3; /* as many for each of 3 MoE heads */
                config.attn_heads = 3;
                config.activation = kind;
                config.expert_hidden = told ? 11 : 0;
                assert_true(config_check(&config, &s, &err));
                const bool gated = kind == ACTIVATION_SWIGLU;
                assert_int_equal(s.F, told ? 11 : cases[i][1 + gated]);
                assert_int_equal(s.W, gated ? 2 : 1);
                config.ffn = FFN_DENSE;
                config.channels = (int)cases[i][0];
                config.attn_heads = 1;
                assert_true(config_check(&config, &s, &err));
                assert_int_equal(s.Fd, cases[i][1 + gated]);
            }
}

/* What no head can be cut from is refused with the next width that all can be cut from. */
static void test_channels_that_fit(void **state) {
    (void)state;
    size_t refused = 0;
    for (int i = 0; i < 40 * 6 * 6 * 2 * 3; i++) {
        struct config config = small_config;
        struct sizes s;
        struct error err;
        config.channels = 1 + i % 40;
        config.attn_heads = 1 + i / 40 % 6;
        config.moe_heads = 1 + i / 240 % 6;
        config.position = i / 1440 % 2;
        config.ffn = i / 2880;
        const int heads = config.attn_heads * (1 + config.position), moe_heads = config.moe_heads,
                  channels = config.channels;
        const bool multi_head = config.ffn == FFN_MHMOE;
        const bool fits = channels % heads == 0 && (!multi_head || channels % moe_heads == 0);
        assert_int_equal(config_check(&config, &s, &err), fits);
        if (fits) continue;
        refused++;
        assert_int_equal(err.code, EXIT_USAGE);
        const char *use = strstr(err.text, "; use --channels ");
        assert_non_null(use);
        config.channels = (int)strtol(use + 17, NULL, 10);
        assert_true(config.channels > channels);
        if (!config_check(&config, &s, &err)) fail_msg("%s", err.text);
        while (--config.channels > channels) assert_false(config_check(&config, &s, &err)); /* the next one */
    }
    assert_true(refused > 5000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle_options), cmocka_unit_test(test_what_is_lacking), cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_defaults_are_a_block), cmocka_unit_test(test_sizes_of_blocks),
        cmocka_unit_test(test_hidden_widths),
        cmocka_unit_test(test_channels_that_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
