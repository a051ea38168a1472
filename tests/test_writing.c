/* How ./sample writes, as its user runs it: stop strings, biases and penalties, many prompts, JSON lines, healing, and
 * what it says beside the text. On models made by hand; on a terminal: test_terminal.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include "../src/run/likelihood.h"
#include "../tokenizer/writer.h"
#include "letters.h"
#include "pieces.h"

/* After position p comes byte p of WORDS, and after the last one the end of text (reciting_model). */
#define WORDS "ab\ncab\n"

/* Weights at random, over a tokenizer with pieces of several letters; its metadata says how far it was trained. */
static void pieces_model_save(const char *path) {
    struct config config = small_config;
    config.vocab = PIECES;
    config.seq = SEQ;
    struct model m = model_random(&config, MODEL_INFER, 1, 77);
    tokenizer *t = pieces_tokenizer();
    const struct tensor tensor = tokenizer_tensor(t);
    char *text = config_to_string(&config);
    json_t *metadata = metadata_make(text);
    checkpoint_note(metadata, "step", "1200");
    checkpoint_note(metadata, "val_loss", "3.25");
    checkpoint_save(path, &m, &tensor, metadata);
    checkpoint_note(metadata, "val_loss", "inf"); /* before the first validation */
    checkpoint_save("unvalidated", &m, &tensor, metadata);
    json_decref(metadata);
    free(text);
    tokenizer_free(t);
    model_destroy(&m);
}

static int models_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    struct model letters = letters_model(), words = reciting_model(WORDS, sizeof WORDS - 1);
    model_save(&letters, "letters");
    model_save(&words, "words");
    pieces_model_save("pieces");
    model_destroy(&letters);
    model_destroy(&words);
    return 0;
}

static struct model model_at(const char *path, tokenizer **t) {
    struct checkpoint c;
    struct model m = {0};
    struct error err;
    const struct model_setup setup = {MODEL_INFER, 1, false, STORAGE_F32};
    if (!checkpoint_open(&c, path, &err) || !model_load(&m, &c, setup, &err))
        fail_msg("%s", err.text);
    *t = tokenizer_from_checkpoint(&c, &err);
    checkpoint_close(&c);
    return m;
}

static void expect(const char *want, const char *command) {
    run("%s", command);
    if (strcmp(output, want) != 0) fail_msg("%s\ngot  %s\nwant %s", command, output, want);
}

/* The i-th line of the last output as JSON. */
static json_t *line_of(int i) {
    const char *at = output;
    for (; i > 0; i--) at = strchr(at, '\n') + 1;
    json_t *line = json_loadb(at, strcspn(at, "\n"), JSON_ALLOW_NUL, NULL);
    if (!line) fail_msg("no JSON: %s", at);
    return line;
}

static const char *word_of(const json_t *line, const char *key) {
    return json_string_value(json_object_get(line, key));
}

/* ---- What is so unless it is said ---- */

static void defaults_are_these(void **state) {
    (void)state;
    expect("interactive = false\nheal = true\ntokens = 200\nsamples = 1\nignore-end = false\necho = true\n"
           "json = false\ntemperature = 0.8\ntop-k = 0\ntypical = 1\ntop-p = 0.95\nmin-p = 0\n"
           "repetition-penalty = 1\nfrequency-penalty = 0\npresence-penalty = 0\npenalty-last = 64\n"
           "greedy = false\nseed = 1\nthreads = 0\nweights = f32\nlogprobs = 0\nlength = 0\nexport = none\n",
           "sample --print-config | grep -v '^#'");
}

/* ---- Where a text ends ---- */

static void texts_end_before_a_stop_string(void **state) {
    (void)state;
    expect(WORDS "\n", "sample -m words -n 20");
    expect("ab\n\n", "sample -m words -n 20 --stop c");
    expect("ab\n\n", "sample -m words -n 20 --stop ca --stop x");
    expect("ab\n", "sample -m words -n 20 --stop zz --stop '\n'"); /* the first that comes, in either order */
    expect("ab\n", "sample -m words -n 20 --stop '\n' --stop 'ab\nc'");
    expect("\n", "sample -m words -n 20 --stop 'ab\nc' --stop x");
    expect("ab\nc\n", "sample -m words -n 4 --stop cabb"); /* what was held back is text after all */
    expect("ab\ncab\n", "sample -m words -n 6 --stop abab");
    expect(WORDS "\n", "sample -m words -n 20 --stop 'b\nb' --stop '\n\n'");
    expect("ab ddd d\n", "sample -m letters -p 'ab ' -n 5 -g --stop ab --stop ' d d'"); /* prompts are no text */
    expect("ab dd\n", "sample -m letters -p 'ab ' -n 5 -g --stop 'd d'");
    static const char stops[] = "stop = \"b\\nc\"\nstop = x\n";
    text_save("stops", stops, sizeof stops - 1);
    expect("a\n", "sample -m words -n 20 --config stops");
}

