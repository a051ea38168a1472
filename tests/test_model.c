/* The whole model in double: against our PyTorch implementation, and against central differences; then its
 * initialisation.
 *
 * tests/torch_reference.py, an independent implementation with autograd, wrote the fixture: twenty-two models, four
 * of them with products in bf16, trained for ten AdamW steps. Central differences hold even where both implementations
 * share an error. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../src/layers/dropout.h"
#include "../src/run/optimizer.h"
#include "../src/math/vecmath.h"
#include "small_model.h"

/* Both sides round at 1e-16 over chains of a few hundred terms, and ten steps of AdamW, which divides by
 * sqrt(v), magnify that some thousand times where gradients nearly vanish. A wrong term is over 1e-6. */
#define TORCH_TOLERANCE 1e-10

/* ---- PyTorch ---- */

struct torch_case {
    const char *name;
    size_t batch;
    struct config config;
};

/* CASES of torch_reference.py. */
#define PICTURES .task = TASK_MASKED, .size = 4, .patch = 2, .codes = 11
#define MOE .balance = BALANCE_AUX, .balance_weight = 0.01
static const struct torch_case torch_cases[] = {
    {"dense", 3, {GPT2_BLOCK, .vocab = 37, .seq = 9, .channels = 12, .layers = 2, .attn_heads = 3, .ffn = FFN_DENSE}},
    {"smoe", 3, {GPT2_BLOCK, .vocab = 37, .seq = 9, .channels = 12, .layers = 2, .attn_heads = 2, .ffn = FFN_SMOE,
                 .experts = 5, .topk = 2, .expert_hidden = 7, .moe_every = 1, MOE}},
    {"mhmoe", 2, {GPT2_BLOCK, .vocab = 31, .seq = 7, .channels = 12, .layers = 3, .attn_heads = 4, .ffn = FFN_MHMOE,
                  .moe_heads = 2, .experts = 5, .topk = 2, .expert_hidden = 7, .moe_every = 2, .head_depth = 1,
                  .merge_depth = 1, MOE}},
    {"renormalize", 3, {GPT2_BLOCK, .vocab = 29, .seq = 7, .channels = 15, .layers = 2, .attn_heads = 5,
                        .ffn = FFN_MHMOE, .moe_heads = 3, .experts = 7, .topk = 3, .expert_hidden = 6, .moe_every = 2,
                        .head_depth = 1, .merge_depth = 1, .renormalize = true, MOE}},
    {"residual", 2, {GPT2_BLOCK, .vocab = 23, .seq = 11, .channels = 12, .layers = 1, .attn_heads = 1, .ffn = FFN_MHMOE,
                     .moe_heads = 4, .experts = 6, .topk = 1, .expert_hidden = 5, .moe_every = 1,
                     .merge_depth = 1, .moe_residual = true, MOE}},
    {"bare", 3, {GPT2_BLOCK, .vocab = 23, .seq = 5, .channels = 9, .layers = 2, .attn_heads = 3, .ffn = FFN_MHMOE,
                 .moe_heads = 3, .experts = 4, .topk = 2, .expert_hidden = 3, .moe_every = 1, .head_depth = 1,
                 .moe_residual = true, .renormalize = true, .balance = BALANCE_NONE, .balance_weight = 0.01}},
    {"cosine", 2, {GPT2_BLOCK, .vocab = 29, .seq = 7, .channels = 12, .layers = 3, .attn_heads = 3, .ffn = FFN_MHMOE,
                   .moe_heads = 3, .experts = 5, .topk = 2, .expert_hidden = 6, .moe_every = 2, .head_depth = 2,
                   .merge_depth = 1, .router = ROUTER_COSINE, .router_dim = 3, .shared_hidden = 5,
                   .z_weight = 0.1, MOE}},
    {"biased", 3, {GPT2_BLOCK, .vocab = 23, .seq = 7, .channels = 12, .layers = 2, .attn_heads = 2, .ffn = FFN_MHMOE,
                   .moe_heads = 2, .experts = 6, .topk = 2, .expert_hidden = 5, .moe_every = 1, .head_depth = 1,
                   .merge_depth = 2, .router = ROUTER_COSINE, .router_dim = 5, .shared_hidden = 4,
                   .renormalize = true, .z_weight = 0.1, .balance = BALANCE_BIAS, .bias_step = 0.02}},
    {"llama dense", 3, {LLAMA_BLOCK, .vocab = 19, .seq = 9, .channels = 12, .layers = 2, .attn_heads = 2,
                        .ffn = FFN_DENSE}},
    {"llama smoe", 2, {LLAMA_BLOCK, .vocab = 17, .seq = 7, .channels = 12, .layers = 2, .attn_heads = 3,
                       .ffn = FFN_SMOE, .experts = 5, .topk = 2, .expert_hidden = 7, .moe_every = 2, MOE}},
    {"llama mhmoe", 3, {LLAMA_BLOCK, .vocab = 19, .seq = 8, .channels = 12, .layers = 2, .attn_heads = 1,
                        .ffn = FFN_MHMOE, .moe_heads = 2, .experts = 5, .topk = 2, .expert_hidden = 7, .moe_every = 1,
                        .head_depth = 1, .merge_depth = 1, .shared_hidden = 5, MOE}},
    {"modern mhmoe", 2, {MODERN_BLOCK, .vocab = 17, .seq = 9, .channels = 12, .layers = 2, .attn_heads = 2,
                         .ffn = FFN_MHMOE, .moe_heads = 3, .experts = 6, .topk = 2, .expert_hidden = 5, .moe_every = 2,
                         .head_depth = 2, .merge_depth = 1, .router = ROUTER_COSINE, .router_dim = 3,
                         .shared_hidden = 4, .renormalize = true, .z_weight = 0.1, MOE}},
    {"unbiased", 3, {.position = POSITION_ROTARY, .qk_norm = true, .vocab = 19, .seq = 7, .channels = 12, .layers = 2,
                     .attn_heads = 2, .ffn = FFN_MHMOE, .moe_heads = 2, .experts = 5, .topk = 2, .expert_hidden = 7,
                     .moe_every = 1, .head_depth = 1, .merge_depth = 2, MOE}},
    {"learned", 2, {.norm = NORM_RMS, .activation = ACTIVATION_SWIGLU, .bias = true, .tie = true, .qk_norm = true,
                    .vocab = 17, .seq = 9, .channels = 9, .layers = 2, .attn_heads = 3, .ffn = FFN_SMOE, .experts = 5,
                    .topk = 2, .expert_hidden = 7, .moe_every = 2, .shared_hidden = 4, .balance = BALANCE_BIAS,
                    .bias_step = 0.02}},
    {"masked dense", 4, {GPT2_BLOCK, PICTURES, .vocab = 17, .seq = 9, .channels = 12, .layers = 2, .attn_heads = 3,
                         .ffn = FFN_DENSE}},
    {"masked mhmoe", 4, {GPT2_BLOCK, PICTURES, .vocab = 13, .seq = 9, .channels = 12, .layers = 2, .attn_heads = 2,
                         .ffn = FFN_MHMOE, .moe_heads = 2, .experts = 5, .topk = 2, .expert_hidden = 7, .moe_every = 2,
                         .head_depth = 1, .merge_depth = 1, MOE}},
    {"masked modern mhmoe", 4, {MODERN_BLOCK, PICTURES, .vocab = 19, .seq = 9, .channels = 12, .layers = 2,
                                .attn_heads = 2, .ffn = FFN_MHMOE, .moe_heads = 3, .experts = 6, .topk = 2,
                                .expert_hidden = 5, .moe_every = 1, .head_depth = 1, .merge_depth = 1,
                                .router = ROUTER_COSINE, .router_dim = 3, .shared_hidden = 4, .z_weight = 0.1, MOE}},
    {"masked text", 3, {LLAMA_BLOCK, .task = TASK_MASKED, .vocab = 17, .seq = 7, .channels = 12, .layers = 2,
                        .attn_heads = 3, .ffn = FFN_SMOE, .experts = 5, .topk = 2, .expert_hidden = 7, .moe_every = 2,
                        MOE}},
    {"bf16 dense", 2, {GPT2_BLOCK, .vocab = 37, .seq = 35, .channels = 20, .layers = 2, .attn_heads = 2,
                       .ffn = FFN_DENSE}},
    {"bf16 mhmoe", 2, {GPT2_BLOCK, .vocab = 31, .seq = 9, .channels = 12, .layers = 2, .attn_heads = 4,
                       .ffn = FFN_MHMOE, .moe_heads = 2, .experts = 5, .topk = 2, .expert_hidden = 7, .moe_every = 2,
                       .head_depth = 2, .merge_depth = 1, .shared_hidden = 5, MOE}},
    {"bf16 llama smoe", 3, {LLAMA_BLOCK, .vocab = 17, .seq = 7, .channels = 12, .layers = 2, .attn_heads = 3,
                            .ffn = FFN_SMOE, .experts = 5, .topk = 2, .expert_hidden = 7, .moe_every = 2, MOE}},
    {"bf16 masked", 4, {MODERN_BLOCK, PICTURES, .vocab = 19, .seq = 9, .channels = 12, .layers = 2, .attn_heads = 2,
                        .ffn = FFN_MHMOE, .moe_heads = 3, .experts = 6, .topk = 2, .expert_hidden = 5, .moe_every = 1,
                        .head_depth = 1, .merge_depth = 1, .router = ROUTER_COSINE, .router_dim = 3, MOE}},
};
enum { TORCH_CASES = sizeof torch_cases / sizeof torch_cases[0], STEPS = 10 };

