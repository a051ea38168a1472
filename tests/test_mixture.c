/* The mixture: each part's rows in its own order, parts in their shares, and all of it from a seed and a position.
 * Token t of part k is k * STRIDE + t, so that a row says what it is. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include "../data/mixture.h"
#include "data_files.h"

enum { STRIDE = 100000, VOCAB = 1 << 20, SEQ = 7, MOST_ROWS = 4096 };

static const struct mixture_options plain = {.seq = SEQ, .shuffle = true, .seed = 5, .cache_bytes = CACHE, .alpha = 1};

/* ---- Corpora ---- */

/* A split of DIR/NAME with n tokens, in two shards; those of part k. */
static void split_make(const char *dir, const char *name, const char *split, int k, size_t n) {
    int32_t *tokens = array_alloc(n, sizeof *tokens);
    for (size_t i = 0; i < n; i++) tokens[i] = k * STRIDE + (int32_t)i;
    char *sub = string_format("%s/%s", dir, name);
    mkdir(sub, 0777);
    for (int i = 0; i < 2; i++) {
        char *path = string_format("%s/%s-%05d.shard", sub, split, i);
        shard_make(path, VOCAB, tokens + (i ? n / 3 : 0), i ? n - n / 3 : n / 3, HASH);
        free(path);
    }
    free(sub);
    free(tokens);
}

static void part_make(const char *dir, const char *name, int k, size_t n) {
    split_make(dir, name, "train", k, n);
}

/* Three parts of 29, 8 and 51 windows. */
enum { PARTS = 3 };
static const char *const names[PARTS] = {"de", "en", "zh-cn"};
static const size_t sizes[PARTS] = {200, 52, 358};

static void three_make(const char *dir) {
    static const int shuffled[PARTS] = {1, 2, 0};
    for (int i = 0; i < PARTS; i++) part_make(dir, names[shuffled[i]], shuffled[i], sizes[shuffled[i]]);
}

static struct mixture *open_with(const char *dir, struct mixture_options o) {
    struct error err;
    struct mixture *m = mixture_open(dir, "train", &o, &err);
    if (!m) fail_msg("%s", err.text);
    return m;
}

static struct loader *loader_at(const char *dir, const char *name, bool shuffle, uint64_t seed, size_t cache) {
    struct error err;
    char *path = string_format("%s/%s", dir, name);
    struct loader *l = loader_open(path, "train", SEQ, shuffle, seed, cache, &err);
    if (!l) fail_msg("%s", err.text);
    free(path);
    return l;
}

/* ---- Rows ---- */

struct rows {
    int32_t inputs[MOST_ROWS][SEQ], targets[MOST_ROWS][SEQ];
};

/* `n` rows into *r from row `at` on, in calls of `step` rows. */
static void rows_take(struct mixture *m, struct rows *r, int at, int n, int step) {
    struct error err;
    for (int end = at + n; at < end; at += step) {
        if (step > end - at) step = end - at;
        if (!mixture_next(m, step, r->inputs[at], r->targets[at], &err)) fail_msg("%s", err.text);
    }
}

static void rows_same(const struct rows *a, const struct rows *b, int from, int to) {
    assert_memory_equal(a->inputs[from], b->inputs[from], sizeof *a->inputs * (size_t)(to - from));
    assert_memory_equal(a->targets[from], b->targets[from], sizeof *a->targets * (size_t)(to - from));
}

static bool row_same(const struct rows *a, int i, const struct rows *b, int j) {
    return memcmp(a->inputs[i], b->inputs[j], sizeof *a->inputs) == 0 &&
           memcmp(a->targets[i], b->targets[j], sizeof *a->targets) == 0;
}

static int part_of(const struct rows *r, int row) {
    return r->inputs[row][0] / STRIDE;
}

static struct rows *rows_new(void) {
    return array_alloc(1, sizeof(struct rows));
}

/* ---- One part ---- */

static void facts_are_those_of(const struct mixture *m, const struct loader *l) {
    assert_int_equal(mixture_tokens(m), loader_tokens(l));
    assert_int_equal(mixture_windows(m), loader_windows(l));
    assert_int_equal(mixture_bytes(m), loader_bytes(l));
    assert_int_equal(mixture_vocab(m), loader_vocab(l));
    assert_true(mixture_tokenizer_hash(m) == loader_tokenizer_hash(l));
    assert_true(mixture_data_hash(m) == loader_data_hash(l));
    assert_int_equal(mixture_position(m), loader_position(l));
}

