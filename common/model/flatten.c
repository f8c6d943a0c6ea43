/* [C, H, W, lanes] -> [C*H*W, 1, 1, lanes]: the same values in the same order, so nothing is
 * copied. */
#include "model/layer_impl.h"

static fq_status plan(const fq_layer_spec *spec, const fq_shape *in, fq_layer_plan *out) {
    (void)spec;
    *out = (fq_layer_plan){.out = {(uint32_t)fq_shape_count(in[0]), 1, 1}};
    return FQ_OK;
}

const fq_layer fq_layer_flatten = {
    .name = "flatten",
    .summary = "all features as channels of one pixel",
    .n_inputs = 1,
    .keys = "",
    .sign = FQ_SIGN_KEPT,
    .plan = plan,
};