static struct checkpoint fixture;

static int fixture_open(void **state) {
    (void)state;
    struct error err;
    if (checkpoint_open(&fixture, "tests/fixtures/torch.safetensors", &err)) return 0;
    fprintf(stderr, "%s\n", err.text);
    return -1;
}

static int fixture_close(void **state) {
    (void)state;
    checkpoint_close(&fixture);
    return 0;
}

/* Fills *want, whose name lacks the case. */
static void fixture_read(const struct torch_case *c, struct tensor *want) {
    struct error err;
    char name[sizeof want->name];
    snprintf(name, sizeof name, "%s/%.40s", c->name, want->name);
    strcpy(want->name, name);
    if (!checkpoint_read(&fixture, want, &err)) fail_msg("%s", err.text);
}

/* All tensors of a block of the model's layout: CASE/GROUP/TENSOR. */
static void fixture_read_block(const struct torch_case *c, const struct model *m, const char *group,
                               real *block) {
    struct tensor tensors[PARAMETER_TENSORS];
    size_t n = model_tensors(m, block, group, tensors);
    for (size_t i = 0; i < n; i++) fixture_read(c, &tensors[i]);
}

/* Returns the largest difference. Differences are measured against the largest number of the tensor. */
static double numbers_check(const struct torch_case *c, const char *name, const real *got, const real *want,
                            size_t count) {
    double largest = 0, worst = 0;
    for (size_t i = 0; i < count; i++) largest = fmax(largest, fabs(want[i]));
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs(got[i] - want[i]);
        if (!(difference <= TORCH_TOLERANCE * largest))
            fail_msg("%s: %s[%zu]: got %.15g, PyTorch %.15g", c->name, name, i, got[i], want[i]);
        if (largest > 0) worst = fmax(worst, difference / largest);
    }
    return worst;
}

