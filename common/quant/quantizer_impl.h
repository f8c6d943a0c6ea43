/* What the number formats share: rows of the table, bytes of a float, and the coding in blocks with
 * one scale each (block_codes.c). */
#ifndef FQ_QUANT_QUANTIZER_IMPL_H
#define FQ_QUANT_QUANTIZER_IMPL_H

#include "quant/quantizer.h"

#include <string.h>

extern const fq_quantizer fq_quantizer_float32, fq_quantizer_float16, fq_quantizer_uniform,
    fq_quantizer_stochastic;

static inline uint32_t fq_float_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float fq_bits_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline void fq_store_float(float x, unsigned char *out) {
    uint32_t bits = fq_float_bits(x);
    for (int i = 0; i < 4; i++)
        out[i] = (unsigned char)(bits >> (8 * i));
}

static inline float fq_load_float(const unsigned char *in) {
    uint32_t bits = 0;
    for (int i = 0; i < 4; i++)
        bits |= (uint32_t)in[i] << (8 * i);
    return fq_bits_float(bits);
}

static inline size_t fq_blocks_length(fq_blocks blocks) {
    return blocks.n == 0 ? 0 : blocks.ends[blocks.n - 1];
}

/* ---- block codes ----
 * Body: one float32 scale per block, then the codes of all blocks as one stream of b-bit values.
 * Code c means, with L = 2^(b-1) - 1 levels of each sign: scale * (c - L), c = 0 .. 2L; for one bit
 * -scale (0) or +scale (1). The code 2^b - 1 is unused for b > 1. */
typedef struct fq_block_coder {
    /* The scale of a block of n > 0 values: finite, not negative. */
    float (*scale)(const float *x, size_t n, uint8_t bits);
    /* Codes of n values with one scale. u [n], uniform in [0, 1), if `draws`; else NULL. */
    void (*code)(const float *x, size_t n, float scale, uint8_t bits, const float *u,
                 uint8_t *codes);
    bool draws;
} fq_block_coder;

size_t fq_block_bytes(size_t n, size_t n_blocks, uint8_t bits);
void   fq_block_encode(const fq_block_coder *coder, const float *x, fq_blocks blocks, uint8_t bits,
                       fq_rng *rng, unsigned char *body);
fq_status fq_block_decode(const unsigned char *body, fq_blocks blocks, uint8_t bits, float *y);

/* max|x|, 0 for n = 0. */
float fq_block_peak(const float *x, size_t n);
/* The scale that puts `peak` on code L; L times it is finite. */
float fq_block_scale(float peak, uint8_t bits);

static inline int32_t fq_block_levels(uint8_t bits) {
    return bits == 1 ? 1 : ((int32_t)1 << (bits - 1)) - 1;
}

/* ---- entropy.c: one zstd frame ---- */
/* Compress into dst, which has room for src.size - 1 bytes. *size is 0 if it does not get smaller.
 * Workspace from `arena`. */
fq_status fq_zstd_compress(fq_cbytes src, unsigned char *dst, size_t *size, fq_arena *arena);
/* Decompress exactly n bytes to dst. The size in the frame has been checked by fq_zstd_check. */
fq_status fq_zstd_decompress(fq_cbytes frame, unsigned char *dst, size_t n, fq_arena *arena);
/* One whole frame that says it holds n bytes; nothing is allocated. */
fq_status fq_zstd_check(fq_cbytes frame, size_t n);
/* Bytes of workspace for n bytes, either way. */
size_t fq_zstd_workspace(size_t n);

#endif
