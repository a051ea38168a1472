/* Questions with choices as files have them (src/run/questions). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include "../src/run/questions.h"

static bool text_take(struct questions *q, const char *text, struct error *err) {
    *err = (struct error){0};
    return questions_read(q, fmemopen((void *)text, strlen(text), "r"), "f.jsonl", err);
}

static void expect(const struct question *q, size_t line, const char *context, size_t answer, const char *choices) {
    char *joined = string_format("%s", q->choices[0]);
    for (size_t i = 1; i < q->n; i++) string_append(&joined, "|%s", q->choices[i]);
    assert_int_equal(q->line, line);
    assert_string_equal(q->context, context);
    assert_string_equal(joined, choices);
    assert_int_equal(q->answer, answer);
    free(joined);
}

/* Each with fields that its data set has besides, and answers of both kinds. */
static void every_form_is_read(void **state) {
    (void)state;
    static const char text[] =
        "{\"context\": \"c1\", \"choices\": [\"a\", \"b\", \"c\"], \"answer\": 2}\n"
        "\n"
        "{\"ind\": 24, \"ctx_a\": \"A\", \"ctx_b\": \"b\", \"ctx\": \"A b\", \"split\": \"val\", \"label\": 3, "
        "\"endings\": [\"w\", \"x\", \"y\", \"z\"], \"source_id\": \"s\"}\r\n"
        "{\"ctx\": \"A b\", \"label\": \"1\", \"endings\": [\"w\", \"x\"]}\n"
        " \t\n"
        "{\"id\": \"p\", \"goal\": \"g\", \"sol1\": \"one\", \"sol2\": \"two\", \"label\": 1}\n"
        "{\"id\": \"M_1\", \"question\": {\"stem\": \"why?\", \"choices\": [{\"text\": \"t\", \"label\": \"A\"}, "
        "{\"text\": \"u\", \"label\": \"B\"}]}, \"answerKey\": \"A\"}\n"
        "{\"id\": \"M_2\", \"question\": \"why?\", \"choices\": {\"text\": [\"t\", \"u\", \"v\"], \"label\": [\"1\", "
        "\"2\", \"3\"]}, \"answerKey\": \"3\"}\n"
        "{\"context\": \"\", \"choices\": [\"caf\xc3\xa9 \\u00e9\\\"\"], \"answer\": 0}";
    struct questions q;
    struct error err;
    if (!text_take(&q, text, &err)) fail_msg("%s", err.text);
    assert_int_equal(q.n, 7);
    expect(&q.list[0], 1, "c1", 2, "a|b|c");
    expect(&q.list[1], 3, "A b", 3, "w|x|y|z");
    expect(&q.list[2], 4, "A b", 1, "w|x");
    expect(&q.list[3], 6, "g", 1, "one|two");
    expect(&q.list[4], 7, "why?", 0, "t|u");
    expect(&q.list[5], 8, "why?", 2, "t|u|v"); /* by its label, not by a number */
    expect(&q.list[6], 9, "", 0, "caf\xc3\xa9 \xc3\xa9\"");
    questions_free(&q);
}

