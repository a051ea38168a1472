/* Visual tokens: k-means against a plain loop, planted clusters, the same bits for any number of threads, PSNR by hand,
 * patches in and out of pictures, the file. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <omp.h>
#include "../data/codebook.h"
#include "data_files.h"
#include "random_numbers.h"

static struct codebook trained(const real *patches, size_t n, size_t codes, size_t Q, uint64_t seed) {
    const struct codebook_options o = {codes, Q, seed, false};
    struct codebook c;
    struct error err;
    if (!codebook_train(&c, patches, n, &o, &err)) fail_msg("%s", err.text);
    assert_int_equal(c.codes, codes);
    assert_int_equal(c.Q, Q);
    return c;
}

static double far(const real *a, const real *b, size_t Q) {
    double sum = 0;
    for (size_t q = 0; q < Q; q++) sum += ((double)a[q] - (double)b[q]) * ((double)a[q] - (double)b[q]);
    return sum;
}

static size_t nearest(const struct codebook *c, const real *x) {
    size_t best = 0;
    for (size_t k = 1; k < c->codes; k++)
        if (far(x, c->entries + k * c->Q, c->Q) < far(x, c->entries + best * c->Q, c->Q)) best = k;
    return best;
}

static double distortion(const struct codebook *c, const real *patches, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        const real *x = patches + i * c->Q;
        sum += far(x, c->entries + nearest(c, x) * c->Q, c->Q);
    }
    return sum;
}

/* ---- Codes ---- */

/* At sizes that no block or vector divides; ties are not to be expected. */
static void codes_are_the_nearest_entries(void **state) {
    (void)state;
    static const struct {
        size_t n, codes, Q;
    } sizes[] = {{1, 1, 3}, {5, 2, 3}, {301, 37, 27}, {129, 70, 12}, {0, 3, 12}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const size_t n = sizes[s].n, Q = sizes[s].Q;
        real *x = random_numbers(n * Q, s), *entries = random_numbers(sizes[s].codes * Q, 99 + s);
        int32_t *codes = array_alloc(n + 1, sizeof *codes);
        const struct codebook c = {sizes[s].codes, Q, entries};
        codes[n] = 77;
        codebook_assign(&c, x, n, codes);
        for (size_t i = 0; i < n; i++) assert_int_equal(codes[i], nearest(&c, x + i * Q));
        assert_int_equal(codes[n], 77);
        free(x);
        free(entries);
        free(codes);
    }
}

/* Entries of very different lengths: not the largest product is wanted. */
static void long_entries_are_not_nearer(void **state) {
    (void)state;
    real entries[] = {1, 1, 1, 10, 10, 10, -3, 0, 0}, x[] = {2, 2, 2, 6, 6, 6, -1, 0, 0, -2, 0, 0};
    const struct codebook c = {3, 3, entries};
    int32_t codes[4];
    codebook_assign(&c, x, 4, codes);
    for (size_t i = 0; i < 4; i++) assert_int_equal(codes[i], nearest(&c, x + 3 * i));
    assert_int_equal(codes[0], 0);
    assert_int_equal(codes[1], 1);
    assert_int_equal(codes[3], 2);
}

/* ---- Training ---- */

/* n patches around `centres` corners of a cube, each with a little noise, cluster i % centres. */
static real *planted(size_t n, size_t centres, size_t Q, double noise) {
    real *x = random_numbers(n * Q, 5);
    for (size_t i = 0; i < n; i++)
        for (size_t q = 0; q < Q; q++)
            x[i * Q + q] = (real)((i % centres >> q % 10 & 1 ? 1.0 : -1.0) + noise * (double)x[i * Q + q]);
    return x;
}

static void planted_clusters_are_found(void **state) {
    (void)state;
    enum { CENTRES = 23, N = 1001, Q = 12 };
    real *x = planted(N, CENTRES, Q, 0.002);
    for (uint64_t seed = 1; seed < 4; seed++) {
        struct codebook c = trained(x, N, CENTRES, Q, seed);
        int32_t codes[N];
        codebook_assign(&c, x, N, codes);
        for (size_t i = 0; i < N; i++)
            for (size_t j = 0; j < i; j++) assert_int_equal(codes[i] == codes[j], i % CENTRES == j % CENTRES);
        for (size_t i = 0; i < CENTRES; i++) { /* an entry is the mean of its cluster */
            double mean = 0, many = 0;
            for (size_t j = i; j < N; j += CENTRES, many++) mean += (double)x[j * Q + 1];
            assert_true(fabs(mean / many - (double)c.entries[(size_t)codes[i] * Q + 1]) < 1e-5);
        }
        codebook_free(&c);
    }
    free(x);
}

