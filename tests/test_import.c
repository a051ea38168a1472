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

static void other_dtypes(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof written / sizeof *written; k++) {
        struct model m = gpt2_make(true);
        struct checkpoint c = theirs_open();
        const size_t size = written[k].dtype == DTYPE_F64 ? 8 : 2;
        struct tensor *t = NULL;
        for (size_t i = 0; i < c.n; i++)
            if (strstr(c.tensors[i].name, "wpe")) t = &c.tensors[i];
        assert_non_null(t);
        char numbers[8 * T * C];
        for (size_t i = 0; i < T * C; i++) memcpy(numbers + size * i, &written[k].bits, size);
        uint64_t one = written[k].dtype == DTYPE_F64   ? 0x3FF0000000000000
                       : written[k].dtype == DTYPE_F16 ? 0x3C00
                                                       : 0x3F80;
        memcpy(numbers + 5 * size, &one, size); /* and one that differs, in its place */
        t->dtype = written[k].dtype;
        t->data = numbers;
        theirs_write(&c);
        checkpoint_close(&c);
        struct model n = imported();
        for (size_t i = 0; i < T * C; i++) m.params.wpe[i] = i == 5 ? 1 : written[k].value;
        assert_memory_equal(m.param_memory, n.param_memory, m.n_parameters * sizeof(real));
        model_destroy(&m);
        model_destroy(&n);
    }
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

static void weights_that_do_not_fit(void **state) {
    static const struct breakage cases[] = {
        {"printf x >model.safetensors", EXIT_INPUT, "model.safetensors", ""},
        {"sed -i 's/transformer.wpe/transformer.xpe/g' model.safetensors", EXIT_INPUT,
         "tensor transformer.wpe.weight: missing", "fetch the file again"},
        {"sed -i '1s/{/[/' model.safetensors", EXIT_INPUT, "model.safetensors: header: not a JSON object", ""},
        {"sed -i 's/\"F32\"/\"F99\"/' model.safetensors", EXIT_INPUT, "unknown dtype (got F99, want ", ""},
        {"head -c 4000 model.safetensors >m && mv m model.safetensors", EXIT_INPUT, "model.safetensors", ""},
        {"sed -i 's/\"n_layer\": *2/\"n_layer\":1/' config.json", EXIT_INPUT, "GPT-2 has none of this name",
         "plain GPT2LMHeadModel"},
        {"sed -i 's/\"n_layer\": *2/\"n_layer\":3/' config.json", EXIT_INPUT,
         "transformer.h.2.ln_1.weight: missing", ""},
        {"sed -i 's/\"n_positions\": *17/\"n_positions\":18/' config.json", EXIT_MISMATCH,
         "tensor transformer.wpe.weight: wrong shape (got (17, 12), want (18, 12), by config.json)", "from one model"},
        {"sed -i 's/\"n_layer\": *2/\"n_layer\":\"2\"/' config.json", EXIT_INPUT,
         "n_layer: not a model that can be read", "want a whole number"},
        {"sed -i 's/\"n_head\": *2/\"n_head\":5/' config.json", EXIT_INPUT, "config.json: as a model of ours", ""},
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
        {"echo '[]' >config.json", EXIT_INPUT, "config.json: not a JSON object", "fetch it again"},
        {"echo '{' >config.json", EXIT_INPUT, "config.json: not a JSON object", "fetch it again"},
    };
    (void)state;
    breakages_refused(cases, sizeof cases / sizeof *cases);
}

