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

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_idle_options), cmocka_unit_test(test_what_is_lacking)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
