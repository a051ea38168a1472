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
#include "src/gemm.h"
#include "src/kernels.h"
#include "src/util.h"
#include "src/vecmath.h"

/* ---- 1. Options and sizes ---------------------------------------------------------------------- */

static const char *const ffn_words[] = {"dense", "smoe", "mhmoe", NULL};
static const char *const balance_words[] = {"aux", "none", NULL};

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
    {"head", 0, OPTION_FLAG, FIELD(head), "true", 0, 0, NULL, NULL, "head layer before the split (mhmoe)", NULL},
    {"merge", 0, OPTION_FLAG, FIELD(merge), "true", 0, 0, NULL, NULL, "merge layer after the join (mhmoe)", NULL},
    {"moe-residual", 0, OPTION_FLAG, FIELD(moe_residual), "false", 0, 0, NULL, NULL,
     "add each sub-token to its experts' output", NULL},
    {"renormalize", 0, OPTION_FLAG, FIELD(renormalize), "false", 0, 0, NULL, NULL,
     "scale the gates of a sub-token to sum to 1", NULL},
    {"balance", 0, OPTION_CHOICE, FIELD(balance), "aux", 0, 0, balance_words, "KIND",
     "how experts are kept in use: an auxiliary loss, or nothing", NULL},
    {"balance-weight", 0, OPTION_REAL, FIELD(balance_weight), "0.01", 0, 1000, NULL, "X",
     "weight of the auxiliary loss", NULL},
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
    s->head = multi_head && c->head;
    s->merge = multi_head && c->merge;
    return true;
}

/* Block l is a MoE block if every moe_every-th, counted from 1, falls on it. */
static bool is_moe_block(const struct model *m, size_t l) {
    return m->sizes.LM > 0 && (l + 1) % (size_t)m->config.moe_every == 0;
}
static size_t moe_blocks_before(const struct model *m, size_t l) {
    return m->sizes.LM > 0 ? l / (size_t)m->config.moe_every : 0;
}

/* ---- 2. Memory --------------------------------------------------------------------------------- */

enum initialisation { NORMAL, NORMAL_RESIDUAL, XAVIER, XAVIER_HALF, ZERO, ONE };

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
    const size_t V = s->V, T = s->T, C = s->C, L = s->L, S = s->S, E = s->E, F = s->F, LM = s->LM, LD = s->LD,
                 head = s->head, merge = s->merge;
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

static void parameters_point(struct parameters *p, real *block, const size_t *offsets) {
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) parameter_fields(p)[i] = block + offsets[i];
}

/* Tensors that decay are exactly the matrices that multiply; those are packed. Returns the numbers needed. */
static size_t packed_layout(const struct parameter_info *info, bool transposed, size_t *offsets) {
    size_t count = 0;
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
        const size_t K = transposed ? info[i].rows : info[i].columns, N = transposed ? info[i].columns : info[i].rows;
        offsets[i] = count;
        if (info[i].decay && info[i].count) count += info[i].matrices * gemm_packed_count(K, N);
    }
    return count;
}

/* What one forward pass leaves for backward. LA, LMA, LDA: how many blocks' worth is kept (all of them for
 * training, one for inference, where the next block may overwrite it); G: 1 for training, else 0. */
#define ACTIVATIONS(X)                                                                              \
    X(residual,     (2 * LA + 1) * R * C) /* the stream before, within and after each block */      \
    X(ln1,          LA * R * C)  X(ln1_mean, LA * R)  X(ln1_rstd, LA * R)                           \
    X(qkv,          L * R * 3 * C)        /* in inference this is the KV cache */                   \
    X(att,          LA * R * C)  X(lse, LA * R * NH)                                                \
    X(ln2,          LA * R * C)  X(ln2_mean, LA * R)  X(ln2_rstd, LA * R)                           \
    X(fc,           LDA * R * 4 * C)  X(fc_gelu, LDA * R * 4 * C)                                   \
    X(xh,           LMA * head * N * S)   /* E1: what is split; ln2 itself without a head layer */  \
    X(probs,        LMA * N * E)          /* E3 */                                                  \
    X(gates,        LMA * N * K)          /* E4 */                                                  \
    X(dispatched,   N * K * S)            /* sub-tokens in the experts' order */                    \
    X(hidden,       LMA * N * K * F)  X(hidden_gelu, LMA * N * K * F)                               \
    X(expert_out,   LMA * N * K * S)                                                                \
    X(joined,       LMA * N * S)          /* E5 */                                                  \
    X(lnf,          R * C)  X(lnf_mean, R)  X(lnf_rstd, R)                                          \
    X(logits,       LOGIT_ROWS * V)  X(losses, R)                                                   \
    X(d_residual,   G * R * C)  X(d_norm, G * R * C)  X(d_qkv, G * R * 3 * C)  X(d_att, G * R * C)  \
    X(d_fc,         G * (LD > 0) * R * 4 * C)                                                       \
    X(d_joined,     G * merge * N * S)  X(d_expert_out, G * N * K * S)  X(d_hidden, G * N * K * F)  \
    X(d_dispatched, G * N * K * S)  X(d_xh, G * N * S)  X(d_probs, G * N * E)  X(d_gates, G * N * K)\
    X(expert_mean,  E)                                                                              \
    X(workspace,    G * workspace_count(s, R))

