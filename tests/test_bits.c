/* What must hold in every bit, in float as the programs run: causality, the KV cache, SMoE as a special
 * case of MH-MoE, sequences beside others, and any number of threads. Sizes are odd, and large enough that work is
 * split. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <omp.h>

#include "small_model.h"

enum model_kind {
    DENSE, SMOE, MHMOE, OTHER /* MH-MoE by config_other */, LLAMA, LLAMA_DENSE, MODERN,
    MASKED, MASKED_DENSE, MASKED_LLAMA, MASKED_MODERN, MASKED_TEXT /* no pictures */
};

static struct config config_of(enum model_kind kind) {
    switch (kind) {
        case MASKED_TEXT:
        case OTHER: return config_other(small_config);
        case MASKED_LLAMA:
        case LLAMA:
        case LLAMA_DENSE: return config_llama(small_config);
        case MASKED_MODERN:
        case MODERN: return config_modern(config_other(small_config));
        default: return small_config;
    }
}

static struct config split_config(enum model_kind kind) {
    struct config config = config_of(kind);
    if (kind >= MASKED) config = config_masked(config, kind == MASKED_TEXT ? 0 : 12);
    config.ffn = kind == DENSE || kind == LLAMA_DENSE || kind == MASKED_DENSE ? FFN_DENSE
                 : kind == SMOE || kind == MASKED_LLAMA                       ? FFN_SMOE
                                                                              : FFN_MHMOE;
    config.vocab = 211;
    config.codes = 307;
    config.seq = 65;
    config.channels = 48;
    config.attn_heads = 3;
    config.moe_heads = 4;
    config.experts = 11;
    config.expert_hidden = 23;
    return config;
}

/* What a test is about: of which kind, and what products are in when training. */
struct setting {
    enum model_kind kind;
    enum storage storage;
};
#define SETTINGS(storage)                                                                                         \
    {{DENSE, storage}, {SMOE, storage}, {MHMOE, storage}, {OTHER, storage}, {LLAMA, storage},                     \
     {LLAMA_DENSE, storage}, {MODERN, storage}, {MASKED, storage}, {MASKED_DENSE, storage},                       \
     {MASKED_LLAMA, storage}, {MASKED_MODERN, storage}, {MASKED_TEXT, storage}}
static const struct setting f32[] = SETTINGS(STORAGE_F32), in_bf16[] = SETTINGS(STORAGE_BF16);

static struct setting setting_of(void **state) { return *(const struct setting *)*state; }

/* A model to be trained as the setting says. */
static struct model trained_as(void **state, const struct config *config, size_t batch, uint64_t seed) {
    return model_random_stored(config, MODEL_TRAIN, batch, seed, setting_of(state).storage);
}

/* B examples of what the model is made for. */
static struct example example_for(const struct config *config, size_t B, uint64_t seed) {
    struct sizes s;
    struct error err;
    if (!config_check(config, &s, &err)) fail_msg("%s", err.text);
    return s.masked ? masked_random(&s, B, seed) : example_random(B, s.T, config->vocab, seed);
}

/* Copies logits (T - from, V) of the last forward. */
static void logits_copy(real *out, struct model *m, size_t rows) {
    size_t V = m->sizes.V;
    for (size_t r = 0; r < rows; r++) memcpy(out + r * V, model_logits(m, r), V * sizeof(real));
    model_overrun_check(m);
}

static void assert_bits_equal(const real *a, const real *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof(real)) != 0) fail_msg("number %zu of %zu: %.9g and %.9g", i, n, a[i], b[i]);
}

/* Changing the token at `at` leaves all logits before it alone, and changes those there. */
static void test_causality(void **state) {
    struct config config = split_config(setting_of(state).kind);
    struct model m = model_random(&config, MODEL_INFER, 1, 41);
    struct example b = example_random(1, m.sizes.T, config.vocab, 42);
    size_t T = m.sizes.T, V = m.sizes.V;
    real *before = array_alloc(T * V, sizeof(real)), *after = array_alloc(T * V, sizeof(real));
    model_forward(&m, &b.batch);
    logits_copy(before, &m, T);
    for (size_t at = 0; at < T; at++) {
        int32_t kept = b.tokens[at];
        b.tokens[at] = (kept + 1) % config.vocab;
        model_forward(&m, &b.batch);
        logits_copy(after, &m, T);
        assert_bits_equal(before, after, at * V);
        assert_memory_not_equal(before + at * V, after + at * V, V * sizeof(real));
        b.tokens[at] = kept;
    }
    free(before);
    free(after);
    example_free(&b);
    model_destroy(&m);
}

