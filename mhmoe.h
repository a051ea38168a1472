/* The model: a GPT whose feed-forward layers are dense, sparse (SMoE) or Multi-Head Mixture-of-Experts.
 *
 * One table of symbols, used in every file (P1 = arXiv 2404.15045; E1-E7: docs/MHMOE.md):
 *   B batch   T sequence   C channels   V vocabulary   L blocks   NH attention heads
 *   H MoE heads (P1: h)    S = C/H sub-token width (P1: d/h)      E experts (P1: N)
 *   K experts a sub-token  F expert hidden width    LM MoE blocks, LD dense blocks, L = LM + LD
 *   Fs shared expert's     D width of what the router compares with an expert: S, or less (cosine)
 *   Fd dense layer's       W numbers a hidden unit is made from: 1, or 2 (gate and value of swiglu)
 *   P patches of a picture Q numbers a patch (with --task masked)
 *   R = B*T rows           N = R*H sub-tokens       N*K picks: a pick is one (sub-token, expert) pair
 * Indices are the small letters; `d` before a name is its gradient. Read next: mhmoe.c. */
#ifndef MHMOE_H
#define MHMOE_H

#include "src/base/batch.h"
#include "src/run/config.h"
#include "src/math/gemm.h"
#include "src/run/parameters.h"
#include "src/run/parity.h"
#include "src/base/real.h"
#include "src/base/rng.h"
#include "src/layers/router.h"
#include "src/run/sampler.h"
#include "src/run/inherit.h"

/* Every trained tensor, once: struct, sizes, names, initialisation, weight decay and checkpoint come from
 * this list. X(name, part of the model, initialisation, shape...). A linear layer's matrix is (outputs, inputs), as in
 * llm.c; dense tensors have llm.c's names and layout, stacked over blocks. L, C, ... are fields of struct
 * sizes. What a part costs, how its matrices are stored and which tensors decay: src/run/parameters.h. A tensor of no
 * elements does not exist. */
#define PARAMETERS(X)                                                                      \
    X(wte,      EMBEDDING, NORMAL,          V, C)          /* token embedding; output head */\
    X(wpe,      POSITION,  NORMAL,          learned * T, C) /* position embedding */       \
    X(ln1w,     NORM,      ONE,             L, C)                                          \
    X(ln1b,     NORM,      ZERO,            shift * L, C)                                  \
    X(qkvw,     ATTENTION, NORMAL,          L, 3 * C, C)                                   \
    X(qkvb,     ATTENTION, ZERO,            bias * L, 3 * C)                               \
    X(attprojw, ATTENTION, NORMAL_RESIDUAL, L, C, C)                                       \
    X(attprojb, ATTENTION, ZERO,            bias * L, C)                                   \
    X(ln2w,     NORM,      ONE,             L, C)                                          \
    X(ln2b,     NORM,      ZERO,            shift * L, C)                                  \
    X(fcw,      FFN,       NORMAL,          LD, W * Fd, C) /* dense blocks */              \
    X(fcb,      FFN,       ZERO,            bias * LD, W * Fd)                             \
    X(fcprojw,  FFN,       NORMAL_RESIDUAL, LD, C, Fd)                                     \
    X(fcprojb,  FFN,       ZERO,            bias * LD, C)                                  \
    X(headw,    HEAD,      XAVIER_HALF,     LM * head, C, C)   /* E1 */                    \
    X(headb,    HEAD,      ZERO,            bias * LM * head, C)                           \
    X(routerp,  ROUTER,    NORMAL,          LM * cosine, D, S) /* E3: cosine router */     \
    X(routert,  ROUTER,    LOG_TEMPERATURE, LM * cosine)                                   \
    X(routerw,  ROUTER,    NORMAL,          LM, E, D)          /* E3 */                    \
    X(expw1,    EXPERT,    NORMAL,          LM, E, W * F, S)   /* E5: the experts */       \
    X(expb1,    EXPERT,    ZERO,            bias * LM, E, W * F)                           \
    X(expw2,    EXPERT,    NORMAL_RESIDUAL, LM, E, S, F)                                   \
    X(expb2,    EXPERT,    ZERO,            bias * LM, E, S)                               \
    X(sharedw1, SHARED,    NORMAL,          LM * shared, W * Fs, S)                        \
    X(sharedb1, SHARED,    ZERO,            bias * LM * shared, W * Fs)                    \
    X(sharedw2, SHARED,    NORMAL_RESIDUAL, LM * shared, S, Fs)                            \
    X(sharedb2, SHARED,    ZERO,            bias * LM * shared, S)                         \
    X(mergew,   MERGE,     XAVIER,          LM * merge, C, C)  /* E6 */                    \
    X(mergeb,   MERGE,     ZERO,            bias * LM * merge, C)                          \
    X(lnfw,     NORM,      ONE,             C)                                             \
    X(lnfb,     NORM,      ZERO,            shift * C)                                     \
    X(lmhead,   OUTPUT,    NORMAL,          untied * V, C) /* output head, if it is not wte */\
    X(patchw,   PATCH,     NORMAL,          (P > 0) * C, Q) /* patch embedding: see src/layers/inputs.h */\
    X(patchb,   PATCH,     ZERO,            (P > 0) * bias * C)                            \
    X(place,    POSITION,  NORMAL,          (1 - learned) * P, C) /* learned positions have one for each */\
    X(kind,     POSITION,  NORMAL,          masked * 2, C) /* picture, text */             \
    X(hidden,   POSITION,  NORMAL,          masked, C)     /* the mask embedding */        \
    X(codew,    CODES,     NORMAL,          codes, C)      /* output head of visual codes */

