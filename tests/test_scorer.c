/* What says how likely each target is (src/layers/scorer), in double: losses and gradients against a plain softmax, and
 * gradients against central differences; as the only scorer of its rows, or one of two. What is not a scorer's business
 * holds NaN, and memory ends where it may not be touched. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <omp.h>

#include "../src/base/batch.h"
#include "../src/layers/scorer.h"
#include "differences.h"
#include "guarded.h"

#define SCALE 0.7

/* One scorer with its tensors and work memory; `rows` of the batch. */
struct scoring {
    struct scorer s;
    size_t rows, work_bytes;
    real *x, *w, *dw, *packed, *packed_t;
    const int32_t *targets;
};

static void scoring_pack(const struct scoring *c) {
    const size_t C = c->s.head.IC, OC = c->s.head.OC;
    gemm_pack(c->packed, view_of(c->w, 1, C), C, OC);
    gemm_pack(c->packed_t, view_of(c->w, C, 1), OC, C);
}

/* Of targets first..first + OC - 1. `shared`: others score rows, too. */
static struct scoring scoring_make(size_t C, size_t OC, int32_t first, size_t rows, size_t most, bool shared) {
    struct scoring c = {.rows = rows, .work_bytes = linear_workspace_bytes(C, OC, most, OPERANDS_F32),
                        .x = random_numbers(rows * C, 5), .w = random_numbers(OC * C, OC),
                        .dw = random_numbers(OC * C, 7),
                        .packed = poisoned(gemm_packed_count(C, OC)), .packed_t = poisoned(gemm_packed_count(OC, C))};
    c.s = (struct scorer){.head = {.IC = C, .OC = OC, .w = c.w, .packed = c.packed, .packed_t = c.packed_t, .dw = c.dw},
                          .first = first, .most = most, .logits = guarded_alloc(most * OC * sizeof(real)),
                          .work = guarded_alloc(c.work_bytes)};
    if (!shared) return c;
    c.s.own = guarded_alloc(rows * sizeof(int32_t));
    c.s.own_targets = guarded_alloc(rows * sizeof(int32_t));
    c.s.own_losses = guarded_alloc(rows * sizeof(real));
    c.s.d_own = guarded_alloc(most * C * sizeof(real));
    return c;
}

static void scoring_free(struct scoring *c) {
    guarded_free(c->s.logits, c->s.most * c->s.head.OC * sizeof(real));
    guarded_free(c->s.work, c->work_bytes);
    if (c->s.own) {
        guarded_free(c->s.own, c->rows * sizeof(int32_t));
        guarded_free(c->s.own_targets, c->rows * sizeof(int32_t));
        guarded_free(c->s.own_losses, c->rows * sizeof(real));
        guarded_free(c->s.d_own, c->s.most * c->s.head.IC * sizeof(real));
    }
    free(c->x);
    free(c->w);
    free(c->dw);
    free(c->packed);
    free(c->packed_t);
}

/* Whether the row's loss is this scorer's to say. */
static bool is_own(const struct scoring *c, size_t r) {
    if (!c->s.own) return true;
    return c->targets[r] >= c->s.first && c->targets[r] < c->s.first + (int32_t)c->s.head.OC;
}

/* SCALE times the sum of its rows' losses: a forward that knows nothing of gradients. */
static double scoring_value(const void *call) {
    const struct scoring *c = call;
    real losses[c->rows];
    double sum = 0;
    scoring_pack(c);
    scorer_run(&c->s, losses, NULL, c->x, c->targets, c->rows, 0);
    for (size_t r = 0; r < c->rows; r++) sum += is_own(c, r) ? losses[r] : 0;
    return SCALE * sum;
}

/* Loss of row r; adds SCALE times its gradients to d_x (C) and dw (OC, C). */
static double plain_row(const struct scoring *c, size_t r, real *d_x, real *dw) {
    const size_t C = c->s.head.IC, OC = c->s.head.OC;
    const real *x = c->x + r * C;
    double p[OC], high = -INFINITY, sum = 0;
    if (c->targets[r] == TARGET_NONE) return 0;
    const size_t target = (size_t)(c->targets[r] - c->s.first);
    for (size_t j = 0; j < OC; j++) high = fmax(high, p[j] = dot(x, c->w + j * C, C));
    for (size_t j = 0; j < OC; j++) sum += exp(p[j] - high);
    const double loss = high + log(sum) - p[target];
    for (size_t j = 0; j < OC; j++) {
        const double d = SCALE * (exp(p[j] - high) / sum - (j == target));
        for (size_t i = 0; i < C; i++) {
            d_x[i] += d * c->w[j * C + i];
            dw[j * C + i] += d * x[i];
        }
    }
    return loss;
}

