/* Routers in double: forward against the loops of reference.h, backward against central differences, for both
 * kinds at odd sizes; what balance does to the choice; and the inputs that could make NaN. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../src/layers/router.h"
#include "random_numbers.h"
#include "reference.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Sums of some dozen products near 1, and exp of them. */
#define ROUNDING 1e-12

/* ---- A router on rows ---- */

struct shape {
    size_t N, E, K, S, D;
};
static const struct shape shapes[] = {{1, 2, 1, 1, 1}, {23, 5, 2, 7, 3}, {67, 19, 4, 9, 16}, {40, 3, 3, 12, 5}};

struct layer {
    struct shape shape;
    size_t width;                         /* of what meets the experts: S, or D */
    struct router router;
    struct routing routing;
    int32_t *offsets;
    real *x, *W, *P, *log_tau, *bias, *c; /* given; c (N, K): the loss is sum c g + the router's own losses */
    real *dx, *dW, *dP, *d_log_tau;       /* computed; they begin at 1, since backward adds */
    char *packed[4];
};

static char *packed_copy(const real *w, size_t OC, size_t IC, bool transposed) {
    const size_t K = transposed ? OC : IC, N = transposed ? IC : OC;
    real *packed = array_alloc(gemm_packed_count(K, N), sizeof *packed);
    gemm_pack(packed, transposed ? view_of(w, IC, 1) : view_of(w, 1, IC), K, N);
    return (char *)packed;
}

static struct linear linear_of(struct layer *l, int i, const real *w, real *dw, size_t OC, size_t IC) {
    free(l->packed[i]);
    free(l->packed[i + 1]);
    l->packed[i] = packed_copy(w, OC, IC, false);
    l->packed[i + 1] = packed_copy(w, OC, IC, true);
    return (struct linear){.w = w, .IC = IC, .OC = OC, .packed = l->packed[i], .packed_t = l->packed[i + 1], .dw = dw};
}

static real *filled(size_t n, real value) {
    real *x = array_alloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = value;
    return x;
}

static struct layer layer_make(struct shape s, enum router_kind kind, bool renormalize, bool biased) {
    const size_t width = kind == ROUTER_COSINE ? s.D : s.S;
    struct layer l = {.shape = s, .width = width, .offsets = array_alloc(s.E + 1, sizeof(int32_t))};
    l.x = random_numbers(s.N * s.S, 1), l.W = random_numbers(s.E * width, 2), l.P = random_numbers(s.D * s.S, 3);
    l.log_tau = random_numbers(1, 4), l.bias = random_numbers(s.E, 5), l.c = random_numbers(s.N * s.K, 6);
    l.dx = filled(s.N * s.S, 1), l.dW = filled(s.E * width, 1), l.dP = filled(s.D * s.S, 1);
    l.d_log_tau = filled(1, 1);
    for (size_t e = 0; e < s.E; e++) l.bias[e] *= biased ? 0.2 : 0;
    l.router = (struct router){.kind = kind, .E = s.E, .K = s.K, .renormalize = renormalize, .bias = l.bias,
                               .log_tau = l.log_tau, .d_log_tau = l.d_log_tau};
    l.routing = (struct routing){.N = s.N, .projected = filled(s.N * s.D, NAN), .probs = filled(s.N * s.E, NAN),
                                 .log_sums = filled(s.N, NAN), .gates = filled(s.N * s.K, NAN),
                                 .picks = array_alloc(s.N * s.K, sizeof(int32_t)), .offsets = l.offsets};
    return l;
}

static void layer_free(struct layer *l) {
    void *const all[] = {l->offsets, l->x, l->W, l->P, l->log_tau, l->bias, l->c, l->dx, l->dW, l->dP, l->d_log_tau,
                         l->routing.projected, l->routing.probs, l->routing.log_sums, l->routing.gates,
                         l->routing.picks, l->packed[0], l->packed[1], l->packed[2], l->packed[3]};
    for (size_t i = 0; i < COUNT(all); i++) free(all[i]);
}

/* The first rows of the experts, as if picks were sorted. */
static void picks_count(struct layer *l) {
    const struct shape s = l->shape;
    memset(l->offsets, 0, (s.E + 1) * sizeof *l->offsets);
    for (size_t i = 0; i < s.N * s.K; i++) l->offsets[l->routing.picks[i] + 1]++;
    for (size_t e = 0; e < s.E; e++) l->offsets[e + 1] += l->offsets[e];
}

static void layer_forward(struct layer *l) {
    const struct shape s = l->shape;
    l->router.scores = linear_of(l, 0, l->W, l->dW, s.E, l->width);
    l->router.project = linear_of(l, 2, l->P, l->dP, s.D, s.S);
    router_forward(&l->router, &l->routing, kept_real(l->x));
    picks_count(l);
}

