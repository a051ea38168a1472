/* Pictures: every kind of PNG pixel by pixel, what is no picture or a damaged one, and scaling, against sums done by
 * hand and against the definition in doubles. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <png.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <zlib.h>
#include "../data/pictures.h"
#include "../src/base/rng.h"
#include "data_files.h"

static int place_enter(void **state) { return directory_create(state) == 0 ? chdir(*state) : -1; }
static int place_leave(void **state) { return chdir("/") == 0 ? directory_delete(state) : -1; }
#define HERE(name) cmocka_unit_test_setup_teardown(name, place_enter, place_leave)

/* What the reader allocates: linked in the place of array_alloc. */
static size_t allocated;
void *__real_array_alloc(size_t count, size_t size);
void *__wrap_array_alloc(size_t count, size_t size);
void *__wrap_array_alloc(size_t count, size_t size) {
    allocated += count * size;
    return __real_array_alloc(count, size);
}

/* ---- PNG files, byte by byte ---- */

struct file {
    unsigned char bytes[1 << 16];
    size_t n;
};

static void big_put(unsigned char *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = (unsigned char)(value >> (24 - 8 * i));
}

static void chunk_add(struct file *f, const char *type, const void *data, size_t n) {
    unsigned char *at = f->bytes + f->n;
    assert_true(f->n + n + 12 <= sizeof f->bytes);
    big_put(at, (uint32_t)n);
    memcpy(at + 4, type, 4);
    if (n > 0) memcpy(at + 8, data, n);
    big_put(at + 8 + n, (uint32_t)crc32(0, at + 4, (uInt)n + 4));
    f->n += n + 12;
}

static void header_add(struct file *f, uint32_t width, uint32_t height, int depth, int type) {
    unsigned char header[13] = {0};
    memcpy(f->bytes, "\x89PNG\r\n\x1a\n", 8);
    f->n = 8;
    big_put(header, width);
    big_put(header + 4, height);
    header[8] = (unsigned char)depth;
    header[9] = (unsigned char)type;
    chunk_add(f, "IHDR", header, sizeof header);
}

/* `skip` bytes of four before it: a frame of an animation has its number there. */
static void pixels_add(struct file *f, const char *type, const void *rows, size_t n, size_t skip) {
    unsigned char packed[1000] = {0};
    uLongf size = sizeof packed - skip;
    assert_int_equal(compress(packed + skip, &size, rows, n), Z_OK);
    if (skip > 0) packed[3] = 2;
    chunk_add(f, type, packed, size + skip);
}

/* 3 x 2 pixels. */
static const unsigned char small_rows[] = {0, 1, 2, 3, 40, 50, 60, 255, 254, 253, 0, 9, 8, 7, 0, 0, 0, 128, 129, 130};
static const unsigned char small_pixels[] = {1, 2, 3, 40, 50, 60, 255, 254, 253, 9, 8, 7, 0, 0, 0, 128, 129, 130};

static void small_make(struct file *f) {
    header_add(f, 3, 2, 8, PNG_COLOR_TYPE_RGB);
    chunk_add(f, "tEXt", "Title\0A small one", 17);
    pixels_add(f, "IDAT", small_rows, sizeof small_rows, 0);
    chunk_add(f, "IEND", NULL, 0);
}

static void save(const char *path, const struct file *f) { file_write(path, f->bytes, f->n); }

static struct picture read_of(const char *path) {
    struct picture p;
    struct error err;
    if (!picture_read(&p, path, &err)) fail_msg("%s", err.text);
    return p;
}

static void pixels_check(struct picture p, size_t width, size_t height, const unsigned char *want) {
    assert_int_equal(p.width, width);
    assert_int_equal(p.height, height);
    for (size_t i = 0; i < height * width * 3; i++)
        if (p.rgb[i] != want[i])
            fail_msg("pixel %zu, %zu, number %zu: got %d, want %d", i / 3 % width, i / 3 / width, i % 3, p.rgb[i],
                     want[i]);
    free(p.rgb);
}

/* One line, and nothing held. */
static void refused(const char *path, const char *says) {
    struct picture p = {1, 1, (unsigned char *)path};
    struct error err = {0, ""};
    assert_false(picture_read(&p, path, &err));
    if (err.code != EXIT_INPUT || strncmp(err.text, path, strlen(path)) != 0 || !strstr(err.text, says) ||
        strchr(err.text, '\n'))
        fail_msg("%d: %s (want %s)", err.code, err.text, says);
    assert_true(p.width == 0 && p.height == 0 && !p.rgb);
}

