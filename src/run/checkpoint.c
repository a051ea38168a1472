/* Safetensors files with a CRC-32 on everything. The format: an unsigned little-endian 64-bit N, N bytes of
 * JSON padded with spaces, the tensors' bytes without holes (github.com/huggingface/safetensors, "Format").
 *
 * The header's own CRC sits inside the header, so both sides compute it with its eight digits set to '0'.
 * A reader must not believe a number before it is checked against the size of the file: every way in which
 * a file can be wrong has its own message below. tests/test_checkpoint.c flips every byte in turn. */
#include "checkpoint.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "safetensors data is little-endian");

enum {
    FILE_MIN = 10, /* the length and {} */
    DATA_ALIGNMENT = 64,
    HEADER_MAX = 100000000, /* the reference implementation's limit */
    CRC_CHUNK = 1 << 20,
    CRC_DIGITS = 8,
};

static const struct {
    const char *name;
    size_t bytes;
} dtypes[] = {
    [DTYPE_F32] = {"F32", 4},
    [DTYPE_F64] = {"F64", 8},
    [DTYPE_I64] = {"I64", 8},
    [DTYPE_U8] = {"U8", 1},
    [DTYPE_F16] = {"F16", 2},
    [DTYPE_BF16] = {"BF16", 2},
    [DTYPE_BOOL] = {"BOOL", 1},
};

enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

size_t tensor_count(const struct tensor *t) {
    size_t count = 1;
    for (int i = 0; i < t->dims; i++) count *= t->shape[i];
    return count;
}

size_t tensor_bytes(const struct tensor *t) {
    return tensor_count(t) * dtypes[t->dtype].bytes;
}

/* CRC-32 by chunks on all threads, joined in order. */
static uint32_t crc_parallel(const void *data, size_t bytes) {
    size_t chunks = (bytes + CRC_CHUNK - 1) / CRC_CHUNK;
    uint32_t *part = array_alloc(chunks, sizeof *part);
#pragma omp parallel for if (chunks > 1)
    for (size_t i = 0; i < chunks; i++) {
        size_t begin = i * CRC_CHUNK, size = bytes - begin < CRC_CHUNK ? bytes - begin : CRC_CHUNK;
        part[i] = (uint32_t)crc32_z(0, (const unsigned char *)data + begin, size);
    }
    uLong crc = 0;
    for (size_t i = 0; i < chunks; i++) {
        size_t size = i + 1 < chunks ? CRC_CHUNK : bytes - i * CRC_CHUNK;
        crc = crc32_combine(crc, part[i], (z_off_t)size);
    }
    free(part);
    return (uint32_t)crc;
}

static void crc_digits(char digits[CRC_DIGITS + 1], uint32_t crc) {
    snprintf(digits, CRC_DIGITS + 1, "%08x", crc);
}

/* Where the header keeps its own CRC, or NULL. Quotes inside JSON strings are escaped, so that this text
 * cannot be part of a value. */
static char *header_crc_place(char *header) {
    static const char key[] = "\"crc32.header\":\"";
    char *place = strstr(header, key);
    return place && strlen(place + sizeof key - 1) >= CRC_DIGITS ? place + sizeof key - 1 : NULL;
}

/* ---- Writing ---- */

static json_t *tensor_to_json(const struct tensor *t, size_t begin) {
    json_t *shape = json_array();
    for (int i = 0; i < t->dims; i++) json_array_append_new(shape, json_integer((json_int_t)t->shape[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtypes[t->dtype].name, "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)(begin + tensor_bytes(t)));
}

/* The caller's strings without any old CRCs, then a CRC for each tensor and room for the header's. */
static json_t *metadata_with_crcs(const json_t *metadata, const struct tensor *tensors, size_t n) {
    json_t *all = json_object();
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)metadata, key, value)
        if (strncmp(key, "crc32.", 6) != 0) json_object_set(all, key, value);
    for (size_t i = 0; i < n; i++) {
        char name[sizeof "crc32." + sizeof tensors[i].name], digits[CRC_DIGITS + 1];
        snprintf(name, sizeof name, "crc32.%s", tensors[i].name);
        crc_digits(digits, crc_parallel(tensors[i].data, tensor_bytes(&tensors[i])));
        json_object_set_new(all, name, json_string(digits));
    }
    json_object_set_new(all, "crc32.header", json_string("00000000"));
    return all;
}

void checkpoint_note(json_t *metadata, const char *key, const char *value) {
    json_t *text = json_string(value);
    json_object_set_new(metadata, key, text ? text : json_null());
}

/* What readers refuse (metadata_check) must not be written: true if every note is a string. */
static bool notes_check(const char *path, const json_t *metadata, struct error *err) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)metadata, key, value) if (!json_is_string(value))
        return error_set(err, EXIT_OUTPUT, "%s: metadata %s: cannot write: is not text in UTF-8; rename what it names",
                         path, key);
    return true;
}

