/* What ./train --task masked and ./sample refuse about pictures, captions and codebooks: one clear line, the right exit
 * code, nothing written and nothing lost; and what has no effect, told. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "command.h"
#include "picture_files.h"
#include "prose.h"
#include "runs.h"

#define SHAPE                                                                                                     \
    "--block gpt2 --cache cache --layers 1 --channels 8 --attn-heads 2 --ffn dense --patch 4 "
#define MODEL SHAPE "--task masked --vocab 300 --seq 24 --codes 8 --batch 4 --steps 2 "
#define TRAIN "train p " MODEL

static int folders_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    pictures_make("p", 40, 8);
    texts_make("p/lines.txt", 30);
    prose_save("corpus.txt", 300, 4);
    run(TRAIN "--out run");
    run("train corpus.txt " SHAPE "--vocab 300 --seq 24 --batch 4 --steps 2 --sample-every 0 --out text");
    run("mkdir words && cp p/lines.txt words && train words " MODEL "--out words.run && cp -r run kept");
    return 0;
}

/* Nothing is left of a run that never began. */
static void train_refuse(int code, const char *says, const char *remedy, const char *command) {
    refuse(code, says, remedy, command);
    run("! test -e new && ls -A cache >entries && ! grep -q '\\.[A-Za-z0-9]\\{6\\}$' entries");
}

/* ---- Captions and pictures ---- */

static void captions_refuse(const char *line, int code, const char *says, const char *remedy) {
    run("rm -rf q && cp -r p q && head -3 p/captions.tsv >q/captions.tsv && printf '%s' >>q/captions.tsv", line);
    train_refuse(code, says, remedy, "train q " MODEL "--out new");
}

static void captions_are_refused_by_their_line(void **state) {
    (void)state;
    captions_refuse("missing.png\\ta missing one\\ten\\n", 3, "q/captions.tsv: line 4: no such picture in this folder "
                    "(got 'missing.png')", "correct its name, or drop the line");
    captions_refuse("5.png\\t\\ten\\n", 3, "q/captions.tsv: line 4: a caption without text (got '5.png')",
                    "write one, or drop the line");
    captions_refuse("5.png\\n", 3, "q/captions.tsv: line 4: no TAB (got '5.png')", "TAB, caption");
}

static void pictures_of_two_sizes_need_one(void **state) {
    (void)state;
    run("rm -rf q && cp -r p q");
    picture_make("q/40.png", 12, 12, 77);
    train_refuse(2, "12 x 12", "give --size N", "train q " MODEL "--out new");
    run("train q " MODEL "--size 8 --out new && rm -r new");
    picture_make("q/40.png", 8, 7, 77);
    train_refuse(2, "8 x 7", "give --size N", "train q " MODEL "--out new");
    run("rm -rf q && cp -r p q && head -c 100 p/7.png >q/7.png");
    train_refuse(3, "q/7.png: ", "", "train q " MODEL "--out new");
    run("cp p/lines.txt q/7.png");
    train_refuse(3, "q/7.png: ", "", "train q " MODEL "--out new");
}

static void sizes_that_do_not_fit_are_refused(void **state) {
    (void)state;
    train_refuse(2, "--size 10 is not divisible by --patch 4", "use --size 12", TRAIN "--size 10 --out new");
    train_refuse(2, "(got --seq 5, want at least 6)", "raise --seq", TRAIN "--seq 5 --out new");
    train_refuse(2, "--seq 10 has no room for the 16 patches of a picture", "use --seq 18",
                 TRAIN "--size 16 --seq 10 --out new");
    train_refuse(2, "codes", "", TRAIN "--codes 5000 --out new");
    train_refuse(3, "nowhere: ", "", "train nowhere " MODEL "--out new");
}

/* ---- Options ---- */

