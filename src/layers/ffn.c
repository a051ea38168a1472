/* A task is a chunk of rows of one expert: up, activation and down one after the other, so that the hidden layer, four
 * times as wide as the rest, is still in the cache when it is used again. Backward does the same for d-hidden
 * and d-input; the weights' gradients, which sum over all rows, follow as one grouped product. */
#include "ffn.h"

#include <omp.h>
#include "../base/tasks.h"

enum {
    ROWS_MOST = 96,        /* of a chunk; enough to reuse the weights' panels */
    ROWS_LEAST = 24,
    HIDDEN_MOST = 1 << 16, /* numbers of a chunk's hidden layer: half of a small L2 cache */
};

static size_t rows_fitting(size_t hidden) {
    const size_t rows = HIDDEN_MOST / hidden / GEMM_TILE_ROWS * GEMM_TILE_ROWS;
    return rows > ROWS_MOST ? ROWS_MOST : rows < ROWS_LEAST ? ROWS_LEAST : rows;
}

static size_t row_first(const struct ffn *f, size_t e) {
    return f->offsets ? (size_t)f->offsets[e] : e ? f->rows : 0;
}
static size_t rows_of(const struct ffn *f, size_t e) { return row_first(f, e + 1) - row_first(f, e); }
static size_t rows_all(const struct ffn *f) { return row_first(f, f->E); }

static size_t chunk_rows(const struct ffn *f) {
    const size_t tasks = TASKS_A_THREAD * (size_t)omp_get_max_threads();
    const size_t share = rows_all(f) / tasks / GEMM_TILE_ROWS * GEMM_TILE_ROWS, most = rows_fitting(f->up.OC);
    return share < ROWS_LEAST ? ROWS_LEAST : share > most ? most : share;
}

/* Expert e's chunks are tasks task_first[e]..task_first[e + 1]. */
static void tasks_number(const struct ffn *f, size_t chunk, size_t *task_first) {
    task_first[0] = 0;
    for (size_t e = 0; e < f->E; e++) task_first[e + 1] = task_first[e] + (rows_of(f, e) + chunk - 1) / chunk;
}

struct chunk {
    size_t row, rows; /* among all rows */
    struct linear up, down;
};
static struct chunk chunk_of(const struct ffn *f, const size_t *task_first, size_t chunk, size_t task) {
    const size_t e = tasks_find(task_first, f->E, task), from = (task - task_first[e]) * chunk;
    const size_t left = rows_of(f, e) - from;
    return (struct chunk){row_first(f, e) + from, left < chunk ? left : chunk, linear_at(f->up, e),
                          linear_at(f->down, e)};
}

/* Where a view of `in` begins at row `row`, through the gather. */
static struct view input_view(const struct ffn *f, const real *in, size_t row) {
    const size_t S = f->up.IC;
    return f->source ? (struct view){in, S, 1, f->source + row} : (struct view){in + row * S, S, 1, NULL};
}

static struct gemm up_product(const struct ffn *f, const struct linear *up, real *hidden, const real *in, size_t row,
                              size_t rows) {
    struct gemm g = linear_product(up, hidden, NULL, NULL, rows);
    g.A = input_view(f, in, row);
    return g;
}

/* The activated numbers are the first F of each row of the hidden layer. */
static struct gemm down_product(const struct linear *down, real *out, const real *hidden, const real *start,
                                size_t rows, size_t width) {
    struct gemm g = linear_product(down, out, NULL, start, rows);
    g.A = (struct view){hidden, width, 1, NULL};
    return g;
}

/* Fewer rows than threads could share, as in decoding: the products are split by columns instead. */
static void forward_few(const struct ffn *f, real *out, real *hidden, const real *in, const real *start) {
    const size_t S = f->up.IC, width = f->up.OC;
    struct gemm up[f->E], down[f->E];
    size_t n = 0;
    for (size_t e = 0; e < f->E; e++) {
        const size_t row = row_first(f, e), rows = rows_of(f, e);
        const struct linear l1 = linear_at(f->up, e), l2 = linear_at(f->down, e);
        if (rows == 0) continue;
        up[n] = up_product(f, &l1, hidden + row * width, in, row, rows);
        down[n++] = down_product(&l2, out + row * S, hidden + row * width, start ? start + row * S : NULL, rows, width);
    }
    gemm_run(up, n, NULL);
    activation_forward(f->act, hidden, hidden, rows_all(f), f->down.IC);
    gemm_run(down, n, NULL);
}

