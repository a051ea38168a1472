/* Questions with choices, one JSON object a line, in the forms that people have them in: ours ("context", "choices",
 * "answer"), HellaSwag's ("ctx", "endings", "label"), PIQA's ("goal", "sol1", "sol2", "label") and ARC's ("question",
 * "answerKey"), which puts its choices, each with a label, in either of two ways.
 *
 * A file is read and checked whole before the first of them is asked. How they are asked: sample.c. */
#ifndef QUESTIONS_H
#define QUESTIONS_H

#include <jansson.h>
#include "../base/util.h"

struct question {
    const char *context;    /* may be empty */
    const char **choices;   /* (n), n > 0 */
    size_t n, answer, line; /* answer < n; lines are counted from 1 */
    json_t *object;         /* whose strings these are */
};

struct questions {
    struct question *list;
    size_t n, capacity;
};

/* Reads and closes `file`; a `file` of NULL is an fopen that failed. `name` is for messages. EXIT_INPUT with file and
 * line: no JSON, a field that is missing or is not what it should be, an answer that is none of the choices; or no
 * question at all. Blank lines are passed over. Release with questions_free in either case. */
bool questions_read(struct questions *q, FILE *file, const char *name, struct error *err);
void questions_free(struct questions *q);

/* What stands between a context and a choice: a space, as in llm.c's HellaSwag, but nothing where there is white space
 * at that place already, or no context. */
const char *question_joint(const char *context, const char *choice);

#endif
