/* What ./sample --export writes: every tensor's name, shape and place, and what else the files say, against what
 * transformers and llama.cpp want, written out here once more. That these really read it is for tests/readers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../foreign/export.h"
#include "../foreign/modeling.h"
#include "../src/math/bf16.h"
#include "command.h"
#include "gguf_reader.h"
#include "small_model.h"

enum { V = 300, C = 12, L = 3, NH = 2, T = 9, FD = 4 * C, FG = 8 * C / 3, E = 5, F = 7, HALF = C / NH / 2 };

static tokenizer *pieces;

static const char *text_next(void *context, size_t *size) {
    static const char text[] = "the model of the experts, the layers of the model\n\n"
                               "  and \xce\xb1\xce\xb2 then 12 more --- the end\n";
    int *calls = context;
    *size = sizeof text - 1;
    return (*calls)++ ? NULL : text;
}

static int begin(void **state) {
    struct error err;
    int calls = 0;
    (void)state;
    pieces = tokenizer_train(text_next, &calls, V, false, NULL, &err);
    return pieces && workplace_enter() ? 0 : -1;
}

static int end(void **state) {
    tokenizer_free(pieces);
    return workplace_remove(state);
}

static const struct config plain = {.vocab = V, .seq = T, .layers = L, .channels = C, .attn_heads = NH,
                                    .balance = BALANCE_AUX, .balance_weight = 0.01, .bias_step = 1e-3,
                                    .router_dim = 3, .moe_heads = 3, .experts = E, .topk = 2, .moe_every = 1,
                                    .head_depth = 1, .merge_depth = 1, .patch = 8, .codes = 512};

static struct config gpt2_config(void) {
    struct config c = plain;
    c.bias = c.tie = true;
    return c;
}

static struct config llama_config(void) {
    struct config c = config_llama(plain);
    c.block = BLOCK_LLAMA;
    return c;
}

static struct config mixtral_config(void) {
    struct config c = llama_config();
    c.ffn = FFN_SMOE;
    c.expert_hidden = F;
    c.renormalize = true;
    return c;
}

/* With everything that there is; block 1 alone has experts. */
static struct config own_config(void) {
    struct config c = config_other(config_modern(plain));
    c.ffn = FFN_MHMOE;
    c.expert_hidden = F;
    c.moe_every = 2;
    c.tie = false;
    c.bias = true;
    return c;
}

/* ---- Tensors that were read ---- */

static const void *found(struct file *f, const char *name, int dims, const size_t *shape, enum dtype dtype) {
    for (size_t i = 0; i < f->n; i++) {
        const struct tensor *t = &f->tensors[i];
        if (strcmp(t->name, name) != 0) continue;
        if (t->dims != dims || t->dtype != dtype || memcmp(t->shape, shape, (size_t)dims * sizeof *shape) != 0)
            fail_msg("%s has %d dimensions (%zu, %zu), dtype %d", name, t->dims, t->shape[0], t->shape[1], t->dtype);
        f->checked++;
        return t->data;
    }
    fail_msg("%s is missing", name);
    return NULL;
}

static float number(const void *data, enum dtype dtype, size_t i) {
    return dtype == DTYPE_BF16 ? bf16_float(((const uint16_t *)data)[i]) : ((const float *)data)[i];
}

static float stored(float x, enum dtype dtype) { return dtype == DTYPE_BF16 ? bf16_float(bf16_bits(x)) : x; }

static enum dtype matrices = DTYPE_F32, vectors = DTYPE_F32; /* of what is being checked */

__attribute__((format(printf, 4, 5))) static void vector(struct file *f, const real *want, size_t n, const char *format,
                                                         ...) {
    char name[100];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    const void *got = found(f, name, 1, &n, vectors);
    for (size_t i = 0; i < n; i++)
        if (number(got, vectors, i) != stored(want[i], vectors)) fail_msg("%s: number %zu", name, i);
}

/* Its rows are those of ours, from `want` on; or its columns; or rows of pairs of ours, half a head apart. */
enum { ROWS, COLUMNS, PAIRS };
__attribute__((format(printf, 6, 7))) static void matrix(struct file *f, const real *want, size_t rows, size_t columns,
                                                         int how, const char *format, ...) {
    char name[100];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    const size_t shape[] = {how == COLUMNS ? columns : rows, how == COLUMNS ? rows : columns};
    const void *got = found(f, name, 2, shape, matrices);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) {
            size_t from = r;
            if (how == PAIRS) from = r / (2 * HALF) * 2 * HALF + r % 2 * HALF + r % (2 * HALF) / 2;
            const float x = number(got, matrices, how == COLUMNS ? c * rows + r : r * columns + c);
            if (x != stored(want[from * columns + c], matrices)) fail_msg("%s: row %zu, column %zu", name, r, c);
        }
}

static struct file hf_read(struct checkpoint *c, const char *dir) {
    struct error err;
    char *path = string_format("%s/model.safetensors", dir);
    if (!safetensors_open(c, path, &err)) fail_msg("%s", err.text);
    assert_string_equal(json_string_value(json_object_get(c->metadata, "format")), "pt");
    free(path);
    return (struct file){c->tensors, c->n, 0};
}

static void exported(const struct model *m, enum export_format format, const char *out) {
    struct error err;
    if (!model_export(m, pieces, format, out, &err)) fail_msg("%s", err.text);
}

