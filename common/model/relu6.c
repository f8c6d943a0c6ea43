/* y = min(max(x, 0), 6). A NaN stays a NaN, so that a diverging run shows. */
#include "model/layer_impl.h"

static fq_status plan(const fq_layer_spec *spec, const fq_shape *in, fq_layer_plan *out) {
    (void)spec;
    *out = (fq_layer_plan){.out = in[0]};
    return FQ_OK;
}

static void forward(fq_layer_pass *p) {
    const float *restrict x = p->x[0];
    float *restrict y = p->y;
    size_t n = fq_shape_count(p->out) * p->lanes;
    for (size_t i = 0; i < n; i++) {
        float low = x[i] < 0.0f ? 0.0f : x[i];
        y[i] = low > 6.0f ? 6.0f : low;
    }
}

static void backward(fq_layer_pass *p) {
    if (p->dx[0] == NULL)
        return;
    const float *restrict x = p->x[0];
    const float *restrict dy = p->dy;
    float *restrict dx = p->dx[0];
    size_t n = fq_shape_count(p->out) * p->lanes;
    for (size_t i = 0; i < n; i++) {
        float g = dy[i]; /* read in any case: a conditional read keeps the loop from vector form */
        float low = x[i] > 0.0f ? g : 0.0f;
        dx[i] = x[i] < 6.0f ? low : 0.0f;
    }
}

const fq_layer fq_layer_relu6 = {
    .name = "relu6",
    .summary = "min(max(x, 0), 6)",
    .n_inputs = 1,
    .keys = "",
    .sign = FQ_SIGN_NONNEGATIVE,
    .plan = plan,
    .forward = forward,
    .backward = backward,
};
