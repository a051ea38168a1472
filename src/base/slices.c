/* See slices.h. */
#include "slices.h"

#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define ADDRESSES_CHECKED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESSES_CHECKED 1
#endif
#endif
#ifdef ADDRESSES_CHECKED
#include <sanitizer/asan_interface.h>
#endif

enum { ALIGNMENT = 64 /* a cache line; a guard is one or two */, GUARD_BYTE = 0xff };

size_t slices_layout(struct slices *list, size_t n) {
    size_t offset = 0;
    for (struct slices *row = list; row < list + n; row++) {
        row->offset = offset;
        row->bytes = row->size;
        for (size_t d = 0; d < row->dims; d++) {
            row->bytes *= row->shape[d];
            if (row->shape[d] == 0) row->kept = 0;
        }
        const size_t guarded = (row->bytes / ALIGNMENT + 2) * ALIGNMENT;
        row->step = row->kept > 1 ? guarded : 0;
        offset += row->kept * guarded;
    }
    return offset;
}

double slices_total(const struct slices *list, size_t n) {
    double total = 0;
    for (const struct slices *row = list; row < list + n; row++) {
        double bytes = (double)row->kept * (double)row->size;
        for (size_t d = 0; d < row->dims; d++) bytes *= (double)row->shape[d];
        total += bytes;
    }
    return total;
}

void *slices_data(const struct slices *row, void *block) {
    return row->kept && row->bytes ? (char *)block + row->offset : NULL;
}

/* Guard i of an array, and its bytes. */
static unsigned char *guard_at(const struct slices *row, const void *block, size_t i, size_t *bytes) {
    *bytes = (row->bytes / ALIGNMENT + 2) * ALIGNMENT - row->bytes;
    return (unsigned char *)block + row->offset + i * row->step + row->bytes;
}

void guards_set(const struct slices *list, size_t n, void *block) {
    for (const struct slices *row = list; row < list + n; row++)
        for (size_t i = 0; i < row->kept; i++) {
            size_t bytes;
            unsigned char *guard = guard_at(row, block, i, &bytes);
            memset(guard, GUARD_BYTE, bytes);
#ifdef ADDRESSES_CHECKED
            ASAN_POISON_MEMORY_REGION(guard, bytes);
#endif
        }
}

const char *guards_broken(const struct slices *list, size_t n, const void *block) {
#ifndef ADDRESSES_CHECKED /* where nobody can have written */
    for (const struct slices *row = list; row < list + n; row++)
        for (size_t i = 0; i < row->kept; i++) {
            size_t bytes;
            const unsigned char *guard = guard_at(row, block, i, &bytes);
            for (size_t k = 0; k < bytes; k++)
                if (guard[k] != GUARD_BYTE) return row->name;
        }
#else
    (void)list, (void)n, (void)block;
#endif
    return NULL;
}
