/* Corpora of parts: which files are of which part, and which text is held out. Each test is in a directory of its own,
 * so that paths can be as users write them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <math.h>
#include <omp.h>
#include <zlib.h>
#include "../data/cache.h"
#include "../data/inputs.h"
#include "data_files.h"

/* ---- Files and lists ---- */

static int place_enter(void **state) { return directory_create(state) == 0 ? chdir(*state) : -1; }
static int place_leave(void **state) { return chdir("/") == 0 ? directory_delete(state) : -1; }
#define HERE(name) cmocka_unit_test_setup_teardown(name, place_enter, place_leave)

static void shell(const char *command) {
    if (system(command) != 0) fail_msg("%s", command);
}

/* `size` bytes of lines that no other salt has. */
static char *text_of(size_t size, int salt) {
    char *text = prose((int)(size / 9) + 1, (int)((unsigned)salt * 1000003u));
    assert_true(strlen(text) >= size);
    text[size] = 0;
    return text;
}

static void put(const char *path, size_t size, int salt) {
    struct error err;
    char *dir = string_format("%s", path), *slash = strrchr(dir, '/');
    if (slash) {
        *slash = 0;
        assert_true(directory_make(dir, &err));
    }
    char *text = text_of(size, salt);
    file_write(path, text, size);
    free(text);
    free(dir);
}

/* The paths end with NULL. */
static size_t paths_count(char **paths) {
    size_t n = 0;
    while (paths[n]) n++;
    return n;
}
#define PATHS(...) ((char *[]){__VA_ARGS__, NULL})

static struct input_list list_of(bool parts, char **paths) {
    struct input_list list;
    struct error err;
    if (!inputs_list(&list, paths, paths_count(paths), parts, false, &err)) fail_msg("%s", err.text);
    return list;
}

static void refused(int code, const char *says, const char *remedy, bool parts, char **paths) {
    struct input_list list;
    struct error err = {0, ""};
    assert_false(inputs_list(&list, paths, paths_count(paths), parts, false, &err));
    if (err.code != code || !strstr(err.text, says) || !strstr(err.text, remedy) || strchr(err.text, '\n'))
        fail_msg("%d: %s (want %d: %s; %s)", err.code, err.text, code, says, remedy);
    inputs_free(&list);
}

/* "en: a.txt b.txt | de: a.txt": parts in order, of each its inputs' paths. */
static void expect_list(struct input_list *list, const char *want) {
    char *got = string_format("%s", "");
    size_t i = 0;
    for (size_t p = 0; p < list->n_parts; p++) {
        string_append(&got, "%s%s:", p ? " | " : "", list->parts[p].name);
        for (; i < list->n && list->inputs[i].part == p; i++) string_append(&got, " %s", list->inputs[i].path);
    }
    assert_int_equal(i, list->n);
    assert_string_equal(got, want);
    free(got);
    inputs_free(list);
}

/* ---- Which part ---- */

static void several_paths_are_one_part(void **state) {
    (void)state;
    put("b.txt", 100, 1);
    put("d/a.txt", 200, 2);
    put("a.txt", 300, 3);
    struct input_list list = list_of(false, PATHS("b.txt", "d", "a.txt"));
    assert_true(list.parts->bytes == 600);
    expect_list(&list, ": b.txt d/a.txt a.txt");
}

static void named_paths_are_parts_by_name(void **state) {
    (void)state;
    put("x.txt", 100, 1);
    put("y.txt", 201, 2);
    put("d/b.txt", 302, 3);
    put("d/a.txt", 403, 4);
    struct input_list list = list_of(false, PATHS("zh-cn=x.txt", "_b=d", "de=y.txt", "Z.1=x.txt"));
    assert_true(list.parts[0].bytes == 100 && list.parts[1].bytes == 705 && list.parts[2].bytes == 201);
    expect_list(&list, "Z.1: x.txt | _b: d/a.txt d/b.txt | de: y.txt | zh-cn: x.txt"); /* as strcmp has them */
    list = list_of(false, PATHS("en=x.txt"));
    expect_list(&list, "en: x.txt");
}

