/* Named networks: one function and one row each. */
#include "model/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- building blocks; each appends a layer that reads the one before, unless said otherwise ----
 */

static fq_layer_spec *append(fq_network *network, const char *layer, const char *name) {
    fq_layer_spec *spec = &network->layers[network->n_layers++];
    fq_layer_spec_init(spec, layer);
    snprintf(spec->name, sizeof spec->name, "%s", name);
    return spec;
}

static void read_from(fq_layer_spec *spec, const char *name) {
    snprintf(spec->from.v[spec->from.n++], sizeof spec->from.v[0], "%s", name);
}

static fq_layer_spec *conv(fq_network *network, const char *name, int64_t out, int64_t kernel,
                           int64_t pad) {
    fq_layer_spec *spec = append(network, "conv2d", name);
    spec->out = out;
    spec->kernel = kernel;
    spec->pad = pad;
    return spec;
}

static void max_pool(fq_network *network) {
    append(network, "max_pool2d", "")->kernel = 2;
}

static void dropout(fq_network *network, double rate) {
    append(network, "dropout", "")->rate = rate;
}

static void dense(fq_network *network, const char *name, int64_t out) {
    append(network, "dense", name)->out = out;
}

static void relu(fq_network *network) {
    append(network, "relu", "");
}

static void flatten(fq_network *network) {
    append(network, "flatten", "");
}

/* ---- the networks ---- */

static fq_status build_logreg(fq_network *network) {
    flatten(network);
    dense(network, "dense1", network->n_classes);
    return FQ_OK;
}

static fq_status build_mlp(fq_network *network) {
    flatten(network);
    dense(network, "dense1", 200);
    relu(network);
    dense(network, "dense2", 200);
    relu(network);
    dense(network, "dense3", network->n_classes);
    return FQ_OK;
}

/* LeCun et al. 1998 with ReLU and max-pooling. It is made for 32x32; smaller images (28x28) are
 * padded. */
static fq_status build_lenet5(fq_network *network) {
    int64_t pad = network->input.h < 32 || network->input.w < 32 ? 2 : 0;
    conv(network, "conv1", 6, 5, pad);
    relu(network);
    max_pool(network);
    conv(network, "conv2", 16, 5, 0);
    relu(network);
    max_pool(network);
    flatten(network);
    dense(network, "dense1", 120);
    relu(network);
    dense(network, "dense2", 84);
    relu(network);
    dense(network, "dense3", network->n_classes);
    return FQ_OK;
}

/* The LeNet-5 with group norm of the federated literature; convolutions keep height and width (pad
 * 2). */
static fq_status build_lenet5_gn(fq_network *network) {
    conv(network, "conv1", 64, 5, 2);
    append(network, "group_norm", "norm1");
    relu(network);
    max_pool(network);
    conv(network, "conv2", 64, 5, 2);
    append(network, "group_norm", "norm2");
    relu(network);
    max_pool(network);
    flatten(network);
    dense(network, "dense1", 384);
    relu(network);
    dense(network, "dense2", 192);
    relu(network);
    dense(network, "dense3", network->n_classes);
    return FQ_OK;
}

/* The character model of Reddi et al. 2021 (Adaptive federated optimization). */
static fq_status build_femnist_cnn(fq_network *network) {
    conv(network, "conv1", 32, 3, 0);
    relu(network);
    conv(network, "conv2", 64, 3, 0);
    relu(network);
    max_pool(network);
    dropout(network, 0.25);
    flatten(network);
    dense(network, "dense1", 128);
    relu(network);
    dropout(network, 0.5);
    dense(network, "dense2", network->n_classes);
    return FQ_OK;
}

/* One basic block of stage `stage` (from 1): y = relu(norm(conv(relu(norm(conv(x))))) +
 * shortcut(x)). Its layers are named "s2b1_conv1"; `input` is the name of the layer that gives x,
 * and becomes that of y. */
