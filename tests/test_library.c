/* libmhmoe against ./sample: the same tokens, log-probabilities and text; bytes that come back; what it refuses, in
 * silence; two handles in two threads. How it is installed, and which names it shows: tests/install.sh. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <omp.h>
#include <pthread.h>
#include <sys/resource.h>
#include "../foreign/export.h"
#include "../library/libmhmoe.h"
#include "../src/base/text.h"
#include "command.h"
#include "letters.h"

static mhmoe *handle_open(const char *path) {
    struct mhmoe_error err;
    mhmoe *m = mhmoe_load(path, &err);
    if (!m) fail_msg("%s", err.text);
    return m;
}

static int models_make(void **state) {
    if (!workplace_enter()) return -1;
    mkdir("run", 0777);
    struct model m = letters_model_as(LETTERS_VOCAB, BLOCK_MODERN);
    model_save(&m, "run/last.safetensors");
    model_destroy(&m);
    m = letters_model_as(LETTERS_VOCAB, BLOCK_GPT2);
    model_save(&m, "other");
    model_destroy(&m);
    *state = handle_open("run");
    return 0;
}

static int models_remove(void **state) {
    mhmoe_free(*state);
    mhmoe_free(NULL);
    return workplace_remove(state);
}

static void sizes_are_the_models(void **state) {
    assert_int_equal(mhmoe_vocab(*state), LETTERS_VOCAB);
    assert_int_equal(mhmoe_context(*state), SEQ);
    assert_int_equal(mhmoe_end_of_text(*state), 1);
    assert_string_equal(mhmoe_version(), OPTIONS_VERSION);
}

static void any_bytes_come_back(void **state) {
    static const char text[] = "ab\0 \xff\xe2\x96\x81 c\n\xc3\xa9";
    const size_t size = sizeof text - 1, n = mhmoe_tokenize(*state, text, size, NULL, 0);
    int32_t tokens[64];
    char back[64];
    assert_true(n > 4 && n < 60);
    memset(tokens, -1, sizeof tokens);
    assert_int_equal(mhmoe_tokenize(*state, text, size, tokens, n - 3), n);
    assert_int_not_equal(tokens[n - 4], -1);
    assert_int_equal(tokens[n - 3], -1); /* no room, not written */
    assert_int_equal(mhmoe_tokenize(*state, text, size, tokens, 64), n);
    assert_int_equal(tokens[n], -1);
    assert_int_equal(mhmoe_detokenize(*state, tokens, n, NULL, 0), size);
    for (size_t room = 0; room <= size; room++) {
        memset(back, '*', sizeof back);
        assert_int_equal(mhmoe_detokenize(*state, tokens, n, back, room), size);
        assert_memory_equal(back, text, room);
        assert_int_equal(back[room], '*');
    }
    const int32_t none[] = {1, -1, LETTERS_VOCAB, 1 << 30};
    assert_int_equal(mhmoe_detokenize(*state, none, 4, back, sizeof back), 0);
    assert_int_equal(mhmoe_tokenize(*state, "", 0, tokens, 64), 0);
}

/* Of lengths around the model's window of SEQ tokens, and far beyond it, so that there are several spans. */
static void log_probabilities_are_those_of_sample(void **state) {
    static const size_t lengths[] = {1, 2, SEQ - 1, SEQ, SEQ + 1, 2 * SEQ + 3, 91};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        char text[100];
        int32_t tokens[100];
        double logprobs[101], sum = 0;
        struct mhmoe_error err;
        for (size_t c = 0; c < lengths[i]; c++) text[c] = (char)('a' + c * c % 13);
        const size_t n = mhmoe_tokenize(*state, text, lengths[i], tokens, 100);
        logprobs[n] = 7;
        assert_true(mhmoe_score(*state, tokens, n, logprobs, &err));
        assert_true(logprobs[n] == 7);
        text_save("text", text, lengths[i]);
        run("sample --model run --score text --logprobs 1");
        char *line = output;
        for (size_t k = 0; k < n; k++, line = strchr(line, '\n') + 1, sum += logprobs[k - 1]) {
            json_t *entry = json_loads(line, JSON_DISABLE_EOF_CHECK, NULL);
            assert_int_equal(json_integer_value(json_object_get(entry, "id")), tokens[k]);
            /* the lines have 9 digits */
            assert_true(fabs(json_number_value(json_object_get(entry, "logprob")) - logprobs[k]) < 1e-7);
            json_decref(entry);
        }
        assert_int_equal(*line, 0);
        assert_true(sum < 0);
    }
    assert_true(mhmoe_score(*state, NULL, 0, NULL, NULL));
}

