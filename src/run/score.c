/* See score.h. */
#include "score.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "../math/kernels.h" /* TARGET_NONE */
#include "runlog.h"

void score_add(struct score_sums *sums, const uint32_t *parts, const real *losses, const int32_t *targets, size_t n,
               size_t (*bytes_of)(const void *context, int32_t token), const void *context) {
    for (size_t i = 0; i < n; i++) {
        if (targets[i] == TARGET_NONE) continue;
        const size_t bytes = bytes_of(context, targets[i]);
        struct score_sums *its = &sums[parts ? parts[i] : 0];
        its->targets++;
        its->bytes += bytes;
        its->loss += (double)losses[i];
        if (bytes > 0) its->text_loss += (double)losses[i];
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
        if (!p->trained || p->score.targets == 0) continue;
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
        if (parts[i].score.targets == 0) continue;
        json_t *part = json_object();
        score_log(part, prefix, &parts[i].score);
        const size_t tokens = held_out ? parts[i].score.targets : parts[i].tokens;
        if (tokens != TOKENS_UNCOUNTED) json_object_set_new(part, "tokens", json_integer((json_int_t)tokens));
        json_object_set_new(all, parts[i].name, part);
    }
    return all;
}

/* A number of the table, or a dash. */
static void cell_tell(int width, const char *format, int there, ...) {
    char text[40] = "-";
    va_list numbers;
    va_start(numbers, there);
    if (there) vsnprintf(text, sizeof text, format, numbers);
    va_end(numbers);
    fprintf(stderr, "  %*s", width, text);
}

void parts_tell(const struct part_score *parts, size_t n) {
    int width = 4;
    for (size_t i = 0; i < n; i++)
        if ((int)strlen(parts[i].name) > width) width = (int)strlen(parts[i].name);
    fprintf(stderr, "%-*s  tokens trained on    held out      loss  bits per byte\n", width, "part");
    for (size_t i = 0; i < n; i++) {
        const struct part_score *p = &parts[i];
        if (p->score.targets == 0) continue;
        fprintf(stderr, "%-*s", width, p->name);
        cell_tell(17, "%zu", p->tokens != TOKENS_UNCOUNTED, p->tokens);
        fprintf(stderr, "  %10zu  %8.4f", p->score.targets, p->score.loss);
        cell_tell(13, "%.4f", isfinite(p->score.bits_per_byte), p->score.bits_per_byte);
        fprintf(stderr, "\n");
    }
}
