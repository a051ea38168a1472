/* A masked model, in double: its losses row by row from logits, its gradients from a batch and from pieces of it, and
 * batches that fill all of its arrays. Gradients against central differences and against PyTorch: test_model.c; bits:
 * test_bits.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "small_model.h"

/* Pictures of P = 4 patches and none; learned positions and turning ones, biases and none, own output head or not. */
enum { CONFIGS = 8 };
static struct config config_number(int i) {
    struct config config = i % 4 < 2 ? small_config : config_other(small_config);
    config.balance = BALANCE_NONE; /* E7 and the z-loss alone are no sums over sequences */
    config.z_weight = 0;
    if (i % 2) config = i % 4 == 1 ? config_llama(config) : config_modern(config);
    return config_masked(config, i < 4 ? 4 : 0);
}

/* Both sides sum some twenty terms near 1, rounded at 1e-16. */
#define ROUNDING 1e-13

/* -log softmax of n logits at `target`. */
static double loss_plain(const real *logits, size_t n, size_t target) {
    double high = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) high = fmax(high, logits[i]);
    for (size_t i = 0; i < n; i++) sum += exp(logits[i] - high);
    return high + log(sum) - logits[target];
}

/* A hidden patch is one of the visual codes, a hidden token one of the vocabulary. */
static void losses_check(struct model *m, const struct example *e) {
    const size_t rows = batch_rows(&e->batch), V = m->sizes.V;
    real losses[rows];
    double sum = 0;
    size_t count;
    model_forward(m, &e->batch);
    const double got = model_loss(m, 0, &count);
    memcpy(losses, model_losses(m), sizeof losses);
    for (size_t r = 0; r < rows; r++) {
        const int32_t target = e->targets[r];
        const bool patch = (size_t)e->positions[r] < m->sizes.P;
        double want = 0;
        if (target != TARGET_NONE)
            want = loss_plain(model_logits(m, r), patch ? m->sizes.codes : V, (size_t)target - (patch ? V : 0));
        assert_true(fabs(losses[r] - want) <= ROUNDING * fmax(1, want));
        sum += want;
    }
    assert_true(fabs(got - sum) <= ROUNDING * sum);
    assert_int_equal(count, e->count);
    model_overrun_check(m);
}

static void test_losses(void **state) {
    (void)state;
    for (int i = 0; i < CONFIGS; i++)
        for (int use = MODEL_TRAIN; use <= MODEL_INFER; use++) {
            const struct config config = config_number(i);
            struct model m = model_random(&config, use, 7, 5);
            struct example e = masked_random(&m.sizes, 7, 6);
            losses_check(&m, &e);
            example_free(&e);
            model_destroy(&m);
        }
}

/* As loss_plain of it: a row without a target has no loss, and gives nothing to the gradients. */
static void test_nothing_to_fill_in(void **state) {
    (void)state;
    for (int i = 0; i < CONFIGS; i++) {
        const struct config config = config_number(i);
        struct model m = model_random(&config, MODEL_TRAIN, 3, 5);
        struct example e = masked_random(&m.sizes, 3, 6);
        model_gradients(&m, &e); /* leaves its losses and gradients behind */
        size_t count;
        for (size_t r = 0; r < batch_rows(&e.batch); r++) e.targets[r] = TARGET_NONE;
        memset(m.grad_memory, 0, m.n_parameters * sizeof(real));
        model_forward(&m, &e.batch);
        assert_true(model_loss(&m, 1, &count) == 0);
        assert_int_equal(count, 0);
        model_backward(&m, 1);
        for (size_t k = 0; k < m.n_parameters; k++) assert_true(m.grad_memory[k] == 0);
        for (size_t r = 0; r < batch_rows(&e.batch); r++) assert_true(model_losses(&m)[r] == 0);
        example_free(&e);
        model_destroy(&m);
    }
}

/* ---- A batch and its pieces ---- */

