#include "base/rng.h"
#include "round/exact_sum.h"
#include "suite.h"

#include <math.h>
#include <string.h>

enum { N = 257, TERMS = 40 };

static void fill(float *x, size_t n, uint32_t stream) {
    fq_rng rng = fq_rng_stream(7, FQ_RNG_NOISE, 0, stream, 0, 0);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(fq_rng_normal(&rng) * exp2(8.0 * fq_rng_normal(&rng) / 2.0));
}

static void test_order_does_not_matter(void) {
    static float   x[TERMS][N];
    static int64_t forward[N], backward[N];
    int            shift;
    FQ_ASSERT_OK(fq_exact_shift(1e6, 1000 * TERMS, &shift));
    for (uint32_t k = 0; k < TERMS; k++)
        fill(x[k], N, k);
    for (size_t k = 0; k < TERMS; k++) {
        fq_exact_add(forward, x[k], N, 17 * k + 1, 1.0, shift);
        fq_exact_add(backward, x[TERMS - 1 - k], N, 17 * (TERMS - 1 - k) + 1, 1.0, shift);
    }
    CU_ASSERT_EQUAL(memcmp(forward, backward, sizeof forward), 0);
}

static void test_mean_is_within_the_bound(void) {
    static float   x[TERMS][N];
    static int64_t sum[N];
    static float   mean[N];
    int            shift;
    uint64_t       total = 0;
    for (size_t k = 0; k < TERMS; k++)
        total += k + 1;
    FQ_ASSERT_OK(fq_exact_shift(1e6, total, &shift));
    for (uint32_t k = 0; k < TERMS; k++) {
        fill(x[k], N, k);
        fq_exact_add(sum, x[k], N, k + 1, 1.0, shift);
    }
    fq_exact_mean(sum, N, total, shift, mean);
    for (size_t i = 0; i < N; i++) {
        long double wanted = 0.0L;
        for (size_t k = 0; k < TERMS; k++)
            wanted += (long double)x[k][i] * (long double)(k + 1);
        wanted /= (long double)total;
        /* rounding of the terms, and of the result to float */
        double bound =
            (double)TERMS * ldexp(0.5, -shift) / (double)total + fabs((double)wanted) * 0x1p-24;
        CU_ASSERT_TRUE(fabs((double)((long double)mean[i] - wanted)) <= bound);
    }
}

static void test_extremes_do_not_overflow(void) {
    const double   value = 1024.0;
    const uint64_t weight = 6000;
    float          x[2] = {1024.0f, -1024.0f}, mean[2];
    int64_t        sum[2] = {0, 0};
    int            shift;
    FQ_ASSERT_OK(fq_exact_shift(value, weight, &shift));
    for (int k = 0; k < 6; k++)
        fq_exact_add(sum, x, 2, 1000, 1.0, shift);
    CU_ASSERT_TRUE(sum[0] > 0 && sum[1] < 0);
    fq_exact_mean(sum, 2, weight, shift, mean);
    CU_ASSERT_EQUAL(mean[0], 1024.0f);
    CU_ASSERT_EQUAL(mean[1], -1024.0f);
}

static void test_impossible_bounds_are_refused(void) {
    int shift;
    FQ_ASSERT_FAILS(fq_exact_shift(1e6, UINT64_C(1) << 40, &shift), FQ_EINVAL, "at least 16");
    FQ_ASSERT_FAILS(fq_exact_shift(1.0, 0, &shift), FQ_EINVAL, "total weight up to 0");
    FQ_ASSERT_FAILS(fq_exact_shift((double)NAN, 1, &shift), FQ_EINVAL, "values up to");
}

/* By levels: each sum over its own weight, where all weigh the same the plain mean to the bit, and
 * zero where nobody counts. */
static void test_mean_of_levels(void) {
    static float    x[N], plain[N], mean[N];
    static int64_t  sum[N];
    static uint8_t  level[N];
    static uint64_t weight[UINT8_MAX + 1];
    int             shift;
    FQ_ASSERT_OK(fq_exact_shift(1e6, 30, &shift));
    fill(x, N, 3);
    fq_exact_add(sum, x, N, 7, 1.0, shift);
    fq_exact_mean(sum, N, 30, shift, plain);
    weight[0] = 30;
    fq_exact_mean_of_parts(sum, level, N, weight, shift, mean);
    CU_ASSERT_EQUAL(memcmp(plain, mean, sizeof mean), 0);
    weight[1] = 7;
    for (size_t i = 0; i < N; i++)
        level[i] = (uint8_t)(i % 3);
    fq_exact_mean_of_parts(sum, level, N, weight, shift, mean);
    for (size_t i = 0; i < N; i++) {
        if (i % 3 == 0)
            CU_ASSERT_EQUAL(mean[i], plain[i]);
        if (i % 3 == 1) /* one term of weight 7: itself */
            CU_ASSERT_DOUBLE_EQUAL((double)mean[i], (double)x[i], fabs((double)x[i]) * 1e-6 + 1e-9);
        if (i % 3 == 2)
            CU_ASSERT_EQUAL(mean[i], 0.0f);
    }
}

int main(void) {
    static const fq_case cases[] = {
        {"order does not matter", test_order_does_not_matter},
        {"the mean is within its bound", test_mean_is_within_the_bound},
        {"extremes do not overflow", test_extremes_do_not_overflow},
        {"impossible bounds are refused", test_impossible_bounds_are_refused},
        {"mean of levels", test_mean_of_levels},
        {NULL, NULL},
    };
    return fq_run_suite("exact sum", cases);
}
