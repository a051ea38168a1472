/* Options (src/options): every type, every message, config files and JSON. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../src/run/options.h"
#include "../src/base/rng.h"
#include "child.h"

struct model {
    int layers, kind;
    double lr;
    bool residual;
};

struct run {
    int64_t steps;
    char *out, *note;
    int any;
    double shift;
};

static const char *const kinds[] = {"dense", "smoe", "mhmoe", NULL};

static const struct option_spec model_specs[] = {
    {"layers", 'l', OPTION_INT, offsetof(struct model, layers), "4", 1, 100, NULL, "N", "Number of blocks",
     "Model"},
    {"ffn", 0, OPTION_CHOICE, offsetof(struct model, kind), "mhmoe", 0, 0, kinds, "KIND",
     "Kind of feed-forward layer, with a sentence that is long enough to need a second line of help", NULL},
    {"lr", 0, OPTION_REAL, offsetof(struct model, lr), "1e-3", 0, 10, NULL, "X", "Learning rate", NULL},
    {"residual", 0, OPTION_FLAG, offsetof(struct model, residual), "true", 0, 0, NULL, NULL, "Add the input",
     NULL},
    {0},
};

static const struct option_spec run_specs[] = {
    {"steps", 's', OPTION_LONG, offsetof(struct run, steps), "2k", 1, (double)INT64_MAX, NULL, "N",
     "Optimizer steps", "Run"},
    {"out", 'o', OPTION_STRING, offsetof(struct run, out), "runs/new", 0, 0, NULL, "DIR", "Where results go",
     NULL},
    {"note", 0, OPTION_STRING, offsetof(struct run, note), NULL, 0, 0, NULL, "TEXT", "Kept with the run",
     NULL},
    {"any-number-of-a-long-name", 0, OPTION_INT, offsetof(struct run, any), "0", 0, 0, NULL, "N", "Any",
     NULL},
    {"shift", 0, OPTION_REAL, offsetof(struct run, shift), "0", 0, 0, NULL, "X", "Any number", NULL},
    {0},
};

static const char *const names[] = {"layers", "ffn",  "lr",   "residual", "steps",
                                    "out",    "note", "any-number-of-a-long-name", "shift"};
enum { NAMES = sizeof names / sizeof *names };

static const struct program_info info = {"prog", "prog [OPTION]... [FILE]...", "Does what it says.",
                                         "Examples:\n  prog --steps 5\n", NULL};

struct fixture {
    struct model model;
    struct run run;
    struct option_group groups[2];
    const struct program_info *info;
    bool *given;
    struct error err;
};

static int fixture_create(void **state) {
    static struct fixture f;
    f = (struct fixture){.groups = {{model_specs, &f.model}, {run_specs, &f.run}}, .info = &info};
    options_set_defaults(f.groups, 2);
    *state = &f;
    return 0;
}

static int fixture_free(void **state) {
    struct fixture *f = *state;
    options_free(f->groups, 2);
    free(f->given);
    return 0;
}

static bool is_given(const struct fixture *f, const char *name) {
    return options_given(f->groups, 2, f->given, name);
}

/* Parses the words of a line (cut at single spaces). */
static int line_parse(struct fixture *f, const char *line) {
    static char text[1000];
    static char *argv[50];
    int argc = 0;
    snprintf(text, sizeof text, "prog %s", line);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) argv[argc++] = word;
    argv[argc] = NULL;
    free(f->given);
    return options_parse(f->groups, 2, f->info, argc, argv, &f->given, &f->err);
}

static void assert_refused(struct fixture *f, const char *line, const char *text) {
    assert_int_equal(line_parse(f, line), -1);
    assert_int_equal(f->err.code, EXIT_USAGE);
    assert_string_equal(f->err.text, text);
}

static void test_defaults(void **state) {
    struct fixture *f = *state;
    assert_int_equal(line_parse(f, ""), 1);
    assert_int_equal(f->model.layers, 4);
    assert_int_equal(f->model.kind, 2);
    assert_true(f->model.lr == 1e-3);
    assert_true(f->model.residual);
    assert_int_equal(f->run.steps, 2000);
    assert_string_equal(f->run.out, "runs/new");
    assert_null(f->run.note);
    for (size_t i = 0; i < NAMES; i++) assert_false(is_given(f, names[i]));
}

static void test_values(void **state) {
    struct fixture *f = *state;
    static char *argv[] = {"prog",      "first",         "--layers=100", "--ffn", "smoe",  "--lr",
                           "2.5e-4",    "--no-residual", "-s",           "12M",   "-oa/b", "--note",
                           "two words", "--any",         "-7",           "--",    "-x",    NULL};
    enum { ARGC = sizeof argv / sizeof argv[0] - 1 };
    int first = options_parse(f->groups, 2, &info, ARGC, argv, &f->given, &f->err);
    assert_int_equal(first, ARGC - 2);
    assert_string_equal(argv[first], "first"); /* operands are moved behind the options */
    assert_string_equal(argv[first + 1], "-x");
    assert_int_equal(f->model.layers, 100);
    assert_int_equal(f->model.kind, 1);
    assert_true(f->model.lr == 2.5e-4);
    assert_false(f->model.residual);
    assert_int_equal(f->run.steps, 12000000);
    assert_string_equal(f->run.out, "a/b");
    assert_string_equal(f->run.note, "two words");
    assert_int_equal(f->run.any, -7); /* by an unambiguous beginning */
    for (size_t i = 0; i < NAMES; i++) assert_int_equal(is_given(f, names[i]), strcmp(names[i], "shift") != 0);
    assert_int_equal(line_parse(f, "--residual --steps 3k --steps 9G"), 6);
    assert_true(f->model.residual);
    assert_int_equal(f->run.steps, 9000000000); /* the last one wins */
    for (size_t i = 0; i < NAMES; i++) /* of this command line, not of the one before */
        assert_int_equal(is_given(f, names[i]), strcmp(names[i], "residual") == 0 || strcmp(names[i], "steps") == 0);
}

