/* ./train as its user runs it. Equal runs are equal in every bit but for the clock, so most tests run the
 * same training in two ways and compare; the rest break one thing and read the one line that says so. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/file.h>
#include <sys/resource.h>
#include "command.h"
#include "prose.h"
#include "runs.h"

/* A tiny model of odd sizes, blocks of both kinds, and everything that happens on the way within 20 steps. */
#define SEQ 17
#define BATCH 3
#define PICKS (BATCH * SEQ * 2 * 2) /* of a layer in a step: heads, top-k */
#define MODEL                                                                                            \
    " --vocab 301 --seq 17 --layers 5 --channels 12 --attn-heads 3 --moe-heads 2 --experts 5 --topk 2"   \
    " --expert-hidden 7 --batch 3 --steps 20 --warmup 3 --lr 0.01 --eval-every 5 --eval-windows 7"       \
    " --sample-every 7 --sample-tokens 9 --cache cache --embedding-lr 1 --schedule cosine "

enum { STEPS = 20, STOP = 7 /* a step with a sample */ };

/* ---- Comparing runs ---- */

static void runs_compare(const char *a, const char *b) {
    logs_compare(a, b);
    checkpoints_compare(a, b, "last.safetensors");
    checkpoints_compare(a, b, "best.safetensors");
}

/* ---- The whole way ---- */

/* What all tests share: a corpus, and `first`, the run that the others are compared with. */
static int first_run(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    prose_save("corpus.txt", 800, 1);
    prose_save("other.txt", 300, 2);
    return system("train" MODEL "corpus.txt --out first >said.txt 2>progress.txt && "
                  "tr '\\000' '?' <said.txt >samples.txt && " /* which it may say, and a string ends at */
                  "cp cache/corpus.txt-*/tokenizer.model first.model");
}

static void load_check(const json_t *layers, double picks) {
    assert_int_equal(json_array_size(layers), 2);
    for (size_t lm = 0; lm < 2; lm++) {
        const json_t *layer = json_array_get(layers, lm);
        double sum = 0;
        assert_int_equal(json_array_size(layer), 5);
        for (size_t e = 0; e < 5; e++) sum += json_number_value(json_array_get(layer, e));
        assert_true(sum == picks);
    }
}

static void step_check(const json_t *entry, int step, double seconds) {
    assert_true(number_of(entry, "step") == step);
    assert_true(number_of(entry, "loss") > 0 && number_of(entry, "loss") < 7); /* ln(301) is 5.7 */
    assert_true(number_of(entry, "balance") > 1.9); /* two layers, each about 1 at best */
    assert_true(number_of(entry, "z_loss") > 2 * 2.5); /* two layers of about ln(5)^2 = 2.59: scores are small */
    assert_true(number_of(entry, "gradient_norm") > 0);
    assert_true(number_of(entry, "lr") > 0 && number_of(entry, "lr") <= 0.01);
    assert_true(number_of(entry, "tokens_per_second") > 0);
    assert_true(number_of(entry, "seconds") > seconds);
    load_check(json_object_get(entry, "load"), PICKS);
}

/* A validation under names that begin with `prefix`: its figures belong to each other. */
static void score_check(const json_t *entry, const char *prefix, double windows) {
    const char *const names[] = {"loss", "perplexity", "bits_per_byte", "windows"};
    double value[4];
    for (int i = 0; i < 4; i++) {
        char *key = string_format("%s%s", prefix, names[i]);
        value[i] = number_of(entry, key);
        free(key);
    }
    assert_float_equal(value[1], exp(value[0]), 1e-5); /* nine digits are logged */
    assert_true(value[2] > 0.5 && value[2] < 9);
    assert_true(value[3] == windows);
    char *load = string_format("%sload", prefix);
    load_check(json_object_get(entry, load), windows * SEQ * 2 * 2);
    free(load);
}

