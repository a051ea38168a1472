/* ./sample --score and --evaluate as their user runs them, against probabilities computed token by token: everything
 * that a token follows goes through the model again, and its logits are normalised here. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include "../tokenizer/writer.h"
#include "command.h"
#include "letters.h"
#include "prose.h"

/* Of every block, and two with pieces of several letters, trained a little. */
enum { MODELS = 5 };
static const char *const models[MODELS] = {"gpt2", "llama", "modern", "runs/prose", "runs/documents"};

static int models_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    for (enum block_kind block = BLOCK_GPT2; block < BLOCKS; block++) {
        struct model m = letters_model_as(LETTERS_VOCAB, block);
        model_save(&m, models[block]);
        model_destroy(&m);
    }
    prose_save("prose.txt", 300, 5);
    for (int documents = 0; documents < 2; documents++)
        run("train prose.txt --out %s --vocab 340 --seq 17 --layers 2 --channels 12 --attn-heads 3 --moe-heads 2 "
            "--experts 5 --topk 2 --expert-hidden 7 --batch 3 --steps 40 --warmup 1 --lr 0.01 --eval-every 0 "
            "--sample-every 0 %s", models[BLOCKS + documents], documents ? "--documents" : "");
    return 0;
}

/* ---- What is right ---- */

struct subject {
    struct model m;
    tokenizer *t;
};

static struct subject subject_open(const char *path) {
    struct subject s;
    struct checkpoint c;
    struct error err;
    char *file = strchr(path, '/') ? string_format("%s/best.safetensors", path) : string_format("%s", path);
    const struct model_setup setup = {MODEL_INFER, 1, false, STORAGE_F32};
    if (!checkpoint_open(&c, file, &err) || !model_load(&s.m, &c, setup, &err)) fail_msg("%s", err.text);
    s.t = tokenizer_from_checkpoint(&c, &err);
    checkpoint_close(&c);
    free(file);
    return s;
}

static void subject_close(struct subject *s) {
    model_destroy(&s->m);
    tokenizer_free(s->t);
}

/* log p(token v) behind tokens[from..to), for every v. */
static void logprobs_after(struct subject *s, const int32_t *tokens, size_t from, size_t to, double *logprobs) {
    const size_t V = s->m.sizes.V;
    double sum = 0;
    model_forward(&s->m, &(struct batch){.B = 1, .T = to - from, .tokens = tokens + from});
    const real *logits = model_logits(&s->m, to - from - 1);
    for (size_t v = 0; v < V; v++) sum += exp((double)logits[v]);
    for (size_t v = 0; v < V; v++) logprobs[v] = (double)logits[v] - log(sum);
}

/* Where the window begins in which token i of n is scored: windows end at token SEQ, then SEQ / 2 further each. */
static size_t window_start(size_t i, size_t n) {
    size_t last = SEQ;
    while (last < i) last += SEQ / 2;
    if (last > n - 1) last = n - 1;
    return last > SEQ ? last - SEQ : 0;
}

static int32_t *text_encode(const tokenizer *t, const char *text, size_t size, size_t *n) {
    int32_t *ids = malloc(sizeof *ids);
    size_t capacity = 1;
    *n = 1;
    ids[0] = tokenizer_end_of_text(t);
    tokenizer_encode(t, text, size, &ids, n, &capacity);
    return ids;
}

static void expect_close(double got, double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance)) fail_msg("got %.10g, want %.10g", got, want);
}

/* Of `size` letters, the same for each call. */
static char *letters_text(size_t size) {
    char *text = array_alloc(size + 1, 1);
    for (size_t i = 0, x = size; i < size; i++, x = x * 1103515245 + 12345)
        text[i] = "abcdefghijklmnop \n"[x / 65536 % 18];
    return text;
}

/* ---- --score ---- */