static void held_out_text_is_not_taken(void **state) {
    (void)state;
    train_refuse(2, "--val corpus.txt: a masked model holds out pictures and texts of its own", "leave it out",
                 TRAIN "--val corpus.txt --out new");
    train_refuse(2, "--hide-patches", "", TRAIN "--hide-patches 0 --out new");
    train_refuse(2, "--hide-text", "", TRAIN "--hide-text 1.5 --out new");
    train_refuse(2, "--hide-caption", "", TRAIN "--hide-caption -1 --out new");
}

/* What is chosen is there, and stays so; data that are there already have what they have. */
static void languages_are_refused_by_name(void **state) {
    (void)state;
    train_refuse(2, "--languages en,fr: no caption is in 'fr'", "see captions.tsv",
                 TRAIN "--languages en,fr --out new");
    train_refuse(2, "--languages: bad value (got '', want a name)", "leave it out", TRAIN "--languages '' --out new");
    train_refuse(2, "--languages de: the data of run/best.safetensors are there already", "name a corpus, too",
                 "train --from run --languages de --out new");
    run(TRAIN "--languages de --out new");
    if (!strstr(errors, "languages: 1: de\n")) fail_msg("not told: %s", errors);
    run("grep -q '^languages = \"de\"$' new/config");
    refuse(5, "--languages en: the run in new was begun with de and keeps it", "leave it out",
           "train --resume new --languages en --steps 3");
    run("train --resume new --languages de --steps 3 && train p --resume new --steps 4 && rm -r new");
    run("train p --from run --languages de --steps 1 --cache cache --out new && rm -r new");
}

/* Emoji, where no folder is named. */
static void a_default_corpus_is_of_the_task(void **state) {
    (void)state;
    train_refuse(3, "data/corpora/emoji: the default corpus could not be fetched", "name a folder of pictures instead",
                 "train " MODEL "--out new 2>told; code=$?; grep '^train' told >&2; exit $code");
    train_refuse(3, "data/corpora/austen: the default corpus could not be fetched", "name a text file instead",
                 "train --cache cache --out new 2>told; code=$?; grep '^train' told >&2; exit $code");
    run("mkdir -p data/corpora && cp -r p data/corpora/emoji && train " MODEL "--out new");
    if (!strstr(errors, "pictures: 38 to train on, 2 held out\n")) fail_msg("not told: %s", errors);
    run("rm -r data new");
}

/* Counts the notes of a run, and expects these (NULL at the end), and no others. */
static void notes_expect(const char *command, const char *const *notes) {
    size_t found = 0, n = 0;
    run("%s", command);
    for (const char *at = errors; (at = strstr(at, "train: note: ")); at++) found++;
    for (; notes[n]; n++)
        if (!strstr(errors, notes[n])) fail_msg("'%s' is missing: %s", notes[n], errors);
    if (found != n) fail_msg("%zu notes, want %zu: %s", found, n, errors);
}

static void options_without_effect_are_told(void **state) {
    (void)state;
    static const char *const of_text[][2] = {{"parts", ""}, {"part-alpha", " 0.5"}, {"part-weights", " a=1"},
                                             {"prompt", " x"}, {"sample-every", " 1"}, {"sample-tokens", " 3"}};
    static const char *const of_masked[][2] = {{"hide-patches", " 0.5"}, {"hide-text", " 0.5"},
                                               {"hide-caption", " 0.2"}, {"size", " 16"}, {"codes", " 9"},
                                               {"languages", " en"}};
    for (size_t i = 0; i < 6; i++) {
        char *command = string_format("rm -rf new && " TRAIN "--dry-run --%s%s", of_text[i][0], of_text[i][1]);
        char *note = string_format("train: note: --%s has no effect with --task masked\n", of_text[i][0]);
        notes_expect(command, (const char *const[]){note, NULL});
        free(command);
        free(note);
    }
    for (size_t i = 0; i < 6; i++) {
        char *command = string_format("train corpus.txt --cache cache --vocab 300 --layers 1 --channels 8 --ffn dense "
                                      "--dry-run --%s%s", of_masked[i][0], of_masked[i][1]);
        char *note = string_format("train: note: --%s has no effect without --task masked\n", of_masked[i][0]);
        notes_expect(command, (const char *const[]){note, NULL});
        free(command);
        free(note);
    }
    notes_expect(TRAIN "--dry-run --hide-patches 0.5 --hide-text 0.5 --hide-caption 0.5", (const char *const[]){NULL});
}

