/* See renaming.h. */
#include "renaming.h"

#include <stdlib.h>
#include <string.h>

/* ---- The tables ---- */

static const struct renaming gpt2_hf[] = {
    {"wte", "transformer.wte.weight", ONCE, AS_IS, 0, 0},
    {"wpe", "transformer.wpe.weight", ONCE, AS_IS, 0, 0},
    {"ln1w", "transformer.h.%zu.ln_1.weight", BLOCK, AS_IS, 0, 0},
    {"ln1b", "transformer.h.%zu.ln_1.bias", BLOCK, AS_IS, 0, 0},
    {"qkvw", "transformer.h.%zu.attn.c_attn.weight", BLOCK, TRANSPOSED, 0, 0},
    {"qkvb", "transformer.h.%zu.attn.c_attn.bias", BLOCK, AS_IS, 0, 0},
    {"attprojw", "transformer.h.%zu.attn.c_proj.weight", BLOCK, TRANSPOSED, 0, 0},
    {"attprojb", "transformer.h.%zu.attn.c_proj.bias", BLOCK, AS_IS, 0, 0},
    {"ln2w", "transformer.h.%zu.ln_2.weight", BLOCK, AS_IS, 0, 0},
    {"ln2b", "transformer.h.%zu.ln_2.bias", BLOCK, AS_IS, 0, 0},
    {"fcw", "transformer.h.%zu.mlp.c_fc.weight", DENSE_BLOCK, TRANSPOSED, 0, 0},
    {"fcb", "transformer.h.%zu.mlp.c_fc.bias", DENSE_BLOCK, AS_IS, 0, 0},
    {"fcprojw", "transformer.h.%zu.mlp.c_proj.weight", DENSE_BLOCK, TRANSPOSED, 0, 0},
    {"fcprojb", "transformer.h.%zu.mlp.c_proj.bias", DENSE_BLOCK, AS_IS, 0, 0},
    {"lnfw", "transformer.ln_f.weight", ONCE, AS_IS, 0, 0},
    {"lnfb", "transformer.ln_f.bias", ONCE, AS_IS, 0, 0},
    {"lmhead", "lm_head.weight", ONCE, AS_IS, 0, 0},
    {0},
};

static const struct renaming gpt2_ggml[] = {
    {"wte", "token_embd.weight", ONCE, AS_IS, 0, 0},
    {"wpe", "position_embd.weight", ONCE, AS_IS, 0, 0},
    {"ln1w", "blk.%zu.attn_norm.weight", BLOCK, AS_IS, 0, 0},
    {"ln1b", "blk.%zu.attn_norm.bias", BLOCK, AS_IS, 0, 0},
    {"qkvw", "blk.%zu.attn_qkv.weight", BLOCK, AS_IS, 0, 0},
    {"qkvb", "blk.%zu.attn_qkv.bias", BLOCK, AS_IS, 0, 0},
    {"attprojw", "blk.%zu.attn_output.weight", BLOCK, AS_IS, 0, 0},
    {"attprojb", "blk.%zu.attn_output.bias", BLOCK, AS_IS, 0, 0},
    {"ln2w", "blk.%zu.ffn_norm.weight", BLOCK, AS_IS, 0, 0},
    {"ln2b", "blk.%zu.ffn_norm.bias", BLOCK, AS_IS, 0, 0},
    {"fcw", "blk.%zu.ffn_up.weight", DENSE_BLOCK, AS_IS, 0, 0},
    {"fcb", "blk.%zu.ffn_up.bias", DENSE_BLOCK, AS_IS, 0, 0},
    {"fcprojw", "blk.%zu.ffn_down.weight", DENSE_BLOCK, AS_IS, 0, 0},
    {"fcprojb", "blk.%zu.ffn_down.bias", DENSE_BLOCK, AS_IS, 0, 0},
    {"lnfw", "output_norm.weight", ONCE, AS_IS, 0, 0},
    {"lnfb", "output_norm.bias", ONCE, AS_IS, 0, 0},
    {"lmhead", "output.weight", ONCE, AS_IS, 0, 0},
    {0},
};

