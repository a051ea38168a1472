/* Makes questions for ./sample --evaluate: questions gloss|example|last-word|language [OPTION]... [FILE|DIR].
 *
 *   gloss      which gloss of WordNet fits the word
 *   example    which word fits an example of WordNet: each choice is a word and what follows it in the sentence
 *   last-word  the last word of a sentence, which occurred before: passages.c
 *   language   in which language a line is: passages.c
 *
 * Every wrong choice is one that is as likely where nothing is understood: words of the same part of speech that are
 * about as frequent, what such words mean, words of the same passage. The same seed gives the same bytes. Called by
 * questions.sh; README.md here says what the sets are. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "../src/base/text.h"
#include "../src/run/options.h"
#include "maker.h"
#include "wordnet.h"

struct options {
    char *wordnet, *text;
    int count, choices, words, shots;
    int64_t seed, least;
};

#define FIELD(name) offsetof(struct options, name)
static const struct option_spec question_options[] = {
    {"count", 'n', OPTION_INT, FIELD(count), "1000", 1, 1 << 30, NULL, "N", "questions to write, at most", "Questions"},
    {"choices", 0, OPTION_INT, FIELD(choices), "4", 2, 50, NULL, "N", "choices of each", NULL},
    {"seed", 's', OPTION_LONG, FIELD(seed), "1", 0, 1e15, NULL, "N", "seed", NULL},
    {"wordnet", 0, OPTION_BYTES, FIELD(wordnet), "data/corpora/wordnet", 0, 0, NULL, "DIR",
     "WordNet's index, data and cntlist.rev", "gloss, example"},
    {"text", 0, OPTION_BYTES, FIELD(text), NULL, 0, 0, NULL, "FILE",
     "count words in this text, that which a model was trained on (default: WordNet's own counts)", NULL},
    {"least", 0, OPTION_LONG, FIELD(least), "2", 1, 1e15, NULL, "N", "only words that occur N times or more", NULL},
    {"words", 0, OPTION_INT, FIELD(words), "60", 10, 10000, NULL, "N", "words before the last one, about", "last-word"},
    {"shots", 0, OPTION_INT, FIELD(shots), "1", 0, 100, NULL, "N",
     "lines of each language, with its name, before the one that is asked for", "language"},
    {0},
};

static const struct program_info program = {
    "questions", "questions gloss|example [OPTION]... | last-word [OPTION]... FILE | language [OPTION]... DIR",
    "Writes questions with choices, as ./sample --evaluate reads them, on standard output.",
    "Exit codes: 0 done, 2 usage, 3 bad input, 4 output failed.\n",
    NULL,
};

/* ---- Words as frequent as each other ---- */

enum { NEAR = 40 }; /* a distractor is among so many that are a little more frequent, or a little less */

/* Words of WordNet that can be asked for: one part of speech after the other, in each the more frequent first. */
struct candidate {
    const struct wordnet_word *word;
    const struct wordnet_words *words;
    enum wordnet_part part;
    uint64_t order; /* of equals: any, but not the alphabet's, where neighbours are related */
};
struct candidates {
    struct candidate *list;
    size_t n, capacity;
};

