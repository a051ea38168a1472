/* See inputs.h. Backward stands under its forward and quotes the line it differentiates. */
#include "inputs.h"

#include <string.h>
#include "../base/tasks.h"
#include "../math/vecmath.h"

/* Numbers the rows that show a patch; returns how many there are. */
static size_t patches_number(const struct inputs *in, const struct batch *batch) {
    size_t n = 0;
    if (!in->patch_of) return 0;
    for (size_t r = 0; r < batch_rows(batch); r++)
        if (batch->tokens[r] == TOKEN_PATCH) in->patch_of[r] = (int32_t)n++;
    return n;
}

/* What row r of `token` shows. */
static const real *shown(const struct inputs *in, int32_t token, size_t r) {
    if (token == TOKEN_PATCH) return in->patches + (size_t)in->patch_of[r] * in->C;
    return token == TOKEN_HIDDEN ? in->mask.w : in->tokens.w + (size_t)token * in->C;
}

void inputs_forward(const struct inputs *in, real *out, const struct batch *batch) {
    const size_t C = in->C, n = patches_number(in, batch);
    if (n > 0) linear_forward(&in->patch, in->patches, kept_real(batch->patches), NULL, n);
#pragma omp parallel for if (batch_rows(batch) > FEW_ROWS)
    for (size_t r = 0; r < batch_rows(batch); r++) {
        const size_t t = batch_position(batch, r);
        real *out_r = out + r * C;
        memcpy(out_r, shown(in, batch->tokens[r], r), C * sizeof(real));
        if (in->positions.w) row_add_scaled(out_r, 1, in->positions.w + t * C, C);
        if (in->kinds.w) row_add_scaled(out_r, 1, in->kinds.w + (t < in->P ? 0 : C), C);
        if (in->places.w && t < in->P) row_add_scaled(out_r, 1, in->places.w + t * C, C);
    }
}

/* out_r = shown_r + wpe_t + kind + place_t, in the columns from c0 on. */
static void row_backward(const struct inputs *in, const real *dout_r, const struct batch *batch, size_t r, size_t c0,
                         size_t n) {
    const size_t C = in->C, t = batch_position(batch, r);
    const int32_t token = batch->tokens[r];
    if (token == TOKEN_PATCH) memcpy(in->patches + (size_t)in->patch_of[r] * C + c0, dout_r, n * sizeof(real));
    else row_add_scaled((token == TOKEN_HIDDEN ? in->mask.dw : in->tokens.dw + (size_t)token * C) + c0, 1, dout_r, n);
    if (in->positions.w) row_add_scaled(in->positions.dw + t * C + c0, 1, dout_r, n);
    if (in->kinds.w) row_add_scaled(in->kinds.dw + (t < in->P ? 0 : C) + c0, 1, dout_r, n);
    if (in->places.w && t < in->P) row_add_scaled(in->places.dw + t * C + c0, 1, dout_r, n);
}

/* A thread owns a strip of columns and walks all rows in order, since two rows may show the same. */
void inputs_backward(const struct inputs *in, const real *dout, const struct batch *batch) {
    const size_t C = in->C, rows = batch_rows(batch), n = patches_number(in, batch);
#pragma omp parallel for
    for (size_t c0 = 0; c0 < C; c0 += STRIP) {
        const size_t strip = STRIP < C - c0 ? STRIP : C - c0;
        for (size_t r = 0; r < rows; r++) row_backward(in, dout + r * C + c0, batch, r, c0, strip);
    }
    /* patches = pixels W^T + b */
    if (n == 0) return;
    const struct gemm product = linear_dw_product(&in->patch, kept_real(in->patches), kept_real(batch->patches), n);
    gemm_run(&product, 1, in->work);
}