static double block_check(const struct torch_case *c, const struct model *m, const char *group,
                          const real *block) {
    real *want = array_alloc(m->n_parameters, sizeof(real)), worst = 0;
    fixture_read_block(c, m, group, want);
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
        const struct parameter_info *info = &m->info[i];
        const double here = numbers_check(c, info->name, block + info->offset, want + info->offset, info->count);
        worst = fmax(worst, here);
    }
    free(want);
    return worst;
}

/* The biases of the choice, of a model that has them. PyTorch's keep their mean, on which no choice depends. */
static void biases_check(const struct torch_case *c, const struct model *m) {
    if (c->config.balance != BALANCE_BIAS) return;
    const size_t LM = m->sizes.LM, E = m->sizes.E;
    real want[LM * E];
    struct tensor t = {.name = "router.bias", .dtype = DTYPE_F64, .dims = 2, .shape = {LM, E}, .data = want};
    fixture_read(c, &t);
    for (size_t lm = 0; lm < LM; lm++) {
        const real mean = row_sum(want + lm * E, E) / E;
        for (size_t e = 0; e < E; e++) want[lm * E + e] -= mean;
    }
    numbers_check(c, "router.bias", m->router_bias, want, LM * E);
}

static double history_check(const struct torch_case *c, const char *name, const real *got) {
    real want[STEPS];
    struct tensor t = {.dtype = DTYPE_F64, .dims = 1, .shape = {STEPS}, .data = want};
    strcpy(t.name, name);
    fixture_read(c, &t);
    return numbers_check(c, name, got, want, STEPS);
}

/* A tensor that is there, of n numbers of 8 bytes; malloc'ed. */
static void *numbers_read(const struct torch_case *c, const char *name, size_t *n) {
    struct error err;
    char *full = string_format("%s/%s", c->name, name);
    void *numbers = checkpoint_copy(&fixture, full, n, &err);
    if (!numbers) fail_msg("%s", err.text);
    free(full);
    *n /= 8;
    return numbers;
}

/* What a case is shown. */
struct shown {
    size_t rows;               /* of a step */
    int64_t *tokens, *targets; /* (STEPS, rows) */
    int64_t *positions, *example; /* (rows) and (STEPS, rows, Q): of a masked model */
    real *pixels;
};

static struct shown shown_read(const struct torch_case *c, const struct sizes *s) {
    size_t n;
    struct shown shown = {.targets = numbers_read(c, "targets", &n), .tokens = numbers_read(c, "tokens", &n)};
    shown.rows = n / STEPS;
    if (!s->masked) assert_int_equal(shown.rows, c->batch * s->T);
    if (s->masked) shown.positions = numbers_read(c, "positions", &n), shown.example = numbers_read(c, "example", &n);
    if (s->P > 0) shown.pixels = numbers_read(c, "pixels", &n);
    return shown;
}

static void shown_free(struct shown *shown) {
    free(shown->tokens);
    free(shown->targets);
    free(shown->positions);
    free(shown->example);
    free(shown->pixels);
}

/* Makes a masked batch of b, whose tokens are there: sequences are rows of one example, patches those that are
 * shown. */
static void step_masked(struct example *b, const struct shown *shown, const struct sizes *s, int step) {
    const size_t rows = shown->rows, Q = s->Q;
    size_t n = 0;
    b->positions = array_alloc(rows, sizeof(int32_t));
    b->ends = array_alloc(rows, sizeof(int32_t));
    b->offsets = array_alloc(b->batch.B + 1, sizeof(int32_t));
    b->patches = array_alloc(rows * Q + 1, sizeof(real));
    for (size_t r = 0; r < rows; r++) b->offsets[shown->example[r] + 1] = (int32_t)r + 1;
    for (size_t r = 0; r < rows; r++) {
        const int32_t *place = b->offsets + shown->example[r];
        b->positions[r] = (int32_t)shown->positions[r];
        b->ends[r] = place[1] - place[0];
        if ((size_t)b->ends[r] > b->batch.T) b->batch.T = (size_t)b->ends[r];
        if (b->tokens[r] != TOKEN_PATCH) continue;
        memcpy(b->patches + Q * n++, shown->pixels + ((size_t)step * rows + r) * Q, Q * sizeof(real));
    }
    b->batch.positions = b->positions;
    b->batch.ends = b->ends;
    b->batch.offsets = b->offsets;
    b->batch.patches = b->patches;
}

/* The batch of one step. */
static struct example batch_of_step(const struct shown *shown, const struct sizes *s, size_t B, int step) {
    const size_t rows = shown->rows;
    struct example b = example_random(1, rows, 1, 0);
    b.batch.B = B;
    b.batch.T = s->masked ? 0 : s->T;
    b.count = 0;
    for (size_t i = 0; i < rows; i++) {
        b.tokens[i] = (int32_t)shown->tokens[(size_t)step * rows + i];
        b.targets[i] = (int32_t)shown->targets[(size_t)step * rows + i];
        b.count += b.targets[i] != TARGET_NONE;
    }
    if (s->masked) step_masked(&b, shown, s, step);
    return b;
}

/* As the program trains: clip at 1, decay only what PARAMETERS says. Constants of torch_reference.py. */
static void parameters_update(struct model *m, real *moments, double norm, int step) {
    const struct adamw a = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-6, .weight_decay = 0.1};
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
        const struct parameter_info *info = &m->info[i];
        const struct slab slab = {m->param_memory + info->offset, m->grad_memory + info->offset, moments + info->offset,
                                  moments + m->n_parameters + info->offset, info->count, info->decay};
        adamw_update(&a, &slab, 1e-2, clip_scale(norm, 1), step + 1);
    }
    model_pack(m);
}

