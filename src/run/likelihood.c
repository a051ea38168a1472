/* See likelihood.h. */
#include "likelihood.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../base/text.h"

bool span_next(struct span *s, size_t T, size_t n) {
    if (s->stop >= n) return false;
    const size_t stride = T > 1 ? T / 2 : 1, most = s->stop <= T ? T + 1 : s->stop + stride;
    s->from = s->stop;
    s->stop = most < n ? most : n;
    s->start = s->stop > T + 1 ? s->stop - 1 - T : 0;
    return true;
}

size_t logits_highest(const real *logits, size_t V, size_t n, int32_t *ids) {
    size_t kept = 0;
    for (size_t v = 0; v < V; v++) {
        if (kept == n && (n == 0 || !(logits[v] > logits[ids[n - 1]]))) continue;
        size_t at = kept < n ? kept++ : n - 1;
        for (; at > 0 && logits[v] > logits[ids[at - 1]]; at--) ids[at] = ids[at - 1];
        ids[at] = (int32_t)v;
    }
    return kept;
}

double logits_log_sum(const real *logits, size_t V) {
    double high = -INFINITY, sum = 0;
    for (size_t v = 0; v < V; v++) high = fmax(high, (double)logits[v]);
    for (size_t v = 0; v < V; v++) sum += exp((double)logits[v] - high);
    return high + log(sum);
}

json_t *json_text(const char *bytes, size_t size) {
    char *text = NULL;
    size_t length = 0;
    struct text_stream stream = {.out = open_memstream(&text, &length)};
    if (!stream.out) return json_null();
    text_write(&stream, bytes, size);
    text_end(&stream);
    fclose(stream.out);
    json_t *value = json_stringn(text, length);
    free(text);
    return value;
}

void token_describe(json_t *object, const char *bytes, size_t size) {
    json_t *text = json_text(bytes, size);
    const bool whole = json_string_length(text) == size && memcmp(json_string_value(text), bytes, size) == 0;
    json_object_set_new(object, "token", text);
    if (whole) return;
    json_t *list = json_array();
    for (size_t i = 0; i < size; i++) json_array_append_new(list, json_integer((unsigned char)bytes[i]));
    json_object_set_new(object, "bytes", list);
}

/* Wilson (1927): the shares from which k of n is no more than z standard errors away. */
void wilson_interval(size_t k, size_t n, double *low, double *high) {
    const double z = 1.959963984540054, N = (double)n, p = (double)k / N, z2 = z * z;
    const double middle = (p + z2 / (2 * N)) / (1 + z2 / N);
    const double reach = z / (1 + z2 / N) * sqrt(p * (1 - p) / N + z2 / (4 * N * N));
    *low = k == 0 ? 0 : middle - reach;
    *high = k == n ? 1 : middle + reach;
}
