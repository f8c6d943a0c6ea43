#include "robust_rig.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const float  golden_w[8] = {-1.0f, -0.6f, -0.25f, -0.1f, 0.0f, 0.05f, 0.3f, 0.9f};
static const double golden_kurtosis = 2.687683093, golden_unbiased = 2.057757368;
static const double golden_slope[8] = {-0.485663668, 1.492736616,  0.644502787,  -0.038178695,
                                       -0.506839495, -0.731305175, -1.569297534, 1.194045164};

/* A target of 1 and a weight of 1 make the penalty (K - 1)^2, from which K can be read: K >= 1
 * always. */
static const fq_kure_config plain = {.target = 1.0, .lambda = 1.0};

static double penalty_of(rig *r) {
    memset(r->g, 0, r->size * sizeof *r->g);
    return r->bound.method->penalty(&r->bound, r->w, r->g);
}

static double kurtosis_of(rig *r) {
    return 1.0 + sqrt(penalty_of(r));
}

/* A rig with one weight tensor [2, n / 2]. */
static void one_tensor(rig *r, uint32_t n, const fq_kure_config *config) {
    const fq_network network = rig_dense(2, n / 2);
    rig_init(r, &network, &fq_robustness_kure, config);
}

static void test_golden(void) {
    const fq_kure_config config = {.target = 1.8, .lambda = 1.0};
    const double         gradient[8] = {-0.862230854, 2.650154113,  1.144228455,  -0.067781165,
                                        -0.899825701, -1.298334479, -2.786077779, 2.119867410};
    rig                  r;
    one_tensor(&r, 8, &config);
    memcpy(r.w, golden_w, sizeof golden_w);
    CU_ASSERT_DOUBLE_EQUAL(penalty_of(&r), 0.787981274, 1e-6);
    for (int i = 0; i < 8; i++)
        CU_ASSERT_DOUBLE_EQUAL((double)r.g[i], gradient[i], 1e-6);
    CU_ASSERT_EQUAL(r.g[8], 0.0f); /* a bias */
    rig_fini(&r);

    one_tensor(&r, 8, &plain);
    memcpy(r.w, golden_w, sizeof golden_w);
    CU_ASSERT_DOUBLE_EQUAL(kurtosis_of(&r), golden_kurtosis, 1e-6);
    for (int i = 0; i < 8; i++)
        CU_ASSERT_DOUBLE_EQUAL((double)r.g[i] / (2.0 * (golden_kurtosis - 1.0)), golden_slope[i],
                               1e-6);
    rig_fini(&r);
}

static void test_unbiased(void) {
    const fq_kure_config config = {.target = 1.0, .lambda = 1.0, .unbiased = true};
    rig                  r;
    one_tensor(&r, 8, &config);
    memcpy(r.w, golden_w, sizeof golden_w);
    CU_ASSERT_DOUBLE_EQUAL(kurtosis_of(&r), golden_unbiased, 1e-6);
    for (int i = 0; i < 8; i++)
        CU_ASSERT_DOUBLE_EQUAL((double)r.g[i],
                               2.0 * (golden_unbiased - 1.0) * golden_slope[i] * 49.0 / 64.0, 1e-6);
    rig_fini(&r);
}

