/* ./sample: a checkpoint and a prompt in, text out; or what the model makes of text that is there: --score, --evaluate;
 * or of pictures, and of text with gaps: --image, --fill, --complete.
 *
 * Reads everything it needs, the tokenizer too, from the checkpoint. Text goes to standard output as it
 * comes, in whole UTF-8 characters; everything else to standard error. How a text is written is in writing.c, the
 * choice of a token in src/run/sampler.c. For scores see src/run/likelihood.h (which tokens are
 * read for which) and src/run/questions.h; where they are JSON lines, those go to standard output, for other programs,
 * and the summary to standard error, for whoever waits for it. */
#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include "data/mask.h"
#include "data/pictures.h"
#include "foreign/export.h"
#include "foreign/import.h"
#include "masked.h"
#include "mhmoe.h"
#include "scoring.h"
#include "src/base/util.h"
#include "src/run/likelihood.h"
#include "src/run/lines.h"
#include "src/run/questions.h"
#include "src/run/runlog.h"
#include "tokenizer/report.h"
#include "tokenizer/writer.h"
#include "writing.h"

struct options {
    char *model, *prompt, *prompt_file, *prompts, *score, *evaluate, *image, *fill, *complete, *hide, *out, *language;
    int tokens, samples, top_k, penalty_last, threads, weights, logprobs, length, export;
    double temperature, typical, top_p, min_p, repetition, frequency, presence;
    struct option_list stop, logit_bias;
    int64_t seed; /* -1: random */
    bool greedy, interactive, heal, echo, json, ignore_end;
};

static const char *const storage_words[] = {"f32", "bf16", "int8", NULL}; /* enum storage */
static const char *const seed_words[] = {"random", NULL};

