/* The trained tensors of a model, in one flat block: a list of rows that say what each is called, what part of the
 * model it is and how it begins. What follows from a row is here: where it lies, whether it decays, how it is packed
 * and stored, what it costs. The list itself is mhmoe.h's. */
#ifndef PARAMETERS_H
#define PARAMETERS_H

#include "config.h"
#include "../math/gemm.h"
#include "../base/real.h"

enum part {
    PART_EMBEDDING, PART_POSITION, PART_OUTPUT,
    PART_PATCH, PART_CODES,                                      /* of a model with pictures */
    PART_NORM, PART_ATTENTION, PART_FFN,                         /* of a dense block */
    PART_HEAD, PART_ROUTER, PART_EXPERT, PART_SHARED, PART_MERGE /* of a MoE block */
};

/* XAVIER: Glorot and Bengio's uniform range; HALF: with gain 1/sqrt(2) (P1). RESIDUAL: what adds to the stream. */
enum initialisation {
    INIT_NORMAL, INIT_NORMAL_RESIDUAL, INIT_XAVIER, INIT_XAVIER_HALF, /* at random */
    INIT_ZERO, INIT_ONE, INIT_LOG_TEMPERATURE
};

struct parameter_info {
    const char *name;
    enum part part;
    enum initialisation initialisation;
    size_t dims, shape[TENSOR_DIMS];
    bool decay;                     /* AdamW's weight decay applies: it is made of matrices */
    bool multiplies;                /* and they are packed for gemm.h */
    size_t matrices, rows, columns; /* the same as a stack of matrices; rows is 1 for vectors */
    size_t offset, count;           /* within the flat block, in elements */
};

/* Fills in what follows from name, part, initialisation and shape; returns how many numbers there are in all. */
size_t parameters_layout(struct parameter_info *info, size_t n, const struct sizes *s);

/* Each tensor draws from its own sequence of random numbers, which does not depend on what others there are. */
void parameter_initialize(const struct parameter_info *p, real *w, uint64_t seed, const struct sizes *s);

/* Whether --optimizer muon is its own: it is made of matrices within the model, no embedding, head or router. */
bool parameter_by_muon(const struct parameter_info *p);

/* How a tensor is stored where matrices are stored as `most`. */
enum storage parameter_storage(const struct parameter_info *p, enum storage most);

/* Bytes of a tensor's matrices packed for gemm.h, as W^T or (transposed) as W; 0 if it does not multiply. */
size_t parameter_packed_bytes(const struct parameter_info *p, enum storage storage, bool transposed);
void parameter_pack(const struct parameter_info *p, char *packed, enum storage storage, const real *w, bool transposed);

/* Rows that a tensor's matrices multiply (all E of them together, if it is the experts') for R tokens. */
size_t parameter_rows(const struct parameter_info *p, const struct sizes *s, size_t R);

/* Of its numbers, those that one token touches at most. */
size_t parameter_active(const struct parameter_info *p, const struct sizes *s);

/* Multiply-adds a token; whole numbers, exact below 2^53. */
double parameter_multiply_adds(const struct parameter_info *p, const struct sizes *s);

/* The most work memory that its gradients ask for (with those of the other matrix of its layer, if that has a hidden
 * layer) when it multiplies so many rows at a time. */
size_t parameter_work_bytes(const struct parameter_info *p, const struct sizes *s, size_t rows, enum operands operands);

/* A block of these as named tensors, prefix + the list's name, without those of no elements (NULL: without data, too).
 * Returns how many. */
size_t parameters_named(const struct parameter_info *info, size_t n, real *block, const char *prefix,
                        struct tensor *out);

#endif
