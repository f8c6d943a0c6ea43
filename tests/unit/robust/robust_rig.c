#include "robust_rig.h"

#include "suite.h"

#include <stdlib.h>
#include <string.h>

static void add_layer(fq_network *network, const char *layer, const char *name, int64_t out,
                      int64_t kernel) {
    fq_layer_spec *spec = &network->layers[network->n_layers++];
    fq_layer_spec_init(spec, layer);
    snprintf(spec->name, sizeof spec->name, "%s", name);
    spec->out = out;
    spec->kernel = kernel;
}

fq_network rig_network(void) {
    fq_network network = {.input = {1, 4, 4}, .n_classes = 4};
    add_layer(&network, "conv2d", "conv1", 3, 3);
    add_layer(&network, "relu", "relu1", 0, 0);
    add_layer(&network, "dense", "dense1", 8, 0);
    add_layer(&network, "relu", "relu2", 0, 0);
    add_layer(&network, "dense", "dense2", 4, 0);
    return network;
}

fq_network rig_dense(uint32_t out, uint32_t in) {
    fq_network network = {.input = {in, 1, 1}, .n_classes = out};
    add_layer(&network, "dense", "dense1", out, 0);
    return network;
}

void rig_init(rig *r, const fq_network *network, const fq_robustness *method, const void *config) {
    enum { MAX_EXTRA = 16 };
    *r = (rig){0};
    fq_model *plain;
    FQ_ASSERT_OK(fq_model_create(&plain, network, NULL, 0));
    fq_extra_tensor extra[MAX_EXTRA];
    const size_t    n = method->extra == NULL ? 0 : method->extra(config, plain, extra, MAX_EXTRA);
    FQ_ASSERT_OK(fq_model_create(&r->model, network, extra, n));
    r->size = fq_model_size(r->model);
    r->trainable = fq_model_trainable(r->model);
    r->w = calloc(r->size, sizeof *r->w);
    r->u = calloc(r->size, sizeof *r->u);
    r->g = calloc(r->size, sizeof *r->g);
    r->bound = (fq_bound){.method = method, .config = config, .model = r->model};
    fq_model_destroy(&plain);
    fq_model_init(r->model, 7, r->w);
    if (method->init_extra != NULL)
        method->init_extra(&r->bound, r->w);
    if (method->begin_turn == NULL)
        return;
    r->arena = fq_arena_measure();
    method->begin_turn(&r->bound, &r->arena);
    FQ_ASSERT_OK(fq_arena_init(&r->arena, r->arena.peak));
    method->begin_turn(&r->bound, &r->arena);
    FQ_ASSERT_OK(fq_arena_check(&r->arena));
}

void rig_fini(rig *r) {
    free(r->w);
    free(r->u);
    free(r->g);
    fq_arena_fini(&r->arena);
    fq_model_destroy(&r->model);
}

fq_step rig_step(const rig *r, uint32_t round, uint64_t client, uint32_t step) {
    return (fq_step){.model = r->model, .seed = 11, .client = client, .round = round, .step = step};
}

void rig_view(rig *r, const fq_step *step) {
    if (r->bound.method->begin_step != NULL)
        r->bound.method->begin_step(&r->bound, step);
    r->bound.method->view_weights(&r->bound, step, r->w, r->u);
}

int rig_rule(const char *name) {
    int rule = 0;
    while (strcmp(fq_range_names[rule], name) != 0)
        rule++;
    return rule;
}

const fq_tensor *rig_tensor(const rig *r, const char *name) {
    for (size_t t = 0; t < fq_model_tensor_count(r->model); t++)
        if (strcmp(fq_model_tensor(r->model, t)->name, name) == 0)
            return fq_model_tensor(r->model, t);
    return NULL;
}
