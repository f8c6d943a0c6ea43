/* The kernels in vector extensions of GCC, compiled once for each instruction set (CMakeLists.txt).
 *
 * All heavy work is one shape: a tile of sums in registers, output channels x vectors of lanes, to
 * which each term adds (one weight, broadcast) x (vectors of lanes). Convolution forward, its
 * gradient by the input and the matrix product differ only in the steps from term to term.
 */
#include "math/kernels_impl.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#define PASTE_(a, b)  a##b
#define PASTE(a, b)   PASTE_(a, b)
#define ROW_NAME_(a)  #a
#define ROW_NAME(a)   ROW_NAME_(a)
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Keep a value in a register: compilers like to fold a load into each multiply-add that uses it,
 * and then wait for the loads. */
#if defined(__x86_64__)
#define LOAD_ONCE(vector) __asm__("" : "+v"(vector))
#elif defined(__aarch64__)
#define LOAD_ONCE(vector) __asm__("" : "+w"(vector))
#else
#define LOAD_ONCE(vector) (void)(vector)
#endif

/* Keep a pointer apart from the one it was made from, or its offset takes a register of its own. */
#define OPAQUE(pointer) __asm__("" : "+r"(pointer))

/* Loops over a tile must be unrolled completely: only then do its sums live in registers. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 24")
#endif

/* Register tiles, as (output channels, vectors of lanes): sums + one term must fit the registers,
 * and there must be enough sums to hide the latency of a multiply-add (4 cycles x 2 a cycle). */
enum { FEW_OUTS = 3, MAX_VECS = 4 };
#define OUTS_3(X, v)  X(1, v) X(2, v) X(3, v)
#define OUTS_4(X, v)  OUTS_3(X, v) X(4, v)
#define OUTS_6(X, v)  OUTS_4(X, v) X(5, v) X(6, v)
#define OUTS_8(X, v)  OUTS_6(X, v) X(7, v) X(8, v)
#define OUTS_12(X, v) OUTS_8(X, v) X(9, v) X(10, v) X(11, v) X(12, v)

#if defined(__AVX512F__) || defined(__aarch64__) /* 32 registers */
enum { MAX_OUTS = 12, MAX_SUMS = 24 };
static const size_t most_outs[5] = {0, 12, 12, 8, 3};
#define TILE_SIZES(X) OUTS_12(X, 1) OUTS_12(X, 2) OUTS_8(X, 3) OUTS_3(X, 4)
enum { MAX_TAPS = 5, MAX_CORRELATE_OUTS = 6 };
static const size_t most_correlate_outs[6] = {0, 6, 6, 6, 6, 4};
#define CORRELATE_SIZES(X) OUTS_6(X, 1) OUTS_6(X, 2) OUTS_6(X, 3) OUTS_6(X, 4) OUTS_4(X, 5)
#else /* 16 registers */
enum { MAX_OUTS = 8, MAX_SUMS = 12 };
static const size_t most_outs[5] = {0, 8, 6, 4, 3};
#define TILE_SIZES(X) OUTS_8(X, 1) OUTS_6(X, 2) OUTS_4(X, 3) OUTS_3(X, 4)
enum { MAX_TAPS = 5, MAX_CORRELATE_OUTS = 6 };
static const size_t most_correlate_outs[6] = {0, 6, 6, 4, 3, 2};
#define CORRELATE_SIZES(X)                                                                         \
    OUTS_6(X, 1) OUTS_6(X, 2) OUTS_4(X, 3) X(1, 4) X(2, 4) X(3, 4) X(1, 5) X(2, 5)
#endif

/* Three nested loops over the terms of a sum, outermost first, and the pixels that share them.
 * Steps in elements. */
typedef struct reduction {
    size_t    n[3];
    ptrdiff_t x[3], w[3];
    ptrdiff_t w_out, y_out; /* from one output channel to the next */
    size_t    n_pixels;
    ptrdiff_t x_pixel, y_pixel;
    bool      add; /* to what y holds */
} reduction;

typedef void tile_function(const reduction *r, const float *x, const float *w, const float *bias,
                           float *y);

/* A convolution seen from its result: the target is y forward, dx backward. */
typedef struct direction {
    size_t    groups, sources, targets; /* channels of one group */
    size_t    source_h, source_w, target_h, target_w, lanes;
    size_t    source_plane, target_plane; /* elements of a channel */
    ptrdiff_t w_source, w_target;         /* steps of the weights by channel */
    size_t    kernel_h, kernel_w, stride, pad;
    bool      backward;
} direction;

/* Taps of the kernel that reach into the source, along one axis: tap first_tap reads position
 * first_at; taps are 1 apart and positions +1 forward, `stride` apart and positions -1 backward. */
typedef struct span {
    size_t n, first_tap, first_at;
} span;

/* Steps of the loops for one block of rows of dy against a padded copy of x. */
typedef struct correlation {
    size_t n_rows, n_columns, n_lanes;
    size_t x_row, x_column, x_tap, dy_row, dy_column, dy_out, dw_out;
} correlation;

typedef void correlate_function(const correlation *c, const float *x, const float *dy, float *dw);

