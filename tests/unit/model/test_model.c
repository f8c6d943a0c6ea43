#include "model_rig.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* conv1 - norm - relu - pool - dense1 (4 classes) on 2x6x6. Networks are large: one for each test,
 * static. */
static void set_chain(fq_network *network) {
    *network = (fq_network){.input = {2, 6, 6}, .n_classes = 4};
    rig_append_conv(network, "conv1", "", 3);
    rig_append(network, "batch_norm", "norm", "");
    rig_append(network, "relu", "relu", "");
    rig_append(network, "max_pool2d", "pool", "")->kernel = 2;
    rig_append_dense(network, "dense1", "", 4);
}

static void check_tensor(const fq_model *model, size_t t, const char *name, fq_tensor_kind kind,
                         size_t offset, size_t count) {
    const fq_tensor *tensor = fq_model_tensor(model, t);
    CU_ASSERT_STRING_EQUAL(tensor->name, name);
    CU_ASSERT_EQUAL(tensor->kind, kind);
    CU_ASSERT_EQUAL(tensor->offset, offset);
    CU_ASSERT_EQUAL(tensor->count, count);
}

static const fq_extra_tensor EXTRA[] = {
    {.name = "conv1.range", .kind = FQ_RANGE, .count = 2, .layer = 0, .initial = 0.5f},
    {.name = "conv1.step", .kind = FQ_STEP, .count = 3, .layer = 0, .initial = 0.25f},
    {.name = "dense1.step", .kind = FQ_STEP, .count = 1, .layer = 4, .initial = 0.125f},
};

static void test_vector(void) {
    static fq_network network;
    set_chain(&network);
    fq_model *model;
    FQ_ASSERT_OK(fq_model_create(&model, &network, EXTRA, 3));
    CU_ASSERT_EQUAL_FATAL(fq_model_tensor_count(model), 11);
    check_tensor(model, 0, "conv1.weight", FQ_WEIGHT, 0, 54);
    check_tensor(model, 1, "conv1.bias", FQ_BIAS, 54, 3);
    check_tensor(model, 2, "norm.scale", FQ_NORM_SCALE, 57, 3);
    check_tensor(model, 3, "norm.shift", FQ_NORM_SHIFT, 60, 3);
    check_tensor(model, 4, "dense1.weight", FQ_WEIGHT, 63, 108);
    check_tensor(model, 5, "dense1.bias", FQ_BIAS, 171, 4);
    check_tensor(model, 6, "conv1.step", FQ_STEP, 175, 3);
    check_tensor(model, 7, "dense1.step", FQ_STEP, 178, 1);
    check_tensor(model, 8, "norm.first_moment", FQ_STATISTIC, 179, 3);
    check_tensor(model, 9, "norm.second_moment", FQ_STATISTIC, 182, 3);
    check_tensor(model, 10, "conv1.range", FQ_RANGE, 185, 2);
    CU_ASSERT_EQUAL(fq_model_parameters(model), 175);
    CU_ASSERT_EQUAL(fq_model_trainable(model), 179);
    CU_ASSERT_EQUAL(fq_model_size(model), 187);
    CU_ASSERT_EQUAL(fq_model_macs(model), 54 * 36 + 108);
    const fq_tensor *weight = fq_model_tensor(model, 0);
    CU_ASSERT_EQUAL(weight->n_axes, 4);
    CU_ASSERT(weight->shape[0] == 3 && weight->shape[1] == 2 && weight->shape[2] == 3 &&
              weight->shape[3] == 3);
    CU_ASSERT_EQUAL(weight->fan_in, 18);
    CU_ASSERT_EQUAL(fq_model_tensor(model, 4)->layer, 4);
    fq_model_destroy(&model);
    fq_model_destroy(&model);
}

