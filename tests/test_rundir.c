/* A run's directory (src/rundir): whose it is, what it is called, who works there. flock is replaced at link time. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <sys/file.h>
#include "../src/run/rundir.h"
#include "command.h"

/* 0, or how locking fails. */
static int lock_failure;
/* The lock file is removed, and made anew, by another process just before it is locked; that many times. */
static int exchanges;

int __real_flock(int fd, int operation);
int __wrap_flock(int fd, int operation) {
    errno = lock_failure;
    if (lock_failure) return -1;
    if (exchanges > 0) {
        exchanges--;
        run("rm run/lock && touch run/lock");
    }
    return __real_flock(fd, operation);
}

static int workplace_open(void **state) {
    (void)state;
    return workplace_enter() ? 0 : -1;
}

static void claim_refused(const char *path, int code, const char *says) {
    struct rundir r;
    struct error err;
    assert_false(rundir_claim(&r, path, &err));
    assert_int_equal(err.code, code);
    if (!strstr(err.text, says)) fail_msg("'%s' is missing: %s", says, err.text);
    assert_null(r.path);
    rundir_release(&r); /* of nothing: nothing happens */
}

static struct rundir claimed(const char *path) {
    struct rundir r;
    struct error err;
    if (!rundir_claim(&r, path, &err)) fail_msg("%s", err.text);
    return r;
}

/* What nobody began is as it was before; what somebody began stays, but for the lock's holder. */
static void released_directories_are_as_before(void **state) {
    (void)state;
    struct rundir r = claimed("a/b/run");
    run("test -f a/b/run/lock");
    rundir_release(&r);
    run("test -d a/b && test ! -e a/b/run");
    run("mkdir run && touch run/mine");
    r = claimed("run");
    rundir_release(&r);
    run("ls -A run");
    assert_string_equal(output, "mine\n");
    r = claimed("run");
    run("touch run/config");
    rundir_release(&r);
    run("ls -A run");
    assert_string_equal(output, "config\nlock\nmine\n");
    r = claimed("run"); /* it was begun and never saved: it may begin anew */
    rundir_release(&r);
    run("rm -r run a");
}

/* Nothing of the names that a run writes is overwritten unless a run wrote it. */
static void files_of_others_are_left_alone(void **state) {
    (void)state;
    static const char *const names[] = {"config", "log.jsonl", "best.safetensors", "last.safetensors", "plots"};
    for (int i = 0; i < 5; i++) {
        run("mkdir run && echo mine >run/%s", names[i]);
        claim_refused("run", EXIT_USAGE, names[i]);
        claim_refused("run", EXIT_USAGE, "another --out");
        run("test $(ls -A run) = %s && echo 'not a lock' >run/lock", names[i]); /* no lock of ours */
        claim_refused("run", EXIT_USAGE, names[i]);
        run("rm run/lock && mkdir run/lock");
        claim_refused("run", EXIT_USAGE, names[i]);
        run("rmdir run/lock && mkfifo run/lock"); /* as empty as one of ours */
        claim_refused("run", EXIT_USAGE, names[i]);
        run("rm -r run");
    }
}

/* A lock ends with its process, not with others that it has started. */
static void children_hold_no_lock(void **state) {
    (void)state;
    struct rundir r = claimed("run");
    run("touch run/config; sleep 3 >/dev/null 2>&1 &");
    rundir_release(&r);
    r = claimed("run");
    rundir_release(&r);
    run("rm -r run");
}

