/* From a trained model to one of integers: batch norm folded into weights, weights as codes, ranges
 * of activations from training examples (docs/methods.md, "Integer inference"). */
#ifndef FQ_EVAL_FREEZE_H
#define FQ_EVAL_FREEZE_H

#include "base/pool.h"
#include "data/dataset.h"
#include "model/modelfile.h"
#include "quant/grid.h"
#include "robust/robustness.h"

/* Where the grids of activations come from: least squared error or extremes over calibration
 * examples, or the running extremes that the model keeps from its training. */
typedef enum fq_activation_ranges {
    FQ_RANGES_MSE,
    FQ_RANGES_MINMAX,
    FQ_RANGES_STORED
} fq_activation_ranges;
extern const char *const fq_activation_range_names[]; /* NULL-terminated, in enum order */

typedef struct fq_freeze_settings {
    int                  bits, activations; /* 1..8; activations also 32: weights alone */
    fq_weight_format     format;            /* of the weights: signed or narrow */
    fq_layer_policy      layers;
    fq_activation_ranges ranges;
    size_t               calibration_examples, calibration_clients;
    uint64_t             seed; /* of the choice of examples */
} fq_freeze_settings;

typedef struct fq_frozen {
    fq_model       *model;
    float          *w; /* latent values; those of weights are not what the codes stand for */
    fq_quantization quantization;
    unsigned char  *packed; /* all codes */
} fq_frozen;

/* `partition` may be NULL where activations are float. FQ_EINVAL: settings that the model cannot
 * have; FQ_ENONFINITE: a value that is not finite. */
FQ_MUST_CHECK fq_status fq_freeze(const fq_model *model, const float *w,
                                  const fq_partition *partition, const fq_freeze_settings *settings,
                                  fq_pool *pool, fq_frozen *out);
void                    fq_frozen_fini(fq_frozen *frozen); /* also of a zeroed struct */

#endif
