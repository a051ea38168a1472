/* See config.h. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include "../layers/router.h"

const char *const block_words[] = {"gpt2", "llama", "modern", NULL};
static const char *const task_words[] = {"text", "masked", NULL};
static const char *const norm_words[] = {"layernorm", "rmsnorm", NULL};
static const char *const position_words[] = {"learned", "rotary", NULL};
static const char *const activation_words[] = {"gelu", "swiglu", "relu2", NULL};
static const char *const ffn_words[] = {"dense", "smoe", "mhmoe", NULL};
static const char *const router_words[] = {"softmax", "cosine", NULL};
static const char *const balance_words[] = {"aux", "bias", "none", NULL};

enum { SIZE_MOST = 1024 };

#define FIELD(name) offsetof(struct config, name)
const struct option_spec model_options[] = {
    {"task", 0, OPTION_CHOICE, FIELD(task), "text", 0, 0, task_words, "KIND",
     "what is learnt: to go on with a text, or to fill in what is hidden of pictures and texts", "Model"},
    {"size", 0, OPTION_INT, FIELD(size), "0", 0, SIZE_MOST, NULL, "N",
     "side of a picture in pixels, others are scaled (masked; 0: as they are, all alike)", NULL},
    {"patch", 0, OPTION_INT, FIELD(patch), "8", 1, 256, NULL, "N",
     "side of a patch in pixels (masked); a picture is (size / patch)^2 of them", NULL},
    {"codes", 0, OPTION_INT, FIELD(codes), "512", 2, 1 << 16, NULL, "N",
     "visual codes: what hidden patches are told apart by (masked)", NULL},
    {"documents", 0, OPTION_FLAG, FIELD(documents), "false", 0, 0, NULL, NULL,
     "attention stops at the ends of texts: a token sees, and counts its position from, the start of its own (text)",
     NULL},
    {"vocab", 0, OPTION_INT, FIELD(vocab), "4096", 259, 1 << 24, NULL, "N",
     "tokens in the vocabulary (256 of them are single bytes)", NULL},
    {"seq", 0, OPTION_INT, FIELD(seq), "128", 1, 1 << 20, NULL, "N", "sequence length in tokens", NULL},
    {"layers", 0, OPTION_INT, FIELD(layers), "4", 1, 1000, NULL, "N", "transformer blocks", NULL},
    {"channels", 0, OPTION_INT, FIELD(channels), "128", 1, 1 << 16, NULL, "N", "width of a token's vector", NULL},
    {"attn-heads", 0, OPTION_INT, FIELD(attn_heads), "2", 1, 1024, NULL, "N", "attention heads", NULL},
    {"block", 0, OPTION_CHOICE, FIELD(block), BLOCK_DEFAULT, 0, 0, block_words, "KIND",
     "what the options from --norm to --zero-start are where they are not given: those of llm.c's model, of arXiv "
     "2411.16205's, or of what learns fastest here", NULL},
    {"norm", 0, OPTION_CHOICE, FIELD(norm), "rmsnorm", 0, 0, norm_words, "KIND",
     "what a block's layers read: the stream less its mean and over its deviation, or over its root mean square", NULL},
    {"position", 0, OPTION_CHOICE, FIELD(position), "rotary", 0, 0, position_words, "KIND",
     "positions: a vector learned for each, or queries and keys that turn with them", NULL},
    {"activation", 0, OPTION_CHOICE, FIELD(activation), "relu2", 0, 0, activation_words, "KIND",
     "in dense layers and experts; swiglu takes a matrix more, and hidden layers are 2/3 as wide", NULL},
    {"bias", 0, OPTION_FLAG, FIELD(bias), "false", 0, 0, NULL, NULL, "biases in linear layers and layer norms", NULL},
    {"tie", 0, OPTION_FLAG, FIELD(tie), "true", 0, 0, NULL, NULL, "the token embedding is the output head too", NULL},
    {"qk-norm", 0, OPTION_FLAG, FIELD(qk_norm), "true", 0, 0, NULL, NULL,
     "bring queries and keys to one length before they are compared", NULL},
    {"zero-start", 0, OPTION_FLAG, FIELD(zero_start), "true", 0, 0, NULL, NULL,
     "matrices that write into the stream start at zero, so that a new model's blocks do nothing", NULL},
    {"ffn", 0, OPTION_CHOICE, FIELD(ffn), "mhmoe", 0, 0, ffn_words, "KIND",
     "feed-forward layers: dense, sparse mixture of experts, or multi-head mixture of experts", NULL},
    {"moe-heads", 0, OPTION_INT, FIELD(moe_heads), "4", 1, 1024, NULL, "H",
     "sub-tokens that a token is cut into (mhmoe)", NULL},
    {"experts", 0, OPTION_INT, FIELD(experts), "8", 1, 4096, NULL, "E", "experts in a layer", NULL},
    {"topk", 0, OPTION_INT, FIELD(topk), "2", 1, 64, NULL, "K", "experts for each sub-token", NULL},
    {"expert-hidden", 0, OPTION_INT, FIELD(expert_hidden), "0", 0, 1 << 20, NULL, "F",
     "hidden width of an expert (0: 4 times the sub-token's width; with swiglu 2/3 of that)", NULL},
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

/* What each block stands for, as options' values. */
static const struct {
    const char *option, *values[BLOCKS];
} presets[] = {
    {"norm", {"layernorm", "rmsnorm", "rmsnorm"}},
    {"position", {"learned", "rotary", "rotary"}},
    {"activation", {"gelu", "swiglu", "relu2"}},
    {"bias", {"true", "false", "false"}},
    {"tie", {"true", "false", "true"}},
    {"qk-norm", {"false", "false", "true"}},
    {"zero-start", {"false", "false", "true"}},
};
enum { PRESETS = sizeof presets / sizeof *presets };