/* Every layer has served all of its picks. */
static void loads_check(const struct model *m, size_t rows) {
    for (size_t l = 0; l < m->sizes.LM; l++) {
        double picks = 0;
        for (size_t e = 0; e < m->sizes.E; e++) picks += m->load[l * m->sizes.E + e];
        assert_true(picks == (double)(rows * m->sizes.H * m->sizes.K));
    }
}

static void test_torch(void **state) {
    const struct torch_case *c = *state;
    const bool bf16 = strncmp(c->name, "bf16 ", 5) == 0;
    struct model m = model_stored(&c->config, MODEL_TRAIN, c->batch, bf16 ? STORAGE_BF16 : STORAGE_F32);
    struct shown shown = shown_read(c, &m.sizes);
    real *moments = array_alloc(2 * m.n_parameters, sizeof(real)), loss[STEPS], norm[STEPS];
    real balance[STEPS] = {0}, z_loss[STEPS] = {0}, gradients = 0;
    fixture_read_block(c, &m, "param/", m.param_memory);
    model_pack(&m);
    for (int step = 0; step < STEPS; step++) {
        struct example b = batch_of_step(&shown, &m.sizes, c->batch, step);
        loss[step] = model_gradients(&m, &b);
        for (size_t l = 0; l < m.sizes.LM; l++) balance[step] += m.balance_sum[l], z_loss[step] += m.z_sum[l];
        loads_check(&m, shown.rows);
        norm[step] = gradient_norm(m.grad_memory, m.n_parameters);
        if (step == 0) gradients = block_check(c, &m, "grad/", m.grad_memory);
        parameters_update(&m, moments, norm[step], step);
        model_balance(&m);
        example_free(&b);
    }
    const double losses = history_check(c, "loss", loss), final = block_check(c, &m, "final/", m.param_memory);
    history_check(c, "balance", balance);
    history_check(c, "z_loss", z_loss);
    history_check(c, "norm", norm);
    print_message("from PyTorch: gradients %.1e, losses %.1e, parameters after %d steps %.1e\n", gradients, losses,
                  STEPS, final);
    biases_check(c, &m);
    free(moments);
    shown_free(&shown);
    model_destroy(&m);
}

/* ---- Central differences ---- */

/* Four points: (8 (f(x+h) - f(x-h)) - (f(x+2h) - f(x-2h))) / 12h leaves an error of h^4 f'''''/30, which
 * h = 1e-4 makes 1e-17. What remains is rounding: a loss near 5, known to some 1e-15, divided by h. */
#define STEP 1e-4
#define ROUNDING 3e-11
#define TOLERANCE 1e-7

/* Loss with E7 and the z-loss after parameter i moved by `delta`; false if that changed anybody's expert. Two
 * sub-tokens that trade experts at once would keep the loads, and would show as an error, not hide one. */
static bool loss_moved(double *loss, struct model *m, const struct example *b, size_t i, double delta,
                       const double *load) {
    const real before = m->param_memory[i];
    size_t count;
    m->param_memory[i] += delta;
    model_pack(m);
    model_clear_statistics(m);
    model_forward(m, &b->batch);
    *loss = model_loss(m, 0, &count) / (double)count;
    for (size_t l = 0; l < m->sizes.LM; l++) {
        if (m->config.balance == BALANCE_AUX) *loss += m->config.balance_weight * m->balance_sum[l];
        *loss += m->config.z_weight * m->z_sum[l];
    }
    m->param_memory[i] = before;
    return memcmp(m->load, load, m->sizes.LM * m->sizes.E * sizeof *load) == 0;
}

/* False if routing changed on the way. */
static bool difference(double *slope, struct model *m, const struct example *b, size_t i, const double *load,
                       double step) {
    double f[4];
    const double at[4] = {step, -step, 2 * step, -2 * step};
    for (int k = 0; k < 4; k++)
        if (!loss_moved(&f[k], m, b, i, at[k], load)) return false;
    *slope = (8 * (f[0] - f[1]) - (f[2] - f[3])) / (12 * step);
    return true;
}

/* max(h, 0)^2 has no second derivative at 0: a hidden number that passes it leaves an error of the order of the step.
 * The half step tells: it has another error, where a wrong gradient has the same difference. */
static bool is_bend(double slope, struct model *m, const struct example *b, size_t i, const double *load) {
    double finer;
    if (m->config.activation != ACTIVATION_RELU2) return false;
    return !difference(&finer, m, b, i, load, STEP / 2) ||
           fabs(finer - slope) > TOLERANCE / 10 * fabs(slope) + ROUNDING;
}

/* What was compared: skipped are points where routing changed, or a bend was passed; worst is the largest relative
 * error among gradients over 1e-3. */
struct comparison {
    size_t tried, skipped;
    double worst;
};

/* `samples` elements of every tensor. */
static void gradients_check_of(const struct example *example, const struct config *config, size_t samples,
                               struct comparison *c) {
    const struct example b = *example;
    struct model m = model_random(config, MODEL_TRAIN, b.batch.B, 22);
    struct rng rng;
    rng_seed(&rng, 23, 0);
    const size_t loads = m.sizes.LM * m.sizes.E;
    double load[loads + 1];
    assert_true(isfinite(model_gradients(&m, &b)));
    loads_check(&m, batch_rows(&b.batch));
    memcpy(load, m.load, loads * sizeof *load);
    for (size_t t = 0; t < PARAMETER_TENSORS; t++) {
        for (size_t k = 0; k < samples && m.info[t].count; k++) {
            size_t i = m.info[t].offset + rng_next(&rng) % m.info[t].count;
            double slope, got = m.grad_memory[i];
            c->tried++;
            if (!difference(&slope, &m, &b, i, load, STEP)) {
                c->skipped++;
                continue;
            }
            double error = fabs(slope - got), size = fmax(fabs(got), fabs(slope));
            if (error > TOLERANCE / 10 * size + ROUNDING && is_bend(slope, &m, &b, i, load)) {
                c->skipped++;
                continue;
            }
            if (size > 1e-3) c->worst = fmax(c->worst, error / size);
            if (!(error <= TOLERANCE * size + ROUNDING))
                fail_msg("%s: %s[%zu]: gradient %.12g, difference %.12g", config_to_string(config), m.info[t].name,
                         i - m.info[t].offset, got, slope);
        }
    }
    model_destroy(&m);
}

