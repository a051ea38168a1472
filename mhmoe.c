/* The model, from its tensors to its gradients. Read in this order:
 *
 *   1. memory: parameters, activations       3. the blocks, and the GPT of them: loss, backward
 *   2. the MH-MoE layer (E1-E7), each backward under its forward      4. initialisation, costs, files
 *
 * Symbols are in mhmoe.h, the equations and the derivation of every backward in docs/MHMOE.md. Everything
 * is a loop over flat arrays or a product from src/math/gemm.h. */
#include "mhmoe.h"

#include <stdlib.h>
#include <string.h>
#include "src/math/attention.h"
#include "src/layers/dispatch.h"
#include "src/layers/documents.h"
#include "src/layers/dropout.h"
#include "src/layers/ffn.h"
#include "src/layers/inputs.h"
#include "src/math/kernels.h"
#include "src/layers/norm.h"
#include "src/layers/position.h"
#include "src/layers/scorer.h"
#include "src/base/slices.h"
#include "src/layers/stack.h"
#include "src/base/util.h"

static size_t max_size(size_t a, size_t b) { return a > b ? a : b; }

/* ---- 1. Memory --------------------------------------------------------------------------------- */

enum parameter_id {
#define X(name, ...) ID_##name,
    PARAMETERS(X)
#undef X
    ID_NONE
};

size_t model_layout(struct parameter_info *info, const struct sizes *s) {
    const size_t V = s->V, T = s->T, C = s->C, L = s->L, S = s->S, E = s->E, F = s->F, Fs = s->Fs, Fd = s->Fd,
                 D = s->D, W = s->W, LM = s->LM, LD = s->LD, head = s->head, merge = s->merge, cosine = s->cosine,
                 shared = s->shared, learned = s->learned, bias = s->bias, shift = s->shift, untied = s->untied,
                 P = s->P, Q = s->Q, masked = s->masked, codes = s->codes;
    const struct parameter_info rows[] = {
#define DIMS(...) .dims = sizeof((size_t[]){__VA_ARGS__}) / sizeof(size_t), .shape = {__VA_ARGS__}
#define X(name, part, initialisation, ...) {#name, PART_##part, INIT_##initialisation, DIMS(__VA_ARGS__)},
        PARAMETERS(X)
#undef X
    };
    memcpy(info, rows, sizeof rows);
    return parameters_layout(info, PARAMETER_TENSORS, s);
}

/* struct parameters as an array: its fields are all real *, in the order of the list. */
static real **parameter_fields(const struct parameters *p) { return (real **)p; }

static void parameters_point(struct parameters *p, real *block, const struct parameter_info *info) {
    for (size_t i = 0; i < PARAMETER_TENSORS; i++)
        parameter_fields(p)[i] = info[i].count ? block + info[i].offset : NULL;
}

/* What a forward pass leaves for the blocks after it and for backward: every array, once. X(name, type, which slices
 * are kept, shape of one). Offsets follow from here: at(a->name, i) is slice i. `kept` are bytes, `wide` of them for
 * each number, which training in bf16 keeps in bf16: KEPT(m, a->name, i). A slice for each: */
typedef char kept;
enum each {
    STREAM, /* block, and one after the last; in inference one for all */
    BLOCK,  /* block; in inference, and with --recompute, one for all, which the next block overwrites */
    CACHE,  /* the same, but in inference each block has its own: the KV cache, which --recompute does without */
    DENSE,  /* dense block, as BLOCK */
    MOE,    /* MoE block, as BLOCK */
    EACH
};
#define ACTIVATIONS(X)                                                                          \
    X(stream,        real,    STREAM, R, C)      /* before each block, and after the last */    \
    X(middle,        real,    BLOCK,  R, C)      /* after a block's attention */                \
    X(ln1,           kept,    BLOCK,  R, C * wide)                                              \
    X(ln1_kept,      real,    BLOCK,  R, 2)      /* see src/layers/norm.h */                           \
    X(qkv,           kept,    CACHE,  R, 3 * C * wide)                                          \
    X(qk_scales,     real,    BLOCK,  qk_norm * R, 2 * NH) /* see src/layers/position.h */      \
    X(att,           kept,    BLOCK,  R, C * wide)                                              \
    X(lse,           real,    BLOCK,  R, NH)     /* see src/math/attention.h */                      \
    X(ln2,           kept,    BLOCK,  R, C * wide)                                              \
    X(ln2_kept,      real,    BLOCK,  R, 2)                                                     \
    X(fc,            kept,    DENSE,  R, W * Fd * wide) /* the hidden layer, before its activation */ \
    X(head_hidden,   real,    MOE, HEAD, R, C)   /* E1: within the stack, see src/layers/stack.h */    \
    X(xh,            kept,    MOE, (head > 0) * N, S * wide) /* what is split: without a head, ln2 */ \
    X(projected,     real,    MOE, cosine * N, D) /* E3: see src/layers/router.h */                    \
    X(probs,         real,    MOE, N, E)                                                        \
    X(log_sums,      real,    MOE, N)                                                           \
    X(gates,         real,    MOE, N, K)         /* E4 */                                       \
    X(picks,         int32_t, MOE, N, K)                                                        \
    X(slots,         int32_t, MOE, N, K)         /* see src/layers/dispatch.h */                       \
    X(sources,       int32_t, MOE, N, K)                                                        \
    X(offsets,       int32_t, MOE, E + 1)                                                       \
    X(hidden,        kept,    MOE, N * K, W * F * wide) /* the experts', in their order */      \
    X(expert_out,    kept,    MOE, N * K, S * wide)                                             \
    X(shared_hidden, kept,    MOE, N, W * Fs * wide)                                            \
    X(joined,        real,    MOE, N, S)         /* E5 */                                       \
    X(merge_hidden,  real,    MOE, MERGE, R, C)  /* E6: within the stack */

