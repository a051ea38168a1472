/* The page: one HTML file that stands alone, pictures and all, without scripts or anything to fetch. See gallery.h.
 *
 * Tables come from the numbers of gallery_measure.c alone, pictures (PNG, in the page as base64) from what the models
 * made. What the words mean is said in the page, beside the figures. */
#include "gallery.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../../data/pictures.h"
#include "../../src/base/text.h"
#include "analyse_page.h"

enum { MODELS_SHOWN = 3 }; /* in the gallery */

/* ---- Pictures ----------------------------------------------------------------------------------- */

static void base64_print(FILE *out, const unsigned char *bytes, size_t size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        const size_t left = size - i;
        const unsigned group = (unsigned)bytes[i] << 16 | (left > 1 ? (unsigned)bytes[i + 1] << 8 : 0) |
                               (left > 2 ? bytes[i + 2] : 0);
        fputc(digits[group >> 18], out);
        fputc(digits[group >> 12 & 63], out);
        fputc(left > 1 ? digits[group >> 6 & 63] : '=', out);
        fputc(left > 2 ? digits[group & 63] : '=', out);
    }
}

/* What stands between quotes has these reserved, too. */
static void attribute_print(FILE *out, const char *text) {
    for (; *text; text++) {
        if (*text == '"') fputs("&quot;", out);
        else xml_print(out, "%c", *text);
    }
}

/* One picture with what it is under it (a name of ours); `alt` is for those who do not see it. */
static void shot_print(struct report *r, const struct gallery *g, const unsigned char *pixels, const char *name,
                       const char *alt) {
    const struct picture p = {g->size, g->size, (unsigned char *)pixels};
    char *bytes;
    size_t size;
    r->ok = r->ok && picture_to_memory(&p, &bytes, &size, r->err);
    if (!r->ok) return;
    fputs("<span><img src=\"data:image/png;base64,", r->out);
    base64_print(r->out, (const unsigned char *)bytes, size);
    fprintf(r->out, "\" width=\"%zu\" height=\"%zu\" alt=\"%s: ", g->size, g->size, name);
    attribute_print(r->out, alt);
    fprintf(r->out, "\">%s</span>\n", name);
    free(bytes);
}

/* Its patches in the hole are grey, a darker one beside a lighter one. */
static unsigned char *hole_draw(const struct gallery *g, const unsigned char *pixels) {
    const size_t side = g->size / g->patch;
    unsigned char *drawn = array_alloc(g->size * g->size, 3);
    bool *hidden = array_alloc(g->P, sizeof *hidden);
    memcpy(drawn, pixels, g->size * g->size * 3);
    hole_make(hidden, g);
    for (size_t i = 0; i < g->size * g->size; i++) {
        const size_t y = i / g->size / g->patch, x = i % g->size / g->patch;
        if (hidden[y * side + x]) memset(drawn + 3 * i, (y + x) % 2 ? 0x90 : 0xa8, 3);
    }
    free(hidden);
    return drawn;
}

/* What patches reach is drawn from the least that is possible, K, to the most. */
static double reach_share(const struct subject *s, double reach) {
    const double K = (double)s->sizes.K, most = fmin((double)(s->sizes.H * s->sizes.K), (double)s->sizes.E);
    return most > K ? (reach - K) / (most - K) : 0;
}

/* The picture in grey, under the colours of what its patches reach. */
static unsigned char *map_draw(const struct gallery *g, const struct subject *s, const unsigned char *pixels,
                               const double *reach) {
    const size_t side = g->size / g->patch;
    unsigned char *drawn = array_alloc(g->size * g->size, 3);
    for (size_t i = 0; i < g->size * g->size; i++) {
        bool bright;
        const size_t patch = i / g->size / g->patch * side + i % g->size / g->patch;
        const unsigned colour = plot_colour(reach_share(s, reach[patch]), &bright);
        const double grey = 0.299 * pixels[3 * i] + 0.587 * pixels[3 * i + 1] + 0.114 * pixels[3 * i + 2];
        for (int c = 0; c < 3; c++)
            drawn[3 * i + (size_t)c] = (unsigned char)lround(0.3 * grey + 0.7 * (colour >> (16 - 8 * c) & 255));
    }
    return drawn;
}

