/* A run's directory: its name, whose it is, and who works in it now.
 *
 * An empty file `lock` marks a directory as a run's, and the process that trains there holds a lock on it. Claim a
 * directory before anything in it is read: what was read earlier may be another process's past. */
#ifndef RUNDIR_H
#define RUNDIR_H

#include "../base/util.h"

struct rundir {
    char *path; /* malloc'ed; NULL: none is claimed */
    int lock;
    bool made;  /* the claim made the directory */
};

/* Makes a directory for a new run, or takes one that is empty or whose run never saved, and locks it. EXIT_USAGE if
 * there is a run in it already, or files of the names that a run writes none of ours; EXIT_BUSY; EXIT_OUTPUT. */
bool rundir_claim(struct rundir *r, const char *path, struct error *err);

/* The same with runs/NAME after the corpus (without suffixes; "-": stdin), or the first of runs/NAME-2, ... in
 * which nothing was begun. */
bool rundir_claim_default(struct rundir *r, const char *corpus, struct error *err);

/* Locks the directory of a run that goes on, named by itself or by its last.safetensors. EXIT_INPUT if there is no such
 * checkpoint, EXIT_BUSY, EXIT_OUTPUT. */
bool rundir_reclaim(struct rundir *r, const char *run, struct error *err);

/* Gives it back. A claimed directory in which nothing was begun is as it was before. */
void rundir_release(struct rundir *r);

/* The path of a file in it, in `path` of PATH_SIZE bytes, which is returned. */
enum { PATH_SIZE = 4096 };
const char *rundir_path(const struct rundir *r, const char *name, char path[PATH_SIZE]);

#endif
