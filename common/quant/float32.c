/* IEEE single precision, little-endian: nothing is lost. */
#include "quant/quantizer_impl.h"

#include <math.h>

static size_t body_bytes(size_t n, size_t n_blocks, uint8_t bits) {
    (void)n_blocks;
    (void)bits;
    size_t total;
    return fq_size_mul(n, sizeof(float), &total) ? total : 0;
}

static void encode(const float *x, fq_blocks blocks, uint8_t bits, fq_rng *rng,
                   unsigned char *body) {
    (void)bits;
    (void)rng;
    size_t n = fq_blocks_length(blocks);
    for (size_t i = 0; i < n; i++)
        fq_store_float(x[i], body + i * sizeof(float));
}

static fq_status decode(const unsigned char *body, fq_blocks blocks, uint8_t bits, float *y) {
    (void)bits;
    size_t n = fq_blocks_length(blocks);
    for (size_t i = 0; i < n; i++) {
        y[i] = fq_load_float(body + i * sizeof(float));
        if (!isfinite(y[i]))
            return fq_fail(FQ_ENONFINITE, "value %zu is %g", i, (double)y[i]);
    }
    return FQ_OK;
}

const fq_quantizer fq_quantizer_float32 = {
    .name = "float32",
    .summary = "exact, 32 bits a value",
    .source = "IEEE 754",
    .min_bits = 32,
    .max_bits = 32,
    .unbiased = true,
    .body_bytes = body_bytes,
    .encode = encode,
    .decode = decode,
};
