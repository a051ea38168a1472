/* See import.h. */
#include "import.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../mhmoe.h"
#include "../src/math/bf16.h"
#include "../tokenizer/tokenizer.h"
#include "import_vocabulary.h"
#include "renaming.h"

/* ---- What the model is ---- */

/* What our --block gpt2 is, and another GPT-2 may not be; where config.json does not say, it is so. */
static const struct {
    const char *key, *values[3]; /* as JSON */
} assumed[] = {
    {"model_type", {"\"gpt2\""}},
    {"activation_function", {"\"gelu_new\"", "\"gelu_pytorch_tanh\""}},
    {"layer_norm_epsilon", {"1e-05"}},
    {"scale_attn_weights", {"true"}},
    {"scale_attn_by_inverse_layer_idx", {"false"}},
    {"add_cross_attention", {"false"}},
};

static bool value_is(const json_t *value, const char *const *wanted) {
    bool is = false;
    for (; *wanted && !is; wanted++) {
        json_t *want = json_loads(*wanted, JSON_DECODE_ANY, NULL);
        is = json_is_real(want) ? json_number_value(want) == json_number_value(value) : json_equal(want, value);
        json_decref(want);
    }
    return is;
}

static bool value_error(const char *path, const char *key, const json_t *got, const char *want, struct error *err) {
    char *text = got ? json_dumps(got, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    error_set(err, EXIT_INPUT, "%s: %s: not a model that can be read (got %.100s, want %s); take a GPT2LMHeadModel",
              path, key, text ? text : "nothing", want);
    free(text);
    return false;
}

static bool gpt2_check(const char *path, const json_t *config, struct error *err) {
    for (size_t i = 0; i < sizeof assumed / sizeof *assumed; i++) {
        const json_t *value = json_object_get(config, assumed[i].key);
        if (value ? !value_is(value, assumed[i].values) : i == 0)
            return value_error(path, assumed[i].key, value, assumed[i].values[0], err);
    }
    const json_t *inner = json_object_get(config, "n_inner");
    const json_int_t wide = 4 * json_integer_value(json_object_get(config, "n_embd"));
    if (inner && !json_is_null(inner) && (!json_is_integer(inner) || json_integer_value(inner) != wide))
        return value_error(path, "n_inner", inner, "4 n_embd", err);
    return true;
}

/* Our options, which are in the range that they may have, and fit together. */
static bool gpt2_config(struct config *c, const char *path, const json_t *config, struct error *err) {
    static const char *const names[][2] = {{"vocab", "vocab_size"}, {"seq", "n_positions"}, {"layers", "n_layer"},
                                           {"channels", "n_embd"}, {"attn-heads", "n_head"}};
    const struct option_group group = {model_options, c};
    struct sizes sizes;
    struct error why;
    if (!gpt2_check(path, config, err)) return false;
    *c = (struct config){0};
    options_set_defaults(&group, 1);
    c->block = BLOCK_GPT2;
    config_preset(c, NULL, 0, NULL);
    c->ffn = FFN_DENSE;
    c->tie = !json_is_false(json_object_get(config, "tie_word_embeddings"));
    json_t *options = options_to_json(&group);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        json_t *value = json_object_get(config, names[i][1]);
        if (!json_is_integer(value)) {
            json_decref(options);
            return value_error(path, names[i][1], value, "a whole number", err);
        }
        json_object_set(options, names[i][0], value);
    }
    const bool ok = options_from_json(&group, options, &why) && config_check(c, &sizes, &why);
    json_decref(options);
    return ok || error_set(err, EXIT_INPUT, "%s: as a model of ours: %s", path, why.text);
}

/* ---- Its weights ---- */

static float half_float(uint16_t bits) {
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    const float size = exponent == 31 ? (mantissa ? NAN : INFINITY)
                       : exponent == 0 ? ldexpf((float)mantissa, -24) : ldexpf((float)(mantissa + 1024), exponent - 25);
    return bits >> 15 ? -size : size;
}

/* Number i of a tensor of another program; its data may lie at any byte. */
static float number_at(const struct tensor *t, size_t i) {
    uint16_t bits;
    float x;
    double y;
    switch (t->dtype) {
        case DTYPE_F64: return memcpy(&y, (const char *)t->data + 8 * i, 8), (float)y;
        case DTYPE_F16: return memcpy(&bits, (const char *)t->data + 2 * i, 2), half_float(bits);
        case DTYPE_BF16: return memcpy(&bits, (const char *)t->data + 2 * i, 2), bf16_float(bits);
        default: return memcpy(&x, (const char *)t->data + 4 * i, 4), x;
    }
}

