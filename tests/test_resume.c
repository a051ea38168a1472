/* What a run keeps when something fails on the way, and how it goes on: whatever happened, the resumed run equals one
 * that nothing happened to, and what a user changes meanwhile is refused or told. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/file.h>
#include "../src/base/text.h"
#include "../src/run/runstate.h"
#include "command.h"
#include "prose.h"
#include "runs.h"

enum { STEPS = 12, BATCH = 3, SEQ = 17 };
#define TINY                                                                                                    \
    " --cache cache --vocab 301 --seq 17 --layers 2 --channels 12 --attn-heads 3 --moe-heads 2 --experts 5 "     \
    "--expert-hidden 7 --batch 3 --steps 12 --warmup 3 --lr 0.01 --eval-windows 5 --eval-every 3 --save-every 4 " \
    "--sample-every 4 --sample-tokens 5 --schedule cosine --final-lr 0.1 --weight-decay 0.1 "
#define TRAIN "train corpus.txt" TINY

/* `whole`: nothing happened to it. */
static int whole_run(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    prose_save("corpus.txt", 500, 1);
    return system(TRAIN "--out whole >whole.txt 2>&1 && " TRAIN "--out half --until 6 >half.txt 2>&1 && "
                  "cp cache/*/tokenizer.model model");
}

/* `run`, which has done half of the steps. */
static int half_run(void **state) {
    (void)state;
    return system("rm -rf run && cp -r half run");
}

/* `run`, resumed, must become `whole`. */
static void becomes_whole(const char *resume) {
    run("%s", resume);
    checkpoints_compare("whole", "run", "last.safetensors");
    checkpoints_compare("whole", "run", "best.safetensors");
    logs_compare("whole", "run");
    run("cmp whole/plots/loss.svg run/plots/loss.svg && for r in whole run; do " /* a colour's name holds its path */
        "sed 's/ramp-[0-9a-f]*//g' $r/plots/load.svg >$r.svg || exit 1; done; cmp whole.svg run.svg");
}

/* ---- What fails costs no step ---- */

/* The steps that are done are in last.safetensors whatever fails behind them; the resumed run does what is missing. */
static void failed_plots_cost_nothing(void **state) {
    (void)state;
    run("rm -r run/plots && touch run/plots");
    refuse(4, "run/plots", "is a file", "train --resume run");
    assert_int_equal(step_of("run"), STEPS);
    const char *note = strstr(errors, "(the run goes on, and draws again at its end)\n");
    assert_non_null(note);
    assert_ptr_equal(strstr(note, ")\nstep 12: "), strchr(note, ')'));
    assert_null(strstr(strchr(note, ')'), "draws again")); /* it is told once */
    run("rm run/plots");
    becomes_whole("train --resume run");
    run("rm run/plots/load.svg && train --resume run"); /* now it is done, for good */
    assert_non_null(strstr(errors, "run: all 12 steps are done"));
    run("! test -e run/plots/load.svg");
}

static void failed_best_costs_nothing(void **state) {
    (void)state;
    run("mkdir run/best.safetensors.tmp");
    refuse(4, "run/best.safetensors.tmp", "choose another place", "train --resume run");
    assert_int_equal(step_of("run"), 9); /* where a validation is due, and no save */
    run("rmdir run/best.safetensors.tmp");
    becomes_whole("train --resume run");
}

/* At step 12 a save and a validation are due: the save comes first, and a run that dies in the validation has it. */
static void saves_come_before_validations(void **state) {
    (void)state;
    run("mkdir run/best.safetensors.tmp");
    refuse(4, "run/best.safetensors.tmp", "choose another place", "train --resume run --steps 30 --eval-every 4");
    assert_int_equal(step_of("run"), 8);
    struct checkpoint c = checkpoint_at("run", "last.safetensors");
    assert_string_equal(metadata(&c, "watched"), "7");
    checkpoint_close(&c);
}

