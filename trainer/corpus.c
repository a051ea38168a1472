/* See trainer.h. From the names of a corpus to sequences: tokenizer, prepared data, codebook. */
#include "trainer.h"

#include <stdlib.h>
#include "../data/album.h"
#include "../data/album_prepare.h"
#include "../data/prepare.h"
#include "../src/base/place.h"
#include "../src/base/text.h"

char *default_corpus(const struct train *t, struct error *err) {
    return is_masked(t) ? place_corpus("emoji", "folder of pictures", err) : place_corpus("austen", "text file", err);
}

/* What is trained on, mixed as the options ask for; and what is held out, part by part. */
static bool feeds_open(struct train *t, struct error *err) {
    const struct training *o = &t->options;
    const size_t memory = (size_t)1 << 30;
    struct feed_options train = {
        .masked = is_masked(t),
        .text = {.seq = t->config.seq, .shuffle = true, .seed = (uint64_t)o->seed, .cache_bytes = memory,
                 .alpha = o->part_alpha, .weights = o->part_weights},
        .examples = {.seq = (size_t)t->config.seq, .seed = (uint64_t)o->seed, .shuffle = true,
                     .hide_patches = o->hide_patches, .hide_text = o->hide_text, .hide_caption = o->hide_caption,
                     .cache_bytes = memory},
    };
    struct feed_options val = train;
    val.text.seed = val.examples.seed = 0;
    val.text.alpha = 1;
    val.text.weights = NULL;
    val.examples.shuffle = false;
    if (!(t->train_data = feed_open(t->data_dir, "train", &train, err)) ||
        !(t->val_data = feed_open(t->data_dir, "val", &val, err)))
        return false;
    const size_t n = feed_parts(t->train_data);
    t->parts = array_alloc(n, sizeof *t->parts);
    for (size_t p = 0; p < n; p++)
        t->parts[p] = (struct part_score){.name = feed_part_name(t->train_data, p),
                                          .trained = feed_part_share(t->train_data, p) > 0};
    if (!has_parts(t) && (o->parts || o->part_alpha != 1))
        note_print("--%s has no effect: this corpus has no parts", o->parts ? "parts" : "part-alpha");
    return true;
}

bool inheritance_find(struct train *t, struct error *err) {
    json_decref(t->inherited);
    t->inherited = model_inherits(&t->config, &t->source, err);
    if (t->inherited && (!is_masked(t) || t->train_data)) inheritance_tell(t->inherited, t->source.path);
    return t->inherited;
}

/* The pictures' sizes become the model's; those that a run or a model was made for (`earlier`, or NULL) stay. What of
 * the latter there will be is known once they are. */
static bool pictures_open(struct train *t, const struct checkpoint *earlier, struct error *err) {
    const struct album *album = feed_album(t->train_data);
    struct config *c = &t->config;
    if (!album) return true;
    const int size = (int)album_size(album), patch = (int)album_patch(album), codes = (int)album_codes(album);
    if (size > 0 && c->size > 0 && earlier && (size != c->size || patch != c->patch || codes != c->codes))
        return error_set(err, EXIT_MISMATCH, "%s: pictures of %d pixels in patches of %d with %d visual codes, but the "
                         "model is for %d, %d and %d; name the pictures it was trained on, or leave out --size, "
                         "--patch and --codes", t->data_dir, size, patch, codes, c->size, c->patch, c->codes);
    c->size = size;
    if (t->options.from && !inheritance_find(t, err)) return false;
    if (!(t->language = feed_language(t->train_data, t->tokenizer, err))) return false;
    if (size == 0) codebook_free(&t->codebook); /* of the model that this one began with */
    if (t->codebook.codes == 0) return size == 0 || codebook_load(&t->codebook, t->data_dir, err);
    return album_codebook_hash(album) == codebook_hash(&t->codebook) ||
           error_set(err, EXIT_MISMATCH, "%s: made with another codebook than %s; name the corpus again", t->data_dir,
                     earlier->path);
}

/* Visual codes go with the weights that tell them apart, like the tokenizer. */
bool codebook_open(struct train *t, const struct checkpoint *earlier, struct error *err) {
    struct config config;
    struct sizes sizes;
    if (!is_masked(t) || !earlier || !checkpoint_find(earlier, "codebook")) return true;
    return config_from_checkpoint(&config, earlier, err) && config_check(&config, &sizes, err) &&
           codebook_from_checkpoint(&t->codebook, earlier, sizes.codes, sizes.Q, err);
}