/* Rounding: logits differ by 1e-6 from what other ways of adding give, and text has up to 80 tokens. */
static void summary_expect(const char *text, const char *name, double nats, size_t bytes, size_t tokens) {
    char got_name[50];
    size_t got_bytes, got_tokens;
    double got_nats, mean, perplexity, bits;
    if (sscanf(text, "%49[^:]: %zu bytes, %zu tokens\nlog-likelihood %lf nats (%lf a token)\nperplexity %lf\n"
               "bits per byte %lf\n", got_name, &got_bytes, &got_tokens, &got_nats, &mean, &perplexity, &bits) != 7)
        fail_msg("no summary: %s", text);
    assert_string_equal(got_name, name);
    assert_int_equal(got_bytes, bytes);
    assert_int_equal(got_tokens, tokens);
    expect_close(got_nats, -nats, 3e-4);
    expect_close(mean, -nats / (double)tokens, 1e-4);
    expect_close(perplexity / exp(nats / (double)tokens), 1, 1e-4);
    expect_close(bits, nats / log(2) / (double)bytes, 1e-4);
}

static double nats_of(struct subject *s, const int32_t *tokens, size_t n) {
    double *logprobs = array_alloc(s->m.sizes.V, sizeof *logprobs), nats = 0;
    for (size_t i = 1; i < n; i++) {
        logprobs_after(s, tokens, window_start(i, n), i, logprobs);
        nats -= logprobs[tokens[i]];
    }
    free(logprobs);
    return nats;
}

/* With every block, at every length at which a window begins or ends, and one long before and behind. */
static void text_is_scored_token_by_token(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 2, 16, 17, 18, 24, 25, 26, 33, 34, 41, 80};
    for (int i = 0; i < MODELS; i++) {
        struct subject s = subject_open(models[i]);
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            char *text = i < BLOCKS ? letters_text(sizes[k]) : prose(9, 77);
            const size_t size = i < BLOCKS ? sizes[k] : 3 * sizes[k];
            size_t n;
            text_save("text.txt", text, size);
            int32_t *tokens = text_encode(s.t, text, size, &n);
            const double nats = nats_of(&s, tokens, n);
            run("sample --model %s --score text.txt", models[i]);
            summary_expect(output, "text.txt", nats, size, n - 1);
            assert_string_equal(errors, "");
            if (k % 4 == 3) run("sample --model %s --score - --threads 3 <text.txt", models[i]);
            if (k % 4 == 3) summary_expect(output, "standard input", nats, size, n - 1);
            free(tokens);
            free(text);
        }
        subject_close(&s);
    }
}

/* What training calls the loss of the same window: neither end of text counts, the first being read only. */
static void first_window_costs_its_training_loss(void **state) {
    (void)state;
    struct checkpoint c;
    struct model m;
    struct error err;
    size_t n, count;
    char *text = letters_text(SEQ);
    tokenizer *t = letters_tokenizer();
    int32_t *tokens = text_encode(t, text, SEQ, &n);
    text_save("text.txt", text, SEQ);
    for (int i = 0; i < BLOCKS; i++) {
        assert_true(checkpoint_open(&c, models[i], &err));
        assert_true(model_load(&m, &c, (struct model_setup){MODEL_TRAIN, 1, false, STORAGE_F32}, &err));
        checkpoint_close(&c);
        model_forward(&m, &(struct batch){.B = 1, .T = SEQ, .tokens = tokens, .targets = tokens + 1});
        const double nats = model_loss(&m, 1, &count);
        run("sample --model %s --score text.txt", models[i]);
        summary_expect(output, "text.txt", nats, SEQ, SEQ);
        model_destroy(&m);
    }
    free(tokens);
    free(text);
    tokenizer_free(t);
}

/* Calls `check` for each line, an object; returns how many. */
static size_t lines_read(const char *text, void (*check)(void *context, size_t i, const json_t *line), void *context) {
    size_t n = 0;
    for (const char *end; *text; text = end + 1, n++) {
        end = strchr(text, '\n');
        json_t *line = json_loadb(text, (size_t)(end - text), JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
        if (!json_is_object(line)) fail_msg("not an object: %.*s", (int)(end - text), text);
        check(context, n, line);
        json_decref(line);
    }
    return n;
}

static double real_in(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value)) fail_msg("no number %s", key);
    return json_number_value(value);
}

struct lines {
    struct subject *s;
    const char *text; /* so far, and what comes */
    const int32_t *tokens;
    size_t n, most, offset;
    double nats, *logprobs;
};

