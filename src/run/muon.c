/* See muon.h. All matrices of a tensor go through each product together, as one piece of work. A matrix with more rows
 * than columns is multiplied by its polynomial from the right, which is the same, and smaller. */
#include "muon.h"

#include <math.h>
#include <stdlib.h>
#include "../base/util.h"
#include "../math/gemm.h"

enum { STEPS = 5, ALIGNMENT = 64 };

static bool is_wide(const struct matrices *of) { return of->rows <= of->columns; }
static size_t side_of(const struct matrices *of) { return is_wide(of) ? of->rows : of->columns; }
static size_t size_of(const struct matrices *of) { return of->rows * of->columns; }

static struct gemm product_of(struct view A, struct view B, real *C, size_t M, size_t K, size_t N) {
    return (struct gemm){.M = M, .N = N, .K = K, .A = A, .B = B, .C = C, .ldc = N};
}

/* A = X X^T, or X^T X; square = A A; next = polynomial X, or X polynomial. */
enum product { PRODUCT_A, PRODUCT_SQUARE, PRODUCT_NEXT, PRODUCTS };

/* Of one matrix: from `in` (and, for the next X, the polynomial) to `out`. */
static struct gemm product_at(const struct matrices *of, enum product which, const real *in, const real *polynomial,
                              real *out) {
    const size_t side = side_of(of), rows = of->rows, columns = of->columns;
    const struct view X = view_of(in, columns, 1), turned = view_of(in, 1, columns), P = view_of(polynomial, side, 1);
    if (which == PRODUCT_SQUARE) return product_of(view_of(in, side, 1), view_of(in, side, 1), out, side, side, side);
    if (which == PRODUCT_A)
        return is_wide(of) ? product_of(X, turned, out, side, columns, side)
                           : product_of(turned, X, out, side, rows, side);
    return is_wide(of) ? product_of(P, X, out, rows, side, columns) : product_of(X, P, out, rows, side, columns);
}

/* Of all of them. */
struct batch_memory {
    const struct matrices *of;
    struct gemm *products; /* (n) */
    void *workspace;
};

static void products_run(const struct batch_memory *b, enum product which, const real *in, const real *polynomial,
                         real *out) {
    const size_t square = side_of(b->of) * side_of(b->of), size = size_of(b->of);
    const size_t from = which == PRODUCT_SQUARE ? square : size, to = which == PRODUCT_NEXT ? size : square;
    for (size_t i = 0; i < b->of->n; i++)
        b->products[i] = product_at(b->of, which, in + i * from, polynomial + i * square, out + i * to);
    gemm_run(b->products, b->of->n, b->workspace);
}

/* The most that one of the three asks for. */
static size_t workspace_bytes(const struct matrices *of) {
    struct gemm *products = array_alloc(of->n, sizeof *products);
    size_t most = 0;
    for (enum product which = 0; which < PRODUCTS; which++) {
        for (size_t i = 0; i < of->n; i++) products[i] = product_at(of, which, NULL, NULL, NULL);
        const size_t bytes = gemm_workspace_bytes(products, of->n);
        if (bytes > most) most = bytes;
    }
    free(products);
    return (most + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

size_t muon_work_bytes(const struct matrices *of) {
    return workspace_bytes(of) + 2 * of->n * (size_of(of) + side_of(of) * side_of(of)) * sizeof(real);
}

/* P = 3.4445 I - 4.7750 A + 2.0315 P, where P is A A. */
static void polynomial_make(const struct matrices *of, real *P, const real *A) {
    const size_t side = side_of(of);
#pragma omp parallel for
    for (size_t row = 0; row < of->n * side; row++) {
        real *const p = P + row * side;
        const real *const a = A + row * side;
        for (size_t j = 0; j < side; j++) p[j] = (real)-4.7750 * a[j] + (real)2.0315 * p[j];
        p[row % side] += (real)3.4445;
    }
}

/* The momentum, and X from it. */
static void momentum_update(const struct muon *muon, const struct slab *slab, double scale, real *X) {
    const real keep = (real)muon->momentum, take = (real)(1 - muon->momentum), g_scale = (real)scale;
#pragma omp parallel for
    for (size_t i = 0; i < slab->n; i++) {
        const real g = g_scale * slab->g[i], m = keep * slab->m[i] + take * g;
        slab->m[i] = m;
        X[i] = keep * m + take * g;
    }
}

/* A matrix of next to no gradient, as of an expert that nothing chose for long, stays near 0: so the 1e-7. */
static void normalize(const struct matrices *of, real *X) {
    const size_t size = size_of(of);
    for (size_t i = 0; i < of->n; i++) {
        const real by = (real)(1 / (gradient_norm(X + i * size, size) + 1e-7));
#pragma omp parallel for
        for (size_t k = i * size; k < (i + 1) * size; k++) X[k] *= by;
    }
}

void muon_update(const struct muon *muon, const struct slab *slab, const struct matrices *of, double lr, double scale,
                 void *work) {
    real *X = (real *)((char *)work + workspace_bytes(of)), *next = X + slab->n, *A = next + slab->n;
    real *const P = A + of->n * side_of(of) * side_of(of), *const w = slab->w;
    const struct batch_memory b = {of, array_alloc(of->n, sizeof(struct gemm)), work};
    momentum_update(muon, slab, scale, X);
    normalize(of, X);
    for (int step = 0; step < STEPS; step++) {
        products_run(&b, PRODUCT_A, X, P, A);
        products_run(&b, PRODUCT_SQUARE, A, P, P);
        polynomial_make(of, P, A);
        products_run(&b, PRODUCT_NEXT, X, P, next);
        real *const last = X;
        X = next;
        next = last;
    }
    const size_t longest = of->rows > of->columns ? of->rows : of->columns;
    const real rate = (real)(lr * 0.2 * sqrt((double)longest));
    const real shrink = (real)(slab->decay ? lr * muon->weight_decay : 0);
#pragma omp parallel for
    for (size_t i = 0; i < slab->n; i++) w[i] -= rate * X[i] + shrink * w[i];
    free(b.products);
}