/* Without parts or with a single one: in every bit what the loader serves, through several epochs and after a seek. */
static void one_part_is_its_loader(void **state) {
    enum { ROWS = 211 };
    struct error err;
    struct rows *mixed = rows_new(), *alone = rows_new();
    char *with_part = string_format("%s/c", (char *)*state);
    mkdir(with_part, 0777);
    part_make(*state, ".", 1, 500);
    part_make(with_part, "en", 1, 500);
    for (int i = 0; i < 16; i++) {
        const char *dir = i & 1 ? with_part : *state, *name = i & 1 ? "en" : "";
        struct mixture_options o = plain;
        o.shuffle = i & 2;
        o.cache_bytes = i & 4 ? 0 : CACHE;
        o.seed = i & 8 ? 0 : 77;
        o.alpha = 0.3;
        struct mixture *m = open_with(dir, o);
        struct loader *l = loader_at(dir, name, o.shuffle, o.seed, o.cache_bytes);
        assert_int_equal(mixture_parts(m), 1);
        assert_string_equal(mixture_name(m, 0), name);
        assert_true(mixture_share(m, 0) == 1);
        rows_take(m, mixed, 0, ROWS, 5);
        assert_true(loader_next(l, ROWS, *alone->inputs, *alone->targets, &err));
        rows_same(mixed, alone, 0, ROWS);
        facts_are_those_of(m, l);
        mixture_seek(m, (uint64_t)3 << 40); /* nothing to count: at once */
        loader_seek(l, (uint64_t)3 << 40);
        rows_take(m, mixed, 0, ROWS, ROWS);
        assert_true(loader_next(l, ROWS, *alone->inputs, *alone->targets, &err));
        rows_same(mixed, alone, 0, ROWS);
        facts_are_those_of(m, l);
        assert_int_equal(mixture_served(m, 0), mixture_position(m));
        mixture_close(m);
        loader_close(l);
    }
    free(with_part);
    free(mixed);
    free(alone);
}

/* What stands beside shards is no part. */
static void a_directory_with_shards_is_one_part(void **state) {
    for (int val = 0; val < 2; val++) {
        char *dir = string_format("%s/%d", (char *)*state, val);
        mkdir(dir, 0777);
        part_make(dir, ".", 1, 100);
        part_make(dir, "en", 2, 200);
        if (val) {
            char *command = string_format("cd %s && mv train-00000.shard val-00000.shard && rm train-*", dir);
            assert_int_equal(system(command), 0);
            free(command);
            struct error err = {0, ""};
            assert_null(mixture_open(dir, "train", &plain, &err));
            assert_int_equal(err.code, EXIT_INPUT);
            char *says = string_format("%s: holds no train-*.shard", dir);
            assert_ptr_equal(strstr(err.text, says), err.text);
            free(says);
        } else {
            struct mixture *m = open_with(dir, plain);
            assert_int_equal(mixture_parts(m), 1);
            assert_string_equal(mixture_name(m, 0), "");
            assert_int_equal(mixture_tokens(m), 100);
            mixture_close(m);
        }
        free(dir);
    }
}

/* ---- Several parts ---- */

/* In the order of bytes, whatever order they were made in; files and hidden directories are none. */
static void parts_are_in_the_order_of_their_names(void **state) {
    static const char *const made[] = {"b", "a.1", "Z", "a", "10", "zh_cn", "9", "a-b"};
    static const char *const sorted[] = {"10", "9", "Z", "a", "a-b", "a.1", "b", "zh_cn"};
    static const size_t tokens[] = {50, 70, 30, 40, 80, 20, 10, 60};
    enum { N = sizeof made / sizeof *made };
    for (int i = 0; i < N; i++) part_make(*state, made[i], i, (size_t)(i + 1) * 10);
    char *hidden = string_format("%s/.git", (char *)*state), *file = string_format("%s/c", (char *)*state);
    char *elsewhere = string_format("%s/zh_cn", (char *)*state), *link = string_format("%s/.git/zh_cn", (char *)*state);
    mkdir(hidden, 0777);
    file_write(file, "text", 4);
    assert_int_equal(rename(elsewhere, link), 0); /* a link to a directory is one */
    assert_int_equal(symlink(link, elsewhere), 0);
    struct mixture *m = open_with(*state, plain);
    assert_int_equal(mixture_parts(m), N);
    size_t windows = 0, bytes = 0;
    for (size_t i = 0; i < N; i++) {
        assert_string_equal(mixture_name(m, i), sorted[i]);
        assert_int_equal(loader_tokens(mixture_loader(m, i)), tokens[i]);
        assert_true(fabs(mixture_share(m, i) - (double)tokens[i] / 360) < 1e-15);
        windows += (tokens[i] - 1 + SEQ - 1) / SEQ;
        bytes += loader_bytes(mixture_loader(m, i));
    }
    assert_int_equal(mixture_tokens(m), 360);
    assert_int_equal(mixture_windows(m), windows);
    assert_int_equal(mixture_bytes(m), bytes);
    assert_int_equal(mixture_vocab(m), VOCAB);
    assert_true(mixture_tokenizer_hash(m) == HASH);
    mixture_close(m);
    free(hidden);
    free(file);
    free(elsewhere);
    free(link);
}

