/* A network as data: a list of layer specifications, as written in settings and in model.fq. */
#ifndef FQ_MODEL_NETWORK_H
#define FQ_MODEL_NETWORK_H

#include "base/config.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FQ_MAX_LAYERS = 256, FQ_MAX_FROM = 2 };

typedef struct fq_shape {
    uint32_t c, h, w; /* of one example */
} fq_shape;

static inline size_t fq_shape_count(fq_shape s) {
    return (size_t)s.c * s.h * s.w;
}

/* One row of `model:`. Keys that a layer does not know must keep their defaults; 0 mostly means
 * "the usual value for this kind of layer". */
typedef struct fq_layer_spec {
    char layer[FQ_TEXT_BYTES]; /* a name of the layer table: conv2d, dense, ... */
    char name[FQ_TEXT_BYTES];  /* < FQ_WORD_BYTES; defaults to layer + running number, "conv2d1" */
    fq_words from;             /* names of earlier layers or "input"; empty: the layer before */
    int64_t  out;              /* output channels or units */
    int64_t  kernel, stride, pad, groups;
    double   rate;              /* dropout */
    double   epsilon, momentum; /* norms */
    bool     bias;
} fq_layer_spec;

typedef struct fq_network {
    fq_shape      input;
    uint32_t      n_classes; /* units of the last layer, checked */
    size_t        n_layers;
    fq_layer_spec layers[FQ_MAX_LAYERS];
} fq_network;

extern const fq_key fq_layer_keys[]; /* of fq_layer_spec */

/* A layer of this kind with the defaults of fq_layer_keys. */
void fq_layer_spec_init(fq_layer_spec *spec, const char *layer);

/* The zoo: fill `out` with a named network for this input and number of classes. FQ_EINVAL: unknown
 * name (the text lists the names), or an input too small for it. */
FQ_MUST_CHECK fq_status fq_zoo_build(const char *name, fq_shape input, uint32_t n_classes,
                                     fq_network *out);

typedef struct fq_zoo_entry {
    const char *name, *summary;
    fq_status (*build)(fq_network *network); /* input and n_classes are set */
} fq_zoo_entry;
extern const fq_zoo_entry fq_zoo[]; /* ends with a NULL name */

#endif