struct activations {
    size_t B, T, from, rows; /* of the last forward */
    bool all_blocks;         /* kept for training */
    size_t logit_rows;       /* rows of logits that exist at a time */
    real *block;
#define X(name, ...) real *name;
    ACTIVATIONS(X)
#undef X
    int32_t *pick_block;
    int32_t *picks; /* (LMA, N, K) the experts chosen */
    int32_t *slots; /* (LMA, N, K) the row of each pick in the experts' order */
    int32_t *first; /* (LMA, E + 1) the first row of each expert */
    real *attention_scratch;
    size_t attention_scratch_count;
};

/* B operands that are packed on the fly: inputs of a layer, for its d-weight product. */
static size_t workspace_count(const struct sizes *s, size_t R) {
    const size_t by_rows = gemm_packed_count(R, 4 * s->C);
    const size_t by_picks = gemm_packed_count(R * s->H * s->K, s->F > s->S ? s->F : s->S);
    return by_rows > by_picks ? by_rows : by_picks;
}

/* Few enough rows of logits to stay near the cache, enough to make products of them. */
static size_t logit_rows_for(const struct sizes *s, size_t R) {
    size_t rows = ((size_t)1 << 21) / s->V;
    if (rows < 96) rows = 96;
    return rows < R ? rows : R;
}

/* Fills the pointers of `a` (if `a` has a block) and returns how many numbers they cover. */
static size_t activations_layout(struct activations *a, const struct sizes *s, bool training, size_t R) {
    const size_t V = s->V, C = s->C, L = s->L, NH = s->NH, S = s->S, E = s->E, K = s->K, F = s->F, LD = s->LD,
                 head = s->head, merge = s->merge, N = R * s->H, G = training, LOGIT_ROWS = logit_rows_for(s, R);
    const size_t LA = training ? L : 1, LMA = training ? s->LM : s->LM > 0, LDA = training ? LD : LD > 0;
    size_t count = 0;
    /* each starts on a cache line */
#define X(name, n)                          \
    if (a->block) a->name = a->block + count; \
    count += ((n) + 15) / 16 * 16;
    ACTIVATIONS(X)
#undef X
    a->all_blocks = training;
    a->logit_rows = LOGIT_ROWS;
    return count;
}

static size_t picks_count(const struct sizes *s, bool training, size_t R) {
    return (training ? s->LM : s->LM > 0) * (2 * R * s->H * s->K + s->E + 1);
}

bool model_create(struct model *m, const struct config *config, enum model_use use, size_t batch,
                  struct error *err) {
    *m = (struct model){.config = *config};
    if (!config_check(config, &m->sizes, err)) return false;
    const struct sizes *s = &m->sizes;
    const bool training = use == MODEL_TRAIN;
    size_t offsets[PARAMETER_TENSORS];
    m->n_parameters = parameters_layout(m->info, s);
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) offsets[i] = m->info[i].offset;
    m->param_block = array_alloc(m->n_parameters, sizeof(real));
    parameters_point(&m->params, m->param_block, offsets);
    if (training) {
        m->grad_block = array_alloc(m->n_parameters, sizeof(real));
        parameters_point(&m->grads, m->grad_block, offsets);
        m->packed_block_t = array_alloc(packed_layout(m->info, true, offsets), sizeof(real));
        parameters_point(&m->packed_t, m->packed_block_t, offsets);
    }
    m->packed_block = array_alloc(packed_layout(m->info, false, offsets), sizeof(real));
    parameters_point(&m->packed, m->packed_block, offsets);

    struct activations *a = m->acts = array_alloc(1, sizeof *a);
    m->max_rows = batch * s->T;
    a->block = array_alloc(activations_layout(a, s, training, m->max_rows), sizeof(real));
    activations_layout(a, s, training, m->max_rows);
    const size_t LMA = training ? s->LM : s->LM > 0, picks = LMA * m->max_rows * s->H * s->K;
    a->picks = a->pick_block = array_alloc(picks_count(s, training, m->max_rows) + 1, sizeof(int32_t));
    a->slots = a->picks + picks;
    a->first = a->slots + picks;
    m->load = array_alloc(s->LM * s->E + 1, sizeof(double));
    m->balance_sum = array_alloc(s->LM + 1, sizeof(double));
    return true;
}

void model_destroy(struct model *m) {
    if (m->acts) {
        free(m->acts->block);
        free(m->acts->pick_block);
        free(m->acts->attention_scratch);
    }
    free(m->acts);
    free(m->param_block);
    free(m->grad_block);
    free(m->packed_block);
    free(m->packed_block_t);
    free(m->load);
    free(m->balance_sum);
    *m = (struct model){0};
}

