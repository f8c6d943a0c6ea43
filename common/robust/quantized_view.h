/* Weights and activations as a quantized device would see them: what qat, mqat and fedhq share.
 *
 * Each local step has a width for every weight tensor and for the activations of its layer's input
 * (its site). Forward is the exact quantizer, backward the straight-through estimator with clip
 * mask. Latent weights stay float.
 */
#ifndef FQ_ROBUST_QUANTIZED_VIEW_H
#define FQ_ROBUST_QUANTIZED_VIEW_H

#include "robust/robust_impl.h"

/* ---- settings ---- */
/* How activations get their ranges: a running average in the model, learned steps in the model, or
 * the batch. */
typedef enum fq_site_ranges { FQ_SITE_RUNNING, FQ_SITE_LEARNED, FQ_SITE_BATCH } fq_site_ranges;

/* What trains learned steps: the weights' own step rule, or Adam. */
typedef enum fq_step_optimizer { FQ_STEPS_SGD, FQ_STEPS_ADAM } fq_step_optimizer;

/* How they quantize, whatever the width. */
typedef struct fq_view_format {
    int     ranges;                    /* of fq_range_names */
    int     activation_ranges;         /* fq_site_ranges */
    int     granularity, grid, layers; /* fq_granularity, fq_grid_kind, fq_layer_policy */
    double  percentile, margin, ewgs, step_rate;
    int     step_optimizer; /* fq_step_optimizer */
    double  adam_rate;
    bool    lsq_grad_scale, log_steps;
    int64_t start_round;
} fq_view_format;

typedef enum fq_draw { FQ_DRAW_STEP, FQ_DRAW_CLIENT, FQ_DRAW_LAYER } fq_draw;

/* The section of qat and mqat, and the first member of fedhq's. */
typedef struct fq_view_settings {
    fq_ints  bits, activations; /* n = 0: one width, v[0], all that a key for one number sets */
    fq_reals weights;
    int      odds, draw; /* fq_odds, fq_draw */
    bool     tied;
    fq_view_format format;
} fq_view_settings;
/* Those of a section, with n = 1 for one width. */
fq_view_settings fq_view_settings_of(const void *section);

