/* See numbers.h. */
#include "numbers.h"

#include <math.h>
#include <stdlib.h>
#include "dependence.h"

json_t *number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

json_t *numbers(const double *x, size_t n) {
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(array, number(x[i]));
    return array;
}

double mean_of(const double *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    return n ? sum / (double)n : NAN;
}

char *layer_label(const struct config *config, size_t lm) {
    return string_format("block %zu", (lm + 1) * (size_t)config->moe_every - 1);
}

json_t *dependence_row(const char *label, double bits, double entropy, const double *null, size_t n) {
    const struct excess x = excess_over(bits, null, n);
    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "layer", label, "information", number(bits),
                     "information_share", number(bits / entropy), "null_mean", number(x.null_mean), "null_95",
                     number(x.null_95), "excess", number(x.excess), "excess_share", number(x.excess / entropy),
                     "above_null", x.above);
}

json_t *shares_of(const double *table, size_t rows, size_t E) {
    json_t *all = json_array();
    double *shares = array_alloc(E, sizeof *shares);
    for (size_t r = 0; r < rows; r++) {
        double total = 0;
        for (size_t e = 0; e < E; e++) total += table[r * E + e];
        for (size_t e = 0; e < E; e++) shares[e] = table[r * E + e] / total;
        json_array_append_new(all, numbers(shares, E));
    }
    free(shares);
    return all;
}

bool numbers_save(const char *dir, const char *name, const json_t *object, struct error *err) {
    struct atomic_file file;
    char *path = string_format("%s/%s", dir, name);
    const bool opened = atomic_open(&file, path, err);
    free(path);
    if (!opened) return false;
    json_dumpf(object, file.file, JSON_INDENT(1) | JSON_REAL_PRECISION(9)); /* a failure is told by commit */
    fputc('\n', file.file);
    return atomic_commit(&file, err);
}