/* What Llama and Mixtral have in common. Of swiglu's rows the first half are the gate's. */
#define LLAMA_HF                                                                                \
    {"wte", "model.embed_tokens.weight", ONCE, AS_IS, 0, 0},                                    \
    {"ln1w", "model.layers.%zu.input_layernorm.weight", BLOCK, AS_IS, 0, 0},                    \
    {"qkvw", "model.layers.%zu.self_attn.q_proj.weight", BLOCK, AS_IS, 0, 3},                   \
    {"qkvw", "model.layers.%zu.self_attn.k_proj.weight", BLOCK, AS_IS, 1, 3},                   \
    {"qkvw", "model.layers.%zu.self_attn.v_proj.weight", BLOCK, AS_IS, 2, 3},                   \
    {"attprojw", "model.layers.%zu.self_attn.o_proj.weight", BLOCK, AS_IS, 0, 0},               \
    {"ln2w", "model.layers.%zu.post_attention_layernorm.weight", BLOCK, AS_IS, 0, 0},           \
    {"lnfw", "model.norm.weight", ONCE, AS_IS, 0, 0},                                           \
    {"lmhead", "lm_head.weight", ONCE, AS_IS, 0, 0}

static const struct renaming llama_hf[] = {
    LLAMA_HF,
    {"qkvb", "model.layers.%zu.self_attn.q_proj.bias", BLOCK, AS_IS, 0, 3},
    {"qkvb", "model.layers.%zu.self_attn.k_proj.bias", BLOCK, AS_IS, 1, 3},
    {"qkvb", "model.layers.%zu.self_attn.v_proj.bias", BLOCK, AS_IS, 2, 3},
    {"attprojb", "model.layers.%zu.self_attn.o_proj.bias", BLOCK, AS_IS, 0, 0},
    {"fcw", "model.layers.%zu.mlp.gate_proj.weight", DENSE_BLOCK, AS_IS, 0, 2},
    {"fcw", "model.layers.%zu.mlp.up_proj.weight", DENSE_BLOCK, AS_IS, 1, 2},
    {"fcprojw", "model.layers.%zu.mlp.down_proj.weight", DENSE_BLOCK, AS_IS, 0, 0},
    {"fcb", "model.layers.%zu.mlp.gate_proj.bias", DENSE_BLOCK, AS_IS, 0, 2},
    {"fcb", "model.layers.%zu.mlp.up_proj.bias", DENSE_BLOCK, AS_IS, 1, 2},
    {"fcprojb", "model.layers.%zu.mlp.down_proj.bias", DENSE_BLOCK, AS_IS, 0, 0},
    {0},
};

static const struct renaming mixtral_hf[] = {
    LLAMA_HF,
    {"routerw", "model.layers.%zu.block_sparse_moe.gate.weight", MOE_BLOCK, AS_IS, 0, 0},
    {"expw1", "model.layers.%zu.block_sparse_moe.experts.%zu.w1.weight", EXPERT, AS_IS, 0, 2},
    {"expw1", "model.layers.%zu.block_sparse_moe.experts.%zu.w3.weight", EXPERT, AS_IS, 1, 2},
    {"expw2", "model.layers.%zu.block_sparse_moe.experts.%zu.w2.weight", EXPERT, AS_IS, 0, 0},
    {0},
};

#define LLAMA_GGML                                                                              \
    {"wte", "token_embd.weight", ONCE, AS_IS, 0, 0},                                            \
    {"ln1w", "blk.%zu.attn_norm.weight", BLOCK, AS_IS, 0, 0},                                   \
    {"qkvw", "blk.%zu.attn_q.weight", BLOCK, PAIRED, 0, 3},                                     \
    {"qkvw", "blk.%zu.attn_k.weight", BLOCK, PAIRED, 1, 3},                                     \
    {"qkvw", "blk.%zu.attn_v.weight", BLOCK, AS_IS, 2, 3},                                      \
    {"attprojw", "blk.%zu.attn_output.weight", BLOCK, AS_IS, 0, 0},                             \
    {"ln2w", "blk.%zu.ffn_norm.weight", BLOCK, AS_IS, 0, 0},                                    \
    {"lnfw", "output_norm.weight", ONCE, AS_IS, 0, 0},                                          \
    {"lmhead", "output.weight", ONCE, AS_IS, 0, 0}

