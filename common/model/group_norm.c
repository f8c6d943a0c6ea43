/* Group normalization (Wu and He 2018). For each example and each group of channels, n values:
 *     y = scale_c (x - mean) r + shift_c,   r = 1 / sqrt(var + epsilon),   var biased (divided by
 * n) Nothing is shared between examples, so it suits small and differing batches. */
#include "model/layer_impl.h"

enum { USUAL_GROUPS = 8 };

static size_t groups_of(const fq_layer_spec *spec, size_t channels) {
    if (spec->groups > 0)
        return (size_t)spec->groups;
    size_t groups = USUAL_GROUPS;
    while (channels % groups != 0)
        groups--;
    return groups;
}

static fq_status plan(const fq_layer_spec *spec, const fq_shape *in, fq_layer_plan *out) {
    uint32_t channels = in[0].c;
    size_t   groups = groups_of(spec, channels);
    if (channels % groups != 0)
        return fq_fail(FQ_EINVAL, "groups: %zu does not divide the %" PRIu32 " channels", groups,
                       channels);
    *out = (fq_layer_plan){
        .out = in[0],
        .n_tensors = 2,
        .tensors = {{"scale", FQ_NORM_SCALE, {channels}, 1, 0, 1.0f},
                    {"shift", FQ_NORM_SHIFT, {channels}, 1, 0, 0.0f}},
        .n_channel_groups = groups,
        .cache_per_lane = 2 * groups, /* mean, r */
        .scratch_per_lane = 2,        /* the same, where they are not kept */
    };
    return FQ_OK;
}

static fq_norm geometry(const fq_layer_pass *p, size_t groups) {
    return (fq_norm){.depth = p->out.c / groups,
                     .pixels = (size_t)p->out.h * p->out.w,
                     .lanes = p->lanes,
                     .epsilon = (float)p->spec->epsilon,
                     .relu = p->relu};
}

static void forward(fq_layer_pass *p) {
    const size_t  groups = groups_of(p->spec, p->out.c), lanes = p->lanes;
    const fq_norm n = geometry(p, groups);
    for (size_t g = 0; g < groups; g++) {
        const size_t first = g * n.depth, at = first * n.pixels * lanes;
        float       *mean = p->train ? p->cache + 2 * g * lanes : p->scratch;
        fq_kernels_get()->group_norm(&n, p->x[0] + at, p->w[0] + first, p->w[1] + first, mean,
                                     mean + lanes, p->y + at);
    }
}

static void backward(fq_layer_pass *p) {
    const size_t  groups = groups_of(p->spec, p->out.c), lanes = p->lanes;
    const fq_norm n = geometry(p, groups);
    for (size_t g = 0; g < groups; g++) {
        const size_t first = g * n.depth, at = first * n.pixels * lanes;
        const float *mean = p->cache + 2 * g * lanes;
        fq_kernels_get()->group_norm_backward(
            &n, p->x[0] + at, p->w[0] + first, p->w[1] + first, mean, mean + lanes, p->dy + at,
            p->dw[0] + first, p->dw[1] + first, p->dx[0] == NULL ? NULL : p->dx[0] + at);
    }
}

const fq_layer fq_layer_group_norm = {
    .name = "group_norm",
    .summary = "normalizes groups of channels of each example",
    .n_inputs = 1,
    .keys = "groups epsilon",
    .applies_relu = true,
    .plan = plan,
    .forward = forward,
    .backward = backward,
};
