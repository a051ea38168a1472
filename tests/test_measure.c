/* The numbers of build/analyse (tests/study/analyse_measure.c) against plain loops over the picks, and the page that is
 * made of them (tests/study/analyse_report.c): routings by hand, no model. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include "study/analyse.h"
#include "command.h"
#include "prose.h"

/* ---- Routings ---- */

enum { N = 61, V = 9, LM = 2, MODELS = 5, MOST = 7 };

struct shape {
    const char *name, *config;
    size_t H, K, E;
    uint64_t seed;
};
/* The last two are of one configuration; so are the first and the third, but these do not stand side by side. Two have
 * the same name. */
static const struct shape shapes[MODELS] = {{"a&b<c>\"d\"", "{\"ffn\":\"smoe\",\"topk\":1}", 1, 1, 4, 1},
                                            {"fine", "{\"ffn\":\"smoe\",\"topk\":3}", 1, 3, 7, 2},
                                            {"same", "{\"ffn\":\"mhmoe\",\"topk\":1}", 3, 1, 4, 3},
                                            {"a-name-that-is-much-too-long-for-a-table-or-a-plot-seed1",
                                             "{\"ffn\":\"mhmoe\",\"topk\":2}", 3, 2, 5, 4},
                                            {"same", "{\"ffn\":\"mhmoe\",\"topk\":2}", 3, 2, 5, 5}};
static const char *const logs[MODELS] = {"none/log.jsonl", "one/log.jsonl", "two/log.jsonl", "two/log.jsonl",
                                         "x/log.jsonl"};
static const size_t first_tokens[] = {0, 5, 17, 17, 30, 3, 44, 9, 60, 21, 22, 23, 8}; /* of the words below */

static int32_t tokens[N], targets[N];
static const struct text text = {.name = "a text", .tokens = tokens, .targets = targets, .n = N};
static struct subject subjects[MODELS];
static json_t *analysis;
static char repository[4096];

/* Different experts, the low ones rather than the high ones, and expert E - 1 only by tokens of one kind, late. */
static void picks_make(int32_t *picks, const struct shape *s, struct rng *rng) {
    for (size_t n = 0; n < LM * N * s->H; n++) {
        for (size_t k = 0; k < s->K; k++) {
            int32_t *pick = picks + n * s->K + k;
            for (size_t again = 1; again;) {
                const size_t a = rng_next(rng) % (s->E - (n % 11 != 0)), b = rng_next(rng) % s->E;
                *pick = (int32_t)(a < b ? a : b);
                again = 0;
                for (size_t j = 0; j < k; j++) again += pick[-1 - (ptrdiff_t)j] == *pick;
            }
        }
    }
}

static int analysis_make(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 9, 0);
    for (size_t t = 0; t < N; t++) tokens[t] = (int32_t)(rng_next(&rng) % (1 + rng_next(&rng) % V));
    for (size_t i = 0; i < MODELS; i++) {
        const struct shape *s = &shapes[i];
        struct subject *m = &subjects[i];
        rng_seed(&rng, s->seed, 0);
        *m = (struct subject){.name = (char *)s->name, .path = "run/best.safetensors", .log = (char *)logs[i],
                              .config_text = (char *)s->config, .config = {.moe_every = 2}, .step = 7 + (int64_t)i,
                              .sizes = {.V = V, .H = s->H, .K = s->K, .E = s->E, .LM = LM, .F = 12},
                              .cost = {.parameters = 1234, .active_parameters = 567}, .loss = 1.25 + (double)i,
                              .bits_per_byte = i < 4 ? 3.5 + (double)i : INFINITY};
        m->picks = array_alloc(LM * N * s->H * s->K, sizeof *m->picks);
        picks_make(m->picks, s, &rng);
        m->samples = json_pack("[s]", "<i>one\nline");
    }
    subjects[1].log_note = "one/log.jsonl:3: <damaged>";
    struct word list[8] = {{"a", first_tokens, 2, 1},     {"b", first_tokens + 2, 1, 2}, {"c", first_tokens + 3, 3, 5},
                           {"d", first_tokens + 6, 1, 0}, {"e", first_tokens + 7, 2, 6}, {"f", first_tokens + 9, 1, 10},
                           {"g", first_tokens + 10, 1, 11}, {"h", first_tokens + 11, 2, 3}};
    const struct words words = {NULL, NULL, list, 8};
    analysis = analysis_measure(subjects, MODELS, &text, &words, "wordnet");
    return analysis && getcwd(repository, sizeof repository) && workplace_enter() ? 0 : -1;
}

