/* Plain C: the meaning of all other rows. */
#include "infer/int_kernels_impl.h"

#include <string.h>

void fq_unpack_plain(const unsigned char *packed, const unsigned char *end, size_t first, size_t n,
                     unsigned bits, int32_t unit, int32_t least, int8_t *out) {
    (void)end;
    const unsigned mask = (1U << bits) - 1;
    for (size_t i = first; i < first + n; i++) {
        size_t   bit = i % 8 * bits, byte = i / 8 * bits + bit / 8;
        unsigned shift = (unsigned)(bit % 8), code = (unsigned)packed[byte] >> shift;
        if (shift + bits > 8)
            code |= (unsigned)packed[byte + 1] << (8 - shift);
        out[i - first] = (int8_t)((int32_t)(code & mask) * unit + least);
    }
}

static int32_t dot(size_t k, const int8_t *w, const uint8_t *x, unsigned groups) {
    (void)groups;
    int32_t sum = 0;
    for (size_t i = 0; i < k; i++)
        sum += w[i] * x[i];
    return sum;
}

static void arrange(size_t k, const int8_t *w, unsigned groups, void *out) {
    (void)groups;
    memcpy(out, w, FQ_INT_ROWS * k);
}

static void multiply(size_t pixels, size_t k, const void *arranged, const uint8_t *x,
                     unsigned groups, int32_t *sums) {
    const int8_t *w = arranged;
    for (size_t p = 0; p < pixels; p++)
        for (size_t r = 0; r < FQ_INT_ROWS; r++)
            sums[p * FQ_INT_ROWS + r] = dot(k, w + r * k, x + p * k, groups);
}

const fq_int_kernels fq_int_kernels_plain = {"plain", fq_unpack_plain, dot, arrange, multiply};