/* What the colours of a map stand for. */
static void key_print(struct report *r, const struct subject *s) {
    const double K = (double)s->sizes.K, most = fmin((double)(s->sizes.H * s->sizes.K), (double)s->sizes.E);
    fputs("<p class=\"note key\">", r->out);
    xml_print(r->out, "Experts that a patch of %s reaches, mean over MoE layers:", s->name);
    for (int i = 0; i <= 4; i++) {
        bool bright;
        fprintf(r->out, " <span><i style=\"background:#%06x\"></i>%.3g</span>", plot_colour(i / 4.0, &bright),
                K + (most - K) * i / 4);
    }
    fputs("</p>\n", r->out);
}

/* ---- The gallery -------------------------------------------------------------------------------- */

static void said_print(struct report *r, const struct gallery *g, const struct subject *s, const char *label,
                       size_t v) {
    const struct item *item = &g->items[gallery_shown(g, v)];
    const struct showing *shown = &s->showings[v];
    fputs("<p>", r->out);
    if (label) xml_print(r->out, "%s: ", label);
    xml_print(r->out, "\xe2\x80\x9c%s\xe2\x80\x9d", shown->caption);
    fputs("</p>\n<div class=\"shots\">", r->out);
    if (!label) {
        unsigned char *hole = hole_draw(g, item->pixels);
        shot_print(r, g, item->pixels, "picture", item->caption);
        shot_print(r, g, hole, "hidden", item->caption);
        free(hole);
    }
    shot_print(r, g, shown->painted, "painted", item->caption);
    if (shown->reach && s->sizes.H > 1) {
        unsigned char *map = map_draw(g, s, item->pixels, shown->reach);
        shot_print(r, g, map, "experts", item->caption);
        free(map);
    }
    fputs("</div>\n", r->out);
}

static void item_print(struct report *r, const struct gallery *g, const struct subject *subjects,
                       const json_t *models, size_t v) {
    const struct item *item = &g->items[gallery_shown(g, v)];
    const size_t n = json_array_size(models);
    fputs("<article>", r->out);
    subheading(r, item->caption);
    if (n > 1) {
        unsigned char *hole = hole_draw(g, item->pixels);
        fputs("<div class=\"shots\">", r->out);
        shot_print(r, g, item->pixels, "picture", item->caption);
        shot_print(r, g, hole, "hidden", item->caption);
        fputs("</div>\n", r->out);
        free(hole);
    }
    for (size_t i = 0; i < n && i < MODELS_SHOWN; i++)
        said_print(r, g, &subjects[i], n > 1 ? text_at(json_array_get(models, i), "label") : NULL, v);
    fputs("</article>\n", r->out);
}

static void section_gallery(struct report *r, const struct gallery *g, const struct subject *subjects,
                            const json_t *models) {
    const size_t n = json_array_size(models);
    heading(r, "gallery", "Gallery");
    fprintf(r->out, "<p>%zu of the held-out pictures, none of them chosen by hand, each with its true caption as the "
            "heading. Under it, in quotation marks, the caption that the model writes when shown the whole picture. "
            "<em>Painted</em>: it sees what <em>hidden</em> leaves, and no text, and paints the rest out of its "
            "codebook. <em>Experts</em>: how many different ones serve the parts of each patch, where patches are cut "
            "into more than one.</p>\n", g->shown);
    if (n > MODELS_SHOWN) fprintf(r->out, "<p class=\"note\">Of %zu models the first %d.</p>\n", n, MODELS_SHOWN);
    for (size_t i = 0; i < n && i < MODELS_SHOWN; i++)
        if (subjects[i].sizes.LM > 0 && subjects[i].sizes.H > 1) key_print(r, &subjects[i]);
    fputs("<div class=\"items\">\n", r->out);
    for (size_t v = 0; v < g->shown; v++) item_print(r, g, subjects, models, v);
    fputs("</div>\n", r->out);
}

