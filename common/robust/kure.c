/* KURE: a penalty on the kurtosis of each weight tensor (Shkolnik et al. 2020, arXiv 2002.07686). A
 * tensor that is close to uniform (kurtosis 1.8) loses least when it is quantized, whatever the
 * quantizer.
 *
 * With d_j = x_j - mean and central moments s2, m3, m4 of a tensor of n values:
 *   K            = m4 / s2^2                  (times ((n-1)/n)^2 with the unbiased variance)
 *   penalty      = lambda / L sum_i (K_i - target)^2
 *   dK/dx_j      = 4 / (n s2^2) (d_j^3 - m3 - m4/s2 d_j)
 */
#include "robust/robust_impl.h"

static const char *const mode_names[] = {"mean", "sum", "max", NULL};

static const fq_key keys[] = {
    {"lambda", FQ_TYPE_REAL, offsetof(fq_kure_config, lambda), "0.1", 0.0, 1e6, NULL,
     "Weight of the penalty in the loss."},
    {"target", FQ_TYPE_REAL, offsetof(fq_kure_config, target), "1.8", 1.0, 100.0, NULL,
     "Kurtosis to reach; 1.8 is that of a uniform distribution, 3 that of a normal one."},
    {"mode", FQ_TYPE_CHOICE, offsetof(fq_kure_config, mode), "mean", 0, 0, mode_names,
     "Over the tensors: mean or sum of their penalties, or the largest alone."},
    {"layers", FQ_TYPE_CHOICE, offsetof(fq_kure_config, layers), "all", 0, 0, fq_layer_policy_names,
     "Which layers are to be quantized below 8 bits, and so have the penalty."},
    {"unbiased", FQ_TYPE_BOOL, offsetof(fq_kure_config, unbiased), "false", 0, 0, NULL,
     "Use the unbiased variance, as the authors' code does."},
    {.name = NULL},
};

static const double LEAST_VARIANCE = 1e-12; /* a constant tensor has no shape to improve */

typedef struct shape {
    fq_moments moments;
    double     kurtosis, excess; /* excess over the target; 0 for a constant tensor */
    double     factor;           /* dK / d(population K) */
} shape;

static shape shape_of(const fq_kure_config *config, const float *x, size_t n) {
    shape s = {.factor = 1.0};
    fq_kernels_get()->moments(n, x, &s.moments);
    if (s.moments.m2 < LEAST_VARIANCE)
        return s;
    if (config->unbiased)
        s.factor = (double)(n - 1) / (double)n * ((double)(n - 1) / (double)n);
    s.kurtosis = s.factor * s.moments.m4 / (s.moments.m2 * s.moments.m2);
    s.excess = s.kurtosis - config->target;
    return s;
}

/* g_j += scale * d(excess^2)/dx_j */
static void add_gradient(const shape *s, double scale, const float *x, size_t n, float *g) {
    const fq_moments *m = &s->moments;
    if (m->m2 < LEAST_VARIANCE)
        return;
    const double outer = scale * 2.0 * s->excess * s->factor * 4.0 / ((double)n * m->m2 * m->m2);
    const double slope = m->m4 / m->m2;
    for (size_t j = 0; j < n; j++) {
        const double d = (double)x[j] - m->mean;
        g[j] += (float)(outer * (d * d * d - m->m3 - slope * d));
    }
}

static bool has_penalty(const fq_kure_config *config, size_t index, size_t n) {
    return fq_policy_weight_bits((fq_layer_policy)config->layers, index, n, FQ_MAX_BITS - 1) <
           FQ_MAX_BITS;
}

static double penalty(const fq_bound *bound, const float *w, float *g) {
    const fq_kure_config *config = bound->config;
    const size_t          n = fq_weight_tensor_count(bound->model);
    double                scale = config->lambda;
    if (config->mode == FQ_KURE_MEAN) {
        size_t n_penalties = 0;
        for (size_t i = 0; i < n; i++)
            n_penalties += has_penalty(config, i, n);
        scale /= (double)(n_penalties > 0 ? n_penalties : 1);
    }
    const fq_tensor *worst = NULL;
    shape            worst_shape = {0};
    double           value = 0.0;
    size_t           cursor = 0;
    for (size_t i = 0; i < n; i++) {
        const fq_tensor *tensor = fq_weight_tensor_next(bound->model, &cursor);
        if (!has_penalty(config, i, n))
            continue;
        const shape  s = shape_of(config, w + tensor->offset, tensor->count);
        const double part = scale * s.excess * s.excess;
        if (config->mode != FQ_KURE_MAX) {
            value += part;
            add_gradient(&s, scale, w + tensor->offset, tensor->count, g + tensor->offset);
        } else if (part > value) {
            value = part;
            worst = tensor;
            worst_shape = s;
        }
    }
    if (worst != NULL)
        add_gradient(&worst_shape, scale, w + worst->offset, worst->count, g + worst->offset);
    return value;
}

const fq_robustness fq_robustness_kure = {
    .name = "kure",
    .summary = "a penalty that makes the distribution of weights uniform",
    .source = "Shkolnik et al. 2020, arXiv 2002.07686",
    .keys = keys,
    .config_size = sizeof(fq_kure_config),
    .penalty = penalty,
};