static void vocabularies_that_do_not_fit(void **state) {
    static const struct breakage cases[] = {
        {"sed -i '1s/{/{\"more\":263,/' vocab.json", EXIT_MISMATCH, "a vocabulary of 264 tokens beside weights for 263",
         "from one model"},
        {"sed -i '1s/{/{\"more\":300,/' vocab.json", EXIT_INPUT, "token 'more' has no id of its own", ""},
        {"echo '[1]' >vocab.json", EXIT_INPUT, "vocab.json: not a JSON object", "fetch it again"},
        {"rm merges.txt", EXIT_INPUT, "merges.txt", ""},
        {"echo 'a zz' >>merges.txt", EXIT_INPUT, "merges: number 7, 'a zz', is not two tokens", ""},
        {"printf 'a \\377\\n' >>merges.txt", EXIT_INPUT, "merges.txt: byte ", "not UTF-8"},
        {"rm vocab.json merges.txt tokenizer.json", EXIT_INPUT, "gpt2: no vocabulary beside the weights",
         "fetch it, too"},
        {"rm vocab.json && sed -i 's/\"BPE\"/\"WordPiece\"/' tokenizer.json", EXIT_INPUT,
         "tokenizer.json: model: not BPE", "want GPT-2's byte-level BPE"},
        {"rm vocab.json && sed -i 's/\"add_prefix_space\": *false/\"add_prefix_space\":true/' tokenizer.json",
         EXIT_INPUT, "tokenizer.json: pre_tokenizer: adds a space", ""},
        {"rm vocab.json && sed -i 's/\"use_regex\": *true/\"use_regex\":false/' tokenizer.json", EXIT_INPUT,
         "tokenizer.json: pre_tokenizer: cuts no words", ""},
        {"rm vocab.json && sed -i 's/\"normalizer\": *null/\"normalizer\":{\"type\":\"NFC\"}/' tokenizer.json",
         EXIT_INPUT, "tokenizer.json: normalizer: there is one", ""},
    };
    (void)state;
    breakages_refused(cases, sizeof cases / sizeof *cases);
}

/* ---- Going on ---- */

/* tokenizer.json alone, or vocab.json and merges.txt with ends of lines as elsewhere: the same tokens. */
static void other_vocabulary_files(void **state) {
    (void)state;
    struct model m = gpt2_make(true);
    model_destroy(&m);
    run(MODEL "0 --seed 3 --prompt 'the  ends of 12 on'");
    char *text = string_format("%s", output);
    run("sed -i 's/$/\\r/' gpt2/merges.txt && rm gpt2/tokenizer.json && " MODEL
        "0 --seed 3 --prompt 'the  ends of 12 on'");
    assert_string_equal(output, text);
    m = gpt2_make(true);
    model_destroy(&m);
    run("rm gpt2/vocab.json gpt2/merges.txt && " MODEL "0 --seed 3 --prompt 'the  ends of 12 on'");
    assert_string_equal(output, text);
    free(text);
}

#define TRAIN "train --cache cache --batch 2 --lr 0.01 --eval-windows 3 --final-windows 3 --sample-every 0 "

static void trained_and_resumed(void **state) {
    (void)state;
    struct model m = gpt2_make(true), n;
    struct error err;
    run(TRAIN "--from gpt2 corpus.txt --steps 0 --out none");
    struct checkpoint c = checkpoint_at("none", "last.safetensors");
    if (!model_load(&n, &c, (struct model_setup){MODEL_INFER, 1, false, STORAGE_F32}, &err)) fail_msg("%s", err.text);
    same_model(&m, &n);
    checkpoint_close(&c);
    run(TRAIN "--from gpt2 corpus.txt --steps 6 --out whole");
    run("rm -rf gpt2 && train --resume whole --steps 8 && sample --model whole --tokens 5 --prompt 'the'");
    assert_non_null(strstr(output, "the"));
    model_destroy(&m);
    model_destroy(&n);
}

static void a_corpus_must_be_named(void **state) {
    (void)state;
    struct model m = gpt2_make(true);
    model_destroy(&m);
    refuse(EXIT_USAGE, "--from gpt2", "name a text", "train --from gpt2");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_the_same),
        cmocka_unit_test(names_of_the_first_files),
        cmocka_unit_test(other_dtypes),
        cmocka_unit_test(weights_that_do_not_fit),
        cmocka_unit_test(vocabularies_that_do_not_fit),
        cmocka_unit_test(other_vocabulary_files),
        cmocka_unit_test(trained_and_resumed),
        cmocka_unit_test(a_corpus_must_be_named),
    };
    return cmocka_run_group_tests(tests, begin, workplace_remove);
}
