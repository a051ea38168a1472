/* Reads what --export gguf writes, as the format says it. To be included after cmocka.h. */
#ifndef GGUF_READER_H
#define GGUF_READER_H

#include <jansson.h>
#include <string.h>

#include "../src/run/checkpoint.h"

/* Tensors that were read, and how many of them a test has looked at. */
struct file {
    struct tensor *tensors;
    size_t n, checked;
};

/* What stands in a GGUF file, and where the reader is. */
struct reader {
    char *bytes;
    size_t at, size;
    struct tensor tensors[64];
    struct file file;
    json_t *notes;
};

static inline uint64_t take(struct reader *r, size_t bytes) {
    uint64_t value = 0;
    assert_true(r->at + bytes <= r->size);
    memcpy(&value, r->bytes + r->at, bytes);
    r->at += bytes;
    return value;
}

static inline json_t *take_value(struct reader *r, uint64_t type) {
    if (type == 4) return json_integer((json_int_t)take(r, 4));
    if (type == 5) return json_integer((int32_t)take(r, 4));
    if (type == 7) return json_boolean(take(r, 1));
    if (type == 6) {
        const uint32_t bits = (uint32_t)take(r, 4);
        float x;
        memcpy(&x, &bits, sizeof x);
        return json_real((double)x);
    }
    if (type == 8) {
        const uint64_t length = take(r, 8);
        assert_true(r->at + length <= r->size);
        r->at += length;
        return json_stringn(r->bytes + r->at - length, length);
    }
    assert_int_equal(type, 9);
    json_t *array = json_array();
    const uint64_t inner = take(r, 4), count = take(r, 8);
    for (uint64_t i = 0; i < count; i++) json_array_append_new(array, take_value(r, inner));
    return array;
}

static inline void gguf_read(struct reader *r, const char *path) {
    struct error err;
    *r = (struct reader){.notes = json_object()};
    r->bytes = file_contents(fopen(path, "rb"), path, &r->size, &err);
    assert_memory_equal(r->bytes, "GGUF", 4);
    r->at = 4;
    assert_int_equal(take(r, 4), 3);
    const uint64_t tensors = take(r, 8), notes = take(r, 8);
    for (uint64_t i = 0; i < notes; i++) {
        json_t *key = take_value(r, 8);
        json_object_set_new(r->notes, json_string_value(key), take_value(r, take(r, 4)));
        json_decref(key);
    }
    assert_int_equal(json_object_size(r->notes), notes);
    size_t places[64];
    assert_true(tensors < 64);
    for (uint64_t i = 0; i < tensors; i++) {
        struct tensor *t = &r->tensors[i];
        json_t *name = take_value(r, 8);
        strcpy(t->name, json_string_value(name));
        json_decref(name);
        t->dims = (int)take(r, 4);
        for (int d = t->dims; d-- > 0;) t->shape[d] = take(r, 8); /* the innermost comes first */
        const uint64_t type = take(r, 4);
        assert_true(type == 0 || type == 30);
        t->dtype = type ? DTYPE_BF16 : DTYPE_F32;
        places[i] = take(r, 8);
    }
    const size_t data = (r->at + 31) / 32 * 32;
    size_t last = data;
    for (uint64_t i = 0; i < tensors; i++) {
        struct tensor *t = &r->tensors[i];
        assert_int_equal(places[i] % 32, 0);
        assert_int_equal(data + places[i], (last + 31) / 32 * 32);
        t->data = r->bytes + data + places[i];
        last = data + places[i] + tensor_bytes(t);
    }
    assert_int_equal((last + 31) / 32 * 32, r->size);
    r->file = (struct file){r->tensors, tensors, 0};
}

static inline void gguf_free(struct reader *r) {
    json_decref(r->notes);
    free(r->bytes);
}

#endif
