/* From what models said to numbers: one JSON object with everything that the page says. See gallery.h; what the keys
 * mean is said in the page (gallery_page.c), where they are headings. A number that does not exist is null. */
#include "gallery.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../../src/run/likelihood.h"
#include "dependence.h"
#include "numbers.h"
#include "statistics.h"

enum { DRAWS = 999, SEED = 1 }; /* of nulls; of all that is drawn */

/* Adds "NAME", "low" and "high" behind a prefix: a share and its 95% interval. Nothing is known of none. */
static void share_add(json_t *row, const char *name, const char *suffix, size_t k, size_t n) {
    double low = NAN, high = NAN;
    if (n > 0) wilson_interval(k, n, &low, &high);
    const double values[] = {(double)k / (double)n, low, high};
    const char *const names[] = {name, "low", "high"};
    for (int i = 0; i < 3; i++) {
        char *key = string_format("%s%s", names[i], suffix);
        json_object_set_new(row, key, number(values[i]));
        free(key);
    }
}

/* ---- What was hidden ---------------------------------------------------------------------------- */

static json_t *kinds_measure(const struct subject *s) {
    json_t *rows = json_array();
    for (size_t i = 0; i < s->kinds; i++) {
        const struct filled *f = &s->filled[i];
        json_t *row = json_pack("{s:s, s:I, s:I, s:o}", "kind", f->kind, "hidden", (json_int_t)f->n, "right",
                                (json_int_t)f->right, "perplexity", number(exp(f->loss / (double)f->n)));
        share_add(row, "accuracy", "", f->right, f->n);
        json_array_append_new(rows, row);
    }
    return rows;
}

/* ---- How well a caption and a picture go together ----------------------------------------------- */

enum fit { FIT_SUM, FIT_MEAN, FIT_GAIN, FIT_ALONE };
static const char *const fit_names[] = {"sum", "mean", "gain", "mean"};

/* Of caption i beside picture j. */
static double fit_of(const struct gallery *g, const struct subject *s, enum fit fit, size_t i, size_t j) {
    const double tokens = (double)(g->items[i].n - g->items[i].prefix), score = s->scores[i * g->n + j];
    if (fit == FIT_ALONE) return s->alone[i] / tokens;
    return fit == FIT_MEAN ? score / tokens : fit == FIT_GAIN ? score - s->alone[i] : score;
}

/* One of the searches among all items: for the picture of a caption, or the other way. */
struct search {
    const char *name;
    bool for_picture;
    enum fit fit;
};
static const struct search searches[] = {{"caption to picture", true, FIT_SUM},
                                         {"picture to caption", false, FIT_GAIN},
                                         {"picture to caption", false, FIT_MEAN}};
enum { SEARCHES = sizeof searches / sizeof *searches };

/* The place of the right one, from 1; what scores as high is before it. Where another item's caption is the same, it is
 * right as well: *candidates are those that are not, and the right one. */
static size_t search_rank(const struct gallery *g, const struct subject *s, const struct search *search, size_t item,
                          size_t *candidates) {
    const double own = fit_of(g, s, search->fit, item, item);
    size_t rank = 1;
    *candidates = 1;
    for (size_t i = 0; i < g->n; i++) {
        if (captions_equal(g, i, item)) continue;
        ++*candidates;
        rank += fit_of(g, s, search->fit, search->for_picture ? item : i, search->for_picture ? i : item) >= own;
    }
    return rank;
}

static json_t *search_measure(const struct gallery *g, const struct subject *s, const struct search *search) {
    static const size_t depths[] = {1, 5, 10};
    size_t found[3] = {0};
    double chance[3] = {0}, *ranks = array_alloc(g->n, sizeof *ranks);
    json_t *row = json_pack("{s:s, s:s, s:I}", "search", search->name, "score", fit_names[search->fit], "queries",
                            (json_int_t)g->n);
    for (size_t i = 0; i < g->n; i++) {
        size_t candidates;
        const size_t rank = search_rank(g, s, search, i, &candidates);
        ranks[i] = (double)rank;
        for (int d = 0; d < 3; d++) {
            found[d] += rank <= depths[d];
            chance[d] += fmin(1, (double)depths[d] / (double)candidates) / (double)g->n;
        }
    }
    for (int d = 0; d < 3; d++) {
        char *suffix = string_format("_%zu", depths[d]), *key = string_format("chance_%zu", depths[d]);
        share_add(row, "recall", suffix, found[d], g->n);
        json_object_set_new(row, key, number(chance[d]));
        free(suffix);
        free(key);
    }
    json_object_set_new(row, "ranks", numbers(ranks, g->n)); /* before median sorts them */
    json_object_set_new(row, "median_rank", number(median(ranks, g->n)));
    free(ranks);
    return row;
}

