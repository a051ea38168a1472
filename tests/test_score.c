/* The figures of a validation, by values worked out by hand: what counts for the loss and what for bits per byte, the
 * mean of parts, and how all that is logged, told and drawn. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include "../src/math/kernels.h" /* TARGET_NONE */
#include "../src/run/runlog.h"
#include "../src/run/runplot.h"
#include "../src/run/score.h"
#include "command.h"

/* Token 1 is an end of text, token t > 1 has t bytes. */
static size_t bytes_of(const void *context, int32_t token) {
    *(size_t *)context += 1;
    assert_true(token > 0);
    return token == 1 ? 0 : (size_t)token;
}

static void ends_of_text_have_no_bits(void **state) {
    (void)state;
    static const real losses[] = {1, 64, 4, 8, 0.5, 128};
    static const int32_t targets[] = {3, TARGET_NONE, 1, 2, 3, 5};
    static const uint32_t parts_of[] = {0, 0, 0, 0, 0, 0};
    struct score_sums sums = {.windows = 9};
    size_t calls = 0;
    score_add(&sums, parts_of, losses, targets, 5, bytes_of, &calls); /* the last one is of nobody */
    assert_int_equal(calls, 4);
    assert_int_equal(sums.targets, 4);
    assert_int_equal(sums.bytes, 3 + 2 + 3);
    assert_true(sums.loss == 13.5 && sums.text_loss == 9.5);
    score_add(&sums, NULL, losses + 3, targets + 3, 1, bytes_of, &calls);
    score_add(&sums, parts_of, losses, targets, 0, bytes_of, &calls);
    const struct score s = score_of(&sums);
    assert_true(s.loss == 21.5 / 5);
    assert_true(fabs(s.bits_per_byte - 17.5 / 10 / log(2)) < 1e-15);
    assert_int_equal(s.targets, 5);
    assert_int_equal(s.windows, 9);
}

/* Each row counts for its own part. */
static void rows_are_of_parts(void **state) {
    (void)state;
    struct score_sums sums[3] = {{0}};
    size_t calls = 0;
    score_add(sums, (const uint32_t[]){2, 0, 2, 1, 2}, (const real[]){1, 2, 4, 8, 16},
              (const int32_t[]){2, 3, 4, TARGET_NONE, 1}, 5, bytes_of, &calls);
    assert_true(sums[0].loss == 2 && sums[0].targets == 1 && sums[0].bytes == 3 && sums[0].text_loss == 2);
    assert_true(sums[1].loss == 0 && sums[1].targets == 0 && sums[1].bytes == 0);
    assert_true(sums[2].loss == 21 && sums[2].targets == 3 && sums[2].bytes == 6 && sums[2].text_loss == 5);
}

/* Loss 2 ln 2 over a byte each is two bits. */
static void a_bit_is_a_bit(void **state) {
    (void)state;
    const struct score_sums sums = {.loss = 8 * M_LN2, .text_loss = 6 * M_LN2, .targets = 4, .bytes = 3};
    assert_true(fabs(score_of(&sums).bits_per_byte - 2) < 1e-15);
    assert_true(score_of(&sums).loss == 2 * M_LN2);
}

static void without_bytes_there_are_no_bits(void **state) {
    (void)state;
    struct score_sums sums = {0};
    size_t calls = 0;
    score_add(&sums, (const uint32_t[]){0}, (const real[]){3}, (const int32_t[]){1}, 1, bytes_of, &calls);
    const struct score s = score_of(&sums);
    assert_true(s.loss == 3 && isinf(s.bits_per_byte));
    json_t *entry = json_object();
    score_log(entry, "val_", &s);
    assert_true(json_number_value(json_object_get(entry, "val_loss")) == 3);
    assert_null(json_object_get(entry, "val_bits_per_byte"));
    json_decref(entry);
}

static struct part_score parts[] = {
    {.name = "de", .trained = true, .tokens = 1000, .score = {2, 1.5, 70, 4}},
    {.name = "en", .trained = false, .tokens = 0, .score = {8, 7, 90, 5}},
    {.name = "zh-cn", .trained = true, .tokens = 123456789, .score = {3, 2.25, 11, 1}},
};

/* Of those that are trained on, each as much as another; what was read is of all. */
static void the_mean_is_of_what_is_trained_on(void **state) {
    (void)state;
    struct score mean = parts_mean(parts, 3);
    assert_true(mean.loss == 2.5 && mean.bits_per_byte == 1.875);
    assert_int_equal(mean.targets, 171);
    assert_int_equal(mean.windows, 10);
    mean = parts_mean(parts, 1);
    assert_true(mean.loss == 2 && mean.bits_per_byte == 1.5 && mean.targets == 70 && mean.windows == 4);
}

static void json_expect(const json_t *object, const char *want) {
    char *got = json_dumps(object, JSON_REAL_PRECISION(4));
    assert_string_equal(got, want);
    free(got);
}