/* ---- Other models ---- */

static void run_is_kept(void) { run("diff -r run kept"); }

enum { CODES = 8, Q = 4 * 4 * 3 };

/* The codebook in a checkpoint, into entries (CODES, Q) unless that is NULL; whether there is one. */
static bool codebook_read_of(const char *path, float *entries) {
    struct checkpoint c;
    struct error err;
    if (!checkpoint_open(&c, path, &err)) fail_msg("%s", err.text);
    const bool there = checkpoint_find(&c, "codebook");
    const struct tensor book = {.name = "codebook", .dtype = DTYPE_F32, .dims = 2, .shape = {CODES, Q},
                                .data = entries};
    if (there && entries && !checkpoint_read(&c, &book, &err)) fail_msg("%s", err.text);
    checkpoint_close(&c);
    return there;
}

static void other_codebooks_are_refused(void **state) {
    (void)state;
    refuse(5, "--codes 7: the run in run was begun with 8 and keeps it", "leave it out",
           "train p --resume run --codes 7 --steps 3");
    refuse(5, "--size 16: the run in run was begun with 8 and keeps it", "leave it out",
           "train p --resume run --size 16 --steps 3");
    run_is_kept();
    train_refuse(5, "run/best.safetensors: tensor codew: wrong shape (got (8, 8), want (7, 8))", "--codes 8",
                 "train p --from run --codes 7 --cache cache --out new");
    train_refuse(5, "tensor patchw: wrong shape", "--patch 4", "train p --from run --patch 2 --cache cache --out new");
    run("rm -rf q && cp -r p q && rm q/2?.png && grep -v '^2.\\.png' p/captions.tsv >q/captions.tsv");
    refuse(5, "not the data that run/last.safetensors was trained on", "name the same corpus",
           "train q --resume run --steps 3");
    run_is_kept();
    refuse(5, "not the data that run/last.safetensors was trained on", "name the same corpus",
           "train words --resume run --steps 3");
    run_is_kept();
    /* the same folder again goes on, and so does one without pictures that becomes one with them */
    run("train p --resume run --steps 3 && rm -rf run && cp -r kept run");
    run("train p --from words.run --codes 8 --patch 4 --steps 1 --cache cache --out new && rm -r new");
    run("train words --from run --steps 1 --cache cache --out new");
    if (!strstr(errors, "; unused: patchw, patchb, codew\n")) fail_msg("not told: %s", errors);
    assert_false(codebook_read_of("new/last.safetensors", NULL));
    run("rm -r new");
    /* other pictures get the codes that the weights know */
    float mine[CODES * Q], theirs[CODES * Q], own[CODES * Q];
    run("train q --from run --steps 1 --cache cache --out new");
    assert_true(codebook_read_of("run/best.safetensors", theirs) && codebook_read_of("new/last.safetensors", mine));
    assert_memory_equal(mine, theirs, sizeof mine);
    run("rm -r new && train q " MODEL "--out new");
    assert_true(codebook_read_of("new/last.safetensors", own));
    assert_memory_not_equal(own, theirs, sizeof own);
    run("rm -r new");
}

/* No tensor tells these pictures apart. */
static void albums_of_other_sizes_are_refused(void **state) {
    (void)state;
    train_refuse(5, "pictures of 8 pixels in patches of 4 with 8 visual codes, but the model is for 12, 4 and 8",
                 "name the pictures it was trained on", "train --from run --size 12 --out new");
}

