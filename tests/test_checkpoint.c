/* Checkpoints (src/checkpoint): what is written comes back, and nothing that was damaged does. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "../src/run/checkpoint.h"

static char directory[] = "/tmp/test-checkpoint-XXXXXX";

static int directory_create(void **state) {
    (void)state;
    return mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

/* Fails if a test, or the program, left a file behind. */
static int directory_remove(void **state) {
    (void)state;
    return chdir("/") == 0 ? rmdir(directory) : -1;
}

/* Every dtype, 0 to 4 dimensions, odd sizes, and empty tensors first, in the middle and last. */
enum { TENSORS = 8 };

static const struct tensor shapes[TENSORS] = {
    {"nothing", DTYPE_F64, 1, {0}, NULL},
    {"weights", DTYPE_F32, 2, {3, 5}, NULL},
    {"moments/\"m\"", DTYPE_F64, 4, {1, 2, 1, 3}, NULL},
    {"empty", DTYPE_F32, 3, {7, 0, 2}, NULL},
    {"scalar", DTYPE_I64, 0, {0}, NULL},
    {"tokenizer", DTYPE_U8, 1, {13}, NULL},
    {"b\xc3\xa9ta", DTYPE_F32, 3, {1, 1, 1}, NULL},
    {"last", DTYPE_U8, 1, {0}, NULL},
};

/* Copies of `shapes` with memory of their own, filled with bytes that depend on `seed`. */
static void tensors_make(struct tensor *tensors, unsigned seed) {
    for (int i = 0; i < TENSORS; i++) {
        tensors[i] = shapes[i];
        unsigned char *bytes = tensors[i].data = array_alloc(tensor_bytes(&tensors[i]), 1);
        for (size_t j = 0; j < tensor_bytes(&tensors[i]); j++)
            bytes[j] = (unsigned char)(seed = seed * 69069 + 1 + (seed >> 16));
    }
}

static void tensors_free(struct tensor *tensors) {
    for (int i = 0; i < TENSORS; i++) free(tensors[i].data);
}

static json_t *metadata_make(void) {
    return json_pack("{s:s, s:s, s:s}", "step", "17", "config", "{\"a\": \"\\u00e9\\n\"}", "crc32.stale",
                     "00000000");
}

static void sample_write(const char *path, const struct tensor *tensors) {
    struct error err;
    json_t *metadata = metadata_make();
    assert_true(checkpoint_write(path, tensors, TENSORS, metadata, &err));
    json_decref(metadata);
}

static char *file_read(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *bytes = array_alloc(1 << 20, 1);
    *size = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    return bytes;
}