/* The prepared data of a corpus; it is made where it is not there yet. */
static char *data_find(struct train *t, char **corpora, size_t n, struct error *err) {
    const struct training *o = &t->options;
    const struct config *c = &t->config;
    struct option_group groups[GROUPS];
    option_groups(t, groups);
    const bool adapts = !options_given(groups, GROUPS, t->given, "vocab");
    const struct prepare_options text = {.paths = corpora, .n_paths = n, .parts = o->parts, .part_alpha = o->part_alpha,
                                         .part_weights = o->part_weights, .val_path = o->val, .vocab = c->vocab,
                                         .vocab_adapts = adapts, .tokenizer = t->tokenizer, .cache = o->cache,
                                         .verbose = true};
    const struct album_options album = {.paths = corpora, .n_paths = n, .languages = o->languages, .vocab = c->vocab,
                                        .vocab_adapts = adapts, .tokenizer = t->tokenizer, .size = (size_t)c->size,
                                        .patch = (size_t)c->patch, .codes = (size_t)c->codes,
                                        .codebook = t->codebook.codes > 0 ? &t->codebook : NULL, .cache = o->cache,
                                        .verbose = true};
    return is_masked(t) ? album_prepare(&album, err) : data_prepare(&text, err);
}

/* Finds or makes tokenizer and data, opens them, and sets the model's vocabulary. */
bool data_open(struct train *t, char **corpora, size_t n, const struct checkpoint *earlier, struct error *err) {
    const struct training *o = &t->options;
    if (earlier && n == 0) {
        const char *dir = checkpoint_string(earlier, "data_dir", err);
        if (!dir) return false;
        t->data_dir = text_unescape(dir);
        if (!file_exists(t->data_dir))
            return error_set(err, EXIT_INPUT, "%s: the prepared data of %s is gone; name its corpus again", t->data_dir,
                             earlier->path);
    } else {
        t->data_dir = data_find(t, corpora, n, err);
        if (!t->data_dir) return false;
    }
    if (!t->tokenizer) {
        char *path = string_format("%s/tokenizer.model", t->data_dir);
        t->tokenizer = tokenizer_load(path, err);
        free(path);
        if (!t->tokenizer) return false;
    }
    if (!feeds_open(t, err) || !pictures_open(t, earlier, err)) return false;
    if (feed_tokenizer_hash(t->train_data) != tokenizer_hash(t->tokenizer))
        return error_set(err, EXIT_MISMATCH, "%s: made with another tokenizer than %s; name the corpus again",
                         t->data_dir, earlier ? earlier->path : o->tokenizer ? o->tokenizer : "its own");
    t->config.vocab = tokenizer_vocab(t->tokenizer);
    if (t->config.documents && tokenizer_end_of_text(t->tokenizer) != DOCUMENT_TOKEN)
        return error_set(err, EXIT_MISMATCH, "--documents: the tokenizer has another end of text (got id %d, want %d); "
                         "leave out --tokenizer, or --documents", tokenizer_end_of_text(t->tokenizer), DOCUMENT_TOKEN);
    return true;
}

/* Weights go with their tokenizer: --tokenizer may only name the same one. */
static bool tokenizer_check(const struct train *t, const struct checkpoint *earlier, struct error *err) {
    if (!t->options.tokenizer) return true;
    tokenizer *named = tokenizer_load(t->options.tokenizer, err);
    if (!named) return false;
    const bool same = tokenizer_hash(named) == tokenizer_hash(t->tokenizer);
    tokenizer_free(named);
    return same || error_set(err, EXIT_MISMATCH, "%s: not the tokenizer that %s was trained with; leave out "
                             "--tokenizer, or %s", t->options.tokenizer, earlier->path,
                             t->options.from ? "--from" : "start a new run");
}

bool tokenizer_open(struct train *t, const struct checkpoint *earlier, struct error *err) {
    if (earlier) {
        t->tokenizer = tokenizer_from_checkpoint(earlier, err);
        return t->tokenizer && tokenizer_check(t, earlier, err);
    }
    if (t->options.tokenizer) t->tokenizer = tokenizer_load(t->options.tokenizer, err);
    return t->tokenizer || !t->options.tokenizer;
}
