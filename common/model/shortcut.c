/* Shortcut without parameters, option A of He et al. 2016 (Deep residual learning, 3.3): every
 * stride-th pixel of each channel, and channels of zeros after the last. */
#include "model/layer_impl.h"

#include <string.h>

static size_t stride_of(const fq_layer_spec *spec) {
    return spec->stride > 0 ? (size_t)spec->stride : 1;
}

static fq_status plan(const fq_layer_spec *spec, const fq_shape *in, fq_layer_plan *out) {
    if (spec->out < (int64_t)in[0].c)
        return fq_fail(FQ_EINVAL,
                       "out: %" PRId64 " is not allowed; expected at least the %" PRIu32
                       " input channels",
                       spec->out, in[0].c);
    uint32_t stride = (uint32_t)stride_of(spec);
    *out = (fq_layer_plan){.out = {(uint32_t)spec->out, (in[0].h + stride - 1) / stride,
                                   (in[0].w + stride - 1) / stride}};
    return FQ_OK;
}

static void forward(fq_layer_pass *p) {
    size_t stride = stride_of(p->spec), row = p->lanes * sizeof(float);
    size_t in_h = p->in[0].h, in_w = p->in[0].w, out_h = p->out.h, out_w = p->out.w;
    for (size_t c = 0; c < p->in[0].c; c++)
        for (size_t i = 0; i < out_h; i++)
            for (size_t j = 0; j < out_w; j++)
                memcpy(p->y + ((c * out_h + i) * out_w + j) * p->lanes,
                       p->x[0] + ((c * in_h + i * stride) * in_w + j * stride) * p->lanes, row);
    size_t filled = p->in[0].c * out_h * out_w;
    memset(p->y + filled * p->lanes, 0, (fq_shape_count(p->out) - filled) * row);
}

static void backward(fq_layer_pass *p) {
    if (p->dx[0] == NULL)
        return;
    size_t stride = stride_of(p->spec), row = p->lanes * sizeof(float);
    size_t in_h = p->in[0].h, in_w = p->in[0].w, out_h = p->out.h, out_w = p->out.w;
    memset(p->dx[0], 0, fq_shape_count(p->in[0]) * row);
    for (size_t c = 0; c < p->in[0].c; c++)
        for (size_t i = 0; i < out_h; i++)
            for (size_t j = 0; j < out_w; j++)
                memcpy(p->dx[0] + ((c * in_h + i * stride) * in_w + j * stride) * p->lanes,
                       p->dy + ((c * out_h + i) * out_w + j) * p->lanes, row);
}

const fq_layer fq_layer_shortcut = {
    .name = "shortcut",
    .summary = "every stride-th pixel, and zeros for the channels that are new (ResNet option A)",
    .n_inputs = 1,
    .keys = "out stride",
    .sign = FQ_SIGN_KEPT,
    .plan = plan,
    .forward = forward,
    .backward = backward,
};
