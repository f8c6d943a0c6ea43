#include "base/rng.h"
#include "grid_codes.h"
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 8, MANY = 20000 };
static const float            W[N] = {-1.0f, -0.6f, -0.25f, -0.1f, 0.0f, 0.05f, 0.3f, 0.9f};
static const fq_range_options DEFAULTS = {.percentile = 0.01, .margin = 0.0};
static float                  x[MANY], scratch[MANY];
static double                 errors[FQ_MAX_CANDIDATES];

static void normal_values(double deviation, uint32_t step) {
    fq_rng rng = fq_rng_stream(1, FQ_RNG_DATA, 0, 0, step, 0);
    fq_rng_fill_normal(&rng, x, MANY);
    for (size_t i = 0; i < MANY; i++)
        x[i] *= (float)deviation;
}

static fq_grid fit(const char *rule, fq_grid_kind kind, int bits, const float *values, size_t n) {
    return fq_range_find(rule)->fit(&DEFAULTS, kind, bits, values, n, scratch);
}

static bool same_grid(fq_grid a, fq_grid b) {
    return a.step == b.step && a.low == b.low && a.high == b.high && a.offset == b.offset;
}

static double error_of(const float *values, size_t n, fq_grid grid) {
    return fq_kernels_get()->quantization_error(n, values, &grid);
}

static void test_table(void) {
    static const char *const names[] = {"minmax", "percentile", "mse",
                                        "gauss",  "golden",     "learned"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        CU_ASSERT_PTR_NOT_NULL(fq_range_rules[i]);
        if (fq_range_rules[i] == NULL)
            return;
        CU_ASSERT_STRING_EQUAL(fq_range_rules[i]->name, names[i]);
        CU_ASSERT_PTR_EQUAL(fq_range_find(names[i]), fq_range_rules[i]);
        CU_ASSERT_EQUAL(fq_range_rules[i]->learned, strcmp(names[i], "learned") == 0);
        /* Settings number the rules by these lists. */
        CU_ASSERT_STRING_EQUAL(fq_range_names[i], names[i]);
        if (!fq_range_rules[i]->learned)
            CU_ASSERT_STRING_EQUAL(fq_fitted_range_names[i], names[i]);
    }
    CU_ASSERT_PTR_NULL(fq_range_rules[6]);
    CU_ASSERT_PTR_NULL(fq_range_names[6]);
    CU_ASSERT_PTR_NULL(fq_fitted_range_names[5]);
    CU_ASSERT_PTR_NULL(fq_range_find("maxmin"));
}

static void test_golden_mse(void) {
    static const struct {
        int     bits, k;
        double  step;
        int32_t codes[N];
        double  error;
    } rows[] = {
        {4, 59, 0.126428571429, {-8, -5, -2, -1, 0, 0, 2, 7}, 6.817857e-03},
        {3, 62, 0.31, {-3, -2, -1, 0, 0, 0, 1, 3}, 2.240000e-02},
        {2, 56, 0.84, {-1, -1, 0, 0, 0, 0, 0, 1}, 2.518000e-01},
    };
    const fq_range_options options = {.margin = 0.5};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fq_grid grid =
            fq_range_find("mse")->fit(&options, FQ_GRID_SIGNED, rows[i].bits, W, N, NULL);
        int32_t codes[N];
        grid_codes(&grid, W, N, 0, codes);
        CU_ASSERT_DOUBLE_EQUAL(grid.step, rows[i].step, 2e-7 * rows[i].step);
        CU_ASSERT_DOUBLE_EQUAL(grid.step * grid.high, 1.5 * rows[i].k / 100.0, 1e-6);
        CU_ASSERT_EQUAL(memcmp(codes, rows[i].codes, sizeof codes), 0);
        CU_ASSERT_DOUBLE_EQUAL(error_of(W, N, grid), rows[i].error, 1e-5 * rows[i].error);
    }
}

