/* From picks to numbers: one JSON object with everything that the report says. See analyse.h.
 *
 * A row of a table is one flat object; what the keys mean is said in the report (analyse_report.c), where they are
 * headings. A number that does not exist (a correlation with a constant) is null. */
#include "analyse.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "dependence.h"
#include "numbers.h"
#include "routing.h"

/* ---- Words -------------------------------------------------------------------------------------- */

struct occurrence {
    const char *word;
    size_t token;
};

static int occurrence_compare(const void *a, const void *b) {
    const struct occurrence *s = a, *t = b;
    const int order = strcmp(s->word, t->word);
    return order ? order : (s->token > t->token) - (s->token < t->token);
}

/* Letters of other scripts count, so that no piece of a word passes for a word; WordNet knows only a to z. */
static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

/* The bytes of the text with small letters and a NUL for all that is no letter. malloc'ed. */
static char *letters_of(const struct text *text, const tokenizer *t, size_t *size) {
    char *bytes = NULL;
    size_t capacity = 0;
    *size = 0;
    for (size_t i = 0; i < text->n; i++) {
        size_t length;
        const char *piece = tokenizer_piece(t, text->tokens[i], &length);
        bytes = array_grow(bytes, &capacity, *size + length + 1, 1);
        for (size_t j = 0; j < length; j++) {
            const char c = piece[j];
            bytes[(*size)++] = !is_letter(c) ? 0 : c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
        }
    }
    bytes[*size] = 0;
    return bytes;
}

/* Every run of letters, with the token in which it begins, in order of the text. */
static struct occurrence *occurrences_of(const struct text *text, const tokenizer *t, const char *bytes,
                                         size_t *n) {
    struct occurrence *list = NULL;
    size_t capacity = 0, at = 0;
    *n = 0;
    for (size_t i = 0; i < text->n; i++) {
        size_t length;
        tokenizer_piece(t, text->tokens[i], &length);
        for (const size_t end = at + length; at < end; at++) {
            if (bytes[at] == 0 || (at > 0 && bytes[at - 1] != 0)) continue;
            list = array_grow(list, &capacity, *n + 1, sizeof *list);
            list[(*n)++] = (struct occurrence){bytes + at, i};
        }
    }
    return list;
}

struct words words_find(const struct text *text, const tokenizer *t, const struct wordnet *w) {
    struct words words = {0};
    size_t size, n, capacity = 0;
    words.bytes = letters_of(text, t, &size);
    struct occurrence *list = occurrences_of(text, t, words.bytes, &n);
    if (n > 0) qsort(list, n, sizeof *list, occurrence_compare);
    words.tokens = array_alloc(n, sizeof *words.tokens);
    for (size_t i = 0; i < n; i++) {
        words.tokens[i] = list[i].token;
        if (i == 0 || strcmp(list[i].word, list[i - 1].word) != 0) {
            words.list = array_grow(words.list, &capacity, words.n + 1, sizeof *words.list);
            words.list[words.n++] =
                (struct word){list[i].word, words.tokens + i, 0, wordnet_senses(w, list[i].word)};
        }
        words.list[words.n - 1].count++;
    }
    free(list);
    return words;
}

void words_free(struct words *w) {
    free(w->bytes);
    free(w->tokens);
    free(w->list);
}

/* ---- Layers ------------------------------------------------------------------------------------- */

/* How often each of some experts is used, in the three ways that P1's wording allows. */
struct frequencies {
    double *tokens;    /* share of tokens that reach it: some sub-token picked it */
    double *picks;     /* picks a token, from 0 to H */
    double *subtokens; /* share of sub-tokens that picked it: picks / H */
    double *even;      /* picks in units of an even share: the same by token and by sub-token */
    double *even_tokens; /* tokens that reach it, by what reach_expected gives each expert */
    size_t n;          /* experts: of one layer, or of all */
};

/* Everything about one model that is counted once: layers one after the other in every array. */
struct counts {
    double *picks;             /* (LM, H, E) */
    double *load;              /* (LM, E) over all sub-tokens */
    struct frequencies f;      /* (LM * E) */
    double *reach, *reach_top; /* (n) experts that a token reaches with all picks, with first picks: sum over
                                * layers, a whole number, so that equal means come out equal and share a rank */
    double *layer_reach, *layer_reach_top; /* (LM) the mean over tokens */
};

