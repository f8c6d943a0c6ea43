/* Number formats for vectors on the wire: updates, and the model on its way down.
 *
 * Stateless and thread-safe. Codes are really packed: b bits per value. A vector is cut into blocks
 * of `block` values with one scale each (float32); block 0 means one block for each tensor of the
 * model, so segments are given by their ends.
 */
#ifndef FQ_QUANT_QUANTIZER_H
#define FQ_QUANT_QUANTIZER_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/rng.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fq_quantizer fq_quantizer;

/* Where blocks end: positions in the vector, ascending, the last one its length. */
typedef struct fq_blocks {
    const size_t *ends;
    size_t        n;
} fq_blocks;

/* A coded vector. `body` is scales (float32, one per block; none for float formats), then codes. */
typedef struct fq_packed {
    const fq_quantizer *quantizer;
    uint8_t             bits;
    bool                zstd; /* body is compressed; body_bytes says how large it is unpacked */
    size_t              n;    /* values */
    size_t              body_bytes;
    fq_cbytes           body;
} fq_packed;

struct fq_quantizer {
    const char *name, *summary, *source;
    uint8_t     min_bits, max_bits; /* per value, scales not counted; float32 has 32..32 */
    bool        unbiased;           /* the mean of decode(encode(x)) over streams is x */
    /* Bytes of the body for n values in n_blocks blocks; 0 if that overflows. */
    size_t (*body_bytes)(size_t n, size_t n_blocks, uint8_t bits);
    /* x finite -> body [body_bytes]. Cannot fail. */
    void (*encode)(const float *x, fq_blocks blocks, uint8_t bits, fq_rng *rng,
                   unsigned char *body);
    /* The same with fewer levels of each sign than the bits have room for: 1 to
     * 2^(bits - 1) - 1; decoded as ever. NULL: the format has no such choice. */
    void (*encode_levels)(const float *x, fq_blocks blocks, uint8_t bits, int32_t levels,
                          fq_rng *rng, unsigned char *body);
    /* Body whose size has been checked -> y. FQ_ENONFINITE if a scale or value is not finite. */
    fq_status (*decode)(const unsigned char *body, fq_blocks blocks, uint8_t bits, float *y);
};
/* float32 float16 uniform stochastic qsgd sign topk fedfq */
extern const fq_quantizer *const fq_quantizers[]; /* NULL-terminated */
const fq_quantizer              *fq_quantizer_find(const char *name);

/* Encode x, then compress the body with zstd if asked (kept only when smaller). Memory of out->body
 * from `arena`. FQ_EINVAL: bits the format does not have; FQ_ENONFINITE: x. */
FQ_MUST_CHECK fq_status fq_quantize(const fq_quantizer *quantizer, uint8_t bits, bool zstd,
                                    const float *x, fq_blocks blocks, fq_rng *rng, fq_arena *arena,
                                    fq_packed *out);
/* The same with `levels` of each sign, at most 2^(bits - 1) - 1, for formats with encode_levels; 0:
 * as many as there are. */
FQ_MUST_CHECK fq_status fq_quantize_levels(const fq_quantizer *quantizer, uint8_t bits,
                                           int32_t levels, bool zstd, const float *x,
                                           fq_blocks blocks, fq_rng *rng, fq_arena *arena,
                                           fq_packed *out);
/* Check every size against blocks, unpack, decode to y [n]. FQ_EPROTO for what does not add up.
 * Scratch from `arena`, freed again. */
FQ_MUST_CHECK fq_status fq_dequantize(const fq_packed *packed, fq_blocks blocks, fq_arena *arena,
                                      float *y);
/* Arena bytes that fq_quantize and fq_dequantize need at most for n values in n_blocks blocks. */
size_t fq_quantize_arena_bytes(const fq_quantizer *quantizer, uint8_t bits, bool zstd, size_t n,
                               size_t n_blocks);

/* ---- bit packing (quant/bitpack.c): little-endian bit order, value i at bits [i*b, (i+1)*b) ----
 */
size_t fq_packed_bytes(size_t n, unsigned bits); /* 0 on overflow */
void   fq_pack_bits(const uint8_t *codes, size_t n, unsigned bits,
                    unsigned char *out); /* bits 1..8 */
void   fq_unpack_bits(const unsigned char *in, size_t n, unsigned bits, uint8_t *codes);

#endif
