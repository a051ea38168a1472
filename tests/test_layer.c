/* The model's MoE layer against tests/reference.h, in double.
 *
 * The layer is seen through a model of one block whose attention adds nothing: embeddings, layer norm, the
 * MoE layer on the residual stream, layer norm, head. Everything around the layer is computed here again. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "reference.h"
#include "small_model.h"

/* Rounding of a few hundred multiply-adds of numbers up to about 10; any wrong term is over 1e-6. */
#define TOLERANCE 1e-12

static void assert_near(double got, double want) {
    if (!(fabs(got - want) <= TOLERANCE)) fail_msg("got %.15g, want %.15g", got, want);
}

static struct config one_block(void) {
    struct config config = small_config;
    config.layers = 1;
    return config;
}

static struct model model_without_attention(const struct config *config, size_t B) {
    struct model m = model_random(config, MODEL_INFER, B, 7);
    size_t C = m.sizes.C;
    memset(m.params.attprojw, 0, C * C * sizeof(real));
    if (m.params.attprojb) memset(m.params.attprojb, 0, C * sizeof(real));
    return m;
}

/* logits (R,V) of the whole model; returns E7. */
static double reference_model(real *logits, double *load, double *z, const struct model *m,
                              const struct example *b) {
    const size_t C = m->sizes.C, V = m->sizes.V, T = b->batch.T, R = b->batch.B * T;
    const enum norm_kind norm = (enum norm_kind)m->config.norm;
    const struct parameters *w = &m->params;
    const struct reference_layer layer = {&m->config, &m->sizes, w, m->router_bias, 0};
    real x[R * C], normed[R * C], y[R * C], last[C];
    for (size_t r = 0; r < R; r++) {
        for (size_t c = 0; c < C; c++) x[r * C + c] = w->wte[b->tokens[r] * C + c];
        for (size_t c = 0; c < C && w->wpe; c++) x[r * C + c] += w->wpe[r % T * C + c];
        reference_norm(normed + r * C, norm, w->ln2w, w->ln2b, x + r * C, C);
    }
    double balance = reference_moe(y, load, z, &layer, normed, R);
    for (size_t r = 0; r < R; r++) {
        for (size_t c = 0; c < C; c++) x[r * C + c] += y[r * C + c];
        reference_norm(last, norm, w->lnfw, w->lnfb, x + r * C, C);
        reference_linear(logits + r * V, w->lmhead ? w->lmhead : w->wte, NULL, last, V, C);
    }
    return balance;
}

/* Runs both; load (E) receives how the picks fell. */
static void layer_check(struct model *m, const struct example *b, double *load) {
    size_t V = m->sizes.V, R = b->batch.B * b->batch.T;
    real logits[R * V];
    double z, balance = reference_model(logits, load, &z, m, b);
    model_pack(m);
    model_clear_statistics(m);
    model_forward(m, &b->batch);
    for (size_t r = 0; r < R; r++) {
        const real *got = model_logits(m, r);
        for (size_t v = 0; v < V; v++) assert_near(got[v], logits[r * V + v]);
    }
    for (size_t e = 0; e < m->sizes.E; e++) assert_true(m->load[e] == load[e]);
    assert_near(m->balance_sum[0], balance);
    assert_near(m->z_sum[0], z);
    assert_int_equal(m->forwards, 1);
    model_overrun_check(m);
}

/* Heads, top-k and every combination of what has two or four values. */
static void test_every_setting(void **state) {
    (void)state;
    struct example b = example_random(2, 7, small_config.vocab, 3);
    for (int setting = 0; setting < 4 * 3 * 512; setting++) {
        struct config config = one_block();
        config.moe_heads = setting % 4 + 1;
        config.topk = setting / 4 % 3 + 1;
        int switches = setting / 12;
        config.head_depth = switches % 4;
        config.merge_depth = switches / 4 % 4;
        config.moe_residual = switches & 16;
        config.renormalize = switches & 32;
        config.router = switches & 64 ? ROUTER_COSINE : ROUTER_SOFTMAX;
        config.shared_hidden = switches & 128 ? 5 : 0;
        config.balance = switches & 256 ? BALANCE_BIAS : BALANCE_AUX;
        struct model m = model_without_attention(&config, b.batch.B);
        double load[config.experts];
        layer_check(&m, &b, load);
        model_destroy(&m);
    }
    example_free(&b);
}

/* Every activation, with and without biases, in every norm, before every output head; in SMoE, for which head, merge
 * and the number of heads mean nothing, and MH-MoE. */
