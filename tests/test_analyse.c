/* build/analyse as its user runs it, on tiny models: its numbers against the model's own counts, its page, and
 * what it says of wrong input. The statistics themselves are tested in test_routing.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>

#include "../data/loader.h"
#include "../data/shard.h"
#include "command.h"
#include "prose.h"
#include "small_model.h"
#include "../tokenizer/tokenizer.h"

/* Odd sizes; the first run is named so that its name needs escaping. */
#define ODD "runs/a<b&c"
#define TRAIN                                                                                                     \
    "train corpus.txt --seq 17 --layers 3 --moe-every 1 --channels 12 --attn-heads 3 --experts 5 --topk 2"      \
    " --expert-hidden 7 --batch 3 --warmup 3 --lr 0.01 --eval-every 5 --eval-windows 3 --sample-every 0"         \
    " --cache cache --steps 9 "
enum { SEQ = 17, LAYERS = 3, HEADS = 2, EXPERTS = 5, TOPK = 2 };

static char repository[4096];

static int runs_make(void **state) {
    (void)state;
    if (!getcwd(repository, sizeof repository) || !workplace_enter()) return -1;
    prose_save("corpus.txt", 400, 1);
    run(TRAIN "--vocab 301 --moe-heads 2 --out '" ODD "' --until 4");
    run("cp '" ODD "/last.safetensors' early.safetensors");
    run("train --resume '" ODD "'");
    run(TRAIN "--vocab 301 --ffn smoe --out runs/smoe");
    run(TRAIN "--vocab 301 --ffn dense --steps 1 --out runs/dense");
    run(TRAIN "--vocab 290 --ffn smoe --steps 1 --out runs/other");
    run("mkdir wordnet; echo 'lady n 3 0 3 3 1' >wordnet/index.noun; echo 'met v 2 0 2 2 1' >wordnet/index.verb; "
        "printf 'old a 12 0\\nkind a 1 0\\n' >wordnet/index.adj; echo 'left r 1 0' >wordnet/index.adv");
    return 0;
}

static json_t *analysis_read(const char *dir) {
    char *path = string_format("%s/analysis.json", dir);
    json_t *analysis = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
    if (!analysis) fail_msg("%s: missing or no JSON", path);
    free(path);
    return analysis;
}

static const json_t *model_at(const json_t *analysis, size_t i) {
    return json_array_get(json_object_get(analysis, "models"), i);
}

static void expect_near(double got, double want) {
    if (!(fabs(got - want) < 1e-8)) fail_msg("got %.10g, want %.10g", got, want); /* printed with nine figures */
}

static double number_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value)) fail_msg("%s: no number", key);
    return json_number_value(value);
}

/* ---- Numbers ---- */

enum { WINDOWS = 3 };
struct windows {
    int32_t inputs[WINDOWS * SEQ], targets[WINDOWS * SEQ];
};

/* The first held-out windows of a run. */
static struct windows windows_of_run(const struct checkpoint *c) {
    struct windows w;
    struct error err;
    struct loader *l = loader_open(checkpoint_string(c, "data_dir", &err), "val", SEQ, false, 0, 1 << 20, &err);
    assert_non_null(l);
    assert_true(loader_next(l, WINDOWS, w.inputs, w.targets, &err));
    loader_close(l);
    return w;
}

/* The first windows of a file, by a checkpoint's tokenizer. */
static struct windows windows_of_file(const struct checkpoint *c, const char *path) {
    struct windows w;
    struct error err;
    size_t size, n = 0, capacity = 0;
    int32_t *ids = NULL;
    tokenizer *t = tokenizer_from_checkpoint(c, &err);
    char *text = file_contents(fopen(path, "rb"), path, &size, &err);
    assert_true(t && text);
    tokenizer_encode(t, text, size, &ids, &n, &capacity);
    assert_true(n > WINDOWS * SEQ);
    memcpy(w.inputs, ids, sizeof w.inputs);
    memcpy(w.targets, ids + 1, sizeof w.targets);
    tokenizer_free(t);
    free(text);
    free(ids);
    return w;
}

