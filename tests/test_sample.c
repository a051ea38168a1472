/* ./sample as its user runs it, on models made by hand whose text is known for certain. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../tokenizer/writer.h"
#include "command.h"
#include "letters.h"

/* What the letters' model says. GOLDEN goes through attention, routing, experts and the cache, and past the end of the
 * window. Each of its pieces leads by 0.023 or more, where logits differ by about 1 and rounding is 1e-6: no
 * other compiler or processor may change it. (A model trained here could be undecided.) */
static const char GOLDEN[] = "ab ddd doooooooooommlmmmjjjaaooodoooomdoooo\n";
static const char GOLDEN_START[] = "jjjjjjjjjjjacccdpppooodoooooooooooommlmm\n"; /* without a prompt */

/* After position p comes byte p of CHARACTERS, and after the last one the end: the position's embedding
 * points to that piece's, and all else is 0. */
#define CHARACTERS "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" /* of 2, 3 and 4 bytes */

/* The letters' model with each block. */
static const char *const letters_models[BLOCKS] = {"letters/last.safetensors", "llama", "modern"};

static int models_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    struct model letters = letters_model(), bytes = reciting_model(CHARACTERS, sizeof CHARACTERS - 1);
    mkdir("letters", 0777);
    mkdir("bytes", 0777);
    model_save(&letters, "letters/last.safetensors");
    model_save(&bytes, "bytes/last.safetensors");
    model_destroy(&letters);
    model_destroy(&bytes);
    for (enum block_kind block = BLOCK_LLAMA; block < BLOCKS; block++) {
        struct model other = letters_model_as(LETTERS_VOCAB, block);
        model_save(&other, letters_models[block]);
        model_destroy(&other);
    }
    return 0;
}

/* ---- Sampling ---- */

static void sample_expect(const char *expected, const char *command) {
    run("%s", command);
    if (strcmp(output, expected) != 0) fail_msg("%s\ngot  %s\nwant %s", command, output, expected);
}

static void greedy_text_is_golden(void **state) {
    (void)state;
    sample_expect(GOLDEN, "sample --model letters --prompt 'ab ' -n 40 --greedy");
    sample_expect(GOLDEN, "sample --model letters --prompt 'ab ' -n 40 --greedy --seed 7 --threads 3");
    sample_expect(GOLDEN, "sample -m letters/last.safetensors -p 'ab ' -n 40 --temperature 0");
    sample_expect(GOLDEN, "sample --model letters -p 'ab ' -n 40 --top-k 1");
    sample_expect(GOLDEN, "sample --model letters -p 'ab ' -n 40 --top-p 0.0001");
    sample_expect(GOLDEN, "sample --model letters -p 'ab ' -n 40 --top-p 0 --temperature 100");
    sample_expect(GOLDEN, "sample --model letters -p 'ab ' -n 40 --temperature 1e-300 --top-p 1");
    sample_expect("ab ddd d\n", "sample --model letters -p 'ab ' -n 5 -g");
    sample_expect(GOLDEN_START, "sample --model letters -n 40 -g");
}

/* With --top-k, so that letters come rather than byte pieces, NUL among them. */
static void prompts_from_anywhere_agree(void **state) {
    (void)state;
    static const char prompt[] = "Caf\xc3\xa9\n\xff z";
    text_save("prompt.txt", prompt, sizeof prompt - 1);
    run("sample --model letters --top-k 6 --prompt-file prompt.txt");
    assert_int_equal(strncmp(output, "Caf\xc3\xa9\n\xef\xbf\xbd z", 11), 0); /* U+FFFD for what is no UTF-8 */
    char *text = string_format("%s", output);
    sample_expect(text, "sample --model letters --top-k 6 --prompt - <prompt.txt");
    sample_expect(text, "cat prompt.txt | sample --model letters --top-k 6 -p -");
    sample_expect(text, "sample --model letters --top-k 6 -f prompt.txt --seed 1 -t 0.8 --top-p 0.95 -n 200");
    free(text);
    run("sample --model letters --top-k 6 --prompt 'b d'");
    text = string_format("%s", output);
    sample_expect(text, "printf 'b d' | sample --model letters --top-k 6 --prompt -");
    free(text);
    run("sample --model letters --top-k 6");
    text = string_format("%s", output);
    sample_expect(text, "sample --model letters --top-k 6 --prompt ''");
    sample_expect(text, "sample --model letters --top-k 6 --prompt - </dev/null");
    free(text);
}

