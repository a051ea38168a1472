/* A list of problems cut into numbered tasks, to be dealt out by one parallel loop: problem i has the tasks
 * first[i]..first[i + 1]. */
#ifndef TASKS_H
#define TASKS_H

#include <stddef.h>

enum { TASKS_A_THREAD = 4 }; /* about so many, so that dynamic scheduling evens them out */
enum { FEW_ROWS = 16 }; /* of C numbers each, as in decoding: not worth the wait for other threads */
enum { STRIP = 32 }; /* columns that a task of a column-wise sum owns: whole cache lines, each with one writer */

/* The problem, of n, that a task belongs to. */
static inline size_t tasks_find(const size_t *first, size_t n, size_t task) {
    size_t low = 0, high = n;
    while (high - low > 1) {
        const size_t middle = (low + high) / 2;
        if (first[middle] <= task) low = middle;
        else high = middle;
    }
    return low;
}

#endif
