/* How updates become one. One file and one row of aggregator_table.c each.
 *
 * Two kinds. A streaming aggregator only scales each update as it comes; the sum is exact integer
 * arithmetic (round/exact_sum.h), so order, threads and machines cannot matter. One that `keeps`
 * sees all updates of the round at once, coordinate by coordinate, and must not depend on their
 * order.
 */
#ifndef FQ_ROUND_AGGREGATOR_H
#define FQ_ROUND_AGGREGATOR_H

#include "base/config.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct fq_aggregator {
    const char   *name, *summary, *source;
    const fq_key *keys; /* of aggregate.<name>; NULL: none */
    size_t        config_size;
    bool          keeps;
    fq_status (*check)(const void *config, size_t cohort); /* NULL: nothing to check */
    /* Streaming: multiply an update whose 2-norm is `norm` by this. NULL: 1. */
    double (*factor)(const void *config, double norm);
    /* Keeps: out[i] from x[0..n)[i] for i in [begin, end); `column` [n] is scratch. */
    void (*combine)(const void *config, const float *const *x, size_t n, size_t begin, size_t end,
                    float *column, float *out);
} fq_aggregator;

extern const fq_aggregator *const fq_aggregators[]; /* NULL-terminated */
const fq_aggregator              *fq_aggregator_find(const char *name);

#endif
