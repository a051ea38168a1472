/* See runlog.h. What the entries mean is train.c's business. */
#include "runlog.h"

#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "../base/util.h"

/* ---- Writing ------------------------------------------------------------------------------------ */

static bool log_open(struct runlog *log, const char *path, const char *mode, struct error *err) {
    *log = (struct runlog){fopen(path, mode), string_format("%s", path)};
    if (log->file) return true;
    error_set(err, EXIT_OUTPUT, "%s: cannot open: %s", path, strerror(errno));
    runlog_close(log);
    return false;
}

void runlog_close(struct runlog *log) {
    if (log->file) fclose(log->file);
    free(log->path);
    *log = (struct runlog){0};
}

bool runlog_create(struct runlog *log, const char *path, struct error *err) { return log_open(log, path, "w", err); }

/* What resuming finds in a log. */
struct survey {
    int64_t last;     /* step of the last entry that stays; -1: none */
    long end;         /* where the part that stays ends */
    bool whole;       /* it ends with a newline */
    size_t damaged;   /* the first line that stays and is no entry, counted from 1; 0: none */
};

static struct survey log_survey(FILE *log, bool (*past)(const void *context, const json_t *entry),
                                const void *context) {
    struct survey s = {.last = -1, .whole = true};
    char *text = NULL;
    size_t capacity = 0, line = 0;
    for (ssize_t size; (size = getline(&text, &capacity, log)) > 0;) {
        json_t *entry = json_loadb(text, (size_t)size, 0, NULL);
        const json_t *step = json_object_get(entry, "step");
        const bool whole = text[size - 1] == '\n', over = step && past(context, entry);
        line++;
        if (json_is_integer(step) && !over) s.last = json_integer_value(step);
        else if (!over && whole && !s.damaged) s.damaged = line;
        const bool stays = !over && (whole || json_is_integer(step));
        json_decref(entry);
        if (!stays) break;
        s.end = ftell(log);
        s.whole = whole;
    }
    free(text);
    return s;
}

static void survey_tell(const struct survey *s, const char *path, int64_t step) {
    if (s->damaged) note_print("%s: line %zu is no entry; it stays as it is", path, s->damaged);
    if (s->last < step)
        note_print("%s: ends at step %" PRId64 ", its checkpoint is of step %" PRId64 "; the curves will have a gap",
                   path, s->last < 0 ? 0 : s->last, step);
}

/* Cuts the log behind the part that stays, and ends its last line. */
static bool log_cut(FILE *log, const struct survey *s) {
    return fflush(log) == 0 && ftruncate(fileno(log), s->end) == 0 && fseek(log, 0, SEEK_END) == 0 &&
           (s->whole || (fputc('\n', log) != EOF && fflush(log) == 0));
}

bool runlog_resume(struct runlog *log, const char *path, int64_t step,
                   bool (*past)(const void *context, const json_t *entry), const void *context, struct error *err) {
    struct stat st;
    if (!log_open(log, path, "a+", err)) return false;
    if (fstat(fileno(log->file), &st) != 0 || !S_ISREG(st.st_mode)) {
        runlog_close(log);
        return error_set(err, EXIT_OUTPUT, "%s: cannot open: not a regular file", path);
    }
    rewind(log->file);
    const struct survey s = log_survey(log->file, past, context);
    bool ok = true;
    if (ferror(log->file))
        ok = error_set(err, EXIT_INPUT, "%s: cannot read: %s; nothing was changed", path, strerror(errno));
    else if (!log_cut(log->file, &s))
        ok = error_set(err, EXIT_OUTPUT, "%s: cannot truncate: %s", path, strerror(errno));
    if (ok) survey_tell(&s, path, step);
    else runlog_close(log);
    return ok;
}

static bool write_failed(const struct runlog *log, const char *why, struct error *err) {
    return error_set(err, EXIT_OUTPUT, "%s: cannot write: %s; free some space and --resume", log->path, why);
}

void entry_set(json_t *entry, const char *prefix, const char *name, json_t *value) {
    char *key = string_format("%s%s", prefix, name);
    json_object_set_new(entry, key, value);
    free(key);
}

bool runlog_write(struct runlog *log, json_t *entry, struct error *err) {
    errno = 0;
    const bool written = entry && json_dumpf(entry, log->file, JSON_COMPACT | JSON_REAL_PRECISION(9)) == 0 &&
                         fputc('\n', log->file) != EOF && fflush(log->file) == 0;
    json_decref(entry);
    return written || write_failed(log, errno ? strerror(errno) : "an entry that JSON cannot hold", err);
}

bool runlog_sync(struct runlog *log, struct error *err) {
    return fsync(fileno(log->file)) == 0 || write_failed(log, strerror(errno), err);
}

json_t *json_number(double value) {
    return isnan(value) ? json_null() : json_real(fmax(-DBL_MAX, fmin(value, DBL_MAX)));
}

/* ---- Reading ------------------------------------------------------------------------------------ */

struct runlog_survey runlog_read(const char *path, void (*visit)(void *context, const json_t *entry), void *context) {
    struct runlog_survey s = {0};
    char *text = NULL;
    size_t capacity = 0, line = 0;
    errno = 0;
    FILE *log = fopen(path, "r");
    for (ssize_t size; log && (size = getline(&text, &capacity, log)) > 0;) {
        json_t *entry = json_loadb(text, (size_t)size, 0, NULL);
        line++;
        if (json_is_object(entry)) {
            s.entries++;
            visit(context, entry);
        } else if (text[size - 1] != '\n')
            s.unfinished = true;
        else if (s.damaged++ == 0)
            s.first = line;
        json_decref(entry);
    }
    if (!log || ferror(log)) s.failed = errno;
    free(text);
    if (log) fclose(log);
    return s;
}

void curve_add(struct curve *c, double x, double y) {
    c->x = array_grow(c->x, &c->x_capacity, c->n + 1, sizeof *c->x);
    c->y = array_grow(c->y, &c->y_capacity, c->n + 1, sizeof *c->y);
    c->x[c->n] = x;
    c->y[c->n++] = y;
}

void curve_free(struct curve *c) {
    free(c->x);
    free(c->y);
    *c = (struct curve){0};
}

struct reading {
    struct curve curve;
    const char *x_key, *y_key;
};

static void reading_add(void *context, const json_t *entry) {
    struct reading *r = context;
    const json_t *x = json_object_get(entry, r->x_key), *y = json_object_get(entry, r->y_key);
    if (json_is_number(x) && json_is_number(y)) curve_add(&r->curve, json_number_value(x), json_number_value(y));
}

struct curve runlog_curve(const char *path, const char *x_key, const char *y_key) {
    struct reading r = {.x_key = x_key, .y_key = y_key};
    runlog_read(path, reading_add, &r);
    return r.curve;
}