/* The same for what there is only one of. */
enum when { ALWAYS, BACKWARD, WHEN };
#define BUFFERS(X)                                                                              \
    X(turns,        real, ALWAYS,   rotary * T, C / NH) /* see src/layers/position.h */         \
    X(lnf,          real, ALWAYS,   R, C)                                                       \
    X(lnf_kept,     real, ALWAYS,   R, 2)                                                       \
    X(logits,       real, ALWAYS,   LOGIT_ROWS, max_size(V, codes))                             \
    X(losses,       real, ALWAYS,   R)                                                          \
    X(starts,       int32_t, ALWAYS, documents * (R + 1)) /* see src/layers/documents.h */       \
    X(row_positions, int32_t, ALWAYS, documents * R)                                            \
    X(patch_of,     int32_t, ALWAYS, (P > 0) * R) /* see src/layers/inputs.h */                        \
    X(patches,      real, ALWAYS,   (P > 0) * R, C)                                             \
    X(own,          int32_t, ALWAYS, masked * R) /* see src/layers/scorer.h */                         \
    X(own_targets,  int32_t, ALWAYS, masked * R)                                                \
    X(own_losses,   real, ALWAYS,   masked * R)                                                 \
    X(d_own,        real, BACKWARD, masked * LOGIT_ROWS, C)                                     \
    X(activated,    real, ALWAYS,   (HEAD + MERGE > 0) * R, C) /* see src/layers/stack.h */            \
    X(expert_mean,  real, ALWAYS,   E)                                                          \
    X(d_stream,     real, BACKWARD, R, C)                                                       \
    X(d_norm,       real, BACKWARD, R, C)                                                       \
    X(d_qkv,        real, BACKWARD, R, 3 * C)                                                   \
    X(d_att,        real, BACKWARD, R, C)                                                       \
    X(d_hidden,     kept, BACKWARD, HIDDEN, wide) /* of dense blocks and of experts */          \
    X(d_stack,      real, BACKWARD, (HEAD + MERGE > 0) * R, C)                                  \
    X(d_joined,     real, BACKWARD, (merge > 0) * N, S)                                         \
    X(d_expert_out, real, BACKWARD, N * K, S)                                                   \
    X(d_dispatched, real, BACKWARD, N * K, S)    /* of each row that the experts read */        \
    X(d_xh,         real, BACKWARD, N, S)                                                       \
    X(d_gates,      real, BACKWARD, N, K)                                                       \
    X(d_scores,     real, BACKWARD, N, E)                                                       \
    X(d_projected,  real, BACKWARD, cosine * N, D)                                              \
    X(d_embeddings, real, BACKWARD, cosine * E, D)

enum { ARRAYS = 0
#define X(...) + 1
    ACTIVATIONS(X) BUFFERS(X)
#undef X
};

struct activations {
    struct batch batch; /* of the last forward */
    size_t rows;        /* batch_rows of it */
    bool recomputing;   /* a forward that backward has asked for: nothing is counted twice */
    size_t logit_rows;  /* rows of logits that exist at a time */
    struct slices list[ARRAYS];
    void *memory;
#define X(name, type, ...) struct { type *data; size_t step; } name;
    ACTIVATIONS(X)
#undef X
#define X(name, type, ...) type *name;
    BUFFERS(X)
#undef X
};
#define at(array, i) ((array).data ? (array).data + (i) * (array).step : NULL)
#define KEPT(m, array, i) kept_of(m, at(array, i))

/* What the products are of in which matrices so stored take part. */
static enum operands operands_of(struct model_setup setup, enum storage storage) {
    return setup.use == MODEL_TRAIN && storage == STORAGE_BF16 ? OPERANDS_BF16 : OPERANDS_F32;
}

/* What these products read is kept as they want it. */
static bool keeps_bf16(struct model_setup setup) { return operands_of(setup, setup.storage) == OPERANDS_BF16; }
static struct kept kept_of(const struct model *m, void *data) { return (struct kept){data, keeps_bf16(m->setup)}; }

/* Few enough rows of logits to stay near the cache, enough to make products of them. */
static size_t logit_rows_for(const struct sizes *s, size_t R) {
    size_t rows = ((size_t)1 << 21) / max_size(s->V, s->codes);
    if (rows < 384) rows = 384;
    return rows < R ? rows : R;
}

/* Fills the list; returns the bytes that it covers. */
static size_t activations_layout(struct slices *list, const struct sizes *s, struct model_setup setup) {
    const bool training = setup.use == MODEL_TRAIN, all = training && !setup.recompute;
    const size_t T = s->T, R = setup.batch * T, V = s->V, C = s->C, L = s->L, NH = s->NH, S = s->S, E = s->E,
                 K = s->K, F = s->F, Fs = s->Fs, Fd = s->Fd, D = s->D, W = s->W, head = s->head, merge = s->merge,
                 cosine = s->cosine, qk_norm = s->qk_norm, rotary = !s->learned, N = R * s->H, P = s->P,
                 masked = s->masked, codes = s->codes, documents = s->documents, LOGIT_ROWS = logit_rows_for(s, R),
                 wide = kept_bytes(keeps_bf16(setup));
    const size_t HEAD = head > 1 ? head - 1 : 0, MERGE = merge > 1 ? merge - 1 : 0;
    const size_t HIDDEN = W * max_size(s->LD ? R * Fd : 0, max_size(N * K * F, N * Fs));
    const size_t slices_of[EACH] = {[STREAM] = training ? L + 1 : 1, [BLOCK] = all ? L : 1,
                                    [CACHE] = all || !training ? L : 1, [DENSE] = all ? s->LD : s->LD > 0,
                                    [MOE] = all ? s->LM : s->LM > 0};
    const size_t there[WHEN] = {[ALWAYS] = 1, [BACKWARD] = training};
    const struct slices rows[] = {
#define X(name, type, which, ...) {#name, sizeof(type), slices_of[which], DIMS(__VA_ARGS__)},
        ACTIVATIONS(X)
#undef X
#define X(name, type, when, ...) {#name, sizeof(type), there[when], DIMS(__VA_ARGS__)},
        BUFFERS(X)
#undef X
    };
    memcpy(list, rows, sizeof rows);
    return slices_layout(list, ARRAYS);
}

