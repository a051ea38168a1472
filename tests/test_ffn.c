/* Feed-forward layers against plain loops, in double: every way to cut rows into blocks and experts, with and
 * without a gather, in training and in inference; gradients against the chain rule written out. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "../src/layers/ffn.h"
#include "../src/base/rng.h"
#include "../src/base/util.h"
#include "../src/math/vecmath.h"
#include "guarded.h"
#include "random_numbers.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Sums of up to some hundred products near 1, in double. */
#define ROUNDING 1e-12

/* What a hidden unit makes of its number, or of its gate and value, and the slopes by both. */
struct unit {
    double out, by_first, by_second;
};

static struct unit unit_of(enum activation act, double x, double value) {
    const double t = tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)), s = 1 / (1 + exp(-x));
    switch (act) {
        case ACTIVATION_SWIGLU: return (struct unit){x * s * value, (s + x * s * (1 - s)) * value, x * s};
        case ACTIVATION_RELU2: return (struct unit){x > 0 ? x * x : 0, x > 0 ? 2 * x : 0, 0};
        default:
            return (struct unit){0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * sqrt(2 / M_PI) *
                                 (1 + 3 * 0.044715 * x * x), 0};
    }
}

enum { E = 4 };

struct layer {
    enum activation act;
    size_t S, F, W, rows, inputs;
    int32_t *offsets, *source;
    real *w1, *b1, *w2, *b2, *in, *start, *dout;                                     /* given */
    real *packed1, *packed2, *packed1_t, *packed2_t;
    real *out, *hidden, *din, *d_hidden, *dw1, *db1, *dw2, *db2;                     /* computed */
    real *want_out, *want_h, *want_act, *want_din, *want_dh, *want_dw1, *want_db1, *want_dw2, *want_db2; /* plain */
    struct ffn ffn;
};

static real *packed_copies(const real *w, size_t rows, size_t columns, bool transposed) {
    const size_t K = transposed ? rows : columns, N = transposed ? columns : rows, count = gemm_packed_count(K, N);
    real *packed = array_alloc(E * count, sizeof *packed);
    for (size_t e = 0; e < E; e++) {
        const real *w_e = w + e * rows * columns;
        gemm_pack(packed + e * count,
                  transposed ? view_of(w_e, columns, 1) : view_of(w_e, 1, columns), K, N);
    }
    return packed;
}

/* Hidden unit f of row r, whose expert is e: what it does to the row's output, and the gradients. */
static void unit_plain(struct layer *l, size_t e, size_t r, size_t f) {
    const size_t S = l->S, F = l->F, W = l->W;
    const real *x = l->in + (l->source ? (size_t)l->source[r] : r) * S, *dout = l->dout + r * S;
    const real *w2 = l->w2 + e * S * F;
    double h[2] = {0}, dg = 0;
    for (size_t w = 0; w < W; w++) {
        const size_t row = e * W * F + w * F + f;
        h[w] = l->b1[row];
        for (size_t s = 0; s < S; s++) h[w] += l->w1[row * S + s] * x[s];
    }
    const struct unit unit = unit_of(l->act, h[0], h[1]);
    for (size_t s = 0; s < S; s++) {
        l->want_out[r * S + s] += w2[s * F + f] * unit.out;
        l->want_dw2[e * S * F + s * F + f] += dout[s] * unit.out;
        dg += dout[s] * w2[s * F + f];
    }
    for (size_t w = 0; w < W; w++) {
        const size_t row = e * W * F + w * F + f;
        const double dh = dg * (w ? unit.by_second : unit.by_first);
        for (size_t s = 0; s < S; s++) {
            l->want_din[r * S + s] += dh * l->w1[row * S + s];
            l->want_dw1[row * S + s] += dh * x[s];
        }
        l->want_db1[row] += dh;
        l->want_h[r * W * F + w * F + f] = h[w];
        l->want_dh[r * W * F + w * F + f] = dh;
    }
    l->want_act[r * W * F + f] = unit.out;
}

/* The layer and its gradients as the equations stand. */
static void plain(struct layer *l) {
    const size_t S = l->S;
    for (size_t e = 0; e < E; e++)
        for (size_t r = (size_t)l->offsets[e]; r < (size_t)l->offsets[e + 1]; r++) {
            for (size_t s = 0; s < S; s++) l->want_out[r * S + s] = l->start[r * S + s] + l->b2[e * S + s];
            for (size_t f = 0; f < l->F; f++) unit_plain(l, e, r, f);
            for (size_t s = 0; s < S; s++) l->want_db2[e * S + s] += l->dout[r * S + s];
        }
}

