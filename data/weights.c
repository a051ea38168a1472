/* See weights.h. */
#include "weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../src/base/text.h"

enum { NAMES_SHOWN = 500 }; /* bytes of them in a message */

/* For messages: "de, en", no more of them than fit. malloc'ed. */
static char *names_join(const struct part_weight *parts, size_t n) {
    char *list = string_format("%s", parts->name);
    size_t i = 1;
    for (; i < n && strlen(list) < NAMES_SHOWN; i++) string_append(&list, ", %s", parts[i].name);
    if (i < n) string_append(&list, " and %zu more", n - i);
    return list;
}

static bool part_unknown(const struct part_weight *parts, size_t n, const char *name, struct error *err) {
    char *list = names_join(parts, n);
    error_set(err, EXIT_USAGE, "--part-weights: no part has this name (got '%.99s', want one of: %s); correct it", name,
              list);
    free(list);
    return false;
}

/* `pair` is NAME=NUMBER, and is cut at its sign. */
static bool weight_set(struct part_weight *parts, size_t n, char *pair, struct error *err) {
    char *sign = strchr(pair, '=');
    if (!sign)
        return error_set(err, EXIT_USAGE, "--part-weights: not a pair (got '%.99s', want NAME=NUMBER); write it as in "
                         "en=2,de=1", pair);
    *sign = 0;
    struct part_weight *p = parts;
    while (p < parts + n && strcmp(p->name, pair) != 0) p++;
    if (p == parts + n) return part_unknown(parts, n, pair, err);
    if (!isnan(p->share))
        return error_set(err, EXIT_USAGE, "--part-weights: %s is named twice; leave one weight for it", p->name);
    if (text_to_real(sign + 1, &p->share) && p->share >= 0 && isfinite(p->share)) return true;
    return error_set(err, EXIT_USAGE, "--part-weights: not a weight of %s (got '%.99s', want a number of at least 0); "
                     "write it as in %s=1", p->name, sign + 1, p->name);
}

/* Leaves the weights in `share`. */
static bool weights_parse(struct part_weight *parts, size_t n, const char *text, struct error *err) {
    if (!*parts->name)
        return error_set(err, EXIT_USAGE, "--part-weights: this corpus has no parts (got '%.99s', want nothing); name "
                         "its parts, as in en=PATH de=PATH, or leave the weights out", text);
    char *copy = string_format("%s", text), *rest = copy;
    bool ok = true;
    for (size_t p = 0; p < n; p++) parts[p].share = NAN; /* not known yet */
    while (ok && rest) ok = weight_set(parts, n, strsep(&rest, ","), err);
    free(copy);
    for (size_t p = 0; ok && p < n; p++)
        if (isnan(parts[p].share))
            ok = error_set(err, EXIT_USAGE, "--part-weights: %s is left out (got '%.99s', want all %zu parts); add "
                           "%s=1, or %s=0 not to train on it", parts[p].name, text, n, parts[p].name, parts[p].name);
    return ok;
}

bool part_shares(struct part_weight *parts, size_t n, double alpha, const char *weights, struct error *err) {
    double most = 0, sum = 0;
    if (weights && !weights_parse(parts, n, weights, err)) return false;
    for (size_t p = 0; p < n; p++) {
        if (!weights) parts[p].share = parts[p].size;
        most = fmax(most, parts[p].share);
    }
    if (most == 0)
        return error_set(err, EXIT_USAGE, "--part-weights: all are zero (got '%.99s'); give one part at least a weight "
                         "above 0", weights);
    for (size_t p = 0; p < n; p++) /* relative to the greatest, so that neither a power nor the sum overflows */
        sum += parts[p].share = pow(parts[p].share / most, weights ? 1 : alpha);
    for (size_t p = 0; p < n; p++) parts[p].share /= sum;
    return true;
}