static void parts_are_logged(void **state) {
    (void)state;
    json_t *val = parts_json(parts, 2, "val_", false), *final = parts_json(parts + 1, 2, "final_", true);
    json_expect(val, "{\"de\": {\"val_loss\": 2.0, \"val_perplexity\": 7.389, \"val_bits_per_byte\": 1.5, "
                     "\"val_windows\": 4, \"tokens\": 1000}, \"en\": {\"val_loss\": 8.0, \"val_perplexity\": 2981.0, "
                     "\"val_bits_per_byte\": 7.0, \"val_windows\": 5, \"tokens\": 0}}");
    json_expect(final, "{\"en\": {\"final_loss\": 8.0, \"final_perplexity\": 2981.0, \"final_bits_per_byte\": 7.0, "
                       "\"final_windows\": 5, \"tokens\": 90}, \"zh-cn\": {\"final_loss\": 3.0, "
                       "\"final_perplexity\": 20.09, \"final_bits_per_byte\": 2.25, \"final_windows\": 1, "
                       "\"tokens\": 11}}");
    json_decref(val);
    json_decref(final);
}

/* What they print on standard error goes to `errors`. */
static void told(void (*tell)(void)) {
    fflush(stderr);
    const int kept = dup(2);
    assert_non_null(freopen("told.txt", "w", stderr));
    tell();
    fflush(stderr);
    dup2(kept, 2);
    close(kept);
    text_read("told.txt", errors, sizeof errors);
}

static void tell_score(void) {
    score_tell(12, "validation loss", &parts[0].score);
    score_tell(0, "mean", &(struct score){.loss = 1, .bits_per_byte = INFINITY});
}
static void tell_parts(void) { parts_tell(parts, 3); }
static void tell_two(void) { parts_tell(parts, 2); }

static void figures_are_told(void **state) {
    (void)state;
    told(tell_score);
    assert_string_equal(errors, "step 12: validation loss 2.0000, perplexity 7.39, 1.5000 bits per byte\n"
                                "step 0: mean 1.0000, perplexity 2.72\n");
    told(tell_parts);
    assert_string_equal(errors, "part   tokens trained on    held out      loss  bits per byte\n"
                                "de                  1000          70    2.0000         1.5000\n"
                                "en                     0          90    8.0000         7.0000\n"
                                "zh-cn          123456789          11    3.0000         2.2500\n");
    told(tell_two);
    assert_string_equal(errors, "part  tokens trained on    held out      loss  bits per byte\n"
                                "de                 1000          70    2.0000         1.5000\n"
                                "en                    0          90    8.0000         7.0000\n");
}

/* How often a text is in the plot. */
static int count_of(const char *what) {
    int n = 0;
    for (const char *at = output; (at = strstr(at, what)); at++) n++;
    return n;
}

/* A curve a part, of its bits per byte against the tokens of the run; of nothing but validations. */
static void each_part_has_a_curve(void **state) {
    (void)state;
    static const char log[] =
        "{\"step\":1,\"tokens\":100,\"loss\":5}\n"
        "{\"step\":2,\"tokens\":200,\"val_loss\":4,\"parts\":{\"de\":{\"val_bits_per_byte\":3.5,\"tokens\":150},"
        "\"en\":{\"val_bits_per_byte\":6.5,\"tokens\":50}}}\n"
        "{\"step\":4,\"tokens\":400,\"val_loss\":3,\"parts\":{\"en\":{\"val_bits_per_byte\":5.25,\"tokens\":77},"
        "\"de\":{\"val_bits_per_byte\":3.25,\"tokens\":323},\"it\":{\"val_bits_per_byte\":1,\"tokens\":3}}}\n"
        "{\"step\":4,\"tokens\":400,\"final_loss\":3,\"parts\":{\"de\":{\"final_bits_per_byte\":9,\"tokens\":1}}}\n";
    struct error err;
    text_save("log.jsonl", log, sizeof log - 1);
    if (!runplot_parts("parts.svg", "log.jsonl", parts, 3, false, &err)) fail_msg("%s", err.text);
    text_read("parts.svg", output, sizeof output);
    static const struct {
        const char *text;
        int times;
    } wanted[] = {{"Held-out text of each part</text>", 1}, {"<title>de: 3.5 at 200</title>", 1},
                  {"<title>de: 3.25 at 400</title>", 1}, {"<title>en: 6.5 at 200</title>", 1},
                  {"<title>en: 5.25 at 400</title>", 1}, {"class=\"hit", 4}, {"bits per byte</text>", 1},
                  {"tokens</text>", 1}, {"<title>zh-cn</title>", 1}, {">it", 0}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (count_of(wanted[i].text) != wanted[i].times)
            fail_msg("%s: %d in\n%s", wanted[i].text, count_of(wanted[i].text), output + 1500);
    assert_false(runplot_parts("none/parts.svg", "log.jsonl", parts, 3, false, &err));
    assert_int_equal(err.code, EXIT_OUTPUT);
}

static int place_make(void **state) {
    (void)state;
    return workplace_enter() ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_of_text_have_no_bits),
        cmocka_unit_test(rows_are_of_parts),
        cmocka_unit_test(a_bit_is_a_bit),
        cmocka_unit_test(without_bytes_there_are_no_bits),
        cmocka_unit_test(the_mean_is_of_what_is_trained_on),
        cmocka_unit_test(parts_are_logged),
        cmocka_unit_test(figures_are_told),
        cmocka_unit_test(each_part_has_a_curve),
    };
    return cmocka_run_group_tests(tests, place_make, workplace_remove);
}