/* The search never loses to minmax, which is its last candidate, and no candidate beats it. */
static void test_mse_is_best(void) {
    normal_values(0.1, 1);
    static const fq_grid_kind kinds[] = {FQ_GRID_SIGNED, FQ_GRID_NARROW, FQ_GRID_UNSIGNED,
                                         FQ_GRID_ASYMMETRIC};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        for (int bits = 1; bits <= FQ_MAX_BITS; bits++) {
            double best = error_of(x, MANY, fit("mse", kinds[i], bits, x, MANY));
            double minmax = error_of(x, MANY, fit("minmax", kinds[i], bits, x, MANY));
            CU_ASSERT(best <= minmax * (1.0 + 1e-9));
        }
    /* At one bit, levels +-mean|x| are optimal: error var - mean|x|^2. The search comes within its
     * resolution. */
    fq_moments moments;
    double     magnitude = 0.0;
    fq_kernels_get()->moments(MANY, x, &moments);
    for (size_t i = 0; i < MANY; i++)
        magnitude += (double)fabsf(x[i]) / MANY;
    double optimum = moments.m2 + moments.mean * moments.mean - magnitude * magnitude;
    CU_ASSERT_DOUBLE_EQUAL(error_of(x, MANY, fit("mse", FQ_GRID_SIGNED, 1, x, MANY)) / MANY,
                           optimum, 1e-3 * optimum);
    CU_ASSERT_DOUBLE_EQUAL(error_of(x, MANY, fit("learned", FQ_GRID_SIGNED, 1, x, MANY)) / MANY,
                           optimum, 1e-5 * optimum);
    /* Two values are two levels. */
    const float two[4] = {-0.7f, 0.7f, 0.7f, -0.7f};
    CU_ASSERT_DOUBLE_EQUAL(fit("mse", FQ_GRID_SIGNED, 1, two, 4).step, 1.4, 1e-6);
}

/* On the asymmetric grid every width is tried at every zero point up to a quarter of the codes
 * away: against a plain search with the quantizer itself, on values that lie to one side. */
static void test_mse_moves_zero(void) {
    for (int bits = 1; bits <= FQ_MAX_BITS; bits++) {
        normal_values(0.2, (uint32_t)(40 + bits));
        for (size_t i = 0; i < MANY; i++)
            x[i] = expf(3.0f * x[i]) - 0.9f; /* a long tail upwards */
        const size_t  n = 500;
        const int     quarter = (1 << bits) / 4, last = quarter > 0 ? quarter - 1 : 0;
        const fq_grid found = fit("mse", FQ_GRID_ASYMMETRIC, bits, x, n);
        float         low, high;
        double        best = HUGE_VAL;
        fq_kernels_get()->min_max(n, x, &low, &high);
        for (int k = 1; k <= 100; k++)
            for (int shift = -last; shift <= last; shift++) {
                fq_grid grid = fq_grid_of_range(FQ_GRID_ASYMMETRIC, bits, (float)k / 100.0f * low,
                                                (float)k / 100.0f * high);
                grid.low += (float)shift;
                grid.high += (float)shift;
                if (grid.low > 0.0f || grid.high < 0.0f)
                    continue;
                best = fmin(best, error_of(x, n, grid));
            }
        CU_ASSERT_DOUBLE_EQUAL(error_of(x, n, found), best, 1e-6 * best);
        CU_ASSERT_TRUE(found.low <= 0.0f && found.high >= 0.0f);
        CU_ASSERT_EQUAL(found.high - found.low, (float)((1 << bits) - 1));
    }
}

/* A uniform tensor with one value far below it: the best range cuts that value and no other. */
static void test_golden_mse_asymmetric(void) {
    static const struct {
        int    bits;
        double step, zero, error;
    } rows[] = {
        {3, 0.154142857143, 1, 0.529171824},
        {4, 0.0745333333333, 2, 0.1406567883},
        {5, 0.0410967741935, 7, 0.03601073205},
    };
    float values[258] = {-0.3f};
    for (int i = 0; i <= 256; i++)
        values[i + 1] = (float)i / 256.0f;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const fq_grid grid = fit("mse", FQ_GRID_ASYMMETRIC, rows[i].bits, values, 258);
        CU_ASSERT_DOUBLE_EQUAL(grid.step, rows[i].step, 1e-6 * rows[i].step);
        CU_ASSERT_EQUAL(grid.low, -rows[i].zero);
        CU_ASSERT_DOUBLE_EQUAL(error_of(values, 258, grid), rows[i].error, 1e-5 * rows[i].error);
    }
}

/* Of many values the error has one minimum, which the golden section finds as well as a hundred
 * candidates do, on every grid; of few it is a local one. On the asymmetric grid it leaves the zero
 * point where it is, which costs little when the values lie evenly around zero. */
static void test_golden_section(void) {
    static const fq_grid_kind kinds[] = {FQ_GRID_SIGNED, FQ_GRID_NARROW, FQ_GRID_ASYMMETRIC};
    for (int bits = 1; bits <= 8; bits++)
        for (size_t k = 0; k < 3; k++) {
            normal_values(0.3, (uint32_t)bits);
            const double best = error_of(x, MANY, fit("mse", kinds[k], bits, x, MANY));
            const double found = error_of(x, MANY, fit("golden", kinds[k], bits, x, MANY));
            CU_ASSERT_TRUE(found <= (kinds[k] == FQ_GRID_ASYMMETRIC ? 1.1 : 1.003) * best);
            CU_ASSERT_TRUE(found >= 0.98 * best);
        }
    for (int bits = 2; bits <= 8; bits++) {
        const fq_range_options margin = {.margin = 0.5};
        const fq_grid          grid =
            fq_range_find("golden")->fit(&margin, FQ_GRID_SIGNED, bits, W, N, NULL);
        CU_ASSERT_TRUE(error_of(W, N, grid) <
                       2.0 * error_of(W, N, fit("minmax", FQ_GRID_SIGNED, bits, W, N)));
        /* Within [M/100, M], M = 1.5. */
        CU_ASSERT_TRUE(grid.step * grid.high >= 0.015f && grid.step * grid.high <= 1.5001f);
    }
}

