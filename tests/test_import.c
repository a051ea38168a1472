/* Weights of other programs: a GPT-2 as transformers keeps it, in every dtype and under every name, becomes the model
 * that it was; what is no such thing is refused by name; ./train and ./sample go on with it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../foreign/export.h"
#include "../foreign/import.h"
#include "../src/math/bf16.h"
#include "byte_pieces.h"
#include "prose.h"
#include "runs.h"
#include "small_model.h"

static const struct byte_merge merges[] = {{'t', 'h'}, {256, 'e'}, {' ', 257}, {'i', 'n'}, {' ', 'a'}, {'o', 'n'}};
enum { MERGES = sizeof merges / sizeof *merges, V = 256 + MERGES + 1, C = 12, L = 2, T = 17 };

static struct config gpt2_config(bool tied) {
    return (struct config){.bias = true, .tie = tied, .vocab = V, .seq = T, .layers = L, .channels = C, .attn_heads = 2,
                           .balance = BALANCE_AUX, .balance_weight = 0.01, .bias_step = 1e-3, .router_dim = 3,
                           .moe_heads = 3, .experts = 5, .topk = 2, .moe_every = 1, .head_depth = 1, .merge_depth = 1,
                           .patch = 8, .codes = 512};
}

/* A model and its files in gpt2/, as --export hf leaves them. */
static struct model gpt2_make(bool tied) {
    struct error err;
    const struct config config = gpt2_config(tied);
    struct model m = model_random(&config, MODEL_INFER, 1, 3);
    tokenizer *t = byte_tokenizer(merges, MERGES);
    run("rm -rf gpt2");
    if (!model_export(&m, t, EXPORT_HF, "gpt2", &err)) fail_msg("%s", err.text);
    tokenizer_free(t);
    return m;
}

static int begin(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    prose_save("corpus.txt", 300, 1);
    return 0;
}

static struct checkpoint theirs_open(void) {
    struct checkpoint c;
    struct error err;
    if (!safetensors_open(&c, "gpt2/model.safetensors", &err)) fail_msg("%s", err.text);
    return c;
}

/* Writes these tensors in the place of gpt2's. */
static void theirs_write(struct checkpoint *c) {
    struct error err;
    json_t *metadata = json_pack("{s:s}", "format", "pt");
    if (!checkpoint_write("written", c->tensors, c->n, metadata, &err)) fail_msg("%s", err.text);
    json_decref(metadata);
    run("mv written gpt2/model.safetensors");
}

static struct model imported(void) {
    struct checkpoint c;
    struct error err;
    struct model m;
    if (!source_open(&c, "gpt2/model.safetensors", &err)) fail_msg("%s", err.text);
    if (!model_load(&m, &c, (struct model_setup){MODEL_INFER, 1, false, STORAGE_F32}, &err)) fail_msg("%s", err.text);
    tokenizer *t = tokenizer_from_checkpoint(&c, &err);
    if (!t) fail_msg("%s", err.text);
    assert_int_equal(tokenizer_vocab(t), V);
    assert_int_equal(tokenizer_end_of_text(t), V - 1);
    tokenizer_free(t);
    checkpoint_close(&c);
    return m;
}

static void same_model(struct model *want, struct model *got) {
    assert_int_equal(want->n_parameters, got->n_parameters);
    assert_memory_equal(want->param_memory, got->param_memory, want->n_parameters * sizeof(real));
    const struct example e = example_random(1, T, V, 5);
    model_forward(want, &e.batch);
    model_forward(got, &e.batch);
    for (size_t t = 0; t < T; t++) {
        real logits[V];
        memcpy(logits, model_logits(want, t), sizeof logits);
        assert_memory_equal(logits, model_logits(got, t), sizeof logits);
    }
    example_free((struct example *)&e);
}

/* ---- The same model ---- */

static void logits_are_the_same(void **state) {
    (void)state;
    for (int tied = 0; tied <= 1; tied++) {
        struct model m = gpt2_make(tied), n = imported();
        same_model(&m, &n);
        model_destroy(&m);
        model_destroy(&n);
    }
}

/* The first files have no "transformer.", but masks, and the head once more. */
static void names_of_the_first_files(void **state) {
    (void)state;
    struct model m = gpt2_make(true);
    struct checkpoint c = theirs_open();
    static float mask[T * T];
    struct tensor *old = c.tensors, more[100];
    for (size_t i = 0; i < c.n; i++) {
        more[i] = old[i];
        assert_int_equal(strncmp(old[i].name, "transformer.", 12), 0);
        memmove(more[i].name, old[i].name + 12, sizeof more[i].name - 12);
    }
    more[c.n++] = (struct tensor){.name = "h.0.attn.bias", .dtype = DTYPE_F32, .dims = 2, .shape = {T, T},
                                  .data = mask};
    more[c.n++] = (struct tensor){.name = "h.1.attn.masked_bias", .dtype = DTYPE_F32, .dims = 1, .shape = {1},
                                  .data = mask};
    more[c.n++] = (struct tensor){.name = "lm_head.weight", .dtype = DTYPE_F32, .dims = 2, .shape = {V, C},
                                  .data = m.params.wte};
    c.tensors = more;
    theirs_write(&c);
    c.tensors = old;
    checkpoint_close(&c);
    struct model n = imported();
    same_model(&m, &n);
    model_destroy(&m);
    model_destroy(&n);
}

