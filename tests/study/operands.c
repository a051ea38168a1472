/* See operands.h. */
#include "operands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../src/base/text.h"
#include "../../src/run/checkpoint.h"

/* A name that is not UTF-8, as a terminal can show it: \xNN for its bytes beyond ASCII. malloc'ed. */
static char *name_escaped(const char *name) {
    char *text = array_alloc(4 * strlen(name) + 1, 1), *at = text;
    for (const char *c = name; *c; c++) at += sprintf(at, *c & 0x80 ? "\\x%02x" : "%c", (unsigned char)*c);
    return text;
}

bool operands_check(char **names, int n, struct error *err) {
    for (int i = 0; i < n; i++) {
        if (text_is_utf8(names[i])) continue;
        char *name = name_escaped(names[i]);
        error_set(err, EXIT_USAGE, "%s: a name that is not UTF-8 cannot stand in a report; rename it", name);
        free(name);
        return false;
    }
    return true;
}

char *operand_path(const char *operand, struct error *err) {
    char *path = checkpoint_path(operand);
    if (strcmp(operand, path) == 0 || access(path, F_OK) == 0 || errno != ENOENT) return path;
    error_set(err, EXIT_INPUT, "%s: no checkpoint yet (want best.safetensors or last.safetensors); wait until the run "
              "has saved one, or name another", operand);
    free(path);
    return NULL;
}

char *operand_name(const char *operand, const char *path) {
    const bool file = strcmp(operand, path) == 0;
    size_t n = strlen(operand);
    while (n > 1 && operand[n - 1] == '/') n--;
    if (file && n > 12 && strncmp(operand + n - 12, ".safetensors", 12) == 0) n -= 12;
    size_t start = n;
    for (int parts = file ? 2 : 1; start > 0; start--)
        if (operand[start - 1] == '/' && --parts == 0) break;
    return string_format("%.*s", (int)(n - start), operand + start);
}