/* ---- Which of four captions --------------------------------------------------------------------- */

enum { CHOICES = 4 };

/* A picture's caption is the first of four different ones; `other` is a picture that none of them belongs to. */
struct question {
    size_t captions[CHOICES], other;
};

static bool caption_among(const struct gallery *g, const size_t *some, size_t n, size_t item) {
    for (size_t i = 0; i < n; i++)
        if (captions_equal(g, some[i], item)) return true;
    return false;
}

/* There are at least LEAST different ones: this ends. */
static size_t item_draw(const struct gallery *g, const size_t *but, size_t n, struct rng *rng) {
    for (;;) {
        const size_t item = rng_below(rng, g->n);
        if (!caption_among(g, but, n, item)) return item;
    }
}

static struct question question_draw(const struct gallery *g, size_t item) {
    struct question q = {.captions = {item}};
    struct rng rng;
    rng_seed(&rng, SEED, item);
    for (size_t c = 1; c < CHOICES; c++) q.captions[c] = item_draw(g, q.captions, c, &rng);
    q.other = item_draw(g, q.captions, CHOICES, &rng);
    return q;
}

/* What is shown beside the four, and by what one is chosen. */
struct way {
    const char *shown;
    bool other;
    enum fit fit;
};
static const struct way ways[] = {{"its picture", false, FIT_GAIN}, {"another picture", true, FIT_GAIN},
                                  {"its picture", false, FIT_MEAN}, {"another picture", true, FIT_MEAN},
                                  {"no picture", false, FIT_ALONE}};
enum { WAYS = sizeof ways / sizeof *ways };

/* Whether its caption is chosen: what fits as well is chosen before it. */
static bool question_right(const struct gallery *g, const struct subject *s, const struct way *way, size_t item) {
    const struct question q = question_draw(g, item);
    const size_t picture = way->other ? q.other : item;
    const double own = fit_of(g, s, way->fit, item, picture);
    for (size_t c = 1; c < CHOICES; c++)
        if (fit_of(g, s, way->fit, q.captions[c], picture) >= own) return false;
    return true;
}

static json_t *choices_measure(const struct gallery *g, const struct subject *s) {
    json_t *rows = json_array();
    for (size_t w = 0; w < WAYS; w++) {
        size_t right = 0;
        for (size_t i = 0; i < g->n; i++) right += question_right(g, s, &ways[w], i);
        json_t *row = json_pack("{s:s, s:s, s:I, s:I, s:f}", "shown", ways[w].shown, "score", fit_names[ways[w].fit],
                                "questions", (json_int_t)g->n, "right", (json_int_t)right, "chance", 1.0 / CHOICES);
        share_add(row, "accuracy", "", right, g->n);
        json_array_append_new(rows, row);
    }
    return rows;
}

/* The same for every model: of each item the four captions, its own first, and the other picture. */
static json_t *questions_of(const struct gallery *g) {
    json_t *rows = json_array();
    for (size_t i = 0; i < g->n; i++) {
        const struct question q = question_draw(g, i);
        json_t *captions = json_array();
        for (size_t c = 0; c < CHOICES; c++) json_array_append_new(captions, json_integer((json_int_t)q.captions[c]));
        json_array_append_new(rows, json_pack("{s:o, s:I}", "captions", captions, "other", (json_int_t)q.other));
    }
    return rows;
}

