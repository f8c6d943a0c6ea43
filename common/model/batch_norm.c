/* Batch normalization (Ioffe and Szegedy 2015). For each channel:
 *     y = scale (x - mean) r + shift,   r = 1 / sqrt(var + epsilon)
 * In training, mean and var (biased) are those of the n values of the batch, lanes past it left
 * out. In evaluation they come from running moments: mean = E[x], var = E[x^2] - E[x]^2. Moments,
 * unlike a variance, may be averaged over clients: the average is the moment of the pooled
 * examples. */
#include "model/layer_impl.h"

#include <math.h>
#include <string.h>

enum { SCALE, SHIFT, FIRST_MOMENT, SECOND_MOMENT };

static fq_status plan(const fq_layer_spec *spec, const fq_shape *in, fq_layer_plan *out) {
    (void)spec;
    uint32_t channels = in[0].c;
    *out = (fq_layer_plan){
        .out = in[0],
        .n_tensors = 4,
        .tensors = {{"scale", FQ_NORM_SCALE, {channels}, 1, 0, 1.0f},
                    {"shift", FQ_NORM_SHIFT, {channels}, 1, 0, 0.0f},
                    {"first_moment", FQ_STATISTIC, {channels}, 1, 0, 0.0f},
                    {"second_moment", FQ_STATISTIC, {channels}, 1, 0, 1.0f}},
        .cache_fixed = 2 * (size_t)channels, /* mean, r */
        .scratch_per_lane = 2,
    };
    return FQ_OK;
}

static double total(const float *x, size_t n) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i];
    return sum;
}

/* Mean and variance of the valid lanes of x [pixels, lanes]. */
static void measure(size_t pixels, size_t lanes, size_t batch, const float *restrict x,
                    float *restrict sums, double *mean, double *variance) {
    double n = (double)pixels * (double)batch;
    fq_rows_sum(pixels, lanes, x, sums);
    *mean = total(sums, batch) / n;
    float centre = (float)*mean;
    for (size_t l = 0; l < lanes; l++)
        sums[l] = 0.0f;
    for (size_t i = 0; i < pixels; i++)
        for (size_t l = 0; l < lanes; l++) {
            float d = x[i * lanes + l] - centre;
            sums[l] += d * d;
        }
    *variance = total(sums, batch) / n;
}

static void update(float *moment, double weight, double value) {
    *moment = (float)((1.0 - weight) * (double)*moment + weight * value);
}

static void forward(fq_layer_pass *p) {
    size_t lanes = p->lanes, pixels = (size_t)p->out.h * p->out.w, channels = p->out.c;
    for (size_t c = 0; c < channels; c++) {
        const float *restrict x = p->x[0] + c * pixels * lanes;
        float *restrict y = p->y + c * pixels * lanes;
        double mean = (double)p->w[FIRST_MOMENT][c];
        double variance = fmax((double)p->w[SECOND_MOMENT][c] - mean * mean, 0.0);
        if (p->train)
            measure(pixels, lanes, p->batch, x, p->scratch, &mean, &variance);
        double r = 1.0 / sqrt(variance + p->spec->epsilon);
        float  centre = (float)mean, factor = p->w[SCALE][c] * (float)r, shift = p->w[SHIFT][c];
        for (size_t i = 0; i < pixels * lanes; i++)
            y[i] = (x[i] - centre) * factor + shift;
        if (p->train) {
            p->cache[c] = centre;
            p->cache[channels + c] = (float)r;
        }
        if (p->train && p->statistic[FIRST_MOMENT] != NULL) {
            update(&p->statistic[FIRST_MOMENT][c], p->spec->momentum, mean);
            update(&p->statistic[SECOND_MOMENT][c], p->spec->momentum, variance + mean * mean);
        }
    }
}

/* With z = (x - mean) r, over the n values of a channel:
 *     dx = scale r (dy - sum(dy) / n - z sum(dy z) / n);   0 past the batch */
static void backward(fq_layer_pass *p) {
    size_t lanes = p->lanes, pixels = (size_t)p->out.h * p->out.w, channels = p->out.c;
    double n = (double)pixels * (double)p->batch;
    float *restrict sum_dy = p->scratch, *restrict sum_dy_d = p->scratch + lanes;
    for (size_t c = 0; c < channels; c++) {
        const float *restrict x = p->x[0] + c * pixels * lanes, *restrict dy =
                                                                    p->dy + c * pixels * lanes;
        float mean = p->cache[c], r = p->cache[channels + c];
        for (size_t l = 0; l < lanes; l++)
            sum_dy[l] = sum_dy_d[l] = 0.0f;
        for (size_t i = 0; i < pixels; i++)
            for (size_t l = 0; l < lanes; l++) {
                sum_dy[l] += dy[i * lanes + l];
                sum_dy_d[l] += dy[i * lanes + l] * (x[i * lanes + l] - mean);
            }
        double all_dy = total(sum_dy, p->batch), all_dy_z = total(sum_dy_d, p->batch) * (double)r;
        p->dw[SCALE][c] += (float)all_dy_z;
        p->dw[SHIFT][c] += (float)all_dy;
        if (p->dx[0] == NULL)
            continue;
        float *restrict dx = p->dx[0] + c * pixels * lanes;
        float factor = p->w[SCALE][c] * r, a = (float)(all_dy_z / n) * r, b = (float)(all_dy / n);
        for (size_t i = 0; i < pixels; i++) {
            for (size_t l = 0; l < lanes; l++)
                dx[i * lanes + l] =
                    factor * (dy[i * lanes + l] - b - a * (x[i * lanes + l] - mean));
            memset(dx + i * lanes + p->batch, 0, (lanes - p->batch) * sizeof *dx);
        }
    }
}

const fq_layer fq_layer_batch_norm = {
    .name = "batch_norm",
    .summary = "normalizes each channel over the batch",
    .n_inputs = 1,
    .keys = "epsilon momentum",
    .plan = plan,
    .forward = forward,
    .backward = backward,
};
