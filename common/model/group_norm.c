/* Group normalization (Wu and He 2018). For each example and each group of channels, n values:
 *     y = scale_c (x - mean) r + shift_c,   r = 1 / sqrt(var + epsilon),   var biased (divided by
 * n) Nothing is shared between examples, so it suits small and differing batches. */
#include "model/layer_impl.h"

#include <math.h>

enum { USUAL_GROUPS = 8 };

static size_t groups_of(const fq_layer_spec *spec, size_t channels) {
    if (spec->groups > 0)
        return (size_t)spec->groups;
    size_t groups = USUAL_GROUPS;
    while (channels % groups != 0)
        groups--;
    return groups;
}

static fq_status plan(const fq_layer_spec *spec, const fq_shape *in, fq_layer_plan *out) {
    uint32_t channels = in[0].c;
    size_t   groups = groups_of(spec, channels);
    if (channels % groups != 0)
        return fq_fail(FQ_EINVAL, "groups: %zu does not divide the %" PRIu32 " channels", groups,
                       channels);
    *out = (fq_layer_plan){
        .out = in[0],
        .n_tensors = 2,
        .tensors = {{"scale", FQ_NORM_SCALE, {channels}, 1, 0, 1.0f},
                    {"shift", FQ_NORM_SHIFT, {channels}, 1, 0, 0.0f}},
        .n_channel_groups = groups,
        .cache_per_lane = 2 * groups, /* mean, r */
        .scratch_per_lane = 4,
    };
    return FQ_OK;
}

/* mean and r [lanes] of x [n, lanes] */
static void measure(size_t n, size_t lanes, float epsilon, const float *restrict x,
                    float *restrict mean, float *restrict r) {
    float share = 1.0f / (float)n;
    fq_rows_sum(n, lanes, x, mean);
    for (size_t l = 0; l < lanes; l++) {
        mean[l] *= share;
        r[l] = 0.0f;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t l = 0; l < lanes; l++) {
            float d = x[i * lanes + l] - mean[l];
            r[l] += d * d;
        }
    for (size_t l = 0; l < lanes; l++)
        r[l] = 1.0f / sqrtf(r[l] * share + epsilon);
}

static void forward(fq_layer_pass *p) {
    size_t lanes = p->lanes, pixels = (size_t)p->out.h * p->out.w;
    size_t groups = groups_of(p->spec, p->out.c), depth = p->out.c / groups;
    float *restrict factor = p->scratch;
    for (size_t g = 0; g < groups; g++) {
        float *mean = p->train ? p->cache + 2 * g * lanes : p->scratch + lanes, *r = mean + lanes;
        measure(depth * pixels, lanes, (float)p->spec->epsilon,
                p->x[0] + g * depth * pixels * lanes, mean, r);
        for (size_t c = g * depth; c < (g + 1) * depth; c++) {
            const float *restrict x = p->x[0] + c * pixels * lanes;
            const float *restrict centre = mean;
            float *restrict y = p->y + c * pixels * lanes;
            float shift = p->w[1][c];
            for (size_t l = 0; l < lanes; l++)
                factor[l] = p->w[0][c] * r[l];
            for (size_t i = 0; i < pixels; i++)
                for (size_t l = 0; l < lanes; l++)
                    y[i * lanes + l] = (x[i * lanes + l] - centre[l]) * factor[l] + shift;
        }
    }
}

/* sum_dy [lanes] = sum of dy;  sum_dy_z [lanes] = sum of dy (x - mean) r, over n rows */
static void sum_gradients(size_t n, size_t lanes, const float *restrict x, const float *restrict dy,
                          const float *restrict mean, const float *restrict r,
                          float *restrict sum_dy, float *restrict sum_dy_z) {
    for (size_t l = 0; l < lanes; l++)
        sum_dy[l] = sum_dy_z[l] = 0.0f;
    for (size_t i = 0; i < n; i++)
        for (size_t l = 0; l < lanes; l++) {
            sum_dy[l] += dy[i * lanes + l];
            sum_dy_z[l] += dy[i * lanes + l] * (x[i * lanes + l] - mean[l]);
        }
    for (size_t l = 0; l < lanes; l++)
        sum_dy_z[l] *= r[l];
}

/* With z = (x - mean) r and e = scale_c dy, for each example and group:
 *     dx = r (e - sum(e) / n - z sum(e z) / n) */
static void backward(fq_layer_pass *p) {
    size_t lanes = p->lanes, pixels = (size_t)p->out.h * p->out.w;
    size_t groups = groups_of(p->spec, p->out.c), depth = p->out.c / groups;
    float *restrict sum_e = p->scratch, *restrict sum_ez = p->scratch + lanes;
    float *sum_dy = p->scratch + 2 * lanes, *sum_dy_z = p->scratch + 3 * lanes;
    float  share = 1.0f / (float)(depth * pixels);
    for (size_t g = 0; g < groups; g++) {
        const float *restrict mean = p->cache + 2 * g * lanes, *restrict r = mean + lanes;
        for (size_t l = 0; l < lanes; l++)
            sum_e[l] = sum_ez[l] = 0.0f;
        for (size_t c = g * depth; c < (g + 1) * depth; c++) {
            float scale = p->w[0][c];
            sum_gradients(pixels, lanes, p->x[0] + c * pixels * lanes, p->dy + c * pixels * lanes,
                          mean, r, sum_dy, sum_dy_z);
            for (size_t l = 0; l < lanes; l++) {
                sum_e[l] += scale * sum_dy[l];
                sum_ez[l] += scale * sum_dy_z[l];
            }
            p->dw[0][c] += fq_lanes_total(sum_dy_z, lanes);
            p->dw[1][c] += fq_lanes_total(sum_dy, lanes);
        }
        if (p->dx[0] == NULL)
            continue;
        /* dx = scale r dy + a (x - mean) + b */
        float *restrict a = sum_dy, *restrict b = sum_dy_z;
        for (size_t l = 0; l < lanes; l++) {
            a[l] = -r[l] * r[l] * sum_ez[l] * share;
            b[l] = -r[l] * sum_e[l] * share;
        }
        for (size_t c = g * depth; c < (g + 1) * depth; c++) {
            const float *restrict x = p->x[0] + c * pixels * lanes, *restrict dy =
                                                                        p->dy + c * pixels * lanes;
            float *restrict dx = p->dx[0] + c * pixels * lanes;
            float scale = p->w[0][c];
            for (size_t i = 0; i < pixels; i++)
                for (size_t l = 0; l < lanes; l++)
                    dx[i * lanes + l] = scale * r[l] * dy[i * lanes + l] +
                                        (a[l] * (x[i * lanes + l] - mean[l]) + b[l]);
        }
    }
}

const fq_layer fq_layer_group_norm = {
    .name = "group_norm",
    .summary = "normalizes groups of channels of each example",
    .n_inputs = 1,
    .keys = "groups epsilon",
    .plan = plan,
    .forward = forward,
    .backward = backward,
};