#define FIELD(name) offsetof(struct options, name)
static const struct option_spec sample_options[] = {
    {"model", 'm', OPTION_BYTES, FIELD(model), NULL, 0, 0, NULL, "FILE",
     "a checkpoint, a run's directory, or GPT-2's from transformers (default: the newest run under runs/)", "Input"},
    {"prompt", 'p', OPTION_BYTES, FIELD(prompt), NULL, 0, 0, NULL, "TEXT",
     "what the text begins with (- : read it from standard input)", NULL},
    {"prompt-file", 'f', OPTION_BYTES, FIELD(prompt_file), NULL, 0, 0, NULL, "FILE", "a file that holds it", NULL},
    {"prompts", 0, OPTION_BYTES, FIELD(prompts), NULL, 0, 0, NULL, "FILE",
     "a prompt a line, or in FILE.jsonl an object with \"prompt\" a line (- : standard input)", NULL},
    {"interactive", 'i', OPTION_FLAG, FIELD(interactive), "false", 0, 0, NULL, NULL,
     "answer each line that is typed; Ctrl-C stops an answer, Ctrl-D ends", NULL},
    {"heal", 0, OPTION_FLAG, FIELD(heal), "true", 0, 0, NULL, NULL,
     "where a prompt ends inside a longer token (with a blank, say), let the text begin with that", NULL},
    {"tokens", 'n', OPTION_INT, FIELD(tokens), "200", 1, 1 << 30, NULL, "N", "tokens to write", "Output"},
    {"samples", 0, OPTION_INT, FIELD(samples), "1", 1, 1 << 20, NULL, "N", "texts to write of each prompt", NULL},
    {"stop", 0, OPTION_LIST, FIELD(stop), NULL, 0, 0, NULL, "TEXT",
     "end before this text; may be given several times", NULL},
    {"ignore-end", 0, OPTION_FLAG, FIELD(ignore_end), "false", 0, 0, NULL, NULL, "never end before --tokens", NULL},
    {"echo", 0, OPTION_FLAG, FIELD(echo), "true", 0, 0, NULL, NULL, "write the prompt before the text", NULL},
    {"json", 0, OPTION_FLAG, FIELD(json), "false", 0, 0, NULL, NULL,
     "each text as a JSON line: prompt, text, tokens, logprobs, seed, sample, stop", NULL},
    {"temperature", 't', OPTION_REAL, FIELD(temperature), "0.8", 0, 100, NULL, "X",
     "below 1 likelier words, above 1 rarer ones, 0 greedy", "Choice"},
    {"top-k", 0, OPTION_INT, FIELD(top_k), "0", 0, 1 << 30, NULL, "N", "only the N likeliest tokens (0: all)", NULL},
    {"typical", 0, OPTION_REAL, FIELD(typical), "1", 0, 1, NULL, "X",
     "only the tokens whose surprise is nearest to the mean one, that together reach this probability", NULL},
    {"top-p", 0, OPTION_REAL, FIELD(top_p), "0.95", 0, 1, NULL, "X",
     "only the likeliest tokens that together reach this probability", NULL},
    {"min-p", 0, OPTION_REAL, FIELD(min_p), "0", 0, 1, NULL, "X",
     "only tokens at least so likely, relative to the likeliest", NULL},
    {"repetition-penalty", 0, OPTION_REAL, FIELD(repetition), "1", 0.1, 10, NULL, "X",
     "logits of tokens that were there before: divided by this, multiplied where negative (CTRL)", NULL},
    {"frequency-penalty", 0, OPTION_REAL, FIELD(frequency), "0", -100, 100, NULL, "X",
     "taken from a token's logit for each time that it was there", NULL},
    {"presence-penalty", 0, OPTION_REAL, FIELD(presence), "0", -100, 100, NULL, "X",
     "taken from it once, if it was there", NULL},
    {"penalty-last", 0, OPTION_INT, FIELD(penalty_last), "64", -1, 1 << 30, NULL, "N",
     "how many of the last tokens, of prompt and text, penalties are for (0: none, -1: all)", NULL},
    {"logit-bias", 0, OPTION_LIST, FIELD(logit_bias), NULL, 0, 0, NULL, "TOKEN=X",
     "added to the logit of a token, an id or its text (\"7\" in quotes); -inf: it never comes; may be given several "
     "times", NULL},
    {"greedy", 'g', OPTION_FLAG, FIELD(greedy), "false", 0, 0, NULL, NULL, "always the likeliest token", NULL},
    {"seed", 's', OPTION_LONG, FIELD(seed), "1", 0, 1e15, seed_words, "N", "seed; each sample has its own numbers",
     NULL},
    {"threads", 0, OPTION_INT, FIELD(threads), "0", 0, 1024, NULL, "N", "threads (0: as many as processors)", NULL},
    {"weights", 0, OPTION_CHOICE, FIELD(weights), "f32", 0, 0, storage_words, "KIND",
     "how matrices are held in memory: fewer bytes are read faster, and change the text a little", NULL},
    {"score", 0, OPTION_BYTES, FIELD(score), NULL, 0, 0, NULL, "FILE",
     "log-likelihood, perplexity and bits per byte of a text (- : standard input)", "Scoring, instead of writing"},
    {"logprobs", 0, OPTION_INT, FIELD(logprobs), "0", 0, 1000, NULL, "N",
     "with --score: each token, and the N likeliest in its place, as a JSON line (0: no lines); with --json: the N "
     "likeliest for each token", NULL},
    {"evaluate", 0, OPTION_BYTES, FIELD(evaluate), NULL, 0, 0, NULL, "FILE",
     "accuracy on questions with choices, and how each was answered as a JSON line (- : standard input)", NULL},
    {"image", 0, OPTION_BYTES, FIELD(image), NULL, 0, 0, NULL, "FILE",
     "write a caption of a picture (PNG), or with --fill read it beside the text", "With a model of --task masked"},
    {"length", 0, OPTION_INT, FIELD(length), "0", 0, 1000, NULL, "N",
     "tokens of the caption (0: as many as the model thinks it has, on the median)", NULL},
    {"language", 0, OPTION_BYTES, FIELD(language), NULL, 0, 0, NULL, "NAME",
     "language of the text, as the captions' are named; '' for none (default: that of most captions)", NULL},
    {"fill", 0, OPTION_BYTES, FIELD(fill), NULL, 0, 0, NULL, "TEXT",
     "fill each [MASK] of a text with a token", NULL},
    {"complete", 0, OPTION_BYTES, FIELD(complete), NULL, 0, 0, NULL, "FILE",
     "paint what --hide names of a picture, and write it to --out; with --fill TEXT as that says", NULL},
    {"hide", 0, OPTION_BYTES, FIELD(hide), NULL, 0, 0, NULL, "X,Y,W,H",
     "a rectangle in the model's pixels, from the left and from the top", NULL},
    {"out", 'o', OPTION_BYTES, FIELD(out), NULL, 0, 0, NULL, "FILE",
     "the PNG file to write; with --export the file, or the directory", NULL},
    {"export", 0, OPTION_CHOICE, FIELD(export), "none", 0, 0, export_words, "FORMAT",
     "write the model for transformers into the directory that --out names, or as a file for llama.cpp", "With other "
     "programs"},
    {0},
};