static int analysis_free(void **state) {
    for (size_t i = 0; i < MODELS; i++) {
        free(subjects[i].picks);
        json_decref(subjects[i].samples);
    }
    json_decref(analysis);
    return workplace_remove(state);
}

static const json_t *model_at(size_t i) { return json_array_get(json_object_get(analysis, "models"), i); }
static const json_t *layer_at(size_t i, size_t lm) {
    return lm < LM ? json_array_get(json_object_get(model_at(i), "layers"), lm) : json_object_get(model_at(i), "all");
}

/* Sums of a few hundred doubles of order 1; NaN: null. */
static void expect(const json_t *object, const char *key, double want) {
    const json_t *value = json_object_get(object, key);
    if (!value) fail_msg("no %s", key);
    if (isnan(want) ? !json_is_null(value) : !(fabs(json_number_value(value) - want) < 1e-11))
        fail_msg("%s: got %.17g, want %.17g", key, json_number_value(value), want);
}

static void expect_text(const json_t *object, const char *key, const char *want) {
    const char *got = json_string_value(json_object_get(object, key));
    if (!got || strcmp(got, want) != 0) fail_msg("%s: got %s, want %s", key, got ? got : "nothing", want);
}

/* ---- Plain loops ---- */

/* Pick k of sub-token h of token t. */
static int32_t pick(size_t i, size_t lm, size_t t, size_t h, size_t k) {
    const struct shape *s = &shapes[i];
    return subjects[i].picks[((lm * N + t) * s->H + h) * s->K + k];
}

/* Picks of e by sub-token h of token t; by any with h = H. */
static size_t picks_of(size_t i, size_t lm, size_t t, size_t h, size_t e) {
    size_t count = 0;
    for (size_t g = 0; g < shapes[i].H; g++)
        for (size_t k = 0; k < shapes[i].K; k++)
            count += (h == g || h == shapes[i].H) && (size_t)pick(i, lm, t, g, k) == e;
    return count;
}

/* Experts that token t reaches with its first `most` picks. */
static double reach_of(size_t i, size_t lm, size_t t, size_t most) {
    double count = 0;
    for (size_t e = 0; e < shapes[i].E; e++) {
        bool reached = false;
        for (size_t h = 0; h < shapes[i].H; h++)
            for (size_t k = 0; k < most; k++) reached |= (size_t)pick(i, lm, t, h, k) == e;
        count += reached;
    }
    return count;
}

struct expert {
    double picks, tokens; /* of all N tokens */
};
static struct expert expert_of(size_t i, size_t lm, size_t e) {
    struct expert x = {0, 0};
    for (size_t t = 0; t < N; t++) {
        const size_t count = picks_of(i, lm, t, shapes[i].H, e);
        x.picks += (double)count;
        x.tokens += count > 0;
    }
    return x;
}

/* What every expert would have if all were used evenly: of picks, and of tokens. */
static struct expert even_of(size_t i) {
    const struct shape *s = &shapes[i];
    return (struct expert){(double)(N * s->H * s->K) / (double)s->E,
                           s->H == 1 ? (double)(N * s->K) / (double)s->E
                                     : N * (1 - pow(1 - (double)s->K / (double)s->E, (double)s->H))};
}

/* The share of experts of a layer, or with lm = LM of all, for which one of the readings is above a threshold. */
static double share_above(size_t i, size_t lm, double threshold, int reading) {
    const struct shape *s = &shapes[i];
    double above = 0, all = 0;
    for (size_t l = 0; l < LM; l++) {
        if (lm < LM && l != lm) continue;
        for (size_t e = 0; e < s->E; e++, all++) {
            const struct expert x = expert_of(i, l, e), even = even_of(i);
            const double readings[] = {x.picks / even.picks, x.tokens / even.tokens, x.tokens / N, x.picks / N,
                                       x.picks / (double)(N * s->H)};
            above += readings[reading] > threshold + 1e-12; /* above, not at: rounding is less than this */
        }
    }
    return above / all;
}
static const char *const readings[] = {"active_even", "active_even_tokens", "active_tokens", "active_picks",
                                       "active_subtokens"};