/* What a row attends to is what it is told: of one block, its logits depend on its own token and on those that it sees,
 * and on no other. */
static void test_sight(void **state) {
    struct config config = split_config(setting_of(state).kind);
    config.layers = config.moe_every = 1;
    struct model m = model_random(&config, MODEL_INFER, 1, 41);
    struct example b = example_random(1, m.sizes.T, config.vocab, 42);
    const size_t T = m.sizes.T, V = m.sizes.V;
    real *before = array_alloc(T * V, sizeof(real)), *after = array_alloc(T * V, sizeof(real));
    sights_random(&b, 43);
    model_forward(&m, &b.batch);
    logits_copy(before, &m, T);
    for (size_t at = 0; at < T; at += 3) {
        const int32_t kept = b.tokens[at];
        b.tokens[at] = (kept + 1) % config.vocab;
        model_forward(&m, &b.batch);
        logits_copy(after, &m, T);
        for (size_t t = 0; t < T; t++) {
            const bool changed = memcmp(before + t * V, after + t * V, V * sizeof(real)) != 0;
            assert_int_equal(changed, t == at || (size_t)b.ends[t] > at);
        }
        b.tokens[at] = kept;
    }
    free(before);
    free(after);
    example_free(&b);
    model_destroy(&m);
}

/* A sequence in pieces, 0 behind the last, has the logits of the sequence at once, and those of a model made for
 * training. The first `prefix` tokens, if any, see each other both ways. */
static void cache_check(const struct config *config, size_t prefix, const size_t *pieces) {
    struct model whole = model_random(config, MODEL_TRAIN, 1, 43);
    struct model cached = model_random(config, MODEL_INFER, 1, 43);
    struct example b = example_random(1, whole.sizes.T, config->vocab, 44);
    size_t T = whole.sizes.T, V = whole.sizes.V, from = 0;
    real *at_once = array_alloc(T * V, sizeof(real)), *in_pieces = array_alloc(T * V, sizeof(real));
    if (prefix) sights_random(&b, 45);
    for (size_t t = 0; prefix && t < T; t++) b.ends[t] = (int32_t)(t < prefix ? prefix : t + 1);
    model_forward(&whole, &b.batch);
    logits_copy(at_once, &whole, T);
    for (; *pieces; from += *pieces++) {
        const struct batch piece = example_piece(&b, from, from + *pieces);
        model_forward(&cached, &piece);
        logits_copy(in_pieces + from * V, &cached, *pieces);
    }
    assert_int_equal(from, T);
    assert_bits_equal(at_once, in_pieces, T * V);
    free(at_once);
    free(in_pieces);
    example_free(&b);
    model_destroy(&whole);
    model_destroy(&cached);
}

static void test_kv_cache(void **state) {
    const struct config config = split_config(setting_of(state).kind);
    cache_check(&config, 0, (const size_t[]){1, 2, 7, 1, 1, 31, 1, 16, 5, 0});
    cache_check(&config, 10, (const size_t[]){10, 1, 1, 31, 1, 16, 5, 0});
}

/* Gives m the weights of a model of the same configuration. */
static void weights_copy(struct model *m, const struct model *from) {
    memcpy(m->param_memory, from->param_memory, from->n_parameters * sizeof(real));
    memcpy(m->router_bias, from->router_bias, from->sizes.LM * from->sizes.E * sizeof(real));
    model_pack(m);
}

/* Logits (T, V) of a model whose matrices are held in `storage`, in pieces of `piece` tokens. */
static real *stored_logits(const struct model *like, const struct example *b, enum storage storage, size_t piece) {
    struct model m;
    struct error err;
    const size_t T = like->sizes.T, V = like->sizes.V;
    real *logits = array_alloc(T * V, sizeof *logits);
    if (!model_create(&m, &like->config, (struct model_setup){MODEL_INFER, 1, false, storage}, &err))
        fail_msg("%s", err.text);
    weights_copy(&m, like);
    for (size_t from = 0; from < T; from += piece) {
        const size_t n = T - from < piece ? T - from : piece;
        const struct batch shown = example_piece(b, from, from + n);
        model_forward(&m, &shown);
        logits_copy(logits + from * V, &m, n);
    }
    model_destroy(&m);
    return logits;
}

