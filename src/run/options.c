/* Options from one table: see options.h. Command line, config file, defaults and JSON all reach a field
 * through value_set, the only place that knows what a valid value is. Strings are UTF-8, since a
 * configuration travels as JSON. The order: one value, the joined tables, --help, config files, the command
 * line, JSON. tests/test_options.c holds every message to its wording. */
#include "options.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <float.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../base/text.h"
#include "option_pages.h"

/* ---- One value ---- */

static void *option_field(const struct option_spec *spec, void *target) {
    return (char *)target + spec->offset;
}

static bool is_text(const struct option_spec *spec) {
    return spec->type == OPTION_STRING || spec->type == OPTION_BYTES;
}

static bool whole_parse(const char *text, int64_t *value) {
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    if (end == text || errno || isspace((unsigned char)*text)) return false;
    int64_t scale = *end == 'k' ? 1000 : *end == 'M' ? 1000000 : *end == 'G' ? 1000000000 : 1;
    if (scale > 1) end++;
    return *end == 0 && !__builtin_mul_overflow(*value, scale, value);
}

static bool range_holds(const struct option_spec *spec, double value) {
    return (spec->low == 0 && spec->high == 0) || (value >= spec->low && value <= spec->high);
}

static bool choice_parse(const struct option_spec *spec, const char *text, int *value) {
    for (*value = 0; spec->choices && spec->choices[*value]; ++*value)
        if (strcmp(text, spec->choices[*value]) == 0) return true;
    return false;
}

static bool portion_parse(const struct option_spec *spec, const char *text, struct portion *p) {
    *p = (struct portion){0};
    if (!text_ends(text, "%")) return whole_parse(text, &p->whole) && range_holds(spec, (double)p->whole);
    char *number = string_format("%.*s", (int)strlen(text) - 1, text);
    p->is_share = text_to_real(number, &p->percent) && p->percent >= 0 && p->percent <= 100;
    free(number);
    return p->is_share;
}

int64_t portion_of(const struct portion *p, int64_t all) {
    return p->is_share ? (int64_t)llround(p->percent / 100 * (double)all) : p->whole;
}

static void list_add(struct option_list *list, const char *text) {
    list->texts = array_grow(list->texts, &list->capacity, list->n + 1, sizeof *list->texts);
    list->texts[list->n++] = string_format("%s", text);
}

/* Stores a value given as text; false, and nothing stored, if it is not one the table allows. */
static bool value_set(const struct option_spec *spec, void *target, const char *text) {
    void *field = option_field(spec, target);
    struct portion portion;
    int64_t whole;
    double real;
    int choice;
    switch (spec->type) {
    case OPTION_INT:
        if (!whole_parse(text, &whole) || whole != (int)whole || !range_holds(spec, (double)whole))
            return false;
        *(int *)field = (int)whole;
        return true;
    case OPTION_LONG:
        if (choice_parse(spec, text, &choice)) whole = -1 - choice;
        else if (!whole_parse(text, &whole) || !range_holds(spec, (double)whole)) return false;
        *(int64_t *)field = whole;
        return true;
    case OPTION_PORTION:
        if (!portion_parse(spec, text, &portion)) return false;
        *(struct portion *)field = portion;
        return true;
    case OPTION_REAL:
        if (!text_to_real(text, &real) || !range_holds(spec, real)) return false;
        *(double *)field = real;
        return true;
    case OPTION_CHOICE:
        if (!choice_parse(spec, text, &choice)) return false;
        *(int *)field = choice;
        return true;
    case OPTION_FLAG:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) return false;
        *(bool *)field = *text == 't';
        return true;
    case OPTION_STRING:
        if (!text_is_utf8(text)) return false;
        /* fall through */
    case OPTION_BYTES:
        free(*(char **)field);
        *(char **)field = string_format("%s", text);
        return true;
    case OPTION_LIST:
        list_add(field, text);
        return true;
    }
    return false;
}

