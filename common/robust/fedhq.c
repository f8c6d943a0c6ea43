/* A choice for each client between training in float, quantizing what it has trained once a round,
 * and quantizing in every step (after Zheng et al. 2025, "FedHQ", arXiv 2505.11982, of which only
 * the idea is taken; the rule is ours):
 *   score = a * speed + b * label entropy
 *   float below ptq_from, ptq from there, qat from qat_from on
 * A fast device can pay for the quantizer in each step, and a client with many classes has the most
 * to say about where the weights should lie. */
#include "robust/quantized_view.h"

typedef enum local_mode { MODE_SCORE, MODE_FLOAT, MODE_PTQ, MODE_QAT } local_mode;
static const char *const mode_names[] = {"score", "float", "ptq", "qat", NULL};

typedef struct fedhq_config {
    fq_view_settings view; /* the first member: quantized_view.h */
    int              local_mode;
    fq_reals         speeds;
    double           speed_weight, entropy_weight, ptq_from, qat_from;
} fedhq_config;
_Static_assert(offsetof(fedhq_config, view) == 0, "what the hooks of the view rely on");

#define FIELD(name) offsetof(fedhq_config, name)
static const fq_key keys[] = {
    {"local_mode", FQ_TYPE_CHOICE, FIELD(local_mode), "score", 0, 0, mode_names,
     "What a client does: by its score, or all the same: train in float, quantize the trained "
     "weights once a round (ptq), or in every step (qat)."},
    {"speeds", FQ_TYPE_REALS, FIELD(speeds), "[1, 0.5, 0.25]", 0, 1, NULL,
     "Speed of a client's device, 1 for the fastest; client k has entry k modulo their number."},
    {"speed_weight", FQ_TYPE_REAL, FIELD(speed_weight), "0.5", 0, 1e6, NULL,
     "Share of the speed in the score."},
    {"entropy_weight", FQ_TYPE_REAL, FIELD(entropy_weight), "0.5", 0, 1e6, NULL,
     "Share of the entropy of the client's labels in the score; 1 if all classes are as frequent."},
    {"ptq_from", FQ_TYPE_REAL, FIELD(ptq_from), "0", 0, 1e6, NULL,
     "Score from which a client quantizes once a round; below, it trains in float."},
    {"qat_from", FQ_TYPE_REAL, FIELD(qat_from), "0.6", 0, 1e6, NULL,
     "Score from which a client quantizes in every step; not below ptq_from."},
    {"bits", FQ_TYPE_INT, offsetof(fq_view_settings, bits.v), "4", 1, 32, NULL,
     "Width of the weights: 1 to 8, or 32 for float."},
    {"activations", FQ_TYPE_INT, offsetof(fq_view_settings, activations.v), "32", 1, 32, NULL,
     "Width of the activations in the steps of qat: 1 to 8, or 32 for float."},
    FQ_VIEW_KEYS,
    {.name = NULL},
};
_Static_assert(sizeof(fedhq_config) <= 4096, "the largest section that a plan holds");

static fq_status check(const void *section) {
    const fedhq_config    *config = section;
    const fq_view_settings settings = fq_view_settings_of(section);
    FQ_TRY(fq_widths_check("fedhq.bits", &settings.bits));
    FQ_TRY(fq_widths_check("fedhq.activations", &settings.activations));
    if (config->speeds.n == 0)
        return fq_fail(FQ_EINVAL, "fedhq.speeds: an empty list; expected at least one speed");
    if (config->qat_from < config->ptq_from)
        return fq_fail(FQ_EINVAL,
                       "fedhq.qat_from: %g is below fedhq.ptq_from, %g; expected no less",
                       config->qat_from, config->ptq_from);
    return FQ_OK;
}

static local_mode mode_of(const fedhq_config *config, const fq_step *step) {
    if (config->local_mode != MODE_SCORE)
        return (local_mode)config->local_mode;
    const double speed = config->speeds.v[step->client % config->speeds.n];
    const double score =
        config->speed_weight * speed + config->entropy_weight * step->label_entropy;
    return score >= config->qat_from ? MODE_QAT : score >= config->ptq_from ? MODE_PTQ : MODE_FLOAT;
}

static void begin_step(const fq_bound *bound, const fq_step *step) {
    if (mode_of(bound->config, step) == MODE_QAT)
        fq_view_begin_step(bound, step);
    else
        fq_view_begin_float(bound);
}

static void after_step(const fq_bound *bound, const fq_step *step, float *w) {
    const local_mode mode = mode_of(bound->config, step);
    if (mode == MODE_QAT)
        fq_view_after_step(bound, step, w);
    if (mode != MODE_PTQ || step->step == 0 || step->step < step->n_steps)
        return;
    fq_view_begin_step(bound, step);
    fq_view_round(bound, w);
}

const fq_robustness fq_robustness_fedhq = {
    .name = "fedhq",
    .summary =
        "each client trains in float, or quantizes once a round or in every step, by a score",
    .source = "after Zheng et al. 2025, arXiv 2505.11982",
    .keys = keys,
    .config_size = sizeof(fedhq_config),
    .check = check,
    .sees_labels = true,
    FQ_VIEW_HOOKS,
    .begin_step = begin_step,
    .after_step = after_step,
};
