/* Arrays in one block: where they lie, and that a number written past the end of any slice is noticed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include "../src/base/slices.h"
#include "../src/base/util.h"

enum { ARRAYS = 6 };

/* Odd sizes, and sizes that end on a cache line; the third and fourth do not exist. */
static size_t list_make(struct slices list[ARRAYS]) {
    const struct slices rows[ARRAYS] = {
        {.name = "odd", .size = 4, .kept = 3, .dims = 2, .shape = {5, 7}},
        {.name = "line", .size = 8, .kept = 2, .dims = 1, .shape = {16}},
        {.name = "no slice", .size = 4, .kept = 0, .dims = 1, .shape = {9}},
        {.name = "no element", .size = 4, .kept = 5, .dims = 3, .shape = {3, 0, 2}},
        {.name = "one", .size = 4, .kept = 1, .dims = 1, .shape = {1}},
        {.name = "last", .size = 1, .kept = 1, .dims = 2, .shape = {3, 11}},
    };
    memcpy(list, rows, sizeof rows);
    return slices_layout(list, ARRAYS);
}

static void test_layout(void **state) {
    (void)state;
    struct slices list[ARRAYS];
    const size_t bytes = list_make(list), wanted[ARRAYS] = {140, 128, 36, 0, 4, 33};
    char *block = array_alloc(bytes, 1), *end = block;
    for (int i = 0; i < ARRAYS; i++) {
        char *data = slices_data(&list[i], block);
        assert_int_equal(list[i].bytes, wanted[i]);
        assert_int_equal(list[i].step > 0, i < 2);
        if (i == 2 || i == 3) {
            assert_null(data);
            continue;
        }
        for (size_t k = 0; k < list[i].kept; k++, data += list[i].step) {
            assert_int_equal((uintptr_t)data % 64, 0);
            assert_true(data >= end);
            end = data + list[i].bytes + 64; /* at least a cache line before the next */
        }
    }
    assert_true(end <= block + bytes);
    free(block);
}

/* The slices themselves may be written whole; neither the first byte behind one nor the last before the next. */
static void test_guards(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* which reports the write itself */
#endif
    struct slices list[ARRAYS];
    const size_t bytes = list_make(list);
    char *block = array_alloc(bytes, 1);
    guards_set(list, ARRAYS, block);
    for (int i = 0; i < ARRAYS; i++)
        for (size_t k = 0; k < list[i].kept; k++) {
            char *slice = (char *)slices_data(&list[i], block) + k * list[i].step;
            memset(slice, 0, list[i].bytes);
            assert_null(guards_broken(list, ARRAYS, block));
            for (size_t at = list[i].bytes; at < list[i].bytes + 64; at++) {
                const char before = slice[at];
                slice[at] = 0;
                assert_string_equal(guards_broken(list, ARRAYS, block), list[i].name);
                slice[at] = before;
            }
        }
    assert_null(guards_broken(list, ARRAYS, block));
    free(block);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_layout), cmocka_unit_test(test_guards)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