/* Numbers of each kind, and of all exponents, by their bits. */
static const struct {
    enum dtype dtype;
    uint64_t bits;
    float value;
} written[] = {
    {DTYPE_F16, 0x3C00, 1},           {DTYPE_F16, 0xC000, -2},         {DTYPE_F16, 0x0001, 0x1p-24f},
    {DTYPE_F16, 0x83FF, -0x3FFp-24f}, {DTYPE_F16, 0x0400, 0x1p-14f},   {DTYPE_F16, 0x7BFF, 65504},
    {DTYPE_F16, 0x8000, -0.0f},       {DTYPE_F16, 0x3555, 0x1.554p-2f}, {DTYPE_BF16, 0x3F80, 1},
    {DTYPE_BF16, 0xC049, -3.140625f}, {DTYPE_BF16, 0x0080, 0x1p-126f}, {DTYPE_F64, 0x3FF8000000000000, 1.5f},
    {DTYPE_F64, 0xBFB999999999999A, -0.1f},
};

/* gpt2's learned positions, of another dtype: `bits` in each place, but for number 5, which is `one`. */
static void positions_write(enum dtype dtype, size_t size, uint64_t bits, uint64_t one) {
    struct checkpoint c = theirs_open();
    struct tensor *t = NULL;
    for (size_t i = 0; i < c.n; i++)
        if (strstr(c.tensors[i].name, "wpe")) t = &c.tensors[i];
    assert_non_null(t);
    char numbers[8 * T * C];
    for (size_t i = 0; i < T * C; i++) memcpy(numbers + size * i, i == 5 ? &one : &bits, size);
    t->dtype = dtype;
    t->data = numbers;
    theirs_write(&c);
    checkpoint_close(&c);
}

static void other_dtypes(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof written / sizeof *written; k++) {
        const enum dtype dtype = written[k].dtype;
        const uint64_t one = dtype == DTYPE_F64 ? 0x3FF0000000000000 : dtype == DTYPE_F16 ? 0x3C00 : 0x3F80;
        struct model m = gpt2_make(true);
        positions_write(dtype, dtype == DTYPE_F64 ? 8 : 2, written[k].bits, one);
        struct model n = imported();
        for (size_t i = 0; i < T * C; i++) m.params.wpe[i] = i == 5 ? 1 : written[k].value;
        assert_memory_equal(m.param_memory, n.param_memory, m.n_parameters * sizeof(real));
        model_destroy(&m);
        model_destroy(&n);
    }
}

/* What the file is like, and not what it says: no metadata, and a header of such a length that no number behind it lies
 * where its kind should. */
static void data_at_any_byte(void **state) {
    (void)state;
    struct model m = gpt2_make(true);
    struct error err;
    for (size_t more = 1; more < 8; more++) {
        size_t size;
        char *file = file_contents(fopen("gpt2/model.safetensors", "rb"), "gpt2/model.safetensors", &size, &err);
        uint64_t header;
        memcpy(&header, file, 8);
        char *metadata = memmem(file, size, "\"__metadata__\":", 15);
        if (metadata) memset(metadata, ' ', (size_t)(strstr(metadata, "},") + 2 - metadata));
        assert_true((metadata != NULL) == (more == 1));
        FILE *out = fopen("gpt2/model.safetensors", "wb");
        const uint64_t longer = header + 1;
        assert_int_equal(fwrite(&longer, 1, 8, out), 8);
        assert_int_equal(fwrite(file + 8, 1, header, out), header);
        assert_int_equal(fputc(' ', out), ' ');
        assert_int_equal(fwrite(file + 8 + header, 1, size - 8 - header, out), size - 8 - header);
        assert_int_equal(fclose(out), 0);
        free(file);
        struct model n = imported();
        same_model(&m, &n);
        model_destroy(&n);
    }
    model_destroy(&m);
}

/* ---- What is refused ---- */

#define MODEL "sample --model gpt2 --tokens 1"

/* What breaks the files of gpt2/, with that directory as the current one, and what ./sample says then. */
struct breakage {
    const char *command;
    int code;
    const char *says, *more;
};

