/* A model that begins with another one's weights (./train --from): what is the same is copied; experts come from the
 * dense layer that they replace (sparse upcycling: Komatsuzaki and others, arXiv 2212.05055); what the other model does
 * not have is as in any new model. */
#ifndef INHERIT_H
#define INHERIT_H

#include "parameters.h"

/* One of the two models. */
struct side {
    const struct config *config;
    const struct sizes *sizes;
    const struct parameter_info *info;
    real *memory;      /* the flat block of its tensors; NULL: only shapes are compared */
    real *router_bias; /* (LM, E) */
};

/* Fills `to`, whose memory holds a new model's initialisation, from `from`, which is in the file `path`. Both have n
 * tensors. Returns their names in arrays, those that there are of "made" (from tensors of another name), "fresh" (a
 * new model's, in one block at least) and "unused" (of the other model's, in one block at least); or NULL and
 * EXIT_MISMATCH where tensors of one name have two shapes: which, and what options the models differ in. */
json_t *parameters_inherit(const struct side *to, const struct side *from, size_t n, const char *path,
                           struct error *err);

/* Says so in a line on standard error. */
void inheritance_tell(const json_t *names, const char *path);

#endif
