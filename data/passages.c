/* Questions made from text: the last word of a sentence, which occurred before, and in which language a line is. See
 * questions.c.
 *
 * The first is in the manner of LAMBADA (Paperno et al., 2016), with choices: the wrong ones are words of the same
 * passage that end sentences elsewhere, so that neither the passage's topic nor the place in the sentence gives the
 * right one away. In the second the languages are the sub-directories of one directory; lines of each of them, with its
 * name behind them, come first, since a name says nothing to a model that never saw one behind a line. */
#include <ctype.h>
#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../src/base/text.h"
#include "maker.h"

/* ---- The last word ---- */

struct word {
    const char *text; /* no NUL behind it */
    size_t size;
    bool ends, plain; /* a sentence; long enough, in small letters, behind a blank or a newline */
};
struct passages {
    struct word *words, *last; /* all in order; those that are plain and end sentences, sorted */
    size_t n, n_last;
    char *text;
};

/* Letters, ASCII or not; U+2000 to U+203F are dashes and quotes. */
static size_t word_size(const char *text) {
    size_t size = 0;
    while (isalpha((unsigned char)text[size]) || ((unsigned char)text[size] >= 0x80 &&
                                                  strncmp(text + size, "\xe2\x80", 2) != 0))
        size++;
    return size;
}

static int word_compare(const void *a, const void *b) {
    const struct word *x = a, *y = b;
    const int order = memcmp(x->text, y->text, x->size < y->size ? x->size : y->size);
    return order ? order : (x->size > y->size) - (x->size < y->size);
}

static bool is_plain(const char *text, const char *word, size_t size) {
    if (size < 4 || word == text || (word[-1] != ' ' && word[-1] != '\n')) return false;
    for (size_t i = 0; i < size; i++)
        if (isupper((unsigned char)word[i])) return false;
    return true;
}

static void passages_read(struct passages *p) {
    size_t capacity = 0;
    for (const char *at = p->text; *at; at++) {
        const size_t size = word_size(at);
        if (size == 0) continue;
        p->words = array_grow(p->words, &capacity, p->n + 1, sizeof *p->words);
        p->words[p->n++] =
            (struct word){at, size, at[size] && strchr(".!?", at[size]), is_plain(p->text, at, size)};
        if (!at[size]) break;
        at += size;
    }
    p->last = array_alloc(p->n, sizeof *p->last);
    for (size_t i = 0; i < p->n; i++)
        if (p->words[i].ends && p->words[i].plain) p->last[p->n_last++] = p->words[i];
    if (p->n_last > 0) qsort(p->last, p->n_last, sizeof *p->last, word_compare);
}

/* Where the passage begins that word i ends: m->words before it, or less, with a sentence. */
static size_t passage_start(const struct passages *p, size_t i, size_t words) {
    for (size_t start = i - words; start < i - words / 2; start++)
        if (start == 0 || p->words[start - 1].ends) return start;
    return i - words;
}

static bool is_among(const struct word *word, const struct word *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (word_compare(word, &list[i]) == 0) return true;
    return false;
}

/* Whether word i ends a sentence and occurs in the passage before, but not right before. */
static bool can_be_asked(const struct passages *p, size_t start, size_t i) {
    const struct word *word = &p->words[i];
    if (!word->ends || !word->plain || word_compare(word, word - 1) == 0) return false;
    return is_among(word, p->words + start, i - start);
}

static char *word_copy(const struct word *w) { return string_format("%.*s", (int)w->size, w->text); }

/* Whether it was asked: there must be enough other words. */
static bool last_word_ask(struct maker *m, const struct passages *p, size_t start, size_t i) {
    struct rng rng = maker_rng(m, 1 + i);
    const uint64_t key = rng_next(&rng);
    struct word *picked = array_alloc(m->choices, sizeof *picked);
    size_t n = 0;
    picked[n++] = p->words[i];
    for (size_t k = 0; k < i - start && n < m->choices; k++) {
        const struct word *other = &p->words[start + draw(k, i - start, key)];
        if (!is_among(other, picked, n) && bsearch(other, p->last, p->n_last, sizeof *other, word_compare))
            picked[n++] = *other;
    }
    const char *from = p->words[start].text;
    const char *last = p->words[i].text;
    const size_t size = (size_t)(last - from) - (last[-1] == ' '); /* which belongs to the choice */
    char *context = string_format("%.*s", (int)size, from), **choices = array_alloc(n, sizeof *choices);
    const bool asked = n == m->choices && text_is_utf8(context);
    for (size_t k = 0; k < n; k++) choices[k] = word_copy(&picked[k]);
    if (asked) question_write(m, context, choices);
    for (size_t k = 0; k < n; k++) free(choices[k]);
    free(choices);
    free(context);
    free(picked);
    return asked;
}

