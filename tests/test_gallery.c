/* build/gallery: what a tiny masked model says of held-out pictures against one forward after another, and the program
 * as its user runs it. The numbers that are made of it, and the page: test_gallery_numbers.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>

#include "../data/pictures.h"
#include "../src/base/text.h"
#include "prose.h"
#include "runs.h"
#include "study/gallery.h"

enum { SIZE = 12, PATCH = 4, SIDE = SIZE / PATCH, P = SIDE * SIDE, SEQ = P + 16, PICTURES = 220 };

/* ---- Runs to look at ---- */

#define MASKED                                                                                                      \
    "train --task masked pictures --patch 4 --codes 17 --vocab 320 --seq 25 --layers 2 --moe-every 1 --channels 12" \
    " --attn-heads 3 --experts 5 --topk 2 --expert-hidden 7 --batch 3 --warmup 1 --lr 0.01 --eval-every 7"          \
    " --cache cache --steps 7 "

static const char *const colours[] = {"red", "green", "blue & white", "grey"};
static const char *const shapes[] = {"dot", "<b>line</b>", "\"square\"", "ring"};

static void picture_save(size_t i) {
    struct error err;
    struct rng rng;
    struct picture p = {SIZE, SIZE, array_alloc(SIZE * SIZE, 3)};
    char *path = string_format("pictures/p%03zu.png", i);
    rng_seed(&rng, i, 1);
    for (size_t at = 0; at < SIZE * SIZE * 3; at++) /* the left third is blank */
        p.rgb[at] = at / 3 % SIZE < PATCH ? 200 : (unsigned char)(i % 16 * 12 + rng_below(&rng, 40));
    if (!picture_write(path, &p, &err)) fail_msg("%s", err.text);
    free(path);
    free(p.rgb);
}

/* Most have two English captions, and one in German before them; every ninth has no English one. */
static void folder_make(void) {
    run("mkdir pictures");
    FILE *captions = fopen("pictures/captions.tsv", "w");
    assert_non_null(captions);
    for (size_t i = 0; i < PICTURES; i++) {
        const char *colour = colours[i % 4], *shape = shapes[i / 4 % 4];
        picture_save(i);
        fprintf(captions, "p%03zu.png\tein %s %s\tde\n", i, shape, colour);
        if (i % 9 == 4) continue;
        fprintf(captions, "p%03zu.png\ta %s%s %s\ten\n", i, i % 3 ? "" : "very ", colour, shape);
        if (i % 2) fprintf(captions, "p%03zu.png\tanother one\ten\n", i);
    }
    assert_int_equal(fclose(captions), 0);
}

static char repository[4096];

static int runs_make(void **state) {
    (void)state;
    if (!getcwd(repository, sizeof repository) || !workplace_enter()) return -1;
    folder_make();
    run(MASKED "--moe-heads 3 --out 'runs/a<b&c' --until 4");
    run("cp 'runs/a<b&c/last.safetensors' early.safetensors; train --resume 'runs/a<b&c'");
    run(MASKED "--ffn smoe --out runs/smoe");
    run(MASKED "--ffn dense --out runs/dense");
    return 0;
}

/* A model of a run, with noise on its weights: after so few steps most of what it says is alike. */
struct opened {
    struct checkpoint c;
    struct model model;
    tokenizer *tokenizer;
    struct masked k;
    char *dir;
};

static struct opened *run_open(const char *path, size_t batch) {
    struct opened *o = array_alloc(1, sizeof *o);
    struct error err;
    struct rng rng;
    const struct model_setup setup = {MODEL_INFER, batch, false, STORAGE_F32};
    if (!checkpoint_open(&o->c, path, &err) || !model_load(&o->model, &o->c, setup, &err) ||
        !(o->tokenizer = tokenizer_from_checkpoint(&o->c, &err)) ||
        !masked_open(&o->k, &o->model, o->tokenizer, &o->c, &err))
        fail_msg("%s", err.text);
    rng_seed(&rng, 3, 12345);
    for (size_t i = 0; i < o->model.n_parameters; i++) o->model.param_memory[i] += (real)(0.3 * rng_normal(&rng));
    model_pack(&o->model);
    o->dir = text_unescape(metadata(&o->c, "data_dir"));
    return o;
}

static void run_close(struct opened *o) {
    masked_close(&o->k);
    model_destroy(&o->model);
    tokenizer_free(o->tokenizer);
    checkpoint_close(&o->c);
    free(o->dir);
    free(o);
}