enum { BALANCE = 3, Z = 2 }; /* weights of the routers' own losses, strong enough to show */

static void layer_backward(struct layer *l) {
    const struct shape s = l->shape;
    struct router_gradients g = {.balance_weight = BALANCE, .z_weight = Z, .dx = l->dx};
    g.d_gates = random_numbers(s.N * s.K, 6); /* c */
    g.d_scores = filled(s.N * s.E, NAN), g.d_projected = filled(s.N * s.D, NAN);
    g.d_embeddings = filled(s.E * l->width, NAN);
    g.workspace = array_alloc(router_workspace_bytes(l->router.kind, s.E, l->width, s.S, s.N) + 1, 1);
    router_backward(&l->router, &l->routing, &g, kept_real(l->x));
    free(g.d_gates), free(g.d_scores), free(g.d_projected), free(g.d_embeddings), free(g.workspace);
}

/* The loss that layer_backward differentiates. */
static double layer_loss(struct layer *l) {
    const struct shape s = l->shape;
    real mean[s.E];
    layer_forward(l);
    double loss = BALANCE * router_balance(&l->router, &l->routing, mean) + Z * router_z_loss(&l->routing);
    for (size_t i = 0; i < s.N * s.K; i++) loss += l->c[i] * l->routing.gates[i];
    return loss;
}

/* ---- Forward ---- */

static void assert_near(const char *what, double got, double want) {
    if (!(fabs(got - want) <= ROUNDING * fmax(1, fabs(want))))
        fail_msg("%s: got %.17g, want %.17g", what, got, want);
}

static void forward_check(struct layer *l) {
    const struct shape s = l->shape;
    const struct sizes z = {.E = s.E, .S = s.S, .D = l->width};
    const struct parameters w = {.routerw = l->W, .routerp = l->P, .routert = l->log_tau};
    const struct config config = {.router = (int)l->router.kind};
    const struct reference_layer reference = {.config = &config, .sizes = &z, .w = &w};
    double load[s.E], p_sum[s.E], z_sum = 0, balance = 0;
    real mean[s.E];
    memset(load, 0, sizeof load);
    memset(p_sum, 0, sizeof p_sum);
    layer_forward(l);
    for (size_t n = 0; n < s.N; n++) {
        real r[s.E], p[s.E], gates[s.K];
        int32_t picks[s.K];
        reference_scores(r, &reference, l->x + n * s.S);
        const double log_sum = reference_softmax(p, r, s.E);
        reference_choose(picks, gates, p, l->bias, s.E, s.K, l->router.renormalize);
        assert_near("log sum", l->routing.log_sums[n], log_sum);
        for (size_t e = 0; e < s.E; e++) assert_near("p", l->routing.probs[n * s.E + e], p[e]), p_sum[e] += p[e];
        for (size_t k = 0; k < s.K; k++) {
            assert_int_equal(l->routing.picks[n * s.K + k], picks[k]);
            assert_near("gate", l->routing.gates[n * s.K + k], gates[k]);
            load[picks[k]]++;
        }
        z_sum += log_sum * log_sum;
    }
    for (size_t e = 0; e < s.E; e++) balance += s.E * load[e] / (s.N * s.K) * p_sum[e] / s.N;
    assert_near("E7", router_balance(&l->router, &l->routing, mean), balance);
    assert_near("z-loss", router_z_loss(&l->routing), z_sum / s.N);
}

/* Every shape, kind, and choice of what gates sum to and of a bias. */
static void layers_check(void (*check)(struct layer *l)) {
    for (size_t i = 0; i < COUNT(shapes) * 8; i++) {
        struct layer l = layer_make(shapes[i / 8], i & 1 ? ROUTER_COSINE : ROUTER_SOFTMAX, i & 2, i & 4);
        check(&l);
        layer_free(&l);
    }
}

static void test_forward(void **state) {
    (void)state;
    layers_check(forward_check);
}

/* ---- Backward ---- */

/* Four points leave an error of h^4 f'''''/30. tau may be small, which makes scores, and their fifth derivatives,
 * large; rounding, of losses up to some hundreds known to 1e-14 of them, is divided by h. */
#define STEP 1e-4
#define TOLERANCE 1e-7
#define NOISE 1e-8