/* A token's bytes, which "token" says unless it cannot. */
static void token_expect(const tokenizer *t, const json_t *entry, int32_t id) {
    size_t size;
    const char *piece = tokenizer_piece(t, id, &size);
    const json_t *bytes = json_object_get(entry, "bytes"), *token = json_object_get(entry, "token");
    assert_int_equal(real_in(entry, "id"), id);
    if (!bytes) {
        assert_int_equal(json_string_length(token), size);
        assert_memory_equal(json_string_value(token), piece, size);
        return;
    }
    assert_non_null(strstr(json_string_value(token), "\xef\xbf\xbd"));
    assert_int_equal(json_array_size(bytes), size);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(json_integer_value(json_array_get(bytes, i)), (unsigned char)piece[i]);
}

static void line_check(void *context, size_t i, const json_t *line) {
    struct lines *l = context;
    const size_t V = l->s->m.sizes.V, most = l->most < V ? l->most : V;
    const json_t *top = json_object_get(line, "top");
    double sum = 0;
    size_t size;
    assert_int_equal(json_object_size(line), json_object_get(line, "bytes") ? 6 : 5);
    token_expect(l->s->t, line, l->tokens[i + 1]);
    assert_int_equal(real_in(line, "offset"), l->offset);
    tokenizer_piece(l->s->t, l->tokens[i + 1], &size);
    l->offset += size;
    logprobs_after(l->s, l->tokens, window_start(i + 1, l->n), i + 1, l->logprobs);
    expect_close(real_in(line, "logprob"), l->logprobs[l->tokens[i + 1]], 1e-5);
    l->nats -= real_in(line, "logprob");
    assert_int_equal(json_array_size(top), most);
    for (size_t k = 0; k < most; k++) {
        const json_t *entry = json_array_get(top, k), *before = json_array_get(top, k - 1);
        const int32_t id = (int32_t)real_in(entry, "id");
        const double logprob = real_in(entry, "logprob");
        token_expect(l->s->t, entry, id);
        expect_close(logprob, l->logprobs[id], 1e-5);
        if (id == l->tokens[i + 1]) expect_close(logprob, real_in(line, "logprob"), 1e-7 * fabs(logprob));
        if (before) assert_true(real_in(before, "logprob") >= logprob && real_in(before, "id") != id);
        sum += exp(logprob);
        size_t likelier = 0;
        for (size_t v = 0; v < V; v++) likelier += l->logprobs[v] > logprob + 2e-5;
        assert_true(likelier <= k);
    }
    if (most == V) expect_close(sum, 1, 1e-4);
    else assert_true(sum < 1);
}

/* Bytes of every kind: letters, characters that are no pieces, NUL, half a character. */
static void tokens_are_written_as_lines(void **state) {
    (void)state;
    static const char text[] = "ab\ncaf\xc3\xa9 \0\xff o\xe2\x82\xac\xf0\x9f\x98\x80 \"p\\\xc3";
    static const size_t numbers[] = {1, 3, 1000};
    for (int i = 0; i < MODELS; i++) {
        struct subject s = subject_open(models[i]);
        struct lines l = {.s = &s, .text = text, .logprobs = array_alloc(s.m.sizes.V, sizeof(double))};
        int32_t *tokens = text_encode(s.t, text, sizeof text - 1, &l.n);
        const double nats = nats_of(&s, tokens, l.n);
        l.tokens = tokens;
        text_save("text.txt", text, sizeof text - 1);
        for (size_t k = 0; k < 3; k++) {
            if (k == 2) text_save("text.txt", text, 9); /* for V lines each */
            l.most = numbers[k];
            l.offset = 0;
            l.nats = 0;
            if (k == 2) {
                free(tokens);
                l.tokens = tokens = text_encode(s.t, text, 9, &l.n);
            }
            run("sample --model %s --score text.txt --logprobs %zu >lines.jsonl; wc -c <lines.jsonl", models[i],
                l.most);
            const size_t size = strtoul(output, NULL, 10);
            char *lines = array_alloc(size + 1, 1);
            FILE *file = fopen("lines.jsonl", "r");
            assert_int_equal(fread(lines, 1, size, file), size);
            fclose(file);
            assert_int_equal(lines_read(lines, line_check, &l), l.n - 1);
            assert_int_equal(l.offset, k == 2 ? 9 : sizeof text - 1);
            if (k < 2) summary_expect(errors, "text.txt", nats, sizeof text - 1, l.n - 1);
            expect_close(l.nats, k < 2 ? nats : l.nats, 3e-4);
            free(lines);
        }
        free(tokens);
        free(l.logprobs);
        subject_close(&s);
    }
}