/* The rows of a part, in the order in which they come, are its loader's; reading from that one in between, or moving
 * it, changes nothing. */
static void rows_of_a_part_are_its_loaders(void **state) {
    enum { ROWS = 400 };
    struct error err;
    struct rows *mixed = rows_new(), *alone = rows_new();
    three_make(*state);
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        struct mixture_options o = plain;
        o.shuffle = shuffle;
        struct mixture *m = open_with(*state, o);
        for (int i = 0; i < ROWS; i += 8) {
            rows_take(m, mixed, i, 8, 3);
            struct loader *disturbed = mixture_loader(m, (size_t)i / 8 % PARTS);
            assert_true(loader_next(disturbed, 1, *alone->inputs, *alone->targets, &err));
            if (i % 3 == 0) loader_seek(disturbed, (uint64_t)i);
        }
        size_t all = 0;
        for (int k = 0; k < PARTS; k++) {
            const size_t served = mixture_served(m, (size_t)k);
            struct loader *l = mixture_loader(m, (size_t)k);
            assert_int_equal(loader_tokens(l), sizes[k]);
            loader_seek(l, 0);
            assert_true(loader_next(l, (int)served, *alone->inputs, *alone->targets, &err));
            size_t n = 0;
            for (int i = 0; i < ROWS; i++)
                if (part_of(mixed, i) == k) assert_true(n < served && row_same(mixed, i, alone, (int)n++));
            assert_int_equal(n, served);
            assert_true(served > loader_windows(l)); /* more than an epoch of each */
            all += served;
        }
        assert_int_equal(all, ROWS);
        assert_int_equal(mixture_position(m), ROWS);
        mixture_close(m);
    }
    free(mixed);
    free(alone);
}

/* Each window of a part once in each of its epochs, and every token but its first a target once. */
static void each_epoch_of_a_part_has_each_window_once(void **state) {
    struct rows *r = rows_new();
    three_make(*state);
    struct mixture *m = open_with(*state, plain);
    rows_take(m, r, 0, 2000, 64);
    for (int k = 0; k < PARTS; k++) {
        const size_t windows = loader_windows(mixture_loader(m, (size_t)k));
        int *seen = array_alloc(sizes[k], sizeof *seen);
        size_t n = 0;
        for (int i = 0; i < 2000; i++) {
            if (part_of(r, i) != k) continue;
            for (int t = 0; t < SEQ; t++) {
                assert_true(r->targets[i][t] == TARGET_NONE || r->targets[i][t] == r->inputs[i][t] + 1);
                if (r->targets[i][t] != TARGET_NONE) seen[r->targets[i][t] - k * STRIDE]++;
            }
            if (++n % windows > 0) continue;
            for (size_t t = 0; t < sizes[k]; t++) assert_int_equal(seen[t], t > 0 ? n / windows : 0);
        }
        assert_true(n >= 3 * windows);
        free(seen);
    }
    mixture_close(m);
    free(r);
}

static void calls_of_any_size_serve_the_same(void **state) {
    enum { ROWS = 500 };
    static const int steps[] = {1, 7, 64, ROWS};
    struct rows *r[2] = {rows_new(), rows_new()};
    three_make(*state);
    for (int i = 0; i < 4; i++) {
        struct mixture *m = open_with(*state, plain);
        rows_take(m, r[i > 0], 0, ROWS, steps[i]);
        assert_int_equal(mixture_position(m), ROWS);
        rows_same(r[0], r[i > 0], 0, ROWS);
        mixture_close(m);
    }
    free(r[0]);
    free(r[1]);
}

static void seek_is_having_served(void **state) {
    enum { ROWS = 600 };
    static const int places[] = {0, 1, 2, 331, 330, 599, 600, 7, 88, 88};
    struct rows *whole = rows_new(), *part = rows_new();
    three_make(*state);
    for (int weighted = 0; weighted < 2; weighted++) {
        struct mixture_options o = plain;
        o.weights = weighted ? "en=1,de=0,zh-cn=.25" : NULL;
        struct mixture *m = open_with(*state, o), *sought = open_with(*state, o);
        rows_take(m, whole, 0, ROWS, 10);
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            const int at = places[i], n = ROWS - at < 50 ? ROWS - at : 50;
            mixture_seek(sought, (uint64_t)at);
            assert_int_equal(mixture_position(sought), at);
            for (int k = 0; k < PARTS; k++) {
                size_t before = 0;
                for (int row = 0; row < at; row++) before += part_of(whole, row) == k;
                assert_int_equal(mixture_served(sought, (size_t)k), before);
            }
            rows_take(sought, part, at, n, 9);
            rows_same(part, whole, at, at + n);
            assert_int_equal(mixture_position(sought), at + n);
        }
        mixture_close(m);
        mixture_close(sought);
    }
    free(whole);
    free(part);
}

