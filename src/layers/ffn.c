/* A task is a chunk of rows of one expert: up, activation and down one after the other, so that the hidden layer, four
 * times as wide as the rest, is still in the cache when it is used again. Where it is the weights of both that do not
 * fit into the cache together, all chunks go up before the first goes down. Backward does the same for d-hidden
 * and d-input; the weights' gradients, which sum over all rows, follow as one grouped product. */
#include "ffn.h"

#include <omp.h>
#include "../base/tasks.h"

/* So few rows, a multiple of what a product computes at once, and so many, whose hidden layers take so many numbers;
 * and as many bytes of weights as a task goes through. */
struct limits {
    size_t least, most, step, hidden, weights;
};
static struct limits limits_of(enum operands operands) {
    /* weights in bf16 come from beyond the L2 cache, faster than memory, but a tile's work takes a tenth of the time */
    if (operands == OPERANDS_BF16) return (struct limits){GEMM_TILES_ROWS, 128, GEMM_TILES_ROWS, 3 << 16, 1 << 20};
    return (struct limits){24, 96, GEMM_TILE_ROWS, 1 << 16, SIZE_MAX}; /* half of a small L2 cache */
}

static size_t rows_within(struct limits l, size_t rows) {
    rows = rows / l.step * l.step;
    return rows > l.most ? l.most : rows < l.least ? l.least : rows;
}

static size_t rows_fitting(size_t hidden, enum operands operands) {
    const struct limits l = limits_of(operands);
    return rows_within(l, l.hidden / hidden);
}

static size_t row_first(const struct ffn *f, size_t e) {
    return f->offsets ? (size_t)f->offsets[e] : e ? f->rows : 0;
}
static size_t rows_of(const struct ffn *f, size_t e) { return row_first(f, e + 1) - row_first(f, e); }
static size_t rows_all(const struct ffn *f) { return row_first(f, f->E); }

static size_t chunk_rows(const struct ffn *f) {
    const size_t tasks = TASKS_A_THREAD * (size_t)omp_get_max_threads();
    struct limits l = limits_of(f->up.operands);
    l.most = rows_fitting(f->up.OC, f->up.operands);
    return rows_within(l, rows_all(f) / tasks);
}

