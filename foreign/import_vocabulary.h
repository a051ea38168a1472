/* The vocabulary that lies beside another program's weights, as the model of one of our tokenizers. */
#ifndef IMPORT_VOCABULARY_H
#define IMPORT_VOCABULARY_H

#include <jansson.h>
#include "../src/base/util.h"

/* DIR/NAME. malloc'ed. */
char *file_beside(const char *dir, const char *name);
json_t *json_file_read(const char *path, struct error *err); /* an object, or NULL and EXIT_INPUT */

struct vocabulary {
    char *name;  /* of the file or files it is from */
    char *model; /* for tokenizer_from_memory */
    size_t size;
};

/* The text of DIR/vocab.json with merges.txt, or of tokenizer.json, as byte_level.h says; or DIR/tokenizer.model as it
 * is. `end` is the id of the end of text; where there is no such id (-1 is none) it is <|endoftext|>'s. EXIT_INPUT. */
bool vocabulary_read(struct vocabulary *v, const char *dir, json_int_t end, struct error *err);
void vocabulary_free(struct vocabulary *v);

#endif
