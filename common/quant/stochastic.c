/* QSGD with the infinity norm: round up or down at random so that the mean is right. Variance per
 * value at most scale^2 / 4, scale = max|x| / (2^(b-1) - 1). One bit: -M or M = max|x|, M with
 * probability (1 + x/M) / 2 (the binary case of Suresh et al. 2017, arXiv 1611.00429). Source:
 * Alistarh et al. 2017, arXiv 1610.02132, section 3.1. */
#include "quant/quantizer_impl.h"

static float scale_of(const float *x, size_t n, uint8_t bits, int32_t levels) {
    return fq_block_scale((double)fq_block_peak(x, n), bits, levels);
}

/* v = x / scale, c = floor(v) + [u < v - floor(v)] + L */
void fq_stochastic_code(const float *x, size_t n, float scale, uint8_t bits, int32_t levels,
                        const float *u, uint8_t *codes) {
    const int32_t middle = fq_block_levels(bits);
    const float   bound = (float)levels, divisor = scale > 0.0f ? scale : 1.0f;
    for (size_t i = 0; i < n; i++) {
        float v = x[i] / divisor;
        v = v < bound ? v : bound;
        v = v > -bound ? v : -bound;
        codes[i] = (uint8_t)(fq_round_at_random(v, u[i]) + middle);
    }
}

/* One bit: c = [u < (1 + v) / 2] */
static void code(const float *x, size_t n, float scale, uint8_t bits, int32_t levels,
                 const float *u, uint8_t *codes) {
    if (bits > 1) {
        fq_stochastic_code(x, n, scale, bits, levels, u, codes);
        return;
    }
    const float divisor = scale > 0.0f ? scale : 1.0f;
    for (size_t i = 0; i < n; i++)
        codes[i] = u[i] < 0.5f + 0.5f * (x[i] / divisor);
}

static const fq_block_coder coder = {.scale = scale_of, .code = code, .draws = true};

static void encode(const float *x, fq_blocks blocks, uint8_t bits, fq_rng *rng,
                   unsigned char *body) {
    fq_block_encode(&coder, x, blocks, bits, fq_block_levels(bits), rng, body);
}

const fq_quantizer fq_quantizer_stochastic = {
    .name = "stochastic",
    .summary = "random rounding to 2^b - 1 even levels, right on average",
    .source = "QSGD, Alistarh et al. 2017, arXiv 1610.02132",
    .min_bits = 1,
    .max_bits = 8,
    .unbiased = true,
    .body_bytes = fq_block_bytes,
    .encode = encode,
    .decode = fq_block_decode,
};
