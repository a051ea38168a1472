/* One table of options drives the command line (getopt_long), --help, config files and --print-config.
 *
 * A table is an array of struct option_spec that ends with a NULL name; a program joins several
 * (the model's, its own). Each entry points at a field of a struct by offset, so the same table
 * serves to write a configuration into a checkpoint and to read it back. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <jansson.h>
#include "../base/util.h"

#define OPTIONS_VERSION "0.1" /* what --version prints after the program's name */

enum option_type {
    OPTION_INT,    /* int field; low..high inclusive */
    OPTION_LONG,   /* int64_t field; low..high; accepts suffixes k, M, G (powers of 1000); also words: the first of
                      `choices` is -1, the next -2, ... */
    OPTION_PORTION,/* struct portion field; low..high as a whole number, like OPTION_LONG; or a percentage */
    OPTION_REAL,   /* double field; low..high */
    OPTION_STRING, /* char * field, malloc'ed or NULL; UTF-8 */
    OPTION_BYTES,  /* the same with any bytes, for a program that keeps its options nowhere */
    OPTION_CHOICE, /* int field: the index of a word in `choices` */
    OPTION_FLAG,   /* bool field; --name and --no-name; in files name = true|false */
    OPTION_LIST,   /* struct option_list field; any bytes; each use adds one. Not in a table that is kept as JSON */
};

struct option_list {
    char **texts; /* (n), malloc'ed as the array is */
    size_t n, capacity;
};

/* So many, or a share of something that is known later: "100", "2k", "2.5%". */
struct portion {
    int64_t whole;
    double percent;
    bool is_share;
};
int64_t portion_of(const struct portion *p, int64_t all); /* as it is where it is no share; else rounded */

struct option_spec {
    const char *name;         /* long name without dashes; NULL ends the table */
    char letter;              /* short option, or 0 */
    enum option_type type;
    size_t offset;            /* of the field within its struct */
    const char *initial;      /* default, as text; NULL: no default (strings only) */
    double low, high;         /* numbers: the range allowed; both 0: any */
    const char *const *choices; /* OPTION_CHOICE, OPTION_LONG: words, NULL at the end */
    const char *value_name;   /* shown in --help: --steps N; shells complete a FILE, RUN, MODEL or DIR */
    const char *help;         /* one sentence with the unit; --help wraps it */
    const char *section;      /* heading in --help; NULL continues the last one */
};

/* A table and the struct its offsets refer to, zeroed before its first use. No name or letter may occur
 * twice in the groups of a program (asserted). */
struct option_group {
    const struct option_spec *specs;
    void *target;
};

/* What --help says around the table, and what the table cannot say. */
struct program_info {
    const char *name;
    const char *usage;   /* one line: "train [OPTION]... [CORPUS]..." */
    const char *summary; /* a paragraph */
    const char *closing; /* examples, exit codes */
    /* NULL, or sets the options that follow from others where they were not given, once all are read and before
     * --print-config shows them. The arguments are those of options_given. */
    void (*complete)(const struct option_group *groups, size_t n, const bool *given);
};

void options_set_defaults(const struct option_group *groups, size_t n);
void options_free(const struct option_group *groups, size_t n); /* the strings */

/* " [one of a or b; default a]", or "" where there is nothing to tell. malloc'ed. */
char *option_limits(const struct option_spec *spec);

/* Whether there is a --no-NAME; not of a flag without a default, which is an action. */
bool option_has_opposite(const struct option_spec *spec);

/* Parses argv into the groups. --help, --help-as, --version and --print-config are understood in every program:
 * they print on standard output and exit 0. --config FILE reads "name = value" lines at the place it
 * stands (what follows on the command line wins). Returns the index of the first operand in argv
 * (getopt_long permutes), or -1 with EXIT_USAGE: the message names the option, what it got, what it
 * wants, and for an unknown option the nearest known name. *given (`given` may be NULL) receives a malloc'ed
 * array for options_given, also on failure. */
int options_parse(const struct option_group *groups, size_t n, const struct program_info *info, int argc,
                  char **argv, bool **given, struct error *err);

/* Whether the user gave the option of this name (without dashes; there must be one) on that command line or in
 * a config file that it names. `groups` and `given` are those of options_parse. */
bool options_given(const struct option_group *groups, size_t n, const bool *given, const char *name);

/* The value of an option (with its dashes) that says where others come from, before these are read; NULL if it is not
 * given in full. */
const char *option_early(int argc, char **argv, const char *name);

/* The option of this name in a table; NULL if there is none. */
const struct option_spec *option_find(const struct option_spec *specs, const char *name);

/* One option of a group by its name (there must be one): stores a value that its table allows, given as text; gives the
 * value as option_set takes it (malloc'ed). */
void option_set(const struct option_group *group, const char *name, const char *text);
char *option_text(const struct option_group *group, const char *name);

/* "name = value" lines in table order with # headings; reads back through --config bit for bit. */
void options_print(const struct option_group *groups, size_t n, FILE *out);

/* The same as a JSON object (numbers, strings, booleans; a choice as its word). New reference. */
json_t *options_to_json(const struct option_group *group);

/* Reads such an object; an unknown key, a missing key or a bad value is an EXIT_INPUT error that names it. */
bool options_from_json(const struct option_group *group, const json_t *object, struct error *err);

/* The first option, in the order of `mine`, that both objects hold with unequal values, which are given as a user
 * writes them. False, and nothing in *d, if there is none. */
struct option_difference {
    char *name, *mine, *theirs; /* malloc'ed */
};
bool options_differ(const json_t *mine, const json_t *theirs, struct option_difference *d);
void option_difference_free(struct option_difference *d);

#endif
