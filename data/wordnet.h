/* WordNet (Princeton), as the Debian package wordnet-base brings it and data/corpus.sh fetches it: how many senses a
 * word has, from index.noun, index.verb, index.adj, index.adv, one lemma a line; and for one part of speech which
 * senses those are, what they mean (data.noun, ...) and how often texts have the word (cntlist.rev). */
#ifndef WORDNET_H
#define WORDNET_H

#include "../src/base/util.h"

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

enum wordnet_part { WORDNET_NOUN, WORDNET_VERB, WORDNET_ADJECTIVE, WORDNET_ADVERB, WORDNET_PARTS };

struct wordnet_words {
    struct wordnet_word {
        char *text;      /* small letters as a rule; words of a lemma joined by underscores */
        size_t *synsets; /* (n) its senses, the most frequent first: where they stand in the data file */
        size_t n, count; /* count: how often texts tagged with senses have it as this part of speech */
    } *list;             /* in the order of strcmp, each once */
    size_t n, capacity;
    char *data;          /* of the data file */
    size_t size;
};

/* Reads the words of one part. EXIT_INPUT if a file is missing, is not what it should be, or if the index names a
 * synset that the data do not have. Release with wordnet_words_close in either case. */
bool wordnet_words_open(struct wordnet_words *w, const char *dir, enum wordnet_part part, struct error *err);
void wordnet_words_close(struct wordnet_words *w);

/* NULL if there is none. */
struct wordnet_word *wordnet_word_find(const struct wordnet_words *w, const char *text);

/* What a synset's gloss says: a definition, and often "examples" in quotes. `size` bytes, no NUL behind them. */
const char *wordnet_gloss(const struct wordnet_words *w, size_t synset, size_t *size);

#endif
