/* The model, from its tensors to its gradients. Read in this order:
 *
 *   1. the options and sizes        4. the GPT around it: blocks, loss, backward
 *   2. memory: parameters, activations   5. initialisation, costs
 *   3. the MH-MoE layer (E1-E7), each backward under its forward
 *
 * Symbols are in mhmoe.h, the equations and the derivation of every backward in docs/MHMOE.md. Everything
 * is a loop over flat arrays or a product from src/gemm.h. */
#include "mhmoe.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include "src/attention.h"
#include "src/dispatch.h"
#include "src/ffn.h"
#include "src/kernels.h"
#include "src/norm.h"
#include "src/stack.h"
#include "src/util.h"

/* ---- 1. Options and sizes ---------------------------------------------------------------------- */

static const char *const ffn_words[] = {"dense", "smoe", "mhmoe", NULL};
static const char *const router_words[] = {"softmax", "cosine", NULL};
static const char *const balance_words[] = {"aux", "bias", "none", NULL};

#define FIELD(name) offsetof(struct config, name)
const struct option_spec model_options[] = {
    {"vocab", 0, OPTION_INT, FIELD(vocab), "4096", 260, 1 << 24, NULL, "N",
     "tokens in the vocabulary (256 of them are single bytes)", "Model"},
    {"seq", 0, OPTION_INT, FIELD(seq), "128", 1, 1 << 20, NULL, "N", "sequence length in tokens", NULL},
    {"layers", 0, OPTION_INT, FIELD(layers), "4", 1, 1000, NULL, "N", "transformer blocks", NULL},
    {"channels", 0, OPTION_INT, FIELD(channels), "256", 1, 1 << 16, NULL, "N", "width of a token's vector", NULL},
    {"attn-heads", 0, OPTION_INT, FIELD(attn_heads), "4", 1, 1024, NULL, "N", "attention heads", NULL},
    {"ffn", 0, OPTION_CHOICE, FIELD(ffn), "mhmoe", 0, 0, ffn_words, "KIND",
     "feed-forward layers: dense, sparse mixture of experts, or multi-head mixture of experts", NULL},
    {"moe-heads", 0, OPTION_INT, FIELD(moe_heads), "4", 1, 1024, NULL, "H",
     "sub-tokens that a token is cut into (mhmoe)", NULL},
    {"experts", 0, OPTION_INT, FIELD(experts), "8", 1, 4096, NULL, "E", "experts in a layer", NULL},
    {"topk", 0, OPTION_INT, FIELD(topk), "2", 1, 64, NULL, "K", "experts for each sub-token", NULL},
    {"expert-hidden", 0, OPTION_INT, FIELD(expert_hidden), "0", 0, 1 << 20, NULL, "F",
     "hidden width of an expert (0: 4 times the sub-token's width)", NULL},
    {"moe-every", 0, OPTION_INT, FIELD(moe_every), "2", 1, 1000, NULL, "N",
     "every N-th block is a mixture of experts, the others are dense", NULL},
    {"shared-hidden", 0, OPTION_INT, FIELD(shared_hidden), "0", 0, 1 << 20, NULL, "F",
     "hidden width of a shared expert, which serves every sub-token with gate 1 (0: none)", NULL},
    {"head-depth", 0, OPTION_INT, FIELD(head_depth), "1", 0, 3, NULL, "N",
     "linear layers before the split, GELU between them (mhmoe; 0: none)", NULL},
    {"merge-depth", 0, OPTION_INT, FIELD(merge_depth), "1", 0, 3, NULL, "N",
     "linear layers after the join, GELU between them (mhmoe; 0: none)", NULL},
    {"moe-residual", 0, OPTION_FLAG, FIELD(moe_residual), "false", 0, 0, NULL, NULL,
     "add each sub-token to its experts' output", NULL},
    {"router", 0, OPTION_CHOICE, FIELD(router), "softmax", 0, 0, router_words, "KIND",
     "scores of experts: a linear layer before the softmax, or cosines in a few dimensions (X-MoE)", NULL},
    {"router-dim", 0, OPTION_INT, FIELD(router_dim), "16", 1, 1 << 16, NULL, "N",
     "dimensions in which the cosine router compares", NULL},
    {"renormalize", 0, OPTION_FLAG, FIELD(renormalize), "false", 0, 0, NULL, NULL,
     "scale the gates of a sub-token to sum to 1", NULL},
    {"balance", 0, OPTION_CHOICE, FIELD(balance), "aux", 0, 0, balance_words, "KIND",
     "how experts are kept in use: an auxiliary loss, a bias on their choice (no loss), or nothing", NULL},
    {"balance-weight", 0, OPTION_REAL, FIELD(balance_weight), "0.01", 0, 1000, NULL, "X",
     "weight of the auxiliary loss (--balance aux)", NULL},
    {"bias-step", 0, OPTION_REAL, FIELD(bias_step), "1e-3", 0, 1, NULL, "X",
     "how far a step moves each expert's bias (--balance bias)", NULL},
    {"z-weight", 0, OPTION_REAL, FIELD(z_weight), "0", 0, 1000, NULL, "X",
     "weight of the router's z-loss, which keeps scores small (0: none; ST-MoE: 1e-3)", NULL},
    {0},
};

bool config_check(const struct config *c, struct sizes *s, struct error *err) {
    const bool moe = c->ffn != FFN_DENSE, multi_head = c->ffn == FFN_MHMOE;
    *s = (struct sizes){.V = (size_t)c->vocab, .T = (size_t)c->seq, .C = (size_t)c->channels,
                        .L = (size_t)c->layers, .NH = (size_t)c->attn_heads};
    s->LM = moe ? s->L / (size_t)c->moe_every : 0;
    s->LD = s->L - s->LM;
    if (s->C % s->NH)
        return error_set(err, EXIT_USAGE, "--channels %d is not divisible by --attn-heads %d; use --channels %zu",
                         c->channels, c->attn_heads, (s->C / s->NH + 1) * s->NH);
    if (!moe && c->shared_hidden > 0)
        return error_set(err, EXIT_USAGE, "--shared-hidden %d: --ffn dense has no experts; use --ffn smoe or "
                         "mhmoe", c->shared_hidden);
    if (!moe) return true;
    s->H = multi_head ? (size_t)c->moe_heads : 1;
    s->E = (size_t)c->experts;
    s->K = (size_t)c->topk;
    if (s->LM == 0)
        return error_set(err, EXIT_USAGE, "--moe-every %d leaves none of the %d layers with experts; "
                         "use --moe-every %d or --ffn dense", c->moe_every, c->layers, c->layers);
    if (s->C % s->H)
        return error_set(err, EXIT_USAGE, "--channels %d is not divisible by --moe-heads %zu; use --channels %zu",
                         c->channels, s->H, (s->C / s->H + 1) * s->H);
    if (s->K > s->E)
        return error_set(err, EXIT_USAGE, "--topk %d is more than the %d experts; use at most --topk %d",
                         c->topk, c->experts, c->experts);
    s->S = s->C / s->H;
    s->F = c->expert_hidden ? (size_t)c->expert_hidden : 4 * s->S;
    s->Fs = (size_t)c->shared_hidden;
    s->shared = c->shared_hidden > 0;
    s->cosine = c->router == ROUTER_COSINE;
    s->D = s->cosine ? (size_t)c->router_dim : s->S;
    s->head = multi_head ? (size_t)c->head_depth : 0;
    s->merge = multi_head ? (size_t)c->merge_depth : 0;
    return true;
}

