/* See inherit.h. A tensor is copied by blocks where only blocks of one kind have some of it: block l of the new model
 * takes from block l of the other one. */
#include "inherit.h"

#include <stdlib.h>
#include <string.h>
#include "upcycle.h"

struct inheriting {
    const struct side *to, *from;
    size_t *uses; /* (n) how many slices of each of the other model's tensors were used */
    enum upcycling kind; /* what is made of dense layers */
    json_t *names;
};

/* ---- Slices ---- */

/* Whether a tensor of this part has a slice for each block of a kind; and whether it is MoE blocks that have. */
static bool by_blocks(enum part part) { return part >= PART_FFN; }
static bool of_moe(enum part part) { return part >= PART_HEAD; }

static size_t slices_of(const struct side *s, size_t i) {
    const enum part part = s->info[i].part;
    return !by_blocks(part) ? 1 : of_moe(part) ? s->sizes->LM : s->sizes->LD;
}

static size_t slice_count(const struct side *s, size_t i) { return s->info[i].count / slices_of(s, i); }

static bool is_moe(const struct side *s, size_t l) { return block_is_moe(s->config, s->sizes, l); }

/* What block l has of tensor i. */
static real *slice_at(const struct side *s, size_t i, size_t l) {
    const size_t before = moe_blocks_before(s->config, s->sizes, l), place = is_moe(s, l) ? before : l - before;
    return s->memory + s->info[i].offset + (by_blocks(s->info[i].part) ? place * slice_count(s, i) : 0);
}

static bool slices_equal(const struct side *a, const struct side *b, size_t i, size_t j) {
    const struct parameter_info *p = &a->info[i], *q = &b->info[j];
    return p->dims == q->dims && slice_count(a, i) == slice_count(b, j) &&
           memcmp(p->shape + 1, q->shape + 1, (p->dims - 1) * sizeof *p->shape) == 0;
}

static size_t first_of(const struct inheriting *u, enum part part) {
    size_t i = 0;
    while (u->to->info[i].part != part) i++;
    return i;
}

/* Block l's slice of the tensor of this name; NULL if there is none. */
static real *slice_named(const struct side *s, const char *name, size_t l) {
    const struct parameter_info *p = s->info;
    while (strcmp(p->name, name) != 0) p++;
    return p->count ? slice_at(s, (size_t)(p - s->info), l) : NULL;
}

/* ---- Tensor by tensor ---- */

enum origin { COPIED, MADE, FRESH };

/* Whether block l of the other model has experts of the same kind. */
static bool same_mixture(const struct inheriting *u, size_t l) {
    return is_moe(u->from, l) && u->from->config->ffn == u->to->config->ffn;
}

/* Where block l's slice of tensor i comes from, if it is that of tensor j of the other model that is copied. */
static enum origin origin_of(const struct inheriting *u, size_t i, size_t j, size_t l) {
    const enum part part = u->to->info[i].part;
    if (of_moe(part) && !is_moe(u->from, l)) return upcycle_makes(u->kind, part) ? MADE : FRESH;
    if (u->from->info[j].count == 0) return FRESH;
    if (!by_blocks(part)) return COPIED;
    return (of_moe(part) ? same_mixture(u, l) : !is_moe(u->from, l)) ? COPIED : FRESH;
}

static void name_add(const struct inheriting *u, const char *kind, const char *name) {
    if (!json_object_get(u->names, kind)) json_object_set_new(u->names, kind, json_array());
    json_array_append_new(json_object_get(u->names, kind), json_string(name));
}

/* Block l's experts, from the other model's dense layer. */
static void block_make(const struct inheriting *u, size_t l) {
    const struct side *to = u->to, *from = u->from;
    const struct dense_weights dense = {from->sizes->Fd, slice_named(from, "fcw", l), slice_named(from, "fcb", l),
                                        slice_named(from, "fcprojw", l), slice_named(from, "fcprojb", l)};
    const struct moe_weights moe = {
        .sizes = to->sizes, .renormalize = to->config->renormalize, .router = slice_named(to, "routerw", l),
        .w1 = slice_named(to, "expw1", l), .b1 = slice_named(to, "expb1", l), .w2 = slice_named(to, "expw2", l),
        .b2 = slice_named(to, "expb2", l), .head = slice_named(to, "headw", l), .head_b = slice_named(to, "headb", l),
        .merge = slice_named(to, "mergew", l), .merge_b = slice_named(to, "mergeb", l)};
    upcycle(u->kind, &moe, &dense);
}

static void blocks_make(const struct inheriting *u) {
    for (size_t l = 0; u->kind != UPCYCLE_NOT && l < u->to->sizes->L; l++) {
        if (!is_moe(u->to, l) || is_moe(u->from, l)) continue;
        for (size_t j = first_of(u, PART_FFN); u->from->info[j].part == PART_FFN; j++)
            u->uses[j] += u->from->info[j].decay || u->to->sizes->bias;
        if (u->to->memory) block_make(u, l);
    }
}

