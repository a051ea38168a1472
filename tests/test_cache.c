/* The cache when something goes wrong: writes that fail, entries that are damaged, processes that are killed or at the
 * same work. A preparation leaves a whole entry or nothing. Linked with --wrap, so that the calls by which files are
 * written can fail one at a time. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <omp.h>
#include <signal.h>
#include <stdio_ext.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "../data/cache.h"
#include "child.h"
#include "data_files.h"

/* ---- Calls that fail ---- */

static struct {
    size_t at, seen; /* which call fails; calls so far */
} fault;
static bool only_files_sync; /* fsync of a directory fails, as on some file systems */
static ino_t synced;         /* what was synced last, after the last rename */
static int taken_cause;      /* what rename says where another directory is, on some file systems; 0: as it is */
static void (*hook)(void *); /* what happens, once, when the first shard is created */
static void *hook_context;

/* A cache that is to be locked while it changes: how often it changed, how often it was not. */
static struct {
    const char *cache;
    size_t changes, unlocked;
} watch;

static void lock_expect(void) {
    if (!watch.cache) return;
    const int fd = open(watch.cache, O_RDONLY | O_DIRECTORY);
    watch.changes++;
    watch.unlocked += flock(fd, LOCK_EX | LOCK_NB) == 0;
    close(fd);
}

static bool call_fails(void) { return ++fault.seen == fault.at; }

int __real_chmod(const char *path, mode_t mode);
FILE *__real_fopen(const char *path, const char *mode);
size_t __real_fwrite(const void *data, size_t size, size_t n, FILE *file);
int __real_fseek(FILE *file, long offset, int whence);
void __real_rewind(FILE *file);
int __real_fflush(FILE *file);
int __real_fsync(int fd);
char *__real_mkdtemp(char *path);
int __real_rename(const char *from, const char *to);
struct shard_writer *__real_shard_create(const char *path, int vocab, uint64_t hash, struct error *err);

/* The disk is full for the length of one call: what the stream holds is lost. */
static void disk_fill(FILE *file) {
    const int fd = fileno(file), kept = dup(fd), full = open("/dev/full", O_WRONLY);
    assert_true(kept >= 0 && full >= 0 && dup2(full, fd) == fd);
    __real_fflush(file);
    __fpurge(file);
    assert_int_equal(dup2(kept, fd), fd);
    close(kept);
    close(full);
    errno = ENOSPC;
}

static bool is_output(FILE *file) {
    return file && file != stdout && file != stderr && fileno(file) >= 0 && __fwritable(file);
}

size_t __wrap_fwrite(const void *data, size_t size, size_t n, FILE *file) {
    const size_t written = __real_fwrite(data, size, n, file);
    if (!is_output(file) || !call_fails()) return written;
    disk_fill(file);
    return 0;
}

int __wrap_fflush(FILE *file) {
    if (!is_output(file) || !call_fails()) return __real_fflush(file);
    disk_fill(file);
    return EOF;
}

int __wrap_fseek(FILE *file, long offset, int whence) {
    if (!is_output(file) || !call_fails()) return __real_fseek(file, offset, whence);
    errno = EIO; /* nothing moved */
    return -1;
}

void __wrap_rewind(FILE *file) {
    if (is_output(file) && call_fails()) disk_fill(file);
    __real_rewind(file);
}

#define FAILS(value, cause) \
    if (call_fails()) return errno = (cause), (value)

FILE *__wrap_fopen(const char *path, const char *mode) {
    if (*mode == 'w') FAILS(NULL, ENOSPC);
    return __real_fopen(path, mode);
}

int __wrap_fsync(int fd) {
    struct stat info;
    FAILS(-1, EIO);
    synced = fstat(fd, &info) == 0 ? info.st_ino : 0;
    if (only_files_sync && S_ISDIR(info.st_mode)) return errno = EINVAL, -1;
    return __real_fsync(fd);
}

char *__wrap_mkdtemp(char *path) {
    FAILS(NULL, ENOSPC);
    lock_expect();
    return __real_mkdtemp(path);
}

