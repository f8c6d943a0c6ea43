/* Low-precision local training: weights, activations and gradients in block floating point, as a
 * device without float arithmetic would have them (quant/block_float.h).
 *
 *   w <- Q(w - eta Q(grad F)),   beginning from Q(w_received)
 *
 * All parameters are rounded: weight tensors in blocks of one output channel, or of one kernel
 * plane of it, others as one block. Activations at the input of conv2d and dense layers and the
 * gradients that flow out of there are rounded example by example. The server's average stays in
 * float; fedavg with server_rate 1 - lambda is the moving average
 * w <- lambda w + (1 - lambda) mean(w_k) that the authors find necessary. Source: Li et al.,
 * "Low precision local training is enough for federated learning", NeurIPS 2024. */
#include "quant/block_float.h"

#include "robust/robust_impl.h"

#include <string.h>

typedef enum block_kind { BLOCK_ROW, BLOCK_PLANE } block_kind;
static const char *const block_names[] = {"row", "plane", NULL};

typedef struct block_float_config {
    int64_t bits, activations, gradients;
    int     block; /* block_kind */
} block_float_config;

static const fq_key keys[] = {
    {"bits", FQ_TYPE_INT, offsetof(block_float_config, bits), "8", FQ_BLOCK_FLOAT_LEAST,
     FQ_FLOAT_BITS, NULL, "Bits of the weights' mantissas, 2 to 16; 32: float."},
    {"activations", FQ_TYPE_INT, offsetof(block_float_config, activations), "8",
     FQ_BLOCK_FLOAT_LEAST, FQ_FLOAT_BITS, NULL,
     "Bits of the mantissas of the inputs of conv2d and dense layers; 32: float."},
    {"gradients", FQ_TYPE_INT, offsetof(block_float_config, gradients), "8", FQ_BLOCK_FLOAT_LEAST,
     FQ_FLOAT_BITS, NULL,
     "Bits of the mantissas of gradients, by weights and by activations; 32: float."},
    {"block", FQ_TYPE_CHOICE, offsetof(block_float_config, block), "row", 0, 0, block_names,
     "What shares an exponent in a weight tensor: an output channel, or each kernel plane of it."},
    {.name = NULL},
};

/* What the random numbers of a local step are for: each tensor or site has one stream for each. */
typedef enum use { WEIGHTS, GRADIENTS, ACTIVATIONS, ERRORS, N_USES } use;

/* Of one client turn: what the hooks for activations, which get nothing else, need to know. */
typedef struct turn {
    const block_float_config *config;
    fq_step                   step;
} turn;

static fq_rng stream(const fq_step *step, use what, size_t index) {
    return fq_rng_stream(step->seed, FQ_RNG_BLOCK_FLOAT, step->round, step->client, step->step,
                         (uint32_t)(index * N_USES + what));
}

static fq_status check_bits(const char *name, int64_t bits) {
    if (bits <= FQ_BLOCK_FLOAT_MOST || bits == FQ_FLOAT_BITS)
        return FQ_OK;
    return fq_fail(FQ_EINVAL, "block_float.%s: %lld is not a width; allowed are %d to %d, and %d",
                   name, (long long)bits, FQ_BLOCK_FLOAT_LEAST, FQ_BLOCK_FLOAT_MOST, FQ_FLOAT_BITS);
}

static fq_status check(const void *section) {
    const block_float_config *config = section;
    FQ_TRY(check_bits("bits", config->bits));
    FQ_TRY(check_bits("activations", config->activations));
    return check_bits("gradients", config->gradients);
}

static void begin_turn(fq_bound *bound, fq_arena *arena) {
    turn *state = FQ_ARENA_NEW(arena, turn, 1);
    if (state != NULL)
        *state = (turn){.config = bound->config};
    bound->state = state;
}

static bool is_parameter(const fq_tensor *tensor) {
    return tensor->kind == FQ_WEIGHT || tensor->kind == FQ_BIAS || tensor->kind == FQ_NORM_SCALE ||
           tensor->kind == FQ_NORM_SHIFT;
}

static size_t block_size(const block_float_config *config, const fq_tensor *tensor) {
    if (tensor->n_axes < 2)
        return tensor->count;
    const size_t row = tensor->count / tensor->shape[0];
    return config->block == BLOCK_PLANE && tensor->n_axes > 2 ? row / tensor->shape[1] : row;
}

static void round_parameters(const fq_bound *bound, const fq_step *step, use what, int64_t bits,
                             float *x) {
    if (bits == FQ_FLOAT_BITS)
        return;
    for (size_t t = 0; t < fq_model_tensor_count(bound->model); t++) {
        const fq_tensor *tensor = fq_model_tensor(bound->model, t);
        if (!is_parameter(tensor))
            continue;
        fq_rng       rng = stream(step, what, t);
        const size_t size = block_size(bound->config, tensor);
        for (float *at = x + tensor->offset, *end = at + tensor->count; at < end; at += size)
            fq_block_float_round(at, size, (int)bits, &rng, at);
    }
}

static void after_step(const fq_bound *bound, const fq_step *step, float *w) {
    const block_float_config *config = bound->config;
    round_parameters(bound, step, WEIGHTS, config->bits, w);
}

static void pull_gradient(const fq_bound *bound, const fq_step *step, const float *w,
                          const float *u, float *g) {
    (void)w;
    (void)u;
    const block_float_config *config = bound->config;
    round_parameters(bound, step, GRADIENTS, config->gradients, g);
}

static bool round_site(void *context, size_t site, size_t features, size_t batch, size_t lanes,
                       const float *x, float *y) {
    (void)batch;
    const turn *t = context;
    fq_rng      rng = stream(&t->step, ACTIVATIONS, site);
    if (t->config->activations == FQ_FLOAT_BITS)
        memcpy(y, x, features * lanes * sizeof *y);
    else
        fq_block_float_round_lanes(x, features, lanes, (int)t->config->activations, &rng, y);
    return true;
}

static void pull_site(void *context, size_t site, size_t features, size_t batch, size_t lanes,
                      const float *x, float *dy) {
    (void)batch;
    (void)x;
    const turn *t = context;
    fq_rng      rng = stream(&t->step, ERRORS, site);
    if (t->config->gradients != FQ_FLOAT_BITS)
        fq_block_float_round_lanes(dy, features, lanes, (int)t->config->gradients, &rng, dy);
}

static bool site_hook(const fq_bound *bound, const fq_step *step, float *w, float *g,
                      fq_site_hook *out) {
    (void)w;
    (void)g;
    const block_float_config *config = bound->config;
    turn                     *state = bound->state;
    state->step = *step;
    *out = (fq_site_hook){.context = state, .quantize = round_site, .pull = pull_site};
    return config->activations != FQ_FLOAT_BITS || config->gradients != FQ_FLOAT_BITS;
}

const fq_robustness fq_robustness_block_float = {
    .name = "block_float",
    .summary = "weights, activations and gradients in block floating point while training",
    .source = "Li et al., NeurIPS 2024",
    .keys = keys,
    .config_size = sizeof(block_float_config),
    .check = check,
    .begin_turn = begin_turn,
    .pull_gradient = pull_gradient,
    .site_hook = site_hook,
    .after_step = after_step,
};
