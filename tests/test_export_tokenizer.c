/* The tokenizer's side of --export: files that make other programs' tokenizers encode as ours, of both kinds of
 * tokenizer. What test_export.c is for weights. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../foreign/export.h"
#include "../src/base/text.h"
#include "byte_pieces.h"
#include "gguf_reader.h"
#include "pieces.h"
#include "small_model.h"

static const struct byte_merge merges[] = {{'t', 'h'}, {256, 'e'}, {' ', 257}, {'i', 'n'}, {0xC3, 0xBC}, {'#', '#'}};
enum { MERGES = sizeof merges / sizeof *merges, BYTES = 256 + MERGES + 1 };

static int begin(void **state) {
    if (!workplace_enter()) return -1;
    *state = pieces_tokenizer();
    return 0;
}

static int end(void **state) {
    tokenizer_free(*state);
    return workplace_remove(state);
}

/* A GPT-2 for this tokenizer. */
static void exported(const tokenizer *t, enum export_format format, const char *out) {
    struct config config = small_config;
    struct error err;
    config.vocab = tokenizer_vocab(t);
    config.ffn = FFN_DENSE;
    struct model m = model_random(&config, MODEL_INFER, 1, 3);
    if (!model_export(&m, t, format, out, &err)) fail_msg("%s", err.text);
    model_destroy(&m);
}

static json_t *json_read(const char *path) {
    json_error_t bad;
    json_t *object = json_load_file(path, JSON_REJECT_DUPLICATES, &bad);
    if (!object) fail_msg("%s: %s", path, bad.text);
    return object;
}

static void json_is(json_t *got, const char *want) {
    json_error_t bad;
    json_t *object = json_loads(want, 0, &bad);
    char *text = json_dumps(got, JSON_COMPACT);
    if (!object) fail_msg("%s", bad.text);
    if (!json_equal(got, object)) fail_msg("%s", text);
    free(text);
    json_decref(object);
    json_decref(got);
}

/* Takes a document's vocabulary, which has to be that of the tokenizer, away from it, and its merges. */
static json_t *merges_take(json_t *document, const tokenizer *t) {
    json_t *model = json_object_get(document, "model"), *vocab = json_object_get(model, "vocab");
    json_t *lines = json_incref(json_object_get(model, "merges"));
    assert_int_equal(json_object_size(vocab), tokenizer_vocab(t));
    for (int32_t id = 0; id < tokenizer_vocab(t); id++) {
        const json_t *got = json_object_get(vocab, tokenizer_entry(t, id).text);
        assert_true(json_is_integer(got) && json_integer_value(got) == id);
    }
    json_object_del(model, "vocab");
    json_object_del(model, "merges");
    return lines;
}

/* ---- SentencePiece's ---- */

/* Byte-pair merges as their ranks say, over characters; what is no token falls apart into bytes. */
static size_t ids_plainly(const json_t *document, const char *text, int32_t *ids) {
    const json_t *model = json_object_get(document, "model"), *vocab = json_object_get(model, "vocab");
    const json_t *merges = json_object_get(model, "merges");
    char *symbols[200];
    size_t n = 0, count = 0;
    for (const char *at = text; *at; n++) {
        const size_t bytes = *at == ' ' ? 1 : text_character(at, strlen(at));
        symbols[n] = string_format("%.*s", *at == ' ' ? 3 : (int)bytes, *at == ' ' ? "\xe2\x96\x81" : at);
        at += bytes;
    }
    for (bool merged = true; merged;) {
        size_t best = json_array_size(merges), place = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            char *pair = string_format("%s %s", symbols[i], symbols[i + 1]);
            for (size_t r = 0; r < best; r++)
                if (strcmp(json_string_value(json_array_get(merges, r)), pair) == 0) best = r, place = i;
            free(pair);
        }
        merged = best < json_array_size(merges);
        if (!merged) break;
        string_append(&symbols[place], "%s", symbols[place + 1]);
        free(symbols[place + 1]);
        memmove(symbols + place + 1, symbols + place + 2, (--n - place - 1) * sizeof *symbols);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_object_get(vocab, symbols[i]);
        for (const char *byte = symbols[i]; !id && *byte; byte++) {
            char name[8];
            snprintf(name, sizeof name, "<0x%02X>", (unsigned char)*byte);
            ids[count++] = (int32_t)json_integer_value(json_object_get(vocab, name));
        }
        if (id) ids[count++] = (int32_t)json_integer_value(id);
        free(symbols[i]);
    }
    return count;
}

#define SPECIAL(id, text)                                                                                    \
    "{\"id\": " id ", \"content\": \"" text "\", \"single_word\": false, \"lstrip\": false, "              \
    "\"rstrip\": false, \"normalized\": false, \"special\": true}"