static void json_file_is(const char *path, const char *want) {
    json_error_t bad;
    json_t *got = json_load_file(path, 0, &bad), *object = json_loads(want, 0, &bad);
    if (!got || !object) fail_msg("%s: %s", path, bad.text);
    char *text = json_dumps(got, JSON_COMPACT);
    if (!json_equal(got, object)) fail_msg("%s is %s", path, text);
    free(text);
    json_decref(got);
    json_decref(object);
}

/* ---- transformers ---- */

static void gpt2_tensors(struct file *f, const struct parameters *p) {
    vectors = matrices;
    matrix(f, p->wte, V, C, ROWS, "transformer.wte.weight");
    matrix(f, p->wpe, T, C, ROWS, "transformer.wpe.weight");
    for (size_t l = 0; l < L; l++) {
        vector(f, p->ln1w + l * C, C, "transformer.h.%zu.ln_1.weight", l);
        vector(f, p->ln1b + l * C, C, "transformer.h.%zu.ln_1.bias", l);
        matrix(f, p->qkvw + l * 3 * C * C, 3 * C, C, COLUMNS, "transformer.h.%zu.attn.c_attn.weight", l);
        vector(f, p->qkvb + l * 3 * C, 3 * C, "transformer.h.%zu.attn.c_attn.bias", l);
        matrix(f, p->attprojw + l * C * C, C, C, COLUMNS, "transformer.h.%zu.attn.c_proj.weight", l);
        vector(f, p->attprojb + l * C, C, "transformer.h.%zu.attn.c_proj.bias", l);
        vector(f, p->ln2w + l * C, C, "transformer.h.%zu.ln_2.weight", l);
        vector(f, p->ln2b + l * C, C, "transformer.h.%zu.ln_2.bias", l);
        matrix(f, p->fcw + l * FD * C, FD, C, COLUMNS, "transformer.h.%zu.mlp.c_fc.weight", l);
        vector(f, p->fcb + l * FD, FD, "transformer.h.%zu.mlp.c_fc.bias", l);
        matrix(f, p->fcprojw + l * C * FD, C, FD, COLUMNS, "transformer.h.%zu.mlp.c_proj.weight", l);
        vector(f, p->fcprojb + l * C, C, "transformer.h.%zu.mlp.c_proj.bias", l);
    }
    vector(f, p->lnfw, C, "transformer.ln_f.weight");
    vector(f, p->lnfb, C, "transformer.ln_f.bias");
}

#define GPT2_JSON(more, dtype)                                                                                    \
    "{\"architectures\": [\"GPT2LMHeadModel\"], \"model_type\": \"gpt2\", \"n_positions\": 9, \"n_embd\": 12, "    \
    "\"n_layer\": 3, \"n_head\": 2, \"n_inner\": 48, \"activation_function\": \"gelu_new\", "                       \
    "\"layer_norm_epsilon\": 1e-5, \"resid_pdrop\": 0.0, \"embd_pdrop\": 0.0, \"attn_pdrop\": 0.0, "                \
    "\"vocab_size\": 300, \"bos_token_id\": 1, \"eos_token_id\": 1, \"torch_dtype\": \"" dtype "\", "                \
    "\"use_cache\": true, \"tie_word_embeddings\": " more "}"

static void gpt2_as_transformers_has_it(void **state) {
    (void)state;
    for (int tied = 0; tied <= 1; tied++) {
        struct config config = gpt2_config();
        struct checkpoint c;
        config.tie = tied;
        struct model m = model_random(&config, MODEL_INFER, 1, 3);
        exported(&m, EXPORT_HF, "gpt2/made");
        struct file f = hf_read(&c, "gpt2/made");
        gpt2_tensors(&f, &m.params);
        if (!tied) matrix(&f, m.params.lmhead, V, C, ROWS, "lm_head.weight");
        assert_int_equal(f.checked, f.n);
        json_file_is("gpt2/made/config.json", tied ? GPT2_JSON("true", "float32") : GPT2_JSON("false", "float32"));
        assert_int_equal(access("gpt2/made/modeling_mhmoe.py", F_OK), -1);
        checkpoint_close(&c);
        model_destroy(&m);
    }
}

static void in_bf16_all_is_rounded(void **state) {
    (void)state;
    const struct config config = gpt2_config();
    struct model m = model_random_stored(&config, MODEL_INFER, 1, 3, STORAGE_BF16);
    struct checkpoint c;
    exported(&m, EXPORT_HF, "half");
    struct file f = hf_read(&c, "half");
    matrices = DTYPE_BF16;
    gpt2_tensors(&f, &m.params);
    matrices = vectors = DTYPE_F32;
    assert_int_equal(f.checked, f.n);
    json_file_is("half/config.json", GPT2_JSON("true", "bfloat16"));
    checkpoint_close(&c);
    model_destroy(&m);
}