/* ---- Every kind ---- */

struct kind {
    int type, depth, channels;
};
static const struct kind kinds[] = {
    {PNG_COLOR_TYPE_GRAY, 1, 1},       {PNG_COLOR_TYPE_GRAY, 2, 1},        {PNG_COLOR_TYPE_GRAY, 4, 1},
    {PNG_COLOR_TYPE_GRAY, 8, 1},       {PNG_COLOR_TYPE_GRAY, 16, 1},       {PNG_COLOR_TYPE_PALETTE, 1, 1},
    {PNG_COLOR_TYPE_PALETTE, 2, 1},    {PNG_COLOR_TYPE_PALETTE, 4, 1},     {PNG_COLOR_TYPE_PALETTE, 8, 1},
    {PNG_COLOR_TYPE_RGB, 8, 3},        {PNG_COLOR_TYPE_RGB, 16, 3},        {PNG_COLOR_TYPE_GRAY_ALPHA, 8, 2},
    {PNG_COLOR_TYPE_GRAY_ALPHA, 16, 2}, {PNG_COLOR_TYPE_RGB_ALPHA, 8, 4}, {PNG_COLOR_TYPE_RGB_ALPHA, 16, 4},
};

/* A picture of random samples: what each is, as it is stored, and which is transparent. */
struct samples {
    struct kind kind;
    size_t width, height;
    bool interlaced, keyed; /* keyed: with a tRNS chunk */
    unsigned values[64][4];
    png_color palette[256];
    png_byte alphas[256];
    png_color_16 key; /* the samples of one pixel there is */
};

/* As libpng takes them where packing is set: a byte a sample, or two. */
static void samples_write(const struct samples *s, const char *path) {
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    FILE *file = fopen(path, "wb");
    unsigned char rows[64 * 8], *starts[64];
    const size_t wide = s->kind.depth == 16 ? 2 : 1, row = s->width * (size_t)s->kind.channels * wide;
    png_init_io(png, file);
    png_set_IHDR(png, info, (png_uint_32)s->width, (png_uint_32)s->height, s->kind.depth, s->kind.type,
                 s->interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, 0, 0);
    if (s->kind.type == PNG_COLOR_TYPE_PALETTE) png_set_PLTE(png, info, s->palette, 1 << s->kind.depth);
    if (s->keyed) png_set_tRNS(png, info, s->alphas, 1 << (s->kind.depth % 16), &s->key);
    png_set_gAMA(png, info, 1.0); /* linear light, says this one: not to be heard */
    png_write_info(png, info);
    png_set_packing(png);
    for (size_t i = 0; i < s->width * s->height; i++)
        for (size_t c = 0, k = i * (size_t)s->kind.channels; c < (size_t)s->kind.channels; c++, k++) {
            if (wide == 2) rows[2 * k] = (unsigned char)(s->values[i][c] >> 8);
            rows[wide * k + wide - 1] = (unsigned char)s->values[i][c];
        }
    for (size_t y = 0; y < s->height; y++) starts[y] = rows + y * row;
    png_write_image(png, starts);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    assert_int_equal(fclose(file), 0);
}

static void samples_draw(struct samples *s, struct rng *rng) {
    const unsigned most = (1u << s->kind.depth) - 1;
    for (int i = 0; i < 256; i++) {
        s->palette[i] = (png_color){(png_byte)rng_next(rng), (png_byte)rng_next(rng), (png_byte)rng_next(rng)};
        s->alphas[i] = i % 3 == 0 ? (png_byte)rng_next(rng) : i % 3 == 1 ? 0 : 255;
    }
    for (size_t i = 0; i < s->width * s->height; i++) {
        const bool again = i > 0 && rng_next(rng) % 4 == 0; /* so that the key occurs more than once */
        for (int c = 0; c < 4; c++) s->values[i][c] = again ? s->values[0][c] : (unsigned)rng_next(rng) & most;
        if (i % 5 == 1) s->values[i][s->kind.channels - 1] = i % 2 ? 0 : most;
    }
    const unsigned *v = s->values[0];
    s->key = (png_color_16){0, (png_uint_16)v[0], (png_uint_16)v[1], (png_uint_16)v[2], (png_uint_16)v[0]};
}

/* Over white, in the depth that it has, then to 8 bits, each rounded to the nearest. */
static unsigned char seen(double value, double alpha, double most) {
    const double over = floor(value * alpha + most * (1 - alpha) + 0.5 + 1e-9);
    return (unsigned char)floor(over * 255 / most + 0.5 + 1e-9);
}

