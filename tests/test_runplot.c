/* The pictures of a run (src/runplot) against a log written by hand: which key of which entry each mark is of, and what
 * stands beside the axes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "command.h"
#include "../src/run/runplot.h"

/* Steps are no tokens, and no two values of an entry are the same, so that each says where it is from. Between what is
 * to be drawn lies what is not: the figures at the end, a part of another run, values and tokens that are none. */
static const char log_text[] =
    "{\"step\":1,\"tokens\":100,\"loss\":5.5,\"grad_norm\":1.5,\"lr\":0.25}\n"
    "{\"step\":2,\"tokens\":200,\"loss\":4.5,\"grad_norm\":1.25,\"lr\":0.5}\n"
    "{\"step\":2,\"tokens\":200,\"val_loss\":4.75,\"val_perplexity\":115,\"val_bits_per_byte\":2.5,\"parts\":{"
    "\"en\":{\"val_loss\":4.25,\"val_perplexity\":70,\"val_bits_per_byte\":2.125,\"val_windows\":9,\"tokens\":150},"
    "\"de\":{\"val_loss\":5.25,\"val_perplexity\":190,\"val_bits_per_byte\":2.875,\"val_windows\":8,\"tokens\":50}}}\n"
    "{\"step\":3,\"tokens\":300,\"val_loss\":null,\"parts\":{\"de\":{\"val_loss\":null,\"val_bits_per_byte\":null},"
    "\"it\":{\"val_loss\":1,\"val_bits_per_byte\":1}}}\n"
    "{\"step\":3,\"tokens\":300,\"loss\":4}\n"
    "{\"step\":4,\"tokens\":400,\"loss\":3.5,\"val_loss\":3.75,\"parts\":{"
    "\"de\":{\"val_loss\":4.125,\"val_bits_per_byte\":1.875,\"tokens\":110},"
    "\"en\":{\"val_loss\":3.25,\"val_bits_per_byte\":1.625,\"tokens\":290}}}\n"
    "{\"step\":6,\"loss\":9,\"val_loss\":9,\"parts\":{\"de\":{\"val_loss\":9,\"val_bits_per_byte\":9}}}\n"
    "{\"step\":6,\"tokens\":600,\"val_loss\":3,\"parts\":{\"de\":{\"val_loss\":3.125,\"val_bits_per_byte\":1.5}}}\n"
    "{\"step\":6,\"tokens\":600,\"final_loss\":2,\"final_bits_per_byte\":1,\"parts\":{"
    "\"de\":{\"final_loss\":2.25,\"final_bits_per_byte\":1.125,\"tokens\":200}}}\n";

/* Parts in another order than the log's, one of which it does not hold. */
static const struct part_score parts[] = {
    {"de", true, 200, {0.5, 0.25, 7, 8}}, {"en", true, 400, {0.75, 0.125, 9, 8}}, {"zh", false, 0, {1.5, 0.5, 3, 2}}};

static int log_open(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    text_save("log.jsonl", log_text, sizeof log_text - 1);
    return 0;
}

/* What lies between `start` and `end` behind *at, which moves behind it; "" and *at NULL if there is no more. */
static char *between(const char **at, const char *start, const char *end) {
    const char *from = strstr(*at, start);
    *at = from ? strstr(from + strlen(start), end) : NULL;
    return string_format("%.*s", *at ? (int)(*at - from - (int)strlen(start)) : 0, from ? from + strlen(start) : "");
}

/* Every mark of the picture in `output`, in order, a line each: "COLOUR NAME: Y at X". */
static void marks_expect(const char *want) {
    const char *at = output;
    char *marks = string_format("%s", "");
    while (at) {
        char *colour = between(&at, "class=\"hit f", "\""), *title = at ? between(&at, "<title>", "<") : NULL;
        if (title) string_append(&marks, "%s %s\n", colour, title);
        free(colour);
        free(title);
    }
    assert_string_equal(marks, want);
    free(marks);
}

/* The title, as the document's and over the picture; what stands over the upright axis and under the other. */
static void texts_expect(const char *title, const char *upright, const char *across) {
    const char *const starts[] = {"</style>\n<title>", " class=\"title\">", " y=\"48.0\" >",
                                  " y=\"406.0\" class=\"middle\">"};
    const char *const wants[] = {title, title, upright, across};
    for (int i = 0; i < 4; i++) {
        const char *at = output;
        char *text = between(&at, starts[i], "</t");
        assert_string_equal(text, wants[i]);
        free(text);
    }
}

static double number_after(const char **at, const char *start) {
    char *text = between(at, start, "\"");
    const double number = strtod(text, NULL);
    free(text);
    return number;
}

