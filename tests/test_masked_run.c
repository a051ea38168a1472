/* ./train --task masked as its user runs it: losses, rows and the parts' figures once more by a model and examples of
 * its own; resumed, threaded and accumulated runs that are the same run; what is copied from another model. What is
 * refused: test_masked_refusals.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <omp.h>

#include "../data/examples.h"
#include "../mhmoe.h"
#include "../tokenizer/tokenizer.h"
#include "command.h"
#include "picture_files.h"
#include "prose.h"
#include "runs.h"

/* Windows that are no multiple of a batch, a seed that is neither the default nor the validation's. */
enum { SEED = 3, SEQ = 17, BATCH = 4, STEPS = 7, WINDOWS = 7, PARTS = 4, P = 4, CODES = 8 };
#define SHAPE                                                                                                     \
    "--block gpt2 --cache cache --seq 17 --layers 2 --channels 8 --attn-heads 2 --moe-heads 2 --experts 3 "       \
    "--topk 2 --expert-hidden 5 --moe-every 1 --balance bias --lr 0.02 --warmup 2 --seed 3 --patch 4 --codes 8 "
#define MODEL SHAPE "--task masked --vocab 300 --batch 4 --eval-windows 7 "
#define TRAIN "rm -rf run && train p " MODEL
#define HIDES "--hide-patches 0.6 --hide-text 0.35 --hide-caption 0.8 "

static const char *const names[PARTS] = {"patches", "patches_with_text", "words", "words_with_picture"};

static int folders_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    omp_set_num_threads(1); /* of the model here, which is as small */
    pictures_make("p", 90, 8);
    texts_make("p/lines.txt", 40);
    prose_save("corpus.txt", 500, 4);
    run("train p " MODEL "--steps 7 --eval-every 3 --save-every 3 --out whole");
    return 0;
}

/* ---- The same, here ---- */

struct reference {
    struct checkpoint checkpoint;
    struct model model;
    tokenizer *pieces;
};

/* The model of a run's last checkpoint. */
static struct reference reference_of(const char *run) {
    struct reference r = {.checkpoint = checkpoint_at(run, "last.safetensors")};
    struct error err;
    r.pieces = tokenizer_from_checkpoint(&r.checkpoint, &err);
    const struct model_setup setup = {MODEL_TRAIN, 32, false, STORAGE_F32};
    if (!r.pieces || !model_load(&r.model, &r.checkpoint, setup, &err)) fail_msg("%s", err.text);
    return r;
}

static void reference_free(struct reference *r) {
    model_destroy(&r->model);
    tokenizer_free(r->pieces);
    checkpoint_close(&r->checkpoint);
}

static const struct examples_options served = {.seq = SEQ, .seed = SEED, .shuffle = true, .hide_patches = 0.4,
                                               .hide_text = 0.15, .hide_caption = 0.5, .cache_bytes = 1 << 20};

static struct examples *examples_of(const struct reference *r, const char *split, const struct examples_options *o) {
    struct error err;
    struct examples *e = examples_open(metadata(&r->checkpoint, "data_dir"), split, o, &err);
    if (!e) fail_msg("%s", err.text);
    return e;
}

/* Of the first n examples by the model as it was before the first step, and how many rows they are. */
static double first_loss(struct reference *r, const struct examples_options *o, size_t n, size_t *rows) {
    struct examples *e = examples_of(r, "train", o);
    struct batch batch;
    struct error err;
    size_t count;
    model_initialize(&r->model, SEED);
    memset(r->model.router_bias, 0, r->model.sizes.LM * r->model.sizes.E * sizeof(real));
    model_pack(&r->model);
    assert_true(examples_next(e, n, &batch, NULL, &err));
    model_forward(&r->model, &batch);
    const double loss = model_loss(&r->model, 0, &count) / (double)count;
    *rows = batch_rows(&batch);
    examples_close(e);
    return loss;
}

/* Nine digits are logged; single precision's rounding in another order. */
#define NEAR 2e-6

static void first_step_check(const struct examples_options *o, size_t n) {
    struct reference r = reference_of("run");
    json_t *log = log_of("run");
    size_t rows;
    const double loss = first_loss(&r, o, n, &rows);
    expect_near(number_of(entry_of(log, "loss", 0), "loss"), loss, NEAR);
    expect_near(number_of(entry_of(log, "loss", 0), "tokens"), (double)rows, 0);
    json_decref(log);
    reference_free(&r);
}

