/* Packing of B; gemm_parts.h says how its numbers lie. */
#include "gemm_parts.h"

/* Column `n` of B at these steps, at most LANES; or LANES columns from there on, where they are a square of floats,
 * which is transposed as a whole. Returns how many it were, of the `cols` there are. */
static size_t columns_copy(real *panel, struct view B, struct range steps, size_t n, size_t cols) {
    const size_t depth = steps.to - steps.from;
#ifndef REAL_DOUBLE
    if (B.row == 1 && !B.bf16 && cols >= LANES && depth == LANES) {
        words w[LANES];
        for (size_t i = 0; i < LANES; i++) w[i] = words_load((const real *)view_row(B, B.col, n + i) + steps.from);
        words_transpose(w);
        for (size_t k = 0; k < LANES; k++) words_store((uint32_t *)panel + k * COLS, w[k]);
        return LANES;
    }
#endif
    real room[LANES];
    const real *column = view_reals(B, view_numbers(B, view_row(B, B.col, n), steps.from * B.row), room, depth);
    for (size_t k = 0; k < depth; k++) panel[k * COLS] = column[k * B.row];
    return (void)cols, 1;
}

/* A panel of `real`: columns from..from+cols of K rows of B. */
static void panel_copy(real *panel, struct view B, size_t K, size_t from, size_t cols) {
    real room[COLS];
    if (cols < COLS) memset(panel, 0, K * COLS * sizeof(real));
    if (B.col == 1)
        for (size_t k = 0; k < K; k++) {
            const real *row = view_reals(B, view_numbers(B, view_row(B, B.row, k), from), room, cols);
            if (cols == COLS) memcpy(panel + k * COLS, row, COLS * sizeof(real)); /* of constant size: two vectors */
            else memcpy(panel + k * COLS, row, cols * sizeof(real));
        }
    else /* a few k at a time, so that both sides stay in the cache */
        for (size_t k = 0; k < K; k += LANES) {
            const struct range steps = {k, min_size(k + LANES, K)};
            for (size_t n = 0; n < cols;) n += columns_copy(panel + k * COLS + n, B, steps, from + n, cols - n);
        }
}

/* Of a view of real. */
static real view_at(struct view v, size_t i, size_t j) { return ((const real *)v.data)[i * v.row + j * v.col]; }

/* In INT8: each column's scale, then its numbers. */
static void panel_quantize(char *panel, struct view B, size_t K, size_t from, size_t cols) {
    const size_t steps = (size_t)storage_steps(STORAGE_INT8);
    real *scales = (real *)panel;
    uint32_t *to = (uint32_t *)(panel + panel_header(STORAGE_INT8));
    memset(panel, 0, panel_bytes(STORAGE_INT8, K));
    for (size_t n = 0; n < cols; n++) {
        real high = 0;
        for (size_t k = 0; k < K; k++) high = (real)fmax(high, fabs(view_at(B, k, from + n)));
        const real scale = scales[n] = high > 0 ? high / 127 : 1;
        for (size_t k = 0; k < K; k++) {
            const uint32_t number = (uint32_t)lrint((double)(view_at(B, k, from + n) / scale)) & 0xff;
            to[k / steps * COLS + n] |= number << k % steps * 8;
        }
    }
}

#ifndef REAL_DOUBLE
/* ---- bf16: pairs of steps ----------------------------------------------------------------------- */

/* Rows of B are contiguous: two of them are a row of words. */
static void panel_pair_rows(uint32_t *to, struct view B, size_t K, size_t from, size_t cols) {
    const size_t bytes = kept_bytes(B.bf16), line = 64 / bytes;
    real copy[2][COLS] = {{0}};
    for (size_t k = 0; k < K; k += 2, to += COLS) {
        const char *row[2] = {view_numbers(B, view_row(B, B.row, k), from), (char *)copy[1]};
        for (size_t soon = k + AHEAD; soon < min_size(k + AHEAD + 2, K); soon++)
            for (size_t n = 0; n < cols; n += line)
                __builtin_prefetch(view_numbers(B, view_row(B, B.row, soon), from + n));
        if (k + 1 < K) row[1] = view_numbers(B, view_row(B, B.row, k + 1), from);
        else memset(copy[1], 0, sizeof copy[1]);
        for (int s = 0; s < 2 && cols < COLS; s++) {
            if (row[s] != (char *)copy[s]) memcpy(copy[s], row[s], cols * bytes);
            row[s] = (char *)copy[s];
        }
        for (size_t v = 0; v < COLS; v += LANES)
            words_store(to + v, B.bf16 ? words_pair_halves(row[0] + v * bytes, row[1] + v * bytes)
                                       : words_pair(words_load(row[0] + v * bytes), words_load(row[1] + v * bytes)));
    }
}