static void loss_draw(const char *log) {
    struct error err;
    text_save("log.jsonl", log, strlen(log));
    if (!runplot_loss("loss.svg", "log.jsonl", &err)) fail_msg("%s", err.text);
    text_read("loss.svg", output, sizeof output);
    text_save("log.jsonl", log_text, sizeof log_text - 1);
}

static void parts_draw(const struct part_score *of, size_t n, bool masked) {
    struct error err;
    if (!runplot_parts("parts.svg", "log.jsonl", of, n, masked, &err)) fail_msg("%s", err.text);
    text_read("parts.svg", output, sizeof output);
}

/* The loss of each step beside that of each validation, whether they share an entry or not. */
static void losses_are_of_steps_and_validations(void **state) {
    (void)state;
    loss_draw(log_text);
    marks_expect("0 training: 5.5 at 100\n0 training: 4.5 at 200\n0 training: 4 at 300\n0 training: 3.5 at 400\n"
                 "1 validation: 4.75 at 200\n1 validation: 3.75 at 400\n1 validation: 3 at 600\n");
    texts_expect("Loss", "loss (nats a token)", "tokens");
    assert_non_null(strstr(output, ">training 3.5</text>"));
    assert_non_null(strstr(output, ">validation 3</text>"));
}

/* A run without the one or the other keeps the other's name and colour. */
static void losses_of_one_kind_keep_their_place(void **state) {
    (void)state;
    loss_draw("{\"tokens\":10,\"loss\":5}\n");
    marks_expect("0 training: 5 at 10\n");
    loss_draw("{\"tokens\":10,\"val_loss\":6}\n");
    marks_expect("1 validation: 6 at 10\n");
    loss_draw("");
    marks_expect("");
    texts_expect("Loss", "loss (nats a token)", "tokens");
}

/* As far in tokens, or in what is measured, is as far in the picture: of three marks at even distances. */
static void axes_expect_even(void) {
    const char *at = output;
    double x[3], y[3];
    for (int i = 0; i < 3; i++) {
        x[i] = number_after(&at, " cx=\"");
        y[i] = number_after(&at, " cy=\"");
    }
    assert_true(x[0] < x[1] && y[0] < y[1]); /* y grows downwards */
    assert_true(fabs(x[2] - 2 * x[1] + x[0]) < 0.21); /* four halves of the 0.1 that is written */
    assert_true(fabs(y[2] - 2 * y[1] + y[0]) < 0.21);
}

static void axes_are_even(void **state) {
    (void)state;
    loss_draw("{\"tokens\":100,\"loss\":9}\n{\"tokens\":500,\"loss\":5}\n{\"tokens\":900,\"loss\":1}\n");
    axes_expect_even();
    static const char log[] =
        "{\"tokens\":100,\"parts\":{\"de\":{\"val_loss\":9,\"val_bits_per_byte\":7}}}\n"
        "{\"tokens\":500,\"parts\":{\"de\":{\"val_loss\":5,\"val_bits_per_byte\":4}}}\n"
        "{\"tokens\":900,\"parts\":{\"de\":{\"val_loss\":1,\"val_bits_per_byte\":1}}}\n";
    for (int masked = 0; masked < 2; masked++) {
        text_save("log.jsonl", log, sizeof log - 1);
        parts_draw(parts, 1, masked);
        axes_expect_even();
    }
    text_save("log.jsonl", log_text, sizeof log_text - 1);
}

#define DE(colour) colour " de: 2.875 at 200\n" colour " de: 1.875 at 400\n" colour " de: 1.5 at 600\n"
#define EN(colour) colour " en: 2.125 at 200\n" colour " en: 1.625 at 400\n"
#define MASKED_DE(colour) colour " de: 5.25 at 200\n" colour " de: 4.125 at 400\n" colour " de: 3.125 at 600\n"
#define MASKED_EN(colour) colour " en: 4.25 at 200\n" colour " en: 3.25 at 400\n"

/* Text: bits per byte. A part has the same points alone and beside others, whatever the order. */
static void parts_of_text_are_in_bits(void **state) {
    (void)state;
    const struct part_score turned[] = {parts[2], parts[1], parts[0]};
    parts_draw(parts, 3, false);
    marks_expect(DE("0") EN("1"));
    texts_expect("Held-out text of each part", "bits per byte", "tokens");
    assert_non_null(strstr(output, ">de 1.5</text>"));
    assert_non_null(strstr(output, ">en 1.625</text>"));
    parts_draw(turned, 3, false);
    marks_expect(EN("1") DE("2"));
    parts_draw(parts, 2, false);
    marks_expect(DE("0") EN("1"));
    parts_draw(parts, 1, false);
    marks_expect(DE("0"));
    texts_expect("Held-out text of each part", "bits per byte", "tokens");
    parts_draw(&parts[1], 1, false);
    marks_expect(EN("0"));
    parts_draw(&parts[2], 1, false);
    marks_expect("");
    texts_expect("Held-out text of each part", "bits per byte", "tokens");
}

