#include "robust_rig.h"
#include "suite.h"

#include <math.h>
#include <string.h>

static fq_apqn_config config_of(int bits) {
    return (fq_apqn_config){.bits = {.n = 1, .v = {bits}}};
}

static float minmax_step(const float *x, size_t n, int bits) {
    return fq_range_find("minmax")
        ->fit(&(fq_range_options){0}, FQ_GRID_SIGNED, bits, x, n, NULL)
        .step;
}

/* E[u] = w and Var(u) = D^2 / 12 or D^2 / 4, over a million draws. */
static void check_moments(fq_noise noise, double variance) {
    enum { N = 10000, STEPS = 100 };
    const fq_network network = rig_dense(2, N / 2);
    fq_apqn_config   config = config_of(4);
    config.noise = (int)noise;
    rig r;
    rig_init(&r, &network, &fq_robustness_apqn, &config);
    const double step = (double)minmax_step(r.w, N, 4);
    double       sum = 0.0, squares = 0.0, largest = 0.0;
    for (uint32_t s = 0; s < STEPS; s++) {
        const fq_step local = rig_step(&r, 0, 0, s);
        rig_view(&r, &local);
        for (int i = 0; i < N; i++) {
            const double noise_i = ((double)r.u[i] - (double)r.w[i]) / step;
            sum += noise_i;
            squares += noise_i * noise_i;
            largest = fmax(largest, fabs(noise_i));
        }
    }
    const double n = (double)N * STEPS, mean = sum / n;
    CU_ASSERT_DOUBLE_EQUAL(mean, 0.0, 5.0 * sqrt(variance / n));
    CU_ASSERT_DOUBLE_EQUAL(squares / n, variance, 0.01 * variance);
    if (noise == FQ_NOISE_UNIFORM)
        CU_ASSERT_TRUE(largest < 0.5001 && largest > 0.499);
    rig_fini(&r);
}

static void test_uniform_moments(void) {
    check_moments(FQ_NOISE_UNIFORM, 1.0 / 12.0);
}

static void test_gaussian_moments(void) {
    check_moments(FQ_NOISE_GAUSSIAN, 1.0 / 4.0);
}

/* du/dw = 1: with the loss c.u the gradient by w is c itself for every draw, so there is nothing to
 * pull. */
static void test_linear_loss(void) {
    CU_ASSERT_PTR_NULL(fq_robustness_apqn.pull_gradient);
    CU_ASSERT_PTR_NULL(fq_robustness_apqn.site_hook);
    CU_ASSERT_FALSE(fq_robustness_apqn.changes_weights); /* combines with a quantizer */
}

/* For L = u^T H u / 2 and uniform noise, E[L(u)] - L(w) = D^2/24 tr H. Pairs r, -r cancel the
 * linear term. */
static void test_trace(void) {
    enum { N = 8, STEPS = 20000 };
    const fq_network     network = rig_dense(2, N / 2);
    const fq_apqn_config config = config_of(3);
    rig                  r;
    rig_init(&r, &network, &fq_robustness_apqn, &config);
    double h[N][N], trace = 0.0;
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++)
            h[i][j] = (i == j ? 1.0 + i : 0.0) + 0.3 / (1.0 + fabs((double)(i - j)));
        trace += h[i][i];
    }
    const double step = (double)minmax_step(r.w, N, 3);
    double       rise = 0.0;
    for (uint32_t s = 0; s < STEPS; s++) {
        const fq_step local = rig_step(&r, 0, 0, s);
        rig_view(&r, &local);
        for (int i = 0; i < N; i++) /* (L(w + d) + L(w - d)) / 2 - L(w) = d^T H d / 2 */
            for (int j = 0; j < N; j++)
                rise += 0.5 * h[i][j] * (double)(r.u[i] - r.w[i]) * (double)(r.u[j] - r.w[j]);
    }
    const double expected = step * step / 24.0 * trace;
    CU_ASSERT_DOUBLE_EQUAL(rise / STEPS, expected, 0.03 * expected);
    rig_fini(&r);
}

static bool same_noise(rig *r, fq_step a, fq_step b) {
    float first[27];
    rig_view(r, &a);
    memcpy(first, r->u, sizeof first);
    rig_view(r, &b);
    return memcmp(first, r->u, sizeof first) == 0;
}

static void test_streams(void) {
    const fq_network     network = rig_network();
    const fq_apqn_config config = config_of(4);
    rig                  r;
    rig_init(&r, &network, &fq_robustness_apqn, &config);
    const fq_step step = rig_step(&r, 3, 5, 2);
    fq_step       other = step;
    CU_ASSERT_TRUE(same_noise(&r, step, other));
    other.step++;
    CU_ASSERT_FALSE(same_noise(&r, step, other));
    other = step;
    other.client++;
    CU_ASSERT_FALSE(same_noise(&r, step, other));
    other = step;
    other.round++;
    CU_ASSERT_FALSE(same_noise(&r, step, other));
    other = step;
    other.seed++;
    CU_ASSERT_FALSE(same_noise(&r, step, other));
    /* Layers have noise of their own, even in units of their steps. */
    rig_view(&r, &step);
    const fq_tensor *a = rig_tensor(&r, "dense1.weight"), *b = rig_tensor(&r, "dense2.weight");
    const float      step_a = minmax_step(r.w + a->offset, a->count, 4),
                step_b = minmax_step(r.w + b->offset, b->count, 4);
    float difference = 0.0f;
    for (size_t i = 0; i < 8; i++)
        difference += fabsf((r.u[a->offset + i] - r.w[a->offset + i]) / step_a -
                            (r.u[b->offset + i] - r.w[b->offset + i]) / step_b);
    CU_ASSERT_TRUE(difference > 0.1f);
    rig_fini(&r);
}