static void test_every_block(void **state) {
    (void)state;
    struct example b = example_random(2, 7, small_config.vocab, 4);
    for (int setting = 0; setting < 3 * 256; setting++) {
        struct config config = one_block();
        const int switches = setting / 3;
        config.activation = setting % 3;
        config.bias = switches & 1;
        config.norm = switches & 2 ? NORM_RMS : NORM_LAYER;
        config.position = switches & 4 ? POSITION_ROTARY : POSITION_LEARNED;
        config.tie = switches & 8;
        config.qk_norm = switches & 16;
        config.ffn = switches & 32 ? FFN_SMOE : FFN_MHMOE;
        config.shared_hidden = switches & 64 ? 5 : 0;
        config.head_depth = config.merge_depth = switches & 128 ? 2 : switches & 2 ? 1 : 0;
        config.expert_hidden = setting % 5 ? 7 : 0;
        struct model m = model_without_attention(&config, b.batch.B);
        double load[config.experts];
        layer_check(&m, &b, load);
        model_destroy(&m);
    }
    example_free(&b);
}

/* One row has 3 sub-tokens and so at most 6 picks for 17 experts. */
static void test_experts_without_subtokens(void **state) {
    (void)state;
    struct example b = example_random(1, 1, small_config.vocab, 5);
    struct config config = one_block();
    config.experts = 17;
    struct model m = model_without_attention(&config, b.batch.B);
    double load[17];
    layer_check(&m, &b, load);
    int empty = 0;
    for (int e = 0; e < 17; e++) empty += load[e] == 0;
    assert_in_range(empty, 11, 15);
    model_destroy(&m);
    example_free(&b);
}

static void test_every_pick_of_every_expert(void **state) {
    (void)state;
    struct example b = example_random(2, 5, small_config.vocab, 6);
    struct config config = one_block();
    config.topk = config.experts;
    struct model m = model_without_attention(&config, b.batch.B);
    double load[config.experts];
    layer_check(&m, &b, load);
    for (int e = 0; e < config.experts; e++) assert_true(load[e] == 2 * 5 * 3);
    model_destroy(&m);
    example_free(&b);
}

/* A router of zeros finds all experts equal: everyone goes to experts 0 and 1, and E7 is exactly 1, since
 * each pbar_e is 1/E. 19 experts: a whole vector of them and a rest. */
static void test_ties_of_all(void **state) {
    (void)state;
    struct example b = example_random(2, 7, small_config.vocab, 8);
    struct config config = one_block();
    config.experts = 19;
    struct model m = model_without_attention(&config, b.batch.B);
    memset(m.params.routerw, 0, 19 * m.sizes.S * sizeof(real));
    double load[19];
    layer_check(&m, &b, load);
    for (int e = 0; e < 19; e++) assert_true(load[e] == (e < 2 ? 2 * 7 * 3 : 0));
    assert_near(m.balance_sum[0], 1);
    model_destroy(&m);
    example_free(&b);
}

/* Experts 3 and 17 have the same router row: whoever would take 17 takes 3. */
static void test_ties_of_two(void **state) {
    (void)state;
    struct example b = example_random(2, 9, small_config.vocab, 9);
    struct config config = one_block();
    config.experts = 19;
    config.topk = 1;
    struct model m = model_without_attention(&config, b.batch.B);
    size_t S = m.sizes.S;
    memcpy(m.params.routerw + 17 * S, m.params.routerw + 3 * S, S * sizeof(real));
    double load[19];
    layer_check(&m, &b, load);
    assert_true(load[3] > 0);
    assert_true(load[17] == 0);
    model_destroy(&m);
    example_free(&b);
}

/* A projection and an expert of zeros have cosine 0 with everything, and no number that is not finite. */
static void test_cosine_of_zero(void **state) {
    (void)state;
    struct example b = example_random(2, 7, small_config.vocab, 10);
    struct config config = one_block();
    config.router = ROUTER_COSINE;
    struct model m = model_without_attention(&config, b.batch.B);
    memset(m.params.routerw + 2 * m.sizes.D, 0, m.sizes.D * sizeof(real));
    double load[config.experts];
    layer_check(&m, &b, load);
    memset(m.params.routerp, 0, m.sizes.D * m.sizes.S * sizeof(real));
    layer_check(&m, &b, load);
    for (int e = 0; e < config.experts; e++) assert_true(load[e] == (e < 2 ? 2 * 7 * 3 : 0));
    model_destroy(&m);
    example_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_setting),
        cmocka_unit_test(test_every_block),
        cmocka_unit_test(test_experts_without_subtokens),
        cmocka_unit_test(test_every_pick_of_every_expert),
        cmocka_unit_test(test_ties_of_all),
        cmocka_unit_test(test_ties_of_two),
        cmocka_unit_test(test_cosine_of_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