/* ---- Tables ------------------------------------------------------------------------------------- */

static void section_models(struct report *r, const json_t *pictures, const json_t *models) {
    static const struct column columns[] = {
        {"title", "model", NULL, 0}, {"ffn", "kind", NULL, 0}, {"step", "step", "%.0f", 0},
        {"moe_layers", "MoE layers", "%.0f", 0}, {"experts", "experts E", "%.0f", 0},
        {"heads", "sub-tokens H", "%.0f", 0}, {"topk", "top-K", "%.0f", 0}, {"parameters", "parameters", "%.0f", 0},
        {"active_parameters", "of them active, at most", "%.0f", 0},
    };
    const char *language = text_at(pictures, "language");
    heading(r, "models", "Models");
    fputs("<p>All were shown the same pictures, which none was trained on: ", r->out);
    xml_print(r->out, "%.0f of the %.0f held out in %s, of %.0f x %.0f pixels in patches of %.0f x %.0f, each with its "
              "first caption", number_at(pictures, "n"), number_at(pictures, "held_out"), text_at(pictures, "name"),
              number_at(pictures, "size"), number_at(pictures, "size"), number_at(pictures, "patch"),
              number_at(pictures, "patch"));
    if (*language) xml_print(r->out, " in %s", language);
    fputs(".</p>\n", r->out);
    table(r, "The models.", models, COLUMNS(columns), 0);
    checkpoints_list(r, models);
}

/* Says a share and its interval as one text, NAME_text, with so many decimals of percents. */
static void share_tell(json_t *row, const char *name, const char *suffix, int decimals) {
    char *keys[] = {string_format("%s%s", name, suffix), string_format("low%s", suffix),
                    string_format("high%s", suffix), string_format("%s%s_text", name, suffix)};
    if (json_is_number(json_object_get(row, keys[0])))
        json_object_set_new(row, keys[3], json_sprintf("%.*f%% (%.*f\xe2\x80\x93%.*f)", decimals,
                                                       100 * number_at(row, keys[0]), decimals,
                                                       100 * number_at(row, keys[1]), decimals,
                                                       100 * number_at(row, keys[2])));
    for (int i = 0; i < 4; i++) free(keys[i]);
}

/* The rows of every model under one key, each with its label. New reference. */
static json_t *rows_of(const json_t *models, const char *key) {
    json_t *rows = json_array();
    const json_t *model, *row;
    size_t i, j;
    json_array_foreach(models, i, model)
        json_array_foreach(json_object_get(model, key), j, row) {
            json_t *copy = json_copy((json_t *)row);
            json_object_set(copy, "label", json_object_get(model, "label"));
            share_tell(copy, "accuracy", "", 1);
            share_tell(copy, "recall", "_1", 0);
            share_tell(copy, "recall", "_5", 0);
            share_tell(copy, "recall", "_10", 0);
            json_array_append_new(rows, copy);
        }
    return rows;
}

static void rows_table(struct report *r, const char *caption, const json_t *models, const char *key,
                       const struct column *columns, size_t n) {
    json_t *rows = rows_of(models, key);
    table(r, caption, rows, columns, n, 0);
    json_decref(rows);
}

