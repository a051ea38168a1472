/* ./sample: a checkpoint and a prompt in, text out.
 *
 * Reads everything it needs, the tokenizer too, from the checkpoint. Text goes to standard output as it
 * comes, in whole UTF-8 characters; everything else to standard error. Generation is in mhmoe.c
 * (model_generate), the choice of a token in src/run/sampler.c. */
#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "mhmoe.h"
#include "src/base/util.h"
#include "tokenizer/writer.h"

struct options {
    char *model, *prompt, *prompt_file;
    int tokens, samples, top_k, threads, weights;
    double temperature, top_p;
    int64_t seed;
    bool greedy;
};

static const char *const storage_words[] = {"f32", "bf16", "int8", NULL}; /* enum storage */

#define FIELD(name) offsetof(struct options, name)
static const struct option_spec sample_options[] = {
    {"model", 'm', OPTION_BYTES, FIELD(model), NULL, 0, 0, NULL, "FILE",
     "a checkpoint, or a run's directory (default: the newest run under runs/)", "Input"},
    {"prompt", 'p', OPTION_BYTES, FIELD(prompt), NULL, 0, 0, NULL, "TEXT",
     "what the text begins with (- : read it from standard input)", NULL},
    {"prompt-file", 'f', OPTION_BYTES, FIELD(prompt_file), NULL, 0, 0, NULL, "FILE", "a file that holds it", NULL},
    {"tokens", 'n', OPTION_INT, FIELD(tokens), "200", 1, 1 << 30, NULL, "N", "tokens to write", "Output"},
    {"samples", 0, OPTION_INT, FIELD(samples), "1", 1, 1 << 20, NULL, "N", "texts to write", NULL},
    {"temperature", 't', OPTION_REAL, FIELD(temperature), "0.8", 0, 100, NULL, "X",
     "below 1 likelier words, above 1 rarer ones, 0 greedy", "Choice"},
    {"top-k", 0, OPTION_INT, FIELD(top_k), "0", 0, 1 << 30, NULL, "N", "only the N likeliest tokens (0: all)", NULL},
    {"top-p", 0, OPTION_REAL, FIELD(top_p), "0.95", 0, 1, NULL, "X",
     "only the likeliest tokens that together reach this probability", NULL},
    {"greedy", 'g', OPTION_FLAG, FIELD(greedy), "false", 0, 0, NULL, NULL, "always the likeliest token", NULL},
    {"seed", 's', OPTION_LONG, FIELD(seed), "1", 0, 1e15, NULL, "N", "seed; each sample has its own numbers", NULL},
    {"threads", 0, OPTION_INT, FIELD(threads), "0", 0, 1024, NULL, "N", "threads (0: as many as processors)", NULL},
    {"weights", 0, OPTION_CHOICE, FIELD(weights), "f32", 0, 0, storage_words, "KIND",
     "how matrices are held in memory: fewer bytes are read faster, and change the text a little", NULL},
    {0},
};

static const struct program_info program = {
    "sample", "sample [OPTION]...",
    "Writes text with a model that ./train made.",
    "Examples:\n"
    "  ./sample --prompt 'It was a truth' --tokens 100\n"
    "  ./sample --model runs/my/best.safetensors --temperature 0.6 --samples 3\n"
    "\n"
    "Exit codes: 0 done, 2 usage, 3 bad input, 4 output failed, 5 inputs do not match each other, 6 memory.\n",
    NULL,
};

/* The newest run under runs/. */
static char *checkpoint_newest(struct error *err) {
    glob_t found;
    char *newest = NULL;
    struct timespec newest_time = {0};
    if (glob("runs/*/last.safetensors", 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            struct stat st;
            if (stat(found.gl_pathv[i], &st) != 0) continue;
            const struct timespec t = st.st_mtim;
            if (newest && (t.tv_sec < newest_time.tv_sec ||
                           (t.tv_sec == newest_time.tv_sec && t.tv_nsec <= newest_time.tv_nsec)))
                continue;
            newest = found.gl_pathv[i];
            newest_time = t;
        }
    }
    char *path = NULL;
    if (newest) {
        char *dir = string_format("%.*s", (int)(strrchr(newest, '/') - newest), newest);
        path = checkpoint_path(dir);
        free(dir);
    } else
        error_set(err, EXIT_INPUT, "runs: no run with a checkpoint here; train one with ./train, or name one with "
                  "--model");
    globfree(&found);
    return path;
}

