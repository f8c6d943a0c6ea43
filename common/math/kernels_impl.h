/* The rows of the kernel table; kernels.c chooses among them. */
#ifndef FQ_MATH_KERNELS_IMPL_H
#define FQ_MATH_KERNELS_IMPL_H

#include "math/kernels.h"

extern const fq_kernels fq_kernels_plain;
extern const fq_kernels fq_kernels_baseline; /* SSE2 on x86-64, NEON on aarch64 */
#if defined(__x86_64__)
extern const fq_kernels fq_kernels_v3; /* AVX2 and FMA */
extern const fq_kernels fq_kernels_v4; /* AVX-512 F, BW, CD, DQ, VL; not in edge builds */
#elif defined(__arm__)
extern const fq_kernels fq_kernels_neon; /* NEON with FMA (VFPv4); Debian's armhf has neither */
#endif

#endif
