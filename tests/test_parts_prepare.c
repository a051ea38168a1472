/* What becomes of a corpus of parts: its text in the shards of each, the tokenizer that they share, and the entry in
 * the cache when something happens to it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <omp.h>
#include <zlib.h>
#include "../data/cache.h"
#include "../data/inputs.h"
#include "data_files.h"

static int place_enter(void **state) { return directory_create(state) == 0 ? chdir(*state) : -1; }
static int place_leave(void **state) { return chdir("/") == 0 ? directory_delete(state) : -1; }
#define HERE(name) cmocka_unit_test_setup_teardown(name, place_enter, place_leave)
#define PATHS(...) .paths = (char *[]){__VA_ARGS__}, .n_paths = sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)

static void shell(const char *format, const char *name) {
    char *command = string_format("for X in '%s'; do %s; done", name, format);
    if (system(command) != 0) fail_msg("%s", command);
    free(command);
}

/* Lines that no other salt has. */
static void put(const char *path, size_t size, int salt) {
    struct error err;
    char *dir = string_format("%s", path), *slash = strrchr(dir, '/');
    if (slash) {
        *slash = 0;
        assert_true(directory_make(dir, &err));
    }
    char *text = prose((int)(size / 9) + 1, (int)((unsigned)salt * 1000003u));
    file_write(path, text, size);
    free(text);
    free(dir);
}

/* One file that is cut in each of two parts, and a part of forty small ones, of which two are held out. */
enum { SMALL = 40 };
static void corpus_make(void) {
    char path[40];
    put("c/de/one", 4000, 1);
    put("c/fr/a", 2500, 2);
    put("c/fr/b", 2600, 3);
    put("c/fr/empty", 0, 3);
    for (int k = 0; k < SMALL; k++) {
        sprintf(path, "c/en/%02d.txt", k);
        put(path, (size_t)(300 + k), 10 + k);
    }
}

/* Of all of the corpus, if nothing else is said. */
static const struct prepare_options standard = {PATHS("c"), .parts = true, .part_alpha = 1, .vocab = PREPARE_VOCAB,
                                                .cache = "cache"};

static char *prepared(const struct prepare_options *o) {
    struct error err;
    char *dir = data_prepare(o, &err);
    if (!dir) fail_msg("%s", err.text);
    return dir;
}

static uint64_t tokenizer_of(const char *dir) {
    struct error err;
    char *path = string_format("%s/tokenizer.model", dir);
    tokenizer *t = tokenizer_load(path, &err);
    if (!t) fail_msg("%s", err.text);
    const uint64_t hash = tokenizer_hash(t);
    tokenizer_free(t);
    free(path);
    return hash;
}

/* ---- The text ---- */

/* Takes the text that *at begins with, up to the end of text; its size. */
static size_t text_take(const char **at, const char *want, size_t size) {
    const char *end = strchr(*at, '|');
    if (!end) fail_msg("'%.40s' is missing", want);
    const size_t n = (size_t)(end - *at);
    assert_true(n <= size);
    assert_memory_equal(*at, want, n);
    *at = end + 1;
    return n;
}

/* Each input is where it belongs, whole, and in neither place twice. */
static void expect_text(const char *entry, const struct input_list *list, size_t p) {
    char *const splits[] = {string_format("%s/train", list->parts[p].name),
                            string_format("%s/val", list->parts[p].name)};
    char *train = split_text(entry, splits[0]), *val = split_text(entry, splits[1]);
    const char *at = train, *val_at = val;
    for (const struct input *i = list->inputs; i < list->inputs + list->n; i++) {
        size_t size, n = 0;
        if (i->part != p) continue;
        char *text = file_read(i->path, &size);
        if (i->use == INPUT_TRAIN && size > 0) n = text_take(&at, text, size);
        if (i->use == INPUT_HELD_OUT) n = text_take(&val_at, text, size);
        if (i->use == INPUT_CUT) {
            n = text_take(&at, text, size);
            assert_true(n >= size - size / 20 && text[n - 1] == '\n');
            n += text_take(&val_at, text + n, size - n);
        }
        assert_int_equal(n, size);
        free(text);
    }
    assert_int_equal(*at + *val_at, 0);
    assert_true(at > train && val_at > val);
    free(train);
    free(val);
    free(splits[0]);
    free(splits[1]);
}

