/* Round to the nearest of 2^b - 1 levels between -max|x| and max|x|: the least error of all, but
 * small values are always lost, so it wants error feedback. One bit: as `sign`. */
#include "quant/quantizer_impl.h"

#include <math.h>

float fq_uniform_scale(const float *x, size_t n, uint8_t bits) {
    if (bits == 1)
        return fq_sign_scale(x, n);
    return fq_block_scale((double)fq_block_peak(x, n), bits, fq_block_levels(bits));
}

/* c = clip(rne(x / scale), -L, L) + L */
void fq_uniform_code(const float *x, size_t n, float scale, uint8_t bits, uint8_t *codes) {
    if (bits == 1) {
        fq_sign_code(x, n, codes);
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

static float scale_of(const float *x, size_t n, uint8_t bits, int32_t levels) {
    (void)levels;
    return fq_uniform_scale(x, n, bits);
}

static void code(const float *x, size_t n, float scale, uint8_t bits, int32_t levels,
                 const float *u, uint8_t *codes) {
    (void)levels;
    (void)u;
    fq_uniform_code(x, n, scale, bits, codes);
}

static const fq_block_coder coder = {.scale = scale_of, .code = code};

static void encode(const float *x, fq_blocks blocks, uint8_t bits, fq_rng *rng,
                   unsigned char *body) {
    fq_block_encode(&coder, x, blocks, bits, fq_block_levels(bits), rng, body);
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