const char *config_lacks(const struct config *c, const char *name) {
    const bool moe = c->ffn != FFN_DENSE;
    const struct {
        const char *options, *need;
        bool there;
    } uses[] = {
        {" experts topk expert-hidden moe-every moe-residual router renormalize balance z-weight ",
         "--ffn smoe or mhmoe", moe},
        {" moe-heads head-depth merge-depth ", "--ffn mhmoe", c->ffn == FFN_MHMOE},
        {" router-dim ", "--router cosine", moe && c->router == ROUTER_COSINE},
        {" balance-weight ", "--balance aux", moe && c->balance == BALANCE_AUX},
        {" bias-step ", "--balance bias", moe && c->balance == BALANCE_BIAS},
    };
    const char *need = NULL;
    char *word = string_format(" %s ", name);
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++)
        if (!uses[i].there && strstr(uses[i].options, word)) need = uses[i].need;
    free(word);
    return need;
}

/* Block l is a MoE block if every moe_every-th, counted from 1, falls on it. */
static bool is_moe_block(const struct model *m, size_t l) {
    return m->sizes.LM > 0 && (l + 1) % (size_t)m->config.moe_every == 0;
}
static size_t moe_blocks_before(const struct model *m, size_t l) {
    return m->sizes.LM > 0 ? l / (size_t)m->config.moe_every : 0;
}

static size_t max_size(size_t a, size_t b) { return a > b ? a : b; }

/* ---- 2. Memory --------------------------------------------------------------------------------- */

enum initialisation { NORMAL, NORMAL_RESIDUAL, XAVIER, XAVIER_HALF, ZERO, ONE, LOG_TEMPERATURE };

enum parameter_id {
#define X(name, ...) ID_##name,
    PARAMETERS(X)
#undef X
    ID_NONE
};

static const enum initialisation parameter_initialisation[] = {
#define X(name, decay, initialisation, ...) initialisation,
    PARAMETERS(X)
#undef X
};

static size_t parameters_layout(struct parameter_info *info, const struct sizes *s) {
    const size_t V = s->V, T = s->T, C = s->C, L = s->L, S = s->S, E = s->E, F = s->F, Fs = s->Fs, D = s->D,
                 LM = s->LM, LD = s->LD, head = s->head, merge = s->merge, cosine = s->cosine, shared = s->shared;
    const struct parameter_info list[] = {
#define X(name, decay, initialisation, ...) \
    {#name, decay, sizeof((size_t[]){__VA_ARGS__}) / sizeof(size_t), {__VA_ARGS__}, 0, 0, 0, 0, 0},
        PARAMETERS(X)
#undef X
    };
    size_t offset = 0;
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
        struct parameter_info *p = &info[i];
        *p = list[i];
        p->offset = offset;
        p->count = 1;
        for (size_t d = 0; d < p->dims; d++) p->count *= p->shape[d];
        p->columns = p->shape[p->dims - 1];
        p->rows = p->decay ? p->shape[p->dims - 2] : 1;
        p->matrices = p->count ? p->count / (p->rows * p->columns) : 0;
        offset += p->count;
    }
    return offset;
}

/* struct parameters as an array: its fields are all real *, in the order of the list. */
static real **parameter_fields(const struct parameters *p) { return (real **)p; }

static void parameters_point(struct parameters *p, real *block, const struct parameter_info *info) {
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) parameter_fields(p)[i] = block + info[i].offset;
}

/* How tensor i is stored where matrices are stored as `most`. Routers are not rounded: they are small, a choice that
 * rounding turns costs more than all other rounding, and the cosine router takes norms of the numbers as they are. */
static enum storage storage_of(size_t i, enum storage most) {
    return i == ID_routerw || i == ID_routerp ? STORAGE_F32 : most;
}

/* Tensors that decay are exactly the matrices that multiply; those are packed. Bytes that one takes. */
static size_t packed_bytes(const struct parameter_info *info, enum storage storage, bool transposed) {
    const size_t K = transposed ? info->rows : info->columns, N = transposed ? info->columns : info->rows;
    return info->decay && info->count ? info->matrices * gemm_packed_bytes(storage, K, N) : 0;
}

/* What one forward pass leaves for backward. LA, LMA, LDA: how many blocks' worth is kept: all of them for
 * training, one where the next block may overwrite it (inference, --recompute). LS, LQ: the same for the stream
 * between blocks, which backward always needs, and for qkv, which is the KV cache in inference. HEAD, MERGE:
 * numbers a row within their stacks. G: 1 for training, else 0. */
