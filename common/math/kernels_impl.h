/* The rows of the kernel table; kernels.c chooses among them. */
#ifndef FQ_MATH_KERNELS_IMPL_H
#define FQ_MATH_KERNELS_IMPL_H

#include "math/kernels.h"

#include <stdbool.h>

/* Winograd's convolution (math/winograd.h): columns of tiles at once, a multiple of those of a
 * panel in every row, and a few floats between places, which must not compete for the same sets of
 * a cache. The memory of the tiles is 9 KiB times the channels, in and out, for the second-level
 * cache. */
enum { FQ_WINOGRAD_COLUMNS = 144, FQ_WINOGRAD_SKEW = 16 };

extern const fq_kernels fq_kernels_plain;
extern const fq_kernels fq_kernels_baseline; /* SSE2 on x86-64, NEON on aarch64 */
#if defined(__x86_64__)
extern const fq_kernels fq_kernels_v3; /* AVX2 and FMA */
extern const fq_kernels fq_kernels_v4; /* AVX-512 F, BW, CD, DQ, VL; not in edge builds */
#elif defined(__arm__)
extern const fq_kernels fq_kernels_neon; /* NEON with FMA (VFPv4); Debian's armhf has neither */
#endif

/* What of the window at output row or column `o` lies inside: [first, end) of its taps; tap t reads
 * position o * stride + t - pad. */
typedef struct fq_taps {
    size_t first, end;
} fq_taps;

static inline fq_taps fq_taps_inside(const fq_pool_window *p, size_t o, size_t size) {
    const size_t at = o * p->stride, past = size + p->pad - at;
    return (fq_taps){at < p->pad ? p->pad - at : 0, past < p->kernel ? past : p->kernel};
}

/* Index of the pixel under tap (row, column) of the window at (y, x), in floats of lane 0. */
static inline size_t fq_tap_pixel(const fq_pool_window *p, size_t channel, size_t y, size_t x,
                                  size_t row, size_t column) {
    return ((channel * p->in_h + y * p->stride + row - p->pad) * p->in_w + x * p->stride + column -
            p->pad) *
           p->lanes;
}

/* No pixel of the input is outside of all windows, or in two of them. */
static inline bool fq_windows_tile(const fq_pool_window *p) {
    return p->stride == p->kernel && p->pad == 0 && p->out_h * p->kernel == p->in_h &&
           p->out_w * p->kernel == p->in_w;
}

#endif
