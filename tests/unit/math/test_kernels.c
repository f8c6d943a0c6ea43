#include "base/rng.h"
#include "math/kernels.h"
#include "suite.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t lengths[] = {1, 2, 7, 8, 15, 16, 17, 31, 33, 64, 100, 1000, 4097};
enum { N_LENGTHS = sizeof lengths / sizeof lengths[0], MOST = 4097 };

#define FOR_EACH_ROW(k)                                                                            \
    for (const char *const *name_ = fq_kernel_names; *name_ != NULL; name_++)                      \
        for (const fq_kernels *k = fq_kernels_find(*name_); k != NULL; k = NULL)

static void normal(float *x, size_t n, uint32_t round) {
    fq_rng rng = fq_rng_stream(7, FQ_RNG_DATA, round, 0, 0, 0);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)fq_rng_normal(&rng);
}

static bool close_to(double a, double b, double tolerance) {
    return fabs(a - b) <= tolerance * (fabs(b) + 1e-30);
}

/* What FQ_KERNELS was when the program began; CTest runs it unset, with a row, and with nonsense.
 */
static const char *forced;

static void test_forcing(void) {
    const char *fastest = NULL;
    FOR_EACH_ROW(k) {
        CU_ASSERT_STRING_EQUAL(k->name, *name_);
        fastest = k->name;
    }
    CU_ASSERT_PTR_NULL(fq_kernels_find("fastest"));
    CU_ASSERT_PTR_NOT_NULL(fq_kernels_find("plain"));
    CU_ASSERT_PTR_NOT_NULL(fq_kernels_find("baseline"));
    if (forced != NULL && fq_kernels_find(forced) != NULL) {
        FQ_ASSERT_OK(fq_kernels_check());
        CU_ASSERT_STRING_EQUAL(fq_kernels_get()->name, forced);
    } else {
        if (forced != NULL)
            FQ_ASSERT_FAILS(fq_kernels_check(), FQ_EINVAL, forced);
        CU_ASSERT_STRING_EQUAL(fq_kernels_get()->name, fastest);
    }
    setenv("FQ_KERNELS", "v5", 1);
    FQ_ASSERT_FAILS(fq_kernels_check(), FQ_EINVAL,
                    "\"v5\" is unknown; expected one of plain, baseline");
    setenv("FQ_KERNELS", "plain", 1);
    FQ_ASSERT_OK(fq_kernels_check());
    setenv("FQ_KERNELS", "", 1);
    FQ_ASSERT_OK(fq_kernels_check());
    for (const char *const *name = fq_kernel_names; *name != NULL; name++)
        if (fq_kernels_find(*name) == NULL) {
            setenv("FQ_KERNELS", *name, 1);
            FQ_ASSERT_FAILS(fq_kernels_check(), FQ_EINVAL, "cannot run");
        }
    unsetenv("FQ_KERNELS");
}

static void test_axpy(void) {
    static float x[MOST + 1], y[MOST + 1], z[MOST + 1];
    normal(x, MOST, 0);
    normal(y, MOST, 1);
    FOR_EACH_ROW(k)
    for (size_t l = 0; l < N_LENGTHS; l++) {
        const size_t n = lengths[l];
        memcpy(z, y, sizeof z);
        k->axpy(n, 0.3f, x + 1, z + 1);
        CU_ASSERT_EQUAL(z[0], y[0]);
        for (size_t i = 1; i <= n; i++)
            CU_ASSERT_DOUBLE_EQUAL(z[i], (double)y[i] + 0.3 * (double)x[i], 1e-6);
        for (size_t i = n + 1; i <= MOST; i++)
            CU_ASSERT_TRUE_FATAL(z[i] == y[i]);
    }
}