/* ---- Steps ---- */

static void losses_are_of_the_examples(void **state) {
    (void)state;
    static const char *const kinds[] = {"--ffn dense", "--ffn smoe --router cosine", "--ffn mhmoe", "--block modern"};
    for (int k = 0; k < 4; k++) {
        run(TRAIN "--steps 1 --out run %s", kinds[k]);
        first_step_check(&served, BATCH);
        assert_string_equal(output, ""); /* no sample */
    }
    run(TRAIN "--steps 1 --batch 2 --accumulate 3 --out run");
    first_step_check(&served, 6);
}

/* Each changes what is trained on, as the same share of the reference does, and none is another's. */
static void shares_are_hidden_as_told(void **state) {
    (void)state;
    for (int k = 0; k < 3; k++) {
        static const char *const options[] = {"--hide-patches 0.9", "--hide-text 0.7", "--hide-caption 0.1"};
        struct examples_options o = served;
        *(double *[]){&o.hide_patches, &o.hide_text, &o.hide_caption}[k] = (double[]){0.9, 0.7, 0.1}[k];
        run(TRAIN "--steps 1 --batch 24 --out run %s", options[k]);
        first_step_check(&o, 24);
        struct reference r = reference_of("run");
        size_t rows;
        const double other = first_loss(&r, &served, 24, &rows), mine = first_loss(&r, &o, 24, &rows);
        assert_true(fabs(other - mine) > 100 * NEAR);
        reference_free(&r);
    }
}

/* "tokens" are the rows of what has been served; a load is picks of each row and sub-token. */
static void rows_are_counted(void **state) {
    (void)state;
    struct reference r = reference_of("whole");
    struct examples *e = examples_of(&r, "train", &served);
    json_t *log = log_of("whole");
    struct batch batch;
    struct error err;
    size_t rows = 0;
    for (size_t step = 0; step < STEPS; step++) {
        const json_t *entry = entry_of(log, "loss", step), *load = json_object_get(entry, "load"), *layer, *picks;
        size_t l, i;
        double sum = 0;
        assert_true(examples_next(e, BATCH, &batch, NULL, &err));
        rows += batch_rows(&batch);
        expect_near(number_of(entry, "step"), (double)step + 1, 0);
        expect_near(number_of(entry, "tokens"), (double)rows, 0);
        json_array_foreach(load, l, layer) json_array_foreach(layer, i, picks) sum += json_number_value(picks);
        expect_near(sum, 2 * 2 * 2 * (double)batch_rows(&batch), 0); /* layers, sub-tokens, top-k */
        assert_true(number_of(entry, "tokens_per_second") > 0);
    }
    expect_near(number_of(entry_of(log, "final_loss", 0), "tokens"), (double)rows, 0);
    assert_int_equal(strtol(metadata(&r.checkpoint, "tokens"), NULL, 10), rows);
    assert_int_equal(strtol(metadata(&r.checkpoint, "data_position"), NULL, 10), STEPS * BATCH);
    assert_string_equal(metadata(&r.checkpoint, "language"), "en");
    json_decref(log);
    examples_close(e);
    reference_free(&r);
}

/* Gradients are sums over micro-batches, and the loss is a mean over all of what they hide. */
static void micro_batches_are_one_batch(void **state) {
    (void)state;
    run(TRAIN "--steps 4 --eval-every 2 --batch 2 --accumulate 2 --out run && rm -rf other && train p " MODEL
        "--steps 4 --eval-every 2 --batch 4 --out other");
    struct checkpoint a = checkpoint_at("run", "last.safetensors"), b = checkpoint_at("other", "last.safetensors");
    json_t *mine = log_of("run"), *theirs = log_of("other");
    for (size_t i = 0; i < a.n; i++) {
        const struct tensor *t = &a.tensors[i];
        if (t->dtype != DTYPE_F32 || strncmp(t->name, "adam_m.", 7) != 0) continue; /* Adam enlarges rounding */
        const float *x = t->data, *y = tensor_named(&b, t->name)->data;
        for (size_t k = 0; k < tensor_count(t); k++) expect_near(x[k], y[k], 1e-3);
    }
    for (size_t step = 0; step < 4; step++) {
        static const char *const keys[] = {"loss", "gradient_norm", "tokens", "lr"};
        for (int k = 0; k < 4; k++)
            expect_near(number_of(entry_of(mine, "loss", step), keys[k]),
                        number_of(entry_of(theirs, "loss", step), keys[k]), step == 0 ? 2e-6 : 5e-4);
    }
    json_decref(mine);
    json_decref(theirs);
    checkpoint_close(&a);
    checkpoint_close(&b);
}

