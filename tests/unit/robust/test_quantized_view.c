#include "robust/quantized_view.h"
#include "robust_rig.h"
#include "suite.h"

#include <math.h>
#include <string.h>

static const float golden_w[8] = {-1.0f, -0.6f, -0.25f, -0.1f, 0.0f, 0.05f, 0.3f, 0.9f};

static fq_view_format format_of(int ranges) {
    return (fq_view_format){
        .ranges = ranges, .percentile = 0.01, .step_rate = 1.0, .lsq_grad_scale = true};
}

static fq_view_settings qat_of(int bits, int ranges) {
    return (fq_view_settings){
        .bits = {.v = {bits}}, .activations = {.v = {32}}, .format = format_of(ranges)};
}

static fq_view_settings mqat_of(const fq_ints *bits, int ranges) {
    return (fq_view_settings){
        .bits = *bits, .activations = {.n = 1, .v = {32}}, .format = format_of(ranges)};
}

static void fill_gradient(rig *r) {
    fq_rng rng = fq_rng_stream(5, FQ_RNG_DATA, 0, 0, 0, 0);
    for (size_t i = 0; i < r->trainable; i++)
        r->g[i] = (float)fq_rng_normal(&rng);
}

static void pull(rig *r, const fq_step *step) {
    r->bound.method->pull_gradient(&r->bound, step, r->w, r->u, r->g);
}

static const fq_view *state_of(const rig *r) {
    return r->bound.state;
}

static bool same_bytes(const float *a, const float *b, size_t n) {
    return memcmp(a, b, n * sizeof *a) == 0;
}

/* For every rule, width and granularity: weights are exactly the quantizer's, the rest is copied,
 * and the latent vector is left alone. */
static void check_view(int ranges, int bits, fq_granularity granularity) {
    const fq_network network = rig_network();
    fq_view_settings config = qat_of(bits, ranges);
    config.format.granularity = (int)granularity;
    rig r;
    rig_init(&r, &network, &fq_robustness_qat, &config);
    float latent[512], scratch[96];
    memcpy(latent, r.w, r.size * sizeof *r.w);
    const fq_step step = rig_step(&r, 0, 0, 0);
    rig_view(&r, &step);
    CU_ASSERT_TRUE(same_bytes(latent, r.w, r.size));
    const fq_weight_format format = {.rule = fq_range_rules[ranges],
                                     .options = {.percentile = 0.01},
                                     .grid = FQ_GRID_SIGNED,
                                     .granularity = granularity};
    for (size_t t = 0; t < fq_model_tensor_count(r.model); t++) {
        const fq_tensor *tensor = fq_model_tensor(r.model, t);
        if (tensor->kind == FQ_WEIGHT) {
            fq_grid      grids[8];
            const size_t groups = fq_weight_groups(&format, tensor->shape[0]);
            fq_weight_fit(&format, bits, latent + tensor->offset, tensor->count, tensor->shape[0],
                          scratch, grids);
            fq_weight_quantize(grids, groups, latent + tensor->offset, tensor->count,
                               latent + tensor->offset);
        }
        CU_ASSERT_TRUE(same_bytes(latent + tensor->offset, r.u + tensor->offset, tensor->count));
    }
    rig_fini(&r);
}

static void test_view_is_the_quantizer(void) {
    for (int ranges = 0; fq_range_rules[ranges] != NULL; ranges++)
        for (int bits = 1; bits <= 8; bits++) {
            check_view(ranges, bits, FQ_PER_TENSOR);
            check_view(ranges, bits, FQ_PER_CHANNEL);
        }
}

static void test_float_is_identity(void) {
    const fq_network network = rig_network();
    fq_view_settings config = qat_of(32, rig_rule("gauss"));
    rig              r;
    rig_init(&r, &network, &fq_robustness_qat, &config);
    const fq_step step = rig_step(&r, 0, 0, 0);
    rig_view(&r, &step);
    CU_ASSERT_TRUE(same_bytes(r.u, r.w, r.size));
    fill_gradient(&r);
    float before[512];
    memcpy(before, r.g, r.trainable * sizeof *r.g);
    pull(&r, &step);
    CU_ASSERT_TRUE(same_bytes(before, r.g, r.trainable));
    fq_site_hook hook;
    CU_ASSERT_FALSE(r.bound.method->site_hook(&r.bound, &step, r.w, r.g, &hook));
    rig_fini(&r);
}