static void test_min_max(void) {
    static float x[MOST];
    FOR_EACH_ROW(k)
    for (size_t l = 0; l < N_LENGTHS; l++) {
        const size_t n = lengths[l];
        /* The extremes at every place of a short vector, and at some of a long one. */
        for (size_t at = 0; at < n; at += 1 + n / 40) {
            normal(x, n, 2);
            const size_t other = (at + n / 2) % n;
            x[other] = -50.0f;
            x[at] = 60.0f;
            float low, high;
            k->min_max(n, x, &low, &high);
            CU_ASSERT_EQUAL(high, 60.0f);
            CU_ASSERT_EQUAL(low, n == 1 ? 60.0f : -50.0f);
        }
    }
}

static void test_moments(void) {
    static float x[MOST];
    normal(x, MOST, 3);
    for (size_t i = 0; i < MOST; i++)
        x[i] = x[i] * x[i] + 5.0f; /* skewed, and far from zero */
    for (size_t l = 0; l < N_LENGTHS; l++) {
        const size_t n = lengths[l];
        long double  mean = 0, m2 = 0, m3 = 0, m4 = 0, squares = 0;
        for (size_t i = 0; i < n; i++) {
            mean += (long double)x[i] / (long double)n;
            squares += (long double)x[i] * (long double)x[i];
        }
        for (size_t i = 0; i < n; i++) {
            const long double d = (long double)x[i] - mean;
            m2 += d * d / (long double)n;
            m3 += d * d * d / (long double)n;
            m4 += d * d * d * d / (long double)n;
        }
        FOR_EACH_ROW(k) {
            fq_moments m;
            k->moments(n, x, &m);
            CU_ASSERT_TRUE(close_to(m.mean, (double)mean, 1e-12));
            CU_ASSERT_TRUE(fabs(m.m2 - (double)m2) <= 1e-10 * (double)m2);
            CU_ASSERT_TRUE(fabs(m.m3 - (double)m3) <= 1e-10 * (1 + fabs((double)m3)));
            CU_ASSERT_TRUE(fabs(m.m4 - (double)m4) <= 1e-10 * (double)m4);
            CU_ASSERT_TRUE(close_to(k->sum_squares(n, x), (double)squares, 1e-12));
        }
    }
    static const float golden[8] = {-1.0f, -0.6f, -0.25f, -0.1f, 0.0f, 0.05f, 0.3f, 0.9f};
    FOR_EACH_ROW(k) {
        fq_moments m;
        k->moments(8, golden, &m);
        CU_ASSERT_DOUBLE_EQUAL(m.mean, -0.0875, 1e-8);
        CU_ASSERT_DOUBLE_EQUAL(m.m2, 0.28421875, 1e-7);
        CU_ASSERT_DOUBLE_EQUAL(m.m4, 0.2171118408, 1e-7);
    }
    FOR_EACH_ROW(k) {
        fq_moments m;
        k->moments(0, x, &m);
        CU_ASSERT_TRUE(m.mean == 0 && m.m2 == 0);
        CU_ASSERT_EQUAL(k->sum_squares(0, x), 0.0);
    }
}

static const fq_grid grids[] = {
    {0.25f, -2.0f, 1.0f, 0.0f},     {0.25f, -8.0f, 7.0f, 0.0f}, {0.1f, -128.0f, 127.0f, 0.0f},
    {0.013f, 0.0f, 255.0f, 0.0f},   {0.7f, -1.0f, 0.0f, 0.5f},  {0.3f, -93.0f, 162.0f, 0.0f},
    {1e-8f, -127.0f, 127.0f, 0.0f}, {1e20f, -7.0f, 7.0f, 0.0f},
};
enum { N_GRIDS = sizeof grids / sizeof grids[0] };

/* Values of interest on a grid: halves (ties), quarters, just beside the ties, far outside,
 * extremes. */
static size_t interesting(const fq_grid *g, float *x) {
    size_t n = 0;
    for (float code = g->low - 3.0f; code <= g->high + 3.0f && n + 4 < MOST - 8; code += 0.25f) {
        const float v = g->step * (code + g->offset);
        x[n++] = v;
        x[n++] = nextafterf(v, INFINITY);
        x[n++] = nextafterf(v, -INFINITY);
    }
    const float far[] = {0.0f, -0.0f, FLT_MAX, -FLT_MAX, FLT_MIN, 1e-40f, -1e-40f, 1e9f};
    memcpy(x + n, far, sizeof far);
    return n + sizeof far / sizeof far[0];
}

