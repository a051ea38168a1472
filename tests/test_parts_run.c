/* ./train on a corpus of parts, as its user runs it: each part's figures once more from the checkpoint, and which rows
 * were served from the mixture; resumed, threaded and accumulated runs that are the same run; what is refused, and
 * leaves nothing behind. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <omp.h>

#include "../data/mixture.h"
#include "../mhmoe.h"
#include "../tokenizer/tokenizer.h"
#include "command.h"
#include "prose.h"
#include "runs.h"

/* Windows that are no multiple of a batch, a seed that is neither the default nor the validation's. */
enum { SEQ = 17, BATCH = 3, WINDOWS = 4, SEED = 3, PARTS = 3, PICKS = 4 /* of a row: heads, top-k */, LAYERS = 2 };
#define SHAPE                                                                                                     \
    "--block gpt2 --cache cache --vocab 301 --seq 17 --layers 5 --channels 12 --attn-heads 3 --moe-heads 2 "      \
    "--experts 5 --topk 2 --expert-hidden 7 --balance bias --lr 0.02 --warmup 2 --seed 3 --sample-every 0 "
#define MODEL SHAPE "--batch 3 --eval-windows 4 "
#define TRAIN "rm -rf run && train --parts c " MODEL

static const char *const names[PARTS] = {"de", "en", "fr"};

/* One large file; many small ones; two. No part is as long as another. */
static int corpus_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    omp_set_num_threads(1); /* of the model here, which is as small */
    run("mkdir -p c/de c/en c/fr");
    prose_save("c/de/novel.txt", 700, 1);
    prose_save("c/fr/a.txt", 300, 2);
    prose_save("c/fr/b.txt", 250, 3);
    for (int k = 0; k < 90; k++) {
        char path[40];
        sprintf(path, "c/en/%02d.txt", k);
        prose_save(path, 20, (uint64_t)(10 + k));
    }
    prose_save("corpus.txt", 500, 4);
    prose_save("val.txt", 60, 5);
    return 0;
}

/* ---- The same figures, here ---- */

struct heldout {
    double loss, bits, bytes;
    size_t targets, windows;
};

/* -log2 p(token) by a row of the last forward. */
static double bits_of(struct model *m, size_t row, int32_t token) {
    const real *logits = model_logits(m, row);
    double sum = 0;
    for (int v = 0; v < m->config.vocab; v++) sum += exp((double)(logits[v] - logits[token]));
    return log2(sum);
}

static struct heldout loader_score(struct model *m, const tokenizer *pieces, struct loader *data, size_t limit) {
    struct heldout h = {.windows = loader_windows(data)};
    struct error err;
    if (limit > 0 && limit < h.windows) h.windows = limit;
    for (size_t w = 0; w < h.windows; w++) {
        int32_t inputs[SEQ], targets[SEQ];
        size_t count, size;
        if (!loader_next(data, 1, inputs, targets, &err)) fail_msg("%s", err.text);
        model_forward(m, &(struct batch){.B = 1, .T = SEQ, .tokens = inputs, .targets = targets});
        h.loss += model_loss(m, 0, &count);
        h.targets += count;
        for (int i = 0; i < SEQ; i++) {
            if (targets[i] == TARGET_NONE || targets[i] == tokenizer_end_of_text(pieces)) continue;
            tokenizer_piece(pieces, targets[i], &size);
            h.bytes += (double)size;
            h.bits += bits_of(m, (size_t)i, targets[i]);
        }
    }
    h.loss /= (double)h.targets;
    h.bits /= h.bytes;
    return h;
}