static void file_write(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* ---- Round trips ---- */

static void test_round_trip(void **state) {
    (void)state;
    struct tensor saved[TENSORS], loaded[TENSORS];
    struct error err;
    struct checkpoint c;
    tensors_make(saved, 1);
    tensors_make(loaded, 2);
    sample_write("a.safetensors", saved);
    assert_true(checkpoint_open(&c, "a.safetensors", &err));
    assert_int_equal(c.n, TENSORS);
    for (int i = 0; i < TENSORS; i++) {
        assert_true(checkpoint_read(&c, &loaded[i], &err));
        assert_memory_equal(loaded[i].data, saved[i].data, tensor_bytes(&saved[i]));
        const struct tensor *t = checkpoint_find(&c, saved[i].name);
        assert_non_null(t);
        assert_int_equal(t->dtype, saved[i].dtype);
        assert_int_equal(t->dims, saved[i].dims);
        assert_memory_equal(t->data, saved[i].data, tensor_bytes(&saved[i]));
    }
    assert_string_equal(checkpoint_string(&c, "step", &err), "17");
    assert_string_equal(checkpoint_string(&c, "config", &err), "{\"a\": \"\\u00e9\\n\"}");
    assert_null(json_object_get(c.metadata, "crc32.stale"));
    assert_null(checkpoint_find(&c, "none"));
    assert_null(checkpoint_string(&c, "none", &err));
    assert_int_equal(err.code, EXIT_INPUT);
    assert_string_equal(err.text, "a.safetensors: metadata none: missing; not a checkpoint of this program");
    checkpoint_close(&c);
    unlink("a.safetensors");
    tensors_free(saved);
    tensors_free(loaded);
}

/* The file itself, as the format's page describes it, read here without the code under test. */
static void test_format(void **state) {
    (void)state;
    struct tensor saved[TENSORS];
    tensors_make(saved, 3);
    sample_write("a.safetensors", saved);
    size_t size, end = 0;
    char *bytes = file_read("a.safetensors", &size);
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--) length = length << 8 | (unsigned char)bytes[i];
    assert_int_equal((8 + length) % 64, 0);
    assert_int_equal(bytes[8], '{');
    json_t *root = json_loadb(bytes + 8, length, JSON_REJECT_DUPLICATES, NULL);
    assert_int_equal(json_object_size(root), TENSORS + 1);
    for (int i = 0; i < TENSORS; i++) {
        json_int_t from, to;
        const char *dtype;
        json_t *shape, *entry = json_object_get(root, saved[i].name);
        static const char *const names[] = {"F32", "F64", "I64", "U8"};
        assert_int_equal(json_unpack(entry, "{s:s, s:o, s:[I, I!]!}", "dtype", &dtype, "shape", &shape,
                                     "data_offsets", &from, &to),
                         0);
        assert_string_equal(dtype, names[saved[i].dtype]);
        assert_int_equal(json_array_size(shape), saved[i].dims);
        for (int d = 0; d < saved[i].dims; d++)
            assert_int_equal(json_integer_value(json_array_get(shape, (size_t)d)), saved[i].shape[d]);
        assert_int_equal(from, end); /* in the order given, without holes */
        end = (size_t)to;
        assert_memory_equal(bytes + 8 + length + from, saved[i].data, (size_t)(to - from));
        char key[80], crc[9];
        snprintf(key, sizeof key, "crc32.%.63s", saved[i].name);
        snprintf(crc, sizeof crc, "%08lx", crc32(0, saved[i].data, (uInt)tensor_bytes(&saved[i])));
        assert_string_equal(json_string_value(json_object_get(json_object_get(root, "__metadata__"), key)),
                            crc);
    }
    assert_int_equal(8 + length + end, size);
    json_decref(root);
    free(bytes);
    unlink("a.safetensors");
    tensors_free(saved);
}

/* Larger than the chunks in which CRCs are computed: all threads together must give zlib's answer. */
static void test_large(void **state) {
    (void)state;
    enum { N = 1234567 };
    float *values = array_alloc(N, sizeof *values), *copy = array_alloc(N, sizeof *copy);
    for (int i = 0; i < N; i++) values[i] = (float)i * 0.37f;
    struct tensor t = {"w", DTYPE_F32, 1, {N}, values};
    struct error err;
    struct checkpoint c;
    assert_true(checkpoint_write("large", &t, 1, NULL, &err));
    assert_true(checkpoint_open(&c, "large", &err));
    char crc[9];
    snprintf(crc, sizeof crc, "%08lx", crc32_z(0, (unsigned char *)values, N * sizeof *values));
    assert_string_equal(checkpoint_string(&c, "crc32.w", &err), crc);
    t.data = copy;
    assert_true(checkpoint_read(&c, &t, &err));
    assert_memory_equal(copy, values, N * sizeof *values);
    assert_int_equal((uintptr_t)c.tensors[0].data % 64, 0);
    checkpoint_close(&c);
    unlink("large");
    free(values);
    free(copy);
}

static void test_mismatch(void **state) {
    (void)state;
    struct tensor saved[TENSORS];
    struct error err;
    struct checkpoint c;
    float memory[100];
    tensors_make(saved, 4);
    sample_write("a.safetensors", saved);
    assert_true(checkpoint_open(&c, "a.safetensors", &err));
    struct tensor want = {"weights", DTYPE_F32, 2, {5, 3}, memory};
    assert_false(checkpoint_read(&c, &want, &err));
    assert_int_equal(err.code, EXIT_MISMATCH);
    assert_string_equal(err.text,
                        "a.safetensors: tensor weights: wrong shape (got F32 (3, 5), want F32 (5, 3)); this "
                        "checkpoint is of another model");
    want = (struct tensor){"weights", DTYPE_I64, 2, {3, 5}, memory};
    assert_false(checkpoint_read(&c, &want, &err));
    assert_int_equal(err.code, EXIT_MISMATCH);
    want = (struct tensor){"weights", DTYPE_F32, 3, {3, 5, 1}, memory};
    assert_false(checkpoint_read(&c, &want, &err));
    assert_int_equal(err.code, EXIT_MISMATCH);
    want = (struct tensor){"other", DTYPE_F32, 1, {1}, memory};
    assert_false(checkpoint_read(&c, &want, &err));
    assert_int_equal(err.code, EXIT_MISMATCH);
    assert_string_equal(err.text,
                        "a.safetensors: tensor other: missing; this checkpoint is of another model");
    checkpoint_close(&c);
    unlink("a.safetensors");
    tensors_free(saved);
}