static void sub_directories_are_parts_by_name(void **state) {
    (void)state;
    static const char *const files[] = {"c/zh-cn/1", "c/en/2", "c/en/1", "c/en/sub/0", "c/.git/1", "c/En/1", "c/beside",
                                        "c/.hidden", "more/fr/1"};
    for (int i = 0; i < 9; i++) put(files[i], 50, i);
    shell("ln -s ../more/fr c/linked");
    struct input_list list = list_of(true, PATHS("c"));
    expect_list(&list, "En: c/En/1 | en: c/en/1 c/en/2 c/en/sub/0 | linked: c/linked/1 | zh-cn: c/zh-cn/1");
    list = list_of(true, PATHS("more", "c"));
    expect_list(&list, "En: c/En/1 | en: c/en/1 c/en/2 c/en/sub/0 | fr: more/fr/1 | linked: c/linked/1 | "
                       "zh-cn: c/zh-cn/1");
}

/* What standard error says of n paths. */
static char *told(bool parts, char **paths) {
    struct input_list list;
    struct error err;
    fflush(stderr);
    const int kept = dup(2), file = open("told", O_CREAT | O_TRUNC | O_WRONLY, 0600);
    dup2(file, 2);
    const bool ok = inputs_list(&list, paths, paths_count(paths), parts, true, &err);
    fflush(stderr);
    dup2(kept, 2);
    close(kept);
    close(file);
    assert_true(ok);
    inputs_free(&list);
    size_t size;
    char *text = file_read("told", &size), *copy = string_format("%.*s", (int)size, text);
    free(text);
    return copy;
}

static void files_beside_parts_are_told(void **state) {
    (void)state;
    put("c/en/1", 50, 1);
    char *text = told(true, PATHS("c"));
    assert_string_equal(text, "");
    free(text);
    put("c/.hidden", 50, 4);
    for (int i = 1; i <= 2; i++) {
        char *line = string_format("note: c: %d files beside the parts are left out\n", i);
        put(i == 1 ? "c/beside" : "c/again", 50, 2);
        text = told(true, PATHS("c"));
        assert_non_null(strstr(text, line));
        free(text);
        free(line);
    }
}

/* What has the form NAME=PATH and is there is a path, and so is what has a name that no part can have. */
static void a_file_whose_name_has_a_sign_is_a_file(void **state) {
    (void)state;
    put("en=x.txt", 50, 1);
    put("x.txt", 60, 2);
    put("a b=x.txt", 70, 3);
    put("d=/1", 80, 4);
    struct input_list list = list_of(false, PATHS("en=x.txt", "a b=x.txt", "d="));
    expect_list(&list, ": en=x.txt a b=x.txt d=/1");
    list = list_of(false, PATHS("en=en=x.txt", "fr=x.txt"));
    expect_list(&list, "en: en=x.txt | fr: x.txt");
    assert_string_equal(input_path("en=x.txt"), "en=x.txt");
    assert_string_equal(input_path("fr=x.txt"), "x.txt");
    assert_string_equal(input_path("x.txt"), "x.txt");
    assert_string_equal(input_path("a=b=c"), "b=c");
    static char *const names[] = {"-en=x.txt", ".en=x.txt", "e n=x.txt", "=x.txt", "\xc3\xa9=x.txt", "e/n=x.txt"};
    for (int i = 0; i < 6; i++) refused(EXIT_INPUT, names[i], "name a text file", false, PATHS(names[i]));
}

