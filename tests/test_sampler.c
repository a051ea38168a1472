/* From logits to text: the sampler, the stream that writes whole characters, and generation, which joins them
 * with the model.
 *
 * The sampler is a function of the logits and of one uniform number. Most tests give it evenly spread numbers
 * in place of random ones, so that how often each token comes is its probability, but for rounding. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../src/base/text.h"
#include "../src/math/vecmath.h"
#include "small_model.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* ---- The sampler ---- */

/* A generator whose next uniform number is u: xoshiro256++ gives rotl(s0 + s3, 23) + s0. */
static struct rng rng_giving(double u) {
    const uint64_t bits = (uint64_t)(u * 0x1p53) << 11;
    struct rng rng = {{0, 1, 2, bits >> 23 | bits << 41}}, copy = rng;
    assert_true(fabs(rng_uniform(&copy) - u) <= 0x1p-53);
    return rng;
}

static int32_t pick(struct sampler s, const real *logits, size_t V, double u) {
    real copy[V];
    memcpy(copy, logits, sizeof copy);
    s.rng = rng_giving(u);
    return sampler_pick(&s, copy, V);
}

/* How often each token comes for `draws` evenly spread numbers. */
static void counts_of(size_t *counts, const struct sampler *s, const real *logits, size_t V, size_t draws) {
    memset(counts, 0, V * sizeof *counts);
    for (size_t i = 0; i < draws; i++) {
        const int32_t token = pick(*s, logits, V, ((double)i + 0.5) / (double)draws);
        assert_in_range(token, 0, V - 1);
        counts[token]++;
    }
}

static void random_logits(real *logits, size_t V, double deviation, uint64_t seed) {
    struct rng rng;
    rng_seed(&rng, seed, 0);
    for (size_t v = 0; v < V; v++) logits[v] = (real)(deviation * rng_normal(&rng));
}

/* The probabilities by sorting: top-k and top-p of the logits as they are, then temperature. Returns how many tokens
 * have any. tests/test_filters.c has the other filters. */
static size_t reference_probabilities(double *p, const struct sampler *s, const real *logits, size_t V) {
    size_t order[V], kept = V;
    double sum = 0, mass = 0;
    for (size_t v = 0; v < V; v++) {
        size_t at = v;
        for (; at > 0 && logits[order[at - 1]] < logits[v]; at--) order[at] = order[at - 1];
        order[at] = v;
    }
    for (size_t v = 0; v < V; v++) p[v] = exp(logits[v] - logits[order[0]]);
    if (s->top_k > 0 && (size_t)s->top_k < kept) kept = (size_t)s->top_k;
    for (size_t i = 0; i < kept; i++) sum += p[order[i]];
    if (s->top_p < 1) {
        size_t enough = 0;
        do mass += p[order[enough++]];
        while (enough < kept && mass < s->top_p * sum);
        kept = enough;
    }
    sum = 0;
    for (size_t i = 0; i < V; i++) p[order[i]] = i < kept ? pow(p[order[i]], 1 / s->temperature) : 0;
    for (size_t v = 0; v < V; v++) sum += p[v];
    for (size_t v = 0; v < V; v++) p[v] /= sum;
    return kept;
}

/* Evenly spread numbers hit an interval of probability p draws * p times, give or take one; the second is for
 * the rounding of float weights at the interval's ends. */
static void sampler_check(const struct sampler *s, const real *logits, size_t V) {
    enum { DRAWS = 10000 };
    size_t counts[V];
    double p[V];
    const size_t kept = reference_probabilities(p, s, logits, V);
    counts_of(counts, s, logits, V, DRAWS);
    for (size_t v = 0; v < V; v++) {
        if (p[v] == 0 ? counts[v] > 0 : !(fabs((double)counts[v] - DRAWS * p[v]) <= 2)) {
            fail_msg("temperature %g top-k %d top-p %g (keeps %zu): token %zu came %zu times, want %g",
                     s->temperature, s->top_k, s->top_p, kept, v, counts[v], DRAWS * p[v]);
        }
    }
}

