#include "quant/quantizer_impl.h"

#include <float.h>
#include <math.h>

/* Values coded at a time: their codes and random numbers stay on the stack. A multiple of 8, so
 * that a piece begins on a byte at every width, and of 4, so that no random number is lost between
 * pieces. */
enum { PIECE = 512 };

size_t fq_block_bytes(size_t n, size_t n_blocks, uint8_t bits) {
    size_t scales, total, codes = fq_packed_bytes(n, bits);
    if ((codes == 0 && n != 0) || !fq_size_mul(n_blocks, sizeof(float), &scales) ||
        !fq_size_add(scales, codes, &total))
        return 0;
    return total;
}

float fq_block_peak(const float *x, size_t n) {
    float peak = 0.0f;
    for (size_t i = 0; i < n; i++)
        peak = fabsf(x[i]) > peak ? fabsf(x[i]) : peak;
    return peak;
}

float fq_block_scale(double peak, uint8_t bits, int32_t levels) {
    const double top = (double)fq_block_levels(bits);
    const float  scale = (float)fmin(peak / (double)levels, (double)FLT_MAX / top);
    /* Rounded up, the largest floats would decode to infinity. */
    return (double)scale * top <= (double)FLT_MAX ? scale : nextafterf(scale, 0.0f);
}

/* A walk over a vector in runs that cross neither the end of a piece nor that of a block. */
typedef struct run {
    size_t block, begin, size;
} run;

static run next_run(fq_blocks blocks, size_t block, size_t begin, size_t piece_end) {
    while (blocks.ends[block] <= begin) /* empty blocks too */
        block++;
    size_t end = blocks.ends[block] < piece_end ? blocks.ends[block] : piece_end;
    return (run){.block = block, .begin = begin, .size = end - begin};
}

void fq_block_encode(const fq_block_coder *coder, const float *x, fq_blocks blocks, uint8_t bits,
                     int32_t levels, fq_rng *rng, unsigned char *body) {
    size_t n = fq_blocks_length(blocks);
    for (size_t block = 0, begin = 0; block < blocks.n; begin = blocks.ends[block++]) {
        size_t size = blocks.ends[block] - begin;
        fq_store_float(size == 0 ? 0.0f : coder->scale(x + begin, size, bits, levels),
                       body + block * sizeof(float));
    }
    unsigned char *stream = body + blocks.n * sizeof(float);
    size_t         block = 0;
    for (size_t begin = 0; begin < n; begin += PIECE) {
        uint8_t codes[PIECE];
        float   uniform[PIECE];
        size_t  end = n - begin < PIECE ? n : begin + PIECE;
        if (coder->draws)
            fq_rng_fill_uniform(rng, uniform, end - begin);
        for (size_t at = begin; at < end;) {
            run r = next_run(blocks, block, at, end);
            coder->code(x + at, r.size, fq_load_float(body + r.block * sizeof(float)), bits, levels,
                        coder->draws ? uniform + (at - begin) : NULL, codes + (at - begin));
            block = r.block;
            at += r.size;
        }
        fq_pack_bits(codes, end - begin, bits, stream + begin / 8 * bits);
    }
}

fq_status fq_block_check_scale(float scale, size_t block, uint8_t bits) {
    if (!isfinite(scale * (float)fq_block_levels(bits)))
        return fq_fail(FQ_ENONFINITE, "scale of block %zu is %g: values would not be finite", block,
                       (double)scale);
    if (scale < 0.0f)
        return fq_fail(FQ_EPROTO, "scale of block %zu is %g, must not be negative", block,
                       (double)scale);
    return FQ_OK;
}

static fq_status check_scales(const unsigned char *body, fq_blocks blocks, uint8_t bits) {
    for (size_t block = 0; block < blocks.n; block++)
        FQ_TRY(fq_block_check_scale(fq_load_float(body + block * sizeof(float)), block, bits));
    return FQ_OK;
}

/* One value has one code: the bits that fill up the last byte are zero. */
static fq_status check_padding(const unsigned char *stream, size_t n, uint8_t bits) {
    unsigned used = (unsigned)(n % 8 * bits % 8);
    if (used != 0 && stream[fq_packed_bytes(n, bits) - 1] >> used != 0)
        return fq_fail(FQ_EPROTO, "bits after the last of %zu codes are not zero", n);
    return FQ_OK;
}

static void decode_run(const uint8_t *codes, size_t n, float scale, uint8_t bits, float *y) {
    int32_t levels = fq_block_levels(bits), pace = bits == 1 ? 2 : 1; /* one bit has no zero */
    for (size_t i = 0; i < n; i++)
        y[i] = scale * (float)(pace * codes[i] - levels);
}

fq_status fq_block_decode(const unsigned char *body, fq_blocks blocks, uint8_t bits, float *y) {
    size_t               n = fq_blocks_length(blocks), block = 0;
    const unsigned char *stream = body + blocks.n * sizeof(float);
    unsigned             top = bits == 1 ? 1 : 2 * (unsigned)fq_block_levels(bits);
    FQ_TRY(check_scales(body, blocks, bits));
    FQ_TRY(check_padding(stream, n, bits));
    for (size_t begin = 0; begin < n; begin += PIECE) {
        uint8_t  codes[PIECE];
        size_t   end = n - begin < PIECE ? n : begin + PIECE;
        unsigned largest = 0;
        fq_unpack_bits(stream + begin / 8 * bits, end - begin, bits, codes);
        for (size_t i = 0; i < end - begin; i++)
            largest = codes[i] > largest ? codes[i] : largest;
        if (largest > top)
            return fq_fail(FQ_EPROTO, "code %u among values %zu..%zu, the largest of %u bits is %u",
                           largest, begin, end - 1, (unsigned)bits, top);
        for (size_t at = begin; at < end;) {
            run r = next_run(blocks, block, at, end);
            decode_run(codes + (at - begin), r.size, fq_load_float(body + r.block * sizeof(float)),
                       bits, y + at);
            block = r.block;
            at += r.size;
        }
    }
    return FQ_OK;
}
