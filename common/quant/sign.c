/* One bit a value: the sign of x times the mean of |x| over the block. A compressor, not an
 * estimate: biased, but contractive,
 *
 *   |C(x) - x|^2 = (1 - a) |x|^2,   a = (sum |x|)^2 / (d |x|^2),   1/d <= a <= 1,
 *
 * so it wants error feedback. Source: Karimireddy et al. 2019, "Error feedback fixes SignSGD",
 * arXiv 1901.09847. */
#include "quant/quantizer_impl.h"

#include <math.h>

float fq_sign_scale(const float *x, size_t n) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += (double)fabsf(x[i]);
    return (float)(sum / (double)n);
}

void fq_sign_code(const float *x, size_t n, uint8_t *codes) {
    for (size_t i = 0; i < n; i++)
        codes[i] = x[i] >= 0.0f;
}

static float scale_of(const float *x, size_t n, uint8_t bits, int32_t levels) {
    (void)bits;
    (void)levels;
    return fq_sign_scale(x, n);
}

static void code(const float *x, size_t n, float scale, uint8_t bits, int32_t levels,
                 const float *u, uint8_t *codes) {
    (void)scale;
    (void)bits;
    (void)levels;
    (void)u;
    fq_sign_code(x, n, codes);
}

static const fq_block_coder coder = {.scale = scale_of, .code = code};

static void encode(const float *x, fq_blocks blocks, uint8_t bits, fq_rng *rng,
                   unsigned char *body) {
    fq_block_encode(&coder, x, blocks, bits, 1, rng, body);
}

const fq_quantizer fq_quantizer_sign = {
    .name = "sign",
    .summary = "the sign, times the mean magnitude of the block; wants error feedback",
    .source = "Karimireddy et al. 2019, arXiv 1901.09847",
    .min_bits = 1,
    .max_bits = 1,
    .body_bytes = fq_block_bytes,
    .encode = encode,
    .decode = fq_block_decode,
};