/* Each step once and in order, a validation over the same sequences after each fifth, and one figure over all. */
static void log_has_every_step(void **state) {
    (void)state;
    json_t *log = log_of("first"), *entry;
    size_t i, steps = 0, validations = 0, finals = 0;
    double seconds = 0, loss = 1e9;
    json_array_foreach(log, i, entry) {
        assert_true(number_of(entry, "tokens") == number_of(entry, "step") * BATCH * SEQ);
        if (json_object_get(entry, "val_loss")) {
            assert_true(number_of(entry, "step") == (double)(5 * ++validations));
            assert_int_equal(steps, 5 * validations);
            assert_true(number_of(entry, "val_loss") < loss);
            loss = number_of(entry, "val_loss");
            score_check(entry, "val_", 7);
        } else if (json_object_get(entry, "final_loss")) {
            finals++;
            assert_int_equal(validations, 4);
            assert_true(number_of(entry, "final_windows") > 7);
            score_check(entry, "final_", number_of(entry, "final_windows"));
        } else {
            step_check(entry, (int)++steps, seconds);
            seconds = number_of(entry, "seconds");
        }
    }
    assert_int_equal(steps, STEPS);
    assert_int_equal(validations, 4);
    assert_int_equal(finals, 1);
    json_decref(log);
}

/* Samples alone on standard output, and no progress line where there is no terminal. */
static void output_is_samples(void **state) {
    (void)state;
    text_read("samples.txt", output, sizeof output);
    text_read("progress.txt", errors, sizeof errors);
    char *second = strstr(output, "--- step 14 ---\nThe");
    assert_int_equal(strncmp(output, "--- step 7 ---\nThe", 18), 0);
    assert_non_null(second);
    assert_null(strstr(second + 19, "---"));
    assert_null(strstr(output, "loss"));
    assert_null(strpbrk(errors, "\r\033"));
    for (char *line = errors, *end; (end = strchr(line, '\n')); line = end + 1) {
        if (end[1]) assert_true(line_is_progress(line, (size_t)(end - line)));
        else assert_int_equal(strncmp(line, "first: step 20 of 20, ", 22), 0);
    }
}

/* Tags open and close; test_plot looks closer. */
static void svg_check(const char *path) {
    int depth = 0;
    text_read(path, output, sizeof output);
    assert_int_equal(strncmp(output, "<svg ", 5), 0);
    for (char *tag = strchr(output, '<'); tag; tag = strchr(tag + 1, '<')) {
        char *end = strchr(tag, '>');
        assert_non_null(end);
        if (tag[1] == '/') depth--;
        else if (end[-1] != '/') depth++;
        assert_true(depth > 0 || strcmp(tag, "</svg>\n") == 0);
    }
    assert_int_equal(depth, 0);
}

/* Each expert's share in units of an even one, read back from the plot: the mean of a block's is 1. */
static void load_plot_check(const char *path) {
    text_read(path, output, sizeof output);
    for (int block = 1; block <= 3; block += 2) {
        double sum = 0;
        for (int e = 0; e < 5; e++) {
            char *label = string_format("<title>block %d, %d: ", block, e), *at = strstr(output, label);
            assert_non_null(at);
            sum += strtod(at + strlen(label), NULL);
            free(label);
        }
        assert_float_equal(sum / 5, 1, 1e-3); /* four digits are shown */
    }
}

static void run_has_its_files(void **state) {
    (void)state;
    struct error err;
    struct checkpoint last = checkpoint_at("first", "last.safetensors"),
                      best = checkpoint_at("first", "best.safetensors");
    assert_string_equal(checkpoint_string(&last, "step", &err), "20");
    assert_string_equal(checkpoint_string(&best, "step", &err), "20");
    assert_non_null(checkpoint_find(&last, "adam_m.wte"));
    assert_null(checkpoint_find(&best, "adam_m.wte"));
    assert_int_equal(last.n, 3 * (best.n - 1) + 1); /* all but the tokenizer come with two moments */
    checkpoint_close(&last);
    checkpoint_close(&best);
    svg_check("first/plots/loss.svg");
    svg_check("first/plots/load.svg");
    load_plot_check("first/plots/load.svg");
    text_read("first/config", output, sizeof output);
    assert_non_null(strstr(output, "\nsteps = 20\n"));
    assert_non_null(strstr(output, "\nchannels = 12\n"));
    run("ls -A first first/plots");
    assert_string_equal(output, "first:\nbest.safetensors\nconfig\nlast.safetensors\nlock\nlog.jsonl\nplots\n"
                                "\nfirst/plots:\nload.svg\nloss.svg\n");
}

/* ---- Resuming ---- */

/* Starts a run whose standard output is a pipe that is full: it stands still at its first sample. Then a
 * signal must let it finish that sample, save and leave. */
