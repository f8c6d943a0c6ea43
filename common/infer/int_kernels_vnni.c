/* AVX-512 with VNNI: four products of bytes are added to 32 bits in one instruction, exactly. */
#include "infer/int_kernels_impl.h"

#include <immintrin.h>
#include <string.h>

static void unpack(const unsigned char *packed, const unsigned char *end, size_t first, size_t n,
                   unsigned bits, int32_t unit, int32_t least, int8_t *out) {
    fq_int_kernels_avx2.unpack(packed, end, first, n, bits, unit, least, out);
}

static int32_t dot(size_t k, const int8_t *w, const uint8_t *x, unsigned groups) {
    (void)groups;
    __m512i sum = _mm512_setzero_si512();
    size_t  i = 0;
    for (; i + 64 <= k; i += 64)
        sum = _mm512_dpbusd_epi32(sum, _mm512_loadu_si512(x + i), _mm512_loadu_si512(w + i));
    if (i < k) /* half a register is left */
        sum = _mm512_dpbusd_epi32(
            sum, _mm512_zextsi256_si512(_mm256_loadu_si256((const void *)(x + i))),
            _mm512_zextsi256_si512(_mm256_loadu_si256((const void *)(w + i))));
    return _mm512_reduce_add_epi32(sum);
}

/* [k / 4, 16, 4]: a register holds four values of each of the 16 rows. */
static void arrange(size_t k, const int8_t *w, unsigned groups, void *out) {
    (void)groups;
    int8_t *to = out;
    for (size_t i = 0; i < k; i += 4)
        for (size_t r = 0; r < FQ_INT_ROWS; r++, to += 4)
            memcpy(to, w + r * k + i, 4);
}

static int32_t four_bytes(const uint8_t *x) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    return four;
}

enum { TILE = 8 }; /* pixels */

static inline void tile(size_t n, size_t k, const int8_t *w, const uint8_t *x, int32_t *sums) {
    __m512i sum[TILE];
    for (size_t p = 0; p < n; p++)
        sum[p] = _mm512_setzero_si512();
    for (size_t i = 0; i < k; i += 4) {
        __m512i row = _mm512_load_si512(w + i * FQ_INT_ROWS);
        for (size_t p = 0; p < n; p++)
            sum[p] = _mm512_dpbusd_epi32(sum[p], _mm512_set1_epi32(four_bytes(x + p * k + i)), row);
    }
    for (size_t p = 0; p < n; p++)
        _mm512_storeu_si512(sums + p * FQ_INT_ROWS, sum[p]);
}

static void multiply(size_t pixels, size_t k, const void *arranged, const uint8_t *x,
                     unsigned groups, int32_t *sums) {
    (void)groups;
    size_t p = 0;
    for (; p + TILE <= pixels; p += TILE)
        tile(TILE, k, arranged, x + p * k, sums + p * FQ_INT_ROWS);
    for (; p < pixels; p++)
        tile(1, k, arranged, x + p * k, sums + p * FQ_INT_ROWS);
}

const fq_int_kernels fq_int_kernels_vnni = {"vnni", unpack, dot, arrange, multiply};