static void llama_attention(struct file *f, const struct parameters *p, size_t l) {
    static const char letters[] = "qkv";
    vector(f, p->ln1w + l * C, C, "model.layers.%zu.input_layernorm.weight", l);
    for (size_t i = 0; i < 3; i++) {
        matrix(f, p->qkvw + (3 * l + i) * C * C, C, C, ROWS, "model.layers.%zu.self_attn.%c_proj.weight", l,
               letters[i]);
        if (p->qkvb)
            vector(f, p->qkvb + (3 * l + i) * C, C, "model.layers.%zu.self_attn.%c_proj.bias", l, letters[i]);
    }
    matrix(f, p->attprojw + l * C * C, C, C, ROWS, "model.layers.%zu.self_attn.o_proj.weight", l);
    if (p->attprojb) vector(f, p->attprojb + l * C, C, "model.layers.%zu.self_attn.o_proj.bias", l);
    vector(f, p->ln2w + l * C, C, "model.layers.%zu.post_attention_layernorm.weight", l);
}

#define LLAMA_JSON(name, type, hidden, tied, more)                                                                \
    "{\"architectures\": [\"" name "\"], \"model_type\": \"" type "\", \"hidden_size\": 12, "                        \
    "\"num_hidden_layers\": 3, \"num_attention_heads\": 2, \"max_position_embeddings\": 9, \"intermediate_size\": " \
    hidden ", \"num_key_value_heads\": 2, \"head_dim\": 6, \"hidden_act\": \"silu\", \"rms_norm_eps\": 1e-5, "        \
    "\"rope_theta\": 10000.0, \"attention_dropout\": 0.0, \"vocab_size\": 300, \"bos_token_id\": 1, "               \
    "\"eos_token_id\": 1, \"torch_dtype\": \"float32\", \"use_cache\": true, \"tie_word_embeddings\": " tied more "}"

static void llama_as_transformers_has_it(void **state) {
    (void)state;
    for (int bias = 0; bias <= 1; bias++) {
        struct config config = llama_config();
        struct checkpoint c;
        config.bias = config.tie = bias;
        struct model m = model_random(&config, MODEL_INFER, 1, 4);
        const struct parameters *p = &m.params;
        exported(&m, EXPORT_HF, "llama");
        struct file f = hf_read(&c, "llama");
        for (size_t l = 0; l < L; l++) {
            llama_attention(&f, p, l);
            matrix(&f, p->fcw + 2 * l * FG * C, FG, C, ROWS, "model.layers.%zu.mlp.gate_proj.weight", l);
            matrix(&f, p->fcw + (2 * l + 1) * FG * C, FG, C, ROWS, "model.layers.%zu.mlp.up_proj.weight", l);
            matrix(&f, p->fcprojw + l * C * FG, C, FG, ROWS, "model.layers.%zu.mlp.down_proj.weight", l);
            if (!bias) continue;
            vector(&f, p->fcb + 2 * l * FG, FG, "model.layers.%zu.mlp.gate_proj.bias", l);
            vector(&f, p->fcb + (2 * l + 1) * FG, FG, "model.layers.%zu.mlp.up_proj.bias", l);
            vector(&f, p->fcprojb + l * C, C, "model.layers.%zu.mlp.down_proj.bias", l);
        }
        matrix(&f, p->wte, V, C, ROWS, "model.embed_tokens.weight");
        vector(&f, p->lnfw, C, "model.norm.weight");
        if (!bias) matrix(&f, p->lmhead, V, C, ROWS, "lm_head.weight");
        assert_int_equal(f.checked, f.n);
        json_file_is("llama/config.json",
                     bias ? LLAMA_JSON("LlamaForCausalLM", "llama", "32", "true",
                                       ", \"attention_bias\": true, \"mlp_bias\": true")
                          : LLAMA_JSON("LlamaForCausalLM", "llama", "32", "false",
                                       ", \"attention_bias\": false, \"mlp_bias\": false"));
        checkpoint_close(&c);
        model_destroy(&m);
    }
}

static void mixtral_as_transformers_has_it(void **state) {
    (void)state;
    const struct config config = mixtral_config();
    struct model m = model_random(&config, MODEL_INFER, 1, 5);
    const struct parameters *p = &m.params;
    struct checkpoint c;
    exported(&m, EXPORT_HF, "mixtral");
    struct file f = hf_read(&c, "mixtral");
    for (size_t l = 0; l < L; l++) {
        llama_attention(&f, p, l);
        matrix(&f, p->routerw + l * E * C, E, C, ROWS, "model.layers.%zu.block_sparse_moe.gate.weight", l);
        for (size_t e = 0; e < E; e++) {
            const real *w1 = p->expw1 + (l * E + e) * 2 * F * C, *w2 = p->expw2 + (l * E + e) * C * F;
            matrix(&f, w1, F, C, ROWS, "model.layers.%zu.block_sparse_moe.experts.%zu.w1.weight", l, e);
            matrix(&f, w2, C, F, ROWS, "model.layers.%zu.block_sparse_moe.experts.%zu.w2.weight", l, e);
            matrix(&f, w1 + F * C, F, C, ROWS, "model.layers.%zu.block_sparse_moe.experts.%zu.w3.weight", l, e);
        }
    }
    matrix(&f, p->wte, V, C, ROWS, "model.embed_tokens.weight");
    vector(&f, p->lnfw, C, "model.norm.weight");
    matrix(&f, p->lmhead, V, C, ROWS, "lm_head.weight");
    assert_int_equal(f.checked, f.n);
    json_file_is("mixtral/config.json", LLAMA_JSON("MixtralForCausalLM", "mixtral", "7", "false",
                                                   ", \"num_local_experts\": 5, \"num_experts_per_tok\": 2, "
                                                   "\"router_jitter_noise\": 0.0, \"sliding_window\": null"));
    checkpoint_close(&c);
    model_destroy(&m);
}

