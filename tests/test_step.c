/* Steps of ./train against the same steps written out plainly: schedule, clipping, accumulation, weight decay and
 * AdamW, one number at a time in double, and Muon, a matrix at a time. The gradients come from the model's own
 * functions, which test_model and test_layer hold to finite differences and to a plain layer.
 *
 * A run with --until k stops after k steps of the same schedule, so its checkpoint shows what the run was at that step.
 * From there the plain step has the same gradients as the real one, bit for bit, and must arrive at the checkpoint of
 * --until k + 1: nothing adds up over steps, and tolerances are those of a few roundings. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <omp.h>

#include "../data/loader.h"
#include "../mhmoe.h"
#include "../src/layers/dropout.h"
#include "command.h"
#include "muon_plain.h"
#include "prose.h"
#include "runs.h"

enum { STEPS = 5 };

/* What a run is told; `options` are those of the model, which are also in `config`. */
struct setting {
    const char *name, *options;
    struct config config;
    int batch, accumulate, seed;
    double warmup, lr, final_lr, weight_decay, beta1, beta2, clip;
    const char *more;
    double embedding_lr; /* 0: not given */
    int decay;           /* of WSD; 0: cosine */
    double dropout;
    bool muon;
};

/* Odd sizes, and what the settings choose: the coefficients of E7 and of the z-loss, a bias' step, the cosine router's
 * width. */
#define MODEL(kind, balance, z, step, width) .bias = true, .patch = 8, .codes = 512, .vocab = 301, .seq = 17,          \
    .layers = 3, .channels = 12, .attn_heads = 3,                                                                   \
    .moe_heads = 2, .experts = 5, .topk = 2, .expert_hidden = 7, .ffn = kind, .balance_weight = balance,            \
    .z_weight = z, .bias_step = step, .router_dim = width, .merge_depth = 1
#define MODEL_OPTIONS "--block gpt2 --seq 17 --layers 3 --channels 12 --attn-heads 3 --moe-heads 2 --experts 5 " \
    "--topk 2 --expert-hidden 7 "

/* Options on both sides of each rule: a limit below every norm, far above, and none; a warm-up within the run, of no
 * step, and longer than it; moments with unlike memories, and with none. Weights of E7 and of the z-loss that show in
 * the gradient; a bias' step whose multiples float holds exactly. */
static const struct setting settings[] = {
    {"clipped", MODEL_OPTIONS "--balance-weight 0.5 --z-weight 0.05",
     {MODEL(FFN_MHMOE, 0.5, 0.05, 1e-3, 16), .tie = true, .head_depth = 1, .moe_every = 2},
     2, 3, 4, 3, 0.02, 0.3, 0.3, 0.7, 0.93, 0.05, "--dropout 0.25", 0, 0, 0.25, false},
    {"bias", MODEL_OPTIONS "--balance bias --bias-step 0.0625 --router cosine --router-dim 3 --head-depth 2",
     {MODEL(FFN_MHMOE, 0.01, 0, 0.0625, 3), .tie = true, .head_depth = 2, .moe_every = 2, .balance = BALANCE_BIAS,
      .router = ROUTER_COSINE},
     2, 3, 1, 3, 0.02, 0.3, 0.3, 0.7, 0.93, 0, "", 0, 0, 0, false},
    {"recomputed", MODEL_OPTIONS "--shared-hidden 5 --moe-residual --renormalize --z-weight 0.05",
     {MODEL(FFN_MHMOE, 0.01, 0.05, 1e-3, 16), .head_depth = 1, .moe_every = 2, .shared_hidden = 5,
      .moe_residual = true, .renormalize = true},
     3, 2, 2, 0, 0.01, 0, 1, 0.93, 0.7, 1e9, "--recompute --threads 2 --no-tie --dropout 0.1", 2.5, 0, 0.1, false},
    {"sparse", MODEL_OPTIONS "--ffn smoe --balance none --z-weight 0.5 --moe-every 1",
     {MODEL(FFN_SMOE, 0.01, 0.5, 1e-3, 16), .tie = true, .head_depth = 1, .moe_every = 1, .balance = BALANCE_NONE},
     5, 1, 3, 1, 0.03, 0.2, 0, 0, 0.5, 0.1, "--decay-steps 3", 0.3, 3, 0, false},
    {"dense", MODEL_OPTIONS "--ffn dense",
     {MODEL(FFN_DENSE, 0.01, 0, 1e-3, 16), .tie = true, .head_depth = 1, .moe_every = 2},
     7, 1, 1000000, 1, 0.01, 0.5, 10, 0.5, 0, 0, "--dropout 0.5", 0, 0, 0.5, false},
    {"muon", MODEL_OPTIONS "--shared-hidden 5",
     {MODEL(FFN_MHMOE, 0.01, 0, 1e-3, 16), .tie = true, .head_depth = 1, .moe_every = 2, .shared_hidden = 5},
     2, 3, 4, 1, 0.02, 0.3, 3, 0.7, 0.93, 0.05, "--decay-steps 3", 3, 3, 0, true},
};