/* bf16 and int8: the prompt at once, in pieces and token by token give the same bits; and logits move
 * about as rounding moves weights: by 0.1% (bf16: up to 2^-9 of each) or 0.7% (int8: up to 1/254 of the largest of
 * 48, which is twice their size), which random weights as large as these magnify several times, and not a hundred; a
 * hidden number of swiglu is the product of two that have moved. */
static void test_stored_weights(void **state) {
    struct config config = split_config(setting_of(state).kind);
    struct model m = model_random(&config, MODEL_INFER, 1, 43);
    struct example b = example_random(1, m.sizes.T, config.vocab, 44);
    const size_t n = m.sizes.T * m.sizes.V;
    real *exact = stored_logits(&m, &b, STORAGE_F32, m.sizes.T);
    for (int storage = STORAGE_BF16; storage < STORAGES; storage++) {
        real *at_once = stored_logits(&m, &b, (enum storage)storage, m.sizes.T);
        for (size_t piece = 1; piece < 40; piece += 19) {
            real *in_pieces = stored_logits(&m, &b, (enum storage)storage, piece);
            assert_bits_equal(at_once, in_pieces, n);
            free(in_pieces);
        }
        double error = 0, size = 0;
        for (size_t i = 0; i < n; i++) {
            error += pow(at_once[i] - exact[i], 2);
            size += pow(exact[i], 2);
        }
        const double times = config.activation == ACTIVATION_SWIGLU ? 20 : 10;
        const double allowed = times * (storage == STORAGE_BF16 ? 0.001 : 0.007);
        assert_true(error > 0);
        if (config.ffn == FFN_DENSE) /* an expert that a rounding chose moves more */
            assert_true(sqrt(error / size) < allowed);
        free(at_once);
    }
    free(exact);
    example_free(&b);
    model_destroy(&m);
}

static bool is_router(const struct parameter_info *info) { return strncmp(info->name, "router", 6) == 0; }

/* Gives every matrix but the routers' numbers that all storages hold exactly: whole multiples, of up to 127, of 2^-10,
 * with 127 itself in each row. */
static void matrices_to_grid(struct model *m) {
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
        const struct parameter_info *info = &m->info[i];
        if (!info->decay || is_router(info)) continue;
        for (size_t j = 0; j < info->count; j++) {
            real *w = m->param_memory + info->offset + j;
            *w = (real)ldexp(j % info->columns ? fmax(-127, fmin(127, rint((double)*w * 127))) : 127, -10);
        }
    }
    model_pack(m);
}

/* A copy of m whose routers are rounded as INT8 rounds. */
static void routers_round(struct model *copy, const struct model *m) {
    weights_copy(copy, m);
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
        const struct parameter_info *info = &m->info[i];
        for (size_t row = 0; info->decay && is_router(info) && row < info->matrices * info->rows; row++) {
            real *w = copy->param_memory + info->offset + row * info->columns, high = 0;
            for (size_t c = 0; c < info->columns; c++) high = fmaxf(high, fabsf(w[c]));
            for (size_t c = 0; c < info->columns; c++) w[c] = rintf(w[c] / (high / 127)) * (high / 127);
        }
    }
}

/* Routers stay in float: where all other matrices hold what they held, the output is the same to the bit. Rounded ones
 * would show. */
static void test_stored_routers(void **state) {
    struct config config = split_config(setting_of(state).kind);
    struct model m = model_random(&config, MODEL_INFER, 1, 45), rounded = model_make(&config, MODEL_INFER, 1);
    struct example b = example_random(1, m.sizes.T, config.vocab, 46);
    const size_t n = m.sizes.T * m.sizes.V;
    matrices_to_grid(&m);
    routers_round(&rounded, &m);
    real *exact = stored_logits(&m, &b, STORAGE_F32, m.sizes.T);
    real *without = stored_logits(&rounded, &b, STORAGE_F32, m.sizes.T);
    if (config.ffn != FFN_DENSE) assert_memory_not_equal(without, exact, n * sizeof *exact);
    for (int storage = STORAGE_BF16; storage < STORAGES; storage++) {
        real *stored = stored_logits(&m, &b, (enum storage)storage, m.sizes.T);
        assert_bits_equal(stored, exact, n);
        free(stored);
    }
    free(exact);
    free(without);
    example_free(&b);
    model_destroy(&m);
    model_destroy(&rounded);
}

