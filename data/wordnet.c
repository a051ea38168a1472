/* See wordnet.h. The formats are wndb(5WN) and cntlist(5WN). An index is a licence, whose lines begin with two blanks,
 * then lines "lemma pos synset_cnt p_cnt [symbol...] sense_cnt tagsense_cnt offset...", words of a lemma joined by
 * underscores. At that offset of the data file is the synset: "offset ... | gloss". */
#include "wordnet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const parts[WORDNET_PARTS] = {"noun", "verb", "adj", "adv"};
#define FETCH "sh data/corpus.sh wordnet fetches WordNet"
#define AGAIN "remove %s, and " FETCH /* earlier versions fetched less of it */

/* Calls `take` for each lemma of an index, with the rest of its line; false from it is a line that is none. */
static bool index_read(const char *dir, enum wordnet_part part,
                       bool (*take)(void *context, const char *lemma, int senses, const char *rest), void *context,
                       struct error *err) {
    char *path = string_format("%s/index.%s", dir, parts[part]), *line = NULL;
    FILE *file = fopen(path, "r");
    size_t capacity = 0, number = 1;
    bool ok = file || error_set(err, EXIT_INPUT, "%s: cannot read: %s; " FETCH, path, strerror(errno));
    for (; ok && getline(&line, &capacity, file) > 0; number++) {
        char lemma[256];
        int senses, used = 0;
        if (strncmp(line, "  ", 2) == 0) continue;
        ok = sscanf(line, "%255s %*1[nvar] %d %n", lemma, &senses, &used) == 2 && senses > 0 &&
             take(context, lemma, senses, line + used);
        if (!ok)
            error_set(err, EXIT_INPUT, "%s:%zu: not a line of WordNet's index (want: lemma pos synset_cnt ...)", path,
                      number);
    }
    if (file) fclose(file);
    free(line);
    free(path);
    return ok;
}

/* ---- Numbers of senses ---- */

static int lemma_compare(const void *a, const void *b) {
    return strcmp(((const struct wordnet_lemma *)a)->text, ((const struct wordnet_lemma *)b)->text);
}

static bool lemma_take(void *context, const char *lemma, int senses, const char *rest) {
    struct wordnet *w = context;
    (void)rest;
    w->lemmas = array_grow(w->lemmas, &w->capacity, w->n + 1, sizeof *w->lemmas);
    w->lemmas[w->n++] = (struct wordnet_lemma){string_format("%s", lemma), senses};
    return true;
}

/* Sorts, and adds up what a lemma has as a noun, a verb, ... */
static void lemmas_merge(struct wordnet *w) {
    size_t n = 0;
    if (w->n > 0) qsort(w->lemmas, w->n, sizeof *w->lemmas, lemma_compare);
    for (size_t i = 0; i < w->n; i++) {
        if (n > 0 && strcmp(w->lemmas[n - 1].text, w->lemmas[i].text) == 0) {
            w->lemmas[n - 1].senses += w->lemmas[i].senses;
            free(w->lemmas[i].text);
        } else
            w->lemmas[n++] = w->lemmas[i];
    }
    w->n = n;
}

bool wordnet_open(struct wordnet *w, const char *dir, struct error *err) {
    *w = (struct wordnet){0};
    bool ok = true;
    for (enum wordnet_part part = 0; part < WORDNET_PARTS && ok; part++) ok = index_read(dir, part, lemma_take, w, err);
    lemmas_merge(w);
    return ok;
}

void wordnet_close(struct wordnet *w) {
    for (size_t i = 0; i < w->n; i++) free(w->lemmas[i].text);
    free(w->lemmas);
    *w = (struct wordnet){0};
}

int wordnet_senses(const struct wordnet *w, const char *word) {
    const struct wordnet_lemma key = {(char *)word, 0};
    if (w->n == 0) return 0;
    const struct wordnet_lemma *found = bsearch(&key, w->lemmas, w->n, sizeof key, lemma_compare);
    return found ? found->senses : 0;
}

/* ---- Words of one part, and what they mean ---- */

static int word_compare(const void *a, const void *b) {
    return strcmp(((const struct wordnet_word *)a)->text, ((const struct wordnet_word *)b)->text);
}

/* The next blank-separated number; false if there is none. */
static bool number_take(const char **text, size_t *value) {
    char *end;
    *value = strtoul(*text, &end, 10);
    const bool ok = end != *text;
    *text = end;
    return ok;
}

