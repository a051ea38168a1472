/* Text as it comes to ./train: held-out text inside of the corpus, texts too small for the default vocabulary, two at
 * the same text at once, and a run whose prepared data is no longer what it was. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "command.h"
#include "prose.h"

#define MODEL                                                                                            \
    " --vocab 301 --seq 17 --layers 2 --channels 12 --attn-heads 3 --moe-heads 2 --experts 5 --topk 2"   \
    " --expert-hidden 7 --batch 3 --steps 6 --warmup 1 --eval-every 0 --sample-every 0 --cache cache "

static int corpora_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    prose_save("corpus.txt", 400, 1);
    prose_save("val.txt", 60, 2);
    prose_save("other.txt", 60, 3);
    return 0;
}

static size_t count(const char *text, const char *what) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, what)); at++) n++;
    return n;
}

/* One note, whether the text is prepared or found in the cache. */
static void held_out_text_in_the_corpus_is_told(void **state) {
    (void)state;
    run("mkdir c && cp corpus.txt c/a.txt && cp val.txt c/val.txt && ln val.txt c/copy.txt");
    for (int i = 0; i < 2; i++) {
        run("train c --val c/val.txt --dry-run" MODEL);
        assert_int_equal(count(errors, "note"), 1);
        assert_non_null(strstr(errors,
                               "train: note: c/copy.txt and 1 more are held out by --val c/val.txt: left out of "
                               "training\n"));
    }
    char *with = string_format("%s", strstr(output, "training tokens"));
    run("rm c/copy.txt && train c --val val.txt --dry-run" MODEL);
    assert_non_null(strstr(errors, "train: note: c/val.txt is held out by --val val.txt: left out of training\n"));
    run("train corpus.txt --val val.txt --dry-run" MODEL);
    assert_int_equal(count(errors, "note"), 0);
    assert_string_equal(strstr(output, "training tokens"), with);
    free(with);
    refuse(3, "all of it is held out by --val", "leave out --val", "train val.txt --val val.txt" MODEL);
}

/* The commands of README.md on 30 KB: they do what they can, and say so. */
static void small_texts_need_no_options(void **state) {
    (void)state;
    static const char *const words[] = {"small", "words", "that", "repeat", "a", "lot"};
    FILE *file = fopen("tiny.txt", "w");
    for (int i = 0; i < 6000; i++) fprintf(file, "%s%s", words[(i * i + i / 7) % 6], i % 9 == 8 ? ".\n" : " ");
    assert_int_equal(fclose(file), 0);
    run("train tiny.txt --steps 1 --seq 16 --layers 2 --channels 12 --attn-heads 3 --cache tiny-cache "
        "--sample-every 0");
    assert_int_equal(count(errors, "train: note: this text supports a vocabulary of "), 1);
    run("train tiny.txt --ffn smoe --experts 16 --dry-run --seq 16 --cache tiny-cache");
    assert_int_equal(count(errors, "train: note: this text supports a vocabulary of "), 1);
    run("cat tiny.txt | train - --out runs/mine --steps 1 --seq 16 --layers 2 --channels 12 --attn-heads 3 "
        "--cache tiny-cache --sample-every 0");
    run("train --resume runs/mine --steps 2");
    refuse(2, "got 4096, want at most", "lower --vocab", "train tiny.txt --vocab 4096 --dry-run --cache tiny-cache");
    refuse(2, "got 4096, want at most", "lower --vocab", "train tiny.txt --vocab 4096 --dry-run --cache fresh");
    refuse(2, "got 4096, want at most", "lower --vocab", "train --print-config >conf; train tiny.txt --config conf "
           "--dry-run --cache tiny-cache");
}

/* Both end well, on one entry. */
static void two_may_prepare_the_same_text(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        run("rm -rf cache; train corpus.txt --dry-run" MODEL " >a.out 2>&1 & train corpus.txt --dry-run" MODEL
            " >b.out 2>&1; b=$?; wait $! && test $b -eq 0");
        run("ls -A cache | wc -l");
        assert_string_equal(output, "1\n");
        run("diff a.out b.out >/dev/null; train corpus.txt --dry-run" MODEL);
        assert_null(strstr(errors, "encoding"));
    }
}

/* Tokens to train on that are the same, held-out ones that are not: not the run that it was. */
static void a_run_keeps_its_held_out_text(void **state) {
    (void)state;
    run("rm -rf cache; train corpus.txt --val val.txt --until 3 --out run" MODEL);
    run("mkdir elsewhere && mv cache/* elsewhere && train corpus.txt --val other.txt --dry-run" MODEL);
    run("cmp cache/*/train-00000.shard elsewhere/*/train-00000.shard && cmp cache/*/tokenizer.model "
        "elsewhere/*/*.model");
    run("cp -r elsewhere/* cache && cd cache && for d in *; do test -d ../elsewhere/$d || mv $d/val-00000.shard "
        "..; done");
    run("cp val-00000.shard cache/$(ls elsewhere)/");
    refuse(5, "not the data", "name the same corpus", "train --resume run");
    run("cp elsewhere/*/val-00000.shard cache/$(ls elsewhere)/ && train --resume run");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(held_out_text_in_the_corpus_is_told),
        cmocka_unit_test(small_texts_need_no_options),
        cmocka_unit_test(two_may_prepare_the_same_text),
        cmocka_unit_test(a_run_keeps_its_held_out_text),
    };
    return cmocka_run_group_tests(tests, corpora_make, workplace_remove);
}
