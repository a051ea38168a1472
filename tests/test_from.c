/* ./train --from: a model that begins with another one's weights. Runs of no steps show what it begins with: tensors
 * are compared, in every bit, with those of the other model, and new ones with those of a run without --from. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "command.h"
#include "prose.h"
#include "runs.h"

/* Odd sizes; blocks 1 and 3 of 5 are MoE blocks, where there are any. The first half are sources. */
enum { C = 12, L = 5, FD = 4 * C, STEPS = 12 };
#define RUN " --cache cache --batch 3 --lr 0.01 --warmup 3 --eval-windows 5 --final-windows 5 --sample-every 0 "
#define SHAPE "--block gpt2 --vocab 301 --seq 17 --layers 5 --channels 12 --attn-heads 3 --moe-heads 3 --experts 6 "
#define SOURCE "train corpus.txt" RUN SHAPE "--steps 12 --eval-every 0 --optimizer adamw "
#define FROM "train corpus.txt" RUN "--steps 0 --out run --from "
#define PLAIN "train corpus.txt" RUN SHAPE "--tokenizer model --steps 0 --out plain "

static const char *const sources[] = {"dense", "llama", "smoe", "mhmoe"};
enum { SOURCES = sizeof sources / sizeof *sources };

static int sources_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    prose_save("corpus.txt", 500, 1);
    prose_save("other.txt", 300, 2);
    return system("{ " SOURCE "--ffn dense --out dense && cp cache/corpus.txt-*/tokenizer.model model && "
                  SOURCE "--ffn dense --block llama --out llama && "
                  SOURCE "--ffn dense --activation swiglu --out glu && "
                  SOURCE "--ffn smoe --balance bias --out smoe && "
                  SOURCE "--ffn mhmoe --merge-depth 2 --shared-hidden 7 --router cosine --router-dim 3 --out mhmoe && "
                  "mkdir kept && cp -r dense llama smoe mhmoe kept; } >sources.txt 2>&1");
}

/* Whatever was begun with them, the sources are as they were. */
static int afresh(void **state) {
    (void)state;
    return system("for s in dense llama smoe mhmoe; do diff -r $s kept/$s || exit 1; done; rm -rf run plain");
}

/* ---- Comparing ---- */

static const struct tensor *floats_of(const struct checkpoint *c, const char *name) {
    const struct tensor *t = tensor_named(c, name);
    assert_int_equal(t->dtype, DTYPE_F32);
    return t;
}

/* `count` numbers of a tensor from number `at` on are those of another one; a count of 0 is all of both. */
static void numbers_equal(const struct checkpoint *a, const char *name, size_t at, const struct checkpoint *b,
                          const char *other, size_t other_at, size_t count) {
    const struct tensor *s = floats_of(a, name), *t = floats_of(b, other);
    if (count == 0) assert_int_equal(tensor_count(s), tensor_count(t));
    const size_t n = count ? count : tensor_count(s);
    assert_true(at + n <= tensor_count(s) && other_at + n <= tensor_count(t));
    if (memcmp((float *)s->data + at, (float *)t->data + other_at, n * sizeof(float)) != 0)
        fail_msg("%s of %s from %zu on is not %s of %s from %zu on", name, a->path, at, other, b->path, other_at);
}

static void tensor_equal(const struct checkpoint *a, const struct checkpoint *b, const char *name) {
    const struct tensor *s = floats_of(a, name), *t = floats_of(b, name);
    assert_int_equal(s->dims, t->dims);
    assert_memory_equal(s->shape, t->shape, (size_t)s->dims * sizeof *s->shape);
    numbers_equal(a, name, 0, b, name, 0, 0);
}

/* What every model here has. */
static void stream_equal(const struct checkpoint *a, const struct checkpoint *b) {
    static const char *const names[] = {"wte", "ln1w", "qkvw", "attprojw", "ln2w", "lnfw"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) tensor_equal(a, b, names[i]);
}

static double last_number(const char *run_dir, const char *key) {
    json_t *log = log_of(run_dir);
    const double value = number_of(entry_of(log, key, entries_of(log, key) - 1), key);
    json_decref(log);
    return value;
}

/* Over the same sequences as all validations here: those of the corpus that the sources were trained on. */
static double loss_from(const char *options) {
    run("rm -rf run && " FROM "%s", options);
    return last_number("run", "val_loss");
}

/* One line, and no other note. */
static void told(const char *text) {
    char *line = string_format("train: note: weights of %s\n", text), *first = strstr(errors, "note:");
    if (!strstr(errors, line) || strstr(first + 1, "note:")) fail_msg("'%s' alone is missing in\n%s", line, errors);
    free(line);
}

/* ---- The same model ---- */

