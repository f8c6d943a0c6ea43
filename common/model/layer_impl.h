/* What the files of the layers share: their rows, and sums over lanes. */
#ifndef FQ_MODEL_LAYER_IMPL_H
#define FQ_MODEL_LAYER_IMPL_H

#include "math/kernels.h"
#include "model/layer.h"

#include <inttypes.h>

extern const fq_layer fq_layer_dense, fq_layer_conv2d, fq_layer_relu, fq_layer_relu6,
    fq_layer_max_pool2d, fq_layer_avg_pool2d, fq_layer_global_avg_pool, fq_layer_group_norm,
    fq_layer_batch_norm, fq_layer_add, fq_layer_flatten, fq_layer_dropout, fq_layer_shortcut;

/* A square window that slides over rows and columns, from the keys kernel, stride and pad. */
typedef struct fq_window {
    size_t kernel, stride, pad;
} fq_window;

/* The keys with `stride` in place of 0. */
static inline fq_window fq_window_of(const fq_layer_spec *spec, int64_t stride) {
    return (fq_window){(size_t)spec->kernel, (size_t)(spec->stride > 0 ? spec->stride : stride),
                       (size_t)spec->pad};
}

/* Rows and columns that the window yields (rounded down), or FQ_EINVAL: no kernel, or one larger
 * than the padded input. */
static inline fq_status fq_window_fit(fq_window window, fq_shape in, fq_shape *out) {
    if (window.kernel == 0)
        return fq_fail(FQ_EINVAL, "kernel: 0 is not allowed; expected at least 1");
    size_t h = in.h + 2 * window.pad, w = in.w + 2 * window.pad;
    if (window.kernel > h || window.kernel > w)
        return fq_fail(FQ_EINVAL,
                       "kernel: %zu is larger than the input of %" PRIu32 "x%" PRIu32
                       " with padding %zu",
                       window.kernel, in.h, in.w, window.pad);
    out->h = (uint32_t)((h - window.kernel) / window.stride + 1);
    out->w = (uint32_t)((w - window.kernel) / window.stride + 1);
    return FQ_OK;
}

/* The same for a pool, whose window must always meet a pixel of the input. */
static inline fq_status fq_pool_fit(fq_window window, fq_shape in, fq_shape *out) {
    FQ_TRY(fq_window_fit(window, in, out));
    if (2 * window.pad > window.kernel)
        return fq_fail(FQ_EINVAL,
                       "pad: %zu is not allowed; expected at most half of the kernel, %zu",
                       window.pad, window.kernel);
    return FQ_OK;
}

/* The part of a window that lies inside one channel of the input: rows top..bottom - 1 and columns
 * left..right - 1 of the window. */
typedef struct fq_patch {
    size_t top, bottom, left, right;
    size_t corner, width; /* input index of the window's first pixel (may be outside, modulo 2^n);
                             row length */
} fq_patch;

/* The window of output value `o`, counted in [out.c, out.h, out.w]; a pool: channel c reads channel
 * c. */
static inline fq_patch fq_window_at(fq_window window, fq_shape in, fq_shape out, size_t o) {
    size_t c = o / ((size_t)out.h * out.w), i = o / out.w % out.h, j = o % out.w;
    size_t y = i * window.stride, x = j * window.stride; /* in the padded input */
    size_t below = in.h + window.pad - y, beside = in.w + window.pad - x;
    return (fq_patch){
        .top = y < window.pad ? window.pad - y : 0,
        .bottom = below < window.kernel ? below : window.kernel,
        .left = x < window.pad ? window.pad - x : 0,
        .right = beside < window.kernel ? beside : window.kernel,
        .corner = (c * in.h + y - window.pad) * in.w + x - window.pad,
        .width = in.w,
    };
}

/* Index in [C, H, W] of row i and column j of the window. */
static inline size_t fq_patch_pixel(const fq_patch *patch, size_t i, size_t j) {
    return patch->corner + i * patch->width + j;
}

/* sum of x [lanes] */
static inline float fq_lanes_total(const float *x, size_t lanes) {
    float part[FQ_LANES] = {0};
    for (size_t l = 0; l < lanes; l += FQ_LANES)
        for (size_t i = 0; i < FQ_LANES; i++)
            part[i] += x[l + i];
    return ((part[0] + part[4]) + (part[2] + part[6])) +
           ((part[1] + part[5]) + (part[3] + part[7]));
}

/* out [lanes] = sum over the n rows of x [n, lanes]. Four rows at a time: fewer passes over `out`,
 * and shorter chains of roundings. */
static inline void fq_rows_sum(size_t n, size_t lanes, const float *restrict x,
                               float *restrict out) {
    for (size_t l = 0; l < lanes; l++)
        out[l] = 0.0f;
    size_t r = 0;
    for (; r + 4 <= n; r += 4) {
        const float *a = x + r * lanes, *b = a + lanes, *c = b + lanes, *d = c + lanes;
        for (size_t l = 0; l < lanes; l++)
            out[l] += (a[l] + b[l]) + (c[l] + d[l]);
    }
    for (; r < n; r++)
        for (size_t l = 0; l < lanes; l++)
            out[l] += x[r * lanes + l];
}

#endif
