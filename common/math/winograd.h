/* Convolution with 3x3 kernels and stride 1 by Winograd's minimal filtering F(2x2, 3x3): tiles of
 * 2x2 results from 4x4 sources, 16 products for each pair of channels where the definition has 36.
 *
 *   y = A^T [(G g G^T) . (B^T d B)] A      dg = G^T [(A dy A^T) . (B^T d B)] G
 *
 *         1  0 -1  0          1    0    0
 *   B^T = 0  1  1  0     G = 1/2  1/2  1/2     A^T = 1  1  1  0
 *         0 -1  1  0         1/2 -1/2  1/2           0  1 -1 -1
 *         0  1  0 -1          0    0    1
 *
 * In each of the 16 places, the sum over channels (of dg: over tiles and lanes) is a matrix
 * product. Source: Lavin and Gray 2016, Fast algorithms for convolutional neural networks, arXiv
 * 1509.09308, section 4.1. Included by kernels_vector.c, whose helpers and matrix product it uses.
 */

enum { PLACES = 16, COLUMNS = FQ_WINOGRAD_COLUMNS, MAX_TILES = COLUMNS / 4 };

/* A convolution seen from its result: the target is y forward, dx backward. For the gradient by the
 * weights, the source is x and the target dy. */
typedef struct tiling {
    size_t groups, sources, targets; /* channels of one group */
    size_t source_h, source_w, target_h, target_w, lanes, pad;
    size_t source_plane, target_plane; /* elements of a channel */
} tiling;

/* One vector of lanes of one tile, alike in all channels. */
typedef struct tile {
    ptrdiff_t source;        /* its first source pixel, which may lie in the padding */
    size_t    target;        /* its first target pixel */
    uint8_t   rows, columns; /* target pixels that exist: 1 or 2 */
    bool      inside;        /* no source pixel lies in the padding */
    int32_t   exists[4][4];  /* source pixels: 0 or -1, if not inside */
} tile;

/* Transformed tiles, [place, panel, channel, width]; places are `place` floats apart. */
typedef struct panels {
    float *at;
    size_t channels, width, place;
} panels;

static panels panels_at(float *at, size_t channels, size_t width) {
    return (panels){at, channels, width, channels * COLUMNS + FQ_WINOGRAD_SKEW};
}

/* In one place, where the panels begin at `source` and `target`: target [targets] = u [targets,
 * sources] * source [sources], on n columns. */
static void multiply_panels(const panels *from, const float *source, const float *u,
                            const panels *to, float *target, size_t n) {
    const size_t    sources = from->channels, targets = to->channels, whole = n / PANEL;
    const reduction r = {
        .n = {1, 1, sources},
        .x = {0, 0, PANEL},
        .w = {0, 0, 1},
        .w_out = (ptrdiff_t)sources,
        .y_out = PANEL,
        .n_pixels = whole,
        .x_pixel = (ptrdiff_t)(sources * PANEL),
        .y_pixel = (ptrdiff_t)(targets * PANEL),
    };
    for (size_t o = 0, block; whole > 0 && o < targets; o += block) {
        block = even_block(targets - o, most_outs[PANEL / WIDEST]);
        NAME(tiles)[PANEL / WIDEST][block](&r, source, u + o * sources, NULL, target + o * PANEL);
    }
    const size_t left = n - whole * PANEL, vecs = (left + WIDEST - 1) / WIDEST;
    if (left > 0)
        multiply_panel(false, targets, left, sources, vecs, u, sources,
                       source + whole * sources * PANEL, PANEL, false, NULL,
                       target + whole * targets * PANEL, PANEL);
}

static tiling tiling_of(const fq_conv *c, bool backward) {
    const size_t in = c->in_c / c->groups, out = c->out_c / c->groups;
    const tiling forward = {
        .groups = c->groups,
        .sources = in,
        .targets = out,
        .source_h = c->in_h,
        .source_w = c->in_w,
        .target_h = c->out_h,
        .target_w = c->out_w,
        .lanes = c->lanes,
        .pad = c->pad,
        .source_plane = c->in_h * c->in_w * c->lanes,
        .target_plane = c->out_h * c->out_w * c->lanes,
    };
    if (!backward)
        return forward;
    return (tiling){
        .groups = c->groups,
        .sources = out,
        .targets = in,
        .source_h = c->out_h,
        .source_w = c->out_w,
        .target_h = c->in_h,
        .target_w = c->in_w,
        .lanes = c->lanes,
        .pad = 2 - c->pad,
        .source_plane = forward.target_plane,
        .target_plane = forward.source_plane,
    };
}