/* Plain k-means goes on from what was found and finds next to nothing to mend: each entry is the mean of the patches
 * that are nearest to it, in proportion to how many are equal. From a random start it does no better. */
static void plain_k_means_finds_no_better(void **state) {
    (void)state;
    enum { N = 777, CODES = 19, Q = 5, ROUNDS = 100 };
    real *x = random_numbers(N * Q, 11), *start = array_alloc(CODES * Q, sizeof *start);
    for (size_t i = 0; i < N; i++) /* of the first patch there are many copies */
        if (i % 3 == 1) memcpy(x + i * Q, x, Q * sizeof *x);
    struct codebook c = trained(x, N, CODES, Q, 3), plain[2] = {{CODES, Q, start}, {CODES, Q, NULL}};
    const double found = distortion(&c, x, N);
    memcpy(start, c.entries, CODES * Q * sizeof *start);
    plain[1].entries = array_alloc(CODES * Q, sizeof *start);
    memcpy(plain[1].entries, x, CODES * Q * sizeof *start);
    for (int from = 0; from < 2; from++) {
        for (int round = 0; round < ROUNDS; round++) {
            double sums[CODES][Q] = {{0}}, many[CODES] = {0};
            for (size_t i = 0; i < N; i++) {
                const size_t k = nearest(&plain[from], x + i * Q);
                many[k]++;
                for (size_t q = 0; q < Q; q++) sums[k][q] += (double)x[i * Q + q];
            }
            real *entry = plain[from].entries;
            for (size_t k = 0; k < CODES; k++, entry += Q)
                for (size_t q = 0; q < Q && many[k] > 0; q++) entry[q] = (real)(sums[k][q] / many[k]);
            /* One round of it: what is left to gain in one is less than a thousandth. */
            if (from == 0 && round == 0) assert_true(distortion(&plain[0], x, N) > found * 0.999);
        }
    }
    assert_true(found < distortion(&plain[0], x, N) * 1.02);
    assert_true(found < distortion(&plain[1], x, N) * 1.02);
    free(plain[1].entries);
    free(start);
    free(x);
    codebook_free(&c);
}

/* Two groups far apart, and one of them holds nearly all weight: without weights its entry would lie elsewhere. */
static void equal_patches_count_as_often_as_they_are(void **state) {
    (void)state;
    enum { N = 100, Q = 3 };
    real x[N * Q];
    for (size_t i = 0; i < N; i++)
        for (size_t q = 0; q < Q; q++) x[i * Q + q] = (real)(i < 90 ? 1 : i < 98 ? 0.5 : i == 98 ? -1 : -0.75);
    struct codebook c = trained(x, N, 2, Q, 1);
    const size_t high = c.entries[0] > 0 ? 0 : 1;
    for (size_t q = 0; q < Q; q++) {
        assert_true(fabs((double)c.entries[high * Q + q] - (90 + 8 * 0.5) / 98) < 1e-6);
        assert_true(fabs((double)c.entries[(1 - high) * Q + q] + 0.875) < 1e-6);
    }
    codebook_free(&c);
}

/* As many different patches as codes, whatever there is of each: each is a code; with one code more there are too few,
 * and the message says how many there are. No entry is without patches. */
static void every_code_is_used(void **state) {
    (void)state;
    enum { DIFFERENT = 41, N = 500, Q = 12 };
    struct error err;
    real *some = random_numbers(DIFFERENT * Q, 8), *x = array_alloc(N * Q, sizeof *x);
    for (size_t i = 0; i < N; i++) memcpy(x + i * Q, some + i * i % DIFFERENT % 30 * Q, Q * sizeof *x);
    for (size_t i = 0; i < DIFFERENT; i++) memcpy(x + 7 * i * Q, some + i * Q, Q * sizeof *x);
    for (size_t codes = 1; codes <= DIFFERENT; codes += 8) {
        struct codebook c = trained(x, N, codes, Q, 2);
        int32_t code[N];
        size_t used[DIFFERENT] = {0}, all = 0;
        codebook_assign(&c, x, N, code);
        for (size_t i = 0; i < N; i++) all += used[code[i]]++ == 0;
        assert_int_equal(all, codes);
        if (codes == DIFFERENT) assert_true(distortion(&c, x, N) < 1e-9);
        codebook_free(&c);
    }
    struct codebook none;
    assert_false(codebook_train(&none, x, N, &(struct codebook_options){DIFFERENT + 1, Q, 2, false}, &err));
    assert_int_equal(err.code, EXIT_USAGE);
    if (!strstr(err.text, "(got 41, want at least 42)")) fail_msg("%s", err.text);
    assert_null(none.entries);
    free(some);
    free(x);
}

