#include "train/sgd.h"

#include "math/kernels.h"

#include <math.h>

void fq_sgd_step(const fq_sgd *sgd, size_t n, size_t n_decay, float *w, float *g, float *velocity) {
    const fq_kernels *kernels = fq_kernels_get();
    if (sgd->clip_norm > 0.0) {
        double norm = sqrt(kernels->sum_squares(n, g));
        if (norm > sgd->clip_norm) {
            float factor = (float)(sgd->clip_norm / norm);
            for (size_t i = 0; i < n; i++)
                g[i] *= factor;
        }
    }
    if (sgd->weight_decay > 0.0)
        kernels->axpy(n_decay, (float)sgd->weight_decay, w, g);
    const float rate = (float)sgd->rate;
    if (velocity == NULL) {
        kernels->axpy(n, -rate, g, w);
        return;
    }
    const float momentum = (float)sgd->momentum;
    for (size_t i = 0; i < n; i++)
        velocity[i] = momentum * velocity[i] + g[i];
    if (sgd->nesterov)
        kernels->axpy(n, -rate, g, w);
    kernels->axpy(n, sgd->nesterov ? -rate * momentum : -rate, velocity, w);
}
