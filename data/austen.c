/* Takes Jane Austen's six novels out of the R package janeaustenr: austen RDATA.rdb DIR.
 *
 * An .rdb file is a row of R objects, each a 4-byte big-endian size and a zlib stream of that many bytes
 * ("R Internals", sections 1.8 and 1.16). Here each is a character vector with one string a line of text,
 * so that no more of R's serialization than that has to be understood. A novel is named after its first line.
 * Called by corpus.sh. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include "../src/base/util.h"

/* What is left of the object being read. */
struct cursor {
    const unsigned char *at, *end;
};

static bool bytes_take(struct cursor *c, size_t n, const unsigned char **bytes) {
    if ((size_t)(c->end - c->at) < n) return false;
    *bytes = c->at;
    c->at += n;
    return true;
}

static bool int_take(struct cursor *c, uint32_t *value) {
    const unsigned char *b;
    if (!bytes_take(c, 4, &b)) return false;
    *value = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    return true;
}

/* A CHARSXP (type 9), marked ASCII (0x40000) or UTF-8 (0x8000). */
static bool string_take(struct cursor *c, const unsigned char **text, uint32_t *size) {
    uint32_t flags;
    return int_take(c, &flags) && (flags == 0x40009 || flags == 0x8009) && int_take(c, size) &&
           bytes_take(c, *size, text);
}

/* "X\n", three versions and the name of an encoding, then a STRSXP (type 16) and its length. */
static bool header_take(struct cursor *c, uint32_t *lines) {
    uint32_t version, ignored, size, type;
    const unsigned char *bytes;
    return bytes_take(c, 2, &bytes) && memcmp(bytes, "X\n", 2) == 0 && int_take(c, &version) &&
           version == 3 && int_take(c, &ignored) && int_take(c, &ignored) && int_take(c, &size) &&
           bytes_take(c, size, &bytes) && int_take(c, &type) && type == 16 && int_take(c, lines);
}

/* DIR/sense-and-sensibility.txt from "SENSE AND SENSIBILITY". */
static char *novel_path(const char *dir, struct cursor c) {
    const unsigned char *title = NULL;
    uint32_t size = 0;
    if (!string_take(&c, &title, &size)) return NULL;
    char *path = string_format("%s/%.*s.txt", dir, (int)size, (const char *)title);
    char *name = path + strlen(dir) + 1;
    for (size_t i = 0; i < size && name[i]; i++)
        name[i] = isalpha((unsigned char)name[i]) ? (char)tolower((unsigned char)name[i]) : '-';
    return path;
}

/* Writes one novel. An object of another kind gives false and leaves err as it was. */
static bool novel_write(struct cursor c, const char *dir, struct error *err) {
    uint32_t lines;
    char *path = header_take(&c, &lines) ? novel_path(dir, c) : NULL;
    struct atomic_file file;
    if (!path || !atomic_open(&file, path, err)) {
        free(path);
        return false;
    }
    const unsigned char *text;
    uint32_t size, line = 0;
    for (; line < lines && string_take(&c, &text, &size); line++) {
        fwrite(text, 1, size, file.file);
        fputc('\n', file.file);
    }
    free(path);
    if (line == lines && c.at == c.end) return atomic_commit(&file, err);
    atomic_abandon(&file);
    return false;
}

/* Inflates one object of the file at c and writes its novel. */
static bool object_extract(struct cursor *c, const char *dir, struct error *err) {
    uint32_t size;
    if (!int_take(c, &size) || size > 1 << 26) return false;
    unsigned char *object = array_alloc(size, 1);
    uLongf got = size;
    uLong used = (uLong)(c->end - c->at);
    bool ok = uncompress2(object, &got, c->at, &used) == Z_OK && got == size &&
              novel_write((struct cursor){object, object + size}, dir, err);
    c->at += used;
    free(object);
    return ok;
}

static unsigned char *file_load(const char *path, size_t *size, struct error *err) {
    FILE *file = fopen(path, "rb");
    unsigned char *bytes = NULL;
    size_t capacity = 0, got = file != NULL;
    for (*size = 0; got > 0; *size += got) {
        bytes = array_grow(bytes, &capacity, *size + BUFSIZ, 1);
        got = fread(bytes + *size, 1, capacity - *size, file);
    }
    if (!file || ferror(file)) {
        error_set(err, EXIT_INPUT, "%s: cannot read: %s", path, strerror(errno));
        free(bytes);
        bytes = NULL;
    }
    if (file) fclose(file);
    return bytes;
}

int main(int argc, char **argv) {
    struct error err = {EXIT_USAGE, "usage: austen RDATA.rdb DIR"};
    program_start(argv);
    if (argc != 3) error_exit(&err);
    size_t size;
    unsigned char *bytes = file_load(argv[1], &size, &err);
    if (!bytes) error_exit(&err);
    error_set(&err, EXIT_INPUT, "%s: not the novels as janeaustenr 1.0.0 packs them", argv[1]);
    struct cursor c = {bytes, bytes + size};
    bool ok = size > 0;
    while (ok && c.at < c.end) ok = object_extract(&c, argv[2], &err);
    free(bytes);
    if (!ok) error_exit(&err);
    return EXIT_DONE;
}
