#include "base/status.h"
#include "round/aggregator_impl.h"

typedef struct trimmed_config {
    double share;
} trimmed_config;

static const fq_key keys[] = {
    {.name = "share",
     .type = FQ_TYPE_REAL,
     .offset = offsetof(trimmed_config, share),
     .fallback = "0.1",
     .max = 0.49,
     .help = "Share of the updates dropped at each end of every coordinate."},
    {0},
};

static size_t trimmed(const trimmed_config *config, size_t n) {
    return (size_t)(config->share * (double)n);
}

static fq_status check(const void *config, size_t cohort) {
    const trimmed_config *c = config;
    if (c->share > 0.0 && trimmed(c, cohort) == 0)
        return fq_fail(FQ_EINVAL,
                       "aggregate.trimmed_mean.share: %g of %zu clients a round is less than one "
                       "update; use at least "
                       "%g, or more clients",
                       c->share, cohort, 1.0 / (double)cohort);
    return FQ_OK;
}

/* Each coordinate's mean without the floor(share n) smallest and largest values. Sorted first, so
 * the sum does not depend on the order of arrival. */
static void combine(const void *config, const float *const *x, size_t n, size_t begin, size_t end,
                    float *column, float *out) {
    size_t cut = trimmed(config, n);
    for (size_t i = begin; i < end; i++) {
        for (size_t k = 0; k < n; k++)
            column[k] = x[k][i];
        fq_column_sort(column, n);
        double sum = 0.0;
        for (size_t k = cut; k < n - cut; k++)
            sum += (double)column[k];
        out[i] = (float)(sum / (double)(n - 2 * cut));
    }
}

const fq_aggregator fq_aggregator_trimmed_mean = {
    .name = "trimmed_mean",
    .summary = "Coordinate-wise mean without the extremes, unweighted",
    .source = "Yin et al. 2018, arXiv 1803.01498, definition 2",
    .keys = keys,
    .config_size = sizeof(trimmed_config),
    .keeps = true,
    .check = check,
    .combine = combine,
};