/* What the options' defaults mean: --help says so. */
static const struct setting defaults = {
    "default", MODEL_OPTIONS, {MODEL(FFN_MHMOE, 0.01, 0, 1e-3, 16), .tie = true, .head_depth = 1, .moe_every = 2},
    8, 1, 1, 2, 2e-3, 0, 0.02, 0.9, 0.99, 1, NULL, 8, 2, 0, true};

/* A tokenizer of some text, and a text of so few windows that all of them come within the steps: among them the last
 * one, whose targets are masked in part. */
static int corpus_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    omp_set_num_threads(1); /* of the steps done here, which are as small */
    prose_save("corpus.txt", 800, 1);
    prose_save("few.txt", 15, 2);
    return system("train corpus.txt --cache cache --vocab 301 --dry-run >/dev/null 2>&1 && "
                  "cp cache/*/tokenizer.model tokenizer.model");
}

/* All `until` steps of a setting, and no more. */
static void steps_train(const struct setting *s, int until) {
    const char *more = s->more ? s->more : "";
    const double embedding_lr = s->embedding_lr > 0 ? s->embedding_lr : 1;
    char *rule = s->more ? string_format("--batch %d --accumulate %d --seed %d --lr %g --final-lr %g --weight-decay %g "
                                         "--beta1 %g --beta2 %g --clip %g --embedding-lr %g --schedule %s "
                                         "--optimizer %s",
                                         s->batch, s->accumulate, s->seed, s->lr, s->final_lr, s->weight_decay,
                                         s->beta1, s->beta2, s->clip, embedding_lr, s->decay ? "wsd" : "cosine",
                                         s->muon ? "muon" : "adamw")
                         : string_format("%s", "");
    run("rm -rf run && train few.txt --val corpus.txt --tokenizer tokenizer.model --cache cache --steps %d "
        "--until %d --warmup %g "
        "--eval-windows 1 %s %s %s --out run",
        STEPS, until, s->warmup, s->options, rule, more);
    free(rule);
}

/* ---- The plain step ---- */

/* What a run is at a step. */
struct state {
    real *parameters, *m, *v; /* (n) */
    real *bias;               /* (LM, E) */
};

/* What the log says of a step, and its sums. */
struct figures {
    double loss, norm, balance, z_loss, lr;
    size_t targets;
};

struct plain {
    const struct setting *setting;
    struct model model;
    struct loader *data;
    struct state state;
};

static struct plain plain_make(const struct setting *s, const char *data_dir) {
    struct plain p = {.setting = s};
    struct error err;
    const struct model_setup setup = {MODEL_TRAIN, (size_t)s->batch, false, STORAGE_F32};
    if (!model_create(&p.model, &s->config, setup, &err)) fail_msg("%s", err.text);
    p.data = loader_open(data_dir, "train", s->config.seq, true, (uint64_t)s->seed, 1 << 20, &err);
    if (!p.data) fail_msg("%s", err.text);
    model_initialize(&p.model, (uint64_t)s->seed);
    const size_t n = p.model.n_parameters;
    p.state = (struct state){p.model.param_memory, array_alloc(n, sizeof(real)), array_alloc(n, sizeof(real)),
                             p.model.router_bias};
    return p;
}

static void plain_free(struct plain *p) {
    model_destroy(&p->model);
    loader_close(p->data);
    free(p->state.m);
    free(p->state.v);
}

static double rate_at(const struct setting *s, int step) {
    if (step <= s->warmup) return s->lr * step / s->warmup;
    if (s->decay) return s->lr * (1 - (1 - s->final_lr) * fmax(0, (double)(step - 1 - (STEPS - s->decay)) / s->decay));
    const double way = (step - 1 - s->warmup) / (STEPS - s->warmup); /* from 0, and never 1 */
    return s->lr * (s->final_lr + (1 - s->final_lr) * (1 + cos(M_PI * way)) / 2);
}

