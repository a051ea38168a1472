/* See parity.h. A refusal is only useful with a way out, so the search for settings that fit goes through the same
 * function that refused: nothing is suggested that has not been solved. */
#include "parity.h"

#include <math.h>
#include <stdlib.h>

struct layer_cost layer_matrices(const struct moe_layer *l) {
    const double C = (double)l->C, F = (double)l->F, Fs = (double)l->Fs, g = (double)l->g, heads = (double)l->d * C * C;
    return (struct layer_cost){.parameters = heads + g * C / (double)l->H * ((double)l->E * F + Fs),
                               .multiply_adds = heads + g * C * ((double)l->K * F + Fs)};
}

double cost_excess(double cost, double baseline) { return 100 * (cost - baseline) / baseline; }

/* What stands in the way of parity, if anything does. */
enum fit { FITS, NO_SPLIT, NO_WIDTH, NO_EXPERTS };

/* g K F, a whole number. */
static int64_t hidden_of_matrices(const struct moe_layer *baseline, const struct moe_layer *mine) {
    return (int64_t)(baseline->g * (baseline->K * baseline->F + baseline->Fs)) - (int64_t)(mine->g * mine->Fs) -
           (int64_t)(mine->d * mine->C);
}

double layer_experts(const struct moe_layer *baseline, const struct moe_layer *mine) {
    const double g = (double)mine->g, heads = (double)(mine->d * mine->C);
    const double all = (double)baseline->g * ((double)baseline->E * (double)baseline->F + (double)baseline->Fs) - heads;
    return ((double)mine->H * all / g - (double)mine->Fs) / (double)mine->F;
}

static enum fit layer_fit(const struct moe_layer *baseline, struct moe_layer *mine) {
    const int64_t hidden = hidden_of_matrices(baseline, mine), divisor = (int64_t)(mine->g * mine->K);
    if (mine->C % mine->H) return NO_SPLIT;
    if (hidden <= 0 || hidden % divisor) return NO_WIDTH;
    mine->F = (size_t)(hidden / divisor);
    const double experts = round(layer_experts(baseline, mine));
    if (experts < (double)mine->K || experts > PARITY_EXPERTS) return NO_EXPERTS;
    mine->E = (size_t)experts;
    const double want = layer_matrices(baseline).parameters, got = layer_matrices(mine).parameters;
    return fabs(got - want) <= PARITY_TOLERANCE * want ? FITS : NO_EXPERTS;
}

/* One size that a user can change, and by how much at most. */
struct knob {
    const char *phrase;
    size_t offset;
    bool of_baseline;
    size_t most;
};

static const struct knob knobs[] = {
    {"--topk %zu", offsetof(struct moe_layer, K), false, 64},
    {"--moe-heads %zu", offsetof(struct moe_layer, H), false, 64},
    {"a baseline with --expert-hidden %zu", offsetof(struct moe_layer, F), true, 1 << 16},
    {"a baseline with --experts %zu", offsetof(struct moe_layer, E), true, 64},
};

/* The setting of one knob nearest to the present one that fits; 0 if none does. */
static size_t knob_nearest(const struct knob *knob, const struct moe_layer *baseline,
                           const struct moe_layer *mine) {
    struct moe_layer b = *baseline, m = *mine;
    size_t *value = (size_t *)((char *)(knob->of_baseline ? &b : &m) + knob->offset);
    const size_t now = *value, farthest = now + knob->most;
    for (size_t distance = 1; distance <= farthest; distance++) {
        for (int side = -1; side <= 1; side += 2) {
            if (side < 0 && distance >= now) continue;
            *value = side < 0 ? now - distance : now + distance;
            if (*value > knob->most || b.K > b.E) continue;
            if (layer_fit(&b, &m) == FITS) return *value;
        }
    }
    return 0;
}

/* Whether the user can turn it: a dense baseline (E0 = 1) has nothing to change, an SMoE has no heads. */
static bool knob_turns(const struct knob *knob, const struct moe_layer *baseline, const struct moe_layer *mine) {
    if (knob->of_baseline) return baseline->E > 1;
    return knob->offset != offsetof(struct moe_layer, H) || mine->H > 1 || mine->d > 0;
}

/* "--topk 3, or --moe-heads 2, or a baseline with --experts 9". malloc'ed. */
static char *remedies_describe(const struct moe_layer *baseline, const struct moe_layer *mine) {
    char *list = string_format("%s", "");
    for (size_t i = 0; i < sizeof knobs / sizeof *knobs; i++) {
        const size_t value = knob_turns(&knobs[i], baseline, mine) ? knob_nearest(&knobs[i], baseline, mine) : 0;
        if (value == 0) continue;
        char phrase[80];
        snprintf(phrase, sizeof phrase, knobs[i].phrase, value);
        string_append(&list, "%s%s", *list ? ", or " : "", phrase);
    }
    return list;
}