static void test_clip(void) {
    const fq_network network = rig_dense(2, 500);
    fq_apqn_config   config = config_of(2);
    config.noise = FQ_NOISE_GAUSSIAN;
    config.clip_noise = true;
    rig r;
    rig_init(&r, &network, &fq_robustness_apqn, &config);
    const float   step = minmax_step(r.w, 1000, 2);
    const fq_step local = rig_step(&r, 0, 0, 0);
    rig_view(&r, &local);
    size_t at_top = 0;
    for (int i = 0; i < 1000; i++) {
        CU_ASSERT_TRUE(r.u[i] >= -2.0f * step && r.u[i] <= step);
        at_top += r.u[i] == step;
    }
    CU_ASSERT_TRUE(at_top > 10);
    rig_fini(&r);
}

/* Noise only where the policy puts a width below 32, and of that width's size. */
static void test_layers(void) {
    const fq_network network = rig_network();
    fq_apqn_config   config = config_of(2);
    config.layers = FQ_LAYERS_FIRST_LAST_FLOAT;
    rig r;
    rig_init(&r, &network, &fq_robustness_apqn, &config);
    const fq_step local = rig_step(&r, 0, 0, 0);
    rig_view(&r, &local);
    const fq_tensor *middle = rig_tensor(&r, "dense1.weight");
    size_t           changed = 0;
    for (size_t i = 0; i < r.size; i++) {
        const bool inside = i >= middle->offset && i < middle->offset + middle->count;
        if (!inside)
            CU_ASSERT_EQUAL(r.u[i], r.w[i]);
        changed += r.u[i] != r.w[i];
    }
    CU_ASSERT_TRUE(changed > 90);
    rig_fini(&r);
}

/* Several widths: each is drawn at some step; 32 means no noise; capability restricts the draw. */
static void test_widths(void) {
    const fq_network     network = rig_dense(2, 100);
    const fq_apqn_config config = {.bits = {.n = 3, .v = {2, 8, 32}}};
    rig                  r;
    rig_init(&r, &network, &fq_robustness_apqn, &config);
    const double fine = (double)minmax_step(r.w, 200, 8);
    size_t       seen[3] = {0};
    for (uint32_t s = 0; s < 60; s++) {
        const fq_step local = rig_step(&r, 0, 0, s);
        rig_view(&r, &local);
        double largest = 0.0;
        for (int i = 0; i < 200; i++)
            largest = fmax(largest, fabs((double)r.u[i] - (double)r.w[i]));
        seen[largest == 0.0 ? 2 : largest < fine ? 1 : 0]++;
    }
    CU_ASSERT_TRUE(seen[0] > 5 && seen[1] > 5 && seen[2] > 5);
    const fq_ints own = {.n = 1, .v = {32}};
    for (uint32_t s = 0; s < 10; s++) {
        fq_step local = rig_step(&r, 0, 0, s);
        local.capability = &own;
        rig_view(&r, &local);
        CU_ASSERT_EQUAL(memcmp(r.u, r.w, r.size * sizeof *r.u), 0);
    }
    rig_fini(&r);
}

static void test_channels(void) {
    const fq_network network = rig_dense(2, 100);
    fq_apqn_config   config = config_of(4);
    config.granularity = FQ_PER_CHANNEL;
    rig r;
    rig_init(&r, &network, &fq_robustness_apqn, &config);
    for (int i = 0; i < 100; i++)
        r.w[i] *= 1e-3f; /* the first channel is a thousand times finer */
    const fq_step local = rig_step(&r, 0, 0, 0);
    rig_view(&r, &local);
    const float step = minmax_step(r.w, 100, 4);
    for (int i = 0; i < 100; i++)
        CU_ASSERT_TRUE(fabsf(r.u[i] - r.w[i]) <= 0.5001f * step);
    rig_fini(&r);
}

static void test_check(void) {
    fq_apqn_config config = config_of(4);
    FQ_ASSERT_OK(fq_robustness_apqn.check(&config));
    config.bits.v[0] = 12;
    FQ_ASSERT_FAILS(fq_robustness_apqn.check(&config), FQ_EINVAL, "apqn.bits: 12 is not a width");
}

int main(void) {
    static const fq_case cases[] = {{"moments of uniform noise", test_uniform_moments},
                                    {"moments of gaussian noise", test_gaussian_moments},
                                    {"linear loss", test_linear_loss},
                                    {"a penalty on the trace", test_trace},
                                    {"streams", test_streams},
                                    {"clipped noise", test_clip},
                                    {"layer policy", test_layers},
                                    {"several widths", test_widths},
                                    {"per channel", test_channels},
                                    {"check", test_check},
                                    {NULL, NULL}};
    return fq_run_suite("apqn", cases);
}
