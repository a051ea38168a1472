/* See lines.h. The only file that knows libedit: GNU readline, which does the same, is under the GPL, and this program
 * is under MIT's licence. */
#include "lines.h"

#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../base/util.h"

static volatile sig_atomic_t interrupted; /* a handler of signals has no other place to leave a word */

static void note_interrupt(int number) {
    (void)number;
    interrupted = 1;
}

/* SA_RESTART: a call that waits goes on; 0: it ends. */
static void interrupts_take(int flags) {
    sigaction(SIGINT, &(struct sigaction){.sa_handler = note_interrupt, .sa_flags = flags}, NULL);
}

bool lines_interrupted(void) { return interrupted; }

struct lines {
    const char *prompt;
    EditLine *editor; /* NULL: no terminal */
    History *history;
    char *line; /* without a terminal */
    size_t capacity;
};

static char *prompt_of(EditLine *editor) {
    struct lines *l;
    el_get(editor, EL_CLIENTDATA, &l);
    return (char *)l->prompt;
}

static void editor_open(struct lines *l) {
    HistEvent event;
    setlocale(LC_CTYPE, ""); /* what is a character on this terminal */
    l->editor = el_init("sample", stdin, stderr, stderr);
    l->history = history_init();
    if (!l->editor || !l->history) return;
    history(l->history, &event, H_SETSIZE, 1000);
    history(l->history, &event, H_SETUNIQUE, 1);
    el_set(l->editor, EL_CLIENTDATA, l);
    el_set(l->editor, EL_PROMPT, prompt_of);
    el_set(l->editor, EL_EDITOR, "emacs");
    el_set(l->editor, EL_HIST, history, l->history);
    el_source(l->editor, NULL);
}

struct lines *lines_open(const char *prompt) {
    struct lines *l = array_alloc(1, sizeof *l);
    l->prompt = prompt;
    if (isatty(STDIN_FILENO) && isatty(STDERR_FILENO)) editor_open(l);
    interrupts_take(SA_RESTART);
    return l;
}

/* Ctrl-C ends el_gets, too: that line is dropped, and another begins below. */
static const char *line_edited(struct lines *l, size_t *size) {
    HistEvent event;
    const char *line;
    int n = 0;
    while (line = el_gets(l->editor, &n), (!line || n <= 0) && interrupted) {
        interrupted = 0;
        fputs("^C\n", stderr);
    }
    if (!line || n <= 0) return NULL;
    *size = (size_t)n - (line[n - 1] == '\n');
    if (*size > 0) history(l->history, &event, H_ENTER, line);
    return line;
}

static const char *line_plain(struct lines *l, size_t *size) {
    const ssize_t n = getline(&l->line, &l->capacity, stdin);
    if (n <= 0) return NULL;
    *size = (size_t)n - (l->line[n - 1] == '\n');
    return l->line;
}

/* Ctrl-C ends a wait for a line, and no write of an answer, which a slow reader may hold up. */
const char *lines_next(struct lines *l, size_t *size) {
    interrupted = 0;
    interrupts_take(0);
    const char *line = l->editor ? line_edited(l, size) : line_plain(l, size);
    interrupts_take(SA_RESTART);
    return line;
}

void lines_close(struct lines *l) {
    if (l->editor) fputc('\n', stderr); /* behind the prompt at which Ctrl-D was pressed */
    if (l->history) history_end(l->history);
    if (l->editor) el_end(l->editor);
    free(l->line);
    free(l);
    signal(SIGINT, SIG_DFL);
}
