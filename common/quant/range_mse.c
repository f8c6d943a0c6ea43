/* The best of 100 ranges by squared error, on the asymmetric grid each at several zero points, for
 * one tensor (range_search.c does the work). */
#include "quant/range_impl.h"

static fq_grid fit(const fq_range_options *options, fq_grid_kind kind, int bits, const float *x,
                   size_t n, float *scratch) {
    (void)scratch;
    double          error[FQ_MAX_CANDIDATES];
    fq_range_search search;
    fq_range_search_begin(&search, kind, bits, error);
    fq_range_search_widen(&search, x, n);
    if (search.low < 0.0f)
        search.low -= (float)options->margin;
    search.high += (float)options->margin;
    fq_range_search_add(&search, x, n);
    return fq_range_search_best(&search);
}

const fq_range_rule fq_range_mse = {
    .name = "mse",
    .summary = "the range with the least squared error, of 100 candidates",
    .fit = fit,
};