static struct picks routing_of(const struct subject *s, const struct text *text, size_t lm) {
    const struct sizes *z = &s->sizes;
    return (struct picks){s->picks + lm * text->n * z->H * z->K, text->n, z->H, z->K, z->E};
}

static void counts_layer(struct counts *c, const struct subject *s, const struct text *text, size_t lm,
                         double *some) {
    const size_t H = s->sizes.H, K = s->sizes.K, E = s->sizes.E, n = text->n;
    const struct picks r = routing_of(s, text, lm);
    double *reached = c->f.tokens + lm * E, *picks = c->picks + lm * H * E;
    picks_count(&r, picks);
    reach_count(&r, 1, some, reached);
    for (size_t t = 0; t < n; t++) c->reach_top[t] += some[t];
    c->layer_reach_top[lm] = mean_of(some, n);
    reach_count(&r, K, some, reached);
    for (size_t t = 0; t < n; t++) c->reach[t] += some[t];
    c->layer_reach[lm] = mean_of(some, n);
    for (size_t e = 0; e < E; e++) {
        double sum = 0;
        for (size_t h = 0; h < H; h++) sum += picks[h * E + e];
        c->load[lm * E + e] = sum;
        c->f.picks[lm * E + e] = sum / (double)n;
        c->f.subtokens[lm * E + e] = sum / (double)(n * H);
    }
    shares_relative(c->load + lm * E, E, (double)(n * H * K), c->f.even + lm * E);
    shares_relative(reached, E, (double)n * reach_expected(H, K, E), c->f.even_tokens + lm * E);
    for (size_t e = 0; e < E; e++) reached[e] /= (double)n;
}

static struct counts counts_make(const struct subject *s, const struct text *text) {
    const size_t LM = s->sizes.LM, all = LM * s->sizes.E;
    struct counts c = {.picks = array_alloc(all * s->sizes.H, 8), .load = array_alloc(all, 8),
                       .f = {array_alloc(all, 8), array_alloc(all, 8), array_alloc(all, 8),
                             array_alloc(all, 8), array_alloc(all, 8), all},
                       .reach = array_alloc(text->n, 8), .reach_top = array_alloc(text->n, 8),
                       .layer_reach = array_alloc(LM, 8), .layer_reach_top = array_alloc(LM, 8)};
    double *some = array_alloc(text->n, sizeof *some);
    for (size_t lm = 0; lm < LM; lm++) counts_layer(&c, s, text, lm, some);
    free(some);
    return c;
}

static void counts_free(struct counts *c) {
    free(c->picks), free(c->load), free(c->f.tokens), free(c->f.picks), free(c->f.subtokens);
    free(c->f.even), free(c->f.even_tokens);
    free(c->reach), free(c->reach_top), free(c->layer_reach), free(c->layer_reach_top);
}

static struct frequencies frequencies_of(const struct counts *c, size_t lm, size_t E) {
    const struct frequencies *f = &c->f;
    const size_t at = lm * E;
    return (struct frequencies){f->tokens + at, f->picks + at, f->subtokens + at, f->even + at, f->even_tokens + at, E};
}

/* Adds the ratios at a threshold in even shares to a row. */
static json_t *ratios_add_even(json_t *row, const struct frequencies *f, double threshold) {
    json_object_set_new(row, "active_even", number(active_ratio(f->even, f->n, threshold)));
    json_object_set_new(row, "active_even_tokens", number(active_ratio(f->even_tokens, f->n, threshold)));
    return row;
}

/* Adds the three ratios at one threshold, not relative to anything, to a row. */
static json_t *ratios_add(json_t *row, const struct frequencies *f, double threshold) {
    json_object_set_new(row, "active_tokens", number(active_ratio(f->tokens, f->n, threshold)));
    json_object_set_new(row, "active_picks", number(active_ratio(f->picks, f->n, threshold)));
    json_object_set_new(row, "active_subtokens", number(active_ratio(f->subtokens, f->n, threshold)));
    return row;
}

/* Eighths of an even share from 0 to 4, which no more than a quarter of all experts can exceed. */
static json_t *sweep_even_of(const char *label, const struct frequencies *f) {
    json_t *rows = json_array();
    for (int eighths = 0; eighths <= 32; eighths++) {
        json_t *row = json_pack("{s:s, s:f}", "layer", label, "multiple", eighths / 8.0);
        json_array_append_new(rows, ratios_add_even(row, f, eighths / 8.0));
    }
    return rows;
}