/* Each from whole files, and each has to change something. */
static void breakages_refused(const struct breakage *cases, size_t n) {
    struct model m = gpt2_make(true);
    model_destroy(&m);
    run("rm -rf good && mv gpt2 good");
    for (size_t i = 0; i < n; i++) {
        run("rm -rf gpt2 && cp -r good gpt2 && cd gpt2 && %s && cd .. && ! diff -rq good gpt2", cases[i].command);
        refuse(cases[i].code, cases[i].says, cases[i].more, MODEL);
    }
}

/* Numbers, but none of those that weights are of; or such as are none. */
static void numbers_that_are_no_weights(void **state) {
    static const struct {
        enum dtype dtype;
        size_t size;
        uint64_t one;
        const char *says;
    } cases[] = {
        {DTYPE_I64, 8, 1, "is not of F32, F64, F16 or BF16"},
        {DTYPE_U8, 1, 1, "is not of F32, F64, F16 or BF16"},
        {DTYPE_BOOL, 1, 1, "is not of F32, F64, F16 or BF16"},
        {DTYPE_F32, 4, 0x7F800000, "number 5 is not finite (got inf)"},
        {DTYPE_F32, 4, 0x7FC00000, "number 5 is not finite (got nan)"},
        {DTYPE_F16, 2, 0x7C00, "number 5 is not finite (got inf)"},
        {DTYPE_F16, 2, 0xFC00, "number 5 is not finite (got -inf)"},
        {DTYPE_F16, 2, 0x7C01, "number 5 is not finite (got nan)"},
        {DTYPE_BF16, 2, 0xFF80, "number 5 is not finite (got -inf)"},
        {DTYPE_F64, 8, 0x7E37E43C8800759C, "number 5 is not finite (got inf)"}, /* 1e300: none of a float */
    };
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct model m = gpt2_make(true);
        char *says = string_format("gpt2/model.safetensors: tensor transformer.wpe.weight: %s", cases[k].says);
        model_destroy(&m);
        assert_int_equal(tensor_bytes(&(struct tensor){.dtype = cases[k].dtype}), cases[k].size);
        positions_write(cases[k].dtype, cases[k].size, 0, cases[k].one);
        refuse(EXIT_INPUT, says, "take another file", MODEL);
        free(says);
    }
    positions_write(DTYPE_F32, 4, 0x7F800000, 0x7FC00000);
    refuse(EXIT_INPUT, "wpe.weight: number 0 is not finite (got inf)", "", MODEL); /* the first of them */
}

/* Weights that nothing is computed with, though they have names like those that may be left out. */
static void weights_of_no_use(void **state) {
    (void)state;
    static const char *const names[] = {"lm_head.bias", "lm_head.weight2", "transformer.h.0.attn.rotary_bias",
                                        "transformer.h.1.attn.bias_k", "transformer.h.0.mlp.bias", "attn.bias"};
    struct model m = gpt2_make(true);
    model_destroy(&m);
    run("rm -rf good && mv gpt2 good");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        run("rm -rf gpt2 && cp -r good gpt2");
        struct checkpoint c = theirs_open();
        struct tensor *old = c.tensors, more[100];
        char *says = string_format("model.safetensors: tensor %s: GPT-2 has none of this name", names[i]);
        memcpy(more, old, c.n * sizeof *more);
        more[c.n] = (struct tensor){.dtype = DTYPE_F32, .dims = 1, .shape = {1}, .data = &(float){1}};
        strcpy(more[c.n++].name, names[i]);
        c.tensors = more;
        theirs_write(&c);
        c.tensors = old;
        checkpoint_close(&c);
        refuse(EXIT_INPUT, says, "take a plain GPT2LMHeadModel", MODEL);
        free(says);
    }
}

/* The weights alone: what is missing is named, of their files and not of ours. */
static void weights_alone(void **state) {
    (void)state;
    struct model m = gpt2_make(true);
    model_destroy(&m);
    run("rm gpt2/config.json && sed -i 's/\"crc32.header\"/\"crc32_header\"/' gpt2/model.safetensors");
    refuse(EXIT_INPUT, "gpt2/model.safetensors: another program's weights without a config.json beside them",
           "fetch it, too", MODEL);
    refuse(EXIT_INPUT, "without a config.json", "fetch it, too", "sample --model gpt2/model.safetensors");
    refuse(EXIT_INPUT, "without a config.json", "fetch it, too", "cd gpt2 && sample --model model.safetensors");
    run("sed -i 's/\"transformer.wte.weight\"/\"wte.weight\"            /' gpt2/model.safetensors"); /* a first file */
    refuse(EXIT_INPUT, "without a config.json", "fetch it, too", MODEL);
    run("sed -i 's/wte/wtf/g' gpt2/model.safetensors");
    refuse(EXIT_INPUT, "gpt2/model.safetensors: header: no CRC", "not a checkpoint of this program", MODEL);
}

