/* See compare_study.h. The baseline is the papers': top-1, experts as wide as a dense layer, E0 = 8. With K = 3, parity
 * then has whole numbers: F0 = 4C gives F = C for any C, SwiGLU's F0 = 8C/3 gives F = 2C/3 where 3 divides C, and E is
 * 31 for each head. (P2's own H = 2 has K = 2, for which E is 41.33.) docs/MHMOE.md explains P1, P2. */
#include "compare_study.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "../../mhmoe.h"
#include "../../src/run/parity.h"
#include "../../src/run/plan.h"
#include "../../src/run/training.h"
#include "compare_search.h"
#include "statistics.h"

#define SMOE {"smoe", "SMoE, top-1 of 8", NULL, false, 1, "--ffn smoe --experts 8 --topk 1"}
#define MHMOE "--ffn mhmoe --topk 3 --moe-heads "

static const struct study_model main_models[] = {
    SMOE,
    {"dense", "dense", "smoe", false, 0, "--ffn dense"},
    {"fine", "fine-grained SMoE, top-2", "smoe", true, 0, "--ffn smoe --topk 2"},
    {"mhmoe-h2", "MH-MoE, H = 2", "smoe", true, 0, MHMOE "2"},
    {"mhmoe-h3", "MH-MoE, H = 3", "smoe", true, 0, MHMOE "3"},
    /* as many experts as the baseline, each with as many parameters: F = H F0; not equal in FLOPs */
    {"mhmoe-p1", "MH-MoE as in P1, H = 4 (unequal)", "smoe", false, 4,
     "--ffn mhmoe --moe-heads 4 --experts 8 --topk 1"},
};

static const struct study_model heads_models[] = {
    SMOE,
    {"mhmoe-h1", "MH-MoE, H = 1", "smoe", true, 0, MHMOE "1"},
    {"mhmoe-h2", "MH-MoE, H = 2", "smoe", true, 0, MHMOE "2"},
    {"mhmoe-h4", "MH-MoE, H = 4", "smoe", true, 0, MHMOE "4"},
    {"mhmoe-h8", "MH-MoE, H = 8", "smoe", true, 0, MHMOE "8"},
};

static const struct study_model experts_models[] = {
    SMOE,
    {"smoe-32", "SMoE, top-1 of 32", NULL, false, 1, "--ffn smoe --experts 32 --topk 1"},
    {"smoe-128", "SMoE, top-1 of 128", NULL, false, 1, "--ffn smoe --experts 128 --topk 1"},
    {"mhmoe-8", "MH-MoE, H = 2, for 8", "smoe", true, 0, MHMOE "2"},
    {"mhmoe-32", "MH-MoE, H = 2, for 32", "smoe-32", true, 0, MHMOE "2"},
    {"mhmoe-128", "MH-MoE, H = 2, for 128", "smoe-128", true, 0, MHMOE "2"},
};

static const struct study_model ablation_models[] = {
    SMOE,
    {"neither", "MH-MoE, H = 2, no head, no merge", "smoe", true, 0, MHMOE "2 --head-depth 0 --merge-depth 0"},
    {"head", "MH-MoE, H = 2, head alone", "smoe", true, 0, MHMOE "2 --head-depth 1 --merge-depth 0"},
    {"merge", "MH-MoE, H = 2, merge alone", "smoe", true, 0, MHMOE "2 --head-depth 0 --merge-depth 1"},
    {"both", "MH-MoE, H = 2, head and merge", "smoe", true, 0, MHMOE "2 --head-depth 1 --merge-depth 1"},
};

static const struct study_model routers_models[] = {
    SMOE,
    {"softmax", "MH-MoE, H = 2, softmax, aux", "smoe", true, 0, MHMOE "2 --router softmax --balance aux"},
    {"renorm", "MH-MoE, H = 2, softmax, aux, gates sum to 1", "smoe", true, 0,
     MHMOE "2 --router softmax --balance aux --renormalize"},
    {"cosine", "MH-MoE, H = 2, cosine, aux", "smoe", true, 0, MHMOE "2 --router cosine --balance aux"},
    {"bias", "MH-MoE, H = 2, softmax, bias", "smoe", true, 0, MHMOE "2 --router softmax --balance bias"},
    {"none", "MH-MoE, H = 2, softmax, no balance", "smoe", true, 0, MHMOE "2 --router softmax --balance none"},
};