static void run_interrupt(const char *options, const char *out, int signal_number) {
    int pipe_ends[2], status;
    char *command = string_format("exec train" MODEL "%s corpus.txt --out %s 2>stderr.txt", options, out);
    char *log = string_format("%s/log.jsonl", out), *reached = string_format("\"step\":%d,", STOP);
    static char filler[4096];
    assert_int_equal(pipe(pipe_ends), 0);
    fcntl(pipe_ends[1], F_SETFL, O_NONBLOCK);
    while (write(pipe_ends[1], filler, sizeof filler) > 0) {}
    fcntl(pipe_ends[1], F_SETFL, 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(pipe_ends[1], STDOUT_FILENO);
        close(pipe_ends[0]);
        close(pipe_ends[1]);
        signal(signal_number, SIG_DFL); /* tests may run under nohup, too */
        execl("/bin/sh", "sh", "-c", command, NULL);
        _exit(127);
    }
    close(pipe_ends[1]);
    double end = time_seconds() + 30;
    for (*output = 0; !strstr(output, reached); usleep(1000)) {
        assert_true(time_seconds() < end);
        if (access(log, R_OK) == 0) text_read(log, output, sizeof output);
    }
    assert_int_equal(kill(child, signal_number), 0);
    while (read(pipe_ends[0], filler, sizeof filler) > 0) {}
    close(pipe_ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 128 + signal_number);
    free(command);
    free(log);
    free(reached);
}

/* 20 steps equal 10 and 10, and 7 up to a signal and 13, in every bit, whatever the number of threads. */
static void resumed_run_is_the_same_run(void **state) {
    (void)state;
    static const char *const kinds[] = {
        "--ffn dense", "--ffn smoe --balance none", "--ffn mhmoe --accumulate 2", "--ffn mhmoe --val other.txt",
        ("--balance bias --bias-step 0.01 --accumulate 2 --router cosine --z-weight 1e-3 --shared-hidden 5"
         " --head-depth 2"),
    };
    static const int signals[] = {SIGTERM, SIGINT, SIGTERM, SIGHUP, SIGTERM};
    for (int i = 0; i < 5; i++) {
        run("train" MODEL "%s corpus.txt --out whole", kinds[i]);
        run("train" MODEL "%s corpus.txt --out half --until 10 --threads 3", kinds[i]);
        assert_int_equal(step_of("half"), 10);
        run("train --resume half --threads 1");
        runs_compare("whole", "half");
        run_interrupt(kinds[i], "stopped", signals[i]);
        assert_int_equal(step_of("stopped"), 7);
        run("train --resume=stopped --threads 2");
        runs_compare("whole", "stopped");
        run("rm -r whole half stopped");
    }
}

/* The sign of mean load - load of both micro-batches of each step times the step's length, less what all experts have
 * of that in common, added up over the steps of the log, is each expert's bias. Last and best have it, for resuming
 * and for ./sample. */
static void biases_follow_the_load(void **state) {
    (void)state;
    enum { LAYERS = 2, EXPERTS = 5 };
    const float length = 0.0625f; /* whose multiples float holds exactly */
    float bias[LAYERS][EXPERTS] = {{0}};
    run("train" MODEL "--balance bias --bias-step %g --accumulate 2 corpus.txt --out biased", length);
    json_t *log = log_of("biased"), *entry;
    size_t i;
    json_array_foreach(log, i, entry) {
        if (!json_object_get(entry, "loss")) continue;
        const json_t *layers = json_object_get(entry, "load");
        load_check(layers, 2 * PICKS);
        for (size_t lm = 0; lm < LAYERS; lm++) {
            double moved[EXPERTS], sum = 0;
            for (size_t e = 0; e < EXPERTS; e++) {
                const double load = json_number_value(json_array_get(json_array_get(layers, lm), e));
                const double mean = 2.0 * PICKS / EXPERTS;
                moved[e] = (double)bias[lm][e] + (load < mean ? length : load > mean ? -length : 0);
                sum += moved[e];
            }
            for (size_t e = 0; e < EXPERTS; e++) bias[lm][e] = (float)(moved[e] - sum / EXPERTS);
        }
    }
    json_decref(log);
    struct checkpoint last = checkpoint_at("biased", "last.safetensors");
    struct checkpoint best = checkpoint_at("biased", "best.safetensors");
    const struct tensor *saved = checkpoint_find(&last, "router.bias");
    assert_non_null(saved);
    assert_non_null(checkpoint_find(&best, "router.bias"));
    assert_int_equal(tensor_bytes(saved), sizeof bias);
    assert_memory_equal(saved->data, bias, sizeof bias);
    checkpoint_close(&last);
    checkpoint_close(&best);
    run("sample --model biased --tokens 5 >/dev/null && rm -r biased");
}

