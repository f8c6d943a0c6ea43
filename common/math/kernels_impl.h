/* The rows of the kernel table; kernels.c chooses among them. */
#ifndef FQ_MATH_KERNELS_IMPL_H
#define FQ_MATH_KERNELS_IMPL_H

#include "math/kernels.h"

/* Winograd's convolution (math/winograd.h): columns of tiles at once, a multiple of those of a
 * panel in every row, and a few floats between places, which must not compete for the same sets of
 * a cache. The memory of the tiles is 9 KiB times the channels, in and out, for the second-level
 * cache. */
enum { FQ_WINOGRAD_COLUMNS = 144, FQ_WINOGRAD_SKEW = 16 };

extern const fq_kernels fq_kernels_plain;
extern const fq_kernels fq_kernels_baseline; /* SSE2 on x86-64, NEON on aarch64 */
#if defined(__x86_64__)
extern const fq_kernels fq_kernels_v3; /* AVX2 and FMA */
extern const fq_kernels fq_kernels_v4; /* AVX-512 F, BW, CD, DQ, VL */
#endif

#endif
