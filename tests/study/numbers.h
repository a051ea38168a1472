/* Numbers as JSON: what the studies' measurements have in common. A number that does not exist is null. */
#ifndef NUMBERS_H
#define NUMBERS_H

#include <jansson.h>
#include "../../src/run/config.h"

json_t *number(double x);
json_t *numbers(const double *x, size_t n);
double mean_of(const double *x, size_t n); /* NaN of none */

/* What MoE layer lm is called. malloc'ed. */
char *layer_label(const struct config *config, size_t lm);

/* An information of so many bits beside its null (dependence.h), and as shares of the entropy. */
json_t *dependence_row(const char *label, double bits, double entropy, const double *null, size_t n);

/* Of each row of a table (rows, E) of picks, the share that went to each expert. */
json_t *shares_of(const double *table, size_t rows, size_t E);

/* Writes DIR/NAME. EXIT_OUTPUT. */
bool numbers_save(const char *dir, const char *name, const json_t *object, struct error *err);

#endif
