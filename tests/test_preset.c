/* --block and the options that it stands for, as a user of ./train meets them: who wins, what is told, what a run
 * keeps, and runs of a version that knew no blocks. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../mhmoe.h"
#include "command.h"
#include "prose.h"
#include "runs.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define EACH(i, array) (size_t i = 0; i < COUNT(array); i++)

#define TINY                                                                                                  \
    " --cache cache --vocab 301 --seq 17 --layers 2 --channels 12 --attn-heads 3 --moe-heads 2 --experts 5 "   \
    "--topk 2 --expert-hidden 7 --batch 3 --steps 6 --warmup 2 --lr 0.01 --eval-windows 5 --eval-every 3 "     \
    "--sample-every 0 --embedding-lr 1 --schedule cosine "
#define TRAIN "train corpus.txt" TINY

/* What each stands for, written out. */
static const char *const blocks[] = {"gpt2", "llama", "modern"};
static const struct {
    const char *name, *values[3], *all[3];
} options[] = {
    {"norm", {"layernorm", "rmsnorm", "rmsnorm"}, {"layernorm", "rmsnorm"}},
    {"position", {"learned", "rotary", "rotary"}, {"learned", "rotary"}},
    {"activation", {"gelu", "swiglu", "relu2"}, {"gelu", "swiglu", "relu2"}},
    {"bias", {"true", "false", "false"}, {"false", "true"}},
    {"tie", {"true", "false", "true"}, {"false", "true"}},
    {"qk-norm", {"false", "false", "true"}, {"false", "true"}},
    {"zero-start", {"false", "false", "true"}, {"false", "true"}},
};
enum { NONE = -1 };

static int corpus_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    prose_save("corpus.txt", 500, 1);
    return system("for b in gpt2 llama modern; do " TRAIN "--block $b --out $b || exit 1; done >runs.txt 2>&1 && " TRAIN
                  "--block gpt2 --out half --until 4 >half.txt 2>&1");
}

/* As it is written on a command line. malloc'ed. */
static char *words_of(const char *name, const char *value) {
    if (strcmp(value, "true") == 0) return string_format("--%s", name);
    if (strcmp(value, "false") == 0) return string_format("--no-%s", name);
    return string_format("--%s %s", name, value);
}

/* The eight lines of a config file, of a block but for option `i` (or NONE). malloc'ed. */
static char *lines_of(size_t block, int but, const char *value) {
    char *lines = string_format("\nblock = %s\n", blocks[block]);
    for EACH(i, options)
        string_append(&lines, "%s = %s\n", options[i].name, (int)i == but ? value : options[i].values[block]);
    return lines;
}

static void lines_expect(const char *command, size_t block, int but, const char *value) {
    char *lines = lines_of(block, but, value);
    run("%s", command);
    if (!strstr(output, lines)) fail_msg("%s\nwant %s\ngot %s", command, lines, output);
    free(lines);
}

static size_t times_of(const char *text, const char *what) {
    size_t n = 0;
    for (; (text = strstr(text, what)); text++) n++;
    return n;
}

/* ---- Who wins ---- */

static void blocks_are_what_they_say(void **state) {
    (void)state;
    for EACH(b, blocks) {
        char *command = string_format("train --block %s --print-config", blocks[b]);
        lines_expect(command, b, NONE, NULL);
        assert_string_equal(errors, "");
        free(command);
        command = string_format("train --print-config --block gpt2 --block %s", blocks[b]); /* the last one */
        lines_expect(command, b, NONE, NULL);
        free(command);
        command = string_format("train --block %s --print-config >conf && train --config conf --print-config",
                                blocks[b]);
        lines_expect(command, b, NONE, NULL);
        free(command);
    }
    refuse(2, "--block: bad value (got 'bert'", "gpt2, llama or modern", "train --block bert");
}