static void test_initial_values(void) {
    static fq_network network;
    set_chain(&network);
    fq_model *plain, *extended;
    float     w[175 + 6], other[187];
    FQ_ASSERT_OK(fq_model_create(&plain, &network, NULL, 0));
    FQ_ASSERT_OK(fq_model_create(&extended, &network, EXTRA, 3));
    fq_model_init(plain, 5, w);
    fq_model_init(extended, 5, other);
    CU_ASSERT_EQUAL(memcmp(w, other, 175 * sizeof *w), 0); /* extra tensors change no draw */
    float bound = 1.0f / sqrtf(18.0f), largest = 0.0f, sum = 0.0f;
    for (size_t i = 0; i < 57; i++) {
        largest = fmaxf(largest, fabsf(w[i]));
        sum += w[i];
    }
    CU_ASSERT(largest <= bound && largest > 0.9f * bound);
    CU_ASSERT(fabsf(sum / 57.0f) <
              5.0f * bound / sqrtf(3.0f * 57.0f)); /* five standard deviations */
    CU_ASSERT_NOT_EQUAL(memcmp(w, w + 63, 54 * sizeof *w), 0);
    CU_ASSERT(w[57] == 1.0f && w[60] == 0.0f && w[175] == 0.0f && w[178] == 1.0f);
    CU_ASSERT(other[175] == 0.25f && other[178] == 0.125f && other[185] == 0.5f);
    fq_model_init(extended, 6, other);
    CU_ASSERT_NOT_EQUAL(memcmp(w, other, 54 * sizeof *w), 0);
    fq_model_destroy(&plain);
    fq_model_destroy(&extended);
}

static void test_names(void) {
    static fq_network network = {.input = {2, 6, 6}, .n_classes = 4};
    rig_append_conv(&network, "", "", 3);
    rig_append(&network, "relu", "", "");
    rig_append_conv(&network, "middle", "", 3);
    rig_append_conv(&network, "", "relu1", 3);
    rig_append(&network, "add", "", "middle conv2d3");
    rig_append_dense(&network, "", "", 4);
    fq_model *model;
    FQ_ASSERT_OK(fq_model_create(&model, &network, NULL, 0));
    const fq_layer_spec *layers = fq_model_network(model)->layers;
    CU_ASSERT_STRING_EQUAL(layers[0].name, "conv2d1");
    CU_ASSERT_STRING_EQUAL(layers[2].name, "middle");
    CU_ASSERT_STRING_EQUAL(layers[3].name, "conv2d3");
    CU_ASSERT_STRING_EQUAL(layers[5].name, "dense1");
    fq_model_destroy(&model);
}

static void test_sites(void) {
    static fq_network network;
    set_chain(&network);
    network.layers[0].stride = 1;
    rig_append(&network, "relu6", "six", "");
    rig_append_dense(&network, "dense2", "", 8);
    rig_append(&network, "add", "sum", "dense2 dense2");
    rig_append_dense(&network, "dense3", "", 4);
    rig_append(&network, "add", "mixed", "six dense3");
    rig_append(&network, "dropout", "drop", "");
    rig_append_dense(&network, "dense4", "", 4);
    fq_model *model;
    FQ_ASSERT_OK(fq_model_create(&model, &network, NULL, 0));
    CU_ASSERT_EQUAL(fq_model_site_count(model), 5);
    static const bool nonnegative[] = {false, true, true, false, false};
    for (size_t s = 0; s < 5; s++)
        CU_ASSERT_EQUAL(fq_model_site_nonnegative(model, s), nonnegative[s]);
    fq_model_destroy(&model);
    /* Sums and pools of what is not negative are not negative. */
    static fq_network positive = {.input = {2, 6, 6}, .n_classes = 4};
    rig_append(&positive, "relu", "a", "");
    rig_append(&positive, "avg_pool2d", "b", "")->kernel = 2;
    rig_append(&positive, "add", "c", "b b");
    rig_append(&positive, "shortcut", "d", "")->out = 3;
    rig_append(&positive, "global_avg_pool", "e", "");
    rig_append(&positive, "flatten", "f", "");
    rig_append_dense(&positive, "g", "", 4);
    FQ_ASSERT_OK(fq_model_create(&model, &positive, NULL, 0));
    CU_ASSERT_TRUE(fq_model_site_nonnegative(model, 0));
    fq_model_destroy(&model);
}

static void check_error(const fq_network *network, fq_status code, const char *text) {
    fq_model *model;
    FQ_ASSERT_FAILS(fq_model_create(&model, network, NULL, 0), code, text);
    CU_ASSERT_PTR_NULL(model);
    fq_model_destroy(&model);
}

/* One wrong thing in the chain, and the text that says so. */
#define CHECK_WRONG(change, code, text)                                                            \
    do {                                                                                           \
        set_chain(&network);                                                                       \
        change;                                                                                    \
        check_error(&network, code, text);                                                         \
    } while (0)

