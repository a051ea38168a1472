/* make analyse: how trained models route held-out text.
 *
 * Runs each model over the text, notes every choice of its routers, and leaves OUT/analysis.json (all the numbers)
 * and OUT/report.html (one page with tables, plots and samples). What is measured stands in tests/study/routing.h and,
 * in words, in the report itself. Next: analyse_measure.c, analyse_report.c. */
#include "analyse.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "../../data/mixture.h"
#include "../../src/run/runlog.h"
#include "../../src/run/score.h"
#include "../../src/base/text.h"
#include "../../tokenizer/writer.h"
#include "numbers.h"
#include "operands.h"

/* ---- Options ------------------------------------------------------------------------------------ */

struct options {
    char *out, *text, *wordnet, *prompt;
    int windows, samples, tokens, threads;
    int64_t seed;
};

#define FIELD(name) offsetof(struct options, name)
static const struct option_spec analyse_options[] = {
    {"out", 'o', OPTION_STRING, FIELD(out), "runs/analysis", 0, 0, NULL, "DIR",
     "where report.html, analysis.json and plots/ go", "Output"},
    {"samples", 0, OPTION_INT, FIELD(samples), "3", 0, 1000, NULL, "N", "texts that each model writes", NULL},
    {"tokens", 'n', OPTION_INT, FIELD(tokens), "80", 1, 1 << 20, NULL, "N", "tokens of each", NULL},
    {"prompt", 'p', OPTION_STRING, FIELD(prompt), "The", 0, 0, NULL, "TEXT", "what they begin with", NULL},
    {"seed", 's', OPTION_LONG, FIELD(seed), "1", 0, 1e15, NULL, "N", "their seed", NULL},
    {"text", 0, OPTION_STRING, FIELD(text), NULL, 0, 0, NULL, "FILE",
     "text to route (default: what the first model's run held out)", "Input"},
    {"windows", 'w', OPTION_INT, FIELD(windows), "512", 0, 1 << 30, NULL, "N",
     "only the text's first N sequences of the first model's length (0: all); where the corpus has parts, N of all "
     "together, as many of each and spread over it", NULL},
    {"wordnet", 0, OPTION_STRING, FIELD(wordnet), NULL, 0, 0, NULL, "DIR",
     "WordNet's index.noun, index.verb, ... (default: /usr/share/wordnet or data/corpora/wordnet, if there)",
     NULL},
    {"threads", 0, OPTION_INT, FIELD(threads), "0", 0, 1024, NULL, "N",
     "threads (0: as many as processors); the result is the same for any number", NULL},
    {0},
};

static const struct program_info program = {
    "analyse", "analyse [OPTION]... RUN_OR_CHECKPOINT...",
    "Measures how trained mixtures of experts route held-out text: which experts are used, how evenly, by how "
    "many of a token's parts, and how much of that changes from each checkpoint to the next.",
    "Examples:\n  build/analyse runs/austen\n  build/analyse runs/smoe runs/mhmoe --out runs/comparison\n  "
    "build/analyse early.safetensors late.safetensors --text my.txt\n\nExit codes: 0 done, 2 usage, 3 bad input, "
    "4 output failed, 5 inputs do not match each other, 6 memory.\n",
    NULL,
};

static int options_read(struct options *o, int argc, char **argv, struct error *err) {
    const struct option_group group = {analyse_options, o};
    options_set_defaults(&group, 1);
    const int first = options_parse(&group, 1, &program, argc, argv, NULL, err);
    if (first == argc)
        return error_set(err, EXIT_USAGE, "no model; name a run's directory or a checkpoint, as in: "
                         "analyse runs/austen"), -1;
    return first < 0 || operands_check(argv + first, argc - first, err) ? first : -1;
}

/* ---- The text ----------------------------------------------------------------------------------- */

static void text_alloc(struct text *t, size_t n) {
    t->tokens = array_alloc(n, sizeof *t->tokens);
    t->targets = array_alloc(n, sizeof *t->targets);
}

