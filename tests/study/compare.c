/* make compare: trains the models of a study on equal terms, each run a ./train, and reports on them.
 *
 * First each model is measured for a few steps, and the plan is made: as many steps, the same for all, as fit into
 * --minutes. Then every model's learning rates race over the seeds (compare_search.h), and the best is trained on
 * every seed. The plan is kept (plan.json), and a run is known by its directory, so that the same command goes on
 * where it was interrupted, and one with more seeds from what is done. The studies and command lines are in
 * compare_study.c; compare_log.c reads the runs' logs, compare_report.c makes something of them. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../../mhmoe.h"
#include "../../src/base/text.h"
#include "../../src/base/util.h"
#include "compare_report.h"
#include "statistics.h"

enum { MOST_RATES = 16, CALIBRATION_STEPS = 8, FEWEST_STEPS = 10 };

struct options {
    struct request request;
    char *models;
};

#define FIELD(name) offsetof(struct options, request.name)
static const struct option_spec compare_options[] = {
    {"study", 0, OPTION_CHOICE, FIELD(study), "main", 0, 0, study_words, "NAME", "what is compared", "Comparison"},
    {"models", 0, OPTION_STRING, offsetof(struct options, models), NULL, 0, 0, NULL, "NAMES",
     "only these of the study's models, as in smoe,mhmoe-h2 (default: all)", NULL},
    {"out", 'o', OPTION_STRING, FIELD(out), "runs/compare", 0, 0, NULL, "DIR", "where plan, runs and report go",
     NULL},
    {"minutes", 0, OPTION_REAL, FIELD(minutes), "5", 0.01, 1e6, NULL, "M",
     "time for everything; sets the number of steps (a night: 480)", NULL},
    {"steps", 0, OPTION_LONG, FIELD(steps), "0", 0, 1e12, NULL, "N", "steps of a run (0: as --minutes allows)",
     NULL},
    {"seeds", 0, OPTION_INT, FIELD(seeds), "3", 2, 1000, NULL, "N",
     "runs of each model with a learning rate; can be raised later", NULL},
    {"lrs", 0, OPTION_STRING, FIELD(lrs), "2e-3,4e-3", 0, 0, NULL, "LIST", "learning rates to try", NULL},
    {"widen", 0, OPTION_INT, FIELD(widen), "1", 0, 16, NULL, "N",
     "learning rates tried beyond those if the best is at their edge", NULL},
    {"warmup", 0, OPTION_LONG, FIELD(warmup), "0", 0, 1e12, NULL, "N",
     "steps in which the learning rate rises (0: a tenth of a run, but 250 if that is at most 7 tenths)", NULL},
    {"search-fraction", 0, OPTION_REAL, FIELD(search_fraction), "1", 0.01, 1, NULL, "X",
     "length of the runs that try learning rates (1: the best one is a final run, too)", NULL},
    {"jobs", 'j', OPTION_INT, FIELD(jobs), "1", 1, 1024, NULL, "N",
     "runs beside each other; for small models better than many threads", NULL},
    {"threads", 0, OPTION_INT, FIELD(threads), "0", 0, 1024, NULL, "N",
     "threads of a run (0: processors, divided by --jobs)", NULL},
    {"part", 0, OPTION_STRING, FIELD(part), NULL, 0, 0, NULL, "I/N",
     "only the I-th of N parts of the runs, each on a machine of its own; afterwards all runs' directories go into one "
     "--out", NULL},
    {"parts", 0, OPTION_FLAG, FIELD(parts), "false", 0, 0, NULL, NULL,
     "the corpus's sub-directories are its parts (languages, domains), as ./train has it; or name each: en=PATH",
     NULL},
    {"part-alpha", 0, OPTION_STRING, FIELD(part_alpha), NULL, 0, 0, NULL, "A",
     "how often a part is trained on, as ./train has it", NULL},
    {"part-weights", 0, OPTION_STRING, FIELD(part_weights), NULL, 0, 0, NULL, "LIST",
     "the same by explicit weights, as in en=2,de=1", NULL},
    {"common", 0, OPTION_STRING, FIELD(common), NULL, 0, 0, NULL, "OPTIONS",
     "more options of ./train for all models, as in '--embedding-lr 4 --optimizer muon' (the papers' is AdamW)", NULL},
    {"mhmoe", 0, OPTION_STRING, FIELD(mhmoe), NULL, 0, 0, NULL, "OPTIONS",
     "more options of ./train for the study's MH-MoE models, as in '--renormalize --z-weight 1e-3'", NULL},
    {"train", 0, OPTION_STRING, FIELD(train), "./train", 0, 0, NULL, "FILE", "the program that trains", NULL},
    {"vocab", 0, OPTION_INT, FIELD(vocab), "1024", 260, 1 << 24, NULL, "N", "tokens in the vocabulary", "Models"},
    {"seq", 0, OPTION_INT, FIELD(seq), "64", 1, 1 << 20, NULL, "N", "sequence length in tokens", NULL},
    {"layers", 0, OPTION_INT, FIELD(layers), "2", 1, 1000, NULL, "N", "transformer blocks", NULL},
    {"channels", 0, OPTION_INT, FIELD(channels), "96", 1, 1 << 16, NULL, "N", "width of a token's vector", NULL},
    {"attn-heads", 0, OPTION_INT, FIELD(attn_heads), "3", 1, 1024, NULL, "N", "attention heads", NULL},
    {"block", 0, OPTION_CHOICE, FIELD(block), BLOCK_DEFAULT, 0, 0, block_words, "KIND",
     "what the blocks are made of, as ./train has it (llama: P2's)", NULL},
    {"moe-every", 0, OPTION_INT, FIELD(moe_every), "2", 1, 1000, NULL, "N", "every N-th block has experts", NULL},
    {"batch", 0, OPTION_INT, FIELD(batch), "8", 1, 65536, NULL, "N", "sequences in a step", NULL},
    {"eval-windows", 0, OPTION_INT, FIELD(eval_windows), "64", 1, 1 << 30, NULL, "N",
     "held-out sequences in a validation on the way", NULL},
    {0},
};

static const struct program_info program = {
    "compare", "compare [OPTION]... [CORPUS | PART=PATH]...",
    "Trains the models of a study on equal terms (data, order, steps, search for a learning rate) and reports on "
    "their costs, losses and speed. The same command again goes on where it was interrupted.",
    "Examples:\n"
    "  make compare\n"
    "  make compare ARGS=\"--minutes 480 --layers 4 --channels 192 --seq 128 --vocab 2048 --out runs/night\"\n"
    "  make compare ARGS=\"--study heads --minutes 30 --jobs 8 --out runs/heads my.txt\"\n"
    "  make compare ARGS=\"--study languages --minutes 480 --parts data/corpora/multilingual --out runs/languages\"\n",
    NULL,
};

/* One ./train: a run, and while it works its process. */
struct task {
    struct study_run run;
    struct result *result; /* where what it finds goes */
    char *directory;
    bool elsewhere; /* in another --part */
    pid_t pid;      /* 0: it does not work */
    int code;       /* as a shell has it, after its end */
    double expected, start, seconds;
};

