#include "base/rng.h"
#include "grid_codes.h"
#include "suite.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N = 8, MANY = 4096 };
static const float        W[N] = {-1.0f, -0.6f, -0.25f, -0.1f, 0.0f, 0.05f, 0.3f, 0.9f};
static const fq_grid_kind KINDS[] = {FQ_GRID_SIGNED, FQ_GRID_NARROW, FQ_GRID_UNSIGNED,
                                     FQ_GRID_ASYMMETRIC};
enum { N_KINDS = sizeof KINDS / sizeof KINDS[0] };

static void normal_values(float *x, size_t n, uint32_t step) {
    fq_rng rng = fq_rng_stream(1, FQ_RNG_DATA, 0, 0, step, 0);
    fq_rng_fill_normal(&rng, x, n);
}

static bool same_values(const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

static bool same_grid(fq_grid a, fq_grid b) {
    return a.step == b.step && a.low == b.low && a.high == b.high && a.offset == b.offset;
}

static double square_error(const float *x, const fq_grid *grid, size_t n) {
    return fq_kernels_get()->quantization_error(n, x, grid);
}

static void test_codes(void) {
    static const struct {
        fq_grid_kind kind;
        int          bits;
        int32_t      low, high;
    } rows[] = {
        {FQ_GRID_SIGNED, 8, -128, 127}, {FQ_GRID_SIGNED, 2, -2, 1},  {FQ_GRID_SIGNED, 1, -1, 0},
        {FQ_GRID_NARROW, 8, -127, 127}, {FQ_GRID_NARROW, 2, -1, 1},  {FQ_GRID_NARROW, 1, -1, 0},
        {FQ_GRID_UNSIGNED, 8, 0, 255},  {FQ_GRID_UNSIGNED, 1, 0, 1}, {FQ_GRID_ASYMMETRIC, 4, 0, 15},
        {FQ_GRID_ASYMMETRIC, 1, 0, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int32_t low, high;
        fq_grid_codes(rows[i].kind, rows[i].bits, &low, &high);
        CU_ASSERT_EQUAL(low, rows[i].low);
        CU_ASSERT_EQUAL(high, rows[i].high);
    }
}

static void test_golden_minmax(void) {
    static const struct {
        int     bits;
        double  step;
        int32_t codes[N];
        double  mean_error;
    } rows[] = {
        {8, 0.007874015748, {-127, -76, -32, -13, 0, 6, 38, 114}, 3.216256e-06},
        {4, 0.142857142857, {-7, -4, -2, -1, 0, 0, 2, 6}, 1.058673e-03},
        {3, 0.333333333333, {-3, -2, -1, 0, 0, 0, 1, 3}, 4.375000e-03},
        {2, 1.0, {-1, -1, 0, 0, 0, 0, 0, 1}, 4.187500e-02},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fq_grid grid = fq_grid_of_range(FQ_GRID_SIGNED, rows[i].bits, -1.0f, 0.9f);
        int32_t codes[N];
        grid_codes(&grid, W, N, 0, codes);
        CU_ASSERT_DOUBLE_EQUAL(grid.step, rows[i].step, 1e-7 * rows[i].step);
        CU_ASSERT_EQUAL(memcmp(codes, rows[i].codes, sizeof codes), 0);
        CU_ASSERT_DOUBLE_EQUAL(square_error(W, &grid, N) / N, rows[i].mean_error,
                               1e-5 * rows[i].mean_error);
    }
}

static void test_asymmetric(void) {
    /* D = 1.9 / 15, z = rne(1 / D) = rne(7.894...) = 8. */
    fq_grid grid = fq_grid_of_range(FQ_GRID_ASYMMETRIC, 4, -1.0f, 0.9f);
    CU_ASSERT_DOUBLE_EQUAL(grid.step, 1.9 / 15.0, 1e-7);
    CU_ASSERT_EQUAL(grid.low, -8.0f);
    CU_ASSERT_EQUAL(grid.high, 7.0f);
    static const int32_t expected[N] = {0, 3, 6, 7, 8, 8, 10, 15};
    int32_t              codes[N];
    grid_codes(&grid, W, N, 8, codes);
    CU_ASSERT_EQUAL(memcmp(codes, expected, sizeof codes), 0);
    /* Zero is forced into a range that lies on one side of it. */
    grid = fq_grid_of_range(FQ_GRID_ASYMMETRIC, 2, 2.0f, 3.0f);
    CU_ASSERT_EQUAL(grid.low, 0.0f);
    CU_ASSERT_EQUAL(grid.step, 1.0f);
    grid = fq_grid_of_range(FQ_GRID_ASYMMETRIC, 2, -3.0f, -2.0f);
    CU_ASSERT_EQUAL(grid.low, -3.0f);
    CU_ASSERT_EQUAL(grid.high, 0.0f);
}

static void test_two_levels(void) {
    for (int i = 0; i < 2; i++) {
        fq_grid grid = fq_grid_of_range(KINDS[i], 1, -0.5f, 2.0f);
        CU_ASSERT_EQUAL(grid.step, 2.0f);
        const float x[4] = {-7.0f, -0.01f, 0.01f, 1.5f}, expected[4] = {-1.0f, -1.0f, 1.0f, 1.0f};
        float       y[4];
        int32_t     codes[4];
        fq_weight_quantize(&grid, 1, x, 4, y);
        grid_codes(&grid, x, 4, 0, codes);
        CU_ASSERT_TRUE(same_values(y, expected, 4));
        CU_ASSERT(codes[0] == -1 && codes[1] == -1 && codes[2] == 0 && codes[3] == 0);
    }
}

/* Idempotent, monotone, in its bounds, within half a step where nothing is clipped. */
static void test_properties(void) {
    float   x[MANY], y[MANY], z[MANY];
    int32_t codes[MANY];
    for (size_t i = 0; i < MANY; i++)
        x[i] = -3.0f + 6.0f * (float)i / MANY;
    for (size_t k = 0; k < N_KINDS; k++)
        for (int bits = 1; bits <= FQ_MAX_BITS; bits++) {
            fq_grid grid = fq_grid_of_range(KINDS[k], bits, -1.7f, 1.3f);
            int32_t low, high, wrong = 0,
                               zero = KINDS[k] == FQ_GRID_ASYMMETRIC ? -(int32_t)grid.low : 0;
            fq_grid_codes(KINDS[k], bits, &low, &high);
            fq_weight_quantize(&grid, 1, x, MANY, y);
            fq_weight_quantize(&grid, 1, y, MANY, z);
            grid_codes(&grid, x, MANY, zero, codes);
            wrong += !same_values(y, z, MANY);
            for (size_t i = 0; i < MANY; i++) {
                float v = x[i] / grid.step - grid.offset;
                bool  inside = v >= grid.low && v <= grid.high;
                wrong += i > 0 && y[i] < y[i - 1];
                wrong += codes[i] < low || codes[i] > high;
                wrong += y[i] != grid.step * ((float)(codes[i] - zero) + grid.offset);
                wrong += inside && fabsf(x[i] - y[i]) > 0.5f * grid.step * (1.0f + 1e-5f);
            }
            if (wrong != 0)
                fprintf(stderr, "%s, %d bits: %d violations\n", fq_grid_names[KINDS[k]], bits,
                        wrong);
            CU_ASSERT_EQUAL(wrong, 0);
        }
}

static void test_negation(void) {
    float x[MANY], y[MANY];
    normal_values(x, MANY, 2);
    for (int bits = 1; bits <= FQ_MAX_BITS; bits++) {
        fq_grid grid = fq_grid_of_range(FQ_GRID_NARROW, bits, -2.0f, 2.0f);
        int     wrong = 0;
        for (size_t i = 0; i < MANY; i++) {
            const float both[2] = {x[i], -x[i]};
            fq_weight_quantize(&grid, 1, both, 2, y);
            wrong += y[0] != -y[1];
        }
        CU_ASSERT_EQUAL(wrong, 0);
    }
}

static void test_doubling(void) {
    float x[MANY], twice[MANY], y[MANY], z[MANY];
    normal_values(x, MANY, 3);
    for (size_t i = 0; i < MANY; i++)
        twice[i] = 2.0f * x[i];
    const fq_range_rule *minmax = fq_range_find("minmax");
    for (size_t k = 0; k < N_KINDS; k++)
        for (int bits = 1; bits <= FQ_MAX_BITS; bits++) {
            fq_range_options options = {0};
            fq_grid          grid = minmax->fit(&options, KINDS[k], bits, x, MANY, NULL);
            fq_grid          doubled = minmax->fit(&options, KINDS[k], bits, twice, MANY, NULL);
            CU_ASSERT_EQUAL(doubled.step, 2.0f * grid.step);
            fq_weight_quantize(&grid, 1, x, MANY, y);
            fq_weight_quantize(&doubled, 1, twice, MANY, z);
            int wrong = 0;
            for (size_t i = 0; i < MANY; i++)
                wrong += z[i] != 2.0f * y[i];
            CU_ASSERT_EQUAL(wrong, 0);
        }
}

/* Levels stay finite and steps positive at the ends of the floats. */
static void test_extremes(void) {
    static const float ranges[][2] = {
        {0, 0},       {-FLT_MAX, FLT_MAX}, {0, FLT_MAX}, {-FLT_MAX, 0},
        {-1e-30f, 0}, {0, FLT_TRUE_MIN},   {5, 5},       {-5, -5}};
    for (size_t k = 0; k < N_KINDS; k++)
        for (int bits = 1; bits <= FQ_MAX_BITS; bits++)
            for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
                fq_grid grid = fq_grid_of_range(KINDS[k], bits, ranges[i][0], ranges[i][1]);
                CU_ASSERT(grid.step >= 1e-8f && grid.low <= 0.0f && grid.high >= 0.0f &&
                          grid.low < grid.high);
                CU_ASSERT(isfinite(grid.step * (grid.low - 1.0f)) &&
                          isfinite(grid.step * (grid.high + 1.0f)));
            }
    CU_ASSERT_EQUAL(fq_grid_of_step(FQ_GRID_SIGNED, 4, 0.0f).step, 1e-8f);
    CU_ASSERT_EQUAL(fq_grid_of_step(FQ_GRID_SIGNED, 4, -1.0f).step, 1e-8f);
    CU_ASSERT_EQUAL(fq_grid_of_step(FQ_GRID_NARROW, 4, 0.25f).step, 0.25f);
}

/* No element is outside of a minmax grid of more than one bit, whatever the rounding of max|x| / p.
 */
static void test_minmax_mask_is_all_ones(void) {
    float x[MANY];
    normal_values(x, MANY, 4);
    int masked = 0;
    for (int bits = 2; bits <= FQ_MAX_BITS; bits++)
        for (size_t i = 0; i < MANY; i++) {
            fq_grid grid = fq_grid_of_range(FQ_GRID_SIGNED, bits, -fabsf(x[i]), fabsf(x[i]));
            float   both[2] = {x[i], -x[i]}, g[2] = {1.0f, 1.0f};
            fq_weight_pull(&grid, 1, both, 2, 0.0f, g);
            masked += g[0] != 1.0f || g[1] != 1.0f;
        }
    CU_ASSERT_EQUAL(masked, 0);
}

static void test_straight_through_mask(void) {
    /* D of half the range: p D = 0.5, n D = -8/14 (4 bits). */
    fq_grid grid = fq_grid_of_step(FQ_GRID_SIGNED, 4, 0.5f / 7.0f);
    float   g[N], x[MANY], big[MANY];
    for (size_t i = 0; i < N; i++)
        g[i] = (float)i - 3.5f;
    fq_weight_pull(&grid, 1, W, N, 0.0f, g);
    static const float expected[N] = {0.0f, 0.0f, -1.5f, -0.5f, 0.5f, 1.5f, 2.5f, 0.0f};
    CU_ASSERT_TRUE(same_values(g, expected, N));
    normal_values(x, MANY, 5);
    for (size_t i = 0; i < MANY; i++)
        big[i] = 1.0f;
    fq_weight_pull(&grid, 1, x, MANY, 0.0f, big);
    int wrong = 0;
    for (size_t i = 0; i < MANY; i++)
        wrong += (big[i] == 1.0f) != (x[i] / grid.step >= -8.0f && x[i] / grid.step <= 7.0f);
    CU_ASSERT_EQUAL(wrong, 0);
    /* Two levels: |x| up to D / 2, the levels themselves. */
    grid = fq_grid_of_step(FQ_GRID_SIGNED, 1, 2.0f);
    float       two[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    const float at[4] = {-1.0f, 1.0f, -1.01f, 1.01f};
    fq_weight_pull(&grid, 1, at, 4, 0.0f, two);
    CU_ASSERT(two[0] == 1.0f && two[1] == 1.0f && two[2] == 0.0f && two[3] == 0.0f);
}

static void test_element_wise_scaling(void) {
    fq_grid     grid = fq_grid_of_step(FQ_GRID_SIGNED, 4, 0.5f);
    const float x[6] = {0.6f, 0.6f, -0.6f, 0.9f, 0.5f, 9.0f};
    float       g[6] = {1.0f, -1.0f, 2.0f, 1.0f, 3.0f, 1.0f};
    /* r = x / D - rne(x / D): 0.2, 0.2, -0.2, -0.2, 0, clipped; g (1 + 0.2 sign(g) r) */
    const double expected[6] = {1.04, -0.96, 1.92, 0.96, 3.0, 0.0};
    fq_weight_pull(&grid, 1, x, 6, 0.2f, g);
    for (int i = 0; i < 6; i++)
        CU_ASSERT_DOUBLE_EQUAL(g[i], expected[i], 1e-6);
}

static void test_golden_learned_step(void) {
    fq_grid            grid = fq_grid_of_step(FQ_GRID_SIGNED, 3, 0.25f);
    static const float expected[N] = {-1.0f, -0.5f, -0.25f, 0.0f, 0.0f, 0.0f, 0.25f, 0.75f};
    static const float slopes[N] = {-4.0f, 0.4f, 0.0f, 0.4f, 0.0f, -0.2f, -0.2f, 3.0f};
    float              y[N], ones[N];
    fq_weight_quantize(&grid, 1, W, N, y);
    for (size_t i = 0; i < N; i++) {
        float one = 1.0f;
        ones[i] = one;
        CU_ASSERT_EQUAL(y[i], expected[i]);
        CU_ASSERT_DOUBLE_EQUAL(fq_step_gradient(&grid, &W[i], &one, 1, false), slopes[i], 1e-6);
    }
    CU_ASSERT_DOUBLE_EQUAL(fq_step_gradient(&grid, W, ones, N, true), -0.122474487, 1e-7);
    CU_ASSERT_DOUBLE_EQUAL(fq_step_gradient(&grid, W, ones, N, false) * 0.204124145, -0.122474487,
                           1e-7);
    fq_range_options options = {0};
    fq_grid          first = fq_range_find("learned")->fit(&options, FQ_GRID_SIGNED, 3, W, N, NULL);
    CU_ASSERT_DOUBLE_EQUAL(first.step, 0.461880215, 1e-7);
}

/* Where rounding does not move, x_hat is D times a constant: the clipped part of the slope is exact
 * and agrees with finite differences of the quantizer. Two levels are clipped everywhere but
 * between them. */
static void test_step_gradient_of_clipped(void) {
    for (int bits = 1; bits <= 4; bits++) {
        const float x[4] = {-9.0f, 8.0f, -30.0f, 4.5f}, g[4] = {1.0f, -2.0f, 0.5f, 3.0f};
        double      loss[2];
        for (int side = 0; side < 2; side++) {
            fq_grid grid = fq_grid_of_step(FQ_GRID_SIGNED, bits, side == 0 ? 0.25f : 0.5f);
            float   y[4];
            fq_weight_quantize(&grid, 1, x, 4, y);
            loss[side] = 0.0;
            for (int i = 0; i < 4; i++)
                loss[side] += (double)g[i] * (double)y[i];
        }
        fq_grid grid = fq_grid_of_step(FQ_GRID_SIGNED, bits, 0.375f);
        CU_ASSERT_DOUBLE_EQUAL(fq_step_gradient(&grid, x, g, 4, false), (loss[1] - loss[0]) / 0.25,
                               1e-9);
    }
    /* Between the two levels: slope (sign(x) / 2) - x / D. */
    fq_grid grid = fq_grid_of_step(FQ_GRID_SIGNED, 1, 1.0f);
    float   x = 0.2f, one = 1.0f;
    CU_ASSERT_DOUBLE_EQUAL(fq_step_gradient(&grid, &x, &one, 1, true), 0.3, 1e-6);
}

static void test_per_channel(void) {
    enum { CHANNELS = 4, SIZE = 16, ALL = CHANNELS * SIZE };
    float x[ALL], y[ALL], g[ALL];
    normal_values(x, ALL, 6);
    for (size_t i = 0; i < ALL; i++)
        x[i] *= (float)(1 << i / SIZE);
    fq_weight_format format = {
        .rule = fq_range_find("minmax"), .grid = FQ_GRID_SIGNED, .granularity = FQ_PER_CHANNEL};
    fq_grid grids[CHANNELS];
    size_t  groups = fq_weight_groups(&format, CHANNELS);
    CU_ASSERT_EQUAL_FATAL(groups, CHANNELS);
    fq_weight_fit(&format, 4, x, ALL, CHANNELS, NULL, grids);
    fq_weight_quantize(grids, groups, x, ALL, y);
    for (size_t c = 0; c < CHANNELS; c++) {
        float   low, high;
        fq_grid own;
        fq_kernels_get()->min_max(SIZE, x + c * SIZE, &low, &high);
        own = fq_grid_of_range(FQ_GRID_SIGNED, 4, low, high);
        CU_ASSERT_TRUE(same_grid(own, grids[c]));
        float alone[SIZE];
        fq_weight_quantize(&own, 1, x + c * SIZE, SIZE, alone);
        CU_ASSERT_TRUE(same_values(alone, y + c * SIZE, SIZE));
    }
    /* Shrink one channel's grid: only its elements are masked. */
    grids[2].step *= 0.25f;
    for (size_t i = 0; i < ALL; i++)
        g[i] = 1.0f;
    fq_weight_pull(grids, groups, x, ALL, 0.0f, g);
    size_t masked[CHANNELS] = {0};
    for (size_t i = 0; i < ALL; i++)
        masked[i / SIZE] += g[i] == 0.0f;
    CU_ASSERT(masked[0] == 0 && masked[1] == 0 && masked[2] > 0 && masked[3] == 0);
    format.granularity = FQ_PER_TENSOR;
    CU_ASSERT_EQUAL(fq_weight_groups(&format, CHANNELS), 1);
    fq_weight_quantize(grids, 1, x, ALL, x); /* in place */
}

/* Straight-through descent on 0.5 (Q(w) - c)^2 parks the latent weight at the decision boundary
 * next to c: never farther from c than half a step, and D^2 / 12 from it in the mean square. That
 * is the floor which quantized training cannot go below, four times as high for each bit less. */
static void test_latent_weights_park_at_the_boundary(void) {
    enum { PROBLEMS = 400, STEPS = 6000 };
    static float c[PROBLEMS], w[PROBLEMS], u[PROBLEMS];
    double       before = 0.0;
    for (int k = 0; k < 3; k++) {
        const float   step = 0.1f * (float)(1 << k), rate = 0.01f;
        const fq_grid grid = fq_grid_of_step(FQ_GRID_SIGNED, 8, step);
        fq_rng        rng = fq_rng_stream(4, FQ_RNG_DATA, 0, 0, 0, 0);
        fq_rng_fill_uniform(&rng, c, PROBLEMS);
        for (size_t i = 0; i < PROBLEMS; i++) {
            c[i] = 4.0f * ((float)i + c[i]) / PROBLEMS - 2.0f; /* uniform, one in each cell */
            w[i] = 0.0f;
        }
        for (int s = 0; s < STEPS; s++) {
            fq_weight_quantize(&grid, 1, w, PROBLEMS, u);
            for (size_t i = 0; i < PROBLEMS; i++)
                w[i] -= rate * (u[i] - c[i]);
        }
        double worst = 0.0, mean = 0.0;
        for (size_t i = 0; i < PROBLEMS; i++) {
            const double distance = fabs((double)w[i] - (double)c[i]);
            worst = fmax(worst, distance);
            mean += distance * distance / PROBLEMS;
        }
        const double d = (double)step;
        CU_ASSERT_TRUE(worst <= 0.5 * d + 0.01 * d);
        CU_ASSERT_DOUBLE_EQUAL(mean, d * d / 12.0, 0.1 * d * d / 12.0);
        CU_ASSERT_TRUE(k == 0 || fabs(mean / before - 4.0) < 0.8);
        before = mean;
    }
}

int main(void) {
    static const fq_case cases[] = {
        {"codes of every kind", test_codes},
        {"golden table of minmax", test_golden_minmax},
        {"zero point of the asymmetric grid", test_asymmetric},
        {"one bit has two levels", test_two_levels},
        {"idempotent, monotone, bounded, half a step", test_properties},
        {"narrow grid is odd", test_negation},
        {"twice the values, twice the step", test_doubling},
        {"zero, equal and extreme ranges", test_extremes},
        {"minmax clips nothing", test_minmax_mask_is_all_ones},
        {"straight-through mask is exact", test_straight_through_mask},
        {"element-wise gradient scaling", test_element_wise_scaling},
        {"golden learned step", test_golden_learned_step},
        {"gradient of a clipping step", test_step_gradient_of_clipped},
        {"one grid per channel", test_per_channel},
        {"latent weights park at the boundary", test_latent_weights_park_at_the_boundary},
        {NULL, NULL},
    };
    return fq_run_suite("grid", cases);
}
