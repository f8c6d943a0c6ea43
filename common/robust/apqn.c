/* APQN: additive noise of the size of the rounding error in place of rounding, so that no gradient
 * is biased (Gupta et al. 2022, arXiv 2206.10844; Defossez et al. 2021, arXiv 2104.09987).
 *
 *   u = w + D_b r,   r uniform in [-1/2, 1/2), or normal with standard deviation 1/2;   du/dw = 1
 *
 * D_b is the step that the range rule gives the latent tensor at b bits, taken as a constant.
 */
#include "robust/robust_impl.h"

#include <string.h>

static const char *const noise_names[] = {"uniform", "gaussian", NULL};

static const fq_key keys[] = {
    {"bits", FQ_TYPE_INTS, offsetof(fq_apqn_config, bits), "[4]", 1, 32, NULL,
     "Width whose rounding error the noise imitates; of several, one is drawn for each local "
     "step."},
    {"noise", FQ_TYPE_CHOICE, offsetof(fq_apqn_config, noise), "uniform", 0, 0, noise_names,
     "Law of the noise: uniform like rounding errors, or normal with standard deviation of half a "
     "step."},
    {"clip_noise", FQ_TYPE_BOOL, offsetof(fq_apqn_config, clip_noise), "false", 0, 0, NULL,
     "Clip the noisy weights to the range of the grid."},
    {"ranges", FQ_TYPE_CHOICE, offsetof(fq_apqn_config, ranges), "minmax", 0, 0,
     fq_fitted_range_names, "Rule for the step that scales the noise."},
    {"granularity", FQ_TYPE_CHOICE, offsetof(fq_apqn_config, granularity), "tensor", 0, 0,
     fq_granularity_names, "What shares a step: a weight tensor, or an output channel of it."},
    {"layers", FQ_TYPE_CHOICE, offsetof(fq_apqn_config, layers), "all", 0, 0, fq_layer_policy_names,
     "Which layers are to be quantized below 8 bits; noise has the size of each layer's width."},
    {"percentile", FQ_TYPE_REAL, offsetof(fq_apqn_config, percentile), "0.01", 0, 49, NULL,
     "Tail that the percentile rule cuts off at each end, in percent of the weights."},
    {"margin", FQ_TYPE_REAL, offsetof(fq_apqn_config, margin), "0", 0, 1e6, NULL,
     "Added to the largest magnitude where the search of the mse rule begins, in weight units."},
    {.name = NULL},
};

enum { NOISE_BLOCK = 1024 }; /* a whole number of generator blocks */

/* Memory of a turn. */
typedef struct noise_view {
    fq_weight_format format;
    size_t           n;       /* weight tensors */
    int              bits;    /* of this step */
    fq_grid         *grids;   /* [most groups of a tensor] */
    float           *scratch; /* [largest tensor] if the range rule needs it, else NULL */
} noise_view;

static fq_status check(const void *section) {
    const fq_apqn_config *config = section;
    return fq_widths_check("apqn.bits", &config->bits);
}

static void begin_turn(fq_bound *bound, fq_arena *arena) {
    const fq_apqn_config  *config = bound->config;
    const fq_weight_format format = {
        .rule = fq_range_rules[config->ranges],
        .options = {.percentile = config->percentile, .margin = config->margin},
        .grid = FQ_GRID_SIGNED,
        .granularity = (fq_granularity)config->granularity,
    };
    const size_t n = fq_weight_tensor_count(bound->model);
    size_t       cursor = 0, most_groups = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        const fq_tensor *tensor = fq_weight_tensor_next(bound->model, &cursor);
        const size_t     groups = fq_weight_groups(&format, tensor->shape[0]);
        most_groups = groups > most_groups ? groups : most_groups;
        largest = tensor->count > largest ? tensor->count : largest;
    }
    noise_view *view = FQ_ARENA_NEW(arena, noise_view, 1);
    fq_grid    *grids = FQ_ARENA_NEW(arena, fq_grid, most_groups);
    const bool  scratched = format.rule->needs_scratch;
    float      *scratch = scratched ? FQ_ARENA_NEW(arena, float, largest) : NULL;
    bound->state = NULL;
    if (view == NULL || grids == NULL || (scratched && scratch == NULL))
        return; /* the arena was measuring, or says that it is exhausted */
    *view = (noise_view){
        .format = format, .n = n, .bits = FQ_FLOAT_BITS, .grids = grids, .scratch = scratch};
    bound->state = view;
}

