/* make bench: what this machine can do, and how much of it the program uses.
 *
 * Everything is a ratio within one run: the peak of fused multiply-adds and the bandwidth of memory and of
 * cache are measured first and again beside the kernels. Each figure is the median of several runs, since
 * machines are shared and noisy. build/bench --json prints the same as one JSON object; --only WORD keeps
 * the lines whose name holds WORD. Nothing here is a test: speed never fails a build. */
#include <jansson.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include "../../mhmoe.h"
#include "../../src/math/attention.h"
#include "../../src/math/gemm.h"
#include "../../src/math/kernels.h"
#include "../../src/layers/inputs.h"
#include "../../src/layers/linear.h"
#include "../../src/layers/norm.h"
#include "../../src/run/optimizer.h"
#include "../../src/math/vecmath.h"
#include "../study/statistics.h"
#include "tile_peak.h"

enum { RUNS = 7 };

struct bench {
    const char *only;
    json_t *results; /* NULL: print a table */
    double memory, cache; /* bytes/s read, from memory and from the last-level cache */
    bool tiles;           /* this machine has matrix tiles */
};

/* Seconds of one call, from as many as take about 20 ms. */
static double seconds_of(void (*work)(void *), void *context, int repeat) {
    const double start = time_seconds();
    for (int i = 0; i < repeat; i++) work(context);
    return (time_seconds() - start) / repeat;
}
static int repeats(void (*work)(void *), void *context) {
    work(context); /* warm */
    const double once = seconds_of(work, context, 1);
    return once < 0.02 ? (int)(0.02 / (once + 1e-7)) + 1 : 1;
}

/* Median seconds of a call. */
static double measure(void (*work)(void *), void *context) {
    double times[RUNS];
    const int repeat = repeats(work, context);
    for (int r = 0; r < RUNS; r++) times[r] = seconds_of(work, context, repeat);
    return median(times, RUNS);
}

static bool wanted(const struct bench *b, const char *name) { return !b->only || strstr(name, b->only); }

/* One line: a rate, its unit, and the share of what the machine can do. */
static void report(const struct bench *b, const char *name, double rate, const char *unit, double share,
                   const char *of) {
    if (b->results) {
        json_array_append_new(b->results, json_pack("{s:s, s:f, s:s, s:f, s:s}", "name", name, "rate", rate, "unit",
                                                    unit, "share", share, "of", of));
        return;
    }
    printf("%-44s %10.1f %-9s", name, rate, unit);
    if (share > 0) printf(" %5.1f%% of %s", 100 * share, of);
    printf("\n");
    fflush(stdout);
}

/* ---- The machine -------------------------------------------------------------------------------- */

/* As many chains as hide the latency of an addition, and few enough for the registers of any target. */
enum { PEAK_STEPS = 100000, PEAK_CHAINS = 10 };

static void peak_run(void *context) {
    float *sink = context;
#pragma omp parallel
    {
        vec a[PEAK_CHAINS], x = vec_splat((real)0.999), y = vec_splat((real)1e-6);
        for (int i = 0; i < PEAK_CHAINS; i++) a[i] = vec_splat((real)i);
        for (int k = 0; k < PEAK_STEPS; k++)
#pragma GCC unroll 16
            for (int i = 0; i < PEAK_CHAINS; i++) a[i] = a[i] * x + y;
        real sum = 0;
        for (int i = 0; i < PEAK_CHAINS; i++) sum += a[i][0];
#pragma omp critical
        *sink += (float)sum;
    }
}

static double peak_flops(void) { return 2.0 * PEAK_CHAINS * VEC_LANES * PEAK_STEPS * omp_get_max_threads(); }

/* What a rate is set against: `amount` a call of `run`. */
struct yardstick {
    void (*run)(void *);
    void *context;
    double amount;
};

/* Median rate of a call that does `amount`, and in *share the median of its ratio to the yardstick's measured right
 * after it: where processors are shared with strangers, what they can do comes and goes. */
static double measure_share(void (*work)(void *), void *context, double amount, struct yardstick yardstick,
                            double *share) {
    double rates[RUNS], shares[RUNS];
    const int repeat = repeats(work, context);
    for (int r = 0; r < RUNS; r++) {
        rates[r] = amount / seconds_of(work, context, repeat);
        shares[r] = rates[r] * seconds_of(yardstick.run, yardstick.context, 2) / yardstick.amount;
    }
    *share = median(shares, RUNS);
    return median(rates, RUNS);
}

