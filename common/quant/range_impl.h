/* The range rules, one file each. A new one is a file and a row here. */
#ifndef FQ_QUANT_RANGE_IMPL_H
#define FQ_QUANT_RANGE_IMPL_H

#include "quant/grid.h"

/* Rules that need nothing but the values, then those whose steps are parameters of a model. ROW(x)
 * stands for fq_range_x, whose name is "x". */
#define FQ_FITTED_RULES(ROW)  ROW(minmax) ROW(percentile) ROW(mse) ROW(gauss) ROW(golden)
#define FQ_LEARNED_RULES(ROW) ROW(learned)

#define FQ_DECLARE_RULE(rule) extern const fq_range_rule fq_range_##rule;
FQ_FITTED_RULES(FQ_DECLARE_RULE)
FQ_LEARNED_RULES(FQ_DECLARE_RULE)
#undef FQ_DECLARE_RULE

#endif