/* ---- --evaluate ---- */

struct asked {
    struct subject *s;
    json_t *questions;
    size_t right, right_by_sum;
};

/* llm.c's way, in its words: tokens of the context, tokens of " " + ending, losses where the mask is 1; the lowest sum
 * and the lowest mean. The choices share the context's end if it does not fit. */
static void answer_check(void *context, size_t i, const json_t *line) {
    struct asked *a = context;
    const json_t *question = json_array_get(a->questions, i), *choices = json_object_get(question, "choices");
    const char *text = json_string_value(json_object_get(question, "context"));
    const size_t V = a->s->m.sizes.V, options = json_array_size(choices);
    double *logprobs = array_alloc(V, sizeof *logprobs), best_mean = 0, best_sum = 0;
    size_t n_context, longest = 0, chosen = 0, by_sum = 0;
    int32_t *ctx = prompt_encode(a->s->t, text, strlen(text), &n_context);
    for (int pass = 0; pass < 2; pass++)
        for (size_t k = 0; k < options; k++) {
            char *end = string_format("%s%s", *text ? " " : "", json_string_value(json_array_get(choices, k)));
            size_t n;
            int32_t *ids = text_encode(a->s->t, end, strlen(end), &n); /* ids[0] is not used */
            const size_t tokens = n - 1;
            if (tokens > longest) longest = tokens;
            const size_t kept = longest >= SEQ ? 1 : n_context < SEQ + 1 - longest ? n_context : SEQ + 1 - longest;
            if (pass == 1) {
                int32_t row[200];
                double sum = 0;
                memcpy(row, ctx + n_context - kept, kept * sizeof *row);
                memcpy(row + kept, ids + 1, tokens * sizeof *row);
                for (size_t j = kept; j < kept + tokens; j++) {
                    logprobs_after(a->s, row, window_start(j, kept + tokens), j, logprobs);
                    sum += logprobs[row[j]];
                }
                const json_t *said = json_array_get(json_object_get(line, "choices"), k);
                expect_close(real_in(said, "logprob"), sum, 3e-4);
                expect_close(real_in(said, "mean"), sum / (double)tokens, 1e-4);
                assert_int_equal(real_in(said, "tokens"), tokens);
                if (k == 0 || sum > best_sum) best_sum = sum, by_sum = k;
                if (k == 0 || sum / (double)tokens > best_mean) best_mean = sum / (double)tokens, chosen = k;
            }
            free(ids);
            free(end);
        }
    const size_t answer = (size_t)json_integer_value(json_object_get(question, "answer"));
    assert_int_equal(json_array_size(json_object_get(line, "choices")), options);
    assert_int_equal(real_in(line, "line"), i + 1);
    assert_int_equal(real_in(line, "answer"), answer);
    assert_int_equal(real_in(line, "chosen"), chosen);
    assert_int_equal(real_in(line, "chosen_by_sum"), by_sum);
    assert_int_equal(json_is_true(json_object_get(line, "correct")), chosen == answer);
    assert_int_equal(json_is_true(json_object_get(line, "correct_by_sum")), by_sum == answer);
    a->right += chosen == answer;
    a->right_by_sum += by_sum == answer;
    free(ctx);
    free(logprobs);
}