static void test_search_in_pieces(void) {
    normal_values(0.5, 2);
    for (size_t i = 0; i < MANY; i++)
        x[i] += 0.3f;
    static const fq_grid_kind kinds[] = {FQ_GRID_SIGNED, FQ_GRID_UNSIGNED, FQ_GRID_ASYMMETRIC};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (int bits = 1; bits <= FQ_MAX_BITS; bits += 3) {
            fq_range_search search;
            fq_range_search_begin(&search, kinds[k], bits, errors);
            for (size_t begin = 0; begin < MANY; begin += 777)
                fq_range_search_widen(&search, x + begin, MANY - begin < 777 ? MANY - begin : 777);
            for (size_t begin = 0; begin < MANY; begin += 777)
                fq_range_search_add(&search, x + begin, MANY - begin < 777 ? MANY - begin : 777);
            fq_grid pieces = fq_range_search_best(&search),
                    whole = fit("mse", kinds[k], bits, x, MANY);
            CU_ASSERT_TRUE(same_grid(pieces, whole));
        }
    fq_range_search nothing;
    fq_range_search_begin(&nothing, FQ_GRID_UNSIGNED, 8, errors);
    fq_range_search_widen(&nothing, x, 0);
    fq_range_search_add(&nothing, x, 0);
    CU_ASSERT(fq_range_search_best(&nothing).step > 0.0f);
}

static void test_gauss(void) {
    static const double factors[] = {1.5958, .9957, .5860, .3352, .1881, .1041, .0569, .0308};
    const float         four[4] = {-3.0f, -1.0f, 1.0f, 3.0f}; /* population deviation sqrt(5) */
    for (int bits = 1; bits <= FQ_MAX_BITS; bits++)
        CU_ASSERT_DOUBLE_EQUAL(fit("gauss", FQ_GRID_SIGNED, bits, four, 4).step,
                               factors[bits - 1] * sqrt(5.0), 1e-6);
    /* On a normal tensor the step is as good as the best of the search, within its resolution. */
    normal_values(0.02, 3);
    for (int bits = 1; bits <= FQ_MAX_BITS; bits++) {
        double gauss = error_of(x, MANY, fit("gauss", FQ_GRID_SIGNED, bits, x, MANY));
        double best = error_of(x, MANY, fit("mse", FQ_GRID_SIGNED, bits, x, MANY));
        if (gauss > best * 1.05)
            fprintf(stderr, "gauss at %d bits: %g, best %g\n", bits, gauss, best);
        CU_ASSERT(gauss <= best * 1.05);
    }
    /* Its asymmetric form lies around the mean. */
    for (size_t i = 0; i < MANY; i++)
        x[i] += 0.01f;
    fq_grid grid = fit("gauss", FQ_GRID_ASYMMETRIC, 4, x, MANY);
    CU_ASSERT_DOUBLE_EQUAL(grid.step, 0.3352 * 0.02, 2e-4);
    CU_ASSERT(grid.high + grid.low > 0.0f);
}

static int ascending(const void *a, const void *b) {
    float left = *(const float *)a, right = *(const float *)b;
    return (left > right) - (left < right);
}

