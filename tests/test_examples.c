/* Examples: every row of every batch is what its record says, each record comes once an epoch, and all of it follows
 * from a seed and a position. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include "../data/examples.h"
#include "../src/base/rng.h"
#include "album_in_memory.h"

enum { SEQ = P + 10, BATCH = 23, SIGMAS = 5 };

static const struct examples_options plain = {.seq = SEQ, .seed = 5, .shuffle = true, .hide_patches = 0.4,
                                              .hide_text = 0.15, .hide_caption = 0.5, .cache_bytes = 12345};

/* ---- Memory that is asked for ---- */

static size_t allocations;

void *__real_realloc(void *block, size_t size);
void *__wrap_realloc(void *block, size_t size);
int __real_posix_memalign(void **block, size_t alignment, size_t size);
int __wrap_posix_memalign(void **block, size_t alignment, size_t size);

void *__wrap_realloc(void *block, size_t size) {
    allocations++;
    return __real_realloc(block, size);
}

int __wrap_posix_memalign(void **block, size_t alignment, size_t size) {
    allocations++;
    return __real_posix_memalign(block, alignment, size);
}

/* ---- Streams ---- */

static struct examples *open_with(const char *dir, struct examples_options o) {
    struct error err;
    struct examples *e = examples_open(dir, "val", &o, &err);
    if (!e) fail_msg("%s", err.text);
    return e;
}

static struct examples_options in_order(struct examples_options o) {
    o.shuffle = false;
    return o;
}

static struct batch batch_next(struct examples *e, size_t n, uint8_t *kinds) {
    struct batch batch;
    struct error err;
    if (!examples_next(e, n, &batch, kinds, &err)) fail_msg("%s", err.text);
    assert_int_equal(batch.B, n);
    return batch;
}

/* ---- What an example shows, read off its rows ---- */

struct shown {
    int kind;
    size_t record, text; /* text: of those that have one */
    bool hidden[P], covered[LENGTH];
    size_t n, n_hidden; /* of its text */
    uint64_t hash;  /* of every number in it */
};

/* The patches that come before row `row`. */
static size_t patches_before(const struct batch *batch, size_t row) {
    size_t n = 0;
    for (size_t i = 0; i < row; i++) n += batch->tokens[i] == TOKEN_PATCH;
    return n;
}

static size_t share_of(size_t n, double share) {
    return (size_t)fmax(1, floor(share * (double)n + 0.5));
}

/* Patch p of record i, out of the picture. */
static void patch_check(const real *patch, size_t i, size_t p) {
    for (size_t y = 0; y < PATCH; y++)
        for (size_t x = 0; x < PATCH; x++)
            for (size_t c = 0; c < 3; c++) {
                const size_t at = ((p / SIDE * PATCH + y) * SIZE + p % SIDE * PATCH + x) * 3 + c;
                const double want = pixel_of(i, at) / 127.5 - 1;
                assert_true(fabs(patch[(y * PATCH + x) * 3 + c] - want) < 1e-6);
            }
}

static void picture_check(const struct batch *batch, size_t start, struct shown *s, const struct examples_options *o) {
    size_t hidden = 0, shown = patches_before(batch, start);
    for (size_t p = 0; p < P; p++) {
        const int32_t token = batch->tokens[start + p], target = batch->targets[start + p];
        assert_int_equal(batch->positions[start + p], p);
        s->hidden[p] = token == TOKEN_HIDDEN;
        assert_true(s->hidden[p] || token == TOKEN_PATCH);
        if (s->hidden[p]) assert_int_equal(target, VOCAB + patch_code(s->record, p));
        else {
            assert_int_equal(target, TARGET_NONE);
            patch_check(batch->patches + shown++ * Q, s->record, p);
        }
        hidden += s->hidden[p];
    }
    assert_int_equal(hidden, share_of(P, o->hide_patches));
}

/* A text of which between two shares are hidden; beside a picture it has all the room. */
static void text_check(const struct batch *batch, size_t start, size_t base, struct shown *s, const double *shares,
                       size_t room) {
    const size_t prefix = text_prefix(s->record, s->text), whole = text_length(s->record, s->text), rows = s->n;
    size_t hidden = 0;
    s->n = whole < room ? whole : room;
    assert_int_equal(rows, s->kind == EXAMPLE_PAIR ? room : s->n);
    for (size_t t = s->n; t < rows; t++) {
        assert_int_equal(batch->positions[start + t], base + t);
        assert_int_equal(batch->tokens[start + t], TOKEN_HIDDEN);
        assert_int_equal(batch->targets[start + t], TARGET_NONE);
    }
    for (size_t t = 0; t < s->n; t++) {
        const int32_t token = batch->tokens[start + t], target = batch->targets[start + t];
        const int32_t want = text_token(s->record, s->text, t);
        assert_int_equal(batch->positions[start + t], base + t);
        s->covered[t] = token == TOKEN_HIDDEN;
        assert_int_equal(token, s->covered[t] ? TOKEN_HIDDEN : want);
        assert_int_equal(target, s->covered[t] ? want : TARGET_NONE);
        assert_true(t >= prefix || !s->covered[t]);
        hidden += s->covered[t];
    }
    assert_in_range(hidden, share_of(s->n - prefix, shares[0]), share_of(s->n - prefix, shares[1]));
    s->n_hidden = hidden;
}