/* Gradients of step `step` (from 1), one micro-batch after the other, and all that the log says of it. */
static struct figures gradients_add(struct plain *p, int step, double *load) {
    const struct setting *s = p->setting;
    struct model *m = &p->model;
    struct figures f = {.lr = rate_at(s, step)};
    struct error err;
    const size_t T = m->sizes.T, B = (size_t)s->batch, LM = m->sizes.LM, E = m->sizes.E;
    const uint64_t start = (uint64_t)(step - 1) * B * (uint64_t)s->accumulate;
    int32_t inputs[B * T], targets[B * T];
    for (int counting = 1; counting >= 0; counting--) { /* the mean is over the targets of all micro-batches */
        loader_seek(p->data, start);
        for (int a = 0; a < s->accumulate; a++) {
            size_t count;
            if (!loader_next(p->data, s->batch, inputs, targets, &err)) fail_msg("%s", err.text);
            for (size_t i = 0; counting && i < B * T; i++) f.targets += targets[i] != TARGET_NONE;
            if (counting) continue;
            model_clear_statistics(m);
            model_forward(m, &(struct batch){.B = B, .T = T, .tokens = inputs, .targets = targets,
                                             .dropout = dropout_of(s->dropout, (uint64_t)s->seed, (uint64_t)step - 1,
                                                                   (uint64_t)a)});
            f.loss += model_loss(m, 1 / (double)f.targets, &count) / (double)f.targets;
            model_backward(m, 1 / (double)s->accumulate);
            for (size_t lm = 0; lm < LM; lm++) {
                f.balance += m->balance_sum[lm] / s->accumulate;
                f.z_loss += m->z_sum[lm] / s->accumulate;
            }
            for (size_t i = 0; i < LM * E; i++) load[i] += m->load[i];
        }
    }
    for (size_t i = 0; i < m->n_parameters; i++) f.norm += (double)m->grad_memory[i] * (double)m->grad_memory[i];
    f.norm = sqrt(f.norm);
    return f;
}

/* The matrices, and only they. */
static bool decays(const char *name) {
    static const char matrices[] = " wte qkvw attprojw fcw fcprojw headw routerp routerw expw1 expw2 sharedw1 sharedw2 "
                                   "mergew lmhead ";
    char *word = string_format(" %s ", name);
    const bool found = strstr(matrices, word);
    free(word);
    return found;
}

static void expect(const char *what, const char *name, size_t i, double got, double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%s: %s[%zu] is %.9g, want %.9g, within %.2g", what, name, i, got, want, tolerance);
}

/* One parameter by AdamW (Loshchilov and Hutter), against what the real step made of it.
 *
 * A float result of a few operations is off by a few 2^-24 of the terms it was added up from; 2e-6 is 32 of them, and
 * lets 1 - beta be rounded before or after the subtraction. Squares below float's range are lost: 1e-37. */
static void number_expect(const struct plain *p, const struct parameter_info *info, size_t i, double g, double lr,
                          int step, const struct state *got) {
    const struct setting *s = p->setting;
    const size_t at = info->offset + i;
    const double rounding = 2e-6, old = p->state.parameters[at];
    const double m_kept = s->beta1 * p->state.m[at], m_new = (1 - s->beta1) * g, m = m_kept + m_new;
    const double v = s->beta2 * p->state.v[at] + (1 - s->beta2) * g * g;
    const double root = sqrt(v / (1 - pow(s->beta2, step))), scale = lr / (1 - pow(s->beta1, step)) / (root + 1e-8);
    const double kept = decays(info->name) ? old - lr * s->weight_decay * old : old;
    const double m_rounding = rounding * (fabs(m_kept) + fabs(m_new));
    char *what = string_format("%s, step %d", s->name, step);
    expect(what, "m", at, got->m[at], m, m_rounding);
    expect(what, "v", at, got->v[at], v, rounding * v + 1e-37);
    expect(what, info->name, i, got->parameters[at], kept - scale * m,
           0.1 * rounding * (fabs(old) + fabs(kept)) + 2 * scale * (m_rounding + rounding * fabs(m)));
    free(what);
}

/* How much faster a tensor moves than the others. */
static double faster(const struct setting *s, const char *name) {
    return s->embedding_lr > 0 && (!strcmp(name, "wte") || !strcmp(name, "lmhead")) ? s->embedding_lr : 1;
}

