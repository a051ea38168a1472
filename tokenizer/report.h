/* Tokens as JSON: what --score, --evaluate and --json of ./sample write, one object a line. */
#ifndef REPORT_H
#define REPORT_H

#include <jansson.h>
#include "../src/base/real.h"
#include "tokenizer.h"

/* A token: "token" (its text), "bytes" where that is not all, "id", "logprob". New reference. */
json_t *token_report(const tokenizer *t, int32_t id, double logprob);

/* The `most` likeliest of logits (V), likeliest first; log_sum: logits_log_sum of them. New reference. */
json_t *likeliest_report(const tokenizer *t, const real *logits, size_t V, size_t most, double log_sum);

/* Writes an object as a line of standard output, and drops the reference. */
bool line_write(json_t *object);

#endif
