/* Programs as their user runs them: commands through sh in a directory of their own, their exit codes and
 * what they print. To be included after cmocka.h. */
#ifndef COMMAND_H
#define COMMAND_H

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../src/base/util.h"

static char output[1 << 16], errors[1 << 16]; /* what the last command printed */

static inline void text_read(const char *path, char *text, size_t size) {
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("%s: missing", path);
    size_t n = fread(text, 1, size, file);
    fclose(file);
    assert_true(n < size);
    text[n] = 0;
}

static inline void text_save(const char *path, const char *text, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static inline size_t file_size(const char *path) {
    struct stat info;
    if (stat(path, &info) != 0) fail_msg("%s: missing", path);
    return (size_t)info.st_size;
}

/* Whether a shell says so of a program that died by itself, and was not stopped. */
static inline bool is_crash(int code) {
    static const int crashes[] = {SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV};
    bool is = false;
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++) is |= code == 128 + crashes[i];
    return is;
}

/* Runs a command, which may fail but not crash; `output` and `errors` receive what it prints. Returns its exit code. */
static inline int command_run(const char *command) {
    char *line = string_format("{ %s\n} >stdout.txt 2>stderr.txt", command);
    int status = system(line);
    free(line);
    text_read("stdout.txt", output, sizeof output);
    text_read("stderr.txt", errors, sizeof errors);
    assert_true(WIFEXITED(status));
    if (is_crash(WEXITSTATUS(status))) fail_msg("signal %d: %s\n%s", WEXITSTATUS(status) - 128, command, errors);
    return WEXITSTATUS(status);
}

/* A command that must succeed. */
__attribute__((format(printf, 1, 2))) static inline void run(const char *format, ...) {
    char command[2000];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    int code = command_run(command);
    if (code != 0) fail_msg("exit code %d of %s\n%s", code, command, errors);
}

/* Whether a line on standard error tells of progress and not of a failure. */
static inline bool line_is_progress(const char *line, size_t size) {
    static const char *const starts[] = {"training a ", "encoding ", "skipped, ", "step ", "train: note: ",
                                         "sample: note: ", "pictures: ", "captions: ", "texts alone: ", "languages: ",
                                         "codebook: ", "model: ", "data: ", "run: ", "time: ", "size: "};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (strncmp(line, starts[i], strlen(starts[i])) == 0) return true;
    return size > 0 && memmem(line, size, " tokens to train on, ", 21);
}

/* Standard error must be progress, then one line "PROGRAM: ..." that holds both texts. */
static inline void errors_check(const char *says, const char *remedy, const char *command) {
    char *line = errors;
    for (char *end; (end = strchr(line, '\n')) && end[1]; line = end + 1) {
        if (!line_is_progress(line, (size_t)(end - line)))
            fail_msg("more than one line: %s\n%s", command, errors);
    }
    bool named = false;
    static const char *const programs[] = {"train: ", "sample: ", "analyse: ", "pages: ", "questions: ", "emoji: ",
                                           "gallery: "};
    for (int i = 0; i < 7; i++) named |= strncmp(line, programs[i], strlen(programs[i])) == 0;
    if (!named || !strchr(line, '\n')) fail_msg("not a message: %s\n%s", command, errors);
    if (!strstr(line, says) || !strstr(line, remedy))
        fail_msg("'%s' or '%s' is missing: %s\n%s", says, remedy, command, errors);
}

static inline void refuse(int code, const char *says, const char *remedy, const char *command) {
    int got = command_run(command);
    if (got != code) fail_msg("exit code %d, want %d: %s\n%s", got, code, command, errors);
    errors_check(says, remedy, command);
}

static char workplace[] = "/tmp/test-command-XXXXXX";

/* Goes to a new directory, with the programs' folder first in PATH. */
static inline bool workplace_enter(void) {
    const char *build = getenv("BUILD");
    char *programs = realpath(build ? build : "build", NULL);
    if (!programs || !mkdtemp(workplace) || chdir(workplace) != 0) return false;
    char *path = string_format("%s:%s", programs, getenv("PATH"));
    setenv("PATH", path, 1);
    setenv("OMP_NUM_THREADS", "1", 1);       /* so small a model is fastest so; --threads is tested by name */
    setenv("OMP_WAIT_POLICY", "passive", 1); /* or 8 threads on 2 processors mostly wait for each other */
    free(path);
    free(programs);
    return true;
}

static inline int workplace_remove(void **state) {
    (void)state;
    char *command = string_format("rm -r %s", workplace);
    int status = chdir("/") == 0 ? system(command) : -1;
    free(command);
    return status;
}

#endif
