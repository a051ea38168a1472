/* make gallery: what masked models make of held-out pictures and their captions.
 *
 * Runs each model (./train --task masked) over pictures that its run held out, and leaves OUT/gallery.json (all the
 * numbers) and OUT/report.html (one page with tables and pictures). What is measured stands in gallery.h and, in words,
 * in the page itself. Next: gallery_look.c, gallery_measure.c, gallery_page.c. */
#include "gallery.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "../../src/base/text.h"
#include "../../src/run/training.h"
#include "numbers.h"
#include "operands.h"

enum { BATCH = 16 };

struct options {
    char *out, *language;
    int pictures, shown, threads;
};

#define FIELD(name) offsetof(struct options, name)
static const struct option_spec gallery_options[] = {
    {"out", 'o', OPTION_STRING, FIELD(out), "runs/gallery", 0, 0, NULL, "DIR",
     "where report.html, gallery.json and plots/ go", "Output"},
    {"shown", 0, OPTION_INT, FIELD(shown), "24", 1, 10000, NULL, "N", "pictures that the page shows", NULL},
    {"pictures", 'n', OPTION_INT, FIELD(pictures), "100", LEAST, 1 << 20, NULL, "N",
     "at most so many held-out pictures, spread evenly over all; each is scored with the caption of each", "Input"},
    {"language", 0, OPTION_STRING, FIELD(language), NULL, 0, 0, NULL, "LANG",
     "of the captions (default: that of most of the first model's)", NULL},
    {"threads", 0, OPTION_INT, FIELD(threads), "0", 0, 1024, NULL, "N",
     "threads (0: as many as processors); the result is the same for any number", NULL},
    {0},
};

static const struct program_info program = {
    "gallery", "gallery [OPTION]... RUN_OR_CHECKPOINT...",
    "Measures what masked models make of held-out pictures and captions: what is hidden filled in, captions found for "
    "pictures and pictures for captions, which experts serve patches and words; and shows it.",
    "Examples:\n  build/gallery runs/emoji\n  build/gallery runs/dense runs/mhmoe --out runs/comparison\n  "
    "build/gallery early.safetensors late.safetensors --pictures 200\n\nExit codes: 0 done, 2 usage, 3 bad input, "
    "4 output failed, 5 inputs do not match each other, 6 memory.\n",
    NULL,
};

static int options_read(struct options *o, int argc, char **argv, struct error *err) {
    const struct option_group group = {gallery_options, o};
    options_set_defaults(&group, 1);
    const int first = options_parse(&group, 1, &program, argc, argv, NULL, err);
    if (first == argc)
        return error_set(err, EXIT_USAGE, "no model; name a run's directory or a checkpoint, as in: "
                         "gallery runs/emoji"), -1;
    return first < 0 || operands_check(argv + first, argc - first, err) ? first : -1;
}

/* ---- From a name to a subject ------------------------------------------------------------------- */

/* What the models have in common; the first brings it. */
struct common {
    const struct options *options;
    struct gallery gallery;
    char *first, *dir; /* its checkpoint, its prepared data */
};

/* A model with all that belongs to it. */
struct opened {
    struct checkpoint c;
    struct model model;
    tokenizer *tokenizer;
    struct masked masked;
    char *dir; /* its prepared data */
};

static bool dir_find(struct opened *m, struct error *err) {
    struct stat info;
    const char *escaped = checkpoint_string(&m->c, "data_dir", err);
    if (!escaped) return false;
    m->dir = text_unescape(escaped);
    return stat(m->dir, &info) == 0 ||
           error_set(err, EXIT_INPUT, "%s: the prepared data of %s is gone; prepare it again: ./train --dry-run with "
                     "its folders", m->dir, m->c.path);
}

static bool model_open(struct opened *m, const char *path, struct error *err) {
    const struct model_setup setup = {MODEL_INFER, BATCH, false, STORAGE_F32};
    *m = (struct opened){0};
    if (!checkpoint_open(&m->c, path, err) || !model_load(&m->model, &m->c, setup, err) ||
        !(m->tokenizer = tokenizer_from_checkpoint(&m->c, err)))
        return false;
    if (tokenizer_vocab(m->tokenizer) != m->model.config.vocab)
        return error_set(err, EXIT_MISMATCH, "%s: tokenizer of %d pieces, model of %d; the file was put together "
                         "wrongly", path, tokenizer_vocab(m->tokenizer), m->model.config.vocab);
    if (!masked_open(&m->masked, &m->model, m->tokenizer, &m->c, err)) return false;
    if (m->model.sizes.P == 0)
        return error_set(err, EXIT_MISMATCH, "%s: the model was never shown a picture; take one that was trained with "
                         "some", path);
    return dir_find(m, err);
}

static void model_close(struct opened *m) {
    masked_close(&m->masked);
    model_destroy(&m->model);
    tokenizer_free(m->tokenizer);
    checkpoint_close(&m->c);
    free(m->dir);
}

