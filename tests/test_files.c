/* The files of a run when something is wrong with them or somebody else is at them: a save on the way that fails, two
 * trainers in one directory, a second Ctrl-C, a cache whose parts do not belong together. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "command.h"
#include "prose.h"
#include "runs.h"

enum { STEPS = 30, SAVED = 6, SHOWN = 7 /* the step with a sample, where a run can be held; after the last save */ };
#define MODEL                                                                                                  \
    "train corpus.txt --cache cache --vocab 301 --seq 17 --layers 2 --channels 12 --attn-heads 3 --moe-heads 2 " \
    "--experts 5 --expert-hidden 7 --batch 3 --steps 30 --warmup 3 --lr 0.01 --eval-windows 3 --eval-every 5 "   \
    "--save-every 3 --sample-every 7 --sample-tokens 5 --out run"

static int corpora_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    prose_save("corpus.txt", 500, 1);
    prose_save("other.txt", 400, 2);
    return system(MODEL " --until 2 >/dev/null 2>&1 && mv run two && cp -r cache whole");
}

/* The run of two steps, anew. */
static int run_copy(void **state) {
    (void)state;
    return system("rm -rf run && cp -r two run");
}

/* Bytes, sizes and times of all that a run holds. malloc'ed. */
static char *files_of(const char *run_dir) {
    run("find %s -printf '%%p %%s %%T@\\n' | sort && find %s -type f -exec cksum {} + | sort", run_dir, run_dir);
    return string_format("%s", output);
}

static int steps_logged(void) {
    json_t *log = log_of("run");
    const int n = (int)entries_of(log, "loss");
    json_decref(log);
    return n;
}

/* ---- Saves on the way ---- */

/* It ends the run there, at step 3, and the checkpoint of step 2 stands; not at the next save, or the last one. */
static void failed_save_ends_the_run(void **state) {
    (void)state;
    char *full = string_format("ulimit -f %zu; train --resume run --eval-every 0",
                               file_size("two/last.safetensors") / 512 - 1);
    refuse(4, "run/last.safetensors", "cannot write", full);
    assert_int_equal(steps_logged(), 3);
    run("cmp two/last.safetensors run/last.safetensors && ! ls run/*.tmp 2>/dev/null");
    run("rm -r run && cp -r two run && mkdir run/last.safetensors.tmp");
    refuse(4, "run/last.safetensors.tmp", "directory", "train --resume run --eval-every 0");
    assert_int_equal(steps_logged(), 3);
    run("cmp two/last.safetensors run/last.safetensors && rmdir run/last.safetensors.tmp && train --resume run");
    free(full);
}

/* Nor is the last one forgotten, where a run stops early. */
static void failed_last_save_is_told(void **state) {
    (void)state;
    char *full = string_format("ulimit -f %zu; train --resume run --save-every 0 --until 3",
                               file_size("two/last.safetensors") / 512 - 1);
    refuse(4, "run/last.safetensors", "cannot write", full);
    run("cmp two/last.safetensors run/last.safetensors");
    free(full);
}

/* The log of a checkpoint's steps is on the disk before the checkpoint is. What has no disk cannot be. */
static void logs_are_permanent_first(void **state) {
    (void)state;
    run("rm -r run && mkdir run && touch run/lock && ln -s /dev/null run/log.jsonl");
    refuse(4, "run/log.jsonl: cannot write", "--resume", MODEL);
    run("! ls run/*.safetensors* 2>/dev/null");
}

static void failed_best_ends_the_run(void **state) {
    (void)state;
    run("mkdir run/best.safetensors.tmp");
    refuse(4, "run/best.safetensors.tmp", "directory", "train --resume run");
    assert_int_equal(steps_logged(), 5);
}

/* Every third step, and where the run stops. */
static void saves_come_when_due(void **state) {
    (void)state;
    run("train --resume run --until 8 --sample-every 0");
    assert_int_equal(step_of("run"), 8);
    struct held held = run_hold("train --resume run --sample-every 11", "run", 11, "held.txt");
    assert_int_equal(step_of("run"), 9);
    assert_int_equal(run_release(&held), 0);
    assert_int_equal(step_of("run"), STEPS);
    run("rm -r run && cp -r two run");
    held = run_hold("train --resume run --sample-every 11 --save-every 0", "run", 11, "held.txt");
    assert_int_equal(step_of("run"), 2);
    assert_int_equal(run_release(&held), 0);
    assert_int_equal(step_of("run"), STEPS);
}

/* ---- Two trainers ---- */

/* The second one changes nothing, whatever it was told; the first goes on, and when it is gone, so is its lock. */
static void second_trainer_is_refused(void **state) {
    (void)state;
    struct held held = run_hold("train --resume run", "run", SHOWN, "held.txt");
    char *before = files_of("run");
    refuse(7, "run: another process", "choose another --out", "train --resume run");
    refuse(7, "run: another process", "choose another --out", "train --resume run --steps 40 --lr 1");
    refuse(7, "run: another process", "choose another --out", MODEL);
    char *after = files_of("run");
    assert_string_equal(before, after);
    free(before);
    free(after);
    assert_int_equal(run_release(&held), 0);
    assert_int_equal(steps_logged(), STEPS);
    run("train --resume run --steps 31");
    assert_int_equal(steps_logged(), 31);
}