#define ACTIVATIONS(X)                                                                              \
    X(stream,       LS * R * C)           /* before each block, and after the last */               \
    X(middle,       LA * R * C)           /* after a block's attention */                           \
    X(ln1,          LA * R * C)  X(ln1_kept, LA * R * 2)  /* see src/norm.h */                   \
    X(qkv,          LQ * R * 3 * C)                                                                 \
    X(att,          LA * R * C)  X(lse, LA * R * NH)                                                \
    X(ln2,          LA * R * C)  X(ln2_kept, LA * R * 2)                                            \
    X(fc,           LDA * R * 4 * C)      /* dense blocks' hidden layer, before GELU */             \
    X(head_hidden,  LMA * HEAD * R)       /* E1: within the stack */                                \
    X(xh,           LMA * (head > 0) * N * S) /* what is split; ln2 itself without a head layer */  \
    X(projected,    LMA * cosine * N * D) /* E3: see src/router.h */                                \
    X(probs,        LMA * N * E)  X(log_sums, LMA * N)                                              \
    X(gates,        LMA * N * K)          /* E4 */                                                  \
    X(hidden,       LMA * N * K * F)      /* the experts', before GELU, in their order */           \
    X(expert_out,   LMA * N * K * S)                                                                \
    X(shared_hidden, LMA * N * Fs)                                                                  \
    X(joined,       LMA * N * S)          /* E5 */                                                  \
    X(merge_hidden, LMA * MERGE * R)      /* E6: within the stack */                                \
    X(activated,    (HEAD + MERGE > 0) * R * C) X(d_stack, G * (HEAD + MERGE > 0) * R * C)          \
    X(lnf,          R * C)  X(lnf_kept, R * 2)                                                      \
    X(logits,       LOGIT_ROWS * V)  X(losses, R)                                                   \
    X(d_stream,     G * R * C)  X(d_norm, G * R * C)  X(d_qkv, G * R * 3 * C)  X(d_att, G * R * C)  \
    X(d_hidden,     G * HIDDEN)           /* of dense blocks and of experts */                      \
    X(d_joined,     G * (merge > 0) * N * S)  X(d_expert_out, G * N * K * S)                        \
    X(d_dispatched, G * N * K * S)        /* of each row that the experts read */                   \
    X(d_xh, G * N * S)  X(d_gates, G * N * K)  X(d_scores, G * N * E)                               \
    X(d_projected,  G * cosine * N * D)  X(d_embeddings, G * cosine * E * D)                        \
    X(expert_mean,  E)

struct activations {
    struct batch batch;      /* of the last forward */
    size_t rows;             /* batch_rows of it */
    bool all_blocks;         /* kept for training */
    bool again;              /* a forward that backward has asked for: nothing is counted twice */
    size_t logit_rows;       /* rows of logits that exist at a time */
    real *block;
#define X(name, ...) real *name;
    ACTIVATIONS(X)
#undef X
    int32_t *pick_block;
    int32_t *picks, *slots, *sources; /* (LMA, N*K) see src/router.h and src/dispatch.h */
    int32_t *first;                   /* (LMA, E + 1) */
    real *scratch;    /* of attention, feed-forward and layer norm, for each thread or part its own */
    char *workspace;  /* operands that products pack on the fly */
    size_t scratch_count, workspace_bytes;
};

/* Both depend on the number of threads. */
static size_t scratch_count(const struct sizes *s, bool training) {
    const size_t attention = attention_scratch_count(s->T, s->C, s->NH);
    const size_t dense = training && s->LD ? ffn_scratch_count(4 * s->C) : 0;
    const size_t experts = training && s->LM ? ffn_scratch_count(s->F) : 0;
    const size_t shared = training && s->shared ? ffn_scratch_count(s->Fs) : 0;
    const size_t norms = training ? norm_scratch_count(s->C) : 0;
    return max_size(max_size(max_size(attention, norms), dense), max_size(experts, shared));
}
static size_t workspace_bytes(const struct sizes *s, size_t R, size_t logit_rows) {
    const size_t C = s->C, N = R * s->H, attention = linear_workspace_bytes(C, 3 * C, R);
    const size_t project = linear_workspace_bytes(C, C, R);
    const size_t logits = linear_workspace_bytes(C, s->V, logit_rows);
    const size_t dense = s->LD ? ffn_workspace_bytes(1, C, 4 * C, R) : 0;
    const size_t experts = s->LM ? ffn_workspace_bytes(s->E, s->S, s->F, N * s->K) : 0;
    const size_t shared = s->shared ? ffn_workspace_bytes(1, s->S, s->Fs, N) : 0;
    const size_t router = s->LM ? router_workspace_bytes(s->cosine, s->E, s->D, s->S, N) : 0;
    return max_size(max_size(max_size(attention, project), max_size(logits, router)),
                    max_size(max_size(dense, experts), shared));
}

/* Few enough rows of logits to stay near the cache, enough to make products of them. */
static size_t logit_rows_for(const struct sizes *s, size_t R) {
    size_t rows = ((size_t)1 << 21) / s->V;
    if (rows < 384) rows = 384;
    return rows < R ? rows : R;
}

/* Fills the pointers of `a` (if `a` has a block) and returns how many numbers they cover. */
static size_t activations_layout(struct activations *a, const struct sizes *s, struct model_setup setup) {
    const bool training = setup.use == MODEL_TRAIN, all = training && !setup.recompute;
    const size_t R = setup.batch * s->T, V = s->V, C = s->C, L = s->L, NH = s->NH, S = s->S, E = s->E, K = s->K,
                 F = s->F, Fs = s->Fs, D = s->D, head = s->head, merge = s->merge, cosine = s->cosine,
                 N = R * s->H, G = training, LOGIT_ROWS = logit_rows_for(s, R);
    const size_t HEAD = head > 1 ? (head - 1) * C : 0, MERGE = merge > 1 ? (merge - 1) * C : 0;
    const size_t HIDDEN = max_size(s->LD ? R * 4 * C : 0, max_size(N * K * F, N * Fs));
    const size_t LA = all ? L : 1, LMA = all ? s->LM : s->LM > 0, LDA = all ? s->LD : s->LD > 0;
    const size_t LS = training ? L + 1 : 1, LQ = training ? LA : L;
    size_t count = 0;
    /* each starts on a cache line */
#define X(name, n)                          \
    if (a->block) a->name = a->block + count; \
    count += ((n) + 15) / 16 * 16;
    ACTIVATIONS(X)
#undef X
    a->all_blocks = all;
    a->logit_rows = LOGIT_ROWS;
    return count;
}

/* The same for the integers. */
static size_t picks_layout(struct activations *a, const struct sizes *s, struct model_setup setup) {
    const size_t LMA = a->all_blocks ? s->LM : s->LM > 0, picks = LMA * setup.batch * s->T * s->H * s->K;
    if (a->pick_block) {
        a->picks = a->pick_block;
        a->slots = a->picks + picks;
        a->sources = a->slots + picks;
        a->first = a->sources + picks;
    }
    return 3 * picks + LMA * (s->E + 1);
}

