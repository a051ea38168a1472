/* libmhmoe: models that ./train made, in other programs. Load a checkpoint, turn text into tokens and back, score text,
 * sample. A complete program is score.c beside this file; build it with
 *
 *     cc score.c $(pkg-config --cflags --libs mhmoe)
 *
 * Errors. A function that can fail returns NULL or false and fills a struct mhmoe_error: a code, and one line that
 * says what is wrong with which file and what to do. Nothing is printed, and no function exits or aborts, with one
 * exception: mhmoe_load asks beforehand for all the memory that a model will need (MHMOE_MEMORY if there is not so
 * much), but where a small piece cannot be had later, as for the tokens of a text, the process ends with a line on
 * standard error and exit code 6. On systems that promise more memory than they have (Linux, by default) neither will
 * be seen.
 *
 * Threads. A handle may be used by one thread at a time, and by another one later; of several handles each in a thread
 * of its own. mhmoe_tokenize and mhmoe_detokenize may be called in any number of threads at once, also on one handle.
 * Scoring and sampling use OpenMP's threads by themselves, as many as omp_set_num_threads or OMP_NUM_THREADS say; the
 * results are the same for any number. Waiting threads spin: where processors are shared, set GOMP_SPINCOUNT=1000 or
 * OMP_WAIT_POLICY=passive in the environment.
 *
 * Numbers are computed in float. They are the same bits each time on one machine; on processors with other vectors
 * the last digits differ. */
#ifndef LIBMHMOE_H
#define LIBMHMOE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MHMOE_API __attribute__((visibility("default")))

/* As the exit codes of ./sample. */
enum mhmoe_code {
    MHMOE_USAGE = 2,    /* an argument that makes no sense */
    MHMOE_INPUT = 3,    /* a file is missing, unreadable or damaged */
    MHMOE_MISMATCH = 5, /* what is in the file does not belong together, or is no model of text */
    MHMOE_MEMORY = 6,
};

struct mhmoe_error {
    int code;
    char text[1000];
};

typedef struct mhmoe mhmoe;

/* The version of the library that is running, as "0.1". */
MHMOE_API const char *mhmoe_version(void);

/* A checkpoint (.safetensors), or a run's directory: its best.safetensors, or else its last.safetensors. Or GPT-2 as
 * transformers keeps it: a directory with model.safetensors, config.json, vocab.json and merges.txt. NULL on failure.
 * To be released with mhmoe_free, which takes NULL, too. */
MHMOE_API mhmoe *mhmoe_load(const char *path, struct mhmoe_error *err);
MHMOE_API void mhmoe_free(mhmoe *m);

/* How many tokens there are (ids are below), which of them ends a text, and how many the model reads at a time. */
MHMOE_API int32_t mhmoe_vocab(const mhmoe *m);
MHMOE_API int32_t mhmoe_end_of_text(const mhmoe *m);
MHMOE_API size_t mhmoe_context(const mhmoe *m);

/* Writes the tokens of text[0..size), any bytes, as far as there is room; returns how many there are. (0, NULL: only
 * count.) */
MHMOE_API size_t mhmoe_tokenize(const mhmoe *m, const char *text, size_t size, int32_t *tokens, size_t room);

/* Writes the bytes that these tokens stand for, without a NUL, as far as there is room; returns how many there are. The
 * end of text stands for none, nor does what is no token. What mhmoe_tokenize made of bytes gives these bytes. */
MHMOE_API size_t mhmoe_detokenize(const mhmoe *m, const int32_t *tokens, size_t n, char *text, size_t room);

/* logprobs[i] is the log-probability, in nats, of token i behind those before it, and these behind an end of text: as
 * ./sample --score. Of more tokens than the model reads at a time, the windows overlap by half. */
MHMOE_API bool mhmoe_score(mhmoe *m, const int32_t *tokens, size_t n, double *logprobs, struct mhmoe_error *err);

struct mhmoe_sampling {
    size_t tokens;      /* as many at most */
    double temperature; /* 0: always the likeliest token */
    int top_k;          /* only the k likeliest; 0: all */
    double top_p;       /* only the likeliest that together reach this probability; 1: all */
    uint64_t seed;
};

/* Continues a prompt of n tokens (0: an end of text) and hands each token to `emit`, until this returns false or there
 * are enough. The end of text is handed over like any other: return false to stop there. The tokens are those of
 * ./sample with the same options. */
MHMOE_API bool mhmoe_sample(mhmoe *m, const int32_t *prompt, size_t n, const struct mhmoe_sampling *how,
                            bool (*emit)(void *context, int32_t token), void *context, struct mhmoe_error *err);

#ifdef __cplusplus
}
#endif
#endif
