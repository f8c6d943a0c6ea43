/* y = max(x, 0). A NaN stays a NaN, so that a diverging run shows. */
#include "model/layer_impl.h"

static fq_status plan(const fq_layer_spec *spec, const fq_shape *in, fq_layer_plan *out) {
    (void)spec;
    *out = (fq_layer_plan){.out = in[0]};
    return FQ_OK;
}

static void forward(fq_layer_pass *p) {
    fq_kernels_get()->relu(fq_shape_count(p->out) * p->lanes, p->x[0], p->y);
}

static void backward(fq_layer_pass *p) {
    if (p->dx[0] != NULL)
        fq_kernels_get()->relu_backward(fq_shape_count(p->out) * p->lanes, p->x[0], p->dy,
                                        p->dx[0]);
}

const fq_layer fq_layer_relu = {
    .name = "relu",
    .summary = "max(x, 0)",
    .n_inputs = 1,
    .keys = "",
    .sign = FQ_SIGN_NONNEGATIVE,
    .in_place = true,
    .plan = plan,
    .forward = forward,
    .backward = backward,
};
