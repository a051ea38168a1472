/* See trainer.h. What the user sees of a run. */
#include "trainer.h"

#include <inttypes.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../tokenizer/writer.h"

/* The curve takes what is left of a line of the terminal. */
static void curve_show(const struct spark *spark, size_t taken) {
    const size_t columns = terminal_columns();
    const size_t most = columns == 0 ? SPARK_CELLS : columns > taken ? columns - taken : 0;
    char *curve = spark_format(spark, most);
    const bool coloured = terminal_colours();
    if (*curve) fprintf(stderr, "  %s%s%s", coloured ? "\033[36m" : "", curve, coloured ? "\033[0m" : "");
    free(curve);
}

void progress_show(const struct train *t, double loss, double rate) {
    if (!terminal_there()) return;
    char *left = duration_format(pace_seconds(&t->pace, t->options.steps - t->run.step));
    char *line = string_format("step %" PRId64 "/%" PRId64 "  loss %.3f  %.0f tokens/s  ETA %s", t->run.step,
                               t->options.steps, loss, rate, left);
    fprintf(stderr, "\r\033[K%s", line);
    curve_show(&t->spark, strlen(line) + 3); /* two blanks, and the last column stays free */
    free(line);
    free(left);
}

void run_tell(const struct train *t) {
    static const char *const kinds[] = {"dense", "SMoE", "MH-MoE"};
    const struct training *o = &t->options;
    const double sequences = (double)o->steps * o->batch * o->accumulate, epoch = (double)feed_epoch(t->train_data);
    char *all = count_format((double)t->model.n_parameters);
    char *active = count_format((double)model_cost(&t->model.sizes, setup_of(o)).active_parameters);
    char *amount = count_format(is_masked(t) ? epoch : (double)feed_tokens(t->train_data));
    char *held = count_format((double)(is_masked(t) ? feed_epoch(t->val_data) : feed_tokens(t->val_data)));
    fprintf(stderr, "model: %s, %d block%s of %d channels: %s parameters, %s of them active for a token\n",
            kinds[t->config.ffn], t->config.layers, t->config.layers == 1 ? "" : "s", t->config.channels, all, active);
    fprintf(stderr, "data: %s %s to train on, %s held out; %.2f epochs in %" PRId64 " steps\n", amount,
            is_masked(t) ? "examples" : "tokens", held, sequences / epoch, o->steps);
    if (t->run.step > 0) fprintf(stderr, "run: %s, from step %" PRId64 " on\n", t->dir.path, t->run.step);
    else fprintf(stderr, "run: %s\n", t->dir.path);
    free(all);
    free(active);
    free(amount);
    free(held);
}

void sample_show(struct train *t) {
    struct sampler sampler = {SAMPLER_PLAIN, .temperature = 0.8, .top_p = 0.95, .rng = t->run.sample_rng};
    struct writer writer = {.tokenizer = t->tokenizer, .text = {.out = stdout, .visible = isatty(STDOUT_FILENO)}};
    size_t n;
    int32_t *ids = prompt_encode(t->tokenizer, t->options.prompt, strlen(t->options.prompt), &n);
    bar_clear();
    printf("--- step %" PRId64 " ---\n%s", t->run.step, t->options.prompt);
    weights_exchange(t);
    model_generate(&t->model, ids, n, (size_t)t->options.sample_tokens, &sampler, writer_emit, &writer);
    weights_exchange(t);
    text_end(&writer.text);
    printf("\n");
    fflush(stdout);
    free(ids);
    t->run.sample_rng = sampler.rng;
}

/* Code, libraries, a tokenizer of some thousand pieces: measured. LLVM's threads, and clang's code, take more. */
#ifdef __clang__
enum { PROGRAM_BYTES = 31 << 18 };
#else
enum { PROGRAM_BYTES = 27 << 18 };
#endif