/* A new run holds its directory from the start, too. */
static void new_run_holds_its_directory(void **state) {
    (void)state;
    run("rm -r run");
    struct held held = run_hold(MODEL, "run", SHOWN, "held.txt");
    refuse(7, "run: another process", "choose another --out", MODEL);
    refuse(7, "run: another process", "choose another --out", "train --resume run");
    assert_int_equal(kill(held.child, SIGKILL), 0);
    assert_int_equal(run_release(&held), SIGKILL);
    assert_int_equal(step_of("run"), SAVED);
    run("train --resume run"); /* what held it is gone */
    assert_int_equal(steps_logged(), STEPS);
}

/* ---- A second Ctrl-C ---- */

static bool ended_within(pid_t child, double seconds, int *status) {
    const double limit = time_seconds() + seconds;
    while (time_seconds() < limit) {
        if (waitpid(child, status, WNOHANG) == child) return true;
        usleep(1000);
    }
    return false;
}

/* The first signal waits for the step, and its sample, which nobody reads; the second does not. What was saved before
 * stands, and the run goes on from there. */
static void second_signal_ends_the_run_at_once(void **state) {
    (void)state;
    static const int signals[] = {SIGINT, SIGTERM};
    for (int i = 0; i < 2; i++) {
        int status;
        run("rm -rf run && cp -r two run");
        struct held held = run_hold("train --resume run", "run", SHOWN, "held.txt");
        char *before = files_of("run");
        assert_int_equal(kill(held.child, signals[i]), 0);
        assert_false(ended_within(held.child, 0.3, &status));
        text_read("held.txt", errors, sizeof errors);
        const char *line = strstr(errors, "train: stopping after this step; again to stop without saving\n");
        assert_true(line && !strchr(line, '\n')[1]); /* at once, and nothing more */
        assert_true(*errors != '\n' && !strstr(errors, "\n\n"));
        assert_int_equal(kill(held.child, signals[i]), 0);
        assert_true(ended_within(held.child, 20, &status));
        assert_int_equal(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status), 128 + signals[i]);
        close(held.pipe_end);
        char *after = files_of("run");
        assert_string_equal(before, after);
        free(before);
        free(after);
        assert_int_equal(step_of("run"), SAVED);
        run("train --resume run");
        assert_int_equal(steps_logged(), STEPS);
    }
}

/* Who starts a run that outlives the terminal means it. */
static void nohup_is_heeded(void **state) {
    (void)state;
    signal(SIGHUP, SIG_IGN);
    struct held held = run_hold("train --resume run", "run", SHOWN, "held.txt");
    signal(SIGHUP, SIG_DFL);
    assert_int_equal(kill(held.child, SIGHUP), 0);
    assert_int_equal(run_release(&held), 0);
    assert_int_equal(steps_logged(), STEPS);
}

/* ---- Caches ---- */

/* A tokenizer or shards from another cache: none of them fits the rest, and no run begins. */
static void exchanged_cache_is_refused(void **state) {
    (void)state;
    run("train other.txt --cache cache --vocab 301 --seq 17 --dry-run && train corpus.txt --cache fewer --vocab 290 "
        "--seq 17 --dry-run && rm -r run");
    static const char *const exchanges[] = {
        "cp cache/other.txt-*/tokenizer.model $C", /* as many pieces, others */
        "cp fewer/*/tokenizer.model $C",
        "cp cache/other.txt-*/*.shard $C",
    };
    for (int i = 0; i < 3; i++) {
        char *command = string_format("rm -rf cache2 && cp -r whole cache2 && C=$(echo cache2/*) && { %s\n} && " MODEL
                                      " --cache cache2", exchanges[i]);
        refuse(5, "made with another tokenizer", "name the corpus again", command);
        assert_null(strstr(errors, "encoding")); /* nor is anything prepared again */
        free(command);
        run("! test -e run");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(failed_save_ends_the_run, run_copy),
        cmocka_unit_test_setup(failed_last_save_is_told, run_copy),
        cmocka_unit_test_setup(logs_are_permanent_first, run_copy),
        cmocka_unit_test_setup(failed_best_ends_the_run, run_copy),
        cmocka_unit_test_setup(saves_come_when_due, run_copy),
        cmocka_unit_test_setup(second_trainer_is_refused, run_copy),
        cmocka_unit_test_setup(new_run_holds_its_directory, run_copy),
        cmocka_unit_test_setup(second_signal_ends_the_run_at_once, run_copy),
        cmocka_unit_test_setup(nohup_is_heeded, run_copy),
        cmocka_unit_test_setup(exchanged_cache_is_refused, run_copy),
    };
    return cmocka_run_group_tests(tests, corpora_make, workplace_remove);
}