/* Two micro-batches of 3 are a batch of 6 but for the order of sums, whose rounding the steps carry on. */
static void micro_batches_make_a_batch(void **state) {
    (void)state;
    run("train" MODEL "--ffn dense corpus.txt --out six --batch 6");
    run("train" MODEL "--ffn dense corpus.txt --out twice --accumulate 2");
    json_t *six = log_of("six"), *twice = log_of("twice"), *entry;
    size_t i;
    assert_int_equal(json_array_size(six), json_array_size(twice));
    json_array_foreach(six, i, entry) {
        const json_t *other = json_array_get(twice, i);
        if (!json_object_get(entry, "loss")) continue;
        assert_true(number_of(entry, "tokens") == number_of(other, "tokens"));
        assert_float_equal(number_of(entry, "loss"), number_of(other, "loss"), 1e-3);
        assert_float_equal(number_of(entry, "gradient_norm"), number_of(other, "gradient_norm"), 1e-2);
    }
    json_decref(six);
    json_decref(twice);
    run("rm -r six twice");
}

static void threads_change_no_bit(void **state) {
    (void)state;
    for (int threads = 1; threads <= 8; threads += threads < 3 ? 1 : 5) {
        run("train" MODEL "corpus.txt --out threads --threads %d", threads);
        runs_compare("first", "threads");
        run("rm -r threads");
    }
}

/* A run that was killed has a log that is ahead of its checkpoint, and may end within a line. */
static void log_is_cut_to_the_checkpoint(void **state) {
    (void)state;
    run("train" MODEL "corpus.txt --out cut --until 10");
    run("cp cut/last.safetensors old.safetensors");
    run("train --resume cut --sample-every 0");
    run("mv old.safetensors cut/last.safetensors && printf '{\"step\":21,\"lo' >>cut/log.jsonl");
    run("train --resume cut corpus.txt --sample-every 7"); /* the corpus by name is the same corpus */
    run("sed -i s/corpus.txt-[^/]*/x/ cut/config");
    logs_compare("first", "cut");
    run("rm -r cut");
}

/* Nothing to do is no failure, changes nothing, and more steps go on. */
static void finished_run_stays_as_it_is(void **state) {
    (void)state;
    run("rm -rf done && cp -r first done && train --resume done");
    assert_non_null(strstr(errors, "all 20 steps are done; --steps N"));
    run("diff -r first done");
    run("train --resume done --steps 22");
    assert_int_equal(step_of("done"), 22);
    run("grep -c '\"loss\"' done/log.jsonl");
    assert_string_equal(output, "22\n");
    run("rm -r done");
}

/* ./train | head: the samples have no reader any more, the run goes on. */
static void closed_pipe_stops_nothing(void **state) {
    (void)state;
    run("train" MODEL "corpus.txt --out piped --sample-every 1 | head -n 1");
    assert_string_equal(output, "--- step 1 ---\n");
    assert_int_equal(step_of("piped"), 20);
    run("rm -r piped");
}

/* Weights that decay to nothing in a step make the validation worse. */
static void best_model_is_kept(void **state) {
    (void)state;
    run("rm -rf run && cp -r first run");
    run("train --resume run --steps 23 --eval-every 1 --lr 1 --final-lr 1 --weight-decay 1");
    assert_int_equal(step_of("run"), 23);
    run("cmp first/best.safetensors run/best.safetensors && rm -r run");
}

/* ---- Failures ---- */

static void options_that_do_not_fit_are_refused(void **state) {
    (void)state;
    refuse(2, "'--stpes'", "did you mean '--steps'", "train corpus.txt --stpes 3");
    refuse(2, "--steps", "want a whole number", "train corpus.txt --steps many");
    refuse(2, "--channels 13", "use --channels 18", "train" MODEL "corpus.txt --channels 13");
    refuse(2, "--moe-heads 5", "use --channels 30", "train" MODEL "corpus.txt --moe-heads 5");
    refuse(2, "--topk 6", "use at most --topk 5", "train" MODEL "corpus.txt --topk 6");
    refuse(2, "--router-dim", "got '0'", "train" MODEL "corpus.txt --router cosine --router-dim 0");
    refuse(2, "--head-depth", "got '4'", "train" MODEL "corpus.txt --head-depth 4");
    refuse(2, "--shared-hidden 8", "use --ffn smoe", "train" MODEL "corpus.txt --ffn dense --shared-hidden 8");
    refuse(2, "9000", "lower --vocab", "train" MODEL "corpus.txt --vocab 9000");
    refuse(2, "first", "another --out", "train" MODEL "corpus.txt --out first");
    refuse(2, "--out and --resume", "stays in its directory", "train --resume first --out elsewhere");
    refuse(2, "--resume", "write it out", "train --resum first");
    refuse(2, "missing.conf", "cannot read", "train --config missing.conf");
}