/* ---- Numbers ---- */

static void models_are_described(void **state) {
    (void)state;
    for (size_t i = 0; i < MODELS; i++) {
        const json_t *m = model_at(i);
        expect(m, "number", (double)i + 1);
        expect_text(m, "name", shapes[i].name);
        expect_text(m, "checkpoint", "run/best.safetensors");
        expect_text(m, "log", logs[i]);
        expect_text(m, "ffn", i < 2 ? "smoe" : "mhmoe");
        expect(m, "step", 7 + (double)i), expect(m, "moe_layers", LM), expect(m, "heads", (double)shapes[i].H);
        expect(m, "topk", (double)shapes[i].K), expect(m, "experts", (double)shapes[i].E), expect(m, "hidden", 12);
        expect(m, "parameters", 1234), expect(m, "active_parameters", 567), expect(m, "loss", 1.25 + (double)i);
        expect(m, "bits_per_byte", i < 4 ? 3.5 + (double)i : NAN); /* a text without bytes */
        assert_true(!json_object_get(m, "log_note") == (i != 1));
        assert_int_equal(json_array_size(json_object_get(m, "layers")), LM);
        expect_text(layer_at(i, 0), "layer", "block 1"), expect_text(layer_at(i, 1), "layer", "block 3");
        expect_text(layer_at(i, LM), "layer", "all");
        assert_true(json_object_get(m, "samples") == subjects[i].samples);
    }
    expect(json_object_get(analysis, "text"), "tokens", N);
    expect(json_object_get(analysis, "text"), "words", 8);
    expect_text(json_object_get(analysis, "text"), "name", "a text");
    expect_text(analysis, "wordnet", "wordnet");
}

static void experts_are_counted(void **state) {
    (void)state;
    for (size_t i = 0; i < MODELS; i++) {
        const struct shape *s = &shapes[i];
        for (size_t lm = 0; lm < LM; lm++) {
            for (size_t e = 0; e < s->E; e++) {
                const struct expert x = expert_of(i, lm, e), even = even_of(i);
                const struct { const char *key; double want; } columns[] = {
                    {"load_even", x.picks / even.picks}, {"tokens_even", x.tokens / even.tokens},
                    {"frequency_tokens", x.tokens / N}, {"frequency_picks", x.picks / N},
                    {"frequency_subtokens", x.picks / (double)(N * s->H)}};
                for (size_t c = 0; c < 5; c++) {
                    const json_t *column = json_object_get(layer_at(i, lm), columns[c].key);
                    assert_int_equal(json_array_size(column), s->E);
                    assert_true(fabs(json_number_value(json_array_get(column, e)) - columns[c].want) < 1e-12);
                }
                for (size_t h = 0; h < s->H; h++) {
                    double want = 0;
                    for (size_t t = 0; t < N; t++) want += (double)picks_of(i, lm, t, h, e);
                    const json_t *row = json_array_get(json_object_get(layer_at(i, lm), "picks"), h);
                    assert_true(json_number_value(json_array_get(row, e)) == want);
                }
            }
        }
    }
}

static void ratios_are_shares_of_experts(void **state) {
    (void)state;
    for (size_t i = 0; i < MODELS; i++) {
        for (size_t lm = 0; lm <= LM; lm++) {
            const json_t *layer = layer_at(i, lm), *row;
            for (int r = 0; r < 5; r++)
                expect(layer, readings[r], share_above(i, lm, r < 2 ? 1 : 1 / (double)shapes[i].E, r));
            size_t at;
            const json_t *even = json_object_get(layer, "sweep_even"), *plain = json_object_get(layer, "sweep");
            assert_int_equal(json_array_size(even), 33); /* 0 to 4 by 1/8 */
            json_array_foreach(even, at, row) {
                expect(row, "multiple", (double)at / 8);
                for (int r = 0; r < 2; r++) expect(row, readings[r], share_above(i, lm, (double)at / 8, r));
            }
            assert_int_equal(json_array_size(plain), 4 * 2 * 6 + 1); /* 0 to twice the most picks a token, 6, by 1/4 */
            json_array_foreach(plain, at, row) {
                const double threshold = (double)at / 4 / (double)shapes[i].E;
                expect(row, "multiple", (double)at / 4), expect(row, "threshold", threshold);
                expect_text(row, "layer", lm < LM ? (lm ? "block 3" : "block 1") : "all");
                for (int r = 2; r < 5; r++) expect(row, readings[r], share_above(i, lm, threshold, r));
            }
        }
    }
}

