/* Event files for TensorBoard (src/run/events, ./train --tensorboard), read back by a reader of their own: records and
 * their checksums by a table, protocol buffers field by field, against what the log says. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <time.h>

#include "../src/run/events.h"
#include "command.h"
#include "prose.h"
#include "runs.h"

#define MODEL                                                                                                  \
    "train corpus.txt --block gpt2 --cache cache --vocab 301 --seq 17 --layers 2 --channels 12 --attn-heads 3 " \
    "--moe-heads 2 --experts 5 --topk 2 --expert-hidden 7 --batch 2 --accumulate 3 --eval-windows 3 --sample-every 0 " \
    "--eval-every 2 --lr 0.02 "

static int corpora_make(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    prose_save("corpus.txt", 500, 1);
    prose_save("en.txt", 300, 1);
    prose_save("de.txt", 400, 2);
    return system(MODEL "--dry-run >/dev/null 2>&1");
}

static int runs_remove(void **state) {
    (void)state;
    return system("rm -rf run whole events");
}

/* ---- The reader ---- */

enum { VALUES = 2000, BUCKETS = 8 };
struct value {
    double time;
    int64_t step;
    char tag[64];
    double scalar;                 /* NaN: it is a histogram */
    double min, max, number, sum, squares, limits[BUCKETS], buckets[BUCKETS];
    size_t n_limits, n_buckets;
};
static struct value values[VALUES];
static size_t n_values, n_records;
static char version[32];

static uint32_t crc32c(const unsigned char *bytes, size_t n) {
    static uint32_t table[256];
    for (uint32_t i = 0; table[255] == 0 && i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0x82f63b78u ^ c >> 1 : c >> 1;
        table[i] = c;
    }
    uint32_t crc = 0xffffffffu;
    while (n--) crc = table[(crc ^ *bytes++) & 255] ^ crc >> 8;
    return crc ^ 0xffffffffu;
}

static uint64_t little(const unsigned char *b, int n) { return n ? b[0] | little(b + 1, n - 1) << 8 : 0; }

static double real_at(const unsigned char *b) {
    const uint64_t bits = little(b, 8);
    double value;
    memcpy(&value, &bits, 8);
    return value;
}

static void masked_expect(const unsigned char *bytes, size_t n, const unsigned char *at) {
    const uint32_t crc = crc32c(bytes, n), rotated = crc >> 15 | crc << 17;
    assert_int_equal((uint32_t)little(at, 4), (uint32_t)(rotated + 0xa282ead8u));
}

static uint64_t varint(const unsigned char **at) {
    uint64_t value = 0;
    int shift = 0;
    do value |= (uint64_t)(**at & 127) << shift, shift += 7;
    while (*(*at)++ & 128);
    return value;
}

/* The next field of a message that ends at `end`: its number; its kind; where its value is, and how long that is. */
static int field(const unsigned char **at, int *kind, const unsigned char **value, size_t *size) {
    const uint64_t key = varint(at);
    *kind = (int)(key & 7);
    *size = *kind == 1 ? 8 : *kind == 5 ? 4 : *kind == 2 ? (size_t)varint(at) : 0;
    *value = *at;
    if (*kind == 0) varint(at);
    else *at += *size;
    return (int)(key >> 3);
}

static void histogram_read(struct value *v, const unsigned char *at, const unsigned char *end) {
    double *const numbers[] = {&v->min, &v->max, &v->number, &v->sum, &v->squares};
    while (at < end) {
        const unsigned char *value;
        size_t size;
        int kind;
        const int name = field(&at, &kind, &value, &size);
        if (name <= 5) {
            assert_int_equal(kind, 1);
            *numbers[name - 1] = real_at(value);
            continue;
        }
        assert_true(kind == 2 && size % 8 == 0 && size <= 8 * BUCKETS && (name == 6 || name == 7));
        *(name == 6 ? &v->n_limits : &v->n_buckets) = size / 8;
        for (size_t i = 0; i < size / 8; i++) (name == 6 ? v->limits : v->buckets)[i] = real_at(value + 8 * i);
    }
}

static void value_read(double time_, int64_t step, const unsigned char *at, const unsigned char *end) {
    assert_true(n_values < VALUES);
    struct value *v = &values[n_values++];
    *v = (struct value){.time = time_, .step = step, .scalar = NAN};
    while (at < end) {
        const unsigned char *value;
        size_t size;
        int kind;
        const int name = field(&at, &kind, &value, &size);
        if (name == 1) snprintf(v->tag, sizeof v->tag, "%.*s", (int)size, (const char *)value);
        else if (name == 5) histogram_read(v, value, value + size);
        else {
            assert_true(name == 2 && kind == 5);
            const uint32_t bits = (uint32_t)little(value, 4);
            float single;
            memcpy(&single, &bits, 4);
            v->scalar = single;
        }
    }
}