/* P1's models, each in the SMoE's matrices: X-MoE is that with a cosine router. */
static const struct study_model languages_models[] = {
    SMOE,
    {"dense", "dense", "smoe", false, 0, "--ffn dense"},
    {"xmoe", "X-MoE: SMoE with a cosine router", "smoe", true, 0, "--ffn smoe --topk 1 --router cosine"},
    {"fine", "fine-grained SMoE, top-2", "smoe", true, 0, "--ffn smoe --topk 2"},
    {"mhmoe-h2", "MH-MoE, H = 2", "smoe", true, 0, MHMOE "2"},
    {"mhmoe-h3", "MH-MoE, H = 3", "smoe", true, 0, MHMOE "3"},
    {"mhmoe-h4", "MH-MoE, H = 4", "smoe", true, 0, MHMOE "4"},
};

/* P1's third task: its models, and MH-MoE with as many heads as it tried. */
#define MASKED "--task masked "
static const struct study_model pictures_models[] = {
    {"smoe", "SMoE, top-1 of 8", NULL, false, 1, MASKED "--ffn smoe --experts 8 --topk 1"},
    {"dense", "dense", "smoe", false, 0, MASKED "--ffn dense"},
    {"xmoe", "X-MoE: SMoE with a cosine router", "smoe", true, 0, MASKED "--ffn smoe --topk 1 --router cosine"},
    {"mhmoe-h2", "MH-MoE, H = 2", "smoe", true, 0, MASKED MHMOE "2"},
    {"mhmoe-h4", "MH-MoE, H = 4", "smoe", true, 0, MASKED MHMOE "4"},
    {"mhmoe-h8", "MH-MoE, H = 8", "smoe", true, 0, MASKED MHMOE "8"},
};

#define STUDY(name, question) {#name, question, name##_models, sizeof name##_models / sizeof *name##_models}
const struct study studies[] = {
    STUDY(main, "MH-MoE against dense, SMoE and fine-grained SMoE at equal cost"),
    STUDY(heads, "the number of heads at equal cost"),
    STUDY(experts, "the number of experts, MH-MoE against SMoE at equal cost"),
    STUDY(ablation, "head and merge layers, each at the cost of the baseline"),
    STUDY(routers, "routers and balancing"),
    STUDY(languages, "P1's models at equal cost, of many languages"),
    STUDY(pictures, "P1's models at equal cost, filling in what is hidden of pictures and texts"),
};
const char *const study_words[] = {"main", "heads", "experts", "ablation", "routers", "languages", "pictures", NULL};

bool part_parse(const char *text, size_t *part, size_t *parts) {
    int length = 0;
    *part = *parts = 1;
    const bool two = !text || (strspn(text, "0123456789/") == strlen(text) &&
                               sscanf(text, "%zu/%zu%n", part, parts, &length) == 2 && !text[length]);
    return two && (*part)-- >= 1 && *part < *parts;
}

/* Two rates that directories' names cannot tell apart would be one run. */
static bool rates_ascend(const double *rates, size_t n) {
    for (size_t i = 1; i < n; i++) {
        char *a = string_format("%g", rates[i - 1]), *b = string_format("%g", rates[i]);
        const bool alike = strcmp(a, b) == 0;
        free(a);
        free(b);
        if (alike) return false;
    }
    return true;
}

size_t rates_parse(const char *text, double *rates, size_t most) {
    size_t n = 0;
    for (char *end; n < most; text = end + 1) {
        rates[n] = strtod(text, &end);
        if (end == text || !(rates[n] > 0) || isinf(rates[n++]) || (*end && *end != ',')) return 0;
        if (*end) continue;
        qsort(rates, n, sizeof *rates, compare_doubles);
        return rates_ascend(rates, n) ? n : 0;
    }
    return 0;
}

/* ---- Command lines ---- */

void words_add(struct words *w, const char *format, ...) {
    va_list args;
    char *text;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) exit(EXIT_MEMORY);
    va_end(args);
    w->items = array_grow(w->items, &w->capacity, w->n + 2, sizeof *w->items);
    w->items[w->n++] = text;
    w->items[w->n] = NULL;
}

void words_free(struct words *w) {
    for (size_t i = 0; i < w->n; i++) free(w->items[i]);
    free(w->items);
    *w = (struct words){0};
}

static void words_split(struct words *w, const char *text) {
    while (*text) {
        const size_t length = strcspn(text, " ");
        words_add(w, "%.*s", (int)length, text);
        text += length;
        text += strspn(text, " ");
    }
}

char *run_directory(const struct request *r, const struct study_run *run) {
    return string_format("%s/%s-lr%g-seed%" PRId64 "-steps%" PRId64, r->out, run->model->name, run->lr, run->seed,
                         run->steps);
}

