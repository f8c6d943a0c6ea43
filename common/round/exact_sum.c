#include "round/exact_sum.h"

#include <math.h>

fq_status fq_exact_shift(double max_value, uint64_t max_weight, int *shift) {
    /* |sum| <= max_weight * max_value * 2^shift + rounding must stay below 2^63. */
    int used;
    frexp(max_value * (double)max_weight, &used); /* product < 2^used */
    *shift = 62 - used;
    if (!(max_value > 0.0) || max_weight == 0 || *shift < 16)
        return fq_fail(FQ_EINVAL,
                       "values up to %g with a total weight up to %llu leave %d bits after the "
                       "point in an exact sum; "
                       "at least 16 are needed",
                       max_value, (unsigned long long)max_weight, *shift);
    return FQ_OK;
}

void fq_exact_add(int64_t *sum, const float *x, size_t n, uint64_t weight, double factor,
                  int shift) {
    const double scale = ldexp((double)weight * factor, shift);
    for (size_t i = 0; i < n; i++)
        sum[i] += (int64_t)llrint((double)x[i] * scale);
}

void fq_exact_mean(const int64_t *sum, size_t n, uint64_t weight, int shift, float *mean) {
    const double unit = ldexp(1.0, -shift) / (double)weight;
    for (size_t i = 0; i < n; i++)
        mean[i] = (float)((double)sum[i] * unit);
}

void fq_exact_mean_of_parts(const int64_t *sum, const uint8_t *first_part, size_t n,
                            const uint64_t weight[UINT8_MAX + 1], int shift, float *mean) {
    double unit[UINT8_MAX + 1];
    for (size_t l = 0; l <= UINT8_MAX; l++)
        unit[l] = weight[l] == 0 ? 0.0 : ldexp(1.0, -shift) / (double)weight[l];
    for (size_t i = 0; i < n; i++)
        mean[i] = (float)((double)sum[i] * unit[first_part[i]]);
}
