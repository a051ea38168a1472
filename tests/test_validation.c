/* What ./train says of the held-out text, computed once more from the checkpoint: the loss over the first
 * --eval-windows windows in the order of seed 0, whatever the run's own, and what follows from it. The bytes that bits
 * per byte divides by are counted twice: from the pieces of the targets, and, over the whole text, from the size of the
 * file. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <omp.h>

#include "../data/loader.h"
#include "../mhmoe.h"
#include "../tokenizer/tokenizer.h"
#include "command.h"
#include "prose.h"
#include "runs.h"

/* Windows that are no multiple of a batch, a seed that is neither the default nor the validation's. */
enum { SEQ = 17, BATCH = 3, WINDOWS = 7, PICKS = 4 /* of a row: heads, top-k */, LAYERS = 2, EXPERTS = 5 };
#define MODEL                                                                                            \
    "rm -rf run && train corpus.txt --block gpt2 --val val.txt --cache cache --vocab 301 --seq 17 --layers 5 " \
    "--channels 12 --attn-heads 3 --moe-heads 2 --experts 5 --topk 2 --expert-hidden 7 --balance bias " \
    "--batch 3 --warmup 2 --lr 0.02 --seed 3 --sample-every 0 --eval-windows 7 "

static int corpus_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    omp_set_num_threads(1); /* of the model here, which is as small */
    prose_save("corpus.txt", 500, 1);
    prose_save("val.txt", 60, 2);
    prose_save("val2.txt", 60, 3);
    return 0;
}

/* ---- The same figures, here ---- */

struct heldout {
    double loss, bits, bytes, load[LAYERS * EXPERTS]; /* bits: of the targets that have bytes */
    size_t targets, read; /* windows that were read */
};

/* -log2 p(token) by a row of the last forward. */
static double bits_of(struct model *m, size_t row, int32_t token) {
    const real *logits = model_logits(m, row);
    double sum = 0;
    for (int v = 0; v < m->config.vocab; v++) sum += exp((double)(logits[v] - logits[token]));
    return log2(sum);
}

/* Over the first `windows` windows (0: all) in the order of `seed`, or in that of the text. */
static struct heldout heldout_of(const char *run, const char *name, size_t windows, bool shuffle, uint64_t seed) {
    struct heldout h = {0};
    struct checkpoint c = checkpoint_at(run, name);
    struct error err;
    struct model m;
    tokenizer *pieces = tokenizer_from_checkpoint(&c, &err);
    if (!pieces || !model_load(&m, &c, (struct model_setup){MODEL_TRAIN, 1, false, STORAGE_F32}, &err))
        fail_msg("%s", err.text);
    struct loader *data = loader_open(metadata(&c, "data_dir"), "val", SEQ, shuffle, seed, 1 << 20, &err);
    if (!data) fail_msg("%s", err.text);
    h.read = windows ? windows : loader_windows(data);
    for (size_t w = 0; w < h.read; w++) {
        int32_t inputs[SEQ], targets[SEQ];
        size_t count, size;
        if (!loader_next(data, 1, inputs, targets, &err)) fail_msg("%s", err.text);
        model_forward(&m, &(struct batch){.B = 1, .T = SEQ, .tokens = inputs, .targets = targets});
        h.loss += model_loss(&m, 0, &count);
        h.targets += count;
        for (int i = 0; i < SEQ; i++) {
            if (targets[i] == TARGET_NONE) continue;
            tokenizer_piece(pieces, targets[i], &size);
            h.bytes += (double)size;
            if (size > 0) h.bits += bits_of(&m, (size_t)i, targets[i]);
        }
    }
    h.loss /= (double)h.targets;
    for (size_t i = 0; i < LAYERS * EXPERTS; i++) h.load[i] = m.load[i];
    loader_close(data);
    tokenizer_free(pieces);
    model_destroy(&m);
    checkpoint_close(&c);
    return h;
}

/* Nine digits are logged. `kind` is "val" or "final". */
static void entry_expect(const json_t *entry, const char *kind, const struct heldout *want) {
    char *keys[5];
    static const char *const names[] = {"loss", "perplexity", "bits_per_byte", "load", "windows"};
    for (int i = 0; i < 5; i++) keys[i] = string_format("%s_%s", kind, names[i]);
    const double perplexity = exp(want->loss);
    const double bits = want->bits / want->bytes;
    expect_near(number_of(entry, keys[0]), want->loss, 1e-7);
    expect_near(number_of(entry, keys[1]), perplexity, 1e-7 * perplexity);
    expect_near(number_of(entry, keys[2]), bits, 1e-7);
    assert_true(number_of(entry, keys[4]) == (double)want->read);
    const json_t *layers = json_object_get(entry, keys[3]);
    assert_int_equal(json_array_size(layers), LAYERS);
    for (size_t i = 0; i < LAYERS * EXPERTS; i++)
        assert_true(json_number_value(json_array_get(json_array_get(layers, i / EXPERTS), i % EXPERTS)) ==
                    want->load[i]);
    for (int i = 0; i < 5; i++) free(keys[i]);
}

