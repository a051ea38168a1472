/* Errors, memory, hashes and whole files. See util.h for what each promises.
 *
 * Two things here are not obvious. array_alloc hands out zeroed gigabytes without touching them, so that
 * the threads which use a page are the first to touch it. atomic_commit calls fsync on the file before the
 * rename and on the directory after it: without the first a power cut can leave the new name on an empty
 * file, without the second it can bring back the old file. */
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <omp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { CACHE_LINE = 64, HUGE_PAGE = 2 << 20, THREAD_NOTES = 4096 };

bool error_set(struct error *err, int code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    err->code = code;
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return false;
}

_Noreturn void error_exit(const struct error *err) {
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, err->text);
    exit(err->code);
}

void note_print(const char *format, ...) {
    va_list args;
    fprintf(stderr, "%s: note: ", program_invocation_short_name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

static _Noreturn void memory_exit(size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        fprintf(stderr, "%s: out of memory (%zu x %zu bytes)\n", program_invocation_short_name, count, size);
    else fprintf(stderr, "%s: out of memory (%zu bytes)\n", program_invocation_short_name, bytes);
    exit(EXIT_MEMORY);
}

/* Zeroes without touching: the kernel drops the whole pages (malloc may hand out used ones) and gives zeros
 * on the next access. Locked memory refuses, and is written instead. */
static void pages_zero(char *block, size_t bytes) {
    size_t tail = bytes % (size_t)sysconf(_SC_PAGESIZE), whole = bytes - tail;
    if (madvise(block, whole, MADV_DONTNEED) != 0) memset(block, 0, whole);
    memset(block + whole, 0, tail);
    madvise(block, whole, MADV_HUGEPAGE); /* a hint: not every kernel has them */
}

void *array_alloc(size_t count, size_t size) {
    size_t bytes;
    void *block;
    if (__builtin_mul_overflow(count, size, &bytes)) memory_exit(count, size);
    bool huge = bytes >= HUGE_PAGE;
    if (posix_memalign(&block, huge ? HUGE_PAGE : CACHE_LINE, bytes) != 0) memory_exit(count, size);
    if (huge) pages_zero(block, bytes);
    else memset(block, 0, bytes);
    return block;
}

void *array_grow(void *array, size_t *capacity, size_t need, size_t size) {
    if (need <= *capacity) return array;
    size_t grown = *capacity > need / 2 ? 2 * *capacity : need;
    size_t bytes;
    if (__builtin_mul_overflow(grown, size, &bytes)) memory_exit(grown, size);
    void *block = realloc(array, bytes);
    if (!block) memory_exit(grown, size);
    *capacity = grown;
    return block;
}

char *string_format(const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *text;
    if (vasprintf(&text, format, args) < 0) memory_exit(1, strlen(format));
    va_end(args);
    return text;
}

void string_append(char **text, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *added;
    if (vasprintf(&added, format, args) < 0) memory_exit(1, strlen(format));
    va_end(args);
    char *longer = string_format("%s%s", *text, added);
    free(*text);
    free(added);
    *text = longer;
}

uint64_t hash_bytes(uint64_t hash, const void *data, size_t size) {
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

double time_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Whoever binds threads to processors has this one bound already, and what it starts would be bound to that one alone;
 * with processors of their own, threads may wait as long as libgomp lets them. */
static void threads_wait_briefly(char **argv) {
    static const char *const others[] = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_PROC_BIND", "OMP_PLACES",
                                         "GOMP_CPU_AFFINITY"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (getenv(others[i])) return;
    char count[32];
    snprintf(count, sizeof count, "%d", 1000 * omp_get_max_threads());
    if (setenv("GOMP_SPINCOUNT", count, 1) == 0) execv("/proc/self/exe", argv); /* if it fails: go on as we are */
}

void program_start(char **argv) {
    signal(SIGXFSZ, SIG_IGN);
    threads_wait_briefly(argv);
}

/* Holds a thread until the mutex is free, so that those that were asked for exist at the same time. */
static void *thread_hold(void *mutex) {
    pthread_mutex_lock(mutex);
    pthread_mutex_unlock(mutex);
    return NULL;
}

/* Creates n threads and lets them end. Returns how many there could be at a time, and if fewer, the cause. */
static int threads_try(int n, int *cause) {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_t *threads = array_alloc((size_t)n, sizeof *threads);
    int created = 0;
    pthread_mutex_lock(&mutex);
    for (*cause = 0; created < n && *cause == 0;) {
        *cause = pthread_create(&threads[created], NULL, thread_hold, &mutex);
        if (*cause == 0) created++;
    }
    pthread_mutex_unlock(&mutex);
    for (int i = 0; i < created; i++) pthread_join(threads[i], NULL);
    free(threads);
    return created;
}

bool threads_start(int threads, struct error *err) {
    if (threads > 0) omp_set_num_threads(threads);
    const int limit = omp_get_thread_limit(), most = omp_get_max_threads(), want = most < limit ? most : limit;
    void *room = array_alloc(want, THREAD_NOTES); /* for what libgomp writes down about them */
    int cause;
    const int got = 1 + threads_try(want - 1, &cause); /* this one is the first */
    free(room);
    if (got < want)
        return error_set(err, EXIT_MEMORY, "threads: cannot create that many (got %d, want %d): %s; use fewer, as in "
                         "--threads %d", got, want, strerror(cause), (got + 1) / 2);
    int started = 0; /* here, while there is room, and kept; counted so that no compiler drops an empty loop */
#pragma omp parallel reduction(+ : started)
    started++;
    return started > 0;
}

bool output_check(struct error *err) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return true;
    return error_set(err, EXIT_OUTPUT, "standard output: cannot write: %s",
                     errno ? strerror(errno) : "a write failed");
}

bool file_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

bool directory_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static int names_compare(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

int names_list(const char *path, struct dirent ***names) { return scandir(path, names, NULL, names_compare); }

void names_free(struct dirent **names, int n) {
    for (int i = 0; i < n; i++) free(names[i]);
    if (n >= 0) free(names);
}

bool directory_make(const char *path, struct error *err) {
    char *prefix = string_format("%s/", path);
    bool ok = true;
    for (char *slash = strchr(prefix + 1, '/'); ok && slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        struct stat info;
        if (mkdir(prefix, 0777) != 0 && errno != EEXIST)
            ok = error_set(err, EXIT_OUTPUT, "%s: cannot create this directory: %s; choose another place", prefix,
                           strerror(errno));
        else if (stat(prefix, &info) != 0 || !S_ISDIR(info.st_mode)) {
            ok = error_set(err, EXIT_OUTPUT, "%s: is a file (want a directory); move it or name another",
                           prefix);
        }
        *slash = '/';
    }
    free(prefix);
    return ok;
}

char *file_contents(FILE *file, const char *name, size_t *size, struct error *err) {
    char *text = NULL;
    size_t capacity = 0, got = 1;
    for (*size = 0; file && got > 0; *size += got) {
        text = array_grow(text, &capacity, *size + BUFSIZ + 1, 1);
        got = fread(text + *size, 1, BUFSIZ, file);
    }
    const bool ok = file && !ferror(file);
    if (ok) text[*size] = 0;
    else error_set(err, EXIT_INPUT, "%s: cannot read: %s", name, strerror(errno));
    if (file) fclose(file);
    if (ok) return text;
    free(text);
    return NULL;
}

bool atomic_open(struct atomic_file *a, const char *path, struct error *err) {
    a->path = string_format("%s", path);
    a->temporary = string_format("%s.tmp", path);
    a->file = fopen(a->temporary, "wb");
    if (a->file) return true;
    error_set(err, EXIT_OUTPUT, "%s: cannot create this file: %s; choose another place", a->temporary, strerror(errno));
    free(a->path);
    free(a->temporary);
    return false;
}

/* Makes a rename permanent. Some file systems cannot sync a directory (EINVAL) and need not. */
static bool directory_sync(const char *path) {
    const char *slash = strrchr(path, '/');
    char *parent = slash ? string_format("%.*s", (int)(slash - path + 1), path) : string_format(".");
    int fd = open(parent, O_RDONLY | O_DIRECTORY);
    free(parent);
    if (fd < 0) return false;
    bool ok = fsync(fd) == 0 || errno == EINVAL;
    int cause = errno;
    close(fd);
    errno = cause;
    return ok;
}

bool atomic_commit(struct atomic_file *a, struct error *err) {
    errno = 0;
    bool ok = fflush(a->file) == 0 && !ferror(a->file) && fsync(fileno(a->file)) == 0 &&
              rename(a->temporary, a->path) == 0 && directory_sync(a->path);
    if (!ok) {
        /* stdio remembers that an earlier write failed, not why; one more byte shows it */
        if (errno == 0 && write(fileno(a->file), "", 1) == 1) errno = ENOSPC;
        error_set(err, EXIT_OUTPUT, "%s: cannot write: %s; free some space or choose another place", a->path,
                  strerror(errno));
    }
    atomic_abandon(a); /* after the rename nothing is left to remove */
    return ok;
}

void atomic_abandon(struct atomic_file *a) {
    fclose(a->file);
    unlink(a->temporary);
    free(a->path);
    free(a->temporary);
}