/* Far more than any machine has, and so far below 2^64 that nothing wraps that is rounded up, packed, or added. */
#define MEMORY_MOST 0x1p52

/* Numbers of activations, in double, which does not wrap: what 16 more rows add (each tensor begins on a multiple of 16)
 * to those of 16. */
static double activations_count(const struct sizes *s, struct model_setup setup) {
    const double rows = (double)setup.batch * (double)s->T;
    struct activations none = {0};
    struct sizes few = *s;
    few.T = 16;
    few.V = setup.batch = 1; /* logits exist a few rows at a time */
    const size_t first = activations_layout(&none, &few, setup);
    few.T = 32;
    return (double)first + rows / 16 * (double)(activations_layout(&none, &few, setup) - first);
}

bool model_fits(const struct sizes *s, struct model_setup setup, struct error *err) {
    struct parameter_info info[PARAMETER_TENSORS];
    const size_t sequences = setup.batch;
    const double choices = (double)sequences * (double)s->T * (double)(s->H * s->K);
    const double bytes = sizeof(real) * (activations_count(s, setup) + (double)parameters_layout(info, s));
    if (bytes > MEMORY_MOST)
        return error_set(err, EXIT_USAGE, "the model needs more memory than any machine has (got over %.1g bytes for "
                         "%zu sequences of %zu tokens, want at most %.1g); lower --batch, --seq, or the model's sizes",
                         bytes, sequences, s->T, MEMORY_MOST);
    if (choices > INT32_MAX)
        return error_set(err, EXIT_USAGE, "a micro-batch of %zu sequences of %zu tokens is too large (got %.0f choices "
                         "of an expert, want at most %d); lower --batch", sequences, s->T, choices, INT32_MAX);
    return true;
}

/* Work memory, for as many threads as there are now. */
static void scratch_ensure(struct model *m) {
    struct activations *a = m->acts;
    const bool training = m->setup.use == MODEL_TRAIN;
    const size_t count = scratch_count(&m->sizes, training);
    const size_t bytes = training ? workspace_bytes(&m->sizes, m->max_rows, a->logit_rows) : 0;
    if (count > a->scratch_count) {
        free(a->scratch);
        a->scratch = array_alloc(count, sizeof(real));
        a->scratch_count = count;
    }
    if (bytes > a->workspace_bytes) {
        free(a->workspace);
        a->workspace = array_alloc(bytes, 1);
        a->workspace_bytes = bytes;
    }
}

bool model_create(struct model *m, const struct config *config, struct model_setup setup, struct error *err) {
    *m = (struct model){.config = *config, .setup = setup};
    if (!config_check(config, &m->sizes, err) || !model_fits(&m->sizes, setup, err)) return false;
    const struct sizes *s = &m->sizes;
    const bool training = setup.use == MODEL_TRAIN;
    m->n_parameters = parameters_layout(m->info, s);
    m->param_block = array_alloc(m->n_parameters, sizeof(real));
    parameters_point(&m->params, m->param_block, m->info);
    if (training) {
        m->grad_block = array_alloc(m->n_parameters, sizeof(real));
        parameters_point(&m->grads, m->grad_block, m->info);
    }
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
        const size_t bytes = packed_bytes(&m->info[i], storage_of(i, setup.storage), false);
        const size_t bytes_t = training ? packed_bytes(&m->info[i], STORAGE_F32, true) : 0;
        if (bytes) m->packed[i] = array_alloc(bytes, 1);
        if (bytes_t) m->packed_t[i] = array_alloc(bytes_t, 1);
    }
    struct activations *a = m->acts = array_alloc(1, sizeof *a);
    m->max_rows = setup.batch * s->T;
    a->block = array_alloc(activations_layout(a, s, setup), sizeof(real));
    activations_layout(a, s, setup);
    a->pick_block = array_alloc(picks_layout(a, s, setup) + 1, sizeof(int32_t));
    picks_layout(a, s, setup);
    m->router_bias = array_alloc(s->LM * s->E + 1, sizeof(real));
    m->load = array_alloc(s->LM * s->E + 1, sizeof(double));
    m->balance_sum = array_alloc(s->LM + 1, sizeof(double));
    m->z_sum = array_alloc(s->LM + 1, sizeof(double));
    return true;
}

void model_destroy(struct model *m) {
    if (m->acts) {
        free(m->acts->block);
        free(m->acts->pick_block);
        free(m->acts->scratch);
        free(m->acts->workspace);
    }
    free(m->acts);
    free(m->param_block);
    free(m->grad_block);
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) free(m->packed[i]), free(m->packed_t[i]);
    free(m->router_bias);
    free(m->load);
    free(m->balance_sum);
    free(m->z_sum);
    *m = (struct model){0};
}

static void pack_tensor(char *packed, enum storage storage, const real *w, const struct parameter_info *info,
                        bool transposed) {
    const size_t K = transposed ? info->rows : info->columns, N = transposed ? info->columns : info->rows;
    const size_t panels = gemm_panels(N), size = info->rows * info->columns;
#pragma omp parallel for schedule(static)
    for (size_t piece = 0; piece < info->matrices * panels; piece++) {
        const size_t i = piece / panels;
        const struct view B = transposed ? (struct view){w + i * size, info->columns, 1, NULL}
                                         : (struct view){w + i * size, 1, info->columns, NULL};
        gemm_pack_panel(packed + i * gemm_packed_bytes(storage, K, N), storage, B, K, N, piece % panels);
    }
}

void model_pack(struct model *m) {
    real **w = parameter_fields(&m->params);
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
        const enum storage storage = storage_of(i, m->setup.storage);
        if (m->packed[i]) pack_tensor(m->packed[i], storage, w[i], &m->info[i], false);
        if (m->packed_t[i]) pack_tensor(m->packed_t[i], STORAGE_F32, w[i], &m->info[i], true);
    }
}

/* The linear layer of matrix i of tensor w, with row i of its bias (or ID_NONE). */
static struct linear linear_slice(const struct model *m, enum parameter_id w, enum parameter_id b, size_t i) {
    struct linear l = {.IC = m->info[w].columns, .OC = m->info[w].rows, .storage = storage_of(w, m->setup.storage),
                       .packed = m->packed[w], .packed_t = m->packed_t[w]};
    if (b != ID_NONE) l.b = parameter_fields(&m->params)[b];
    if (m->grad_block) {
        l.dw = parameter_fields(&m->grads)[w];
        if (b != ID_NONE) l.db = parameter_fields(&m->grads)[b];
    }
    return linear_at(l, i);
}
#define LINEAR(m, w, b, i) linear_slice(m, ID_##w, ID_##b, i)