#define RUN "runs/a<b&c/last.safetensors"

static struct gallery gallery_open(const struct opened *o, const char *language, size_t most, size_t shown) {
    struct gallery g;
    struct error err;
    const struct gallery_options options = {o->dir, language, most, SEQ - P, shown};
    if (!gallery_read(&g, &options, o->tokenizer, &err)) fail_msg("%s", err.text);
    return g;
}

/* ---- Which pictures ---- */

/* The bytes of tokens. */
static char *bytes_of(const tokenizer *t, const int32_t *tokens, size_t n) {
    char *text = string_format("%s", "");
    for (size_t i = 0; i < n; i++) {
        size_t size;
        const char *bytes = tokenizer_piece(t, tokens[i], &size);
        string_append(&text, "%.*s", (int)size, bytes);
    }
    return text;
}

/* Item number i of g is record r. */
static void item_check(const struct gallery *g, size_t i, const struct album_record *r, const tokenizer *t,
                       const struct album_text *text, size_t room) {
    const struct item *item = &g->items[i];
    const size_t n = text->n < room ? text->n : room;
    char *caption = bytes_of(t, text->tokens + text->prefix, n - text->prefix);
    assert_true(i < g->n);
    assert_string_equal(item->name, r->name);
    assert_string_equal(item->caption, caption + 1); /* the space behind "en:" */
    assert_int_equal(item->n, n);
    assert_int_equal(item->prefix, text->prefix);
    assert_memory_equal(item->tokens, text->tokens, n * sizeof *text->tokens);
    assert_memory_equal(item->pixels, r->pixels, SIZE * SIZE * 3);
    free(caption);
}

/* Takes every record that has a caption in the language, or of `most` of them those at i * count / most. */
static void pictures_check(const struct opened *o, const char *language, size_t most, size_t room) {
    struct gallery g;
    struct error err;
    struct album_record r;
    struct album *a = album_open(o->dir, "val", 1 << 20, &err);
    char *name = string_format("%s:", language);
    assert_non_null(a);
    const struct gallery_options options = {o->dir, language, most, room, 4};
    if (!gallery_read(&g, &options, o->tokenizer, &err)) fail_msg("%s", err.text);
    size_t seen = 0, taken = 0;
    for (size_t i = 0; i < album_records(a); i++) {
        assert_true(album_read(a, i, &r, &err));
        for (size_t k = 0; k < r.n_texts; k++) {
            char *its = bytes_of(o->tokenizer, r.texts[k].tokens, r.texts[k].prefix);
            const bool found = strcmp(its, name) == 0;
            free(its);
            if (!found) continue;
            if (taken < g.n && seen == taken * g.held_out / g.n)
                item_check(&g, taken++, &r, o->tokenizer, &r.texts[k], room);
            seen++;
            break;
        }
    }
    assert_int_equal(seen, g.held_out);
    assert_int_equal(taken, seen < most ? seen : most);
    assert_int_equal(g.n, taken);
    assert_int_equal(g.P, P);
    assert_int_equal(g.shown, 4);
    free(name);
    album_close(a);
    gallery_free(&g);
}

static void test_pictures(void **state) {
    (void)state;
    struct opened *o = run_open(RUN, 1);
    struct gallery g;
    struct error err;
    pictures_check(o, "en", 1000, SEQ - P);
    pictures_check(o, "de", 1000, SEQ - P);
    pictures_check(o, "en", 7, SEQ - P);
    pictures_check(o, "en", 1000, 9);
    struct gallery_options few[] = {{o->dir, "xx", 1000, SEQ - P, 4}, {o->dir, "en", 4, SEQ - P, 4},
                                    {o->dir, "en", 1000, 2, 4}, {o->dir, "", 1000, SEQ - P, 4}};
    for (size_t i = 0; i < sizeof few / sizeof *few; i++) {
        assert_false(gallery_read(&g, &few[i], o->tokenizer, &err));
        assert_int_equal(err.code, EXIT_INPUT);
        assert_non_null(strstr(err.text, "too few held-out pictures"));
        gallery_free(&g);
    }
    run_close(o);
}

/* An album of records made here: n pictures whose captions begin with `prefix`, of which `different` differ, and a text
 * alone, or without pictures that alone. */