static const struct program_info program = {
    "sample", "sample [OPTION]...",
    "Writes text with a model that ./train made, or scores text with it.",
    "Examples:\n"
    "  ./sample --prompt 'It was a truth' --tokens 100\n"
    "  ./sample --model runs/my/best.safetensors --temperature 0.6 --samples 3\n"
    "  ./sample --prompts beginnings.txt --stop . --json >texts.jsonl\n"
    "  ./sample --interactive --min-p 0.05 --top-p 1\n"
    "  ./sample --score chapter.txt\n"
    "  ./sample --evaluate questions.jsonl >answers.jsonl\n"
    "  ./sample --image cat.png\n"
    "  ./sample --image cat.png --fill 'a [MASK] cat'\n"
    "  ./sample --complete cat.png --hide 16,16,24,24 --out whole.png\n"
    "  ./sample --export gguf --out my.gguf\n"
    "\n"
    "A token is chosen in the order of llama.cpp: --logit-bias and --ignore-end, penalties, --top-k,\n"
    "--typical, --top-p, --min-p, --temperature; each works on what the ones before it left. --json tells\n"
    "of every token that was chosen, an end of text and those of a stop string, too; its log-probabilities\n"
    "are the model's own, before all of that; \"stop\" is end, stop, length or interrupt.\n"
    "\n"
    "A text is scored from its start, as behind an end of text; one longer than the model reads at a\n"
    "time in windows that overlap by half. Questions are objects, one a line, {\"context\": TEXT,\n"
    "\"choices\": [TEXT, ...], \"answer\": NUMBER FROM 0}; files of HellaSwag, PIQA (with \"label\") and ARC\n"
    "are read as they are. The model chooses the text whose tokens have the highest mean\n"
    "log-probability behind the context (accuracy), or the highest sum; of equals the first. As in\n"
    "llm.c, a choice is tokenized by itself, behind a space.\n"
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

/* ---- What is asked for ---- */

static bool is_stdin(const char *name) { return strcmp(name, "-") == 0; }
static const char *name_of(const char *name) { return is_stdin(name) ? "standard input" : name; }
static FILE *file_named(const char *name) { return is_stdin(name) ? stdin : fopen(name, "rb"); }

/* What the model is to be shown: prompts, a text to score, or questions. */
struct input {
    char *text;
    size_t size;
    struct questions questions;
    struct prompts prompts;
};

/* The option's bytes, a file's, standard input's, or the prompts in a file. */
static bool prompt_read(const struct options *o, struct input *in, struct error *err) {
    const char *file = o->prompt_file;
    if (o->interactive) return true;
    if (o->prompts) return prompts_read(&in->prompts, file_named(o->prompts), name_of(o->prompts), err);
    if (file || (o->prompt && is_stdin(o->prompt))) {
        in->text = file_contents(file ? fopen(file, "rb") : stdin, file ? file : "standard input", &in->size, err);
        if (!in->text) return false;
        prompts_add(&in->prompts, in->text, in->size);
    } else prompts_add(&in->prompts, o->prompt ? o->prompt : "", o->prompt ? strlen(o->prompt) : 0);
    return true;
}

/* The first of n names that is one, or NULL; and the next, which must not be there. */
static const char *name_given(const char *const *names, size_t n, const char **other) {
    const char *found[2] = {NULL, NULL};
    for (size_t i = 0, count = 0; i < n && count < 2; i++)
        if (names[i]) found[count++] = names[i];
    if (other) *other = found[1];
    return found[0];
}

/* What is asked for instead of writing: one of these options. */
static const char *mode_of(const struct options *o, const char **other) {
    const char *const names[] = {o->export ? "export" : NULL, o->score ? "score" : NULL,
                                 o->evaluate ? "evaluate" : NULL,
                                 o->complete ? "complete" : NULL, o->fill && !o->complete ? "fill" : NULL,
                                 o->image && (o->complete || !o->fill) ? "image" : NULL};
    return name_given(names, sizeof names / sizeof *names, other);
}

static bool input_read(const struct options *o, struct input *in, struct error *err) {
    *in = (struct input){0};
    if (o->evaluate) return questions_read(&in->questions, file_named(o->evaluate), name_of(o->evaluate), err);
    if (!o->score) return mode_of(o, NULL) || prompt_read(o, in, err);
    in->text = file_contents(file_named(o->score), name_of(o->score), &in->size, err);
    return in->text && (in->size > 0 || error_set(err, EXIT_INPUT, "%s: is empty; there is nothing to score",
                                                  name_of(o->score)));
}

/* Whether an option differs from its default. */
static bool is_changed(const struct options *o, const char *name) {
    struct options defaults = {0};
    const struct option_group initial = {sample_options, &defaults}, group = {sample_options, (void *)o};
    options_set_defaults(&initial, 1);
    char *mine = option_text(&group, name), *theirs = option_text(&initial, name);
    const bool changed = strcmp(mine, theirs) != 0;
    free(mine);
    free(theirs);
    return changed;
}

/* Where prompts come from: one of these options. */
static const char *source_of(const struct options *o, const char **other) {
    const char *const names[] = {o->prompt ? "prompt" : NULL, o->prompt_file ? "prompt-file" : NULL,
                                 o->prompts ? "prompts" : NULL, o->interactive ? "interactive" : NULL};
    return name_given(names, sizeof names / sizeof *names, other);
}

/* An option of writing that differs from its default, or NULL. */
static const char *writing_option(const struct options *o) {
    static const char *const names[] = {"tokens", "samples", "temperature", "top-k", "top-p", "greedy", "seed",
                                        "typical", "min-p", "repetition-penalty", "frequency-penalty",
                                        "presence-penalty", "penalty-last", "ignore-end", "json"};
    const char *found = source_of(o, NULL);
    for (size_t i = 0; i < sizeof names / sizeof *names && !found; i++)
        if (is_changed(o, names[i])) found = names[i];
    return found ? found : !o->heal ? "no-heal" : !o->echo ? "no-echo" : o->stop.n ? "stop" : o->logit_bias.n ?
           "logit-bias" : NULL;
}

/* Options that change nothing of how a text is written. */
static bool writing_check(const struct options *o, struct error *err) {
    const char *other, *source = source_of(o, &other);
    if (other) return error_set(err, EXIT_USAGE, "--%s and --%s both given; choose one", source, other);
    if (!o->echo && (o->json || o->interactive))
        return error_set(err, EXIT_USAGE, "--no-echo is of no use with --%s, which keeps the prompt apart; leave it "
                         "out", o->json ? "json" : "interactive");
    if (is_changed(o, "penalty-last") && o->repetition == 1 && o->frequency == 0 && o->presence == 0)
        return error_set(err, EXIT_USAGE, "--penalty-last is of no use without --repetition-penalty, "
                         "--frequency-penalty or --presence-penalty; give one");
    for (size_t i = 0; i < o->stop.n; i++)
        if (!*o->stop.texts[i])
            return error_set(err, EXIT_USAGE, "--stop: an empty text, which is everywhere; name one to stop at");
    return true;
}

/* Options of some of these modes alone. */
static bool modes_check(const struct options *o, struct error *err) {
    const struct {
        const char *option, *without, *remedy;
        bool idle;
    } all[] = {{"logprobs", "score or --json", "name a text to score", o->logprobs > 0 && !o->score && !o->json},
               {"hide", "complete", "name a picture", o->hide && !o->complete},
               {"out", "complete or --export", "name a picture or a format", o->out && !o->complete && !o->export},
               {"length", o->image ? "image alone" : "image", "name a picture", o->length && (!o->image || o->fill)},
               {"language", "image", "name a picture", o->language && !o->image && !o->fill}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].idle)
            return error_set(err, EXIT_USAGE, "--%s is of no use without --%s; %s", all[i].option, all[i].without,
                             all[i].remedy);
    if (o->export && !o->out)
        return error_set(err, EXIT_USAGE, "--export: the directory (hf) or file (gguf) to write goes behind --out");
    if (o->complete && !(o->hide && o->out))
        return error_set(err, EXIT_USAGE, "--complete: what is to be painted goes behind --hide X,Y,W,H, and where to "
                         "behind --out FILE; give both");
    return true;
}