static char *calibration_of(const struct request *r, const char *name) {
    return string_format("%s/calibration/%s", r->out, name);
}
char *calibration_directory(const struct request *r, const struct study_model *model) {
    return calibration_of(r, model->name);
}

/* What these options of ./train (the first word is its name) make of a configuration. */
static bool config_apply(struct config *config, const struct words *w, struct error *err) {
    static const struct program_info train = {"train", "", "", "", NULL};
    struct training training = {0};
    const struct option_group groups[] = {{training_options, &training}, {model_options, config}};
    bool *given = NULL;
    const bool parsed = options_parse(groups, 2, &train, (int)w->n, w->items, &given, err) >= 0;
    if (parsed) config_preset(config, groups, 2, given);
    free(given);
    options_free(groups, 1);
    return parsed;
}

/* ./train's defaults, with what all models share. */
static struct config common_config(const struct request *r) {
    struct config config = {0};
    const struct option_group group = {model_options, &config};
    struct words w = {0};
    struct error unused; /* ./train tells it */
    options_set_defaults(&group, 1);
    config.layers = r->layers;
    config.channels = r->channels;
    config.attn_heads = r->attn_heads;
    config.moe_every = r->moe_every;
    config.block = r->block;
    words_add(&w, "train");
    words_split(&w, r->common ? r->common : "");
    config_apply(&config, &w, &unused);
    words_free(&w);
    return config;
}

/* What one model has of its own, but for --match. */
static void model_words(struct words *w, const struct request *r, const struct study_model *model) {
    struct config dense = common_config(r);
    struct sizes sizes = {0};
    struct error unused; /* ./train tells it */
    dense.ffn = FFN_DENSE;
    if (r->common) words_split(w, r->common);
    words_split(w, model->words);
    if (r->mhmoe && strstr(model->words, "--ffn mhmoe")) words_split(w, r->mhmoe);
    if (model->hidden && config_check(&dense, &sizes, &unused))
        words_add(w, "--expert-hidden=%zu", (size_t)model->hidden * sizes.Fd);
}

static void match_words(struct words *w, const struct request *r, const struct study_model *model) {
    if (!model->match) return;
    char *baseline = calibration_of(r, model->baseline);
    words_add(w, "--match=%s", baseline);
    free(baseline);
}

bool study_is_masked(const struct study *study) { return strstr(study->models[0].words, MASKED); }

int64_t warmup_steps(const struct request *r, int64_t steps) {
    if (r->warmup) return r->warmup < steps ? r->warmup : steps;
    const int64_t enough = 250, most = steps * 7 / 10, least = enough < most ? enough : most;
    return steps / 10 > least ? steps / 10 : least;
}

int64_t eval_every(int64_t steps) { return steps < 10 ? 1 : (steps + 9) / 10; }

static int threads_each(const struct request *r) {
    if (r->threads || r->jobs <= 1) return r->threads;
    const int share = omp_get_num_procs() / r->jobs;
    return share > 1 ? share : 1;
}

void command_start(struct words *w, const struct request *r, const struct study_run *run, const char *directory) {
    words_add(w, "%s", r->train);
    words_add(w, "--out=%s", directory);
    words_add(w, "--threads=%d", threads_each(r));
    words_add(w, "--seed=%" PRId64, run->seed);
    words_add(w, "--steps=%" PRId64, run->steps);
    words_add(w, "--warmup=%" PRId64, warmup_steps(r, run->steps));
    words_add(w, "--lr=%.17g", run->lr);
    words_add(w, "--batch=%d", r->batch);
    words_add(w, "--eval-every=%" PRId64, eval_every(run->steps));
    words_add(w, "--eval-windows=%d", r->eval_windows);
    words_add(w, "--sample-every=0");
    words_add(w, "--optimizer=adamw"); /* the papers'; --common may say another */
    words_add(w, "--vocab=%d", r->vocab);
    if (r->parts) words_add(w, "--parts");
    if (r->part_alpha) words_add(w, "--part-alpha=%s", r->part_alpha);
    if (r->part_weights) words_add(w, "--part-weights=%s", r->part_weights);
    words_add(w, "--seq=%d", r->seq);
    words_add(w, "--layers=%d", r->layers);
    words_add(w, "--channels=%d", r->channels);
    words_add(w, "--attn-heads=%d", r->attn_heads);
    words_add(w, "--block=%s", block_words[r->block]);
    words_add(w, "--moe-every=%d", r->moe_every);
    model_words(w, r, run->model);
    match_words(w, r, run->model);
    words_add(w, "--");
    for (size_t i = 0; i < r->n_corpora; i++) words_add(w, "%s", r->corpora[i]);
}

