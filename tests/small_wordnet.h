/* A WordNet of made-up words, written as its files are. To be included after command.h. */
#ifndef SMALL_WORDNET_H
#define SMALL_WORDNET_H

#include "command.h"

enum { SMALL_WORDS = 150, SMALL_PARTS = 4 };
static const char *const small_parts[SMALL_PARTS] = {"noun", "verb", "adj", "adv"};

/* Word i of a part: three letters and the part's; every fifth begins with a vowel. */
static inline char *small_word(int part, int i) {
    return string_format("%c%c%c%c", i % 5 ? "bcdfghjk"[i % 8] : 'e', 'a' + i / 10, 'a' + i % 10, "nvrs"[part]);
}

/* Words 7j and 7j + 1 have a second sense in common. */
static inline bool small_synonyms(int i, int j) { return i == j || (i / 7 == j / 7 && i % 7 < 2 && j % 7 < 2); }

/* How often word i occurs: rarer and rarer, in steps of ten equals. */
static inline int small_count(int i) { return 2 * (20 - i / 10); }

/* What the first sense says, without its examples. malloc'ed. */
static inline char *small_definition(int part, int i) {
    return string_format("definition %d; of the %s kind", i, small_parts[part]);
}

/* The example of word i: first, in the middle, or last. malloc'ed. */
static inline char *small_example(int part, int i) {
    char *word = small_word(part, i);
    char *text = string_format(i % 3 == 0   ? "%s is what we call number %d"
                               : i % 3 == 1 ? "we call %s what is number %d"
                                            : "number two is what we call %1$s",
                               word, i);
    free(word);
    return text;
}

/* The offset of the synset that is written, with a gloss. */
static inline long small_synset(FILE *data, char type, const char *word, const char *gloss) {
    const long at = ftell(data);
    fprintf(data, "%08ld 03 %c 01 %s 0 001 @ 00001740 n 0000 | %s  \n", at, type, word, gloss);
    return at;
}

static inline void small_part_save(int part, FILE *counts) {
    char *index_name = string_format("index.%s", small_parts[part]);
    char *data_name = string_format("data.%s", small_parts[part]);
    FILE *index = fopen(index_name, "w"), *data = fopen(data_name, "w");
    long shared = 0;
    fputs("  1 licence  \n", index);
    fputs("  1 licence  \n", data);
    for (int i = 0; i < SMALL_WORDS; i++) {
        const bool both = small_synonyms(i, i % 7 ? i - 1 : i + 1) && i % 7 < 2;
        char *word = small_word(part, i), *definition = small_definition(part, i), *example = small_example(part, i);
        char *gloss = string_format("%s; \"too short %s\"; \"this is half %s and %s\"", definition, word, word, word);
        static const char *const others[] = {"un%s", "half-%s", "%s-like", "%ss", "1%s", "%s2", "%s's"};
        for (size_t k = 0; k < sizeof others / sizeof *others; k++) { /* no example of this word */
            char *other = string_format(others[k], word);
            string_append(&gloss, "; \"this is not %s but another\"", other);
            free(other);
        }
        string_append(&gloss, "; \"%s\"; \"one more, of %s too\"", example, word);
        const long first = small_synset(data, "nvsr"[part], word, gloss);
        if (both && i % 7 == 0) shared = small_synset(data, "nvsr"[part], word, "a sense that two words share");
        fprintf(index, "%s %c %d 2 @ ~#p %d 1 %08ld", word, "nvar"[part], 1 + both, 1 + both, first);
        if (both) fprintf(index, " %08ld", shared);
        fputs("  \n", index);
        /* in two senses, and of another part of speech, which is not to be counted */
        fprintf(counts, "%s%%%d:03:00:: 1 %d\n%s%%%d:03:00:x:00 2 %d\n", word, part == 2 ? 5 : part + 1,
                small_count(i) / 2, word, part + 1, small_count(i) / 2);
        fprintf(counts, "%s%%%d:03:00:: 1 1000\n", word, (part + 1) % 4 + 1);
        free(word);
        free(definition);
        free(example);
        free(gloss);
    }
    free(index_name);
    free(data_name);
    assert_int_equal(fclose(index) | fclose(data), 0);
}

/* Into the present directory. */
static inline void small_wordnet_save(void) {
    FILE *counts = fopen("cntlist.rev", "w");
    for (int part = 0; part < SMALL_PARTS; part++) small_part_save(part, counts);
    assert_int_equal(fclose(counts), 0);
}

#endif