static struct activations *activations_create(const struct sizes *s, struct model_setup setup) {
    struct activations *a = array_alloc(1, sizeof *a);
    a->logit_rows = logit_rows_for(s, setup.batch * s->T);
    a->memory = array_alloc(activations_layout(a->list, s, setup), 1);
    guards_set(a->list, ARRAYS, a->memory);
    const struct slices *row = a->list;
#define X(name, type, ...) a->name.data = slices_data(row, a->memory), a->name.step = row++->step / sizeof(type);
    ACTIVATIONS(X)
#undef X
#define X(name, ...) a->name = slices_data(row++, a->memory);
    BUFFERS(X)
#undef X
    return a;
}

/* Far more than any machine has, and so far below 2^64 that nothing wraps that is rounded up, packed, or added. */
#define MEMORY_MOST 0x1p52

bool model_fits(const struct sizes *s, struct model_setup setup, struct error *err) {
    struct parameter_info info[PARAMETER_TENSORS];
    const size_t sequences = setup.batch;
    const double choices = (double)sequences * (double)s->T * (double)(s->H * s->K);
    struct slices list[ARRAYS];
    activations_layout(list, s, setup);
    const double bytes = slices_total(list, ARRAYS) + sizeof(real) * (double)model_layout(info, s);
    if (bytes > MEMORY_MOST)
        return error_set(err, EXIT_USAGE, "the model needs more memory than any machine has (got over %.1g bytes for "
                         "%zu sequences of %zu tokens, want at most %.1g); lower --batch, --seq, or the model's sizes",
                         bytes, sequences, s->T, MEMORY_MOST);
    if (choices > INT32_MAX)
        return error_set(err, EXIT_USAGE, "a micro-batch of %zu sequences of %zu tokens is too large (got %.0f choices "
                         "of an expert, want at most %d); lower --batch", sequences, s->T, choices, INT32_MAX);
    return true;
}

/* What a layer asks for at most, with as many threads as there are now. */
static size_t work_needed(const struct parameter_info *info, const struct sizes *s, struct model_setup setup) {
    const size_t R = setup.batch * s->T;
    size_t most = attention_scratch_count(s->T, s->C, s->NH, operands_of(setup, setup.storage)) * sizeof(real);
    if (setup.use != MODEL_TRAIN) return most;
    most = max_size(most, norm_scratch_count(s->C) * sizeof(real));
    for (const struct parameter_info *p = info; p < info + PARAMETER_TENSORS; p++) {
        const bool logits = p->part == PART_EMBEDDING || p->part == PART_OUTPUT || p->part == PART_CODES;
        const size_t rows = logits ? logit_rows_for(s, R) : parameter_rows(p, s, R);
        const enum operands operands = operands_of(setup, parameter_storage(p, setup.storage));
        most = max_size(most, parameter_work_bytes(p, s, rows, operands));
    }
    return most;
}

static struct slices work_row(size_t bytes) {
    return (struct slices){.name = "work", .size = 1, .kept = 1, .dims = 1, .shape = {bytes}};
}

static void work_ensure(struct model *m) {
    const size_t bytes = work_needed(m->info, &m->sizes, m->setup);
    struct slices row = work_row(bytes);
    if (bytes <= m->work_bytes) return;
    free(m->work);
    m->work = array_alloc(slices_layout(&row, 1), 1);
    guards_set(&row, 1, m->work);
    m->work_bytes = bytes;
}

bool model_create(struct model *m, const struct config *config, struct model_setup setup, struct error *err) {
    *m = (struct model){.config = *config, .setup = setup};
    if (!config_check(config, &m->sizes, err) || !model_fits(&m->sizes, setup, err)) return false;
    const struct sizes *s = &m->sizes;
    const bool training = setup.use == MODEL_TRAIN;
    m->n_parameters = model_layout(m->info, s);
    m->param_memory = array_alloc(m->n_parameters, sizeof(real));
    parameters_point(&m->params, m->param_memory, m->info);
    if (training) {
        m->grad_memory = array_alloc(m->n_parameters, sizeof(real));
        parameters_point(&m->grads, m->grad_memory, m->info);
    }
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
        const struct parameter_info *p = &m->info[i];
        const enum storage storage = parameter_storage(p, setup.storage);
        const size_t bytes = parameter_packed_bytes(p, storage, false);
        const size_t bytes_t = training ? parameter_packed_bytes(p, storage, true) : 0;
        if (bytes) m->packed[i] = array_alloc(bytes, 1);
        if (bytes_t) m->packed_t[i] = array_alloc(bytes_t, 1);
    }
    m->acts = activations_create(s, setup);
    if (m->acts->turns) position_turns(m->acts->turns, s->T, s->C / s->NH);
    m->router_bias = array_alloc(s->LM * s->E + 1, sizeof(real));
    m->load = array_alloc(s->LM * s->E + 1, sizeof(double));
    m->balance_sum = array_alloc(s->LM + 1, sizeof(double));
    m->z_sum = array_alloc(s->LM + 1, sizeof(double));
    return true;
}

