/* Errors, memory, hashes, whole files (src/util) and random numbers (src/rng).
 *
 * The generator is held to the outputs its authors' reference code gives. Statistical tests use fixed seeds,
 * so they either always pass or always fail; their bounds are five standard errors. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../src/base/rng.h"
#include "../src/base/util.h"
#include "child.h"

static char directory[] = "/tmp/test-util-XXXXXX";

static int directory_create(void **state) {
    (void)state;
    return mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

static int directory_remove(void **state) {
    (void)state;
    return chdir("/") == 0 ? rmdir(directory) : -1;
}

/* ---- Errors and memory ---- */

static void test_error_set(void **state) {
    (void)state;
    struct error err;
    assert_false(error_set(&err, EXIT_INPUT, "%s: byte %d", "x.txt", 7));
    assert_int_equal(err.code, EXIT_INPUT);
    assert_string_equal(err.text, "x.txt: byte 7");
    error_set(&err, EXIT_USAGE, "%2000s", "long"); /* cut, not overrun */
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

/* What a child that runs `act` leaves behind: its exit code, and in `text` its standard error. */
static int child_run(void (*act)(void), char *text, size_t size) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    const pid_t child = child_of_test();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        act();
        _exit(99);
    }
    close(ends[1]);
    ssize_t got, used = 0;
    while ((got = read(ends[0], text + used, size - 1 - (size_t)used)) > 0) used += got;
    text[used] = 0;
    close(ends[0]);
    int status;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void act_overflow(void) {
    array_alloc(SIZE_MAX / 2, 3);
}

static void act_grow_overflow(void) {
    size_t capacity = 0;
    array_grow(NULL, &capacity, SIZE_MAX / 2, 4);
}

static void act_error_exit(void) {
    struct error err;
    error_set(&err, EXIT_MISMATCH, "a.ckpt: wrong");
    error_exit(&err);
}

static void test_exits(void **state) {
    (void)state;
    char text[200];
    assert_int_equal(child_run(act_overflow, text, sizeof text), EXIT_MEMORY);
    assert_string_equal(text, "test_util: out of memory (9223372036854775807 x 3 bytes)\n");
    assert_int_equal(child_run(act_grow_overflow, text, sizeof text), EXIT_MEMORY);
    assert_int_equal(child_run(act_error_exit, text, sizeof text), EXIT_MISMATCH);
    assert_string_equal(text, "test_util: a.ckpt: wrong\n");
}

static void test_array_alloc(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 63, 65, 4097, (2 << 20) - 1, 2 << 20, (5 << 20) + 4099};
    free(array_alloc(16 << 20, 1)); /* from now on malloc keeps smaller blocks and hands them out again */
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (int round = 0; round < 3; round++) { /* after the first, dirty ones */
            unsigned char *block = array_alloc(sizes[i], 1);
            assert_int_equal((uintptr_t)block % (sizes[i] >= 2 << 20 ? 2 << 20 : 64), 0);
            size_t sum = 0;
            for (size_t j = 0; j < sizes[i]; j++) sum += block[j];
            assert_int_equal(sum, 0);
            volatile unsigned char *dirty = block; /* or the compiler drops writes that only free sees */
            for (size_t j = 0; j < sizes[i]; j++) dirty[j] = 0xa5;
            free(block);
        }
    }
}

static void test_array_grow(void **state) {
    (void)state;
    size_t capacity = 0;
    int *array = NULL;
    for (int i = 0; i < 1000; i++) {
        array = array_grow(array, &capacity, (size_t)i + 1, sizeof *array);
        array[i] = i;
    }
    for (int i = 0; i < 1000; i++) assert_int_equal(array[i], i);
    assert_int_equal(capacity, 1024);
    int *same = array_grow(array, &capacity, 1024, sizeof *array); /* full, but not beyond */
    assert_ptr_equal(same, array);
    assert_int_equal(capacity, 1024);
    array = array_grow(array, &capacity, 5000, sizeof *array); /* more than twice: exactly what is needed */
    assert_int_equal(capacity, 5000);
    free(array);
}