static const struct renaming llama_ggml[] = {
    LLAMA_GGML,
    {"qkvb", "blk.%zu.attn_q.bias", BLOCK, PAIRED, 0, 3},
    {"qkvb", "blk.%zu.attn_k.bias", BLOCK, PAIRED, 1, 3},
    {"qkvb", "blk.%zu.attn_v.bias", BLOCK, AS_IS, 2, 3},
    {"attprojb", "blk.%zu.attn_output.bias", BLOCK, AS_IS, 0, 0},
    {"fcw", "blk.%zu.ffn_gate.weight", DENSE_BLOCK, AS_IS, 0, 2},
    {"fcw", "blk.%zu.ffn_up.weight", DENSE_BLOCK, AS_IS, 1, 2},
    {"fcprojw", "blk.%zu.ffn_down.weight", DENSE_BLOCK, AS_IS, 0, 0},
    {"fcb", "blk.%zu.ffn_gate.bias", DENSE_BLOCK, AS_IS, 0, 2},
    {"fcb", "blk.%zu.ffn_up.bias", DENSE_BLOCK, AS_IS, 1, 2},
    {"fcprojb", "blk.%zu.ffn_down.bias", DENSE_BLOCK, AS_IS, 0, 0},
    {0},
};

static const struct renaming mixtral_ggml[] = {
    LLAMA_GGML,
    {"routerw", "blk.%zu.ffn_gate_inp.weight", MOE_BLOCK, AS_IS, 0, 0},
    {"expw1", "blk.%zu.ffn_gate_exps.weight", MOE_BLOCK, AS_IS, 0, 2},
    {"expw1", "blk.%zu.ffn_up_exps.weight", MOE_BLOCK, AS_IS, 1, 2},
    {"expw2", "blk.%zu.ffn_down_exps.weight", MOE_BLOCK, AS_IS, 0, 0},
    {0},
};