static inline size_t minimum(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Vectors of lanes to take at once when n are left, for tiles of up to `outs` channels: 2 make the
 * best tiles, 3 are better than 2 and 1, and few channels want many sums from elsewhere. */
static inline size_t chunk_of(size_t n, size_t outs) {
    return n == 3 ? 3 : outs <= FEW_OUTS && n >= 4 ? 4 : minimum(n, 2);
}

/* Size of the next block when `left` are cut into as few even blocks of at most `most` as possible.
 */
static inline size_t even_block(size_t left, size_t most) {
    const size_t blocks = (left + most - 1) / most;
    return (left + blocks - 1) / blocks;
}

/* Forward: position o * stride + tap - pad, inside [0, size). */
static span forward_span(size_t o, size_t kernel, size_t stride, size_t pad, size_t size) {
    const size_t at = o * stride, skip = at < pad ? pad - at : 0, first = at + skip - pad;
    if (skip >= kernel || first >= size)
        return (span){0};
    return (span){minimum(kernel - skip, size - first), skip, first};
}

/* Backward: position (i + pad - tap) / stride where that is whole and inside [0, size). */
static span backward_span(size_t i, size_t kernel, size_t stride, size_t pad, size_t size) {
    const size_t at = i + pad, last = minimum(at / stride, size - 1), tap = at - last * stride;
    if (tap >= kernel)
        return (span){0};
    return (span){minimum((kernel - 1 - tap) / stride, last) + 1, tap, last};
}

static span span_of(const direction *d, size_t at, size_t kernel, size_t size) {
    return (d->backward ? backward_span : forward_span)(at, kernel, d->stride, d->pad, size);
}

/* Drop loops of one turn and join loops that run on evenly, to keep the innermost one long. */
static void settle(reduction *r) {
    int last = 2;
    for (int i = 1; i >= 0; i--) {
        const ptrdiff_t n = (ptrdiff_t)r->n[last];
        const bool      even = r->x[i] == n * r->x[last] && r->w[i] == n * r->w[last];
        if (n == 1 || even) {
            r->n[last] *= r->n[i];
            if (n == 1)
                r->x[last] = r->x[i], r->w[last] = r->w[i];
        } else if (r->n[i] != 1) {
            last--;
            r->n[last] = r->n[i], r->x[last] = r->x[i], r->w[last] = r->w[i];
        }
    }
    for (int i = 0; i < last; i++)
        r->n[i] = 1, r->x[i] = 0, r->w[i] = 0;
}

/* Row y of the target, one group of channels on one chunk of lanes. */
static void convolve_row(const direction *d, size_t y, tile_function *const *tiles, size_t most,
                         const float *source, const float *w, const float *bias, float *target) {
    const ptrdiff_t lanes = (ptrdiff_t)d->lanes, sign = d->backward ? -1 : 1;
    const size_t    tap_step = d->backward ? d->stride : 1;
    const span      rows = span_of(d, y, d->kernel_h, d->source_h);
    /* Backward, only pixels `stride` apart use the same taps. */
    for (size_t phase = 0; phase < minimum(tap_step, d->target_w); phase++) {
        span columns = span_of(d, phase, d->kernel_w, d->source_w), next;
        for (size_t x = phase, end = x; x < d->target_w; x = end, columns = next) {
            size_t n_pixels = 0;
            do {
                n_pixels++;
                end += tap_step;
                next = span_of(d, end, d->kernel_w, d->source_w);
            } while (end < d->target_w && next.n == columns.n &&
                     next.first_tap == columns.first_tap);
            reduction r = {
                .n = {d->sources, rows.n, columns.n},
                .x = {(ptrdiff_t)d->source_plane, sign * (ptrdiff_t)d->source_w * lanes,
                      sign * lanes},
                .w = {d->w_source, (ptrdiff_t)(tap_step * d->kernel_w), (ptrdiff_t)tap_step},
                .w_out = d->w_target,
                .y_out = (ptrdiff_t)d->target_plane,
                .n_pixels = n_pixels,
                .x_pixel = (ptrdiff_t)(d->backward ? 1 : d->stride) * lanes,
                .y_pixel = (ptrdiff_t)tap_step * lanes,
            };
            settle(&r);
            const float *from =
                source + (rows.first_at * d->source_w + columns.first_at) * d->lanes;
            const float *taps = w + rows.first_tap * d->kernel_w + columns.first_tap;
            float       *to = target + (y * d->target_w + x) * d->lanes;
            for (size_t o = 0, block; o < d->targets; o += block) {
                block = even_block(d->targets - o, most);
                tiles[block](&r, from, taps + (ptrdiff_t)o * d->w_target,
                             bias == NULL ? NULL : bias + o, to + o * d->target_plane);
            }
        }
    }
}

#if defined(__AVX512F__)
#define WIDEST 16
#elif defined(__AVX__)
#define WIDEST 8
#else
#define WIDEST 4
#endif

#define NAME(x) PASTE(x##_, WIDTH)
#define WIDTH   WIDEST
#include "math/kernels_lanes.h"
#undef WIDTH
#if WIDEST > 8 /* for the last group of lanes */
#define WIDTH 8
#include "math/kernels_lanes.h"
#undef WIDTH
#endif
#undef NAME
#define NAME(x) PASTE(x##_, WIDEST)

/* ---- matrix product ---- */
/* A block of A, [ROWS, DEPTH], stays in the second-level cache, a panel of B, [DEPTH, 3 vectors],
 * in the first. */
enum { ROWS = 96, DEPTH = 192, PANEL = 3 * WIDEST, FEW_ROWS = 24 /* do not pay for packing */ };

typedef float quad __attribute__((vector_size(16)));
typedef float loose_quad __attribute__((vector_size(16), aligned(4), may_alias));

/* out [4, step] = transpose of b [4, ldb] */
static inline void transpose_4x4(const float *b, size_t ldb, float *out, size_t step) {
    const quad r0 = *(const loose_quad *)b, r1 = *(const loose_quad *)(b + ldb);
    const quad r2 = *(const loose_quad *)(b + 2 * ldb), r3 = *(const loose_quad *)(b + 3 * ldb);
    const quad a = __builtin_shufflevector(r0, r1, 0, 4, 1, 5);
    const quad c = __builtin_shufflevector(r2, r3, 0, 4, 1, 5);
    const quad d = __builtin_shufflevector(r0, r1, 2, 6, 3, 7);
    const quad e = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
    *(loose_quad *)out = __builtin_shufflevector(a, c, 0, 1, 4, 5);
    *(loose_quad *)(out + step) = __builtin_shufflevector(a, c, 2, 3, 6, 7);
    *(loose_quad *)(out + 2 * step) = __builtin_shufflevector(d, e, 0, 1, 4, 5);
    *(loose_quad *)(out + 3 * step) = __builtin_shufflevector(d, e, 2, 3, 6, 7);
}

/* Columns [0, n) of rows [0, k) of op(B) into [k, width], zeros behind them. */
static void pack(bool trans_b, size_t n, size_t k, const float *b, size_t ldb, float *packed,
                 size_t width) {
    if (n < width)
        memset(packed, 0, k * width * sizeof *packed);
    if (!trans_b) {
        const size_t whole = n / WIDEST * WIDEST;
        for (size_t p = 0; p < k; p++) {
            for (size_t j = 0; j < whole; j += WIDEST)
                NAME(store)(packed + p * width + j, NAME(load)(b + p * ldb + j));
            for (size_t j = whole; j < n; j++)
                packed[p * width + j] = b[p * ldb + j];
        }
        return;
    }
    size_t j = 0;
    for (; j + 4 <= n; j += 4) {
        size_t p = 0;
        for (; p + 4 <= k; p += 4)
            transpose_4x4(b + j * ldb + p, ldb, packed + p * width + j, width);
        for (; p < k; p++)
            for (size_t i = j; i < j + 4; i++)
                packed[p * width + i] = b[i * ldb + p];
    }
    for (; j < n; j++)
        for (size_t p = 0; p < k; p++)
            packed[p * width + j] = b[j * ldb + p];
}

/* C [m, n] = start + op(A) [m, k] * B [k, vecs vectors], where start is C, the bias of each row, or
 * 0. Columns that do not fill the vectors go through a tile of our own. */
static void multiply_panel(bool trans_a, size_t m, size_t n, size_t k, size_t vecs, const float *a,
                           size_t lda, const float *b, size_t ldb, bool add, const float *bias,
                           float *c, size_t ldc) {
    const bool whole = n == vecs * WIDEST;
    float      edge[MAX_OUTS * PANEL];
    reduction  r = {
         .n = {1, 1, k},
         .x = {0, 0, (ptrdiff_t)ldb},
         .w = {0, 0, trans_a ? (ptrdiff_t)lda : 1},
         .w_out = trans_a ? 1 : (ptrdiff_t)lda,
         .y_out = whole ? (ptrdiff_t)ldc : PANEL,
         .n_pixels = 1,
         .add = whole && add,
    };
    for (size_t i = 0, rows; i < m; i += rows) {
        rows = even_block(m - i, most_outs[vecs]);
        float         *to = c + i * ldc;
        tile_function *tile = NAME(tiles)[vecs][rows];
        assert(tile != NULL); /* even_block gives no more rows than most_outs has tiles for */
        tile(&r, b, a + (ptrdiff_t)i * r.w_out, add || bias == NULL ? NULL : bias + i,
             whole ? to : edge);
        for (size_t o = 0; !whole && o < rows; o++)
            for (size_t j = 0; j < n; j++)
                to[o * ldc + j] = edge[o * PANEL + j] + (add ? to[o * ldc + j] : 0.0f);
    }
}

/* C [m, n] = start + op(A) * op(B), where start is C, the bias of each row, or 0. */
static void multiply(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, const float *a,
                     size_t lda, const float *b, size_t ldb, bool add, const float *bias, float *c,
                     size_t ldc) {
    float packed[DEPTH * PANEL];
    /* A narrow B is in the cache as it is: then rows of A are read to their end at once. */
    const bool   narrow = !trans_b && ldb <= 2 * PANEL && n % WIDEST == 0;
    const size_t deep = narrow && !trans_a && k > DEPTH ? k : DEPTH;
    const size_t block = MAX_OUTS + (ROWS - MAX_OUTS) * DEPTH / deep;
    for (size_t i = 0; i < m; i += block) {
        const size_t rows = minimum(block, m - i);
        size_t       p = 0;
        do { /* once even for k = 0, where C is set to its start */
            const size_t depth = minimum(deep, k - p);
            const float *from_a = trans_a ? a + p * lda + i : a + i * lda + p;
            for (size_t j = 0, columns; j < n; j += columns) {
                const size_t vecs = chunk_of((n - j + WIDEST - 1) / WIDEST, MAX_OUTS);
                const size_t width = vecs * WIDEST;
                columns = minimum(width, n - j);
                const float *from_b = trans_b ? b + j * ldb + p : b + p * ldb + j;
                const bool   direct = !trans_b && columns == width && (narrow || rows <= FEW_ROWS);
                if (!direct && depth > 0)
                    pack(trans_b, columns, depth, from_b, ldb, packed, width);
                multiply_panel(trans_a, rows, columns, depth, vecs, from_a, lda,
                               direct ? from_b : packed, direct ? ldb : width, add || p > 0,
                               bias == NULL ? NULL : bias + i, c + i * ldc + j, ldc);
            }
            p += depth;
        } while (p < k);
    }
}

static void gemm(int trans_a, int trans_b, size_t m, size_t n, size_t k, const float *a, size_t lda,
                 const float *b, size_t ldb, float beta, float *c, size_t ldc) {
    multiply(trans_a != 0, trans_b != 0, m, n, k, a, lda, b, ldb, beta != 0.0f, NULL, c, ldc);
}

/* ---- convolution ---- */
/* Where every pixel of y is one dot product with a whole piece of x, the convolution of a group is
 * a matrix product, y [out, plane] = w [out, terms] * x [terms, plane]: dense layers, and 1x1
 * kernels. */
static bool is_product(const fq_conv *c) {
    const bool whole = c->kernel_h == c->in_h && c->kernel_w == c->in_w;
    const bool pointwise = c->kernel_h == 1 && c->kernel_w == 1 && c->stride == 1;
    return c->pad == 0 && (whole || pointwise);
}

typedef struct product_shape {
    size_t outs, terms, plane;
} product_shape;

static product_shape product_of(const fq_conv *c) {
    return (product_shape){c->out_c / c->groups, c->in_c / c->groups * c->kernel_h * c->kernel_w,
                           c->out_h * c->out_w * c->lanes};
}

#include "math/winograd.h"

static void convolve(const direction *d, const float *source, const float *w, const float *bias,
                     float *target) {
    const size_t wide = d->lanes / WIDEST * WIDEST;
    for (size_t g = 0; g < d->groups; g++) {
        const float *x = source + g * d->sources * d->source_plane;
        const float *taps = w + g * d->sources * d->targets * d->kernel_h * d->kernel_w;
        float       *y = target + g * d->targets * d->target_plane;
        const float *b = bias == NULL ? NULL : bias + g * d->targets;
        NAME(convolve)(d, 0, wide, x, taps, b, y);
#if WIDEST > 8
        convolve_8(d, wide, d->lanes, x, taps, b, y);
#endif
    }
}

static void conv_forward(const fq_conv *c, const float *x, const float *w, const float *bias,
                         float *y, float *scratch) {
    if (is_product(c)) {
        const product_shape p = product_of(c);
        for (size_t g = 0; g < c->groups; g++)
            multiply(false, false, p.outs, p.plane, p.terms, w + g * p.outs * p.terms, p.terms,
                     x + g * p.terms * p.plane, p.plane, false,
                     bias == NULL ? NULL : bias + g * p.outs, y + g * p.outs * p.plane, p.plane);
        return;
    }
    if (suits_winograd(c)) {
        convolve_tiles(c, false, x, w, bias, y, scratch);
        return;
    }
    const size_t sources = c->in_c / c->groups, area = c->kernel_h * c->kernel_w;
    convolve(
        &(direction){
            .groups = c->groups,
            .sources = sources,
            .targets = c->out_c / c->groups,
            .source_h = c->in_h,
            .source_w = c->in_w,
            .target_h = c->out_h,
            .target_w = c->out_w,
            .lanes = c->lanes,
            .source_plane = c->in_h * c->in_w * c->lanes,
            .target_plane = c->out_h * c->out_w * c->lanes,
            .w_source = (ptrdiff_t)area,
            .w_target = (ptrdiff_t)(sources * area),
            .kernel_h = c->kernel_h,
            .kernel_w = c->kernel_w,
            .stride = c->stride,
            .pad = c->pad,
        },
        x, w, bias, y);
}

/* dx[i, p] = sum over o and the taps that read p of w[o, i, tap] * dy[o, (p + pad - tap) / stride]
 */
static void conv_backward_input(const fq_conv *c, const float *dy, const float *w, float *dx,
                                float *scratch) {
    if (is_product(c)) { /* dx = w^T dy */
        const product_shape p = product_of(c);
        for (size_t g = 0; g < c->groups; g++)
            multiply(true, false, p.terms, p.plane, p.outs, w + g * p.outs * p.terms, p.terms,
                     dy + g * p.outs * p.plane, p.plane, false, NULL, dx + g * p.terms * p.plane,
                     p.plane);
        return;
    }
    if (suits_winograd(c)) {
        convolve_tiles(c, true, dy, w, NULL, dx, scratch);
        return;
    }
    const size_t targets = c->in_c / c->groups, area = c->kernel_h * c->kernel_w;
    convolve(
        &(direction){
            .groups = c->groups,
            .sources = c->out_c / c->groups,
            .targets = targets,
            .source_h = c->out_h,
            .source_w = c->out_w,
            .target_h = c->in_h,
            .target_w = c->in_w,
            .lanes = c->lanes,
            .source_plane = c->out_h * c->out_w * c->lanes,
            .target_plane = c->in_h * c->in_w * c->lanes,
            .w_source = (ptrdiff_t)(targets * area),
            .w_target = (ptrdiff_t)area,
            .kernel_h = c->kernel_h,
            .kernel_w = c->kernel_w,
            .stride = c->stride,
            .pad = c->pad,
            .backward = true,
        },
        dy, w, NULL, dx);
}

/* ---- gradient by the weights ---- */
enum { PADDED_FLOATS = 8192 };

/* One channel of x under a block of dy: source positions from (row, column), which may lie in the
 * padding, as [rows, columns, n_lanes] with zeros for the padding. */
static void copy_padded(const fq_conv *c, const float *plane, ptrdiff_t row, ptrdiff_t column,
                        size_t rows, size_t columns, size_t first_lane, size_t n_lanes,
                        float *out) {
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++, out += n_lanes) {
            const ptrdiff_t y = row + (ptrdiff_t)i, x = column + (ptrdiff_t)j;
            if (y >= 0 && y < (ptrdiff_t)c->in_h && x >= 0 && x < (ptrdiff_t)c->in_w)
                memcpy(out, plane + ((size_t)y * c->in_w + (size_t)x) * c->lanes + first_lane,
                       n_lanes * sizeof *out);
            else
                memset(out, 0, n_lanes * sizeof *out);
        }
}

