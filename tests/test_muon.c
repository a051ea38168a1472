/* Muon in double: against the same written with plain loops, one matrix at a time; and what it is for: singular values
 * near 1. Which tensors of a model it updates: test_muon_run.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "../src/run/muon.h"
#include "guarded.h"
#include "muon_plain.h"
#include "random_numbers.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const struct matrices shapes[] = {{1, 1, 1}, {3, 5, 5}, {2, 3, 17}, {3, 19, 4}, {1, 61, 33}, {2, 40, 130},
                                         {5, 1, 7}, {1, 9, 1},
                                         {1, 144, 145}}; /* whole panels of rows, and a column more */

/* Work memory ends where the next page begins, but for its alignment. */
static size_t work_bytes(const struct matrices *of) { return (muon_work_bytes(of) + 63) / 64 * 64; }

/* Three steps from momentum of before; rounding is 1e-16 a term, and 1e-11 lets the polynomial enlarge it. */
static void steps_are_the_plain_ones(void **state) {
    (void)state;
    const struct muon muon = {0.95, 0.3};
    for (size_t s = 0; s < 2 * COUNT(shapes); s++) {
        const struct matrices *of = &shapes[s / 2];
        const bool decay = s % 2;
        const size_t size = of->rows * of->columns, n = of->n * size;
        real *w = random_numbers(n, 1), *m = random_numbers(n, 2);
        void *work = guarded_alloc(work_bytes(of));
        double *w_plain = calloc(n, 8), *m_plain = calloc(n, 8), *X = calloc(n, 8);
        memcpy(w_plain, w, n * 8), memcpy(m_plain, m, n * 8);
        for (uint64_t step = 0; step < 3; step++) {
            real *g = random_numbers(n, 3 + step);
            muon_update(&muon, &(struct slab){w, g, m, NULL, n, decay}, of, 0.02, 0.7, work);
            for (size_t i = 0; i < n; i++) {
                m_plain[i] = 0.95 * m_plain[i] + 0.05 * 0.7 * g[i];
                X[i] = 0.95 * m_plain[i] + 0.05 * 0.7 * g[i];
            }
            for (size_t i = 0; i < of->n; i++) orthogonal_plain(X + i * size, of->rows, of->columns);
            const double scale = 0.2 * sqrt(fmax((double)of->rows, (double)of->columns));
            for (size_t i = 0; i < n; i++) {
                w_plain[i] -= 0.02 * (scale * X[i] + (decay ? 0.3 * w_plain[i] : 0));
                if (!(fabs(w[i] - w_plain[i]) <= 1e-11) || !(fabs(m[i] - m_plain[i]) <= 1e-14))
                    fail_msg("%zu of %zux%zu, %zu: %.15g, want %.15g", of->n, of->rows, of->columns, i, w[i],
                             w_plain[i]);
            }
            free(g);
        }
        free(w), free(m), free(w_plain), free(m_plain), free(X);
        guarded_free(work, work_bytes(of));
    }
}

/* What moved, over its rate, times its transpose: the eigenvalues of that are squares of singular values. Those of five
 * steps are between 0.68 and 1.14 (Jordan), from 0.01 up to 1 of the largest; a row's length is between them. */
static void moves_are_nearly_orthogonal(void **state) {
    (void)state;
    const struct matrices of = {2, 6, 200};
    const struct muon muon = {0.95, 0};
    const size_t n = 2 * 6 * 200;
    real *w = array_alloc(n, sizeof *w), *g = random_numbers(n, 1), *m = array_alloc(n, sizeof *m);
    void *work = array_alloc(muon_work_bytes(&of), 1);
    for (size_t k = 0; k < 200; k++) g[k] = 0.05 * g[k] + g[200 + k]; /* two rows that are nearly the same */
    muon_update(&muon, &(struct slab){w, g, m, NULL, n, true}, &of, 1, 1, work);
    for (size_t r = 0; r < 12; r++)
        for (size_t q = r / 6 * 6; q < r / 6 * 6 + 6; q++) {
            double dot = 0;
            for (size_t k = 0; k < 200; k++) dot += w[r * 200 + k] * w[q * 200 + k] / (0.04 * 200);
            if (r == q) assert_true(dot > 0.46 && dot < 1.3);
            else assert_true(fabs(dot) < 0.42); /* half of the difference of such squares */
        }
    free(w), free(g), free(m), free(work);
}

/* An expert that nothing chose does not move, but for its decay. */
static void nothing_moves_without_gradient(void **state) {
    (void)state;
    const struct matrices of = {1, 3, 5};
    const struct muon muon = {0.95, 0.5};
    real *w = random_numbers(15, 1), *old = random_numbers(15, 1), g[15] = {0}, m[15] = {0};
    void *work = array_alloc(muon_work_bytes(&of), 1);
    muon_update(&muon, &(struct slab){w, g, m, NULL, 15, true}, &of, 0.1, 1, work);
    for (size_t i = 0; i < 15; i++) assert_true(fabs(w[i] - 0.95 * old[i]) < 1e-15);
    free(w), free(old), free(work);
}

static void threads_change_no_bit(void **state) {
    (void)state;
    const struct muon muon = {0.95, 0.1};
    const int before = omp_get_max_threads();
    for (size_t s = 0; s < COUNT(shapes); s++) {
        const size_t n = shapes[s].n * shapes[s].rows * shapes[s].columns;
        real *once = NULL, *g = random_numbers(n, 3);
        for (int threads = 1; threads <= 4; threads++) {
            omp_set_num_threads(threads);
            real *w = random_numbers(n, 1), *m = random_numbers(n, 2);
            void *work = guarded_alloc(work_bytes(&shapes[s])); /* of any number of threads */
            muon_update(&muon, &(struct slab){w, g, m, NULL, n, true}, &shapes[s], 0.1, 1, work);
            if (once) assert_memory_equal(w, once, n * sizeof *w);
            if (once) free(w);
            else once = w;
            free(m);
            guarded_free(work, work_bytes(&shapes[s]));
        }
        free(once), free(g);
    }
    omp_set_num_threads(before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_the_plain_ones), cmocka_unit_test(moves_are_nearly_orthogonal),
        cmocka_unit_test(nothing_moves_without_gradient), cmocka_unit_test(threads_change_no_bit),
    };
    return cmocka_run_group_tests_name("muon", tests, NULL, NULL);
}