static void section_filled(struct report *r, const json_t *models) {
    static const struct column columns[] = {
        {"label", "model", NULL, 0}, {"kind", "what is hidden", NULL, 0}, {"hidden", "hidden", "%.0f", 0},
        {"accuracy_text", "accuracy (95%)", NULL, 0}, {"perplexity", "perplexity", "%.2f", 0},
    };
    heading(r, "filled", "What is hidden, filled in");
    fputs("<p>All that was held out, in all languages, with the parts hidden that validation hides: patches of a "
          "picture alone and of one beside its caption, pieces of a text alone and of one beside its picture. "
          "<em>Accuracy</em>: of how many the right one was the likeliest, with its 95% interval (Wilson). What is "
          "hidden in one picture is not independent of each other, so that the true interval is wider.</p>\n",
          r->out);
    rows_table(r, "Accuracy and perplexity, of visual codes for patches and of pieces for words.", models, "kinds",
               COLUMNS(columns));
}

/* What a random order of the answers would find: the same in all rows. New reference. */
static json_t *chance_row(const json_t *row) {
    json_t *chance = json_pack("{s:s, s:s}", "label", "chance", "search", "a random order");
    for (int k = 1; k <= 10; k += k == 1 ? 4 : 5) {
        char *from = string_format("chance_%d", k), *to = string_format("recall_%d_text", k);
        json_object_set_new(chance, to, json_sprintf("%.0f%%", 100 * number_at(row, from)));
        free(from);
        free(to);
    }
    return chance;
}

static void section_retrieval(struct report *r, const json_t *models) {
    static const struct column columns[] = {
        {"label", "model", NULL, 0}, {"search", "search", NULL, 0}, {"score", "by", NULL, 0},
        {"recall_1_text", "recall at 1 (95%)", NULL, 0}, {"recall_5_text", "recall at 5 (95%)", NULL, 0},
        {"recall_10_text", "recall at 10 (95%)", NULL, 0}, {"median_rank", "median place", "%.1f", 0},
    };
    json_t *rows = rows_of(models, "retrieval");
    json_array_append_new(rows, chance_row(json_array_get(rows, 0)));
    heading(r, "retrieval", "Captions for pictures, pictures for captions");
    fputs("<p>Each caption beside each picture is scored by its pseudo-log-likelihood: each of its tokens is hidden "
          "by itself, and the log-probabilities of the right ones are summed. A caption is to find its picture among "
          "all of them, by that <em>sum</em>; a picture its caption. There the sum would choose short captions of "
          "common words for every picture. So what counts is the <em>gain</em>: the sum less that of the same caption "
          "without a picture, which is how much the picture tells of the caption; the <em>mean</em> a token, which "
          "mends the length but not the common words, stands beside it. <em>Recall at K</em>: for how many the right "
          "one is among the first K, with its 95% interval (Wilson). Where two pictures have the same caption, either "
          "is right; what scores equally is counted as before it.</p>\n",
          r->out);
    table(r, "Recall among all of the pictures.", rows, COLUMNS(columns), 0);
    json_decref(rows);
}

/* Of each model what a token of the captions costs. New reference. */
static json_t *losses_of(const json_t *models) {
    json_t *rows = json_array();
    const json_t *model;
    size_t i;
    json_array_foreach(models, i, model) {
        json_t *row = json_copy(json_object_get(model, "caption_loss"));
        json_object_set(row, "label", json_object_get(model, "label"));
        json_array_append_new(rows, row);
    }
    return rows;
}

static void section_choices(struct report *r, const json_t *models) {
    static const struct column columns[] = {
        {"label", "model", NULL, 0}, {"shown", "beside", NULL, 0}, {"score", "by", NULL, 0},
        {"right", "right", "%.0f", 0}, {"accuracy_text", "accuracy (95%)", NULL, 0}, {"chance", "chance", "%.2f", 0},
    };
    static const struct column losses[] = {
        {"label", "model", NULL, 0}, {"its_picture", "its picture", "%.3f", 0},
        {"another_picture", "another picture", "%.3f", 0}, {"no_picture", "no picture", "%.3f", 0},
    };
    json_t *rows = losses_of(models);
    heading(r, "choices", "Which of four captions fits");
    fputs("<p>A picture's own caption, and three different ones of other pictures, drawn at random. Beside another "
          "picture (that of none of the four) and beside none the questions are the same: what is above chance there, "
          "the model knows from the text alone. By gain there is nothing to choose without a picture.</p>\n",
          r->out);
    rows_table(r, "How often its own caption is chosen.", models, "choices", COLUMNS(columns));
    table(r, "What a token of the captions costs, in nats, each hidden by itself.", rows, COLUMNS(losses), 0);
    json_decref(rows);
}