/* dw[o, i, ky, kx] += sum over pixels p and lanes of dy[o, p] * x[i, p stride + k - pad], on a
 * block of rows and columns of dy whose part of x fits the buffer with its padding. */
static void add_weight_gradients(const fq_conv *c,
                                 correlate_function *const (*correlates)[MAX_CORRELATE_OUTS + 1],
                                 size_t width, size_t first_lane, size_t n_lanes, const float *x,
                                 const float *dy, float *dw) {
    const size_t in_group = c->in_c / c->groups, out_group = c->out_c / c->groups;
    const size_t area = c->kernel_h * c->kernel_w;
    const size_t room = PADDED_FLOATS / width;
    /* Columns, then lanes, then rows of a block: as many as fit. */
    const size_t columns = minimum(c->out_w, (room / c->kernel_h - c->kernel_w) / c->stride + 1);
    const size_t x_columns = (columns - 1) * c->stride + c->kernel_w;
    const size_t lanes = minimum(n_lanes, room / (c->kernel_h * x_columns) * width);
    const size_t rows =
        minimum(c->out_h, (PADDED_FLOATS / (x_columns * lanes) - c->kernel_h) / c->stride + 1);
    float padded[PADDED_FLOATS];
    for (size_t lane = first_lane; lane < first_lane + n_lanes; lane += lanes)
        for (size_t y = 0; y < c->out_h; y += rows)
            for (size_t q = 0; q < c->out_w; q += columns)
                for (size_t in = 0; in < c->in_c; in++) {
                    const size_t group = in / in_group;
                    const size_t n_lanes_here = minimum(lanes, first_lane + n_lanes - lane);
                    correlation  r = {
                         .n_rows = minimum(rows, c->out_h - y),
                         .n_columns = minimum(columns, c->out_w - q),
                         .n_lanes = n_lanes_here,
                         .x_row = c->stride * x_columns * n_lanes_here,
                         .x_column = c->stride * n_lanes_here,
                         .x_tap = n_lanes_here,
                         .dy_row = c->out_w * c->lanes,
                         .dy_column = c->lanes,
                         .dy_out = c->out_h * c->out_w * c->lanes,
                         .dw_out = in_group * area,
                    };
                    copy_padded(c, x + in * c->in_h * c->in_w * c->lanes,
                                (ptrdiff_t)(y * c->stride) - (ptrdiff_t)c->pad,
                                (ptrdiff_t)(q * c->stride) - (ptrdiff_t)c->pad,
                                (r.n_rows - 1) * c->stride + c->kernel_h, x_columns, lane,
                                n_lanes_here, padded);
                    if (r.x_column == r.n_lanes && r.dy_column == r.n_lanes) {
                        r.n_lanes *= r.n_columns; /* one run of neighbours */
                        r.n_columns = 1;
                    }
                    for (size_t kx = 0, taps; kx < c->kernel_w; kx += taps) {
                        taps = even_block(c->kernel_w - kx, MAX_TAPS);
                        for (size_t o = 0, outs; o < out_group; o += outs) {
                            outs = even_block(out_group - o, most_correlate_outs[taps]);
                            const size_t out = group * out_group + o;
                            for (size_t ky = 0; ky < c->kernel_h; ky++)
                                correlates[taps][outs](
                                    &r, padded + (ky * x_columns + kx) * n_lanes_here,
                                    dy + ((out * c->out_h + y) * c->out_w + q) * c->lanes + lane,
                                    dw + (out * in_group + in % in_group) * area +
                                        ky * c->kernel_w + kx);
                        }
                    }
                }
}

