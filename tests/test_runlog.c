/* The reader of log.jsonl (src/runlog). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "command.h"
#include "../src/runlog.h"

static int workplace_open(void **state) {
    (void)state;
    return workplace_enter() ? 0 : -1;
}

static void curve_expect(const char *key, size_t n, const double *x, const double *y) {
    struct curve c = runlog_curve("log.jsonl", key, 10);
    assert_int_equal(c.n, n);
    for (size_t i = 0; i < n; i++) {
        assert_true(c.x[i] == x[i]);
        assert_true(c.y[i] == y[i]);
    }
    curve_free(&c);
    assert_null(c.x);
}

static void curves_come_from_their_entries(void **state) {
    (void)state;
    static const char log[] = "{\"step\":1,\"loss\":4.5}\n"
                              "{\"step\":2,\"loss\":3}\n"
                              "{\"step\":2,\"val_loss\":3.25}\n"
                              "damaged\n\n"
                              "{\"step\":3,\"loss\":2.5}\n"
                              "{\"step\":4,\"lo"; /* not finished */
    text_save("log.jsonl", log, sizeof log - 1);
    curve_expect("loss", 3, (double[]){10, 20, 30}, (double[]){4.5, 3, 2.5});
    curve_expect("val_loss", 1, (double[]){20}, (double[]){3.25});
    curve_expect("nothing", 0, NULL, NULL);
    struct curve none = runlog_curve("missing.jsonl", "loss", 1);
    assert_int_equal(none.n, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(curves_come_from_their_entries)};
    return cmocka_run_group_tests(tests, workplace_open, workplace_remove);
}