/* A block's forward made again in backward is the same forward: same loss, gradients and load, less memory. */
static void test_recompute(void **state) {
    struct config config = split_config(setting_of(state).kind);
    struct example b = example_for(&config, 3, 50);
    struct error err;
    config.layers = 5;
    struct model kept = trained_as(state, &config, 3, 51), again;
    const struct model_setup setup = {MODEL_TRAIN, 3, true, setting_of(state).storage};
    if (!model_create(&again, &config, setup, &err)) fail_msg("%s", err.text);
    weights_copy(&again, &kept);
    for (int step = 0; step < 2; step++) {
        assert_true(model_gradients(&kept, &b) == model_gradients(&again, &b));
        assert_bits_equal(kept.grad_memory, again.grad_memory, kept.n_parameters);
        assert_memory_equal(kept.load, again.load, kept.sizes.LM * kept.sizes.E * sizeof *kept.load);
        assert_memory_equal(kept.z_sum, again.z_sum, kept.sizes.LM * sizeof *kept.z_sum);
        assert_int_equal(kept.forwards, again.forwards);
    }
    assert_true(model_cost(&again.sizes, setup).activation_bytes <
                model_cost(&kept.sizes, kept.setup).activation_bytes * 3 / 4);
    model_destroy(&kept);
    model_destroy(&again);
    example_free(&b);
}

static void smoe_check(enum model_kind kind, enum storage storage) {
    struct config config = split_config(kind);
    config.ffn = FFN_SMOE;
    struct model smoe = model_random_stored(&config, MODEL_TRAIN, 3, 45, storage);
    config.ffn = FFN_MHMOE;
    config.moe_heads = 1;
    config.head_depth = config.merge_depth = 0;
    struct model mhmoe = model_random_stored(&config, MODEL_TRAIN, 3, 45, storage);
    struct example b = example_random(3, smoe.sizes.T, config.vocab, 46);
    assert_int_equal(smoe.n_parameters, mhmoe.n_parameters);
    assert_bits_equal(smoe.param_memory, mhmoe.param_memory, smoe.n_parameters);
    assert_true(model_gradients(&smoe, &b) == model_gradients(&mhmoe, &b));
    assert_bits_equal(smoe.grad_memory, mhmoe.grad_memory, smoe.n_parameters);
    example_free(&b);
    model_destroy(&smoe);
    model_destroy(&mhmoe);
}

/* MH-MoE with one head and neither head nor merge layers is SMoE. */
static void test_smoe_is_one_head(void **state) {
    (void)state;
    for (int storage = STORAGE_F32; storage <= STORAGE_BF16; storage++) {
        smoe_check(SMOE, (enum storage)storage);
        smoe_check(OTHER, (enum storage)storage);
        smoe_check(LLAMA, (enum storage)storage);
        smoe_check(MODERN, (enum storage)storage);
    }
}

/* Loss, gradients and the next biases on 1, 2, 3, 7 and 8 threads. */
static void test_threads(void **state) {
    struct config config = split_config(setting_of(state).kind);
    const int threads[] = {1, 2, 3, 7, 8}, before = omp_get_max_threads();
    struct example b = example_for(&config, 3, 47);
    double loss = 0;
    real *grads = NULL, *biases = NULL, *losses = NULL;
    const size_t rows = batch_rows(&b.batch);
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        omp_set_num_threads(threads[i]);
        struct model m = trained_as(state, &config, 3, 48);
        const size_t n_biases = m.sizes.LM * m.sizes.E;
        double loss_i = model_gradients(&m, &b);
        if (i == 0) {
            loss = loss_i;
            grads = array_alloc(m.n_parameters, sizeof(real));
            memcpy(grads, m.grad_memory, m.n_parameters * sizeof(real));
            losses = array_alloc(rows, sizeof(real));
            memcpy(losses, model_losses(&m), rows * sizeof(real));
            omp_set_num_threads(8); /* more than before: its work memory has to grow */
            loss_i = model_gradients(&m, &b);
        }
        model_balance(&m);
        if (i == 0) {
            biases = array_alloc(n_biases + 1, sizeof(real));
            memcpy(biases, m.router_bias, n_biases * sizeof(real));
        }
        assert_bits_equal(model_losses(&m), losses, rows);
        assert_true(loss_i == loss);
        assert_bits_equal(m.grad_memory, grads, m.n_parameters);
        assert_bits_equal(m.router_bias, biases, n_biases);
        model_destroy(&m);
    }
    omp_set_num_threads(before);
    free(grads);
    free(biases);
    free(losses);
    example_free(&b);
}