static void album_make(const char *dir, const tokenizer *t, size_t n, size_t different, const char *prefix) {
    struct error err;
    const size_t size = n > 0 ? SIZE : 0, patch = n > 0 ? PATCH : 0, codes = n > 0 ? 17 : 0;
    const struct album_shape shape = {tokenizer_vocab(t), size, patch, codes, tokenizer_hash(t), n > 0};
    char *path = string_format("%s/val.album", dir);
    unsigned char pixels[SIZE * SIZE * 3] = {0};
    const int32_t none[P] = {0};
    assert_true(directory_make(dir, &err));
    struct album_writer *w = album_create(path, &shape, &err);
    for (size_t i = 0; i <= n; i++) {
        char *words = string_format("%s%zu caf\xc3\xa9s", *prefix ? " " : "", i % different);
        char *name = i < n ? string_format("p\xff%zu.png", i) : string_format("%s", "");
        struct album_text text = {0};
        int32_t *tokens = NULL;
        size_t count = 0, capacity = 0;
        tokenizer_encode(t, prefix, i < n ? strlen(prefix) : 0, &tokens, &count, &capacity);
        text.prefix = count;
        tokenizer_encode(t, words, strlen(words), &tokens, &count, &capacity);
        tokens = array_grow(tokens, &capacity, count + 1, sizeof *tokens);
        tokens[count++] = tokenizer_end_of_text(t);
        text.tokens = tokens;
        text.n = count;
        const struct album_record record = {i < n ? pixels : NULL, i < n ? none : NULL, &text, 1, i, name};
        if (!album_append(w, &record, &err)) fail_msg("%s", err.text);
        free(tokens);
        free(words);
        free(name);
    }
    assert_true(album_finish(w, true, &err));
    free(path);
}

static void few_expect(const struct gallery_options *o, const tokenizer *t, const char *says) {
    struct gallery g;
    struct error err = {0, ""};
    assert_false(gallery_read(&g, o, t, &err));
    assert_int_equal(err.code, EXIT_INPUT);
    if (!strstr(err.text, says)) fail_msg("'%s' does not say '%s'", err.text, says);
    gallery_free(&g);
}

/* Texts alone are none of them, and a caption has room for a token and its end, or is none. */
static void test_captions(void **state) {
    (void)state;
    struct opened *o = run_open(RUN, 1);
    struct gallery g;
    struct error err;
    struct gallery_options options = {"hand\xff", "", 100, SEQ - P, 100};
    size_t cut = 0;
    album_make(options.dir, o->tokenizer, 7, 7, "");
    for (options.room = 2; options.room < 14; options.room++) {
        if (!gallery_read(&g, &options, o->tokenizer, &err)) fail_msg("%s", err.text);
        assert_true(g.n == 7 && g.held_out == 7 && g.shown == 7);
        assert_true(text_is_utf8(g.name) && text_is_utf8(g.items[0].name));
        for (size_t i = 0; i < g.n; i++) {
            assert_true(text_is_utf8(g.items[i].caption));
            cut += strstr(g.items[i].caption, "\xef\xbf\xbd") != NULL; /* half a letter is told, not dropped */
        }
        gallery_free(&g);
    }
    assert_true(cut > 0);
    options.room = 1;
    few_expect(&options, o->tokenizer, "(got 0 of 0 with different captions, want at least 5)");
    int32_t *prefix = NULL;
    size_t n = 0, capacity = 0;
    tokenizer_encode(o->tokenizer, "en:", 3, &prefix, &n, &capacity);
    free(prefix);
    options.language = "en";
    for (size_t different = 4; different <= 5; different++) {
        album_make(options.dir, o->tokenizer, 9, different, "en:");
        options.room = SEQ - P;
        if (different == 4)
            few_expect(&options, o->tokenizer, "hand\xff: too few held-out pictures to choose from (got 4 of 9 with "
                       "different captions, want at least 5); raise --pictures");
        else {
            options.room = n + 2;
            assert_true(gallery_read(&g, &options, o->tokenizer, &err) && g.n == 9);
            gallery_free(&g);
        }
    }
    options.room = n + 1;
    few_expect(&options, o->tokenizer, "(got 0 of 0 ");
    run_close(o);
}