static void reasons_are_told(void **state) {
    (void)state;
    static const struct {
        const char *options, *text, *reason;
        size_t tokens; /* an end of text and those of a stop string, too */
    } cases[] = {{"-n 20", WORDS, "end", 8},   {"-n 8", WORDS, "end", 8},       {"-n 7", WORDS, "length", 7},
                 {"-n 1", "a", "length", 1},   {"-n 20 --stop b", "a", "stop", 2}, {"-n 2 --stop b", "a", "stop", 2},
                 {"-n 2 --stop 'b\n'", "ab", "length", 2}, {"-n 20 --stop 'ca'", "ab\n", "stop", 5},
                 {"-n 8 --stop 'b\nx'", WORDS, "end", 8}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run("sample -m words --json %s", cases[i].options);
        json_t *line = line_of(0);
        assert_string_equal(word_of(line, "text"), cases[i].text);
        assert_string_equal(word_of(line, "stop"), cases[i].reason);
        assert_int_equal(json_array_size(json_object_get(line, "tokens")), cases[i].tokens);
        assert_int_equal(json_array_size(json_object_get(line, "logprobs")), cases[i].tokens);
        json_decref(line);
    }
}

static void ends_can_be_ignored(void **state) {
    (void)state;
    for (int greedy = 0; greedy < 2; greedy++) {
        run("sample -m words --json -n 30 --ignore-end --temperature %d", 1 - greedy);
        json_t *line = line_of(0), *tokens = json_object_get(line, "tokens"), *id;
        size_t i;
        assert_int_equal(json_array_size(tokens), 30);
        assert_string_equal(word_of(line, "stop"), "length");
        json_array_foreach(tokens, i, id) assert_int_not_equal(json_integer_value(id), 1);
        assert_int_equal(strncmp(word_of(line, "text"), WORDS, sizeof WORDS - 1), 0);
        json_decref(line);
    }
}

/* ---- How tokens are chosen ---- */

/* What is asked for reaches the sampler: each of these is another text than without it, and than the others'. */
static void filters_reach_the_sampler(void **state) {
    (void)state;
    static const char *const options[] = {
        "", "--top-k 3", "--typical 0.3", "--top-p 0.4", "--min-p 0.3", "--repetition-penalty 3",
        "--frequency-penalty 0.3", "--presence-penalty 1", "--presence-penalty 1 --penalty-last 2", "--logit-bias a=4",
        "--temperature 3", "--seed 2", "--ignore-end --logit-bias d=3"};
    enum { N = sizeof options / sizeof *options };
    char *texts[N];
    for (size_t i = 0; i < N; i++) {
        run("sample -m letters -p a -n 60 --no-echo --top-k 9 --top-p 1 %s", options[i]); /* letters, mostly */
        texts[i] = string_format("%s", output);
        for (size_t k = 0; k < i; k++)
            if (strcmp(texts[i], texts[k]) == 0) fail_msg("'%s' changes nothing beside '%s'", options[i], options[k]);
    }
    for (size_t i = 0; i < N; i++) free(texts[i]);
    run("sample -m letters -p a -n 60 -g");
    char *plain = string_format("%s", output);
    expect(plain, "sample -m letters -p a -n 60 --min-p 1 --top-p 1 --temperature 2"); /* only the highest */
    expect(plain, "sample -m letters -p a -n 60 -g --repetition-penalty 9 --penalty-last 0");
    free(plain);
}

/* No letter comes twice, and none of the prompt's, where all of it counts; with a window of one no two neighbours are
 * alike. */
