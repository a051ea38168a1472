/* --ema: an average of the weights over the steps, which is what a run is judged by and leaves for ./sample. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "command.h"
#include "prose.h"
#include "runs.h"

enum { STEPS = 5 };
#define MODEL "train corpus.txt --cache cache --vocab 301 --seq 17 --layers 2 --channels 12 --attn-heads 3 " \
    "--moe-heads 2 --experts 5 --expert-hidden 7 --batch 3 --lr 0.01 --eval-windows 5 --sample-tokens 3 "
#define STEPPED "--steps 5 --eval-every 1 --save-every 1 --sample-every 2 --keep 9 --schedule constant --warmup 0 "

static int corpus_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    prose_save("corpus.txt", 300, 1);
    return system(MODEL STEPPED "--ema 0.4 --out whole >whole.txt 2>&1 && "
                  MODEL STEPPED "--out plain >plain.txt 2>&1");
}

/* The decays of the first steps are 2/11, 3/12, 4/13, 5/14 and then what was asked for, since 6/15 is not more. */
static void averages_are_the_plain_ones(void **state) {
    (void)state;
    static const double decays[] = {2.0 / 11, 0.25, 4.0 / 13, 5.0 / 14, 0.4};
    run(MODEL "--steps 0 --ema 0.4 --out start");
    struct checkpoint before = checkpoint_at("start", "last.safetensors");
    for (size_t i = 0; i < before.n; i++) { /* it begins with the weights */
        const struct tensor *average = &before.tensors[i];
        if (strncmp(average->name, "ema.", 4) != 0) continue;
        assert_memory_equal(average->data, tensor_named(&before, average->name + 4)->data, tensor_bytes(average));
    }
    for (int step = 1; step <= STEPS; step++) {
        char *name = string_format("step-%08d.safetensors", step);
        struct checkpoint c = checkpoint_at("whole", name), p = checkpoint_at("plain", name);
        size_t averages = 0;
        for (size_t i = 0; i < c.n; i++) {
            if (strncmp(c.tensors[i].name, "ema.", 4) != 0) continue;
            const float *got = c.tensors[i].data, *old = tensor_named(&before, c.tensors[i].name)->data;
            const struct tensor *now = tensor_named(&c, c.tensors[i].name + 4);
            const float *w = now->data;
            for (size_t k = 0; k < tensor_count(now); k++) /* a few roundings of numbers of about 1 at most */
                expect_near(got[k], decays[step - 1] * old[k] + (1 - decays[step - 1]) * w[k], 5e-7);
            assert_memory_equal(w, tensor_named(&p, c.tensors[i].name + 4)->data, tensor_bytes(now));
            averages++;
        }
        assert_int_equal(averages, (c.n - 1) / 4);
        assert_int_equal(c.n, p.n + averages);
        checkpoint_close(&before);
        checkpoint_close(&p);
        before = c;
        free(name);
    }
    checkpoint_close(&before);
}

/* The best model is the averaged one where the validation was the best; at these rates the last one. */
static void best_is_the_average(void **state) {
    (void)state;
    struct checkpoint best = checkpoint_at("whole", "best.safetensors");
    char *name = string_format("step-%08ld.safetensors", strtol(metadata(&best, "step"), NULL, 10));
    struct checkpoint c = checkpoint_at("whole", name);
    for (size_t i = 0; i < best.n; i++) {
        const struct tensor *t = &best.tensors[i];
        if (t->dtype != DTYPE_F32) continue;
        char *averaged = string_format("ema.%s", t->name);
        assert_memory_equal(t->data, tensor_named(&c, averaged)->data, tensor_bytes(t));
        free(averaged);
    }
    free(name);
    checkpoint_close(&c);
    checkpoint_close(&best);
    json_t *a = log_of("whole"), *b = log_of("plain");
    for (size_t i = 0; i < STEPS; i++) { /* training is what it was; judged is the average */
        assert_true(number_of(entry_of(a, "loss", i), "loss") == number_of(entry_of(b, "loss", i), "loss"));
        assert_true(number_of(entry_of(a, "val_loss", i), "val_loss") !=
                    number_of(entry_of(b, "val_loss", i), "val_loss"));
    }
    json_decref(a);
    json_decref(b);
}

static void resumed_runs_are_whole(void **state) {
    (void)state;
    run(MODEL STEPPED "--ema 0.4 --out run --until 2 && train --resume run --threads 2");
    checkpoints_compare("whole", "run", "last.safetensors");
    checkpoints_compare("whole", "run", "best.safetensors");
    logs_compare("whole", "run");
    refuse(5, "--ema 0.5: the run in run was begun with 0.4", "leave it out", "train --resume run --ema 0.5");
    refuse(5, "--ema 0.5: the run in plain was begun with 0", "leave it out", "train --resume plain --ema 0.5");
}

static double memory_of(const char *options) {
    run(MODEL "--dry-run %s", options);
    return strtod(strstr(output, "memory") + strlen("memory"), NULL);
}

/* One more number a parameter, told in tenths of a megabyte. */
static void memory_is_counted(void **state) {
    (void)state;
    const double plain = memory_of("--channels 240"), more = memory_of("--channels 240 --ema 0.9");
    const double parameters = strtod(strstr(output, "parameters") + strlen("parameters"), NULL);
    assert_true(parameters > 1e6);
    expect_near(more - plain, 4 * parameters / 1e6, 0.11);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(averages_are_the_plain_ones), cmocka_unit_test(best_is_the_average),
        cmocka_unit_test(resumed_runs_are_whole), cmocka_unit_test(memory_is_counted),
    };
    return cmocka_run_group_tests(tests, corpus_make, workplace_remove);
}
