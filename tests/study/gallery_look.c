/* Which held-out pictures are looked at, and what a model says of them. See gallery.h. */
#include "gallery.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../src/base/text.h"
#include "../../src/run/likelihood.h"
#include "dependence.h"

/* ---- The pictures ---- */

/* A text of the record that begins with the name of the language, and with nothing else; NULL: there is none. */
static const struct album_text *text_in(const struct album_record *r, const int32_t *prefix, size_t n) {
    for (size_t i = 0; r->pixels && i < r->n_texts; i++)
        if (r->texts[i].prefix == n && (n == 0 || memcmp(r->texts[i].tokens, prefix, n * sizeof *prefix) == 0))
            return &r->texts[i];
    return NULL;
}

/* The text of tokens, without the space that parts it from its language. malloc'ed. */
static char *tokens_text(const tokenizer *t, const int32_t *tokens, size_t n) {
    char *text = NULL;
    size_t length = 0, size;
    struct text_stream stream = {.out = open_memstream(&text, &length)};
    if (!stream.out) return string_format("(out of memory)");
    for (size_t i = 0; i < n; i++) {
        const char *bytes = tokenizer_piece(t, tokens[i], &size);
        const size_t skip = i == 0 && size > 0 && bytes[0] == ' ';
        text_write(&stream, bytes + skip, size - skip);
    }
    text_end(&stream);
    fclose(stream.out);
    return text;
}

static void item_add(struct gallery *g, const struct album_record *r, const struct album_text *text,
                     const tokenizer *t, size_t room) {
    const size_t pixels = g->size * g->size * 3, n = text->n < room ? text->n : room;
    struct item *item = &g->items[g->n++];
    *item = (struct item){.name = text_as_utf8(r->name, strlen(r->name)), .n = n, .prefix = text->prefix,
                          .caption = tokens_text(t, text->tokens + text->prefix, n - text->prefix),
                          .pixels = array_alloc(pixels, 1), .tokens = array_alloc(n, sizeof *item->tokens)};
    memcpy(item->pixels, r->pixels, pixels);
    memcpy(item->tokens, text->tokens, n * sizeof *item->tokens);
}

/* Goes through all records that have a picture and a caption that has room, if only for a token and its end: once to
 * count them, once more for those that are taken. */
static bool records_walk(struct gallery *g, struct album *a, const struct gallery_options *o, const tokenizer *t,
                         struct error *err) {
    int32_t *prefix = NULL;
    size_t n = 0, capacity = 0, seen = 0;
    const size_t count = g->held_out, wanted = count < o->most ? count : o->most;
    bool ok = true;
    language_prefix(t, o->language, &prefix, &n, &capacity);
    for (size_t i = 0; ok && i < album_records(a); i++) {
        struct album_record record;
        const struct album_text *text;
        if (!(ok = album_read(a, i, &record, err)) || !(text = text_in(&record, prefix, n)) || n + 2 > o->room)
            continue;
        if (g->items && seen == g->n * count / wanted) item_add(g, &record, text, t, o->room);
        seen++;
    }
    g->held_out = seen;
    free(prefix);
    return ok;
}

bool captions_equal(const struct gallery *g, size_t i, size_t j) {
    const struct item *a = &g->items[i], *b = &g->items[j];
    return a->n == b->n && memcmp(a->tokens, b->tokens, a->n * sizeof *a->tokens) == 0;
}

static size_t captions_different(const struct gallery *g) {
    size_t n = 0;
    for (size_t i = 0; i < g->n; i++) {
        size_t j = 0;
        while (j < i && !captions_equal(g, i, j)) j++;
        n += j == i;
    }
    return n;
}

bool gallery_read(struct gallery *g, const struct gallery_options *o, const tokenizer *t, struct error *err) {
    *g = (struct gallery){.name = text_as_utf8(o->dir, strlen(o->dir)), .language = string_format("%s", o->language)};
    struct album *a = album_open(o->dir, "val", (size_t)1 << 28, err);
    if (!a) return false;
    g->size = album_size(a);
    g->patch = album_patch(a);
    g->P = g->size ? (g->size / g->patch) * (g->size / g->patch) : 0;
    bool ok = records_walk(g, a, o, t, err);
    g->items = array_alloc(o->most < g->held_out ? o->most : g->held_out, sizeof *g->items);
    ok = ok && records_walk(g, a, o, t, err);
    album_close(a);
    g->shown = o->shown < g->n ? o->shown : g->n;
    const size_t different = ok ? captions_different(g) : LEAST;
    if (different < LEAST)
        return error_set(err, EXIT_INPUT, "%s: too few held-out pictures to choose from (got %zu of %zu with different "
                         "captions, want at least %d); raise --pictures, or train on more", o->dir, different,
                         g->held_out, LEAST);
    return ok;
}

