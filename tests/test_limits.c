/* What a machine refuses, put to the programs as their user runs them: files above a size (ulimit -f), threads and
 * memory (ulimit -v). Every refusal is an exit code and one line; nothing half-written stays, and what was there
 * before is still there. Limits are raised step by step until the program gets through, so that each file and each
 * allocation is met by one that is just too small. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "command.h"
#include "prose.h"

#define MODEL                                                                                            \
    " --vocab 301 --seq 17 --layers 2 --channels 12 --attn-heads 3 --moe-heads 2 --experts 5 --topk 2"   \
    " --expert-hidden 7 --batch 3 --warmup 1 --eval-every 2 --save-every 2 --eval-windows 3 --sample-every 0 "

static int run_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    prose_save("corpus.txt", 300, 1);
    run("train corpus.txt --steps 4 --until 2 --out run --cache cache" MODEL);
    return 0;
}

/* ---- Files above a size ---- */

enum { BLOCK = 512 }; /* what ulimit -f counts in */

/* The line that a program ended with: what it says and that it is its own. */
static void last_line_check(const char *program, const char *says) {
    const size_t size = strlen(errors);
    const char *end = memrchr(errors, '\n', size ? size - 1 : 0), *line = end ? end + 1 : errors;
    if (strncmp(line, program, strlen(program)) != 0 || !strstr(line, says))
        fail_msg("want '%s' of %s as the last line of\n%s", says, program, errors);
}

/* Runs the command, `before` ahead of it each time, with file sizes limited to 2, 3, 4, 5, 7, ... blocks (clang's
 * OpenMP dies where it cannot have 1 KB of shared memory) until it ends well. Before that it must say what cannot be
 * written. `after` has to hold each time it has failed. Returns how often it did. */
static int sizes_try(const char *program, const char *before, const char *command, const char *after) {
    int failed = 0;
    for (int blocks = 2;; blocks += blocks / 4 + 1) {
        run("%s", before);
        char *limited = string_format("ulimit -f %d; %s %s", blocks, program, command);
        const int code = command_run(limited);
        free(limited);
        if (code == EXIT_DONE) return failed;
        failed++;
        assert_int_equal(code, EXIT_OUTPUT);
        last_line_check(program, ": cannot write: File too large; free some space");
        run("! find . -name '*.tmp' | grep . && %s", after);
    }
}

static void training_ends_at_a_file_that_is_too_large(void **state) {
    (void)state;
    const int failed =
        sizes_try("train", "rm -rf new fresh", "corpus.txt --steps 4 --out new --cache fresh" MODEL,
                  "! ls -d fresh/*-*.?????? && if test -e new/last.safetensors; then train --resume new --steps 4; fi");
    assert_true(failed > 10); /* the tokenizer, shards, the log, both checkpoints, plots */
}

static void checkpoints_outlive_one_that_is_too_large(void **state) {
    (void)state;
    const int failed = sizes_try("train", "rm -rf again && cp -r run again", "--resume again",
                                 "cmp run/last.safetensors again/last.safetensors && "
                                 "if ! cmp -s run/best.safetensors again/best.safetensors; then "
                                 "sample --model again; fi");
    assert_true(failed > 10);
}

static void text_ends_at_a_file_that_is_too_large(void **state) {
    (void)state;
    for (int blocks = 2; blocks < 5; blocks++) {
        char *command = string_format("ulimit -f %d; sample --model run --samples 1000 >text.txt", blocks);
        refuse(EXIT_OUTPUT, "standard output: cannot write: File too large", "", command);
        assert_int_equal(file_size("text.txt"), blocks * BLOCK);
        free(command);
    }
    refuse(EXIT_OUTPUT, "standard output: cannot write: File too large", "", "ulimit -f 3; train --help >help.txt");
    refuse(EXIT_OUTPUT, "standard output: cannot write: No space left", "", "train --help >/dev/full");
    refuse(EXIT_OUTPUT, "standard output: cannot write: No space left", "", "train corpus.txt --cache cache --dry-run"
           MODEL ">/dev/full");
    refuse(EXIT_OUTPUT, "standard output: cannot write: No space left", "", "sample --print-config >/dev/full");
}

#define STUDY                                                                                            \
    "--out study --models smoe,dense --lrs 1e-3 --seeds 2 --steps 3 --vocab 301 --seq 17 --layers 2 "    \
    "--channels 12 --attn-heads 3 --batch 3 --eval-windows 3 corpus.txt"

