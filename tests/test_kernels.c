/* The kernels under src/ in double: forward against a plain loop, backward against central differences.
 *
 * Outputs that are overwritten hold NaN before, those that are added to hold numbers, and scratch memory and
 * gaps between rows hold NaN, so that reading what nobody wrote shows. Sizes are odd and lie around the
 * vectors, tiles, strips and blocks inside. Next: test_attention.c; test_gemm.c, which has what float adds
 * (accuracy, exp, the bits of products); test_bits.c, the bits of a whole model. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "../src/math/activation.h"
#include "../src/math/gemm.h"
#include "../src/math/kernels.h"
#include "../src/layers/norm.h"
#include "../src/run/optimizer.h"
#include "../src/base/rng.h"
#include "../src/base/util.h"
#include "../src/math/vecmath.h"
#include "differences.h"
#include "reference.h"

static const size_t row_counts[] = {1, 5, 67}, widths[] = {1, 3, 31, 33, 48};

static void random_tokens(int32_t *tokens, size_t n, size_t V, uint64_t seed) {
    struct rng rng;
    rng_seed(&rng, seed, 0);
    for (size_t i = 0; i < n; i++) tokens[i] = (int32_t)(rng_next(&rng) % V);
}

/* ---- Norms ---- */

struct norming {
    struct norm norm;
    real *x;
    const real *weights;
    size_t rows;
};

static double norm_value(const void *call) {
    const struct norming *l = call;
    struct norm norm = l->norm;
    real out[l->rows * norm.C], kept[2 * l->rows];
    norm.kept = kept;
    norm_forward(&norm, kept_real(out), l->x, l->rows);
    return dot(out, l->weights, l->rows * norm.C);
}

static void norm_forward_check(const struct norming *l, const real *out) {
    const size_t C = l->norm.C;
    for (size_t r = 0; r < l->rows; r++) {
        const real *x_r = l->x + r * C;
        double m = 0, variance = 0;
        for (size_t c = 0; c < C && l->norm.kind == NORM_LAYER; c++) m += x_r[c] / (double)C;
        for (size_t c = 0; c < C; c++) variance += (x_r[c] - m) * (x_r[c] - m) / (double)C;
        const double s = 1 / sqrt(variance + 1e-5);
        assert_near(l->norm.kept[2 * r], m, ROUNDING);
        assert_near(l->norm.kept[2 * r + 1], s, ROUNDING);
        for (size_t c = 0; c < C; c++)
            assert_near(out[r * C + c], (x_r[c] - m) * s * l->norm.w[c] + (l->norm.b ? l->norm.b[c] : 0), ROUNDING);
    }
}

static void norm_check(enum norm_kind kind, bool bias, size_t rows, size_t C) {
    const size_t n = rows * C;
    real x[n], w[C], b[C], dw[C], db[C], out[n], kept[2 * rows], dout[n], *scratch = poisoned(norm_scratch_count(C));
    const struct norming l = {{kind, C, w, bias ? b : NULL, dw, bias ? db : NULL, kept, scratch}, x, dout, rows};
    random_fill(x, n, 1);
    for (size_t c = 0; c < C; c++) x[(rows - 1) * C + c] += 10; /* a row far from zero */
    random_fill(w, C, 2);
    random_fill(b, C, 3);
    random_fill(dout, n, 4);
    poison(out, n);
    poison(kept, 2 * rows);
    norm_forward(&l.norm, kept_real(out), x, rows);
    norm_forward_check(&l, out);

    real dx[n], dx_before[n], dw_before[C], db_before[C];
    random_fill(dx_before, n, 5);
    random_fill(dw_before, C, 6);
    random_fill(db_before, C, 7);
    memcpy(dx, dx_before, sizeof dx);
    memcpy(dw, dw_before, sizeof dw);
    memcpy(db, db_before, sizeof db);
    norm_backward(&l.norm, dx, dout, x, rows);
    free(scratch);
    gradient_check_added("dx", norm_value, &l, x, dx, dx_before, n);
    gradient_check_added("dw", norm_value, &l, w, dw, dw_before, C);
    if (bias) gradient_check_added("db", norm_value, &l, b, db, db_before, C);
    else assert_memory_equal(db, db_before, sizeof db);
}

