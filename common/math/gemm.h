/* Row-major single-precision matrix product. The only user of BLIS (math/gemm.c). Single-threaded.
 *
 * BLIS picks its kernels by processor, and silently takes its `generic` ones for a processor that
 * it does not know. fq_gemm_kernel() says what runs; the first call picks a better
 * sub-configuration by BLIS_ARCH_TYPE, before BLIS starts, when the processor has AVX2 or AVX-512.
 * A BLIS_ARCH_TYPE that the user set is left alone if it is one of the library's.
 */
#ifndef FQ_MATH_GEMM_H
#define FQ_MATH_GEMM_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

/* C [m, n] = op(A) [m, k] * op(B) [k, n] + beta * C. Leading dimensions in elements, of the
 * matrices as stored. beta is 0 (C may be uninitialised) or 1. Any of m, n, k may be 0. */
void fq_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const float *a,
             size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc);

/* Name of the BLIS sub-configuration in use: "haswell", "zen3", "skx", "generic"; without BLIS, of
 * the row of kernels. */
const char *fq_gemm_kernel(void);

/* FQ_EINVAL if BLIS_ARCH_TYPE names no sub-configuration; BLIS would end the process. For programs
 * to call before they begin. */
FQ_MUST_CHECK fq_status fq_gemm_check(void);

/* Start BLIS now, from one thread (idempotent; otherwise the first product does it). */
void fq_gemm_start(void);

#endif