/* Blocks 0 and 2 are dense, block 1 is not: numbers in names are those of blocks. */
static void own_mixture(struct file *f, const struct model *m) {
    const struct parameters *p = &m->params;
    enum { S = C / 3, D = 3, FS = 5 };
    const char *at = "model.layers.1.ffn";
    for (size_t i = 0; i < 3; i++) {
        if (i < 2) matrix(f, p->headw + i * C * C, C, C, ROWS, "%s.head.%zu.weight", at, i);
        if (i < 2) vector(f, p->headb + i * C, C, "%s.head.%zu.bias", at, i);
        matrix(f, p->mergew + i * C * C, C, C, ROWS, "%s.merge.%zu.weight", at, i);
        vector(f, p->mergeb + i * C, C, "%s.merge.%zu.bias", at, i);
    }
    matrix(f, p->routerp, D, S, ROWS, "%s.router.project.weight", at);
    matrix(f, p->routerw, E, D, ROWS, "%s.router.weight", at);
    vector(f, m->router_bias, E, "%s.router.bias", at);
    const float *temperature = found(f, "model.layers.1.ffn.router.log_temperature", 0, &(size_t){0}, DTYPE_F32);
    assert_true(*temperature == p->routert[0]);
    for (size_t e = 0; e < E; e++) {
        matrix(f, p->expw1 + e * F * S, F, S, ROWS, "%s.experts.%zu.up.weight", at, e);
        vector(f, p->expb1 + e * F, F, "%s.experts.%zu.up.bias", at, e);
        matrix(f, p->expw2 + e * S * F, S, F, ROWS, "%s.experts.%zu.down.weight", at, e);
        vector(f, p->expb2 + e * S, S, "%s.experts.%zu.down.bias", at, e);
    }
    matrix(f, p->sharedw1, FS, S, ROWS, "%s.shared.up.weight", at);
    vector(f, p->sharedb1, FS, "%s.shared.up.bias", at);
    matrix(f, p->sharedw2, S, FS, ROWS, "%s.shared.down.weight", at);
    vector(f, p->sharedb2, S, "%s.shared.down.bias", at);
}

static void what_only_we_have_comes_with_its_file(void **state) {
    (void)state;
    struct config config = own_config();
    config.z_weight = 0.123456789; /* all of whose digits arrive */
    struct model m = model_random(&config, MODEL_INFER, 1, 6);
    const struct parameters *p = &m.params;
    struct checkpoint c;
    exported(&m, EXPORT_HF, "own");
    struct file f = hf_read(&c, "own");
    own_mixture(&f, &m);
    for (size_t l = 0; l < L; l++) {
        vector(&f, p->ln1w + l * C, C, "model.layers.%zu.norm1.weight", l);
        matrix(&f, p->qkvw + l * 3 * C * C, 3 * C, C, ROWS, "model.layers.%zu.attention.qkv.weight", l);
        vector(&f, p->qkvb + l * 3 * C, 3 * C, "model.layers.%zu.attention.qkv.bias", l);
        matrix(&f, p->attprojw + l * C * C, C, C, ROWS, "model.layers.%zu.attention.project.weight", l);
        vector(&f, p->attprojb + l * C, C, "model.layers.%zu.attention.project.bias", l);
        vector(&f, p->ln2w + l * C, C, "model.layers.%zu.norm2.weight", l);
        if (l == 1) continue;
        matrix(&f, p->fcw + l / 2 * FD * C, FD, C, ROWS, "model.layers.%zu.ffn.up.weight", l);
        vector(&f, p->fcb + l / 2 * FD, FD, "model.layers.%zu.ffn.up.bias", l);
        matrix(&f, p->fcprojw + l / 2 * C * FD, C, FD, ROWS, "model.layers.%zu.ffn.down.weight", l);
        vector(&f, p->fcprojb + l / 2 * C, C, "model.layers.%zu.ffn.down.bias", l);
    }
    matrix(&f, p->wte, V, C, ROWS, "model.embed.weight");
    vector(&f, p->lnfw, C, "model.norm.weight");
    matrix(&f, p->lmhead, V, C, ROWS, "model.output.weight");
    assert_int_equal(f.checked, f.n);
    json_file_is("own/config.json",
                 "{\"architectures\": [\"MhmoeForCausalLM\"], \"model_type\": \"mhmoe\", \"auto_map\": {"
                 "\"AutoConfig\": \"modeling_mhmoe.MhmoeConfig\", "
                 "\"AutoModelForCausalLM\": \"modeling_mhmoe.MhmoeForCausalLM\"}, "
                 "\"hidden_size\": 12, \"num_hidden_layers\": 3, \"num_attention_heads\": 2, "
                 "\"max_position_embeddings\": 9, \"dense_hidden\": 48, \"vocab_size\": 300, \"bos_token_id\": 1, "
                 "\"eos_token_id\": 1, \"torch_dtype\": \"float32\", \"use_cache\": false, "
                 "\"tie_word_embeddings\": false, \"block\": \"gpt2\", \"norm\": \"rmsnorm\", "
                 "\"position\": \"rotary\", \"activation\": \"relu2\", \"bias\": true, \"tie\": false, "
                 "\"qk_norm\": true, \"ffn\": \"mhmoe\", "
                 "\"moe_heads\": 3, \"experts\": 5, \"topk\": 2, \"expert_hidden\": 7, \"moe_every\": 2, "
                 "\"shared_hidden\": 5, \"head_depth\": 2, \"merge_depth\": 3, \"moe_residual\": false, "
                 "\"router\": \"cosine\", \"router_dim\": 3, \"renormalize\": true, \"balance\": \"bias\", "
                 "\"balance_weight\": 0.01, \"bias_step\": 0.001, \"z_weight\": 0.123456789}");
    text_read("own/modeling_mhmoe.py", output, sizeof output);
    assert_string_equal(output, modeling_mhmoe);
    assert_non_null(strstr(output, "class MhmoeForCausalLM("));
    checkpoint_close(&c);
    model_destroy(&m);
}