static void penalties_count_prompt_and_text(void **state) {
    (void)state;
    run("sample -m letters -p 'ab d' -n 12 -g --json --presence-penalty 100 --penalty-last -1");
    tokenizer *t = letters_tokenizer();
    json_t *line = line_of(0), *id;
    size_t n, i;
    int32_t *ids = prompt_encode(t, "ab d", 4, &n);
    bool seen[LETTERS_VOCAB] = {false};
    for (i = 0; i < n; i++) seen[ids[i]] = true;
    json_array_foreach(json_object_get(line, "tokens"), i, id) {
        if (seen[json_integer_value(id)]) fail_msg("token %d comes twice: %s", (int)json_integer_value(id), output);
        seen[json_integer_value(id)] = true;
    }
    assert_int_equal(i, 12);
    json_decref(line);
    free(ids);
    tokenizer_free(t);
    run("sample -m letters -p 'ab d' -n 30 -g --frequency-penalty 100 --penalty-last 1");
    for (const char *at = output; *at && at[1]; at++) assert_int_not_equal(at[0], at[1]);
    run("sample -m letters -p 'ab d' -n 30 -g");
    assert_non_null(strstr(output, "dd"));
}

/* What a text begins behind, where there is nothing of the prompt, was not there: no penalty keeps the text from
 * ending, whether the prompt is empty, or healing takes back all of it. */
static void penalties_are_not_for_the_beginning(void **state) {
    (void)state;
#define ENDS " -n 9 -g --json --logit-bias 1=50 --presence-penalty 100" /* id 1: the end of text */
    static const char *const commands[] = {"sample -m letters" ENDS, "sample -m pieces -p ' '" ENDS};
    for (size_t i = 0; i < 2; i++) {
        run("%s", commands[i]);
        json_t *line = line_of(0);
        assert_int_equal(json_object_get(line, "healed") != NULL, i);
        assert_string_equal(word_of(line, "stop"), "end");
        json_decref(line);
    }
}

static void biases_are_for_ids_and_texts(void **state) {
    (void)state;
    tokenizer *t = letters_tokenizer();
    int32_t *ids = NULL;
    size_t n = 0, capacity = 0;
    tokenizer_encode(t, "d", 1, &ids, &n, &capacity);
    run("sample -m letters -p 'ab ' -n 12 -g --logit-bias d=-inf");
    assert_null(strchr(output, 'd'));
    char *want = string_format("%s", output), *command =
        string_format("sample -m letters -p 'ab ' -n 12 -g --logit-bias %d=-inf", (int)ids[0]);
    expect(want, command);
    expect(want, "sample -m letters -p 'ab ' -n 12 -g --logit-bias d=-1000");
    expect(want, "sample -m letters -p 'ab ' -n 12 -g --logit-bias d=-600 --logit-bias '\"d\"=-400'");
    expect("ab      \n", "sample -m letters -p 'ab ' -n 5 -g --logit-bias ' =100'");
    expect("ab 77777\n", "sample -m letters -p 'ab ' -n 5 -g --logit-bias '\"7\"=100'");
    expect("ab =====\n", "sample -m letters -p 'ab ' -n 5 -g --logit-bias '==100'");
    expect("ab \"\"\n", "sample -m letters -p 'ab ' -n 2 -g --logit-bias '\"=100'");
    free(want);
    free(command);
    free(ids);
    tokenizer_free(t);
}

static void seeds_may_be_random(void **state) {
    (void)state;
    char *texts[2];
    for (int i = 0; i < 2; i++) {
        long long seed;
        run("sample -m letters -p a --seed random --json -n 50");
        texts[i] = string_format("%s", output);
        const char *note = strstr(errors, "sample: note: --seed ");
        assert_non_null(note);
        assert_int_equal(sscanf(note, "sample: note: --seed %lld gives the same again\n", &seed), 1);
        assert_in_range(seed, 0, 999999999999999);
        char *command = string_format("sample -m letters -p a --seed %lld --json -n 50", seed);
        expect(texts[i], command);
        assert_null(strstr(errors, "--seed"));
        free(command);
    }
    assert_string_not_equal(texts[0], texts[1]);
    free(texts[0]);
    free(texts[1]);
}

/* ---- Many prompts ---- */