static void test_bad_values(void **state) {
    struct fixture *f = *state;
    assert_refused(f, "--layers 0", "--layers: bad value (got '0', want a whole number from 1 to 100)");
    assert_refused(f, "-l 101", "--layers: bad value (got '101', want a whole number from 1 to 100)");
    assert_refused(f, "--layers 4x", "--layers: bad value (got '4x', want a whole number from 1 to 100)");
    assert_refused(f, "--layers 1.5", "--layers: bad value (got '1.5', want a whole number from 1 to 100)");
    assert_refused(f, "--layers=", "--layers: bad value (got '', want a whole number from 1 to 100)");
    assert_refused(f, "--layers 4294967297",
                   "--layers: bad value (got '4294967297', want a whole number from 1 to 100)");
    assert_refused(f, "--any 2147483648",
                   "--any-number-of-a-long-name: bad value (got '2147483648', want a whole "
                   "number)");
    assert_refused(f, "--steps 0", "--steps: bad value (got '0', want a whole number from 1 up)");
    assert_refused(f, "--steps 1kk", "--steps: bad value (got '1kk', want a whole number from 1 up)");
    assert_refused(f, "--steps 9999999999G",
                   "--steps: bad value (got '9999999999G', want a whole number from 1 up)");
    assert_refused(f, "--steps 99999999999999999999",
                   "--steps: bad value (got '99999999999999999999', want a whole number from 1 up)");
    assert_refused(f, "--lr nan", "--lr: bad value (got 'nan', want a number from 0 to 10)");
    assert_refused(f, "--lr 1e999", "--lr: bad value (got '1e999', want a number from 0 to 10)");
    assert_refused(f, "--lr -0.1", "--lr: bad value (got '-0.1', want a number from 0 to 10)");
    assert_refused(f, "--shift inf", "--shift: bad value (got 'inf', want a number)");
    assert_refused(f, "--shift nan", "--shift: bad value (got 'nan', want a number)");
    assert_refused(f, "--ffn moe", "--ffn: bad value (got 'moe', want dense, smoe or mhmoe)");
    assert_refused(f, "--out \xff", "--out: bad value (got '\xff', want text in UTF-8)");
    assert_refused(f, "--steps", "--steps: bad value (got nothing, want a whole number from 1 up)");
    assert_refused(f, "-l", "--layers: bad value (got nothing, want a whole number from 1 to 100)");
    assert_int_equal(f->model.layers, 4); /* a refused value changes nothing */
    assert_string_equal(f->run.out, "runs/new");
}

static double number_of(const struct fixture *f, const char *option) {
    if (strcmp(option, "--layers") == 0) return f->model.layers;
    if (strcmp(option, "--lr") == 0) return f->model.lr;
    if (strcmp(option, "--steps") == 0) return (double)f->run.steps;
    return strcmp(option, "--shift") == 0 ? f->run.shift : f->run.any;
}

/* What a number may look like, and what it is then; not even strtod and strtoll may have it otherwise. */
static void test_numbers(void **state) {
    static const struct {
        const char *option, *text;
        double value;
    } cases[] = {
        {"--shift", "1", 1},          {"--shift", "-1", -1},          {"--shift", "+1", 1},
        {"--shift", ".5", .5},        {"--shift", "5.", 5},           {"--shift", "1e3", 1000},
        {"--shift", "1E-3", 1e-3},    {"--shift", "2.5e+2", 250},     {"--shift", "0e-999", 0},
        {"--shift", "1e308", 1e308},  {"--shift", "5e-324", 5e-324},  {"--shift", "-007", -7},
        {"--lr", "0", 0},             {"--lr", "10", 10},             {"--lr", "9.999999999999998", 9.999999999999998},
        {"--any", "0", 0},            {"--any", "+5", 5},             {"--any", "007", 7},
        {"--any", "2k", 2000},        {"--any", "-3M", -3000000},     {"--any", "2G", 2000000000},
        {"--any", "2147483647", INT_MAX},                             {"--any", "-2147483648", INT_MIN},
        {"--layers", "1", 1},         {"--layers", "100", 100},       {"--steps", "1", 1},
        {"--steps", "3G", 3e9},       {"--steps", "9007199254740992", 9007199254740992},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[100];
        snprintf(line, sizeof line, "%s=%s", cases[i].option, cases[i].text);
        assert_int_equal(line_parse(f, line), 2);
        const double got = number_of(f, cases[i].option);
        if (got != cases[i].value) fail_msg("%s: got %.17g", line, got);
    }
    assert_int_equal(line_parse(f, "--steps=9223372036854775807"), 2);
    assert_true(f->run.steps == INT64_MAX);
    assert_int_equal(line_parse(f, "--steps=9223372036854775k"), 2);
    assert_true(f->run.steps == 9223372036854775000);
}