static float peak_sink;
static struct yardstick peak_yardstick(void) { return (struct yardstick){peak_run, &peak_sink, peak_flops()}; }

/* Of products in bf16: tiles where there are some. */
static const char *bf16_peak_name(const struct bench *b) { return b->tiles ? "tile peak" : "peak"; }
static struct yardstick bf16_yardstick(const struct bench *b) {
    if (!b->tiles) return peak_yardstick();
    const double flops = 2.0 * 16 * 16 * 32 * TILE_PEAK_CHAINS * TILE_PEAK_STEPS * omp_get_max_threads();
    return (struct yardstick){tile_peak_run, NULL, flops};
}

struct reading {
    const real *data;
    size_t n; /* numbers a thread reads */
    real sink;
};
static void read_run(void *context) {
    struct reading *r = context;
#pragma omp parallel
    {
        const real *p = r->data + (size_t)omp_get_thread_num() * r->n;
        vec sum[8] = {{0}};
        for (size_t i = 0; i < r->n; i += 8 * VEC_LANES)
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++) sum[j] += vec_load(p + i + (size_t)j * VEC_LANES);
        real total = 0;
        for (int j = 0; j < 8; j++) total += vec_sum(sum[j]);
#pragma omp critical
        r->sink += total;
    }
}
static struct reading reading_make(size_t bytes) {
    const size_t threads = (size_t)omp_get_max_threads(), n = bytes / threads / 64 / sizeof(real) * 64;
    real *data = array_alloc(threads * n, sizeof(real));
    memset(data, 1, threads * n * sizeof(real));
    return (struct reading){data, n, 0};
}
static double reading_bytes(const struct reading *r) {
    return (double)((size_t)omp_get_max_threads() * r->n * sizeof(real));
}
static double read_measure(size_t bytes) {
    struct reading r = reading_make(bytes);
    const double rate = reading_bytes(&r) / measure(read_run, &r);
    free((void *)r.data);
    return rate;
}

static void bench_machine(struct bench *b) {
    float sink = 0;
    const double peak = peak_flops() / measure(peak_run, &sink);
    const size_t threads = (size_t)omp_get_max_threads();
    b->memory = read_measure(threads << 27);
    b->cache = read_measure(threads << 22);
    report(b, "threads", omp_get_max_threads(), "", 0, "");
    report(b, "peak, fused multiply-add", peak / 1e9, "GFLOP/s", 0, "");
    b->tiles = gemm_use_tiles(true);
    const struct yardstick tiles = bf16_yardstick(b);
    if (b->tiles) report(b, "peak, tiles of bf16", tiles.amount / measure(tiles.run, NULL) / 1e9, "GFLOP/s", 0, "");
    report(b, "read, memory", b->memory / 1e9, "GB/s", 0, "");
    report(b, "read, 4 MB a thread", b->cache / 1e9, "GB/s", 0, "");
}

/* ---- Products ----------------------------------------------------------------------------------- */

struct products {
    struct gemm *problems;
    size_t n;
    void *workspace;
};
static void products_run(void *context) {
    const struct products *p = context;
    gemm_run(p->problems, p->n, p->workspace);
}

static real *random_numbers(size_t n) {
    real *x = array_alloc(n, sizeof *x);
    struct rng rng;
    rng_seed(&rng, n, 0);
    for (size_t i = 0; i < n; i++) x[i] = (real)(rng_uniform(&rng) - 0.5);
    return x;
}

enum product_kind { FORWARD, D_INPUT, D_WEIGHT };

struct product_shape {
    const char *what;
    size_t n, rows, IC, OC; /* n layers (experts) of (OC, IC) on so many rows each */
};