void model_destroy(struct model *m) {
    if (m->acts) free(m->acts->memory);
    free(m->acts);
    free(m->work);
    free(m->param_memory);
    free(m->grad_memory);
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) free(m->packed[i]), free(m->packed_t[i]);
    free(m->router_bias);
    free(m->load);
    free(m->balance_sum);
    free(m->z_sum);
    *m = (struct model){0};
}

void model_pack(struct model *m) {
    real **w = parameter_fields(&m->params);
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
        const struct parameter_info *p = &m->info[i];
        const enum storage storage = parameter_storage(p, m->setup.storage);
        if (m->packed[i]) parameter_pack(p, m->packed[i], storage, w[i], false);
        if (m->packed_t[i]) parameter_pack(p, m->packed_t[i], storage, w[i], true);
    }
}

static bool is_training(const struct model *m) { return m->setup.use == MODEL_TRAIN; }

/* The linear layer of matrix i of tensor w, with row i of its bias (or ID_NONE). */
static struct linear linear_slice(const struct model *m, enum parameter_id w, enum parameter_id b, size_t i) {
    const struct parameter_info *p = &m->info[w];
    const enum storage storage = parameter_storage(p, m->setup.storage);
    struct linear l = {.IC = p->columns, .OC = p->rows, .w = parameter_fields(&m->params)[w],
                       .storage = storage, .operands = operands_of(m->setup, storage), .packed = m->packed[w],
                       .packed_t = m->packed_t[w]};
    if (p->count == 0) return (struct linear){0};
    if (b != ID_NONE) l.b = parameter_fields(&m->params)[b];
    if (is_training(m)) {
        l.dw = parameter_fields(&m->grads)[w];
        if (b != ID_NONE) l.db = parameter_fields(&m->grads)[b];
    }
    return linear_at(l, i);
}
#define LINEAR(m, w, b, i) linear_slice(m, ID_##w, ID_##b, i)

/* Norm i of those that w and b hold. */
static struct norm norm_slice(const struct model *m, enum parameter_id w, enum parameter_id b, size_t i, real *kept) {
    real *const *p = parameter_fields(&m->params), *const *g = parameter_fields(&m->grads);
    const size_t at = i * m->sizes.C;
    struct norm n = {.kind = (enum norm_kind)m->config.norm, .C = m->sizes.C, .w = p[w] + at,
                     .b = p[b] ? p[b] + at : NULL, .kept = kept, .scratch = m->work};
    if (is_training(m)) n.dw = g[w] + at, n.db = g[b] ? g[b] + at : NULL;
    return n;
}
#define NORM(m, w, b, i, kept) norm_slice(m, ID_##w, ID_##b, i, kept)

static struct vectors vectors_of(const struct model *m, enum parameter_id w) {
    return (struct vectors){parameter_fields(&m->params)[w], parameter_fields(&m->grads)[w]};
}

static struct inputs inputs_of(const struct model *m) {
    const struct activations *a = m->acts;
    return (struct inputs){.C = m->sizes.C, .P = m->sizes.P, .tokens = vectors_of(m, ID_wte),
                           .positions = vectors_of(m, ID_wpe), .kinds = vectors_of(m, ID_kind),
                           .places = vectors_of(m, ID_place), .mask = vectors_of(m, ID_hidden),
                           .patch = LINEAR(m, patchw, patchb, 0), .patch_of = a->patch_of, .patches = a->patches,
                           .work = m->work};
}

/* What makes the logits of pieces, or of visual codes. */
static struct scorer scorer_of(const struct model *m, bool codes) {
    const struct activations *a = m->acts;
    const struct linear pieces = m->sizes.untied ? LINEAR(m, lmhead, NONE, 0) : LINEAR(m, wte, NONE, 0);
    return (struct scorer){.head = codes ? LINEAR(m, codew, NONE, 0) : pieces, .first = codes ? (int32_t)m->sizes.V : 0,
                           .most = a->logit_rows, .logits = a->logits, .work = m->work, .own = a->own,
                           .own_targets = a->own_targets, .own_losses = a->own_losses, .d_own = a->d_own};
}

static enum activation activation_of(const struct model *m) { return (enum activation)m->config.activation; }

/* Where a feed-forward layer may activate while it keeps what was before; in inference nothing need be kept. */
static real *hidden_scratch(const struct model *m) { return is_training(m) ? m->work : NULL; }

/* ---- 2. The MH-MoE layer ------------------------------------------------------------------------ */

/* MoE layer lm: its parts, and its slices of the activations. */
struct moe {
    struct stack head, merge;   /* E1, E6 */
    struct router router;       /* E3, E4 */
    struct routing routing;
    struct dispatch dispatch;   /* E5 */
    struct ffn experts, shared; /* expert_e(x) = act(x W1_e^T + b1_e) W2_e^T + b2_e */
    struct kept xh, hidden, expert_out, shared_hidden;
    real *joined;
};

static struct router router_of(const struct model *m, size_t lm) {
    const size_t E = m->sizes.E;
    struct router r = {.kind = (enum router_kind)m->config.router, .E = E, .K = m->sizes.K,
                       .renormalize = m->config.renormalize, .scores = LINEAR(m, routerw, NONE, lm),
                       .bias = m->router_bias + lm * E};
    if (r.kind == ROUTER_COSINE) {
        r.project = LINEAR(m, routerp, NONE, lm);
        r.log_tau = m->params.routert + lm;
        if (is_training(m)) r.d_log_tau = m->grads.routert + lm;
    }
    return r;
}

static struct stack stack_of(const struct model *m, size_t depth, struct linear layers, real *hidden) {
    const struct activations *a = m->acts;
    return (struct stack){depth, layers, hidden, a->activated, a->d_stack, m->work};
}