bool last_word_make(struct maker *m, const char *file, struct error *err) {
    struct passages p = {0};
    const size_t words = (size_t)m->words;
    size_t size;
    p.text = file_contents(fopen(file, "rb"), file, &size, err);
    if (!p.text) return false;
    if (strlen(p.text) < size) {
        free(p.text);
        return error_set(err, EXIT_INPUT, "%s: holds a NUL byte; want text in UTF-8", file);
    }
    passages_read(&p);
    bool *used = array_alloc(p.n, sizeof *used); /* passages do not overlap */
    struct rng order = maker_rng(m, 0);
    const uint64_t key = rng_next(&order);
    for (size_t k = 0; k < p.n && !maker_is_done(m); k++) {
        const size_t i = draw(k, p.n, key);
        if (i < words) continue;
        const size_t start = passage_start(&p, i, words);
        if (memchr(used + start, true, i + 1 - start) || !can_be_asked(&p, start, i)) continue;
        if (last_word_ask(m, &p, start, i)) memset(used + start, true, i + 1 - start);
    }
    free(used);
    free(p.words);
    free(p.last);
    free(p.text);
    return m->written > 0 || error_set(err, EXIT_INPUT, "%s: no sentence ends with a word that occurs in the %d before "
                                       "it, beside %zu others that end sentences; want a longer text", file, m->words,
                                       m->choices - 1);
}

/* ---- The language of a line ---- */

enum { LINE_LEAST = 20, LINE_MOST = 120 }; /* bytes: enough to tell, and so few that some of them fit into a window */

/* How much of a line that may be too long is shown: whole words, or where there are none whole characters. */
static size_t line_cut(const char *line, size_t size) {
    if (size <= LINE_MOST) return size;
    for (size_t n = LINE_MOST; n >= LINE_LEAST; n--)
        if (line[n] == ' ') return n;
    for (size = LINE_MOST; (line[size] & 0xc0) == 0x80;) size--;
    return size;
}

struct line {
    char *text;
    size_t part;
};
struct part {
    char *name;
    size_t first, n; /* of lines, once they are sorted */
};
struct parts {
    struct part *list;
    struct line *lines;
    size_t n, capacity, n_lines, lines_capacity;
};

static int text_compare(const void *a, const void *b) {
    const struct line *x = a, *y = b;
    const int order = strcmp(x->text, y->text);
    return order ? order : (x->part > y->part) - (x->part < y->part);
}
static int line_compare(const void *a, const void *b) {
    const struct line *x = a, *y = b;
    return x->part != y->part ? (x->part > y->part ? 1 : -1) : strcmp(x->text, y->text);
}

/* Takes the lines that can be asked for out of a file, which it closes. */
static bool lines_read(struct parts *p, size_t part, const char *path, struct error *err) {
    size_t size;
    char *text = file_contents(fopen(path, "rb"), path, &size, err);
    if (!text) return false;
    for (char *line = text, *end; line < text + size; line = end + 1) {
        end = memchr(line, '\n', (size_t)(text + size - line));
        if (!end) end = text + size;
        *end = 0;
        char *last = end;
        while (line < last && isspace((unsigned char)*line)) line++;
        while (last > line && isspace((unsigned char)last[-1])) *--last = 0;
        line[line_cut(line, strlen(line))] = 0;
        if (strlen(line) < LINE_LEAST || !text_is_utf8(line)) continue;
        p->lines = array_grow(p->lines, &p->lines_capacity, p->n_lines + 1, sizeof *p->lines);
        p->lines[p->n_lines++] = (struct line){string_format("%s", line), part};
    }
    free(text);
    return true;
}

/* All its *.txt, in directories below, too. */
static bool part_read(struct parts *p, size_t part, char *dir, struct error *err) {
    FTS *walk = fts_open((char *[]){dir, NULL}, FTS_LOGICAL | FTS_NOCHDIR, NULL);
    bool ok = walk || error_set(err, EXIT_INPUT, "%s: cannot read: %s", dir, strerror(errno));
    for (FTSENT *entry; ok && (entry = fts_read(walk));) {
        const char *suffix = entry->fts_namelen > 4 ? entry->fts_name + entry->fts_namelen - 4 : "";
        if (entry->fts_name[0] == '.' && entry->fts_level > 0) fts_set(walk, entry, FTS_SKIP);
        else if (entry->fts_info == FTS_F && strcmp(suffix, ".txt") == 0)
            ok = lines_read(p, part, entry->fts_path, err);
        else if (entry->fts_info == FTS_DNR)
            ok = error_set(err, EXIT_INPUT, "%s: cannot read: %s", entry->fts_path, strerror(entry->fts_errno));
    }
    if (walk) fts_close(walk);
    return ok;
}

