/* The step that would be optimal if the values were normal: a constant times their standard
 * deviation. Smooth in the weights, unlike a search, and blind to outliers, unlike extremes.
 * Source: J. Max, "Quantizing for minimum distortion", IRE Trans. Inf. Theory 6, 1960, table II. */
#include "quant/range_impl.h"

#include <math.h>

const float fq_gauss_steps[FQ_MAX_BITS + 1] = {
    0.0f, 1.5958f, 0.9957f, 0.5860f, 0.3352f, 0.1881f, 0.1041f, 0.0569f, 0.0308f,
};

static fq_grid fit(const fq_range_options *options, fq_grid_kind kind, int bits, const float *x,
                   size_t n, float *scratch) {
    fq_moments moments;
    fq_kernels_get()->moments(n, x, &moments);
    double deviation = sqrt(moments.m2);
    /* Equal values have no spread to scale by, but their extremes are exact. */
    if (deviation <= 1e-6 * fabs(moments.mean))
        return fq_range_minmax.fit(options, kind, bits, x, n, scratch);
    double step = deviation * (double)fq_gauss_steps[bits];
    if (kind != FQ_GRID_ASYMMETRIC)
        return fq_grid_of_step(kind, bits, (float)step);
    double reach = step * (double)((1 << bits) - 1) / 2.0; /* as many steps, around the mean */
    return fq_grid_of_range(kind, bits, (float)(moments.mean - reach),
                            (float)(moments.mean + reach));
}

const fq_range_rule fq_range_gauss = {
    .name = "gauss",
    .summary = "best step for a normal distribution of the same standard deviation",
    .fit = fit,
};