static float sum_of(size_t n, const float *x) {
    NAME(vec) sum[4] = {{0}};
    size_t i = 0;
    for (; i + 4 * WIDEST <= n; i += 4 * WIDEST)
        UNROLL for (size_t j = 0; j < 4; j++) {
            sum[j] += NAME(load)(x + i + j * WIDEST);
        }
    float total = NAME(sum)((sum[0] + sum[1]) + (sum[2] + sum[3]));
    for (; i < n; i++)
        total += x[i];
    return total;
}

static void conv_backward_weights(const fq_conv *c, const float *x, const float *dy, float *dw,
                                  float *dbias, float *scratch) {
    const size_t plane = c->out_h * c->out_w * c->lanes;
    for (size_t o = 0; dbias != NULL && o < c->out_c; o++)
        dbias[o] += sum_of(plane, dy + o * plane);
    if (is_product(c)) { /* dw += dy x^T */
        const product_shape p = product_of(c);
        for (size_t g = 0; g < c->groups; g++)
            multiply(false, true, p.outs, p.terms, p.plane, dy + g * p.outs * p.plane, p.plane,
                     x + g * p.terms * p.plane, p.plane, true, NULL, dw + g * p.outs * p.terms,
                     p.terms);
        return;
    }
    if (suits_winograd(c)) {
        correlate_tiles(c, x, dy, dw, scratch);
        return;
    }
    if (c->kernel_h * (c->kernel_w + 1) * WIDEST > PADDED_FLOATS) { /* nobody has such kernels */
        fq_kernels_plain.conv_backward_weights(c, x, dy, dw, NULL, scratch);
        return;
    }
    const size_t wide = c->lanes / WIDEST * WIDEST;
    if (wide > 0)
        add_weight_gradients(c, NAME(correlates), WIDEST, 0, wide, x, dy, dw);
#if WIDEST > 8
    if (c->lanes > wide)
        add_weight_gradients(c, correlates_8, 8, wide, c->lanes - wide, x, dy, dw);
#endif
}

