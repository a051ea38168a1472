/* ./sample on a terminal, as somebody sits before it: lines are edited and come again, Ctrl-C stops an answer and not
 * the program, and what a model writes does not control the terminal. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>
#include "child.h"
#include "command.h"
#include "letters.h"

enum { PATIENCE = 60 }; /* seconds, where the machine has other work */

/* A program on a terminal of its own, and what it has shown there since the last look. */
struct session {
    pid_t child;
    int terminal;
    char shown[1 << 16];
    size_t n;
};

static void session_open(struct session *s, const char *command) {
    fflush(stdout);
    s->n = 0;
    s->child = forkpty(&s->terminal, NULL, NULL, &(struct winsize){.ws_row = 24, .ws_col = 200});
    assert_true(s->child >= 0);
    if (s->child > 0) return;
    setenv("TERM", "vt100", 1);
    setenv("HOME", ".", 1);
    execl("/bin/sh", "sh", "-c", command, NULL);
    _exit(127);
}

/* Takes what is shown now; false once the program has ended. Of much the later half is kept. */
static bool session_look(struct session *s, int milliseconds) {
    struct pollfd ready = {.fd = s->terminal, .events = POLLIN};
    if (poll(&ready, 1, milliseconds) <= 0) return true;
    if (s->n > sizeof s->shown / 2) {
        memmove(s->shown, s->shown + sizeof s->shown / 4, s->n - sizeof s->shown / 4);
        s->n -= sizeof s->shown / 4;
    }
    const ssize_t got = read(s->terminal, s->shown + s->n, sizeof s->shown - s->n - 1);
    if (got <= 0) return false;
    s->n += (size_t)got;
    s->shown[s->n] = 0;
    return true;
}

/* Waits until the text is shown, and forgets what came before its end. */
static void session_wait(struct session *s, const char *text) {
    const double start = time_seconds();
    char *found = NULL;
    s->shown[s->n] = 0;
    while (!(found = memmem(s->shown, s->n, text, strlen(text)))) {
        const bool goes_on = session_look(s, 100);
        if (!goes_on || time_seconds() > start + PATIENCE)
            fail_msg("waited for '%s', got '%.3000s'", text, s->n > 3000 ? s->shown + s->n - 3000 : s->shown);
    }
    s->n -= (size_t)(found + strlen(text) - s->shown);
    memmove(s->shown, found + strlen(text), s->n);
}

/* Waits until the program asks for a line, and takes keys one by one: it asks a moment before it does. */
static void session_prompt(struct session *s) {
    struct termios mode = {.c_lflag = ICANON};
    session_wait(s, "> ");
    for (const double start = time_seconds(); mode.c_lflag & ICANON; usleep(1000)) {
        assert_int_equal(tcgetattr(s->terminal, &mode), 0);
        if (time_seconds() > start + PATIENCE) fail_msg("no line is edited");
    }
}

static void session_type(struct session *s, const char *keys) {
    assert_int_equal(write(s->terminal, keys, strlen(keys)), strlen(keys));
}