/* Pointers' symbols are single words, and only their number tells where they end. */
static bool word_take(void *context, const char *lemma, int senses, const char *rest) {
    struct wordnet_words *w = context;
    size_t pointers, unused;
    if (!number_take(&rest, &pointers)) return false;
    for (size_t i = 0; i < pointers; i++) {
        rest += strspn(rest, " ");
        rest += strcspn(rest, " \n");
    }
    if (!number_take(&rest, &unused) || !number_take(&rest, &unused)) return false;
    size_t *synsets = array_alloc((size_t)senses, sizeof *synsets), n = 0;
    while (n < (size_t)senses && number_take(&rest, &synsets[n])) n++;
    w->list = array_grow(w->list, &w->capacity, w->n + 1, sizeof *w->list);
    w->list[w->n++] = (struct wordnet_word){string_format("%s", lemma), synsets, n, 0};
    return n == (size_t)senses;
}

const char *wordnet_gloss(const struct wordnet_words *w, size_t synset, size_t *size) {
    char want[24];
    const size_t digits = (size_t)snprintf(want, sizeof want, "%08zu ", synset);
    if (synset > w->size || w->size - synset < digits || memcmp(w->data + synset, want, digits) != 0) return NULL;
    const char *line = w->data + synset, *end = strchrnul(line, '\n');
    const char *bar = memmem(line, (size_t)(end - line), " | ", 3);
    if (!bar) return NULL;
    *size = (size_t)(end - bar) - 3;
    return bar + 3;
}

static bool data_read(struct wordnet_words *w, const char *dir, enum wordnet_part part, struct error *err) {
    char *path = string_format("%s/data.%s", dir, parts[part]);
    FILE *file = fopen(path, "rb");
    size_t size;
    bool ok = true;
    if (file) w->data = file_contents(file, path, &w->size, err);
    else error_set(err, EXIT_INPUT, "%s: cannot read: %s; " AGAIN, path, strerror(errno), dir);
    for (size_t i = 0; w->data && ok && i < w->n; i++)
        for (size_t k = 0; ok && k < w->list[i].n; k++)
            if (!wordnet_gloss(w, w->list[i].synsets[k], &size))
                ok = error_set(err, EXIT_INPUT, "%s: byte %zu: no synset, though the index has one there for "
                               "'%s'; " AGAIN, path, w->list[i].synsets[k], w->list[i].text, dir);
    free(path);
    return w->data && ok;
}

struct wordnet_word *wordnet_word_find(const struct wordnet_words *w, const char *text) {
    const struct wordnet_word key = {.text = (char *)text};
    return w->n ? bsearch(&key, w->list, w->n, sizeof key, word_compare) : NULL;
}

/* Lines "lemma%type:...: number count"; type 5 are adjectives, too. */
static bool counts_read(struct wordnet_words *w, const char *dir, enum wordnet_part part, struct error *err) {
    char *path = string_format("%s/cntlist.rev", dir), *line = NULL;
    FILE *file = fopen(path, "r");
    size_t capacity = 0, number = 1;
    bool ok = file || error_set(err, EXIT_INPUT, "%s: cannot read: %s; " AGAIN, path, strerror(errno), dir);
    for (; ok && getline(&line, &capacity, file) > 0; number++) {
        char lemma[256];
        int type;
        size_t count;
        ok = sscanf(line, "%255[^%]%%%1d:%*s %*u %zu", lemma, &type, &count) == 3;
        if (!ok) error_set(err, EXIT_INPUT, "%s:%zu: not a line of WordNet's counts", path, number);
        struct wordnet_word *word = ok ? wordnet_word_find(w, lemma) : NULL;
        if (word && (type == 5 ? WORDNET_ADJECTIVE : type - 1) == (int)part) word->count += count;
    }
    if (file) fclose(file);
    free(line);
    free(path);
    return ok;
}

bool wordnet_words_open(struct wordnet_words *w, const char *dir, enum wordnet_part part, struct error *err) {
    *w = (struct wordnet_words){0};
    if (!index_read(dir, part, word_take, w, err)) return false;
    if (w->n > 0) qsort(w->list, w->n, sizeof *w->list, word_compare);
    return data_read(w, dir, part, err) && counts_read(w, dir, part, err);
}

void wordnet_words_close(struct wordnet_words *w) {
    for (size_t i = 0; i < w->n; i++) {
        free(w->list[i].text);
        free(w->list[i].synsets);
    }
    free(w->list);
    free(w->data);
    *w = (struct wordnet_words){0};
}