/* A prompt is its pieces and nothing else; none begins as a text begins, behind the end of another. */
static void prompts_are_their_pieces(void **state) {
    (void)state;
    static const char *const prompts[] = {"", "a", "ab"};
    tokenizer *t = letters_tokenizer();
    for (size_t i = 0; i < 3; i++) {
        size_t n, size;
        int32_t *ids = prompt_encode(t, prompts[i], i, &n);
        assert_int_equal(n, i ? i : 1);
        if (i == 0) assert_int_equal(ids[0], tokenizer_end_of_text(t));
        for (size_t k = 0; k < i; k++) assert_int_equal(*tokenizer_piece(t, ids[k], &size), prompts[i][k]);
        free(ids);
    }
    tokenizer_free(t);
}

/* Only - alone is standard input: what else begins with it is text, though it looks like an option. */
static void prompts_may_look_like_options(void **state) {
    (void)state;
    static const char *const prompts[] = {"-a", "--", "-p", "--greedy", "--prompt=b", "- a", "--top-k"};
    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++) {
        text_save("prompt.txt", prompts[i], strlen(prompts[i]));
        run("sample --model letters --top-k 6 --prompt-file prompt.txt");
        assert_int_equal(strncmp(output, prompts[i], strlen(prompts[i])), 0);
        char *text = string_format("%s", output);
        static const char *const forms[] = {"--prompt ", "--prompt=", "-p ", "-p"};
        for (int form = 0; form < 4; form++) {
            char *command =
                string_format("echo other | sample --model letters --top-k 6 %s'%s'", forms[form], prompts[i]);
            sample_expect(text, command);
            free(command);
        }
        free(text);
    }
}

/* Only as much of the prompt as the model has positions counts, but all of that. */
static void long_prompt_counts_with_its_end(void **state) {
    (void)state;
    static const char tail[] = "fab cab dab ebb i"; /* SEQ pieces */
    run("sample --model letters --greedy -p '%s'", tail);
    char *text = string_format("hide this, and then %s", output);
    run("sample --model letters --greedy -p 'hide this, and then %s'", tail);
    assert_string_equal(output, text);
    run("sample --model letters --greedy -p '%s'", tail + 4);
    assert_string_not_equal(output, text + strlen(text) - strlen(output));
    free(text);
}

static void seeds_choose_the_text(void **state) {
    (void)state;
    run("sample --model letters --top-k 6 --seed 3 -p a");
    char *one = string_format("%s", output);
    sample_expect(one, "sample --model letters --top-k 6 --seed 3 -p a --threads 2");
    run("sample --model letters --top-k 6 --seed 4 -p a");
    assert_string_not_equal(output, one);
    run("sample --model letters --top-k 6 --seed 0 -p a"); /* is one like the others */
    assert_string_not_equal(output, one);
    run("sample --model letters --top-k 6 --seed 3 -p a --samples 3");
    char *start = string_format("--- sample 1 ---\n%s\n--- sample 2 ---\na", one);
    assert_int_equal(strncmp(output, start, strlen(start)), 0);
    const char *second = output + strlen(start) - 1, *third = strstr(second, "\n--- sample 3 ---\n") + 18;
    assert_int_not_equal(strncmp(second, one, 40), 0);
    assert_int_not_equal(strncmp(third, one, 40), 0);
    assert_int_not_equal(strncmp(third, second, 40), 0);
    run("sample --model letters --top-k 6 --seed 4 -p a"); /* not the next seed's either */
    assert_int_not_equal(strncmp(output, second, 40), 0);
    free(one);
    free(start);
}

static struct model model_held_as(const char *path, enum storage kind, tokenizer **t) {
    struct checkpoint c;
    struct model m = {0};
    struct error err;
    const struct model_setup setup = {MODEL_INFER, 1, false, kind};
    if (!checkpoint_open(&c, path, &err) || !model_load(&m, &c, setup, &err)) fail_msg("%s", err.text);
    *t = tokenizer_from_checkpoint(&c, &err);
    checkpoint_close(&c);
    return m;
}

/* What a model whose matrices are held so says after "a", by the options' defaults but for the length. */
static char *text_held_as(const char *path, enum storage kind, size_t tokens) {
    struct sampler sampler = {SAMPLER_PLAIN, .temperature = 0.8, .top_p = 0.95};
    char *text;
    size_t size, n;
    tokenizer *t;
    struct model m = model_held_as(path, kind, &t);
    struct writer writer = {.tokenizer = t, .text = {.out = open_memstream(&text, &size)}};
    int32_t *ids = prompt_encode(t, "a", 1, &n);
    rng_seed(&sampler.rng, 1, 0);
    text_write(&writer.text, "a", 1);
    model_generate(&m, ids, n, tokens, &sampler, writer_emit, &writer);
    text_end(&writer.text);
    fputc('\n', writer.text.out);
    fclose(writer.text.out);
    free(ids);
    tokenizer_free(t);
    model_destroy(&m);
    return text;
}