/* The word that a number of OPTION_LONG stands for, or NULL. */
static const char *word_of(const struct option_spec *spec, int64_t value) {
    for (int i = 0; spec->choices && spec->choices[i]; i++)
        if (value == -1 - i) return spec->choices[i];
    return NULL;
}

static json_t *list_to_json(const struct option_list *list) {
    json_t *texts = json_array();
    for (size_t i = 0; i < list->n; i++) json_array_append_new(texts, json_string(list->texts[i]));
    return texts;
}

static json_t *long_to_json(const struct option_spec *spec, int64_t value) {
    const char *word = word_of(spec, value);
    return word ? json_string(word) : json_integer(value);
}

/* The shortest decimal that reads back as the same double. malloc'ed. */
static char *real_format(double value) {
    char text[32];
    for (int digits = 15; digits <= DBL_DECIMAL_DIG; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    return string_format("%s", text);
}

/* A number where it is one, else "2.5%". New reference. */
static json_t *portion_to_json(const struct portion *p) {
    if (!p->is_share) return json_integer(p->whole);
    char *percent = real_format(p->percent);
    json_t *text = json_sprintf("%s%%", percent);
    free(percent);
    return text;
}

/* The field as a JSON value. New reference. */
static json_t *value_to_json(const struct option_spec *spec, void *target) {
    void *field = option_field(spec, target);
    switch (spec->type) {
    case OPTION_INT: return json_integer(*(int *)field);
    case OPTION_LONG: return long_to_json(spec, *(int64_t *)field);
    case OPTION_PORTION: return portion_to_json(field);
    case OPTION_REAL: return json_real(*(double *)field);
    case OPTION_CHOICE: return json_string(spec->choices[*(int *)field]);
    case OPTION_FLAG: return json_boolean(*(bool *)field);
    case OPTION_STRING:
    case OPTION_BYTES: return *(char **)field ? json_string(*(char **)field) : json_null(); /* NULL: not UTF-8 */
    case OPTION_LIST: return list_to_json(field);
    }
    return NULL;
}

/* The field as value_set takes it, except that strings are quoted as in JSON. malloc'ed. */
static char *value_format(const struct option_spec *spec, void *target) {
    void *field = option_field(spec, target);
    if (spec->type == OPTION_REAL) return real_format(*(double *)field);
    if (spec->type == OPTION_CHOICE) return string_format("%s", spec->choices[*(int *)field]);
    const char *word = spec->type == OPTION_LONG ? word_of(spec, *(int64_t *)field) : NULL;
    if (word) return string_format("%s", word);
    json_t *value = value_to_json(spec, target);
    if (spec->type == OPTION_PORTION && json_is_string(value)) {
        char *share = string_format("%s", json_string_value(value));
        json_decref(value);
        return share;
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    json_decref(value);
    return text;
}

/* " from 1 to 100", " from 0 up" where the type sets the other end, or ""; " or WORD" behind it. malloc'ed. */
static char *range_describe(const struct option_spec *spec) {
    double most = spec->type == OPTION_INT    ? INT_MAX
                  : spec->type == OPTION_LONG ? (double)INT64_MAX
                                              : DBL_MAX;
    char *text = spec->low == 0 && spec->high == 0 ? string_format("%s", "")
                 : spec->high >= most             ? string_format(" from %.15g up", spec->low)
                                                  : string_format(" from %.15g to %.15g", spec->low, spec->high);
    for (int i = 0; spec->choices && spec->choices[i]; i++) string_append(&text, " or %s", spec->choices[i]);
    return text;
}

/* "dense, smoe or mhmoe". malloc'ed. */
static char *choices_describe(const struct option_spec *spec) {
    char *list = string_format("%s", spec->choices[0]);
    for (int i = 1; spec->choices[i]; i++)
        string_append(&list, "%s%s", spec->choices[i + 1] ? ", " : " or ", spec->choices[i]);
    return list;
}

/* Reports a value that value_set refused. */
static bool value_error(const struct option_spec *spec, const char *place, const char *got, int code,
                        struct error *err) {
    static const char *const kinds[] = {
        [OPTION_INT] = "a whole number",   [OPTION_LONG] = "a whole number", [OPTION_REAL] = "a number",
        [OPTION_STRING] = "text in UTF-8", [OPTION_BYTES] = "text",          [OPTION_LIST] = "text",
        [OPTION_PORTION] = "a share as in 2%, or a whole number",
        [OPTION_FLAG] = "true or false",
    };
    bool choice = spec->type == OPTION_CHOICE;
    char *detail = choice ? choices_describe(spec) : range_describe(spec);
    error_set(err, code, "%s: bad value (got %s, want %s%s)", place, got, choice ? "" : kinds[spec->type],
              detail);
    free(detail);
    return false;
}

void options_set_defaults(const struct option_group *groups, size_t n) {
    for (size_t g = 0; g < n; g++) {
        for (const struct option_spec *spec = groups[g].specs; spec->name; spec++) {
            bool ok = !spec->initial || value_set(spec, groups[g].target, spec->initial);
            assert(ok); /* or the table contradicts itself */
            (void)ok;
        }
    }
}

static void list_free(struct option_list *list) {
    for (size_t i = 0; i < list->n; i++) free(list->texts[i]);
    free(list->texts);
    *list = (struct option_list){0};
}

void options_free(const struct option_group *groups, size_t n) {
    for (size_t g = 0; g < n; g++) {
        for (const struct option_spec *spec = groups[g].specs; spec->name; spec++) {
            if (spec->type == OPTION_LIST) list_free(option_field(spec, groups[g].target));
            if (!is_text(spec)) continue;
            char **field = option_field(spec, groups[g].target);
            free(*field);
            *field = NULL;
        }
    }
}

/* ---- The joined tables ---- */

/* What every program understands besides its own options. */
struct builtin {
    char *config;
    int help_as; /* enum help_form, or -1 */
    bool print_config, help, version;
};

static const struct option_spec builtin_specs[] = {
    {"config", 0, OPTION_BYTES, offsetof(struct builtin, config), NULL, 0, 0, NULL, "FILE",
     "Read \"name = value\" lines from FILE; options further right win", "Help and configuration"},
    {"print-config", 0, OPTION_FLAG, offsetof(struct builtin, print_config), NULL, 0, 0, NULL, NULL,
     "Print the configuration that results, as --config reads it, and exit", NULL},
    {"help", 'h', OPTION_FLAG, offsetof(struct builtin, help), NULL, 0, 0, NULL, NULL, "Print this and exit",
     NULL},
    {"help-as", 0, OPTION_CHOICE, offsetof(struct builtin, help_as), NULL, 0, 0, help_forms, "KIND",
     "Print the options as sections of a manual page, or what completes them in a shell, and exit", NULL},
    {"version", 0, OPTION_FLAG, offsetof(struct builtin, version), NULL, 0, 0, NULL, NULL,
     "Print the version and exit", NULL},
    {0},
};

struct entry {
    const struct option_spec *spec;
    void *target;
};

/* Every option of a program in table order; the first `own` are the program's, the rest built in. */
struct catalogue {
    struct entry *entries;
    size_t n, own;
};

bool option_has_opposite(const struct option_spec *spec) {
    return spec->type == OPTION_FLAG && spec->initial;
}

static void catalogue_add(struct catalogue *all, size_t *capacity, struct option_group group) {
    for (const struct option_spec *spec = group.specs; spec->name; spec++) {
        for (size_t i = 0; i < all->n; i++) { /* a name or letter has one meaning */
            assert(strcmp(all->entries[i].spec->name, spec->name) != 0);
            assert(!spec->letter || all->entries[i].spec->letter != spec->letter);
        }
        all->entries = array_grow(all->entries, capacity, all->n + 1, sizeof *all->entries);
        all->entries[all->n++] = (struct entry){spec, group.target};
    }
}

static struct catalogue catalogue_make(const struct option_group *groups, size_t n, struct builtin *builtin) {
    struct catalogue all = {0};
    size_t capacity = 0;
    for (size_t g = 0; g < n; g++) catalogue_add(&all, &capacity, groups[g]);
    all.own = all.n;
    catalogue_add(&all, &capacity, (struct option_group){builtin_specs, builtin});
    return all;
}

/* Levenshtein's distance, by rows. */
static size_t edit_distance(const char *a, const char *b) {
    size_t columns = strlen(b) + 1, *row = array_alloc(columns, sizeof *row);
    for (size_t j = 0; j < columns; j++) row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 1; j < columns; j++) {
            size_t replaced = diagonal + (a[i] != b[j - 1]);
            diagonal = row[j];
            size_t shorter = row[j] < row[j - 1] ? row[j] : row[j - 1];
            row[j] = replaced <= shorter ? replaced : shorter + 1;
        }
    }
    size_t distance = row[columns - 1];
    free(row);
    return distance;
}