static void prompts_of_a_file_are_answered(void **state) {
    (void)state;
    text_save("p.txt", "ab \n\nb d\r\nab \n", 14);
    run("sample -m letters -g -n 9 -p 'ab '");
    char *one = string_format("%s", output);
    run("sample -m letters -g -n 9 -p 'b d'");
    char *want = string_format("--- prompt 1 ---\n%s\n--- prompt 2 ---\n%s\n--- prompt 3 ---\n%s", one, output, one);
    expect(want, "sample -m letters -g -n 9 --prompts p.txt");
    expect(want, "sample -m letters -g -n 9 --prompts - <p.txt");
    text_save("p.jsonl", "{\"prompt\":\"ab \"}\n{\"prompt\":\"b d\"}\n{\"prompt\":\"ab \"}\n", 51);
    expect(want, "sample -m letters -g -n 9 --prompts p.jsonl");
    free(one);
    free(want);
}

/* Each text of each prompt has its own numbers: none is another's, and none changes with how many there are. */
static void texts_have_their_own_numbers(void **state) {
    (void)state;
    text_save("p.txt", "a\na\na\n", 6);
#define LETTERS "sample -m letters --top-k 9 -n 30 --seed 5 " /* letters, mostly */
    run(LETTERS "--prompts p.txt --json --samples 2");
    char *texts[6];
    for (int i = 0; i < 6; i++) {
        json_t *line = line_of(i);
        texts[i] = string_format("%s", word_of(line, "text"));
        assert_int_equal(json_integer_value(json_object_get(line, "seed")), 5);
        assert_int_equal(json_integer_value(json_object_get(line, "sample")), i % 2 + 1);
        for (int k = 0; k < i; k++) assert_string_not_equal(texts[i], texts[k]);
        json_decref(line);
    }
    static const char *const others[] = {LETTERS "--prompts p.txt --json --samples 3", LETTERS "--prompts p.txt --json",
                                         LETTERS "-p a --json --samples 2"};
    static const int lines[][6] = {{0, 1, 3, 4, 6, 7}, {0, -1, 1, -1, 2, -1}, {0, 1, -1, -1, -1, -1}};
    for (int i = 0; i < 3; i++) {
        run("%s", others[i]);
        for (int k = 0; k < 6; k++) {
            if (lines[i][k] < 0) continue;
            json_t *line = line_of(lines[i][k]);
            assert_string_equal(word_of(line, "text"), texts[k]);
            json_decref(line);
        }
    }
    run(LETTERS "--prompts p.txt --samples 2");
    char *want = string_format("--- prompt 1, sample 1 ---\na%s\n\n--- prompt 1, sample 2 ---\na%s\n\n"
                               "--- prompt 2, sample 1 ---\na%s\n\n--- prompt 2, sample 2 ---\na%s\n\n", texts[0],
                               texts[1], texts[2], texts[3]);
    assert_int_equal(strncmp(output, want, strlen(want)), 0);
    free(want);
    for (int i = 0; i < 6; i++) free(texts[i]);
}

static void prompts_need_not_be_written(void **state) {
    (void)state;
    run("sample -m letters -p 'ab ' -n 30 --samples 2 --top-k 9");
    const char *second = strstr(output, "\n\n--- sample 2 ---\nab ");
    assert_non_null(second);
    char *want = string_format("--- sample 1 ---\n%.*s\n\n--- sample 2 ---\n%s",
                               (int)(second - output - 20), output + 20, second + 22);
    expect(want, "sample -m letters -p 'ab ' -n 30 --samples 2 --top-k 9 --no-echo");
    free(want);
}

/* ---- JSON lines ---- */

/* log p of each token by the model itself, whatever was done with its logits then; and the likeliest. */
static void report_check(struct model *m, const tokenizer *t, const json_t *line, const char *prompt, size_t top) {
    const json_t *tokens = json_object_get(line, "tokens"), *logprobs = json_object_get(line, "logprobs");
    size_t n, size;
    int32_t *ids = prompt_encode(t, prompt, strlen(prompt), &n), best[5];
    char *text = string_format("%s", "");
    ids = realloc(ids, (n + 200) * sizeof *ids);
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        model_forward(m, &(struct batch){.B = 1, .T = n, .tokens = ids});
        const real *logits = model_logits(m, n - 1);
        const double sum = logits_log_sum(logits, m->sizes.V);
        const json_t *list = json_array_get(json_object_get(line, "top"), i);
        ids[n] = (int32_t)json_integer_value(json_array_get(tokens, i));
        assert_true(fabs(json_real_value(json_array_get(logprobs, i)) - ((double)logits[ids[n]] - sum)) < 1e-4);
        logits_highest(logits, m->sizes.V, top, best);
        assert_int_equal(json_array_size(list), top);
        for (size_t k = 0; k < top; k++) {
            const json_t *one = json_array_get(list, k);
            assert_int_equal(json_integer_value(json_object_get(one, "id")), best[k]);
            const double logprob = json_real_value(json_object_get(one, "logprob"));
            assert_true(fabs(logprob - ((double)logits[best[k]] - sum)) < 1e-4);
        }
        const char *piece = tokenizer_piece(t, ids[n++], &size);
        string_append(&text, "%.*s", (int)size, piece);
    }
    assert_string_equal(word_of(line, "text"), text);
    assert_string_equal(word_of(line, "prompt"), prompt);
    free(text);
    free(ids);
}