struct text {
    char bytes[1000];
    size_t size, tokens, most;
    mhmoe *m;
};

static bool text_add(void *context, int32_t token) {
    struct text *t = context;
    t->size += mhmoe_detokenize(t->m, &token, 1, t->bytes + t->size, sizeof t->bytes - t->size - 1);
    t->tokens++;
    return token != mhmoe_end_of_text(t->m) && t->tokens < t->most;
}

static struct text sampled(mhmoe *m, const char *prompt, const struct mhmoe_sampling *how) {
    struct text t = {.most = 1000, .m = m};
    struct mhmoe_error err;
    int32_t tokens[100];
    const size_t n = mhmoe_tokenize(m, prompt, strlen(prompt), tokens, 100);
    if (!mhmoe_sample(m, tokens, n, how, text_add, &t, &err)) fail_msg("%s", err.text);
    return t;
}

/* Each field does what the option of its name does. */
static void samples_are_those_of_sample(void **state) {
    static const struct {
        const char *prompt, *options;
        struct mhmoe_sampling how;
    } cases[] = {
        {"ab ", "--tokens 40 --temperature 1 --top-p 1 --seed 1", {40, 1, 0, 1, 1}},
        {"ab ", "--tokens 40 --temperature 1 --top-p 1 --seed 987654321012345", {40, 1, 0, 1, 987654321012345}},
        {"ab ", "--tokens 7 --temperature 1 --top-p 1 --seed 2", {7, 1, 0, 1, 2}},
        {"ab ", "--tokens 40 --temperature 0.3 --top-p 1 --seed 1", {40, 0.3, 0, 1, 1}},
        {"ab ", "--tokens 40 --temperature 1 --top-k 3 --top-p 1 --seed 1", {40, 1, 3, 1, 1}},
        {"ab ", "--tokens 40 --temperature 1 --top-p 0.4 --seed 1", {40, 1, 0, 0.4, 1}},
        {"ab ", "--tokens 40 --greedy", {40, 0, 0, 1, 9}},
        {"", "--tokens 40 --temperature 1 --top-p 1 --seed 1", {40, 1, 0, 1, 1}},
        {"abcdefghijklmnopabcdefghijk", "--tokens 40 --temperature 1 --top-p 1 --seed 1", {40, 1, 0, 1, 1}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct text t = sampled(*state, cases[i].prompt, &cases[i].how);
        struct text_stream shown = {.out = fopen("text", "wb")}; /* as ./sample shows bytes that are no UTF-8 */
        text_write(&shown, t.bytes, t.size);
        text_end(&shown);
        fclose(shown.out);
        run("sample --model run --prompt '%s' %s >want; { printf %%s '%s'; cat text; echo; } | cmp - want",
            cases[i].prompt, cases[i].options, cases[i].prompt);
    }
}

static void emit_ends_a_sample(void **state) {
    struct text t = {.most = 3, .m = *state};
    struct mhmoe_error err;
    const struct mhmoe_sampling how = {.tokens = 40, .temperature = 1, .top_p = 1, .seed = 1};
    assert_true(mhmoe_sample(*state, NULL, 0, &how, text_add, &t, &err));
    assert_int_equal(t.tokens, 3);
}

/* ---- What is refused ---- */

static void load_refuse(const char *path, int code, const char *says) {
    struct mhmoe_error err = {0};
    assert_null(mhmoe_load(path, &err));
    assert_int_equal(err.code, code);
    if (!strstr(err.text, says) || !strstr(err.text, path)) fail_msg("'%s' is missing: %s", says, err.text);
}

static void wrong_files_are_refused_by_name(void **state) {
    (void)state;
    load_refuse("missing", MHMOE_INPUT, "No such file");
    mkdir("empty", 0777);
    load_refuse("empty", MHMOE_INPUT, "last.safetensors");
    run("head -c 3000 other >cut; cp other damaged; printf x | dd of=damaged bs=1 seek=9000 conv=notrunc");
    load_refuse("cut", MHMOE_INPUT, "");
    load_refuse("damaged", MHMOE_INPUT, "CRC");
    struct model m = letters_model_of(LETTERS_VOCAB);
    char *text = config_to_string(&m.config);
    json_t *metadata = metadata_make(text);
    free(text);
    checkpoint_save("bare", &m, NULL, metadata);
    load_refuse("bare", MHMOE_INPUT, "tokenizer.model");
    json_decref(metadata);
    model_destroy(&m);
    m = letters_model_of(LETTERS_VOCAB + 5);
    model_save(&m, "unequal");
    load_refuse("unequal", MHMOE_MISMATCH, "put together wrongly");
    model_destroy(&m);
    struct config config = small_config;
    config.task = TASK_MASKED;
    config.vocab = LETTERS_VOCAB;
    m = model_random(&config, MODEL_INFER, 1, 3);
    model_save(&m, "masked");
    load_refuse("masked", MHMOE_MISMATCH, "a masked model");
    model_destroy(&m);
}

static void wrong_arguments_are_refused(void **state) {
    static const struct mhmoe_sampling wrong[] = {{1, -0.1, 0, 1, 1}, {1, NAN, 0, 1, 1}, {1, 1, -1, 1, 1},
                                                  {1, 1, 0, 1.01, 1}, {1, 1, 0, -0.1, 1}, {1, 1, 0, NAN, 1}};
    struct text t = {.most = 9, .m = *state};
    struct mhmoe_error err;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        err.code = 0;
        assert_false(mhmoe_sample(*state, NULL, 0, &wrong[i], text_add, &t, &err));
        assert_int_equal(err.code, MHMOE_USAGE);
        assert_non_null(strstr(err.text, "sampling: bad value"));
    }
    for (int i = 0; i < 2; i++) {
        const int32_t tokens[] = {0, i ? -1 : LETTERS_VOCAB};
        double logprobs[2] = {7, 7};
        const struct mhmoe_sampling how = {1, 1, 0, 1, 1};
        err.code = 0;
        assert_false(mhmoe_score(*state, tokens, 2, logprobs, &err));
        assert_int_equal(err.code, MHMOE_USAGE);
        assert_non_null(strstr(err.text, "token 1: there is none"));
        err.code = 0;
        assert_false(mhmoe_sample(*state, tokens, 2, &how, text_add, &t, &err));
        assert_int_equal(err.code, MHMOE_USAGE);
    }
    assert_int_equal(t.tokens, 0);
    const int32_t last = LETTERS_VOCAB - 1;
    double logprob;
    assert_true(mhmoe_score(*state, &last, 1, &logprob, &err));
}