static void test_fake_quantize(void) {
    static float x[MOST], y[MOST], expected[MOST];
    for (size_t i = 0; i < N_GRIDS; i++) {
        const fq_grid *g = &grids[i];
        const size_t   n = interesting(g, x);
        for (size_t j = 0; j < n; j++) {
            const float t = x[j] / g->step - g->offset;
            const float code = fminf(fmaxf(rintf(t), g->low), g->high);
            expected[j] = g->step * (code + g->offset);
        }
        FOR_EACH_ROW(k)
        for (size_t part = 0; part < 20; part++) { /* all ends */
            memset(y, 0x55, sizeof y);
            k->fake_quantize(n - part, x, g, y);
            CU_ASSERT_EQUAL(memcmp(y, expected, (n - part) * sizeof *y), 0);
            CU_ASSERT_EQUAL(((unsigned char *)(y + n - part))[0], 0x55);
            memcpy(y, x, sizeof y);
            k->fake_quantize(n - part, y, g, y);
            CU_ASSERT_EQUAL(memcmp(y, expected, (n - part) * sizeof *y), 0);
        }
    }
}

/* Ties go to the even code, by hand. */
static void test_ties(void) {
    const fq_grid      grid = {0.5f, -8.0f, 7.0f, 0.0f};
    static const float x[] = {0.25f, 0.75f, 1.25f, -0.25f, -0.75f, -1.25f, 3.75f, -4.25f, 0.26f};
    static const float expected[] = {0, 1, 1, 0, -1, -1, 3.5f, -4, 0.5f};
    float              y[9];
    FOR_EACH_ROW(k) {
        k->fake_quantize(9, x, &grid, y);
        for (size_t i = 0; i < 9; i++)
            CU_ASSERT_EQUAL(y[i], expected[i]);
    }
}

static void test_error(void) {
    static float x[MOST], y[MOST];
    for (size_t i = 0; i < N_GRIDS - 1; i++) /* not 1e20: no errors to speak of there */
        for (size_t l = 0; l < N_LENGTHS; l++) {
            const size_t n = lengths[l];
            normal(x, n, 4);
            fq_kernels_find("plain")->fake_quantize(n, x, &grids[i], y);
            double expected = 0;
            for (size_t j = 0; j < n; j++)
                expected += ((double)x[j] - (double)y[j]) * ((double)x[j] - (double)y[j]);
            FOR_EACH_ROW(k)
            CU_ASSERT_TRUE(close_to(k->quantization_error(n, x, &grids[i]), expected, 1e-12));
        }
}

static void test_ste(void) {
    static float x[MOST], g[MOST], upstream[MOST];
    for (size_t i = 0; i < N_GRIDS; i++) {
        const fq_grid *grid = &grids[i];
        const size_t   n = interesting(grid, x);
        normal(upstream, n, 5);
        upstream[3] = 0.0f;
        for (int with = 0; with < 2; with++) {
            const float lambda = with ? 0.2f : 0.0f;
            FOR_EACH_ROW(k) {
                memcpy(g, upstream, sizeof g);
                k->ste(n, x, grid, lambda, g);
                for (size_t j = 0; j < n; j++) {
                    float t = x[j] / grid->step - grid->offset;
                    if (strcmp(k->name, "neon") == 0 && fpclassify(t) == FP_SUBNORMAL)
                        t = 0.0f; /* as that instruction set has it */
                    const bool inside = t >= grid->low && t <= grid->high;
                    if (!inside || upstream[j] == 0.0f) {
                        CU_ASSERT_EQUAL(g[j], 0.0f);
                        continue;
                    }
                    if (lambda == 0.0f) {
                        CU_ASSERT_EQUAL(g[j], upstream[j]);
                        continue;
                    }
                    const double r = (double)t - nearbyint((double)t);
                    const double sign = upstream[j] > 0 ? 1.0 : -1.0;
                    CU_ASSERT_TRUE(
                        close_to((double)g[j], (double)upstream[j] * (1 + 0.2 * sign * r), 1e-6));
                }
            }
        }
    }
}

