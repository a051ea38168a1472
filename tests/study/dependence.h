/* How far the choice of an expert depends on the part of the corpus (language, domain) that the text is of.
 *
 * Pure functions of counts. What a pick's expert tells about the part is their mutual information. Of a finite text it
 * is above 0 even where there is no dependence, the more so the more experts there are; so it is compared with the same
 * figure after the parts' labels have been dealt out to the windows anew. To whole windows: the tokens of one are about
 * one thing, and not independent of each other; by labels dealt out token by token, any two texts would differ. */
#ifndef DEPENDENCE_H
#define DEPENDENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "routing.h"

/* Windows of text, each of one part, and how often their sub-tokens picked each expert. */
struct windows {
    const double *counts; /* (W, E) */
    const size_t *part;   /* (W) below P */
    size_t W, E, P;
};

/* The picks of consecutive windows of `length` tokens, which divides the tokens that there are -> counts (W, E). */
void windows_count(const struct picks *r, size_t length, double *counts);

/* The picks of each part's windows -> table (P, E). `part` (W) stands for that of w. */
void parts_count(const struct windows *w, const size_t *part, double *table);

/* Of a table of counts: how many bits the column tells about the row (and the row about the column), from 0 to the
 * entropy of either. 0 for a table of nothing. */
double mutual_information(const double *table, size_t rows, size_t columns);

/* Bits that it takes to tell which row an average pick is of. */
double rows_entropy(const double *table, size_t rows, size_t columns);

/* The mutual information of part and expert after dealing the parts out to the windows anew -> null (n). Draw i follows
 * from seed, i and W alone, so that those of layers and models belong together. */
void information_null(const struct windows *w, uint64_t seed, double *null, size_t n);

/* An information beside its null (of at least 19 draws). */
struct excess {
    double null_mean, null_95; /* 95% of draws are at most null_95, counting the observed one among them */
    double excess;             /* above the mean: what is left when that is taken off for a finite text */
    bool above;                /* it is above null_95 */
};
struct excess excess_over(double information, const double *null, size_t n);

#endif
