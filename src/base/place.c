/* See place.h. */
#include "place.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Removes what stands behind the last slash; false if there is none. */
static bool path_shorten(char *path) {
    char *slash = strrchr(path, '/');
    if (slash) *slash = 0;
    return slash;
}

/* PREFIX/share/mhmoe, if this program lies so many directories below PREFIX and something is installed there. */
static char *share_above(int depth) {
    char path[PATH_MAX] = "";
    bool ok = readlink("/proc/self/exe", path, sizeof path - 1) > 0;
    for (int i = 0; ok && i <= depth; i++) ok = path_shorten(path);
    char *share = string_format("%s/share/mhmoe", path), *script = string_format("%s/corpus.sh", share);
    if (ok && access(script, R_OK) == 0) return free(script), share;
    free(script);
    free(share);
    return NULL;
}

enum { FROM_BIN = 1, FROM_LIBEXEC = 3 }; /* bin/NAME, libexec/mhmoe/LEVEL/NAME */

char *place_share(void) {
    char *share = share_above(FROM_BIN);
    return share ? share : share_above(FROM_LIBEXEC);
}

char *place_data(void) {
    char *share = place_share();
    const bool here = !share || directory_exists("data");
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    free(share);
    if (!here && cache && *cache == '/') return string_format("%s/mhmoe", cache); /* others do not count */
    if (!here && home && *home) return string_format("%s/.cache/mhmoe", home);
    return string_format("data");
}

char *place_corpus(const char *name, const char *instead, struct error *err) {
    char *share = place_share(), *data = place_data(), *dir = string_format("%s/corpora/%s", data, name);
    char *command = string_format("sh \"$MHMOE_SHARE/corpus.sh\" %s >&2", name); /* so any path needs no quotes */
    setenv("MHMOE_SHARE", share ? share : "data", 1);
    const bool there = access(dir, F_OK) == 0 || system(command) == 0;
    unsetenv("MHMOE_SHARE");
    free(command);
    free(data);
    free(share);
    if (there) return dir;
    error_set(err, EXIT_INPUT, "%s: the default corpus could not be fetched; name a %s instead", dir, instead);
    free(dir);
    return NULL;
}