void config_preset(struct config *config, const struct option_group *groups, size_t n, const bool *given) {
    const struct option_group own = {model_options, config};
    for (size_t i = 0; i < PRESETS; i++)
        if (!given || !options_given(groups, n, given, presets[i].option))
            option_set(&own, presets[i].option, presets[i].values[config->block]);
}

char *option_words(const struct option_group *group, const char *name) {
    char *value = option_text(group, name);
    const bool yes = strcmp(value, "true") == 0, no = strcmp(value, "false") == 0;
    char *words = yes || no ? string_format("--%s%s", no ? "no-" : "", name) : string_format("--%s %s", name, value);
    free(value);
    return words;
}

void config_preset_tell(const struct config *config, const struct option_group *groups, size_t n, const bool *given) {
    struct config as_block = *config;
    const struct option_group mine = {model_options, (void *)config}, its = {model_options, &as_block};
    char *list = string_format("%s", "");
    config_preset(&as_block, NULL, 0, NULL);
    for (size_t i = 0; i < PRESETS; i++) {
        char *words = option_words(&mine, presets[i].option), *other = option_words(&its, presets[i].option);
        if (strcmp(words, other) != 0) string_append(&list, "%s%s", *list ? ", " : "", words);
        free(words);
        free(other);
    }
    if (*list && options_given(groups, n, given, "block"))
        note_print("--block %s, but for what is given beside it: %s", block_words[config->block], list);
    free(list);
}

/* Four times as wide as what it reads, or as many parameters with three matrices. */
static size_t hidden_default(const struct config *c, size_t width) {
    const size_t two_thirds = 8 * width / 3;
    if (c->activation != ACTIVATION_SWIGLU) return 4 * width;
    return two_thirds > 8 ? two_thirds / 8 * 8 : two_thirds;
}

/* The next number of channels that can be cut into attention's heads, of pairs where positions turn them, and into
 * MoE heads. */
static size_t channels_fitting(const struct config *c) {
    const size_t heads = (size_t)c->attn_heads * (c->position == POSITION_ROTARY ? 2 : 1),
                 moe_heads = c->ffn == FFN_MHMOE ? (size_t)c->moe_heads : 1;
    size_t step = heads;
    while (step % moe_heads) step += heads;
    return ((size_t)c->channels / step + 1) * step;
}

