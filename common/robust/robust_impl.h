/* What the methods share: weight tensors and the draw of widths. */
#ifndef FQ_ROBUST_ROBUST_IMPL_H
#define FQ_ROBUST_ROBUST_IMPL_H

#include "robust/robustness.h"

/* ---- settings ---- */
typedef enum fq_kure_mode { FQ_KURE_MEAN, FQ_KURE_SUM, FQ_KURE_MAX } fq_kure_mode;
typedef struct fq_kure_config {
    double target, lambda;
    int    mode;   /* fq_kure_mode */
    int    layers; /* fq_layer_policy */
    bool   unbiased;
} fq_kure_config;

typedef enum fq_noise { FQ_NOISE_UNIFORM, FQ_NOISE_GAUSSIAN } fq_noise;
typedef struct fq_apqn_config {
    fq_ints bits;
    int     noise;                       /* fq_noise */
    int     ranges, granularity, layers; /* of fq_range_names; fq_granularity, fq_layer_policy */
    double  percentile, margin;
    bool    clip_noise;
} fq_apqn_config;

/* ---- weight tensors ---- */
size_t fq_weight_tensor_count(const fq_model *model);
/* The first FQ_WEIGHT tensor at or after index *cursor, which moves past it. There must be one. */
const fq_tensor *fq_weight_tensor_next(const fq_model *model, size_t *cursor);

/* ---- widths ---- */
typedef enum fq_odds { FQ_ODDS_UNIFORM, FQ_ODDS_PROPORTIONAL } fq_odds;
/* A law over widths: bits[i] with a chance in proportion to weights[i], or to 1, or to bits[i]. */
typedef struct fq_width_law {
    const fq_ints  *bits;
    const fq_reals *weights; /* NULL or empty: by `odds` */
    fq_odds         odds;
} fq_width_law;

/* One width. `capability` (NULL or empty: all) restricts the law to what the client can run; a
 * client that can run none of them draws from its own widths, by `odds`. Uses one draw of rng. */
int fq_width_draw(const fq_width_law *law, const fq_ints *capability, fq_rng *rng);

/* 1 to 8 and 32, none twice, at least one; `key` names the setting, "mqat.bits". */
FQ_MUST_CHECK fq_status fq_widths_check(const char *key, const fq_ints *bits);

extern const fq_robustness fq_robustness_kure, fq_robustness_apqn, fq_robustness_qat,
    fq_robustness_mqat, fq_robustness_fedhq, fq_robustness_block_float, fq_robustness_heterofl;

#endif