/* What the model itself counts on WINDOWS windows of a file, or (NULL) on the first that its run held out. */
static void counts_expect(const json_t *model, const char *path, const char *file) {
    struct checkpoint c;
    struct model m;
    struct error err;
    size_t count;
    assert_true(checkpoint_open(&c, path, &err));
    assert_true(model_load(&m, &c, (struct model_setup){MODEL_INFER, WINDOWS, false, STORAGE_F32}, &err));
    const struct windows w = file ? windows_of_file(&c, file) : windows_of_run(&c);
    model_forward(&m, &(struct batch){.B = WINDOWS, .T = SEQ, .tokens = w.inputs, .targets = w.targets});
    const double loss = model_loss(&m, 0, &count);
    assert_true(fabs(number_of(model, "loss") - loss / (double)count) < 1e-8); /* printed with nine figures */
    const json_t *layers = json_object_get(model, "layers");
    const size_t H = m.sizes.H;
    assert_int_equal(json_array_size(layers), LAYERS);
    for (size_t lm = 0; lm < LAYERS; lm++) {
        const json_t *picks = json_object_get(json_array_get(layers, lm), "picks");
        assert_int_equal(json_array_size(picks), H);
        for (size_t e = 0; e < EXPERTS; e++) {
            double sum = 0;
            for (size_t h = 0; h < H; h++) sum += json_number_value(json_array_get(json_array_get(picks, h), e));
            assert_true(sum == m.load[lm * EXPERTS + e]);
        }
        for (size_t h = 0; h < H; h++) { /* each place in a token picks TOPK times a token */
            double sum = 0;
            for (size_t e = 0; e < EXPERTS; e++)
                sum += json_number_value(json_array_get(json_array_get(picks, h), e));
            assert_true(sum == WINDOWS * SEQ * TOPK);
        }
    }
    model_destroy(&m);
    checkpoint_close(&c);
}

static void numbers_are_the_models_own(void **state) {
    (void)state;
    run("analyse '" ODD "' runs/smoe --windows 3 --out counts --samples 0");
    json_t *analysis = analysis_read("counts");
    assert_true(number_of(json_object_get(analysis, "text"), "tokens") == WINDOWS * SEQ);
    counts_expect(model_at(analysis, 0), ODD "/best.safetensors", NULL);
    counts_expect(model_at(analysis, 1), "runs/smoe/best.safetensors", NULL);
    json_decref(analysis);
}

/* What must hold of any routing. With whole tokens the three frequencies agree. */
static void numbers_agree_with_each_other(void **state) {
    (void)state;
    run("analyse '" ODD "' runs/smoe --out all --samples 0 --windows 0");
    json_t *analysis = analysis_read("all");
    for (size_t i = 0; i < 2; i++) {
        const json_t *model = model_at(analysis, i), *all = json_object_get(model, "all");
        const double most = i == 0 ? HEADS * TOPK : TOPK;
        const double tokens = number_of(json_object_get(analysis, "text"), "tokens");
        double in_tenths = 0;
        assert_true(number_of(all, "reach") >= TOPK && number_of(all, "reach") <= most);
        assert_true(number_of(all, "reach_top") >= 1 && number_of(all, "reach_top") <= (i == 0 ? HEADS : 1));
        assert_true(number_of(all, "active_tokens") <= number_of(all, "active_picks"));
        assert_true(number_of(all, "active_subtokens") <= number_of(all, "active_tokens"));
        assert_true(number_of(all, "entropy_normalised") <= 1);
        for (size_t t = 0; t < 10; t++)
            in_tenths += number_of(json_array_get(json_object_get(model, "deciles"), t), "tokens");
        assert_true(in_tenths == tokens);
    }
    const json_t *layer = json_array_get(json_object_get(model_at(analysis, 1), "layers"), 0);
    const json_t *frequency = json_object_get(layer, "frequency_tokens");
    assert_true(json_equal(frequency, json_object_get(layer, "frequency_subtokens")));
    assert_true(json_equal(frequency, json_object_get(layer, "frequency_picks")));
    assert_int_equal(json_array_size(json_object_get(analysis, "stability")), 0); /* they are of two kinds */
    json_decref(analysis);
}

