/* The cache of prepared texts: see cache.h for what it promises.
 *
 * Two locks: a process holds its own directory as long as it fills it, and the cache for the moments in which it makes
 * that directory, removes others, or puts an entry in its place. So nobody sees a directory that is not locked yet,
 * and nobody removes an entry that another has just replaced. */
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "../src/base/text.h"
#include "../tokenizer/tokenizer.h"
#include "album.h"
#include "codebook.h"
#include "shard.h"

/* What is being filled. The locks are flocks of the directories. */
struct cache_work {
    char *entry, *path; /* its name when it is whole, and now */
    int cache, lock;    /* the cache's directory, and this one, locked */
};

#define HEX4 "[0-9a-f][0-9a-f][0-9a-f][0-9a-f]"
static const char WORK_NAMES[] = "*-" HEX4 HEX4 HEX4 HEX4 ".??????"; /* ENTRY.XXXXXX */

static int directory_open(const char *path) {
    return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static void directory_remove(char *dir) {
    FTS *walk = fts_open((char *[]){dir, NULL}, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    for (FTSENT *entry; walk && (entry = fts_read(walk));)
        if (entry->fts_info != FTS_D) remove(entry->fts_path);
    if (walk) fts_close(walk);
}

/* ---- Is it whole? ---- */

/* One shard, and whether it is of this tokenizer. */
static bool shard_check(const char *path, const tokenizer *t, struct error *err) {
    struct shard s;
    if (!shard_open(&s, path, err)) return false;
    const uint64_t want = tokenizer_hash(t);
    bool ok = shard_verify(&s, err);
    if (ok && (s.tokenizer_hash != want || s.vocab != tokenizer_vocab(t)))
        ok = error_set(err, EXIT_MISMATCH, "%s: made with another tokenizer than the tokenizer.model beside it (got "
                       "%016llx, want %016llx); delete this directory and name the corpus again", path,
                       (unsigned long long)s.tokenizer_hash, (unsigned long long)want);
    shard_close_read(&s);
    return ok;
}

/* The shards of a split: there is at least one, and no number is missing before the last. */
static bool split_check(const char *entry, struct dirent **names, int n, const char *split, const tokenizer *t,
                        struct error *err) {
    char *pattern = string_format("%s-*.shard", split);
    bool ok = true;
    for (int i = 0, found = 0; ok && (i < n || found == 0); i++) {
        if (i < n && fnmatch(pattern, names[i]->d_name, 0) != 0) continue;
        char *path = string_format("%s/%s-%05d.shard", entry, split, found++);
        ok = shard_check(path, t, err);
        free(path);
    }
    free(pattern);
    return ok;
}

/* The shards of both splits in a directory: an entry, or one of its parts. */
static bool shards_check(const char *dir, const tokenizer *t, struct error *err) {
    struct dirent **names;
    const int n = names_list(dir, &names);
    if (n < 0) return error_set(err, EXIT_INPUT, "%s: cannot read this directory: %s", dir, strerror(errno));
    const bool ok = split_check(dir, names, n, "train", t, err) && split_check(dir, names, n, "val", t, err);
    names_free(names, n);
    return ok;
}

/* How many directories an entry has: whoever opens it takes each for a part. */
static size_t directories_count(const char *entry) {
    struct dirent **names;
    const int n = names_list(entry, &names);
    size_t count = 0;
    for (int i = 0; i < n; i++) {
        char *path = string_format("%s/%s", entry, names[i]->d_name);
        count += *names[i]->d_name != '.' && directory_exists(path);
        free(path);
    }
    names_free(names, n);
    return count;
}

/* Each part in parts.txt, one a line; and there are no others. */
static bool parts_check(const char *entry, FILE *list, const tokenizer *t, struct error *err) {
    char *line = NULL;
    size_t capacity = 0, n = 0;
    bool ok = true;
    for (; ok && getline(&line, &capacity, list) > 0; n++) {
        char *part = string_format("%s/%.*s", entry, (int)strcspn(line, "\n"), line);
        ok = shards_check(part, t, err);
        free(part);
    }
    free(line);
    const size_t found = ok ? directories_count(entry) : n;
    return ok && (found == n || error_set(err, EXIT_INPUT, "%s: has other parts than parts.txt says (got %zu, want "
                                          "%zu); delete this directory and name the corpus again", entry, found, n));
}

/* The albums of both splits, and whether they are of this tokenizer, of one codebook, and of each other. */
static bool albums_check(const char *entry, const tokenizer *t, struct error *err) {
    struct album *a = album_open(entry, "train", 0, err), *b = a ? album_open(entry, "val", 0, err) : NULL;
    struct codebook c = {0};
    bool ok = b && album_verify(a, err) && album_verify(b, err);
    ok = ok && (album_size(a) == 0 || codebook_load(&c, entry, err));
    if (ok) {
        const size_t Q = 3 * album_patch(a) * album_patch(a);
        const uint64_t tokens = tokenizer_hash(t), codes = album_size(a) > 0 ? codebook_hash(&c) : 0;
        ok = album_tokenizer_hash(a) == tokens && album_tokenizer_hash(b) == tokens &&
             album_vocab(a) == tokenizer_vocab(t) && album_vocab(b) == tokenizer_vocab(t) &&
             album_codebook_hash(a) == codes && album_codebook_hash(b) == codes &&
             album_size(a) == album_size(b) && album_patch(a) == album_patch(b) &&
             album_codes(a) == c.codes && album_codes(b) == c.codes && c.Q == Q;
        if (!ok)
            error_set(err, EXIT_MISMATCH, "%s: tokenizer.model, codebook, train.album and val.album do not belong "
                      "together; delete this directory and name the corpus again", entry);
    }
    codebook_free(&c);
    if (a) album_close(a);
    if (b) album_close(b);
    return ok;
}

/* Whether an entry holds albums, and not shards. */
static bool has_albums(const char *entry) {
    static const char *const files[] = {"train.album", "val.album", "codebook"};
    bool has = false;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = string_format("%s/%s", entry, files[i]);
        has |= access(path, F_OK) == 0;
        free(path);
    }
    return has;
}

bool cache_check(const char *entry, struct error *err) {
    char *model = string_format("%s/tokenizer.model", entry), *parts = string_format("%s/parts.txt", entry);
    tokenizer *t = tokenizer_load(model, err);
    FILE *list = fopen(parts, "r");
    const bool ok = t && (has_albums(entry) ? albums_check(entry, t, err)
                          : list            ? parts_check(entry, list, t, err)
                                            : shards_check(entry, t, err));
    if (list) fclose(list);
    if (t) tokenizer_free(t);
    free(model);
    free(parts);
    return ok;
}

/* Whether prepare.c gives this name to a file: in an entry, or in the directory of a part. */
static bool is_ours(const struct dirent *file, bool part) {
    static const char *const ours[] = {"train-*.shard*", "val-*.shard*", "tokenizer.model*", "left-out.txt*",
                                       "parts.txt*", "train.album", "train.album.tmp", "val.album", "val.album.tmp",
                                       "codebook", "codebook.tmp"};
    const size_t n = part ? 2 : sizeof ours / sizeof *ours;
    size_t k = 0;
    while (k < n && fnmatch(ours[k], file->d_name, 0) != 0) k++;
    return k < n && file->d_type != DT_DIR;
}

/* A directory of a part holds shards, and nothing else. */
static bool is_part(const char *entry, const char *name) {
    struct dirent **names;
    char *path = string_format("%s/%s", entry, name);
    const int n = names_list(path, &names);
    int shards = 0;
    for (int i = 0; i < n; i++) shards += is_ours(names[i], true);
    names_free(names, n);
    free(path);
    return n > 2 && shards == n - 2; /* but for . and .. */
}

/* The first thing in an entry that neither prepare.c nor album_prepare.c wrote; NULL if there is none. */
static const char *name_foreign(const char *entry, struct dirent **names, int n) {
    for (int i = 0; i < n; i++) {
        const char *name = names[i]->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || is_ours(names[i], false)) continue;
        if (names[i]->d_type != DT_DIR || !is_part(entry, name)) return name;
    }
    return NULL;
}

