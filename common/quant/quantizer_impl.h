/* What the number formats share: rows of the table, bytes of a float, and the coding in blocks with
 * one scale each (block_codes.c). */
#ifndef FQ_QUANT_QUANTIZER_IMPL_H
#define FQ_QUANT_QUANTIZER_IMPL_H

#include "quant/quantizer.h"

#include <string.h>

extern const fq_quantizer fq_quantizer_float32, fq_quantizer_float16, fq_quantizer_uniform,
    fq_quantizer_stochastic, fq_quantizer_qsgd, fq_quantizer_sign, fq_quantizer_topk,
    fq_quantizer_fedfq;

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
    /* The scale of a block of n > 0 values that uses `levels` of each sign, at most L: finite, not
     * negative. */
    float (*scale)(const float *x, size_t n, uint8_t bits, int32_t levels);
    /* Codes of n values with one scale. u [n], uniform in [0, 1), if `draws`; else NULL. */
    void (*code)(const float *x, size_t n, float scale, uint8_t bits, int32_t levels,
                 const float *u, uint8_t *codes);
    bool draws;
} fq_block_coder;

size_t fq_block_bytes(size_t n, size_t n_blocks, uint8_t bits);
void   fq_block_encode(const fq_block_coder *coder, const float *x, fq_blocks blocks, uint8_t bits,
                       int32_t levels, fq_rng *rng, unsigned char *body);
fq_status fq_block_decode(const unsigned char *body, fq_blocks blocks, uint8_t bits, float *y);

/* Finite with all its multiples, and not negative? */
fq_status fq_block_check_scale(float scale, size_t block, uint8_t bits);

/* max|x|, 0 for n = 0. */
float fq_block_peak(const float *x, size_t n);
/* The scale that puts `peak` on that level; L times it is finite. */
float fq_block_scale(double peak, uint8_t bits, int32_t levels);

static inline int32_t fq_block_levels(uint8_t bits) {
    return bits == 1 ? 1 : ((int32_t)1 << (bits - 1)) - 1;
}

/* ---- codes of varying width: a bit stream in the order of quant/bitpack.c ---- */
typedef struct fq_bit_writer {
    unsigned char *at;
    uint64_t       word;   /* bits not yet stored, the next one to store lowest */
    unsigned       filled; /* how many: fewer than 8 between calls */
} fq_bit_writer;
typedef struct fq_bit_reader {
    const unsigned char *at;
    uint64_t             word; /* what is left of the byte before `at` */
    unsigned             filled;
} fq_bit_reader;

static inline void fq_put_bits(fq_bit_writer *writer, uint32_t value, unsigned bits) {
    writer->word |= (uint64_t)value << writer->filled;
    for (writer->filled += bits; writer->filled >= 8; writer->filled -= 8) {
        *writer->at++ = (unsigned char)writer->word;
        writer->word >>= 8;
    }
}

static inline void fq_flush_bits(fq_bit_writer *writer) {
    if (writer->filled > 0)
        *writer->at++ = (unsigned char)writer->word;
}

static inline uint32_t fq_get_bits(fq_bit_reader *reader, unsigned bits) {
    for (; reader->filled < bits; reader->filled += 8)
        reader->word |= (uint64_t)*reader->at++ << reader->filled;
    const uint64_t value = reader->word & (((uint64_t)1 << bits) - 1);
    reader->word >>= bits;
    reader->filled -= bits;
    return (uint32_t)value;
}

/* ---- scaled sign (sign.c): the mean of |x|, and 1 for what is not negative ---- */
float fq_sign_scale(const float *x, size_t n);
void  fq_sign_code(const float *x, size_t n, uint8_t *codes);

/* ---- rounding to nearest (uniform.c), 1 to 8 bits ---- */
float fq_uniform_scale(const float *x, size_t n, uint8_t bits);
void  fq_uniform_code(const float *x, size_t n, float scale, uint8_t bits, uint8_t *codes);

/* ---- random rounding (stochastic.c) ---- */
/* v rounded down or up so that the mean over u, uniform in [0, 1), is v. |v| < 2^31. */
static inline int32_t fq_round_at_random(float v, float u) {
    int32_t down = (int32_t)v; /* towards zero, so one more step for negative fractions */
    down -= v < (float)down;
    return down + (u < v - (float)down);
}
/* Codes for at least two bits: x / scale, clipped to `levels` and rounded at random. */
void fq_stochastic_code(const float *x, size_t n, float scale, uint8_t bits, int32_t levels,
                        const float *u, uint8_t *codes);

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