/* "step 4: validation loss 5.1234, perplexity 167.90, 3.1234 bits per byte" on standard error. */
static void line_expect(int step, const char *what, const struct heldout *want) {
    char *line = string_format("step %d: %s %.4f, perplexity %.2f, %.4f bits per byte", step, what, want->loss,
                               exp(want->loss), want->bits / want->bytes);
    if (!strstr(errors, line)) fail_msg("'%s' is missing in\n%s", line, errors);
    free(line);
}

/* ---- On the way ---- */

static void validation_takes_the_first_windows_of_its_own_order(void **state) {
    (void)state;
    run(MODEL "--steps 9 --until 4 --eval-every 2 --out run");
    const struct heldout want = heldout_of("run", "last.safetensors", WINDOWS, true, 0);
    json_t *log = log_of("run");
    assert_int_equal(entries_of(log, "val_loss"), 2);
    const json_t *entry = entry_of(log, "val_loss", 1);
    assert_true(number_of(entry, "step") == 4);
    entry_expect(entry, "val", &want);
    line_expect(4, "validation loss", &want);
    double picks = 0;
    for (size_t i = 0; i < LAYERS * EXPERTS; i++) picks += want.load[i];
    assert_true(picks == LAYERS * WINDOWS * SEQ * PICKS);
    const struct heldout others[] = {/* each of which would show */
                                     heldout_of("run", "last.safetensors", WINDOWS, false, 0),
                                     heldout_of("run", "last.safetensors", WINDOWS, true, 3),
                                     heldout_of("run", "last.safetensors", WINDOWS - 1, true, 0),
                                     heldout_of("run", "last.safetensors", 0, true, 0)};
    for (int i = 0; i < 4; i++) assert_true(fabs(others[i].loss - want.loss) > 1e-5);
    json_decref(log);
    run("rm -r run");
}

/* The best so far is kept, with its loss, and goes on to be compared with after a resume. */
static void best_is_the_lowest_validation(void **state) {
    (void)state;
    run(MODEL "--steps 30 --until 8 --eval-every 2 --out run");
    run("cp run/best.safetensors best && train --resume run --until 12 --lr 3");
    json_t *log = log_of("run");
    double lowest = INFINITY;
    int at = 0;
    for (size_t i = 0; i < 6; i++) {
        const json_t *entry = entry_of(log, "val_loss", i);
        if (number_of(entry, "val_loss") >= lowest) continue;
        lowest = number_of(entry, "val_loss");
        at = (int)number_of(entry, "step");
    }
    assert_int_equal(at, 8); /* and then it got worse */
    struct checkpoint best = checkpoint_at("run", "best.safetensors"), last = checkpoint_at("run", "last.safetensors");
    const struct heldout want = heldout_of("run", "best.safetensors", WINDOWS, true, 0);
    assert_int_equal(strtol(metadata(&best, "step"), NULL, 10), at);
    expect_near(strtod(metadata(&best, "best_loss"), NULL), lowest, 1e-7);
    expect_near(strtod(metadata(&last, "best_loss"), NULL), lowest, 1e-7);
    expect_near(strtod(metadata(&best, "val_loss"), NULL), lowest, 1e-7);
    expect_near(strtod(metadata(&last, "val_loss"), NULL),
                number_of(entry_of(log, "val_loss", 5), "val_loss"), 1e-7);
    expect_near(want.loss, lowest, 1e-7);
    checkpoint_close(&best);
    checkpoint_close(&last);
    json_decref(log);
    run("cmp best run/best.safetensors && rm -r run best");
}

/* Before the first validation there is no loss, so that whatever it finds is better. */
static void no_loss_is_infinite(void **state) {
    (void)state;
    run(MODEL "--steps 9 --until 1 --eval-every 2 --out run");
    struct checkpoint c = checkpoint_at("run", "last.safetensors");
    assert_string_equal(metadata(&c, "best_loss"), "inf");
    assert_string_equal(metadata(&c, "val_loss"), "inf");
    checkpoint_close(&c);
    run("test ! -e run/best.safetensors && train --resume run --until 2 && test -e run/best.safetensors && rm -r run");
}

/* Of equal validations the first one is the best: nothing is written again. */
static void equal_validations_are_no_better(void **state) {
    (void)state;
    run(MODEL "--steps 6 --eval-every 2 --lr 0 --balance none --out run");
    json_t *log = log_of("run");
    assert_int_equal(entries_of(log, "val_loss"), 3);
    assert_true(number_of(entry_of(log, "val_loss", 0), "val_loss") ==
                number_of(entry_of(log, "val_loss", 2), "val_loss"));
    struct checkpoint best = checkpoint_at("run", "best.safetensors");
    assert_string_equal(metadata(&best, "step"), "2");
    checkpoint_close(&best);
    json_decref(log);
    run("rm -r run");
}

/* ---- At the end ---- */