/* `spread`: the share of the rows that expert 0 gets; expert 2 gets none. */
static struct layer layer_make(enum activation act, size_t S, size_t F, size_t rows, double spread, bool gather) {
    const size_t W = activation_width(act);
    struct layer l = {.act = act, .S = S, .F = F, .W = W, .rows = rows, .inputs = gather ? rows / 2 + 1 : rows,
                      .offsets = array_alloc(E + 1, sizeof(int32_t))};
    l.offsets[1] = l.offsets[0] + (int32_t)(spread * (double)rows);
    l.offsets[2] = l.offsets[3] = l.offsets[1] + ((int32_t)rows - l.offsets[1]) / 3;
    l.offsets[4] = (int32_t)rows;
    l.w1 = random_numbers(E * W * F * S, 1), l.b1 = random_numbers(E * W * F, 2);
    l.w2 = random_numbers(E * S * F, 3), l.b2 = random_numbers(E * S, 4);
    row_scale(l.w1, 1 / sqrt((double)S), E * W * F * S); /* sums stay near 1 */
    row_scale(l.w2, 1 / sqrt((double)F), E * S * F);
    l.in = random_numbers(l.inputs * S, 5), l.start = random_numbers(rows * S, 6), l.dout = random_numbers(rows * S, 7);
    if (gather) {
        l.source = array_alloc(rows + 1, sizeof *l.source);
        for (size_t r = 0; r < rows; r++) l.source[r] = (int32_t)(r * 7919 % l.inputs);
    }
    l.packed1 = packed_copies(l.w1, W * F, S, false), l.packed1_t = packed_copies(l.w1, W * F, S, true);
    l.packed2 = packed_copies(l.w2, S, F, false), l.packed2_t = packed_copies(l.w2, S, F, true);
    real **const results[] = {&l.out, &l.want_out, &l.din, &l.want_din, &l.hidden, &l.want_h, &l.d_hidden, &l.want_dh,
                              &l.dw1, &l.want_dw1, &l.dw2, &l.want_dw2, &l.db1, &l.want_db1, &l.db2, &l.want_db2,
                              &l.want_act};
    const size_t sizes[] = {rows * S,  rows * S,  rows * W * F, rows * W * F, E * W * F * S,
                            E * S * F, E * W * F, E * S,        rows * W * F};
    for (size_t i = 0; i < COUNT(results); i++) *results[i] = array_alloc(sizes[i / 2] + 1, sizeof(real));
    for (size_t i = 0; i < E * F * S; i++) l.dw1[i] = l.want_dw1[i] = l.dw2[i] = l.want_dw2[i] = 1; /* added to */
    l.ffn = (struct ffn){.act = act, .E = E, .offsets = l.offsets, .source = l.source,
                         .up = {.IC = S, .OC = W * F, .packed = l.packed1, .packed_t = l.packed1_t, .b = l.b1,
                                .dw = l.dw1, .db = l.db1},
                         .down = {.IC = F, .OC = S, .packed = l.packed2, .packed_t = l.packed2_t, .b = l.b2,
                                  .dw = l.dw2, .db = l.db2}};
    plain(&l);
    return l;
}

static void layer_free(struct layer *l) {
    real *const all[] = {l->w1, l->b1, l->w2, l->b2, l->in, l->start, l->dout, l->packed1, l->packed2, l->packed1_t,
                         l->packed2_t, l->out, l->hidden, l->din, l->d_hidden, l->dw1, l->db1, l->dw2, l->db2,
                         l->want_out, l->want_h, l->want_din, l->want_dh, l->want_dw1, l->want_db1, l->want_dw2,
                         l->want_db2, l->want_act};
    for (size_t i = 0; i < COUNT(all); i++) free(all[i]);
    free(l->offsets);
    free(l->source);
}

static void assert_all_near(const char *what, const real *got, const real *want, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= ROUNDING * fmax(1, fabs(want[i]))))
            fail_msg("%s: number %zu of %zu: got %.17g, want %.17g", what, i, n, got[i], want[i]);
}

