/* What ./train leaves in a run's directory, read back, and a run that stands still at a step. To be included after
 * command.h. */
#ifndef RUNS_H
#define RUNS_H

#include <fcntl.h>
#include <math.h>
#include <signal.h>

#include "../src/run/checkpoint.h"
#include "command.h"

static inline struct checkpoint checkpoint_at(const char *run, const char *name) {
    struct checkpoint c;
    struct error err;
    char *path = string_format("%s/%s", run, name);
    if (!checkpoint_open(&c, path, &err)) fail_msg("%s", err.text);
    free(path);
    return c;
}

/* A string of a checkpoint's metadata. */
static inline const char *metadata(const struct checkpoint *c, const char *key) {
    struct error err;
    const char *text = checkpoint_string(c, key, &err);
    if (!text) fail_msg("%s", err.text);
    return text;
}

static inline const struct tensor *tensor_named(const struct checkpoint *c, const char *name) {
    const struct tensor *t = checkpoint_find(c, name);
    if (!t) fail_msg("%s holds no %s", c->path, name);
    return t;
}

/* Of the last checkpoint. */
static inline long step_of(const char *run) {
    struct checkpoint c = checkpoint_at(run, "last.safetensors");
    const long step = strtol(metadata(&c, "step"), NULL, 10);
    checkpoint_close(&c);
    return step;
}

/* The log as an array; every line is one object. */
static inline json_t *log_of(const char *run) {
    char *path = string_format("%s/log.jsonl", run), *line = NULL;
    size_t capacity = 0;
    FILE *file = fopen(path, "r");
    json_t *log = json_array();
    assert_non_null(file);
    while (getline(&line, &capacity, file) > 0) {
        json_t *entry = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        if (!json_is_object(entry)) fail_msg("%s: bad line: %s", path, line);
        json_array_append_new(log, entry);
    }
    fclose(file);
    free(line);
    free(path);
    return log;
}

static inline double number_of(const json_t *entry, const char *key) {
    const json_t *value = json_object_get(entry, key);
    if (!json_is_number(value)) fail_msg("the log has no number %s", key);
    return json_number_value(value);
}

/* NaN and infinity are near nothing; cmocka's own comparison rounds to float and takes infinity for anything. */
static inline void expect_near(double got, double want, double tolerance) {
    if (!(isfinite(got) && fabs(got - want) <= tolerance)) fail_msg("got %.10g, want %.10g", got, want);
}

/* Entry number i, counted from 0, of those that have `key`: "loss" those of steps, "val_loss" those of validations. */
static inline const json_t *entry_of(const json_t *log, const char *key, size_t i) {
    const json_t *entry;
    size_t at;
    json_array_foreach(log, at, entry)
        if (json_object_get(entry, key) && i-- == 0) return entry;
    fail_msg("the log has too few entries with %s", key);
    return NULL;
}

static inline size_t entries_of(const json_t *log, const char *key) {
    const json_t *entry;
    size_t at, n = 0;
    json_array_foreach(log, at, entry) n += json_object_get(entry, key) != NULL;
    return n;
}

/* Writes an open checkpoint with these strings, which are freed, for its metadata; closes it. */
static inline void checkpoint_rewrite(struct checkpoint *c, const char *dir, const char *name, json_t *strings) {
    struct error err;
    char *path = string_format("%s/%s", dir, name);
    if (!checkpoint_write(path, c->tensors, c->n, strings, &err)) fail_msg("%s", err.text);
    checkpoint_close(c);
    json_decref(strings);
    free(path);
}

/* One run's last checkpoint becomes another's, or its own, with another text for a key of its metadata, or (NULL)
 * without that key. */
static inline void last_rewrite(const char *from, const char *to, const char *key, const char *text) {
    struct checkpoint c = checkpoint_at(from, "last.safetensors");
    json_t *strings = json_deep_copy(c.metadata);
    if (text) json_object_set_new(strings, key, json_string(text));
    else assert_int_equal(json_object_del(strings, key), 0);
    checkpoint_rewrite(&c, to, "last.safetensors", strings);
}

/* Takes names (NULL-ended) out of the object that a string of a checkpoint's metadata holds. */
static inline void names_forget(json_t *strings, const char *key, const char *const *names) {
    json_t *object = json_loads(json_string_value(json_object_get(strings, key)), 0, NULL);
    for (; *names; names++) assert_int_equal(json_object_del(object, *names), 0);
    char *text = json_dumps(object, JSON_COMPACT);
    checkpoint_note(strings, key, text);
    json_decref(object);
    free(text);
}

/* Writes a checkpoint of one run into another's, or its own, as a version did that did not know these options: of the
 * model's, and of the others that it keeps. */