/* The embedding of a byte that is in no text here: no loss shows it. Such weights are not saved over good ones. */
static void weights_that_are_no_numbers_are_not_saved(void **state) {
    (void)state;
    run("rm -rf run && " TRAIN "--no-tie --until 6 --out run");
    struct checkpoint c = checkpoint_at("run", "last.safetensors");
    struct tensor *wte = (struct tensor *)tensor_named(&c, "wte");
    float *w = array_alloc(tensor_bytes(wte), 1);
    memcpy(w, wte->data, tensor_bytes(wte));
    w[200 * wte->shape[1]] = INFINITY;
    wte->data = w;
    checkpoint_rewrite(&c, "run", "last.safetensors", json_incref(c.metadata));
    free(w);
    run("cp run/last.safetensors before");
    refuse(8, "run: step 8: a weight is not finite", "try a lower --lr", "train --resume run");
    run("cmp run/last.safetensors before && rm before");
}

/* What is no file has no end, and cannot be cut. */
static void logs_that_are_no_files_are_refused(void **state) {
    (void)state;
    run("rm run/log.jsonl && ln -s /dev/zero run/log.jsonl");
    refuse(4, "run/log.jsonl: cannot open", "not a regular file", "train --resume run");
    run("cmp half/last.safetensors run/last.safetensors");
}

/* ---- Signals ---- */

/* A run of 3 steps whose validation takes minutes: 1 MB of text, a wide model. It is in the background, `child` is its
 * process; SOON is much less than that validation and much more than everything else. */
#define LONG                                                                                      \
    "train corpus.txt" TINY                                                                       \
    "--ffn dense --layers 10 --channels 240 --val val.txt --eval-windows 1000000 --eval-every 3 " \
    "--save-every 0 --sample-every 0 --steps 3 --optimizer adamw --out run >/dev/null 2>progress.txt & child=$!; "
enum { SOON = 20 };

static void wait_for(const char *condition) {
    char *command = string_format("for i in $(seq 2000); do %s && exit 0; sleep 0.01; done; exit 1", condition);
    run("%s", command);
    free(command);
}

/* The run's last step is saved before its validation begins, which a power cut may end. */
static void last_save_comes_before_the_validation(void **state) {
    (void)state;
    run("rm -rf run && for i in $(seq 48); do cat corpus.txt; done >val.txt");
    run(LONG "echo $child >child");
    wait_for("test -e run/last.safetensors");
    run("kill -9 $(cat child) && ! grep val_loss run/log.jsonl");
    assert_int_equal(step_of("run"), 3);
}

/* It is left between two batches, and says at once that it will be; the resumed run does it. */
static void signals_are_seen_within_a_validation(void **state) {
    (void)state;
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (int i = 0; i < 3; i++) {
        char *command =
            string_format("trap - HUP INT; " LONG "for i in $(seq 2000); do test -e run/last.safetensors && "
                          "break; sleep 0.01; done; kill -%d $child; wait $child",
                          signals[i]);
        run("rm -rf run");
        const double start = time_seconds();
        assert_int_equal(command_run(command), 128 + signals[i]);
        assert_true(time_seconds() - start < SOON);
        text_read("progress.txt", errors, sizeof errors);
        assert_non_null(strstr(errors, "\ntrain: stopping after this step; again to stop without saving\n"));
        assert_non_null(strstr(errors, "\nrun: step 3 of 3, "));
        assert_null(strstr(errors, "curves in plots")); /* there are none yet */
        assert_int_equal(step_of("run"), 3);
        run("! grep val_loss run/log.jsonl");
        free(command);
    }
    struct checkpoint c = checkpoint_at("run", "last.safetensors");
    assert_string_equal(metadata(&c, "watched"), "2"); /* of step 3, nothing but the save */
    checkpoint_close(&c);
}

/* ---- Whose turn it is ---- */