/* The defaults that --help shows are those of the block that is the default. */
static void defaults_are_a_block(void **state) {
    (void)state;
    run("train --print-config");
    const char *at = strstr(output, "\nblock = ");
    size_t b = 0;
    while (b < COUNT(blocks) && strncmp(at + 9, blocks[b], strlen(blocks[b])) != 0) b++;
    assert_in_range(b, 0, COUNT(blocks) - 1);
    lines_expect("train --print-config", b, NONE, NULL);
    run("train --help | tr -s ' \\n' ' '");
    char *want = string_format("[one of gpt2, llama or modern; default %s]", blocks[b]);
    assert_non_null(strstr(output, want));
    free(want);
    for EACH(i, options) {
        const bool flag = *options[i].all[0] == 'f';
        char *name = string_format(flag ? "--[no-]%s " : "--%s KIND ", options[i].name);
        const char *help = strstr(output, name), *value = options[i].values[b];
        if (!help) fail_msg("%s is missing: %s", name, output);
        want = string_format("default %s]", !flag ? value : *value == 't' ? "on" : "off");
        const char *found = strstr(help, want), *end = strchr(help, ']');
        if (flag) end = strchr(end + 1, ']');
        if (!found || !end || found > end) fail_msg("%s: not %s: %.200s", name, want, help);
        free(want);
        free(name);
    }
    run("train --help | sed '/^Examples/,$d' | awk 'length($0) > 100 {exit 1}'");
}

/* Behind the block, before it, in a file in either order, and with one of the two in a file. */
static void options_that_are_given_win(void **state) {
    (void)state;
    static const char *const forms[] = {
        "train --block $block $words --print-config",
        "train $words --block $block --print-config",
        "printf \"block = $block\\n$name = $value\\n\" >conf; train --config conf --print-config",
        "printf \"$name = $value\\nblock = $block\\n\" >conf; train --config conf --print-config",
        "echo $name = $value >conf; train --block $block --config conf --print-config",
        "echo $name = $value >conf; train --config conf --block $block --print-config",
        "echo block = $block >conf; train --config conf $words --print-config",
        "echo block = $block >conf; train $words --print-config --config conf",
    };
    for EACH(b, blocks)
        for EACH(i, options)
            for (const char *const *value = options[i].all; value < options[i].all + 3 && *value; value++)
                for EACH(f, forms) {
                    char *words = words_of(options[i].name, *value);
                    char *command = string_format("block=%s name=%s value=%s words='%s'; %s", blocks[b],
                                                  options[i].name, *value, words, forms[f]);
                    lines_expect(command, b, (int)i, *value);
                    free(words);
                    free(command);
                }
}

/* ---- What is told ---- */

/* The one note, or none (""). */
static void note_expect(const char *command, const char *note) {
    run("%s", command);
    if (times_of(errors, "note:") != (*note != 0) || !strstr(errors, note))
        fail_msg("%s\nwant %s\ngot %s", command, note, errors);
}

static void contradictions_are_told_once(void **state) {
    (void)state;
    for EACH(b, blocks)
        for EACH(i, options)
            for (const char *const *value = options[i].all; value < options[i].all + 3 && *value; value++) {
                const bool contrary = strcmp(*value, options[i].values[b]) != 0;
                char *words = words_of(options[i].name, *value), *command, *note;
                note = string_format("note: --block %s, but for what is given beside it: %s\n", blocks[b], words);
                command = string_format(TRAIN "--dry-run %s --block %s", words, blocks[b]);
                note_expect(command, contrary ? note : "");
                free(command);
                free(note);
                free(words);
            }
    note_expect(TRAIN "--dry-run --norm rmsnorm --no-bias --activation swiglu", ""); /* no block was named */
    note_expect(TRAIN "--dry-run --block llama", "");
    note_expect(TRAIN "--dry-run --tie --block llama --qk-norm --norm layernorm --activation swiglu",
                "note: --block llama, but for what is given beside it: --norm layernorm, --tie, --qk-norm\n");
    run("printf 'block = modern\\nzero-start = false\\n' >conf");
    note_expect(TRAIN "--dry-run --config conf",
                "note: --block modern, but for what is given beside it: --no-zero-start\n");
    note_expect(TRAIN "--dry-run --config conf --zero-start", "");
    note_expect("train --config conf --print-config", ""); /* it is all there to see */
}

/* ---- What a run keeps ---- */

static void metadata_expect(const char *run, const char *name, size_t block, int but, const char *value) {
    struct checkpoint c = checkpoint_at(run, name);
    json_t *config = json_loads(metadata(&c, "config"), 0, NULL);
    assert_string_equal(json_string_value(json_object_get(config, "block")), blocks[block]);
    for EACH(i, options) {
        const char *want = (int)i == but ? value : options[i].values[block];
        const json_t *got = json_object_get(config, options[i].name);
        if (json_is_boolean(got)) assert_int_equal(json_is_true(got), *want == 't');
        else assert_string_equal(json_string_value(got), want);
    }
    json_decref(config);
    checkpoint_close(&c);
}