/* Contexts of none to several windows, choices of one token to more than a window, in any order. */
static json_t *questions_random(const char *path, size_t n) {
    json_t *list = json_array();
    struct rng rng;
    FILE *file = fopen(path, "w");
    rng_seed(&rng, 3, 0);
    char *text = prose(40, 9);
    for (char *c = text; *c; c++) *c = *c == '\n' ? ' ' : *c & 0x80 ? 'e' : *c; /* which may be cut anywhere */
    for (size_t i = 0; i < n; i++) {
        json_t *choices = json_array();
        char *from = text + rng_next(&rng) % 800, *context = string_format("%.*s", (int)(rng_next(&rng) % 70), from);
        for (size_t size = strlen(context); size > 0 && context[size - 1] == ' ';) context[--size] = 0;
        for (size_t k = 0, options = 2 + rng_next(&rng) % 4; k < options; k++) {
            const int size = (int)(i % 7 == 6 ? rng_next(&rng) % 60 : rng_next(&rng) % 12);
            json_array_append_new(choices, json_sprintf("x%.*s", size, text + rng_next(&rng) % 800));
        }
        json_t *question = json_pack("{s:s, s:o, s:I}", "context", context, "choices", choices, "answer",
                                     (json_int_t)(rng_next(&rng) % json_array_size(choices)));
        json_dumpf(question, file, JSON_COMPACT);
        fputc('\n', file);
        json_array_append_new(list, question);
        free(context);
    }
    free(text);
    assert_int_equal(fclose(file), 0);
    return list;
}

/* "%.2f%%" of two shares and what they are out of. */
static void accuracy_expect(size_t right, size_t by_sum, size_t n) {
    char *accuracy = string_format("accuracy       %.2f%% (95%%: ", 100 * (double)right / (double)n);
    char *sum = string_format("unnormalised   %.2f%% (95%%: ", 100 * (double)by_sum / (double)n);
    if (!strstr(errors, accuracy) || !strstr(errors, sum)) fail_msg("want %s\n%s\ngot %s", accuracy, sum, errors);
    free(accuracy);
    free(sum);
}

static void choices_are_scored_as_llm_c_does(void **state) {
    (void)state;
    enum { N = 60 };
    json_t *questions = questions_random("questions.jsonl", N);
    for (int i = 0; i < MODELS; i++) {
        struct subject s = subject_open(models[i]);
        struct asked a = {&s, questions, 0, 0};
        run("sample --model %s --evaluate questions.jsonl", models[i]);
        assert_int_equal(lines_read(output, answer_check, &a), N);
        assert_true(a.right > 0 && a.right < N && a.right != a.right_by_sum); /* or the test would say little */
        accuracy_expect(a.right, a.right_by_sum, N);
        assert_non_null(strstr(errors, "questions.jsonl: 60 questions, chance "));
        assert_non_null(strstr(errors, " of 60 contexts are longer than the model reads (17 tokens, with the choice)"));
        subject_close(&s);
    }
    json_decref(questions);
}

/* Its neighbours in the file, what was asked before, and the number of threads change no digit. */
static void each_question_stands_alone(void **state) {
    (void)state;
    json_decref(questions_random("questions.jsonl", 30));
    for (int i = 0; i < MODELS; i++) {
        run("sample --model %s --evaluate questions.jsonl >all.jsonl; cut -d, -f2- all.jsonl", models[i]);
        char *all = string_format("%s", output);
        run("sample --model %s --evaluate questions.jsonl --threads 3 | cmp - all.jsonl", models[i]);
        run("tac questions.jsonl >reversed.jsonl; sample --model %s --evaluate - <reversed.jsonl | tac | cut -d, -f2-",
            models[i]);
        assert_string_equal(output, all);
        assert_int_equal(strncmp(errors, "sample: note: standard input: ", 30), 0);
        run("sed -n 7p questions.jsonl | sample --model %s --evaluate - | cut -d, -f2- >one; sed -n 7p all.jsonl | "
            "cut -d, -f2- | cmp - one", models[i]);
        free(all);
    }
}

#define ANSWERED(line, answer, correct, by_sum) \
    "{\"line\":" line ",\"answer\":" answer ",\"chosen\":0,\"correct\":" correct ",\"chosen_by_sum\":1,"  \
    "\"correct_by_sum\":" by_sum "\n"

/* A model of zeros gives each of its V tokens the same: a choice of n tokens has -n ln V, every mean is the same, and
 * of equals the first is chosen. */
