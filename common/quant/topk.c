/* The values of largest magnitude, as they are; all others become 0. The bits are a budget: with b
 * bits for each of n values, k = b n / (32 + i) are kept, at least one, where i = ceil(log2 n) bits
 * say which one it is. For 61,706 values that is a share of b / 48. Blocks play no part. Biased,
 * but contractive, |C(x) - x|^2 <= (1 - k / n) |x|^2, so it wants error feedback.
 *
 * Body: k float32, then their k places, ascending, i bits each.
 *
 * Source: Stich et al. 2018, "Sparsified SGD with memory", arXiv 1809.07599. */
#include "quant/quantizer_impl.h"

#include <math.h>

/* Bits that hold 0 .. n - 1. */
static unsigned place_bits(size_t n) {
    unsigned bits = 0;
    while (bits < 32 && (n - 1) >> bits != 0)
        bits++;
    return bits;
}

static size_t kept(size_t n, uint8_t bits) {
    size_t budget, k;
    if (n == 0 || n - 1 > UINT32_MAX || !fq_size_mul(n, bits, &budget))
        return 0;
    k = budget / (32 + place_bits(n));
    return k == 0 ? 1 : k;
}

static size_t body_bytes(size_t n, size_t n_blocks, uint8_t bits) {
    (void)n_blocks;
    const size_t k = kept(n, bits);
    return k == 0 ? 0 : k * sizeof(float) + (k * place_bits(n) + 7) / 8;
}

static uint32_t magnitude(float x) {
    return fq_float_bits(x) & 0x7fffffffU; /* in the order of |x| */
}

/* The k-th largest magnitude, by its bytes from the top: a count of the next byte among those that
 * share the bytes found so far. *ties gets how many of those that equal it are among the k. */
static uint32_t threshold(const float *x, size_t n, size_t k, size_t *ties) {
    uint32_t found = 0;
    for (unsigned shift = 24;; shift -= 8) {
        size_t   counts[256] = {0};
        uint32_t byte = 255;
        for (size_t i = 0; i < n; i++)
            if (((uint64_t)(magnitude(x[i]) ^ found) >> (shift + 8)) == 0)
                counts[magnitude(x[i]) >> shift & 255U]++;
        for (; counts[byte] < k; byte--) /* ends: k of them are left */
            k -= counts[byte];
        found |= byte << shift;
        if (shift == 0)
            break;
    }
    *ties = k;
    return found;
}

static void encode(const float *x, fq_blocks blocks, uint8_t bits, fq_rng *rng,
                   unsigned char *body) {
    (void)rng;
    const size_t   n = fq_blocks_length(blocks), k = kept(n, bits);
    size_t         ties;
    const uint32_t least = threshold(x, n, k, &ties);
    fq_bit_writer  places = {.at = body + k * sizeof(float)};
    for (size_t i = 0; i < n; i++) {
        const uint32_t m = magnitude(x[i]);
        if (m < least || (m == least && ties == 0))
            continue;
        ties -= m == least; /* the first of equals */
        fq_store_float(x[i], body);
        body += sizeof(float);
        fq_put_bits(&places, (uint32_t)i, place_bits(n));
    }
    fq_flush_bits(&places);
}

static fq_status decode(const unsigned char *body, fq_blocks blocks, uint8_t bits, float *y) {
    const size_t   n = fq_blocks_length(blocks), k = kept(n, bits);
    const unsigned width = place_bits(n);
    fq_bit_reader  places = {.at = body + k * sizeof(float)};
    size_t         next = 0; /* the first place that is still free */
    memset(y, 0, n * sizeof *y);
    for (size_t j = 0; j < k; j++) {
        const float  value = fq_load_float(body + j * sizeof(float));
        const size_t place = fq_get_bits(&places, width);
        if (!isfinite(value))
            return fq_fail(FQ_ENONFINITE, "kept value %zu of %zu is %g", j, k, (double)value);
        if (place < next || place >= n)
            return fq_fail(FQ_EPROTO, "kept value %zu of %zu belongs to place %zu, not in %zu..%zu",
                           j, k, place, next, n - 1);
        y[place] = value;
        next = place + 1;
    }
    if (places.word != 0)
        return fq_fail(FQ_EPROTO, "bits after the last of %zu places are not zero", k);
    return FQ_OK;
}

const fq_quantizer fq_quantizer_topk = {
    .name = "topk",
    .summary = "the largest values as floats, as many as the bits pay for; wants error feedback",
    .source = "Stich et al. 2018, arXiv 1809.07599",
    .min_bits = 1,
    .max_bits = 8,
    .body_bytes = body_bytes,
    .encode = encode,
    .decode = decode,
};
