/* Parity: which MH-MoE layer costs as much as a given SMoE layer, in multiply-adds a token and in parameters.
 *
 * P2 = arXiv 2411.16205, generalised: experts have g matrices (GELU: 2, SwiGLU: 3), head and merge layers d of C x C.
 * Symbols are those of the model, 0 marks the baseline, for which H = 1 and d = 0:
 *     multiply-adds  d C^2 + g C (K F + Fs)    = g0 C (K0 F0 + Fs0)    g K F = g0 (K0 F0 + Fs0) - g Fs - d C
 *     parameters     d C^2 + g C/H (E F + Fs)  = g0 C (E0 F0 + Fs0)    g E F = H (g0 (E0 F0 + Fs0) - d C) - g Fs
 * Router and biases stand outside the formulas; parity_print shows what they add. */
#ifndef PARITY_H
#define PARITY_H

#include "config.h"

/* A dense layer is one with E = K = H = 1, F its hidden width, d = Fs = 0. */
struct moe_layer {
    size_t C, H, E, K, F, Fs;
    size_t g, d; /* matrices of an expert; of head and merge */
};

struct layer_cost {
    double parameters, multiply_adds; /* whole numbers, exact below 2^53; multiply-adds a token */
};

/* The most experts that a layer may have. */
enum { PARITY_EXPERTS = 4096 };

/* How far E, rounded to a whole number, may miss the baseline's parameters: P2's own H = 2 takes 41.33. */
#define PARITY_TOLERANCE 0.01

/* Of the layer's matrices, without router and biases: the left-hand sides above. */
struct layer_cost layer_matrices(const struct moe_layer *layer);

/* E by the formulas, before it is rounded to a whole number. */
double layer_experts(const struct moe_layer *baseline, const struct moe_layer *mine);

/* Sets mine->E and mine->F from the rest. EXIT_USAGE if no whole F or no E near enough exists; the message names
 * the nearest settings that do fit. */
bool parity_solve(const struct moe_layer *baseline, struct moe_layer *mine, struct error *err);

/* One layer with all it has, from the cost of a model with `layers` of them in the place of dense ones, of the model
 * with dense ones alone, and of one dense layer. */
struct layer_cost layer_of_models(struct layer_cost model, struct layer_cost all_dense, size_t layers,
                                  struct layer_cost dense);

/* How far `cost` is from the baseline's, in percent of the latter. */
double cost_excess(double cost, double baseline);

/* Both layers side by side: sizes, costs without and with all that the formulas leave out, differences. */
void parity_print(FILE *out, const struct moe_layer *baseline, const struct moe_layer *mine,
                  struct layer_cost baseline_whole, struct layer_cost mine_whole);

/* How a model accounts for a layer of its: its sizes, and all that it costs. */
typedef struct moe_layer layer_account(const struct config *config, const struct sizes *sizes, struct layer_cost *cost);

/* --match NAME: sets the experts and their width so that a layer costs as much as one of the baseline. EXIT_USAGE,
 * EXIT_MISMATCH; then nothing is set. */
bool parity_match(struct config *mine, const struct config *baseline, layer_account *layer_of, const char *name,
                  struct error *err);

/* Prints both sides on standard error. */
void parity_tell(const struct config *mine, const struct config *baseline, layer_account *layer_of);

#endif