/* Pointers into one flat block, in the order of the list; NULL where a tensor has no elements. */
struct parameters {
#define X(name, ...) real *name;
    PARAMETERS(X)
#undef X
};

enum { PARAMETER_TENSORS = 0
#define X(...) + 1
    PARAMETERS(X)
#undef X
};

/* What a model is made for. */
enum model_use { MODEL_TRAIN, MODEL_INFER };
struct model_setup {
    enum model_use use;
    size_t batch;         /* it can take up to this many sequences at once */
    bool recompute;       /* MODEL_TRAIN: keep the stream between blocks only; backward computes the rest again */
    enum storage storage; /* how its matrices are stored, but for the routers'. MODEL_TRAIN: F32, or BF16, and then what
                             they are multiplied with is rounded to bf16 as well, and what backward needs is kept so */
};

struct activations; /* what backward needs of forward: see mhmoe.c */

struct model {
    struct config config;
    struct sizes sizes;
    struct model_setup setup;
    struct parameter_info info[PARAMETER_TENSORS];
    size_t n_parameters;
    real *param_memory, *grad_memory;   /* (n_parameters); no grad_memory when made for inference */
    struct parameters params, grads;
    char *packed[PARAMETER_TENSORS], *packed_t[PARAMETER_TENSORS]; /* matrices as gemm.h wants them: W^T, and W */
    void *work;                       /* work memory, of which one layer at a time has all */
    size_t work_bytes;
    struct activations *acts;
    real *router_bias;                /* (LM, E) of BALANCE_BIAS, else zeros; saved like parameters */
    double *load;                     /* (LM, E) picks since model_clear_statistics */
    double *balance_sum, *z_sum;      /* (LM) E7 and the z-loss, summed over forward passes since then */
    size_t forwards;                  /* how many */
    /* NULL, or whom to tell the choices (N,K) that MoE layer lm has just made, once a forward and layer. */
    void (*on_picks)(void *context, size_t lm, const int32_t *picks, size_t N);
    void *on_picks_context;
};

/* EXIT_USAGE if no machine could hold it, at sizes that no size_t or index could count. */
bool model_fits(const struct sizes *sizes, struct model_setup setup, struct error *err);

/* What the parameters are, as in model.info; returns how many numbers. */
size_t model_layout(struct parameter_info *info, const struct sizes *s);

/* Allocates a model; all parameters zero. */
bool model_create(struct model *m, const struct config *config, struct model_setup setup, struct error *err);
void model_destroy(struct model *m);

/* GPT-2's initialisation, and P1's for the head and merge layers: see PARAMETERS. */
void model_initialize(struct model *m, uint64_t seed);

