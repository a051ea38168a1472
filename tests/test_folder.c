/* Folders of pictures and texts: what is found and in which order, which captions a picture gets, what is held out
 * together, each wrong line by its message, and what a hash depends on. A picture's content is not looked at here, so
 * that it may be anything. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include "../data/folder.h"
#include "data_files.h"

static int place_enter(void **state) { return directory_create(state) == 0 ? chdir(*state) : -1; }
static int place_leave(void **state) { return chdir("/") == 0 ? directory_delete(state) : -1; }
#define HERE(name) cmocka_unit_test_setup_teardown(name, place_enter, place_leave)

/* The paths end with NULL. */
#define PATHS(...) ((char *[]){__VA_ARGS__, NULL})
static size_t paths_count(char **paths) {
    size_t n = 0;
    while (paths[n]) n++;
    return n;
}

static void put(const char *path, const char *text) {
    struct error err;
    char *dir = string_format("%s", path), *slash = strrchr(dir, '/');
    if (slash) {
        *slash = 0;
        assert_true(directory_make(dir, &err));
    }
    file_write(path, text, strlen(text));
    free(dir);
}

/* Folders of pictures: "d/a.png", ... */
static void put_pictures(char **paths) {
    for (; *paths; paths++) put(*paths, "no picture");
}

static struct folder list_of(char **paths) {
    struct folder f;
    struct error err;
    if (!folder_list(&f, paths, paths_count(paths), false, &err)) fail_msg("%s", err.text);
    return f;
}

/* Items as "PATH[LANGUAGE:CAPTION|...]", or "[:TEXT]" for a text alone. */
static void expect(char **paths, const char *want) {
    struct folder f = list_of(paths);
    char *got = string_format("%s", "");
    for (size_t i = 0; i < f.n; i++) {
        string_append(&got, "%s%s[", i ? " " : "", f.items[i].path ? f.items[i].path : "");
        for (size_t c = 0; c < f.items[i].n_captions; c++)
            string_append(&got, "%s%s:%s", c ? "|" : "", f.items[i].captions[c].language, f.items[i].captions[c].text);
        string_append(&got, "]");
    }
    assert_string_equal(got, want);
    free(got);
    folder_free(&f);
    assert_true(f.n == 0 && !f.items);
}

static void refused(int code, const char *says, char **paths) {
    struct folder f;
    struct error err = {0, ""};
    assert_false(folder_list(&f, paths, paths_count(paths), false, &err));
    if (err.code != code || strncmp(err.text, says, strlen(says)) != 0 || strchr(err.text, '\n'))
        fail_msg("%d: %s (want %d: %s)", err.code, err.text, code, says);
    folder_free(&f);
}

/* What is told on standard error. */
static void told(bool verbose, char **paths, const char *want) {
    struct folder f;
    struct error err;
    const int errors = dup(STDERR_FILENO), file = open("told", O_CREAT | O_TRUNC | O_RDWR, 0666);
    fflush(stderr);
    dup2(file, STDERR_FILENO);
    const bool ok = folder_list(&f, paths, paths_count(paths), verbose, &err);
    fflush(stderr);
    dup2(errors, STDERR_FILENO);
    close(errors);
    char got[2000] = "";
    assert_true(pread(file, got, sizeof got - 1, 0) >= 0);
    close(file);
    remove("told");
    assert_true(ok);
    assert_string_equal(got, want);
    folder_free(&f);
}

/* ---- What is found ---- */

static void pictures_come_in_the_order_of_names(void **state) {
    (void)state;
    put_pictures(PATHS("d/b.png", "d/a/z.png", "d/c.PNG", "d/a/.png", "d/a.png", "d/a/y/x.png", "d/.hidden/a.png",
                       "e/1.png", "two.png", "d/.a.png", "d/B.png"));
    expect(PATHS("d"), "d/B.png[] d/a/y/x.png[] d/a/z.png[] d/a.png[] d/b.png[] d/c.PNG[]"); /* of bytes */
    expect(PATHS("two.png", "e", "d/a/y"), "two.png[] e/1.png[] d/a/y/x.png[]");
    expect(PATHS("d/a/y/"), "d/a/y/x.png[]");
    assert_int_equal(symlink("../e", "d/linked"), 0);
    assert_int_equal(symlink("nowhere", "d/broken.png"), 0);
    assert_int_equal(symlink("../a", "d/a/round"), 0); /* not walked for ever */
    expect(PATHS("d"), "d/B.png[] d/a/y/x.png[] d/a/z.png[] d/a.png[] d/b.png[] d/c.PNG[] d/linked/1.png[]");
    expect(PATHS("d/.a.png"), "d/.a.png[]"); /* by its name */
}