static void test_errors(void) {
    static fq_network    network;
    fq_layer_spec *const layer = network.layers;
    CHECK_WRONG(strcpy(layer[2].layer, "rellu"), FQ_EINVAL,
                "layer 3 (relu): layer: no kind is named \"rellu\"; did you mean relu");
    CHECK_WRONG(strcpy(layer[2].layer, "transformer"), FQ_EINVAL,
                "no kind is named \"transformer\"");
    CHECK_WRONG((layer[4].from.n = 1, strcpy(layer[4].from.v[0], "pol")), FQ_EINVAL,
                "layer 5 (dense1): from: no earlier layer is named \"pol\"; did you mean pool?");
    CHECK_WRONG((layer[1].from.n = 1, strcpy(layer[1].from.v[0], "relu")), FQ_EINVAL,
                "no earlier layer is named \"relu\"");
    CHECK_WRONG((layer[1].from.n = 1, strcpy(layer[1].from.v[0], "norm")), FQ_EINVAL,
                "no earlier layer is named \"norm\"");
    CHECK_WRONG(layer[4].from.n = 3, FQ_EINVAL, "from: 3 names; expected 1");
    CHECK_WRONG(strcpy(layer[2].layer, "add"), FQ_EINVAL, "from: 0 names; expected 2");
    CHECK_WRONG(strcpy(layer[3].name, "conv1"), FQ_EINVAL,
                "layer 4 (conv1): name: \"conv1\" is the name of layer 1 too");
    CHECK_WRONG(strcpy(layer[3].name, "input"), FQ_EINVAL, "means the network's input");
    CHECK_WRONG(strcpy(layer[3].name, "a.b"), FQ_EINVAL, "name: \"a.b\" is not allowed");
    CHECK_WRONG(strcpy(layer[3].name, "abcdefghijklmnopqrstuvwxyz0123456789"), FQ_EINVAL,
                "at most 31");
    CHECK_WRONG(layer[0].out = 0, FQ_EINVAL, "layer 1 (conv1): out: 0 is not allowed");
    CHECK_WRONG(layer[0].kernel = 0, FQ_EINVAL, "kernel: 0 is not allowed");
    CHECK_WRONG(layer[0].kernel = 9, FQ_EINVAL,
                "kernel: 9 is larger than the input of 6x6 with padding 1");
    CHECK_WRONG(layer[0].kernel = -1, FQ_EINVAL, "kernel: -1 is not allowed; expected 0 to 1024");
    CHECK_WRONG(layer[0].groups = 3, FQ_EINVAL,
                "groups: 3 does not divide the 2 input and 3 output channels");
    CHECK_WRONG(layer[3].pad = 2, FQ_EINVAL,
                "pad: 2 is not allowed; expected at most half of the kernel, 2");
    CHECK_WRONG(layer[1].kernel = 3, FQ_EINVAL,
                "layer 2 (norm): kernel: batch_norm does not have this key; its keys are: epsilon "
                "momentum");
    CHECK_WRONG(layer[2].bias = false, FQ_EINVAL,
                "bias: relu does not have this key; its keys are: none");
    CHECK_WRONG(layer[1].epsilon = (double)NAN, FQ_EINVAL, "epsilon: nan is not allowed");
    CHECK_WRONG(layer[1].momentum = 2, FQ_EINVAL, "momentum: 2 is not allowed; expected 0 to 1");
    CHECK_WRONG(layer[4].out = 5, FQ_EINVAL,
                "layer 5 (dense1): the last layer gives 5x1x1; expected 4x1x1");
    CHECK_WRONG(network.n_layers = 4, FQ_EINVAL, "the last layer gives 3x3x3; expected 4x1x1");
    CHECK_WRONG((layer[4].from.n = 1, strcpy(layer[4].from.v[0], "norm")), FQ_EINVAL,
                "layer 4 (pool): no layer reads its output");
    CHECK_WRONG(network.n_layers = 0, FQ_EINVAL, "0 layers; expected 1 to 256");
    CHECK_WRONG(network.n_layers = 257, FQ_ELIMIT, "257 layers");
    CHECK_WRONG(network.input.h = 0, FQ_EINVAL, "2x0x6");
    CHECK_WRONG(network.input = ((fq_shape){1u << 31, 1u << 31, 4}), FQ_EINVAL, "is not allowed");
    CHECK_WRONG(layer[0].out = 1 << 22, FQ_ELIMIT,
                "layer 1 (conv1): an output of 4194304x6x6 is too large");
    CHECK_WRONG((rig_append_dense(&network, "big1", "", 1 << 20),
                 rig_append_dense(&network, "big2", "", 1 << 20)),
                FQ_EINVAL, "big2): the last layer gives");
    CHECK_WRONG((rig_append_dense(&network, "big1", "", 1 << 20),
                 rig_append_dense(&network, "big2", "", 1 << 20),
                 rig_append_dense(&network, "last", "", 4)),
                FQ_ELIMIT, "big2.weight: the model has more than 1073741824 values");

    fq_network *shapes = &network; /* 2x6x6, 4 classes */
    shapes->n_layers = 0;
    rig_append_conv(shapes, "a", "", 3);
    rig_append(shapes, "add", "b", "a input");
    check_error(shapes, FQ_EINVAL, "layer 2 (b): inputs of 3x6x6 and 2x6x6 cannot be added");
    shapes->n_layers = 1;
    rig_append(shapes, "shortcut", "b", "")->out = 2;
    check_error(shapes, FQ_EINVAL, "out: 2 is not allowed; expected at least the 3 input channels");
    shapes->n_layers = 1;
    rig_append(shapes, "group_norm", "b", "")->groups = 2;
    check_error(shapes, FQ_EINVAL, "groups: 2 does not divide the 3 channels");
}