static void studies_end_at_a_file_that_is_too_large(void **state) {
    (void)state;
    assert_true(sizes_try("analyse", "rm -rf analysis", "run --out analysis --windows 3 --samples 1 --tokens 9",
                          "! ls analysis/report.html") > 5);
    assert_int_equal(command_run("ulimit -f 2; compare --train train " STUDY), EXIT_OUTPUT);
    last_line_check("compare", ": cannot write: File too large");
    run("compare --train train " STUDY); /* goes on from there */
    assert_int_equal(command_run("rm study/report.*; ulimit -f 2; compare --train train " STUDY), EXIT_OUTPUT);
    last_line_check("compare", ": cannot write: File too large");
}

/* ---- Threads and memory ---- */

#ifndef __SANITIZE_ADDRESS__ /* which needs terabytes of addresses */
/* 1024 stacks do not fit, and every program says so. What does fit is done with the threads asked for. */
static void threads_that_cannot_be_had_are_told(void **state) {
    (void)state;
    static const char *const commands[] = {
        "train corpus.txt --out threads --cache cache --dry-run" MODEL,
        "train --resume run --steps 6",
        "sample --model run",
        "analyse run --out analysis",
    };
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char *command = string_format("ulimit -v 1000000; %s --threads 1024", commands[i]);
        refuse(EXIT_MEMORY, "threads: cannot create that many (got ", "want 1024): Resource temporarily unavailable; "
               "use fewer, as in --threads ", command);
        free(command);
    }
    run("! ls -d threads analysis");
    refuse(EXIT_MEMORY, "threads: cannot create that many (got ", "want 1000)",
           "export OMP_NUM_THREADS=1000; ulimit -v 1000000; sample --model run");
    run("export OMP_NUM_THREADS=1000 OMP_THREAD_LIMIT=5; ulimit -v 1000000; sample --model run");
    run("ulimit -v 1000000; sample --model run --threads 9");
}
#endif

/* Where the user has not said how long waiting threads spin, the programs do. A script that ./train runs to fetch
 * its default corpus shows what there is in its environment. */
static void waiting_is_brief_unless_told_otherwise(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"unset OMP_WAIT_POLICY GOMP_SPINCOUNT; OMP_NUM_THREADS=3", "spins=3000\n"},
        {"unset OMP_WAIT_POLICY GOMP_SPINCOUNT; OMP_NUM_THREADS=1", "spins=1000\n"},
        {"unset OMP_WAIT_POLICY; GOMP_SPINCOUNT=7", "spins=7\n"},
        {"unset GOMP_SPINCOUNT; OMP_WAIT_POLICY=passive", "end\n"},
        {"unset OMP_WAIT_POLICY GOMP_SPINCOUNT; OMP_PROC_BIND=close", "end\n"},
        {"unset OMP_WAIT_POLICY GOMP_SPINCOUNT; OMP_PLACES=cores", "end\n"},
        {"unset OMP_WAIT_POLICY GOMP_SPINCOUNT; GOMP_CPU_AFFINITY=0-1", "end\n"},
    };
    static const char script[] = /* what ./train was started with, not what it sets for others */
        "p=$PPID; until readlink /proc/$p/exe | grep -q /train$ || test $p -le 1; do\n"
        "p=$(sed -n 's/^PPid:[^0-9]*//p' /proc/$p/status); done\n"
        "tr '\\0' '\\n' </proc/$p/environ | sed -n 's/^GOMP_SPINCOUNT/spins/p'; echo end; exit 1\n";
    run("mkdir -p elsewhere/data");
    text_save("elsewhere/data/corpus.sh", script, sizeof script - 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *command = string_format("cd elsewhere; %s train", cases[i][0]);
        assert_int_equal(command_run(command), EXIT_INPUT);
        assert_int_equal(strncmp(errors, cases[i][1], strlen(cases[i][1])), 0);
        free(command);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_ends_at_a_file_that_is_too_large),
        cmocka_unit_test(checkpoints_outlive_one_that_is_too_large),
        cmocka_unit_test(text_ends_at_a_file_that_is_too_large),
        cmocka_unit_test(studies_end_at_a_file_that_is_too_large),
        cmocka_unit_test(waiting_is_brief_unless_told_otherwise),
#ifndef __SANITIZE_ADDRESS__
        cmocka_unit_test(threads_that_cannot_be_had_are_told),
#endif
    };
    return cmocka_run_group_tests(tests, run_make, workplace_remove);
}