/* From a start in which one entry is far from everything, or many, or all but one are the same: each cluster comes to
 * have one, the farthest first. Clusters stand in a row, farther and farther apart. */
static void entries_without_patches_move(void **state) {
    (void)state;
    enum { CENTRES = 7, EACH = 30, N = CENTRES * EACH, Q = 3 };
    real *x = random_numbers(N * Q, 12), entries[CENTRES * Q];
    for (size_t i = 0; i < N; i++)
        for (size_t q = 0; q < Q; q++) x[i * Q + q] = (real)(1 << i % CENTRES * 2) + (real)0.05 * x[i * Q + q];
    for (size_t bad = 1; bad < 2 * CENTRES - 1; bad++) {
        struct codebook c = {CENTRES, Q, entries};
        int32_t codes[N];
        const size_t lost = bad % CENTRES + bad / CENTRES;
        for (size_t i = 0; i < CENTRES * Q; i++) entries[i] = i / Q >= lost ? x[i] : (real)(bad < CENTRES ? 1e6 : 1);
        codebook_refine(&c, x, N);
        codebook_assign(&c, x, N, codes);
        for (size_t i = 0; i < N; i++)
            if (codes[i] != codes[i % CENTRES]) fail_msg("%zu: a cluster has two entries", bad);
        for (size_t i = 0; i < CENTRES; i++)
            for (size_t j = 0; j < i; j++)
                if (codes[i] == codes[j]) fail_msg("%zu: two clusters have one entry", bad);
    }
    free(x);
}

/* Entries are seeded from as many patches as there are far groups: one that chance forgets would be left out. Here a
 * group of thousands and nine patches far off, each alone. */
static void rare_patches_far_off_have_codes(void **state) {
    (void)state;
    enum { N = 2000, FAR = 9, Q = 6 };
    real *x = random_numbers(N * Q, 21);
    for (size_t i = 0; i < N * Q; i++) x[i] *= (real)0.01;
    for (size_t i = 0; i < FAR; i++) x[(100 + i * 200) * Q + i % Q] += (real)(i < Q ? 50 : -50);
    for (uint64_t seed = 1; seed < 6; seed++) {
        struct codebook c = trained(x, N, FAR + 1, Q, seed);
        for (size_t i = 0; i < FAR; i++) {
            const real *at = x + (100 + i * 200) * Q;
            assert_true(far(at, c.entries + nearest(&c, at) * Q, Q) < 1e-6);
        }
        codebook_free(&c);
    }
    free(x);
}

static void threads_and_order_change_nothing(void **state) {
    (void)state;
    enum { N = 1500, CODES = 45, Q = 27 };
    const int threads = omp_get_max_threads();
    real *x = random_numbers(N * Q, 4), *turned = array_alloc(N * Q, sizeof *x);
    for (size_t i = 0; i < N; i++) {
        if (i % 4 == 0) memcpy(x + i * Q, x, Q * sizeof *x);
        memcpy(turned + i * Q, x + i * Q, Q * sizeof *x);
    }
    for (size_t i = 0; i < N; i++) memcpy(turned + i * Q, x + (N - 1 - i) * Q, Q * sizeof *x);
    struct codebook first = trained(x, N, CODES, Q, 7);
    for (int t = 1; t <= 5; t += 2) {
        omp_set_num_threads(t);
        struct codebook again = trained(t == 5 ? turned : x, N, CODES, Q, 7);
        assert_memory_equal(again.entries, first.entries, CODES * Q * sizeof *x);
        codebook_free(&again);
    }
    omp_set_num_threads(threads);
    struct codebook other = trained(x, N, CODES, Q, 8);
    assert_memory_not_equal(other.entries, first.entries, CODES * Q * sizeof *x);
    codebook_free(&other);
    codebook_free(&first);
    free(x);
    free(turned);
}

/* ---- Pictures ---- */