/* Of each part, over its first `limit` windows (0: all) in the order of seed 0. */
static void heldout_of(const char *run, size_t limit, struct heldout out[PARTS]) {
    struct checkpoint c = checkpoint_at(run, "last.safetensors");
    struct error err;
    struct model m;
    tokenizer *pieces = tokenizer_from_checkpoint(&c, &err);
    if (!pieces || !model_load(&m, &c, (struct model_setup){MODEL_TRAIN, 1, false, STORAGE_F32}, &err))
        fail_msg("%s", err.text);
    const struct mixture_options o = {.seq = SEQ, .shuffle = true, .cache_bytes = 1 << 20, .alpha = 1};
    struct mixture *data = mixture_open(metadata(&c, "data_dir"), "val", &o, &err);
    if (!data) fail_msg("%s", err.text);
    assert_int_equal(mixture_parts(data), PARTS);
    for (size_t p = 0; p < PARTS; p++) {
        assert_string_equal(mixture_name(data, p), names[p]);
        out[p] = loader_score(&m, pieces, mixture_loader(data, p), limit);
    }
    mixture_close(data);
    tokenizer_free(pieces);
    model_destroy(&m);
    checkpoint_close(&c);
}

/* Tokens of each part in the first `rows` rows. */
static void served_of(const char *run, double alpha, const char *weights, uint64_t rows, size_t out[PARTS]) {
    struct checkpoint c = checkpoint_at(run, "last.safetensors");
    struct error err;
    const struct mixture_options o = {.seq = SEQ, .shuffle = true, .seed = SEED, .cache_bytes = 1 << 20, .alpha = alpha,
                                      .weights = weights};
    struct mixture *data = mixture_open(metadata(&c, "data_dir"), "train", &o, &err);
    if (!data) fail_msg("%s", err.text);
    mixture_seek(data, rows);
    for (size_t p = 0; p < PARTS; p++) out[p] = (size_t)mixture_served(data, p) * SEQ;
    mixture_close(data);
    checkpoint_close(&c);
}

/* Nine digits are logged. */
static void figures_expect(const json_t *entry, const char *prefix, double loss, double bits, size_t windows) {
    static const char *const keys[] = {"loss", "perplexity", "bits_per_byte", "windows"};
    const double want[] = {loss, exp(loss), bits, (double)windows};
    for (int i = 0; i < 4; i++) {
        char *key = string_format("%s%s", prefix, keys[i]);
        expect_near(number_of(entry, key), want[i], 1e-7 * (i == 1 ? want[i] : 1));
        free(key);
    }
}

/* An entry of the log; `mean_of` says which parts the mean is of. */
static void entry_expect(const json_t *entry, const char *prefix, const struct heldout h[PARTS],
                         const size_t tokens[PARTS], const bool mean_of[PARTS]) {
    const json_t *parts = json_object_get(entry, "parts");
    double loss = 0, bits = 0, n = 0, picks = 0;
    size_t windows = 0;
    assert_int_equal(json_object_size(parts), PARTS);
    for (size_t p = 0; p < PARTS; p++) {
        const json_t *part = json_object_get(parts, names[p]);
        assert_int_equal(json_object_size(part), 5);
        figures_expect(part, prefix, h[p].loss, h[p].bits, h[p].windows);
        assert_true(number_of(part, "tokens") == (double)tokens[p]);
        windows += h[p].windows;
        loss += mean_of[p] ? h[p].loss : 0;
        bits += mean_of[p] ? h[p].bits : 0;
        n += mean_of[p];
    }
    figures_expect(entry, prefix, loss / n, bits / n, windows);
    char *key = string_format("%sload", prefix);
    const json_t *layers = json_object_get(entry, key), *layer, *load;
    size_t i, k;
    json_array_foreach(layers, i, layer) json_array_foreach(layer, k, load) picks += json_number_value(load);
    assert_true(picks == (double)(LAYERS * windows * SEQ * PICKS));
    free(key);
}

static const bool all_of_them[PARTS] = {true, true, true};

/* ---- The log, the table, the plot ---- */