#define ARC(choices, key) "{\"question\":\"q\",\"choices\":" choices ",\"answerKey\":" key "}"
static const char *const bad[][2] = {
    {"{\"context\":\"c\"", "not JSON ("},
    {"context", "not JSON ("},
    {"{\"context\":\"\xff\",\"choices\":[\"a\"],\"answer\":0}", "not JSON ("},
    {"{\"context\":\"c\",\"context\":\"d\",\"choices\":[\"a\"],\"answer\":0}", "not JSON ("},
    {"{\"context\":\"c\",\"choices\":[\"a\"],\"answer\":0} {}", "not JSON ("},
    {"[1]", "question: bad value (got [1], want an object)"},
    {"{}", "context: missing (want \"context\","},
    {"{\"choices\":[\"a\"],\"answer\":0}", "context: missing (want \"context\","},
    {"{\"context\":7,\"choices\":[\"a\"],\"answer\":0}", "context: bad value (got 7, want a text)"},
    {"{\"context\":null,\"choices\":[\"a\"],\"answer\":0}", "context: bad value (got null, want a text)"},
    {"{\"context\":\"c\",\"answer\":0}", "choices: missing (want a list of texts that is not empty)"},
    {"{\"context\":\"c\",\"choices\":[],\"answer\":0}",
     "choices: bad value (got [], want a list of texts that is not"},
    {"{\"context\":\"c\",\"choices\":\"a\",\"answer\":0}", "choices: bad value (got \"a\", want a list of texts"},
    {"{\"context\":\"c\",\"choices\":[\"a\",4],\"answer\":0}",
     "choices: bad value (got [\"a\", 4], want a list of te"},
    {"{\"context\":\"\",\"choices\":[\"a\",\"\"],\"answer\":0}",
     "choices: bad value (got \"\", want a text that is not"},
    {"{\"context\":\"c \",\"choices\":[\"a\",\"\"],\"answer\":0}",
     "choices: bad value (got \"\", want a text that is "},
    {"{\"context\":\"c\",\"choices\":[\"a\"]}", "answer: missing (want the number of a choice, from 0 to 0)"},
    {"{\"context\":\"c\",\"choices\":[\"a\",\"b\"],\"answer\":2}",
     "answer: bad value (got 2, want the number of a choice, from 0 to 1)"},
    {"{\"context\":\"c\",\"choices\":[\"a\",\"b\"],\"answer\":-1}", "answer: bad value (got -1, want"},
    {"{\"context\":\"c\",\"choices\":[\"a\",\"b\"],\"answer\":1.0}", "answer: bad value (got 1.0, want"},
    {"{\"context\":\"c\",\"choices\":[\"a\",\"b\"],\"answer\":true}", "answer: bad value (got true, want"},
    {"{\"context\":\"c\",\"choices\":[\"a\",\"b\"],\"answer\":18446744073709551616}", "not JSON (too big integer"},
    {"{\"context\":\"c\",\"choices\":[\"a\",\"b\"],\"answer\":4294967296}",
     "answer: bad value (got 4294967296, want"},
    {"{\"ctx\":\"c\",\"endings\":[\"a\",\"b\"],\"label\":\"\"}", "label: bad value (got \"\", want"},
    {"{\"ctx\":\"c\",\"endings\":[\"a\",\"b\"],\"label\":\"2\"}", "label: bad value (got \"2\", want"},
    {"{\"ctx\":\"c\",\"endings\":[\"a\",\"b\"],\"label\":\"4294967296\"}",
     "label: bad value (got \"4294967296\", want"},
    {"{\"ctx\":\"c\",\"endings\":[\"a\",\"b\"],\"label\":\"36893488147419103233\"}", /* 2^65 + 1 */
     "label: bad value (got \"36893488147419103233\", want"},
    {"{\"ctx\":\"c\",\"endings\":[\"a\",\"b\"],\"label\":\"1x\"}", "label: bad value (got \"1x\", want"},
    {"{\"ctx\":\"c\",\"choices\":[\"a\",\"b\"],\"label\":1}", "endings: missing"},
    {"{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\"}", "label: missing (want the number of a choice, from 0 to 1)"},
    {"{\"goal\":\"g\",\"sol1\":\"a\",\"label\":0}", "sol2: missing (want a text)"},
    {"{\"goal\":\"g\",\"sol2\":\"a\",\"label\":0}", "sol1: missing (want a text)"},
    {ARC("{\"text\":[\"t\",\"u\"],\"label\":[\"A\",\"B\"]}", "\"C\""),
     "answerKey: bad value (got \"C\", want the label"},
    {ARC("{\"text\":[\"t\",\"u\"],\"label\":[\"A\",\"B\"]}", "0"), "answerKey: bad value (got 0, want the label"},
    {ARC("{\"text\":[\"t\",\"u\",\"v\"],\"label\":[\"A\",\"B\"]}", "\"C\""),
     "answerKey: bad value (got \"C\", want the"},
    {ARC("{\"text\":[],\"label\":[]}", "\"A\""),
     "choices: bad value (got {\"text\": [], \"label\": []}, want a list"},
    {ARC("[{\"text\":\"t\",\"label\":\"A\"},{\"label\":\"B\"}]", "\"A\""), "choices: bad value (got [{"},
};

/* Each behind a good line and a blank one. */
static void bad_lines_are_named(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct questions q;
        struct error err;
        char *text = string_format("{\"context\":\"c\",\"choices\":[\"a\"],\"answer\":0}\n\n%s\n", bad[i][0]);
        char *want = string_format("f.jsonl:3: %s", bad[i][1]);
        assert_false(text_take(&q, text, &err));
        assert_int_equal(err.code, EXIT_INPUT);
        if (strncmp(err.text, want, strlen(want)) != 0) fail_msg("got  %s\nwant %s", err.text, want);
        assert_null(strchr(err.text, '\n'));
        questions_free(&q);
        free(text);
        free(want);
    }
}

static void files_without_questions_are_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"\n", " \n\t\r\n\n"};
    struct questions q;
    struct error err;
    for (int i = 0; i < 2; i++) {
        assert_false(text_take(&q, texts[i], &err));
        assert_int_equal(err.code, EXIT_INPUT);
        assert_int_equal(strncmp(err.text, "f.jsonl: no question in it; want one JSON object a line", 55), 0);
        questions_free(&q);
    }
    assert_false(questions_read(&q, fopen("/missing", "r"), "/missing", &err));
    assert_string_equal(err.text, "/missing: cannot read: No such file or directory");
    questions_free(&q);
    assert_false(questions_read(&q, fopen("/", "r"), "/", &err));
    assert_string_equal(err.text, "/: cannot read: Is a directory");
    questions_free(&q);
}

static void a_space_joins_what_has_none(void **state) {
    (void)state;
    assert_string_equal(question_joint("a man", "walks"), " ");
    assert_string_equal(question_joint("a man.", "\"Yes\""), " ");
    assert_string_equal(question_joint("a man ", "walks"), "");
    assert_string_equal(question_joint("a man\n", "walks"), "");
    assert_string_equal(question_joint("a man", " walks"), "");
    assert_string_equal(question_joint("a man", "\twalks"), "");
    assert_string_equal(question_joint("", "walks"), "");
    assert_string_equal(question_joint("a man", ""), " ");
    assert_string_equal(question_joint("\xc3\xa9", "\xe3\x80\x80"), " "); /* bytes above ASCII are no white space */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_is_read),
        cmocka_unit_test(bad_lines_are_named),
        cmocka_unit_test(files_without_questions_are_refused),
        cmocka_unit_test(a_space_joins_what_has_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