/* One thing at a time, and nothing asked for that is not done. */
static bool options_check(const struct options *o, struct error *err) {
    const char *other, *mode = mode_of(o, &other), *idle = mode ? writing_option(o) : NULL;
    if (other) return error_set(err, EXIT_USAGE, "--%s and --%s both given; choose one", mode, other);
    if (idle) return error_set(err, EXIT_USAGE, "--%s is of no use with --%s, which %s; leave it out", idle, mode,
                               o->score || o->evaluate || o->export ? "writes no text" : "takes what is likeliest");
    return modes_check(o, err) && writing_check(o, err);
}

/* ---- Writing ---- */

/* The token of a bias, by its id or its text; -1 if it is none. */
static int32_t token_named(const tokenizer *t, const char *name, size_t size, struct error *err) {
    const bool quoted = size > 1 && name[0] == '"' && name[size - 1] == '"';
    const int vocab = tokenizer_vocab(t);
    if (size > 0 && strspn(name, "0123456789") >= size) {
        const long long id = strtoll(name, NULL, 10);
        if (id < vocab) return (int32_t)id;
        error_set(err, EXIT_USAGE, "--logit-bias: no such token (got %.*s, want 0 to %d); a text of digits goes in "
                  "quotes", (int)size, name, vocab - 1);
        return -1;
    }
    int32_t *ids = NULL;
    size_t n = 0, capacity = 0;
    tokenizer_encode(t, name + quoted, size - 2 * quoted, &ids, &n, &capacity);
    const int32_t id = n == 1 ? ids[0] : -1;
    free(ids);
    if (n != 1)
        error_set(err, EXIT_USAGE, "--logit-bias: not one token (got '%.*s', which is %zu); name a token", (int)size,
                  name, n);
    return id;
}

/* One bias, "TOKEN=X". */
static bool bias_read(struct token_bias *bias, const tokenizer *t, const char *text, struct error *err) {
    const char *equals = strrchr(text, '=');
    const bool never = equals && strcmp(equals + 1, "-inf") == 0;
    if (never) bias->amount = -INFINITY;
    else if (!equals || !text_to_real(equals + 1, &bias->amount) || fabs(bias->amount) > 1000)
        return error_set(err, EXIT_USAGE, "--logit-bias: bad value (got '%s', want TOKEN=X with a number from -1000 to "
                         "1000, or -inf)", text);
    bias->token = token_named(t, text, (size_t)(equals - text), err);
    return bias->token >= 0;
}