const struct renaming own_renaming[] = {
    {"wte", "model.embed.weight", ONCE, AS_IS, 0, 0},
    {"wpe", "model.positions.weight", ONCE, AS_IS, 0, 0},
    {"ln1w", "model.layers.%zu.norm1.weight", BLOCK, AS_IS, 0, 0},
    {"ln1b", "model.layers.%zu.norm1.bias", BLOCK, AS_IS, 0, 0},
    {"qkvw", "model.layers.%zu.attention.qkv.weight", BLOCK, AS_IS, 0, 0},
    {"qkvb", "model.layers.%zu.attention.qkv.bias", BLOCK, AS_IS, 0, 0},
    {"attprojw", "model.layers.%zu.attention.project.weight", BLOCK, AS_IS, 0, 0},
    {"attprojb", "model.layers.%zu.attention.project.bias", BLOCK, AS_IS, 0, 0},
    {"ln2w", "model.layers.%zu.norm2.weight", BLOCK, AS_IS, 0, 0},
    {"ln2b", "model.layers.%zu.norm2.bias", BLOCK, AS_IS, 0, 0},
    {"fcw", "model.layers.%zu.ffn.up.weight", DENSE_BLOCK, AS_IS, 0, 0},
    {"fcb", "model.layers.%zu.ffn.up.bias", DENSE_BLOCK, AS_IS, 0, 0},
    {"fcprojw", "model.layers.%zu.ffn.down.weight", DENSE_BLOCK, AS_IS, 0, 0},
    {"fcprojb", "model.layers.%zu.ffn.down.bias", DENSE_BLOCK, AS_IS, 0, 0},
    {"headw", "model.layers.%zu.ffn.head.%zu.weight", HEAD_LAYER, AS_IS, 0, 0},
    {"headb", "model.layers.%zu.ffn.head.%zu.bias", HEAD_LAYER, AS_IS, 0, 0},
    {"routerp", "model.layers.%zu.ffn.router.project.weight", MOE_BLOCK, AS_IS, 0, 0},
    {"routert", "model.layers.%zu.ffn.router.log_temperature", MOE_BLOCK, AS_IS, 0, 0},
    {"routerw", "model.layers.%zu.ffn.router.weight", MOE_BLOCK, AS_IS, 0, 0},
    {"router.bias", "model.layers.%zu.ffn.router.bias", MOE_BLOCK, AS_IS, 0, 0},
    {"expw1", "model.layers.%zu.ffn.experts.%zu.up.weight", EXPERT, AS_IS, 0, 0},
    {"expb1", "model.layers.%zu.ffn.experts.%zu.up.bias", EXPERT, AS_IS, 0, 0},
    {"expw2", "model.layers.%zu.ffn.experts.%zu.down.weight", EXPERT, AS_IS, 0, 0},
    {"expb2", "model.layers.%zu.ffn.experts.%zu.down.bias", EXPERT, AS_IS, 0, 0},
    {"sharedw1", "model.layers.%zu.ffn.shared.up.weight", MOE_BLOCK, AS_IS, 0, 0},
    {"sharedb1", "model.layers.%zu.ffn.shared.up.bias", MOE_BLOCK, AS_IS, 0, 0},
    {"sharedw2", "model.layers.%zu.ffn.shared.down.weight", MOE_BLOCK, AS_IS, 0, 0},
    {"sharedb2", "model.layers.%zu.ffn.shared.down.bias", MOE_BLOCK, AS_IS, 0, 0},
    {"mergew", "model.layers.%zu.ffn.merge.%zu.weight", MERGE_LAYER, AS_IS, 0, 0},
    {"mergeb", "model.layers.%zu.ffn.merge.%zu.bias", MERGE_LAYER, AS_IS, 0, 0},
    {"lnfw", "model.norm.weight", ONCE, AS_IS, 0, 0},
    {"lnfb", "model.norm.bias", ONCE, AS_IS, 0, 0},
    {"lmhead", "model.output.weight", ONCE, AS_IS, 0, 0},
    {0},
};

const struct foreign foreigns[FOREIGNS] = {
    [FOREIGN_GPT2] = {"GPT-2", "GPT2LMHeadModel", "gpt2", gpt2_hf, gpt2_ggml},
    [FOREIGN_LLAMA] = {"Llama", "LlamaForCausalLM", "llama", llama_hf, llama_ggml},
    [FOREIGN_MIXTRAL] = {"Mixtral", "MixtralForCausalLM", "llama", mixtral_hf, mixtral_ggml},
};

/* ---- Which of them a model is ---- */

/* What computes something else where it has another value: all that does, not what only training reads. */
static const struct {
    const char *option, *values[FOREIGNS];
} conditions[] = {
    {"norm", {"layernorm", "rmsnorm", "rmsnorm"}},
    {"position", {"learned", "rotary", "rotary"}},
    {"activation", {"gelu", "swiglu", "swiglu"}},
    {"bias", {"true", NULL, "false"}},
    {"qk-norm", {"false", "false", "false"}},
    {"ffn", {"dense", "dense", "smoe"}},
    {"moe-every", {NULL, NULL, "1"}},
    {"router", {NULL, NULL, "softmax"}},
    {"renormalize", {NULL, NULL, "true"}},
    {"shared-hidden", {NULL, NULL, "0"}},
    {"moe-residual", {NULL, NULL, "false"}},
};

