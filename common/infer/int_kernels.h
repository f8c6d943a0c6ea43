/* The inner loops of integer inference, one implementation per instruction set, all with the same
 * results. FQ_KERNELS forces a row as in math/kernels.h: v4 uses VNNI where the processor has it.
 */
#ifndef FQ_INFER_INT_KERNELS_H
#define FQ_INFER_INT_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum { FQ_INT_STEP = 64 }; /* rows of weights and of pixels are filled up to this with zeros */

typedef struct fq_int_kernels {
    const char *name;
    /* sums [pixels, rows] = x [pixels, k] w^T [rows, k]; k is a multiple of FQ_INT_STEP, both are
     * 64-byte aligned. Sums do not overflow. */
    void (*multiply)(size_t rows, size_t pixels, size_t k, const int8_t *w, const uint8_t *x,
                     int32_t *sums);
    /* out[i] = code (first + i) * unit + least, i < n; a code has `bits` bits. `end`: no byte from
     * there on may be read. */
    void (*unpack)(const unsigned char *packed, const unsigned char *end, size_t first, size_t n,
                   unsigned bits, int32_t unit, int32_t least, int8_t *out);
} fq_int_kernels;

/* The row in use, chosen by the processor or by FQ_KERNELS. */
const fq_int_kernels *fq_int_kernels_get(void);
/* All rows that this processor runs, plain first; returns how many, <= max. For tests and
 * benchmarks.
 */
size_t fq_int_kernels_list(const fq_int_kernels **out, size_t max);

#endif
