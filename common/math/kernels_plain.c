/* The slow reference: every kernel as its formula reads. */
#include "math/kernels_impl.h"

#include <math.h>
#include <stdbool.h>

/* Source row or column that tap k of output position o reads; false in the padding. */
static bool source(size_t o, size_t k, const fq_conv *c, size_t size, size_t *at) {
    size_t padded = o * c->stride + k;
    *at = padded - c->pad;
    return padded >= c->pad && *at < size;
}

/* One multiply-add of a convolution, as places in x, w and y (x and y: lane 0). */
typedef void visit(void *context, size_t x, size_t w, size_t y);

/* y[o, oy, ox] = sum over i, ky, kx of w[o, i, ky, kx] * x[i, oy s + ky - pad, ox s + kx - pad]:
 * calls `each` for every term, so that the convolution and both its gradients share one definition.
 */
static void for_each_term(const fq_conv *c, visit *each, void *context) {
    const size_t in_group = c->in_c / c->groups, out_group = c->out_c / c->groups;
    for (size_t o = 0; o < c->out_c; o++)
        for (size_t oy = 0; oy < c->out_h; oy++)
            for (size_t ox = 0; ox < c->out_w; ox++)
                for (size_t i = 0; i < in_group; i++)
                    for (size_t ky = 0; ky < c->kernel_h; ky++)
                        for (size_t kx = 0; kx < c->kernel_w; kx++) {
                            size_t iy, ix, in = o / out_group * in_group + i;
                            if (source(oy, ky, c, c->in_h, &iy) && source(ox, kx, c, c->in_w, &ix))
                                each(context, ((in * c->in_h + iy) * c->in_w + ix) * c->lanes,
                                     ((o * in_group + i) * c->kernel_h + ky) * c->kernel_w + kx,
                                     ((o * c->out_h + oy) * c->out_w + ox) * c->lanes);
                        }
}

typedef struct operands {
    size_t       lanes;
    const float *x, *w, *dy;
    float       *y, *dx, *dw;
} operands;

static void add_forward(void *context, size_t x, size_t w, size_t y) {
    const operands *at = context;
    for (size_t l = 0; l < at->lanes; l++)
        at->y[y + l] += at->w[w] * at->x[x + l];
}

static void add_input_gradient(void *context, size_t x, size_t w, size_t y) {
    const operands *at = context;
    for (size_t l = 0; l < at->lanes; l++)
        at->dx[x + l] += at->w[w] * at->dy[y + l];
}

static void add_weight_gradient(void *context, size_t x, size_t w, size_t y) {
    const operands *at = context;
    for (size_t l = 0; l < at->lanes; l++)
        at->dw[w] += at->x[x + l] * at->dy[y + l];
}

static void conv_forward(const fq_conv *c, const float *x, const float *w, const float *bias,
                         float *y, float *scratch) {
    (void)scratch;
    const size_t plane = c->out_h * c->out_w * c->lanes;
    for (size_t o = 0; o < c->out_c; o++)
        for (size_t p = 0; p < plane; p++)
            y[o * plane + p] = bias == NULL ? 0.0f : bias[o];
    for_each_term(c, add_forward, &(operands){.lanes = c->lanes, .x = x, .w = w, .y = y});
}

static void conv_backward_input(const fq_conv *c, const float *dy, const float *w, float *dx,
                                float *scratch) {
    (void)scratch;
    const size_t n = c->in_c * c->in_h * c->in_w * c->lanes;
    for (size_t i = 0; i < n; i++)
        dx[i] = 0.0f;
    for_each_term(c, add_input_gradient,
                  &(operands){.lanes = c->lanes, .w = w, .dy = dy, .dx = dx});
}

static void conv_backward_weights(const fq_conv *c, const float *x, const float *dy, float *dw,
                                  float *dbias, float *scratch) {
    (void)scratch;
    for_each_term(c, add_weight_gradient,
                  &(operands){.lanes = c->lanes, .x = x, .dy = dy, .dw = dw});
    const size_t plane = c->out_h * c->out_w * c->lanes;
    for (size_t o = 0; dbias != NULL && o < c->out_c; o++)
        for (size_t p = 0; p < plane; p++)
            dbias[o] += dy[o * plane + p];
}