/* At the least value of each there is nothing to say; what is beyond is named. */
static void values_out_of_range_are_refused(void **state) {
    (void)state;
    static const char *const beyond[][2] = {
        {"beta1", "1"}, {"beta2", "1"}, {"dropout", "1"}, {"ema", "1"}, {"final-lr", "1.1"}, {"part-alpha", "11"},
        {"batch", "0"}, {"accumulate", "0"}, {"eval-windows", "0"}, {"sample-tokens", "0"}, {"steps", "-1"},
        {"until", "-1"}, {"keep", "-1"}, {"patience", "-1"}, {"minutes", "-1"}, {"save-minutes", "-1"},
        {"eval-every", "-1"}, {"save-every", "-1"}, {"sample-every", "-1"}, {"final-windows", "-1"}, {"warmup", "-2"},
        {"decay-steps", "-2"}, {"threads", "-1"}, {"lr", "-1"}, {"clip", "-1"}, {"weight-decay", "-1"}};
    for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++) {
        char *command = string_format("train corpus.txt --%s %s", beyond[i][0], beyond[i][1]);
        char *says = string_format("--%s: bad value (got '%s'", beyond[i][0], beyond[i][1]);
        refuse(2, says, "want", command);
        free(command);
        free(says);
    }
    run("train --print-config --beta1 0 --beta2 0 --dropout 0 --ema 0 --final-lr 0 --part-alpha 0 --batch 1 "
        "--accumulate 1 --eval-windows 1 --sample-tokens 1 --steps 0 --until 0 --keep 0 --patience 0 --minutes 0 "
        "--save-minutes 0 --eval-every 0 --save-every 0 --sample-every 0 --final-windows 0 --warmup -1 "
        "--decay-steps -1 --threads 0 --lr 0 --clip 0 --weight-decay 0");
}

static void inputs_that_cannot_be_used_are_refused(void **state) {
    (void)state;
    text_save("empty.txt", "", 0);
    text_save("short.txt", "Too short.\n", 11);
    refuse(3, "missing.txt", "name a text file", "train missing.txt");
    refuse(3, "empty.txt", "name a text file", "train empty.txt");
    refuse(3, "-: holds no text", "name a text file", "train - </dev/null");
    refuse(3, "too short for one sequence", "lower --seq", "train" MODEL "short.txt --tokenizer first.model");
    refuse(3, "val text is too short", "lower --seq", "train" MODEL "corpus.txt --val short.txt");
    refuse(3, "missing.txt", "name a text file", "train" MODEL "corpus.txt --val missing.txt");
    refuse(3, "corpus.txt: tokenizer", "want one that train made", "train corpus.txt --tokenizer corpus.txt");
    refuse(3, "missing.model", "cannot read", "train corpus.txt --tokenizer missing.model");
    refuse(3, "cache/last.safetensors", "directory of a run with --resume", "train --resume cache");
    refuse(3, "nowhere/last.safetensors", "directory of a run with --resume", "train --resume nowhere");
}

static void another_model_or_data_is_refused(void **state) {
    (void)state;
    run("rm -rf run && cp -r first run && train" MODEL "--dry-run other.txt --vocab 290 && "
        "cp cache/other.txt-*/tokenizer.model other.model");
    refuse(5, "--layers 3: the run in run was begun with 5", "leave it out",
           "train --resume run --steps 30 --layers 3");
    refuse(5, "--vocab 302: the run in run was begun with 301", "leave it out", "train --resume run --vocab 302");
    refuse(5, "--ffn smoe: the run in run was begun with mhmoe", "leave it out", "train --resume run --ffn smoe");
    refuse(5, "--seed 2: the run in run was begun with 1", "leave it out", "train --resume run --steps 30 --seed 2");
    refuse(5, "--eval-windows 8: the run in run was begun with 7", "leave it out",
           "train --resume run --eval-windows 8");
    refuse(5, "not the data", "name the same corpus", "train --resume run --steps 30 other.txt");
    refuse(5, "--val other.txt: not the held-out text", "leave it out",
           "train --resume run --steps 30 --val other.txt");
    refuse(5, "other.model: not the tokenizer", "leave out --tokenizer",
           "train --resume run --steps 30 --tokenizer other.model");
    refuse(3, "is gone", "name its corpus again",
           "mv cache gone; train --resume run --steps 30; code=$?; mv gone cache; exit $code");
    run("diff -r first run"); /* none of this touched it */
    run("train --resume run --steps 21 --tokenizer first.model && rm -r run");
}

