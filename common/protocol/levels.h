/* How fine updates are when that adapts: to the progress of training, and to how much each client
 * weighs (DAdaQuant, Hoenig et al. 2022, arXiv 2111.00465). For upload formats whose number of
 * levels can be chosen.
 *
 * Time: clients report their loss on the model as received. The server keeps its running mean
 *
 *   G_t = psi G_(t-1) + (1 - psi) loss_t,   G_0 = loss_0
 *
 * and doubles the levels q when at least phi rounds have passed since it last did and G_t >=
 * G_(t-phi): training no longer gets on at that precision.
 *
 * Clients: with w_k = n_k / sum of the cohort's n,
 *
 *   q_k = max(1, round(sqrt(a / c) w_k^(2/3))),   a = sum w_k^(2/3),   c = sum w_k^2 / q^2
 *
 * has the same expected variance sum w_k^2 / q_k^2 with the fewest levels in all. So q_k is one
 * factor of the round times n_k^(2/3), and the plan is the same for all clients. n_k is known to a
 * power of two (fq_example_bucket).
 */
#ifndef FQ_PROTOCOL_LEVELS_H
#define FQ_PROTOCOL_LEVELS_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FQ_MAX_PATIENCE = 64, FQ_MAX_LEVELS = 127 /* of each sign, in 8 bits */ };

/* Settings: upload.adaptive. */
typedef struct fq_level_rule {
    int64_t levels;    /* of each sign in the first round; 0: nothing adapts */
    int64_t patience;  /* phi, 1 to FQ_MAX_PATIENCE rounds */
    double  smoothing; /* psi, in [0, 1) */
    bool    by_client;
} fq_level_rule;

/* Of a round. */
typedef struct fq_levels {
    int32_t all;    /* q; 0: nothing adapts */
    double  factor; /* client k has factor * n_k^(2/3) levels; 0: all have q */
} fq_levels;

/* ---- both sides ---- */
/* Examples rounded up to a power of two. The bound on a round's weight is the sum of these over the
 * cohort: a coordinator is told no more, and a simulation must fix the same scale. */
uint64_t fq_example_bucket(uint64_t examples);
/* Levels of a client with that many examples, 1 to what `bits` have room for; 0: nothing adapts. */
int32_t fq_levels_of(const fq_levels *levels, uint64_t examples, uint8_t bits);
/* The most of each sign that there is room for. */
int32_t fq_levels_most(uint8_t bits);
/* Bits of a code with that many levels of each sign: ceil(log2(2 q + 1)). */
uint8_t fq_level_bits(int32_t levels);

/* ---- the server ---- */
/* The factor for clients of n examples each -> q_k before rounding is factor * examples^(2/3). */
double fq_level_factor(int32_t levels, const uint64_t *examples, size_t n);

/* What the server remembers from round to round. */
typedef struct fq_level_history {
    int32_t  levels;
    uint32_t losses;                        /* taken so far */
    uint32_t changed;                       /* `losses` when the levels last changed */
    double   smoothed[FQ_MAX_PATIENCE + 1]; /* G_t at t modulo patience + 1 */
} fq_level_history;
void fq_level_history_begin(fq_level_history *history, const fq_level_rule *rule);
/* The clients' mean loss of one round; `most` levels there can be. */
void fq_level_history_add(fq_level_history *history, const fq_level_rule *rule, int32_t most,
                          double loss);

#endif
