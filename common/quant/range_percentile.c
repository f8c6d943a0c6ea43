/* The range between the r-th and the (100 - r)-th percentile: a fixed share of outliers is clipped.
 * Between two order statistics the percentile is interpolated linearly. */
#include "quant/range_impl.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static float median_of_three(float a, float b, float c) {
    return fmaxf(fminf(a, b), fminf(fmaxf(a, b), c));
}

/* Quickselect (Hoare 1961) with a three-way partition, so that many equal values cost nothing
 * extra. Leaves the value of that rank in its place, no larger one before and no smaller one behind
 * it. */
static float select_rank(float *x, size_t n, size_t rank) {
    size_t begin = 0, end = n;
    while (end - begin > 1) {
        float  pivot = median_of_three(x[begin], x[begin + (end - begin) / 2], x[end - 1]);
        size_t below = begin, at = begin,
               above = end; /* [begin, below) < pivot, [above, end) > pivot */
        while (at < above) {
            float value = x[at];
            if (value < pivot) {
                x[at++] = x[below];
                x[below++] = value;
            } else if (value > pivot) {
                x[at] = x[--above];
                x[above] = value;
            } else {
                at++;
            }
        }
        if (rank < below)
            end = below;
        else if (rank >= above)
            begin = above;
        else
            return pivot;
    }
    return x[begin];
}

static float percentile_of(float *x, size_t n, double percent) {
    double place = percent / 100.0 * (double)(n - 1);
    size_t rank = (size_t)place;
    double share = place - (double)rank, value = (double)select_rank(x, n, rank);
    if (rank + 1 == n)
        return (float)value;
    float next = x[rank + 1];
    for (size_t i = rank + 2; i < n; i++)
        next = fminf(next, x[i]);
    return (float)(value + share * ((double)next - value));
}

static fq_grid fit(const fq_range_options *options, fq_grid_kind kind, int bits, const float *x,
                   size_t n, float *scratch) {
    assert(options->percentile >= 0.0 && options->percentile < 50.0);
    memcpy(scratch, x, n * sizeof *x);
    float low = percentile_of(scratch, n, options->percentile);
    float high = percentile_of(scratch, n, 100.0 - options->percentile);
    return fq_grid_of_range(kind, bits, low, high);
}

const fq_range_rule fq_range_percentile = {
    .name = "percentile",
    .summary = "a fixed share of the largest and smallest values is clipped",
    .fit = fit,
    .needs_scratch = true,
};
