/* The smallest and largest value of the tensor: nothing is clipped, and one outlier costs all the
 * rest its resolution. */
#include "quant/range_impl.h"

static fq_grid fit(const fq_range_options *options, fq_grid_kind kind, int bits, const float *x,
                   size_t n, float *scratch) {
    (void)options;
    (void)scratch;
    float low, high;
    fq_kernels_get()->min_max(n, x, &low, &high);
    return fq_grid_of_range(kind, bits, low, high);
}

const fq_range_rule fq_range_minmax = {
    .name = "minmax",
    .summary = "smallest and largest value; nothing is clipped",
    .fit = fit,
};