static uint64_t rows_hash(const struct batch *batch, size_t b) {
    const size_t start = (size_t)batch->offsets[b], n = (size_t)batch->offsets[b + 1] - start;
    const size_t shown = patches_before(batch, start), more = patches_before(batch, start + n) - shown;
    const int32_t *const arrays[] = {batch->tokens, batch->ends, batch->targets, batch->positions};
    uint64_t hash = hash_bytes(HASH_START, &n, sizeof n);
    for (int i = 0; i < 4; i++) hash = hash_bytes(hash, arrays[i] + start, n * sizeof **arrays);
    return more ? hash_bytes(hash, batch->patches + shown * Q, more * Q * sizeof *batch->patches) : hash;
}

/* Sequence b of the batch, every row of which is looked at. */
static struct shown example_check(const struct batch *batch, size_t b, int kind, const struct examples *e,
                                  const struct examples_options *o) {
    struct shown s = {.kind = kind, .hash = rows_hash(batch, b)};
    const size_t base = album_size(examples_album(e)) ? P : 0, start = (size_t)batch->offsets[b];
    const size_t length = (size_t)batch->offsets[b + 1] - start, picture = kind == EXAMPLE_TEXT ? 0 : P;
    assert_true(length <= o->seq && length <= batch->T && length >= picture);
    s.n = length - picture;
    assert_int_equal(s.n == 0, kind == EXAMPLE_PICTURE);
    for (size_t i = start; i < start + length; i++) {
        assert_int_equal(batch->ends[i], length);
        if (batch->targets[i] >= VOCAB) s.record = (size_t)(batch->targets[i] - VOCAB) / P;
    }
    if (s.n > 0) {
        const int32_t first = batch->tokens[start + picture], target = batch->targets[start + picture];
        const size_t text = (size_t)(first == TOKEN_HIDDEN ? target : first) / LENGTH;
        if (picture) assert_int_equal(s.record, text / TEXTS);
        s.record = text / TEXTS;
        s.text = text % TEXTS;
        const double mean = picture ? o->hide_caption : o->hide_text, reach = picture ? fmin(mean, 1 - mean) : 0;
        text_check(batch, start + picture, base, &s, (const double[]){mean - reach, mean + reach}, o->seq - base);
    }
    if (picture) picture_check(batch, start, &s, o);
    return s;
}

/* The next n examples, in calls of `step`. */
static void examples_take(struct examples *e, struct shown *into, size_t n, size_t step,
                          const struct examples_options *o) {
    uint8_t kinds[BATCH];
    for (size_t at = 0; at < n; at += step) {
        const size_t rows = step < n - at ? step : n - at;
        const struct batch batch = batch_next(e, rows, kinds);
        size_t longest = 0;
        assert_int_equal(batch.offsets[0], 0);
        assert_int_equal(batch.from, 0);
        for (size_t b = 0; b < rows; b++) {
            into[at + b] = example_check(&batch, b, kinds[b], e, o);
            longest = (size_t)fmax((double)longest, batch.offsets[b + 1] - batch.offsets[b]);
        }
        assert_int_equal(batch.T, longest);
        assert_int_equal(batch.patches != NULL, patches_before(&batch, (size_t)batch.offsets[rows]) > 0);
    }
}

static struct shown *take(const char *dir, struct examples_options o, size_t n, size_t step) {
    struct shown *s = array_alloc(n, sizeof *s);
    struct examples *e = open_with(dir, o);
    examples_take(e, s, n, step, &o);
    assert_int_equal(examples_position(e), n);
    examples_close(e);
    return s;
}

static void same(const struct shown *a, const struct shown *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (a[i].hash != b[i].hash || a[i].kind != b[i].kind) fail_msg("example %zu is another one", i);
}

static void near_expected(double got, double expected, double variance) {
    if (fabs(got - expected) > SIGMAS * sqrt(variance))
        fail_msg("got %g, want %g +- %g", got, expected, SIGMAS * sqrt(variance));
}