/* Examples 0..cuts[0]-1, cuts[0]..cuts[1]-1, ... have together the loss and gradients that they have at once; each row
 * has its loss in every bit. Gradients are sums of up to 1640 rows in another order. */
static void pieces_check(const struct config *config, size_t B, const size_t *cuts, double tolerance) {
    struct model m = model_random(config, MODEL_TRAIN, B, 7);
    struct example e = masked_random(&m.sizes, B, 8);
    const size_t rows = batch_rows(&e.batch);
    int32_t offsets[B + 1];
    real *at_once = array_alloc(m.n_parameters, sizeof(real)), losses[rows];
    double loss = model_gradients(&m, &e), sum = 0, largest = 0;
    size_t count, total = 0;
    memcpy(losses, model_losses(&m), sizeof losses);
    memcpy(at_once, m.grad_memory, m.n_parameters * sizeof(real));
    memset(m.grad_memory, 0, m.n_parameters * sizeof(real));
    for (size_t from = 0; from < B; from = *cuts++) {
        const struct batch piece = masked_piece(&e, &m.sizes, from, *cuts, offsets);
        model_forward(&m, &piece);
        sum += model_loss(&m, 1.0 / (double)e.count, &count);
        total += count;
        model_backward(&m, 1);
        assert_memory_equal(model_losses(&m), losses + e.offsets[from], batch_rows(&piece) * sizeof(real));
    }
    assert_int_equal(total, e.count);
    assert_true(fabs(sum / (double)e.count - loss) < ROUNDING * loss);
    for (size_t i = 0; i < m.n_parameters; i++) largest = fmax(largest, fabs(at_once[i]));
    for (size_t i = 0; i < m.n_parameters; i++) assert_true(fabs(m.grad_memory[i] - at_once[i]) <= tolerance * largest);
    free(at_once);
    example_free(&e);
    model_destroy(&m);
}

static void test_batch_is_sum_of_pieces(void **state) {
    (void)state;
    for (int i = 0; i < CONFIGS; i++) {
        const struct config config = config_number(i);
        pieces_check(&config, 7, (const size_t[]){3, 7}, 1e-13);
        pieces_check(&config, 7, (const size_t[]){1, 2, 3, 4, 5, 6, 7}, 1e-13);
    }
}

/* So many rows, pieces and codes that a batch gets its logits 384 rows at a time: of codes several times, of pieces
 * once; the other way round where no picture is. Each example's own come at once. */
static void test_logits_in_several_pieces(void **state) {
    (void)state;
    for (int size = 12; size >= 0; size -= 12) {
        struct config config = config_masked(small_config, size);
        config.balance = BALANCE_NONE;
        config.layers = 1;
        config.codes = 6001;
        config.vocab = size ? 97 : 6007;
        config.seq = 41;
        struct sizes s;
        struct error err;
        size_t cuts[60], n = 0;
        for (size_t b = 0; b < 60; b++) cuts[b] = b + 1;
        if (!config_check(&config, &s, &err)) fail_msg("%s", err.text);
        struct example e = masked_random(&s, 60, 8);
        for (size_t r = 0; r < batch_rows(&e.batch); r++) n += e.targets[r] >= (size ? (int32_t)s.V : 0);
        assert_true(n > 384);
        example_free(&e);
        pieces_check(&config, 60, cuts, 1e-12);
    }
}

/* ---- Full arrays ---- */

/* B examples that fill all T rows, each with a target: all that a model can be shown; or all of it hidden. */
static struct example masked_full(const struct sizes *s, size_t B, bool hidden) {
    struct example e = masked_random(s, B, 9);
    struct rng rng;
    rng_seed(&rng, 10, 0);
    for (size_t r = 0; r < B * s->T; r++) {
        const size_t t = r % s->T;
        const bool patch = t < s->P;
        e.offsets[r / s->T + 1] = (int32_t)((r / s->T + 1) * s->T);
        e.positions[r] = (int32_t)t;
        e.ends[r] = (int32_t)s->T;
        e.tokens[r] = hidden ? TOKEN_HIDDEN : patch ? TOKEN_PATCH : (int32_t)(rng_next(&rng) % s->V);
        e.targets[r] = (int32_t)(patch ? s->V + rng_next(&rng) % s->codes : rng_next(&rng) % s->V);
    }
    for (size_t i = 0; i < B * s->T * s->Q; i++) e.patches[i] = (real)rng_normal(&rng);
    e.count = B * s->T;
    e.batch.T = s->T;
    return e;
}