static void gradients_check(const struct config *config, size_t samples, struct comparison *c) {
    struct example b = example_random(2, 9, config->vocab, 21);
    gradients_check_of(&b, config, samples, c);
    example_free(&b);
}

static void comparison_end(const struct comparison *c) {
    print_message("%zu elements, %zu skipped, largest relative error %.1e\n", c->tried, c->skipped, c->worst);
    assert_true(c->skipped * 10 < c->tried);
    assert_true(c->worst < TOLERANCE);
}

static void test_differences(void **state) {
    (void)state;
    enum { SAMPLES = 6 };
    struct comparison c = {0};
    struct config config = small_config;
    gradients_check(&config, SAMPLES, &c); /* everything on */
    config.moe_residual = config.renormalize = true;
    config.head_depth = 0;
    config.moe_heads = 2;
    config.topk = 3;
    config.moe_every = 2;
    config.balance_weight = 0.7; /* as strong as the loss itself */
    gradients_check(&config, SAMPLES, &c);
    config.merge_depth = 0;
    config.topk = 1;
    config.renormalize = false;
    config.balance = BALANCE_NONE;
    gradients_check(&config, SAMPLES, &c);
    config.ffn = FFN_SMOE;
    gradients_check(&config, SAMPLES, &c);
    config.ffn = FFN_DENSE;
    gradients_check(&config, SAMPLES, &c);
    comparison_end(&c);
}

/* Every combination of layer, router, balance, z-loss, renormalised gates and shared expert. */
static void test_differences_of_every_router(void **state) {
    (void)state;
    struct comparison c = {0};
    for (int setting = 0; setting < 3 * 32; setting++) {
        struct config config = small_config;
        const int switches = setting / 3;
        config.layers = 1;
        config.balance = setting % 3;
        config.balance_weight = 0.3;
        config.ffn = switches & 1 ? FFN_SMOE : FFN_MHMOE;
        config.router = switches & 2 ? ROUTER_COSINE : ROUTER_SOFTMAX;
        config.z_weight = switches & 4 ? 0.2 : 0;
        config.renormalize = switches & 8;
        config.shared_hidden = switches & 16 ? 6 : 0;
        gradients_check(&config, 2, &c);
    }
    comparison_end(&c);
}

static void test_differences_of_every_depth(void **state) {
    (void)state;
    struct comparison c = {0};
    for (int depths = 0; depths < 16; depths++) {
        struct config config = small_config;
        config.head_depth = depths % 4;
        config.merge_depth = depths / 4;
        gradients_check(&config, 2, &c);
    }
    comparison_end(&c);
}

/* Whoever attends to whom. */
static void test_differences_of_every_sight(void **state) {
    (void)state;
    struct comparison c = {0};
    const struct config configs[] = {small_config, config_llama(small_config), config_modern(small_config)};
    for (uint64_t seed = 0; seed < 6; seed++) {
        struct example b = example_random(3, 9, small_config.vocab, seed);
        sights_random(&b, seed);
        gradients_check_of(&b, &configs[seed % 3], 4, &c);
        example_free(&b);
    }
    comparison_end(&c);
}

/* Masked models: pictures with text, pictures alone and texts alone in one batch; or models that see no pictures. Every
 * tensor but those of no elements, which are not the same for any two of these. */
static void test_differences_of_masked_models(void **state) {
    (void)state;
    struct comparison c = {0};
    struct config dense = small_config, smoe = config_other(small_config), modern = config_modern(small_config);
    struct config llama = config_llama(config_other(small_config));
    dense.ffn = llama.ffn = FFN_DENSE;
    llama.shared_hidden = 0;
    smoe.ffn = FFN_SMOE;
    const struct config configs[] = {dense, smoe, small_config, modern, llama, config_modern(smoe)};
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++)
        for (int size = 0; size <= 4; size += 2) {
            const struct config config = config_masked(configs[i], size);
            struct sizes s;
            struct error err;
            if (!config_check(&config, &s, &err)) fail_msg("%s", err.text);
            struct example b = masked_random(&s, 5, i);
            gradients_check_of(&b, &config, 4, &c);
            example_free(&b);
        }
    comparison_end(&c);
}

/* With masks that stay as they are while parameters move: every kind of layer, on sequences of one length and on those
 * of a masked model. */
static void test_differences_of_dropout(void **state) {
    (void)state;
    static const enum ffn_kind kinds[] = {FFN_MHMOE, FFN_SMOE, FFN_DENSE};
    struct comparison c = {0};
    for (int i = 0; i < 3 * 3 * 2; i++) {
        struct config config = i / 3 % 3 == 2 ? small_config : config_other(small_config);
        struct sizes s;
        struct error err;
        config.ffn = kinds[i % 3];
        config.shared_hidden *= config.ffn != FFN_DENSE;
        config.merge_depth -= i / 3 % 3 == 1 ? 2 : i / 3 % 3 / 2; /* 3, 1, none */
        if (i / 9) config = config_masked(config_modern(config), 4);
        if (!config_check(&config, &s, &err)) fail_msg("%s", err.text);
        struct example b = i / 9 ? masked_random(&s, 5, 21) : example_random(2, 9, config.vocab, 21);
        b.batch.dropout = dropout_of(0.1 + 0.4 * (i % 2), 24, 25, 26);
        gradients_check_of(&b, &config, 4, &c);
        example_free(&b);
    }
    comparison_end(&c);
}

