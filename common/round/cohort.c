#include "base/rng.h"
#include "round/round.h"

#include <inttypes.h>
#include <stdlib.h>

static uint64_t below(fq_rng *rng, uint64_t n) {
    if (n <= UINT32_MAX)
        return fq_rng_below(rng, (uint32_t)n);
    uint64_t limit = UINT64_MAX - UINT64_MAX % n, draw;
    do
        draw = fq_rng_u64(rng);
    while (draw >= limit);
    return draw % n;
}

/* Floyd's algorithm (Bentley and Floyd 1987): m draws, whatever n is. A bitmap remembers who is in.
 */
fq_status fq_cohort_sample(uint64_t seed, uint32_t round, uint64_t n, size_t m, uint64_t *out) {
    if (m > n)
        return fq_fail(FQ_EINVAL, "a cohort of %zu from %" PRIu64 " clients is impossible", m, n);
    unsigned char *chosen = calloc((size_t)(n / 8 + 1), 1);
    if (chosen == NULL)
        return fq_fail(FQ_ENOMEM, "no memory to sample from %" PRIu64 " clients", n);
    fq_rng rng = fq_rng_stream(seed, FQ_RNG_COHORT, round, 0, 0, 0);
    for (uint64_t i = n - m; i < n; i++) {
        uint64_t draw = below(&rng, i + 1);
        if (chosen[draw / 8] >> (draw % 8) & 1)
            draw = i;
        chosen[draw / 8] = (unsigned char)(chosen[draw / 8] | 1U << (draw % 8));
    }
    size_t count = 0;
    for (uint64_t byte = 0; byte <= n / 8 && count < m; byte++)
        for (unsigned bit = 0; chosen[byte] >> bit != 0; bit++)
            if (chosen[byte] >> bit & 1)
                out[count++] = 8 * byte + bit;
    free(chosen);
    return FQ_OK;
}