/* Every tensor is the other model's, and so is its loss; moments, steps and place in the data are new. */
static void same_models_are_copied(void **state) {
    (void)state;
    for (size_t i = 0; i < SOURCES; i++) {
        const double loss = loss_from(sources[i]);
        assert_true(loss == last_number(sources[i], "val_loss"));
        char *line = string_format("%s/best.safetensors", sources[i]);
        told(line);
        free(line);
        struct checkpoint c = checkpoint_at("run", "last.safetensors");
        struct checkpoint s = checkpoint_at(sources[i], "best.safetensors");
        size_t models = 0;
        for (size_t j = 0; j < c.n; j++) {
            const struct tensor *t = &c.tensors[j];
            const bool moment = strncmp(t->name, "adam", 4) == 0;
            for (size_t k = 0; moment && k < tensor_count(t); k++) assert_true(((float *)t->data)[k] == 0);
            if (moment || t->dtype != DTYPE_F32) continue;
            tensor_equal(&c, &s, t->name);
            models++;
        }
        assert_int_equal(models + 1, s.n); /* and the tokenizer */
        assert_string_equal(metadata(&c, "step"), "0");
        assert_string_equal(metadata(&c, "data_position"), "0");
        assert_string_equal(metadata(&c, "config"), metadata(&s, "config"));
        assert_string_equal(metadata(&c, "tokenizer_hash"), metadata(&s, "tokenizer_hash"));
        checkpoint_close(&c);
        checkpoint_close(&s);
    }
}

/* ---- Experts from a dense layer ---- */

/* A copy of a source whose dense layers weigh much, so that it shows where they are missing. Each of so many shares of
 * the hidden units reads `own` channels alone, and writes as many others. */
static void strong_make(const char *source, size_t shares, size_t own) {
    struct checkpoint c = checkpoint_at(source, "best.safetensors");
    const size_t units = tensor_named(&c, "fcprojw")->shape[2];
    float *copies[2], **copy = copies;
    struct error err;
    for (size_t i = 0; i < c.n; i++) {
        struct tensor *t = &c.tensors[i];
        const bool up = strcmp(t->name, "fcw") == 0;
        if (!up && strcmp(t->name, "fcprojw") != 0) continue;
        const float *old = t->data;
        t->data = *copy = array_alloc(tensor_count(t), sizeof **copy);
        for (size_t j = 0; j < tensor_count(t); j++) {
            const size_t row = j / t->shape[2] % t->shape[1], column = j % t->shape[2];
            const size_t share = (up ? row % units : column) / (units / shares);
            const bool belongs = (up ? column % (C / own) : row / own) == share;
            const bool odd = j / t->shape[2] / t->shape[1] % 2; /* in their blocks experts will be */
            (*copy)[j] = belongs ? (odd ? 20 : 1) * old[j] : 0;
        }
        copy++;
    }
    run("rm -rf strong && mkdir strong");
    if (!checkpoint_write("strong/best.safetensors", c.tensors, c.n, c.metadata, &err)) fail_msg("%s", err.text);
    for (int i = 0; i < 2; i++) free(copies[i]);
    checkpoint_close(&c);
}

