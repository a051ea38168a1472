/* See pictures.h.
 *
 * libpng's own API and not its simplified one: that would composite and convert in linear light, take 16 bits without
 * a gamma for linear, and keep every text and profile that a file brings. Here a picture is its stored numbers; all
 * chunks but those of pixels, palette and transparency are passed, so that memory is bounded by the picture's size.
 * libpng reports by longjmp: functions that set a jump keep all they have in a struct. */
#include "pictures.h"

#include <errno.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

enum { SIGNATURE = 8, WHITE = 255 };

/* What is at work on a file; `says` is libpng's message. */
struct coder {
    png_structp png;
    png_infop info;
    FILE *file;
    char says[200];
};

__attribute__((noreturn)) static void coder_fail(png_structp png, png_const_charp message) {
    struct coder *c = png_get_error_ptr(png);
    snprintf(c->says, sizeof c->says, "%s", message);
    png_longjmp(png, 1);
}

static void warning_pass(png_structp png, png_const_charp message) {
    (void)png;
    (void)message;
}

/* ---- Reading ---- */

static void bytes_read(png_structp png, png_bytep bytes, size_t n) {
    struct coder *c = png_get_io_ptr(png);
    if (fread(bytes, 1, n, c->file) != n) png_error(png, ferror(c->file) ? strerror(errno) : "it is cut short");
}

/* Behind the first bytes of a PNG file; false: it is another. */
static bool signature_check(FILE *file, const char *path, struct error *err) {
    unsigned char first[SIGNATURE];
    const size_t n = fread(first, 1, SIGNATURE, file);
    if (ferror(file)) return error_set(err, EXIT_INPUT, "%s: cannot read: %s; name a PNG file", path, strerror(errno));
    if (n == 0) return error_set(err, EXIT_INPUT, "%s: is empty (want a PNG picture)", path);
    return png_sig_cmp(first, 0, n) == 0 ||
           error_set(err, EXIT_INPUT, "%s: not a PNG picture, whatever its name says; convert it to PNG", path);
}

static void size_check(struct coder *c) {
    const size_t width = png_get_image_width(c->png, c->info), height = png_get_image_height(c->png, c->info);
    char text[sizeof c->says];
    if (width <= PICTURE_SIDE && height <= PICTURE_SIDE && width * height <= PICTURE_PIXELS) return;
    snprintf(text, sizeof text, "too large (got %zu x %zu pixels, want at most %d, and %d on a side)", width, height,
             PICTURE_PIXELS, PICTURE_SIDE);
    png_error(c->png, text);
}

/* Whatever is stored comes out as rows of 8-bit RGB. Returns in how many passes. */
static int conversion_set(struct coder *c) {
    const png_color_16 white = {0, WHITE, WHITE, WHITE, WHITE}; /* of 16 bits, too: libpng expands it */
    png_set_expand(c->png);
    png_set_gray_to_rgb(c->png);
    png_set_background(c->png, &white, PNG_BACKGROUND_GAMMA_SCREEN, 0, 1);
    png_set_scale_16(c->png);
    const int passes = png_set_interlace_handling(c->png);
    png_read_update_info(c->png, c->info);
    return passes;
}

/* Of an interlaced picture each pass fills in more of the same rows. */
static bool picture_decode(struct coder *c, struct picture *p) {
    if (setjmp(png_jmpbuf(c->png))) return false;
    png_set_read_fn(c->png, c, bytes_read);
    png_set_sig_bytes(c->png, SIGNATURE);
    png_set_crc_action(c->png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_set_keep_unknown_chunks(c->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1); /* -1: and those that libpng knows */
    png_set_user_limits(c->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);         /* size_check says more */
    png_read_info(c->png, c->info);
    size_check(c);
    p->width = png_get_image_width(c->png, c->info);
    p->height = png_get_image_height(c->png, c->info);
    p->rgb = array_alloc(p->height * p->width, 3);
    for (int passes = conversion_set(c); passes > 0; passes--)
        for (size_t y = 0; y < p->height; y++) png_read_row(c->png, p->rgb + y * p->width * 3, NULL);
    png_read_end(c->png, NULL); /* the rest may be cut short, or damaged */
    return true;
}

static bool file_decode(struct picture *p, FILE *file, const char *path, struct error *err) {
    struct coder c = {.file = file, .says = "out of memory"};
    if (!signature_check(file, path, err)) return false;
    c.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &c, coder_fail, warning_pass);
    if (c.png) c.info = png_create_info_struct(c.png);
    const bool ok = c.info && picture_decode(&c, p);
    png_destroy_read_struct(&c.png, &c.info, NULL);
    return ok || error_set(err, EXIT_INPUT, "%s: cannot read this picture: %s; mend it, or leave it out", path, c.says);
}

bool picture_read(struct picture *p, const char *path, struct error *err) {
    FILE *file = fopen(path, "rb");
    *p = (struct picture){0};
    if (!file) return error_set(err, EXIT_INPUT, "%s: cannot open: %s", path, strerror(errno));
    const bool ok = file_decode(p, file, path, err);
    fclose(file);
    if (ok) return true;
    free(p->rgb);
    *p = (struct picture){0};
    return false;
}

/* ---- Writing ---- */

/* A write that fails is remembered by stdio, and told by atomic_commit. */
static void bytes_write(png_structp png, png_bytep bytes, size_t n) {
    struct coder *c = png_get_io_ptr(png);
    fwrite(bytes, 1, n, c->file);
}

static void flush_pass(png_structp png) { (void)png; }