const struct foreign *foreign_of(const struct config *c, char **differs) {
    const int kind = c->ffn != FFN_DENSE ? FOREIGN_MIXTRAL : c->position == POSITION_LEARNED ? FOREIGN_GPT2
                                                                                               : FOREIGN_LLAMA;
    const struct option_group group = {model_options, (void *)c};
    *differs = NULL;
    for (size_t i = 0; i < sizeof conditions / sizeof *conditions; i++) {
        const char *want = conditions[i].values[kind];
        char *got = option_text(&group, conditions[i].option);
        if (want && strcmp(got, want) != 0) {
            char *words = option_words(&group, conditions[i].option);
            if (!*differs) *differs = string_format("%s", words);
            else string_append(differs, ", %s", words);
            free(words);
        }
        free(got);
    }
    if (kind == FOREIGN_MIXTRAL && c->balance == BALANCE_BIAS) { /* it chooses by other numbers than it weighs with */
        if (!*differs) *differs = string_format("--balance bias");
        else string_append(differs, ", --balance bias");
    }
    return &foreigns[kind];
}

/* ---- Places ---- */

size_t renaming_count(const struct renaming *row, const struct sizes *s) {
    const size_t counts[] = {[ONCE] = 1, [BLOCK] = s->L, [DENSE_BLOCK] = s->LD, [MOE_BLOCK] = s->LM,
                             [EXPERT] = s->LM * s->E, [HEAD_LAYER] = s->LM * s->head,
                             [MERGE_LAYER] = s->LM * s->merge};
    return counts[row->each];
}

/* The block that has the i-th tensor of its kind, n tensors a block. */
static size_t block_number(const struct renaming *row, const struct config *c, const struct sizes *s, size_t i) {
    if (row->each <= BLOCK) return i;
    size_t l = 0;
    for (size_t seen = 0;; l++)
        if (block_is_moe(c, s, l) == (row->each != DENSE_BLOCK) && seen++ == i) return l;
}

struct place renaming_place(const struct renaming *row, const struct config *c, const struct sizes *s,
                            const struct tensor *ours, size_t i) {
    const size_t inner[] = {[ONCE] = 1, [BLOCK] = 1, [DENSE_BLOCK] = 1, [MOE_BLOCK] = 1, [EXPERT] = s->E,
                            [HEAD_LAYER] = s->head, [MERGE_LAYER] = s->merge}; /* tensors a block */
    const int lead = row->each == ONCE ? 0 : row->each == EXPERT ? 2 : 1; /* dimensions that count them */
    const size_t n = inner[row->each], parts = row->parts ? (size_t)row->parts : 1;
    const bool vector = ours->dims - lead < 2;
    struct place p = {.row = row, .dims = ours->dims - lead, .columns = 1, .rows = 1};
    snprintf(p.name, sizeof p.name, row->theirs, block_number(row, c, s, i / n), i % n);
    memcpy(p.shape, ours->shape + lead, (size_t)p.dims * sizeof *p.shape);
    if (p.dims > 0 && !vector) p.columns = p.shape[p.dims - 1];
    if (p.dims > 0) {
        size_t *rows = &p.shape[p.dims - (vector ? 1 : 2)];
        p.stride = *rows;
        p.rows = *rows /= parts;
    }
    p.count = 1;
    for (int d = 0; d < p.dims; d++) p.count *= p.shape[d];
    p.offset = i * p.count * parts;
    p.head = s->C / s->NH;
    if (row->lie == TRANSPOSED) {
        p.shape[0] = p.columns;
        p.shape[1] = p.rows;
    }
    return p;
}

size_t place_at(const struct place *p, size_t i) {
    const size_t matrix = i / (p->rows * p->columns), within = i % (p->rows * p->columns), half = p->head / 2;
    size_t row = within / p->columns, column = within % p->columns;
    if (p->row->lie == TRANSPOSED) row = within % p->rows, column = within / p->rows;
    if (p->row->lie == PAIRED) row = row / p->head * p->head + row % 2 * half + row % p->head / 2;
    return p->offset + (matrix * p->stride + (size_t)p->row->part * p->rows + row) * p->columns + column;
}