/* Of the second validation, and of one that a resumed run makes. */
static void validations_are_of_each_part(void **state) {
    (void)state;
    static const int ends[] = {4, 6};
    for (int i = 0; i < 2; i++) {
        if (i == 0) run(TRAIN "--part-alpha 0.3 --steps 9 --until 4 --eval-every 2 --out run");
        else run("train --resume run --until 6");
        struct heldout h[PARTS];
        size_t tokens[PARTS];
        heldout_of("run", WINDOWS, h);
        served_of("run", 0.3, NULL, (uint64_t)(ends[i] * BATCH), tokens);
        assert_int_equal(tokens[0] + tokens[1] + tokens[2], ends[i] * BATCH * SEQ);
        json_t *log = log_of("run");
        const json_t *entry = entry_of(log, "val_loss", (size_t)ends[i] / 2 - 1);
        assert_true(number_of(entry, "step") == ends[i]);
        assert_true(number_of(entry, "tokens") == ends[i] * BATCH * SEQ);
        entry_expect(entry, "val_", h, tokens, all_of_them);
        const double mean = (h[0].loss + h[1].loss + h[2].loss) / PARTS;
        char *line = string_format("step %d: mean of the parts %.4f, perplexity %.2f, %.4f bits per byte\n", ends[i],
                                   mean, exp(mean), (h[0].bits + h[1].bits + h[2].bits) / PARTS);
        if (!strstr(errors, line)) fail_msg("'%s' is missing in\n%s", line, errors);
        assert_null(strstr(errors, "tokens trained on")); /* the table is for the end */
        struct checkpoint c = checkpoint_at("run", "last.safetensors");
        expect_near(strtod(metadata(&c, "val_loss"), NULL), mean, 1e-7);
        checkpoint_close(&c);
        const json_t *step;
        size_t at;
        json_array_foreach(log, at, step) assert_int_equal(json_object_get(step, "parts") != NULL,
                                                           json_object_get(step, "val_loss") != NULL);
        free(line);
        json_decref(log);
    }
}

/* Which has the same step as a validation: that is of some windows, this one of all. */
static void the_end_is_of_all_the_text_of_each_part(void **state) {
    (void)state;
    run(TRAIN "--steps 3 --eval-every 0 --out run");
    struct heldout h[PARTS];
    size_t served[PARTS], tokens[PARTS];
    heldout_of("run", 0, h);
    served_of("run", 1, NULL, 3 * BATCH, served);
    json_t *log = log_of("run");
    for (size_t p = 0; p < PARTS; p++) tokens[p] = h[p].targets;
    assert_true(h[0].windows > WINDOWS && h[1].windows > WINDOWS && h[2].windows > WINDOWS);
    entry_expect(entry_of(log, "final_loss", 0), "final_", h, tokens, all_of_them);
    assert_int_equal(entries_of(log, "final_loss"), 1);
    struct heldout some[PARTS];
    heldout_of("run", WINDOWS, some);
    entry_expect(entry_of(log, "val_loss", 0), "val_", some, served, all_of_them);
    char *table = string_format("part  tokens trained on    held out      loss  bits per byte\n");
    for (size_t p = 0; p < PARTS; p++)
        string_append(&table, "%-4s  %17zu  %10zu  %8.4f  %13.4f\n", names[p], served[p], h[p].targets, h[p].loss,
                      h[p].bits);
    string_append(&table, "step 3: mean of the parts %.4f, ", (h[0].loss + h[1].loss + h[2].loss) / PARTS);
    if (!strstr(errors, table)) fail_msg("%s is missing in\n%s", table, errors);
    free(table);
    json_decref(log);
    run("ls run/plots");
    assert_string_equal(output, "load.svg\nloss.svg\nparts.svg\n");
    const size_t limits[] = {2, h[1].windows - 1}; /* fewer than in a validation; all but one */
    for (int i = 0; i < 2; i++) {
        run("train --resume run --steps %d --final-windows %zu", 4 + i, limits[i]);
        heldout_of("run", limits[i], h);
        for (size_t p = 0; p < PARTS; p++) tokens[p] = h[p].targets;
        log = log_of("run");
        entry_expect(entry_of(log, "final_loss", entries_of(log, "final_loss") - 1), "final_", h, tokens, all_of_them);
        json_decref(log);
    }
}