/* Quarters of 1/E from 0 to `most` of them. */
static json_t *sweep_of(const char *label, const struct frequencies *f, size_t E, double most) {
    json_t *rows = json_array();
    for (double multiple = 0; multiple <= most; multiple += 0.25) {
        const double threshold = multiple / (double)E;
        json_t *row = json_pack("{s:s, s:f, s:f}", "layer", label, "multiple", multiple, "threshold", threshold);
        json_array_append_new(rows, ratios_add(row, f, threshold));
    }
    return rows;
}

/* What a layer and all layers together have in common: the ratios at an even share, those at 1/E, evenness. */
static json_t *row_start(const char *label, const struct frequencies *f, size_t E, struct evenness v) {
    json_t *row = ratios_add_even(json_pack("{s:s}", "layer", label), f, 1);
    ratios_add(row, f, 1 / (double)E);
    json_object_set_new(row, "entropy", number(v.entropy));
    json_object_set_new(row, "entropy_normalised", number(v.normalised));
    json_object_set_new(row, "variation", number(v.variation));
    json_object_set_new(row, "largest", number(v.largest));
    json_object_set_new(row, "dead", json_integer((json_int_t)v.dead));
    return row;
}

static void reach_add(json_t *row, const struct sizes *z, double reach, double reach_top) {
    json_object_set_new(row, "reach", number(reach));
    json_object_set_new(row, "reach_even", number(reach_expected(z->H, z->K, z->E)));
    json_object_set_new(row, "reach_top", number(reach_top));
    json_object_set_new(row, "reach_top_even", number(reach_expected(z->H, 1, z->E)));
}

static void sweeps_add(json_t *row, const char *label, const struct frequencies *f, size_t E, double most) {
    json_object_set_new(row, "sweep_even", sweep_even_of(label, f));
    json_object_set_new(row, "sweep", sweep_of(label, f, E, most));
}

static json_t *layer_row(const struct subject *s, const struct counts *c, size_t lm, const char *label,
                         double most) {
    const size_t H = s->sizes.H, E = s->sizes.E;
    const struct frequencies f = frequencies_of(c, lm, E);
    json_t *row = row_start(label, &f, E, load_evenness(c->load + lm * E, E)), *heads = json_array();
    for (size_t h = 0; h < H; h++) json_array_append_new(heads, numbers(c->picks + (lm * H + h) * E, E));
    json_object_set_new(row, "picks", heads);
    json_object_set_new(row, "load_even", numbers(f.even, E));
    json_object_set_new(row, "tokens_even", numbers(f.even_tokens, E));
    json_object_set_new(row, "frequency_tokens", numbers(f.tokens, E));
    json_object_set_new(row, "frequency_picks", numbers(f.picks, E));
    json_object_set_new(row, "frequency_subtokens", numbers(f.subtokens, E));
    sweeps_add(row, label, &f, E, most);
    reach_add(row, &s->sizes, c->layer_reach[lm], c->layer_reach_top[lm]);
    return row;
}

/* All layers: the means of their rows, the sum of dead experts, the largest share anywhere; ratios over all
 * experts. */
static json_t *all_row(const struct subject *s, const struct counts *c, double most) {
    const size_t LM = s->sizes.LM, E = s->sizes.E;
    struct evenness sum = {0};
    for (size_t lm = 0; lm < LM; lm++) {
        const struct evenness v = load_evenness(c->load + lm * E, E);
        sum.entropy += v.entropy / (double)LM;
        sum.normalised += v.normalised / (double)LM;
        sum.variation += v.variation / (double)LM;
        sum.largest = fmax(sum.largest, v.largest);
        sum.dead += v.dead;
    }
    json_t *row = row_start("all", &c->f, E, sum);
    sweeps_add(row, "all", &c->f, E, most);
    reach_add(row, &s->sizes, mean_of(c->layer_reach, LM), mean_of(c->layer_reach_top, LM));
    return row;
}

/* ---- Divergence --------------------------------------------------------------------------------- */

/* How often each token's piece occurs in the text -> count (n). */
static void tokens_count(const struct text *text, size_t V, double *count) {
    size_t *seen = array_alloc(V, sizeof *seen);
    for (size_t t = 0; t < text->n; t++) seen[text->tokens[t]]++;
    for (size_t t = 0; t < text->n; t++) count[t] = (double)seen[text->tokens[t]];
    free(seen);
}

