#include "round/aggregator_impl.h"

typedef struct clipped_config {
    double norm;
} clipped_config;

static const fq_key keys[] = {
    {.name = "norm",
     .type = FQ_TYPE_REAL,
     .offset = offsetof(clipped_config, norm),
     .fallback = "10",
     .min = 1e-9,
     .max = 1e9,
     .help = "2-norm to which a longer update is scaled down."},
    {0},
};

/* delta_k * min(1, C / |delta_k|): an update can move the mean by its share of C at most. */
static double factor(const void *config, double norm) {
    const clipped_config *c = config;
    return norm > c->norm ? c->norm / norm : 1.0;
}

const fq_aggregator fq_aggregator_clipped_mean = {
    .name = "clipped_mean",
    .summary = "Mean of updates whose 2-norm is clipped",
    .source = "Sun et al. 2019, arXiv 1911.07963 (norm bounding)",
    .keys = keys,
    .config_size = sizeof(clipped_config),
    .factor = factor,
};