/* One map of all MoE layers. */
static void rows_draw(struct report *r, const json_t *model) {
    static const char *const names[] = {"patches", "words"};
    const json_t *layers = json_object_get(json_object_get(model, "kinds_of_rows"), "layers"), *layer, *kind;
    struct load_map map = load_map_make(2 * json_array_size(layers), (size_t)number_at(model, "experts"));
    size_t i, j;
    json_array_foreach(layers, i, layer)
        json_array_foreach(json_object_get(layer, "shares"), j, kind) {
            double *shares = numbers_of(kind);
            load_map_add(&map, string_format("%s, %s", text_at(layer, "layer"), names[j]), shares);
            free(shares);
        }
    char *title = string_format("Experts of patches and of words in %s", text_at(model, "label"));
    load_map_draw(r, &map, "kinds", title, "rows", "1 is an even share of a row's picks. Where the two rows of a layer "
                  "differ, experts serve patches more than words, or words more than patches.");
    free(title);
}

static void section_experts(struct report *r, const json_t *pictures, const json_t *models) {
    const json_t *model;
    size_t i;
    heading(r, "experts", "Which experts serve patches, which words");
    fprintf(r->out, "<p>Each picture beside its caption, nothing hidden. <em>Mutual information</em> is how many bits "
            "the expert of a pick tells about whether it is of a patch or of a word. Beside it stands what chance "
            "gives: the same with the kinds dealt out anew to the pictures and captions as wholes, %.0f times; the "
            "<em>excess</em> is what is left when their mean is taken off.</p>\n", number_at(pictures, "null_draws"));
    json_array_foreach(models, i, model) {
        const json_t *kinds = json_object_get(model, "kinds_of_rows");
        section_title(r, model);
        if (!kinds) {
            fputs("<p class=\"note\">A dense model: it has no experts.</p>\n", r->out);
            continue;
        }
        dependence_table(r, "What an expert tells about the kind of a row. \"all\": means over the layers, and of the "
                         "draws' means over them.", json_object_get(kinds, "layers"), json_object_get(kinds, "all"));
        rows_draw(r, model);
    }
}

static void spread_print(struct report *r, const json_t *model) {
    static const struct column columns[] = {
        {"layer", "layer", NULL, 0}, {"patches", "patches", NULL, 0}, {"pictures", "pictures", "%.0f", 0},
        {"correlation", "rank correlation", "%+.3f", 0}, {"low", "from", "%+.3f", 0}, {"high", "to", "%+.3f", 0},
        {"null_low", "by chance: from", "%+.3f", 0}, {"null_high", "to", "%+.3f", 0}, {"verdict", "verdict", NULL, 0},
    };
    static const struct column tenths[] = {
        {"tenth", "tenth", "%.0f", 0}, {"patches", "patches", "%.0f", 0}, {"detail", "mean detail", "%.1f", 0},
        {"reach", "experts reached", "%.3f", 0},
    };
    const json_t *spread = json_object_get(model, "spread");
    fprintf(r->out, "<p>A patch's sub-tokens reach %.3f different experts on average; %.3f if each drew evenly.</p>\n",
            number_at(spread, "reach"), number_at(spread, "reach_even"));
    table(r, "Detail of a patch and experts that its sub-tokens reach. \"all\": the mean over the layers. A dash: one "
          "of the two does not vary.", json_object_get(spread, "rows"), COLUMNS(columns), 0);
    table(r, "By detail, from the tenth of all patches with the least; equal ones stay together.",
          json_object_get(spread, "tenths"), COLUMNS(tenths), 0);
}