static json_t *tenth_row(int tenth, const int *tenth_of, size_t n, size_t LM, const double *count,
                         const struct counts *c) {
    double tokens = 0, counts = 0, all = 0, top = 0;
    for (size_t t = 0; t < n; t++) {
        if (tenth_of[t] != tenth) continue;
        tokens++;
        counts += count[t];
        all += c->reach[t];
        top += c->reach_top[t];
    }
    const double layers = tokens * (double)LM;
    return json_pack("{s:i, s:f, s:o, s:o, s:o}", "decile", tenth + 1, "tokens", tokens, "occurrences",
                     number(counts / tokens), "reach", number(all / layers), "reach_top", number(top / layers));
}

static void deciles_add(json_t *model, const struct subject *s, const struct text *text, const struct counts *c) {
    double *count = array_alloc(text->n, sizeof *count);
    int *tenth_of = array_alloc(text->n, sizeof *tenth_of);
    json_t *rows = json_array();
    tokens_count(text, s->sizes.V, count);
    tenths(count, text->n, tenth_of);
    for (int tenth = 0; tenth < TENTHS; tenth++)
        json_array_append_new(rows, tenth_row(tenth, tenth_of, text->n, s->sizes.LM, count, c));
    json_object_set_new(model, "deciles", rows);
    json_object_set_new(model, "reach_frequency_correlation", number(spearman(count, c->reach, text->n)));
    free(count);
    free(tenth_of);
}

/* The words that WordNet knows, as columns. */
struct known {
    double *senses, *count, *reach, *reach_top;
    size_t n;
};

static struct known known_make(const struct words *words, const struct counts *c, size_t LM) {
    struct known k = {array_alloc(words->n, 8), array_alloc(words->n, 8), array_alloc(words->n, 8),
                      array_alloc(words->n, 8), 0};
    for (size_t i = 0; i < words->n; i++) {
        const struct word *w = &words->list[i];
        if (w->senses == 0) continue;
        for (size_t j = 0; j < w->count; j++) {
            k.reach[k.n] += c->reach[w->tokens[j]];
            k.reach_top[k.n] += c->reach_top[w->tokens[j]];
        }
        k.reach[k.n] /= (double)(w->count * LM);
        k.reach_top[k.n] /= (double)(w->count * LM);
        k.senses[k.n] = w->senses;
        k.count[k.n++] = (double)w->count;
    }
    return k;
}

static json_t *senses_row(const struct known *k, const char *label, double low, double high) {
    double words = 0, count = 0, all = 0, top = 0;
    for (size_t i = 0; i < k->n; i++) {
        if (k->senses[i] < low || k->senses[i] > high) continue;
        words++;
        count += k->count[i];
        all += k->reach[i];
        top += k->reach_top[i];
    }
    return json_pack("{s:s, s:f, s:o, s:o, s:o}", "senses", label, "words", words, "occurrences",
                     number(count / words), "reach", number(all / words), "reach_top", number(top / words));
}

static json_t *correlation_row(const char *label, const struct known *k, const int *tenth, const double *reach) {
    return json_pack("{s:s, s:o, s:o, s:o}", "divergence", label, "spearman",
                     number(spearman(k->senses, reach, k->n)), "spearman_within",
                     number(spearman_within(k->senses, reach, tenth, k->n)), "standard_error",
                     number(1 / sqrt((double)k->n - 1)));
}

static void senses_add(json_t *model, const struct words *words, const struct counts *c, size_t LM) {
    static const struct {
        const char *label;
        double low, high;
    } classes[] = {{"1", 1, 1}, {"2", 2, 2}, {"3-5", 3, 5}, {"6-10", 6, 10}, {"more than 10", 11, INFINITY}};
    struct known k = known_make(words, c, LM);
    int *tenth = array_alloc(k.n, sizeof *tenth);
    json_t *rows = json_array(), *correlations = json_array();
    tenths(k.count, k.n, tenth);
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        json_array_append_new(rows, senses_row(&k, classes[i].label, classes[i].low, classes[i].high));
    json_array_append_new(correlations, correlation_row("all picks", &k, tenth, k.reach));
    json_array_append_new(correlations, correlation_row("first picks", &k, tenth, k.reach_top));
    json_object_set_new(model, "senses", rows);
    json_object_set_new(model, "senses_correlation", correlations);
    json_object_set_new(model, "senses_words", json_integer((json_int_t)k.n));
    free(k.senses), free(k.count), free(k.reach), free(k.reach_top);
    free(tenth);
}

