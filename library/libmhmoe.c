/* The library: what libmhmoe.h promises, on top of mhmoe.h and tokenizer.h. It is as far from the model as ./sample is,
 * and like it knows nothing of how a model is trained. */
#include "libmhmoe.h"

#include <stdlib.h>
#include <string.h>
#include "../foreign/import.h"
#include "../mhmoe.h"
#include "../scoring.h"
#include "../tokenizer/tokenizer.h"

struct mhmoe {
    struct model model;
    tokenizer *tokenizer;
};

static bool error_give(struct mhmoe_error *to, const struct error *from) {
    to->code = from->code;
    memcpy(to->text, from->text, sizeof to->text);
    return false;
}
_Static_assert(sizeof((struct mhmoe_error *)NULL)->text == sizeof((struct error *)NULL)->text, "whole lines");

const char *mhmoe_version(void) { return OPTIONS_VERSION; }

/* Whether there is the memory for a model, before it is asked for where a refusal would end the program. */
static bool memory_check(const struct checkpoint *c, struct model_setup setup, struct error *err) {
    struct config config;
    struct sizes sizes;
    if (!config_from_checkpoint(&config, c, err) || !config_check(&config, &sizes, err) ||
        !model_fits(&sizes, setup, err))
        return false;
    const struct model_cost cost = model_cost(&sizes, setup);
    void *volatile room = malloc(cost.parameter_bytes + cost.activation_bytes); /* else a compiler may leave it out */
    free(room);
    return room || error_set(err, EXIT_MEMORY, "%s: out of memory (%zu bytes for this model)", c->path,
                             cost.parameter_bytes + cost.activation_bytes);
}

static bool model_check(const struct mhmoe *m, const struct checkpoint *c, struct error *err) {
    if (m->model.sizes.masked)
        return error_set(err, EXIT_MISMATCH, "%s: a masked model, which does not go on with a text; take one of text",
                         c->path);
    return tokenizer_fits(m->tokenizer, m->model.config.vocab, c->path, err);
}

mhmoe *mhmoe_load(const char *path, struct mhmoe_error *out) {
    const struct model_setup setup = {.use = MODEL_INFER, .batch = 1};
    struct checkpoint c;
    struct error err;
    char *file = checkpoint_path(path);
    const bool opened = source_open(&c, file, &err);
    free(file);
    if (!opened) return error_give(out, &err), NULL;
    struct mhmoe *m = array_alloc(1, sizeof *m);
    const bool loaded = memory_check(&c, setup, &err) && model_load(&m->model, &c, setup, &err);
    const bool ok = loaded && (m->tokenizer = tokenizer_from_checkpoint(&c, &err)) && model_check(m, &c, &err);
    checkpoint_close(&c);
    if (ok) return m;
    error_give(out, &err);
    if (loaded) mhmoe_free(m);
    else free(m);
    return NULL;
}

void mhmoe_free(mhmoe *m) {
    if (!m) return;
    tokenizer_free(m->tokenizer);
    model_destroy(&m->model);
    free(m);
}

int32_t mhmoe_vocab(const mhmoe *m) { return m->model.config.vocab; }
int32_t mhmoe_end_of_text(const mhmoe *m) { return tokenizer_end_of_text(m->tokenizer); }
size_t mhmoe_context(const mhmoe *m) { return m->model.sizes.T; }

size_t mhmoe_tokenize(const mhmoe *m, const char *text, size_t size, int32_t *tokens, size_t room) {
    int32_t *ids = NULL;
    size_t n = 0, capacity = 0;
    tokenizer_encode(m->tokenizer, text, size, &ids, &n, &capacity);
    if (n > 0 && room > 0) memcpy(tokens, ids, (n < room ? n : room) * sizeof *tokens);
    free(ids);
    return n;
}

size_t mhmoe_detokenize(const mhmoe *m, const int32_t *tokens, size_t n, char *text, size_t room) {
    size_t total = 0, size;
    for (size_t i = 0; i < n; i++, total += size) {
        const char *bytes = tokenizer_piece(m->tokenizer, tokens[i], &size);
        if (total < room) memcpy(text + total, bytes, size < room - total ? size : room - total);
    }
    return total;
}

/* The tokens behind an end of text, and the others of a prompt without any. malloc'ed; NULL if one is none. */
static int32_t *tokens_copy(const struct mhmoe *m, bool end_first, const int32_t *tokens, size_t n, struct error *err) {
    const int32_t vocab = mhmoe_vocab(m);
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= vocab) {
            error_set(err, EXIT_USAGE, "token %zu: there is none of this number (got %d, want 0 to %d)", i, tokens[i],
                      vocab - 1);
            return NULL;
        }
    int32_t *copy = array_alloc(n + 1, sizeof *copy);
    copy[0] = mhmoe_end_of_text(m);
    if (n > 0) memcpy(copy + end_first, tokens, n * sizeof *copy);
    return copy;
}

bool mhmoe_score(mhmoe *m, const int32_t *tokens, size_t n, double *logprobs, struct mhmoe_error *out) {
    struct error err;
    int32_t *ids = tokens_copy(m, true, tokens, n, &err);
    if (!ids) return error_give(out, &err);
    real *losses = array_alloc(m->model.sizes.T, sizeof *losses);
    for (struct span s = {.stop = 1}; span_next(&s, m->model.sizes.T, n + 1);) {
        span_score(&m->model, ids, &s, 0, losses);
        for (size_t i = s.from; i < s.stop; i++) logprobs[i - 1] = 0.0 - (double)losses[i - s.from];
    }
    free(losses);
    free(ids);
    return true;
}

bool mhmoe_sample(mhmoe *m, const int32_t *prompt, size_t n, const struct mhmoe_sampling *how,
                  bool (*emit)(void *context, int32_t token), void *context, struct mhmoe_error *out) {
    struct sampler sampler = {SAMPLER_PLAIN, .temperature = how->temperature, .top_k = how->top_k,
                              .top_p = how->top_p};
    struct error err;
    if (!(how->temperature >= 0) || how->top_k < 0 || !(how->top_p >= 0 && how->top_p <= 1)) {
        error_set(&err, EXIT_USAGE, "sampling: bad value (got temperature %g, top_k %d, top_p %g; want 0 up, 0 up, "
                  "0 to 1)", how->temperature, how->top_k, how->top_p);
        return error_give(out, &err);
    }
    int32_t *ids = tokens_copy(m, false, prompt, n, &err);
    if (!ids) return error_give(out, &err);
    rng_seed(&sampler.rng, how->seed, 0);
    model_generate(&m->model, ids, n ? n : 1, how->tokens, &sampler, emit, context);
    free(ids);
    return true;
}
