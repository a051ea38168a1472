/* Small corpora to train on. To be included after command.h. */
#ifndef PROSE_H
#define PROSE_H

#include <stdio.h>
#include "../src/base/rng.h"
#include "command.h"

/* English-like sentences; the same seed gives the same text. */
static inline char *prose(int sentences, uint64_t seed) {
    static const char *const words[5][7] = {
        {"The", "A", "Every", "No", "Her", "His", "One"},
        {"old", "young", "kind", "quiet", "proud", "happy", "poor"},
        {"lady", "sister", "aunt", "captain", "gentleman", "friend", "cousin"},
        {"admired", "visited", "remembered", "left", "praised", "met", "feared"},
        {"the garden", "the ball", "a letter", "the house", "the caf\xc3\xa9", "a carriage", "the evening"},
    };
    char *text = array_alloc((size_t)sentences * 64 + 1, 1), *at = text;
    struct rng rng;
    rng_seed(&rng, seed, 0);
    for (int i = 0; i < sentences; i++) {
        for (int w = 0; w < 5; w++) at += sprintf(at, "%s%s", w ? " " : "", words[w][rng_next(&rng) % 7]);
        at += sprintf(at, rng_next(&rng) % 4 ? ". " : ".\n");
    }
    return text;
}

static inline void prose_save(const char *path, int sentences, uint64_t seed) {
    char *text = prose(sentences, seed);
    text_save(path, text, strlen(text));
    free(text);
}

#endif
