/* What scores are made of (src/run/likelihood): spans, the likeliest tokens, tokens as JSON, Wilson's interval. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../src/run/likelihood.h"

/* Each token counts once, in order; none is read that does not fit, and behind the first window each has more than half
 * of one before it, the first of a span exactly as much as was promised. */
static void spans_cover_every_token_once(void **state) {
    (void)state;
    for (size_t T = 1; T <= 9; T++)
        for (size_t first = 1; first <= T; first++)
            for (size_t n = first; n < 50; n++) {
                size_t next = first, spans = 0;
                for (struct span s = {.stop = first}; span_next(&s, T, n); next = s.stop, spans++) {
                    assert_int_equal(s.from, next);
                    assert_true(s.stop > s.from && s.stop <= n && s.start < s.from);
                    assert_true(s.stop - 1 - s.start <= T);
                    if (spans == 0) assert_int_equal(s.stop, n < T + 1 ? n : T + 1);
                    if (s.stop <= T + 1) assert_int_equal(s.start, 0);
                    else {
                        assert_int_equal(s.stop - 1 - s.start, T); /* as much as it can read */
                        assert_true(2 * (s.from - s.start) > T);
                    }
                    if (spans > 0 && s.stop < n) assert_int_equal(s.stop - s.from, T > 1 ? T / 2 : 1);
                }
                assert_int_equal(next, n);
            }
}

static void the_highest_come_in_order(void **state) {
    (void)state;
    static const real logits[] = {1, 5, -2, 5, 7, 0, 7, -9};
    static const int32_t order[] = {4, 6, 1, 3, 0, 5, 2, 7};
    int32_t ids[12];
    for (size_t n = 0; n <= 12; n++) {
        memset(ids, -1, sizeof ids);
        assert_int_equal(logits_highest(logits, 8, n, ids), n < 8 ? n : 8);
        for (size_t i = 0; i < 12; i++) assert_int_equal(ids[i], i < n && i < 8 ? order[i] : -1);
    }
}

static void tokens_are_valid_json(void **state) {
    (void)state;
    static const struct {
        const char *bytes, *json;
        size_t size;
    } cases[] = {
        {"caf\xc3\xa9", "{\"token\":\"caf\\u00E9\"}", 5},
        {"", "{\"token\":\"\"}", 0},
        {"a\0b", "{\"token\":\"a\\u0000b\"}", 3},
        {"\"\\\n", "{\"token\":\"\\\"\\\\\\n\"}", 3},
        {"\xc3", "{\"token\":\"\\uFFFD\",\"bytes\":[195]}", 1},
        {"a\xff\x80z", "{\"token\":\"a\\uFFFD\\uFFFDz\",\"bytes\":[97,255,128,122]}", 4},
        {"\xed\xa0\x80", "{\"token\":\"\\uFFFD\\uFFFD\\uFFFD\",\"bytes\":[237,160,128]}", 3}, /* a surrogate; as long */
        {"\xef\xbf\xbd", "{\"token\":\"\\uFFFD\"}", 3}, /* U+FFFD itself */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *object = json_object();
        token_describe(object, cases[i].bytes, cases[i].size);
        char *text = json_dumps(object, JSON_COMPACT | JSON_ENSURE_ASCII);
        assert_string_equal(text, cases[i].json);
        free(text);
        json_decref(object);
    }
}

/* The ends are the shares p at which k/n is z standard errors of p away: what defines the interval. */
static void intervals_are_wilsons(void **state) {
    (void)state;
    static const size_t cases[][2] = {{5, 10}, {1, 4}, {3, 4}, {500, 1000}, {47, 3000}, {0, 10}, {10, 10}, {0, 1}};
    double low, high;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const double n = (double)cases[i][1], share = (double)cases[i][0] / n;
        wilson_interval(cases[i][0], cases[i][1], &low, &high);
        assert_true(low >= 0 && low <= share && share <= high && high <= 1);
        for (int end = 0; end < 2; end++) {
            const double p = end ? high : low;
            if (p == (end ? 1 : 0)) assert_true(share == p);
            else assert_true(fabs(fabs(share - p) / sqrt(p * (1 - p) / n) - 1.959964) < 1e-5);
        }
    }
    wilson_interval(5, 10, &low, &high); /* as tables have it */
    assert_true(fabs(low - 0.2366) < 5e-5 && fabs(high - 0.7634) < 5e-5);
    wilson_interval(0, 10, &low, &high);
    assert_true(low == 0 && fabs(high - 0.2775) < 5e-5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_cover_every_token_once),
        cmocka_unit_test(the_highest_come_in_order),
        cmocka_unit_test(tokens_are_valid_json),
        cmocka_unit_test(intervals_are_wilsons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
