/* A file as llama.cpp reads it: GGUF, version 3. See export.h.
 *
 * "GGUF", u32 version, u64 tensors, u64 notes; the notes (name, u32 type, value); of each tensor its name, u32
 * dimensions, their sizes (u64, the innermost first), u32 type, u64 place among the data; the data, each tensor at a
 * multiple of 32 bytes. Text is a u64 length and bytes. All of it little-endian (github.com/ggml-org/ggml,
 * docs/gguf.md).
 *
 * Names of tensors and notes are llama.cpp's for its architectures `gpt2` and `llama`; the latter has the experts of
 * Mixtral, and turns numbers 2i and 2i+1 of a head where we turn i and i + hs/2: renaming.c. */
#include <stdlib.h>
#include <string.h>
#include "export.h"

enum value { VALUE_U32 = 4, VALUE_I32 = 5, VALUE_F32 = 6, VALUE_BOOL = 7, VALUE_TEXT = 8, VALUE_ARRAY = 9 };
enum { GGUF_VERSION = 3, GGUF_ALIGNMENT = 32, GGML_F32 = 0, GGML_BF16 = 30, FILE_F32 = 0, FILE_BF16 = 32 };

/* Bytes on their way into a file, and how many notes there are among them. */
struct notes {
    char *bytes;
    size_t n, room;
    uint64_t count;
};

static void add(struct notes *f, const void *data, size_t size) {
    f->bytes = array_grow(f->bytes, &f->room, f->n + size, 1);
    memcpy(f->bytes + f->n, data, size);
    f->n += size;
}

static void add_u32(struct notes *f, uint32_t value) { add(f, &value, sizeof value); }
static void add_u64(struct notes *f, uint64_t value) { add(f, &value, sizeof value); }
static void add_text(struct notes *f, const char *text) {
    add_u64(f, strlen(text));
    add(f, text, strlen(text));
}

static void note(struct notes *f, const char *key, enum value type) {
    add_text(f, key);
    add_u32(f, type);
    f->count++;
}
static void note_text(struct notes *f, const char *key, const char *text) {
    note(f, key, VALUE_TEXT);
    add_text(f, text);
}
static void note_u32(struct notes *f, const char *key, size_t value) {
    note(f, key, VALUE_U32);
    add_u32(f, (uint32_t)value);
}
static void note_bool(struct notes *f, const char *key, bool value) {
    note(f, key, VALUE_BOOL);
    add(f, &(uint8_t){value}, 1);
}
static void note_array(struct notes *f, const char *key, enum value type, size_t count) {
    note(f, key, VALUE_ARRAY);
    add_u32(f, type);
    add_u64(f, count);
}

/* ---- What the model is ---- */

/* Keys begin with the architecture's name. */
static void note_size(struct notes *f, const char *architecture, const char *key, size_t value) {
    char *full = string_format("%s.%s", architecture, key);
    note_u32(f, full, value);
    free(full);
}
static void note_real(struct notes *f, const char *architecture, const char *key, float value) {
    char *full = string_format("%s.%s", architecture, key);
    note(f, full, VALUE_F32);
    add(f, &value, sizeof value);
    free(full);
}

static void model_notes(struct notes *f, const struct export *e) {
    const struct sizes *s = e->sizes;
    const char *name = e->foreign->gguf;
    note_text(f, "general.architecture", name);
    note_text(f, "general.name", "a model of mhmoe's ./train");
    note_u32(f, "general.file_type", e->dtype == DTYPE_BF16 ? FILE_BF16 : FILE_F32);
    note_size(f, name, "context_length", s->T);
    note_size(f, name, "embedding_length", s->C);
    note_size(f, name, "block_count", s->L);
    note_size(f, name, "feed_forward_length", s->LM ? s->F : s->Fd);
    note_size(f, name, "attention.head_count", s->NH);
    note_size(f, name, "vocab_size", s->V);
    if (e->foreign == &foreigns[FOREIGN_GPT2]) {
        note_real(f, name, "attention.layer_norm_epsilon", 1e-5f);
        return;
    }
    note_size(f, name, "attention.head_count_kv", s->NH);
    note_real(f, name, "attention.layer_norm_rms_epsilon", 1e-5f);
    note_size(f, name, "rope.dimension_count", s->C / s->NH);
    note_real(f, name, "rope.freq_base", 10000);
    if (s->LM == 0) return;
    note_size(f, name, "expert_count", s->E);
    note_size(f, name, "expert_used_count", s->K);
}