/* The corpus has 35 different words; left and kind have one sense here, met 2, lady 3, old 12. */
static void words_are_found(void **state) {
    (void)state;
    static const double want[] = {2, 1, 1, 0, 1};
    run("analyse '" ODD "' runs/smoe --text corpus.txt --wordnet wordnet --out words --samples 0 --windows 0");
    json_t *analysis = analysis_read("words");
    assert_true(number_of(json_object_get(analysis, "text"), "words") == 35);
    for (size_t i = 0; i < 2; i++) {
        const json_t *model = model_at(analysis, i), *senses = json_object_get(model, "senses");
        const json_t *correlation = json_array_get(json_object_get(model, "senses_correlation"), 0);
        assert_true(number_of(model, "senses_words") == 5);
        for (size_t c = 0; c < 5; c++) assert_true(number_of(json_array_get(senses, c), "words") == want[c]);
        assert_true(json_is_null(json_object_get(json_array_get(senses, 3), "reach")));
        /* In an SMoE every token reaches TOPK experts: nothing to correlate with. */
        assert_true(json_is_null(json_object_get(correlation, "spearman")) == (i == 1));
        const double reach = number_of(json_array_get(senses, 0), "reach");
        assert_true(i == 0 ? reach > TOPK && reach <= HEADS * TOPK : fabs(reach - TOPK) < 1e-8);
    }
    json_decref(analysis);
}

/* What a checkpoint shares with itself is everything, and with another one less. */
static void stability_is_of_equal_models(void **state) {
    (void)state;
    run("analyse early.safetensors early.safetensors runs/smoe '" ODD "' early.safetensors --out st --samples 0");
    json_t *analysis = analysis_read("st");
    const json_t *rows = json_object_get(analysis, "stability"), *row;
    size_t i;
    assert_int_equal(json_array_size(rows), 2 * LAYERS);
    json_array_foreach(rows, i, row) {
        const double same = number_of(row, "same_set"), overlap = number_of(row, "jaccard");
        if (i < LAYERS) assert_true(same == 1 && overlap == 1 && number_of(row, "same_first") == 1);
        else assert_true(same < 1 && same > 0 && overlap > same && overlap < 1);
    }
    json_decref(analysis);
}

static void text_may_be_any_file(void **state) {
    (void)state;
    run("head -c 700 corpus.txt >short.txt; mv cache away; analyse runs/smoe --text short.txt --out short "
        "--samples 0 --windows 3; mv away cache");
    json_t *analysis = analysis_read("short");
    const json_t *text = json_object_get(analysis, "text");
    assert_string_equal(json_string_value(json_object_get(text, "name")), "short.txt");
    counts_expect(model_at(analysis, 0), "runs/smoe/best.safetensors", "short.txt");
    json_decref(analysis);
}

/* ---- A corpus of parts ---- */

enum { SHORT = 11 }; /* another model's sequences */

/* A part of a prepared corpus, with held-out text alone, at most so many tokens, each 20th of them an end of text. */
static void part_make(const char *name, const char *text, size_t most) {
    struct checkpoint c;
    struct error err;
    size_t n = 0, capacity = 0;
    int32_t *ids = NULL;
    assert_true(checkpoint_open(&c, "runs/parted/best.safetensors", &err));
    tokenizer *t = tokenizer_from_checkpoint(&c, &err);
    char *dir = string_format("%s/%s", checkpoint_string(&c, "data_dir", &err), name);
    char *path = string_format("%s/val-00000.shard", dir);
    tokenizer_encode(t, text, strlen(text), &ids, &n, &capacity);
    assert_true(directory_make(dir, &err));
    for (size_t i = 9; i < n; i += 20) ids[i] = tokenizer_end_of_text(t);
    if (n > most) n = most;
    struct shard_writer *w = shard_create(path, tokenizer_vocab(t), tokenizer_hash(t), &err);
    assert_true(w && shard_append(w, ids, n, &err) && shard_close(w, true, &err));
    tokenizer_free(t);
    checkpoint_close(&c);
    free(dir);
    free(path);
    free(ids);
}

