/* What the parts of build/analyse hand to each other: analyse.c reads models and text and notes the models' picks,
 * analyse_measure.c turns these into numbers (one JSON object), analyse_report.c turns the numbers into a page, of
 * the parts in analyse_page.c. */
#ifndef ANALYSE_H
#define ANALYSE_H

#include "../../mhmoe.h"
#include "../../data/wordnet.h"
#include "../../tokenizer/tokenizer.h"

/* Held-out text, in order. Of a corpus with parts (languages, domains) it is as many windows of each part, one part
 * after another. */
struct text {
    char *name;
    int32_t *tokens, *targets; /* (n) what a model reads, and what comes next (TARGET_NONE after the end) */
    size_t n;
    char **parts;              /* (P) by name */
    size_t P, windows, length; /* P: 0 without two parts. Windows of each part, tokens of each window */
};

/* A model, and how it routed the text. */
struct subject {
    char *name, *path, *log;   /* as the report calls it; its checkpoint; its run's log.jsonl */
    char *log_note;            /* what is wrong with the log; NULL: nothing */
    char *config_text;
    struct config config;
    struct sizes sizes;
    struct model_cost cost;
    int64_t step;
    double loss;               /* nats a token on the text */
    double bits_per_byte;      /* infinite where the text has no bytes */
    int32_t *picks;            /* (LM, n, H, K) */
    json_t *samples;           /* array of strings */
};

/* The words of a text: runs of letters, in small letters. A word's first token stands for it. */
struct word {
    const char *text;
    const size_t *tokens;      /* (count) where they are in the text */
    size_t count;
    int senses;                /* 0: not a lemma of WordNet */
};
struct words {
    char *bytes;               /* the words, each with a NUL behind it */
    size_t *tokens;
    struct word *list;         /* every different word once */
    size_t n;
};
struct words words_find(const struct text *text, const tokenizer *t, const struct wordnet *w);
void words_free(struct words *w);

/* All the numbers. `wordnet_dir` is NULL where there is none. */
json_t *analysis_measure(const struct subject *subjects, size_t n, const struct text *text,
                         const struct words *words, const char *wordnet_dir);

/* Writes DIR/report.html, and the plots in it once more as files under DIR/plots, from such numbers alone. */
bool report_write(const char *dir, const json_t *analysis, struct error *err);

#endif
