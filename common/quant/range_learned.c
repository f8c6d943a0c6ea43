/* A step that is trained: LSQ's initial value D = 2 mean|x| / sqrt(Q_P), Q_P the highest code.
 * Two levels have Q_P = 0; with 1 in its place the levels are +-mean|x|, the least squared error.
 * Source: Esser et al., "Learned step size quantization", ICLR 2020, section 2.1. */
#include "quant/range_impl.h"

#include <math.h>

static fq_grid fit(const fq_range_options *options, fq_grid_kind kind, int bits, const float *x,
                   size_t n, float *scratch) {
    if (kind == FQ_GRID_ASYMMETRIC) /* has no single step to learn */
        return fq_range_minmax.fit(options, kind, bits, x, n, scratch);
    int32_t low, high;
    fq_grid_codes(kind, bits, &low, &high);
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += (double)fabsf(x[i]);
    double step = 2.0 * sum / (double)n / sqrt(fmax((double)high, 1.0));
    return fq_grid_of_step(kind, bits, (float)step);
}

const fq_range_rule fq_range_learned = {
    .name = "learned",
    .summary = "the step is a parameter, trained with the weights (LSQ)",
    .fit = fit,
    .learned = true,
};