/* Losses, d_x and dw of its own rows are these; those of others stay as they were. */
static void scoring_check(struct scoring *c) {
    const size_t rows = c->rows, C = c->s.head.IC, n = c->s.head.OC * C, loss_bytes = rows * sizeof(real);
    real *losses = guarded_alloc(loss_bytes), *d_x = guarded_alloc(loss_bytes * C);
    real *before = copy_of(c->dw, n), *dw = copy_of(c->dw, n), want[rows], d_want[rows * C];
    for (size_t r = 0; r < rows; r++) {
        poison(&want[r], 1);
        poison(d_want + r * C, C);
        if (!is_own(c, r)) continue;
        memset(d_want + r * C, 0, C * sizeof(real));
        want[r] = plain_row(c, r, d_want + r * C, dw);
    }
    scoring_pack(c);
    scorer_run(&c->s, losses, NULL, c->x, c->targets, rows, 0); /* no gradients are asked for */
    for (size_t r = 0; r < rows; r++) {
        if (is_own(c, r)) assert_all_near("loss without gradients", losses + r, want + r, 1);
        else assert_true(isnan(losses[r]));
    }
    assert_memory_equal(c->dw, before, n * sizeof(real));
    scorer_run(&c->s, losses, d_x, c->x, c->targets, rows, SCALE);
    for (size_t r = 0; r < rows; r++) {
        if (is_own(c, r)) assert_all_near("loss", losses + r, want + r, 1);
        else assert_true(isnan(losses[r]));
        for (size_t i = 0; i < C; i++) {
            if (is_own(c, r)) assert_all_near("d_x", d_x + r * C + i, d_want + r * C + i, 1);
            else assert_true(isnan(d_x[r * C + i]));
        }
        if (!is_own(c, r)) memset(d_x + r * C, 0, C * sizeof(real));
    }
    assert_all_near("dw", c->dw, dw, n);
    gradient_check("d_x", scoring_value, c, c->x, d_x, rows * C);
    gradient_check_added("dw", scoring_value, c, c->w, c->dw, before, n);
    free(before);
    free(dw);
    guarded_free(losses, loss_bytes);
    guarded_free(d_x, loss_bytes * C);
}

/* Targets low..high - 1, some rows without. malloc'ed. */
static int32_t *targets_random(size_t rows, int32_t low, int32_t high, uint64_t seed) {
    int32_t *targets = array_alloc(rows, sizeof *targets);
    struct rng rng;
    rng_seed(&rng, seed, rows);
    for (size_t r = 0; r < rows; r++)
        targets[r] = rng_uniform(&rng) < 0.3 ? TARGET_NONE : low + (int32_t)(rng_next(&rng) % (uint64_t)(high - low));
    return targets;
}

/* Channels, targets, rows, rows at a time: one piece, several, whole ones and a rest. */
static const size_t shapes[][4] = {{1, 2, 1, 1}, {3, 7, 5, 5},  {3, 2, 17, 1},  {31, 5, 13, 4},
                                   {5, 33, 24, 8}, {48, 13, 40, 7}, {2, 130, 9, 20}};

static void test_only_scorer(void **state) {
    (void)state;
    for EACH(i, shapes) {
        struct scoring c = scoring_make(shapes[i][0], shapes[i][1], 0, shapes[i][2], shapes[i][3], false);
        int32_t *targets = targets_random(c.rows, 0, (int32_t)shapes[i][1], i);
        c.targets = targets;
        scoring_check(&c);
        free(targets);
        scoring_free(&c);
    }
}

/* Its targets lie within, before and behind those of others, which reach over both of its ends. */
static void test_own_rows(void **state) {
    (void)state;
    for EACH(i, shapes)
        for (int32_t first = 0; first <= 11; first += 11) {
            const int32_t OC = (int32_t)shapes[i][1], low = first ? first - 5 : 0;
            struct scoring c = scoring_make(shapes[i][0], shapes[i][1], first, shapes[i][2], shapes[i][3], true);
            int32_t *targets = targets_random(c.rows, low, first + OC + 5, i);
            const int32_t ends[] = {first - 1, first, first + OC - 1, first + OC};
            for (size_t r = 0; r < COUNT(ends) && c.rows > 4; r++) targets[r + 1] = ends[r];
            c.targets = targets;
            scoring_check(&c);
            free(targets);
            scoring_free(&c);
        }
}