/* ---- pooling ---- */
/* A group of lanes. */
typedef float   eight __attribute__((vector_size(4 * FQ_LANES), aligned(4), may_alias));
typedef int32_t eight_bits __attribute__((vector_size(4 * FQ_LANES), aligned(4), may_alias));

#define LANES_AT(x, v) (*(eight *)((x) + (v)*FQ_LANES))
#define LANES_OF(x, v) (*(const eight *)((x) + (v)*FQ_LANES))

/* yes where the mask is set, else no. A macro: a function could not take vectors wider than the
 * registers of the baseline. */
#define PICK(where, yes, no)                                                                       \
    ((eight)(((where) & (eight_bits)(yes)) | (~(where) & (eight_bits)(no))))

/* One window of rows x columns pixels, whose first one is number `first` of the window, on all
 * lanes. */
ALWAYS_INLINE void pool_window(const fq_pool_window *p, size_t rows, size_t columns, size_t first,
                               const float *x, float *y, float *winner) {
    const eight zero = {0};
    for (size_t l = 0; l < p->lanes; l += FQ_LANES) {
        eight best = LANES_OF(x + l, 0), place = zero + (float)first;
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < columns; j++) {
                const eight      value = LANES_OF(x + (i * p->in_w + j) * p->lanes + l, 0);
                const eight      here = zero + (float)(first + i * p->kernel + j);
                const eight_bits wins = (value > best) | (value != value);
                best = PICK(wins, value, best);
                place = PICK(wins, here, place);
            }
        if (p->relu) {
            place = PICK(best > zero, place, zero - 1.0f);
            best = PICK(best < zero, zero, best);
        }
        LANES_AT(y + l, 0) = best;
        if (winner != NULL)
            LANES_AT(winner + l, 0) = place;
    }
}

static void max_pool(const fq_pool_window *p, const float *x, float *y, float *winner) {
    for (size_t c = 0; c < p->channels; c++)
        for (size_t oy = 0; oy < p->out_h; oy++) {
            const fq_taps rows = fq_taps_inside(p, oy, p->in_h);
            for (size_t ox = 0; ox < p->out_w; ox++) {
                const fq_taps columns = fq_taps_inside(p, ox, p->in_w);
                const float  *from = x + fq_tap_pixel(p, c, oy, ox, rows.first, columns.first);
                const size_t  height = rows.end - rows.first, width = columns.end - columns.first;
                if (height == 2 && width == 2) /* the usual one, unrolled */
                    pool_window(p, 2, 2, rows.first * p->kernel + columns.first, from, y, winner);
                else
                    pool_window(p, height, width, rows.first * p->kernel + columns.first, from, y,
                                winner);
                y += p->lanes;
                if (winner != NULL)
                    winner += p->lanes;
            }
        }
}