static void test_no_numbers(void **state) {
    static const char *const lines[][20] = {
        {"--shift", "", " 1", "1 ", "\t1", "0x10", "0x1p3", "0x", "nan", "NaN", "inf", "-inf", "Infinity", "1,5", "1k",
         "e5", ".", "-", "1..2"},
        {"--shift", "1e", "1e+", "1e999", "-1e999", "1e-400", "-1e-400", "1f", "1e5.5", "--1", "+-1", "nan(1)", "1_0"},
        {"--lr", "10.000000000000002", "-1e-300", "-1", "11", "0x1"},
        {"--any", "", " 5", "5 ", "\n5", "0x10", "1e3", "1.0", "k", "5kk", "5K", "5m", "5g", "5 k", "--5", "- 5", "5,0",
         "2147483648", "-2147483649"},
        {"--any", "2147484k", "18446744073709552k", "4294967296", "-2148M", "3G", "99999999999999999999",
         "9223372036854775808", "5k5"},
        {"--layers", "0", "101", "-1", "1k", "4294967297"},
        {"--steps", "0", "-1", "9223372036854775808", "9223372036854776k", "-9223372036854775809",
         "18446744073709551617", "18446744073709552k", "18446744073710M", "18446744074G"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        for (int j = 1; j < 20 && lines[i][j]; j++) {
            char option[100];
            snprintf(option, sizeof option, "%s=%s", lines[i][0], lines[i][j]);
            char *argv[] = {"prog", option, NULL};
            free(f->given);
            if (options_parse(f->groups, 2, &info, 2, argv, &f->given, &f->err) != -1) fail_msg("taken: %s", option);
            assert_int_equal(f->err.code, EXIT_USAGE);
            assert_non_null(strstr(f->err.text, ": bad value (got '"));
            for (size_t k = 0; k < NAMES; k++) assert_false(is_given(f, names[k]));
        }
    assert_true(f->run.shift == 0 && f->model.lr == 1e-3 && f->run.any == 0 && f->model.layers == 4);
    assert_int_equal(f->run.steps, 2000);
}

/* A text of any bytes, for what is kept nowhere; a file cannot hold it. */
static void test_bytes(void **state) {
    static const struct option_spec specs[] = {
        {"prompt", 'p', OPTION_BYTES, 0, "The", 0, 0, NULL, "TEXT", "What it begins with", "Text"},
        {0},
    };
    char *prompt = NULL;
    const struct option_group group = {specs, &prompt};
    struct fixture *f = *state;
    options_set_defaults(&group, 1);
    assert_string_equal(prompt, "The");
    char *argv[] = {"prog", "-p", "caf\xe9\xff\xc3", "--print-config", NULL};
    assert_int_equal(options_parse(&group, 1, &info, 3, argv, NULL, &f->err), 3);
    assert_string_equal(prompt, "caf\xe9\xff\xc3");
    assert_int_equal(options_parse(&group, 1, &info, 4, argv, NULL, &f->err), -1);
    assert_int_equal(f->err.code, EXIT_USAGE);
    assert_string_equal(f->err.text, "--print-config: --prompt cannot be printed (got 'caf\xe9\xff\xc3', want text in "
                                     "UTF-8)");
    options_free(&group, 1);
    assert_null(prompt);
    char text[100];
    FILE *out = fmemopen(text, sizeof text, "w");
    options_print(&group, 1, out);
    fclose(out);
    assert_string_equal(text, "# Text\n# prompt =\n");
}

static void test_bad_names(void **state) {
    struct fixture *f = *state;
    assert_refused(f, "--stpes 5", "unknown option '--stpes'; did you mean '--steps'?; try --help");
    assert_refused(f, "--layer-count=5", "unknown option '--layer-count'; try --help");
    assert_refused(f, "--l4yers=5", "unknown option '--l4yers'; did you mean '--layers'?; try --help");
    assert_refused(f, "--hlep", "unknown option '--hlep'; did you mean '--help'?; try --help");
    assert_refused(f, "--no-ffn", "unknown option '--no-ffn'; did you mean '--ffn'?; try --help");
    assert_refused(f, "--no-help", "unknown option '--no-help'; did you mean '--help'?; try --help");
    assert_refused(f, "file --zzzzzzz", "unknown option '--zzzzzzz'; try --help");
    assert_refused(f, "-z", "unknown option '-z'; try --help");
    assert_refused(f, "--residual=yes", "--residual: takes no value (got '--residual=yes'); try --help");
    assert_refused(f, "--no", "option '--no' is ambiguous (--no-residual, --note); try --help");
}

/* ---- Config files ---- */

static char *config_make(const char *text) {
    static char path[32];
    strcpy(path, "/tmp/test-options-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    return path;
}

static int config_parse(struct fixture *f, const char *before, const char *text, const char *after) {
    char *path = config_make(text), line[200];
    snprintf(line, sizeof line, "%s --config %s %s", before, path, after);
    int first = line_parse(f, line);
    unlink(path);
    return first;
}

static void test_config(void **state) {
    struct fixture *f = *state;
    const char *text = "# a comment\n\n  layers = 7   # and why\nffn=dense\r\nresidual = false\nout = a#b  \n"
                       "note = \" quoted # \\\"\\n\\u00e9\" # comment\nlr = 0.1";
    assert_true(config_parse(f, "--layers 3 --lr 5", text, "--lr 0.2") > 0);
    assert_int_equal(f->model.layers, 7); /* the file stands further right */
    assert_int_equal(f->model.kind, 0);
    assert_false(f->model.residual);
    assert_string_equal(f->run.out, "a#b");
    assert_string_equal(f->run.note, " quoted # \"\n\xc3\xa9");
    assert_true(f->model.lr == 0.2);
    for (size_t i = 0; i < NAMES; i++)
        assert_int_equal(is_given(f, names[i]), strcmp(names[i], "steps") != 0 && strcmp(names[i], "shift") != 0 &&
                                                    strcmp(names[i], "any-number-of-a-long-name") != 0);
    assert_true(config_parse(f, "", "out =\n", "") > 0);
    assert_string_equal(f->run.out, "");
}

/* Files as editors on other systems leave them, and every way to write a value. */
static void test_config_forms(void **state) {
    static const struct {
        const char *text, *note;
    } cases[] = {
        {"\xef\xbb\xbfnote = marked", "marked"},
        {"\xef\xbb\xbf# a comment\r\nnote = marked\r\n", "marked"},
        {"note = a\t# why", "a"},
        {"note = a\t \t#", "a"},
        {"note = a#b #c #d", "a#b"},
        {"note = #", ""},
        {"note =# why", ""},
        {"note=\r\n", ""},
        {"\t note\t=\ta b\t\r\n", "a b"},
        {"note = a = b", "a = b"},
        {"note = \"a\"# why", "a"},
        {"note = \"\xc3\xa9 \xe2\x82\xac\" # why \"not\"", "\xc3\xa9 \xe2\x82\xac"},
        {"note = \"\\u20ac\\\\\\\"\" ", "\xe2\x82\xac\\\""},
        {"note = a\"b\"", "a\"b\""},
        {"note = one\nnote = two", "two"}, /* the last one wins, as on the command line */
        {"note = one\nlayers = \"5\"", "one"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (config_parse(f, "", cases[i].text, "") < 0) fail_msg("case %zu: %s", i, f->err.text);
        assert_string_equal(f->run.note, cases[i].note);
        assert_true(is_given(f, "note"));
        assert_int_equal(is_given(f, "layers"), i + 1 == sizeof cases / sizeof *cases);
    }
    assert_int_equal(f->model.layers, 5);
    char *text = string_format("note = %05000d\n", 7), want[5001];
    snprintf(want, sizeof want, "%05000d", 7);
    assert_true(config_parse(f, "", text, "") > 0);
    assert_string_equal(f->run.note, want);
    free(text);
}

static void assert_config_refused(struct fixture *f, const char *text, const char *want) {
    assert_int_equal(config_parse(f, "", text, ""), -1);
    assert_int_equal(f->err.code, EXIT_USAGE);
    char *tail = strstr(f->err.text, ": line ");
    assert_non_null(tail);
    assert_string_equal(tail, want);
}

static void test_config_errors(void **state) {
    struct fixture *f = *state;
    assert_config_refused(f, "lr = 1\nlayers = x\n",
                          ": line 2: layers: bad value (got 'x', want a whole number from 1 to 100)");
    assert_config_refused(f, "\nlayer = 3",
                          ": line 2: unknown option 'layer'; did you mean 'layers'?; try --help");
    assert_config_refused(f, "layers 3", ": line 1: bad line (got 'layers 3', want name = value)");
    assert_config_refused(f, "residual = yes",
                          ": line 1: residual: bad value (got 'yes', want true or false)");
    assert_config_refused(f, "help = true", ": line 1: unknown option 'help'; try --help");
    assert_config_refused(f, "out = \"open",
                          ": line 1: out: bad value (got wrong quotes, want text in UTF-8)");
    assert_config_refused(f, "out = \"a\" b",
                          ": line 1: out: bad value (got wrong quotes, want text in UTF-8)");
    static const char *const quoted[] = {"note = \"a\\u0000b\"", "note = \"\\ud800\"", "note = \"\xe9\"",
                                         "note = \"\\x\""};
    for (size_t i = 0; i < sizeof quoted / sizeof *quoted; i++)
        assert_config_refused(f, quoted[i], ": line 1: note: bad value (got wrong quotes, want text in UTF-8)");
    assert_config_refused(f, "note = \xe9", ": line 1: note: bad value (got '\xe9', want text in UTF-8)");
    assert_config_refused(f, "steps = 1e3\n", ": line 1: steps: bad value (got '1e3', want a whole number from 1 up)");
    assert_config_refused(f, "lr = 0x1", ": line 1: lr: bad value (got '0x1', want a number from 0 to 10)");
    assert_config_refused(f, "layers =", ": line 1: layers: bad value (got '', want a whole number from 1 to 100)");
    assert_config_refused(f, "layers = 5 6",
                          ": line 1: layers: bad value (got '5 6', want a whole number from 1 to 100)");
    assert_config_refused(f, "= 5", ": line 1: unknown option ''; try --help");
    assert_config_refused(f, "--layers = 5", ": line 1: unknown option '--layers'; did you mean 'layers'?; try --help");
    assert_config_refused(f, "no-residual = true",
                          ": line 1: unknown option 'no-residual'; did you mean 'residual'?; try --help");
    assert_config_refused(f, "config = other", ": line 1: unknown option 'config'; try --help");
    assert_config_refused(f, "lr = 1\n\xef\xbb\xbflayers = 5",
                          ": line 2: unknown option '\xef\xbb\xbflayers'; did you mean 'layers'?; try --help");
    assert_refused(f, "--config /no/file",
                   "/no/file: cannot read this config file: No such file or directory");
    assert_int_equal(line_parse(f, "--config /tmp"), -1); /* a directory opens, but does not read */
    assert_int_equal(f->err.code, EXIT_USAGE);
    assert_string_equal(f->err.text, "/tmp: cannot read this config file");
    char *path = config_make("layers = 5\nlr = 1"), line[100];
    FILE *file = fopen(path, "r+");
    fseek(file, 10, SEEK_SET);
    fputc(0, file); /* as in UTF-16: it would hide the rest of its line */
    fclose(file);
    snprintf(line, sizeof line, "--config %s", path);
    assert_int_equal(line_parse(f, line), -1);
    assert_non_null(strstr(f->err.text, ": line 1: holds a NUL byte; save it as UTF-8"));
    unlink(path);
}

/* Prints a configuration and reads it back into another: every bit must survive. */
static void test_config_round_trip(void **state) {
    struct fixture *f = *state;
    f->model = (struct model){.layers = 99, .kind = 1, .lr = 1.0 / 3, .residual = false};
    f->run.steps = INT64_MAX;
    f->run.any = INT_MIN;
    f->run.shift = -5e-324; /* the least double */
    free(f->run.out);
    f->run.out = strdup(" # \"odd\"\\ \t\n text \xc3\xa9 ");
    char text[2000];
    FILE *out = fmemopen(text, sizeof text, "w");
    options_print(f->groups, 2, out);
    fclose(out);
    assert_non_null(
        strstr(text, "# Model\nlayers = 99\nffn = smoe\nlr = 0.3333333333333333\nresidual = false\n"));
    assert_non_null(strstr(text, "# note =\n"));
    struct model model = {0};
    struct run run = {0};
    struct option_group copies[] = {{model_specs, &model}, {run_specs, &run}};
    options_set_defaults(copies, 2);
    char *path = config_make(text), *argv[] = {"prog", "--config", path, NULL};
    assert_int_equal(options_parse(copies, 2, &info, 3, argv, NULL, &f->err), 3);
    unlink(path);
    assert_int_equal(model.layers, 99);
    assert_int_equal(model.kind, 1);
    assert_true(model.lr == 1.0 / 3);
    assert_false(model.residual);
    assert_true(run.steps == INT64_MAX);
    assert_int_equal(run.any, INT_MIN);
    assert_true(run.shift == -5e-324);
    assert_string_equal(run.out, f->run.out);
    assert_null(run.note);
    options_free(copies, 2);
}

/* As many digits as a number needs, and no more. */
static void test_real_digits(void **state) {
    static const char *const shortest[] = {"0.1", "0.30000000000000004", "1e+300", "0.001", "100000", "1e-07",
                                           "0.010000000000000002", "2.2250738585072014e-308", "-7"};
    struct fixture *f = *state;
    struct rng rng;
    rng_seed(&rng, 1, 2);
    for (int i = 0; i < 2000; i++) {
        char text[2000], want[40];
        const int known = i < (int)(sizeof shortest / sizeof *shortest);
        const double value = known ? strtod(shortest[i], NULL) : rng_normal(&rng) * pow(10, (int)(i % 40) - 20);
        f->run.shift = value;
        FILE *out = fmemopen(text, sizeof text, "w");
        options_print(f->groups, 2, out);
        fclose(out);
        char *at = strstr(text, "\nshift = ") + 9;
        at[strcspn(at, "\n")] = 0;
        snprintf(want, sizeof want, "--shift=%s", at);
        f->run.shift = 0;
        assert_int_equal(line_parse(f, want), 2);
        assert_true(f->run.shift == value);
        if (known) assert_string_equal(at, shortest[i]);
    }
}

/* ---- What exits ---- */

/* The standard output of a child that parses the line; its exit code must be `code`. */
static void output_read(struct fixture *f, const char *line, int code, char *text, size_t size) {
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    const pid_t child = child_of_test();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        line_parse(f, line);
        _exit(99);
    }
    close(ends[1]);
    ssize_t got, used = 0;
    while ((got = read(ends[0], text + used, size - 1 - (size_t)used)) > 0) used += got;
    text[used] = 0;
    close(ends[0]);
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), code);
}

static void test_help(void **state) {
    struct fixture *f = *state;
    char text[5000];
    output_read(f, "--help", EXIT_DONE, text, sizeof text);
    assert_string_equal(
        text,
        "Usage: prog [OPTION]... [FILE]...\n"
        "Does what it says.\n"
        "\n"
        "Model:\n"
        "  -l, --layers N            Number of blocks [from 1 to 100; default 4]\n"
        "      --ffn KIND            Kind of feed-forward layer, with a sentence that is long enough to "
        "need\n"
        "                            a second line of help [one of dense, smoe or mhmoe; default mhmoe]\n"
        "      --lr X                Learning rate [from 0 to 10; default 1e-3]\n"
        "      --[no-]residual       Add the input [default on]\n"
        "\n"
        "Run:\n"
        "  -s, --steps N             Optimizer steps [from 1 up; default 2k]\n"
        "  -o, --out DIR             Where results go [default runs/new]\n"
        "      --note TEXT           Kept with the run\n"
        "      --any-number-of-a-long-name N\n"
        "                            Any [default 0]\n"
        "      --shift X             Any number [default 0]\n"
        "\n"
        "Help and configuration:\n"
        "      --config FILE         Read \"name = value\" lines from FILE; options further right win\n"
        "      --print-config        Print the configuration that results, as --config reads it, and exit\n"
        "  -h, --help                Print this and exit\n"
        "      --help-as KIND        Print the options as sections of a manual page, or what completes them\n"
        "                            in a shell, and exit [one of man, bash, zsh or fish]\n"
        "      --version             Print the version and exit\n"
        "\n"
        "Examples:\n"
        "  prog --steps 5\n");
}

static void test_printing(void **state) {
    struct fixture *f = *state;
    char text[5000];
    output_read(f, "--version", EXIT_DONE, text, sizeof text);
    assert_string_equal(text, "prog " OPTIONS_VERSION "\n");
    output_read(f, "--print-config --layers 9", EXIT_DONE, text, sizeof text);
    assert_non_null(strstr(text, "layers = 9\n")); /* also what stands behind it */
    output_read(f, "--print-config --layers 0", 99, text, sizeof text);
    assert_string_equal(text, "");
}

/* ---- Options that follow from others ---- */

/* Where no rate is given it is that of the layers. Counts its calls in `any`, with what it was told last. */
static void rate_complete(const struct option_group *groups, size_t n, const bool *given) {
    struct model *model = groups[0].target;
    struct run *run = groups[1].target;
    assert_int_equal(n, 2);
    run->any++;
    if (!options_given(groups, n, given, "lr")) model->lr = model->layers / 100.0;
}

/* Once, when all is read: the command line, whatever its order, and files. Of what is refused nothing follows. */
static void test_completion(void **state) {
    static const struct {
        const char *line;
        double lr;
    } cases[] = {{"", 0.04}, {"--layers 7", 0.07}, {"--lr 2 --layers 7", 2}, {"--layers 7 --lr 2", 2},
                 {"--layers 7 --layers 9 file", 0.09}};
    static const struct program_info completing = {"prog", "", "", "", rate_complete};
    struct fixture *f = *state;
    char text[2000];
    f->info = &completing;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        f->model.layers = 4;
        f->run.any = 0;
        assert_true(line_parse(f, cases[i].line) > 0);
        assert_int_equal(f->run.any, 1);
        assert_true(f->model.lr == cases[i].lr);
        for (size_t k = 0; k < NAMES; k++) { /* what follows is not given */
            char *option = string_format("--%s", names[k]);
            assert_int_equal(is_given(f, names[k]), strstr(cases[i].line, option) != NULL);
            free(option);
        }
    }
    assert_true(config_parse(f, "--layers 3", "layers = 5\n", "--layers 6") > 0);
    assert_true(f->model.lr == 0.06);
    assert_true(config_parse(f, "--layers 3", "lr = 5\n", "--layers 6") > 0);
    assert_true(f->model.lr == 5);
    f->run.any = 0;
    assert_int_equal(line_parse(f, "--layers 8 --layers 0"), -1);
    assert_true(f->run.any == 0 && f->model.lr == 5);
    output_read(f, "--print-config --layers 9", EXIT_DONE, text, sizeof text);
    assert_non_null(strstr(text, "layers = 9\n"));
    assert_non_null(strstr(text, "lr = 0.09\n"));
}