/* Models of different K and H that are used as evenly: the same in even shares, where 1/E tells them apart. */
static void even_shares_are_equal_terms(void **state) {
    (void)state;
    enum { TOKENS = 12, E = 6 };
    static int32_t some[TOKENS], picks[3][TOKENS * 2 * 3];
    static const struct { size_t H, K; } kinds[3] = {{1, 1}, {1, 3}, {2, 3}};
    const struct text short_text = {.name = "t", .tokens = some, .targets = some, .n = TOKENS};
    struct subject s[3];
    for (size_t m = 0; m < 3; m++) {
        const size_t H = kinds[m].H, K = kinds[m].K;
        for (size_t n = 0; n < TOKENS * H; n++)
            for (size_t k = 0; k < K; k++) picks[m][n * K + k] = (int32_t)((n + k) % E);
        s[m] = (struct subject){.name = "m",
                                .path = "p",
                                .log = "l",
                                .config_text = "{\"ffn\":\"x\"}",
                                .picks = picks[m],
                                .config = {.moe_every = 1},
                                .sizes = {.V = 1, .H = H, .K = K, .E = E, .LM = 1}};
    }
    const struct words none = {0};
    json_t *a = analysis_measure(s, 3, &short_text, &none, NULL);
    for (size_t m = 0; m < 3; m++) {
        const json_t *all = json_object_get(json_array_get(json_object_get(a, "models"), m), "all");
        const json_t *sweep = json_object_get(all, "sweep_even");
        expect(all, "active_even", 0); /* each has exactly an even share, none more */
        expect(json_array_get(sweep, 7), "active_even", 1), expect(json_array_get(sweep, 8), "active_even", 0);
        if (m < 2) expect(json_array_get(sweep, 7), "active_even_tokens", 1), expect(all, "active_even_tokens", 0);
        expect(all, "active_tokens", m > 0), expect(all, "active_subtokens", m > 0);
    }
    assert_true(json_is_null(json_object_get(a, "wordnet")));
    json_decref(a);
}

static void evenness_and_reach(void **state) {
    (void)state;
    for (size_t i = 0; i < MODELS; i++) {
        const struct shape *s = &shapes[i];
        const double missed = 1 - (double)s->K / (double)s->E, missed_top = 1 - 1 / (double)s->E;
        double sums[6] = {0}, largest = 0;
        for (size_t lm = 0; lm < LM; lm++) {
            double entropy = 0, variance = 0, most = 0, dead = 0, reach = 0, top = 0;
            for (size_t e = 0; e < s->E; e++) {
                const double share = expert_of(i, lm, e).picks / (double)(N * s->H * s->K);
                if (share > 0) entropy -= share * log(share);
                variance += pow(share * (double)s->E - 1, 2) / (double)s->E;
                most = fmax(most, share);
                dead += share == 0;
            }
            for (size_t t = 0; t < N; t++) reach += reach_of(i, lm, t, s->K) / N, top += reach_of(i, lm, t, 1) / N;
            const double values[] = {entropy, entropy / log((double)s->E), sqrt(variance), dead, reach, top};
            static const char *const keys[] = {"entropy", "entropy_normalised", "variation",
                                               "dead", "reach", "reach_top"};
            for (int v = 0; v < 6; v++) expect(layer_at(i, lm), keys[v], values[v]), sums[v] += values[v];
            expect(layer_at(i, lm), "largest", most);
            largest = fmax(largest, most);
            for (int v = 0; v < 6 && lm == LM - 1; v++)
                expect(layer_at(i, LM), keys[v], v == 3 ? sums[v] : sums[v] / LM);
        }
        expect(layer_at(i, LM), "largest", largest);
        for (size_t lm = 0; lm <= LM; lm++) {
            expect(layer_at(i, lm), "reach_even", (double)s->E * (1 - pow(missed, (double)s->H)));
            expect(layer_at(i, lm), "reach_top_even", (double)s->E * (1 - pow(missed_top, (double)s->H)));
        }
    }
}

/* ---- By frequency and by senses ---- */