/* So long a text shows every kind of rounding. NUL is a piece, too. */
static void weights_are_held_as_told(void **state) {
    (void)state;
    enum { TOKENS = 2000, KINDS = 3 };
    static const char *const options[] = {"", "--weights bf16", "--weights int8", "--weights f32"};
    static const enum storage kinds[] = {STORAGE_F32, STORAGE_BF16, STORAGE_INT8, STORAGE_F32};
    for (int block = 0; block < BLOCKS; block++) {
        char *said[KINDS + 1];
        for (int i = 0; i <= KINDS; i++) {
            said[i] = text_held_as(letters_models[block], kinds[i], TOKENS);
            char *command = string_format("sample --model %s -p a -n %d %s", letters_models[block], TOKENS, options[i]);
            sample_expect(said[i], command);
            free(command);
            for (int other = 0; other < i && i < KINDS; other++) assert_string_not_equal(said[i], said[other]);
        }
        for (int i = 0; i <= KINDS; i++) free(said[i]);
    }
}

/* The likeliest text behind a prompt, everything computed again for each token: the window is the last tokens, and once
 * it is full the later half of them. */
static char *text_recomputed(const char *path, enum storage kind, const char *prompt, size_t tokens) {
    tokenizer *t;
    struct model m = model_held_as(path, kind, &t);
    size_t n, size, start = 0;
    int32_t *ids = prompt_encode(t, prompt, strlen(prompt), &n);
    ids = realloc(ids, (n + tokens) * sizeof *ids);
    char *text = string_format("%s", prompt);
    for (size_t i = 0; i < tokens; i++, n++) {
        if (n - start > SEQ) start = n - (SEQ + 1) / 2;
        model_forward(&m, &(struct batch){.B = 1, .T = n - start, .tokens = ids + start});
        const real *logits = model_logits(&m, n - start - 1);
        ids[n] = 0;
        for (int32_t v = 1; v < m.config.vocab; v++)
            if (logits[v] > logits[ids[n]]) ids[n] = v;
        const char *piece = tokenizer_piece(t, ids[n], &size);
        string_append(&text, "%.*s", (int)size, piece);
    }
    char *line = string_format("%s\n", text);
    free(text);
    free(ids);
    tokenizer_free(t);
    model_destroy(&m);
    return line;
}

/* With every block, far past the end of the positions, however matrices are held: the cache changes nothing. */
static void cached_text_is_the_recomputed_one(void **state) {
    (void)state;
    static const char *const options[] = {"f32", "bf16", "int8"};
    static const char *const prompts[] = {"ab ", "fab cab dab ebb i", "b"};
    char *before = NULL;
    for (int block = 0; block < BLOCKS; block++)
        for (int kind = 0; kind < STORAGES; kind++)
            for (int p = 0; p < 3; p++) {
                char *want = text_recomputed(letters_models[block], kind, prompts[p], 3 * SEQ);
                char *command = string_format("sample --model %s -p '%s' -n %d --greedy --weights %s",
                                              letters_models[block], prompts[p], 3 * SEQ, options[kind]);
                sample_expect(want, command);
                size_t letters = 0;
                for (char c = 'a'; c <= 'p'; c++) letters += strchr(want + strlen(prompts[p]), c) != NULL;
                if (letters < 2) fail_msg("%s", want); /* it could have said something else */
                if (before) assert_string_not_equal(want, before);
                free(before);
                before = want;
                free(command);
            }
    free(before);
}

/* Half of the bits of a float, the nearest; of two the even one. */
static void weights_round(real *w, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &w[i], 4);
        bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
        memcpy(&w[i], &bits, 4);
    }
}

/* The logits behind a few tokens. */
static void logits_of(struct model *m, real *out) {
    static const int32_t tokens[] = {260, 265, 1, 270, 262};
    model_forward(m, &(struct batch){.B = 1, .T = 5, .tokens = tokens});
    memcpy(out, model_logits(m, 4), m->sizes.V * sizeof *out);
}

