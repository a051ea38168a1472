/* The model's options: what option_missing says of each is held against what a model does; what is refused, and what a
 * checkpoint says of them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <unistd.h>

#include "small_model.h"

/* All that a step of a model leaves. */
static uint64_t step_hash(const struct config *config) {
    struct example b = example_random(2, 5, 37, 3);
    b.tokens[3] = DOCUMENT_TOKEN; /* what --documents heeds */
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
    for (int setting = 0; setting < 2 * 3 * 2 * 3; setting++) {
        struct config config = setting < 3 * 2 * 3 ? small_config : config_masked(small_config, 4);
        config.layers = 4;
        config.moe_every = 2;
        config.head_depth = config.merge_depth = 2;
        config.ffn = setting % 3;
        config.router = setting / 3 % 2;
        config.balance = setting / 6 % 3;
        const uint64_t hash = step_hash(&config);
        for (const struct option_spec *spec = model_options; spec->name; spec++) {
            const bool lacks = option_missing(&config, spec->name) != NULL;
            if (lacks != is_idle(spec, &config, hash))
                fail_msg("--%s: setting %d: %s", spec->name, setting, lacks ? "has an effect" : "has none");
            idle += lacks;
        }
    }
    assert_true(idle > 2 * 3 * 2 * 15);
}

static void test_what_is_lacking(void **state) {
    (void)state;
    struct config config = small_config;
    assert_string_equal(option_missing(&config, "router-dim"), "--router cosine");
    assert_string_equal(option_missing(&config, "bias-step"), "--balance bias");
    assert_null(option_missing(&config, "balance-weight"));
    assert_null(option_missing(&config, "no-such-option"));
    for (size_t i = 0; i < 3; i++) {
        const char *const of_pictures[] = {"size", "patch", "codes"};
        const struct config masked = config_masked(config, 4);
        assert_string_equal(option_missing(&config, of_pictures[i]), "--task masked");
        assert_null(option_missing(&masked, of_pictures[i]));
    }
    assert_null(option_missing(&config, "task"));
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

/* ---- Pictures ---- */

/* What a message says is to be done: the number behind "use --NAME ", or -1 where it does not say that. */
static int remedy(const struct error *err, const char *name) {
    char *words = string_format("; use --%s ", name);
    const char *at = strstr(err->text, words);
    const int number = at ? (int)strtol(at + strlen(words), NULL, 10) : -1;
    free(words);
    return number;
}

/* The largest value that an option takes. */
static int most_of(const char *name) { return (int)option_find(model_options, name)->high; }

/* What is refused passes when what the message says is done: --size first, if it is not cut into whole patches, to a
 * multiple next to it, and then the least --seq; or there is none, and --patch is to be raised. */
static void picture_check(int size, int patch, int seq) {
    struct config config = config_masked(small_config, 4);
    struct sizes s;
    struct error err;
    config.size = size;
    config.patch = patch;
    config.seq = seq;
    if (size % patch) {
        assert_false(config_check(&config, &s, &err));
        assert_int_equal(err.code, EXIT_USAGE);
        config.size = remedy(&err, "size");
        assert_true(config.size > 0 && config.size % patch == 0 && config.size <= most_of("size"));
        assert_true(abs(config.size - size) < patch);
        assert_true(config.size > size || size - size % patch + patch > most_of("size"));
    }
    const int side = config.size / patch, P = side * side;
    const bool room = size == 0 || seq >= P + 2;
    assert_int_equal(config_check(&config, &s, &err), room);
    if (!room) {
        assert_int_equal(err.code, EXIT_USAGE);
        assert_int_equal(remedy(&err, "seq"), P + 2);
        assert_non_null(strstr(err.text, "larger patches (--patch)"));
        if (P + 2 > most_of("seq")) return;
        config.seq = P + 1;
        assert_false(config_check(&config, &s, &err));
        config.seq = P + 2;
        if (!config_check(&config, &s, &err)) fail_msg("%s", err.text);
    }
    assert_int_equal(s.masked, 1);
    assert_int_equal(s.P, P);
    assert_int_equal(s.Q, size ? 3 * patch * patch : 0);
    assert_int_equal(s.codes, size ? 11 : 0);
}

static void test_pictures_that_fit(void **state) {
    (void)state;
    for (int size = 0; size <= 20; size++)
        for (int patch = 1; patch <= 23; patch++)
            for (int seq = 1; seq <= 50; seq += 7) picture_check(size, patch, seq);
    static const int large[][3] = {{1020, 100, 120}, {1023, 256, 18}, {1024, 256, 17}, {1024, 1, 128}, {1023, 1, 128},
                                   {1001, 250, 5}, {1024, 2, 1 << 18}, {3, 256, 3}, {768, 256, 11}};
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) picture_check(large[i][0], large[i][1], large[i][2]);
}

/* A model of text has no pictures, whatever is said of them. */
static void test_text_has_no_pictures(void **state) {
    (void)state;
    struct config config = config_masked(small_config, 4);
    struct sizes s;
    struct error err;
    config.task = TASK_TEXT;
    config.size = 5; /* in no whole patches */
    config.seq = 1;
    assert_true(config_check(&config, &s, &err));
    assert_int_equal(s.masked + s.P + s.Q + s.codes, 0);
}

/* ---- Checkpoints ---- */

#define MODEL "model.safetensors"

/* Writes a model's tensors, with `config` as what the file says of it. */
static void model_write(const struct model *m, const char *config) {
    struct tensor tensors[MODEL_TENSORS];
    struct error err;
    json_t *metadata = json_object();
    checkpoint_note(metadata, "format", MODEL_FORMAT);
    checkpoint_note(metadata, "config", config);
    const size_t n = model_state(m, tensors);
    if (!checkpoint_write(MODEL, tensors, n, metadata, &err)) fail_msg("%s", err.text);
    json_decref(metadata);
}

