/* See scoring.h. */
#include "scoring.h"

#include <stdlib.h>
#include <string.h>
#include "src/base/util.h"
#include "src/layers/documents.h"

void span_score(struct model *m, const int32_t *tokens, const struct span *s, size_t cached, real *losses) {
    const int32_t *window = tokens + s->start;
    const size_t T = s->stop - 1 - s->start, from = s->from - 1 - s->start;
    /* Who goes on from the cache sees all that is there: texts that begin on the way are read in one piece. */
    const bool whole = m->sizes.documents && document_start(window, T, DOCUMENT_TOKEN) > 0;
    const size_t read = whole ? 0 : from;
    int32_t *targets = array_alloc(T, sizeof *targets);
    size_t count;
    for (size_t t = 0; t < T; t++) targets[t] = t < from ? TARGET_NONE : window[t + 1];
    if (read > cached)
        model_forward(m, &(struct batch){.B = 1, .T = read, .from = cached, .tokens = window + cached});
    model_forward(m, &(struct batch){.B = 1, .T = T, .from = read, .tokens = window + read, .targets = targets + read});
    model_loss(m, 0, &count);
    memcpy(losses, model_losses(m) + (from - read), count * sizeof *losses);
    free(targets);
}
