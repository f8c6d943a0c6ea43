/* IEEE half precision, little-endian: 11 significant bits, magnitudes up to 65504; larger ones
 * become that. In integer arithmetic, so that every processor gives the same bits. */
#include "quant/quantizer_impl.h"

enum { HALF_MAX = 0x7bff, HALF_EXPONENT = 0x7c00 };

static uint16_t half_of_float(float x) {
    uint32_t bits = fq_float_bits(x), sign = bits >> 16 & 0x8000U, magnitude = bits & 0x7fffffffU;
    if (magnitude >= 0x477ff000U) /* 65520, from where rounding would give infinity */
        return (uint16_t)(sign | HALF_MAX);
    if (magnitude < 0x38800000U) {
        /* Below 2^-14 halves are multiples of 2^-24, the last place of 0.5f: adding it rounds to
         * them. */
        float shifted = fq_bits_float(magnitude) + 0.5f;
        return (uint16_t)(sign | (fq_float_bits(shifted) - fq_float_bits(0.5f)));
    }
    /* 13 bits fewer of fraction, ties to even, and an exponent that starts 112 lower. */
    uint32_t rounded = magnitude + 0xfffU + (magnitude >> 13 & 1U);
    return (uint16_t)(sign | (rounded - 0x38000000U) >> 13);
}

static float float_of_half(uint16_t half) {
    uint32_t magnitude = half & 0x7fffU;
    float    x = magnitude < 0x400U ? (float)magnitude * 0x1p-24f
                                    : fq_bits_float((magnitude << 13) + 0x38000000U);
    return (half & 0x8000U) != 0 ? -x : x;
}

static size_t body_bytes(size_t n, size_t n_blocks, uint8_t bits) {
    (void)n_blocks;
    (void)bits;
    size_t total;
    return fq_size_mul(n, sizeof(uint16_t), &total) ? total : 0;
}

static void encode(const float *x, fq_blocks blocks, uint8_t bits, fq_rng *rng,
                   unsigned char *body) {
    (void)bits;
    (void)rng;
    size_t n = fq_blocks_length(blocks);
    for (size_t i = 0; i < n; i++) {
        uint16_t half = half_of_float(x[i]);
        body[2 * i] = (unsigned char)(half & 0xffU);
        body[2 * i + 1] = (unsigned char)(half >> 8);
    }
}

static fq_status decode(const unsigned char *body, fq_blocks blocks, uint8_t bits, float *y) {
    (void)bits;
    size_t n = fq_blocks_length(blocks);
    for (size_t i = 0; i < n; i++) {
        uint16_t half = (uint16_t)(body[2 * i] | body[2 * i + 1] << 8);
        if ((half & HALF_EXPONENT) == HALF_EXPONENT)
            return fq_fail(FQ_ENONFINITE, "value %zu is not finite (half 0x%04x)", i,
                           (unsigned)half);
        y[i] = float_of_half(half);
    }
    return FQ_OK;
}

const fq_quantizer fq_quantizer_float16 = {
    .name = "float16",
    .summary = "half precision, 16 bits a value, magnitudes up to 65504",
    .source = "IEEE 754",
    .min_bits = 16,
    .max_bits = 16,
    .body_bytes = body_bytes,
    .encode = encode,
    .decode = decode,
};