/* ---- The same run ---- */

static void threads_make_no_difference(void **state) {
    (void)state;
    run(TRAIN "--steps 7 --eval-every 3 --save-every 3 --threads 3 --out run");
    checkpoints_compare("whole", "run", "last.safetensors");
    checkpoints_compare("whole", "run", "best.safetensors");
    logs_compare("whole", "run");
}

/* Stopped twice; what is hidden is kept. */
static void resumed_runs_are_the_same(void **state) {
    (void)state;
    run("rm -rf other && train p " MODEL HIDES "--steps 7 --eval-every 3 --sample-every 2 --out other");
    run(TRAIN HIDES "--steps 7 --eval-every 3 --sample-every 2 --until 2 --out run");
    run("train --resume run --until 3");
    refuse(5, "--hide-patches 0.4: the run in run was begun with 0.6 and keeps it", "leave it out",
           "train --resume run --hide-patches 0.4");
    refuse(5, "--hide-text 0.15: the run in run was begun with 0.35 and keeps it", "leave it out",
           "train --resume run --hide-text 0.15");
    refuse(5, "--hide-caption 0.5: the run in run was begun with 0.8 and keeps it", "leave it out",
           "train --resume run --hide-caption 0.5");
    refuse(5, "--codes 7: the run in run was begun with 8 and keeps it", "leave it out",
           "train p --resume run --codes 7");
    refuse(5, "--task text: the run in run was begun with masked and keeps it", "leave it out",
           "train --resume run --task text");
    run("train --resume run --hide-patches 0.6");
    assert_string_equal(output, "");
    checkpoints_compare("other", "run", "last.safetensors");
    checkpoints_compare("other", "run", "best.safetensors");
    logs_compare("other", "run");
    run("diff other/plots/parts.svg run/plots/parts.svg");
}

/* ---- Sizes ---- */

static void sizes_expect(const char *options, size_t size, size_t patch, size_t codes) {
    char key[60];
    run(TRAIN "--steps 1 --out run %s", options);
    struct checkpoint c = checkpoint_at("run", "last.safetensors");
    struct album *a;
    struct error err;
    const struct tensor *book = tensor_named(&c, "codebook"), *w = tensor_named(&c, "patchw");
    assert_int_equal(book->shape[0], codes);
    assert_int_equal(book->shape[1], patch * patch * 3);
    assert_int_equal(w->shape[1], patch * patch * 3);
    assert_int_equal(tensor_named(&c, "codew")->shape[0], codes);
    assert_int_equal(c.tensors[c.n - 1].dims, 1);
    sprintf(key, "\"size\":%zu,\"patch\":%zu,\"codes\":%zu,", size, patch, codes);
    assert_non_null(strstr(metadata(&c, "config"), key));
    assert_non_null(a = album_open(metadata(&c, "data_dir"), "train", 0, &err));
    assert_int_equal(album_size(a), size);
    assert_int_equal(album_patch(a), patch);
    assert_int_equal(album_codes(a), codes);
    album_close(a);
    checkpoint_close(&c);
    sprintf(key, "grep -q '^size = %zu$' run/config", size);
    run("%s", key);
}

static void sizes_are_as_told(void **state) {
    (void)state;
    sizes_expect("", 8, 4, 8);
    sizes_expect("--size 12", 12, 4, 8);
    sizes_expect("--size 9 --patch 3 --codes 11", 9, 3, 11);
    sizes_expect("--patch 8 --codes 5", 8, 8, 5);
    run("train --resume run --steps 2"); /* finds the album that it was trained on */
    run("train p --resume run --steps 3");
}

/* What is held out, and what is said of it, before anything is trained. */
static void dry_runs_say_what_an_epoch_is(void **state) {
    (void)state;
    struct reference r = reference_of("whole");
    struct examples *e = examples_of(&r, "train", &served);
    char line[80];
    run(TRAIN "--steps 10 --batch 3 --accumulate 2 --dry-run");
    snprintf(line, sizeof line, "training examples  %zu an epoch\n", examples_epoch(e));
    if (!strstr(output, line)) fail_msg("'%s' is missing: %s", line, output);
    snprintf(line, sizeof line, "epochs             %.2f in 10 steps\n", 60 / (double)examples_epoch(e));
    if (!strstr(output, line)) fail_msg("'%s' is missing: %s", line, output);
    assert_null(strstr(output, "training tokens"));
    run("! test -e run");
    examples_close(e);
    reference_free(&r);
}