/* What a token of a caption costs beside its picture, beside another, and beside none. */
static json_t *tokens_measure(const struct gallery *g, const struct subject *s) {
    double own = 0, other = 0, alone = 0, tokens = 0;
    for (size_t i = 0; i < g->n; i++) {
        own -= s->scores[i * g->n + i];
        other -= s->scores[i * g->n + question_draw(g, i).other];
        alone -= s->alone[i];
        tokens += (double)(g->items[i].n - g->items[i].prefix);
    }
    return json_pack("{s:f, s:o, s:o, s:o}", "tokens", tokens, "its_picture", number(own / tokens), "another_picture",
                     number(other / tokens), "no_picture", number(alone / tokens));
}

/* ---- Experts: patches and words ----------------------------------------------------------------- */

static json_t *experts_measure(const struct gallery *g, const struct subject *s) {
    const size_t LM = s->sizes.LM, E = s->sizes.E, W = 2 * g->n;
    size_t *part = array_alloc(W, sizeof *part);
    double *table = array_alloc(2 * E, 8), *null = array_alloc((LM + 1) * DRAWS, 8), *all = null + LM * DRAWS;
    double sum = 0, entropy = 0;
    json_t *rows = json_array();
    for (size_t w = 0; w < W; w++) part[w] = w % 2;
    for (size_t lm = 0; lm < LM; lm++) {
        const struct windows windows = {s->counts + lm * W * E, part, W, E, 2};
        parts_count(&windows, part, table);
        information_null(&windows, SEED, null + lm * DRAWS, DRAWS);
        const double bits = mutual_information(table, 2, E);
        sum += bits / (double)LM;
        for (size_t d = 0; d < DRAWS; d++) all[d] += null[lm * DRAWS + d] / (double)LM;
        entropy = rows_entropy(table, 2, E); /* of how many picks there are: the same in all layers */
        char *label = layer_label(&s->config, lm);
        json_t *row = dependence_row(label, bits, entropy, null + lm * DRAWS, DRAWS);
        json_object_set_new(row, "shares", shares_of(table, 2, E));
        json_array_append_new(rows, row);
        free(label);
    }
    json_t *experts = json_pack("{s:o, s:o, s:o}", "entropy", number(entropy), "layers", rows, "all",
                                dependence_row("all", sum, entropy, all, DRAWS));
    free(part), free(table), free(null);
    return experts;
}

/* ---- Experts: how far a patch spreads ----------------------------------------------------------- */

void patches_detail(const unsigned char *pixels, size_t size, size_t patch, double *detail) {
    const size_t side = size / patch, steps = 2 * patch * (patch - 1);
    for (size_t p = 0; p < side * side; p++) {
        const unsigned char *corner = pixels + (p / side * size + p % side) * patch * 3;
        double sum = 0;
        for (size_t i = 0; i < patch * patch; i++) {
            const size_t y = i / patch, x = i % patch;
            const unsigned char *pixel = corner + (y * size + x) * 3;
            for (size_t c = 0; c < 3; c++) {
                const double right = x + 1 < patch ? (double)pixel[3 + c] - pixel[c] : 0;
                const double down = y + 1 < patch ? (double)pixel[3 * size + c] - pixel[c] : 0;
                sum += right * right + down * down;
            }
        }
        detail[p] = steps ? sum / (double)(3 * steps) : 0;
    }
}

/* Of some patches of each picture: what there is to see in each, and how many experts its sub-tokens reach. */
struct spread {
    double *detail, *reach; /* (pictures, P), of which count[i] are in use */
    size_t *count, n, P;
};

/* Mean over pictures of the rank correlation of detail and reach; with `rng` after the patches of each picture have
 * been dealt out anew. A picture in which one of them does not vary has none. */
static double spread_correlation(const struct spread *d, struct rng *rng, double *each, size_t *pictures) {
    double *reach = array_alloc(d->P, sizeof *reach), sum = 0;
    *pictures = 0;
    for (size_t i = 0; i < d->n; i++) {
        memcpy(reach, d->reach + i * d->P, d->count[i] * sizeof *reach);
        for (size_t left = rng ? d->count[i] : 0; left > 1; left--) {
            const size_t at = rng_below(rng, left);
            const double last = reach[left - 1];
            reach[left - 1] = reach[at];
            reach[at] = last;
        }
        const double r = spearman(d->detail + i * d->P, reach, d->count[i]);
        if (isnan(r)) continue;
        if (each) each[*pictures] = r;
        sum += r;
        ++*pictures;
    }
    free(reach);
    return *pictures ? sum / (double)*pictures : NAN;
}