/* Begins, after model_initialize, with what the model in a checkpoint has: see src/run/inherit.h. EXIT_INPUT, or
 * EXIT_MISMATCH. The first says beforehand whether that can be (but for the vocabulary, which is then that of the
 * checkpoint), and what is not copied: new reference, or NULL. */
json_t *model_inherits(const struct config *config, const struct checkpoint *c, struct error *err);
bool model_inherit(struct model *m, const struct checkpoint *c, struct error *err);

/* To be called whenever parameters changed: lays the weights out for gemm.h. */
void model_pack(struct model *m);

/* Computes a batch up to the last layer norm, and remembers it (not what it points at) for loss and backward. With
 * `from` > 0 it continues a sequence whose first `from` tokens went through earlier calls (the KV cache, which
 * setup.recompute does without): outputs are those of the T - from new ones, with the bits they would have had in one
 * call. With --documents a sequence that is continued so has no DOCUMENT_TOKEN but, perhaps, its first. */
void model_forward(struct model *m, const struct batch *batch);

/* Sum over the rows of the last forward of -log p(target), in nats; TARGET_NONE rows count nothing; *count receives
 * the number of the others. With `scale` > 0 also starts the backward pass of scale * sum: the logits, which exist
 * only a few rows at a time, become their own gradients in place. */
double model_loss(struct model *m, double scale, size_t *count);

/* Of each row of the last model_loss, -log p(target); 0 where the target is TARGET_NONE. Valid until the next one. */
const real *model_losses(const struct model *m);

/* Finishes it: adds to grad_memory the gradient of scale * sum + router_scale * (balance_weight * E7 + z_weight *
 * z-loss, summed over the layers). To be called after model_loss with scale > 0. */
void model_backward(struct model *m, double router_scale);

/* With BALANCE_BIAS, moves router_bias against the load since model_clear_statistics. Once a step. */
void model_balance(struct model *m);

/* Logits of one row of the last forward, whose batch's positions must still be there: of pieces (V), or of visual codes
 * (codes) where the row is a patch's. The caller may overwrite them. Valid until the next call. */
real *model_logits(struct model *m, size_t row);

/* Continues `prompt` (n > 0 tokens) by up to `count` tokens, handing each to `emit` until it returns false.
 * Past T positions the sequence goes on from its last T/2 tokens. */
void model_generate(struct model *m, const int32_t *prompt, size_t n, size_t count, struct sampler *sampler,
                    bool (*emit)(void *context, int32_t token), void *context);

void model_clear_statistics(struct model *m);

/* For tests: the name of an array of activations (or "work") past whose end something has written, or NULL. */
const char *model_overrun(const struct model *m);

/* What a step costs, for --dry-run; all from the shapes, which must have passed model_fits. */
struct model_cost {
    size_t parameters, active_parameters; /* active: those that one token's forward touches */
    double forward_flops, training_flops; /* a token, at full sequence length; 2 a multiply-add; with recompute,
                                             training has most of forward twice */
    size_t parameter_bytes;  /* with gradients, Adam's moments (MODEL_TRAIN) and packed matrices */
    size_t activation_bytes; /* with work memory, which grows with the number of threads */
};
struct model_cost model_cost(const struct sizes *sizes, struct model_setup setup);

/* One feed-forward layer of the kind that makes the model what it is, for comparisons at equal cost: its sizes, and
 * all that it costs: what the model costs more than one of the same shape with dense layers alone. */
struct moe_layer model_moe_layer(const struct config *config, const struct sizes *sizes, struct layer_cost *cost);

/* Creates the model that a checkpoint holds and reads its parameters. EXIT_INPUT or EXIT_MISMATCH. */
bool model_load(struct model *m, const struct checkpoint *c, struct model_setup setup, struct error *err);

/* The parameters (or blocks of the same layout: moments, gradients) as named tensors for a checkpoint:
 * names are prefix + the list's. Returns how many were written to `out` (room for PARAMETER_TENSORS). */
size_t model_tensors(const struct model *m, real *block, const char *prefix, struct tensor *out);

/* All that makes the model: its parameters and, where it is in use, router.bias (room for MODEL_TENSORS). */
enum { MODEL_TENSORS = PARAMETER_TENSORS + 1 };
size_t model_state(const struct model *m, struct tensor *out);

#endif
