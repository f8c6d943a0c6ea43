#include "round/aggregator_impl.h"

/* Each coordinate's median; with an even number of updates, the mean of the two in the middle.
 * Examples do not weigh: a weight is a number that a client claims. */
static void combine(const void *config, const float *const *x, size_t n, size_t begin, size_t end,
                    float *column, float *out) {
    (void)config;
    for (size_t i = begin; i < end; i++) {
        for (size_t k = 0; k < n; k++)
            column[k] = x[k][i];
        fq_column_sort(column, n);
        out[i] = n % 2 == 1 ? column[n / 2] : 0.5f * (column[n / 2 - 1] + column[n / 2]);
    }
}

const fq_aggregator fq_aggregator_median = {
    .name = "median",
    .summary = "Coordinate-wise median, unweighted",
    .source = "Yin et al. 2018, arXiv 1803.01498, definition 1",
    .keeps = true,
    .combine = combine,
};
