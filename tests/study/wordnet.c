/* See wordnet.h. The format is wndb(5WN): a licence, whose lines begin with two blanks, then lines
 * "lemma pos synset_cnt ...", words of a lemma joined by underscores. */
#include "wordnet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int lemma_compare(const void *a, const void *b) {
    return strcmp(((const struct wordnet_lemma *)a)->text, ((const struct wordnet_lemma *)b)->text);
}

static bool index_read(struct wordnet *w, FILE *file, const char *path, struct error *err) {
    char *line = NULL;
    size_t capacity = 0, number = 1;
    bool ok = true;
    for (; ok && getline(&line, &capacity, file) > 0; number++) {
        char lemma[256];
        int senses;
        if (strncmp(line, "  ", 2) == 0) continue;
        ok = sscanf(line, "%255s %*1[nvar] %d ", lemma, &senses) == 2 && senses > 0;
        if (!ok) {
            error_set(err, EXIT_INPUT, "%s:%zu: not a line of WordNet's index (want: lemma pos synset_cnt ...)",
                      path, number);
            break;
        }
        w->lemmas = array_grow(w->lemmas, &w->capacity, w->n + 1, sizeof *w->lemmas);
        w->lemmas[w->n++] = (struct wordnet_lemma){string_format("%s", lemma), senses};
    }
    free(line);
    return ok;
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
    static const char *const parts[] = {"noun", "verb", "adj", "adv"};
    *w = (struct wordnet){0};
    bool ok = true;
    for (int i = 0; i < 4 && ok; i++) {
        char *path = string_format("%s/index.%s", dir, parts[i]);
        FILE *file = fopen(path, "r");
        ok = file ? index_read(w, file, path, err)
                  : error_set(err, EXIT_INPUT, "%s: cannot read: %s; sh data/corpus.sh wordnet fetches WordNet",
                              path, strerror(errno));
        if (file) fclose(file);
        free(path);
    }
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