/* Bytes resident when training; not those of a tokenizer's training, which comes before. */
static size_t memory_peak(const struct train *t, const struct model_cost *cost) {
    /* what products keep on a thread's stack: measured, too */
    const size_t program = PROGRAM_BYTES + ((size_t)3 << 16) * (size_t)omp_get_max_threads();
    const size_t tokens = (size_t)t->options.batch * (size_t)t->options.accumulate * (size_t)t->config.seq;
    return cost->parameter_bytes + cost->activation_bytes + 2 * tokens * sizeof(int32_t) +
           feed_bytes(t->train_data) + feed_bytes(t->val_data) + program;
}

/* How often a run sees its text; that of each part by how often it is drawn. */
static void epochs_show(const struct train *t) {
    const double sequences = (double)t->options.steps * t->options.batch * t->options.accumulate;
    const bool of_parts = has_parts(t) && !is_masked(t);
    for (size_t p = 0; p < (of_parts ? feed_parts(t->train_data) : 1); p++) {
        const double share = feed_part_share(t->train_data, p);
        if (of_parts)
            printf("%-18s %zu tokens, %.2f%% of what is trained on: ", feed_part_name(t->train_data, p),
                   feed_part_tokens(t->train_data, p), 100 * share);
        else printf("%-19s", "epochs");
        printf("%.2f%s in %" PRId64 " steps\n", sequences * share / (double)feed_part_epoch(t->train_data, p),
               of_parts ? " epochs" : "", t->options.steps);
    }
}

size_t muon_bytes(const struct training *o, const struct parameter_info *info) {
    size_t most = 0;
    for (size_t i = 0; o->optimizer == OPTIMIZER_MUON && i < PARAMETER_TENSORS; i++) {
        const struct matrices of = matrices_of(&info[i]);
        const size_t bytes = parameter_by_muon(&info[i]) ? muon_work_bytes(&of) : 0;
        if (bytes > most) most = bytes;
    }
    return most;
}

/* What --ema and Muon hold beside that. */
static size_t optimizer_bytes(const struct train *t, const struct sizes *sizes, const struct model_cost *cost) {
    struct parameter_info info[PARAMETER_TENSORS];
    model_layout(info, sizes);
    return (t->options.ema > 0 ? cost->parameters * sizeof(real) : 0) + muon_bytes(&t->options, info);
}

bool cost_show(const struct train *t, struct error *err) {
    struct sizes sizes;
    struct model_setup setup = setup_of(&t->options), other = setup;
    if (!config_check(&t->config, &sizes, err) || !model_fits(&sizes, setup, err)) return false;
    other.storage = setup.storage == STORAGE_F32 ? STORAGE_BF16 : STORAGE_F32;
    struct model_cost c = model_cost(&sizes, setup), other_c = model_cost(&sizes, other);
    const size_t more = optimizer_bytes(t, &sizes, &c);
    c.parameter_bytes += more;
    other_c.parameter_bytes += more;
    printf("parameters         %zu\n", c.parameters);
    printf("active parameters  %zu (touched by one token, at most)\n", c.active_parameters);
    printf("forward FLOPs      %.4g a token\ntraining FLOPs     %.4g a token\n", c.forward_flops, c.training_flops);
    printf("memory             %.1f MB parameters, gradients, moments and packed weights\n",
           (double)c.parameter_bytes / 1e6);
    printf("                   %.1f MB activations\n", (double)c.activation_bytes / 1e6);
    printf("                   %.1f MB in all, at its peak; with --dtype %s %.1f MB\n",
           (double)memory_peak(t, &c) / 1e6, setup.storage ? "f32" : "bf16", (double)memory_peak(t, &other_c) / 1e6);
    if (is_masked(t)) printf("training examples  %zu an epoch\n", feed_epoch(t->train_data));
    else printf("training tokens    %zu, %zu sequences an epoch\n",
                feed_tokens(t->train_data), feed_epoch(t->train_data));
    epochs_show(t);
    return output_check(err);
}