static void test_string_append(void **state) {
    (void)state;
    char *text = string_format("%s", "");
    string_append(&text, "%s", "");
    assert_string_equal(text, "");
    for (int i = 1; i <= 3; i++) string_append(&text, "%s%d", *text ? ", " : "", i);
    string_append(&text, "%s.", " of 3");
    assert_string_equal(text, "1, 2, 3 of 3.");
    free(text);
}

static void test_string_format(void **state) {
    (void)state;
    char *text = string_format("%s-%05d", "train", 42);
    assert_string_equal(text, "train-00042");
    free(text);
}

/* The published vectors: isthe.com/chongo/tech/comp/fnv, 64-bit FNV-1a. */
static void test_hash_bytes(void **state) {
    (void)state;
    assert_true(hash_bytes(HASH_START, "", 0) == 0xcbf29ce484222325u);
    assert_true(hash_bytes(HASH_START, "a", 1) == 0xaf63dc4c8601ec8cu);
    assert_true(hash_bytes(HASH_START, "foobar", 6) == 0x85944171f73967e8u);
    assert_true(hash_bytes(hash_bytes(HASH_START, "foo", 3), "bar", 3) == 0x85944171f73967e8u);
}

static void test_time_seconds(void **state) {
    (void)state;
    double start = time_seconds();
    usleep(2000);
    double passed = time_seconds() - start;
    assert_true(passed >= 0.002 && passed < 60);
}

/* ---- Files ---- */

static void file_write(const char *path, const char *text) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void assert_file(const char *path, const char *want) {
    char text[100] = "";
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(text, 1, sizeof text - 1, file), strlen(want));
    fclose(file);
    assert_string_equal(text, want);
}

static void test_directory_make(void **state) {
    (void)state;
    struct error err;
    struct stat info;
    assert_true(directory_make("a/b//c/", &err));
    assert_true(directory_make("a/b/c", &err)); /* again is no error */
    assert_int_equal(stat("a/b/c", &info), 0);
    assert_true(S_ISDIR(info.st_mode));
    file_write("a/file", "");
    assert_false(directory_make("a/file/d", &err));
    assert_int_equal(err.code, EXIT_OUTPUT);
    assert_string_equal(err.text, "a/file: is a file (want a directory); move it or name another");
    assert_false(directory_make("/proc/none/a", &err));
    assert_int_equal(err.code, EXIT_OUTPUT);
    unlink("a/file");
    rmdir("a/b/c");
    rmdir("a/b");
    rmdir("a");
}

static void test_atomic_commit(void **state) {
    (void)state;
    struct error err;
    struct atomic_file out;
    file_write("kept", "old");
    assert_true(atomic_open(&out, "kept", &err));
    fputs("new", out.file);
    assert_file("kept", "old"); /* nothing shows before the commit */
    assert_true(atomic_commit(&out, &err));
    assert_file("kept", "new");
    assert_true(atomic_open(&out, "kept", &err));
    fputs("never", out.file);
    atomic_abandon(&out);
    assert_file("kept", "new");
    assert_int_equal(access("kept.tmp", F_OK), -1);
    unlink("kept");
    assert_false(atomic_open(&out, "no/such/file", &err));
    assert_int_equal(err.code, EXIT_OUTPUT);
    assert_non_null(strstr(err.text, "no/such/file.tmp: "));
}

/* A limit on the size of a file fails as a full disk does, in the middle of a write. */
static void test_atomic_full(void **state) {
    (void)state;
    static const size_t sizes[] = {200, 100000}; /* fails in the final flush; fails in fwrite */
    struct error err;
    struct atomic_file out;
    struct rlimit before, limit;
    char *block = array_alloc(100000, 1);
    file_write("kept", "old");
    getrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < 2; i++) {
        limit = (struct rlimit){100, before.rlim_max};
        setrlimit(RLIMIT_FSIZE, &limit);
        assert_true(atomic_open(&out, "kept", &err));
        fwrite(block, 1, sizes[i], out.file);
        bool ok = atomic_commit(&out, &err);
        setrlimit(RLIMIT_FSIZE, &before);
        assert_false(ok);
        assert_int_equal(err.code, EXIT_OUTPUT);
        assert_string_equal(err.text, "kept: cannot write: File too large; free some space or choose another place");
        assert_file("kept", "old");
        assert_int_equal(access("kept.tmp", F_OK), -1);
    }
    unlink("kept");
    free(block);
}

