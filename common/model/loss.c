#include "math/kernels.h"
#include "model/model.h"

#include <assert.h>
#include <math.h>

/* For each example, with the largest logit m:
 *     p_c = exp(z_c - m) / s,   s = sum_c exp(z_c - m)
 *     loss = log s + m - z_label;   d loss / d z_c = p_c - [c == label] */
double fq_cross_entropy(const float *logits, const uint16_t *labels, size_t n_classes, size_t batch,
                        size_t lanes, float *dlogits, size_t *correct) {
    double loss = 0.0;
    float  share = 1.0f / (float)batch;
    *correct = 0;
    for (size_t first = 0; first < lanes; first += FQ_LANES) {
        const float *z = logits + first;
        float        best[FQ_LANES], sum[FQ_LANES];
        uint32_t     guess[FQ_LANES];
        for (size_t i = 0; i < FQ_LANES; i++) {
            best[i] = z[i];
            guess[i] = 0;
            sum[i] = 0.0f;
        }
        for (size_t c = 1; c < n_classes; c++)
            for (size_t i = 0; i < FQ_LANES; i++) {
                bool larger = z[c * lanes + i] > best[i];
                best[i] = larger ? z[c * lanes + i] : best[i];
                guess[i] = larger ? (uint32_t)c : guess[i];
            }
        for (size_t c = 0; c < n_classes; c++)
            for (size_t i = 0; i < FQ_LANES; i++) {
                float e = expf(z[c * lanes + i] - best[i]);
                sum[i] += e;
                if (dlogits != NULL)
                    dlogits[c * lanes + first + i] = e;
            }
        for (size_t i = 0; i < FQ_LANES && first + i < batch; i++) {
            uint16_t label = labels[first + i];
            assert(label < n_classes);
            loss += log((double)sum[i]) + ((double)best[i] - (double)z[label * lanes + i]);
            *correct += guess[i] == label;
        }
        if (dlogits == NULL)
            continue;
        for (size_t i = 0; i < FQ_LANES; i++)
            sum[i] = first + i < batch ? share / sum[i] : 0.0f;
        for (size_t c = 0; c < n_classes; c++)
            for (size_t i = 0; i < FQ_LANES; i++)
                dlogits[c * lanes + first + i] *= sum[i];
        for (size_t i = 0; i < FQ_LANES && first + i < batch; i++)
            dlogits[labels[first + i] * lanes + first + i] -= share;
    }
    return loss;
}