/* n draws with probability p. */
static void near_share(size_t got, size_t n, double p) {
    near_expected((double)got, p * (double)n, p * (1 - p) * (double)n);
}

/* ---- Every row ---- */

static void rows_are_those_of_the_records(void **state) {
    (void)state;
    const char *const dirs[] = {"mixed", "pairs", "pictures", "sentences"};
    for (int d = 0; d < 4; d++)
        for (uint64_t seed = 0; seed < 3; seed++)
            for (int shuffle = 0; shuffle < 2; shuffle++) {
                struct examples_options o = plain;
                o.seed = seed;
                o.shuffle = shuffle;
                free(take(dirs[d], o, 300, BATCH));
            }
}

static void shares_are_those_of_the_options(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct examples_options o = plain;
        o.hide_patches = i == 0 ? 1 : 0.1;
        o.hide_text = i == 1 ? 1 : 0.3;
        o.hide_caption = i == 2 ? 1 : 0.2;
        o.seq = SEQ + 100;
        free(take("mixed", o, 300, BATCH));
    }
}

static void any_options(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 6, 0);
    for (int i = 0; i < 150; i++) {
        const struct examples_options o = {
            .seq = P + 4 + rng_below(&rng, 14), .seed = rng_next(&rng), .shuffle = rng_below(&rng, 2),
            .hide_patches = 1 - rng_uniform(&rng), .hide_text = 1 - rng_uniform(&rng),
            .hide_caption = 1 - rng_uniform(&rng), .cache_bytes = plain.cache_bytes};
        const size_t n = 1 + rng_below(&rng, 3 * RECORDS);
        free(take(albums[rng_below(&rng, SENTENCES + 1)], o, n, 1 + rng_below(&rng, BATCH)));
    }
}

/* What no picture is shown of has no patches at all. */
static void nothing_of_a_picture_is_shown(void **state) {
    (void)state;
    struct examples_options o = plain;
    o.hide_patches = 1;
    struct examples *e = open_with("pictures", o);
    assert_null(batch_next(e, 3, NULL).patches);
    examples_close(e);
}

/* ---- What is drawn ---- */

static void an_epoch_has_every_record_once(void **state) {
    (void)state;
    enum { EPOCHS = 6 };
    struct shown *s = take("mixed", plain, EPOCHS * RECORDS, 10);
    size_t moved = 0;
    for (size_t epoch = 0; epoch < EPOCHS; epoch++) {
        bool seen[RECORDS] = {false};
        for (size_t i = 0; i < RECORDS; i++) {
            const size_t record = s[epoch * RECORDS + i].record;
            assert_false(seen[record]);
            seen[record] = true;
            moved += epoch > 0 && record != s[(epoch - 1) * RECORDS + i].record;
        }
    }
    assert_true(moved > (EPOCHS - 1) * (RECORDS - 6));
    free(s);
}

/* Of pictures that are variants of one, one is shown, any of them; held out are all. */
static void an_epoch_has_every_group_once(void **state) {
    (void)state;
    enum { GROUPS = 13, EPOCHS = 120 };
    struct examples *e = open_with("grouped", plain), *held_out = open_with("grouped", in_order(plain));
    assert_int_equal(examples_epoch(e), GROUPS);
    assert_true(examples_epoch(held_out) > RECORDS);
    struct shown *s = take("grouped", plain, EPOCHS * GROUPS, 10);
    size_t records[RECORDS] = {0};
    for (size_t epoch = 0; epoch < EPOCHS; epoch++) {
        bool seen[GROUPS] = {false};
        for (size_t i = 0; i < GROUPS; i++) {
            const size_t record = s[epoch * GROUPS + i].record;
            assert_false(seen[record % GROUPS]);
            seen[record % GROUPS] = true;
            records[record]++;
        }
    }
    for (size_t i = 0; i < RECORDS; i++) {
        const double members = i % GROUPS < RECORDS % GROUPS ? 3 : 2, share = 1 / members;
        assert_true(fabs((double)records[i] - EPOCHS * share) < SIGMAS * sqrt(EPOCHS * share * (1 - share)));
    }
    free(s);
    examples_close(e);
    examples_close(held_out);
}

/* A text alone, so that there is one example, too. */
static void one_record_is_an_epoch(void **state) {
    (void)state;
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        struct examples_options o = plain;
        o.shuffle = shuffle;
        struct examples *e = open_with("single", o);
        assert_int_equal(examples_epoch(e), 1);
        struct shown *s = take("single", o, 50, 9);
        for (int i = 0; i < 50; i++) assert_true(s[i].record == 0 && s[i].kind == EXAMPLE_TEXT);
        free(s);
        examples_close(e);
    }
}