/* ---- Models ------------------------------------------------------------------------------------- */

static json_t *model_row(const struct subject *s, size_t place) {
    const struct sizes *z = &s->sizes;
    json_t *config = json_loads(s->config_text, 0, NULL);
    json_t *row =
        json_pack("{s:I, s:s, s:s, s:s, s:I, s:O, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:o}", "number",
                  (json_int_t)place, "name", s->name, "checkpoint", s->path, "log", s->log, "step",
                  (json_int_t)s->step, "ffn", json_object_get(config, "ffn"), "moe_layers", (json_int_t)z->LM,
                  "heads", (json_int_t)z->H, "experts", (json_int_t)z->E, "topk", (json_int_t)z->K, "hidden",
                  (json_int_t)z->F, "parameters", (json_int_t)s->cost.parameters, "active_parameters",
                  (json_int_t)s->cost.active_parameters, "loss", s->loss, "bits_per_byte",
                  number(s->bits_per_byte));
    if (s->log_note) json_object_set_new(row, "log_note", json_string(s->log_note));
    json_object_set_new(row, "config", config);
    return row;
}

/* ---- Parts -------------------------------------------------------------------------------------- */

enum { DRAWS = 999 }; /* of the null */

/* What each layer's experts have to do with the parts, and (the last of each array) all layers on average. */
struct parted {
    double *tables;  /* (LM, P, E) picks */
    double *bits;    /* (LM + 1) */
    double *null;    /* (LM + 1, DRAWS) */
    double entropy;  /* of the parts, in bits */
};

static void parted_layer(struct parted *d, const struct subject *s, const struct text *text, size_t lm) {
    const size_t LM = s->sizes.LM, E = s->sizes.E, W = text->P * text->windows;
    const struct picks r = routing_of(s, text, lm);
    double *counts = array_alloc(W * E, sizeof *counts), *table = d->tables + lm * text->P * E;
    size_t *part = array_alloc(W, sizeof *part);
    for (size_t w = 0; w < W; w++) part[w] = w / text->windows;
    const struct windows windows = {counts, part, W, E, text->P};
    windows_count(&r, text->length, counts);
    parts_count(&windows, part, table);
    information_null(&windows, 1, d->null + lm * DRAWS, DRAWS);
    d->bits[lm] = mutual_information(table, text->P, E);
    d->bits[LM] += d->bits[lm] / (double)LM;
    for (size_t i = 0; i < DRAWS; i++) d->null[LM * DRAWS + i] += d->null[lm * DRAWS + i] / (double)LM;
    d->entropy = rows_entropy(table, text->P, E);
    free(counts);
    free(part);
}

static json_t *parted_row(const struct parted *d, size_t at, const char *label) {
    return dependence_row(label, d->bits[at], d->entropy, d->null + at * DRAWS, DRAWS);
}

/* One part has nothing to be told from. */
static void parts_add(json_t *model, const struct subject *s, const struct text *text) {
    const size_t LM = s->sizes.LM, E = s->sizes.E;
    if (text->P < 2) return;
    struct parted d = {array_alloc(LM * text->P * E, 8), array_alloc(LM + 1, 8), array_alloc((LM + 1) * DRAWS, 8), 0};
    json_t *rows = json_array();
    for (size_t lm = 0; lm < LM; lm++) parted_layer(&d, s, text, lm);
    for (size_t lm = 0; lm < LM; lm++) {
        char *label = layer_label(&s->config, lm);
        json_t *row = parted_row(&d, lm, label);
        json_object_set_new(row, "shares", shares_of(d.tables + lm * text->P * E, text->P, E));
        json_array_append_new(rows, row);
        free(label);
    }
    json_object_set_new(model, "parts", json_pack("{s:o, s:o, s:o}", "entropy", number(d.entropy), "layers", rows,
                                                  "all", parted_row(&d, LM, "all")));
    free(d.tables), free(d.bits), free(d.null);
}

/* What the text has of each part. */
static void parts_describe(json_t *analysis, const struct text *text) {
    json_t *names = json_array(), *described = json_object_get(analysis, "text");
    for (size_t p = 0; p < text->P; p++) json_array_append_new(names, json_string(text->parts[p]));
    json_object_set_new(described, "parts", names);
    json_object_set_new(described, "windows_of_each", json_integer((json_int_t)text->windows));
    json_object_set_new(described, "tokens_of_a_window", json_integer((json_int_t)text->length));
    json_object_set_new(described, "null_draws", json_integer(DRAWS));
}