static void test_norms(void **state) {
    (void)state;
    for (int bias = 0; bias < 2; bias++)
        for EACH(r, row_counts)
            for EACH(w, widths) {
                norm_check(NORM_LAYER, bias, row_counts[r], widths[w]);
                /* of one number it is the sign, with a jump that no difference follows */
                if (widths[w] > 1) norm_check(NORM_RMS, bias, row_counts[r], widths[w]);
            }
}

/* A row of equal numbers has no variance: the output is the bias. */
static void test_layernorm_of_a_constant(void **state) {
    (void)state;
    real x[31], w[31], b[31], out[31], kept[2];
    random_fill(w, 31, 1);
    random_fill(b, 31, 2);
    for (int c = 0; c < 31; c++) x[c] = 0.25;
    norm_forward(&(struct norm){.C = 31, .w = w, .b = b, .kept = kept}, kept_real(out), x, 1);
    assert_all_near("out", out, b, 31);
    assert_near(kept[1], 1 / sqrt(1e-5), ROUNDING);
}

/* ---- Elementwise ---- */

/* Around a vector, and many. */
static const size_t counts[] = {1, 7, 8, 9, 67, 4096, 10001};

static void test_residual(void **state) {
    (void)state;
    for EACH(k, counts) {
        const size_t n = counts[k];
        real a[n], b[n], want[n], out[n];
        random_fill(a, n, 1);
        random_fill(b, n, 2);
        poison(out, n);
        for (size_t i = 0; i < n; i++) want[i] = a[i] + b[i];
        residual_forward(out, a, b, n);
        assert_memory_equal(out, want, sizeof out);
        memcpy(out, a, sizeof out);
        residual_forward(out, out, b, n);
        assert_memory_equal(out, want, sizeof out);
        residual_forward(b, a, b, n);
        assert_memory_equal(b, want, sizeof out);
        residual_forward(out, NULL, b, n);
        assert_memory_equal(out, want, sizeof out);
    }
}

/* ---- Activations ---- */

struct activating {
    enum activation kind;
    real *x;             /* (rows, W F) */
    const real *weights; /* (rows, F) */
    size_t rows, F;
};

static double activation_value(const void *call) {
    const struct activating *a = call;
    const size_t width = activation_width(a->kind) * a->F;
    real out[a->rows * width];
    double sum = 0;
    activation_forward(a->kind, kept_real(out), kept_real(a->x), a->rows, a->F);
    for (size_t r = 0; r < a->rows; r++) sum += dot(out + r * width, a->weights + r * a->F, a->F);
    return sum;
}

/* Forward aside and in place; backward; and nothing is written behind the first F numbers of a row, or the last row. */
static void activation_check(enum activation kind, size_t rows, size_t F) {
    const size_t width = activation_width(kind) * F, n = rows * width;
    real x[n], out[n + 1], dx[n + 1], kept[n + 1], weights[rows * F];
    random_fill(x, n, n);
    row_scale(x, 2, n);
    random_fill(weights, rows * F, 2);
    poison(out, n + 1);
    activation_forward(kind, kept_real(out), kept_real(x), rows, F);
    for (size_t i = 0; i < n; i++) {
        const size_t f = i % width;
        if (f >= F) assert_true(isnan(out[i]));
        else assert_near(out[i], reference_act(kind, x + i - f, f, F), ROUNDING);
    }
    memcpy(kept, x, sizeof x);
    kept[n] = NAN;
    activation_forward(kind, kept_real(kept), kept_real(kept), rows, F);
    for (size_t i = 0; i < n; i++) assert_true(kept[i] == (i % width < F ? out[i] : x[i]));
    memcpy(kept, x, sizeof x);
    poison(dx, n + 1);
    for (size_t r = 0; r < rows; r++) memcpy(dx + r * width, weights + r * F, F * sizeof *dx);
    activation_backward(kind, kept_real(dx), dx, kept_real(kept), rows, F);
    for (size_t i = 0; i < n; i++) assert_true(kept[i] == (i % width < F ? out[i] : x[i]));
    assert_true(isnan(out[n]) && isnan(dx[n]) && isnan(kept[n]));
    gradient_check("dx", activation_value, &(struct activating){kind, x, weights, rows, F}, x, dx, n);
}

static void test_activations(void **state) {
    (void)state;
    for (enum activation kind = ACTIVATION_GELU; kind <= ACTIVATION_RELU2; kind++)
        for EACH(r, row_counts)
            for EACH(w, widths) activation_check(kind, row_counts[r], widths[w]);
}

