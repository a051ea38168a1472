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
    .patch = 8, .codes = 512, /* of pictures, which it has none of: what a checkpoint says then, too */
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

/* The same model, made to fill in what is hidden of pictures of size x size pixels, in patches of 2 x 2, and texts of
 * up to 5 tokens; size 0: of texts alone. */
static inline struct config config_masked(struct config config, int size) {
    const int patches = size / 2 * (size / 2);
    config.task = TASK_MASKED;
    config.size = size;
    config.patch = 2;
    config.codes = 11;
    config.seq = patches + 5;
    return config;
}

static inline struct model model_stored(const struct config *config, enum model_use use, size_t batch,
                                        enum storage storage) {
    struct model m;
    struct error err;
    if (!model_create(&m, config, (struct model_setup){use, batch, false, storage}, &err)) fail_msg("%s", err.text);
    return m;
}

static inline struct model model_make(const struct config *config, enum model_use use, size_t batch) {
    return model_stored(config, use, batch, STORAGE_F32);
}

/* GPT-2's initialisation leaves most paths too weak for an error in them to show: noise on everything,
 * and biases as large as differences of probabilities. */
static inline struct model model_random_stored(const struct config *config, enum model_use use, size_t batch,
                                               uint64_t seed, enum storage storage) {
    struct model m = model_stored(config, use, batch, storage);
    model_initialize(&m, seed);
    struct rng rng;
    rng_seed(&rng, seed, 12345);
    for (size_t i = 0; i < m.n_parameters; i++) m.param_memory[i] += (real)(0.3 * rng_normal(&rng));
    for (size_t i = 0; config->balance == BALANCE_BIAS && i < m.sizes.LM * m.sizes.E; i++)
        m.router_bias[i] = (real)(0.1 * rng_normal(&rng));
    model_pack(&m);
    return m;
}

static inline struct model model_random(const struct config *config, enum model_use use, size_t batch,
                                        uint64_t seed) {
    return model_random_stored(config, use, batch, seed, STORAGE_F32);
}

/* A batch that owns what it shows. */
struct example {
    struct batch batch;
    size_t count; /* targets that are not masked */
    int32_t *tokens, *targets, *ends; /* ends: once sights_random has been asked for them */
    int32_t *offsets, *positions;     /* of masked_random */
    real *patches;
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

/* Row r of a masked example at position t: what it shows, or that it is hidden; what is hidden is to be filled in, but
 * for some. */
static inline void masked_row(struct example *e, const struct sizes *s, size_t r, size_t t, real *pixels,
                              struct rng *rng) {
    const bool patch = t < s->P, hidden = rng_uniform(rng) < 0.5, asked = rng_uniform(rng) < 0.9;
    const int32_t token = (int32_t)(rng_next(rng) % s->V), code = patch ? (int32_t)(rng_next(rng) % s->codes) : 0;
    e->positions[r] = (int32_t)t;
    e->tokens[r] = hidden ? TOKEN_HIDDEN : patch ? TOKEN_PATCH : token;
    e->targets[r] = !hidden || !asked ? TARGET_NONE : patch ? (int32_t)s->V + code : token;
    e->count += e->targets[r] != TARGET_NONE;
    for (size_t q = 0; e->tokens[r] == TOKEN_PATCH && q < s->Q; q++) pixels[q] = (real)rng_normal(rng);
}

/* B examples of a masked model, one behind the other: pictures alone, pictures with a text, and texts alone, in turn;
 * texts of 1 to T - P tokens. Every row sees all of its own example. */
static inline struct example masked_random(const struct sizes *s, size_t B, uint64_t seed) {
    const size_t most = B * s->T;
    struct example e = {.batch = {.B = B}, .tokens = array_alloc(most, sizeof(int32_t)),
                        .targets = array_alloc(most, sizeof(int32_t)), .ends = array_alloc(most, sizeof(int32_t)),
                        .offsets = array_alloc(B + 1, sizeof(int32_t)), .positions = array_alloc(most, sizeof(int32_t)),
                        .patches = array_alloc(most * s->Q + 1, sizeof(real))};
    struct rng rng;
    size_t r = 0, shown = 0;
    rng_seed(&rng, seed, 54321);
    for (size_t b = 0; b < B; b++) {
        const bool picture = s->P > 0 && b % 3 != 2, text = s->P == 0 || b % 3 != 0;
        const size_t tokens = text ? 1 + rng_next(&rng) % (s->T - s->P) : 0, length = (picture ? s->P : 0) + tokens;
        for (size_t i = 0; i < length; i++, r++) {
            masked_row(&e, s, r, picture ? i : s->P + i, e.patches + shown * s->Q, &rng);
            shown += e.tokens[r] == TOKEN_PATCH;
            e.ends[r] = (int32_t)length;
        }
        e.offsets[b + 1] = (int32_t)r;
        if (length > e.batch.T) e.batch.T = length;
    }
    e.batch.tokens = e.tokens;
    e.batch.targets = e.targets;
    e.batch.ends = e.ends;
    e.batch.offsets = e.offsets;
    e.batch.positions = e.positions;
    e.batch.patches = e.patches;
    return e;
}

/* Those from..to-1 of its examples, whose offsets are written to `offsets` (to - from + 1). */
static inline struct batch masked_piece(const struct example *e, const struct sizes *s, size_t from, size_t to,
                                        int32_t *offsets) {
    const int32_t at = e->offsets[from];
    struct batch piece = {.B = to - from, .tokens = e->tokens + at, .targets = e->targets + at, .ends = e->ends + at,
                          .offsets = offsets, .positions = e->positions + at, .patches = e->patches};
    for (size_t b = from; b <= to; b++) {
        const size_t length = b < to ? (size_t)(e->offsets[b + 1] - e->offsets[b]) : 0;
        offsets[b - from] = e->offsets[b] - at;
        if (length > piece.T) piece.T = length;
    }
    for (int32_t r = 0; r < at; r++) piece.patches += e->tokens[r] == TOKEN_PATCH ? s->Q : 0;
    return piece;
}

static inline void example_free(struct example *e) {
    free(e->tokens);
    free(e->targets);
    free(e->ends);
    free(e->offsets);
    free(e->positions);
    free(e->patches);
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
