#include "robust/robust_impl.h"

#include <string.h>

const fq_robustness *const fq_robustnesses[] = {
    &fq_robustness_kure,  &fq_robustness_apqn,        &fq_robustness_qat,      &fq_robustness_mqat,
    &fq_robustness_fedhq, &fq_robustness_block_float, &fq_robustness_heterofl, NULL,
};

const fq_robustness *fq_robustness_find(const char *name) {
    for (const fq_robustness *const *row = fq_robustnesses; *row != NULL; row++)
        if (strcmp((*row)->name, name) == 0)
            return *row;
    return NULL;
}