/* Prepared data that somebody exchanged: what the weights know as code 3 would be another one. */
static void albums_of_another_codebook_are_refused(void **state) {
    (void)state;
    run("rm -rf q && cp -r p q && rm q/2?.png && grep -v '^2.\\.png' p/captions.tsv >q/captions.tsv");
    run("train q " MODEL "--out new");
    struct checkpoint a = checkpoint_at("run", "last.safetensors"), b = checkpoint_at("new", "last.safetensors");
    const char *mine = metadata(&a, "data_dir"), *theirs = metadata(&b, "data_dir");
    run("mv %s aside && cp -r %s %s && rm -r new", mine, theirs, mine);
    train_refuse(5, "made with another codebook than run/best.safetensors", "name the corpus again",
                 "train --from run --cache cache --out new");
    refuse(5, "made with another codebook than run/last.safetensors", "name the corpus again",
           "train --resume run --steps 3");
    run_is_kept();
    run("rm -r %s && mv aside %s", mine, mine);
    checkpoint_close(&a);
    checkpoint_close(&b);
}

static void data_of_the_other_task_are_refused(void **state) {
    (void)state;
    train_refuse(5, "prepared for a model of text", "name a corpus for --task masked",
                 "train --from text --task masked --cache cache --out new");
    train_refuse(5, "prepared for a masked model", "name a corpus for --task text",
                 "train --from run --task text --cache cache --out new");
}

/* A run goes on with the codebook in its checkpoint; one that begins has the folder prepared again. */
static void damaged_codebooks_are_made_again(void **state) {
    (void)state;
    struct checkpoint c = checkpoint_at("run", "last.safetensors");
    char *book = string_format("%s/codebook", metadata(&c, "data_dir"));
    run("cp %s codebook && head -c 50 codebook >%s", book, book);
    run("cp -r run goes.on && train --resume goes.on --steps 3 && rm -r goes.on");
    run(TRAIN "--out new && rm -r new && cmp codebook %s", book);
    run("rm %s", book);
    run(TRAIN "--out new && rm -r new && cmp codebook %s", book);
    checkpoint_close(&c);
    free(book);
}

/* ---- ./sample ---- */

static void samples_of_the_wrong_kind_are_refused(void **state) {
    (void)state;
    refuse(5, "text/best.safetensors: a model of text, which was never shown a picture", "--task masked",
           "sample --model text --image p/0.png");
    refuse(5, "text/best.safetensors: a model of text", "--task masked", "sample --model text --fill 'a [MASK]'");
    refuse(5, "p/0.png: the model was never shown a picture", "take one that was trained with some",
           "sample --model words.run --image p/0.png");
    refuse(5, "p/0.png: the model was never shown a picture", "take one that was trained with some",
           "sample --model words.run --complete p/0.png --hide 0,0,4,4 --out x.png");
    static const char *const asked[] = {"", "--prompt x", "--score corpus.txt"};
    for (int i = 0; i < 3; i++) {
        char *command = string_format("sample --model run %s", asked[i]);
        refuse(5, "run/best.safetensors: a masked model, which fills in", "use --image, --fill or --complete", command);
        free(command);
    }
    run("sample --model run --image p/0.png && sample --model words.run --fill 'the [MASK] is'");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(captions_are_refused_by_their_line),
        cmocka_unit_test(pictures_of_two_sizes_need_one),
        cmocka_unit_test(sizes_that_do_not_fit_are_refused),
        cmocka_unit_test(held_out_text_is_not_taken),
        cmocka_unit_test(languages_are_refused_by_name),
        cmocka_unit_test(a_default_corpus_is_of_the_task),
        cmocka_unit_test(options_without_effect_are_told),
        cmocka_unit_test(other_codebooks_are_refused),
        cmocka_unit_test(albums_of_other_sizes_are_refused),
        cmocka_unit_test(albums_of_another_codebook_are_refused),
        cmocka_unit_test(data_of_the_other_task_are_refused),
        cmocka_unit_test(damaged_codebooks_are_made_again),
        cmocka_unit_test(samples_of_the_wrong_kind_are_refused),
    };
    return cmocka_run_group_tests(tests, folders_make, workplace_remove);
}