static void pixel_expect(const struct samples *s, size_t i, unsigned char *want) {
    const unsigned *v = s->values[i];
    const double most = s->kind.depth < 8 ? 255 : (1u << s->kind.depth) - 1; /* fewer bits are made 8 first */
    const double scale = most / ((1u << s->kind.depth) - 1);
    const bool colour = s->kind.type & PNG_COLOR_MASK_COLOR, alpha = s->kind.type & PNG_COLOR_MASK_ALPHA;
    double a = alpha ? v[s->kind.channels - 1] / most : 1;
    if (s->keyed && memcmp(v, s->values[0], (size_t)s->kind.channels * sizeof *v) == 0) a = 0;
    if (s->kind.type == PNG_COLOR_TYPE_PALETTE) {
        const png_color p = s->palette[v[0]];
        a = s->keyed ? s->alphas[v[0]] / 255. : 1;
        want[0] = seen(p.red, a, 255);
        want[1] = seen(p.green, a, 255);
        want[2] = seen(p.blue, a, 255);
    } else
        for (int c = 0; c < 3; c++) want[c] = seen(v[colour ? c : 0] * scale, a, most);
}

static void samples_check(struct samples *s, struct rng *rng) {
    unsigned char want[64 * 3];
    samples_draw(s, rng);
    samples_write(s, "a.png");
    for (size_t i = 0; i < s->width * s->height; i++) pixel_expect(s, i, want + 3 * i);
    pixels_check(read_of("a.png"), s->width, s->height, want);
}

static void every_kind_is_read_exactly(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {7, 9}, {9, 5}, {1, 6}, {13, 1}};
    struct rng rng;
    rng_seed(&rng, 1, 0);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int way = 0; way < 4; way++)
            for (size_t z = 0; z < 5; z++) {
                struct samples s = {.kind = kinds[k], .width = sizes[z][0], .height = sizes[z][1],
                                    .interlaced = way & 1, .keyed = way & 2 && !(kinds[k].type & PNG_COLOR_MASK_ALPHA)};
                samples_check(&s, &rng);
            }
}

/* The picture that a reader without animations shows, not the frame behind it. */
static void of_an_animation_the_first_frame(void **state) {
    (void)state;
    unsigned char frame[26] = {0}, other[sizeof small_rows];
    struct file f;
    memset(other, 77, sizeof other);
    other[0] = other[10] = 0;
    header_add(&f, 3, 2, 8, PNG_COLOR_TYPE_RGB);
    chunk_add(&f, "acTL", "\0\0\0\2\0\0\0\0", 8);
    big_put(frame + 4, 3);
    big_put(frame + 8, 2);
    chunk_add(&f, "fcTL", frame, sizeof frame);
    pixels_add(&f, "IDAT", small_rows, sizeof small_rows, 0);
    frame[3] = 1;
    chunk_add(&f, "fcTL", frame, sizeof frame);
    pixels_add(&f, "fdAT", other, sizeof other, 4);
    chunk_add(&f, "IEND", NULL, 0);
    save("a.png", &f);
    pixels_check(read_of("a.png"), 3, 2, small_pixels);
}

/* ---- What is no picture ---- */

static void what_is_no_picture_is_named(void **state) {
    (void)state;
    refused("none.png", "cannot open: No such file");
    assert_int_equal(mkdir("dir.png", 0777), 0);
    refused("dir.png", "cannot read: Is a directory");
    file_write("empty.png", "", 0);
    refused("empty.png", "is empty");
    file_write("text.png", "A longer text, and no picture.\n", 31);
    refused("text.png", "not a PNG picture");
    file_write("a.png", "a", 1);
    refused("a.png", "not a PNG picture");
    file_write("jpeg.png", "\xff\xd8\xff\xe0\0\20JFIF\0", 11);
    refused("jpeg.png", "not a PNG picture");
    file_write("ascii.png", "\x89PNG\n\x1a\n\0\0\0\rIHDR", 15); /* line ends were converted */
    refused("ascii.png", "not a PNG picture");
}

static void cut_anywhere_it_is_refused(void **state) {
    (void)state;
    struct file f;
    small_make(&f);
    for (size_t n = 1; n < f.n; n++) {
        file_write("cut.png", f.bytes, n);
        refused("cut.png", "it is cut short");
    }
    save("whole.png", &f);
    pixels_check(read_of("whole.png"), 3, 2, small_pixels);
}