static double distance_of(const real *a, const real *b, size_t n) {
    double most = 0;
    for (size_t i = 0; i < n; i++) most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

/* An output head of its own is held like the other matrices; the embedding is then only looked up, and stays. */
static void output_head_is_held_as_told(void **state) {
    (void)state;
    real held[LETTERS_VOCAB], rounded[LETTERS_VOCAB], other[LETTERS_VOCAB];
    tokenizer *t;
    struct model m = model_held_as("llama", STORAGE_BF16, &t);
    tokenizer_free(t);
    logits_of(&m, held);
    model_destroy(&m);
    m = model_held_as("llama", STORAGE_F32, &t);
    tokenizer_free(t);
    for (size_t i = 0; i < PARAMETER_TENSORS; i++)
        if (m.packed[i] && m.info[i].part != PART_ROUTER && m.info[i].part != PART_OUTPUT)
            weights_round(m.param_memory + m.info[i].offset, m.info[i].count);
    model_pack(&m);
    logits_of(&m, other);
    weights_round(m.params.lmhead, m.sizes.V * m.sizes.C);
    model_pack(&m);
    logits_of(&m, rounded);
    assert_true(distance_of(held, rounded, LETTERS_VOCAB) < 1e-5);
    assert_true(distance_of(held, other, LETTERS_VOCAB) > 1e-4);
    weights_round(m.params.wte, m.sizes.V * m.sizes.C);
    logits_of(&m, other);
    assert_true(distance_of(held, other, LETTERS_VOCAB) > 1e-4);
    model_destroy(&m);
}

/* Ends a program that writes into `text`: one that still did so would fill it for the next. */
#define END_CHILD "{ kill $child; wait $child; test $? -gt 128; }"

/* A program's waiting threads spin briefly, unless the user has said how they are to wait. */
static void waiting_is_as_the_user_says(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"env -u OMP_WAIT_POLICY -u GOMP_SPINCOUNT", "GOMP_SPINCOUNT=2000"}, {"env OMP_WAIT_POLICY=passive", ""},
        {"env -u OMP_WAIT_POLICY GOMP_SPINCOUNT=7", "GOMP_SPINCOUNT=7"}};
    run("mkfifo text");
    for (int i = 0; i < 3; i++) {
        run("OMP_NUM_THREADS=2 %s sample --model letters -n 1000000 >text & child=$!; exec 3<text; head -c 9 "
            "<&3 >/dev/null; "
            "tr '\\0' '\\n' </proc/$child/environ | grep ^GOMP; " END_CHILD,
            cases[i][0]);
        assert_int_equal(strcspn(output, "\n"), strlen(cases[i][1]));
        assert_int_equal(strncmp(output, cases[i][1], strlen(cases[i][1])), 0);
    }
    run("rm text");
}

/* Nobody reads what it writes, so that it stands still. */
static void threads_are_as_many_as_told(void **state) {
    (void)state;
    static const char *const cases[][2] = {{"--threads 3", "3"}, {"--threads 1", "1"}, {"", "2"}, {"--threads 0", "2"}};
    run("mkfifo text");
    for (int i = 0; i < 4; i++)
        run("OMP_NUM_THREADS=2 sample --model letters -n 1000000 %s >text & child=$!; exec 3<text; for i in "
            "$(seq 1000); do "
            "threads=$(sed -n 's/^Threads:[[:blank:]]*//p' /proc/$child/status); test $threads = %s && break; "
            "sleep 0.01; "
            "done; " END_CHILD " && test $threads = %s",
            cases[i][0], cases[i][1], cases[i][1]);
    run("rm text");
}

/* The model says these characters byte by byte; then its text is over. */
static void characters_stay_whole(void **state) {
    (void)state;
    sample_expect(CHARACTERS "\n", "sample --model bytes");
    sample_expect("\xc3\xa9\xef\xbf\xbd\n", "sample --model bytes -n 4"); /* half a character is U+FFFD */
    sample_expect("\xc3\xa9\n", "sample --model bytes -n 2");
}