/* All of them, and that no text ends. malloc'ed, or NULL. */
static struct token_bias *biases_read(const struct options *o, const tokenizer *t, size_t *n, struct error *err) {
    struct token_bias *biases = array_alloc(o->logit_bias.n + 1, sizeof *biases);
    bool ok = true;
    *n = 0;
    for (; ok && *n < o->logit_bias.n; ++*n) ok = bias_read(&biases[*n], t, o->logit_bias.texts[*n], err);
    if (o->ignore_end) biases[(*n)++] = (struct token_bias){tokenizer_end_of_text(t), -INFINITY};
    if (ok) return biases;
    free(biases);
    return NULL;
}

/* The seed, or one that can be given again. */
static uint64_t seed_of(const struct options *o) {
    uint64_t seed;
    if (o->seed >= 0) return (uint64_t)o->seed;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed) seed = (uint64_t)(time_seconds() * 1e9);
    seed %= 1000000000000000;
    note_print("--seed %" PRIu64 " gives the same again", seed);
    return seed;
}

static void lines_answer(struct writing *w) {
    size_t size, number = 0;
    struct lines *lines = lines_open("> ");
    w->interrupted = lines_interrupted;
    for (const char *line; !ferror(stdout) && (line = lines_next(lines, &size)); number++)
        writing_answer(w, &(struct prompt){(char *)line, size}, number);
    lines_close(lines);
}

static bool texts_write(struct model *m, const tokenizer *t, const struct options *o, const struct input *in,
                        struct error *err) {
    size_t n;
    struct token_bias *biases = biases_read(o, t, &n, err);
    if (!biases) return false;
    struct writing w = {
        .model = m, .tokenizer = t, .seed = seed_of(o), .tokens = (size_t)o->tokens, .samples = o->samples,
        .several = o->prompts != NULL, .echo = o->echo && !o->interactive, .heal = o->heal, .json = o->json,
        .logprobs = o->logprobs, .visible = isatty(STDOUT_FILENO), .stops = o->stop.texts, .n_stops = o->stop.n,
        .sampler = {.temperature = o->greedy ? 0 : o->temperature, .top_k = o->top_k, .typical = o->typical,
                    .top_p = o->top_p, .min_p = o->min_p, .repetition = o->repetition, .frequency = o->frequency,
                    .presence = o->presence, .penalty_last = o->penalty_last, .biases = biases, .n_biases = n}};
    const double start = time_seconds();
    if (o->interactive) lines_answer(&w);
    for (size_t i = 0; i < in->prompts.n && !ferror(stdout); i++) writing_answer(&w, &in->prompts.list[i], i);
    const double seconds = time_seconds() - start;
    if (fflush(stdout) == 0 && !ferror(stdout))
        fprintf(stderr, "%zu tokens in %.2f seconds, %.1f tokens/s\n", w.written, seconds, (double)w.written / seconds);
    free(biases);
    return true;
}

/* ---- Scoring a text ---- */

/* A line for each token of the span that was scored last, the first of which is at byte `offset` of the text. Returns
 * where the next one is. */
static size_t logprobs_write(struct model *m, const tokenizer *t, const int32_t *tokens, size_t n, int most,
                           size_t offset, const real *losses) {
    for (size_t i = 0; i < n; i++) {
        const real *logits = model_logits(m, i);
        const double log_sum = (double)logits[tokens[i]] + (double)losses[i];
        json_t *line = token_report(t, tokens[i], 0.0 - (double)losses[i]);
        json_object_set_new(line, "offset", json_integer((json_int_t)offset));
        json_object_set_new(line, "top", likeliest_report(t, logits, m->sizes.V, (size_t)most, log_sum));
        if (!line_write(line)) break;
        size_t size;
        tokenizer_piece(t, tokens[i], &size);
        offset += size;
    }
    return offset;
}

static void text_score(struct model *m, const tokenizer *t, const struct options *o, const struct input *in) {
    const size_t T = m->sizes.T;
    size_t n = 1, capacity = 0, offset = 0;
    int32_t *tokens = array_grow(NULL, &capacity, n, sizeof *tokens);
    real *losses = array_alloc(T, sizeof *losses);
    double nats = 0;
    tokens[0] = tokenizer_end_of_text(t); /* as in training, where a text follows another */
    tokenizer_encode(t, in->text, in->size, &tokens, &n, &capacity);
    for (struct span s = {.stop = 1}; !ferror(stdout) && span_next(&s, T, n);) {
        const size_t count = s.stop - s.from;
        span_score(m, tokens, &s, 0, losses);
        for (size_t i = 0; i < count; i++) nats += (double)losses[i];
        if (o->logprobs > 0) offset = logprobs_write(m, t, tokens + s.from, count, o->logprobs, offset, losses);
    }
    const double mean = nats / (double)(n - 1);
    FILE *out = o->logprobs > 0 ? stderr : stdout;
    if (fflush(stdout) == 0)
        fprintf(out, "%s: %zu bytes, %zu tokens\nlog-likelihood   %.4f nats (%.4f a token)\nperplexity       %.4f\n"
                "bits per byte    %.4f\n", name_of(o->score), in->size, n - 1, 0 - nats, 0 - mean, exp(mean),
                nats / M_LN2 / (double)in->size);
    free(losses);
    free(tokens);
}

