/* How much each part of a corpus (a language, a domain) counts. */
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include "../src/base/util.h"

struct part_weight {
    const char *name; /* "" where a corpus has no parts */
    double size;      /* bytes or tokens */
    double share;     /* of what is trained on: they sum to 1 */
};

/* Sets the shares: proportional to size ^ alpha (1: as the parts come, 0: all alike), or to `weights` if not NULL:
 * NAME=NUMBER for each part, as in "en=2,de=1". EXIT_USAGE, naming the part, where these do not fit the parts. */
bool part_shares(struct part_weight *parts, size_t n, double alpha, const char *weights, struct error *err);

#endif
