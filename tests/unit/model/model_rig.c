#include "model_rig.h"

#include "math/kernels.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

fq_layer_spec *rig_append(fq_network *network, const char *layer, const char *name,
                          const char *from) {
    fq_layer_spec *spec = &network->layers[network->n_layers++];
    fq_layer_spec_init(spec, layer);
    snprintf(spec->name, sizeof spec->name, "%s", name);
    char names[256];
    snprintf(names, sizeof names, "%s", from);
    for (char *rest = NULL, *word = strtok_r(names, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest))
        snprintf(spec->from.v[spec->from.n++], FQ_WORD_BYTES, "%s", word);
    return spec;
}

fq_layer_spec *rig_append_dense(fq_network *network, const char *name, const char *from,
                                int64_t out) {
    fq_layer_spec *spec = rig_append(network, "dense", name, from);
    spec->out = out;
    return spec;
}

fq_layer_spec *rig_append_conv(fq_network *network, const char *name, const char *from,
                               int64_t out) {
    fq_layer_spec *spec = rig_append(network, "conv2d", name, from);
    spec->out = out;
    spec->kernel = 3;
    spec->pad = 1;
    return spec;
}

fq_network rig_smooth_network(void) {
    fq_network network = {.input = {2, 4, 4}, .n_classes = 3};
    rig_append_conv(&network, "conv1", "", 4);
    rig_append(&network, "group_norm", "norm1", "")->groups = 2;
    rig_append_conv(&network, "conv2", "", 4);
    rig_append(&network, "add", "add1", "conv2 norm1");
    rig_append(&network, "add", "add2", "add1 add1");
    rig_append_conv(&network, "conv3", "input", 4);
    rig_append(&network, "add", "add3", "add2 conv3");
    rig_append(&network, "avg_pool2d", "pool", "")->kernel = 2;
    rig_append(&network, "flatten", "flat", "");
    rig_append_dense(&network, "dense1", "flat", 3);
    rig_append_dense(&network, "dense2", "pool", 3);
    rig_append(&network, "add", "logits", "dense1 dense2");
    return network;
}

void rig_init(model_rig *rig, const fq_network *network, size_t batch, bool train, bool sites) {
    *rig = (model_rig){.batch = batch, .lanes = fq_lanes(batch)};
    FQ_ASSERT_OK(fq_model_create(&rig->model, network, NULL, 0));
    FQ_ASSERT_OK(fq_arena_init(&rig->arena, fq_workspace_bytes(rig->model, batch, train, sites)));
    FQ_ASSERT_OK(fq_workspace_create(&rig->ws, rig->model, batch, train, sites, &rig->arena));
    rig->w = malloc(fq_model_size(rig->model) * sizeof(float));
    rig->grad = calloc(fq_model_trainable(rig->model), sizeof(float));
    rig->dlogits = calloc(network->n_classes * rig->lanes, sizeof(float));
    CU_ASSERT_FATAL(rig->w != NULL && rig->grad != NULL && rig->dlogits != NULL);
    fq_model_init(rig->model, 1, rig->w);
    rig->pass =
        (fq_pass){.batch = batch, .train = train, .seed = 1, .client = 2, .round = 3, .step = 4};
    rig_fill(rig, 0);
}

void rig_fini(model_rig *rig) {
    fq_model_destroy(&rig->model);
    fq_arena_fini(&rig->arena);
    free(rig->w);
    free(rig->grad);
    free(rig->dlogits);
}

void rig_fill(model_rig *rig, uint32_t number) {
    float *x = fq_workspace_input(rig->ws);
    fq_rng rng = fq_rng_stream(9, FQ_RNG_DATA, 0, 0, number, 0);
    size_t n = fq_shape_count(fq_model_network(rig->model)->input) * rig->lanes;
    for (size_t i = 0; i < n; i++)
        x[i] = i % rig->lanes < rig->batch ? 2.0f * fq_rng_uniform(&rng) - 1.0f : 0.0f;
}