/* ---- The way to the disk ---- */

/* What atomic_commit asked the system for, in order: f, fsync of a file; r, rename; d, fsync of a directory. The one
 * that `fails` names does not happen; errno is then `cause`. */
static struct {
    char steps[8];
    size_t n, synced; /* bytes that the file had when it was synced */
    ino_t directory;
    char fails;
    int cause;
} disk;

static bool disk_step(char step) {
    assert_true(disk.n < sizeof disk.steps - 1);
    disk.steps[disk.n++] = step;
    errno = disk.cause;
    return step != disk.fails;
}

int __real_fsync(int fd);
int __wrap_fsync(int fd) {
    struct stat info;
    assert_int_equal(fstat(fd, &info), 0);
    const bool file = S_ISREG(info.st_mode);
    if (file) disk.synced = (size_t)info.st_size;
    else disk.directory = info.st_ino;
    return disk_step(file ? 'f' : 'd') ? __real_fsync(fd) : -1;
}

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to) {
    return disk_step('r') ? __real_rename(from, to) : -1;
}

/* Writes `size` bytes to a file that was there, with the step `fails` made to fail; true if it says that all went
 * well. A temporary file must not stay. */
static bool disk_write(const char *path, size_t size, char fails, int cause, struct error *err) {
    struct atomic_file out;
    file_write(path, "old");
    memset(&disk, 0, sizeof disk);
    disk.fails = fails;
    disk.cause = cause;
    assert_true(atomic_open(&out, path, err));
    for (size_t i = 0; i < size; i++) fputc('x', out.file);
    const bool ok = atomic_commit(&out, err);
    char *temporary = string_format("%s.tmp", path);
    assert_int_equal(access(temporary, F_OK), -1);
    free(temporary);
    return ok;
}

/* A power cut may come between any two steps: the file is whole before it has the name, and the directory that is
 * synced is the one in which the name changed. */
static void test_atomic_order(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, BUFSIZ - 1, BUFSIZ, 3 * BUFSIZ + 5};
    const char *const paths[] = {"kept", "./kept", "a/kept", "a/b/kept"};
    struct error err;
    struct stat info;
    mkdir("a", 0777);
    mkdir("a/b", 0777);
    for (size_t p = 0; p < sizeof paths / sizeof *paths; p++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            char *full = string_format("%s/%s", directory, paths[p]);
            const char *const path = i % 2 ? full : paths[p];
            assert_true(disk_write(path, sizes[i], 0, 0, &err));
            assert_string_equal(disk.steps, "frd");
            assert_int_equal(disk.synced, sizes[i]);
            assert_int_equal(stat(path, &info), 0);
            assert_int_equal(info.st_size, sizes[i]);
            char *parent = string_format("%.*s", (int)(strrchr(full, '/') - full), full);
            assert_int_equal(stat(parent, &info), 0);
            assert_true(disk.directory == info.st_ino);
            unlink(path);
            free(parent);
            free(full);
        }
    rmdir("a/b");
    rmdir("a");
}

/* Every step's failure is told, with its cause, and is the last thing that happens. */
static void test_atomic_steps_fail(void **state) {
    (void)state;
    static const struct {
        char step;
        int cause;
        const char *steps, *left, *why;
    } cases[] = {
        {'f', EIO, "f", "old", "Input/output error"},    {'f', EINVAL, "f", "old", "Invalid argument"},
        {'f', ENOSPC, "f", "old", "No space left on device"}, {'r', EACCES, "fr", "old", "Permission denied"},
        {'d', EIO, "frd", "xx", "Input/output error"},
    };
    struct error err;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_false(disk_write("kept", 2, cases[i].step, cases[i].cause, &err));
        assert_string_equal(disk.steps, cases[i].steps);
        assert_int_equal(err.code, EXIT_OUTPUT);
        char *want = string_format("kept: cannot write: %s; free some space or choose another place", cases[i].why);
        assert_string_equal(err.text, want);
        free(want);
        assert_file("kept", cases[i].left);
    }
    assert_true(disk_write("kept", 2, 'd', EINVAL, &err)); /* a file system that has no such thing */
    unlink("kept");
}

