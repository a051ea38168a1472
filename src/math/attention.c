/* One task is one head of one sequence. It walks over tiles of QUERIES rows; for a tile, the scores against
 * all keys that one of its rows sees fit in cache, so the softmax is the plain two-pass one and no (T,T) matrix is
 * ever stored. Backward computes the probabilities again from the log-sum-exp.
 *
 * With P the probabilities and O = P V:   dV = P^T dO     dP = dO V^T
 *     dS = scale * P * (dP - D), D_t = sum over t2 of P dP = dO_t . O_t
 *     dQ = dS K     dK = dS^T Q                                                        */
#include "attention.h"

#include <omp.h>
#include "vecmath.h"

enum { QUERIES = 32 };

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }
static size_t max_size(size_t a, size_t b) { return a > b ? a : b; }

/* What a thread works in; hs = C / NH. */
struct scratch {
    real *keys_t; /* K^T (hs, T) packed */
    real *values; /* V (T, hs) packed: forward;  V^T (hs, T) packed: backward */
    real *keys;   /* K (T, hs) packed */
    real *tile;   /* a tile's queries or dO (QUERIES, hs) packed; of forward, O as it is computed */
    real *p, *dp; /* (QUERIES, T) */
    size_t count;
};

/* Numbers that a packed matrix takes. */
static size_t packed_count(enum operands operands, size_t K, size_t N) {
    return gemm_packed_bytes(gemm_storage(operands), K, N) / sizeof(real);
}

static struct scratch scratch_layout(real *base, size_t T, size_t hs, enum operands operands) {
    struct scratch s;
    const size_t by_keys = packed_count(operands, hs, T), by_head = packed_count(operands, T, hs);
    s.keys_t = base;
    s.values = s.keys_t + by_keys;
    s.keys = s.values + max_size(by_keys, by_head);
    s.tile = s.keys + by_head;
    s.p = s.tile + max_size(packed_count(operands, QUERIES, hs), QUERIES * hs);
    s.dp = s.p + QUERIES * T;
    s.count = (size_t)(s.dp + QUERIES * T - base + 15) / 16 * 16;
    return s;
}

size_t attention_scratch_count(size_t T, size_t C, size_t NH, enum operands operands) {
    real *const base = NULL;
    return scratch_layout(base, T, C / NH, operands).count * (size_t)omp_get_max_threads();
}

/* For a sequence of T positions, of which the longest has T_most. */
static struct scratch scratch_of_thread(const struct attention *a, size_t T_most, size_t T) {
    const size_t hs = a->C / a->NH, count = scratch_layout(a->scratch, T_most, hs, a->operands).count;
    return scratch_layout(a->scratch + (size_t)omp_get_thread_num() * count, T, hs, a->operands);
}

/* p_i holds the scores of a query against `keys` keys, of which it sees the first `end`; they become probabilities. */
static real softmax_forward(real *p_i, size_t end, size_t keys, real scale) {
    const real high = row_max(p_i, end) * scale;
    const real sum = row_exp(p_i, p_i, end, scale, high);
    row_scale(p_i, 1 / sum, end);
    memset(p_i + end, 0, (keys - end) * sizeof(real));
    return high + (real)log(sum);
}

/* One head of one sequence; rows of qkv lie 3 C apart, of out and its gradient C. */
struct head {
    size_t T, from, C, hs;
    enum operands operands;
    struct kept q, k, v;
    const int32_t *ends; /* (T - from), or NULL */
    real *lse;           /* (T - from), or NULL */
    struct scratch scratch;
};

/* Keys that query t sees. */
static size_t end_of(const struct head *h, size_t t) { return h->ends ? (size_t)h->ends[t - h->from] : t + 1; }

/* Keys that one of m queries from q0 on sees. */
static size_t keys_of(const struct head *h, size_t q0, size_t m) {
    size_t most = 0;
    for (size_t t = q0; t < q0 + m; t++) most = end_of(h, t) > most ? end_of(h, t) : most;
    return most;
}

/* Where head bh's numbers of (rows, width) begin. */
static size_t head_offset(const struct attention *a, const struct batch *batch, size_t bh, size_t width) {
    return batch_start(batch, bh / a->NH) * width + bh % a->NH * (a->C / a->NH);
}

static struct head head_of(const struct attention *a, struct kept qkv, const struct batch *batch, size_t bh) {
    const size_t b = bh / a->NH, start = batch_start(batch, b), T = batch_length(batch, b), C = a->C, hs = C / a->NH;
    const struct kept q = kept_at(qkv, head_offset(a, batch, bh, 3 * C));
    return (struct head){.T = T, .from = batch->from, .C = C, .hs = hs, .operands = a->operands, .q = q,
                         .k = kept_at(q, C), .v = kept_at(q, 2 * C),
                         .ends = batch->ends ? batch->ends + start : NULL,
                         .lse = a->lse ? a->lse + start * a->NH + bh % a->NH * T : NULL,
                         .scratch = scratch_of_thread(a, batch->T, T)};
}

/* B (K, N), packed for head_multiply. */
static void head_pack(const struct head *h, real *packed, struct view B, size_t K, size_t N) {
    gemm_pack_stored(packed, gemm_storage(h->operands), B, K, N);
}

static void head_multiply(const struct head *h, struct gemm product) {
    product.operands = h->operands;
    product.storage = gemm_storage(h->operands);
    gemm_serial(&product);
}

