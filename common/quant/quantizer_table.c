#include "quant/quantizer_impl.h"

const fq_quantizer *const fq_quantizers[] = {
    &fq_quantizer_float32,    &fq_quantizer_float16, &fq_quantizer_uniform,
    &fq_quantizer_stochastic, &fq_quantizer_qsgd,    &fq_quantizer_sign,
    &fq_quantizer_topk,       &fq_quantizer_fedfq,   NULL,
};

const fq_quantizer *fq_quantizer_find(const char *name) {
    for (const fq_quantizer *const *row = fq_quantizers; *row != NULL; row++)
        if (strcmp((*row)->name, name) == 0)
            return *row;
    return NULL;
}
