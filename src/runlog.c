/* See runlog.h. train.c writes what is read here. */
#include "runlog.h"

#include <stdio.h>
#include <stdlib.h>
#include "util.h"

void runlog_read(const char *path, void (*visit)(void *context, const json_t *entry), void *context) {
    char *line = NULL;
    size_t capacity = 0;
    FILE *log = fopen(path, "r");
    while (log && getline(&line, &capacity, log) > 0) {
        json_t *entry = json_loads(line, 0, NULL);
        if (entry) visit(context, entry);
        json_decref(entry);
    }
    free(line);
    if (log) fclose(log);
}

void curve_add(struct curve *c, double x, double y) {
    c->x = array_grow(c->x, &c->x_capacity, c->n + 1, sizeof *c->x);
    c->y = array_grow(c->y, &c->y_capacity, c->n + 1, sizeof *c->y);
    c->x[c->n] = x;
    c->y[c->n++] = y;
}

void curve_free(struct curve *c) {
    free(c->x);
    free(c->y);
    *c = (struct curve){0};
}

struct reading {
    struct curve curve;
    const char *key;
    double x_scale;
};

static void reading_add(void *context, const json_t *entry) {
    struct reading *r = context;
    const json_t *value = json_object_get(entry, r->key);
    const double step = json_number_value(json_object_get(entry, "step"));
    if (value) curve_add(&r->curve, step * r->x_scale, json_number_value(value));
}

struct curve runlog_curve(const char *path, const char *key, double x_scale) {
    struct reading r = {.key = key, .x_scale = x_scale};
    runlog_read(path, reading_add, &r);
    return r.curve;
}