/* "(4, 768, 256)" */
static char *shape_text(const struct parameter_info *p) {
    char *text = string_format("(%zu", p->shape[0]);
    for (size_t d = 1; d < p->dims; d++) string_append(&text, ", %zu", p->shape[d]);
    string_append(&text, ")");
    return text;
}

/* The other model's options, as " --layers 4 --no-bias", where they are not those of the new one. */
static char *options_other(const struct inheriting *u) {
    const struct option_group to = {model_options, (void *)u->to->config};
    const struct option_group from = {model_options, (void *)u->from->config};
    json_t *mine = options_to_json(&to), *theirs = options_to_json(&from);
    char *text = string_format("%s", "");
    for (struct option_difference d; options_differ(mine, theirs, &d); option_difference_free(&d)) {
        char *words = option_words(&from, d.name);
        string_append(&text, " %s", words);
        free(words);
        json_object_del(mine, d.name);
    }
    json_decref(mine);
    json_decref(theirs);
    return text;
}

static bool shape_error(const struct inheriting *u, size_t i, size_t j, const char *path, struct error *err) {
    char *got = shape_text(&u->from->info[j]), *want = shape_text(&u->to->info[i]), *options = options_other(u);
    error_set(err, EXIT_MISMATCH, "%s: tensor %s: wrong shape (got %s, want %s); leave out what differs (it has%s)",
              path, u->from->info[j].name, got, want, options);
    free(got);
    free(want);
    free(options);
    return false;
}

static bool tensor_begin(const struct inheriting *u, size_t i, const char *path, struct error *err) {
    const struct parameter_info *p = &u->to->info[i];
    const bool was_tied = p->part == PART_OUTPUT && u->from->info[i].count == 0;
    const size_t j = was_tied ? first_of(u, PART_EMBEDDING) : i; /* the head was the embedding */
    bool made = false, fresh = false;
    for (size_t l = 0; p->count > 0 && l < (by_blocks(p->part) ? u->to->sizes->L : 1); l++) {
        if (by_blocks(p->part) && is_moe(u->to, l) != of_moe(p->part)) continue;
        const enum origin origin = origin_of(u, i, j, l);
        if (origin == COPIED && !slices_equal(u->to, u->from, i, j)) return shape_error(u, i, j, path, err);
        if (origin == COPIED) u->uses[j]++;
        if (origin == COPIED && u->to->memory)
            memcpy(slice_at(u->to, i, l), slice_at(u->from, j, l), slice_count(u->to, i) * sizeof(real));
        fresh |= origin == FRESH;
        made |= origin == MADE;
    }
    if (made) name_add(u, "made", p->name);
    if (fresh) name_add(u, "fresh", p->name);
    return true;
}

/* The bias on the choice goes with the router. */
static void bias_begin(const struct inheriting *u) {
    const struct side *to = u->to, *from = u->from;
    const size_t E = to->sizes->E, now = to->config->balance == BALANCE_BIAS ? to->sizes->LM : 0;
    const size_t then = from->config->balance == BALANCE_BIAS ? from->sizes->LM : 0;
    size_t copied = 0;
    for (size_t l = 0; now > 0 && then > 0 && l < to->sizes->L; l++) {
        if (!is_moe(to, l) || !same_mixture(u, l)) continue;
        copied++;
        if (to->memory)
            memcpy(to->router_bias + E * moe_blocks_before(to->config, to->sizes, l),
                   from->router_bias + E * moe_blocks_before(from->config, from->sizes, l), E * sizeof(real));
    }
    if (copied < now) name_add(u, "fresh", "router.bias");
    if (copied < then) name_add(u, "unused", "router.bias");
}

json_t *parameters_inherit(const struct side *to, const struct side *from, size_t n, const char *path,
                           struct error *err) {
    size_t uses[n];
    const struct inheriting u = {to, from, uses, upcycle_kind(to->config, to->sizes, from->sizes), json_object()};
    bool ok = true;
    memset(uses, 0, sizeof uses);
    for (size_t i = 0; ok && i < n; i++) ok = tensor_begin(&u, i, path, err);
    if (ok) blocks_make(&u);
    for (size_t j = 0; ok && j < n; j++)
        if (from->info[j].count > 0 && uses[j] < slices_of(from, j)) name_add(&u, "unused", from->info[j].name);
    if (ok) bias_begin(&u);
    if (ok) return u.names;
    json_decref(u.names);
    return NULL;
}

void inheritance_tell(const json_t *names, const char *path) {
    static const char *const kinds[][2] = {
        {"made", "from dense layers:"}, {"fresh", "fresh:"}, {"unused", "unused:"}};
    char *text = string_format("weights of %s", path);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        const json_t *array = json_object_get(names, kinds[k][0]), *name;
        size_t i;
        if (array) string_append(&text, "; %s", kinds[k][1]);
        json_array_foreach(array, i, name) string_append(&text, "%s %s", i ? "," : "", json_string_value(name));
    }
    note_print("%s", text);
    free(text);
}