/* `x` is what the layer reads. */
static struct moe moe_of(const struct model *m, size_t lm, struct kept x) {
    const struct sizes *s = &m->sizes;
    const struct activations *a = m->acts;
    const size_t N = a->rows * s->H, E = s->E;
    int32_t *offsets = at(a->offsets, lm), *sources = at(a->sources, lm);
    return (struct moe){
        .head = stack_of(m, s->head, LINEAR(m, headw, headb, lm * s->head), at(a->head_hidden, lm)),
        .merge = stack_of(m, s->merge, LINEAR(m, mergew, mergeb, lm * s->merge), at(a->merge_hidden, lm)),
        .router = router_of(m, lm),
        .routing = {.N = N, .projected = at(a->projected, lm), .probs = at(a->probs, lm),
                    .log_sums = at(a->log_sums, lm), .gates = at(a->gates, lm), .picks = at(a->picks, lm),
                    .offsets = offsets},
        .dispatch = {.N = N, .K = s->K, .E = E, .S = s->S, .slots = at(a->slots, lm), .sources = sources,
                     .offsets = offsets},
        .experts = {.act = activation_of(m), .E = E, .up = LINEAR(m, expw1, expb1, lm * E),
                    .down = LINEAR(m, expw2, expb2, lm * E), .offsets = offsets, .source = sources},
        .shared = {.act = activation_of(m), .E = 1, .up = LINEAR(m, sharedw1, sharedb1, lm),
                   .down = LINEAR(m, sharedw2, sharedb2, lm), .rows = N},
        .xh = s->head ? KEPT(m, a->xh, lm) : x, .hidden = KEPT(m, a->hidden, lm),
        .expert_out = KEPT(m, a->expert_out, lm), .shared_hidden = KEPT(m, a->shared_hidden, lm),
        .joined = at(a->joined, lm),
    };
}

/* Tells who wants to know of the choices; adds E7, the z-loss, and the load of each expert, for the log and for
 * model_balance. */
static void routing_note(struct model *m, size_t lm, const struct moe *moe) {
    const size_t E = m->sizes.E;
    if (m->acts->recomputing) return;
    if (m->on_picks) m->on_picks(m->on_picks_context, lm, moe->routing.picks, moe->routing.N);
    m->balance_sum[lm] += router_balance(&moe->router, &moe->routing, m->acts->expert_mean);
    m->z_sum[lm] += router_z_loss(&moe->routing);
    for (size_t e = 0; e < E; e++) m->load[lm * E + e] += moe->dispatch.offsets[e + 1] - moe->dispatch.offsets[e];
}

/* E1; E2, the split, only counts the numbers otherwise. */
static void heads_forward(const struct model *m, const struct moe *moe, struct kept x) {
    real *xh = kept_room(moe->xh, m->acts->d_xh);
    stack_forward(&moe->head, xh, x, NULL, m->acts->rows);
    rows_keep(moe->xh, xh, m->acts->rows, m->sizes.C);
}

/* out (R,C) = residual (or NULL for zeros) + MH-MoE(x); x (R,C) is the normalised stream. */
static void moe_forward(struct model *m, size_t lm, real *out, struct kept x, const real *residual) {
    const struct sizes *s = &m->sizes;
    const size_t rows = m->acts->rows;
    const struct moe moe = moe_of(m, lm, x);
    const struct kept joined = kept_real(moe.joined);
    if (s->head) heads_forward(m, &moe, x);
    router_forward(&moe.router, &moe.routing, moe.xh); /* E3, E4 */
    dispatch_sort(&moe.dispatch, moe.routing.picks);
    routing_note(m, lm, &moe);
    ffn_forward(&moe.experts, moe.expert_out, moe.hidden, moe.xh, NULL, hidden_scratch(m)); /* E5 */
    combine_forward(&moe.dispatch, moe.joined, m->config.moe_residual ? moe.xh : kept_real(NULL), moe.routing.gates,
                    moe.expert_out);
    if (s->shared) ffn_forward(&moe.shared, joined, moe.shared_hidden, moe.xh, moe.joined, hidden_scratch(m));
    if (s->merge) stack_forward(&moe.merge, out, joined, residual, rows); /* E6 */
    else residual_forward(out, residual, moe.joined, rows * s->C);
}

/* router_scale: the share of this forward pass in the step. */
static struct router_gradients router_gradients_of(const struct model *m, double router_scale) {
    const struct activations *a = m->acts;
    const double balance_weight = m->config.balance == BALANCE_AUX ? m->config.balance_weight : 0;
    return (struct router_gradients){.d_gates = a->d_gates, .balance_weight = balance_weight * router_scale,
                                     .z_weight = m->config.z_weight * router_scale, .dx = a->d_xh,
                                     .d_scores = a->d_scores, .d_projected = a->d_projected,
                                     .d_embeddings = a->d_embeddings, .workspace = m->work};
}

/* dx (R,C) from dout (R,C), in the reverse order of moe_forward. Returns where dx lies. */
static const real *moe_backward(struct model *m, size_t lm, const real *dout, struct kept x, double router_scale) {
    const struct sizes *s = &m->sizes;
    const struct activations *a = m->acts;
    const struct moe moe = moe_of(m, lm, x);
    const struct router_gradients gradients = router_gradients_of(m, router_scale);
    const struct kept d_hidden = kept_of(m, a->d_hidden);
    const real *d_joined = s->merge ? a->d_joined : dout;
    if (s->merge) stack_backward(&moe.merge, a->d_joined, dout, kept_real(moe.joined), a->rows);
    if (s->shared) ffn_backward(&moe.shared, a->d_xh, d_hidden, d_joined, moe.shared_hidden, moe.xh, m->work);
    combine_backward(&moe.dispatch, a->d_expert_out, a->d_gates, d_joined, moe.routing.gates, moe.expert_out);
    ffn_backward(&moe.experts, a->d_dispatched, d_hidden, a->d_expert_out, moe.hidden, moe.xh, m->work);
    dispatch_backward(&moe.dispatch, a->d_xh, s->shared ? a->d_xh : NULL, a->d_dispatched);
    if (m->config.moe_residual) residual_forward(a->d_xh, a->d_xh, d_joined, a->rows * s->C);
    router_backward(&moe.router, &moe.routing, &gradients, moe.xh);
    if (!s->head) return a->d_xh;
    stack_backward(&moe.head, a->d_norm, a->d_xh, x, a->rows);
    return a->d_norm;
}