static void every_text_is_in_one_place(void **state) {
    (void)state;
    struct input_list list;
    struct error err;
    corpus_make();
    char *dir = prepared(&standard);
    assert_true(inputs_list(&list, (char *[]){"c"}, 1, true, false, &err));
    inputs_hold_out(&list);
    size_t uses[3] = {0};
    for (size_t i = 0; i < list.n; i++) uses[list.inputs[i].use]++;
    assert_true(uses[INPUT_CUT] == 3 && uses[INPUT_HELD_OUT] > 1 && uses[INPUT_HELD_OUT] < 5);
    for (size_t p = 0; p < 3; p++) expect_text(dir, &list, p); /* split_text sees to it that the tokenizer is theirs */
    assert_int_equal(entries_count(dir), 5); /* three parts, the tokenizer, parts.txt */
    size_t size;
    char *names = string_format("%s/parts.txt", dir), *text = file_read(names, &size);
    assert_int_equal(size, 9);
    assert_memory_equal(text, "de\nen\nfr\n", 9);
    free(text);
    free(names);
    inputs_free(&list);
    free(dir);
}

/* The same parts by name, and files without parts, have the same text. */
static void parts_by_name_are_the_same_parts(void **state) {
    (void)state;
    corpus_make();
    struct prepare_options named = standard, plain = standard;
    struct prepare_options o = {PATHS("fr=c/fr", "en=c/en", "de=c/de/one")};
    named.paths = o.paths;
    named.n_paths = 3;
    named.parts = plain.parts = false;
    char *dirs[] = {prepared(&standard), prepared(&named), prepared(&plain)};
    assert_string_not_equal(dirs[0], dirs[1]);
    assert_string_not_equal(dirs[0], dirs[2]);
    assert_non_null(strstr(dirs[1], "cache/fr-")); /* the first that was named */
    assert_true(tokenizer_of(dirs[0]) == tokenizer_of(dirs[1]));
    static const char *const splits[] = {"de/train", "de/val", "en/train", "en/val", "fr/train", "fr/val"};
    for (int i = 0; i < 6; i++) {
        char *a = split_text(dirs[0], splits[i]), *b = split_text(dirs[1], splits[i]);
        assert_string_equal(a, b);
        free(a);
        free(b);
    }
    char *names = string_format("%s/parts.txt", dirs[2]);
    assert_int_not_equal(access(names, F_OK), 0);
    assert_int_equal(entries_count(dirs[2]), 3);
    free(names);
    for (int i = 0; i < 3; i++) free(dirs[i]);
}

/* ---- The tokenizer's text ---- */

/* Hands out some of the files that are trained on. */
struct chosen {
    struct input_list list;
    double share[2], credit; /* of de, en */
    size_t i;
    char *text;
};

static const char *chosen_next(void *context, size_t *size) {
    struct chosen *c = context;
    free(c->text);
    c->text = NULL;
    while (c->i < c->list.n) {
        const struct input *input = &c->list.inputs[c->i++];
        if (input->use != INPUT_TRAIN) continue;
        c->credit += c->share[input->part];
        if (c->credit < 1 - 1e-9) continue;
        c->credit--;
        return c->text = file_read(input->path, size);
    }
    return NULL;
}

static uint64_t tokenizer_wanted(double de, double en) {
    struct chosen c = {.share = {de, en}};
    struct error err;
    assert_true(inputs_list(&c.list, (char *[]){"c"}, 1, true, false, &err));
    inputs_hold_out(&c.list);
    tokenizer *t = tokenizer_train(chosen_next, &c, PREPARE_VOCAB, false, NULL, &err);
    if (!t) fail_msg("%s", err.text);
    const uint64_t hash = tokenizer_hash(t);
    tokenizer_free(t);
    inputs_free(&c.list);
    return hash;
}

