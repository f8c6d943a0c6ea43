/* What a client is asked to do in a round. Plain data: names of methods, numbers, and the weights.
 */
#ifndef FQ_PROTOCOL_PLAN_H
#define FQ_PROTOCOL_PLAN_H

#include "algo/algorithm.h"
#include "protocol/levels.h"
#include "quant/quantizer.h"
#include "robust/robustness.h"

enum {
    FQ_MAX_METHODS = 4,
    FQ_CONFIG_BYTES = 4096, /* the largest settings section of a plug-in */
    FQ_MAX_CAPABILITIES = 16,
    FQ_MAX_EXTRA_TENSORS = 1024,
};

/* The settings section of one plug-in, by value. */
typedef struct fq_plugin_config {
    _Alignas(16) unsigned char bytes[FQ_CONFIG_BYTES];
} fq_plugin_config;

/* How a vector travels. */
typedef struct fq_coding {
    const fq_quantizer *quantizer;
    uint8_t             bits;
    size_t              block; /* values per scale; 0: one scale per tensor of the model */
    bool                zstd, error_feedback;
} fq_coding;

/* How clients train: the same for all rounds of a run. */
typedef struct fq_recipe {
    const fq_algorithm  *algorithm;
    fq_plugin_config     algorithm_config;
    size_t               n_methods;
    const fq_robustness *methods[FQ_MAX_METHODS]; /* composed in this order */
    fq_plugin_config     method_configs[FQ_MAX_METHODS];
    int64_t              epochs, batch;
    int64_t              max_steps;        /* local steps at most; 0: as many as the epochs have */
    double               rate, rate_decay; /* of round t: rate * rate_decay^t */
    double               momentum, weight_decay;
    bool                 nesterov;
    double               clip_norm; /* 2-norm of the gradient at most; 0: no clipping */
    fq_coding            upload;
    fq_level_rule        adaptive; /* of the upload: then its bits are the most that there can be */
    size_t  n_capabilities; /* client k can run the widths of set k mod n; 0: all can run all */
    fq_ints capabilities[FQ_MAX_CAPABILITIES];
} fq_recipe;

typedef struct fq_plan {
    const fq_recipe *recipe;
    const fq_model  *model;
    uint64_t         seed;
    uint32_t         round; /* from 0 */
    double           rate;
    fq_levels        levels;         /* of the upload's format, if they adapt */
    const float     *w;              /* [P] as the client received them */
    const float     *server_vectors; /* [n_down * P] */
} fq_plan;

/* Where the scales of a coded vector of this model end: heap memory, freed with fq_blocks_free. */
FQ_MUST_CHECK fq_status fq_blocks_of_model(const fq_model *model, size_t block, fq_blocks *out);
void                    fq_blocks_free(fq_blocks *blocks);

/* The model of a recipe: the network and the tensors that its methods add. */
FQ_MUST_CHECK fq_status fq_recipe_model(const fq_recipe *recipe, const fq_network *network,
                                        fq_model **out);
/* Bind each method to that model -> bound [n_methods], without any state. */
void fq_recipe_bind(const fq_recipe *recipe, const fq_model *model, fq_bound *bound);
/* Initial weights of a run: fq_model_init, then the methods' own tensors. */
void fq_recipe_init(const fq_recipe *recipe, const fq_model *model, uint64_t seed, float *w);
/* Which clients hold which values, if a method gives them parts of the model (robustness.h) ->
 * *first_part [P], heap memory; NULL: every client holds all. */
FQ_MUST_CHECK fq_status fq_recipe_parts(const fq_recipe *recipe, const fq_model *model,
                                        uint8_t **first_part);
bool                    fq_recipe_has_parts(const fq_recipe *recipe);
size_t                  fq_recipe_part(const fq_recipe *recipe, uint64_t client); /* 0 without */
/* x[i] = 0 for i < n where first_part[i] > part; first_part NULL: nothing. */
void fq_part_keep(const uint8_t *first_part, size_t part, size_t n, float *x);
/* Learning rate of a round: rate * rate_decay^round. */
double fq_recipe_rate(const fq_recipe *recipe, uint32_t round);
/* The widths that a client can run; NULL: all. */
const fq_ints *fq_recipe_capability(const fq_recipe *recipe, uint64_t client);

#endif
