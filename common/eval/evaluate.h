/* Accuracy of one model at every bit-width (docs/methods.md, Evaluation).
 *
 * One set of weights serves all settings. Weights are quantized tensor by tensor by the layer
 * policy with the range rule asked for; activations, if quantized, with ranges calibrated on
 * training examples by least squared error, never on the test set. No fine-tuning, no correction.
 */
#ifndef FQ_EVAL_EVALUATE_H
#define FQ_EVAL_EVALUATE_H

#include "base/pool.h"
#include "data/dataset.h"
#include "model/model.h"
#include "protocol/plan.h"
#include "robust/robustness.h"

enum { FQ_MAX_FIGURES = 256, FQ_RULE_BYTES = 40 };

/* Settings under `evaluate:`. */
typedef struct fq_eval_settings {
    int64_t  every;        /* rounds between evaluations; the last round is always evaluated */
    fq_ints  weights;      /* bit-widths; 32 is float */
    fq_ints  activations;  /* with each of the weights' widths */
    fq_words pairs;        /* more settings, "4/8": weights/activations */
    fq_words ranges;       /* rules for the weights; each gives a figure of its own */
    fq_reals step_scales;  /* 0.1..10: with float activations also with every step of the weights
                              times this */
    bool     power_of_two; /* likewise with every step rounded to the nearest power of two */
    fq_words granularity; /* of fq_granularity_names; each gives a figure of its own to each rule */
    int      grid;        /* fq_grid_names, signed or narrow */
    int      layers;      /* fq_layer_policy_names */
    double   margin, percentile;
    int64_t  batch; /* examples at a time: memory, not results */
    int64_t  calibration_examples, calibration_clients; /* 512, 16 */
    int64_t  batch_norm_batches; /* training batches of 64 from which the moments of batch norm are
                                    taken anew for every quantized set of weights (spec 2.8); 0:
                                    those of the model */
} fq_eval_settings;
extern const fq_key fq_eval_keys[];

/* What the table of keys cannot say: FQ_EINVAL naming the key ("evaluate.pairs: ..."). */
FQ_MUST_CHECK fq_status fq_eval_settings_check(const fq_eval_settings *settings);

typedef struct fq_figure {
    int  weight_bits, activation_bits;
    char rule[FQ_RULE_BYTES]; /* of the weights' ranges; "none" if the weights are float.
                                 "mse/channel": in a granularity that is not the first one asked
                                 for. "mse*0.85": the steps that mse finds, times 0.85; "mse~2^k":
                                 rounded to powers of two */
    double accuracy;          /* share of right answers, 0..1 */
    double loss;              /* mean cross-entropy */
    double noise; /* quantization-noise power: sum (w - Q(w))^2 / sum w^2 over quantized tensors */
    double step_bits; /* bits per weight, scales (float32, one per group) included */
} fq_figure;

typedef struct fq_tensor_figure {
    char   name[FQ_TENSOR_NAME];
    size_t count;
    double kurtosis, std, low,
        high; /* kurtosis: m4 / m2^2, 3 for a normal and 1.8 for a uniform law; NaN if std is 0 */
    uint64_t histogram[64]; /* of [low, high], in equal parts */
} fq_tensor_figure;

/* A rule whose steps are used as they were found: not "mse*0.85", not "mse~2^k". */
bool fq_rule_is_plain(const char *rule);

/* Over the quantized settings (weights below 32) of one rule, float activations. */
typedef struct fq_bits_summary {
    double float_accuracy, mean, worst;
    double
        area; /* under the accuracy-bits curve, trapezoids over the widths, divided by their span */
    int worst_bits;
} fq_bits_summary;

typedef struct fq_evaluator fq_evaluator;

/* Keeps borrowed pointers to all arguments but `settings`, and the memory for n workers of `pool`.
 * `partition` gives the calibration examples; NULL: activations must not be quantized, nor moments
 * of batch norm taken anew. FQ_EINVAL: an impossible setting, or a data set that does not fit the
 * model. */
FQ_MUST_CHECK fq_status fq_evaluator_create(fq_evaluator **out, const fq_model *model,
                                            const fq_dataset *set, const fq_partition *partition,
                                            const fq_eval_settings *settings, uint64_t seed,
                                            fq_pool *pool);
/* How the model was trained, for the rule `learned`: its own steps, in the granularity and grid of
 * training. `recipe` is borrowed. FQ_EINVAL: figures ask for steps that it has not. Without it the
 * rule cannot be used. */
FQ_MUST_CHECK fq_status fq_evaluator_learn(fq_evaluator *evaluator, const fq_recipe *recipe);
void                    fq_evaluator_destroy(fq_evaluator **evaluator);
/* Memory held from create to destroy: workspaces, and a copy of the weights for each quantized set
 * of them, up to 64 MiB of copies at a time (one copy at least). */
size_t fq_evaluator_bytes(const fq_evaluator *evaluator);
/* What fq_evaluator_create would say, and what its evaluator would need, without that memory. */
typedef struct fq_eval_needs {
    size_t bytes;    /* fq_evaluator_bytes */
    size_t examples; /* passed through the network in one evaluation: its time is about so many
                        forward passes, and that of finding the weights' ranges */
} fq_eval_needs;
FQ_MUST_CHECK fq_status fq_evaluator_measure(const fq_model *model, const fq_dataset *set,
                                             const fq_partition     *partition,
                                             const fq_eval_settings *settings, uint64_t seed,
                                             fq_pool *pool, fq_eval_needs *out);

size_t fq_evaluator_count(
    const fq_evaluator *evaluator); /* figures of one evaluation, <= FQ_MAX_FIGURES */
/* The bits and rules of the figures, in the order in which `run` fills them: float first, then by
 * rule, activations, falling width; plain rules before those with changed steps. */
const fq_figure *fq_evaluator_plan(const fq_evaluator *evaluator);
/* Evaluate w; the same figures for any number of workers. figures [fq_evaluator_count]. Activation
 * ranges are calibrated anew each time, with float weights and float activations before the site,
 * and serve all settings of this evaluation. FQ_ENONFINITE: a weight is not finite. */
FQ_MUST_CHECK fq_status fq_evaluator_run(fq_evaluator *evaluator, const float *w,
                                         fq_figure *figures);

/* Summary of the figures of `rule` with float activations. false if there are none. */
bool fq_bits_summarize(const fq_figure *figures, size_t n, const char *rule, fq_bits_summary *out);

/* Shape of each weight tensor's distribution; out [number of FQ_WEIGHT tensors]; returns that
 * number. */
size_t fq_tensor_figures(const fq_model *model, const float *w, fq_tensor_figure *out, size_t max);

#endif
