/* Errors, memory, hashes and whole files: what every other part stands on.
 *
 * A function that can fail on the user's input returns false (or NULL) and fills
 * a struct error; only programs exit. Running out of memory is the one failure
 * that ends the program on the spot (exit 6), since nobody can do better. */
#ifndef UTIL_H
#define UTIL_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Exit codes, the same for every program. After a signal n: 128 + n. */
enum {
    EXIT_DONE = 0,
    EXIT_USAGE = 2,     /* the command line or a config file is wrong */
    EXIT_INPUT = 3,     /* a file is missing, unreadable or damaged */
    EXIT_OUTPUT = 4,    /* something could not be written */
    EXIT_MISMATCH = 5,  /* inputs do not belong together */
    EXIT_MEMORY = 6,    /* out of memory */
    EXIT_BUSY = 7,      /* the run directory is in use */
    EXIT_DIVERGED = 8,  /* the loss is not finite */
};

/* One failure: its exit code and one line "FILE: PLACE: what is wrong (got X, want Y); what to do". */
struct error {
    int code;
    char text[1000];
};

/* Fills `err` and returns false, so that a caller can write `return error_set(...)`. */
bool error_set(struct error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Prints "PROGRAM: text" on standard error and exits with the code. */
__attribute__((noreturn)) void error_exit(const struct error *err); /* spm.cc reads this too: no _Noreturn */

/* Prints "PROGRAM: note: ..." on standard error: what a user should know, and need not mend. */
void note_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Zeroed memory for count * size bytes, aligned to 64 bytes (huge pages are asked for where large);
 * exits with EXIT_MEMORY if the product overflows or memory is short. Release with free(). */
void *array_alloc(size_t count, size_t size);

/* Grows a malloc'ed array so that it holds at least `need` elements; doubles; exits if memory is short. */
void *array_grow(void *array, size_t *capacity, size_t need, size_t size);

/* malloc'ed printf. */
char *string_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same behind what stands in *text, a malloc'ed string. */
void string_append(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* 64-bit FNV-1a; start with HASH_START and chain. */
#define HASH_START 0xcbf29ce484222325u
uint64_t hash_bytes(uint64_t hash, const void *data, size_t size);

/* Seconds on a clock that never goes back. */
double time_seconds(void);

/* To be called first in main. Two things have to be settled before anything else happens:
 * A file that reaches the size the shell allows (ulimit -f) is a write that fails, not a signal that kills.
 * And libgomp's threads wait at the end of a parallel loop by spinning for milliseconds, which makes a program
 * ten times slower on a machine that has other work; it takes another limit only from the environment and only
 * when it is loaded. So where the user has set none, the program sets one of some ten microseconds a thread, since
 * waking many takes longer and happens more often, and starts itself once more. */
void program_start(char **argv);

/* To be called before the first parallel loop: it and those after it take so many threads (0: as many as there are
 * processors, or as OMP_NUM_THREADS says). EXIT_MEMORY where the machine does not give as many: libgomp, which
 * would find that out by itself, has no way to tell but to end the program, with a message and a code of its own. */
bool threads_start(int threads, struct error *err);

/* Whether all that was printed on standard output has got there (EXIT_OUTPUT). */
bool output_check(struct error *err);

/* Whether there is such a file or directory. */
bool file_exists(const char *path);

/* Whether there is a directory of this name, or a link that leads to one. */
bool directory_exists(const char *path);

/* The names in a directory in the order of their bytes (scandir's alphasort would follow the locale), . and .. among
 * them. Returns how many; -1, with errno, if it cannot be read. Release with names_free, also then. */
int names_list(const char *path, struct dirent ***names);
void names_free(struct dirent **names, int n);

/* Creates a directory and its parents. */
bool directory_make(const char *path, struct error *err);

/* Everything that `file` still holds, malloc'ed, with a NUL behind it, and closes it. A `file` of NULL is an fopen
 * that failed. `name` is for the message (EXIT_INPUT). */
char *file_contents(FILE *file, const char *name, size_t *size, struct error *err);

/* A file written whole or not at all: open PATH.tmp, write, then commit (fsync, rename, fsync of the
 * directory) or abandon (remove PATH.tmp). A failed write is remembered by stdio and reported by commit. */
struct atomic_file {
    FILE *file;
    char *path, *temporary;
};
bool atomic_open(struct atomic_file *a, const char *path, struct error *err);
bool atomic_commit(struct atomic_file *a, struct error *err);
void atomic_abandon(struct atomic_file *a);

#endif
