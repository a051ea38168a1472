/* Models for other programs: as transformers (Hugging Face) and llama.cpp (GGUF) want them.
 *
 * A model is exported under the name of a foreign one where it computes the same function, to rounding: GPT-2, Llama
 * and Mixtral. hf.c does what is left with a modelling file of its own, modeling_mhmoe.py; gguf.c refuses it, since
 * llama.cpp has no such thing. Which tensor is called what, and how it is turned, are tables: renaming.h. import.c is
 * the way back. Of --documents nothing is left: what other programs are given is one document. */
#ifndef EXPORT_H
#define EXPORT_H

#include "../mhmoe.h"
#include "../tokenizer/tokenizer.h"
#include "renaming.h"

enum export_format { EXPORT_NONE, EXPORT_HF, EXPORT_GGUF };
extern const char *const export_words[];

/* Writes the model into a directory (hf), which is made, or a file (gguf), with matrices in setup.storage. EXIT_USAGE,
 * EXIT_MISMATCH where there is no way to say there what the model is, or EXIT_OUTPUT. */
bool model_export(const struct model *m, const tokenizer *t, enum export_format format, const char *out,
                  struct error *err);

/* ---- Between export.c and those who write a format ---- */

struct export {
    const struct config *config;
    const struct sizes *sizes;
    struct tensor tensors[MODEL_TENSORS]; /* as model_state names them */
    size_t n;
    const tokenizer *tokenizer;
    enum dtype dtype; /* of matrices: F32 or BF16 */
    const struct foreign *foreign; /* what it is called elsewhere; NULL: only here is there such a model */
};

/* The piece for text that is of no other pieces; -1: there is none, as in GPT-2's vocabulary. */
int32_t piece_unknown(const tokenizer *t);

bool hf_write(const struct export *e, const char *dir, struct error *err);
bool gguf_write(const struct export *e, const char *path, struct error *err);

/* The tensors of a renaming, in its order, with memory of their own (of vectors too, if `all_in_dtype`, in e->dtype,
 * else in F32). Release with tensors_free. */
struct tensor_list {
    struct tensor *tensors;
    size_t n, capacity;
};
struct tensor_list tensors_rename(const struct export *e, const struct renaming *rows, bool all_in_dtype);
void tensors_free(struct tensor_list *list);

#endif