/* With min-max ranges nothing is clipped: the gradient passes whole, at every width that has a
 * zero. */
static void test_minmax_clips_nothing(void) {
    const fq_network network = rig_network();
    for (int bits = 2; bits <= 8; bits++) {
        fq_view_settings config = qat_of(bits, rig_rule("minmax"));
        rig              r;
        rig_init(&r, &network, &fq_robustness_qat, &config);
        const fq_step step = rig_step(&r, 0, 0, 0);
        rig_view(&r, &step);
        fill_gradient(&r);
        float before[512];
        memcpy(before, r.g, r.trainable * sizeof *r.g);
        pull(&r, &step);
        CU_ASSERT_TRUE(same_bytes(before, r.g, r.trainable));
        rig_fini(&r);
    }
}

/* A learned step of half of min-max's: the gradient of exactly the elements beyond the grid is
 * zero. */
static void test_clip_mask(void) {
    const fq_network       network = rig_dense(4, 50);
    const fq_view_settings config = qat_of(4, rig_rule("learned"));
    rig                    r;
    rig_init(&r, &network, &fq_robustness_qat, &config);
    float peak = 0.0f;
    for (int i = 0; i < 200; i++)
        peak = fmaxf(peak, fabsf(r.w[i]));
    const float half = peak / 7.0f / 2.0f;
    r.w[rig_tensor(&r, "dense1.weight.step")->offset] = half;
    const fq_step step = rig_step(&r, 0, 0, 0);
    rig_view(&r, &step);
    fill_gradient(&r);
    float before[512];
    memcpy(before, r.g, r.trainable * sizeof *r.g);
    pull(&r, &step);
    int clipped = 0;
    for (int i = 0; i < 200; i++) {
        const bool inside = r.w[i] >= -8.0f * half && r.w[i] <= 7.0f * half;
        CU_ASSERT_EQUAL(r.g[i], inside ? before[i] : 0.0f);
        clipped += !inside;
    }
    CU_ASSERT_TRUE(clipped > 50 && clipped < 150);
    rig_fini(&r);
}

/* g (1 + lambda sign(g) r), r = x/D - rne(x/D) */
static void test_ewgs(void) {
    const fq_network network = rig_dense(2, 4);
    fq_view_settings config = qat_of(4, rig_rule("minmax"));
    config.format.ewgs = 0.2;
    rig r;
    rig_init(&r, &network, &fq_robustness_qat, &config);
    memcpy(r.w, golden_w, sizeof golden_w);
    const fq_step step = rig_step(&r, 0, 0, 0);
    rig_view(&r, &step);
    for (int i = 0; i < 8; i++)
        r.g[i] = i % 2 == 0 ? 1.0f : -2.0f;
    pull(&r, &step);
    for (int i = 0; i < 8; i++) {
        const double g = i % 2 == 0 ? 1.0 : -2.0, v = (double)golden_w[i] * 7.0;
        const double expected = g * (1.0 + 0.2 * (g > 0.0 ? 1.0 : -1.0) * (v - rint(v)));
        CU_ASSERT_DOUBLE_EQUAL((double)r.g[i], expected, 1e-5);
    }
    rig_fini(&r);
}