static void pack_tensor(real *packed, const real *w, const struct parameter_info *info, bool transposed) {
    const size_t K = transposed ? info->rows : info->columns, N = transposed ? info->columns : info->rows;
    const size_t panels = gemm_panels(N), size = info->rows * info->columns;
#pragma omp parallel for schedule(static)
    for (size_t piece = 0; piece < info->matrices * panels; piece++) {
        const size_t i = piece / panels;
        const struct view B = transposed ? (struct view){w + i * size, info->columns, 1}
                                         : (struct view){w + i * size, 1, info->columns};
        gemm_pack_panel(packed + i * gemm_packed_count(K, N), B, K, N, piece % panels);
    }
}

void model_pack(struct model *m) {
    real **w = parameter_fields(&m->params), **packed = parameter_fields(&m->packed),
         **packed_t = parameter_fields(&m->packed_t);
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
        if (!m->info[i].decay || m->info[i].count == 0) continue;
        pack_tensor(packed[i], w[i], &m->info[i], false);
        if (m->packed_block_t) pack_tensor(packed_t[i], w[i], &m->info[i], true);
    }
}

/* A linear layer out (rows, OC) = in (rows, IC) W^T + b: its slices of the flat blocks. */
struct linear {
    size_t IC, OC;
    const real *packed, *packed_t, *b;
    real *dw, *db;
};

/* Matrix i of tensor w, and row i of its bias (or ID_NONE). */
static struct linear linear_slice(const struct model *m, enum parameter_id w, enum parameter_id b, size_t i) {
    const size_t OC = m->info[w].rows, IC = m->info[w].columns;
    struct linear l = {.IC = IC, .OC = OC};
    l.packed = parameter_fields(&m->packed)[w] + i * gemm_packed_count(IC, OC);
    if (b != ID_NONE) l.b = parameter_fields(&m->params)[b] + i * OC;
    if (m->grad_block) {
        l.packed_t = parameter_fields(&m->packed_t)[w] + i * gemm_packed_count(OC, IC);
        l.dw = parameter_fields(&m->grads)[w] + i * OC * IC;
        if (b != ID_NONE) l.db = parameter_fields(&m->grads)[b] + i * OC;
    }
    return l;
}
#define LINEAR(m, w, b, i) linear_slice(m, ID_##w, ID_##b, i)

/* The products of a linear layer: out = start + in W^T + b,  din = start + dout W,  dW += dout^T in.
 * start may be NULL, or what the product is added to. */
static struct gemm linear_product(const struct linear *l, real *out, const real *in, const real *start,
                                  size_t rows) {
    return (struct gemm){.M = rows, .N = l->OC, .K = l->IC, .A = {in, l->IC, 1}, .packed = l->packed,
                         .C = out, .ldc = l->OC, .bias = l->b, .start = start};
}
static struct gemm linear_din_product(const struct linear *l, real *din, const real *dout, const real *start,
                                      size_t rows) {
    return (struct gemm){.M = rows, .N = l->IC, .K = l->OC, .A = {dout, l->OC, 1}, .packed = l->packed_t,
                         .C = din, .ldc = l->IC, .start = start};
}
static struct gemm linear_dw_product(const struct linear *l, const real *dout, const real *in, size_t rows) {
    return (struct gemm){.M = l->OC, .N = l->IC, .K = rows, .A = {dout, 1, l->OC}, .B = {in, l->IC, 1},
                         .C = l->dw, .ldc = l->IC, .start = l->dw};
}

static void linear_forward(const struct linear *l, real *out, const real *in, const real *start, size_t rows) {
    const struct gemm product = linear_product(l, out, in, start, rows);
    gemm_run(&product, 1, NULL);
}

static void linear_backward(const struct linear *l, real *din, const real *dout, const real *in,
                            const real *start, size_t rows, real *workspace) {
    /* d-weight first: its pieces are the larger ones, and the smaller fill in at the end */
    const struct gemm products[] = {linear_dw_product(l, dout, in, rows),
                                    linear_din_product(l, din, dout, start, rows)};
    gemm_run(products, 2, workspace);
    if (l->db) bias_backward(l->db, dout, rows, l->OC);
}

/* ---- 3. The MH-MoE layer ------------------------------------------------------------------------ */

/* The activations of MoE layer lm, its index already applied. */
struct moe {
    real *xh, *probs, *gates, *hidden, *hidden_gelu, *expert_out, *joined;
    int32_t *picks, *slots, *first;
    size_t N;
};

static struct moe moe_slice(const struct model *m, size_t lm, const real *x) {
    const struct sizes *s = &m->sizes;
    const struct activations *a = m->acts;
    const size_t N = m->max_rows * s->H, NK = N * s->K, i = a->all_blocks ? lm : 0;
    return (struct moe){
        .xh = s->head ? a->xh + i * N * s->S : (real *)x, .probs = a->probs + i * N * s->E,
        .gates = a->gates + i * NK, .hidden = a->hidden + i * NK * s->F,
        .hidden_gelu = a->hidden_gelu + i * NK * s->F, .expert_out = a->expert_out + i * NK * s->S,
        .joined = a->joined + i * N * s->S, .picks = a->picks + i * NK, .slots = a->slots + i * NK,
        .first = a->first + i * (s->E + 1), .N = a->rows * s->H,
    };
}

