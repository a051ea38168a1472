/* See runstate.h. */
#include "runstate.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct runstate runstate_new(uint64_t seed) {
    struct runstate s = {.watched = -1, .best_loss = INFINITY, .val_loss = INFINITY};
    rng_seed(&s.sample_rng, seed, hash_bytes(HASH_START, "samples", 7));
    return s;
}

void metadata_set(json_t *metadata, const char *key, char *value) {
    checkpoint_note(metadata, key, value);
    free(value);
}

static char *rng_format(const struct rng *r) {
    return string_format("%016" PRIx64 " %016" PRIx64 " %016" PRIx64 " %016" PRIx64, r->s[0], r->s[1], r->s[2],
                         r->s[3]);
}

void runstate_write(const struct runstate *s, json_t *metadata) {
    metadata_set(metadata, "step", string_format("%" PRId64, s->step));
    metadata_set(metadata, "watched", string_format("%" PRId64, s->watched));
    if (s->waited > 0) metadata_set(metadata, "waited", string_format("%" PRId64, s->waited));
    if (s->moment_steps > 0) metadata_set(metadata, "moment_steps", string_format("%" PRId64, s->moment_steps));
    metadata_set(metadata, "data_position", string_format("%" PRId64, s->position));
    metadata_set(metadata, "tokens", string_format("%" PRId64, s->tokens));
    metadata_set(metadata, "sample_rng", rng_format(&s->sample_rng));
    metadata_set(metadata, "best_loss", string_format("%a", s->best_loss));
    metadata_set(metadata, "val_loss", string_format("%.9g", s->val_loss));
    metadata_set(metadata, "seconds", string_format("%a", s->seconds));
}

/* A generator whose state is all zeros would give zeros for ever. */
static bool rng_read(struct rng *rng, const struct checkpoint *c, const char *key, struct error *err) {
    const char *text = checkpoint_string(c, key, err);
    if (!text) return false;
    uint64_t *s = rng->s;
    const int words = sscanf(text, "%" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64, &s[0], &s[1], &s[2], &s[3]);
    char *again = words == 4 ? rng_format(rng) : NULL;
    const bool good = again && strcmp(text, again) == 0 && (s[0] | s[1] | s[2] | s[3]);
    free(again);
    return good || error_set(err, EXIT_INPUT, "%s: metadata %s: got '%s', want four hexadecimal words; take another "
                             "checkpoint", c->path, key, text);
}

/* A number that is there only where it is not 0. */
static bool whole_read(int64_t *value, const struct checkpoint *c, const char *key, struct error *err) {
    *value = 0;
    return !json_object_get(c->metadata, key) || checkpoint_whole(c, key, value, err);
}

bool runstate_read(struct runstate *s, const struct checkpoint *c, struct error *err) {
    if (!checkpoint_whole(c, "step", &s->step, err) || !checkpoint_whole(c, "data_position", &s->position, err) ||
        !rng_read(&s->sample_rng, c, "sample_rng", err) || !checkpoint_real(c, "best_loss", &s->best_loss, err) ||
        !checkpoint_real(c, "val_loss", &s->val_loss, err) || !checkpoint_real(c, "seconds", &s->seconds, err) ||
        !whole_read(&s->waited, c, "waited", err) || !whole_read(&s->moment_steps, c, "moment_steps", err))
        return false;
    s->tokens = -1;
    if (json_object_get(c->metadata, "tokens") && !checkpoint_whole(c, "tokens", &s->tokens, err)) return false;
    const char *watched = json_string_value(json_object_get(c->metadata, "watched"));
    s->watched = s->step; /* an earlier version saved when all that was due was done, and did not say so */
    if (!watched) return true;
    if (s->step > 0 || strcmp(watched, "-1") != 0) return checkpoint_whole(c, "watched", &s->watched, err);
    s->watched = -1; /* stopped before anything */
    return true;
}
