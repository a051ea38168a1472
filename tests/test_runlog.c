/* log.jsonl, written, gone on with and read (src/runlog). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>

#include "command.h"
#include "../src/run/runlog.h"

static int workplace_open(void **state) {
    (void)state;
    return workplace_enter() ? 0 : -1;
}

static void curve_expect(const char *x_key, const char *y_key, size_t n, const double *x, const double *y) {
    struct curve c = runlog_curve("log.jsonl", x_key, y_key);
    assert_int_equal(c.n, n);
    for (size_t i = 0; i < n; i++) {
        assert_true(c.x[i] == x[i]);
        assert_true(c.y[i] == y[i]);
    }
    curve_free(&c);
    assert_null(c.x);
}

static void curves_come_from_their_entries(void **state) {
    (void)state;
    static const char log[] = "{\"step\":1,\"tokens\":7,\"loss\":4.5}\n"
                              "{\"step\":2,\"tokens\":17,\"loss\":3}\n"
                              "{\"step\":2,\"tokens\":17,\"val_loss\":3.25}\n"
                              "damaged\n\n"
                              "{\"step\":3,\"loss\":2.5}\n"
                              "{\"step\":4,\"tokens\":19,\"loss\":null}\n"
                              "{\"step\":4,\"tokens\":20,\"lo"; /* not finished */
    text_save("log.jsonl", log, sizeof log - 1);
    curve_expect("step", "loss", 3, (double[]){1, 2, 3}, (double[]){4.5, 3, 2.5});
    curve_expect("tokens", "loss", 2, (double[]){7, 17}, (double[]){4.5, 3}); /* an entry without tokens is no point */
    curve_expect("tokens", "val_loss", 1, (double[]){17}, (double[]){3.25});
    curve_expect("step", "nothing", 0, NULL, NULL);
    struct curve none = runlog_curve("missing.jsonl", "step", "loss");
    assert_int_equal(none.n, 0);
}

static void entry_count(void *context, const json_t *entry) {
    assert_true(json_is_object(entry));
    ++*(size_t *)context;
}

static void survey_expect(const char *log, size_t size, struct runlog_survey want) {
    size_t visited = 0;
    text_save("survey.jsonl", log, size);
    const struct runlog_survey s = runlog_read("survey.jsonl", entry_count, &visited);
    assert_int_equal(visited, want.entries);
    assert_int_equal(s.entries, want.entries);
    assert_int_equal(s.damaged, want.damaged);
    assert_int_equal(s.first, want.first);
    assert_true(s.unfinished == want.unfinished);
    assert_int_equal(s.failed, 0);
}
#define SURVEY(log, ...) survey_expect(log, sizeof(log) - 1, (struct runlog_survey){__VA_ARGS__})

static void readers_tell_what_they_passed_over(void **state) {
    (void)state;
    SURVEY("{\"a\":1}\n{\"a\":2}\n", .entries = 2);
    SURVEY("{\"a\":1}\n{\"a\":2}", .entries = 2); /* whole, but for its end */
    SURVEY("{\"a\":1}\n{\"a\":", .entries = 1, .unfinished = true);
    SURVEY("{\"a\":1}\n\n{\"a\":2}\n{\"a\n", .entries = 2, .damaged = 2, .first = 2);
    SURVEY("[1]\n{\"a\":1}\n", .entries = 1, .damaged = 1, .first = 1); /* JSON, but no entry */
    SURVEY("{\"a\":1}\n{\"a\":2}\0\0\n{\"a\":3}\n", .entries = 2, .damaged = 1, .first = 2);
    SURVEY("", .entries = 0);
    size_t visited = 0;
    assert_int_equal(runlog_read("none.jsonl", entry_count, &visited).failed, ENOENT);
    assert_int_equal(mkdir("folder.jsonl", 0700), 0);
    assert_int_equal(runlog_read("folder.jsonl", entry_count, &visited).failed, EISDIR);
    assert_int_equal(visited, 0);
}

