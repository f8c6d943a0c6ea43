/* Quantization-aware training at many widths: each local step draws one, and runs one forward and
 * one backward pass at it, so the expected objective is sum_b p_b f(Q_b(w)) at the cost of plain
 * training (Gupta et al. 2022, arXiv 2206.10844). */
#include "robust/quantized_view.h"

static const char *const odds_names[] = {"uniform", "proportional", NULL};
static const char *const draw_names[] = {"step", "client", "layer", NULL};

static const fq_key keys[] = {
    {"bits", FQ_TYPE_INTS, offsetof(fq_mqat_config, bits), "[2, 3, 4, 8]", 1, 32, NULL,
     "Widths of the weights, each 1 to 8, or 32 for a pass in float."},
    {"odds", FQ_TYPE_CHOICE, offsetof(fq_mqat_config, odds), "uniform", 0, 0, odds_names,
     "Chances of the widths: all equal, or in proportion to the width."},
    {"weights", FQ_TYPE_REALS, offsetof(fq_mqat_config, weights), "[]", 0, 1e9, NULL,
     "Relative chances of the members of bits, one for each; empty: as odds says."},
    {"draw", FQ_TYPE_CHOICE, offsetof(fq_mqat_config, draw), "step", 0, 0, draw_names,
     "A new width for each local step, for each client's turn, or for each layer of each step."},
    {"activations", FQ_TYPE_INTS, offsetof(fq_mqat_config, activations), "[32]", 1, 32, NULL,
     "Widths of the activations, drawn like those of the weights but on their own; 32: float."},
    {"tied", FQ_TYPE_BOOL, offsetof(fq_mqat_config, tied), "false", 0, 0, NULL,
     "Activations take the width drawn for the weights; activations must be left out then."},
    FQ_VIEW_KEYS(fq_mqat_config),
    {.name = NULL},
};
_Static_assert(sizeof(fq_mqat_config) <= 4096, "the largest section that a plan holds");

static fq_view_settings settings_of(const void *section) {
    const fq_mqat_config *config = section;
    return (fq_view_settings){.bits = config->bits,
                              .activations = config->activations,
                              .weights = config->weights,
                              .odds = (fq_odds)config->odds,
                              .draw = (fq_draw)config->draw,
                              .tied = config->tied,
                              .format = config->format};
}

static fq_status check(const void *config) {
    const fq_view_settings settings = settings_of(config);
    return fq_view_check("mqat", &settings);
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

const fq_robustness fq_robustness_mqat = {
    .name = "mqat",
    .summary = "weights quantized at a width drawn for each local step",
    .source =
        "Gupta et al. 2022, arXiv 2206.10844; learned steps: Esser et al. 2020, arXiv 1902.08153",
    .keys = keys,
    .config_size = sizeof(fq_mqat_config),
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