static void damaged_checkpoint_is_refused(void **state) {
    (void)state;
    run("rm -rf run && cp -r first run");
    size_t size = file_size("first/last.safetensors");
    static char bytes[1 << 20];
    assert_true(size < sizeof bytes);
    const struct {
        size_t at;
        const char *what;
    } places[] = {{100, "header"}, {size / 2, "tensor"}, {size - 9, "tensor tokenizer.model"}};
    for (int i = 0; i < 3; i++) {
        FILE *file = fopen("first/last.safetensors", "rb");
        assert_int_equal(fread(bytes, 1, size, file), size);
        fclose(file);
        bytes[places[i].at] ^= 1;
        text_save("run/last.safetensors", bytes, size);
        refuse(3, "run/last.safetensors", places[i].what, "train --resume run --steps 30");
        if (places[i].at == size / 2) continue; /* Adam's moments: ./sample does not need them */
        refuse(3, "run/last.safetensors", places[i].what, "sample --model run/last.safetensors");
    }
    text_save("run/last.safetensors", bytes, size - 1);
    refuse(3, "run/last.safetensors", "may be cut off", "train --resume run --steps 30");
    run("cp first/last.safetensors run && diff -r first run && rm -r run");
}

static void run_in_use_is_refused(void **state) {
    (void)state;
    run("rm -rf run && cp -r first run");
    int lock = open("run/lock", O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(lock, LOCK_EX), 0);
    refuse(7, "run: another process", "choose another --out", "train --resume run --steps 30");
    refuse(7, "run: another process", "choose another --out", "train" MODEL "corpus.txt --out run");
    run("diff -r first run");
    close(lock);
    run("train --resume run --steps 21 && rm -r run");
}

/* Files may grow to a limit only, as if the disk were full behind it. */
static void full_disk_loses_nothing(void **state) {
    (void)state;
    char *command = string_format("trap '' XFSZ; ulimit -f %zu; train --resume run --steps 30 --save-every 3",
                                  file_size("first/last.safetensors") / 512 - 1);
    run("rm -rf run && cp -r first run");
    refuse(4, "run/last.safetensors", "cannot write", command);
    run("cmp first/last.safetensors run/last.safetensors && ! ls run/*.tmp 2>/dev/null");
    run("train --resume run --steps 30 && train" MODEL "corpus.txt --out more --until 20 --steps 30");
    assert_int_equal(step_of("run"), 30);
    refuse(4, "full/log.jsonl", "--resume",
           "trap '' XFSZ; ulimit -f 4; train" MODEL "corpus.txt --out full --eval-every 0");
    refuse(4, "corpus.txt", "is a file", "train" MODEL "corpus.txt --out corpus.txt");
    refuse(4, "standard output", "No space left", "train" MODEL "corpus.txt --dry-run >/dev/full");
    run("rm -r run more full");
    free(command);
}

/* A decay of lr times 10 a step turns each weight into -99 times itself: out of range within 20 steps. After
 * one the loss is huge and its exponential infinite, which JSON cannot hold. */
static void divergence_keeps_the_checkpoint(void **state) {
    (void)state;
    run("rm -rf run && cp -r first run");
    refuse(8, "run: step 2", "try a lower --lr",
           "train --resume run --steps 60 --lr 10 --final-lr 1 --clip 0 --weight-decay 10 --eval-every 0");
    run("cmp first/last.safetensors run/last.safetensors");
    run("sample --model run -n 3");
    run("train --resume run --steps 21 --embedding-lr 8 && "
        "grep '\"step\":21,.*\"val_perplexity\":1.79769313e308' run/log.jsonl && rm -r run");
}

/* ---- Where text comes from ---- */

static void corpora_of_every_kind_give_the_same_run(void **state) {
    (void)state;
    static const char *const kinds[] = {"packed.txt.gz", "folder/", "- <corpus.txt"};
    run("mkdir -p folder/.hidden && cp corpus.txt folder && cp other.txt folder/.hidden && "
        "gzip -c corpus.txt >packed.txt.gz");
    for (int i = 0; i < 3; i++) {
        run("train" MODEL "--out kind %s", kinds[i]);
        logs_compare("first", "kind");
        run("rm -r kind");
    }
}