/* E4: the K largest of probs (E), ties to the lower id. */
static void topk_select(int32_t *picks, const real *probs, size_t E, size_t K) {
    for (size_t k = 0; k < K; k++) {
        int32_t best = -1;
        for (size_t e = 0; e < E; e++) {
            bool taken = false;
            for (size_t j = 0; j < k; j++) taken |= picks[j] == (int32_t)e;
            if (!taken && (best < 0 || probs[e] > probs[best])) best = (int32_t)e;
        }
        picks[k] = best;
    }
}

/* E3, E4: p_n = softmax(Wr xh_n) over all experts, the K best, their gates. */
static void router_forward(const struct model *m, size_t lm, const struct moe *moe) {
    const size_t E = m->sizes.E, K = m->sizes.K;
    const struct linear router = LINEAR(m, routerw, NONE, lm);
    linear_forward(&router, moe->probs, moe->xh, NULL, moe->N);
#pragma omp parallel for
    for (size_t n = 0; n < moe->N; n++) {
        real *probs_n = moe->probs + n * E, *gates_n = moe->gates + n * K, sum = 0;
        int32_t *picks_n = moe->picks + n * K;
        row_softmax(probs_n, E);
        topk_select(picks_n, probs_n, E, K);
        for (size_t k = 0; k < K; k++) sum += gates_n[k] = probs_n[picks_n[k]];
        if (m->config.renormalize) row_scale(gates_n, 1 / sum, K);
    }
}

/* From d_gates to d_probs (through E4), to d_scores (through E3, in place), to routerw and xh.
 * E7 adds to d_probs: balance = E sum_e f_e mean_n p_ne, f_e constant. */
static void router_backward(struct model *m, size_t lm, const struct moe *moe, double balance_scale) {
    const struct activations *a = m->acts;
    const size_t E = m->sizes.E, K = m->sizes.K, N = moe->N;
    const bool aux = m->config.balance == BALANCE_AUX;
    const double weight = aux ? m->config.balance_weight * balance_scale * (double)E / (double)N : 0;
#pragma omp parallel for
    for (size_t n = 0; n < N; n++) {
        const real *probs_n = moe->probs + n * E, *gates_n = moe->gates + n * K;
        const int32_t *picks_n = moe->picks + n * K;
        real *d_gates_n = a->d_gates + n * K, *d_n = a->d_probs + n * E;
        for (size_t e = 0; e < E; e++) {
            const double f_e = (double)(moe->first[e + 1] - moe->first[e]) / (double)(N * K);
            d_n[e] = (real)(weight * f_e);
        }
        if (m->config.renormalize) { /* g_k = p_k / sum_j p_j:  dp_k = (dg_k - sum_j dg_j g_j) / sum_j p_j */
            real sum = 0, dot = 0;
            for (size_t k = 0; k < K; k++) sum += probs_n[picks_n[k]], dot += d_gates_n[k] * gates_n[k];
            for (size_t k = 0; k < K; k++) d_gates_n[k] = (d_gates_n[k] - dot) / sum;
        }
        for (size_t k = 0; k < K; k++) d_n[picks_n[k]] += d_gates_n[k];
        /* p = softmax(r):  dr = p (dp - sum p dp) */
        const real dot = row_dot(probs_n, d_n, E);
        for (size_t e = 0; e < E; e++) d_n[e] = probs_n[e] * (d_n[e] - dot);
    }
    /* r = xh Wr^T */
    const struct linear router = LINEAR(m, routerw, NONE, lm);
    linear_backward(&router, a->d_xh, a->d_probs, moe->xh, a->d_xh, N, a->workspace);
}

/* Counting sort of the picks by expert: slots (N,K) says in which row each is served, expert e owning rows
 * first[e]..first[e+1]; within an expert they keep the order of the sub-tokens. */
static void picks_sort(const struct moe *moe, size_t E, size_t K) {
    int32_t *first = moe->first;
    memset(first, 0, (E + 1) * sizeof *first);
    for (size_t i = 0; i < moe->N * K; i++) first[moe->picks[i] + 1]++;
    for (size_t e = 0; e < E; e++) first[e + 1] += first[e];
    for (size_t i = 0; i < moe->N * K; i++) moe->slots[i] = first[moe->picks[i]]++;
    memmove(first + 1, first, E * sizeof *first); /* each now points at the next expert's first row */
    first[0] = 0;
}

/* dispatched[slot of (n,k)] = xh_n */
static void dispatch_forward(const struct model *m, const struct moe *moe) {
    const size_t S = m->sizes.S, K = m->sizes.K;
#pragma omp parallel for
    for (size_t i = 0; i < moe->N * K; i++)
        memcpy(m->acts->dispatched + (size_t)moe->slots[i] * S, moe->xh + i / K * S, S * sizeof(real));
}