/* Rows for the `format` member. */
#define FQ_FORMAT_CHOICE(name, fallback, names, help)                                              \
    { #name, FQ_TYPE_CHOICE, offsetof(fq_view_settings, format.name), fallback, 0, 0, names, help }
#define FQ_FORMAT_REAL(name, fallback, max, help)                                                  \
    { #name, FQ_TYPE_REAL, offsetof(fq_view_settings, format.name), fallback, 0, max, NULL, help }
/* clang-format off */
#define FQ_VIEW_KEYS                                                                       \
    FQ_FORMAT_CHOICE(ranges, "gauss", fq_range_names,                                \
                     "Rule for the step of the weights."),                                         \
    FQ_FORMAT_CHOICE(activation_ranges, "running_minmax", fq_site_range_names,             \
                     "Rule for the ranges of activations; minmax is that of each batch."),         \
    FQ_FORMAT_CHOICE(granularity, "tensor", fq_granularity_names,                          \
                     "What shares a step: a weight tensor, or an output channel of it."),          \
    FQ_FORMAT_CHOICE(grid, "signed", fq_view_grid_names,                                   \
                     "Levels of the weights; narrow leaves out the lowest, which has no positive twin."), \
    FQ_FORMAT_CHOICE(layers, "all", fq_layer_policy_names,                                 \
                     "Which layers are quantized below 8 bits."),                                  \
    FQ_FORMAT_REAL(percentile, "0.01", 49,                                                 \
                   "Tail that the percentile rule cuts off at each end, in percent of the weights."), \
    FQ_FORMAT_REAL(margin, "0", 1e6,                                                       \
                   "Added to the largest magnitude where the mse rule begins, in weight units."),  \
    FQ_FORMAT_REAL(ewgs, "0", 10,                                                          \
                   "Scaling of gradients by the rounding error (EWGS, usually 0.2); 0: none."),    \
    {"start_round", FQ_TYPE_INT, offsetof(fq_view_settings, format.start_round), "0", 0, 1e9, NULL,          \
     "First round that quantizes, from 0; earlier ones train in float."},                          \
    {"lsq_grad_scale", FQ_TYPE_BOOL, offsetof(fq_view_settings, format.lsq_grad_scale), "true", 0, 0, NULL,  \
     "Divide the gradient of a learned step by the root of count times levels."},                  \
    FQ_FORMAT_REAL(step_rate, "1", 1e6,                                                    \
                   "Learning rate of learned steps, as a multiple of the weights' rate."),                \
    {"log_steps", FQ_TYPE_BOOL, offsetof(fq_view_settings, format.log_steps), "false", 0, 0, NULL,           \
     "Keep learned steps of weights as logarithms: trained, and averaged, by ratio."},             \
    FQ_FORMAT_CHOICE(step_optimizer, "sgd", fq_step_optimizer_names,                       \
                     "What trains learned steps: the weights' step rule, or Adam of its own."),    \
    FQ_FORMAT_REAL(adam_rate, "1e-5", 1,                                                   \
                   "Learning rate of learned steps under adam; step_rate is then without effect.")
/* clang-format on */

extern const char *const fq_site_range_names[], *const fq_view_grid_names[],
                                                    *const fq_step_optimizer_names[];

/* ---- state of a client turn ---- */

/* The widths below 32 that a tensor can have, and so the learned steps it needs: one row each. */
typedef struct fq_rows {
    size_t n;
    int    bits[FQ_MAX_BITS];
} fq_rows;
enum { FQ_NO_ROW = -1 };
int fq_row_find(const fq_rows *rows, int bits); /* FQ_NO_ROW: not among them */

typedef struct fq_view_tensor {
    const fq_tensor *tensor;
    const fq_tensor *steps; /* learned [rows, groups], or NULL */
    fq_rows          rows;
    size_t           groups;
    fq_grid         *grids; /* [groups] of this step */
    int              bits;  /* of this step */
} fq_view_tensor;

typedef struct fq_view_site {
    /* With s the share of the clients that have seen a batch (activations.c): running [s low,
     * s high, s]; of learned steps the first mean magnitude [s mean, s]; else NULL. */
    const fq_tensor *range;
    const fq_tensor *steps; /* learned [rows], what SGD adds to the first step; or NULL */
    fq_rows          rows;
    fq_grid_kind     kind;
    fq_grid          grid; /* of this step, from forward to backward */
    int              bits; /* of this step */
} fq_view_site;

/* Adam on the learned steps, which are the trainable values past the parameters; it begins anew
 * with each turn, as momentum does. */
typedef struct fq_steps_adam {
    size_t first, n;  /* n is 0 without adam */
    float *g, *m, *v; /* [n] gradient of this step, its moments */
} fq_steps_adam;

typedef struct fq_view {
    fq_view_settings settings;
    fq_weight_format weight_format;
    const fq_model  *model;
    size_t           n;       /* weight tensors, and sites */
    fq_view_tensor  *tensors; /* [n] */
    fq_view_site    *sites;   /* [n] */
    float           *scratch; /* [largest tensor] if the range rule needs it, else NULL */
    float           *w, *g;   /* of this step, for sites */
    fq_steps_adam    adam;
} fq_view;

/* ---- the hooks: bound->config begins with fq_view_settings ---- */
size_t fq_view_extra(const void *section, const fq_model *plain, fq_extra_tensor *out, size_t max);
void   fq_view_init_extra(const fq_bound *bound, float *w);
void   fq_view_begin_turn(fq_bound *bound, fq_arena *arena);
void   fq_view_begin_step(const fq_bound *bound, const fq_step *step);
void   fq_view_begin_float(const fq_bound *bound); /* in the place of begin_step: a step in float */
void   fq_view_weights(const fq_bound *bound, const fq_step *step, const float *w, float *u);
void   fq_view_pull(const fq_bound *bound, const fq_step *step, const float *w, const float *u,
                    float *g);
bool   fq_view_learned_grids(const fq_bound *bound, size_t index, int bits, const float *w,
                             fq_grid *grids, size_t *groups);
void   fq_view_round(const fq_bound *bound, float *w); /* w <- Q_b(w), of the widths of this step */
void   fq_view_after_step(const fq_bound *bound, const fq_step *step, float *w);
bool   fq_view_site_hook(const fq_bound *bound, const fq_step *step, float *w, float *g,
                         fq_site_hook *out);
#define FQ_VIEW_HOOKS                                                                              \
    .changes_weights = true, .extra = fq_view_extra, .init_extra = fq_view_init_extra,             \
    .begin_turn = fq_view_begin_turn, .view_weights = fq_view_weights,                             \
    .pull_gradient = fq_view_pull, .site_hook = fq_view_site_hook,                                 \
    .learned_grids = fq_view_learned_grids

/* ---- activations.c ---- */
bool fq_site_quantize(void *view, size_t site, size_t features, size_t batch, size_t lanes,
                      const float *x, float *y);
void fq_site_pull(void *view, size_t site, size_t features, size_t batch, size_t lanes,
                  const float *x, float *dy);

#endif