static int candidate_compare(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    if (x->part != y->part) return x->part < y->part ? -1 : 1;
    if (x->word->count != y->word->count) return x->word->count > y->word->count ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static bool is_plain(const char *word) {
    return strlen(word) >= 3 && strspn(word, "abcdefghijklmnopqrstuvwxyz") == strlen(word);
}

static void candidates_add(struct candidates *c, const struct wordnet_words *words, enum wordnet_part part,
                           size_t least) {
    for (size_t i = 0; i < words->n; i++) {
        const struct wordnet_word *word = &words->list[i];
        if (word->count < least || !is_plain(word->text)) continue;
        c->list = array_grow(c->list, &c->capacity, c->n + 1, sizeof *c->list);
        c->list[c->n++] =
            (struct candidate){word, words, part, hash_bytes(HASH_START, word->text, strlen(word->text))};
    }
}

/* Where the words lie that are of i's part of speech and about as frequent. */
static void neighbours_find(const struct candidates *c, size_t i, size_t *first, size_t *n) {
    size_t end = i + 1;
    *first = i;
    while (*first > 0 && i - *first < NEAR && c->list[*first - 1].part == c->list[i].part) --*first;
    while (end < c->n && end - i <= NEAR && c->list[end].part == c->list[i].part) end++;
    *n = end - *first;
}

/* Counts the words of a text instead of WordNet's counts, in each part of speech that they can be. */
static bool text_count(struct wordnet_words *words, const char *path, struct error *err) {
    size_t size;
    char *text = file_contents(fopen(path, "rb"), path, &size, err);
    if (!text) return false;
    for (size_t part = 0; part < WORDNET_PARTS; part++)
        for (size_t i = 0; i < words[part].n; i++) words[part].list[i].count = 0;
    for (size_t at = 0, end; at < size; at = end + 1) {
        for (end = at; isalpha((unsigned char)text[end]); end++) text[end] = (char)tolower((unsigned char)text[end]);
        text[end] = 0;
        for (size_t part = 0; part < WORDNET_PARTS && end > at; part++) {
            struct wordnet_word *word = wordnet_word_find(&words[part], text + at);
            if (word) word->count++;
        }
    }
    free(text);
    return true;
}

static bool has_synset(const struct wordnet_word *word, size_t synset) {
    for (size_t i = 0; i < word->n; i++)
        if (word->synsets[i] == synset) return true;
    return false;
}

/* Whether two words can mean the same. */
static bool are_synonyms(const struct wordnet_word *a, const struct wordnet_word *b) {
    for (size_t i = 0; i < a->n; i++)
        if (has_synset(b, a->synsets[i])) return true;
    return false;
}

/* How often a word stands in a text, as a whole word; *at is the first place. */
static size_t word_count(const char *text, const char *word, const char **at) {
    const size_t size = strlen(word);
    size_t n = 0;
    for (const char *found = text; (found = strstr(found, word)); found += size) {
        const unsigned char before = found > text ? (unsigned char)found[-1] : ' ', after = (unsigned char)found[size];
        if (isalnum(before) || isalnum(after) || before == '-' || after == '-' || after == '\'') continue;
        if (n++ == 0) *at = found;
    }
    return n;
}

/* ---- Which gloss fits the word ---- */

/* The definition of a word's most frequent sense: the gloss up to its examples. malloc'ed; NULL if it is none. */
static char *definition_of(const struct candidate *c) {
    size_t size;
    const char *gloss = wordnet_gloss(c->words, c->word->synsets[0], &size), *quote = memchr(gloss, '"', size);
    if (quote) size = (size_t)(quote - gloss);
    while (size > 0 && strchr(" ;:,", gloss[size - 1])) size--;
    char *text = string_format("%.*s", (int)size, gloss);
    if (size > 0 && text_is_utf8(text)) return text;
    free(text);
    return NULL;
}

/* A definition that could be one of `target`, but is not: of another word that has no sense in common with it, without
 * the target in it, and not there yet. */
static bool definition_fits(const struct candidate *target, const struct candidate *other, const char *definition,
                            char **choices, size_t n) {
    bool fits = definition && !are_synonyms(target->word, other->word) && !strcasestr(definition, target->word->text);
    for (size_t i = 0; i < n && fits; i++) fits = strcmp(choices[i], definition) != 0;
    return fits;
}

static const char *const part_names[] = {"noun", "verb", "adjective", "adverb"};

static void gloss_ask(struct maker *m, const struct candidates *c, size_t i, struct rng *rng) {
    const struct candidate *target = &c->list[i];
    const uint64_t key = rng_next(rng);
    char **choices = array_alloc(m->choices, sizeof *choices);
    size_t n = 0, first, near;
    neighbours_find(c, i, &first, &near);
    choices[0] = definition_of(target);
    if (choices[0] && !strcasestr(choices[0], target->word->text)) n = 1;
    for (size_t k = 0; n > 0 && k < near && n < m->choices; k++) {
        const struct candidate *other = &c->list[first + draw(k, near, key)];
        char *definition = definition_of(other);
        if (definition_fits(target, other, definition, choices, n)) choices[n++] = definition;
        else free(definition);
    }
    if (n == m->choices) {
        char *context = string_format("The %s %s means", part_names[target->part], target->word->text);
        question_write(m, context, choices);
        free(context);
    }
    if (n == 0) free(choices[0]);
    for (size_t k = 0; k < n; k++) free(choices[k]);
    free(choices);
}

/* ---- Which word fits the example ---- */

/* The first of its examples in which the word stands once, as it is, among at least 3 others, and where. malloc'ed;
 * NULL if there is none. */
static char *example_of(const struct candidate *c, const char **at) {
    for (size_t i = 0; i < c->word->n; i++) {
        size_t size;
        const char *gloss = wordnet_gloss(c->words, c->word->synsets[i], &size), *end = gloss + size, *open, *close;
        for (; (open = memchr(gloss, '"', (size_t)(end - gloss))) &&
               (close = memchr(open + 1, '"', (size_t)(end - open - 1))); gloss = close + 1) {
            char *text = string_format("%.*s", (int)(close - open - 1), open + 1);
            size_t blanks = 0;
            for (const char *letter = text; *letter; letter++) blanks += *letter == ' ';
            if (blanks >= 3 && text_is_utf8(text) && word_count(text, c->word->text, at) == 1) return text;
            free(text);
        }
    }
    return NULL;
}

static bool is_vowel(char letter) { return strchr("aeiou", letter); }

/* No synonym, not in the sentence already, and what "a" or "an" before it gives away is the same. */
static bool word_fits(const struct candidate *target, const struct candidate *other, const char *example) {
    const char *unused;
    return !are_synonyms(target->word, other->word) && strcmp(target->word->text, other->word->text) != 0 &&
           word_count(example, other->word->text, &unused) == 0 &&
           is_vowel(*target->word->text) == is_vowel(*other->word->text);
}

static void example_ask(struct maker *m, const struct candidates *c, size_t i, struct rng *rng) {
    const struct candidate *target = &c->list[i];
    const uint64_t key = rng_next(rng);
    size_t n = 0, first, near;
    const char *at;
    char *example = example_of(target, &at);
    if (!example) return;
    char **choices = array_alloc(m->choices, sizeof *choices);
    const char *rest = at + strlen(target->word->text);
    choices[n++] = string_format("%s", at);
    neighbours_find(c, i, &first, &near);
    for (size_t k = 0; k < near && n < m->choices; k++) {
        const struct candidate *other = &c->list[first + draw(k, near, key)];
        if (word_fits(target, other, example)) choices[n++] = string_format("%s%s", other->word->text, rest);
    }
    size_t before = (size_t)(at - example);
    if (before > 0 && example[before - 1] == ' ') before--; /* it belongs to the choices */
    char *context = string_format("%.*s", (int)before, example);
    if (n == m->choices) question_write(m, context, choices);
    for (size_t k = 0; k < n; k++) free(choices[k]);
    free(choices);
    free(context);
    free(example);
}

/* ---- The program ---- */

static bool words_make(struct maker *m, const struct options *o,
                       void (*ask)(struct maker *m, const struct candidates *c, size_t i, struct rng *rng),
                       struct error *err) {
    struct wordnet_words words[WORDNET_PARTS] = {{0}};
    struct candidates c = {0};
    bool ok = true;
    for (enum wordnet_part part = 0; part < WORDNET_PARTS && ok; part++)
        ok = wordnet_words_open(&words[part], o->wordnet, part, err);
    if (ok && o->text) ok = text_count(words, o->text, err);
    for (enum wordnet_part part = 0; part < WORDNET_PARTS && ok; part++)
        candidates_add(&c, &words[part], part, (size_t)o->least);
    if (c.n > 0) qsort(c.list, c.n, sizeof *c.list, candidate_compare);
    struct rng order = maker_rng(m, 0);
    const uint64_t key = rng_next(&order);
    for (size_t k = 0; k < c.n && ok && !maker_is_done(m); k++) {
        const size_t i = draw(k, c.n, key);
        struct rng rng = maker_rng(m, 1 + i);
        ask(m, &c, i, &rng);
    }
    if (ok && m->written == 0)
        ok = error_set(err, EXIT_INPUT, "%s: no question can be made of %zu words; lower --least or --choices, or name "
                       "another --text", o->text ? o->text : o->wordnet, c.n);
    for (size_t part = 0; part < WORDNET_PARTS; part++) wordnet_words_close(&words[part]);
    free(c.list);
    return ok;
}

/* The set by its name, with the file or directory that it is made from. */
static bool set_make(const char *name, const char *from, const struct options *o, struct error *err) {
    struct maker m = {.seed = (uint64_t)o->seed, .most = (size_t)o->count, .choices = (size_t)o->choices,
                      .words = o->words, .shots = o->shots};
    const bool gloss = strcmp(name, "gloss") == 0, example = strcmp(name, "example") == 0;
    const bool last = strcmp(name, "last-word") == 0, language = strcmp(name, "language") == 0;
    if (!gloss && !example && !last && !language)
        return error_set(err, EXIT_USAGE, "'%s' is no set of questions (want gloss, example, last-word or language)",
                         name);
    if ((last || language) != !!from)
        return error_set(err, EXIT_USAGE, "%s: %s; try --help", name, last ? "want the FILE with the text"
                         : language ? "want the DIR of the languages" : "takes no file; see --wordnet and --text");
    bool ok = last       ? last_word_make(&m, from, err)
              : language ? language_make(&m, from, err)
                         : words_make(&m, o, gloss ? gloss_ask : example_ask, err);
    ok = ok && output_check(err);
    if (ok && !maker_is_done(&m)) note_print("%zu questions, as many as there are (--count %d)", m.written, o->count);
    return ok;
}

int main(int argc, char **argv) {
    struct options options = {0};
    const struct option_group group = {question_options, &options};
    struct error err = {0};
    program_start(argv);
    options_set_defaults(&group, 1);
    const int first = options_parse(&group, 1, &program, argc, argv, NULL, &err);
    if (first < 0) error_exit(&err);
    if (argc - first < 1 || argc - first > 2)
        error_set(&err, EXIT_USAGE, "want the name of one set of questions, and what it is made from; try --help");
    else set_make(argv[first], argc - first == 2 ? argv[first + 1] : NULL, &options, &err);
    if (err.code) error_exit(&err);
    options_free(&group, 1);
    return EXIT_DONE;
}