/* Far out they are what they tend to: 0, or the number (times its value), or its square. */
static void test_activations_far_out(void **state) {
    (void)state;
    const real far[] = {-1e6, -1000, -800, 0, 800, 1000, 1e6};
    for EACH(i, far) {
        const real x = far[i], positive = fmax(x, 0), step = x < 0 ? 0 : x > 0 ? 1 : 0.5;
        real gelu_of[] = {x}, swiglu_of[] = {x, 3}, relu2_of[] = {x};
        real d_gelu[] = {1}, d_swiglu[] = {1, NAN}, d_relu2[] = {1};
        activation_backward(ACTIVATION_GELU, kept_real(d_gelu), d_gelu, kept_real(gelu_of), 1, 1);
        activation_backward(ACTIVATION_SWIGLU, kept_real(d_swiglu), d_swiglu, kept_real(swiglu_of), 1, 1);
        activation_backward(ACTIVATION_RELU2, kept_real(d_relu2), d_relu2, kept_real(relu2_of), 1, 1);
        assert_near(gelu_of[0], positive, ROUNDING);
        assert_near(d_gelu[0], step, ROUNDING);
        assert_near(swiglu_of[0], 3 * positive, ROUNDING);
        assert_near(d_swiglu[0], 3 * step, ROUNDING);
        assert_near(d_swiglu[1], positive, ROUNDING);
        assert_near(relu2_of[0], positive * positive, ROUNDING);
        assert_near(d_relu2[0], 2 * positive, ROUNDING);
    }
}

static void test_exp(void **state) {
    (void)state;
    const real special[] = {0, -INFINITY, INFINITY, -800, 800, 1, -1, 1e-300};
    for EACH(i, special) {
        const vec e = vec_exp(vec_splat(special[i]));
        for (int l = 0; l < VEC_LANES; l++) assert_true(e[l] == exp(special[i]));
    }
    const vec nan = vec_exp(vec_splat(NAN));
    for (int l = 0; l < VEC_LANES; l++) assert_true(isnan(nan[l]));
}

/* ---- Column sums ---- */

static void test_column_sums(void **state) {
    (void)state;
    const size_t more_widths[] = {1, 3, 31, 32, 33, 48, 65};
    for EACH(r, row_counts)
        for EACH(k, more_widths) {
            const size_t rows = row_counts[r], C = more_widths[k];
            real x[rows * C], out[C], want[C];
            random_fill(x, rows * C, C);
            random_fill(out, C, 1);
            memcpy(want, out, sizeof out);
            for (size_t i = 0; i < rows * C; i++) want[i % C] += x[i];
            column_sums(out, x, rows, C);
            assert_all_near("sums", out, want, C);
        }
}

/* ---- Cross-entropy ---- */

struct crossentropy {
    real *logits;
    const int32_t *targets;
    size_t rows, V;
    double scale;
};

static double crossentropy_value(const void *call) {
    const struct crossentropy *x = call;
    real logits[x->rows * x->V], loss[x->rows];
    memcpy(logits, x->logits, sizeof logits);
    crossentropy(loss, logits, x->targets, x->rows, x->V, 0);
    return x->scale * row_sum(loss, x->rows);
}

static double crossentropy_plain(const real *logits, int32_t target, size_t V) {
    double sum = 0;
    if (target == TARGET_NONE) return 0;
    for (size_t v = 0; v < V; v++) sum += exp(logits[v]);
    return log(sum) - logits[target];
}

static void test_crossentropy(void **state) {
    (void)state;
    const size_t vocabularies[] = {1, 3, 31, 33, 257};
    for EACH(r, row_counts)
        for EACH(k, vocabularies) {
            const size_t rows = row_counts[r], V = vocabularies[k], n = rows * V;
            real logits[n], dlogits[n], loss[rows];
            int32_t targets[rows];
            random_fill(logits, n, V);
            memcpy(dlogits, logits, sizeof logits);
            poison(loss, rows);
            random_tokens(targets, rows, V, V);
            for (size_t i = 1; i < rows; i += 3) targets[i] = TARGET_NONE;
            const struct crossentropy call = {logits, targets, rows, V, 0.3};
            crossentropy(loss, dlogits, targets, rows, V, 0.3);
            for (size_t i = 0; i < rows; i++) {
                assert_near(loss[i], crossentropy_plain(logits + i * V, targets[i], V), ROUNDING);
                if (targets[i] == TARGET_NONE) assert_true(row_dot(dlogits + i * V, dlogits + i * V, V) == 0);
            }
            gradient_check("dlogits", crossentropy_value, &call, logits, dlogits, n);
        }
}

