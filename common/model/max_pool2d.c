/* Maximum over a window; padding never wins. A NaN wins, so that a diverging run shows. */
#include "model/layer_impl.h"

static fq_status plan(const fq_layer_spec *spec, const fq_shape *in, fq_layer_plan *out) {
    fq_shape shape = {in[0].c, 0, 0};
    FQ_TRY(fq_pool_fit(fq_window_of(spec, spec->kernel), in[0], &shape));
    /* cached: which pixel of the window won, as a float (exact: fewer than 2^24 pixels) */
    *out = (fq_layer_plan){.out = shape, .cache_per_lane = fq_shape_count(shape)};
    return FQ_OK;
}

static fq_pool_window geometry(const fq_layer_pass *p) {
    fq_window window = fq_window_of(p->spec, p->spec->kernel);
    return (fq_pool_window){.channels = p->out.c,
                            .in_h = p->in[0].h,
                            .in_w = p->in[0].w,
                            .out_h = p->out.h,
                            .out_w = p->out.w,
                            .kernel = window.kernel,
                            .stride = window.stride,
                            .pad = window.pad,
                            .lanes = p->lanes,
                            .relu = p->relu};
}

static void forward(fq_layer_pass *p) {
    fq_pool_window pool = geometry(p);
    fq_kernels_get()->max_pool(&pool, p->x[0], p->y, p->train ? p->cache : NULL);
}

static void backward(fq_layer_pass *p) {
    fq_pool_window pool = geometry(p);
    if (p->dx[0] != NULL)
        fq_kernels_get()->max_pool_backward(&pool, p->cache, p->dy, p->dx[0]);
}

const fq_layer fq_layer_max_pool2d = {
    .name = "max_pool2d",
    .summary = "maximum over a window",
    .n_inputs = 1,
    .keys = "kernel stride pad",
    .sign = FQ_SIGN_KEPT,
    .applies_relu = true,
    .commutes_with_relu = true,
    .plan = plan,
    .forward = forward,
    .backward = backward,
};
