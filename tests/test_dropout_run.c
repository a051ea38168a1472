/* --dropout in a run: that steps have it and nothing else does, that any number of threads and a run that goes on have
 * the same bits, what the checkpoint keeps of it, and which values are refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "command.h"
#include "prose.h"
#include "runs.h"

#define MODEL "train corpus.txt --cache cache --vocab 301 --seq 17 --layers 2 --channels 12 --attn-heads 3 " \
    "--moe-heads 2 --experts 5 --expert-hidden 7 --batch 3 --accumulate 2 --lr 0.01 --eval-windows 5 --eval-every 2 " \
    "--sample-every 2 --sample-tokens 9 --warmup 0 --steps 6 "

static int whole_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    prose_save("corpus.txt", 300, 1);
    return system(MODEL "--dropout 0.2 --out whole >whole.txt 2>&1 && " MODEL "--out plain >plain.txt 2>&1");
}

static void resumed_runs_are_whole(void **state) {
    (void)state;
    run(MODEL "--dropout 0.2 --out run --until 3 --threads 1 && train --resume run --threads 3 --recompute");
    checkpoints_compare("whole", "run", "last.safetensors");
    checkpoints_compare("whole", "run", "best.safetensors");
    logs_compare("whole", "run");
}

/* Each way of computing a step has its own run to be equal to. */
static void threads_and_recomputing_change_nothing(void **state) {
    (void)state;
    static const char *const models[] = {"--ffn dense", "--ffn smoe", "--dtype bf16", "--documents --moe-every 2"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        run("rm -rf one other && " MODEL "--dropout 0.2 %s --threads 1 --out one && "
            MODEL "--dropout 0.2 %s --threads 2 --recompute --out other", models[i], models[i]);
        checkpoints_compare("one", "other", "last.safetensors");
        logs_compare("one", "other");
    }
}

/* Weights that stand still: every step's loss has dropout, and of each pass another; validations and samples are those
 * of a run without. */
static void steps_alone_drop(void **state) {
    (void)state;
    static const char *const dropouts[] = {"0", "0.3", "0.3 --seed 1", "0.3 --accumulate 1"};
    double loss[4][6], val[4][3];
    for (int i = 0; i < 4; i++) {
        run("rm -rf still && " MODEL "--lr 0 --zero-start --out still --dropout %s >samples-%d.txt", dropouts[i], i);
        json_t *log = log_of("still");
        for (size_t k = 0; k < 6; k++) loss[i][k] = number_of(entry_of(log, "loss", k), "loss");
        for (size_t k = 0; k < 3; k++) val[i][k] = number_of(entry_of(log, "val_loss", k), "val_loss");
        json_decref(log);
    }
    for (int k = 0; k < 6; k++) {
        assert_true(loss[0][k] != loss[1][k]);
        assert_true(loss[1][k] == loss[2][k]);
    }
    for (int k = 0; k < 3; k++) assert_true(val[0][k] == val[1][k] && val[0][k] == val[3][k] && val[0][k] == val[0][0]);
    run("test -s samples-0.txt && cmp samples-0.txt samples-1.txt");
}

/* One window again and again, and weights that stand still: what differs from step to step, with the seed, and between
 * the passes of a step, whose mean its loss is, is the mask alone. */
static void every_pass_has_its_own_mask(void **state) {
    (void)state;
    enum { RUNS = 4, LOSSES = 5 };
    static const char *const ways[RUNS] = {"--dropout 0", "--seed 1", "--seed 2", "--seed 1 --accumulate 2"};
    double loss[RUNS][LOSSES];
    text_save("one.txt", "The old lady.qqqq\n", 18);
    for (int i = 0; i < RUNS; i++) {
        run("rm -rf one && train one.txt --val corpus.txt --cache cache --from whole --lr 0 --steps 5 --batch 1 "
            "--dropout 0.5 --eval-windows 1 --sample-every 0 %s --out one", ways[i]);
        json_t *log = log_of("one");
        for (size_t k = 0; k < LOSSES; k++) loss[i][k] = number_of(entry_of(log, "loss", k), "loss");
        json_decref(log);
    }
    for (int k = 0; k < LOSSES; k++) assert_true(loss[0][k] == loss[0][0]);
    for (int i = LOSSES; i < RUNS * LOSSES; i++)
        for (int k = 0; k < i; k++) assert_true(loss[i / LOSSES][i % LOSSES] != loss[k / LOSSES][k % LOSSES]);
}

/* It is an option like the learning rate: a run that goes on has it, and may have another. */
static void the_run_keeps_it(void **state) {
    (void)state;
    run("grep -x 'dropout = 0.2' whole/config");
    run("rm -rf run && " MODEL "--dropout 0.2 --out run --until 3 && train --resume run --until 4");
    assert_null(strstr(errors, "note: --dropout"));
    run("train --resume run --dropout 0.3 --until 5");
    assert_non_null(strstr(errors, "train: note: --dropout is 0.3 now; it was 0.2\n"));
    run("rm -rf run && " MODEL "--out run --until 3 && train --resume run");
    checkpoints_compare("plain", "run", "last.safetensors");
}

/* A checkpoint of a version that had no dropout goes on without, and tells of one that is new. */
static void earlier_runs_had_none(void **state) {
    (void)state;
    run("rm -rf run && " MODEL "--out run --until 3");
    option_forget("run", "dropout");
    run("cp -r run again && train --resume run");
    assert_null(strstr(errors, "--dropout"));
    checkpoints_compare("plain", "run", "last.safetensors");
    run("train --resume again --dropout 0.5");
    assert_non_null(strstr(errors, "train: note: --dropout is 0.5 now; it was 0.0\n"));
}

static void other_values_are_refused(void **state) {
    (void)state;
    static const char *const values[] = {"1", "-0.1", "1.5", "nan", "inf", "much", "''"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char *command = string_format(MODEL "--out refused --dropout %s", values[i]);
        refuse(2, "--dropout", "0", command);
        free(command);
    }
    run("! test -e refused");
}

/* No mask is stored. */
static void memory_is_the_same(void **state) {
    (void)state;
    run(MODEL "--dry-run >without.txt && " MODEL "--dropout 0.4 --dry-run | cmp - without.txt");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resumed_runs_are_whole), cmocka_unit_test(threads_and_recomputing_change_nothing),
        cmocka_unit_test(steps_alone_drop), cmocka_unit_test(every_pass_has_its_own_mask),
        cmocka_unit_test(the_run_keeps_it), cmocka_unit_test(earlier_runs_had_none),
        cmocka_unit_test(other_values_are_refused), cmocka_unit_test(memory_is_the_same),
    };
    return cmocka_run_group_tests(tests, whole_make, workplace_remove);
}
