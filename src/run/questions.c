/* See questions.h. A form is a row of a table: where its context, its choices and its answer stand. */
#include "questions.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct form {
    const char *within; /* the object that holds context and choices; NULL: the question itself */
    const char *context, *choices[2], *answer;
} forms[] = {
    {NULL, "context", {"choices", NULL}, "answer"},
    {NULL, "ctx", {"endings", NULL}, "label"},            /* HellaSwag */
    {NULL, "goal", {"sol1", "sol2"}, "label"},            /* PIQA */
    {"question", "stem", {"choices", NULL}, "answerKey"}, /* ARC as it was published */
    {NULL, "question", {"choices", NULL}, "answerKey"},   /* ARC as data set hubs have it */
};

/* Where a message is about. */
struct place {
    const char *file;
    size_t line;
    struct error *err;
};

static bool field_error(const struct place *at, const char *field, const json_t *got, const char *want) {
    char *text = got ? json_dumps(got, JSON_ENCODE_ANY) : NULL;
    if (!got) error_set(at->err, EXIT_INPUT, "%s:%zu: %s: missing (want %s)", at->file, at->line, field, want);
    else
        error_set(at->err, EXIT_INPUT, "%s:%zu: %s: bad value (got %.100s%s, want %s)", at->file, at->line, field, text,
                  strlen(text) > 100 ? "..." : "", want);
    free(text);
    return false;
}

static const struct form *form_of(const json_t *object, const json_t **within) {
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        *within = forms[i].within ? json_object_get(object, forms[i].within) : object;
        if (json_object_get(*within, forms[i].context)) return &forms[i];
    }
    return NULL;
}

/* A list's texts and labels, where it has them: of strings, of objects {"text", "label"}, or an object of two lists. */
static const json_t *text_of(const json_t *choices, size_t i) {
    const json_t *one = json_array_get(json_is_object(choices) ? json_object_get(choices, "text") : choices, i);
    return json_is_object(one) ? json_object_get(one, "text") : one;
}
static const json_t *label_of(const json_t *choices, size_t i) {
    if (json_is_object(choices)) return json_array_get(json_object_get(choices, "label"), i);
    return json_object_get(json_array_get(choices, i), "label");
}
static size_t choices_count(const json_t *choices) {
    return json_array_size(json_is_object(choices) ? json_object_get(choices, "text") : choices);
}

static bool choices_take(struct question *q, const struct form *form, const json_t *within, const struct place *at) {
    const json_t *list = json_object_get(within, form->choices[0]);
    const bool pair = form->choices[1];
    q->n = pair ? 2 : choices_count(list);
    if (q->n == 0) return field_error(at, form->choices[0], list, "a list of texts that is not empty");
    q->choices = array_alloc(q->n, sizeof *q->choices);
    for (size_t i = 0; i < q->n; i++) {
        const json_t *text = pair ? json_object_get(within, form->choices[i]) : text_of(list, i);
        const char *field = form->choices[pair ? i : 0];
        q->choices[i] = json_string_value(text);
        if (!q->choices[i]) return field_error(at, field, pair ? text : list, pair ? "a text" : "a list of texts");
        if (!*q->choices[i] && !*question_joint(q->context, ""))
            return field_error(at, field, text, "a text that is not empty");
    }
    return true;
}

/* A whole number, which HellaSwag may have as a text; -1 if it is none. */
static json_int_t index_of(const json_t *answer) {
    const char *text = json_string_value(answer);
    if (!text) return json_is_integer(answer) ? json_integer_value(answer) : -1;
    const size_t size = strlen(text);
    return size > 0 && strspn(text, "0123456789") == size ? strtoll(text, NULL, 10) : -1;
}

static bool answer_take(struct question *q, const struct form *form, const json_t *within, const struct place *at) {
    const json_t *answer = json_object_get(q->object, form->answer), *list = json_object_get(within, form->choices[0]);
    char want[100];
    if (label_of(list, 0)) {
        for (q->answer = 0; q->answer < q->n; q->answer++)
            if (json_is_string(answer) && json_equal(label_of(list, q->answer), answer)) return true;
        return field_error(at, form->answer, answer, "the label of one of the choices");
    }
    const json_int_t i = index_of(answer);
    snprintf(want, sizeof want, "the number of a choice, from 0 to %zu", q->n - 1);
    if (i < 0 || (size_t)i >= q->n) return field_error(at, form->answer, answer, want);
    q->answer = (size_t)i;
    return true;
}

static bool question_take(struct question *q, const struct place *at) {
    const json_t *within;
    if (!json_is_object(q->object)) return field_error(at, "question", q->object, "an object");
    const struct form *form = form_of(q->object, &within);
    if (!form)
        return error_set(at->err, EXIT_INPUT, "%s:%zu: context: missing (want \"context\", HellaSwag's \"ctx\", PIQA's "
                         "\"goal\" or ARC's \"question\")", at->file, at->line);
    const json_t *context = json_object_get(within, form->context);
    q->context = json_string_value(context);
    if (!q->context) return field_error(at, form->context, context, "a text");
    return choices_take(q, form, within, at) && answer_take(q, form, within, at);
}

static bool is_blank(const char *line, size_t size) { return strspn(line, " \t\r\n") == size; }

bool questions_read(struct questions *q, FILE *file, const char *name, struct error *err) {
    struct place at = {name, 1, err};
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    bool ok = true;
    *q = (struct questions){0};
    if (!file) return error_set(err, EXIT_INPUT, "%s: cannot read: %s", name, strerror(errno));
    for (; ok && (size = getline(&line, &capacity, file)) > 0; at.line++) {
        json_error_t bad;
        if (is_blank(line, (size_t)size)) continue;
        q->list = array_grow(q->list, &q->capacity, q->n + 1, sizeof *q->list);
        q->list[q->n] = (struct question){.line = at.line, .object = json_loadb(line, (size_t)size, JSON_DECODE_ANY |
                                          JSON_REJECT_DUPLICATES, &bad)};
        if (!q->list[q->n++].object)
            ok = error_set(err, EXIT_INPUT, "%s:%zu: not JSON (%s); want one object a line", name, at.line, bad.text);
        else ok = question_take(&q->list[q->n - 1], &at);
    }
    if (ok && ferror(file)) ok = error_set(err, EXIT_INPUT, "%s: cannot read: %s", name, strerror(errno));
    if (ok && q->n == 0)
        ok = error_set(err, EXIT_INPUT, "%s: no question in it; want one JSON object a line, as {\"context\": \"...\", "
                       "\"choices\": [\"...\", \"...\"], \"answer\": 0}", name);
    free(line);
    fclose(file);
    return ok;
}

void questions_free(struct questions *q) {
    for (size_t i = 0; i < q->n; i++) {
        free(q->list[i].choices);
        json_decref(q->list[i].object);
    }
    free(q->list);
    *q = (struct questions){0};
}

const char *question_joint(const char *context, const char *choice) {
    const size_t size = strlen(context);
    return size == 0 || isspace((unsigned char)context[size - 1]) || isspace((unsigned char)*choice) ? "" : " ";
}