/* Learned positions, norms with biases, and the tied head, of which there is nothing. */
static void our_gpt2_with_experts(void **state) {
    (void)state;
    struct config config = gpt2_config();
    config.ffn = FFN_SMOE;
    config.expert_hidden = F;
    struct model m = model_random(&config, MODEL_INFER, 1, 7);
    struct checkpoint c;
    exported(&m, EXPORT_HF, "learned");
    struct file f = hf_read(&c, "learned");
    matrix(&f, m.params.wpe, T, C, ROWS, "model.positions.weight");
    for (size_t l = 0; l < L; l++) {
        vector(&f, m.params.ln1b + l * C, C, "model.layers.%zu.norm1.bias", l);
        vector(&f, m.params.ln2b + l * C, C, "model.layers.%zu.norm2.bias", l);
    }
    vector(&f, m.params.lnfb, C, "model.norm.bias");
    for (size_t i = 0; i < f.n; i++) assert_null(strstr(f.tensors[i].name, "output"));
    checkpoint_close(&c);
    model_destroy(&m);
}

/* A width that the options leave to the model (0) is said as it is. */
static void widths_that_follow_are_said(void **state) {
    (void)state;
    struct config config = own_config();
    config.expert_hidden = 0;
    struct model m = model_random(&config, MODEL_INFER, 1, 7);
    exported(&m, EXPORT_HF, "wide");
    json_t *said = json_load_file("wide/config.json", 0, NULL);
    assert_true(m.sizes.F > 0 && m.sizes.F != F);
    assert_int_equal(json_integer_value(json_object_get(said, "expert_hidden")), m.sizes.F);
    json_decref(said);
    model_destroy(&m);
}

/* ---- llama.cpp ---- */

/* All notes but the vocabulary's arrays, which are checked and taken away. */
static void notes_are(struct reader *r, const char *want) {
    json_t *tokens = json_object_get(r->notes, "tokenizer.ggml.tokens"), *token;
    json_t *scores = json_object_get(r->notes, "tokenizer.ggml.scores");
    json_t *kinds = json_object_get(r->notes, "tokenizer.ggml.token_type");
    size_t id;
    assert_int_equal(json_array_size(tokens), V);
    assert_int_equal(json_array_size(scores), V);
    assert_int_equal(json_array_size(kinds), V);
    json_array_foreach(tokens, id, token) {
        const struct piece p = tokenizer_entry(pieces, (int32_t)id);
        size_t size;
        const char *bytes = tokenizer_piece(pieces, (int32_t)id, &size);
        const int kind = id == 0 ? 2 : id == 1 ? 3 : id < 258 ? 6 : 1;
        assert_string_equal(json_string_value(token), p.text);
        assert_int_equal(json_integer_value(json_array_get(kinds, id)), kind);
        assert_true(json_real_value(json_array_get(scores, id)) == (double)p.score);
        if (kind == 1 && *bytes != ' ' && !memchr(bytes, ' ', size)) assert_memory_equal(p.text, bytes, size);
    }
    json_object_del(r->notes, "tokenizer.ggml.tokens");
    json_object_del(r->notes, "tokenizer.ggml.scores");
    json_object_del(r->notes, "tokenizer.ggml.token_type");
    json_t *object = json_loads(want, 0, NULL);
    char *text = json_dumps(r->notes, JSON_COMPACT);
    assert_non_null(object);
    if (!json_equal(r->notes, object)) fail_msg("%s", text);
    free(text);
    json_decref(object);
    gguf_free(r);
}

#define GGUF_JSON(type, name, hidden, more)                                                                  \
    "{\"general.architecture\": \"" name "\", \"general.name\": \"a model of mhmoe's ./train\", "           \
    "\"general.file_type\": " type ", \"" name ".context_length\": 9, \"" name ".embedding_length\": 12, "  \
    "\"" name ".block_count\": 3, \"" name ".feed_forward_length\": " hidden ", "                           \
    "\"" name ".attention.head_count\": 2, \"" name ".vocab_size\": 300, "                                  \
    "\"tokenizer.ggml.model\": \"llama\", \"tokenizer.ggml.pre\": \"default\", "                            \
    "\"tokenizer.ggml.unknown_token_id\": 0, \"tokenizer.ggml.bos_token_id\": 1, "                          \
    "\"tokenizer.ggml.eos_token_id\": 1, \"tokenizer.ggml.add_bos_token\": false, "                         \
    "\"tokenizer.ggml.add_eos_token\": false, \"tokenizer.ggml.add_space_prefix\": false" more "}"