/* Who waits for nothing reads nothing either: a checkpoint that is being replaced is not looked at without the lock. */
static void lock_comes_before_the_checkpoint(void **state) {
    (void)state;
    run("rm run/last.safetensors run/config && touch run/last.safetensors");
    const int lock = open("run/lock", O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(lock, LOCK_EX), 0);
    refuse(7, "run: another process", "wait for it", "train --resume run");
    close(lock);
    refuse(2, "run/config", "cannot read", "train --resume run"); /* now they are missed */
}

/* The directory is looked at first: nothing is trained or prepared for a run that cannot be. */
static void directories_are_claimed_first(void **state) {
    (void)state;
    run("mkdir -p notes && echo mine >notes/config && echo mine >notes/log.jsonl && cp corpus.txt new.txt");
    static const char *const outs[] = {"whole", "notes", "corpus.txt", "corpus.txt/run"};
    static const int codes[] = {2, 2, 4, 4};
    for (int i = 0; i < 4; i++) {
        char *command = string_format("train new.txt" TINY "--out %s", outs[i]);
        refuse(codes[i], i < 3 ? outs[i] : "corpus.txt: is a file", "", command);
        assert_null(strstr(errors, "training a tokenizer"));
        free(command);
    }
    run("ls notes && cat notes/* && ls cache | grep -c new.txt || true");
    assert_string_equal(output, "config\nlog.jsonl\nmine\nmine\n0\n");
    refuse(3, "missing.txt", "name a text file", "train missing.txt" TINY "--out later");
    run("! test -e later && rm -r notes new.txt"); /* what was not begun leaves nothing */
}

/* An empty name, as of a shell's variable that is not set, is no name of the root of the disk. */
static void empty_names_are_refused(void **state) {
    (void)state;
    static const char *const names[] = {"out", "cache", "val", "tokenizer", "match"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *says = string_format("--%s: bad value (got ''", names[i]),
             *command = string_format(TRAIN "--%s ''", names[i]);
        refuse(2, says, "leave it out", command);
        free(command);
        command = string_format("echo '%s =' >config && " TRAIN "--config config", names[i]);
        if (i != 1) refuse(2, says, "leave it out", command); /* the cache is named behind it */
        free(command);
        free(says);
    }
    refuse(2, "--resume: bad value (got ''", "leave it out", "train --resume ''");
    refuse(2, "--resume: bad value (got ''", "leave it out", "train --resume=");
    run("! test -e /lock && " TRAIN "--dry-run --prompt ''"); /* an empty text is one */
}

/* ---- What a resumed run keeps ---- */

static void changes_are_told(void **state) {
    (void)state;
    static const struct {
        const char *option, *note;
    } changes[] = {
        {"--steps 24", "--steps is 24 now; it was 12"},
        {"--batch 2", "--batch is 2 now; it was 3"},
        {"--accumulate 2", "--accumulate is 2 now; it was 1"},
        {"--lr 0.02", "--lr is 0.02 now; it was 0.01"},
        {"--embedding-lr 2", "--embedding-lr is 2.0 now; it was 8.0"},
        {"--schedule linear", "--schedule is linear now; it was cosine"},
        {"--decay-steps 3", "--decay-steps is 3 now; it was -1"},
        {"--final-lr 0.5", "--final-lr is 0.5 now; it was 0.1"},
        {"--warmup 2", "--warmup is 2 now; it was 3"},
        {"--weight-decay 0", "--weight-decay is 0.0 now; it was 0.1"},
        {"--beta1 0.5", "--beta1 is 0.5 now; it was 0.9"},
        {"--beta2 0.5", "--beta2 is 0.5 now; it was 0.99"},
        {"--clip 2", "--clip is 2.0 now; it was 1.0"},
        {"--dropout 0.25", "--dropout is 0.25 now; it was 0.0"},
        {"--lr 0.0123456789", "--lr is 0.0123457 now; it was 0.01"}, /* as many digits as one reads */
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        half_run(NULL);
        char *note = string_format("train: note: %s\n", changes[i].note);
        run("train --resume run --until 7 %s", changes[i].option);
        if (!strstr(errors, note)) fail_msg("'%s' is missing in\n%s", note, errors);
        free(note);
    }
    half_run(NULL); /* neither what is of this call nor what was not changed is told */
    run("train --resume run --until 7 --threads 2 --sample-every 3 --lr 0.01");
    assert_null(strstr(errors, "note"));
    half_run(NULL); /* in the file that a run keeps, too */
    run("sed -i 's/^lr = .*/lr = 0.03/' run/config && train --resume run --until 7");
    assert_non_null(strstr(errors, "train: note: --lr is 0.03 now; it was 0.01\n"));
    half_run(NULL);
    run("sed -i 's/^seed = .*/seed = 4/' run/config");
    refuse(5, "--seed 4: the run in run was begun with 1", "leave it out", "train --resume run");
}

