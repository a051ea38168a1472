/* See sheet.h. */
#include "sheet.h"

#include <stdlib.h>
#include <string.h>
#include "album.h"
#include "codebook.h"
#include "pictures.h"

enum { ACROSS = 8, GAP = 6, NARROW_GAP = 2, BACKGROUND = 200, SHEET_PIXELS = 16 << 20, CACHE_BYTES = 4 << 20 };

/* The numbers of the records that have pictures. malloc'ed. */
static bool pictures_find(struct album *a, size_t **found, size_t *n, struct error *err) {
    struct album_record record;
    *found = array_alloc(album_records(a), sizeof **found);
    *n = 0;
    for (size_t i = 0; i < album_records(a); i++) {
        if (!album_read(a, i, &record, err)) return false;
        if (record.pixels) (*found)[(*n)++] = i;
    }
    return true;
}

/* A picture with its upper left corner at x, y. */
static void picture_put(struct picture *sheet, const unsigned char *rgb, size_t size, size_t x, size_t y) {
    for (size_t row = 0; row < size; row++)
        memcpy(sheet->rgb + 3 * ((y + row) * sheet->width + x), rgb + 3 * row * size, 3 * size);
}

/* `shown` (n): numbers of records. */
static bool sheet_paint(struct picture *sheet, struct album *a, const struct codebook *c, const size_t *shown, size_t n,
                        struct error *err) {
    const size_t size = album_size(a), across = n < ACROSS ? n : ACROSS, down = (n + across - 1) / across;
    const size_t step = 2 * size + NARROW_GAP + GAP;
    unsigned char *painted = array_alloc(size * size, 3);
    struct album_record record;
    bool ok = true;
    sheet->width = GAP + across * (size + GAP);
    sheet->height = GAP + down * step;
    sheet->rgb = array_alloc(sheet->width * sheet->height, 3);
    memset(sheet->rgb, BACKGROUND, sheet->width * sheet->height * 3);
    for (size_t i = 0; ok && i < n; i++) {
        const size_t x = GAP + i % across * (size + GAP), y = GAP + i / across * step;
        if (!(ok = album_read(a, shown[i], &record, err))) break;
        codes_paint(painted, c, record.codes, size, album_patch(a));
        picture_put(sheet, record.pixels, size, x, y);
        picture_put(sheet, painted, size, x, y + size + NARROW_GAP);
    }
    free(painted);
    return ok;
}

static bool album_sheet(const char *path, struct album *a, const struct codebook *c, size_t most, struct error *err) {
    const size_t pair = 2 * album_size(a) * album_size(a), room = SHEET_PIXELS / pair > 0 ? SHEET_PIXELS / pair : 1;
    size_t *found, n;
    struct picture sheet = {0};
    bool ok = pictures_find(a, &found, &n, err);
    if (most > room) most = room;
    const size_t shown = n < most ? n : most;
    for (size_t i = 0; ok && i < shown; i++) found[i] = found[i * n / shown]; /* never before i */
    if (shown > 0) ok = ok && sheet_paint(&sheet, a, c, found, shown, err) && picture_write(path, &sheet, err);
    free(found);
    free(sheet.rgb);
    return ok;
}

bool sheet_write(const char *path, const char *dir, const struct codebook *c, size_t most, struct error *err) {
    struct album *a = album_open(dir, "val", CACHE_BYTES, err);
    bool ok = a != NULL;
    if (ok && album_size(a) > 0 && album_codebook_hash(a) != codebook_hash(c))
        ok = error_set(err, EXIT_MISMATCH, "%s: val.album was made with another codebook; delete this directory and "
                       "name the corpus again", dir);
    if (ok && album_size(a) > 0) ok = album_sheet(path, a, c, most, err);
    if (a) album_close(a);
    return ok;
}
