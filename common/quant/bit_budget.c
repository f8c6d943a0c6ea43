#include "quant/bit_budget.h"

#include "quant/quantizer_impl.h"

#include <math.h>

enum {
    MOST = 8,            /* bits of a value */
    STEPS_PER_BLOCK = 4, /* of the annealing */
    WIDTH = 15,
    SHIFT = 4 /* a byte of widths in the annealing: at present, and at its start */
};
static const float NOTHING = -160.0f; /* below log2 of the smallest float, -149 */

float fq_budget_log(float range) {
    return range > 0.0f ? log2f(range) : NOTHING;
}

static float log_of(const unsigned char *logs, size_t block) {
    return fq_load_float(logs + block * sizeof(float));
}

static size_t size_of(fq_blocks blocks, size_t block) {
    return blocks.ends[block] - (block == 0 ? 0 : blocks.ends[block - 1]);
}

double fq_budget_level(const unsigned char *logs, fq_blocks blocks, double bits) {
    double sum = 0.0;
    for (size_t i = 0; i < blocks.n; i++)
        sum += (double)size_of(blocks, i) * (double)log_of(logs, i);
    return bits - sum / (double)fq_blocks_length(blocks);
}

static uint8_t width_at(double level, float log) {
    const double width = floor((double)log + level);
    return (uint8_t)(width < 0.0 ? 0.0 : fmin(width, MOST));
}

static size_t bits_at(const unsigned char *logs, fq_blocks blocks, double level) {
    size_t total = 0;
    for (size_t i = 0; i < blocks.n; i++)
        total += size_of(blocks, i) * width_at(level, log_of(logs, i));
    return total;
}

fq_bit_split fq_budget_fill(const unsigned char *logs, fq_blocks blocks, uint8_t bits,
                            uint8_t *widths) {
    const size_t budget = fq_blocks_length(blocks) * bits;
    /* Between a level that gives nobody a bit and one that gives everybody all, and closer and
     * closer to where the budget ends. */
    double low = -129.0, high = MOST + 1.0 - (double)NOTHING;
    for (int i = 0; i < 64; i++) {
        const double middle = low + (high - low) / 2.0;
        if (bits_at(logs, blocks, middle) <= budget)
            low = middle;
        else
            high = middle;
    }
    size_t       left = budget - bits_at(logs, blocks, low);
    fq_bit_split split = {0};
    for (size_t i = 0; i < blocks.n; i++) {
        const size_t size = size_of(blocks, i);
        widths[i] = width_at(low, log_of(logs, i));
        if (widths[i] == width_at(high, log_of(logs, i)) || left == 0)
            continue;
        /* Next in line for a bit. */
        if (size <= left) {
            widths[i]++;
            left -= size;
        } else {
            split = (fq_bit_split){.block = i, .values = left};
            left = 0;
        }
    }
    return split;
}

double fq_budget_error(const float *x, size_t n, uint8_t width) {
    double error = 0.0;
    if (width <= 1) {
        const float mean = width == 0 ? 0.0f : fq_sign_scale(x, n);
        for (size_t i = 0; i < n; i++)
            error += ((double)fabsf(x[i]) - (double)mean) * ((double)fabsf(x[i]) - (double)mean);
        return error;
    }
    const int32_t levels = fq_block_levels(width);
    const float   scale = fq_block_scale((double)fq_block_peak(x, n), width, levels);
    const float   divisor = scale > 0.0f ? scale : 1.0f;
    for (size_t i = 0; i < n; i++) {
        const double d = (double)x[i] - (double)scale * (double)lrintf(x[i] / divisor);
        error += d * d;
    }
    return error;
}

static double error_at(const float *x, fq_blocks blocks, size_t block, uint8_t width) {
    const size_t size = size_of(blocks, block);
    return fq_budget_error(x + blocks.ends[block] - size, size, width);
}

/* One proposal: a bit from block i to block j, taken with probability min(1, exp(-dJ / T)). */
static void propose(const float *x, fq_blocks blocks, fq_bit_split split, double temperature,
                    fq_rng *rng, uint8_t *widths) {
    const size_t  i = fq_rng_below(rng, (uint32_t)blocks.n);
    const size_t  j = fq_rng_below(rng, (uint32_t)blocks.n);
    const double  chance = fq_rng_uniform_double(rng);
    const uint8_t from = widths[i] & WIDTH, to = widths[j] & WIDTH;
    const bool    whole = split.values == 0 || (i != split.block && j != split.block);
    if (i == j || from == 0 || to == MOST || !whole || size_of(blocks, i) != size_of(blocks, j))
        return;
    const double change = error_at(x, blocks, i, from - 1) - error_at(x, blocks, i, from) +
                          error_at(x, blocks, j, (uint8_t)(to + 1)) - error_at(x, blocks, j, to);
    if (!(change <= 0.0) && !(chance < exp(-change / temperature)))
        return;
    widths[i]--;
    widths[j]++;
}

void fq_budget_anneal(const float *x, fq_blocks blocks, fq_bit_split split, fq_rng *rng,
                      uint8_t *widths) {
    if (blocks.n < 2 || blocks.n > UINT32_MAX / STEPS_PER_BLOCK)
        return;
    double begin = 0.0, end = 0.0;
    for (size_t i = 0; i < blocks.n; i++) {
        begin += error_at(x, blocks, i, widths[i]);
        widths[i] |= (uint8_t)(widths[i] << SHIFT);
    }
    /* From a tenth of the mean error of a block, in equal ratios, to a thousandth of that. */
    const size_t steps = STEPS_PER_BLOCK * blocks.n;
    const double hot = 0.1 * begin / (double)blocks.n;
    for (size_t s = 0; s < steps; s++)
        propose(x, blocks, split, hot * pow(1e-3, (double)s / (double)steps), rng, widths);
    for (size_t i = 0; i < blocks.n; i++)
        end += error_at(x, blocks, i, widths[i] & WIDTH);
    const bool better = end < begin;
    for (size_t i = 0; i < blocks.n; i++)
        widths[i] = better ? widths[i] & WIDTH : widths[i] >> SHIFT;
}
