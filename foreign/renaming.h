/* What our tensors are called elsewhere, and how they lie there. A table is read both ways: by export.c and import.c.
 *
 * A row says which piece of one of our tensors is one of theirs, for every block or expert that has one. */
#ifndef RENAMING_H
#define RENAMING_H

#include "../src/run/config.h"

/* Of what there is a tensor each: of the model, of each block of a kind, of each expert, of each layer in a stack. */
enum each { ONCE, BLOCK, DENSE_BLOCK, MOE_BLOCK, EXPERT, HEAD_LAYER, MERGE_LAYER };

/* How the rows and columns of a matrix lie there.
 * TRANSPOSED  (inputs, outputs): GPT-2's Conv1D
 * PAIRED      heads' rows i and i + hs/2, which positions turn together, side by side: llama.cpp's */
enum lie { AS_IS, TRANSPOSED, PAIRED };

struct renaming {
    const char *ours;   /* NULL: the table ends */
    const char *theirs; /* with a %zu for the block, and one for the expert or layer */
    enum each each;
    enum lie lie;
    int part, parts;    /* which of so many equal parts of its rows (0 of 0: all) */
};

/* One of theirs among ours. */
struct place {
    const struct renaming *row;
    size_t count;       /* numbers */
    size_t offset;      /* of the slice in ours that it is in, in numbers */
    size_t rows, columns, stride; /* rows of columns of one part, of each of its matrices: `stride` rows apart */
    size_t head;        /* rows of an attention head */
    int dims;
    size_t shape[TENSOR_DIMS];
    char name[sizeof((struct tensor *)0)->name];
};

/* How many of theirs a row stands for, and the i-th of them in a model whose tensor `ours` it is. */
size_t renaming_count(const struct renaming *row, const struct sizes *s);
struct place renaming_place(const struct renaming *row, const struct config *c, const struct sizes *s,
                            const struct tensor *ours, size_t i);

/* Where number i of theirs is among ours, counted from the beginning of the tensor. */
size_t place_at(const struct place *p, size_t i);

/* A model that others know by a name. */
struct foreign {
    const char *name;         /* "GPT-2" */
    const char *architecture; /* transformers': "GPT2LMHeadModel" */
    const char *gguf;         /* llama.cpp's: "gpt2" */
    const struct renaming *hf, *ggml;
};
enum { FOREIGN_GPT2, FOREIGN_LLAMA, FOREIGN_MIXTRAL, FOREIGNS };
extern const struct foreign foreigns[FOREIGNS];
extern const struct renaming own_renaming[]; /* of modeling_mhmoe.py */

/* The one that a model is, or most likely was meant to be; *differs receives NULL, or why it is not, malloc'ed: the
 * options that would have to be others. */
const struct foreign *foreign_of(const struct config *c, char **differs);

#endif