struct driver {
    struct options options;
    struct study study;
    struct study_model *chosen; /* what study.models points at */
    double rates[MOST_RATES];
    struct comparison comparison;
    sigset_t signals; /* blocked: taken where a child is waited for */
    int stop;         /* the one that came */
    size_t runs, run; /* in the plan; the present one */
    size_t part, parts, lacking; /* of --part, from 0; runs of other parts that are not here */
};

/* ---- Children --------------------------------------------------------------------------------- */

/* Ctrl-C, a service's stop, a closed terminal (unless nohup is there) and the end of a child. */
static void signals_block(struct driver *d) {
    struct sigaction hangup;
    sigaction(SIGHUP, NULL, &hangup);
    sigemptyset(&d->signals);
    sigaddset(&d->signals, SIGINT);
    sigaddset(&d->signals, SIGTERM);
    sigaddset(&d->signals, SIGCHLD);
    if (hangup.sa_handler != SIG_IGN) sigaddset(&d->signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &d->signals, NULL);
}

/* In a process group of its own, so that a terminal's Ctrl-C reaches it once, through us: the second would end it
 * without a checkpoint. What it prints goes to DIRECTORY/train.log. */
static bool child_start(const struct words *w, const char *directory, pid_t *pid, struct error *err) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    if (!directory_make(directory, err)) return false;
    char *log = string_format("%s/train.log", directory);
    sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0666);
    posix_spawn_file_actions_adddup2(&files, 1, 2);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    const int failed = posix_spawnp(pid, w->items[0], &files, &attributes, w->items, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    free(log);
    return !failed || error_set(err, EXIT_USAGE, "--train: cannot start %s: %s; build it (make), or name another",
                                w->items[0], strerror(failed));
}

