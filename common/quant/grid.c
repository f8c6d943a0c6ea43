#include "quant/grid.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

const char *const fq_grid_names[] = {"signed", "narrow", "unsigned", "asymmetric", NULL};
const char *const fq_granularity_names[] = {"tensor", "channel", NULL};

bool fq_granularity_find(const char *name, fq_granularity *out) {
    for (int i = 0; fq_granularity_names[i] != NULL; i++)
        if (strcmp(name, fq_granularity_names[i]) == 0) {
            *out = (fq_granularity)i;
            return true;
        }
    return false;
}

/* Smallest step, and the largest one whose outermost level (code 255) is still finite. */
static const float MIN_STEP = 1e-8f, MAX_STEP = FLT_MAX / 256.0f;

static float bound_step(double step) {
    return step > (double)MIN_STEP ? fminf((float)fmin(step, (double)MAX_STEP), MAX_STEP)
                                   : MIN_STEP;
}

/* The step that puts `peak` on code `top`. Rounding of the quotient may leave peak / step a hair
 * above top, and the straight-through mask would then drop the very element that set the range: so
 * step up. */
static float step_reaching(float peak, float top) {
    float step = bound_step((double)peak / (double)top);
    while (step < MAX_STEP && peak / step > top)
        step = nextafterf(step, INFINITY);
    return step;
}

static bool two_level(fq_grid_kind kind, int bits) {
    return bits == 1 && (kind == FQ_GRID_SIGNED || kind == FQ_GRID_NARROW);
}

void fq_grid_codes(fq_grid_kind kind, int bits, int32_t *low, int32_t *high) {
    assert(bits >= 1 && bits <= FQ_MAX_BITS);
    int32_t half = (int32_t)1 << (bits - 1);
    bool    positive = kind == FQ_GRID_UNSIGNED || kind == FQ_GRID_ASYMMETRIC;
    bool    narrow = kind == FQ_GRID_NARROW && !two_level(kind, bits);
    *low = positive ? 0 : narrow ? 1 - half : -half;
    *high = positive ? 2 * half - 1 : half - 1;
}

static fq_grid symmetric_grid(fq_grid_kind kind, int bits, float step) {
    int32_t low, high;
    fq_grid_codes(kind, bits, &low, &high);
    return (fq_grid){.step = step,
                     .low = (float)low,
                     .high = (float)high,
                     .offset = two_level(kind, bits) ? 0.5f : 0.0f};
}

fq_grid fq_grid_of_step(fq_grid_kind kind, int bits, float step) {
    assert(kind != FQ_GRID_ASYMMETRIC);
    return symmetric_grid(kind, bits, bound_step((double)step));
}

/* Zero is always in the range, so that it is a level: padding and pruned weights stay exact.
 *   D = (high - low) / p      z = clip(rne(-low / D), 0, p)      p = 2^b - 1 */
static fq_grid asymmetric_grid(int bits, float low, float high) {
    float top = (float)((1 << bits) - 1);
    low = fminf(low, 0.0f);
    high = fmaxf(high, MIN_STEP);
    float step = bound_step(((double)high - (double)low) / (double)top);
    float zero = fminf(rintf(-low / step), top);
    return (fq_grid){.step = step, .low = 0.0f - zero, .high = top - zero};
}

fq_grid fq_grid_of_range(fq_grid_kind kind, int bits, float low, float high) {
    int32_t lowest, top;
    fq_grid_codes(kind, bits, &lowest, &top);
    switch (kind) {
    case FQ_GRID_ASYMMETRIC: return asymmetric_grid(bits, low, high);
    case FQ_GRID_UNSIGNED:
        return symmetric_grid(kind, bits, step_reaching(fmaxf(high, 0.0f), (float)top));
    default: {
        /* D = max(|low|, high) / p; of two levels, D is the largest magnitude itself. */
        float peak = fmaxf(fabsf(low), fabsf(high));
        return symmetric_grid(kind, bits,
                              step_reaching(peak, two_level(kind, bits) ? 1.0f : (float)top));
    }
    }
}

size_t fq_weight_groups(const fq_weight_format *format, size_t channels) {
    return format->granularity == FQ_PER_CHANNEL ? channels : 1;
}

void fq_weight_fit(const fq_weight_format *format, int bits, const float *x, size_t count,
                   size_t channels, float *scratch, fq_grid *grids) {
    size_t groups = fq_weight_groups(format, channels), size = count / groups;
    for (size_t i = 0; i < groups; i++)
        grids[i] =
            format->rule->fit(&format->options, format->grid, bits, x + i * size, size, scratch);
}

void fq_weight_quantize(const fq_grid *grids, size_t groups, const float *x, size_t count,
                        float *y) {
    size_t size = count / groups;
    for (size_t i = 0; i < groups; i++)
        fq_kernels_get()->fake_quantize(size, x + i * size, &grids[i], y + i * size);
}

void fq_weight_pull(const fq_grid *grids, size_t groups, const float *x, size_t count, float lambda,
                    float *g) {
    size_t size = count / groups;
    for (size_t i = 0; i < groups; i++)
        fq_kernels_get()->ste(size, x + i * size, &grids[i], lambda, g + i * size);
}

/* With v = x / D and o the offset of the two-level grid (0 otherwise), per element
 *   d x_hat / d D = n + o                 if v - o <= n
 *                   p + o                 if v - o >= p
 *                   rne(v - o) + o - v    otherwise
 * and dL/dD = s * sum of G * (d x_hat / d D), s = 1 / sqrt(count * p). Two levels have p = 0: s as
 * for p = 1. */
double fq_step_gradient(const fq_grid *grid, const float *x, const float *g, size_t count,
                        bool scale) {
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) {
        float v = x[i] / grid->step - grid->offset, slope;
        if (v <= grid->low)
            slope = grid->low + grid->offset;
        else if (v >= grid->high)
            slope = grid->high + grid->offset;
        else
            slope = rintf(v) - v;
        sum += (double)g[i] * (double)slope;
    }
    return scale ? sum / sqrt((double)count * (double)fmaxf(grid->high, 1.0f)) : sum;
}
