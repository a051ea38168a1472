/* make lesson: the MH-MoE layer on one token, forward and backward, with numbers that can be followed by hand.
 *
 * What is printed is what the layer computed, mhmoe.c's moe_forward and moe_backward, whose arrays are read here; that
 * is why mhmoe.c is included, and not linked. Read it beside sections 2 to 4 of MHMOE.md. The weights are chosen so
 * that little is left to work out: the router's are multiples of ln 2, which makes its probabilities fractions of 13
 * and 9; the activation is ReLU squared; there are no biases. tests/test_lesson.c holds every number to a pencil's. */
#include "../mhmoe.c"

#include <math.h>
#include <stdio.h>

enum { CHANNELS = 4, HEADS = 2, EXPERTS = 3, PICKS = 2, WIDTH = CHANNELS / HEADS };

static const real token[CHANNELS] = {1, 1, 0, 1}, dy[CHANNELS] = {1, 0, 0, 1};
static const real head[CHANNELS * CHANNELS] = {1, 0, 0, 1,  0, 1, 0, 0,  0, 0, 1, 0,  0, 1, 0, 1};
static const real merge[CHANNELS * CHANNELS] = {1, 0, 1, 0,  0, 1, 0, 0,  0, 0, 1, 0,  0, 1, 0, 1};
static const real router_in_ln2[EXPERTS * WIDTH] = {-1, 1,  0, 1,  1, 0};
static const real up[EXPERTS * WIDTH] = {1, 0.5,  0, 1,  1, -1}, down[EXPERTS * WIDTH] = {1, 2,  1, 1,  2, 1};

static struct model lesson_model(void) {
    const struct config config = {
        .vocab = 2, .seq = 1, .layers = 1, .channels = CHANNELS, .attn_heads = 1, .norm = NORM_RMS,
        .position = POSITION_LEARNED, .activation = ACTIVATION_RELU2, .tie = true, .ffn = FFN_MHMOE,
        .moe_heads = HEADS, .experts = EXPERTS, .topk = PICKS, .expert_hidden = 1, .moe_every = 1, .head_depth = 1,
        .merge_depth = 1, .router_dim = 1, .balance = BALANCE_AUX, .balance_weight = 0.01, .patch = 8, .codes = 512};
    struct model m;
    struct error err;
    if (!model_create(&m, &config, (struct model_setup){.use = MODEL_TRAIN, .batch = 1}, &err)) error_exit(&err);
    memcpy(m.params.headw, head, sizeof head);
    memcpy(m.params.mergew, merge, sizeof merge);
    memcpy(m.params.expw1, up, sizeof up);
    memcpy(m.params.expw2, down, sizeof down);
    for (size_t i = 0; i < EXPERTS * WIDTH; i++) m.params.routerw[i] = router_in_ln2[i] * (real)M_LN2;
    model_pack(&m);
    m.acts->rows = 1;
    work_ensure(&m);
    return m;
}

/* "name  1 2 | 3 4": rows of numbers, with a bar between them; a large matrix has a line for each. */
static void row_print(const char *name, const real *numbers, size_t rows, size_t columns) {
    const char *const between = rows * columns > 8 ? "\n              " : "  |";
    printf("    %-10s", name);
    for (size_t i = 0; i < rows * columns; i++)
        printf("%s%8.4g", i > 0 && i % columns == 0 ? between : "", (double)numbers[i] + 0.0);
    printf("\n");
}

static void weights_print(void) {
    printf("One token x of C = 4 channels, H = 2 heads, E = 3 experts, K = 2 picks, F = 1 hidden unit.\n"
           "A bar divides sub-tokens (n = 0 | n = 1), experts (e = 0 | 1 | 2) or slots.\n\n");
    row_print("x", token, 1, CHANNELS);
    row_print("W_head", head, CHANNELS, CHANNELS);
    row_print("W_router", router_in_ln2, EXPERTS, WIDTH);
    printf("               times ln 2 = 0.6931: exp of a score is then a power of 2\n");
    row_print("W1", up, EXPERTS, WIDTH);
    row_print("W2", down, EXPERTS, WIDTH);
    row_print("W_merge", merge, CHANNELS, CHANNELS);
}

