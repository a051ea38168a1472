/* Numbers in bf16: the upper half of a float, 8 bits of which are its mantissa.
 *
 * How they are rounded, and activations that are kept in them: half the memory of floats, and half of what is moved. In
 * double (tests) they are doubles, rounded all the same. */
#ifndef BF16_H
#define BF16_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "../base/real.h"

/* The bits of the nearest number, ties to even; a NaN stays one. */
static inline uint16_t bf16_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
    return (uint16_t)(((bits & 0x7fffffff) > 0x7f800000 ? bits | 0x400000 : rounded) >> 16);
}
static inline float bf16_float(uint16_t upper) {
    const uint32_t bits = (uint32_t)upper << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

#ifdef REAL_DOUBLE
typedef double bf16;
static inline bf16 bf16_of(real x) { return (double)bf16_float(bf16_bits((float)x)); }
static inline real bf16_real(bf16 x) { return x; }
#else
typedef uint16_t bf16;
static inline bf16 bf16_of(real x) { return bf16_bits(x); }
static inline real bf16_real(bf16 x) { return bf16_float(x); }
#endif

/* ---- Activations that are kept for backward ----------------------------------------------------- */

/* Rows of numbers, real or bf16. Products read them as they are (struct view); other code a row at a time as real. */
struct kept {
    void *data;
    bool bf16;
};

static inline size_t kept_bytes(bool in_bf16) { return in_bf16 ? sizeof(bf16) : sizeof(real); }

/* Somebody's numbers, as they are. */
static inline struct kept kept_real(const real *numbers) { return (struct kept){(real *)numbers, false}; }

/* From number i on. */
static inline struct kept kept_at(struct kept k, size_t i) {
    return (struct kept){k.data ? (char *)k.data + i * kept_bytes(k.bf16) : NULL, k.bf16};
}

/* Where numbers can be worked on: where they lie, or in `room`, whence they are stored. */
static inline real *kept_room(struct kept k, real *room) { return k.bf16 ? room : k.data; }

/* n numbers into k, rounded if it is bf16; they may lie there already. */
static inline void kept_store(struct kept k, const real *restrict from, size_t n) {
    bf16 *restrict to = k.data;
    if (k.bf16)
        for (size_t i = 0; i < n; i++) to[i] = bf16_of(from[i]);
    else if (k.data != from) memcpy(k.data, from, n * sizeof(real));
}

/* n numbers of k: where they lie, or in `room`. */
static inline const real *kept_load(struct kept k, real *restrict room, size_t n) {
    const bf16 *restrict from = k.data;
    if (!k.bf16) return k.data;
    for (size_t i = 0; i < n; i++) room[i] = bf16_real(from[i]);
    return room;
}

#endif