static void newest_run_is_read(void **state) {
    (void)state;
    run("mkdir -p newest/runs/a newest/runs/b newest/runs/c && "
        "cp letters/last.safetensors newest/runs/a && cp letters/last.safetensors newest/runs/c && "
        "cp letters/last.safetensors newest/runs/b && "
        "cp bytes/last.safetensors newest/runs/b/best.safetensors && "
        "touch -d @1000 newest/runs/*/* && touch -d @2000 newest/runs/b/last.safetensors && "
        "mkdir newest/runs/no && cp letters/last.safetensors newest/runs/no/model.safetensors"); /* which is no run */
    sample_expect(CHARACTERS "\n", "cd newest && sample -g"); /* the best model of b */
    sample_expect(CHARACTERS "\n", "sample -g --model newest/runs/b");
    sample_expect(GOLDEN, "touch -d @3000 newest/runs/c/* && cd newest && sample -g -p 'ab ' -n 40");
    static const char *const times[][2] = {
        {"@4000", "@4000.000000001"}, {"@4000.9", "@4001.1"}, {"@4000.3", "@4001.3"}};
    run("rm -r newest/runs/b && cp bytes/last.safetensors newest/runs/a");
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) { /* newer, if by a nanosecond, in either order */
        run("cd newest/runs && touch -d %s a/* && touch -d %s c/*", times[i][0], times[i][1]);
        sample_expect(GOLDEN, "cd newest && sample -g -p 'ab ' -n 40");
        run("cd newest/runs && touch -d %s c/* && touch -d %s a/*", times[i][0], times[i][1]);
        sample_expect(CHARACTERS "\n", "cd newest && sample -g");
    }
    run("rm -r newest");
}

static void bad_input_is_refused(void **state) {
    (void)state;
    text_save("some.txt", "Some text, and no checkpoint.\n", 30);
    refuse(2, "f16", "bf16", "sample --model letters --weights f16");
    refuse(2, "'word'", "--prompt", "sample --model letters word");
    refuse(2, "--prompt and --prompt-file", "choose one", "sample -p a -f some.txt");
    refuse(2, "'--promt'", "did you mean '--prompt'", "sample --promt a");
    refuse(3, "runs: no run", "--model", "mkdir bare; cd bare; sample");
    refuse(3, "some.txt", "not a checkpoint", "sample --model some.txt");
    refuse(3, "missing.safetensors", "cannot read", "sample --model missing.safetensors");
    refuse(3, "missing.txt", "cannot read", "sample --model letters --prompt-file missing.txt");
}

/* ---- Checkpoints that were put together wrongly, every CRC right ---- */

/* Loads the letters' tensors under another config and format (NULL: none). Returns the exit code. */
static int load_code(const struct model *m, const char *config, const char *format, struct error *err) {
    struct checkpoint c;
    struct model loaded;
    json_t *metadata = metadata_make(config);
    if (format) checkpoint_note(metadata, "format", format);
    else json_object_del(metadata, "format");
    checkpoint_save("odd.safetensors", m, NULL, metadata);
    json_decref(metadata);
    *err = (struct error){0};
    assert_true(checkpoint_open(&c, "odd.safetensors", err));
    const bool ok = model_load(&loaded, &c, (struct model_setup){MODEL_INFER, 1, false, STORAGE_F32}, err);
    if (ok) model_destroy(&loaded);
    checkpoint_close(&c);
    if (!ok) assert_int_equal(strncmp(err->text, "odd.safetensors: ", 17), 0);
    return ok ? EXIT_DONE : err->code;
}

/* The same with one value of the config exchanged (NULL: taken out). */
static int changed_code(const struct model *m, const char *key, json_t *value, struct error *err) {
    char *config = config_to_string(&m->config);
    json_t *object = json_loads(config, 0, NULL);
    free(config);
    if (value) json_object_set_new(object, key, value);
    else assert_int_equal(json_object_del(object, key), 0);
    config = json_dumps(object, 0);
    const int code = load_code(m, config, MODEL_FORMAT, err);
    json_decref(object);
    free(config);
    return code;
}

static void expect_text(const struct error *err, const char *want) {
    if (strcmp(err->text, want) != 0) fail_msg("got  %s\nwant %s", err->text, want);
}

