/* Convolution and matrix product on vectors of WIDTH floats. Included by kernels_vector.c once for
 * each width that its instruction set has; names end in the width. No guard, on purpose. */

typedef float NAME(vec) __attribute__((vector_size(4 * WIDTH)));
typedef float NAME(loose) __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
#define VEC NAME(vec)

static inline VEC NAME(load)(const float *from) {
    return *(const NAME(loose) *)from;
}

static inline void NAME(store)(float *to, VEC value) {
    *(NAME(loose) *)to = value;
}

static inline float NAME(sum)(VEC v) {
    float sum = 0;
    for (int i = 0; i < WIDTH; i++)
        sum += v[i];
    return sum;
}

/* Along a row of pixels: y[o, v] = start + sum over the terms of w[o] * x[v], for `outs` channels
 * and `vecs` vectors of lanes that stay in registers. `start` is y itself, the bias, or 0. */
ALWAYS_INLINE void NAME(tile)(const int outs, const int vecs, const reduction *r, const float *x,
                              const float *w, const float *bias, float *y) {
    /* Three channels of weights share a pointer, plus {0, 1, 2} * w_out: few registers suffice. */
    const ptrdiff_t w_out = r->w_out, group = 3 * w_out, x_step = r->x[2], w_step = r->w[2];
    for (size_t p = 0; p < r->n_pixels; p++, x += r->x_pixel, y += r->y_pixel) {
        VEC sum[MAX_SUMS];
        UNROLL for (int o = 0; o < outs; o++) UNROLL for (int v = 0; v < vecs; v++)
            sum[o * vecs + v] = r->add         ? NAME(load)(y + o * r->y_out + v * WIDTH)
                                : bias != NULL ? (VEC){0} + bias[o]
                                               : (VEC){0};
        const float *x0 = x, *w0 = w;
        for (size_t i = r->n[0]; i > 0; i--, x0 += r->x[0], w0 += r->w[0]) {
            const float *x1 = x0, *w1 = w0;
            for (size_t j = r->n[1]; j > 0; j--, x1 += r->x[1], w1 += r->w[1]) {
                const float *x2 = x1, *w2[MAX_OUTS / 3 + 1];
                UNROLL for (int g = 0; 3 * g < outs; g++) {
                    w2[g] = w1 + g * group;
                    OPAQUE(w2[g]);
                }
                for (size_t k = r->n[2]; k > 0; k--, x2 += x_step) {
                    VEC value[MAX_VECS];
                    UNROLL for (int v = 0; v < vecs; v++) {
                        value[v] = NAME(load)(x2 + v * WIDTH);
                    }
                    UNROLL for (int o = 0; o < outs; o++) UNROLL for (int v = 0; v < vecs; v++)
                        sum[o * vecs + v] += value[v] * w2[o / 3][o % 3 * w_out];
                    UNROLL for (int g = 0; 3 * g < outs; g++) {
                        w2[g] += w_step;
                    }
                }
            }
        }
        UNROLL for (int o = 0; o < outs; o++) UNROLL for (int v = 0; v < vecs; v++)
            NAME(store)(y + o * r->y_out + v * WIDTH, sum[o * vecs + v]);
    }
}

#define TILE(outs, vecs)                                                                           \
    static void NAME(tile_##outs##_##vecs)(const reduction *r, const float *x, const float *w,     \
                                           const float *bias, float *y) {                          \
        NAME(tile)(outs, vecs, r, x, w, bias, y);                                                  \
    }
TILE_SIZES(TILE)
#undef TILE

#define ROW(outs, vecs) [vecs][outs] = NAME(tile_##outs##_##vecs),
static tile_function *const NAME(tiles)[MAX_VECS + 1][MAX_OUTS + 1] = {TILE_SIZES(ROW)};
#undef ROW

/* A convolution on the lanes [first, end), a multiple of WIDTH. Chunks of lanes are outermost and
 * rows next, so that the rows of the source under the kernel stay in the cache for all channels. */
static void NAME(convolve)(const direction *d, size_t first, size_t end, const float *source,
                           const float *w, const float *bias, float *target) {
    for (size_t lane = first, vecs; lane < end; lane += vecs * WIDTH) {
        vecs = chunk_of((end - lane) / WIDTH, d->targets);
        for (size_t y = 0; y < d->target_h; y++)
            convolve_row(d, y, NAME(tiles)[vecs], most_outs[vecs], source + lane, w, bias,
                         target + lane);
    }
}

/* sum over r < rows, q < columns, v of dy[a] * x[b], for `outs` planes of dy and `taps`
 * neighbouring columns of x; added to dw. */
ALWAYS_INLINE void NAME(correlate)(const int outs, const int taps, const correlation *c,
                                   const float *x, const float *dy, float *dw) {
    VEC sum[MAX_SUMS];
    UNROLL for (int i = 0; i < outs * taps; i++) {
        sum[i] = (VEC){0};
    }
    for (size_t r = 0; r < c->n_rows; r++) {
        const float *x_row = x + r * c->x_row, *dy_row = dy + r * c->dy_row;
        for (size_t q = 0; q < c->n_columns; q++, x_row += c->x_column, dy_row += c->dy_column)
            for (size_t v = 0; v < c->n_lanes; v += WIDTH) {
                /* Hold the fewer, stream the others. */
                VEC held[MAX_TAPS];
                if (outs <= taps) {
                    UNROLL for (int a = 0; a < outs; a++) {
                        held[a] = NAME(load)(dy_row + v + (size_t)a * c->dy_out);
                    }
                    UNROLL for (int b = 0; b < taps; b++) {
                        VEC value = NAME(load)(x_row + v + (size_t)b * c->x_tap);
                        LOAD_ONCE(value);
                        UNROLL for (int a = 0; a < outs; a++) {
                            sum[a * taps + b] += value * held[a];
                        }
                    }
                } else {
                    UNROLL for (int b = 0; b < taps; b++) {
                        held[b] = NAME(load)(x_row + v + (size_t)b * c->x_tap);
                    }
                    UNROLL for (int a = 0; a < outs; a++) {
                        VEC value = NAME(load)(dy_row + v + (size_t)a * c->dy_out);
                        LOAD_ONCE(value);
                        UNROLL for (int b = 0; b < taps; b++) {
                            sum[a * taps + b] += value * held[b];
                        }
                    }
                }
            }
    }
    UNROLL for (int a = 0; a < outs; a++) UNROLL for (int b = 0; b < taps; b++)
        dw[(size_t)a * c->dw_out + (size_t)b] += NAME(sum)(sum[a * taps + b]);
}

#define CORRELATE(outs, taps)                                                                      \
    static void NAME(correlate_##outs##_##taps)(const correlation *c, const float *x,              \
                                                const float *dy, float *dw) {                      \
        NAME(correlate)(outs, taps, c, x, dy, dw);                                                 \
    }
CORRELATE_SIZES(CORRELATE)
#undef CORRELATE

#define ROW(outs, taps) [taps][outs] = NAME(correlate_##outs##_##taps),
static correlate_function *const NAME(correlates)[MAX_TAPS + 1][MAX_CORRELATE_OUTS + 1] = {
    CORRELATE_SIZES(ROW)};
#undef ROW

#undef VEC