/* In a header, pixels, a text, a checksum, a length: whatever bit is another. */
static void damaged_anywhere_it_is_refused(void **state) {
    (void)state;
    struct file f;
    small_make(&f);
    for (size_t bit = 0; bit < 8 * f.n; bit++) {
        f.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        save("a.png", &f);
        refused("a.png", bit < 64 ? "not a PNG picture" : "cannot read this picture: ");
        f.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    f.bytes[45]++;
    save("a.png", &f);
    refused("a.png", "tEXt: CRC error");
}

/* What a header promises is judged before memory is taken for it. */
static void too_large_is_refused_before_it_is_held(void **state) {
    (void)state;
    static const uint32_t sizes[][2] = {{20000, 20000},   {8001, 8000},        {8000, 8001},          {1000001, 1},
                                        {1, 1000001},     {INT32_MAX, 1},      {INT32_MAX, INT32_MAX}, {65536, 65536},
                                        {1 << 16, 977}};
    struct file f;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *says = string_format("too large (got %u x %u pixels, want at most 64000000", sizes[i][0], sizes[i][1]);
        header_add(&f, sizes[i][0], sizes[i][1], 8, PNG_COLOR_TYPE_RGB);
        pixels_add(&f, "IDAT", small_rows, sizeof small_rows, 0);
        save("a.png", &f);
        allocated = 0;
        refused("a.png", says);
        assert_int_equal(allocated, 0);
        free(says);
    }
    static const uint32_t allowed[][2] = {{8000, 8000}, {1000000, 64}, {64, 1000000}};
    for (size_t i = 0; i < 3; i++) {
        header_add(&f, allowed[i][0], allowed[i][1], 8, PNG_COLOR_TYPE_RGB);
        pixels_add(&f, "IDAT", small_rows, sizeof small_rows, 0);
        save("a.png", &f);
        refused("a.png", "Not enough image data");
    }
    header_add(&f, 0, 5, 8, PNG_COLOR_TYPE_RGB);
    save("a.png", &f);
    refused("a.png", "cannot read this picture: Invalid IHDR data");
}

/* Kilobytes that stand for hundreds of megabytes of text: not for a picture's reader. */
static void texts_are_not_unpacked(void **state) {
    (void)state;
    enum { TEXT = 7500000, TEXTS = 6, ROOM_KB = 30000 };
    static struct file f;
    unsigned char *text = array_alloc(TEXT, 1), *packed = array_alloc(TEXT, 1);
    uLongf size = TEXT - 3;
    memset(text, 'a', TEXT);
    memcpy(packed, "b\0", 3); /* a name, and how it is packed */
    assert_int_equal(compress(packed + 3, &size, text, TEXT), Z_OK);
    header_add(&f, 3, 2, 8, PNG_COLOR_TYPE_RGB);
    for (int i = 0; i < TEXTS; i++) chunk_add(&f, "zTXt", packed, size + 3);
    pixels_add(&f, "IDAT", small_rows, sizeof small_rows, 0);
    for (int i = 0; i < 2; i++) chunk_add(&f, "zTXt", packed, size + 3);
    chunk_add(&f, "IEND", NULL, 0);
    save("a.png", &f);
    free(text);
    free(packed);
    const pid_t child = fork();
    if (child == 0) {
        struct rusage before, after;
        struct picture p;
        struct error err;
        file_write("fresh", "", 0);
        getrusage(RUSAGE_SELF, &before);
        const bool ok = picture_read(&p, "a.png", &err);
        getrusage(RUSAGE_SELF, &after);
        _exit(!ok || after.ru_maxrss - before.ru_maxrss > ROOM_KB);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* ---- Writing ---- */

static void what_is_written_is_read(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {7, 3}, {2, 131}, {64, 64}};
    struct rng rng;
    struct error err;
    rng_seed(&rng, 2, 0);
    for (size_t z = 0; z < 4; z++) {
        struct picture p = {sizes[z][0], sizes[z][1], array_alloc(sizes[z][0] * sizes[z][1], 3)};
        for (size_t i = 0; i < p.width * p.height * 3; i++) p.rgb[i] = (unsigned char)rng_next(&rng);
        assert_true(picture_write("a.png", &p, &err));
        pixels_check(read_of("a.png"), p.width, p.height, p.rgb);
        free(p.rgb);
    }
    assert_int_equal(entries_count("."), 1);
}

/* The bytes of the file, and none of one that cannot be. */
static void in_memory_it_is_the_same_file(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {7, 3}, {64, 90}};
    struct rng rng;
    struct error err = {0, ""};
    char *bytes;
    size_t size, want_size;
    rng_seed(&rng, 4, 0);
    for (size_t z = 0; z < 3; z++) {
        struct picture p = {sizes[z][0], sizes[z][1], array_alloc(sizes[z][0] * sizes[z][1], 3)};
        for (size_t i = 0; i < p.width * p.height * 3; i++) p.rgb[i] = (unsigned char)rng_next(&rng);
        assert_true(picture_write("a.png", &p, &err));
        assert_true(picture_to_memory(&p, &bytes, &size, &err));
        char *want = file_read("a.png", &want_size);
        assert_int_equal(size, want_size);
        assert_memory_equal(bytes, want, size);
        free(bytes);
        free(want);
        free(p.rgb);
    }
    const struct picture none = {0, 1, (unsigned char *)"   "};
    bytes = (char *)&err;
    assert_false(picture_to_memory(&none, &bytes, &size, &err));
    assert_int_equal(err.code, EXIT_OUTPUT);
    assert_non_null(strstr(err.text, "cannot write this picture: "));
    assert_null(bytes);
}