static void bad_configs_are_refused(void **state) {
    (void)state;
    struct model m = letters_model();
    struct error err;
    char *config = config_to_string(&m.config), want[200];
    assert_int_equal(load_code(&m, config, MODEL_FORMAT, &err), EXIT_DONE);
    for (const struct option_spec *spec = model_options; spec->name; spec++) {
        const bool new = strcmp(spec->name, "documents") == 0; /* what earlier checkpoints do not say */
        assert_int_equal(changed_code(&m, spec->name, NULL, &err), new ? EXIT_DONE : EXIT_INPUT);
        snprintf(want, sizeof want, "odd.safetensors: config: configuration: %s: missing", spec->name);
        if (!new) expect_text(&err, want);
        assert_int_equal(changed_code(&m, spec->name, json_null(), &err), EXIT_INPUT);
        snprintf(want, sizeof want, "odd.safetensors: config: configuration: %s: bad value (got null, ", spec->name);
        assert_int_equal(strncmp(err.text, want, strlen(want)), 0);
        if (spec->type != OPTION_INT && spec->type != OPTION_REAL) continue;
        assert_int_equal(changed_code(&m, spec->name, json_integer((json_int_t)spec->high + 1), &err), EXIT_INPUT);
        assert_int_equal(changed_code(&m, spec->name, json_integer((json_int_t)spec->low - 1), &err), EXIT_INPUT);
    }
    assert_int_equal(changed_code(&m, "tokens", json_integer(3), &err), EXIT_INPUT);
    expect_text(&err, "odd.safetensors: config: configuration: tokens: unknown");
    assert_int_equal(changed_code(&m, "attn-heads", json_integer(5), &err), EXIT_INPUT); /* of 12 channels */
    expect_text(&err, "odd.safetensors: config: --channels 12 is not divisible by --attn-heads 5; use --channels 15");
    assert_int_equal(changed_code(&m, "topk", json_integer(6), &err), EXIT_INPUT); /* of 5 experts */
    assert_int_equal(changed_code(&m, "moe-every", json_integer(4), &err), EXIT_INPUT); /* of 3 layers */
    assert_int_equal(changed_code(&m, "moe-heads", json_integer(5), &err), EXIT_INPUT);
    static const char *const texts[] = {"", "{", "5", "null", "\"mhmoe\"", "{\"seq\":17,\"seq\":17}", "{} x"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(load_code(&m, texts[i], MODEL_FORMAT, &err), EXIT_INPUT);
        assert_int_equal(strncmp(err.text, "odd.safetensors: config: not JSON (", 35), 0);
    }
    assert_int_equal(load_code(&m, "[]", MODEL_FORMAT, &err), EXIT_INPUT);
    assert_int_equal(load_code(&m, config, "mhmoe 2", &err), EXIT_INPUT);
    expect_text(&err, "odd.safetensors: metadata format: another one (got mhmoe 2, want mhmoe 1); read it with the "
                "version of the program that wrote it");
    assert_int_equal(load_code(&m, "{", "mhmoe 2", &err), EXIT_INPUT); /* whose config may look otherwise */
    assert_non_null(strstr(err.text, "mhmoe 2"));
    assert_int_equal(load_code(&m, config, NULL, &err), EXIT_INPUT);
    free(config);
    model_destroy(&m);
}

/* Every option that decides on a shape, or on whether there is a tensor. */
static void other_shapes_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *key;
        int value;
        const char *tensor;
    } cases[] = {
        {"vocab", LETTERS_VOCAB + 1, "wte"}, {"vocab", LETTERS_VOCAB - 1, "wte"}, {"seq", SEQ - 1, "wpe"},
        {"layers", 4, "ln1w"}, {"channels", 24, "wte"}, {"moe-every", 1, "headw"}, {"moe-heads", 2, "routerw"},
        {"experts", 6, "routerw"}, {"experts", 4, "routerw"}, {"expert-hidden", 8, "expw1"},
        {"expert-hidden", 0, "expw1"},
        {"head-depth", 2, "headw"}, {"merge-depth", 2, "mergew"}, {"shared-hidden", 3, "sharedw1"},
    };
    struct model m = letters_model();
    struct error err;
    char want[100];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(changed_code(&m, cases[i].key, json_integer(cases[i].value), &err), EXIT_MISMATCH);
        snprintf(want, sizeof want, "odd.safetensors: tensor %s: ", cases[i].tensor);
        if (strncmp(err.text, want, strlen(want)) != 0) fail_msg("%s: %s", cases[i].key, err.text);
    }
    assert_int_equal(changed_code(&m, "router", json_string("cosine"), &err), EXIT_MISMATCH);
    expect_text(&err, "odd.safetensors: tensor routerp: missing; this checkpoint is of another model");
    assert_int_equal(changed_code(&m, "balance", json_string("bias"), &err), EXIT_MISMATCH);
    expect_text(&err, "odd.safetensors: tensor router.bias: missing; this checkpoint is of another model");
    assert_int_equal(changed_code(&m, "ffn", json_string("dense"), &err), EXIT_MISMATCH);
    assert_int_equal(changed_code(&m, "tie", json_false(), &err), EXIT_MISMATCH);
    expect_text(&err, "odd.safetensors: tensor lmhead: missing; this checkpoint is of another model");
    assert_int_equal(changed_code(&m, "activation", json_string("swiglu"), &err), EXIT_MISMATCH);
    assert_int_equal(strncmp(err.text, "odd.safetensors: tensor fcw: ", 29), 0);
    model_destroy(&m);
    m = letters_model_as(LETTERS_VOCAB, BLOCK_LLAMA);
    assert_int_equal(changed_code(&m, "position", json_string("learned"), &err), EXIT_MISMATCH);
    expect_text(&err, "odd.safetensors: tensor wpe: missing; this checkpoint is of another model");
    assert_int_equal(changed_code(&m, "bias", json_true(), &err), EXIT_MISMATCH);
    expect_text(&err, "odd.safetensors: tensor qkvb: missing; this checkpoint is of another model");
    assert_int_equal(changed_code(&m, "attn-heads", json_integer(4), &err), EXIT_INPUT); /* heads of 3 cannot turn */
    assert_non_null(strstr(err.text, "leaves heads of 3, an odd number"));
    model_destroy(&m);
}