#define MODEL(unknown, fallback)                                                                             \
    "{\"type\": \"BPE\", \"dropout\": null, \"unk_token\": " unknown ", "                                   \
    "\"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": false, "             \
    "\"byte_fallback\": " fallback ", \"ignore_merges\": false}"

static void tokenizer_json_says_what_we_do(void **state) {
    exported(*state, EXPORT_HF, "said");
    json_t *document = json_read("said/tokenizer.json");
    json_decref(merges_take(document, *state));
    json_is(document,
            "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"added_tokens\": ["
            SPECIAL("0", "<unk>") ", " SPECIAL("1", "</s>") "], "
            "\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, "
            "\"content\": \"\u2581\"}, "
            "\"pre_tokenizer\": null, \"post_processor\": null, \"decoder\": {\"type\": \"Sequence\", \"decoders\": ["
            "{\"type\": \"Replace\", \"pattern\": {\"String\": \"\u2581\"}, \"content\": \" \"}, "
            "{\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}]}, \"model\": " MODEL("\"<unk>\"", "true") "}");
    json_is(json_read("said/tokenizer_config.json"),
            "{\"tokenizer_class\": \"PreTrainedTokenizerFast\", \"bos_token\": \"</s>\", \"eos_token\": \"</s>\", "
            "\"unk_token\": \"<unk>\", \"add_bos_token\": false, \"add_eos_token\": false, "
            "\"add_prefix_space\": false, \"clean_up_tokenization_spaces\": false, \"model_max_length\": 9}");
    size_t size;
    const void *ours = tokenizer_model(*state, &size);
    text_read("said/tokenizer.model", output, sizeof output);
    assert_int_equal(file_size("said/tokenizer.model"), size);
    assert_memory_equal(output, ours, size);
}

/* Readers of tokenizer.json want both halves of a merge, and what it makes, to be tokens. */
static void merges_are_of_tokens(void **state) {
    exported(*state, EXPORT_HF, "merged");
    json_t *document = json_read("merged/tokenizer.json"), *line;
    const json_t *model = json_object_get(document, "model"), *vocab = json_object_get(model, "vocab");
    size_t i;
    assert_true(json_array_size(json_object_get(model, "merges")) > 50);
    json_array_foreach(json_object_get(model, "merges"), i, line) {
        char *left = string_format("%s", json_string_value(line)), *right = strchr(left, ' ') + 1;
        right[-1] = 0;
        char *both = string_format("%s%s", left, right);
        assert_true(json_object_get(vocab, left) && json_object_get(vocab, right) && json_object_get(vocab, both));
        free(left);
        free(both);
    }
    json_decref(document);
}

/* Of words, of parts of them in another order, so that merges compete, and of what is no piece. */
static void tokenizer_json_encodes_as_we_do(void **state) {
    static const char *const parts[] = {"the", "he", " ", "  ", "lady", "lad", "ed ", "v", "is", "i", "caf\xc3\xa9",
                                        "en", "\n", "s.", "\xe6\xbc\xa2", "-", "ga", "garden", "remember", "ou",
                                        "Z7", "er"};
    enum { PARTS = sizeof parts / sizeof *parts };
    struct rng rng;
    rng_seed(&rng, 5, 1);
    exported(*state, EXPORT_HF, "spoken");
    json_t *document = json_read("spoken/tokenizer.json");
    for (int round = 0; round < 100; round++) {
        int32_t plain_ids[400], *ids = NULL;
        size_t n = 0, capacity = 0;
        char *text = string_format("%s", round ? "" : "<unk></s>");
        for (int i = 0; i < 12; i++) string_append(&text, "%s", parts[rng_next(&rng) % PARTS]);
        tokenizer_encode(*state, text, strlen(text), &ids, &n, &capacity);
        const size_t plain = ids_plainly(document, text, plain_ids);
        if (plain != n || memcmp(ids, plain_ids, n * sizeof *ids) != 0) fail_msg("other tokens of '%s'", text);
        free(ids);
        free(text);
    }
    json_decref(document);
}

/* ---- GPT-2's ---- */

