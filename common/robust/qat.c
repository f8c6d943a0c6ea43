/* Quantization-aware training at one width: weights, and if asked activations, are quantized in the
 * local forward pass; latent weights are trained and averaged (Gupta et al. 2022, arXiv
 * 2206.10844). */
#include "robust/quantized_view.h"

static const fq_key keys[] = {
    {"bits", FQ_TYPE_INT, offsetof(fq_view_settings, bits.v), "4", 1, 32, NULL,
     "Width of the weights: 1 to 8, or 32 for float."},
    {"activations", FQ_TYPE_INT, offsetof(fq_view_settings, activations.v), "32", 1, 32, NULL,
     "Width of the activations: 1 to 8, or 32 for float."},
    FQ_VIEW_KEYS,
    {.name = NULL},
};

static fq_status check(const void *section) {
    const fq_view_settings settings = fq_view_settings_of(section);
    FQ_TRY(fq_widths_check("qat.bits", &settings.bits));
    return fq_widths_check("qat.activations", &settings.activations);
}

const fq_robustness fq_robustness_qat = {
    .name = "qat",
    .summary = "weights quantized at one width in the forward pass",
    .source =
        "Gupta et al. 2022, arXiv 2206.10844; learned steps: Esser et al. 2020, arXiv 1902.08153",
    .keys = keys,
    .config_size = sizeof(fq_view_settings),
    .check = check,
    FQ_VIEW_HOOKS,
    .begin_step = fq_view_begin_step,
    .after_step = fq_view_after_step,
};