/* ---- What is held out ---- */

struct heldout {
    double loss, bits, bytes;
    size_t targets;
};

/* Of each part, over the first n held-out examples (0: all). Returns how many. */
static size_t heldout_of(struct reference *r, size_t n, struct heldout parts[PARTS]) {
    struct examples_options o = served;
    struct error err;
    o.shuffle = false;
    o.seed = 0;
    struct examples *e = examples_of(r, "val", &o);
    const size_t all = examples_epoch(e), V = r->model.sizes.V;
    if (n == 0 || n > all) n = all;
    memset(parts, 0, PARTS * sizeof *parts);
    for (size_t i = 0; i < n; i++) {
        struct batch b;
        uint8_t kind;
        size_t count, size;
        assert_true(examples_next(e, 1, &b, &kind, &err));
        model_forward(&r->model, &b);
        model_loss(&r->model, 0, &count);
        for (size_t row = 0; row < batch_rows(&b); row++) {
            if (b.targets[row] == TARGET_NONE) continue;
            const bool patch = b.targets[row] >= (int32_t)V;
            struct heldout *h = &parts[(patch ? 0 : 2) + (kind == EXAMPLE_PAIR)];
            const double loss = (double)model_losses(&r->model)[row];
            h->targets++;
            h->loss += loss;
            tokenizer_piece(r->pieces, patch ? -1 : b.targets[row], &size);
            h->bytes += (double)size;
            if (size > 0) h->bits += loss / M_LN2;
        }
    }
    for (int p = 0; p < PARTS; p++) parts[p].loss /= (double)parts[p].targets, parts[p].bits /= parts[p].bytes;
    examples_close(e);
    return n;
}

static void figure_expect(const json_t *object, const char *prefix, const char *name, double want) {
    char *key = string_format("%s%s", prefix, name);
    expect_near(number_of(object, key), want, NEAR * (want > 1 ? want : 1));
    free(key);
}

static void entry_expect(const json_t *entry, const char *prefix, struct reference *r, size_t limit) {
    struct heldout h[PARTS];
    const size_t n = heldout_of(r, limit, h);
    const json_t *parts = json_object_get(entry, "parts");
    const bool final = strcmp(prefix, "final_") == 0;
    char *bits = string_format("%sbits_per_byte", prefix);
    double mean = 0;
    assert_int_equal(json_object_size(parts), PARTS);
    for (int p = 0; p < PARTS; p++) {
        const json_t *part = json_object_get(parts, names[p]);
        assert_true(h[p].targets > 0);
        figure_expect(part, prefix, "loss", h[p].loss);
        figure_expect(part, prefix, "perplexity", exp(h[p].loss));
        figure_expect(part, prefix, "windows", (double)n);
        if (p >= 2) figure_expect(part, prefix, "bits_per_byte", h[p].bits);
        else assert_null(json_object_get(part, bits));
        if (final) expect_near(number_of(part, "tokens"), (double)h[p].targets, 0);
        else assert_null(json_object_get(part, "tokens"));
        mean += h[p].loss / PARTS;
    }
    figure_expect(entry, prefix, "loss", mean);
    figure_expect(entry, prefix, "perplexity", exp(mean));
    figure_expect(entry, prefix, "windows", (double)n);
    assert_null(json_object_get(entry, bits));
    free(bits);
}

/* The last validation and the final figures are the last checkpoint's; the one at step 3 the one's before. */
static void figures_are_of_the_parts(void **state) {
    (void)state;
    struct reference r = reference_of("whole");
    json_t *log = log_of("whole");
    assert_int_equal(entries_of(log, "val_loss"), 3);
    assert_int_equal(entries_of(log, "final_loss"), 1);
    entry_expect(entry_of(log, "val_loss", 2), "val_", &r, WINDOWS);
    entry_expect(entry_of(log, "final_loss", 0), "final_", &r, 0);
    json_decref(log);
    reference_free(&r);
    run(TRAIN "--steps 2 --eval-windows 5 --final-windows 9 --eval-every 1 --out run");
    r = reference_of("run");
    log = log_of("run");
    entry_expect(entry_of(log, "val_loss", 1), "val_", &r, 5);
    entry_expect(entry_of(log, "final_loss", 0), "final_", &r, 9);
    json_decref(log);
    reference_free(&r);
    struct checkpoint best = checkpoint_at("whole", "best.safetensors");
    tensor_named(&best, "codebook");
    assert_null(checkpoint_find(&best, "adam_m.wte"));
    checkpoint_close(&best);
}