static const struct breakage damaged[] = {
    {"printf x >model.safetensors", EXIT_INPUT, "model.safetensors", ""},
    {"sed -i 's/transformer.wpe/transformer.xpe/g' model.safetensors", EXIT_INPUT,
     "tensor transformer.wpe.weight: missing", "fetch the file again"},
    {"sed -i '1s/{/[/' model.safetensors", EXIT_INPUT, "model.safetensors: header: not a JSON object", ""},
    {"sed -i 's/\"F32\"/\"F99\"/' model.safetensors", EXIT_INPUT, "unknown dtype (got F99, want ", ""},
    {"rm model.safetensors", EXIT_INPUT, "gpt2/model.safetensors: cannot read", ""},
    {"printf '\\377\\377\\377' | dd of=model.safetensors conv=notrunc status=none", EXIT_INPUT,
     "model.safetensors: byte 0: impossible header length", ""},
    {"sed -i 's/\"shape\":\\[17,12\\]/\"shape\":[-7,12]/' model.safetensors", EXIT_INPUT,
     "tensor transformer.wpe.weight: impossible shape", ""},
    {"sed -i 's/\"shape\":\\[17,12\\]/\"shape\":[12,17]/' model.safetensors", EXIT_MISMATCH,
     "tensor transformer.wpe.weight: wrong shape (got (12, 17), want (17, 12), by config.json)", ""},
    {"sed -i 's/\"shape\":\\[17,12\\]/\"shape\":[204]  /' model.safetensors", EXIT_MISMATCH,
     "tensor transformer.wpe.weight: wrong shape (got (204), want (17, 12), by config.json)", ""},
    {"sed -i 's/\"format\":\"pt\"/\"format\":\"\"/;s/\"shape\":\\[17,12\\]/\"shape\":[17,12,1]/' model.safetensors",
     EXIT_MISMATCH, "tensor transformer.wpe.weight: wrong shape (got (17, 12, 1), want (17, 12), by config.json)", ""},
    {"sed -i 's/\"shape\":\\[17,12\\]/\"shape\":[16,12]/' model.safetensors", EXIT_INPUT,
     "tensor transformer.wpe.weight: data_offsets do not fit its shape", ""},
    {"sed -i 's/\"shape\":\\[36,12\\]/\"shape\":[12,36]/;s/\"shape\":\\[12,36\\]/\"shape\":[36,12]/' "
     "model.safetensors", EXIT_MISMATCH, "attn.c_attn.weight: wrong shape (got (36, 12), want (12, 36)", ""},
    {"sed -i 's/\"data_offsets\":\\[0,/\"data_offsets\":[4,/' model.safetensors", EXIT_INPUT,
     "data_offsets do not fit its shape", ""},
    {"printf x >>model.safetensors", EXIT_INPUT, "model.safetensors: byte ", "1 bytes left over"},
    {"sed -i 's/h.0.ln_1.weight\"/h.1.ln_1.weight\"/' model.safetensors", EXIT_INPUT,
     "model.safetensors: header: not a JSON object (duplicate object key", ""},
    {"sed -i 's/\"format\":\"pt\"/\"format\":1234/' model.safetensors", EXIT_INPUT,
     "model.safetensors: metadata format: is not a string", ""},
    {"head -c 4000 model.safetensors >m && mv m model.safetensors", EXIT_INPUT, "model.safetensors", ""},
};