static void begin_step(const fq_bound *bound, const fq_step *step) {
    const fq_apqn_config *config = bound->config;
    noise_view           *view = bound->state;
    const fq_width_law    law = {.bits = &config->bits};
    fq_rng rng = fq_rng_stream(step->seed, FQ_RNG_BITS, step->round, step->client, step->step, 0);
    view->bits = fq_width_draw(&law, step->capability, &rng);
}

/* u [n] = w + D r for the values of one grid. */
static void add_noise(const fq_apqn_config *config, const fq_grid *grid, fq_rng *rng,
                      const float *w, size_t n, float *u) {
    const float low = (grid->low + grid->offset) * grid->step,
                high = (grid->high + grid->offset) * grid->step;
    float r[NOISE_BLOCK];
    for (size_t begin = 0; begin < n; begin += NOISE_BLOCK) {
        const size_t block = n - begin < NOISE_BLOCK ? n - begin : NOISE_BLOCK;
        if (config->noise == FQ_NOISE_UNIFORM)
            fq_rng_fill_uniform(rng, r, block);
        else
            fq_rng_fill_normal(rng, r, block);
        for (size_t i = 0; i < block; i++) {
            const float noise = config->noise == FQ_NOISE_UNIFORM ? r[i] - 0.5f : 0.5f * r[i];
            u[begin + i] = w[begin + i] + grid->step * noise;
        }
        if (config->clip_noise)
            for (size_t i = begin; i < begin + block; i++)
                u[i] = u[i] < low ? low : u[i] > high ? high : u[i];
    }
}

static void view_weights(const fq_bound *bound, const fq_step *step, const float *w, float *u) {
    const fq_apqn_config *config = bound->config;
    const noise_view     *view = bound->state;
    memcpy(u, w, fq_model_size(bound->model) * sizeof *u);
    size_t cursor = 0;
    for (size_t i = 0; i < view->n; i++) {
        const fq_tensor *tensor = fq_weight_tensor_next(bound->model, &cursor);
        const int        bits =
            fq_policy_weight_bits((fq_layer_policy)config->layers, i, view->n, view->bits);
        if (bits == FQ_FLOAT_BITS)
            continue;
        const float *x = w + tensor->offset;
        fq_weight_fit(&view->format, bits, x, tensor->count, tensor->shape[0], view->scratch,
                      view->grids);
        const size_t groups = fq_weight_groups(&view->format, tensor->shape[0]),
                     part = tensor->count / groups;
        fq_rng rng = fq_rng_stream(step->seed, FQ_RNG_NOISE, step->round, step->client, step->step,
                                   (uint32_t)i);
        for (size_t k = 0; k < groups; k++)
            add_noise(config, &view->grids[k], &rng, x + k * part, part,
                      u + tensor->offset + k * part);
    }
}

const fq_robustness fq_robustness_apqn = {
    .name = "apqn",
    .summary = "noise of the size of the rounding error on the weights in the forward pass",
    .source = "Gupta et al. 2022, arXiv 2206.10844; Defossez et al. 2021, arXiv 2104.09987",
    .keys = keys,
    .config_size = sizeof(fq_apqn_config),
    .changes_weights = false,
    .check = check,
    .begin_turn = begin_turn,
    .begin_step = begin_step,
    .view_weights = view_weights,
};
