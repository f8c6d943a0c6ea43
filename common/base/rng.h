/* Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as
 * easy as 1, 2, 3").
 *
 * A stream is named, never advanced by anybody else: seed, purpose, round, client and two more
 * indices (local step and layer, or whatever the purpose says) fix every number in it. So who
 * computes what, in which order and on which thread changes nothing. Never used for keys or nonces.
 */
#ifndef FQ_BASE_RNG_H
#define FQ_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

/* Values are part of the meaning of a seed: never renumber. */
typedef enum fq_purpose {
    FQ_RNG_INIT = 1,  /* initial weights */
    FQ_RNG_COHORT,    /* who takes part in a round */
    FQ_RNG_PARTITION, /* which client has which example */
    FQ_RNG_DATA,      /* synthetic examples */
    FQ_RNG_BATCHES,   /* order of a client's examples */
    FQ_RNG_DROPOUT,
    FQ_RNG_BITS,        /* bit-widths drawn in training */
    FQ_RNG_NOISE,       /* pseudo-quantization noise */
    FQ_RNG_ROUNDING,    /* stochastic rounding of updates */
    FQ_RNG_CALIBRATE,   /* examples for activation ranges */
    FQ_RNG_FAULTS,      /* simulated drop-outs */
    FQ_RNG_BLOCK_FLOAT, /* rounding of local training in low precision */
} fq_purpose;

typedef struct fq_rng {
    uint32_t key[2];
    uint32_t
        counter[4]; /* [0] block number; [1] purpose and layer; [2] step; [3] unused by streams */
    uint32_t block[4];
    unsigned left; /* unread words of `block` */
} fq_rng;

/* The stream (seed, purpose, round, client, step, layer). */
fq_rng fq_rng_stream(uint64_t seed, fq_purpose purpose, uint32_t round, uint64_t client,
                     uint32_t step, uint32_t layer);

uint32_t fq_rng_u32(fq_rng *rng);
uint64_t fq_rng_u64(fq_rng *rng);
float    fq_rng_uniform(fq_rng *rng);                 /* [0, 1), 24 bits */
double   fq_rng_uniform_double(fq_rng *rng);          /* (0, 1), 53 bits, never 0 */
uint32_t fq_rng_below(fq_rng *rng, uint32_t n);       /* [0, n), exactly uniform; n > 0 */
double   fq_rng_normal(fq_rng *rng);                  /* mean 0, variance 1 (Box-Muller) */
double   fq_rng_log_gamma(fq_rng *rng, double shape); /* log of a Gamma(shape, 1) draw; shape > 0 */

/* n draws at once, many times faster than one by one; a whole number of blocks is used up. The same
 * bits with every compiler and instruction set. */
void fq_rng_fill_uniform(fq_rng *rng, float *out, size_t n); /* [0, 1), those of fq_rng_uniform */
void fq_rng_fill_normal(fq_rng *rng, float *out, size_t n);  /* 32 bits a draw, |x| < 6.7; others
                                                              * than those of fq_rng_normal */

void fq_rng_shuffle(fq_rng *rng, uint32_t *items, size_t n);

/* The bare block function, for known-answer tests. */
void fq_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