static const struct breakage configs[] = {
    {"sed -i 's/\"n_layer\": *2/\"n_layer\":1/' config.json", EXIT_INPUT, "GPT-2 has none of this name",
     "plain GPT2LMHeadModel"},
    {"sed -i 's/\"n_layer\": *2/\"n_layer\":3/' config.json", EXIT_INPUT,
     "transformer.h.2.ln_1.weight: missing", ""},
    {"sed -i 's/\"n_positions\": *17/\"n_positions\":18/' config.json", EXIT_MISMATCH,
     "tensor transformer.wpe.weight: wrong shape (got (17, 12), want (18, 12), by config.json)", "from one model"},
    {"sed -i 's/\"n_layer\": *2/\"n_layer\":\"2\"/' config.json", EXIT_INPUT,
     "n_layer: not a model that can be read", "want a whole number"},
    {"sed -i 's/\"n_head\": *2/\"n_head\":5/' config.json", EXIT_INPUT, "config.json: as a model of ours", ""},
    {"sed -i 's/\"n_layer\": *2/\"n_layer\":0/' config.json", EXIT_INPUT, "config.json: as a model of ours", ""},
    {"sed -i 's/\"n_layer\": *2/\"n_layer\":-2/' config.json", EXIT_INPUT, "config.json: as a model of ours", ""},
    {"sed -i 's/\"n_layer\": *2/\"n_layer\":2.0/' config.json", EXIT_INPUT, "n_layer: not a model that can be read",
     "want a whole number"},
    {"sed -i 's/\"n_embd\"/\"m_embd\"/' config.json", EXIT_INPUT, "n_inner: ", "want 4 n_embd"},
    {"sed -i 's/\"n_positions\"/\"m_positions\"/' config.json", EXIT_INPUT, "n_positions: ",
     "(got nothing, want a whole number)"},
    {"sed -i 's/\"n_embd\": *12/\"n_embd\":60000/;s/\"n_inner\": *48/\"n_inner\":240000/;"
     "s/\"n_layer\": *2/\"n_layer\":500/' config.json", EXIT_MISMATCH, "(got (263, 12), want (263, 60000)", ""},
    {"sed -i 's/\"vocab_size\": *263/\"vocab_size\":264/' config.json", EXIT_MISMATCH,
     "a vocabulary of 263 tokens beside weights for 264", "from one model"},
    {"sed -i 's/\"vocab_size\": *263/\"vocab_size\":262/' config.json", EXIT_MISMATCH,
     "a vocabulary of 263 tokens beside weights for 262", "from one model"},
    {"sed -i 's/\"tie_word_embeddings\": *true/\"tie_word_embeddings\":false/' config.json", EXIT_INPUT,
     "tensor lm_head.weight: missing", ""},
    {"sed -i 's/\"eos_token_id\": *262/\"eos_token_id\":300/' config.json", EXIT_MISMATCH,
     "gpt2/vocab.json and merges.txt: a text ends with token 262, by config.json with 300 (eos_token_id)", ""},
    {"sed -i 's/\"eos_token_id\": *262/\"eos_token_id\":5/' config.json", EXIT_INPUT,
     "vocab: no token for the byte 0x05", ""},
    {"sed -i 's/\"eos_token_id\": *262/\"eos_token_id\":257/' config.json", EXIT_INPUT,
     "merges: number 2, 'th e', is not two tokens that are a third", ""},
    {": >config.json", EXIT_INPUT, "config.json: not a JSON object", "fetch it again"},
    {"sed -i 's/\"model_type\": *\"gpt2\"/\"model_type\":\"bert\"/' config.json", EXIT_INPUT,
     "config.json: model_type: not a model that can be read (got \"bert\", want \"gpt2\")",
     "take a GPT2LMHeadModel"},
    {"sed -i 's/\"model_type\"/\"x\"/' config.json", EXIT_INPUT,
     "model_type: not a model that can be read (got nothing", ""},
    {"sed -i 's/gelu_new/relu/' config.json", EXIT_INPUT, "activation_function: ",
     "(got \"relu\", want \"gelu_new\")"},
    {"sed -i 's/1e-0*5/1e-06/' config.json", EXIT_INPUT, "layer_norm_epsilon: ", ""},
    {"sed -i 's/\"n_inner\": *48/\"n_inner\":47/' config.json", EXIT_INPUT, "n_inner: ", "want 4 n_embd"},
    {"sed -i 's/{/{\"scale_attn_weights\":false,/' config.json", EXIT_INPUT, "scale_attn_weights: ", "want true"},
    {"sed -i 's/{/{\"scale_attn_by_inverse_layer_idx\":true,/' config.json", EXIT_INPUT,
     "scale_attn_by_inverse_layer_idx: ", "want false"},
    {"sed -i 's/{/{\"add_cross_attention\":true,/' config.json", EXIT_INPUT, "add_cross_attention: ", "want false"},
    {"echo '[]' >config.json", EXIT_INPUT, "config.json: not a JSON object (no { found)", "fetch it again"},
    {"echo '{' >config.json", EXIT_INPUT, "config.json: not a JSON object (string or '}' expected", "fetch it again"},
};