/* d_xh_n = start_n + sum_k d_dispatched[slot of (n,k)]; start is d_joined where E5 adds its input. */
static void dispatch_backward(const struct model *m, const struct moe *moe, const real *start) {
    const size_t S = m->sizes.S, K = m->sizes.K;
    const struct activations *a = m->acts;
#pragma omp parallel for
    for (size_t n = 0; n < moe->N; n++) {
        real *d_xh_n = a->d_xh + n * S;
        if (start) memcpy(d_xh_n, start + n * S, S * sizeof(real));
        else memset(d_xh_n, 0, S * sizeof(real));
        for (size_t k = 0; k < K; k++)
            row_add_scaled(d_xh_n, 1, a->d_dispatched + (size_t)moe->slots[n * K + k] * S, S);
    }
}

/* expert_e(x) = gelu(x W1_e^T + b1_e) W2_e^T + b2_e on the rows of each expert: two grouped products. */
static void experts_forward(const struct model *m, size_t lm, const struct moe *moe) {
    const size_t S = m->sizes.S, E = m->sizes.E, F = m->sizes.F;
    struct gemm up[E], down[E];
    for (size_t e = 0; e < E; e++) {
        const size_t i = (size_t)moe->first[e], rows = (size_t)moe->first[e + 1] - i;
        const struct linear l1 = LINEAR(m, expw1, expb1, lm * E + e), l2 = LINEAR(m, expw2, expb2, lm * E + e);
        up[e] = linear_product(&l1, moe->hidden + i * F, m->acts->dispatched + i * S, NULL, rows);
        down[e] = linear_product(&l2, moe->expert_out + i * S, moe->hidden_gelu + i * F, NULL, rows);
    }
    gemm_run(up, E, NULL);
    gelu_forward(moe->hidden_gelu, moe->hidden, (size_t)moe->first[E] * F);
    gemm_run(down, E, NULL);
}

static void experts_backward(const struct model *m, size_t lm, const struct moe *moe) {
    const size_t S = m->sizes.S, E = m->sizes.E, F = m->sizes.F;
    const struct activations *a = m->acts;
    struct gemm down[2 * E], up[2 * E];
    for (size_t e = 0; e < E; e++) {
        const size_t i = (size_t)moe->first[e], rows = (size_t)moe->first[e + 1] - i;
        const struct linear l1 = LINEAR(m, expw1, expb1, lm * E + e), l2 = LINEAR(m, expw2, expb2, lm * E + e);
        down[e] = linear_dw_product(&l2, a->d_expert_out + i * S, moe->hidden_gelu + i * F, rows);
        down[E + e] = linear_din_product(&l2, a->d_hidden + i * F, a->d_expert_out + i * S, NULL, rows);
        up[e] = linear_dw_product(&l1, a->d_hidden + i * F, a->dispatched + i * S, rows);
        up[E + e] = linear_din_product(&l1, a->d_dispatched + i * S, a->d_hidden + i * F, NULL, rows);
    }
    gemm_run(down, 2 * E, a->workspace);
    gelu_backward(a->d_hidden, a->d_hidden, moe->hidden, (size_t)moe->first[E] * F);
    gemm_run(up, 2 * E, a->workspace);
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t e = 0; e < E; e++) {
        const size_t i = (size_t)moe->first[e], rows = (size_t)moe->first[e + 1] - i;
        const struct linear l1 = LINEAR(m, expw1, expb1, lm * E + e), l2 = LINEAR(m, expw2, expb2, lm * E + e);
        bias_backward_serial(l1.db, a->d_hidden + i * F, rows, F);
        bias_backward_serial(l2.db, a->d_expert_out + i * S, rows, S);
    }
}

/* E5: o_n = sum_k g_nk expert_out[slot of (n,k)] (+ xh_n) */
static void combine_forward(const struct model *m, const struct moe *moe, real *o) {
    const size_t S = m->sizes.S, K = m->sizes.K;
#pragma omp parallel for
    for (size_t n = 0; n < moe->N; n++) {
        real *o_n = o + n * S;
        if (m->config.moe_residual) memcpy(o_n, moe->xh + n * S, S * sizeof(real));
        else memset(o_n, 0, S * sizeof(real));
        for (size_t k = 0; k < K; k++)
            row_add_scaled(o_n, moe->gates[n * K + k], moe->expert_out + (size_t)moe->slots[n * K + k] * S, S);
    }
}

/* d_expert_out[slot of (n,k)] = g_nk d_o_n,  d_g_nk = d_o_n . expert_out[slot of (n,k)] */
static void combine_backward(const struct model *m, const struct moe *moe, const real *d_o) {
    const size_t S = m->sizes.S, K = m->sizes.K;
    const struct activations *a = m->acts;
#pragma omp parallel for
    for (size_t i = 0; i < moe->N * K; i++) {
        const size_t slot = (size_t)moe->slots[i];
        const real *d_o_n = d_o + i / K * S;
        real *d_expert_out = a->d_expert_out + slot * S;
        for (size_t s = 0; s < S; s++) d_expert_out[s] = moe->gates[i] * d_o_n[s];
        a->d_gates[i] = row_dot(d_o_n, moe->expert_out + slot * S, S);
    }
}

