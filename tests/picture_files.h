/* A folder of small pictures with captions in two languages, and texts alone. To be included after command.h. */
#ifndef PICTURE_FILES_H
#define PICTURE_FILES_H

#include "../data/pictures.h"
#include "../src/base/rng.h"
#include "command.h"

static inline void picture_save(const char *path, const unsigned char *rgb, size_t width, size_t height) {
    struct error err;
    const struct picture p = {width, height, (unsigned char *)rgb};
    if (!picture_write(path, &p, &err)) fail_msg("%s", err.text);
}

/* Noise of one of three colours; returns which. */
static inline unsigned picture_make(const char *path, size_t width, size_t height, uint64_t seed) {
    unsigned char *rgb = array_alloc(width * height, 3);
    struct rng rng;
    rng_seed(&rng, seed, 17);
    const unsigned colour = (unsigned)rng_below(&rng, 3);
    for (size_t i = 0; i < width * height * 3; i++)
        rgb[i] = (unsigned char)(rng_below(&rng, 60) + (i % 3 == colour ? 190 : 20 * (seed % 4)));
    picture_save(path, rgb, width, height);
    free(rgb);
    return colour;
}

/* n pictures of side x side pixels; all have a caption in English, every third one in German, too. */
static inline void pictures_make(const char *dir, int n, size_t side) {
    static const char *const colours[] = {"red", "green", "blue"}, *const farben[] = {"rot", "gruen", "blau"};
    struct error err;
    char *path = string_format("%s/captions.tsv", dir);
    if (!directory_make(dir, &err)) fail_msg("%s", err.text);
    FILE *captions = fopen(path, "w");
    assert_non_null(captions);
    free(path);
    for (int i = 0; i < n; i++) {
        path = string_format("%s/%d.png", dir, i);
        const unsigned colour = picture_make(path, side, side, (uint64_t)i);
        fprintf(captions, "%d.png\ta %s square number %d\ten\n", i, colours[colour], i);
        if (i % 3 == 0) fprintf(captions, "%d.png\tein Quadrat in %s\tde\n", i, farben[colour]);
        free(path);
    }
    assert_int_equal(fclose(captions), 0);
}

/* n lines, each a text alone. */
static inline void texts_make(const char *path, int n) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < n; i++) fprintf(file, "the square %d is number %d in a line\n", i * 7 % 41, i);
    assert_int_equal(fclose(file), 0);
}

#endif