#define GPT2_NOTES ", \"gpt2.attention.layer_norm_epsilon\": 9.9999997473787516e-06"

static void gpt2_as_llama_cpp_has_it(void **state) {
    (void)state;
    for (int half = 0; half <= 1; half++) {
        struct config config = gpt2_config();
        struct reader r;
        config.tie = half;
        config.balance = half ? BALANCE_BIAS : BALANCE_AUX; /* the same without experts */
        struct model m = model_random_stored(&config, MODEL_INFER, 1, 3, half ? STORAGE_BF16 : STORAGE_F32);
        const struct parameters *p = &m.params;
        struct file *f = &r.file;
        exported(&m, EXPORT_GGUF, "gpt2.gguf");
        gguf_read(&r, "gpt2.gguf");
        matrices = half ? DTYPE_BF16 : DTYPE_F32;
        vectors = DTYPE_F32; /* llama.cpp has no others */
        for (size_t l = 0; l < L; l++) {
            vector(f, p->ln1w + l * C, C, "blk.%zu.attn_norm.weight", l);
            vector(f, p->ln1b + l * C, C, "blk.%zu.attn_norm.bias", l);
            matrix(f, p->qkvw + l * 3 * C * C, 3 * C, C, ROWS, "blk.%zu.attn_qkv.weight", l);
            vector(f, p->qkvb + l * 3 * C, 3 * C, "blk.%zu.attn_qkv.bias", l);
            matrix(f, p->attprojw + l * C * C, C, C, ROWS, "blk.%zu.attn_output.weight", l);
            vector(f, p->attprojb + l * C, C, "blk.%zu.attn_output.bias", l);
            vector(f, p->ln2w + l * C, C, "blk.%zu.ffn_norm.weight", l);
            vector(f, p->ln2b + l * C, C, "blk.%zu.ffn_norm.bias", l);
            matrix(f, p->fcw + l * FD * C, FD, C, ROWS, "blk.%zu.ffn_up.weight", l);
            vector(f, p->fcb + l * FD, FD, "blk.%zu.ffn_up.bias", l);
            matrix(f, p->fcprojw + l * C * FD, C, FD, ROWS, "blk.%zu.ffn_down.weight", l);
            vector(f, p->fcprojb + l * C, C, "blk.%zu.ffn_down.bias", l);
        }
        matrix(f, p->wte, V, C, ROWS, "token_embd.weight");
        matrix(f, p->wpe, T, C, ROWS, "position_embd.weight");
        vector(f, p->lnfw, C, "output_norm.weight");
        vector(f, p->lnfb, C, "output_norm.bias");
        if (!config.tie) matrix(f, p->lmhead, V, C, ROWS, "output.weight");
        matrices = DTYPE_F32;
        assert_int_equal(f->checked, f->n);
        notes_are(&r, half ? GGUF_JSON("32", "gpt2", "48", GPT2_NOTES) : GGUF_JSON("0", "gpt2", "48", GPT2_NOTES));
        model_destroy(&m);
    }
}

#define LLAMA_NOTES                                                                                              \
    ", \"llama.attention.head_count_kv\": 2, \"llama.attention.layer_norm_rms_epsilon\": 9.9999997473787516e-06, " \
    "\"llama.rope.dimension_count\": 6, \"llama.rope.freq_base\": 10000.0"

/* Queries and keys lie in pairs, values do not. */
static void ggml_attention(struct file *f, const struct parameters *p, size_t l) {
    static const char letters[] = "qkv";
    vector(f, p->ln1w + l * C, C, "blk.%zu.attn_norm.weight", l);
    for (size_t i = 0; i < 3; i++)
        matrix(f, p->qkvw + (3 * l + i) * C * C, C, C, i < 2 ? PAIRS : ROWS, "blk.%zu.attn_%c.weight", l, letters[i]);
    matrix(f, p->attprojw + l * C * C, C, C, ROWS, "blk.%zu.attn_output.weight", l);
    vector(f, p->ln2w + l * C, C, "blk.%zu.ffn_norm.weight", l);
}

static void ggml_ends(struct file *f, const struct parameters *p) {
    matrix(f, p->wte, V, C, ROWS, "token_embd.weight");
    vector(f, p->lnfw, C, "output_norm.weight");
    if (p->lmhead) matrix(f, p->lmhead, V, C, ROWS, "output.weight");
    assert_int_equal(f->checked, f->n);
}