/* What Muon updates: matrices within the model. */
static bool is_muons(const char *name) {
    return decays(name) && strcmp(name, "wte") && strcmp(name, "lmhead") && strncmp(name, "router", 6);
}

/* All matrices of a tensor by Muon. Five products of three enlarge rounding: to less than 1e-4 of the move. */
static void matrices_expect(const struct plain *p, const struct parameter_info *info, double clip, double lr, int step,
                            const struct state *got) {
    const size_t size = info->rows * info->columns;
    const double longest = info->rows > info->columns ? (double)info->rows : (double)info->columns;
    const double scale = lr * 0.2 * sqrt(longest);
    char *what = string_format("%s, step %d", p->setting->name, step);
    double X[size];
    for (size_t at = info->offset; at < info->offset + info->count; at += size) {
        for (size_t i = 0; i < size; i++) {
            const double g = clip * p->model.grad_memory[at + i], m = 0.95 * p->state.m[at + i] + 0.05 * g;
            expect(what, "m", at + i, got->m[at + i], m, 2e-6 * (fabs(p->state.m[at + i]) + fabs(g)));
            expect(what, "v", at + i, got->v[at + i], 0, 0);
            X[i] = 0.95 * m + 0.05 * g;
        }
        orthogonal_plain(X, info->rows, info->columns);
        for (size_t i = 0; i < size; i++) {
            const double old = p->state.parameters[at + i], kept = old - lr * p->setting->weight_decay * old;
            expect(what, info->name, i, got->parameters[at + i], kept - scale * X[i], 1e-4 * scale + 2e-7 * fabs(old));
        }
    }
    free(what);
}

/* Every number that the real step changed. */
static void update_expect(const struct plain *p, const struct figures *f, int step, const struct state *got) {
    const struct model *m = &p->model;
    const double limit = p->setting->clip, clip = limit > 0 && f->norm > limit ? limit / f->norm : 1;
    for (size_t t = 0; t < PARAMETER_TENSORS; t++) {
        const struct parameter_info *info = &m->info[t];
        const double lr = f->lr * faster(p->setting, info->name);
        if (info->count == 0) continue;
        if (p->setting->muon && is_muons(info->name)) matrices_expect(p, info, clip, lr, step, got);
        else
            for (size_t i = 0; i < info->count; i++)
                number_expect(p, info, i, clip * m->grad_memory[info->offset + i], lr, step, got);
    }
}

/* Each expert's bias goes one step up where it had less than an even share of this step's picks, down where it had
 * more. Only differences of biases matter, and only those are compared. */
static void biases_expect(const struct plain *p, const double *load, const real *got) {
    const size_t E = p->model.sizes.E;
    for (size_t lm = 0; lm < p->model.sizes.LM; lm++) {
        double want[E], picks = 0, want_mean = 0, got_mean = 0;
        for (size_t e = 0; e < E; e++) picks += load[lm * E + e];
        for (size_t e = 0; e < E; e++) {
            const double even = picks / (double)E, here = load[lm * E + e];
            want[e] = p->state.bias[lm * E + e];
            if (p->setting->config.balance == BALANCE_BIAS)
                want[e] += p->setting->config.bias_step * (here < even ? 1 : here > even ? -1 : 0);
            want_mean += want[e] / (double)E;
            got_mean += got[lm * E + e] / (double)E;
        }
        for (size_t e = 0; e < E; e++)
            expect(p->setting->name, "router.bias", lm * E + e, got[lm * E + e] - got_mean, want[e] - want_mean, 1e-6);
    }
}

/* ---- The real one ---- */

/* Nine digits are logged. */
static void logged_expect(const struct setting *s, const json_t *entry, const char *key, double want) {
    expect(s->name, key, (size_t)number_of(entry, "step"), number_of(entry, key), want, 1e-8 * fabs(want));
}

static void log_expect(const struct plain *p, const struct figures *f, int step, const double *load, const char *run) {
    const struct setting *s = p->setting;
    const size_t LM = p->model.sizes.LM, E = p->model.sizes.E;
    json_t *log = log_of(run);
    const json_t *entry = entry_of(log, "loss", (size_t)step - 1), *layers = json_object_get(entry, "load");
    assert_true(number_of(entry, "step") == step);
    assert_true(number_of(entry, "tokens") == step * s->batch * s->accumulate * s->config.seq);
    logged_expect(s, entry, "loss", f->loss);
    logged_expect(s, entry, "gradient_norm", f->norm);
    logged_expect(s, entry, "lr", f->lr);
    logged_expect(s, entry, "balance", f->balance);
    logged_expect(s, entry, "z_loss", f->z_loss);
    assert_int_equal(json_array_size(layers), LM);
    for (size_t i = 0; i < LM * E; i++) {
        const json_t *layer = json_array_get(layers, i / E);
        assert_int_equal(json_array_size(layer), E);
        assert_true(json_number_value(json_array_get(layer, i % E)) == load[i]);
    }
    json_decref(log);
}