bool cache_replaceable(const char *entry, struct error *err) {
    struct dirent **names;
    const int n = names_list(entry, &names);
    const char *foreign = n < 0 ? entry : name_foreign(entry, names, n);
    const struct error damage = *err;
    if (foreign)
        error_set(err, EXIT_INPUT,
                  "%s: damaged (%.*s), and not replaced, as %s is not of its making; delete %s and run "
                  "this again",
                  entry, (int)strcspn(damage.text, ";"), damage.text, foreign, entry);
    names_free(names, n);
    return !foreign;
}

bool cache_find(const char *entry, bool verbose, bool *found, struct error *err) {
    *found = access(entry, F_OK) == 0 && cache_check(entry, err);
    if (*found || access(entry, F_OK) != 0) return true;
    if (err->code != EXIT_INPUT || !cache_replaceable(entry, err)) return false;
    if (verbose) note_print("%.*s: preparing this again", (int)strcspn(err->text, ";"), err->text);
    return true;
}

char *cache_entry(const char *cache, const char *path, uint64_t hash) {
    char *full = strcmp(path, "-") == 0 ? string_format("stdin") : realpath(path, NULL);
    const char *slash = full ? strrchr(full, '/') : NULL;
    const char *name = slash ? slash + 1 : full ? full : "text";
    char *shown = text_as_utf8(name, 60); /* checkpoints keep the path */
    char *entry = string_format("%s/%s-%016llx", cache, shown, (unsigned long long)hash);
    free(shown);
    free(full);
    return entry;
}