/* The place of x[i] among n values in order, in [0, 1], equal ones in the middle of theirs. */
static double place_of(const double *x, size_t n, size_t i) {
    double less = 0, equal = 0;
    for (size_t j = 0; j < n; j++) less += x[j] < x[i], equal += x[j] == x[i];
    return (less + equal / 2) / (double)n;
}

static double correlation(const double *x, const double *y, size_t n) {
    double xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < n; i++) {
        const double a = place_of(x, n, i) - 0.5, b = place_of(y, n, i) - 0.5;
        xx += a * a, yy += b * b, xy += a * b;
    }
    return xx > 1e-9 && yy > 1e-9 ? xy / sqrt(xx * yy) : NAN;
}

/* Over both layers together: a token's reach, with all picks (K) or the first. */
static double reach_both(size_t i, size_t t, bool top) {
    return reach_of(i, 0, t, top ? 1 : shapes[i].K) + reach_of(i, 1, t, top ? 1 : shapes[i].K);
}

static void tenths_by_frequency(void **state) {
    (void)state;
    for (size_t i = 0; i < MODELS; i++) {
        double count[N], reach[N];
        for (size_t t = 0; t < N; t++) {
            count[t] = 0, reach[t] = reach_both(i, t, false);
            for (size_t u = 0; u < N; u++) count[t] += tokens[u] == tokens[t];
        }
        expect(model_at(i), "reach_frequency_correlation", correlation(count, reach, N));
        assert_int_equal(json_array_size(json_object_get(model_at(i), "deciles")), 10);
        for (int d = 0; d < 10; d++) {
            const json_t *row = json_array_get(json_object_get(model_at(i), "deciles"), (size_t)d);
            double n = 0, occurrences = 0, all = 0, top = 0;
            for (size_t t = 0; t < N; t++) {
                if ((int)(place_of(count, N, t) * 10) != d) continue;
                n++, occurrences += count[t], all += reach[t] / LM, top += reach_both(i, t, true) / LM;
            }
            expect(row, "decile", d + 1), expect(row, "tokens", n), expect(row, "occurrences", occurrences / n);
            expect(row, "reach", all / n), expect(row, "reach_top", top / n);
        }
    }
}

static void words_by_senses(void **state) {
    (void)state;
    static const struct { double senses; size_t from, count; } words[] = {{1, 0, 2}, {2, 2, 1}, {5, 3, 3}, {6, 7, 2},
                                                                          {10, 9, 1}, {11, 10, 1}, {3, 11, 2}};
    static const double low[] = {1, 2, 3, 6, 11}, high[] = {1, 2, 5, 10, 1e9};
    static const char *const labels[] = {"1", "2", "3-5", "6-10", "more than 10"};
    enum { KNOWN = 7 };
    for (size_t i = 0; i < MODELS; i++) {
        double senses[KNOWN], count[KNOWN], reach[2][KNOWN] = {{0}};
        for (size_t w = 0; w < KNOWN; w++) {
            senses[w] = words[w].senses, count[w] = (double)words[w].count;
            for (size_t j = 0; j < words[w].count; j++)
                for (int top = 0; top < 2; top++)
                    reach[top][w] += reach_both(i, first_tokens[words[w].from + j], top) / (LM * count[w]);
        }
        expect(model_at(i), "senses_words", KNOWN);
        for (size_t c = 0; c < 5; c++) {
            const json_t *row = json_array_get(json_object_get(model_at(i), "senses"), c);
            double n = 0, occurrences = 0, all = 0, top = 0;
            for (size_t w = 0; w < KNOWN; w++)
                if (senses[w] >= low[c] && senses[w] <= high[c])
                    n++, occurrences += count[w], all += reach[0][w], top += reach[1][w];
            expect_text(row, "senses", labels[c]);
            expect(row, "words", n), expect(row, "occurrences", occurrences / n);
            expect(row, "reach", all / n), expect(row, "reach_top", top / n);
        }
        for (int top = 0; top < 2; top++) {
            const json_t *row = json_array_get(json_object_get(model_at(i), "senses_correlation"), (size_t)top);
            double sum = 0, weight = 0;
            for (int d = 0; d < 10; d++) {
                double x[KNOWN], y[KNOWN];
                size_t n = 0;
                for (size_t w = 0; w < KNOWN; w++)
                    if ((int)(place_of(count, KNOWN, w) * 10) == d) x[n] = senses[w], y[n++] = reach[top][w];
                const double r = correlation(x, y, n);
                if (!isnan(r)) sum += r * (double)n, weight += (double)n;
            }
            expect_text(row, "divergence", top ? "first picks" : "all picks");
            expect(row, "spearman", correlation(senses, reach[top], KNOWN));
            expect(row, "spearman_within", weight > 0 ? sum / weight : NAN);
            expect(row, "standard_error", 1 / sqrt(KNOWN - 1));
        }
    }
}