/* What a block is made of, as digits. */
enum { NORM, POSITION, ACTIVATION, BIAS, TIE, QK_NORM, DIGITS };
static const char *const mixed_words[DIGITS][4] = {
    [NORM] = {"layernorm", "rmsnorm"},     [POSITION] = {"learned positions", "rotary"},
    [ACTIVATION] = {"gelu", "swiglu", "relu2"}, [BIAS] = {"no biases", "biases"},
    [TIE] = {"own output head", "tied"},   [QK_NORM] = {"queries as they are", "qk-norm"},
};

/* Writes combination i's digits; returns their sum, or -1 behind the last combination. */
static int block_digits(int digits[DIGITS], int i) {
    int sum = 0;
    for (int k = 0; k < DIGITS; k++) {
        int radix = 0;
        while (mixed_words[k][radix]) radix++;
        sum += digits[k] = i % radix;
        i /= radix;
    }
    return i ? -1 : sum;
}

static void block_choose(struct config *config, const int digits[DIGITS]) {
    config->norm = digits[NORM];
    config->position = digits[POSITION];
    config->activation = digits[ACTIVATION];
    config->bias = digits[BIAS];
    config->tie = digits[TIE];
    config->qk_norm = digits[QK_NORM];
}

/* One block of one kind of feed-forward layer. Sizes are odd, but for heads that turn. */
static struct config block_config(const int digits[DIGITS], int ffn, bool cosine) {
    struct config c = small_config;
    block_choose(&c, digits);
    c.ffn = ffn;
    c.layers = 1;
    c.attn_heads = 3;
    c.channels = c.position == POSITION_ROTARY ? 18 : 15;
    c.shared_hidden = ffn == FFN_DENSE ? 0 : 5;
    c.router = cosine ? ROUTER_COSINE : ROUTER_SOFTMAX;
    c.z_weight = cosine ? 0.2 : 0;
    return c;
}

/* Every combination, with every kind of feed-forward layer for any two choices. */
static void test_differences_of_every_block(void **state) {
    (void)state;
    struct comparison by[DIGITS][4] = {0};
    bool met[DIGITS][4][3] = {0};
    int digits[DIGITS], sum, n = 0;
    for (; (sum = block_digits(digits, n)) >= 0; n++) {
        const struct config config = block_config(digits, sum % 3, n % 5 < 2);
        struct comparison c = {0};
        gradients_check(&config, 2, &c);
        for (int k = 0; k < DIGITS; k++) {
            struct comparison *of = &by[k][digits[k]];
            met[k][digits[k]][config.ffn] = true;
            *of = (struct comparison){of->tried + c.tried, of->skipped + c.skipped, fmax(of->worst, c.worst)};
        }
    }
    assert_int_equal(n, 96);
    for (int k = 0; k < DIGITS; k++)
        for (int i = 0; mixed_words[k][i]; i++) {
            print_message("%s: ", mixed_words[k][i]);
            comparison_end(&by[k][i]);
            assert_true(met[k][i][FFN_DENSE] && met[k][i][FFN_SMOE] && met[k][i][FFN_MHMOE]);
        }
}

/* ---- Accumulation ---- */

/* Two passes at half the scale add up to one: nothing in backward overwrites a gradient. Tolerance: one
 * rounding more. */
static void test_backward_adds(void **state) {
    (void)state;
    struct example b = example_random(2, 7, small_config.vocab, 31);
    const struct config configs[] = {small_config, config_other(small_config), config_llama(small_config),
                                     config_modern(config_other(small_config))};
    for (int c = 0; c < 4; c++) {
        struct model m = model_random(&configs[c], MODEL_TRAIN, b.batch.B, 32);
        real *once = array_alloc(m.n_parameters, sizeof(real));
        model_gradients(&m, &b);
        memcpy(once, m.grad_memory, m.n_parameters * sizeof(real));
        memset(m.grad_memory, 0, m.n_parameters * sizeof(real));
        for (int pass = 0; pass < 2; pass++) {
            size_t count;
            model_forward(&m, &b.batch);
            model_loss(&m, 0.5 / (double)b.count, &count);
            model_backward(&m, 0.5);
        }
        for (size_t i = 0; i < m.n_parameters; i++) assert_true(fabs(m.grad_memory[i] - once[i]) < 1e-13);
        free(once);
        model_destroy(&m);
    }
    example_free(&b);
}

/* A batch has the gradients of its sequences one by one. The vocabulary is so large that the rows of the
 * batch get their logits in several pieces, those of a sequence in one. E7 alone is no sum over sequences. */
static void test_batch_is_sum_of_sequences(void **state) {
    (void)state;
    struct config config = small_config;
    config.vocab = 22001;
    config.seq = 65;
    config.balance = BALANCE_NONE;
    struct example b = example_random(3, (size_t)config.seq, config.vocab, 33);
    struct model m = model_random(&config, MODEL_TRAIN, b.batch.B, 34);
    real *at_once = array_alloc(m.n_parameters, sizeof(real));
    double loss = model_gradients(&m, &b), sum = 0;
    memcpy(at_once, m.grad_memory, m.n_parameters * sizeof(real));
    memset(m.grad_memory, 0, m.n_parameters * sizeof(real));
    for (size_t i = 0; i < b.batch.B; i++) {
        size_t count;
        const size_t at = i * b.batch.T;
        model_forward(&m, &(struct batch){.B = 1, .T = b.batch.T, .tokens = b.tokens + at, .targets = b.targets + at});
        sum += model_loss(&m, 1.0 / (double)b.count, &count);
        model_backward(&m, 1);
    }
    assert_true(fabs(sum / (double)b.count - loss) < 1e-13 * loss);
    for (size_t i = 0; i < m.n_parameters; i++) assert_true(fabs(m.grad_memory[i] - at_once[i]) < 1e-13);
    free(at_once);
    model_destroy(&m);
    example_free(&b);
}

