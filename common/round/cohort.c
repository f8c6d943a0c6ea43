#include "base/rng.h"
#include "round/round.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static uint64_t below(fq_rng *rng, uint64_t n) {
    if (n <= UINT32_MAX)
        return fq_rng_below(rng, (uint32_t)n);
    uint64_t limit = UINT64_MAX - UINT64_MAX % n, draw;
    do
        draw = fq_rng_u64(rng);
    while (draw >= limit);
    return draw % n;
}

/* Clients drawn so far: open addressing, at most half full, UINT64_MAX where nobody is. Its size
 * goes by the cohort, not by the clients there are. */
typedef struct drawn {
    uint64_t *places; /* [mask + 1] */
    size_t    mask;
} drawn;

/* false: was there already. */
static bool insert(drawn *set, uint64_t client) {
    /* Fibonacci hashing (Knuth, volume 3, section 6.4): ids in a row do not crowd. */
    size_t at = (size_t)(client * UINT64_C(0x9e3779b97f4a7c15) >> 32) & set->mask;
    for (; set->places[at] != UINT64_MAX; at = (at + 1) & set->mask)
        if (set->places[at] == client)
            return false;
    set->places[at] = client;
    return true;
}

static int by_id(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Floyd's algorithm (Bentley and Floyd 1987): m draws and memory for m, whatever n is. */
fq_status fq_cohort_sample(uint64_t seed, uint32_t round, uint64_t n, size_t m, uint64_t *out) {
    if (m > n)
        return fq_fail(FQ_EINVAL, "a cohort of %zu from %" PRIu64 " clients is impossible", m, n);
    drawn set = {.mask = 15};
    while (set.mask / 2 < m && set.mask < SIZE_MAX / 2 / sizeof *set.places)
        set.mask = 2 * set.mask + 1;
    set.places = set.mask / 2 < m ? NULL : malloc((set.mask + 1) * sizeof *set.places);
    if (set.places == NULL)
        return fq_fail(FQ_ENOMEM, "no memory to sample %zu clients", m);
    memset(set.places, 0xff, (set.mask + 1) * sizeof *set.places);
    fq_rng rng = fq_rng_stream(seed, FQ_RNG_COHORT, round, 0, 0, 0);
    for (uint64_t i = n - m; i < n; i++) {
        uint64_t draw = below(&rng, i + 1);
        if (!insert(&set, draw)) {
            draw = i;
            (void)insert(&set, draw);
        }
        *out++ = draw;
    }
    free(set.places);
    qsort(out - m, m, sizeof *out, by_id);
    return FQ_OK;
}