/* The most digits that a number of a text has, but for zeros before them. */
static size_t digits_most(const char *text) {
    size_t most = 0;
    while (*(text += strcspn(text, "0123456789"))) {
        const size_t size = strspn(text, "0123456789."), zeros = strspn(text, "0.");
        const char *dot = memchr(text + zeros, '.', size > zeros ? size - zeros : 0);
        const size_t digits = size > zeros ? size - zeros - (dot != NULL) : 0;
        if (digits > most) most = digits;
        text += size;
    }
    return most;
}

static void reports_are_the_models_own(void **state) {
    (void)state;
    static const char *const options[] = {"-g", "--temperature 2 --top-k 4 --top-p 0.9 --min-p 0.01 --typical 0.9",
                                          "-g --repetition-penalty 4 --logit-bias d=-inf --ignore-end"};
    tokenizer *t;
    struct model m = model_at("letters", &t);
    for (size_t i = 0; i < 3; i++)
        for (size_t top = 0; top < 4; top += 3) {
            run("sample -m letters -p 'ab ' -n 12 --json --logprobs %zu %s --logit-bias i=-0.5", top, options[i]);
            json_t *line = line_of(0);
            assert_int_equal(json_object_get(line, "top") != NULL, top > 0);
            assert_null(json_object_get(line, "healed"));
            assert_int_equal(json_array_size(json_object_get(line, "tokens")), 12);
            report_check(&m, t, line, "ab ", top);
            assert_int_equal(digits_most(output), 9); /* which tell any two floats apart */
            assert_int_equal(strlen(output), strcspn(output, "\n") + 1);
            json_decref(line);
        }
    run("sample -m letters -p \"$(printf 'a\\377\\001\"')\" -n 1 --json"); /* any bytes */
    json_t *line = line_of(0);
    assert_string_equal(word_of(line, "prompt"), "a\xef\xbf\xbd\x01\"");
    json_decref(line);
    tokenizer_free(t);
    model_destroy(&m);
}

/* ---- Healing ---- */

/* The likeliest text, with every token tried at every step: while something of the prompt has to be written again, a
 * token must fit it. */
static char *healed_plainly(struct model *m, const tokenizer *t, const char *prompt, size_t tokens) {
    size_t n, kept, written = 0, size;
    int32_t *ids = prompt_encode(t, prompt, strlen(prompt), &n);
    for (kept = 0; kept < n; kept++) { /* as in test_writing_parts.c */
        char *end = pieces_text(t, ids + kept, n - kept);
        bool longer = false;
        for (int32_t id = 0; id < PIECES && !longer; id++) {
            const char *piece = tokenizer_piece(t, id, &size);
            longer = size > strlen(end) && memcmp(piece, end, strlen(end)) == 0;
        }
        free(end);
        if (longer) break;
    }
    char *text = pieces_text(t, ids, kept);
    ids = realloc(ids, (n + tokens + 20) * sizeof *ids);
    if (kept == 0) ids[kept++] = tokenizer_end_of_text(t);
    for (size_t at = kept; written < tokens; at++) {
        const char *rest = prompt + (strlen(text) < strlen(prompt) ? strlen(text) : strlen(prompt));
        model_forward(m, &(struct batch){.B = 1, .T = at, .tokens = ids});
        const real *logits = model_logits(m, at - 1);
        int32_t best = -1;
        for (int32_t id = 0; id < PIECES; id++) {
            const char *piece = tokenizer_piece(t, id, &size);
            const size_t shared = size < strlen(rest) ? size : strlen(rest);
            if (*rest && (size == 0 || memcmp(piece, rest, shared) != 0)) continue;
            if (best < 0 || logits[id] > logits[best]) best = id;
        }
        const char *piece = tokenizer_piece(t, ids[at] = best, &size);
        written += !*rest || size > strlen(rest);
        string_append(&text, "%.*s", (int)size, piece);
        if (best == tokenizer_end_of_text(t)) break;
    }
    free(ids);
    return text;
}