/* ---- 3. The MH-MoE layer ------------------------------------------------------------------------ */

/* The activations of MoE layer lm, its index already applied. */
struct moe {
    real *xh, *hidden, *expert_out, *shared_hidden, *joined;
    struct stack head, merge; /* E1, E6 */
    struct routing routing;   /* E3, E4 */
    struct dispatch dispatch; /* E5 */
};

/* `hidden` begins with that of slice 0. */
static struct stack stack_of(const struct model *m, size_t depth, struct linear layers, real *hidden, size_t i) {
    const struct activations *a = m->acts;
    return (struct stack){depth, layers, depth > 1 ? hidden + i * (depth - 1) * m->max_rows * m->sizes.C : NULL,
                          a->activated, a->d_stack, a->workspace};
}

static struct moe moe_slice(const struct model *m, size_t lm, const real *x) {
    const struct sizes *s = &m->sizes;
    const struct activations *a = m->acts;
    const size_t R = m->max_rows, N = R * s->H, NK = N * s->K, i = a->all_blocks ? lm : 0;
    int32_t *first = a->first + i * (s->E + 1);
    return (struct moe){
        .head = stack_of(m, s->head, LINEAR(m, headw, headb, lm * s->head), a->head_hidden, i),
        .merge = stack_of(m, s->merge, LINEAR(m, mergew, mergeb, lm * s->merge), a->merge_hidden, i),
        .xh = s->head ? a->xh + i * N * s->S : (real *)x, .hidden = a->hidden + i * NK * s->F,
        .expert_out = a->expert_out + i * NK * s->S, .shared_hidden = a->shared_hidden + i * N * s->Fs,
        .joined = a->joined + i * N * s->S,
        .routing = {.N = a->rows * s->H, .projected = a->projected + i * N * s->D * s->cosine,
                    .probs = a->probs + i * N * s->E, .log_sums = a->log_sums + i * N, .gates = a->gates + i * NK,
                    .picks = a->picks + i * NK, .first = first},
        .dispatch = {.N = a->rows * s->H, .K = s->K, .E = s->E, .S = s->S, .slots = a->slots + i * NK,
                     .sources = a->sources + i * NK, .first = first},
    };
}

/* E3, E4: see src/router.h. */
static struct router router_of(const struct model *m, size_t lm) {
    const size_t E = m->sizes.E;
    struct router r = {.kind = (enum router_kind)m->config.router, .E = E, .K = m->sizes.K,
                       .renormalize = m->config.renormalize, .scores = LINEAR(m, routerw, NONE, lm),
                       .bias = m->router_bias + lm * E};
    if (r.kind == ROUTER_COSINE) {
        r.project = LINEAR(m, routerp, NONE, lm);
        r.embeddings = m->params.routerw + lm * E * m->sizes.D;
        r.log_tau = m->params.routert + lm;
        if (m->grad_block) r.d_log_tau = m->grads.routert + lm;
    }
    return r;
}

/* router_scale: the share of this forward pass in the step. */
static struct router_gradients router_gradients_of(const struct model *m, double router_scale) {
    const struct activations *a = m->acts;
    const double balance_weight = m->config.balance == BALANCE_AUX ? m->config.balance_weight : 0;
    return (struct router_gradients){.d_gates = a->d_gates, .balance_weight = balance_weight * router_scale,
                                     .z_weight = m->config.z_weight * router_scale, .dx = a->d_xh,
                                     .d_scores = a->d_scores, .d_projected = a->d_projected,
                                     .d_embeddings = a->d_embeddings, .workspace = a->workspace};
}

/* expert_e(x) = gelu(x W1_e^T + b1_e) W2_e^T + b2_e on its rows of the sorted sub-tokens: see src/ffn.h. */
static struct ffn experts_of(const struct model *m, size_t lm, const struct moe *moe) {
    const size_t E = m->sizes.E;
    return (struct ffn){.E = E, .up = LINEAR(m, expw1, expb1, lm * E), .down = LINEAR(m, expw2, expb2, lm * E),
                        .first = moe->dispatch.first, .source = moe->dispatch.sources};
}

/* The shared expert, which has all rows. */
static struct ffn shared_of(const struct model *m, size_t lm, const struct moe *moe) {
    return (struct ffn){.E = 1, .up = LINEAR(m, sharedw1, sharedb1, lm), .down = LINEAR(m, sharedw2, sharedb2, lm),
                        .rows = moe->dispatch.N};
}

/* E7, the z-loss, and the load of each expert, for the log and for model_balance. */
static void statistics_add(struct model *m, size_t lm, const struct router *router, const struct moe *moe) {
    const size_t E = m->sizes.E;
    m->balance_sum[lm] += router_balance(router, &moe->routing, m->acts->expert_mean);
    m->z_sum[lm] += router_z_loss(&moe->routing);
    for (size_t e = 0; e < E; e++) m->load[lm * E + e] += moe->dispatch.first[e + 1] - moe->dispatch.first[e];
}

/* Where forward may apply GELU while it keeps what was before; in inference nothing need be kept. */
static real *hidden_scratch(const struct model *m) { return m->grad_block ? m->acts->scratch : NULL; }

/* out (R,C) = residual + MH-MoE(x); x (R,C) is the normalised stream. */
static void moe_forward(struct model *m, size_t lm, real *out, const real *x, const real *residual) {
    const struct sizes *s = &m->sizes;
    const struct activations *a = m->acts;
    const struct moe moe = moe_slice(m, lm, x);
    if (s->head) stack_forward(&moe.head, moe.xh, x, NULL, a->rows); /* E1; E2 only counts the numbers otherwise */
    const struct router router = router_of(m, lm);
    router_forward(&router, &moe.routing, moe.xh); /* E3, E4 */
    if (m->on_picks && !a->again) m->on_picks(m->on_picks_context, lm, moe.routing.picks, moe.routing.N);
    dispatch_sort(&moe.dispatch, moe.routing.picks);
    const struct ffn experts = experts_of(m, lm, &moe);
    ffn_forward(&experts, moe.expert_out, moe.hidden, moe.xh, NULL, hidden_scratch(m));
    const real *start = m->config.moe_residual ? moe.xh : NULL;
    combine_forward(&moe.dispatch, moe.joined, start, moe.routing.gates, moe.expert_out); /* E5 */
    if (s->shared) {
        const struct ffn shared = shared_of(m, lm, &moe);
        ffn_forward(&shared, moe.joined, moe.shared_hidden, moe.xh, moe.joined, hidden_scratch(m));
    }
    if (!a->again) statistics_add(m, lm, &router, &moe);
    if (s->merge) stack_forward(&moe.merge, out, moe.joined, residual, a->rows); /* E6 */
    else residual_forward(out, residual, moe.joined, a->rows * s->C);
}