/* ---- Initialisation ---- */

/* Five standard errors of a deviation estimated from n numbers are 5/sqrt(2n) of it, or less. */
static void deviation_check(const struct parameter_info *info, const real *block, double deviation) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < info->count; i++) {
        sum += block[info->offset + i];
        squares += block[info->offset + i] * block[info->offset + i];
    }
    double n = (double)info->count;
    assert_true(fabs(sum / n) <= 5 * deviation / sqrt(n));
    assert_true(fabs(sqrt(squares / n) - deviation) <= 5 * deviation / sqrt(2 * n));
}

/* Of a tensor of GPT-2 or P1; a uniform range of a has deviation a/sqrt(3). Negative: not random. */
static double deviation_wanted(const char *name, double L, double C) {
    const char *residual[] = {"attprojw", "fcprojw", "expw2", "sharedw2"};
    const char *normal[] = {"wte", "wpe", "qkvw", "fcw", "routerp", "routerw", "expw1", "sharedw1", "lmhead", "patchw",
                            "place", "kind", "hidden", "codew"};
    for (int i = 0; i < 4; i++)
        if (strcmp(name, residual[i]) == 0) return 0.02 / sqrt(2 * L);
    for (size_t i = 0; i < sizeof normal / sizeof *normal; i++)
        if (strcmp(name, normal[i]) == 0) return 0.02;
    if (strcmp(name, "headw") == 0) return sqrt(0.5) * sqrt(6 / (2 * C)) / sqrt(3);
    return strcmp(name, "mergew") == 0 ? sqrt(6 / (2 * C)) / sqrt(3) : -1;
}

/* Four blocks, two of them dense. */
static struct model model_initial(struct config config, uint64_t seed) {
    config.channels = 36;
    config.layers = 4;
    config.moe_every = 2;
    struct model m = model_make(&config, MODEL_INFER, 1);
    model_initialize(&m, seed);
    return m;
}

static void initialisation_check(const struct model *m) {
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
        const struct parameter_info *info = &m->info[i];
        double deviation = deviation_wanted(info->name, 4, 36);
        if (info->count && deviation > 0) deviation_check(info, m->param_memory, deviation);
        if (deviation > 0) continue;
        bool norm_weight = strncmp(info->name, "ln", 2) == 0 && strchr(info->name, 'w');
        double want = strcmp(info->name, "routert") == 0 ? log(0.3) : norm_weight;
        for (size_t k = 0; k < info->count; k++) assert_true(m->param_memory[info->offset + k] == want);
    }
}

/* A tensor is drawn by its name and the seed alone: whatever else a model is made of, one of the same size begins with
 * the same bits. */
static void test_initialisation(void **state) {
    (void)state;
    int digits[DIGITS];
    struct model plain = model_initial(config_other(small_config), 51);
    initialisation_check(&plain);
    for (int i = 0; block_digits(digits, i) >= 0; i++) {
        struct config config = config_other(small_config);
        block_choose(&config, digits);
        struct model m = model_initial(config, 51);
        initialisation_check(&m);
        for (size_t t = 0; t < PARAMETER_TENSORS; t++) {
            const struct parameter_info *a = &m.info[t], *b = &plain.info[t];
            if (a->count != b->count) continue;
            assert_memory_equal(m.param_memory + a->offset, plain.param_memory + b->offset, a->count * sizeof(real));
        }
        model_destroy(&m);
    }
    model_destroy(&plain);
}

/* A masked model begins with what the model of text of the same seed begins with, and with pictures' tensors beside. */
static void test_initialisation_of_masked_models(void **state) {
    (void)state;
    const struct config blocks[] = {config_other(small_config), config_llama(config_other(small_config))};
    for (int i = 0; i < 4; i++) {
        const struct config config = config_masked(blocks[i % 2], i < 2 ? 4 : 0);
        struct config text = config;
        text.task = TASK_TEXT;
        struct model m = model_initial(config, 51), plain = model_initial(text, 51);
        size_t tensors = 0;
        initialisation_check(&m);
        for (size_t t = 0; t < PARAMETER_TENSORS; t++) {
            const struct parameter_info *a = &m.info[t], *b = &plain.info[t];
            tensors += (a->count > 0) - (b->count > 0);
            if (b->count == 0) continue;
            assert_int_equal(a->count, b->count);
            assert_memory_equal(m.param_memory + a->offset, plain.param_memory + b->offset, a->count * sizeof(real));
        }
        assert_int_equal(tensors, i < 2 ? 5 : 2); /* kind and hidden; patchw, codew, and patchb or place */
        model_destroy(&m);
        model_destroy(&plain);
    }
}

/* ---- A start at zero ---- */

/* Whether numbers first..last of a tensor are what they are in `plain`, or (zero) nothing but zeros. */
static void range_check(const struct model *m, const struct model *plain, size_t t, size_t first, size_t last,
                        bool zero) {
    const real *got = m->param_memory + m->info[t].offset, *want = plain->param_memory + m->info[t].offset;
    size_t zeros = 0;
    for (size_t i = first; i < last; i++) {
        zeros += got[i] == 0;
        if (!zero && memcmp(&got[i], &want[i], sizeof(real)) != 0) fail_msg("%s[%zu] changed", m->info[t].name, i);
    }
    if (zero && zeros < last - first) fail_msg("%s: %zu of %zu zeros", m->info[t].name, zeros, last - first);
}