/* "unknown option '--stpes'; did you mean '--steps'?" among the first n entries. */
static bool unknown_error(const struct catalogue *all, size_t n, const char *dashes, const char *name,
                          const char *place, struct error *err) {
    size_t nearest = 2 + strlen(name) / 3; /* further away is no typing error */
    char *hint = string_format("%s", "");
    for (size_t i = 0; i < n; i++) {
        size_t distance = edit_distance(name, all->entries[i].spec->name);
        if (distance >= nearest) continue;
        nearest = distance;
        free(hint);
        hint = string_format("; did you mean '%s%s'?", dashes, all->entries[i].spec->name);
    }
    error_set(err, EXIT_USAGE, "%sunknown option '%s%s'%s; try --help", place, dashes, name, hint);
    free(hint);
    return false;
}

/* ---- --help ---- */

enum { HELP_WIDTH = 100, HELP_INDENT = 28 };

/* Prints words from column `at` on, continuing lines at `indent`. */
static void words_print(FILE *out, const char *text, int at, int indent) {
    while (*text) {
        int word = (int)strcspn(text, " ");
        if (at > indent && at + 1 + word > HELP_WIDTH) {
            fprintf(out, "\n%*s", indent, "");
            at = indent;
        }
        at += fprintf(out, "%s%.*s", at > indent ? " " : "", word, text);
        text += word;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

char *option_limits(const struct option_spec *spec) {
    bool choice = spec->type == OPTION_CHOICE;
    char *range = choice ? choices_describe(spec) : range_describe(spec);
    const char *initial = spec->initial ? spec->initial : "";
    if (spec->type == OPTION_FLAG && *initial) initial = *initial == 't' ? "on" : "off";
    char *text = string_format("%s%s%s%s%s%s", *range || *initial ? " [" : "", choice ? "one of " : "",
                               range + (*range == ' '), *range && *initial ? "; " : "",
                               *initial ? "default " : "", initial);
    char *closed = string_format("%s%s", text, *text ? "]" : "");
    free(range);
    free(text);
    return closed;
}

static void option_help(FILE *out, const struct option_spec *spec) {
    char letter[] = "-x,";
    letter[1] = spec->letter;
    int at =
        fprintf(out, "  %3s --%s%s%s%s", spec->letter ? letter : "", option_has_opposite(spec) ? "[no-]" : "",
                spec->name, spec->value_name ? " " : "", spec->value_name ? spec->value_name : "");
    if (at > HELP_INDENT - 2) {
        fputc('\n', out);
        at = 0;
    }
    fprintf(out, "%*s", HELP_INDENT - at, "");
    char *limits = option_limits(spec), *text = string_format("%s%s", spec->help, limits);
    words_print(out, text, HELP_INDENT, HELP_INDENT);
    free(limits);
    free(text);
}

static void help_print(FILE *out, const struct catalogue *all, const struct program_info *info) {
    fprintf(out, "Usage: %s\n", info->usage);
    words_print(out, info->summary, 0, 0);
    for (size_t i = 0; i < all->n; i++) {
        const struct option_spec *spec = all->entries[i].spec;
        if (spec->section) fprintf(out, "\n%s:\n", spec->section);
        option_help(out, spec);
    }
    fprintf(out, "\n%s", info->closing);
}

static void pages_print(FILE *out, enum help_form form, const struct catalogue *all, const struct program_info *info) {
    const struct option_spec **specs = array_alloc(all->n, sizeof *specs);
    for (size_t i = 0; i < all->n; i++) specs[i] = all->entries[i].spec;
    options_describe(out, form, specs, all->n, info);
    free(specs);
}

/* ---- Config files ---- */

/* Trims blanks at both ends, in place. */
static char *text_trim(char *text) {
    while (isspace((unsigned char)*text)) text++;
    char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1])) end--;
    *end = 0;
    return text;
}