/* ---- Resuming ----------------------------------------------------------------------------------- */

#define ENTRY(step) "{\"step\":" #step ",\"loss\":1}\n"

/* What step 5 and later did is done again. */
static bool from_five(const void *context, const json_t *entry) {
    assert_string_equal(context, "context");
    return json_integer_value(json_object_get(entry, "step")) >= 5;
}

/* Resumes at step 4 a log that holds `before`; it must hold `after` then, and an entry that is added must be a line of
 * its own. `note` is on standard error, alone; "": nothing is. */
static void resume_expect(const char *before, const char *after, const char *note) {
    struct runlog log;
    struct error err;
    text_save("log.jsonl", before, strlen(before));
    fflush(stderr);
    const int screen = dup(STDERR_FILENO), file = open("stderr.txt", O_CREAT | O_TRUNC | O_WRONLY, 0666);
    dup2(file, STDERR_FILENO);
    const bool ok = runlog_resume(&log, "log.jsonl", 4, from_five, "context", &err);
    dup2(screen, STDERR_FILENO);
    close(screen);
    close(file);
    if (!ok) fail_msg("%s", err.text);
    text_read("stderr.txt", errors, sizeof errors);
    if (*note ? !strstr(errors, note) || strchr(errors, '\n') != errors + strlen(errors) - 1 : *errors != 0)
        fail_msg("'%s' is not the one note in\n%s", note, errors);
    text_read("log.jsonl", output, sizeof output);
    assert_string_equal(output, after);
    assert_true(runlog_write(&log, json_pack("{s:i}", "step", 5), &err));
    assert_true(runlog_sync(&log, &err));
    runlog_close(&log);
    assert_null(log.file);
    char *more = string_format("%s{\"step\":5}\n", after);
    text_read("log.jsonl", output, sizeof output);
    assert_string_equal(output, more);
    free(more);
}

/* Only what lies past the checkpoint goes: what is damaged before it stays, and is told. */
static void resuming_cuts_what_lies_past(void **state) {
    (void)state;
    static const char whole[] = ENTRY(1) ENTRY(2) ENTRY(3) ENTRY(4);
    resume_expect(whole, whole, "");
    resume_expect(ENTRY(1) ENTRY(2) ENTRY(3) ENTRY(4) ENTRY(5) ENTRY(6), whole, "");
    resume_expect(ENTRY(1) ENTRY(2) ENTRY(3) ENTRY(4) ENTRY(5) "x\n" ENTRY(6), whole,
                  ""); /* all that comes behind it */
    resume_expect(ENTRY(1) ENTRY(2) ENTRY(3) ENTRY(4) ENTRY(5) ENTRY(2), whole, "");
    resume_expect(ENTRY(1) ENTRY(2) ENTRY(3) ENTRY(4) "{\"step\":5,\"lo", whole, ""); /* a write that did not finish */
    resume_expect(ENTRY(1) ENTRY(2) ENTRY(3) "{\"step\":4,\"loss\":1}", whole, ""); /* the newline did not */
    resume_expect(ENTRY(1) "{\"stop\":2}\n" ENTRY(3) ENTRY(4) ENTRY(5), ENTRY(1) "{\"stop\":2}\n" ENTRY(3) ENTRY(4),
                  "line 2 is no entry");
    resume_expect(ENTRY(1) ENTRY(2) "\n" ENTRY(4) ENTRY(5), ENTRY(1) ENTRY(2) "\n" ENTRY(4), "line 3 is no entry");
    resume_expect("{\"step\":1,\"lo}\n" ENTRY(2) "x\n" ENTRY(4), "{\"step\":1,\"lo}\n" ENTRY(2) "x\n" ENTRY(4),
                  "line 1 is no entry");
    resume_expect(ENTRY(1) ENTRY(2) ENTRY(3) ENTRY(4) "{\"step\":null}\n" ENTRY(7),
                  ENTRY(1) ENTRY(2) ENTRY(3) ENTRY(4) "{\"step\":null}\n", "line 5 is no entry");
}