/* ---- 3. The GPT around it ----------------------------------------------------------------------- */

/* Block l: its layers, and its slices of the activations. */
struct block {
    bool is_moe;
    size_t i; /* among the MoE blocks, or among the dense ones */
    struct norm norm1, norm2;
    struct linear qkv, project;
    struct position position;
    struct attention attention;
    struct ffn dense;
    struct dropout drop_attention, drop_ffn;
    struct kept ln1, all_qkv, new_qkv, att, ln2, fc; /* new_qkv: behind the KV cache */
    real *in, *middle, *out;
};

static struct block block_of(const struct model *m, size_t l) {
    const struct activations *a = m->acts;
    const bool is_moe = block_is_moe(&m->config, &m->sizes, l);
    const size_t before = moe_blocks_before(&m->config, &m->sizes, l), C = m->sizes.C;
    struct block b = {
        .is_moe = is_moe, .i = is_moe ? before : l - before,
        .norm1 = NORM(m, ln1w, ln1b, l, at(a->ln1_kept, l)), .norm2 = NORM(m, ln2w, ln2b, l, at(a->ln2_kept, l)),
        .qkv = LINEAR(m, qkvw, qkvb, l), .project = LINEAR(m, attprojw, attprojb, l),
        .position = {C, m->sizes.NH, a->turns, at(a->qk_scales, l)},
        .attention = {C, m->sizes.NH, operands_of(m->setup, m->setup.storage), at(a->lse, l), m->work},
        .drop_attention = dropout_at(a->batch.dropout, l, SITE_ATTENTION),
        .drop_ffn = dropout_at(a->batch.dropout, l, SITE_FFN),
        .in = at(a->stream, l), .ln1 = KEPT(m, a->ln1, l), .all_qkv = KEPT(m, a->qkv, l), .att = KEPT(m, a->att, l),
        .middle = at(a->middle, l), .ln2 = KEPT(m, a->ln2, l), .out = at(a->stream, l + 1),
    };
    b.new_qkv = kept_at(b.all_qkv, a->batch.from * 3 * C);
    if (b.is_moe) return b;
    b.fc = KEPT(m, a->fc, b.i);
    b.dense = (struct ffn){.act = activation_of(m), .E = 1, .up = LINEAR(m, fcw, fcb, b.i),
                           .down = LINEAR(m, fcprojw, fcprojb, b.i), .rows = a->rows};
    return b;
}

static void block_forward(struct model *m, size_t l) {
    const struct activations *a = m->acts;
    const struct block b = block_of(m, l);
    const size_t C = m->sizes.C;
    const real *residual = dropout_start(&b.drop_ffn, b.middle);
    real *qkv = kept_room(b.new_qkv, a->d_qkv);
    norm_forward(&b.norm1, b.ln1, b.in, a->rows);
    linear_forward(&b.qkv, qkv, b.ln1, NULL, a->rows);
    position_forward(&b.position, b.new_qkv, qkv, &a->batch);
    attention_forward(&b.attention, b.att, b.all_qkv, &a->batch);
    linear_forward(&b.project, b.middle, b.att, dropout_start(&b.drop_attention, b.in), a->rows);
    dropout_forward(&b.drop_attention, b.middle, b.in, a->rows, C);
    norm_forward(&b.norm2, b.ln2, b.middle, a->rows);
    if (b.is_moe) moe_forward(m, b.i, b.out, b.ln2, residual);
    else ffn_forward(&b.dense, kept_real(b.out), b.fc, b.ln2, residual, hidden_scratch(m));
    dropout_forward(&b.drop_ffn, b.out, b.middle, a->rows, C);
}

/* d_stream (R,C) is the gradient of the stream: of what follows on entry, of what goes in on return. What dropout left
 * of it lies, for the feed-forward layer, where attention's gradient will, and for attention where norms' will. */
static void block_backward(struct model *m, size_t l, double router_scale) {
    const struct activations *a = m->acts;
    const struct block b = block_of(m, l);
    const size_t C = m->sizes.C;
    const real *d_ln2 = a->d_norm, *d_out = dropout_backward(&b.drop_ffn, a->d_att, a->d_stream, a->rows, C);
    if (b.is_moe) d_ln2 = moe_backward(m, b.i, d_out, b.ln2, router_scale);
    else ffn_backward(&b.dense, a->d_norm, kept_of(m, a->d_hidden), d_out, b.fc, b.ln2, m->work);
    norm_backward(&b.norm2, a->d_stream, d_ln2, b.middle, a->rows);
    d_out = dropout_backward(&b.drop_attention, a->d_norm, a->d_stream, a->rows, C);
    linear_backward(&b.project, a->d_att, d_out, b.att, NULL, a->rows, m->work);
    attention_backward(&b.attention, a->d_qkv, a->d_att, b.all_qkv, b.att, &a->batch);
    position_backward(&b.position, a->d_qkv, b.all_qkv, &a->batch);
    linear_backward(&b.qkv, a->d_norm, a->d_qkv, b.ln1, NULL, a->rows, m->work);
    norm_backward(&b.norm1, a->d_stream, a->d_norm, b.in, a->rows);
}

