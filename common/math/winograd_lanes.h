/* Winograd's convolution on vectors of WIDTH floats. Included by winograd.h once for each width;
 * names end in the width. No guard, on purpose. */

#define VEC NAME(vec)
typedef int32_t NAME(bits) __attribute__((vector_size(4 * WIDTH)));

/* Row r of the transform of a tile -> 4 places. */
#define FOUR_PLACES(to, place, a, b, c, d)                                                         \
    do {                                                                                           \
        NAME(store)(to, a);                                                                        \
        NAME(store)((to) + (place), b);                                                            \
        NAME(store)((to) + 2 * (place), c);                                                        \
        NAME(store)((to) + 3 * (place), d);                                                        \
        (to) += 4 * (place);                                                                       \
        OPAQUE(to);                                                                                \
    } while (0)

/* B^T d B of 4x4 pixels d -> 16 places. */
static inline void NAME(transform_source)(const float *d, size_t row, size_t column, float *out,
                                          size_t place) {
    const float *rows[4] = {d, d + row, d + 2 * row, d + 3 * row};
    UNROLL for (size_t r = 0; r < 4; r++) { /* row r of B^T d, then times B */
        const float *first = rows[r == 0 ? 0 : r == 2 ? 2 : 1];
        const float *second = rows[r == 2 ? 1 : r == 3 ? 3 : 2];
        VEC          t[4];
        UNROLL for (size_t j = 0; j < 4; j++) {
            const VEC a = NAME(load)(first + j * column), b = NAME(load)(second + j * column);
            t[j] = r == 1 ? a + b : a - b;
        }
        FOUR_PLACES(out, place, t[0] - t[2], t[1] + t[2], t[2] - t[1], t[1] - t[3]);
    }
}

/* A dy A^T of 2x2 pixels dy -> 16 places. */
static inline void NAME(transform_target)(const float *dy, size_t row, size_t column, float *out,
                                          size_t place) {
    const VEC a0 = NAME(load)(dy), a1 = NAME(load)(dy + column);
    const VEC b0 = NAME(load)(dy + row), b1 = NAME(load)(dy + row + column);
    const VEC t[4][2] = {{a0, a1}, {a0 + b0, a1 + b1}, {a0 - b0, a1 - b1}, {-b0, -b1}};
    UNROLL for (size_t r = 0; r < 4; r++) {
        FOUR_PLACES(out, place, t[r][0], t[r][0] + t[r][1], t[r][0] - t[r][1], -t[r][1]);
    }
}

/* A^T m A + bias of 16 places m -> 2x2 pixels. */
static inline void NAME(transform_back)(const float *m, size_t place, float bias, VEC y[4]) {
    const float *rows[4] = {m, m + 4 * place, m + 8 * place, m + 12 * place};
    VEC          s[2][4];
    UNROLL for (size_t j = 0; j < 4; j++) {
        const VEC a = NAME(load)(rows[0] + j * place), b = NAME(load)(rows[1] + j * place);
        const VEC c = NAME(load)(rows[2] + j * place), d = NAME(load)(rows[3] + j * place);
        s[0][j] = a + b + c;
        s[1][j] = b - c - d;
    }
    UNROLL for (size_t r = 0; r < 2; r++) {
        y[2 * r] = s[r][0] + s[r][1] + s[r][2] + bias;
        y[2 * r + 1] = s[r][1] - s[r][2] - s[r][3] + bias;
    }
}

/* Describe the tiles of vectors [first, first + n), counted over rows of tiles, tiles, lanes. */
static void NAME(find_tiles)(const tiling *t, size_t first, size_t n, tile *out) {
    const size_t    in_tile = t->lanes / WIDTH, in_row = (t->target_w + 1) / 2 * in_tile;
    const ptrdiff_t lanes = (ptrdiff_t)t->lanes, pad = (ptrdiff_t)t->pad;
    const ptrdiff_t height = (ptrdiff_t)t->source_h, width = (ptrdiff_t)t->source_w;
    for (size_t i = 0; i < n; i++) {
        const size_t    at = first + i, y = at / in_row * 2, x = at % in_row / in_tile * 2;
        const size_t    lane = at % in_tile * WIDTH;
        const ptrdiff_t row = (ptrdiff_t)y - pad, column = (ptrdiff_t)x - pad;
        tile           *o = &out[i];
        o->source = (row * width + column) * lanes + (ptrdiff_t)lane;
        o->target = (y * t->target_w + x) * t->lanes + lane;
        o->rows = (uint8_t)minimum(t->target_h - y, 2);
        o->columns = (uint8_t)minimum(t->target_w - x, 2);
        o->inside = row >= 0 && column >= 0 && row + 4 <= height && column + 4 <= width;
        for (ptrdiff_t r = 0; !o->inside && r < 4; r++)
            for (ptrdiff_t c = 0; c < 4; c++) {
                const bool exists =
                    row + r >= 0 && row + r < height && column + c >= 0 && column + c < width;
                o->exists[r][c] = exists ? -1 : 0;
            }
    }
}

/* The 4x4 pixels of a tile that lies partly in the padding. */
static inline void NAME(pad_source)(const tile *t, const float *plane, ptrdiff_t row,
                                    ptrdiff_t column, float *out) {
    UNROLL for (int r = 0; r < 4; r++) UNROLL for (int c = 0; c < 4; c++) {
        /* Where there is no pixel, any other will do. */
        const ptrdiff_t at = (t->source + r * row + c * column) & t->exists[r][c];
        const NAME(bits) value = (NAME(bits))NAME(load)(plane + at) & t->exists[r][c];
        NAME(store)(out + (4 * r + c) * WIDTH, (VEC)value);
    }
}