/* What is filled in has no bytes: nats, even where a log holds bits. */
static void parts_of_a_masked_model_are_in_nats(void **state) {
    (void)state;
    parts_draw(parts, 3, true);
    marks_expect(MASKED_DE("0") MASKED_EN("1"));
    texts_expect("What is filled in, held out", "loss (nats)", "tokens");
    parts_draw(&parts[1], 1, true);
    marks_expect(MASKED_EN("0"));
    texts_expect("What is filled in, held out", "loss (nats)", "tokens");
}

/* Validations of text without bytes have a loss and no bits, which is no reason to draw nats among bits. */
static void parts_without_bits_have_no_points(void **state) {
    (void)state;
    static const char log[] =
        "{\"tokens\":10,\"val_loss\":3,\"parts\":{\"de\":{\"val_loss\":2},"
        "\"en\":{\"val_loss\":4,\"val_bits_per_byte\":1.5}}}\n"
        "{\"tokens\":20,\"val_loss\":2,\"val_bits_per_byte\":1}\n"
        "{\"tokens\":30,\"parts\":{\"de\":{\"val_loss\":1,\"val_bits_per_byte\":\"1\"},\"en\":7}}\n";
    text_save("log.jsonl", log, sizeof log - 1);
    parts_draw(parts, 2, false);
    marks_expect("1 en: 1.5 at 10\n");
    texts_expect("Held-out text of each part", "bits per byte", "tokens");
    parts_draw(parts, 1, false);
    marks_expect("");
    assert_non_null(strstr(output, ">no data</text>"));
    texts_expect("Held-out text of each part", "bits per byte", "tokens");
    parts_draw(parts, 2, true);
    marks_expect("0 de: 2 at 10\n0 de: 1 at 30\n1 en: 4 at 10\n");
    text_save("log.jsonl", log_text, sizeof log_text - 1);
}

/* Every cell in order, a line each: "block B, EXPERT: SHARE". */
static void cells_expect(const char *want) {
    const char *at = strstr(output, "<rect x=");
    char *cells = string_format("%s", "");
    while (at) {
        char *title = between(&at, "<title>", "<");
        if (at) string_append(&cells, "%s\n", title);
        free(title);
    }
    assert_string_equal(cells, want);
    free(cells);
}

static void load_draw(const double *load, size_t LM, size_t E, size_t every) {
    struct error err;
    if (!runplot_load("load.svg", load, LM, E, every, &err)) fail_msg("%s", err.text);
    text_read("load.svg", output, sizeof output);
}

/* Shares of each layer by itself, as multiples of an even one; each row is named after the block that it is in. */
static void loads_are_shares_of_their_layer(void **state) {
    (void)state;
    static const double load[] = {1, 2, 3, 30, 20, 10, 0, 0, 0, 0, 1, 0};
    load_draw(load, 4, 3, 2);
    cells_expect("block 1, 0: 0.5\nblock 1, 1: 1\nblock 1, 2: 1.5\nblock 3, 0: 1.5\nblock 3, 1: 1\nblock 3, 2: 0.5\n"
                 "block 5, 0: 0\nblock 5, 1: 0\nblock 5, 2: 0\nblock 7, 0: 0\nblock 7, 1: 3\nblock 7, 2: 0\n");
    assert_non_null(strstr(output, ">Expert load (1 = an even share of the sub-tokens)</text>"));
    assert_non_null(strstr(output, " y=\"48.0\" >MoE layer</text>"));
    assert_non_null(strstr(output, " class=\"middle\">expert</text>"));
    assert_non_null(strstr(output, "\"#fde725\"><title>block 7, 1: 3<")); /* the most there is: viridis at 1 */
    assert_non_null(strstr(output, "\"#31688e\"><title>block 1, 1: 1<")); /* a third of that */
    assert_non_null(strstr(output, "\"#440154\"><title>block 5, 0: 0<"));
    load_draw(load, 2, 6, 1);
    cells_expect("block 0, 0: 0.09091\nblock 0, 1: 0.1818\nblock 0, 2: 0.2727\nblock 0, 3: 2.727\nblock 0, 4: 1.818\n"
                 "block 0, 5: 0.9091\nblock 1, 0: 0\nblock 1, 1: 0\nblock 1, 2: 0\nblock 1, 3: 0\nblock 1, 4: 6\n"
                 "block 1, 5: 0\n");
    load_draw(load, 1, 3, 3);
    cells_expect("block 2, 0: 0.5\nblock 2, 1: 1\nblock 2, 2: 1.5\n");
    assert_non_null(strstr(output, "\"#23908c\"><title>block 2, 1: 1<")); /* twice an even share is the least: 1/2 */
}

