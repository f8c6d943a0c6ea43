#include "quant/range_impl.h"

#include <string.h>

#define RULE(rule) &fq_range_##rule,
#define NAME(rule) #rule,

const fq_range_rule *const fq_range_rules[] = {FQ_FITTED_RULES(RULE) FQ_LEARNED_RULES(RULE) NULL};
const char *const          fq_range_names[] = {FQ_FITTED_RULES(NAME) FQ_LEARNED_RULES(NAME) NULL};
const char *const          fq_fitted_range_names[] = {FQ_FITTED_RULES(NAME) NULL};

const fq_range_rule *fq_range_find(const char *name) {
    for (const fq_range_rule *const *rule = fq_range_rules; *rule != NULL; rule++)
        if (strcmp((*rule)->name, name) == 0)
            return *rule;
    return NULL;
}
