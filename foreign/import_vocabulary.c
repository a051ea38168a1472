/* See import_vocabulary.h. Whether ids and merges fit together is for byte_level.c to check. */
#include "import_vocabulary.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *file_beside(const char *dir, const char *name) { return string_format("%s/%s", dir, name); }
bool file_is_there(const char *path) { return access(path, F_OK) == 0; }

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
    for (char *line = text; line && *line; line = next) {
        const size_t length = strcspn(line, "\r\n");
        next = line + length + (line[length] == '\r') + (line[length] != 0);
        line[length] = 0;
        if (length == 0 || (line == text && strncmp(line, version, sizeof version - 1) == 0)) continue;
        if (json_array_append_new(merges, json_string(line)) == 0) continue;
        error_set(err, EXIT_INPUT, "%s: byte %zu: not UTF-8; fetch it again", path, (size_t)(line - text));
        json_decref(merges);
        merges = NULL;
        break;
    }
    free(text);
    return merges;
}

/* ---- tokenizer.json ---- */

/* NULL, or what is not as in GPT-2's. */
static const char *document_differs(const json_t *document) {
    const json_t *model = json_object_get(document, "model"), *before = json_object_get(document, "pre_tokenizer");
    const char *type = json_string_value(json_object_get(model, "type"));
    const char *cut = json_string_value(json_object_get(before, "type"));
    if (type && strcmp(type, "BPE") != 0) return "model: not BPE";
    if (!json_is_object(json_object_get(model, "vocab")) || !json_is_array(json_object_get(model, "merges")))
        return "model: no vocab and merges";
    if (!cut || strcmp(cut, "ByteLevel") != 0) return "pre_tokenizer: not ByteLevel";
    if (json_is_true(json_object_get(before, "add_prefix_space"))) return "pre_tokenizer: adds a space";
    if (json_is_false(json_object_get(before, "use_regex"))) return "pre_tokenizer: cuts no words";
    const json_t *normalizer = json_object_get(document, "normalizer");
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

/* The token of an id. */
static const char *token_of(const json_t *vocab, json_int_t id) {
    const char *token;
    json_t *value;
    json_object_foreach((json_t *)vocab, token, value)
        if (json_is_integer(value) && json_integer_value(value) == id) return token;
    return "<|endoftext|>";
}

static char *model_write(json_t *vocab, json_t *merges, json_int_t end, size_t *size) {
    json_t *model = json_pack("{s:s, s:o, s:o}", "end_of_text", token_of(vocab, end), "vocab", vocab, "merges", merges);
    char *text = json_dumps(model, JSON_COMPACT);
    json_decref(model);
    *size = strlen(text);
    return text;
}

char *vocabulary_read(const char *dir, json_int_t end, size_t *size, struct error *err) {
    char *words = file_beside(dir, "vocab.json"), *lines = file_beside(dir, "merges.txt");
    char *document = file_beside(dir, "tokenizer.json"), *ours = file_beside(dir, "tokenizer.model"), *model = NULL;
    json_t *vocab = NULL, *merges = NULL;
    if (file_is_there(words)) {
        vocab = json_file_read(words, err);
        merges = vocab ? merges_read(lines, err) : NULL;
    } else if (file_is_there(ours)) model = file_contents(fopen(ours, "rb"), ours, size, err);
    else if (file_is_there(document)) document_read(document, &vocab, &merges, err);
    else
        error_set(err, EXIT_INPUT, "%s: no vocabulary beside the weights (want vocab.json and merges.txt, "
                  "tokenizer.json, or a tokenizer.model of ours); fetch it, too", dir);
    if (vocab && merges) model = model_write(vocab, merges, end, size);
    else json_decref(vocab);
    free(words);
    free(lines);
    free(document);
    free(ours);
    return model;
}
