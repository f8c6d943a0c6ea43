/* Many random numbers at once. Compiled once for each instruction set, FQ_ROW being its name. Rows
 * and compilers agree to the last bit: the floats need only +, -, * and sqrt, each rounded once. */
#include "base/rng_impl.h"

#include <math.h>
#include <string.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

/* ---- Philox, some blocks at a time ---- */

/* A lane has a word of one block in its lower half; the upper half may be anything. Compilers do
 * not find the instruction that multiplies the lower halves, so it has to be named. */
#if defined(__AVX2__)
typedef uint64_t lanes __attribute__((vector_size(32)));
#else
typedef uint64_t lanes __attribute__((vector_size(16)));
#endif

static inline lanes multiply(lanes x, uint32_t factor) {
#if defined(__AVX2__)
    return (lanes)_mm256_mul_epu32((__m256i)x, _mm256_set1_epi64x(factor));
#elif defined(__SSE2__)
    return (lanes)_mm_mul_epu32((__m128i)x, _mm_set1_epi64x(factor));
#else
    return (x & 0xffffffffU) * factor;
#endif
}

/* Two vectors in turn hide each other's latency. */
enum { LANES = sizeof(lanes) / 8, TURNS = 2, BLOCKS = TURNS * LANES };

/* Blocks first, first + 1, ... of the stream, as fq_philox4x32 gives them -> words [4 * BLOCKS]. */
static inline void make_blocks(const fq_rng *rng, uint32_t first, uint32_t *words) {
    static const uint64_t places[4] = {0, 1, 2, 3};
    lanes                 c[4][TURNS], place;
    memcpy(&place, places, sizeof place);
    for (uint32_t t = 0; t < TURNS; t++) {
        c[0][t] = place + (first + t * LANES);
        for (int i = 1; i < 4; i++)
            c[i][t] = (lanes){0} + rng->counter[i];
    }
    uint32_t k0 = rng->key[0], k1 = rng->key[1];
    for (int round = 0; round < FQ_PHILOX_ROUNDS; round++) {
        for (int t = 0; t < TURNS; t++) {
            lanes p0 = multiply(c[0][t], FQ_PHILOX_MULTIPLIERS[0]);
            lanes p1 = multiply(c[2][t], FQ_PHILOX_MULTIPLIERS[1]);
            c[0][t] = (p1 >> 32) ^ c[1][t] ^ k0;
            c[2][t] = (p0 >> 32) ^ c[3][t] ^ k1;
            c[1][t] = p1;
            c[3][t] = p0;
        }
        k0 += FQ_PHILOX_WEYL[0];
        k1 += FQ_PHILOX_WEYL[1];
    }
    for (int t = 0; t < TURNS; t++) {
        lanes low = (c[0][t] & 0xffffffffU) | c[1][t] << 32;
        lanes high = (c[2][t] & 0xffffffffU) | c[3][t] << 32;
        for (int l = 0; l < LANES; l++, words += 4) {
            words[0] = (uint32_t)low[l];
            words[1] = (uint32_t)(low[l] >> 32);
            words[2] = (uint32_t)high[l];
            words[3] = (uint32_t)(high[l] >> 32);
        }
    }
}

/* ---- words to numbers ---- */

static inline void to_uniform(const uint32_t *words, size_t n, float *x) {
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(int32_t)(words[i] >> 8) * 0x1p-24f;
}

static inline int32_t bits_of(float x) {
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(int32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* sqrt(-2 ln u), u = (k + 1/2) 2^-31 with k the upper 31 bits of the word, rounded to 24 bits; at
 * most 6.66. u = (1 + x) 2^(e - 31) with 1 + x in [sqrt(1/2), sqrt(2)), and a polynomial stands for
 * -2 ln(1 + x) / x; its relative error is 4e-8. */
static inline float radius_of(uint32_t word) {
    float   u = (float)(int32_t)(word >> 1) + 0.5f;
    int32_t e = (bits_of(u) - 0x3f3504f3) >> 23;
    float   x = float_of(bits_of(u) - e * (1 << 23)) - 1.0f;
    float   p = -0.170666263f;
    p = p * x + 0.285385162f;
    p = p * x - 0.299548030f;
    p = p * x + 0.331559867f;
    p = p * x - 0.399118662f;
    p = p * x + 0.500027061f;
    p = p * x - 0.666683853f;
    p = p * x + 0.999999940f;
    p = p * x - 2.0f;
    return sqrtf(p * x + (float)(31 - e) * 1.38629436f);
}

/* Sine and cosine of t quarter turns, |t| <= 1/2; errors 5e-9 and 3e-8 before rounding. */
static inline float sine_of(float t) {
    float tt = t * t, p = -0.00460214913f;
    p = p * tt + 0.0796802193f;
    p = p * tt - 0.645963490f;
    p = p * tt + 1.57079637f;
    return p * t;
}

static inline float cosine_of(float t) {
    float tt = t * t, p = -0.0204081591f;
    p = p * tt + 0.253598571f;
    p = p * tt - 1.23369706f;
    return p * tt + 1.0f;
}

/* Box and Muller 1958: words [2] -> x [2]. Of the second word, the lower 30 bits are an angle of at
 * most an eighth of a turn to either side, one bit swaps the axes and one turns round. All without
 * a branch, or compilers would not take several at once. */
static inline void to_normals(const uint32_t *words, float *x) {
    float   t = (float)(int32_t)(words[1] << 2) * 0x1p-32f;
    int32_t c = bits_of(cosine_of(t)), s = bits_of(sine_of(t));
    int32_t swap = (c ^ s) & ((int32_t)(words[1] << 1) >> 31);
    int32_t sign = (int32_t)(words[1] & 0x80000000U);
    float   radius = float_of(bits_of(radius_of(words[0])) ^ sign);
    x[0] = radius * float_of(c ^ swap);
    x[1] = radius * float_of(s ^ swap);
}

/* ---- the row ---- */

/* Numbers at a time: their words stay in the first cache. A multiple of 4 * BLOCKS. */
enum { PIECE = 256 };

/* The words of draws begin .. end-1, begin a multiple of 4 -> words [PIECE]. */
static inline void make_words(const fq_rng *rng, size_t begin, size_t end, uint32_t *words) {
    for (size_t i = begin; i < end; i += 4 * BLOCKS)
        make_blocks(rng, rng->counter[0] + (uint32_t)(i / 4), words + (i - begin));
}

static void fill_uniform(const fq_rng *rng, float *out, size_t n) {
    uint32_t words[PIECE];
    for (size_t begin = 0; begin < n; begin += PIECE) {
        size_t end = n - begin < PIECE ? n : begin + PIECE;
        make_words(rng, begin, end, words);
        to_uniform(words, end - begin, out + begin);
    }
}

static void fill_normal(const fq_rng *rng, float *out, size_t n) {
    uint32_t words[PIECE];
    for (size_t begin = 0; begin < n; begin += PIECE) {
        size_t end = n - begin < PIECE ? n : begin + PIECE, count = end - begin;
        make_words(rng, begin, end, words);
        for (size_t i = 0; i + 1 < count; i += 2)
            to_normals(words + i, out + begin + i);
        if (count % 2 != 0) {
            float pair[2];
            to_normals(words + count - 1, pair);
            out[end - 1] = pair[0];
        }
    }
}

#define JOIN_(a, b) a##b
#define JOIN(a, b)  JOIN_(a, b)
const fq_rng_fills JOIN(fq_rng_fills_, FQ_ROW) = {.uniform = fill_uniform, .normal = fill_normal};