/* One width in the list: the same bits as qat, in everything. */
static void check_mqat_is_qat(int bits, int ranges, fq_draw draw, fq_site_ranges sites) {
    const fq_network network = rig_network();
    fq_view_settings qat = qat_of(bits, ranges);
    fq_view_settings mqat = mqat_of(&(fq_ints){.n = 1, .v = {bits}}, ranges);
    mqat.draw = (int)draw;
    qat.activations.v[0] = mqat.activations.v[0] = 4;
    qat.format.activation_ranges = mqat.format.activation_ranges = (int)sites;
    rig a, b;
    rig_init(&a, &network, &fq_robustness_qat, &qat);
    rig_init(&b, &network, &fq_robustness_mqat, &mqat);
    CU_ASSERT_EQUAL_FATAL(a.size, b.size);
    CU_ASSERT_TRUE(same_bytes(a.w, b.w, a.size));
    for (uint32_t s = 0; s < 3; s++) {
        const fq_step step_a = rig_step(&a, 1, 2, s), step_b = rig_step(&b, 1, 2, s);
        rig_view(&a, &step_a);
        rig_view(&b, &step_b);
        CU_ASSERT_TRUE(same_bytes(a.u, b.u, a.size));
        fill_gradient(&a);
        fill_gradient(&b);
        fq_site_hook hook_a, hook_b;
        CU_ASSERT_TRUE(a.bound.method->site_hook(&a.bound, &step_a, a.w, a.g, &hook_a));
        CU_ASSERT_TRUE(b.bound.method->site_hook(&b.bound, &step_b, b.w, b.g, &hook_b));
        float x[16 * 8], y_a[16 * 8], y_b[16 * 8];
        for (int i = 0; i < 16 * 8; i++)
            x[i] = sinf((float)i);
        CU_ASSERT_TRUE(hook_a.quantize(hook_a.context, 0, 16, 8, 8, x, y_a));
        CU_ASSERT_TRUE(hook_b.quantize(hook_b.context, 0, 16, 8, 8, x, y_b));
        CU_ASSERT_TRUE(same_bytes(y_a, y_b, 16 * 8));
        hook_a.pull(hook_a.context, 0, 16, 8, 8, x, y_a);
        hook_b.pull(hook_b.context, 0, 16, 8, 8, x, y_b);
        CU_ASSERT_TRUE(same_bytes(y_a, y_b, 16 * 8));
        pull(&a, &step_a);
        pull(&b, &step_b);
        CU_ASSERT_TRUE(same_bytes(a.g, b.g, a.trainable));
        CU_ASSERT_TRUE(same_bytes(a.w, b.w, a.size));
        for (size_t i = 0; i < a.trainable; i++)
            a.w[i] -= 0.01f * a.g[i], b.w[i] -= 0.01f * b.g[i];
    }
    rig_fini(&a);
    rig_fini(&b);
}

static void test_mqat_of_one_is_qat(void) {
    check_mqat_is_qat(3, rig_rule("gauss"), FQ_DRAW_STEP, FQ_SITE_RUNNING);
    check_mqat_is_qat(2, rig_rule("learned"), FQ_DRAW_LAYER, FQ_SITE_LEARNED);
    check_mqat_is_qat(8, rig_rule("minmax"), FQ_DRAW_CLIENT, FQ_SITE_BATCH);
    check_mqat_is_qat(32, rig_rule("mse"), FQ_DRAW_STEP, FQ_SITE_RUNNING);
}

/* ---- the draws ---- */

enum { N_TENSORS = 3 };

typedef struct widths {
    int v[N_TENSORS];
} widths;

static widths widths_at(rig *r, uint32_t round, uint64_t client, uint32_t step,
                        const fq_ints *capability) {
    fq_step local = rig_step(r, round, client, step);
    local.capability = capability;
    r->bound.method->begin_step(&r->bound, &local);
    widths w;
    for (int i = 0; i < N_TENSORS; i++)
        w.v[i] = state_of(r)->tensors[i].bits;
    return w;
}

static bool same_widths(widths a, widths b) {
    return memcmp(&a, &b, sizeof a) == 0;
}

static void begin_draws(rig *r, fq_view_settings *config, fq_draw draw) {
    const fq_network network = rig_network();
    *config = mqat_of(&(fq_ints){.n = 4, .v = {2, 3, 4, 8}}, rig_rule("gauss"));
    config->draw = (int)draw;
    rig_init(r, &network, &fq_robustness_mqat, config);
}

static void test_draw_by_step(void) {
    fq_view_settings config;
    rig              r;
    begin_draws(&r, &config, FQ_DRAW_STEP);
    int changes = 0;
    for (uint32_t s = 0; s < 40; s++) {
        const widths w = widths_at(&r, 4, 9, s, NULL);
        CU_ASSERT_TRUE(w.v[0] == w.v[1] && w.v[1] == w.v[2]);
        changes += !same_widths(w, widths_at(&r, 4, 9, s + 1, NULL));
        CU_ASSERT_TRUE(same_widths(w, widths_at(&r, 4, 9, s, NULL))); /* replay */
    }
    CU_ASSERT_TRUE(changes > 20);
    rig_fini(&r);
}