/* The value of a config line, a comment behind it removed: quoted as in JSON, or as it stands. A comment begins
 * the value or follows a blank. malloc'ed; NULL if the quotes are wrong. */
static char *config_value(char *text) {
    text = text_trim(text);
    if (*text != '"') {
        size_t n = 0;
        while (text[n] && (text[n] != '#' || (n > 0 && !isspace((unsigned char)text[n - 1])))) n++;
        text[n] = 0;
        return string_format("%s", text_trim(text));
    }
    json_error_t bad;
    json_t *string = json_loads(text, JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, &bad);
    if (!string) return NULL;
    char *rest = text_trim(text + bad.position); /* on success: where it stopped */
    char *value = *rest == 0 || *rest == '#' ? string_format("%s", json_string_value(string)) : NULL;
    json_decref(string);
    return value;
}

static bool config_line(const struct catalogue *all, char *line, const char *place, bool *given,
                        struct error *err) {
    line = text_trim(line);
    if (*line == 0 || *line == '#') return true;
    char *equals = strchr(line, '=');
    if (!equals) return error_set(err, EXIT_USAGE, "%sbad line (got '%s', want name = value)", place, line);
    *equals = 0;
    const char *name = text_trim(line);
    size_t i = 0;
    while (i < all->own && strcmp(name, all->entries[i].spec->name) != 0) i++;
    if (i == all->own) return unknown_error(all, all->own, "", name, place, err);
    char *value = config_value(equals + 1);
    bool ok = value && value_set(all->entries[i].spec, all->entries[i].target, value);
    if (!ok) {
        char *where = string_format("%s%s", place, name);
        char *got = value ? string_format("'%s'", value) : string_format("wrong quotes");
        value_error(all->entries[i].spec, where, got, EXIT_USAGE, err);
        free(where);
        free(got);
    }
    if (ok) given[i] = true;
    free(value);
    return ok;
}