static bool is_numbers(const struct tensor *t) {
    return t->dtype == DTYPE_F32 || t->dtype == DTYPE_F64 || t->dtype == DTYPE_F16 || t->dtype == DTYPE_BF16;
}

static const char prefix[] = "transformer."; /* the first GPT-2 files are without it */

static const struct tensor *theirs_find(const struct checkpoint *theirs, const char *name) {
    const struct tensor *t = checkpoint_find(theirs, name);
    if (t || strncmp(name, prefix, sizeof prefix - 1) != 0) return t;
    return checkpoint_find(theirs, name + sizeof prefix - 1);
}

static char *shape_words(const size_t *shape, int dims) {
    char *text = string_format("(");
    for (int d = 0; d < dims; d++) string_append(&text, "%s%zu", d ? ", " : "", shape[d]);
    string_append(&text, ")");
    return text;
}

/* Whether a tensor of theirs can be this piece of ours. */
static bool place_check(const struct place *p, const struct tensor *t, const struct checkpoint *theirs,
                        struct error *err) {
    if (!t)
        return error_set(err, EXIT_INPUT, "%s: tensor %s: missing; fetch the file again, or take another model",
                         theirs->path, p->name);
    if (!is_numbers(t))
        return error_set(err, EXIT_INPUT, "%s: tensor %s: is not of F32, F64, F16 or BF16; take another file",
                         theirs->path, t->name);
    if (t->dims == p->dims && memcmp(t->shape, p->shape, (size_t)p->dims * sizeof *p->shape) == 0) return true;
    char *got = shape_words(t->shape, t->dims), *want = shape_words(p->shape, p->dims);
    error_set(err, EXIT_MISMATCH, "%s: tensor %s: wrong shape (got %s, want %s, by config.json); take both from one "
              "model", theirs->path, t->name, got, want);
    free(got);
    free(want);
    return false;
}

static bool place_fill(const struct place *p, const struct tensor *t, real *ours, const struct checkpoint *theirs,
                       struct error *err) {
    size_t bad = p->count;
#pragma omp parallel for reduction(min : bad)
    for (size_t i = 0; i < p->count; i++) {
        const float x = number_at(t, i);
        if (!isfinite(x) && i < bad) bad = i;
        ours[place_at(p, i)] = x;
    }
    return bad == p->count || error_set(err, EXIT_INPUT, "%s: tensor %s: number %zu is not finite (got %g); take "
                                        "another file", theirs->path, t->name, bad, (double)number_at(t, bad));
}

/* What is there beside the weights: the causal mask, and the output head once more. */
static bool is_idle(const char *name) {
    const char *end = strstr(name, ".attn.");
    return strcmp(name, "lm_head.weight") == 0 ||
           (end && (strcmp(end, ".attn.bias") == 0 || strcmp(end, ".attn.masked_bias") == 0));
}

struct reading {
    const struct config *config;
    const struct sizes *sizes;
    const struct checkpoint *theirs;
    bool fill; /* or only look whether all is there and fits, and nothing else is */
};

/* Our tensor, piece by piece. */
static bool row_read(const struct reading *r, const struct renaming *row, const struct tensor *ours, bool *used,
                     struct error *err) {
    const size_t count = renaming_count(row, r->sizes);
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        const struct place p = renaming_place(row, r->config, r->sizes, ours, i);
        const struct tensor *t = theirs_find(r->theirs, p.name);
        ok = place_check(&p, t, r->theirs, err) && (!r->fill || place_fill(&p, t, ours->data, r->theirs, err));
        if (ok) used[t - r->theirs->tensors] = true;
    }
    return ok;
}

static bool weights_read(const struct reading *r, const struct tensor *ours, size_t n, struct error *err) {
    const struct tensor *theirs = r->theirs->tensors;
    bool *used = array_alloc(r->theirs->n + 1, sizeof *used), ok = true;
    for (const struct renaming *row = foreigns[FOREIGN_GPT2].hf; ok && row->ours; row++)
        for (size_t i = 0; ok && i < n; i++)
            if (strcmp(ours[i].name, row->ours) == 0) ok = row_read(r, row, &ours[i], used, err);
    for (size_t i = 0; ok && i < r->theirs->n; i++)
        if (!used[i] && !is_idle(theirs[i].name))
            ok = error_set(err, EXIT_INPUT, "%s: tensor %s: GPT-2 has none of this name; take a plain GPT2LMHeadModel",
                           r->theirs->path, theirs[i].name);
    free(used);
    return ok;
}

/* ---- All of it ---- */