/* The header's text, padded so that the data behind it is aligned, and CRC filled in. malloc'ed. */
static char *header_make(const struct tensor *tensors, size_t n, const json_t *metadata, size_t *size) {
    json_t *root = json_object();
    json_object_set_new(root, "__metadata__", metadata_with_crcs(metadata, tensors, n));
    size_t begin = 0;
    for (size_t i = 0; i < n; i++) {
        assert(!json_object_get(root, tensors[i].name)); /* a name is used once */
        json_object_set_new(root, tensors[i].name, tensor_to_json(&tensors[i], begin));
        begin += tensor_bytes(&tensors[i]);
    }
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    size_t used = strlen(text);
    size_t blocks = (sizeof(uint64_t) + used + DATA_ALIGNMENT - 1) / DATA_ALIGNMENT;
    *size = blocks * DATA_ALIGNMENT - sizeof(uint64_t);
    char *header = array_alloc(*size + 1, 1);
    memset(header, ' ', *size);
    memcpy(header, text, used);
    free(text);
    char digits[CRC_DIGITS + 1];
    crc_digits(digits, crc_parallel(header, *size));
    memcpy(header_crc_place(header), digits, CRC_DIGITS);
    return header;
}

bool checkpoint_write(const char *path, const struct tensor *tensors, size_t n, const json_t *metadata,
                      struct error *err) {
    struct atomic_file out;
    size_t size;
    if (!notes_check(path, metadata, err)) return false;
    char *header = header_make(tensors, n, metadata, &size);
    if (size > HEADER_MAX)
        error_set(err, EXIT_OUTPUT, "%s: header: cannot write: too long (got %zu bytes, want at most %d)", path, size,
                  HEADER_MAX);
    if (size > HEADER_MAX || !atomic_open(&out, path, err)) {
        free(header);
        return false;
    }
    uint64_t length = size;
    fwrite(&length, sizeof length, 1, out.file);
    fwrite(header, 1, size, out.file);
    for (size_t i = 0; i < n; i++) fwrite(tensors[i].data, 1, tensor_bytes(&tensors[i]), out.file);
    free(header);
    return atomic_commit(&out, err);
}

/* ---- Reading ---- */