static void append_block(fq_network *network, const char *norm, int stage, int block, int64_t width,
                         int64_t stride, char input[FQ_WORD_BYTES]) {
    char name[FQ_WORD_BYTES], shortcut[FQ_WORD_BYTES];
    snprintf(shortcut, sizeof shortcut, "%s", input);
    if (stride != 1) {
        snprintf(shortcut, sizeof shortcut, "s%db%d_shortcut", stage, block);
        fq_layer_spec *spec = append(network, "shortcut", shortcut);
        read_from(spec, input);
        spec->out = width;
        spec->stride = stride;
    }
    for (int half = 1; half <= 2; half++) {
        snprintf(name, sizeof name, "s%db%d_conv%d", stage, block, half);
        fq_layer_spec *spec = conv(network, name, width, 3, 1);
        spec->bias = false;
        if (half == 1) {
            spec->stride = stride;
            read_from(spec, input);
        }
        snprintf(name, sizeof name, "s%db%d_norm%d", stage, block, half);
        append(network, norm, name);
        if (half == 1)
            relu(network);
    }
    fq_layer_spec *sum = append(network, "add", "");
    read_from(sum, name);
    read_from(sum, shortcut);
    snprintf(input, FQ_WORD_BYTES, "s%db%d_out", stage, block);
    append(network, "relu", input);
}

/* He et al. 2016, section 4.2, with n = 3 and option A shortcuts. */
static fq_status build_resnet20(fq_network *network, const char *norm) {
    char input[FQ_WORD_BYTES] = "stem";
    conv(network, "conv1", 16, 3, 1)->bias = false;
    append(network, norm, "norm1");
    append(network, "relu", input);
    for (int stage = 1; stage <= 3; stage++)
        for (int block = 1; block <= 3; block++)
            append_block(network, norm, stage, block, 8 << stage, stage > 1 && block == 1 ? 2 : 1,
                         input);
    append(network, "global_avg_pool", "pool");
    dense(network, "dense1", network->n_classes);
    return FQ_OK;
}

static fq_status build_resnet20_gn(fq_network *network) {
    return build_resnet20(network, "group_norm");
}

static fq_status build_resnet20_bn(fq_network *network) {
    return build_resnet20(network, "batch_norm");
}

const fq_zoo_entry fq_zoo[] = {
    {"logreg", "multinomial logistic regression", build_logreg},
    {"mlp", "two hidden layers of 200 units", build_mlp},
    {"lenet5", "LeNet-5 with ReLU and max-pooling", build_lenet5},
    {"lenet5_gn", "wide LeNet-5 (64, 64, 384, 192) with group norm", build_lenet5_gn},
    {"femnist_cnn", "two 3x3 convolutions, dropout, 128 units", build_femnist_cnn},
    {"resnet20_gn", "ResNet-20 with group norm", build_resnet20_gn},
    {"resnet20_bn", "ResNet-20 with batch norm", build_resnet20_bn},
    {NULL, NULL, NULL},
};

static fq_status unknown_name(const char *name) {
    char names[256] = "";
    for (size_t i = 0, used = 0; fq_zoo[i].name != NULL && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i == 0 ? "" : ", ",
                                 fq_zoo[i].name);
    return fq_fail(FQ_EINVAL, "no network is named \"%s\"; expected one of %s", name, names);
}

fq_status fq_zoo_build(const char *name, fq_shape input, uint32_t n_classes, fq_network *out) {
    const fq_zoo_entry *entry = fq_zoo;
    while (entry->name != NULL && strcmp(entry->name, name) != 0)
        entry++;
    if (entry->name == NULL)
        return unknown_name(name);
    memset(out, 0, sizeof *out);
    out->input = input;
    out->n_classes = n_classes;
    FQ_TRY(entry->build(out));
    fq_model *model; /* only to find out whether all shapes fit */
    fq_status status = fq_model_create(&model, out, NULL, 0);
    if (status != FQ_OK)
        fq_add_context("%s on an input of %" PRIu32 "x%" PRIu32 "x%" PRIu32, name, input.c, input.h,
                       input.w);
    fq_model_destroy(&model);
    return status;
}