int __wrap_chmod(const char *path, mode_t mode) {
    FAILS(-1, EIO);
    return __real_chmod(path, mode);
}

int __wrap_rename(const char *from, const char *to) {
    FAILS(-1, EIO);
    struct stat info;
    synced = 0;
    if (stat(from, &info) == 0 && S_ISDIR(info.st_mode)) lock_expect();
    const int status = __real_rename(from, to);
    if (status != 0 && errno == ENOTEMPTY && taken_cause) errno = taken_cause;
    return status;
}

struct shard_writer *__wrap_shard_create(const char *path, int vocab, uint64_t hash, struct error *err) {
    void (*const now)(void *) = hook;
    hook = NULL;
    if (now) now(hook_context);
    return __real_shard_create(path, vocab, hash, err);
}

/* ---- A text and its cache ---- */

/* Two files of which the second is held out, with a tokenizer, so that every kind of file is written and none trained;
 * of two blocks, so that more is written than a stream holds. */
struct place {
    char *cache, **paths;
    tokenizer *tokenizer;
    struct prepare_options options;
};

static struct place place_make(const char *dir, int salt) {
    struct error err;
    struct place p = {.cache = string_format("%s/cache", dir), .paths = array_alloc(2, sizeof *p.paths)};
    p.paths[0] = prose_file(dir, "a.txt", 6000, salt);
    p.paths[1] = prose_file(dir, "v.txt", 400, 7);
    char *first = prepare(dir, &p.paths[1], 1, NULL, &err), *model = string_format("%s/tokenizer.model", first);
    p.tokenizer = tokenizer_load(model, &err);
    assert_non_null(p.tokenizer);
    p.options = (struct prepare_options){.paths = p.paths, .n_paths = 2, .val_path = p.paths[1],
                                         .tokenizer = p.tokenizer, .cache = p.cache};
    char *command = string_format("rm -r %s", p.cache);
    assert_int_equal(system(command), 0);
    free(command);
    free(model);
    free(first);
    return p;
}

static void place_free(struct place *p) {
    tokenizer_free(p->tokenizer);
    free(p->paths[0]);
    free(p->paths[1]);
    free(p->paths);
    free(p->cache);
}

static ino_t inode_of(const char *path) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_ino;
}

static void assert_whole(const char *entry, int files) {
    struct error err;
    size_t size;
    if (!cache_check(entry, &err)) fail_msg("%s", err.text);
    assert_int_equal(entries_count(entry), files);
    char *path = string_format("%s/left-out.txt", entry), *text = file_read(path, &size);
    assert_non_null(memmem(text, size, "v.txt\n", 6));
    free(path);
    free(text);
    char *train = split_text(entry, "train"), *val = split_text(entry, "val");
    assert_int_equal(train[strlen(train) - 1], '|');
    assert_int_equal(val[strlen(val) - 1], '|');
    free(train);
    free(val);
}
enum { FILES = 4 /* the tokenizer, a shard of each split, left-out.txt */ };

/* ---- Writes that fail ---- */

/* Whatever fails: exit code 4, and nothing is left in the cache. Returns the entry, in the end, and how many calls it
 * takes. */
static char *every_call_fails(const struct place *p, size_t *calls) {
    char *dir = NULL;
    for (*calls = 1; !dir; ++*calls) {
        struct error err = {0, ""};
        fault.at = *calls;
        fault.seen = 0;
        dir = data_prepare(&p->options, &err);
        fault.at = 0;
        const bool failed = fault.seen >= *calls;
        if (failed != !dir) fail_msg("call %zu of %zu fails and nobody hears of it", *calls, fault.seen);
        if (!failed) break;
        assert_int_equal(err.code, EXIT_OUTPUT);
        if (!strstr(err.text, p->cache) || !strstr(err.text, ": cannot ")) fail_msg("call %zu: %s", *calls, err.text);
        if (entries_count(p->cache) > 0) fail_msg("call %zu leaves something: %s", *calls, err.text);
    }
    assert_true(synced == inode_of(p->cache)); /* or a power cut can take the entry back */
    assert_int_equal(entries_count(p->cache), 1);
    return dir;
}