/* ---- What others left ---- */

/* To be called with the cache locked, so that every directory whose process lives is locked, too. */
static void leftovers_remove(const char *cache) {
    struct dirent **names;
    const int n = names_list(cache, &names);
    for (int i = 0; i < n; i++) {
        if (fnmatch(WORK_NAMES, names[i]->d_name, 0) != 0) continue;
        char *path = string_format("%s/%s", cache, names[i]->d_name);
        const int lock = directory_open(path);
        if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0) directory_remove(path);
        if (lock >= 0) close(lock);
        free(path);
    }
    names_free(names, n);
}

void cache_sweep(const char *cache) {
    const int fd = open(cache, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) leftovers_remove(cache); /* if another is at it, it sweeps */
    if (fd >= 0) close(fd);
}

/* ---- Filling ---- */

static void work_release(struct cache_work *w) {
    if (w->lock >= 0) close(w->lock);
    if (w->cache >= 0) close(w->cache);
    free(w->entry);
    free(w->path);
}

static void cache_abandon(struct cache_work *w) {
    directory_remove(w->path);
    work_release(w);
}

/* mkdtemp keeps its directory from others; this one is as any that mkdir makes. */
static bool directory_share(const char *path) {
    const mode_t mask = umask(0);
    umask(mask);
    return chmod(path, 0777 & ~mask) == 0;
}

/* Makes the cache and in it an empty directory; then fill w->path, and commit or abandon. */
static bool cache_begin(struct cache_work *w, const char *cache, const char *entry, struct error *err) {
    if (!directory_make(cache, err)) return false;
    *w = (struct cache_work){string_format("%s", entry), string_format("%s.XXXXXX", entry), -1, -1};
    w->cache = open(cache, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (w->cache >= 0) {
        flock(w->cache, LOCK_EX);
        if (mkdtemp(w->path)) w->lock = directory_open(w->path);
        if (w->lock >= 0) flock(w->lock, LOCK_EX | LOCK_NB);
        flock(w->cache, LOCK_UN);
    }
    if (w->lock >= 0 && directory_share(w->path)) return true;
    error_set(err, EXIT_OUTPUT, "%s: cannot create this directory: %s; choose another place", w->path, strerror(errno));
    cache_abandon(w);
    return false;
}

/* Renames and makes it permanent; what could not be made permanent is taken back. Some file systems cannot sync a
 * directory (EINVAL) and need not. */
static bool entry_place(const struct cache_work *w) {
    if (rename(w->path, w->entry) != 0) return false;
    if (fsync(w->cache) == 0 || errno == EINVAL) return true;
    const int cause = errno;
    if (rename(w->entry, w->path) != 0) directory_remove(w->entry);
    errno = cause;
    return false;
}

static bool place_failed(const struct cache_work *w, struct error *err) {
    return error_set(err, EXIT_OUTPUT, "%s: cannot create this directory: %s; choose another place", w->entry,
                     strerror(errno));
}

/* Something has this name: a whole entry stays, since another process was quicker; a damaged one makes room. */
static bool entry_replace(const struct cache_work *w, struct error *err) {
    if (cache_check(w->entry, err)) return true;
    if (err->code != EXIT_INPUT || !cache_replaceable(w->entry, err)) return false;
    directory_remove(w->entry);
    return entry_place(w) || place_failed(w, err);
}

/* Gives it its name. Releases w, whether it succeeds or not. */
static bool cache_commit(struct cache_work *w, struct error *err) {
    flock(w->cache, LOCK_EX);
    bool ok = entry_place(w);
    if (!ok) {
        const bool taken = errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR;
        ok = taken ? entry_replace(w, err) : place_failed(w, err);
    }
    cache_abandon(w); /* nothing is left to remove where it got its name */
    return ok;
}

bool cache_fill(const char *cache, const char *entry, bool (*fill)(void *job, const char *dir, struct error *err),
                void *job, struct error *err) {
    struct cache_work work;
    if (!cache_begin(&work, cache, entry, err)) return false;
    if (fill(job, work.path, err)) return cache_commit(&work, err);
    cache_abandon(&work);
    return false;
}
