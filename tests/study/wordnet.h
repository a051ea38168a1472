/* How many senses a word has, from the index files of WordNet (Princeton): index.noun, index.verb, index.adj,
 * index.adv, one lemma a line. A Debian package brings them (wordnet-base); data/corpus.sh fetches it. */
#ifndef WORDNET_H
#define WORDNET_H

#include "../../src/base/util.h"

struct wordnet {
    struct wordnet_lemma {
        char *text;
        int senses; /* synsets, over all parts of speech */
    } *lemmas;      /* in the order of strcmp, each once */
    size_t n, capacity;
};

/* Reads the four files of DIR. EXIT_INPUT if one is missing or is no index. Release with wordnet_close in either
 * case. */
bool wordnet_open(struct wordnet *w, const char *dir, struct error *err);
void wordnet_close(struct wordnet *w);

/* 0 if it is no lemma; `word` in small letters. */
int wordnet_senses(const struct wordnet *w, const char *word);

#endif