static void pictures_that_cannot_be_written_are_told(void **state) {
    (void)state;
    static const double load[] = {1, 2};
    for (int i = 0; i < 3; i++) {
        struct error err = {0, ""};
        assert_false(i == 0   ? runplot_loss("none/p.svg", "log.jsonl", &err)
                     : i == 1 ? runplot_parts("none/p.svg", "log.jsonl", parts, 3, false, &err)
                              : runplot_load("none/p.svg", load, 1, 2, 1, &err));
        assert_int_equal(err.code, EXIT_OUTPUT);
        assert_non_null(strstr(err.text, "none/p.svg"));
    }
}

/* ---- Several runs ---- */

/* Two runs in one picture: the first is the log above. */
static void runs_are_drawn(const char *other, struct error *err, bool want) {
    static const char *const names[] = {"runs/a", "runs/b"}, *const logs[] = {"log.jsonl", "other.jsonl"};
    text_save("other.jsonl", other, strlen(other));
    *err = (struct error){0, ""};
    if (runplot_runs("runs.svg", names, logs, 2, err) != want) fail_msg("%s", err->text);
    if (want) text_read("runs.svg", output, sizeof output);
}

/* A line each, of the validations over tokens. */
static void runs_lie_over_each_other(void **state) {
    (void)state;
    struct error err;
    runs_are_drawn("{\"step\":1,\"tokens\":50,\"loss\":7}\n{\"step\":2,\"tokens\":80,\"val_loss\":6}\n"
                   "{\"step\":3,\"tokens\":90,\"val_loss\":5}\n", &err, true);
    marks_expect("0 runs/a: 4.75 at 200\n0 runs/a: 3.75 at 400\n0 runs/a: 3 at 600\n"
                 "1 runs/b: 6 at 80\n1 runs/b: 5 at 90\n");
    texts_expect("Loss of several runs", "validation loss (nats a token)", "tokens");
}

/* Where one has no curve of validations all are drawn by what they all have, and the axis says so. */
static void runs_without_validations_are_drawn_by_their_training(void **state) {
    (void)state;
    struct error err;
    runs_are_drawn("{\"step\":1,\"tokens\":50,\"loss\":7}\n{\"step\":2,\"tokens\":80,\"val_loss\":6}\n", &err, true);
    marks_expect("0 runs/a: 5.5 at 100\n0 runs/a: 4.5 at 200\n0 runs/a: 4 at 300\n0 runs/a: 3.5 at 400\n"
                 "1 runs/b: 7 at 50\n");
    texts_expect("Loss of several runs", "training loss (nats a token)", "tokens");
}

static void runs_without_losses_are_refused(void **state) {
    (void)state;
    static const char *const names[] = {"a", "b"}, *const gone[] = {"log.jsonl", "gone.jsonl"};
    struct error err;
    runs_are_drawn("{\"step\":1,\"tokens\":50,\"lr\":7}\n", &err, false);
    assert_int_equal(err.code, EXIT_INPUT);
    assert_non_null(strstr(err.text, "other.jsonl: holds no losses"));
    assert_false(runplot_runs("runs.svg", names, gone, 2, &err));
    assert_int_equal(err.code, EXIT_INPUT);
    assert_non_null(strstr(err.text, "gone.jsonl: cannot read"));
    static const char *const log[] = {"log.jsonl"};
    assert_false(runplot_runs("none/p.svg", names, log, 1, &err));
    assert_int_equal(err.code, EXIT_OUTPUT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_of_steps_and_validations),
        cmocka_unit_test(losses_of_one_kind_keep_their_place),
        cmocka_unit_test(axes_are_even),
        cmocka_unit_test(parts_of_text_are_in_bits),
        cmocka_unit_test(parts_of_a_masked_model_are_in_nats),
        cmocka_unit_test(parts_without_bits_have_no_points),
        cmocka_unit_test(loads_are_shares_of_their_layer),
        cmocka_unit_test(runs_lie_over_each_other),
        cmocka_unit_test(runs_without_validations_are_drawn_by_their_training),
        cmocka_unit_test(runs_without_losses_are_refused),
        cmocka_unit_test(pictures_that_cannot_be_written_are_told),
    };
    return cmocka_run_group_tests(tests, log_open, workplace_remove);
}
