/* Pictures while a run goes on, and ./train --plot, which draws several runs into one. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "command.h"
#include "prose.h"
#include "runs.h"

#define MODEL                                                                                                  \
    "train corpus.txt --block gpt2 --cache cache --vocab 301 --seq 17 --layers 2 --channels 12 --attn-heads 3 " \
    "--moe-heads 2 --experts 5 --topk 2 --expert-hidden 7 --batch 2 --lr 0.02 --eval-windows 3 --sample-every 0 "

static int corpora_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    prose_save("corpus.txt", 500, 1);
    return system(MODEL "--dry-run >/dev/null 2>&1");
}

static int runs_remove(void **state) {
    (void)state;
    return system("rm -rf run other plot.svg both.svg");
}

/* Whether the picture has this mark. */
static bool shows(const char *svg, const char *mark) {
    text_read(svg, output, sizeof output);
    char *element = string_format("<title>%s</title>", mark);
    const bool does = strstr(output, element);
    free(element);
    return does;
}

/* "NAME: LOSS at TOKENS" of a validation; malloc'ed. */
static char *mark_of(const char *run, const char *name, size_t validation) {
    json_t *log = log_of(run);
    const json_t *entry = entry_of(log, "val_loss", validation);
    char *mark = string_format("%s: %.6g at %.6g", name, number_of(entry, "val_loss"), number_of(entry, "tokens"));
    json_decref(log);
    return mark;
}

/* Not only at the end: a run that was stopped after its second validation has a picture of both, and of the load in
 * the last. */
static void pictures_are_drawn_at_every_validation(void **state) {
    (void)state;
    run(MODEL "--steps 100 --eval-every 3 --until 8 --out run");
    assert_false(shows("run/plots/loss.svg", "validation: 1 at 1"));
    for (size_t v = 0; v < 2; v++) {
        char *mark = mark_of("run", "validation", v);
        if (!shows("run/plots/loss.svg", mark)) fail_msg("'%s' is missing", mark);
        free(mark);
    }
    json_t *log = log_of("run");
    const json_t *layer = json_array_get(json_object_get(entry_of(log, "val_loss", 1), "val_load"), 0);
    double sum = 0;
    for (size_t e = 0; e < 5; e++) sum += json_number_value(json_array_get(layer, e));
    char *share = string_format("block 1, 4: %.4g", json_number_value(json_array_get(layer, 4)) * 5 / sum);
    if (!shows("run/plots/load.svg", share)) fail_msg("'%s' is missing", share);
    free(share);
    json_decref(log);
}

/* Named by directories or by a checkpoint, into the picture that --out names, or plot.svg; nothing is trained. */
static void plot_draws_the_runs_that_are_named(void **state) {
    (void)state;
    run(MODEL "--steps 6 --eval-every 3 --out run && " MODEL "--steps 4 --eval-every 2 --lr 0.5 --out other");
    run("ls -l --full-time run other run/plots other/plots");
    char *before = string_format("%s", output);
    run("train --plot run other/last.safetensors --out both.svg");
    assert_string_equal(output, "both.svg\n");
    run("ls -l --full-time run other run/plots other/plots");
    assert_string_equal(output, before); /* nothing is trained */
    free(before);
    for (size_t v = 0; v < 2; v++) {
        char *mine = mark_of("run", "run", v), *its = mark_of("other", "other/last.safetensors", v);
        assert_true(shows("both.svg", mine) && shows("both.svg", its));
        free(mine);
        free(its);
    }
    run("train --plot other && mv both.svg run && cd run && train --plot last.safetensors && test -s plot.svg");
    assert_string_equal(output, "plot.svg\nplot.svg\n");
    char *mark = mark_of("other", "other", 1);
    assert_true(shows("plot.svg", mark));
    free(mark);
}

static void plot_refuses_what_is_no_run(void **state) {
    (void)state;
    run("mkdir other");
    refuse(2, "--plot: no run named", "give the directories", "train --plot");
    refuse(3, "other/log.jsonl: cannot read", "name the directory of a run", "train --plot other");
    refuse(2, "--out other: a directory", "other.svg", "train --plot run --out other");
    run(MODEL "--steps 1 --out run");
    refuse(2, "--plot and --from both given", "name the runs alone", "train --plot --from run");
    refuse(2, "--plot and --resume both given", "name the runs alone", "train --plot --resume run");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(pictures_are_drawn_at_every_validation, runs_remove),
        cmocka_unit_test_setup(plot_draws_the_runs_that_are_named, runs_remove),
        cmocka_unit_test_setup(plot_refuses_what_is_no_run, runs_remove),
    };
    return cmocka_run_group_tests(tests, corpora_make, workplace_remove);
}