/* A finished run that gets more steps has its schedule drawn out, whichever it is: the step that follows and the last
 * one have these rates, of 24 and 12 steps, by hand. Where the rate goes on as it was, nothing is said. */
static void extended_runs_tell_their_jump(void **state) {
    (void)state;
    static const struct {
        const char *schedule, *rates; /* next, last */
    } all[] = {
        {"wsd", "0.01; the last step had 0.00325"}, /* over 4 of 12: step 11 has 1/4 left; over 9 of 24: not yet */
        {"wsd --decay-steps 75%", "0.007; the last step had 0.002"}, /* 1/9 left; 12/18 */
        {"cosine", "0.0065; the last step had 0.00127"},  /* (1 + cos(8/9 pi)) / 2 = 0.0302; of 9/21: 0.6113 */
        {"linear", "0.00614; the last step had 0.002"},   /* 1/9 and 12/21 left */
        {"linear --final-lr 0", "0.00571; the last step had 0.00111"},
        {"constant", NULL},
        {"cosine --final-lr 1", NULL},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        run("rm -rf run && " TRAIN "--schedule %s --out run && train --resume run --steps 24 --until 13",
            all[i].schedule);
        char *note = string_format("train: note: the learning rate goes on at %s\n", all[i].rates ? all[i].rates : "");
        if (all[i].rates ? !strstr(errors, note) : strstr(errors, "learning rate") != NULL)
            fail_msg("%s: want '%s', got\n%s", all[i].schedule, note, errors);
        free(note);
        run("train --resume run --until 14"); /* it is said once */
        assert_null(strstr(errors, "learning rate"));
    }
}

/* Steps beyond a finished run take its learning rate up again: both rates are said. */
static void jumps_of_the_rate_are_told(void **state) {
    (void)state;
    run("rm -rf run && cp -r whole run && train --resume run --steps 24 --until 13");
    json_t *log = log_of("run");
    char *note = string_format("train: note: the learning rate goes on at %.3g; the last step had %.3g\n",
                               number_of(entry_of(log, "loss", 12), "lr"), number_of(entry_of(log, "loss", 11), "lr"));
    if (!strstr(errors, note)) fail_msg("'%s' is missing in\n%s", note, errors);
    free(note);
    json_decref(log);
    half_run(NULL);
    run("train --resume run --until 7 --lr 0.001"); /* down, too */
    assert_non_null(strstr(errors, "train: note: the learning rate goes on at 0.000"));
    half_run(NULL);
    run("train --resume run --until 7 --lr 0.01002"); /* by more than a thousandth */
    assert_non_null(strstr(errors, "train: note: the learning rate goes on at "));
    half_run(NULL);
    run("train --resume run --until 7 --lr 0.010005");
    assert_null(strstr(errors, "learning rate"));
    half_run(NULL);
    run("train --resume run --until 7 --batch 2"); /* it does not jump */
    assert_null(strstr(errors, "learning rate"));
    run("rm -rf run && " TRAIN
        "--steps 20 --final-lr 0.5 --warmup 8 --until 6 --out run"); /* whatever its schedule is */
    run("train --resume run --until 7 --batch 2");
    assert_null(strstr(errors, "learning rate"));
    run("rm -rf run && " TRAIN "--steps 20 --final-lr 0.5 --warmup 2 --until 15 --out run");
    run("train --resume run --until 16 --batch 2");
    assert_null(strstr(errors, "learning rate"));
    run("rm -rf run && " TRAIN "--steps 0 --out run"); /* nor where there was no step yet */
    run("train --resume run --until 1 --steps 20 --lr 0.02");
    assert_null(strstr(errors, "learning rate"));
}