static void test_draw_by_client(void) {
    fq_view_settings config;
    rig              r;
    begin_draws(&r, &config, FQ_DRAW_CLIENT);
    int clients = 0, rounds = 0;
    for (uint32_t k = 0; k < 40; k++) {
        const widths w = widths_at(&r, 4, k, 0, NULL);
        for (uint32_t s = 1; s < 5; s++)
            CU_ASSERT_TRUE(same_widths(w, widths_at(&r, 4, k, s, NULL)));
        clients += !same_widths(w, widths_at(&r, 4, k + 1, 0, NULL));
        rounds += !same_widths(w, widths_at(&r, 5, k, 0, NULL));
    }
    CU_ASSERT_TRUE(clients > 20 && rounds > 20);
    rig_fini(&r);
}

static void test_draw_by_layer(void) {
    fq_view_settings config;
    rig              r;
    begin_draws(&r, &config, FQ_DRAW_LAYER);
    int differ = 0;
    for (uint32_t s = 0; s < 40; s++) {
        const widths w = widths_at(&r, 4, 9, s, NULL);
        differ += w.v[0] != w.v[1] || w.v[1] != w.v[2];
        CU_ASSERT_TRUE(same_widths(w, widths_at(&r, 4, 9, s, NULL)));
    }
    CU_ASSERT_TRUE(differ > 20);
    rig_fini(&r);
}

/* Replaying a step after others gives the same view and the same gradient. */
static void test_replay(void) {
    fq_view_settings config;
    rig              r;
    begin_draws(&r, &config, FQ_DRAW_LAYER);
    const fq_step step = rig_step(&r, 2, 3, 4), other = rig_step(&r, 2, 3, 5);
    float         u[512], g[512];
    rig_view(&r, &step);
    fill_gradient(&r);
    pull(&r, &step);
    memcpy(u, r.u, r.size * sizeof *u);
    memcpy(g, r.g, r.trainable * sizeof *g);
    rig_view(&r, &other);
    CU_ASSERT_FALSE(same_bytes(u, r.u, r.size));
    rig_view(&r, &step);
    fill_gradient(&r);
    pull(&r, &step);
    CU_ASSERT_TRUE(same_bytes(u, r.u, r.size));
    CU_ASSERT_TRUE(same_bytes(g, r.g, r.trainable));
    rig_fini(&r);
}

static void test_capability(void) {
    fq_view_settings config;
    rig              r;
    begin_draws(&r, &config, FQ_DRAW_STEP);
    const fq_ints shared = {.n = 2, .v = {4, 7}}, foreign = {.n = 1, .v = {6}};
    for (uint32_t s = 0; s < 20; s++) {
        CU_ASSERT_EQUAL(widths_at(&r, 0, 0, s, &shared).v[0], 4);
        CU_ASSERT_EQUAL(widths_at(&r, 0, 0, s, &foreign).v[0], 6);
    }
    rig_fini(&r);
}

static void test_layer_policy(void) {
    const fq_network network = rig_network();
    fq_view_settings config = qat_of(3, rig_rule("gauss"));
    config.format.layers = FQ_LAYERS_FIRST_LAST_8;
    rig r;
    rig_init(&r, &network, &fq_robustness_qat, &config);
    const widths w = widths_at(&r, 0, 0, 0, NULL);
    CU_ASSERT_TRUE(w.v[0] == 8 && w.v[1] == 3 && w.v[2] == 8);
    rig_fini(&r);
}

static void test_start_round(void) {
    const fq_network network = rig_network();
    fq_view_settings config = qat_of(2, rig_rule("gauss"));
    config.format.start_round = 5;
    config.activations.v[0] = 4;
    rig r;
    rig_init(&r, &network, &fq_robustness_qat, &config);
    for (uint32_t round = 3; round < 8; round++) {
        const fq_step step = rig_step(&r, round, 0, 0);
        fq_site_hook  hook;
        rig_view(&r, &step);
        CU_ASSERT_EQUAL(same_bytes(r.u, r.w, r.size), round < 5);
        CU_ASSERT_EQUAL(r.bound.method->site_hook(&r.bound, &step, r.w, r.g, &hook), round >= 5);
    }
    rig_fini(&r);
}

/* ---- learned steps ---- */

static void golden_rig(rig *r, fq_view_settings *config) {
    const fq_network network = rig_dense(2, 4);
    rig_init(r, &network, &fq_robustness_qat, config);
    memcpy(r->w, golden_w, sizeof golden_w);
    r->bound.method->init_extra(&r->bound, r->w);
}