static void children_tell(const struct task *tasks, size_t n, int number) {
    for (size_t i = 0; i < n; i++)
        if (tasks[i].pid) kill(tasks[i].pid, number);
}

/* Waits for the end of one of the children that there are, passing on to all what we are told. */
static struct task *children_wait(struct driver *d, struct task *tasks, size_t n) {
    for (;;) {
        for (struct task *t = tasks; t < tasks + n; t++) {
            int status;
            if (!t->pid || waitpid(t->pid, &status, WNOHANG) == 0) continue;
            t->pid = 0;
            t->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); /* as a shell has it */
            return t;
        }
        const int number = sigwaitinfo(&d->signals, NULL);
        if (number <= 0 || number == SIGCHLD) continue;
        d->stop = number;
        children_tell(tasks, n, number);
    }
}

/* The last line of DIRECTORY/train.log. malloc'ed. */
static char *child_last_words(const char *directory) {
    char *path = string_format("%s/train.log", directory), *line = NULL, *last = string_format("%s", "");
    size_t capacity = 0;
    FILE *file = fopen(path, "r");
    while (file && getline(&line, &capacity, file) > 0) {
        free(last);
        last = string_format("%.*s", (int)strcspn(line, "\n"), line);
    }
    if (file) fclose(file);
    free(line);
    free(path);
    return last;
}

/* True if we were not told to stop. Else exit code 128+n, and what to do next. */
static bool going_on(const struct driver *d, struct error *err) {
    return !d->stop || error_set(err, 128 + d->stop, "%s: stopped by signal %d; the same command goes on from here",
                                 d->options.request.out, d->stop);
}

/* True if the child did what it should. */
static bool child_check(const struct task *t, struct error *err) {
    if (t->code == EXIT_DONE) return true;
    char *last = child_last_words(t->directory);
    error_set(err, t->code, "%s: exit code %d: %s (all of it in %s/train.log)", t->directory, t->code, last,
              t->directory);
    free(last);
    return false;
}

/* ---- Runs ------------------------------------------------------------------------------------- */

static enum log_state task_look(struct task *t) {
    char *log = string_format("%s/log.jsonl", t->directory);
    const enum log_state state = result_read(t->result, log, t->run.steps);
    free(log);
    return state;
}

/* Starts a run, or goes on with it. */
static bool task_start(struct driver *d, struct task *t, enum log_state state, struct error *err) {
    if (state == LOG_OLD)
        return error_set(err, EXIT_INPUT, "%s/log.jsonl: from an earlier version (got val_loss without tokens, want "
                         "both, and final_loss); remove %s", t->directory, t->directory);
    struct words w = {0};
    char *checkpoint = string_format("%s/last.safetensors", t->directory);
    if (access(checkpoint, F_OK) == 0) command_resume(&w, &d->options.request, t->directory);
    else command_start(&w, &d->options.request, &t->run, t->directory);
    t->start = time_seconds();
    const bool started = child_start(&w, t->directory, &t->pid, err);
    words_free(&w);
    free(checkpoint);
    return started;
}

/* Takes in what a run that has ended leaves. One that diverges has an infinite loss: so it is, with that rate. */
static bool task_end(struct task *t, struct error *err) {
    t->seconds = time_seconds() - t->start;
    if (t->code == EXIT_DIVERGED) *t->result = result_diverged();
    else if (!child_check(t, err)) return false;
    else if (task_look(t) != LOG_FINISHED)
        return error_set(err, EXIT_INPUT,
                         "%s/log.jsonl: does not end with the final loss of step %" PRId64
                         "; remove %s and start again",
                         t->directory, t->run.steps, t->directory);
    return true;
}

