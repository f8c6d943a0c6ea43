/* Ranges that are found over several batches of values. */
#include "quant/grid.h"

#include <float.h>
#include <math.h>

enum { CANDIDATES = sizeof((fq_range_search *)0)->error / sizeof(double) };

void fq_running_range(float momentum, bool started, float batch_low, float batch_high, float *low,
                      float *high) {
    *low = started ? (1.0f - momentum) * batch_low + momentum * *low : batch_low;
    *high = started ? (1.0f - momentum) * batch_high + momentum * *high : batch_high;
}

void fq_range_search_begin(fq_range_search *search, fq_grid_kind kind, int bits) {
    *search = (fq_range_search){.kind = kind, .bits = bits};
}

void fq_range_search_widen(fq_range_search *search, const float *x, size_t n) {
    if (n == 0)
        return;
    float low, high;
    fq_kernels_get()->min_max(n, x, &low, &high);
    search->low = fminf(search->low, low);
    search->high = fmaxf(search->high, high);
}

/* Candidate k = 1..100 has the range shrunk to k/100: T_k = M k / 100 for symmetric grids, both
 * ends for the asymmetric one. Of two levels T_k is the upper level itself, D = 2 T_k, so that the
 * search reaches the whole range of the data. */
static fq_grid candidate(const fq_range_search *search, int k) {
    double share = (double)k / (double)CANDIDATES;
    bool   symmetric = search->kind == FQ_GRID_SIGNED || search->kind == FQ_GRID_NARROW;
    if (symmetric && search->bits == 1)
        share *= 2.0;
    float low = (float)fmax(share * (double)search->low, -(double)FLT_MAX);
    float high = (float)fmin(share * (double)search->high, (double)FLT_MAX);
    return fq_grid_of_range(search->kind, search->bits, low, high);
}

void fq_range_search_add(fq_range_search *search, const float *x, size_t n) {
    /* A piece at a time, so that its hundred passes find it in the nearest cache. */
    enum { PIECE = 4096 };
    fq_grid grids[CANDIDATES];
    for (int k = 0; k < CANDIDATES; k++)
        grids[k] = candidate(search, k + 1);
    for (size_t begin = 0; begin < n; begin += PIECE) {
        size_t size = n - begin < PIECE ? n - begin : PIECE;
        for (int k = 0; k < CANDIDATES; k++)
            search->error[k] += fq_kernels_get()->quantization_error(size, x + begin, &grids[k]);
    }
}

fq_grid fq_range_search_best(const fq_range_search *search) {
    int best = 0; /* the first of equals */
    for (int k = 1; k < CANDIDATES; k++)
        if (search->error[k] < search->error[best])
            best = k;
    return candidate(search, best + 1);
}