static void test_learned_golden(void) {
    fq_view_settings config = qat_of(3, rig_rule("learned"));
    rig              r;
    golden_rig(&r, &config);
    const size_t at = rig_tensor(&r, "dense1.weight.step")->offset;
    CU_ASSERT_DOUBLE_EQUAL((double)r.w[at], 0.461880215, 1e-7);
    r.w[at] = 0.25f;
    const fq_step step = rig_step(&r, 0, 0, 0);
    rig_view(&r, &step);
    const float expected[8] = {-1.0f, -0.5f, -0.25f, 0.0f, 0.0f, 0.0f, 0.25f, 0.75f};
    for (int i = 0; i < 8; i++) {
        CU_ASSERT_EQUAL(r.u[i], expected[i]);
        r.g[i] = 1.0f;
    }
    pull(&r, &step);
    CU_ASSERT_DOUBLE_EQUAL((double)r.g[at], -0.122474487, 1e-6);
    rig_fini(&r);
}

static void test_learned_rate_and_scale(void) {
    fq_view_settings config = qat_of(3, rig_rule("learned"));
    config.format.lsq_grad_scale = false;
    config.format.step_rate = 10.0;
    rig r;
    golden_rig(&r, &config);
    const size_t at = rig_tensor(&r, "dense1.weight.step")->offset;
    r.w[at] = 0.25f;
    const fq_step step = rig_step(&r, 0, 0, 0);
    rig_view(&r, &step);
    for (int i = 0; i < 8; i++)
        r.g[i] = 1.0f;
    r.g[at] = 0.5f; /* added to, not overwritten */
    pull(&r, &step);
    CU_ASSERT_DOUBLE_EQUAL((double)r.g[at], 0.5 + 10.0 * -0.122474487 / 0.204124145, 1e-5);
    rig_fini(&r);
}

/* As a logarithm the step gives the same view, and its gradient is D times that by the step; the
 * mean of two is their geometric mean. */
static void test_log_steps(void) {
    fq_view_settings config = qat_of(3, rig_rule("learned"));
    config.format.log_steps = true;
    rig r;
    golden_rig(&r, &config);
    const size_t at = rig_tensor(&r, "dense1.weight.step")->offset;
    CU_ASSERT_DOUBLE_EQUAL((double)r.w[at], log(0.461880215), 1e-6);
    r.w[at] = (logf(0.0625f) + logf(1.0f)) / 2.0f;
    const fq_step step = rig_step(&r, 0, 0, 0);
    rig_view(&r, &step);
    const float expected[8] = {-1.0f, -0.5f, -0.25f, 0.0f, 0.0f, 0.0f, 0.25f, 0.75f};
    for (int i = 0; i < 8; i++) {
        CU_ASSERT_DOUBLE_EQUAL((double)r.u[i], (double)expected[i], 1e-6);
        r.g[i] = 1.0f;
    }
    pull(&r, &step);
    CU_ASSERT_DOUBLE_EQUAL((double)r.g[at], 0.25 * -0.122474487, 1e-6);
    /* Whatever SGD makes of it, the step is a positive, finite number. */
    const float extremes[] = {-1000.0f, 1000.0f};
    for (int i = 0; i < 2; i++) {
        r.w[at] = extremes[i];
        rig_view(&r, &step);
        CU_ASSERT_TRUE(state_of(&r)->tensors[0].grids[0].step > 0.0f &&
                       isfinite(state_of(&r)->tensors[0].grids[0].step));
    }
    rig_fini(&r);
}

/* Adam leaves nothing of the steps' gradient to the weights' step rule, moves by the rate at first,
 * and then as its definition says. */