/* E7, and the load of each expert, for the log. */
static void statistics_add(struct model *m, size_t lm, const struct moe *moe) {
    const size_t E = m->sizes.E;
    real *mean = m->acts->expert_mean;
    memset(mean, 0, E * sizeof *mean);
    bias_backward(mean, moe->probs, moe->N, E); /* sum_n p_ne */
    double balance = 0;
    for (size_t e = 0; e < E; e++) {
        const double picked = moe->first[e + 1] - moe->first[e];
        balance += picked / (double)(moe->N * m->sizes.K) * (double)mean[e] / (double)moe->N;
        m->load[lm * E + e] += picked;
    }
    m->balance_sum[lm] += (double)E * balance;
}

/* out (R,C) = residual + MH-MoE(x); x (R,C) is the normalised stream. */
static void moe_forward(struct model *m, size_t lm, real *out, const real *x, const real *residual) {
    const struct sizes *s = &m->sizes;
    const struct moe moe = moe_slice(m, lm, x);
    const size_t R = m->acts->rows;
    if (s->head) { /* E1; E2, the split, is only another way to count the same numbers */
        const struct linear head = LINEAR(m, headw, headb, lm);
        linear_forward(&head, moe.xh, x, NULL, R);
    }
    router_forward(m, lm, &moe);
    picks_sort(&moe, s->E, s->K);
    dispatch_forward(m, &moe);
    experts_forward(m, lm, &moe);
    combine_forward(m, &moe, moe.joined);
    statistics_add(m, lm, &moe);
    if (s->merge) { /* E6 */
        const struct linear merge = LINEAR(m, mergew, mergeb, lm);
        linear_forward(&merge, out, moe.joined, residual, R);
    } else
        residual_forward(out, residual, moe.joined, R * s->C);
}

/* dx (R,C) from dout (R,C), in the reverse order of moe_forward. Returns where dx lies. */
static const real *moe_backward(struct model *m, size_t lm, const real *dout, const real *x,
                                double balance_scale) {
    const struct sizes *s = &m->sizes;
    const struct activations *a = m->acts;
    const struct moe moe = moe_slice(m, lm, x);
    const size_t R = a->rows;
    const real *d_joined = dout;
    if (s->merge) {
        const struct linear merge = LINEAR(m, mergew, mergeb, lm);
        linear_backward(&merge, a->d_joined, dout, moe.joined, NULL, R, a->workspace);
        d_joined = a->d_joined;
    }
    combine_backward(m, &moe, d_joined);
    dispatch_forward(m, &moe); /* made again rather than kept */
    experts_backward(m, lm, &moe);
    dispatch_backward(m, &moe, m->config.moe_residual ? d_joined : NULL);
    router_backward(m, lm, &moe, balance_scale);
    if (!s->head) return a->d_xh;
    const struct linear head = LINEAR(m, headw, headb, lm);
    linear_backward(&head, a->d_norm, a->d_xh, x, NULL, R, a->workspace);
    return a->d_norm;
}

/* ---- 4. The GPT around it ----------------------------------------------------------------------- */

/* Block l's slice of activations that hold `count` numbers a block. */
static real *block_slice(const struct model *m, real *base, size_t l, size_t count) {
    return base + (m->acts->all_blocks ? l : 0) * count;
}
/* The residual stream at point i = 0..2L: before block 0, after its attention, after it, ... */
static real *residual_at(const struct model *m, size_t i) {
    return m->acts->residual + (m->acts->all_blocks ? i : i % 2) * m->max_rows * m->sizes.C;
}
static real *qkv_at(const struct model *m, size_t l) {
    return m->acts->qkv + l * m->max_rows * 3 * m->sizes.C;
}
static size_t dense_before(const struct model *m, size_t l) { return l - moe_blocks_before(m, l); }

static void attention_block_forward(struct model *m, size_t l) {
    const struct activations *a = m->acts;
    const size_t C = m->sizes.C, R = m->max_rows, rows = a->rows, NH = m->sizes.NH;
    const real *in = residual_at(m, 2 * l);
    real *ln1 = block_slice(m, a->ln1, l, R * C), *att = block_slice(m, a->att, l, R * C), *qkv = qkv_at(m, l);
    const struct linear project_in = LINEAR(m, qkvw, qkvb, l), project_out = LINEAR(m, attprojw, attprojb, l);
    layernorm_forward(ln1, block_slice(m, a->ln1_mean, l, R), block_slice(m, a->ln1_rstd, l, R), in,
                      m->params.ln1w + l * C, m->params.ln1b + l * C, rows, C);
    linear_forward(&project_in, qkv + a->from * 3 * C, ln1, NULL, rows);
    attention_forward(att, block_slice(m, a->lse, l, R * NH), qkv, a->B, a->T, a->from, C, NH,
                      a->attention_scratch);
    linear_forward(&project_out, residual_at(m, 2 * l + 1), att, in, rows);
}