static void each_line_of_a_text_is_a_text(void **state) {
    (void)state;
    put("d/b.png", "");
    put("d/a.txt", "first line\n\n  second, with blanks \t\r\n \t\r\n#third\nlast\tone");
    put("d/c.TXT", "\n \n");
    put("d/en.txt", "\xef\xbb\xbfmarked\n");
    expect(PATHS("d"), "[:first line] [:second, with blanks] [:#third] [:last\tone] d/b.png[] [:marked]");
    expect(PATHS("d/en.txt", "d/b.png"), "[:marked] d/b.png[]");
}

static void captions_go_to_their_pictures(void **state) {
    (void)state;
    put_pictures(PATHS("d/a.png", "d/b.png", "d/s/c c.png", "d/s/d.png", "d/#e.png"));
    put("d/captions.tsv", "# what is what\n\nb.png\tein B\tde\ns/c c.png\t see \n./a.png\tan A\t\na.png\tA\ten-US\r\n"
                          " \t\t \nb.png\ta B\n././#e.png\t# not a comment\tx_1\nb.png\tein B\tde");
    put("d/s/captions.tsv", "\xef\xbb\xbf" "c c.png\t\xe6\xb5\xb7\tja\n");
    expect(PATHS("d"), "d/#e.png[x_1:# not a comment] d/a.png[:an A|en-US:A] d/b.png[de:ein B|:a B|de:ein B] "
                       "d/s/c c.png[:see|ja:\xe6\xb5\xb7] d/s/d.png[]");
    expect(PATHS("d/"), "d/#e.png[x_1:# not a comment] d/a.png[:an A|en-US:A] d/b.png[de:ein B|:a B|de:ein B] "
                        "d/s/c c.png[:see|ja:\xe6\xb5\xb7] d/s/d.png[]");
    expect(PATHS("d/a.png"), "d/a.png[]");
    assert_int_equal(chdir("d"), 0);
    expect(PATHS("."), "./#e.png[x_1:# not a comment] ./a.png[:an A|en-US:A] ./b.png[de:ein B|:a B|de:ein B] "
                       "./s/c c.png[:see|ja:\xe6\xb5\xb7] ./s/d.png[]");
    assert_int_equal(chdir(".."), 0);
}

/* Two folders of the same names do not share captions. */
static void captions_stay_in_their_folder(void **state) {
    (void)state;
    put_pictures(PATHS("d/a.png", "e/a.png", "e/x/a.png"));
    put("d/captions.tsv", "a.png\tof d\n");
    put("e/captions.tsv", "x/a.png\tof x\na.png\tof e\n");
    expect(PATHS("e", "d"), "e/a.png[:of e] e/x/a.png[:of x] d/a.png[:of d]");
    put("e/captions.tsv", "../d/a.png\tof d\n");
    refused(EXIT_INPUT, "e/captions.tsv: line 1: no such picture in this folder (got '../d/a.png')", PATHS("d", "e"));
}

/* ---- What is wrong ---- */