/* The prompt's bytes: the option, a file, or standard input. */
static bool prompt_read(const struct options *o, char **text, size_t *size, struct error *err) {
    const bool from_stdin = o->prompt && strcmp(o->prompt, "-") == 0;
    *text = NULL;
    *size = 0;
    if (o->prompt_file && o->prompt)
        return error_set(err, EXIT_USAGE, "--prompt and --prompt-file both given; choose one");
    if (!o->prompt_file && !from_stdin) {
        *text = string_format("%s", o->prompt ? o->prompt : "");
        *size = strlen(*text);
        return true;
    }
    const char *name = from_stdin ? "standard input" : o->prompt_file;
    *text = file_contents(from_stdin ? stdin : fopen(o->prompt_file, "rb"), name, size, err);
    return *text != NULL;
}

/* Ends the sample at the end-of-text token, or when nobody reads any more. */
static bool emit_heard(void *writer, int32_t token) { return writer_emit(writer, token) && !ferror(stdout); }

static void samples_write(struct model *m, const tokenizer *t, const struct options *o, const char *prompt,
                          size_t size) {
    size_t n;
    int32_t *ids = prompt_encode(t, prompt, size, &n);
    for (int i = 0; i < o->samples && !ferror(stdout); i++) {
        struct sampler sampler = {o->greedy ? 0 : o->temperature, o->top_k, o->top_p, {{0}}};
        struct writer writer = {t, {.out = stdout}};
        rng_seed(&sampler.rng, (uint64_t)o->seed, (uint64_t)i);
        if (o->samples > 1) printf("%s--- sample %d ---\n", i ? "\n" : "", i + 1);
        text_write(&writer.text, prompt, size);
        model_generate(m, ids, n, (size_t)o->tokens, &sampler, emit_heard, &writer);
        text_end(&writer.text);
        printf("\n");
    }
    free(ids);
}

int main(int argc, char **argv) {
    struct options options = {0};
    const struct option_group group = {sample_options, &options};
    struct error err;
    struct checkpoint checkpoint;
    struct model model;
    char *prompt;
    size_t size;
    program_start(argv);
    options_set_defaults(&group, 1);
    const int first = options_parse(&group, 1, &program, argc, argv, NULL, &err);
    if (first >= 0 && first < argc)
        error_set(&err, EXIT_USAGE, "'%s' is not an option; a prompt goes behind --prompt", argv[first]);
    if (first != argc) error_exit(&err);
    if (!threads_start(options.threads, &err) || !prompt_read(&options, &prompt, &size, &err)) error_exit(&err);
    const struct model_setup setup = {MODEL_INFER, 1, false, (enum storage)options.weights};
    char *path = options.model ? checkpoint_path(options.model) : checkpoint_newest(&err);
    if (!path || !checkpoint_open(&checkpoint, path, &err)) error_exit(&err);
    if (!model_load(&model, &checkpoint, setup, &err)) error_exit(&err);
    tokenizer *t = tokenizer_from_checkpoint(&checkpoint, &err);
    if (!t) error_exit(&err);
    if (tokenizer_vocab(t) != model.config.vocab) {
        error_set(&err, EXIT_MISMATCH, "%s: tokenizer of %d pieces, model of %d; the file was put together wrongly",
                  path, tokenizer_vocab(t), model.config.vocab);
        error_exit(&err);
    }
    checkpoint_close(&checkpoint);

    samples_write(&model, t, &options, prompt, size);
    if (!output_check(&err)) error_exit(&err);
    tokenizer_free(t);
    model_destroy(&model);
    free(prompt);
    free(path);
    options_free(&group, 1);
    return EXIT_DONE;
}