/* ---- Sequences beside others ---- */

/* Logits of each row of a batch: of pieces, or of codes and then zeros; (rows, LOGITS). malloc'ed. */
enum { LOGITS = 307 };
static real *rows_logits(struct model *m, const struct batch *batch) {
    const size_t rows = batch_rows(batch);
    real *out = array_alloc(rows * LOGITS, sizeof(real));
    model_forward(m, batch);
    for (size_t r = 0; r < rows; r++) {
        const size_t n = batch->positions && (size_t)batch->positions[r] < m->sizes.P ? m->sizes.codes : m->sizes.V;
        memcpy(out + r * LOGITS, model_logits(m, r), n * sizeof(real));
    }
    model_overrun_check(m);
    return out;
}

/* Shows something else at row r, a number of a patch or another token. */
static void row_change(struct example *e, const struct sizes *s, size_t r) {
    size_t patch = 0;
    for (size_t i = 0; i < r; i++) patch += e->tokens[i] == TOKEN_PATCH;
    if (e->tokens[r] == TOKEN_PATCH) e->patches[patch * s->Q + r % s->Q] += 1;
    else if (e->tokens[r] == TOKEN_HIDDEN && (size_t)e->positions[r] >= s->P) e->tokens[r] = 1;
    else if (e->tokens[r] != TOKEN_HIDDEN) e->tokens[r] = e->tokens[r] ? TOKEN_HIDDEN : 1;
}

/* A row's logits depend on each row of its own sequence, and on no other. */
static void test_own_sequence(void **state) {
    const struct config config = split_config(setting_of(state).kind);
    struct model m = model_random(&config, MODEL_INFER, 7, 61);
    for (size_t at = 0; at < 40; at++) {
        struct example e = masked_random(&m.sizes, 7, 62);
        const size_t rows = batch_rows(&e.batch), r = at * 997 % rows;
        real *before = rows_logits(&m, &e.batch);
        const bool hidden_patch = e.tokens[r] == TOKEN_HIDDEN && (size_t)e.positions[r] < m.sizes.P;
        row_change(&e, &m.sizes, r);
        real *after = rows_logits(&m, &e.batch);
        for (size_t b = 0; b < 7; b++) {
            const bool own = (int32_t)r >= e.offsets[b] && (int32_t)r < e.offsets[b + 1] && !hidden_patch;
            for (size_t i = (size_t)e.offsets[b]; i < (size_t)e.offsets[b + 1]; i++) {
                const bool same = memcmp(before + i * LOGITS, after + i * LOGITS, LOGITS * sizeof(real)) == 0;
                if (same == own) fail_msg("row %zu changed: row %zu is %s", r, i, same ? "the same" : "another");
            }
        }
        free(before);
        free(after);
        example_free(&e);
    }
    model_destroy(&m);
}

static struct model stored_model(const struct model *like, enum storage storage) {
    struct model m;
    struct error err;
    if (!model_create(&m, &like->config, (struct model_setup){MODEL_INFER, 7, false, storage}, &err))
        fail_msg("%s", err.text);
    weights_copy(&m, like);
    return m;
}

/* A sequence's logits do not depend on what stands beside it: all at once, two by two, each alone, and in a model made
 * for training. */
static void test_sequences_beside(void **state) {
    const struct config config = split_config(setting_of(state).kind);
    struct model trained = model_random(&config, MODEL_TRAIN, 7, 63);
    struct example e = example_for(&config, 7, 64);
    for (int storage = 0; storage < STORAGES; storage++) {
        struct model m = stored_model(&trained, (enum storage)storage);
        real *at_once = rows_logits(&m, &e.batch);
        for (size_t from = 0, step = 1; from < 7; from += step, step = 3 - step) {
            int32_t offsets[8];
            const struct batch piece = masked_piece(&e, &m.sizes, from, from + step, offsets);
            real *logits = rows_logits(&m, &piece);
            assert_bits_equal(logits, at_once + (size_t)e.offsets[from] * LOGITS, batch_rows(&piece) * LOGITS);
            free(logits);
        }
        real *other = rows_logits(&trained, &e.batch);
        if (storage == STORAGE_F32) assert_bits_equal(other, at_once, batch_rows(&e.batch) * LOGITS);
        else assert_memory_not_equal(other, at_once, batch_rows(&e.batch) * LOGITS * sizeof(real));
        free(other);
        free(at_once);
        model_destroy(&m);
    }
    example_free(&e);
    model_destroy(&trained);
}