static void test_greedy(void **state) {
    (void)state;
    const struct {
        real logits[5];
        int32_t want;
    } cases[] = {
        {{1, 2, 5, 3, 4}, 2}, {{5, 1, 1, 1, 1}, 0}, {{1, 1, 1, 1, 5}, 4},
        {{1, 5, 3, 5, 5}, 1}, {{0, 0, 0, 0, 0}, 0}, {{-9, -8, -7, -8, -7}, 2}, /* ties */
        {{-INFINITY, -3, -INFINITY, -2, -4}, 3}, {{-1e30f, -1e29f, 1e29f, 1e30f, 0}, 3},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        for (int u = 0; u < 10; u++) { /* whatever the other settings are */
            const struct sampler s = {SAMPLER_PLAIN, .temperature = 0, .top_k = u, .top_p = u / 9.0};
            assert_int_equal(pick(s, cases[i].logits, 5, u / 10.0), cases[i].want);
        }
}

static void test_temperature(void **state) {
    (void)state;
    real logits[31];
    random_logits(logits, 31, 1, 1);
    const double temperatures[] = {0.3, 0.7, 1, 1.5, 10};
    for (size_t i = 0; i < COUNT(temperatures); i++)
        sampler_check(&(struct sampler){SAMPLER_PLAIN, .temperature = temperatures[i], .top_p = 1}, logits, 31);
    const struct sampler cold = {SAMPLER_PLAIN, .temperature = 1e-6, .top_p = 1};
    const struct sampler greedy = {SAMPLER_PLAIN, .temperature = 0, .top_p = 1};
    for (int u = 0; u < 100; u++) { /* close to 0 is greedy */
        assert_int_equal(pick(cold, logits, 31, u / 100.0), pick(greedy, logits, 31, 0));
    }
    const struct sampler coldest = {SAMPLER_PLAIN, .temperature = 1e-300, .top_p = 1};
    for (int u = 0; u < 10; u++) { /* where 1 / temperature is no float, equals are still equal */
        real equals[] = {1, 3, 2, 3};
        assert_int_equal(pick(coldest, equals, 4, (u + 0.5) / 10), u < 5 ? 1 : 3);
    }
}

static void test_top_k(void **state) {
    (void)state;
    real logits[31];
    for (uint64_t seed = 1; seed < 4; seed++) {
        random_logits(logits, 31, 1, seed);
        for (int k = 0; k <= 33; k += k < 5 || k > 28 ? 1 : 6)
            sampler_check(&(struct sampler){SAMPLER_PLAIN, .temperature = 1.5, .top_k = k, .top_p = 1}, logits, 31);
    }
}

/* The k-th likeliest is a threshold: tokens as likely as it stay. */
static void test_top_k_of_ties(void **state) {
    (void)state;
    const real logits[] = {1, 3, 2, 2, 0, 2, 3};
    const int kept[] = {7, 2, 2, 5, 5, 5, 6, 7};
    for (int k = 0; k < 8; k++) {
        const struct sampler s = {SAMPLER_PLAIN, .temperature = 2, .top_k = k, .top_p = 1};
        size_t counts[7];
        int came = 0;
        counts_of(counts, &s, logits, 7, 1000);
        for (int v = 0; v < 7; v++) came += counts[v] > 0;
        assert_int_equal(came, kept[k]);
    }
}

static void test_top_p(void **state) {
    (void)state;
    real logits[31];
    const double shares[] = {0, 0.05, 0.3, 0.5, 0.8, 0.95, 0.99, 0.999};
    for (uint64_t seed = 1; seed < 4; seed++) {
        random_logits(logits, 31, 1.2, seed);
        for (size_t i = 0; i < COUNT(shares); i++) {
            sampler_check(&(struct sampler){SAMPLER_PLAIN, .temperature = 1, .top_p = shares[i]}, logits, 31);
            sampler_check(&(struct sampler){SAMPLER_PLAIN, .temperature = 0.8, .top_k = 7, .top_p = shares[i]}, logits,
                          31);
        }
    }
}

/* A logit whose weight beside a logit of 0 is exactly 2^-halvings, as the sampler computes it. */
static real logit_of(int halvings) {
    const real want = (real)ldexp(1, -halvings);
    real logit = -(real)(halvings * M_LN2), weight;
    for (int i = 0; i < 8; i++) logit = nextafterf(logit, 0); /* one of its neighbours */
    for (int i = 0; i < 16; i++, logit = nextafterf(logit, -INFINITY)) {
        row_exp(&weight, &logit, 1, 1, 0);
        if (weight == want) return logit;
    }
    fail_msg("no logit has the weight %g", want);
    return 0;
}

/* Of probabilities 1/2, 1/4, 1/8 and 1/8: tokens that reach the share exactly are enough, and no share is too small. */
static void test_top_p_is_reached(void **state) {
    (void)state;
    const real logits[] = {logit_of(1), logit_of(2), 0, logit_of(2)};
    const struct {
        double share;
        int kept;
    } cases[] = {{0, 1}, {0.4, 1}, {0.5, 1}, {0.5 + 0x1p-40, 2}, {0.75 - 0x1p-40, 2}, {0.75, 2}, {0.75 + 0x1p-40, 4}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct sampler s = {SAMPLER_PLAIN, .temperature = 1, .top_p = cases[i].share};
        size_t counts[4];
        int came = 0;
        counts_of(counts, &s, logits, 4, 1000);
        for (int v = 0; v < 4; v++) came += counts[v] > 0;
        if (came != cases[i].kept)
            fail_msg("top-p %.13g keeps %d tokens, want %d", cases[i].share, came, cases[i].kept);
    }
}

/* Weights that underflow, logits that are forbidden, and a vocabulary of one. */
static void test_extreme_logits(void **state) {
    (void)state;
    const real wide[] = {-1e30f, 3, -INFINITY, 3, -1e4f, -200, 1e-30f}, one[] = {-7};
    const struct sampler samplers[] = {{SAMPLER_PLAIN, .temperature = 1, .top_p = 1},
                                       {SAMPLER_PLAIN, .temperature = 0.01, .top_k = 5, .top_p = 1},
                                       {SAMPLER_PLAIN, .temperature = 1, .top_p = 0.9},
                                       {SAMPLER_PLAIN, .temperature = 1, .top_k = 6, .top_p = 0.9999}};
    for (size_t s = 0; s < COUNT(samplers); s++) {
        size_t counts[7];
        counts_of(counts, &samplers[s], wide, 7, 1000);
        assert_in_range(counts[1], 470, 500);
        assert_in_range(counts[3], 470, 500);
        assert_int_equal(counts[1] + counts[3] + counts[6], 1000);
        assert_int_equal(pick(samplers[s], one, 1, 0.999), 0);
    }
}

/* With the program's own random numbers: 31 tokens, 30 degrees of freedom. Chi-square is over 92 once in ten
 * million seeds, and below 5 as rarely. */
static void test_distribution(void **state) {
    (void)state;
    enum { V = 31, DRAWS = 40000 };
    real logits[V];
    double p[V], counts[V] = {0}, chi_square = 0;
    struct sampler s = {SAMPLER_PLAIN, .temperature = 0.9, .top_p = 1};
    rng_seed(&s.rng, 11, 0);
    random_logits(logits, V, 1, 12);
    reference_probabilities(p, &s, logits, V);
    for (int i = 0; i < DRAWS; i++) {
        real copy[V];
        memcpy(copy, logits, sizeof copy);
        counts[sampler_pick(&s, copy, V)]++;
    }
    for (int v = 0; v < V; v++) chi_square += pow(counts[v] - DRAWS * p[v], 2) / (DRAWS * p[v]);
    if (!(chi_square > 5 && chi_square < 92)) fail_msg("chi-square is %g", chi_square);
}

static void sequence_of(int32_t *tokens, size_t n, uint64_t seed, uint64_t stream) {
    struct sampler s = {SAMPLER_PLAIN, .temperature = 1, .top_k = 20, .top_p = 0.9};
    real logits[31];
    rng_seed(&s.rng, seed, stream);
    for (size_t i = 0; i < n; i++) {
        random_logits(logits, 31, 0.1, i);
        tokens[i] = sampler_pick(&s, logits, 31);
    }
}

static void test_seeds(void **state) {
    (void)state;
    int32_t first[50], other[50];
    sequence_of(first, 50, 7, 0);
    sequence_of(other, 50, 7, 0);
    assert_memory_equal(first, other, sizeof first);
    sequence_of(other, 50, 8, 0);
    assert_memory_not_equal(first, other, sizeof first);
    sequence_of(other, 50, 7, 1);
    assert_memory_not_equal(first, other, sizeof first);
}

/* ---- The stream ---- */

/* What a stream has written so far, in memory. */
struct sink {
    struct text_stream stream;
    char *bytes;
    size_t size;
};

static void sink_open(struct sink *s) {
    *s = (struct sink){0};
    s->stream.out = open_memstream(&s->bytes, &s->size);
    assert_non_null(s->stream.out);
}

static void sink_close(struct sink *s) {
    fclose(s->stream.out);
    free(s->bytes);
}

static void assert_written(const struct sink *s, const char *want, size_t size) {
    if (s->size != size || memcmp(s->bytes, want, size) != 0) {
        fail_msg("wrote '%.*s' (%zu bytes), want '%.*s' (%zu)", (int)s->size, s->bytes, s->size, (int)size,
                 want, size);
    }
}

/* The first and the last character of each length, a NUL, and text between. */
static const char text[] = "a\0~\x7F\xC2\x80\xDF\xBF"
                           "h\xC3\xA9\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF\xE2\x82\xAC"
                           "\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\xF0\x9F\x98\x80.\n";
enum { TEXT_SIZE = sizeof text - 1 };

/* Where the last character that is whole within text[0..n) ends. */
static size_t whole_characters(size_t n) {
    while (n < TEXT_SIZE && n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80) n--;
    return n;
}

/* After every piece exactly the whole characters are there, at once. */
static void test_pieces(void **state) {
    (void)state;
    for (size_t i = 0; i <= TEXT_SIZE; i++)
        for (size_t j = i; j <= TEXT_SIZE; j++) {
            struct sink s;
            sink_open(&s);
            text_write(&s.stream, text, i);
            assert_written(&s, text, whole_characters(i));
            text_write(&s.stream, text + i, j - i);
            assert_written(&s, text, whole_characters(j));
            text_write(&s.stream, text + j, TEXT_SIZE - j);
            assert_written(&s, text, TEXT_SIZE);
            text_end(&s.stream);
            assert_written(&s, text, TEXT_SIZE);
            sink_close(&s);
        }
}

static void test_byte_by_byte(void **state) {
    (void)state;
    struct sink s;
    sink_open(&s);
    for (size_t i = 0; i < TEXT_SIZE; i++) {
        text_write(&s.stream, text + i, 1);
        assert_written(&s, text, whole_characters(i + 1));
    }
    sink_close(&s);
}

#define LOST "\xEF\xBF\xBD" /* U+FFFD */

static const struct {
    const char *bytes, *want;
} damaged[] = {
    {"\x80", LOST},
    {"a\xBF" "b", "a" LOST "b"},
    {"\xFF\xFE", LOST LOST},
    {"\xC0\xC1", LOST LOST},                         /* start no character */
    {"\xC3" "A", LOST "A"},                          /* cut short by a character */
    {"\xE2\x82" "A", LOST "A"},
    {"\xF0\x9F\x98" "A", LOST "A"},
    {"\xE2\x82\xC3\xA9", LOST "\xC3\xA9"},           /* by the start of another */
    {"\xF0\xF0\x9F\x98\x80", LOST "\xF0\x9F\x98\x80"},
    {"\xC3\xC3\xC3\xA9", LOST LOST "\xC3\xA9"},
    {"\xE2\xFF", LOST LOST},                         /* by a byte that starts none */
    {"\xC3\xA9\xA9", "\xC3\xA9" LOST},               /* one byte too many */
    {"\xE2\x82", LOST},                              /* by the end */
    {"x\xF0\x9F\x98", "x" LOST},
};

/* In one piece and byte by byte; nothing stays behind for the next text. */
static void test_damaged_text(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(damaged); i++)
        for (int whole = 0; whole < 2; whole++) {
            const size_t size = strlen(damaged[i].bytes);
            struct sink s;
            sink_open(&s);
            for (size_t at = 0; at < size; at += whole ? size : 1)
                text_write(&s.stream, damaged[i].bytes + at, whole ? size : 1);
            text_end(&s.stream);
            assert_written(&s, damaged[i].want, strlen(damaged[i].want));
            text_end(&s.stream);
            text_write(&s.stream, "\xC3\xA9", 2);
            assert_int_equal(s.size, strlen(damaged[i].want) + 2);
            sink_close(&s);
        }
}