/* Of 60,000 bytes of de and 40,000 of en so many as the mixture is to hold of them, but no more than there are. */
static void the_tokenizer_sees_the_mixture(void **state) {
    (void)state;
    char path[40];
    for (int k = 0; k < 30; k++) {
        sprintf(path, "c/de/a%02d", k);
        put(path, 2000, k);
    }
    for (int k = 0; k < 40; k++) {
        sprintf(path, "c/en/b%02d", k);
        put(path, 1000, 100 + k);
    }
    const struct {
        double alpha;
        const char *weights;
        double de, en;
    } cases[] = {
        {1, NULL, 1, 1},
        {0, NULL, 50 / 60.0, 1},
        {2, NULL, 1, 100 * 16 / 52.0 / 40},
        {1, "en=1,de=4", 1, 20 / 40.0},
        {1, "en=3,de=1", 25 / 60.0, 1},
        {1, "en=1,de=0", 0, 1},
        {1, "en=0,de=7", 1, 0},
    };
    enum { N = sizeof cases / sizeof *cases };
    char *dirs[N];
    for (size_t i = 0; i < N; i++) {
        struct prepare_options o = standard;
        o.part_alpha = cases[i].alpha;
        o.part_weights = cases[i].weights;
        dirs[i] = prepared(&o);
        if (tokenizer_of(dirs[i]) != tokenizer_wanted(cases[i].de, cases[i].en)) fail_msg("case %zu", i);
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(dirs[i], dirs[j]);
            assert_true(tokenizer_of(dirs[i]) != tokenizer_of(dirs[j]));
        }
    }
    const struct { /* the same mixture said in another way has the same entry */
        double alpha;
        const char *weights;
        int like;
    } same[] = {{1, "de=8,en=2", 3}, {0.3, "en=1,de=4", 3}, {0, "de=4,en=4", 1}, {1, "de=0.0,en=0.1", 5}};
    for (int i = 0; i < 4; i++) {
        struct prepare_options o = standard;
        o.part_alpha = same[i].alpha;
        o.part_weights = same[i].weights;
        char *dir = prepared(&o);
        assert_string_equal(dir, dirs[same[i].like]);
        free(dir);
    }
    for (size_t i = 0; i < N; i++) free(dirs[i]);
}

/* As they come: every byte that is trained on, whatever the parts' sizes, small as they may be. */
static void as_they_come_all_text_counts(void **state) {
    (void)state;
    for (int i = 0; i < 12; i++) {
        shell("rm -rf c cache", "");
        put("c/a", (size_t)(1000 + 217 * i), 1);
        put("c/b", (size_t)(3000 - 101 * i), 2);
        put("c/c", (size_t)(1500 + i), 3);
        struct prepare_options parts = {PATHS("x=c/a", "y=c/b", "z=c/c"), .part_alpha = 1, .vocab = PREPARE_VOCAB,
                                        .cache = "cache"};
        struct prepare_options plain = {PATHS("c/a", "c/b", "c/c"), .part_alpha = 1, .vocab = PREPARE_VOCAB,
                                        .cache = "cache"};
        char *a = prepared(&parts), *b = prepared(&plain);
        if (tokenizer_of(a) != tokenizer_of(b)) fail_msg("sizes %d", i);
        free(a);
        free(b);
    }
}

/* With a tokenizer the shards are the same, however parts are mixed: one entry. Of weights that do not fit there is
 * none. */
static void a_given_tokenizer_does_not_follow_the_mixture(void **state) {
    (void)state;
    struct error err;
    corpus_make();
    char *first = prepared(&standard), *model = string_format("%s/tokenizer.model", first);
    tokenizer *t = tokenizer_load(model, &err);
    struct prepare_options o = standard;
    o.tokenizer = t;
    char *dir = prepared(&o);
    o.part_weights = "en=1,de=2,fr=0";
    char *again = prepared(&o);
    assert_string_equal(dir, again);
    assert_string_not_equal(dir, first);
    assert_int_equal(entries_count("cache"), 2);
    o.part_weights = "en=1,de=2";
    assert_null(data_prepare(&o, &err));
    assert_int_equal(err.code, EXIT_USAGE);
    assert_non_null(strstr(err.text, "--part-weights: fr is left out"));
    o.part_weights = "en=1,de=2,fr=3,it=1";
    assert_null(data_prepare(&o, &err));
    assert_int_equal(err.code, EXIT_USAGE);
    assert_non_null(strstr(err.text, "want one of: de, en, fr"));
    assert_int_equal(entries_count("cache"), 2);
    tokenizer_free(t);
    free(again);
    free(dir);
    free(model);
    free(first);
}

/* ---- What cannot be ---- */

static void refused(const struct prepare_options *o, int code, const char *says, const char *remedy) {
    struct error err = {0, ""};
    assert_null(data_prepare(o, &err));
    if (err.code != code || !strstr(err.text, says) || !strstr(err.text, remedy) || strchr(err.text, '\n'))
        fail_msg("%d: %s (want %d: %s; %s)", err.code, err.text, code, says, remedy);
    assert_int_equal(entries_count("cache"), 0);
}

