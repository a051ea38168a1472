/* The tokenizer's files in a directory of transformers', and how any file there is written. */
#ifndef HF_TOKENIZER_H
#define HF_TOKENIZER_H

#include "export.h"

/* tokenizer.json and tokenizer_config.json, which make AutoTokenizer encode as we do, but for what transformers takes
 * for a special token ("</s>") or a space (U+2581) in a text; beside them what others read: SentencePiece's
 * tokenizer.model, or vocab.json and merges.txt. */
bool hf_tokenizer_write(const struct export *e, const char *dir, struct error *err);

bool hf_file_write(const char *dir, const char *name, const char *text, size_t size, struct error *err);
bool hf_json_write(const char *dir, const char *name, json_t *object, struct error *err); /* steals the object */

#endif
