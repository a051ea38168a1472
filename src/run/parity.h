/* Parity: which MH-MoE layer costs as much as a given SMoE layer, in multiply-adds a token and in parameters.
 *
 * P2 = arXiv 2411.16205, generalised: D counts the C x C matrices of head and merge layers, experts have two
 * matrices (GELU). Symbols are those of the model, 0 marks the baseline, for which H = 1 and D = 0:
 *     multiply-adds  D C^2 + 2 C (K F + Fs)    = 2 C (K0 F0 + Fs0)    K F = K0 F0 + Fs0 - Fs - D C/2
 *     parameters     D C^2 + 2 C/H (E F + Fs)  = 2 C (E0 F0 + Fs0)    E F = H (E0 F0 + Fs0 - D C/2) - Fs
 * Router and biases stand outside the formulas; parity_print shows what they add. */
#ifndef PARITY_H
#define PARITY_H

#include "config.h"

/* A dense layer is one with E = K = H = 1, F = 4C, D = Fs = 0. */
struct moe_layer {
    size_t C, H, E, K, F, D, Fs;
};

struct layer_cost {
    double parameters, multiply_adds; /* whole numbers, exact below 2^53; multiply-adds a token */
};

/* The most experts that a layer may have. */
enum { PARITY_EXPERTS = 4096 };

/* How far E, rounded to a whole number, may miss the baseline's parameters. */
#define PARITY_TOLERANCE 0.005

/* Of the layer's matrices, without router and biases: the left-hand sides above. */
struct layer_cost layer_matrices(const struct moe_layer *layer);

/* Sets mine->E and mine->F from the rest. EXIT_USAGE if no whole F or no E near enough exists; the message names
 * the nearest settings that do fit. */
bool parity_solve(const struct moe_layer *baseline, struct moe_layer *mine, struct error *err);

/* One layer with all it has, from the cost of a model with `layers` of them in the place of dense ones and of the
 * model with dense ones alone. */
struct layer_cost layer_of_models(struct layer_cost model, struct layer_cost dense, size_t layers, size_t C);

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