/* dx (R,C) from dout (R,C), in the reverse order of moe_forward. Returns where dx lies. */
static const real *moe_backward(struct model *m, size_t lm, const real *dout, const real *x,
                                double router_scale) {
    const struct sizes *s = &m->sizes;
    const struct activations *a = m->acts;
    const struct moe moe = moe_slice(m, lm, x);
    const real *d_joined = dout;
    if (s->merge) {
        stack_backward(&moe.merge, a->d_joined, dout, moe.joined, a->rows);
        d_joined = a->d_joined;
    }
    if (s->shared) {
        const struct ffn shared = shared_of(m, lm, &moe);
        ffn_backward(&shared, a->d_xh, a->d_hidden, d_joined, moe.shared_hidden, moe.xh, a->workspace);
    }
    combine_backward(&moe.dispatch, a->d_expert_out, a->d_gates, d_joined, moe.routing.gates, moe.expert_out);
    const struct ffn experts = experts_of(m, lm, &moe);
    ffn_backward(&experts, a->d_dispatched, a->d_hidden, a->d_expert_out, moe.hidden, moe.xh, a->workspace);
    dispatch_backward(&moe.dispatch, a->d_xh, s->shared ? a->d_xh : NULL, a->d_dispatched);
    if (m->config.moe_residual) residual_forward(a->d_xh, a->d_xh, d_joined, a->rows * s->C);
    const struct router router = router_of(m, lm);
    const struct router_gradients gradients = router_gradients_of(m, router_scale);
    router_backward(&router, &moe.routing, &gradients, moe.xh);
    if (!s->head) return a->d_xh;
    stack_backward(&moe.head, a->d_norm, a->d_xh, x, a->rows);
    return a->d_norm;
}

/* ---- 4. The GPT around it ----------------------------------------------------------------------- */

/* Block l's slice of activations that hold `count` numbers a block. */
static real *block_slice(const struct model *m, real *base, size_t l, size_t count) {
    return base + (m->acts->all_blocks ? l : 0) * count;
}
/* The residual stream before block l, or after the last one (l = L). */
static real *stream_at(const struct model *m, size_t l) {
    return m->acts->stream + (m->grad_block ? l : 0) * m->max_rows * m->sizes.C;
}
static real *middle_at(const struct model *m, size_t l) {
    return block_slice(m, m->acts->middle, l, m->max_rows * m->sizes.C);
}
/* With --recompute all blocks share one qkv: there is no KV cache, and a sequence cannot be continued. */
static bool qkv_is_kept(const struct model *m) { return !m->grad_block || m->acts->all_blocks; }
static real *qkv_at(const struct model *m, size_t l) {
    return m->acts->qkv + (qkv_is_kept(m) ? l : 0) * m->max_rows * 3 * m->sizes.C;
}
/* Layer norm i of those that w and b hold; `kept` is its slice already. */
static struct norm norm_slice(const struct model *m, enum parameter_id w, enum parameter_id b, size_t i, real *kept) {
    const size_t C = m->sizes.C;
    struct norm n = {.C = C, .w = parameter_fields(&m->params)[w] + i * C, .b = parameter_fields(&m->params)[b] + i * C,
                     .kept = kept, .scratch = m->acts->scratch};
    if (m->grad_block) {
        n.dw = parameter_fields(&m->grads)[w] + i * C;
        n.db = parameter_fields(&m->grads)[b] + i * C;
    }
    return n;
}
#define NORM(m, w, b, i, kept) norm_slice(m, ID_##w, ID_##b, i, kept)

static struct attention attention_of(const struct model *m, size_t l) {
    return (struct attention){m->sizes.C, m->sizes.NH, block_slice(m, m->acts->lse, l, m->max_rows * m->sizes.NH),
                              m->acts->scratch};
}

static size_t dense_before(const struct model *m, size_t l) { return l - moe_blocks_before(m, l); }

static void attention_block_forward(struct model *m, size_t l) {
    const struct activations *a = m->acts;
    const size_t C = m->sizes.C, R = m->max_rows, rows = a->rows;
    const real *in = stream_at(m, l);
    real *ln1 = block_slice(m, a->ln1, l, R * C), *att = block_slice(m, a->att, l, R * C), *qkv = qkv_at(m, l);
    const struct linear project_in = LINEAR(m, qkvw, qkvb, l), project_out = LINEAR(m, attprojw, attprojb, l);
    const struct norm norm = NORM(m, ln1w, ln1b, l, block_slice(m, a->ln1_kept, l, R * 2));
    const struct attention attention = attention_of(m, l);
    norm_forward(&norm, ln1, in, rows);
    linear_forward(&project_in, qkv + a->batch.from * 3 * C, ln1, NULL, rows);
    attention_forward(&attention, att, qkv, &a->batch);
    linear_forward(&project_out, middle_at(m, l), att, in, rows);
}

/* d_stream (R,C) is the gradient of the stream: of what follows on entry, of what goes in on return. */
static void attention_block_backward(struct model *m, size_t l) {
    const struct activations *a = m->acts;
    const size_t C = m->sizes.C, R = m->max_rows, rows = a->rows;
    const real *ln1 = block_slice(m, a->ln1, l, R * C), *att = block_slice(m, a->att, l, R * C);
    const struct linear project_in = LINEAR(m, qkvw, qkvb, l), project_out = LINEAR(m, attprojw, attprojb, l);
    const struct norm norm = NORM(m, ln1w, ln1b, l, block_slice(m, a->ln1_kept, l, R * 2));
    const struct attention attention = attention_of(m, l);
    linear_backward(&project_out, a->d_att, a->d_stream, att, NULL, rows, a->workspace);
    attention_backward(&attention, a->d_qkv, a->d_att, qkv_at(m, l), att, &a->batch);
    linear_backward(&project_in, a->d_norm, a->d_qkv, ln1, NULL, rows, a->workspace);
    norm_backward(&norm, a->d_stream, a->d_norm, stream_at(m, l), rows);
}