static void llama_as_llama_cpp_has_it(void **state) {
    (void)state;
    for (int bias = 0; bias <= 1; bias++) {
        struct config config = llama_config();
        struct reader r;
        config.bias = config.tie = bias;
        struct model m = model_random(&config, MODEL_INFER, 1, 4);
        const struct parameters *p = &m.params;
        struct file *f = &r.file;
        exported(&m, EXPORT_GGUF, "llama.gguf");
        gguf_read(&r, "llama.gguf");
        for (size_t l = 0; l < L; l++) {
            ggml_attention(f, p, l);
            matrix(f, p->fcw + 2 * l * FG * C, FG, C, ROWS, "blk.%zu.ffn_gate.weight", l);
            matrix(f, p->fcw + (2 * l + 1) * FG * C, FG, C, ROWS, "blk.%zu.ffn_up.weight", l);
            matrix(f, p->fcprojw + l * C * FG, C, FG, ROWS, "blk.%zu.ffn_down.weight", l);
            if (!bias) continue;
            real turned[2 * C];
            for (size_t i = 0; i < 2 * C; i++)
                turned[i] = p->qkvb[3 * l * C + i / 6 * 6 + i % 2 * HALF + i % 6 / 2];
            vector(f, turned, C, "blk.%zu.attn_q.bias", l);
            vector(f, turned + C, C, "blk.%zu.attn_k.bias", l);
            vector(f, p->qkvb + (3 * l + 2) * C, C, "blk.%zu.attn_v.bias", l);
            vector(f, p->attprojb + l * C, C, "blk.%zu.attn_output.bias", l);
            vector(f, p->fcb + 2 * l * FG, FG, "blk.%zu.ffn_gate.bias", l);
            vector(f, p->fcb + (2 * l + 1) * FG, FG, "blk.%zu.ffn_up.bias", l);
            vector(f, p->fcprojb + l * C, C, "blk.%zu.ffn_down.bias", l);
        }
        ggml_ends(f, p);
        notes_are(&r, GGUF_JSON("0", "llama", "32", LLAMA_NOTES));
        model_destroy(&m);
    }
}

/* One half, from number `from` of each expert's rows on, of experts that lie one behind the other. */
static void experts(struct file *f, const real *want, size_t rows, size_t columns, size_t stride, const char *format,
                    size_t l) {
    char name[100];
    const size_t shape[] = {E, rows, columns};
    snprintf(name, sizeof name, format, l);
    const float *got = found(f, name, 3, shape, DTYPE_F32);
    for (size_t e = 0; e < E; e++) assert_memory_equal(got + e * rows * columns, want + e * stride, rows * columns * 4);
}

static void mixtral_as_llama_cpp_has_it(void **state) {
    (void)state;
    const struct config config = mixtral_config();
    struct model m = model_random(&config, MODEL_INFER, 1, 5);
    const struct parameters *p = &m.params;
    struct reader r;
    exported(&m, EXPORT_GGUF, "mixtral.gguf");
    gguf_read(&r, "mixtral.gguf");
    for (size_t l = 0; l < L; l++) {
        const real *w1 = p->expw1 + l * E * 2 * F * C;
        ggml_attention(&r.file, p, l);
        matrix(&r.file, p->routerw + l * E * C, E, C, ROWS, "blk.%zu.ffn_gate_inp.weight", l);
        experts(&r.file, w1, F, C, 2 * F * C, "blk.%zu.ffn_gate_exps.weight", l);
        experts(&r.file, w1 + F * C, F, C, 2 * F * C, "blk.%zu.ffn_up_exps.weight", l);
        experts(&r.file, p->expw2 + l * E * C * F, C, F, C * F, "blk.%zu.ffn_down_exps.weight", l);
    }
    ggml_ends(&r.file, p);
    notes_are(&r, GGUF_JSON("0", "llama", "7",
                            LLAMA_NOTES ", \"llama.expert_count\": 5, \"llama.expert_used_count\": 2"));
    model_destroy(&m);
}

/* ---- What is refused, or goes under our own name ---- */

/* One option at a time that makes a model which its namesakes do not compute. */
static void only_the_same_function_has_the_name(void **state) {
    (void)state;
    struct {
        struct config config;
        const char *says;
    } cases[] = {
        {gpt2_config(), "--norm rmsnorm"}, {gpt2_config(), "--activation relu2"}, {gpt2_config(), "--no-bias"},
        {gpt2_config(), "--qk-norm"}, {llama_config(), "--norm layernorm"}, {llama_config(), "--activation gelu"},
        {llama_config(), "--qk-norm"}, {mixtral_config(), "--bias"}, {mixtral_config(), "--moe-every 3"},
        {mixtral_config(), "--no-renormalize"}, {mixtral_config(), "--router cosine"},
        {mixtral_config(), "--shared-hidden 5"}, {mixtral_config(), "--moe-residual"},
        {mixtral_config(), "--balance bias"}, {mixtral_config(), "--ffn mhmoe"},
        {mixtral_config(), "--position learned"}, {mixtral_config(), "--qk-norm"},
        {mixtral_config(), "--norm layernorm"}, {mixtral_config(), "--activation gelu"},
        {gpt2_config(), "--activation swiglu"}, {llama_config(), "--activation relu2"},
        {llama_config(), "--norm layernorm, --qk-norm"},
    };
    cases[0].config.norm = NORM_RMS;
    cases[1].config.activation = cases[20].config.activation = ACTIVATION_RELU2;
    cases[2].config.bias = false;
    cases[3].config.qk_norm = cases[6].config.qk_norm = cases[16].config.qk_norm = cases[21].config.qk_norm = true;
    cases[4].config.norm = cases[17].config.norm = cases[21].config.norm = NORM_LAYER;
    cases[5].config.activation = cases[18].config.activation = ACTIVATION_GELU;
    cases[7].config.bias = true;
    cases[8].config.moe_every = 3;
    cases[9].config.renormalize = false;
    cases[10].config.router = ROUTER_COSINE;
    cases[11].config.shared_hidden = 5;
    cases[12].config.moe_residual = true;
    cases[13].config.balance = BALANCE_BIAS;
    cases[14].config.ffn = FFN_MHMOE;
    cases[15].config.position = POSITION_LEARNED;
    cases[19].config.activation = ACTIVATION_SWIGLU;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        const struct config *config = &cases[i].config;
        struct model m = model_random(config, MODEL_INFER, 1, 8);
        assert_false(model_export(&m, pieces, EXPORT_GGUF, "refused.gguf", &err));
        assert_int_equal(err.code, EXIT_MISMATCH);
        const char *name = config->ffn ? "Mixtral" : config->position == POSITION_LEARNED ? "GPT-2" : "Llama";
        char *says = string_format("it would be its %s, but for %s; use --export hf", name, cases[i].says);
        if (!strstr(err.text, says)) fail_msg("'%s' is missing in %s", says, err.text);
        free(says);
        assert_int_equal(access("refused.gguf", F_OK), -1);
        exported(&m, EXPORT_HF, "renamed");
        text_read("renamed/config.json", output, sizeof output);
        assert_non_null(strstr(output, "MhmoeForCausalLM"));
        model_destroy(&m);
    }
}