/* d_residual (R,C) is the gradient of the stream: of what follows on entry, of what goes in on return. */
static void attention_block_backward(struct model *m, size_t l) {
    const struct activations *a = m->acts;
    const size_t C = m->sizes.C, R = m->max_rows, rows = a->rows, NH = m->sizes.NH;
    const real *ln1 = a->ln1 + l * R * C, *att = a->att + l * R * C;
    const struct linear project_in = LINEAR(m, qkvw, qkvb, l), project_out = LINEAR(m, attprojw, attprojb, l);
    linear_backward(&project_out, a->d_att, a->d_residual, att, NULL, rows, a->workspace);
    attention_backward(a->d_qkv, a->d_att, qkv_at(m, l), att, a->lse + l * R * NH, a->B, a->T, C, NH,
                       a->attention_scratch);
    linear_backward(&project_in, a->d_norm, a->d_qkv, ln1, NULL, rows, a->workspace);
    layernorm_backward(a->d_residual, m->grads.ln1w + l * C, m->grads.ln1b + l * C, a->d_norm,
                       residual_at(m, 2 * l), m->params.ln1w + l * C, a->ln1_mean + l * R, a->ln1_rstd + l * R,
                       rows, C);
}

static void ffn_block_forward(struct model *m, size_t l) {
    const struct activations *a = m->acts;
    const size_t C = m->sizes.C, R = m->max_rows, rows = a->rows;
    const real *in = residual_at(m, 2 * l + 1);
    real *out = residual_at(m, 2 * l + 2), *ln2 = block_slice(m, a->ln2, l, R * C);
    layernorm_forward(ln2, block_slice(m, a->ln2_mean, l, R), block_slice(m, a->ln2_rstd, l, R), in,
                      m->params.ln2w + l * C, m->params.ln2b + l * C, rows, C);
    if (is_moe_block(m, l)) {
        moe_forward(m, moe_blocks_before(m, l), out, ln2, in);
        return;
    }
    const size_t ld = dense_before(m, l);
    const struct linear up = LINEAR(m, fcw, fcb, ld), down = LINEAR(m, fcprojw, fcprojb, ld);
    real *fc = block_slice(m, a->fc, ld, R * 4 * C), *fc_gelu = block_slice(m, a->fc_gelu, ld, R * 4 * C);
    linear_forward(&up, fc, ln2, NULL, rows);
    gelu_forward(fc_gelu, fc, rows * 4 * C);
    linear_forward(&down, out, fc_gelu, in, rows);
}

static void ffn_block_backward(struct model *m, size_t l, double balance_scale) {
    const struct activations *a = m->acts;
    const size_t C = m->sizes.C, R = m->max_rows, rows = a->rows;
    const real *ln2 = a->ln2 + l * R * C, *d_ln2 = a->d_norm;
    if (is_moe_block(m, l)) {
        d_ln2 = moe_backward(m, moe_blocks_before(m, l), a->d_residual, ln2, balance_scale);
    } else {
        const size_t ld = dense_before(m, l);
        const struct linear up = LINEAR(m, fcw, fcb, ld), down = LINEAR(m, fcprojw, fcprojb, ld);
        const real *fc = a->fc + ld * R * 4 * C, *fc_gelu = a->fc_gelu + ld * R * 4 * C;
        linear_backward(&down, a->d_fc, a->d_residual, fc_gelu, NULL, rows, a->workspace);
        gelu_backward(a->d_fc, a->d_fc, fc, rows * 4 * C);
        linear_backward(&up, a->d_norm, a->d_fc, ln2, NULL, rows, a->workspace);
    }
    layernorm_backward(a->d_residual, m->grads.ln2w + l * C, m->grads.ln2b + l * C, d_ln2,
                       residual_at(m, 2 * l + 1), m->params.ln2w + l * C, a->ln2_mean + l * R,
                       a->ln2_rstd + l * R, rows, C);
}

/* Attention works in memory of its own for each thread. */
static void attention_scratch_ensure(struct model *m) {
    struct activations *a = m->acts;
    const size_t need = attention_scratch_count(m->sizes.T, m->sizes.C, m->sizes.NH);
    if (need <= a->attention_scratch_count) return;
    free(a->attention_scratch);
    a->attention_scratch = array_alloc(need, sizeof(real));
    a->attention_scratch_count = need;
}

void model_forward(struct model *m, const int32_t *tokens, size_t B, size_t T, size_t from) {
    struct activations *a = m->acts;
    const size_t C = m->sizes.C, L = m->sizes.L;
    a->B = B, a->T = T, a->from = from, a->rows = B * (T - from);
    attention_scratch_ensure(m);
    embedding_forward(residual_at(m, 0), tokens, m->params.wte, m->params.wpe, B, T - from, from, C);
    for (size_t l = 0; l < L; l++) {
        attention_block_forward(m, l);
        ffn_block_forward(m, l);
    }
    layernorm_forward(a->lnf, a->lnf_mean, a->lnf_rstd, residual_at(m, 2 * L), m->params.lnfw, m->params.lnfb,
                      a->rows, C);
    m->forwards++;
}

real *model_logits(struct model *m, size_t row) {
    const struct linear head = LINEAR(m, wte, NONE, 0);
    linear_forward(&head, m->acts->logits, m->acts->lnf + row * m->sizes.C, NULL, 1);
    return m->acts->logits;
}

