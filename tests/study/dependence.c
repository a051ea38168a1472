/* See dependence.h. Counts are whole numbers in doubles: exact, so that equal tables have equal figures. */
#include "dependence.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../../src/base/rng.h"
#include "../../src/base/util.h"
#include "statistics.h"

void windows_count(const struct picks *r, size_t length, double *counts) {
    const size_t each = length * r->H * r->K, W = r->tokens / length;
    memset(counts, 0, W * r->E * sizeof *counts);
    for (size_t w = 0; w < W; w++)
        for (size_t i = 0; i < each; i++) counts[w * r->E + (size_t)r->ids[w * each + i]]++;
}

void parts_count(const struct windows *w, const size_t *part, double *table) {
    memset(table, 0, w->P * w->E * sizeof *table);
    for (size_t i = 0; i < w->W; i++) {
        double *row = table + part[i] * w->E;
        const double *counts = w->counts + i * w->E;
        for (size_t e = 0; e < w->E; e++) row[e] += counts[e];
    }
}

/* The sums of the rows of a table. malloc'ed. */
static double *rows_sum(const double *table, size_t rows, size_t columns) {
    double *sums = array_alloc(rows, sizeof *sums);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) sums[r] += table[r * columns + c];
    return sums;
}

double mutual_information(const double *table, size_t rows, size_t columns) {
    double *row_sums = rows_sum(table, rows, columns), *column_sums = array_alloc(columns, sizeof *column_sums);
    double total = 0, sum = 0;
    for (size_t r = 0; r < rows; r++) total += row_sums[r];
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) column_sums[c] += table[r * columns + c];
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) {
            const double n = table[r * columns + c];
            if (n > 0) sum += n * log2(n * total / (row_sums[r] * column_sums[c])); /* 0 exactly if independent */
        }
    free(row_sums);
    free(column_sums);
    return total > 0 ? fmax(sum / total, 0) : 0; /* below 0 by rounding alone */
}

double rows_entropy(const double *table, size_t rows, size_t columns) {
    double *sums = rows_sum(table, rows, columns), total = 0, entropy = 0;
    for (size_t r = 0; r < rows; r++) total += sums[r];
    for (size_t r = 0; r < rows; r++)
        if (sums[r] > 0) entropy += sums[r] / total * log2(total / sums[r]);
    free(sums);
    return entropy;
}

/* The parts in another order, each order as likely as any other (Fisher and Yates). */
static void parts_deal(size_t *part, size_t W, struct rng *rng) {
    for (size_t left = W; left > 1; left--) {
        const size_t at = (size_t)(rng_uniform(rng) * (double)left), last = part[left - 1];
        part[left - 1] = part[at];
        part[at] = last;
    }
}

void information_null(const struct windows *w, uint64_t seed, double *null, size_t n) {
#pragma omp parallel for
    for (size_t i = 0; i < n; i++) {
        struct rng rng;
        size_t *part = array_alloc(w->W, sizeof *part);
        double *table = array_alloc(w->P * w->E, sizeof *table);
        memcpy(part, w->part, w->W * sizeof *part);
        rng_seed(&rng, seed, i);
        parts_deal(part, w->W, &rng);
        parts_count(w, part, table);
        null[i] = mutual_information(table, w->P, w->E);
        free(part);
        free(table);
    }
}

struct excess excess_over(double information, const double *null, size_t n) {
    const double rounding = 1e-9; /* draws that deal out the same differ by the order of their sums */
    double *sorted = array_alloc(n, sizeof *sorted);
    memcpy(sorted, null, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_doubles);
    const size_t rank = (95 * (n + 1) + 99) / 100; /* of n + 1 equally likely places 5% are behind it */
    const double null_mean = mean(null, n), null_95 = sorted[(rank < n ? rank : n) - 1];
    free(sorted);
    return (struct excess){null_mean, null_95, information - null_mean, information > null_95 + rounding};
}
