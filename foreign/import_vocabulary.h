/* The vocabulary that lies beside another program's weights, as the model of one of our tokenizers. */
#ifndef IMPORT_VOCABULARY_H
#define IMPORT_VOCABULARY_H

#include <jansson.h>
#include "../src/base/util.h"

/* DIR/NAME. malloc'ed. */
char *file_beside(const char *dir, const char *name);
bool file_is_there(const char *path);
json_t *json_file_read(const char *path, struct error *err); /* an object, or NULL and EXIT_INPUT */

/* The text of DIR/vocab.json with merges.txt, or of tokenizer.json, as byte_level.h says; or DIR/tokenizer.model as it
 * is. `end` is the id of the end of text, -1: that of <|endoftext|>. malloc'ed; NULL and EXIT_INPUT on failure. */
char *vocabulary_read(const char *dir, json_int_t end, size_t *size, struct error *err);

#endif