/* One of the three products of training. */
static void bench_product(struct bench *b, enum operands operands, enum product_kind kind,
                          const struct product_shape *shape) {
    static const char *const kinds[] = {"forward", "d-input", "d-weight"};
    const size_t n = shape->n, rows = shape->rows, IC = shape->IC, OC = shape->OC;
    const bool bf16 = operands == OPERANDS_BF16;
    char name[80];
    snprintf(name, sizeof name, "gemm %s%s %s %zux%zux%zu%s", bf16 ? "bf16 " : "", shape->what, kinds[kind], rows, IC,
             OC, n > 1 ? " (grouped)" : "");
    if (!wanted(b, name)) return;
    real *in = random_numbers(n * rows * IC), *out = random_numbers(n * rows * OC), *w = random_numbers(n * OC * IC);
    const size_t K = kind == FORWARD ? IC : OC, N = kind == FORWARD ? OC : IC;
    const enum storage storage = gemm_storage(operands);
    const size_t packed_bytes = gemm_packed_bytes(storage, K, N);
    char *packed = array_alloc(n, packed_bytes), *workspace = array_alloc(n, gemm_packed_bytes(storage, rows, IC));
    struct gemm *g = array_alloc(n, sizeof *g);
    for (size_t e = 0; e < n; e++) {
        real *in_e = in + e * rows * IC, *out_e = out + e * rows * OC, *w_e = w + e * OC * IC;
        const struct linear l = {.IC = IC, .OC = OC, .packed = packed + e * packed_bytes, .dw = w_e, .storage = storage,
                                 .packed_t = packed + e * packed_bytes};
        const struct view B = kind == FORWARD ? view_of(w_e, 1, IC) : view_of(w_e, IC, 1);
        gemm_pack_stored(packed + e * packed_bytes, storage, B, K, N);
        if (kind == FORWARD) g[e] = linear_product(&l, out_e, kept_real(in_e), NULL, rows);
        else if (kind == D_INPUT) g[e] = linear_din_product(&l, in_e, kept_real(out_e), NULL, rows);
        else g[e] = linear_dw_product(&l, kept_real(out_e), kept_real(in_e), rows);
        g[e].operands = operands;
    }
    struct products p = {g, n, workspace};
    double share;
    const struct yardstick yardstick = bf16 ? bf16_yardstick(b) : peak_yardstick();
    const double rate = measure_share(products_run, &p, 2.0 * (double)(n * rows * IC * OC), yardstick, &share);
    report(b, name, rate / 1e9, "GFLOP/s", share, bf16 ? bf16_peak_name(b) : "peak");
    free(in), free(out), free(w), free(packed), free(workspace), free(g);
}

static void bench_products(struct bench *b) {
    static const struct product_shape shapes[] = {
        {"qkv", 1, 2048, 384, 1152},
        {"attproj", 1, 2048, 384, 384},
        {"fc", 1, 2048, 384, 1536},
        {"fcproj", 1, 2048, 1536, 384},
        {"logits", 1, 512, 384, 4096},
        {"expert up, E=8", 8, 2048, 64, 256},
        {"expert down, E=8", 8, 2048, 256, 64},
        {"expert up, E=128", 128, 128, 64, 256},
        {"expert down, E=128", 128, 128, 256, 64},
    };
    for (int operands = OPERANDS_F32; operands <= OPERANDS_BF16; operands++)
        for (int kind = FORWARD; kind <= D_WEIGHT; kind++)
            for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
                bench_product(b, (enum operands)operands, (enum product_kind)kind, &shapes[i]);
}

/* The packing of weights, which happens once a step. */
struct packing {
    void *to;
    enum storage storage;
    struct view B;
    size_t K, N;
};
static void run_packing(void *context) {
    const struct packing *p = context;
#pragma omp parallel for schedule(static)
    for (size_t j = 0; j < gemm_panels(p->N); j++) gemm_pack_panel(p->to, p->storage, p->B, p->K, p->N, j);
}

static void bench_packing(struct bench *b) {
    enum { OC = 1536, IC = 384 };
    real *w = random_numbers((size_t)OC * IC);
    for (int storage = STORAGE_F32; storage <= STORAGE_BF16; storage++)
        for (int transposed = 0; transposed < 2; transposed++) {
            const size_t K = transposed ? OC : IC, N = transposed ? IC : OC;
            const struct view B = transposed ? view_of(w, IC, 1) : view_of(w, 1, IC);
            char name[80];
            snprintf(name, sizeof name, "pack %s %s", storage == STORAGE_BF16 ? "bf16" : "f32",
                     transposed ? "d-input" : "forward");
            if (!wanted(b, name)) continue;
            struct packing p = {array_alloc(gemm_packed_bytes((enum storage)storage, K, N), 1), (enum storage)storage,
                                B, K, N};
            const double rate = (double)(OC * IC) * sizeof(real) / measure(run_packing, &p);
            report(b, name, rate / 1e9, "GB/s", rate / b->memory, "memory read");
            free(p.to);
        }
    free(w);
}