ALWAYS_INLINE void pool_window_backward(const fq_pool_window *p, bool once, size_t rows,
                                        size_t columns, size_t first, const float *winner,
                                        const float *dy, float *dx) {
    const eight zero = {0};
    for (size_t l = 0; l < p->lanes; l += FQ_LANES) {
        const eight place = LANES_OF(winner + l, 0), g = LANES_OF(dy + l, 0);
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < columns; j++) {
                const eight here = zero + (float)(first + i * p->kernel + j);
                const eight part = PICK(place == here, g, zero);
                float      *pixel = dx + (i * p->in_w + j) * p->lanes + l;
                if (once)
                    LANES_AT(pixel, 0) = part;
                else
                    LANES_AT(pixel, 0) += part;
            }
    }
}

static void max_pool_backward(const fq_pool_window *p, const float *winner, const float *dy,
                              float *dx) {
    const bool once = fq_windows_tile(p); /* each pixel is set once */
    if (!once)
        memset(dx, 0, p->channels * p->in_h * p->in_w * p->lanes * sizeof *dx);
    for (size_t c = 0; c < p->channels; c++)
        for (size_t oy = 0; oy < p->out_h; oy++) {
            const fq_taps rows = fq_taps_inside(p, oy, p->in_h);
            for (size_t ox = 0; ox < p->out_w; ox++) {
                const fq_taps columns = fq_taps_inside(p, ox, p->in_w);
                float        *to = dx + fq_tap_pixel(p, c, oy, ox, rows.first, columns.first);
                const size_t  first = rows.first * p->kernel + columns.first;
                if (once && p->kernel == 2)
                    pool_window_backward(p, true, 2, 2, first, winner, dy, to);
                else
                    pool_window_backward(p, once, rows.end - rows.first,
                                         columns.end - columns.first, first, winner, dy, to);
                winner += p->lanes;
                dy += p->lanes;
            }
        }
}

/* ---- group normalization ---- */
/* Up to four groups of lanes at a time, whose sums stay in registers. */
enum { NORM_VECS = 4 };

ALWAYS_INLINE void norm_lanes(const int vecs, const fq_norm *n, const float *x, const float *scale,
                              const float *shift, float *mean, float *r, float *y) {
    const size_t lanes = n->lanes, rows = n->depth * n->pixels;
    const float  share = 1.0f / (float)rows;
    eight        sum[NORM_VECS][2], centre[NORM_VECS], factor[NORM_VECS];
    UNROLL for (int v = 0; v < vecs; v++) {
        sum[v][0] = sum[v][1] = (eight){0};
    }
    size_t i = 0;
    for (; i + 4 <= rows; i += 4) {
        const float *from = x + i * lanes;
        UNROLL for (int v = 0; v < vecs; v++) {
            sum[v][0] += LANES_OF(from, v) + LANES_OF(from + lanes, v);
            sum[v][1] += LANES_OF(from + 2 * lanes, v) + LANES_OF(from + 3 * lanes, v);
        }
    }
    for (; i < rows; i++)
        UNROLL for (int v = 0; v < vecs; v++) {
            sum[v][0] += LANES_OF(x + i * lanes, v);
        }
    UNROLL for (int v = 0; v < vecs; v++) {
        centre[v] = (sum[v][0] + sum[v][1]) * share;
        sum[v][0] = sum[v][1] = (eight){0};
        LANES_AT(mean, v) = centre[v];
    }
    for (i = 0; i + 2 <= rows; i += 2) {
        const float *from = x + i * lanes;
        UNROLL for (int v = 0; v < vecs; v++) {
            const eight a = LANES_OF(from, v) - centre[v];
            const eight b = LANES_OF(from + lanes, v) - centre[v];
            sum[v][0] += a * a;
            sum[v][1] += b * b;
        }
    }
    for (; i < rows; i++)
        UNROLL for (int v = 0; v < vecs; v++) {
            const eight a = LANES_OF(x + i * lanes, v) - centre[v];
            sum[v][0] += a * a;
        }
    UNROLL for (int v = 0; v < vecs; v++) {
        const eight variance = (sum[v][0] + sum[v][1]) * share + n->epsilon;
        for (int l = 0; l < FQ_LANES; l++)
            r[v * FQ_LANES + l] = 1.0f / sqrtf(variance[l]);
    }
    for (size_t c = 0; c < n->depth; c++) {
        const eight added = (eight){0} + shift[c];
        UNROLL for (int v = 0; v < vecs; v++) {
            factor[v] = scale[c] * LANES_OF(r, v);
        }
        for (size_t end = (c + 1) * n->pixels, p = c * n->pixels; p < end; p++)
            UNROLL for (int v = 0; v < vecs; v++) {
                const eight value = (LANES_OF(x + p * lanes, v) - centre[v]) * factor[v] + added;
                const eight_bits negative = (value < (eight){0}) & -(int32_t)n->relu;
                LANES_AT(y + p * lanes, v) = PICK(negative, (eight){0}, value);
            }
    }
}

static void group_norm(const fq_norm *n, const float *x, const float *scale, const float *shift,
                       float *mean, float *r, float *y) {
    for (size_t l = 0, vecs; l < n->lanes; l += vecs * FQ_LANES) {
        vecs = minimum((n->lanes - l) / FQ_LANES, NORM_VECS);
        switch (vecs) {
        case 4: norm_lanes(4, n, x + l, scale, shift, mean + l, r + l, y + l); break;
        case 3: norm_lanes(3, n, x + l, scale, shift, mean + l, r + l, y + l); break;
        case 2: norm_lanes(2, n, x + l, scale, shift, mean + l, r + l, y + l); break;
        default: norm_lanes(1, n, x + l, scale, shift, mean + l, r + l, y + l); break;
        }
    }
}

static inline float sum_of_lanes(const float *x) {
    return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
}

/* With d = x - mean:  dx = scale r dy + a d + b,
 *     a = -r^2 sum(scale dy d r) / n,   b = -r sum(scale dy) / n */
