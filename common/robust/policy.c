/* Which tensors are quantized, and at which width. The first and the last layer hold few weights
 * and hurt most, so common set-ups keep them at 8 bits or in float. */
#include "robust/robust_impl.h"

const char *const fq_layer_policy_names[] = {"all", "first_last_8", "first_last_float", NULL};

static int policy_bits(fq_layer_policy policy, size_t index, size_t n, int bits) {
    if (policy == FQ_LAYERS_ALL || bits == FQ_FLOAT_BITS || (index != 0 && index + 1 != n))
        return bits;
    return policy == FQ_LAYERS_FIRST_LAST_8 ? FQ_MAX_BITS : FQ_FLOAT_BITS;
}

int fq_policy_weight_bits(fq_layer_policy policy, size_t index, size_t n, int bits) {
    return policy_bits(policy, index, n, bits);
}

int fq_policy_site_bits(fq_layer_policy policy, size_t index, size_t n, int bits) {
    return policy_bits(policy, index, n, bits);
}

size_t fq_weight_tensor_count(const fq_model *model) {
    size_t n = 0;
    for (size_t t = 0; t < fq_model_tensor_count(model); t++)
        n += fq_model_tensor(model, t)->kind == FQ_WEIGHT;
    return n;
}

const fq_tensor *fq_weight_tensor_next(const fq_model *model, size_t *cursor) {
    const fq_tensor *tensor;
    do
        tensor = fq_model_tensor(model, (*cursor)++);
    while (tensor->kind != FQ_WEIGHT);
    return tensor;
}
