/* See dispatch.h. Each backward quotes the line it differentiates. */
#include "dispatch.h"

#include "../base/tasks.h"
#include "../math/vecmath.h"

/* A counting sort: an expert's picks keep the order of the rows. */
void dispatch_sort(const struct dispatch *d, const int32_t *picks) {
    int32_t *offsets = d->offsets;
    memset(offsets, 0, (d->E + 1) * sizeof *offsets);
    for (size_t i = 0; i < d->N * d->K; i++) offsets[picks[i] + 1]++;
    for (size_t e = 0; e < d->E; e++) offsets[e + 1] += offsets[e];
    for (size_t i = 0; i < d->N * d->K; i++) {
        d->slots[i] = offsets[picks[i]]++;
        d->sources[d->slots[i]] = (int32_t)(i / d->K);
    }
    memmove(offsets + 1, offsets, d->E * sizeof *offsets); /* each now points at the next expert's first row */
    offsets[0] = 0;
}

static void row_start(real *out, const real *start, size_t n) {
    if (!start) memset(out, 0, n * sizeof *out);
    else if (start != out) memcpy(out, start, n * sizeof *out);
}

/* The row in slot (n,k) is x_n:  dx_n = start_n + sum_k d_rows[slot of (n,k)] */
void dispatch_backward(const struct dispatch *d, real *dx, const real *start, const real *d_rows) {
    const size_t S = d->S, K = d->K;
#pragma omp parallel for
    for (size_t n = 0; n < d->N; n++) {
        real *dx_n = dx + n * S;
        row_start(dx_n, start ? start + n * S : NULL, S);
        for (size_t k = 0; k < K; k++) row_add_scaled(dx_n, 1, d_rows + (size_t)d->slots[n * K + k] * S, S);
    }
}

/* o_n = start_n + sum_k g_nk expert_out[slot of (n,k)] */
void combine_forward(const struct dispatch *d, real *out, struct kept start, const real *gates,
                     struct kept expert_out) {
    const size_t S = d->S, K = d->K;
#pragma omp parallel for if (d->N > FEW_ROWS)
    for (size_t n = 0; n < d->N; n++) {
        real *out_n = out + n * S, room[S];
        row_start(out_n, start.data ? kept_load(kept_at(start, n * S), room, S) : NULL, S);
        for (size_t k = 0; k < K; k++) {
            const struct kept row = kept_at(expert_out, (size_t)d->slots[n * K + k] * S);
            row_add_scaled(out_n, gates[n * K + k], kept_load(row, room, S), S);
        }
    }
}

/* d_expert_out[slot of (n,k)] = g_nk d_o_n,  d_g_nk = d_o_n . expert_out[slot of (n,k)] */
void combine_backward(const struct dispatch *d, real *d_expert_out, real *d_gates, const real *dout,
                      const real *gates, struct kept expert_out) {
    const size_t S = d->S, K = d->K;
#pragma omp parallel for
    for (size_t i = 0; i < d->N * K; i++) {
        const size_t slot = (size_t)d->slots[i];
        const real *dout_n = dout + i / K * S;
        real *d_slot = d_expert_out + slot * S, room[S];
        for (size_t s = 0; s < S; s++) d_slot[s] = gates[i] * dout_n[s];
        d_gates[i] = row_dot(dout_n, kept_load(kept_at(expert_out, slot * S), room, S), S);
    }
}
