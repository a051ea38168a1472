/* ./sample as its user runs it, on models made by hand whose text is known for certain. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../tokenizer/tokenizer.h"
#include "command.h"
#include "small_model.h"

enum { SEQ = 17 };

/* ---- Models made by hand ---- */

/* Letters a to p, rarer and rarer, a space and a newline: all of them pieces, and no merges. */
static const char *letters_next(void *context, size_t *size) {
    static char text[1000];
    bool *given = context;
    size_t n = 0;
    if (*given) return NULL;
    *given = true;
    for (int letter = 0; letter < 16; letter++) {
        for (int i = 0; i < 18 - letter; i++) {
            text[n++] = (char)('a' + letter);
            text[n++] = i % 2 ? '\n' : ' ';
        }
    }
    *size = n;
    return text;
}

enum { LETTERS_VOCAB = 2 + 256 + 18 };

static tokenizer *letters_tokenizer(void) {
    struct error err;
    bool given = false;
    tokenizer *t = tokenizer_train(letters_next, &given, LETTERS_VOCAB, &err);
    if (!t) fail_msg("%s", err.text);
    return t;
}

static void model_save(const struct model *m, const char *path) {
    struct tensor tensors[PARAMETER_TENSORS + 1];
    struct error err;
    size_t size, n = model_tensors(m, m->param_block, "", tensors);
    tokenizer *t = letters_tokenizer();
    void *model = (void *)tokenizer_model(t, &size);
    tensors[n++] = (struct tensor){"tokenizer.model", DTYPE_U8, 1, {size}, model};
    char *config = config_to_string(&m->config);
    json_t *metadata = json_pack("{s:s}", "config", config);
    if (!checkpoint_write(path, tensors, n, metadata, &err)) fail_msg("%s", err.text);
    json_decref(metadata);
    free(config);
    tokenizer_free(t);
}

/* Random weights in every tensor, except that bytes have embeddings, and so logits, of 0: the likeliest piece
 * is then a letter. GOLDEN goes through attention, routing, experts and the cache, and past the end of the
 * window. Each of its pieces leads by 0.023 or more, where logits differ by about 1 and rounding is 1e-6: no
 * other compiler or processor may change it. (A model trained here could be undecided.) */
static struct model letters_model(void) {
    struct config config = small_config;
    config.vocab = LETTERS_VOCAB;
    config.seq = SEQ;
    config.layers = 3;
    config.moe_every = 2;
    struct model m = model_random(&config, MODEL_INFER, 1, 833);
    memset(m.params.wte + 2 * m.sizes.C, 0, 256 * m.sizes.C * sizeof(real)); /* their ids: 2 to 257 */
    memset(m.params.wte, 0, m.sizes.C * sizeof(real));                       /* unknown */
    return m;
}
static const char GOLDEN[] = "ab ddd doooooooooommlmmmjjjaaooodoooomdoooo\n";
static const char GOLDEN_START[] = "jjjjjjjjjjjacccdpppooodoooooooooooommlmm\n"; /* without a prompt */

/* After position p comes byte p of CHARACTERS, and after the last one the end: the position's embedding
 * points to that piece's, and all else is 0. */
#define CHARACTERS "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" /* of 2, 3 and 4 bytes */
static struct model bytes_model(void) {
    struct config config = small_config;
    config.vocab = LETTERS_VOCAB;
    config.seq = SEQ;
    config.ffn = FFN_DENSE;
    struct model m = model_make(&config, MODEL_INFER, 1);
    const size_t C = m.sizes.C, n = sizeof CHARACTERS - 1;
    for (size_t p = 0; p <= n; p++) {
        const size_t piece = p < n ? 2 + (unsigned char)CHARACTERS[p] : 1;
        m.params.wte[piece * C + p] = 1;
        m.params.wpe[p * C + p] = 100;
    }
    for (size_t c = 0; c < C; c++) m.params.lnfw[c] = 30; /* no draw can choose another */
    return m;
}

static int models_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    struct model letters = letters_model(), bytes = bytes_model();
    mkdir("letters", 0777);
    mkdir("bytes", 0777);
    model_save(&letters, "letters/last.safetensors");
    model_save(&bytes, "bytes/last.safetensors");
    model_destroy(&letters);
    model_destroy(&bytes);
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
    run("sample --model letters --top-k 6 --seed 3 -p a --samples 3");
    char *start = string_format("--- sample 1 ---\n%s\n--- sample 2 ---\na", one);
    assert_int_equal(strncmp(output, start, strlen(start)), 0);
    const char *second = output + strlen(start) - 1, *third = strstr(second, "\n--- sample 3 ---\n") + 18;
    assert_int_not_equal(strncmp(second, one, 40), 0);
    assert_int_not_equal(strncmp(third, one, 40), 0);
    assert_int_not_equal(strncmp(third, second, 40), 0);
    free(one);
    free(start);
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
        "touch -d @1000 newest/runs/*/* && touch -d @2000 newest/runs/b/last.safetensors");
    sample_expect(CHARACTERS "\n", "cd newest && sample -g"); /* the best model of b */
    sample_expect(CHARACTERS "\n", "sample -g --model newest/runs/b");
    sample_expect(GOLDEN, "touch -d @3000 newest/runs/c/* && cd newest && sample -g -p 'ab ' -n 40");
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

static void output_failure_is_told(void **state) {
    (void)state;
    refuse(4, "standard output", "No space left", "sample --model letters >/dev/full");
    refuse(4, "standard output", "No space left", "sample --model letters -p a --samples 1000000 >/dev/full");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_text_is_golden),
        cmocka_unit_test(prompts_from_anywhere_agree),
        cmocka_unit_test(long_prompt_counts_with_its_end),
        cmocka_unit_test(seeds_choose_the_text),
        cmocka_unit_test(characters_stay_whole),
        cmocka_unit_test(newest_run_is_read),
        cmocka_unit_test(bad_input_is_refused),
        cmocka_unit_test(output_failure_is_told),
    };
    return cmocka_run_group_tests(tests, models_make, workplace_remove);
}