ALWAYS_INLINE void norm_lanes_backward(const int vecs, const fq_norm *n, const float *x,
                                       const float *scale, const float *shift, const float *mean,
                                       const float *r, const float *dy, float *dscale,
                                       float *dshift, float *dx) {
    const size_t     lanes = n->lanes;
    const float      share = 1.0f / (float)(n->depth * n->pixels);
    const eight_bits always = (eight_bits){0} + (n->relu ? 0 : -1);
    eight            centre[NORM_VECS], sum_e[NORM_VECS], sum_ez[NORM_VECS], factor[NORM_VECS];
    UNROLL for (int v = 0; v < vecs; v++) {
        centre[v] = LANES_OF(mean, v);
        sum_e[v] = sum_ez[v] = (eight){0};
    }
    for (size_t c = 0; c < n->depth; c++) {
        eight       sum_g[NORM_VECS], sum_gd[NORM_VECS];
        const eight added = (eight){0} + shift[c];
        UNROLL for (int v = 0; v < vecs; v++) {
            factor[v] = scale[c] * LANES_OF(r, v);
            sum_g[v] = sum_gd[v] = (eight){0};
        }
        for (size_t end = (c + 1) * n->pixels, p = c * n->pixels; p < end; p++)
            UNROLL for (int v = 0; v < vecs; v++) {
                const eight      d = LANES_OF(x + p * lanes, v) - centre[v];
                const eight_bits alive = (d * factor[v] + added > (eight){0}) | always;
                const eight      g = (eight)(alive & (eight_bits)LANES_OF(dy + p * lanes, v));
                sum_g[v] += g;
                sum_gd[v] += g * d;
            }
        UNROLL for (int v = 0; v < vecs; v++) {
            float       total[2][FQ_LANES];
            const eight sum_gz = sum_gd[v] * LANES_OF(r, v);
            sum_e[v] += scale[c] * sum_g[v];
            sum_ez[v] += scale[c] * sum_gz;
            LANES_AT(total[0], 0) = sum_gz;
            LANES_AT(total[1], 0) = sum_g[v];
            dscale[c] += sum_of_lanes(total[0]);
            dshift[c] += sum_of_lanes(total[1]);
        }
    }
    if (dx == NULL)
        return;
    UNROLL for (int v = 0; v < vecs; v++) { /* a and b in place of the sums */
        const eight by = LANES_OF(r, v);
        sum_ez[v] = -by * by * sum_ez[v] * share;
        sum_e[v] = -by * sum_e[v] * share;
    }
    for (size_t c = 0; c < n->depth; c++) {
        const eight added = (eight){0} + shift[c];
        UNROLL for (int v = 0; v < vecs; v++) {
            factor[v] = scale[c] * LANES_OF(r, v);
        }
        for (size_t end = (c + 1) * n->pixels, p = c * n->pixels; p < end; p++)
            UNROLL for (int v = 0; v < vecs; v++) {
                const eight      d = LANES_OF(x + p * lanes, v) - centre[v];
                const eight_bits alive = (d * factor[v] + added > (eight){0}) | always;
                const eight      g = (eight)(alive & (eight_bits)LANES_OF(dy + p * lanes, v));
                LANES_AT(dx + p * lanes, v) = factor[v] * g + (sum_ez[v] * d + sum_e[v]);
            }
    }
}

static void group_norm_backward(const fq_norm *n, const float *x, const float *scale,
                                const float *shift, const float *mean, const float *r,
                                const float *dy, float *dscale, float *dshift, float *dx) {
    for (size_t l = 0, vecs; l < n->lanes; l += vecs * FQ_LANES) {
        vecs = minimum((n->lanes - l) / FQ_LANES, NORM_VECS);
        float *to = dx == NULL ? NULL : dx + l;
        switch (vecs) {
#define CASE(vecs)                                                                                 \
    norm_lanes_backward(vecs, n, x + l, scale, shift, mean + l, r + l, dy + l, dscale, dshift,     \
                        to);                                                                       \
    break
        case 4: CASE(4);
        case 3: CASE(3);
        case 2: CASE(2);
        default: CASE(1);
#undef CASE
        }
    }
}

/* ---- one pass over a vector ---- */
typedef int32_t NAME(mask) __attribute__((vector_size(4 * WIDEST)));
typedef float   NAME(half) __attribute__((vector_size(2 * WIDEST), aligned(4), may_alias));
typedef double  NAME(wide) __attribute__((vector_size(4 * WIDEST)));
enum { HALF = WIDEST / 2 };
typedef union halves {
    NAME(vec) whole;
    NAME(half) half[2];
} halves;
#define VEC  NAME(vec)
#define WIDE NAME(wide)

static inline VEC choose(NAME(mask) where, VEC yes, VEC no) {
    return (VEC)((where & (NAME(mask))yes) | (~where & (NAME(mask))no));
}

static inline WIDE load_wide(const float *x) {
    return __builtin_convertvector(*(const NAME(half) *)x, WIDE);
}

static inline double sum_wide(WIDE v) {
    double sum = 0;
    for (int i = 0; i < HALF; i++)
        sum += v[i];
    return sum;
}

static void axpy(size_t n, float a, const float *x, float *y) {
    size_t i = 0;
    for (; i + WIDEST <= n; i += WIDEST)
        NAME(store)(y + i, NAME(load)(y + i) + a * NAME(load)(x + i));
    for (; i < n; i++)
        y[i] += a * x[i];
}

static void relu(size_t n, const float *x, float *y) {
    const VEC zero = {0};
    size_t    i = 0;
    for (; i + WIDEST <= n; i += WIDEST) {
        const VEC v = NAME(load)(x + i);
        NAME(store)(y + i, choose(v < zero, zero, v));
    }
    for (; i < n; i++)
        y[i] = x[i] < 0.0f ? 0.0f : x[i];
}

static void add(size_t n, const float *a, const float *b, bool with_relu, float *y) {
    const VEC zero = {0};
    size_t    i = 0;
    for (; i + WIDEST <= n; i += WIDEST) {
        const VEC v = NAME(load)(a + i) + NAME(load)(b + i);
        NAME(store)(y + i, with_relu ? choose(v < zero, zero, v) : v);
    }
    for (; i < n; i++) {
        y[i] = a[i] + b[i];
        y[i] = with_relu && y[i] < 0.0f ? 0.0f : y[i];
    }
}

static void relu_backward(size_t n, const float *x, const float *dy, float *dx) {
    const VEC zero = {0};
    size_t    i = 0;
    for (; i + WIDEST <= n; i += WIDEST)
        NAME(store)(dx + i, choose(NAME(load)(x + i) > zero, NAME(load)(dy + i), zero));
    for (; i < n; i++)
        dx[i] = x[i] > 0.0f ? dy[i] : 0.0f;
}

