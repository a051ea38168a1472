/* What the parts of build/gallery hand to each other: gallery.c reads options and models, gallery_look.c has the models
 * say what they say of held-out pictures, gallery_measure.c turns that into numbers (one JSON object), gallery_page.c
 * turns numbers and pictures into a page. */
#ifndef GALLERY_H
#define GALLERY_H

#include <jansson.h>
#include "../../data/feed.h"
#include "../../masked.h"

/* A held-out picture and its caption. */
struct item {
    char *name, *caption;
    unsigned char *pixels; /* (size, size, 3) */
    int32_t *tokens;       /* (n) */
    size_t n, prefix;
};

/* What is looked at. */
struct gallery {
    char *name, *language; /* of the prepared data; of the captions ("": they have none) */
    size_t size, patch, P; /* of pictures, in pixels; patches of one */
    struct item *items;
    size_t n, held_out;    /* items; pictures held out that have such a caption */
    size_t shown;          /* so many of them, spread evenly, the page shows */
    bool progress;         /* a line on standard error tells how far a model is, if that is a terminal */
};

/* Reads at most `most` of the pictures held out that have a caption in the language, spread evenly over all, each with
 * its first one, cut to `room` tokens. EXIT_INPUT: fewer than LEAST of different captions. */
enum { LEAST = 5 };
struct gallery_options {
    const char *dir, *language;
    size_t most, room, shown;
};
bool gallery_read(struct gallery *g, const struct gallery_options *o, const tokenizer *t, struct error *err);
void gallery_free(struct gallery *g);

/* The i-th that the page shows. */
size_t gallery_shown(const struct gallery *g, size_t i);

/* Whether two items' captions are the same: then either picture goes with either. */
bool captions_equal(const struct gallery *g, size_t i, size_t j);

/* How well what was hidden of one kind was filled in. */
struct filled {
    const char *kind;
    size_t n, right; /* right: it was the likeliest */
    double loss;     /* summed, nats */
};

/* What a model makes of a picture that the page shows. */
struct showing {
    char *caption;
    unsigned char *painted; /* (size, size, 3) with the patches of hole_make painted */
    double *reach;          /* (P) experts that a patch's sub-tokens reach, mean over MoE layers; NULL: it has none */
};

/* A model, and what it said. */
struct subject {
    char *name, *path; /* as the report calls it; its checkpoint */
    struct config config;
    struct sizes sizes;
    struct model_cost cost;
    int64_t step;
    struct filled *filled; /* (kinds) */
    size_t kinds;
    double *scores;        /* (n, n) pseudo-log-likelihood of caption i beside picture j, at i * n + j */
    double *alone;         /* (n) of caption i without a picture */
    double *counts;        /* (LM, 2n, E) picks of item i's patches at 2i, of its words at 2i + 1 */
    double *reach;         /* (LM, n, P) different experts that the sub-tokens of a patch reach, with all picks */
    struct showing *showings; /* (shown) */
};

/* Each of them runs the model. What feed_look refuses. */
bool fills_look(struct subject *s, struct masked *k, struct feed *f, struct error *err);
void scores_look(struct subject *s, struct masked *k, const struct gallery *g);
void picks_look(struct subject *s, struct masked *k, const struct gallery *g); /* nothing is hidden */
void showings_look(struct subject *s, struct masked *k, const struct gallery *g); /* after picks_look */
void subject_free(struct subject *s, const struct gallery *g);

/* What is painted: the patches (P) of the middle half of either side. */
void hole_make(bool *hidden, const struct gallery *g);

/* How much there is to see in each patch: the mean square of the differences between neighbouring pixels of it, over
 * three colours, beside and below each other (the energy of its gradient) -> detail (P). */
void patches_detail(const unsigned char *pixels, size_t size, size_t patch, double *detail);

/* All the numbers. */
json_t *gallery_measure(const struct gallery *g, const struct subject *subjects, size_t n);

/* Writes DIR/report.html. */
bool gallery_report(const char *dir, const struct gallery *g, const struct subject *subjects, const json_t *numbers,
                    struct error *err);

#endif
