#include "robust/quantized_view.h"
#include "robust_rig.h"
#include "suite.h"

#include <math.h>
#include <string.h>

/* Site 0 is the network's input and may be negative; sites 1 and 2 come from ReLUs. */
enum { FEATURES = 5, LANES = 8, COUNT = FEATURES * LANES };

static fq_view_settings config_of(int activations, fq_site_ranges ranges) {
    return (fq_view_settings){.bits = {.v = {32}},
                              .activations = {.v = {activations}},
                              .format = {.activation_ranges = (int)ranges,
                                         .ranges = rig_rule("gauss"),
                                         .step_rate = 1.0,
                                         .lsq_grad_scale = true}};
}

static fq_site_hook hook_of(rig *r, uint32_t step) {
    const fq_step local = rig_step(r, 0, 0, step);
    fq_site_hook  hook;
    r->bound.method->begin_step(&r->bound, &local);
    CU_ASSERT_TRUE_FATAL(r->bound.method->site_hook(&r->bound, &local, r->w, r->g, &hook));
    return hook;
}

static void begin(rig *r, const fq_view_settings *config) {
    const fq_network network = rig_network();
    rig_init(r, &network, &fq_robustness_qat, config);
}

/* Values in [low, high) in the valid lanes, large ones in the others, which must not count. */
static void fill(float *x, size_t batch, float low, float high) {
    fq_rng rng = fq_rng_stream(9, FQ_RNG_DATA, 0, 0, 0, 0);
    for (size_t i = 0; i < COUNT; i++) {
        const float u = fq_rng_uniform(&rng);
        x[i] = i % LANES < batch ? low + (high - low) * u : 1000.0f;
    }
}

static void extremes(const float *x, size_t batch, float *low, float *high) {
    *low = INFINITY;
    *high = -INFINITY;
    for (size_t i = 0; i < COUNT; i++)
        if (i % LANES < batch) {
            *low = fminf(*low, x[i]);
            *high = fmaxf(*high, x[i]);
        }
}

/* Quantized values are those of the grid of the batch's range: asymmetric at the input, unsigned
 * after ReLU. */
static void test_batch_ranges(void) {
    const fq_view_settings config = config_of(4, FQ_SITE_BATCH);
    rig                    r;
    begin(&r, &config);
    for (size_t batch = 5; batch <= LANES; batch += 3) {
        for (size_t site = 0; site < 2; site++) {
            float x[COUNT], y[COUNT], low, high;
            fill(x, batch, site == 0 ? -1.0f : 0.0f, 2.0f);
            extremes(x, batch, &low, &high);
            const fq_grid grid =
                fq_grid_of_range(site == 0 ? FQ_GRID_ASYMMETRIC : FQ_GRID_UNSIGNED, 4, low, high);
            const fq_site_hook hook = hook_of(&r, 0);
            CU_ASSERT_TRUE(hook.quantize(hook.context, site, FEATURES, batch, LANES, x, y));
            for (size_t i = 0; i < COUNT; i++) {
                if (i % LANES >= batch)
                    continue;
                float expected;
                fq_kernels_get()->fake_quantize(1, &x[i], &grid, &expected);
                CU_ASSERT_EQUAL(y[i], expected);
            }
        }
    }
    rig_fini(&r);
}