static bool picture_encode(struct coder *c, const struct picture *p) {
    if (setjmp(png_jmpbuf(c->png))) return false;
    png_set_write_fn(c->png, c, bytes_write, flush_pass);
    png_set_IHDR(c->png, c->info, (png_uint_32)p->width, (png_uint_32)p->height, 8, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(c->png, c->info);
    for (size_t y = 0; y < p->height; y++) png_write_row(c->png, p->rgb + y * p->width * 3);
    png_write_end(c->png, NULL);
    return true;
}

/* A failure of libpng's; what `file` could not take is for its owner to tell. `name` is for the message. */
static bool file_encode(FILE *file, const struct picture *p, const char *name, struct error *err) {
    struct coder c = {.file = file, .says = "out of memory"};
    c.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &c, coder_fail, warning_pass);
    if (c.png) c.info = png_create_info_struct(c.png);
    const bool ok = c.info && picture_encode(&c, p);
    png_destroy_write_struct(&c.png, &c.info);
    return ok || error_set(err, EXIT_OUTPUT, "%s: cannot write this picture: %s", name, c.says);
}

bool picture_write(const char *path, const struct picture *p, struct error *err) {
    struct atomic_file file;
    if (!atomic_open(&file, path, err)) return false;
    if (file_encode(file.file, p, path, err)) return atomic_commit(&file, err);
    atomic_abandon(&file);
    return false;
}

bool picture_to_memory(const struct picture *p, char **bytes, size_t *size, struct error *err) {
    *bytes = NULL;
    FILE *file = open_memstream(bytes, size);
    if (!file) return error_set(err, EXIT_MEMORY, "a picture of %zu x %zu: out of memory", p->width, p->height);
    bool ok = file_encode(file, p, "a picture", err);
    if (fclose(file) != 0 && ok) ok = error_set(err, EXIT_MEMORY, "a picture of %zu x %zu: out of memory", p->width,
                                                p->height);
    if (ok) return true;
    free(*bytes);
    *bytes = NULL;
    return false;
}

/* ---- Scaling ---- */

/* What one pixel of a scaled picture takes along a side: `n` pixels from `first` on, with weights that sum to `total`.
 * Whole numbers, so that every machine makes the same bytes. */
struct span {
    size_t first, n;
    uint64_t total, *weights;
};

static uint64_t *weights_alloc(size_t in, size_t out) { return array_alloc(in / out + 2, sizeof(uint64_t)); }

/* Smaller: how much of each pixel lies in [o, o + 1) * in / out; the unit is 1 / out of a pixel. */
static void span_box(struct span *s, size_t in, size_t out, size_t o) {
    const size_t begin = o * in, end = begin + in;
    s->first = begin / out;
    s->n = 0;
    s->total = in;
    for (size_t at = begin, next; at < end; at = next) {
        next = (s->first + s->n + 1) * out;
        if (next > end) next = end;
        s->weights[s->n++] = next - at;
    }
}

/* Larger: between the two pixels whose middles are around its own, (o + 1/2) * in / out - 1/2; the unit is 1 / (2 out)
 * of a pixel. Beyond the last middle on either side there is nothing but that pixel. */
static void span_linear(struct span *s, size_t in, size_t out, size_t o) {
    const size_t middle = (2 * o + 1) * in, last = (in - 1) * 2 * out;
    size_t at = middle > out ? middle - out : 0;
    if (at > last) at = last;
    s->first = at / (2 * out);
    s->n = at < last ? 2 : 1;
    s->total = 2 * out;
    s->weights[1] = at % (2 * out);
    s->weights[0] = s->total - s->weights[1];
}

static void span_set(struct span *s, size_t in, size_t out, size_t o) {
    if (out > in) span_linear(s, in, out, o);
    else span_box(s, in, out, o);
}

static void pixel_mean(unsigned char *to, const struct picture *p, const struct span *x, const struct span *y) {
    const uint64_t total = x->total * y->total;
    for (size_t c = 0; c < 3; c++) {
        uint64_t sum = total / 2;
        for (size_t j = 0; j < y->n; j++) {
            const unsigned char *from = p->rgb + ((y->first + j) * p->width + x->first) * 3 + c;
            for (size_t i = 0; i < x->n; i++) sum += y->weights[j] * x->weights[i] * from[3 * i];
        }
        to[c] = (unsigned char)(sum / total);
    }
}

/* A side of the picture where the longest one becomes `size`, rounded. */
static size_t side_scaled(size_t side, size_t longest, size_t size) {
    const size_t scaled = (2 * side * size + longest) / (2 * longest);
    return scaled > 0 ? scaled : 1;
}

void picture_fit(struct picture *p, size_t size) {
    if (p->width == size && p->height == size) return;
    const size_t longest = p->width > p->height ? p->width : p->height;
    const size_t width = side_scaled(p->width, longest, size), height = side_scaled(p->height, longest, size);
    unsigned char *rgb = array_alloc(size * size, 3), *corner = rgb;
    struct span x = {.weights = weights_alloc(p->width, width)}, y = {.weights = weights_alloc(p->height, height)};
    memset(rgb, WHITE, size * size * 3);
    corner += ((size - height) / 2 * size + (size - width) / 2) * 3;
    for (size_t row = 0; row < height; row++) {
        span_set(&y, p->height, height, row);
        for (size_t column = 0; column < width; column++) {
            span_set(&x, p->width, width, column);
            pixel_mean(corner + (row * size + column) * 3, p, &x, &y);
        }
    }
    free(x.weights);
    free(y.weights);
    free(p->rgb);
    *p = (struct picture){size, size, rgb};
}