/* Leaves each line once, and none that occurs in two languages. */
static void lines_sift(struct parts *p) {
    size_t n = 0;
    if (p->n_lines > 0) qsort(p->lines, p->n_lines, sizeof *p->lines, text_compare);
    for (size_t i = 0, end; i < p->n_lines; i = end) {
        bool shared = false;
        for (end = i + 1; end < p->n_lines && strcmp(p->lines[end].text, p->lines[i].text) == 0; end++)
            shared |= p->lines[end].part != p->lines[i].part;
        const struct line line = p->lines[i];
        for (size_t k = i + !shared; k < end; k++) free(p->lines[k].text);
        if (!shared) p->lines[n++] = line;
    }
    p->n_lines = n;
    if (n > 0) qsort(p->lines, n, sizeof *p->lines, line_compare);
    for (size_t i = 0; i < n; i++) {
        struct part *part = &p->list[p->lines[i].part];
        if (part->n++ == 0) part->first = i;
    }
}

static bool parts_read(struct parts *p, const char *dir, struct error *err) {
    struct dirent **names;
    const int n = names_list(dir, &names);
    if (n < 0) return error_set(err, EXIT_INPUT, "%s: cannot read: %s", dir, strerror(errno));
    for (int i = 0; i < n; i++) {
        const char *name = names[i]->d_name;
        char *path = string_format("%s/%s", dir, name);
        const bool is_part = *name != '.' && text_is_utf8(name) && directory_exists(path) && access(path, R_OK) == 0;
        free(path);
        if (!is_part) continue;
        p->list = array_grow(p->list, &p->capacity, p->n + 1, sizeof *p->list);
        p->list[p->n++] = (struct part){string_format("%s", name), 0, 0};
    }
    names_free(names, n);
    bool ok = true;
    for (size_t i = 0; i < p->n && ok; i++) {
        char *path = string_format("%s/%s", dir, p->list[i].name);
        ok = part_read(p, i, path, err);
        free(path);
    }
    return ok;
}

static void parts_free(struct parts *p) {
    for (size_t i = 0; i < p->n_lines; i++) free(p->lines[i].text);
    for (size_t i = 0; i < p->n; i++) free(p->list[i].name);
    free(p->lines);
    free(p->list);
}

/* Line number k of a part, in the seed's order. */
static const char *line_of(const struct maker *m, const struct parts *p, size_t part, size_t k) {
    struct rng rng = maker_rng(m, part);
    return p->lines[p->list[part].first + draw(k, p->list[part].n, rng_next(&rng))].text;
}

/* Asks for the language of a part's line `k`; the shots are other lines of it. */
static void language_ask(struct maker *m, const struct parts *p, size_t part, size_t k) {
    struct rng rng = maker_rng(m, p->n + m->written);
    const size_t shots = (size_t)m->shots * m->choices;
    const uint64_t key = rng_next(&rng), order = rng_next(&rng), far = rng_next(&rng);
    size_t *picked = array_alloc(m->choices, sizeof *picked), n = 0;
    char **names = array_alloc(m->choices, sizeof *names), *context = string_format("%s", "");
    picked[n++] = part;
    for (size_t i = 0; n < m->choices; i++)
        if (draw(i, p->n, key) != part) picked[n++] = draw(i, p->n, key);
    for (size_t i = 0; i < m->choices; i++) names[i] = p->list[picked[i]].name;
    for (size_t i = 0; i < shots; i++) {
        const size_t shot = draw(i, shots, order), of = picked[shot % m->choices], lines = p->list[of].n;
        const size_t line = k + 1 + far % (lines - (size_t)m->shots) + shot / m->choices; /* once round: never k */
        string_append(&context, "%s\n%s\n\n", line_of(m, p, of, line % lines), p->list[of].name);
    }
    string_append(&context, "%s\n", line_of(m, p, part, k));
    question_write(m, context, names);
    free(picked);
    free(names);
    free(context);
}

bool language_make(struct maker *m, const char *dir, struct error *err) {
    struct parts p = {0};
    bool ok = parts_read(&p, dir, err);
    lines_sift(&p);
    if (ok && p.n < m->choices)
        ok = error_set(err, EXIT_INPUT, "%s: too few languages (got %zu sub-directories, want %zu, one a choice); "
                       "lower --choices", dir, p.n, m->choices);
    size_t fewest = (size_t)-1;
    const size_t want = (size_t)m->shots + 1;
    for (size_t i = 0; i < p.n && ok; i++) {
        if (p.list[i].n < fewest) fewest = p.list[i].n;
        if (p.list[i].n < want)
            ok = error_set(err, EXIT_INPUT, "%s/%s: too few lines that no other language has (got %zu of %d bytes "
                           "or more in *.txt, want %zu)", dir, p.list[i].name, p.list[i].n, LINE_LEAST, want);
    }
    for (size_t k = 0; ok && k < fewest; k++) { /* every language as often as any other, but for the last round */
        struct rng rng = maker_rng(m, (uint64_t)1 << 32 | k);
        const uint64_t order = rng_next(&rng);
        for (size_t i = 0; i < p.n && !maker_is_done(m); i++) language_ask(m, &p, draw(i, p.n, order), k);
    }
    parts_free(&p);
    return ok;
}
