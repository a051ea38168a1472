/* See walk.h. */
#include "walk.h"

#include <errno.h>
#include <fts.h>
#include <string.h>
#include "../src/base/rng.h"

static size_t name_start(const FTSENT *entry, size_t top) {
    const char *slash = strrchr(entry->fts_path, '/');
    if (entry->fts_level == FTS_ROOTLEVEL) return slash ? (size_t)(slash + 1 - entry->fts_path) : 0;
    return top + strspn(entry->fts_path + top, "/");
}

static int entries_compare(const FTSENT **a, const FTSENT **b) {
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

bool walk(char *path, const char *want, walk_visitor *visit, void *context, struct error *err) {
    FTS *files = fts_open((char *[]){path, NULL}, FTS_LOGICAL | FTS_NOCHDIR, entries_compare);
    if (!files) return error_set(err, EXIT_INPUT, "%s: cannot read: %s", path, strerror(errno));
    bool ok = true;
    for (FTSENT *entry; ok && (entry = fts_read(files));) {
        const int info = entry->fts_info;
        const bool given = entry->fts_level == FTS_ROOTLEVEL, hidden = !given && entry->fts_name[0] == '.';
        if (info == FTS_NS || info == FTS_DNR || info == FTS_ERR)
            ok = error_set(err, EXIT_INPUT, "%s: cannot read: %s; name %s", entry->fts_path,
                           strerror(entry->fts_errno), want);
        if (info == FTS_D && hidden) fts_set(files, entry, FTS_SKIP);
        if (info != FTS_F && info != FTS_DEFAULT) continue;
        const struct walk_file file = {.path = entry->fts_path, .name = name_start(entry, strlen(path)),
                                       .info = entry->fts_statp, .given = given, .hidden = hidden,
                                       .pipe = info == FTS_DEFAULT};
        ok = visit(context, &file, err);
    }
    fts_close(files);
    return ok;
}

/* FNV alone would have names beside each other that differ in their last letters, chapter10 to chapter19, say. */
uint64_t order_of(const char *name, size_t size) {
    struct rng rng;
    rng_seed(&rng, hash_bytes(HASH_START, name, size), 0);
    return rng_next(&rng);
}

uint64_t hash_file(uint64_t hash, const char *path, size_t size, struct timespec modified) {
    const uint64_t identity[] = {size, (uint64_t)modified.tv_sec, (uint64_t)modified.tv_nsec};
    hash = hash_bytes(hash, path, strlen(path) + 1);
    return hash_bytes(hash, identity, sizeof identity);
}