/* The feed-forward layer of dense block l. */
static struct ffn dense_of(const struct model *m, size_t l) {
    const size_t ld = dense_before(m, l);
    return (struct ffn){.E = 1, .up = LINEAR(m, fcw, fcb, ld), .down = LINEAR(m, fcprojw, fcprojb, ld),
                        .rows = m->acts->rows};
}

static void ffn_block_forward(struct model *m, size_t l) {
    const struct activations *a = m->acts;
    const size_t C = m->sizes.C, R = m->max_rows;
    real *out = stream_at(m, l + 1), *ln2 = block_slice(m, a->ln2, l, R * C), *in = middle_at(m, l);
    const struct norm norm = NORM(m, ln2w, ln2b, l, block_slice(m, a->ln2_kept, l, R * 2));
    norm_forward(&norm, ln2, in, a->rows);
    if (is_moe_block(m, l)) {
        moe_forward(m, moe_blocks_before(m, l), out, ln2, in);
        return;
    }
    const struct ffn dense = dense_of(m, l);
    ffn_forward(&dense, out, block_slice(m, a->fc, dense_before(m, l), R * 4 * C), ln2, in, hidden_scratch(m));
}

static void ffn_block_backward(struct model *m, size_t l, double router_scale) {
    const struct activations *a = m->acts;
    const size_t C = m->sizes.C, R = m->max_rows;
    const real *ln2 = block_slice(m, a->ln2, l, R * C), *d_ln2 = a->d_norm;
    if (is_moe_block(m, l)) {
        d_ln2 = moe_backward(m, moe_blocks_before(m, l), a->d_stream, ln2, router_scale);
    } else {
        const struct ffn dense = dense_of(m, l);
        real *fc = block_slice(m, a->fc, dense_before(m, l), R * 4 * C);
        ffn_backward(&dense, a->d_norm, a->d_hidden, a->d_stream, fc, ln2, a->workspace);
    }
    const struct norm norm = NORM(m, ln2w, ln2b, l, block_slice(m, a->ln2_kept, l, R * 2));
    norm_backward(&norm, a->d_stream, d_ln2, middle_at(m, l), a->rows);
}

void model_forward(struct model *m, const struct batch *batch) {
    struct activations *a = m->acts;
    const size_t L = m->sizes.L;
    a->batch = *batch;
    a->rows = batch_rows(batch);
    scratch_ensure(m);
    embedding_forward(stream_at(m, 0), m->params.wte, m->params.wpe, batch, m->sizes.C);
    for (size_t l = 0; l < L; l++) {
        attention_block_forward(m, l);
        ffn_block_forward(m, l);
    }
    const struct norm norm = NORM(m, lnfw, lnfb, 0, a->lnf_kept);
    norm_forward(&norm, a->lnf, stream_at(m, L), a->rows);
    m->forwards++;
}

/* With --recompute, what block l's forward left was overwritten by the blocks after it. */
static void block_recompute(struct model *m, size_t l) {
    m->acts->again = true;
    attention_block_forward(m, l);
    ffn_block_forward(m, l);
    m->acts->again = false;
}

real *model_logits(struct model *m, size_t row) {
    const struct linear head = LINEAR(m, wte, NONE, 0);
    linear_forward(&head, m->acts->logits, m->acts->lnf + row * m->sizes.C, NULL, 1);
    return m->acts->logits;
}

double model_loss(struct model *m, double scale, size_t *count) {
    const struct activations *a = m->acts;
    const int32_t *targets = a->batch.targets;
    const size_t C = m->sizes.C, V = m->sizes.V;
    const struct linear head = LINEAR(m, wte, NONE, 0);
    for (size_t r = 0; r < a->rows; r += a->logit_rows) {
        const size_t n = a->rows - r < a->logit_rows ? a->rows - r : a->logit_rows;
        linear_forward(&head, a->logits, a->lnf + r * C, NULL, n);
        crossentropy(a->losses + r, a->logits, targets + r, n, V, (real)scale);
        if (scale > 0) linear_backward(&head, a->d_norm + r * C, a->logits, a->lnf + r * C, NULL, n, a->workspace);
    }
    double sum = 0;
    *count = 0;
    for (size_t r = 0; r < a->rows; r++) {
        sum += (double)a->losses[r];
        *count += targets[r] != TARGET_NONE;
    }
    return sum;
}

void model_backward(struct model *m, double router_scale) {
    const struct activations *a = m->acts;
    const size_t C = m->sizes.C, L = m->sizes.L;
    memset(a->d_stream, 0, a->rows * C * sizeof(real));
    const struct norm norm = NORM(m, lnfw, lnfb, 0, a->lnf_kept);
    norm_backward(&norm, a->d_stream, a->d_norm, stream_at(m, L), a->rows);
    for (size_t l = L; l-- > 0;) {
        if (!a->all_blocks && l < L - 1) block_recompute(m, l);
        ffn_block_backward(m, l, router_scale);
        attention_block_backward(m, l);
    }
    embedding_backward(m->grads.wte, m->grads.wpe, a->d_stream, &a->batch, C);
}