static void max_pool(const fq_pool_window *p, const float *x, float *y, float *winner) {
    size_t o = 0;
    for (size_t c = 0; c < p->channels; c++)
        for (size_t oy = 0; oy < p->out_h; oy++)
            for (size_t ox = 0; ox < p->out_w; ox++)
                for (size_t l = 0; l < p->lanes; l++, o++) {
                    const fq_taps rows = fq_taps_inside(p, oy, p->in_h);
                    const fq_taps columns = fq_taps_inside(p, ox, p->in_w);
                    size_t        place = rows.first * p->kernel + columns.first;
                    y[o] = x[fq_tap_pixel(p, c, oy, ox, rows.first, columns.first) + l];
                    for (size_t i = rows.first; i < rows.end; i++)
                        for (size_t j = columns.first; j < columns.end; j++) {
                            const float value = x[fq_tap_pixel(p, c, oy, ox, i, j) + l];
                            if (value > y[o] || isnan(value)) {
                                y[o] = value;
                                place = i * p->kernel + j;
                            }
                        }
                    if (winner != NULL)
                        winner[o] = p->relu && !(y[o] > 0.0f) ? -1.0f : (float)place;
                    if (p->relu && y[o] < 0.0f)
                        y[o] = 0.0f;
                }
}

static void max_pool_backward(const fq_pool_window *p, const float *winner, const float *dy,
                              float *dx) {
    size_t o = 0;
    for (size_t i = 0; i < p->channels * p->in_h * p->in_w * p->lanes; i++)
        dx[i] = 0.0f;
    for (size_t c = 0; c < p->channels; c++)
        for (size_t oy = 0; oy < p->out_h; oy++)
            for (size_t ox = 0; ox < p->out_w; ox++)
                for (size_t l = 0; l < p->lanes; l++, o++) {
                    if (winner[o] < 0.0f)
                        continue;
                    const size_t place = (size_t)winner[o];
                    dx[fq_tap_pixel(p, c, oy, ox, place / p->kernel, place % p->kernel) + l] +=
                        dy[o];
                }
}

static void relu(size_t n, const float *x, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] < 0.0f ? 0.0f : x[i];
}

static void relu_backward(size_t n, const float *x, const float *dy, float *dx) {
    for (size_t i = 0; i < n; i++)
        dx[i] = x[i] > 0.0f ? dy[i] : 0.0f;
}

static void add(size_t n, const float *a, const float *b, bool with_relu, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
    if (with_relu)
        relu(n, y, y);
}

static void group_norm(const fq_norm *n, const float *x, const float *scale, const float *shift,
                       float *mean, float *r, float *y) {
    const size_t rows = n->depth * n->pixels;
    for (size_t l = 0; l < n->lanes; l++) {
        double sum = 0, squares = 0;
        for (size_t i = 0; i < rows; i++)
            sum += (double)x[i * n->lanes + l];
        mean[l] = (float)(sum / (double)rows);
        for (size_t i = 0; i < rows; i++) {
            const double d = (double)x[i * n->lanes + l] - (double)mean[l];
            squares += d * d;
        }
        r[l] = (float)(1.0 / sqrt(squares / (double)rows + (double)n->epsilon));
        for (size_t i = 0; i < rows; i++) {
            const size_t at = i * n->lanes + l, c = i / n->pixels;
            y[at] = scale[c] * (x[at] - mean[l]) * r[l] + shift[c];
            if (n->relu && y[at] < 0.0f)
                y[at] = 0.0f;
        }
    }
}

/* The gradient in front of the ReLU, and z = (x - mean) r, of value i of the group. */
static double norm_gradient(const fq_norm *n, const float *x, const float *scale,
                            const float *shift, const float *mean, const float *r, const float *dy,
                            size_t i, double *z) {
    const size_t l = i % n->lanes, c = i / n->lanes / n->pixels;
    *z = ((double)x[i] - (double)mean[l]) * (double)r[l];
    return n->relu && !((double)scale[c] * *z + (double)shift[c] > 0.0) ? 0.0 : (double)dy[i];
}

/* With e = scale_c dy, for each lane:
 *     dx = r (e - sum(e) / n - z sum(e z) / n);   dscale_c = sum(dy z),  dshift_c = sum(dy) */
