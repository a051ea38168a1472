/* Masks: exactly as many as were asked for, in blocks as large, as flat and as even over the picture as they should be;
 * tokens of which any choice is as probable as another; rectangles. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../data/mask.h"
#include "guarded.h"

enum { MOST = 16 * 16, SIGMAS = 5 };

/* Too large by chance once in two million times. */
static void near_expected(double got, double expected, double variance) {
    if (fabs(got - expected) > SIGMAS * sqrt(variance))
        fail_msg("got %g, want %g +- %g", got, expected, SIGMAS * sqrt(variance));
}

static struct rng rng_of(uint64_t seed) {
    struct rng rng;
    rng_seed(&rng, seed, 77);
    return rng;
}

static size_t hidden_count(const bool *hidden, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += hidden[i];
    return count;
}

/* ---- How many ---- */

static void shares_are_rounded(void **state) {
    (void)state;
    static const struct { size_t n; double share; size_t count; } cases[] = {
        {64, 0.4, 26}, {196, 0.4, 78}, {1, 0.4, 1}, {2, 0.15, 1}, {5, 0.5, 3}, {9, 0.5, 5}, {10, 0.15, 2}, {9, 0.15, 1},
        {11, 0.15, 2}, {7, 1, 7}, {1, 1, 1}, {1000, 1e-9, 1}, {1000, 0.0014, 1}, {1000, 0.0016, 2}, {0, 0.5, 0},
        {0, 1, 0}, {100000, 0.99999, 99999}, {3, 0.999, 3}, {1000001, 1, 1000001}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(mask_count(cases[i].n, cases[i].share), cases[i].count);
}

static const double shares[] = {1e-9, 0.02, 0.15, 0.33, 0.4, 0.5, 0.77, 0.99, 1};
enum { SHARES = sizeof shares / sizeof *shares };

/* Into memory that holds something else, and ends there. */
static void patches_counted(size_t side, double share, uint64_t seed) {
    const size_t P = side * side;
    struct rng rng = rng_of(seed);
    bool *hidden = guarded_alloc(P);
    mask_blocks(hidden, side, share, &rng);
    assert_int_equal(hidden_count(hidden, P), mask_count(P, share));
    guarded_free(hidden, P);
}

static void exactly_as_many_patches(void **state) {
    (void)state;
    for (size_t side = 1; side < 18; side++)
        for (int s = 0; s < SHARES; s++)
            for (uint64_t seed = 0; seed < 30; seed++) patches_counted(side, shares[s], seed);
    for (int s = 0; s < SHARES; s++) patches_counted(61, shares[s], 1);
}

/* A block takes seven numbers: area, shape, the patch it covers, two of its place, two of its corner. */
static void no_block_is_in_vain(void **state) {
    (void)state;
    static bool hidden[MOST];
    for (size_t side = 1; side <= 16; side++)
        for (int s = 0; s < SHARES; s++)
            for (uint64_t seed = 0; seed < 20; seed++) {
                struct rng rng = rng_of(seed), before = rng;
                mask_blocks(hidden, side, shares[s], &rng);
                size_t draws = 0;
                for (; memcmp(&before, &rng, sizeof rng) != 0; draws++) {
                    assert_true(draws < 7 * mask_count(side * side, shares[s]));
                    rng_next(&before);
                }
                assert_int_equal(draws % 7, 0);
            }
}

static void exactly_as_many_tokens(void **state) {
    (void)state;
    for (size_t n = 0; n < 60; n++)
        for (int s = 0; s < SHARES; s++)
            for (uint64_t seed = 0; seed < 10; seed++) {
                struct rng rng = rng_of(seed);
                bool *hidden = guarded_alloc(n);
                mask_choose(hidden, n, shares[s], &rng);
                assert_int_equal(hidden_count(hidden, n), mask_count(n, shares[s]));
                guarded_free(hidden, n);
            }
}

/* ---- The same from the same generator, and what follows goes on from there ---- */

static void masks_take(bool *hidden /* (2, MOST) */, uint64_t seed) {
    struct rng rng = rng_of(seed);
    memset(hidden, 0, 2 * MOST);
    mask_blocks(hidden, 9, 0.4, &rng);
    mask_choose(hidden + 81, 50, 0.3, &rng);
    mask_blocks(hidden + MOST, 9, 0.4, &rng);
    mask_choose(hidden + MOST + 81, 50, 0.3, &rng);
}

static void the_generator_decides(void **state) {
    (void)state;
    static bool a[2 * MOST], b[2 * MOST];
    for (uint64_t seed = 0; seed < 50; seed++) {
        masks_take(a, seed);
        masks_take(b, seed);
        assert_memory_equal(a, b, sizeof a);
        assert_memory_not_equal(a, a + MOST, 81);
        assert_memory_not_equal(a + 81, a + MOST + 81, 50);
        masks_take(b, seed + 1);
        assert_memory_not_equal(a, b, 81);
        assert_memory_not_equal(a + 81, b + 81, 50);
    }
}

/* ---- Blocks ---- */

/* The rows and columns that hold something hidden. */
struct box {
    size_t top, bottom, left, right;
};

static struct box box_of(const bool *hidden, size_t side) {
    struct box b = {.top = side, .left = side};
    for (size_t p = 0; p < side * side; p++) {
        if (!hidden[p]) continue;
        const size_t y = p / side, x = p % side;
        if (y < b.top) b.top = y;
        if (y > b.bottom) b.bottom = y;
        if (x < b.left) b.left = x;
        if (x > b.right) b.right = x;
    }
    return b;
}

/* 8 patches of 14 x 14 are cut from the smallest block, of 16 patches. ln(width) is uniform between ln(4 sqrt(0.3)) and
 * ln(4 / sqrt(0.3)), so widths 2 to 7 have known probabilities. What is left are whole rows from one corner on. */
static void the_smallest_block_is_cut(void **state) {
    (void)state;
    enum { SIDE = 14, COUNT = 8, MASKS = 8000 };
    static bool hidden[SIDE * SIDE];
    size_t widths[SIDE + 1] = {0}, partial = 0, corners[4] = {0};
    struct rng rng = rng_of(1);
    for (int i = 0; i < MASKS; i++) {
        mask_blocks(hidden, SIDE, (double)COUNT / (SIDE * SIDE), &rng);
        const struct box b = box_of(hidden, SIDE);
        const size_t width = b.right - b.left + 1, height = b.bottom - b.top + 1, rest = COUNT % width;
        widths[width]++;
        assert_int_equal(height, (COUNT + width - 1) / width);
        if (rest == 0) continue;
        const bool bottom = hidden_count(hidden + b.bottom * SIDE, SIDE) == rest;
        const bool *row = hidden + (bottom ? b.bottom : b.top) * SIDE;
        assert_int_equal(hidden_count(row, SIDE), rest);
        const size_t from = row[b.left] ? b.left : b.right + 1 - rest;
        assert_int_equal(hidden_count(row + from, rest), rest);
        partial++;
        corners[2 * bottom + !row[b.left]]++;
    }
    const double middle = log(4), reach = -log(0.3) / 2;
    for (size_t w = 1; w <= SIDE; w++) {
        const double low = fmax(middle - reach, log((double)w - 0.5));
        const double high = fmin(middle + reach, log((double)w + 0.5));
        const double p = fmax(0, high - low) / (2 * reach);
        near_expected((double)widths[w], p * MASKS, p * (1 - p) * MASKS);
    }
    for (int c = 0; c < 4; c++) near_expected((double)corners[c], (double)partial / 4, (double)partial * 3 / 16);
}

/* Algorithm 1 as it is printed: blocks anywhere, until there are as many or more. */
static void beit_mask(bool *hidden, size_t side, double share, struct rng *rng) {
    const double N = (double)(side * side), least = 16.0 / 196 * N;
    memset(hidden, 0, side * side);
    for (size_t n = 0; (double)n < share * N; n = hidden_count(hidden, side * side)) {
        const double area = least + rng_uniform(rng) * fmax(0, share * N - (double)n - least);
        const double aspect = exp((2 * rng_uniform(rng) - 1) * log(0.3));
        const size_t a = (size_t)fmin((double)side, fmax(1, round(sqrt(area * aspect))));
        const size_t b = (size_t)fmin((double)side, fmax(1, round(sqrt(area / aspect))));
        const size_t t = (size_t)(rng_uniform(rng) * (double)(side - a + 1));
        const size_t l = (size_t)(rng_uniform(rng) * (double)(side - b + 1));
        for (size_t p = 0; p < a * b; p++) hidden[(t + p / b) * side + l + p % b] = true;
    }
}

/* Of the neighbours (left, right, above, below) of what is hidden, the share that is hidden, too. */
static double neighbours_hidden(const bool *hidden, size_t side) {
    size_t pairs = 0, both = 0;
    for (size_t p = 0; p < side * side; p++) {
        if (!hidden[p]) continue;
        const size_t y = p / side, x = p % side;
        pairs += (y > 0) + (y + 1 < side) + (x > 0) + (x + 1 < side);
        both += (y > 0 && hidden[p - side]) + (y + 1 < side && hidden[p + side]) + (x > 0 && hidden[p - 1]) +
                (x + 1 < side && hidden[p + 1]);
    }
    return (double)both / (double)pairs;
}

typedef void masker(bool *hidden, size_t side, double share, struct rng *rng);

static void uniform_mask(bool *hidden, size_t side, double share, struct rng *rng) {
    mask_choose(hidden, side * side, share, rng);
}

static double neighbours_mean(masker *mask, size_t side, double share) {
    enum { MASKS = 2000 };
    static bool hidden[MOST];
    struct rng rng = rng_of(3);
    double sum = 0;
    for (int i = 0; i < MASKS; i++) {
        mask(hidden, side, share, &rng);
        sum += neighbours_hidden(hidden, side) / MASKS;
    }
    return sum;
}

/* Above what uniform choice has. Ours are cut, and lie in corners, so that it is a little less. */
static void as_blocky_as_beit(void **state) {
    (void)state;
    static const size_t sides[] = {8, 14, 16};
    static const double hide[] = {0.2, 0.4, 0.6};
    for (int s = 0; s < 3; s++)
        for (int h = 0; h < 3; h++) {
            const double uniform = neighbours_mean(uniform_mask, sides[s], hide[h]);
            const double beit = neighbours_mean(beit_mask, sides[s], hide[h]) - uniform;
            const double ours = neighbours_mean(mask_blocks, sides[s], hide[h]) - uniform;
            if (ours < 0.93 * beit || ours > beit)
                fail_msg("side %zu, %g hidden: %g above uniform, BEiT %g", sides[s], hide[h], ours, beit);
        }
}

/* ---- Where ---- */

enum { FREQUENCY_MASKS = 20000 };

/* In how many masks each patch is hidden. */
static void patches_frequency(masker *mask, double *often /* (side, side) */, size_t side) {
    static bool hidden[MOST];
    struct rng rng = rng_of(4);
    memset(often, 0, side * side * sizeof *often);
    for (int i = 0; i < FREQUENCY_MASKS; i++) {
        mask(hidden, side, 0.4, &rng);
        for (size_t p = 0; p < side * side; p++) often[p] += hidden[p];
    }
}

static double lowest(const double *x, size_t n) {
    double low = x[0];
    for (size_t i = 1; i < n; i++) low = fmin(low, x[i]);
    return low;
}

static double highest(const double *x, size_t n) {
    double high = x[0];
    for (size_t i = 1; i < n; i++) high = fmax(high, x[i]);
    return high;
}

/* Corners are reached by fewer blocks than the middle, but by more than in BEiT. */
static void every_patch_is_hidden(void **state) {
    (void)state;
    static double ours[MOST], beit[MOST];
    for (size_t side = 8; side <= 14; side += 3) {
        const size_t P = side * side;
        patches_frequency(mask_blocks, ours, side);
        patches_frequency(beit_mask, beit, side);
        const double mean = 0.4 * FREQUENCY_MASKS;
        assert_true(highest(ours, P) < 1.5 * mean);
        assert_true(highest(ours, P) < highest(beit, P));
        assert_true(lowest(ours, P) > 0.2 * mean);
        assert_true(lowest(ours, P) > 1.3 * lowest(beit, P));
    }
}

/* Left and right, and above and below. */
static void no_side_is_favoured(void **state) {
    (void)state;
    static double often[MOST];
    for (size_t side = 1; side <= 9; side += 2) {
        patches_frequency(mask_blocks, often, side);
        for (size_t p = 0; p < side * side; p++) {
            const size_t y = p / side, x = p % side;
            const double variance = 2 * often[p] * (1 - often[p] / FREQUENCY_MASKS);
            near_expected(often[p], often[y * side + side - 1 - x], variance);
            near_expected(often[p], often[(side - 1 - y) * side + x], variance);
        }
    }
}

/* Of 6 tokens 2 are hidden: 15 pairs. */
static void any_choice_of_tokens(void **state) {
    (void)state;
    enum { N = 6, CHOICES = 30000 };
    double often[N][N] = {{0}};
    struct rng rng = rng_of(5);
    for (int i = 0; i < CHOICES; i++) {
        bool hidden[N];
        mask_choose(hidden, N, 0.333, &rng);
        size_t found[N], n = 0;
        for (size_t t = 0; t < N; t++)
            if (hidden[t]) found[n++] = t;
        assert_int_equal(n, 2);
        often[found[0]][found[1]]++;
    }
    for (int a = 0; a < N; a++)
        for (int b = a + 1; b < N; b++) near_expected(often[a][b], CHOICES / 15.0, CHOICES / 15.0 * 14 / 15);
}

/* ---- Rectangles ---- */

/* Whether patch (i, j) and the rectangle have a pixel in common. */
static bool touches(const struct rectangle *r, size_t i, size_t j, size_t patch) {
    for (size_t y = i * patch; y < (i + 1) * patch; y++)
        for (size_t x = j * patch; x < (j + 1) * patch; x++)
            if (y >= r->y && y < r->y + r->height && x >= r->x && x < r->x + r->width) return true;
    return false;
}

/* One that lies in the picture is hidden beside what was hidden before; another one changes nothing. */
static void rectangle_check(const struct rectangle *r, size_t size, size_t patch) {
    struct error err = {0};
    const size_t side = size / patch, P = side * side;
    bool *hidden = guarded_alloc(P);
    for (size_t p = 0; p < P; p++) hidden[p] = p % 5 == 2;
    const bool within = r->width > 0 && r->height > 0 && r->x + r->width <= size && r->y + r->height <= size;
    assert_int_equal(mask_rectangle(hidden, size, patch, r, &err), within);
    assert_int_equal(err.code, within ? 0 : EXIT_USAGE);
    for (size_t p = 0; p < P; p++)
        assert_int_equal(hidden[p], p % 5 == 2 || (within && touches(r, p / side, p % side, patch)));
    guarded_free(hidden, P);
}

static void rectangles_hide_what_they_touch(void **state) {
    (void)state;
    static const size_t patches[] = {1, 2, 3, 6};
    enum { SIZE = 6 };
    for (int k = 0; k < 4; k++)
        for (size_t x = 0; x <= SIZE; x++)
            for (size_t y = 0; y <= SIZE; y++)
                for (size_t w = 0; w <= SIZE + 1; w++)
                    for (size_t h = 0; h <= SIZE + 1; h++)
                        rectangle_check(&(struct rectangle){x, y, w, h}, SIZE, patches[k]);
    rectangle_check(&(struct rectangle){3, 9, 18, 11}, 21, 7);
}

static void rectangles_beyond_every_picture(void **state) {
    (void)state;
    bool hidden[4] = {false};
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            size_t numbers[4] = {1, 1, 1, 1};
            numbers[j] = SIZE_MAX - 1;
            numbers[i] = SIZE_MAX;
            struct error err;
            const struct rectangle r = {numbers[0], numbers[1], numbers[2], numbers[3]};
            assert_false(mask_rectangle(hidden, 8, 4, &r, &err));
            assert_int_equal(hidden_count(hidden, 4), 0);
        }
}