void model_generate(struct model *m, const int32_t *prompt, size_t n, size_t count, struct sampler *sampler,
                    bool (*emit)(void *context, int32_t token), void *context) {
    const size_t T = m->sizes.T;
    int32_t *window = array_alloc(T, sizeof *window);
    size_t kept = n < T ? n : T, done = 0; /* tokens in the window; positions computed */
    memcpy(window, prompt + n - kept, kept * sizeof *window);
    for (size_t i = 0; i < count; i++) {
        model_forward(m, &(struct batch){.B = 1, .T = kept, .from = done, .tokens = window + done});
        const int32_t token = sampler_pick(sampler, model_logits(m, kept - done - 1), m->sizes.V);
        done = qkv_is_kept(m) ? kept : 0; /* a sample now and then is worth no memory: compute all again */
        if (!emit(context, token)) break;
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

/* ---- 5. Initialisation, costs, names ------------------------------------------------------------ */

/* Each tensor draws from its own stream, so that its numbers do not depend on which others exist. */
void model_initialize(struct model *m, uint64_t seed) {
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
        const struct parameter_info *info = &m->info[i];
        const enum initialisation kind = parameter_initialisation[i];
        const double fan = (double)(info->rows + info->columns);
        /* Glorot and Bengio's uniform range, with gain 1/sqrt(2) for the head layer (P1) */
        const double range = (kind == XAVIER_HALF ? sqrt(0.5) : 1) * sqrt(6 / fan);
        const double deviation = kind == NORMAL_RESIDUAL ? 0.02 / sqrt(2 * (double)m->sizes.L) : 0.02;
        real *w = m->param_block + info->offset;
        struct rng rng;
        rng_seed(&rng, seed, hash_bytes(HASH_START, info->name, strlen(info->name)));
        for (size_t j = 0; j < info->count; j++) switch (kind) {
                case ZERO: w[j] = 0; break;
                case ONE: w[j] = 1; break;
                case LOG_TEMPERATURE: w[j] = (real)log(0.3); break; /* X */
                case NORMAL:
                case NORMAL_RESIDUAL: w[j] = (real)(deviation * rng_normal(&rng)); break;
                case XAVIER:
                case XAVIER_HALF: w[j] = (real)(range * (2 * rng_uniform(&rng) - 1)); break;
            }
    }
    model_pack(m);
}

struct model_cost model_cost(const struct sizes *s, struct model_setup setup) {
    const bool training = setup.use == MODEL_TRAIN;
    const size_t R = setup.batch * s->T;
    struct parameter_info info[PARAMETER_TENSORS];
    struct activations none = {0};
    struct model_cost cost = {.parameters = parameters_layout(info, s)};
    /* A token's H sub-tokens reach at most H*K different experts of a layer. */
    const size_t reached = s->H * s->K < s->E ? s->H * s->K : s->E;
    double multiply_adds = (double)(s->L * s->C * (s->T + 1)); /* scores and values of (T+1)/2 keys */
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
        const bool expert = i == ID_expw1 || i == ID_expb1 || i == ID_expw2 || i == ID_expb2;
        const bool subtoken = i == ID_routerp || i == ID_routerw || i == ID_sharedw1 || i == ID_sharedw2;
        const size_t used = !expert ? info[i].count : s->E ? info[i].count / s->E * reached : 0;
        cost.active_parameters += i == ID_wpe ? s->C : used;
        if (!info[i].decay) continue;
        const double times = expert ? (double)(s->H * s->K) / (double)(s->E ? s->E : 1)
                             : subtoken ? (double)s->H : 1;
        multiply_adds += times * (double)info[i].count;
    }
    cost.forward_flops = 2 * multiply_adds;
    cost.training_flops = 3 * cost.forward_flops;
    if (setup.recompute) /* all blocks once more but the last, taken as their average */
        cost.training_flops += (cost.forward_flops - 2 * (double)(s->V * s->C)) * (double)(s->L - 1) / (double)s->L;
    cost.parameter_bytes = sizeof(real) * cost.parameters * (training ? 4 : 1);
    for (size_t i = 0; i < PARAMETER_TENSORS; i++)
        cost.parameter_bytes += packed_bytes(&info[i], storage_of(i, setup.storage), false) +
                                (training ? packed_bytes(&info[i], STORAGE_F32, true) : 0);
    cost.activation_bytes = sizeof(real) * (activations_layout(&none, s, setup) + scratch_count(s, training)) +
                            sizeof(int32_t) * picks_layout(&none, s, setup) +
                            (training ? workspace_bytes(s, R, none.logit_rows) : 0);
    return cost;
}

static struct layer_cost token_cost(const struct sizes *s) {
    const struct model_cost cost = model_cost(s, (struct model_setup){MODEL_TRAIN, 1, false, STORAGE_F32});
    return (struct layer_cost){(double)cost.parameters, cost.forward_flops / 2};
}

struct moe_layer model_layer(const struct config *config, const struct sizes *s, struct layer_cost *cost) {
    struct config dense_config = *config;
    struct sizes dense;
    struct error unused;
    dense_config.ffn = FFN_DENSE;
    dense_config.shared_hidden = 0;
    config_check(&dense_config, &dense, &unused); /* nothing is refused that `sizes` passed */
    *cost = layer_of_models(token_cost(s), token_cost(&dense), s->LM, s->C);
    if (s->LM == 0) return (struct moe_layer){.C = s->C, .H = 1, .E = 1, .K = 1, .F = 4 * s->C};
    return (struct moe_layer){s->C, s->H, s->E, s->K, s->F, s->head + s->merge, s->Fs};
}

size_t model_tensors(const struct model *m, real *block, const char *prefix, struct tensor *out) {
    size_t n = 0;
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
        const struct parameter_info *info = &m->info[i];
        if (info->count == 0) continue;
        struct tensor *t = &out[n++];
        *t = (struct tensor){.dtype = sizeof(real) == 4 ? DTYPE_F32 : DTYPE_F64, .dims = (int)info->dims,
                             .data = block + info->offset};
        snprintf(t->name, sizeof t->name, "%s%s", prefix, info->name);
        memcpy(t->shape, info->shape, sizeof t->shape);
    }
    return n;
}

size_t model_state(const struct model *m, struct tensor *out) {
    size_t n = model_tensors(m, m->param_block, "", out);
    if (m->config.balance == BALANCE_BIAS && m->sizes.LM > 0)
        out[n++] = (struct tensor){.name = "router.bias", .dtype = out[0].dtype, .dims = 2,
                                   .shape = {m->sizes.LM, m->sizes.E}, .data = m->router_bias};
    return n;
}

char *config_to_string(const struct config *config) {
    const struct option_group group = {model_options, (void *)config};
    json_t *object = options_to_json(&group);
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return text;
}

bool config_from_checkpoint(struct config *config, const struct checkpoint *c, struct error *err) {
    const struct option_group group = {model_options, config};
    struct sizes sizes;
    struct error why;
    json_error_t bad;
    if (!checkpoint_format(c, MODEL_FORMAT, err)) return false;
    const char *text = checkpoint_string(c, "config", err);
    if (!text) return false;
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &bad);
    const bool good = object ? options_from_json(&group, object, &why) && config_check(config, &sizes, &why)
                             : error_set(&why, EXIT_INPUT, "not JSON (%s)", bad.text);
    json_decref(object);
    return good || error_set(err, EXIT_INPUT, "%s: config: %s", c->path, why.text);
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
