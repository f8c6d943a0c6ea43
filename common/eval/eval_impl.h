/* What the files of eval/ share. */
#ifndef FQ_EVAL_EVAL_IMPL_H
#define FQ_EVAL_EVAL_IMPL_H

#include "base/arena.h"
#include "eval/evaluate.h"

/* What becomes of the step that a rule finds. */
typedef struct fq_step_change {
    enum { FQ_STEP_AS_FOUND, FQ_STEP_SCALED, FQ_STEP_POWER_OF_TWO } kind;
    float scale; /* of FQ_STEP_SCALED, else 0 */
} fq_step_change;
float fq_step_changed(fq_step_change change, float step); /* step > 0, finite */
/* Rule and change as the text of a figure: "mse", "mse*0.85", "mse~2^k". */
void fq_rule_print(const char *rule, fq_step_change change, char out[FQ_RULE_BYTES]);

/* A range rule in one granularity. */
typedef struct fq_eval_rule {
    const fq_range_rule *rule;
    fq_granularity       granularity;
    char                 name[FQ_RULE_BYTES]; /* "mse", "mse/channel" */
} fq_eval_rule;
enum { FQ_MAX_EVAL_RULES = FQ_WORDS_LENGTH * (FQ_PER_CHANNEL + 1) };

/* Which (weights, activations) are asked for, by width, and which changes of the steps. */
typedef struct fq_eval_wanted {
    bool           pair[FQ_FLOAT_BITS + 1][FQ_FLOAT_BITS + 1];
    size_t         n; /* figures */
    bool           quantized_weights, quantized_activations;
    size_t         n_rules;
    fq_eval_rule   rules[FQ_MAX_EVAL_RULES];
    size_t         n_changes; /* with float activations */
    fq_step_change changes[FQ_LIST_LENGTH + 1];
} fq_eval_wanted;
FQ_MUST_CHECK fq_status fq_eval_wanted_read(const fq_eval_settings *settings, fq_eval_wanted *out);

/* ---- calibrate.c: training examples, and activation ranges from them ---- */
enum { FQ_CALIBRATION_BATCH = 32 };

/* Examples of a few clients, in random order; a function of partition, seed and the two limits. */
typedef struct fq_drawn {
    uint32_t shard, position;
} fq_drawn;
typedef struct fq_calibration {
    fq_shard *shards;
    size_t    n_shards;
    fq_drawn *examples;
    size_t    n;
} fq_calibration;
/* FQ_EINVAL: none of the chosen clients has an example. */
FQ_MUST_CHECK fq_status fq_calibration_init(fq_calibration     *calibration,
                                            const fq_partition *partition, size_t clients,
                                            size_t examples, uint64_t seed);
void fq_calibration_fini(fq_calibration *calibration); /* also of a zeroed struct */
/* Examples first .. first + batch -> x [features, lanes]. `column` [features, FQ_LANES] is scratch.
 */
void fq_calibration_gather(const fq_calibration *calibration, size_t first, size_t batch,
                           size_t lanes, size_t features, float *column, float *x);

/* The grids of all sites at one nominal width of the activations. */
typedef struct fq_activations {
    int      bits;
    size_t   n_sites;
    int     *site_bits; /* [n_sites] by the layer policy; 32: left alone */
    fq_grid *grids;     /* [n_sites] */
} fq_activations;
/* A hook that quantizes with these grids. */
fq_site_hook fq_activations_hook(const fq_activations *activations);

/* One worker's memory. */
typedef struct fq_eval_worker {
    fq_workspace *forward; /* max(settings.batch, FQ_CALIBRATION_BATCH) */
    fq_workspace *train;   /* of the model whose moments are taken anew, or NULL */
    float        *x, *column;
    uint16_t     *labels;
    float        *scratch;    /* [largest weight tensor] */
    fq_grid      *grids;      /* [most channels of a weight tensor] */
    float        *statistics; /* [P], with `train` */
} fq_eval_worker;

size_t fq_calibration_batches(size_t examples); /* of FQ_CALIBRATION_BATCH */
/* Of the activations at a site. */
fq_grid_kind fq_calibration_grid(const fq_model *model, size_t site);
/* Scratch of the ranges' search, [batches, n, n_sites], for the `n` widths in activations[].bits.
 * NULL of an arena that measures or is full. */
fq_range_search *fq_calibration_searches(const fq_model *model, fq_layer_policy policy,
                                         const fq_activations *activations, size_t n,
                                         size_t batches, fq_arena *arena);
/* Find the grids of the `n` widths from float passes of w over the first so many examples of the
 * calibration set. */
FQ_MUST_CHECK fq_status fq_activations_calibrate(fq_activations *activations, size_t n,
                                                 const fq_calibration *calibration, size_t examples,
                                                 const fq_model *model, const float *w,
                                                 fq_eval_worker *workers, fq_range_search *searches,
                                                 fq_pool *pool);

/* ---- batch_moments.c: moments of batch norm with other weights ---- */
enum { FQ_MOMENTS_BATCH = 64 };

/* Where the FQ_STATISTIC values of a model lie; false if it has none. */
bool fq_moments_span(const fq_model *model, size_t *first, size_t *count);
/* The same network over the same vector, to be run for its batch statistics: no drop-out, and
 * moving averages that tell the statistics of a single batch. */
FQ_MUST_CHECK fq_status fq_moments_model(fq_model **out, const fq_model *model);
/* Set the statistics of the n vectors w[i] [P] to the mean of the batch statistics over `batches`.
 * results [batches, n, count of the span]. */
FQ_MUST_CHECK fq_status fq_moments_estimate(const fq_model *moments_model, float *const *w,
                                            size_t n, const fq_calibration *calibration,
                                            size_t batches, fq_eval_worker *workers, float *results,
                                            fq_pool *pool);

#endif
