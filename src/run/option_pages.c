/* See option_pages.h. */
#include "option_pages.h"

#include <stdlib.h>
#include <string.h>

const char *const help_forms[] = {"man", "bash", "zsh", "fish", NULL};

/* What completes the value of an option. */
enum value_kind { VALUE_NONE, VALUE_WORDS, VALUE_FILE, VALUE_DIRECTORY, VALUE_OTHER };

static enum value_kind value_kind_of(const struct option_spec *spec) {
    static const char *const files[] = {"FILE", "RUN", "MODEL"};
    if (spec->type == OPTION_FLAG) return VALUE_NONE;
    if (spec->type == OPTION_CHOICE) return VALUE_WORDS;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (strcmp(spec->value_name, files[i]) == 0) return VALUE_FILE;
    return strcmp(spec->value_name, "DIR") == 0 ? VALUE_DIRECTORY : VALUE_OTHER;
}

/* What a program takes besides options, as in "train [OPTION]... [CORPUS]..."; such operands are files. */
static bool has_operands(const struct program_info *info) {
    const char *options = strstr(info->usage, "[OPTION]...");
    return options && options[strlen("[OPTION]...")];
}

static void words_list(FILE *out, const struct option_spec *spec) {
    for (size_t i = 0; spec->choices[i]; i++) fprintf(out, "%s%s", i ? " " : "", spec->choices[i]);
}

/* Prints text in which each character of `special` is replaced by the string at its place in `instead`. */
static void text_replace(FILE *out, const char *text, const char *special, const char *const *instead) {
    for (; *text; text++) {
        const char *found = strchr(special, *text);
        if (found) fputs(instead[found - special], out);
        else fputc(*text, out);
    }
}

/* ---- A manual page ---- */

/* In text; a line that begins with a dot or a quote would be a command. */
static void roff_print(FILE *out, const char *text) {
    static const char *const instead[] = {"\\e", "\\-", "\\(ha", "\\(ti", "\\(ga", "\\(aq"};
    if (*text == '.') fputs("\\&", out);
    text_replace(out, text, "\\-^~`'", instead);
}

static void option_man(FILE *out, const struct option_spec *spec) {
    char *limits = option_limits(spec);
    fputs(".TP\n", out);
    if (spec->letter) fprintf(out, "\\fB\\-%c\\fR, ", spec->letter);
    fprintf(out, "\\fB\\-\\-%s", option_has_opposite(spec) ? "\\fR[\\fBno\\-\\fR]\\fB" : "");
    roff_print(out, spec->name);
    fprintf(out, "\\fR%s%s%s\n", spec->value_name ? " \\fI" : "", spec->value_name ? spec->value_name : "",
            spec->value_name ? "\\fR" : "");
    roff_print(out, spec->help);
    roff_print(out, limits);
    fputc('\n', out);
    free(limits);
}

static void man_print(FILE *out, const struct option_spec *const *specs, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (specs[i]->section) {
            fputs(".SS ", out);
            roff_print(out, specs[i]->section);
            fputc('\n', out);
        }
        option_man(out, specs[i]);
    }
}

/* ---- Shells ---- */

static void names_print(FILE *out, const struct option_spec *spec) {
    fprintf(out, "--%s%s", spec->name, spec->letter ? "|-" : "");
    if (spec->letter) fputc(spec->letter, out);
}

/* A "case" of bash: what to complete behind this option. */
static void option_bash(FILE *out, const struct option_spec *spec) {
    const enum value_kind kind = value_kind_of(spec);
    if (kind == VALUE_NONE) return;
    fputs("    ", out);
    names_print(out, spec);
    fputs(") ", out);
    if (kind == VALUE_WORDS) {
        fputs("mapfile -t COMPREPLY < <(compgen -W '", out);
        words_list(out, spec);
        fputs("' -- \"$word\"); ", out);
    }
    if (kind == VALUE_FILE) fputs("_mhmoe_files -f; ", out);
    if (kind == VALUE_DIRECTORY) fputs("_mhmoe_files -d; ", out);
    fputs("return ;;\n", out);
}