/* Columns are: LANES of them, 2 LANES steps at a time, are words one way and transposed are the panel. */
static void panel_pair_columns(uint32_t *to, struct view B, size_t K, size_t from, size_t cols) {
    enum { STEPS = 2 * LANES };
    const size_t bytes = kept_bytes(B.bf16);
    for (size_t k = 0; k < K; k += STEPS, to += LANES * COLS)
        for (size_t n = 0; n < COLS; n += LANES) {
            words w[LANES] = {{0}};
            for (size_t i = 0; i < LANES && n + i < cols; i++) {
                const char *column = view_numbers(B, view_row(B, B.col, from + n + i), k * B.row);
                char copy[STEPS * sizeof(real)] = {0};
                const bool whole = B.row == 1 && K - k >= STEPS;
                for (size_t s = 0; !whole && s < min_size(STEPS, K - k); s++)
                    memcpy(copy + s * bytes, column + s * B.row * bytes, bytes);
                if (!whole) column = copy;
                w[i] = B.bf16 ? words_load(column)
                              : words_of_row(words_load(column), words_load(column + LANES * bytes));
            }
            words_transpose(w);
            for (size_t p = 0; p < LANES; p++) words_store(to + p * COLS + n, w[p]);
        }
}

static void panel_pair(uint32_t *panel, struct view B, size_t K, size_t from, size_t cols) {
    memset(panel + K / 2 * COLS, 0, panel_bytes(STORAGE_BF16, K) - K / 2 * COLS * sizeof *panel);
    if (B.col == 1) panel_pair_rows(panel, B, K, from, cols);
    else panel_pair_columns(panel, B, K, from, cols);
}
#endif

/* ---- Any of them -------------------------------------------------------------------------------- */

void panel_pack(void *panel, enum storage storage, struct view B, size_t K, size_t from, size_t cols) {
    if (storage_steps(storage) == 1) panel_copy(panel, B, K, from, cols);
#ifdef REAL_DOUBLE
    real *numbers = panel;
    for (size_t i = 0; storage == STORAGE_BF16 && i < K * COLS; i++) numbers[i] = bf16_of(numbers[i]);
#else
    if (storage == STORAGE_BF16) panel_pair(panel, B, K, from, cols);
#endif
    if (storage_steps(storage) == 4) panel_quantize(panel, B, K, from, cols);
}

size_t gemm_panels(size_t N) { return blocks_of(N, COLS); }

size_t gemm_packed_bytes(enum storage storage, size_t K, size_t N) { return gemm_panels(N) * panel_bytes(storage, K); }

void gemm_pack_panel(void *packed, enum storage storage, struct view B, size_t K, size_t N, size_t j) {
    char *panel = (char *)packed + j * panel_bytes(storage, K);
    panel_pack(panel, storage, B, K, j * COLS, min_size(COLS, N - j * COLS));
}

void gemm_pack_stored(void *packed, enum storage storage, struct view B, size_t K, size_t N) {
    for (size_t j = 0; j < gemm_panels(N); j++) gemm_pack_panel(packed, storage, B, K, N, j);
}

size_t gemm_packed_count(size_t K, size_t N) { return gemm_packed_bytes(STORAGE_F32, K, N) / sizeof(real); }

void gemm_pack(real *packed, struct view B, size_t K, size_t N) { gemm_pack_stored(packed, STORAGE_F32, B, K, N); }