static json_t *spread_row(const struct spread *d, const char *layer, const char *patches) {
    double *each = array_alloc(d->n, sizeof *each), *null = array_alloc(DRAWS, sizeof *null);
    size_t n;
    const double r = spread_correlation(d, NULL, each, &n);
    const double reach = n > 1 ? student_95(n) * deviation(each, n) / sqrt((double)n) : NAN;
#pragma omp parallel for
    for (size_t i = 0; i < DRAWS; i++) {
        struct rng rng;
        size_t same;
        rng_seed(&rng, SEED, i);
        null[i] = n > 0 ? spread_correlation(d, &rng, NULL, &same) : NAN;
    }
    if (n > 0) qsort(null, DRAWS, sizeof *null, compare_doubles);
    const double low = null[(DRAWS + 1) / 40 - 1], high = null[DRAWS - (DRAWS + 1) / 40];
    const double rounding = 1e-9;
    json_t *row = json_pack("{s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:s}", "layer", layer, "patches", patches,
                            "pictures", (json_int_t)n, "correlation", number(r), "low", number(r - reach), "high",
                            number(r + reach), "null_low", number(low), "null_high", number(high), "verdict",
                            r > high + rounding ? "above chance" : r < low - rounding ? "below chance"
                                                                                       : "not told from chance");
    free(each);
    free(null);
    return row;
}

/* How many patches stay, where those in which there is nothing to see are left out. */
static void spread_fill(struct spread *d, const double *detail, const double *reach, bool blank) {
    for (size_t i = 0; i < d->n; i++) {
        d->count[i] = 0;
        for (size_t p = i * d->P; p < (i + 1) * d->P; p++) {
            if (!blank && detail[p] == 0) continue;
            d->detail[i * d->P + d->count[i]] = detail[p];
            d->reach[i * d->P + d->count[i]++] = reach[p];
        }
    }
}

/* Patches of all pictures by how much there is to see in them; the means of what they reach. */
static json_t *spread_tenths(const double *detail, const double *reach, size_t n, double layers) {
    int *tenth = array_alloc(n, sizeof *tenth);
    json_t *rows = json_array();
    tenths(detail, n, tenth);
    for (int t = 0; t < TENTHS; t++) {
        double patches = 0, sum = 0, reached = 0;
        for (size_t i = 0; i < n; i++) {
            if (tenth[i] != t) continue;
            patches++;
            sum += detail[i];
            reached += reach[i];
        }
        json_array_append_new(rows, json_pack("{s:i, s:f, s:o, s:o}", "tenth", t + 1, "patches", patches, "detail",
                                              number(sum / patches), "reach", number(reached / (patches * layers))));
    }
    free(tenth);
    return rows;
}

/* Each layer, and the sum over all of them: whole numbers, so that equal ones share a rank. */
static json_t *spread_measure(const struct gallery *g, const struct subject *s) {
    const size_t LM = s->sizes.LM, P = g->P, all = g->n * P;
    double *detail = array_alloc(all, 8), *sum = array_alloc(all, 8);
    struct spread d = {array_alloc(all, 8), array_alloc(all, 8), array_alloc(g->n, sizeof(size_t)), g->n, P};
    json_t *rows = json_array();
    for (size_t i = 0; i < g->n; i++) patches_detail(g->items[i].pixels, g->size, g->patch, detail + i * P);
    for (size_t lm = 0; lm < LM; lm++)
        for (size_t i = 0; i < all; i++) sum[i] += s->reach[lm * all + i];
    for (size_t lm = 0; lm <= LM; lm++) {
        char *label = lm < LM ? layer_label(&s->config, lm) : string_format("all");
        for (int blank = 1; blank >= 0; blank--) {
            spread_fill(&d, detail, lm < LM ? s->reach + lm * all : sum, blank);
            json_array_append_new(rows, spread_row(&d, label, blank ? "all" : "but blank ones"));
        }
        free(label);
    }
    json_t *spread = json_pack("{s:o, s:o, s:o, s:o}", "rows", rows, "tenths",
                               spread_tenths(detail, sum, all, (double)LM), "reach",
                               number(mean_of(sum, all) / (double)LM), "reach_even",
                               number(reach_expected(s->sizes.H, s->sizes.K, s->sizes.E)));
    free(d.detail), free(d.reach), free(d.count), free(detail), free(sum);
    return spread;
}