static void test_percentile(void) {
    float sorted[101];
    for (int i = 0; i <= 100; i++)
        sorted[(i * 37) % 101] = (float)i - 50.0f; /* -50 .. 50, shuffled: percentile r is r - 50 */
    fq_range_options     options = {.percentile = 10.0};
    const fq_range_rule *rule = fq_range_find("percentile");
    CU_ASSERT_DOUBLE_EQUAL(rule->fit(&options, FQ_GRID_SIGNED, 4, sorted, 101, scratch).step * 7.0f,
                           40.0, 1e-5);
    options.percentile = 10.5; /* halfway between two values */
    CU_ASSERT_DOUBLE_EQUAL(rule->fit(&options, FQ_GRID_SIGNED, 4, sorted, 101, scratch).step * 7.0f,
                           39.5, 1e-5);
    options.percentile = 0.0;
    fq_grid whole = rule->fit(&options, FQ_GRID_SIGNED, 4, sorted, 101, scratch);
    fq_grid minmax = fit("minmax", FQ_GRID_SIGNED, 4, sorted, 101);
    CU_ASSERT_TRUE(same_grid(whole, minmax));
    /* Against sorting, on values with many ties. */
    normal_values(1.0, 4);
    for (size_t i = 0; i < MANY; i++)
        x[i] = roundf(4.0f * x[i]) + (i % 3 == 0 ? x[i] : 0.0f);
    static float ordered[MANY];
    memcpy(ordered, x, sizeof ordered);
    qsort(ordered, MANY, sizeof ordered[0], ascending);
    static const double percents[] = {0.01, 0.5, 3.3, 25.0, 49.99};
    for (size_t i = 0; i < sizeof percents / sizeof percents[0]; i++) {
        options.percentile = percents[i];
        double ends[2];
        for (int side = 0; side < 2; side++) {
            double place = (side == 0 ? percents[i] : 100.0 - percents[i]) / 100.0 * (MANY - 1);
            size_t rank = (size_t)place;
            double below = (double)ordered[rank], above = (double)ordered[rank + 1];
            ends[side] = below + (place - (double)rank) * (above - below);
        }
        fq_grid expected = fq_grid_of_range(FQ_GRID_ASYMMETRIC, 8, (float)ends[0], (float)ends[1]);
        fq_grid found = rule->fit(&options, FQ_GRID_ASYMMETRIC, 8, x, MANY, scratch);
        CU_ASSERT_DOUBLE_EQUAL(found.step, expected.step, 1e-6 * (double)expected.step);
        CU_ASSERT_EQUAL(found.low, expected.low);
    }
}

static void test_learned_one_bit(void) {
    /* Levels +-mean|x|: D = 2 * 3.2 / 8. */
    CU_ASSERT_DOUBLE_EQUAL(fit("learned", FQ_GRID_SIGNED, 1, W, N).step, 0.8, 1e-6);
}

/* No rule divides by zero, and none loses a constant that its grid can hold. */
static void test_degenerate(void) {
    static const float constants[] = {0.0f, 0.5f, -3.0f, 1e-30f};
    float              y[16], values[16];
    for (const fq_range_rule *const *rule = fq_range_rules; *rule != NULL; rule++)
        for (int kind = FQ_GRID_SIGNED; kind <= FQ_GRID_ASYMMETRIC; kind++)
            for (int bits = 1; bits <= FQ_MAX_BITS; bits++)
                for (size_t c = 0; c < sizeof constants / sizeof constants[0]; c++)
                    for (size_t n = 1; n <= 16; n += 15) {
                        for (size_t i = 0; i < n; i++)
                            values[i] = constants[c];
                        fq_grid grid =
                            (*rule)->fit(&DEFAULTS, (fq_grid_kind)kind, bits, values, n, scratch);
                        fq_weight_quantize(&grid, 1, values, n, y);
                        CU_ASSERT(grid.step >= 1e-8f && isfinite(grid.step) &&
                                  grid.low < grid.high);
                        CU_ASSERT(isfinite(y[0]));
                        if (constants[c] == 0.0f && grid.offset == 0.0f)
                            CU_ASSERT_EQUAL(y[0], 0.0f);
                        if (kind == FQ_GRID_SIGNED && bits > 1 && !(*rule)->learned &&
                            fabsf(constants[c]) > 1e-3f)
                            CU_ASSERT_DOUBLE_EQUAL(y[0], constants[c], 1e-6);
                    }
}

static void test_running_range(void) {
    float low = 99.0f, high = 99.0f;
    fq_running_range(0.9f, false, -1.0f, 2.0f, &low, &high);
    CU_ASSERT(low == -1.0f && high == 2.0f);
    fq_running_range(0.9f, true, -3.0f, 1.0f, &low, &high);
    CU_ASSERT_DOUBLE_EQUAL(low, -1.2, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(high, 1.9, 1e-6);
}

int main(void) {
    static const fq_case cases[] = {
        {"table", test_table},
        {"golden table of mse", test_golden_mse},
        {"mse is the best candidate", test_mse_is_best},
        {"mse moves the zero point", test_mse_moves_zero},
        {"golden table of asymmetric mse", test_golden_mse_asymmetric},
        {"golden section", test_golden_section},
        {"search in pieces", test_search_in_pieces},
        {"gauss", test_gauss},
        {"percentile", test_percentile},
        {"learned at one bit", test_learned_one_bit},
        {"zero, constant and single values", test_degenerate},
        {"running range", test_running_range},
        {NULL, NULL},
    };
    return fq_run_suite("range", cases);
}