/* All of the above once more, and nothing is printed. */
static void nothing_is_printed(void **state) {
    fflush(stdout);
    fflush(stderr);
    const int file = open("printed", O_CREAT | O_WRONLY, 0666), out = dup(1), errors_before = dup(2);
    dup2(file, 1);
    dup2(file, 2);
    struct mhmoe_error err;
    const struct mhmoe_sampling how = {20, 1, 0, 1, 1};
    const int32_t tokens[] = {3, 4, 1 << 20};
    double logprobs[2];
    struct text t = {.most = 1000, .m = *state};
    mhmoe_free(mhmoe_load("other", &err));
    const bool refused = !mhmoe_load("cut", &err) && !mhmoe_load("unequal", &err) && !mhmoe_load("missing", &err);
    mhmoe_score(*state, tokens, 2, logprobs, &err);
    mhmoe_score(*state, tokens, 3, logprobs, &err);
    mhmoe_sample(*state, tokens, 2, &how, text_add, &t, &err);
    fflush(stdout);
    fflush(stderr);
    dup2(out, 1);
    dup2(errors_before, 2);
    close(out);
    close(errors_before);
    close(file);
    assert_true(refused);
    assert_int_equal(file_size("printed"), 0);
}

/* ---- Of another program ---- */

/* A dense GPT-2 with the letters, as transformers keeps it; returns how many numbers it is of. */
static size_t gpt2_export(const char *dir, int layers, int channels) {
    struct config config = small_config;
    struct error err;
    config.vocab = LETTERS_VOCAB;
    config.seq = SEQ;
    config.layers = layers;
    config.channels = channels;
    config.ffn = FFN_DENSE;
    struct model m = model_random(&config, MODEL_INFER, 1, 3);
    tokenizer *t = letters_tokenizer();
    if (!model_export(&m, t, EXPORT_HF, dir, &err)) fail_msg("%s", err.text);
    model_save(&m, "namesake");
    const size_t n = m.n_parameters;
    tokenizer_free(t);
    model_destroy(&m);
    return n;
}