/* Bytes of the well-formed character at p (The Unicode Standard, table 3-7), 0 if there is none. */
static size_t character_at(const unsigned char *p, size_t n) {
    const struct {
        unsigned char first, first_end, second, second_end;
        size_t size;
    } forms[] = {{0x00, 0x7F, 0, 0, 1},          {0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3},
                 {0xE1, 0xEC, 0x80, 0xBF, 3},    {0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3},
                 {0xF0, 0xF0, 0x90, 0xBF, 4},    {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4}};
    for (size_t i = 0; i < COUNT(forms); i++) {
        if (p[0] < forms[i].first || p[0] > forms[i].first_end || forms[i].size > n) continue;
        if (forms[i].size > 1 && (p[1] < forms[i].second || p[1] > forms[i].second_end)) return 0;
        for (size_t k = 2; k < forms[i].size; k++)
            if ((p[k] & 0xC0) != 0x80) return 0;
        return forms[i].size;
    }
    return 0;
}

/* Whatever bytes a model comes up with (byte pieces can stand in any order), what appears is UTF-8: no
 * overlong form, surrogate, or number past U+10FFFF gets through. */
static void test_output_is_utf8(void **state) {
    (void)state;
    static const unsigned char edges[] = {'a',  0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2, 0xDF, 0xE0,
                                          0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF};
    const size_t n = COUNT(edges);
    for (size_t i = 0; i < n * n * n * n; i++) {
        const unsigned char bytes[] = {edges[i % n], edges[i / n % n], edges[i / n / n % n],
                                       edges[i / n / n / n]};
        struct sink s;
        sink_open(&s);
        text_write(&s.stream, (const char *)bytes, 4);
        text_end(&s.stream);
        for (size_t at = 0, size; at < s.size; at += size) {
            size = character_at((const unsigned char *)s.bytes + at, s.size - at);
            if (size == 0) {
                fail_msg("%02X %02X %02X %02X came out as something else than UTF-8", bytes[0], bytes[1],
                         bytes[2], bytes[3]);
            }
        }
        sink_close(&s);
    }
}