/* So short that all of it is within the positions. Byte pieces are out of the way: they are no UTF-8. */
static void prompts_are_healed(void **state) {
    (void)state;
    static const char *const prompts[] = {"The old ", "The ol", "Every ", "No quiet capt", "Her proud aunt visi", "A",
                                          " ", "His kind friend ", "x", "praised the gar", "zz t"};
    tokenizer *t;
    struct model m = model_at("pieces", &t);
    size_t changed = 0;
    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++) {
        char *want = healed_plainly(&m, t, prompts[i], 4), *whole = text_as_utf8(want, strlen(want));
        char *line = string_format("%s\n", whole);
        char *command = string_format("sample -m pieces -g -n 4 -p '%s'", prompts[i]);
        expect(line, command);
        assert_int_equal(strncmp(output, prompts[i], strlen(prompts[i])), 0);
        char *other = string_format("%s --no-heal", command);
        run("%s", other);
        changed += strcmp(output, line) != 0;
        free(want);
        free(whole);
        free(line);
        free(command);
        free(other);
    }
    if (changed < 4) fail_msg("%zu texts are others with healing", changed);
    tokenizer_free(t);
    model_destroy(&m);
}

/* What is healed is told; --no-heal leaves the prompt's tokens as they are. */
static void healing_is_told(void **state) {
    (void)state;
    tokenizer *t;
    struct model m = model_at("pieces", &t);
    run("sample -m pieces -p 'The old ' -n 6 --json");
    json_t *line = line_of(0);
    const char *healed = word_of(line, "healed"), *text = word_of(line, "text");
    size_t i, size;
    json_t *id;
    assert_non_null(healed);
    assert_string_equal(&"The old "[8 - strlen(healed)], healed);
    char *all = string_format("%s", "");
    json_array_foreach(json_object_get(line, "tokens"), i, id) {
        const char *piece = tokenizer_piece(t, (int32_t)json_integer_value(id), &size);
        string_append(&all, "%.*s", (int)size, piece);
    }
    assert_int_equal(strncmp(all, healed, strlen(healed)), 0); /* what the tokens say is both */
    char *clean = text_as_utf8(all + strlen(healed), strlen(all));
    assert_string_equal(clean, text);
    json_decref(line);
    run("sample -m pieces -p 'The old ' -n 6 --json --logprobs 2 --no-heal --seed 3");
    line = line_of(0);
    assert_null(json_object_get(line, "healed"));
    json_decref(line);
    free(all);
    free(clean);
    tokenizer_free(t);
    model_destroy(&m);
}

/* Here each of its tokens writes but a byte of it; --tokens are those behind it. */
static void healing_takes_what_it_needs(void **state) {
    (void)state;
    tokenizer *t = pieces_tokenizer();
    const char *longest = "", *piece;
    size_t size = 0, n;
    for (int32_t id = 0; id < PIECES; id++)
        if (piece = tokenizer_piece(t, id, &n), n > size) longest = piece, size = n;
    char *command = string_format("sample -m pieces -n 2 -g --ignore-end --json -p '%.*s'", (int)--size, longest);
    for (size_t i = 0; i < size; i++) /* ids of bytes: 2 to 257 */
        string_append(&command, " --logit-bias %d=100", 2 + (unsigned char)longest[i]);
    run("%s", command);
    json_t *line = line_of(0);
    assert_int_equal(json_string_length(json_object_get(line, "healed")), size);
    assert_int_equal(json_array_size(json_object_get(line, "tokens")), size + 2);
    assert_string_equal(word_of(line, "stop"), "length");
    json_decref(line);
    free(command);
    tokenizer_free(t);
}

/* ---- Lines that are typed ---- */

