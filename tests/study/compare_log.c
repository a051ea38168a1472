/* See compare_log.h. train.c writes what is read here. */
#include "compare_log.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "statistics.h"

struct reading {
    struct result result;
    struct curve rates;
    double validated, ended; /* the steps of the last validation and of the final loss; 0 is none */
    bool old;
};

static double number(const json_t *entry, const char *key) { return json_number_value(json_object_get(entry, key)); }

static void parts_free(struct result *r) {
    for (size_t i = 0; i < r->n_parts; i++) free(r->parts[i].name);
    free(r->parts);
    r->parts = NULL;
    r->n_parts = 0;
}

static int part_compare(const void *a, const void *b) {
    return strcmp(((const struct part_result *)a)->name, ((const struct part_result *)b)->name);
}

/* A number that is not there is none, and shows. */
static double number_or_none(const json_t *object, const char *key) {
    return json_is_number(json_object_get(object, key)) ? number(object, key) : NAN;
}

static void parts_read(struct result *r, json_t *parts) {
    const char *name;
    json_t *part;
    parts_free(r); /* of an earlier end, from which the run went on */
    if (json_object_size(parts) == 0) return;
    r->parts = array_alloc(json_object_size(parts), sizeof *r->parts);
    json_object_foreach(parts, name, part)
        r->parts[r->n_parts++] = (struct part_result){string_format("%s", name), number_or_none(part, "final_loss"),
                                                      number_or_none(part, "final_bits_per_byte")};
    qsort(r->parts, r->n_parts, sizeof *r->parts, part_compare);
}

static void entry_read(void *context, const json_t *entry) {
    struct reading *in = context;
    struct result *r = &in->result;
    const double step = number(entry, "step"), tokens = number(entry, "tokens");
    if (json_object_get(entry, "tokens_per_second")) {
        curve_add(&in->rates, step, number(entry, "tokens_per_second"));
        r->seconds = number(entry, "seconds");
    }
    if (json_object_get(entry, "val_loss")) {
        const double loss = number(entry, "val_loss");
        curve_add(&r->by_tokens, tokens, loss);
        curve_add(&r->by_seconds, r->seconds, loss); /* of the step before it */
        in->validated = step;
        in->old |= !json_object_get(entry, "tokens");
    }
    if (json_object_get(entry, "final_loss")) {
        r->loss = number(entry, "final_loss");
        r->bits_per_byte = number_or_none(entry, "final_bits_per_byte");
        r->tokens = tokens;
        parts_read(r, json_object_get(entry, "parts"));
        in->ended = step;
    }
}

enum log_state result_read(struct result *result, const char *log, int64_t steps) {
    struct reading in = {0};
    runlog_read(log, entry_read, &in);
    const bool finished = in.validated == (double)steps && in.ended == (double)steps && in.rates.n > 0;
    const enum log_state state = in.old ? LOG_OLD : finished ? LOG_FINISHED : LOG_UNFINISHED;
    if (in.rates.n > 0) in.result.rate = median(in.rates.y, in.rates.n);
    if (state != LOG_FINISHED) result_free(&in.result);
    curve_free(&in.rates);
    *result = in.result;
    return state;
}

struct result result_diverged(void) {
    return (struct result){.loss = INFINITY, .bits_per_byte = INFINITY, .tokens = NAN, .rate = NAN, .seconds = NAN};
}

void result_free(struct result *r) {
    curve_free(&r->by_tokens);
    curve_free(&r->by_seconds);
    parts_free(r);
    *r = (struct result){0};
}