/* ---- Seeds ---- */

/* Another seed: other parts, and another order within them. */
static void seeds_differ(void **state) {
    enum { ROWS = 2000, SEEDS = 4 };
    struct rows *r[SEEDS];
    three_make(*state);
    for (int i = 0; i < SEEDS; i++) {
        struct mixture_options o = plain;
        o.seed = i < 2 ? (uint64_t)i : i == 2 ? UINT64_MAX : (uint64_t)1 << 32;
        struct mixture *m = open_with(*state, o);
        rows_take(m, r[i] = rows_new(), 0, ROWS, 8);
        mixture_close(m);
        for (int j = 0; j < i; j++) {
            int parts = 0, rows = 0;
            for (int row = 0; row < ROWS; row++) {
                parts += part_of(r[i], row) == part_of(r[j], row);
                rows += row_same(r[i], row, r[j], row);
            }
            /* By chance: of parts the squares of shares, 0.46 +- 0.011; of rows each by its windows, 0.014. */
            assert_true(abs(parts - 46 * ROWS / 100) < ROWS / 20);
            assert_true(rows < 60);
        }
    }
    for (int i = 0; i < SEEDS; i++) free(r[i]);
}

/* Which part comes follows from the seed, the row and the shares alone. */
static void draws_do_not_depend_on_the_text(void **state) {
    enum { ROWS = 500 };
    struct rows *r[2] = {rows_new(), rows_new()};
    for (int i = 0; i < 2; i++) {
        char *dir = string_format("%s/%d", (char *)*state, i);
        mkdir(dir, 0777);
        part_make(dir, i ? "x" : "a", 0, i ? 50 : 200);
        part_make(dir, i ? "y" : "b", 1, i ? 310 : 80);
        struct mixture_options o = plain;
        o.alpha = 0;
        struct mixture *m = open_with(dir, o);
        rows_take(m, r[i], 0, ROWS, 8);
        mixture_close(m);
        free(dir);
    }
    for (int row = 0; row < ROWS; row++) assert_int_equal(part_of(r[0], row), part_of(r[1], row));
    free(r[0]);
    free(r[1]);
}

/* Parallel corpora: the same places, yet each in an order of its own; text order is text order. */
static void parallel_parts_are_visited_in_different_orders(void **state) {
    enum { WINDOWS = 60, ROWS = WINDOWS };
    static const char *const twins[] = {"aa", "ab", "ba"};
    struct error err;
    struct rows *r[3];
    for (int k = 0; k < 3; k++) part_make(*state, twins[k], 0, WINDOWS * SEQ + 1);
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        struct mixture_options o = plain;
        o.shuffle = shuffle;
        struct mixture *m = open_with(*state, o);
        for (int k = 0; k < 3; k++) {
            r[k] = rows_new();
            struct loader *l = mixture_loader(m, (size_t)k);
            assert_true(loader_next(l, ROWS, *r[k]->inputs, *r[k]->targets, &err));
            for (int j = 0; j < k; j++) {
                int same = 0;
                for (int i = 0; i < ROWS; i++) same += row_same(r[k], i, r[j], i);
                assert_true(shuffle ? same < 10 : same == ROWS); /* by chance one */
            }
        }
        for (int k = 0; k < 3; k++) free(r[k]);
        mixture_close(m);
    }
}

/* ---- Shares ---- */

/* Counts of n draws against probabilities; of the cells that must stay empty not one may be hit. */
static void chi_square_check(const double *counts, const double *want, size_t cells, double n) {
    double sum = 0, freedom = -1;
    for (size_t i = 0; i < cells; i++) {
        if (want[i] == 0) assert_true(counts[i] == 0);
        else sum += (counts[i] - n * want[i]) * (counts[i] - n * want[i]) / (n * want[i]), freedom++;
    }
    if (freedom == 0) assert_true(sum == 0);
    /* Wilson and Hilferty; 3.7 standard deviations on the side of too much: one in ten thousand */
    const double s = sqrt(2 / (9 * freedom)), z = (cbrt(sum / freedom) - (1 - s * s)) / s;
    if (freedom > 0 && z > 3.7) fail_msg("chi square %g with %g degrees of freedom", sum, freedom);
}

