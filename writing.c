/* See writing.h. One text at a time: what it needs is a struct text; token_take hears of each token. */
#include "writing.h"

#include <stdlib.h>
#include <string.h>
#include "src/base/text.h"
#include "src/run/likelihood.h"
#include "src/run/runlog.h"
#include "src/run/stop_strings.h"
#include "tokenizer/healing.h"
#include "tokenizer/report.h"
#include "tokenizer/writer.h"

/* A prompt's tokens as the model is shown them. */
struct start {
    int32_t *ids;
    size_t n;
    struct healing healing; /* what was taken back */
};

static struct start start_of(const struct writing *w, const struct prompt *p) {
    struct start s = {0};
    s.ids = prompt_encode(w->tokenizer, p->text, p->size, &s.n);
    if (w->heal) s.n = healing_begin(&s.healing, w->tokenizer, s.ids, s.n);
    if (s.n == 0) s.ids[s.n++] = tokenizer_end_of_text(w->tokenizer); /* what a text begins behind */
    return s;
}

static void start_free(struct start *s) {
    free(s->ids);
    healing_free(&s->healing);
}

/* ---- One text ---- */

struct text {
    struct writing *w;
    struct sampler sampler;
    struct text_stream out;
    struct stop_strings stops;
    struct healing healing;
    bool *barred;
    size_t counted; /* tokens that were not the prompt's */
    const char *reason;
    json_t *tokens, *logprobs, *top; /* with json */
    real *logits;                    /* (V) of the next token */
};

static void text_emit(void *context, const char *bytes, size_t size) {
    struct text *x = context;
    text_write(&x->out, bytes, size);
}

static void logits_keep(void *context, const real *logits, size_t V) {
    struct text *x = context;
    memcpy(x->logits, logits, V * sizeof *logits);
}

static void token_note(struct text *x, int32_t token) {
    const size_t V = x->w->model->sizes.V;
    const double log_sum = logits_log_sum(x->logits, V);
    json_array_append_new(x->tokens, json_integer(token));
    json_array_append_new(x->logprobs, json_number((double)x->logits[token] - log_sum));
    if (x->top)
        json_array_append_new(x->top, likeliest_report(x->w->tokenizer, x->logits, V, (size_t)x->w->logprobs, log_sum));
}

/* What can come next: anything, once the tokens that were taken back are written again. */
static void bars_set(struct text *x) {
    x->sampler.barred = x->healing.size > 0 ? x->barred : NULL;
    if (x->healing.size > 0) healing_bar(&x->healing, x->w->tokenizer, x->barred);
}

static bool text_over(struct text *x, const char *reason) {
    x->reason = reason;
    return false;
}

static bool token_take(void *context, int32_t token) {
    struct text *x = context;
    size_t size;
    const char *piece = tokenizer_piece(x->w->tokenizer, token, &size);
    const bool heals = x->healing.size > 0;
    const size_t had = healing_take(&x->healing, size); /* of the piece, by the prompt */
    x->w->written++;
    if (x->tokens) token_note(x, token);
    if (heals) bars_set(x);
    if (token == tokenizer_end_of_text(x->w->tokenizer)) return text_over(x, "end");
    if (stop_strings_feed(&x->stops, piece + had, size - had)) return text_over(x, "stop");
    x->counted += !heals || had < size;
    if (x->counted == x->w->tokens) return text_over(x, "length");
    if (x->w->interrupted && x->w->interrupted()) return text_over(x, "interrupt");
    return !ferror(stdout); /* somebody reads */
}

static void text_start(struct text *x, struct writing *w, const struct start *start, const struct prompt *p) {
    const size_t V = w->model->sizes.V;
    *x = (struct text){.w = w, .sampler = w->sampler, .out = {.out = stdout, .visible = w->visible}, .reason = "length",
                       .healing = healing_copy(&start->healing)};
    x->stops = (struct stop_strings){.strings = w->stops, .n = w->n_stops, .emit = text_emit, .context = x};
    x->barred = array_alloc(V, sizeof *x->barred);
    bars_set(x);
    const bool left = start->healing.size < p->size; /* else ids are what a text begins behind, which was not there */
    if (left) sampler_read(&x->sampler, start->ids, start->n);
    if (!w->json) return;
    x->tokens = json_array();
    x->logprobs = json_array();
    x->top = w->logprobs > 0 ? json_array() : NULL;
    x->logits = array_alloc(V, sizeof *x->logits);
    x->sampler.on_logits = logits_keep;
    x->sampler.on_logits_context = x;
}

static void text_generate(struct text *x, const struct start *start) {
    const size_t most = x->w->tokens + start->healing.size; /* a token may write but a byte of the prompt's again */
    model_generate(x->w->model, start->ids, start->n, most, &x->sampler, token_take, x);
    stop_strings_end(&x->stops);
    text_end(&x->out);
    sampler_free(&x->sampler);
    healing_free(&x->healing);
    free(x->barred);
    free(x->logits);
}

/* ---- What is written ---- */

static void text_print(struct text *x, const struct start *start, const struct prompt *p) {
    if (x->w->echo) text_write(&x->out, p->text, p->size);
    text_generate(x, start);
    printf("\n");
}

static void text_report(struct text *x, const struct start *start, const struct prompt *p, int sample) {
    char *text = NULL;
    size_t size;
    x->out = (struct text_stream){.out = open_memstream(&text, &size)};
    if (!x->out.out) return;
    text_generate(x, start);
    fclose(x->out.out);
    json_t *line = json_pack("{s:o, s:o, s:o, s:o}", "prompt", json_text(p->text, p->size), "text",
                             json_stringn(text, size), "tokens", x->tokens, "logprobs", x->logprobs);
    if (x->top) json_object_set_new(line, "top", x->top);
    if (start->healing.size > 0)
        json_object_set_new(line, "healed", json_text(start->healing.bytes, start->healing.size));
    json_object_set_new(line, "seed", json_integer((json_int_t)x->w->seed));
    json_object_set_new(line, "sample", json_integer(sample));
    json_object_set_new(line, "stop", json_string(x->reason));
    line_write(line);
    free(text);
}

/* Which text of which prompt comes now, where there are several. */
static void heading_print(const struct writing *w, size_t number, int sample) {
    if (number > 0 || sample > 0) printf("\n");
    if (w->several && w->samples > 1) printf("--- prompt %zu, sample %d ---\n", number + 1, sample + 1);
    else if (w->several) printf("--- prompt %zu ---\n", number + 1);
    else printf("--- sample %d ---\n", sample + 1);
}

void writing_answer(struct writing *w, const struct prompt *prompt, size_t number) {
    struct start start = start_of(w, prompt);
    if (start.n > w->model->sizes.T)
        note_print("a prompt is longer than the model reads at a time: of its %zu tokens only the last %zu count",
                   start.n, w->model->sizes.T);
    for (int i = 0; i < w->samples && !ferror(stdout); i++) {
        struct text x;
        text_start(&x, w, &start, prompt);
        rng_seed(&x.sampler.rng, w->seed, (uint64_t)number << 32 | (uint64_t)i);
        if (w->json) text_report(&x, &start, prompt, i + 1);
        else {
            if (w->several || w->samples > 1) heading_print(w, number, i);
            text_print(&x, &start, prompt);
        }
        if (w->interrupted && w->interrupted()) break;
    }
    start_free(&start);
}