/* Held-out pictures of 8 x 8 pixels over what their codes paint: 14 pixels from one to the next. */
static void codes_are_shown(const char *dir, size_t n) {
    struct picture sheet;
    struct error err;
    char *path = string_format("%s/plots/codes.png", dir);
    if (!picture_read(&sheet, path, &err)) fail_msg("%s", err.text);
    assert_int_equal(sheet.width, 6 + n * 14);
    free(sheet.rgb);
    free(path);
}

/* The table, whose figures are those of the log, and the curves. */
static void parts_are_shown(void **state) {
    (void)state;
    run(TRAIN "--steps 2 --eval-every 1 --out run");
    json_t *log = log_of("run");
    const json_t *parts = json_object_get(entry_of(log, "final_loss", 0), "parts");
    const char *at = strstr(errors, "part                tokens trained on    held out      loss  bits per byte\n");
    if (!at) fail_msg("there is no table: %s", errors);
    for (int p = 0; p < PARTS; p++) {
        char line[200], bits[20] = "-";
        const json_t *part = json_object_get(parts, names[p]);
        if (p >= 2) snprintf(bits, sizeof bits, "%.4f", number_of(part, "final_bits_per_byte"));
        snprintf(line, sizeof line, "%-18s  %17s  %10.0f  %8.4f  %13s\n", names[p], "-", number_of(part, "tokens"),
                 number_of(part, "final_loss"), bits);
        at = strchr(at, '\n') + 1;
        if (strncmp(at, line, strlen(line)) != 0) fail_msg("'%s' is not the next line: %s", line, at);
    }
    if (!strstr(errors, "step 1: mean of the parts ")) fail_msg("no validation is told: %s", errors);
    text_read("run/plots/parts.svg", output, sizeof output);
    assert_non_null(strstr(output, "What is filled in, held out"));
    assert_non_null(strstr(output, "loss (nats)"));
    for (int p = 0; p < PARTS; p++) assert_non_null(strstr(output, names[p]));
    run("test -s run/plots/loss.svg && test -s run/plots/load.svg");
    codes_are_shown("run", 5); /* a twentieth of 90 are held out */
    json_decref(log);
}

/* Folders that have no texts, or no pictures: the parts there are not are left out. */
static void folders_may_hold_one_kind(void **state) {
    (void)state;
    static const char *const only[][2] = {{"words", "pictureless"}, {"patches", "textless"}};
    run("mkdir -p pictureless textless && cp p/lines.txt pictureless && cp p/[0-9].png p/1[0-9].png textless");
    for (int k = 0; k < 2; k++) {
        run("rm -rf run && train %s " MODEL "--steps 2 --out run%s", only[k][1], k ? " --vocab 260" : "");
        for (int p = 0; p < PARTS; p++) {
            char *row = string_format("\n%s ", names[p]);
            assert_true((strstr(errors, row) != NULL) == (strcmp(names[p], only[k][0]) == 0));
            free(row);
        }
        json_t *log = log_of("run");
        const json_t *entry = entry_of(log, "final_loss", 0), *parts = json_object_get(entry, "parts");
        assert_int_equal(json_object_size(parts), 1);
        const json_t *part = json_object_get(parts, only[k][0]);
        expect_near(number_of(entry, "final_loss"), number_of(part, "final_loss"), 0);
        struct checkpoint c = checkpoint_at("run", "last.safetensors");
        assert_true((checkpoint_find(&c, "codebook") != NULL) == k);
        assert_true((access("run/plots/codes.png", F_OK) == 0) == k);
        assert_true((checkpoint_find(&c, "patchw") != NULL) == k);
        assert_string_equal(metadata(&c, "language"), "");
        checkpoint_close(&c);
        json_decref(log);
        run("train --resume run --steps 3");
    }
}

/* ---- From another model ---- */