/* ---- Damage ---- */

/* Opens the file and reads every tensor; true only if nothing was refused and all is as saved. A file that
 * reads without complaint but differs fails the test. */
static bool survives(const char *path, const struct tensor *saved) {
    struct checkpoint c;
    struct error err;
    if (!checkpoint_open(&c, path, &err)) {
        assert_int_equal(err.code, EXIT_INPUT);
        assert_int_equal(strncmp(err.text, path, strlen(path)), 0);
        return false;
    }
    bool ok = c.n == TENSORS;
    for (int i = 0; i < TENSORS && ok; i++) {
        struct tensor t = saved[i];
        t.data = array_alloc(tensor_bytes(&t), 1);
        ok = checkpoint_read(&c, &t, &err);
        if (ok) assert_memory_equal(t.data, saved[i].data, tensor_bytes(&t));
        free(t.data);
    }
    checkpoint_close(&c);
    return ok;
}

static void test_every_byte(void **state) {
    (void)state;
    struct tensor saved[TENSORS];
    size_t size;
    tensors_make(saved, 5);
    sample_write("a.safetensors", saved);
    char *bytes = file_read("a.safetensors", &size);
    static const unsigned char flips[] = {0x01, 0x20, 0x80, 0xff};
    int fd = open("a.safetensors", O_WRONLY);
    for (size_t i = 0; i < size; i++) {
        for (int f = 0; f < 4; f++) {
            unsigned char flipped = (unsigned char)bytes[i] ^ flips[f];
            assert_int_equal(pwrite(fd, &flipped, 1, (off_t)i), 1);
            assert_false(survives("a.safetensors", saved));
        }
        assert_int_equal(pwrite(fd, &bytes[i], 1, (off_t)i), 1);
    }
    close(fd);
    assert_true(survives("a.safetensors", saved));
    for (size_t cut = 0; cut < size; cut++) { /* and every way to lose the end */
        file_write("b.safetensors", bytes, cut);
        assert_false(survives("b.safetensors", saved));
    }
    file_write("b.safetensors", bytes, size + 1);
    assert_false(survives("b.safetensors", saved));
    free(bytes);
    unlink("a.safetensors");
    unlink("b.safetensors");
    tensors_free(saved);
}

/* Writes a file with this header, its CRC made right but for the bits `wrong` of digit `digit`, and `data` zeros
 * behind it. */
static void header_write(const char *header, size_t data, int digit, char wrong) {
    static const char key[] = "\"crc32.header\":\"";
    char text[2000], digits[9];
    uint64_t length = strlen(header);
    memcpy(text, header, length + 1);
    char *place = strstr(text, key);
    if (place) {
        snprintf(digits, sizeof digits, "%08lx", crc32_z(0, (unsigned char *)text, length));
        digits[digit] ^= wrong;
        memcpy(place + strlen(key), digits, 8);
    }
    char bytes[3000] = {0};
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, text, length);
    file_write("crafted", bytes, 8 + length + data);
}

static void crafted_write(const char *header, size_t data) { header_write(header, data, 0, 0); }