static void section_spread(struct report *r, const json_t *pictures, const json_t *models) {
    const json_t *model;
    size_t i;
    heading(r, "spread", "Do detailed patches spread further?");
    fprintf(r->out, "<p>The number of different experts that the H sub-tokens of a patch reach with all their K picks, "
            "and how much there is to see in the patch: its <em>detail</em> is the mean square of the differences "
            "between neighbouring pixels, beside and below each other (the energy of the gradient). Their rank "
            "correlation (Spearman) is taken within each picture; given are its mean over the pictures, its 95%% "
            "interval over them (Student), and between what 95%% of %.0f draws lie in which each picture's patches "
            "were dealt out anew. Blank patches, of one colour, are alike to a router but for their place: without "
            "them it is told whether detail matters where there is some.</p>\n", number_at(pictures, "null_draws"));
    json_array_foreach(models, i, model) {
        section_title(r, model);
        if (!json_object_get(model, "spread"))
            fputs("<p class=\"note\">A dense model: it has no experts.</p>\n", r->out);
        else if (number_at(model, "heads") < 2)
            fprintf(r->out, "<p class=\"note\">Whole patches are routed (H = 1): each reaches exactly K = %.0f.</p>\n",
                    number_at(model, "topk"));
        else spread_print(r, model);
    }
}

/* ---- The page ----------------------------------------------------------------------------------- */

/* Copies of the models that also say "title", a whole name after its number, and "label". */
static json_t *models_labelled(const json_t *models) {
    const size_t n = json_array_size(models);
    json_t *copies = json_array();
    const char *names[n];
    for (size_t i = 0; i < n; i++) names[i] = text_at(json_array_get(models, i), "name");
    for (size_t i = 0; i < n; i++) {
        json_t *copy = json_copy(json_array_get(models, i));
        char *label = label_make(names, n, i), *title = string_format("#%zu %s", i + 1, names[i]);
        json_object_set_new(copy, "title", json_string(title));
        json_object_set_new(copy, "label", json_string(label));
        json_array_append_new(copies, copy);
        free(title);
        free(label);
    }
    return copies;
}

static void title_print(struct report *r, const json_t *models) {
    const json_t *model;
    size_t i;
    fputs("<h1>Pictures and captions</h1>\n<p>", r->out);
    json_array_foreach(models, i, model)
        xml_print(r->out, "%s%s (%s, step %.0f)", i ? ", " : "", text_at(model, "name"), text_at(model, "ffn"),
                  number_at(model, "step"));
    fputs("</p>\n<nav><a href=\"#models\">Models</a><a href=\"#gallery\">Gallery</a><a href=\"#filled\">Filled in</a>"
          "<a href=\"#retrieval\">Retrieval</a><a href=\"#choices\">Four captions</a><a href=\"#experts\">Experts</a>"
          "<a href=\"#spread\">Detail</a></nav>\n", r->out);
}

bool gallery_report(const char *dir, const struct gallery *g, const struct subject *subjects, const json_t *numbers,
                    struct error *err) {
    struct atomic_file file;
    char *path = string_format("%s/report.html", dir);
    const bool opened = atomic_open(&file, path, err);
    free(path);
    if (!opened) return false;
    figures_remove(dir);
    const json_t *pictures = json_object_get(numbers, "pictures");
    json_t *models = models_labelled(json_object_get(numbers, "models"));
    struct report report = {.out = file.file, .dir = dir, .err = err, .ok = true}, *r = &report;
    page_start(r, "Pictures and captions");
    title_print(r, models);
    section_models(r, pictures, models);
    section_gallery(r, g, subjects, models);
    section_filled(r, models);
    section_retrieval(r, models);
    section_choices(r, models);
    section_experts(r, pictures, models);
    section_spread(r, pictures, models);
    page_end(r);
    json_decref(models);
    if (r->ok) return atomic_commit(&file, err);
    atomic_abandon(&file);
    return false;
}