/* out [place, n] = G g G^T of the n kernels of g, which are `step` floats apart; of flipped kernels
 * with `flip`. */
static void transform_kernels(size_t n, const float *g, size_t step, bool flip, float *out,
                              size_t place) {
    for (size_t i = 0; i < n; i++, g += step) {
        float t[4][3];
        for (size_t j = 0; j < 3; j++) {
            const float a = g[flip ? 8 - j : j], b = g[flip ? 5 - j : 3 + j],
                        c = g[flip ? 2 - j : 6 + j];
            t[0][j] = a;
            t[1][j] = 0.5f * ((a + c) + b);
            t[2][j] = 0.5f * ((a + c) - b);
            t[3][j] = c;
        }
        for (size_t r = 0; r < 4; r++) {
            float *to = out + 4 * r * place + i;
            to[0] = t[r][0];
            to[place] = 0.5f * ((t[r][0] + t[r][2]) + t[r][1]);
            to[2 * place] = 0.5f * ((t[r][0] + t[r][2]) - t[r][1]);
            to[3 * place] = t[r][2];
        }
    }
}

/* dg [n, 9] += G^T u G of u [place, n] */
static void add_kernel_gradients(size_t n, const float *u, size_t place, float *dg) {
    for (size_t i = 0; i < n; i++) {
        float t[3][4];
        for (size_t j = 0; j < 4; j++) {
            const float *from = u + j * place + i;
            const float  sum = 0.5f * (from[4 * place] + from[8 * place]);
            t[0][j] = from[0] + sum;
            t[1][j] = 0.5f * (from[4 * place] - from[8 * place]);
            t[2][j] = sum + from[12 * place];
        }
        for (size_t r = 0; r < 3; r++) {
            const float sum = 0.5f * (t[r][1] + t[r][2]);
            dg[9 * i + 3 * r] += t[r][0] + sum;
            dg[9 * i + 3 * r + 1] += 0.5f * (t[r][1] - t[r][2]);
            dg[9 * i + 3 * r + 2] += sum + t[r][3];
        }
    }
}

#undef NAME
#define NAME(x) PASTE(x##_, WIDTH)
#define WIDTH   WIDEST
#include "math/winograd_lanes.h"
#undef WIDTH
#if WIDEST > 8
#define WIDTH 8
#include "math/winograd_lanes.h"
#undef WIDTH
#endif
#undef NAME
#define NAME(x) PASTE(x##_, WIDEST)

/* The function on the widest vectors that the lanes fill. */
#if WIDEST > 8
#define FITTING(function, lanes) ((lanes) % WIDEST == 0 ? NAME(function) : function##_8)
#else
#define FITTING(function, lanes) NAME(function)
#endif

static bool suits_winograd(const fq_conv *c) {
    return fq_conv_scratch(c) > 0;
}

/* y, or dx from dy. */
static void convolve_tiles(const fq_conv *c, bool backward, const float *source, const float *w,
                           const float *bias, float *target, float *scratch) {
    const tiling t = tiling_of(c, backward);
    const size_t pairs = t.sources * t.targets;
    for (size_t g = 0; g < t.groups; g++) {
        const float *kernels = w + g * pairs * 9;
        for (size_t o = 0; o < t.targets; o++) /* w is [sources, targets] backward */
            transform_kernels(t.sources, kernels + o * (backward ? 1 : t.sources) * 9,
                              backward ? t.targets * 9 : 9, backward, scratch + o * t.sources,
                              pairs);
        FITTING(filter_group, t.lanes)
        (&t, source + g * t.sources * t.source_plane, scratch,
         bias == NULL ? NULL : bias + g * t.targets, target + g * t.targets * t.target_plane,
         scratch + PLACES * pairs);
    }
}

/* dw += */
static void correlate_tiles(const fq_conv *c, const float *x, const float *dy, float *dw,
                            float *scratch) {
    const tiling t = tiling_of(c, false);
    const size_t pairs = t.sources * t.targets;
    for (size_t g = 0; g < t.groups; g++) {
        FITTING(correlate_group, t.lanes)
        (&t, x + g * t.sources * t.source_plane, dy + g * t.targets * t.target_plane, scratch,
         scratch + PLACES * pairs);
        add_kernel_gradients(pairs, scratch, pairs, dw + g * pairs * 9);
    }
}