static void test_step_adam(void) {
    fq_view_settings config = qat_of(3, rig_rule("learned"));
    config.format.step_optimizer = FQ_STEPS_ADAM;
    config.format.adam_rate = 0.01;
    rig r;
    golden_rig(&r, &config);
    const size_t at = rig_tensor(&r, "dense1.weight.step")->offset;
    double       m = 0.0, v = 0.0, expected = 0.25;
    r.w[at] = 0.25f;
    const fq_step begin = rig_step(&r, 0, 0, 0);
    r.bound.method->after_step(&r.bound, &begin, r.w);
    CU_ASSERT_EQUAL(r.w[at], 0.25f);
    for (uint32_t t = 1; t <= 5; t++) {
        const fq_step step = rig_step(&r, 0, 0, t - 1), after = rig_step(&r, 0, 0, t);
        rig_view(&r, &step);
        for (int i = 0; i < 8; i++)
            r.g[i] = t == 3 ? -2.0f : 1.0f;
        pull(&r, &step);
        CU_ASSERT_EQUAL(r.g[at], 0.0f);
        const double g = (double)state_of(&r)->adam.g[0];
        CU_ASSERT_TRUE(g != 0.0);
        r.bound.method->after_step(&r.bound, &after, r.w);
        m = 0.9 * m + 0.1 * g;
        v = 0.999 * v + 0.001 * g * g;
        expected -= 0.01 * (m / (1.0 - pow(0.9, t))) / (sqrt(v / (1.0 - pow(0.999, t))) + 1e-8);
        CU_ASSERT_DOUBLE_EQUAL((double)r.w[at], expected, 1e-6);
        if (t == 1)
            CU_ASSERT_DOUBLE_EQUAL((double)r.w[at], 0.25 + 0.01, 1e-6); /* the gradient is < 0 */
    }
    rig_fini(&r);
}

/* Loss c.u of the view, as a function of the step. */
static double loss_at(rig *r, size_t at, float value, const float *c) {
    const fq_step step = rig_step(r, 0, 0, 0);
    r->w[at] = value;
    rig_view(r, &step);
    double loss = 0.0;
    for (int i = 0; i < 8; i++)
        loss += (double)c[i] * (double)r->u[i];
    return loss;
}

/* Where all values are clipped, x_hat = D n or D p is smooth in D and finite differences are exact.
 * Where they are not, LSQ's gradient is the difference quotient minus v, the straight-through term.
 */
static void test_learned_finite_differences(void) {
    const float c[8] = {0.3f, -1.0f, 0.7f, 2.0f, 0.1f, -0.4f, 1.1f, 0.9f};
    for (int clipped = 0; clipped < 2; clipped++) {
        fq_view_settings config = qat_of(3, rig_rule("learned"));
        config.format.lsq_grad_scale = false;
        rig r;
        golden_rig(&r, &config);
        r.w[4] = 0.04f; /* no zero, so that a small step clips all */
        const size_t at = rig_tensor(&r, "dense1.weight.step")->offset;
        const float  d = clipped ? 0.005f : 0.26f, h = d / 64.0f;
        const double slope =
            (loss_at(&r, at, d + h, c) - loss_at(&r, at, d - h, c)) / (2.0 * (double)h);
        double        straight_through = 0.0;
        const fq_step step = rig_step(&r, 0, 0, 0);
        r.w[at] = d;
        rig_view(&r, &step);
        for (int i = 0; i < 8; i++) {
            const double v = (double)r.w[i] / (double)d;
            if (v > -4.0 && v < 3.0)
                straight_through += (double)c[i] * v;
            r.g[i] = c[i];
        }
        CU_ASSERT_EQUAL(straight_through == 0.0, clipped == 1);
        pull(&r, &step);
        CU_ASSERT_DOUBLE_EQUAL((double)r.g[at], slope - straight_through, 2e-4);
        rig_fini(&r);
    }
}