static void int8_is_refused(void **state) {
    (void)state;
    const struct config config = gpt2_config();
    struct error err = {0};
    struct model m = model_random_stored(&config, MODEL_INFER, 1, 3, STORAGE_INT8);
    for (enum export_format format = EXPORT_HF; format <= EXPORT_GGUF; format++, err.code = 0) {
        assert_false(model_export(&m, pieces, format, "refused", &err));
        assert_int_equal(err.code, EXIT_USAGE);
        assert_non_null(strstr(err.text, "use f32 or bf16"));
    }
    model_destroy(&m);
}

/* A place where there can be nothing; and each file of an export, with a directory in its place. */
static void what_cannot_be_written_is_told(void **state) {
    (void)state;
    static const struct {
        enum export_format format;
        const char *out, *says;
    } cases[] = {{EXPORT_GGUF, "nowhere/x.gguf", "nowhere/x.gguf.tmp: cannot create this file: No such file"},
                 {EXPORT_GGUF, "taken", "taken: cannot write: Is a directory"},
                 {EXPORT_HF, "file/dir", "file: is a file (want a directory)"}};
    static const char *const files[] = {"model.safetensors", "tokenizer.model", "tokenizer.json",
                                        "tokenizer_config.json", "modeling_mhmoe.py", "config.json"};
    const struct config config = own_config(), dense = gpt2_config();
    struct model own = model_random(&config, MODEL_INFER, 1, 3), m = model_random(&dense, MODEL_INFER, 1, 3);
    struct error err;
    text_save("file", "x", 1);
    run("mkdir taken");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err.code = 0;
        assert_false(model_export(&m, pieces, cases[i].format, cases[i].out, &err));
        assert_int_equal(err.code, EXIT_OUTPUT);
        if (strncmp(err.text, cases[i].says, strlen(cases[i].says)) != 0) fail_msg("%s", err.text);
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *says = string_format("whole/%s: cannot write", files[i]);
        run("rm -rf whole && mkdir -p whole/%s", files[i]);
        err.code = 0;
        assert_false(model_export(&own, pieces, EXPORT_HF, "whole", &err));
        assert_int_equal(err.code, EXIT_OUTPUT);
        if (strncmp(err.text, says, strlen(says)) != 0) fail_msg("%s", err.text);
        free(says);
    }
    model_destroy(&own);
    model_destroy(&m);
}

static void options_that_do_not_go_together(void **state) {
    (void)state;
    refuse(EXIT_USAGE, "--export: the directory", "behind --out", "sample --export hf");
    refuse(EXIT_USAGE, "--export and --score both given", "choose one", "sample --export hf --out x --score y");
    refuse(EXIT_USAGE, "--prompt is of no use with --export", "leave it out", "sample --export hf --out x --prompt y");
    refuse(EXIT_USAGE, "--export: bad value", "hf or gguf", "sample --export onnx --out x");
    refuse(EXIT_USAGE, "--out is of no use without --complete or --export", "name a picture or a format",
           "sample --out x");
    refuse(EXIT_USAGE, "--tokens is of no use with --export, which writes no text", "leave it out",
           "sample --export gguf --out x --tokens 3");
    run("sample --help");
    assert_non_null(strstr(output, "the PNG file to write; with --export the file, or the directory"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt2_as_transformers_has_it),
        cmocka_unit_test(in_bf16_all_is_rounded),
        cmocka_unit_test(llama_as_transformers_has_it),
        cmocka_unit_test(mixtral_as_transformers_has_it),
        cmocka_unit_test(what_only_we_have_comes_with_its_file),
        cmocka_unit_test(our_gpt2_with_experts),
        cmocka_unit_test(widths_that_follow_are_said),
        cmocka_unit_test(gpt2_as_llama_cpp_has_it),
        cmocka_unit_test(llama_as_llama_cpp_has_it),
        cmocka_unit_test(mixtral_as_llama_cpp_has_it),
        cmocka_unit_test(only_the_same_function_has_the_name),
        cmocka_unit_test(int8_is_refused),
        cmocka_unit_test(what_cannot_be_written_is_told),
        cmocka_unit_test(options_that_do_not_go_together),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