static inline void checkpoint_forget(const char *from, const char *to, const char *name, const char *const *models,
                                     const char *const *others) {
    struct checkpoint c = checkpoint_at(from, name);
    json_t *strings = json_deep_copy(c.metadata);
    names_forget(strings, "config", models);
    names_forget(strings, "options", others);
    checkpoint_rewrite(&c, to, name, strings);
}

static inline void line_forget(const char *run_dir, const char *option) {
    run("grep -q '^%s = ' %s/config && sed -i '/^%s = /d' %s/config", option, run_dir, option, run_dir);
}

/* A run as a version left it that did not know this option: without it in the config, and in what its last checkpoint
 * keeps. */
static inline void option_forget(const char *run_dir, const char *option) {
    const char *const none[] = {NULL}, *const one[] = {option, NULL};
    checkpoint_forget(run_dir, run_dir, "last.safetensors", none, one);
    line_forget(run_dir, option);
}

/* ---- Comparing runs ---- */

/* Every tensor and all metadata but the clock's (and the CRC of the header that holds it). */
static inline void checkpoints_compare(const char *run_a, const char *run_b, const char *name) {
    struct checkpoint a = checkpoint_at(run_a, name), b = checkpoint_at(run_b, name);
    assert_int_equal(a.n, b.n);
    for (size_t i = 0; i < a.n; i++) {
        const struct tensor *s = &a.tensors[i], *t = &b.tensors[i];
        assert_string_equal(s->name, t->name);
        assert_int_equal(s->dtype, t->dtype);
        assert_int_equal(s->dims, t->dims);
        assert_memory_equal(s->shape, t->shape, sizeof s->shape);
        if (memcmp(s->data, t->data, tensor_bytes(s)) != 0)
            fail_msg("%s and %s differ in %s of %s", run_a, run_b, s->name, name);
    }
    static const char *const clock[] = {"seconds", "crc32.header"};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(json_object_del(a.metadata, clock[i]), 0);
        assert_int_equal(json_object_del(b.metadata, clock[i]), 0);
    }
    char *s = json_dumps(a.metadata, JSON_SORT_KEYS), *t = json_dumps(b.metadata, JSON_SORT_KEYS);
    assert_string_equal(s, t);
    free(s);
    free(t);
    checkpoint_close(&a);
    checkpoint_close(&b);
}

static inline void logs_compare(const char *run_a, const char *run_b) {
    json_t *a = log_of(run_a), *b = log_of(run_b), *entry, *other;
    size_t i;
    assert_int_equal(json_array_size(a), json_array_size(b));
    json_array_foreach(a, i, entry) {
        other = json_array_get(b, i);
        bool step = json_object_get(entry, "loss"); /* validations have no clock */
        assert_int_equal(json_object_del(entry, "seconds"), step ? 0 : -1);
        assert_int_equal(json_object_del(entry, "tokens_per_second"), step ? 0 : -1);
        json_object_del(other, "seconds");
        json_object_del(other, "tokens_per_second");
        if (!json_equal(entry, other))
            fail_msg("%s and %s: line %zu of the log differs", run_a, run_b, i + 1);
    }
    json_decref(a);
    json_decref(b);
}

/* ---- A run that stands still ---- */

/* It writes its sample to a pipe that is full, and waits there until somebody reads. Standard error goes to a file. */
struct held {
    pid_t child;
    int pipe_end; /* to read from */
};

/* `command` must show a sample at its step `step`, no earlier one, and log to RUN/log.jsonl. */
static inline struct held run_hold(const char *command, const char *run, int step, const char *error_file) {
    static char filler[4096];
    struct held held;
    int ends[2];
    char *line = string_format("exec %s 2>%s", command, error_file), *log = string_format("%s/log.jsonl", run);
    char *reached = string_format("\"step\":%d,", step);
    assert_int_equal(pipe(ends), 0);
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    while (write(ends[1], filler, sizeof filler) > 0) {}
    fcntl(ends[1], F_SETFL, 0);
    held.child = fork();
    assert_true(held.child >= 0);
    if (held.child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        signal(SIGINT, SIG_DFL); /* tests may run in the background, too */
        execl("/bin/sh", "sh", "-c", line, NULL);
        _exit(127);
    }
    close(ends[1]);
    held.pipe_end = ends[0];
    const double limit = time_seconds() + 60;
    for (*output = 0; !strstr(output, reached); usleep(1000)) {
        if (time_seconds() > limit) fail_msg("%s: step %d is not reached", command, step);
        if (access(log, R_OK) == 0) text_read(log, output, sizeof output);
    }
    free(line);
    free(log);
    free(reached);
    return held;
}

/* Lets it write, and waits for its end; the status is that of waitpid. */
static inline int run_release(struct held *held) {
    static char text[4096];
    int status;
    while (read(held->pipe_end, text, sizeof text) > 0) {}
    close(held->pipe_end);
    assert_int_equal(waitpid(held->child, &status, 0), held->child);
    return status;
}

#endif