/* exp of these overflows, or all of them underflow. */
static void test_crossentropy_of_huge_logits(void **state) {
    (void)state;
    const double highs[] = {1e4, -1e4, 1e300, -1e300};
    for EACH(k, highs) {
        real logits[33], loss, sum = 0;
        for (int v = 0; v < 33; v++) logits[v] = highs[k] - fabs(highs[k]) / 2 - 1e3 * v;
        logits[4] = logits[9] = highs[k];
        crossentropy(&loss, logits, (int32_t[]){9}, 1, 33, 1);
        /* numbers near 1e4 are rounded at 1e-12; log 2 beside 1e300 vanishes */
        assert_near(loss, k < 2 ? log(2) : 0, 1e-11);
        for (int v = 0; v < 33; v++) {
            assert_true(isfinite(logits[v]));
            sum += logits[v];
        }
        assert_near(sum, 0, ROUNDING);
        assert_near(logits[4], 0.5, ROUNDING);
        assert_near(logits[9], -0.5, ROUNDING);
    }
}

/* ---- Matrix products ---- */

/* How a matrix lies in memory; gaps are NaN. */
enum layout { BY_ROWS, BY_COLUMNS, EVERY_OTHER, LAYOUTS };

static real *matrix_random(struct view *v, size_t rows, size_t cols, enum layout layout, uint64_t seed) {
    real *data = poisoned(2 * (rows + 3) * (cols + 3)), *values = random_numbers(rows * cols, seed);
    v->data = data;
    v->row = layout == BY_ROWS ? cols + 3 : layout == BY_COLUMNS ? 1 : 2;
    v->col = layout == BY_ROWS ? 1 : layout == BY_COLUMNS ? rows + 3 : 2 * rows + 1;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) data[i * v->row + j * v->col] = values[i * cols + j];
    free(values);
    return data;
}

/* A problem in one of VARIANTS ways, and what it owns. */
enum start { START_ZERO, START_OTHER, START_C, STARTS };
enum packing { UNPACKED, PACKED, PACKED_LONGER, PACKINGS };
enum { VARIANTS = LAYOUTS * LAYOUTS * STARTS * 2 * PACKINGS };

struct product {
    struct gemm g;
    real *a, *b, *c, *bias, *start, *packed;
    real *want; /* (M, ldc) */
};

/* Always by the definition, in the order of k. */
static real *product_plain(const struct gemm *g) {
    const real *a = g->A.data, *b = g->B.data;
    real *want = poisoned(g->M * g->ldc);
    for (size_t i = 0; i < g->M; i++)
        for (size_t j = 0; j < g->N; j++) {
            real sum = (g->start ? g->start[i * g->ldc + j] : 0) + (g->bias ? g->bias[j] : 0);
            for (size_t k = 0; k < g->K; k++)
                sum += a[i * g->A.row + k * g->A.col] * b[k * g->B.row + j * g->B.col];
            want[i * g->ldc + j] = sum;
        }
    return want;
}

static struct product product_make(size_t M, size_t N, size_t K, int variant, uint64_t seed) {
    const enum layout of_a = variant % LAYOUTS, of_b = variant / LAYOUTS % LAYOUTS;
    const enum start start = variant / (LAYOUTS * LAYOUTS) % STARTS;
    const bool bias = variant / (LAYOUTS * LAYOUTS * STARTS) % 2;
    const enum packing packing = variant / (LAYOUTS * LAYOUTS * STARTS * 2) % PACKINGS;
    const size_t packed_K = packing == PACKED_LONGER ? K + 5 : K;
    struct product p = {.g = {.M = M, .N = N, .K = K, .ldc = N + 2}};
    p.a = matrix_random(&p.g.A, M, K, of_a, seed);
    p.b = matrix_random(&p.g.B, packed_K, N, of_b, seed + 1);
    p.g.C = p.c = poisoned(M * p.g.ldc);
    if (bias) p.g.bias = p.bias = random_numbers(N, seed + 2);
    if (start == START_OTHER) p.g.start = p.start = random_numbers(M * p.g.ldc, seed + 3);
    if (start == START_C) {
        for (size_t i = 0; i < M; i++) random_fill(p.c + i * p.g.ldc, N, seed + 4 + i);
        p.g.start = p.c;
    }
    p.want = product_plain(&p.g);
    if (packing == UNPACKED) return p;
    p.g.packed = p.packed = poisoned(gemm_packed_count(packed_K, N));
    gemm_pack(p.packed, p.g.B, packed_K, N);
    p.g.packed_K = packing == PACKED_LONGER ? packed_K : 0;
    p.g.B = view_of(NULL, 0, 0);
    return p;
}