static void a_rectangle_outside_is_named(void **state) {
    (void)state;
    struct error err;
    bool hidden[4];
    assert_false(mask_rectangle(hidden, 32, 16, &(struct rectangle){10, 20, 5, 13}, &err));
    assert_non_null(strstr(err.text, "10,20,5,13"));
    assert_non_null(strstr(err.text, "32 x 32"));
}

static void rectangles_are_read(void **state) {
    (void)state;
    struct error err;
    struct rectangle r;
    assert_true(rectangle_read(&r, "0,16,32,8", &err));
    assert_true(r.x == 0 && r.y == 16 && r.width == 32 && r.height == 8);
    assert_true(rectangle_read(&r, "98,76,54,90", &err));
    assert_true(r.x == 98 && r.y == 76 && r.width == 54 && r.height == 90);
    assert_true(rectangle_read(&r, "007,1,0,18446744073709551615", &err));
    assert_true(r.x == 7 && r.y == 1 && r.width == 0 && r.height == SIZE_MAX);
    static const char *const bad[] = {
        "", "1", "1,2", "1,2,3", "1,2,3,", "1,2,3,4,", "1,2,3,4,5", "1,2,3,4 ", " 1,2,3,4", "1, 2,3,4", "1;2;3;4",
        "-1,2,3,4", "1,2,3,-4", "1,+2,3,4", "1,2,,4", ",1,2,3", "a,b,c,d", "1,2,3,4x", "1.5,2,3,4", "0x1,2,3,4",
        "1,2,3.4"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err = (struct error){0};
        if (rectangle_read(&r, bad[i], &err)) fail_msg("'%s' was read", bad[i]);
        assert_int_equal(err.code, EXIT_USAGE);
        char *named = string_format("'%s'", bad[i]);
        assert_non_null(strstr(err.text, named));
        assert_non_null(strstr(err.text, "X,Y,WIDTH,HEIGHT"));
        free(named);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_rounded),
        cmocka_unit_test(exactly_as_many_patches),
        cmocka_unit_test(no_block_is_in_vain),
        cmocka_unit_test(exactly_as_many_tokens),
        cmocka_unit_test(the_generator_decides),
        cmocka_unit_test(the_smallest_block_is_cut),
        cmocka_unit_test(as_blocky_as_beit),
        cmocka_unit_test(every_patch_is_hidden),
        cmocka_unit_test(no_side_is_favoured),
        cmocka_unit_test(any_choice_of_tokens),
        cmocka_unit_test(rectangles_hide_what_they_touch),
        cmocka_unit_test(rectangles_beyond_every_picture),
        cmocka_unit_test(a_rectangle_outside_is_named),
        cmocka_unit_test(rectangles_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