/* Its config and its checkpoints hold what came of the block, and make the same model again. */
static void runs_keep_what_came_of_it(void **state) {
    (void)state;
    static const struct {
        int but;
        const char *value;
    } cases[] = {{NONE, NULL}, {0, "layernorm"}, {4, "true"}};
    for EACH(b, blocks)
        for EACH(c, cases) {
            char *words = c ? words_of(options[cases[c].but].name, cases[c].value) : string_format("%s", "");
            run("rm -rf kept again && " TRAIN "--block %s %s --out kept && train corpus.txt --config kept/config --out "
                "again && cmp kept/config again/config", blocks[b], words);
            checkpoints_compare("kept", "again", "last.safetensors");
            logs_compare("kept", "again");
            lines_expect("cat kept/config", b, cases[c].but, cases[c].value);
            metadata_expect("kept", "last.safetensors", b, cases[c].but, cases[c].value);
            metadata_expect("kept", "best.safetensors", b, cases[c].but, cases[c].value);
            run("rm -r again && " TRAIN "--block %s %s --out again --until 3", blocks[b], words);
            run("train --resume again");
            assert_null(strstr(errors, "note"));
            checkpoints_compare("kept", "again", "last.safetensors");
            logs_compare("kept", "again");
            free(words);
        }
    run("rm -r kept again");
}

/* A resumed run keeps its block and each of the seven; the same said again is nothing. */
static void resumed_runs_keep_their_block(void **state) {
    (void)state;
    for EACH(b, blocks) {
        run("rm -rf run && cp -r %s run", blocks[b]);
        for EACH(other, blocks) {
            char *command = string_format("train --resume run --steps 7 --block %s", blocks[other]);
            char *says = string_format("--block %s: the run in run was begun with %s", blocks[other], blocks[b]);
            if (other != b) refuse(5, says, "leave it out", command);
            free(command);
            free(says);
        }
        for EACH(i, options)
            for (const char *const *value = options[i].all; value < options[i].all + 3 && *value; value++) {
                if (strcmp(*value, options[i].values[b]) == 0) continue;
                char *words = words_of(options[i].name, *value);
                char *command = string_format("train --resume run --steps 7 %s", words);
                char *says = string_format("--%s %s: the run in run was begun with %s", options[i].name, *value,
                                           options[i].values[b]);
                refuse(5, says, "leave it out", command);
                free(words);
                free(command);
                free(says);
            }
        run("diff -r %s run && train --resume run --steps 7 --block %s", blocks[b], blocks[b]);
        lines_expect("train --resume run --print-config", b, NONE, NULL);
        metadata_expect("run", "last.safetensors", b, NONE, NULL);
    }
    run("rm -rf run && " TRAIN "--block llama --norm layernorm --out run");
    lines_expect("train --resume run --print-config", 1, 0, "layernorm");
    run("rm -rf run && " TRAIN "--block llama --norm layernorm --tie --out run");
    refuse(5, "--norm rmsnorm: the run in run was begun with layernorm", "leave it out",
           "train --resume run --steps 7 --block llama --norm rmsnorm");
    run("train --resume run --steps 7 --block llama && grep -qx 'norm = layernorm' run/config && "
        "grep -qx 'tie = true' run/config && rm -r run");
}

/* ---- Runs that knew no blocks ---- */

/* What came with the blocks, and was like this before: --embedding-lr 1 --schedule cosine. */
static const char *const rates[] = {"embedding-lr", "schedule", "decay-steps", NULL};
static const char *const eight[] = {"block", "norm", "position", "activation", "bias", "tie", "qk-norm", "zero-start",
                                    NULL};

/* `run`: `half` as an earlier version has left it. */
static int earlier_run(void **state) {
    (void)state;
    run("rm -rf run && cp -r half run");
    for (int i = 0; eight[i]; i++) line_forget("run", eight[i]);
    for (int i = 0; rates[i]; i++) line_forget("run", rates[i]);
    checkpoint_forget("half", "run", "last.safetensors", eight, rates);
    checkpoint_forget("half", "run", "best.safetensors", eight, rates);
    return 0;
}