/* Whose validation data is read, and how much of it. */
struct held_out {
    const struct checkpoint *c;
    uint64_t tokenizer;
    int seq, windows;
};

/* The last window of a split is moved back to be full; what it would show twice is left out. */
static bool text_of_whole(struct text *text, const struct held_out *h, struct loader *l, struct error *err) {
    const size_t T = (size_t)h->seq, all = loader_windows(l), some = h->windows ? (size_t)h->windows : all;
    const size_t count = some < all ? some : all;
    bool ok = true;
    text_alloc(text, count * T);
    for (size_t w = 0; w < count && ok; w++) {
        int32_t *tokens = text->tokens + text->n, *targets = text->targets + text->n;
        size_t seen = 0;
        if (!(ok = loader_next(l, 1, tokens, targets, err))) break;
        while (targets[seen] == TARGET_NONE) seen++;
        memmove(tokens, tokens + seen, (T - seen) * sizeof *tokens);
        memmove(targets, targets + seen, (T - seen) * sizeof *targets);
        text->n += T - seen;
    }
    return ok;
}

/* Without the last where it shows something twice. */
static size_t windows_full(const struct loader *l, size_t T) { return (loader_tokens(l) - 1) / T; }

/* As many full windows of each part as the shortest has, or as were asked for, spread evenly over the part: those side
 * by side would be of one page. */
static bool text_of_parts(struct text *text, const struct held_out *h, const struct mixture *m, struct error *err) {
    const size_t T = (size_t)h->seq, P = mixture_parts(m), share = (size_t)h->windows / P;
    size_t windows = SIZE_MAX;
    text->parts = array_alloc(P, sizeof *text->parts);
    for (size_t p = 0; p < P; p++) {
        const size_t full = windows_full(mixture_loader(m, p), T);
        if (full < windows) windows = full;
        text->parts[text->P++] = string_format("%s", mixture_name(m, p));
    }
    if (h->windows && share < windows) windows = share ? share : 1;
    text->windows = windows;
    text->length = T;
    text_alloc(text, P * windows * T);
    for (size_t i = 0; i < P * windows; i++, text->n += T) {
        struct loader *l = mixture_loader(m, i / windows);
        loader_seek(l, i % windows * windows_full(l, T) / windows);
        if (!loader_next(l, 1, text->tokens + text->n, text->targets + text->n, err)) return false;
    }
    string_append(&text->name, ": %zu windows of %zu tokens of each of %zu parts", windows, T, P);
    return true;
}

/* The validation data of the run that made the checkpoint. */
static bool text_of_data(struct text *text, const struct held_out *h, const char *dir, struct error *err) {
    struct stat info;
    if (stat(dir, &info) != 0)
        return error_set(err, EXIT_INPUT, "%s: the prepared data of %s is gone; name a text with --text", dir,
                         h->c->path);
    const struct mixture_options options = {.seq = h->seq, .alpha = 1, .cache_bytes = (size_t)64 << 20};
    struct mixture *m = mixture_open(dir, "val", &options, err);
    if (!m) return false;
    bool ok = mixture_tokenizer_hash(m) == h->tokenizer;
    if (ok) {
        char *shown = text_as_utf8(dir, strlen(dir));
        text->name = string_format("%s, held out", shown);
        free(shown);
        ok = mixture_parts(m) > 1 ? text_of_parts(text, h, m, err) : text_of_whole(text, h, mixture_loader(m, 0), err);
    } else
        error_set(err, EXIT_MISMATCH, "%s: made with another tokenizer than %s; name a text with --text", dir,
                  h->c->path);
    mixture_close(m);
    return ok;
}

static bool text_of_run(struct text *text, const struct held_out *h, struct error *err) {
    const char *escaped = checkpoint_string(h->c, "data_dir", err);
    if (!escaped) return false;
    char *dir = text_unescape(escaped);
    const bool ok = text_of_data(text, h, dir, err);
    free(dir);
    return ok;
}

