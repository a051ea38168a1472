/* See scoring.h. */
#include "scoring.h"

#include <string.h>

void span_score(struct model *m, const int32_t *tokens, const struct span *s, size_t cached, real *losses) {
    const int32_t *window = tokens + s->start;
    const size_t T = s->stop - 1 - s->start, from = s->from - 1 - s->start;
    size_t count;
    if (from > cached)
        model_forward(m, &(struct batch){.B = 1, .T = from, .from = cached, .tokens = window + cached});
    model_forward(m, &(struct batch){.B = 1, .T = T, .from = from, .tokens = window + from,
                                     .targets = window + from + 1});
    model_loss(m, 0, &count);
    memcpy(losses, model_losses(m), count * sizeof *losses);
}
