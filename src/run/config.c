/* See config.h. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include "../layers/router.h"

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

/* What an option needs to have any effect, by the field it sets; those not listed here always have one. */
enum need { MOE, MULTI_HEAD, COSINE, AUX, BIAS, NEEDS };
static const struct {
    size_t field;
    enum need need;
} needs_of_options[] = {
    {FIELD(experts), MOE}, {FIELD(topk), MOE}, {FIELD(expert_hidden), MOE}, {FIELD(moe_every), MOE},
    {FIELD(moe_residual), MOE}, {FIELD(router), MOE}, {FIELD(renormalize), MOE}, {FIELD(balance), MOE},
    {FIELD(z_weight), MOE}, {FIELD(moe_heads), MULTI_HEAD}, {FIELD(head_depth), MULTI_HEAD},
    {FIELD(merge_depth), MULTI_HEAD}, {FIELD(router_dim), COSINE}, {FIELD(balance_weight), AUX},
    {FIELD(bias_step), BIAS},
};

const char *option_missing(const struct config *c, const char *name) {
    static const char *const settings[NEEDS] = {"--ffn smoe or mhmoe", "--ffn mhmoe", "--router cosine",
                                                "--balance aux", "--balance bias"};
    const bool moe = c->ffn != FFN_DENSE;
    const bool there[NEEDS] = {moe, c->ffn == FFN_MHMOE, moe && c->router == ROUTER_COSINE,
                               moe && c->balance == BALANCE_AUX, moe && c->balance == BALANCE_BIAS};
    const struct option_spec *spec = model_options;
    while (spec->name && strcmp(spec->name, name) != 0) spec++;
    for (size_t i = 0; spec->name && i < sizeof needs_of_options / sizeof *needs_of_options; i++)
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
