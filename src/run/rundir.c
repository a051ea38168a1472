/* See rundir.h. The lock is the kernel's (flock): a process that dies, however it dies, gives it back. */
#include "rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "../base/text.h"

const char *rundir_path(const struct rundir *r, const char *name, char path[PATH_SIZE]) {
    snprintf(path, PATH_SIZE, "%s/%s", r->path, name);
    return path;
}

/* The first of the names that a run writes which is there, or NULL. */
static const char *run_file_in(const struct rundir *r) {
    static const char *const names[] = {"last.safetensors", "best.safetensors", "log.jsonl", "config", "plots"};
    char path[PATH_SIZE];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (file_exists(rundir_path(r, names[i], path))) return names[i];
    return NULL;
}

/* A lock of ours is an empty file; whatever else has that name is somebody's. */
static bool lock_is_ours(const struct rundir *r) {
    char path[PATH_SIZE];
    struct stat st;
    return stat(rundir_path(r, "lock", path), &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0;
}

/* The file that was locked may have been removed meanwhile by the process that held it: then there is another now. */
static bool lock_stands(int lock, const char *path) {
    struct stat held, named;
    return fstat(lock, &held) == 0 && stat(path, &named) == 0 && held.st_ino == named.st_ino &&
           held.st_dev == named.st_dev;
}

static bool lock_take(struct rundir *r, struct error *err) {
    char path[PATH_SIZE];
    for (rundir_path(r, "lock", path);; close(r->lock)) {
        r->lock = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0666);
        if (r->lock < 0) return error_set(err, EXIT_OUTPUT, "%s: cannot create: %s", path, strerror(errno));
        if (flock(r->lock, LOCK_EX | LOCK_NB) != 0) break;
        if (lock_stands(r->lock, path)) return true;
    }
    const int cause = errno;
    close(r->lock);
    if (cause == EWOULDBLOCK)
        return error_set(err, EXIT_BUSY, "%s: another process trains in this run; wait for it or choose another --out",
                         r->path);
    return error_set(err, EXIT_OUTPUT, "%s: cannot lock: %s; choose a place on another file system", path,
                     strerror(cause));
}

static bool claim_fails(struct rundir *r) {
    free(r->path);
    r->path = NULL;
    return false;
}

bool rundir_claim(struct rundir *r, const char *path, struct error *err) {
    *r = (struct rundir){.path = string_format("%s", path), .made = !file_exists(path)};
    if (!directory_make(path, err)) return claim_fails(r);
    const char *found = run_file_in(r);
    if (found && !lock_is_ours(r)) {
        error_set(err, EXIT_USAGE, "%s: holds files of another kind (%s); choose another --out", path, found);
        return claim_fails(r);
    }
    if (!lock_take(r, err)) return claim_fails(r);
    char last[PATH_SIZE];
    if (!file_exists(rundir_path(r, "last.safetensors", last))) return true;
    error_set(err, EXIT_USAGE, "%s: there is a run already; --resume %s goes on with it, another --out starts anew",
              path, path);
    close(r->lock);
    return claim_fails(r);
}

/* Whether a directory of this name is free for a run that the user gave no name. */
static bool name_is_free(char *path) {
    const struct rundir r = {.path = path};
    return !file_exists(path) || (lock_is_ours(&r) && !run_file_in(&r));
}

bool rundir_claim_default(struct rundir *r, const char *corpus, struct error *err) {
    char *full = strcmp(corpus, "-") == 0 ? NULL : realpath(corpus, NULL); /* so that "." and "dir/" have names */
    const char *last = full && full[1] ? strrchr(full, '/') + 1 : "stdin", *dot = strchr(last + 1, '.');
    char *base = text_as_utf8(last, dot ? (size_t)(dot - last) : strlen(last)); /* as --resume wants it */
    bool claimed = false;
    err->code = EXIT_BUSY;
    for (int i = 1; !claimed && err->code == EXIT_BUSY; i++) {
        char *path = i == 1 ? string_format("runs/%s", base) : string_format("runs/%s-%d", base, i);
        claimed = name_is_free(path) && rundir_claim(r, path, err);
        free(path);
    }
    free(base);
    free(full);
    return claimed;
}

bool rundir_reclaim(struct rundir *r, const char *run, struct error *err) {
    static const char last[] = "/last.safetensors";
    const size_t length = strlen(run), tail = sizeof last - 1;
    const bool file = length > tail && strcmp(run + length - tail, last) == 0, here = strcmp(run, last + 1) == 0;
    *r = (struct rundir){.path = here ? string_format(".")
                                      : string_format("%.*s", (int)(file ? length - tail : length), run)};
    char path[PATH_SIZE];
    if (file_exists(rundir_path(r, "last.safetensors", path)))
        return lock_take(r, err) || claim_fails(r);
    error_set(err, EXIT_INPUT, "%s: no checkpoint; name the directory of a run with --resume, or start one with --out",
              path);
    return claim_fails(r);
}

void rundir_release(struct rundir *r) {
    if (!r->path) return;
    char path[PATH_SIZE];
    if (!run_file_in(r)) unlink(rundir_path(r, "lock", path));
    if (r->made) rmdir(r->path); /* only if it is empty */
    close(r->lock);
    free(r->path);
    *r = (struct rundir){0};
}