static void NAME(transform_sources)(const tiling *t, const tile *tiles, size_t n, const float *x,
                                    const panels *to) {
    const size_t row = t->source_w * t->lanes, in_panel = to->width / WIDTH;
    float        padded[PLACES * WIDTH];
    for (size_t channel = 0; channel < t->sources; channel++, x += t->source_plane) {
        float *panel = to->at + channel * to->width;
        for (size_t first = 0; first < n; first += in_panel, panel += to->channels * to->width)
            for (size_t i = first; i < minimum(first + in_panel, n); i++) {
                const tile *at = &tiles[i];
                float      *out = panel + (i - first) * WIDTH;
                if (at->inside) {
                    NAME(transform_source)(x + at->source, row, t->lanes, out, to->place);
                    continue;
                }
                NAME(pad_source)(at, x, (ptrdiff_t)row, (ptrdiff_t)t->lanes, padded);
                NAME(transform_source)(padded, 4 * WIDTH, WIDTH, out, to->place);
            }
    }
}

static void NAME(transform_targets)(const tiling *t, const tile *tiles, size_t n, const float *dy,
                                    const panels *to) {
    const size_t row = t->target_w * t->lanes;
    for (size_t channel = 0; channel < t->targets; channel++, dy += t->target_plane)
        for (size_t i = 0; i < n; i++) {
            const tile *at = &tiles[i];
            float      *out = to->at + channel * to->width + i * WIDTH;
            if (at->rows == 2 && at->columns == 2) {
                NAME(transform_target)(dy + at->target, row, t->lanes, out, to->place);
                continue;
            }
            float padded[4 * WIDTH] = {0};
            for (size_t r = 0; r < at->rows; r++)
                for (size_t c = 0; c < at->columns; c++)
                    NAME(store)
            (padded + (2 * r + c) * WIDTH, NAME(load)(dy + at->target + r * row + c * t->lanes));
            NAME(transform_target)(padded, 2 * WIDTH, WIDTH, out, to->place);
        }
}

static void NAME(transform_results)(const tiling *t, const tile *tiles, size_t n,
                                    const panels *from, const float *bias, float *y) {
    const size_t row = t->target_w * t->lanes, in_panel = from->width / WIDTH;
    for (size_t channel = 0; channel < t->targets; channel++, y += t->target_plane) {
        const float *panel = from->at + channel * from->width;
        const float  added = bias == NULL ? 0.0f : bias[channel];
        for (size_t first = 0; first < n; first += in_panel, panel += from->channels * from->width)
            for (size_t i = first; i < minimum(first + in_panel, n); i++) {
                const tile *at = &tiles[i];
                float      *to = y + at->target;
                VEC         result[4];
                NAME(transform_back)(panel + (i - first) * WIDTH, from->place, added, result);
                NAME(store)(to, result[0]);
                if (at->columns == 2)
                    NAME(store)(to + t->lanes, result[1]);
                if (at->rows == 2)
                    NAME(store)(to + row, result[2]);
                if (at->rows == 2 && at->columns == 2)
                    NAME(store)(to + row + t->lanes, result[3]);
            }
    }
}

/* One group of channels; u [place, targets, sources] are its transformed kernels. */
static void NAME(filter_group)(const tiling *t, const float *x, const float *u, const float *bias,
                               float *y, float *scratch) {
    const size_t n = (t->target_h + 1) / 2 * ((t->target_w + 1) / 2) * t->lanes / WIDTH;
    const panels source = panels_at(scratch, t->sources, PANEL);
    const panels target = panels_at(scratch + PLACES * source.place, t->targets, PANEL);
    for (size_t first = 0, some; first < n; first += some) {
        tile tiles[MAX_TILES];
        some = minimum(n - first, COLUMNS / WIDTH);
        NAME(find_tiles)(t, first, some, tiles);
        NAME(transform_sources)(t, tiles, some, x, &source);
        for (size_t p = 0; p < PLACES; p++)
            multiply_panels(&source, source.at + p * source.place, u + p * t->targets * t->sources,
                            &target, target.at + p * target.place, some * WIDTH);
        NAME(transform_results)(t, tiles, some, &target, bias, y);
    }
}

/* One group of channels; u [place, targets, sources] takes the gradient of its transformed kernels.
 */
static void NAME(correlate_group)(const tiling *t, const float *x, const float *dy, float *u,
                                  float *scratch) {
    const size_t n = (t->target_h + 1) / 2 * ((t->target_w + 1) / 2) * t->lanes / WIDTH;
    const panels source = panels_at(scratch, t->sources, COLUMNS);
    const panels target = panels_at(scratch + PLACES * source.place, t->targets, COLUMNS);
    for (size_t first = 0, some; first < n; first += some) {
        tile tiles[MAX_TILES];
        some = minimum(n - first, COLUMNS / WIDTH);
        NAME(find_tiles)(t, first, some, tiles);
        NAME(transform_sources)(t, tiles, some, x, &source);
        NAME(transform_targets)(t, tiles, some, dy, &target);
        for (size_t p = 0; p < PLACES; p++)
            multiply(false, true, t->targets, t->sources, some * WIDTH,
                     target.at + p * target.place, COLUMNS, source.at + p * source.place, COLUMNS,
                     first > 0, NULL, u + p * t->targets * t->sources, t->sources);
    }
}

#undef FOUR_PLACES
#undef VEC