/* The first batch sets the range in the latent vector, later ones move it by a tenth. */
static void test_running_ranges(void) {
    const fq_view_settings config = config_of(8, FQ_SITE_RUNNING);
    rig                    r;
    begin(&r, &config);
    const fq_tensor *range = rig_tensor(&r, "dense1.input.range");
    CU_ASSERT_PTR_NOT_NULL_FATAL(range);
    CU_ASSERT_EQUAL(range->kind, FQ_RANGE);
    CU_ASSERT_TRUE(range->offset >= r.trainable); /* SGD does not touch it */
    const float *at = r.w + range->offset;
    CU_ASSERT_TRUE(at[0] == 0.0f && at[1] == 0.0f && at[2] == 0.0f);
    float x[COUNT], y[COUNT], low, high;
    fill(x, 5, 0.5f, 2.0f);
    extremes(x, 5, &low, &high);
    const fq_site_hook hook = hook_of(&r, 0);
    hook.quantize(hook.context, 1, FEATURES, 5, LANES, x, y);
    CU_ASSERT_EQUAL(at[0], low);
    CU_ASSERT_EQUAL(at[1], high);
    CU_ASSERT_EQUAL(at[2], 1.0f);
    for (int i = 0; i < COUNT; i++)
        x[i] *= 2.0f;
    hook.quantize(hook.context, 1, FEATURES, 5, LANES, x, y);
    CU_ASSERT_DOUBLE_EQUAL((double)at[0], 1.1 * (double)low, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL((double)at[1], 1.1 * (double)high, 1e-6);
    /* Values past the running range are clipped to its top, and their gradient is cut. */
    float dy[COUNT];
    int   clipped = 0;
    for (int i = 0; i < COUNT; i++)
        dy[i] = 1.0f;
    hook.pull(hook.context, 1, FEATURES, 5, LANES, x, dy);
    for (int i = 0; i < COUNT; i++) {
        if (i % LANES >= 5)
            continue;
        const bool inside = x[i] <= at[1];
        CU_ASSERT_EQUAL(dy[i], inside ? 1.0f : 0.0f);
        if (!inside)
            CU_ASSERT_DOUBLE_EQUAL((double)y[i], (double)at[1], 1e-4);
        clipped += !inside;
    }
    CU_ASSERT_TRUE(clipped > 0 && clipped < 25);
    rig_fini(&r);
}

/* Learned: signed at the input, unsigned after ReLU, first step 2 mean|x| / sqrt(high). */
static void test_learned_first_step(void) {
    const fq_view_settings config = config_of(4, FQ_SITE_LEARNED);
    rig                    r;
    begin(&r, &config);
    static const char *const names[] = {"conv1.input.step", "dense1.input.step"};
    static const double      top[] = {7.0, 15.0};
    const fq_site_hook       hook = hook_of(&r, 0);
    for (size_t site = 0; site < 2; site++) {
        const fq_tensor *step = rig_tensor(&r, names[site]);
        CU_ASSERT_PTR_NOT_NULL_FATAL(step);
        CU_ASSERT_TRUE(step->offset < r.trainable);
        float x[COUNT], y[COUNT];
        fill(x, 6, site == 0 ? -1.0f : 0.0f, 1.0f);
        double sum = 0.0;
        for (size_t i = 0; i < COUNT; i++)
            sum += i % LANES < 6 ? fabs((double)x[i]) : 0.0;
        hook.quantize(hook.context, site, FEATURES, 6, LANES, x, y);
        const double first = 2.0 * sum / (6.0 * FEATURES) / sqrt(top[site]);
        CU_ASSERT_EQUAL(r.w[step->offset], 0.0f); /* SGD adds to it from here on */
        const fq_grid grid = ((const fq_view *)hook.context)->sites[site].grid;
        CU_ASSERT_DOUBLE_EQUAL((double)grid.step, first, 1e-6);
        for (size_t i = 0; i < COUNT; i++)
            if (i % LANES < 6)
                CU_ASSERT_TRUE((double)y[i] <= top[site] * first * 1.00001);
        /* A later batch keeps the first value and what was learned since. */
        r.w[step->offset] = 0.5f;
        fill(x, 6, 2.0f, 9.0f);
        hook.quantize(hook.context, site, FEATURES, 6, LANES, x, y);
        CU_ASSERT_EQUAL(r.w[step->offset], 0.5f);
        const fq_grid later = ((const fq_view *)hook.context)->sites[site].grid;
        CU_ASSERT_DOUBLE_EQUAL((double)later.step, first + 0.5, 1e-6);
    }
    rig_fini(&r);
}

/* A client starts from the mean over the clients that know, whatever their share; a batch of zeros
 * starts nothing; steps that SGD makes negative count as the least one. */
static void test_learned_share(void) {
    const fq_view_settings config = config_of(4, FQ_SITE_LEARNED);
    rig                    r;
    begin(&r, &config);
    float *step = r.w + rig_tensor(&r, "dense1.input.step")->offset,
          *first = r.w + rig_tensor(&r, "dense1.input.range")->offset;
    CU_ASSERT_TRUE(first >= r.w + r.trainable); /* SGD does not touch it */
    const fq_site_hook hook = hook_of(&r, 0);
    const fq_grid     *grid = &((const fq_view *)hook.context)->sites[1].grid;
    float              x[COUNT] = {0}, y[COUNT];
    hook.quantize(hook.context, 1, FEATURES, 6, LANES, x, y);
    CU_ASSERT_TRUE(first[0] == 0.0f && first[1] == 0.0f);
    fill(x, 6, 1.0f, 2.0f);
    first[0] = 0.25f * 3.0f;
    first[1] = 0.25f;
    hook.quantize(hook.context, 1, FEATURES, 6, LANES, x, y);
    CU_ASSERT_DOUBLE_EQUAL((double)grid->step, 2.0 * 3.0 / sqrt(15.0), 1e-6);
    CU_ASSERT_TRUE(first[0] == 0.75f && first[1] == 0.25f);
    *step = -10.0f;
    hook.quantize(hook.context, 1, FEATURES, 6, LANES, x, y);
    CU_ASSERT_EQUAL(grid->step, 1e-6f);
    rig_fini(&r);
}

/* A running range of which a quarter of the clients know goes on from their mean. */
static void test_running_share(void) {
    const fq_view_settings config = config_of(4, FQ_SITE_RUNNING);
    rig                    r;
    begin(&r, &config);
    float *range = r.w + rig_tensor(&r, "conv1.input.range")->offset;
    range[0] = 0.25f * -4.0f;
    range[1] = 0.25f * 8.0f;
    range[2] = 0.25f;
    float x[COUNT], y[COUNT], low, high;
    fill(x, 6, -1.0f, 1.0f);
    extremes(x, 6, &low, &high);
    const fq_site_hook hook = hook_of(&r, 0);
    hook.quantize(hook.context, 0, FEATURES, 6, LANES, x, y);
    CU_ASSERT_DOUBLE_EQUAL((double)range[0], 0.9 * -4.0 + 0.1 * (double)low, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL((double)range[1], 0.9 * 8.0 + 0.1 * (double)high, 1e-6);
    CU_ASSERT_EQUAL(range[2], 1.0f);
    rig_fini(&r);
}

/* With a small step all values are clipped, the output is smooth in it, and finite differences
 * hold. Lanes past the batch have no say. */
static void test_learned_gradient(void) {
    for (size_t batch = 6; batch <= LANES; batch += 2) {
        fq_view_settings config = config_of(3, FQ_SITE_LEARNED);
        config.format.step_rate = 2.0;
        rig r;
        begin(&r, &config);
        const size_t at = rig_tensor(&r, "dense1.input.step")->offset,
                     first = rig_tensor(&r, "dense1.input.range")->offset;
        const fq_site_hook hook = hook_of(&r, 0);
        float              x[COUNT], y[COUNT], dy[COUNT];
        fill(x, batch, 0.5f, 1.0f);
        double loss[2] = {0};
        for (int side = 0; side < 2; side++) {
            r.w[first] = 0.0f; /* no first value, only what was learned */
            r.w[first + 1] = 1.0f;
            r.w[at] = side == 0 ? 0.03125f : 0.03515625f;
            hook.quantize(hook.context, 1, FEATURES, batch, LANES, x, y);
            for (size_t i = 0; i < COUNT; i++)
                loss[side] += i % LANES < batch ? (double)y[i] * (double)(i % 3) : 0.0;
        }
        for (size_t i = 0; i < COUNT; i++)
            dy[i] = (float)(i % 3);
        hook.pull(hook.context, 1, FEATURES, batch, LANES, x, dy);
        const double scale = 2.0 / sqrt((double)(FEATURES * batch) * 7.0);
        CU_ASSERT_DOUBLE_EQUAL((double)r.g[at], scale * (loss[1] - loss[0]) / 0.00390625, 1e-3);
        CU_ASSERT_TRUE(r.g[at] > 0.0f);
        for (size_t i = 0; i < COUNT; i++)
            CU_ASSERT_EQUAL(dy[i], 0.0f); /* all are clipped */
        rig_fini(&r);
    }
}

static void test_layer_policy(void) {
    const fq_network network = rig_network();
    fq_view_settings config = config_of(3, FQ_SITE_BATCH);
    config.format.layers = FQ_LAYERS_FIRST_LAST_8;
    rig r;
    rig_init(&r, &network, &fq_robustness_qat, &config);
    const fq_site_hook hook = hook_of(&r, 0);
    const fq_view     *view = hook.context;
    CU_ASSERT_TRUE(view->sites[0].bits == 8 && view->sites[1].bits == 3 &&
                   view->sites[2].bits == 8);
    rig_fini(&r);
    config.format.layers = FQ_LAYERS_FIRST_LAST_FLOAT;
    rig_init(&r, &network, &fq_robustness_qat, &config);
    const fq_site_hook inner = hook_of(&r, 0);
    float              x[COUNT], y[COUNT];
    fill(x, LANES, 0.0f, 1.0f);
    CU_ASSERT_FALSE(inner.quantize(inner.context, 0, FEATURES, LANES, LANES, x, y));
    CU_ASSERT_TRUE(inner.quantize(inner.context, 1, FEATURES, LANES, LANES, x, y));
    rig_fini(&r);
}

static void test_tied_and_independent(void) {
    const fq_network network = rig_network();
    fq_view_settings config = {.bits = {.n = 3, .v = {2, 4, 8}},
                               .activations = {.n = 1, .v = {32}},
                               .tied = true,
                               .draw = FQ_DRAW_LAYER,
                               .format = config_of(32, FQ_SITE_RUNNING).format};
    for (int tied = 1; tied >= 0; tied--) {
        config.tied = tied == 1;
        if (!config.tied)
            config.activations = (fq_ints){.n = 3, .v = {2, 4, 8}};
        rig r;
        rig_init(&r, &network, &fq_robustness_mqat, &config);
        int same = 0;
        for (uint32_t s = 0; s < 50; s++) {
            const fq_step local = rig_step(&r, 0, 0, s);
            r.bound.method->begin_step(&r.bound, &local);
            const fq_view *view = r.bound.state;
            for (int i = 0; i < 3; i++)
                same += view->tensors[i].bits == view->sites[i].bits;
        }
        if (config.tied)
            CU_ASSERT_EQUAL(same, 150);
        if (!config.tied)
            CU_ASSERT_TRUE(same > 20 && same < 90); /* one in three */
        rig_fini(&r);
    }
}

/* The hook in a real pass: the model's ranges move, and activations of one bit change the logits.
 */
static void test_in_the_model(void) {
    const fq_view_settings config = config_of(2, FQ_SITE_RUNNING);
    rig                    r;
    begin(&r, &config);
    fq_arena      arena;
    fq_workspace *ws;
    FQ_ASSERT_OK(fq_arena_init(&arena, fq_workspace_bytes(r.model, 5, true, true)));
    FQ_ASSERT_OK(fq_workspace_create(&ws, r.model, 5, true, true, &arena));
    float *input = fq_workspace_input(ws);
    for (size_t i = 0; i < 16 * LANES; i++)
        input[i] = i % LANES < 5 ? cosf((float)i) : 0.0f;
    fq_pass pass = {.batch = 5, .train = true};
    float   plain[4 * LANES];
    memcpy(plain, fq_model_forward(r.model, ws, r.w, &pass), sizeof plain);
    const fq_site_hook hook = hook_of(&r, 0);
    pass.sites = &hook;
    const float *logits = fq_model_forward(r.model, ws, r.w, &pass);
    size_t       changed = 0;
    for (size_t i = 0; i < 4 * LANES; i++)
        changed += i % LANES < 5 && logits[i] != plain[i];
    CU_ASSERT_TRUE(changed > 10);
    float dlogits[4 * LANES] = {0};
    for (size_t i = 0; i < 4 * LANES; i++)
        dlogits[i] = i % LANES < 5 ? 0.1f : 0.0f;
    fq_model_backward(r.model, ws, r.w, &pass, dlogits, r.g);
    CU_ASSERT_TRUE(r.g[0] != 0.0f);
    static const char *const names[] = {"conv1.input.range", "dense1.input.range",
                                        "dense2.input.range"};
    for (int i = 0; i < 3; i++) {
        const float *range = r.w + rig_tensor(&r, names[i])->offset;
        CU_ASSERT_TRUE(i == 0 ? range[0] < -0.9f && range[1] > 0.9f
                              : range[0] >= 0.0f && range[1] > 0.0f);
    }
    fq_arena_fini(&arena);
    rig_fini(&r);
}

int main(void) {
    static const fq_case cases[] = {{"ranges of the batch", test_batch_ranges},
                                    {"running ranges", test_running_ranges},
                                    {"learned: first step", test_learned_first_step},
                                    {"learned: share of clients", test_learned_share},
                                    {"running: share of clients", test_running_share},
                                    {"learned: gradient", test_learned_gradient},
                                    {"layer policy", test_layer_policy},
                                    {"tied and independent widths", test_tied_and_independent},
                                    {"in the model", test_in_the_model},
                                    {NULL, NULL}};
    return fq_run_suite("activations", cases);
}