/* One point a validation on each curve; names beside them. */
static void each_part_has_a_curve(void **state) {
    (void)state;
    run(TRAIN "--steps 6 --eval-every 2 --out run");
    json_t *log = log_of("run");
    text_read("run/plots/parts.svg", output, sizeof output);
    for (size_t p = 0; p < PARTS; p++) {
        for (size_t i = 0; i < 3; i++) {
            const json_t *entry = entry_of(log, "val_loss", i);
            const json_t *part = json_object_get(json_object_get(entry, "parts"), names[p]);
            char *title = string_format("<title>%s: %.6g at %.6g</title>", names[p],
                                        number_of(part, "val_bits_per_byte"), number_of(entry, "tokens"));
            if (!strstr(output, title)) fail_msg("%s is missing in\n%s", title, output + 1500);
            free(title);
        }
    }
    json_decref(log);
}

/* ---- The same run ---- */

static void runs_compare(const char *a, const char *b) {
    logs_compare(a, b);
    checkpoints_compare(a, b, "last.safetensors");
    checkpoints_compare(a, b, "best.safetensors");
}

static void a_resumed_run_is_the_same_run(void **state) {
    (void)state;
    static const char *const mixtures[] = {"--part-alpha 0.3", "--part-weights fr=1,de=0,en=2.5 --accumulate 2"};
    for (int i = 0; i < 2; i++) {
        run("train --parts c " MODEL "--steps 12 --eval-every 4 %s --out whole --threads 1", mixtures[i]);
        run("train --parts c " MODEL "--steps 12 --eval-every 4 %s --until 5 --out half --threads 2", mixtures[i]);
        assert_int_equal(step_of("half"), 5);
        run("cp -r half named && train --resume half --until 9 && train --resume half --threads 2");
        runs_compare("whole", "half");
        run("train --resume named c"); /* the corpus by name is the same corpus */
        logs_compare("whole", "named");
        run("rm -r whole half named");
    }
}

static void threads_change_no_bit(void **state) {
    (void)state;
    run("train --parts c " MODEL "--steps 4 --eval-every 2 --part-alpha 0 --out one --threads 1");
    run("train --parts c " MODEL "--steps 4 --eval-every 2 --part-alpha 0 --out two --threads 2");
    runs_compare("one", "two");
    run("rm -r one two");
}

/* The same rows in another arrangement. */
static void micro_batches_see_the_same_parts(void **state) {
    (void)state;
    run("train --parts c " SHAPE "--ffn dense --eval-windows 4 --steps 4 --batch 6 --out six --part-alpha 0.5");
    run("train --parts c " SHAPE "--ffn dense --eval-windows 4 --steps 4 --batch 2 --accumulate 3 --out two "
        "--part-alpha 0.5");
    json_t *six = log_of("six"), *two = log_of("two");
    const json_t *a = entry_of(six, "val_loss", 0), *b = entry_of(two, "val_loss", 0);
    expect_near(number_of(a, "val_loss"), number_of(b, "val_loss"), 1e-4);
    size_t tokens[PARTS];
    served_of("two", 0.5, NULL, 4 * 6, tokens);
    for (size_t p = 0; p < PARTS; p++) {
        const json_t *x = json_object_get(json_object_get(a, "parts"), names[p]);
        const json_t *y = json_object_get(json_object_get(b, "parts"), names[p]);
        assert_true(number_of(x, "tokens") == number_of(y, "tokens"));
        assert_true(number_of(x, "tokens") == (double)tokens[p]);
        expect_near(number_of(x, "val_bits_per_byte"), number_of(y, "val_bits_per_byte"), 1e-4);
    }
    json_decref(six);
    json_decref(two);
    run("rm -r six two");
}

