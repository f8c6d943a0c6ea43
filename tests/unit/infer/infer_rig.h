/* Quantized models of any network, for the tests of this folder: random weights, ranges from a few
 * random examples. */
#ifndef FQ_TESTS_INFER_RIG_H
#define FQ_TESTS_INFER_RIG_H

#include "infer/infer.h"
#include "quant/grid.h"

typedef struct infer_rig {
    fq_model    *model; /* folded */
    float       *w;     /* what the codes stand for, and the other values */
    fq_buffer    bytes;
    fq_modelfile file;
    fq_infer    *infer;
    void        *workspace;
    size_t       features, classes;
} infer_rig;

typedef struct infer_rig_options {
    int            bits, activations;
    fq_grid_kind   grid;
    fq_granularity granularity;
} infer_rig_options;

void infer_rig_init(infer_rig *rig, const fq_network *network, infer_rig_options options,
                    uint64_t seed);
void infer_rig_fini(infer_rig *rig);
/* Random example `number` -> x [features], about normal. */
void infer_rig_example(const infer_rig *rig, uint32_t number, float *x);
/* Logits of the float network, fake-quantized at its sites by the grids of the file. */
void infer_rig_fake(const infer_rig *rig, const float *x, float *logits);
/* One layer of a network under construction, with default keys. */
fq_layer_spec *infer_rig_append(fq_network *network, const char *layer, const char *name,
                                const char *from, const char *from2);

/* The context of an allocator that counts, and has no memory after `until` pieces. */
typedef struct infer_rig_counter {
    size_t taken, released, until;
} infer_rig_counter;
void *infer_rig_take(void *counter, size_t size);
void  infer_rig_release(void *counter, void *memory);

#endif
