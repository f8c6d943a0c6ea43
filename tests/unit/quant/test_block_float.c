#include "math/kernels.h"
#include "quant/block_float.h"
#include "suite.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { N = 1003 };

static fq_rng stream(uint32_t step) {
    return fq_rng_stream(3, FQ_RNG_BLOCK_FLOAT, 0, 0, step, 0);
}

static void normal_values(float *x, size_t n, float scale) {
    fq_rng rng = fq_rng_stream(3, FQ_RNG_DATA, 0, 0, 0, 0);
    fq_rng_fill_normal(&rng, x, n);
    for (size_t i = 0; i < n; i++)
        x[i] *= scale;
}

static float peak_of(const float *x, size_t n) {
    float peak = 0.0f;
    for (size_t i = 0; i < n; i++)
        peak = fmaxf(peak, fabsf(x[i]));
    return peak;
}

/* All values are integers of b bits times one power of two, the finest that holds the largest. */
static void test_aligned(void) {
    static const float scales[] = {1.0f, 1e-20f, 3e30f, 0.7f};
    float              x[N], y[N];
    for (size_t s = 0; s < sizeof scales / sizeof *scales; s++)
        for (int bits = FQ_BLOCK_FLOAT_LEAST; bits <= FQ_BLOCK_FLOAT_MOST; bits++) {
            fq_rng rng = stream((uint32_t)bits);
            normal_values(x, N, scales[s]);
            fq_block_float_round(x, N, bits, &rng, y);
            const double step = exp2(floor(log2((double)peak_of(x, N))) - bits + 2);
            size_t       bad = 0;
            for (size_t i = 0; i < N; i++) {
                const double level = (double)y[i] / step;
                bad += level != rint(level) || level < -exp2(bits - 1) ||
                       level > exp2(bits - 1) - 1.0 ||
                       fabs((double)y[i] - (double)x[i]) > step * 1.0000001;
            }
            CU_ASSERT_EQUAL(bad, 0);
            /* What is on the grid stays there, in place too, if the exponent is still the same. */
            memcpy(x, y, sizeof x);
            if (ilogb((double)peak_of(y, N)) == ilogb(step) + bits - 2) {
                fq_block_float_round(x, N, bits, &rng, x);
                CU_ASSERT_EQUAL(memcmp(x, y, sizeof x), 0);
            }
        }
}

/* E Q(x) = x within 4 standard errors where nothing is clipped. */
static void test_unbiased(void) {
    enum { DRAWS = 20000, FEW = 8 };
    static const float x[FEW] = {1.0f, -1.3f, 0.3f, 0.01f, -0.6f, 0.0f, 0.77f, -0.001f};
    double             sum[FEW] = {0.0}, squares[FEW] = {0.0};
    for (uint32_t draw = 0; draw < DRAWS; draw++) {
        float  y[FEW];
        fq_rng rng = stream(draw);
        fq_block_float_round(x, FEW, 4, &rng, y);
        for (size_t i = 0; i < FEW; i++) {
            const double e = (double)y[i] - (double)x[i];
            sum[i] += e;
            squares[i] += e * e;
        }
    }
    for (size_t i = 0; i < FEW; i++)
        CU_ASSERT_TRUE(fabs(sum[i]) <= 4.0 * sqrt(squares[i]));
    CU_ASSERT_TRUE(squares[1] > 0.0 && squares[5] == 0.0 && squares[0] == 0.0);
}

/* A positive value above the top level is clipped to it; its negative twin is not. */
static void test_clip(void) {
    const float x[2] = {1.999f, -1.999f};
    bool        reached = false;
    for (uint32_t draw = 0; draw < 100; draw++) {
        float  y[2];
        fq_rng rng = stream(draw);
        fq_block_float_round(x, 2, 4, &rng, y); /* e = 0, steps of 1/4, levels -8..7 */
        CU_ASSERT_TRUE(y[0] == 1.75f && (y[1] == -2.0f || y[1] == -1.75f));
        reached = reached || y[1] == -2.0f;
    }
    CU_ASSERT_TRUE(reached);
}

/* Zeros, the largest and smallest floats, and what is not finite. */
static void test_extremes(void) {
    float       zeros[3] = {0.0f, -0.0f, 0.0f}, y[3];
    const float large[3] = {FLT_MAX, -FLT_MAX, 1.0f};
    const float small[3] = {FLT_TRUE_MIN, -FLT_MIN, 0.0f}, bad[3] = {1.0f, NAN, 0.3f};
    const float endless[3] = {1.0f, INFINITY, 0.3f};
    fq_rng      rng = stream(0);
    fq_block_float_round(zeros, 3, 8, &rng, y);
    CU_ASSERT_TRUE(y[0] == 0.0f && y[1] == 0.0f && y[2] == 0.0f);
    fq_block_float_round(large, 3, 8, &rng, y);
    CU_ASSERT_EQUAL(memcmp(y, large, sizeof y), 0);
    fq_block_float_round(small, 3, 8, &rng, y);
    CU_ASSERT_TRUE(fabsf(y[1] + FLT_MIN) <= FLT_MIN / 64.0f && y[0] >= 0.0f);
    fq_block_float_round(bad, 3, 8, &rng, y);
    CU_ASSERT_TRUE(y[0] == 1.0f && isnan(y[1]) && y[2] == 0.3f);
    fq_block_float_round(endless, 3, 8, &rng, y);
    CU_ASSERT_TRUE(isinf(y[1]) && y[2] == 0.3f);
}

/* Each lane is a block of its own: the same grid as that lane alone has. */
static void test_lanes(void) {
    enum { FEATURES = 131, LANES = 16 };
    float x[FEATURES * LANES], y[FEATURES * LANES], again[FEATURES * LANES];
    normal_values(x, FEATURES * LANES, 1.0f);
    for (size_t f = 0; f < FEATURES; f++)
        for (size_t lane = 0; lane < LANES; lane++)
            x[f * LANES + lane] = ldexpf(x[f * LANES + lane], (int)lane);
    x[5 * LANES + 3] = NAN;
    fq_rng rng = stream(1);
    fq_block_float_round_lanes(x, FEATURES, LANES, 6, &rng, y);
    for (size_t lane = 0; lane < LANES; lane++) {
        float  peak = 0.0f;
        size_t bad = 0;
        for (size_t f = 0; f < FEATURES; f++)
            peak = fmaxf(peak, fabsf(x[f * LANES + lane]));
        const double step = exp2(floor(log2((double)peak)) - 4);
        for (size_t f = 0; f < FEATURES; f++) {
            const float value = y[f * LANES + lane];
            if (lane == 3) /* not finite somewhere: left alone */
                bad += memcmp(&value, &x[f * LANES + lane], sizeof value) != 0;
            else
                bad += (double)value / step != rint((double)value / step) ||
                       fabs((double)value - (double)x[f * LANES + lane]) > step;
        }
        CU_ASSERT_EQUAL(bad, 0);
    }
    rng = stream(1);
    memcpy(again, x, sizeof x);
    fq_block_float_round_lanes(again, FEATURES, LANES, 6, &rng, again);
    CU_ASSERT_EQUAL(memcmp(y, again, sizeof y), 0);
}

int main(void) {
    static const fq_case cases[] = {
        {"mantissas share an exponent", test_aligned},
        {"right on average", test_unbiased},
        {"clipped at the top", test_clip},
        {"extremes", test_extremes},
        {"lanes", test_lanes},
        {NULL, NULL},
    };
    return fq_run_suite("block_float", cases);
}