static void wrong_lines_are_named(void **state) {
    (void)state;
    static const struct {
        const char *line, *says;
    } wrong[] = {
        {"b.png\tno", "no such picture in this folder (got 'b.png'); correct its name"},
        {"A.png\tno", "no such picture in this folder (got 'A.png')"},
        {" a.png\tno", "no such picture in this folder (got ' a.png')"},
        {"\tno", "no such picture in this folder (got '')"},
        {"note.md\tno", "no such picture in this folder (got 'note.md')"},
        {"a.png/\tno", "no such picture in this folder (got 'a.png/')"},
        {"a.png", "no TAB (got 'a.png'); write FILE, TAB, caption"},
        {"a.png a picture", "no TAB (got 'a.png a picture')"},
        {"a.png\t", "a caption without text (got 'a.png'); write one"},
        {"a.png\t \r", "a caption without text (got 'a.png')"},
        {"a.png\t\ten", "a caption without text (got 'a.png')"},
        {"a.png\tA\te n", "not a language (want at most 20 letters, digits, - and _) (got 'e n'); write it"},
        {"a.png\tA\ten:", "not a language (want at most 20 letters, digits, - and _) (got 'en:')"},
        {"a.png\tA\t\xc3\xa9", "not a language (want at most 20 letters, digits, - and _) (got '\xc3\xa9')"},
        {"a.png\tA\tabcdefghijklmnopqrstu", "not a language (want at most 20 letters, digits, - and _)"},
        {"a.png\tA\ten\tmore", "more than three fields (got 'more')"},
        {"a.png\tA\ten\t", "more than three fields (got '')"},
        {"a.png\t\xff", "not UTF-8 text; convert"},
        {"a.png\t\xe6\x97", "not UTF-8 text; convert"},
    };
    put_pictures(PATHS("d/a.png", "d/note.md"));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *text = string_format("a.png\tA\n#\n\n\r\n%s\na.png\tnever reached", wrong[i].line);
        char *says = string_format("d/captions.tsv: line 5: %s", wrong[i].says);
        put("d/captions.tsv", text);
        refused(EXIT_INPUT, says, PATHS("d"));
        free(text);
        free(says);
    }
    put("d/captions.tsv", "a.png\tA\tabcdefghijklmnopq-_9\na.png\t'\"\n"); /* 20; quotes are letters like others */
    expect(PATHS("d"), "d/a.png[abcdefghijklmnopq-_9:A|:'\"]");
    file_write("d/captions.tsv", "a.png\tA\0B\n", 10);
    refused(EXIT_INPUT, "d/captions.tsv: line 1: not UTF-8 text", PATHS("d"));
    remove("d/captions.tsv");
    put("d/t.txt", "good\nbad \xc0\xaf\n");
    refused(EXIT_INPUT, "d/t.txt: line 2: not UTF-8 text", PATHS("d"));
}

/* However long what it cites is. */
static void a_message_is_one_line(void **state) {
    (void)state;
    char *text = array_alloc(3000, 1);
    memset(text, 'x', 2998);
    put("d/a.png", "");
    put("d/captions.tsv", text);
    refused(EXIT_INPUT, "d/captions.tsv: line 1: no TAB (got 'xxxxx", PATHS("d"));
    memcpy(text, "a\tb\t", 4);
    put("d/captions.tsv", text);
    refused(EXIT_INPUT, "d/captions.tsv: line 1: not a language", PATHS("d"));
    free(text);
}

static void what_is_not_there_is_named(void **state) {
    (void)state;
    put("d/a.png", "");
    put("e/b.jpg", "");
    put("e/.c.png", "");
    put("f/t.txt", " \n\n");
    put("captions.tsv", "");
    refused(EXIT_INPUT, "none: cannot read: No such file or directory; name a folder of .png or .txt files",
            PATHS("d", "none"));
    refused(EXIT_INPUT, "none.png: cannot read: No such file", PATHS("none.png"));
    refused(EXIT_INPUT, ": cannot read: No such file", PATHS(""));
    refused(EXIT_INPUT, "e: no pictures and no text (2 other files); name", PATHS("e"));
    refused(EXIT_INPUT, "f: no pictures and no text (0 other files)", PATHS("f"));
    refused(EXIT_INPUT, "e/b.jpg: neither a .png picture nor a .txt text", PATHS("e/b.jpg"));
    refused(EXIT_INPUT, "captions.tsv: neither a .png picture nor a .txt text", PATHS("captions.tsv"));
    refused(EXIT_INPUT, "/dev/null: neither", PATHS("/dev/null"));
    refused(EXIT_INPUT, "no input: no pictures", (char *[]){NULL});
    refused(EXIT_USAGE, "d/a.png: found twice", PATHS("d", "e", "d"));
    refused(EXIT_USAGE, "d/a.png: found twice", PATHS("d/a.png", "d"));
    assert_int_equal(mkfifo("d/b.png", 0666), 0);
    expect(PATHS("d"), "d/a.png[]");
    refused(EXIT_INPUT, "d/b.png: neither", PATHS("d/b.png"));
    expect(PATHS("e", "d"), "d/a.png[]");
    put("d/captions.tsv", "b.png\tB\n");
    refused(EXIT_INPUT, "d/captions.tsv: line 1: no such picture", PATHS("d"));
    remove("d/captions.tsv");
    assert_int_equal(symlink("/proc/self/mem", "d/c.txt"), 0); /* it opens, and cannot be read */
    refused(EXIT_INPUT, "d/c.txt: cannot read: ", PATHS("d"));
}