/* Of the loss by *at. False if the choice changed on the way, across which there is no derivative. */
static bool difference(struct layer *l, real *at, double *slope) {
    const size_t picks_bytes = l->shape.N * l->shape.K * sizeof(int32_t);
    const double steps[] = {STEP, -STEP, 2 * STEP, -2 * STEP};
    const real before = *at;
    int32_t *picks = array_alloc(picks_bytes, 1);
    double f[4];
    bool same = true;
    layer_forward(l);
    memcpy(picks, l->routing.picks, picks_bytes);
    for (int k = 0; k < 4; k++) {
        *at = before + steps[k];
        f[k] = layer_loss(l);
        same &= memcmp(picks, l->routing.picks, picks_bytes) == 0;
    }
    *at = before;
    free(picks);
    *slope = (8 * (f[0] - f[1]) - (f[2] - f[3])) / (12 * STEP);
    return same;
}

static void gradient_check(struct layer *l, const char *name, real *values, const real *gradient, size_t n) {
    size_t skipped = 0;
    for (size_t k = 0; k < 9; k++) {
        const size_t i = k * 7919 % n;
        const double got = gradient[i] - 1;
        double want;
        if (!difference(l, values + i, &want)) {
            skipped++;
            continue;
        }
        if (!(fabs(got - want) <= TOLERANCE * fabs(want) + NOISE))
            fail_msg("%s d%s[%zu]: got %.12g, difference %.12g", l->router.kind ? "cosine" : "softmax", name, i,
                     got, want);
    }
    assert_in_range(skipped, 0, 2);
}

static void backward_check(struct layer *l) {
    const struct shape s = l->shape;
    layer_forward(l);
    layer_backward(l);
    gradient_check(l, "x", l->x, l->dx, s.N * s.S);
    gradient_check(l, "W", l->W, l->dW, s.E * l->width);
    if (l->router.kind == ROUTER_COSINE) {
        gradient_check(l, "P", l->P, l->dP, s.D * s.S);
        gradient_check(l, "log_tau", l->log_tau, l->d_log_tau, 1);
    }
}

static void test_backward(void **state) {
    (void)state;
    layers_check(backward_check);
}

/* What a cosine must not see: the length of a projection and of an embedding; up to the epsilon of norms, 1e-12
 * beside squares that are 0.01 here, or more. */
#define EPSILON 1e-9

static void test_cosine_has_no_length(void **state) {
    (void)state;
    struct layer l = layer_make(shapes[1], ROUTER_COSINE, false, false);
    const size_t D = l.shape.D;
    layer_forward(&l);
    layer_backward(&l);
    for (size_t e = 0; e < l.shape.E; e++) {
        double along = 0;
        for (size_t d = 0; d < D; d++) along += l.W[e * D + d] * (l.dW[e * D + d] - 1);
        assert_true(fabs(along) < EPSILON);
    }
    real *probs = random_numbers(l.shape.N * l.shape.E, 0);
    memcpy(probs, l.routing.probs, l.shape.N * l.shape.E * sizeof *probs);
    for (size_t i = 0; i < l.shape.E * D; i++) l.W[i] *= 5;
    for (size_t i = 0; i < D * l.shape.S; i++) l.P[i] /= 3;
    layer_forward(&l);
    for (size_t i = 0; i < l.shape.N * l.shape.E; i++)
        assert_true(fabs(l.routing.probs[i] - probs[i]) < EPSILON);
    free(probs);
    layer_free(&l);
}

/* A row, a projection or an embedding of zeros: finite, and cosine 0. */
static void test_zeros(void **state) {
    (void)state;
    struct layer l = layer_make(shapes[1], ROUTER_COSINE, true, false);
    const struct shape s = l.shape;
    memset(l.x + 2 * s.S, 0, s.S * sizeof(real));
    memset(l.W + 1 * s.D, 0, s.D * sizeof(real));
    layer_forward(&l);
    for (size_t e = 0; e < s.E; e++) assert_near("p", l.routing.probs[2 * s.E + e], 1.0 / s.E);
    layer_backward(&l);
    for (size_t i = 0; i < s.N * s.S; i++) assert_true(isfinite(l.dx[i]));
    for (size_t i = 0; i < s.E * s.D; i++) assert_true(isfinite(l.dW[i]));
    for (size_t i = 0; i < s.D * s.S; i++) assert_true(isfinite(l.dP[i]));
    assert_true(isfinite(*l.d_log_tau));
    layer_free(&l);
}

/* A bias may choose experts whose probabilities are all 0: gates of 0, no NaN. */
static void test_chosen_without_probability(void **state) {
    (void)state;
    struct layer l = layer_make((struct shape){1, 3, 2, 1, 1}, ROUTER_SOFTMAX, true, false);
    memcpy(l.W, (real[]){2000, -2000, -2000}, 3 * sizeof(real));
    memcpy(l.bias, (real[]){0, 2, 2}, 3 * sizeof(real));
    l.x[0] = 1;
    layer_forward(&l);
    assert_int_equal(l.routing.picks[0], 1);
    assert_int_equal(l.routing.picks[1], 2);
    assert_true(l.routing.gates[0] == 0 && l.routing.gates[1] == 0);
    layer_backward(&l);
    for (int e = 0; e < 3; e++) assert_true(isfinite(l.dW[e]));
    layer_free(&l);
}