/* Each record's, so that what one draws says nothing of another. */
static void kinds_and_texts_are_drawn(void **state) {
    (void)state;
    enum { EPOCHS = 400 };
    static size_t kinds[RECORDS][EXAMPLE_KINDS], texts[RECORDS][TEXTS];
    struct shown *s = take("mixed", plain, EPOCHS * RECORDS, BATCH);
    size_t all[EXAMPLE_KINDS] = {0}, both = 0;
    for (size_t i = 0; i < EPOCHS * RECORDS; i++) {
        kinds[s[i].record][s[i].kind]++;
        if (s[i].kind != EXAMPLE_PICTURE) texts[s[i].record][s[i].text]++;
    }
    static const double p[] = {0.5, 0.25, 0.25};
    for (size_t i = 0; i < RECORDS; i++) {
        const size_t n = record_texts(MIXED, i), shown = kinds[i][EXAMPLE_PAIR] + kinds[i][EXAMPLE_TEXT];
        const bool picture = record_has_picture(MIXED, i);
        if (!picture) assert_int_equal(kinds[i][EXAMPLE_TEXT], EPOCHS);
        if (n == 0) assert_int_equal(kinds[i][EXAMPLE_PICTURE], EPOCHS);
        for (size_t k = 0; k < n; k++) near_share(texts[i][k], shown, 1.0 / (double)n);
        for (int k = 0; k < EXAMPLE_KINDS && picture && n > 0; k++) {
            near_share(kinds[i][k], EPOCHS, p[k]);
            all[k] += kinds[i][k];
            both += kinds[i][k];
        }
    }
    for (int k = 0; k < EXAMPLE_KINDS; k++) near_share(all[k], both, p[k]);
    free(s);
}

/* The same record in other epochs, and other records beside it. */
static void what_is_hidden_is_drawn_anew(void **state) {
    (void)state;
    enum { EPOCHS = 40 };
    struct shown *s = take("pictures", plain, EPOCHS * RECORDS, BATCH);
    size_t equal = 0, hidden[P] = {0};
    for (size_t i = 0; i < EPOCHS * RECORDS; i++) {
        for (size_t j = 0; j < i; j++) equal += memcmp(s[i].hidden, s[j].hidden, P) == 0;
        for (size_t p = 0; p < P; p++) hidden[p] += s[i].hidden[p];
    }
    assert_true(equal < EPOCHS * RECORDS * EPOCHS * RECORDS / 2 / 200);
    for (size_t p = 0; p < P; p++) assert_true(hidden[p] > EPOCHS * RECORDS / 6);
    free(s);
}

/* Of what is behind the prefix every token is hidden as often as the others. */
static void tokens_are_hidden_alike(void **state) {
    (void)state;
    enum { EPOCHS = 300 };
    static size_t hidden[RECORDS * TEXTS][LENGTH], shown[RECORDS * TEXTS], lengths[RECORDS * TEXTS];
    struct shown *s = take("sentences", plain, EPOCHS * RECORDS, BATCH);
    for (size_t i = 0; i < EPOCHS * RECORDS; i++) {
        const size_t text = s[i].record * TEXTS + s[i].text;
        shown[text]++;
        lengths[text] = s[i].n;
        for (size_t t = 0; t < s[i].n; t++) hidden[text][t] += s[i].covered[t];
    }
    for (size_t i = 0; i < RECORDS * TEXTS; i++) {
        const size_t prefix = text_prefix(i / TEXTS, i % TEXTS), n = lengths[i] - prefix;
        for (size_t t = prefix; t < lengths[i]; t++)
            near_share(hidden[i][t], shown[i], (double)share_of(n, plain.hide_text) / (double)n);
    }
    free(s);
}