static const struct breakage vocabularies[] = {
    {"sed -i '1s/{/{\"more\":263,/' vocab.json", EXIT_MISMATCH, "a vocabulary of 264 tokens beside weights for 263",
     "from one model"},
    {"sed -i '1s/{/{\"more\":300,/' vocab.json", EXIT_INPUT, "token 'more' has no id of its own", ""},
    {"echo '[1]' >vocab.json", EXIT_INPUT, "vocab.json: not a JSON object", "fetch it again"},
    {"head -c 900 vocab.json >v && mv v vocab.json", EXIT_INPUT, "vocab.json: not a JSON object", "fetch it again"},
    {"sed -i 's/\"the\"/\"th\"/' vocab.json", EXIT_INPUT, "vocab.json: not a JSON object (duplicate", ""},
    {"sed -i 's/\"A\"/\"AA\"/' vocab.json", EXIT_INPUT, "gpt2/vocab.json and merges.txt: tokenizer: vocab: no token "
     "for the byte 0x41", "want one as GPT-2's"},
    {"sed -i 's/<|endoftext|>/<|end|>/' vocab.json && sed -i 's/262/null/' config.json", EXIT_INPUT,
     "vocab: no end-of-text token <|endoftext|>", ""},
    {"sed -i 's/: *262/: 5/' vocab.json", EXIT_INPUT, "has no id of its own", ""},
    {"rm merges.txt", EXIT_INPUT, "merges.txt", ""},
    {"echo 'a zz' >>merges.txt", EXIT_INPUT, "merges: number 7, 'a zz', is not two tokens", ""},
    {"printf 'a \\377\\n' >>merges.txt", EXIT_INPUT, "merges.txt: byte ", "not a line of UTF-8"},
    {"printf 'a\\000b c\\n' >>merges.txt", EXIT_INPUT, "merges.txt: byte ", "not a line of UTF-8"},
    {"printf '\\000' >>merges.txt", EXIT_INPUT, "merges.txt: byte ", "not a line of UTF-8"},
    {"echo 'i n' >>merges.txt", EXIT_INPUT, "merges: 'i n' is there twice", ""},
    {"echo '#version: 0.2' >>merges.txt", EXIT_INPUT, "merges: number 7, '#version: 0.2', is not two tokens", ""},
    {"sed -i 's/ //' merges.txt", EXIT_INPUT, "merges: number 1, ", "is not two tokens"},
    {"rm vocab.json merges.txt tokenizer.json", EXIT_INPUT, "gpt2: no vocabulary beside the weights",
     "fetch it, too"},
};

static const struct breakage documents[] = {
    {"rm vocab.json && echo '{' >tokenizer.json", EXIT_INPUT, "tokenizer.json: not a JSON object", "fetch it again"},
    {"rm vocab.json && echo '{}' >tokenizer.json", EXIT_INPUT, "tokenizer.json: model: no vocab and merges", ""},
    {"rm vocab.json && sed -i 's/\"merges\"/\"merge\"/' tokenizer.json", EXIT_INPUT,
     "tokenizer.json: model: no vocab and merges", ""},
    {"rm vocab.json && sed -i 's/\"i n\"/[\"i\", \"n\", \"g\"]/' tokenizer.json", EXIT_INPUT,
     "gpt2/tokenizer.json: tokenizer: merges: number 4, ", ""},
    {"rm vocab.json && sed -i 's/\"pre_tokenizer\"/\"x\"/' tokenizer.json", EXIT_INPUT,
     "tokenizer.json: pre_tokenizer: not ByteLevel", ""},
    {"rm vocab.json && sed -i '/pre_tokenizer/,/}/s/\"ByteLevel\"/\"Whitespace\"/' tokenizer.json", EXIT_INPUT,
     "tokenizer.json: pre_tokenizer: not ByteLevel", ""},
    {"rm vocab.json && sed -i 's/\"dropout\": *null/\"dropout\": 0.1/' tokenizer.json", EXIT_INPUT,
     "tokenizer.json: model: dropout", ""},
    {"rm vocab.json && sed -i 's/\"ignore_merges\": *false/\"ignore_merges\": true/' tokenizer.json", EXIT_INPUT,
     "tokenizer.json: model: ignore_merges", ""},
    {"rm vocab.json && sed -i 's/\"continuing_subword_prefix\": *null/\"continuing_subword_prefix\": \"##\"/' "
     "tokenizer.json", EXIT_INPUT, "tokenizer.json: model: letters before or behind", ""},
    {"rm vocab.json && sed -i 's/\"end_of_word_suffix\": *null/\"end_of_word_suffix\": \"<\\/w>\"/' tokenizer.json",
     EXIT_INPUT, "tokenizer.json: model: letters before or behind", ""},
    {"rm vocab.json && echo x >tokenizer.model", EXIT_INPUT, "gpt2/tokenizer.model: tokenizer: ", "that train made"},
    {"rm vocab.json && sed -i 's/\"BPE\"/\"WordPiece\"/' tokenizer.json", EXIT_INPUT,
     "tokenizer.json: model: not BPE", "want GPT-2's byte-level BPE"},
    {"rm vocab.json && sed -i 's/\"add_prefix_space\": *false/\"add_prefix_space\":true/' tokenizer.json",
     EXIT_INPUT, "tokenizer.json: pre_tokenizer: adds a space", ""},
    {"rm vocab.json && sed -i 's/\"use_regex\": *true/\"use_regex\":false/' tokenizer.json", EXIT_INPUT,
     "tokenizer.json: pre_tokenizer: cuts no words", ""},
    {"rm vocab.json && sed -i 's/\"normalizer\": *null/\"normalizer\":{\"type\":\"NFC\"}/' tokenizer.json",
     EXIT_INPUT, "tokenizer.json: normalizer: there is one", ""},
};