/* ---- Balance ---- */

/* The bias turns the choice, ties go to the lower id, and the gate stays the probability. */
static void test_bias_chooses(void **state) {
    (void)state;
    struct layer l = layer_make((struct shape){1, 4, 2, 1, 1}, ROUTER_SOFTMAX, false, false);
    memset(l.W, 0, 4 * sizeof(real)); /* all probabilities 1/4 */
    l.bias[3] = 1e-6;
    layer_forward(&l);
    assert_int_equal(l.routing.picks[0], 3);
    assert_int_equal(l.routing.picks[1], 0);
    assert_true(l.routing.gates[0] == 0.25 && l.routing.gates[1] == 0.25);
    layer_free(&l);
}

/* One step each way; none at the mean, which 3 experts and loads that are no multiple of it hit exactly. What all have
 * in common is taken away: at first 1, then a third of the one step that is left over. */
static void test_bias_moves(void **state) {
    (void)state;
    real bias[] = {1, 1, 1};
    router_bias_update(bias, (double[]){7, 11, 15}, 3, 0.25);
    assert_true(bias[0] == 0.25 && bias[1] == 0 && bias[2] == -0.25);
    router_bias_update(bias, (double[]){0, 0, 10}, 3, 0.25);
    assert_near("idle", bias[0], 0.5 - 0.25 / 3);
    assert_near("idle", bias[1], 0.25 - 0.25 / 3);
    assert_near("loaded", bias[2], -0.5 - 0.25 / 3);
    memcpy(bias, (real[]){0.5, 0.25, -0.75}, sizeof bias);
    router_bias_update(bias, (double[]){2, 2, 2}, 3, 0.25);
    assert_true(bias[0] == 0.5 && bias[1] == 0.25 && bias[2] == -0.75);
    real even[] = {0, 0, 0, 0, 0, 0, 0};
    router_bias_update(even, (double[]){0.7e15, 0.7e15, 0.7e15, 0.7e15, 0.7e15, 0.7e15, 0.7e15}, 7, 1);
    for (int e = 0; e < 7; e++) assert_true(even[e] == 0);
}

/* One of 64 has all the load: 63 biases rise where one falls, but their mean stays 0, and differences are what they
 * would have been. */
static void test_bias_keeps_its_mean(void **state) {
    (void)state;
    enum { E = 64 };
    real bias[E] = {0};
    double load[E] = {0}, sum = 0;
    load[9] = 1000;
    for (int step = 0; step < 300; step++) router_bias_update(bias, load, E, 1e-3);
    for (size_t e = 0; e < E; e++) sum += bias[e];
    assert_near("mean", sum / E, 0);
    for (size_t e = 0; e < E; e++) assert_near("difference", bias[e] - bias[9], e == 9 ? 0 : 0.6);
}

/* Rows prefer one expert by less than biases can make up: within some hundred steps all share the work. */
static void test_bias_balances(void **state) {
    (void)state;
    struct layer l = layer_make((struct shape){200, 5, 1, 3, 1}, ROUTER_SOFTMAX, false, false);
    for (size_t i = 0; i < 5 * 3; i++) l.W[i] *= 0.3;
    for (size_t n = 0; n < 200; n++) l.x[n * 3] += 3;
    double load[5], uneven = 0;
    for (int step = 0; step < 300; step++) {
        layer_forward(&l);
        for (size_t e = 0; e < 5; e++) load[e] = l.offsets[e + 1] - l.offsets[e];
        for (size_t e = 0; e < 5 && step == 0; e++) uneven = fmax(uneven, load[e]);
        router_bias_update(l.bias, load, 5, 2e-3);
    }
    assert_true(uneven > 120);
    for (size_t e = 0; e < 5; e++) assert_true(load[e] > 20 && load[e] < 60); /* 40 is even */
    layer_free(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_backward),
        cmocka_unit_test(test_cosine_has_no_length),
        cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_chosen_without_probability),
        cmocka_unit_test(test_bias_chooses),
        cmocka_unit_test(test_bias_moves),
        cmocka_unit_test(test_bias_keeps_its_mean),
        cmocka_unit_test(test_bias_balances),
    };
    return cmocka_run_group_tests_name("router", tests, NULL, NULL);
}