/* ---- Answering questions ---- */

struct choice {
    double logprob; /* the sum over its tokens */
    size_t tokens;
};

static double choice_mean(const struct choice *c) { return c->logprob / (double)c->tokens; }

/* The highest; of equals the first. */
static size_t choice_best(const struct choice *choices, size_t n, bool by_mean) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        const struct choice *a = &choices[i], *b = &choices[best];
        if (by_mean ? choice_mean(a) > choice_mean(b) : a->logprob > b->logprob) best = i;
    }
    return best;
}

/* The choices' tokens one choice behind the other; the longest is of *longest tokens. malloc'ed. */
static int32_t *choices_encode(const tokenizer *t, const struct question *q, struct choice *choices, size_t *longest) {
    int32_t *ids = NULL;
    size_t n = 0, capacity = 0;
    *longest = 0;
    for (size_t i = 0; i < q->n; i++) {
        const size_t before = n;
        char *text = string_format("%s%s", question_joint(q->context, q->choices[i]), q->choices[i]);
        tokenizer_encode(t, text, strlen(text), &ids, &n, &capacity);
        free(text);
        choices[i] = (struct choice){0, n - before};
        if (choices[i].tokens > *longest) *longest = choices[i].tokens;
    }
    return ids;
}

/* Fills choices (q->n). All are scored behind the same end of the context: as much as leaves room for the longest.
 * Returns whether that is less than all of it. The model reads it once: the choices follow it in the KV cache. */
static bool question_score(struct model *m, const tokenizer *t, const struct question *q, struct choice *choices) {
    const size_t T = m->sizes.T;
    size_t n, longest, cached = 0;
    int32_t *context = prompt_encode(t, q->context, strlen(q->context), &n);
    int32_t *ids = choices_encode(t, q, choices, &longest), *next = ids;
    const size_t room = longest < T ? T + 1 - longest : 1, kept = n < room ? n : room;
    int32_t *tokens = array_alloc(kept + longest, sizeof *tokens);
    real *losses = array_alloc(T, sizeof *losses);
    memcpy(tokens, context + n - kept, kept * sizeof *tokens);
    for (size_t i = 0; i < q->n; i++) {
        const size_t end = kept + choices[i].tokens;
        memcpy(tokens + kept, next, choices[i].tokens * sizeof *tokens);
        next += choices[i].tokens;
        for (struct span s = {.stop = kept}; span_next(&s, T, end);) {
            span_score(m, tokens, &s, cached, losses);
            cached = kept - 1; /* none where a choice needs more than one span: they share a single token then */
            for (size_t k = 0; k < s.stop - s.from; k++) choices[i].logprob -= (double)losses[k];
        }
    }
    free(context);
    free(ids);
    free(tokens);
    free(losses);
    return kept < n;
}

/* Asks one question, and writes a line of how it was answered. */
struct tally {
    size_t right, right_by_sum, cut; /* contexts */
    double chance;
};
static bool question_ask(struct model *m, const tokenizer *t, const struct question *q, struct tally *tally) {
    struct choice *choices = array_alloc(q->n, sizeof *choices);
    tally->cut += question_score(m, t, q, choices);
    const size_t chosen = choice_best(choices, q->n, true), by_sum = choice_best(choices, q->n, false);
    tally->right += chosen == q->answer;
    tally->right_by_sum += by_sum == q->answer;
    tally->chance += 1 / (double)q->n;
    json_t *list = json_array();
    for (size_t i = 0; i < q->n; i++)
        json_array_append_new(list, json_pack("{s:o, s:I, s:o}", "logprob", json_number(choices[i].logprob), "tokens",
                                              (json_int_t)choices[i].tokens, "mean",
                                              json_number(choice_mean(&choices[i]))));
    free(choices);
    return line_write(json_pack("{s:I, s:I, s:I, s:b, s:I, s:b, s:o}", "line", (json_int_t)q->line, "answer",
                                (json_int_t)q->answer, "chosen", (json_int_t)chosen, "correct", chosen == q->answer,
                                "chosen_by_sum", (json_int_t)by_sum, "correct_by_sum", by_sum == q->answer, "choices",
                                list));
}

