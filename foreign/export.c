/* See export.h. */
#include "export.h"

#include <stdlib.h>
#include <string.h>
#include "../src/math/bf16.h"

const char *const export_words[] = {"none", "hf", "gguf", NULL};

static const struct tensor *tensor_find(const struct export *e, const char *name) {
    for (size_t i = 0; i < e->n; i++)
        if (strcmp(e->tensors[i].name, name) == 0) return &e->tensors[i];
    return NULL;
}

/* The numbers of one of theirs, from ours. malloc'ed. */
static void *numbers_make(const struct place *p, const real *ours, enum dtype dtype) {
    const bool half = dtype == DTYPE_BF16;
    float *floats = half ? NULL : array_alloc(p->count, sizeof *floats);
    uint16_t *halves = half ? array_alloc(p->count, sizeof *halves) : NULL;
#pragma omp parallel for
    for (size_t i = 0; i < p->count; i++) {
        const float x = (float)ours[place_at(p, i)];
        if (half) halves[i] = bf16_bits(x);
        else floats[i] = x;
    }
    return half ? (void *)halves : floats;
}

struct tensor_list tensors_rename(const struct export *e, const struct renaming *rows, bool all_in_dtype) {
    struct tensor_list list = {0};
    for (const struct renaming *row = rows; row->ours; row++) {
        const struct tensor *ours = tensor_find(e, row->ours);
        const size_t n = ours ? renaming_count(row, e->sizes) : 0;
        list.tensors = array_grow(list.tensors, &list.capacity, list.n + n, sizeof *list.tensors);
        for (size_t i = 0; i < n; i++) {
            const struct place p = renaming_place(row, e->config, e->sizes, ours, i);
            struct tensor *t = &list.tensors[list.n++];
            *t = (struct tensor){.dtype = all_in_dtype || p.dims > 1 ? e->dtype : DTYPE_F32, .dims = p.dims};
            memcpy(t->name, p.name, sizeof t->name);
            memcpy(t->shape, p.shape, sizeof t->shape);
            t->data = numbers_make(&p, ours->data, t->dtype);
        }
    }
    return list;
}

void tensors_free(struct tensor_list *list) {
    for (size_t i = 0; i < list->n; i++) free(list->tensors[i].data);
    free(list->tensors);
    *list = (struct tensor_list){0};
}

int32_t piece_unknown(const tokenizer *t) {
    int32_t id = tokenizer_vocab(t);
    while (id-- > 0 && tokenizer_entry(t, id).kind != PIECE_UNKNOWN) {}
    return id;
}

bool model_export(const struct model *m, const tokenizer *t, enum export_format format, const char *out,
                  struct error *err) {
    struct export e = {.config = &m->config, .sizes = &m->sizes, .tokenizer = t, .dtype = DTYPE_F32};
    char *differs;
    if (m->setup.storage == STORAGE_INT8)
        return error_set(err, EXIT_USAGE, "--export: the formats of other programs have no --weights int8 of this "
                         "kind; use f32 or bf16");
    if (m->setup.storage == STORAGE_BF16) e.dtype = DTYPE_BF16;
    e.n = model_state(m, e.tensors);
    e.foreign = foreign_of(e.config, &differs);
    const bool none = differs, hf = format == EXPORT_HF;
    if (none && !hf)
        error_set(err, EXIT_MISMATCH, "--export gguf: llama.cpp has no such model: it would be its %s, but for %s; use "
                  "--export hf, which brings a modelling file", e.foreign->name, differs);
    free(differs);
    if (none && !hf) return false;
    if (none) e.foreign = NULL;
    return hf ? hf_write(&e, out, err) : gguf_write(&e, out, err);
}