/* Only 4 and 5 stand side by side and are of one configuration. */
static void stability_from_model_to_model(void **state) {
    (void)state;
    const json_t *rows = json_object_get(analysis, "stability");
    assert_int_equal(json_array_size(rows), LM);
    for (size_t lm = 0; lm < LM; lm++) {
        const json_t *row = json_array_get(rows, lm);
        double set = 0, first = 0, jaccard = 0;
        for (size_t t = 0; t < N; t++) {
            for (size_t h = 0; h < 3; h++) {
                double both = 0;
                for (size_t e = 0; e < 5; e++) both += picks_of(3, lm, t, h, e) && picks_of(4, lm, t, h, e);
                set += both == 2, jaccard += both / (4 - both);
                first += pick(3, lm, t, h, 0) == pick(4, lm, t, h, 0);
            }
        }
        expect_text(row, "from", shapes[3].name), expect(row, "from_number", 4);
        expect_text(row, "to", "same"), expect(row, "to_number", 5);
        expect_text(row, "layer", lm ? "block 3" : "block 1");
        expect(row, "same_set", set / (N * 3)), expect(row, "jaccard", jaccard / (N * 3));
        expect(row, "same_first", first / (N * 3));
    }
}

/* ---- Words ---- */

static const char *text_give(void *context, size_t *size) {
    const char **text_left = context, *given = *text_left;
    *size = given ? strlen(given) : 0;
    *text_left = NULL;
    return given;
}

/* Each word where its first letter is; case does not matter, other scripts are letters. */
static void words_are_runs_of_letters(void **state) {
    (void)state;
    static const char sentence[] = "Old lady, OLD-lady2lady caf\xc3\xa9's: oldest. The ladyold";
    static const struct { const char *word; size_t count, at[3]; int senses; } want[] = {
        {"caf\xc3\xa9", 1, {24}, 0}, {"lady", 3, {4, 14, 19}, 3}, {"ladyold", 1, {45}, 0},
        {"old", 2, {0, 10}, 12}, {"oldest", 1, {33}, 0}, {"s", 1, {30}, 1}, {"the", 1, {41}, 0}};
    struct wordnet_lemma lemmas[] = {{"lady", 3}, {"old", 12}, {"s", 1}};
    const struct wordnet w = {lemmas, 3, 3};
    char *corpus = prose(400, 1);
    const char *left = corpus;
    struct error err;
    tokenizer *t = tokenizer_train(text_give, &left, 301, false, NULL, &err);
    if (!t) fail_msg("%s", err.text);
    struct text some = {.name = "t"};
    size_t capacity = 0;
    tokenizer_encode(t, sentence, strlen(sentence), &some.tokens, &some.n, &capacity);
    struct words words = words_find(&some, t, &w);
    assert_int_equal(words.n, 7);
    for (size_t i = 0; i < 7; i++) {
        assert_string_equal(words.list[i].text, want[i].word);
        assert_int_equal(words.list[i].count, want[i].count);
        assert_int_equal(words.list[i].senses, want[i].senses);
        for (size_t j = 0; j < want[i].count; j++) { /* the token that holds this byte */
            size_t end = 0, size, token = 0;
            for (; token < some.n; token++) {
                tokenizer_piece(t, some.tokens[token], &size);
                if ((end += size) > want[i].at[j]) break;
            }
            assert_int_equal(words.list[i].tokens[j], token);
        }
    }
    words_free(&words);
    free(some.tokens);
    tokenizer_free(t);
    free(corpus);
}

/* ---- The page ---- */

static char *page_make(const char *dir, const json_t *numbers) {
    struct error err;
    size_t size;
    char *plots = string_format("%s/plots", dir), *path = string_format("%s/report.html", dir);
    if (!directory_make(plots, &err) || !report_write(dir, numbers, &err)) fail_msg("%s", err.text);
    char *page = file_contents(fopen(path, "rb"), path, &size, &err);
    assert_true(page && strlen(page) == size);
    free(plots);
    free(path);
    return page;
}