/* ---- Generation ---- */

enum { MOST = 60 };

/* Receives tokens until it has `limit`. */
struct receiver {
    int32_t tokens[MOST];
    size_t n, limit;
};

static bool receive(void *context, int32_t token) {
    struct receiver *r = context;
    assert_true(r->n < r->limit); /* nobody is called again who has said no */
    r->tokens[r->n++] = token;
    return r->n < r->limit;
}

/* Without cache: every token from a forward pass over the whole window. Past T positions the window goes on
 * with its last T/2 tokens, the new one among them. */
static void reference_generate(struct model *m, int32_t *out, const int32_t *prompt, size_t n, size_t count,
                               struct sampler s) {
    const size_t T = m->sizes.T;
    int32_t text_so_far[n + count];
    memcpy(text_so_far, prompt, n * sizeof *prompt);
    size_t first = n > T ? n - T : 0;
    for (size_t i = 0; i < count; i++, n++) {
        if (n - first > T) first = n - (T + 1) / 2;
        model_forward(m, &(struct batch){.B = 1, .T = n - first, .tokens = text_so_far + first});
        out[i] = text_so_far[n] = sampler_pick(&s, model_logits(m, n - first - 1), m->sizes.V);
    }
}

static void generation_check(struct model *m, size_t n, size_t count, const struct sampler *s) {
    int32_t want[MOST];
    struct receiver got = {.limit = MOST};
    struct sampler copy = *s;
    struct example prompt = example_random(1, n, m->config.vocab, n);
    model_generate(m, prompt.tokens, n, count, &copy, receive, &got);
    reference_generate(m, want, prompt.tokens, n, count, *s);
    assert_int_equal(got.n, count);
    for (size_t i = 0; i < count; i++) {
        assert_in_range(got.tokens[i], 0, m->config.vocab - 1);
        if (got.tokens[i] != want[i]) {
            fail_msg("T %zu, prompt %zu: token %zu of %zu is %d, without cache %d", m->sizes.T, n, i, count,
                     got.tokens[i], want[i]);
        }
    }
    example_free(&prompt);
}