/* 60 bytes are a name, 61 are not. */
static void names_have_a_length(void **state) {
    (void)state;
    put("x.txt", 50, 1);
    char name[62] = "", argument[80], path[80], want[160];
    memset(name, 'n', 60);
    sprintf(argument, "%s=x.txt", name);
    sprintf(path, "c/%s/1", name);
    sprintf(want, "%s: x.txt", name);
    put(path, 50, 1);
    struct input_list list = list_of(false, PATHS(argument));
    expect_list(&list, want);
    sprintf(want, "%s: %s", name, path);
    list = list_of(true, PATHS("c"));
    expect_list(&list, want);
    name[60] = 'n';
    sprintf(argument, "%s=x.txt", name);
    sprintf(path, "c/%s/1", name);
    put(path, 50, 1);
    refused(EXIT_INPUT, argument, "name a text file", false, PATHS(argument));
    refused(EXIT_USAGE, "a part cannot have this name (want at most 60", "rename it", true, PATHS("c"));
}

static void directories_no_part_can_be_named_after_are_refused(void **state) {
    (void)state;
    static char *const names[] = {"-en", "e n", "\xc3\xa9", "en=", "a,b", "a:b"};
    for (int i = 0; i < 6; i++) {
        char *path = string_format("c%d/%s/1", i, names[i]), *top = string_format("c%d", i);
        put(path, 50, i);
        path[strlen(path) - 2] = 0;
        refused(EXIT_USAGE, path, "; rename it, or write NAME=c", true, PATHS(top));
        free(path);
        free(top);
    }
}

static void parts_that_contradict_each_other_are_refused(void **state) {
    (void)state;
    put("x.txt", 50, 1);
    put("c/en/1", 50, 2);
    put("d/en/1", 50, 2);
    refused(EXIT_USAGE, "en: two parts have this name (x.txt and c)", "; put both into one directory", false,
            PATHS("en=x.txt", "de=x.txt", "en=c"));
    refused(EXIT_USAGE, "en: two parts have this name", "; put both", true, PATHS("c", "d"));
    refused(EXIT_USAGE, "x.txt: of no part, while others are", "; write NAME=x.txt", false, PATHS("en=c", "x.txt"));
    refused(EXIT_USAGE, "x.txt: of no part, while others are", "; write NAME=x.txt", false, PATHS("x.txt", "en=c"));
    refused(EXIT_USAGE, "--parts and NAME=PATH (", "; leave out one", true, PATHS("c", "en=c"));
    refused(EXIT_USAGE, "en=: names no path", "; write it as in en=FILE", false, PATHS("en="));
}

static void what_holds_no_text_is_named(void **state) {
    (void)state;
    put("x.txt", 50, 1);
    put("empty", 0, 1);
    put("c/en/1", 50, 2);
    put("c/en/.a", 50, 2);
    put("c/en/.b", 50, 2);
    put("c/fr/1", 0, 2);
    put("c/fr/.2", 5, 2);
    put("flat/1", 50, 1);
    mkdir("bare", 0777);
    refused(EXIT_INPUT, "c/fr: holds no text (1 files, all empty; 1 skipped", "; name a text file", true, PATHS("c"));
    refused(EXIT_INPUT, "empty: holds no text (1 files, all empty; 0 skipped", "", false,
            PATHS("en=x.txt", "fr=empty"));
    refused(EXIT_INPUT, "bare: holds no text (0 files", "", false, PATHS("a=bare", "en=x.txt"));
    refused(EXIT_INPUT, "gone: cannot read: No such file", "", false, PATHS("en=x.txt", "fr=gone"));
    refused(EXIT_INPUT, "gone: cannot read this directory: No such file", "; --parts takes one", true, PATHS("gone"));
    refused(EXIT_INPUT, "x.txt: cannot read this directory: Not a directory", "; --parts", true, PATHS("x.txt"));
    refused(EXIT_INPUT, "flat: has no sub-directories", "; leave out --parts", true, PATHS("flat"));
    refused(EXIT_INPUT, "bare: has no sub-directories", "; leave out --parts", true, PATHS("c", "bare"));
    refused(EXIT_INPUT, "no input", "name a text file", false, PATHS(NULL));
    refused(EXIT_INPUT, "no input", "name a text file", true, PATHS(NULL));
    struct input_list list = list_of(false, PATHS("empty", "x.txt")); /* some text in all will do */
    expect_list(&list, ": empty x.txt");
}

