/* See stack.h. */
#include "stack.h"

#include "../base/tasks.h"
#include "../math/activation.h"

/* Row by row on all threads. */
static void gelu_rows(real *out, const real *x, size_t rows, size_t C) {
#pragma omp parallel for if (rows > FEW_ROWS)
    for (size_t r = 0; r < rows; r++)
        activation_forward(ACTIVATION_GELU, kept_real(out + r * C), kept_real(x + r * C), 1, C);
}

static void gelu_rows_backward(real *dx, real *x, size_t rows, size_t C) {
#pragma omp parallel for
    for (size_t r = 0; r < rows; r++)
        activation_backward(ACTIVATION_GELU, kept_real(dx + r * C), dx + r * C, kept_real(x + r * C), 1, C);
}

/* hid_0 = in W_0^T + b_0,  hid_i = gelu(hid_{i-1}) W_i^T + b_i */
void stack_forward(const struct stack *s, real *out, struct kept in, const real *start, size_t rows) {
    const size_t C = s->layers.IC, last = s->depth - 1;
    for (size_t i = 0; i <= last; i++) {
        const struct linear layer = linear_at(s->layers, i);
        real *h = s->hidden + i * rows * C;
        linear_forward(&layer, i < last ? h : out, i > 0 ? kept_real(s->activated) : in, i < last ? NULL : start, rows);
        if (i < last) gelu_rows(s->activated, h, rows, C);
    }
}

/* dhid_{i-1} = (dhid_i W_i) gelu'(hid_{i-1}). Gradients go to and fro between two buffers; layer 0's ends in din. */
void stack_backward(const struct stack *s, real *din, const real *dout, struct kept in, size_t rows) {
    const size_t C = s->layers.IC;
    for (size_t i = s->depth - 1; i > 0; i--) {
        const struct linear layer = linear_at(s->layers, i);
        real *h = s->hidden + (i - 1) * rows * C, *dh = i % 2 ? s->d_hidden : din;
        gelu_rows(s->activated, h, rows, C);
        linear_backward(&layer, dh, dout, kept_real(s->activated), NULL, rows, s->workspace);
        gelu_rows_backward(dh, h, rows, C);
        dout = dh;
    }
    linear_backward(&s->layers, din, dout, in, NULL, rows, s->workspace);
}