static void gpt2_is_read(void **state) {
    (void)state;
    static const char *const paths[] = {"gpt2", "gpt2/model.safetensors"};
    gpt2_export("gpt2", 3, 12);
    mhmoe *ours = handle_open("namesake");
    for (int i = 0; i < 2; i++) {
        mhmoe *m = handle_open(paths[i]);
        int32_t tokens[30];
        double want[30], got[30];
        struct mhmoe_error err;
        const size_t n = mhmoe_tokenize(m, "abcde fghij klmno abcab ", 24, tokens, 30);
        assert_int_equal(mhmoe_end_of_text(m), 1);
        assert_true(mhmoe_score(ours, tokens, n, want, &err) && mhmoe_score(m, tokens, n, got, &err));
        assert_memory_equal(got, want, n * sizeof *want);
        mhmoe_free(m);
    }
    mhmoe_free(ours);
    run("rm gpt2/tokenizer.model gpt2/tokenizer.json");
    struct mhmoe_error err = {0};
    assert_null(mhmoe_load("gpt2", &err));
    assert_int_equal(err.code, MHMOE_INPUT);
    assert_non_null(strstr(err.text, "gpt2: no vocabulary beside the weights"));
}

/* ---- Memory ---- */

#ifndef __SANITIZE_ADDRESS__ /* which needs memory of its own */
/* In a process that may have no more than a few megabytes beyond what it has. */
static void too_large_a_model_is_refused(void **state) {
    (void)state;
    struct config config = small_config;
    config.vocab = LETTERS_VOCAB;
    config.layers = 8;
    config.channels = 384;
    config.attn_heads = config.moe_heads = 2;
    config.experts = 8;
    config.expert_hidden = 0;
    struct model m = model_random(&config, MODEL_INFER, 1, 3);
    model_save(&m, "large");
    const rlim_t bytes = m.n_parameters * sizeof(real);
    model_destroy(&m);
    assert_true(bytes > (rlim_t)30 << 20);
    const rlim_t theirs = gpt2_export("wide", 10, 384) * sizeof(real); /* there is room to map it, and not for a copy */
    assert_true(theirs < bytes && 2 * theirs > bytes + ((rlim_t)24 << 20));
    config = small_config;
    config.vocab = LETTERS_VOCAB;
    config.seq = 1 << 17; /* few weights, of long texts */
    m = model_random(&config, MODEL_INFER, 1, 3);
    const struct model_cost cost = model_cost(&m.sizes, m.setup);
    assert_true(cost.parameter_bytes < bytes && cost.activation_bytes > bytes + ((size_t)24 << 20));
    model_save(&m, "long");
    model_destroy(&m);
    char *command = string_format("/proc/%d/exe %llu", (int)getpid(), (unsigned long long)bytes);
    const int code = command_run(command);
    free(command);
    assert_int_equal(code, 0);
}