static void a_pipe_is_a_part(void **state) {
    (void)state;
    char *text = text_of(500, 1);
    uint64_t hash[2];
    put("x.txt", 60, 2);
    for (int i = 0; i < 2; i++) {
        text[0] = (char)('a' + i);
        file_write("in", text, 500);
        assert_non_null(freopen("in", "rb", stdin));
        struct input_list list = list_of(false, PATHS("fr=x.txt", "en=-"));
        struct bytes read;
        struct error err;
        assert_true(text_read(&list.inputs[0], &read, &err));
        assert_int_equal(read.size, 500);
        assert_memory_equal(read.data, text, 500);
        text_release(&list.inputs[0], &read);
        assert_int_equal(list.inputs[0].size, 500);
        assert_true(list.parts->bytes == 500);
        hash[i] = list.hash;
        expect_list(&list, "en: - | fr: x.txt");
    }
    assert_true(hash[0] != hash[1]); /* its content is its identity */
    file_write("in", text, 500);
    assert_non_null(freopen("in", "rb", stdin));
    refused(EXIT_INPUT, "-: holds no text", "", false, PATHS("en=-", "fr=-")); /* the first has read it all */
    free(text);
}

static uint64_t hash_of(bool parts, char **paths) {
    struct input_list list = list_of(parts, paths);
    const uint64_t hash = list.hash;
    inputs_free(&list);
    return hash;
}

/* The name of a cache entry: no other parts may have it. */
static void parts_are_in_the_hash(void **state) {
    (void)state;
    put("ab/f", 50, 1);
    mkdir("b", 0777);
    shell("ln ab/f b/f && ln ab/f f");
    const uint64_t hashes[] = {
        hash_of(false, PATHS("f")), hash_of(false, PATHS("en=f")), hash_of(false, PATHS("de=f")),
        hash_of(false, PATHS("en=ab/f")), hash_of(false, PATHS("ena=b/f")), /* the same letters in the same order */
        hash_of(false, PATHS("f", "b/f")), hash_of(false, PATHS("en=f", "fr=b/f")),
        hash_of(false, PATHS("en=b/f", "fr=f"))};
    const size_t n = sizeof hashes / sizeof *hashes;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            if (hashes[i] == hashes[j]) fail_msg("%zu and %zu have the same hash", i, j);
    assert_true(hash_of(false, PATHS("fr=b/f", "en=f")) == hashes[6]); /* parts have an order of their own */
    put("c/en/1", 50, 2);
    assert_true(hash_of(true, PATHS("c")) == hash_of(false, PATHS("en=c/en")));
    put("c/beside", 50, 2);
    assert_true(hash_of(true, PATHS("c")) == hash_of(false, PATHS("en=c/en")));
}

/* ---- What is held out ---- */

static struct input_list held_out_of(bool parts, char **paths) {
    struct input_list list = list_of(parts, paths);
    for (size_t i = 0; i < list.n; i++) list.inputs[i].use = (enum input_use)77;
    inputs_hold_out(&list);
    return list;
}

static const struct input *input_named(const struct input_list *list, const char *path) {
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->inputs[i].path, path) == 0) return &list->inputs[i];
    fail_msg("%s is not listed", path);
    return NULL;
}

static void expect_use(const struct input_list *list, const char *path, enum input_use use) {
    const enum input_use got = input_named(list, path)->use;
    if (got != use) fail_msg("%s: use %d, want %d", path, got, use);
}

/* Bytes of small files, and of those held out; the last name's. */
struct tally {
    double all, out, last;
    size_t files, whole;
};