/* What is causal needs no sequences of one length either: each is what it is alone, wherever it stands. */
static void test_causal_sequences(void **state) {
    const struct config config = split_config(setting_of(state).kind);
    enum { B = 4, ROWS = 65 + 1 + 30 + 64 };
    const int32_t offsets[B + 1] = {0, 30, 95, 96, ROWS};
    struct model m = trained_as(state, &config, B, 65);
    struct example e = example_random(1, ROWS, config.vocab, 66);
    int32_t positions[ROWS];
    for (size_t b = 0; b < B; b++)
        for (int32_t r = offsets[b]; r < offsets[b + 1]; r++) positions[r] = r - offsets[b];
    e.batch = (struct batch){.B = B, .T = 65, .tokens = e.tokens, .targets = e.targets, .offsets = offsets,
                             .positions = positions};
    real *at_once = rows_logits(&m, &e.batch);
    for (size_t b = 0; b < B; b++) {
        const size_t start = (size_t)offsets[b], length = (size_t)offsets[b + 1] - start;
        real *alone = rows_logits(&m, &(struct batch){.B = 1, .T = length, .tokens = e.tokens + start});
        assert_bits_equal(alone, at_once + start * LOGITS, length * LOGITS);
        free(alone);
    }
    assert_true(isfinite(model_gradients(&m, &e)));
    free(at_once);
    example_free(&e);
    model_destroy(&m);
}

#define FOR_EACH_KIND(test, dtype)                                                     \
    {#test " " #dtype " dense", test, NULL, NULL, (void *)&dtype[DENSE]},              \
    {#test " " #dtype " smoe", test, NULL, NULL, (void *)&dtype[SMOE]},                \
    {#test " " #dtype " mhmoe", test, NULL, NULL, (void *)&dtype[MHMOE]},              \
    {#test " " #dtype " other", test, NULL, NULL, (void *)&dtype[OTHER]},              \
    {#test " " #dtype " llama", test, NULL, NULL, (void *)&dtype[LLAMA]},              \
    {#test " " #dtype " llama dense", test, NULL, NULL, (void *)&dtype[LLAMA_DENSE]},  \
    {#test " " #dtype " modern", test, NULL, NULL, (void *)&dtype[MODERN]}

#define FOR_EACH_MASKED_KIND(test, dtype)                                                \
    {#test " " #dtype " masked", test, NULL, NULL, (void *)&dtype[MASKED]},              \
    {#test " " #dtype " masked dense", test, NULL, NULL, (void *)&dtype[MASKED_DENSE]},  \
    {#test " " #dtype " masked llama", test, NULL, NULL, (void *)&dtype[MASKED_LLAMA]},  \
    {#test " " #dtype " masked modern", test, NULL, NULL, (void *)&dtype[MASKED_MODERN]}, \
    {#test " " #dtype " masked text", test, NULL, NULL, (void *)&dtype[MASKED_TEXT]}

int main(void) {
    const struct CMUnitTest tests[] = {
        FOR_EACH_KIND(test_causality, f32),
        FOR_EACH_KIND(test_sight, f32),
        FOR_EACH_KIND(test_kv_cache, f32),
        FOR_EACH_KIND(test_stored_weights, f32),
        FOR_EACH_KIND(test_stored_routers, f32),
        FOR_EACH_KIND(test_causal_sequences, f32),
        FOR_EACH_KIND(test_causal_sequences, in_bf16),
        FOR_EACH_MASKED_KIND(test_own_sequence, f32),
        FOR_EACH_MASKED_KIND(test_sequences_beside, f32),
        FOR_EACH_KIND(test_threads, f32),
        FOR_EACH_KIND(test_threads, in_bf16),
        FOR_EACH_MASKED_KIND(test_threads, f32),
        FOR_EACH_MASKED_KIND(test_threads, in_bf16),
        FOR_EACH_KIND(test_recompute, f32),
        FOR_EACH_KIND(test_recompute, in_bf16),
        FOR_EACH_MASKED_KIND(test_recompute, f32),
        FOR_EACH_MASKED_KIND(test_recompute, in_bf16),
        cmocka_unit_test(test_smoe_is_one_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