static void shares_are_served(void **state) {
    enum { N = 5, DRAWS = 100003 };
    static const struct {
        double alpha;
        const char *weights;
        double want[N];
    } cases[] = {
        {1, NULL, {100, 400, 900, 1600, 25}}, {0.5, NULL, {10, 20, 30, 40, 5}}, {0, NULL, {1, 1, 1, 1, 1}},
        {2, NULL, {1e4, 16e4, 81e4, 256e4, 625}}, {1, "e=5,d=4,a=1,b=2,c=3", {1, 2, 3, 4, 5}},
        {0.5, "a=0,b=2e3,c=0,d=1000,e=0.0", {0, 2, 0, 1, 0}}, {0, "a=9,b=1,c=.5,d=0,e=+2.5", {9, 1, .5, 0, 2.5}},
        {1, "a=1e308,b=1e308,c=0,d=0,e=5e307", {2, 2, 0, 0, 1}}, {1, "a=0,b=0,c=0,d=0,e=1e-300", {0, 0, 0, 0, 1}},
        {1, "a=-0,b=1e-320,c=1e-320,d=0,e=0", {0, 1, 1, 0, 0}},
    };
    static const size_t tokens[N] = {100, 400, 900, 1600, 25};
    for (int k = 0; k < N; k++) part_make(*state, (char[]){(char)('a' + k), 0}, k, tokens[k]);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mixture_options o = plain;
        o.alpha = cases[i].alpha;
        o.weights = cases[i].weights;
        double sum = 0, want[N];
        for (int k = 0; k < N; k++) sum += cases[i].want[k];
        for (o.seed = 0; o.seed < 4; o.seed++) {
            struct mixture *m = open_with(*state, o);
            double counts[N];
            mixture_seek(m, DRAWS);
            for (size_t k = 0; k < N; k++) {
                want[k] = cases[i].want[k] / sum;
                counts[k] = (double)mixture_served(m, k);
                if (fabs(mixture_share(m, k) - want[k]) > 1e-12)
                    fail_msg("case %zu: a share of %g, want %g", i, mixture_share(m, k), want[k]);
            }
            chi_square_check(counts, want, N, DRAWS);
            mixture_close(m);
        }
    }
}

/* Draws of neighbouring rows, and of those further apart, are independent: pairs come as the product of shares. */
static void draws_are_independent(void **state) {
    enum { ROWS = 4096, PAIRS = PARTS * PARTS };
    static const int distances[] = {1, 2, 3, 8, 64, 256};
    struct rows *r = rows_new();
    three_make(*state);
    struct mixture *m = open_with(*state, plain);
    rows_take(m, r, 0, ROWS, 64);
    for (size_t d = 0; d < sizeof distances / sizeof *distances; d++) {
        double counts[PAIRS] = {0}, want[PAIRS];
        for (size_t i = 0; i < PAIRS; i++) want[i] = mixture_share(m, i / PARTS) * mixture_share(m, i % PARTS);
        for (int i = distances[d]; i < ROWS; i++) counts[part_of(r, i) * PARTS + part_of(r, i - distances[d])]++;
        chi_square_check(counts, want, PAIRS, ROWS - distances[d]);
    }
    mixture_close(m);
    free(r);
}

/* A part of weight 0 is not served, but can be read for validation. */
static void a_part_without_weight_is_there(void **state) {
    struct error err;
    struct rows *r = rows_new();
    three_make(*state);
    struct mixture_options o = plain;
    o.weights = "zh-cn=0,de=1,en=0";
    struct mixture *m = open_with(*state, o);
    rows_take(m, r, 0, 300, 20);
    for (int i = 0; i < 300; i++) assert_int_equal(part_of(r, i), 0);
    assert_int_equal(mixture_served(m, 0), 300);
    assert_int_equal(mixture_served(m, 2), 0);
    assert_true(mixture_share(m, 0) == 1 && mixture_share(m, 1) == 0 && mixture_share(m, 2) == 0);
    assert_int_equal(mixture_tokens(m), sizes[0] + sizes[1] + sizes[2]);
    assert_true(loader_next(mixture_loader(m, 2), 10, *r->inputs, *r->targets, &err));
    for (int i = 0; i < 10; i++) assert_int_equal(part_of(r, i), 2);
    mixture_close(m);
    free(r);
}

/* ---- Hash and memory ---- */

static uint64_t hash_of(const char *dir, struct mixture_options o) {
    struct mixture *m = open_with(dir, o);
    const uint64_t hash = mixture_data_hash(m);
    mixture_close(m);
    return hash;
}