/* ---- Threads ---- */

static struct {
    int allowed, created, joined, ended; /* ended: before the last was created */
} pool;

struct thread_job {
    void *(*run)(void *);
    void *argument;
};
static void *thread_note_end(void *argument) {
    const struct thread_job job = *(struct thread_job *)argument;
    free(argument);
    void *result = job.run(job.argument);
    __atomic_fetch_add(&pool.ended, 1, __ATOMIC_SEQ_CST);
    return result;
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *argument) {
    usleep(1000); /* a thread that does not wait has ended by now */
    assert_int_equal(__atomic_load_n(&pool.ended, __ATOMIC_SEQ_CST), 0);
    if (pool.created == pool.allowed) return EAGAIN;
    pool.created++;
    struct thread_job *job = malloc(sizeof *job);
    *job = (struct thread_job){start, argument};
    return __real_pthread_create(thread, attr, thread_note_end, job);
}

int __real_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result) {
    pool.joined++;
    return __real_pthread_join(thread, result);
}

static int team_size(void) {
    int n = 0;
#pragma omp parallel reduction(+ : n)
    n++;
    return n;
}

static void test_threads_start(void **state) {
    (void)state;
    const int before = omp_get_max_threads();
    struct error err;
    for (int want = 1; want <= 7; want++)
        for (int allowed = 0; allowed < 7; allowed++) {
            memset(&pool, 0, sizeof pool);
            pool.allowed = allowed;
            const bool fits = want - 1 <= allowed;
            assert_int_equal(threads_start(want, &err), fits);
            assert_int_equal(pool.created, fits ? want - 1 : allowed);
            assert_int_equal(pool.joined, pool.created);
            if (fits) assert_int_equal(team_size(), want);
            if (fits) continue;
            assert_int_equal(err.code, EXIT_MEMORY);
            char *says = string_format("threads: cannot create that many (got %d, want %d): Resource temporarily "
                                       "unavailable; use fewer, as in --threads %d", allowed + 1, want,
                                       (allowed + 2) / 2);
            assert_string_equal(err.text, says);
            free(says);
        }
    omp_set_num_threads(3);
    pool.allowed = 100;
    pool.ended = 0;
    assert_true(threads_start(0, &err)); /* as many as there would be without the call */
    assert_int_equal(team_size(), 3);
    omp_set_num_threads(before);
}

/* ---- Random numbers ---- */

/* Outputs of the reference xoshiro256plusplus.c from the state 1, 2, 3, 4. */
static void test_rng_next(void **state) {
    (void)state;
    static const uint64_t want[] = {
        41943041u,
        58720359u,
        3588806011781223u,
        3591011842654386u,
        9228616714210784205u,
        9973669472204895162u,
        14011001112246962877u,
        12406186145184390807u,
        15849039046786891736u,
        10450023813501588000u,
    };
    struct rng rng = {{1, 2, 3, 4}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) assert_true(rng_next(&rng) == want[i]);
}

/* Outputs of the reference splitmix64.c from the state 0, and streams that have nothing in common. */
static void test_rng_seed(void **state) {
    (void)state;
    struct rng a, b;
    rng_seed(&a, 0, 0);
    assert_true(a.s[0] == 0xe220a8397b1dcdafu && a.s[1] == 0x6e789e6aa1b965f4u);
    assert_true(a.s[2] == 0x06c45d188009454fu && a.s[3] == 0xf88bb8a8724c81ecu);
    uint64_t seen[2][50];
    for (uint64_t stream = 0; stream < 50; stream++) {
        rng_seed(&a, 7, stream);
        rng_seed(&b, 7 + stream + 1, 0);
        seen[0][stream] = rng_next(&a);
        seen[1][stream] = rng_next(&b);
    }
    for (int i = 0; i < 100; i++)
        for (int j = 0; j < i; j++) assert_true(seen[i % 2][i / 2] != seen[j % 2][j / 2]);
}