/* Waits for the program's end, and returns its exit code. What was shown then is in s->shown. */
static int session_close(struct session *s) {
    int status;
    const double start = time_seconds();
    while (session_look(s, 100))
        if (time_seconds() > start + PATIENCE) fail_msg("does not end: '%.3000s'", s->shown);
    close(s->terminal);
    assert_int_equal(waitpid(s->child, &status, 0), s->child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* After position p comes byte p of CONTROLS, and then the end of text (reciting_model). */
#define CONTROLS "\x1b[m\x07\xc2\x9b\xff\t~\n"

static int models_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    struct model letters = letters_model(), controls = reciting_model(CONTROLS, sizeof CONTROLS - 1);
    model_save(&letters, "letters");
    model_save(&controls, "controls");
    model_destroy(&letters);
    model_destroy(&controls);
    return 0;
}

/* Codes on a terminal, of the model's text and of the prompt's; the bytes, but for what is no UTF-8, elsewhere. */
static void controls_are_shown_on_a_terminal(void **state) {
    (void)state;
#define SHOWN "\\x1b[m\\x07\\xc2\\x9b\\xff\t~\r\n\r\n"
    struct session s;
    session_open(&s, "sample -m controls -g 2>/dev/null");
    assert_int_equal(session_close(&s), 0);
    assert_string_equal(s.shown, SHOWN);
    session_open(&s, "sample -m letters -n 1 -g -p \"$(printf 'a\\033b\\302')\" 2>/dev/null");
    assert_int_equal(session_close(&s), 0);
    assert_int_equal(strncmp(s.shown, "a\\x1bb\\xc2", 10), 0);
    session_open(&s, "sample -m controls -g 2>/dev/null | cat -v");
    assert_int_equal(session_close(&s), 0);
    assert_string_equal(s.shown, "^[[m^GM-BM-^[M-oM-?M-=\t~\r\n\r\n");
    run("sample -m controls -g");
    assert_string_equal(output, "\x1b[m\x07\xc2\x9b\xef\xbf\xbd\t~\n\n");
}

/* So many tokens that only Ctrl-C can end the answer. */
static void interrupts_stop_an_answer(void **state) {
    (void)state;
    struct session s;
    session_open(&s, "exec sample -m letters -g -n 1G --interactive");
    session_wait(&s, "model: letters\r\n");
    session_prompt(&s);
    for (int i = 0; i < 3; i++) {
        session_type(&s, "ab \n");
        session_wait(&s, "ab \r\n");
        session_wait(&s, "ddd doooooooooo"); /* what follows that prompt, which is not written again */
        session_type(&s, "\x03");
        session_wait(&s, "^C");
        session_prompt(&s);
    }
    session_type(&s, "\x04");
    assert_int_equal(session_close(&s), 0);
    assert_non_null(strstr(s.shown, " tokens/s\r\n"));
}

/* Also where the terminal is behind, and the program waits to write more. */
static void interrupts_stop_what_is_shown_slowly(void **state) {
    (void)state;
    struct session s;
    session_open(&s, "exec sample -m letters -g -n 1G --interactive");
    session_prompt(&s);
    for (int i = 0; i < 2; i++) {
        session_type(&s, "ab \n");
        session_wait(&s, "ddd doooooooooo");
        sleep(2); /* in which more is written than a terminal holds */
        session_type(&s, "\x03");
        session_prompt(&s);
    }
    session_type(&s, "\x04");
    assert_int_equal(session_close(&s), 0);
}

/* Ctrl-C drops a line, Backspace a letter; lines before come again with the upper arrow, but for empty ones, and one
 * that was typed twice comes once; Ctrl-D ends only where nothing is typed. */
static void lines_are_edited(void **state) {
    (void)state;
    struct session s;
    session_open(&s, "exec sample -m letters -g -n 6 -i --json >answers.txt");
    session_prompt(&s);
    session_type(&s, "ab x\x7f" "d\n");
    session_wait(&s, "\r\n");
    session_prompt(&s);
    session_type(&s, "dropped");
    session_wait(&s, "dropped");
    session_type(&s, "\x03");
    session_wait(&s, "^C\r\n");
    session_prompt(&s);
    session_type(&s, "\x1b[A");
    session_wait(&s, "ab d");
    session_type(&s, "b\n");
    session_wait(&s, "\r\n");
    session_prompt(&s);
    session_type(&s, "last\x04\x01" "the \n"); /* Ctrl-A goes to the start */
    session_wait(&s, "\r\n");
    session_prompt(&s);
    static const char *const more[] = {"caf\xc3\xa9\n", "\n", "caf\xc3\xa9\n", "\x1b[A\x1b[A too\n"};
    for (size_t i = 0; i < 4; i++) {
        session_type(&s, more[i]);
        session_wait(&s, "\r\n");
        session_prompt(&s);
    }
    session_type(&s, "\x04");
    assert_int_equal(session_close(&s), 0);
    static const char *const prompts[] = {"ab d", "ab db", "the last", "caf\xc3\xa9", "", "caf\xc3\xa9",
                                          "the last too"};
    FILE *answers = fopen("answers.txt", "r");
    char line[4000];
    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++) {
        assert_non_null(fgets(line, sizeof line, answers));
        json_t *object = json_loads(line, JSON_ALLOW_NUL, NULL);
        assert_non_null(object);
        assert_string_equal(json_string_value(json_object_get(object, "prompt")), prompts[i]);
        assert_string_equal(json_string_value(json_object_get(object, "stop")), "length");
        json_decref(object);
    }
    assert_null(fgets(line, sizeof line, answers));
    fclose(answers);
}

