/* Masks: see mask.h for what is hidden.
 *
 * Algorithm 1 of BEiT lays blocks anywhere, where they may add nothing, and seldom into corners. Here each is laid so
 * that it covers a patch that is still shown, any of them alike: none is in vain, so there are at most as many blocks
 * as patches to hide. Next: examples.c. */
#include "mask.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* BEiT's: its smallest block is of 16 patches out of 14 x 14, its flattest 0.3 times as high as wide. */
static const double AREA_LEAST = 16.0 / 196, ASPECT_LEAST = 0.3;

size_t mask_count(size_t n, double share) {
    const size_t count = (size_t)llround(share * (double)n);
    return count > 0 || n == 0 ? count : 1;
}

static double draw_between(struct rng *rng, double low, double high) {
    return low + rng_uniform(rng) * (high - low);
}

/* ---- Blocks ---- */

struct block {
    size_t top, left, height, width;
};

/* Where in the picture the n-th patch that is shown lies. */
static size_t patch_shown(const bool *hidden, size_t n) {
    size_t p = 0;
    for (; hidden[p] || n > 0; p++) n -= !hidden[p];
    return p;
}

static size_t length_round(double length, size_t side) {
    return length < 1 ? 1 : length > (double)side ? side : (size_t)lround(length);
}

/* The first of `length` patches out of `side`, any that lets them cover `at` alike. */
static size_t start_draw(struct rng *rng, size_t at, size_t length, size_t side) {
    const size_t first = at + 1 > length ? at + 1 - length : 0, last = at < side - length ? at : side - length;
    return first + rng_below(rng, last - first + 1);
}

static struct block block_draw(struct rng *rng, size_t side, size_t missing) {
    const double least = AREA_LEAST * (double)(side * side);
    const double area = draw_between(rng, least, fmax(least, (double)missing));
    const double aspect = exp(draw_between(rng, log(ASPECT_LEAST), -log(ASPECT_LEAST)));
    return (struct block){.height = length_round(sqrt(area * aspect), side),
                          .width = length_round(sqrt(area / aspect), side)};
}

/* Hides what the block covers, at most `missing` patches; returns how many. It begins at any of its corners, so that
 * what the last block is cut to does not favour one. */
static size_t block_hide(bool *hidden, size_t side, const struct block *b, size_t missing, struct rng *rng) {
    const bool up = rng_below(rng, 2), back = rng_below(rng, 2);
    size_t n = 0;
    for (size_t i = 0; i < b->height; i++) {
        bool *row = hidden + (b->top + (up ? b->height - 1 - i : i)) * side + b->left;
        for (size_t j = 0; j < b->width && n < missing; j++) {
            bool *patch = row + (back ? b->width - 1 - j : j);
            n += !*patch;
            *patch = true;
        }
    }
    return n;
}

void mask_blocks(bool *hidden, size_t side, double share, struct rng *rng) {
    const size_t P = side * side, count = mask_count(P, share);
    memset(hidden, 0, P * sizeof *hidden);
    for (size_t n = 0; n < count;) {
        struct block b = block_draw(rng, side, count - n);
        const size_t at = patch_shown(hidden, rng_below(rng, P - n));
        b.top = start_draw(rng, at / side, b.height, side);
        b.left = start_draw(rng, at % side, b.width, side);
        n += block_hide(hidden, side, &b, count - n, rng);
    }
}

/* ---- Tokens ---- */

/* Of those left, each is hidden with the share of them that is still missing (Knuth, volume 2, 3.4.2, algorithm S). */
void mask_choose(bool *hidden, size_t n, double share, struct rng *rng) {
    size_t missing = mask_count(n, share);
    for (size_t i = 0; i < n; i++) {
        hidden[i] = rng_below(rng, n - i) < missing;
        missing -= hidden[i];
    }
}

double mask_spread(double share, struct rng *rng) {
    const double reach = fmin(share, 1 - share);
    return draw_between(rng, share - reach, share + reach);
}

/* ---- Rectangles ---- */

bool rectangle_read(struct rectangle *r, const char *text, struct error *err) {
    size_t *const numbers[] = {&r->x, &r->y, &r->width, &r->height};
    const char *at = text;
    for (int i = 0; i < 4; i++) {
        char *end;
        const bool digit = *at >= '0' && *at <= '9';
        *numbers[i] = strtoull(at, &end, 10);
        if (!digit || *end != (i < 3 ? ',' : '\0'))
            return error_set(err, EXIT_USAGE, "'%s' is no rectangle (want X,Y,WIDTH,HEIGHT in pixels, as in 0,16,32,8)",
                             text);
        at = end + 1;
    }
    return true;
}

static bool is_within(size_t start, size_t length, size_t size) {
    return length > 0 && start < size && length <= size - start;
}

bool mask_rectangle(bool *hidden, size_t size, size_t patch, const struct rectangle *r, struct error *err) {
    if (!is_within(r->x, r->width, size) || !is_within(r->y, r->height, size))
        return error_set(err, EXIT_USAGE, "rectangle %zu,%zu,%zu,%zu is not within the picture (want at least 1 x 1 of "
                         "its %zu x %zu pixels)", r->x, r->y, r->width, r->height, size, size);
    const size_t side = size / patch;
    for (size_t i = r->y / patch; i <= (r->y + r->height - 1) / patch; i++)
        for (size_t j = r->x / patch; j <= (r->x + r->width - 1) / patch; j++) hidden[i * side + j] = true;
    return true;
}
