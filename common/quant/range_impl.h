/* The range rules, one file each; their list is range_table.c. */
#ifndef FQ_QUANT_RANGE_IMPL_H
#define FQ_QUANT_RANGE_IMPL_H

#include "quant/grid.h"

extern const fq_range_rule fq_range_minmax, fq_range_percentile, fq_range_mse, fq_range_gauss,
    fq_range_learned;

#endif