/* Those held out are the first in the order of their hashes, and no more than it takes. */
static struct tally tally_of(const struct input_list *list) {
    struct tally t = {0};
    uint64_t last = 0, next = UINT64_MAX;
    for (const struct input *i = list->inputs; i < list->inputs + list->n; i++) {
        if (i->use == INPUT_CUT || i->size == 0) continue;
        t.files++;
        t.all += (double)i->size;
        if (i->use == INPUT_HELD_OUT) {
            t.whole++;
            t.out += (double)i->size;
            if (i->order > last) last = i->order;
        } else {
            assert_int_equal(i->use, INPUT_TRAIN);
            if (i->order < next) next = i->order;
        }
    }
    for (const struct input *i = list->inputs; i < list->inputs + list->n; i++)
        if (i->use == INPUT_HELD_OUT && i->order == last) t.last += (double)i->size;
    assert_true(last < next);
    return t;
}

static void few_large_files_are_cut(void **state) {
    (void)state;
    put("a.txt", 900, 0);
    struct input_list list = held_out_of(false, PATHS("a.txt"));
    expect_use(&list, "a.txt", INPUT_CUT);
    inputs_free(&list);
    char *paths[7] = {0};
    for (int i = 0; i < 6; i++) {
        paths[i] = string_format("novel%d.txt", i);
        put(paths[i], (size_t)(900 + 100 * i), i);
    }
    list = held_out_of(false, paths);
    for (int i = 0; i < 6; i++) expect_use(&list, paths[i], INPUT_CUT);
    inputs_free(&list);
    for (int i = 0; i < 6; i++) free(paths[i]);
}

/* More than a twentieth is cut; a twentieth is not. */
static void a_twentieth_is_not_large(void **state) {
    (void)state;
    char path[40];
    for (int i = 0; i < 20; i++) {
        sprintf(path, "c/en/%02d", i);
        put(path, 100, i);
    }
    struct input_list list = held_out_of(true, PATHS("c"));
    const struct tally t = tally_of(&list);
    assert_int_equal(t.files, 20);
    assert_int_equal(t.whole, 1);
    inputs_free(&list);
    put("c/en/00", 101, 0); /* of 2001 */
    put("c/de/00", 100, 0); /* a part is measured by itself */
    list = held_out_of(true, PATHS("c"));
    expect_use(&list, "c/en/00", INPUT_CUT);
    expect_use(&list, "c/de/00", INPUT_CUT);
    assert_int_equal(tally_of(&list).files, 19);
    inputs_free(&list);
}

static void a_large_file_among_small_ones_is_cut(void **state) {
    (void)state;
    char path[40];
    put("d/large", 5000, 1);
    for (int i = 0; i < 60; i++) {
        sprintf(path, "d/%02d", i);
        put(path, (size_t)(100 + i), i);
        sprintf(path, "d/empty%02d", i);
        put(path, 0, i);
    }
    struct input_list list = held_out_of(false, PATHS("d"));
    const struct tally t = tally_of(&list);
    expect_use(&list, "d/large", INPUT_CUT);
    for (int i = 0; i < 60; i++) {
        sprintf(path, "d/empty%02d", i);
        expect_use(&list, path, INPUT_TRAIN);
    }
    assert_int_equal(t.files, 60);
    assert_true(t.out * 20 >= t.all && (t.out - t.last) * 20 < t.all); /* of what is not cut */
    inputs_free(&list);
}

enum { MANY = 1500 };

/* DIR/PART/k.txt for each k, or what `keep` leaves of them; each part's of its own sizes. */
static void many_make(const char *part, int salt, bool (*keep)(int k)) {
    char path[80];
    for (int k = 0; k < MANY; k++) {
        sprintf(path, "%s/%02d/%d.txt", part, k % 17, k);
        if (keep(k)) put(path, (size_t)(60 + (k * 37 + salt * 61) % 400), k + salt * MANY);
    }
}

static bool keep_all(int k) { return k >= 0; }
static bool keep_most(int k) { return k % 7 != 3; }
static bool keep_few(int k) { return k % 60 == 11; }

