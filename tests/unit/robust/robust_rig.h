/* A small model with a method bound to it, and the memory of a client turn. */
#ifndef FQ_TESTS_ROBUST_RIG_H
#define FQ_TESTS_ROBUST_RIG_H

#include "robust/robust_impl.h"

typedef struct rig {
    fq_model *model;
    fq_bound  bound;
    fq_arena  arena;
    size_t    size, trainable;
    float    *w, *u, *g; /* [size] latent weights, weights seen, gradient */
} rig;

/* conv1 [3, 1, 3, 3] on a 4 x 4 image, ReLU, dense1 [8, 12], ReLU, dense2 [4, 8]. */
fq_network rig_network(void);
/* One dense layer, its weights [out, in]. */
fq_network rig_dense(uint32_t out, uint32_t in);

/* Model with the method's tensors, weights initialised from seed 7, one turn begun. */
void rig_init(rig *r, const fq_network *network, const fq_robustness *method, const void *config);
void rig_fini(rig *r);
fq_step rig_step(const rig *r, uint32_t round, uint64_t client, uint32_t step);
/* begin_step and view_weights: w -> u. */
void rig_view(rig *r, const fq_step *step);

/* A range rule as settings number it. */
int rig_rule(const char *name);

const fq_tensor *rig_tensor(const rig *r, const char *name); /* NULL if there is none */

#endif