/* ---- Its vocabulary ---- */

/* SentencePiece's kinds are GGUF's; in GPT-2's vocabulary a byte is a token like any other. */
static void vocabulary_notes(struct notes *f, const tokenizer *t) {
    const bool ours = tokenizer_kind(t) == TOKENIZER_SENTENCEPIECE;
    const int32_t n = tokenizer_vocab(t), end = tokenizer_end_of_text(t), unknown = piece_unknown(t);
    note_text(f, "tokenizer.ggml.model", ours ? "llama" : "gpt2");
    note_text(f, "tokenizer.ggml.pre", ours ? "default" : "gpt-2");
    note_array(f, "tokenizer.ggml.tokens", VALUE_TEXT, (size_t)n);
    for (int32_t id = 0; id < n; id++) add_text(f, tokenizer_entry(t, id).text);
    note_array(f, "tokenizer.ggml.scores", VALUE_F32, (size_t)n);
    for (int32_t id = 0; id < n; id++) add(f, &(float){tokenizer_entry(t, id).score}, sizeof(float));
    note_array(f, "tokenizer.ggml.token_type", VALUE_I32, (size_t)n);
    for (int32_t id = 0; id < n; id++) add_u32(f, (uint32_t)tokenizer_entry(t, id).kind);
    if (unknown >= 0) note_u32(f, "tokenizer.ggml.unknown_token_id", (size_t)unknown);
    note_u32(f, "tokenizer.ggml.bos_token_id", (size_t)end);
    note_u32(f, "tokenizer.ggml.eos_token_id", (size_t)end);
    note_bool(f, "tokenizer.ggml.add_bos_token", false);
    note_bool(f, "tokenizer.ggml.add_eos_token", false);
    note_bool(f, "tokenizer.ggml.add_space_prefix", false);
}

static void merges_note(struct notes *f, const tokenizer *t) {
    size_t size, i;
    const char *text = tokenizer_model(t, &size);
    if (tokenizer_kind(t) != TOKENIZER_BYTE_LEVEL) return;
    json_t *model = json_loadb(text, size, 0, NULL), *merges = json_object_get(model, "merges"), *line;
    note_array(f, "tokenizer.ggml.merges", VALUE_TEXT, json_array_size(merges));
    json_array_foreach(merges, i, line) add_text(f, json_string_value(line));
    json_decref(model);
}

/* ---- All of it ---- */

static size_t aligned(size_t at) { return (at + GGUF_ALIGNMENT - 1) / GGUF_ALIGNMENT * GGUF_ALIGNMENT; }

static void padding_write(FILE *out, size_t size) {
    static const char zeros[GGUF_ALIGNMENT];
    fwrite(zeros, 1, aligned(size) - size, out);
}

/* What stands before the data. */
static struct notes head_make(const struct export *e, const struct tensor_list *list) {
    struct notes f = {0}, notes = {0};
    model_notes(&notes, e);
    vocabulary_notes(&notes, e->tokenizer);
    merges_note(&notes, e->tokenizer);
    add(&f, "GGUF", 4);
    add_u32(&f, GGUF_VERSION);
    add_u64(&f, list->n);
    add_u64(&f, notes.count);
    add(&f, notes.bytes, notes.n);
    free(notes.bytes);
    size_t at = 0;
    for (const struct tensor *t = list->tensors; t < list->tensors + list->n; t++) {
        add_text(&f, t->name);
        add_u32(&f, (uint32_t)t->dims);
        for (int d = t->dims; d-- > 0;) add_u64(&f, t->shape[d]);
        add_u32(&f, t->dtype == DTYPE_BF16 ? GGML_BF16 : GGML_F32);
        add_u64(&f, at);
        at += aligned(tensor_bytes(t));
    }
    return f;
}

bool gguf_write(const struct export *e, const char *path, struct error *err) {
    struct atomic_file file;
    if (!atomic_open(&file, path, err)) return false;
    struct tensor_list list = tensors_rename(e, e->foreign->ggml, false);
    struct notes head = head_make(e, &list);
    fwrite(head.bytes, 1, head.n, file.file);
    padding_write(file.file, head.n);
    for (const struct tensor *t = list.tensors; t < list.tensors + list.n; t++) {
        fwrite(t->data, 1, tensor_bytes(t), file.file);
        padding_write(file.file, tensor_bytes(t));
    }
    free(head.bytes);
    tensors_free(&list);
    return atomic_commit(&file, err);
}
