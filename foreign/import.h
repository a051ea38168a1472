/* Weights of other programs, as a checkpoint of ours: GPT-2 as transformers keeps it, a directory with
 * model.safetensors, config.json, and vocab.json with merges.txt (or tokenizer.json, or a tokenizer.model of ours).
 * What is read is what GPT2LMHeadModel computes with these options of its config; whatever differs is refused by
 * name. */
#ifndef IMPORT_H
#define IMPORT_H

#include "../src/run/checkpoint.h"

/* Opens a checkpoint: ours as checkpoint_open does; or weights with a config.json beside them, which are then in
 * memory, with a tokenizer, but without data and without anything of a training. EXIT_INPUT, or EXIT_MISMATCH where
 * files beside each other are not of one model. */
bool source_open(struct checkpoint *c, const char *path, struct error *err);

#endif
