/* Inverted dropout (Srivastava et al. 2014): y = x m, m = 0 with probability `rate`, else 1 / (1 -
 * rate); outside of training y = x. */
#include "model/layer_impl.h"

#include <string.h>

static fq_status plan(const fq_layer_spec *spec, const fq_shape *in, fq_layer_plan *out) {
    (void)spec;
    *out = (fq_layer_plan){.out = in[0], .cache_per_lane = fq_shape_count(in[0])}; /* the mask */
    return FQ_OK;
}

static void multiply(size_t n, const float *restrict x, const float *restrict mask,
                     float *restrict y) {
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * mask[i];
}

static void forward(fq_layer_pass *p) {
    size_t n = fq_shape_count(p->out) * p->lanes;
    if (!p->train) {
        memcpy(p->y, p->x[0], n * sizeof(float));
        return;
    }
    float *mask = p->cache;
    float  rate = (float)p->spec->rate, kept = 1.0f / (1.0f - rate);
    fq_rng_fill_uniform(&p->rng, mask, n);
    for (size_t i = 0; i < n; i++)
        mask[i] = mask[i] < rate ? 0.0f : kept;
    multiply(n, p->x[0], mask, p->y);
}

static void backward(fq_layer_pass *p) {
    if (p->dx[0] != NULL)
        multiply(fq_shape_count(p->out) * p->lanes, p->dy, p->cache, p->dx[0]);
}

const fq_layer fq_layer_dropout = {
    .name = "dropout",
    .summary = "zeroes a random share of the values in training",
    .n_inputs = 1,
    .keys = "rate",
    .sign = FQ_SIGN_KEPT,
    .plan = plan,
    .forward = forward,
    .backward = backward,
};