static void every_call_that_fails_is_told(void **state) {
    struct place p = place_make(*state, 1);
    size_t calls;
    char *dir = every_call_fails(&p, &calls);
    assert_true(calls > 40); /* 4 files of open, write, flush, sync, rename, sync; shards have more */
    assert_whole(dir, FILES);
    free(dir);
    place_free(&p);
}

static void command_runs(void *command) { assert_int_equal(system(command), 0); }

/* Of parts, too. Their list comes last: writing it is what makes their directories permanent. */
static void every_call_that_fails_for_parts_is_told(void **state) {
    struct error err;
    struct place p = place_make(*state, 1);
    char *named[] = {string_format("en=%s", p.paths[1]), string_format("de=%s", p.paths[0])};
    size_t calls;
    p.options.paths = named;
    p.options.val_path = NULL;
    char *dir = every_call_fails(&p, &calls);
    assert_true(calls > 60);
    if (!cache_check(dir, &err)) fail_msg("%s", err.text);
    assert_int_equal(entries_count(dir), 4);
    char *command = string_format("rm -r %s", dir), *listed = string_format("! ls %s/*/parts.txt 2>/dev/null", p.cache);
    assert_int_equal(system(command), 0);
    hook = command_runs;
    hook_context = listed;
    free(data_prepare(&p.options, &err));
    assert_null(hook);
    free(listed);
    free(command);
    free(dir);
    free(named[0]);
    free(named[1]);
    place_free(&p);
}

/* Who may use the cache is what the user's umask says; a file system that cannot sync directories will do. */
static void entries_are_for_whom_the_user_says(void **state) {
    static const mode_t masks[] = {022, 077, 002, 0};
    struct place p = place_make(*state, 1);
    struct error err;
    struct stat info;
    only_files_sync = true;
    for (int i = 0; i < 4; i++) {
        const mode_t mask = umask(masks[i]);
        char *dir = data_prepare(&p.options, &err);
        assert_int_equal(umask(mask), masks[i]);
        if (!dir) fail_msg("%s", err.text);
        assert_whole(dir, FILES);
        assert_int_equal(stat(dir, &info), 0);
        assert_int_equal(info.st_mode & 0777, 0777 & ~masks[i]);
        char *command = string_format("rm -r %s", p.cache);
        assert_int_equal(system(command), 0);
        free(command);
        free(dir);
    }
    only_files_sync = false;
    place_free(&p);
}

/* The exit code of a preparation by a process of its own that may write no file beyond a size. */
static int limited_prepare(const struct place *p, size_t bytes) {
    int status;
    const pid_t child = child_of_test();
    if (child == 0) {
        struct error err = {0, ""};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){bytes, bytes});
        const bool made = data_prepare(&p->options, &err);
        _exit(made ? EXIT_DONE : strstr(err.text, ": cannot write: File too large; free") ? err.code : EXIT_FAILURE);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void files_of_any_size_may_be_too_large(void **state) {
    struct place p = place_make(*state, 1);
    struct error err;
    char *dir = data_prepare(&p.options, &err), *path = string_format("%s/train-00000.shard", dir);
    size_t size, bytes = 0;
    free(file_read(path, &size));
    assert_true(size > 4 * 4096);
    for (; bytes < size; bytes += bytes < 70 || bytes > size - 30 ? 7 : size / 40) {
        char *command = string_format("rm -rf %s", p.cache);
        assert_int_equal(system(command), 0);
        free(command);
        assert_int_equal(limited_prepare(&p, bytes), EXIT_OUTPUT);
        if (entries_count(p.cache) > 0) fail_msg("%zu bytes leave something", bytes);
    }
    assert_int_equal(limited_prepare(&p, size), EXIT_DONE);
    assert_whole(dir, FILES);
    free(dir);
    free(path);
    place_free(&p);
}

/* ---- Entries that are damaged ---- */

static const char *const entry_files[] = {"tokenizer.model", "train-00000.shard", "val-00000.shard"};
enum damage { DELETED, EMPTIED, CUT, FLIPPED, LONGER, ONE_MISSING, DAMAGES };

