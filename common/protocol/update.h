/* What a client returns from a round, and the limits on it. Plain data. */
#ifndef FQ_PROTOCOL_UPDATE_H
#define FQ_PROTOCOL_UPDATE_H

#include "quant/quantizer.h"

enum { FQ_MAX_VECTORS = 2 }; /* the weights' delta, and at most one more (SCAFFOLD's control) */

typedef struct fq_update {
    uint64_t client;
    uint32_t round;
    uint64_t n_examples;
    uint32_t n_steps;
    double   loss; /* mean over all local steps */
    double
        first_loss;  /* mean over its examples on the model as received, if levels adapt; else 0 */
    double    drift; /* 2-norm of the delta before coding */
    size_t    n_vectors;
    fq_packed vectors[FQ_MAX_VECTORS];
} fq_update;

/* What a coordinator accepts. */
typedef struct fq_limits {
    double   max_value;    /* largest |value| of a decoded vector */
    uint64_t max_examples; /* largest weight of one client */
} fq_limits;

#endif