/* Without a terminal they are read as they are. The prompt is not written again. */
static void lines_are_answered(void **state) {
    (void)state;
    char *want = string_format("%s", "");
    static const char *const lines[] = {"ab ", "", "b d"};
    for (int i = 0; i < 3; i++) {
        run("sample -m letters -g -n 9 --no-echo -p '%s'", lines[i]);
        string_append(&want, "%s", output);
    }
    expect(want, "printf 'ab \\n\\nb d' | sample -m letters -g -n 9 --interactive");
    expect(want, "printf 'ab \\n\\nb d\\n' | sample -m letters -g -n 9 -i");
    free(want);
    expect("", "sample -m letters -i </dev/null");
    run("printf 'ab \\nab \\n' | sample -m letters -i --json -n 5 --stop d --seed 4");
    json_t *first = line_of(0), *second = line_of(1);
    assert_string_equal(word_of(first, "prompt"), "ab ");
    assert_false(json_equal(json_object_get(first, "tokens"), json_object_get(second, "tokens")));
    json_decref(first);
    json_decref(second);
}

/* ---- Beside the text ---- */

static void models_and_speed_are_told(void **state) {
    (void)state;
    double seconds, speed;
    int count = 0, end = 0;
    run("sample -m pieces -n 7 --ignore-end --samples 3 -p 'The old lady'");
    sscanf(errors, "model: pieces, step 1200, validation loss 3.2500\n%d tokens in %lf seconds, %lf tokens/s\n%n",
           &count, &seconds, &speed, &end);
    if (count < 21 || count > 24 || end != (int)strlen(errors)) fail_msg("%s", errors); /* some heal */
    assert_true(seconds >= 0 && speed > 0);
    run("sample -m unvalidated -n 7");
    assert_int_equal(strncmp(errors, "model: unvalidated, step 1200\n", 30), 0);
    run("sample -m letters -n 7");
    assert_int_equal(strncmp(errors, "model: letters\n7 tokens in ", 27), 0);
    run("mkdir -p new/runs/mine && cp pieces new/runs/mine/last.safetensors && cd new && sample -n 1");
    assert_int_equal(strncmp(errors, "model: runs/mine/last.safetensors, step 1200, ", 46), 0);
    run("echo ab | sample -m letters --score -"); /* who writes nothing says nothing of it */
    assert_string_equal(errors, "");
}

/* As many as there are positions are read, and not one more. */
static void long_prompts_are_noted(void **state) {
    (void)state;
    run("sample -m letters -n 1 -p 'fab cab dab ebb i'");
    assert_null(strstr(errors, "note"));
    run("sample -m letters -n 1 --samples 3 -p 'fab cab dab ebb ib'");
    static const char note[] = "sample: note: a prompt is longer than the model reads at a time: of its 18 tokens only "
                               "the last 17 count\n";
    const char *found = strstr(errors, note);
    assert_non_null(found);
    assert_null(strstr(found + sizeof note - 1, "note")); /* once */
}

static void bad_input_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *options, *says;
    } usage[] = {
        {"-p a --prompts p.txt", "--prompt and --prompts both given; choose one"},
        {"-f a --prompts p.txt", "--prompt-file and --prompts both given"},
        {"-i -p a", "--prompt and --interactive both given"},
        {"-i --prompts p.txt", "--prompts and --interactive both given"},
        {"--stop ''", "--stop: an empty text"},
        {"--stop a --stop ''", "--stop: an empty text"},
        {"--no-echo --json", "--no-echo is of no use with --json"},
        {"--no-echo -i", "--no-echo is of no use with --interactive"},
        {"--penalty-last 9", "--penalty-last is of no use without --repetition-penalty, --frequency-penalty or"},
        {"--logprobs 3", "--logprobs is of no use without --score or --json"},
        {"--penalty-last -2 --presence-penalty 1", "--penalty-last: bad value (got '-2', want a whole number from -1"},
        {"--min-p 1.1", "--min-p: bad value (got '1.1', want a number from 0 to 1)"},
        {"--typical -0.1", "--typical: bad value"},
        {"--repetition-penalty 0", "--repetition-penalty: bad value (got '0', want a number from 0.1 to 10)"},
        {"--frequency-penalty 101", "--frequency-penalty: bad value"},
        {"--seed randomly", "--seed: bad value (got 'randomly', want a whole number from 0 to 1e+15 or random)"},
        {"--logit-bias a", "--logit-bias: bad value (got 'a', want TOKEN=X"},
        {"--logit-bias a=", "--logit-bias: bad value (got 'a='"},
        {"--logit-bias a=inf", "--logit-bias: bad value (got 'a=inf'"},
        {"--logit-bias a=-infx", "--logit-bias: bad value (got 'a=-infx'"},
        {"--logit-bias a=1001", "--logit-bias: bad value (got 'a=1001'"},
        {"--logit-bias a=nan", "--logit-bias: bad value (got 'a=nan'"},
        {"--logit-bias =1", "--logit-bias: not one token (got '', which is 0)"},
        {"--logit-bias ab=1", "--logit-bias: not one token (got 'ab', which is 2)"},
        {"--logit-bias '\"\"=1'", "--logit-bias: not one token (got '\"\"', which is 0)"},
        {"--logit-bias a=1 --logit-bias 276=1", "--logit-bias: no such token (got 276, want 0 to 275)"},
        {"--logit-bias 99999999999999999999=1", "--logit-bias: no such token (got 99999999999999999999, want 0 to"},
        {"--logit-bias -1=1", "--logit-bias: not one token (got '-1', which is 2)"},
    };
    text_save("p.txt", "a\n", 2);
    text_save("bad.jsonl", "{\"prompt\": 1}\n", 14);
    for (size_t i = 0; i < sizeof usage / sizeof *usage; i++) {
        char *command = string_format("sample -m letters %s", usage[i].options);
        refuse(2, usage[i].says, "", command);
        assert_string_equal(output, "");
        free(command);
    }
    refuse(3, "missing.txt: cannot read", "", "sample -m letters --prompts missing.txt");
    refuse(3, "bad.jsonl:1: prompt: not a text", "want {", "sample -m letters --prompts bad.jsonl");
    refuse(3, "standard input: no prompt in it", "", "sample -m letters --prompts - </dev/null");
    refuse(4, "standard output", "No space left", "sample -m letters --json --samples 1000 >/dev/full");
    refuse(4, "standard output", "No space left", "yes a | sample -m letters -i >/dev/full");
}