/* Of every part, by name; not of how it is served. */
static void data_hash_sees_names_and_tokens(void **state) {
    static const struct {
        const char *names[PARTS];
        int texts[PARTS];
    } corpora[] = {
        {{"a", "b", "c"}, {1, 2, 3}}, {{"a", "b", "d"}, {1, 2, 3}}, {{"A", "b", "c"}, {1, 2, 3}},
        {{"a", "b", "cc"}, {1, 2, 3}},
        {{"a", "b", "c"}, {2, 1, 3}}, {{"a", "b", "c"}, {1, 3, 2}}, {{"a", "b", "c"}, {4, 2, 3}},
        {{"a", "b", "c"}, {1, 4, 3}}, {{"a", "b", "c"}, {1, 2, 4}}, {{"a", "b", "b"}, {1, 2, 2}},
        {{"a", "a", "a"}, {1, 1, 1}}, {{"b", "b", "b"}, {2, 2, 2}},
    };
    enum { N = sizeof corpora / sizeof *corpora };
    uint64_t hashes[N];
    for (int i = 0; i < N; i++) {
        char *dir = string_format("%s/%d", (char *)*state, i);
        mkdir(dir, 0777);
        for (int k = 0; k < PARTS; k++) part_make(dir, corpora[i].names[k], corpora[i].texts[k], 100);
        hashes[i] = hash_of(dir, plain);
        for (int j = 0; j < i; j++) assert_true(hashes[i] != hashes[j]);
        struct mixture_options o = {.seq = 3, .seed = 99, .alpha = 0.5};
        assert_true(hash_of(dir, o) == hashes[i]);
        o.weights = "a=1,b=0,c=2";
        if (i == 0) assert_true(hash_of(dir, o) == hashes[i]);
        free(dir);
    }
}

/* One loader's slot, then all of the blocks where they fit, else each part its share of the cache. */
static void the_cache_is_shared(void **state) {
    enum { BLOCKS = 9 };
    static const size_t blocks[PARTS] = {2, 1, 6};
    three_make(*state);
    struct loader *l = loader_at(*state, "en", true, 0, 0);
    const size_t slot = loader_bytes(l);
    loader_close(l);
    for (int k = 0; k < PARTS; k++) { /* two shards each, none full */
        const size_t n = blocks[k] == 1 ? 100 : SHARD_BLOCK * blocks[k] - SHARD_BLOCK / 4;
        char *path = string_format("%s/%s/train-00000.shard", (char *)*state, names[k]);
        int32_t *tokens = array_alloc(n, sizeof *tokens);
        shard_make(path, VOCAB, tokens, n, HASH);
        free(tokens);
        free(path);
        path = string_format("%s/%s/train-00001.shard", (char *)*state, names[k]);
        unlink(path);
        free(path);
    }
    static const struct {
        size_t slots;
        int more; /* bytes */
        const char *weights;
        size_t want[PARTS];
    } cases[] = {
        {BLOCKS, 0, NULL, {2, 1, 6}}, {1000, 0, NULL, {2, 1, 6}}, {0, 0, NULL, {1, 1, 1}},
        {BLOCKS, -1, NULL, {1, 1, 5}}, {5, 0, NULL, {1, 1, 3}}, {7, 0, "de=0,en=0,zh-cn=1", {1, 1, 6}},
        {5, 0, "de=0,en=0,zh-cn=1", {1, 1, 5}}, {2, 0, "de=2,en=0,zh-cn=0", {2, 1, 1}},
        {6, 0, "de=1,en=0,zh-cn=9", {1, 1, 4}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mixture_options o = plain;
        o.cache_bytes = cases[i].slots * slot + (size_t)cases[i].more;
        o.weights = cases[i].weights;
        struct mixture *m = open_with(*state, o);
        size_t all = 0;
        for (size_t k = 0; k < PARTS; all += cases[i].want[k++])
            if (loader_bytes(mixture_loader(m, k)) != cases[i].want[k] * slot)
                fail_msg("case %zu: part %zu keeps %zu bytes", i, k, loader_bytes(mixture_loader(m, k)));
        assert_int_equal(mixture_bytes(m), all * slot);
        mixture_close(m);
    }
}

/* ---- Bad input ---- */

static void refuse(const char *dir, struct mixture_options o, int code, const char *says, const char *remedy) {
    struct error err = {0, ""};
    assert_null(mixture_open(dir, "train", &o, &err));
    if (err.code != code || !strstr(err.text, says) || !strstr(err.text, remedy) || strchr(err.text, '\n'))
        fail_msg("%d '%s', want %d '%s' '%s'", err.code, err.text, code, says, remedy);
}

static void weights_that_do_not_fit_are_refused(void **state) {
    static const struct {
        const char *weights, *says, *remedy;
    } cases[] = {
        {"de=1,en=1,fr=1", "no part has this name (got 'fr', want one of: de, en, zh-cn)", "; correct it"},
        {"e=1,de=1,en=1,zh-cn=1", "(got 'e', want", "; correct it"},
        {"enn=1,de=1,en=1,zh-cn=1", "(got 'enn', want", "; correct it"},
        {"de=1,EN=1,zh-cn=1", "(got 'EN', want", "; correct it"},
        {" de=1,en=1,zh-cn=1", "(got ' de', want", "; correct it"},
        {"=1,de=1,en=1,zh-cn=1", "(got '', want", "; correct it"},
        {"de=1,en=1", "zh-cn is left out (got 'de=1,en=1', want all 3 parts)", "; add zh-cn=1, or zh-cn=0"},
        {"en=1,zh-cn=1", "de is left out", "; add de=1, or de=0"},
        {"de=0,zh-cn=1", "en is left out", "; add en=1, or en=0"},
        {"de=1,en=1,zh-cn=1,en=1", "en is named twice", "; leave one weight"},
        {"de=0,de=0,en=1,zh-cn=1", "de is named twice", "; leave one weight"},
        {"de=1,en=-1,zh-cn=1", "not a weight of en (got '-1', want a number of at least 0)", "; write it as in en=1"},
        {"de=-1e-300,en=1,zh-cn=1", "not a weight of de (got '-1e-300'", "de=1"},
        {"de=1,en=inf,zh-cn=1", "not a weight of en (got 'inf'", "en=1"},
        {"de=1,en=1,zh-cn=nan", "not a weight of zh-cn (got 'nan'", "zh-cn=1"},
        {"de=1,en=1e999,zh-cn=1", "not a weight of en (got '1e999'", "en=1"},
        {"de=1,en=1e-999,zh-cn=1", "not a weight of en (got '1e-999'", "en=1"},
        {"de=1,en=0x1,zh-cn=1", "not a weight of en (got '0x1'", "en=1"},
        {"de=1,en=,zh-cn=1", "not a weight of en (got ''", "en=1"},
        {"de=1,en=1%,zh-cn=1", "not a weight of en (got '1%'", "en=1"},
        {"de=1,en=1=1,zh-cn=1", "not a weight of en (got '1=1'", "en=1"},
        {"de=1,en= 1,zh-cn=1", "not a weight of en (got ' 1'", "en=1"},
        {"de=1,en,zh-cn=1", "not a pair (got 'en', want NAME=NUMBER)", "; write it as in en=2,de=1"},
        {"de=1;en=1,zh-cn=1", "not a weight of de (got '1;en=1'", "de=1"},
        {"de:1,en:1,zh-cn:1", "not a pair (got 'de:1'", "en=2,de=1"},
        {"", "not a pair (got ''", "en=2,de=1"},
        {"de=1,en=1,zh-cn=1,", "not a pair (got ''", "en=2,de=1"},
        {",de=1,en=1,zh-cn=1", "not a pair (got ''", "en=2,de=1"},
        {"de=0,en=0.0,zh-cn=0e5", "all are zero", "; give one part at least"},
    };
    three_make(*state);
    struct mixture_options o = plain;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        o.weights = cases[i].weights;
        refuse(*state, o, EXIT_USAGE, cases[i].says, cases[i].remedy);
        refuse(*state, o, EXIT_USAGE, "--part-weights: ", cases[i].remedy);
    }
}

