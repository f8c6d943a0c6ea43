/* What model.c (the plan of the network) and workspace.c (its memory and passes) share. */
#ifndef FQ_MODEL_MODEL_IMPL_H
#define FQ_MODEL_MODEL_IMPL_H

#include "model/model.h"

/* Value 0 is the network's input, value i + 1 the output of layer i. */
enum { FQ_MAX_VALUES = FQ_MAX_LAYERS + 1 };
#define FQ_NONE SIZE_MAX

typedef struct fq_node {
    const fq_layer *layer;
    fq_layer_plan   plan;
    size_t          input[FQ_MAX_FROM]; /* values */
    fq_shape        in[FQ_MAX_FROM];
    size_t          tensor[FQ_MAX_LAYER_TENSORS]; /* indices into the model's tensors */
    size_t          site;                         /* FQ_NONE: not a site */
    bool            in_place;                     /* the output lies where the input was */
    bool            relu;                         /* the layer applies a relu next to it */
    bool            skipped;                      /* a relu that a layer next to it applies */
} fq_node;

typedef struct fq_value {
    fq_shape shape;
    size_t   root; /* the value whose memory this one shares: itself, unless it is a view or made in
                      place */
    size_t readers; /* layers that read it; one that reads it twice counts twice */
    bool   nonnegative;
    bool   needs_gradient; /* something trainable stands before it */
} fq_value;

/* Places in a workspace's slab, in floats for one lane: buffer b begins at b * lanes. */
typedef struct fq_layout {
    size_t value[FQ_MAX_VALUES];    /* of roots */
    size_t gradient[FQ_MAX_VALUES]; /* of roots that need one */
    size_t site[FQ_MAX_LAYERS];     /* quantized input of a layer */
    size_t cache[FQ_MAX_LAYERS];
    size_t spare[FQ_MAX_LAYERS]
                [FQ_MAX_FROM]; /* a gradient that is not the first for its value, or that only
                                  a hook wants; FQ_NONE: written in its place */
    size_t cache_fixed[FQ_MAX_LAYERS]; /* in floats, in the block of fixed size, which begins with
                                          the scratch of fixed size */
    size_t scratch;
    size_t per_lane, fixed; /* floats in all */
} fq_layout;

struct fq_model {
    fq_network network;
    fq_node    nodes[FQ_MAX_LAYERS];
    fq_value   values[FQ_MAX_VALUES];
    fq_tensor *tensors;
    size_t     n_tensors, n_sites;
    size_t     size, trainable, parameters;
    double     macs;
    size_t     site_layer[FQ_MAX_LAYERS];
    fq_layout  layouts[2][2]; /* [train][sites] */
};

/* Fill in model->layouts. FQ_ELIMIT: more memory than can be addressed. */
FQ_MUST_CHECK fq_status fq_model_lay_out(fq_model *model);

#endif