static void what_writes_no_text_refuses_all_of_these(void **state) {
    (void)state;
    text_save("p.txt", "a\n", 2);
    static const char *const writing[][2] = {
        {"-p a", "prompt"}, {"-f p.txt", "prompt-file"}, {"--tokens 9", "tokens"}, {"--samples 2", "samples"},
        {"-t 1", "temperature"}, {"--top-k 3", "top-k"}, {"--top-p 0.5", "top-p"}, {"-g", "greedy"},
        {"--prompts p.txt", "prompts"}, {"-i", "interactive"}, {"--stop a", "stop"}, {"--ignore-end", "ignore-end"},
        {"--no-echo", "no-echo"}, {"--no-heal", "no-heal"}, {"--json", "json"}, {"--typical 0.5", "typical"},
        {"--min-p 0.5", "min-p"}, {"--repetition-penalty 2", "repetition-penalty"},
        {"--frequency-penalty 2", "frequency-penalty"}, {"--presence-penalty 2", "presence-penalty"},
        {"--penalty-last 2", "penalty-last"}, {"--logit-bias a=2", "logit-bias"}, {"--seed random", "seed"}};
    for (size_t i = 0; i < sizeof writing / sizeof *writing; i++) {
        char *command = string_format("sample -m letters --score p.txt %s", writing[i][0]);
        char *says = string_format("--%s is of no use with --score, which writes no text; leave it out", writing[i][1]);
        refuse(2, says, "", command);
        free(command);
        free(says);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_these),
        cmocka_unit_test(texts_end_before_a_stop_string),
        cmocka_unit_test(reasons_are_told),
        cmocka_unit_test(ends_can_be_ignored),
        cmocka_unit_test(filters_reach_the_sampler),
        cmocka_unit_test(penalties_count_prompt_and_text),
        cmocka_unit_test(penalties_are_not_for_the_beginning),
        cmocka_unit_test(biases_are_for_ids_and_texts),
        cmocka_unit_test(seeds_may_be_random),
        cmocka_unit_test(prompts_of_a_file_are_answered),
        cmocka_unit_test(texts_have_their_own_numbers),
        cmocka_unit_test(prompts_need_not_be_written),
        cmocka_unit_test(reports_are_the_models_own),
        cmocka_unit_test(prompts_are_healed),
        cmocka_unit_test(healing_is_told),
        cmocka_unit_test(healing_takes_what_it_needs),
        cmocka_unit_test(lines_are_answered),
        cmocka_unit_test(models_and_speed_are_told),
        cmocka_unit_test(long_prompts_are_noted),
        cmocka_unit_test(bad_input_is_refused),
        cmocka_unit_test(what_writes_no_text_refuses_all_of_these),
    };
    return cmocka_run_group_tests(tests, models_make, workplace_remove);
}