static bool text_of_file(struct text *text, const char *path, const tokenizer *t, int seq, int windows,
                         struct error *err) {
    size_t size, n = 0, capacity = 0;
    int32_t *ids = NULL;
    char *bytes = file_contents(fopen(path, "rb"), path, &size, err);
    if (!bytes) return false;
    tokenizer_encode(t, bytes, size, &ids, &n, &capacity);
    free(bytes);
    const size_t most = windows ? (size_t)windows * (size_t)seq : n;
    text->name = string_format("%s", path);
    text->n = n < most ? n : most;
    text_alloc(text, text->n);
    for (size_t i = 0; i < text->n; i++) {
        text->tokens[i] = ids[i];
        text->targets[i] = i + 1 < n ? ids[i + 1] : TARGET_NONE;
    }
    free(ids);
    return n >= 2 || error_set(err, EXIT_INPUT,
                               "%s: no text to speak of (got %zu tokens, want at least 2); name another with "
                               "--text",
                               path, n);
}

static bool text_read(struct text *text, const struct options *o, const struct checkpoint *c, const tokenizer *t,
                      int seq, struct error *err) {
    const struct held_out held_out = {c, tokenizer_hash(t), seq, o->windows};
    return o->text ? text_of_file(text, o->text, t, seq, o->windows, err) : text_of_run(text, &held_out, err);
}

/* ---- A model over the text ---------------------------------------------------------------------- */

/* Where the picks of the tokens from `at` on belong. */
struct noting {
    int32_t *picks; /* (LM, n, H, K) */
    size_t n, H, K, at;
};

static void picks_note(void *context, size_t lm, const int32_t *picks, size_t N) {
    const struct noting *o = context;
    memcpy(o->picks + (lm * o->n + o->at) * o->H * o->K, picks, N * o->K * sizeof *picks);
}

enum { BATCH = 8 };

static size_t piece_bytes(const void *t, int32_t token) {
    size_t size;
    tokenizer_piece(t, token, &size);
    return size;
}

/* Where the part that token `at` is of ends. */
static size_t part_end(const struct text *text, size_t at) {
    const size_t part = text->windows * text->length;
    return text->P ? (at / part + 1) * part : text->n;
}

/* Every token once: full sequences in batches, and what is left at the end (of a part) as a shorter one. */
static void text_route(struct model *m, const struct text *text, const tokenizer *t, struct subject *s) {
    const size_t T = m->sizes.T, n = text->n;
    struct score_sums sums = {0};
    struct noting noting = {.n = n, .H = m->sizes.H, .K = m->sizes.K};
    s->picks = noting.picks = array_alloc(m->sizes.LM * n * m->sizes.H * m->sizes.K, sizeof *s->picks);
    m->on_picks = picks_note;
    m->on_picks_context = &noting;
    while (noting.at < n) {
        const size_t left = part_end(text, noting.at) - noting.at, full = left / T < BATCH ? left / T : BATCH;
        const size_t rows = full ? full : 1, length = full ? T : left;
        size_t count;
        model_forward(m, &(struct batch){.B = rows, .T = length, .tokens = text->tokens + noting.at,
                                         .targets = text->targets + noting.at});
        model_loss(m, 0, &count);
        score_add(&sums, NULL, model_losses(m), text->targets + noting.at, rows * length, piece_bytes, t);
        noting.at += rows * length;
    }
    m->on_picks = NULL;
    const struct score score = score_of(&sums);
    s->loss = score.loss;
    s->bits_per_byte = score.bits_per_byte;
}

/* ---- What it writes ----------------------------------------------------------------------------- */