static void product_check(const struct product *p, int variant) {
    const struct gemm *g = &p->g;
    for (size_t i = 0; i < g->M; i++)
        for (size_t j = 0; j < g->ldc; j++) {
            const real got = p->c[i * g->ldc + j], want = p->want[i * g->ldc + j];
            if (j < g->N ? !(fabs(got - want) <= ROUNDING * fmax(1, fabs(want))) : !isnan(got)) {
                fail_msg("M %zu N %zu K %zu variant %d: C[%zu, %zu] got %.17g, want %.17g", g->M, g->N, g->K,
                         variant, i, j, got, want);
            }
        }
}

static void product_free(struct product *p) {
    free(p->a);
    free(p->b);
    free(p->c);
    free(p->bias);
    free(p->start);
    free(p->packed);
    free(p->want);
}

static size_t workspace_of(const struct product *p) {
    return p->g.packed ? 0 : gemm_packed_count(p->g.K, p->g.N);
}

static void gemm_check(size_t M, size_t N, size_t K, int variant) {
    struct product p = product_make(M, N, K, variant, M + 100 * N + 10000 * K);
    real *workspace = poisoned(workspace_of(&p));
    gemm_run(&p.g, 1, workspace);
    product_check(&p, variant);
    product_free(&p);
    free(workspace);
}

/* Every edge of a tile of 6 or 12 rows, of 4 to 16 columns, of a slab of 2 to 8 steps; variants in turn. */
static void test_gemm_of_small_shapes(void **state) {
    (void)state;
    const size_t Ms[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 18, 23, 25, 40};
    const size_t Ns[] = {1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40};
    const size_t Ks[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 40};
    int variant = 0;
    for EACH(m, Ms)
        for EACH(n, Ns)
            for EACH(k, Ks) gemm_check(Ms[m], Ns[n], Ks[k], variant = (variant + 55) % VARIANTS);
}

/* Blocks are 96 rows, 64 columns and 512 steps. */
static void test_gemm_of_many_blocks(void **state) {
    (void)state;
    const size_t Ms[] = {47, 49, 95, 97, 200}, Ns[] = {63, 65, 130}, Ks[] = {511, 512, 513, 1100};
    int variant = 0;
    for EACH(m, Ms)
        for EACH(n, Ns)
            for EACH(k, Ks) gemm_check(Ms[m], Ns[n], Ks[k], variant = (variant + 55) % VARIANTS);
}

static void test_gemm_in_every_way(void **state) {
    (void)state;
    for (int variant = 0; variant < VARIANTS; variant++) {
        gemm_check(13, 17, 385, variant);
        gemm_check(25, 33, 9, variant);
    }
}

static void test_gemm_of_many_problems(void **state) {
    (void)state;
    enum { PROBLEMS = 41 };
    struct product products[PROBLEMS];
    struct gemm problems[PROBLEMS];
    size_t count = 0;
    for (size_t i = 0; i < PROBLEMS; i++) { /* as experts: some got no rows, one got most */
        const size_t M = i % 3 == 0 ? 0 : i == 7 ? 211 : i % 11, K = i % 5 == 0 ? 0 : 2 * i + 5;
        products[i] = product_make(M, 3 * i + 1, K, (int)i * 59 % VARIANTS, 1000 * i);
        problems[i] = products[i].g;
        count += workspace_of(&products[i]);
    }
    real *workspace = poisoned(count);
    gemm_run(problems, PROBLEMS, workspace);
    for (size_t i = 0; i < PROBLEMS; i++) {
        product_check(&products[i], (int)i * 59 % VARIANTS);
        product_free(&products[i]);
    }
    free(workspace);
}