static void weights_that_are_damaged(void **state) {
    (void)state;
    breakages_refused(damaged, sizeof damaged / sizeof *damaged);
}

static void models_that_are_others(void **state) {
    (void)state;
    breakages_refused(configs, sizeof configs / sizeof *configs);
}

static void vocabularies_that_do_not_fit(void **state) {
    (void)state;
    breakages_refused(vocabularies, sizeof vocabularies / sizeof *vocabularies);
}

static void tokenizers_that_are_others(void **state) {
    (void)state;
    breakages_refused(documents, sizeof documents / sizeof *documents);
}

/* ---- Going on ---- */

#define SAID "0 --seed 3 --prompt 'the  ends of 12 on'"

/* Other ways to say the same. */
static void what_may_be_otherwise(void **state) {
    static const char *const commands[] = {
        "rm tokenizer.json && sed -i '3s/^/\\n/' merges.txt && sed -i 's/$/\\r/' merges.txt",
        "rm tokenizer.json && sed -i '1d' merges.txt",
        "rm tokenizer.json && sed -i '3s/^/\\n/' merges.txt && echo >>merges.txt",
        "rm tokenizer.json && truncate -s -1 merges.txt",
        "rm vocab.json merges.txt",
        "sed -i 's/gelu_new/gelu_pytorch_tanh/' config.json",
        "sed -i 's/\"activation_function\"/\"x\"/;s/\"layer_norm_epsilon\"/\"y\"/;s/\"tie_word_embeddings\"/\"z\"/' "
        "config.json",
        "sed -i 's/\"n_inner\": *48/\"n_inner\": null/' config.json",
        "sed -i 's/\"n_inner\"/\"x\"/' config.json",
        "sed -i 's/\"eos_token_id\": *262/\"eos_token_id\": null/' config.json",
        "sed -i 's/\"eos_token_id\": *262/\"eos_token_id\": [262]/' config.json",
        "sed -i 's/{/{\"scale_attn_weights\":true,\"scale_attn_by_inverse_layer_idx\":false,\"n_ctx\":17,/' "
        "config.json",
        "rm vocab.json && sed -i 's/\"continuing_subword_prefix\": *null/\"continuing_subword_prefix\": \"\"/;"
        "s/\"end_of_word_suffix\": *null/\"end_of_word_suffix\": \"\"/;s/\"use_regex\": *true/\"x\": true/;"
        "s/\"type\": *\"BPE\"/\"x\": 1/;s/\"ignore_merges\": *false/\"x\":2/' tokenizer.json && "
        "sed -i 's/\"x\":2/\"y\": 2/' tokenizer.json",
    };
    (void)state;
    struct model m = gpt2_make(true);
    model_destroy(&m);
    run("rm -rf good && mv gpt2 good && sample --model good --tokens 1" SAID);
    char *text = string_format("%s", output);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        run("rm -rf gpt2 && cp -r good gpt2 && cd gpt2 && %s && cd .. && ! diff -rq good gpt2", commands[i]);
        run(MODEL SAID);
        if (strcmp(output, text) != 0) fail_msg("%s: %s, not %s", commands[i], output, text);
    }
    run("cd good && sample --model model.safetensors --tokens 1" SAID);
    assert_string_equal(output, text);
    free(text);
}

/* As newer versions of tokenizers write it: merges as pairs; and what was added, apart from the vocabulary. */
static void pairs_and_added_tokens(void **state) {
    (void)state;
    struct model m = gpt2_make(true);
    model_destroy(&m);
    run(MODEL SAID);
    char *text = string_format("%s", output);
    json_t *document = json_load_file("gpt2/tokenizer.json", 0, NULL), *model = json_object_get(document, "model");
    json_t *pairs = json_array(), *line;
    size_t i;
    json_array_foreach(json_object_get(model, "merges"), i, line) {
        const char *both = json_string_value(line), *blank = strchr(both, ' ');
        json_array_append_new(pairs, json_pack("[s%, s]", both, (size_t)(blank - both), blank + 1));
    }
    assert_int_equal(json_array_size(pairs), MERGES);
    assert_int_equal(json_object_set_new(model, "merges", pairs), 0);
    assert_int_equal(json_object_del(json_object_get(model, "vocab"), "<|endoftext|>"), 0);
    assert_int_equal(json_dump_file(document, "gpt2/tokenizer.json", 0), 0);
    json_decref(document);
    run("rm gpt2/vocab.json gpt2/merges.txt && " MODEL SAID);
    assert_string_equal(output, text);
    free(text);
}

#define TRAIN "train --cache cache --batch 2 --lr 0.01 --eval-windows 3 --final-windows 3 --sample-every 0 "