/* Nothing of it is left out in silence. */
static void folders_that_are_closed_are_named(void **state) {
    put_pictures(PATHS("d/a.png", "d/closed/b.png"));
    assert_int_equal(chmod(*state, 0755) | chmod("d/closed", 0), 0);
    const uid_t user = geteuid();
    if (user == 0) assert_int_equal(seteuid(65534), 0); /* to whom it is closed, too */
    refused(EXIT_INPUT, "d/closed: cannot read: Permission denied", PATHS("d"));
    assert_int_equal(seteuid(user) | chmod("d/closed", 0755), 0);
}

/* What follows makes nothing good again. */
static void the_first_that_is_wrong_is_named(void **state) {
    (void)state;
    put("d/a.txt", "\xff\n");
    put("d/b.txt", "\xff\n");
    put("d/c.png", "");
    refused(EXIT_INPUT, "d/a.txt: line 1: not UTF-8 text", PATHS("d", "d/c.png"));
    refused(EXIT_INPUT, "none: cannot read", PATHS("none", "d/c.png"));
}

static void what_is_skipped_is_told_in_a_line(void **state) {
    (void)state;
    put_pictures(PATHS("d/a.png", "d/b.jpg", "d/c.tsv", "d/.d.png", "d/e", "d/s/my-captions.tsv", "d/s/f.txt"));
    told(true, PATHS("d"), "skipped, hidden or neither .png, .txt nor captions.tsv: 5 files, d/.d.png first\n");
    told(false, PATHS("d"), "");
    told(true, PATHS("d/a.png"), "");
    put_pictures(PATHS("g/a.png", "g/b.png", "g/a.txt", "g/b.txt"));
    told(true, PATHS("g"), "test_folder: note: g/a.txt: has the name of a picture (2 such files), and is text without "
                           "one; captions belong into captions.tsv\n");
    told(false, PATHS("g"), "");
}

/* ---- What is held out together ---- */

static uint64_t group_of(const struct folder *f, const char *path) {
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->items[i].path ? f->items[i].path : f->items[i].captions->text, path) == 0)
            return f->items[i].group;
    fail_msg("%s is missing", path);
    return 0;
}

static void skin_tones_go_with_their_base(void **state) {
    (void)state;
    static char *const files[] = {"d/1f44b.png", "d/1f44b+1f3fb.png", "d/1f44b+1f3fb+1.png", "d/1f44.png",
                                  "d/1f44b1.png", "d/x/1f44b.png", "d/x/1f44b+2.png", "d/a.b.png", "d/a.png",
                                  "d/a.b+c.png", "d/p+q/1.png", "d/p+q/2.png", "d/+1.png", "d/+2.png",
                                  "d/1f44b+2.png", NULL};
    static const int same[][2] = {{0, 1}, {0, 2}, {5, 6}, {7, 9}, {0, 14}, {1, 14}, {2, 14}};
    put_pictures((char **)files);
    struct folder f = list_of(PATHS("d"));
    assert_int_equal(f.n, 15);
    for (int i = 0; i < 15; i++)
        for (int j = 0; j < i; j++) {
            bool together = i == 2 && j == 1;
            for (int s = 0; s < 7; s++) together |= same[s][0] == j && same[s][1] == i;
            if ((group_of(&f, files[i]) == group_of(&f, files[j])) != together)
                fail_msg("%s and %s", files[i], files[j]);
        }
    const uint64_t base = group_of(&f, "d/1f44b.png"), deep = group_of(&f, "d/x/1f44b.png");
    folder_free(&f);
    f = list_of(PATHS("d/x"));
    assert_true(group_of(&f, "d/x/1f44b.png") == base); /* below the folder that is given: wherever that lies */
    folder_free(&f);
    f = list_of(PATHS("d/"));
    assert_true(group_of(&f, "d/1f44b.png") == base && group_of(&f, "d/x/1f44b.png") == deep && base != deep);
    folder_free(&f);
    f = list_of(PATHS("d/1f44b+2.png", "d/x/1f44b.png"));
    assert_true(group_of(&f, "d/1f44b+2.png") == base && group_of(&f, "d/x/1f44b.png") == base); /* no folder */
    folder_free(&f);
}

