/* What a person sees while a run goes on: one line that renews itself on a terminal, plain lines
 * when piped, nothing when quiet. */
#ifndef FQ_SIM_PROGRESS_H
#define FQ_SIM_PROGRESS_H

#include "eval/evaluate.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fq_progress {
    bool     quiet, terminal;
    char     title[128];    /* of the run at hand: "mqat seed 2 (5/15)" */
    uint32_t rounds, first; /* in all; done before this start (resumed) */
    double   began, last_drawn;
    double   float_accuracy, low_accuracy; /* of the last evaluation; negative: none yet */
    int      low_bits;
} fq_progress;

void fq_progress_begin(fq_progress *progress, const char *title, uint32_t rounds, uint32_t first);
/* After each round; figures may be empty. */
void fq_progress_round(fq_progress *progress, uint32_t round, double loss, const fq_figure *figures,
                       size_t n);
void fq_progress_end(fq_progress *progress);

#endif