/* One sample, its prompt included, as valid UTF-8. malloc'ed. */
static char *sample_text(struct model *m, const tokenizer *t, const struct options *o, int i) {
    char *text;
    size_t size, n;
    const char *prompt = o->prompt ? o->prompt : "";
    struct sampler sampler = {SAMPLER_PLAIN, .temperature = 0.8, .top_p = 0.95};
    struct writer writer = {t, {.out = open_memstream(&text, &size)}};
    if (!writer.text.out) return string_format("(out of memory)");
    int32_t *ids = prompt_encode(t, prompt, strlen(prompt), &n);
    rng_seed(&sampler.rng, (uint64_t)o->seed, (uint64_t)i);
    text_write(&writer.text, prompt, strlen(prompt));
    model_generate(m, ids, n, (size_t)o->tokens, &sampler, writer_emit, &writer);
    text_end(&writer.text);
    fclose(writer.text.out);
    free(ids);
    return text;
}

static json_t *samples_write(struct model *m, const tokenizer *t, const struct options *o) {
    json_t *samples = json_array();
    for (int i = 0; i < o->samples; i++) {
        char *text = sample_text(m, t, o, i);
        json_array_append_new(samples, json_string(text));
        free(text);
    }
    return samples;
}

/* ---- From a name to a subject ------------------------------------------------------------------- */

static bool subject_check(const struct model *m, const struct checkpoint *c, const tokenizer *own,
                          const tokenizer *first, const char *first_name, struct error *err) {
    if (m->sizes.masked)
        return error_set(err, EXIT_MISMATCH, "%s: a masked model, which no text is put to; look at it with "
                         "build/gallery", c->path);
    if (m->sizes.LM == 0)
        return error_set(err, EXIT_INPUT,
                         "%s: a dense model has no experts to look at; name one of --ffn smoe or mhmoe", c->path);
    if (!tokenizer_fits(own, m->config.vocab, c->path, err)) return false;
    if (tokenizer_hash(own) != tokenizer_hash(first))
        return error_set(err, EXIT_MISMATCH,
                         "%s: made with another tokenizer than %s (%d pieces, %d); one text cannot be put to "
                         "both, analyse them one by one",
                         c->path, first_name, tokenizer_vocab(own), tokenizer_vocab(first));
    return true;
}

/* What the models have in common; the first brings it. */
struct common {
    const struct options *options;
    tokenizer *tokenizer;
    struct text text;
    char *first;
};

static bool subject_measure(struct subject *s, struct model *m, const struct checkpoint *c, struct common *common,
                            struct error *err) {
    const char *step = checkpoint_string(c, "step", err);
    if (!step) return false;
    s->config = m->config;
    s->sizes = m->sizes;
    s->cost = model_cost(&m->sizes, m->setup);
    s->config_text = config_to_string(&m->config);
    s->step = strtoll(step, NULL, 10);
    if (!common->text.name && !text_read(&common->text, common->options, c, common->tokenizer, m->config.seq, err))
        return false;
    text_route(m, &common->text, common->tokenizer, s);
    s->samples = samples_write(m, common->tokenizer, common->options);
    return true;
}

static void entry_ignore(void *context, const json_t *entry) { (void)context, (void)entry; }

/* What is wrong with a log, in one line, or NULL. malloc'ed. */
static char *log_explain(const char *path) {
    const struct runlog_survey s = runlog_read(path, entry_ignore, NULL);
    const char *last = s.unfinished ? "; its last line is not finished (is the run going on?) and is left out" : "";
    if (s.failed == ENOENT) return string_format("%s: there is none, so the run's curves are missing", path);
    if (s.failed) return string_format("%s: cannot read: %s; what is missing is missing from the curves", path,
                                       strerror(s.failed));
    if (s.damaged > 0)
        return string_format("%s:%zu: no entry (one of %zu damaged or blank lines); the curves go without%s", path,
                             s.first, s.damaged, last);
    if (s.entries == 0) return string_format("%s: no entry yet, so the run's curves are missing", path);
    return s.unfinished ? string_format("%s%s", path, last + 1) : NULL;
}