/* A run, and one of shorter sequences, whose corpus has three parts, made in another order than that of their names. */
static void parts_make(void) {
    char *first = prose(40, 3), *second = prose(20, 4);
    run(TRAIN "--vocab 301 --moe-heads 2 --cache parted --out runs/parted");
    run(TRAIN "--vocab 301 --ffn smoe --seq 11 --cache parted --out runs/short");
    run("rm parted/*/*.shard");
    part_make("ru", second, SIZE_MAX);
    part_make("de", first, SIZE_MAX);
    part_make("en", "0123456789 01 23 45 67 89 9876543210 012345678901234567890123456789, 0123 4567 8901 and more",
              5 * SEQ); /* 4 full windows: the fifth would lack a target */
    free(first);
    free(second);
}

/* Window number i of `count` of a part. Its targets include the token after it. */
static void window_of_part(const char *part, size_t i, size_t count, int32_t *inputs, int32_t *targets) {
    struct checkpoint c;
    struct error err;
    assert_true(checkpoint_open(&c, "runs/parted/best.safetensors", &err));
    char *dir = string_format("%s/%s", checkpoint_string(&c, "data_dir", &err), part);
    struct loader *l = loader_open(dir, "val", SEQ, false, 0, 1 << 20, &err);
    assert_non_null(l);
    loader_seek(l, i * ((loader_tokens(l) - 1) / SEQ) / count);
    assert_true(loader_next(l, 1, inputs, targets, &err));
    checkpoint_close(&c);
    loader_close(l);
    free(dir);
}

static const char *const part_names[] = {"de", "en", "ru"};

/* The shares of picks that a model reports of each part are those that it counts on `count` windows of it, read as
 * sequences of `length` which end where the part does; and so is its loss. */
static void parts_expect(const json_t *model, const char *path, size_t count, size_t length) {
    struct checkpoint c;
    struct model m;
    struct error err;
    size_t predicted, bytes = 0;
    double loss = 0, text_loss = 0;
    assert_true(checkpoint_open(&c, path, &err));
    assert_true(model_load(&m, &c, (struct model_setup){MODEL_INFER, 1, false, STORAGE_F32}, &err));
    tokenizer *tokenizer = tokenizer_from_checkpoint(&c, &err);
    const json_t *layers = json_object_get(json_object_get(model, "parts"), "layers");
    assert_int_equal(json_array_size(layers), LAYERS);
    for (size_t p = 0; p < 3; p++) {
        int32_t inputs[40 * SEQ], targets[40 * SEQ];
        for (size_t i = 0; i < count; i++)
            window_of_part(part_names[p], i, count, inputs + i * SEQ, targets + i * SEQ);
        model_clear_statistics(&m);
        for (size_t at = 0; at < count * SEQ; at += length) {
            const size_t left = count * SEQ - at, T = left < length ? left : length;
            model_forward(&m, &(struct batch){.B = 1, .T = T, .tokens = inputs + at, .targets = targets + at});
            loss += model_loss(&m, 0, &predicted);
            for (size_t t = 0, size; t < T; t++, bytes += size) { /* ends of text have no bytes */
                tokenizer_piece(tokenizer, targets[at + t], &size);
                if (targets[at + t] != tokenizer_end_of_text(tokenizer)) text_loss += (double)model_losses(&m)[t];
                else assert_int_equal(size, 0);
            }
        }
        for (size_t lm = 0; lm < LAYERS; lm++) {
            const json_t *shares = json_object_get(json_array_get(layers, lm), "shares");
            for (size_t e = 0; e < EXPERTS; e++) {
                const double got = json_number_value(json_array_get(json_array_get(shares, p), e));
                const double picks = (double)(count * SEQ * m.sizes.H * TOPK);
                expect_near(got, m.load[lm * EXPERTS + e] / picks);
            }
        }
    }
    expect_near(number_of(model, "loss"), loss / (double)(3 * count * SEQ));
    expect_near(number_of(model, "bits_per_byte"), text_loss / log(2) / (double)bytes);
    assert_true(text_loss < 0.98 * loss);
    tokenizer_free(tokenizer);
    model_destroy(&m);
    checkpoint_close(&c);
}

