/* See norm.h. Backward stands under its forward and quotes the line it differentiates. */
#include "norm.h"

#include "../base/tasks.h"
#include "../math/vecmath.h"

/* Parts of the rows that are summed each by itself: as many whatever the number of threads, or bits would change. */
enum { PARTS = 64 };

void norm_forward(const struct norm *n, struct kept out, const real *x, size_t rows) {
    const size_t C = n->C;
    const real *w = n->w, *b = n->b;
#pragma omp parallel for if (rows > FEW_ROWS)
    for (size_t r = 0; r < rows; r++) {
        const real *x_r = x + r * C;
        const struct kept to = kept_at(out, r * C);
        real room[C], *out_r = kept_room(to, room);
        const real m = n->kind == NORM_LAYER ? row_sum(x_r, C) / C : 0;
        for (size_t c = 0; c < C; c++) out_r[c] = x_r[c] - m;
        const real s = 1 / (real)sqrt(row_dot(out_r, out_r, C) / C + NORM_EPSILON);
        if (b)
            for (size_t c = 0; c < C; c++) out_r[c] = out_r[c] * s * w[c] + b[c];
        else
            for (size_t c = 0; c < C; c++) out_r[c] = out_r[c] * s * w[c];
        kept_store(to, out_r, C);
        n->kept[2 * r] = m;
        n->kept[2 * r + 1] = s;
    }
}

/* out = hat * w + b, hat = (x - m) * s, s the rstd of docs/MHMOE.md: with dhat = dout * w,
 * dx = s * (dhat - mean(dhat) - hat * mean(dhat * hat)), the means being the paths through m, if any, and s. */
static void row_backward(const struct norm *n, real *restrict dx, const real *restrict dout, const real *restrict x,
                         const real *kept) {
    const size_t C = n->C;
    const real *restrict w = n->w, m = kept[0], s = kept[1];
    const real g_mean = n->kind == NORM_LAYER ? row_dot(dout, w, C) / C : 0;
    real *restrict dw = n->dw, *restrict db = n->db;
    vec sum = {0};
    size_t c = 0;
    for (; c + VEC_LANES <= C; c += VEC_LANES) sum += vec_load(dout + c) * vec_load(w + c) * (vec_load(x + c) - m);
    real g_xhat = vec_sum(sum);
    for (; c < C; c++) g_xhat += dout[c] * w[c] * (x[c] - m);
    g_xhat *= s / C;
    for (c = 0; c < C; c++) {
        const real xhat = (x[c] - m) * s;
        dx[c] += s * (dout[c] * w[c] - g_mean - xhat * g_xhat);
        dw[c] += dout[c] * xhat;
        db[c] += dout[c];
    }
}

size_t norm_scratch_count(size_t C) { return PARTS * 2 * C; }

void norm_backward(const struct norm *n, real *dx, const real *dout, const real *x, size_t rows) {
    const size_t C = n->C;
#pragma omp parallel for
    for (size_t part = 0; part < PARTS; part++) {
        struct norm own = *n; /* with sums of its own */
        own.dw = n->scratch + part * 2 * C;
        own.db = own.dw + C;
        memset(own.dw, 0, 2 * C * sizeof(real));
        for (size_t r = part * rows / PARTS; r < (part + 1) * rows / PARTS; r++)
            row_backward(&own, dx + r * C, dout + r * C, x + r * C, n->kept + 2 * r);
    }
#pragma omp parallel for
    for (size_t c0 = 0; c0 < C; c0 += STRIP)
        for (size_t part = 0; part < PARTS; part++) {
            const real *dw_part = n->scratch + part * 2 * C + c0;
            const size_t columns = C - c0 < STRIP ? C - c0 : STRIP;
            row_add_scaled(n->dw + c0, 1, dw_part, columns);
            if (n->db) row_add_scaled(n->db + c0, 1, dw_part + C, columns);
        }
}
