/* Sizes of models that have a name (./train --preset), and which of them suits a text and a time. */
#ifndef PRESET_H
#define PRESET_H

#include "options.h"

enum preset { PRESET_SMALL, PRESET_BASE, PRESET_LARGE, PRESETS };
extern const char *const preset_words[];

/* Sets the options, in all groups, that the preset stands for and that were not given; `given` as of options_parse. */
void preset_set(enum preset preset, const struct option_group *groups, size_t n, const bool *given);

/* The value of the option of this name in a preset; NULL if it leaves that alone. */
const char *preset_value(enum preset preset, const char *name);

/* What a model of one size would see in a run. */
struct outlook {
    double parameters; /* active ones */
    double tokens;     /* that there is time for */
};

/* The largest of n sizes, in ascending order, whose parameters have TOKENS_EACH tokens each within the time and within
 * EPOCHS of the text (Hoffmann and others, arXiv 2203.15556; Muennighoff and others, arXiv 2305.16264); the first where
 * none has. */
enum { TOKENS_EACH = 20, EPOCHS = 4 };
size_t outlook_best(const struct outlook *sizes, size_t n, double text);

#endif