/* A run that is beyond --until does nothing, and says why: neither checkpoint nor log is written again. */
static void until_that_has_passed_is_told(void **state) {
    (void)state;
    static const int steps[] = {3, 6};
    char *files = "stat -c '%i %Y %s' run/last.safetensors run/best.safetensors && cat run/log.jsonl";
    run("%s", files);
    char *before = string_format("%s", output);
    for (int i = 0; i < 2; i++) {
        char *note = string_format("train: note: --until %d: the run in run is at step 6 already\n", steps[i]);
        run("train --resume run --until %d", steps[i]);
        if (!strstr(errors, note)) fail_msg("'%s' is missing in\n%s", note, errors);
        free(note);
        run("%s", files);
        assert_string_equal(output, before);
    }
    run("train --resume run --until 7");
    assert_null(strstr(errors, "note"));
    free(before);
}

/* A run that is past the steps it is told has nothing to do, and is left alone. */
static void steps_that_are_past_change_nothing(void **state) {
    (void)state;
    run("train --resume run --steps 3");
    assert_non_null(strstr(errors, "run: all 6 steps are done"));
    run("diff -r half run");
}

/* A run's checkpoint names it as well as its directory does. */
static void runs_are_resumed_by_their_checkpoint(void **state) {
    (void)state;
    becomes_whole("train --resume run/last.safetensors");
    refuse(3, "run/best.safetensors/last.safetensors: no checkpoint", "directory of a run",
           "train --resume run/best.safetensors");
}

/* Its tokenizer is in its checkpoint: the file that it came from may be gone, or be another. */
static void tokenizers_are_kept(void **state) {
    (void)state;
    run("rm -rf run && cp model mine && " TRAIN
        "--tokenizer mine --out run --until 6 && rm mine && train --resume run");
    logs_compare("whole", "run");
    run("rm -rf run && cp model mine && " TRAIN "--tokenizer mine --out run --until 6 && echo other >mine && "
        "train --resume run && rm mine");
    refuse(3, "corpus.txt", "",
           "train --resume run --steps 13 --tokenizer corpus.txt"); /* one that is named is looked at */
}

/* Tokens are those that were read, at whatever batch: the curve's earlier points stay where they are. */
static void tokens_are_counted(void **state) {
    (void)state;
    run("train --resume run --batch 5 --accumulate 2");
    json_t *log = log_of("run");
    for (int step = 1; step <= STEPS; step++) {
        const int sequences = step <= 6 ? step * BATCH : 6 * BATCH + (step - 6) * 10;
        assert_true(number_of(entry_of(log, "loss", (size_t)step - 1), "tokens") == sequences * SEQ);
    }
    assert_true(number_of(entry_of(log, "final_loss", 0), "tokens") == (6 * BATCH + 60) * SEQ);
    json_decref(log);
}

/* ---- What the metadata says ---- */

/* The run's last checkpoint is that of `half` with another text for one key, its CRCs right. */
static void metadata_write(const char *key, const char *text) { last_rewrite("half", "run", key, text); }

/* A run that was stopped before it had done anything at all goes on from there. */
static void stopped_at_once_is_resumed(void **state) {
    (void)state;
    run("rm -rf run && " TRAIN "--steps 0 --out run");
    last_rewrite("run", "run", "watched", "-1");
    run("train --resume run --steps 12");
    checkpoints_compare("whole", "run", "last.safetensors");
    run("rm -rf run && " TRAIN "--steps 0 --out run");
    last_rewrite("run", "run", "watched", "-1"); /* what is due where there are no steps, is */
    run("train --resume run && grep -c final_loss run/log.jsonl");
    assert_string_equal(output, "1\n");
}