/* A log that does not reach its checkpoint has a gap from now on, which is said. */
static void gaps_are_told(void **state) {
    (void)state;
    resume_expect(ENTRY(1) ENTRY(2) ENTRY(3), ENTRY(1) ENTRY(2) ENTRY(3),
                  "ends at step 3, its checkpoint is of step 4");
    resume_expect("", "", "ends at step 0, its checkpoint is of step 4");
    resume_expect(ENTRY(3) ENTRY(5), ENTRY(3), "ends at step 3");
}

/* A directory in its place, or a log that cannot be read, is no end of the log. */
static void logs_that_cannot_be_read_are_refused(void **state) {
    (void)state;
    struct runlog log;
    struct error err;
    run("mkdir -p folder");
    assert_false(runlog_resume(&log, "folder", 4, from_five, "context", &err));
    assert_int_equal(err.code, EXIT_OUTPUT);
    assert_non_null(strstr(err.text, "folder: cannot open"));
    assert_false(runlog_resume(&log, "/proc/self/mem", 4, from_five, "context", &err)); /* reading its start fails */
    assert_int_equal(err.code, EXIT_INPUT);
    assert_non_null(strstr(err.text, "/proc/self/mem: cannot read: "));
    assert_null(log.file);
    assert_false(runlog_create(&log, "nowhere/log.jsonl", &err));
    assert_int_equal(err.code, EXIT_OUTPUT);
}

/* A new run's log is empty; each entry is a line of its own, with nine digits; a full disk is told. */
static void entries_are_lines(void **state) {
    (void)state;
    struct runlog log;
    struct error err;
    text_save("log.jsonl", "old\n", 4);
    assert_true(runlog_create(&log, "log.jsonl", &err));
    assert_true(runlog_write(&log, json_pack("{s:i, s:f}", "step", 1, "loss", 1.0 / 3), &err));
    text_read("log.jsonl", output, sizeof output); /* it is there at once */
    assert_string_equal(output, "{\"step\":1,\"loss\":0.333333333}\n");
    assert_false(runlog_write(&log, NULL, &err)); /* as json_pack gives it for what JSON cannot hold */
    assert_int_equal(err.code, EXIT_OUTPUT);
    assert_non_null(strstr(err.text, "log.jsonl: cannot write: an entry that JSON cannot hold"));
    runlog_close(&log);
    assert_true(runlog_create(&log, "/dev/full", &err));
    assert_false(runlog_write(&log, json_pack("{s:i}", "step", 1), &err));
    assert_int_equal(err.code, EXIT_OUTPUT);
    assert_non_null(strstr(err.text, "/dev/full: cannot write: No space left on device; free some space and --resume"));
    runlog_close(&log);
    assert_true(runlog_create(&log, "/dev/null", &err)); /* nor is it passed over that a log cannot be made permanent */
    assert_false(runlog_sync(&log, &err));
    assert_int_equal(err.code, EXIT_OUTPUT);
    assert_non_null(strstr(err.text, "/dev/null: cannot write: "));
    runlog_close(&log);
}

static void number_expect(double value, const char *text) {
    json_t *number = json_number(value);
    char *got = json_dumps(number, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    assert_string_equal(got, text);
    free(got);
    json_decref(number);
}

static void numbers_fit_into_json(void **state) {
    (void)state;
    number_expect(-2.5, "-2.5");
    number_expect(INFINITY, "1.79769313e308");
    number_expect(-INFINITY, "-1.79769313e308");
    number_expect(NAN, "null");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(curves_come_from_their_entries),
        cmocka_unit_test(readers_tell_what_they_passed_over),
        cmocka_unit_test(resuming_cuts_what_lies_past),
        cmocka_unit_test(gaps_are_told),
        cmocka_unit_test(logs_that_cannot_be_read_are_refused),
        cmocka_unit_test(entries_are_lines),
        cmocka_unit_test(numbers_fit_into_json),
    };
    return cmocka_run_group_tests(tests, workplace_open, workplace_remove);
}