/* Number q of patch p, counted out; and back, the same bytes. */
static void patches_are_cut_in_order(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{6, 3}, {6, 2}, {5, 5}, {7, 1}, {12, 4}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const size_t size = sizes[s][0], patch = sizes[s][1], across = size / patch, n = size * size * 3;
        unsigned char *rgb = array_alloc(n, 1), *back = array_alloc(n, 1);
        real *x = array_alloc(n, sizeof *x), *at = x;
        for (size_t i = 0; i < n; i++) rgb[i] = (unsigned char)(i * 37 + i / 256);
        patches_of(x, rgb, size, patch);
        for (size_t p = 0; p < across * across; p++)
            for (size_t y = 0; y < patch; y++)
                for (size_t i = 0; i < 3 * patch; i++) {
                    const size_t row = p / across * patch + y, byte = p % across * patch * 3 + i;
                    assert_true(fabs((double)*at++ - (rgb[row * size * 3 + byte] / 127.5 - 1)) < 1e-6);
                }
        patches_to(back, x, size, patch);
        assert_memory_equal(back, rgb, n);
        free(rgb);
        free(back);
        free(x);
    }
}

static void every_pixel_comes_back(void **state) {
    (void)state;
    unsigned char rgb[12 * 12 * 3], back[12 * 12 * 3];
    real x[12 * 12 * 3];
    for (size_t i = 0; i < sizeof rgb; i++) rgb[i] = (unsigned char)i;
    patches_of(x, rgb, 12, 3);
    patches_to(back, x, 12, 3);
    assert_memory_equal(back, rgb, sizeof rgb);
    assert_true(x[0] == -1);
}

/* Rounded to the nearest, and never beyond 0 and 255, whatever comes. */
static void pixels_are_rounded_and_clamped(void **state) {
    (void)state;
    const double values[] = {-1, -1.5, -1e30, 1, 1.01, 1e30, NAN, INFINITY, -INFINITY, 100.4 / 127.5 - 1,
                             100.6 / 127.5 - 1, 254.4 / 127.5 - 1};
    const unsigned char want[] = {0, 0, 0, 255, 255, 255, 0, 255, 0, 100, 101, 254};
    unsigned char rgb[12];
    real x[12];
    for (int i = 0; i < 12; i++) x[i] = (real)values[i];
    patches_to(rgb, x, 2, 2);
    assert_memory_equal(rgb, want, 12);
}

static void codes_paint_their_entries(void **state) {
    (void)state;
    enum { SIZE = 6, PATCH = 3, Q = 27 };
    real *entries = random_numbers(5 * Q, 6), x[4 * Q];
    const int32_t codes[] = {4, 0, 3, 3};
    unsigned char want[SIZE * SIZE * 3], got[SIZE * SIZE * 3];
    for (size_t p = 0; p < 4; p++) memcpy(x + p * Q, entries + codes[p] * Q, Q * sizeof *x);
    patches_to(want, x, SIZE, PATCH);
    codes_paint(got, &(struct codebook){5, Q, entries}, codes, SIZE, PATCH);
    assert_memory_equal(got, want, sizeof got);
    free(entries);
}

/* Pixels 10, 20, 30 painted as 13, 20, 26, and 0, 255, 0 as 0, 255, 0: errors 9 + 16 of 6 values. */
static void psnr_is_what_it_is_by_hand(void **state) {
    (void)state;
    const double pixels[] = {10, 20, 30, 0, 255, 0}, painted[] = {13.3, 20.4, 25.6, -7, 300, 0};
    real x[6], entries[9] = {0};
    size_t uses[3] = {0};
    for (int i = 0; i < 6; i++) {
        x[i] = (real)(pixels[i] / 127.5 - 1);
        entries[i + 3] = (real)(painted[i] / 127.5 - 1);
    }
    const struct codebook c = {3, 3, entries};
    struct codebook_quality q = {.uses = uses};
    const int32_t codes[] = {1, 2};
    codebook_measure(&c, x, codes, 2, &q);
    assert_true(fabs(quality_mse(&q) - 25.0 / 6) < 1e-12);
    assert_true(fabs(quality_psnr(&q) - 10 * log10(65025 / (25.0 / 6))) < 1e-9);
    codebook_measure(&c, x + 3, codes + 1, 1, &q); /* sums up: 25 of 9 */
    assert_true(fabs(quality_mse(&q) - 25.0 / 9) < 1e-12);
    assert_int_equal(uses[0], 0);
    assert_int_equal(uses[1], 1);
    assert_int_equal(uses[2], 2);
    struct codebook_quality perfect = {0};
    codebook_measure(&c, x + 3, codes + 1, 1, &perfect);
    assert_true(isinf(quality_psnr(&perfect)));
}

/* ---- The file ---- */

static bool loads(const char *dir, const char *says) {
    struct codebook c;
    struct error err = {0, ""};
    const bool ok = codebook_load(&c, dir, &err);
    if (!ok) {
        assert_int_equal(err.code, EXIT_INPUT);
        if (!strstr(err.text, "/codebook: ") || (says && !strstr(err.text, says))) fail_msg("%s", err.text);
        assert_null(c.entries);
    }
    codebook_free(&c);
    return ok;
}

