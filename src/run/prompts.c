/* See prompts.h. */
#include "prompts.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "../base/text.h"

void prompts_add(struct prompts *p, const char *text, size_t size) {
    char *copy = array_alloc(size + 1, 1);
    memcpy(copy, text, size);
    p->list = array_grow(p->list, &p->capacity, p->n + 1, sizeof *p->list);
    p->list[p->n++] = (struct prompt){copy, size};
}

static bool object_take(struct prompts *p, const char *line, size_t size, const char *place, struct error *err) {
    json_error_t bad;
    json_t *object = json_loadb(line, size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &bad);
    const json_t *prompt = json_object_get(object, "prompt");
    const bool ok = json_is_string(prompt);
    if (ok) prompts_add(p, json_string_value(prompt), json_string_length(prompt));
    else if (!object) error_set(err, EXIT_INPUT, "%s: not JSON (%s); want one object a line", place, bad.text);
    else error_set(err, EXIT_INPUT, "%s: prompt: %s; want {\"prompt\": TEXT}", place,
                   prompt ? "not a text" : "missing");
    json_decref(object);
    return ok;
}

static bool line_take(struct prompts *p, const char *line, size_t size, const char *place, struct error *err) {
    if (size > 0 && line[size - 1] == '\n') size--;
    if (size > 0 && line[size - 1] == '\r') size--;
    size_t blanks = 0;
    while (blanks < size && (line[blanks] == ' ' || line[blanks] == '\t')) blanks++;
    if (blanks == size) return true;
    if (place) return object_take(p, line, size, place, err);
    prompts_add(p, line, size);
    return true;
}

bool prompts_read(struct prompts *p, FILE *file, const char *name, struct error *err) {
    const bool json = text_ends(name, ".jsonl");
    char *line = NULL;
    size_t capacity = 0, number = 1;
    ssize_t size;
    bool ok = true;
    *p = (struct prompts){0};
    if (!file) return error_set(err, EXIT_INPUT, "%s: cannot read: %s", name, strerror(errno));
    for (; ok && (size = getline(&line, &capacity, file)) > 0; number++) {
        char *place = json ? string_format("%s:%zu", name, number) : NULL;
        ok = line_take(p, line, (size_t)size, place, err);
        free(place);
    }
    if (ok && ferror(file)) ok = error_set(err, EXIT_INPUT, "%s: cannot read: %s", name, strerror(errno));
    if (ok && p->n == 0)
        ok = error_set(err, EXIT_INPUT, "%s: no prompt in it; want %s a line", name,
                       json ? "{\"prompt\": TEXT}" : "one");
    free(line);
    fclose(file);
    return ok;
}

void prompts_free(struct prompts *p) {
    for (size_t i = 0; i < p->n; i++) free(p->list[i].text);
    free(p->list);
    *p = (struct prompts){0};
}
