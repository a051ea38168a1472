/* Positions in double (src/layers/position): the turns against long double, forward against a plain loop, backward
 * against central differences; with and without turns, with and without scales. What nobody should read holds NaN, and
 * memory ends where it may not be touched. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <omp.h>
#include "../src/layers/position.h"
#include "differences.h"
#include "guarded.h"

/* Beside the batch's own positions the table has some behind them, and none that a cache holds or no row stands at. */
enum { BEHIND = 2 };

/* Where row r stands. */
static size_t position_of(const struct batch *batch, size_t r) {
    return batch->positions ? (size_t)batch->positions[r] : batch->from + r % (batch->T - batch->from);
}

struct positioning {
    struct position layer;
    struct batch batch;
    real *qkv;
    const real *weights;
    size_t rows, n, turns_bytes, scales_bytes; /* n: numbers of qkv */
};

/* `kind`: bit 0 turns, bit 1 scales. */
enum { TURNS = 1, SCALES = 2, KINDS = 4 };

static struct positioning position_make(struct batch batch, size_t NH, size_t hs, int kind) {
    const size_t rows = batch_rows(&batch), C = NH * hs;
    size_t last = 0;
    for (size_t r = 0; r < rows; r++) last = position_of(&batch, r) > last ? position_of(&batch, r) : last;
    const size_t positions = last + 1 + BEHIND;
    struct positioning p = {.layer = {.C = C, .NH = NH}, .batch = batch, .rows = rows, .n = rows * 3 * C,
                            .turns_bytes = positions * hs * sizeof(real),
                            .scales_bytes = rows * 2 * NH * sizeof(real)};
    if (kind & TURNS) {
        real *turns = guarded_alloc(p.turns_bytes), all[positions * hs];
        position_turns(all, positions, hs);
        for (size_t r = 0; r < rows; r++)
            memcpy(turns + position_of(&batch, r) * hs, all + position_of(&batch, r) * hs, hs * sizeof(real));
        p.layer.turns = turns;
    }
    if (kind & SCALES) p.layer.scales = guarded_alloc(p.scales_bytes);
    p.qkv = guarded_alloc(p.n * sizeof(real));
    random_fill(p.qkv, p.n, rows + C);
    for (size_t i = 0; i < p.n; i++) p.qkv[i] += copysign(0.5, p.qkv[i]); /* short vectors' scales bend too sharply */
    p.weights = random_numbers(p.n, 3);
    return p;
}

static void position_free(struct positioning *p) {
    if (p->layer.turns) guarded_free((real *)p->layer.turns, p->turns_bytes);
    if (p->layer.scales) guarded_free(p->layer.scales, p->scales_bytes);
    guarded_free(p->qkv, p->n * sizeof(real));
    free((real *)p->weights);
}

/* Sizes with whole vectors, parts of one, both; heads of odd size, too, where nothing turns. */
typedef void check(struct batch batch, size_t NH, size_t hs, int kind);
static void every_shape(check *run) {
    static const size_t heads[] = {1, 3, 5}, sizes[] = {2, 6, 34, 3, 7};
    const struct batch batches[] = {
        {.B = 1, .T = 1}, {.B = 1, .T = 7}, {.B = 3, .T = 5}, {.B = 1, .T = 7, .from = 6}, {.B = 2, .T = 7, .from = 3},
        /* positions that are given: of sequences that are as long, or are not */
        {.B = 2, .T = 3, .positions = (int32_t[]){2, 0, 9, 4, 4, 5}},
        {.B = 3, .T = 5, .offsets = (int32_t[]){0, 2, 7, 8}, .positions = (int32_t[]){6, 7, 0, 1, 2, 11, 12, 3}},
    };
    for EACH(b, batches)
        for EACH(h, heads)
            for EACH(s, sizes)
                for (int kind = 0; kind < KINDS; kind++)
                    if (sizes[s] % 2 == 0 || !(kind & TURNS)) run(batches[b], heads[h], sizes[s], kind);
}

/* ---- The turns ---- */

/* An angle of t / 10000^(2i/hs) < T radians carries its rounding, 1e-16 of it, into cosine and sine. */
static void test_turns(void **state) {
    (void)state;
    static const size_t sizes[] = {2, 4, 6, 34, 128};
    enum { T = 1500 };
    for EACH(s, sizes) {
        const size_t hs = sizes[s], bytes = T * hs * sizeof(real);
        real *turns = guarded_alloc(bytes);
        position_turns(turns, T, hs);
        for (size_t t = 0; t < T; t++)
            for (size_t i = 0; i < hs / 2; i++) {
                const long double angle = (long double)t / powl(10000, 2.0L * (long double)i / (long double)hs);
                const double tolerance = 4e-16 * (double)(1 + angle);
                const double c = fabs((double)(turns[t * hs + i] - cosl(angle))),
                             z = fabs((double)(turns[t * hs + hs / 2 + i] - sinl(angle)));
                if (!(c <= tolerance && z <= tolerance)) fail_msg("t %zu, i %zu of %zu: %g, %g off", t, i, hs, c, z);
            }
        guarded_free(turns, bytes);
    }
}