static void write_refused(const char *path, const struct picture *p, const char *says) {
    struct error err = {0, ""};
    assert_false(picture_write(path, p, &err));
    if (err.code != EXIT_OUTPUT || strncmp(err.text, path, strlen(path)) != 0 || !strstr(err.text, says))
        fail_msg("%d: %s (want %s)", err.code, err.text, says);
}

/* What was there stays. */
static void a_failed_write_leaves_nothing(void **state) {
    (void)state;
    struct error err;
    struct rng rng;
    unsigned char white[] = {255, 255, 255};
    const struct picture one = {1, 1, white}, none = {0, 1, white};
    struct picture large = {90, 80, array_alloc(90 * 80, 3)};
    rng_seed(&rng, 3, 0);
    for (size_t i = 0; i < 90 * 80 * 3; i++) large.rgb[i] = (unsigned char)rng_next(&rng);
    assert_true(picture_write("a.png", &one, &err));
    const struct picture *all[] = {&one, &large};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(symlink("/dev/full", "a.png.tmp"), 0);
        write_refused("a.png", all[i], "cannot write: No space left");
    }
    write_refused("a.png", &none, "cannot write this picture: ");
    write_refused("nosuch/a.png", &one, "cannot create");
    assert_int_equal(entries_count("."), 1);
    pixels_check(read_of("a.png"), 1, 1, white);
    free(large.rgb);
}

/* ---- Scaling ---- */

static struct picture grey_picture(size_t width, size_t height, const unsigned char *values) {
    struct picture p = {width, height, array_alloc(width * height, 3)};
    for (size_t i = 0; i < width * height; i++) memset(p.rgb + 3 * i, values[i], 3);
    return p;
}

static void fit_check(size_t width, size_t height, const unsigned char *values, size_t size,
                      const unsigned char *want) {
    struct picture p = grey_picture(width, height, values), expected = grey_picture(size, size, want);
    picture_fit(&p, size);
    pixels_check(p, size, size, expected.rgb);
    free(expected.rgb);
}

enum { W = 255 };
#define V(...) ((const unsigned char[]){__VA_ARGS__})

static void scaling_by_hand(void **state) {
    (void)state;
    fit_check(1, 1, V(9), 3, V(9, 9, 9, 9, 9, 9, 9, 9, 9));
    fit_check(2, 2, V(10, 30, 50, 200), 1, V(73)); /* 290 / 4 = 72.5 */
    /* middles at -1/4, 1/4, 3/4, 5/4 */
    fit_check(2, 1, V(0, 100), 4, V(W, W, W, W, 0, 25, 75, 100, 0, 25, 75, 100, W, W, W, W));
    fit_check(1, 2, V(0, 100), 4, V(W, 0, 0, W, W, 25, 25, W, W, 75, 75, W, W, 100, 100, W));
    /* middles at -1/6, 1/2, 7/6 */
    fit_check(2, 2, V(10, 20, 50, 101), 3, V(10, 15, 20, 30, 45, 61, 50, 76, 101));
    /* 5 x 3 to 3 x 2: along it 3 2 | 1 3 1 | 2 3 of 5, down 2 1 | 1 2 of 3; the odd row is below */
    fit_check(5, 3, V(0, 10, 20, 30, 40, 100, 110, 120, 130, 140, 50, 50, 50, 50, 250), 3,
              V(37, 53, 69, /* (2 * 20 + 520) / 15, (2 * 100 + 600) / 15, (2 * 180 + 680) / 15 */
                68, 73, 159, /* (520 + 2 * 250) / 15, (600 + 2 * 250) / 15, (680 + 2 * 850) / 15 */
                W, W, W));
    /* a line: never thinner than a pixel */
    fit_check(1, 9, V(0, 0, 0, 90, 90, 90, 180, 180, 9), 3, V(W, 0, W, W, 90, W, W, 123, W));
    fit_check(9, 1, V(0, 0, 0, 90, 90, 90, 180, 180, 9), 4,
              V(W, W, W, W, 0, 60, 120, 104, W, W, W, W, W, W, W, W)); /* 4 4 1 | 3 4 2 | 2 4 3 | 1 4 4 of 9 */
}