/* One option of a group by its name: what goes in comes out, and nothing else has changed. */
static void test_one_option(void **state) {
    static const struct {
        size_t group;
        const char *name, *value, *text;
    } cases[] = {
        {0, "layers", "100", "100"}, {0, "ffn", "dense", "dense"}, {0, "ffn", "smoe", "smoe"}, {0, "lr", "1e-1", "0.1"},
        {0, "residual", "false", "false"}, {0, "residual", "true", "true"}, {1, "steps", "3k", "3000"},
        {1, "shift", "-0.5", "-0.5"}, {1, "any-number-of-a-long-name", "-7", "-7"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *before[2] = {options_to_json(&f->groups[0]), options_to_json(&f->groups[1])};
        option_set(&f->groups[cases[i].group], cases[i].name, cases[i].value);
        char *text = option_text(&f->groups[cases[i].group], cases[i].name);
        assert_string_equal(text, cases[i].text);
        option_set(&f->groups[cases[i].group], cases[i].name, text); /* as it takes it */
        free(text);
        for (size_t g = 0; g < 2; g++) {
            json_t *after = options_to_json(&f->groups[g]), *value;
            const char *name;
            json_object_foreach(before[g], name, value)
                if (g != cases[i].group || strcmp(name, cases[i].name) != 0)
                    assert_true(json_equal(value, json_object_get(after, name)));
            json_decref(after);
            json_decref(before[g]);
        }
    }
}

/* ---- JSON ---- */

static void test_json_round_trip(void **state) {
    struct fixture *f = *state;
    f->model = (struct model){.layers = 17, .kind = 0, .lr = 0.1, .residual = false};
    json_t *object = options_to_json(&f->groups[0]);
    char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17));
    assert_string_equal(text,
                        "{\"layers\":17,\"ffn\":\"dense\",\"lr\":0.10000000000000001,\"residual\":false}");
    json_decref(object);
    object = json_loads(text, 0, NULL);
    free(text);
    struct model copy = {0};
    assert_true(options_from_json(&(struct option_group){model_specs, &copy}, object, &f->err));
    assert_true(copy.layers == 17 && copy.kind == 0 && copy.lr == 0.1 && !copy.residual);
    json_decref(object);
    struct run run = {.out = strdup("old"), .note = strdup("old")};
    struct option_group group = {run_specs, &run};
    object = options_to_json(&f->groups[1]);
    assert_true(options_from_json(&group, object, &f->err));
    assert_string_equal(run.out, "runs/new");
    assert_null(run.note);
    json_decref(object);
    options_free(&group, 1);
}

