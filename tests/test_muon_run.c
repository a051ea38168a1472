/* --optimizer muon in a run: which tensors it updates, what the checkpoint holds of it, and that it goes on. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "command.h"
#include "prose.h"
#include "runs.h"

#define MODEL "train corpus.txt --cache cache --vocab 301 --seq 17 --layers 2 --channels 12 --attn-heads 3 " \
    "--moe-heads 2 --experts 5 --expert-hidden 7 --batch 3 --lr 0.01 --eval-windows 5 --sample-every 0 --warmup 0 " \
    "--moe-every 2 --shared-hidden 3 --no-tie --block gpt2 --steps 4 "

static int corpus_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    prose_save("corpus.txt", 300, 1);
    return system(MODEL "--optimizer muon --out whole >whole.txt 2>&1 && "
                  MODEL "--optimizer adamw --out plain >plain.txt 2>&1");
}

static bool all_zero(const struct tensor *t) {
    const float *x = t->data;
    for (size_t i = 0; i < tensor_count(t); i++)
        if (x[i] != 0) return false;
    return true;
}

/* Muon keeps no squares: their place stays 0. All else has some. */
static void matrices_are_muons(void **state) {
    (void)state;
    static const char muons[] = " qkvw attprojw fcw fcprojw headw expw1 expw2 sharedw1 sharedw2 mergew ";
    struct checkpoint c = checkpoint_at("whole", "last.safetensors");
    size_t found = 0;
    for (size_t i = 0; i < c.n; i++) {
        const char *name = c.tensors[i].name;
        if (strncmp(name, "adam_v.", 7) != 0) continue;
        char *word = string_format(" %s ", name + 7), *mean = string_format("adam_m.%s", name + 7);
        const bool muon = strstr(muons, word);
        if (all_zero(&c.tensors[i]) != muon) fail_msg("%s: want %s", name, muon ? "zeros" : "squares");
        assert_false(all_zero(tensor_named(&c, mean)));
        found += muon;
        free(word);
        free(mean);
    }
    assert_int_equal(found, 10);
    checkpoint_close(&c);
}

static void resumed_runs_are_whole(void **state) {
    (void)state;
    run(MODEL "--optimizer muon --out run --until 2 --threads 1 && train --resume run --threads 3");
    checkpoints_compare("whole", "run", "last.safetensors");
    logs_compare("whole", "run");
    refuse(5, "--optimizer adamw: the run in run was begun with muon", "leave it out",
           "train --resume run --optimizer adamw");
    refuse(5, "--optimizer muon: the run in plain was begun with adamw", "leave it out",
           "train --resume plain --optimizer muon");
}

static void moments_are_of_one_optimizer(void **state) {
    (void)state;
    refuse(5, "--keep-moments: those in whole/last.safetensors are of --optimizer muon", "take that",
           "train --from whole --keep-moments --steps 1 --optimizer adamw --out other");
    refuse(5, "--keep-moments: those in plain/last.safetensors are of --optimizer adamw", "take that",
           "train --from plain --keep-moments --steps 1 --optimizer muon --out another");
    run("train --from whole --keep-moments --steps 1 --optimizer muon --out third");
    run("mkdir before");
    last_rewrite("plain", "before", "options", NULL); /* a version that kept none */
    run("train --from before --keep-moments --steps 1 --optimizer adamw --out fourth");
    refuse(5, "--keep-moments: those in before/last.safetensors are of --optimizer adamw", "take that",
           "train --from before --keep-moments --steps 1 --optimizer muon --out another");
}

static double memory_of(const char *options) {
    run(MODEL "--channels 240 --dry-run %s", options);
    return strtod(strstr(output, "memory") + strlen("memory"), NULL);
}

/* Twice the largest tensor, qkvw, and two squares of each of its two matrices; B packed aside, once more at most. */
static void memory_is_counted(void **state) {
    (void)state;
    const double numbers = 2 * 2 * (3 + 1) * 240 * 240;
    const double more = memory_of("--optimizer muon") - memory_of("--optimizer adamw");
    assert_true(more >= 4e-6 * numbers - 0.11 && more <= 2 * 4e-6 * numbers);
}

/* Who says nothing of it has Muon; a run of an earlier version, which says nothing of it, AdamW. */
static void it_is_the_default(void **state) {
    (void)state;
    run(MODEL "--out run3");
    checkpoints_compare("whole", "run3", "last.safetensors");
    run("cp -r plain earlier");
    option_forget("earlier", "optimizer");
    option_forget("earlier", "ema");
    run("train --resume earlier --steps 6");
    run("cp -r plain later && train --resume later --steps 6");
    checkpoints_compare("later", "earlier", "last.safetensors");
    logs_compare("later", "earlier");
    run("grep -q '\"step\":6' earlier/log.jsonl");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrices_are_muons), cmocka_unit_test(resumed_runs_are_whole),
        cmocka_unit_test(moments_are_of_one_optimizer), cmocka_unit_test(memory_is_counted),
        cmocka_unit_test(it_is_the_default),
    };
    return cmocka_run_group_tests(tests, corpus_make, workplace_remove);
}
