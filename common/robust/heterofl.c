/* Narrower networks for weaker clients (HeteroFL, Diao et al. 2021, arXiv 2010.01264): the
 * alternative of shrinking the width instead of the bits. Client k trains the leading
 * max(1, floor(r C)) of the C channels of every hidden layer, r = ratios[k mod n], and the server
 * averages each value over the clients that hold it.
 *
 * A narrow layer sums over fewer channels than the whole network will. The scaler makes up for it
 * while training: the output of each hidden layer, before norm and activation, is divided by r.
 * That output is linear in the layer's weights and bias, so the network sees u = w / r, and g_w =
 * g_u / r. */
#include "robust/robust_impl.h"

#include <string.h>

typedef struct heterofl_config {
    fq_reals ratios;
    bool     scaler, masked_loss;
} heterofl_config;

static const fq_key keys[] = {
    {"ratios", FQ_TYPE_REALS, offsetof(heterofl_config, ratios), "[1, 0.5, 0.25]", 0, 1, NULL,
     "Share of the channels of the hidden layers; client k has entry k modulo their number."},
    {"scaler", FQ_TYPE_BOOL, offsetof(heterofl_config, scaler), "true", 0, 0, NULL,
     "Divide the outputs of hidden layers by the client's share while training."},
    {"masked_loss", FQ_TYPE_BOOL, offsetof(heterofl_config, masked_loss), "false", 0, 0, NULL,
     "Take the logits of classes that a client has no example of as zero in its loss."},
    {.name = NULL},
};

static fq_status check(const void *section) {
    const heterofl_config *config = section;
    if (config->ratios.n == 0)
        return fq_fail(FQ_EINVAL, "heterofl.ratios: an empty list; expected at least one share");
    for (size_t i = 0; i < config->ratios.n; i++)
        if (!(config->ratios.v[i] > 0.0))
            return fq_fail(FQ_EINVAL, "heterofl.ratios: %g is not allowed; expected more than 0",
                           config->ratios.v[i]);
    return FQ_OK;
}

static double ratio_of(const heterofl_config *config, uint64_t client) {
    return config->ratios.v[client % config->ratios.n];
}

/* The parts are the different ratios, in ascending order: this one's number. */
static size_t rank(const heterofl_config *config, double ratio) {
    size_t smaller = 0;
    for (size_t i = 0; i < config->ratios.n; i++) {
        bool first = true;
        for (size_t j = 0; j < i; j++)
            first = first && config->ratios.v[j] != config->ratios.v[i];
        smaller += first && config->ratios.v[i] < ratio;
    }
    return smaller;
}

static size_t part(const void *config, uint64_t client) {
    return rank(config, ratio_of(config, client));
}

static fq_status parts(const void *section, const fq_model *model, uint8_t *first_part) {
    const heterofl_config *config = section;
    memset(first_part, FQ_NO_PART, fq_model_size(model));
    /* From the widest to the narrowest, which overwrites. */
    for (size_t number = config->ratios.n; number-- > 0;)
        for (size_t i = 0; i < config->ratios.n; i++)
            if (rank(config, config->ratios.v[i]) == number) {
                FQ_TRY(fq_model_narrow(model, config->ratios.v[i], (uint8_t)number, first_part));
                break;
            }
    return FQ_OK;
}

static bool masks_absent(const void *section) {
    const heterofl_config *config = section;
    return config->masked_loss;
}

/* x <- factor x for the weights and biases of hidden layers. */
static void scale_hidden(const fq_model *model, float factor, float *x) {
    uint32_t last = 0;
    for (size_t t = 0; t < fq_model_tensor_count(model); t++)
        if (fq_model_tensor(model, t)->kind == FQ_WEIGHT)
            last = fq_model_tensor(model, t)->layer;
    for (size_t t = 0; t < fq_model_tensor_count(model); t++) {
        const fq_tensor *tensor = fq_model_tensor(model, t);
        const bool       linear = tensor->kind == FQ_WEIGHT || tensor->kind == FQ_BIAS;
        for (size_t i = 0; linear && tensor->layer != last && i < tensor->count; i++)
            x[tensor->offset + i] *= factor;
    }
}

static float factor_of(const fq_bound *bound, const fq_step *step) {
    const heterofl_config *config = bound->config;
    return config->scaler ? (float)(1.0 / ratio_of(config, step->client)) : 1.0f;
}

static void view_weights(const fq_bound *bound, const fq_step *step, const float *w, float *u) {
    memcpy(u, w, fq_model_size(bound->model) * sizeof *u);
    scale_hidden(bound->model, factor_of(bound, step), u);
}

static void pull_gradient(const fq_bound *bound, const fq_step *step, const float *w,
                          const float *u, float *g) {
    (void)w;
    (void)u;
    scale_hidden(bound->model, factor_of(bound, step), g);
}

const fq_robustness fq_robustness_heterofl = {
    .name = "heterofl",
    .summary = "narrower networks for some clients: what shrinking the bits competes with",
    .source = "Diao et al. 2021, arXiv 2010.01264",
    .keys = keys,
    .config_size = sizeof(heterofl_config),
    .check = check,
    .view_weights = view_weights,
    .pull_gradient = pull_gradient,
    .parts = parts,
    .part = part,
    .masks_absent = masks_absent,
};
