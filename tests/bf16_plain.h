/* bf16 in plain words, for tests of what is fast: which number is the nearest, and rows of such numbers. */
#ifndef BF16_PLAIN_H
#define BF16_PLAIN_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
static inline uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* The nearest of the numbers whose lower 16 bits are zero, of two as near the one whose last bit left is, too. */
static inline float bf16_nearest(float x) {
    if (!isfinite(x)) return x;
    const uint32_t below = bits_of(x) & 0xffff0000, above = below + 0x10000;
    const double low = (double)float_of(below);
    const double high = isinf(float_of(above)) ? copysign(0x1p128, (double)x) : (double)float_of(above);
    const double to_low = fabs((double)x - low), to_high = fabs(high - (double)x);
    return float_of(to_low < to_high || (to_low == to_high && !(below & 0x10000)) ? below : above);
}

#endif
