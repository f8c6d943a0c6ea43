/* Plain C: the meaning of all other rows, and what processors without one run. */
#include "infer/int_kernels_impl.h"

static void multiply(size_t rows, size_t pixels, size_t k, const int8_t *w, const uint8_t *x,
                     int32_t *sums) {
    for (size_t p = 0; p < pixels; p++)
        for (size_t r = 0; r < rows; r++) {
            int32_t sum = 0;
            for (size_t i = 0; i < k; i++)
                sum += w[r * k + i] * x[p * k + i];
            sums[p * rows + r] = sum;
        }
}

static void unpack(const unsigned char *packed, const unsigned char *end, size_t first, size_t n,
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

const fq_int_kernels fq_int_kernels_plain = {"plain", multiply, unpack};
