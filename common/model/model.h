/* A trainable network: a DAG of layers over one flat vector, planned once.
 *
 * The vector holds everything that is averaged, in this order: weights, biases and norm parameters
 * layer by layer; learned steps; then statistics and ranges. SGD touches only the first n_trainable
 * values. An optimizer, a checkpoint or a federated average is one loop over one vector.
 *
 * A model is read-only after create and shared by all threads; each thread has a workspace.
 */
#ifndef FQ_MODEL_MODEL_H
#define FQ_MODEL_MODEL_H

#include "base/arena.h"
#include "model/layer.h"
#include "model/network.h"

enum { FQ_TENSOR_NAME = 64 };

typedef struct fq_tensor {
    char           name[FQ_TENSOR_NAME]; /* "conv1.weight" */
    fq_tensor_kind kind;
    uint32_t       shape[4], n_axes;
    size_t         offset, count; /* in the flat vector */
    uint32_t       layer;         /* index into network.layers */
    uint32_t       fan_in;
    float          initial;
} fq_tensor;

typedef struct fq_model fq_model;

/* A tensor that a robustness method adds to the vector (learned steps, running ranges). */
typedef struct fq_extra_tensor {
    char           name[FQ_TENSOR_NAME];
    fq_tensor_kind kind; /* FQ_STEP or FQ_RANGE */
    size_t         count;
    uint32_t       layer;
    float          initial;
} fq_extra_tensor;

/* Errors name the layer. `extra` may be NULL. The model keeps copies of all arguments. */
FQ_MUST_CHECK fq_status fq_model_create(fq_model **model, const fq_network *network,
                                        const fq_extra_tensor *extra, size_t n_extra);
void                    fq_model_destroy(fq_model **model);

const fq_network *fq_model_network(const fq_model *model);
size_t            fq_model_size(const fq_model *model);      /* values of the flat vector */
size_t            fq_model_trainable(const fq_model *model); /* the first so many are SGD's */
size_t fq_model_parameters(const fq_model *model); /* what papers count: weights, biases, norms */
size_t fq_model_tensor_count(const fq_model *model);
const fq_tensor *fq_model_tensor(const fq_model *model, size_t index); /* in order of offset */
/* Sites are the inputs of conv2d and dense layers, in layer order; site s feeds the s-th FQ_WEIGHT
 * tensor. */
size_t fq_model_site_count(const fq_model *model);
/* True if no value at this site can be negative (it comes from a ReLU or a pool or flatten of one).
 */
bool fq_model_site_nonnegative(const fq_model *model, size_t site);
/* The graph: value 0 is the network's input, value i + 1 the output of layer i. */
size_t   fq_model_site_layer(const fq_model *model, size_t site);
size_t   fq_model_layer_inputs(const fq_model *model, size_t layer);
size_t   fq_model_layer_input(const fq_model *model, size_t layer, size_t k); /* a value */
fq_shape fq_model_value_shape(const fq_model *model, size_t value);
/* A layer's tensor of that kind, the first one; NULL: it has none. Extra tensors are no layer's. */
const fq_tensor *fq_model_layer_tensor(const fq_model *model, size_t layer, fq_tensor_kind kind);
/* Runs of channels that the layer keeps apart; 0: none. */
size_t fq_model_layer_groups(const fq_model *model, size_t layer);
double fq_model_macs(const fq_model *model); /* multiply-adds of one example, forward */

/* Initial values, a function of seed alone: weights and biases of conv2d and dense uniform in
 * +-1/sqrt(fan_in) (the default of the field's frameworks), scales 1, shifts 0, others as planned.
 */
void fq_model_init(const fq_model *model, uint64_t seed, float *w);

/* The narrower network inside this one: of every layer but the last with weights the leading
 * max(1, floor(ratio * channels)), 0 < ratio <= 1, with the weights between them. level[i] = mark
 * for each of its values, level [fq_model_size]; the others are left. FQ_EINVAL, naming the layer:
 * batch norm, grouped convolution, groups of a norm that would be cut, a sum of unequal widths. */
FQ_MUST_CHECK fq_status fq_model_narrow(const fq_model *model, double ratio, uint8_t mark,
                                        uint8_t *level);

/* The same function without batch norm that follows a conv2d or dense layer, whose weights and bias
 * take it in, and without what methods have added; *folded [fq_model_size of *out], free(). Batch
 * norm elsewhere stays. */
FQ_MUST_CHECK fq_status fq_model_fold(const fq_model *model, const float *w, fq_model **out,
                                      float **folded);

/* What happens to the input of a site. Both may be NULL. Called on [features, lanes] with `batch`
 * valid lanes. quantize: y from x (y is a buffer of the workspace). pull: turn dy, the gradient by
 * y, into the gradient by x, in place. */
typedef struct fq_site_hook {
    void *context;
    /* false: this site is left alone in this pass; y untouched, and pull is not called. */
    bool (*quantize)(void *context, size_t site, size_t features, size_t batch, size_t lanes,
                     const float *x, float *y);
    void (*pull)(void *context, size_t site, size_t features, size_t batch, size_t lanes,
                 const float *x, float *dy);
    /* Pull even at sites whose gradient nobody needs, as the network's input: for learned steps. */
    bool pull_everywhere;
} fq_site_hook;

/* Sees every value in turn, the network's input first. Of a relu that the layer next to it applies
 * it sees both sides alike: its result, or its input. */
typedef struct fq_watch {
    void *context;
    void (*see)(void *context, size_t value, size_t features, size_t batch, size_t lanes,
                const float *x);
} fq_watch;

typedef struct fq_pass {
    size_t              batch;        /* examples; <= the workspace's */
    bool                train;        /* dropout on, batch statistics, caches kept */
    uint64_t            seed, client; /* name the dropout stream */
    uint32_t            round, step;
    const fq_site_hook *sites; /* NULL: float activations */
    const fq_watch     *watch; /* NULL: nobody looks */
    float *statistics; /* flat vector whose FQ_STATISTIC values training updates; NULL: none */
} fq_pass;

/* Buffers of one thread for batches up to `max_batch`. All memory comes from `arena` (which may be
 * a measuring one). `sites`: with buffers for quantized activations. `train` false: forward only,
 * smaller. */
typedef struct fq_workspace fq_workspace;
FQ_MUST_CHECK fq_status     fq_workspace_create(fq_workspace **ws, const fq_model *model,
                                                size_t max_batch, bool train, bool sites,
                                                fq_arena *arena);
size_t fq_workspace_bytes(const fq_model *model, size_t max_batch, bool train, bool sites);
/* Where the batch goes: [input features, fq_lanes(batch)], lanes past the batch zero. */
float *fq_workspace_input(fq_workspace *ws);

/* Logits [n_classes, lanes], owned by the workspace, valid until its next pass. No allocation. */
const float *fq_model_forward(const fq_model *model, fq_workspace *ws, const float *w,
                              const fq_pass *pass);
/* After a forward with train: grad [fq_model_trainable] += d loss / d w, from dlogits [n_classes,
 * lanes]. */
void fq_model_backward(const fq_model *model, fq_workspace *ws, const float *w, const fq_pass *pass,
                       const float *dlogits, float *grad);

/* Softmax cross-entropy of logits [n_classes, lanes] against labels [batch] < n_classes. Returns
 * the sum of the losses; *correct gets the number of right arg-maxes (first wins). dlogits (may be
 * NULL) gets the gradient of the MEAN loss, zero in the lanes past the batch. */
double fq_cross_entropy(const float *logits, const uint16_t *labels, size_t n_classes, size_t batch,
                        size_t lanes, float *dlogits, size_t *correct);

#endif