/* What is no album of pictures, or none at all. */
static void test_albums_refused(void **state) {
    (void)state;
    struct opened *o = run_open(RUN, 1);
    const struct gallery_options options = {"refused", "", 100, SEQ - P, 100};
    few_expect(&options, o->tokenizer, "refused/val.album: cannot ");
    album_make(options.dir, o->tokenizer, 0, 1, "");
    few_expect(&options, o->tokenizer, "too few held-out pictures");
    album_make(options.dir, o->tokenizer, 7, 7, "");
    run("printf xxxxxxxxxxxxxxxx | dd of=refused/val.album bs=1 seek=$(($(stat -c %%s refused/val.album) / 2)) "
        "conv=notrunc");
    few_expect(&options, o->tokenizer, "refused/val.album: ");
    run_close(o);
}

/* As many as the page shows, in their order, spread evenly. */
static void test_shown(void **state) {
    (void)state;
    const struct gallery g = {.n = 11, .shown = 4};
    const size_t want[] = {0, 2, 5, 8};
    for (size_t i = 0; i < 4; i++) assert_int_equal(gallery_shown(&g, i), want[i]);
}

/* ---- What a model says ---- */

/* -log softmax of n logits at `target`, and which is the likeliest. */
static double loss_plain(const real *logits, size_t n, size_t target, size_t *likeliest) {
    double high = -INFINITY, sum = 0;
    *likeliest = n;
    for (size_t i = 0; i < n; i++) {
        if (!((double)logits[i] > high)) continue;
        high = (double)logits[i];
        *likeliest = i;
    }
    for (size_t i = 0; i < n; i++) sum += exp((double)logits[i] - high);
    return high + log(sum) - (double)logits[target];
}

/* log p of token `at` of a text where it alone is hidden: one forward of one sequence. */
static double token_score(struct model *m, const unsigned char *pixels, const struct item *text, size_t at) {
    int32_t tokens[SEQ], positions[SEQ], ends[SEQ], offsets[2] = {0, 0};
    real patches[P * PATCH * PATCH * 3];
    size_t rows = 0, likeliest;
    for (size_t p = 0; pixels && p < P; p++) {
        for (size_t q = 0; q < PATCH * PATCH * 3; q++) {
            const size_t y = p / SIDE * PATCH + q / 3 / PATCH, x = p % SIDE * PATCH + q / 3 % PATCH;
            patches[p * PATCH * PATCH * 3 + q] = (real)(pixels[(y * SIZE + x) * 3 + q % 3] / 127.5 - 1);
        }
        positions[rows] = (int32_t)p;
        tokens[rows++] = TOKEN_PATCH;
    }
    const size_t row = rows + at, room = pixels ? SEQ - P : text->n; /* beside a picture all, the rest of it hidden */
    for (size_t i = 0; i < room; i++) {
        positions[rows] = (int32_t)(P + i);
        tokens[rows++] = i == at || i >= text->n ? TOKEN_HIDDEN : text->tokens[i];
    }
    for (size_t r = 0; r < rows; r++) ends[r] = (int32_t)rows;
    offsets[1] = (int32_t)rows;
    model_forward(m, &(struct batch){.B = 1, .T = rows, .tokens = tokens, .offsets = offsets, .positions = positions,
                                     .ends = ends, .patches = pixels ? patches : NULL});
    return -loss_plain(model_logits(m, row), m->sizes.V, (size_t)text->tokens[at], &likeliest);
}

static double text_score(struct model *m, const unsigned char *pixels, const struct item *text) {
    double sum = 0;
    for (size_t at = text->prefix; at < text->n; at++) sum += token_score(m, pixels, text, at);
    return sum;
}

/* Sums of a few logarithms of numbers that are rounded at 1e-7. */
static void expect_close(double got, double want) { expect_near(got, want, 1e-4 * fmax(1, fabs(want))); }

static void test_scores(void **state) {
    (void)state;
    struct opened *o = run_open(RUN, 5);
    struct gallery g = gallery_open(o, "en", 7, 1);
    struct subject s = {.sizes = o->model.sizes};
    double least = INFINITY, most = -INFINITY;
    scores_look(&s, &o->k, &g);
    for (size_t i = 0; i < g.n; i++) {
        expect_close(s.alone[i], text_score(&o->model, NULL, &g.items[i]));
        for (size_t j = 0; j < g.n; j++) {
            const double want = text_score(&o->model, g.items[j].pixels, &g.items[i]);
            expect_close(s.scores[i * g.n + j], want);
            expect_close(masked_score(&o->k, g.items[j].pixels, g.items[i].tokens, g.items[i].n, g.items[i].prefix),
                         want);
            if (i > 0) continue;
            least = fmin(least, want);
            most = fmax(most, want);
        }
    }
    assert_true(most - least > 0.01); /* the picture matters */
    subject_free(&s, &g);
    gallery_free(&g);
    run_close(o);
}