/* Headers that are wrong although their CRC is right: somebody else's bug, or malice. */
static void test_crafted(void **state) {
    (void)state;
#define META "\"__metadata__\":{\"crc32.header\":\"00000000\"}"
#define F32(name, shape, offsets)                                                                            \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
    static const struct {
        const char *header;
        size_t data;
        const char *want; /* part of the message; NULL: opens */
    } cases[] = {
        {"{" META "," F32("w", "[2]", "[0,8]") "}", 8, NULL},
        {"{" META "," F32("w", "[2]", "[8,16]") "," F32("v", "[2]", "[0,8]") "}", 16, NULL}, /* any order */
        {"{" META "}", 0, NULL},
        {"{" F32("w", "[2]", "[0,8]") "}", 8, "header: no CRC"},
        {"{\"__metadata__\":{\"crc32.header\":0}}", 0, "header: no CRC"},
        {"{" META, 0, "header: not a JSON object"},
        {"[" META "]", 0, "header: not a JSON object"},
        {"{" META "," F32("w", "[2]", "[0,8]") "," F32("w", "[2]", "[8,16]") "}", 16, "duplicate object key"},
        {"{\"x\":{\"crc32.header\":\"00000000\"}}", 0, "__metadata__ is not an object"},
        {"{\"__metadata__\":{\"crc32.header\":\"00000000\",\"n\":5}}", 0, "metadata n: is not a string"},
        {"{" META ",\"w\":{\"dtype\":\"F8_E5M2\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4,
         "tensor w: unknown dtype (got F8_E5M2, want F32, F64, I64, U8, F16, BF16 or BOOL)"},
        {"{" META ",\"w\":5}", 0, "tensor w: unknown dtype (got none"},
        {"{" META "," F32("w", "[4294967296,4294967296]", "[0,0]") "}", 0, "tensor w: impossible shape"},
        {"{" META "," F32("w", "[9223372036854775807]", "[0,0]") "}", 0, "tensor w: impossible shape"},
        {"{" META "," F32("w", "[-2]", "[0,8]") "}", 8, "tensor w: impossible shape"},
        {"{" META "," F32("w", "[2.0]", "[0,8]") "}", 8, "tensor w: impossible shape"},
        {"{" META "," F32("w", "[1,1,1,1,2]", "[0,8]") "}", 8, "tensor w: impossible shape"},
        {"{" META "," F32("w", "2", "[0,8]") "}", 8, "tensor w: impossible shape"},
        {"{" META "," F32("w", "[2]", "[0,8,9]") "}", 8, "tensor w: data_offsets are not two whole numbers"},
        {"{" META "," F32("w", "[2]", "[0,8.0]") "}", 8, "tensor w: data_offsets are not two whole numbers"},
        {"{" META "," F32("w", "[2]", "[-8,0]") "}", 8, "tensor w: impossible data_offsets"},
        {"{" META "," F32("w", "[2]", "[8,0]") "}", 8, "tensor w: impossible data_offsets"},
        {"{" META "," F32("w", "[2]", "[0,8]") "}", 7, "tensor w: impossible data_offsets (got 0 to 8"},
        {"{" META "," F32("w", "[3]", "[0,8]") "}", 8, "tensor w: data_offsets do not fit its shape"},
        {"{" META "," F32("v", "[2]", "[0,8]") "," F32("w", "[2]", "[4,12]") "}", 12, "tensor w: overlaps"},
        {"{" META "," F32("v", "[2]", "[0,8]") "," F32("w", "[2]", "[0,8]") "}", 8, "overlaps"},
        {"{" META "," F32("v", "[2]", "[0,8]") "," F32("w", "[2]", "[12,20]") "}", 20,
         "tensor w: hole before it"},
        {"{" META "," F32("w", "[2]", "[4,12]") "}", 12, "tensor w: hole before it"},
        {"{" META "," F32("w", "[2]", "[0,8]") "}", 11, "3 bytes left over after the last tensor"},
        {"{" META
         "," F32("a-name-of-sixty-four-bytes-which-is-one-more-than-fits-in-a-name", "[0]", "[0,0]") "}",
         0, "name is too long (got 64 bytes, want at most 63)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct checkpoint c;
        struct error err = {0};
        crafted_write(cases[i].header, cases[i].data);
        bool ok = checkpoint_open(&c, "crafted", &err);
        if (ok) checkpoint_close(&c);
        if (ok != !cases[i].want) print_error("case %zu: %s\n", i, err.text);
        assert_int_equal(ok, !cases[i].want);
        if (ok) continue;
        if (!strstr(err.text, cases[i].want)) print_error("case %zu: %s\n", i, err.text);
        assert_int_equal(err.code, EXIT_INPUT);
        assert_non_null(strstr(err.text, cases[i].want));
    }
    unlink("crafted");
}

static void test_no_checkpoint(void **state) {
    (void)state;
    struct checkpoint c;
    struct error err;
    assert_false(checkpoint_open(&c, "none", &err));
    assert_int_equal(err.code, EXIT_INPUT);
    assert_string_equal(err.text, "none: cannot read: No such file or directory");
    assert_false(checkpoint_open(&c, "/dev/null", &err));
    assert_string_equal(err.text, "/dev/null: cannot read: not a regular file");
    assert_false(checkpoint_open(&c, ".", &err));
    assert_string_equal(err.text, ".: cannot read: not a regular file");
    file_write("text", "Once upon a time", 16);
    assert_false(checkpoint_open(&c, "text", &err));
    assert_non_null(strstr(err.text, "text: byte 0: impossible header length (got "));
    file_write("text", "short", 5);
    assert_false(checkpoint_open(&c, "text", &err));
    assert_string_equal(err.text, "text: too short (got 5 bytes, want at least 10); not a checkpoint");
    file_write("text", "\2\0\0\0\0\0\0\0{}", 10); /* the least: read, but it has no CRC */
    assert_false(checkpoint_open(&c, "text", &err));
    assert_int_equal(strncmp(err.text, "text: header: no CRC", 20), 0);
    file_write("text", "\1\0\0\0\0\0\0\0{", 9);
    assert_false(checkpoint_open(&c, "text", &err));
    assert_string_equal(err.text, "text: too short (got 9 bytes, want at least 10); not a checkpoint");
    unlink("text");
}

/* Every digit of a CRC counts, and nothing but eight of them will do. */
static void test_crc_digits(void **state) {
    (void)state;
    static const char *const forms[] = {"%.7s", "%.8s0", "0%.8s", "%.8s ", " %.8s", "%.6s", "0x%.8s", "%.0s"};
    const unsigned char zeros[8] = {0};
    char right[9], text[400];
    struct checkpoint c;
    struct error err;
    float memory[2];
    const struct tensor want = {"w", DTYPE_F32, 1, {2}, memory};
    snprintf(right, sizeof right, "%08lx", crc32(0, zeros, sizeof zeros));
    for (int i = 0; i < 8 + (int)(sizeof forms / sizeof *forms) + 1; i++) {
        char digits[20];
        if (i > 8) snprintf(digits, sizeof digits, forms[i - 9], right);
        else strcpy(digits, right);
        if (i < 8) digits[i] = digits[i] == '1' ? '2' : '1';
        snprintf(text, sizeof text, "{\"__metadata__\":{\"crc32.w\":\"%s\",\"crc32.header\":\"00000000\"}," F32(
                 "w", "[2]", "[0,8]") "}", digits);
        crafted_write(text, 8);
        assert_true(checkpoint_open(&c, "crafted", &err));
        assert_int_equal(checkpoint_read(&c, &want, &err), i == 8); /* none of them wrong */
        if (i != 8) {
            char *says = string_format("crafted: tensor w: damaged (CRC-32 is %s, want %s); take another checkpoint",
                                       right, digits);
            assert_int_equal(err.code, EXIT_INPUT);
            assert_string_equal(err.text, says);
            free(says);
        }
        checkpoint_close(&c);
        header_write(text, 8, i % 8, 1 + i / 8);
        assert_false(checkpoint_open(&c, "crafted", &err));
        assert_non_null(strstr(err.text, "crafted: header: damaged (its CRC-32 is "));
    }
    unlink("crafted");
}

/* A header of just so many bytes is read (and found to be zeros), one of a byte more is not. Both files have holes
 * for what they lack. */
static void test_header_limit(void **state) {
    (void)state;
    enum { LIMIT = 100000000 };
    struct checkpoint c;
    struct error err;
    for (uint64_t length = LIMIT; length <= LIMIT + 1; length++) {
        file_write("holes", &length, sizeof length);
        assert_int_equal(truncate("holes", (off_t)(LIMIT + 100)), 0);
        assert_false(checkpoint_open(&c, "holes", &err));
        assert_int_equal(err.code, EXIT_INPUT);
        const char *want = length == LIMIT ? "holes: header: not a JSON object ("
                                           : "holes: byte 0: impossible header length (got 100000001, want at most "
                                             "100000000); not a checkpoint, or cut off";
        assert_int_equal(strncmp(err.text, want, strlen(want)), 0);
    }
    uint64_t length = 93; /* the file's own size is the other limit: 100 bytes, 8 of them the length */
    file_write("holes", &length, sizeof length);
    assert_int_equal(truncate("holes", 100), 0);
    assert_false(checkpoint_open(&c, "holes", &err));
    assert_non_null(strstr(err.text, "impossible header length (got 93, want at most 92)"));
    length = 92;
    file_write("holes", &length, sizeof length);
    assert_int_equal(truncate("holes", 100), 0);
    assert_false(checkpoint_open(&c, "holes", &err));
    assert_non_null(strstr(err.text, "not a JSON object"));
    unlink("holes");
}

/* What no reader would open is not written: a file that was there stays. */
static void test_unreadable_is_not_written(void **state) {
    (void)state;
    enum { LIMIT = 100000000 };
    static const char *const bad[] = {"caf\xe9", "\xc3", "a\xed\xa0\x80", "\xc0\xaf", "\xff", "\xf4\x90\x80\x80"};
    struct tensor tensors[TENSORS];
    struct checkpoint c;
    struct error err;
    tensors_make(tensors, 9);
    sample_write("a.safetensors", tensors);
    json_t *metadata = json_object();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        checkpoint_note(metadata, "step", "3");
        checkpoint_note(metadata, "data_dir", bad[i]);
        assert_false(checkpoint_write("a.safetensors", tensors, TENSORS, metadata, &err));
        assert_int_equal(err.code, EXIT_OUTPUT);
        assert_string_equal(err.text, "a.safetensors: metadata data_dir: cannot write: is not text in UTF-8; rename "
                                      "what it names");
        assert_true(survives("a.safetensors", tensors));
    }
    static const char good[] = "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \"\\\n\x01";
    checkpoint_note(metadata, "data_dir", good);
    assert_true(checkpoint_write("a.safetensors", tensors, TENSORS, metadata, &err));
    assert_true(checkpoint_open(&c, "a.safetensors", &err));
    assert_string_equal(checkpoint_string(&c, "data_dir", &err), good);
    checkpoint_close(&c);
    json_object_set_new(metadata, "step", json_integer(3));
    assert_false(checkpoint_write("a.safetensors", tensors, TENSORS, metadata, &err));
    assert_non_null(strstr(err.text, "a.safetensors: metadata step: cannot write: "));

    char *long_text = malloc(LIMIT);
    memset(long_text, 'x', LIMIT - 1);
    long_text[LIMIT - 1] = 0;
    checkpoint_note(metadata, "step", long_text);
    free(long_text);
    assert_false(checkpoint_write("a.safetensors", tensors, TENSORS, metadata, &err));
    assert_int_equal(err.code, EXIT_OUTPUT);
    assert_non_null(strstr(err.text, "a.safetensors: header: cannot write: too long (got 1000"));
    assert_true(survives("a.safetensors", tensors));
    assert_int_equal(access("a.safetensors.tmp", F_OK), -1);
    json_decref(metadata);
    tensors_free(tensors);
    unlink("a.safetensors");
}