/* ---- The other kernels, at the sizes of dense L6 C384 V4096 T256 B8 ----------------------------- */

enum { B_ = 8, T_ = 256, C_ = 384, NH_ = 6, R_ = B_ * T_, V_ = 4096, LOGIT_ROWS_ = 512, PARAMS_ = 12 << 20 };

struct buffers {
    real *a, *b, *c, *d, *scratch;
    int32_t tokens[R_];
};
static void run_layernorm_forward(void *x) {
    struct buffers *k = x;
    const struct norm norm = {.C = C_, .w = k->c, .b = k->c + C_, .kept = k->d};
    norm_forward(&norm, kept_real(k->a), k->b, R_);
}
static void run_layernorm_backward(void *x) {
    struct buffers *k = x;
    const struct norm norm = {NORM_LAYER, C_, k->c, NULL, k->c + C_, k->c + 2 * C_, k->d, k->scratch};
    norm_backward(&norm, k->a, k->b, k->a + R_ * C_, R_);
}
static void run_gelu_forward(void *x) {
    struct buffers *k = x;
#pragma omp parallel for
    for (size_t r = 0; r < R_; r++)
        activation_forward(ACTIVATION_GELU, kept_real(k->a + r * 4 * C_), kept_real(k->b + r * 4 * C_), 1, 4 * C_);
}
static void run_gelu_backward(void *x) {
    struct buffers *k = x;
#pragma omp parallel for
    for (size_t r = 0; r < R_; r++) {
        const size_t i = r * 4 * C_;
        activation_backward(ACTIVATION_GELU, kept_real(k->a + i), k->a + i, kept_real(k->c + i), 1, 4 * C_);
    }
}
static void run_crossentropy(void *x) {
    struct buffers *k = x;
    crossentropy(k->d, k->a, k->tokens, LOGIT_ROWS_, V_, (real)1e-3);
}
static void run_embedding_forward(void *x) {
    struct buffers *k = x;
    const struct inputs inputs = {.C = C_, .tokens.w = k->b, .positions.w = k->c};
    inputs_forward(&inputs, k->a, &(struct batch){.B = B_, .T = T_, .tokens = k->tokens});
}
static void run_embedding_backward(void *x) {
    struct buffers *k = x;
    const struct inputs inputs = {.C = C_, .tokens = {k->b, k->b}, .positions = {k->c, k->c}};
    inputs_backward(&inputs, k->a, &(struct batch){.B = B_, .T = T_, .tokens = k->tokens});
}
static void run_adamw(void *x) {
    struct buffers *k = x;
    const struct adamw adamw = {0.9, 0.95, 1e-8, 0.1};
    adamw_update(&adamw, &(struct slab){k->a, k->b, k->c, k->d, PARAMS_, true}, 1e-6, 1, 10);
}
static void run_norm(void *x) {
    struct buffers *k = x;
    k->scratch[0] = (real)gradient_norm(k->b, PARAMS_);
}
static void run_attention_forward(void *x) {
    struct buffers *k = x;
    const struct attention attention = {C_, NH_, OPERANDS_F32, k->d, k->scratch};
    attention_forward(&attention, kept_real(k->a), kept_real(k->b), &(struct batch){.B = B_, .T = T_});
}
static void run_attention_backward(void *x) {
    struct buffers *k = x;
    const struct attention attention = {C_, NH_, OPERANDS_F32, k->d, k->scratch};
    attention_backward(&attention, k->c, k->a + R_ * C_, kept_real(k->b), kept_real(k->a),
                       &(struct batch){.B = B_, .T = T_});
}

