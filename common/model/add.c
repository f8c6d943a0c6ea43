/* y = a + b, of equal shapes: where a residual branch joins. */
#include "model/layer_impl.h"

#include <string.h>

static fq_status plan(const fq_layer_spec *spec, const fq_shape *in, fq_layer_plan *out) {
    (void)spec;
    if (in[0].c != in[1].c || in[0].h != in[1].h || in[0].w != in[1].w)
        return fq_fail(FQ_EINVAL,
                       "inputs of %" PRIu32 "x%" PRIu32 "x%" PRIu32 " and %" PRIu32 "x%" PRIu32
                       "x%" PRIu32 " cannot be added; expected equal shapes",
                       in[0].c, in[0].h, in[0].w, in[1].c, in[1].h, in[1].w);
    *out = (fq_layer_plan){.out = in[0]};
    return FQ_OK;
}

static void forward(fq_layer_pass *p) {
    fq_kernels_get()->add(fq_shape_count(p->out) * p->lanes, p->x[0], p->x[1], p->relu, p->y);
}

static void backward(fq_layer_pass *p) {
    size_t n = fq_shape_count(p->out) * p->lanes;
    for (size_t k = 0; k < 2; k++)
        if (p->dx[k] != NULL && p->relu)
            fq_kernels_get()->relu_backward(n, p->y, p->dy, p->dx[k]);
        else if (p->dx[k] != NULL)
            memcpy(p->dx[k], p->dy, n * sizeof(float));
}

const fq_layer fq_layer_add = {
    .name = "add",
    .summary = "sum of two inputs of equal shape",
    .n_inputs = 2,
    .keys = "",
    .sign = FQ_SIGN_KEPT,
    .applies_relu = true,
    .plan = plan,
    .forward = forward,
    .backward = backward,
};