static void earlier_runs_go_on_as_gpt2(void **state) {
    (void)state;
    run("sample --model half --greedy -n 30 >now && sample --model run --greedy -n 30 >then && cmp now then");
    run("sample --model half/last.safetensors -n 30 >now && sample --model run/last.safetensors -n 30 >then && "
        "cmp now then");
    run("train --resume run");
    assert_null(strstr(errors, "note"));
    checkpoints_compare("gpt2", "run", "last.safetensors");
    checkpoints_compare("gpt2", "run", "best.safetensors");
    logs_compare("gpt2", "run");
    lines_expect("cat run/config", 0, NONE, NULL);
}

/* What the rate was and will be is told as if the checkpoint said it. */
static void earlier_rates_are_known(void **state) {
    (void)state;
    run("rm -rf now && cp -r half now && train --resume now --steps 9");
    char *notes = string_format("%s", errors);
    char *second = strstr(notes, "note: the learning rate goes on at"), *end = second ? strchr(second, '\n') : NULL;
    assert_non_null(end);
    *end = 0;
    run("train --resume run --steps 9");
    if (!strstr(errors, second) || times_of(errors, "note:") != 2) fail_msg("want %s\ngot %s", second, errors);
    checkpoints_compare("now", "run", "last.safetensors");
    free(notes);
    run("rm -r now");
}

/* Nothing that the checkpoint does not say can be changed by saying it. */
static void earlier_runs_keep_their_model(void **state) {
    (void)state;
    refuse(5, "--block llama: the run in run was begun with gpt2", "leave it out", "train --resume run --block llama");
    for EACH(i, options)
        for (const char *const *value = options[i].all; value < options[i].all + 3 && *value; value++) {
            if (strcmp(*value, options[i].values[0]) == 0) continue;
            char *words = words_of(options[i].name, *value), *command = string_format("train --resume run %s", words);
            char *says = string_format("--%s %s: the run in run was begun with %s", options[i].name, *value,
                                       options[i].values[0]);
            refuse(5, says, "leave it out", command);
            free(words);
            free(command);
            free(says);
        }
    run("train --resume run --block gpt2 --norm layernorm");
    checkpoints_compare("gpt2", "run", "last.safetensors");
}

/* One that says some of the eight was put together wrongly. */
static void incomplete_checkpoints_are_refused(void **state) {
    (void)state;
    for (int i = 0; eight[i]; i++) {
        const char *others[8] = {NULL};
        for (int n = 0, k = 0; eight[k]; k++)
            if (k != i) others[n++] = eight[k];
        const char *one[] = {eight[i], NULL};
        for (int kind = 0; kind < 2; kind++) { /* all but one are there, or only one is */
            checkpoint_forget("half", "run", "last.safetensors", kind ? others : one, rates);
            char *says = string_format("run/last.safetensors: config: configuration: %s: missing",
                                       kind ? i == 0 ? "norm" : "block" : eight[i]);
            refuse(3, says, "", "sample --model run/last.safetensors");
            refuse(3, says, "", "train --resume run");
            free(says);
        }
    }
}

/* ---- Positions that turn pairs ---- */

/* What a message says will do does. */
static void remedies_work(void **state) {
    (void)state;
    static const struct {
        const char *options, *says, *remedy;
    } cases[] = {
        {"--position rotary --channels 9 --moe-heads 1", "--channels 9 over --attn-heads 3 leaves heads of 3",
         "--channels 12"},
        {"--block llama --channels 15 --moe-heads 5", "leaves heads of 5, an odd number", "--channels 30"},
        {"--block modern --channels 3 --ffn dense", "leaves heads of 1, an odd number", "--channels 6"},
        {"--position rotary --channels 10", "--channels 10 is not divisible by --attn-heads 3", "--channels 12"},
        {"--position rotary --channels 12 --moe-heads 8", "--channels 12 is not divisible by --moe-heads 8",
         "--channels 24"},
        {"--position learned --channels 13", "--channels 13 is not divisible by --attn-heads 3", "--channels 18"},
        {"--position learned --channels 9", "--channels 9 is not divisible by --moe-heads 2", "--channels 12"},
    };
    for EACH(i, cases) {
        char *command = string_format(TRAIN "--dry-run %s", cases[i].options);
        refuse(2, cases[i].says, cases[i].remedy, command);
        const char *use = strstr(errors, "; use ");
        assert_int_equal(strcspn(use + 6, "\n"), strlen(cases[i].remedy));
        run("%s %s", command, cases[i].remedy);
        free(command);
    }
    run(TRAIN "--dry-run --position learned --channels 9 --moe-heads 1"); /* nothing turns */
}