static void event_read(const unsigned char *at, const unsigned char *end) {
    const unsigned char *summary = NULL, *value;
    size_t n_summary = 0, size;
    double time_ = 0;
    int64_t step = 0;
    int kind;
    while (at < end) {
        const int name = field(&at, &kind, &value, &size);
        if (name == 1) time_ = real_at(value);
        if (name == 2) step = (int64_t)varint(&(const unsigned char *){value});
        if (name == 3) snprintf(version, sizeof version, "%.*s", (int)size, (const char *)value);
        if (name == 5) summary = value, n_summary = size;
    }
    assert_true(fabs(time_ - (double)time(NULL)) < 100);
    for (at = summary; summary && at < summary + n_summary;) {
        assert_int_equal(field(&at, &kind, &value, &size), 1);
        value_read(time_, step, value, value + size);
    }
}

/* Fills values[]; nothing may be left over. */
static void events_read(const char *path) {
    static char bytes[1 << 20];
    text_read(path, bytes, sizeof bytes);
    const size_t size = file_size(path);
    n_values = n_records = 0;
    for (size_t at = 0; at < size; n_records++) {
        const unsigned char *record = (const unsigned char *)bytes + at;
        assert_true(size - at >= 16);
        const size_t n = (size_t)little(record, 8);
        masked_expect(record, 8, record + 8);
        assert_true(size - at >= 16 + n);
        masked_expect(record + 12, n, record + 12 + n);
        event_read(record + 12, record + 12 + n);
        at += 16 + n;
    }
    assert_string_equal(version, "brain.Event:2");
}

/* The value of this tag at a step; there is one, and no other. */
static const struct value *value_of(const char *tag, int64_t step) {
    const struct value *found = NULL;
    for (size_t i = 0; i < n_values; i++)
        if (values[i].step == step && strcmp(values[i].tag, tag) == 0) {
            if (found) fail_msg("%s twice at step %d", tag, (int)step);
            found = &values[i];
        }
    if (!found) fail_msg("no %s at step %d", tag, (int)step);
    return found;
}

static size_t values_of(const char *tag) {
    size_t n = 0;
    for (size_t i = 0; i < n_values; i++) n += strcmp(values[i].tag, tag) == 0;
    return n;
}

/* ---- The format ---- */

static void reader_is_right(void **state) {
    (void)state;
    assert_int_equal(crc32c((const unsigned char *)"123456789", 9), 0xe3069283u); /* the check value of CRC-32C */
}

static void numbers_come_back(void **state) {
    (void)state;
    struct events e;
    struct event event = {0};
    struct error err;
    static const double counts[] = {3, 0, 5};
    assert_true(events_create(&e, "events", &err));
    event_scalar(&event, "a/b", -0.1);
    event_counts(&event, "c", counts, 3);
    event_scalar(&event, "a long tag, of more than one hundred and twenty-seven bytes, so that its length has two: "
                         "............................................", 1e30);
    assert_true(events_write(&e, &event, INT64_C(5000000000), &err));
    assert_true(event.n == 0);
    assert_true(events_write(&e, &event, 7, &err)); /* nothing to say: no record */
    event_scalar(&event, "a/b", 2);
    assert_true(events_write(&e, &event, 0, &err) && events_sync(&e, &err));
    events_close(&e);
    events_read("events");
    assert_int_equal(n_records, 3);
    assert_int_equal(n_values, 4);
    assert_true(value_of("a/b", 5000000000)->scalar == (double)-0.1f && value_of("a/b", 0)->scalar == 2);
    assert_true(values[2].scalar == (double)1e30f);
    const struct value *c = value_of("c", 5000000000);
    assert_true(isnan(c->scalar) && c->n_limits == 3 && c->n_buckets == 3);
    for (int i = 0; i < 3; i++) assert_true(c->limits[i] == i + 0.5 && c->buckets[i] == counts[i]);
    assert_true(c->min == -0.5 && c->max == 2.5 && c->number == 8 && c->sum == 10 && c->squares == 20);
    assert_false(events_create(&e, "none/events", &err));
    assert_int_equal(err.code, EXIT_OUTPUT);
}

/* ---- Going on ---- */