static void share_print(const char *name, size_t k, size_t n, const char *how) {
    double low, high;
    wilson_interval(k, n, &low, &high);
    fprintf(stderr, "%-14s %.2f%% (95%%: %.2f%% to %.2f%%), by the %s\n", name, 100 * (double)k / (double)n, 100 * low,
            100 * high, how);
}

static void questions_ask(struct model *m, const tokenizer *t, const char *name, const struct questions *q) {
    struct tally tally = {0};
    for (size_t i = 0; i < q->n; i++)
        if (!question_ask(m, t, &q->list[i], &tally)) return;
    if (fflush(stdout) != 0) return; /* no summary of what did not arrive */
    if (tally.cut > 0)
        note_print("%s: %zu of %zu contexts are longer than the model reads (%zu tokens, with the choice): only their "
                   "ends counted", name, tally.cut, q->n, m->sizes.T);
    fprintf(stderr, "%s: %zu questions, chance %.2f%%\n", name, q->n, 100 * tally.chance / (double)q->n);
    share_print("accuracy", tally.right, q->n, "mean log-probability of a choice's tokens");
    share_print("unnormalised", tally.right_by_sum, q->n, "sum");
}

/* ---- Pictures, and text with gaps ---- */

static const char gap[] = "[MASK]";

/* The language's tokens, those of a text in which each gap is a token that is hidden (the space before it is the
 * token's own), and the end of a text that is not empty. malloc'ed. */
static int32_t *gaps_encode(const tokenizer *t, const char *language, const char *text, size_t *n, size_t *prefix) {
    int32_t *ids = NULL;
    size_t capacity = 0;
    *n = 0;
    language_prefix(t, language, &ids, n, &capacity);
    *prefix = *n;
    char *spaced = string_format("%s%s", *prefix > 0 && *text ? " " : "", text);
    for (const char *at = spaced, *next; *at; at = next) {
        const char *found = strstr(at, gap), *end = found ? found : at + strlen(at);
        next = found ? end + sizeof gap - 1 : end;
        if (found && end > at && end[-1] == ' ') end--;
        tokenizer_encode(t, at, (size_t)(end - at), &ids, n, &capacity);
        if (!found) continue;
        ids = array_grow(ids, &capacity, *n + 1, sizeof *ids);
        ids[(*n)++] = TOKEN_HIDDEN;
    }
    if (*text) {
        ids = array_grow(ids, &capacity, *n + 1, sizeof *ids);
        ids[(*n)++] = tokenizer_end_of_text(t);
    }
    free(spaced);
    return ids;
}

/* The text of tokens, without the space that parts it from its language. */
static void tokens_print(const tokenizer *t, const int32_t *ids, size_t n) {
    struct writer writer = {t, {.out = stdout, .visible = isatty(STDOUT_FILENO)}};
    size_t size;
    for (size_t i = 0; i < n; i++) {
        const char *bytes = tokenizer_piece(t, ids[i], &size);
        const size_t skip = i == 0 && size > 0 && bytes[0] == ' ';
        text_write(&writer.text, bytes + skip, size - skip);
    }
    text_end(&writer.text);
    printf("\n");
}

/* A picture of the size that the model knows. */
static bool pixels_read(const struct masked *k, const char *path, struct picture *p, struct error *err) {
    if (k->model->sizes.P == 0)
        return error_set(err, EXIT_MISMATCH, "%s: the model was never shown a picture; take one that was trained with "
                         "some", path);
    if (!picture_read(p, path, err)) return false;
    picture_fit(p, k->rows.size);
    return true;
}

/* What a masked model is shown: a picture, or none, and a text whose first `prefix` tokens name its language. */
struct shown {
    struct picture picture;
    int32_t *ids;
    size_t n, prefix;
};

static bool shown_read(const struct masked *k, const struct options *o, const char *language, struct shown *s,
                       struct error *err) {
    const char *file = o->complete ? o->complete : o->image;
    const size_t room = k->rows.room;
    const size_t more = o->fill || o->complete ? 0 : o->length ? (size_t)o->length + 1 : 2; /* a caption, and its end */
    if (file && !pixels_read(k, file, &s->picture, err)) return false;
    s->ids = gaps_encode(k->tokenizer, o->complete && !o->fill ? "" : language, o->fill ? o->fill : "", &s->n,
                         &s->prefix);
    if (o->fill && s->n == s->prefix)
        return error_set(err, EXIT_USAGE, "--fill: no text; write one, with %s for what is to be filled in", gap);
    return s->n + more <= room ||
           error_set(err, EXIT_USAGE, "--%s: a text too long for the model (got %zu tokens with its language, want at "
                     "most %zu); shorten it", o->fill ? "fill" : o->length ? "length" : "language", s->n + more, room);
}