/* ---- --match ---- */

/* 3 K F = g0 K0 F0 - 2 C, 3 E F = H (g0 E0 F0 - 2 C): a baseline with a block keeps it, one without has this run's. */
static void baselines_keep_their_block(void **state) {
    (void)state;
#define SHAPE "train corpus.txt --cache cache --vocab 301 --layers 2 --channels 24 --attn-heads 2 --dry-run "
    static const struct {
        const char *mine, *baseline, *K, *E, *F;
    } cases[] = {
        {"llama", "gpt2", "4", "83", "12"},   {"llama", NULL, "4", "75", "20"},   {"llama", "llama", "4", "75", "20"},
        {"gpt2", "llama", "4", "75", "30"},   {"gpt2", NULL, "3", "62", "24"},    {"gpt2", "gpt2", "3", "62", "24"},
        {"modern", "gpt2", "3", "62", "24"},  {"modern", NULL, "3", "62", "24"},
        {"modern", "llama", "4", "75", "30"}, {"llama", "modern", "4", "83", "12"},
    };
    for EACH(i, cases) {
        run("train --layers 2 --channels 24 --attn-heads 2 --ffn smoe --topk 1 --experts 8 --expert-hidden 96 "
            "--block %s --print-config >base", cases[i].baseline ? cases[i].baseline : "gpt2");
        for (int n = 0; !cases[i].baseline && eight[n]; n++) run("sed -i '/^%s = /d' base", eight[n]);
        run(SHAPE "--match base --moe-heads 2 --topk %s --block %s", cases[i].K, cases[i].mine);
        assert_null(strstr(errors, "note"));
        char *E = string_format("\n  experts E                                         8           %s", cases[i].E);
        char *F = string_format("\n  expert hidden width F                            96           %s\n", cases[i].F);
        if (!strstr(errors, E) || !strstr(errors, F)) fail_msg("%s, %s: %s", cases[i].mine, cases[i].baseline, errors);
        assert_non_null(strstr(errors, "+0  (+0.000%)\n    with the router")); /* of the multiply-adds */
        free(E);
        free(F);
    }
    /* one of its options, without a block: it alone is the baseline's own */
    run("printf 'layers = 2\\nchannels = 24\\nffn = smoe\\ntopk = 1\\nexpert-hidden = 96\\n' >base && "
        "echo activation = gelu >>base");
    run(SHAPE "--match base --moe-heads 2 --topk 4 --attn-heads 2 --block llama");
    assert_non_null(strstr(errors, "  8           83"));
    run("printf 'block = llama\\nactivation = gelu\\n' >>base"); /* and it is not this run's to tell of */
    run(SHAPE "--match base --moe-heads 2 --topk 4 --attn-heads 2 --block llama");
    assert_non_null(strstr(errors, "  8           83"));
    assert_null(strstr(errors, "note"));
}

/* What both sides cost, counted matrix by matrix, for two and three of them on either side: multiply-adds to the last
 * one, parameters with the experts that the formula gives. */
static void formulas_hold_between_blocks(void **state) {
    (void)state;
    size_t solved = 0;
    for (size_t i = 0; i < 2 * 2 * 3 * 3 * 3 * 4 * 2; i++) {
        const double C = 48;
        const struct moe_layer base = {48, 1, 40, 1 + i / 324 % 2, 960, i / 4 % 3 * 16, 2 + i % 2, 0};
        struct moe_layer mine = {.C = 48, .H = 1 + i / 12 % 3, .K = 1 + i / 108 % 4, .Fs = i / 36 % 3 * 12,
                                 .g = 2 + i / 2 % 2, .d = i % 3};
        struct error err;
        if (!parity_solve(&base, &mine, &err)) continue;
        solved++;
        const double heads = (double)mine.d * C * C, g = (double)mine.g, S = C / (double)mine.H,
                     active = (double)base.g * C * ((double)base.K * 960 + (double)base.Fs),
                     all = (double)base.g * C * ((double)base.E * 960 + (double)base.Fs),
                     experts = layer_experts(&base, &mine);
        assert_true(heads + g * C * (double)(mine.K * mine.F + mine.Fs) == active);
        expect_near((heads + g * S * (experts * (double)mine.F + (double)mine.Fs)) / all, 1, 1e-12);
        assert_int_equal(mine.E, (size_t)round(experts));
    }
    assert_true(solved > 100);
}