static void bench_kernels(struct bench *b) {
    const size_t scratch = attention_scratch_count(T_, C_, NH_, OPERANDS_F32) + norm_scratch_count(C_);
    struct buffers k = {random_numbers(PARAMS_), random_numbers(PARAMS_), random_numbers(PARAMS_),
                        array_alloc(PARAMS_, sizeof(real)), array_alloc(scratch, sizeof(real)), {0}};
    for (int i = 0; i < R_; i++) k.tokens[i] = (i * 7919) % V_;
    const double row = (double)R_ * C_ * sizeof(real), params = (double)PARAMS_ * sizeof(real);
    const struct {
        const char *name;
        void (*run)(void *);
        double bytes; /* that must move, read or written */
    } list[] = {
        {"layernorm forward", run_layernorm_forward, 2 * row},
        {"layernorm backward", run_layernorm_backward, 4 * row},
        {"gelu forward", run_gelu_forward, 8 * row},
        {"gelu backward", run_gelu_backward, 16 * row},
        {"crossentropy", run_crossentropy, 2.0 * LOGIT_ROWS_ * V_ * sizeof(real)},
        {"embedding forward", run_embedding_forward, 2 * row},
        {"embedding backward", run_embedding_backward, 3 * row},
        {"adamw", run_adamw, 7 * params},
        {"gradient norm", run_norm, params},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        if (!wanted(b, list[i].name)) continue;
        const double rate = list[i].bytes / measure(list[i].run, &k);
        report(b, list[i].name, rate / 1e9, "GB/s", rate / b->memory, "memory read");
    }
    /* products over the causal half only */
    const double flops = 2.0 * B_ * T_ * (T_ + 1) / 2 * C_;
    double share;
    if (wanted(b, "attention forward")) {
        const double rate = measure_share(run_attention_forward, &k, 2 * flops, peak_yardstick(), &share);
        report(b, "attention forward", rate / 1e9, "GFLOP/s", share, "peak");
    }
    if (wanted(b, "attention backward")) {
        const double rate = measure_share(run_attention_backward, &k, 5 * flops, peak_yardstick(), &share);
        report(b, "attention backward", rate / 1e9, "GFLOP/s", share, "peak");
    }
    free(k.a), free(k.b), free(k.c), free(k.d), free(k.scratch);
}

/* ---- Training and decoding ---------------------------------------------------------------------- */

struct training {
    struct model model;
    real *m, *v;
    int32_t *tokens, *targets;
    size_t B, T;
    int64_t step;
};

static void train_run(void *context) {
    struct training *t = context;
    struct model *m = &t->model;
    const struct adamw adamw = {0.9, 0.95, 1e-8, 0.1};
    size_t count;
    reals_clear(m->grad_memory, m->n_parameters);
    model_forward(m, &(struct batch){.B = t->B, .T = t->T, .tokens = t->tokens, .targets = t->targets});
    model_loss(m, 1 / (double)(t->B * t->T), &count);
    model_backward(m, 1);
    const double norm = gradient_norm(m->grad_memory, m->n_parameters);
    t->step++;
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
        const size_t o = m->info[i].offset;
        const struct slab slab = {m->param_memory + o, m->grad_memory + o, t->m + o, t->v + o, m->info[i].count,
                                  m->info[i].decay};
        adamw_update(&adamw, &slab, 1e-4, clip_scale(norm, 1), t->step);
    }
    model_pack(m);
}

static void bench_training_in(struct bench *b, const char *name, const struct config *config, size_t batch,
                              enum storage storage) {
    const bool bf16 = storage == STORAGE_BF16;
    struct training t = {.B = batch, .T = (size_t)config->seq};
    struct error err;
    struct rng rng;
    if (!wanted(b, name)) return;
    if (!model_create(&t.model, config, (struct model_setup){MODEL_TRAIN, batch, false, storage}, &err))
        error_exit(&err);
    model_initialize(&t.model, 1);
    const size_t rows = t.B * t.T;
    t.m = array_alloc(t.model.n_parameters, sizeof(real));
    t.v = array_alloc(t.model.n_parameters, sizeof(real));
    t.tokens = array_alloc(rows, sizeof *t.tokens);
    t.targets = array_alloc(rows, sizeof *t.targets);
    rng_seed(&rng, 1, 0);
    for (size_t i = 0; i < rows; i++) {
        t.tokens[i] = (int32_t)(rng_next(&rng) % (uint64_t)config->vocab);
        t.targets[i] = (int32_t)(rng_next(&rng) % (uint64_t)config->vocab);
    }
    const struct model_cost cost = model_cost(&t.model.sizes, t.model.setup);
    double share;
    const double flops = cost.training_flops * (double)rows,
                 rate = measure_share(train_run, &t, flops, bf16 ? bf16_yardstick(b) : peak_yardstick(), &share);
    report(b, name, rate / cost.training_flops, "tokens/s", share, bf16 ? bf16_peak_name(b) : "peak");
    model_destroy(&t.model);
    free(t.m), free(t.v), free(t.tokens), free(t.targets);
}