/* Whether `text` stands between two others, the first of which is there. */
static bool stands(const char *page, const char *from, const char *to, const char *wanted) {
    const char *start = strstr(page, from), *end = start ? strstr(start + strlen(from), to) : NULL;
    if (!start) fail_msg("no %s", from);
    return memmem(start, end ? (size_t)(end - start) : strlen(start), wanted, strlen(wanted));
}

/* Long names are short in tables and plots, after their number, and so are equal ones; whole once, as a heading. */
static void names_are_told_apart(void **state) {
    (void)state;
    char *page = page_make("names", analysis);
    static const char *const whole[] = {"#1 a&amp;b&lt;c&gt;\"d\"", "#2 fine", "#3 same", "#5 same",
                                        "#4 a-name-that-is-much-too-long-for-a-table-or-a-plot-seed1"};
    for (size_t i = 0; i < 5; i++) assert_true(stands(page, "id=\"models\"", "<h2", whole[i]));
    assert_true(stands(page, "<h3>#4 a-name-that-is-much-too-long", "<h3>", "seed1</h3>"));
    assert_true(stands(page, "Side by side", "</table>", ">a&amp;b&lt;c&gt;\"d\"</td>"));
    assert_true(stands(page, "Side by side", "</table>", ">#3 same</td>"));
    assert_true(stands(page, "Side by side", "</table>", ">#5 same</td>"));
    assert_true(stands(page, "Side by side", "</table>", ">#4 a-name"));
    assert_false(stands(page, "Side by side", "</table>", "-too-long-for-a-table-"));
    assert_true(stands(page, "id=\"stability\"", "</table>", ">#5 same</td>"));
    assert_true(stands(page, "id=\"loss\"", "<h2", "one/log.jsonl:3: &lt;damaged&gt;"));
    assert_null(strstr(page, "<c>"));
    assert_null(strstr(page, "<i>one"));
    assert_non_null(strstr(page, "&lt;i&gt;one\nline"));
    free(page);
    run("sh '%s/tests/study/report_browser.sh' names/report.html >&2", repository);
}

/* The columns that a table of model number `from` alone has. */
static char *page_of(size_t from, size_t count) {
    json_t *some = json_copy(analysis), *models = json_array();
    for (size_t i = 0; i < count; i++) json_array_append(models, (json_t *)model_at(from + i));
    json_object_set_new(some, "models", models);
    json_object_set_new(some, "stability", json_array());
    char *page = page_make("some", some);
    json_decref(some);
    return page;
}

/* What can be nothing else for whole tokens, or for one pick, is no column; the page says why. */
static void constants_are_no_columns(void **state) {
    (void)state;
    char *page = page_of(0, 1); /* H = 1, K = 1 */
    assert_null(strstr(page, "<th scope=\"col\">above 1/E"));
    assert_null(strstr(page, "<th scope=\"col\">above an even share of tokens"));
    assert_null(strstr(page, "<th scope=\"col\">experts reached"));
    assert_non_null(strstr(page, "<th scope=\"col\">active, above an even share of picks"));
    assert_true(stands(page, "id=\"divergence\"", "<h2", "each reaches exactly K = 1 expert,"));
    assert_true(stands(page, "id=\"words\"", "<h2", "each reaches exactly K = 1 expert,"));
    assert_true(stands(page, "id=\"activation\"", "<h2", "1/E is an even share"));
    assert_false(stands(page, "id=\"divergence\"", "<h2", "<table"));
    free(page);
    page = page_of(1, 1); /* H = 1, K = 3 */
    assert_non_null(strstr(page, "<th scope=\"col\">above 1/E, by share of tokens"));
    assert_null(strstr(page, "<th scope=\"col\">above 1/E, by picks a token"));
    assert_true(stands(page, "id=\"divergence\"", "<h2", "each reaches exactly K = 3 experts,"));
    assert_false(stands(page, "id=\"activation\"", "<h2", "1/E is an even share"));
    free(page);
    page = page_of(2, 1); /* H = 3, K = 1 */
    assert_non_null(strstr(page, "<th scope=\"col\">above 1/E, by picks a token"));
    assert_non_null(strstr(page, "<th scope=\"col\">above an even share of tokens"));
    assert_non_null(strstr(page, "<th scope=\"col\">experts reached, all picks"));
    assert_null(strstr(page, "<th scope=\"col\">experts reached, first picks"));
    assert_true(stands(page, "id=\"divergence\"", "<h2", "the first pick is all picks"));
    free(page);
    page = page_of(3, 1); /* H = 3, K = 2 */
    assert_non_null(strstr(page, "<th scope=\"col\">experts reached, first picks"));
    assert_null(strstr(page, "reaches exactly K"));
    free(page);
    json_t *every = json_deep_copy(model_at(3)); /* as if K = E */
    json_object_set_new(every, "topk", json_integer(5));
    json_t *alone = json_pack("{s:O, s:s, s:[o], s:[]}", "text", json_object_get(analysis, "text"), "wordnet", "w",
                              "models", every, "stability");
    page = page_make("some", alone);
    assert_null(strstr(page, "<th scope=\"col\">experts reached, all picks"));
    assert_non_null(strstr(page, "K = E = 5: every sub-token picks every expert"));
    json_decref(alone);
    free(page);
    page = page_of(0, 2); /* two with whole tokens beside each other */
    assert_false(stands(page, "Side by side", "<h3>", "experts a token reaches"));
    assert_true(stands(page, "Side by side", "<h3>", ">E</th>") && stands(page, "Side by side", "<h3>", ">K</th>"));
    free(page);
    page = page_of(0, 3);
    assert_true(stands(page, "Side by side", "<h3>", "experts a token reaches"));
    free(page);
}