static void refusals_say_the_matrices(void **state) {
    (void)state;
    static const struct moe_layer two = {24, 1, 8, 1, 96, 0, 2, 0}, three = {24, 1, 8, 1, 96, 6, 3, 0};
    struct moe_layer mine = {.C = 24, .H = 2, .K = 5, .Fs = 1, .g = 3, .d = 2};
    struct error err;
    assert_false(parity_solve(&two, &mine, &err));
    assert_non_null(strstr(err.text, "K F = 2/3 (K0 F0 + Fs0) - Fs - 2 C/3 = 47 leaves an expert 9.4 wide"));
    mine.g = 2, mine.d = 3;
    assert_false(parity_solve(&three, &mine, &err));
    assert_non_null(strstr(err.text, "K F = 3/2 (K0 F0 + Fs0) - Fs - 3 C/2 = 116 leaves an expert 23.2 wide"));
    /* one head can become two where there are layers to make them with, and 2.5 experts 5 */
    static const struct moe_layer smoe = {6, 1, 4, 2, 9, 0, 2, 0};
    assert_false(parity_solve(&smoe, &(struct moe_layer){.C = 6, .H = 1, .K = 1, .g = 2, .d = 2}, &err));
    assert_non_null(strstr(err.text, "takes 2.50 experts"));
    assert_non_null(strstr(err.text, "--moe-heads 2"));
    assert_false(parity_solve(&smoe, &(struct moe_layer){.C = 6, .H = 1, .K = 5, .g = 2}, &err));
    assert_null(strstr(err.text, "--moe-heads"));
}

/* P2's own models: 12 layers of 768 channels, experts in every second one, SwiGLU. */
static void table_of_p2_is_found(void **state) {
    (void)state;
    static const struct {
        const char *options, *E, *F;
    } cases[] = {
        {"--ffn mhmoe --moe-heads 2 --topk 2", "8           41      41.33 by the formulas\n", "2048          768\n"},
        {"--ffn mhmoe --moe-heads 3 --topk 3", "8           93\n", "2048          512\n"},
        {"--ffn smoe --topk 2", "8           16\n", "2048         1024\n"},
    };
#define P2 "--block llama --layers 12 --channels 768 --attn-heads 12 "
    run("train " P2 "--ffn smoe --topk 1 --print-config >p2");
    for EACH(i, cases) {
        run("train corpus.txt --cache cache " P2 "%s --match p2 --dry-run", cases[i].options);
        const char *E = strstr(errors, "experts E"), *F = strstr(errors, "expert hidden width F");
        if (!E || !F || !strstr(E, cases[i].E) || !strstr(F, cases[i].F)) fail_msg("%s: %s", cases[i].options, errors);
        assert_non_null(strstr(errors, "multiply-adds a token                       4718592      4718592         +0"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_what_they_say),
        cmocka_unit_test(defaults_are_a_block),
        cmocka_unit_test(options_that_are_given_win),
        cmocka_unit_test(contradictions_are_told_once),
        cmocka_unit_test(runs_keep_what_came_of_it),
        cmocka_unit_test(resumed_runs_keep_their_block),
        cmocka_unit_test_setup(earlier_runs_go_on_as_gpt2, earlier_run),
        cmocka_unit_test_setup(earlier_rates_are_known, earlier_run),
        cmocka_unit_test_setup(earlier_runs_keep_their_model, earlier_run),
        cmocka_unit_test_setup(incomplete_checkpoints_are_refused, earlier_run),
        cmocka_unit_test(remedies_work),
        cmocka_unit_test(baselines_keep_their_block),
        cmocka_unit_test(formulas_hold_between_blocks),
        cmocka_unit_test(refusals_say_the_matrices),
        cmocka_unit_test(table_of_p2_is_found),
    };
    return cmocka_run_group_tests(tests, corpus_make, workplace_remove);
}