/* malloc'ed. */
static char *obstacle_describe(enum fit fit, const struct moe_layer *baseline, const struct moe_layer *mine) {
    const double hidden = (double)hidden_of_matrices(baseline, mine) / (double)mine->g;
    if (fit == NO_SPLIT) return string_format("%zu channels cannot be cut into %zu heads", mine->C, mine->H);
    if (fit == NO_WIDTH)
        return string_format(
            "K F = %zu/%zu (K0 F0 + Fs0) - Fs - %zu C/%zu = %g leaves an expert %g wide for K = %zu (want a whole "
            "number from 1)",
            baseline->g, mine->g, mine->d, mine->g, hidden, hidden / (double)mine->K, mine->K);
    const double experts = layer_experts(baseline, mine);
    if (round(experts) < (double)mine->K || round(experts) > PARITY_EXPERTS)
        return string_format("parity takes %.2f experts, each %zu wide (want from K = %zu to %d)", experts,
                             mine->F, mine->K, PARITY_EXPERTS);
    return string_format("parity takes %.2f experts, each %zu wide; %.0f would miss the baseline's parameters by "
                         "%.2f%% (want at most %g%%)",
                         experts, mine->F, round(experts),
                         fabs(cost_excess(layer_matrices(mine).parameters, layer_matrices(baseline).parameters)),
                         100 * PARITY_TOLERANCE);
}

bool parity_solve(const struct moe_layer *baseline, struct moe_layer *mine, struct error *err) {
    const enum fit fit = layer_fit(baseline, mine);
    if (fit == FITS) return true;
    char *remedies = remedies_describe(baseline, mine), *why = obstacle_describe(fit, baseline, mine);
    error_set(err, EXIT_USAGE, "--match: %s; use %s", why, *remedies ? remedies : "another baseline");
    free(remedies);
    free(why);
    return false;
}

struct layer_cost layer_of_models(struct layer_cost model, struct layer_cost all_dense, size_t layers,
                                  struct layer_cost dense) {
    const double n = layers ? (double)layers : 1;
    return (struct layer_cost){(model.parameters - all_dense.parameters) / n + dense.parameters,
                               (model.multiply_adds - all_dense.multiply_adds) / n + dense.multiply_adds};
}

static void difference_print(FILE *out, const char *what, double baseline, double mine) {
    fprintf(out, "  %-38s %12.0f %12.0f %+10.0f  (%+.3f%%)\n", what, baseline, mine, mine - baseline,
            cost_excess(mine, baseline));
}

void parity_print(FILE *out, const struct moe_layer *baseline, const struct moe_layer *mine,
                  struct layer_cost baseline_whole, struct layer_cost mine_whole) {
    const struct layer_cost b = layer_matrices(baseline), m = layer_matrices(mine);
    fprintf(out, "match: one layer %29s %12s %10s\n", "baseline", "this", "residue");
    const double experts = layer_experts(baseline, mine);
    fprintf(out, "  %-38s %12zu %12zu", "experts E", baseline->E, mine->E);
    fprintf(out, experts == (double)mine->E ? "\n" : " %10.2f by the formulas\n", experts);
    fprintf(out, "  %-38s %12zu %12zu\n", "experts for each sub-token K", baseline->K, mine->K);
    fprintf(out, "  %-38s %12zu %12zu\n", "expert hidden width F", baseline->F, mine->F);
    difference_print(out, "multiply-adds a token", b.multiply_adds, m.multiply_adds);
    difference_print(out, "  with the router", baseline_whole.multiply_adds, mine_whole.multiply_adds);
    difference_print(out, "parameters", b.parameters, m.parameters);
    difference_print(out, "  with the router and biases", baseline_whole.parameters, mine_whole.parameters);
}

bool parity_match(struct config *mine, const struct config *baseline, layer_account *layer_of, const char *name,
                  struct error *err) {
    struct config matched = *mine;
    struct layer_cost cost;
    struct sizes sizes;
    const bool multi_head = mine->ffn == FFN_MHMOE;
    if (mine->ffn == FFN_DENSE)
        return error_set(err, EXIT_USAGE, "--match: --ffn dense has no experts to set; use --ffn mhmoe or smoe");
    if (baseline->channels != mine->channels || baseline->layers != mine->layers ||
        (baseline->ffn == FFN_SMOE && baseline->moe_every != mine->moe_every))
        return error_set(err, EXIT_MISMATCH, "--match %s: another shape (got --layers %d --channels %d --moe-every %d, "
                         "want %d, %d, %d); give both the same", name, baseline->layers, baseline->channels,
                         baseline->moe_every, mine->layers, mine->channels, mine->moe_every);
    if (!config_check(baseline, &sizes, err)) return false;
    const struct moe_layer a = layer_of(baseline, &sizes, &cost);
    struct moe_layer b = {.C = a.C, .H = multi_head ? (size_t)mine->moe_heads : 1, .K = (size_t)mine->topk,
                          .d = multi_head ? (size_t)(mine->head_depth + mine->merge_depth) : 0,
                          .g = 1 + activation_width((enum activation)mine->activation),
                          .Fs = (size_t)mine->shared_hidden};
    if (!parity_solve(&a, &b, err)) return false;
    matched.experts = (int)b.E;
    matched.expert_hidden = (int)b.F;
    if (!config_check(&matched, &sizes, err)) return false;
    *mine = matched;
    return true;
}

void parity_tell(const struct config *mine, const struct config *baseline, layer_account *layer_of) {
    struct layer_cost cost_a, cost_b;
    struct sizes sizes;
    struct error none; /* both have been checked */
    config_check(baseline, &sizes, &none);
    const struct moe_layer a = layer_of(baseline, &sizes, &cost_a);
    config_check(mine, &sizes, &none);
    const struct moe_layer b = layer_of(mine, &sizes, &cost_b);
    parity_print(stderr, &a, &b, cost_a, cost_b);
}