static void texts_go_with_the_same(void **state) {
    (void)state;
    put("d/a.txt", "one\ntwo\none \n");
    put("e/b.txt", "two\n");
    struct folder f = list_of(PATHS("d", "e"));
    assert_int_equal(f.n, 4);
    assert_true(f.items[0].group == f.items[2].group && f.items[1].group == f.items[3].group);
    assert_true(f.items[0].group != f.items[1].group);
    folder_free(&f);
}

/* Of names that differ in their last letters the groups are anywhere. */
static void groups_are_spread(void **state) {
    (void)state;
    char path[40];
    size_t low = 0;
    for (int i = 0; i < 64; i++) {
        snprintf(path, sizeof path, "d/picture%d.png", 10 + i);
        put(path, "");
    }
    struct folder f = list_of(PATHS("d"));
    for (size_t i = 0; i < f.n; i++) low += f.items[i].group < UINT64_MAX / 2;
    assert_in_range(low, 16, 48);
    folder_free(&f);
}

/* A later version holds out the same: or it would validate a model of this one on what that was trained on. */
static void groups_stay_as_they_are(void **state) {
    (void)state;
    put("d/1f44b+1.png", "");
    put("d/t.txt", "one\n");
    struct folder f = list_of(PATHS("d"));
    assert_true(group_of(&f, "d/1f44b+1.png") == UINT64_C(0x100f5b4f3e9e45bc));
    assert_true(group_of(&f, "one") == UINT64_C(0xe7f1fe2dc40988fb));
    folder_free(&f);
}

/* ---- Languages ---- */

/* What is left of a folder of all kinds of captions, and what a list is refused for. */
static void chosen(const char *languages, const char *want) {
    struct folder f = list_of(PATHS("d"));
    struct error err = {0, ""};
    char *got;
    if (folder_choose(&f, languages, &err)) {
        got = string_format("%s", "");
        for (size_t i = 0; i < f.n; i++) {
            string_append(&got, "[");
            for (size_t c = 0; c < f.items[i].n_captions; c++)
                string_append(&got, "%s%s:%s", c ? "|" : "", f.items[i].captions[c].language,
                              f.items[i].captions[c].text);
            string_append(&got, "]");
        }
    } else {
        assert_int_equal(err.code, EXIT_USAGE);
        got = string_format("%s", err.text);
    }
    assert_string_equal(got, want);
    free(got);
    folder_free(&f);
}

/* In their order, whole names only; a text alone is in no language. */
static void captions_are_chosen_by_language(void **state) {
    (void)state;
    put_pictures(PATHS("d/a.png", "d/b.png", "d/c.png"));
    put("d/captions.tsv", "a.png\tA\ten\na.png\tein A\tde\na.png\tan A\ten-x\nb.png\tB\nb.png\tnog een\tnl\n"
                          "b.png\tnoch eins\tde\nb.png\tone more\ten\nb.png\ta last one\ten\n");
    put("d/t.txt", "a text\n");
    chosen("en", "[en:A][en:one more|en:a last one][][:a text]");
    chosen("en,de", "[en:A|de:ein A][de:noch eins|en:one more|en:a last one][][:a text]");
    chosen("de,en-x,nl", "[de:ein A|en-x:an A][nl:nog een|de:noch eins][][:a text]");
    chosen("nl", "[][nl:nog een][][:a text]");
    chosen("e", "--languages e: no caption is in 'e'; see captions.tsv");
    chosen("en,fr", "--languages en,fr: no caption is in 'fr'; see captions.tsv");
    chosen("fr,en", "--languages fr,en: no caption is in 'fr'; see captions.tsv");
    chosen("en,de-AT", "--languages en,de-AT: no caption is in 'de-AT'; see captions.tsv");
    put("d/captions.tsv", "a.png\tA\ten\n");
    chosen("en,", "--languages en,: no caption is in ''; see captions.tsv"); /* that of a text alone is none */
}

/* ---- What the hash depends on ---- */

static uint64_t hash_of(char **paths) {
    struct folder f = list_of(paths);
    const uint64_t hash = f.hash;
    folder_free(&f);
    return hash;
}