/* Shifting or scaling all values leaves the kurtosis, so the gradient is orthogonal to both. */
static void test_identities(void) {
    rig r;
    one_tensor(&r, 8, &plain);
    memcpy(r.w, golden_w, sizeof golden_w);
    (void)penalty_of(&r);
    double sum = 0.0, scaled = 0.0;
    for (int i = 0; i < 8; i++) {
        sum += (double)r.g[i];
        scaled += (double)r.g[i] * (double)golden_w[i];
    }
    CU_ASSERT_DOUBLE_EQUAL(sum, 0.0, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(scaled, 0.0, 1e-6);
    for (int i = 0; i < 8; i++)
        r.w[i] = -3.0f * golden_w[i] + 0.7f;
    CU_ASSERT_DOUBLE_EQUAL(kurtosis_of(&r), golden_kurtosis, 1e-5);
    rig_fini(&r);
}

/* The penalty as an independent formula in double precision. */
static double reference(const double *x, int n, double target) {
    double mean = 0.0, m2 = 0.0, m4 = 0.0;
    for (int i = 0; i < n; i++)
        mean += x[i] / n;
    for (int i = 0; i < n; i++) {
        m2 += pow(x[i] - mean, 2.0) / n;
        m4 += pow(x[i] - mean, 4.0) / n;
    }
    return pow(m4 / (m2 * m2) - target, 2.0);
}

static void test_finite_differences(void) {
    enum { N = 40 };
    const fq_kure_config config = {.target = 1.8, .lambda = 0.5};
    rig                  r;
    one_tensor(&r, N, &config);
    double x[N];
    for (int i = 0; i < N; i++) {
        r.w[i] = r.w[i] * r.w[i] * r.w[i] + 0.1f * r.w[i];
        x[i] = (double)r.w[i];
    }
    CU_ASSERT_DOUBLE_EQUAL(penalty_of(&r), 0.5 * reference(x, N, 1.8), 1e-6);
    double largest = 0.0;
    for (int i = 0; i < N; i++)
        largest = fmax(largest, fabs((double)r.g[i]));
    for (int i = 0; i < N; i++) {
        const double h = 1e-6, old = x[i];
        x[i] = old + h;
        const double above = reference(x, N, 1.8);
        x[i] = old - h;
        const double below = reference(x, N, 1.8);
        x[i] = old;
        CU_ASSERT_DOUBLE_EQUAL((double)r.g[i], 0.5 * (above - below) / (2.0 * h), 1e-5 * largest);
    }
    rig_fini(&r);
}

/* Deterministic samples: the quantiles (i + 1/2) / n of a law. */
static double laplace_quantile(double p) {
    return p < 0.5 ? log(2.0 * p) : -log(2.0 * (1.0 - p));
}

static void test_known_kurtoses(void) {
    enum { N = 20000 };
    rig r;
    one_tensor(&r, N, &plain);
    for (int i = 0; i < N; i++)
        r.w[i] = (float)((i + 0.5) / N - 0.5);
    CU_ASSERT_DOUBLE_EQUAL(kurtosis_of(&r), 1.8, 1e-4);

    fq_rng rng = fq_rng_stream(1, FQ_RNG_INIT, 0, 0, 0, 0);
    for (int i = 0; i < N; i++)
        r.w[i] = (float)fq_rng_normal(&rng);
    CU_ASSERT_DOUBLE_EQUAL(kurtosis_of(&r), 3.0, 0.15); /* standard error sqrt(24 / n) = 0.035 */

    for (int i = 0; i < N; i++)
        r.w[i] = (float)laplace_quantile((i + 0.5) / N);
    CU_ASSERT_DOUBLE_EQUAL(kurtosis_of(&r), 6.0, 0.1);

    for (int i = 0; i < N; i++)
        r.w[i] = i % 2 == 0 ? 1.0f : -1.0f;
    CU_ASSERT_DOUBLE_EQUAL(kurtosis_of(&r), 1.0, 1e-12);
    rig_fini(&r);

    /* M equally likely equally spaced points: (3/5) (3 M^2 - 7) / (M^2 - 1) */
    static const double points[][2] = {{3, 1.5}, {15, 1.789286}, {255, 1.799963}};
    for (size_t p = 0; p < 3; p++) {
        const int m = (int)points[p][0];
        one_tensor(&r, (uint32_t)(2 * m), &plain);
        for (int i = 0; i < 2 * m; i++)
            r.w[i] = (float)(i % m);
        CU_ASSERT_DOUBLE_EQUAL(kurtosis_of(&r), points[p][1], 1e-6);
        rig_fini(&r);
    }
}

/* Descent on the penalty alone makes a normal tensor uniform in shape and does not move its mean.
 */
static void test_descent(void) {
    enum { N = 2000 };
    const fq_kure_config config = {.target = 1.8, .lambda = 1.0};
    rig                  r;
    one_tensor(&r, N, &config);
    fq_rng rng = fq_rng_stream(2, FQ_RNG_INIT, 0, 0, 0, 0);
    double before = 0.0, after = 0.0;
    for (int i = 0; i < N; i++) {
        r.w[i] = (float)fq_rng_normal(&rng);
        before += (double)r.w[i] / N;
    }
    for (int step = 0; step < 400; step++) {
        (void)penalty_of(&r);
        for (int i = 0; i < N; i++)
            r.w[i] -= (float)N / 100.0f * r.g[i];
    }
    for (int i = 0; i < N; i++)
        after += (double)r.w[i] / N;
    CU_ASSERT_TRUE(sqrt(penalty_of(&r)) < 1e-3);
    CU_ASSERT_DOUBLE_EQUAL(after, before, 1e-6);
    rig_fini(&r);
}

static void test_modes(void) {
    const fq_network     network = rig_network();
    const fq_kure_config configs[3] = {{.target = 1.0, .lambda = 1.0, .mode = FQ_KURE_MEAN},
                                       {.target = 1.0, .lambda = 1.0, .mode = FQ_KURE_SUM},
                                       {.target = 1.0, .lambda = 1.0, .mode = FQ_KURE_MAX}};
    rig                  r[3];
    double               value[3];
    for (int m = 0; m < 3; m++) {
        rig_init(&r[m], &network, &fq_robustness_kure, &configs[m]);
        value[m] = penalty_of(&r[m]);
    }
    CU_ASSERT_DOUBLE_EQUAL(value[0] * 3.0, value[1], 1e-9 * value[1]);
    CU_ASSERT_TRUE(value[2] > value[0] && value[2] < value[1]);
    size_t touched = 0;
    for (size_t i = 0; i < r[0].trainable; i++) {
        CU_ASSERT_DOUBLE_EQUAL((double)r[0].g[i] * 3.0, (double)r[1].g[i], 1e-6);
        if (r[2].g[i] != 0.0f) {
            CU_ASSERT_EQUAL(r[2].g[i], r[1].g[i]);
            touched++;
        }
    }
    CU_ASSERT_TRUE(touched == 27 || touched == 96 || touched == 32); /* one tensor alone */
    for (int m = 0; m < 3; m++)
        rig_fini(&r[m]);
}

static void test_layers(void) {
    const fq_network     network = rig_network();
    const fq_kure_config config = {.target = 1.8, .lambda = 1.0, .layers = FQ_LAYERS_FIRST_LAST_8};
    rig                  r;
    rig_init(&r, &network, &fq_robustness_kure, &config);
    (void)penalty_of(&r);
    const fq_tensor *middle = rig_tensor(&r, "dense1.weight");
    for (size_t i = 0; i < r.trainable; i++) {
        const bool inside = i >= middle->offset && i < middle->offset + middle->count;
        CU_ASSERT_EQUAL(r.g[i] != 0.0f, inside);
    }
    rig_fini(&r);
}

static void test_constant_tensor(void) {
    rig r;
    one_tensor(&r, 8, &plain);
    for (int i = 0; i < 8; i++)
        r.w[i] = 0.3f;
    CU_ASSERT_EQUAL(penalty_of(&r), 0.0);
    for (int i = 0; i < 8; i++)
        CU_ASSERT_EQUAL(r.g[i], 0.0f);
    rig_fini(&r);
}

int main(void) {
    static const fq_case cases[] = {{"golden values", test_golden},
                                    {"unbiased variance", test_unbiased},
                                    {"shift and scale", test_identities},
                                    {"finite differences", test_finite_differences},
                                    {"known kurtoses", test_known_kurtoses},
                                    {"descent reaches the target", test_descent},
                                    {"modes", test_modes},
                                    {"layer policy", test_layers},
                                    {"constant tensor", test_constant_tensor},
                                    {NULL, NULL}};
    return fq_run_suite("kure", cases);
}
