/* Small masked models of pictures and letters, as masked.c takes them and as checkpoints that ./sample reads; what such
 * a model says, by batches that are put together here by hand. To be included after cmocka.h. */
#ifndef SMALL_MASKED_H
#define SMALL_MASKED_H

#define example batch_example /* small_model.h's; masked.h has another */
#include "letters.h"
#undef example
#include "../masked.h"

/* Pictures of 6 x 6 pixels in 9 patches of 2 x 2, and texts of up to 16 tokens. */
enum { SIDE = 6, PATCH = 2, ACROSS = SIDE / PATCH, P = ACROSS * ACROSS, Q = PATCH * PATCH * 3, CODES = 11, ROOM = 16,
       PIXELS = SIDE * SIDE * 3 };

static inline struct config masked_config(bool pictures) {
    struct config config = small_config;
    config.task = TASK_MASKED;
    config.size = pictures ? SIDE : 0;
    config.patch = PATCH;
    config.codes = CODES;
    config.vocab = LETTERS_VOCAB;
    config.seq = (pictures ? P : 0) + ROOM;
    return config;
}

/* Random weights, with the bytes' pieces out of the way as in letters_model_as, and the end of text (piece 1) often the
 * likeliest of all. */
static inline struct model masked_model(bool pictures, size_t batch, uint64_t seed) {
    const struct config config = masked_config(pictures);
    struct model m = model_random(&config, MODEL_INFER, batch, seed);
    memset(m.params.wte + 2 * m.sizes.C, 0, 256 * m.sizes.C * sizeof(real));
    memset(m.params.wte, 0, m.sizes.C * sizeof(real));
    for (size_t c = 0; c < m.sizes.C; c++) m.params.wte[m.sizes.C + c] *= 3;
    model_pack(&m);
    return m;
}

/* Entries within and beyond what a pixel can be. */
static inline real *codebook_random(uint64_t seed) {
    real *entries = array_alloc(CODES * Q, sizeof *entries);
    struct rng rng;
    rng_seed(&rng, seed, 4711);
    for (size_t i = 0; i < CODES * Q; i++) entries[i] = (real)(2.4 * rng_uniform(&rng) - 1.2);
    return entries;
}

static inline void pixels_random(unsigned char *pixels, uint64_t seed) {
    struct rng rng;
    rng_seed(&rng, seed, 815);
    for (size_t i = 0; i < PIXELS; i++) pixels[i] = (unsigned char)rng_below(&rng, 256);
}

/* As ./train saves one; entries NULL: without a codebook; language NULL: without one. */
static inline void masked_save(const struct model *m, const real *entries, const char *language, const char *path) {
    tokenizer *t = letters_tokenizer();
    const struct tensor pieces = tokenizer_tensor(t);
    struct tensor tensors[MODEL_TENSORS + 2];
    struct error err;
    char *config = config_to_string(&m->config);
    json_t *metadata = metadata_make(config);
    size_t n = model_state(m, tensors);
    if (language) json_object_set_new(metadata, "language", json_string(language));
    if (entries)
        tensors[n++] = (struct tensor){"codebook", tensors[0].dtype, 2, {CODES, Q}, (void *)entries};
    tensors[n++] = pieces;
    if (!checkpoint_write(path, tensors, n, metadata, &err)) fail_msg("%s", err.text);
    json_decref(metadata);
    free(config);
    tokenizer_free(t);
}

/* ---- What it says ---- */

/* One example; the model's logits need it for as long as they are asked for. */
struct sight {
    int32_t rows[P + ROOM], positions[P + ROOM], ends[P + ROOM], offsets[2];
    real patches[P * Q];
    size_t first; /* row of the first token */
};

/* Rows of a picture, of which those patches are hidden (NULL: none). */
static inline size_t sight_picture(struct sight *s, const unsigned char *pixels, const bool *hidden) {
    size_t shown = 0;
    for (int p = 0; p < P; p++) {
        s->rows[p] = hidden && hidden[p] ? TOKEN_HIDDEN : TOKEN_PATCH;
        s->positions[p] = p;
        for (int q = 0; s->rows[p] == TOKEN_PATCH && q < Q; q++) {
            const int y = p / ACROSS * PATCH + q / 3 / PATCH, x = p % ACROSS * PATCH + q / 3 % PATCH;
            s->patches[shown++] = (real)(pixels[(y * SIDE + x) * 3 + q % 3] / 127.5 - 1);
        }
    }
    return P;
}

/* Forward of a picture (pixels NULL: none) and tokens (n); beside a picture a text has all its room, the rest hidden.
 */
static inline void masked_show(struct model *m, struct sight *s, const unsigned char *pixels, const bool *hidden,
                               const int32_t *tokens, size_t n) {
    const size_t start = m->sizes.P; /* of a text's positions */
    *s = (struct sight){0};
    if (pixels) s->first = sight_picture(s, pixels, hidden);
    for (size_t i = 0; i < n; i++) {
        s->rows[s->first + i] = tokens[i];
        s->positions[s->first + i] = (int32_t)(start + i);
    }
    const size_t length = s->first + (s->first > 0 && n > 0 ? ROOM : n);
    for (size_t i = s->first + n; i < length; i++) {
        s->rows[i] = TOKEN_HIDDEN;
        s->positions[i] = (int32_t)i;
    }
    for (size_t i = 0; i < length; i++) s->ends[i] = (int32_t)length;
    s->offsets[1] = (int32_t)length;
    model_forward(m, &(struct batch){.B = 1, .T = length, .tokens = s->rows, .offsets = s->offsets,
                                     .positions = s->positions, .ends = s->ends, .patches = s->patches});
}

/* log p of the i-th of n logits. */
static inline double log_p(const real *logits, size_t n, size_t i) {
    double sum = 0;
    for (size_t k = 0; k < n; k++) sum += exp((double)logits[k] - (double)logits[i]);
    return -log(sum);
}

#endif