/* Does what of the tasks is not yet done, --jobs at a time, in their order, and calls `done` after each. One that fails
 * is told at once, and the others are done all the same; the first error is the call's. After one that cannot be
 * started no more are. */
static bool tasks_run(struct driver *d, struct task *tasks, size_t n, void (*done)(struct driver *, struct task *),
                      struct error *err) {
    size_t next = 0, working = 0;
    bool ok = true;
    while (working > 0 || (!d->stop && next < n)) {
        struct error bad = {0};
        if (!d->stop && next < n && working < (size_t)d->options.request.jobs) {
            struct task *t = &tasks[next++];
            const enum log_state state = task_look(t);
            if (state == LOG_FINISHED) d->run++;
            else if (t->elsewhere) d->lacking++;
            else if (task_start(d, t, state, &bad)) working++;
            else next = n;
        } else {
            struct task *t = children_wait(d, tasks, n);
            working--;
            if (task_end(t, &bad)) done(d, t);
            else if (!d->stop && (working > 0 || next < n)) note_print("%s; the others go on", bad.text);
        }
        if (bad.code && ok) *err = bad;
        ok &= !bad.code;
    }
    return going_on(d, err) && ok;
}

static void tasks_free(struct task *tasks, size_t n) {
    for (size_t i = 0; i < n; i++) free(tasks[i].directory);
    free(tasks);
}

static void file_remove(const char *directory, const char *name) {
    char *path = string_format("%s/%s", directory, name);
    unlink(path);
    free(path);
}

static void run_done(struct driver *d, struct task *t) {
    file_remove(t->directory, "last.safetensors"); /* best.safetensors keeps the weights */
    fprintf(stderr, "[%zu/%zu] %s, lr %g, seed %" PRId64 ": %.4f (%.0f s)\n", ++d->run, d->runs,
            t->run.model->name, t->run.lr, t->run.seed, t->result->loss, t->seconds);
}

static int longer_first(const void *a, const void *b) {
    const double x = ((const struct task *)a)->expected, y = ((const struct task *)b)->expected;
    return (x < y) - (x > y);
}

/* True if all is here that comes next depends on. Else this part has done what it can, which is no failure. */
static bool parts_together(const struct driver *d, struct error *err) {
    const struct request *r = &d->options.request;
    return d->lacking == 0 || error_set(err, EXIT_DONE, "%s: part %s is done, and %zu runs of other parts are not "
                                        "here; with their directories beside those here, the same command goes on",
                                        r->out, r->part, d->lacking);
}

/* Runs of a stage. Beside each other the longest begin, so that none is left alone at the end. */
static bool stage_run(struct driver *d, struct task *tasks, size_t n, struct error *err) {
    for (size_t i = 0; i < n; i++) {
        tasks[i].directory = run_directory(&d->options.request, &tasks[i].run);
        tasks[i].elsewhere = i % d->parts != d->part;
        tasks[i].expected = model_named(&d->comparison, tasks[i].run.model->name)->timing.step;
    }
    if (d->options.request.jobs > 1) qsort(tasks, n, sizeof *tasks, longer_first);
    const bool ok = tasks_run(d, tasks, n, run_done, err);
    tasks_free(tasks, n);
    return ok && parts_together(d, err);
}

/* The runs that trials lack. Models take turns, so that a slow hour hits all of them. malloc'ed. */
static struct task *search_tasks(struct driver *d, size_t *n) {
    struct comparison *c = &d->comparison;
    const int64_t steps = search_steps(c->steps, d->options.request.search_fraction);
    struct task *tasks = NULL;
    size_t capacity = 0;
    *n = 0;
    for (size_t seed = 0; seed < (size_t)d->options.request.seeds; seed++)
        for (struct model_result *m = c->models; m < c->models + c->study->n; m++)
            for (struct trial *t = m->search.trials; t < m->search.trials + m->search.n; t++) {
                if (seed < t->seeds || seed >= t->seeds + trial_lacks(&m->search, t)) continue;
                tasks = array_grow(tasks, &capacity, *n + 1, sizeof *tasks);
                tasks[(*n)++] = (struct task){.run = {m->model, t->rate, (int64_t)seed + 1, steps},
                                              .result = &t->results[seed]};
            }
    return tasks;
}