static void test_format_is_compared(void **state) {
    (void)state;
    static const char *const others[] = {"mhmoe 2", "mhmoe 1 ", "mhmoe 10", "mhmoe", "", "Mhmoe 1"};
    struct checkpoint c;
    struct error err;
    for (size_t i = 0, n = sizeof others / sizeof *others; i <= n + 1; i++) {
        json_t *metadata = json_object();
        const bool right = i > n;
        if (i > 0) checkpoint_note(metadata, "format", right ? "mhmoe 1" : others[i - 1]);
        assert_true(checkpoint_write("a", NULL, 0, metadata, &err));
        json_decref(metadata);
        assert_true(checkpoint_open(&c, "a", &err));
        assert_int_equal(checkpoint_format(&c, "mhmoe 1", &err), right);
        checkpoint_close(&c);
        if (right) continue;
        char *says = i == 0 ? string_format("a: metadata format: missing; not a checkpoint of this program")
                            : string_format("a: metadata format: another one (got %s, want mhmoe 1); read it with the "
                                            "version of the program that wrote it", others[i - 1]);
        assert_int_equal(err.code, EXIT_INPUT);
        assert_string_equal(err.text, says);
        free(says);
    }
    unlink("a");
}

/* A tensor without a CRC is refused when it is read. */
static void test_no_tensor_crc(void **state) {
    (void)state;
    struct checkpoint c;
    struct error err;
    float memory[2];
    crafted_write("{" META "," F32("w", "[2]", "[0,8]") "}", 8);
    assert_true(checkpoint_open(&c, "crafted", &err));
    assert_false(checkpoint_read(&c, &(struct tensor){"w", DTYPE_F32, 1, {2}, memory}, &err));
    assert_int_equal(err.code, EXIT_INPUT);
    assert_string_equal(err.text, "crafted: metadata crc32.w: missing; not a checkpoint of this program");
    checkpoint_close(&c);
    unlink("crafted");
}