static bool is_past(const void *context, int64_t step, const char *tag) {
    return step > *(const int64_t *)context || strcmp(tag, "late") == 0;
}

static void events_make(int steps) {
    struct events e;
    struct event event = {0};
    struct error err;
    assert_true(events_create(&e, "events", &err));
    for (int i = 1; i <= steps; i++) {
        event_scalar(&event, i == 5 ? "late" : "x", i);
        assert_true(events_write(&e, &event, i, &err));
    }
    events_close(&e);
}

/* Goes on at a step, adds one, and reads it: so many steps are there. */
static void resumed_expect(int64_t step, size_t stay) {
    struct events e;
    struct event event = {0};
    struct error err;
    if (!events_resume(&e, "events", is_past, &step, &err)) fail_msg("%s", err.text);
    event_scalar(&event, "new", 1);
    assert_true(events_write(&e, &event, 99, &err));
    events_close(&e);
    events_read("events");
    assert_int_equal(n_values, stay + 1);
    for (size_t i = 0; i < stay; i++) assert_int_equal(values[i].step, i + 1);
    assert_string_equal(values[stay].tag, "new");
}

static void what_is_past_is_cut_off(void **state) {
    (void)state;
    events_make(4);
    resumed_expect(4, 4);
    events_make(4);
    resumed_expect(2, 2);
    events_make(4);
    resumed_expect(0, 0);
    events_make(7);
    resumed_expect(6, 4); /* by its tag */
    run("rm events");
    resumed_expect(6, 0); /* none is there */
}

/* Cut short at every byte of the last record, and with each of its bytes changed, that record alone is lost. */
static void damage_ends_what_is_read(void **state) {
    (void)state;
    events_make(2);
    const size_t two = file_size("events");
    events_make(3);
    const size_t three = file_size("events");
    char bytes[1000];
    text_read("events", bytes, sizeof bytes);
    for (size_t at = two; at < three; at++) {
        text_save("events", bytes, at);
        resumed_expect(9, 2);
        bytes[at] ^= 0x20;
        text_save("events", bytes, three);
        resumed_expect(9, 2);
        bytes[at] ^= 0x20;
    }
    text_save("events", "something else altogether", 25);
    resumed_expect(9, 0);
}

/* ---- Runs ---- */

/* What the log says of steps and validations, under the names that people expect. */
static void log_expect(const char *run_) {
    static const char *const tags[][2] = {
        {"loss", "loss/train"}, {"lr", "lr"}, {"gradient_norm", "grad_norm"}, {"balance", "router/balance"},
        {"z_loss", "router/z_loss"}, {"tokens_per_second", "tokens_per_second"},
        {"val_loss", "loss/validation"}, {"val_bits_per_byte", "bits_per_byte/validation"},
        {"final_loss", "loss/final"}, {"final_bits_per_byte", "bits_per_byte/final"}};
    char *path = string_format("%s/" EVENTS_NAME, run_);
    json_t *log = log_of(run_), *entry;
    size_t at;
    events_read(path);
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        assert_int_equal(values_of(tags[i][1]), entries_of(log, tags[i][0]));
        json_array_foreach(log, at, entry) {
            if (!json_object_get(entry, tags[i][0])) continue;
            const double want = number_of(entry, tags[i][0]);
            const struct value *v = value_of(tags[i][1], (int64_t)number_of(entry, "step"));
            expect_near(v->scalar, want, 1e-6 * fabs(want));
        }
    }
    json_decref(log);
    free(path);
}

static void runs_write_what_the_log_holds(void **state) {
    (void)state;
    run(MODEL "--steps 6 --layers 4 --tensorboard --out run");
    log_expect("run");
    json_t *log = log_of("run");
    for (int lm = 0; lm < 2; lm++) {
        char *tag = string_format("experts_load/validation/block_%d", 2 * lm + 1);
        assert_int_equal(values_of(tag), 3);
        for (size_t i = 0; i < 3; i++) {
            const struct value *v = value_of(tag, 2 * (int64_t)i + 2);
            const json_t *picks = json_array_get(json_object_get(entry_of(log, "val_loss", i), "val_load"), (size_t)lm);
            assert_int_equal(v->n_buckets, 5);
            for (size_t e = 0; e < 5; e++) assert_true(v->buckets[e] == json_number_value(json_array_get(picks, e)));
        }
        free(tag);
    }
    json_decref(log);
    run("rm -r run && " MODEL "--steps 2 --ffn dense --tensorboard --out run");
    events_read("run/" EVENTS_NAME);
    assert_true(values_of("router/balance") == 0 && values_of("loss/train") == 2);
    run("rm -r run && " MODEL "--steps 2 --out run && ! test -e run/" EVENTS_NAME);
}