static void head_forward(const struct head *h, struct kept out) {
    const size_t T = h->T, C = h->C, hs = h->hs, row = 3 * C;
    const struct scratch s = h->scratch;
    const real scale = 1 / (real)sqrt((real)hs);
    head_pack(h, s.keys_t, kept_view_turned(h->k, row), hs, T);
    head_pack(h, s.values, kept_view(h->v, row), T, hs);
    for (size_t q0 = h->from; q0 < T; q0 += QUERIES) {
        const size_t m = min_size(QUERIES, T - q0), keys = keys_of(h, q0, m);
        const struct kept out_tile = kept_at(out, (q0 - h->from) * C);
        const size_t ldc = out.bf16 ? hs : C;
        real *const o = kept_room(out_tile, s.tile);
        head_multiply(h, (struct gemm){.M = m, .N = keys, .K = hs, .A = kept_view(kept_at(h->q, q0 * row), row),
                                       .packed = s.keys_t, .C = s.p, .ldc = T});
        for (size_t i = 0; i < m; i++) {
            const real log_sum = softmax_forward(s.p + i * T, end_of(h, q0 + i), keys, scale);
            if (h->lse) h->lse[q0 - h->from + i] = log_sum;
        }
        head_multiply(h, (struct gemm){.M = m, .N = hs, .K = keys, .A = view_of(s.p, T, 1), .packed = s.values,
                                       .packed_K = T, .C = o, .ldc = ldc});
        for (size_t i = 0; i < m; i++) kept_store(kept_at(out_tile, i * C), o + i * ldc, hs);
    }
}

void attention_forward(const struct attention *a, struct kept out, struct kept qkv, const struct batch *batch) {
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t bh = 0; bh < batch->B * a->NH; bh++) {
        const struct head head = head_of(a, qkv, batch, bh);
        head_forward(&head, kept_at(out, head_offset(a, batch, bh, a->C)));
    }
}

/* The tile's P from its scores, and dS (in place of dP). */
static void softmax_backward(real *p_i, real *dp_i, size_t end, size_t keys, real scale, real lse_t, real d_t) {
    row_exp(p_i, p_i, end, scale, lse_t);
    for (size_t k = 0; k < end; k++) dp_i[k] = scale * p_i[k] * (dp_i[k] - d_t);
    memset(p_i + end, 0, (keys - end) * sizeof(real));
    memset(dp_i + end, 0, (keys - end) * sizeof(real));
}

static void head_backward(const struct head *h, real *dqkv, const real *dout, struct kept out) {
    const size_t T = h->T, C = h->C, hs = h->hs, row = 3 * C;
    const struct scratch s = h->scratch;
    const real scale = 1 / (real)sqrt((real)hs);
    real *dq = dqkv, *dk = dqkv + C, *dv = dqkv + 2 * C, room[hs];
    head_pack(h, s.keys_t, kept_view_turned(h->k, row), hs, T);
    head_pack(h, s.values, kept_view_turned(h->v, row), hs, T);
    head_pack(h, s.keys, kept_view(h->k, row), T, hs);
    for (size_t t = 0; t < T; t++) {
        memset(dk + t * row, 0, hs * sizeof(real));
        memset(dv + t * row, 0, hs * sizeof(real));
    }
    for (size_t q0 = 0; q0 < T; q0 += QUERIES) {
        const size_t m = min_size(QUERIES, T - q0), keys = keys_of(h, q0, m);
        const real *dout_tile = dout + q0 * C;
        const struct view q_tile = kept_view(kept_at(h->q, q0 * row), row), d_tile = view_of(dout_tile, C, 1);
        head_multiply(h, (struct gemm){.M = m, .N = keys, .K = hs, .A = q_tile, .packed = s.keys_t, .C = s.p,
                                       .ldc = T});
        head_multiply(h, (struct gemm){.M = m, .N = keys, .K = hs, .A = d_tile, .packed = s.values, .C = s.dp,
                                       .ldc = T});
        for (size_t i = 0; i < m; i++) {
            const real d_t = row_dot(dout_tile + i * C, kept_load(kept_at(out, (q0 + i) * C), room, hs), hs);
            softmax_backward(s.p + i * T, s.dp + i * T, end_of(h, q0 + i), keys, scale, h->lse[q0 + i], d_t);
        }
        /* S = scale q k^T */
        head_multiply(h, (struct gemm){.M = m, .N = hs, .K = keys, .A = view_of(s.dp, T, 1), .packed = s.keys,
                                       .packed_K = T, .C = dq + q0 * row, .ldc = row});
        head_pack(h, s.tile, q_tile, m, hs);
        head_multiply(h, (struct gemm){.M = keys, .N = hs, .K = m, .A = view_of(s.dp, 1, T), .packed = s.tile, .C = dk,
                                       .ldc = row, .start = dk});
        /* O = P V */
        head_pack(h, s.tile, d_tile, m, hs);
        head_multiply(h, (struct gemm){.M = keys, .N = hs, .K = m, .A = view_of(s.p, 1, T), .packed = s.tile, .C = dv,
                                       .ldc = row, .start = dv});
    }
}

void attention_backward(const struct attention *a, real *dqkv, const real *dout, struct kept qkv, struct kept out,
                        const struct batch *batch) {
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t bh = 0; bh < batch->B * a->NH; bh++) {
        const struct head head = head_of(a, qkv, batch, bh);
        const size_t to = head_offset(a, batch, bh, a->C);
        head_backward(&head, dqkv + head_offset(a, batch, bh, 3 * a->C), dout + to, kept_at(out, to));
    }
}