static void weights_need_parts(void **state) {
    part_make(*state, ".", 0, 100);
    struct mixture_options o = plain;
    for (int i = 0; i < 3; i++) {
        o.weights = (const char *[]){"en=1", "", "=1"}[i];
        refuse(*state, o, EXIT_USAGE, "--part-weights: this corpus has no parts", "; name its parts, as in en=PATH");
    }
    char *dir = string_format("%s/c", (char *)*state);
    mkdir(dir, 0777);
    part_make(dir, "en", 0, 100);
    struct mixture *m = open_with(dir, (struct mixture_options){.seq = SEQ, .weights = "en=7"});
    assert_true(mixture_share(m, 0) == 1);
    mixture_close(m);
    free(dir);
}

/* However many parts there are, and however long what the user wrote, the end of the message is there. */
static void long_messages_keep_their_remedy(void **state) {
    char name[61], weights[3000];
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "%060d", i);
        part_make(*state, name, 0, 20);
    }
    struct mixture_options o = {.seq = SEQ, .weights = weights};
    memset(weights, 'x', sizeof weights);
    strcpy(weights + sizeof weights - 4, "=1");
    refuse(*state, o, EXIT_USAGE, " more); correct it", "00001, 0000");
    strcpy(weights + sizeof weights - 4, "xxx");
    refuse(*state, o, EXIT_USAGE, "want NAME=NUMBER", "; write it as in en=2,de=1");
    sprintf(weights, "%060d=%01999d", 0, 1);
    refuse(*state, o, EXIT_USAGE, "is left out (got '000", "=0 not to train on it");
    char *at = weights;
    for (int i = 0; i < 40; i++) at += sprintf(at, "%s%060d=0", i ? "," : "", i);
    refuse(*state, o, EXIT_USAGE, "all are zero (got '000", "; give one part at least");
}