static void equals_go_to_the_first(void **state) {
    (void)state;
    struct config config = small_config;
    config.vocab = LETTERS_VOCAB;
    config.seq = SEQ;
    struct model m = model_make(&config, MODEL_INFER, 1);
    model_save(&m, "zeros");
    model_destroy(&m);
    run("printf '%%s\\n' '{\"context\":\"ab\",\"choices\":[\"abc\",\"d\",\"e\"],\"answer\":0}' "
        "'{\"ctx\":\"ab\",\"endings\":[\"abc\",\"d\",\"e\"],\"label\":\"1\"}' "
        "'{\"context\":\"ab\",\"choices\":[\"abc\",\"d\"],\"answer\":0}' "
        "'{\"context\":\"\",\"choices\":[\" a\",\"b\",\"c\",\"d\",\"e\"],\"answer\":2}' | sample --model zeros "
        "--evaluate - | sed 's/,\"choices.*//'");
    assert_string_equal(output,
                        ANSWERED("1", "0", "true", "false") ANSWERED("2", "1", "false", "true")
                        ANSWERED("3", "0", "true", "false") ANSWERED("4", "2", "false", "false"));
    /* chance: (1/3 + 1/3 + 1/2 + 1/5) / 4 */
    assert_string_equal(errors, "standard input: 4 questions, chance 34.17%\n"
                                "accuracy       50.00% (95%: 15.00% to 85.00%), by the mean log-probability of a "
                                "choice's tokens\n"
                                "unnormalised   25.00% (95%: 4.56% to 69.94%), by the sum\n");
    run("printf 'abc d' | sample --model zeros --score -");
    summary_expect(output, "standard input", 5 * log(LETTERS_VOCAB), 5, 5);
    run("printf '{\"context\":\"ab\",\"choices\":[\"abc\",\" d\"],\"answer\":0}' | sample --model zeros --evaluate - | "
        "sed 's/.*choices\":/{\"c\":/'");
    json_t *line = json_loads(output, 0, NULL), *list = json_object_get(line, "c");
    for (size_t i = 0; i < 2; i++) { /* a space belongs to the choice; there is never a second one */
        expect_close(real_in(json_array_get(list, i), "logprob"), -(i ? 2 : 4) * log(LETTERS_VOCAB), 1e-4);
        assert_int_equal(real_in(json_array_get(list, i), "tokens"), i ? 2 : 4);
    }
    json_decref(line);
}

/* The same questions, as four data sets write them. */
static void forms_of_data_sets_agree(void **state) {
    (void)state;
    run("printf '%%s\\n' '{\"context\":\"ab\",\"choices\":[\"ok\",\"no\"],\"answer\":1}' "
        "'{\"ctx\":\"ab\",\"endings\":[\"ok\",\"no\"],\"label\":1}' "
        "'{\"goal\":\"ab\",\"sol1\":\"ok\",\"sol2\":\"no\",\"label\":\"1\"}' "
        "'{\"question\":{\"stem\":\"ab\",\"choices\":[{\"text\":\"ok\",\"label\":\"A\"},"
        "{\"text\":\"no\",\"label\":\"B\"}]},\"answerKey\":\"B\"}' "
        "'{\"question\":\"ab\",\"choices\":{\"text\":[\"ok\",\"no\"],\"label\":[\"1\",\"2\"]},\"answerKey\":\"2\"}' | "
        "sample --model gpt2 --evaluate - | cut -d, -f2- | sort -u | wc -l");
    assert_string_equal(output, "1\n");
}