static void test_json_errors(void **state) {
    static const char *const cases[][2] = {
        {"{\"ffn\":\"smoe\",\"lr\":1,\"residual\":true}", "configuration: layers: missing"},
        {"{\"x\":1}", "configuration: x: unknown"},
        {"[]", "configuration: layers: missing"},
        {"{\"layers\":\"4\",\"ffn\":\"smoe\",\"lr\":1,\"residual\":true}",
         "configuration: layers: bad value (got \"4\", want a whole number from 1 to 100)"},
        {"{\"layers\":400,\"ffn\":\"smoe\",\"lr\":1,\"residual\":true}",
         "configuration: layers: bad value (got 400, want a whole number from 1 to 100)"},
        {"{\"layers\":0,\"ffn\":\"smoe\",\"lr\":1,\"residual\":true}",
         "configuration: layers: bad value (got 0, want a whole number from 1 to 100)"},
        {"{\"layers\":4294967297,\"ffn\":\"smoe\",\"lr\":1,\"residual\":true}",
         "configuration: layers: bad value (got 4294967297, want a whole number from 1 to 100)"},
        {"{\"layers\":4.0,\"ffn\":\"smoe\",\"lr\":1,\"residual\":true}",
         "configuration: layers: bad value (got 4.0, want a whole number from 1 to 100)"},
        {"{\"layers\":null,\"ffn\":\"smoe\",\"lr\":1,\"residual\":true}",
         "configuration: layers: bad value (got null, want a whole number from 1 to 100)"},
        {"{\"layers\":4,\"ffn\":\"Smoe\",\"lr\":1,\"residual\":true}",
         "configuration: ffn: bad value (got \"Smoe\", want dense, smoe or mhmoe)"},
        {"{\"layers\":4,\"ffn\":\"smoe\",\"lr\":10.5,\"residual\":true}",
         "configuration: lr: bad value (got 10.5, want a number from 0 to 10)"},
        {"{\"layers\":4,\"ffn\":\"smoe\",\"lr\":\"1\",\"residual\":true}",
         "configuration: lr: bad value (got \"1\", want a number from 0 to 10)"},
        {"{\"layers\":4,\"ffn\":\"smoe\",\"lr\":1,\"residual\":\"true\"}",
         "configuration: residual: bad value (got \"true\", want true or false)"},
        {"{\"layers\":4,\"ffn\":\"smoe\",\"lr\":1}", "configuration: residual: missing"},
        {"{\"layers\":4,\"ffn\":\"smoe\",\"lr\":1,\"residual\":true,\"Layers\":4}", "configuration: Layers: unknown"},
        {"{\"layers\":4,\"ffn\":1,\"lr\":1,\"residual\":true}",
         "configuration: ffn: bad value (got 1, want dense, smoe or mhmoe)"},
        {"{\"layers\":4,\"ffn\":\"smoe\",\"lr\":true,\"residual\":true}",
         "configuration: lr: bad value (got true, want a number from 0 to 10)"},
        {"{\"layers\":4,\"ffn\":\"smoe\",\"lr\":1,\"residual\":1}",
         "configuration: residual: bad value (got 1, want true or false)"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *object = json_loads(cases[i][0], 0, NULL);
        assert_non_null(object);
        assert_false(options_from_json(&f->groups[0], object, &f->err));
        assert_int_equal(f->err.code, EXIT_INPUT);
        assert_string_equal(f->err.text, cases[i][1]);
        json_decref(object);
    }
}

#define UNIT(test) cmocka_unit_test_setup_teardown(test, fixture_create, fixture_free)

/* ---- Portions ---- */

struct schedule {
    struct portion part;
};
static const struct option_spec portion_specs[] = {
    {"part", 0, OPTION_PORTION, offsetof(struct schedule, part), "-1", -1, 1e6, NULL, "N", "Some of all", NULL}, {0}};

/* As text, as JSON, and of 1000; NULL as text: refused. */
static void test_portions(void **state) {
    (void)state;
    static const struct {
        const char *given, *text, *json;
        int64_t of_1000;
    } cases[] = {
        {"-1", "-1", "{\"part\":-1}", -1},       {"0", "0", "{\"part\":0}", 0},
        {"2k", "2000", "{\"part\":2000}", 2000}, {"0%", "0%", "{\"part\":\"0%\"}", 0},
        {"2%", "2%", "{\"part\":\"2%\"}", 20},   {"2.26%", "2.26%", "{\"part\":\"2.26%\"}", 23},
        {"100%", "100%", "{\"part\":\"100%\"}", 1000},
        {"-2", NULL, NULL, 0}, {"-1%", NULL, NULL, 0}, {"100.1%", NULL, NULL, 0}, {"%", NULL, NULL, 0},
        {"2 %", NULL, NULL, 0}, {"2%%", NULL, NULL, 0}, {"2.5", NULL, NULL, 0}, {"1000001", NULL, NULL, 0},
        {"nan%", NULL, NULL, 0}, {"", NULL, NULL, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct schedule s = {{0}}, again = {{0}};
        struct option_group group = {portion_specs, &s}, other = {portion_specs, &again};
        struct error err = {0};
        char *argument = string_format("--part=%s", cases[i].given);
        options_set_defaults(&group, 1);
        const bool taken = options_parse(&group, 1, &info, 2, (char *[]){"prog", argument, NULL}, NULL, &err) > 0;
        free(argument);
        assert_int_equal(taken, cases[i].text != NULL);
        if (!taken) {
            assert_non_null(strstr(err.text, "want a share as in 2%, or a whole number from -1 to 1000000)"));
            assert_true(s.part.whole == -1 && !s.part.is_share);
            continue;
        }
        char *text = option_text(&group, "part");
        json_t *json = options_to_json(&group);
        char *written = json_dumps(json, JSON_COMPACT);
        assert_string_equal(text, cases[i].text);
        assert_string_equal(written, cases[i].json);
        assert_int_equal(portion_of(&s.part, 1000), cases[i].of_1000);
        assert_true(options_from_json(&other, json, &err));
        assert_memory_equal(&again.part, &s.part, sizeof s.part);
        free(text);
        free(written);
        json_decref(json);
    }
    struct schedule s = {{0}};
    const struct option_group group = {portion_specs, &s};
    struct error err;
    json_t *wrong = json_pack("{s:b}", "part", true);
    assert_false(options_from_json(&group, wrong, &err));
    json_decref(wrong);
}

/* ---- Lists, and words among numbers ---- */

struct choice {
    struct option_list stop, other;
    int64_t seed;
};
static const char *const seed_words[] = {"random", "clock", NULL};
static const struct option_spec choice_specs[] = {
    {"stop", 'x', OPTION_LIST, offsetof(struct choice, stop), NULL, 0, 0, NULL, "TEXT", "Where to stop", "Choice"},
    {"other", 0, OPTION_LIST, offsetof(struct choice, other), NULL, 0, 0, NULL, "TEXT", "Another", NULL},
    {"seed", 0, OPTION_LONG, offsetof(struct choice, seed), "1", 0, 1e15, seed_words, "N", "Seed", NULL},
    {0},
};

static int choice_parse(struct choice *c, int argc, char **argv, struct error *err) {
    const struct option_group group = {choice_specs, c};
    char *all[20] = {"prog"};
    *c = (struct choice){0};
    options_set_defaults(&group, 1);
    for (int i = 0; i < argc; i++) all[i + 1] = argv[i];
    return options_parse(&group, 1, &info, argc + 1, all, NULL, err);
}

static char *choice_print(struct choice *c) {
    const struct option_group group = {choice_specs, c};
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    options_print(&group, 1, out);
    fclose(out);
    return text;
}

static void list_expect(const struct option_list *list, size_t n, const char *const *want) {
    assert_int_equal(list->n, n);
    for (size_t i = 0; i < n; i++) assert_string_equal(list->texts[i], want[i]);
}

/* Each use adds one, in order, also from a config file; printed, they read back. */
static void test_lists(void **state) {
    (void)state;
    struct choice c;
    struct error err;
    const struct option_group group = {choice_specs, &c};
    static const char *const want[] = {"a", "", "b = c", "\n# \"", "a"};
    assert_int_equal(choice_parse(&c, 0, NULL, &err), 1);
    assert_int_equal(c.stop.n, 0);
    char *text = choice_print(&c);
    assert_string_equal(text, "# Choice\n# stop =\n# other =\nseed = 1\n");
    free(text);
    char *words[] = {"--stop", "a", "-x", "", "--stop=b = c", "-x\n# \"", "--stop", "a"};
    assert_int_equal(choice_parse(&c, 8, words, &err), 9);
    list_expect(&c.stop, 5, want);
    assert_int_equal(c.other.n, 0);
    text = choice_print(&c);
    assert_string_equal(text, "# Choice\nstop = \"a\"\nstop = \"\"\nstop = \"b = c\"\nstop = \"\\n# \\\"\"\nstop = "
                        "\"a\"\n# other =\nseed = 1\n");
    char *path = config_make(text);
    free(text);
    options_free(&group, 1);
    assert_int_equal(c.stop.n, 0);
    char *files[] = {"--other", "z", "--config", path, "--stop", "more"};
    assert_int_equal(choice_parse(&c, 6, files, &err), 7);
    list_expect(&c.stop, 6, (const char *const[]){"a", "", "b = c", "\n# \"", "a", "more"});
    list_expect(&c.other, 1, (const char *const[]){"z"});
    options_free(&group, 1);
    assert_int_equal(choice_parse(&c, 1, (char *[]){"--stop"}, &err), -1);
    assert_string_equal(err.text, "--stop: bad value (got nothing, want text)");
    unlink(path);
}

static void test_words_among_numbers(void **state) {
    (void)state;
    static const struct {
        char *text;
        int64_t want;
    } good[] = {{"random", -1}, {"clock", -2}, {"0", 0}, {"1k", 1000}, {"1000000000000000", 1000000000000000}};
    static char *const bad[] = {"-1", "-2", "rand", "randomly", "", "random 1", "1000000000000001"};
    struct choice c;
    struct error err;
    const struct option_group group = {choice_specs, &c};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char *words[] = {"--seed", good[i].text};
        assert_int_equal(choice_parse(&c, 2, words, &err), 3);
        assert_int_equal(c.seed, good[i].want);
        json_t *object = options_to_json(&group);
        c.seed = 5;
        json_object_del(object, "stop"); /* no list is kept as JSON */
        json_object_del(object, "other");
        assert_true(options_from_json(&(struct option_group){choice_specs + 2, &c}, object, &err));
        assert_int_equal(c.seed, good[i].want);
        json_decref(object);
        char *text = option_text(&group, "seed");
        option_set(&group, "seed", "7");
        option_set(&group, "seed", text);
        assert_int_equal(c.seed, good[i].want);
        free(text);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char want[200], *words[] = {"--seed", bad[i]};
        assert_int_equal(choice_parse(&c, 2, words, &err), -1);
        snprintf(want, sizeof want, "--seed: bad value (got '%s', want a whole number from 0 to 1e+15 or "
                 "random or clock)", bad[i]);
        assert_string_equal(err.text, want);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        UNIT(test_defaults), UNIT(test_values),          UNIT(test_bad_values),        UNIT(test_bad_names),
        UNIT(test_config),   UNIT(test_config_errors),   UNIT(test_config_round_trip), UNIT(test_help),
        UNIT(test_printing), UNIT(test_json_round_trip), UNIT(test_json_errors),         UNIT(test_numbers),
        UNIT(test_no_numbers), UNIT(test_bytes),         UNIT(test_config_forms),
        UNIT(test_real_digits), UNIT(test_completion), UNIT(test_one_option),
        cmocka_unit_test(test_portions),
        cmocka_unit_test(test_lists), cmocka_unit_test(test_words_among_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