static void min_max(size_t n, const float *x, float *low, float *high) {
    VEC    least = (VEC){0} + x[0], most = least;
    size_t i = 0;
    for (; i + WIDEST <= n; i += WIDEST) {
        const VEC v = NAME(load)(x + i);
        least = choose(v < least, v, least);
        most = choose(v > most, v, most);
    }
    *low = least[0], *high = most[0];
    for (int j = 1; j < WIDEST; j++) {
        *low = least[j] < *low ? least[j] : *low;
        *high = most[j] > *high ? most[j] : *high;
    }
    for (; i < n; i++) {
        *low = x[i] < *low ? x[i] : *low;
        *high = x[i] > *high ? x[i] : *high;
    }
}

static double sum_squares(size_t n, const float *x) {
    WIDE   sum[4] = {{0}};
    size_t i = 0;
    for (; i + 4 * HALF <= n; i += 4 * HALF)
        UNROLL for (size_t j = 0; j < 4; j++) {
            const WIDE v = load_wide(x + i + j * HALF);
            sum[j] += v * v;
        }
    double total = sum_wide((sum[0] + sum[1]) + (sum[2] + sum[3]));
    for (; i < n; i++)
        total += (double)x[i] * (double)x[i];
    return total;
}

static double mean_of(size_t n, const float *x) {
    WIDE   sum[4] = {{0}};
    size_t i = 0;
    for (; i + 4 * HALF <= n; i += 4 * HALF)
        UNROLL for (size_t j = 0; j < 4; j++) {
            sum[j] += load_wide(x + i + j * HALF);
        }
    double total = sum_wide((sum[0] + sum[1]) + (sum[2] + sum[3]));
    for (; i < n; i++)
        total += (double)x[i];
    return total / (double)n;
}

static void moments(size_t n, const float *x, fq_moments *out) {
    *out = (fq_moments){0};
    if (n == 0)
        return;
    const double mean = mean_of(n, x);
    WIDE         two[2] = {{0}}, three[2] = {{0}}, four[2] = {{0}};
    size_t       i = 0;
    for (; i + 2 * HALF <= n; i += 2 * HALF)
        UNROLL for (size_t j = 0; j < 2; j++) {
            const WIDE d = load_wide(x + i + j * HALF) - mean, square = d * d;
            two[j] += square;
            three[j] += square * d;
            four[j] += square * square;
        }
    *out = (fq_moments){mean, sum_wide(two[0] + two[1]), sum_wide(three[0] + three[1]),
                        sum_wide(four[0] + four[1])};
    for (; i < n; i++) {
        const double d = (double)x[i] - mean;
        out->m2 += d * d;
        out->m3 += d * d * d;
        out->m4 += d * d * d * d;
    }
    out->m2 /= (double)n;
    out->m3 /= (double)n;
    out->m4 /= (double)n;
}

/* Round half to even, for |v| < 2^22: adding 1.5 * 2^23 leaves no bits for a fraction. */
static inline VEC round_even(VEC v) {
    const float shift = 12582912.0f;
    return v + shift - shift;
}

/* y = step (clip(rne(x / step - offset), low, high) + offset). Clipping first gives the same, as
 * the bounds are integers, and keeps the rounding in its range. A sum never follows a product here,
 * so that contraction cannot change a bit. */
static inline VEC quantized(VEC x, const fq_grid *grid) {
    VEC t = x / grid->step - grid->offset;
    t = choose(t < grid->low, (VEC){0} + grid->low, t);
    t = choose(t > grid->high, (VEC){0} + grid->high, t);
    return (round_even(t) + grid->offset) * grid->step;
}

/* The last n < WIDEST values, the others as `fill`. */
static inline VEC load_part(const float *x, size_t n) {
    float part[WIDEST] = {0};
    memcpy(part, x, n * sizeof *x);
    return NAME(load)(part);
}

static inline void store_part(float *y, VEC value, size_t n) {
    float part[WIDEST];
    NAME(store)(part, value);
    memcpy(y, part, n * sizeof *y);
}

static void fake_quantize(size_t n, const float *x, const fq_grid *grid, float *y) {
    const fq_grid local = *grid; /* y could alias *grid, as far as the compiler knows */
    size_t        i = 0;
    for (; i + WIDEST <= n; i += WIDEST)
        NAME(store)(y + i, quantized(NAME(load)(x + i), &local));
    if (i < n)
        store_part(y + i, quantized(load_part(x + i, n - i), &local), n - i);
}

static double quantization_error(size_t n, const float *x, const fq_grid *grid) {
    WIDE   sum[2] = {{0}};
    float  part[WIDEST];
    double total = 0;
    size_t i = 0;
    for (; i + WIDEST <= n; i += WIDEST) {
        const halves y = {.whole = quantized(NAME(load)(x + i), grid)};
        UNROLL for (size_t j = 0; j < 2; j++) {
            const WIDE d = load_wide(x + i + j * HALF) - __builtin_convertvector(y.half[j], WIDE);
            sum[j] += d * d;
        }
    }
    if (i < n) {
        NAME(store)(part, quantized(load_part(x + i, n - i), grid));
        for (size_t j = 0; i < n; i++, j++) {
            const double d = (double)x[i] - (double)part[j];
            total += d * d;
        }
    }
    return total + sum_wide(sum[0] + sum[1]);
}

static inline VEC pulled(VEC x, const fq_grid *grid, float lambda, VEC g) {
    const VEC t = x / grid->step - grid->offset, r = t - round_even(t), zero = {0};
    const VEC one = zero + 1.0f;
    const VEC sign = choose(g > zero, one, choose(g < zero, -one, zero));
    return choose((t >= grid->low) & (t <= grid->high), g * (1.0f + lambda * sign * r), zero);
}

static void ste(size_t n, const float *x, const fq_grid *grid, float lambda, float *g) {
    const fq_grid local = *grid;
    size_t        i = 0;
    for (; i + WIDEST <= n; i += WIDEST)
        NAME(store)(g + i, pulled(NAME(load)(x + i), &local, lambda, NAME(load)(g + i)));
    if (i < n)
        store_part(g + i, pulled(load_part(x + i, n - i), &local, lambda, load_part(g + i, n - i)),
                   n - i);
}

const fq_kernels PASTE(fq_kernels_, FQ_ROW) = {
    .name = ROW_NAME(FQ_ROW),
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