static void bad_input_is_refused(void **state) {
    (void)state;
    run("printf '{\"context\":\"a\",\"choices\":[\"b\"],\"answer\":0}\\n' >good.jsonl; "
        "printf '{\"context\":\"a\",\"choices\":[\"b\"],\"answer\":1}\\n' | cat good.jsonl - >bad.jsonl; "
        "echo abc >text.txt");
    refuse(3, "bad.jsonl:2: answer: bad value (got 1, want", "from 0 to 0", "sample --model gpt2 --evaluate bad.jsonl");
    assert_string_equal(output, ""); /* nothing is answered before all is read */
    refuse(3, "text.txt:1: not JSON", "one object a line", "sample --model gpt2 --evaluate text.txt");
    refuse(3, "/dev/null: no question", "one JSON object a line", "sample --model gpt2 --evaluate /dev/null");
    refuse(3, "standard input: no question", "one JSON", "sample --model gpt2 --evaluate - </dev/null");
    refuse(3, "missing.jsonl: cannot read", "No such file", "sample --model gpt2 --evaluate missing.jsonl");
    refuse(3, "missing.txt: cannot read", "No such file", "sample --model gpt2 --score missing.txt");
    refuse(3, ".: cannot read", "Is a directory", "sample --model gpt2 --score .");
    refuse(3, "/dev/null: is empty", "nothing to score", "sample --model gpt2 --score /dev/null");
    refuse(3, "standard input: is empty", "nothing to score", "sample --model gpt2 --score - </dev/null");
    refuse(3, "nowhere: ", "cannot read", "sample --model nowhere --score text.txt");
}

static void contradictions_are_refused(void **state) {
    (void)state;
    static const char *const writing[] = {"prompt a", "prompt ''", "prompt-file text.txt", "tokens 3", "samples 2",
                                          "temperature 0", "top-k 3", "top-p 1", "greedy", "seed 2"};
    static const char *const modes[] = {"score text.txt", "evaluate good.jsonl"};
    run("printf '{\"context\":\"a\",\"choices\":[\"b\"],\"answer\":0}\\n' >good.jsonl; echo abc >text.txt");
    for (size_t i = 0; i < 2 * sizeof writing / sizeof *writing; i++) {
        char *command = string_format("sample --model gpt2 --%s --%s", modes[i % 2], writing[i / 2]);
        char *says = string_format("--%.*s is of no use with --%.*s", (int)strcspn(writing[i / 2], " "), writing[i / 2],
                                   (int)strcspn(modes[i % 2], " "), modes[i % 2]);
        refuse(2, says, "leave it out", command);
        free(command);
        free(says);
    }
    refuse(2, "--score and --evaluate both given", "choose one", "sample --score text.txt --evaluate good.jsonl");
    refuse(2, "--logprobs is of no use without --score", "name a text", "sample --model gpt2 --logprobs 3");
    refuse(2, "--logprobs is of no use without --score", "name a text", "sample --evaluate good.jsonl --logprobs 3");
    refuse(2, "--logprobs", "from 0 to 1000", "sample --model gpt2 --score text.txt --logprobs -1");
    for (int i = 0; i < 2; i++) { /* what --print-config says is no contradiction */
        run("sample --model gpt2 --weights int8 --%s", modes[i]);
        char *said = string_format("%s", output);
        run("sample --model gpt2 --weights int8 --%s --print-config >conf; sample --config conf", modes[i]);
        assert_string_equal(output, said);
        run("sample --model gpt2 --%s", modes[i]);
        assert_string_not_equal(output, said);
        free(said);
    }
}

static void output_failure_is_told(void **state) {
    (void)state;
    run("printf '{\"context\":\"a\",\"choices\":[\"b\"],\"answer\":0}\\n' >good.jsonl; echo abc >text.txt");
    refuse(4, "standard output", "No space left", "sample --model gpt2 --score text.txt >/dev/full");
    refuse(4, "standard output", "No space left", "sample --model gpt2 --score text.txt --logprobs 2 >/dev/full");
    refuse(4, "standard output", "No space left", "sample --model gpt2 --evaluate good.jsonl >/dev/full");
    refuse(4, "standard output", "No space left", "for i in $(seq 2000); do cat good.jsonl; done | "
           "sample --model gpt2 --evaluate - >/dev/full");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_scored_token_by_token),
        cmocka_unit_test(first_window_costs_its_training_loss),
        cmocka_unit_test(tokens_are_written_as_lines),
        cmocka_unit_test(choices_are_scored_as_llm_c_does),
        cmocka_unit_test(each_question_stands_alone),
        cmocka_unit_test(equals_go_to_the_first),
        cmocka_unit_test(forms_of_data_sets_agree),
        cmocka_unit_test(bad_input_is_refused),
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(output_failure_is_told),
    };
    return cmocka_run_group_tests(tests, models_make, workplace_remove);
}
