/* QSGD with the 2-norm: N = |x| of the block, s levels of each sign,
 *
 *   v = s |x_i| / N,   l = floor(v) + [u < v - floor(v)],   C(x)_i = N sign(x_i) l / s
 *
 * Unbiased; E|C(x) - x|^2 <= min(d / s^2, sqrt(d) / s) |x|^2 for a block of d values, and at most
 * s (s + sqrt(d)) of them are not zero on average: few levels make a sparse vector, which the
 * lossless stage makes small. Source: Alistarh et al. 2017, arXiv 1610.02132, section 3.1. */
#include "quant/quantizer_impl.h"

#include <math.h>

/* N / s */
static float scale_of(const float *x, size_t n, uint8_t bits, int32_t levels) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return fq_block_scale(sqrt(sum), bits, levels);
}

static const fq_block_coder coder = {.scale = scale_of, .code = fq_stochastic_code, .draws = true};

static void encode_levels(const float *x, fq_blocks blocks, uint8_t bits, int32_t levels,
                          fq_rng *rng, unsigned char *body) {
    fq_block_encode(&coder, x, blocks, bits, levels, rng, body);
}

static void encode(const float *x, fq_blocks blocks, uint8_t bits, fq_rng *rng,
                   unsigned char *body) {
    encode_levels(x, blocks, bits, fq_block_levels(bits), rng, body);
}

const fq_quantizer fq_quantizer_qsgd = {
    .name = "qsgd",
    .summary = "random rounding to 2^b - 1 levels over the 2-norm, sparse at few bits",
    .source = "QSGD, Alistarh et al. 2017, arXiv 1610.02132",
    .min_bits = 2,
    .max_bits = 8,
    .unbiased = true,
    .body_bytes = fq_block_bytes,
    .encode = encode,
    .encode_levels = encode_levels,
    .decode = fq_block_decode,
};
