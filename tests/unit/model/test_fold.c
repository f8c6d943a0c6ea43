#include "math/kernels.h"
#include "model_rig.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Values that make every norm do something. */
static float *values(const fq_model *model) {
    float *w = malloc(fq_model_size(model) * sizeof *w);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w);
    fq_model_init(model, 3, w);
    for (size_t t = 0; t < fq_model_tensor_count(model); t++) {
        const fq_tensor *tensor = fq_model_tensor(model, t);
        for (size_t i = 0; i < tensor->count && tensor->kind != FQ_WEIGHT; i++)
            w[tensor->offset + i] += 0.125f * (float)(i % 5);
    }
    return w;
}

static void forward(const fq_model *model, const float *w, const float *x, float *logits) {
    fq_arena      arena;
    fq_workspace *ws;
    fq_pass       pass = {.batch = 8};
    size_t        n = fq_shape_count(fq_model_network(model)->input) * fq_lanes(8);
    FQ_ASSERT_OK(fq_arena_init(&arena, fq_workspace_bytes(model, 8, false, false)));
    FQ_ASSERT_OK(fq_workspace_create(&ws, model, 8, false, false, &arena));
    memcpy(fq_workspace_input(ws), x, n * sizeof *x);
    memcpy(logits, fq_model_forward(model, ws, w, &pass),
           fq_model_network(model)->n_classes * fq_lanes(8) * sizeof *logits);
    fq_arena_fini(&arena);
}

/* The folded model is the same function; returns how many layers it has less. */
static size_t check_same(const fq_network *network, const fq_extra_tensor *extra, size_t n_extra) {
    fq_model *model, *folded;
    float    *w, *v, before[128], after[128];
    FQ_ASSERT_OK(fq_model_create(&model, network, extra, n_extra));
    w = values(model);
    FQ_ASSERT_OK(fq_model_fold(model, w, &folded, &v));
    size_t n = fq_shape_count(network->input) * fq_lanes(8);
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(i * 7 % 23) / 11.0f - 1.0f;
    CU_ASSERT_FATAL(network->n_classes * fq_lanes(8) <= 128);
    forward(model, w, x, before);
    forward(folded, v, x, after);
    float largest = 0;
    for (size_t i = 0; i < network->n_classes * 8; i++)
        largest = fmaxf(largest, fabsf(before[i]));
    for (size_t i = 0; i < network->n_classes * 8; i++)
        CU_ASSERT_DOUBLE_EQUAL((double)before[i], (double)after[i], 1e-4 * (double)largest);
    size_t less = network->n_layers - fq_model_network(folded)->n_layers;
    for (size_t t = 0; t < fq_model_tensor_count(folded); t++)
        CU_ASSERT(fq_model_tensor(folded, t)->kind < FQ_STEP ||
                  fq_model_tensor(folded, t)->kind == FQ_STATISTIC);
    free(x);
    free(w);
    free(v);
    fq_model_destroy(&model);
    fq_model_destroy(&folded);
    return less;
}

static void test_resnet(void) {
    static fq_network network;
    FQ_ASSERT_OK(fq_zoo_build("resnet20_bn", (fq_shape){3, 8, 8}, 10, &network));
    CU_ASSERT_EQUAL(check_same(&network, NULL, 0), 19);
}

/* With a bias of its own, after a dense layer, and read by name from elsewhere. */
static void test_places(void) {
    static fq_network            network;
    static const fq_extra_tensor extra = {
        .name = "d.step", .kind = FQ_STEP, .count = 2, .layer = 2, .initial = 0.5f};
    network = (fq_network){.input = {2, 3, 3}, .n_classes = 4};
    rig_append_conv(&network, "a", "", 3);
    rig_append(&network, "batch_norm", "n", "a");
    rig_append_dense(&network, "d", "", 4);
    rig_append(&network, "batch_norm", "m", "d");
    rig_append(&network, "relu", "r", "m");
    rig_append(&network, "add", "s", "m r");
    CU_ASSERT_EQUAL(check_same(&network, &extra, 1), 2);
}

/* A layer that others read too keeps its norm, and so does one without weights before it. */
static void test_stays(void) {
    static fq_network network;
    network = (fq_network){.input = {2, 3, 3}, .n_classes = 3};
    rig_append(&network, "batch_norm", "first", "");
    rig_append_conv(&network, "a", "", 3);
    rig_append(&network, "batch_norm", "n", "a");
    rig_append(&network, "add", "s", "a n");
    rig_append_dense(&network, "d", "", 3);
    CU_ASSERT_EQUAL(check_same(&network, NULL, 0), 0);
}

int main(void) {
    static const fq_case cases[] = {
        {"ResNet-20", test_resnet},
        {"odd places", test_places},
        {"what cannot be folded", test_stays},
        {NULL, NULL},
    };
    return fq_run_suite("fold", cases);
}