/* Every complaint about a file: "FILE: ..." and EXIT_INPUT. */
__attribute__((format(printf, 3, 4))) static bool input_error(const struct checkpoint *c, struct error *err,
                                                              const char *format, ...) {
    char text[sizeof err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return error_set(err, EXIT_INPUT, "%s: %s", c->path, text);
}

static bool file_map(struct checkpoint *c, struct error *err) {
    int fd = open(c->path, O_RDONLY);
    if (fd < 0) return input_error(c, err, "cannot read: %s", strerror(errno));
    struct stat info = {0};
    fstat(fd, &info);
    c->map_bytes = (size_t)info.st_size;
    bool regular = S_ISREG(info.st_mode), enough = c->map_bytes >= FILE_MIN;
    void *map = regular && enough ? mmap(NULL, c->map_bytes, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    int cause = errno;
    close(fd);
    if (!regular) return input_error(c, err, "cannot read: not a regular file");
    if (!enough) {
        return input_error(c, err, "too short (got %zu bytes, want at least %d); not a checkpoint",
                           c->map_bytes, FILE_MIN);
    }
    if (map == MAP_FAILED) return input_error(c, err, "cannot map: %s", strerror(cause));
    c->map = map;
    return true;
}

/* Compares the CRC inside the header with that of the header, whose digits it overwrites. */
static bool header_verify(const struct checkpoint *c, char *header, size_t size, struct error *err) {
    char *place = header_crc_place(header);
    if (!place) {
        return input_error(c, err,
                           "header: no CRC (want crc32.header in __metadata__); not a checkpoint of "
                           "this program");
    }
    char digits[CRC_DIGITS + 1], stored[CRC_DIGITS + 1] = "";
    memcpy(stored, place, CRC_DIGITS);
    memset(place, '0', CRC_DIGITS);
    crc_digits(digits, crc_parallel(header, size));
    if (strcmp(digits, stored) == 0) return true;
    return input_error(c, err, "header: damaged (its CRC-32 is %s, want %s); take another checkpoint", digits,
                       stored);
}

/* The header, parsed and, if it is `ours`, verified; *data_at receives where the tensors' bytes begin. */
static json_t *header_read(const struct checkpoint *c, bool ours, size_t *data_at, struct error *err) {
    uint64_t size;
    memcpy(&size, c->map, sizeof size);
    size_t room = c->map_bytes - sizeof size;
    if (room > HEADER_MAX) room = HEADER_MAX;
    if (size > room) {
        input_error(c, err,
                    "byte 0: impossible header length (got %llu, want at most %zu); not a checkpoint, "
                    "or cut off",
                    (unsigned long long)size, room);
        return NULL;
    }
    *data_at = sizeof size + size;
    char *text = array_alloc(size + 1, 1);
    memcpy(text, (const char *)c->map + sizeof size, size);
    json_error_t bad;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &bad);
    if (!json_is_object(root)) {
        input_error(c, err, "header: not a JSON object (%s at byte %zu)", root ? "no { found" : bad.text,
                    sizeof size + (root ? 0 : (size_t)bad.position));
    } else if (!ours || header_verify(c, text, size, err)) {
        free(text);
        return root;
    }
    free(text);
    json_decref(root);
    return NULL;
}

static bool metadata_check(const struct checkpoint *c, struct error *err) {
    const char *key;
    json_t *value;
    if (!json_is_object(c->metadata)) return input_error(c, err, "header: __metadata__ is not an object");
    json_object_foreach(c->metadata, key, value)
        if (!json_is_string(value)) return input_error(c, err, "metadata %s: is not a string", key);
    return true;
}

/* Reads dims and shape; false unless they and their product in bytes are possible. */
static bool shape_parse(struct tensor *t, const json_t *shape) {
    if (!json_is_array(shape) || json_array_size(shape) > TENSOR_DIMS) return false;
    t->dims = (int)json_array_size(shape);
    size_t bytes = dtypes[t->dtype].bytes;
    for (int i = 0; i < t->dims; i++) {
        const json_t *size = json_array_get(shape, (size_t)i);
        if (!json_is_integer(size) || json_integer_value(size) < 0) return false;
        t->shape[i] = (size_t)json_integer_value(size);
        if (__builtin_mul_overflow(bytes, t->shape[i], &bytes)) return false;
    }
    return true;
}

/* Points t at its bytes among the file's `room` bytes at `data`. */
static bool offsets_parse(const struct checkpoint *c, struct tensor *t, const json_t *offsets, char *data,
                          size_t room, struct error *err) {
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    json_int_t begin = json_integer_value(first), end = json_integer_value(last);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return input_error(c, err, "tensor %s: data_offsets are not two whole numbers", t->name);
    if (begin < 0 || end < begin || (size_t)end > room) {
        return input_error(c, err,
                           "tensor %s: impossible data_offsets (got %lld to %lld, want them within the "
                           "%zu bytes of data); the file may be cut off",
                           t->name, begin, end, room);
    }
    if ((size_t)(end - begin) != tensor_bytes(t)) {
        return input_error(c, err, "tensor %s: data_offsets do not fit its shape (got %lld bytes, want %zu)",
                           t->name, end - begin, tensor_bytes(t));
    }
    t->data = data + begin;
    return true;
}

/* One entry of the header into *t. */
static bool tensor_parse(const struct checkpoint *c, struct tensor *t, const char *name, const json_t *entry,
                         char *data, size_t room, struct error *err) {
    if (strlen(name) >= sizeof t->name) {
        return input_error(c, err, "tensor %s: name is too long (got %zu bytes, want at most %zu)", name,
                           strlen(name), sizeof t->name - 1);
    }
    strcpy(t->name, name);
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    int type = 0;
    while (type < DTYPES && (!dtype || strcmp(dtype, dtypes[type].name) != 0)) type++;
    if (type == DTYPES) {
        return input_error(c, err, "tensor %s: unknown dtype (got %s, want F32, F64, I64, U8, F16, BF16 or BOOL)", name,
                           dtype ? dtype : "none");
    }
    t->dtype = (enum dtype)type;
    if (!shape_parse(t, json_object_get(entry, "shape"))) {
        return input_error(c, err,
                           "tensor %s: impossible shape (want at most %d sizes whose product "
                           "fits in memory)",
                           name, TENSOR_DIMS);
    }
    return offsets_parse(c, t, json_object_get(entry, "data_offsets"), data, room, err);
}

/* By place in the file; an empty tensor comes before the one that begins where it does. */
static int tensor_compare(const void *a, const void *b) {
    const struct tensor *s = a, *t = b;
    if (s->data != t->data) return s->data < t->data ? -1 : 1;
    size_t s_bytes = tensor_bytes(s), t_bytes = tensor_bytes(t);
    return (s_bytes > t_bytes) - (s_bytes < t_bytes);
}

/* Sorts the tensors; false unless they cover the data exactly, each byte once. */
static bool layout_check(struct checkpoint *c, size_t data_at, struct error *err) {
    qsort(c->tensors, c->n, sizeof *c->tensors, tensor_compare);
    size_t end = data_at;
    for (size_t i = 0; i < c->n; i++) {
        size_t begin = (size_t)((char *)c->tensors[i].data - (char *)c->map);
        if (begin != end) {
            return input_error(c, err, "tensor %s: %s (starts at byte %zu, want %zu)", c->tensors[i].name,
                               begin < end ? "overlaps the one before it" : "hole before it", begin, end);
        }
        end += tensor_bytes(&c->tensors[i]);
    }
    if (end == c->map_bytes) return true;
    return input_error(c, err, "byte %zu: %zu bytes left over after the last tensor", end,
                       c->map_bytes - end);
}

static bool tensors_parse(struct checkpoint *c, const json_t *root, size_t data_at, struct error *err) {
    c->tensors = array_alloc(json_object_size(root), sizeof *c->tensors);
    const char *name;
    json_t *entry;
    json_object_foreach((json_t *)root, name, entry) {
        if (strcmp(name, "__metadata__") == 0) continue;
        char *data = (char *)c->map + data_at;
        if (!tensor_parse(c, &c->tensors[c->n++], name, entry, data, c->map_bytes - data_at, err))
            return false;
    }
    return layout_check(c, data_at, err);
}

static bool file_open(struct checkpoint *c, const char *path, bool ours, struct error *err) {
    *c = (struct checkpoint){.path = string_format("%s", path)};
    size_t data_at;
    json_t *root = file_map(c, err) ? header_read(c, ours, &data_at, err) : NULL;
    c->metadata = json_incref(json_object_get(root, "__metadata__"));
    if (root && !ours && !c->metadata) c->metadata = json_object();
    bool ok = root && metadata_check(c, err) && tensors_parse(c, root, data_at, err);
    json_decref(root);
    if (!ok) checkpoint_close(c);
    return ok;
}

bool checkpoint_open(struct checkpoint *c, const char *path, struct error *err) {
    return file_open(c, path, true, err);
}
bool safetensors_open(struct checkpoint *c, const char *path, struct error *err) {
    return file_open(c, path, false, err);
}

bool checkpoint_create(struct checkpoint *c, const char *path, const struct tensor *tensors, size_t n,
                       struct error *err) {
    *c = (struct checkpoint){.path = string_format("%s", path), .tensors = array_alloc(n, sizeof *tensors), .n = n};
    memcpy(c->tensors, tensors, n * sizeof *tensors);
    for (size_t i = 0; i < n; i++) c->map_bytes += tensor_bytes(&tensors[i]);
    c->map = mmap(NULL, c->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (c->map == MAP_FAILED) {
        error_set(err, EXIT_MEMORY, "%s: out of memory (%zu bytes for its tensors)", path, c->map_bytes);
        c->map = NULL;
        checkpoint_close(c);
        return false;
    }
    for (size_t i = 0, at = 0; i < n; at += tensor_bytes(&c->tensors[i++])) c->tensors[i].data = (char *)c->map + at;
    return true;
}

void checkpoint_seal(struct checkpoint *c, json_t *metadata) {
    c->metadata = metadata_with_crcs(metadata, c->tensors, c->n);
    json_decref(metadata);
}

void checkpoint_close(struct checkpoint *c) {
    if (c->map) munmap(c->map, c->map_bytes);
    json_decref(c->metadata);
    free(c->tensors);
    free(c->path);
    *c = (struct checkpoint){0};
}

const struct tensor *checkpoint_find(const struct checkpoint *c, const char *name) {
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->tensors[i].name, name) == 0) return &c->tensors[i];
    return NULL;
}

