/* The rows of the aggregator table. */
#ifndef FQ_ROUND_AGGREGATOR_IMPL_H
#define FQ_ROUND_AGGREGATOR_IMPL_H

#include "round/aggregator.h"

extern const fq_aggregator fq_aggregator_mean, fq_aggregator_clipped_mean, fq_aggregator_median,
    fq_aggregator_trimmed_mean;

/* Sort a short column ascending. */
void fq_column_sort(float *x, size_t n);

#endif