static void a_codebook_is_saved_and_damage_is_seen(void **state) {
    char *path = string_format("%s/codebook", (char *)*state);
    real *entries = random_numbers(7 * 12, 3);
    struct codebook c = {7, 12, entries}, back;
    struct error err;
    size_t size;
    assert_true(codebook_save(&c, *state, &err));
    assert_true(codebook_load(&back, *state, &err));
    assert_int_equal(back.codes, 7);
    assert_int_equal(back.Q, 12);
    assert_memory_equal(back.entries, entries, 7 * 12 * sizeof *entries);
    assert_true(codebook_hash(&back) == codebook_hash(&c));
    entries[80] += 1;
    assert_true(codebook_hash(&back) != codebook_hash(&c));
    assert_true(codebook_hash(&back) != codebook_hash(&(struct codebook){12, 7, back.entries}));
    codebook_free(&back);
    char *data = file_read(path, &size);
    assert_int_equal(size, 28 + 4 * 7 * 12);
    for (size_t i = 0; i < size; i++) {
        data[i] = (char)(data[i] ^ 1 << i % 8);
        file_write(path, data, size);
        if (loads(*state, NULL)) fail_msg("a flipped bit in byte %zu is not noticed", i);
        data[i] = (char)(data[i] ^ 1 << i % 8);
        file_write(path, data, i);
        if (loads(*state, NULL)) fail_msg("a cut at byte %zu is not noticed", i);
    }
    file_write(path, data, size);
    assert_true(loads(*state, NULL));
    data = realloc(data, size + 4);
    memset(data + size, 0, 4);
    file_write(path, data, size + 4);
    assert_false(loads(*state, "another size"));
    unlink(path);
    assert_false(loads(*state, "cannot read"));
    free(data);
    free(entries);
    free(path);
}

/* Sizes whose product is nothing or beyond all memory, with right CRCs. */
static void impossible_sizes_are_refused(void **state) {
    char *path = string_format("%s/codebook", (char *)*state);
    real entries[12] = {0};
    struct codebook c = {1, 12, entries};
    struct error err;
    size_t size;
    assert_true(codebook_save(&c, *state, &err));
    char *data = file_read(path, &size);
    static const uint32_t sizes[][3] = {{1, 0, 12}, {1, 1, 0}, {1, 0, 0}, {1, 2, 12}, {1, 1, 11}, {2, 1, 12},
                                        {1, 0xffffffff, 0xffffffff}, {1, 1 << 31, 1 << 31}, {1, 0x40000003, 4}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        memcpy(data + 8, sizes[i], sizeof sizes[i]);
        const uint32_t crc = crc_of(data, 24);
        memcpy(data + 24, &crc, 4);
        file_write(path, data, size);
        assert_false(loads(*state, i == 5 ? "another version" : "another size"));
    }
    for (uint32_t codes = 0; codes < 2; codes++) { /* nothing at all */
        memcpy(data + 8, (uint32_t[]){1, codes, codes ? 0 : 12, 0}, 16);
        const uint32_t crc = crc_of(data, 24);
        memcpy(data + 24, &crc, 4);
        file_write(path, data, 28);
        assert_false(loads(*state, "another size"));
    }
    free(data);
    assert_true(codebook_save(&c, *state, &err));
    data = file_read(path, &size);
    memcpy(data + 8, (uint32_t[]){1, 3, 4}, 12);
    const uint32_t crc = crc_of(data, 24);
    memcpy(data + 24, &crc, 4);
    file_write(path, data, size);
    assert_true(loads(*state, NULL));
    free(data);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_the_nearest_entries),
        cmocka_unit_test(long_entries_are_not_nearer),
        cmocka_unit_test(planted_clusters_are_found),
        cmocka_unit_test(plain_k_means_finds_no_better),
        cmocka_unit_test(equal_patches_count_as_often_as_they_are),
        cmocka_unit_test(every_code_is_used),
        cmocka_unit_test(entries_without_patches_move),
        cmocka_unit_test(rare_patches_far_off_have_codes),
        cmocka_unit_test(threads_and_order_change_nothing),
        cmocka_unit_test(patches_are_cut_in_order),
        cmocka_unit_test(every_pixel_comes_back),
        cmocka_unit_test(pixels_are_rounded_and_clamped),
        cmocka_unit_test(codes_paint_their_entries),
        cmocka_unit_test(psnr_is_what_it_is_by_hand),
        TEST(a_codebook_is_saved_and_damage_is_seen),
        TEST(impossible_sizes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