static void test_gemm_serial(void **state) {
    (void)state;
    for (int variant = VARIANTS / PACKINGS; variant < VARIANTS; variant++) { /* all packed */
        struct product serial = product_make(101, 37, 401, variant, 5);
        struct product parallel = product_make(101, 37, 401, variant, 5);
        gemm_serial(&serial.g);
        gemm_run(&parallel.g, 1, NULL);
        product_check(&serial, variant);
        assert_memory_equal(serial.c, parallel.c, 101 * serial.g.ldc * sizeof(real));
        product_free(&serial);
        product_free(&parallel);
    }
}

/* ---- Optimizer ---- */

/* Around the eight chains of a block, and around the 16,384 elements of it. */
static const size_t block_counts[] = {0, 1, 7, 8, 9, 16383, 16384, 16385, 50001};

static void test_gradient_norm(void **state) {
    (void)state;
    for EACH(k, block_counts) {
        const size_t n = block_counts[k];
        real *x = random_numbers(n, 1);
        assert_near(gradient_norm(x, n), sqrt(dot(x, x, n)), ROUNDING);
        for (size_t at = 0; at < n; at += n / 3 + 1) { /* no element is left out */
            const real kept = x[at];
            x[at] = 1e9;
            assert_near(gradient_norm(x, n), sqrt(dot(x, x, n)), ROUNDING);
            x[at] = NAN;
            assert_true(isnan(gradient_norm(x, n)));
            x[at] = kept;
        }
        free(x);
    }
}

/* The other kernels' bits are compared in test_bits.c, through the whole model. */
static void test_gradient_norm_on_threads(void **state) {
    (void)state;
    const int before = omp_get_max_threads();
    real x[100001];
    random_fill(x, COUNT(x), 1);
    omp_set_num_threads(1);
    const double norm = gradient_norm(x, COUNT(x));
    for (int threads = 2; threads < 9; threads++) {
        omp_set_num_threads(threads);
        assert_true(gradient_norm(x, COUNT(x)) == norm);
    }
    omp_set_num_threads(before);
}

static void test_clip_scale(void **state) {
    (void)state;
    assert_true(clip_scale(0.5, 1) == 1);
    assert_true(clip_scale(1, 1) == 1);
    assert_true(clip_scale(4, 1) == 0.25);
    assert_true(clip_scale(4, 8) == 1);
    assert_true(clip_scale(0, 1) == 1);
    assert_true(clip_scale(1e30, 0) == 1); /* 0: no clipping */
    assert_true(clip_scale(0, 0) == 1);
}

/* Parameter i, word for word as optimizer.h has it. */
static void adamw_plain(const struct adamw *a, const struct slab *s, size_t i, double lr, double scale, double step) {
    const double g = scale * s->g[i];
    s->m[i] = a->beta1 * s->m[i] + (1 - a->beta1) * g;
    s->v[i] = a->beta2 * s->v[i] + (1 - a->beta2) * g * g;
    const double m_hat = s->m[i] / (1 - pow(a->beta1, step)), v_hat = s->v[i] / (1 - pow(a->beta2, step));
    s->w[i] -= lr * (m_hat / (sqrt(v_hat) + a->epsilon) + (s->decay ? a->weight_decay : 0) * s->w[i]);
}

static void adamw_check(size_t n, bool decay) {
    const struct adamw a = {.beta1 = 0.9, .beta2 = 0.97, .epsilon = 1e-3, .weight_decay = 0.3};
    real params[n + 1], want[n + 1], grads[n + 1], m[n + 1], v[n + 1], m_want[n + 1], v_want[n + 1];
    random_fill(params, n, 1);
    memcpy(want, params, sizeof want);
    for (size_t i = 0; i < n; i++) m[i] = v[i] = m_want[i] = v_want[i] = 0;
    const struct slab slab = {params, grads, m, v, n, decay}, plain = {want, grads, m_want, v_want, n, decay};
    for (int64_t step = 1; step <= 5; step++) {
        random_fill(grads, n, (uint64_t)step);
        grads[n / 2] = 0;
        const double lr = 0.01 * (double)step;
        adamw_update(&a, &slab, lr, 0.7, step);
        for (size_t i = 0; i < n; i++) adamw_plain(&a, &plain, i, lr, 0.7, (double)step);
    }
    assert_all_near("params", params, want, n);
    assert_all_near("m", m, m_want, n);
    assert_all_near("v", v, v_want, n);
}

static void test_adamw(void **state) {
    (void)state;
    for EACH(k, block_counts) {
        adamw_check(block_counts[k], true);
        adamw_check(block_counts[k], false);
    }
}

