/* Round to the nearest of 2^b - 1 levels between -max|x| and max|x|: the least error of all, but
 * small values are always lost, so it wants error feedback. One bit: the sign times mean|x|
 * (Karimireddy et al. 2019, "Error feedback fixes SignSGD", arXiv 1901.09847). */
#include "quant/quantizer_impl.h"

#include <math.h>

static float scale_of(const float *x, size_t n, uint8_t bits) {
    if (bits > 1)
        return fq_block_scale(fq_block_peak(x, n), bits);
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += (double)fabsf(x[i]);
    return (float)(sum / (double)n);
}

/* c = clip(rne(x / scale), -L, L) + L */
static void code(const float *x, size_t n, float scale, uint8_t bits, const float *u,
                 uint8_t *codes) {
    (void)u;
    if (bits == 1) {
        for (size_t i = 0; i < n; i++)
            codes[i] = x[i] >= 0.0f;
        return;
    }
    int32_t levels = fq_block_levels(bits);
    float   bound = (float)levels, divisor = scale > 0.0f ? scale : 1.0f;
    for (size_t i = 0; i < n; i++) {
        float v = x[i] / divisor;
        v = v < bound ? v : bound;
        v = v > -bound ? v : -bound;
        codes[i] = (uint8_t)(lrintf(v) + levels);
    }
}

static const fq_block_coder coder = {.scale = scale_of, .code = code};

static void encode(const float *x, fq_blocks blocks, uint8_t bits, fq_rng *rng,
                   unsigned char *body) {
    fq_block_encode(&coder, x, blocks, bits, rng, body);
}

const fq_quantizer fq_quantizer_uniform = {
    .name = "uniform",
    .summary = "nearest of 2^b - 1 even levels; one bit: sign and mean magnitude",
    .source = "one bit: Karimireddy et al. 2019, arXiv 1901.09847",
    .min_bits = 1,
    .max_bits = 8,
    .body_bytes = fq_block_bytes,
    .encode = encode,
    .decode = fq_block_decode,
};