static bool config_read(const struct catalogue *all, const char *path, bool *given, struct error *err) {
    FILE *file = fopen(path, "r");
    if (!file)
        return error_set(err, EXIT_USAGE, "%s: cannot read this config file: %s", path, strerror(errno));
    char *line = NULL;
    size_t capacity = 0;
    bool ok = true;
    ssize_t length;
    for (int number = 1; ok && (length = getline(&line, &capacity, file)) >= 0; number++) {
        char *place = string_format("%s: line %d: ", path, number);
        const bool marked = number == 1 && strncmp(line, "\xef\xbb\xbf", 3) == 0; /* as some editors begin a file */
        ok = strlen(line) == (size_t)length ? config_line(all, line + 3 * marked, place, given, err)
                                            : error_set(err, EXIT_USAGE, "%sholds a NUL byte; save it as UTF-8", place);
        free(place);
    }
    if (ok && ferror(file)) ok = error_set(err, EXIT_USAGE, "%s: cannot read this config file", path);
    free(line);
    fclose(file);
    return ok;
}

/* "name = value", commented out where there is none (NULL). Frees the value. */
static void option_print(const struct option_spec *spec, char *value, FILE *out) {
    fprintf(out, "%s%s =%s%s\n", value ? "" : "# ", spec->name, value ? " " : "", value ? value : "");
    free(value);
}

