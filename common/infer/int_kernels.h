/* The inner loops of integer inference, one implementation per instruction set, all with the same
 * results, bit for bit: sums of integers have no order.
 *
 * FQ_KERNELS forces a row as in math/kernels.h: plain, baseline, v3 (AVX2), v4 (AVX-512 VNNI where
 * the processor has it, else AVX2).
 */
#ifndef FQ_INFER_INT_KERNELS_H
#define FQ_INFER_INT_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Rows of weights that a product takes together, and what their length is a multiple of. */
enum { FQ_INT_ROWS = 16, FQ_INT_STEP = 32 };

typedef struct fq_int_kernels {
    const char *name;
    /* out[i] = code (first + i) * unit + least, i < n; a code has `bits` bits. No byte from `end`
     * on may be read. */
    void (*unpack)(const unsigned char *packed, const unsigned char *end, size_t first, size_t n,
                   unsigned bits, int32_t unit, int32_t least, int8_t *out);
    /* In what follows k is a multiple of FQ_INT_STEP, sums are below 2^31, and so many `groups` of
     * two products each add up to less than 2^15 in magnitude; 0: one does not. */
    int32_t (*dot)(size_t k, const int8_t *w, const uint8_t *x, unsigned groups);
    /* Weights w [FQ_INT_ROWS, k] in the order that multiply reads; out [2 FQ_INT_ROWS k bytes],
     * 64-byte aligned. */
    void (*arrange)(size_t k, const int8_t *w, unsigned groups, void *out);
    /* sums [pixels, FQ_INT_ROWS] = x [pixels, k] w^T */
    void (*multiply)(size_t pixels, size_t k, const void *arranged, const uint8_t *x,
                     unsigned groups, int32_t *sums);
} fq_int_kernels;

/* The row in use. */
const fq_int_kernels *fq_int_kernels_get(void);
/* All rows that this processor runs, plain first; returns how many, <= max. For tests and
 * benchmarks. */
size_t fq_int_kernels_list(const fq_int_kernels **out, size_t max);

#endif
