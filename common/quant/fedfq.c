/* A width of its own for each block, so that large values get more bits than small ones: 0 to 8
 * bits, `bits` on average over the values, chosen by quant/bit_budget.h in closed form and refined
 * by annealing. Each block is then coded as `uniform` does at its width; at 0 bits it is zeros.
 * Biased, but contractive.
 *
 * Body: a float32 scale for each block and one for a split block's first part; a byte for each
 * block, its width, plus 16 if it is split; then the codes, n * bits bits in all.
 *
 * Source: the budget and the annealing are FedFQ's, Li et al. 2024, arXiv 2408.08977; the closed
 * form is ours. */
#include "quant/bit_budget.h"
#include "quant/quantizer_impl.h"

#include <math.h>

enum { SPLIT = 16, MOST = 8, PIECE = 512 };

static size_t body_bytes(size_t n, size_t n_blocks, uint8_t bits) {
    size_t scales, total, codes = fq_packed_bytes(n, bits);
    if (codes == 0 || !fq_size_mul(n_blocks + 1, sizeof(float), &scales) ||
        !fq_size_add(scales, n_blocks, &scales) || !fq_size_add(scales, codes, &total))
        return 0;
    return total;
}

static void put_values(const float *x, size_t n, uint8_t width, unsigned char *scale_at,
                       fq_bit_writer *out) {
    uint8_t     codes[PIECE];
    const float scale = n == 0 || width == 0 ? 0.0f : fq_uniform_scale(x, n, width);
    fq_store_float(scale, scale_at);
    for (size_t begin = 0; width > 0 && begin < n; begin += PIECE) {
        const size_t size = n - begin < PIECE ? n - begin : PIECE;
        fq_uniform_code(x + begin, size, scale, width, codes);
        for (size_t i = 0; i < size; i++)
            fq_put_bits(out, codes[i], width);
    }
}

static void encode(const float *x, fq_blocks blocks, uint8_t bits, fq_rng *rng,
                   unsigned char *body) {
    unsigned char *widths = body + (blocks.n + 1) * sizeof(float);
    for (size_t i = 0, begin = 0; i < blocks.n; begin = blocks.ends[i++])
        fq_store_float(fq_budget_log(fq_block_peak(x + begin, blocks.ends[i] - begin)),
                       body + i * sizeof(float));
    const fq_bit_split split = fq_budget_fill(body, blocks, bits, widths);
    fq_budget_anneal(x, blocks, split, rng, widths);

    fq_bit_writer  out = {.at = widths + blocks.n};
    unsigned char *last = body + blocks.n * sizeof(float);
    fq_store_float(0.0f, last);
    for (size_t i = 0, begin = 0; i < blocks.n; begin = blocks.ends[i++]) {
        const uint8_t width = widths[i];
        size_t        first = 0;
        if (split.values > 0 && split.block == i) {
            first = split.values;
            put_values(x + begin, first, (uint8_t)(width + 1), last, &out);
            widths[i] |= SPLIT;
        }
        put_values(x + begin + first, blocks.ends[i] - begin - first, width,
                   body + i * sizeof(float), &out);
    }
    fq_flush_bits(&out);
}

/* The widths must spend the budget to the last bit. */
static fq_status check_widths(const unsigned char *widths, fq_blocks blocks, uint8_t bits,
                              fq_bit_split *split) {
    const size_t budget = fq_blocks_length(blocks) * bits;
    size_t       spent = 0, splits = 0;
    *split = (fq_bit_split){0};
    for (size_t i = 0, begin = 0; i < blocks.n; begin = blocks.ends[i++]) {
        const uint8_t width = widths[i] & (SPLIT - 1U);
        if (width > MOST || widths[i] >= 2 * SPLIT)
            return fq_fail(FQ_EPROTO, "width of block %zu is 0x%02x, expected at most 8 bits", i,
                           (unsigned)widths[i]);
        spent += (blocks.ends[i] - begin) * width;
        if ((widths[i] & SPLIT) != 0) {
            splits++;
            split->block = i;
        }
    }
    split->values = budget - spent; /* wraps if there are too many, and is refused below */
    const size_t block = split->block, begin = block == 0 ? 0 : blocks.ends[block - 1];
    const bool   fine = splits == 0 ? spent == budget
                                    : splits == 1 && spent < budget &&
                                        split->values < blocks.ends[block] - begin &&
                                        (widths[block] & (SPLIT - 1U)) < MOST;
    if (!fine)
        return fq_fail(FQ_EPROTO, "blocks of %zu bits and %zu split ones do not make %zu bits",
                       spent, splits, budget);
    return FQ_OK;
}

static fq_status get_values(fq_bit_reader *in, size_t block, const unsigned char *scale_at,
                            size_t n, uint8_t width, float *y) {
    const float scale = fq_load_float(scale_at);
    if (n == 0 || width == 0) {
        memset(y, 0, n * sizeof *y);
        if (fq_float_bits(scale) != 0)
            return fq_fail(FQ_EPROTO, "scale of block %zu without codes is %g, expected 0", block,
                           (double)scale);
        return FQ_OK;
    }
    FQ_TRY(fq_block_check_scale(scale, block, width));
    const int32_t levels = fq_block_levels(width), pace = width == 1 ? 2 : 1;
    for (size_t i = 0; i < n; i++) {
        const int32_t code = (int32_t)fq_get_bits(in, width);
        if (pace * code > 2 * levels)
            return fq_fail(FQ_EPROTO, "code %ld in block %zu, the largest of %u bits is %ld",
                           (long)code, block, (unsigned)width, (long)(2 * levels));
        y[i] = scale * (float)(pace * code - levels);
    }
    return FQ_OK;
}

static fq_status decode(const unsigned char *body, fq_blocks blocks, uint8_t bits, float *y) {
    const unsigned char *last = body + blocks.n * sizeof(float), *widths = last + sizeof(float);
    fq_bit_split         split;
    FQ_TRY(check_widths(widths, blocks, bits, &split));
    fq_bit_reader in = {.at = widths + blocks.n};
    if (split.values == 0 && fq_float_bits(fq_load_float(last)) != 0)
        return fq_fail(FQ_EPROTO, "scale of a split block, but none is split");
    for (size_t i = 0, begin = 0; i < blocks.n; begin = blocks.ends[i++]) {
        const uint8_t width = widths[i] & (SPLIT - 1U);
        size_t        first = 0;
        if (split.values > 0 && split.block == i) {
            first = split.values;
            FQ_TRY(get_values(&in, i, last, first, (uint8_t)(width + 1), y + begin));
        }
        FQ_TRY(get_values(&in, i, body + i * sizeof(float), blocks.ends[i] - begin - first, width,
                          y + begin + first));
    }
    if (in.word != 0)
        return fq_fail(FQ_EPROTO, "bits after the last of %zu codes are not zero",
                       fq_blocks_length(blocks));
    return FQ_OK;
}

const fq_quantizer fq_quantizer_fedfq = {
    .name = "fedfq",
    .summary = "0 to 8 bits for each block under a budget; wants error feedback",
    .source = "FedFQ, Li et al. 2024, arXiv 2408.08977; closed form ours",
    .min_bits = 1,
    .max_bits = 8,
    .body_bytes = body_bytes,
    .encode = encode,
    .decode = decode,
};
