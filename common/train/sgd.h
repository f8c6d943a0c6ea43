/* The local step rule: SGD with clipping, weight decay, momentum and Nesterov's variant. */
#ifndef FQ_TRAIN_SGD_H
#define FQ_TRAIN_SGD_H

#include <stdbool.h>
#include <stddef.h>

typedef struct fq_sgd {
    double rate, momentum, weight_decay, clip_norm; /* clip_norm 0: none */
    bool   nesterov;
} fq_sgd;

/* g <- min(1, clip_norm / |g|) g; g <- g + weight_decay w for the first n_decay values; then
 * v <- momentum v + g and w <- w - rate (nesterov ? g + momentum v : v).
 * w, g [n]; velocity [n], or NULL if momentum is 0. g is overwritten. */
void fq_sgd_step(const fq_sgd *sgd, size_t n, size_t n_decay, float *w, float *g, float *velocity);

#endif
