/* y [C, 1, 1] = mean of each channel over its pixels. */
#include "model/layer_impl.h"

static fq_status plan(const fq_layer_spec *spec, const fq_shape *in, fq_layer_plan *out) {
    (void)spec;
    *out = (fq_layer_plan){.out = {in[0].c, 1, 1}};
    return FQ_OK;
}

static void forward(fq_layer_pass *p) {
    size_t lanes = p->lanes, pixels = (size_t)p->in[0].h * p->in[0].w;
    float  share = 1.0f / (float)pixels;
    for (size_t c = 0; c < p->out.c; c++) {
        float *y = p->y + c * lanes;
        fq_rows_sum(pixels, lanes, p->x[0] + c * pixels * lanes, y);
        for (size_t l = 0; l < lanes; l++)
            y[l] *= share;
    }
}

static void backward(fq_layer_pass *p) {
    if (p->dx[0] == NULL)
        return;
    size_t lanes = p->lanes, pixels = (size_t)p->in[0].h * p->in[0].w;
    float  share = 1.0f / (float)pixels;
    for (size_t c = 0; c < p->out.c; c++) {
        const float *restrict dy = p->dy + c * lanes;
        float *restrict dx = p->dx[0] + c * pixels * lanes;
        for (size_t i = 0; i < pixels; i++)
            for (size_t l = 0; l < lanes; l++)
                dx[i * lanes + l] = dy[l] * share;
    }
}

const fq_layer fq_layer_global_avg_pool = {
    .name = "global_avg_pool",
    .summary = "mean of each channel",
    .n_inputs = 1,
    .keys = "",
    .sign = FQ_SIGN_KEPT,
    .plan = plan,
    .forward = forward,
    .backward = backward,
};