static void impossible_metadata_is_refused(void **state) {
    (void)state;
    static const char *const wholes[] = {"", "six", "-1", "6.5", "6 ", " 6", "99999999999999999999", "+6", NULL};
    static const char *const reals[] = {"", "much", "-1", "nan", "1x", NULL};
    static const char *const words[] = {"", "0 0 0 0", "0000000000000001",
        "0000000000000000 0000000000000000 0000000000000000 0000000000000000",
        "0000000000000001 0000000000000000 0000000000000000 000000000000000g",
        "0000000000000001 0000000000000000 0000000000000000 0000000000000000 ", NULL};
    static const char *const objects[] = {"", "[]", "{\"lr\":", "7", NULL};
    static const struct {
        const char *key;
        const char *const *texts;
    } keys[] = {{"step", wholes},      {"watched", wholes},  {"data_position", wholes},
                {"best_loss", reals},  {"val_loss", reals},  {"seconds", reals},
                {"sample_rng", words}, {"options", objects}, {"config", objects},  {"tokens", wholes}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        for (const char *const *text = keys[i].texts; *text; text++) {
            metadata_write(keys[i].key, *text);
            char *says = string_format("run/last.safetensors: metadata %s", keys[i].key);
            refuse(3, says, "take another checkpoint", "train --resume run");
            free(says);
        }
    static const char *const needed[] = {"step", "data_position", "best_loss", "val_loss", "seconds", "sample_rng",
                                         "config", "data_hash", "data_dir", "format"};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        metadata_write(needed[i], NULL);
        refuse(3, needed[i], "missing", "train --resume run");
    }
    metadata_write("format", "another-1");
    refuse(3, "run/last.safetensors: metadata format: another one (got another-1", "the version", "train --resume run");
    metadata_write("data_hash", "0123456789abcdef");
    refuse(5, "not the data", "name the same corpus", "train --resume run");
    metadata_write("best_loss", "inf"); /* before the first validation */
    run("train --resume run --until 7");
}

/* A checkpoint of a version that said neither which options it had, what was done after its step, nor how many tokens
 * it had seen. */
static void earlier_checkpoints_go_on(void **state) {
    (void)state;
    last_rewrite("half", "run", "options", NULL);
    last_rewrite("run", "run", "watched", NULL);
    last_rewrite("run", "run", "tokens", NULL);
    run("train --resume run --until 7");
    assert_null(strstr(errors, "step 6: validation")); /* it saved when that was done */
    becomes_whole("train --resume run");
}

static void bytes_come_back(const char *bytes, const char *text) {
    char *escaped = text_escape(bytes), *back = text_unescape(escaped);
    assert_string_equal(escaped, text);
    assert_string_equal(back, bytes);
    free(escaped);
    free(back);
}

/* A corpus whose name is no UTF-8 has prepared data of that name; the checkpoint can say where. */
static void names_of_any_bytes_are_found_again(void **state) {
    (void)state;
    bytes_come_back("data/cache/a b-0f", "data/cache/a b-0f");
    bytes_come_back("caf\xe9 \xff\x01%41~\x7f", "caf%E9 %FF%01%2541~%7F");
    char *as_it_was = text_unescape("100% %4 %zz");
    assert_string_equal(as_it_was, "100% %4 %zz");
    free(as_it_was);
    run("rm -rf run && cp corpus.txt \"$(printf 'caf\\351%%.txt')\" && train caf*" TINY "--until 6 --out run");
    run("train --resume run && rm caf*");
    logs_compare("whole", "run");
}