static void test_relu(void) {
    static float x[MOST], dy[MOST], y[MOST], dx[MOST];
    normal(x, MOST, 8);
    normal(dy, MOST, 9);
    x[0] = NAN, x[5] = 0.0f, x[6] = -0.0f;
    FOR_EACH_ROW(k)
    for (size_t l = 0; l < N_LENGTHS; l++) {
        const size_t n = lengths[l];
        for (int with = 0; with < 2; with++) {
            memset(y, 0x55, sizeof y);
            if (with)
                k->add(n, x, dy, true, y);
            else
                k->relu(n, x, y);
            for (size_t i = 0; i < n; i++) {
                const float sum = with ? x[i] + dy[i] : x[i];
                CU_ASSERT_TRUE(isnan(sum) ? isnan(y[i]) : y[i] == (sum > 0.0f ? sum : 0.0f));
            }
            CU_ASSERT_TRUE(n == MOST || ((unsigned char *)(y + n))[0] == 0x55);
        }
        k->add(n, x + 1 - (n == MOST), dy, false, y);
        CU_ASSERT_EQUAL(y[n - 1], x[n - (n == MOST)] + dy[n - 1]);
        k->relu(n, x, y);
        k->relu_backward(n, x, dy, dx);
        k->relu_backward(n, y, dy, y);
        for (size_t i = 0; i < n; i++)
            CU_ASSERT_TRUE(dx[i] == (x[i] > 0.0f ? dy[i] : 0.0f) && y[i] == dx[i]);
    }
}

static void test_group_norm(void) {
    static const struct {
        size_t depth, pixels, lanes;
    } shapes[] = {{1, 1, 8},   {2, 9, 8},  {3, 5, 16}, {1, 64, 24},
                  {2, 16, 32}, {4, 7, 40}, {1, 3, 64}};
    enum { MOST_VALUES = 4 * 16 * 64 };
    static float      x[MOST_VALUES], dy[MOST_VALUES], scale[4], shift[4];
    static float      y[2][MOST_VALUES], dx[2][MOST_VALUES];
    const fq_kernels *plain = fq_kernels_find("plain");
    normal(x, MOST_VALUES, 10);
    normal(dy, MOST_VALUES, 11);
    normal(scale, 4, 12);
    normal(shift, 4, 13);
    FOR_EACH_ROW(k)
    for (size_t s = 0; s < 2 * sizeof shapes / sizeof shapes[0]; s++) {
        const fq_norm n = {.depth = shapes[s / 2].depth,
                           .pixels = shapes[s / 2].pixels,
                           .lanes = shapes[s / 2].lanes,
                           .epsilon = 1e-3f,
                           .relu = s % 2};
        float         mean[2][64], r[2][64], dscale[2][4] = {{1}, {1}}, dshift[2][4] = {{2}, {2}};
        const size_t  values = n.depth * n.pixels * n.lanes;
        for (size_t i = 0; i < 2; i++) {
            const fq_kernels *row = i == 0 ? plain : k;
            row->group_norm(&n, x, scale, shift, mean[i], r[i], y[i]);
            row->group_norm_backward(&n, x, scale, shift, mean[0], r[0], dy, dscale[i], dshift[i],
                                     dx[i]);
            row->group_norm_backward(&n, x, scale, shift, mean[0], r[0], dy, dscale[i], dshift[i],
                                     NULL);
        }
        size_t wrong = 0;
        for (size_t i = 0; i < values; i++)
            wrong += !(fabsf(y[0][i] - y[1][i]) <= 1e-4f) || !(fabsf(dx[0][i] - dx[1][i]) <= 2e-3f);
        for (size_t l = 0; l < n.lanes; l++)
            wrong += !close_to((double)r[1][l], (double)r[0][l], 1e-5) ||
                     !(fabsf(mean[0][l] - mean[1][l]) <= 1e-6f);
        for (size_t c = 0; c < n.depth; c++)
            wrong += !(fabsf(dscale[0][c] - dscale[1][c]) <= 1e-3f) ||
                     !(fabsf(dshift[0][c] - dshift[1][c]) <= 1e-3f);
        CU_ASSERT_EQUAL(wrong, 0);
    }
}

