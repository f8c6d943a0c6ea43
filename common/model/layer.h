/* What a kind of layer provides. One file and one row of layer_table.c each.
 *
 * Activations are [C, H, W, lanes] (math/kernels.h). A layer owns nothing: parameters, caches and
 * scratch are slices that the model planned.
 */
#ifndef FQ_MODEL_LAYER_H
#define FQ_MODEL_LAYER_H

#include "base/rng.h"
#include "base/status.h"
#include "model/network.h"

enum { FQ_MAX_LAYER_TENSORS = 4 };

typedef enum fq_tensor_kind {
    FQ_WEIGHT, /* what is quantized: of conv2d and dense */
    FQ_BIAS,
    FQ_NORM_SCALE,
    FQ_NORM_SHIFT,
    FQ_STEP,      /* what SGD learns of quantization steps */
    FQ_STATISTIC, /* moments of batch norm: averaged by the server, never touched by SGD */
    FQ_RANGE,     /* running activation ranges: likewise */
} fq_tensor_kind;

typedef struct fq_tensor_plan {
    const char    *name; /* "weight" */
    fq_tensor_kind kind;
    uint32_t       shape[4], n_axes; /* axis 0 is the output channel */
    uint32_t       fan_in;           /* for the initial values */
    float          initial;          /* of tensors that do not start at random */
} fq_tensor_plan;

typedef struct fq_layer_plan {
    fq_shape       out;
    size_t         n_tensors;
    fq_tensor_plan tensors[FQ_MAX_LAYER_TENSORS];
    size_t         cache_per_lane;   /* floats kept from forward to backward, times lanes */
    size_t         scratch_per_lane; /* floats free for use within one call, times lanes */
    size_t scratch_fixed;    /* the same, whatever the batch; not together with scratch_per_lane */
    size_t n_channel_groups; /* runs of channels that the layer keeps apart (its weights, or its
                                moments); 0: none */
    size_t cache_fixed;      /* floats kept, whatever the batch; not together with cache_per_lane */
    bool   quantized_input;  /* an activation-quantization site: conv2d and dense */
} fq_layer_plan;

/* Arguments of forward and backward. Outputs marked * are written. */
typedef struct fq_layer_pass {
    const fq_layer_spec *spec;
    fq_shape             in[FQ_MAX_FROM], out;
    size_t               batch, lanes;
    bool                 train;
    bool                 relu; /* give max(output, 0); dy is the gradient by that, y the result */
    const float         *x[FQ_MAX_FROM]; /* [in, lanes] */
    float               *y;              /* [out, lanes]  * forward */
    const float         *w[FQ_MAX_LAYER_TENSORS];
    float *statistic[FQ_MAX_LAYER_TENSORS]; /* where STATISTIC tensors are updated in training,
                                               NULL when they must not be */
    float *cache;                           /* NULL in a pass that does not train */
    float *scratch;
    fq_rng rng; /* dropout: a stream of this step and layer */
    /* backward only */
    const float *dy;              /* [out, lanes]; zero in the lanes past the batch */
    float       *dx[FQ_MAX_FROM]; /* * overwritten; NULL: not wanted (the network's input) */
    float       *dw[FQ_MAX_LAYER_TENSORS]; /* * added to */
} fq_layer_pass;

/* What is known of the sign of the output. */
typedef enum fq_sign { FQ_SIGN_ANY, FQ_SIGN_KEPT, FQ_SIGN_NONNEGATIVE } fq_sign;

typedef struct fq_layer {
    const char *name, *summary;
    size_t      n_inputs;
    const char
        *keys; /* the keys of fq_layer_spec it reads, "out kernel stride"; others must be default */
    fq_sign sign; /* KEPT: no output is negative if no input is */
    /* y may be x[0], and dx[0] may be dy: backward then finds the output in x[0]. The model makes
     * use of it where no other layer reads the input. */
    bool in_place;
    /* Heeds pass->relu; the model makes use of it for a relu that works in place behind the layer,
     * or before it if the order does not matter. */
    bool applies_relu, commutes_with_relu;
    /* Shapes, tensors and memory for these inputs, or FQ_EINVAL saying what does not fit. */
    fq_status (*plan)(const fq_layer_spec *spec, const fq_shape *in, fq_layer_plan *out);
    /* Both NULL: the output is the input under another shape, and nothing is copied. */
    void (*forward)(fq_layer_pass *pass);
    void (*backward)(fq_layer_pass *pass);
} fq_layer;

extern const fq_layer *const fq_layers[]; /* NULL-terminated */
const fq_layer              *fq_layer_find(const char *name);

#endif