/* The sizes of what a masked model is shown. */
static bool pictures_check(const struct config *c, struct sizes *s, struct error *err) {
    s->masked = c->task == TASK_MASKED;
    if (!s->masked || c->size == 0) return true;
    const int below = c->size / c->patch * c->patch, above = below + c->patch;
    if (c->size != below)
        return error_set(err, EXIT_USAGE, "--size %d is not divisible by --patch %d; use --size %d", c->size, c->patch,
                         above <= SIZE_MOST ? above : below);
    const size_t side = (size_t)(c->size / c->patch);
    s->P = side * side;
    s->Q = (size_t)(c->patch * c->patch * 3);
    s->codes = (size_t)c->codes;
    if (s->T < s->P + 2)
        return error_set(err, EXIT_USAGE, "--seq %d has no room for the %zu patches of a picture and a text of 2 "
                         "tokens; use --seq %zu or more, or larger patches (--patch)", c->seq, s->P, s->P + 2);
    return true;
}

/* The sizes that do not depend on experts. */
static bool block_check(const struct config *c, struct sizes *s, struct error *err) {
    *s = (struct sizes){.V = (size_t)c->vocab, .T = (size_t)c->seq, .C = (size_t)c->channels, .L = (size_t)c->layers,
                        .NH = (size_t)c->attn_heads, .W = activation_width((enum activation)c->activation),
                        .Fd = hidden_default(c, (size_t)c->channels), .learned = c->position == POSITION_LEARNED,
                        .bias = c->bias, .shift = c->bias && c->norm == NORM_LAYER, .untied = !c->tie,
                        .qk_norm = c->qk_norm, .documents = c->documents, .zero_start = c->zero_start};
    if (c->documents && c->task == TASK_MASKED)
        return error_set(err, EXIT_USAGE, "--documents: with --task masked each text is by itself already; leave it "
                         "out");
    if (s->C % s->NH)
        return error_set(err, EXIT_USAGE, "--channels %d is not divisible by --attn-heads %d; use --channels %zu",
                         c->channels, c->attn_heads, channels_fitting(c));
    if (!s->learned && s->C / s->NH % 2)
        return error_set(err, EXIT_USAGE, "--position rotary turns pairs of numbers: --channels %d over --attn-heads "
                         "%d leaves heads of %zu, an odd number; use --channels %zu", c->channels, c->attn_heads,
                         s->C / s->NH, channels_fitting(c));
    return pictures_check(c, s, err);
}

bool config_check(const struct config *c, struct sizes *s, struct error *err) {
    const bool moe = c->ffn != FFN_DENSE, multi_head = c->ffn == FFN_MHMOE;
    if (!block_check(c, s, err)) return false;
    s->LM = moe ? s->L / (size_t)c->moe_every : 0;
    s->LD = s->L - s->LM;
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
                         c->channels, s->H, channels_fitting(c));
    if (s->K > s->E)
        return error_set(err, EXIT_USAGE, "--topk %d is more than the %d experts; use at most --topk %d",
                         c->topk, c->experts, c->experts);
    s->S = s->C / s->H;
    s->F = c->expert_hidden ? (size_t)c->expert_hidden : hidden_default(c, s->S);
    s->Fs = (size_t)c->shared_hidden;
    s->shared = c->shared_hidden > 0;
    s->cosine = c->router == ROUTER_COSINE;
    s->D = s->cosine ? (size_t)c->router_dim : s->S;
    s->head = multi_head ? (size_t)c->head_depth : 0;
    s->merge = multi_head ? (size_t)c->merge_depth : 0;
    return true;
}

/* Every moe_every-th, counted from 1. */
bool block_is_moe(const struct config *c, const struct sizes *s, size_t l) {
    return s->LM > 0 && (l + 1) % (size_t)c->moe_every == 0;
}
size_t moe_blocks_before(const struct config *c, const struct sizes *s, size_t l) {
    return s->LM > 0 ? l / (size_t)c->moe_every : 0;
}