/* bash cuts --name=value into three words. Names of files take what readline does with such. */
static void bash_print(FILE *out, const struct option_spec *const *specs, size_t n, const struct program_info *info) {
    fprintf(out, "# Completes the options of %s in bash; made by %s --help-as bash.\n", info->name, info->name);
    fprintf(out, "_mhmoe_files() {\n"
                 "    compopt -o filenames 2>/dev/null\n"
                 "    mapfile -t COMPREPLY < <(compgen \"$1\" -- \"$word\")\n"
                 "}\n"
                 "_mhmoe_%s() {\n"
                 "    local word=${COMP_WORDS[COMP_CWORD]} option=${COMP_WORDS[COMP_CWORD-1]}\n"
                 "    if [[ $word == = ]]; then word=\n"
                 "    elif [[ $option == = ]]; then option=${COMP_WORDS[COMP_CWORD-2]}\n"
                 "    fi\n"
                 "    COMPREPLY=()\n"
                 "    case $option in\n", info->name);
    for (size_t i = 0; i < n; i++) option_bash(out, specs[i]);
    fputs("    esac\n    if [[ $word == -* ]]; then\n        mapfile -t COMPREPLY < <(compgen -W '", out);
    for (size_t i = 0; i < n; i++) {
        fprintf(out, "%s--%s", i ? " " : "", specs[i]->name);
        if (option_has_opposite(specs[i])) fprintf(out, " --no-%s", specs[i]->name);
    }
    fprintf(out, "' -- \"$word\")\n%s    fi\n}\ncomplete -F _mhmoe_%s %s\n",
            has_operands(info) ? "    else _mhmoe_files -f\n" : "", info->name, info->name);
}

/* Of a help within single quotes, in the brackets of zsh's _arguments. */
static void zsh_text(FILE *out, const char *text) {
    static const char *const instead[] = {"\\\\", "\\[", "\\]", "\\:", "'\\''"};
    text_replace(out, text, "\\[]:'", instead);
}

static void option_zsh(FILE *out, const struct option_spec *spec, bool opposite) {
    static const char *const actions[] = {[VALUE_FILE] = "_files", [VALUE_DIRECTORY] = "_files -/",
                                          [VALUE_OTHER] = " "};
    const enum value_kind kind = value_kind_of(spec);
    const char *takes = kind == VALUE_NONE ? "" : "=";
    if (spec->letter && !opposite)
        fprintf(out, " \\\n    '(-%c --%s)'{-%c%s,--%s%s}'[", spec->letter, spec->name, spec->letter, *takes ? "+" : "",
                spec->name, takes);
    else fprintf(out, " \\\n    '--%s%s%s[", opposite ? "no-" : "", spec->name, takes);
    if (opposite) fprintf(out, "the opposite of --%s", spec->name);
    else zsh_text(out, spec->help);
    fputc(']', out);
    if (kind == VALUE_WORDS) {
        fprintf(out, ":%s:(", spec->value_name);
        words_list(out, spec);
        fputc(')', out);
    } else if (kind != VALUE_NONE) fprintf(out, ":%s:%s", spec->value_name, actions[kind]);
    fputc('\'', out);
}

static void zsh_print(FILE *out, const struct option_spec *const *specs, size_t n, const struct program_info *info) {
    fprintf(out, "#compdef %s\n# Made by %s --help-as zsh.\n_arguments -S", info->name, info->name);
    for (size_t i = 0; i < n; i++) {
        option_zsh(out, specs[i], false);
        if (option_has_opposite(specs[i])) option_zsh(out, specs[i], true);
    }
    fprintf(out, "%s\n", has_operands(info) ? " \\\n    '*:file:_files'" : "");
}

static void option_fish(FILE *out, const struct option_spec *spec, const char *program, bool opposite) {
    static const char *const takes[] = {[VALUE_NONE] = "", [VALUE_WORDS] = " -x -a '", [VALUE_FILE] = " -r -F",
                                        [VALUE_DIRECTORY] = " -x -a '(__fish_complete_directories)'",
                                        [VALUE_OTHER] = " -x"};
    static const char *const instead[] = {"\\\\", "\\'"};
    const enum value_kind kind = value_kind_of(spec);
    fprintf(out, "complete -c %s -l %s%s", program, opposite ? "no-" : "", spec->name);
    if (spec->letter && !opposite) fprintf(out, " -s %c", spec->letter);
    fputs(takes[kind], out);
    if (kind == VALUE_WORDS) {
        words_list(out, spec);
        fputc('\'', out);
    }
    fputs(" -d '", out);
    if (opposite) fprintf(out, "the opposite of --%s", spec->name);
    else text_replace(out, spec->help, "\\'", instead);
    fputs("'\n", out);
}

static void fish_print(FILE *out, const struct option_spec *const *specs, size_t n, const struct program_info *info) {
    fprintf(out, "# Completes the options of %s in fish; made by %s --help-as fish.\n", info->name, info->name);
    if (!has_operands(info)) fprintf(out, "complete -c %s -f\n", info->name);
    for (size_t i = 0; i < n; i++) {
        option_fish(out, specs[i], info->name, false);
        if (option_has_opposite(specs[i])) option_fish(out, specs[i], info->name, true);
    }
}

void options_describe(FILE *out, enum help_form form, const struct option_spec *const *specs, size_t n,
                      const struct program_info *info) {
    if (form == HELP_MAN) man_print(out, specs, n);
    if (form == HELP_BASH) bash_print(out, specs, n, info);
    if (form == HELP_ZSH) zsh_print(out, specs, n, info);
    if (form == HELP_FISH) fish_print(out, specs, n, info);
}