static int in_folder(void **state) {
    char folder[] = "/tmp/test_config.XXXXXX";
    if (!mkdtemp(folder)) return -1;
    *state = string_format("%s", folder);
    return chdir(folder);
}

static int folder_remove(void **state) {
    char *folder = *state;
    unlink(MODEL);
    const int failed = chdir("/") || rmdir(folder);
    free(folder);
    return failed;
}

/* The options that a user can set, with all that small_config leaves at numbers that no option takes. */
static struct config config_possible(void) {
    struct config config = small_config;
    config.vocab = 300;
    config.patch = 8;
    config.codes = 512;
    return config;
}

/* A masked model comes back as it was, with its pictures and without. */
static void test_masked_checkpoint(void **state) {
    (void)state;
    const struct config gpt2 = config_possible(), blocks[] = {gpt2, config_llama(gpt2), config_modern(gpt2)};
    for (int i = 0; i < 6; i++) {
        const struct config config = config_masked(blocks[i / 2], i % 2 ? 4 : 0);
        struct model m = model_random(&config, MODEL_TRAIN, 1, 7), again;
        struct checkpoint c;
        struct error err;
        char *said = config_to_string(&config);
        model_write(&m, said);
        assert_true(checkpoint_open(&c, MODEL, &err));
        if (!model_load(&again, &c, (struct model_setup){MODEL_INFER, 1, false, STORAGE_F32}, &err))
            fail_msg("%s", err.text);
        char *read = config_to_string(&again.config);
        assert_string_equal(read, said);
        assert_int_equal(again.n_parameters, m.n_parameters);
        assert_memory_equal(again.param_memory, m.param_memory, m.n_parameters * sizeof(real));
        checkpoint_close(&c);
        free(said);
        free(read);
        model_destroy(&m);
        model_destroy(&again);
    }
}

/* What a file said before there were tasks is a model of text; options that it does not name are the table's. */
static void test_checkpoint_without_task(void **state) {
    (void)state;
    const struct config config = config_possible();
    struct model m = model_random(&config, MODEL_TRAIN, 1, 8);
    struct config read;
    struct checkpoint c;
    struct error err;
    char *all = config_to_string(&config);
    json_t *object = json_loads(all, 0, NULL);
    const char *const new_keys[] = {"task", "size", "patch", "codes", "documents"};
    for (size_t i = 0; i < 5; i++) assert_int_equal(json_object_del(object, new_keys[i]), 0);
    char *old = json_dumps(object, JSON_COMPACT);
    model_write(&m, old);
    assert_true(checkpoint_open(&c, MODEL, &err));
    if (!config_from_checkpoint(&read, &c, &err)) fail_msg("%s", err.text);
    char *got = config_to_string(&read);
    assert_int_equal(read.task, TASK_TEXT);
    assert_false(read.documents);
    assert_string_equal(got, all);
    checkpoint_close(&c);
    json_object_set_new(object, "task", json_string("masked")); /* who says that says the rest */
    free(old);
    old = json_dumps(object, JSON_COMPACT);
    model_write(&m, old);
    assert_true(checkpoint_open(&c, MODEL, &err));
    assert_false(config_from_checkpoint(&read, &c, &err));
    assert_non_null(strstr(err.text, "size: missing"));
    checkpoint_close(&c);
    json_decref(object);
    free(all);
    free(old);
    free(got);
    model_destroy(&m);
}

/* A file that says what cannot be was put together wrongly; one that says another codebook has other tensors. */
static void test_impossible_checkpoints(void **state) {
    (void)state;
    const struct config config = config_masked(config_possible(), 4);
    struct model m = model_random(&config, MODEL_TRAIN, 1, 9), other;
    const char *const wrong[][3] = {{"\"size\":4", "\"size\":5", "--size 5 is not divisible by --patch 2"},
                                    {"\"seq\":9", "\"seq\":5", "--seq 5 has no room for the 4 patches"},
                                    {"\"codes\":11", "\"codes\":12", "tensor codew: wrong shape"}};
    for (size_t i = 0; i < 3; i++) {
        struct checkpoint c;
        struct error err;
        char *said = config_to_string(&config), *at = strstr(said, wrong[i][0]);
        assert_non_null(at);
        char *text = string_format("%.*s%s%s", (int)(at - said), said, wrong[i][1], at + strlen(wrong[i][0]));
        model_write(&m, text);
        assert_true(checkpoint_open(&c, MODEL, &err));
        assert_false(model_load(&other, &c, (struct model_setup){MODEL_INFER, 1, false, STORAGE_F32}, &err));
        assert_int_equal(err.code, i < 2 ? EXIT_INPUT : EXIT_MISMATCH);
        if (!strstr(err.text, wrong[i][2])) fail_msg("%s", err.text);
        checkpoint_close(&c);
        free(text);
        free(said);
    }
    model_destroy(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle_options), cmocka_unit_test(test_what_is_lacking), cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_defaults_are_a_block), cmocka_unit_test(test_sizes_of_blocks),
        cmocka_unit_test(test_hidden_widths),
        cmocka_unit_test(test_channels_that_fit), cmocka_unit_test(test_pictures_that_fit),
        cmocka_unit_test(test_text_has_no_pictures), cmocka_unit_test(test_masked_checkpoint),
        cmocka_unit_test(test_checkpoint_without_task), cmocka_unit_test(test_impossible_checkpoints),
    };
    return cmocka_run_group_tests(tests, in_folder, folder_remove);
}