/* What SplitMix64 draws from the seed 1234567, in any order; and a generator's state is the first of its seed. */
static void test_rng_at(void **state) {
    (void)state;
    static const uint64_t want[] = {6457827717110365317u, 3203168211198807973u, 9817491932198370423u,
                                    4593380528125082431u, 16408922859458223821u};
    struct rng rng;
    for (size_t i = 5; i-- > 0;) assert_true(rng_at(1234567, i) == want[i]);
    rng_seed(&rng, 9, 0);
    for (size_t i = 0; i < 4; i++) assert_true(rng_at(9, i) == rng.s[i]);
}

static void test_rng_uniform(void **state) {
    (void)state;
    enum { N = 1000003 };
    struct rng rng;
    rng_seed(&rng, 1, 2);
    double sum = 0, low = 1, high = 0;
    for (int i = 0; i < N; i++) {
        double u = rng_uniform(&rng);
        sum += u;
        low = fmin(low, u);
        high = fmax(high, u);
    }
    assert_true(low >= 0 && low < 20.0 / N && high < 1 && high > 1 - 20.0 / N); /* chance e^-20 */
    assert_true(fabs(sum / N - 0.5) < 5 * sqrt(1.0 / 12 / N));
}

/* Each of n about equally often; the largest uniform number gives n - 1 whatever n is. */
static void test_rng_below(void **state) {
    (void)state;
    enum { N = 7, DRAWS = 70000 };
    struct rng rng;
    rng_seed(&rng, 5, 6);
    double often[N] = {0};
    for (int i = 0; i < DRAWS; i++) often[rng_below(&rng, N)]++;
    for (int i = 0; i < N; i++) assert_true(fabs(often[i] - DRAWS / N) < 5 * sqrt(DRAWS / N));
    for (uint64_t n = 1; n < (uint64_t)1 << 53; n += n / 3 + 1) {
        struct rng top = {.s = {0, 0, 0, UINT64_MAX}}; /* rotl(0 + UINT64_MAX, 23) + 0 */
        assert_true(rng_below(&top, n) == n - 1);
    }
}

/* The mean of z^k and the variance of that mean are moments of the normal: (2k-1)!! for even powers. */
static void test_rng_normal(void **state) {
    (void)state;
    enum { N = 1000003 };
    static const double moment[9] = {1, 0, 1, 0, 3, 0, 15, 0, 105};
    struct rng rng;
    rng_seed(&rng, 3, 4);
    double sum[5] = {0}, lag = 0, last = 0;
    for (int i = 0; i < N; i++) {
        double z = rng_normal(&rng), power = 1;
        assert_true(isfinite(z));
        for (int k = 1; k <= 4; k++) sum[k] += power *= z;
        lag += z * last;
        last = z;
    }
    for (int k = 1; k <= 4; k++) {
        double variance = moment[2 * k] - moment[k] * moment[k];
        assert_true(fabs(sum[k] / N - moment[k]) < 5 * sqrt(variance / N));
    }
    assert_true(fabs(lag / N) < 5 * sqrt(1.0 / N)); /* neighbours are uncorrelated */
}

static void test_shuffle_bijection(void **state) {
    (void)state;
    static const uint64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 31, 64, 65, 1000, 4096, 4097, 100003};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        uint64_t n = sizes[s];
        for (uint64_t key = 0; key < 5; key++) {
            char *seen = array_alloc(n, 1);
            for (uint64_t i = 0; i < n; i++) {
                uint64_t to = shuffle_index(i, n, key);
                assert_true(to < n && !seen[to]);
                seen[to] = 1;
            }
            free(seen);
        }
    }
    uint64_t n = ((uint64_t)1 << 63) + 3; /* the widest network */
    for (uint64_t i = 0; i < 1000; i++) assert_true(shuffle_index(n - 1 - i, n, 9) < n);
}

/* Over many keys each index goes everywhere equally often: chi-square over n^2 cells has (n-1)^2 degrees
 * of freedom, a mean of as much and a standard deviation of sqrt(2) (n-1). */
static void test_shuffle_uniform(void **state) {
    (void)state;
    enum { N = 5, KEYS = 20000 };
    int count[N][N] = {0};
    for (uint64_t key = 0; key < KEYS; key++)
        for (uint64_t i = 0; i < N; i++) count[i][shuffle_index(i, N, key)]++;
    double chi = 0, want = (double)KEYS / N;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) chi += (count[i][j] - want) * (count[i][j] - want) / want;
    assert_true(chi < (N - 1) * (N - 1) + 5 * sqrt(2) * (N - 1));
}