/* Out and back, with a vocabulary of ours, which lies there as tokenizer.model. */
static void what_was_exported_comes_back(void **state) {
    (void)state;
    run(TRAIN "--block gpt2 --ffn dense --vocab 301 --seq 17 --layers 2 --channels 12 --attn-heads 3 --steps 6 "
        "corpus.txt --out mine && sample --model mine --export hf --out back && rm back/tokenizer.json");
    run("sample --model mine --score corpus.txt");
    char *scores = string_format("%s", output);
    run("sample --model back --score corpus.txt");
    assert_string_equal(output, scores);
    run("sample --model mine --export hf --weights bf16 --out half && "
        "grep -q '\"torch_dtype\": \"bfloat16\"' half/config.json");
    run("cp back/config.json mine && sample --model mine --score corpus.txt"); /* it is ours, whatever lies beside it */
    assert_string_equal(output, scores);
    refuse(EXIT_MISMATCH, "back/tokenizer.model: a text ends with token 1, by config.json with 0 (eos_token_id)", "",
           "sed -i 's/\"eos_token_id\": *1/\"eos_token_id\": 0/' back/config.json && sample --model back --tokens 1");
    free(scores);
}

/* A run that began so is a run like others: it resumes exactly, and without the files that it is from. */
static void trained_and_resumed(void **state) {
    (void)state;
    struct model m = gpt2_make(true), n;
    struct error err;
    run(TRAIN "--from gpt2 corpus.txt --steps 0 --out none");
    struct checkpoint c = checkpoint_at("none", "last.safetensors");
    if (!model_load(&n, &c, (struct model_setup){MODEL_INFER, 1, false, STORAGE_F32}, &err)) fail_msg("%s", err.text);
    same_model(&m, &n);
    checkpoint_close(&c);
#define WHOLE TRAIN "--from gpt2 corpus.txt --steps 8 --eval-every 3 --out "
    run(WHOLE "whole");
    run(WHOLE "run --until 3 --threads 2 && rm -rf gpt2 && train --resume run --until 5 && train --resume run");
    checkpoints_compare("whole", "run", "last.safetensors");
    checkpoints_compare("whole", "run", "best.safetensors");
    logs_compare("whole", "run");
    run("sample --model run --tokens 5 --prompt 'the'");
    assert_non_null(strstr(output, "the"));
    model_destroy(&m);
    model_destroy(&n);
}

/* What of a directory is meant: what training leaves goes before what others do. */
static void which_file_is_meant(void **state) {
    static const char *const steps[][2] = {
        {"mkdir dir", "dir/last.safetensors"},
        {": >dir/config.json", "dir/model.safetensors"},
        {": >dir/model.safetensors", "dir/model.safetensors"},
        {"rm dir/config.json", "dir/model.safetensors"},
        {": >dir/config.json; : >dir/last.safetensors", "dir/last.safetensors"},
        {": >dir/best.safetensors", "dir/best.safetensors"},
        {"rm dir/last.safetensors", "dir/best.safetensors"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        run("%s", steps[i][0]);
        char *path = checkpoint_path("dir");
        assert_string_equal(path, steps[i][1]);
        free(path);
    }
}

static void a_corpus_must_be_named(void **state) {
    (void)state;
    struct model m = gpt2_make(true);
    model_destroy(&m);
    refuse(EXIT_USAGE, "--from gpt2", "name a text", "train --from gpt2");
    refuse(EXIT_USAGE, "--from gpt2", "name a text", "train --from gpt2 --dry-run");
    refuse(EXIT_MISMATCH, "--documents: the tokenizer has another end of text (got id 262, want 1)", "leave out",
           TRAIN "--from gpt2 --documents corpus.txt --steps 1 --out documents");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_the_same),
        cmocka_unit_test(names_of_the_first_files),
        cmocka_unit_test(other_dtypes),
        cmocka_unit_test(data_at_any_byte),
        cmocka_unit_test(numbers_that_are_no_weights),
        cmocka_unit_test(weights_of_no_use),
        cmocka_unit_test(weights_alone),
        cmocka_unit_test(weights_that_are_damaged),
        cmocka_unit_test(models_that_are_others),
        cmocka_unit_test(vocabularies_that_do_not_fit),
        cmocka_unit_test(tokenizers_that_are_others),
        cmocka_unit_test(what_may_be_otherwise),
        cmocka_unit_test(pairs_and_added_tokens),
        cmocka_unit_test(what_was_exported_comes_back),
        cmocka_unit_test(trained_and_resumed),
        cmocka_unit_test(which_file_is_meant),
        cmocka_unit_test(a_corpus_must_be_named),
    };
    return cmocka_run_group_tests(tests, begin, workplace_remove);
}