/* As many tokens as the weights are for, and the same end of a text, if config.json names one (else -1). */
static bool vocabulary_check(const struct vocabulary *v, const struct config *config, json_int_t end,
                             struct error *err) {
    tokenizer *t = tokenizer_from_memory(v->model, v->size, v->name, err);
    if (!t) return false;
    const int vocab = tokenizer_vocab(t);
    const int32_t ours = tokenizer_end_of_text(t);
    tokenizer_free(t);
    if (vocab != config->vocab)
        return error_set(err, EXIT_MISMATCH, "%s: a vocabulary of %d tokens beside weights for %d; take both from one "
                         "model", v->name, vocab, config->vocab);
    return end < 0 || end == ours ||
           error_set(err, EXIT_MISMATCH, "%s: a text ends with token %d, by config.json with %lld (eos_token_id); take "
                     "both from one model", v->name, ours, (long long)end);
}

/* The checkpoint of a model with this vocabulary, whose tensors are theirs. There is no memory for it before everything
 * fits: a config.json may say any size. */
static bool checkpoint_make(struct checkpoint *c, const struct config *config, const struct vocabulary *v,
                            const struct checkpoint *theirs, struct error *err) {
    struct parameter_info info[PARAMETER_TENSORS];
    struct tensor tensors[PARAMETER_TENSORS + 1];
    struct sizes sizes;
    struct reading reading = {config, &sizes, theirs, false};
    if (!config_check(config, &sizes, err)) return false;
    model_layout(info, &sizes);
    const size_t n = parameters_named(info, PARAMETER_TENSORS, NULL, "", tensors);
    tensors[n] = (struct tensor){.name = "tokenizer.model", .dtype = DTYPE_U8, .dims = 1, .shape = {v->size}};
    if (!weights_read(&reading, tensors, n, err) || !checkpoint_create(c, theirs->path, tensors, n + 1, err))
        return false;
    memcpy(c->tensors[n].data, v->model, v->size);
    reading.fill = true;
    if (!weights_read(&reading, c->tensors, n, err)) {
        checkpoint_close(c);
        return false;
    }
    char *text = config_to_string(config);
    checkpoint_seal(c, json_pack("{s:s, s:s}", "format", MODEL_FORMAT, "config", text));
    free(text);
    return true;
}

static bool foreign_open(struct checkpoint *c, const struct checkpoint *theirs, const char *config_path,
                         struct error *err) {
    struct config config;
    struct vocabulary vocabulary = {0};
    json_t *said = json_file_read(config_path, err), *end = json_object_get(said, "eos_token_id");
    const json_int_t end_id = json_is_integer(end) ? json_integer_value(end) : -1;
    char *dir = checkpoint_directory(theirs);
    const bool ok = said && gpt2_config(&config, config_path, said, err) &&
                    vocabulary_read(&vocabulary, dir, end_id, err) &&
                    vocabulary_check(&vocabulary, &config, end_id, err) &&
                    checkpoint_make(c, &config, &vocabulary, theirs, err);
    json_decref(said);
    vocabulary_free(&vocabulary);
    free(dir);
    return ok;
}

/* What is no checkpoint of ours may be theirs, without what says what its weights are of. */
static bool alone_error(const char *path, struct error *err) {
    struct checkpoint c;
    struct error unused;
    if (!safetensors_open(&c, path, &unused)) return false;
    if (theirs_find(&c, "transformer.wte.weight"))
        error_set(err, EXIT_INPUT, "%s: another program's weights without a config.json beside them; fetch it, too, "
                  "with vocab.json and merges.txt", path);
    checkpoint_close(&c);
    return false;
}

static bool is_ours(const struct checkpoint *c) {
    const char *format = json_string_value(json_object_get(c->metadata, "format"));
    return format && strcmp(format, MODEL_FORMAT) == 0;
}

bool source_open(struct checkpoint *c, const char *path, struct error *err) {
    const char *slash = strrchr(path, '/');
    char *dir = slash ? string_format("%.*s", (int)(slash - path), path) : string_format(".");
    char *config = file_beside(dir, "config.json");
    struct checkpoint theirs;
    bool ok;
    if (!file_exists(config)) ok = checkpoint_open(c, path, err) || alone_error(path, err);
    else if ((ok = safetensors_open(&theirs, path, err))) { /* ours is opened anew, with its CRCs */
        ok = is_ours(&theirs) ? checkpoint_open(c, path, err) : foreign_open(c, &theirs, config, err);
        checkpoint_close(&theirs);
    }
    free(dir);
    free(config);
    return ok;
}