static void byte_level_goes_to_transformers(void **state) {
    (void)state;
    tokenizer *t = byte_tokenizer(merges, MERGES);
    json_t *lines, *vocab = byte_vocabulary(merges, MERGES, &lines), *line;
    char *text = string_format("#version: 0.2\n");
    size_t i;
    exported(t, EXPORT_HF, "bytes");
    json_t *written = json_read("bytes/vocab.json"), *document = json_read("bytes/tokenizer.json");
    assert_true(json_equal(written, vocab));
    json_array_foreach(lines, i, line) string_append(&text, "%s\n", json_string_value(line));
    text_read("bytes/merges.txt", output, sizeof output);
    assert_string_equal(output, text);
    json_t *taken = merges_take(document, t);
    assert_true(json_equal(taken, lines));
#define BYTE_LEVEL                                                                                            \
    "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true}"
    json_is(document, "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"added_tokens\": ["
            SPECIAL("262", "<|endoftext|>") "], \"normalizer\": null, \"pre_tokenizer\": " BYTE_LEVEL ", "
            "\"post_processor\": null, \"decoder\": " BYTE_LEVEL ", \"model\": " MODEL("null", "false") "}");
    json_is(json_read("bytes/tokenizer_config.json"),
            "{\"tokenizer_class\": \"PreTrainedTokenizerFast\", \"bos_token\": \"<|endoftext|>\", "
            "\"eos_token\": \"<|endoftext|>\", \"unk_token\": null, \"add_bos_token\": false, "
            "\"add_eos_token\": false, \"add_prefix_space\": false, \"clean_up_tokenization_spaces\": false, "
            "\"model_max_length\": 9}");
    json_t *config = json_read("bytes/config.json");
    assert_int_equal(json_integer_value(json_object_get(config, "bos_token_id")), BYTES - 1);
    assert_int_equal(json_integer_value(json_object_get(config, "eos_token_id")), BYTES - 1);
    assert_int_equal(access("bytes/tokenizer.model", F_OK), -1);
    json_t *all[] = {lines, vocab, written, taken, config};
    for (i = 0; i < sizeof all / sizeof *all; i++) json_decref(all[i]);
    free(text);
    tokenizer_free(t);
}

/* A directory in the place of a file: those that only this kind has. */
static void byte_level_files_that_cannot_be_written(void **state) {
    (void)state;
    static const char *const files[] = {"vocab.json", "merges.txt"};
    tokenizer *t = byte_tokenizer(merges, MERGES);
    struct config config = small_config;
    config.vocab = BYTES;
    struct model m = model_random(&config, MODEL_INFER, 1, 3);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *says = string_format("hindered/%s: cannot write", files[i]);
        struct error err = {0};
        run("rm -rf hindered && mkdir -p hindered/%s", files[i]);
        assert_false(model_export(&m, t, EXPORT_HF, "hindered", &err));
        assert_int_equal(err.code, EXIT_OUTPUT);
        assert_int_equal(strncmp(err.text, says, strlen(says)), 0);
        free(says);
    }
    model_destroy(&m);
    tokenizer_free(t);
}

static const json_t *note_of(const struct reader *r, const char *key) {
    char *full = string_format("tokenizer.ggml.%s", key);
    const json_t *value = json_object_get(r->notes, full);
    free(full);
    return value;
}

static void byte_level_goes_to_llama_cpp(void **state) {
    (void)state;
    tokenizer *t = byte_tokenizer(merges, MERGES);
    json_t *lines, *vocab = byte_vocabulary(merges, MERGES, &lines);
    struct reader r;
    exported(t, EXPORT_GGUF, "bytes.gguf");
    gguf_read(&r, "bytes.gguf");
    assert_string_equal(json_string_value(note_of(&r, "model")), "gpt2");
    assert_string_equal(json_string_value(note_of(&r, "pre")), "gpt-2");
    assert_true(json_equal(note_of(&r, "merges"), lines));
    assert_int_equal(json_array_size(note_of(&r, "tokens")), BYTES);
    assert_int_equal(json_array_size(note_of(&r, "token_type")), BYTES);
    assert_int_equal(json_array_size(note_of(&r, "scores")), BYTES);
    static const char *const never[] = {"add_bos_token", "add_eos_token", "add_space_prefix"};
    for (size_t i = 0; i < 3; i++) assert_true(json_is_false(note_of(&r, never[i])));
    for (size_t id = 0; id < BYTES; id++) {
        const char *token = json_string_value(json_array_get(note_of(&r, "tokens"), id));
        assert_int_equal(json_integer_value(json_object_get(vocab, token)), id);
        assert_int_equal(json_integer_value(json_array_get(note_of(&r, "token_type"), id)), id == BYTES - 1 ? 3 : 1);
        assert_true(json_real_value(json_array_get(note_of(&r, "scores"), id)) == 0); /* merges have an order */
    }
    assert_int_equal(json_integer_value(note_of(&r, "bos_token_id")), BYTES - 1);
    assert_int_equal(json_integer_value(note_of(&r, "eos_token_id")), BYTES - 1);
    assert_null(note_of(&r, "unknown_token_id"));
    gguf_free(&r);
    json_decref(lines);
    json_decref(vocab);
    tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokenizer_json_says_what_we_do),
        cmocka_unit_test(merges_are_of_tokens),
        cmocka_unit_test(tokenizer_json_encodes_as_we_do),
        cmocka_unit_test(byte_level_goes_to_transformers),
        cmocka_unit_test(byte_level_files_that_cannot_be_written),
        cmocka_unit_test(byte_level_goes_to_llama_cpp),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
