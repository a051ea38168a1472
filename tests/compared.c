/* In a build with sanitizers, memory that is compared must be there: cmocka, which compares it, is not instrumented,
 * and a test that hands it a size too large reads on, mostly to no harm, sometimes into a page that does not exist. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sanitizer/asan_interface.h>

static void readable(const void *p, size_t size, const char *file, int line) {
    if (size == 0 || !__asan_region_is_poisoned((void *)p, size)) return;
    print_error("of %zu bytes that are compared some are not the test's\n", size);
    _fail(file, line);
}

#define CHECKED(compare)                                                                              \
    void __real_##compare(const void *a, const void *b, size_t size, const char *file, int line);     \
    void __wrap_##compare(const void *a, const void *b, size_t size, const char *file, int line);     \
    void __wrap_##compare(const void *a, const void *b, size_t size, const char *file, int line) {    \
        readable(a, size, file, line);                                                                \
        readable(b, size, file, line);                                                                \
        __real_##compare(a, b, size, file, line);                                                     \
    }
CHECKED(_assert_memory_equal)
CHECKED(_assert_memory_not_equal)