double model_loss(struct model *m, const int32_t *targets, double scale, size_t *count) {
    const struct activations *a = m->acts;
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

void model_backward(struct model *m, const int32_t *tokens, double balance_scale) {
    const struct activations *a = m->acts;
    const size_t C = m->sizes.C, L = m->sizes.L;
    memset(a->d_residual, 0, a->rows * C * sizeof(real));
    layernorm_backward(a->d_residual, m->grads.lnfw, m->grads.lnfb, a->d_norm, residual_at(m, 2 * L),
                       m->params.lnfw, a->lnf_mean, a->lnf_rstd, a->rows, C);
    for (size_t l = L; l-- > 0;) {
        ffn_block_backward(m, l, balance_scale);
        attention_block_backward(m, l);
    }
    embedding_backward(m->grads.wte, m->grads.wpe, a->d_residual, tokens, a->B, a->T, C);
}

void model_generate(struct model *m, const int32_t *prompt, size_t n, size_t count, struct sampler *sampler,
                    bool (*emit)(void *context, int32_t token), void *context) {
    const size_t T = m->sizes.T;
    int32_t *window = array_alloc(T, sizeof *window);
    size_t kept = n < T ? n : T, done = 0; /* tokens in the window; positions computed */
    memcpy(window, prompt + n - kept, kept * sizeof *window);
    for (size_t i = 0; i < count; i++) {
        model_forward(m, window + done, 1, kept, done);
        const int32_t token = sampler_pick(sampler, model_logits(m, kept - done - 1), m->sizes.V);
        done = kept;
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
    m->forwards = 0;
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
                case NORMAL:
                case NORMAL_RESIDUAL: w[j] = (real)(deviation * rng_normal(&rng)); break;
                case XAVIER:
                case XAVIER_HALF: w[j] = (real)(range * (2 * rng_uniform(&rng) - 1)); break;
            }
    }
    model_pack(m);
}

struct model_cost model_cost(const struct config *config, const struct sizes *s, enum model_use use,
                             size_t batch) {
    (void)config;
    const bool training = use == MODEL_TRAIN;
    const size_t R = batch * s->T;
    struct parameter_info info[PARAMETER_TENSORS];
    size_t offsets[PARAMETER_TENSORS];
    struct activations none = {0};
    struct model_cost cost = {.parameters = parameters_layout(info, s)};
    /* A token's H sub-tokens reach at most H*K different experts of a layer. */
    const size_t reached = s->H * s->K < s->E ? s->H * s->K : s->E;
    double multiply_adds = (double)(s->L * s->C * (s->T + 1)); /* scores and values of (T+1)/2 keys */
    for (size_t i = 0; i < PARAMETER_TENSORS; i++) {
        const bool expert = i == ID_expw1 || i == ID_expb1 || i == ID_expw2 || i == ID_expb2;
        const size_t used = !expert ? info[i].count : s->E ? info[i].count / s->E * reached : 0;
        cost.active_parameters += i == ID_wpe ? s->C : used;
        if (!info[i].decay) continue;
        const double times = expert ? (double)(s->H * s->K) / (double)(s->E ? s->E : 1)
                             : i == ID_routerw ? (double)s->H : 1;
        multiply_adds += times * (double)info[i].count;
    }
    cost.forward_flops = 2 * multiply_adds;
    cost.training_flops = 3 * cost.forward_flops;
    cost.parameter_bytes = sizeof(real) * (cost.parameters * (training ? 4 : 1) + packed_layout(info, false, offsets) +
                                           (training ? packed_layout(info, true, offsets) : 0));
    cost.activation_bytes = sizeof(real) * (activations_layout(&none, s, training, R) +
                                            attention_scratch_count(s->T, s->C, s->NH)) +
                            sizeof(int32_t) * picks_count(s, training, R);
    return cost;
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

char *config_to_string(const struct config *config) {
    const struct option_group group = {model_options, (void *)config};
    json_t *object = options_to_json(&group);
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return text;
}

bool model_load(struct model *m, const struct checkpoint *c, enum model_use use, size_t batch, struct error *err) {
    struct config config = {0};
    const struct option_group group = {model_options, &config};
    struct tensor tensors[PARAMETER_TENSORS];
    const char *text = checkpoint_string(c, "config", err);
    if (!text) return false;
    json_t *object = json_loads(text, 0, NULL);
    options_set_defaults(&group, 1);
    const bool understood = options_from_json(&group, object, err);
    json_decref(object);
    if (!understood || !model_create(m, &config, use, batch, err)) {
        char *why = string_format("%s", err->text);
        error_set(err, EXIT_INPUT, "%s: config: %s", c->path, why);
        free(why);
        return false;
    }
    const size_t n = model_tensors(m, m->param_block, "", tensors);
    for (size_t i = 0; i < n; i++)
        if (!checkpoint_read(c, &tensors[i], err)) {
            model_destroy(m);
            return false;
        }
    model_pack(m);
    return true;
}