static void a_twentieth_of_many_files_is_held_out(void **state) {
    (void)state;
    many_make("d", 1, keep_all);
    struct input_list list = held_out_of(false, PATHS("d"));
    const struct tally t = tally_of(&list);
    assert_int_equal(t.files, MANY);
    assert_true(t.out >= t.all / 20 && t.out - t.last < t.all / 20);
    assert_true(t.whole > MANY / 30 && t.whole < MANY / 12);
    bool folders[17] = {0}; /* they come from everywhere */
    size_t n = 0;
    for (int k = 0; k < MANY; k++) {
        char path[80];
        sprintf(path, "d/%02d/%d.txt", k % 17, k);
        if (input_named(&list, path)->use == INPUT_HELD_OUT && !folders[k % 17]) folders[k % 17] = ++n;
    }
    assert_true(n > 14);
    inputs_free(&list);
}

/* Names that differ in their last letters alone are not held out in a row. */
static void neighbours_are_not_held_out_together(void **state) {
    (void)state;
    char path[40];
    for (int k = 0; k < 1000; k++) {
        sprintf(path, "book/chapter%03d", k);
        put(path, 100, k);
    }
    struct input_list list = held_out_of(false, PATHS("book"));
    size_t out = 0, pairs = 0;
    for (size_t k = 0; k < 1000; k++) {
        out += list.inputs[k].use == INPUT_HELD_OUT;
        pairs += k > 0 && list.inputs[k].use == INPUT_HELD_OUT && list.inputs[k - 1].use == INPUT_HELD_OUT;
    }
    assert_int_equal(out, 50);
    assert_true(pairs < 10); /* 2.5 by chance */
    inputs_free(&list);
}

/* Also of parts that lack some files, and of one that has so few that some are large for it: these are cut in all. */
static void the_same_names_are_held_out_in_every_part(void **state) {
    (void)state;
    many_make("c/de", 1, keep_all);
    many_make("c/en", 2, keep_few);
    many_make("c/fr", 3, keep_most);
    struct input_list list = held_out_of(true, PATHS("c"));
    size_t out[3] = {0}, cut = 0;
    for (int k = 0; k < MANY; k++) {
        static const char *const names[] = {"de", "en", "fr"};
        const bool there[] = {true, keep_few(k), keep_most(k)};
        int use = -1;
        for (int p = 0; p < 3; p++) {
            char path[80];
            sprintf(path, "c/%s/%02d/%d.txt", names[p], k % 17, k);
            if (!there[p]) continue;
            if (use < 0) use = (int)input_named(&list, path)->use;
            expect_use(&list, path, (enum input_use)use);
            out[p] += use == INPUT_HELD_OUT;
        }
        if (!there[1]) assert_true(use != INPUT_CUT);
        cut += use == INPUT_CUT;
    }
    assert_true(out[0] > MANY / 30 && out[1] > 0 && out[2] > MANY / 40);
    assert_true(cut > 5 && cut < 25);
    inputs_free(&list);
}

