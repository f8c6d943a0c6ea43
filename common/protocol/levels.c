#include "protocol/levels.h"

#include <math.h>

uint64_t fq_example_bucket(uint64_t examples) {
    uint64_t bucket = 1;
    while (bucket < examples && bucket <= UINT64_MAX / 2)
        bucket *= 2;
    return bucket;
}

int32_t fq_levels_most(uint8_t bits) {
    return ((int32_t)1 << (bits - 1)) - 1;
}

int32_t fq_levels_of(const fq_levels *levels, uint64_t examples, uint8_t bits) {
    if (levels->all == 0)
        return 0;
    double q = (double)levels->all;
    if (levels->factor > 0.0)
        q = round(levels->factor * pow((double)fq_example_bucket(examples), 2.0 / 3.0));
    return (int32_t)fmin(fmax(q, 1.0), (double)fq_levels_most(bits));
}

uint8_t fq_level_bits(int32_t levels) {
    uint8_t bits = 2;
    while (fq_levels_most(bits) < levels)
        bits++;
    return bits;
}

double fq_level_factor(int32_t levels, const uint64_t *examples, size_t n) {
    double total = 0.0, a = 0.0, c = 0.0;
    for (size_t k = 0; k < n; k++)
        total += (double)examples[k];
    for (size_t k = 0; k < n; k++) {
        const double w = (double)examples[k] / total;
        a += pow(w, 2.0 / 3.0);
        c += w * w / ((double)levels * (double)levels);
    }
    return sqrt(a / c) / pow(total, 2.0 / 3.0);
}

void fq_level_history_begin(fq_level_history *history, const fq_level_rule *rule) {
    *history = (fq_level_history){.levels = (int32_t)rule->levels};
}

void fq_level_history_add(fq_level_history *history, const fq_level_rule *rule, int32_t most,
                          double loss) {
    const uint32_t t = history->losses++, patience = (uint32_t)rule->patience;
    const uint32_t slots = patience + 1;
    const double   before = t == 0 ? loss : history->smoothed[(t - 1) % slots];
    const double   now = rule->smoothing * before + (1.0 - rule->smoothing) * loss;
    history->smoothed[t % slots] = now;
    if (t - history->changed < patience || !(now >= history->smoothed[(t - patience) % slots]))
        return;
    history->levels = 2 * history->levels < most ? 2 * history->levels : most;
    history->changed = t;
}
