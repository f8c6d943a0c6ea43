/* The inner loops of training, one implementation per instruction set, chosen once at start.
 *
 * Layout of activations: feature-major, batch-minor, [C, H, W, lanes]. `lanes` is the batch size
 * rounded up to a multiple of FQ_LANES, so a vector register always holds one feature of several
 * examples, and no kernel ever meets an awkward width, channel count or stride. Lanes past the
 * batch hold finite values that nobody reads: inputs are zero there, and so is the gradient of the
 * loss.
 *
 * FQ_KERNELS=plain|baseline|v3|v4|neon in the environment forces a row (for tests); a row that this
 * processor cannot run is refused. `plain` is the slow reference: the meaning of all the others.
 */
#ifndef FQ_MATH_KERNELS_H
#define FQ_MATH_KERNELS_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FQ_LANES = 8 };

/* Batch size rounded up to whole groups of lanes. */
static inline size_t fq_lanes(size_t batch) {
    return (batch + FQ_LANES - 1) / FQ_LANES * FQ_LANES;
}

/* Square stride, padding with zeros, groups divide both channel counts. Weights [out_c, in_c /
 * groups, kernel_h, kernel_w]. */
typedef struct fq_conv {
    size_t in_c, in_h, in_w, out_c, out_h, out_w;
    size_t kernel_h, kernel_w, stride, pad, groups;
    size_t lanes;
} fq_conv;

/* A square window that slides over each channel on its own; padding never wins. Every window meets
 * a pixel. */
typedef struct fq_pool_window {
    size_t channels, in_h, in_w, out_h, out_w;
    size_t kernel, stride, pad;
    size_t lanes;
    bool   relu; /* of the maximum, which is the maximum of the ReLU */
} fq_pool_window;

/* Group normalization of one group of channels, with or without a ReLU behind it. For each lane,
 * over the depth * pixels values of the group:
 *     y = scale_c (x - mean) r + shift_c,   r = 1 / sqrt(var + epsilon) */
typedef struct fq_norm {
    size_t depth, pixels, lanes; /* channels of the group, pixels of a channel */
    float  epsilon;
    bool   relu;
} fq_norm;

/* One quantization grid: y = step * (clip(rne(x / step - offset), low, high) + offset).
 * offset is 0, or 0.5 for the two-level grid; low and high are integers with the zero point taken
 * off. See quant/grid.h. */
typedef struct fq_grid {
    float step, low, high, offset;
} fq_grid;

typedef struct fq_moments {
    double mean, m2, m3, m4; /* central moments, divided by n */
} fq_moments;

/* Floats that the convolution kernels take as scratch, the same for all rows and any number of
 * lanes. */
size_t fq_conv_scratch(const fq_conv *c);

typedef struct fq_kernels {
    const char *name;
    /* y [out_c, out_h, out_w, lanes] = conv(x [in_c, in_h, in_w, lanes], w) + bias; bias may be
     * NULL. */
    void (*conv_forward)(const fq_conv *c, const float *x, const float *w, const float *bias,
                         float *y, float *scratch);
    /* dx = gradient by the input (overwrites). */
    void (*conv_backward_input)(const fq_conv *c, const float *dy, const float *w, float *dx,
                                float *scratch);
    /* dw += , dbias += (dbias may be NULL). */
    void (*conv_backward_weights)(const fq_conv *c, const float *x, const float *dy, float *dw,
                                  float *dbias, float *scratch);
    /* y [channels, out_h, out_w, lanes] = maximum; the first wins, and a NaN wins, so that a
     * diverging run shows. winner (may be NULL), shaped like y: row * kernel + column of its place
     * in the window, as a float; -1 where the ReLU lets no gradient through. */
    void (*max_pool)(const fq_pool_window *p, const float *x, float *y, float *winner);
    /* dx [channels, in_h, in_w, lanes] = gradient by the input (overwrites). */
    void (*max_pool_backward)(const fq_pool_window *p, const float *winner, const float *dy,
                              float *dx);
    /* y = max(x, 0); y may be x. A NaN stays a NaN. */
    void (*relu)(size_t n, const float *x, float *y);
    /* dx = dy where x > 0, else 0; x may be the result of relu, dx may be dy. */
    void (*relu_backward)(size_t n, const float *x, const float *dy, float *dx);
    /* y = a + b, then ReLU if asked. */
    void (*add)(size_t n, const float *a, const float *b, bool relu, float *y);
    /* x, y [depth, pixels, lanes]; mean, r [lanes] are kept for the gradient. */
    void (*group_norm)(const fq_norm *n, const float *x, const float *scale, const float *shift,
                       float *mean, float *r, float *y);
    /* dscale, dshift [depth] += sums over pixels and lanes; dx (may be NULL) is overwritten. dy is
     * the gradient by what group_norm gave, behind the ReLU if it has one. */
    void (*group_norm_backward)(const fq_norm *n, const float *x, const float *scale,
                                const float *shift, const float *mean, const float *r,
                                const float *dy, float *dscale, float *dshift, float *dx);
    /* C [m, n] = A * B + beta * C, row-major, leading dimensions in elements; trans_a: A is stored
     * [k, m]. Used where BLIS is not built in, and for sizes where it is slower. beta is 0 or 1. */
    void (*gemm)(int trans_a, int trans_b, size_t m, size_t n, size_t k, const float *a, size_t lda,
                 const float *b, size_t ldb, float beta, float *c, size_t ldc);
    void (*axpy)(size_t n, float a, const float *x, float *y);          /* y += a * x */
    void (*min_max)(size_t n, const float *x, float *low, float *high); /* n > 0, finite */
    void (*moments)(size_t n, const float *x, fq_moments *out); /* double sums, two passes */
    double (*sum_squares)(size_t n, const float *x);
    /* y may be x. */
    void (*fake_quantize)(size_t n, const float *x, const fq_grid *grid, float *y);
    /* sum of (x - Q(x))^2 */
    double (*quantization_error)(size_t n, const float *x, const fq_grid *grid);
    /* g *= (1 + lambda * sign(g) * r) inside the grid, 0 outside; r = x/step - rne(x/step - offset)
     * - offset. Inside: low <= x/step - offset <= high. lambda 0 is the plain straight-through
     * estimator. */
    void (*ste)(size_t n, const float *x, const fq_grid *grid, float lambda, float *g);
} fq_kernels;

/* FQ_EINVAL if FQ_KERNELS names a row that is unknown or not runnable here. Programs call it at
 * start. */
FQ_MUST_CHECK fq_status fq_kernels_check(void);
/* The row in use; chosen on the first call, which is thread-safe: what FQ_KERNELS names, else (also
 * where fq_kernels_check fails) the fastest that this processor runs. */
const fq_kernels *fq_kernels_get(void);
/* A row by name, NULL if unknown or not runnable here. For tests and benchmarks. */
const fq_kernels        *fq_kernels_find(const char *name);
extern const char *const fq_kernel_names[]; /* NULL-terminated, slowest first */

#endif
