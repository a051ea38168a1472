/* The report's section on the parts of a corpus (languages, domains): which experts serve which of them, and how far
 * that is more than chance. From the numbers of analyse_measure.c; what they are is in dependence.h. See
 * analyse_page.h. */
#include <stdlib.h>
#include <string.h>
#include "../../src/base/text.h"
#include "analyse_page.h"

bool has_parts(const json_t *analysis) {
    return json_array_size(json_object_get(json_object_get(analysis, "text"), "parts")) > 1;
}

static void parts_explain(struct report *r, const json_t *text, double entropy) {
    const json_t *parts = json_object_get(text, "parts");
    fprintf(r->out, "<p>The text has %zu parts, and %.0f windows of %.0f tokens of each, spread evenly over what was "
            "held out of it. In the maps each row is a part: 1 is an even share of its picks. <em>Mutual "
            "information</em> is how many bits the expert of a pick tells about the part that the token is of, out of "
            "the %.3f that it takes to know it. It does not say why: an expert of certain words, whatever part they "
            "stand in, tells the part in which they are common.</p>\n",
            json_array_size(parts), number_at(text, "windows_of_each"), number_at(text, "tokens_of_a_window"), entropy);
    fprintf(r->out, "<p>A finite text has some by chance, the more the more experts there are. Beside it stands what "
            "chance gives: the same figure with the parts dealt out to the windows anew, %.0f times. Whole windows are "
            "dealt out, since the tokens of one are about one thing and not independent of each other; token by token, "
            "any two texts would pass for different. A layer is <em>above chance</em> where its figure is beyond that "
            "of 95%% of the draws; the <em>excess</em> is what is left of it when their mean is taken off.</p>\n",
            number_at(text, "null_draws"));
}

/* One map a layer. */
static void parts_draw(struct report *r, const json_t *model, const json_t *names) {
    const size_t E = (size_t)number_at(model, "experts");
    const json_t *row, *part;
    size_t i, p;
    json_array_foreach(json_object_get(json_object_get(model, "parts"), "layers"), i, row) {
        struct load_map map = load_map_make(json_array_size(names), E);
        json_array_foreach(json_object_get(row, "shares"), p, part) {
            double *shares = numbers_of(part);
            load_map_add(&map, string_format("%s", json_string_value(json_array_get(names, p))), shares);
            free(shares);
        }
        char *title = string_format("Experts of each part in %s, %s", text_at(model, "label"), text_at(row, "layer"));
        load_map_draw(r, &map, "parts", title, "part",
                      "Where rows differ, experts serve some parts more than others; where a column is empty but for "
                      "one row, that part has an expert of its own.");
        free(title);
    }
}

/* The names of the layers that are above chance, or of the others, joined. malloc'ed. */
static char *layers_named(const json_t *layers, bool above) {
    char *names = string_format("%s", "");
    const json_t *row;
    size_t i;
    json_array_foreach(layers, i, row)
        if (json_is_true(json_object_get(row, "above_null")) == above)
            string_append(&names, "%s%s", *names ? ", " : "", text_at(row, "layer"));
    return names;
}

/* What the figures support, in words. */
static void parts_conclude(struct report *r, const json_t *model) {
    const json_t *parts = json_object_get(model, "parts"), *layers = json_object_get(parts, "layers");
    const json_t *all = json_object_get(parts, "all");
    char *above = layers_named(layers, true), *within = layers_named(layers, false);
    const char *pick = number_at(model, "heads") > 1 ? "sub-token" : "token";
    fputs("<p>", r->out);
    if (!*above)
        xml_print(r->out, "This does not support that experts serve some parts more than others: in no layer does it "
                  "show beyond chance.");
    else {
        xml_print(r->out, "This supports that the expert of a %s depends on the part in %s", pick, above);
        if (*within) xml_print(r->out, "; in %s it does not show beyond chance", within);
        xml_print(r->out, ". On average over all layers a pick tells %.3f bits more than chance does of the %.3f that "
                  "it takes to know the part, %.1f%%: at 0%% all parts would be served alike, at 100%% no expert would "
                  "serve more than one.", number_at(all, "excess"), number_at(parts, "entropy"),
                  100 * number_at(all, "excess_share"));
    }
    xml_print(r->out, " It is about this one model: whether kinds of models differ takes several seeds of each.");
    fputs("</p>\n", r->out);
    free(above);
    free(within);
}

#define INFORMATION                                                                                               \
    {"information", "mutual information, bits", "%.4f", 0}, {"information_share", "of the parts' entropy", "%.4f", 0}, \
    {"null_mean", "by chance: mean", "%.4f", 0}, {"null_95", "95% of draws", "%.4f", 0},                           \
    {"excess", "excess, bits", "%+.4f", 0}, {"excess_share", "of the parts' entropy", "%+.4f", 0},                 \
    {"verdict", "verdict", NULL, 0}

/* A row with its verdict in words. New reference. */
static json_t *row_judged(const json_t *row) {
    json_t *copy = json_copy((json_t *)row);
    const bool above = json_is_true(json_object_get(row, "above_null"));
    json_object_set_new(copy, "verdict", json_string(above ? "above chance" : "not told from chance"));
    return copy;
}

void dependence_table(struct report *r, const char *caption, const json_t *layers, const json_t *all) {
    static const struct column columns[] = {{"layer", "layer", NULL, 0}, INFORMATION};
    json_t *rows = json_array();
    const json_t *row;
    size_t i;
    json_array_foreach(layers, i, row) json_array_append_new(rows, row_judged(row));
    json_array_append_new(rows, row_judged(all));
    table(r, caption, rows, COLUMNS(columns), 0);
    json_decref(rows);
}

static void parts_table(struct report *r, const json_t *model) {
    const json_t *parts = json_object_get(model, "parts");
    dependence_table(r, "What an expert tells about the part. \"all\": means over the layers, and of the draws' means "
                     "over them.", json_object_get(parts, "layers"), json_object_get(parts, "all"));
}

/* Every model's mean over its layers. */
static void parts_compare(struct report *r, const json_t *models) {
    static const struct column columns[] = {{"label", "model", NULL, 0}, {"experts", "E", "%.0f", 0},
                                            {"heads", "H", "%.0f", 0}, {"topk", "K", "%.0f", 0}, INFORMATION};
    static const char *const sizes[] = {"label", "experts", "heads", "topk"};
    const json_t *model;
    json_t *rows = json_array();
    size_t i;
    json_array_foreach(models, i, model) {
        json_t *row = row_judged(json_object_get(json_object_get(model, "parts"), "all"));
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            json_object_set(row, sizes[s], json_object_get(model, sizes[s]));
        json_array_append_new(rows, row);
    }
    table(r, "All MoE layers of each model. Compare the excess: chance gives more where there are more experts. It is "
          "that of one pick; a token that is cut into H parts has H times K of them.", rows, COLUMNS(columns), 0);
    json_decref(rows);
}

void section_parts(struct report *r, const json_t *analysis, const json_t *models) {
    const json_t *text = json_object_get(analysis, "text"), *model;
    size_t i;
    if (!has_parts(analysis)) return;
    heading(r, "parts", "Which experts serve which part");
    parts_explain(r, text, number_at(json_object_get(json_array_get(models, 0), "parts"), "entropy"));
    if (json_array_size(models) > 1) {
        subheading(r, "Parts: side by side");
        parts_compare(r, models);
    }
    json_array_foreach(models, i, model) {
        section_title(r, model);
        parts_conclude(r, model);
        parts_table(r, model);
        parts_draw(r, model, json_object_get(text, "parts"));
    }
}
