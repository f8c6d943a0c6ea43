/* The rows of rng_fill.c, one for each instruction set. All give the same bits; rng.c picks the
 * fastest that runs here. */
#ifndef FQ_BASE_RNG_IMPL_H
#define FQ_BASE_RNG_IMPL_H

#include "base/rng.h"

enum { FQ_PHILOX_ROUNDS = 10 };
static const uint32_t FQ_PHILOX_MULTIPLIERS[2] = {0xD2511F53U, 0xCD9E8D57U};
static const uint32_t FQ_PHILOX_WEYL[2] = {0x9E3779B9U, 0xBB67AE85U};

/* Draws 0 .. n-1 from the block `counter[0]` on; the stream does not move. */
typedef struct fq_rng_fills {
    void (*uniform)(const fq_rng *rng, float *out, size_t n);
    void (*normal)(const fq_rng *rng, float *out, size_t n);
} fq_rng_fills;

extern const fq_rng_fills fq_rng_fills_baseline;
#if defined(__x86_64__)
extern const fq_rng_fills fq_rng_fills_avx2;
#endif

#endif