static void test_extra_errors(void) {
    static fq_network network;
    set_chain(&network);
    fq_model *model;
    for (int wrong = 0; wrong < 6; wrong++) {
        fq_extra_tensor extra = EXTRA[0];
        const char     *text[] = {
                "expected a name", "a step or a range",     "layer 5; expected less than 5",
                "0 values",        "values; expected 1 to", "not finite"};
        if (wrong == 0)
            strcpy(extra.name, "a b");
        else if (wrong == 1)
            extra.kind = FQ_WEIGHT;
        else if (wrong == 2)
            extra.layer = 5;
        else if (wrong == 3)
            extra.count = 0;
        else if (wrong == 4)
            extra.count = SIZE_MAX;
        else
            extra.initial = NAN;
        FQ_ASSERT_FAILS(fq_model_create(&model, &network, &extra, 1),
                        wrong == 5 ? FQ_ENONFINITE : FQ_EINVAL, text[wrong]);
    }
    FQ_ASSERT_FAILS(fq_model_create(&model, &network, EXTRA, 5000), FQ_ELIMIT,
                    "5000 extra tensors");
}

static void test_defaults(void) {
    fq_layer_spec spec, loaded;
    fq_layer_spec_init(&spec, "conv2d");
    CU_ASSERT(spec.epsilon == 1e-5 && spec.momentum == 0.1 && spec.rate == 0.5 && spec.bias);
    /* The same as an empty row of settings. */
    fq_document      *document;
    static const char text[] = "{layer: conv2d}";
    FQ_ASSERT_OK(fq_document_parse(&document, "test",
                                   (fq_cbytes){(const unsigned char *)text, sizeof text - 1}));
    memset(&loaded, 0, sizeof loaded);
    FQ_ASSERT_OK(fq_section_load(document, fq_document_root(document), "model", fq_layer_keys, NULL,
                                 &loaded));
    CU_ASSERT_STRING_EQUAL(loaded.layer, spec.layer);
    CU_ASSERT_STRING_EQUAL(loaded.name, "");
    CU_ASSERT_EQUAL(loaded.from.n, 0);
    CU_ASSERT(loaded.out == 0 && loaded.kernel == 0 && loaded.stride == 0 && loaded.pad == 0 &&
              loaded.groups == 0);
    CU_ASSERT(loaded.rate == spec.rate && loaded.epsilon == spec.epsilon &&
              loaded.momentum == spec.momentum && loaded.bias == spec.bias);
    fq_document_destroy(&document);
}

int main(void) {
    static const fq_case cases[] = {
        {"order of the flat vector", test_vector},
        {"initial values", test_initial_values},
        {"names", test_names},
        {"sites", test_sites},
        {"errors name the layer", test_errors},
        {"errors of extra tensors", test_extra_errors},
        {"defaults", test_defaults},
        {NULL, NULL},
    };
    return fq_run_suite("model", cases);
}
