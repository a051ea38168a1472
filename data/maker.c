/* See maker.h. */
#include "maker.h"

#include <jansson.h>

/* Sequences of random numbers: that of question i, and from here on those of places. */
#define PLACES ((uint64_t)1 << 48)

bool maker_is_done(const struct maker *m) { return m->written >= m->most; }

struct rng maker_rng(const struct maker *m, uint64_t i) {
    struct rng rng;
    rng_seed(&rng, m->seed, i);
    return rng;
}

size_t draw(size_t k, size_t n, uint64_t key) { return (size_t)shuffle_index(k, n, key); }

/* Of every m->choices questions in a row, each place is the right one's once. */
static size_t place_next(const struct maker *m) {
    struct rng rng;
    rng_seed(&rng, m->seed, PLACES + m->written / m->choices);
    return draw(m->written % m->choices, m->choices, rng_next(&rng));
}

void question_write(struct maker *m, const char *context, char **choices) {
    const size_t place = place_next(m);
    json_t *list = json_array();
    for (size_t i = 1; i < m->choices; i++) json_array_append_new(list, json_string(choices[i]));
    json_array_insert_new(list, place, json_string(choices[0]));
    json_t *question = json_pack("{s:s, s:o, s:I}", "context", context, "choices", list, "answer", (json_int_t)place);
    json_dumpf(question, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(question);
    m->written++;
}