/* The same through the program, and what only it looks at: the tokenizer. */
static void bad_checkpoints_are_refused(void **state) {
    (void)state;
    struct model m = letters_model();
    tokenizer *t = letters_tokenizer();
    const struct tensor right = tokenizer_tensor(t), junk = {"tokenizer.model", DTYPE_U8, 1, {8}, "no model"};
    char *config = config_to_string(&m.config);
    json_t *metadata = metadata_make(config);
    checkpoint_save("odd.safetensors", &m, NULL, metadata);
    refuse(EXIT_INPUT, "odd.safetensors: tensor tokenizer.model: missing", "", "sample --model odd.safetensors");
    checkpoint_save("odd.safetensors", &m, &junk, metadata);
    refuse(EXIT_INPUT, "odd.safetensors: tokenizer: not a SentencePiece model", "", "sample --model odd.safetensors");
    checkpoint_note(metadata, "config", "{\"vocab\":274}");
    checkpoint_save("odd.safetensors", &m, &right, metadata);
    refuse(EXIT_INPUT, "odd.safetensors: config: configuration: seq: missing", "", "sample --model odd.safetensors");
    checkpoint_note(metadata, "format", "mhmoe 2");
    checkpoint_save("odd.safetensors", &m, &right, metadata);
    refuse(EXIT_INPUT, "got mhmoe 2, want mhmoe 1", "the version of the program", "sample --model odd.safetensors");
    refuse(EXIT_INPUT, "got mhmoe 2, want mhmoe 1", "the version of the program", "analyse odd.safetensors");
    refuse(EXIT_INPUT, "got mhmoe 2, want mhmoe 1", "the version of the program",
           "mkdir odd && mv odd.safetensors odd/last.safetensors && touch odd/config && train --resume odd");
    run("rm -r odd runs");
    json_object_del(metadata, "config");
    checkpoint_note(metadata, "format", MODEL_FORMAT);
    checkpoint_save("odd.safetensors", &m, &right, metadata);
    refuse(EXIT_INPUT, "odd.safetensors: metadata config: missing", "", "sample --model odd.safetensors");
    for (int more = -1; more <= 1; more += 2) {
        struct model other = letters_model_of(LETTERS_VOCAB + more);
        model_save(&other, "odd.safetensors");
        char *says = string_format("tokenizer of %d pieces, model of %d;", LETTERS_VOCAB, LETTERS_VOCAB + more);
        refuse(EXIT_MISMATCH, says, "put together wrongly", "sample --model odd.safetensors");
        free(says);
        model_destroy(&other);
    }
    tokenizer_free(t);
    json_decref(metadata);
    free(config);
    model_destroy(&m);
}

/* Which options need which others to change anything, for every model. */
static void idle_options_are_known(void **state) {
    (void)state;
    static const char *const of[][19] = { /* need, then who has it */
        {"", "task", "vocab", "seq", "layers", "channels", "attn-heads", "block", "norm", "position", "activation",
         "bias", "tie", "qk-norm", "documents", "zero-start", "ffn", "shared-hidden"},
        {"--task masked", "size", "patch", "codes"},
        {"--ffn smoe or mhmoe", "experts", "topk", "expert-hidden", "moe-every", "moe-residual", "router",
         "renormalize", "balance", "z-weight"},
        {"--ffn mhmoe", "moe-heads", "head-depth", "merge-depth"},
        {"--router cosine", "router-dim"},
        {"--balance aux", "balance-weight"},
        {"--balance bias", "bias-step"},
    };
    for (int i = 0; i < 3 * 2 * 3 * 2; i++) {
        struct config config = small_config;
        size_t seen = 0;
        config.task = i / 18;
        config.ffn = i % 3;
        config.router = i / 3 % 2;
        config.balance = i / 6 % 3;
        const bool moe = config.ffn != FFN_DENSE;
        const bool there[] = {true, config.task == TASK_MASKED, moe, config.ffn == FFN_MHMOE,
                              moe && config.router == ROUTER_COSINE,
                              moe && config.balance == BALANCE_AUX, moe && config.balance == BALANCE_BIAS};
        for (size_t kind = 0; kind < sizeof of / sizeof *of; kind++)
            for (const char *const *name = of[kind] + 1; *name; name++, seen++) {
                const char *need = option_missing(&config, *name);
                assert_string_equal(need ? need : "nothing", there[kind] ? "nothing" : of[kind][0]);
            }
        for (const struct option_spec *spec = model_options; spec->name; spec++) seen--;
        assert_int_equal(seen, 0); /* every option there is has a line above */
    }
}

