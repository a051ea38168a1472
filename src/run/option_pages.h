/* A program's options for other readers than that of --help: as sections of a manual page, and as what bash, zsh and
 * fish complete them by. All from the one table, so that none of them can tell of other options than there are. */
#ifndef OPTION_PAGES_H
#define OPTION_PAGES_H

#include "options.h"

enum help_form { HELP_MAN, HELP_BASH, HELP_ZSH, HELP_FISH };
extern const char *const help_forms[];

/* Prints the n options of a program in this form. */
void options_describe(FILE *out, enum help_form form, const struct option_spec *const *specs, size_t n,
                      const struct program_info *info);

#endif
