/* Matrix tiles in plain C, for builds with sanitizers, in place of the processor's: the tile engine, gemm_amx.c, then
 * runs on every machine, and every row that it reads or writes is looked at, which an instruction's is not. The
 * compiler includes this in front of that file (Makefile); the rest of it is as ever.
 *
 * As Intel's manual has it for TDPBF16PS: even and odd steps are summed apart, with one rounding each, then added, and
 * that to C; what is below 2^-126 is zero, before and after. Palette 1's eight tiles are always 16 rows of 64 bytes. */
#ifndef TILES_EMULATED_H
#define TILES_EMULATED_H

#include <cpuid.h>
#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EMULATED_ROWS = 16, EMULATED_WORDS = 16 };

static _Thread_local union {
    float numbers[EMULATED_ROWS][EMULATED_WORDS];
    uint32_t pairs[EMULATED_ROWS][EMULATED_WORDS];
} emulated[8];
static _Thread_local bool emulated_ready; /* between loadconfig and release; what is done outside faults */

static inline void emulated_configure(bool ready) {
    memset(emulated, 0, sizeof emulated);
    emulated_ready = ready;
}

static inline void emulated_load(int tile, const void *from, size_t row_bytes) {
    if (!emulated_ready) abort();
    for (size_t i = 0; i < EMULATED_ROWS; i++)
        memcpy(emulated[tile].numbers[i], (const char *)from + i * row_bytes, sizeof emulated[tile].numbers[i]);
}

static inline void emulated_store(int tile, void *to, size_t row_bytes) {
    if (!emulated_ready) abort();
    for (size_t i = 0; i < EMULATED_ROWS; i++)
        memcpy((char *)to + i * row_bytes, emulated[tile].numbers[i], sizeof emulated[tile].numbers[i]);
}

static inline void emulated_zero(int tile) {
    if (!emulated_ready) abort();
    memset(&emulated[tile], 0, sizeof emulated[tile]);
}

/* What stays inside the tiles: there is nothing to be looked at, and doing so would take most of the tests' time. */
#define EMULATED_INSIDE __attribute__((no_sanitize("address", "undefined"))) static inline

EMULATED_INSIDE float emulated_flush(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x; }

/* The numbers of 16 pairs' lower or upper halves. */
EMULATED_INSIDE void emulated_halves(float to[EMULATED_WORDS], const uint32_t pairs[EMULATED_WORDS], int upper) {
    for (int j = 0; j < EMULATED_WORDS; j++) {
        const uint32_t bits = upper ? pairs[j] & 0xffff0000 : pairs[j] << 16;
        float x;
        memcpy(&x, &bits, sizeof x);
        to[j] = emulated_flush(x);
    }
}

EMULATED_INSIDE void emulated_multiply(int c, int a, int b) {
    if (!emulated_ready) abort();
    float sums[2][EMULATED_ROWS][EMULATED_WORDS] = {{{0}}};
    for (int half = 0; half < 2; half++) {
        float b_half[EMULATED_ROWS][EMULATED_WORDS];
        for (int k = 0; k < EMULATED_ROWS; k++) emulated_halves(b_half[k], emulated[b].pairs[k], half);
        for (int i = 0; i < EMULATED_ROWS; i++) {
            float a_half[EMULATED_WORDS];
            emulated_halves(a_half, emulated[a].pairs[i], half);
            for (int k = 0; k < EMULATED_WORDS; k++)
                for (int j = 0; j < EMULATED_WORDS; j++)
                    sums[half][i][j] = emulated_flush(fmaf(a_half[k], b_half[k][j], sums[half][i][j]));
        }
    }
    for (int i = 0; i < EMULATED_ROWS; i++)
        for (int j = 0; j < EMULATED_WORDS; j++) {
            float *const to = &emulated[c].numbers[i][j];
            *to = emulated_flush(emulated_flush(*to) + emulated_flush(sums[0][i][j] + sums[1][i][j]));
        }
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stream_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig(configuration) emulated_configure((configuration) != NULL)
#define _tile_release() emulated_configure(false)
#define _tile_zero(tile) emulated_zero(tile)
#define _tile_loadd(tile, from, row_bytes) emulated_load(tile, from, row_bytes)
#define _tile_stream_loadd(tile, from, row_bytes) emulated_load(tile, from, row_bytes)
#define _tile_stored(tile, to, row_bytes) emulated_store(tile, to, row_bytes)
#define _tile_dpbf16ps(c, a, b) emulated_multiply(c, a, b)

/* The processor says that it has them, and Linux that they may be used. */
#define __get_cpuid_count(leaf, subleaf, a, b, c, d) (*(a) = *(b) = *(c) = 0, *(d) = 1u << 22 | 1u << 24, 1)
#define syscall(number, request, feature) (0 * (number) * (request) * (feature))

#endif
