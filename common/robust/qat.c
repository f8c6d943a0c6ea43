/* Quantization-aware training at one width: weights, and if asked activations, are quantized in the
 * local forward pass; latent weights are trained and averaged (Gupta et al. 2022, arXiv
 * 2206.10844). */
#include "robust/quantized_view.h"

static const fq_key keys[] = {
    {"bits", FQ_TYPE_INT, offsetof(fq_qat_config, bits), "4", 1, 32, NULL,
     "Width of the weights: 1 to 8, or 32 for float."},
    {"activations", FQ_TYPE_INT, offsetof(fq_qat_config, activations), "32", 1, 32, NULL,
     "Width of the activations: 1 to 8, or 32 for float."},
    FQ_VIEW_KEYS(fq_qat_config),
    {.name = NULL},
};

static fq_view_settings settings_of(const void *section) {
    const fq_qat_config *config = section;
    return (fq_view_settings){.bits = {.n = 1, .v = {config->bits}},
                              .activations = {.n = 1, .v = {config->activations}},
                              .format = config->format};
}

static fq_status check(const void *config) {
    const fq_view_settings settings = settings_of(config);
    return fq_view_check("qat", &settings);
}

static size_t extra(const void *config, const fq_model *plain, fq_extra_tensor *out, size_t max) {
    const fq_view_settings settings = settings_of(config);
    return fq_view_extra(&settings, plain, out, max);
}

static void init_extra(const fq_bound *bound, float *w) {
    const fq_view_settings settings = settings_of(bound->config);
    fq_view_init_extra(&settings, bound->model, w);
}

static bool learned_grids(const fq_bound *bound, size_t index, int bits, const float *w,
                          fq_grid *grids, size_t *groups) {
    const fq_view_settings settings = settings_of(bound->config);
    return fq_view_learned_grids(&settings, bound, index, bits, w, grids, groups);
}

static void begin_turn(fq_bound *bound, fq_arena *arena) {
    const fq_view_settings settings = settings_of(bound->config);
    fq_view_begin_turn(&settings, bound, arena);
}

const fq_robustness fq_robustness_qat = {
    .name = "qat",
    .summary = "weights quantized at one width in the forward pass",
    .source =
        "Gupta et al. 2022, arXiv 2206.10844; learned steps: Esser et al. 2020, arXiv 1902.08153",
    .keys = keys,
    .config_size = sizeof(fq_qat_config),
    .changes_weights = true,
    .check = check,
    .extra = extra,
    .init_extra = init_extra,
    .begin_turn = begin_turn,
    .begin_step = fq_view_begin_step,
    .view_weights = fq_view_weights,
    .pull_gradient = fq_view_pull,
    .site_hook = fq_view_site_hook,
    .after_step = fq_view_after_step,
    .learned_grids = learned_grids,
};