void ffn_forward(const struct ffn *f, real *out, real *hidden, const real *in, const real *start, real *scratch) {
    const size_t S = f->up.IC, width = f->up.OC, chunk = chunk_rows(f);
    if (!scratch && rows_all(f) < ROWS_LEAST * (size_t)omp_get_max_threads()) {
        forward_few(f, out, hidden, in, start);
        return;
    }
    size_t task_first[f->E + 1];
    tasks_number(f, chunk, task_first);
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t task = 0; task < task_first[f->E]; task++) {
        const struct chunk b = chunk_of(f, task_first, chunk, task);
        real *h = hidden + b.row * width;
        real *h_act = scratch ? scratch + (size_t)omp_get_thread_num() * rows_fitting(width) * width : h;
        const struct gemm up = up_product(f, &b.up, h, in, b.row, b.rows);
        const struct gemm down =
            down_product(&b.down, out + b.row * S, h_act, start ? start + b.row * S : NULL, b.rows, width);
        gemm_serial(&up);
        activation_forward(f->act, h_act, h, b.rows, f->down.IC);
        gemm_serial(&down);
    }
}

size_t ffn_scratch_count(size_t hidden) { return (size_t)omp_get_max_threads() * rows_fitting(hidden) * hidden; }

/* h = in W1^T + b1,  out = act(h) W2^T + b2:  dh = (dout W2) act'(h),  din = dh W1 */
static void inputs_backward(const struct ffn *f, real *din, real *d_hidden, const real *dout, real *hidden) {
    const size_t S = f->up.IC, width = f->up.OC, chunk = chunk_rows(f);
    size_t task_first[f->E + 1];
    tasks_number(f, chunk, task_first);
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t task = 0; task < task_first[f->E]; task++) {
        const struct chunk b = chunk_of(f, task_first, chunk, task);
        real *h = hidden + b.row * width, *dh = d_hidden + b.row * width;
        struct gemm down = linear_din_product(&b.down, dh, dout + b.row * S, NULL, b.rows);
        down.ldc = width;
        const struct gemm up = linear_din_product(&b.up, din + b.row * S, dh, NULL, b.rows);
        gemm_serial(&down);
        activation_backward(f->act, dh, h, b.rows, f->down.IC);
        gemm_serial(&up);
    }
}

/* dW2 += dout^T act(h),  dW1 += dh^T in, expert by expert, with the biases' gradients */
static void weight_products(const struct ffn *f, struct gemm *products, const real *d_hidden, const real *dout,
                            const real *activated, const real *in) {
    const size_t S = f->up.IC, width = f->up.OC, E = f->E;
    for (size_t e = 0; e < E; e++) {
        const size_t row = row_first(f, e), rows = rows_of(f, e);
        const struct linear up = linear_at(f->up, e), down = linear_at(f->down, e);
        products[e] = linear_dw_product(&down, dout + row * S, NULL, rows);
        products[e].B = (struct view){activated + row * width, width, 1, NULL};
        products[E + e] = linear_dw_product(&up, d_hidden + row * width, NULL, rows);
        products[E + e].B = input_view(f, in, row);
    }
}

void ffn_backward(const struct ffn *f, real *din, real *d_hidden, const real *dout, real *hidden, const real *in,
                  void *workspace) {
    struct gemm products[2 * f->E];
    inputs_backward(f, din, d_hidden, dout, hidden);
    weight_products(f, products, d_hidden, dout, hidden, in);
    gemm_run(products, 2 * f->E, workspace);
}

size_t ffn_workspace_bytes(size_t E, size_t S, size_t F, size_t W, size_t rows, enum operands operands) {
    /* The most is needed when one expert has all rows: its products are then cut finest, which is when tasks share a
     * packed operand, and the call's whole work, so the finest cut, does not depend on how rows are spread. */
    const struct ffn f = {.E = E, .up = {.IC = S, .OC = W * F, .operands = operands},
                          .down = {.IC = F, .OC = S, .operands = operands}, .rows = rows};
    struct gemm products[2 * E];
    weight_products(&f, products, NULL, NULL, NULL, NULL);
    return gemm_workspace_bytes(products, 2 * E);
}
