/* See preset.h. */
#include "preset.h"

#include <math.h>
#include <string.h>

const char *const preset_words[] = {"small", "base", "large", NULL};

/* The wider a model is, the lower is the rate that it bears. */
static const struct {
    const char *name, *values[PRESETS];
} settings[] = {
    {"seq", {"128", "256", "512"}},
    {"layers", {"4", "6", "12"}},
    {"channels", {"128", "384", "768"}},
    {"attn-heads", {"2", "6", "12"}},
    {"vocab", {"4096", "8192", "16384"}},
    {"lr", {"2e-3", "1e-3", "6e-4"}},
};
enum { SETTINGS = sizeof settings / sizeof *settings };

void preset_set(enum preset preset, const struct option_group *groups, size_t n, const bool *given) {
    for (size_t s = 0; s < SETTINGS; s++)
        for (size_t g = 0; g < n; g++)
            if (option_find(groups[g].specs, settings[s].name) && !options_given(groups, n, given, settings[s].name))
                option_set(&groups[g], settings[s].name, settings[s].values[preset]);
}

const char *preset_value(enum preset preset, const char *name) {
    for (size_t s = 0; s < SETTINGS; s++)
        if (strcmp(settings[s].name, name) == 0) return settings[s].values[preset];
    return NULL;
}

size_t outlook_best(const struct outlook *sizes, size_t n, double text) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (fmin(sizes[i].tokens, EPOCHS * text) >= TOKENS_EACH * sizes[i].parameters) best = i;
    return best;
}
