/* AdamW in float, as the programs run it: against itself in double, at betas so near to 1, and decays so small,
 * that float holds neither. That it is AdamW is in test_kernels.c, in double, with the norm and the schedule. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "../src/run/optimizer.h"
#include "random_numbers.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* One rounding, relative. */
#define ROUNDING (FLT_EPSILON / 2)

enum { N = 4001 };

/* Numbers of one sign between 0.5 and 1.5: nothing cancels, so that errors are relative. */
static void gradients_fill(real *g, uint64_t seed) {
    struct rng rng;
    rng_seed(&rng, seed, 0);
    for (size_t i = 0; i < N; i++) g[i] = (real)(0.5 + rng_uniform(&rng));
}

/* ---- The step ---- */

/* What N parameters would move by in one step of AdamW without decay, word for word as optimizer.h has it. */
static void moves_plain(double *moves, const struct adamw *a, const real *g, double *m, double *v, double step) {
    for (size_t i = 0; i < N; i++) {
        m[i] = a->beta1 * m[i] + (1 - a->beta1) * (double)g[i];
        v[i] = a->beta2 * v[i] + (1 - a->beta2) * (double)g[i] * (double)g[i];
        moves[i] = m[i] / (1 - pow(a->beta1, step)) / (sqrt(v[i] / (1 - pow(a->beta2, step))) + a->epsilon);
    }
}

/* Parameters begin each step at 0, so that what they hold after it is the move. Of its about 10 roundings, 4 are the
 * same for all parameters (of 1 - beta, of the corrections, of the rate): the mean of the errors cannot be more. Each
 * earlier step leaves 2 more in either moment, and half of those of v. */
static void step_check(double beta1, double beta2) {
    const struct adamw a = {.beta1 = beta1, .beta2 = beta2, .epsilon = 1e-8, .weight_decay = 0};
    static real g[N], m[N], v[N], params[N];
    static double m_plain[N], v_plain[N], moves[N];
    memset(m, 0, sizeof m), memset(v, 0, sizeof v);
    memset(m_plain, 0, sizeof m_plain), memset(v_plain, 0, sizeof v_plain);
    for (int step = 1; step <= 40; step++) {
        double mean = 0;
        gradients_fill(g, (uint64_t)step);
        memset(params, 0, sizeof params);
        adamw_update(&a, &(struct slab){params, g, m, v, N, false}, 1, 1, step);
        moves_plain(moves, &a, g, m_plain, v_plain, step);
        for (size_t i = 0; i < N; i++) {
            const double error = -(double)params[i] / moves[i] - 1;
            mean += error / N;
            if (!(fabs(error) <= (10 + 3 * step) * ROUNDING))
                fail_msg("betas %g %g, step %d: moved by %.9g, want %.9g", beta1, beta2, step, -params[i], moves[i]);
        }
        if (!(fabs(mean) <= 4 * ROUNDING))
            fail_msg("betas %g %g, step %d: off by %.2g on average", beta1, beta2, step, mean);
    }
}

/* 0.999999 is the most that --beta2 may be; 0 leaves nothing but the gradient. */
static void test_step(void **state) {
    (void)state;
    const double betas[] = {0, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999, 0.999999};
    for (size_t i = 0; i < COUNT(betas); i++) {
        step_check(0.9, betas[i]);
        step_check(betas[i], 0.99);
        step_check(betas[i], betas[i]);
    }
}

/* With a beta of 0 a moment is the gradient, or its square, however large it was before. */
static void test_nothing_is_kept(void **state) {
    (void)state;
    const struct adamw a = {.beta1 = 0, .beta2 = 0, .epsilon = 1e-8, .weight_decay = 0};
    real param = 0, g = 3e-4f, m = -1e6f, v = 1e12f;
    adamw_update(&a, &(struct slab){&param, &g, &m, &v, 1, false}, 1, 1, 9);
    assert_true(m == g);
    assert_true(v == g * g);
}

/* ---- The decay ---- */

/* How much of each of N parameters a step takes away, on average, where there is no gradient. */
static double share_lost(double lr, double weight_decay, bool decay) {
    const struct adamw a = {.beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8, .weight_decay = weight_decay};
    static real g[N], m[N], v[N], params[N], before[N];
    double lost = 0;
    memset(g, 0, sizeof g), memset(m, 0, sizeof m), memset(v, 0, sizeof v);
    gradients_fill(params, 7);
    memcpy(before, params, sizeof before);
    const struct slab slab = {params, g, m, v, N, decay};
    adamw_update(&a, &slab, lr, 0.25, 1); /* at step 1, where corrections are largest */
    for (size_t i = 0; i < N; i++) lost += ((double)before[i] - (double)params[i]) / (double)before[i] / N;
    return lost;
}

/* lr times decay, whatever the moments, the clipping and the step do; a parameter is rounded at random, by a third of
 * ROUNDING, and the mean of N by that over sqrt(N): 3e-10. Five times that. (What is less than ROUNDING of a
 * parameter leaves it where it is.) */
static void test_decay(void **state) {
    (void)state;
    const double rates[] = {0.3, 2e-3, 2e-4, 1e-5}, decays[] = {0.1, 0.3, 1};
    for (size_t i = 0; i < COUNT(rates); i++)
        for (size_t j = 0; j < COUNT(decays); j++) {
            const double want = rates[i] * decays[j], got = share_lost(rates[i], decays[j], true);
            if (!(fabs(got - want) <= 1.5e-9 + want * ROUNDING)) fail_msg("lost %.9g, want %.9g", got, want);
            assert_true(share_lost(rates[i], decays[j], false) == 0);
        }
}

/* ---- Blocks and threads ---- */

/* Nothing in front of and behind the parameters is touched, and threads change no bit. */
static void test_blocks(void **state) {
    (void)state;
    const size_t counts[] = {0, 1, 15, 17, 16383, 16384, 16385, 40007};
    const struct adamw a = {.beta1 = 0.8, .beta2 = 0.9, .epsilon = 1e-6, .weight_decay = 0.1};
    const int before = omp_get_max_threads();
    for (size_t c = 0; c < COUNT(counts); c++) {
        const size_t n = counts[c], all = 3 * (n + 2);
        real *g = random_numbers(n, 1), *start = random_numbers(all, 2), *once = NULL;
        for (size_t i = 0; i < n; i++) start[2 * (n + 2) + 1 + i] *= start[2 * (n + 2) + 1 + i]; /* v */
        for (int threads = 1; threads <= 4; threads++) {
            real *x = array_alloc(all, sizeof *x), *params = x + 1, *m = params + n + 2, *v = m + n + 2;
            memcpy(x, start, all * sizeof *x);
            omp_set_num_threads(threads);
            adamw_update(&a, &(struct slab){params, g, m, v, n, true}, 0.01, 0.5, 3);
            for (size_t k = 0; k < 3; k++) {
                assert_true(x[k * (n + 2)] == start[k * (n + 2)]);
                assert_true(x[k * (n + 2) + n + 1] == start[k * (n + 2) + n + 1]);
            }
            if (!once) once = x;
            else {
                assert_memory_equal(x, once, all * sizeof *x);
                free(x);
            }
        }
        free(g), free(start), free(once);
    }
    omp_set_num_threads(before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step),
        cmocka_unit_test(test_nothing_is_kept),
        cmocka_unit_test(test_decay),
        cmocka_unit_test(test_blocks),
    };
    return cmocka_run_group_tests_name("optimizer", tests, NULL, NULL);
}
