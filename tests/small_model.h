/* Small models with random weights, batches for them, and comparison: what the model's tests start from.
 * To be included after cmocka.h. */
#ifndef SMALL_MODEL_H
#define SMALL_MODEL_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../mhmoe.h"

/* What each --block stands for, beside zeros. */
#define GPT2_BLOCK .bias = true, .tie = true
#define LLAMA_BLOCK .norm = NORM_RMS, .position = POSITION_ROTARY, .activation = ACTIVATION_SWIGLU
#define MODERN_BLOCK                                                                                           \
    .norm = NORM_RMS, .position = POSITION_ROTARY, .activation = ACTIVATION_RELU2, .tie = true, .qk_norm = true, \
    .zero_start = true

/* Odd sizes, everything on; each test changes what it is about. */
static const struct config small_config = {
    GPT2_BLOCK,
    .vocab = 37, .seq = 9, .layers = 2, .channels = 12, .attn_heads = 2, .ffn = FFN_MHMOE, .moe_heads = 3,
    .experts = 5, .topk = 2, .expert_hidden = 7, .moe_every = 1, .head_depth = 1, .merge_depth = 1,
    .router_dim = 3, .balance = BALANCE_AUX, .balance_weight = 0.01, .bias_step = 1e-3,
};

/* The same with the other choice wherever there is one. */
static inline struct config config_other(struct config config) {
    config.router = ROUTER_COSINE;
    config.balance = BALANCE_BIAS;
    config.z_weight = 0.1;
    config.shared_hidden = 5;
    config.head_depth = 2;
    config.merge_depth = 3;
    config.renormalize = true;
    return config;
}

/* The same model of another block. */
static inline struct config config_llama(struct config config) {
    config.norm = NORM_RMS;
    config.position = POSITION_ROTARY;
    config.activation = ACTIVATION_SWIGLU;
    config.bias = config.tie = false;
    return config;
}

static inline struct config config_modern(struct config config) {
    config = config_llama(config);
    config.activation = ACTIVATION_RELU2;
    config.tie = config.qk_norm = config.zero_start = true;
    return config;
}

static inline struct model model_make(const struct config *config, enum model_use use, size_t batch) {
    struct model m;
    struct error err;
    if (!model_create(&m, config, (struct model_setup){use, batch, false, STORAGE_F32}, &err)) fail_msg("%s", err.text);
    return m;
}

/* GPT-2's initialisation leaves most paths too weak for an error in them to show: noise on everything,
 * and biases as large as differences of probabilities. */
static inline struct model model_random(const struct config *config, enum model_use use, size_t batch,
                                        uint64_t seed) {
    struct model m = model_make(config, use, batch);
    model_initialize(&m, seed);
    struct rng rng;
    rng_seed(&rng, seed, 12345);
    for (size_t i = 0; i < m.n_parameters; i++) m.param_memory[i] += (real)(0.3 * rng_normal(&rng));
    for (size_t i = 0; config->balance == BALANCE_BIAS && i < m.sizes.LM * m.sizes.E; i++)
        m.router_bias[i] = (real)(0.1 * rng_normal(&rng));
    model_pack(&m);
    return m;
}

/* A batch that owns what it shows. */
struct example {
    struct batch batch;
    size_t count; /* targets that are not masked */
    int32_t *tokens, *targets, *ends; /* ends: once sights_random has been asked for them */
};

static inline struct example example_random(size_t B, size_t T, int vocab, uint64_t seed) {
    int32_t *tokens = array_alloc(B * T, sizeof *tokens), *targets = array_alloc(B * T, sizeof *targets);
    struct example e = {.batch = {.B = B, .T = T, .tokens = tokens, .targets = targets}, .tokens = tokens,
                        .targets = targets};
    struct rng rng;
    rng_seed(&rng, seed, 54321);
    for (size_t i = 0; i < B * T; i++) {
        tokens[i] = (int32_t)(rng_next(&rng) % (uint64_t)vocab);
        targets[i] = rng_uniform(&rng) < 0.2 ? TARGET_NONE : (int32_t)(rng_next(&rng) % (uint64_t)vocab);
        e.count += targets[i] != TARGET_NONE;
    }
    return e;
}

/* Who attends to whom, at random. */
static inline void sights_random(struct example *e, uint64_t seed) {
    const size_t B = e->batch.B, T = e->batch.T;
    struct rng rng;
    rng_seed(&rng, seed, 98765);
    e->batch.ends = e->ends = array_alloc(B * T, sizeof *e->ends);
    for (size_t i = 0; i < B * T; i++) e->ends[i] = 1 + (int32_t)(rng_next(&rng) % T);
}

static inline void example_free(struct example *e) {
    free(e->tokens);
    free(e->targets);
    free(e->ends);
}

/* Positions from..to-1 of its first sequence, as a continuation of those before. */
static inline struct batch example_piece(const struct example *e, size_t from, size_t to) {
    return (struct batch){.B = 1, .T = to, .from = from, .tokens = e->tokens + from, .targets = e->targets + from,
                          .ends = e->ends ? e->ends + from : NULL};
}

/* Nobody wrote past the end of an array of activations. */
static inline void model_overrun_check(const struct model *m) {
    const char *array = model_overrun(m);
    if (array) fail_msg("written past the end of %s", array);
}

/* One forward and backward of the mean loss and E7; grad_memory is overwritten. Returns the loss. */
static inline double model_gradients(struct model *m, const struct example *e) {
    size_t count;
    memset(m->grad_memory, 0, m->n_parameters * sizeof(real));
    model_clear_statistics(m);
    model_forward(m, &e->batch);
    double sum = model_loss(m, 1.0 / (double)e->count, &count);
    model_backward(m, 1);
    assert_int_equal(count, e->count);
    model_overrun_check(m);
    return sum / (double)count;
}

#endif