/* ---- Models together ---------------------------------------------------------------------------- */

static json_t *model_measure(const struct subject *s, size_t number, const struct text *text,
                             const struct words *words, bool wordnet, double most) {
    json_t *model = model_row(s, number), *layers = json_array();
    struct counts c = counts_make(s, text);
    for (size_t lm = 0; lm < s->sizes.LM; lm++) {
        char *label = layer_label(&s->config, lm);
        json_array_append_new(layers, layer_row(s, &c, lm, label, most));
        free(label);
    }
    json_object_set_new(model, "layers", layers);
    json_object_set_new(model, "all", all_row(s, &c, most));
    deciles_add(model, s, text, &c);
    parts_add(model, s, text);
    if (wordnet) senses_add(model, words, &c, s->sizes.LM);
    json_object_set(model, "samples", s->samples);
    counts_free(&c);
    return model;
}

/* From each model to the next one of the same configuration. */
static json_t *stability_measure(const struct subject *subjects, size_t n, const struct text *text) {
    json_t *rows = json_array();
    for (size_t i = 1; i < n; i++) {
        const struct subject *a = &subjects[i - 1], *b = &subjects[i];
        if (strcmp(a->config_text, b->config_text) != 0) continue;
        for (size_t lm = 0; lm < a->sizes.LM; lm++) {
            const struct picks before = routing_of(a, text, lm), after = routing_of(b, text, lm);
            const struct agreement g = routing_agreement(&before, &after);
            char *label = layer_label(&a->config, lm);
            json_t *row = json_pack("{s:s, s:I, s:s, s:I, s:s, s:f, s:f, s:f}", "from", a->name, "from_number",
                                    (json_int_t)i, "to", b->name, "to_number", (json_int_t)i + 1, "layer", label,
                                    "same_set", g.same_set, "jaccard", g.jaccard, "same_first", g.same_first);
            json_array_append_new(rows, row);
            free(label);
        }
    }
    return rows;
}

/* How far a sweep in units of 1/E goes: twice the mean number of picks a token, so that it ends near nothing. */
static double sweep_end(const struct subject *subjects, size_t n) {
    double most = 4;
    for (size_t i = 0; i < n; i++) most = fmax(most, 2 * (double)(subjects[i].sizes.H * subjects[i].sizes.K));
    return fmin(most, 64);
}

/* What the ratios count, for a reader of the numbers alone. */
static json_t *meanings(bool parts) {
    json_t *meanings = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s}",
        "active_even", "share of experts with more than an even share of their layer's picks (K/E of all sub-tokens)",
        "active_even_tokens", "share of experts reached by more tokens than if every pick were drawn evenly",
        "sweep_even", "the same above multiples of these even shares: equal terms for any E, K and H",
        "active_tokens", "share of experts that more than 1/E of all tokens reach; easier to pass with more H and K",
        "active_picks", "share of experts with more than 1/E picks a token; H times K times easier to pass",
        "active_subtokens", "share of experts that more than 1/E of all sub-tokens picked; K times easier to pass",
        "sweep", "the last three above multiples of 1/E");
    if (parts)
        json_object_set_new(meanings, "parts", json_string(
            "shares: a row a part, of its picks the share that went to each expert; information: mutual information of "
            "a pick's expert and its part in bits, _share: over the parts' entropy; null: the same with whole windows "
            "dealt out to the parts anew, mean and 95% quantile; excess: information less null_mean"));
    return meanings;
}

json_t *analysis_measure(const struct subject *subjects, size_t n, const struct text *text,
                         const struct words *words, const char *wordnet_dir) {
    const double most = sweep_end(subjects, n);
    json_t *models = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(models, model_measure(&subjects[i], i + 1, text, words, wordnet_dir != NULL, most));
    json_t *analysis = json_pack("{s:o, s:{s:s, s:I, s:I}, s:o, s:o, s:o}", "meaning", meanings(text->P > 1), "text",
                                 "name", text->name, "tokens", (json_int_t)text->n, "words", (json_int_t)words->n,
                                 "wordnet", wordnet_dir ? json_string(wordnet_dir) : json_null(), "models", models,
                                 "stability", stability_measure(subjects, n, text));
    if (text->P > 1) parts_describe(analysis, text);
    return analysis;
}