/* The picks as the router made them, and as the experts get them. */
static void dispatch_print(const struct dispatch *d, const int32_t *picks) {
    printf("\n    dispatch: the counting sort of the %zu picks by expert\n\n", d->N * d->K);
    printf("        pick (n,k)      ");
    for (size_t i = 0; i < d->N * d->K; i++) printf("(%zu,%zu)  ", i / d->K, i % d->K);
    printf("\n        expert picked   ");
    for (size_t i = 0; i < d->N * d->K; i++) printf("  %d    ", picks[i]);
    printf("\n        slots[n,k]      ");
    for (size_t i = 0; i < d->N * d->K; i++) printf("  %d    ", d->slots[i]);
    printf("\n\n        slot            ");
    for (size_t i = 0; i < d->N * d->K; i++) printf("  %zu    ", i);
    printf("\n        sources         ");
    for (size_t i = 0; i < d->N * d->K; i++) printf("  %d    ", d->sources[i]);
    printf("  (the sub-token n)\n        expert's rows   ");
    for (size_t e = 0; e < d->E; e++) {
        const int n = d->offsets[e + 1] - d->offsets[e];
        printf("[%*s%zu%*s] ", 7 * n / 2 - 2, "", e, 7 * n - 7 * n / 2 - 2, "");
    }
    printf(" offsets");
    for (size_t e = 0; e <= d->E; e++) printf(" %d", d->offsets[e]);
    printf("\n\n");
}

static void picks_print(const struct routing *r) {
    printf("    %-10s", "picks");
    for (size_t i = 0; i < r->N * PICKS; i++) printf("%s%8d", i == PICKS ? "  |" : "", r->picks[i]);
    printf("\n");
}

static void forward_print(const struct model *m, const struct moe *moe, const real *y) {
    const struct routing *r = &moe->routing;
    const size_t N = r->N, slots = N * PICKS;
    printf("\nForward\n\n");
    printf("E1  xh = x W_head^T, and E2, its two halves: nothing is moved\n");
    row_print("xh", moe->xh.data, N, WIDTH);
    printf("E3  r_n = W_router xh_n, p_n = softmax(r_n): in thirteenths, and in ninths\n");
    row_print("p", r->probs, N, EXPERTS);
    printf("E4  the 2 largest, of equals the lower id; their p are the gates\n");
    picks_print(r);
    row_print("gates", r->gates, N, PICKS);
    dispatch_print(&moe->dispatch, r->picks);
    printf("E5  u = W2_e relu(W1_e xh_n)^2 of each slot; o_n = sum of gate times u over its picks\n");
    row_print("W1_e xh_n", moe->hidden.data, slots, 1);
    row_print("u", moe->expert_out.data, slots, WIDTH);
    row_print("o", moe->joined, N, WIDTH);
    printf("E6  y = o W_merge^T\n");
    row_print("y", y, 1, CHANNELS);
    printf("E7  E * sum of share_e pbar_e, the mean p: 3 * (1/4 pbar_0 + 2/4 pbar_1 + 1/4 pbar_2)\n");
    printf("    %-10s%8.4g\n", "balance", m->balance_sum[0]);
}

static void backward_print(const struct model *m, const struct moe *moe, const real *dx) {
    const struct activations *a = m->acts;
    const size_t N = moe->routing.N, slots = N * PICKS;
    printf("\nBackward, last line to first; the numbers are those of docs/MHMOE.md's sections\n\n");
    row_print("dy", dy, 1, CHANNELS);
    printf("4.1 do = dy W_merge, dW_merge = dy^T o\n");
    row_print("do", a->d_joined, N, WIDTH);
    row_print("dW_merge", m->grads.mergew, CHANNELS, CHANNELS);
    printf("4.2 du = gate * do in each slot; dg = do . u of each pick\n");
    row_print("du", a->d_expert_out, slots, WIDTH);
    row_print("dg", a->d_gates, N, PICKS);
    printf("4.3 dG = du W2, dA = dG * 2 relu(A), dZ = dA W1; dW2 += du^T G, dW1 += dA^T Z\n");
    row_print("dZ", a->d_dispatched, slots, WIDTH);
    row_print("dW1", m->grads.expw1, EXPERTS, WIDTH);
    row_print("dW2", m->grads.expw2, EXPERTS, WIDTH);
    printf("4.5 to 4.7  dp = dg where picked, plus alpha E share_e / N = 0.01 * 3 * share_e / 2 of E7;\n"
           "            dr = p (dp - sum of p dp)\n");
    row_print("dr", a->d_scores, N, EXPERTS);
    printf("4.8 dW_router = dr^T xh; dxh = the dZ of a sub-token's slots (4.4) + dr W_router\n");
    row_print("dW_router", m->grads.routerw, EXPERTS, WIDTH);
    row_print("dxh", a->d_xh, N, WIDTH);
    printf("    dx = dxh W_head, dW_head = dxh^T x\n");
    row_print("dW_head", m->grads.headw, CHANNELS, CHANNELS);
    row_print("dx", dx, 1, CHANNELS);
}

int main(void) {
    static const real nothing[CHANNELS];
    struct model m = lesson_model();
    const struct kept x = kept_real(token);
    const struct moe moe = moe_of(&m, 0, x);
    real y[CHANNELS];
    weights_print();
    moe_forward(&m, 0, y, x, nothing);
    m.forwards = 1;
    forward_print(&m, &moe, y);
    backward_print(&m, &moe, moe_backward(&m, 0, dy, x, 1));
    model_destroy(&m);
    struct error err;
    return output_check(&err) ? EXIT_DONE : err.code;
}