static void file_damage(const char *path, enum damage how) {
    size_t size;
    char *data = file_read(path, &size);
    if (how == FLIPPED) data[size * 2 / 3] ^= 4;
    if (how == DELETED || how == ONE_MISSING) unlink(path);
    else file_write(path, data, how == EMPTIED ? 0 : how == CUT ? size - 1 : size);
    if (how == LONGER || how == ONE_MISSING) { /* a byte more; or number 1 without number 0 */
        char *other =
            how == LONGER ? string_format("%s", path) : string_format("%.*s1.shard", (int)strlen(path) - 7, path);
        data = realloc(data, size + 1);
        data[size] = 'x';
        file_write(other, data, how == LONGER ? size + 1 : size);
        free(other);
    }
    free(data);
}

/* Its inputs are there: it is made again, the same. */
static void damaged_entries_are_made_again(void **state) {
    struct place p = place_make(*state, 1);
    struct error err;
    char *dir = data_prepare(&p.options, &err);
    for (int file = 0; file < 3; file++) {
        char *path = string_format("%s/%s", dir, entry_files[file]);
        for (enum damage how = 0; how < DAMAGES; how++) {
            size_t before, after;
            if (how == ONE_MISSING && file == 0) continue;
            char *was = file_read(path, &before);
            file_damage(path, how);
            assert_false(cache_check(dir, &err));
            assert_int_equal(err.code, EXIT_INPUT);
            char *again = data_prepare(&p.options, &err);
            if (!again) fail_msg("%s, damage %d: %s", path, how, err.text);
            assert_string_equal(again, dir);
            assert_whole(dir, FILES);
            char *is = file_read(path, &after);
            assert_int_equal(after, before);
            assert_memory_equal(is, was, after);
            free(is);
            free(was);
            free(again);
        }
        free(path);
    }
    assert_int_equal(entries_count(p.cache), 1);
    free(dir);
    place_free(&p);
}

static void assert_refused(const struct place *p, int code, const char *dir, const char *says) {
    struct error err = {0, ""};
    assert_null(data_prepare(&p->options, &err));
    assert_int_equal(err.code, code);
    if (!strstr(err.text, dir) || !strstr(err.text, says) || !strstr(err.text, "; delete ")) fail_msg("%s", err.text);
    assert_int_equal(entries_count(p->cache), 1);
}

/* What somebody else has put there is not removed, whether an entry is damaged or not. */
static void nothing_of_others_is_removed(void **state) {
    struct place p = place_make(*state, 1);
    struct error err;
    char *dir = data_prepare(&p.options, &err), *path = string_format("%s/notes", dir);
    char *shard = string_format("%s/train-00000.shard", dir);
    size_t size;
    file_write(path, "mine", 4);
    free(data_prepare(&p.options, &err));
    assert_whole(dir, FILES + 1);
    char *data = file_read(shard, &size);
    file_damage(shard, CUT);
    assert_refused(&p, EXIT_INPUT, dir, "notes is not of its making");
    assert_int_equal(entries_count(dir), FILES + 1);
    unlink(path);
    mkdir(path, 0777);
    assert_refused(&p, EXIT_INPUT, dir, "notes is not of its making");
    rmdir(path);
    static const char *const names[] = {"tokenizer.txt", "left-out",  "train.shard",
                                        "train-00001",   "val-1.txt", ".shard"};
    for (int i = 0; i < 6; i++) { /* what only looks like it */
        char *other = string_format("%s/%s", dir, names[i]);
        file_write(other, "mine", 4);
        assert_refused(&p, EXIT_INPUT, dir, "is not of its making");
        unlink(other);
        free(other);
    }
    static const char *const folders[] = {"tokenizer.model.d", "left-out.txt.d", "train-00001.shard",
                                          "val-00001.shard"};
    for (int i = 0; i < 4; i++) {
        char *folder = string_format("%s/%s", dir, folders[i]), *other = string_format("%s/mine", folder);
        mkdir(folder, 0777);
        file_write(other, "mine", 4);
        assert_refused(&p, EXIT_INPUT, dir, "is not of its making");
        unlink(other);
        rmdir(folder);
        free(other);
        free(folder);
    }
    file_write(shard, data, size);
    free(data);
    char *command = string_format("rm -r %s", dir);
    assert_int_equal(system(command), 0);
    free(command);
    file_write(dir, "a file", 6);
    assert_refused(&p, EXIT_INPUT, dir, "is not of its making");
    free(shard);
    free(path);
    free(dir);
    place_free(&p);
}