static void list_print(const struct option_spec *spec, const struct option_list *list, FILE *out) {
    for (size_t i = 0; i < list->n; i++) {
        json_t *text = json_string(list->texts[i]);
        option_print(spec, json_dumps(text, JSON_ENCODE_ANY), out);
        json_decref(text);
    }
    if (list->n == 0) option_print(spec, NULL, out);
}

void options_print(const struct option_group *groups, size_t n, FILE *out) {
    for (size_t g = 0; g < n; g++) {
        for (const struct option_spec *spec = groups[g].specs; spec->name; spec++) {
            void *field = option_field(spec, groups[g].target);
            if (spec->section) fprintf(out, "# %s\n", spec->section);
            if (spec->type == OPTION_LIST) list_print(spec, field, out);
            else if (is_text(spec) && !*(char **)field) option_print(spec, NULL, out);
            else option_print(spec, value_format(spec, groups[g].target), out);
        }
    }
}

/* ---- The command line ---- */

/* getopt_long's codes: the letter itself, or CODE + 2 * entry, plus 1 for its --no- form. */
enum { CODE = 256 };

struct getopt_tables {
    char *letters;
    struct option *longs;
    size_t n;
};

static struct getopt_tables getopt_tables_make(const struct catalogue *all) {
    struct getopt_tables tables = {.letters = array_alloc(2 * all->n + 2, 1),
                                   .longs = array_alloc(2 * all->n + 1, sizeof *tables.longs)};
    char *letter = tables.letters;
    *letter++ = ':'; /* tell a missing value from an unknown option */
    for (size_t i = 0; i < all->n; i++) {
        const struct option_spec *spec = all->entries[i].spec;
        int takes = spec->type == OPTION_FLAG ? no_argument : required_argument, code = CODE + 2 * (int)i;
        if (spec->letter) *letter++ = spec->letter;
        if (spec->letter && takes) *letter++ = ':';
        tables.longs[tables.n++] = (struct option){string_format("%s", spec->name), takes, NULL, code};
        if (!option_has_opposite(spec)) continue;
        tables.longs[tables.n++] = (struct option){string_format("no-%s", spec->name), takes, NULL, code + 1};
    }
    return tables;
}

static void getopt_tables_free(struct getopt_tables *tables) {
    for (size_t i = 0; i < tables->n; i++) free((char *)tables->longs[i].name);
    free(tables->longs);
    free(tables->letters);
}

/* The entry a code or letter stands for; all->n if none. */
static size_t code_entry(const struct catalogue *all, int code) {
    if (code >= CODE) return (size_t)(code - CODE) / 2;
    size_t i = 0;
    while (i < all->n && all->entries[i].spec->letter != code) i++;
    return i;
}

/* getopt_long found nothing under this name: either it begins several names or none. */
static bool name_error(const struct catalogue *all, const struct getopt_tables *tables, const char *argument,
                       struct error *err) {
    size_t length = strcspn(argument + 2, "=");
    char *name = string_format("%.*s", (int)length, argument + 2), *matches = string_format("%s", "");
    for (size_t i = 0; i < tables->n; i++)
        if (strncmp(name, tables->longs[i].name, length) == 0)
            string_append(&matches, "%s--%s", *matches ? ", " : "", tables->longs[i].name);
    if (*matches) error_set(err, EXIT_USAGE, "option '--%s' is ambiguous (%s); try --help", name, matches);
    else unknown_error(all, all->n, "--", name, "", err);
    free(name);
    free(matches);
    return false;
}