/* ---- Forward ---- */

/* What becomes of one query or key at position t; returns its scale. */
static double head_plain(double *want, const real *x, size_t t, size_t hs, int kind) {
    const double scale = kind & SCALES ? 1 / sqrt(dot(x, x, hs) / (double)hs + 1e-5) : 1;
    for (size_t i = 0; i < hs; i++) {
        const size_t half = hs / 2;
        const double angle = kind & TURNS ? (double)t * pow(10000, -2.0 * (double)(i % half) / (double)hs) : 0;
        const double other = kind & TURNS ? i < half ? -x[i + half] : x[i - half] : 0;
        want[i] = scale * (x[i] * cos(angle) + other * sin(angle));
    }
    return scale;
}

static void forward_check(struct batch batch, size_t NH, size_t hs, int kind) {
    struct positioning p = position_make(batch, NH, hs, kind);
    const size_t C = NH * hs;
    for (size_t r = 0; r < p.rows; r++) poison(p.qkv + r * 3 * C + 2 * C, C); /* values: nobody's business */
    real *before = copy_of(p.qkv, p.n);
    position_forward(&p.layer, kept_real(p.qkv), p.qkv, &p.batch);
    for (size_t r = 0; r < p.rows; r++) {
        const real *was = before + r * 3 * C, *is = p.qkv + r * 3 * C;
        for (size_t h = 0; h < 2 * NH; h++) {
            double want[hs];
            const double scale = head_plain(want, was + h * hs, position_of(&batch, r), hs, kind);
            assert_all_near("turned", is + h * hs, want, hs);
            if (kind & SCALES) assert_near(p.layer.scales[r * 2 * NH + h], scale, ROUNDING);
        }
        assert_memory_equal(is + 2 * C, was + 2 * C, C * sizeof(real));
    }
    if (kind == 0) assert_memory_equal(p.qkv, before, p.n * sizeof(real));
    free(before);
    position_free(&p);
}

static void test_forward(void **state) {
    (void)state;
    every_shape(forward_check);
}

/* Numbers near 0, too, have a length: the epsilon below it. */
static void test_zeros(void **state) {
    (void)state;
    enum { hs = 6 };
    struct positioning p = position_make((struct batch){.B = 1, .T = 3}, 1, hs, TURNS | SCALES);
    memset(p.qkv, 0, p.n * sizeof(real));
    p.qkv[0] = 1e-3; /* row 0's query; its key is 0 */
    position_forward(&p.layer, kept_real(p.qkv), p.qkv, &p.batch);
    assert_near(p.qkv[0], 1e-3 / sqrt(1e-6 / hs + 1e-5), ROUNDING);
    for (size_t i = 1; i < p.n; i++) assert_true(p.qkv[i] == 0);
    assert_near(p.layer.scales[1], 1 / sqrt(1e-5), ROUNDING);
    memcpy(p.qkv + 3 * hs, p.weights, 2 * hs * sizeof(real));
    for (size_t i = 0; i < 2 * hs; i++) p.qkv[3 * hs + i] *= 1e6;
    position_forward(&p.layer, kept_real(p.qkv), p.qkv, &p.batch);
    for (size_t h = 0; h < 2; h++) assert_near(dot(p.qkv + (3 + h) * hs, p.qkv + (3 + h) * hs, hs), hs, 1e-9);
    position_free(&p);
}

/* A sequence that comes in two pieces gets the bits that it would have had at once: the KV cache. */
static void from_check(struct batch batch, size_t NH, size_t hs, int kind) {
    const size_t T = batch.T;
    if (batch.B > 1 || batch.from > 0) return; /* a cache is of one sequence */
    struct positioning whole = position_make(batch, NH, hs, kind);
    for (size_t from = 1; from < T; from++) {
        struct positioning piece = position_make((struct batch){.B = 1, .T = T, .from = from}, NH, hs, kind);
        const size_t at = from * 3 * NH * hs;
        random_fill(whole.qkv, whole.n, T);
        memcpy(piece.qkv, whole.qkv + at, piece.n * sizeof(real));
        position_forward(&whole.layer, kept_real(whole.qkv), whole.qkv, &whole.batch);
        position_forward(&piece.layer, kept_real(piece.qkv), piece.qkv, &piece.batch);
        assert_memory_equal(piece.qkv, whole.qkv + at, piece.n * sizeof(real));
        if (kind & SCALES)
            assert_memory_equal(piece.layer.scales, whole.layer.scales + from * 2 * NH, piece.scales_bytes);
        position_free(&piece);
    }
    position_free(&whole);
}