static struct feed *feed_of(const struct opened *o) {
    struct error err;
    const struct feed_options options = {
        .masked = true,
        .examples = {.seq = SEQ, .hide_patches = 0.4, .hide_text = 0.15, .hide_caption = 0.5, .cache_bytes = 1 << 20}};
    struct feed *f = feed_open(o->dir, "val", &options, &err);
    if (!f) fail_msg("%s", err.text);
    return f;
}

/* Every example by itself, every hidden row by its logits. */
static void test_fills(void **state) {
    (void)state;
    struct opened *o = run_open(RUN, 5);
    struct feed *f = feed_of(o);
    struct subject s = {0};
    struct error err;
    struct filled want[4] = {{0}};
    struct batch b;
    const uint32_t *parts;
    size_t right = 0, n = 0;
    assert_true(fills_look(&s, &o->k, f, &err));
    for (size_t i = 0; i < feed_epoch(f); i++) {
        assert_true(feed_look(f, 0, i, 1, &b, &parts, &err));
        model_forward(&o->model, &b);
        for (size_t r = 0; r < batch_rows(&b); r++) {
            if (b.targets[r] == TARGET_NONE) continue;
            const size_t V = o->model.sizes.V, code = b.targets[r] >= (int32_t)V ? V : 0;
            size_t likeliest;
            struct filled *w = &want[parts[r]];
            w->loss += loss_plain(model_logits(&o->model, r), code ? 17 : V, (size_t)b.targets[r] - code, &likeliest);
            w->right += likeliest == (size_t)b.targets[r] - code;
            w->n++;
        }
    }
    assert_int_equal(s.kinds, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(s.filled[i].kind, feed_part_name(f, i));
        assert_int_equal(s.filled[i].n, want[i].n);
        assert_int_equal(s.filled[i].right, want[i].right);
        expect_near(s.filled[i].loss, want[i].loss, 1e-5 * want[i].loss);
        right += want[i].right;
        n += want[i].n;
    }
    assert_true(right > 0 && right < n);
    feed_close(f);
    free(s.filled);
    run_close(o);
}

/* The picks of one sequence, layer by layer. */
struct heard {
    int32_t picks[2 * SEQ * 3 * 2];
    size_t N;
};

static void picks_hear(void *context, size_t lm, const int32_t *picks, size_t N) {
    struct heard *h = context;
    h->N = N;
    memcpy(h->picks + lm * SEQ * 6, picks, N * 2 * sizeof *picks);
}

/* One picture and its caption at a time, nothing hidden. */
static void picks_check(const struct subject *s, const struct gallery *g, size_t i,
                        const struct heard *h) {
    const size_t H = s->sizes.H, K = 2, E = 5, n = g->n;
    assert_int_equal(h->N, SEQ * H);
    for (size_t lm = 0; lm < 2; lm++) {
        double counts[2][5] = {{0}};
        const int32_t *picks = h->picks + lm * SEQ * 6;
        for (size_t a = 0; a < (P + g->items[i].n) * H * K; a++) counts[a / (H * K) >= P][picks[a]]++;
        for (size_t e = 0; e < 2 * E; e++)
            assert_true(s->counts[((lm * n + i) * 2) * E + e] == counts[e / E][e % E]);
        for (size_t p = 0; p < P; p++) {
            bool seen[5] = {0};
            size_t reach = 0;
            for (size_t a = 0; a < H * K; a++) {
                reach += !seen[picks[p * H * K + a]];
                seen[picks[p * H * K + a]] = true;
            }
            assert_true(s->reach[(lm * n + i) * P + p] == (double)reach);
        }
    }
}

static void test_picks(void **state) {
    (void)state;
    const char *const runs[] = {RUN, "runs/smoe/last.safetensors"};
    for (int r = 0; r < 2; r++) {
        struct opened *o = run_open(runs[r], 3);
        struct gallery g = gallery_open(o, "en", 8, 2);
        struct subject s = {.sizes = o->model.sizes};
        picks_look(&s, &o->k, &g);
        assert_null(o->model.on_picks);
        for (size_t i = 0; i < g.n; i++) {
            struct heard heard = {.N = 0};
            struct batch b;
            const struct example e = {.pixels = g.items[i].pixels, .tokens = g.items[i].tokens, .n = g.items[i].n};
            examples_show(&b, &o->k.rows, &e, 1);
            o->model.on_picks = picks_hear;
            o->model.on_picks_context = &heard;
            model_forward(&o->model, &b);
            picks_check(&s, &g, i, &heard);
        }
        subject_free(&s, &g);
        gallery_free(&g);
        run_close(o);
    }
}