void gallery_free(struct gallery *g) {
    for (size_t i = 0; i < g->n; i++) {
        free(g->items[i].name);
        free(g->items[i].caption);
        free(g->items[i].pixels);
        free(g->items[i].tokens);
    }
    free(g->items);
    free(g->name);
    free(g->language);
}

size_t gallery_shown(const struct gallery *g, size_t i) { return i * g->n / g->shown; }

/* ---- What was hidden, filled in ---- */

static void fills_add(struct subject *s, struct model *m, const struct batch *batch, const uint32_t *parts) {
    const size_t rows = batch_rows(batch), V = m->sizes.V;
    size_t count;
    model_forward(m, batch);
    model_loss(m, 0, &count);
    const real *losses = model_losses(m);
    for (size_t r = 0; r < rows; r++) {
        if (batch->targets[r] == TARGET_NONE) continue;
        const bool code = (size_t)batch->targets[r] >= V;
        const int32_t want = code ? batch->targets[r] - (int32_t)V : batch->targets[r];
        struct filled *f = &s->filled[parts[r]];
        int32_t likeliest;
        logits_highest(model_logits(m, r), code ? m->sizes.codes : V, 1, &likeliest);
        f->n++;
        f->right += likeliest == want;
        f->loss += (double)losses[r];
    }
}

bool fills_look(struct subject *s, struct masked *k, struct feed *f, struct error *err) {
    const size_t all = feed_section_epoch(f, 0), most = k->model->setup.batch;
    s->kinds = feed_parts(f);
    s->filled = array_alloc(s->kinds, sizeof *s->filled);
    for (size_t i = 0; i < s->kinds; i++) s->filled[i].kind = feed_part_name(f, i);
    for (size_t i = 0; i < all; i += most) {
        struct batch batch;
        const uint32_t *parts;
        if (!feed_look(f, 0, i, all - i < most ? all - i : most, &batch, &parts, err)) return false;
        fills_add(s, k->model, &batch, parts);
    }
    return true;
}

/* ---- Captions beside pictures ---- */

void scores_look(struct subject *s, struct masked *k, const struct gallery *g) {
    const bool progress = g->progress && isatty(STDERR_FILENO);
    const size_t n = g->n;
    struct masked_pair *pairs = array_alloc(n, sizeof *pairs);
    s->scores = array_alloc(n * n, sizeof *s->scores);
    s->alone = array_alloc(n, sizeof *s->alone);
    for (size_t i = 0; i < n; i++) {
        const struct item *item = &g->items[i];
        if (progress) fprintf(stderr, "\r\033[K%s: caption %zu of %zu", s->name, i + 1, n);
        for (size_t j = 0; j < n; j++)
            pairs[j] = (struct masked_pair){g->items[j].pixels, item->tokens, item->n, item->prefix};
        masked_scores(k, pairs, n, s->scores + i * n);
    }
    for (size_t i = 0; i < n; i++) {
        const struct item *item = &g->items[i];
        pairs[i] = (struct masked_pair){NULL, item->tokens, item->n, item->prefix};
    }
    masked_scores(k, pairs, n, s->alone);
    if (progress) fputs("\r\033[K", stderr);
    free(pairs);
}

/* ---- Experts ---- */

/* The items in a batch: some from the first on. */
struct noting {
    struct subject *subject;
    const struct gallery *gallery;
    size_t first, n;
    double *reached; /* (E), for nobody */
};

