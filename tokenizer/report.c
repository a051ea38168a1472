/* See report.h. */
#include "report.h"

#include <stdlib.h>
#include "../src/run/likelihood.h"
#include "../src/run/runlog.h"

json_t *token_report(const tokenizer *t, int32_t id, double logprob) {
    size_t size;
    const char *bytes = tokenizer_piece(t, id, &size);
    json_t *line = json_object();
    token_describe(line, bytes, size);
    json_object_set_new(line, "id", json_integer(id));
    json_object_set_new(line, "logprob", json_number(logprob));
    return line;
}

json_t *likeliest_report(const tokenizer *t, const real *logits, size_t V, size_t most, double log_sum) {
    int32_t *best = array_alloc(most, sizeof *best);
    const size_t listed = logits_highest(logits, V, most, best);
    json_t *top = json_array();
    for (size_t k = 0; k < listed; k++)
        json_array_append_new(top, token_report(t, best[k], (double)logits[best[k]] - log_sum));
    free(best);
    return top;
}

bool line_write(json_t *object) {
    json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9)); /* as many digits as a float has */
    json_decref(object);
    return putchar('\n') != EOF;
}
