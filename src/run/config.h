/* What a model is: the options that choose it, the sizes that follow, and which of them fit together.
 * Symbols are mhmoe.h's. */
#ifndef CONFIG_H
#define CONFIG_H

#include "../layers/norm.h"
#include "../layers/position.h"
#include "../math/activation.h"
#include "checkpoint.h"
#include "options.h"

enum ffn_kind { FFN_DENSE, FFN_SMOE, FFN_MHMOE };
enum balance { BALANCE_AUX, BALANCE_BIAS, BALANCE_NONE };
enum task_kind { TASK_TEXT, TASK_MASKED };
/* The end of a text, as our tokenizers number it: the token before a document, from which its first one is foretold. */
enum { DOCUMENT_TOKEN = 1 };
enum block_kind { BLOCK_GPT2, BLOCK_LLAMA, BLOCK_MODERN, BLOCKS };

/* What the user chooses: one field an option, see model_options in config.c. */
struct config {
    int task;              /* enum task_kind: what is learnt */
    int size, patch, codes; /* TASK_MASKED: a picture's side and a patch's in pixels (size 0: no pictures); codebook */
    bool documents;        /* a token sees nothing before its document, which DOCUMENT_TOKEN begins */
    int vocab, seq, layers, channels, attn_heads;
    int block;             /* enum block_kind: what the seven that follow are where they are not given */
    int norm;              /* enum norm_kind */
    int position;          /* enum position_kind */
    int activation;        /* enum activation, of dense layers and experts */
    bool bias;             /* linear layers and layer norms have biases */
    bool tie;              /* the embedding is the output head too */
    bool qk_norm;          /* queries and keys are normalised */
    bool zero_start;       /* what writes into the stream starts at zero */
    int ffn;               /* enum ffn_kind */
    int moe_heads, experts, topk;
    int expert_hidden;     /* 0: as a dense layer's for its width, see config_check */
    int moe_every;         /* blocks n-1, 2n-1, ... are MoE blocks */
    int shared_hidden;     /* of an expert that serves every sub-token; 0: none */
    int head_depth, merge_depth; /* layers in the stacks of E1 and E6 (never with FFN_SMOE) */
    bool moe_residual;     /* E5 adds its input (P1 eq. 6) */
    int router;            /* enum router_kind */
    int router_dim;        /* D of the cosine router */
    bool renormalize;      /* gates of a sub-token sum to 1 (E4) */
    int balance;           /* enum balance */
    double balance_weight; /* coefficient of E7 */
    double bias_step;      /* of BALANCE_BIAS */
    double z_weight;       /* coefficient of the router's z-loss */
};
extern const struct option_spec model_options[];
extern const char *const block_words[];
#define BLOCK_DEFAULT "modern"

/* The sizes that follow from it. */
struct sizes {
    size_t V, T, C, L, NH, H, S, E, K, F, Fs, Fd, D, W, LM, LD;
    size_t head, merge;    /* layers in the stack; 0: none */
    size_t masked, P, Q, codes; /* TASK_MASKED; patches of a picture, numbers a patch, visual codes (0: no pictures) */
    size_t cosine, shared, learned, bias, shift, untied, qk_norm, documents; /* 1 or 0; shift: norms have biases */
    bool zero_start;
};

/* EXIT_USAGE if they do not fit together: the message says which, and what would fit. */
bool config_check(const struct config *config, struct sizes *sizes, struct error *err);

/* Whether block l is a mixture of experts, and how many of those before it are. */
bool block_is_moe(const struct config *config, const struct sizes *sizes, size_t l);
size_t moe_blocks_before(const struct config *config, const struct sizes *sizes, size_t l);

/* Sets the options that config->block stands for, but not those that were given (`groups`, `n` and `given` are
 * options_parse's; given may be NULL: none was). If the block was given too, config_preset_tell says in a line on
 * standard error what contradicts it. */
void config_preset(struct config *config, const struct option_group *groups, size_t n, const bool *given);
void config_preset_tell(const struct config *config, const struct option_group *groups, size_t n, const bool *given);

/* An option as it stands on a command line: "--norm rmsnorm", "--bias", "--no-bias". malloc'ed. */
char *option_words(const struct option_group *group, const char *name);

/* The setting without which option `name` of model_options changes nothing, as in "--router cosine", or NULL. */
const char *option_missing(const struct config *config, const char *name);

/* What a checkpoint of this version says in its metadata ("format"); others are not read. */
#define MODEL_FORMAT "mhmoe 1"

/* The configuration as it stands in a checkpoint's metadata ("config"). */
char *config_to_string(const struct config *config);

/* Reads it back, and checks it and the format. EXIT_INPUT: whatever is wrong, the file was put together wrongly. */
bool config_from_checkpoint(struct config *config, const struct checkpoint *c, struct error *err);

#endif