/* ---- What the page shows of it ---- */

static void test_hole(void **state) {
    (void)state;
    static const struct {
        size_t side;
        const char *hidden;
    } cases[] = {{1, "#"}, {2, "####"}, {3, "....#...."}, {4, ".....##..##....."}, {5, "......###..###..###......"}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const size_t side = cases[c].side;
        const struct gallery g = {.size = side * 3, .patch = 3, .P = side * side};
        bool hidden[25];
        hole_make(hidden, &g);
        for (size_t p = 0; p < g.P; p++) assert_int_equal(hidden[p], cases[c].hidden[p] == '#');
    }
}

/* A caption is what masked_caption writes, of a picture alone; what is painted is masked_paint's. */
static void test_showings(void **state) {
    (void)state;
    struct opened *o = run_open(RUN, 2);
    struct gallery g = gallery_open(o, "en", 9, 3);
    struct subject s = {.sizes = o->model.sizes};
    picks_look(&s, &o->k, &g);
    showings_look(&s, &o->k, &g);
    for (size_t v = 0; v < 3; v++) {
        const size_t at = v * g.n / 3;
        const struct item *item = &g.items[at];
        int32_t tokens[SEQ];
        bool hidden[P] = {[P / 2] = true};
        unsigned char pixels[SIZE * SIZE * 3];
        memcpy(tokens, item->tokens, item->prefix * sizeof *tokens);
        const size_t n = masked_caption(&o->k, item->pixels, tokens, item->prefix, 0);
        char *caption = bytes_of(o->tokenizer, tokens + item->prefix, n - item->prefix);
        if (text_is_utf8(caption)) assert_string_equal(s.showings[v].caption, caption + (*caption == ' '));
        assert_true(text_is_utf8(s.showings[v].caption));
        memcpy(pixels, item->pixels, sizeof pixels);
        masked_paint(&o->k, pixels, hidden, NULL, 0);
        assert_memory_equal(s.showings[v].painted, pixels, sizeof pixels);
        assert_memory_not_equal(s.showings[v].painted, item->pixels, sizeof pixels);
        for (size_t p = 0; p < P; p++)
            expect_near(s.showings[v].reach[p], (s.reach[at * P + p] + s.reach[(g.n + at) * P + p]) / 2, 1e-12);
        free(caption);
    }
    subject_free(&s, &g);
    gallery_free(&g);
    run_close(o);
}

/* ---- The program ---- */

static json_t *numbers_read(const char *dir) {
    char *path = string_format("%s/gallery.json", dir);
    json_t *numbers = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
    if (!numbers) fail_msg("%s: missing or no JSON", path);
    free(path);
    return numbers;
}

static const json_t *model_at(const json_t *numbers, size_t i) {
    return json_array_get(json_object_get(numbers, "models"), i);
}

/* The same bytes for any number of threads. */
static void test_threads(void **state) {
    (void)state;
    run("gallery 'runs/a<b&c' early.safetensors runs/dense --pictures 8 --shown 2 --threads 1 --out out");
    assert_non_null(strstr(errors, "out/report.html"));
    run("mv out one");
    run("gallery 'runs/a<b&c' early.safetensors runs/dense --pictures 8 --shown 2 --threads 3 --out out");
    run("cmp one/gallery.json out/gallery.json && cmp one/report.html out/report.html");
    json_t *numbers = numbers_read("one");
    assert_string_equal(json_string_value(json_object_get(model_at(numbers, 0), "name")), "a<b&c");
    assert_true(number_of(model_at(numbers, 0), "step") == 7 && number_of(model_at(numbers, 1), "step") == 4);
    assert_null(json_object_get(model_at(numbers, 2), "spread"));
    json_decref(numbers);
}