/* Prompts shorter than a window, a full one, and longer ones; the window slides several times. */
static void test_generation(void **state) {
    (void)state;
    const int lengths[] = {1, 2, 8, 9};
    struct sampler s = {SAMPLER_PLAIN, .temperature = 1, .top_p = 0.95};
    rng_seed(&s.rng, 3, 0);
    for (int ffn = FFN_DENSE; ffn <= FFN_MHMOE; ffn++)
        for (size_t i = 0; i < COUNT(lengths); i++) {
            struct config config = small_config;
            config.ffn = ffn;
            config.seq = lengths[i];
            struct model m = model_random(&config, MODEL_INFER, 1, 61);
            for (size_t n = 1; n <= 21; n++) generation_check(&m, n, 35, &s);
            generation_check(&m, 5, 0, &s);
            generation_check(&m, 5, 1, &s);
            generation_check(&m, 3, 35, &(struct sampler){SAMPLER_PLAIN, .temperature = 0, .top_p = 1});
            model_destroy(&m);
        }
}

/* The samples that training shows: a model made for training writes what one made for inference writes, with
 * --recompute, too, which keeps no block's keys and values; and training goes on as if nothing had been written. */
static void test_generation_in_training(void **state) {
    (void)state;
    for (int kind = 0; kind < 3 * 2 * 2; kind++) {
        struct config config = kind & 2 ? config_other(small_config) : small_config;
        config.ffn = kind / 4;
        if (config.ffn == FFN_DENSE) config.shared_hidden = 0;
        config.layers = 3;
        config.moe_every = 2;
        struct model infer = model_random(&config, MODEL_INFER, 1, 63), m;
        struct example b = example_random(2, 7, config.vocab, 64);
        struct error err;
        if (!model_create(&m, &config, (struct model_setup){MODEL_TRAIN, 2, kind & 1, STORAGE_F32}, &err))
            fail_msg("%s", err.text);
        memcpy(m.param_memory, infer.param_memory, m.n_parameters * sizeof(real));
        memcpy(m.router_bias, infer.router_bias, m.sizes.LM * m.sizes.E * sizeof(real));
        model_pack(&m);
        real *before = array_alloc(m.n_parameters, sizeof *before);
        const double loss = model_gradients(&m, &b);
        memcpy(before, m.grad_memory, m.n_parameters * sizeof *before);
        for (size_t n = 1; n <= 13; n += 3) {
            const size_t count = 31; /* past the window's 9 positions, several times */
            struct sampler greedy = {SAMPLER_PLAIN, .temperature = 0, .top_p = 1};
            struct sampler dice = {SAMPLER_PLAIN, .temperature = 1, .top_p = 0.95};
            rng_seed(&dice.rng, n, 0);
            generation_check(&m, n, count, &greedy);
            generation_check(&m, n, count, &dice);
            struct receiver want = {.limit = MOST}, got = {.limit = MOST};
            struct example prompt = example_random(1, n, config.vocab, n);
            model_generate(&infer, prompt.tokens, n, count, &greedy, receive, &want);
            model_generate(&m, prompt.tokens, n, count, &greedy, receive, &got);
            assert_int_equal(got.n, count);
            assert_memory_equal(got.tokens, want.tokens, count * sizeof *got.tokens);
            example_free(&prompt);
        }
        assert_true(model_gradients(&m, &b) == loss);
        assert_memory_equal(m.grad_memory, before, m.n_parameters * sizeof *before);
        free(before);
        example_free(&b);
        model_destroy(&m);
        model_destroy(&infer);
    }
}