static void test_copy(void **state) {
    (void)state;
    struct tensor tensors[TENSORS];
    struct checkpoint c;
    struct error err;
    size_t size;
    tensors_make(tensors, 8);
    sample_write("a.safetensors", tensors);
    assert_true(checkpoint_open(&c, "a.safetensors", &err));
    for (int i = 0; i < TENSORS; i++) {
        void *copy = checkpoint_copy(&c, tensors[i].name, &size, &err);
        assert_non_null(copy);
        assert_int_equal(size, tensor_bytes(&tensors[i]));
        assert_memory_equal(copy, tensors[i].data, size);
        free(copy);
    }
    assert_null(checkpoint_copy(&c, "tokeniser", &size, &err));
    assert_int_equal(err.code, EXIT_INPUT);
    assert_string_equal(err.text, "a.safetensors: tensor tokeniser: missing; not a checkpoint of this program");
    checkpoint_close(&c);
    tensors_free(tensors);
    unlink("a.safetensors");
    crafted_write("{" META "," F32("w", "[2]", "[0,8]") "}", 8);
    assert_true(checkpoint_open(&c, "crafted", &err));
    assert_null(checkpoint_copy(&c, "w", &size, &err)); /* it has no CRC */
    assert_int_equal(err.code, EXIT_INPUT);
    checkpoint_close(&c);
    unlink("crafted");
}