/* As many windows of each part as --windows allows and the shortest has, spread over what each has. */
static void parts_have_equal_shares(void **state) {
    (void)state;
    static const struct { int windows; size_t each; } cases[] = {{6, 2}, {8, 2}, {1, 1}, {0, 4}, {512, 4}};
    parts_make();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run("analyse runs/parted runs/short --windows %d --out parts --samples 0", cases[i].windows);
        json_t *analysis = analysis_read("parts"), *text = json_object_get(analysis, "text");
        assert_int_equal(json_array_size(json_object_get(text, "parts")), 3);
        for (size_t p = 0; p < 3; p++)
            assert_string_equal(json_string_value(json_array_get(json_object_get(text, "parts"), p)), part_names[p]);
        expect_near(number_of(text, "windows_of_each"), (double)cases[i].each);
        assert_true(number_of(text, "tokens") == (double)(3 * cases[i].each * SEQ));
        char *name = string_format(", held out: %zu windows of 17 tokens of each of 3 parts", cases[i].each);
        assert_non_null(strstr(json_string_value(json_object_get(text, "name")), name));
        parts_expect(model_at(analysis, 0), "runs/parted/best.safetensors", cases[i].each, SEQ);
        parts_expect(model_at(analysis, 1), "runs/short/best.safetensors", cases[i].each, SHORT);
        json_decref(analysis);
        free(name);
    }
}

/* What ./train makes of a corpus with parts is found again. */
static void parts_of_a_run(void **state) {
    (void)state;
    run("mkdir -p langs/words langs/digits; cp corpus.txt langs/words; seq 9000 | shuf --random-source=corpus.txt | "
        "tr '\\n' ' ' >langs/digits/numbers.txt");
    run("train langs --parts --part-alpha 0.5 --vocab 301 --seq 17 --layers 2 --channels 12 --attn-heads 3 --experts 5 "
        "--topk 2 --expert-hidden 7 --moe-heads 2 --batch 3 --steps 2 --sample-every 0 --cache cache --out runs/langs");
    run("analyse runs/langs --out langs.d --samples 0 --windows 41");
    json_t *analysis = analysis_read("langs.d"), *text = json_object_get(analysis, "text");
    assert_string_equal(json_string_value(json_array_get(json_object_get(text, "parts"), 0)), "digits");
    assert_string_equal(json_string_value(json_array_get(json_object_get(text, "parts"), 1)), "words");
    assert_true(number_of(text, "windows_of_each") == 20);
    const json_t *parts = json_object_get(model_at(analysis, 0), "parts"), *all = json_object_get(parts, "all");
    expect_near(number_of(parts, "entropy"), 1);
if (!json_is_true(json_object_get(all, "above_null"))) fail_msg("%s", json_dumps(all, 0));
    json_decref(analysis);
}

static void parts_are_the_same_for_any_threads(void **state) {
    (void)state;
    run("rm -r parts; analyse runs/parted runs/short --out parts --threads 1 --tokens 20 && mv parts parts1 && "
        "analyse runs/parted runs/short --out parts --threads 3 --tokens 20 && diff -r parts parts1 && "
        "grep -q 'id=\"parts\"' parts/report.html && ls parts/plots/*-parts.svg");
    run("sh '%s/tests/study/report_browser.sh' parts/report.html >&2", repository);
}

