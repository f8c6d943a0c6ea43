/* How many bits each block of a vector gets when all of them together may have a given mean.
 *
 * A block of n_i values with range r_i = max|x| costs about n_i r_i^2 4^-b_i of squared error at
 * b_i bits. Under sum n_i b_i = n b the least cost is at
 *
 *   b_i = log2 r_i + t,   t = b - (1/n) sum_j n_j log2 r_j
 *
 * which is then clipped to 0..8 and made whole: all b_i are rounded down, and the level t rises, so
 * that the blocks of the largest remainder get their next bit first, until the budget is spent to
 * the last bit. The block that the budget does not reach to the end is split: its first values have
 * one bit more than the rest of it.
 *
 * Logarithms and widths lie in bytes as the coded vector has them, so nothing is allocated.
 */
#ifndef FQ_QUANT_BIT_BUDGET_H
#define FQ_QUANT_BIT_BUDGET_H

#include "quant/quantizer.h"

/* The first `values` values of `block` have one bit more; none have if `values` is 0. */
typedef struct fq_bit_split {
    size_t block, values;
} fq_bit_split;

/* log2 of a range; of 0 a number below those of all others. */
float fq_budget_log(float range);
/* t, from log2 r of each block: float32 as fq_store_float stores them. */
double fq_budget_level(const unsigned char *logs, fq_blocks blocks, double bits);
/* Whole widths 0..8 -> widths [blocks.n], and the split. Exactly n * bits bits in all. */
fq_bit_split fq_budget_fill(const unsigned char *logs, fq_blocks blocks, uint8_t bits,
                            uint8_t *widths);

/* Squared error of n values at a width of 0..8, rounded to nearest as `uniform` does. */
double fq_budget_error(const float *x, size_t n, uint8_t width);
/* Simulated annealing from these widths, on the error as measured: moves a bit from one block to
 * another of the same size, which keeps the budget, and leaves `split` alone. Never ends with more
 * error than it began. Widths are 0..8 on entry and exit. */
void fq_budget_anneal(const float *x, fq_blocks blocks, fq_bit_split split, fq_rng *rng,
                      uint8_t *widths);

#endif