/* What is removed are files and links, never what a link leads to. */
static void links_are_not_followed(void **state) {
    struct place p = place_make(*state, 1);
    struct error err;
    char *dir = data_prepare(&p.options, &err), *folder = string_format("%s/folder", (char *)*state);
    char *mine = string_format("%s/mine", folder), *link = string_format("%s/train-00001.shard", dir);
    char *shard = string_format("%s/train-00000.shard", dir);
    char *leftover = string_format("%s/a-0123456789abcdef.abcdef", p.cache);
    mkdir(folder, 0777);
    file_write(mine, "mine", 4);
    assert_int_equal(symlink(folder, link), 0);
    assert_int_equal(symlink(folder, leftover), 0);
    file_damage(shard, CUT);
    free(data_prepare(&p.options, &err)); /* makes the entry again, and looks for what is left behind */
    assert_whole(dir, FILES);
    assert_int_equal(entries_count(folder), 1);
    assert_int_equal(entries_count(p.cache), 1 + 1); /* no process of this program has made the other link */
    free(leftover);
    free(shard);
    free(link);
    free(mine);
    free(folder);
    free(dir);
    place_free(&p);
}

/* Whole, but another's: no damage to be mended. With as many pieces, with more; at last a shard of this tokenizer with
 * another number of pieces. */
static void exchanged_parts_are_refused(void **state) {
    struct place p = place_make(*state, 1);
    struct error err;
    char *dir = data_prepare(&p.options, &err);
    for (int i = 0; i < 2; i++) {
        struct prepare_options other = {
            .paths = p.paths, .n_paths = 1, .vocab = i ? 333 : PREPARE_VOCAB, .cache = *state};
        char *others = data_prepare(&other, &err);
        assert_non_null(others);
        for (int file = 0; file < 3; file++) {
            char *mine = string_format("%s/%s", dir, entry_files[file]);
            char *theirs = string_format("%s/%s", others, entry_files[file]);
            size_t size, other_size;
            char *was = file_read(mine, &size), *data = file_read(theirs, &other_size);
            file_write(mine, data, other_size);
            assert_refused(&p, EXIT_MISMATCH, dir, "made with another tokenizer");
            file_write(mine, was, size);
            free(data);
            free(was);
            free(mine);
            free(theirs);
        }
        free(others);
    }
    assert_whole(dir, FILES);
    char *shard = string_format("%s/val-00000.shard", dir);
    shard_make(shard, PREPARE_VOCAB + 1, (int32_t[]){3, 1, 2}, 3, tokenizer_hash(p.tokenizer));
    assert_refused(&p, EXIT_MISMATCH, dir, "made with another tokenizer");
    free(shard);
    free(dir);
    place_free(&p);
}

/* ---- Processes that are gone, or at work ---- */

/* What happens to a process on its way. */
static void killed(void *context) {
    signal(*(int *)context, SIG_DFL); /* tests may run in the background, too */
    raise(*(int *)context);
}
static void out_of_memory(void *context) { _exit(*(int *)context); }

/* Tells that it is there, and waits to be told to go on. */
struct meeting {
    int there[2], go[2];
};
static void waits(void *context) {
    struct meeting *m = context;
    char byte = 0;
    if (write(m->there[1], &byte, 1) != 1 || read(m->go[0], &byte, 1) != 1) _exit(EXIT_FAILURE);
}

static pid_t prepare_elsewhere(const struct place *p, void (*what)(void *), void *context) {
    const pid_t child = child_of_test();
    if (child == 0) {
        struct error err;
        alarm(60);
        hook = what;
        hook_context = context;
        _exit(data_prepare(&p->options, &err) ? EXIT_DONE : err.code);
    }
    return child;
}