/* ---- Mixtures ---- */

/* Weight 0: looked at, but neither trained on nor in the mean, by which the best model is chosen. */
static void a_part_without_weight_is_only_looked_at(void **state) {
    (void)state;
    run(TRAIN "--part-weights de=0,en=1,fr=3 --steps 4 --eval-every 2 --out run");
    struct heldout h[PARTS];
    size_t tokens[PARTS];
    heldout_of("run", WINDOWS, h);
    served_of("run", 1, "de=0,en=1,fr=3", 4 * BATCH, tokens);
    assert_int_equal(tokens[0], 0);
    assert_int_equal(tokens[1] + tokens[2], 4 * BATCH * SEQ);
    json_t *log = log_of("run");
    entry_expect(entry_of(log, "val_loss", 1), "val_", h, tokens, (const bool[]){false, true, true});
    heldout_of("run", 0, h);
    for (size_t p = 0; p < PARTS; p++) tokens[p] = h[p].targets;
    entry_expect(entry_of(log, "final_loss", 0), "final_", h, tokens, (const bool[]){false, true, true});
    struct checkpoint best = checkpoint_at("run", "best.safetensors");
    expect_near(strtod(metadata(&best, "best_loss"), NULL),
                fmin(number_of(entry_of(log, "val_loss", 0), "val_loss"),
                     number_of(entry_of(log, "val_loss", 1), "val_loss")), 1e-7);
    checkpoint_close(&best);
    json_decref(log);
    if (!strstr(errors, "de                    0  ")) fail_msg("%s", errors);
}

static void a_mixture_is_kept_for_ever(void **state) {
    (void)state;
    run(TRAIN "--part-alpha 0.3 --steps 9 --until 1 --out run");
    refuse(5, "--part-alpha 0.4: the run in run was begun with 0.3 and keeps it", "leave it out",
           "train --resume run --part-alpha 0.4");
    refuse(5, "--part-weights de=1,en=1,fr=1: the run in run was begun with", "leave it out",
           "train --resume run --part-weights de=1,en=1,fr=1");
    run("train --resume run --part-alpha 0.3 --until 2");
    run(TRAIN "--part-weights de=1,en=1,fr=2 --steps 9 --until 1 --out run");
    refuse(5, "--part-weights de=1,en=1,fr=1: the run in run was begun with de=1,en=1,fr=2", "leave it out",
           "train --resume run --part-weights de=1,en=1,fr=1");
    refuse(5, "--part-alpha 0.0: the run in run was begun with 1.0", "leave it out",
           "train --resume run --part-alpha 0");
    run("train --resume run --part-weights de=1,en=1,fr=2 --until 2");
    run(TRAIN "--part-alpha 0.3 --steps 9 --until 1 --out run");
    run("cp -r cache safe && rm -r cache/c-*/fr"); /* nor does it go on with other parts */
    refuse(5, "not the data that run/last.safetensors was trained on", "name the same corpus", "train --resume run");
    run("rm -r cache && mv safe cache && train --resume run --until 3 && rm -r run");
}

/* ---- Without parts ---- */

static void tensors_compare(const char *run_a, const char *run_b) {
    struct checkpoint a = checkpoint_at(run_a, "last.safetensors"), b = checkpoint_at(run_b, "last.safetensors");
    assert_int_equal(a.n, b.n);
    for (size_t i = 0; i < a.n; i++)
        if (memcmp(a.tensors[i].data, b.tensors[i].data, tensor_bytes(&a.tensors[i])) != 0)
            fail_msg("%s differs", a.tensors[i].name);
    assert_string_equal(metadata(&a, "val_loss"), metadata(&b, "val_loss"));
    checkpoint_close(&a);
    checkpoint_close(&b);
}

