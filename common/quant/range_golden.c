/* The range T with the least squared error between M/100 and M = max|x| + margin, by golden-section
 * search: 30 passes where `mse` takes 100, and a finer answer. The error has more than one minimum
 * at few bits, of which it may find another than the lowest. Source: Kiefer 1953, "Sequential
 * minimax search for a maximum". */
#include "quant/range_impl.h"

#include <float.h>
#include <math.h>

enum { STEPS = 30 }; /* the interval shrinks by 0.618 each: to a millionth of M */

typedef struct problem {
    fq_grid_kind kind;
    int          bits;
    double       low, high; /* of the data, margin included */
    const float *x;
    size_t       n;
} problem;

/* The range shrunk to that share. Two levels have D/2 at the end of the range. */
static fq_grid grid_at(const problem *p, double share) {
    const bool symmetric = p->kind == FQ_GRID_SIGNED || p->kind == FQ_GRID_NARROW;
    if (symmetric && p->bits == 1)
        share *= 2.0;
    return fq_grid_of_range(p->kind, p->bits, (float)fmax(share * p->low, -(double)FLT_MAX),
                            (float)fmin(share * p->high, (double)FLT_MAX));
}

static double error_at(const problem *p, double share) {
    const fq_grid grid = grid_at(p, share);
    return fq_kernels_get()->quantization_error(p->n, p->x, &grid);
}

static fq_grid fit(const fq_range_options *options, fq_grid_kind kind, int bits, const float *x,
                   size_t n, float *scratch) {
    (void)scratch;
    float low, high;
    fq_kernels_get()->min_max(n, x, &low, &high);
    const problem p = {.kind = kind,
                       .bits = bits,
                       .low = low < 0.0f ? (double)low - options->margin : 0.0,
                       .high = fmax((double)high, 0.0) + options->margin,
                       .x = x,
                       .n = n};
    const double  golden = (sqrt(5.0) - 1.0) / 2.0;
    double        begin = 0.01, end = 1.0;
    double        left = end - golden * (end - begin), right = begin + golden * (end - begin);
    double        left_error = error_at(&p, left), right_error = error_at(&p, right);
    for (int i = 0; i < STEPS - 2; i++) {
        if (left_error <= right_error) {
            end = right;
            right = left;
            right_error = left_error;
            left = end - golden * (end - begin);
            left_error = error_at(&p, left);
        } else {
            begin = left;
            left = right;
            left_error = right_error;
            right = begin + golden * (end - begin);
            right_error = error_at(&p, right);
        }
    }
    return grid_at(&p, left_error <= right_error ? left : right);
}

const fq_range_rule fq_range_golden = {
    .name = "golden",
    .summary = "as mse, by golden-section search: faster, but may miss the best",
    .fit = fit,
};