static void parts_have_names(void **state) {
    (void)state;
    run("train en=en.txt de=de.txt --cache cache --vocab 301 --seq 17 --layers 2 --channels 12 --attn-heads 3 "
        "--batch 2 --steps 2 --ffn dense --sample-every 0 --tensorboard --out run");
    events_read("run/" EVENTS_NAME);
    json_t *log = log_of("run");
    const json_t *part = json_object_get(json_object_get(entry_of(log, "val_loss", 0), "parts"), "de");
    expect_near(value_of("loss/validation/de", 2)->scalar, number_of(part, "val_loss"), 1e-5);
    expect_near(value_of("bits_per_byte/validation/de", 2)->scalar, number_of(part, "val_bits_per_byte"), 1e-5);
    assert_int_equal(values_of("loss/validation/en"), 1);
    json_decref(log);
}

/* All values but the clock's are those of a run that was never stopped, wherever it was; also where a run that went
 * further than its checkpoint was lost. */
static void resumed_runs_continue(void **state) {
    (void)state;
    static struct value whole[VALUES];
    run(MODEL "--steps 6 --tensorboard --out whole");
    events_read("whole/" EVENTS_NAME);
    const size_t n = n_values;
    memcpy(whole, values, sizeof values);
    for (int until = 0; until < 6; until++) {
        run("rm -rf run && " MODEL "--steps 6 --tensorboard --until %d --out run", until + 1);
        run("cp run/last.safetensors kept && train --resume run && mv kept run/last.safetensors && train --resume run");
        log_expect("run");
        assert_int_equal(n_values, n);
        for (size_t i = 0; i < n; i++) {
            assert_string_equal(values[i].tag, whole[i].tag);
            assert_int_equal(values[i].step, whole[i].step);
            if (strcmp(values[i].tag, "tokens_per_second") == 0) continue;
            assert_memory_equal(&values[i].scalar, &whole[i].scalar, sizeof values[i] - offsetof(struct value, scalar));
        }
    }
}

/* A validation that was told of and then failed is told of again, once. */
static void failed_validations_are_told_once(void **state) {
    (void)state;
    run(MODEL "--steps 4 --save-every 2 --tensorboard --until 1 --out run && mkdir run/best.safetensors.tmp");
    refuse(4, "run/best.safetensors.tmp", "choose another place", "train --resume run");
    assert_int_equal(step_of("run"), 2);
    events_read("run/" EVENTS_NAME);
    assert_int_equal(value_of("loss/validation", 2)->step, 2);
    run("rmdir run/best.safetensors.tmp && train --resume run");
    log_expect("run");
}

/* A run may begin to write them when it goes on; a new one begins anew. */
static void files_are_of_their_run(void **state) {
    (void)state;
    run(MODEL "--steps 6 --until 3 --out run && train --resume run --tensorboard");
    events_read("run/" EVENTS_NAME);
    assert_int_equal(values_of("loss/train"), 3);
    assert_int_equal(values[0].step, 4);
    run("rm -r run && mkdir run && : >run/lock && echo old >run/" EVENTS_NAME " && " MODEL
        "--steps 2 --out run && ! test -e run/" EVENTS_NAME);
    run("rm -r run && mkdir run && : >run/lock && echo old >run/" EVENTS_NAME " && " MODEL
        "--steps 2 --tensorboard --out run");
    log_expect("run");
    run("mkdir whole && : >whole/lock && mkdir whole/" EVENTS_NAME);
    refuse(4, "whole/" EVENTS_NAME, "choose another --out", MODEL "--steps 2 --tensorboard --out whole");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reader_is_right),
        cmocka_unit_test_setup(numbers_come_back, runs_remove),
        cmocka_unit_test_setup(what_is_past_is_cut_off, runs_remove),
        cmocka_unit_test_setup(damage_ends_what_is_read, runs_remove),
        cmocka_unit_test_setup(runs_write_what_the_log_holds, runs_remove),
        cmocka_unit_test_setup(parts_have_names, runs_remove),
        cmocka_unit_test_setup(resumed_runs_continue, runs_remove),
        cmocka_unit_test_setup(failed_validations_are_told_once, runs_remove),
        cmocka_unit_test_setup(files_are_of_their_run, runs_remove),
    };
    return cmocka_run_group_tests(tests, corpora_make, workplace_remove);
}