/* How often all chunks are gone through, and which of the two layers, in the order in which they are run, each time. */
enum { FIRST = 1, SECOND = 2 };
struct passes {
    int n, layers[2];
};
static struct passes passes_of(const struct ffn *f) {
    const enum storage storage = gemm_storage(f->up.operands);
    const size_t up = gemm_packed_bytes(storage, f->up.IC, f->up.OC);
    const size_t down = gemm_packed_bytes(storage, f->down.IC, f->down.OC);
    if (up + down <= limits_of(f->up.operands).weights) return (struct passes){1, {FIRST | SECOND}};
    return (struct passes){2, {FIRST, SECOND}};
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

/* Rows of `in` from row `row` on, through the gather. */
static struct view input_view(const struct ffn *f, struct kept in, size_t row) {
    const size_t S = f->up.IC;
    if (!f->source) return kept_view(kept_at(in, row * S), S);
    return (struct view){in.data, S, 1, f->source + row, in.bf16};
}

static struct gemm up_product(const struct ffn *f, const struct linear *up, real *hidden, struct kept in, size_t row,
                              size_t rows) {
    struct gemm g = linear_product(up, hidden, kept_real(NULL), NULL, rows);
    g.A = input_view(f, in, row);
    return g;
}

/* The activated numbers are the first F of each row of the hidden layer. */
static struct gemm down_product(const struct linear *down, real *out, struct kept activated, const real *start,
                                size_t rows, size_t width) {
    struct gemm g = linear_product(down, out, kept_real(NULL), start, rows);
    g.A = kept_view(activated, width);
    return g;
}

/* Fewer rows than threads could share, as in decoding: the products are split by columns instead. */
static void forward_few(const struct ffn *f, real *out, real *hidden, struct kept in, const real *start) {
    const size_t S = f->up.IC, width = f->up.OC;
    struct gemm up[f->E], down[f->E];
    size_t n = 0;
    for (size_t e = 0; e < f->E; e++) {
        const size_t row = row_first(f, e), rows = rows_of(f, e);
        const struct linear l1 = linear_at(f->up, e), l2 = linear_at(f->down, e);
        if (rows == 0) continue;
        up[n] = up_product(f, &l1, hidden + row * width, in, row, rows);
        down[n++] = down_product(&l2, out + row * S, kept_real(hidden + row * width), start ? start + row * S : NULL,
                                 rows, width);
    }
    gemm_run(up, n, NULL);
    activation_forward(f->act, kept_real(hidden), kept_real(hidden), rows_all(f), f->down.IC);
    gemm_run(down, n, NULL);
}

/* What a thread has of work memory, for a chunk: what is activated, as it is kept, and numbers before they are. */
struct room {
    real *numbers;
    struct kept activated;
};
static size_t activated_count(size_t width, enum operands operands) { /* rows are even where two share a real */
    return rows_fitting(width, operands) * width * kept_bytes(operands != OPERANDS_F32) / sizeof(real);
}
static size_t room_count(size_t width, size_t S, enum operands operands) {
    const size_t numbers = operands == OPERANDS_F32 ? 0 : rows_fitting(width, operands) * (S > width ? S : width);
    return activated_count(width, operands) + numbers;
}
static struct room room_of_thread(const struct ffn *f, real *scratch) {
    const size_t S = f->up.IC, width = f->up.OC;
    const enum operands operands = f->up.operands;
    real *first = scratch + (size_t)omp_get_thread_num() * room_count(width, S, operands);
    if (operands == OPERANDS_F32) return (struct room){NULL, kept_real(first)};
    return (struct room){first + activated_count(width, operands), {first, true}};
}

/* h = in W1^T + b1 */
static void chunk_up(const struct ffn *f, const struct chunk *b, struct kept h, struct kept in, struct room room) {
    real *numbers = kept_room(h, room.numbers);
    const struct gemm up = up_product(f, &b->up, numbers, in, b->row, b->rows);
    gemm_serial(&up);
    kept_store(h, numbers, b->rows * f->up.OC);
}

/* out = start + act(h) W2^T + b2 */
static void chunk_down(const struct ffn *f, const struct chunk *b, struct kept out, struct kept h, const real *start,
                       struct room room) {
    const size_t at = b->row * f->up.IC;
    const struct kept to = kept_at(out, at);
    real *numbers = kept_room(to, room.numbers);
    const struct gemm down =
        down_product(&b->down, numbers, room.activated, start ? start + at : NULL, b->rows, f->up.OC);
    activation_forward(f->act, room.activated, h, b->rows, f->down.IC);
    gemm_serial(&down);
    kept_store(to, numbers, b->rows * f->up.IC);
}

void ffn_forward(const struct ffn *f, struct kept out, struct kept hidden, struct kept in, const real *start,
                 real *scratch) {
    const size_t width = f->up.OC, chunk = chunk_rows(f), least = limits_of(f->up.operands).least;
    if (!scratch && rows_all(f) < least * (size_t)omp_get_max_threads()) {
        forward_few(f, out.data, hidden.data, in, start);
        return;
    }
    size_t task_first[f->E + 1];
    const struct passes passes = passes_of(f);
    tasks_number(f, chunk, task_first);
    for (int pass = 0; pass < passes.n; pass++)
#pragma omp parallel for schedule(dynamic, 1)
        for (size_t task = 0; task < task_first[f->E]; task++) {
            const struct chunk b = chunk_of(f, task_first, chunk, task);
            const struct kept h = kept_at(hidden, b.row * width);
            const struct room room = scratch ? room_of_thread(f, scratch) : (struct room){NULL, h};
            if (passes.layers[pass] & FIRST) chunk_up(f, &b, h, in, room);
            if (passes.layers[pass] & SECOND) chunk_down(f, &b, out, h, start, room);
        }
}

size_t ffn_scratch_count(size_t hidden, size_t S, enum operands operands) {
    return (size_t)omp_get_max_threads() * room_count(hidden, S, operands);
}

/* h = in W1^T + b1,  out = act(h) W2^T + b2:  dh = (dout W2) act'(h),  din = dh W1 */
static void inputs_backward(const struct ffn *f, real *din, struct kept d_hidden, const real *dout,
                            struct kept hidden, real *scratch) {
    const size_t S = f->up.IC, width = f->up.OC, chunk = chunk_rows(f);
    size_t task_first[f->E + 1];
    const struct passes passes = passes_of(f);
    tasks_number(f, chunk, task_first);
    for (int pass = 0; pass < passes.n; pass++)
#pragma omp parallel for schedule(dynamic, 1)
        for (size_t task = 0; task < task_first[f->E]; task++) {
            const struct chunk b = chunk_of(f, task_first, chunk, task);
            const struct kept h_kept = kept_at(hidden, b.row * width), dh_kept = kept_at(d_hidden, b.row * width);
            real *dh = kept_room(dh_kept, room_of_thread(f, scratch).numbers);
            struct gemm down = linear_din_product(&b.down, dh, kept_real(dout + b.row * S), NULL, b.rows);
            down.ldc = width;
            const struct gemm up = linear_din_product(&b.up, din + b.row * S, dh_kept, NULL, b.rows);
            if (passes.layers[pass] & FIRST) {
                gemm_serial(&down);
                activation_backward(f->act, dh_kept, dh, h_kept, b.rows, f->down.IC);
            }
            if (passes.layers[pass] & SECOND) gemm_serial(&up);
        }
}

/* dW2 += dout^T act(h),  dW1 += dh^T in, expert by expert, with the biases' gradients */
static void weight_products(const struct ffn *f, struct gemm *products, struct kept d_hidden, const real *dout,
                            struct kept activated, struct kept in) {
    const size_t S = f->up.IC, width = f->up.OC, E = f->E;
    for (size_t e = 0; e < E; e++) {
        const size_t row = row_first(f, e), rows = rows_of(f, e);
        const struct linear up = linear_at(f->up, e), down = linear_at(f->down, e);
        products[e] = linear_dw_product(&down, kept_real(dout + row * S), kept_real(NULL), rows);
        products[e].B = kept_view(kept_at(activated, row * width), width);
        products[E + e] = linear_dw_product(&up, kept_at(d_hidden, row * width), kept_real(NULL), rows);
        products[E + e].B = input_view(f, in, row);
    }
}

void ffn_backward(const struct ffn *f, real *din, struct kept d_hidden, const real *dout, struct kept hidden,
                  struct kept in, void *workspace) {
    struct gemm products[2 * f->E];
    inputs_backward(f, din, d_hidden, dout, hidden, workspace);
    weight_products(f, products, d_hidden, dout, hidden, in);
    gemm_run(products, 2 * f->E, workspace);
}

size_t ffn_workspace_bytes(size_t E, size_t S, size_t F, size_t W, size_t rows, enum operands operands) {
    /* The most is needed when one expert has all rows: its products are then cut finest, which is when tasks share a
     * packed operand, and the call's whole work, so the finest cut, does not depend on how rows are spread. */
    const struct ffn f = {.E = E, .up = {.IC = S, .OC = W * F, .operands = operands},
                          .down = {.IC = F, .OC = S, .operands = operands}, .rows = rows};
    struct gemm products[2 * E];
    const struct kept none = kept_real(NULL);
    weight_products(&f, products, none, NULL, none, none);
    /* Spread over several experts they take more in one way: each one's steps are padded. */
    const enum storage storage = gemm_storage(operands);
    const size_t padding = (E - 1) * (gemm_packed_bytes(storage, 1, F) + gemm_packed_bytes(storage, 1, S));
    const size_t weights = gemm_workspace_bytes(products, 2 * E) + padding;
    const size_t rooms = ffn_scratch_count(W * F, S, operands) * sizeof(real);
    return weights > rooms ? weights : rooms;
}
