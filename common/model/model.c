#include "model/model.h"

#include "model/layer_impl.h"
#include "model/model_impl.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char   INPUT[] = "input";
static const size_t MAX_VALUES_OF_MODEL = (size_t)1 << 30; /* of the flat vector */
static const size_t MAX_FEATURES = (size_t)1 << 26;        /* of one value of one example */
enum { MAX_EXTRA = 4096 };

/* ---- specifications ---- */

static bool has_word(const char *list, const char *word) {
    size_t length = strlen(word);
    for (const char *at = strstr(list, word); at != NULL; at = strstr(at + 1, word))
        if ((at == list || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return true;
    return false;
}

static bool is_name(const char *text, const char *punctuation) {
    for (const char *c = text; *c != '\0'; c++)
        if (!(*c >= 'a' && *c <= 'z') && !(*c >= 'A' && *c <= 'Z') && !(*c >= '0' && *c <= '9') &&
            strchr(punctuation, *c) == NULL)
            return false;
    return text[0] != '\0';
}

static double number_of(const fq_key *key, const fq_layer_spec *spec) {
    const char *field = (const char *)spec + key->offset;
    switch (key->type) {
    case FQ_TYPE_INT: return (double)*(const int64_t *)(const void *)field;
    case FQ_TYPE_REAL: return *(const double *)(const void *)field;
    case FQ_TYPE_BOOL: return *(const bool *)(const void *)field;
    default: return 0.0; /* texts are checked elsewhere */
    }
}

/* Bounds of all keys, and defaults for those that the layer does not read. */
static fq_status check_keys(const fq_layer *layer, const fq_layer_spec *spec) {
    fq_layer_spec usual;
    fq_layer_spec_init(&usual, layer->name);
    for (const fq_key *key = fq_layer_keys; key->name != NULL; key++) {
        double value = number_of(key, spec);
        if (!isfinite(value) || ((key->min < key->max) && (value < key->min || value > key->max)))
            return fq_fail(FQ_EINVAL, "%s: %g is not allowed; expected %g to %g", key->name, value,
                           key->min, key->max);
        if (!has_word(layer->keys, key->name) && value != number_of(key, &usual))
            return fq_fail(FQ_EINVAL, "%s: %s does not have this key; its keys are: %s", key->name,
                           layer->name, layer->keys[0] == '\0' ? "none" : layer->keys);
    }
    return FQ_OK;
}

static fq_status unknown_layer(const char *name) {
    const char *names[64] = {NULL};
    for (size_t i = 0; fq_layers[i] != NULL && i + 1 < sizeof names / sizeof *names; i++)
        names[i] = fq_layers[i]->name;
    const char *nearest = fq_nearest(name, names);
    if (nearest != NULL)
        return fq_fail(FQ_EINVAL, "layer: no kind is named \"%s\"; did you mean %s?", name,
                       nearest);
    return fq_fail(FQ_EINVAL, "layer: no kind is named \"%s\"", name);
}

/* ---- the graph ---- */

/* Value by name among the input and the first n layers; FQ_NONE if there is none. */
static size_t find_value(const fq_network *network, size_t n, const char *name) {
    if (strcmp(name, INPUT) == 0)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (strcmp(network->layers[i].name, name) == 0)
            return i + 1;
    return FQ_NONE;
}

static fq_status unknown_input(const fq_network *network, size_t n, const char *name) {
    const char *names[FQ_MAX_LAYERS + 2] = {INPUT};
    for (size_t i = 0; i < n; i++)
        names[i + 1] = network->layers[i].name;
    const char *nearest = fq_nearest(name, names);
    if (nearest != NULL)
        return fq_fail(FQ_EINVAL, "from: no earlier layer is named \"%s\"; did you mean %s?", name,
                       nearest);
    return fq_fail(FQ_EINVAL, "from: no earlier layer is named \"%s\"", name);
}

/* Give layer i its name, or check the one it has. */
static fq_status name_layer(fq_model *model, size_t i) {
    fq_network    *network = &model->network;
    fq_layer_spec *spec = &network->layers[i];
    if (spec->name[0] == '\0') {
        size_t number = 1;
        for (size_t j = 0; j < i; j++)
            number += model->nodes[j].layer == model->nodes[i].layer;
        snprintf(spec->name, sizeof spec->name, "%s%zu", model->nodes[i].layer->name, number);
    }
    if (!is_name(spec->name, "_-") || strlen(spec->name) >= FQ_WORD_BYTES)
        return fq_fail(FQ_EINVAL,
                       "name: \"%s\" is not allowed; expected at most %d letters, digits, _ and -",
                       spec->name, FQ_WORD_BYTES - 1);
    size_t other = find_value(network, i, spec->name);
    if (other == 0)
        return fq_fail(FQ_EINVAL, "name: \"%s\" means the network's input; expected another",
                       spec->name);
    if (other != FQ_NONE)
        return fq_fail(FQ_EINVAL, "name: \"%s\" is the name of layer %zu too", spec->name, other);
    return FQ_OK;
}

static fq_status connect_layer(fq_model *model, size_t i) {
    const fq_layer_spec *spec = &model->network.layers[i];
    fq_node             *node = &model->nodes[i];
    size_t               n_inputs = node->layer->n_inputs;
    if (spec->from.n == 0 && n_inputs == 1) {
        node->input[0] = i;
    } else if (spec->from.n != n_inputs) {
        return fq_fail(FQ_EINVAL, "from: %zu names; expected %zu", spec->from.n, n_inputs);
    } else {
        for (size_t k = 0; k < n_inputs; k++) {
            node->input[k] = find_value(&model->network, i, spec->from.v[k]);
            if (node->input[k] == FQ_NONE)
                return unknown_input(&model->network, i, spec->from.v[k]);
        }
    }
    for (size_t k = 0; k < n_inputs; k++) {
        model->values[node->input[k]].readers++;
        node->in[k] = model->values[node->input[k]].shape;
    }
    return FQ_OK;
}

static bool has_trainable(const fq_layer_plan *plan) {
    for (size_t t = 0; t < plan->n_tensors; t++)
        if (plan->tensors[t].kind < FQ_STATISTIC)
            return true;
    return false;
}

static void describe_output(fq_model *model, size_t i) {
    const fq_node *node = &model->nodes[i];
    fq_value      *value = &model->values[i + 1];
    value->shape = node->plan.out;
    value->root = i + 1;
    value->needs_gradient = has_trainable(&node->plan);
    value->nonnegative = node->layer->sign != FQ_SIGN_ANY;
    for (size_t k = 0; k < node->layer->n_inputs; k++) {
        const fq_value *input = &model->values[node->input[k]];
        value->needs_gradient = value->needs_gradient || input->needs_gradient;
        if (node->layer->sign == FQ_SIGN_KEPT)
            value->nonnegative = value->nonnegative && input->nonnegative;
    }
}

static fq_status plan_layer(fq_model *model, size_t i) {
    const fq_layer_spec *spec = &model->network.layers[i];
    fq_node             *node = &model->nodes[i];
    node->layer = fq_layer_find(spec->layer);
    if (node->layer == NULL)
        return unknown_layer(spec->layer);
    FQ_TRY(name_layer(model, i));
    FQ_TRY(check_keys(node->layer, spec));
    FQ_TRY(connect_layer(model, i));
    FQ_TRY(node->layer->plan(spec, node->in, &node->plan));
    fq_shape out = node->plan.out;
    if ((double)out.c * out.h * out.w > (double)MAX_FEATURES)
        return fq_fail(FQ_ELIMIT,
                       "an output of %" PRIu32 "x%" PRIu32 "x%" PRIu32
                       " is too large; expected at most %zu values",
                       out.c, out.h, out.w, MAX_FEATURES);
    node->site = FQ_NONE;
    if (node->plan.quantized_input) {
        model->site_layer[model->n_sites] = i;
        node->site = model->n_sites++;
    }
    describe_output(model, i);
    return FQ_OK;
}

/* Layers that may, and whose input is the fresh output of a layer that nobody else reads, work in
 * place. What a layer made stays as it is until the next one has run, and no layer needs its own
 * output for its gradient. */
static void settle_in_place(fq_model *model) {
    for (size_t i = 0; i < model->network.n_layers; i++) {
        fq_node        *node = &model->nodes[i];
        const size_t    from = node->input[0];
        const fq_value *input = &model->values[from];
        fq_value       *value = &model->values[i + 1];
        node->in_place =
            node->layer->in_place && from > 0 && input->root == from && input->readers == 1;
        if (node->in_place || node->layer->forward == NULL)
            value->root = input->root;
        fq_node *before = from > 0 ? &model->nodes[from - 1] : NULL;
        if (node->in_place && node->layer == &fq_layer_relu && before->layer->applies_relu)
            node->skipped = before->relu = true;
        if (before != NULL && before->layer == &fq_layer_relu && before->in_place &&
            !before->skipped && input->readers == 1 && node->layer->commutes_with_relu)
            before->skipped = node->relu = true;
    }
}

static fq_status plan_layers(fq_model *model) {
    const fq_network *network = &model->network;
    fq_shape          in = network->input;
    if (in.c == 0 || in.h == 0 || in.w == 0 || (double)in.c * in.h * in.w > (double)MAX_FEATURES)
        return fq_fail(FQ_EINVAL,
                       "an input of %" PRIu32 "x%" PRIu32 "x%" PRIu32
                       " is not allowed; expected 1 to %zu values",
                       in.c, in.h, in.w, MAX_FEATURES);
    model->values[0] = (fq_value){.shape = in};
    for (size_t i = 0; i < network->n_layers; i++) {
        fq_status status = plan_layer(model, i);
        if (status != FQ_OK) {
            const fq_layer_spec *spec = &network->layers[i];
            fq_add_context("layer %zu (%s)", i + 1,
                           spec->name[0] != '\0' ? spec->name : spec->layer);
            return status;
        }
    }
    settle_in_place(model);
    for (size_t i = 0; i + 1 < network->n_layers; i++)
        if (model->values[i + 1].readers == 0)
            return fq_fail(FQ_EINVAL, "layer %zu (%s): no layer reads its output", i + 1,
                           network->layers[i].name);
    const fq_layer_spec *last = &network->layers[network->n_layers - 1];
    fq_shape             out = model->values[network->n_layers].shape;
    if (out.c != network->n_classes || out.h != 1 || out.w != 1)
        return fq_fail(FQ_EINVAL,
                       "layer %zu (%s): the last layer gives %" PRIu32 "x%" PRIu32 "x%" PRIu32
                       "; expected %" PRIu32 "x1x1, one value for each class",
                       network->n_layers, last->name, out.c, out.h, out.w, network->n_classes);
    return FQ_OK;
}

/* ---- the flat vector ---- */

static fq_status append_tensor(fq_model *model, const fq_tensor *tensor) {
    fq_tensor *added = &model->tensors[model->n_tensors++];
    *added = *tensor;
    added->offset = model->size;
    added->count = 1;
    for (uint32_t axis = 0; axis < added->n_axes; axis++) { /* both factors < 2^32 */
        uint64_t count = (uint64_t)added->count * added->shape[axis];
        if (count > MAX_VALUES_OF_MODEL || model->size + count > MAX_VALUES_OF_MODEL)
            return fq_fail(FQ_ELIMIT, "%s: the model has more than %zu values", added->name,
                           MAX_VALUES_OF_MODEL);
        added->count = (size_t)count;
    }
    model->size += added->count;
    return FQ_OK;
}

static fq_status append_layer_tensors(fq_model *model, bool statistics) {
    for (size_t i = 0; i < model->network.n_layers; i++) {
        fq_node *node = &model->nodes[i];
        for (size_t t = 0; t < node->plan.n_tensors; t++) {
            const fq_tensor_plan *plan = &node->plan.tensors[t];
            if ((plan->kind == FQ_STATISTIC) != statistics)
                continue;
            fq_tensor tensor = {.kind = plan->kind,
                                .n_axes = plan->n_axes,
                                .layer = (uint32_t)i,
                                .fan_in = plan->fan_in,
                                .initial = plan->initial};
            memcpy(tensor.shape, plan->shape, sizeof tensor.shape);
            snprintf(tensor.name, sizeof tensor.name, "%.31s.%.31s", model->network.layers[i].name,
                     plan->name);
            node->tensor[t] = model->n_tensors;
            FQ_TRY(append_tensor(model, &tensor));
        }
    }
    return FQ_OK;
}

static fq_status append_extra_tensors(fq_model *model, const fq_extra_tensor *extra, size_t n,
                                      fq_tensor_kind kind) {
    for (size_t i = 0; i < n; i++) {
        if (extra[i].kind != kind)
            continue;
        fq_tensor tensor = {
            .kind = kind, .n_axes = 1, .layer = extra[i].layer, .initial = extra[i].initial};
        memcpy(tensor.name, extra[i].name, sizeof tensor.name);
        tensor.shape[0] = (uint32_t)extra[i].count;
        FQ_TRY(append_tensor(model, &tensor));
    }
    return FQ_OK;
}

static fq_status check_extra(const fq_model *model, const fq_extra_tensor *extra, size_t n) {
    if (n > MAX_EXTRA)
        return fq_fail(FQ_ELIMIT, "%zu extra tensors; expected at most %d", n, MAX_EXTRA);
    for (size_t i = 0; i < n; i++) {
        if (memchr(extra[i].name, 0, sizeof extra[i].name) == NULL ||
            !is_name(extra[i].name, "_-."))
            return fq_fail(FQ_EINVAL,
                           "extra tensor %zu: expected a name of letters, digits, _, - and .",
                           i + 1);
        if (extra[i].kind != FQ_STEP && extra[i].kind != FQ_RANGE)
            return fq_fail(FQ_EINVAL, "extra tensor %s: expected a step or a range", extra[i].name);
        if (extra[i].layer >= model->network.n_layers)
            return fq_fail(FQ_EINVAL, "extra tensor %s: layer %" PRIu32 "; expected less than %zu",
                           extra[i].name, extra[i].layer, model->network.n_layers);
        if (extra[i].count == 0 || extra[i].count > MAX_VALUES_OF_MODEL)
            return fq_fail(FQ_EINVAL, "extra tensor %s: %zu values; expected 1 to %zu",
                           extra[i].name, extra[i].count, MAX_VALUES_OF_MODEL);
        if (!isfinite(extra[i].initial))
            return fq_fail(FQ_ENONFINITE, "extra tensor %s: the initial value is not finite",
                           extra[i].name);
    }
    return FQ_OK;
}

static fq_status plan_tensors(fq_model *model, const fq_extra_tensor *extra, size_t n_extra) {
    FQ_TRY(check_extra(model, extra, n_extra));
    size_t n = n_extra;
    for (size_t i = 0; i < model->network.n_layers; i++)
        n += model->nodes[i].plan.n_tensors;
    model->tensors = calloc(n > 0 ? n : 1, sizeof *model->tensors);
    if (model->tensors == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a table of %zu tensors", n);
    FQ_TRY(append_layer_tensors(model, false));
    model->parameters = model->size;
    FQ_TRY(append_extra_tensors(model, extra, n_extra, FQ_STEP));
    model->trainable = model->size;
    FQ_TRY(append_layer_tensors(model, true));
    FQ_TRY(append_extra_tensors(model, extra, n_extra, FQ_RANGE));
    /* Each weight is used once for each pixel of its layer's output. */
    for (size_t t = 0; t < model->n_tensors; t++) {
        fq_shape out = model->nodes[model->tensors[t].layer].plan.out;
        if (model->tensors[t].kind == FQ_WEIGHT)
            model->macs += (double)model->tensors[t].count * out.h * out.w;
    }
    return FQ_OK;
}

/* ---- the model ---- */

fq_status fq_model_create(fq_model **out, const fq_network *network, const fq_extra_tensor *extra,
                          size_t n_extra) {
    *out = NULL;
    if (network->n_layers == 0 || network->n_layers > FQ_MAX_LAYERS)
        return fq_fail(network->n_layers == 0 ? FQ_EINVAL : FQ_ELIMIT,
                       "%zu layers; expected 1 to %d", network->n_layers, FQ_MAX_LAYERS);
    fq_model *model = calloc(1, sizeof *model);
    if (model == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a model of %zu layers", network->n_layers);
    model->network.input = network->input;
    model->network.n_classes = network->n_classes;
    model->network.n_layers = network->n_layers;
    memcpy(model->network.layers, network->layers, network->n_layers * sizeof *network->layers);
    fq_status status;
    FQ_GO(status, plan_layers(model));
    FQ_GO(status, plan_tensors(model, extra, n_extra));
    FQ_GO(status, fq_model_lay_out(model));
    *out = model;
    return FQ_OK;
done:
    fq_model_destroy(&model);
    return status;
}

void fq_model_destroy(fq_model **model) {
    if (*model == NULL)
        return;
    free((*model)->tensors);
    free(*model);
    *model = NULL;
}

const fq_network *fq_model_network(const fq_model *model) {
    return &model->network;
}

size_t fq_model_size(const fq_model *model) {
    return model->size;
}

size_t fq_model_trainable(const fq_model *model) {
    return model->trainable;
}

size_t fq_model_parameters(const fq_model *model) {
    return model->parameters;
}

size_t fq_model_tensor_count(const fq_model *model) {
    return model->n_tensors;
}

const fq_tensor *fq_model_tensor(const fq_model *model, size_t index) {
    assert(index < model->n_tensors);
    return &model->tensors[index];
}

size_t fq_model_site_count(const fq_model *model) {
    return model->n_sites;
}

static const fq_value *site_value(const fq_model *model, size_t site) {
    assert(site < model->n_sites);
    return &model->values[model->nodes[model->site_layer[site]].input[0]];
}

bool fq_model_site_nonnegative(const fq_model *model, size_t site) {
    return site_value(model, site)->nonnegative;
}

size_t fq_model_site_layer(const fq_model *model, size_t site) {
    assert(site < model->n_sites);
    return model->site_layer[site];
}

size_t fq_model_layer_inputs(const fq_model *model, size_t layer) {
    return model->nodes[layer].layer->n_inputs;
}

size_t fq_model_layer_input(const fq_model *model, size_t layer, size_t k) {
    assert(layer < model->network.n_layers && k < model->nodes[layer].layer->n_inputs);
    return model->nodes[layer].input[k];
}

fq_shape fq_model_value_shape(const fq_model *model, size_t value) {
    assert(value <= model->network.n_layers);
    return model->values[value].shape;
}

const fq_tensor *fq_model_layer_tensor(const fq_model *model, size_t layer, fq_tensor_kind kind) {
    const fq_node *node = &model->nodes[layer];
    for (size_t t = 0; t < node->plan.n_tensors; t++)
        if (node->plan.tensors[t].kind == kind)
            return &model->tensors[node->tensor[t]];
    return NULL;
}

size_t fq_model_layer_groups(const fq_model *model, size_t layer) {
    return model->nodes[layer].plan.n_channel_groups;
}

double fq_model_macs(const fq_model *model) {
    return model->macs;
}

void fq_model_init(const fq_model *model, uint64_t seed, float *w) {
    for (size_t t = 0; t < model->n_tensors; t++) {
        const fq_tensor *tensor = &model->tensors[t];
        float           *x = w + tensor->offset;
        if (tensor->kind != FQ_WEIGHT && tensor->kind != FQ_BIAS) {
            for (size_t i = 0; i < tensor->count; i++)
                x[i] = tensor->initial;
            continue;
        }
        fq_rng rng = fq_rng_stream(seed, FQ_RNG_INIT, 0, 0, 0, (uint32_t)t);
        float  bound = 1.0f / sqrtf((float)tensor->fan_in);
        fq_rng_fill_uniform(&rng, x, tensor->count);
        for (size_t i = 0; i < tensor->count; i++)
            x[i] = (2.0f * x[i] - 1.0f) * bound;
    }
}
