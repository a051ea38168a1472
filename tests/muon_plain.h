/* Muon's matrices in double, with plain loops. */
#ifndef MUON_PLAIN_H
#define MUON_PLAIN_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* (M,N) = (M,K) (K,N), by the definition. */
static inline void multiply(double *C, const double *A, const double *B, size_t M, size_t K, size_t N) {
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < N; j++) {
            C[i * N + j] = 0;
            for (size_t k = 0; k < K; k++) C[i * N + j] += A[i * K + k] * B[k * N + j];
        }
}

static inline void transpose(double *T, const double *X, size_t rows, size_t columns) {
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) T[j * rows + i] = X[i * columns + j];
}

/* One matrix, word for word as muon.h has it. */
static inline void orthogonal_plain(double *X, size_t r, size_t c) {
    double norm = 0, *T = calloc(r * c, 8), *A = calloc(r * r, 8), *AA = calloc(r * r, 8), *old = calloc(r * c, 8);
    for (size_t i = 0; i < r * c; i++) norm += X[i] * X[i];
    for (size_t i = 0; i < r * c; i++) X[i] /= sqrt(norm) + 1e-7;
    for (int step = 0; step < 5; step++) {
        transpose(T, X, r, c);
        multiply(A, X, T, r, c, r);
        multiply(AA, A, A, r, r, r);
        for (size_t i = 0; i < r * r; i++) A[i] = 3.4445 * (i % (r + 1) == 0) - 4.7750 * A[i] + 2.0315 * AA[i];
        memcpy(old, X, r * c * sizeof *X);
        multiply(X, A, old, r, r, c);
    }
    free(T), free(A), free(AA), free(old);
}

#endif