static double rate(enum schedule_kind kind, int64_t step, int64_t warmup, int64_t steps, double final) {
    return learning_rate(&(struct schedule){kind, warmup, 10, steps, 8, final}, step);
}
#define COSINE(...) rate(SCHEDULE_COSINE, __VA_ARGS__)

static void test_learning_rate(void **state) {
    (void)state;
    /* warm-up: a quarter, a half, three quarters, all of the peak */
    for (int step = 0; step < 4; step++) assert_near(COSINE(step, 4, 24, 0.1), 2 * (step + 1), ROUNDING);
    assert_near(COSINE(4, 4, 24, 0.1), 8, ROUNDING);
    assert_near(COSINE(14, 4, 24, 0.1), 8 * 0.55, ROUNDING); /* half-way between 1 and 0.1 */
    assert_near(COSINE(9, 4, 24, 0.1), 8 * (0.1 + 0.45 * (1 + sqrt(0.5))), ROUNDING);
    assert_near(COSINE(24, 4, 24, 0.1), 0.8, ROUNDING);
    assert_near(COSINE(1000, 4, 24, 0.1), 0.8, ROUNDING);
    for (int step = 4; step < 24; step++) /* never rises again */
        assert_true(COSINE(step + 1, 4, 24, 0.1) < COSINE(step, 4, 24, 0.1));
    assert_near(COSINE(0, 0, 10, 0), 8, ROUNDING); /* no warm-up */
    assert_near(COSINE(10, 0, 10, 0), 0, ROUNDING);
    assert_near(COSINE(3, 4, 4, 0.1), 8, ROUNDING); /* nothing but warm-up */
    assert_near(COSINE(4, 4, 4, 0.1), 0.8, ROUNDING);
    assert_near(COSINE(0, 0, 0, 0.1), 0.8, ROUNDING); /* no steps at all */
    assert_near(COSINE(3, 9, 5, 0.1), 8 * 4. / 9, ROUNDING); /* still warming up at the end */
    for (int step = 0; step < 20; step++) assert_near(COSINE(step, 0, 20, 1), 8, ROUNDING); /* constant */
}

/* Every kind warms up alike; the line falls evenly from there, WSD's over its last ten steps, the constant never. */
static void test_schedules(void **state) {
    (void)state;
    for (enum schedule_kind kind = SCHEDULE_LINEAR; kind <= SCHEDULE_CONSTANT; kind++)
        for (int step = 0; step < 30; step++) {
            const double over = kind == SCHEDULE_LINEAR ? 20 : 10, left = fmin(1, fmax(0, (24 - step) / over));
            const double fallen = kind == SCHEDULE_CONSTANT ? 1 : 0.25 + 0.75 * left;
            const double want = step < 4 ? (step + 1) / 4. : fallen;
            assert_near(rate(kind, step, 4, 24, 0.25), 8 * want, ROUNDING);
        }
    /* a fall longer than what the warm-up leaves begins where that ends */
    assert_near(rate(SCHEDULE_WSD, 4, 4, 12, 0), 8, ROUNDING);
    assert_near(rate(SCHEDULE_WSD, 8, 4, 12, 0), 4, ROUNDING);
    assert_near(rate(SCHEDULE_WSD, 12, 4, 12, 0), 0, ROUNDING);
    assert_near(rate(SCHEDULE_CONSTANT, 0, 0, 0, 0), 8, ROUNDING);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms),
        cmocka_unit_test(test_layernorm_of_a_constant),
        cmocka_unit_test(test_residual),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_activations_far_out),
        cmocka_unit_test(test_exp),
        cmocka_unit_test(test_column_sums),
        cmocka_unit_test(test_crossentropy),
        cmocka_unit_test(test_crossentropy_of_huge_logits),
        cmocka_unit_test(test_gemm_of_small_shapes),
        cmocka_unit_test(test_gemm_of_many_blocks),
        cmocka_unit_test(test_gemm_in_every_way),
        cmocka_unit_test(test_gemm_of_many_problems),
        cmocka_unit_test(test_gemm_serial),
        cmocka_unit_test(test_gradient_norm),
        cmocka_unit_test(test_gradient_norm_on_threads),
        cmocka_unit_test(test_clip_scale),
        cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_learning_rate),
        cmocka_unit_test(test_schedules),
    };
    return cmocka_run_group_tests_name("kernels", tests, NULL, NULL);
}