static bool picture_complete(struct masked *k, const struct options *o, struct shown *s, struct error *err) {
    struct rectangle rectangle;
    bool *hidden = array_alloc(k->model->sizes.P, sizeof *hidden);
    const bool ok = rectangle_read(&rectangle, o->hide, err) &&
                    mask_rectangle(hidden, k->rows.size, k->rows.patch, &rectangle, err);
    if (ok) masked_paint(k, s->picture.rgb, hidden, s->ids, s->n);
    free(hidden);
    return ok && picture_write(o->out, &s->picture, err);
}

static void caption_write(struct masked *k, const struct options *o, struct shown *s) {
    s->ids = realloc(s->ids, k->rows.room * sizeof *s->ids);
    s->n = masked_caption(k, s->picture.rgb, s->ids, s->n, (size_t)o->length);
    tokens_print(k->tokenizer, s->ids + s->prefix, s->n - s->prefix);
}

static bool masked_answer(struct masked *k, const struct options *o, const char *language, struct error *err) {
    struct shown s = {0};
    bool ok = shown_read(k, o, language, &s, err);
    if (ok && o->complete) ok = picture_complete(k, o, &s, err);
    else if (ok && o->fill) {
        masked_fill(k, s.picture.rgb, s.ids, s.n);
        tokens_print(k->tokenizer, s.ids + s.prefix, s.n - s.prefix);
    } else if (ok) caption_write(k, o, &s);
    free(s.ids);
    free(s.picture.rgb);
    return ok;
}

/* ---- All of it ---- */

/* Which model it is: its file, and how far it was trained, as far as the file says. */
static void model_tell(const struct checkpoint *c) {
    struct error unsaid;
    int64_t step;
    double loss;
    fprintf(stderr, "model: %s", c->path);
    if (checkpoint_whole(c, "step", &step, &unsaid)) fprintf(stderr, ", step %" PRId64, step);
    if (checkpoint_real(c, "val_loss", &loss, &unsaid) && isfinite(loss))
        fprintf(stderr, ", validation loss %.4f", loss);
    fprintf(stderr, "\n");
}

/* What --model names, with its tokenizer; with `masked` what else a masked model needs. */
static bool model_open(const struct options *o, struct model *m, tokenizer **t, struct masked *masked, char **language,
                       struct error *err) {
    const struct model_setup setup = {MODEL_INFER, 1, false, (enum storage)o->weights};
    struct checkpoint c;
    char *path = o->model ? checkpoint_path(o->model) : checkpoint_newest(err);
    if (!path || !source_open(&c, path, err)) return false;
    bool ok = model_load(m, &c, setup, err) && (*t = tokenizer_from_checkpoint(&c, err)) &&
              tokenizer_fits(*t, m->config.vocab, path, err);
    const char *most = json_string_value(json_object_get(c.metadata, "language"));
    *language = string_format("%s", o->language ? o->language : most ? most : "");
    if (ok && masked) ok = masked_open(masked, m, *t, &c, err);
    else if (ok && m->sizes.masked)
        ok = error_set(err, EXIT_MISMATCH, "%s: a masked model, which fills in and does not go on with a text; use "
                       "--image, --fill or --complete", path);
    if (ok && !mode_of(o, NULL)) model_tell(&c);
    checkpoint_close(&c);
    free(path);
    return ok;
}

int main(int argc, char **argv) {
    struct options options = {0};
    const struct option_group group = {sample_options, &options};
    struct error err;
    struct model model;
    struct masked masked = {0};
    struct input input;
    tokenizer *t = NULL;
    char *language = NULL;
    program_start(argv);
    options_set_defaults(&group, 1);
    const int first = options_parse(&group, 1, &program, argc, argv, NULL, &err);
    if (first >= 0 && first < argc)
        error_set(&err, EXIT_USAGE, "'%s' is not an option; a prompt goes behind --prompt", argv[first]);
    if (first != argc) error_exit(&err);
    if (!options_check(&options, &err) || !threads_start(options.threads, &err) ||
        !input_read(&options, &input, &err))
        error_exit(&err);
    const bool fills = options.image || options.fill || options.complete;
    if (!model_open(&options, &model, &t, fills ? &masked : NULL, &language, &err)) error_exit(&err);

    if (options.export) {
        if (!model_export(&model, t, (enum export_format)options.export, options.out, &err)) error_exit(&err);
    } else if (options.evaluate) questions_ask(&model, t, name_of(options.evaluate), &input.questions);
    else if (options.score) text_score(&model, t, &options, &input);
    else if (!(fills ? masked_answer(&masked, &options, language, &err)
                     : texts_write(&model, t, &options, &input, &err)))
        error_exit(&err);
    if (!output_check(&err)) error_exit(&err);
    masked_close(&masked);
    tokenizer_free(t);
    model_destroy(&model);
    questions_free(&input.questions);
    prompts_free(&input.prompts);
    free(input.text);
    free(language);
    options_free(&group, 1);
    return EXIT_DONE;
}