static void test_max_pool(void) {
    static const fq_pool_window pools[] = {
        {.channels = 3, .in_h = 6, .in_w = 4, .kernel = 2, .stride = 2, .lanes = 24},
        {.channels = 2, .in_h = 7, .in_w = 5, .kernel = 2, .stride = 2, .lanes = 8},
        {.channels = 1, .in_h = 7, .in_w = 9, .kernel = 3, .stride = 2, .pad = 1, .lanes = 16},
        {.channels = 2, .in_h = 5, .in_w = 6, .kernel = 3, .stride = 1, .lanes = 40},
        {.channels = 2, .in_h = 8, .in_w = 7, .kernel = 2, .stride = 3, .pad = 1, .lanes = 8},
        {.channels = 1, .in_h = 4, .in_w = 4, .kernel = 4, .stride = 4, .pad = 2, .lanes = 8},
    };
    static float      x[MOST], dy[MOST], y[2][MOST], winner[2][MOST], dx[2][MOST];
    const fq_kernels *plain = fq_kernels_find("plain");
    normal(dy, MOST, 14);
    FOR_EACH_ROW(k)
    for (size_t s = 0; s < 2 * sizeof pools / sizeof pools[0]; s++) {
        fq_pool_window p = pools[s / 2];
        p.relu = s % 2;
        p.out_h = (p.in_h + 2 * p.pad - p.kernel) / p.stride + 1;
        p.out_w = (p.in_w + 2 * p.pad - p.kernel) / p.stride + 1;
        const size_t in = p.channels * p.in_h * p.in_w * p.lanes;
        const size_t out = p.channels * p.out_h * p.out_w * p.lanes;
        CU_ASSERT_TRUE_FATAL(in <= MOST && out <= MOST);
        normal(x, in, 15);
        for (size_t i = 0; i < in; i++)
            x[i] = roundf(2.0f * x[i]) - 1.0f; /* with ties */
        for (size_t i = 0; i < 2; i++) {
            const fq_kernels *row = i == 0 ? plain : k;
            memset(dx[i], 0x55, sizeof dx[i]);
            row->max_pool(&p, x, y[i], NULL);
            row->max_pool(&p, x, y[i], winner[i]);
            row->max_pool_backward(&p, winner[i], dy, dx[i]);
        }
        size_t wrong = 0;
        for (size_t i = 0; i < out; i++)
            wrong += y[0][i] != y[1][i] || winner[0][i] != winner[1][i];
        for (size_t i = 0; i < in; i++)
            wrong += !(fabsf(dx[0][i] - dx[1][i]) <= 1e-5f);
        CU_ASSERT_EQUAL(wrong, 0);
    }
}

int main(void) {
    forced = getenv("FQ_KERNELS");
    static const fq_case cases[] = {
        {"forcing a row", test_forcing}, /* first: it makes the choice */
        {"axpy", test_axpy},
        {"min and max", test_min_max},
        {"moments against long double", test_moments},
        {"fake quantization is exact in every row", test_fake_quantize},
        {"ties go to even", test_ties},
        {"quantization error", test_error},
        {"straight-through gradient", test_ste},
        {"sum and relu", test_relu},
        {"group norm", test_group_norm},
        {"maximum over windows", test_max_pool},
        {NULL, NULL},
    };
    return fq_run_suite("kernels", cases);
}
