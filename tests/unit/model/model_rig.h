/* Small networks, and a model with a workspace and weights, for the tests of this folder. */
#ifndef FQ_TESTS_MODEL_RIG_H
#define FQ_TESTS_MODEL_RIG_H

#include "model/model.h"

/* Append a layer with default keys. `from`: names with blanks between, "" for the layer before. */
fq_layer_spec *rig_append(fq_network *network, const char *layer, const char *name,
                          const char *from);
fq_layer_spec *rig_append_dense(fq_network *network, const char *name, const char *from,
                                int64_t out);
fq_layer_spec *rig_append_conv(fq_network *network, const char *name, const char *from,
                               int64_t out);

/* A DAG without kinks: residual branches, an input read twice, one value added to itself, a view
 * with two readers. Input 2x4x4, 3 classes, 5 sites. */
fq_network rig_smooth_network(void);

typedef struct model_rig {
    fq_model     *model;
    fq_workspace *ws;
    fq_arena      arena;
    float        *w, *grad, *dlogits;
    size_t        batch, lanes;
    fq_pass       pass;
} model_rig;

/* Weights from seed 1, inputs of `batch` random examples, a training pass. */
void rig_init(model_rig *rig, const fq_network *network, size_t batch, bool train, bool sites);
void rig_fini(model_rig *rig);
/* Random examples of stream `number` in all valid lanes, zeros in the others. */
void rig_fill(model_rig *rig, uint32_t number);

#endif