/* What the process of that test does. */
static int memory_child(unsigned long long bytes) {
    char text[4096];
    struct mhmoe_error err = {0};
    omp_set_num_threads(1); /* others would take room for stacks and heaps of their own */
    text_read("/proc/self/statm", text, sizeof text);
    const rlim_t now = strtoull(text, NULL, 10) * (rlim_t)sysconf(_SC_PAGESIZE);
    const struct rlimit limit = {now + bytes + ((rlim_t)24 << 20), RLIM_INFINITY}; /* the file is mapped */
    if (setrlimit(RLIMIT_AS, &limit) != 0) return 2;
    const bool refused = !mhmoe_load("large", &err) && err.code == MHMOE_MEMORY && strstr(err.text, "large: out of");
    const bool too = !mhmoe_load("wide", &err) && err.code == MHMOE_MEMORY &&
                     strstr(err.text, "wide/model.safetensors: out of memory");
    const bool three = !mhmoe_load("long", &err) && err.code == MHMOE_MEMORY && strstr(err.text, "long: out of memory");
    mhmoe *small = mhmoe_load("run", &err); /* and others go on */
    mhmoe_free(small);
    return refused && too && three && small ? 0 : 1;
}
#endif

/* ---- Threads ---- */

struct task {
    mhmoe *m;
    const struct text *want;
    bool same;
};

static void *sample_often(void *context) {
    struct task *task = context;
    const struct mhmoe_sampling how = {60, 1, 0, 1, 5};
    task->same = true;
    for (int i = 0; i < 30; i++) {
        const struct text got = sampled(task->m, "ab ", &how);
        task->same &= got.size == task->want->size && memcmp(got.bytes, task->want->bytes, got.size) == 0;
    }
    return NULL;
}

static void handles_do_not_see_each_other(void **state) {
    const struct mhmoe_sampling how = {60, 1, 0, 1, 5};
    mhmoe *other = handle_open("other");
    const struct text a = sampled(*state, "ab ", &how), b = sampled(other, "ab ", &how);
    struct task tasks[2] = {{*state, &a, false}, {other, &b, false}};
    pthread_t threads[2];
    assert_true(a.size != b.size || memcmp(a.bytes, b.bytes, a.size) != 0);
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, sample_often, &tasks[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    assert_true(tasks[0].same);
    assert_true(tasks[1].same);
    mhmoe_free(other);
}

int main(int argc, char **argv) {
#ifndef __SANITIZE_ADDRESS__
    if (argc == 2) return memory_child(strtoull(argv[1], NULL, 10));
#endif
    (void)argc;
    (void)argv;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_the_models),
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(log_probabilities_are_those_of_sample),
        cmocka_unit_test(samples_are_those_of_sample),
        cmocka_unit_test(emit_ends_a_sample),
        cmocka_unit_test(wrong_files_are_refused_by_name),
        cmocka_unit_test(wrong_arguments_are_refused),
        cmocka_unit_test(nothing_is_printed),
        cmocka_unit_test(gpt2_is_read),
#ifndef __SANITIZE_ADDRESS__
        cmocka_unit_test(too_large_a_model_is_refused),
#endif
        cmocka_unit_test(handles_do_not_see_each_other),
    };
    return cmocka_run_group_tests(tests, models_make, models_remove);
}