/* Of a caption all, none but one, or any share between, all alike: on the mean what the option says. */
static void captions_are_hidden_by_any_share(void **state) {
    (void)state;
    enum { EPOCHS = 400 };
    static const double shares[][3] = {{0.5, 0, 1}, {0.8, 0.6, 1}, {0.2, 0, 0.4}, {1, 1, 1}};
    for (int i = 0; i < 4; i++) {
        struct examples_options o = plain;
        o.hide_caption = shares[i][0];
        struct shown *s = take("pairs", o, EPOCHS * RECORDS, BATCH);
        size_t counts[LENGTH + 1][LENGTH + 1] = {{0}}, texts[LENGTH + 1] = {0};
        for (size_t k = 0; k < EPOCHS * RECORDS; k++) {
            if (s[k].kind != EXAMPLE_PAIR) continue;
            const size_t n = s[k].n - text_prefix(s[k].record, s[k].text);
            counts[n][s[k].n_hidden]++;
            texts[n]++;
        }
        for (size_t n = 3; n <= LENGTH; n++) /* what rounds to h tokens, of all shares that are drawn */
            for (size_t h = 2; h <= n && texts[n] > 0; h++) {
                const double low = fmax(((double)h - 0.5) / (double)n, shares[i][1]);
                const double high = fmin(((double)h + 0.5) / (double)n, shares[i][2]);
                const double width = shares[i][2] - shares[i][1];
                near_share(counts[n][h], texts[n], width > 0 ? fmax(high - low, 0) / width : h == n);
            }
        free(s);
    }
}

/* In every bit of the seed, and in everything that is drawn. */
static void seeds_differ(void **state) {
    (void)state;
    enum { N = 2 * RECORDS };
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        struct examples_options o = plain;
        o.shuffle = shuffle;
        struct shown *a = take("pairs", o, N, BATCH), *again = take("pairs", o, N, BATCH);
        same(a, again, N);
        for (int bit = 0; bit < 64; bit += 7) {
            o.seed = plain.seed ^ (uint64_t)1 << bit;
            struct shown *b = take("pairs", o, N, BATCH);
            size_t equal = 0, records = 0;
            for (size_t i = 0; i < N; i++) {
                equal += a[i].hash == b[i].hash;
                records += a[i].record == b[i].record;
            }
            assert_true(equal < 6); /* texts alone of which one token is hidden */
            assert_true(shuffle ? records < 12 : records == N);
            free(b);
        }
        free(a);
        free(again);
    }
}

/* ---- Position ---- */

static void any_number_a_call(void **state) {
    (void)state;
    enum { N = 3 * RECORDS + 5 };
    static const size_t steps[] = {1, 2, 7, RECORDS % BATCH, BATCH};
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        struct examples_options o = plain;
        o.shuffle = shuffle;
        struct shown *whole = take("mixed", o, N, 5);
        for (int i = 0; i < 5; i++) {
            struct shown *s = take("mixed", o, N, steps[i]);
            same(s, whole, N);
            free(s);
        }
        free(whole);
    }
}

/* In another process, and there and back in one. */
static void seeking_is_running(void **state) {
    (void)state;
    enum { N = 3 * RECORDS };
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        struct examples_options o = plain;
        o.shuffle = shuffle;
        struct shown *s = take("mixed", o, N + 3, BATCH), few[3];
        struct examples *again = open_with("mixed", o);
        for (size_t at = N; at-- > 0;) {
            struct examples *e = open_with("mixed", o);
            for (int i = 0; i < 2; i++) {
                examples_seek(i ? e : again, at);
                assert_int_equal(examples_position(i ? e : again), at);
                examples_take(i ? e : again, few, 3, 2, &o);
                same(few, s + at, 3);
            }
            examples_close(e);
        }
        examples_close(again);
        free(s);
    }
}

/* Where 32 bits end within an epoch, and far beyond, each record still comes once an epoch, in another order. */
static void positions_of_64_bits(void **state) {
    (void)state;
    static const uint64_t epochs[] = {((uint64_t)1 << 32) / RECORDS, (uint64_t)1 << 40, ((uint64_t)1 << 59) / RECORDS};
    struct shown far[RECORDS], near[RECORDS];
    struct examples *e = open_with("mixed", plain);
    examples_take(e, near, RECORDS, BATCH, &plain);
    for (int k = 0; k < 3; k++) {
        examples_seek(e, epochs[k] * RECORDS);
        examples_take(e, far, RECORDS, BATCH, &plain);
        bool seen[RECORDS] = {false};
        size_t equal = 0;
        for (size_t i = 0; i < RECORDS; i++) {
            assert_false(seen[far[i].record]);
            seen[far[i].record] = true;
            equal += far[i].record == near[i].record;
        }
        assert_true(equal < 8);
        assert_true(examples_position(e) == (epochs[k] + 1) * RECORDS);
    }
    examples_close(e);
}

/* ---- Held out ---- */