/* Neighbours do not stay neighbours: the mean distance of two random places is n / 3. */
static void test_shuffle_spreads(void **state) {
    (void)state;
    enum { N = 10007 };
    double distance = 0;
    for (uint64_t i = 1; i < N; i++)
        distance += fabs((double)shuffle_index(i, N, 5) - (double)shuffle_index(i - 1, N, 5));
    assert_true(fabs(distance / N / N - 1.0 / 3) < 5 * sqrt(1.0 / 18 / N));
}

static int descriptor_next(void) {
    const int fd = open("/dev/null", O_RDONLY);
    close(fd);
    return fd;
}

static void test_file_contents(void **state) {
    (void)state;
    struct error err;
    size_t size;
    enum { N = 3 * BUFSIZ + 5 };
    const int next = descriptor_next();
    FILE *file = fopen("numbers", "wb");
    for (int i = 0; i < N; i++) fputc(i % 251, file); /* NULs among them */
    fclose(file);
    char *text = file_contents(fopen("numbers", "rb"), "numbers", &size, &err);
    assert_int_equal(size, N);
    for (int i = 0; i < N; i++) assert_int_equal((unsigned char)text[i], i % 251);
    assert_int_equal(text[N], 0);
    free(text);
    text = file_contents(fopen("/dev/null", "rb"), "nothing", &size, &err);
    assert_int_equal(size, 0);
    assert_string_equal(text, "");
    free(text);
    assert_null(file_contents(fopen("missing", "rb"), "missing", &size, &err));
    assert_int_equal(err.code, EXIT_INPUT);
    assert_string_equal(err.text, "missing: cannot read: No such file or directory");
    assert_null(file_contents(fopen(".", "rb"), "here", &size, &err));
    assert_string_equal(err.text, "here: cannot read: Is a directory");
    assert_int_equal(descriptor_next(), next); /* what was opened is closed */
    unlink("numbers");
}

/* A write that failed is not forgotten because a later one did not. */
static void test_output_check(void **state) {
    (void)state;
    struct error err = {0, ""};
    fflush(stdout);
    const int kept = dup(STDOUT_FILENO), full = open("/dev/full", O_WRONLY), nowhere = open("/dev/null", O_WRONLY);
    dup2(nowhere, STDOUT_FILENO);
    printf("text");
    const bool before = output_check(&err);
    dup2(full, STDOUT_FILENO);
    printf("text");
    const bool now = output_check(&err);
    dup2(nowhere, STDOUT_FILENO);
    __fpurge(stdout);
    const bool later = output_check(&err);
    clearerr(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    close(full);
    close(nowhere);
    assert_true(before && !now && !later);
    assert_int_equal(err.code, EXIT_OUTPUT);
    assert_int_equal(strncmp(err.text, "standard output: cannot write: ", 31), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_set),         cmocka_unit_test(test_exits),
        cmocka_unit_test(test_array_alloc),       cmocka_unit_test(test_array_grow),
        cmocka_unit_test(test_string_format),
        cmocka_unit_test(test_string_append),
        cmocka_unit_test(test_hash_bytes),
        cmocka_unit_test(test_time_seconds),      cmocka_unit_test(test_directory_make),
        cmocka_unit_test(test_atomic_commit),     cmocka_unit_test(test_atomic_full),
        cmocka_unit_test(test_atomic_order),      cmocka_unit_test(test_atomic_steps_fail),
        cmocka_unit_test(test_threads_start),
        cmocka_unit_test(test_rng_next),          cmocka_unit_test(test_rng_seed),
        cmocka_unit_test(test_rng_at),            cmocka_unit_test(test_rng_uniform),
        cmocka_unit_test(test_rng_below),
        cmocka_unit_test(test_rng_normal),
        cmocka_unit_test(test_shuffle_bijection), cmocka_unit_test(test_shuffle_uniform),
        cmocka_unit_test(test_shuffle_spreads),   cmocka_unit_test(test_file_contents),
        cmocka_unit_test(test_output_check),
    };
    return cmocka_run_group_tests(tests, directory_create, directory_remove);
}