/* In scratch memory and a workspace of the sizes that are said to be enough. */
static void layer_check(struct layer l) {
    const size_t S = l.S, F = l.F, rows = l.rows, width = l.W * F;
    const size_t scratch_bytes = ffn_scratch_count(width, S, OPERANDS_F32) * sizeof(real);
    const size_t bytes = ffn_workspace_bytes(E, S, F, l.W, rows, OPERANDS_F32);
    real *scratch = guarded_alloc(scratch_bytes);
    void *workspace = guarded_alloc(bytes);
    ffn_forward(&l.ffn, kept_real(l.out), kept_real(l.hidden), kept_real(l.in), l.start, scratch);
    assert_all_near("out", l.out, l.want_out, rows * S);
    assert_all_near("hidden", l.hidden, l.want_h, rows * width);
    ffn_backward(&l.ffn, l.din, kept_real(l.d_hidden), l.dout, kept_real(l.hidden), kept_real(l.in), workspace);
    assert_all_near("din", l.din, l.want_din, rows * S);
    assert_all_near("d_hidden", l.d_hidden, l.want_dh, rows * width);
    for (size_t r = 0; r < rows; r++) assert_all_near("activated", l.hidden + r * width, l.want_act + r * width, F);
    assert_all_near("dw1", l.dw1, l.want_dw1, E * width * S);
    assert_all_near("dw2", l.dw2, l.want_dw2, E * S * F);
    assert_all_near("db1", l.db1, l.want_db1, E * width);
    assert_all_near("db2", l.db2, l.want_db2, E * S);
    guarded_free(scratch, scratch_bytes);
    guarded_free(workspace, bytes);
    layer_free(&l);
}

static void sizes_check(size_t S, size_t F, size_t rows, double spread, bool gather) {
    for (enum activation act = ACTIVATION_GELU; act <= ACTIVATION_RELU2; act++)
        layer_check(layer_make(act, S, F, rows, spread, gather));
}

static void training_check(size_t rows, double spread, bool gather) { sizes_check(5, 19, rows, spread, gather); }

/* Blocks are 24 to 96 rows; experts get none, few and most of them. */
static const size_t row_counts[] = {1, 2, 23, 25, 97, 1000};

static void test_training(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(row_counts); i++)
        for (int gather = 0; gather < 2; gather++) {
            training_check(row_counts[i], 0.25, gather);
            training_check(row_counts[i], 0, gather);
            training_check(row_counts[i], 0.9, gather);
        }
}

static void test_training_on_threads(void **state) {
    (void)state;
    const int before = omp_get_max_threads();
    for (int threads = 1; threads <= 16; threads += 5) { /* each cuts 1000 rows in blocks of its own */
        omp_set_num_threads(threads);
        training_check(1000, 0.5, true);
    }
    omp_set_num_threads(before);
}

/* Both widths are above a block's rows, so that several tasks share what a weight's gradient packs, for each expert in
 * both of its products; the more of the rows one expert has, the more of the workspace is used. */
static void test_workspace(void **state) {
    (void)state;
    const double spreads[] = {0, 0.25, 0.5, 0.9, 1};
    const int before = omp_get_max_threads();
    for (int threads = 1; threads <= 9; threads += 4)
        for (size_t i = 0; i < COUNT(spreads); i++) {
            omp_set_num_threads(threads);
            sizes_check(101, 131, 300, spreads[i], i % 2);
            sizes_check(530, 7, 90, spreads[i], i % 2);
            sizes_check(3, 610, 90, spreads[i], i % 2);
        }
    omp_set_num_threads(before);
}

/* A hidden layer so wide that not even the fewest rows of a block fit what the cache is given: above 2^16 / 12. */
static void test_wide(void **state) {
    (void)state;
    const size_t widths[] = {2731, 5461, 5462, 6000, 65537};
    for (size_t i = 0; i < COUNT(widths); i++) sizes_check(3, widths[i], widths[i] > 6000 ? 5 : 61, 0.5, i % 2);
}

static void inference_check(struct layer l) {
    const size_t n = l.rows * l.S;
    real *scratch = array_alloc(ffn_scratch_count(l.W * l.F, l.S, OPERANDS_F32), sizeof *scratch);
    real *trained = array_alloc(n, sizeof *trained);
    ffn_forward(&l.ffn, kept_real(trained), kept_real(l.hidden), kept_real(l.in), NULL, scratch);
    ffn_forward(&l.ffn, kept_real(l.out), kept_real(l.hidden), kept_real(l.in), NULL, NULL);
    assert_memory_equal(l.out, trained, n * sizeof *trained);
    for (size_t j = 0; j < n; j++) l.want_out[j] -= l.start[j];
    assert_all_near("out", l.out, l.want_out, n);
    free(scratch);
    free(trained);
    layer_free(&l);
}

/* Nothing is kept, and few rows go by columns: the same numbers as in training, to the bit. */
static void test_inference(void **state) {
    (void)state;
    for (enum activation act = ACTIVATION_GELU; act <= ACTIVATION_RELU2; act++)
        for (size_t i = 0; i < COUNT(row_counts); i++)
            for (int gather = 0; gather < 2; gather++)
                inference_check(layer_make(act, 5, 19, row_counts[i], 0.25, gather));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_training),
        cmocka_unit_test(test_training_on_threads),
        cmocka_unit_test(test_workspace),
        cmocka_unit_test(test_wide),
        cmocka_unit_test(test_inference),
    };
    return cmocka_run_group_tests_name("ffn", tests, NULL, NULL);
}
