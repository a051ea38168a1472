/* See compare_search.h. */
#include "compare_search.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../src/base/util.h"
#include "statistics.h"

static struct trial trial_begin(double rate, size_t seeds) {
    return (struct trial){.rate = rate, .results = array_alloc(seeds, sizeof(struct result))};
}

struct search search_begin(const double *rates, size_t n, size_t widen, size_t seeds) {
    struct search s = {.n = n, .widen = widen, .all_seeds = seeds};
    s.trials = array_alloc(n + widen, sizeof *s.trials);
    for (size_t i = 0; i < n; i++) s.trials[i] = trial_begin(rates[i], seeds);
    return s;
}

void search_free(struct search *s) {
    for (size_t i = 0; i < s->n; i++) {
        for (size_t k = 0; k < s->all_seeds; k++) result_free(&s->trials[i].results[k]);
        free(s->trials[i].results);
    }
    free(s->trials);
    *s = (struct search){0};
}

/* The first n losses of a trial. malloc'ed. */
static double *trial_losses(const struct trial *t, size_t n) {
    double *losses = array_alloc(n, sizeof *losses);
    for (size_t i = 0; i < n; i++) losses[i] = t->results[i].loss;
    return losses;
}

static double trial_statistic(const struct trial *t, double (*of)(const double *, size_t)) {
    double *losses = trial_losses(t, t->seeds);
    const double result = of(losses, t->seeds);
    free(losses);
    return result;
}

double trial_mean(const struct trial *t) { return trial_statistic(t, mean); }
double trial_deviation(const struct trial *t) { return trial_statistic(t, deviation); }

size_t search_best(const struct search *s) {
    size_t best = s->n;
    for (size_t i = 0; i < s->n; i++)
        if (!s->trials[i].out && (best == s->n || trial_mean(&s->trials[i]) < trial_mean(&s->trials[best]))) best = i;
    return best;
}

int search_edge(const struct search *s) {
    const size_t best = search_best(s);
    return best == 0 ? -1 : best == s->n - 1 ? 1 : 0;
}

/* The rate beyond the lowest or the highest, by the step between that one and its neighbour; of three digits, so that
 * it is what reports and directories' names say. */
static void search_widen(struct search *s, int side) {
    const size_t edge = side < 0 ? 0 : s->n - 1, neighbour = side < 0 ? 1 : s->n - 2;
    char *text = string_format("%.3g", s->trials[edge].rate * s->trials[edge].rate / s->trials[neighbour].rate);
    const struct trial beyond = trial_begin(strtod(text, NULL), s->all_seeds);
    free(text);
    if (side < 0) memmove(s->trials + 1, s->trials, s->n * sizeof *s->trials);
    s->trials[side < 0 ? 0 : s->n] = beyond;
    s->n++;
    s->widened++;
}

/* Whether the seeds that both have tell that it is worse. One that diverges is. */
static bool trial_worse(const struct trial *t, const struct trial *best) {
    if (!isfinite(trial_mean(t))) return isfinite(trial_mean(best));
    double *a = trial_losses(t, t->seeds), *b = trial_losses(best, t->seeds);
    const bool worse = paired_verdict(paired_difference(a, b, t->seeds)) > 0;
    free(a);
    free(b);
    return worse;
}

/* Takes those out that are worse than the best; returns how many are left. */
static size_t search_thin(struct search *s) {
    const size_t best = search_best(s);
    size_t left = 0;
    for (size_t i = 0; i < s->n; i++) {
        s->trials[i].out |= trial_worse(&s->trials[i], &s->trials[best]);
        left += !s->trials[i].out;
    }
    return left;
}

bool search_next(struct search *s) {
    const int edge = s->seeds > 0 ? search_edge(s) : 0;
    if (edge && s->widened < s->widen) search_widen(s, edge);
    else if (s->seeds == 0) s->seeds = SEARCH_SEEDS < s->all_seeds ? SEARCH_SEEDS : s->all_seeds;
    else if (s->seeds == s->all_seeds || search_thin(s) == 1) return false;
    else s->seeds = 2 * s->seeds < s->all_seeds ? 2 * s->seeds : s->all_seeds;
    return true;
}