/* Nothing of parts is said of another text, of a corpus without, or of one that has a single part, which is read like
 * any. */
static void no_parts_are_told_of(void **state) {
    (void)state;
    static const char *const texts[] = {"runs/smoe", "runs/parted --text corpus.txt", "runs/parted"};
    for (size_t i = 0; i < 3; i++) {
        run("%s; analyse %s --out none --samples 0 --windows 3", i == 2 ? "rm -r parted/*/de parted/*/en" : "true",
            texts[i]);
        json_t *analysis = analysis_read("none");
        assert_int_equal(json_object_size(json_object_get(analysis, "text")), 3);
        assert_null(json_object_get(model_at(analysis, 0), "parts"));
        assert_true(number_of(json_object_get(analysis, "text"), "tokens") == 3 * SEQ);
        json_decref(analysis);
        run("! grep -qi 'parts</a>\\|id=.parts' none/report.html && ! ls none/plots/*-parts.svg 2>/dev/null");
    }
    run("mkdir $(ls -d parted/*/)de");
    refuse(3, "/de", "prepare the text again", "analyse runs/parted --out refused");
}

static void threads_change_nothing(void **state) {
    (void)state;
    run("analyse '" ODD "' runs/smoe --windows 9 --out t --threads 1 --tokens 20 && mv t t1 && "
        "analyse '" ODD "' runs/smoe --windows 9 --out t --threads 3 --tokens 20 && diff -r t t1");
}

/* ---- The page ---- */

static void report_is_whole(void **state) {
    (void)state;
    run("analyse '" ODD "' runs/smoe --out page --wordnet wordnet --prompt '<i>The &amp;' --tokens 20");
    struct error err;
    size_t size;
    char *page = file_contents(fopen("page/report.html", "rb"), "page", &size, &err);
    static const char *const sections[] = {"models",     "loss",  "activation", "load",   "training",
                                           "divergence", "words", "stability",  "samples"};
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        char *start = string_format("<h2 id=\"%s\">", sections[i]);
        if (!strstr(page, start)) fail_msg("no section %s", sections[i]);
        free(start);
    }
    assert_non_null(strstr(page, "a&lt;b&amp;c"));
    assert_null(strstr(page, "a<b"));
    assert_non_null(strstr(page, "<pre>\n&lt;i&gt;The &amp;amp;"));
    assert_null(strstr(page, "<i>The"));
    assert_null(strstr(page, "log.jsonl beside")); /* both runs have theirs */
    assert_null(strstr(page, "<script"));
    assert_non_null(strstr(page, "</html>"));
    free(page);
    run("sh '%s/tests/study/report_browser.sh' page/report.html >&2", repository);
}

static void report_does_without(void **state) {
    (void)state;
    struct error err;
    size_t size;
    run("mkdir -p bare/plots && touch bare/plots/99-old.svg bare/plots/mine.svg");
    run("mkdir alone && cp early.safetensors alone && analyse alone/early.safetensors --out bare --windows 2 "
        "--samples 0");
    char *page = file_contents(fopen("bare/report.html", "rb"), "page", &size, &err);
    assert_non_null(strstr(page, "no log.jsonl beside"));
    assert_null(strstr(page, "Side by side"));
    run("test -f bare/plots/mine.svg && test ! -f bare/plots/99-old.svg"); /* of a report that was there before */
    free(page);
}