/* By the next preparation of this text or of another, whether there is anything to do for it or not. */
static void what_is_left_behind_is_removed(void **state) {
    struct place p = place_make(*state, 1);
    struct error err;
    char *other = prose_file(*state, "other.txt", 200, 3);
    struct prepare_options others = {.paths = &other, .n_paths = 1, .tokenizer = p.tokenizer, .cache = p.cache};
    free(data_prepare(&others, &err));
    for (int i = 0; i < 4; i++) {
        static const int signals[] = {SIGKILL, SIGTERM, SIGINT, EXIT_MEMORY};
        int number = signals[i], status;
        const pid_t child = prepare_elsewhere(&p, i == 3 ? out_of_memory : killed, &number);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(i == 3 ? WEXITSTATUS(status) : WTERMSIG(status), number);
        assert_int_equal(entries_count(p.cache), 2);
        char *dir = data_prepare(i % 2 ? &p.options : &others, &err);
        assert_non_null(dir);
        if (i % 2) {
            assert_whole(dir, FILES);
            char *command = string_format("rm -r %s", dir);
            assert_int_equal(system(command), 0);
            free(command);
        }
        assert_int_equal(entries_count(p.cache), 1);
        free(dir);
    }
    free(other);
    place_free(&p);
}

/* Neither what another process is at, even one that stands still, nor what only looks like it. */
static void what_is_in_use_is_kept(void **state) {
    struct place p = place_make(*state, 1);
    struct error err;
    struct meeting m;
    int status;
    char byte = 0, *other = prose_file(*state, "other.txt", 200, 3);
    struct prepare_options others = {.paths = &other, .n_paths = 1, .tokenizer = p.tokenizer, .cache = p.cache};
    assert_int_equal(directory_make(p.cache, &err), true);
    static const char *const names[] = {"mine", "a-0123456789abcdef", "a-0123456789abcdeg.abcdef",
                                        "a-0123456789abcdef.abcde", "a-0123456789abcdef.abcdefg"};
    for (int i = 0; i < 5; i++) {
        char *path = string_format("%s/%s", p.cache, names[i]);
        assert_int_equal(mkdir(path, 0777), 0);
        free(path);
    }
    char *file = string_format("%s/a-0123456789abcdef.abcdef", p.cache);
    file_write(file, "", 0);
    assert_int_equal(pipe(m.there), 0);
    assert_int_equal(pipe(m.go), 0);
    const pid_t child = prepare_elsewhere(&p, waits, &m);
    assert_int_equal(read(m.there[0], &byte, 1), 1);
    assert_int_equal(entries_count(p.cache), 5 + 1 + 1);
    kill(child, SIGSTOP);
    for (int i = 0; i < 2; i++) free(data_prepare(&others, &err)); /* makes its entry, then finds it */
    assert_int_equal(entries_count(p.cache), 5 + 1 + 1 + 1);
    kill(child, SIGCONT);
    assert_int_equal(write(m.go[1], &byte, 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_DONE);
    char *dir = data_prepare(&p.options, &err);
    assert_whole(dir, FILES);
    assert_int_equal(entries_count(p.cache), 5 + 1 + 1 + 1);
    free(dir);
    free(file);
    free(other);
    place_free(&p);
}

/* Its directory is made, and gets its name, while nobody else looks or changes anything. */
static void the_cache_is_locked_while_it_changes(void **state) {
    struct place p = place_make(*state, 1);
    struct error err;
    char *dir = NULL;
    for (int i = 0; i < 2; i++) {
        char *shard = i ? string_format("%s/train-00000.shard", dir) : NULL;
        if (i) file_damage(shard, CUT);
        free(shard);
        free(dir);
        watch.cache = p.cache;
        watch.changes = watch.unlocked = 0;
        dir = data_prepare(&p.options, &err);
        assert_non_null(dir);
        assert_int_equal(watch.changes, i ? 3 : 2); /* the second rename is the one that takes the place */
        assert_int_equal(watch.unlocked, 0);
    }
    watch.cache = NULL;
    const int fd = open(p.cache, O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0); /* and no longer */
    close(fd);
    free(dir);
    place_free(&p);
}

/* The same preparation, from start to end, in the midst of another one. */
struct rival {
    const struct place *place;
    ino_t made; /* the entry that it put in place */
};

static void is_quicker(void *context) {
    struct rival *rival = context;
    struct error err;
    char *dir = data_prepare(&rival->place->options, &err);
    if (!dir) fail_msg("%s", err.text);
    rival->made = inode_of(dir);
    free(dir);
}

/* Its entry stays where it is, since it may be in use already, even where both found a damaged one there. */
static void a_lost_race_is_no_failure(void **state) {
    struct place p = place_make(*state, 1);
    struct error err;
    char *dir = NULL;
    for (int i = 0; i < 3; i++) {
        struct rival rival = {&p, 0};
        char *shard = i ? string_format("%s/train-00000.shard", dir) : NULL;
        if (i) file_damage(shard, i == 1 ? FLIPPED : DELETED);
        free(shard);
        free(dir);
        hook = is_quicker;
        hook_context = &rival;
        taken_cause = i == 0 ? EEXIST : 0;
        dir = data_prepare(&p.options, &err);
        if (!dir) fail_msg("%s", err.text);
        assert_null(hook);
        assert_true(inode_of(dir) == rival.made);
        assert_whole(dir, FILES);
        assert_int_equal(entries_count(p.cache), 1);
    }
    free(dir);
    place_free(&p);
}

/* What has meanwhile been put in its place and is not whole: a file, somebody's directory, parts of two entries. */
static void what_is_in_its_place_is_kept(void **state) {
    struct place p = place_make(*state, 1);
    struct error err;
    struct prepare_options other = {.paths = p.paths, .n_paths = 1, .vocab = PREPARE_VOCAB, .cache = *state};
    char *dir = data_prepare(&p.options, &err), *others = data_prepare(&other, &err);
    char *const there[] = {string_format("echo mine >%s", dir),
                           string_format("mkdir %s && echo mine >%s/notes", dir, dir),
                           string_format("mkdir %s && cp %s/* %s && cp %s.was/*.shard %s", dir, others, dir, dir, dir)};
    static const char *const says[] = {"is not of its making", "notes is not of its making",
                                       "made with another tokenizer"};
    char *away = string_format("mv %s %s.was", dir, dir), *checked = string_format("find %s -type f -exec cksum {} + | "
                               "sort >%s/before", dir, (char *)*state);
    assert_int_equal(system(away), 0);
    for (int i = 0; i < 3; i++) {
        char *command = string_format("%s && %s", there[i], checked);
        hook = command_runs;
        hook_context = command;
        assert_null(data_prepare(&p.options, &err));
        assert_int_equal(err.code, i == 2 ? EXIT_MISMATCH : EXIT_INPUT);
        if (!strstr(err.text, says[i])) fail_msg("%s", err.text);
        assert_int_equal(entries_count(p.cache), 2);
        free(command);
        command = string_format("find %s -type f -exec cksum {} + | sort | cmp - %s/before && rm -r %s", dir,
                                (char *)*state, dir);
        assert_int_equal(system(command), 0);
        free(command);
        free(there[i]);
    }
    free(checked);
    free(away);
    free(others);
    free(dir);
    place_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_call_that_fails_is_told),
        TEST(every_call_that_fails_for_parts_is_told),
        TEST(entries_are_for_whom_the_user_says),
        TEST(files_of_any_size_may_be_too_large),
        TEST(damaged_entries_are_made_again),
        TEST(nothing_of_others_is_removed),
        TEST(links_are_not_followed),
        TEST(exchanged_parts_are_refused),
        TEST(what_is_left_behind_is_removed),
        TEST(what_is_in_use_is_kept),
        TEST(the_cache_is_locked_while_it_changes),
        TEST(a_lost_race_is_no_failure),
        TEST(what_is_in_its_place_is_kept),
    };
    omp_set_num_threads(1); /* a process forked off has none of the others */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
