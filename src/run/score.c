/* See score.h. */
#include "score.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "../math/kernels.h" /* TARGET_NONE */
#include "runlog.h"

void score_add(struct score_sums *sums, const real *losses, const int32_t *targets, size_t n,
               size_t (*bytes_of)(const void *context, int32_t token), const void *context) {
    for (size_t i = 0; i < n; i++) {
        if (targets[i] == TARGET_NONE) continue;
        const size_t bytes = bytes_of(context, targets[i]);
        sums->targets++;
        sums->bytes += bytes;
        sums->loss += (double)losses[i];
        if (bytes > 0) sums->text_loss += (double)losses[i];
    }
}

struct score score_of(const struct score_sums *sums) {
    const double bits = sums->bytes > 0 ? sums->text_loss / M_LN2 / (double)sums->bytes : INFINITY;
    return (struct score){sums->loss / (double)sums->targets, bits, sums->targets, sums->windows};
}

void score_log(json_t *entry, const char *prefix, const struct score *s) {
    entry_set(entry, prefix, "loss", json_number(s->loss));
    entry_set(entry, prefix, "perplexity", json_number(exp(s->loss)));
    if (isfinite(s->bits_per_byte)) entry_set(entry, prefix, "bits_per_byte", json_number(s->bits_per_byte));
    entry_set(entry, prefix, "windows", json_integer((json_int_t)s->windows));
}

void score_tell(int64_t step, const char *what, const struct score *s) {
    fprintf(stderr, "step %" PRId64 ": %s %.4f, perplexity %.2f", step, what, s->loss, exp(s->loss));
    if (isfinite(s->bits_per_byte)) fprintf(stderr, ", %.4f bits per byte", s->bits_per_byte);
    fprintf(stderr, "\n");
}

struct score parts_mean(const struct part_score *parts, size_t n) {
    struct score mean = {0};
    size_t trained = 0;
    for (size_t i = 0; i < n; i++) {
        const struct part_score *p = &parts[i];
        mean.targets += p->score.targets;
        mean.windows += p->score.windows;
        if (!p->trained) continue;
        mean.loss += p->score.loss;
        mean.bits_per_byte += p->score.bits_per_byte;
        trained++;
    }
    mean.loss /= (double)trained;
    mean.bits_per_byte /= (double)trained;
    return mean;
}

json_t *parts_json(const struct part_score *parts, size_t n, const char *prefix, bool held_out) {
    json_t *all = json_object();
    for (size_t i = 0; i < n; i++) {
        json_t *part = json_object();
        score_log(part, prefix, &parts[i].score);
        json_object_set_new(part, "tokens",
                            json_integer((json_int_t)(held_out ? parts[i].score.targets : parts[i].tokens)));
        json_object_set_new(all, parts[i].name, part);
    }
    return all;
}

void parts_tell(const struct part_score *parts, size_t n) {
    int width = 4;
    for (size_t i = 0; i < n; i++)
        if ((int)strlen(parts[i].name) > width) width = (int)strlen(parts[i].name);
    fprintf(stderr, "%-*s  tokens trained on    held out      loss  bits per byte\n", width, "part");
    for (size_t i = 0; i < n; i++) {
        const struct part_score *p = &parts[i];
        fprintf(stderr, "%-*s  %17zu  %10zu  %8.4f  %13.4f\n", width, p->name, p->tokens, p->score.targets,
                p->score.loss, p->score.bits_per_byte);
    }
}