/* A corpus of one part is trained on as one without, but that it is told of. */
static void a_plain_run_knows_of_no_parts(void **state) {
    (void)state;
    run("train corpus.txt " MODEL "--steps 4 --eval-every 2 --out plain");
    assert_null(strstr(errors, "part"));
    assert_non_null(strstr(errors, "step 4: validation loss "));
    assert_non_null(strstr(errors, "step 4: loss on all held-out text "));
    run("ls plain/plots && ! grep -q parts plain/log.jsonl");
    assert_string_equal(output, "load.svg\nloss.svg\n");
    run("train it=corpus.txt " MODEL "--steps 4 --eval-every 2 --out one");
    tensors_compare("plain", "one");
    json_t *log = log_of("one"), *plain = log_of("plain");
    const json_t *entry = entry_of(log, "val_loss", 1);
    const json_t *part = json_object_get(json_object_get(entry, "parts"), "it");
    assert_true(number_of(part, "val_loss") == number_of(entry, "val_loss"));
    assert_true(number_of(part, "val_loss") == number_of(entry_of(plain, "val_loss", 1), "val_loss"));
    assert_true(number_of(part, "tokens") == 4 * BATCH * SEQ);
    json_decref(log);
    json_decref(plain);
    run("test -e one/plots/parts.svg && rm -r plain one");
}

/* A run with another's weights goes on with its parts, too. */
static void parts_come_with_the_data_of_another_run(void **state) {
    (void)state;
    run(TRAIN "--steps 2 --out run");
    run("train --from run --part-alpha 0 --steps 2 --batch 3 --cache cache --out next");
    assert_null(strstr(errors, "no effect"));
    json_t *log = log_of("next");
    assert_int_equal(json_object_size(json_object_get(entry_of(log, "val_loss", 0), "parts")), PARTS);
    json_decref(log);
    run("rm -r next run");
}

/* The tokens of all parts, and how often each is seen; and nothing is left but the cache. */
static void a_dry_run_counts_all_parts(void **state) {
    (void)state;
    run("train --parts c " MODEL "--dry-run --steps 50 --accumulate 2 --part-weights de=1,en=0,fr=3");
    static const double share[PARTS] = {0.25, 0, 0.75};
    size_t tokens = 0, windows = 0;
    struct error err;
    for (size_t p = 0; p < PARTS; p++) {
        char *command = string_format("ls -d cache/c-*/%s | head -1 | tr -d '\\n'", names[p]);
        char *said = string_format("%s", output);
        run("%s", command);
        struct loader *data = loader_open(output, "train", SEQ, false, 0, 1 << 20, &err);
        if (!data) fail_msg("%s", err.text);
        tokens += loader_tokens(data);
        windows += loader_windows(data);
        char *line = string_format("\n%-18s %zu tokens, %.2f%% of what is trained on: %.2f epochs in 50 steps\n",
                                   names[p], loader_tokens(data), 100 * share[p],
                                   50 * 2 * BATCH * share[p] / (double)loader_windows(data));
        if (!strstr(said, line)) fail_msg("%s is missing in\n%s", line, said);
        free(line);
        loader_close(data);
        text_save("said", said, strlen(said));
        text_read("said", output, sizeof output);
        free(said);
        free(command);
    }
    char *line = string_format("training tokens    %zu, %zu sequences an epoch\n", tokens, windows);
    if (!strstr(output, line)) fail_msg("%s is missing in\n%s", line, output);
    free(line);
    run("test ! -e runs");
}

/* ---- Bits per byte ---- */

/* How held-out text is cut into files: its ends have no bits. With all pieces about as likely, as they are before a
 * model has learnt anything, an end a line would make a tenth more. */
static void bits_do_not_depend_on_files(void **state) {
    (void)state;
    run("rm -rf v && mkdir v && split -l 1 -a 4 val.txt v/");
    double bits[2], loss[2];
    for (int i = 0; i < 2; i++) {
        run("rm -rf run && train corpus.txt " MODEL "--val %s --lr 0 --steps 1 --out run", i ? "v" : "val.txt");
        json_t *log = log_of("run");
        bits[i] = number_of(entry_of(log, "final_loss", 0), "final_bits_per_byte");
        loss[i] = number_of(entry_of(log, "final_loss", 0), "final_loss");
        json_decref(log);
    }
    expect_near(bits[1] / bits[0], 1, 0.01);
    expect_near(loss[1] / loss[0], 1, 0.05);
}