/* ---- Bytes that are no characters ---- */

static void any_bytes_can_be_a_prompt(void **state) {
    (void)state;
    run("printf 'b\\351 d\\303' >bytes.txt; sample --model letters --top-k 6 --prompt-file bytes.txt");
    assert_int_equal(strncmp(output, "b\xef\xbf\xbd d\xef\xbf\xbd", 9), 0); /* what cannot be shown is U+FFFD */
    char *text = string_format("%s", output);
    sample_expect(text, "sample --model letters --top-k 6 --prompt \"$(cat bytes.txt)\"");
    sample_expect(text, "cat bytes.txt | sample --model letters --top-k 6 -p -");
    run("sample --model letters --top-k 6 --prompt 'b\xef\xbf\xbd d\xef\xbf\xbd'");
    assert_string_not_equal(output, text); /* but is not what the model sees: that is one piece a byte */
    refuse(2, "--print-config: --prompt cannot be printed", "UTF-8",
           "sample --prompt \"$(cat bytes.txt)\" --print-config");
    free(text);
}

/* A corpus may have any name: its run has one that can be said, and goes on. A name that is long is not cut within a
 * character. */
static void any_bytes_can_be_a_name(void **state) {
    (void)state;
#define FOUR "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
    static const char *const names[] = {"caf\xe9", "\xff\xfe", "a" FOUR FOUR FOUR FOUR FOUR FOUR FOUR FOUR FOUR};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        run("mkdir odd; cd odd; seq 3000 >'%s.txt'; train '%s.txt' --vocab 269 --seq 9 --layers 2 --channels 8 "
            "--batch 2 --moe-heads 2 --steps 3 --until 2", names[i], names[i]);
        run("cd odd; train --resume runs/*; analyse runs/* --windows 1 --samples 0; rm -r runs/analysis; "
            "sample --model runs/*; sample; cp -r runs/* \"$(printf 'r\\351')\"; "
            "sample --model \"$(printf 'r\\351')\"; rm -r ../odd");
    }
}

static void output_failure_is_told(void **state) {
    (void)state;
    refuse(4, "standard output", "No space left", "sample --model letters >/dev/full");
    refuse(4, "standard output", "No space left", "sample --model letters -p a --samples 1000000 >/dev/full");
    refuse(4, "standard output", "No space left", "timeout 60 sample --model letters -g -p 'ab ' -n 1G >/dev/full");
    refuse(4, "standard output", "No space left",
           "timeout 60 sample --model letters -p 'fab cab dab ebb i' --samples 1048576 >/dev/full");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_text_is_golden),
        cmocka_unit_test(prompts_from_anywhere_agree),
        cmocka_unit_test(prompts_are_their_pieces),
        cmocka_unit_test(prompts_may_look_like_options),
        cmocka_unit_test(long_prompt_counts_with_its_end),
        cmocka_unit_test(seeds_choose_the_text),
        cmocka_unit_test(weights_are_held_as_told),
        cmocka_unit_test(cached_text_is_the_recomputed_one),
        cmocka_unit_test(output_head_is_held_as_told),
        cmocka_unit_test(waiting_is_as_the_user_says),
        cmocka_unit_test(threads_are_as_many_as_told),
        cmocka_unit_test(characters_stay_whole),
        cmocka_unit_test(newest_run_is_read),
        cmocka_unit_test(bad_input_is_refused),
        cmocka_unit_test(bad_configs_are_refused),
        cmocka_unit_test(other_shapes_are_refused),
        cmocka_unit_test(bad_checkpoints_are_refused),
        cmocka_unit_test(idle_options_are_known),
        cmocka_unit_test(any_bytes_can_be_a_prompt),
        cmocka_unit_test(any_bytes_can_be_a_name),
        cmocka_unit_test(output_failure_is_told),
    };
    return cmocka_run_group_tests(tests, models_make, workplace_remove);
}