/* Acts on one code of getopt_long. */
static bool option_take(const struct catalogue *all, const struct getopt_tables *tables, int code,
                        const char *argument, bool *given, struct error *err) {
    if (code == '?' && optopt == 0) return name_error(all, tables, argument, err);
    size_t i = code_entry(all, code == '?' || code == ':' ? optopt : code);
    if (i == all->n) return error_set(err, EXIT_USAGE, "unknown option '-%c'; try --help", optopt);
    const struct option_spec *spec = all->entries[i].spec;
    if (code == '?') {
        return error_set(err, EXIT_USAGE, "--%s: takes no value (got '%s'); try --help", spec->name,
                         argument);
    }
    char *place = string_format("--%s", spec->name);
    const char *value = spec->type == OPTION_FLAG ? (code & 1 && code >= CODE ? "false" : "true") : optarg;
    bool ok = code != ':' && value_set(spec, all->entries[i].target, value);
    if (!ok) {
        char *got = code == ':' ? string_format("nothing") : string_format("'%s'", value);
        value_error(spec, place, got, EXIT_USAGE, err);
        free(got);
    }
    free(place);
    if (ok && i < all->own) given[i] = true;
    return ok;
}

static _Noreturn void output_exit(void) {
    struct error err;
    if (!output_check(&err)) error_exit(&err);
    exit(EXIT_DONE);
}

static bool text_check(const struct option_spec *spec, const char *text, struct error *err) {
    return text_is_utf8(text) ||
           error_set(err, EXIT_USAGE, "--print-config: --%s cannot be printed (got '%s', want text in UTF-8)",
                     spec->name, text);
}

/* A config file is UTF-8, as everything that JSON quotes. */
static bool printing_check(const struct catalogue *all, struct error *err) {
    for (size_t i = 0; i < all->own; i++) {
        const struct option_spec *spec = all->entries[i].spec;
        const void *field = option_field(spec, all->entries[i].target);
        const struct option_list *list = spec->type == OPTION_LIST ? field : NULL;
        const char *text = is_text(spec) ? *(char *const *)field : NULL;
        if (text && !text_check(spec, text, err)) return false;
        for (size_t k = 0; list && k < list->n; k++)
            if (!text_check(spec, list->texts[k], err)) return false;
    }
    return true;
}

int options_parse(const struct option_group *groups, size_t n, const struct program_info *info, int argc,
                  char **argv, bool **given, struct error *err) {
    struct builtin builtin = {.help_as = -1};
    struct catalogue all = catalogue_make(groups, n, &builtin);
    struct getopt_tables tables = getopt_tables_make(&all);
    bool *seen = array_alloc(all.own, sizeof *seen), ok = true;
    int code;
    optind = 0; /* GNU: start afresh */
    opterr = 0;
    while (ok && (code = getopt_long(argc, argv, tables.letters, tables.longs, NULL)) != -1) {
        ok = option_take(&all, &tables, code, argv[optind - 1], seen, err);
        if (ok && builtin.config) ok = config_read(&all, builtin.config, seen, err);
        free(builtin.config);
        builtin.config = NULL;
        if (builtin.help) help_print(stdout, &all, info);
        if (ok && builtin.help_as >= 0) pages_print(stdout, (enum help_form)builtin.help_as, &all, info);
        if (builtin.version) printf("%s %s\n", info->name, OPTIONS_VERSION);
        if (builtin.help || builtin.version || builtin.help_as >= 0) output_exit();
    }
    getopt_tables_free(&tables);
    if (ok && info->complete) info->complete(groups, n, seen);
    if (ok && builtin.print_config) ok = printing_check(&all, err);
    free(all.entries);
    if (ok && builtin.print_config) {
        options_print(groups, n, stdout);
        output_exit();
    }
    if (given) *given = seen;
    else free(seen);
    return ok ? optind : -1;
}

const char *option_early(int argc, char **argv, const char *name) {
    const size_t length = strlen(name);
    const char *value = NULL;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strncmp(argv[i], name, length) == 0 && argv[i][length] == '=') value = argv[i] + length + 1;
        if (strcmp(argv[i], name) == 0 && i + 1 < argc) value = argv[i + 1];
    }
    return value;
}

bool options_given(const struct option_group *groups, size_t n, const bool *given, const char *name) {
    for (size_t g = 0; g < n; g++)
        for (const struct option_spec *spec = groups[g].specs; spec->name; spec++, given++)
            if (strcmp(spec->name, name) == 0) return *given;
    assert(!"an option of this name");
    return false;
}