/* ---- What is said, and refused ---- */

static void note_expect(const char *options, const char *note, bool told) {
    char *line = string_format("train: note: %s\n", note);
    run("train corpus.txt " SHAPE "--dry-run %s", options);
    if ((strstr(errors, line) != NULL) != told) fail_msg("%s: %s%s", options, line, errors);
    free(line);
}

static void options_without_effect_are_told(void **state) {
    (void)state;
    static const struct {
        const char *options, *note;
        bool told;
    } cases[] = {
        {"--decay-steps 5", "--decay-steps has no effect without --schedule wsd", false},
        {"--schedule cosine", "--decay-steps has no effect without --schedule wsd", false},
        {"--schedule cosine --decay-steps 5", "--decay-steps has no effect without --schedule wsd", true},
        {"--schedule linear --decay-steps -1", "--decay-steps has no effect without --schedule wsd", true},
        {"--schedule constant --final-lr 0.5", "--final-lr has no effect with --schedule constant", true},
        {"--schedule cosine --final-lr 0.5", "--final-lr has no effect with --schedule constant", false},
        {"--schedule constant", "--final-lr has no effect with --schedule constant", false},
        {"--steps 5 --warmup 5", "--warmup is as long as the run: it ends before the learning rate's peak", true},
        {"--steps 5 --warmup 4", "--warmup is as long as the run: it ends before the learning rate's peak", false},
        {"--steps 0 --warmup 4", "--warmup is as long as the run: it ends before the learning rate's peak", false},
        {"--part-alpha 0.5", "--part-alpha has no effect: this corpus has no parts", true},
        {"--part-alpha 1", "--part-alpha has no effect: this corpus has no parts", false},
        {"", "--parts has no effect: this corpus has no parts", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        note_expect(cases[i].options, cases[i].note, cases[i].told);
    static const char both[] = "train: note: --part-alpha has no effect with --part-weights\n";
    run("train --parts c " SHAPE "--dry-run --part-weights de=1,en=1,fr=1");
    assert_null(strstr(errors, both));
    run("train --parts c " SHAPE "--dry-run --part-weights de=1,en=1,fr=1 --part-alpha 1");
    assert_non_null(strstr(errors, both));
    run("train --parts c " SHAPE "--dry-run --part-alpha 0.5");
    assert_null(strstr(errors, "no effect"));
    run("train corpus.txt " MODEL "--steps 1 --out plain && train --from plain --parts --part-alpha 0.5 --dry-run");
    assert_non_null(strstr(errors, "train: note: --parts has no effect: this corpus has no parts\n"));
    run("rm -r plain");
}

/* Neither a directory of a run nor an entry in the cache is left. */
static void bad_corpora_are_refused(void **state) {
    (void)state;
    static const struct {
        int code;
        const char *arguments, *says, *remedy;
    } cases[] = {
        {2, "en=c/en c/de", "c/de: of no part, while others are", "write NAME=c/de"},
        {2, "en=c/en en=c/de", "en: two parts have this name (c/en and c/de)", "put both into one"},
        {2, "--parts en=c/en", "--parts and NAME=PATH (en=c/en)", "leave out one"},
        {2, "en= de=c/de", "en=: names no path", "write it as in en=FILE"},
        {2, "--parts odd", "odd/a b: a part cannot have this name", "rename it"},
        {3, "--parts corpus.txt", "corpus.txt: cannot read this directory", "--parts takes one whose"},
        {3, "--parts c/de", "c/de: has no sub-directories", "leave out --parts"},
        {3, "--parts gone", "gone: cannot read this directory", "--parts takes one whose"},
        {3, "en=c/en de=gone", "gone: cannot read", "name a text file"},
        {3, "en=c/en de=empty", "empty: holds no text", "name a text file"},
        {3, "en=c/en de=tiny", "de: too little text to hold out", "add text to this part"},
        {2, "--parts c --val val.txt", "--val val.txt: each part of this corpus holds out", "leave out --val"},
        {2, "corpus.txt --val en=val.txt", "--val en=val.txt: held-out text has no part's name", "leave out en="},
        {2, "--parts c --part-weights de=1,en=1", "--part-weights: fr is left out", "add fr=1"},
        {2, "--parts c --part-weights de=1,en=1,fr=1,it=1", "no part has this name (got 'it'", "correct it"},
        {2, "--parts c --part-weights de=0,en=0,fr=0", "all are zero", "a weight above 0"},
        {2, "--parts c --part-weights de=-1,en=1,fr=1", "not a weight of de (got '-1'", "write it as in de=1"},
        {2, "--parts c --part-weights de=1,de=2,en=1,fr=1", "de is named twice", "leave one weight"},
        {2, "--parts c --part-weights de", "not a pair (got 'de'", "en=2,de=1"},
        {2, "--parts c --part-weights ''", "not a pair (got ''", "en=2,de=1"},
        {2, "--parts c --part-alpha -1", "--part-alpha: ", "want"},
        {2, "--parts c --part-alpha nan", "--part-alpha: ", "want"},
        {2, "corpus.txt --part-weights en=1", "this corpus has no parts (got 'en=1'", "leave the weights out"},
    };
    run("mkdir -p 'odd/a b' && cp val.txt 'odd/a b' && : >empty && printf 0123456789 >tiny");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int k = 0; k < 2; k++) {
            char *command = string_format("train %s " MODEL "--cache none %s", cases[i].arguments, k ? "--out no" : "");
            refuse(cases[i].code, cases[i].says, cases[i].remedy, command);
            free(command);
            run("test ! -e no && if [ -e runs ]; then rmdir runs; fi && ls -A none 2>/dev/null || true");
            if (*output) fail_msg("%s leaves %s", cases[i].arguments, output);
        }
    }
    char *command = string_format("train en=c/en de=short %s--out no", MODEL); /* a cache entry, but no run */
    run("printf '%%040d\\n' 0 >short");
    refuse(3, "/de: the ", "add text or lower --seq", command);
    free(command);
    run("test ! -e no");
}