/* "F32 (3, 5)" */
static const char *tensor_describe(const struct tensor *t, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "%s (", dtypes[t->dtype].name);
    for (int i = 0; i < t->dims; i++)
        used += (size_t)snprintf(text + used, size - used, i ? ", %zu" : "%zu", t->shape[i]);
    snprintf(text + used, size - used, ")");
    return text;
}

bool checkpoint_read(const struct checkpoint *c, const struct tensor *want, struct error *err) {
    const struct tensor *t = checkpoint_find(c, want->name);
    if (!t) {
        return error_set(err, EXIT_MISMATCH, "%s: tensor %s: missing; this checkpoint is of another model",
                         c->path, want->name);
    }
    if (t->dtype != want->dtype || t->dims != want->dims ||
        memcmp(t->shape, want->shape, (size_t)t->dims * sizeof t->shape[0]) != 0) {
        char got[128], wanted[128];
        return error_set(err, EXIT_MISMATCH,
                         "%s: tensor %s: wrong shape (got %s, want %s); this checkpoint is of "
                         "another model",
                         c->path, t->name, tensor_describe(t, got, sizeof got),
                         tensor_describe(want, wanted, sizeof wanted));
    }
    char key[sizeof "crc32." + sizeof t->name], digits[CRC_DIGITS + 1];
    snprintf(key, sizeof key, "crc32.%s", t->name);
    const char *stored = checkpoint_string(c, key, err);
    if (!stored) return false;
    crc_digits(digits, crc_parallel(t->data, tensor_bytes(t)));
    if (strcmp(digits, stored) != 0) {
        return input_error(c, err, "tensor %s: damaged (CRC-32 is %s, want %s); take another checkpoint",
                           t->name, digits, stored);
    }
    if (tensor_bytes(t)) memcpy(want->data, t->data, tensor_bytes(t));
    return true;
}

