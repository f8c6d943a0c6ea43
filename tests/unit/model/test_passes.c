#include "math/kernels.h"
#include "model_rig.h"
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint16_t LABELS[8] = {0, 2, 1, 1, 0, 2, 2, 0};

/* Float rounding of the logits, some 1e-6, over two steps: 1e-4; truncation, STEP^2 / 6 times a
 * third derivative of about 10: 1e-4. The gradients are between 1e-2 and 1. */
static const float  STEP = 1.0f / 128;
static const double TOLERANCE = 4e-4;

static double loss(model_rig *rig) {
    size_t       correct;
    const float *logits = fq_model_forward(rig->model, rig->ws, rig->w, &rig->pass);
    return fq_cross_entropy(logits, LABELS, fq_model_network(rig->model)->n_classes, rig->batch,
                            rig->lanes, rig->dlogits, &correct) /
           (double)rig->batch;
}

static void check_gradient(model_rig *rig) {
    loss(rig);
    fq_model_backward(rig->model, rig->ws, rig->w, &rig->pass, rig->dlogits, rig->grad);
    size_t wrong = 0, large = 0;
    for (size_t i = 0; i < fq_model_trainable(rig->model); i++) {
        float kept = rig->w[i];
        rig->w[i] = kept + STEP;
        double above = loss(rig);
        rig->w[i] = kept - STEP;
        double below = loss(rig), expected = (above - below) / (2.0 * (double)STEP);
        rig->w[i] = kept;
        large += fabs(expected) > 0.01;
        if (!(fabs((double)rig->grad[i] - expected) <= TOLERANCE) && wrong++ < 3)
            fprintf(stderr, "gradient %zu is %g, expected %g\n", i, (double)rig->grad[i], expected);
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT(large > fq_model_trainable(rig->model) / 4); /* there was something to see */
}

static void test_gradient_of_a_graph(void) {
    fq_network network = rig_smooth_network();
    model_rig  rig;
    rig_init(&rig, &network, 5, true, false);
    check_gradient(&rig);
    rig_fini(&rig);
}

static void test_gradient_is_added(void) {
    fq_network network = rig_smooth_network();
    model_rig  rig;
    rig_init(&rig, &network, 5, true, false);
    loss(&rig);
    size_t n = fq_model_trainable(rig.model), wrong = 0;
    float *twice = calloc(n, sizeof *twice);
    CU_ASSERT_PTR_NOT_NULL_FATAL(twice);
    fq_model_backward(rig.model, rig.ws, rig.w, &rig.pass, rig.dlogits, rig.grad);
    fq_model_backward(rig.model, rig.ws, rig.w, &rig.pass, rig.dlogits, twice);
    fq_model_backward(rig.model, rig.ws, rig.w, &rig.pass, rig.dlogits, twice);
    for (size_t i = 0; i < n; i++)
        wrong += !(fabsf(twice[i] - 2.0f * rig.grad[i]) <= 1e-5f);
    CU_ASSERT_EQUAL(wrong, 0);
    free(twice);
    rig_fini(&rig);
}

/* A view at the end, a view of the input at the beginning, and no hidden layer: the corners of the
 * plan. */
static void test_gradient_of_corners(void) {
    fq_network network = {.input = {2, 2, 2}, .n_classes = 3};
    rig_append(&network, "flatten", "", "");
    rig_append_dense(&network, "dense", "", 3);
    rig_append(&network, "flatten", "", "");
    model_rig rig;
    rig_init(&rig, &network, 5, true, false);
    check_gradient(&rig);
    rig_fini(&rig);
}

/* ---- sites ---- */

enum { MAX_CALLS = 32 };
typedef struct recorder {
    size_t       quantized[MAX_CALLS], n_quantized, pulled[MAX_CALLS], n_pulled, wrong;
    const float *x[MAX_CALLS]; /* by site */
    size_t       features[MAX_CALLS];
} recorder;

/* Odd sites are declined; others are multiplied by 1.5, whose gradient is known. */
static bool scale(void *context, size_t site, size_t features, size_t batch, size_t lanes,
                  const float *x, float *y) {
    recorder *r = context;
    if (r->n_quantized < MAX_CALLS)
        r->quantized[r->n_quantized++] = site;
    r->x[site] = x;
    r->features[site] = features;
    r->wrong += batch != 5 || lanes != 8;
    if (site % 2 == 1)
        return false;
    for (size_t i = 0; i < features * lanes; i++)
        y[i] = 1.5f * x[i];
    return true;
}

static void pull(void *context, size_t site, size_t features, size_t batch, size_t lanes,
                 const float *x, float *dy) {
    recorder *r = context;
    if (r->n_pulled < MAX_CALLS)
        r->pulled[r->n_pulled++] = site;
    r->wrong += batch != 5 || lanes != 8 || x != r->x[site] || features != r->features[site] ||
                site % 2 == 1;
    for (size_t i = 0; i < features * lanes; i++)
        dy[i] *= 1.5f;
}

static void test_sites(void) {
    fq_network   network = rig_smooth_network();
    recorder     r = {0};
    fq_site_hook hook = {.context = &r, .quantize = scale, .pull = pull};
    model_rig    rig;
    rig_init(&rig, &network, 5, true, true);
    CU_ASSERT_EQUAL(fq_model_site_count(rig.model), 5);
    double plain = loss(&rig);
    rig.pass.sites = &hook;
    CU_ASSERT(fabs(loss(&rig) - plain) > 1e-3);
    CU_ASSERT_EQUAL(r.n_quantized, 5);
    for (size_t s = 0; s < 5; s++)
        CU_ASSERT_EQUAL(r.quantized[s], s);
    /* Sites 0 (conv1) and 2 (conv3) read the input: nobody needs a gradient there. Site 4 is
     * dense2. */
    fq_model_backward(rig.model, rig.ws, rig.w, &rig.pass, rig.dlogits, rig.grad);
    CU_ASSERT_EQUAL(r.n_pulled, 1);
    CU_ASSERT_EQUAL(r.pulled[0], 4);
    hook.pull_everywhere = true;
    r.n_pulled = 0;
    fq_model_backward(rig.model, rig.ws, rig.w, &rig.pass, rig.dlogits, rig.grad);
    CU_ASSERT_EQUAL(r.n_pulled, 3);
    CU_ASSERT(r.pulled[0] == 4 && r.pulled[1] == 2 && r.pulled[2] == 0);
    CU_ASSERT_EQUAL(r.wrong, 0);
    rig_fini(&rig);
}

typedef struct sight {
    size_t n, wrong;
    float  largest[FQ_MAX_LAYERS + 1];
} sight;

static void see(void *context, size_t value, size_t features, size_t batch, size_t lanes,
                const float *x) {
    sight *s = context;
    s->wrong += value != s->n++ || batch != 5;
    for (size_t f = 0; f < features; f++)
        for (size_t i = 0; i < batch; i++)
            s->largest[value] = fmaxf(s->largest[value], fabsf(x[f * lanes + i]));
}

/* In their order, the flattened one as what it is made of, also where memory is used again. */
static void test_watch(void) {
    fq_network network = rig_smooth_network();
    sight      s = {0};
    fq_watch   watch = {&s, see};
    model_rig  rig;
    rig_init(&rig, &network, 5, false, false);
    rig.pass.watch = &watch;
    loss(&rig);
    CU_ASSERT_EQUAL(s.n, network.n_layers + 1);
    CU_ASSERT_EQUAL(s.wrong, 0);
    CU_ASSERT(s.largest[8] > 0.0f && s.largest[9] == s.largest[8]); /* pool, flat */
    CU_ASSERT_EQUAL(s.largest[5], 2.0f * s.largest[4]);             /* add2 of add1, twice */
    rig_fini(&rig);
}

static void test_gradient_through_sites(void) {
    fq_network   network = rig_smooth_network();
    recorder     r = {0};
    fq_site_hook hook = {.context = &r, .quantize = scale, .pull = pull};
    model_rig    rig;
    rig_init(&rig, &network, 5, true, true);
    rig.pass.sites = &hook;
    check_gradient(&rig);
    hook.pull_everywhere = true;
    memset(rig.grad, 0, fq_model_trainable(rig.model) * sizeof *rig.grad);
    check_gradient(&rig);
    rig_fini(&rig);
}

/* A hook without `quantize`, or one that declines, leaves float activations. */
static void test_sites_declined(void) {
    fq_network   network = {.input = {4, 1, 1}, .n_classes = 3};
    recorder     r = {0};
    fq_site_hook none = {0}, hook = {.context = &r, .quantize = scale, .pull = pull};
    rig_append_dense(&network, "dense1", "", 4);
    rig_append_dense(&network, "dense2", "", 3);
    model_rig rig;
    rig_init(&rig, &network, 5, true, true);
    double plain = loss(&rig);
    rig.pass.sites = &none;
    CU_ASSERT_EQUAL(loss(&rig), plain);
    fq_model_backward(rig.model, rig.ws, rig.w, &rig.pass, rig.dlogits, rig.grad);
    rig.pass.sites = &hook;
    loss(&rig);
    fq_model_backward(rig.model, rig.ws, rig.w, &rig.pass, rig.dlogits, rig.grad);
    CU_ASSERT_EQUAL(r.n_pulled, 0); /* site 0 is the input's, site 1 was declined */
    rig_fini(&rig);
}

/* ---- modes and memory ---- */

static void check_logits(model_rig *a, model_rig *b) {
    const float *x = fq_model_forward(a->model, a->ws, a->w, &a->pass);
    const float *y = fq_model_forward(b->model, b->ws, b->w, &b->pass);
    CU_ASSERT_EQUAL(memcmp(x, y, fq_model_network(a->model)->n_classes * a->lanes * sizeof *x), 0);
}

static void test_evaluation_equals_training(void) {
    fq_network network = rig_smooth_network();
    model_rig  train, eval;
    rig_init(&train, &network, 5, true, true);
    rig_init(&eval, &network, 5, false, false);
    check_logits(&train, &eval);
    check_logits(&eval, &eval); /* the input is still there */
    train.pass.train = false;
    check_logits(&train, &eval);
    rig_fini(&train);
    rig_fini(&eval);
}

/* conv, relu, pool; conv, norm, relu; conv, norm, sum, relu; with dropout of nothing around each
 * relu that keeps it from being applied by its neighbours. */
static fq_network relu_network(bool apart) {
    fq_network network = {.input = {3, 8, 8}, .n_classes = 3};
    rig_append_conv(&network, "conv1", "", 8);
    for (int i = 0; i < 3; i++) {
        static const char *const norms[] = {"", "norm2", "norm3"}, *const convs[] = {"", "c2",
                                                                                     "c3"};
        if (i > 0) {
            rig_append_conv(&network, convs[i], "", 8)->pad = 1;
            network.layers[network.n_layers - 1].kernel = 3;
            rig_append(&network, "group_norm", norms[i], "");
        }
        if (i == 2)
            rig_append(&network, "add", "", "norm3 relu2");
        if (apart)
            rig_append(&network, "dropout", "", "")->rate = 0.0;
        rig_append(&network, "relu", i == 1 ? "relu2" : "", "");
        if (apart && i == 0)
            rig_append(&network, "dropout", "", "")->rate = 0.0;
        if (i == 0)
            rig_append(&network, "max_pool2d", "", "")->kernel = 2;
    }
    rig_append(&network, "flatten", "", "");
    rig_append_dense(&network, "dense", "", 3);
    return network;
}

/* Where a relu is applied changes no bit. */
static void test_relu_in_place(void) {
    model_rig rigs[2];
    for (int apart = 0; apart < 2; apart++) {
        const fq_network network = relu_network(apart);
        model_rig       *rig = &rigs[apart];
        rig_init(rig, &network, 11, true, false);
        const float *logits = fq_model_forward(rig->model, rig->ws, rig->w, &rig->pass);
        for (size_t i = 0; i < 3 * rig->lanes; i++)
            rig->dlogits[i] = i % rig->lanes < rig->batch ? 1.0f - logits[i] : 0.0f;
        fq_model_backward(rig->model, rig->ws, rig->w, &rig->pass, rig->dlogits, rig->grad);
    }
    const size_t n = fq_model_trainable(rigs[0].model);
    CU_ASSERT_EQUAL_FATAL(n, fq_model_trainable(rigs[1].model));
    CU_ASSERT_EQUAL(memcmp(rigs[0].dlogits, rigs[1].dlogits, 3 * rigs[0].lanes * sizeof(float)), 0);
    CU_ASSERT_EQUAL(memcmp(rigs[0].grad, rigs[1].grad, n * sizeof(float)), 0);
    CU_ASSERT(fq_workspace_bytes(rigs[0].model, 11, true, false) <
              fq_workspace_bytes(rigs[1].model, 11, true, false));
    rig_fini(&rigs[0]);
    rig_fini(&rigs[1]);
}

static void test_evaluation_takes_less_memory(void) {
    fq_network *network = calloc(1, sizeof *network);
    fq_model   *model;
    CU_ASSERT_PTR_NOT_NULL_FATAL(network);
    FQ_ASSERT_OK(fq_zoo_build("resnet20_gn", (fq_shape){3, 32, 32}, 10, network));
    FQ_ASSERT_OK(fq_model_create(&model, network, NULL, 0));
    /* Forward needs the input and three activations of 16x32x32 at once: the branch's input and
     * output and the shortcut; and the scratch of the widest convolution. */
    const fq_conv widest = {
        .in_c = 64, .out_c = 64, .kernel_h = 3, .kernel_w = 3, .stride = 1, .groups = 1};
    const size_t scratch = 4 * fq_conv_scratch(&widest);
    size_t       train = fq_workspace_bytes(model, 64, true, false),
           eval = fq_workspace_bytes(model, 64, false, false);
    CU_ASSERT(eval < (size_t)64 * 4 * (3 * 32 * 32 + 3 * 16 * 32 * 32 + 64) + scratch);
    CU_ASSERT(train - scratch > 10 * (eval - scratch));
    CU_ASSERT(fq_workspace_bytes(model, 64, true, true) > train);
    CU_ASSERT(fq_workspace_bytes(model, 64, false, true) >= eval);
    CU_ASSERT_EQUAL(fq_workspace_bytes(model, SIZE_MAX / 2, true, true), SIZE_MAX);
    CU_ASSERT_EQUAL(fq_workspace_bytes(model, 0, true, true), SIZE_MAX);
    fq_model_destroy(&model);
    free(network);
}

static void test_arena_too_small(void) {
    fq_network    network = rig_smooth_network();
    fq_model     *model;
    fq_workspace *ws;
    fq_arena      arena;
    FQ_ASSERT_OK(fq_model_create(&model, &network, NULL, 0));
    FQ_ASSERT_OK(fq_arena_init(&arena, fq_workspace_bytes(model, 5, true, true) - FQ_ALIGN));
    FQ_ASSERT_FAILS(fq_workspace_create(&ws, model, 5, true, true, &arena), FQ_ENOMEM, "too small");
    CU_ASSERT_PTR_NULL(ws);
    fq_arena_reset(&arena);
    FQ_ASSERT_FAILS(fq_workspace_create(&ws, model, 0, true, true, &arena), FQ_EINVAL,
                    "at least 1");
    fq_arena_fini(&arena);
    fq_model_destroy(&model);
}

/* A batch smaller than the workspace, and other companions: the same result for an example, to the
 * bit. */
static void test_examples_are_independent(void) {
    fq_network network = rig_smooth_network();
    model_rig  many, few;
    rig_init(&many, &network, 19, false, false);
    rig_init(&few, &network, 19, false, false);
    few.pass.batch = 2;
    const float *x = fq_workspace_input(many.ws);
    float       *y = fq_workspace_input(few.ws);
    for (size_t f = 0; f < fq_shape_count(network.input); f++)
        for (size_t l = 0; l < 8; l++)
            y[f * 8 + l] = l < 2 ? x[f * many.lanes + 17 - 10 * l] : 0.0f;
    const float *all = fq_model_forward(many.model, many.ws, many.w, &many.pass);
    const float *two = fq_model_forward(few.model, few.ws, few.w, &few.pass);
    for (size_t c = 0; c < 3; c++) {
        CU_ASSERT_EQUAL(two[c * 8], all[c * many.lanes + 17]);
        CU_ASSERT_EQUAL(two[c * 8 + 1], all[c * many.lanes + 7]);
    }
    rig_fini(&many);
    rig_fini(&few);
}

static void test_dropout_stream(void) {
    fq_network network = {.input = {64, 1, 1}, .n_classes = 64};
    rig_append(&network, "dropout", "", "")->rate = 0.25;
    model_rig rig;
    rig_init(&rig, &network, 8, true, false);
    float *x = fq_workspace_input(rig.ws), first[64 * 8];
    for (size_t i = 0; i < 64 * 8; i++)
        x[i] = 1.0f;
    memcpy(first, fq_model_forward(rig.model, rig.ws, rig.w, &rig.pass), sizeof first);
    size_t zeros = 0;
    for (size_t i = 0; i < 64 * 8; i++) {
        zeros += first[i] == 0.0f;
        CU_ASSERT(first[i] == 0.0f || first[i] == 1.0f / 0.75f);
    }
    CU_ASSERT(zeros > 128 - 50 && zeros < 128 + 50); /* five standard deviations of 9.8 */
    fq_pass same = rig.pass, other[4] = {same, same, same, same};
    CU_ASSERT_EQUAL(memcmp(first, fq_model_forward(rig.model, rig.ws, rig.w, &same), sizeof first),
                    0);
    other[0].step++;
    other[1].round++;
    other[2].client++;
    other[3].seed++;
    for (size_t i = 0; i < 4; i++)
        CU_ASSERT_NOT_EQUAL(
            memcmp(first, fq_model_forward(rig.model, rig.ws, rig.w, &other[i]), sizeof first), 0);
    rig.pass.train = false;
    CU_ASSERT_EQUAL(memcmp(x, fq_model_forward(rig.model, rig.ws, rig.w, &rig.pass), sizeof first),
                    0);
    rig_fini(&rig);
}

int main(void) {
    static const fq_case cases[] = {
        {"gradient of a graph", test_gradient_of_a_graph},
        {"gradient is added", test_gradient_is_added},
        {"gradient of corners", test_gradient_of_corners},
        {"sites", test_sites},
        {"watch", test_watch},
        {"gradient through sites", test_gradient_through_sites},
        {"sites declined", test_sites_declined},
        {"evaluation equals training", test_evaluation_equals_training},
        {"a relu in place", test_relu_in_place},
        {"evaluation takes less memory", test_evaluation_takes_less_memory},
        {"arena too small", test_arena_too_small},
        {"examples are independent", test_examples_are_independent},
        {"dropout stream", test_dropout_stream},
        {NULL, NULL},
    };
    return fq_run_suite("passes", cases);
}