/* A column's heading and the value of a row must belong together: read back from the first table of models. */
static void even_shares_lead(void **state) {
    (void)state;
    char *page = page_of(1, 3);
    const char *table = strstr(page, "Side by side"), *even = strstr(table, "<th scope=\"col\">active, above an even");
    const char *plain = strstr(table, "<th scope=\"col\">above 1/E");
    const char *row = strstr(table, "<tr><td class=\"word name\"");
    assert_true(even && plain && even < plain);
    for (size_t i = 1; i < 4; i++, row = strstr(row + 1, "<tr><td")) {
        static const char *const labels[] = {"active, above an even share of picks", "above an even share of tokens",
                                             "above 1/E, by share of tokens", "above 1/E, by picks a token",
                                             "above 1/E, by share of sub-tokens"};
        for (int r = 0; r < 5; r++) {
            char *cell = string_format("data-label=\"%s\">%.3f</td>", labels[r],
                                       json_number_value(json_object_get(layer_at(i, LM), readings[r])));
            if (!stands(row, "<tr>", "</tr>", cell)) fail_msg("no %s", cell);
            free(cell);
        }
    }
    const char *curve = strstr(page, "threshold, in even shares"), *old = strstr(page, "threshold, in units of 1/E");
    assert_true(curve && old && curve < old);
    /* a point of the curve, as it appears under the pointer */
    const json_t *at = json_array_get(json_object_get(layer_at(1, LM), "sweep_even"), 6);
    const double y = json_number_value(json_object_get(at, "active_even"));
    char *point = string_format("<title>fine: %.6g at 0.75</title>", y);
    assert_non_null(strstr(page, point));
    free(point);
    static const char *const steps[] = {"0", "0.125", "0.25", "0.5", "1", "2", "4"};
    for (int i = 0; i < 7; i++) {
        char *cell = string_format("data-label=\"threshold, in even shares\">%s</td>", steps[i]);
        assert_non_null(strstr(page, cell));
        free(cell);
    }
    assert_null(strstr(page, "data-label=\"threshold, in even shares\">3</td>"));
    free(page);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_are_described),        cmocka_unit_test(experts_are_counted),
        cmocka_unit_test(ratios_are_shares_of_experts), cmocka_unit_test(even_shares_are_equal_terms),
        cmocka_unit_test(evenness_and_reach),          cmocka_unit_test(tenths_by_frequency),
        cmocka_unit_test(words_by_senses),             cmocka_unit_test(stability_from_model_to_model),
        cmocka_unit_test(words_are_runs_of_letters),   cmocka_unit_test(names_are_told_apart),
        cmocka_unit_test(constants_are_no_columns),    cmocka_unit_test(even_shares_lead),
    };
    return cmocka_run_group_tests(tests, analysis_make, analysis_free);
}