/* A step for each width and channel; only those of the drawn width learn. */
static void test_learned_rows(void) {
    const fq_network network = rig_network();
    fq_view_settings config = mqat_of(&(fq_ints){.n = 3, .v = {2, 32, 4}}, rig_rule("learned"));
    config.format.granularity = FQ_PER_CHANNEL;
    rig r;
    rig_init(&r, &network, &fq_robustness_mqat, &config);
    const fq_tensor *steps = rig_tensor(&r, "dense1.weight.step");
    CU_ASSERT_PTR_NOT_NULL_FATAL(steps);
    CU_ASSERT_EQUAL(steps->kind, FQ_STEP);
    CU_ASSERT_EQUAL(steps->count, 2 * 8);
    const float *row = r.w + rig_tensor(&r, "dense1.weight")->offset;
    double       sum = 0.0;
    for (int i = 0; i < 12; i++)
        sum += fabs((double)row[i]);
    CU_ASSERT_DOUBLE_EQUAL((double)r.w[steps->offset], 2.0 * sum / 12.0, 1e-6); /* 2 bits */
    CU_ASSERT_DOUBLE_EQUAL((double)r.w[steps->offset + 8], 2.0 * sum / 12.0 / sqrt(7.0),
                           1e-6); /* 4 bits */
    bool seen[33] = {false};
    for (uint32_t s = 0; s < 20; s++) {
        const fq_step step = rig_step(&r, 0, 0, s);
        rig_view(&r, &step);
        fill_gradient(&r);
        memset(r.g + steps->offset, 0, steps->count * sizeof *r.g);
        pull(&r, &step);
        const int bits = state_of(&r)->tensors[1].bits;
        seen[bits] = true;
        for (size_t k = 0; k < 16; k++)
            CU_ASSERT_EQUAL(r.g[steps->offset + k] != 0.0f, bits == (k < 8 ? 2 : 4));
    }
    CU_ASSERT_TRUE(seen[2] && seen[4] && seen[32]);
    rig_fini(&r);
}

/* A width that only the client's capability brings has no learned step: it is fitted, and no step
 * moves. */
static void test_learned_foreign_width(void) {
    const fq_network       network = rig_network();
    const fq_view_settings config = qat_of(4, rig_rule("learned"));
    const fq_ints          own = {.n = 1, .v = {3}};
    rig                    r;
    rig_init(&r, &network, &fq_robustness_qat, &config);
    fq_step step = rig_step(&r, 0, 0, 0);
    step.capability = &own;
    rig_view(&r, &step);
    const fq_tensor *tensor = rig_tensor(&r, "dense1.weight"),
                    *steps = rig_tensor(&r, "dense1.weight.step");
    const fq_grid grid = fq_range_find("learned")->fit(&(fq_range_options){0}, FQ_GRID_SIGNED, 3,
                                                       r.w + tensor->offset, tensor->count, NULL);
    CU_ASSERT_EQUAL(state_of(&r)->tensors[1].grids[0].step, grid.step);
    fill_gradient(&r);
    r.g[steps->offset] = 0.0f;
    pull(&r, &step);
    CU_ASSERT_EQUAL(r.g[steps->offset], 0.0f);
    rig_fini(&r);
}

static void test_learned_step_below_zero(void) {
    fq_view_settings config = qat_of(3, rig_rule("learned"));
    rig              r;
    golden_rig(&r, &config);
    r.w[rig_tensor(&r, "dense1.weight.step")->offset] = -0.5f;
    const fq_step step = rig_step(&r, 0, 0, 0);
    rig_view(&r, &step);
    CU_ASSERT_EQUAL(r.u[0], -4e-6f);
    CU_ASSERT_EQUAL(r.u[7], 3e-6f);
    rig_fini(&r);
}

/* ---- tensors of the model, and settings ---- */

static void test_extra_tensors(void) {
    const fq_network network = rig_network();
    fq_model        *plain;
    FQ_ASSERT_OK(fq_model_create(&plain, &network, NULL, 0));
    fq_extra_tensor  out[9];
    fq_view_settings config = mqat_of(&(fq_ints){.n = 4, .v = {2, 4, 8, 32}}, rig_rule("gauss"));
    CU_ASSERT_EQUAL(fq_robustness_mqat.extra(&config, plain, out, 8), 0);
    config.format.ranges = rig_rule("learned");
    config.format.layers = FQ_LAYERS_FIRST_LAST_8;
    config.activations = (fq_ints){.n = 2, .v = {4, 8}};
    CU_ASSERT_EQUAL(fq_robustness_mqat.extra(&config, plain, out, 8), 6);
    CU_ASSERT_STRING_EQUAL(out[0].name, "conv1.weight.step");
    CU_ASSERT_EQUAL(out[0].count, 1); /* always 8 bits */
    CU_ASSERT_STRING_EQUAL(out[1].name, "conv1.input.range");
    CU_ASSERT_EQUAL(out[1].kind, FQ_RANGE);
    CU_ASSERT_EQUAL(out[1].count, 3);
    CU_ASSERT_STRING_EQUAL(out[2].name, "dense1.weight.step");
    CU_ASSERT_EQUAL(out[2].count, 3);
    CU_ASSERT_EQUAL(out[2].layer, 2);
    config.format.activation_ranges = FQ_SITE_LEARNED;
    CU_ASSERT_EQUAL(fq_robustness_mqat.extra(&config, plain, out, 9), 9);
    CU_ASSERT_STRING_EQUAL(out[4].name, "dense1.input.step");
    CU_ASSERT_EQUAL(out[4].kind, FQ_STEP);
    CU_ASSERT_EQUAL(out[4].count, 2);
    CU_ASSERT_STRING_EQUAL(out[5].name, "dense1.input.range");
    CU_ASSERT_EQUAL(out[5].kind, FQ_RANGE);
    CU_ASSERT_EQUAL(out[5].count, 2);
    CU_ASSERT_EQUAL(fq_robustness_mqat.extra(&config, plain, out, 2), 2); /* never past the end */
    config.format.activation_ranges = FQ_SITE_BATCH;
    CU_ASSERT_EQUAL(fq_robustness_mqat.extra(&config, plain, out, 8), 3);
    fq_model_destroy(&plain);
}

