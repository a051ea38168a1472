/* See hf_tokenizer.h. */
#include "hf_tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include "../src/base/text.h"

bool hf_file_write(const char *dir, const char *name, const char *text, size_t size, struct error *err) {
    char *path = string_format("%s/%s", dir, name);
    struct atomic_file file;
    const bool open = atomic_open(&file, path, err);
    free(path);
    if (!open) return false;
    fwrite(text, 1, size, file.file);
    return atomic_commit(&file, err);
}

bool hf_json_write(const char *dir, const char *name, json_t *object, struct error *err) {
    char *text = json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    string_append(&text, "\n");
    const bool ok = hf_file_write(dir, name, text, strlen(text), err);
    free(text);
    json_decref(object);
    return ok;
}

/* ---- Both kinds ---- */

static json_t *vocab_make(const tokenizer *t) {
    json_t *vocab = json_object();
    for (int32_t id = 0; id < tokenizer_vocab(t); id++)
        json_object_set_new(vocab, tokenizer_entry(t, id).text, json_integer(id));
    return vocab;
}

/* What is special: unknown and control pieces. */
static json_t *specials_make(const tokenizer *t) {
    json_t *list = json_array();
    for (int32_t id = 0; id < tokenizer_vocab(t); id++) {
        const struct piece p = tokenizer_entry(t, id);
        if (p.kind != PIECE_UNKNOWN && p.kind != PIECE_CONTROL) continue;
        json_array_append_new(list, json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (int)id, "content", p.text,
                                              "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special",
                                              1));
    }
    return list;
}

static json_t *document_make(const tokenizer *t, json_t *normalizer, json_t *pre_tokenizer, json_t *decoder,
                             json_t *model) {
    return json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:n, s:o, s:o}", "version", "1.0", "truncation", "padding",
                     "added_tokens", specials_make(t), "normalizer", normalizer, "pre_tokenizer", pre_tokenizer,
                     "post_processor", "decoder", decoder, "model", model);
}

/* NULL: there is none. */
static const char *unknown_text(const tokenizer *t) {
    const int32_t id = piece_unknown(t);
    return id >= 0 ? tokenizer_entry(t, id).text : NULL;
}

static json_t *model_make(const tokenizer *t, json_t *merges) {
    const char *unknown = unknown_text(t);
    return json_pack("{s:s, s:n, s:s?, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                     unknown, "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback",
                     unknown != NULL, "ignore_merges", 0, "vocab", vocab_make(t), "merges", merges);
}

/* ---- SentencePiece's ---- */

struct scored {
    const char *text;
    float score;
};

/* Higher scores first: earlier merges. Training gives no two pieces the same. */
static int score_order(const void *a, const void *b) {
    const struct scored *s = a, *t = b;
    return (s->score < t->score) - (s->score > t->score);
}

/* SentencePiece merges any two pieces that together are one, the one of the highest score first. Here each two of them
 * are a merge of its rank. */
static void merges_of(json_t *merges, const json_t *vocab, const char *text) {
    const size_t size = strlen(text);
    for (size_t at = text_character(text, size); at > 0 && at < size; at += text_character(text + at, size - at)) {
        char *pair = string_format("%.*s %s", (int)at, text, text + at);
        pair[at] = 0;
        const bool both = json_object_get(vocab, pair) && json_object_get(vocab, text + at);
        pair[at] = ' ';
        if (both) json_array_append_new(merges, json_string(pair));
        free(pair);
    }
}

static json_t *merges_make(const tokenizer *t) {
    const size_t most = (size_t)tokenizer_vocab(t);
    struct scored *pieces = array_alloc(most, sizeof *pieces);
    json_t *merges = json_array(), *vocab = json_object();
    size_t n = 0;
    for (int32_t id = 0; id < (int32_t)most; id++) {
        const struct piece p = tokenizer_entry(t, id);
        if (p.kind != PIECE_NORMAL) continue;
        pieces[n++] = (struct scored){p.text, p.score};
        json_object_set_new(vocab, p.text, json_true());
    }
    qsort(pieces, n, sizeof *pieces, score_order);
    for (size_t i = 0; i < n; i++) merges_of(merges, vocab, pieces[i].text);
    free(pieces);
    json_decref(vocab);
    return merges;
}

#define BLANK "\xe2\x96\x81" /* U+2581 */

static json_t *replace_make(const char *from, const char *to) {
    return json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", from, "content", to);
}

static json_t *sentencepiece_document(const tokenizer *t) {
    json_t *decoder = json_pack("{s:s, s:[o, {s:s}, {s:s}]}", "type", "Sequence", "decoders", replace_make(BLANK, " "),
                                "type", "ByteFallback", "type", "Fuse");
    return document_make(t, replace_make(" ", BLANK), json_null(), decoder,
                         model_make(t, merges_make(t)));
}

/* ---- GPT-2's ---- */

static json_t *byte_level_document(const tokenizer *t, json_t *merges) {
    json_t *bytes = json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1,
                              "use_regex", 1);
    return document_make(t, json_null(), json_incref(bytes), bytes, model_make(t, json_incref(merges)));
}

static bool byte_level_files(const tokenizer *t, const char *dir, const json_t *merges, struct error *err) {
    char *lines = string_format("#version: 0.2\n");
    size_t used = strlen(lines), i, room = 0;
    const json_t *line;
    json_array_foreach(merges, i, line) {
        const char *text = json_string_value(line);
        const size_t size = strlen(text);
        lines = array_grow(lines, &room, used + size + 2, 1);
        memcpy(lines + used, text, size);
        lines[used + size] = '\n';
        used += size + 1;
    }
    const bool ok = hf_json_write(dir, "vocab.json", vocab_make(t), err) &&
                    hf_file_write(dir, "merges.txt", lines, used, err);
    free(lines);
    return ok;
}

/* ---- All of it ---- */

static json_t *config_make(const struct export *e) {
    const char *unknown = unknown_text(e->tokenizer);
    const char *end = tokenizer_entry(e->tokenizer, tokenizer_end_of_text(e->tokenizer)).text;
    return json_pack("{s:s, s:s, s:s, s:s?, s:b, s:b, s:b, s:b, s:I}", "tokenizer_class", "PreTrainedTokenizerFast",
                     "bos_token", end, "eos_token", end, "unk_token", unknown, "add_bos_token", 0, "add_eos_token", 0,
                     "add_prefix_space", 0, "clean_up_tokenization_spaces", 0, "model_max_length",
                     (json_int_t)e->sizes->T);
}

bool hf_tokenizer_write(const struct export *e, const char *dir, struct error *err) {
    const tokenizer *t = e->tokenizer;
    size_t size;
    const char *model = tokenizer_model(t, &size);
    const bool ours = tokenizer_kind(t) == TOKENIZER_SENTENCEPIECE;
    json_t *parsed = ours ? NULL : json_loadb(model, size, 0, NULL), *merges = json_object_get(parsed, "merges");
    const bool ok = (ours ? hf_file_write(dir, "tokenizer.model", model, size, err)
                          : byte_level_files(t, dir, merges, err)) &&
                    hf_json_write(dir, "tokenizer.json",
                                  ours ? sentencepiece_document(t) : byte_level_document(t, merges), err) &&
                    hf_json_write(dir, "tokenizer_config.json", config_make(e), err);
    json_decref(parsed);
    return ok;
}