static void a_run_is_not_begun_twice(void **state) {
    (void)state;
    struct rundir r = claimed("run"), again;
    struct error err;
    claim_refused("run", EXIT_BUSY, "another process trains");
    run("touch run/last.safetensors");
    claim_refused("run", EXIT_BUSY, "another process trains"); /* busy is said first: it may be gone soon */
    rundir_release(&r);
    claim_refused("run", EXIT_USAGE, "--resume run goes on with it");
    assert_true(rundir_reclaim(&r, "run", &err));
    claim_refused("run", EXIT_BUSY, "run: another process trains");
    assert_false(rundir_reclaim(&again, "run/last.safetensors", &err));
    assert_int_equal(err.code, EXIT_BUSY);
    assert_null(again.path);
    rundir_release(&r);
    assert_true(rundir_reclaim(&r, "run/last.safetensors", &err)); /* the same run by its file */
    assert_string_equal(r.path, "run");
    rundir_release(&r);
    assert_int_equal(chdir("run"), 0);
    assert_true(rundir_reclaim(&r, "last.safetensors", &err)); /* also from within */
    assert_string_equal(r.path, ".");
    assert_false(rundir_reclaim(&again, ".", &err));
    assert_int_equal(err.code, EXIT_BUSY);
    rundir_release(&r);
    assert_int_equal(chdir(".."), 0);
    run("test -e run/lock && rm run/last.safetensors");
    assert_false(rundir_reclaim(&r, "run", &err));
    assert_int_equal(err.code, EXIT_INPUT);
    assert_non_null(strstr(err.text, "run/last.safetensors: no checkpoint"));
    run("rm -r run");
}

/* Only a lock that is held means that a process trains there. */
static void other_failures_of_locking_are_told_as_they_are(void **state) {
    (void)state;
    lock_failure = ENOLCK;
    claim_refused("run", EXIT_OUTPUT, "run/lock: cannot lock: No locks available");
    lock_failure = EWOULDBLOCK;
    claim_refused("run", EXIT_BUSY, "another process");
    lock_failure = 0;
    run("rm -r run");
    claim_refused("/proc/run", EXIT_OUTPUT, "/proc/run");
    run("mkdir -p run/lock"); /* no run's files: but it cannot be locked */
    claim_refused("run", EXIT_OUTPUT, "run/lock: cannot create");
    run("rm -r run");
}

/* A lock on a file that has no name any more keeps nobody out. */
static void exchanged_locks_are_taken_again(void **state) {
    (void)state;
    run("mkdir run");
    exchanges = 2;
    struct rundir r = claimed("run");
    assert_int_equal(exchanges, 0);
    claim_refused("run", EXIT_BUSY, "another process");
    rundir_release(&r);
    run("rm -r run");
}

static void names_expect(const char *corpus, const char *path) {
    struct rundir r;
    struct error err;
    if (!rundir_claim_default(&r, corpus, &err)) fail_msg("%s", err.text);
    assert_string_equal(r.path, path);
    rundir_release(&r);
}

/* The corpus's name without suffixes, and the first number under which nothing is or is being begun. */
static void runs_without_a_name_get_one(void **state) {
    (void)state;
    struct rundir first, second;
    struct error err;
    run("mkdir -p 'texts/a.b' && touch texts/a.b/x.tar.gz texts/.hidden texts/plain");
    names_expect("texts/a.b/x.tar.gz", "runs/x");
    names_expect("texts/a.b/", "runs/a");
    names_expect("texts/.hidden", "runs/.hidden");
    names_expect("texts/plain", "runs/plain");
    names_expect("missing.txt", "runs/stdin");
    names_expect("-", "runs/stdin");
    names_expect("/", "runs/stdin");
    assert_true(rundir_claim_default(&first, "texts/plain", &err));
    assert_true(rundir_claim_default(&second, "texts/plain", &err)); /* the first one is being begun */
    assert_string_equal(second.path, "runs/plain-2");
    run("touch runs/plain-2/config");
    rundir_release(&first);
    rundir_release(&second);
    run("mkdir runs/plain runs/plain-3"); /* somebody's, though empty */
    names_expect("texts/plain", "runs/plain-4");
    run("touch runs/plain/lock"); /* left by a start that was killed */
    names_expect("texts/plain", "runs/plain");
    run("rm -r runs && touch runs");
    assert_false(rundir_claim_default(&first, "texts/plain", &err)); /* and does not try for ever */
    assert_int_equal(err.code, EXIT_OUTPUT);
    run("rm -r runs texts");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(released_directories_are_as_before),
        cmocka_unit_test(files_of_others_are_left_alone),
        cmocka_unit_test(children_hold_no_lock),
        cmocka_unit_test(a_run_is_not_begun_twice),
        cmocka_unit_test(other_failures_of_locking_are_told_as_they_are),
        cmocka_unit_test(exchanged_locks_are_taken_again),
        cmocka_unit_test(runs_without_a_name_get_one),
    };
    return cmocka_run_group_tests(tests, workplace_open, workplace_remove);
}