static void numbers_read(const struct checkpoint *c, const struct model *m, real *block, const char *prefix) {
    struct tensor tensors[PARAMETER_TENSORS];
    struct error err;
    const size_t n = model_tensors(m, block, prefix, tensors);
    for (size_t i = 0; i < n; i++)
        if (!checkpoint_read(c, &tensors[i], &err)) fail_msg("%s", err.text);
}

/* What a checkpoint holds, and that it is that of this step. */
static void state_read(const struct plain *p, struct state *state, const char *run, int step) {
    const struct setting *s = p->setting;
    const struct model *m = &p->model;
    struct checkpoint c = checkpoint_at(run, "last.safetensors");
    char *config = config_to_string(&s->config);
    assert_string_equal(metadata(&c, "config"), config);
    assert_int_equal(strtol(metadata(&c, "step"), NULL, 10), step);
    assert_int_equal(strtol(metadata(&c, "data_position"), NULL, 10), step * s->batch * s->accumulate);
    numbers_read(&c, m, state->parameters, "");
    numbers_read(&c, m, state->m, "adam_m.");
    numbers_read(&c, m, state->v, "adam_v.");
    assert_int_equal(checkpoint_find(&c, "router.bias") != NULL, s->config.balance == BALANCE_BIAS);
    if (s->config.balance == BALANCE_BIAS) {
        const struct tensor *bias = tensor_named(&c, "router.bias");
        assert_int_equal(tensor_count(bias), m->sizes.LM * m->sizes.E);
        memcpy(state->bias, bias->data, tensor_bytes(bias));
    }
    free(config);
    checkpoint_close(&c);
}

/* Where the data of a run lies. */
static char *data_of(const char *run) {
    struct checkpoint c = checkpoint_at(run, "last.safetensors");
    char *dir = string_format("%s", metadata(&c, "data_dir"));
    checkpoint_close(&c);
    return dir;
}

/* The limit must be of use: each norm is above it, or each below. */
static void limit_expect(const struct setting *s, const struct figures *f) {
    if (s->clip == 0) assert_true(f->norm > 0);
    else assert_true(s->clip < 1 ? f->norm > 1.5 * s->clip : s->clip == 1 || f->norm < s->clip / 2);
}

static void steps_expect(const struct setting *s) {
    bool masked = false;
    steps_train(s, 1);
    char *data_dir = data_of("run");
    struct plain p = plain_make(s, data_dir);
    const size_t n = p.model.n_parameters, rows = (size_t)(s->batch * s->accumulate) * p.model.sizes.T;
    real *block = array_alloc(3 * n + p.model.sizes.LM * p.model.sizes.E, sizeof(real));
    struct state got = {block, block + n, block + 2 * n, block + 3 * n};
    for (int step = 1; step <= STEPS; step++) {
        double load[p.model.sizes.LM * p.model.sizes.E + 1];
        memset(load, 0, sizeof load);
        memset(p.model.grad_memory, 0, n * sizeof(real));
        if (step > 1) steps_train(s, step);
        const struct figures f = gradients_add(&p, step, load);
        limit_expect(s, &f);
        masked |= f.targets < rows;
        log_expect(&p, &f, step, load, "run");
        state_read(&p, &got, "run", step);
        update_expect(&p, &f, step, &got);
        biases_expect(&p, load, got.bias);
        state_read(&p, &p.state, "run", step); /* the next step starts from the real one's bits */
        model_pack(&p.model);
    }
    assert_true(masked);
    plain_free(&p);
    free(block);
    free(data_dir);
}

static void steps_are_the_plain_ones(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) steps_expect(&settings[i]);
}

static void defaults_are_as_documented(void **state) {
    (void)state;
    steps_expect(&defaults);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_the_plain_ones),
        cmocka_unit_test(defaults_are_as_documented),
    };
    return cmocka_run_group_tests(tests, corpus_make, workplace_remove);
}
