/* Programs that are installed: where they look for corpora and keep their cache; and what completes their options in
 * shells. The rest, make install itself, is tests/install.sh. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cache_is_the_users),
        cmocka_unit_test(the_default_corpus_is_that_of_the_installation),
        cmocka_unit_test(bash_completes_from_the_table),
        cmocka_unit_test(other_shells_complete_the_same),
        cmocka_unit_test(manual_pages_say_what_help_says),
    };
    return cmocka_run_group_tests(tests, prefixes_make, workplace_remove);
}
