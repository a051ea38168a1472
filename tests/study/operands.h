/* The models that a study is told to look at: runs' directories, and checkpoints. */
#ifndef OPERANDS_H
#define OPERANDS_H

#include "../../src/base/util.h"

/* All names are to stand in a report. EXIT_USAGE. */
bool operands_check(char **names, int n, struct error *err);

/* The checkpoint of an operand, malloc'ed; NULL: it is a run that has saved none yet (EXIT_INPUT). */
char *operand_path(const char *operand, struct error *err);

/* What a report calls it: the last part of a run's path, or the last two of a file's, without its ending. malloc'ed. */
char *operand_name(const char *operand, const char *path);

#endif