/* Right after upcycling the loss is the other model's, up to a share of what it is without these layers. */
static void losses_stay(void **state) {
    (void)state;
    static const struct {
        const char *source;
        size_t shares, own;
        const char *options;
        double share;
    } cases[] = {
        {"dense", 1, C, "--ffn smoe --renormalize", 1e-5},
        {"dense", 1, C, "--ffn smoe", 5e-4}, /* gates are 1/E but for what is left of the scores */
        {"dense", 1, C, "--ffn smoe --topk 1", 5e-4},
        {"dense", 1, C, "--ffn smoe --moe-every 1 --renormalize", 1e-5},
        {"dense", 1, C, "--ffn smoe --expert-hidden 16 --topk 3 --renormalize", 1e-5}, /* thirds of dense layers */
        {"dense", 1, C, "--ffn smoe --expert-hidden 16 --topk 3", 5e-4},
        {"dense", 1, C, "--ffn smoe --expert-hidden 24 --topk 4 --renormalize", 1e-5}, /* two whole groups */
        {"dense", 1, C, "--ffn smoe --expert-hidden 16 --topk 3 --router cosine --renormalize", 1e-5},
        {"dense", 1, C, "--ffn mhmoe --moe-heads 1 --head-depth 0 --merge-depth 0 --renormalize", 1e-5}, /* is SMoE */
        {"llama", 1, C, "--ffn smoe --renormalize", 1e-5},
        {"llama", 1, C, "--ffn smoe --expert-hidden 16 --renormalize", 1e-5},
        {"llama", 1, C, "--ffn smoe --bias --renormalize", 1e-5},
        {"dense", 1, C, "--ffn mhmoe --moe-heads 1 --renormalize", 1e-5}, /* one sub-token: the whole space */
        {"dense", 3, 4, "--ffn mhmoe --renormalize", 1e-5},
        {"dense", 3, 2, "--ffn mhmoe --renormalize", 1e-5}, /* smaller spaces than there is room for */
        {"dense", 3, 4, "--ffn mhmoe", 0.1}, /* what scores leave to other experts */
        {"dense", 3, 4, "--ffn mhmoe --experts 9", 0.15},
        {"llama", 2, 6, "--ffn mhmoe --moe-heads 2 --bias --renormalize", 1e-5},
        {"glu", 2, 6, "--ffn mhmoe --moe-heads 2 --renormalize", 1e-5},
        {"glu", 1, C, "--ffn smoe --expert-hidden 16 --renormalize", 1e-5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *options = string_format("strong %s", cases[i].options);
        strong_make(cases[i].source, cases[i].shares, cases[i].own);
        const double whole = loss_from("strong"), without = loss_from("strong --ffn smoe --expert-hidden 7");
        const double got = loss_from(options);
        if (!(fabs(got - whole) <= cases[i].share * fabs(without - whole)))
            fail_msg("%s from %s: loss %.6f, want %.6f; without experts %.6f", options, cases[i].source, got, whole,
                     without);
        free(options);
    }
}

/* The numbers of tensor `name` of the dense layer of block l that expert `part` of `parts` has, each times `scale`. */
static void expert_equal(const struct checkpoint *c, size_t expert, const struct checkpoint *dense, size_t l,
                         size_t part, size_t parts, float scale) {
    const size_t F = FD / parts;
    const float *w2 = floats_of(c, "expw2")->data, *b2 = floats_of(c, "expb2")->data;
    const float *dense_w2 = floats_of(dense, "fcprojw")->data, *dense_b2 = floats_of(dense, "fcprojb")->data;
    numbers_equal(c, "expw1", expert * F * C, dense, "fcw", (l * FD + part * F) * C, F * C);
    numbers_equal(c, "expb1", expert * F, dense, "fcb", l * FD + part * F, F);
    for (size_t i = 0; i < C; i++) {
        for (size_t f = 0; f < F; f++)
            assert_true(w2[(expert * C + i) * F + f] ==
                        scale * (float)parts * dense_w2[(l * C + i) * FD + part * F + f]);
        assert_true(b2[expert * C + i] == scale * dense_b2[l * C + i]);
    }
}

/* Row `row` of the first router is row `other` of a new model's, times `scale`. */
static void router_row_equal(const struct checkpoint *c, const struct checkpoint *plain, size_t layer, size_t row,
                             size_t other, float scale) {
    const float *w = floats_of(c, "routerw")->data, *v = floats_of(plain, "routerw")->data;
    for (size_t i = 0; i < C; i++)
        assert_true(w[(layer * 6 + row) * C + i] == scale * v[(layer * 6 + other) * C + i]);
}

/* Experts are copies of the dense layer of their block, or of parts of it in turn. */
static void experts_are_copies(void **state) {
    (void)state;
    static const struct {
        const char *options;
        size_t parts, topk;
        bool renormalize;
    } cases[] = {{"--ffn smoe", 1, 2, false}, {"--ffn smoe --renormalize", 1, 2, true},
                 {"--ffn smoe --expert-hidden 16 --topk 3", 3, 3, false},
                 {"--ffn smoe --expert-hidden 24 --topk 4 --renormalize", 2, 4, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t parts = cases[i].parts;
        run("rm -rf run plain && " FROM "dense %s", cases[i].options);
        told("dense/best.safetensors; from dense layers: expw1, expb1, expw2, expb2; fresh: routerw");
        run(PLAIN "%s", cases[i].options);
        struct checkpoint c = checkpoint_at("run", "last.safetensors"), d = checkpoint_at("dense", "best.safetensors");
        struct checkpoint plain = checkpoint_at("plain", "last.safetensors");
        stream_equal(&c, &d);
        for (size_t ld = 0; ld < 3; ld++) numbers_equal(&c, "fcw", ld * FD * C, &d, "fcw", 2 * ld * FD * C, FD * C);
        for (size_t expert = 0; expert < 12; expert++) {
            const size_t e = expert % 6, layer = expert / 6;
            const float gain = cases[i].renormalize ? 1 : 6 / (float)cases[i].topk;
            expert_equal(&c, expert, &d, 2 * layer + 1, e % parts, parts, gain);
            router_row_equal(&c, &plain, layer, e, e / parts * parts, cases[i].renormalize ? 1 : 0.01f);
        }
        checkpoint_close(&c);
        checkpoint_close(&d);
        checkpoint_close(&plain);
    }
}

/* Each sub-token goes to the experts that are made for it, and only to these. */
static void sub_tokens_find_their_experts(void **state) {
    (void)state;
    static const char *const options[] = {"", "--experts 9 --topk 2", "--topk 1 --balance none"};
    for (size_t i = 0; i < 3; i++) {
        run("rm -rf run && " FROM "dense --ffn mhmoe %s", options[i]);
        told("dense/best.safetensors; from dense layers: headw, headb, routerw, expw1, expb1, expw2, expb2, mergew, "
             "mergeb");
        json_t *log = log_of("run");
        const json_t *layers = json_object_get(entry_of(log, "val_loss", 0), "val_load");
        for (size_t lm = 0; lm < 2; lm++) {
            const json_t *loads = json_array_get(layers, lm);
            const size_t E = json_array_size(loads);
            double all = 0, group[3] = {0};
            for (size_t e = 0; e < E; e++) {
                group[e / (E / 3)] += json_number_value(json_array_get(loads, e));
                all += json_number_value(json_array_get(loads, e));
            }
            for (int h = 0; h < 3; h++) assert_true(group[h] == all / 3);
        }
        json_decref(log);
    }
}

/* Where the experts of a sub-token share its gates, K of three, each writes as much more. */
static void gates_are_made_up_for(void **state) {
    (void)state;
    run(FROM "dense --ffn mhmoe --experts 9 && mv run plain");
    run(FROM "dense --ffn mhmoe --experts 9 --renormalize");
    struct checkpoint a = checkpoint_at("plain", "last.safetensors"), b = checkpoint_at("run", "last.safetensors");
    const float *w = floats_of(&a, "expw2")->data, *v = floats_of(&b, "expw2")->data;
    for (size_t i = 0; i < tensor_count(floats_of(&a, "expw2")); i++) expect_near(w[i], 1.5 * v[i], 1e-7);
    tensor_equal(&a, &b, "expw1");
    checkpoint_close(&a);
    checkpoint_close(&b);
}

/* Layers that make no experts, so that these are new, are said to be unused: of another width, not dealt out evenly,
 * not chosen evenly, without the biases that tell sub-tokens apart. All else is copied. */
static void experts_that_cannot_be_made_are_new(void **state) {
    (void)state;
#define UNUSED "; unused: fcw, fcb, fcprojw, fcprojb"
#define HEADS "headw, headb, routerw, expw1, expb1, expw2, expb2, mergew, mergeb"
    static const char *const smoe = "; fresh: routerw, expw1, expb1, expw2, expb2" UNUSED,
                            *const mhmoe = "; fresh: " HEADS UNUSED;
    static const struct {
        const char *options, *const *told;
    } cases[] = {
        {"--ffn smoe --expert-hidden 7", &smoe},
        {"--ffn smoe --expert-hidden 20", &smoe},
        {"--ffn smoe --expert-hidden 96", &smoe},
        {"--ffn smoe --moe-every 1 --activation swiglu --expert-hidden 48", &smoe},
        {"--ffn smoe --expert-hidden 16 --topk 2", &smoe},
        {"--ffn smoe --expert-hidden 16 --experts 7 --topk 3", &smoe},
        {"--ffn mhmoe --experts 7", &mhmoe},
        {"--ffn mhmoe --topk 3", &mhmoe},
        {"--ffn mhmoe --expert-hidden 24", &mhmoe},
        {"--ffn mhmoe --moe-heads 4 --experts 4 --topk 1", &mhmoe},
        {"--ffn mhmoe --moe-residual", &mhmoe},
        {"--ffn mhmoe --head-depth 2", &mhmoe},
        {"--ffn mhmoe --merge-depth 2", &mhmoe},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *line = string_format("dense/best.safetensors%s", *cases[i].told);
        run("rm -rf run plain && " FROM "dense %s", cases[i].options);
        told(line);
        run(PLAIN "%s", cases[i].options);
        struct checkpoint c = checkpoint_at("run", "last.safetensors"), d = checkpoint_at("dense", "best.safetensors");
        struct checkpoint plain = checkpoint_at("plain", "last.safetensors");
        stream_equal(&c, &d);
        tensor_equal(&c, &plain, "routerw");
        tensor_equal(&c, &plain, "expw1");
        tensor_equal(&c, &plain, "expw2");
        checkpoint_close(&c);
        checkpoint_close(&d);
        checkpoint_close(&plain);
        free(line);
    }
    static const struct {
        const char *options, *told;
    } others[] = {
        {"dense --ffn mhmoe --router cosine", "; fresh: headw, headb, routerp, routert, routerw, expw1, expb1, expw2, "
                                              "expb2, mergew, mergeb" UNUSED},
        {"dense --ffn mhmoe --head-depth 0", "; fresh: routerw, expw1, expb1, expw2, expb2, mergew, mergeb" UNUSED},
        {"dense --ffn mhmoe --merge-depth 0", "; fresh: headw, headb, routerw, expw1, expb1, expw2, expb2" UNUSED},
        {"llama --ffn mhmoe --moe-heads 2", "; fresh: headw, routerw, expw1, expw2, mergew; unused: fcw, fcprojw"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char *line = string_format("%.5s/best.safetensors%s", others[i].options, others[i].told);
        run("rm -rf run && " FROM "%s", others[i].options);
        told(line);
        free(line);
    }
}

/* ---- Other mixtures, other blocks ---- */

/* Block by block: those of one kind are copied, wherever they come in their stacks. */
static void blocks_keep_their_places(void **state) {
    (void)state;
    enum { EACH = 6 * FD * C };
    run(FROM "smoe --moe-every 1");
    told("smoe/best.safetensors; from dense layers: expw1, expb1, expw2, expb2; fresh: routerw, router.bias");
    struct checkpoint c = checkpoint_at("run", "last.safetensors"), s = checkpoint_at("smoe", "best.safetensors");
    stream_equal(&c, &s);
    for (size_t l = 0; l < L; l++) {
        if (l % 2) numbers_equal(&c, "expw1", l * EACH, &s, "expw1", l / 2 * EACH, EACH);
        else numbers_equal(&c, "expw1", l * EACH + FD * C, &s, "fcw", l / 2 * FD * C, FD * C);
        if (l % 2) numbers_equal(&c, "routerw", l * 6 * C, &s, "routerw", l / 2 * 6 * C, 6 * C);
        if (l % 2) numbers_equal(&c, "router.bias", l * 6, &s, "router.bias", l / 2 * 6, 6);
        for (size_t e = 0; l % 2 == 0 && e < 6; e++)
            assert_true(((float *)floats_of(&c, "router.bias")->data)[l * 6 + e] == 0);
    }
    checkpoint_close(&c);
    run("rm -rf run && " FROM "smoe --moe-every 4");
    told("smoe/best.safetensors; fresh: fcw, fcb, fcprojw, fcprojb; unused: routerw, expw1, expb1, expw2, expb2, "
         "router.bias");
    c = checkpoint_at("run", "last.safetensors");
    numbers_equal(&c, "expw1", 0, &s, "expw1", EACH, EACH);
    numbers_equal(&c, "router.bias", 0, &s, "router.bias", 6, 6);
    numbers_equal(&c, "fcw", 0, &s, "fcw", 0, FD * C);
    numbers_equal(&c, "fcw", 2 * FD * C, &s, "fcw", FD * C, FD * C);
    numbers_equal(&c, "fcw", 3 * FD * C, &s, "fcw", 2 * FD * C, FD * C);
    checkpoint_close(&c);
    checkpoint_close(&s);
}

/* A tensor that comes from several places is told for each. */
static void mixed_tensors_are_told(void **state) {
    (void)state;
    run(SOURCE "--ffn smoe --moe-every 5 --steps 0 --out last");
    run(FROM "last --moe-every 1 && rm -r last");
    told("last/best.safetensors; from dense layers: expw1, expb1, expw2, expb2; fresh: routerw");
}

/* What the two models do not share is told, by name: new tensors, and those that are not used. */
static void differences_are_told(void **state) {
    (void)state;
#define MHMOE "headw, headb, routerp, routert, routerw, expw1, expb1, expw2, expb2, sharedw1, sharedb1, sharedw2, " \
              "sharedb2, mergew, mergeb"
    static const struct {
        const char *options, *told;
    } cases[] = {
        {"smoe --ffn dense", "; fresh: fcw, fcb, fcprojw, fcprojb; unused: routerw, expw1, expb1, expw2, expb2, "
                             "router.bias"},
        {"mhmoe --ffn smoe", "; fresh: routerp, routert, routerw, expw1, expb1, expw2, expb2, sharedw1, sharedb1, "
                             "sharedw2, sharedb2; unused: " MHMOE},
        {"smoe --ffn mhmoe --moe-heads 1 --balance aux", "; fresh: " HEADS "; unused: routerw, expw1, expb1, expw2, "
                                                         "expb2, router.bias"},
        {"smoe --balance none", "; unused: router.bias"},
        {"mhmoe --balance bias", "; fresh: router.bias"},
        {"mhmoe --shared-hidden 0", "; unused: sharedw1, sharedb1, sharedw2, sharedb2"},
        {"mhmoe --no-bias", "; unused: ln1b, qkvb, attprojb, ln2b, fcb, fcprojb, headb, expb1, expb2, sharedb1, "
                            "sharedb2, mergeb, lnfb"},
        {"dense --position rotary", "; unused: wpe"},
        {"dense --norm rmsnorm", "; unused: ln1b, ln2b, lnfb"},
        {"dense --ffn smoe --moe-every 1 --no-bias", "; from dense layers: expw1, expw2; fresh: routerw; unused: ln1b, "
                                                     "qkvb, attprojb, ln2b, fcb, fcprojb, lnfb"},
        {"dense --ffn smoe --no-bias", "; from dense layers: expw1, expw2; fresh: routerw; unused: ln1b, qkvb, "
                                       "attprojb, ln2b, fcb, fcprojb, lnfb"},
        {"llama --position learned", "; fresh: wpe"},
        {"llama --tie", "; unused: lmhead"},
        {"llama --bias", "; fresh: qkvb, attprojb, fcb, fcprojb"},
        {"dense --no-tie", ""},
        {"smoe --attn-heads 2 --topk 3 --z-weight 1e-3 --renormalize", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *line = string_format("%.*s/best.safetensors%s", (int)strcspn(cases[i].options, " "), cases[i].options,
                                   cases[i].told);
        run("rm -rf run && " FROM "%s", cases[i].options);
        told(line);
        free(line);
    }
}

/* The output head of a model that had none of its own was its embedding. */
static void heads_come_from_the_embedding(void **state) {
    (void)state;
    const double loss = loss_from("dense --no-tie");
    assert_true(loss == last_number("dense", "val_loss"));
    struct checkpoint c = checkpoint_at("run", "last.safetensors"), d = checkpoint_at("dense", "best.safetensors");
    numbers_equal(&c, "lmhead", 0, &d, "wte", 0, 0);
    numbers_equal(&c, "wte", 0, &d, "wte", 0, 0);
    checkpoint_close(&c);
    checkpoint_close(&d);
}

/* One name and two shapes: which tensor, both shapes, and the options that make the difference. Nothing was begun. */
static void other_shapes_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *options, *says, *remedy;
    } cases[] = {
        {"dense --channels 24", "dense/best.safetensors: tensor wte: wrong shape (got (301, 12), want (301, 24))",
         "leave out what differs (it has --channels 12)"},
        {"dense --layers 6", "tensor ln1w: wrong shape (got (5, 12), want (6, 12))", "(it has --layers 5)"},
        {"dense --seq 18", "tensor wpe: wrong shape (got (17, 12), want (18, 12))", "(it has --seq 17)"},
        {"dense --activation swiglu", "tensor fcw: wrong shape (got (5, 48, 12), want (5, 64, 12))",
         "(it has --activation gelu)"},
        {"smoe --experts 7", "tensor routerw: wrong shape (got (2, 6, 12), want (2, 7, 12))", "(it has --experts 6)"},
        {"smoe --expert-hidden 7", "tensor expw1: wrong shape (got (2, 6, 48, 12), want (2, 6, 7, 12))",
         "(it has --expert-hidden 0)"},
        {"mhmoe --moe-heads 2", "tensor routerp: wrong shape (got (2, 3, 4), want (2, 3, 6))", "--moe-heads 3"},
        {"mhmoe --moe-heads 2 --router-dim 2", "tensor routerp: wrong shape (got (2, 3, 4), want (2, 2, 6))",
         "(it has --moe-heads 3 --router-dim 3)"}, /* as many numbers */
        {"mhmoe --merge-depth 1", "tensor mergew: wrong shape (got (4, 12, 12), want (2, 12, 12))", "--merge-depth 2"},
        {"mhmoe --shared-hidden 8", "tensor sharedw1: wrong shape (got (2, 7, 4), want (2, 8, 4))",
         "(it has --shared-hidden 7)"},
        {"dense --layers 6 --no-bias --tie --norm rmsnorm", "tensor ln1w",
         "(it has --layers 5 --norm layernorm --bias)"},
        {"llama --channels 24 --tie --ffn smoe", "tensor wte", "(it has --channels 12 --no-tie --ffn dense)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int dry = 0; dry < 2; dry++) {
            char *command = string_format("cp other.txt new.txt && train new.txt" RUN "--out run --from %s%s",
                                          cases[i].options, dry ? " --dry-run" : "");
            refuse(5, cases[i].says, cases[i].remedy, command);
            free(command);
        }
    run("! test -e run && ls cache | grep -c new.txt || true");
    assert_string_equal(output, "0\n");
}
/* ---- What is taken over beside weights ---- */

/* The model's options are the other one's where none are given; those of the run are not. */
static void options_are_the_sources(void **state) {
    (void)state;
    static const struct {
        const char *options;
        const char *lines[4]; /* of the configuration that results */
    } cases[] = {
        {"mhmoe", {"merge-depth = 2", "router = cosine", "router-dim = 3", "layers = 5"}},
        {"mhmoe --topk 1 --lr 0.3", {"topk = 1", "router = cosine", "shared-hidden = 7", "lr = 0.3"}},
        {"llama", {"block = llama", "norm = rmsnorm", "tie = false", "ffn = dense"}},
        {"llama --norm layernorm", {"block = llama", "norm = layernorm", "position = rotary", "bias = false"}},
        {"dense --block modern", {"block = modern", "activation = relu2", "tie = true", "qk-norm = true"}},
        {"dense --block modern --bias", {"block = modern", "bias = true", "zero-start = true", "layers = 5"}},
        {"dense --ffn smoe", {"block = gpt2", "ffn = smoe", "experts = 6", "moe-heads = 3"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run("rm -rf run && " FROM "%s && cat run/config", cases[i].options);
        for (int j = 0; j < 4; j++) {
            char *line = string_format("\n%s\n", cases[i].lines[j]);
            if (!strstr(output, line)) fail_msg("%s: no '%s' in\n%s", cases[i].options, cases[i].lines[j], output);
            free(line);
        }
    }
    run(FROM "mhmoe --print-config");
    assert_non_null(strstr(output, "\nrouter = cosine\n"));
    run("rm -rf run && " FROM "dense --ffn smoe && grep '^ffn\\|^from\\|^# from\\|^steps' run/config");
    assert_string_equal(output, "# from =\nsteps = 0\nffn = smoe\n");
    run("rm -rf run && " FROM "dense --experts 9"); /* what was given, and only that, may have no effect */
    assert_non_null(strstr(errors, "train: note: --experts has no effect without --ffn smoe or mhmoe\n"));
    assert_null(strstr(errors, "--moe-heads"));
    run("rm -rf run && " FROM "mhmoe --ffn dense --shared-hidden 0");
    assert_null(strstr(errors, "no effect"));
}

/* Text of another kind is read with the tokenizer that the weights know. */
static void tokenizers_are_the_sources(void **state) {
    (void)state;
    run("train other.txt" RUN "--steps 2 --out run --from dense --vocab 270");
    assert_non_null(strstr(errors, "train: note: --vocab has no effect with --from: the weights are for its 301 "
                                   "tokens\n"));
    assert_null(strstr(errors, "training a tokenizer"));
    struct checkpoint c = checkpoint_at("run", "last.safetensors"), d = checkpoint_at("dense", "best.safetensors");
    const struct tensor *a = tensor_named(&c, "tokenizer.model"), *b = tensor_named(&d, "tokenizer.model");
    assert_int_equal(tensor_bytes(a), tensor_bytes(b));
    assert_memory_equal(a->data, b->data, tensor_bytes(a));
    assert_int_equal(tensor_named(&c, "wte")->shape[0], 301);
    checkpoint_close(&c);
    checkpoint_close(&d);
    run("rm -rf run && " FROM "dense --vocab 301");
    assert_null(strstr(errors, "--vocab"));
    run("rm -rf run && train other.txt --cache second --vocab 295 --dry-run && "
        "cp second/*/tokenizer.model second.model");
    refuse(5, "second.model: not the tokenizer that dense/best.safetensors was trained with",
           "leave out --tokenizer, or --from", FROM "dense --tokenizer second.model");
    refuse(3, "corpus.txt", "", FROM "dense --tokenizer corpus.txt");
    run("rm -rf second second.model run");
}

/* Without a corpus it is the other model's data, and the run is named after the other one's. */
static void data_are_the_sources_unless_named(void **state) {
    (void)state;
    run("mkdir -p runs && cp -r dense runs/first && train --from runs/first --steps 0 --final-windows 5 --ffn smoe");
    struct checkpoint c = checkpoint_at("runs/first-2", "last.safetensors");
    struct checkpoint d = checkpoint_at("dense", "last.safetensors");
    assert_string_equal(metadata(&c, "data_hash"), metadata(&d, "data_hash"));
    checkpoint_close(&c);
    checkpoint_close(&d);
    run("cp dense/last.safetensors here && train --from here --steps 0 --final-windows 5 && rm here && "
        "test -e runs/$(basename $PWD)/last.safetensors");
    run("train other.txt --cache cache --from runs/first/last.safetensors --steps 0 --final-windows 5 && ls runs");
    assert_non_null(strstr(output, "other\n"));
    run(FROM "dense --val other.txt && rm -r run");
    refuse(2, "--val other.txt: the data of dense/best.safetensors has its own", "name a corpus",
           "train --from dense --val other.txt --out run");
    run("mv cache away");
    refuse(3, "the prepared data of dense/best.safetensors is gone", "name its corpus again",
           "train --from dense --out run");
    run("mv away cache && rm -r runs && ! test -e run");
}

/* A run's best weights, as ./sample has them; its last where there are no others, or the file that is named. */
static void sources_are_found(void **state) {
    (void)state;
    static const struct {
        const char *prepare, *name, *file;
    } cases[] = {
        {"cp -r dense other", "other", "other/best.safetensors"},
        {"rm other/best.safetensors", "other/", "other//last.safetensors"},
        {"true", "other/last.safetensors", "other/last.safetensors"},
        {"mv other/last.safetensors alone", "./alone", "./alone"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run("rm -rf run && %s && " FROM "%s", cases[i].prepare, cases[i].name);
        told(cases[i].file);
        json_t *log = log_of("run");
        assert_string_equal(json_string_value(json_object_get(json_array_get(log, 0), "from")), cases[i].file);
        json_decref(log);
    }
    run("rm -r other alone");
}

/* ---- What cannot be a source ---- */

static void bad_sources_are_refused(void **state) {
    (void)state;
    const size_t size = file_size("dense/best.safetensors");
    char *cut = string_format("head -c %zu dense/best.safetensors >bad", size - 1);
    const struct {
        const char *prepare, *says, *remedy;
    } cases[] = {
        {cut, "bad: tensor tokenizer.model: impossible data_offsets", "cut off"},
        {"cp dense/best.safetensors bad && printf x | dd of=bad bs=1 seek=40000 conv=notrunc 2>dd.txt",
         "bad: tensor fcw: damaged", "take another checkpoint"},
        {"cp corpus.txt bad", "bad: byte 0: impossible header length", "not a checkpoint"},
        {"rm bad", "bad: cannot read: No such file", ""},
        {"mkdir bad", "bad/last.safetensors: cannot read: No such file", ""},
        {"rmdir bad && : >bad", "bad: too short", "not a checkpoint"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run("%s", cases[i].prepare);
        refuse(3, cases[i].says, cases[i].remedy, FROM "bad");
        run("! test -e run");
    }
    run("rm bad");
    free(cut);
}

static void contradictions_are_refused(void **state) {
    (void)state;
    refuse(2, "--from and --resume both given", "a resumed run has its weights", "train --resume dense --from smoe");
    refuse(2, "--from and --resume both given", "", "train --from=smoe --resume=dense");
    refuse(2, "--from: bad value (got '', want a name)", "leave it out", "train corpus.txt --from ''");
    refuse(2, "--from: bad value (got '', want a name)", "leave it out", "train corpus.txt --from=");
    refuse(2, "--from: shortened, or in a config file", "write it out", "train corpus.txt --fro dense");
    refuse(2, "--from: shortened, or in a config file", "write it out",
           "echo 'from = dense' >config && train corpus.txt --config config");
    refuse(2, "--from: shortened, or in a config file", "write it out",
           "train corpus.txt --from smoe --config config && rm config");
    refuse(2, "--from: shortened, or in a config file", "", "train corpus.txt --prompt --from dense"); /* is a text */
    refuse(3, "--from: ", "name a text file", "train" RUN SHAPE "--out run -- --from dense"); /* is a file */
    refuse(2, "unknown option '--fromage'", "", "train corpus.txt --fromage=dense");
    refuse(2, "dense: there is a run already", "another --out starts anew",
           "train corpus.txt" RUN "--from dense --out dense");
    refuse(2, "--topk 9 is more than the 6 experts", "", FROM "dense --ffn smoe --topk 9");
    run("rm -f config; ! test -e run");
    run(FROM "smoe --from dense && rm -r run"); /* the last one counts, as for any option */
    told("dense/best.safetensors");
    run("train corpus.txt" RUN SHAPE "--steps 0 --out run -- other.txt && rm -r run");
}

/* ---- How it goes on ---- */

/* A run that began so is a run like others: it resumes exactly, without the other model, and for any number of threads;
 * where it came from stays in its log. */
static void upcycled_runs_resume(void **state) {
    (void)state;
    static const char *const options[] = {"--ffn smoe --balance bias", "--ffn mhmoe"};
    for (int i = 0; i < 2; i++) {
#define GOES_ON "train other.txt" RUN "--from given --steps 12 --eval-every 3 %s "
        run("cp -r dense given && " GOES_ON "--out whole", options[i]);
        run(GOES_ON "--out run --until 0 --threads 2", options[i]);
        run("rm -r given && train --resume run --until 5 && train --resume run");
        assert_null(strstr(errors, "weights of"));
        checkpoints_compare("whole", "run", "last.safetensors");
        checkpoints_compare("whole", "run", "best.safetensors");
        logs_compare("whole", "run");
        json_t *log = log_of("run");
        const json_t *first = json_array_get(log, 0);
        assert_true(number_of(first, "step") == 0 && number_of(first, "tokens") == 0);
        assert_string_equal(json_string_value(json_object_get(first, "from")), "given/best.safetensors");
        assert_int_equal(json_array_size(json_object_get(first, "made")), i ? 9 : 4);
        assert_int_equal(json_array_size(json_object_get(first, "fresh")), i ? 0 : 2);
        assert_int_equal(entries_of(log, "from"), 1);
        assert_int_equal(entries_of(log, "loss"), STEPS);
        json_decref(log);
        run("rm -r run whole");
    }
}

/* What is new is drawn anew for another seed; what is taken over is the same. */
static void seeds_are_the_new_runs(void **state) {
    (void)state;
    run(FROM "dense --ffn smoe && mv run plain && " FROM "dense --ffn smoe --seed 7");
    struct checkpoint a = checkpoint_at("plain", "last.safetensors"), b = checkpoint_at("run", "last.safetensors");
    tensor_equal(&a, &b, "expw1");
    stream_equal(&a, &b);
    assert_true(memcmp(floats_of(&a, "routerw")->data, floats_of(&b, "routerw")->data, 40) != 0);
    checkpoint_close(&a);
    checkpoint_close(&b);
}

/* --match sees the other model's sizes; a dry run, too, says what is new. */
static void parity_takes_the_sources_sizes(void **state) {
    (void)state;
    run(FROM "dense --ffn mhmoe --match smoe --moe-heads 6 --topk 3 --dry-run");
    assert_non_null(strstr(output, "parameters"));
    run(FROM "dense --ffn smoe --dry-run");
    told("dense/best.safetensors; from dense layers: expw1, expb1, expw2, expb2; fresh: routerw");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(same_models_are_copied, afresh),
        cmocka_unit_test_setup(losses_stay, afresh),
        cmocka_unit_test_setup(experts_are_copies, afresh),
        cmocka_unit_test_setup(sub_tokens_find_their_experts, afresh),
        cmocka_unit_test_setup(gates_are_made_up_for, afresh),
        cmocka_unit_test_setup(experts_that_cannot_be_made_are_new, afresh),
        cmocka_unit_test_setup(blocks_keep_their_places, afresh),
        cmocka_unit_test_setup(mixed_tensors_are_told, afresh),
        cmocka_unit_test_setup(differences_are_told, afresh),
        cmocka_unit_test_setup(heads_come_from_the_embedding, afresh),
        cmocka_unit_test_setup(other_shapes_are_refused, afresh),
        cmocka_unit_test_setup(options_are_the_sources, afresh),
        cmocka_unit_test_setup(tokenizers_are_the_sources, afresh),
        cmocka_unit_test_setup(data_are_the_sources_unless_named, afresh),
        cmocka_unit_test_setup(sources_are_found, afresh),
        cmocka_unit_test_setup(bad_sources_are_refused, afresh),
        cmocka_unit_test_setup(contradictions_are_refused, afresh),
        cmocka_unit_test_setup(upcycled_runs_resume, afresh),
        cmocka_unit_test_setup(seeds_are_the_new_runs, afresh),
        cmocka_unit_test_setup(parity_takes_the_sources_sizes, afresh),
    };
    return cmocka_run_group_tests(tests, sources_make, workplace_remove);
}
