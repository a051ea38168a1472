/* See masked.h. All of it is one idea: show an example, look at what the model says of its hidden rows. */
#include "masked.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool masked_open(struct masked *k, struct model *m, const tokenizer *t, const struct checkpoint *c, struct error *err) {
    const struct sizes *s = &m->sizes;
    *k = (struct masked){.model = m, .tokenizer = t};
    if (!s->masked)
        return error_set(err, EXIT_MISMATCH, "%s: a model of text, which was never shown a picture or a gap to fill; "
                         "take one that was trained with --task masked", c->path);
    k->rows = (struct example_rows){.size = (size_t)m->config.size, .patch = (size_t)m->config.patch,
                                    .room = s->T - s->P, .vocab = m->config.vocab};
    if (s->codes == 0) return true;
    return codebook_from_checkpoint(&k->codebook, c, s->codes, s->Q, err);
}

void masked_close(struct masked *k) {
    codebook_free(&k->codebook);
    example_rows_free(&k->rows);
    *k = (struct masked){0};
}

void language_prefix(const tokenizer *t, const char *language, int32_t **ids, size_t *n, size_t *capacity) {
    char *prefix = string_format("%s:", language);
    if (*language) tokenizer_encode(t, prefix, strlen(prefix), ids, n, capacity);
    free(prefix);
}

/* Shows the model examples, and remembers the batch in *batch. */
static void examples_read(struct masked *k, struct batch *batch, const struct example *examples, size_t n) {
    examples_show(batch, &k->rows, examples, n);
    model_forward(k->model, batch);
}

/* What is likeliest in a hidden row. */
struct guess {
    int32_t id;
    double log_p;
};

/* Of n things; with a tokenizer those are pieces, of which only such that have bytes are guessed. */
static struct guess row_guess(struct masked *k, size_t row, size_t n, const tokenizer *t) {
    const real *logits = model_logits(k->model, row);
    struct guess best = {-1, -INFINITY};
    double high = -INFINITY, sum = 0;
    size_t bytes = 1;
    for (size_t i = 0; i < n; i++) high = fmax(high, (double)logits[i]);
    for (size_t i = 0; i < n; i++) {
        sum += exp((double)logits[i] - high);
        if (t) tokenizer_piece(t, (int32_t)i, &bytes); /* an end of text, say, is nothing to write */
        if (bytes > 0 && (double)logits[i] > best.log_p) best = (struct guess){(int32_t)i, (double)logits[i]};
    }
    best.log_p -= high + log(sum);
    return best;
}

/* ---- Text ---- */

double masked_fill(struct masked *k, const unsigned char *pixels, int32_t *tokens, size_t n) {
    const size_t first = pixels ? k->model->sizes.P : 0;
    double sum = 0;
    for (;;) {
        struct guess surest = {-1, -INFINITY};
        struct batch batch;
        size_t at = 0;
        examples_read(k, &batch, &(struct example){.pixels = pixels, .tokens = tokens, .n = n}, 1);
        for (size_t i = 0; i < n; i++) {
            if (tokens[i] != TOKEN_HIDDEN) continue;
            const struct guess guess = row_guess(k, first + i, k->model->sizes.V, k->tokenizer);
            if (surest.id < 0 || guess.log_p > surest.log_p) surest = guess, at = i;
        }
        if (surest.id < 0) return sum;
        tokens[at] = surest.id;
        sum += surest.log_p;
    }
}

/* Texts with one token hidden, as many as the model takes at once, and what the log p of each is added to. */
struct gaps {
    struct example *examples;
    int32_t *tokens; /* (most, 2, T) shown and wanted */
    double **sums;
    size_t n, most;
};

static void gaps_score(struct masked *k, struct gaps *g) {
    struct batch batch;
    size_t count;
    if (g->n == 0) return;
    examples_read(k, &batch, g->examples, g->n);
    model_loss(k->model, 0, &count);
    const real *losses = model_losses(k->model);
    for (size_t i = 0; i < g->n; i++)
        for (int32_t r = batch.offsets[i]; r < batch.offsets[i + 1]; r++) *g->sums[i] -= (double)losses[r];
    g->n = 0;
}