/* A run without a name has that of its first path. */
static void a_run_is_named_after_the_first_path(void **state) {
    (void)state;
    run("train en=c/en/00.txt de=c/de " MODEL "--vocab 290 --steps 1 --seq 5 && ls runs");
    assert_string_equal(output, "00\n");
    run("rm -r runs && train --parts c " MODEL "--steps 1 && ls runs");
    assert_string_equal(output, "c\n");
    run("rm -r runs");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(validations_are_of_each_part),
        cmocka_unit_test(the_end_is_of_all_the_text_of_each_part),
        cmocka_unit_test(each_part_has_a_curve),
        cmocka_unit_test(a_resumed_run_is_the_same_run),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(micro_batches_see_the_same_parts),
        cmocka_unit_test(a_part_without_weight_is_only_looked_at),
        cmocka_unit_test(a_mixture_is_kept_for_ever),
        cmocka_unit_test(a_plain_run_knows_of_no_parts),
        cmocka_unit_test(parts_come_with_the_data_of_another_run),
        cmocka_unit_test(a_dry_run_counts_all_parts),
        cmocka_unit_test(bits_do_not_depend_on_files),
        cmocka_unit_test(options_without_effect_are_told),
        cmocka_unit_test(bad_corpora_are_refused),
        cmocka_unit_test(a_run_is_named_after_the_first_path),
    };
    return cmocka_run_group_tests(tests, corpus_make, workplace_remove);
}
