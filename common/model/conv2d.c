/* Two-dimensional convolution (cross-correlation, as in all frameworks) by math/kernels.h. */
#include "model/layer_impl.h"

static size_t groups_of(const fq_layer_spec *spec) {
    return spec->groups > 0 ? (size_t)spec->groups : 1;
}

static fq_conv geometry(const fq_layer_spec *spec, fq_shape in, fq_shape out, size_t lanes) {
    fq_window window = fq_window_of(spec, 1);
    return (fq_conv){
        .in_c = in.c,
        .in_h = in.h,
        .in_w = in.w,
        .out_c = out.c,
        .out_h = out.h,
        .out_w = out.w,
        .kernel_h = window.kernel,
        .kernel_w = window.kernel,
        .stride = window.stride,
        .pad = window.pad,
        .groups = groups_of(spec),
        .lanes = lanes,
    };
}

static fq_status plan(const fq_layer_spec *spec, const fq_shape *in, fq_layer_plan *out) {
    if (spec->out == 0)
        return fq_fail(FQ_EINVAL, "out: 0 is not allowed; expected at least 1");
    size_t groups = groups_of(spec);
    if (in[0].c % groups != 0 || (size_t)spec->out % groups != 0)
        return fq_fail(FQ_EINVAL,
                       "groups: %zu does not divide the %" PRIu32 " input and %" PRId64
                       " output channels",
                       groups, in[0].c, spec->out);
    fq_shape shape = {(uint32_t)spec->out, 0, 0};
    FQ_TRY(fq_window_fit(fq_window_of(spec, 1), in[0], &shape));
    uint32_t      depth = in[0].c / (uint32_t)groups, kernel = (uint32_t)spec->kernel;
    uint32_t      fan_in = depth * kernel * kernel;
    const fq_conv c = geometry(spec, in[0], shape, FQ_LANES);
    *out = (fq_layer_plan){
        .out = shape,
        .n_tensors = spec->bias ? 2 : 1,
        .tensors = {{"weight", FQ_WEIGHT, {shape.c, depth, kernel, kernel}, 4, fan_in, 0.0f},
                    {"bias", FQ_BIAS, {shape.c}, 1, fan_in, 0.0f}},
        .scratch_fixed = fq_conv_scratch(&c),
        .n_channel_groups = groups,
        .quantized_input = true,
    };
    return FQ_OK;
}

static void forward(fq_layer_pass *p) {
    fq_conv c = geometry(p->spec, p->in[0], p->out, p->lanes);
    fq_kernels_get()->conv_forward(&c, p->x[0], p->w[0], p->spec->bias ? p->w[1] : NULL, p->y,
                                   p->scratch);
}

static void backward(fq_layer_pass *p) {
    const fq_kernels *kernels = fq_kernels_get();
    fq_conv           c = geometry(p->spec, p->in[0], p->out, p->lanes);
    kernels->conv_backward_weights(&c, p->x[0], p->dy, p->dw[0], p->spec->bias ? p->dw[1] : NULL,
                                   p->scratch);
    if (p->dx[0] != NULL)
        kernels->conv_backward_input(&c, p->dy, p->w[0], p->dx[0], p->scratch);
}

const fq_layer fq_layer_conv2d = {
    .name = "conv2d",
    .summary = "two-dimensional convolution",
    .n_inputs = 1,
    .keys = "out kernel stride pad groups bias",
    .plan = plan,
    .forward = forward,
    .backward = backward,
};