static bool search_round(struct driver *d, struct error *err) {
    const struct comparison *c = &d->comparison;
    size_t n;
    struct task *tasks = search_tasks(d, &n);
    if (!stage_run(d, tasks, n, err)) return false;
    for (struct model_result *m = c->models; m < c->models + c->study->n; m++)
        for (struct trial *t = m->search.trials; t < m->search.trials + m->search.n; t++)
            t->seeds += trial_lacks(&m->search, t);
    return true;
}

/* Stage 1: every model's race, side by side. */
static bool search_run(struct driver *d, struct error *err) {
    struct comparison *c = &d->comparison;
    for (bool any = searches(c); any;) {
        any = false;
        for (size_t i = 0; i < c->study->n; i++) any |= search_next(&c->models[i].search);
        if (any && !search_round(d, err)) return false;
    }
    return true;
}

/* A search of full length with the best learning rate is the final runs. */
static bool search_is_final(const struct comparison *c) { return searches(c) && c->request->search_fraction == 1; }
static size_t finals_left(const struct comparison *c) { return search_is_final(c) ? 0 : (size_t)c->request->seeds; }

/* Stage 2: every seed with the best of them, if they are not done. */
static bool finals_run(struct driver *d, struct error *err) {
    struct comparison *c = &d->comparison;
    const size_t models = c->study->n, n = models * (size_t)d->options.request.seeds;
    struct task *tasks = array_alloc(n, sizeof *tasks);
    for (size_t k = 0; k < n; k++) {
        struct model_result *m = &c->models[k % models];
        tasks[k].run = (struct study_run){m->model, best_rate(m), (int64_t)(k / models) + 1, c->steps};
        tasks[k].result = &m->finals[k / models];
    }
    for (size_t i = 0; i < models && search_is_final(c); i++) /* they have been counted */
        d->run -= c->models[i].search.trials[search_best(&c->models[i].search)].seeds;
    return stage_run(d, tasks, n, err);
}

/* ---- The plan --------------------------------------------------------------------------------- */

/* Sizes and costs of a model, from the configuration that its calibration was really run with. */
static bool model_inspect(const struct request *r, struct model_result *m, struct error *err) {
    struct config config;
    struct checkpoint checkpoint;
    struct sizes s;
    char *directory = calibration_directory(r, m->model), *path = string_format("%s/last.safetensors", directory);
    bool ok = checkpoint_open(&checkpoint, path, err);
    if (ok) {
        ok = config_from_checkpoint(&config, &checkpoint, err) && config_check(&config, &s, err);
        checkpoint_close(&checkpoint);
    }
    if (ok) {
        const struct model_cost cost = model_cost(&s, (struct model_setup){MODEL_TRAIN, 1, false, STORAGE_F32});
        m->whole = (struct layer_cost){(double)cost.parameters, cost.forward_flops / 2};
        m->sizes = model_moe_layer(&config, &s, &m->layer);
    }
    free(directory);
    free(path);
    return ok;
}

static void calibration_done(struct driver *d, struct task *t) {
    const struct request *r = &d->options.request;
    const double overhead = t->seconds - t->result->seconds;
    model_named(&d->comparison, t->run.model->name)->timing =
        (struct timing){(double)r->batch * r->seq / t->result->rate, overhead};
    fprintf(stderr, "measured %s: %.0f tokens/s, %.1f s besides\n", t->run.model->name, t->result->rate, overhead);
}

/* A few steps of the models, as many beside each other as later: what a step takes, and what a run takes besides.
 * `match` chooses those that name another's directory with --match, which has to be there. */