/* A part of 19 bytes has no twentieth; nor has one an empty packed file. */
static void a_part_too_small_to_hold_out_is_refused(void **state) {
    (void)state;
    put("en.txt", 3000, 1);
    put("de.txt", 19, 2);
    struct prepare_options o = {PATHS("en=en.txt", "de=de.txt"), .part_alpha = 1, .vocab = 290, .cache = "cache"};
    refused(&o, EXIT_INPUT, "de: too little text to hold out a twentieth of it (", "; add text to this part");
    gzclose(gzopen("none.gz", "wb"));
    o.paths[1] = "de=none.gz";
    refused(&o, EXIT_INPUT, "de: holds no text", "; name a file with text");
    file_write("de.txt", "nineteen and one.\n\n\n", 20);
    o.paths[1] = "de=de.txt";
    char *dir = prepared(&o), *val = split_text(dir, "de/val");
    assert_string_equal(val, "\n|");
    free(val);
    free(dir);
}

static void parts_hold_out_their_own(void **state) {
    (void)state;
    corpus_make();
    put("v.txt", 500, 99);
    struct prepare_options o = standard;
    o.val_path = "v.txt";
    refused(&o, EXIT_USAGE, "--val v.txt: each part of this corpus holds out text of its own", "; leave out --val");
    o = (struct prepare_options){PATHS("en=c/en"), .part_alpha = 1, .vocab = 300, .cache = "cache",
                                 .val_path = "v.txt"};
    refused(&o, EXIT_USAGE, "--val v.txt: each part", "; leave out --val");
    o.paths[0] = "c/en"; /* nor is held-out text a part */
    o.val_path = "en=v.txt";
    refused(&o, EXIT_USAGE, "--val en=v.txt: held-out text has no part's name", "; leave out en=");
    o.val_path = "v.txt";
    char *dir = prepared(&o), *val = split_text(dir, "val");
    assert_int_equal(strlen(val), 501);
    free(val);
    free(dir);
}

/* ---- The cache ---- */

/* All files of an entry and what is in them, and which they are. */
static char *content_of(const char *dir, bool identity) {
    static char text[10000];
    char *command = string_format("find %s -type f -exec %s {} + | sort", dir,
                                  identity ? "stat -c '%n %i %y'" : "cksum");
    FILE *pipe = popen(command, "r");
    const size_t n = fread(text, 1, sizeof text - 1, pipe);
    text[n] = 0;
    assert_int_equal(pclose(pipe), 0);
    assert_true(n > 100 && n < sizeof text - 1);
    free(command);
    return string_format("%s", text);
}

static void a_second_call_finds_the_entry(void **state) {
    (void)state;
    corpus_make();
    char *dir = prepared(&standard), *was = content_of(dir, true), *again = prepared(&standard);
    char *is = content_of(dir, true);
    assert_string_equal(dir, again);
    assert_string_equal(is, was); /* the same files, not their likes */
    assert_int_equal(entries_count("cache"), 1);
    put("c/en/new", 100, 5);
    char *other = prepared(&standard);
    assert_string_not_equal(dir, other);
    shell("mv c/fr c/it", "");
    char *renamed = prepared(&standard);
    assert_string_not_equal(other, renamed);
    assert_int_equal(entries_count("cache"), 3);
    free(renamed);
    free(other);
    free(is);
    free(again);
    free(was);
    free(dir);
}

/* X is the entry. What is lost, cut, changed, exchanged or too much, and of its making. */
static const char *const damages[] = {
    "rm $X/de/train-00000.shard",
    "rm $X/de/val-00000.shard",
    "rm $X/fr/val-00000.shard",
    "truncate -s 100 $X/en/train-00000.shard",
    "printf x | dd of=$X/fr/train-00000.shard bs=1 seek=90 conv=notrunc 2>/dev/null",
    "printf x | dd of=$X/fr/val-00000.shard bs=1 seek=90 conv=notrunc 2>/dev/null",
    "rm -r $X/en",
    "rm -r $X/de $X/fr",
    "rm -r $X/de $X/en $X/fr",
    "rm $X/parts.txt",
    ": >$X/parts.txt",
    "echo de >$X/parts.txt",
    "printf 'de\\nen\\n' >$X/parts.txt",
    "printf 'de\\nen\\nfr\\nit\\n' >$X/parts.txt",
    "cp -r $X/en $X/it",
    "mv $X/en $X/it",
    "rm $X/tokenizer.model",
    "cp $X/en/train-00000.shard $X/en/train-00002.shard",
};

