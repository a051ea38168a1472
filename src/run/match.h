/* --match: a model whose layers cost as much as those of a baseline. */
#ifndef MATCH_H
#define MATCH_H

#include "parity.h"
#include "training.h"

/* Sets experts and their width by the baseline whose config file or run directory the option names, and prints both
 * sides on standard error. The groups are the trainer's (training_options, model_options), read with `given`; `program`
 * completes the options of a config file. EXIT_USAGE, EXIT_INPUT, EXIT_MISMATCH; then nothing is set. */
bool match_baseline(const struct option_group groups[2], const bool *given, const struct program_info *program,
                    layer_account *layer_of, struct error *err);

#endif