void model_forward(struct model *m, const struct batch *batch) {
    struct activations *a = m->acts;
    const size_t L = m->sizes.L;
    const struct dropout drop = dropout_at(batch->dropout, 0, SITE_INPUTS);
    a->batch = *batch;
    if (m->sizes.documents && batch->from == 0) batch_split(&a->batch, DOCUMENT_TOKEN, a->starts, a->row_positions);
    a->rows = batch_rows(batch);
    work_ensure(m);
    const struct norm norm = NORM(m, lnfw, lnfb, 0, a->lnf_kept);
    const struct inputs inputs = inputs_of(m);
    inputs_forward(&inputs, at(a->stream, 0), &a->batch);
    dropout_forward(&drop, at(a->stream, 0), NULL, a->rows, m->sizes.C);
    for (size_t l = 0; l < L; l++) block_forward(m, l);
    norm_forward(&norm, kept_real(a->lnf), at(a->stream, L), a->rows);
    m->forwards++;
}

/* With --recompute, what block l's forward left was overwritten by the blocks after it. */
static void block_recompute(struct model *m, size_t l) {
    m->acts->recomputing = true;
    block_forward(m, l);
    m->acts->recomputing = false;
}

real *model_logits(struct model *m, size_t row) {
    const struct activations *a = m->acts;
    const struct linear head = scorer_of(m, batch_position(&a->batch, row) < m->sizes.P).head;
    linear_forward(&head, a->logits, kept_real(a->lnf + row * m->sizes.C), NULL, 1);
    return a->logits;
}

double model_loss(struct model *m, double scale, size_t *count) {
    const struct activations *a = m->acts;
    const int32_t *targets = a->batch.targets;
    double sum = 0;
    if (m->sizes.masked) memset(a->losses, 0, a->rows * sizeof(real)); /* of rows that no scorer has for its own */
    if (m->sizes.masked && scale > 0) reals_clear(a->d_norm, a->rows * m->sizes.C);
    for (int codes = 0; codes <= (m->sizes.codes > 0); codes++) {
        const struct scorer scorer = scorer_of(m, codes);
        scorer_run(&scorer, a->losses, a->d_norm, a->lnf, targets, a->rows, scale);
    }
    *count = 0;
    for (size_t r = 0; r < a->rows; r++) {
        sum += (double)a->losses[r];
        *count += targets[r] != TARGET_NONE;
    }
    return sum;
}

const real *model_losses(const struct model *m) { return m->acts->losses; }

void model_backward(struct model *m, double router_scale) {
    const struct activations *a = m->acts;
    const size_t C = m->sizes.C, L = m->sizes.L;
    const struct norm norm = NORM(m, lnfw, lnfb, 0, a->lnf_kept);
    const struct inputs inputs = inputs_of(m);
    const struct dropout drop = dropout_at(a->batch.dropout, 0, SITE_INPUTS);
    reals_clear(a->d_stream, a->rows * C);
    norm_backward(&norm, a->d_stream, a->d_norm, at(a->stream, L), a->rows);
    for (size_t l = L; l-- > 0;) {
        if (m->setup.recompute && l < L - 1) block_recompute(m, l);
        block_backward(m, l, router_scale);
    }
    dropout_backward(&drop, a->d_stream, a->d_stream, a->rows, C);
    inputs_backward(&inputs, a->d_stream, &a->batch);
}

void model_generate(struct model *m, const int32_t *prompt, size_t n, size_t count, struct sampler *sampler,
                    bool (*emit)(void *context, int32_t token), void *context) {
    const size_t T = m->sizes.T;
    int32_t *window = array_alloc(T, sizeof *window);
    const size_t start = m->sizes.documents ? document_start(prompt, n, DOCUMENT_TOKEN) : 0;
    size_t kept = n - start < T ? n - start : T, done = 0; /* tokens in the window; positions computed */
    memcpy(window, prompt + n - kept, kept * sizeof *window);
    for (size_t i = 0; i < count; i++) {
        model_forward(m, &(struct batch){.B = 1, .T = kept, .from = done, .tokens = window + done});
        const int32_t token = sampler_pick(sampler, model_logits(m, kept - done - 1), m->sizes.V);
        done = is_training(m) && m->setup.recompute ? 0 : kept; /* a sample is worth no memory: all is computed again */
        if (!emit(context, token)) break;
        if (m->sizes.documents && token == DOCUMENT_TOKEN) kept = done = 0;
        if (kept < T) window[kept++] = token;
        else { /* the window is full: the token is the last of the next one */
            kept = (T + 1) / 2;
            done = 0;
            memmove(window, window + T - kept + 1, (kept - 1) * sizeof *window);
            window[kept - 1] = token;
        }
    }
    free(window);
}

const char *model_overrun(const struct model *m) {
    const char *array = guards_broken(m->acts->list, ARRAYS, m->acts->memory);
    struct slices row = work_row(m->work_bytes);
    slices_layout(&row, 1);
    return array || !m->work ? array : guards_broken(&row, 1, m->work);
}

void model_clear_statistics(struct model *m) {
    memset(m->load, 0, m->sizes.LM * m->sizes.E * sizeof *m->load);
    memset(m->balance_sum, 0, m->sizes.LM * sizeof *m->balance_sum);
    memset(m->z_sum, 0, m->sizes.LM * sizeof *m->z_sum);
    m->forwards = 0;
}

void model_balance(struct model *m) {
    const size_t E = m->sizes.E;
    if (m->config.balance != BALANCE_BIAS) return;
    for (size_t lm = 0; lm < m->sizes.LM; lm++)
        router_bias_update(m->router_bias + lm * E, m->load + lm * E, E, m->config.bias_step);
}

