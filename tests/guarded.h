/* Memory that ends where the next page may not be touched, so that one byte too many ends the test; and with a pattern
 * in front, which is looked at when it is freed. For what a *_bytes or *_count function says is enough. */
#ifndef GUARDED_H
#define GUARDED_H

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GUARD_PATTERN = 0xa5 };

static inline size_t guarded_pages(size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page + page;
}

/* `bytes` of NaN, the last of them before the forbidden page. */
static inline void *guarded_alloc(size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), all = guarded_pages(bytes);
    char *base = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(base != MAP_FAILED);
    char *block = base + all - page - bytes;
    memset(base, GUARD_PATTERN, (size_t)(block - base));
    memset(block, 0xff, bytes);
    assert_int_equal(mprotect(base + all - page, page, PROT_NONE), 0);
    return block;
}

static inline void guarded_free(void *block, size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), all = guarded_pages(bytes);
    unsigned char *base = (unsigned char *)block + bytes + page - all;
    for (unsigned char *p = base; p < (unsigned char *)block; p++) assert_int_equal(*p, GUARD_PATTERN);
    assert_int_equal(munmap(base, all), 0);
}

#endif