static void time_set(const char *path, time_t seconds, long part) {
    const struct timespec times[] = {{seconds, part}, {seconds, part}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void things_make(void) {
    put("d/a.png", "a");
    put("d/b.png", "b");
    put("d/t.txt", "a text\n");
    put("d/captions.tsv", "a.png\tA\n");
    time_set("d/a.png", 1000, 1);
    time_set("d/b.png", 1000, 1);
    time_set("d/t.txt", 1000, 1);
}

static void the_hash_is_of_all_that_is_listed(void **state) {
    (void)state;
    uint64_t seen[13];
    int n = 0;
    things_make();
    seen[n++] = hash_of(PATHS("d"));
    put("d/captions.tsv", "a.png\tB\n");
    seen[n++] = hash_of(PATHS("d"));
    put("d/captions.tsv", "a.png\tA\n#\n"); /* the same captions: not to be told apart from others, but safe */
    seen[n++] = hash_of(PATHS("d"));
    remove("d/captions.tsv");
    seen[n++] = hash_of(PATHS("d"));
    things_make();
    time_set("d/b.png", 1001, 1);
    seen[n++] = hash_of(PATHS("d"));
    time_set("d/b.png", 1000, 2);
    seen[n++] = hash_of(PATHS("d"));
    things_make();
    put("d/b.png", "bb");
    time_set("d/b.png", 1000, 1);
    seen[n++] = hash_of(PATHS("d"));
    things_make();
    put("d/t.txt", "a text.\n");
    time_set("d/t.txt", 1000, 1);
    seen[n++] = hash_of(PATHS("d"));
    things_make();
    time_set("d/t.txt", 1002, 1);
    seen[n++] = hash_of(PATHS("d"));
    things_make();
    assert_int_equal(rename("d/b.png", "d/c.png"), 0);
    seen[n++] = hash_of(PATHS("d"));
    assert_int_equal(rename("d/c.png", "d/b.png"), 0);
    assert_int_equal(symlink("d", "e"), 0);
    seen[n++] = hash_of(PATHS("e"));
    put("f/s/a.png", "");
    seen[n++] = hash_of(PATHS("f"));
    seen[n++] = hash_of(PATHS("f/s")); /* the same file in another group */
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++)
            if (seen[i] == seen[j]) fail_msg("%d and %d have one hash", i, j);
    things_make();
    put("d/note.md", "not listed");
    time_set("d/captions.tsv", 1, 1);
    assert_true(hash_of(PATHS("d")) == seen[0]);
}

/* Of what is left out by language: of the list, and of the rest as before. */
static void the_hash_is_of_the_languages(void **state) {
    (void)state;
    things_make();
    static const char *const lists[] = {"en", "de", "en,de"};
    put("d/captions.tsv", "a.png\tA\ten\na.png\tA\tde\n");
    uint64_t hashes[4] = {hash_of(PATHS("d"))};
    for (int i = 0; i < 3; i++) {
        struct folder f = list_of(PATHS("d"));
        struct error err;
        assert_true(folder_choose(&f, lists[i], &err));
        hashes[i + 1] = f.hash;
        folder_free(&f);
        for (int j = 0; j <= i; j++) assert_true(hashes[j] != hashes[i + 1]);
    }
    put("d/captions.tsv", "a.png\tB\ten\na.png\tA\tde\n");
    struct folder f = list_of(PATHS("d"));
    struct error err;
    assert_true(folder_choose(&f, "en", &err) && f.hash != hashes[1]);
    folder_free(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        HERE(pictures_come_in_the_order_of_names),
        HERE(each_line_of_a_text_is_a_text),
        HERE(captions_go_to_their_pictures),
        HERE(captions_stay_in_their_folder),
        HERE(wrong_lines_are_named),
        HERE(a_message_is_one_line),
        HERE(what_is_not_there_is_named),
        HERE(folders_that_are_closed_are_named),
        HERE(the_first_that_is_wrong_is_named),
        HERE(what_is_skipped_is_told_in_a_line),
        HERE(skin_tones_go_with_their_base),
        HERE(texts_go_with_the_same),
        HERE(groups_are_spread),
        HERE(groups_stay_as_they_are),
        HERE(captions_are_chosen_by_language),
        HERE(the_hash_is_of_all_that_is_listed),
        HERE(the_hash_is_of_the_languages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
