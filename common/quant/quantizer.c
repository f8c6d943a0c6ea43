#include "quant/quantizer.h"

#include "quant/quantizer_impl.h"

#include <math.h>

static fq_status check_bits(const fq_quantizer *quantizer, uint8_t bits, fq_status code) {
    if (bits >= quantizer->min_bits && bits <= quantizer->max_bits)
        return FQ_OK;
    if (quantizer->min_bits == quantizer->max_bits)
        return fq_fail(code, "quantizer %s has %u bits, found %u", quantizer->name,
                       (unsigned)quantizer->min_bits, (unsigned)bits);
    return fq_fail(code, "quantizer %s has %u..%u bits, found %u", quantizer->name,
                   (unsigned)quantizer->min_bits, (unsigned)quantizer->max_bits, (unsigned)bits);
}

static fq_status check_finite(const float *x, size_t n) {
    uint32_t largest = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t exponent = fq_float_bits(x[i]) & 0x7f800000U;
        largest = exponent > largest ? exponent : largest;
    }
    for (size_t i = 0; largest == 0x7f800000U && i < n; i++)
        if (!isfinite(x[i]))
            return fq_fail(FQ_ENONFINITE, "value %zu of %zu is %g", i, n, (double)x[i]);
    return FQ_OK;
}

static fq_status reserve(fq_arena *arena, size_t bytes, unsigned char **out) {
    *out = FQ_ARENA_NEW(arena, unsigned char, bytes);
    if (*out == NULL)
        return fq_fail(FQ_ENOMEM, "no room for a coded vector of %zu bytes in an arena of %zu",
                       bytes, arena->capacity);
    return FQ_OK;
}

/* Write the body, and over it its compressed form if that is smaller. */
static fq_status write_body(fq_packed *packed, int32_t levels, bool zstd, const float *x,
                            fq_blocks blocks, fq_rng *rng, fq_arena *arena) {
    size_t         start = fq_arena_mark(arena), n = packed->body_bytes, size = 0;
    unsigned char *body, *smaller;
    FQ_TRY(reserve(arena, n, &body));
    if (levels == 0)
        packed->quantizer->encode(x, blocks, packed->bits, rng, body);
    else
        packed->quantizer->encode_levels(x, blocks, packed->bits, levels, rng, body);
    if (zstd) {
        size_t after_body = fq_arena_mark(arena);
        FQ_TRY(reserve(arena, n, &smaller));
        FQ_TRY(fq_zstd_compress((fq_cbytes){.data = body, .size = n}, smaller, &size, arena));
        fq_arena_rewind(arena, after_body);
        if (size != 0) {
            memcpy(body, smaller, size);
            fq_arena_rewind(arena, start);
            body = fq_arena_alloc(arena, size, 1); /* the same place, less of it */
        }
    }
    packed->zstd = size != 0;
    packed->body = (fq_cbytes){.data = body, .size = size != 0 ? size : n};
    return FQ_OK;
}

static fq_status check_levels(const fq_quantizer *quantizer, uint8_t bits, int32_t levels) {
    if (levels == 0)
        return FQ_OK;
    if (quantizer->encode_levels == NULL)
        return fq_fail(FQ_EINVAL, "quantizer %s has no choice of levels", quantizer->name);
    const int32_t most = fq_block_levels(bits);
    if (levels < 0 || levels > most)
        return fq_fail(FQ_EINVAL, "%ld levels of each sign; %u bits have room for 1 to %ld",
                       (long)levels, (unsigned)bits, (long)most);
    return FQ_OK;
}

fq_status fq_quantize(const fq_quantizer *quantizer, uint8_t bits, bool zstd, const float *x,
                      fq_blocks blocks, fq_rng *rng, fq_arena *arena, fq_packed *out) {
    return fq_quantize_levels(quantizer, bits, 0, zstd, x, blocks, rng, arena, out);
}