static void tensor_equal(const struct checkpoint *a, const struct checkpoint *b, const char *name) {
    const struct tensor *s = tensor_named(a, name), *t = tensor_named(b, name);
    assert_int_equal(tensor_bytes(s), tensor_bytes(t));
    if (memcmp(s->data, t->data, tensor_bytes(s)) != 0) fail_msg("%s is another one", name);
}

static void from_expect(const char *says) {
    json_t *log = log_of("run");
    const json_t *entry = json_array_get(log, 0);
    assert_non_null(json_object_get(entry, "from"));
    const char *told = strstr(errors, "weights of ");
    if (!strstr(errors, says)) fail_msg("'%s' is missing: %s", says, errors);
    assert_null(strstr(told + 1, "weights of ")); /* once, when all is known */
    json_decref(log);
}

/* Nothing is trained: what the new run holds is what it began with. */
static void masked_models_are_copied(void **state) {
    (void)state;
    run("rm -rf run && train --from whole --steps 0 --seed 9 --cache cache --out run");
    from_expect("weights of whole/best.safetensors\n");
    struct checkpoint a = checkpoint_at("whole", "best.safetensors"), b = checkpoint_at("run", "last.safetensors");
    for (size_t i = 0; i < a.n; i++) tensor_equal(&a, &b, a.tensors[i].name);
    assert_string_equal(metadata(&a, "data_hash"), metadata(&b, "data_hash"));
    assert_string_equal(metadata(&a, "language"), metadata(&b, "language"));
    assert_string_equal(metadata(&b, "tokens"), "0");
    checkpoint_close(&a);
    checkpoint_close(&b);
    run("rm -rf run && train p --from whole --steps 2 --cache cache --out run --hide-text 0.5");
    run("grep -q '^hide-text = 0.5$' run/config && train --resume run --steps 3");
}

/* What a model of text has is copied, what pictures need is a new model's; their sizes need not be told. */
static void text_models_become_masked(void **state) {
    (void)state;
    static const char *const fresh[] = {"patchw", "patchb", "kind", "hidden", "codew"};
    run("rm -rf text && train corpus.txt " SHAPE "--vocab 300 --steps 2 --batch 3 --sample-every 0 --out text");
    for (int told = 0; told < 2; told++) {
        run("rm -rf run && train p --task masked --from text --patch 4 --codes 8 --steps 0 --seed 9 --cache cache "
            "--out run %s", told ? "--size 8" : "");
        from_expect("weights of text/best.safetensors; fresh: patchw, patchb, kind, hidden, codew\n");
        struct checkpoint a = checkpoint_at("text", "best.safetensors");
        struct reference r = reference_of("run");
        size_t copied = 0;
        for (size_t i = 0; i < a.n; i++, copied++) tensor_equal(&a, &r.checkpoint, a.tensors[i].name);
        assert_true(copied > 15);
        model_initialize(&r.model, 9);
        struct tensor all[MODEL_TENSORS];
        const size_t n = model_state(&r.model, all);
        for (size_t f = 0; f < 5; f++)
            for (size_t i = 0; i < n; i++)
                if (strcmp(all[i].name, fresh[f]) == 0)
                    assert_memory_equal(all[i].data, tensor_named(&r.checkpoint, fresh[f])->data,
                                        tensor_bytes(&all[i]));
        reference_free(&r);
        checkpoint_close(&a);
    }
    json_t *log = log_of("run");
    assert_int_equal(json_array_size(json_object_get(json_array_get(log, 0), "fresh")), 5);
    json_decref(log);
    run("rm -rf run && train corpus.txt --task text --from whole --steps 1 --cache cache --out run");
    from_expect("; unused: patchw, patchb, kind, hidden, codew\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_of_the_examples),
        cmocka_unit_test(shares_are_hidden_as_told),
        cmocka_unit_test(rows_are_counted),
        cmocka_unit_test(micro_batches_are_one_batch),
        cmocka_unit_test(threads_make_no_difference),
        cmocka_unit_test(resumed_runs_are_the_same),
        cmocka_unit_test(sizes_are_as_told),
        cmocka_unit_test(dry_runs_say_what_an_epoch_is),
        cmocka_unit_test(figures_are_of_the_parts),
        cmocka_unit_test(parts_are_shown),
        cmocka_unit_test(folders_may_hold_one_kind),
        cmocka_unit_test(masked_models_are_copied),
        cmocka_unit_test(text_models_become_masked),
    };
    return cmocka_run_group_tests(tests, folders_make, workplace_remove);
}
