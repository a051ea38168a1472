/* What the matrix tiles of all threads do at most: products of registers alone. */
#ifndef TILE_PEAK_H
#define TILE_PEAK_H

#include <stddef.h>
#include <stdint.h>

enum { TILE_PEAK_STEPS = 20000, TILE_PEAK_CHAINS = 6 }; /* of a latency of 52 cycles, each 16 */

#ifdef __x86_64__
#include <immintrin.h>

static inline __attribute__((target("amx-tile,amx-bf16"))) void tile_peak_thread(void) {
    static const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } configuration = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&configuration);
    for (int k = 0; k < TILE_PEAK_STEPS; k++) {
        _tile_dpbf16ps(0, 6, 7);
        _tile_dpbf16ps(1, 6, 7);
        _tile_dpbf16ps(2, 6, 7);
        _tile_dpbf16ps(3, 6, 7);
        _tile_dpbf16ps(4, 6, 7);
        _tile_dpbf16ps(5, 6, 7);
    }
    _tile_release();
}

static inline void tile_peak_run(void *context) {
    (void)context;
#pragma omp parallel
    tile_peak_thread();
}
#else
static inline void tile_peak_run(void *context) { (void)context; }
#endif

#endif