static void in_order_each_kind_once(void **state) {
    (void)state;
    const struct examples_options o = in_order(plain);
    for (int kind = MIXED; kind <= SENTENCES; kind++) {
        struct examples *e = open_with(albums[kind], o);
        const size_t n = examples_epoch(e);
        struct shown *s = take(albums[kind], o, 2 * n, BATCH);
        size_t at = 0;
        for (size_t i = 0; i < RECORDS; i++)
            for (int k = 0; k < EXAMPLE_KINDS; k++) {
                if (k != EXAMPLE_TEXT && !record_has_picture(kind, i)) continue;
                if (k != EXAMPLE_PICTURE && record_texts(kind, i) == 0) continue;
                assert_true(at < n);
                assert_int_equal(s[at].record, i);
                assert_int_equal(s[at++].kind, k);
            }
        assert_int_equal(at, n);
        same(s + n, s, n);
        examples_close(e);
        free(s);
    }
}

/* A record's examples are about the same: one text, and the same patches. */
static void examples_of_a_record_belong_together(void **state) {
    (void)state;
    struct shown *s = take("pairs", in_order(plain), 3 * RECORDS, BATCH);
    size_t others = 0;
    for (size_t i = 0; i < 3 * RECORDS; i += 3) {
        assert_int_equal(s[i].text, s[i + 2].text);
        assert_memory_equal(s[i].hidden, s[i + 1].hidden, P);
        if (i > 0) others += memcmp(s[i].hidden, s[i - 3].hidden, P) != 0;
    }
    assert_true(others > RECORDS - 4);
    free(s);
}

/* 37 records of three texts: 12 or 13 of each, and which is drawn by the seed. */
static void texts_take_turns(void **state) {
    (void)state;
    size_t alike[4] = {0};
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct examples_options o = in_order(plain);
        o.seed = seed;
        struct shown *s = take("sentences", o, RECORDS, BATCH);
        size_t often[TEXTS] = {0};
        for (size_t i = 0; i < RECORDS; i++) often[s[i].text]++;
        for (size_t k = 0; k < TEXTS; k++) assert_in_range(often[k], RECORDS / TEXTS, RECORDS / TEXTS + 1);
        for (size_t lag = 1; lag <= 4; lag++)
            for (size_t i = lag; i < RECORDS; i++) alike[lag - 1] += s[i].text == s[i - lag].text;
        free(s);
    }
    for (size_t lag = 1; lag <= 4; lag++) near_share(alike[lag - 1], 40 * (RECORDS - lag), 1.0 / TEXTS);
}

static void an_epoch_counts_examples(void **state) {
    (void)state;
    struct examples *e = open_with("pairs", plain), *held = open_with("pairs", in_order(plain));
    assert_int_equal(examples_epoch(e), RECORDS);
    assert_int_equal(examples_epoch(held), 3 * RECORDS);
    assert_int_equal(examples_position(e), 0);
    examples_close(e);
    examples_close(held);
}

/* ---- Texts that are cut ---- */

static void cut_texts_are_counted(void **state) {
    (void)state;
    for (size_t room = 4; room <= LENGTH; room++) {
        struct examples_options o = plain;
        o.seq = P + room;
        struct examples *e = open_with("mixed", o);
        static struct shown s[3 * RECORDS];
        size_t cut = 0;
        for (size_t at = 0; at < 3 * RECORDS; at += RECORDS) {
            examples_take(e, s + at, RECORDS, BATCH, &o);
            for (size_t i = at; i < at + RECORDS; i++)
                cut += s[i].kind != EXAMPLE_PICTURE && text_length(s[i].record, s[i].text) > room;
            assert_int_equal(examples_cut(e), cut);
        }
        assert_int_equal(cut == 0, room >= 15);
        examples_close(e);
    }
}

static void refused(const char *dir, struct examples_options o, int code, const char *what) {
    struct error err = {0};
    assert_null(examples_open(dir, "val", &o, &err));
    assert_int_equal(err.code, code);
    if (!strstr(err.text, what) || !strstr(err.text, dir)) fail_msg("'%s' does not say '%s'", err.text, what);
}

static void too_short_a_sequence_is_refused(void **state) {
    (void)state;
    struct examples_options o = plain;
    for (o.seq = 0; o.seq < P + 2; o.seq++) {
        char *least = string_format("got --seq %zu, want at least %d)", o.seq, P + 2);
        refused("mixed", o, EXIT_USAGE, least);
        free(least);
    }
    examples_close(open_with("mixed", o));
    o.seq = 1;
    refused("sentences", o, EXIT_USAGE, "got --seq 1, want at least 2)");
    o.seq = 2;
    examples_close(open_with("sentences", o));
}

