/* AVX2 and BMI2.
 *
 * vpmaddubsw adds two products of a byte without and one with sign, and saturates at 16 bits. Where
 * two products cannot reach 2^15 (all but 8-bit weights with 8-bit activations) it is exact, and
 * for narrower weights some of its results can be added in 16 bits before they are widened.
 * Elsewhere the bytes are widened first. */
#include "infer/int_kernels_impl.h"

#include <immintrin.h>
#include <string.h>

static void unpack(const unsigned char *packed, const unsigned char *end, size_t first, size_t n,
                   unsigned bits, int32_t unit, int32_t least, int8_t *out) {
    size_t               done = 0, bit = first % 8 * bits;
    const uint64_t       mask = ((1U << bits) - 1) * 0x0101010101010101U;
    const uint64_t       ones = 0x0101010101010101U, high = 0x8080808080808080U;
    const uint64_t       add = (uint64_t)(uint8_t)least * ones;
    const unsigned char *from = packed + first / 8 * bits + bit / 8;
    bit %= 8;
    for (; n - done >= 8 && end - from >= 8; done += 8, from += bits) {
        uint64_t word;
        memcpy(&word, from, 8);
        word = _pdep_u64(word >> bit, mask);
        if (unit == 2)
            word += word; /* one bit: no carry between bytes */
        /* byte by byte, without carries: add the low seven bits, then the highest ones */
        word = ((word & ~high) + (add & ~high)) ^ ((word ^ add) & high);
        memcpy(out + done, &word, 8);
    }
    fq_unpack_plain(packed, end, first + done, n - done, bits, unit, least, out + done);
}

static int32_t total(__m256i v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    return _mm_cvtsi128_si32(s);
}

static int32_t dot(size_t k, const int8_t *w, const uint8_t *x, unsigned groups) {
    __m256i sum = _mm256_setzero_si256(), ones = _mm256_set1_epi16(1);
    for (size_t i = 0; i < k; i += 32) {
        __m256i a = _mm256_loadu_si256((const void *)(x + i));
        __m256i b = _mm256_loadu_si256((const void *)(w + i));
        if (groups > 0) {
            __m256i pairs = _mm256_maddubs_epi16(a, b);
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
        } else {
            __m256i low = _mm256_madd_epi16(_mm256_cvtepu8_epi16(_mm256_castsi256_si128(a)),
                                            _mm256_cvtepi8_epi16(_mm256_castsi256_si128(b)));
            __m256i high = _mm256_madd_epi16(_mm256_cvtepu8_epi16(_mm256_extracti128_si256(a, 1)),
                                             _mm256_cvtepi8_epi16(_mm256_extracti128_si256(b, 1)));
            sum = _mm256_add_epi32(sum, _mm256_add_epi32(low, high));
        }
    }
    return total(sum);
}

/* Bytes [k / 4, 16, 4], or int16 [k / 2, 16, 2]. */
static void arrange(size_t k, const int8_t *w, unsigned groups, void *out) {
    if (groups > 0) {
        int8_t *to = out;
        for (size_t i = 0; i < k; i += 4)
            for (size_t r = 0; r < FQ_INT_ROWS; r++, to += 4)
                memcpy(to, w + r * k + i, 4);
        return;
    }
    int16_t *to = out;
    for (size_t i = 0; i < k; i += 2)
        for (size_t r = 0; r < FQ_INT_ROWS; r++, to += 2) {
            to[0] = (int16_t)(w[r * k + i] + 0);
            to[1] = (int16_t)(w[r * k + i + 1] + 0);
        }
}

static int32_t four_bytes(const uint8_t *x) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    return four;
}

enum { TILE = 4 }; /* pixels */

/* Up to TILE pixels; sums of 16 bits are widened every `groups` steps. */
static inline void tile_pairs(size_t n, size_t k, const int8_t *w, const uint8_t *x,
                              unsigned groups, int32_t *sums) {
    __m256i sum[TILE][2], ones = _mm256_set1_epi16(1);
    for (size_t p = 0; p < n; p++)
        sum[p][0] = sum[p][1] = _mm256_setzero_si256();
    for (size_t i = 0; i < k;) {
        __m256i pairs[TILE][2];
        size_t  stop = i + 4 * (size_t)groups < k ? i + 4 * (size_t)groups : k;
        for (size_t p = 0; p < n; p++)
            pairs[p][0] = pairs[p][1] = _mm256_setzero_si256();
        for (; i < stop; i += 4) {
            __m256i a = _mm256_load_si256((const void *)(w + i * FQ_INT_ROWS));
            __m256i b = _mm256_load_si256((const void *)(w + i * FQ_INT_ROWS + 32));
            for (size_t p = 0; p < n; p++) {
                __m256i v = _mm256_set1_epi32(four_bytes(x + p * k + i));
                pairs[p][0] = _mm256_add_epi16(pairs[p][0], _mm256_maddubs_epi16(v, a));
                pairs[p][1] = _mm256_add_epi16(pairs[p][1], _mm256_maddubs_epi16(v, b));
            }
        }
        for (size_t p = 0; p < n; p++)
            for (size_t h = 0; h < 2; h++)
                sum[p][h] = _mm256_add_epi32(sum[p][h], _mm256_madd_epi16(pairs[p][h], ones));
    }
    for (size_t p = 0; p < n; p++)
        for (size_t h = 0; h < 2; h++)
            _mm256_storeu_si256((void *)(sums + p * FQ_INT_ROWS + 8 * h), sum[p][h]);
}

static inline void tile_wide(size_t n, size_t k, const int16_t *w, const uint8_t *x,
                             int32_t *sums) {
    __m256i sum[TILE][2];
    for (size_t p = 0; p < n; p++)
        sum[p][0] = sum[p][1] = _mm256_setzero_si256();
    for (size_t i = 0; i < k; i += 2) {
        __m256i a = _mm256_load_si256((const void *)(w + i * FQ_INT_ROWS));
        __m256i b = _mm256_load_si256((const void *)(w + i * FQ_INT_ROWS + 16));
        for (size_t p = 0; p < n; p++) {
            int32_t two = (int32_t)((uint32_t)x[p * k + i] | (uint32_t)x[p * k + i + 1] << 16);
            __m256i v = _mm256_set1_epi32(two);
            sum[p][0] = _mm256_add_epi32(sum[p][0], _mm256_madd_epi16(v, a));
            sum[p][1] = _mm256_add_epi32(sum[p][1], _mm256_madd_epi16(v, b));
        }
    }
    for (size_t p = 0; p < n; p++)
        for (size_t h = 0; h < 2; h++)
            _mm256_storeu_si256((void *)(sums + p * FQ_INT_ROWS + 8 * h), sum[p][h]);
}

/* The count of pixels is a constant in the first call, so that the tile stays in registers. */
static void multiply(size_t pixels, size_t k, const void *arranged, const uint8_t *x,
                     unsigned groups, int32_t *sums) {
    size_t p = 0;
    for (; p + TILE <= pixels; p += TILE) {
        if (groups > 0)
            tile_pairs(TILE, k, arranged, x + p * k, groups, sums + p * FQ_INT_ROWS);
        else
            tile_wide(TILE, k, arranged, x + p * k, sums + p * FQ_INT_ROWS);
    }
    for (; p < pixels; p++) {
        if (groups > 0)
            tile_pairs(1, k, arranged, x + p * k, groups, sums + p * FQ_INT_ROWS);
        else
            tile_wide(1, k, arranged, x + p * k, sums + p * FQ_INT_ROWS);
    }
}

const fq_int_kernels fq_int_kernels_avx2 = {"avx2", unpack, dot, arrange, multiply};
