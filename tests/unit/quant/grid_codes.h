/* Integer codes of values, read off what the quantizer makes of them. */
#ifndef FQ_TESTS_GRID_CODES_H
#define FQ_TESTS_GRID_CODES_H

#include "quant/grid.h"

#include <math.h>

static inline void grid_codes(const fq_grid *grid, const float *x, size_t n, int32_t zero,
                              int32_t *codes) {
    for (size_t i = 0; i < n; i++) {
        float y;
        fq_weight_quantize(grid, 1, &x[i], 1, &y);
        codes[i] = (int32_t)rintf(y / grid->step - grid->offset) + zero;
    }
}

#endif