/* Two tokens are all the room there is, and some texts have a prefix of two. Those are refused, others are not. */
static void a_cut_prefix_is_refused(void **state) {
    (void)state;
    struct examples_options o = in_order(plain);
    o.seq = P + 2;
    struct examples *e = open_with("pairs", o);
    size_t refusals = 0;
    for (size_t at = 0; at < 3 * RECORDS; at++) {
        struct shown s;
        struct batch batch;
        struct error err = {0};
        uint8_t kind;
        const uint64_t cut = examples_cut(e);
        examples_seek(e, at);
        if (examples_next(e, 1, &batch, &kind, &err)) {
            s = example_check(&batch, 0, kind, e, &o);
            assert_true(s.kind == EXAMPLE_PICTURE || text_prefix(s.record, s.text) < 2);
            assert_int_equal(examples_cut(e) - cut, s.kind != EXAMPLE_PICTURE);
            continue;
        }
        refusals++;
        char *where = string_format("pairs: record %zu: ", at / 3);
        assert_int_equal(err.code, EXIT_USAGE);
        assert_non_null(strstr(err.text, where));
        assert_non_null(strstr(err.text, "got --seq 27, want at least 28)"));
        assert_int_equal(examples_position(e), at);
        assert_int_equal(examples_cut(e), cut);
        free(where);
    }
    assert_in_range(refusals, RECORDS / 3, RECORDS);
    examples_close(e);
}

/* ---- What goes wrong ---- */

static void nothing_to_show_is_refused(void **state) {
    (void)state;
    refused("empty", plain, EXIT_INPUT, "the val split holds no picture and no text");
    refused("empty", in_order(plain), EXIT_INPUT, "the val split holds no picture and no text");
    refused("nowhere", plain, EXIT_INPUT, "no such album");
    refused("broken", plain, NOT_READABLE, "record 11 cannot be read");
    refused("broken", in_order(plain), NOT_READABLE, "record 11 cannot be read");
}

/* A record that cannot be read once: the call that meets it fails, and the next one serves what that would have. */
static void a_failure_moves_nothing(void **state) {
    (void)state;
    struct examples_options o = plain;
    o.seq = P + 5;
    struct shown *whole = take("mixed", o, 2 * RECORDS, 1), s[2 * RECORDS];
    struct examples *e = open_with("breaking", o);
    struct batch batch;
    struct error err = {0};
    size_t failures = 0;
    for (size_t at = 0; at < 2 * RECORDS;) {
        const uint64_t cut = examples_cut(e);
        if (!examples_next(e, 6, &batch, NULL, &err)) {
            assert_int_equal(err.code, NOT_READABLE);
            assert_int_equal(examples_cut(e), cut);
            failures++;
        }
        assert_int_equal(examples_position(e), failures ? at : at + 6);
        if (failures) examples_take(e, s + at, 2 * RECORDS - at, 7, &o);
        if (failures) same(s + at, whole + at, 2 * RECORDS - at);
        at = failures ? 2 * RECORDS : at + 6;
    }
    assert_int_equal(failures, 1);
    examples_close(e);
    free(whole);
}

static void memory_is_asked_for_once(void **state) {
    (void)state;
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        struct examples_options o = plain;
        o.shuffle = shuffle;
        struct examples *e = open_with("pairs", o);
        for (int i = 0; i < 200; i++) batch_next(e, BATCH, NULL);
        allocations = 0;
        for (int i = 0; i < 200; i++) batch_next(e, BATCH, NULL);
        assert_int_equal(allocations, 0);
        examples_close(e);
    }
}

/* ---- Examples that are given ---- */

enum { SHOW_SIZE = 4, SHOW_PATCH = 2, SHOW_P = 4, SHOW_Q = 12, SHOW_V = 100 };

static void int32s_equal(const int32_t *got, const int32_t *want, size_t n) {
    for (size_t i = 0; i < n; i++) assert_int_equal(got[i], want[i]);
}

/* Number q of patch p of a picture whose bytes count up from `first`. */
static void counted_patch_check(const real *patch, size_t p, int first) {
    for (size_t q = 0; q < SHOW_Q; q++) {
        const size_t row = p / 2 * 2 + q / 6, column = p % 2 * 6 + q % 6;
        assert_true(fabs(patch[q] - ((first + (int)(row * 12 + column)) / 127.5 - 1)) < 1e-6);
    }
}

