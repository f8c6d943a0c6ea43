/* Block floating point: the values of a block share an exponent and have b-bit integer mantissas,
 * so that arithmetic on a block is that of integers (Li et al. 2024, "Low precision local
 * training is enough for federated learning", NeurIPS).
 *
 *   e = clip(floor(log2 max|x|), -128, 127)
 *   i = clip(sr(x 2^(b-2-e)), -2^(b-1), 2^(b-1) - 1),   Q(x) = i 2^(e-b+2)
 *
 * sr rounds at random, so E Q(x) = x where nothing is clipped: only a positive value within a step
 * of the top can be. Zero blocks stay zero; a block with a value of 2^127 or more, or that
 * is not finite, is left alone: training has diverged.
 */
#ifndef FQ_QUANT_BLOCK_FLOAT_H
#define FQ_QUANT_BLOCK_FLOAT_H

#include "base/rng.h"

#include <stddef.h>

enum { FQ_BLOCK_FLOAT_LEAST = 2, FQ_BLOCK_FLOAT_MOST = 16 }; /* bits of a mantissa */

/* y [n] = Q(x) as one block; y may be x. At least n draws of rng. */
void fq_block_float_round(const float *x, size_t n, int bits, fq_rng *rng, float *y);
/* The same for x [n, lanes], whose every lane is a block. lanes is a multiple of FQ_LANES. */
void fq_block_float_round_lanes(const float *x, size_t n, size_t lanes, int bits, fq_rng *rng,
                                float *y);

#endif
