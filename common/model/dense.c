/* y [out, lanes] = W [out, in] x [in, lanes] + b. Reads all features of its input, whatever its
 * shape. */
#include "math/gemm.h"
#include "model/layer_impl.h"

static fq_status plan(const fq_layer_spec *spec, const fq_shape *in, fq_layer_plan *out) {
    if (spec->out == 0)
        return fq_fail(FQ_EINVAL, "out: 0 is not allowed; expected at least 1");
    uint32_t units = (uint32_t)spec->out, features = (uint32_t)fq_shape_count(in[0]);
    *out = (fq_layer_plan){
        .out = {units, 1, 1},
        .n_tensors = spec->bias ? 2 : 1,
        .tensors = {{"weight", FQ_WEIGHT, {units, features}, 2, features, 0.0f},
                    {"bias", FQ_BIAS, {units}, 1, features, 0.0f}},
        .quantized_input = true,
    };
    return FQ_OK;
}

static void forward(fq_layer_pass *p) {
    size_t lanes = p->lanes, units = p->out.c, features = fq_shape_count(p->in[0]);
    if (p->spec->bias)
        for (size_t u = 0; u < units; u++)
            for (size_t l = 0; l < lanes; l++)
                p->y[u * lanes + l] = p->w[1][u];
    fq_gemm(false, false, units, lanes, features, p->w[0], features, p->x[0], lanes,
            p->spec->bias ? 1.0f : 0.0f, p->y, lanes);
}

static void backward(fq_layer_pass *p) {
    size_t lanes = p->lanes, units = p->out.c, features = fq_shape_count(p->in[0]);
    /* dW += dy x^T;  db += dy 1;  dx = W^T dy */
    fq_gemm(false, true, units, features, lanes, p->dy, lanes, p->x[0], lanes, 1.0f, p->dw[0],
            features);
    if (p->spec->bias)
        for (size_t u = 0; u < units; u++)
            p->dw[1][u] += fq_lanes_total(p->dy + u * lanes, lanes);
    if (p->dx[0] != NULL)
        fq_gemm(true, false, features, lanes, units, p->w[0], features, p->dy, lanes, 0.0f,
                p->dx[0], lanes);
}

const fq_layer fq_layer_dense = {
    .name = "dense",
    .summary = "fully connected: y = W x + b",
    .n_inputs = 1,
    .keys = "out bias",
    .plan = plan,
    .forward = forward,
    .backward = backward,
};