static bool models_calibrate(struct driver *d, bool match, struct error *err) {
    const struct study *study = &d->study;
    struct task *tasks = array_alloc(study->n, sizeof *tasks);
    struct result *results = array_alloc(study->n, sizeof *results);
    size_t n = 0;
    for (size_t i = 0; i < study->n; i++) {
        const struct study_model *m = &study->models[i];
        if (m->match != match) continue;
        tasks[n] = (struct task){.run = {m, d->rates[0], 1, CALIBRATION_STEPS},
                                 .result = &results[n],
                                 .directory = calibration_directory(&d->options.request, m)};
        file_remove(tasks[n].directory, "log.jsonl"); /* of a plan that was interrupted */
        file_remove(tasks[n++].directory, "last.safetensors");
    }
    const bool ok = tasks_run(d, tasks, n, calibration_done, err);
    for (size_t i = 0; i < n; i++) result_free(&results[i]);
    free(results);
    tasks_free(tasks, n);
    return ok;
}

/* Tokenizer and shards are made before anything is timed. */
static bool corpus_prepare(struct driver *d, struct error *err) {
    const struct study_run run = {&d->study.models[0], d->rates[0], 1, 1};
    struct task task = {.directory = d->options.request.out};
    struct words w = {0};
    command_start(&w, &d->options.request, &run, task.directory);
    free(w.items[1]);
    w.items[1] = string_format("--dry-run"); /* in the place of --out */
    const bool started = child_start(&w, task.directory, &task.pid, err);
    words_free(&w);
    if (!started) return false;
    children_wait(d, &task, 1);
    return going_on(d, err) && child_check(&task, err);
}

/* Measures the models and sets the number of steps. */
static bool plan_make(struct driver *d, struct error *err) {
    struct comparison *c = &d->comparison;
    const struct request *r = &d->options.request;
    const double start = time_seconds();
    if (r->part && !r->steps)
        return error_set(err, EXIT_USAGE, "--part %s: machines would plan different numbers of steps; give --steps",
                         r->part);
    if (!corpus_prepare(d, err)) return false;
    if (!models_calibrate(d, false, err) || !models_calibrate(d, true, err)) return false;
    struct timing *timings = array_alloc(c->study->n, sizeof *timings);
    for (size_t i = 0; i < c->study->n; i++) timings[i] = c->models[i].timing;
    const double spare = 0.9; /* machines are not equally fast all day */
    const int64_t fit = plan_steps(timings, c->study->n, search_stage(r, c->n_rates),
                                   (struct stage){finals_left(c), 1, 1}, r->jobs,
                                   spare * 60 * r->minutes - (time_seconds() - start));
    free(timings);
    c->steps = r->steps ? r->steps : fit;
    if (c->steps >= FEWEST_STEPS || r->steps) return true;
    return error_set(err, EXIT_USAGE,
                     "--minutes %g: not enough for %zu runs of %d steps; allow more, or make the models "
                     "smaller (--layers, --channels, --seq), or fewer (--models, --lrs, --seeds)",
                     r->minutes, d->runs, FEWEST_STEPS);
}

/* What must be the same for a plan to go on: everything but the place, the program and the part; seeds may become more.
 * New reference. */
static json_t *request_json(struct driver *d) {
    const struct option_group group = {compare_options, &d->options};
    json_t *request = options_to_json(&group), *corpora = json_array();
    for (size_t i = 0; i < d->options.request.n_corpora; i++)
        json_array_append_new(corpora, json_string(d->options.request.corpora[i]));
    json_object_set_new(request, "corpora", corpora);
    json_object_del(request, "out");
    json_object_del(request, "train");
    json_object_del(request, "part");
    return request;
}

static bool plan_write(struct driver *d, const char *path, struct error *err) {
    struct atomic_file file;
    json_t *models = json_array();
    for (size_t i = 0; i < d->study.n; i++) {
        const struct model_result *m = &d->comparison.models[i];
        json_array_append_new(models, json_pack("{s:s, s:f, s:f}", "name", m->model->name, "step_seconds",
                                                m->timing.step, "overhead_seconds", m->timing.overhead));
    }
    json_t *plan = json_pack("{s:o, s:I, s:I, s:o}", "request", request_json(d), "steps",
                             (json_int_t)d->comparison.steps, "runs", (json_int_t)d->runs, "models", models);
    const bool opened = atomic_open(&file, path, err);
    if (opened) json_dumpf(plan, file.file, JSON_INDENT(1));
    json_decref(plan);
    return opened && atomic_commit(&file, err);
}