static void gap_add(struct masked *k, struct gaps *g, const struct masked_pair *pair, size_t at, double *sum) {
    if (g->n == g->most) gaps_score(k, g);
    int32_t *shown = g->tokens + g->n * 2 * k->model->sizes.T, *wanted = shown + pair->n;
    memcpy(shown, pair->tokens, pair->n * sizeof *shown);
    for (size_t i = 0; i < pair->n; i++) wanted[i] = TARGET_NONE;
    wanted[at] = shown[at];
    shown[at] = TOKEN_HIDDEN;
    g->sums[g->n] = sum;
    g->examples[g->n++] = (struct example){.pixels = pair->pixels, .tokens = shown, .targets = wanted, .n = pair->n};
}

void masked_scores(struct masked *k, const struct masked_pair *pairs, size_t n, double *scores) {
    const size_t most = k->model->setup.batch;
    struct gaps g = {.examples = array_alloc(most, sizeof *g.examples), .sums = array_alloc(most, sizeof *g.sums),
                     .tokens = array_alloc(most * 2 * k->model->sizes.T, sizeof *g.tokens), .most = most};
    for (size_t i = 0; i < n; i++) {
        scores[i] = 0;
        for (size_t at = pairs[i].prefix; at < pairs[i].n; at++) gap_add(k, &g, &pairs[i], at, &scores[i]);
    }
    gaps_score(k, &g);
    free(g.examples);
    free(g.sums);
    free(g.tokens);
}

double masked_score(struct masked *k, const unsigned char *pixels, const int32_t *tokens, size_t n, size_t prefix) {
    double score;
    masked_scores(k, &(struct masked_pair){pixels, tokens, n, prefix}, 1, &score);
    return score;
}

/* The probability of a piece in a hidden row. */
static double row_p(struct masked *k, size_t row, int32_t id) {
    const real *logits = model_logits(k->model, row);
    double sum = 0;
    for (size_t i = 0; i < k->model->sizes.V; i++) sum += exp((double)logits[i] - (double)logits[id]);
    return 1 / sum; /* 0 where that is beyond all bounds */
}

/* The length of a text behind n tokens, where all of it is hidden: the median (the likeliest is mostly too short).
 * Nobody was ever asked what stands behind an end, so a row's p of it is that of an end there if there is none before.
 */
static size_t length_guess(struct masked *k, const unsigned char *pixels, int32_t *tokens, size_t n) {
    const size_t room = k->rows.room, first = (pixels ? k->model->sizes.P : 0) + n, most = room - n - 1;
    const int32_t end = tokenizer_end_of_text(k->tokenizer);
    double longer = 1; /* how likely it is */
    struct batch batch;
    for (size_t i = n; i < room; i++) tokens[i] = TOKEN_HIDDEN;
    examples_read(k, &batch, &(struct example){.pixels = pixels, .tokens = tokens, .n = room}, 1);
    for (size_t length = 1; length < most; length++) {
        longer *= 1 - row_p(k, first + length, end);
        if (longer < 0.5) return length;
    }
    return most;
}

size_t masked_caption(struct masked *k, const unsigned char *pixels, int32_t *tokens, size_t n, size_t length) {
    const size_t end = n + (length ? length : length_guess(k, pixels, tokens, n));
    for (size_t i = n; i < end; i++) tokens[i] = TOKEN_HIDDEN;
    tokens[end] = tokenizer_end_of_text(k->tokenizer);
    masked_fill(k, pixels, tokens, end + 1);
    return end + 1;
}

/* ---- Pictures ---- */

void masked_paint(struct masked *k, unsigned char *pixels, const bool *hidden, const int32_t *tokens, size_t n) {
    const struct sizes *s = &k->model->sizes;
    const size_t size = k->rows.size, patch = k->rows.patch, Q = s->Q;
    bool *left = array_alloc(s->P, sizeof *left);
    real *patches = array_alloc(s->P * Q, sizeof *patches);
    memcpy(left, hidden, s->P * sizeof *left);
    for (;;) {
        const struct example shown = {.pixels = pixels, .hidden = left, .tokens = tokens, .n = n};
        struct guess surest = {-1, -INFINITY};
        struct batch batch;
        size_t at = 0;
        examples_read(k, &batch, &shown, 1);
        for (size_t p = 0; p < s->P; p++) {
            if (!left[p]) continue;
            const struct guess guess = row_guess(k, p, s->codes, NULL);
            if (surest.id < 0 || guess.log_p > surest.log_p) surest = guess, at = p;
        }
        if (surest.id < 0) break;
        left[at] = false;
        patches_of(patches, pixels, size, patch);
        memcpy(patches + at * Q, k->codebook.entries + (size_t)surest.id * Q, Q * sizeof *patches);
        patches_to(pixels, patches, size, patch);
    }
    free(left);
    free(patches);
}