/* Nothing is its own: nothing happens. All is its own: as if it were the only one, to the bit. */
static void test_none_and_all(void **state) {
    (void)state;
    enum { C = 31, OC = 5, ROWS = 13, MOST = 4 };
    struct scoring c = scoring_make(C, OC, 0, ROWS, MOST, true), only = scoring_make(C, OC, 0, ROWS, MOST, false);
    int32_t targets[ROWS];
    real losses[2][ROWS], d_x[2][ROWS * C], *before = copy_of(c.dw, OC * C);
    scoring_pack(&c);
    scoring_pack(&only);
    for (int i = 0; i < 2; i++) poison(losses[i], ROWS), poison(d_x[i], ROWS * C);
    for (size_t r = 0; r < ROWS; r++) targets[r] = r % 2 ? TARGET_NONE : OC;
    scorer_run(&c.s, losses[0], d_x[0], c.x, targets, ROWS, SCALE);
    assert_memory_equal(losses[0], losses[1], sizeof losses[0]);
    assert_memory_equal(d_x[0], d_x[1], sizeof d_x[0]);
    assert_memory_equal(c.dw, before, OC * C * sizeof(real));
    for (size_t r = 0; r < ROWS; r++) targets[r] = (int32_t)(r % OC);
    scorer_run(&c.s, losses[0], d_x[0], c.x, targets, ROWS, SCALE);
    scorer_run(&only.s, losses[1], d_x[1], only.x, targets, ROWS, SCALE);
    assert_memory_equal(losses[0], losses[1], sizeof losses[0]);
    assert_memory_equal(d_x[0], d_x[1], sizeof d_x[0]);
    assert_memory_equal(c.dw, only.dw, OC * C * sizeof(real));
    free(before);
    scoring_free(&c);
    scoring_free(&only);
}

/* Pieces and codes: each row of a target gets its loss and gradient from one of the two, in whichever order they run,
 * on any number of threads, in every bit; rows of neither keep what they had. */
static void test_two_scorers(void **state) {
    (void)state;
    enum { C = 33, V = 7, CODES = 11, ROWS = 61 };
    const int before = omp_get_max_threads();
    int32_t *targets = targets_random(ROWS, 0, V + CODES + 3, 3);
    real losses[4][ROWS], d_x[4][ROWS * C], dw[4][(V + CODES) * C];
    for (int run = 0; run < 4; run++) {
        struct scoring both[] = {scoring_make(C, V, 0, ROWS, 9, true), scoring_make(C, CODES, V, ROWS, 9, true)};
        omp_set_num_threads(run > 1 ? 3 : 1);
        poison(losses[run], ROWS);
        poison(d_x[run], ROWS * C);
        for (int i = 0; i < 2; i++) {
            const struct scoring *c = &both[(i + run) % 2];
            scoring_pack(c);
            scorer_run(&c->s, losses[run], d_x[run], c->x, targets, ROWS, SCALE);
        }
        memcpy(dw[run], both[0].dw, V * C * sizeof(real));
        memcpy(dw[run] + V * C, both[1].dw, CODES * C * sizeof(real));
        for (int i = 0; i < 2; i++) scoring_free(&both[i]);
        assert_memory_equal(losses[run], losses[0], sizeof losses[0]);
        assert_memory_equal(d_x[run], d_x[0], sizeof d_x[0]);
        assert_memory_equal(dw[run], dw[0], sizeof dw[0]);
    }
    for (size_t r = 0; r < ROWS; r++) {
        const bool scored = targets[r] != TARGET_NONE && targets[r] < V + CODES;
        assert_int_equal(!isnan(losses[0][r]), scored);
        for (size_t i = 0; i < C; i++) assert_int_equal(!isnan(d_x[0][r * C + i]), scored);
    }
    omp_set_num_threads(before);
    free(targets);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_scorer),
        cmocka_unit_test(test_own_rows),
        cmocka_unit_test(test_none_and_all),
        cmocka_unit_test(test_two_scorers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