static double printed_number(const char *label) {
    const char *at = strstr(output, label);
    if (!at) fail_msg("'%s' is missing in\n%s", label, output);
    return strtod(at + strlen(label), NULL);
}

static void dry_run_counts_and_writes_no_run(void **state) {
    (void)state;
    struct checkpoint best = checkpoint_at("first", "best.safetensors");
    size_t parameters = 0;
    for (size_t i = 0; i < best.n; i++)
        if (best.tensors[i].dtype == DTYPE_F32) parameters += tensor_count(&best.tensors[i]);
    checkpoint_close(&best);
    run("mkdir dry && cd dry && train" MODEL "--cache ../cache ../corpus.txt --dry-run");
    assert_int_equal(printed_number("\nactive parameters") < printed_number("parameters"), 1);
    assert_int_equal(printed_number("parameters"), parameters);
    const double tokens = printed_number("training tokens");
    run("rmdir dry"); /* nothing in it */
    run("train" MODEL "corpus.txt --val other.txt --dry-run");
    assert_true(printed_number("training tokens") > tokens); /* all of the file is for training now */
    run("train" MODEL "corpus.txt --dry-run --channels 8448 --layers 999"); /* 600 GB: shown, not allocated */
}

/* What is set and changes nothing is said, what is at its default is not. */
static void idle_options_are_told(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"--ffn dense --router cosine", "router", "--ffn smoe or mhmoe"},
        {"--ffn smoe --head-depth 3", "head-depth", "--ffn mhmoe"},
        {"--router-dim 3", "router-dim", "--router cosine"},
        {"--balance bias --balance-weight 0.1", "balance-weight", "--balance aux"},
        {"--bias-step 0.1", "bias-step", "--balance bias"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run("train" MODEL "corpus.txt --dry-run %s", cases[i][0]);
        char *note = string_format("train: note: --%s has no effect without %s\n", cases[i][1], cases[i][2]);
        assert_non_null(strstr(errors, note));
        free(note);
    }
    run("train" MODEL "corpus.txt --dry-run --router cosine --router-dim 3 --balance bias --bias-step 0.1");
    assert_null(strstr(errors, "note"));
    run("train --cache cache --vocab 301 corpus.txt --dry-run --ffn dense");
    assert_null(strstr(errors, "note"));
}

/* Peak resident megabytes of `train` and what it prints, with these options. */
static double memory_of(const char *options) {
    char *command = string_format("exec train" MODEL "corpus.txt %s >stdout.txt 2>/dev/null", options);
    struct rusage usage;
    int status;
    const pid_t child = fork();
    if (child == 0) execlp("sh", "sh", "-c", command, NULL);
    assert_int_equal(wait4(child, &status, 0, &usage), child);
    assert_int_equal(status, 0);
    text_read("stdout.txt", output, sizeof output);
    free(command);
    return (double)usage.ru_maxrss * 1024 / 1e6;
}

/* 5% of what was foretold, with and without what --recompute saves, for both kinds of block; and half a megabyte, which
 * shows with small models, where most of it is the program's own. */
static void memory_is_as_foretold(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__ /* which needs memory of its own */
    skip();
#endif
    static const char *const models[] = {
        "--channels 192 --layers 8 --batch 40 --seq 128", "--channels 192 --layers 8 --batch 40 --seq 128 --recompute",
        "--channels 192 --layers 8 --batch 40 --seq 128 --ffn dense --threads 2",
        ("--channels 192 --layers 8 --batch 40 --seq 128 --router cosine --balance bias --shared-hidden 96"
         " --head-depth 3 --merge-depth 2"),
        "--threads 1", "--channels 60 --layers 4 --seq 64",
        "--channels 192 --layers 8 --batch 40 --seq 128 --dtype bf16",
        "--channels 192 --layers 8 --batch 40 --seq 128 --ffn dense --threads 2 --dtype bf16",
    };
    enum { MODELS = sizeof models / sizeof *models };
    double needed[MODELS];
    for (int i = 0; i < MODELS; i++) {
        char *run_options = string_format("%s --steps 2 --eval-every 0 --sample-every 0 --out memory", models[i]);
        char *dry_options = string_format("%s --dry-run", models[i]);
        needed[i] = memory_of(run_options);
        memory_of(dry_options);
        const double foretold = printed_number("activations\n");
        if (!(fabs(foretold - needed[i]) <= 0.05 * needed[i] + 0.5))
            fail_msg("%s: %.1f MB foretold, %.1f needed", models[i], foretold, needed[i]);
        free(run_options);
        free(dry_options);
        run("rm -r memory");
    }
    assert_true(needed[1] < 0.6 * needed[0]);
    assert_true(needed[6] < 0.75 * needed[0] && needed[7] < 0.75 * needed[2]);
}

