#include "round/aggregator_impl.h"

/* w_(t+1) - w_t = sum_k n_k delta_k / sum_k n_k (McMahan et al. 2017, arXiv 1602.05629, algorithm
 * 1). */
const fq_aggregator fq_aggregator_mean = {
    .name = "mean",
    .summary = "Mean weighted by examples; exact and order-independent",
    .source = "McMahan et al. 2017, arXiv 1602.05629",
};