static void test_from(void **state) {
    (void)state;
    every_shape(from_check);
}

/* With one query and one key at every position, their product depends on how far apart they stand, and on nothing
 * else; turning leaves lengths as they are. */
static void test_products_depend_on_distance(void **state) {
    (void)state;
    enum { T = 40, NH = 3, hs = 34, C = NH * hs };
    struct positioning p = position_make((struct batch){.B = 1, .T = T}, NH, hs, TURNS);
    for (size_t t = 1; t < T; t++) memcpy(p.qkv + t * 3 * C, p.qkv, 3 * C * sizeof(real));
    real *before = copy_of(p.qkv, p.n);
    position_forward(&p.layer, kept_real(p.qkv), p.qkv, &p.batch);
    for (size_t h = 0; h < NH; h++)
        for (size_t t = 0; t < T; t++)
            for (size_t u = 0; u < T; u++) {
                const real *q = p.qkv + t * 3 * C + h * hs, *k = p.qkv + u * 3 * C + C + h * hs;
                const size_t least = t < u ? t : u;
                assert_near(dot(q, k, hs), dot(q - least * 3 * C, k - least * 3 * C, hs), 1e-11);
                assert_near(dot(q, q, hs), dot(before + h * hs, before + h * hs, hs), 1e-11);
                if (t != u) assert_true(fabs(dot(q, k, hs) - dot(q, q + C, hs)) > 1e-3);
            }
    free(before);
    position_free(&p);
}

/* ---- Backward ---- */

static double position_value(const void *call) {
    const struct positioning *p = call;
    struct position layer = p->layer;
    real out[p->n], scales[p->rows * 2 * layer.NH];
    memcpy(out, p->qkv, sizeof out);
    if (layer.scales) layer.scales = scales;
    position_forward(&layer, kept_real(out), out, &p->batch);
    return dot(out, p->weights, p->n);
}

static void backward_check(struct batch batch, size_t NH, size_t hs, int kind) {
    struct positioning p = position_make(batch, NH, hs, kind);
    const size_t C = NH * hs, bytes = p.n * sizeof(real);
    real *y = guarded_alloc(bytes), *dqkv = guarded_alloc(bytes);
    memcpy(y, p.qkv, bytes);
    memcpy(dqkv, p.weights, bytes);
    for (size_t r = 0; r < p.rows; r++) poison(y + r * 3 * C + 2 * C, C);
    position_forward(&p.layer, kept_real(y), y, &p.batch);
    position_backward(&p.layer, dqkv, kept_real(y), &p.batch);
    gradient_check("dqkv", position_value, &p, p.qkv, dqkv, p.n);
    for (size_t r = 0; r < p.rows; r++)
        assert_memory_equal(dqkv + r * 3 * C + 2 * C, p.weights + r * 3 * C + 2 * C, C * sizeof(real));
    if (kind == 0) assert_memory_equal(dqkv, p.weights, bytes);
    guarded_free(y, bytes);
    guarded_free(dqkv, bytes);
    position_free(&p);
}

static void test_backward(void **state) {
    (void)state;
    every_shape(backward_check);
}

/* Whatever the number of threads, in every bit; and of a row nothing depends on another. */
static void test_threads(void **state) {
    (void)state;
    enum { NH = 3, hs = 34 };
    const int threads = omp_get_max_threads();
    const struct batch batch = {.B = 3, .T = 5};
    real *first[2] = {NULL, NULL};
    for (int n = 1; n <= 5; n += 2) {
        omp_set_num_threads(n);
        struct positioning p = position_make(batch, NH, hs, TURNS | SCALES);
        real *dqkv = copy_of(p.weights, p.n);
        position_forward(&p.layer, kept_real(p.qkv), p.qkv, &batch);
        position_backward(&p.layer, dqkv, kept_real(p.qkv), &batch);
        if (n == 1) first[0] = copy_of(p.qkv, p.n), first[1] = copy_of(dqkv, p.n);
        assert_memory_equal(p.qkv, first[0], p.n * sizeof(real));
        assert_memory_equal(dqkv, first[1], p.n * sizeof(real));
        free(dqkv);
        position_free(&p);
    }
    omp_set_num_threads(threads);
    free(first[0]);
    free(first[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_from),
        cmocka_unit_test(test_products_depend_on_distance),
        cmocka_unit_test(test_backward),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
