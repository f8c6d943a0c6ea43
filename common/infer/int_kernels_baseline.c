/* C that compilers turn into vectors of any processor: SSE2, NEON. Weights become int16, so that
 * the 16 rows' products with one value of a pixel are one multiplication of vectors. */
#include "infer/int_kernels_impl.h"

#include <string.h>

/* Eight codes at a time, which are `bits` bytes: each takes its own from a word of eight bytes. */
static void unpack(const unsigned char *packed, const unsigned char *end, size_t first, size_t n,
                   unsigned bits, int32_t unit, int32_t least, int8_t *out) {
    size_t               bit = first % 8 * bits, done = 0;
    const uint64_t       mask = (1U << bits) - 1;
    const unsigned char *from = packed + first / 8 * bits + bit / 8;
    bit %= 8;
    /* With the bits before the first one, eight codes have at most 7 + 56 bits; whole bytes have
     * none before. */
    for (; n - done >= 8 && end - from >= 8; done += 8, from += bits) {
        uint64_t word = 0;
        for (unsigned i = 0; i < 8; i++)
            word |= (uint64_t)from[i] << (8 * i);
        word >>= bit;
        for (unsigned i = 0; i < 8; i++)
            out[done + i] = (int8_t)((int32_t)(word >> (i * bits) & mask) * unit + least);
    }
    fq_unpack_plain(packed, end, first + done, n - done, bits, unit, least, out + done);
}

static int32_t dot(size_t k, const int8_t *w, const uint8_t *x, unsigned groups) {
    (void)groups;
    int32_t sum = 0;
    for (size_t i = 0; i < k; i++)
        sum += w[i] * x[i];
    return sum;
}

/* [k, 16] */
static void arrange(size_t k, const int8_t *w, unsigned groups, void *out) {
    (void)groups;
    int16_t *to = out;
    for (size_t i = 0; i < k; i++)
        for (size_t r = 0; r < FQ_INT_ROWS; r++)
            to[i * FQ_INT_ROWS + r] = (int16_t)(w[r * k + i] + 0);
}

static void multiply(size_t pixels, size_t k, const void *arranged, const uint8_t *x,
                     unsigned groups, int32_t *sums) {
    (void)groups;
    const int16_t *w = arranged;
    for (size_t p = 0; p < pixels; p++) {
        int32_t sum[FQ_INT_ROWS] = {0};
        for (size_t i = 0; i < k; i++) {
            int16_t value = x[p * k + i];
            for (size_t r = 0; r < FQ_INT_ROWS; r++)
                sum[r] += (int32_t)w[i * FQ_INT_ROWS + r] * value;
        }
        memcpy(sums + p * FQ_INT_ROWS, sum, sizeof sum);
    }
}

const fq_int_kernels fq_int_kernels_baseline = {"baseline", unpack, dot, arrange, multiply};