/* Damaged lines of a log: one line on standard error, and beside the plots, which do without them. */
static void logs_may_be_damaged(void **state) {
    (void)state;
    struct error err;
    size_t size;
    run("cp -r runs/smoe damaged && cd damaged && { head -n 2 log.jsonl; echo; echo '{\"step\":'; "
        "tail -n +3 log.jsonl; printf '{\"step\":10,\"lo'; } >log && mv log log.jsonl && cd .. && "
        "analyse damaged early.safetensors --out dmg --windows 2 --samples 0 2>notes");
    text_read("notes", output, sizeof output);
    assert_non_null(strstr(output, "analyse: note: damaged/log.jsonl:3: no entry (one of 2 damaged or blank lines); "));
    assert_non_null(strstr(output, "its last line is not finished"));
    assert_non_null(strstr(output, "analyse: note: log.jsonl: there is none"));
    int lines = 0;
    for (const char *c = output; *c; c++) lines += *c == '\n';
    assert_int_equal(lines, 3); /* and where the report is */
    char *page = file_contents(fopen("dmg/report.html", "rb"), "page", &size, &err);
    assert_non_null(strstr(page, "damaged/log.jsonl:3: no entry"));
    assert_non_null(strstr(page, ">tokens</text>")); /* every entry counts them */
    assert_null(strstr(page, "<title>damaged, training: 0 at"));
    free(page);
    json_t *analysis = analysis_read("dmg");
    assert_non_null(json_object_get(model_at(analysis, 0), "log_note"));
    json_decref(analysis);
    run("analyse runs/smoe --out whole --windows 2 --samples 0 2>notes && test $(wc -l <notes) = 1");
}

/* ---- Wrong input ---- */

static void bad_input_is_refused(void **state) {
    (void)state;
    refuse(2, "no model", "runs/austen", "analyse");
    refuse(2, "caf\\xe9/r: a name that is not UTF-8", "rename it", "analyse \"$(printf 'caf\\351/r')\" --out refused");
    refuse(3, "nothing-yet: no checkpoint yet", "wait until", "mkdir nothing-yet; analyse nothing-yet --out refused");
    refuse(2, "'--windoes'", "did you mean '--windows'", "analyse runs/smoe --windoes 3");
    refuse(3, "runs/dense/best.safetensors: a dense model", "--ffn smoe", "analyse runs/dense --out refused");
    refuse(3, "missing.safetensors", "cannot read", "analyse missing.safetensors --out refused");
    refuse(3, "empty.txt: no text", "--text", ": >empty.txt; analyse runs/smoe --text empty.txt --out refused");
    refuse(3, "missing.txt", "cannot read", "analyse runs/smoe --text missing.txt --out refused");
    refuse(3, "the prepared data", "--text",
           "mv cache away; analyse runs/smoe --out refused; code=$?; mv away cache; (exit $code)");
    refuse(3, "nowhere/index.noun", "corpus.sh wordnet", "analyse runs/smoe --wordnet nowhere --out refused");
    refuse(4, "corpus.txt: is a file", "want a directory", "analyse runs/smoe --out corpus.txt");
    refuse(5, "runs/other/best.safetensors: made with another tokenizer than runs/smoe", "one by one",
           "analyse runs/smoe runs/other --out refused");
    refuse(5, "made with another tokenizer than runs/smoe/best.safetensors", "--text",
           "set -- $(ls -d cache/corpus.txt-*); mv $1 a; mv $2 $1; mv a $2; analyse runs/smoe --out refused; "
           "code=$?; mv $1 a; mv $2 $1; mv a $2; (exit $code)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_the_models_own),   cmocka_unit_test(numbers_agree_with_each_other),
        cmocka_unit_test(words_are_found),
        cmocka_unit_test(stability_is_of_equal_models), cmocka_unit_test(text_may_be_any_file),
        cmocka_unit_test(parts_have_equal_shares),      cmocka_unit_test(parts_are_the_same_for_any_threads),
        cmocka_unit_test(no_parts_are_told_of),         cmocka_unit_test(parts_of_a_run),
        cmocka_unit_test(threads_change_nothing),       cmocka_unit_test(report_is_whole),
        cmocka_unit_test(report_does_without),          cmocka_unit_test(logs_may_be_damaged),
        cmocka_unit_test(bad_input_is_refused),
    };
    return cmocka_run_group_tests(tests, runs_make, workplace_remove);
}
