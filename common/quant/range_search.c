/* Ranges that are found over several batches of values. */
#include "quant/grid.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { WIDTHS = 100 };

void fq_running_range(float momentum, bool started, float batch_low, float batch_high, float *low,
                      float *high) {
    *low = started ? (1.0f - momentum) * batch_low + momentum * *low : batch_low;
    *high = started ? (1.0f - momentum) * batch_high + momentum * *high : batch_high;
}

/* ---- what is tried ---- */

/* Zero points at each width: shifted by +-s codes, s = 0 .. 2^b / 4 - 1. */
static size_t zero_points(fq_grid_kind kind, int bits) {
    const size_t quarter = ((size_t)1 << bits) / 4;
    return kind == FQ_GRID_ASYMMETRIC && quarter > 0 ? 2 * quarter - 1 : 1;
}

size_t fq_range_search_candidates(fq_grid_kind kind, int bits) {
    return WIDTHS * zero_points(kind, bits);
}

void fq_range_search_begin(fq_range_search *search, fq_grid_kind kind, int bits, double *error) {
    *search = (fq_range_search){.kind = kind, .bits = bits, .error = error};
    memset(error, 0, fq_range_search_candidates(kind, bits) * sizeof *error);
}

void fq_range_search_widen(fq_range_search *search, const float *x, size_t n) {
    if (n == 0)
        return;
    float low, high;
    fq_kernels_get()->min_max(n, x, &low, &high);
    search->low = fminf(search->low, low);
    search->high = fmaxf(search->high, high);
}

/* Width k = 1..100 is the range shrunk to k/100: T_k = M k / 100 for symmetric grids, both ends for
 * the asymmetric one. Of two levels T_k is the upper level itself, D = 2 T_k, so that the search
 * reaches the whole range of the data. */
static fq_grid grid_of_width(const fq_range_search *search, int k) {
    double share = (double)k / (double)WIDTHS;
    bool   symmetric = search->kind == FQ_GRID_SIGNED || search->kind == FQ_GRID_NARROW;
    if (symmetric && search->bits == 1)
        share *= 2.0;
    float low = (float)fmax(share * (double)search->low, -(double)FLT_MAX);
    float high = (float)fmin(share * (double)search->high, (double)FLT_MAX);
    return fq_grid_of_range(search->kind, search->bits, low, high);
}

/* The same step with the codes moved: by 0, +1, -1, +2, ... for i = 0, 1, 2, 3, ..., zero staying a
 * code. */
static fq_grid grid_moved(fq_grid grid, size_t i) {
    const size_t steps = (i + 1) / 2;
    const float  codes = grid.high - grid.low, by = (float)steps;
    grid.low = i % 2 == 1 ? fminf(grid.low + by, 0.0f) : fmaxf(grid.low - by, -codes);
    grid.high = grid.low + codes;
    return grid;
}

/* ---- the errors of all zero points at one width, in one pass ---- */

/* Rounding to multiples of D does not depend on where a grid ends; only what is clipped does. So
 * with the values sorted into bins by code c, r = x - D c, one pass serves all ends:
 *   inside(c)  sum of r^2 over the bins up to c
 *   below(c)   sum of (x - D c)^2 over the bins up to c: the error were c the lowest code
 *   above(c)   likewise over the bins from c on
 *   error(l, h) = below(l) + inside(h - 1) - inside(l) + above(h) */
enum { MOST_CODES = (1 << FQ_MAX_BITS) + 2 * ((1 << FQ_MAX_BITS) / 4 - 1) };

typedef struct bin {
    double n, sum, squares; /* of r */
} bin;

static void sort_into_bins(const float *x, size_t n, float step, int first, int last, bin *bins) {
    for (size_t i = 0; i < n; i++) {
        const float code = fminf(fmaxf(rintf(x[i] / step), (float)first), (float)last);
        /* An end bin also has all that lies beyond it, as it would be clipped there. */
        const double r = (double)x[i] - (double)step * (double)code;
        bin         *own = &bins[(int)code - first];
        own->n += 1.0;
        own->sum += r;
        own->squares += r * r;
    }
}

/* The values gathered so far, moved by one step to the next code, and those of its own bin. */
static bin pile(bin gathered, double step, const bin *own) {
    return (bin){
        .n = gathered.n + own->n,
        .sum = gathered.sum + gathered.n * step + own->sum,
        .squares =
            gathered.squares + step * (2.0 * gathered.sum + gathered.n * step) + own->squares,
    };
}

static void add_zero_points(fq_grid grid, size_t n_points, const float *x, size_t n,
                            double *error) {
    const int reach = (int)(n_points / 2);
    const int first = (int)grid.low - reach, codes = (int)(grid.high - grid.low);
    const int n_bins = codes + 1 + 2 * reach;
    bin       bins[MOST_CODES] = {{0}};
    double    inside[MOST_CODES], below[MOST_CODES], above[MOST_CODES];
    sort_into_bins(x, n, grid.step, first, first + n_bins - 1, bins);
    bin    gathered = {0};
    double sum = 0;
    for (int c = 0; c < n_bins; c++) {
        gathered = pile(gathered, -(double)grid.step, &bins[c]);
        below[c] = gathered.squares;
        sum += bins[c].squares;
        inside[c] = sum;
    }
    gathered = (bin){0};
    for (int c = n_bins - 1; c >= 0; c--) {
        gathered = pile(gathered, (double)grid.step, &bins[c]);
        above[c] = gathered.squares;
    }
    for (size_t i = 0; i < n_points; i++) {
        const int low = (int)grid_moved(grid, i).low - first, high = low + codes;
        error[i] += below[low] + inside[high - 1] - inside[low] + above[high];
    }
}

/* ---- the search ---- */

/* With no value below zero there is nothing to shift. */
static bool one_dimension(const fq_range_search *search) {
    return zero_points(search->kind, search->bits) == 1 || search->low >= 0.0f;
}

void fq_range_search_add(fq_range_search *search, const float *x, size_t n) {
    /* A piece at a time, so that its hundred passes find it in the nearest cache. */
    enum { PIECE = 4096 };
    const size_t n_points = zero_points(search->kind, search->bits);
    const bool   one = one_dimension(search);
    fq_grid      grids[WIDTHS];
    for (int k = 0; k < WIDTHS; k++)
        grids[k] = grid_of_width(search, k + 1);
    for (size_t begin = 0; begin < n; begin += PIECE) {
        size_t size = n - begin < PIECE ? n - begin : PIECE;
        for (size_t k = 0; k < WIDTHS; k++) {
            double *error = &search->error[k * n_points];
            if (one)
                *error += fq_kernels_get()->quantization_error(size, x + begin, &grids[k]);
            else
                add_zero_points(grids[k], n_points, x + begin, size, error);
        }
    }
}

fq_grid fq_range_search_best(const fq_range_search *search) {
    const size_t n_points = zero_points(search->kind, search->bits);
    const size_t tried = one_dimension(search) ? 1 : n_points;
    size_t       best = 0; /* the first of equals */
    for (size_t k = 0; k < WIDTHS; k++)
        for (size_t i = k * n_points; i < k * n_points + tried; i++)
            if (search->error[i] < search->error[best])
                best = i;
    return grid_moved(grid_of_width(search, (int)(best / n_points) + 1), best % n_points);
}