static void picks_note(void *context, size_t lm, const int32_t *picks, size_t N) {
    const struct noting *o = context;
    const struct sizes *z = &o->subject->sizes;
    const size_t each = z->H * z->K, n = o->gallery->n;
    (void)N;
    for (size_t i = o->first; i < o->first + o->n; i++) {
        const struct picks patches = {picks, z->P, z->H, z->K, z->E},
                           words = {picks + z->P * each, o->gallery->items[i].n, z->H, z->K, z->E};
        double *counts = o->subject->counts + (lm * n + i) * 2 * z->E;
        windows_count(&patches, patches.tokens, counts);
        windows_count(&words, words.tokens, counts + z->E);
        reach_count(&patches, z->K, o->subject->reach + (lm * n + i) * z->P, o->reached);
        picks += z->T * each; /* beside a picture a text has all its room */
    }
}

void picks_look(struct subject *s, struct masked *k, const struct gallery *g) {
    const struct sizes *z = &s->sizes;
    const size_t most = k->model->setup.batch;
    struct example *examples = array_alloc(most, sizeof *examples);
    struct noting noting = {.subject = s, .gallery = g, .reached = array_alloc(z->E, sizeof *noting.reached)};
    s->counts = array_alloc(z->LM * 2 * g->n * z->E, sizeof *s->counts);
    s->reach = array_alloc(z->LM * g->n * z->P, sizeof *s->reach);
    k->model->on_picks = picks_note;
    k->model->on_picks_context = &noting;
    for (; noting.first < g->n && z->LM > 0; noting.first += noting.n) {
        struct batch batch;
        noting.n = g->n - noting.first < most ? g->n - noting.first : most;
        for (size_t i = 0; i < noting.n; i++) {
            const struct item *item = &g->items[noting.first + i];
            examples[i] = (struct example){.pixels = item->pixels, .tokens = item->tokens, .n = item->n};
        }
        examples_show(&batch, &k->rows, examples, noting.n);
        model_forward(k->model, &batch);
    }
    k->model->on_picks = NULL;
    free(examples);
    free(noting.reached);
}

/* ---- What the page shows ---- */

void hole_make(bool *hidden, const struct gallery *g) {
    const size_t side = g->size / g->patch, from = (side + 1) / 4, to = side - from;
    for (size_t p = 0; p < g->P; p++)
        hidden[p] = p / side >= from && p / side < to && p % side >= from && p % side < to;
}

static char *caption_write(struct masked *k, const struct item *item) {
    int32_t *tokens = array_alloc(k->rows.room, sizeof *tokens);
    memcpy(tokens, item->tokens, item->prefix * sizeof *tokens);
    const size_t n = masked_caption(k, item->pixels, tokens, item->prefix, 0);
    char *text = tokens_text(k->tokenizer, tokens + item->prefix, n - item->prefix);
    free(tokens);
    return text;
}

/* Mean over the MoE layers. malloc'ed; NULL without any. */
static double *item_reach(const struct subject *s, const struct gallery *g, size_t i) {
    const size_t LM = s->sizes.LM, P = g->P;
    if (LM == 0) return NULL;
    double *reach = array_alloc(P, sizeof *reach);
    for (size_t lm = 0; lm < LM; lm++)
        for (size_t p = 0; p < P; p++) reach[p] += s->reach[(lm * g->n + i) * P + p];
    for (size_t p = 0; p < P; p++) reach[p] /= (double)LM; /* of whole numbers: equal ones stay equal */
    return reach;
}

void showings_look(struct subject *s, struct masked *k, const struct gallery *g) {
    const size_t pixels = g->size * g->size * 3;
    bool *hidden = array_alloc(g->P, sizeof *hidden);
    hole_make(hidden, g);
    s->showings = array_alloc(g->shown, sizeof *s->showings);
    for (size_t v = 0; v < g->shown; v++) {
        const struct item *item = &g->items[gallery_shown(g, v)];
        s->showings[v] = (struct showing){.caption = caption_write(k, item), .painted = array_alloc(pixels, 1),
                                    .reach = item_reach(s, g, gallery_shown(g, v))};
        memcpy(s->showings[v].painted, item->pixels, pixels);
        masked_paint(k, s->showings[v].painted, hidden, NULL, 0);
    }
    free(hidden);
}

void subject_free(struct subject *s, const struct gallery *g) {
    for (size_t v = 0; s->showings && v < g->shown; v++) {
        free(s->showings[v].caption);
        free(s->showings[v].painted);
        free(s->showings[v].reach);
    }
    free(s->showings);
    free(s->name);
    free(s->path);
    free(s->filled);
    free(s->scores);
    free(s->alone);
    free(s->counts);
    free(s->reach);
}
