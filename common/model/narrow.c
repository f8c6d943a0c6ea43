/* Narrower networks inside a network: the leading channels of every hidden layer. */
#include "model/model_impl.h"

#include <inttypes.h>
#include <math.h>

/* max(1, floor(ratio * channels)) */
static size_t share_of(size_t channels, double ratio) {
    size_t kept = (size_t)floor(ratio * (double)channels);
    return kept < 1 ? 1 : kept;
}

static bool has_kind(const fq_node *node, fq_tensor_kind kind) {
    for (size_t t = 0; t < node->plan.n_tensors; t++)
        if (node->plan.tensors[t].kind == kind)
            return true;
    return false;
}

/* Leading channels of the layer's output, from those of its inputs. */
static fq_status narrow_output(const fq_node *node, double ratio, bool last, const size_t *kept,
                               size_t *out) {
    const fq_layer_plan *plan = &node->plan;
    const fq_shape       in = node->in[0];
    if (has_kind(node, FQ_STATISTIC))
        return fq_fail(FQ_EINVAL,
                       "a narrower network has no statistics of the channels that it "
                       "leaves out; use group_norm instead of %s",
                       node->layer->name);
    if (has_kind(node, FQ_WEIGHT)) {
        if (plan->n_channel_groups > 1)
            return fq_fail(FQ_EINVAL, "%zu groups; the leading channels can be taken of one only",
                           plan->n_channel_groups);
        *out = last ? plan->out.c : share_of(plan->out.c, ratio);
        return FQ_OK;
    }
    if (plan->n_channel_groups > 0 && kept[0] % (in.c / plan->n_channel_groups) != 0)
        return fq_fail(FQ_EINVAL,
                       "a share of %g keeps %zu of the %" PRIu32
                       " channels; they are normalized in groups of %zu, which it must not cut",
                       ratio, kept[0], in.c, in.c / plan->n_channel_groups);
    if (node->layer->n_inputs > 1 && kept[1] != kept[0])
        return fq_fail(FQ_EINVAL,
                       "a share of %g keeps %zu channels of one input and %zu of the other", ratio,
                       kept[0], kept[1]);
    if (node->layer->forward == NULL) { /* flattened: all pixels of a channel stay with it */
        *out = kept[0] * (plan->out.c / in.c);
        return FQ_OK;
    }
    /* Channels of zeros that the layer adds are narrowed like a layer's own. */
    *out = kept[0];
    if (plan->out.c > in.c && share_of(plan->out.c, ratio) > kept[0])
        *out = share_of(plan->out.c, ratio);
    return FQ_OK;
}

/* Mark the values of a tensor [out] or [out, in, ...] that lie in the leading block. */
static void mark_block(const fq_tensor *tensor, size_t kept_out, size_t kept_in, size_t in_channels,
                       uint8_t mark, uint8_t *level) {
    const size_t row = tensor->count / tensor->shape[0];
    const size_t used = tensor->n_axes == 1 ? row : kept_in * (row / in_channels);
    for (size_t o = 0; o < kept_out; o++)
        for (size_t i = 0; i < used; i++)
            level[tensor->offset + o * row + i] = mark;
}

fq_status fq_model_narrow(const fq_model *model, double ratio, uint8_t mark, uint8_t *level) {
    size_t kept[FQ_MAX_VALUES] = {model->values[0].shape.c};
    size_t last = model->n_sites == 0 ? FQ_NONE : model->site_layer[model->n_sites - 1];
    for (size_t i = 0; i < model->network.n_layers; i++) {
        const fq_node *node = &model->nodes[i];
        size_t         in[FQ_MAX_FROM] = {0};
        for (size_t k = 0; k < node->layer->n_inputs; k++)
            in[k] = kept[node->input[k]];
        if (narrow_output(node, ratio, i == last, in, &kept[i + 1]) != FQ_OK) {
            fq_add_context("layer %zu (%s)", i + 1, model->network.layers[i].name);
            return FQ_EINVAL;
        }
        for (size_t t = 0; t < node->plan.n_tensors; t++)
            mark_block(&model->tensors[node->tensor[t]], kept[i + 1], in[0], node->in[0].c, mark,
                       level);
    }
    return FQ_OK;
}
