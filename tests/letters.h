/* A tokenizer of letters, and models of it with random weights, as checkpoints that the programs read. To be included
 * after cmocka.h. */
#ifndef LETTERS_H
#define LETTERS_H

#include "../tokenizer/tokenizer.h"
#include "small_model.h"

enum { SEQ = 17 };

/* Letters a to p, rarer and rarer, a space and a newline: all of them pieces, and no merges. */
static inline const char *letters_next(void *context, size_t *size) {
    static char text[1000];
    bool *given = context;
    size_t n = 0;
    if (*given) return NULL;
    *given = true;
    for (int letter = 0; letter < 16; letter++) {
        for (int i = 0; i < 18 - letter; i++) {
            text[n++] = (char)('a' + letter);
            text[n++] = i % 2 ? '\n' : ' ';
        }
    }
    *size = n;
    return text;
}

enum { LETTERS_VOCAB = 2 + 256 + 18 };

static inline tokenizer *letters_tokenizer(void) {
    struct error err;
    bool given = false;
    tokenizer *t = tokenizer_train(letters_next, &given, LETTERS_VOCAB, false, NULL, &err);
    if (!t) fail_msg("%s", err.text);
    return t;
}

static inline struct tensor tokenizer_tensor(const tokenizer *t) {
    size_t size;
    const void *model = tokenizer_model(t, &size);
    return (struct tensor){"tokenizer.model", DTYPE_U8, 1, {size}, (void *)model};
}

/* Writes the model's tensors with anything for a tokenizer (NULL: none) and for the metadata. */
static inline void checkpoint_save(const char *path, const struct model *m, const struct tensor *tokenizer,
                                   const json_t *metadata) {
    struct tensor tensors[MODEL_TENSORS + 1];
    struct error err;
    size_t n = model_state(m, tensors);
    if (tokenizer) tensors[n++] = *tokenizer;
    if (!checkpoint_write(path, tensors, n, metadata, &err)) fail_msg("%s", err.text);
}

static inline json_t *metadata_make(const char *config) {
    return json_pack("{s:s, s:s}", "format", MODEL_FORMAT, "config", config);
}

static inline void model_save(const struct model *m, const char *path) {
    tokenizer *t = letters_tokenizer();
    const struct tensor tensor = tokenizer_tensor(t);
    char *config = config_to_string(&m->config);
    json_t *metadata = metadata_make(config);
    checkpoint_save(path, m, &tensor, metadata);
    json_decref(metadata);
    free(config);
    tokenizer_free(t);
}

/* After position p comes byte p of the text (n of them, shorter than SEQ and C), and then the end of text: no draw can
 * choose another. */
static inline struct model reciting_model(const char *text, size_t n) {
    struct config config = small_config;
    config.vocab = LETTERS_VOCAB;
    config.seq = SEQ;
    config.ffn = FFN_DENSE;
    struct model m = model_make(&config, MODEL_INFER, 1);
    const size_t C = m.sizes.C;
    for (size_t p = 0; p <= n; p++) {
        const size_t piece = p < n ? 2 + (unsigned char)text[p] : 1;
        m.params.wte[piece * C + p] = 1;
        m.params.wpe[p * C + p] = 100;
    }
    for (size_t c = 0; c < C; c++) m.params.lnfw[c] = 30;
    return m;
}

/* Random weights in every tensor, except that bytes have embeddings, and so logits, of 0: the likeliest piece is then a
 * letter. */
static inline struct model letters_model_as(int vocab, enum block_kind block) {
    struct config config = small_config;
    config.vocab = vocab;
    config.seq = SEQ;
    config.layers = 3;
    config.moe_every = 2;
    config.block = block;
    config_preset(&config, NULL, 0, NULL);
    struct model m = model_random(&config, MODEL_INFER, 1, 833);
    real *head = config.tie ? m.params.wte : m.params.lmhead;
    memset(head + 2 * m.sizes.C, 0, 256 * m.sizes.C * sizeof(real)); /* their ids: 2 to 257 */
    memset(head, 0, m.sizes.C * sizeof(real));                       /* unknown */
    return m;
}
static inline struct model letters_model_of(int vocab) { return letters_model_as(vocab, BLOCK_GPT2); }
static inline struct model letters_model(void) { return letters_model_of(LETTERS_VOCAB); }

#endif