/* A part of which no name is among the first: it holds out one, and so do the others. */
static void a_part_always_holds_out_something(void **state) {
    (void)state;
    char path[80], names[24][80];
    uint64_t order[200];
    for (int k = 0; k < 200; k++) {
        sprintf(path, "c/de/%d", k);
        put(path, 150, k);
    }
    struct input_list list = list_of(true, PATHS("c"));
    for (size_t i = 0; i < 200; i++) order[atoi(list.inputs[i].path + 5)] = list.inputs[i].order;
    inputs_free(&list);
    int n = 0, first = -1;
    for (int k = 0; k < 200 && n < 24; k++) { /* 24 that come late */
        if (order[k] < UINT64_MAX / 3) continue;
        if (first < 0 || order[k] < order[first]) first = k;
        sprintf(names[n], "c/en/%d", k);
        put(names[n++], 150, 1000 + k);
    }
    assert_int_equal(n, 24);
    for (int k = 0; k < 20; k++) { /* nothing of them can be held out */
        sprintf(path, "c/en/empty%d", k);
        put(path, 0, 1);
    }
    sprintf(path, "c/it/%s", names[first == atoi(names[0] + 5)] + 5);
    put(path, 150, 2);
    put("c/it/large", 5000, 3);
    list = held_out_of(true, PATHS("c"));
    expect_use(&list, path, INPUT_TRAIN); /* the end of the large one will do */
    expect_use(&list, "c/it/large", INPUT_CUT);
    for (n = 0; n < 24; n++) {
        const bool is = atoi(names[n] + 5) == first;
        expect_use(&list, names[n], is ? INPUT_HELD_OUT : INPUT_TRAIN);
    }
    sprintf(path, "c/de/%d", first);
    expect_use(&list, path, INPUT_HELD_OUT);
    inputs_free(&list);
}

/* As few change their use as the twentieth moves by. */
static void a_new_file_changes_next_to_nothing(void **state) {
    (void)state;
    many_make("c/de", 1, keep_all);
    many_make("c/en", 2, keep_most);
    struct input_list before = held_out_of(true, PATHS("c"));
    for (int i = 0; i < 9; i++) {
        char path[80];
        sprintf(path, "c/de/new%d", i);
        put(path, 400, 9000 + i);
        struct input_list after = held_out_of(true, PATHS("c"));
        size_t changed = 0;
        for (size_t k = 0; k < before.n; k++)
            changed += input_named(&after, before.inputs[k].path)->use != before.inputs[k].use;
        assert_true(changed <= 2 + (size_t)i); /* a name is a file of each part */
        inputs_free(&after);
    }
    inputs_free(&before);
}

static void packed_files_are_taken_for_four_times_as_much(void **state) {
    (void)state;
    char path[40];
    for (int i = 0; i < 30; i++) {
        sprintf(path, "d/%02d", i);
        put(path, 1000, i);
    }
    put("d/a.gz", 1000, 1); /* of 34,000: 2.9%, and thought to be 11.8% */
    put("d/b.gzip", 1000, 1);
    put("gz", 1000, 1);
    struct input_list list = held_out_of(false, PATHS("d", "gz"));
    assert_true(list.parts->bytes == 30 * 1000 + 4 * 1000 + 1000 + 1000);
    expect_use(&list, "d/a.gz", INPUT_CUT);
    assert_int_equal(tally_of(&list).files, 32);
    assert_true(input_packed(input_named(&list, "d/a.gz")));
    assert_false(input_packed(input_named(&list, "d/b.gzip")));
    assert_false(input_packed(input_named(&list, "gz")));
    inputs_free(&list);
    for (int i = 0; i < 40; i++) { /* small packed ones count so in the twentieth, too */
        sprintf(path, "e/%02d.gz", i);
        put(path, 300, i);
        sprintf(path, "e/%02d", i);
        put(path, 300, i);
    }
    list = held_out_of(false, PATHS("e"));
    double all = 0, out = 0, least = 1e9;
    for (size_t i = 0; i < list.n; i++) {
        const double bytes = input_packed(&list.inputs[i]) ? 1200 : 300;
        all += bytes;
        if (list.inputs[i].use == INPUT_HELD_OUT) out += bytes;
    }
    for (size_t i = 0; i < list.n; i++) {
        uint64_t above = 0;
        for (size_t j = 0; j < list.n; j++)
            above |= list.inputs[j].use == INPUT_HELD_OUT && list.inputs[j].order > list.inputs[i].order;
        if (list.inputs[i].use == INPUT_HELD_OUT && !above) least = input_packed(&list.inputs[i]) ? 1200 : 300;
    }
    assert_true(out * 20 >= all && (out - least) * 20 < all);
    inputs_free(&list);
}

/* The names below the part's directory, or of a file given by name its last one: where it is and in which order it was
 * given is nothing to it. */