static bool request_value_fits(const char *key, const json_t *mine, const json_t *theirs) {
    if (strcmp(key, "seeds") == 0) return theirs && json_integer_value(mine) >= json_integer_value(theirs);
    return json_equal(mine, theirs);
}

/* True if an earlier plan was for the same; the message names each option that was not, with both values. */
static bool plan_check(struct driver *d, const json_t *plan, const char *path, struct error *err) {
    json_t *mine = request_json(d), *theirs = json_object_get(plan, "request"), *value;
    char *differences = string_format("%s", "");
    const char *key;
    bool known = true;
    json_object_foreach(mine, key, value) {
        const json_t *other = json_object_get(theirs, key);
        if (request_value_fits(key, value, other)) continue;
        char *got = json_dumps(value, JSON_ENCODE_ANY), *want = other ? json_dumps(other, JSON_ENCODE_ANY) : NULL;
        string_append(&differences, "%s%s: got %s, it has %s", *differences ? "; " : "", key, got,
                      want ? want : "none");
        known &= want != NULL;
        free(got);
        free(want);
    }
    json_decref(mine);
    const bool same = !*differences;
    if (!same && known)
        error_set(err, EXIT_MISMATCH, "%s: a plan for something else (%s); give the same options, or another --out",
                  path, differences);
    else if (!same)
        error_set(err, EXIT_MISMATCH, "%s: from an earlier version (%s); remove %s, or give another --out", path,
                  differences, d->options.request.out);
    free(differences);
    return same;
}

/* Takes over the steps of an earlier plan, if it was for the same or for fewer seeds. */
static bool plan_continue(struct driver *d, const json_t *plan, const char *path, struct error *err) {
    if (!plan_check(d, plan, path, err)) return false;
    d->comparison.steps = json_integer_value(json_object_get(plan, "steps"));
    for (size_t i = 0; i < d->study.n; i++) {
        struct timing *timing = &d->comparison.models[i].timing;
        const json_t *model = json_array_get(json_object_get(plan, "models"), i);
        timing->step = json_real_value(json_object_get(model, "step_seconds"));
        timing->overhead = json_real_value(json_object_get(model, "overhead_seconds"));
    }
    if (d->comparison.steps <= 0)
        return error_set(err, EXIT_INPUT, "%s: steps: missing; remove it and the runs beside it", path);
    const json_int_t seeds = json_integer_value(json_object_get(json_object_get(plan, "request"), "seeds"));
    if (seeds == d->options.request.seeds) return true;
    fprintf(stderr, "compare: %s: made for %" JSON_INTEGER_FORMAT " seeds; goes on with %d\n", path, seeds,
            d->options.request.seeds);
    return plan_write(d, path, err);
}

static bool plan_open(struct driver *d, struct error *err) {
    char *path = string_format("%s/plan.json", d->options.request.out);
    json_error_t bad;
    json_t *plan = access(path, F_OK) == 0 ? json_load_file(path, 0, &bad) : NULL;
    bool ok;
    if (plan) ok = plan_continue(d, plan, path, err);
    else if (access(path, F_OK) == 0)
        ok = error_set(err, EXIT_INPUT, "%s: line %d: %s; remove it to plan again", path, bad.line, bad.text);
    else ok = plan_make(d, err) && plan_write(d, path, err);
    json_decref(plan);
    free(path);
    for (size_t i = 0; ok && i < d->study.n; i++)
        ok = model_inspect(&d->options.request, &d->comparison.models[i], err);
    if (ok)
        fprintf(stderr, "%s%zu runs of %" PRId64 " steps\n", searches(&d->comparison) ? "at most " : "", d->runs,
                d->comparison.steps);
    return ok;
}

/* ---- Setting up ------------------------------------------------------------------------------- */

static bool name_in_list(const char *list, const char *name) {
    const size_t length = strlen(name);
    for (const char *at = list; (at = strstr(at, name)); at += length)
        if ((at == list || at[-1] == ',') && (at[length] == ',' || at[length] == 0)) return true;
    return false;
}

