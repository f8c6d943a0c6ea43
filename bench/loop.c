#include "bench/loop.h"

#include "math/kernels.h"

#include <math.h>
#include <string.h>

enum { L = FQ_LOOP_CLASSES, TILE = 4 };

#define FQ_INLINE static inline __attribute__((always_inline))

/* Eight classes of a row; a row is two of them. Unaligned, as it is overlaid on floats. */
typedef float half __attribute__((vector_size(32), aligned(4), may_alias));

/* logits of TILE examples: z_e = b + W^T x_e, in registers over all features */
FQ_INLINE void logits_of(const float *w, size_t features, const float *const x[TILE],
                         float z[TILE][L]) {
    const half *rows = (const half *)w;
    half        low[TILE], high[TILE];
    for (size_t e = 0; e < TILE; e++) {
        low[e] = rows[2 * features];
        high[e] = rows[2 * features + 1];
    }
    for (size_t f = 0; f < features; f++) {
        const half w_low = rows[2 * f], w_high = rows[2 * f + 1];
        for (size_t e = 0; e < TILE; e++) {
            low[e] += x[e][f] * w_low;
            high[e] += x[e][f] * w_high;
        }
    }
    for (size_t e = 0; e < TILE; e++) {
        memcpy(z[e], &low[e], sizeof low[e]);
        memcpy(z[e] + L / 2, &high[e], sizeof high[e]);
    }
}

/* d = (softmax(z) - onehot(y)) * factor, for the classes that there are */
FQ_INLINE void gradient_of(float *z, size_t classes, uint16_t y, float factor) {
    float most = z[0], sum = 0.0f;
    for (size_t c = 1; c < classes; c++)
        most = z[c] > most ? z[c] : most;
    for (size_t c = 0; c < classes; c++)
        sum += z[c] = expf(z[c] - most);
    for (size_t c = 0; c < L; c++)
        z[c] = c < classes ? factor * (z[c] / sum - (c == y ? 1.0f : 0.0f)) : 0.0f;
}

FQ_INLINE void step(float *w, size_t features, size_t classes, size_t batch, const float *x,
                    const uint16_t *y, float rate) {
    float d[FQ_LOOP_BATCH + TILE][L];
    for (size_t e = 0; e < batch; e += TILE) {
        const float *rows[TILE];
        for (size_t i = 0; i < TILE; i++)
            rows[i] = x + (e + i < batch ? e + i : e) * features;
        logits_of(w, features, rows, d + e);
    }
    for (size_t e = 0; e < batch; e++)
        gradient_of(d[e], classes, y[e], -rate / (float)batch);
    /* W_f += sum_e x_ef d_e */
    half *rows = (half *)w;
    for (size_t f = 0; f < features; f++) {
        half low = rows[2 * f], high = rows[2 * f + 1];
        for (size_t e = 0; e < batch; e++) {
            const half *d_e = (const half *)d[e];
            low += x[e * features + f] * d_e[0];
            high += x[e * features + f] * d_e[1];
        }
        rows[2 * f] = low;
        rows[2 * f + 1] = high;
    }
    for (size_t e = 0; e < batch; e++)
        for (size_t c = 0; c < L; c++)
            w[features * L + c] += d[e][c];
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static void step_v4(float *w, size_t features, size_t classes,
                                                       size_t batch, const float *x,
                                                       const uint16_t *y, float rate) {
    step(w, features, classes, batch, x, y, rate);
}

__attribute__((target("avx2,fma"))) static void step_v3(float *w, size_t features, size_t classes,
                                                        size_t batch, const float *x,
                                                        const uint16_t *y, float rate) {
    step(w, features, classes, batch, x, y, rate);
}
#endif

void fq_loop_step(float *w, size_t features, size_t classes, size_t batch, const float *x,
                  const uint16_t *y, float rate) {
#if defined(__x86_64__)
    const char *kernels = fq_kernels_get()->name;
    if (strcmp(kernels, "v4") == 0) {
        step_v4(w, features, classes, batch, x, y, rate);
        return;
    }
    if (strcmp(kernels, "v3") == 0) {
        step_v3(w, features, classes, batch, x, y, rate);
        return;
    }
#endif
    step(w, features, classes, batch, x, y, rate);
}

uint16_t fq_loop_predict(const float *w, size_t features, size_t classes, const float *x) {
    const float *const rows[TILE] = {x, x, x, x};
    float              z[TILE][L];
    size_t             best = 0;
    logits_of(w, features, rows, z);
    for (size_t c = 1; c < classes; c++)
        if (z[0][c] > z[0][best])
            best = c;
    return (uint16_t)best;
}