static void test_check(void) {
    fq_view_settings config = mqat_of(&(fq_ints){.n = 2, .v = {2, 32}}, rig_rule("gauss"));
    FQ_ASSERT_OK(fq_robustness_mqat.check(&config));
    config.weights = (fq_reals){.n = 2, .v = {0.0, 3.0}};
    FQ_ASSERT_OK(fq_robustness_mqat.check(&config));
    config.weights.v[1] = 0.0;
    FQ_ASSERT_FAILS(fq_robustness_mqat.check(&config), FQ_EINVAL, "mqat.weights: all are 0");
    config.weights.v[1] = (double)NAN;
    FQ_ASSERT_FAILS(fq_robustness_mqat.check(&config), FQ_EINVAL,
                    "mqat.weights: nan is not allowed");
    config.weights.n = 3;
    FQ_ASSERT_FAILS(fq_robustness_mqat.check(&config), FQ_EINVAL,
                    "mqat.weights: 3 values for the 2 widths of mqat.bits");
    config.weights.n = 0;
    config.bits.v[0] = 9;
    FQ_ASSERT_FAILS(fq_robustness_mqat.check(&config), FQ_EINVAL,
                    "mqat.bits: 9 is not a width; allowed are 1 to 8 and 32");
    config.bits.v[0] = 4;
    config.activations.v[0] = 0;
    FQ_ASSERT_FAILS(fq_robustness_mqat.check(&config), FQ_EINVAL,
                    "mqat.activations: 0 is not a width");
    config.activations.v[0] = 8;
    config.tied = true;
    FQ_ASSERT_FAILS(fq_robustness_mqat.check(&config), FQ_EINVAL,
                    "mqat.tied: true takes the widths");
    config.activations.v[0] = 32;
    FQ_ASSERT_OK(fq_robustness_mqat.check(&config));
    fq_view_settings qat = qat_of(16, rig_rule("gauss"));
    FQ_ASSERT_FAILS(fq_robustness_qat.check(&qat), FQ_EINVAL, "qat.bits: 16 is not a width");
}

int main(void) {
    static const fq_case cases[] = {
        {"the view is the quantizer", test_view_is_the_quantizer},
        {"32 bits is the identity", test_float_is_identity},
        {"min-max clips nothing", test_minmax_clips_nothing},
        {"clip mask", test_clip_mask},
        {"element-wise gradient scaling", test_ewgs},
        {"mqat of one width is qat", test_mqat_of_one_is_qat},
        {"draw by step", test_draw_by_step},
        {"draw by client", test_draw_by_client},
        {"draw by layer", test_draw_by_layer},
        {"replay", test_replay},
        {"capability", test_capability},
        {"layer policy", test_layer_policy},
        {"start round", test_start_round},
        {"learned: golden values", test_learned_golden},
        {"learned: rate and scale", test_learned_rate_and_scale},
        {"learned: finite differences", test_learned_finite_differences},
        {"learned: logarithms", test_log_steps},
        {"learned: adam", test_step_adam},
        {"learned: rows of widths and channels", test_learned_rows},
        {"learned: a width of the client's own", test_learned_foreign_width},
        {"learned: a step below zero", test_learned_step_below_zero},
        {"extra tensors", test_extra_tensors},
        {"check", test_check},
        {NULL, NULL}};
    return fq_run_suite("quantized_view", cases);
}