/* Each with the directory of its part. */
static void parts_that_cannot_be_served_are_named(void **state) {
    three_make(*state);
    char *part = string_format("%s/en", (char *)*state), *shard = string_format("%s/train-00001.shard", part);
    char *says = string_format("%s: the train text is too short for one sequence (got 52 tokens, want", part);
    struct mixture_options o = plain;
    o.seq = 52;
    refuse(*state, o, EXIT_INPUT, says, "; add text or lower --seq");
    o.weights = "de=1,en=0,zh-cn=1"; /* held-out text of it is wanted all the same */
    refuse(*state, o, EXIT_INPUT, says, "; add text or lower --seq");
    o.seq = 51;
    o.weights = NULL;
    mixture_close(open_with(*state, o));
    shard_make(shard, VOCAB, (int32_t[]){1, 2, 3}, 3, HASH + 1);
    refuse(*state, plain, EXIT_MISMATCH, shard, "; prepare the text again"); /* within a part */
    unlink(shard);
    char *first = string_format("%s/train-00000.shard", part);
    for (int i = 0; i < 2; i++) { /* another vocabulary, another hash */
        shard_make(first, VOCAB - !i, (int32_t[]){1, 2, 3, 4, 5, 6, 7, 8}, 8, HASH + (uint64_t)i);
        refuse(*state, plain, EXIT_MISMATCH, part, "/en: made with another tokenizer than de (got ");
    }
    free(first);
    file_write(shard, "nonsense", 8);
    refuse(*state, plain, EXIT_INPUT, shard, "");
    unlink(shard);
    free(shard);
    shard = string_format("%s/train-00000.shard", part);
    unlink(shard);
    refuse(*state, plain, EXIT_INPUT, part, "/en: holds no train-*.shard; prepare the text again");
    char *nothing = string_format("%s/.empty", (char *)*state);
    mkdir(nothing, 0777);
    refuse(nothing, plain, EXIT_INPUT, nothing, "holds no train-*.shard");
    refuse("/nonexistent", plain, EXIT_INPUT, "/nonexistent: cannot read this directory", "");
    refuse(shard, plain, EXIT_INPUT, shard, "cannot read this directory");
    free(nothing);
    free(says);
    free(shard);
    free(part);
}

/* A damaged block is told when it is read; what was served before counts, what failed does not. */
static void a_damaged_part_stops_the_stream(void **state) {
    struct error err = {0, ""};
    struct rows *r = rows_new();
    three_make(*state);
    char *path = string_format("%s/en/train-00000.shard", (char *)*state);
    size_t size;
    char *data = file_read(path, &size);
    data[80] ^= 1;
    file_write(path, data, size);
    struct mixture *m = open_with(*state, plain);
    assert_false(mixture_next(m, MOST_ROWS, *r->inputs, *r->targets, &err));
    assert_int_equal(err.code, EXIT_INPUT);
    assert_non_null(strstr(err.text, path));
    const uint64_t position = mixture_position(m);
    assert_true(position > 0 && position < 200); /* it has a twelfth of all rows */
    uint64_t served = 0;
    for (size_t k = 0; k < PARTS; k++) served += mixture_served(m, k);
    assert_int_equal(served, position);
    assert_false(mixture_next(m, 1, *r->inputs, *r->targets, &err));
    assert_int_equal(mixture_position(m), position);
    mixture_close(m);
    free(data);
    free(path);
    free(r);
}

/* The split that is asked for, and no other. */
static void splits_are_apart(void **state) {
    struct error err;
    three_make(*state);
    for (int k = 0; k < PARTS; k++) split_make(*state, names[k], "val", k, 20 + (size_t)k);
    struct mixture *m = mixture_open(*state, "val", &plain, &err);
    assert_non_null(m);
    assert_int_equal(mixture_tokens(m), 63);
    for (size_t k = 0; k < PARTS; k++) {
        assert_int_equal(loader_tokens(mixture_loader(m, k)), 20 + k);
        assert_true(fabs(mixture_share(m, k) - (20 + (double)k) / 63) < 1e-15);
    }
    mixture_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(one_part_is_its_loader),
        TEST(a_directory_with_shards_is_one_part),
        TEST(parts_are_in_the_order_of_their_names),
        TEST(rows_of_a_part_are_its_loaders),
        TEST(each_epoch_of_a_part_has_each_window_once),
        TEST(calls_of_any_size_serve_the_same),
        TEST(seek_is_having_served),
        TEST(seeds_differ),
        TEST(draws_do_not_depend_on_the_text),
        TEST(parallel_parts_are_visited_in_different_orders),
        TEST(shares_are_served),
        TEST(draws_are_independent),
        TEST(a_part_without_weight_is_there),
        TEST(data_hash_sees_names_and_tokens),
        TEST(the_cache_is_shared),
        TEST(weights_that_do_not_fit_are_refused),
        TEST(weights_need_parts),
        TEST(long_messages_keep_their_remedy),
        TEST(parts_that_cannot_be_served_are_named),
        TEST(a_damaged_part_stops_the_stream),
        TEST(splits_are_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