static void test_generation_stops(void **state) {
    (void)state;
    struct model m = model_random(&small_config, MODEL_INFER, 1, 62);
    const int32_t prompt[] = {5, 0, 36};
    struct receiver all = {.limit = MOST};
    struct sampler s = {SAMPLER_PLAIN, .temperature = 1, .top_p = 1};
    rng_seed(&s.rng, 4, 0);
    const struct sampler start = s;
    model_generate(&m, prompt, 3, 30, &s, receive, &all);
    for (size_t limit = 1; limit < 30; limit++) {
        struct receiver few = {.limit = limit};
        s = start;
        model_generate(&m, prompt, 3, 30, &s, receive, &few);
        assert_int_equal(few.n, limit);
        assert_memory_equal(few.tokens, all.tokens, limit * sizeof *few.tokens);
    }
    model_destroy(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_temperature),
        cmocka_unit_test(test_top_k),
        cmocka_unit_test(test_top_k_of_ties),
        cmocka_unit_test(test_top_p), cmocka_unit_test(test_top_p_is_reached),
        cmocka_unit_test(test_extreme_logits),
        cmocka_unit_test(test_distribution),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_damaged_text),
        cmocka_unit_test(test_output_is_utf8),
        cmocka_unit_test(test_generation),
        cmocka_unit_test(test_generation_in_training),
        cmocka_unit_test(test_generation_stops),
    };
    return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}