/* What a run's name stands for. */
static void path_expect(const char *run, const char *want) {
    char *path = checkpoint_path(run);
    assert_string_equal(path, want);
    free(path);
}

static void test_path(void **state) {
    (void)state;
    path_expect("no/such", "no/such");
    assert_int_equal(mkdir("run", 0777), 0);
    path_expect("run", "run/last.safetensors");
    fclose(fopen("run/best.safetensors", "w"));
    path_expect("run", "run/best.safetensors");
    path_expect("run/best.safetensors", "run/best.safetensors");
    unlink("run/best.safetensors");
    rmdir("run");
}

/* ---- Output that fails ---- */

/* A limit on the size of a file fails as a full disk does. */
static void test_full(void **state) {
    (void)state;
    struct tensor old[TENSORS], new[TENSORS];
    struct error err;
    struct rlimit before;
    tensors_make(old, 6);
    tensors_make(new, 7);
    sample_write("a.safetensors", old);
    size_t size;
    char *bytes = file_read("a.safetensors", &size);
    free(bytes);
    getrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_IGN);
    static const size_t short_by[] = {1, 100, 700};
    for (int i = 0; i < 3; i++) {
        struct rlimit limit = {size - short_by[i], before.rlim_max};
        setrlimit(RLIMIT_FSIZE, &limit);
        json_t *metadata = metadata_make();
        bool ok = checkpoint_write("a.safetensors", new, TENSORS, metadata, &err);
        json_decref(metadata);
        setrlimit(RLIMIT_FSIZE, &before);
        assert_false(ok);
        assert_int_equal(err.code, EXIT_OUTPUT);
        assert_non_null(strstr(err.text, "a.safetensors: cannot write: "));
        assert_true(survives("a.safetensors", old));
        assert_int_equal(access("a.safetensors.tmp", F_OK), -1);
    }
    assert_false(checkpoint_write("no/such/directory", new, TENSORS, NULL, &err));
    assert_int_equal(err.code, EXIT_OUTPUT);
    unlink("a.safetensors");
    tensors_free(old);
    tensors_free(new);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_format),
        cmocka_unit_test(test_large),         cmocka_unit_test(test_mismatch),
        cmocka_unit_test(test_every_byte),    cmocka_unit_test(test_crafted),
        cmocka_unit_test(test_no_checkpoint), cmocka_unit_test(test_no_tensor_crc),
        cmocka_unit_test(test_copy),          cmocka_unit_test(test_path),
        cmocka_unit_test(test_full),          cmocka_unit_test(test_crc_digits),
        cmocka_unit_test(test_header_limit),  cmocka_unit_test(test_unreadable_is_not_written),
        cmocka_unit_test(test_format_is_compared),
    };
    return cmocka_run_group_tests(tests, directory_create, directory_remove);
}