/* ---- 4. Initialisation, costs, names ------------------------------------------------------------ */

void model_initialize(struct model *m, uint64_t seed) {
    for (const struct parameter_info *p = m->info; p < m->info + PARAMETER_TENSORS; p++)
        parameter_initialize(p, m->param_memory + p->offset, seed, &m->sizes);
    model_pack(m);
}

json_t *model_inherits(const struct config *config, const struct checkpoint *c, struct error *err) {
    struct config mine = *config, theirs;
    struct parameter_info info[PARAMETER_TENSORS], other_info[PARAMETER_TENSORS];
    struct sizes sizes, other_sizes;
    if (!config_from_checkpoint(&theirs, c, err) || !config_check(&theirs, &other_sizes, err)) return NULL;
    mine.vocab = theirs.vocab;
    if (!config_check(&mine, &sizes, err)) return NULL;
    model_layout(info, &sizes);
    model_layout(other_info, &other_sizes);
    const struct side to = {&mine, &sizes, info, NULL, NULL}, from = {&theirs, &other_sizes, other_info, NULL, NULL};
    return parameters_inherit(&to, &from, PARAMETER_TENSORS, c->path, err);
}

static struct side side_of(const struct model *m) {
    return (struct side){&m->config, &m->sizes, m->info, m->param_memory, m->router_bias};
}

bool model_inherit(struct model *m, const struct checkpoint *c, struct error *err) {
    struct model other;
    if (!model_load(&other, c, (struct model_setup){MODEL_INFER, 1, false, STORAGE_F32}, err)) return false;
    const struct side to = side_of(m), from = side_of(&other);
    json_t *names = parameters_inherit(&to, &from, PARAMETER_TENSORS, c->path, err);
    model_destroy(&other);
    model_pack(m);
    json_decref(names);
    return names;
}

struct model_cost model_cost(const struct sizes *s, struct model_setup setup) {
    const bool training = setup.use == MODEL_TRAIN;
    struct parameter_info info[PARAMETER_TENSORS];
    struct slices list[ARRAYS];
    struct model_cost cost = {.parameters = model_layout(info, s)};
    /* scores and values of (T+1)/2 keys, or of T where all is seen */
    double multiply_adds = (double)(s->L * s->C * (s->masked ? 2 * s->T : s->T + 1));
    cost.parameter_bytes = sizeof(real) * cost.parameters * (training ? 4 : 1);
    for (const struct parameter_info *p = info; p < info + PARAMETER_TENSORS; p++) {
        cost.active_parameters += parameter_active(p, s);
        multiply_adds += parameter_multiply_adds(p, s);
        const enum storage storage = parameter_storage(p, setup.storage);
        cost.parameter_bytes += parameter_packed_bytes(p, storage, false) +
                                (training ? parameter_packed_bytes(p, storage, true) : 0);
    }
    cost.forward_flops = 2 * multiply_adds;
    cost.training_flops = 3 * cost.forward_flops;
    const double ends = (double)(s->C * (s->V + s->codes + s->Q)); /* of the model: no blocks */
    if (setup.recompute) /* all blocks once more but the last, taken as their average */
        cost.training_flops += 2 * (multiply_adds - ends) * (double)(s->L - 1) / (double)s->L;
    cost.activation_bytes = activations_layout(list, s, setup) + work_needed(info, s, setup);
    return cost;
}

static struct layer_cost token_cost(const struct sizes *s) {
    const struct model_cost cost = model_cost(s, (struct model_setup){MODEL_TRAIN, 1, false, STORAGE_F32});
    return (struct layer_cost){(double)cost.parameters, cost.forward_flops / 2};
}

struct moe_layer model_moe_layer(const struct config *config, const struct sizes *s, struct layer_cost *cost) {
    struct config dense_config = *config;
    struct sizes dense;
    struct error unused;
    dense_config.ffn = FFN_DENSE;
    dense_config.shared_hidden = 0;
    config_check(&dense_config, &dense, &unused); /* nothing is refused that `sizes` passed */
    const struct moe_layer one_dense = {.C = s->C, .H = 1, .E = 1, .K = 1, .F = s->Fd, .g = 1 + s->W};
    struct layer_cost dense_cost = layer_matrices(&one_dense);
    dense_cost.parameters += (double)(s->bias * (s->W * s->Fd + s->C));
    *cost = layer_of_models(token_cost(s), token_cost(&dense), s->LM, dense_cost);
    if (s->LM == 0) return one_dense;
    return (struct moe_layer){s->C, s->H, s->E, s->K, s->F, s->Fs, 1 + s->W, s->head + s->merge};
}

size_t model_tensors(const struct model *m, real *block, const char *prefix, struct tensor *out) {
    return parameters_named(m->info, PARAMETER_TENSORS, block, prefix, out);
}

size_t model_state(const struct model *m, struct tensor *out) {
    size_t n = model_tensors(m, m->param_memory, "", out);
    if (m->config.balance == BALANCE_BIAS && m->sizes.LM > 0)
        out[n++] = (struct tensor){.name = "router.bias", .dtype = out[0].dtype, .dims = 2,
                                   .shape = {m->sizes.LM, m->sizes.E}, .data = m->router_bias};
    return n;
}

bool model_load(struct model *m, const struct checkpoint *c, struct model_setup setup, struct error *err) {
    struct config config;
    struct tensor tensors[MODEL_TENSORS];
    if (!config_from_checkpoint(&config, c, err) || !model_create(m, &config, setup, err)) return false;
    const size_t n = model_state(m, tensors);
    for (size_t i = 0; i < n; i++)
        if (!checkpoint_read(c, &tensors[i], err)) {
            model_destroy(m);
            return false;
        }
    model_pack(m);
    return true;
}