/* What a run would need in the other dtype is what is said of that one. */
static void memory_is_told_for_both_dtypes(void **state) {
    (void)state;
    double of_this[2], of_other[2];
    for (int bf16 = 0; bf16 < 2; bf16++) {
        run("train" MODEL "corpus.txt --channels 192 --layers 8 --dry-run --dtype %s", bf16 ? "bf16" : "f32");
        of_this[bf16] = printed_number("activations\n");
        of_other[bf16] = printed_number(bf16 ? "--dtype f32" : "--dtype bf16");
    }
    assert_true(of_this[1] < of_this[0]);
    assert_true(of_other[0] == of_this[1] && of_other[1] == of_this[0]);
}

static void prepared_text_is_found_again(void **state) {
    (void)state;
    run("train" MODEL "corpus.txt --out again");
    assert_null(strstr(errors, "tokenizer"));
    assert_null(strstr(errors, "encoding"));
    runs_compare("first", "again");
    run("touch -d @1 corpus.txt && train" MODEL "corpus.txt --dry-run"); /* may have changed */
    assert_non_null(strstr(errors, "encoding"));
    run("rm -r again");
}

static void printed_configuration_reads_back(void **state) {
    (void)state;
    run("train" MODEL "--seed 5 --ffn smoe --prompt 'A \"b\" # c' --no-renormalize --print-config >conf");
    run("train --config conf corpus.txt --out a");
    run("train" MODEL "--seed 5 --ffn smoe --prompt 'A \"b\" # c' corpus.txt --out b");
    runs_compare("a", "b");
    run("train --config a/config corpus.txt --out c"); /* so does what a run keeps */
    runs_compare("a", "c");
    run("cmp a/config b/config && cmp a/config c/config && rm -r a b c");
}

static void runs_are_named_after_their_text(void **state) {
    (void)state;
    run("mkdir -p named/novels.d && cp other.txt named/novels.d && cd named && "
        "for c in novels.d/ novels.d/other.txt novels.d/other.txt -; do "
        "train" MODEL "--steps 1 --cache ../cache $c <../other.txt || exit 1; done; ls runs");
    assert_string_equal(output, "novels\nother\nother-2\nstdin\n");
    run("rm -r named");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_is_samples),
        cmocka_unit_test(log_has_every_step),
        cmocka_unit_test(run_has_its_files),
        cmocka_unit_test(resumed_run_is_the_same_run),
        cmocka_unit_test(biases_follow_the_load),
        cmocka_unit_test(micro_batches_make_a_batch),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(log_is_cut_to_the_checkpoint),
        cmocka_unit_test(finished_run_stays_as_it_is),
        cmocka_unit_test(closed_pipe_stops_nothing),
        cmocka_unit_test(best_model_is_kept),
        cmocka_unit_test(options_that_do_not_fit_are_refused),
        cmocka_unit_test(values_out_of_range_are_refused),
        cmocka_unit_test(inputs_that_cannot_be_used_are_refused),
        cmocka_unit_test(another_model_or_data_is_refused),
        cmocka_unit_test(damaged_checkpoint_is_refused),
        cmocka_unit_test(run_in_use_is_refused),
        cmocka_unit_test(full_disk_loses_nothing),
        cmocka_unit_test(divergence_keeps_the_checkpoint),
        cmocka_unit_test(corpora_of_every_kind_give_the_same_run),
        cmocka_unit_test(dry_run_counts_and_writes_no_run), cmocka_unit_test(idle_options_are_told),
        cmocka_unit_test(memory_is_as_foretold),
        cmocka_unit_test(memory_is_told_for_both_dtypes),
        cmocka_unit_test(prepared_text_is_found_again),
        cmocka_unit_test(printed_configuration_reads_back),
        cmocka_unit_test(runs_are_named_after_their_text),
    };
    return cmocka_run_group_tests(tests, first_run, workplace_remove);
}