void command_resume(struct words *w, const struct request *r, const char *directory) {
    words_add(w, "%s", r->train);
    words_add(w, "--resume=%s", directory);
    words_add(w, "--threads=%d", threads_each(r));
}

/* ---- Parity ---- */

/* What the model's own options make of `config`, which has its shape. */
static bool model_config(const struct request *r, const struct study_model *model, struct config *config,
                         struct error *err) {
    struct words w = {0};
    struct sizes sizes;
    *config = common_config(r);
    words_add(&w, "train");
    model_words(&w, r, model);
    const bool parsed = config_apply(config, &w, err);
    words_free(&w);
    return parsed && (model->match || config_check(config, &sizes, err));
}

static const struct study_model *study_named(const struct study *study, const char *name) {
    size_t i = 0;
    while (strcmp(study->models[i].name, name) != 0) i++;
    return &study->models[i];
}

/* *unmatched: the model for which parity has none; NULL if something else is wrong. */
static bool study_fits(const struct request *r, const struct study *study, const struct study_model **unmatched,
                       struct error *err) {
    *unmatched = NULL;
    for (const struct study_model *m = study->models; m < study->models + study->n; m++) {
        struct config mine, baseline;
        if (!model_config(r, m, &mine, err)) return false;
        if (!m->match) continue;
        if (!model_config(r, study_named(study, m->baseline), &baseline, err)) return false;
        if (parity_match(&mine, &baseline, model_moe_layer, m->baseline, err)) continue;
        *unmatched = m;
        return false;
    }
    return true;
}

bool study_check(const struct request *r, const struct study *study, struct error *err) {
    const struct study_model *bad, *unused;
    if (study_fits(r, study, &bad, err)) return true;
    for (int distance = 1; bad && distance <= r->channels; distance++)
        for (int side = -1; side <= 1; side += 2) {
            struct request other = *r;
            struct error ignored;
            other.channels += side * distance;
            if (other.channels > 0 && study_fits(&other, study, &unused, &ignored))
                return error_set(err, EXIT_USAGE, "--channels %d: %s has no whole width and number of experts at the "
                                 "cost of %s; use --channels %d", r->channels, bad->name, bad->baseline,
                                 other.channels);
        }
    return false;
}

/* ---- The plan ---- */

int64_t search_steps(int64_t steps, double fraction) {
    const int64_t n = llround((double)steps * fraction);
    return n > 1 ? n : 1;
}

struct stage search_stage(const struct request *r, size_t n_rates) {
    size_t rounds = 1 + (size_t)r->widen;
    for (int seeds = SEARCH_SEEDS; seeds < r->seeds; seeds *= 2) rounds++;
    const size_t rates = n_rates + (size_t)r->widen;
    return n_rates > 1 ? (struct stage){rates * (size_t)r->seeds, r->search_fraction, rounds} : (struct stage){0};
}

/* Beside each other the longest begin and the shortest are last, so that at the end of a round places are idle for
 * about as long as one of those takes. */
static double stage_seconds(const struct timing *models, size_t n, struct stage stage, double steps, int jobs) {
    double all = 0, longest = 0, shortest = INFINITY;
    for (size_t i = 0; i < n; i++) {
        const double run = models[i].step * steps * stage.fraction + models[i].overhead;
        all += (double)stage.runs * run;
        longest = fmax(longest, run);
        shortest = fmin(shortest, run);
    }
    const double rounds = (double)stage.rounds;
    return stage.runs ? fmax(rounds * longest, all / jobs + rounds * (1 - 1.0 / jobs) * shortest) : 0;
}

/* What plan_steps is asked for. */
struct planning {
    const struct timing *models;
    size_t n;
    struct stage stages[2];
    int jobs;
};
static double plan_seconds(const void *context, int64_t steps) {
    const struct planning *p = context;
    return stage_seconds(p->models, p->n, p->stages[0], (double)steps, p->jobs) +
           stage_seconds(p->models, p->n, p->stages[1], (double)steps, p->jobs);
}

int64_t plan_steps(const struct timing *models, size_t n, struct stage search, struct stage finals, int jobs,
                   double seconds) {
    const struct planning planning = {models, n, {search, finals}, jobs};
    return steps_within(seconds, plan_seconds, &planning);
}
