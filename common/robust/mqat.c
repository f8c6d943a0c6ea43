/* Quantization-aware training at many widths: each local step draws one, and runs one forward and
 * one backward pass at it, so the expected objective is sum_b p_b f(Q_b(w)) at the cost of plain
 * training (Gupta et al. 2022, arXiv 2206.10844). */
#include "robust/quantized_view.h"

static const char *const odds_names[] = {"uniform", "proportional", NULL};
static const char *const draw_names[] = {"step", "client", "layer", NULL};

static const fq_key keys[] = {
    {"bits", FQ_TYPE_INTS, offsetof(fq_view_settings, bits), "[2, 3, 4, 8]", 1, 32, NULL,
     "Widths of the weights, each 1 to 8, or 32 for a pass in float."},
    {"odds", FQ_TYPE_CHOICE, offsetof(fq_view_settings, odds), "uniform", 0, 0, odds_names,
     "Chances of the widths: all equal, or in proportion to the width."},
    {"weights", FQ_TYPE_REALS, offsetof(fq_view_settings, weights), "[]", 0, 1e9, NULL,
     "Relative chances of the members of bits, one for each; empty: as odds says."},
    {"draw", FQ_TYPE_CHOICE, offsetof(fq_view_settings, draw), "step", 0, 0, draw_names,
     "A new width for each local step, for each client's turn, or for each layer of each step."},
    {"activations", FQ_TYPE_INTS, offsetof(fq_view_settings, activations), "[32]", 1, 32, NULL,
     "Widths of the activations, drawn like those of the weights but on their own; 32: float."},
    {"tied", FQ_TYPE_BOOL, offsetof(fq_view_settings, tied), "false", 0, 0, NULL,
     "Activations take the width drawn for the weights; activations must be left out then."},
    FQ_VIEW_KEYS,
    {.name = NULL},
};
_Static_assert(sizeof(fq_view_settings) <= 4096, "the largest section that a plan holds");

static fq_status check_weights(const fq_reals *weights, size_t n_widths) {
    if (weights->n == 0)
        return FQ_OK;
    if (weights->n != n_widths)
        return fq_fail(
            FQ_EINVAL,
            "mqat.weights: %zu values for the %zu widths of mqat.bits; expected one for each",
            weights->n, n_widths);
    double sum = 0.0;
    for (size_t i = 0; i < weights->n; i++) {
        if (!(weights->v[i] >= 0.0 && weights->v[i] <= 1e9))
            return fq_fail(FQ_EINVAL,
                           "mqat.weights: %g is not allowed; expected numbers from 0 to 1e9",
                           weights->v[i]);
        sum += weights->v[i];
    }
    if (!(sum > 0.0))
        return fq_fail(FQ_EINVAL, "mqat.weights: all are 0; at least one width needs a chance");
    return FQ_OK;
}

static fq_status check(const void *section) {
    const fq_view_settings *settings = section;
    const fq_ints          *activations = &settings->activations;
    FQ_TRY(fq_widths_check("mqat.bits", &settings->bits));
    FQ_TRY(fq_widths_check("mqat.activations", activations));
    if (settings->tied && (activations->n != 1 || activations->v[0] != FQ_FLOAT_BITS))
        return fq_fail(FQ_EINVAL, "mqat.tied: true takes the widths of mqat.bits; "
                                  "mqat.activations must be left out");
    return check_weights(&settings->weights, settings->bits.n);
}

const fq_robustness fq_robustness_mqat = {
    .name = "mqat",
    .summary = "weights quantized at a width drawn for each local step",
    .source =
        "Gupta et al. 2022, arXiv 2206.10844; learned steps: Esser et al. 2020, arXiv 1902.08153",
    .keys = keys,
    .config_size = sizeof(fq_view_settings),
    .check = check,
    FQ_VIEW_HOOKS,
    .begin_step = fq_view_begin_step,
    .after_step = fq_view_after_step,
};
