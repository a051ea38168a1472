/* Programs that are installed: where they look for corpora and keep their cache; which level of the processor is
 * started; manual pages, and what completes options in shells. The rest, make install itself, is tests/install.sh. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../src/run/option_pages.h"
#include "command.h"

/* PREFIXes whose corpus.sh is one that notes what it was asked for, with a program in each of the two places. */
static int prefixes_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    static const char script[] = "#!/bin/sh\necho \"$0 $1\" >>\"$NOTES\"\nexit ${FAILS-0}\n";
    run("for p in 'a b' moved; do mkdir -p \"$p/bin\" \"$p/share/mhmoe\" \"$p/libexec/mhmoe/x86-64-v3\"; "
        "cp $(command -v train) \"$p/bin\"; cp $(command -v train) \"$p/libexec/mhmoe/x86-64-v3\"; done; "
        "mkdir here with with/data home; for i in $(seq 300); do echo \"line $i of $((i * i))\"; done >text.txt; "
        "mkdir -p corpus && cp text.txt corpus");
    text_save("a b/share/mhmoe/corpus.sh", script, sizeof script - 1);
    text_save("moved/share/mhmoe/corpus.sh", script, sizeof script - 1);
    return 0;
}

#define SMALL "--vocab 280 --layers 2 --channels 8 --ffn dense --attn-heads 1 --seq 16 --dry-run"
#define START "unset XDG_CACHE_HOME; export W=$PWD HOME=$PWD/home NOTES=$PWD/notes; rm -f notes; "

static void the_cache_is_the_users(void **state) {
    (void)state;
    static const struct {
        const char *setting, *directory, *program, *cache; /* from `workplace` */
    } cases[] = {
        {"", "here", "$W/a\\ b/bin/train", "home/.cache/mhmoe/cache"},
        {"", "here", "$W/moved/libexec/mhmoe/x86-64-v3/train", "home/.cache/mhmoe/cache"},
        {"export XDG_CACHE_HOME=$W/x; ", "here", "$W/moved/bin/train", "x/mhmoe/cache"},
        {"export XDG_CACHE_HOME=x; ", "here", "$W/moved/bin/train", "home/.cache/mhmoe/cache"}, /* must be absolute */
        {"export XDG_CACHE_HOME=; ", "here", "$W/moved/bin/train", "home/.cache/mhmoe/cache"},
        {"unset HOME; ", "here", "$W/moved/bin/train", "here/data/cache"},
        {"", "with", "$W/moved/bin/train", "with/data/cache"},
        {"", "here", "train", "here/data/cache"}, /* not installed: as ever */
        {"", "here", "$W/moved/bin/train --cache mine", "here/mine"},
        {"", "here", "$W/moved/bin/train --cache data/cache", "here/data/cache"}, /* as it is said */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run("rm -rf home x here with; mkdir -p home here with/data");
        run(START "%s cd %s; %s ../text.txt " SMALL, cases[i].setting, cases[i].directory, cases[i].program);
        run("ls -d %s/text.txt-* && [ $(find home x here with -name 'text.txt-*' 2>/dev/null | wc -l) = 1 ]",
            cases[i].cache);
    }
    run("rm -rf here with; mkdir -p here with/data");
}