/* Nothing is written past the end of an array, whatever the sizes, and nothing is lost. */
static void test_full_arrays(void **state) {
    (void)state;
    const int sizes[][3] = {{2, 1, 3}, {6, 2, 5}, {10, 64, 1}, {3, 3, 2}}; /* size, codes, batch */
    for (int i = 0; i < 4 * 4 * 4; i++) {
        const int *size = sizes[i / 4 % 4], B = size[2];
        struct config config = config_masked(config_number(i % 4), size[0] - size[0] % 2);
        config.codes = size[1] + 1;
        struct error err;
        struct model m;
        const struct model_setup setup = {MODEL_TRAIN, (size_t)B, i / 32, STORAGE_F32};
        if (!model_create(&m, &config, setup, &err)) fail_msg("%s", err.text);
        model_initialize(&m, 11);
        struct example e = masked_full(&m.sizes, (size_t)B, i / 16 % 2);
        const double loss = model_gradients(&m, &e);
        assert_true(isfinite(loss) && loss > 0);
        losses_check(&m, &e);
        for (size_t k = 0; k < m.n_parameters; k++) assert_true(isfinite(m.grad_memory[k]));
        example_free(&e);
        model_destroy(&m);
    }
}

/* ---- What a row is shown ---- */

static void gradient_there(const struct model *m, const char *name, bool there) {
    for (size_t t = 0; t < PARAMETER_TENSORS; t++) {
        if (strcmp(m->info[t].name, name) != 0) continue;
        const real *grad = m->grad_memory + m->info[t].offset;
        bool any = false;
        for (size_t i = 0; i < m->info[t].count; i++) any |= grad[i] != 0;
        if (any != there) fail_msg("%s: %s gradient", name, any ? "has a" : "has no");
        return;
    }
    fail_msg("no tensor %s", name);
}

/* Of codes and patches there is a gradient where a picture was, of the mask embedding where something was hidden. */
static void test_what_learns(void **state) {
    (void)state;
    const struct config config = config_masked(config_modern(small_config), 4);
    struct model m = model_random(&config, MODEL_TRAIN, 3, 12);
    struct example e = masked_full(&m.sizes, 3, false);
    const char *const of_pictures[] = {"patchw", "place", "codew"};
    model_gradients(&m, &e);
    gradient_there(&m, "hidden", false);
    for (size_t i = 0; i < 3; i++) gradient_there(&m, of_pictures[i], true);
    e.batch.offsets = (int32_t[]){0, 5}; /* a text alone */
    e.batch.B = 1;
    e.batch.T = 5;
    e.count = 5;
    for (int32_t r = 0; r < 5; r++) {
        e.ends[r] = 5;
        e.positions[r] = 4 + r;
        e.tokens[r] = r == 2 ? TOKEN_HIDDEN : r;
        e.targets[r] = r;
    }
    model_gradients(&m, &e);
    gradient_there(&m, "hidden", true);
    gradient_there(&m, "wte", true);
    for (size_t i = 0; i < 3; i++) gradient_there(&m, of_pictures[i], false);
    for (size_t c = 0; c < 12; c++) assert_true(m.grads.kind[c] == 0 && m.grads.kind[12 + c] != 0);
    example_free(&e);
    model_destroy(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses),
        cmocka_unit_test(test_nothing_to_fill_in),
        cmocka_unit_test(test_batch_is_sum_of_pieces),
        cmocka_unit_test(test_logits_in_several_pieces),
        cmocka_unit_test(test_full_arrays),
        cmocka_unit_test(test_what_learns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