/* In f32, and with products in bf16. */
static void bench_training(struct bench *b, const char *name, const struct config *config, size_t batch) {
    char *in_bf16 = string_format("%s bf16", name);
    bench_training_in(b, name, config, batch, STORAGE_F32);
    bench_training_in(b, in_bf16, config, batch, STORAGE_BF16);
    free(in_bf16);
}

struct decoding {
    struct model model;
    int32_t token;
    size_t at;
};
static void decode_run(void *context) {
    struct decoding *d = context;
    d->at = d->at % 64 + 1; /* positions 1..64 of the sequence */
    model_forward(&d->model, &(struct batch){.B = 1, .T = d->at + 1, .from = d->at, .tokens = &d->token});
    d->token = (int32_t)(model_logits(&d->model, 0)[0] > 0);
}

/* Against reading as many bytes as the matrices take, in one go. */
static void bench_decoding(struct bench *b, const char *name, const struct config *config, enum storage storage) {
    struct decoding d = {.token = 1};
    struct error err;
    if (!wanted(b, name)) return;
    if (!model_create(&d.model, config, (struct model_setup){MODEL_INFER, 1, false, storage}, &err)) error_exit(&err);
    model_initialize(&d.model, 1);
    const struct model_cost cost = model_cost(&d.model.sizes, d.model.setup);
    const double bytes = (double)(cost.parameter_bytes - cost.parameters * sizeof(real)); /* what is packed */
    struct reading r = reading_make((size_t)bytes);
    const struct yardstick yardstick = {read_run, &r, reading_bytes(&r)};
    double share;
    const double rate = measure_share(decode_run, &d, bytes, yardstick, &share);
    report(b, name, rate / bytes, "tokens/s", share, "reading the weights");
    model_destroy(&d.model);
    free((void *)r.data);
}

static void bench_models(struct bench *b) {
    const struct config dense = {.bias = true, .tie = true, .vocab = 4096, .seq = 256, .layers = 6, .channels = 384,
                                 .attn_heads = 6, .ffn = FFN_DENSE};
    const struct config mhmoe = {.bias = true, .tie = true, .vocab = 4096, .seq = 256, .layers = 4, .channels = 256,
                                 .attn_heads = 4, .ffn = FFN_MHMOE, .moe_heads = 4, .topk = 2,
                                 .expert_hidden = 256, .moe_every = 1,
                                 .head_depth = 1, .merge_depth = 1, .balance = BALANCE_AUX,
                                 .balance_weight = 0.01};
    struct config large = dense;
    /* The 15M-parameter shape that llama2.c's users know. */
    const struct config decoder = {.bias = true, .tie = true, .vocab = 32000, .seq = 256, .layers = 6, .channels = 288,
                                   .attn_heads = 6, .ffn = FFN_DENSE};
    large.vocab = 50257;
    bench_training(b, "train dense L6 C384 V4096 T256 B8", &dense, 8);
    for (int experts = 8; experts <= 512; experts *= 4) {
        struct config c = mhmoe;
        char name[80];
        c.experts = experts;
        snprintf(name, sizeof name, "train mhmoe L4 C256 H4 K2 F256 T256 B8 E=%d", experts);
        bench_training(b, name, &c, 8);
    }
    bench_training(b, "train dense L6 C384 V50257 T256 B4", &large, 4);
    bench_decoding(b, "decode 15M f32", &decoder, STORAGE_F32);
    bench_decoding(b, "decode 15M bf16", &decoder, STORAGE_BF16);
    bench_decoding(b, "decode 15M int8", &decoder, STORAGE_INT8);
}

int main(int argc, char **argv) {
    struct bench b = {0};
    struct error err;
    program_start(argv); /* as the programs do */
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) b.results = json_array();
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) b.only = argv[++i];
        else return fprintf(stderr, "usage: bench [--json] [--only WORD]\n"), EXIT_USAGE;
    }
    if (!threads_start(0, &err)) error_exit(&err);
    bench_machine(&b);
    bench_products(&b);
    bench_packing(&b);
    bench_kernels(&b);
    bench_models(&b);
    if (b.results) {
        json_dumpf(b.results, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
        printf("\n");
        json_decref(b.results);
    }
    return EXIT_DONE;
}