/* The validation of the run: the same examples, with the same parts hidden. */
static struct feed *feed_reopen(const struct opened *m, struct error *err) {
    struct training o = {0};
    const struct option_group group = {training_options, &o};
    json_t *kept = checkpoint_object(&m->c, "options", err);
    if (!kept) return NULL;
    options_set_defaults(&group, 1);
    json_t *all = options_to_json(&group);
    json_object_update_existing(all, kept);
    struct feed *f = NULL;
    if (options_from_json(&group, all, err)) {
        const struct feed_options val = {
            .masked = true,
            .examples = {.seq = m->model.sizes.T, .hide_patches = o.hide_patches, .hide_text = o.hide_text,
                         .hide_caption = o.hide_caption, .cache_bytes = (size_t)1 << 28},
        };
        f = feed_open(m->dir, "val", &val, err);
    }
    options_free(&group, 1);
    json_decref(all);
    json_decref(kept);
    return f;
}

/* Whether the data are those that the model was made for. */
static bool data_check(const struct opened *m, const struct feed *f, struct error *err) {
    const struct album *a = feed_album(f);
    if (feed_tokenizer_hash(f) != tokenizer_hash(m->tokenizer))
        return error_set(err, EXIT_MISMATCH, "%s: made with another tokenizer than %s; train again on what is there "
                         "now", m->dir, m->c.path);
    if (album_size(a) == m->masked.rows.size && album_patch(a) == m->masked.rows.patch &&
        album_codebook_hash(a) == codebook_hash(&m->masked.codebook))
        return true;
    return error_set(err, EXIT_MISMATCH, "%s: made with another codebook than %s; train again on what is there now",
                     m->dir, m->c.path);
}

/* The first model's pictures are everyone's. */
static bool gallery_ensure(struct common *common, const struct opened *m, struct error *err) {
    const struct options *o = common->options;
    if (common->dir)
        return strcmp(common->dir, m->dir) == 0 ||
               error_set(err, EXIT_MISMATCH, "%s: trained on other data than %s (%s, %s); look at them one by one",
                         m->c.path, common->first, m->dir, common->dir);
    const char *most = json_string_value(json_object_get(m->c.metadata, "language"));
    const struct gallery_options options = {
        .dir = m->dir, .language = o->language ? o->language : most ? most : "", .most = (size_t)o->pictures,
        .room = m->model.sizes.T - m->model.sizes.P, .shown = (size_t)o->shown};
    common->dir = string_format("%s", m->dir);
    common->first = string_format("%s", m->c.path);
    const bool ok = gallery_read(&common->gallery, &options, m->tokenizer, err);
    common->gallery.progress = true;
    return ok;
}

static bool subject_look(struct subject *s, struct opened *m, struct common *common, struct error *err) {
    const struct gallery *g = &common->gallery;
    struct feed *f = feed_reopen(m, err);
    if (!f) return false;
    bool ok = data_check(m, f, err) && gallery_ensure(common, m, err);
    for (size_t i = 0; ok && i < g->n; i++)
        if (g->P + g->items[i].n > m->model.sizes.T)
            ok = error_set(err, EXIT_MISMATCH, "%s: shorter sequences than %s has (got --seq %zu, a caption needs "
                           "%zu); name it first", m->c.path, common->first, m->model.sizes.T, g->P + g->items[i].n);
    ok = ok && fills_look(s, &m->masked, f, err);
    feed_close(f);
    if (!ok) return false;
    scores_look(s, &m->masked, g);
    picks_look(s, &m->masked, g);
    showings_look(s, &m->masked, g);
    return true;
}

static bool subject_read(struct subject *s, const char *operand, struct common *common, struct error *err) {
    struct opened m;
    *s = (struct subject){.path = operand_path(operand, err)};
    if (!s->path) return false;
    s->name = operand_name(operand, s->path);
    if (!model_open(&m, s->path, err) || !checkpoint_whole(&m.c, "step", &s->step, err)) return false;
    s->config = m.model.config;
    s->sizes = m.model.sizes;
    s->cost = model_cost(&m.model.sizes, m.model.setup);
    const bool ok = subject_look(s, &m, common, err);
    model_close(&m);
    return ok;
}

int main(int argc, char **argv) {
    struct options options = {0}, *o = &options;
    struct common common = {.options = o};
    struct error err;
    program_start(argv);
    const int first = options_read(o, argc, argv, &err);
    if (first < 0 || !threads_start(o->threads, &err)) error_exit(&err);
    char *plots = string_format("%s/plots", o->out);
    if (!directory_make(plots, &err)) error_exit(&err);
    const size_t n = (size_t)(argc - first);
    struct subject *subjects = array_alloc(n, sizeof *subjects);
    for (size_t i = 0; i < n; i++)
        if (!subject_read(&subjects[i], argv[first + (int)i], &common, &err)) error_exit(&err);

    json_t *numbers = gallery_measure(&common.gallery, subjects, n);
    if (!numbers_save(o->out, "gallery.json", numbers, &err) ||
        !gallery_report(o->out, &common.gallery, subjects, numbers, &err))
        error_exit(&err);
    fprintf(stderr, "%s/report.html\n", o->out);

    json_decref(numbers);
    for (size_t i = 0; i < n; i++) subject_free(&subjects[i], &common.gallery);
    free(subjects);
    gallery_free(&common.gallery);
    free(common.first);
    free(common.dir);
    free(plots);
    const struct option_group group = {gallery_options, o};
    options_free(&group, 1);
    return EXIT_DONE;
}