/* ---- Models ------------------------------------------------------------------------------------- */

static json_t *showings_of(const struct gallery *g, const struct subject *s) {
    json_t *rows = json_array();
    for (size_t v = 0; v < g->shown; v++) {
        const struct showing *shown = &s->showings[v];
        json_t *row = json_pack("{s:s}", "caption", shown->caption);
        if (shown->reach) json_object_set_new(row, "reach", numbers(shown->reach, g->P));
        json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *model_measure(const struct gallery *g, const struct subject *s, size_t place) {
    const struct sizes *z = &s->sizes;
    char *text = config_to_string(&s->config);
    json_t *config = json_loads(text, 0, NULL), *retrieval = json_array();
    for (size_t i = 0; i < SEARCHES; i++) json_array_append_new(retrieval, search_measure(g, s, &searches[i]));
    json_t *model = json_pack(
        "{s:I, s:s, s:s, s:I, s:O, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "number",
        (json_int_t)place, "name", s->name, "checkpoint", s->path, "step", (json_int_t)s->step, "ffn",
        json_object_get(config, "ffn"), "moe_layers", (json_int_t)z->LM, "heads", (json_int_t)z->H, "experts",
        (json_int_t)z->E, "topk", (json_int_t)z->K, "parameters", (json_int_t)s->cost.parameters, "active_parameters",
        (json_int_t)s->cost.active_parameters, "kinds", kinds_measure(s), "retrieval", retrieval, "choices",
        choices_measure(g, s), "caption_loss", tokens_measure(g, s), "shown", showings_of(g, s), "config", config);
    if (z->LM > 0) json_object_set_new(model, "kinds_of_rows", experts_measure(g, s));
    if (z->LM > 0) json_object_set_new(model, "spread", spread_measure(g, s));
    free(text);
    return model;
}

static json_t *shown_of(const struct gallery *g) {
    json_t *shown = json_array();
    for (size_t v = 0; v < g->shown; v++) {
        const struct item *item = &g->items[gallery_shown(g, v)];
        json_array_append_new(shown, json_pack("{s:s, s:s}", "picture", item->name, "caption", item->caption));
    }
    return shown;
}

/* What the scores are, for a reader of the numbers alone. */
static json_t *meanings(void) {
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s}",
        "score", "of a caption beside a picture: sum: its pseudo-log-likelihood, each token hidden by itself; mean: "
        "that a token; gain: the sum less what it is without a picture",
        "retrieval", "recall_K: share of queries whose right answer is among the first K, low_K and high_K: its 95% "
        "interval (Wilson); chance_K: of a random order",
        "choices", "which of four captions fits a picture, the others drawn at random: see questions, whose numbers "
        "are those of the pictures, from 0; other: the picture that is shown in place of its own",
        "caption_loss", "nats a token of the captions",
        "kinds_of_rows", "as the parts of build/analyse: the first row of shares is of patches, the second of words",
        "spread", "rank correlation of a patch's detail (mean square of differences between neighbouring pixels) with "
        "the number of experts its sub-tokens reach, mean over pictures, its 95% interval over them, and 95% of draws "
        "in which each picture's patches were dealt out anew");
}

json_t *gallery_measure(const struct gallery *g, const struct subject *subjects, size_t n) {
    json_t *models = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(models, model_measure(g, &subjects[i], i + 1));
    return json_pack("{s:o, s:{s:s, s:s, s:I, s:I, s:I, s:I, s:I}, s:o, s:o, s:o}", "meaning", meanings(), "pictures",
                     "name", g->name, "language", g->language, "n", (json_int_t)g->n, "held_out",
                     (json_int_t)g->held_out, "size", (json_int_t)g->size, "patch", (json_int_t)g->patch, "null_draws",
                     (json_int_t)DRAWS, "questions", questions_of(g), "shown", shown_of(g), "models", models);
}