static void names_have_no_place(void **state) {
    many_make("c/de", 1, keep_few);
    shell("mkdir -p far/away && cp -r c/de far/away/other && cp -r c/de ./en");
    char *absolute = string_format("de=%s/c/de", (char *)*state);
    char **const ways[] = {PATHS("de=c/de"), PATHS("de=c/de/"), PATHS("de=c/de//"), PATHS("de=./c/de"), PATHS(absolute),
                           PATHS("de=far/away/other"), PATHS("de=far/../en/"), PATHS("en"), PATHS("far/away/other/")};
    struct input_list want = held_out_of(false, ways[0]);
    assert_true(want.n > 20);
    for (size_t w = 1; w < sizeof ways / sizeof *ways; w++) {
        struct input_list got = held_out_of(false, ways[w]);
        assert_int_equal(got.n, want.n);
        for (size_t i = 0; i < want.n; i++) {
            assert_true(got.inputs[i].order == want.inputs[i].order);
            assert_int_equal(got.inputs[i].use, want.inputs[i].use);
        }
        inputs_free(&got);
    }
    inputs_free(&want);
    char *paths[2][30] = {{0}}; /* one by one, in either order: the last name, from any place */
    for (int i = 0; i < 25; i++) {
        paths[0][i] = string_format("%s%02d.txt", i % 2 ? "flat/" : "./other/../flat/", i);
        paths[1][24 - i] = string_format("%s/flat/%02d.txt", (char *)*state, i);
        put(paths[1][24 - i], (size_t)(100 + i), i);
    }
    mkdir("other", 0777);
    want = held_out_of(false, paths[0]);
    struct input_list got = held_out_of(false, paths[1]), walked = held_out_of(false, PATHS("flat"));
    assert_int_equal(tally_of(&want).files, 25);
    for (int i = 0; i < 25; i++) {
        assert_int_equal(got.inputs[24 - i].use, want.inputs[i].use);
        assert_int_equal(walked.inputs[i].use, want.inputs[i].use);
        assert_true(walked.inputs[i].order == want.inputs[i].order);
        free(paths[0][i]);
        free(paths[1][i]);
    }
    inputs_free(&want);
    inputs_free(&got);
    inputs_free(&walked);
    free(absolute);
}

/* One name twice: it is held out in both places, or in neither. */
static void equal_names_have_one_use(void **state) {
    (void)state;
    many_make("a", 1, keep_few);
    many_make("b", 2, keep_few);
    struct input_list list = held_out_of(false, PATHS("a", "b"));
    assert_int_equal(list.n, 50);
    tally_of(&list);
    for (size_t i = 0; i < 25; i++) assert_int_equal(list.inputs[i].use, list.inputs[25 + i].use);
    inputs_free(&list);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        HERE(several_paths_are_one_part),
        HERE(named_paths_are_parts_by_name),
        HERE(sub_directories_are_parts_by_name),
        HERE(files_beside_parts_are_told),
        HERE(a_file_whose_name_has_a_sign_is_a_file),
        HERE(names_have_a_length),
        HERE(directories_no_part_can_be_named_after_are_refused),
        HERE(parts_that_contradict_each_other_are_refused),
        HERE(what_holds_no_text_is_named),
        HERE(a_pipe_is_a_part),
        HERE(parts_are_in_the_hash),
        HERE(few_large_files_are_cut),
        HERE(a_twentieth_is_not_large),
        HERE(a_large_file_among_small_ones_is_cut),
        HERE(a_twentieth_of_many_files_is_held_out),
        HERE(neighbours_are_not_held_out_together),
        HERE(the_same_names_are_held_out_in_every_part),
        HERE(a_part_always_holds_out_something),
        HERE(a_new_file_changes_next_to_nothing),
        HERE(packed_files_are_taken_for_four_times_as_much),
        HERE(names_have_no_place),
        HERE(equal_names_have_one_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