/* Every token of the file but its first is a target once, so their bytes are the file's, less that piece's. */
static void last_figure_is_of_all_the_text(void **state) {
    (void)state;
    run(MODEL "--steps 3 --eval-every 0 --out run");
    struct heldout want = heldout_of("run", "last.safetensors", 0, true, 0);
    struct checkpoint c = checkpoint_at("run", "last.safetensors");
    struct error err;
    tokenizer *pieces = tokenizer_from_checkpoint(&c, &err);
    struct loader *data = loader_open(metadata(&c, "data_dir"), "val", SEQ, false, 0, 1 << 20, &err);
    assert_true(pieces && data);
    int32_t inputs[SEQ], targets[SEQ];
    size_t first;
    assert_true(loader_next(data, 1, inputs, targets, &err));
    tokenizer_piece(pieces, inputs[0], &first);
    assert_true(want.bytes == (double)(file_size("val.txt") - first));
    assert_int_equal(want.targets, loader_tokens(data) - 1);
    json_t *log = log_of("run");
    entry_expect(entry_of(log, "final_loss", 0), "final", &want);
    line_expect(3, "loss on all held-out text", &want);
    want = heldout_of("run", "last.safetensors", WINDOWS, true, 0);
    assert_int_equal(entries_of(log, "val_loss"), 1); /* --eval-every 0: none but the last one */
    entry_expect(entry_of(log, "val_loss", 0), "val", &want);
    json_decref(log);
    loader_close(data);
    tokenizer_free(pieces);
    checkpoint_close(&c);
    run("rm -r run");
}

/* ---- What cannot be validated ---- */

/* Moments that make the next step one of 1e38 / 1e-4: the step's own loss is finite, the weights after it are not. */
static void checkpoint_spoil(const char *path) {
    struct checkpoint c;
    struct error err;
    if (!checkpoint_open(&c, path, &err)) fail_msg("%s", err.text);
    struct tensor tensors[c.n];
    for (size_t i = 0; i < c.n; i++) {
        tensors[i] = c.tensors[i];
        float *numbers = tensors[i].data = memcpy(array_alloc(tensor_bytes(&c.tensors[i]), 1), c.tensors[i].data,
                                                  tensor_bytes(&c.tensors[i]));
        const bool mean = strcmp(tensors[i].name, "adam_m.wpe") == 0;
        if (!mean && strcmp(tensors[i].name, "adam_v.wpe") != 0) continue;
        for (size_t j = 0; j < tensor_count(&tensors[i]); j++) numbers[j] = mean ? 1e38f : 0;
    }
    const size_t n = c.n;
    json_t *strings = json_deep_copy(c.metadata);
    checkpoint_close(&c);
    if (!checkpoint_write(path, tensors, n, strings, &err)) fail_msg("%s", err.text);
    for (size_t i = 0; i < n; i++) free(tensors[i].data);
    json_decref(strings);
}

static void validation_that_is_not_finite_ends_the_run(void **state) {
    (void)state;
    run(MODEL "--steps 9 --until 2 --eval-every 1 --save-every 0 --out run");
    checkpoint_spoil("run/last.safetensors");
    run("cp run/last.safetensors last && cp run/best.safetensors best");
    refuse(8, "run: step 3: the validation loss is not finite", "try a lower --lr", "train --resume run");
    run("cmp last run/last.safetensors && cmp best run/best.safetensors");
    json_t *log = log_of("run");
    assert_true(number_of(entry_of(log, "loss", 2), "loss") < 7); /* ln(301) is 5.7 */
    assert_int_equal(entries_of(log, "loss"), 3);
    assert_int_equal(entries_of(log, "val_loss"), 2);
    json_decref(log);
    static const char *const saves[] = {"--steps 3", "--save-every 3", "--until 3"}; /* nor is such a model saved */
    for (int i = 0; i < 3; i++) {
        char *command = string_format("train --resume run --eval-every 0 %s", saves[i]);
        refuse(8, "run: step 3: a weight is not finite", "try a lower --lr", command);
        free(command);
    }
    run("cmp last run/last.safetensors && cmp best run/best.safetensors && rm -r run last best");
}

/* Tokens of other text behind the same name: those to train on, and those held out. */
static void other_shards_are_refused(void **state) {
    (void)state;
    static const char *const splits[] = {"train", "val"};
    run(MODEL "--steps 9 --until 1 --out run && cp cache/*/tokenizer.model model");
    run("mkdir other && train val.txt --val val2.txt --tokenizer model --seq 17 --cache other --dry-run");
    for (int i = 0; i < 2; i++) {
        run("cp cache/corpus.txt-*/%s-00000.shard shard && cp other/*/%s-00000.shard cache/corpus.txt-*/", splits[i],
            splits[i]);
        refuse(5, "not the data", "name the same corpus", "train --resume run");
        run("mv shard cache/corpus.txt-*/%s-00000.shard", splits[i]);
    }
    run("train --resume run --until 2 && rm -r run other model");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(validation_takes_the_first_windows_of_its_own_order),
        cmocka_unit_test(best_is_the_lowest_validation),
        cmocka_unit_test(no_loss_is_infinite),
        cmocka_unit_test(equal_validations_are_no_better),
        cmocka_unit_test(last_figure_is_of_all_the_text),
        cmocka_unit_test(validation_that_is_not_finite_ends_the_run),
        cmocka_unit_test(other_shards_are_refused),
    };
    return cmocka_run_group_tests(tests, corpus_make, workplace_remove);
}