const struct option_spec *option_find(const struct option_spec *specs, const char *name) {
    while (specs->name && strcmp(specs->name, name) != 0) specs++;
    return specs->name ? specs : NULL;
}

void option_set(const struct option_group *group, const char *name, const char *text) {
    const bool stored = value_set(option_find(group->specs, name), group->target, text);
    assert(stored);
    (void)stored;
}

char *option_text(const struct option_group *group, const char *name) {
    return value_format(option_find(group->specs, name), group->target);
}

/* ---- JSON ---- */

json_t *options_to_json(const struct option_group *group) {
    json_t *object = json_object();
    for (const struct option_spec *spec = group->specs; spec->name; spec++) {
        const int failed = json_object_set_new(object, spec->name, value_to_json(spec, group->target));
        assert(!failed); /* a table that is kept as JSON has no OPTION_BYTES */
        (void)failed;
    }
    return object;
}

/* The text value_set takes, or NULL if the JSON type is not that of the option. malloc'ed. */
static char *json_to_text(const struct option_spec *spec, const json_t *value) {
    switch (spec->type) {
    case OPTION_INT:
    case OPTION_LONG:
        if (spec->type == OPTION_LONG && spec->choices && json_is_string(value))
            return string_format("%s", json_string_value(value));
        return json_is_integer(value) ? string_format("%" JSON_INTEGER_FORMAT, json_integer_value(value))
                                      : NULL;
    case OPTION_PORTION:
        if (json_is_string(value)) return string_format("%s", json_string_value(value));
        return json_is_integer(value) ? string_format("%" JSON_INTEGER_FORMAT, json_integer_value(value)) : NULL;
    case OPTION_REAL: return json_is_number(value) ? real_format(json_number_value(value)) : NULL;
    case OPTION_FLAG:
        return json_is_boolean(value) ? string_format("%s", json_is_true(value) ? "true" : "false") : NULL;
    case OPTION_CHOICE:
    case OPTION_STRING:
    case OPTION_BYTES: return json_is_string(value) ? string_format("%s", json_string_value(value)) : NULL;
    case OPTION_LIST: return NULL;
    }
    return NULL;
}

static bool json_value_set(const struct option_spec *spec, void *target, const json_t *value,
                           struct error *err) {
    if (!value) return error_set(err, EXIT_INPUT, "configuration: %s: missing", spec->name);
    if (is_text(spec) && json_is_null(value)) {
        char **field = option_field(spec, target);
        free(*field);
        *field = NULL;
        return true;
    }
    char *text = json_to_text(spec, value);
    bool ok = text && value_set(spec, target, text);
    free(text);
    if (!ok) {
        char *place = string_format("configuration: %s", spec->name),
             *got = json_dumps(value, JSON_ENCODE_ANY);
        value_error(spec, place, got, EXIT_INPUT, err);
        free(place);
        free(got);
    }
    return ok;
}

bool options_from_json(const struct option_group *group, const json_t *object, struct error *err) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
        if (!option_find(group->specs, key)) return error_set(err, EXIT_INPUT, "configuration: %s: unknown", key);
    for (const struct option_spec *spec = group->specs; spec->name; spec++)
        if (!json_value_set(spec, group->target, json_object_get(object, spec->name), err)) return false;
    return true;
}

static char *json_to_words(const json_t *value) {
    const char *text = json_string_value(value);
    return text ? string_format("%s", text) : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
}

bool options_differ(const json_t *mine, const json_t *theirs, struct option_difference *d) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)mine, name, value) {
        const json_t *other = json_object_get(theirs, name);
        if (!other || json_equal(value, other)) continue;
        *d = (struct option_difference){string_format("%s", name), json_to_words(value), json_to_words(other)};
        return true;
    }
    return false;
}

void option_difference_free(struct option_difference *d) {
    free(d->name);
    free(d->mine);
    free(d->theirs);
}