void *checkpoint_copy(const struct checkpoint *c, const char *name, size_t *size, struct error *err) {
    const struct tensor *stored = checkpoint_find(c, name);
    if (!stored) {
        input_error(c, err, "tensor %s: missing; not a checkpoint of this program", name);
        return NULL;
    }
    struct tensor copy = *stored;
    *size = tensor_bytes(stored);
    copy.data = array_alloc(*size, 1);
    if (checkpoint_read(c, &copy, err)) return copy.data;
    free(copy.data);
    return NULL;
}

char *checkpoint_path(const char *run) {
    struct stat info;
    if (!directory_exists(run)) return string_format("%s", run);
    char *path = string_format("%s/best.safetensors", run);
    if (stat(path, &info) == 0) return path;
    free(path);
    path = string_format("%s/model.safetensors", run);
    char *last = string_format("%s/last.safetensors", run);
    char *config = string_format("%s/config.json", run);
    const bool foreign = stat(last, &info) != 0 && (stat(path, &info) == 0 || stat(config, &info) == 0);
    free(config);
    free(foreign ? last : path);
    return foreign ? path : last;
}

char *checkpoint_directory(const struct checkpoint *c) {
    const char *slash = strrchr(c->path, '/');
    return slash ? string_format("%.*s", (int)(slash - c->path), c->path) : string_format(".");
}

bool checkpoint_format(const struct checkpoint *c, const char *want, struct error *err) {
    const char *got = checkpoint_string(c, "format", err);
    if (!got) return false;
    if (strcmp(got, want) == 0) return true;
    return input_error(c, err, "metadata format: another one (got %s, want %s); read it with the version of the "
                       "program that wrote it", got, want);
}

const char *checkpoint_string(const struct checkpoint *c, const char *key, struct error *err) {
    const char *text = json_string_value(json_object_get(c->metadata, key));
    if (!text) input_error(c, err, "metadata %s: missing; not a checkpoint of this program", key);
    return text;
}

bool checkpoint_whole(const struct checkpoint *c, const char *key, int64_t *value, struct error *err) {
    const char *text = checkpoint_string(c, key, err);
    if (!text) return false;
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    return (*text >= '0' && *text <= '9' && *end == 0 && errno == 0) ||
           input_error(c, err, "metadata %s: got '%s', want a whole number; take another checkpoint", key, text);
}

bool checkpoint_real(const struct checkpoint *c, const char *key, double *value, struct error *err) {
    const char *text = checkpoint_string(c, key, err);
    if (!text) return false;
    char *end;
    *value = strtod(text, &end);
    return (end != text && *end == 0 && *value >= 0) ||
           input_error(c, err, "metadata %s: got '%s', want a number; take another checkpoint", key, text);
}

json_t *checkpoint_object(const struct checkpoint *c, const char *key, struct error *err) {
    const char *text = checkpoint_string(c, key, err);
    json_t *object = text ? json_loads(text, 0, NULL) : NULL;
    if (text && !json_is_object(object)) {
        input_error(c, err, "metadata %s: not a JSON object; take another checkpoint", key);
        json_decref(object);
        return NULL;
    }
    return object;
}