static void given_examples_are_shown(void **state) {
    (void)state;
    unsigned char one[SHOW_SIZE * SHOW_SIZE * 3], two[sizeof one];
    for (size_t i = 0; i < sizeof one; i++) {
        one[i] = (unsigned char)i;
        two[i] = (unsigned char)(i + 200);
    }
    static const bool hidden[] = {false, true, true, false}, all[] = {true, true, true, true};
    static const int32_t codes[] = {5, 6, 7, 8}, tokens[] = {3, TOKEN_HIDDEN, 4};
    static const int32_t targets[] = {TARGET_NONE, 9, TARGET_NONE};
    const struct example examples[] = {
        {.pixels = one, .hidden = hidden, .codes = codes, .tokens = tokens, .targets = targets, .n = 3},
        {.tokens = tokens, .n = 2},
        {.pixels = two},
        {.pixels = one, .hidden = all},
        {.pixels = two, .hidden = hidden, .tokens = tokens, .targets = targets, .n = 1},
        {.pixels = two, .codes = codes}};
    static const int32_t want_tokens[] = {-1, -2, -2, -1, 3, -2, 4, /**/ 3, -2, /**/ -1, -1, -1, -1,
                                          /**/ -2, -2, -2, -2, /**/ -1, -2, -2, -1, 3, -2, -2, /**/ -1, -1, -1, -1};
    static const int32_t want_targets[] = {-1, 106, 107, -1, -1, 9, -1, /**/ -1, -1, /**/ -1, -1, -1, -1,
                                           /**/ -1, -1, -1, -1, /**/ -1, -1, -1, -1, -1, -1, -1, /**/ -1, -1, -1, -1};
    static const int32_t positions[] = {0, 1, 2, 3, 4, 5, 6, /**/ 4, 5, /**/ 0, 1, 2, 3, /**/ 0, 1, 2, 3,
                                        /**/ 0, 1, 2, 3, 4, 5, 6, /**/ 0, 1, 2, 3};
    static const int32_t ends[] = {7, 7, 7, 7, 7, 7, 7, /**/ 2, 2, /**/ 4, 4, 4, 4, /**/ 4, 4, 4, 4,
                                   /**/ 7, 7, 7, 7, 7, 7, 7, /**/ 4, 4, 4, 4};
    static const int32_t offsets[] = {0, 7, 9, 13, 17, 24, 28};
    static const size_t patches[] = {0, 3, /**/ 0, 1, 2, 3, /**/ 0, 3, /**/ 0, 1, 2, 3}; /* the first two of `one` */
    struct example_rows rows = {.size = SHOW_SIZE, .patch = SHOW_PATCH, .room = 3, .vocab = SHOW_V};
    struct batch b;
    for (int i = 0; i < 2; i++) { /* again in the same memory */
        examples_show(&b, &rows, examples, 6);
        assert_true(b.B == 6 && b.T == 7 && b.from == 0);
        int32s_equal(b.offsets, offsets, 7);
        int32s_equal(b.tokens, want_tokens, 28);
        int32s_equal(b.targets, want_targets, 28);
        int32s_equal(b.positions, positions, 28);
        int32s_equal(b.ends, ends, 28);
        for (size_t p = 0; p < 12; p++)
            counted_patch_check(b.patches + p * SHOW_Q, patches[p], p < 2 ? 0 : 200);
        examples_show(&b, &rows, examples + 1, 1);
        assert_true(b.B == 1 && b.T == 2 && !b.patches);
        int32s_equal(b.offsets, (int32_t[]){0, 2}, 2);
        int32s_equal(b.positions, positions + 7, 2);
    }
    example_rows_free(&rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_those_of_the_records),
        cmocka_unit_test(shares_are_those_of_the_options),
        cmocka_unit_test(any_options),
        cmocka_unit_test(nothing_of_a_picture_is_shown),
        cmocka_unit_test(an_epoch_has_every_record_once),
        cmocka_unit_test(an_epoch_has_every_group_once),
        cmocka_unit_test(one_record_is_an_epoch),
        cmocka_unit_test(kinds_and_texts_are_drawn),
        cmocka_unit_test(what_is_hidden_is_drawn_anew),
        cmocka_unit_test(tokens_are_hidden_alike),
        cmocka_unit_test(captions_are_hidden_by_any_share),
        cmocka_unit_test(seeds_differ),
        cmocka_unit_test(any_number_a_call),
        cmocka_unit_test(seeking_is_running),
        cmocka_unit_test(positions_of_64_bits),
        cmocka_unit_test(in_order_each_kind_once),
        cmocka_unit_test(examples_of_a_record_belong_together),
        cmocka_unit_test(texts_take_turns),
        cmocka_unit_test(an_epoch_counts_examples),
        cmocka_unit_test(cut_texts_are_counted),
        cmocka_unit_test(too_short_a_sequence_is_refused),
        cmocka_unit_test(a_cut_prefix_is_refused),
        cmocka_unit_test(nothing_to_show_is_refused),
        cmocka_unit_test(a_failure_moves_nothing),
        cmocka_unit_test(memory_is_asked_for_once),
        cmocka_unit_test(given_examples_are_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