/* A window that has become narrower since the last line: what is typed goes on in a second row, and Ctrl-A back up. */
static void windows_may_change(void **state) {
    (void)state;
    struct session s;
    session_open(&s, "exec sample -m letters -g -n 1 -i");
    session_prompt(&s);
    assert_int_equal(ioctl(s.terminal, TIOCSWINSZ, &(struct winsize){.ws_row = 24, .ws_col = 20}), 0);
    session_type(&s, "a\n");
    session_wait(&s, "\r\n");
    session_prompt(&s);
    session_type(&s, "abcdefghijklmnopabcdefghijklmnop\x01");
    session_wait(&s, "\x1b[A");
    session_type(&s, "\n");
    session_prompt(&s);
    session_type(&s, "\x04");
    assert_int_equal(session_close(&s), 0);
}

/* Where standard error goes elsewhere, nobody sees an editor: lines are read as they are, and no prompt is written. */
static void lines_are_plain_without_standard_error(void **state) {
    (void)state;
    struct session s;
    session_open(&s, "exec sample -m letters -g -n 3 -i 2>errors.txt");
    session_type(&s, "ab \n");
    session_wait(&s, "ddd\r\n");
    session_type(&s, "\x04");
    assert_int_equal(session_close(&s), 0);
    run("cat errors.txt");
    assert_int_equal(strncmp(output, "model: letters\n3 tokens in ", 27), 0);
}

/* Where Ctrl-C ended it, a report says so, and of several texts the others are not begun. */
static void interrupts_are_told(void **state) {
    (void)state;
    struct session s;
    session_open(&s, "exec sample -m letters -g -n 1G -i --samples 3 --stop zzz");
    session_prompt(&s);
    session_type(&s, "ab \n");
    session_wait(&s, "--- sample 1 ---\r\nddd d");
    session_type(&s, "\x03");
    session_wait(&s, "^C");
    while (!memmem(s.shown, s.n, "> ", 2)) assert_true(session_look(&s, 1000 * PATIENCE));
    assert_null(memmem(s.shown, s.n, "sample 2", 8));
    session_prompt(&s);
    session_type(&s, "\x04");
    assert_int_equal(session_close(&s), 0);
    session_open(&s, "exec sample -m letters -g -n 1G -i --json >answers.txt");
    session_prompt(&s);
    session_type(&s, "ab \n");
    session_wait(&s, "\r\n");
    usleep(300000);
    session_type(&s, "\x03");
    session_prompt(&s);
    session_type(&s, "\x04");
    assert_int_equal(session_close(&s), 0);
    run("tail -c 30 answers.txt");
    assert_non_null(strstr(output, ",\"stop\":\"interrupt\"}\n"));
}

/* Elsewhere Ctrl-C ends the program, as ever. */
static void interrupts_end_the_program(void **state) {
    (void)state;
    struct session s;
    int status;
    session_open(&s, "exec sample -m letters -g -n 1G -p 'ab '");
    session_wait(&s, "ab ddd d");
    session_type(&s, "\x03");
    while (session_look(&s, 100)) {}
    close(s.terminal);
    assert_int_equal(waitpid(s.child, &status, 0), s.child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(controls_are_shown_on_a_terminal),
        cmocka_unit_test(interrupts_stop_an_answer),
        cmocka_unit_test(interrupts_stop_what_is_shown_slowly),
        cmocka_unit_test(lines_are_edited),
        cmocka_unit_test(windows_may_change),
        cmocka_unit_test(lines_are_plain_without_standard_error),
        cmocka_unit_test(interrupts_are_told),
        cmocka_unit_test(interrupts_end_the_program),
    };
    return cmocka_run_group_tests(tests, models_make, workplace_remove);
}
