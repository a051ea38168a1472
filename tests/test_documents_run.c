/* --documents in a run and in what is made of it: that it matters, that any number of threads and a run that goes on
 * have the same bits, and which tokenizers it refuses. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "command.h"
#include "prose.h"
#include "runs.h"

/* Texts shorter than a window, so that most windows have several. */
#define MODEL "train texts --cache cache --vocab 301 --seq 33 --layers 2 --channels 12 --attn-heads 3 --moe-heads 2 " \
    "--experts 5 --expert-hidden 7 --batch 3 --lr 0.01 --eval-windows 5 --eval-every 2 --sample-every 2 " \
    "--sample-tokens 9 --warmup 0 --steps 6 "

static int texts_make(void **state) {
    (void)state;
    char path[32];
    if (!workplace_enter() || mkdir("texts", 0755) != 0) return -1;
    for (int i = 0; i < 60; i++) {
        snprintf(path, sizeof path, "texts/%02d.txt", i);
        prose_save(path, 1 + i % 3, 100 + (uint64_t)i);
    }
    return system(MODEL "--documents --out whole >whole.txt 2>&1 && " MODEL "--out plain >plain.txt 2>&1 && "
                  "cp cache/*/tokenizer.model tokenizer.model");
}

/* The loss of entry i of those that have it. */
static double loss_of(const char *dir, const char *key, size_t i) {
    json_t *log = log_of(dir);
    const double loss = number_of(entry_of(log, key, i), key);
    json_decref(log);
    return loss;
}

/* A new model of zero-starting blocks does not look at other tokens; from the second step on it does. */
static void it_matters_in_training_and_in_validation(void **state) {
    (void)state;
    assert_true(loss_of("whole", "loss", 0) == loss_of("plain", "loss", 0));
    assert_true(loss_of("whole", "loss", 2) != loss_of("plain", "loss", 2));
    assert_true(loss_of("whole", "val_loss", 0) != loss_of("plain", "val_loss", 0));
}

static void resumed_runs_are_whole(void **state) {
    (void)state;
    run(MODEL "--documents --out run --until 3 --threads 1 && train --resume run --threads 3");
    checkpoints_compare("whole", "run", "last.safetensors");
    checkpoints_compare("whole", "run", "best.safetensors");
    logs_compare("whole", "run");
    refuse(5, "--documents false: the run in run was begun with true", "leave it out",
           "train --resume run --no-documents");
    refuse(5, "--documents true: the run in plain was begun with false", "leave it out",
           "train --resume plain --documents");
}

static void threads_and_recomputing_change_nothing(void **state) {
    (void)state;
    static const char *const ways[] = {"--threads 1", "--threads 2", "--threads 3 --recompute"};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        run("rm -rf other && " MODEL "--documents %s --out other", ways[i]);
        checkpoints_compare("whole", "other", "last.safetensors");
        logs_compare("whole", "other");
    }
}

/* The same pieces, where the first two, the unknown one and the end of text, have changed places. */
static void tokenizer_turn(const char *from, const char *to) {
    static char model[1 << 16];
    const size_t size = file_size(from);
    assert_true(size < sizeof model);
    text_read(from, model, sizeof model);
    const size_t first = 2 + (unsigned char)model[1], second = 2 + (unsigned char)model[first + 1];
    char *turned = array_alloc(size, 1);
    memcpy(turned, model + first, second);
    memcpy(turned + second, model, first);
    memcpy(turned + first + second, model + first + second, size - first - second);
    text_save(to, turned, size);
    free(turned);
}

static void other_ends_of_text_are_refused(void **state) {
    (void)state;
    tokenizer_turn("tokenizer.model", "turned.model");
    run(MODEL "--tokenizer turned.model --steps 1 --out turned");
    refuse(5, "--documents: the tokenizer has another end of text (got id 0, want 1)", "leave out --tokenizer",
           MODEL "--tokenizer turned.model --documents --steps 1 --out refused");
    refuse(5, "--documents: the tokenizer has another end of text (got id 0, want 1)", "leave out --tokenizer",
           "train --from turned texts --documents --steps 1 --out refused");
    run(MODEL "--tokenizer tokenizer.model --documents --steps 1 --out taken");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_matters_in_training_and_in_validation), cmocka_unit_test(resumed_runs_are_whole),
        cmocka_unit_test(threads_and_recomputing_change_nothing),
        cmocka_unit_test(other_ends_of_text_are_refused),
    };
    return cmocka_run_group_tests(tests, texts_make, workplace_remove);
}
