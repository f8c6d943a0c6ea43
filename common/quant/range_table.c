#include "quant/range_impl.h"

#include <string.h>

const fq_range_rule *const fq_range_rules[] = {
    &fq_range_minmax, &fq_range_percentile, &fq_range_mse, &fq_range_gauss, &fq_range_learned, NULL,
};

const fq_range_rule *fq_range_find(const char *name) {
    for (const fq_range_rule *const *rule = fq_range_rules; *rule != NULL; rule++)
        if (strcmp((*rule)->name, name) == 0)
            return *rule;
    return NULL;
}