/* What an option needs to have any effect, by the field it sets; those not listed here always have one. */
enum need { MASKED, MOE, MULTI_HEAD, COSINE, AUX, BIAS, NEEDS };
static const struct {
    size_t field;
    enum need need;
} needs_of_options[] = {
    {FIELD(size), MASKED}, {FIELD(patch), MASKED}, {FIELD(codes), MASKED},
    {FIELD(experts), MOE}, {FIELD(topk), MOE}, {FIELD(expert_hidden), MOE}, {FIELD(moe_every), MOE},
    {FIELD(moe_residual), MOE}, {FIELD(router), MOE}, {FIELD(renormalize), MOE}, {FIELD(balance), MOE},
    {FIELD(z_weight), MOE}, {FIELD(moe_heads), MULTI_HEAD}, {FIELD(head_depth), MULTI_HEAD},
    {FIELD(merge_depth), MULTI_HEAD}, {FIELD(router_dim), COSINE}, {FIELD(balance_weight), AUX},
    {FIELD(bias_step), BIAS},
};

const char *option_missing(const struct config *c, const char *name) {
    static const char *const settings[NEEDS] = {"--task masked", "--ffn smoe or mhmoe", "--ffn mhmoe",
                                                "--router cosine", "--balance aux", "--balance bias"};
    const bool moe = c->ffn != FFN_DENSE;
    const bool there[NEEDS] = {c->task == TASK_MASKED, moe, c->ffn == FFN_MHMOE, moe && c->router == ROUTER_COSINE,
                               moe && c->balance == BALANCE_AUX, moe && c->balance == BALANCE_BIAS};
    const struct option_spec *spec = option_find(model_options, name);
    for (size_t i = 0; spec && i < sizeof needs_of_options / sizeof *needs_of_options; i++)
        if (needs_of_options[i].field == spec->offset && !there[needs_of_options[i].need])
            return settings[needs_of_options[i].need];
    return NULL;
}

char *config_to_string(const struct config *config) {
    const struct option_group group = {model_options, (void *)config};
    json_t *object = options_to_json(&group);
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return text;
}

/* Before there were blocks to choose from, all were GPT-2's, and a checkpoint said nothing of it. */
static void block_complete(json_t *object) {
    struct config gpt2 = {.block = BLOCK_GPT2};
    const struct option_group group = {model_options, &gpt2};
    bool said = json_object_get(object, "block");
    for (size_t i = 0; i < PRESETS; i++) said = said || json_object_get(object, presets[i].option);
    if (said) return;
    config_preset(&gpt2, NULL, 0, NULL);
    json_t *all = options_to_json(&group);
    json_object_set(object, "block", json_object_get(all, "block"));
    for (size_t i = 0; i < PRESETS; i++)
        json_object_set(object, presets[i].option, json_object_get(all, presets[i].option));
    json_decref(all);
}

/* Before there were tasks to choose from, all was text. */
static void task_complete(json_t *object) {
    static const char *const names[] = {"task", "size", "patch", "codes"};
    struct config text;
    const struct option_group group = {model_options, &text};
    bool said = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) said = said || json_object_get(object, names[i]);
    if (said) return;
    options_set_defaults(&group, 1);
    json_t *all = options_to_json(&group);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        json_object_set(object, names[i], json_object_get(all, names[i]));
    json_decref(all);
}

/* Before attention could stop at their ends, all documents were one. */
static void documents_complete(json_t *object) {
    if (!json_object_get(object, "documents")) json_object_set_new(object, "documents", json_false());
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
    block_complete(object);
    task_complete(object);
    documents_complete(object);
    const bool good = object ? options_from_json(&group, object, &why) && config_check(config, &sizes, &why)
                             : error_set(&why, EXIT_INPUT, "not JSON (%s)", bad.text);
    json_decref(object);
    return good || error_set(err, EXIT_INPUT, "%s: config: %s", c->path, why.text);
}