/* To the bit, so that a run that goes on judges as one that was never stopped: but for what is only told. */
static void states_come_back(void **state) {
    (void)state;
    struct error err;
    struct runstate s = runstate_new(5), back = {0};
    struct checkpoint c = {.path = "state", .metadata = json_object()};
    s.step = 12345678901, s.watched = 12345678900, s.waited = 3, s.moment_steps = 7, s.position = 98765432109;
    s.tokens = 1234567890123, s.best_loss = 1 + 0x1p-52, s.seconds = 1e6 + 0x1p-30, s.val_loss = 1.23456789;
    runstate_write(&s, c.metadata);
    if (!runstate_read(&back, &c, &err)) fail_msg("%s", err.text);
    assert_memory_equal(back.sample_rng.s, s.sample_rng.s, sizeof s.sample_rng.s);
    assert_true(back.step == s.step && back.watched == s.watched && back.waited == s.waited);
    assert_true(back.moment_steps == s.moment_steps && back.position == s.position && back.tokens == s.tokens);
    assert_true(back.best_loss == s.best_loss && back.seconds == s.seconds && back.val_loss == s.val_loss);
    json_decref(c.metadata);
}

/* ---- Short runs, and figures that there are not ---- */

static double rate_at_step(const char *run_dir, size_t step) {
    json_t *log = log_of(run_dir);
    const double rate = number_of(entry_of(log, "loss", step - 1), "lr");
    json_decref(log);
    return rate;
}

/* A tenth of a short run warms up, 200 steps of a long one; a number that is given is taken. */
static void warm_up_fits_the_run(void **state) {
    (void)state;
    static const struct {
        const char *options;
        double rate; /* of the first step, from 0.01 */
    } cases[] = {{"--steps 40", 0.01 / 4}, {"--steps 5000", 0.01 / 200}, {"--steps 1990", 0.01 / 199},
                 {"--steps 40 --warmup 20", 0.01 / 20}, {"--steps 9", 0.01}, {"--steps 40 --warmup 0", 0.01}};
    run("grep -v '^warmup' whole/config >config");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run("rm -rf run && train --config config corpus.txt --until 1 --out run %s", cases[i].options);
        assert_float_equal(rate_at_step("run", 1), cases[i].rate, 1e-9);
    }
}

