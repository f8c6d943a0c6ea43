/* Batch norm in evaluation is a linear map of each channel, and so is part of the layer before it:
 *
 *   g (W x + b - mean) r + shift = (g r W) x + g r (b - mean) + shift,   r = 1 / sqrt(var +
 * epsilon)
 */
#include "model/model_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SCALE, SHIFT, FIRST_MOMENT, SECOND_MOMENT }; /* tensors of batch_norm */

static size_t count_readers(const fq_model *model, size_t value) {
    size_t n = value == model->network.n_layers;
    for (size_t i = 0; i < model->network.n_layers; i++)
        for (size_t k = 0; k < model->nodes[i].layer->n_inputs; k++)
            n += model->nodes[i].input[k] == value;
    return n;
}

/* The layer that takes in layer i, or FQ_NONE: i is no batch norm, or does not follow one of
 * weights, or others read that one too. */
static size_t taker(const fq_model *model, size_t i) {
    const fq_node *node = &model->nodes[i];
    size_t         value = node->input[0];
    if (strcmp(node->layer->name, "batch_norm") != 0 || value == 0 ||
        model->nodes[value - 1].site == FQ_NONE || count_readers(model, value) != 1)
        return FQ_NONE;
    return value - 1;
}

static const char *value_name(const fq_model *model, size_t value) {
    return value == 0 ? "input" : model->network.layers[value - 1].name;
}

/* The layers that stay; readers of one that goes read its taker by name. */
static void fold_network(const fq_model *model, fq_network *out) {
    const fq_network *network = &model->network;
    out->input = network->input;
    out->n_classes = network->n_classes;
    out->n_layers = 0;
    for (size_t i = 0; i < network->n_layers; i++) {
        const fq_node *node = &model->nodes[i];
        if (taker(model, i) != FQ_NONE)
            continue;
        fq_layer_spec *spec = &out->layers[out->n_layers++];
        *spec = network->layers[i];
        bool renamed = false;
        for (size_t k = 0; k < node->layer->n_inputs; k++)
            renamed |= node->input[k] > 0 && taker(model, node->input[k] - 1) != FQ_NONE;
        for (size_t k = 0; renamed && k < node->layer->n_inputs; k++) {
            size_t value = node->input[k];
            if (value > 0 && taker(model, value - 1) != FQ_NONE)
                value = taker(model, value - 1) + 1;
            snprintf(spec->from.v[k], sizeof spec->from.v[k], "%.31s", value_name(model, value));
            spec->from.n = k + 1;
        }
    }
    for (size_t i = 0; i < network->n_layers; i++) {
        size_t at = taker(model, i);
        for (size_t k = 0; at != FQ_NONE && k < out->n_layers; k++)
            if (strcmp(out->layers[k].name, network->layers[at].name) == 0)
                out->layers[k].bias = true;
    }
}

static size_t find_layer(const fq_network *network, const char *name) {
    size_t i = 0;
    while (strcmp(network->layers[i].name, name) != 0)
        i++;
    return i;
}

static void copy_tensors(const fq_model *model, const float *w, const fq_model *out,
                         float *folded) {
    for (size_t t = 0; t < out->n_tensors; t++) {
        const fq_tensor *to = &out->tensors[t];
        bool             found = false;
        for (size_t s = 0; s < model->n_tensors && !found; s++) {
            const fq_tensor *from = &model->tensors[s];
            found = strcmp(from->name, to->name) == 0 && from->count == to->count;
            if (found)
                memcpy(folded + to->offset, w + from->offset, to->count * sizeof *folded);
        }
        if (!found) /* a bias that is new */
            memset(folded + to->offset, 0, to->count * sizeof *folded);
    }
}

static void fold_layer(const fq_model *model, const float *w, size_t norm, const fq_model *out,
                       float *folded) {
    const fq_node   *node = &model->nodes[norm];
    const char      *name = model->network.layers[taker(model, norm)].name;
    size_t           layer = find_layer(&out->network, name);
    const fq_tensor *weight = fq_model_layer_tensor(out, layer, FQ_WEIGHT);
    const fq_tensor *bias = fq_model_layer_tensor(out, layer, FQ_BIAS);
    const float     *moments[4];
    for (size_t t = 0; t < 4; t++)
        moments[t] = w + model->tensors[node->tensor[t]].offset;
    size_t row = weight->count / weight->shape[0];
    for (size_t c = 0; c < weight->shape[0]; c++) {
        double mean = (double)moments[FIRST_MOMENT][c];
        double variance = fmax((double)moments[SECOND_MOMENT][c] - mean * mean, 0.0);
        double factor =
            (double)moments[SCALE][c] / sqrt(variance + model->network.layers[norm].epsilon);
        float *x = folded + weight->offset + c * row, *b = folded + bias->offset + c;
        for (size_t i = 0; i < row; i++)
            x[i] = (float)((double)x[i] * factor);
        *b = (float)(((double)*b - mean) * factor + (double)moments[SHIFT][c]);
    }
}

fq_status fq_model_fold(const fq_model *model, const float *w, fq_model **out, float **folded) {
    fq_network *network = calloc(1, sizeof *network);
    *out = NULL;
    *folded = NULL;
    if (network == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a network");
    fold_network(model, network);
    fq_status status = fq_model_create(out, network, NULL, 0);
    free(network);
    FQ_TRY(status);
    *folded = calloc((*out)->size + 1, sizeof **folded);
    if (*folded == NULL) {
        fq_model_destroy(out);
        return fq_fail(FQ_ENOMEM, "no memory for %zu values", model->size);
    }
    copy_tensors(model, w, *out, *folded);
    for (size_t i = 0; i < model->network.n_layers; i++)
        if (taker(model, i) != FQ_NONE)
            fold_layer(model, w, i, *out, *folded);
    return FQ_OK;
}
