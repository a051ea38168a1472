/* See import_vocabulary.h. Whether ids and merges fit together is for byte_level.c to check. */
#include "import_vocabulary.h"

#include <stdlib.h>
#include <string.h>

char *file_beside(const char *dir, const char *name) { return string_format("%s/%s", dir, name); }

json_t *json_file_read(const char *path, struct error *err) {
    size_t size;
    json_error_t bad;
    char *text = file_contents(fopen(path, "rb"), path, &size, err);
    json_t *object = text ? json_loadb(text, size, JSON_REJECT_DUPLICATES, &bad) : NULL;
    if (text && !json_is_object(object)) {
        error_set(err, EXIT_INPUT, "%s: not a JSON object (%s); fetch it again", path,
                  object ? "no { found" : bad.text);
        json_decref(object);
        object = NULL;
    }
    free(text);
    return object;
}

/* ---- merges.txt ---- */

/* Its lines but for that of the version; a merge may well begin with #. */
static json_t *merges_read(const char *path, struct error *err) {
    static const char version[] = "#version";
    size_t size;
    char *text = file_contents(fopen(path, "rb"), path, &size, err), *next;
    json_t *merges = text ? json_array() : NULL;
    for (char *line = text; line && line < text + size; line = next) {
        char *stop = memchr(line, '\n', (size_t)(text + size - line));
        if (!stop) stop = text + size;
        next = stop + 1;
        if (stop > line && stop[-1] == '\r') stop--;
        const size_t length = (size_t)(stop - line);
        if (length == 0 || (line == text && strncmp(line, version, sizeof version - 1) == 0)) continue;
        if (!memchr(line, 0, length) && json_array_append_new(merges, json_stringn(line, length)) == 0) continue;
        error_set(err, EXIT_INPUT, "%s: byte %zu: not a line of UTF-8; fetch it again", path, (size_t)(line - text));
        json_decref(merges);
        merges = NULL;
        break;
    }
    free(text);
    return merges;
}

/* ---- tokenizer.json ---- */

static bool has_text(const json_t *object, const char *key) {
    return json_string_length(json_object_get(object, key)) > 0; /* 0 of what is no string */
}

/* NULL, or what is not as in GPT-2's. */
static const char *model_differs(const json_t *model) {
    const char *type = json_string_value(json_object_get(model, "type"));
    if (type && strcmp(type, "BPE") != 0) return "model: not BPE";
    if (!json_is_object(json_object_get(model, "vocab")) || !json_is_array(json_object_get(model, "merges")))
        return "model: no vocab and merges";
    if (json_number_value(json_object_get(model, "dropout")) != 0) return "model: dropout: merges by chance";
    if (json_is_true(json_object_get(model, "ignore_merges"))) return "model: ignore_merges: words without merges";
    if (!has_text(model, "continuing_subword_prefix") && !has_text(model, "end_of_word_suffix")) return NULL;
    return "model: letters before or behind parts of words";
}

static const char *document_differs(const json_t *document) {
    const json_t *before = json_object_get(document, "pre_tokenizer");
    const json_t *normalizer = json_object_get(document, "normalizer");
    const char *cut = json_string_value(json_object_get(before, "type"));
    const char *problem = model_differs(json_object_get(document, "model"));
    if (problem) return problem;
    if (!cut || strcmp(cut, "ByteLevel") != 0) return "pre_tokenizer: not ByteLevel";
    if (json_is_true(json_object_get(before, "add_prefix_space"))) return "pre_tokenizer: adds a space";
    if (json_is_false(json_object_get(before, "use_regex"))) return "pre_tokenizer: cuts no words";
    return normalizer && !json_is_null(normalizer) ? "normalizer: there is one" : NULL;
}

/* Merges as lines, however they stand there; what was added to the vocabulary, in it. */
static bool document_read(const char *path, json_t **vocab, json_t **merges, struct error *err) {
    json_t *document = json_file_read(path, err), *entry;
    const char *problem = document ? document_differs(document) : NULL;
    size_t i;
    if (problem) error_set(err, EXIT_INPUT, "%s: %s; want GPT-2's byte-level BPE", path, problem);
    if (!document || problem) {
        json_decref(document);
        return false;
    }
    const json_t *model = json_object_get(document, "model");
    *vocab = json_deep_copy(json_object_get(model, "vocab"));
    *merges = json_array();
    json_array_foreach(json_object_get(model, "merges"), i, entry) {
        const char *left, *right;
        json_t *line = json_unpack(entry, "[s, s!]", &left, &right) == 0 ? json_sprintf("%s %s", left, right)
                                                                         : json_incref(entry);
        json_array_append_new(*merges, line);
    }
    json_array_foreach(json_object_get(document, "added_tokens"), i, entry) {
        const char *content = json_string_value(json_object_get(entry, "content"));
        json_t *id = json_object_get(entry, "id");
        if (content && id) json_object_set(*vocab, content, id);
    }
    json_decref(document);
    return true;
}

/* ---- Either ---- */

/* The token of an id; GPT-2's, if there is none. */
static const char *token_of(const json_t *vocab, json_int_t id) {
    const char *token;
    json_t *value;
    json_object_foreach((json_t *)vocab, token, value)
        if (json_is_integer(value) && json_integer_value(value) == id) return token;
    return "<|endoftext|>";
}

static void model_write(struct vocabulary *v, json_t *vocab, json_t *merges, json_int_t end) {
    json_t *model = json_pack("{s:s, s:o, s:o}", "end_of_text", token_of(vocab, end), "vocab", vocab, "merges", merges);
    v->model = json_dumps(model, JSON_COMPACT);
    json_decref(model);
    v->size = strlen(v->model);
}

bool vocabulary_read(struct vocabulary *v, const char *dir, json_int_t end, struct error *err) {
    char *words = file_beside(dir, "vocab.json"), *lines = file_beside(dir, "merges.txt");
    char *document = file_beside(dir, "tokenizer.json"), *ours = file_beside(dir, "tokenizer.model");
    json_t *vocab = NULL, *merges = NULL;
    *v = (struct vocabulary){0};
    if (file_exists(words)) {
        v->name = string_format("%s and merges.txt", words);
        vocab = json_file_read(words, err);
        merges = vocab ? merges_read(lines, err) : NULL;
    } else if (file_exists(ours)) {
        v->name = string_format("%s", ours);
        v->model = file_contents(fopen(ours, "rb"), ours, &v->size, err);
    } else if (file_exists(document)) {
        v->name = string_format("%s", document);
        document_read(document, &vocab, &merges, err);
    } else
        error_set(err, EXIT_INPUT, "%s: no vocabulary beside the weights (want vocab.json and merges.txt, "
                  "tokenizer.json, or a tokenizer.model of ours); fetch it, too", dir);
    if (vocab && merges) model_write(v, vocab, merges, end);
    else json_decref(vocab);
    free(words);
    free(lines);
    free(document);
    free(ours);
    if (v->model) return true;
    vocabulary_free(v);
    return false;
}

void vocabulary_free(struct vocabulary *v) {
    free(v->name);
    free(v->model);
    *v = (struct vocabulary){0};
}