static void group_norm_backward(const fq_norm *n, const float *x, const float *scale,
                                const float *shift, const float *mean, const float *r,
                                const float *dy, float *dscale, float *dshift, float *dx) {
    const size_t rows = n->depth * n->pixels;
    for (size_t l = 0; l < n->lanes; l++) {
        double sum_e = 0, sum_ez = 0, z;
        for (size_t i = 0; i < rows; i++) {
            const size_t at = i * n->lanes + l, c = i / n->pixels;
            const double g = norm_gradient(n, x, scale, shift, mean, r, dy, at, &z);
            sum_e += (double)scale[c] * g;
            sum_ez += (double)scale[c] * g * z;
            dscale[c] += (float)(g * z);
            dshift[c] += (float)g;
        }
        for (size_t i = 0; i < rows && dx != NULL; i++) {
            const size_t at = i * n->lanes + l;
            const double g = norm_gradient(n, x, scale, shift, mean, r, dy, at, &z);
            dx[at] = (float)((double)r[l] * ((double)scale[i / n->pixels] * g -
                                             (sum_e + z * sum_ez) / (double)rows));
        }
    }
}

static void gemm(int trans_a, int trans_b, size_t m, size_t n, size_t k, const float *a, size_t lda,
                 const float *b, size_t ldb, float beta, float *c, size_t ldc) {
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            float sum = beta == 0.0f ? 0.0f : c[i * ldc + j];
            for (size_t p = 0; p < k; p++)
                sum += (trans_a ? a[p * lda + i] : a[i * lda + p]) *
                       (trans_b ? b[j * ldb + p] : b[p * ldb + j]);
            c[i * ldc + j] = sum;
        }
}

static void axpy(size_t n, float a, const float *x, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

static void min_max(size_t n, const float *x, float *low, float *high) {
    *low = *high = x[0];
    for (size_t i = 1; i < n; i++) {
        *low = x[i] < *low ? x[i] : *low;
        *high = x[i] > *high ? x[i] : *high;
    }
}

static void moments(size_t n, const float *x, fq_moments *out) {
    *out = (fq_moments){0};
    if (n == 0)
        return;
    const double scale = 1.0 / (double)n;
    for (size_t i = 0; i < n; i++)
        out->mean += (double)x[i] * scale;
    for (size_t i = 0; i < n; i++) {
        const double d = (double)x[i] - out->mean;
        out->m2 += d * d * scale;
        out->m3 += d * d * d * scale;
        out->m4 += d * d * d * d * scale;
    }
}

static double sum_squares(size_t n, const float *x) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

static float quantized(float x, const fq_grid *grid) {
    float code = rintf(x / grid->step - grid->offset);
    code = code < grid->low ? grid->low : code;
    code = code > grid->high ? grid->high : code;
    return grid->step * (code + grid->offset);
}

static void fake_quantize(size_t n, const float *x, const fq_grid *grid, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = quantized(x[i], grid);
}

static double quantization_error(size_t n, const float *x, const fq_grid *grid) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = (double)x[i] - (double)quantized(x[i], grid);
        sum += d * d;
    }
    return sum;
}

static void ste(size_t n, const float *x, const fq_grid *grid, float lambda, float *g) {
    for (size_t i = 0; i < n; i++) {
        const float t = x[i] / grid->step - grid->offset;
        const float r = t - rintf(t);
        const float sign = (float)(g[i] > 0.0f) - (float)(g[i] < 0.0f);
        g[i] = t >= grid->low && t <= grid->high ? g[i] * (1.0f + lambda * sign * r) : 0.0f;
    }
}

const fq_kernels fq_kernels_plain = {
    .name = "plain",
    .conv_forward = conv_forward,
    .conv_backward_input = conv_backward_input,
    .conv_backward_weights = conv_backward_weights,
    .max_pool = max_pool,
    .max_pool_backward = max_pool_backward,
    .relu = relu,
    .relu_backward = relu_backward,
    .add = add,
    .group_norm = group_norm,
    .group_norm_backward = group_norm_backward,
    .gemm = gemm,
    .axpy = axpy,
    .min_max = min_max,
    .moments = moments,
    .sum_squares = sum_squares,
    .fake_quantize = fake_quantize,
    .quantization_error = quantization_error,
    .ste = ste,
};