static void the_default_corpus_is_that_of_the_installation(void **state) {
    (void)state;
    static const struct {
        const char *directory, *program, *note, *corpora;
    } cases[] = {{"here", "$W/a\\ b/bin/train", "/a b/share/mhmoe/corpus.sh austen\n", "home/.cache/mhmoe"},
                 {"here", "$W/moved/bin/train", "/moved/share/mhmoe/corpus.sh austen\n", "home/.cache/mhmoe"},
                 {"with", "$W/moved/bin/train", "/moved/share/mhmoe/corpus.sh austen\n", "with/data"},
                 {"here", "$W/moved/bin/train --task masked", "/moved/share/mhmoe/corpus.sh emoji\n",
                  "home/.cache/mhmoe"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *command = string_format(START "export FAILS=1; cd %s; %s " SMALL, cases[i].directory, cases[i].program);
        run("rm -rf home with/data/corpora; mkdir -p home");
        refuse(EXIT_INPUT, "the default corpus could not be fetched", "name a ", command);
        run("cat notes");
        if (!strstr(output, cases[i].note)) fail_msg("%s: asked %s", command, output);
        free(command);
        if (strstr(cases[i].program, "masked")) continue;
        run("mkdir -p %s/corpora && cp -r corpus %s/corpora/austen", cases[i].corpora, cases[i].corpora);
        run(START "cd %s; %s " SMALL "; ! [ -e ../notes ]", cases[i].directory, cases[i].program); /* it is there */
    }
}

/* ---- The program that chooses another ---- */

/* The widest level that is there and that this processor has, and then the next; the last is for every processor. */
static void levels_are_tried_from_the_widest_on(void **state) {
    (void)state;
    static const char *const levels[] = {"x86-64-v4", "x86-64-v3", "x86-64"};
    size_t next = 0, last = 0;
    bool wide = false;
    run("mkdir -p 'one two/bin' && cp $(command -v launch) 'one two/bin/train'");
    for (size_t i = 0; i < 3; i++)
        run("d='one two/libexec/mhmoe/%s' && mkdir -p \"$d\" && printf '#!/bin/sh\\necho %s \"$@\"; exit 9\\n' "
            ">\"$d/train\" && chmod +x \"$d/train\"", levels[i], levels[i]);
    for (; last != 2; next = last + 1) {
        assert_int_equal(command_run("'one two/bin/train' --say 'a  b'"), 9); /* its words, and its exit code */
        for (last = next; last < 2 && strncmp(output, levels[last], strcspn(output, " ")) != 0;) last++;
        wide |= last < 2;
        char *want = string_format("%s --say a  b\n", levels[last]);
        assert_string_equal(output, want);
        run("rm 'one two/libexec/mhmoe/%s/train'", levels[last]);
        free(want);
    }
#define NAMED "PATH=\"$PWD/one two/bin:$PATH\"; train"
    refuse(126, "train: cannot start: No such file or directory", "install it again", NAMED);
    run("cd 'one two/libexec/mhmoe' && : >x86-64-v4/train && : >x86-64-v3/train && : >x86-64/train && "
        "chmod +x x86-64/train"); /* none of the narrower stands in for one that is there and cannot be started */
    refuse(126, wide ? "train: cannot start: Permission denied" : "train: cannot start: Exec format error",
           "install it again", NAMED);
}

/* ---- Completion ---- */

/* What bash completes the last of these words to, sorted. */
static void bash_completes(const char *program, const char *words, const char *want) {
    run("%s --help-as bash >completion", program);
    char *command = string_format("bash -c 'source ./completion; COMP_WORDS=(%s %s); "
                                  "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _mhmoe_%s; "
                                  "echo \"${COMPREPLY[*]}\"'", program, words, program);
    assert_int_equal(command_run(command), 0);
    if (strncmp(output, want, strlen(want)) != 0 || output[strlen(want)] != '\n')
        fail_msg("%s %s: got %s, want %s", program, words, output, want);
    free(command);
}

static void bash_completes_from_the_table(void **state) {
    (void)state;
    run("rm -rf files; mkdir -p files/inner && touch files/it && cd files && touch 'i t'");
    bash_completes("train", "--ffn \"\"", "dense smoe mhmoe");
    bash_completes("train", "--ffn m", "mhmoe");
    bash_completes("train", "--ffn = s", "smoe"); /* as bash cuts --ffn=s */
    bash_completes("train", "--ffn =", "dense smoe mhmoe");
    bash_completes("train", "--experts \"\"", "");
    bash_completes("train", "--reco", "--recompute");
    bash_completes("train", "--no-reco", "--no-recompute");
    bash_completes("train", "--help-", "--help-as");
    bash_completes("train", "-o files/i", "files/inner"); /* a directory */
    bash_completes("train", "--out files/i", "files/inner");
    bash_completes("train", "--val files/it", "files/it");
    bash_completes("train", "--recompute files/it", "files/it"); /* a corpus */
    bash_completes("sample", "--greedy files/it", ""); /* which takes none */
    bash_completes("sample", "--weights b", "bf16");
    bash_completes("sample", "--no-greedy --tok", "--tokens");
}

static bool has_shell(const char *name) {
    char *command = string_format("command -v %s", name);
    const bool has = command_run(command) == 0;
    free(command);
    return has;
}

static void other_shells_complete_the_same(void **state) {
    (void)state;
    if (has_shell("fish")) {
        run("train --help-as fish >train.fish; export HOME=$PWD/home; "
            "fish -c 'source train.fish; complete -C\"train --ffn \"'");
        assert_non_null(strstr(output, "dense") && strstr(output, "smoe") ? strstr(output, "mhmoe") : NULL);
        run("export HOME=$PWD/home; fish -c 'source train.fish; complete -C\"train --no-recom\"'");
        assert_non_null(strstr(output, "--no-recompute\tthe opposite of --recompute"));
    }
    if (has_shell("zsh")) { /* each argument of _arguments as zsh reads it */
        run("train --help-as zsh >_train; zsh -c '_arguments() { print -rl -- \"$@\" }; source ./_train'");
        assert_non_null(strstr(output, "\n--ffn=[") ? strstr(output, ":KIND:(dense smoe mhmoe)\n") : NULL);
        assert_non_null(strstr(output, "\n(-o --out)--out=[directory of the run (default\\: runs/ and the corpus's "
                                       "name)]:DIR:_files -/\n"));
        assert_non_null(strstr(output, "\n(-o --out)-o+["));
        assert_non_null(strstr(output, "\n--no-recompute[the opposite of --recompute]\n"));
        assert_non_null(strstr(output, "\n*:file:_files\n"));
        run("sample --help-as zsh >_sample; zsh -c '_arguments() { print -rl -- \"$@\" }; source ./_sample'");
        assert_null(strstr(output, "*:file"));
    }
}

/* Every character that means something to troff comes out as itself. */
static void manual_pages_say_what_help_says(void **state) {
    (void)state;
    run("train --help-as man");
    static const char *const lines[] = {"\n.SS Run\n", "\n\\fB\\-o\\fR, \\fB\\-\\-out\\fR \\fIDIR\\fR\n",
        "\n\\fB\\-\\-\\fR[\\fBno\\-\\fR]\\fBrecompute\\fR\n", "tokens \\(ha A (1:", "the corpus\\(aqs name)\n",
        "held\\-out text", "[one of dense, smoe or mhmoe; default mhmoe]\n", "\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\n"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char *at = string_format("\n%s", output);
        if (!strstr(at, lines[i])) fail_msg("'%s' is missing", lines[i]);
        free(at);
    }
    refuse(EXIT_USAGE, "--help-as: bad value (got 'tex', want man, bash, zsh or fish)", "", "train --help-as tex");
}

/* ---- Of a table with an option of each kind ---- */

static const char *const words[] = {"one", "two", NULL};
static const struct option_spec specs[] = {
    {"file", 'f', OPTION_BYTES, 0, NULL, 0, 0, NULL, "FILE", ".a' \\ [b]: ^~`-", "First - of two"},
    {"run", 0, OPTION_BYTES, 0, NULL, 0, 0, NULL, "RUN", "to go on with", NULL},
    {"model", 0, OPTION_BYTES, 0, NULL, 0, 0, NULL, "MODEL", "to read", NULL},
    {"dir", 'd', OPTION_BYTES, 0, NULL, 0, 0, NULL, "DIR", "to write", NULL},
    {"a-text", 0, OPTION_BYTES, 0, NULL, 0, 0, NULL, "TEXT", "anything", "Second"},
    {"kind", 'k', OPTION_CHOICE, 0, "one", 0, 0, words, "KIND", "which", NULL},
    {"flag", 'g', OPTION_FLAG, 0, "true", 0, 0, NULL, NULL, "as ever", NULL},
    {"act", 0, OPTION_FLAG, 0, NULL, 0, 0, NULL, NULL, "now", NULL},
};
enum { SPECS = sizeof specs / sizeof *specs };

static const char man[] =
    ".SS First \\- of two\n.TP\n\\fB\\-f\\fR, \\fB\\-\\-file\\fR \\fIFILE\\fR\n"
    "\\&.a\\(aq \\e [b]: \\(ha\\(ti\\(ga\\-\n.TP\n\\fB\\-\\-run\\fR \\fIRUN\\fR\nto go on with\n.TP\n"
    "\\fB\\-\\-model\\fR \\fIMODEL\\fR\nto read\n.TP\n\\fB\\-d\\fR, \\fB\\-\\-dir\\fR \\fIDIR\\fR\nto write\n"
    ".SS Second\n.TP\n\\fB\\-\\-a\\-text\\fR \\fITEXT\\fR\nanything\n.TP\n"
    "\\fB\\-k\\fR, \\fB\\-\\-kind\\fR \\fIKIND\\fR\nwhich [one of one or two; default one]\n.TP\n"
    "\\fB\\-g\\fR, \\fB\\-\\-\\fR[\\fBno\\-\\fR]\\fBflag\\fR\nas ever [default on]\n.TP\n\\fB\\-\\-act\\fR\nnow\n";

static const char bash[] =
    "    case $option in\n    --file|-f) _mhmoe_files -f; return ;;\n    --run) _mhmoe_files -f; return ;;\n"
    "    --model) _mhmoe_files -f; return ;;\n    --dir|-d) _mhmoe_files -d; return ;;\n    --a-text) return ;;\n"
    "    --kind|-k) mapfile -t COMPREPLY < <(compgen -W 'one two' -- \"$word\"); return ;;\n    esac\n"
    "    if [[ $word == -* ]]; then\n        mapfile -t COMPREPLY < <(compgen -W '"
    "--file --run --model --dir --a-text --kind --flag --no-flag --act' -- \"$word\")\n";

static const char zsh[] =
    "_arguments -S \\\n    '(-f --file)'{-f+,--file=}'[.a'\\'' \\\\ \\[b\\]\\: ^~`-]:FILE:_files' \\\n"
    "    '--run=[to go on with]:RUN:_files' \\\n    '--model=[to read]:MODEL:_files' \\\n"
    "    '(-d --dir)'{-d+,--dir=}'[to write]:DIR:_files -/' \\\n    '--a-text=[anything]:TEXT: ' \\\n"
    "    '(-k --kind)'{-k+,--kind=}'[which]:KIND:(one two)' \\\n    '(-g --flag)'{-g,--flag}'[as ever]' \\\n"
    "    '--no-flag[the opposite of --flag]' \\\n    '--act[now]'";

static const char fish[] =
    "complete -c prog -l file -s f -r -F -d '.a\\' \\\\ [b]: ^~`-'\ncomplete -c prog -l run -r -F -d 'to go on with'\n"
    "complete -c prog -l model -r -F -d 'to read'\n"
    "complete -c prog -l dir -s d -x -a '(__fish_complete_directories)' -d 'to write'\n"
    "complete -c prog -l a-text -x -d 'anything'\ncomplete -c prog -l kind -s k -x -a 'one two' -d 'which'\n"
    "complete -c prog -l flag -s g -d 'as ever'\ncomplete -c prog -l no-flag -d 'the opposite of --flag'\n"
    "complete -c prog -l act -d 'now'\n";

/* A program that takes files completes them where no option wants something else; the other never does. */
static void forms_say_what_the_table_says(void **state) {
    (void)state;
    static const struct {
        enum help_form form;
        const char *options, *ends[2]; /* behind them: of a program that takes nothing else, of one that takes files */
    } forms[] = {{HELP_MAN, man, {"", ""}},
                 {HELP_BASH, bash, {"    fi\n}\ncomplete -F _mhmoe_prog prog\n",
                                    "    else _mhmoe_files -f\n    fi\n}\ncomplete -F _mhmoe_prog prog\n"}},
                 {HELP_ZSH, zsh, {"\n", " \\\n    '*:file:_files'\n"}},
                 {HELP_FISH, fish, {"", ""}}};
    const struct option_spec *list[SPECS];
    for (size_t i = 0; i < SPECS; i++) list[i] = &specs[i];
    for (size_t i = 0; i < 8; i++) {
        const bool files = i % 2;
        const struct program_info info = {.name = "prog", .usage = files ? "prog [OPTION]... [FILE]..."
                                                                         : "prog [OPTION]..."};
        char *text, *want = string_format("%s%s", forms[i / 2].options, forms[i / 2].ends[files]);
        size_t size;
        FILE *out = open_memstream(&text, &size);
        options_describe(out, forms[i / 2].form, list, SPECS, &info);
        fclose(out);
        const char *found = strstr(text, want);
        if (!found || strlen(found) != strlen(want)) fail_msg("got  %s\nwant %s", text, want);
        if (forms[i / 2].form == HELP_FISH)
            assert_int_equal(strstr(text, "complete -c prog -f\n") != NULL, !files); /* no files */
        free(text);
        free(want);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cache_is_the_users),
        cmocka_unit_test(the_default_corpus_is_that_of_the_installation),
        cmocka_unit_test(levels_are_tried_from_the_widest_on),
        cmocka_unit_test(bash_completes_from_the_table),
        cmocka_unit_test(other_shells_complete_the_same),
        cmocka_unit_test(manual_pages_say_what_help_says),
        cmocka_unit_test(forms_say_what_the_table_says),
    };
    return cmocka_run_group_tests(tests, prefixes_make, workplace_remove);
}