static void damaged_parts_are_made_again(void **state) {
    (void)state;
    struct error err;
    corpus_make();
    char *dir = prepared(&standard), *was = content_of(dir, false);
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        shell(damages[i], dir);
        if (cache_check(dir, &err)) fail_msg("%s: not seen", damages[i]);
        assert_int_equal(err.code, EXIT_INPUT);
        char *again = data_prepare(&standard, &err);
        if (!again) fail_msg("%s: %s", damages[i], err.text);
        assert_string_equal(again, dir);
        char *is = content_of(dir, false);
        if (strcmp(is, was) != 0) fail_msg("%s\n%s\n%s", damages[i], was, is);
        assert_int_equal(entries_count(dir), 5);
        assert_int_equal(entries_count("cache"), 1);
        free(is);
        free(again);
    }
    free(was);
    free(dir);
}

/* Somebody's file in a part's directory, or a directory of somebody's beside them, stays, whatever else is damaged. */
static void nothing_of_others_is_removed(void **state) {
    (void)state;
    struct error err;
    corpus_make();
    char *dir = prepared(&standard), *was = content_of(dir, false);
    static const char *const mine[][2] = {
        {"echo mine >$X/en/notes", "rm $X/en/notes"},
        {"mkdir $X/en/train-00001.shard", "rmdir $X/en/train-00001.shard"},
        {"cp $X/tokenizer.model $X/en", "rm $X/en/tokenizer.model"}, /* ours, but not there */
        {"cp $X/parts.txt $X/en", "rm $X/en/parts.txt"},
        {"mkdir $X/it && cp $X/parts.txt $X/it/notes", "rm -r $X/it"},
        {"mkdir $X/it", "rmdir $X/it"},
        {"ln -s en $X/it", "rm $X/it"},
    };
    for (size_t i = 0; i < sizeof mine / sizeof *mine; i++) {
        shell(mine[i][0], dir);
        shell("mv $X/fr/val-00000.shard kept", dir);
        char *before = content_of(dir, true);
        assert_null(data_prepare(&standard, &err));
        assert_int_equal(err.code, EXIT_INPUT);
        const char *name = i < 4 ? "en" : "it";
        char *says = string_format("and not replaced, as %s is not of its making; delete %s and run this again", name,
                                   dir);
        if (!strstr(err.text, says)) fail_msg("%s: %s", mine[i][0], err.text);
        char *after = content_of(dir, true);
        assert_string_equal(before, after);
        assert_int_equal(entries_count("cache"), 1);
        shell("mv kept $X/fr/val-00000.shard", dir);
        shell(mine[i][1], dir);
        char *is = content_of(dir, false), *again = prepared(&standard);
        assert_string_equal(is, was);
        free(again);
        free(is);
        free(after);
        free(before);
        free(says);
    }
    shell("echo mine >$X/en/notes", dir); /* as long as nothing is damaged, it does no harm */
    char *again = prepared(&standard);
    assert_string_equal(dir, again);
    free(again);
    free(was);
    free(dir);
}

/* Whole, but of another tokenizer. */
static void parts_of_another_tokenizer_are_refused(void **state) {
    (void)state;
    struct error err;
    corpus_make();
    struct prepare_options o = standard;
    o.vocab = PREPARE_VOCAB + 3;
    char *dir = prepared(&standard), *other = prepared(&o);
    static const char *const files[] = {"de/train-00000.shard", "fr/val-00000.shard"};
    for (int i = 0; i < 2; i++) {
        char *command = string_format("cp $X/%s kept && cp %s/%s $X/%s", files[i], other, files[i], files[i]);
        shell(command, dir);
        assert_null(data_prepare(&standard, &err));
        assert_int_equal(err.code, EXIT_MISMATCH);
        if (!strstr(err.text, files[i])) fail_msg("%s", err.text);
        free(command);
        command = string_format("mv kept $X/%s", files[i]);
        shell(command, dir);
        free(command);
    }
    free(other);
    free(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        HERE(every_text_is_in_one_place),
        HERE(parts_by_name_are_the_same_parts),
        HERE(the_tokenizer_sees_the_mixture),
        HERE(as_they_come_all_text_counts),
        HERE(a_given_tokenizer_does_not_follow_the_mixture),
        HERE(a_part_too_small_to_hold_out_is_refused),
        HERE(parts_hold_out_their_own),
        HERE(a_second_call_finds_the_entry),
        HERE(damaged_parts_are_made_again),
        HERE(nothing_of_others_is_removed),
        HERE(parts_of_another_tokenizer_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