static bool subject_read(struct subject *s, const char *operand, struct common *common, struct error *err) {
    struct checkpoint c;
    struct model m;
    *s = (struct subject){.path = operand_path(operand, err)};
    if (!s->path) return false;
    s->name = operand_name(operand, s->path);
    const char *slash = strrchr(s->path, '/');
    s->log = slash ? string_format("%.*s/log.jsonl", (int)(slash - s->path), s->path) : string_format("log.jsonl");
    s->log_note = log_explain(s->log);
    if (!checkpoint_open(&c, s->path, err)) return false;
    if (!model_load(&m, &c, (struct model_setup){MODEL_INFER, BATCH, false, STORAGE_F32}, err)) return false;
    tokenizer *own = tokenizer_from_checkpoint(&c, err);
    if (!own) return false;
    if (!common->tokenizer) {
        common->tokenizer = own;
        common->first = s->path;
    }
    const bool ok = subject_check(&m, &c, own, common->tokenizer, common->first, err) &&
                    subject_measure(s, &m, &c, common, err);
    if (own != common->tokenizer) tokenizer_free(own);
    model_destroy(&m);
    checkpoint_close(&c);
    return ok;
}

static void subject_free(struct subject *s) {
    free(s->name);
    free(s->path);
    free(s->log);
    free(s->log_note);
    free(s->config_text);
    free(s->picks);
    json_decref(s->samples);
}

/* ---- The whole ---------------------------------------------------------------------------------- */

/* Opens WordNet where it was said to be, or where it is; *dir becomes NULL where it is not. */
static bool wordnet_find(struct wordnet *w, const char *named, const char **dir, struct error *err) {
    static const char *const places[] = {"/usr/share/wordnet", "data/corpora/wordnet"};
    struct error ignored;
    *dir = named;
    if (named) return wordnet_open(w, named, err);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        *dir = places[i];
        if (wordnet_open(w, *dir, &ignored)) return true;
        wordnet_close(w);
    }
    *dir = NULL;
    return true;
}

int main(int argc, char **argv) {
    struct options options = {0}, *o = &options;
    struct common common = {.options = o};
    struct wordnet wordnet;
    const char *wordnet_dir;
    struct error err;
    program_start(argv);
    const int first = options_read(o, argc, argv, &err);
    if (first < 0) error_exit(&err);
    if (!threads_start(o->threads, &err)) error_exit(&err);
    char *plots = string_format("%s/plots", o->out);
    if (!directory_make(plots, &err) || !wordnet_find(&wordnet, o->wordnet, &wordnet_dir, &err)) error_exit(&err);
    const size_t n = (size_t)(argc - first);
    struct subject *subjects = array_alloc(n, sizeof *subjects);
    for (size_t i = 0; i < n; i++)
        if (!subject_read(&subjects[i], argv[first + (int)i], &common, &err)) error_exit(&err);

    struct words words = words_find(&common.text, common.tokenizer, &wordnet);
    json_t *analysis = analysis_measure(subjects, n, &common.text, &words, wordnet_dir);
    if (!numbers_save(o->out, "analysis.json", analysis, &err) || !report_write(o->out, analysis, &err))
        error_exit(&err);
    for (size_t i = 0; i < n; i++)
        if (subjects[i].log_note) note_print("%s", subjects[i].log_note);
    fprintf(stderr, "%s/report.html\n", o->out);

    json_decref(analysis);
    words_free(&words);
    for (size_t i = 0; i < n; i++) subject_free(&subjects[i]);
    free(subjects);
    wordnet_close(&wordnet);
    free(common.text.name);
    free(common.text.tokens);
    free(common.text.targets);
    for (size_t p = 0; p < common.text.P; p++) free(common.text.parts[p]);
    free(common.text.parts);
    tokenizer_free(common.tokenizer);
    free(plots);
    const struct option_group group = {analyse_options, o};
    options_free(&group, 1);
    return EXIT_DONE;
}
