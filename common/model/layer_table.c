#include "model/layer_impl.h"

#include <string.h>

const fq_layer *const fq_layers[] = {
    &fq_layer_dense,
    &fq_layer_conv2d,
    &fq_layer_relu,
    &fq_layer_relu6,
    &fq_layer_max_pool2d,
    &fq_layer_avg_pool2d,
    &fq_layer_global_avg_pool,
    &fq_layer_group_norm,
    &fq_layer_batch_norm,
    &fq_layer_add,
    &fq_layer_flatten,
    &fq_layer_dropout,
    &fq_layer_shortcut,
    NULL,
};

const fq_layer *fq_layer_find(const char *name) {
    for (size_t i = 0; fq_layers[i] != NULL; i++)
        if (strcmp(fq_layers[i]->name, name) == 0)
            return fq_layers[i];
    return NULL;
}
