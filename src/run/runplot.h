/* The pictures of a run: its losses and its experts' load; and one of several runs. */
#ifndef RUNPLOT_H
#define RUNPLOT_H

#include "../base/util.h"
#include "score.h"

/* Training and validation loss over tokens, from the log, so that they cover every session of the run. EXIT_OUTPUT. */
bool runplot_loss(const char *path, const char *log, struct error *err);

/* The validation loss of n runs over tokens, a line each, from their logs; the training loss where one of them has not
 * been validated at two steps. EXIT_INPUT where a log cannot be read or has no losses; EXIT_OUTPUT. */
bool runplot_runs(const char *path, const char *const *names, const char *const *logs, size_t n, struct error *err);

/* Bits per byte of each part's held-out text over tokens; of a masked model, the loss of what it fills in.
 * EXIT_OUTPUT. */
bool runplot_parts(const char *path, const char *log, const struct part_score *parts, size_t n, bool masked,
                   struct error *err);

/* Each expert's share of its layer's picks, as a multiple of an even share; load (LM,E) counts picks, layer lm is
 * block (lm + 1) * every - 1. EXIT_OUTPUT. */
bool runplot_load(const char *path, const double *load, size_t LM, size_t E, size_t every, struct error *err);

#endif