/* The models of --models, in the study's order, with the baselines they need. */
static bool study_choose(struct driver *d, struct error *err) {
    const struct study *all = &studies[d->options.request.study];
    const char *list = d->options.models;
    size_t named = list != NULL, n = 0;
    for (const char *at = list; at && *at; at++) named += *at == ',';
    d->chosen = array_alloc(all->n, sizeof *d->chosen);
    for (size_t i = 0; i < all->n; i++)
        if (!list || name_in_list(list, all->models[i].name)) d->chosen[n++] = all->models[i];
    d->study = (struct study){all->name, all->question, d->chosen, n};
    if (list && n != named)
        return error_set(err, EXIT_USAGE, "--models %s: not all of them are in --study %s; its first is %s", list,
                         all->name, all->models[0].name);
    for (size_t i = 0; i < n; i++)
        if (d->chosen[i].baseline && list && !name_in_list(list, d->chosen[i].baseline))
            return error_set(err, EXIT_USAGE, "--models %s: %s is compared with %s; add it", list,
                             d->chosen[i].name, d->chosen[i].baseline);
    return true;
}

static bool comparison_open(struct driver *d, struct error *err) {
    const struct request *r = &d->options.request;
    const size_t n_rates = rates_parse(r->lrs, d->rates, MOST_RATES);
    if (n_rates == 0)
        return error_set(err, EXIT_USAGE,
                         "--lrs: bad value (got '%s', want 1 to %d different numbers above 0, as in 1e-3,2e-3)", r->lrs,
                         MOST_RATES);
    if (!part_parse(r->part, &d->part, &d->parts))
        return error_set(err, EXIT_USAGE, "--part: bad value (got '%s', want I/N with I from 1 to N, as in 2/3)",
                         r->part);
    if (!study_choose(d, err) || !study_check(r, &d->study, err) || !directory_make(r->out, err)) return false;
    d->comparison = (struct comparison){.request = r,
                                        .study = &d->study,
                                        .rates = d->rates,
                                        .n_rates = n_rates,
                                        .models = array_alloc(d->study.n, sizeof *d->comparison.models)};
    for (size_t i = 0; i < d->study.n; i++)
        d->comparison.models[i] = (struct model_result){
            .model = &d->study.models[i],
            .search = search_begin(d->rates, n_rates, (size_t)r->widen, (size_t)r->seeds),
            .finals = array_alloc((size_t)r->seeds, sizeof(struct result))};
    d->runs = d->study.n * (search_stage(r, n_rates).runs + finals_left(&d->comparison));
    return true;
}

static void driver_close(struct driver *d) {
    const struct option_group group = {compare_options, &d->options};
    for (size_t i = 0; i < d->study.n; i++) {
        struct model_result *m = &d->comparison.models[i];
        search_free(&m->search);
        for (int s = 0; s < d->options.request.seeds; s++) result_free(&m->finals[s]);
        free(m->finals);
    }
    free(d->comparison.models);
    free(d->chosen);
    options_free(&group, 1);
}

int main(int argc, char **argv) {
    struct driver driver = {0}, *d = &driver;
    const struct option_group group = {compare_options, &d->options};
    struct error err;
    program_start(argv);
    options_set_defaults(&group, 1);
    const int first = options_parse(&group, 1, &program, argc, argv, NULL, &err);
    for (int i = first; i >= 0 && i < argc; i++)
        if (!text_is_utf8(argv[i])) {
            error_set(&err, EXIT_USAGE, "%s: a name that is not UTF-8 cannot stand in a plan; rename it", argv[i]);
            error_exit(&err);
        }
    if (first < 0) error_exit(&err);
    d->options.request.corpora = argv + first;
    d->options.request.n_corpora = (size_t)(argc - first);
    signals_block(d);
    if (!comparison_open(d, &err) || !plan_open(d, &err) || !search_run(d, &err) || !finals_run(d, &err) ||
        !report_write(&d->comparison, &err))
        error_exit(&err);
    fprintf(stderr, "%s/report.md\n", d->options.request.out);
    driver_close(d);
    return EXIT_DONE;
}