/* Zeros are attprojw, fcprojw, and what is last on the way through a mixture of experts: the last matrix of each stack
 * of `merge`, or the way back of the experts. */
static void zeros_check(const struct model *m, const struct model *plain, size_t merge) {
    for (size_t t = 0; t < PARAMETER_TENSORS; t++) {
        const char *name = m->info[t].name;
        const size_t count = m->info[t].count, C = m->sizes.C, stack = merge * C * C;
        const bool always = strcmp(name, "attprojw") == 0 || strcmp(name, "fcprojw") == 0;
        const bool back = strcmp(name, "expw2") == 0 || strcmp(name, "sharedw2") == 0;
        if (strcmp(name, "mergew") != 0) {
            range_check(m, plain, t, 0, count, always || (back && merge == 0));
            continue;
        }
        for (size_t at = 0; at < count; at += stack) {
            range_check(m, plain, t, at, at + stack - C * C, false);
            range_check(m, plain, t, at + stack - C * C, at + stack, true);
        }
    }
}

/* Whether rows of the same token have the same logits at all positions: whether blocks do nothing. */
static bool positions_are_alike(struct model *m) {
    const int32_t tokens[] = {3, 1, 4, 1, 5, 3, 2, 6, 5}; /* 1 at 1 and 3, 3 at 0 and 5, 5 at 4 and 8 */
    const size_t V = m->sizes.V, pairs[][2] = {{1, 3}, {0, 5}, {4, 8}};
    real first[V];
    bool alike = true;
    model_forward(m, &(struct batch){.B = 1, .T = 9, .tokens = tokens});
    for (size_t i = 0; i < 3; i++) {
        memcpy(first, model_logits(m, pairs[i][0]), sizeof first);
        alike &= memcmp(first, model_logits(m, pairs[i][1]), sizeof first) == 0;
    }
    return alike;
}

static void test_zero_start(void **state) {
    (void)state;
    const struct config blocks[] = {config_other(small_config), config_llama(config_other(small_config)),
                                    config_modern(config_other(small_config))};
    for (int setting = 0; setting < 3 * 3 * 4; setting++) {
        struct config config = blocks[setting % 3];
        const int ffn = setting / 3 % 3, merge = setting / 9;
        config.ffn = ffn;
        config.merge_depth = merge;
        config.shared_hidden = ffn == FFN_DENSE ? 0 : 5;
        config.position = POSITION_ROTARY; /* learned positions show without any block */
        config.zero_start = false;
        struct model plain = model_initial(config, 52);
        config.zero_start = true;
        struct model m = model_initial(config, 52);
        zeros_check(&m, &plain, ffn == FFN_MHMOE ? (size_t)merge : 0);
        assert_true(positions_are_alike(&m) && !positions_are_alike(&plain));
        model_destroy(&m);
        model_destroy(&plain);
    }
}

/* ---- The observer of picks ---- */

struct observed {
    double load[2 * 5]; /* of small_config: layers, experts */
    size_t calls[2], picks;
};

static void picks_observe(void *context, size_t lm, const int32_t *picks, size_t N) {
    struct observed *o = context;
    o->calls[lm]++;
    for (size_t i = 0; i < N * (size_t)small_config.topk; i++) o->load[lm * 5 + (size_t)picks[i]]++;
    o->picks += N * (size_t)small_config.topk;
}

/* It is told every layer's choices once a forward, not again when backward recomputes: what it counts is the load. */
static void test_observer(void **state) {
    (void)state;
    for (int recompute = 0; recompute < 2; recompute++) {
        struct model m;
        struct error err;
        struct observed o = {{0}, {0}, 0};
        struct example b = example_random(3, 7, small_config.vocab, 5);
        const struct model_setup setup = {MODEL_TRAIN, 3, recompute, STORAGE_F32};
        assert_true(model_create(&m, &small_config, setup, &err));
        model_initialize(&m, 6);
        m.on_picks = picks_observe;
        m.on_picks_context = &o;
        model_gradients(&m, &b);
        for (size_t lm = 0; lm < 2; lm++) assert_int_equal(o.calls[lm], 1);
        assert_int_equal(o.picks, 2 * 3 * 7 * m.sizes.H * m.sizes.K);
        assert_memory_equal(o.load, m.load, sizeof o.load);
        example_free(&b);
        model_destroy(&m);
    }
}

int main(void) {
    const struct CMUnitTest others[] = {
        cmocka_unit_test(test_observer),
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_differences_of_every_router),
        cmocka_unit_test(test_differences_of_every_depth),
        cmocka_unit_test(test_differences_of_every_sight),
        cmocka_unit_test(test_differences_of_masked_models),
        cmocka_unit_test(test_differences_of_dropout),
        cmocka_unit_test(test_differences_of_every_block),
        cmocka_unit_test(test_backward_adds),
        cmocka_unit_test(test_batch_is_sum_of_sequences),
        cmocka_unit_test(test_initialisation),
        cmocka_unit_test(test_initialisation_of_masked_models),
        cmocka_unit_test(test_zero_start),
    };
    struct CMUnitTest tests[TORCH_CASES + sizeof others / sizeof others[0]];
    for (int i = 0; i < TORCH_CASES; i++)
        tests[i] = (struct CMUnitTest){torch_cases[i].name, test_torch, NULL, NULL, (void *)&torch_cases[i]};
    memcpy(tests + TORCH_CASES, others, sizeof others);
    return cmocka_run_group_tests_name("model", tests, fixture_open, fixture_close);
}
