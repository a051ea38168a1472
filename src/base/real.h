/* The scalar every kernel computes in, and the vector it computes with.
 *
 * float in the programs. The tests compile the same sources with -DREAL_DOUBLE,
 * so that gradients can be checked against central differences at 1e-7.
 * The vector width follows the target (ARCH= in the Makefile); everything that
 * uses it is written once, in GCC vector extensions. Next: gemm.h. */
#ifndef REAL_H
#define REAL_H

#ifdef REAL_DOUBLE
typedef double real;
#define REAL_NAME "double"
#else
typedef float real;
#define REAL_NAME "float"
#endif

#if defined(__AVX512F__)
#define VEC_BYTES 64
#elif defined(__AVX__)
#define VEC_BYTES 32
#else
#define VEC_BYTES 16 /* SSE2, NEON, and what the compiler makes of it elsewhere */
#endif

#define VEC_LANES ((int)(VEC_BYTES / sizeof(real)))

typedef real vec __attribute__((vector_size(VEC_BYTES), may_alias));
typedef real vec_unaligned __attribute__((vector_size(VEC_BYTES), may_alias, aligned(sizeof(real))));

#endif