static void a_picture_of_the_size_stays(void **state) {
    (void)state;
    struct picture p = {3, 3, array_alloc(9, 3)};
    unsigned char want[27], *rgb = p.rgb;
    for (int i = 0; i < 27; i++) want[i] = p.rgb[i] = (unsigned char)(i * 37);
    picture_fit(&p, 3);
    assert_ptr_equal(p.rgb, rgb);
    pixels_check(p, 3, 3, want);
}

/* How much of a source pixel goes into one of a side of `out`: an area, or 1 less the distance of the middles. */
static double share(size_t in, size_t out, size_t o, size_t i) {
    const double ratio = (double)in / (double)out;
    if (out <= in) {
        const double begin = fmax((double)i, (double)o * ratio), end = fmin((double)i + 1, (double)(o + 1) * ratio);
        return fmax(0, end - begin) / ratio;
    }
    const double middle = fmin(fmax(((double)o + 0.5) * ratio - 0.5, 0), (double)in - 1);
    return fmax(0, 1 - fabs(middle - (double)i));
}

static double mean_at(const struct picture *p, size_t width, size_t height, size_t x, size_t y, size_t c) {
    double sum = 0;
    for (size_t j = 0; j < p->height; j++)
        for (size_t i = 0; i < p->width; i++)
            sum += share(p->height, height, y, j) * share(p->width, width, x, i) * p->rgb[(j * p->width + i) * 3 + c];
    return sum;
}

static void scaling_is_its_definition(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 4, 0);
    for (int round = 0; round < 60; round++) {
        const size_t w = 1 + rng_next(&rng) % 19, h = 1 + rng_next(&rng) % 19, size = 1 + rng_next(&rng) % 21;
        const size_t longest = w > h ? w : h;
        struct picture p = {w, h, array_alloc(w * h, 3)}, got = {w, h, array_alloc(w * h, 3)};
        for (size_t i = 0; i < w * h * 3; i++) p.rgb[i] = got.rgb[i] = (unsigned char)rng_next(&rng);
        picture_fit(&got, size);
        assert_true(got.width == size && got.height == size);
        const size_t width = (size_t)fmax(1, floor((double)(w * size) / (double)longest + 0.5));
        const size_t height = (size_t)fmax(1, floor((double)(h * size) / (double)longest + 0.5));
        const size_t left = (size - width) / 2, top = (size - height) / 2;
        for (size_t i = 0; i < size * size * 3; i++) {
            const size_t x = i / 3 % size, y = i / 3 / size;
            const bool inside = x >= left && x < left + width && y >= top && y < top + height;
            const double want = inside ? mean_at(&p, width, height, x - left, y - top, i % 3) : W;
            if (fabs(got.rgb[i] - want) > 0.5 + 1e-9) /* rounded to the nearest */
                fail_msg("%zu x %zu to %zu: %zu, %zu: got %d, want %g", w, h, size, x, y, got.rgb[i], want);
        }
        free(p.rgb);
        free(got.rgb);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        HERE(every_kind_is_read_exactly),
        HERE(of_an_animation_the_first_frame),
        HERE(what_is_no_picture_is_named),
        HERE(cut_anywhere_it_is_refused),
        HERE(damaged_anywhere_it_is_refused),
        HERE(too_large_is_refused_before_it_is_held),
        HERE(texts_are_not_unpacked),
        HERE(what_is_written_is_read),
        HERE(in_memory_it_is_the_same_file),
        HERE(a_failed_write_leaves_nothing),
        cmocka_unit_test(scaling_by_hand),
        cmocka_unit_test(a_picture_of_the_size_stays),
        cmocka_unit_test(scaling_is_its_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