fq_status fq_quantize_levels(const fq_quantizer *quantizer, uint8_t bits, int32_t levels, bool zstd,
                             const float *x, fq_blocks blocks, fq_rng *rng, fq_arena *arena,
                             fq_packed *out) {
    size_t n = fq_blocks_length(blocks);
    if (n == 0)
        return fq_fail(FQ_EINVAL, "a vector without values cannot be coded");
    FQ_TRY(check_bits(quantizer, bits, FQ_EINVAL));
    FQ_TRY(check_levels(quantizer, bits, levels));
    FQ_TRY(check_finite(x, n));
    fq_packed packed = {.quantizer = quantizer,
                        .bits = bits,
                        .n = n,
                        .body_bytes = quantizer->body_bytes(n, blocks.n, bits)};
    if (packed.body_bytes == 0)
        return fq_fail(FQ_ELIMIT, "%zu values in %zu blocks are too many to code", n, blocks.n);
    size_t    start = fq_arena_mark(arena);
    fq_status status = write_body(&packed, levels, zstd, x, blocks, rng, arena);
    if (status == FQ_OK)
        *out = packed;
    else
        fq_arena_rewind(arena, start);
    return status;
}

/* All that can be known of a coded vector without unpacking it. */
static fq_status check_sizes(const fq_packed *packed, fq_blocks blocks) {
    const fq_quantizer *quantizer = packed->quantizer;
    size_t              n = fq_blocks_length(blocks);
    FQ_TRY(check_bits(quantizer, packed->bits, FQ_EPROTO));
    if (packed->n != n || n == 0)
        return fq_fail(FQ_EPROTO, "coded vector has %zu values, expected %zu", packed->n, n);
    size_t expected = quantizer->body_bytes(n, blocks.n, packed->bits);
    if (packed->body_bytes != expected || expected == 0)
        return fq_fail(
            FQ_EPROTO, "coded vector says it has %zu bytes, expected %zu (%s, %u bits, %zu blocks)",
            packed->body_bytes, expected, quantizer->name, (unsigned)packed->bits, blocks.n);
    if (packed->body.data == NULL)
        return fq_fail(FQ_EPROTO, "coded vector has no bytes, expected %zu", expected);
    if (!packed->zstd && packed->body.size != expected)
        return fq_fail(FQ_EPROTO, "coded vector has %zu bytes, expected %zu", packed->body.size,
                       expected);
    if (packed->zstd && packed->body.size >= expected)
        return fq_fail(FQ_EPROTO,
                       "compressed vector has %zu bytes, expected fewer than the %zu it unpacks to",
                       packed->body.size, expected);
    return packed->zstd ? fq_zstd_check(packed->body, expected) : FQ_OK;
}

static fq_status unpack_and_decode(const fq_packed *packed, fq_blocks blocks, fq_arena *arena,
                                   float *y) {
    unsigned char *body;
    FQ_TRY(reserve(arena, packed->body_bytes, &body));
    FQ_TRY(fq_zstd_decompress(packed->body, body, packed->body_bytes, arena));
    return packed->quantizer->decode(body, blocks, packed->bits, y);
}

fq_status fq_dequantize(const fq_packed *packed, fq_blocks blocks, fq_arena *arena, float *y) {
    FQ_TRY(check_sizes(packed, blocks));
    if (!packed->zstd)
        return packed->quantizer->decode(packed->body.data, blocks, packed->bits, y);
    size_t    start = fq_arena_mark(arena);
    fq_status status = unpack_and_decode(packed, blocks, arena, y);
    fq_arena_rewind(arena, start);
    return status;
}

size_t fq_quantize_arena_bytes(const fq_quantizer *quantizer, uint8_t bits, bool zstd, size_t n,
                               size_t n_blocks) {
    fq_arena measure = fq_arena_measure();
    size_t   bytes = quantizer->body_bytes(n, n_blocks, bits);
    fq_arena_alloc(&measure, bytes, 1);
    if (zstd) {
        fq_arena_alloc(&measure, bytes, 1);
        fq_arena_alloc(&measure, fq_zstd_workspace(bytes), 1);
    }
    return measure.peak;
}