static void notes_are_told(void **state) {
    (void)state;
    static const struct {
        const char *options, *note;
    } cases[] = {
        {"--steps 30 --warmup 30", "--warmup is as long as the run"},
        {"--topk 1 --renormalize", "--renormalize with --topk 1"},
        {"--ffn smoe --topk 1 --renormalize", "--renormalize with --topk 1"},
        {"--tokenizer model --vocab 400", "--vocab has no effect with --tokenizer"},
        {"--decay-steps 3", "--decay-steps has no effect without --schedule wsd"},
        {"--schedule constant", "--final-lr has no effect with --schedule constant"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run(TRAIN "--dry-run %s", cases[i].options);
        if (!strstr(errors, cases[i].note)) fail_msg("'%s' is missing in\n%s", cases[i].note, errors);
    }
    static const char *const silent[] = {"--steps 30 --warmup 29", "--topk 2 --renormalize", "--topk 1",
                                         "--steps 0 --warmup 3", "--schedule wsd --decay-steps 3",
                                         "--schedule linear"};
    for (size_t i = 0; i < sizeof silent / sizeof *silent; i++) {
        run(TRAIN "--dry-run %s", silent[i]);
        if (strstr(errors, "note")) fail_msg("%s: %s", silent[i], errors);
    }
    run("train corpus.txt --cache cache --tokenizer model --dry-run");
    assert_null(strstr(errors, "note"));
}

/* Held-out targets that are ends of text have no bytes: then there is no such figure, and the run is whole. */
static void bits_without_bytes_are_left_out(void **state) {
    (void)state;
    run("rm -rf run && printf a >one.txt && " TRAIN "--seq 1 --val one.txt --steps 3 --out run");
    assert_null(strstr(errors, "bits per byte"));
    assert_non_null(strstr(errors, "step 3: validation loss"));
    json_t *log = log_of("run");
    assert_int_equal(entries_of(log, "val_loss"), 1);
    assert_int_equal(entries_of(log, "val_bits_per_byte") + entries_of(log, "final_bits_per_byte"), 0);
    json_decref(log);
    assert_int_equal(step_of("run"), 3);
}

/* The figure at the end is over what --final-windows says, and changes neither the validation nor what is best. */
static void final_windows_bound_the_last_figure(void **state) {
    (void)state;
    static const int windows[] = {2, 5, 7, 1 << 20};
    json_t *whole = log_of("whole");
    const json_t *all = entry_of(whole, "final_loss", 0);
    for (int i = 0; i < 4; i++) {
        half_run(NULL);
        run("train --resume run --final-windows %d", windows[i]);
        json_t *log = log_of("run");
        const json_t *last = entry_of(log, "final_loss", 0), *validation = entry_of(log, "val_loss", 3);
        assert_true(json_equal(validation, entry_of(whole, "val_loss", 3)));
        if (windows[i] == 1 << 20) assert_true(json_equal(last, all));
        else assert_true(number_of(last, "final_windows") == windows[i]);
        if (windows[i] == 5) assert_true(number_of(last, "final_loss") == number_of(validation, "val_loss"));
        else assert_true(number_of(last, "final_loss") != number_of(validation, "val_loss"));
        assert_int_equal(strstr(errors, "loss on all held-out text") != NULL, windows[i] == 1 << 20);
        checkpoints_compare("whole", "run", "best.safetensors");
        json_decref(log);
    }
    json_decref(whole);
}

static void steps_that_no_int_counts_are_refused(void **state) {
    (void)state;
    refuse(2, "--batch 65536 times --accumulate 65536", "lower one",
           TRAIN "--batch 65536 --accumulate 65536 --out huge");
    refuse(2, "--batch 32768 times --accumulate 65536", "lower one",
           TRAIN "--batch 32768 --accumulate 65536 --dry-run");
    run("! test -e huge");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(failed_plots_cost_nothing, half_run),
        cmocka_unit_test_setup(failed_best_costs_nothing, half_run),
        cmocka_unit_test_setup(saves_come_before_validations, half_run),
        cmocka_unit_test(weights_that_are_no_numbers_are_not_saved),
        cmocka_unit_test_setup(logs_that_are_no_files_are_refused, half_run),
        cmocka_unit_test(last_save_comes_before_the_validation),
        cmocka_unit_test(signals_are_seen_within_a_validation),
        cmocka_unit_test_setup(lock_comes_before_the_checkpoint, half_run),
        cmocka_unit_test(directories_are_claimed_first),
        cmocka_unit_test(empty_names_are_refused),
        cmocka_unit_test(changes_are_told),
        cmocka_unit_test(extended_runs_tell_their_jump),
        cmocka_unit_test(jumps_of_the_rate_are_told),
        cmocka_unit_test_setup(until_that_has_passed_is_told, half_run),
        cmocka_unit_test_setup(steps_that_are_past_change_nothing, half_run),
        cmocka_unit_test_setup(runs_are_resumed_by_their_checkpoint, half_run),
        cmocka_unit_test(tokenizers_are_kept),
        cmocka_unit_test_setup(tokens_are_counted, half_run),
        cmocka_unit_test_setup(impossible_metadata_is_refused, half_run),
        cmocka_unit_test(stopped_at_once_is_resumed),
        cmocka_unit_test_setup(earlier_checkpoints_go_on, half_run),
        cmocka_unit_test(names_of_any_bytes_are_found_again),
        cmocka_unit_test(states_come_back),
        cmocka_unit_test(warm_up_fits_the_run),
        cmocka_unit_test(notes_are_told),
        cmocka_unit_test(bits_without_bytes_are_left_out),
        cmocka_unit_test(final_windows_bound_the_last_figure),
        cmocka_unit_test(steps_that_no_int_counts_are_refused),
    };
    return cmocka_run_group_tests(tests, whole_run, workplace_remove);
}