/* Its perplexities are those of the run's own validation, whatever share it hides. */
static void test_is_validation(void **state) {
    (void)state;
    run(MASKED "--ffn smoe --hide-patches 0.7 --hide-text 0.6 --hide-caption 0.3 --out runs/shares");
    run("gallery runs/shares/last.safetensors --pictures 5 --shown 1 --out shares");
    json_t *numbers = numbers_read("shares"), *log = log_of("runs/shares");
    const json_t *kinds = json_object_get(model_at(numbers, 0), "kinds"), *row;
    const json_t *parts = json_object_get(entry_of(log, "val_loss", entries_of(log, "val_loss") - 1), "parts");
    size_t i;
    assert_int_equal(json_array_size(kinds), 4);
    json_array_foreach(kinds, i, row)
        expect_near(number_of(row, "perplexity"),
                    number_of(json_object_get(parts, json_string_value(json_object_get(row, "kind"))),
                              "val_perplexity"), 1e-5);
    json_decref(numbers);
    json_decref(log);
}

static void test_language(void **state) {
    (void)state;
    run("gallery 'runs/a<b&c' --language de --shown 2 --out german");
    json_t *numbers = numbers_read("german");
    const json_t *pictures = json_object_get(numbers, "pictures");
    const json_t *shown = json_array_get(json_object_get(numbers, "shown"), 1);
    assert_string_equal(json_string_value(json_object_get(pictures, "language")), "de");
    assert_true(number_of(pictures, "n") == number_of(pictures, "held_out") && number_of(pictures, "size") == SIZE);
    assert_true(strncmp(json_string_value(json_object_get(shown, "caption")), "ein ", 4) == 0);
    json_decref(numbers);
}

/* In a real browser, where there is one. */
static void test_browser(void **state) {
    (void)state;
    run("gallery 'runs/a<b&c' --pictures 12 --shown 3 --out page");
    run("sh '%s/tests/study/report_browser.sh' page/report.html >&2", repository);
    run("gallery 'runs/a<b&c' early.safetensors runs/smoe runs/dense --pictures 12 --shown 3 --out pages");
    run("sh '%s/tests/study/report_browser.sh' pages/report.html >&2", repository);
}

static void test_bad_input(void **state) {
    (void)state;
    prose_save("corpus.txt", 300, 1);
    run("mkdir words");
    text_save("words/a.txt", "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\neleven\ntwelve\n", 63);
    run("train corpus.txt --vocab 300 --seq 17 --layers 2 --channels 12 --attn-heads 3 --expert-hidden 7 --batch 3"
        " --cache cache --steps 1 --out runs/text");
    run("cp -r pictures others; rm others/p00*.png; sed -i /p00/d others/captions.tsv; cp -r cache kept");
    run("train --task masked others --patch 4 --codes 17 --vocab 320 --seq 25 --layers 2 --channels 12 --attn-heads 3"
        " --ffn dense --batch 3 --cache cache --steps 1 --out runs/others");
    refuse(EXIT_USAGE, "no model", "gallery runs/emoji", "gallery");
    refuse(EXIT_INPUT, "runs/none: cannot", "", "gallery runs/none");
    refuse(EXIT_MISMATCH, "a model of text", "--task masked", "gallery runs/text");
    refuse(EXIT_MISMATCH, "a masked model", "build/gallery", "analyse runs/smoe --samples 0");
    refuse(EXIT_MISMATCH, "trained on other data than runs/dense/best.safetensors", "one by one",
           "gallery runs/dense runs/others --pictures 5 --shown 1");
    refuse(EXIT_INPUT, "too few held-out pictures", "raise --pictures", "gallery runs/dense --language fr");
    run("mv cache/pictures-* .");
    refuse(EXIT_INPUT, "the prepared data of runs/dense/best.safetensors is gone", "prepare it again",
           "gallery runs/dense");
    run("cp -r cache/others-* \"cache/$(echo pictures-*)\"");
    refuse(EXIT_MISMATCH, "than runs/dense/best.safetensors", "train again", "gallery runs/dense");
    run("rm -r cache; mv kept cache");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pictures),      cmocka_unit_test(test_captions), cmocka_unit_test(test_albums_refused),
        cmocka_unit_test(test_shown),         cmocka_unit_test(test_scores),
        cmocka_unit_test(test_fills),         cmocka_unit_test(test_picks),    cmocka_unit_test(test_hole),
        cmocka_unit_test(test_showings),      cmocka_unit_test(test_threads),  cmocka_unit_test(test_is_validation),
        cmocka_unit_test(test_language),      cmocka_unit_test(test_browser),  cmocka_unit_test(test_bad_input),
    };
    return cmocka_run_group_tests(tests, runs_make, workplace_remove);
}
