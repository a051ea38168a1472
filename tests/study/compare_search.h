/* The search for a model's learning rate: a race of rates over seeds.
 *
 * A run that happens to sit on a plateau says little about its rate, so each is tried with several seeds and judged by
 * their mean. All begin with the same few; then a rate leaves only if, paired by seed, it is worse than the best as the
 * report understands it (statistics.h): one whose seeds disagree stays. The others go on, with twice as many seeds each
 * time, to all of them. If the best is at the edge of those tried, the next one beyond comes in. What is done follows
 * from the losses alone, so that an interrupted search goes the same way again. Pure: compare.c runs it. */
#ifndef COMPARE_SEARCH_H
#define COMPARE_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include "compare_log.h"

enum { SEARCH_SEEDS = 3 }; /* at first: two would hardly tell anything */

/* One learning rate. */
struct trial {
    double rate;
    bool out;               /* of the race */
    size_t seeds;           /* tried: 1 to this */
    struct result *results; /* (seeds) */
};

struct search {
    struct trial *trials;    /* (n), rates ascending */
    size_t n, widened;       /* widened: how many of them came in beyond those given */
    size_t seeds;            /* that every trial in the race has, or is to have next */
    size_t widen, all_seeds; /* at most */
};

/* A search among n rates, ascending, and at most `widen` more, each with at most `seeds` seeds. */
struct search search_begin(const double *rates, size_t n, size_t widen, size_t seeds);
void search_free(struct search *s);

/* Decides what comes next, once every trial in the race has s->seeds results: true if some lack them now. */
bool search_next(struct search *s);

/* How many seeds a trial lacks. */
static inline size_t trial_lacks(const struct search *s, const struct trial *t) {
    return t->out ? 0 : s->seeds - t->seeds;
}

/* The mean final loss; infinite if a run diverged. */
double trial_mean(const struct trial *t);
double trial_deviation(const struct trial *t);

/* The trial in the race with the lowest mean; the lowest rate if all diverged. */
size_t search_best(const struct search *s);

/* Where it lies among the rates tried: -1 lowest, 1 highest, 0 inside. */
int search_edge(const struct search *s);

#endif
